/* I1: a request is answered exactly once, and a write that was answered is readable from then on. */
#include "sim.h"

static bool in_flight_value(const struct sim *sim, unsigned block, uint64_t value)
{
	for (unsigned i = 0; i < sim->plan.nodes * SIM_CLIENTS; i++) {
		const struct sim_req *r = &sim->nodes[i / SIM_CLIENTS].reqs[i % SIM_CLIENTS];

		if (r->state != SIM_REQ_NONE && r->op == SIM_WRITE && r->value == value &&
		    block >= r->first && block < r->first + r->count) {
			return true;
		}
	}
	return false;
}

static bool may_be_there(const struct sim *sim, unsigned block, uint64_t value)
{
	for (unsigned i = 0; i < sim->nr_doubts[block]; i++) {
		if (sim->doubts[block][i] == value) {
			return true;
		}
	}
	return value == sim->acked[block] || in_flight_value(sim, block, value);
}

void check_i1_read(struct sim *sim, const struct sim_req *r, unsigned block, uint64_t value)
{
	if (!may_be_there(sim, block, value)) {
		sim_fail(sim, "I1: node %u reads %lu from block %u, the last answered write is %lu",
		    r->node, (unsigned long)value, block, (unsigned long)sim->acked[block]);
	}
}

void check_i1_answer(struct sim *sim, struct sim_req *r)
{
	if (r->answers != 1) {
		sim_fail(
		    sim, "I1: a request of node %u was answered %u times", r->node, r->answers);
	}
	sim->requests_done++;
	sim->held_done += r->was_held;
	for (unsigned b = r->first; b < r->first + r->count && r->op == SIM_WRITE; b++) {
		sim->acked[b] = r->value;
		sim->nr_doubts[b] = 0;
	}
}

/* A write without an answer: it may be there or not, until the next one is answered. */
void check_i1_doubt(struct sim *sim, unsigned block, uint64_t value)
{
	sluice_assert(sim->nr_doubts[block] < SIM_DOUBTS_MAX);
	sim->doubts[block][sim->nr_doubts[block]++] = value;
}

/* What clients would read now, through the face that was decided. */
void check_i1_end(struct sim *sim)
{
	enum sim_face face = sim->record.state == CHANGE_RECORD_DONE ? SIM_NEW : SIM_OLD;

	for (unsigned b = 0; b < SIM_BLOCKS; b++) {
		struct range changed = sim->nodes[0].hold_range;
		bool inside = b >= changed.offset && b < range_end(changed);
		uint64_t value = *sim_data(sim, inside ? face : SIM_OLD, b);

		if (!may_be_there(sim, b, value)) {
			sim_fail(sim,
			    "I1: in the end block %u holds %lu, the last answered write is %lu", b,
			    (unsigned long)value, (unsigned long)sim->acked[b]);
		}
	}
}
