#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lu/errand.h"
#include "lu/fingerprint.h"
#include "lu/path_steps.h"
#include "lu/private.h"

#define SAMPLE_NS (NS_PER_S)

struct lu *lu_path_lu(const struct lu_path *p)
{
	return p->lu;
}

struct interface *lu_path_interface(const struct lu_path *p)
{
	return p->interface;
}

const json_t *lu_path_address(const struct lu_path *p)
{
	return p->address;
}

const char *lu_path_reason(const struct lu_path *p)
{
	return p->reason;
}

void lu_path_describe(const struct lu_path *p, char *buf, size_t len)
{
	p->interface->driver->describe(p->address, buf, len);
}

unsigned lu_path_confirm_dead(struct lu_path *p)
{
	unsigned n = 0;

	list_for_each (pos, &p->lu->carriers) {
		struct carrier *k = list_entry(pos, struct carrier, link);

		if ((k->path == p || k->path == NULL) && carrier_abandon(k)) {
			n++;
		}
	}
	return n;
}

int lu_path_control(struct lu_path *p, const json_t *command, struct error *err)
{
	const struct lu_driver *driver = p->interface->driver;

	if (driver->control == NULL) {
		return error_set(
		    err, -EOPNOTSUPP, "paths of kind %s take no commands", driver->kind);
	}
	if (p->carrier == NULL || !carrier_usable(p->carrier)) {
		return error_set(err, -ENOTCONN, "the path is not connected: %s", p->reason);
	}
	return driver->control(p->carrier->session, command, err);
}

/* -- waiting for it to come up -- */

struct path_waiter {
	struct list link; /* lu_path.waiters, or on none once it has an outcome */
	struct reactor *control;
	struct reactor_timer timer;
	struct error outcome; /* a time-out until something else ends the wait */
	void (*done)(void *ctx, const struct error *err);
	void *ctx;
};

static void on_waited(struct reactor_timer *t)
{
	struct path_waiter *w = container_of(t, struct path_waiter, timer);

	list_remove(&w->link);
	w->done(w->ctx, w->outcome.code != 0 ? &w->outcome : NULL);
	free(w);
}

static void end_wait(struct path_waiter *w, const struct error *err)
{
	list_remove(&w->link);
	w->outcome = err != NULL ? *err : (struct error){0};
	reactor_timer_arm(w->control, &w->timer, 0);
}

void path_tell_waiters(struct lu_path *p, const struct error *err)
{
	list_for_each_safe (pos, &p->waiters) {
		end_wait(list_entry(pos, struct path_waiter, link), err);
	}
}

void lu_path_wait_up(struct lu_path *p, uint64_t timeout_ns,
    void (*done)(void *ctx, const struct error *err), void *ctx)
{
	struct path_waiter *w = calloc(1, sizeof(*w));
	struct error err = {0};

	if (w == NULL) {
		error_set(&err, -ENOMEM, "out of memory");
		done(ctx, &err);
		return;
	}
	w->control = lu_control(p->lu);
	w->done = done;
	w->ctx = ctx;
	error_set(&w->outcome, -ETIMEDOUT, "the path did not come up in time");
	reactor_timer_init(&w->timer, on_waited);
	reactor_timer_arm(w->control, &w->timer, timeout_ns);
	list_append(&p->waiters, &w->link);
	if (path_usable(p)) {
		end_wait(w, NULL);
	} else if (!path_try_now(p)) {
		error_set(&err, -ENOTCONN, "the path is suspended");
		end_wait(w, &err);
	}
}

/* -- probes on request -- */

struct path_question {
	struct reactor *control;
	struct reactor_timer timer; /* to answer an error outside the call */
	struct error error;
	void (*done)(void *ctx, const struct error *err);
	void *ctx;
};

static void answer_error(struct reactor_timer *t)
{
	struct path_question *q = container_of(t, struct path_question, timer);

	q->done(q->ctx, &q->error);
	free(q);
}

static void fail_later(
    struct lu *lu, const struct fingerprint_params *params, int code, const char *message)
{
	struct path_question *q = calloc(1, sizeof(*q));
	struct error err = {0};

	error_set(&err, code, "%s", message);
	if (q == NULL) {
		params->done(params->ctx, &err);
		return;
	}
	q->error = err;
	q->done = params->done;
	q->ctx = params->ctx;
	reactor_timer_init(&q->timer, answer_error);
	reactor_timer_arm(lu_control(lu), &q->timer, 0);
}

