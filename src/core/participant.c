#include "core/participant.h"

#include <string.h>

/*
 *  IDLE -> BUILDING -> PREPARED -> DRAINING -> CHECKING -> HELD -> PUBLISHING -> VERIFYING -> SWITCHED
 *              |          | ^          |           |         |          |            |            |
 *              |          | |          +-----------+         |          +------------+            |
 *              |          | |          v                     |          v                         |
 *              |          | |       REFUSING                 |        FAILED                      |
 *              |          | |          |                     |          |                         |
 *              |          | |          +---------> RETURNING <----------+-------------------------+
 *              |          | |           (abort, unhold, return)                                   |
 *              |          | |                          |   ^                                      |
 *              |          | |                          v   |                     (resume)         |
 *              |          | +------ (unhold) ----- RELEASING <------------------------------------+
 *              |          |                            |      OUT: could not take the face that
 *              +----------+-------> ENDED <------------+      the record names; back into PUBLISHING
 *                                                             or RETURNING from time to time
 */

#define TO(name) (1u << PARTICIPANT_##name)
#define BACK (TO(RETURNING) | TO(RELEASING))

static const struct {
	unsigned successors;
	bool final;
} states[PARTICIPANT_STATE_COUNT] = {
    [PARTICIPANT_IDLE] = {TO(BUILDING) | TO(HELD) | TO(PUBLISHING) | TO(ENDED), false},
    [PARTICIPANT_BUILDING] = {TO(PREPARED) | TO(ENDED), false},
    [PARTICIPANT_PREPARED] = {TO(DRAINING) | TO(ENDED), false},
    [PARTICIPANT_DRAINING] = {TO(CHECKING) | TO(REFUSING) | TO(PUBLISHING) | BACK, false},
    [PARTICIPANT_CHECKING] = {TO(HELD) | TO(REFUSING) | TO(PUBLISHING) | BACK, false},
    [PARTICIPANT_HELD] = {TO(PUBLISHING) | BACK, false},
    [PARTICIPANT_REFUSING] = {BACK, false},
    [PARTICIPANT_PUBLISHING] = {TO(VERIFYING) | TO(FAILED) | TO(OUT) | BACK, false},
    [PARTICIPANT_VERIFYING] = {TO(SWITCHED) | TO(FAILED) | TO(OUT) | BACK, false},
    [PARTICIPANT_SWITCHED] = {BACK, false},
    [PARTICIPANT_FAILED] = {TO(OUT) | BACK, false},
    [PARTICIPANT_RETURNING] = {TO(RELEASING) | TO(OUT), false},
    [PARTICIPANT_OUT] = {TO(PUBLISHING) | TO(RETURNING), false},
    [PARTICIPANT_RELEASING] = {TO(PREPARED) | TO(ENDED), false},
    [PARTICIPANT_ENDED] = {0, true},
};

/* What one call works on. */
struct step {
	struct participant *p;
	uint64_t now;
	struct change_outputs *out;
};

const char *participant_state_name(enum participant_state state)
{
	static const char *const names[] = {
#define X(name, text, holds) text,
	    PARTICIPANT_STATES(X)
#undef X
	};

	return state < PARTICIPANT_STATE_COUNT ? names[state] : "?";
}

bool participant_state_holds(enum participant_state state)
{
	static const bool holds_in[] = {
#define X(name, text, holds) holds,
	    PARTICIPANT_STATES(X)
#undef X
	};

	return state < PARTICIPANT_STATE_COUNT && holds_in[state];
}

static bool old_face(enum participant_verdict verdict)
{
	return verdict == PARTICIPANT_OLD_RETRY || verdict == PARTICIPANT_OLD_ABORTED ||
	       verdict == PARTICIPANT_OLD_ROLLED_BACK;
}

