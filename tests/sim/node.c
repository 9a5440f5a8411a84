/* One node's control loop: carries out what the two state machines ask for. */
#include "sim.h"

#include <string.h>

#define OUTPUTS CHANGE_OUTPUTS_MAX(SIM_NODES_MAX)
#define REOPEN_NS (10 * NS_PER_MS)
#define LEASE_NS (400 * NS_PER_MS)

/* -- carrying out ------------------------------------------------------------------------------- */

static void deliver(struct sim *sim, unsigned from, unsigned to, bool to_coordinator,
    const struct change_message *m)
{
	struct sim_event *e;
	uint64_t delay =
	    from == to ? 20 * NS_PER_US : sim_delay(sim, 200 * NS_PER_US, 4 * NS_PER_MS);

	if (from != to && sim_chance(sim, 4)) {
		delay += prng_below(&sim->prng, 3 * NS_PER_S);
	}
	e = sim_schedule(sim, SIM_EV_MESSAGE, to, delay);
	e->to_coordinator = to_coordinator;
	e->from = from;
	e->message = *m;
	if (from != to) {
		e->incarnation = UINT32_MAX;
	}
}

static void send(struct sim *sim, unsigned from, unsigned to, bool to_coordinator,
    const struct change_message *m)
{
	sim_trace(sim, "node %u -> node %u: %s%s%s%s", from, to, change_message_name(m->type),
	    m->reason[0] != '\0' ? " (" : "", m->reason, m->reason[0] != '\0' ? ")" : "");
	if (from != to && sim_chance(sim, 4)) {
		return;
	}
	deliver(sim, from, to, to_coordinator, m);
	if (from != to && sim_chance(sim, 6)) {
		deliver(sim, from, to, to_coordinator, m);
	}
}

void sim_node_done(struct sim *sim, unsigned node, uint64_t token, bool ok, uint64_t drain_us,
    uint64_t held, uint64_t delay)
{
	struct sim_event *e = sim_schedule(sim, SIM_EV_ACTION_DONE, node, delay);

	e->done = (struct participant_done){.token = token,
	    .ok = ok,
	    .drain_us = drain_us,
	    .held_us = held,
	    .reason = ok ? "" : "planned to fail"};
}

static enum sim_fate fate_of(const struct sim *sim, unsigned node, enum change_action action)
{
	return sim->calm || node != sim->plan.fate_node ? SIM_OK : sim->plan.fate[action];
}

static void answer_action(struct sim *sim, unsigned node, const struct change_output *o, bool ok)
{
	enum sim_fate fate = fate_of(sim, node, o->action);

	if (fate != SIM_HANGS) {
		sim_node_done(sim, node, o->token, ok && fate == SIM_OK, 0, 0,
		    sim_delay(sim, 200 * NS_PER_US, 5 * NS_PER_MS));
	}
}

static void publish(
    struct sim *sim, unsigned node, const struct change_output *o, enum sim_face face)
{
	struct sim_node *n = &sim->nodes[node];

	if (fate_of(sim, node, o->action) == SIM_OK) {
		n->face = face;
	}
	if (sim->plan.plant == SIM_PLANT_RELEASE_BEFORE_SWITCH && face == SIM_NEW && n->holding) {
		n->face = SIM_OLD;
		sim_gate_release(sim, node);
		n->face = face;
	}
	answer_action(sim, node, o, true);
}

static void act(struct sim *sim, unsigned node, const struct change_output *o)
{
	struct sim_node *n = &sim->nodes[node];

	switch (o->action) {
	case CHANGE_ACT_HOLD:
		sim_gate_hold(sim, node, o->token);
		break;
	case CHANGE_ACT_ASK_PROGRESS:
		sim_node_done(sim, node, o->token, !n->old_path_dead, 0, 0, NS_PER_US);
		break;
	case CHANGE_ACT_TAKE_BACK:
		sim_gate_take_back(sim, node);
		break;
	case CHANGE_ACT_PUBLISH_NEW:
		publish(sim, node, o, SIM_NEW);
		break;
	case CHANGE_ACT_PUBLISH_OLD:
		publish(sim, node, o, SIM_OLD);
		break;
	case CHANGE_ACT_RELEASE:
		if (n->holding) {
			sim_gate_release(sim, node);
		}
		sim_node_done(sim, node, o->token, true, 0, (sim->now - n->hold_began) / NS_PER_US,
		    20 * NS_PER_US);
		break;
	case CHANGE_ACT_DROP_NEW:
		if (n->face == SIM_NEW) {
			sim_fail(sim, "I2: node %u drops the face that it serves", node);
		}
		break;
	case CHANGE_ACT_DROP_OLD:
		if (n->face == SIM_OLD) {
			sim_fail(sim, "I2: node %u drops the face that it serves", node);
		}
		break;
	case CHANGE_ACT_BUILD:
	case CHANGE_ACT_CHECK_QUIET:
	case CHANGE_ACT_VERIFY:
		answer_action(sim, node, o, true);
		break;
	case CHANGE_ACT_COUNT:
		sluice_assert(!"an action");
	}
}

