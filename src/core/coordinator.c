#include "core/coordinator.h"

#include <stdio.h>
#include <string.h>

/*
 *  IDLE -> RECORDING -> PREPARING -> HOLDING -> COMMITTING -> SWITCHING -> RESUMING -> FINISHING ->
 * DONE |            |         |   ^         |    |        | |          ^           ^ |            |
 * UNHOLDING |         |    |        | +-> SETTLING           | |            |         |   | |    |
 * |       ^  | (lost to a   | |            |         v   |         |    |        v       |  v
 * rollback)  | |            |        BACKOFF        |    |     REVERTING -+-----> RETURNING ->
 * ROLLED_BACK v            v         |             v    |
 *              +-- ABORTING +<--------+-------------+    |
 *                     |                                  +--- the record says what happened
 *                     v
 *                  ABORTED
 *
 *  A new coordinator begins in ABORTING (record PREPARED or ABORTED), CLAIMING -> SWITCHING
 *  (COMMITTED), RESUMING (DONE) or RETURNING (ROLLED_BACK).
 */

#define TO(name) (1u << COORDINATOR_##name)

struct state_info {
	const char *name;
	unsigned successors;
	bool final;
	bool asks_nodes;		  /* message is sent, and repeated, to the nodes ASKED */
	enum change_message_type message; /* with asks_nodes */
	bool asks_store;		  /* kind is asked for, and repeated, until it is known */
	enum change_store_kind kind;	  /* with asks_store */
	bool may_abort;			  /* no COMMIT was asked for */
};

static const struct state_info states[COORDINATOR_STATE_COUNT] = {
    [COORDINATOR_IDLE] = {.name = "idle",
	.successors = TO(RECORDING) | TO(ABORTING) | TO(CLAIMING) | TO(RESUMING) | TO(RETURNING)},
    [COORDINATOR_RECORDING] = {.name = "recording",
	.successors = TO(PREPARING) | TO(ABORTING) | TO(ABORTED) | TO(SUPERSEDED),
	.asks_store = true,
	.kind = CHANGE_STORE_PREPARE,
	.may_abort = true},
    [COORDINATOR_PREPARING] = {.name = "preparing",
	.successors = TO(HOLDING) | TO(ABORTING),
	.asks_nodes = true,
	.message = CHANGE_MSG_PREPARE,
	.may_abort = true},
    [COORDINATOR_HOLDING] = {.name = "holding",
	.successors = TO(COMMITTING) | TO(UNHOLDING) | TO(ABORTING),
	.asks_nodes = true,
	.message = CHANGE_MSG_HOLD,
	.may_abort = true},
    [COORDINATOR_UNHOLDING] = {.name = "unholding",
	.successors = TO(BACKOFF) | TO(ABORTING),
	.asks_nodes = true,
	.message = CHANGE_MSG_UNHOLD,
	.may_abort = true},
    [COORDINATOR_BACKOFF] = {.name = "back-off",
	.successors = TO(HOLDING) | TO(ABORTING),
	.may_abort = true},
    [COORDINATOR_COMMITTING] = {.name = "committing",
	.successors = TO(SWITCHING) | TO(ABORTING) | TO(RESUMING) | TO(RETURNING) | TO(SUPERSEDED),
	.asks_store = true,
	.kind = CHANGE_STORE_COMMIT},
    [COORDINATOR_CLAIMING] = {.name = "claiming",
	.successors = TO(SWITCHING) | TO(RESUMING) | TO(RETURNING) | TO(SUPERSEDED),
	.asks_store = true,
	.kind = CHANGE_STORE_CLAIM},
    [COORDINATOR_SWITCHING] = {.name = "switching",
	.successors = TO(RESUMING) | TO(REVERTING) | TO(SETTLING),
	.asks_nodes = true,
	.message = CHANGE_MSG_SWITCH},
    [COORDINATOR_SETTLING] = {.name = "settling",
	.successors = TO(RESUMING) | TO(RETURNING) | TO(SUPERSEDED),
	.asks_store = true,
	.kind = CHANGE_STORE_DONE},
    [COORDINATOR_RESUMING] = {.name = "resuming",
	.successors = TO(FINISHING) | TO(DONE),
	.asks_nodes = true,
	.message = CHANGE_MSG_RESUME},
    [COORDINATOR_FINISHING] = {.name = "finishing",
	.successors = TO(DONE) | TO(RETURNING) | TO(SUPERSEDED),
	.asks_store = true,
	.kind = CHANGE_STORE_DONE},
    [COORDINATOR_REVERTING] = {.name = "reverting",
	.successors = TO(RETURNING) | TO(RESUMING) | TO(SUPERSEDED),
	.asks_store = true,
	.kind = CHANGE_STORE_ROLLBACK},
    [COORDINATOR_RETURNING] = {.name = "returning",
	.successors = TO(ROLLED_BACK),
	.asks_nodes = true,
	.message = CHANGE_MSG_RETURN},
    [COORDINATOR_ABORTING] = {.name = "aborting",
	.successors = TO(ABORTED) | TO(SWITCHING) | TO(CLAIMING) | TO(RESUMING) | TO(RETURNING) |
		      TO(SUPERSEDED),
	.asks_nodes = true,
	.message = CHANGE_MSG_ABORT,
	.asks_store = true,
	.kind = CHANGE_STORE_ABORT},
    [COORDINATOR_DONE] = {.name = "done", .final = true},
    [COORDINATOR_ABORTED] = {.name = "aborted", .final = true},
    [COORDINATOR_ROLLED_BACK] = {.name = "rolled-back", .final = true},
    [COORDINATOR_SUPERSEDED] = {.name = "superseded", .final = true},
};

