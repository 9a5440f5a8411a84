#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "lu/private.h"

const struct lu_options lu_options_default = {
    .no_path_timeout_ns = 30 * NS_PER_S,
    .io_timeout_ns = 5 * NS_PER_S,
    .connect_timeout_ns = 3 * NS_PER_S,
    .probe_interval_ns = 2 * NS_PER_S,
    .backoff_min_ns = 100 * NS_PER_MS,
    .backoff_max_ns = 5 * NS_PER_S,
    .damp_window_ns = 30 * NS_PER_S,
    .damp_stable_ns = 5 * NS_PER_S,
};

#define TICK_MIN_NS (5 * NS_PER_MS)
#define TICK_MAX_NS (500 * NS_PER_MS)

struct reactor *lu_control(const struct lu *lu)
{
	return lu->group->control;
}

uint64_t lu_now(const struct lu *lu)
{
	return reactor_now_ns(lu->group->control);
}

/* -- the tick -- */

/* Fine enough for the shortest of the time limits. */
static uint64_t tick_ns(const struct lu *lu)
{
	const struct lu_options *o = &lu->options;
	uint64_t shortest = MIN(o->io_timeout_ns, o->no_path_timeout_ns);

	shortest = MIN(shortest, o->probe_interval_ns);
	return MIN(MAX(shortest / 8, TICK_MIN_NS), TICK_MAX_NS);
}

static bool all_gone(const struct lu *lu)
{
	return list_empty(&lu->carriers) && list_empty(&lu->routes) &&
	       list_empty(&lu->leaving_routes) && lu->nr_paths == 0 && !lu->publisher.running;
}

static void lu_destroy(struct lu *lu)
{
	void (*freed)(void *ctx) = lu->freed;
	void *ctx = lu->freed_ctx;

	reactor_timer_cancel(lu_control(lu), &lu->tick);
	publisher_fini(&lu->publisher);
	free(lu);
	if (freed != NULL) {
		freed(ctx);
	}
}

/* True when reactors have to be asked to look at their lists. */
static bool needs_scan(const struct lu *lu)
{
	list_for_each (pos, &lu->carriers) {
		struct carrier *k = list_entry(pos, struct carrier, link);

		if (carrier_usable(k) && carrier_busy(k)) {
			return true;
		}
	}
	list_for_each (pos, &lu->routes) {
		if (route_waiting(list_entry(pos, struct lu_route, link)) > 0) {
			return true;
		}
	}
	return false;
}

static void on_tick(struct reactor_timer *t)
{
	struct lu *lu = container_of(t, struct lu, tick);
	uint64_t now = lu_now(lu);

	if (lu->freeing && all_gone(lu)) {
		lu_destroy(lu);
		return;
	}
	reactor_timer_arm(lu_control(lu), &lu->tick, tick_ns(lu));
	list_for_each_safe (carrier, &lu->carriers) {
		carrier_tick(list_entry(carrier, struct carrier, link), now);
	}
	list_for_each_safe (path, &lu->paths) {
		path_tick(list_entry(path, struct lu_path, lu_link), now);
	}
	list_for_each_safe (route, &lu->routes) {
		route_tick(list_entry(route, struct lu_route, link), now);
	}
	if (needs_scan(lu)) {
		publish(lu);
	}
	publish_now(lu);
}

void lu_check_freed(struct lu *lu)
{
	if (lu->freeing) {
		reactor_timer_arm(lu_control(lu), &lu->tick, 0);
	}
}

/* -- limits -- */

/* The members that a user of the target relies on; memory alignment is the driver's own matter, and
 * the preferred size is only advice. */
static const char *broken_promise(const struct io_limits *promised, const struct io_limits *merged)
{
	if (merged->block_size > promised->block_size) {
		return "bigger blocks";
	}
	if (merged->max_transfer < promised->max_transfer) {
		return "shorter transfers";
	}
	if (merged->max_iov < promised->max_iov) {
		return "fewer buffers per request";
	}
	if (merged->read_only && !promised->read_only) {
		return "read-only";
	}
	if (merged->fua != promised->fua) {
		return "no forced unit access";
	}
	if (merged->flush && !promised->flush) {
		return "a volatile cache";
	}
	if (!merged->coherent && promised->coherent) {
		return "connections that do not see each other's writes";
	}
	if (merged->discard_granularity != promised->discard_granularity) {
		return "no discard, or a coarser one";
	}
	if (merged->write_zeroes != promised->write_zeroes) {
		return "no write-zeroes";
	}
	return merged->block_status != promised->block_status ? "no block status" : NULL;
}