static void arm(struct sim *sim, unsigned node, bool coordinator, uint64_t at)
{
	struct sim_node *n = &sim->nodes[node];
	uint64_t *timer = coordinator ? &n->coord_timer : &n->part_timer;
	struct sim_event *e;

	++*timer;
	if (at == CHANGE_TIMER_OFF) {
		return;
	}
	e = sim_schedule(sim, coordinator ? SIM_EV_COORD_TIMER : SIM_EV_PART_TIMER, node,
	    at > sim->now ? at - sim->now : 0);
	e->number = *timer;
}

/* The participant believes in what the store was never asked. */
static bool planted_store(
    struct sim *sim, unsigned node, bool coordinator, const struct change_store_request *r)
{
	struct sim_event *e;
	bool planted =
	    (sim->plan.plant == SIM_PLANT_ABORT_WITHOUT_STORE && r->kind == CHANGE_STORE_ABORT) ||
	    (sim->plan.plant == SIM_PLANT_SETTLE_WITHOUT_STORE && r->kind == CHANGE_STORE_DONE);

	if (!planted || coordinator) {
		return false;
	}
	e = sim_schedule(sim, SIM_EV_STORE_ANSWER, node, NS_PER_MS);
	e->answer.token = r->token;
	e->answer.result = CHANGE_STORE_OK;
	e->answer.record = sim->record;
	e->answer.record.state = r->set;
	return true;
}

static void carry_out(
    struct sim *sim, unsigned node, bool coordinator, const struct change_output *o)
{
	struct sim_node *n = &sim->nodes[node];

	switch (o->kind) {
	case CHANGE_OUT_SEND:
		send(sim, node, coordinator ? o->node : n->part_peer, !coordinator, &o->message);
		break;
	case CHANGE_OUT_STORE:
		if (!planted_store(sim, node, coordinator, &o->store)) {
			sim_store_request(sim, node, coordinator, &o->store);
		}
		break;
	case CHANGE_OUT_TIMER:
		arm(sim, node, coordinator, o->timer_ns);
		break;
	case CHANGE_OUT_ACTION:
		sim_trace(sim, "node %u: %s", node, change_action_name(o->action));
		act(sim, node, o);
		break;
	case CHANGE_OUT_STATE:
		sim_trace(sim, "node %u: %s is %s", node,
		    coordinator ? "coordinator" : "participant", o->text);
		break;
	case CHANGE_OUT_SAY:
		sim_trace(sim, "node %u: says: %s", node, o->text);
		break;
	case CHANGE_OUT_ENDED:
		sim_trace(sim, "node %u: %s has ended%s%s", node,
		    coordinator ? "coordinator" : "participant",
		    coordinator && n->coord.reason[0] != '\0' ? ": " : "",
		    coordinator ? n->coord.reason : "");
		break;
	}
}

/* The one place where a crash may come between any two outputs. */
static void carry_out_all(
    struct sim *sim, unsigned node, bool coordinator, const struct change_outputs *out)
{
	unsigned incarnation = sim->nodes[node].incarnation;

	for (unsigned i = 0; i < out->count && !sim->failed; i++) {
		if (++sim->outputs == sim->plan.crash_at) {
			sim_node_crash(sim, node);
		}
		if (!sim->nodes[node].alive || sim->nodes[node].incarnation != incarnation) {
			return;
		}
		carry_out(sim, node, coordinator, &out->items[i]);
	}
}

/* -- the life of a node --------------------------------------------------------------------------- */

void sim_node_start(struct sim *sim, unsigned node)
{
	struct sim_node *n = &sim->nodes[node];

	n->alive = true;
	n->open = true;
	n->incarnation = 1;
	n->face = SIM_OLD;
	participant_init(&n->part, &sim->spec);
	sim_gate_init(sim, node);
	for (unsigned i = 0; i < SIM_CLIENTS; i++) {
		sim_schedule(sim, SIM_EV_CLIENT, node, i * NS_PER_MS)->client = i;
	}
}

