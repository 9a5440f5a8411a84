/*
 * What a change of path does to a volume: the local actions that the change protocol asks for (US
 * 8,103,721).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/change.h"

/*
 * Before the hold: how long a look at the old path may take. It may be dead already, which is why people want to leave it, and
 * is no reason to stay.
 */
#define OLD_PATH_TIMEOUT_NS (500 * NS_PER_MS)

/* A local action in progress. It answers once, when all of its parts have called back. */
struct change_call {
	struct ctl_change *change;
	uint64_t token;
	unsigned parts;
	struct participant_done done;
	char reason[CHANGE_REASON_MAX];
	size_t leg; /* which one is being worked on, for actions that go leg by leg */
	void (*next)(struct change_call *call);
};

static struct change_call *call_new(struct ctl_change *c, uint64_t token)
{
	struct change_call *call = calloc(1, sizeof(*call));

	sluice_assert(call != NULL);
	call->change = c;
	call->token = token;
	call->done.token = token;
	call->done.ok = true;
	c->calls++;
	return call;
}

static void call_end(struct change_call *call)
{
	struct ctl_change *c = call->change;

	call->done.reason = call->reason;
	change_runner_done(c->runner, &call->done);
	free(call);
	change_call_ended(c);
}

static void call_fail(struct change_call *call, const char *what, const struct error *err)
{
	if (call->done.ok) {
		call->done.ok = false;
		snprintf(call->reason, sizeof(call->reason), "%s%s%s", what,
		    err != NULL ? ": " : "", err != NULL ? err->message : "");
	}
}

static void part_ended(struct change_call *call)
{
	if (--call->parts == 0) {
		call_end(call);
	}
}

static bool path_usable(const struct ctl_path *p)
{
	enum lu_path_state s;

	if (p == NULL) {
		return false;
	}
	s = lu_path_state(p->path);
	return s == LU_PATH_UP || s == LU_PATH_DAMPED;
}

/* -- both sides -- */

static struct face *side_face(struct ctl_change *c, bool new_side)
{
	return new_side == c->own_is_new ? c->volume->face : c->other_face;
}

static struct lu_route *side_route(
    struct ctl_change *c, const struct change_leg *leg, bool new_side)
{
	if (new_side == c->own_is_new) {
		return ctl_volume_route(c->volume, leg->lu)->route;
	}
	list_for_each (link, &c->other_routes) {
		struct ctl_route *r = list_entry(link, struct ctl_route, link);

		if (r->lu == leg->lu) {
			return r->route;
		}
	}
	return NULL;
}

/* The face and the routes that stay become the volume's own; the others go. */
static void drop_side(struct ctl_change *c, bool new_side)
{
	struct ctl_volume *v = c->volume;

	c->dropped = true;
	if (c->other_face == NULL) {
		return; /* it was never built */
	}
	if (new_side == c->own_is_new) {
		struct face *face = v->face;

		v->face = c->other_face;
		c->other_face = face;
		for (size_t i = 0; i < c->nr_legs; i++) {
			struct ctl_route *own = ctl_volume_route(v, c->legs[i].lu);
			struct list *other = c->other_routes.next;

			list_remove(other);
			list_append(&v->routes, other);
			list_remove(&own->link);
			list_append(&c->other_routes, &own->link);
		}
		c->own_is_new = !c->own_is_new;
	}
	ctl_routes_end(&c->other_routes);
	face_free(c->other_face);
	c->other_face = NULL;
}

/* -- BUILD -- */

/* What clients were told when they connected must stay true. */
static int check_limits(const struct io_limits *now, const struct io_limits *next, char *reason)
{
	const char *what = NULL;

	if (next->block_size > now->block_size) {
		what = "a larger block size";
	} else if (next->read_only && !now->read_only) {
		what = "no writes";
	} else if (now->fua && !next->fua) {
		what = "no FUA";
	} else if (now->discard_granularity != 0 &&
		   (next->discard_granularity == 0 ||
		       next->discard_granularity > now->discard_granularity)) {
		what = "no discard of that granularity";
	} else if (now->write_zeroes && !next->write_zeroes) {
		what = "no write-zeroes";
	} else if (now->coherent && !next->coherent) {
		what = "no coherence between connections";
	}
	if (what == NULL) {
		return 0;
	}
	snprintf(
	    reason, CHANGE_REASON_MAX, "the destination offers %s: clients rely on more", what);
	return -EOPNOTSUPP;
}

