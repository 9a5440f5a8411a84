/* The phases of a change: whom the coordinator asks, and what it makes of the answers. */
#include "core/coordinator_private.h"

#include <stdio.h>

void coordinator_say(struct coordinator_step *s, const char *text)
{
	change_text_copy(change_output_add(s->out, CHANGE_OUT_SAY)->text, text);
}

/* The first reason is the one that counts. */
void coordinator_blame(struct coordinator *c, const char *reason)
{
	if (c->reason[0] == '\0') {
		change_text_copy(c->reason, reason);
	}
}

/* -- asking nodes and the store -- */

void coordinator_send_to_asked(struct coordinator_step *s)
{
	struct coordinator *c = s->c;

	for (unsigned i = 0; i < c->nr_nodes; i++) {
		struct change_output *o;

		if (c->nodes[i].state != CHANGE_NODE_ASKED) {
			continue;
		}
		o = change_output_add(s->out, CHANGE_OUT_SEND);
		o->node = i;
		o->message.type = coordinator_states[c->state].message;
		o->message.change = c->spec.id;
		o->message.epoch = c->epoch;
		if (c->state == COORDINATOR_ABORTING || c->state == COORDINATOR_RETURNING) {
			change_text_copy(o->message.reason, c->reason);
		}
	}
}

/* Excluded nodes stay so; what a node has said for good is not asked again. */
static void mark_asked(struct coordinator *c)
{
	for (unsigned i = 0; i < c->nr_nodes; i++) {
		enum change_node_state *state = &c->nodes[i].state;

		if (*state == CHANGE_NODE_EXCLUDED ||
		    (*state == CHANGE_NODE_RESUMED && c->state == COORDINATOR_RESUMING) ||
		    (*state == CHANGE_NODE_RETURNED && c->state == COORDINATOR_RETURNING)) {
			continue;
		}
		*state = CHANGE_NODE_ASKED;
	}
}

void coordinator_request_store(struct coordinator_step *s, enum change_store_kind kind)
{
	struct coordinator *c = s->c;
	struct change_store_request *r = &change_output_add(s->out, CHANGE_OUT_STORE)->store;

	sluice_assert(c->store_token == 0);
	r->kind = kind;
	r->token = ++c->last_token;
	switch (kind) {
	case CHANGE_STORE_READ:
		break;
	case CHANGE_STORE_PREPARE:
		r->expect = CHANGE_RECORD_NONE;
		r->set = CHANGE_RECORD_PREPARED;
		r->set_epoch = coordinator_term(c);
		r->expect_generation = c->spec.generation;
		break;
	case CHANGE_STORE_CLAIM:
		r->expect = CHANGE_RECORD_COMMITTED;
		r->set = CHANGE_RECORD_COMMITTED;
		r->expect_epoch = c->record_epoch;
		r->set_epoch = coordinator_term(c);
		break;
	case CHANGE_STORE_COMMIT:
		r->expect = CHANGE_RECORD_PREPARED;
		r->set = CHANGE_RECORD_COMMITTED;
		r->expect_epoch = coordinator_term(c);
		r->expect_generation = c->spec.generation;
		r->set_generation = c->spec.generation + 1;
		break;
	case CHANGE_STORE_ABORT:
		r->expect = c->record;
		r->set = CHANGE_RECORD_ABORTED;
		break;
	case CHANGE_STORE_ROLLBACK:
		r->expect = CHANGE_RECORD_COMMITTED;
		r->set = CHANGE_RECORD_ROLLED_BACK;
		r->expect_epoch = coordinator_term(c);
		r->expect_generation = c->spec.generation + 1;
		r->set_generation = c->spec.generation + 2;
		break;
	case CHANGE_STORE_DONE:
		r->expect = CHANGE_RECORD_COMMITTED;
		r->set = CHANGE_RECORD_DONE;
		r->expect_epoch = coordinator_term(c);
		break;
	case CHANGE_STORE_KIND_COUNT:
		sluice_assert(!"a kind of transaction");
	}
	c->store_token = r->token;
	c->store_kind = kind;
}

bool coordinator_wants_store(const struct coordinator *c)
{
	return coordinator_states[c->state].asks_store && !c->record_final && c->store_token == 0;
}

/* Messages of an abort may precede the record's: nobody but this coordinator could commit. Unless
 * it has tried to. */
bool coordinator_may_send(const struct coordinator *c)
{
	return coordinator_states[c->state].asks_nodes &&
	       (c->state != COORDINATOR_ABORTING || !c->commit_doubt || c->record_final);
}

/* -- transitions -- */

static uint64_t later(uint64_t now, uint64_t delay)
{
	return delay == CHANGE_TIMER_OFF ? CHANGE_TIMER_OFF : now + delay;
}

/* The only place that changes the state. */
void coordinator_go(struct coordinator_step *s, enum coordinator_state to)
{
	struct coordinator *c = s->c;

	sluice_assert(coordinator_states[c->state].successors & (1u << to));
	c->state = to;
	change_text_copy(
	    change_output_add(s->out, CHANGE_OUT_STATE)->text, coordinator_state_name(to));
	c->phase_until_ns = later(s->now, coordinator_patience_ns(c));
	c->resend_at_ns = CHANGE_TIMER_OFF;
	if (coordinator_states[to].asks_nodes) {
		mark_asked(c);
	}
	if (coordinator_states[to].asks_nodes || coordinator_states[to].asks_store) {
		c->resend_at_ns = s->now + c->spec.policy.resend_ns;
	}
	if (coordinator_may_send(c)) {
		coordinator_send_to_asked(s);
	}
	if (coordinator_wants_store(c)) {
		coordinator_request_store(s, coordinator_states[to].kind);
	}
}

