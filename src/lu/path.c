#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lu/errand.h"
#include "lu/fingerprint.h"
#include "lu/path_steps.h"
#include "lu/private.h"

/*
 *               .------------------- refused, failed, lost ------------------.
 *               v                                                           |
 *   IDLE --> BACKOFF --> OPENING --> CHECKING --> UP ------------------> CLOSING
 *    ^                      |            |                                ^ | | |
 *    |                      `------------+--------------------------------' | | |
 *    `----------------------- suspend --------------------------------------' | |
 *                            OPENING <---- reopen ----------------------------' |
 *                            GONE <------- free ---------------------------------'
 */
static const struct {
	const char *name;
	unsigned next; /* bits of allowed successors */
} steps[PATH_STEP_COUNT] = {
    [PATH_IDLE] = {"idle", 1 << PATH_OPENING | 1 << PATH_IDLE | 1 << PATH_GONE},
    [PATH_BACKOFF] = {"back-off", 1 << PATH_OPENING | 1 << PATH_IDLE | 1 << PATH_GONE},
    [PATH_OPENING] = {"opening", 1 << PATH_CHECKING | 1 << PATH_CLOSING | 1 << PATH_BACKOFF},
    [PATH_CHECKING] = {"checking", 1 << PATH_UP | 1 << PATH_CLOSING},
    [PATH_UP] = {"up", 1 << PATH_CLOSING},
    [PATH_CLOSING] = {"closing",
	1 << PATH_BACKOFF | 1 << PATH_IDLE | 1 << PATH_OPENING | 1 << PATH_GONE},
    [PATH_GONE] = {"gone", 0},
};

static void path_open(struct lu_path *p);

static bool step_has_carrier(enum path_step step)
{
	switch (step) {
	case PATH_OPENING:
	case PATH_CHECKING:
	case PATH_UP:
	case PATH_CLOSING:
		return true;
	case PATH_IDLE:
	case PATH_BACKOFF:
	case PATH_GONE:
	case PATH_STEP_COUNT:
		return false;
	}
	return false;
}

/* The one place where the step changes. */
static void path_go(struct lu_path *p, enum path_step step)
{
	sluice_assert((steps[p->step].next & 1u << step) != 0);
	sluice_assert(step_has_carrier(step) || p->carrier == NULL);
	reactor_timer_cancel(lu_control(p->lu), &p->timer);
	p->step = step;
}

/* -- what people see -- */

const char *lu_path_state_name(enum lu_path_state state)
{
	switch (state) {
	case LU_PATH_CONNECTING:
		return "connecting";
	case LU_PATH_UP:
		return "up";
	case LU_PATH_DAMPED:
		return "damped";
	case LU_PATH_REFUSED:
		return "refused";
	case LU_PATH_STATE_COUNT:
		break;
	}
	return "unknown";
}

enum lu_path_state lu_path_state(const struct lu_path *p)
{
	if (p->step == PATH_UP) {
		return p->damped ? LU_PATH_DAMPED : LU_PATH_UP;
	}
	return p->refused ? LU_PATH_REFUSED : LU_PATH_CONNECTING;
}

static void show(struct lu_path *p)
{
	enum lu_path_state state = lu_path_state(p);
	enum lu_path_state old = p->shown;
	const struct lu_events *events = p->lu->events;
	char text[1024];

	if (state == old || p->step == PATH_GONE || p->after == PATH_GONE) {
		return;
	}
	p->shown = state;
	if (events == NULL || events->path_state == NULL) {
		return;
	}
	snprintf(text, sizeof(text), "path to LU %s through %s is %s%s%s", p->lu->name,
	    p->interface->name, lu_path_state_name(state), p->reason[0] != '\0' ? ": " : "",
	    p->reason);
	events->path_state(events->ctx, p, old, text);
}

static PRINTF_LIKE(2, 3) void set_reason(struct lu_path *p, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(p->reason, sizeof(p->reason), fmt, ap);
	va_end(ap);
}

/* -- closing -- */

