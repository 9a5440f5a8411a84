/*
 * I2: at no time do two nodes execute requests on one byte range by different faces. Looked at when
 * a request starts, with an arithmetic of its own: what the gate believes does not count.
 */
#include "sim.h"

static bool touches(const struct sim *sim, const struct sim_req *r)
{
	struct range changed = sim->nodes[r->node].hold_range;

	return r->op == SIM_FLUSH ||
	       (r->first < range_end(changed) && changed.offset < r->first + r->count);
}

static bool record_allows(const struct sim *sim, enum sim_face face)
{
	switch (sim->record.state) {
	case CHANGE_RECORD_NONE:
	case CHANGE_RECORD_PREPARED:
	case CHANGE_RECORD_ABORTED:
	case CHANGE_RECORD_ROLLED_BACK:
		return face == SIM_OLD;
	case CHANGE_RECORD_COMMITTED:
	case CHANGE_RECORD_DONE:
		return face == SIM_NEW;
	case CHANGE_RECORD_STATE_COUNT:
		break;
	}
	return false;
}

void check_i2_start(struct sim *sim, const struct sim_req *r)
{
	const struct sim_node *n = &sim->nodes[r->node];

	if (!touches(sim, r)) {
		return;
	}
	if (n->holding) {
		sim_fail(sim, "I2: a request of node %u starts inside a hold", r->node);
	}
	if (!record_allows(sim, r->face)) {
		sim_fail(sim, "I2: node %u starts a request on the %s face, the record is %s",
		    r->node, r->face == SIM_OLD ? "old" : "new",
		    change_record_state_name(sim->record.state));
	}
	for (unsigned i = 0; i < sim->plan.nodes * SIM_CLIENTS; i++) {
		const struct sim_req *o = &sim->nodes[i / SIM_CLIENTS].reqs[i % SIM_CLIENTS];

		if (o->state == SIM_REQ_IN_FLIGHT && o->face != r->face && touches(sim, o)) {
			sim_fail(sim, "I2: node %u and node %u execute by different faces", r->node,
			    o->node);
		}
	}
}
