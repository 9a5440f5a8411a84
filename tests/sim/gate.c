/* Clients, the gate of each node's volume, and the paths below it. The gate runs core/hold. */
#include "sim.h"

#include <string.h>

static void issue(struct sim *sim, struct sim_req *r);

uint64_t *sim_data(struct sim *sim, enum sim_face face, unsigned block)
{
	return &sim->data[sim->plan.same_data ? SIM_OLD : face][block];
}

static struct hold_op facts(const struct sim_req *r)
{
	return (struct hold_op){
	    .range = {r->first, r->count},
	    .ranged = r->op != SIM_FLUSH,
	    .changes = r->op == SIM_WRITE,
	};
}

static struct hold_op facts_of_node(const struct list *node)
{
	return facts(list_entry(node, struct sim_req, link));
}

void sim_gate_init(struct sim *sim, unsigned node)
{
	struct sim_node *n = &sim->nodes[node];

	for (unsigned i = 0; i < SIM_CHANNELS; i++) {
		list_init(&n->held[i]);
	}
	for (unsigned i = 0; i < SIM_CLIENTS; i++) {
		n->reqs[i] =
		    (struct sim_req){.node = node, .client = i, .channel = i % SIM_CHANNELS};
		list_init(&n->reqs[i].link);
	}
	n->hold_range =
	    sim->plan.same_data ? (struct range){0, SIM_BLOCKS} : (struct range){2, SIM_BLOCKS - 4};
	n->token = (struct hold_token){&n->hold_range, 1, HOLD_ALL};
	n->holding = false;
}

/* One writer per block at a time, so that the model knows what must be there. */
static bool block_is_written(const struct sim *sim, unsigned first, unsigned count)
{
	for (unsigned i = 0; i < sim->plan.nodes * SIM_CLIENTS; i++) {
		const struct sim_req *r = &sim->nodes[i / SIM_CLIENTS].reqs[i % SIM_CLIENTS];

		if (r->state != SIM_REQ_NONE && r->op == SIM_WRITE && r->first < first + count &&
		    first < r->first + r->count) {
			return true;
		}
	}
	return false;
}

static void client_again(struct sim *sim, unsigned node, unsigned client)
{
	uint64_t think = 200 * NS_PER_US + prng_below(&sim->prng, 4 * NS_PER_MS);

	sim_schedule(sim, SIM_EV_CLIENT, node, think)->client = client;
}

void sim_client_event(struct sim *sim, unsigned node, unsigned client)
{
	struct sim_req *r = &sim->nodes[node].reqs[client];
	unsigned dice = (unsigned)prng_below(&sim->prng, 10);

	if (sim->stopping || r->state != SIM_REQ_NONE) {
		return;
	}
	r->op = dice < 1 ? SIM_FLUSH : dice < 5 ? SIM_READ : SIM_WRITE;
	r->count = 1 + (unsigned)prng_below(&sim->prng, 2);
	r->first = (unsigned)prng_below(&sim->prng, SIM_BLOCKS - r->count + 1);
	if (r->op == SIM_WRITE && block_is_written(sim, r->first, r->count)) {
		r->op = SIM_READ;
	}
	r->value = ++sim->values;
	r->arrival = ++sim->arrivals;
	r->answers = 0;
	r->was_held = false;
	r->was_taken_back = false;
	issue(sim, r);
}

static bool must_wait(struct sim *sim, const struct sim_req *r)
{
	struct sim_node *n = &sim->nodes[r->node];
	struct hold_op op = facts(r);

	if (sim->plan.plant == SIM_PLANT_FLUSH_NOT_HELD && r->op == SIM_FLUSH) {
		return false;
	}
	return n->holding && hold_concerns(&n->token, &op);
}

static uint64_t service_time(struct sim *sim, const struct sim_req *r)
{
	if (sim->plan.old_path_slow && r->face == SIM_OLD && !sim->calm &&
	    prng_below(&sim->prng, 100) < 30) {
		return 1200 * NS_PER_MS + prng_below(&sim->prng, 600 * NS_PER_MS);
	}
	return 50 * NS_PER_US + prng_below(&sim->prng, 2 * NS_PER_MS);
}