static uint64_t backoff_ns(struct lu_path *p)
{
	const struct lu_options *o = &p->lu->options;
	uint64_t delay = o->backoff_min_ns << MIN(p->attempts, 16u);

	delay = MAX(MIN(delay, o->backoff_max_ns), 1ull);
	p->attempts++;
	/* Between three and five quarters, so that many paths do not dial in step. */
	return delay * 3 / 4 + prng_below(&p->lu->prng, delay / 2 + 1);
}

static void path_enter(struct lu_path *p, enum path_step step)
{
	struct reactor *control = lu_control(p->lu);

	if (step == PATH_OPENING) {
		path_open(p);
		return;
	}
	path_go(p, step);
	reactor_timer_arm(control, &p->timer, step == PATH_BACKOFF ? backoff_ns(p) : 0);
}

static void stop_check(struct lu_path *p)
{
	fingerprint_cancel(p->check);
	p->check = NULL;
	p->reference = NULL;
}

/* Ends the session, if there is one, and goes on with `after`; being freed beats everything. */
static void path_close(struct lu_path *p, enum path_step after)
{
	switch (p->step) {
	case PATH_IDLE:
	case PATH_BACKOFF:
		path_enter(p, after);
		break;
	case PATH_OPENING:
	case PATH_CHECKING:
	case PATH_UP:
		stop_check(p);
		p->after = after;
		path_go(p, PATH_CLOSING);
		carrier_detach(p->carrier);
		break;
	case PATH_CLOSING:
		if (p->after != PATH_GONE) {
			p->after = after;
		}
		break;
	case PATH_GONE:
	case PATH_STEP_COUNT:
		break;
	}
	show(p);
}

static void tell_suspended(struct lu_path *p)
{
	void (*suspended)(void *ctx) = p->suspended;

	if (suspended != NULL) {
		p->suspended = NULL;
		suspended(p->suspended_ctx);
	}
}

static void path_destroy(struct lu_path *p)
{
	struct lu *lu = p->lu;
	void (*freed)(void *ctx) = p->freed;
	void *ctx = p->freed_ctx;

	list_for_each (pos, &lu->carriers) {
		struct carrier *k = list_entry(pos, struct carrier, link);

		if (k->path == p) {
			k->path = NULL;
		}
	}
	tell_suspended(p);
	reactor_timer_cancel(lu_control(lu), &p->timer);
	json_decref(p->address);
	lu->nr_paths--;
	free(p);
	lu_check_freed(lu);
	if (freed != NULL) {
		freed(ctx);
	}
}

void path_closed(struct lu_path *p)
{
	enum path_step after = p->after;

	sluice_assert(p->step == PATH_CLOSING);
	p->carrier = NULL;
	if (after == PATH_GONE) {
		path_go(p, PATH_GONE);
		path_destroy(p);
		return;
	}
	path_enter(p, after);
	if (after != PATH_IDLE) {
		tell_suspended(p);
	}
}

/* -- opening -- */

static void path_failed(struct lu_path *p, const struct error *err)
{
	set_reason(p, "%s", err->message);
	path_tell_waiters(p, err);
	path_close(p, PATH_BACKOFF);
}

static void path_refuse(struct lu_path *p, const struct error *err)
{
	p->refused = true;
	path_failed(p, err);
}

static void path_open(struct lu_path *p)
{
	struct error err = {0};

	path_go(p, PATH_OPENING);
	if (carrier_open(p, &p->carrier, &err) != 0) {
		set_reason(p, "%s", err.message);
		path_tell_waiters(p, &err);
		path_enter(p, PATH_BACKOFF);
		show(p);
	}
}

static bool same_scheme(const char *a, const char *b)
{
	size_t len = strcspn(a, ":");

	return len == strcspn(b, ":") && strncmp(a, b, len) == 0;
}

/* What a new session says about itself. *ret_proven: its identity is the LU's. */
static int check_session(struct lu_path *p, bool *ret_proven, struct error *err)
{
	struct lu *lu = p->lu;
	const struct lu_session *s = p->carrier->session;
	const char *identity = s->identity.text;
	bool comparable = identity[0] != '\0' && same_scheme(identity, lu->identity.text);

	if (s->target.size == 0) {
		return error_set(err, -EINVAL, "it has no bytes");
	}
	if (s->target.size < lu->size) {
		error_set(err, -ESTALE, "it has %llu bytes, LU %s has %llu",
		    (unsigned long long)s->target.size, lu->name, (unsigned long long)lu->size);
		error_hint(err, "the path leads to something else, or it was truncated");
		return -ESTALE;
	}
	if (comparable && strcmp(identity, lu->identity.text) != 0) {
		error_set(
		    err, -ESTALE, "it is %s, LU %s is %s", identity, lu->name, lu->identity.text);
		error_hint(err, "the path leads to another LU");
		return -ESTALE;
	}
	*ret_proven = comparable;
	return lu_accept_limits(lu, &s->target.limits, err);
}