void participant_check(const struct participant *p)
{
	sluice_assert(p->state < PARTICIPANT_STATE_COUNT);
	/* Nobody lets go without a verdict, nor on a face that is not the verdict's. */
	sluice_assert(p->state != PARTICIPANT_RELEASING || p->verdict != PARTICIPANT_UNDECIDED);
	sluice_assert(
	    p->state != PARTICIPANT_RELEASING || p->published == (p->verdict == PARTICIPANT_NEW));
	sluice_assert(p->state != PARTICIPANT_RETURNING || old_face(p->verdict));
	/* The new face is not shown to anybody before the commit. */
	sluice_assert(!p->published || p->committed);
	/* Every hold has an end in sight: a time, or an answer. */
	sluice_assert(!participant_state_holds(p->state) || p->timer_ns != CHANGE_TIMER_OFF ||
		      p->store_token != 0 || p->action_token != 0);
}

/* -- outputs -- */

static void answer(struct step *s, enum change_message_type type)
{
	struct participant *p = s->p;
	struct change_message *m = &change_output_add(s->out, CHANGE_OUT_SEND)->message;

	m->type = type;
	m->change = p->spec.id;
	m->epoch = p->epoch;
	m->rejoined = p->rejoined;
	m->drain_us = p->drain_us;
	m->verify_us = p->verify_us;
	m->held_us = p->held_us;
	m->held_requests = p->held_requests;
	change_text_copy(m->reason, p->reason);
	p->said_switched = p->said_switched || type == CHANGE_MSG_SWITCHED;
}

static void say(struct step *s, const char *text)
{
	change_text_copy(change_output_add(s->out, CHANGE_OUT_SAY)->text, text);
}

static uint64_t act(struct step *s, enum change_action action)
{
	struct change_output *o = change_output_add(s->out, CHANGE_OUT_ACTION);

	o->action = action;
	o->token = ++s->p->last_token;
	return o->token;
}

/* The only place that changes the state. */
static void go(struct step *s, enum participant_state to)
{
	sluice_assert(states[s->p->state].successors & (1u << to));
	s->p->state = to;
	s->p->action_token = 0;
	s->p->probe_token = 0;
	change_text_copy(
	    change_output_add(s->out, CHANGE_OUT_STATE)->text, participant_state_name(to));
}

static void request_store(struct step *s, enum change_store_kind kind)
{
	struct participant *p = s->p;
	struct change_store_request *r = &change_output_add(s->out, CHANGE_OUT_STORE)->store;

	r->kind = kind;
	r->token = ++p->last_token;
	if (kind == CHANGE_STORE_ABORT) {
		r->expect = CHANGE_RECORD_PREPARED;
		r->set = CHANGE_RECORD_ABORTED;
	} else if (kind == CHANGE_STORE_DONE) {
		r->expect = CHANGE_RECORD_COMMITTED;
		r->set = CHANGE_RECORD_DONE;
	} else if (kind == CHANGE_STORE_ROLLBACK) {
		r->expect = CHANGE_RECORD_COMMITTED;
		r->set = CHANGE_RECORD_ROLLED_BACK;
		r->expect_generation = p->spec.generation + 1;
		r->set_generation = p->spec.generation + 2;
	}
	p->store_token = r->token;
	p->store_kind = kind;
}

/* -- towards a face -- */

static void end(struct step *s)
{
	act(s, s->p->verdict == PARTICIPANT_NEW ? CHANGE_ACT_DROP_OLD : CHANGE_ACT_DROP_NEW);
	s->p->store_token = 0;
	go(s, PARTICIPANT_ENDED);
}

static void release(struct step *s)
{
	go(s, PARTICIPANT_RELEASING);
	s->p->action_token = act(s, CHANGE_ACT_RELEASE);
}

static void publish_old(struct step *s)
{
	go(s, PARTICIPANT_RETURNING);
	s->p->verify_until_ns = s->now + s->p->spec.policy.verify_ns;
	s->p->action_token = act(s, CHANGE_ACT_PUBLISH_OLD);
}

static void publish_new(struct step *s)
{
	struct participant *p = s->p;

	go(s, PARTICIPANT_PUBLISHING);
	p->committed = true;
	p->published = true;
	p->verify_began_ns = s->now;
	p->verify_until_ns = s->now + p->spec.policy.verify_ns;
	p->action_token = act(s, CHANGE_ACT_PUBLISH_NEW);
}