/* What one call works on. */
struct step {
	struct coordinator *c;
	uint64_t now;
	struct change_outputs *out;
};

const char *coordinator_state_name(enum coordinator_state state)
{
	return state < COORDINATOR_STATE_COUNT ? states[state].name : "?";
}

const char *change_node_state_name(enum change_node_state state)
{
	static const char *const names[CHANGE_NODE_STATE_COUNT] = {
	    [CHANGE_NODE_ASKED] = "asked",
	    [CHANGE_NODE_PREPARED] = "prepared",
	    [CHANGE_NODE_HELD] = "held",
	    [CHANGE_NODE_SWITCHED] = "switched",
	    [CHANGE_NODE_SWITCH_FAILED] = "switch-failed",
	    [CHANGE_NODE_RESUMED] = "resumed",
	    [CHANGE_NODE_RETURNED] = "returned",
	    [CHANGE_NODE_OUT_OF_SERVICE] = "out-of-service",
	    [CHANGE_NODE_EXCLUDED] = "excluded",
	};

	return state < CHANGE_NODE_STATE_COUNT ? names[state] : "?";
}

enum change_state coordinator_public_state(const struct coordinator *c)
{
	switch (c->state) {
	case COORDINATOR_IDLE:
	case COORDINATOR_RECORDING:
	case COORDINATOR_PREPARING:
		return CHANGE_PREPARING;
	case COORDINATOR_HOLDING:
	case COORDINATOR_UNHOLDING:
	case COORDINATOR_BACKOFF:
	case COORDINATOR_COMMITTING:
		return CHANGE_HOLDING;
	case COORDINATOR_ABORTING:
		return c->attempt > 0 ? CHANGE_HOLDING : CHANGE_PREPARING;
	case COORDINATOR_CLAIMING:
	case COORDINATOR_SWITCHING:
	case COORDINATOR_SETTLING:
	case COORDINATOR_RESUMING:
	case COORDINATOR_FINISHING:
	case COORDINATOR_REVERTING:
	case COORDINATOR_RETURNING:
	case COORDINATOR_SUPERSEDED:
		return CHANGE_COMMITTED;
	case COORDINATOR_DONE:
		return CHANGE_DONE;
	case COORDINATOR_ABORTED:
		return CHANGE_ABORTED;
	case COORDINATOR_ROLLED_BACK:
		return CHANGE_ROLLED_BACK;
	case COORDINATOR_STATE_COUNT:
		break;
	}
	sluice_assert(!"a state of the coordinator");
	return CHANGE_STATE_COUNT;
}

static unsigned count_nodes(const struct coordinator *c, enum change_node_state state)
{
	unsigned n = 0;

	for (unsigned i = 0; i < c->nr_nodes; i++) {
		n += c->nodes[i].state == state;
	}
	return n;
}

void coordinator_check(const struct coordinator *c)
{
	const struct state_info *info = &states[c->state];

	sluice_assert(c->state < COORDINATOR_STATE_COUNT);
	sluice_assert(c->epoch >= COORDINATOR_FIRST_EPOCH);
	sluice_assert(!info->may_abort || !c->commit_doubt);
	sluice_assert(!info->final || c->timer_ns == CHANGE_TIMER_OFF);
	sluice_assert(!info->final || c->store_token == 0);
	/* COMMIT is asked for only when everybody holds. */
	if (c->state == COORDINATOR_COMMITTING) {
		sluice_assert(
		    count_nodes(c, CHANGE_NODE_HELD) + count_nodes(c, CHANGE_NODE_EXCLUDED) ==
		    c->nr_nodes);
	}
	/* Nobody is let go on the new face while a rollback could succeed. */
	if (c->state == COORDINATOR_RETURNING || c->state == COORDINATOR_ROLLED_BACK) {
		sluice_assert(c->record == CHANGE_RECORD_ROLLED_BACK);
	}
	sluice_assert(c->state != COORDINATOR_DONE || c->record == CHANGE_RECORD_DONE);
}

