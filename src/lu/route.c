#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lu/private.h"
#include "lu/route_flush.h"

/* A voluntary move from a healthy path that does not drain in time is given up, and tried again
 * later. */
#define MOVE_DRAIN_NS (2 * NS_PER_S)
#define MOVE_AGAIN_NS (30 * NS_PER_S)

/* -- choice of path -- */

enum { SCORE_NOT_DAMPED = 8, SCORE_PREFERRED = 4, SCORE_NOT_DEGRADED = 2 };

static int score(const struct lu_route *r, const struct lu_path *p)
{
	int s = 0;

	s += p->damped ? 0 : SCORE_NOT_DAMPED;
	s += p->interface == r->preferred ? SCORE_PREFERRED : 0;
	s += interface_degraded(p->interface) ? 0 : SCORE_NOT_DEGRADED;
	return s;
}

/* The usable path with the highest score, and among equals the least loaded one; not `except`. */
static struct lu_path *best_path(const struct lu_route *r, const struct carrier *except)
{
	struct lu_path *best = NULL;

	list_for_each (pos, &r->lu->paths) {
		struct lu_path *p = list_entry(pos, struct lu_path, lu_link);

		if (!path_usable(p) || p->carrier == except) {
			continue;
		}
		if (best == NULL || score(r, p) > score(r, best) ||
		    (score(r, p) == score(r, best) && p->health.iops < best->health.iops)) {
			best = p;
		}
	}
	return best;
}

struct carrier *route_other(const struct lu_route *r)
{
	struct lu_path *p = r->active != NULL ? best_path(r, r->active) : NULL;

	return p != NULL ? p->carrier : NULL;
}

uint64_t route_waiting(const struct lu_route *r)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < r->lu->group->nr_data; i++) {
		n += counter_read(&r->channels[i].nr_waiting);
	}
	return n;
}

static uint64_t route_held(const struct lu_route *r)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < r->lu->group->nr_data; i++) {
		n += atomic_load(&r->channels[i].held);
	}
	return n;
}

static bool route_in_flight(const struct lu_route *r)
{
	for (unsigned i = 0; i < r->lu->group->nr_data; i++) {
		const struct health_counters *n = &r->channels[i].counters;
		uint64_t ended = atomic_load(&n->ended);

		if (atomic_load(&n->started) != ended) {
			return true;
		}
	}
	return false;
}

/* -- events -- */

static void tell_no_path(struct lu_route *r)
{
	const struct lu_events *events = r->lu->events;
	char text[256];

	if (r->no_path_told || route_waiting(r) == 0 || best_path(r, NULL) != NULL) {
		return;
	}
	r->no_path_told = true;
	if (events != NULL && events->no_path != NULL) {
		snprintf(text, sizeof(text),
		    "no path to LU %s is up: requests wait up to %.1f s, then they fail",
		    r->lu->name, (double)r->lu->options.no_path_timeout_ns / (double)NS_PER_S);
		events->no_path(events->ctx, r, text);
	}
}

static void tell_moved(struct lu_route *r, struct lu_path *from, struct lu_path *to)
{
	const struct lu_events *events = r->lu->events;
	char text[1024];

	if (events == NULL || events->route_moved == NULL) {
		return;
	}
	snprintf(text, sizeof(text), "requests for LU %s go through %s now, before through %s%s%s",
	    r->lu->name, to->interface->name,
	    from != NULL ? from->interface->name : "a path that was removed",
	    from != NULL && from->reason[0] != '\0' ? ": " : "", from != NULL ? from->reason : "");
	events->route_moved(events->ctx, r, from, to, text);
}

static void tell_in_doubt(struct lu_route *r, const struct route_channel *c, bool expired)
{
	const struct lu_events *events = r->lu->events;
	struct range range = {counter_read(&c->blocked_offset), counter_read(&c->blocked_length)};
	char text[512];

	if (events == NULL || events->in_doubt == NULL || lu_doubt_count(r->lu) == 0 ||
	    (r->doubt_told && !expired)) {
		return;
	}
	r->doubt_told = true;
	snprintf(text, sizeof(text),
	    "a write to LU %s at offset %llu %s: an older one may still arrive through a broken "
	    "session; confirm that the other end is dead if you know it",
	    r->lu->name, (unsigned long long)range.offset, expired ? "failed" : "waits");
	events->in_doubt(events->ctx, r->lu, range, text);
}

/* -- moving -- */