/* Out of the hold on the old face. */
static void leave_on_old(struct step *s, enum participant_verdict verdict)
{
	struct participant *p = s->p;

	p->verdict = verdict;
	if (p->published || p->taken_back) {
		publish_old(s);
	} else {
		release(s);
	}
}

static void out_of_service(struct step *s, const char *reason)
{
	struct participant *p = s->p;

	change_text_copy(p->reason, reason);
	say(s, p->verdict == PARTICIPANT_NEW
		   ? "out of service: cannot take the new face; requests stay held, trying again"
		   : "out of service: cannot go back to the old face; requests stay held, trying "
		     "again");
	go(s, PARTICIPANT_OUT);
	p->retry_at_ns = s->now + p->spec.policy.backoff_ns;
	answer(
	    s, p->verdict == PARTICIPANT_NEW ? CHANGE_MSG_SWITCH_FAILED : CHANGE_MSG_RETURN_FAILED);
}

static void switch_failed(struct step *s, const char *reason)
{
	struct participant *p = s->p;

	p->verify_us = (s->now - p->verify_began_ns) / NS_PER_US;
	if (p->verdict == PARTICIPANT_NEW) {
		out_of_service(s, reason);
		return;
	}
	change_text_copy(p->reason, reason);
	go(s, PARTICIPANT_FAILED);
	answer(s, CHANGE_MSG_SWITCH_FAILED);
}

static void switched(struct step *s)
{
	struct participant *p = s->p;

	p->verify_us = (s->now - p->verify_began_ns) / NS_PER_US;
	p->reason[0] = '\0';
	go(s, PARTICIPANT_SWITCHED);
	if (p->verdict == PARTICIPANT_NEW) {
		release(s);
	} else {
		answer(s, CHANGE_MSG_SWITCHED);
	}
}

/* The new face is decided for good: let go once it is there. */
static void take_new(struct step *s)
{
	struct participant *p = s->p;

	p->verdict = PARTICIPANT_NEW;
	p->committed = true;
	switch (p->state) {
	case PARTICIPANT_CHECKING:
	case PARTICIPANT_HELD:
		publish_new(s);
		break;
	case PARTICIPANT_SWITCHED:
		release(s);
		break;
	case PARTICIPANT_FAILED:
		out_of_service(s, p->reason);
		break;
	case PARTICIPANT_IDLE:
	case PARTICIPANT_BUILDING:
	case PARTICIPANT_PREPARED:
	case PARTICIPANT_DRAINING:
	case PARTICIPANT_REFUSING:
	case PARTICIPANT_PUBLISHING:
	case PARTICIPANT_VERIFYING:
	case PARTICIPANT_RETURNING:
	case PARTICIPANT_OUT:
	case PARTICIPANT_RELEASING:
	case PARTICIPANT_ENDED:
	case PARTICIPANT_STATE_COUNT:
		break; /* on its way, or not yet drained */
	}
}

/* -- hold -- */

static void begin_hold(struct step *s)
{
	struct participant *p = s->p;
	const struct change_policy *policy = &p->spec.policy;

	go(s, PARTICIPANT_DRAINING);
	p->verdict = PARTICIPANT_UNDECIDED;
	p->reason[0] = '\0';
	p->ask_at_ns = s->now + change_ask_after_ns(policy);
	p->drain_until_ns = s->now + policy->drain_ns;
	p->probe_at_ns = s->now + policy->stall_ns;
	p->action_token = act(s, CHANGE_ACT_HOLD);
}

static void refuse_hold(struct step *s, enum change_message_type type, const char *reason)
{
	change_text_copy(s->p->reason, reason);
	go(s, PARTICIPANT_REFUSING);
	s->p->refusal = type;
	answer(s, type);
}

static void drained(struct step *s, const struct participant_done *done)
{
	struct participant *p = s->p;

	p->drain_us = done->drain_us;
	if (p->committed) { /* it is a member of a commit that it was not held for */
		publish_new(s);
		return;
	}
	go(s, PARTICIPANT_CHECKING);
	p->action_token = act(s, CHANGE_ACT_CHECK_QUIET);
}