static int build_other(struct ctl_change *c, char *reason)
{
	struct ctl_volume *v = c->volume;
	struct ctl_interface *via = c->own_is_new ? c->from : c->to;
	struct error err = {0};
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < c->nr_legs; i++) {
		rc = ctl_route_make(&c->other_routes, c->legs[i].lu, via, NULL, &err);
	}
	if (rc == 0) {
		rc = ctl_volume_build_face(
		    v, &c->other_routes, v->generation + 1, &c->other_face, &err);
	}
	if (rc != 0) {
		snprintf(reason, CHANGE_REASON_MAX, "%s", err.message);
	} else {
		rc = check_limits(
		    &volume_target(v->volume)->limits, face_limits(c->other_face), reason);
	}
	if (rc != 0) {
		ctl_routes_end(&c->other_routes);
		face_free(c->other_face);
		c->other_face = NULL;
	}
	return rc;
}

static void build_flushed(void *ctx, const struct error *err)
{
	struct change_call *call = ctx;

	call->next(call); /* a failure here is found again when it matters */
}

static void build_compared(void *ctx, const struct error *err)
{
	struct change_call *call = ctx;
	struct ctl_change *c = call->change;

	if (err != NULL && err->code == -ESTALE) {
		call_fail(call, "the destination leads to other data", err);
	}
	if (err != NULL) {
		call->next(call);
		return;
	}
	/* What is flushed now need not be flushed while requests are held. */
	lu_route_flush(side_route(c, &c->legs[call->leg - 1], false), OLD_PATH_TIMEOUT_NS,
	    build_flushed, call);
}

/* A comparison that fails does not say which of the two it was: the destination alone, first. */
static void build_probed(void *ctx, const struct error *err)
{
	struct change_call *call = ctx;
	const struct change_leg *leg = &call->change->legs[call->leg - 1];

	if (err != NULL) {
		call_fail(call, "the destination cannot be read", err);
		call->next(call);
	} else if (path_usable(leg->from)) {
		lu_path_compare(leg->from->path, leg->to->path, false, OLD_PATH_TIMEOUT_NS,
		    build_compared, call);
	} else {
		call->next(call);
	}
}

static void build_path_up(void *ctx, const struct error *err)
{
	struct change_call *call = ctx;
	const struct change_leg *leg = &call->change->legs[call->leg++];

	if (err != NULL) {
		call_fail(call, "the destination is not usable", err);
		call->next(call);
	} else {
		lu_path_probe(leg->to->path, OLD_PATH_TIMEOUT_NS, build_probed, call);
	}
}

/* Leg by leg, before anything is held: the destination is up and has the same data. */
static void build_next_leg(struct change_call *call)
{
	struct ctl_change *c = call->change;

	if (c->dropped) { /* the change was given up meanwhile: nobody would take down what is made now */
		call_fail(call, "given up", NULL);
	}
	/* A path that lacks the network ID cannot be tried before it has it. */
	if (call->done.ok && call->leg < c->nr_legs && !c->take_network_id) {
		lu_path_wait_up(c->legs[call->leg].to->path, c->spec.policy.prepare_ns / 3,
		    build_path_up, call);
		return;
	}
	if (call->done.ok && c->other_face == NULL && build_other(c, call->reason) != 0) {
		call->done.ok = false;
	}
	call_end(call);
}

static void act_build(struct ctl_change *c, uint64_t token)
{
	struct change_call *call = call_new(c, token);

	call->next = build_next_leg;
	build_next_leg(call);
}

/* -- HOLD and what goes on beside it -- */

static void drained(void *ctx, struct volume_hold *hold, uint64_t drain_us)
{
	struct ctl_change *c = ctx;
	struct change_call *call = c->hold_call;

	if (call != NULL) {
		c->hold_call = NULL;
		call->done.drain_us = drain_us;
		call_end(call);
	}
}

static void act_hold(struct ctl_change *c, uint64_t token)
{
	struct ctl_volume *v = c->volume;
	struct range *ranges = calloc(v->nr_extents, sizeof(*ranges));
	struct volume_hold_params params = {.ranges = ranges, .drained = drained, .ctx = c};
	struct change_call *call = call_new(c, token);
	int rc;

	sluice_assert(ranges != NULL && c->hold == NULL);
	for (size_t i = 0; i < v->nr_extents; i++) {
		for (size_t k = 0; k < c->nr_legs; k++) {
			if (c->legs[k].lu == v->extents[i].lu) {
				ranges[params.nr_ranges++] =
				    (struct range){v->extents[i].offset, v->extents[i].length};
			}
		}
	}
	params.kind = HOLD_ALL;
	rc = volume_hold(v->volume, &params, &c->hold);
	free(ranges);
	if (rc != 0) {
		call_fail(call, "too many holds on the volume", NULL);
		call_end(call);
		return;
	}
	c->hold_call = call;
}

