/*
 * LUs, interfaces, paths and routes, as the control loop sees them.
 *
 *   interface   a node's means of reaching LUs: kind, network ID, bind address; health and load
 *               summed over its paths
 *   lu          identity and size of one piece of storage, its paths, and the writes in doubt on it
 *   path        (lu, interface, address): keeps one session open, checks it, re-opens it with
 *               back-off, damps flapping
 *   route       how one volume reaches one LU: a preferred interface, the path in use now. It is
 *               the io_target that a face maps to. It retries on another path after a transport
 *               error, within no_path_timeout
 *
 * Writes in doubt: a write that was in flight on a session that broke may still land later, over
 * newer data (a frozen server that wakes up). It is re-issued on another path at once; but until
 * the old session is proven dead (fenced), newer writes that overlap it wait, on all volumes and
 * reactors; at most for no_path_timeout, then they fail with EIO and lu_events.in_doubt says so.
 * lu_path_confirm_dead() is the operator's word that the other end is gone.
 *
 * Thread rule: control loop. The request side is in route_io.h.
 */
#pragma once

#include "lu/driver.h"

struct interface;
struct lu;
struct lu_path;
struct lu_route;

enum lu_path_state {
	LU_PATH_CONNECTING, /* being opened, or waiting for the next try */
	LU_PATH_UP,
	LU_PATH_DAMPED,	 /* opens, but flaps: used only when nothing better is up */
	LU_PATH_REFUSED, /* leads to other data or another size; tried again with back-off, never
			    used while so */
	LU_PATH_STATE_COUNT
};
const char *lu_path_state_name(enum lu_path_state state);

/* Health and load over the recent past (exponentially weighted, about 10 s) and since the start. */
struct lu_stats {
	uint64_t requests; /* completed, since the start */
	uint64_t bytes;	   /* since the start */
	uint64_t errors;   /* media or request errors, since the start */
	uint64_t transport_errors;
	uint64_t timeouts;
	uint64_t in_flight;
	double iops;	    /* recent */
	double bytes_per_s; /* recent */
	double latency_us;  /* recent mean */
	double baseline_us; /* its own long past (about 10 min) */
	double error_rate;  /* recent, errors per request, 0..1 */
};

/* Callbacks, all optional, on the control loop; wired by the daemon. text is for people. They must
 * not make or free objects of this module inside the call. */
struct lu_events {
	void (*path_state)(
	    void *ctx, struct lu_path *path, enum lu_path_state old_state, const char *text);
	void (*interface_degraded)(void *ctx, struct interface *interface, const char *text);
	void (*interface_recovered)(void *ctx, struct interface *interface, const char *text);
	void (*route_moved)(void *ctx, struct lu_route *route, struct lu_path *from,
	    struct lu_path *to, const char *text);
	void (*no_path)(void *ctx, struct lu_route *route, const char *text);
	void (*in_doubt)(void *ctx, struct lu *lu, struct range range, const char *text);
	void *ctx;
};

struct lu_options {
	uint64_t no_path_timeout_ns; /* default 30 s: how long a request waits for any path */
	uint64_t io_timeout_ns;	     /* default 5 s: no answer for so long = the session is lost */
	uint64_t connect_timeout_ns; /* default 3 s */
	uint64_t probe_interval_ns;  /* default 2 s: a read on an idle path */
	uint64_t backoff_min_ns;     /* default 100 ms: first wait before a path is opened again */
	uint64_t backoff_max_ns;     /* default 5 s */
	uint64_t
	    damp_window_ns; /* default 30 s: a path lost LU_DAMP_LOSSES times in it is damped */
	uint64_t damp_stable_ns; /* default 5 s: up for so long ends damping, resets the back-off,
				    and lets routes return to it when they prefer it */
};
#define LU_DAMP_LOSSES 4
extern const struct lu_options lu_options_default;

/* -- interfaces -- */

struct interface_params {
	const char *name;
	const char *kind;	/* a driver's kind */
	const char *network_id; /* "" = none */
	const char *bind;	/* "" = any */
};
int interface_new(const struct interface_params *params, const struct lu_events *events,
    struct interface **ret_interface, struct error *err);
/* No path may use it. */
void interface_free(struct interface *i);
const char *interface_name(const struct interface *i);
const char *interface_kind(const struct interface *i);
const char *interface_network_id(const struct interface *i);
const char *interface_bind(const struct interface *i);
bool interface_degraded(const struct interface *i);
void interface_stats(const struct interface *i, struct lu_stats *ret_stats);
/* Takes effect at the next session: close and re-open its paths (lu_path_reopen) to make it true.
 */
int interface_set_network_id(struct interface *i, const char *network_id);
/* Number of paths, and the k-th. */
unsigned interface_path_count(const struct interface *i);
struct lu_path *interface_path(const struct interface *i, unsigned k);

/* -- LUs -- */

struct lu_params {
	const char *name;
	const char *uuid;     /* ours */
	uint64_t size;	      /* bytes as remembered; 0 = learn it from the first path */
	const char *identity; /* as remembered; "" = learn it */
	/*
	 * As remembered; NULL = learn them. What routes promise is fixed once the first of them
	 * exists: the limits that all sessions seen until then have in common, or, when there was
	 * none, the least that any path can keep (512-byte blocks, no FUA, no discard...). A later
	 * path that cannot keep the promise (bigger blocks, shorter transfers, read-only, no FUA...)
	 * is refused.
	 */
	const struct io_limits *limits;
};
int lu_new(struct reactor_group *group, const struct lu_params *params,
    const struct lu_options *options, const struct lu_events *events, struct lu **ret_lu,
    struct error *err);
