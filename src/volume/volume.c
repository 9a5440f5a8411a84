#include "volume/volume.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "volume/volume_io.h"

struct volume {
	struct io_target target; /* first */
	char *name;
	struct reactor_group *group;
	struct volume_channel *channels; /* [group->nr_data] */
	struct face *face;
	unsigned nr_holds;

	/* The broadcast that frees it. */
	struct reactor_broadcast last;
	void (*freed)(void *ctx);
	void *freed_ctx;
};

static const struct io_target_ops volume_ops = {.kind = "volume"};

/* -- life -- */

static void volume_destroy(struct volume *v)
{
	for (unsigned i = 0; v->channels != NULL && i < v->target.nr_channels; i++) {
		volume_channel_fini(&v->channels[i]);
	}
	free(v->last.legs);
	free(v->channels);
	free(v->target.channels);
	free(v->name);
	free(v);
}

static int open_channels(struct volume *v, unsigned nr)
{
	v->channels = calloc(nr, sizeof(*v->channels));
	v->target.channels = calloc(nr, sizeof(*v->target.channels));
	if (v->channels == NULL || v->target.channels == NULL) {
		return -ENOMEM;
	}
	for (unsigned i = 0; i < nr; i++) {
		int rc = volume_channel_init(&v->channels[i], i, v->face);

		if (rc != 0) {
			return rc;
		}
		v->target.channels[i] = &v->channels[i].channel;
		v->target.nr_channels++;
	}
	return 0;
}

int volume_new(struct reactor_group *group, const char *name, uint64_t size, struct face *face,
    struct volume **ret_volume, struct error *err)
{
	struct volume *v = calloc(1, sizeof(*v));

	reactor_assert(group->control);
	if (v == NULL) {
		return error_set(err, -ENOMEM, "out of memory");
	}
	v->group = group;
	v->face = face;
	v->target.ops = &volume_ops;
	v->target.size = size;
	v->target.limits = *face_limits(face);
	v->target.limits.max_iov = MIN(v->target.limits.max_iov, VOLUME_MAX_IOV);
	v->name = strdup(name);
	if (v->name == NULL || reactor_broadcast_init(&v->last, group) != 0 ||
	    open_channels(v, group->nr_data) != 0) {
		volume_destroy(v);
		return error_set(err, -ENOMEM, "out of memory");
	}
	*ret_volume = v;
	return 0;
}

static void nothing_on_reactor(struct reactor_broadcast *b, unsigned index)
{
	/* Passing through the loop is all that is asked. */
}

static void all_let_go(struct reactor_broadcast *b)
{
	struct volume *v = container_of(b, struct volume, last);
	void (*freed)(void *ctx) = v->freed;
	void *ctx = v->freed_ctx;

	volume_destroy(v);
	freed(ctx);
}

void volume_free(struct volume *v, void (*freed)(void *ctx), void *ctx)
{
	reactor_assert(v->group->control);
	sluice_assert(v->nr_holds == 0);
	v->freed = freed;
	v->freed_ctx = ctx;
	reactor_broadcast_start(&v->last, nothing_on_reactor, all_let_go);
}

const char *volume_name(const struct volume *v)
{
	return v->name;
}

struct io_target *volume_target(struct volume *v)
{
	return &v->target;
}

struct face *volume_face(const struct volume *v)
{
	return v->face;
}

uint64_t volume_in_flight(const struct volume *v)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < v->target.nr_channels; i++) {
		n += atomic_load_explicit(&v->channels[i].gate.nr_in_flight, memory_order_relaxed);
	}
	return n;
}

uint64_t volume_held(const struct volume *v)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < v->target.nr_channels; i++) {
		n += atomic_load_explicit(&v->channels[i].gate.nr_held, memory_order_relaxed);
	}
	return n;
}

/* -- publish -- */

struct publication {
	struct reactor_broadcast broadcast;
	struct volume *volume;
	struct face *face;
	void (*done)(void *ctx);
	void *ctx;
};

static void publish_on_reactor(struct reactor_broadcast *b, unsigned index)
{
	struct publication *p = container_of(b, struct publication, broadcast);

	p->volume->channels[index].face = p->face;
}

static void published(struct reactor_broadcast *b)
{
	struct publication *p = container_of(b, struct publication, broadcast);
	void (*done)(void *ctx) = p->done;
	void *ctx = p->ctx;

	p->volume->face = p->face;
	reactor_broadcast_fini(b);
	free(p);
	done(ctx);
}

int volume_publish(struct volume *v, struct face *face, void (*done)(void *ctx), void *ctx)
{
	struct publication *p = calloc(1, sizeof(*p));

	reactor_assert(v->group->control);
	if (p == NULL || reactor_broadcast_init(&p->broadcast, v->group) != 0) {
		free(p);
		return -ENOMEM;
	}
	p->volume = v;
	p->face = face;
	p->done = done;
	p->ctx = ctx;
	reactor_broadcast_start(&p->broadcast, publish_on_reactor, published);
	return 0;
}

/* -- holds -- */

