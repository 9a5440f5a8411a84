/*
 * The control plane as the daemon starts and ends it.
 *
 * Thread rule: control loop.
 */
#pragma once

#include "base/error.h"
#include "ctl/ctl.h"
#include "reactor/group.h"
#include "store/store.h"

struct ctl_options {
	const char *node;	     /* this node's name */
	uint64_t no_path_timeout_ns; /* 0 = default */
	uint64_t io_timeout_ns;	     /* 0 = default */
};

/* The store stays the caller's to close, after ctl_close(). */
int ctl_new(struct reactor_group *group, struct store *store, const struct ctl_options *options,
    struct ctl **ret_ctl, struct error *err);
/*
 * Reads everything from the store, makes the objects, ends unfinished changes, and opens the
 * exports. An object that cannot come up (a path that is down, an export whose address is taken) is
 * there and says why; only a store that cannot be read is an error.
 */
void ctl_load(struct ctl *ctl, void (*loaded)(void *ctx, const struct error *err), void *ctx);
/*
 * Answers every request (changes that are not committed yet are cancelled), closes exports (what is
 * in flight is finished), volumes, LUs; then closed(ctx), and ctl is gone.
 */
void ctl_close(struct ctl *ctl, void (*closed)(void *ctx), void *ctx);