static void released(struct step *s, const struct participant_done *done)
{
	struct participant *p = s->p;

	p->held_us += done->held_us;
	p->held_requests += done->held_requests;
	switch (p->verdict) {
	case PARTICIPANT_OLD_RETRY:
		go(s, PARTICIPANT_PREPARED);
		p->verdict = PARTICIPANT_UNDECIDED;
		p->ask_at_ns = s->now + 2 * p->spec.policy.prepare_ns;
		answer(s, CHANGE_MSG_UNHELD);
		break;
	case PARTICIPANT_OLD_ABORTED:
		end(s);
		answer(s, CHANGE_MSG_ABORTED);
		break;
	case PARTICIPANT_OLD_ROLLED_BACK:
		end(s);
		answer(s, CHANGE_MSG_RETURNED);
		break;
	case PARTICIPANT_NEW:
		end(s);
		answer(s, CHANGE_MSG_RESUMED);
		break;
	case PARTICIPANT_UNDECIDED:
		sluice_assert(!"a release without a verdict");
	}
}

/* The old path makes no progress: its requests are to come back. */
static void on_progress(struct step *s, bool moves)
{
	struct participant *p = s->p;

	p->probe_token = 0;
	p->probe_at_ns = s->now + p->spec.policy.stall_ns;
	if (!moves && !p->taken_back) {
		p->taken_back = true;
		act(s, CHANGE_ACT_TAKE_BACK);
	}
}

static void on_built(struct step *s, const struct participant_done *done)
{
	struct participant *p = s->p;

	if (done->ok) {
		go(s, PARTICIPANT_PREPARED);
		answer(s, CHANGE_MSG_VOTE_YES);
		return;
	}
	change_text_copy(p->reason, done->reason);
	p->verdict = PARTICIPANT_OLD_ABORTED;
	end(s);
	answer(s, CHANGE_MSG_VOTE_NO);
}

static void on_done(struct step *s, const struct participant_done *done)
{
	struct participant *p = s->p;

	if (p->probe_token != 0 && done->token == p->probe_token) {
		on_progress(s, done->ok);
		return;
	}
	if (p->action_token == 0 || done->token != p->action_token) {
		return;
	}
	p->action_token = 0;
	switch (p->state) {
	case PARTICIPANT_BUILDING:
		on_built(s, done);
		break;
	case PARTICIPANT_DRAINING:
		drained(s, done);
		break;
	case PARTICIPANT_CHECKING:
		if (done->ok) {
			go(s, PARTICIPANT_HELD);
			answer(s, CHANGE_MSG_HELD);
		} else {
			refuse_hold(s, CHANGE_MSG_REFUSED, done->reason);
		}
		break;
	case PARTICIPANT_PUBLISHING:
		if (done->ok) {
			go(s, PARTICIPANT_VERIFYING);
			p->action_token = act(s, CHANGE_ACT_VERIFY);
		} else {
			switch_failed(s, done->reason);
		}
		break;
	case PARTICIPANT_VERIFYING:
		if (done->ok) {
			switched(s);
		} else {
			switch_failed(s, done->reason);
		}
		break;
	case PARTICIPANT_RETURNING:
		if (done->ok) {
			p->published = false;
			p->taken_back = false;
			release(s);
		} else {
			out_of_service(s, done->reason);
		}
		break;
	case PARTICIPANT_RELEASING:
		released(s, done);
		break;
	case PARTICIPANT_IDLE:
	case PARTICIPANT_PREPARED:
	case PARTICIPANT_HELD:
	case PARTICIPANT_REFUSING:
	case PARTICIPANT_SWITCHED:
	case PARTICIPANT_FAILED:
	case PARTICIPANT_OUT:
	case PARTICIPANT_ENDED:
	case PARTICIPANT_STATE_COUNT:
		break;
	}
}

/* -- the store's word -- */

static bool before_switch(enum participant_state state)
{
	return state == PARTICIPANT_DRAINING || state == PARTICIPANT_CHECKING ||
	       state == PARTICIPANT_HELD || state == PARTICIPANT_REFUSING;
}

static bool without_hold(enum participant_state state)
{
	return state == PARTICIPANT_BUILDING || state == PARTICIPANT_PREPARED;
}