struct hold_leg {
	struct gate_leg leg;
	struct volume_hold *hold;
	struct reactor_msg drained_msg;
};

struct volume_hold {
	struct volume *volume;
	struct hold_token token;
	struct range *ranges; /* the token's, a copy */
	struct reactor_broadcast broadcast;
	struct hold_drain drain;
	uint64_t begin_ns;
	uint64_t drain_us;
	bool attaching;
	bool releasing;
	struct volume_hold_params params;
	void (*released)(void *ctx, const struct volume_hold_result *result);
	void *released_ctx;
	struct hold_leg legs[];
};

static void hold_destroy(struct volume_hold *h)
{
	free(h->broadcast.legs);
	free(h->ranges);
	free(h);
}

static void channel_drained(struct reactor_msg *msg)
{
	struct volume_hold *h = container_of(msg, struct hold_leg, drained_msg)->hold;

	if (!hold_drain_channel(&h->drain)) {
		return;
	}
	h->drain_us = (reactor_clock_ns() - h->begin_ns) / NS_PER_US;
	if (!h->releasing) {
		h->params.drained(h->params.ctx, h, h->drain_us);
	}
}

static void leg_drained(struct gate_leg *leg)
{
	struct hold_leg *l = container_of(leg, struct hold_leg, leg);

	reactor_send(l->hold->volume->group->control, &l->drained_msg, channel_drained);
}

static void attach_on_reactor(struct reactor_broadcast *b, unsigned index)
{
	struct volume_hold *h = container_of(b, struct volume_hold, broadcast);

	gate_attach(&h->volume->channels[index].gate, &h->legs[index].leg);
}

static void detach_on_reactor(struct reactor_broadcast *b, unsigned index)
{
	struct volume_hold *h = container_of(b, struct volume_hold, broadcast);

	gate_detach(&h->volume->channels[index].gate, &h->legs[index].leg);
}

static void detached(struct reactor_broadcast *b)
{
	struct volume_hold *h = container_of(b, struct volume_hold, broadcast);
	struct volume_hold_result result = {.drain_us = h->drain_us};
	void (*released)(void *ctx, const struct volume_hold_result *result) = h->released;
	void *ctx = h->released_ctx;

	for (unsigned i = 0; i < h->volume->target.nr_channels; i++) {
		result.held_requests += atomic_load(&h->legs[i].leg.held_requests);
		result.held_us = MAX(result.held_us, h->legs[i].leg.held_us);
	}
	h->volume->nr_holds--;
	hold_destroy(h);
	released(ctx, &result);
}

static void attached(struct reactor_broadcast *b)
{
	struct volume_hold *h = container_of(b, struct volume_hold, broadcast);

	h->attaching = false;
	if (h->releasing) {
		reactor_broadcast_start(b, detach_on_reactor, detached);
	}
}

static struct volume_hold *hold_alloc(struct volume *v, const struct volume_hold_params *params)
{
	struct volume_hold *h = calloc(1, sizeof(*h) + v->target.nr_channels * sizeof(h->legs[0]));

	if (h == NULL) {
		return NULL;
	}
	h->ranges = calloc(params->nr_ranges, sizeof(*h->ranges));
	if (h->ranges == NULL || reactor_broadcast_init(&h->broadcast, v->group) != 0) {
		hold_destroy(h);
		return NULL;
	}
	memcpy(h->ranges, params->ranges, params->nr_ranges * sizeof(*h->ranges));
	return h;
}

int volume_hold(
    struct volume *v, const struct volume_hold_params *params, struct volume_hold **ret_hold)
{
	struct volume_hold *h;

	reactor_assert(v->group->control);
	if (v->nr_holds == GATE_MAX_LEGS) {
		return -EBUSY;
	}
	h = hold_alloc(v, params);
	if (h == NULL) {
		return -ENOMEM;
	}
	h->volume = v;
	h->params = *params;
	h->token = (struct hold_token){h->ranges, params->nr_ranges, params->kind};
	h->begin_ns = reactor_clock_ns();
	h->attaching = true;
	hold_drain_begin(&h->drain, v->target.nr_channels);
	for (unsigned i = 0; i < v->target.nr_channels; i++) {
		h->legs[i].hold = h;
		h->legs[i].leg.token = &h->token;
		h->legs[i].leg.drained = leg_drained;
	}
	v->nr_holds++;
	*ret_hold = h;
	reactor_broadcast_start(&h->broadcast, attach_on_reactor, attached);
	return 0;
}

void volume_release(struct volume_hold *h,
    void (*released)(void *ctx, const struct volume_hold_result *result), void *ctx)
{
	reactor_assert(h->volume->group->control);
	sluice_assert(!h->releasing);
	h->releasing = true;
	h->released = released;
	h->released_ctx = ctx;
	if (!h->attaching) {
		reactor_broadcast_start(&h->broadcast, detach_on_reactor, detached);
	}
}

uint64_t volume_held_requests(const struct volume_hold *h)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < h->volume->target.nr_channels; i++) {
		n += atomic_load_explicit(&h->legs[i].leg.held_requests, memory_order_relaxed);
	}
	return n;
}
