/*
 * The gate: the one place where the requests of a volume can be held. Each channel (volume and
 * reactor) has one; a hold has a leg in the gate of every reactor. With no hold the gate costs one
 * branch and a list insert.
 *
 * It fails closed: an operation is let through a hold only where core/hold.h says so. Held requests
 * wait in the order in which they came and leave in that order; a request that was given back by a
 * dead path (IO_REQUEUE) takes the place that its arrival gives it.
 *
 * Thread rule: the data reactor of the channel. Counters are read by the control loop.
 */
#pragma once

#include <stdatomic.h>

#include "core/hold.h"
#include "io/io.h"

struct gate;

/* A hold's part in one gate. On the reactor's side from gate_attach() to gate_detach(). */
struct gate_leg {
	struct list link; /* in gate.legs */
	const struct hold_token *token;
	struct hold_channel drain;
	uint64_t first_held_ns; /* 0 = none was held */
	uint64_t held_us; /* from the first request held to the release; set by gate_detach() */
	_Atomic uint64_t held_requests; /* that waited so far */
	/* Once, when the last overlapping request has ended; also from within gate_attach(). */
	void (*drained)(struct gate_leg *leg);
};

#define GATE_MAX_LEGS 16 /* holds that may be active on one volume */

struct gate {
	struct list legs;
	struct list in_flight; /* frames in order of arrival */
	struct list held;      /* frames in order of arrival */
	struct list replay;    /* let go, in order, not started yet */
	bool replaying;
	uint64_t arrivals;
	_Atomic uint64_t nr_in_flight;
	_Atomic uint64_t nr_held;
	/* Starts a request that passed; it may complete inside the call. */
	void (*start)(struct gate *gate, struct io *io);
};

void gate_init(struct gate *gate, void (*start)(struct gate *gate, struct io *io));
bool gate_idle(const struct gate *gate);
/* Pushes the gate's frame and starts the request, or keeps it. */
void gate_submit(struct gate *gate, struct io *io);

void gate_attach(struct gate *gate, struct gate_leg *leg);
/* Ends the leg, drained or not, and starts what no other leg holds. */
void gate_detach(struct gate *gate, struct gate_leg *leg);
