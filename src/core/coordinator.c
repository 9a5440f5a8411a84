#include "core/coordinator.h"

#include <stdio.h>
#include <string.h>

#include "core/coordinator_private.h"

/* -- what nodes say -- */

static void take_figures(struct change_node *n, const struct change_message *m)
{
	n->drain_us = m->drain_us;
	n->verify_us = m->verify_us;
	n->held_us = m->held_us;
	n->held_requests = m->held_requests;
}

/* In state, the node's answer is this; when it was the last one awaited, the phase is over. */
static void node_answered(struct coordinator_step *s, unsigned node, const struct change_message *m,
    enum coordinator_state state, enum change_node_state answer)
{
	struct change_node *n = &s->c->nodes[node];

	if (s->c->state != state || n->state != CHANGE_NODE_ASKED) {
		return;
	}
	n->state = answer;
	take_figures(n, m);
	if (m->reason[0] != '\0') {
		change_text_copy(n->reason, m->reason);
	}
	coordinator_judge_phase(s);
}

static void node_out_of_service(struct coordinator_step *s, unsigned node, const char *reason)
{
	char text[CHANGE_REASON_MAX];

	s->c->nodes[node].state = CHANGE_NODE_OUT_OF_SERVICE;
	change_text_copy(s->c->nodes[node].reason, reason);
	snprintf(text, sizeof(text), "node %u is out of service, its requests stay held: %.170s",
	    node, reason);
	coordinator_say(s, text);
}

static void node_said_no(struct coordinator_step *s, unsigned node, const struct change_message *m)
{
	if (s->c->state == COORDINATOR_PREPARING || s->c->state == COORDINATOR_HOLDING) {
		coordinator_abort_for_node(s, node, m->reason);
	}
}

static void node_aborted(struct coordinator_step *s, unsigned node, const struct change_message *m)
{
	if (coordinator_states[s->c->state].may_abort && s->c->state != COORDINATOR_RECORDING) {
		coordinator_abort_for_node(s, node, m->reason);
	}
	node_answered(s, node, m, COORDINATOR_ABORTING, CHANGE_NODE_RETURNED);
}

static void node_switched(struct coordinator_step *s, unsigned node, const struct change_message *m)
{
	s->c->nodes[node].rejoined = m->rejoined;
	node_answered(s, node, m, COORDINATOR_SWITCHING, CHANGE_NODE_SWITCHED);
}

static void node_switch_failed(
    struct coordinator_step *s, unsigned node, const struct change_message *m)
{
	s->c->nodes[node].rejoined = m->rejoined;
	if (s->c->state == COORDINATOR_RESUMING && s->c->nodes[node].state == CHANGE_NODE_ASKED) {
		node_out_of_service(s, node, m->reason);
		coordinator_judge_phase(s);
		return;
	}
	node_answered(s, node, m, COORDINATOR_SWITCHING, CHANGE_NODE_SWITCH_FAILED);
}

/* A node has returned by the store's word, before we knew. */
static void node_returned(struct coordinator_step *s, unsigned node, const struct change_message *m)
{
	if (s->c->state == COORDINATOR_SWITCHING && !s->c->record_final) {
		s->c->nodes[node].state = CHANGE_NODE_RETURNED;
		take_figures(&s->c->nodes[node], m);
		coordinator_go(s, COORDINATOR_REVERTING);
		return;
	}
	node_answered(s, node, m, COORDINATOR_RETURNING, CHANGE_NODE_RETURNED);
}

static void node_return_failed(
    struct coordinator_step *s, unsigned node, const struct change_message *m)
{
	if (s->c->state == COORDINATOR_RETURNING && s->c->nodes[node].state == CHANGE_NODE_ASKED) {
		node_out_of_service(s, node, m->reason);
		coordinator_judge_phase(s);
	}
}

