/*
 * All reactors of a daemon: N data reactors and the control loop. How the control loop reaches
 * every data reactor, and learns that all of them have passed.
 *
 * Thread rule: control loop, unless stated.
 */
#pragma once

#include "reactor/reactor.h"

struct reactor_group {
	struct reactor *control;
	struct reactor **data; /* [nr_data] */
	unsigned nr_data;
};

struct reactor_group_options {
	unsigned nr_data; /* >= 1 */
	unsigned poll_us;
	bool manual; /* no threads: the unit test steps all of them by reactor_group_step() */
};

int reactor_group_new(const struct reactor_group_options *options, struct reactor_group **ret_group,
    struct error *err);
/* Ends and joins the data reactors. Nothing may be outstanding. */
void reactor_group_free(struct reactor_group *g);
/* Manual groups: one turn of every reactor, data first; the number of things done. */
unsigned reactor_group_step(struct reactor_group *g, unsigned wait_ms);

/*
 * Runs on_reactor(call, index) once on every data reactor, then done(call) on the control loop when
 * all have run. This is also the quiescence of DESIGN section 4: what the control loop unpublished
 * before the call is not in use by any turn of a data reactor that began before it, once done runs.
 * Embedded in its user; one at a time per struct.
 */
struct reactor_broadcast {
	void (*on_reactor)(struct reactor_broadcast *b, unsigned index);
	void (*done)(struct reactor_broadcast *b);
	struct reactor_group *group;
	unsigned waiting;
	struct reactor_broadcast_leg *legs; /* [nr_data], owned */
};
/* Allocates the legs; -ENOMEM. Free after done, or never started. */
int reactor_broadcast_init(struct reactor_broadcast *b, struct reactor_group *g);
void reactor_broadcast_fini(struct reactor_broadcast *b);
void reactor_broadcast_start(struct reactor_broadcast *b,
    void (*on_reactor)(struct reactor_broadcast *b, unsigned index),
    void (*done)(struct reactor_broadcast *b));
