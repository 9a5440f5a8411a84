/* When the faults have ended, everything does: no change in doubt, no record left behind, no request
 * without an answer. */
#include "sim.h"

static bool node_is_over(const struct sim_node *n)
{
	return n->open && !n->holding && !n->coordinates &&
	       (n->part.state == PARTICIPANT_ENDED || n->part.state == PARTICIPANT_IDLE);
}

bool check_change_over(const struct sim *sim)
{
	if (!sim->started || sim->late_transactions > 0) {
		return false;
	}
	if (sim->record.state != CHANGE_RECORD_NONE &&
	    !change_record_state_final(sim->record.state)) {
		return false;
	}
	for (unsigned i = 0; i < sim->plan.nodes; i++) {
		if (!node_is_over(&sim->nodes[i])) {
			return false;
		}
	}
	return true;
}

bool check_requests_over(const struct sim *sim)
{
	for (unsigned i = 0; i < sim->plan.nodes * SIM_CLIENTS; i++) {
		if (sim->nodes[i / SIM_CLIENTS].reqs[i % SIM_CLIENTS].state != SIM_REQ_NONE) {
			return false;
		}
	}
	return true;
}

static void say_what_is_left(struct sim *sim)
{
	for (unsigned i = 0; i < sim->plan.nodes; i++) {
		const struct sim_node *n = &sim->nodes[i];

		if (!node_is_over(n)) {
			sim_fail(sim, "end: node %u is not done: participant %s%s%s", i,
			    participant_state_name(n->part.state),
			    n->coordinates ? ", coordinator " : "",
			    n->coordinates ? coordinator_state_name(n->coord.state) : "");
		}
	}
	sim_fail(sim, "end: the record is left %s", change_record_state_name(sim->record.state));
}

void check_end(struct sim *sim)
{
	if (sim->failed) {
		return;
	}
	if (!sim->stopping) {
		say_what_is_left(sim);
		return;
	}
	if (!check_requests_over(sim)) {
		sim_fail(sim, "I3: a request was never answered");
	}
	check_i1_end(sim);
	for (unsigned i = 0; i < sim->plan.nodes; i++) {
		enum sim_face face = sim->record.state == CHANGE_RECORD_DONE ? SIM_NEW : SIM_OLD;

		if (sim->nodes[i].face != face) {
			sim_fail(sim, "I2: in the end node %u is not on the face of the record", i);
		}
	}
}