static void on_message(struct coordinator_step *s, unsigned node, const struct change_message *m)
{
	struct coordinator *c = s->c;

	if (m->change != c->spec.id || m->epoch != c->epoch || node >= c->nr_nodes ||
	    c->nodes[node].state == CHANGE_NODE_EXCLUDED) {
		return;
	}
	switch (m->type) {
	case CHANGE_MSG_VOTE_YES:
		node_answered(s, node, m, COORDINATOR_PREPARING, CHANGE_NODE_PREPARED);
		break;
	case CHANGE_MSG_VOTE_NO:
	case CHANGE_MSG_REFUSED:
		node_said_no(s, node, m);
		break;
	case CHANGE_MSG_HELD:
		node_answered(s, node, m, COORDINATOR_HOLDING, CHANGE_NODE_HELD);
		break;
	case CHANGE_MSG_HOLD_TIMEOUT:
		if (c->state == COORDINATOR_HOLDING) {
			coordinator_give_up_hold(s, node, m->reason);
		}
		break;
	case CHANGE_MSG_UNHELD:
		node_answered(s, node, m, COORDINATOR_UNHOLDING, CHANGE_NODE_PREPARED);
		break;
	case CHANGE_MSG_SWITCHED:
		node_switched(s, node, m);
		break;
	case CHANGE_MSG_SWITCH_FAILED:
		node_switch_failed(s, node, m);
		break;
	case CHANGE_MSG_RESUMED:
		node_answered(s, node, m, COORDINATOR_SWITCHING, CHANGE_NODE_RESUMED);
		node_answered(s, node, m, COORDINATOR_RESUMING, CHANGE_NODE_RESUMED);
		break;
	case CHANGE_MSG_RETURNED:
		node_returned(s, node, m);
		break;
	case CHANGE_MSG_RETURN_FAILED:
		node_return_failed(s, node, m);
		break;
	case CHANGE_MSG_ABORTED:
		node_aborted(s, node, m);
		break;
	case CHANGE_MSG_PREPARE:
	case CHANGE_MSG_HOLD:
	case CHANGE_MSG_UNHOLD:
	case CHANGE_MSG_SWITCH:
	case CHANGE_MSG_RESUME:
	case CHANGE_MSG_RETURN:
	case CHANGE_MSG_ABORT:
	case CHANGE_MSG_COUNT:
		break;
	}
}

/* -- time, the operator, lost nodes -- */

static void silent_nodes_are_out(struct coordinator_step *s)
{
	for (unsigned i = 0; i < s->c->nr_nodes; i++) {
		if (s->c->nodes[i].state == CHANGE_NODE_ASKED) {
			node_out_of_service(s, i, "no answer; it asks the store by itself");
		}
	}
	coordinator_judge_phase(s);
}

static void abort_for_silence(struct coordinator_step *s)
{
	for (unsigned i = 0; i < s->c->nr_nodes; i++) {
		if (s->c->nodes[i].state == CHANGE_NODE_ASKED) {
			coordinator_abort_for_node(s, i, "did not answer in time");
			return;
		}
	}
}

static void patience_over(struct coordinator_step *s)
{
	struct coordinator *c = s->c;

	c->phase_until_ns = s->now + c->spec.policy.resend_ns;
	if (c->state == COORDINATOR_RECORDING) {
		coordinator_abort(s, "the store did not take the record in time", NULL);
	} else if (c->state == COORDINATOR_PREPARING || c->state == COORDINATOR_HOLDING ||
		   c->state == COORDINATOR_UNHOLDING) {
		abort_for_silence(s);
	} else if (c->state == COORDINATOR_BACKOFF) {
		coordinator_begin_hold(s);
	} else if (c->state == COORDINATOR_COMMITTING && c->store_token == 0) {
		coordinator_abort(s, "the store did not commit in time", NULL);
	} else if (c->state == COORDINATOR_SWITCHING) {
		coordinator_judge_switch(s, false);
	} else if (c->state == COORDINATOR_RESUMING || c->state == COORDINATOR_RETURNING ||
		   (c->state == COORDINATOR_ABORTING && coordinator_may_send(c))) {
		silent_nodes_are_out(s);
	}
}

static void on_timer(struct coordinator_step *s)
{
	struct coordinator *c = s->c;

	if (s->now >= c->resend_at_ns) {
		c->resend_at_ns = s->now + c->spec.policy.resend_ns;
		if (coordinator_may_send(c)) {
			coordinator_send_to_asked(s);
		}
		if (coordinator_wants_store(c)) {
			coordinator_request_store(s, CHANGE_STORE_READ);
		}
	}
	if (s->now >= c->phase_until_ns) {
		patience_over(s);
	}
}

static void on_lost(struct coordinator_step *s, unsigned node, const char *reason)
{
	if (node >= s->c->nr_nodes) {
		return;
	}
	change_text_copy(s->c->nodes[node].reason, reason);
	if (coordinator_states[s->c->state].may_abort) {
		coordinator_abort_for_node(s, node, reason);
	}
}

