/*
 * Between path.c (the steps of a path) and path_info.c (what is asked about a path, probes and
 * health).
 *
 * Thread rule: control loop.
 */
#pragma once

#include "lu/private.h"

/* Ends everybody's waiting, by a timer, so never inside the call. NULL = it is up. */
void path_tell_waiters(struct lu_path *p, const struct error *err);
/* Cuts a back-off short. False when the path is suspended. */
bool path_try_now(struct lu_path *p);