void sim_node_crash(struct sim *sim, unsigned node)
{
	struct sim_node *n = &sim->nodes[node];

	if (!n->alive) {
		return;
	}
	sim_trace(sim, "node %u: crashes", node);
	sim_gate_crash(sim, node);
	n->alive = false;
	n->open = false;
	n->coordinates = false;
	n->incarnation++;
	n->frozen_until = 0;
	sim_schedule(sim, SIM_EV_OPEN, node, sim_delay(sim, 5 * NS_PER_MS, 900 * NS_PER_MS));
}

static bool unfinished(enum change_record_state state)
{
	return state == CHANGE_RECORD_PREPARED || state == CHANGE_RECORD_COMMITTED;
}

/* After a start: the store first, then the volume. */
static void open_volume(struct sim *sim, unsigned node)
{
	struct sim_node *n = &sim->nodes[node];
	struct change_output items[OUTPUTS];
	struct change_outputs out = {items, OUTPUTS, 0};

	n->alive = true;
	if (!sim_store_reachable(sim)) {
		sim_schedule(sim, SIM_EV_OPEN, node, REOPEN_NS);
		return;
	}
	n->open = true;
	n->face = sim->record.state == CHANGE_RECORD_DONE ? SIM_NEW : SIM_OLD;
	sim_trace(sim, "node %u: restarts, the record is %s", node,
	    change_record_state_name(sim->record.state));
	if (sim->plan.plant == SIM_PLANT_RESTART_FORGETS) {
		participant_init(&n->part, &sim->spec);
	} else {
		if (unfinished(sim->record.state)) {
			sim_gate_hold(sim, node, 0);
		}
		n->part_peer = sim->primary;
		participant_rejoin(&n->part, &sim->spec, &sim->record, sim->now, &out);
	}
	for (unsigned i = 0; i < SIM_CLIENTS; i++) {
		sim_schedule(sim, SIM_EV_CLIENT, node, NS_PER_MS)->client = i;
	}
	carry_out_all(sim, node, false, &out);
}

static void start_change(struct sim *sim, unsigned node)
{
	struct sim_node *n = &sim->nodes[node];
	struct change_output items[OUTPUTS];
	struct change_outputs out = {items, OUTPUTS, 0};

	n->coordinates = true;
	coordinator_start(&n->coord, &sim->spec, n->coord_nodes, sim->plan.nodes, sim->now, &out);
	carry_out_all(sim, node, true, &out);
}

/* The primary looks for what others have left; another becomes primary when it is gone or frozen
 * for longer than its lease. */
static void look_after(struct sim *sim, unsigned node)
{
	struct sim_node *n = &sim->nodes[node];
	struct change_output items[OUTPUTS];
	struct change_outputs out = {items, OUTPUTS, 0};

	sim_schedule(sim, SIM_EV_TAKEOVER, node, LEASE_NS / 2)->incarnation = UINT32_MAX;
	if (node == sim->primary) {
		struct sim_node *me = &sim->nodes[node];

		if (!me->alive || me->frozen_until > sim->now + LEASE_NS) {
			unsigned next = (node + 1) % sim->plan.nodes;

			sim_trace(sim, "node %u: becomes primary", next);
			sim->primary = next;
			return;
		}
	}
	if (node != sim->primary || !n->open || n->coordinates || !sim_store_reachable(sim) ||
	    !unfinished(sim->record.state)) {
		return;
	}
	n->coordinates = true;
	sim_trace(sim, "node %u: takes over, the record is %s", node,
	    change_record_state_name(sim->record.state));
	coordinator_recover(
	    &n->coord, &sim->spec, n->coord_nodes, sim->plan.nodes, &sim->record, sim->now, &out);
	carry_out_all(sim, node, true, &out);
}

/* -- inputs ------------------------------------------------------------------------------------- */

static void step_coordinator(struct sim *sim, unsigned node, const struct coordinator_input *in)
{
	struct sim_node *n = &sim->nodes[node];
	struct change_output items[OUTPUTS];
	struct change_outputs out = {items, OUTPUTS, 0};

	if (!n->coordinates) {
		return;
	}
	coordinator_step(&n->coord, in, sim->now, &out);
	for (unsigned i = 0; i < out.count; i++) {
		if (out.items[i].kind == CHANGE_OUT_ENDED) {
			n->coordinates = false;
		}
	}
	carry_out_all(sim, node, true, &out);
}