static void on_excluded(struct coordinator_step *s, unsigned node, const char *reason)
{
	struct coordinator *c = s->c;
	char text[CHANGE_REASON_MAX];

	if (node >= c->nr_nodes || coordinator_states[c->state].final) {
		return;
	}
	c->nodes[node].state = CHANGE_NODE_EXCLUDED;
	change_text_copy(c->nodes[node].reason, reason);
	snprintf(text, sizeof(text), "node %u is excluded: %.200s", node, reason);
	coordinator_say(s, text);
	if (coordinator_states[c->state].may_abort &&
	    c->nr_nodes - coordinator_count_nodes(c, CHANGE_NODE_EXCLUDED) <
		c->spec.policy.min_nodes) {
		coordinator_abort_for_node(s, node, reason);
	} else if (coordinator_states[c->state].asks_nodes) {
		coordinator_judge_phase(s);
	}
}

/* After every input: one timer for what comes first, and the end said once. */
static void settle(struct coordinator_step *s)
{
	struct coordinator *c = s->c;
	uint64_t next = MIN(c->phase_until_ns, c->resend_at_ns);

	if (next != c->timer_ns) {
		change_output_add(s->out, CHANGE_OUT_TIMER)->timer_ns = next;
		c->timer_ns = next;
	}
	if (coordinator_states[c->state].final) {
		change_output_add(s->out, CHANGE_OUT_ENDED);
	}
	coordinator_check(c);
}

static void init(struct coordinator *c, const struct change_spec *spec, struct change_node *nodes,
    unsigned nr_nodes)
{
	sluice_assert(nr_nodes > 0);
	memset(c, 0, sizeof(*c));
	memset(nodes, 0, nr_nodes * sizeof(*nodes));
	c->spec = *spec;
	c->nodes = nodes;
	c->nr_nodes = nr_nodes;
	c->epoch = COORDINATOR_FIRST_EPOCH;
	c->timer_ns = CHANGE_TIMER_OFF;
	c->phase_until_ns = CHANGE_TIMER_OFF;
	c->resend_at_ns = CHANGE_TIMER_OFF;
}

void coordinator_start(struct coordinator *c, const struct change_spec *spec,
    struct change_node *nodes, unsigned nr_nodes, uint64_t now_ns, struct change_outputs *out)
{
	struct coordinator_step s = {c, now_ns, out};

	init(c, spec, nodes, nr_nodes);
	coordinator_go(&s, COORDINATOR_RECORDING);
	settle(&s);
}

void coordinator_recover(struct coordinator *c, const struct change_spec *spec,
    struct change_node *nodes, unsigned nr_nodes, const struct change_record *record,
    uint64_t now_ns, struct change_outputs *out)
{
	struct coordinator_step s = {c, now_ns, out};

	init(c, spec, nodes, nr_nodes);
	c->recovered = true;
	c->record = record->state;
	c->record_epoch = record->epoch;
	c->record_final = change_record_state_final(record->state);
	/* Above all attempts of those before. */
	c->epoch = coordinator_epoch_above(record->epoch);
	switch (record->state) {
	case CHANGE_RECORD_PREPARED:
	case CHANGE_RECORD_NONE:
	case CHANGE_RECORD_ABORTED:
		c->commit_doubt = record->state == CHANGE_RECORD_PREPARED;
		coordinator_blame(c, "its coordinator ended before the commit");
		coordinator_go(&s, COORDINATOR_ABORTING);
		break;
	case CHANGE_RECORD_COMMITTED:
		coordinator_go(&s, COORDINATOR_CLAIMING);
		break;
	case CHANGE_RECORD_DONE:
		coordinator_go(&s, COORDINATOR_RESUMING);
		break;
	case CHANGE_RECORD_ROLLED_BACK:
		coordinator_blame(c, "it was rolled back before its coordinator ended");
		coordinator_go(&s, COORDINATOR_RETURNING);
		break;
	case CHANGE_RECORD_STATE_COUNT:
		sluice_assert(!"a state of a record");
	}
	settle(&s);
}

void coordinator_step(struct coordinator *c, const struct coordinator_input *in, uint64_t now_ns,
    struct change_outputs *out)
{
	struct coordinator_step s = {c, now_ns, out};

	if (coordinator_states[c->state].final) {
		return;
	}
	switch (in->kind) {
	case COORDINATOR_IN_MESSAGE:
		on_message(&s, in->node, &in->message);
		break;
	case COORDINATOR_IN_STORE:
		coordinator_on_store(&s, &in->answer);
		break;
	case COORDINATOR_IN_TIMER:
		on_timer(&s);
		break;
	case COORDINATOR_IN_CANCEL:
		if (coordinator_states[c->state].may_abort) {
			coordinator_abort(&s, "cancelled by the operator", NULL);
		}
		break;
	case COORDINATOR_IN_LOST:
		on_lost(&s, in->node, in->reason);
		break;
	case COORDINATOR_IN_EXCLUDED:
		on_excluded(&s, in->node, in->reason);
		break;
	}
	settle(&s);
}