static void path_up(struct lu_path *p)
{
	struct lu *lu = p->lu;
	const struct lu_session *s = p->carrier->session;
	uint64_t now = lu_now(lu);

	if (lu->size == 0) {
		lu->size = s->target.size;
	}
	if (lu->identity.text[0] == '\0') {
		lu->identity = s->identity;
	}
	p->refused = false;
	p->reason[0] = '\0';
	p->damped = p->nr_losses >= LU_DAMP_LOSSES &&
		    now - p->losses_ns[p->nr_losses % LU_DAMP_LOSSES] < lu->options.damp_window_ns;
	if (p->damped) {
		set_reason(p, "lost %u times in %llu s", LU_DAMP_LOSSES,
		    (unsigned long long)(lu->options.damp_window_ns / NS_PER_S));
	}
	p->up_since_ns = now;
	p->probe_due_ns = now + lu->options.probe_interval_ns;
	path_go(p, PATH_UP);
	reactor_timer_arm(lu_control(lu), &p->timer, lu->options.damp_stable_ns);
	publish(lu);
	path_tell_waiters(p, NULL);
	show(p);
}

static void path_check(struct lu_path *p);

static void on_checked(void *ctx, const struct error *err)
{
	struct lu_path *p = ctx;
	bool reference_gone = !carrier_usable(p->reference);
	struct error refusal;

	p->check = NULL;
	p->reference = NULL;
	if (err == NULL) {
		path_up(p);
	} else if (err->code == -ESTALE) {
		refusal = *err;
		path_refuse(p, &refusal);
	} else if (reference_gone && carrier_usable(p->carrier)) {
		path_check(p);
	} else {
		path_failed(p, err);
	}
}

static struct carrier *find_reference(const struct lu_path *p)
{
	list_for_each (pos, &p->lu->paths) {
		struct lu_path *other = list_entry(pos, struct lu_path, lu_link);

		if (other != p && path_usable(other)) {
			return other->carrier;
		}
	}
	return NULL;
}

/* Compares with a path that is up, if there is one; else there is nothing to compare with. */
static void path_check(struct lu_path *p)
{
	struct fingerprint_params params = {
	    .a = find_reference(p),
	    .b = p->carrier,
	    .timeout_ns = p->lu->options.io_timeout_ns,
	    .done = on_checked,
	    .ctx = p,
	};
	struct error err = {0};

	if (params.a == NULL) {
		path_up(p);
		return;
	}
	p->reference = params.a;
	if (fingerprint_start(p->lu, &params, &p->check) != 0) {
		error_set(&err, -ENOMEM, "out of memory");
		path_failed(p, &err);
	}
}

void path_opened(struct lu_path *p, const struct error *err)
{
	struct error refusal = {0};
	bool proven = false;

	sluice_assert(p->step == PATH_OPENING);
	if (err != NULL) {
		p->refused = false;
		path_failed(p, err);
		return;
	}
	path_go(p, PATH_CHECKING);
	if (check_session(p, &proven, &refusal) != 0) {
		path_refuse(p, &refusal);
	} else if (proven) {
		path_up(p);
	} else {
		path_check(p);
	}
}

void path_lost(struct lu_path *p, const char *why)
{
	struct error err = {0};

	if (p->step == PATH_UP) {
		p->losses_ns[p->nr_losses++ % LU_DAMP_LOSSES] = lu_now(p->lu);
	}
	if (p->step == PATH_UP || p->step == PATH_CHECKING) {
		error_set(&err, -ECONNRESET, "%s", why);
		path_failed(p, &err);
	}
}

/* -- timers -- */

