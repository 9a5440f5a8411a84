#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lu/errand.h"
#include "lu/private.h"

/*
 *   OPENING --------------------------------------------> CLOSING -> FORGOTTEN
 *      |                                                     ^           ^
 *      `-> OPEN -> DETACHING --(plan without it is out)------'           |
 *                                CLOSING -> CLOSED --(plan with its doubts is out)-> SETTLED
 *                                                            (plan after that is out)
 *
 * Freed when it is forgotten, fenced, and no errand is away.
 */

bool carrier_usable(const struct carrier *k)
{
	return k->step == CARRIER_OPEN;
}

bool carrier_busy(const struct carrier *k)
{
	for (unsigned i = 0; i < k->lu->group->nr_data; i++) {
		const struct health_counters *n = &k->channels[i].counters;

		if (counter_read(&n->started) != counter_read(&n->ended)) {
			return true;
		}
	}
	return false;
}

void carrier_totals(const struct carrier *k, struct health_totals *into)
{
	for (unsigned i = 0; i < k->lu->group->nr_data; i++) {
		health_totals_add(into, &k->channels[i].counters);
	}
}

static bool carrier_has_doubts(const struct carrier *k)
{
	for (unsigned i = 0; i < k->lu->group->nr_data; i++) {
		if (k->channels[i].nr_doubts > 0 || k->channels[i].doubt_all) {
			return true;
		}
	}
	return false;
}

static void carrier_free(struct carrier *k)
{
	for (unsigned i = 0; k->channels != NULL && i < k->lu->group->nr_data; i++) {
		free(k->channels[i].doubts);
	}
	free(k->channels);
	free(k);
}

void carrier_collect(struct carrier *k)
{
	struct lu *lu = k->lu;

	if (k->step == CARRIER_FORGOTTEN && k->fenced && k->holders == 0 &&
	    list_empty(&k->errands)) {
		list_remove(&k->link);
		carrier_free(k);
		lu_check_freed(lu);
	}
}

void carrier_hold(struct carrier *k)
{
	k->holders++;
}

void carrier_let_go(struct carrier *k)
{
	sluice_assert(k->holders > 0);
	k->holders--;
	carrier_collect(k);
}

/* -- what the driver says -- */

static void on_opened(struct lu_session *s, const struct error *err)
{
	struct carrier *k = s->owner;

	if (k->step != CARRIER_OPENING) {
		return;
	}
	if (err == NULL) {
		sluice_assert(s->target.nr_channels == k->lu->group->nr_data);
		for (unsigned i = 0; i < s->target.nr_channels; i++) {
			k->channels[i].below = s->target.channels[i];
		}
		k->step = CARRIER_OPEN;
	}
	path_opened(k->path, err);
}

static void on_lost(struct lu_session *s, const struct error *why)
{
	struct carrier *k = s->owner;

	if (k->step == CARRIER_OPEN) {
		path_lost(k->path, why->message);
	}
}

static void on_closed(struct lu_session *s)
{
	struct carrier *k = s->owner;
	struct lu *lu = k->lu;
	bool was_used = k->channels[0].below != NULL;

	sluice_assert(k->step == CARRIER_CLOSING);
	k->step = was_used ? CARRIER_CLOSED : CARRIER_FORGOTTEN;
	if (was_used) {
		k->plan_wanted = publish(lu);
	}
	if (lu->freeing) {
		carrier_abandon(k);
	}
	if (k->path != NULL) {
		carrier_totals(k, &k->path->past);
		path_closed(k->path);
	}
	lu_check_freed(lu);
}

static void on_fenced(struct lu_session *s)
{
	struct carrier *k = s->owner;

	k->fenced = true;
	k->session = NULL;
	if (carrier_has_doubts(k)) {
		publish(k->lu);
	}
	carrier_collect(k);
}

static const struct lu_session_events carrier_events = {
    .opened = on_opened,
    .lost = on_lost,
    .closed = on_closed,
    .fenced = on_fenced,
};

/* A reactor saw a transport status, or waited too long. */
static void on_channel_lost(struct reactor_msg *msg)
{
	struct carrier_channel *cc = container_of(msg, struct carrier_channel, lost_msg);
	struct carrier *k = cc->carrier;

	if (k->step == CARRIER_OPEN) {
		path_lost(k->path,
		    cc->timed_out ? "a request had no answer in time" : "the connection broke");
	}
}

