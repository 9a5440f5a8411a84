/* The store: one record with a generation, transactions that take time, and everything that can go
 * wrong between asking and knowing. */
#include "sim.h"

#include <string.h>

#define ANSWER_TIMEOUT (100 * NS_PER_MS)

bool sim_store_reachable(const struct sim *sim)
{
	return sim->now >= sim->store_down_until;
}

static struct sim_event *store_event(struct sim *sim, enum sim_event_kind kind, unsigned node,
    bool coordinator, const struct change_store_request *r, uint64_t delay)
{
	struct sim_event *e = sim_schedule(sim, kind, node, delay);

	e->to_coordinator = coordinator;
	e->request = *r;
	e->answer.token = r->token;
	return e;
}

/* A transaction in flight outlives the process that asked for it. */
static void apply_later(struct sim *sim, unsigned node, bool coordinator,
    const struct change_store_request *r, uint64_t delay, bool answered)
{
	struct sim_event *e = store_event(sim, SIM_EV_STORE_APPLY, node, coordinator, r, delay);

	e->answered = answered;
	e->from = e->incarnation;
	e->incarnation = UINT32_MAX;
	sim->late_transactions++;
}

static void answer_later(struct sim *sim, unsigned node, bool coordinator,
    const struct change_store_request *r, enum change_store_result result, uint64_t delay)
{
	store_event(sim, SIM_EV_STORE_ANSWER, node, coordinator, r, delay)->answer.result = result;
	sim->nodes[node].hold_excuse = sim->now + delay;
}

void sim_store_request(
    struct sim *sim, unsigned node, bool coordinator, const struct change_store_request *r)
{
	uint64_t latency = sim_delay(sim, 200 * NS_PER_US, 3 * NS_PER_MS);

	if (!sim_store_reachable(sim) && (sim->plan.quiet || sim_chance(sim, 50))) {
		answer_later(sim, node, coordinator, r, CHANGE_STORE_FAILED, NS_PER_MS);
	} else if (!sim_store_reachable(sim)) {
		answer_later(sim, node, coordinator, r, CHANGE_STORE_UNKNOWN, ANSWER_TIMEOUT);
		if (sim_chance(sim, 50)) {
			apply_later(sim, node, coordinator, r,
			    sim_delay(sim, NS_PER_MS, 700 * NS_PER_MS), false);
		}
	} else if (sim_chance(sim, 5)) { /* lost answer, now or long before it happens */
		answer_later(sim, node, coordinator, r, CHANGE_STORE_UNKNOWN, ANSWER_TIMEOUT);
		apply_later(sim, node, coordinator, r,
		    sim_chance(sim, 50) ? latency : sim_delay(sim, NS_PER_MS, 3 * NS_PER_S), false);
	} else {
		apply_later(sim, node, coordinator, r, latency, true);
	}
}

static bool compare(const struct sim *sim, const struct change_store_request *r)
{
	const struct change_record *now = &sim->record;

	if (r->kind == CHANGE_STORE_READ ||
	    (sim->plan.plant == SIM_PLANT_COMMIT_NOT_COMPARED && r->kind == CHANGE_STORE_COMMIT)) {
		return true;
	}
	return r->expect == now->state && (r->expect_epoch == 0 || r->expect_epoch == now->epoch) &&
	       (r->expect_generation == 0 || r->expect_generation == now->generation);
}

static void set(struct sim *sim, const struct change_store_request *r)
{
	if (r->kind == CHANGE_STORE_COMMIT && !sim->plan.same_data) {
		/* The array below mirrors the old LU into the new one until the map changes. */
		memcpy(sim->data[SIM_NEW], sim->data[SIM_OLD], sizeof(sim->data[SIM_NEW]));
	}
	sim->record.state = r->set;
	if (r->set_epoch != 0) {
		sim->record.epoch = r->set_epoch;
	}
	if (r->set_generation != 0) {
		sim->record.generation = r->set_generation;
	}
}

void sim_store_apply(struct sim *sim, const struct sim_event *e)
{
	const struct change_store_request *r = &e->request;
	bool ok = compare(sim, r);
	struct sim_event *answer;

	sim->late_transactions--;
	if (ok && r->kind != CHANGE_STORE_READ &&
	    !(sim->plan.plant == SIM_PLANT_RECORD_LEFT && r->kind == CHANGE_STORE_DONE)) {
		set(sim, r);
	}
	sim_trace(sim, "store: %s of node %u %s, record %s, generation %lu",
	    change_store_kind_name(r->kind), e->node, ok ? "done" : "refused",
	    change_record_state_name(sim->record.state), (unsigned long)sim->record.generation);
	if (!e->answered) {
		return;
	}
	answer = store_event(sim, SIM_EV_STORE_ANSWER, e->node, e->to_coordinator, r,
	    sim_delay(sim, 100 * NS_PER_US, 2 * NS_PER_MS));
	answer->incarnation = e->from;
	answer->answer.result = ok ? CHANGE_STORE_OK : CHANGE_STORE_CONFLICT;
	answer->answer.record = sim->record;
	if (ok && sim->plan.plant == SIM_PLANT_RECORD_LEFT && r->kind == CHANGE_STORE_DONE) {
		answer->answer.record.state = CHANGE_RECORD_DONE;
	}
}