static void act_ask_progress(struct ctl_change *c, uint64_t token)
{
	struct change_call *call = call_new(c, token);

	for (size_t i = 0; i < c->nr_legs; i++) {
		if (lu_route_stalled_ns(side_route(c, &c->legs[i], false)) >=
		    c->spec.policy.stall_ns) {
			call_fail(call, "the old path makes no progress", NULL);
		}
	}
	call_end(call);
}

static void take_back_ended(struct change_leg *leg)
{
	leg->taking_back = false;
	change_call_ended(leg->change);
}

static void taken_back(void *ctx)
{
	take_back_ended(ctx);
}

static void act_take_back(struct ctl_change *c)
{
	for (size_t i = 0; i < c->nr_legs; i++) {
		struct lu_route *r = side_route(c, &c->legs[i], false);

		if (!c->legs[i].taking_back && lu_route_stalled_ns(r) >= c->spec.policy.stall_ns) {
			c->legs[i].taking_back = true;
			c->calls++;
			lu_route_take_back(r, taken_back, &c->legs[i]);
		}
	}
}

/* The old routes carry requests again. */
static void resume_old_routes(struct ctl_change *c)
{
	for (size_t i = 0; i < c->nr_legs; i++) {
		struct lu_route *r = side_route(c, &c->legs[i], false);

		if (r != NULL) {
			lu_route_resume(r);
		}
		if (c->legs[i].taking_back) { /* its own word does not come any more */
			take_back_ended(&c->legs[i]);
		}
	}
}

/* -- CHECK_QUIET -- */

static void quiet_probed(void *ctx, const struct error *err)
{
	struct change_call *call = ctx;

	if (err != NULL) {
		call_fail(call, "the destination failed the check", err);
	}
	call->next(call);
}

/*
 * A comparison that ended without a verdict says nothing of which side it was. A failing old path is
 * no reason to stay; a destination that does not answer by itself is one not to go.
 */
static void quiet_compared(void *ctx, const struct error *err)
{
	struct change_call *call = ctx;
	struct ctl_change *c = call->change;

	if (err == NULL) {
		call->next(call);
	} else if (err->code == -ESTALE) {
		call_fail(call, "the destination leads to other data", err);
		call->next(call);
	} else {
		lu_path_probe(c->legs[call->leg - 1].to->path, c->spec.policy.drain_ns / 4,
		    quiet_probed, call);
	}
}

/* Nobody else writes to the LU while this volume is held: one difference is proof. */
static bool held_alone(const struct ctl_change *c, const struct ctl_lu *lu)
{
	list_for_each (link, &c->ctl->volumes) {
		const struct ctl_volume *v = list_entry(link, struct ctl_volume, link);

		if (v != c->volume && ctl_volume_route(v, lu) != NULL) {
			return false;
		}
	}
	list_for_each (link, &c->ctl->lus) {
		if (list_entry(link, struct ctl_lu, link)->inner == lu) {
			return false;
		}
	}
	return true;
}

static void quiet_flushed(void *ctx, const struct error *err)
{
	struct change_call *call = ctx;
	const struct change_leg *leg = &call->change->legs[call->leg++];

	if (err != NULL) {
		call->change->flush_new = true;
	}
	if (err == NULL && path_usable(leg->from) && path_usable(leg->to)) {
		lu_path_compare(leg->from->path, leg->to->path, held_alone(call->change, leg->lu),
		    call->change->spec.policy.drain_ns / 4, quiet_compared, call);
	} else {
		call->next(call); /* nothing to compare with: it was compared when it came up */
	}
}

/*
 * Nobody writes: what was written is made durable through the old path, and both paths must show
 * the same. An old path that does not answer is dead: then the flush goes through the new one, to
 * the same LU.
 */