static void start(struct sim *sim, struct sim_req *r)
{
	struct sim_node *n = &sim->nodes[r->node];
	struct sim_event *e;

	r->state = SIM_REQ_IN_FLIGHT;
	r->face = n->face;
	if (sim->plan.plant == SIM_PLANT_WRONG_FACE && r->was_held) {
		r->face = n->face == SIM_OLD ? SIM_NEW : SIM_OLD;
	}
	r->execution = ++sim->executions;
	r->stuck = r->face == SIM_OLD && n->old_path_dead;
	check_i2_start(sim, r);
	check_i3_start(sim, r);
	if (r->stuck) {
		return;
	}
	e = sim_schedule(sim, SIM_EV_IO_DONE, r->node, service_time(sim, r));
	e->client = r->client;
	e->number = r->execution;
}

static void issue(struct sim *sim, struct sim_req *r)
{
	if (must_wait(sim, r)) {
		r->state = SIM_REQ_HELD;
		r->was_held = true;
		list_append(&sim->nodes[r->node].held[r->channel], &r->link);
	} else {
		start(sim, r);
	}
}

static void all_drained(struct sim *sim, unsigned node)
{
	struct sim_node *n = &sim->nodes[node];

	if (sim->plan.plant != SIM_PLANT_COMMIT_BEFORE_DRAINED) {
		sim_node_done(sim, node, n->hold_token, true,
		    (sim->now - n->hold_began) / NS_PER_US, 0, 10 * NS_PER_US);
	}
}

static void count_down(struct sim *sim, const struct sim_req *r)
{
	struct sim_node *n = &sim->nodes[r->node];
	struct hold_op op = facts(r);

	if (n->holding && n->channels[r->channel].draining && hold_concerns(&n->token, &op) &&
	    hold_channel_done(&n->channels[r->channel]) && hold_drain_channel(&n->drain)) {
		all_drained(sim, r->node);
	}
}

static void execute(struct sim *sim, struct sim_req *r)
{
	for (unsigned b = r->first; b < r->first + r->count && r->op != SIM_FLUSH; b++) {
		/* Outside of the changed range both faces lead to the same place. */
		bool changed = b >= sim->nodes[r->node].hold_range.offset &&
			       b < range_end(sim->nodes[r->node].hold_range);
		uint64_t *at = sim_data(sim, changed ? r->face : SIM_OLD, b);

		if (r->op == SIM_WRITE) {
			*at = r->value;
		} else {
			check_i1_read(sim, r, b, *at);
		}
	}
}

void sim_io_done(struct sim *sim, unsigned node, unsigned client, uint64_t execution)
{
	struct sim_req *r = &sim->nodes[node].reqs[client];

	if (r->state != SIM_REQ_IN_FLIGHT || r->execution != execution) {
		return;
	}
	execute(sim, r);
	r->answers++;
	if (sim->plan.plant == SIM_PLANT_DOUBLE_COMPLETION && r->was_held) {
		r->answers++;
	}
	check_i1_answer(sim, r);
	r->state = SIM_REQ_NONE;
	count_down(sim, r);
	client_again(sim, node, client);
}

static uint64_t concerned_in_flight(const struct sim_node *n, unsigned channel)
{
	uint64_t count = 0;

	for (unsigned i = 0; i < SIM_CLIENTS; i++) {
		struct hold_op op = facts(&n->reqs[i]);

		count += n->reqs[i].state == SIM_REQ_IN_FLIGHT && n->reqs[i].channel == channel &&
			 hold_concerns(&n->token, &op);
	}
	return count;
}

void sim_gate_hold(struct sim *sim, unsigned node, uint64_t token)
{
	struct sim_node *n = &sim->nodes[node];

	sluice_assert(!n->holding);
	n->holding = true;
	n->hold_began = sim->now;
	n->hold_token = token;
	hold_drain_begin(&n->drain, SIM_CHANNELS);
	for (unsigned i = 0; i < SIM_CHANNELS; i++) {
		n->channels[i] = (struct hold_channel){0};
		if (hold_channel_begin(&n->channels[i], concerned_in_flight(n, i)) &&
		    hold_drain_channel(&n->drain)) {
			all_drained(sim, node);
		}
	}
	if (sim->plan.plant == SIM_PLANT_COMMIT_BEFORE_DRAINED) {
		sim_node_done(sim, node, token, true, 0, 0, 10 * NS_PER_US);
	}
}