static void ask(struct lu_path *a, struct lu_path *b, struct fingerprint_params *params)
{
	struct fingerprint *f;

	if (!path_usable(a) || (b != NULL && !path_usable(b))) {
		fail_later(a->lu, params, -ENOTCONN, "the path is not connected");
		return;
	}
	if (b != NULL && lu_size(b->lu) < lu_size(a->lu)) {
		fail_later(a->lu, params, -ESTALE, "other data: the destination is smaller");
		return;
	}
	params->a = a->carrier;
	params->b = b != NULL ? b->carrier : NULL;
	if (fingerprint_start(a->lu, params, &f) != 0) {
		fail_later(a->lu, params, -ENOMEM, "out of memory");
	}
}

void lu_path_probe(struct lu_path *p, uint64_t timeout_ns,
    void (*done)(void *ctx, const struct error *err), void *ctx)
{
	struct fingerprint_params params = {
	    .timeout_ns = timeout_ns,
	    .done = done,
	    .ctx = ctx,
	};

	ask(p, NULL, &params);
}

void lu_path_compare(struct lu_path *a, struct lu_path *b, bool quiet, uint64_t timeout_ns,
    void (*done)(void *ctx, const struct error *err), void *ctx)
{
	struct fingerprint_params params = {
	    .quiet = quiet,
	    .timeout_ns = timeout_ns,
	    .done = done,
	    .ctx = ctx,
	};

	ask(a, b, &params);
}

/* -- health and the probe of an idle path -- */

void path_totals(const struct lu_path *p, struct health_totals *into)
{
	health_totals_sum(into, &p->past);
	if (p->carrier != NULL) {
		carrier_totals(p->carrier, into);
	}
}

void stats_fill(struct lu_stats *s, const struct health *h, const struct health_totals *t)
{
	*s = (struct lu_stats){
	    .requests = t->ended,
	    .bytes = t->bytes,
	    .errors = t->errors,
	    .transport_errors = t->transport_errors,
	    .timeouts = t->timeouts,
	    .in_flight = t->started - t->ended,
	    .iops = h->iops,
	    .bytes_per_s = h->bytes_per_s,
	    .latency_us = h->latency_us,
	    .baseline_us = h->baseline_us,
	    .error_rate = h->error_rate,
	};
}

void lu_path_stats(const struct lu_path *p, struct lu_stats *ret_stats)
{
	struct health_totals totals = {0};

	path_totals(p, &totals);
	stats_fill(ret_stats, &p->health, &totals);
}

struct path_probe {
	struct errand errand;
	void *buffer;
};

static void on_probed(struct errand *e)
{
	struct path_probe *probe = e->owner;

	if (e->carrier->path != NULL) {
		e->carrier->path->probing = false;
	}
	free(probe->buffer);
	free(probe);
}

/* Finds out that a session is broken before a request does, and lets health see a path that carries
 * nothing. Without memory there is no probe this time. */
static void probe_idle(struct lu_path *p)
{
	uint32_t length = p->lu->limits.block_size;
	struct path_probe *probe = calloc(1, sizeof(*probe));
	struct errand_request request = {.op = IO_READ, .length = length};

	if (probe == NULL ||
	    (probe->buffer = aligned_alloc(4096, ALIGN_UP(length, 4096))) == NULL) {
		free(probe);
		return;
	}
	request.buffer = probe->buffer;
	p->probing = true;
	p->probe_reactor = (p->probe_reactor + 1) % p->lu->group->nr_data;
	errand_start(&probe->errand, p->carrier, p->probe_reactor, &request, on_probed, probe);
}

void path_tick(struct lu_path *p, uint64_t now_ns)
{
	struct health_totals totals = {0};

	path_totals(p, &totals);
	if (now_ns >= p->sample_due_ns) {
		p->sample_due_ns = now_ns + SAMPLE_NS;
		interface_path_news(p->interface, p, health_sample(&p->health, &totals, now_ns));
	}
	if (path_usable(p) && !p->probing && now_ns >= p->probe_due_ns) {
		p->probe_due_ns = now_ns + p->lu->options.probe_interval_ns;
		if (totals.ended == p->probe_seen) {
			probe_idle(p);
			totals.ended++; /* the probe itself is no sign of use */
		}
		p->probe_seen = totals.ended;
	}
}