static void step_participant(struct sim *sim, unsigned node, const struct participant_input *in)
{
	struct sim_node *n = &sim->nodes[node];
	struct change_output items[OUTPUTS];
	struct change_outputs out = {items, OUTPUTS, 0};

	if (!n->open) {
		return;
	}
	participant_step(&n->part, in, sim->now, &out);
	carry_out_all(sim, node, false, &out);
}

static void on_message(struct sim *sim, struct sim_event *e)
{
	struct sim_node *n = &sim->nodes[e->node];
	struct coordinator_input cin = {.kind = COORDINATOR_IN_MESSAGE, .node = e->from};
	struct participant_input pin = {.kind = PARTICIPANT_IN_MESSAGE};

	if (e->to_coordinator) {
		if (sim->plan.plant == SIM_PLANT_LATE_MESSAGE_ACCEPTED) {
			e->message.epoch = n->coord.epoch;
		}
		cin.message = e->message;
		step_coordinator(sim, e->node, &cin);
		return;
	}
	if (sim->plan.plant == SIM_PLANT_LATE_MESSAGE_ACCEPTED &&
	    e->message.epoch < n->part.epoch) {
		e->message.epoch = n->part.epoch;
	}
	if (e->message.epoch >= n->part.epoch) {
		n->part_peer = e->from;
	}
	pin.message = e->message;
	step_participant(sim, e->node, &pin);
}

static void on_store_answer(struct sim *sim, const struct sim_event *e)
{
	struct coordinator_input cin = {.kind = COORDINATOR_IN_STORE, .answer = e->answer};
	struct participant_input pin = {.kind = PARTICIPANT_IN_STORE, .answer = e->answer};

	if (e->to_coordinator) {
		step_coordinator(sim, e->node, &cin);
	} else {
		step_participant(sim, e->node, &pin);
	}
}

static bool deadline_ignored(const struct sim *sim, const struct sim_node *n)
{
	return sim->plan.plant == SIM_PLANT_DEADLINE_IGNORED && n->part.state != PARTICIPANT_OUT &&
	       participant_state_holds(n->part.state);
}

static void on_timer(struct sim *sim, const struct sim_event *e)
{
	struct sim_node *n = &sim->nodes[e->node];
	struct coordinator_input cin = {.kind = COORDINATOR_IN_TIMER};
	struct participant_input pin = {.kind = PARTICIPANT_IN_TIMER};

	if (e->kind == SIM_EV_COORD_TIMER && e->number == n->coord_timer) {
		step_coordinator(sim, e->node, &cin);
	} else if (e->kind == SIM_EV_PART_TIMER && e->number == n->part_timer &&
		   !deadline_ignored(sim, n)) {
		step_participant(sim, e->node, &pin);
	}
}

void sim_node_event(struct sim *sim, struct sim_event *e)
{
	struct participant_input pin = {.kind = PARTICIPANT_IN_DONE, .done = e->done};
	struct coordinator_input cancel = {.kind = COORDINATOR_IN_CANCEL};

	switch (e->kind) {
	case SIM_EV_START:
		start_change(sim, e->node);
		break;
	case SIM_EV_MESSAGE:
		on_message(sim, e);
		break;
	case SIM_EV_STORE_ANSWER:
		on_store_answer(sim, e);
		break;
	case SIM_EV_ACTION_DONE:
		step_participant(sim, e->node, &pin);
		break;
	case SIM_EV_COORD_TIMER:
	case SIM_EV_PART_TIMER:
		on_timer(sim, e);
		break;
	case SIM_EV_OPEN:
		open_volume(sim, e->node);
		break;
	case SIM_EV_CRASH:
		sim_node_crash(sim, e->node);
		break;
	case SIM_EV_TAKEOVER:
		look_after(sim, e->node);
		break;
	case SIM_EV_CANCEL:
		sim_trace(sim, "node %u: the operator cancels", e->node);
		step_coordinator(sim, e->node, &cancel);
		break;
	case SIM_EV_STORE_APPLY:
	case SIM_EV_IO_DONE:
	case SIM_EV_CLIENT:
	case SIM_EV_FREEZE:
	case SIM_EV_STORE_DOWN:
	case SIM_EV_PATH_DIES:
	case SIM_EV_CALM:
		sluice_assert(!"an event for the control loop");
	}
}