static void reverse(struct list *l)
{
	struct list reversed;
	struct list *node;

	list_init(&reversed);
	while ((node = list_pop(l)) != NULL) {
		list_prepend(&reversed, node);
	}
	list_splice(l, &reversed);
}

void sim_gate_release(struct sim *sim, unsigned node)
{
	struct sim_node *n = &sim->nodes[node];
	struct list *link;

	n->holding = false;
	for (unsigned i = 0; i < SIM_CHANNELS; i++) {
		struct list ready;

		list_init(&ready);
		hold_release(&n->held[i], &ready, facts_of_node, NULL, 0);
		if (sim->plan.plant == SIM_PLANT_ORDER_REVERSED) {
			reverse(&ready);
		}
		if (sim->plan.plant == SIM_PLANT_HELD_LOST) {
			list_pop(&ready);
		}
		while ((link = list_pop(&ready)) != NULL) {
			start(sim, list_entry(link, struct sim_req, link));
		}
	}
}

static struct sim_req *latest_to_take_back(struct sim_node *n)
{
	struct sim_req *latest = NULL;

	for (unsigned i = 0; i < SIM_CLIENTS; i++) {
		struct sim_req *r = &n->reqs[i];
		struct hold_op op = facts(r);

		if (r->state == SIM_REQ_IN_FLIGHT && n->holding && hold_concerns(&n->token, &op) &&
		    (latest == NULL || r->arrival > latest->arrival)) {
			latest = r;
		}
	}
	return latest;
}

/* What was in flight may have been executed; it runs again, before those that came later. */
void sim_gate_take_back(struct sim *sim, unsigned node)
{
	struct sim_node *n = &sim->nodes[node];
	struct sim_req *r;

	while ((r = latest_to_take_back(n)) != NULL) {
		if (r->op == SIM_WRITE && prng_below(&sim->prng, 2) == 0) {
			execute(sim, r);
		}
		r->was_taken_back = true;
		r->state = SIM_REQ_HELD;
		r->was_held = true;
		if (sim->plan.plant == SIM_PLANT_TAKEN_BACK_TWICE) {
			r->answers++;
		}
		list_prepend(&n->held[r->channel], &r->link);
		count_down(sim, r);
	}
}

void sim_gate_heal(struct sim *sim, unsigned node)
{
	struct sim_node *n = &sim->nodes[node];

	n->old_path_dead = false;
	for (unsigned i = 0; i < SIM_CLIENTS; i++) {
		struct sim_req *r = &n->reqs[i];

		if (r->state == SIM_REQ_IN_FLIGHT && r->stuck) {
			struct sim_event *e =
			    sim_schedule(sim, SIM_EV_IO_DONE, node, 100 * NS_PER_US);

			r->stuck = false;
			e->client = i;
			e->number = r->execution;
		}
	}
}

/* The clients see their connections end: what was in flight may have happened, or not. */
void sim_gate_crash(struct sim *sim, unsigned node)
{
	struct sim_node *n = &sim->nodes[node];

	for (unsigned i = 0; i < SIM_CLIENTS; i++) {
		struct sim_req *r = &n->reqs[i];

		bool started = r->state == SIM_REQ_IN_FLIGHT ||
			       (r->state == SIM_REQ_HELD && r->was_taken_back);

		if (!started || r->op != SIM_WRITE) {
			r->state = SIM_REQ_NONE;
			continue;
		}
		if (r->state == SIM_REQ_IN_FLIGHT && prng_below(&sim->prng, 2) == 0) {
			execute(sim, r);
		}
		for (unsigned b = r->first; b < r->first + r->count; b++) {
			check_i1_doubt(sim, b, r->value);
		}
		r->state = SIM_REQ_NONE;
	}
	sim_gate_init(sim, node);
}
