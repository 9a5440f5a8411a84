#include "reactor/group.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* Carries a broadcast to one data reactor and back. */
struct reactor_broadcast_leg {
	struct reactor_msg msg;
	struct reactor_broadcast *owner;
	unsigned index;
};

static int add_reactors(
    struct reactor_group *g, const struct reactor_group_options *options, struct error *err)
{
	struct reactor_options control = {.name = "control", .index = REACTOR_CONTROL};
	int rc = reactor_new(&control, &g->control, err);

	for (unsigned i = 0; rc == 0 && i < options->nr_data; i++) {
		char name[32];
		struct reactor_options data = {
		    .name = name, .index = i, .poll_us = options->poll_us};

		snprintf(name, sizeof(name), "reactor/%u", i);
		rc = reactor_new(&data, &g->data[i], err);
		if (rc == 0) {
			g->nr_data++;
			rc = options->manual ? 0 : reactor_start(g->data[i], err);
		}
	}
	return rc;
}

int reactor_group_new(const struct reactor_group_options *options, struct reactor_group **ret_group,
    struct error *err)
{
	struct reactor_group *g = calloc(1, sizeof(*g));
	int rc;

	sluice_assert(options->nr_data > 0);
	if (g == NULL || (g->data = calloc(options->nr_data, sizeof(*g->data))) == NULL) {
		free(g);
		return error_set(err, -ENOMEM, "out of memory");
	}
	rc = add_reactors(g, options, err);
	if (rc != 0) {
		reactor_group_free(g);
		return rc;
	}
	*ret_group = g;
	return 0;
}

void reactor_group_free(struct reactor_group *g)
{
	if (g == NULL) {
		return;
	}
	for (unsigned i = 0; i < g->nr_data; i++) {
		reactor_join(g->data[i]);
		reactor_free(g->data[i]);
	}
	reactor_free(g->control);
	free(g->data);
	free(g);
}

unsigned reactor_group_step(struct reactor_group *g, unsigned wait_ms)
{
	unsigned n = 0;

	for (unsigned i = 0; i < g->nr_data; i++) {
		n += reactor_step(g->data[i], 0);
	}
	return n + reactor_step(g->control, n == 0 ? wait_ms : 0);
}

/* -- broadcast -- */

int reactor_broadcast_init(struct reactor_broadcast *b, struct reactor_group *g)
{
	*b = (struct reactor_broadcast){.group = g};
	b->legs = calloc(g->nr_data, sizeof(*b->legs));
	return b->legs == NULL ? -ENOMEM : 0;
}

void reactor_broadcast_fini(struct reactor_broadcast *b)
{
	sluice_assert(b->waiting == 0);
	free(b->legs);
	b->legs = NULL;
}

static void leg_back(struct reactor_msg *msg)
{
	struct reactor_broadcast *b = container_of(msg, struct reactor_broadcast_leg, msg)->owner;

	sluice_assert(b->waiting > 0);
	if (--b->waiting == 0) {
		b->done(b);
	}
}

static void leg_there(struct reactor_msg *msg)
{
	struct reactor_broadcast_leg *leg = container_of(msg, struct reactor_broadcast_leg, msg);
	struct reactor_broadcast *b = leg->owner;

	b->on_reactor(b, leg->index);
	reactor_send(b->group->control, msg, leg_back);
}

void reactor_broadcast_start(struct reactor_broadcast *b,
    void (*on_reactor)(struct reactor_broadcast *b, unsigned index),
    void (*done)(struct reactor_broadcast *b))
{
	struct reactor_group *g = b->group;

	reactor_assert(g->control);
	sluice_assert(b->waiting == 0);
	b->on_reactor = on_reactor;
	b->done = done;
	b->waiting = g->nr_data;
	for (unsigned i = 0; i < g->nr_data; i++) {
		b->legs[i].owner = b;
		b->legs[i].index = i;
		reactor_send(g->data[i], &b->legs[i].msg, leg_there);
	}
}