static uint64_t term(const struct coordinator *c)
{
	return c->epoch & ~(COORDINATOR_FIRST_EPOCH - 1);
}

static void say(struct step *s, const char *text)
{
	change_text_copy(change_output_add(s->out, CHANGE_OUT_SAY)->text, text);
}

/* The first reason is the one that counts. */
static void blame(struct coordinator *c, const char *reason)
{
	if (c->reason[0] == '\0') {
		change_text_copy(c->reason, reason);
	}
}

/* -- asking nodes and the store -----------------------------------------------------------------
 */

static void send_to_asked(struct step *s)
{
	struct coordinator *c = s->c;

	for (unsigned i = 0; i < c->nr_nodes; i++) {
		struct change_output *o;

		if (c->nodes[i].state != CHANGE_NODE_ASKED) {
			continue;
		}
		o = change_output_add(s->out, CHANGE_OUT_SEND);
		o->node = i;
		o->message.type = states[c->state].message;
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

static void request_store(struct step *s, enum change_store_kind kind)
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
		r->set_epoch = term(c);
		r->expect_generation = c->spec.generation;
		break;
	case CHANGE_STORE_CLAIM:
		r->expect = CHANGE_RECORD_COMMITTED;
		r->set = CHANGE_RECORD_COMMITTED;
		r->expect_epoch = c->record_epoch;
		r->set_epoch = term(c);
		break;
	case CHANGE_STORE_COMMIT:
		r->expect = CHANGE_RECORD_PREPARED;
		r->set = CHANGE_RECORD_COMMITTED;
		r->expect_epoch = term(c);
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
		r->expect_epoch = term(c);
		r->expect_generation = c->spec.generation + 1;
		r->set_generation = c->spec.generation + 2;
		break;
	case CHANGE_STORE_DONE:
		r->expect = CHANGE_RECORD_COMMITTED;
		r->set = CHANGE_RECORD_DONE;
		r->expect_epoch = term(c);
		break;
	case CHANGE_STORE_KIND_COUNT:
		sluice_assert(!"a kind of transaction");
	}
	c->store_token = r->token;
	c->store_kind = kind;
}

static bool wants_store(const struct coordinator *c)
{
	return states[c->state].asks_store && !c->record_final && c->store_token == 0;
}

/* Messages of an abort may precede the record's: nobody but this coordinator could commit. Unless
 * it has tried to. */
static bool may_send(const struct coordinator *c)
{
	return states[c->state].asks_nodes &&
	       (c->state != COORDINATOR_ABORTING || !c->commit_doubt || c->record_final);
}

/* -- transitions ----------------------------------------------------------------------------------
 */

static uint64_t patience_ns(const struct coordinator *c)
{
	const struct change_policy *p = &c->spec.policy;
	unsigned doublings;

	switch (c->state) {
	case COORDINATOR_RECORDING:
	case COORDINATOR_PREPARING:
		return p->prepare_ns;
	case COORDINATOR_HOLDING:
		/* The node itself says so when it does not drain in time: this is for silence. */
		return MIN(p->drain_ns + 2 * p->resend_ns, change_ask_after_ns(p));
	case COORDINATOR_BACKOFF:
		doublings = MIN(c->attempt - 1, 6u);
		return p->backoff_ns << doublings;
	case COORDINATOR_COMMITTING:
		return p->hold_ns;
	case COORDINATOR_SWITCHING:
		return c->recovered ? p->hold_ns + p->verify_ns : p->verify_ns + p->resend_ns;
	case COORDINATOR_UNHOLDING:
	case COORDINATOR_RESUMING:
	case COORDINATOR_RETURNING:
	case COORDINATOR_ABORTING:
		return 2 * p->hold_ns;
	case COORDINATOR_IDLE:
	case COORDINATOR_CLAIMING:
	case COORDINATOR_SETTLING:
	case COORDINATOR_FINISHING:
	case COORDINATOR_REVERTING:
	case COORDINATOR_DONE:
	case COORDINATOR_ABORTED:
	case COORDINATOR_ROLLED_BACK:
	case COORDINATOR_SUPERSEDED:
	case COORDINATOR_STATE_COUNT:
		break;
	}
	return CHANGE_TIMER_OFF;
}

static uint64_t later(uint64_t now, uint64_t delay)
{
	return delay == CHANGE_TIMER_OFF ? CHANGE_TIMER_OFF : now + delay;
}

