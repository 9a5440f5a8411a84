/*
 * A flush of one session, through every reactor's channel where they are not coherent.
 *
 * Thread rule: control loop.
 */
#pragma once

#include "lu/private.h"

struct route_flush;

/* done() once, never inside the call, with 0 or the first error. NULL when memory is out. */
struct route_flush *route_flush_start(
    struct carrier *k, void (*done)(void *ctx, int status), void *ctx);
/* done() does not come any more. */
void route_flush_forget(struct route_flush *f);