static void on_timer(struct reactor_timer *t)
{
	struct lu_path *p = container_of(t, struct lu_path, timer);

	switch (p->step) {
	case PATH_IDLE:
		tell_suspended(p);
		return;
	case PATH_BACKOFF:
		path_open(p);
		return;
	case PATH_UP:
		p->attempts = 0;
		p->damped = false;
		p->reason[0] = '\0';
		publish(p->lu);
		show(p);
		return;
	case PATH_GONE:
		path_destroy(p);
		return;
	case PATH_OPENING:
	case PATH_CHECKING:
	case PATH_CLOSING:
	case PATH_STEP_COUNT:
		return;
	}
}

bool path_usable(const struct lu_path *p)
{
	return p->step == PATH_UP && carrier_usable(p->carrier);
}

bool path_stable(const struct lu_path *p)
{
	return path_usable(p) && lu_now(p->lu) - p->up_since_ns >= p->lu->options.damp_stable_ns;
}

/* -- life -- */

static int check_new_path(
    const struct lu *lu, const struct interface *i, const json_t *address, struct error *err)
{
	bool is_volatile = (i->driver->flags & LU_DRIVER_VOLATILE) != 0;

	list_for_each (pos, &lu->paths) {
		const struct lu_path *p = list_entry(pos, struct lu_path, lu_link);

		is_volatile =
		    is_volatile || (p->interface->driver->flags & LU_DRIVER_VOLATILE) != 0;
	}
	if (is_volatile && !list_empty(&lu->paths)) {
		error_set(err, -EINVAL, "an LU of kind %s has one path only", i->driver->kind);
		error_hint(err, "its data is gone with the session");
		return -EINVAL;
	}
	return i->driver->check(address, err);
}

int lu_path_new(struct lu *lu, struct interface *i, const json_t *address, struct io_target *inner,
    struct lu_path **ret_path, struct error *err)
{
	struct lu_path *p;
	int rc = check_new_path(lu, i, address, err);

	if (rc != 0) {
		return rc;
	}
	p = calloc(1, sizeof(*p));
	if (p == NULL || (p->address = json_deep_copy(address)) == NULL) {
		free(p);
		return error_set(err, -ENOMEM, "out of memory");
	}
	p->lu = lu;
	p->interface = i;
	p->inner = inner;
	p->step = PATH_BACKOFF;
	p->after = PATH_BACKOFF;
	p->shown = LU_PATH_CONNECTING;
	list_init(&p->waiters);
	reactor_timer_init(&p->timer, on_timer);
	reactor_timer_arm(lu_control(lu), &p->timer, 0);
	list_append(&lu->paths, &p->lu_link);
	list_append(&i->paths, &p->interface_link);
	lu->nr_paths++;
	*ret_path = p;
	return 0;
}

void lu_path_free(struct lu_path *p, void (*freed)(void *ctx), void *ctx)
{
	struct error err = {0};

	p->freed = freed;
	p->freed_ctx = ctx;
	if (p->health.degraded) {
		p->interface->nr_degraded--; /* no event: nothing got better */
	}
	list_remove(&p->lu_link);
	list_remove(&p->interface_link);
	list_for_each (pos, &p->lu->routes) {
		route_forget_path(list_entry(pos, struct lu_route, link), p);
	}
	error_set(&err, -ECANCELED, "the path was removed");
	path_tell_waiters(p, &err);
	p->after = PATH_GONE;
	path_close(p, PATH_GONE);
}

void lu_path_reopen(struct lu_path *p)
{
	set_reason(p, "being opened again");
	path_close(p, PATH_OPENING);
}

void lu_path_suspend(struct lu_path *p, void (*done)(void *ctx), void *ctx)
{
	struct error err = {0};

	error_set(&err, -ECANCELED, "the path was suspended");
	sluice_assert(p->suspended == NULL);
	p->suspended = done;
	p->suspended_ctx = ctx;
	set_reason(p, "suspended");
	path_tell_waiters(p, &err);
	path_close(p, PATH_IDLE);
}

bool path_try_now(struct lu_path *p)
{
	if (p->step == PATH_BACKOFF) {
		reactor_timer_arm(lu_control(p->lu), &p->timer, 0);
	}
	return p->step != PATH_IDLE;
}