/* The only place that changes the state. */
static void go(struct step *s, enum coordinator_state to)
{
	struct coordinator *c = s->c;

	sluice_assert(states[c->state].successors & (1u << to));
	c->state = to;
	change_text_copy(
	    change_output_add(s->out, CHANGE_OUT_STATE)->text, coordinator_state_name(to));
	c->phase_until_ns = later(s->now, patience_ns(c));
	c->resend_at_ns = CHANGE_TIMER_OFF;
	if (states[to].asks_nodes) {
		mark_asked(c);
	}
	if (states[to].asks_nodes || states[to].asks_store) {
		c->resend_at_ns = s->now + c->spec.policy.resend_ns;
	}
	if (may_send(c)) {
		send_to_asked(s);
	}
	if (wants_store(c)) {
		request_store(s, states[to].kind);
	}
}

static void finish(struct step *s, enum coordinator_state to)
{
	struct coordinator *c = s->c;

	go(s, to);
	c->phase_until_ns = CHANGE_TIMER_OFF;
	c->resend_at_ns = CHANGE_TIMER_OFF;
	c->store_token = 0;
}

/* The record must not stay behind: without doubt about it there is none. */
static void abort_change(struct step *s, const char *reason, const char *advice)
{
	blame(s->c, reason);
	if (advice != NULL) {
		change_text_copy(s->c->advice, advice);
	}
	go(s, COORDINATOR_ABORTING);
}

static void abort_for_node(struct step *s, unsigned node, const char *reason)
{
	char text[CHANGE_REASON_MAX];

	change_text_copy(s->c->nodes[node].reason, reason);
	snprintf(text, sizeof(text), "node %u: %.130s", node, reason);
	abort_change(s, text, NULL);
}

static void begin_hold(struct step *s)
{
	s->c->attempt++;
	s->c->epoch++;
	go(s, COORDINATOR_HOLDING);
}

static void give_up_hold(struct step *s, unsigned node, const char *reason)
{
	struct coordinator *c = s->c;
	char text[CHANGE_REASON_MAX];

	change_text_copy(c->nodes[node].reason, reason);
	if (c->attempt <= c->spec.policy.hold_retries) {
		go(s, COORDINATOR_UNHOLDING);
		return;
	}
	snprintf(text, sizeof(text), "node %u: %.70s; %u attempts, all requests went on as before",
	    node, reason, c->attempt);
	abort_change(s, text, "try again when there is less I/O on the volume");
}

static void begin_commit(struct step *s)
{
	s->c->commit_began_ns = s->now;
	s->c->commit_doubt = true;
	go(s, COORDINATOR_COMMITTING);
}

/* Going back is safe while nobody can have served on the new face. */
static bool can_roll_back(const struct coordinator *c)
{
	if (c->record_final || count_nodes(c, CHANGE_NODE_RESUMED) > 0) {
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
			snprintf(text, sizeof(text), "node %u: %.130s", i, c->nodes[i].reason);
			blame(c, text);
		}
	}
}

/* SWITCHING has answers: enough of them? patient: silent nodes may still answer. */
static void judge_switch(struct step *s, bool patient)
{
	struct coordinator *c = s->c;
	unsigned failed = count_nodes(c, CHANGE_NODE_SWITCH_FAILED);
	unsigned silent = count_nodes(c, CHANGE_NODE_ASKED);

	if (failed == 0 && silent == 0) {
		go(s, COORDINATOR_RESUMING);
		return;
	}
	if (patient && (failed == 0 || c->recovered) && silent > 0) {
		return;
	}
	blame_failed_nodes(c);
	blame(c, "a node did not say that it has switched");
	go(s, can_roll_back(c) ? COORDINATOR_REVERTING : COORDINATOR_SETTLING);
}

/* A phase in which everybody has to answer has no one left who has not? */
static void judge_phase(struct step *s)
{
	struct coordinator *c = s->c;

	if (c->state == COORDINATOR_SWITCHING) {
		judge_switch(s, true);
		return;
	}
	if (count_nodes(c, CHANGE_NODE_ASKED) > 0) {
		return;
	}
	if (c->state == COORDINATOR_PREPARING) {
		begin_hold(s);
	} else if (c->state == COORDINATOR_HOLDING) {
		begin_commit(s);
	} else if (c->state == COORDINATOR_UNHOLDING) {
		go(s, COORDINATOR_BACKOFF);
	} else if (c->state == COORDINATOR_RESUMING) {
		blame_failed_nodes(c);
		if (c->record_final) {
			finish(s, COORDINATOR_DONE);
		} else {
			go(s, COORDINATOR_FINISHING);
		}
	} else if (c->state == COORDINATOR_RETURNING) {
		finish(s, COORDINATOR_ROLLED_BACK);
	} else if (c->state == COORDINATOR_ABORTING && c->record_final) {
		finish(s, COORDINATOR_ABORTED);
	}
}

