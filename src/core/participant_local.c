/* The states of a participant, and what happens on its own node: build, hold, switch, let go. */
#include "core/participant_private.h"

/*
 *   IDLE -> BUILDING -> PREPARED -> DRAINING -> CHECKING -> HELD -> PUBLISHING -> VERIFYING
 *               |        |    ^         |          |          |         |             |  |
 *               |        |    |         +----------+          |         +-------------+  v
 *               |        |    |         v                     |         v           SWITCHED
 *               |        |    |      REFUSING                 |       FAILED             |
 *               |        |    |         |                     |         |                |
 *               |        |    |         +-- old face ---------+---------+ old face       |
 *               |        |    |                       |                                  |
 *               |        |    |                       v                                  |
 *               |        |    |                   RETURNING (if there is anything to undo)|
 *               |        |    |                       |                                  |
 *               |        |    | (unheld)              v                    new face      |
 *               |        |    +------------------ RELEASING <----------------------------+
 *               v        v                            |
 *               +------> ENDED <----------------------+
 *
 * OUT: could not take the face that the record names; back into PUBLISHING or RETURNING from time
 * to time.
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

void participant_answer(struct participant_step *s, enum change_message_type type)
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

void participant_say(struct participant_step *s, const char *text)
{
	change_text_copy(change_output_add(s->out, CHANGE_OUT_SAY)->text, text);
}

uint64_t participant_act(struct participant_step *s, enum change_action action)
{
	struct change_output *o = change_output_add(s->out, CHANGE_OUT_ACTION);

	o->action = action;
	o->token = ++s->p->last_token;
	return o->token;
}

/* The only place that changes the state. */
void participant_go(struct participant_step *s, enum participant_state to)
{
	sluice_assert(states[s->p->state].successors & (1u << to));
	s->p->state = to;
	s->p->action_token = 0;
	s->p->probe_token = 0;
	change_text_copy(
	    change_output_add(s->out, CHANGE_OUT_STATE)->text, participant_state_name(to));
}

void participant_request_store(struct participant_step *s, enum change_store_kind kind)
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

void participant_end(struct participant_step *s)
{
	participant_act(
	    s, s->p->verdict == PARTICIPANT_NEW ? CHANGE_ACT_DROP_OLD : CHANGE_ACT_DROP_NEW);
	s->p->store_token = 0;
	participant_go(s, PARTICIPANT_ENDED);
}

static void release(struct participant_step *s)
{
	participant_go(s, PARTICIPANT_RELEASING);
	s->p->action_token = participant_act(s, CHANGE_ACT_RELEASE);
}

void participant_publish_old(struct participant_step *s)
{
	participant_go(s, PARTICIPANT_RETURNING);
	s->p->verify_until_ns = s->now + s->p->spec.policy.verify_ns;
	s->p->action_token = participant_act(s, CHANGE_ACT_PUBLISH_OLD);
}

void participant_publish_new(struct participant_step *s)
{
	struct participant *p = s->p;

	participant_go(s, PARTICIPANT_PUBLISHING);
	p->committed = true;
	p->published = true;
	p->verify_began_ns = s->now;
	p->verify_until_ns = s->now + p->spec.policy.verify_ns;
	p->action_token = participant_act(s, CHANGE_ACT_PUBLISH_NEW);
}

/* Out of the hold on the old face. */
void participant_leave_on_old(struct participant_step *s, enum participant_verdict verdict)
{
	struct participant *p = s->p;

	p->verdict = verdict;
	if (p->published || p->taken_back) {
		participant_publish_old(s);
	} else {
		release(s);
	}
}

void participant_out_of_service(struct participant_step *s, const char *reason)
{
	struct participant *p = s->p;

	change_text_copy(p->reason, reason);
	if (!p->out_said) {
		participant_say(s, p->verdict == PARTICIPANT_NEW
				       ? "out of service: cannot take the new face; requests stay "
					 "held, trying again"
				       : "out of service: cannot go back to the old face; requests "
					 "stay held, trying "
					 "again");
		p->out_said = true;
	}
	participant_go(s, PARTICIPANT_OUT);
	p->retry_at_ns = s->now + p->spec.policy.backoff_ns;
	participant_answer(
	    s, p->verdict == PARTICIPANT_NEW ? CHANGE_MSG_SWITCH_FAILED : CHANGE_MSG_RETURN_FAILED);
}

void participant_switch_failed(struct participant_step *s, const char *reason)
{
	struct participant *p = s->p;

	p->verify_us = (s->now - p->verify_began_ns) / NS_PER_US;
	if (p->verdict == PARTICIPANT_NEW) {
		participant_out_of_service(s, reason);
		return;
	}
	change_text_copy(p->reason, reason);
	participant_go(s, PARTICIPANT_FAILED);
	p->ask_at_ns = p->overdue ? s->now : p->ask_at_ns;
	participant_answer(s, CHANGE_MSG_SWITCH_FAILED);
}

