/*
 * What the parts of the path layer know of each other: lu.c, interface.c, path.c, carrier.c,
 * plan.c, route.c, errand.c and fingerprint.c. Nobody outside this folder includes it.
 *
 *   lu ---- paths ---- each keeps at most one carrier in use
 *    |----- carriers - sessions, the broken ones too until they are fenced and nobody refers to
 * them
 *    |----- routes --- each uses the carrier of the best path
 *    `----- plan ----- the immutable picture of all that, as the reactors have it
 *
 * Thread rule: control loop.
 */
#pragma once

#include "base/prng.h"
#include "lu/lu.h"
#include "lu/plan.h"
#include "lu/route_io.h"

#define LU_NAME_MAX 128

/* -- interface -- */

struct interface {
	char name[LU_NAME_MAX];
	char network_id[256];
	char bind[128];
	const struct lu_driver *driver;
	const struct lu_events *events;
	struct list paths;
	unsigned nr_degraded; /* paths that look sick */
};

void interface_path_news(struct interface *i, const struct lu_path *path, enum health_news news);

/* -- carrier: a session as the path layer keeps it -- */

enum carrier_step {
	CARRIER_OPENING,
	CARRIER_OPEN,
	CARRIER_DETACHING, /* a plan without it is on its way to the reactors */
	CARRIER_CLOSING,   /* the driver ends its requests */
	CARRIER_CLOSED,	   /* its doubts are on their way to the reactors */
	CARRIER_SETTLED,   /* requests that waited for it go on; a last plan forgets it */
	CARRIER_FORGOTTEN, /* kept until it is fenced */
};

struct carrier {
	struct list link; /* lu->carriers */
	struct lu *lu;
	struct lu_path *path;	    /* NULL = it was removed */
	struct lu_session *session; /* NULL once fenced */
	enum carrier_step step;
	bool fenced;
	bool abandoned;
	atomic_bool settled;
	uint64_t plan_wanted; /* the plan that ends DETACHING, CLOSED or SETTLED */
	struct list errands;
	unsigned holders;
	struct carrier_channel *channels; /* [nr_data] */
};

/* Starts opening a session of path p, whose address was checked. */
int carrier_open(struct lu_path *p, struct carrier **ret_carrier, struct error *err);
/* Nobody starts requests on it any more; it is closed when all reactors know. Its path is told by
 * path_closed(). */
void carrier_detach(struct carrier *k);
/* A plan has reached all reactors. May free k. */
void carrier_plan_done(struct carrier *k, uint64_t plan);
/* Drops the proof of death that it waits for; true if it waited. */
bool carrier_abandon(struct carrier *k);
void carrier_totals(const struct carrier *k, struct health_totals *into);
/* True while its in-flight requests need looking after. */
bool carrier_busy(const struct carrier *k);
void carrier_tick(struct carrier *k, uint64_t now_ns);
bool carrier_usable(const struct carrier *k);
/* Keeps the struct (not the session) from going. */
void carrier_hold(struct carrier *k);
void carrier_let_go(struct carrier *k);
/* Frees k when nobody refers to it any more. */
void carrier_collect(struct carrier *k);

/* -- path -- */

enum path_step {
	PATH_IDLE,     /* suspended: closed until it is told to reopen */
	PATH_BACKOFF,  /* waiting for the next try */
	PATH_OPENING,  /* the driver opens a session */
	PATH_CHECKING, /* size, identity and limits are right; the contents are being compared */
	PATH_UP,
	PATH_CLOSING, /* until the driver says closed; then on to what `after` says */
	PATH_GONE,    /* final */
	PATH_STEP_COUNT
};