static void quiet_next_leg(struct change_call *call)
{
	struct ctl_change *c = call->change;
	struct lu_route *r;

	if (!call->done.ok || call->leg == c->nr_legs) {
		call_end(call);
		return;
	}
	r = side_route(c, &c->legs[call->leg], false);
	if (path_usable(c->legs[call->leg].from) && lu_route_active(r) != NULL) {
		lu_route_flush(r, c->spec.policy.drain_ns / 4, quiet_flushed, call);
	} else {
		c->flush_new = true;
		quiet_flushed(call, NULL);
	}
}

static void act_check_quiet(struct ctl_change *c, uint64_t token)
{
	struct change_call *call = call_new(c, token);

	call->next = quiet_next_leg;
	quiet_next_leg(call);
}

/* -- moving the network ID -- */

static void publish(struct change_call *call, bool new_side);

/* The other way was asked for while this one was under way: it must not go on. */
static bool superseded(const struct change_call *call)
{
	return call->token != call->change->publish_token;
}

static void id_path_up(void *ctx, const struct error *err)
{
	struct change_call *call = ctx;

	if (err != NULL) {
		call_fail(
		    call, "the target does not let the destination in with the network ID", err);
	}
	if (--call->parts == 0) {
		publish(call, true);
	}
}

/* Never both with the same: the giver loses it before the taker gets it. */
static void move_id(struct ctl_interface *giver, const char *giver_gets,
    struct ctl_interface *taker, const char *id)
{
	interface_set_network_id(giver->interface, giver_gets);
	interface_set_network_id(taker->interface, id);
}

static void reopen(struct ctl_interface *i)
{
	for (unsigned k = 0; k < interface_path_count(i->interface); k++) {
		lu_path_reopen(interface_path(i->interface, k));
	}
}

/* All sessions that used the ID are logged out: now the other interface may use it. */
static void from_logged_out(void *ctx)
{
	struct change_call *call = ctx;
	struct ctl_change *c = call->change;

	if (--call->parts > 0) {
		return;
	}
	if (superseded(call)) {
		reopen(c->from);
		call_end(call);
		return;
	}
	move_id(c->from, "", c->to, c->network_id);
	c->id_moved = true;
	reopen(c->to);
	call->parts = (unsigned)c->nr_legs;
	for (size_t i = 0; i < c->nr_legs; i++) {
		lu_path_wait_up(c->legs[i].to->path, c->spec.policy.verify_ns, id_path_up, call);
	}
}

static void log_out(struct ctl_interface *i, struct change_call *call, void (*done)(void *ctx))
{
	call->parts = interface_path_count(i->interface) + 1;
	for (unsigned k = 0; k < interface_path_count(i->interface); k++) {
		lu_path_suspend(interface_path(i->interface, k), done, call);
	}
	done(call);
}

/*
 * The destination comes after it, so that requests go where they came from. A path that is still
 * down is the routes' matter.
 */
static void from_is_back(void *ctx, const struct error *err)
{
	struct change_call *call = ctx;
	struct ctl_change *c = call->change;

	if (--call->parts > 0) {
		return;
	}
	if (c->replaced_network_id[0] != '\0') {
		reopen(c->to);
	}
	publish(call, false);
}

/* The way back: the same, with the roles changed, and the old side must come up again. */
static void to_logged_out(void *ctx)
{
	struct change_call *call = ctx;
	struct ctl_change *c = call->change;

	if (--call->parts > 0) {
		return;
	}
	move_id(c->to, c->replaced_network_id, c->from, c->network_id);
	c->id_moved = false;
	reopen(c->from);
	call->parts = 1;
	for (size_t i = 0; i < c->nr_legs; i++) {
		if (c->legs[i].from != NULL) {
			call->parts++;
			lu_path_wait_up(
			    c->legs[i].from->path, c->spec.policy.verify_ns, from_is_back, call);
		}
	}
	from_is_back(call, NULL);
}

/* -- PUBLISH -- */

static void face_published(void *ctx)
{
	call_end(ctx);
}

static void publish(struct change_call *call, bool new_side)
{
	struct ctl_change *c = call->change;

	if (superseded(call)) {
		call_end(call);
		return;
	}
	/* A change that is recovered goes back without having built the way back. */
	if (call->done.ok && side_face(c, new_side) == NULL && build_other(c, call->reason) != 0) {
		call->done.ok = false;
	}
	if (!call->done.ok) {
		call_end(call);
	} else if (volume_publish(
		       c->volume->volume, side_face(c, new_side), face_published, call) != 0) {
		call_fail(call, "out of memory", NULL);
		call_end(call);
	}
}