static void become(struct lu_route *r, struct carrier *k)
{
	struct lu_path *from = r->last_path;

	r->active = k;
	r->next = NULL;
	r->last_path = k->path;
	r->no_path_told = false;
	if (r->had_path && from != k->path) {
		tell_moved(r, from, k->path);
	}
	r->had_path = true;
}

void route_choose(struct lu_route *r)
{
	struct lu_path *best;

	if (lu_doubt_count(r->lu) == 0) {
		r->doubt_told = false;
	}
	if (r->leaving != NULL && r->leaving->step < CARRIER_SETTLED) {
		tell_no_path(r);
		return;
	}
	r->leaving = NULL;
	if (r->active != NULL || r->mode == ROUTE_GIVE_BACK) {
		return;
	}
	best = best_path(r, NULL);
	if (best != NULL) {
		become(r, best->carrier);
	} else {
		tell_no_path(r);
	}
}

static void drop_move(struct lu_route *r)
{
	r->next = NULL;
	r->move_due_ns = lu_now(r->lu) + MOVE_AGAIN_NS;
	if (r->flush != NULL) {
		route_flush_forget(r->flush);
		r->flush = NULL;
	}
	publish(r->lu);
}

void route_leave(struct lu_route *r, struct carrier *k)
{
	if (r->next != NULL && (r->next == k || r->active == k)) {
		drop_move(r);
	}
	if (r->active == k) {
		r->active = NULL;
		r->leaving = k;
	}
}

void route_forget_path(struct lu_route *r, const struct lu_path *p)
{
	if (r->last_path == p) {
		r->last_path = NULL;
	}
}

static void on_flushed_for_move(void *ctx, int status)
{
	struct lu_route *r = ctx;

	r->flush = NULL;
	if (status != 0 || r->next == NULL || !carrier_usable(r->next)) {
		drop_move(r);
		return;
	}
	become(r, r->next);
	publish(r->lu);
}

/* The requests on the healthy path have ended, new ones wait: what it has in its cache must be
 * durable before flushes go another way. */
static void go_on_with_move(struct lu_route *r)
{
	if (r->next == NULL || r->flush != NULL || r->publishing_pause > r->plan_seen ||
	    route_in_flight(r)) {
		return;
	}
	r->flush = route_flush_start(r->active, on_flushed_for_move, r);
	if (r->flush == NULL) {
		drop_move(r);
	}
}

/* From a damped path, or back to the preferred one once that is stable. */
static void consider_move(struct lu_route *r, uint64_t now_ns)
{
	struct lu_path *best;

	if (r->mode != ROUTE_CARRY || r->active == NULL || r->next != NULL ||
	    now_ns < r->move_due_ns) {
		return;
	}
	best = best_path(r, NULL);
	if (best == NULL || best->carrier == r->active || !path_stable(best) ||
	    score(r, best) < score(r, r->active->path) + SCORE_PREFERRED) {
		return;
	}
	r->next = best->carrier;
	r->pause_until_ns = now_ns + MOVE_DRAIN_NS;
	r->publishing_pause = publish(r->lu);
}

void route_tick(struct lu_route *r, uint64_t now_ns)
{
	struct health_totals totals = {0};

	if (now_ns >= r->sample_due_ns) {
		r->sample_due_ns = now_ns + NS_PER_S;
		for (unsigned i = 0; i < r->lu->group->nr_data; i++) {
			health_totals_add(&totals, &r->channels[i].counters);
		}
		health_sample(&r->health, &totals, now_ns);
	}
	if (r->next != NULL && now_ns >= r->pause_until_ns) {
		drop_move(r);
	}
	consider_move(r, now_ns);
}

/* -- giving back -- */

static void go_on_with_take_back(struct lu_route *r)
{
	void (*done)(void *ctx) = r->taken_back;

	if (done == NULL || r->mode != ROUTE_GIVE_BACK || r->plan_seen < r->plan_wanted) {
		return;
	}
	if (route_held(r) == 0) {
		r->taken_back = NULL;
		done(r->taken_back_ctx);
	} else if (!r->torn && route_in_flight(r) && r->active != NULL) {
		r->torn = true;
		lu_path_reopen(r->active->path);
	}
}

void lu_route_take_back(struct lu_route *r, void (*done)(void *ctx), void *ctx)
{
	r->mode = ROUTE_GIVE_BACK;
	r->torn = false;
	r->taken_back = done;
	r->taken_back_ctx = ctx;
	if (r->next != NULL) {
		drop_move(r);
	}
	r->plan_wanted = publish(r->lu);
}