/* -- what the store says ------------------------------------------------------------------------
 */

/* A final state, or COMMITTED where it was not expected: the record decides, not we. */
static void follow_record(struct step *s)
{
	struct coordinator *c = s->c;

	c->record_final = change_record_state_final(c->record);
	switch (c->record) {
	case CHANGE_RECORD_COMMITTED:
		c->reason[0] = '\0'; /* of the abort that came too late */
		go(s, c->record_epoch == term(c) ? COORDINATOR_SWITCHING : COORDINATOR_CLAIMING);
		break;
	case CHANGE_RECORD_DONE:
		if (c->state == COORDINATOR_FINISHING) {
			finish(s, COORDINATOR_DONE);
		} else {
			go(s, COORDINATOR_RESUMING);
			judge_phase(s);
		}
		break;
	case CHANGE_RECORD_ROLLED_BACK:
		blame(c, "a node could not switch and went back at its deadline");
		go(s, COORDINATOR_RETURNING);
		judge_phase(s);
		break;
	case CHANGE_RECORD_ABORTED:
		blame(c, "a hold came to its deadline before the commit");
		if (c->state != COORDINATOR_ABORTING) {
			go(s, COORDINATOR_ABORTING);
		} else if (c->commit_doubt) {
			send_to_asked(s);
		}
		judge_phase(s);
		break;
	case CHANGE_RECORD_NONE:
	case CHANGE_RECORD_PREPARED:
	case CHANGE_RECORD_STATE_COUNT:
		sluice_assert(!"a record to follow");
	}
}

static void recorded(struct step *s)
{
	s->c->in_doubt = false;
	go(s, COORDINATOR_PREPARING);
	judge_phase(s);
}

static void committed(struct step *s)
{
	s->c->commit_us = (s->now - s->c->commit_began_ns) / NS_PER_US;
	go(s, COORDINATOR_SWITCHING);
	judge_switch(s, true);
}

/* The transaction asked for in this state has succeeded. */
static void transaction_done(struct step *s)
{
	struct coordinator *c = s->c;

	switch (c->state) {
	case COORDINATOR_RECORDING:
		recorded(s);
		break;
	case COORDINATOR_COMMITTING:
		committed(s);
		break;
	case COORDINATOR_CLAIMING:
		go(s, COORDINATOR_SWITCHING);
		judge_switch(s, true);
		break;
	case COORDINATOR_SETTLING:
	case COORDINATOR_FINISHING:
	case COORDINATOR_REVERTING:
	case COORDINATOR_ABORTING:
		follow_record(s);
		break;
	case COORDINATOR_IDLE:
	case COORDINATOR_PREPARING:
	case COORDINATOR_HOLDING:
	case COORDINATOR_UNHOLDING:
	case COORDINATOR_BACKOFF:
	case COORDINATOR_SWITCHING:
	case COORDINATOR_RESUMING:
	case COORDINATOR_RETURNING:
	case COORDINATOR_DONE:
	case COORDINATOR_ABORTED:
	case COORDINATOR_ROLLED_BACK:
	case COORDINATOR_SUPERSEDED:
	case COORDINATOR_STATE_COUNT:
		break; /* asked for in a state that has been left */
	}
}

static uint64_t epoch_above(uint64_t epoch)
{
	return (epoch | (COORDINATOR_FIRST_EPOCH - 1)) + 1;
}

/*
 * Another coordinator may have claimed the same epoch from the same record, so that only a claim
 * that was answered is ours; after one without an answer a higher epoch is claimed.
 */
static bool owned_by_another(const struct coordinator *c)
{
	if (c->record != CHANGE_RECORD_COMMITTED) {
		return false;
	}
	if (c->state == COORDINATOR_CLAIMING) {
		return !c->in_doubt && c->record_epoch >= term(c);
	}
	return c->record_epoch > term(c) ||
	       (c->record_epoch != term(c) && c->state != COORDINATOR_ABORTING);
}

static void claim_above(struct step *s)
{
	s->c->epoch = epoch_above(MAX(s->c->record_epoch, s->c->epoch));
	request_store(s, CHANGE_STORE_CLAIM);
}

/* The record is as it was when the transaction was asked for: once more, or not any more? */
static void retry_transaction(struct step *s)
{
	struct coordinator *c = s->c;

	if (c->state == COORDINATOR_COMMITTING && s->now >= c->phase_until_ns) {
		abort_change(s, "the store did not commit in time", NULL);
	} else {
		request_store(s, states[c->state].kind);
	}
}