static void act_publish_new(struct ctl_change *c, uint64_t token)
{
	struct change_call *call = call_new(c, token);

	c->publish_token = token;
	if (c->take_network_id && !c->id_moved) {
		log_out(c->from, call, from_logged_out);
	} else {
		publish(call, true);
	}
}

static void act_publish_old(struct ctl_change *c, uint64_t token)
{
	struct change_call *call = call_new(c, token);

	c->publish_token = token;
	resume_old_routes(c);
	if (c->id_moved) {
		log_out(c->to, call, to_logged_out);
	} else {
		publish(call, false);
	}
}

/* -- VERIFY -- */

static void new_flushed(void *ctx, const struct error *err)
{
	struct change_call *call = ctx;

	if (err != NULL) {
		call_fail(call, "the new path cannot flush what was written before", err);
	}
	part_ended(call);
}

static void probed(void *ctx, const struct error *err)
{
	struct change_call *call = ctx;

	if (err != NULL) {
		call_fail(call, "a probe through the new path failed", err);
	}
	part_ended(call);
}

static void probe(struct change_call *call, const struct change_leg *leg)
{
	lu_path_probe(leg->to->path, call->change->spec.policy.verify_ns, probed, call);
}

struct verify_leg {
	struct change_call *call;
	const struct change_leg *leg;
};

/* Whatever came of the wait, the probe says it. */
static void verify_path_up(void *ctx, const struct error *err)
{
	struct verify_leg *v = ctx;

	probe(v->call, v->leg);
	free(v);
}

/* After a restart the path is only being opened. */
static void probe_when_up(struct change_call *call, const struct change_leg *leg)
{
	struct verify_leg *v;

	if (path_usable(leg->to)) {
		probe(call, leg);
		return;
	}
	v = calloc(1, sizeof(*v));
	sluice_assert(v != NULL);
	*v = (struct verify_leg){call, leg};
	lu_path_wait_up(leg->to->path, call->change->spec.policy.verify_ns / 2, verify_path_up, v);
}

static void act_verify(struct ctl_change *c, uint64_t token)
{
	struct change_call *call = call_new(c, token);

	call->parts = (unsigned)c->nr_legs;
	for (size_t i = 0; i < c->nr_legs; i++) {
		if (c->flush_new) {
			call->parts++;
			lu_route_flush(side_route(c, &c->legs[i], true), c->spec.policy.verify_ns,
			    new_flushed, call);
		}
		probe_when_up(call, &c->legs[i]);
	}
}

/* -- RELEASE -- */

static void released(void *ctx, const struct volume_hold_result *result)
{
	struct change_call *call = ctx;
	struct change_call *waiting = call->change->hold_call;

	call->change->hold_call = NULL;
	call->done.held_us = result->held_us;
	call->done.held_requests = result->held_requests;
	/* The hold ended before it had drained: nobody waits for that answer. */
	if (waiting != NULL) {
		struct ctl_change *c = waiting->change;

		free(waiting);
		c->calls--;
	}
	call_end(call);
}

static void act_release(struct ctl_change *c, uint64_t token)
{
	struct change_call *call = call_new(c, token);
	struct volume_hold *hold = c->hold;

	if (hold == NULL) {
		call_end(call);
		return;
	}
	c->hold = NULL;
	volume_release(hold, released, call);
}

void change_act(void *owner, enum change_action action, uint64_t token)
{
	struct ctl_change *c = owner;

	switch (action) {
	case CHANGE_ACT_BUILD:
		act_build(c, token);
		break;
	case CHANGE_ACT_HOLD:
		act_hold(c, token);
		break;
	case CHANGE_ACT_ASK_PROGRESS:
		act_ask_progress(c, token);
		break;
	case CHANGE_ACT_TAKE_BACK:
		act_take_back(c);
		break;
	case CHANGE_ACT_CHECK_QUIET:
		act_check_quiet(c, token);
		break;
	case CHANGE_ACT_PUBLISH_NEW:
		act_publish_new(c, token);
		break;
	case CHANGE_ACT_VERIFY:
		act_verify(c, token);
		break;
	case CHANGE_ACT_PUBLISH_OLD:
		act_publish_old(c, token);
		break;
	case CHANGE_ACT_RELEASE:
		act_release(c, token);
		break;
	case CHANGE_ACT_DROP_NEW:
		drop_side(c, true);
		break;
	case CHANGE_ACT_DROP_OLD:
		drop_side(c, false);
		break;
	case CHANGE_ACT_COUNT:
		break;
	}
}