/* In these states nothing goes on by itself: only the coordinator, or the store, ends them. */
static bool may_ask(const struct participant *p)
{
	return p->verdict == PARTICIPANT_UNDECIDED &&
	       (without_hold(p->state) || before_switch(p->state) ||
		   p->state == PARTICIPANT_SWITCHED || p->state == PARTICIPANT_FAILED);
}

static void ask_store(struct step *s)
{
	struct participant *p = s->p;

	p->ask_at_ns = s->now + p->spec.policy.resend_ns;
	if (before_switch(p->state) && !p->committed) {
		request_store(s, CHANGE_STORE_ABORT);
	} else if (p->state == PARTICIPANT_SWITCHED) {
		request_store(s, CHANGE_STORE_DONE);
	} else if (p->state == PARTICIPANT_FAILED && !p->said_switched && !p->rejoined) {
		/* Nobody was let go on the new face: that takes our SWITCHED, or a DONE. */
		request_store(s, CHANGE_STORE_ROLLBACK);
	} else {
		request_store(s, CHANGE_STORE_READ);
	}
}

static void over_without_hold(struct step *s, enum participant_verdict verdict)
{
	s->p->verdict = verdict;
	end(s);
	answer(s, verdict == PARTICIPANT_OLD_ABORTED ? CHANGE_MSG_ABORTED : CHANGE_MSG_RETURNED);
}

static void follow_old(struct step *s, enum participant_verdict verdict)
{
	if (without_hold(s->p->state)) {
		over_without_hold(s, verdict);
	} else {
		change_text_copy(s->p->reason,
		    s->p->reason[0] != '\0' ? s->p->reason
					    : "the hold came to its deadline without a word");
		leave_on_old(s, verdict);
	}
}

/* Committed: on to the new face, from wherever this node is. */
static void follow_commit(struct step *s)
{
	struct participant *p = s->p;

	if (p->state == PARTICIPANT_PREPARED) {
		say(s, "the change was committed without this node; it holds and joins");
		begin_hold(s);
	} else if (p->state == PARTICIPANT_HELD || p->state == PARTICIPANT_CHECKING) {
		publish_new(s);
	}
	p->committed = p->committed || p->state != PARTICIPANT_BUILDING;
}

static void follow_record(struct step *s, const struct change_record *record)
{
	struct participant *p = s->p;

	switch (record->state) {
	case CHANGE_RECORD_NONE:
		if (without_hold(p->state)) {
			over_without_hold(s, PARTICIPANT_OLD_ABORTED);
		} else {
			say(s, "the store has no record of the change; requests stay held");
		}
		break;
	case CHANGE_RECORD_PREPARED:
		if (without_hold(p->state)) {
			p->ask_at_ns = s->now + p->spec.policy.prepare_ns;
		}
		break;
	case CHANGE_RECORD_COMMITTED:
		follow_commit(s);
		break;
	case CHANGE_RECORD_DONE:
		follow_commit(s);
		if (p->state != PARTICIPANT_BUILDING) {
			take_new(s);
		}
		break;
	case CHANGE_RECORD_ABORTED:
		follow_old(s, PARTICIPANT_OLD_ABORTED);
		break;
	case CHANGE_RECORD_ROLLED_BACK:
		follow_old(s, PARTICIPANT_OLD_ROLLED_BACK);
		break;
	case CHANGE_RECORD_STATE_COUNT:
		break;
	}
}

static void store_unreachable(struct step *s)
{
	struct participant *p = s->p;

	if (!p->unreachable_said && participant_state_holds(p->state)) {
		say(s, "the store does not answer at the deadline of a hold; requests stay held");
		p->unreachable_said = true;
	}
	p->ask_at_ns = s->now + p->spec.policy.resend_ns;
}