int lu_accept_limits(struct lu *lu, const struct io_limits *limits, struct error *err)
{
	struct io_limits merged = lu->limits;
	const char *broken;

	io_limits_merge(&merged, limits);
	if (!lu->limits_known && !lu->limits_promised) {
		merged = *limits;
	} else if (lu->limits_promised) {
		broken = broken_promise(&lu->limits, &merged);
		if (broken != NULL) {
			return error_set(err, -EINVAL,
			    "cannot do what volumes on LU %s rely on: %s", lu->name, broken);
		}
	}
	lu->limits = merged;
	lu->limits_known = true;
	return 0;
}

/* -- life -- */

static int set_names(struct lu *lu, const struct lu_params *params, struct error *err)
{
	if (strlen(params->name) >= sizeof(lu->name) || strlen(params->uuid) >= sizeof(lu->uuid) ||
	    strlen(params->identity) >= sizeof(lu->identity.text)) {
		return error_set(err, -EINVAL, "the LU's name, UUID or identity is too long");
	}
	strcpy(lu->name, params->name);
	strcpy(lu->uuid, params->uuid);
	strcpy(lu->identity.text, params->identity);
	return 0;
}

static uint64_t random_seed(void)
{
	uint64_t seed;

	/* Which blocks a fingerprint reads must not be predictable; without entropy at early boot
	 * the clock has to do. */
	if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) != sizeof(seed)) {
		seed = reactor_clock_ns();
	}
	return seed;
}

int lu_new(struct reactor_group *group, const struct lu_params *params,
    const struct lu_options *options, const struct lu_events *events, struct lu **ret_lu,
    struct error *err)
{
	struct lu *lu = calloc(1, sizeof(*lu));
	int rc;

	if (lu == NULL || publisher_init(&lu->publisher, group) != 0) {
		free(lu);
		return error_set(err, -ENOMEM, "out of memory");
	}
	rc = set_names(lu, params, err);
	if (rc != 0) {
		publisher_fini(&lu->publisher);
		free(lu);
		return rc;
	}
	lu->group = group;
	lu->size = params->size;
	lu->options = options != NULL ? *options : lu_options_default;
	lu->events = events;
	if (params->limits != NULL) {
		lu->limits = *params->limits;
		lu->limits_known = true;
	}
	list_init(&lu->paths);
	list_init(&lu->routes);
	list_init(&lu->leaving_routes);
	list_init(&lu->carriers);
	prng_seed(&lu->prng, random_seed());
	reactor_timer_init(&lu->tick, on_tick);
	reactor_timer_arm(group->control, &lu->tick, tick_ns(lu));
	*ret_lu = lu;
	return 0;
}

void lu_free(struct lu *lu, void (*freed)(void *ctx), void *ctx)
{
	sluice_assert(list_empty(&lu->routes));
	lu->freeing = true;
	lu->freed = freed;
	lu->freed_ctx = ctx;
	while (!list_empty(&lu->paths)) {
		lu_path_free(list_entry(lu->paths.next, struct lu_path, lu_link), NULL, NULL);
	}
	list_for_each (pos, &lu->carriers) {
		carrier_abandon(list_entry(pos, struct carrier, link));
	}
	lu_check_freed(lu);
}

const char *lu_name(const struct lu *lu)
{
	return lu->name;
}

const char *lu_uuid(const struct lu *lu)
{
	return lu->uuid;
}

uint64_t lu_size(const struct lu *lu)
{
	return lu->size;
}

const char *lu_identity_text(const struct lu *lu)
{
	return lu->identity.text;
}

const struct io_limits *lu_limits(const struct lu *lu)
{
	return lu->limits_known ? &lu->limits : NULL;
}

unsigned lu_path_count(const struct lu *lu)
{
	unsigned n = 0;

	list_for_each (pos, &lu->paths) {
		n++;
	}
	return n;
}

struct lu_path *lu_path_at(const struct lu *lu, unsigned k)
{
	list_for_each (pos, &lu->paths) {
		if (k-- == 0) {
			return list_entry(pos, struct lu_path, lu_link);
		}
	}
	return NULL;
}

unsigned lu_doubt_count(const struct lu *lu)
{
	return (unsigned)plan_doubt_count(&lu->publisher);
}