/* -- opening -- */

static int add_channels(struct carrier *k)
{
	struct reactor_group *group = k->lu->group;

	k->channels = calloc(group->nr_data, sizeof(*k->channels));
	if (k->channels == NULL) {
		return -ENOMEM;
	}
	for (unsigned i = 0; i < group->nr_data; i++) {
		struct carrier_channel *cc = &k->channels[i];

		cc->carrier = k;
		cc->control = group->control;
		cc->reactor = group->data[i];
		cc->settled = &k->settled;
		cc->lost_fn = on_channel_lost;
		list_init(&cc->in_flight);
	}
	return 0;
}

static int driver_open(struct carrier *k, struct error *err)
{
	struct lu_path *p = k->path;
	struct lu_session_params params = {
	    .group = k->lu->group,
	    .address = p->address,
	    .network_id = p->interface->network_id,
	    .bind = p->interface->bind,
	    .events = &carrier_events,
	    .owner = k,
	    .connect_timeout_ns = k->lu->options.connect_timeout_ns,
	    .inner = p->inner,
	};

	return p->interface->driver->open(&params, &k->session, err);
}

int carrier_open(struct lu_path *p, struct carrier **ret_carrier, struct error *err)
{
	struct carrier *k = calloc(1, sizeof(*k));
	int rc;

	if (k == NULL) {
		return error_set(err, -ENOMEM, "out of memory");
	}
	k->lu = p->lu;
	k->path = p;
	list_init(&k->errands);
	rc = add_channels(k);
	if (rc != 0) {
		error_set(err, rc, "out of memory");
	} else {
		rc = driver_open(k, err);
	}
	if (rc != 0) {
		carrier_free(k);
		return rc;
	}
	list_append(&p->lu->carriers, &k->link);
	*ret_carrier = k;
	return 0;
}

/* -- closing -- */

void carrier_detach(struct carrier *k)
{
	struct lu *lu = k->lu;

	switch (k->step) {
	case CARRIER_OPENING:
		k->step = CARRIER_CLOSING;
		k->session->driver->close(k->session);
		return;
	case CARRIER_OPEN:
		k->step = CARRIER_DETACHING;
		k->plan_wanted = publish(lu);
		list_for_each (pos, &lu->routes) {
			route_leave(list_entry(pos, struct lu_route, link), k);
		}
		return;
	case CARRIER_DETACHING:
	case CARRIER_CLOSING:
	case CARRIER_CLOSED:
	case CARRIER_SETTLED:
	case CARRIER_FORGOTTEN:
		return;
	}
}

void carrier_plan_done(struct carrier *k, uint64_t plan)
{
	if (plan < k->plan_wanted) {
		return;
	}
	switch (k->step) {
	case CARRIER_DETACHING:
		k->step = CARRIER_CLOSING;
		k->session->driver->close(k->session);
		return;
	case CARRIER_CLOSED:
		k->step = CARRIER_SETTLED;
		atomic_store(&k->settled, true);
		k->plan_wanted = publish(k->lu);
		return;
	case CARRIER_SETTLED:
		k->step = CARRIER_FORGOTTEN;
		carrier_collect(k);
		return;
	case CARRIER_OPENING:
	case CARRIER_OPEN:
	case CARRIER_CLOSING:
	case CARRIER_FORGOTTEN:
		return;
	}
}

bool carrier_abandon(struct carrier *k)
{
	if (k->step < CARRIER_CLOSED || k->fenced || k->abandoned) {
		return false;
	}
	k->abandoned = true;
	k->session->driver->abandon(k->session);
	return true;
}

/* Loses the session when an errand has had no answer for too long. */
static void check_errands(struct carrier *k, uint64_t now_ns)
{
	uint64_t limit = k->lu->options.io_timeout_ns;

	list_for_each (pos, &k->errands) {
		const struct errand *e = list_entry(pos, struct errand, link);

		if (now_ns > e->sent_ns + limit) {
			path_lost(k->path, "a probe had no answer in time");
			return;
		}
	}
}

void carrier_tick(struct carrier *k, uint64_t now_ns)
{
	if (k->step == CARRIER_OPEN) {
		check_errands(k, now_ns);
	} else if (k->step >= CARRIER_CLOSED && !carrier_has_doubts(k)) {
		/* Nothing depends on the proof: do not collect half-closed sessions. */
		carrier_abandon(k);
	}
}