static void on_store(struct step *s, const struct change_store_answer *a)
{
	struct participant *p = s->p;
	struct change_record record = a->record;

	if (p->store_token == 0 || a->token != p->store_token) {
		return;
	}
	p->store_token = 0;
	if (p->verdict != PARTICIPANT_UNDECIDED ||
	    !(without_hold(p->state) || participant_state_holds(p->state))) {
		return; /* the coordinator was faster */
	}
	switch (a->result) {
	case CHANGE_STORE_OK:
		p->unreachable_said = false;
		follow_record(s, &record);
		break;
	case CHANGE_STORE_CONFLICT:
		request_store(s, CHANGE_STORE_READ);
		break;
	case CHANGE_STORE_UNKNOWN:
	case CHANGE_STORE_FAILED:
		store_unreachable(s);
		break;
	case CHANGE_STORE_RESULT_COUNT:
		sluice_assert(!"an answer of the store");
	}
}

/* -- messages -- */

static void answer_ended(struct step *s)
{
	switch (s->p->verdict) {
	case PARTICIPANT_NEW:
		answer(s, CHANGE_MSG_RESUMED);
		break;
	case PARTICIPANT_OLD_ABORTED:
		answer(s, CHANGE_MSG_ABORTED);
		break;
	case PARTICIPANT_OLD_ROLLED_BACK:
		answer(s, CHANGE_MSG_RETURNED);
		break;
	case PARTICIPANT_OLD_RETRY:
	case PARTICIPANT_UNDECIDED:
		sluice_assert(!"an end without a verdict");
	}
}

static void on_prepare(struct step *s, bool again)
{
	struct participant *p = s->p;

	if (p->state == PARTICIPANT_IDLE) {
		go(s, PARTICIPANT_BUILDING);
		p->ask_at_ns = s->now + 2 * p->spec.policy.prepare_ns;
		p->action_token = act(s, CHANGE_ACT_BUILD);
	} else if (p->state == PARTICIPANT_PREPARED && again) {
		answer(s, CHANGE_MSG_VOTE_YES);
	}
}

static void on_hold(struct step *s, bool again)
{
	struct participant *p = s->p;

	if (p->state == PARTICIPANT_PREPARED && !again) {
		begin_hold(s);
	} else if (p->state == PARTICIPANT_HELD && again && !p->rejoined) {
		answer(s, CHANGE_MSG_HELD);
	} else if (p->state == PARTICIPANT_REFUSING && again) {
		answer(s, p->refusal);
	} else if (p->state == PARTICIPANT_IDLE) {
		change_text_copy(p->reason, "has no next face: restarted meanwhile");
		answer(s, CHANGE_MSG_REFUSED);
	}
}

/* Only of this very attempt: a late one must not open a later hold. */
static void on_unhold(struct step *s, bool again)
{
	struct participant *p = s->p;

	if (p->rejoined || p->committed) {
		return;
	}
	if (before_switch(p->state) && again) {
		leave_on_old(s, PARTICIPANT_OLD_RETRY);
	} else if (p->state == PARTICIPANT_PREPARED) {
		answer(s, CHANGE_MSG_UNHELD);
	}
}

static void on_switch(struct step *s)
{
	struct participant *p = s->p;

	if (p->state == PARTICIPANT_HELD) {
		publish_new(s);
	} else if (p->state == PARTICIPANT_SWITCHED) {
		answer(s, CHANGE_MSG_SWITCHED);
	} else if (p->state == PARTICIPANT_FAILED) {
		answer(s, CHANGE_MSG_SWITCH_FAILED);
	}
}

static bool after_drain(enum participant_state state)
{
	return state == PARTICIPANT_HELD || state == PARTICIPANT_PUBLISHING ||
	       state == PARTICIPANT_VERIFYING || state == PARTICIPANT_SWITCHED ||
	       state == PARTICIPANT_FAILED;
}

static void on_resume(struct step *s)
{
	struct participant *p = s->p;

	if (after_drain(p->state) && p->verdict == PARTICIPANT_UNDECIDED) {
		take_new(s);
	} else if (p->state == PARTICIPANT_OUT && p->verdict == PARTICIPANT_NEW) {
		answer(s, CHANGE_MSG_SWITCH_FAILED);
	}
}