/* The store is outside of us: what it says is checked. */
static bool record_possible(const struct coordinator *c, const struct change_record *record)
{
	switch (record->state) {
	case CHANGE_RECORD_NONE:
		return c->state == COORDINATOR_RECORDING ||
		       (c->state == COORDINATOR_ABORTING && !c->commit_doubt);
	case CHANGE_RECORD_PREPARED:
	case CHANGE_RECORD_ABORTED:
		return c->state == COORDINATOR_RECORDING || c->state == COORDINATOR_COMMITTING ||
		       c->state == COORDINATOR_ABORTING;
	case CHANGE_RECORD_COMMITTED:
	case CHANGE_RECORD_DONE:
	case CHANGE_RECORD_ROLLED_BACK:
		return c->state != COORDINATOR_RECORDING;
	case CHANGE_RECORD_STATE_COUNT:
		break;
	}
	return false;
}

static void record_read(struct step *s, const struct change_record *record)
{
	struct coordinator *c = s->c;

	if (!states[c->state].asks_store) {
		return;
	}
	if (!record_possible(c, record)) {
		say(s, "the record in the store is not one that this change can have");
		c->resend_at_ns = s->now + c->spec.policy.resend_ns;
		return;
	}
	c->record = record->state;
	c->record_epoch = record->epoch;
	if (owned_by_another(c)) {
		blame(c, "another node coordinates this change now");
		finish(s, COORDINATOR_SUPERSEDED);
	} else if (c->state == COORDINATOR_RECORDING && record->state == CHANGE_RECORD_PREPARED) {
		recorded(s);
	} else if (c->state == COORDINATOR_RECORDING && record->generation != c->spec.generation) {
		abort_change(s, "the volume's map has changed meanwhile", "ask for it again");
	} else if (c->state == COORDINATOR_COMMITTING && record->state == CHANGE_RECORD_COMMITTED) {
		committed(s);
	} else if (c->state == COORDINATOR_CLAIMING && record->state == CHANGE_RECORD_COMMITTED) {
		claim_above(s);
	} else if (record->state == CHANGE_RECORD_NONE || record->state == CHANGE_RECORD_PREPARED ||
		   (record->state == CHANGE_RECORD_COMMITTED && c->state != COORDINATOR_ABORTING)) {
		retry_transaction(s);
	} else {
		follow_record(s);
	}
}

static void store_unreachable(struct step *s)
{
	struct coordinator *c = s->c;

	if (!c->unreachable_said) {
		say(s, "the store does not answer; the change waits for it");
		c->unreachable_said = true;
	}
	c->resend_at_ns = s->now + c->spec.policy.resend_ns;
}

/* FAILED is an answer: unless an earlier request is in doubt, nothing has happened. */
static void store_refused(struct step *s, enum change_store_kind kind)
{
	struct coordinator *c = s->c;

	if (kind == CHANGE_STORE_PREPARE && c->state == COORDINATOR_RECORDING && !c->in_doubt) {
		blame(c, "the store refused the record of the change");
		finish(s, COORDINATOR_ABORTED);
	} else if (kind == CHANGE_STORE_COMMIT && c->state == COORDINATOR_COMMITTING &&
		   !c->in_doubt) {
		c->commit_doubt = false;
		abort_change(s, "the store refused the commit", NULL);
	} else {
		store_unreachable(s);
	}
}

static void on_store(struct step *s, const struct change_store_answer *a)
{
	struct coordinator *c = s->c;
	enum change_store_kind kind = c->store_kind;

	if (c->store_token == 0 || a->token != c->store_token) {
		return;
	}
	c->store_token = 0;
	switch (a->result) {
	case CHANGE_STORE_OK:
		c->unreachable_said = false;
		if (kind == CHANGE_STORE_READ) {
			record_read(s, &a->record);
			break;
		}
		c->record = a->record.state;
		c->record_epoch = a->record.epoch;
		if (states[c->state].asks_store && states[c->state].kind == kind) {
			transaction_done(s);
		} else if (wants_store(c)) {
			request_store(s, states[c->state].kind);
		}
		break;
	case CHANGE_STORE_CONFLICT:
		if (wants_store(c)) {
			request_store(s, CHANGE_STORE_READ);
		}
		break;
	case CHANGE_STORE_UNKNOWN:
		c->in_doubt = true;
		store_unreachable(s);
		if (wants_store(c) && kind != CHANGE_STORE_READ) {
			request_store(s, CHANGE_STORE_READ);
		}
		break;
	case CHANGE_STORE_FAILED:
		store_refused(s, kind);
		break;
	case CHANGE_STORE_RESULT_COUNT:
		sluice_assert(!"an answer of the store");
	}
}