/* Closes its paths; freed(ctx) when everything is gone. No route may exist. */
void lu_free(struct lu *lu, void (*freed)(void *ctx), void *ctx);
const char *lu_name(const struct lu *lu);
const char *lu_uuid(const struct lu *lu);
uint64_t lu_size(const struct lu *lu); /* 0 = not known yet */
const char *lu_identity_text(const struct lu *lu);
/* What all its paths can do, to be remembered; NULL = not known yet. */
const struct io_limits *lu_limits(const struct lu *lu);
unsigned lu_path_count(const struct lu *lu);
struct lu_path *lu_path_at(const struct lu *lu, unsigned k);
unsigned lu_doubt_count(const struct lu *lu); /* ranges in doubt now */

/* -- paths -- */

/* Starts opening at once. inner: for the fault driver. address is copied. */
int lu_path_new(struct lu *lu, struct interface *i, const json_t *address, struct io_target *inner,
    struct lu_path **ret_path, struct error *err);
/* Routes that use it move to another one. freed(ctx) when its session is closed. */
void lu_path_free(struct lu_path *p, void (*freed)(void *ctx), void *ctx);
struct lu *lu_path_lu(const struct lu_path *p);
struct interface *lu_path_interface(const struct lu_path *p);
const json_t *lu_path_address(const struct lu_path *p);
enum lu_path_state lu_path_state(const struct lu_path *p);
const char *lu_path_reason(const struct lu_path *p); /* why it is not up; "" when it is */
void lu_path_describe(const struct lu_path *p, char *buf, size_t len);
void lu_path_stats(const struct lu_path *p, struct lu_stats *ret_stats);
/*
 * done(ctx, NULL) when the first or next try has ended with the path up (or damped), else with the
 * error: for `path add`, `lu add` and for the check of a destination. At most timeout_ns.
 */
void lu_path_wait_up(struct lu_path *p, uint64_t timeout_ns,
    void (*done)(void *ctx, const struct error *err), void *ctx);
/* Tears the session down (in-flight requests are taken over by other paths) and opens it again: new
 * network ID. */
void lu_path_reopen(struct lu_path *p);
/* Closes the session and keeps it closed until lu_path_reopen(); for moving a network ID: log out
 * before the other logs in. done(ctx) also when the path is reopened or removed meanwhile. One at a
 * time per path. */
void lu_path_suspend(struct lu_path *p, void (*done)(void *ctx), void *ctx);
/* The other end is dead, says the operator: doubts that wait for its old sessions, or for sessions
 * of paths of this LU that were removed, are over. The number of sessions let go. */
unsigned lu_path_confirm_dead(struct lu_path *p);
int lu_path_control(struct lu_path *p, const json_t *command, struct error *err);

/* Reads blocks through p's own session and compares: see fingerprint.c. done() once, within
 * timeout_ns. */
void lu_path_probe(struct lu_path *p, uint64_t timeout_ns,
    void (*done)(void *ctx, const struct error *err), void *ctx);
/*
 * Same data through both? quiet: nobody writes meanwhile, so one difference is proof; else a
 * difference counts only when it stays. -ESTALE when they differ.
 */
void lu_path_compare(struct lu_path *a, struct lu_path *b, bool quiet, uint64_t timeout_ns,
    void (*done)(void *ctx, const struct error *err), void *ctx);

/* -- routes -- */

/* preferred: NULL = the best healthy path. The LU's size must be known. The route uses a path at
 * once if one is up. */
int lu_route_new(
    struct lu *lu, struct interface *preferred, struct lu_route **ret_route, struct error *err);
/* No request may be in flight and no face may point to it. freed(ctx) when all reactors have let
 * go. */
void lu_route_free(struct lu_route *r, void (*freed)(void *ctx), void *ctx);
struct io_target *lu_route_target(struct lu_route *r);
struct lu *lu_route_lu(const struct lu_route *r);
struct interface *lu_route_preferred(const struct lu_route *r);
struct lu_path *lu_route_active(const struct lu_route *r); /* NULL = none is up */
void lu_route_stats(const struct lu_route *r, struct lu_stats *ret_stats);
/*
 * For a hold that does not drain: how long ago (ns) the last request of this route completed while
 * others were in flight; 0 when none is in flight. A route that makes no progress sits on a dead
 * path.
 */
uint64_t lu_route_stalled_ns(const struct lu_route *r);
/*
 * Gives everything back: tears the session of the active path down and completes every request that
 * is in flight or waits here with IO_REQUEUE, and so whatever comes later. For a route that is
 * about to be replaced. done(ctx) when none is left.
 */
void lu_route_take_back(struct lu_route *r, void (*done)(void *ctx), void *ctx);
/* Undo of take_back for a change that was aborted: requests are carried again, over the best path.
 * The done() of a take_back that has not ended does not come any more. */
void lu_route_resume(struct lu_route *r);
/* Makes completed writes durable through the active path, e.g. before it is left for another. A route
 * does so by itself before it goes back from a healthy path to the one that it prefers. */
void lu_route_flush(struct lu_route *r, uint64_t timeout_ns,
    void (*done)(void *ctx, const struct error *err), void *ctx);