static void switched(struct participant_step *s)
{
	struct participant *p = s->p;

	p->verify_us = (s->now - p->verify_began_ns) / NS_PER_US;
	p->reason[0] = '\0';
	participant_go(s, PARTICIPANT_SWITCHED);
	p->ask_at_ns = p->overdue ? s->now : p->ask_at_ns;
	if (p->verdict == PARTICIPANT_NEW) {
		release(s);
	} else {
		participant_answer(s, CHANGE_MSG_SWITCHED);
	}
}

/* The new face is decided for good: let go once it is there. */
void participant_take_new(struct participant_step *s)
{
	struct participant *p = s->p;

	p->verdict = PARTICIPANT_NEW;
	p->committed = true;
	switch (p->state) {
	case PARTICIPANT_CHECKING:
	case PARTICIPANT_HELD:
		participant_publish_new(s);
		break;
	case PARTICIPANT_SWITCHED:
		release(s);
		break;
	case PARTICIPANT_FAILED:
		participant_out_of_service(s, p->reason);
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

void participant_begin_hold(struct participant_step *s)
{
	struct participant *p = s->p;
	const struct change_policy *policy = &p->spec.policy;

	participant_go(s, PARTICIPANT_DRAINING);
	p->verdict = PARTICIPANT_UNDECIDED;
	p->overdue = false;
	p->reason[0] = '\0';
	p->ask_at_ns = s->now + change_ask_after_ns(policy);
	p->drain_until_ns = s->now + policy->drain_ns;
	p->probe_at_ns = s->now + policy->stall_ns;
	p->action_token = participant_act(s, CHANGE_ACT_HOLD);
}

void participant_refuse_hold(
    struct participant_step *s, enum change_message_type type, const char *reason)
{
	change_text_copy(s->p->reason, reason);
	participant_go(s, PARTICIPANT_REFUSING);
	s->p->refusal = type;
	participant_answer(s, type);
}

static void drained(struct participant_step *s, const struct participant_done *done)
{
	struct participant *p = s->p;

	p->drain_us = done->drain_us;
	if (p->committed) { /* it is a member of a commit that it was not held for */
		participant_publish_new(s);
		return;
	}
	participant_go(s, PARTICIPANT_CHECKING);
	p->action_token = participant_act(s, CHANGE_ACT_CHECK_QUIET);
}

static void released(struct participant_step *s, const struct participant_done *done)
{
	struct participant *p = s->p;

	p->held_us += done->held_us;
	p->held_requests += done->held_requests;
	switch (p->verdict) {
	case PARTICIPANT_OLD_RETRY:
		participant_go(s, PARTICIPANT_PREPARED);
		p->verdict = PARTICIPANT_UNDECIDED;
		p->ask_at_ns = s->now + 2 * p->spec.policy.prepare_ns;
		participant_answer(s, CHANGE_MSG_UNHELD);
		break;
	case PARTICIPANT_OLD_ABORTED:
		participant_end(s);
		participant_answer(s, CHANGE_MSG_ABORTED);
		break;
	case PARTICIPANT_OLD_ROLLED_BACK:
		participant_end(s);
		participant_answer(s, CHANGE_MSG_RETURNED);
		break;
	case PARTICIPANT_NEW:
		participant_end(s);
		participant_answer(s, CHANGE_MSG_RESUMED);
		break;
	case PARTICIPANT_UNDECIDED:
		sluice_assert(!"a release without a verdict");
	}
}

/* The old path makes no progress: its requests are to come back. */
static void on_progress(struct participant_step *s, bool moves)
{
	struct participant *p = s->p;

	p->probe_token = 0;
	p->probe_at_ns = s->now + p->spec.policy.stall_ns;
	if (!moves && !p->taken_back) {
		p->taken_back = true;
		participant_act(s, CHANGE_ACT_TAKE_BACK);
	}
}

static void on_built(struct participant_step *s, const struct participant_done *done)
{
	struct participant *p = s->p;

	if (done->ok) {
		participant_go(s, PARTICIPANT_PREPARED);
		participant_answer(s, CHANGE_MSG_VOTE_YES);
		return;
	}
	change_text_copy(p->reason, done->reason);
	p->verdict = PARTICIPANT_OLD_ABORTED;
	participant_end(s);
	participant_answer(s, CHANGE_MSG_VOTE_NO);
}

void participant_on_done(struct participant_step *s, const struct participant_done *done)
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
			participant_go(s, PARTICIPANT_HELD);
			participant_answer(s, CHANGE_MSG_HELD);
		} else {
			participant_refuse_hold(s, CHANGE_MSG_REFUSED, done->reason);
		}
		break;
	case PARTICIPANT_PUBLISHING:
		if (done->ok) {
			participant_go(s, PARTICIPANT_VERIFYING);
			p->action_token = participant_act(s, CHANGE_ACT_VERIFY);
		} else {
			participant_switch_failed(s, done->reason);
		}
		break;
	case PARTICIPANT_VERIFYING:
		if (done->ok) {
			switched(s);
		} else {
			participant_switch_failed(s, done->reason);
		}
		break;
	case PARTICIPANT_RETURNING:
		if (done->ok) {
			p->published = false;
			p->taken_back = false;
			release(s);
		} else {
			participant_out_of_service(s, done->reason);
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