/* -- what nodes say -----------------------------------------------------------------------------
 */

static void take_figures(struct change_node *n, const struct change_message *m)
{
	n->drain_us = m->drain_us;
	n->verify_us = m->verify_us;
	n->held_us = m->held_us;
	n->held_requests = m->held_requests;
}

/* In state, the node's answer is this; when it was the last one awaited, the phase is over. */
static void node_answered(struct step *s, unsigned node, const struct change_message *m,
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
	judge_phase(s);
}

static void node_out_of_service(struct step *s, unsigned node, const char *reason)
{
	char text[CHANGE_REASON_MAX];

	s->c->nodes[node].state = CHANGE_NODE_OUT_OF_SERVICE;
	change_text_copy(s->c->nodes[node].reason, reason);
	snprintf(text, sizeof(text), "node %u is out of service, its requests stay held: %.90s",
	    node, reason);
	say(s, text);
}

static void node_said_no(struct step *s, unsigned node, const struct change_message *m)
{
	if (s->c->state == COORDINATOR_PREPARING || s->c->state == COORDINATOR_HOLDING) {
		abort_for_node(s, node, m->reason);
	}
}

static void node_aborted(struct step *s, unsigned node, const struct change_message *m)
{
	if (states[s->c->state].may_abort && s->c->state != COORDINATOR_RECORDING) {
		abort_for_node(s, node, m->reason);
	}
	node_answered(s, node, m, COORDINATOR_ABORTING, CHANGE_NODE_RETURNED);
}

static void node_switched(struct step *s, unsigned node, const struct change_message *m)
{
	s->c->nodes[node].rejoined = m->rejoined;
	node_answered(s, node, m, COORDINATOR_SWITCHING, CHANGE_NODE_SWITCHED);
}

static void node_switch_failed(struct step *s, unsigned node, const struct change_message *m)
{
	s->c->nodes[node].rejoined = m->rejoined;
	if (s->c->state == COORDINATOR_RESUMING && s->c->nodes[node].state == CHANGE_NODE_ASKED) {
		node_out_of_service(s, node, m->reason);
		judge_phase(s);
		return;
	}
	node_answered(s, node, m, COORDINATOR_SWITCHING, CHANGE_NODE_SWITCH_FAILED);
}

/* A node has returned by the store's word, before we knew. */
static void node_returned(struct step *s, unsigned node, const struct change_message *m)
{
	if (s->c->state == COORDINATOR_SWITCHING && !s->c->record_final) {
		s->c->nodes[node].state = CHANGE_NODE_RETURNED;
		take_figures(&s->c->nodes[node], m);
		go(s, COORDINATOR_REVERTING);
		return;
	}
	node_answered(s, node, m, COORDINATOR_RETURNING, CHANGE_NODE_RETURNED);
}

static void node_return_failed(struct step *s, unsigned node, const struct change_message *m)
{
	if (s->c->state == COORDINATOR_RETURNING && s->c->nodes[node].state == CHANGE_NODE_ASKED) {
		node_out_of_service(s, node, m->reason);
		judge_phase(s);
	}
}

static void on_message(struct step *s, unsigned node, const struct change_message *m)
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
			give_up_hold(s, node, m->reason);
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

/* -- time, the operator, lost nodes ---------------------------------------------------------------
 */

static void silent_nodes_are_out(struct step *s)
{
	for (unsigned i = 0; i < s->c->nr_nodes; i++) {
		if (s->c->nodes[i].state == CHANGE_NODE_ASKED) {
			node_out_of_service(s, i, "no answer; it asks the store by itself");
		}
	}
	judge_phase(s);
}

static void abort_for_silence(struct step *s)
{
	for (unsigned i = 0; i < s->c->nr_nodes; i++) {
		if (s->c->nodes[i].state == CHANGE_NODE_ASKED) {
			abort_for_node(s, i, "did not answer in time");
			return;
		}
	}
}

static void patience_over(struct step *s)
{
	struct coordinator *c = s->c;

	c->phase_until_ns = s->now + c->spec.policy.resend_ns;
	if (c->state == COORDINATOR_RECORDING) {
		abort_change(s, "the store did not take the record in time", NULL);
	} else if (c->state == COORDINATOR_PREPARING || c->state == COORDINATOR_HOLDING ||
		   c->state == COORDINATOR_UNHOLDING) {
		abort_for_silence(s);
	} else if (c->state == COORDINATOR_BACKOFF) {
		begin_hold(s);
	} else if (c->state == COORDINATOR_COMMITTING && c->store_token == 0) {
		abort_change(s, "the store did not commit in time", NULL);
	} else if (c->state == COORDINATOR_SWITCHING) {
		judge_switch(s, false);
	} else if (c->state == COORDINATOR_RESUMING || c->state == COORDINATOR_RETURNING ||
		   (c->state == COORDINATOR_ABORTING && may_send(c))) {
		silent_nodes_are_out(s);
	}
}