void lu_route_resume(struct lu_route *r)
{
	r->mode = ROUTE_CARRY;
	r->taken_back = NULL;
	publish(r->lu);
}

/* -- what reactors and plans say -- */

static void on_note(struct reactor_msg *msg)
{
	struct route_channel *c = container_of(msg, struct route_channel, note_msg);
	struct lu_route *r = c->route;
	unsigned notes = atomic_exchange(&c->notes, 0);

	if ((notes & ROUTE_NOTE_WAITING) != 0) {
		tell_no_path(r);
	}
	if ((notes & (ROUTE_NOTE_BLOCKED | ROUTE_NOTE_EXPIRED)) != 0) {
		tell_in_doubt(r, c, (notes & ROUTE_NOTE_EXPIRED) != 0);
	}
	if ((notes & ROUTE_NOTE_IDLE) != 0) {
		go_on_with_move(r);
		go_on_with_take_back(r);
	}
}

static void route_destroy(struct lu_route *r)
{
	void (*freed)(void *ctx) = r->freed;
	void *ctx = r->freed_ctx;

	list_remove(&r->link);
	free(r->target.channels);
	free(r->channels);
	free(r);
	if (freed != NULL) {
		freed(ctx);
	}
}

void route_plan_done(struct lu_route *r, uint64_t plan)
{
	r->plan_seen = plan;
	if (r->freeing) {
		if (plan >= r->plan_wanted) {
			route_destroy(r);
		}
		return;
	}
	go_on_with_move(r);
	go_on_with_take_back(r);
}

/* -- life -- */

static const struct io_target_ops route_ops = {.kind = "route"};

/* What any path can keep: promised by a route that is made before a session was ever seen. */
static const struct io_limits least_limits = {
    .block_size = 512,
    .preferred_size = 4096,
    .max_transfer = 64 << 10,
    .max_iov = 16,
    .memory_alignment = 1,
    .flush = true,
};

static int add_channels(struct lu_route *r)
{
	struct reactor_group *group = r->lu->group;
	size_t bytes = group->nr_data * sizeof(*r->channels);

	r->channels = aligned_alloc(_Alignof(struct route_channel), bytes);
	r->target.channels = calloc(group->nr_data, sizeof(struct io_channel *));
	if (r->channels == NULL || r->target.channels == NULL) {
		return -ENOMEM;
	}
	for (unsigned i = 0; i < group->nr_data; i++) {
		struct route_channel *c = &r->channels[i];

		*c = (struct route_channel){
		    .route = r,
		    .reactor = group->data[i],
		    .control = group->control,
		    .waiting_timeout_ns = r->lu->options.no_path_timeout_ns,
		    .note_fn = on_note,
		};
		route_channel_init(c);
		r->target.channels[i] = &c->channel;
	}
	r->target.nr_channels = group->nr_data;
	return 0;
}

/* Nobody uses the channels yet, so this needs no plan; the next plan has the route. */
static void first_orders(struct lu_route *r)
{
	route_choose(r);
	for (unsigned i = 0; i < r->lu->group->nr_data; i++) {
		struct carrier *other = route_other(r);
		struct route_orders orders = {
		    .use = r->active != NULL ? &r->active->channels[i] : NULL,
		    .other = other != NULL ? &other->channels[i] : NULL,
		    .doubts = plan_doubts(&r->lu->publisher),
		    .mode = ROUTE_CARRY,
		};

		route_channel_obey(&r->channels[i], &orders);
	}
	publish(r->lu);
}

int lu_route_new(
    struct lu *lu, struct interface *preferred, struct lu_route **ret_route, struct error *err)
{
	struct lu_route *r;

	if (lu->size == 0) {
		error_set(err, -EAGAIN, "the size of LU %s is not known yet", lu->name);
		error_hint(err, "wait until one of its paths is up");
		return -EAGAIN;
	}
	r = calloc(1, sizeof(*r));
	if (r == NULL) {
		return error_set(err, -ENOMEM, "out of memory");
	}
	r->lu = lu;
	r->preferred = preferred;
	if (add_channels(r) != 0) {
		free(r->channels);
		free(r->target.channels);
		free(r);
		return error_set(err, -ENOMEM, "out of memory");
	}
	if (!lu->limits_known && !lu->limits_promised) {
		lu->limits = least_limits;
	}
	lu->limits_promised = true;
	r->target.ops = &route_ops;
	r->target.size = lu->size;
	r->target.limits = lu->limits;
	first_orders(r);
	list_append(&lu->routes, &r->link);
	*ret_route = r;
	return 0;
}