static void on_return(struct step *s)
{
	struct participant *p = s->p;

	if (p->state == PARTICIPANT_IDLE || without_hold(p->state)) {
		over_without_hold(s, PARTICIPANT_OLD_ROLLED_BACK);
	} else if ((after_drain(p->state) || before_switch(p->state)) &&
		   p->verdict == PARTICIPANT_UNDECIDED) {
		leave_on_old(s, PARTICIPANT_OLD_ROLLED_BACK);
	} else if (p->state == PARTICIPANT_OUT && p->verdict != PARTICIPANT_NEW) {
		answer(s, CHANGE_MSG_RETURN_FAILED);
	}
}

static void on_abort(struct step *s)
{
	struct participant *p = s->p;

	if (p->committed) {
		return;
	}
	if (p->state == PARTICIPANT_IDLE || without_hold(p->state)) {
		over_without_hold(s, PARTICIPANT_OLD_ABORTED);
	} else if (before_switch(p->state)) {
		leave_on_old(s, PARTICIPANT_OLD_ABORTED);
	} else if (p->verdict == PARTICIPANT_OLD_RETRY) {
		p->verdict = PARTICIPANT_OLD_ABORTED;
	}
}

static void on_message(struct step *s, const struct change_message *m)
{
	struct participant *p = s->p;
	bool again = m->epoch == p->epoch;

	if (m->change != p->spec.id || !change_message_from_coordinator(m->type) ||
	    m->epoch < p->epoch) {
		return;
	}
	if (m->type != CHANGE_MSG_HOLD || !participant_state_holds(p->state)) {
		p->epoch = m->epoch; /* a running hold keeps the epoch that it answers for */
	}
	if (p->state == PARTICIPANT_ENDED) {
		answer_ended(s);
		return;
	}
	switch (m->type) {
	case CHANGE_MSG_PREPARE:
		on_prepare(s, again);
		break;
	case CHANGE_MSG_HOLD:
		on_hold(s, again);
		break;
	case CHANGE_MSG_UNHOLD:
		on_unhold(s, again);
		break;
	case CHANGE_MSG_SWITCH:
		on_switch(s);
		break;
	case CHANGE_MSG_RESUME:
		on_resume(s);
		break;
	case CHANGE_MSG_RETURN:
		on_return(s);
		break;
	case CHANGE_MSG_ABORT:
		on_abort(s);
		break;
	case CHANGE_MSG_VOTE_YES:
	case CHANGE_MSG_VOTE_NO:
	case CHANGE_MSG_HELD:
	case CHANGE_MSG_REFUSED:
	case CHANGE_MSG_HOLD_TIMEOUT:
	case CHANGE_MSG_UNHELD:
	case CHANGE_MSG_SWITCHED:
	case CHANGE_MSG_SWITCH_FAILED:
	case CHANGE_MSG_RESUMED:
	case CHANGE_MSG_RETURNED:
	case CHANGE_MSG_RETURN_FAILED:
	case CHANGE_MSG_ABORTED:
	case CHANGE_MSG_COUNT:
		break;
	}
}

/* -- time -- */

static void on_drain_time(struct step *s)
{
	struct participant *p = s->p;

	if (s->now >= p->drain_until_ns && !p->committed) {
		if (p->state == PARTICIPANT_DRAINING) {
			refuse_hold(
			    s, CHANGE_MSG_HOLD_TIMEOUT, "requests in flight did not end in time");
		} else {
			refuse_hold(s, CHANGE_MSG_REFUSED, "the last check did not end in time");
		}
	} else if (p->state == PARTICIPANT_DRAINING && s->now >= p->probe_at_ns &&
		   p->probe_token == 0) {
		p->probe_token = act(s, CHANGE_ACT_ASK_PROGRESS);
	}
}

static void on_timer(struct step *s)
{
	struct participant *p = s->p;

	if (p->state == PARTICIPANT_DRAINING || p->state == PARTICIPANT_CHECKING) {
		on_drain_time(s);
	}
	if ((p->state == PARTICIPANT_PUBLISHING || p->state == PARTICIPANT_VERIFYING) &&
	    s->now >= p->verify_until_ns) {
		switch_failed(s, "the new face was not verified in time");
	} else if (p->state == PARTICIPANT_RETURNING && s->now >= p->verify_until_ns) {
		out_of_service(s, "the old face was not back in time");
	} else if (p->state == PARTICIPANT_OUT && s->now >= p->retry_at_ns) {
		if (p->verdict == PARTICIPANT_NEW) {
			publish_new(s);
		} else {
			publish_old(s);
		}
	}
	if (may_ask(p) && p->store_token == 0 && s->now >= p->ask_at_ns) {
		ask_store(s);
	}
}