static void on_timer(struct step *s)
{
	struct coordinator *c = s->c;

	if (s->now >= c->resend_at_ns) {
		c->resend_at_ns = s->now + c->spec.policy.resend_ns;
		if (may_send(c)) {
			send_to_asked(s);
		}
		if (wants_store(c)) {
			request_store(s, CHANGE_STORE_READ);
		}
	}
	if (s->now >= c->phase_until_ns) {
		patience_over(s);
	}
}

static void on_lost(struct step *s, unsigned node, const char *reason)
{
	if (node >= s->c->nr_nodes) {
		return;
	}
	change_text_copy(s->c->nodes[node].reason, reason);
	if (states[s->c->state].may_abort) {
		abort_for_node(s, node, reason);
	}
}

static void on_excluded(struct step *s, unsigned node, const char *reason)
{
	struct coordinator *c = s->c;
	char text[CHANGE_REASON_MAX];

	if (node >= c->nr_nodes || states[c->state].final) {
		return;
	}
	c->nodes[node].state = CHANGE_NODE_EXCLUDED;
	change_text_copy(c->nodes[node].reason, reason);
	snprintf(text, sizeof(text), "node %u is excluded: %.120s", node, reason);
	say(s, text);
	if (states[c->state].may_abort &&
	    c->nr_nodes - count_nodes(c, CHANGE_NODE_EXCLUDED) < c->spec.policy.min_nodes) {
		abort_for_node(s, node, reason);
	} else if (states[c->state].asks_nodes) {
		judge_phase(s);
	}
}

/* After every input: one timer for what comes first, and the end said once. */
static void settle(struct step *s)
{
	struct coordinator *c = s->c;
	uint64_t next = MIN(c->phase_until_ns, c->resend_at_ns);

	if (next != c->timer_ns) {
		change_output_add(s->out, CHANGE_OUT_TIMER)->timer_ns = next;
		c->timer_ns = next;
	}
	if (states[c->state].final) {
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
	struct step s = {c, now_ns, out};

	init(c, spec, nodes, nr_nodes);
	go(&s, COORDINATOR_RECORDING);
	settle(&s);
}

void coordinator_recover(struct coordinator *c, const struct change_spec *spec,
    struct change_node *nodes, unsigned nr_nodes, const struct change_record *record,
    uint64_t now_ns, struct change_outputs *out)
{
	struct step s = {c, now_ns, out};

	init(c, spec, nodes, nr_nodes);
	c->recovered = true;
	c->record = record->state;
	c->record_epoch = record->epoch;
	c->record_final = change_record_state_final(record->state);
	/* Above all attempts of those before. */
	c->epoch = epoch_above(record->epoch);
	switch (record->state) {
	case CHANGE_RECORD_PREPARED:
	case CHANGE_RECORD_NONE:
	case CHANGE_RECORD_ABORTED:
		c->commit_doubt = record->state == CHANGE_RECORD_PREPARED;
		blame(c, "its coordinator ended before the commit");
		go(&s, COORDINATOR_ABORTING);
		break;
	case CHANGE_RECORD_COMMITTED:
		go(&s, COORDINATOR_CLAIMING);
		break;
	case CHANGE_RECORD_DONE:
		go(&s, COORDINATOR_RESUMING);
		break;
	case CHANGE_RECORD_ROLLED_BACK:
		blame(c, "it was rolled back before its coordinator ended");
		go(&s, COORDINATOR_RETURNING);
		break;
	case CHANGE_RECORD_STATE_COUNT:
		sluice_assert(!"a state of a record");
	}
	settle(&s);
}

void coordinator_step(struct coordinator *c, const struct coordinator_input *in, uint64_t now_ns,
    struct change_outputs *out)
{
	struct step s = {c, now_ns, out};

	if (states[c->state].final) {
		return;
	}
	switch (in->kind) {
	case COORDINATOR_IN_MESSAGE:
		on_message(&s, in->node, &in->message);
		break;
	case COORDINATOR_IN_STORE:
		on_store(&s, &in->answer);
		break;
	case COORDINATOR_IN_TIMER:
		on_timer(&s);
		break;
	case COORDINATOR_IN_CANCEL:
		if (states[c->state].may_abort) {
			abort_change(&s, "cancelled by the operator", NULL);
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
