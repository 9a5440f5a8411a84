/* I3: every hold ends, and held requests to overlapping ranges go on in the order of their arrival.
 * That none is lost is seen in the end: all must have been answered. */
#include "sim.h"

static bool overlap(const struct sim_req *a, const struct sim_req *b)
{
	return a->op == SIM_FLUSH || b->op == SIM_FLUSH ||
	       (a->first < b->first + b->count && b->first < a->first + a->count);
}

void check_i3_start(struct sim *sim, const struct sim_req *r)
{
	const struct sim_node *n = &sim->nodes[r->node];

	for (unsigned i = 0; i < SIM_CLIENTS && r->was_held; i++) {
		const struct sim_req *o = &n->reqs[i];

		if (o->state == SIM_REQ_HELD && o->channel == r->channel && o != r &&
		    o->arrival < r->arrival && overlap(o, r)) {
			sim_fail(sim, "I3: node %u lets a held request overtake an earlier one",
			    r->node);
		}
	}
}

/*
 * The bound: the deadline; or, when the switch began only then, by the store's word, the time to
 * verify and to go back; or a while after the store has failed this node for the last time.
 */
void check_i3_event(struct sim *sim)
{
	const struct change_policy *p = &sim->spec.policy;
	uint64_t grace = 2 * p->verify_ns + 2 * p->resend_ns + 200 * NS_PER_MS;

	for (unsigned i = 0; i < sim->plan.nodes; i++) {
		struct sim_node *n = &sim->nodes[i];
		uint64_t from = MAX(n->hold_began + p->hold_ns, n->hold_excuse);

		from = MAX(from, n->frozen_until);
		n->was_out = n->holding && (n->was_out || n->part.state == PARTICIPANT_OUT);
		if (n->open && n->holding && !n->was_out && sim->now > from + grace) {
			sim_fail(sim, "I3: the hold of node %u lasts beyond its deadline (%s)", i,
			    participant_state_name(n->part.state));
		}
	}
}