struct lu_path {
	struct list lu_link;
	struct list interface_link;
	struct lu *lu;
	struct interface *interface;
	json_t *address;
	struct io_target *inner;
	struct carrier *carrier;
	enum path_step step;
	enum path_step after;
	bool refused;
	bool damped;
	enum lu_path_state shown; /* as last told by events.path_state */
	char reason[512];
	struct reactor_timer timer; /* of the step */
	unsigned attempts;	    /* since it was last stable */
	uint64_t up_since_ns;
	uint64_t losses_ns[LU_DAMP_LOSSES]; /* ring of the latest */
	unsigned nr_losses;
	uint64_t probe_due_ns;
	bool probing;
	unsigned probe_reactor; /* the next one; they take turns */
	uint64_t probe_seen;	/* requests that had ended when a probe was last due */
	uint64_t sample_due_ns;
	struct fingerprint *check; /* while PATH_CHECKING */
	struct carrier *reference; /* what it is compared with */
	struct list waiters;
	struct health health;
	struct health_totals past; /* of carriers that ended */
	void (*suspended)(void *ctx);
	void *suspended_ctx;
	void (*freed)(void *ctx);
	void *freed_ctx;
};

void path_opened(struct lu_path *p, const struct error *err);
/* The session broke, or had no answer for io_timeout. */
void path_lost(struct lu_path *p, const char *why);
void path_closed(struct lu_path *p);
void path_tick(struct lu_path *p, uint64_t now_ns);
/* Up or damped, with a session that can be used. */
bool path_usable(const struct lu_path *p);
/* Up for damp_stable_ns at least. */
bool path_stable(const struct lu_path *p);
void path_totals(const struct lu_path *p, struct health_totals *into);
void stats_fill(struct lu_stats *s, const struct health *h, const struct health_totals *t);

/* -- route -- */

struct lu_route {
	struct io_target target; /* first */
	struct list link;	 /* lu->routes */
	struct lu *lu;
	struct interface *preferred;
	struct carrier *active;	 /* NULL = none */
	struct carrier *leaving; /* not settled yet: requests wait */
	struct carrier *next; /* where it goes once its requests on the healthy `active` are done */
	struct lu_path *last_path; /* for the event; NULL = none or removed */
	enum route_mode mode;
	bool no_path_told;
	bool doubt_told;
	uint64_t pause_until_ns;
	uint64_t plan_wanted; /* the plan that makes take_back or free true */
	uint64_t plan_seen;
	uint64_t publishing_pause; /* the plan that makes the pause before a move true */
	uint64_t sample_due_ns;
	bool freeing;
	uint64_t move_due_ns; /* no voluntary move before */
	bool torn;	      /* take_back has torn the session down */
	bool had_path;
	struct route_flush *flush;	/* before the move to `next` */
	struct route_channel *channels; /* [nr_data] */
	struct health health;
	void (*taken_back)(void *ctx);
	void *taken_back_ctx;
	void (*freed)(void *ctx);
	void *freed_ctx;
};

/* Before a plan is drawn: picks the carrier. */
void route_choose(struct lu_route *r);
struct carrier *route_other(const struct lu_route *r);
/* k is being detached. */
void route_leave(struct lu_route *r, struct carrier *k);
void route_plan_done(struct lu_route *r, uint64_t plan);
void route_tick(struct lu_route *r, uint64_t now_ns);
void route_forget_path(struct lu_route *r, const struct lu_path *p);
uint64_t route_waiting(const struct lu_route *r);

/* -- LU -- */

struct lu {
	char name[LU_NAME_MAX];
	char uuid[64];
	struct lu_identity identity;
	uint64_t size;
	struct io_limits limits;
	bool limits_known;
	bool limits_promised; /* a route has been made from them */
	struct reactor_group *group;
	struct lu_options options;
	const struct lu_events *events;
	struct list paths;
	struct list routes;
	struct list leaving_routes; /* being freed */
	struct list carriers;
	struct reactor_timer tick;
	struct prng prng;
	struct publisher publisher;
	unsigned nr_paths; /* those that are being freed included */
	bool freeing;
	void (*freed)(void *ctx);
	void *freed_ctx;
};

/* Merges the limits of a session, or refuses it because routes have promised more. */
int lu_accept_limits(struct lu *lu, const struct io_limits *limits, struct error *err);
/* After something ended: goes on with freeing when lu_free() was called. */
void lu_check_freed(struct lu *lu);
uint64_t lu_now(const struct lu *lu);
struct reactor *lu_control(const struct lu *lu);