void lu_route_free(struct lu_route *r, void (*freed)(void *ctx), void *ctx)
{
	sluice_assert(route_held(r) == 0);
	if (r->flush != NULL) {
		route_flush_forget(r->flush);
		r->flush = NULL;
	}
	r->freeing = true;
	r->freed = freed;
	r->freed_ctx = ctx;
	r->taken_back = NULL;
	list_remove(&r->link);
	list_append(&r->lu->leaving_routes, &r->link);
	r->plan_wanted = publish(r->lu);
}

struct io_target *lu_route_target(struct lu_route *r)
{
	return &r->target;
}

struct lu *lu_route_lu(const struct lu_route *r)
{
	return r->lu;
}

struct interface *lu_route_preferred(const struct lu_route *r)
{
	return r->preferred;
}

struct lu_path *lu_route_active(const struct lu_route *r)
{
	return r->active != NULL ? r->active->path : NULL;
}

void lu_route_stats(const struct lu_route *r, struct lu_stats *ret_stats)
{
	struct health_totals totals = {0};

	for (unsigned i = 0; i < r->lu->group->nr_data; i++) {
		health_totals_add(&totals, &r->channels[i].counters);
	}
	stats_fill(ret_stats, &r->health, &totals);
	ret_stats->in_flight = route_held(r);
}

uint64_t lu_route_stalled_ns(const struct lu_route *r)
{
	uint64_t last = 0;
	uint64_t now = lu_now(r->lu);

	if (route_held(r) == 0) {
		return 0;
	}
	for (unsigned i = 0; i < r->lu->group->nr_data; i++) {
		if (counter_read(&r->channels[i].held) > 0) {
			last = MAX(last, counter_read(&r->channels[i].progress_ns));
		}
	}
	return now > last ? now - last : 1;
}

/* -- flush on request -- */

struct route_flush_wait {
	struct reactor *control;
	struct reactor_timer timer;
	struct route_flush *flush; /* NULL = it could not be started */
	struct error outcome;	   /* when the timer ends the wait */
	void (*done)(void *ctx, const struct error *err);
	void *ctx;
};

static void end_flush_wait(struct route_flush_wait *w)
{
	reactor_timer_cancel(w->control, &w->timer);
	w->done(w->ctx, w->outcome.code != 0 ? &w->outcome : NULL);
	free(w);
}

static void on_flush_timeout(struct reactor_timer *t)
{
	struct route_flush_wait *w = container_of(t, struct route_flush_wait, timer);

	if (w->flush != NULL) {
		route_flush_forget(w->flush);
	}
	end_flush_wait(w);
}

static void on_flushed(void *ctx, int status)
{
	struct route_flush_wait *w = ctx;

	error_clear(&w->outcome);
	if (status != 0) {
		error_set(&w->outcome, status, "the flush failed: %s", strerror(-status));
	}
	end_flush_wait(w);
}

static void start_flush_wait(struct route_flush_wait *w, const struct lu_route *r)
{
	if (r->active == NULL) {
		error_set(&w->outcome, -ENOTCONN, "no path to LU %s is up", r->lu->name);
		return;
	}
	w->flush = route_flush_start(r->active, on_flushed, w);
	if (w->flush != NULL) {
		error_set(&w->outcome, -ETIMEDOUT, "the flush had no answer in time");
	} else {
		error_set(&w->outcome, -ENOMEM, "out of memory");
	}
}

void lu_route_flush(struct lu_route *r, uint64_t timeout_ns,
    void (*done)(void *ctx, const struct error *err), void *ctx)
{
	struct route_flush_wait *w = calloc(1, sizeof(*w));
	struct error err = {0};

	if (w == NULL) {
		error_set(&err, -ENOMEM, "out of memory");
		done(ctx, &err);
		return;
	}
	w->control = lu_control(r->lu);
	w->done = done;
	w->ctx = ctx;
	start_flush_wait(w, r);
	reactor_timer_init(&w->timer, on_flush_timeout);
	reactor_timer_arm(w->control, &w->timer, w->flush != NULL ? timeout_ns : 0);
}