static uint64_t next_timer(const struct participant *p)
{
	uint64_t next = CHANGE_TIMER_OFF;

	if (may_ask(p) && p->store_token == 0) {
		next = p->ask_at_ns;
	}
	if ((p->state == PARTICIPANT_DRAINING || p->state == PARTICIPANT_CHECKING) &&
	    !p->committed) {
		next = MIN(next, p->drain_until_ns);
	}
	if (p->state == PARTICIPANT_DRAINING && p->probe_token == 0) {
		next = MIN(next, p->probe_at_ns);
	}
	if (p->state == PARTICIPANT_PUBLISHING || p->state == PARTICIPANT_VERIFYING ||
	    p->state == PARTICIPANT_RETURNING) {
		next = MIN(next, p->verify_until_ns);
	}
	if (p->state == PARTICIPANT_OUT) {
		next = MIN(next, p->retry_at_ns);
	}
	return next;
}

/* After every input: one timer for what comes first. */
static void settle(struct step *s, bool ended_before)
{
	struct participant *p = s->p;
	uint64_t next = next_timer(p);

	if (next != p->timer_ns) {
		change_output_add(s->out, CHANGE_OUT_TIMER)->timer_ns = next;
		p->timer_ns = next;
	}
	if (states[p->state].final && !ended_before) {
		change_output_add(s->out, CHANGE_OUT_ENDED);
	}
	participant_check(p);
}

void participant_init(struct participant *p, const struct change_spec *spec)
{
	memset(p, 0, sizeof(*p));
	p->spec = *spec;
	p->timer_ns = CHANGE_TIMER_OFF;
}

void participant_rejoin(struct participant *p, const struct change_spec *spec,
    const struct change_record *record, uint64_t now_ns, struct change_outputs *out)
{
	struct step s = {p, now_ns, out};

	participant_init(p, spec);
	p->epoch = record->epoch;
	p->rejoined = true;
	switch (record->state) {
	case CHANGE_RECORD_NONE:
		p->rejoined = false;
		break;
	case CHANGE_RECORD_PREPARED:
		go(&s, PARTICIPANT_HELD);
		ask_store(&s);
		break;
	case CHANGE_RECORD_COMMITTED:
		p->ask_at_ns = now_ns + change_ask_after_ns(&spec->policy);
		publish_new(&s);
		break;
	case CHANGE_RECORD_DONE:
	case CHANGE_RECORD_ABORTED:
	case CHANGE_RECORD_ROLLED_BACK:
		p->committed = record->state != CHANGE_RECORD_ABORTED;
		p->verdict = record->state == CHANGE_RECORD_DONE      ? PARTICIPANT_NEW
			     : record->state == CHANGE_RECORD_ABORTED ? PARTICIPANT_OLD_ABORTED
								      : PARTICIPANT_OLD_ROLLED_BACK;
		go(&s, PARTICIPANT_ENDED);
		break;
	case CHANGE_RECORD_STATE_COUNT:
		sluice_assert(!"a state of a record");
	}
	settle(&s, false);
}

void participant_step(struct participant *p, const struct participant_input *in, uint64_t now_ns,
    struct change_outputs *out)
{
	struct step s = {p, now_ns, out};
	bool ended = states[p->state].final;

	switch (in->kind) {
	case PARTICIPANT_IN_MESSAGE:
		on_message(&s, &in->message);
		break;
	case PARTICIPANT_IN_DONE:
		on_done(&s, &in->done);
		break;
	case PARTICIPANT_IN_STORE:
		on_store(&s, &in->answer);
		break;
	case PARTICIPANT_IN_TIMER:
		on_timer(&s);
		break;
	}
	settle(&s, ended);
}
