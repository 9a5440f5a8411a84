/*
 * Plans: how the control loop tells all reactors at once which session each route of an LU uses and
 * what is in doubt. A plan is immutable; the next one is drawn from the state at that moment, so
 * several wishes become one plan.
 *
 * Plans are numbered. Whoever needs to know that every reactor acts on what it changed just now
 * asks publish() for the number of the plan that will have it, and waits for that number in
 * ..._plan_done().
 *
 * Thread rule: control loop.
 */
#pragma once

#include "lu/doubt.h"
#include "lu/route_io.h"
#include "reactor/group.h"

struct lu;
struct plan;

struct publisher {
	struct reactor_broadcast broadcast;
	struct plan *plan;     /* as the reactors have it, or get it now; NULL = none yet */
	struct plan *old_plan; /* while broadcasting */
	uint64_t number;       /* of plan */
	bool running;
	bool wanted; /* another one after this */
	struct reactor_deferred deferred;
};

int publisher_init(struct publisher *p, struct reactor_group *group);
void publisher_fini(struct publisher *p);
/* Asks for a plan; returns its number. It starts later, not inside the call. */
uint64_t publish(struct lu *lu);
/* Starts what is wanted; tried again by the LU's tick when memory was out. */
void publish_now(struct lu *lu);
/* What is in doubt according to the plan that reactors have or get now. */
const struct doubt_set *plan_doubts(const struct publisher *p);
size_t plan_doubt_count(const struct publisher *p);