void coordinator_finish(struct coordinator_step *s, enum coordinator_state to)
{
	struct coordinator *c = s->c;

	coordinator_go(s, to);
	c->phase_until_ns = CHANGE_TIMER_OFF;
	c->resend_at_ns = CHANGE_TIMER_OFF;
	c->store_token = 0;
}

/* The record must not stay behind: without doubt about it there is none. */
void coordinator_abort(struct coordinator_step *s, const char *reason, const char *advice)
{
	coordinator_blame(s->c, reason);
	if (advice != NULL) {
		change_text_copy(s->c->advice, advice);
	}
	coordinator_go(s, COORDINATOR_ABORTING);
}

void coordinator_abort_for_node(struct coordinator_step *s, unsigned node, const char *reason)
{
	char text[CHANGE_REASON_MAX];

	change_text_copy(s->c->nodes[node].reason, reason);
	snprintf(text, sizeof(text), "node %u: %.210s", node, reason);
	coordinator_abort(s, text, NULL);
}

void coordinator_begin_hold(struct coordinator_step *s)
{
	s->c->attempt++;
	s->c->epoch++;
	coordinator_go(s, COORDINATOR_HOLDING);
}

void coordinator_give_up_hold(struct coordinator_step *s, unsigned node, const char *reason)
{
	struct coordinator *c = s->c;
	char text[CHANGE_REASON_MAX];

	change_text_copy(c->nodes[node].reason, reason);
	if (c->attempt <= c->spec.policy.hold_retries) {
		coordinator_go(s, COORDINATOR_UNHOLDING);
		return;
	}
	snprintf(text, sizeof(text), "node %u: %.150s; %u attempts, all requests went on as before",
	    node, reason, c->attempt);
	coordinator_abort(s, text, "try again when there is less I/O on the volume");
}

static void begin_commit(struct coordinator_step *s)
{
	s->c->commit_began_ns = s->now;
	s->c->commit_doubt = true;
	coordinator_go(s, COORDINATOR_COMMITTING);
}

/* Going back is safe while nobody can have served on the new face. */
static bool can_roll_back(const struct coordinator *c)
{
	if (c->record_final || coordinator_count_nodes(c, CHANGE_NODE_RESUMED) > 0) {
		return false;
	}
	if (!c->recovered) {
		return true;
	}
	for (unsigned i = 0; i < c->nr_nodes; i++) {
		const struct change_node *n = &c->nodes[i];

		if (n->state == CHANGE_NODE_ASKED ||
		    (n->state != CHANGE_NODE_EXCLUDED && n->rejoined && !c->spec.same_data)) {
			return false;
		}
	}
	return true;
}

static void blame_failed_nodes(struct coordinator *c)
{
	for (unsigned i = 0; i < c->nr_nodes; i++) {
		char text[CHANGE_REASON_MAX];

		if (c->nodes[i].state == CHANGE_NODE_SWITCH_FAILED ||
		    c->nodes[i].state == CHANGE_NODE_OUT_OF_SERVICE) {
			snprintf(text, sizeof(text), "node %u: %.210s", i, c->nodes[i].reason);
			coordinator_blame(c, text);
		}
	}
}

/* SWITCHING has answers: enough of them? patient: silent nodes may still answer. */
void coordinator_judge_switch(struct coordinator_step *s, bool patient)
{
	struct coordinator *c = s->c;
	unsigned failed = coordinator_count_nodes(c, CHANGE_NODE_SWITCH_FAILED);
	unsigned silent = coordinator_count_nodes(c, CHANGE_NODE_ASKED);

	if (failed == 0 && silent == 0) {
		coordinator_go(s, COORDINATOR_RESUMING);
		return;
	}
	if (patient && (failed == 0 || c->recovered) && silent > 0) {
		return;
	}
	blame_failed_nodes(c);
	coordinator_blame(c, "a node did not say that it has switched");
	coordinator_go(s, can_roll_back(c) ? COORDINATOR_REVERTING : COORDINATOR_SETTLING);
}

/* A phase in which everybody has to answer has no one left who has not? */
void coordinator_judge_phase(struct coordinator_step *s)
{
	struct coordinator *c = s->c;

	if (c->state == COORDINATOR_SWITCHING) {
		coordinator_judge_switch(s, true);
		return;
	}
	if (coordinator_count_nodes(c, CHANGE_NODE_ASKED) > 0) {
		return;
	}
	if (c->state == COORDINATOR_PREPARING) {
		coordinator_begin_hold(s);
	} else if (c->state == COORDINATOR_HOLDING) {
		begin_commit(s);
	} else if (c->state == COORDINATOR_UNHOLDING) {
		coordinator_go(s, COORDINATOR_BACKOFF);
	} else if (c->state == COORDINATOR_RESUMING) {
		blame_failed_nodes(c);
		if (c->record_final) {
			coordinator_finish(s, COORDINATOR_DONE);
		} else {
			coordinator_go(s, COORDINATOR_FINISHING);
		}
	} else if (c->state == COORDINATOR_RETURNING) {
		coordinator_finish(s, COORDINATOR_ROLLED_BACK);
	} else if (c->state == COORDINATOR_ABORTING && c->record_final) {
		coordinator_finish(s, COORDINATOR_ABORTED);
	}
}
