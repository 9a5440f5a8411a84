/* What a participant asks the store, and what it makes of the answer. */
#include "core/participant_private.h"

bool participant_before_switch(enum participant_state state)
{
	return state == PARTICIPANT_DRAINING || state == PARTICIPANT_CHECKING ||
	       state == PARTICIPANT_HELD || state == PARTICIPANT_REFUSING;
}

bool participant_without_hold(enum participant_state state)
{
	return state == PARTICIPANT_BUILDING || state == PARTICIPANT_PREPARED;
}

/* In these states nothing goes on by itself: only the coordinator, or the store, ends them. */
bool participant_may_ask(const struct participant *p)
{
	return p->verdict == PARTICIPANT_UNDECIDED &&
	       (participant_without_hold(p->state) || participant_before_switch(p->state) ||
		   p->state == PARTICIPANT_SWITCHED || p->state == PARTICIPANT_FAILED);
}

void participant_ask_store(struct participant_step *s)
{
	struct participant *p = s->p;

	p->ask_at_ns = s->now + p->spec.policy.resend_ns;
	p->overdue = participant_state_holds(p->state);
	if (participant_before_switch(p->state) && !p->committed) {
		participant_request_store(s, CHANGE_STORE_ABORT);
	} else if (p->state == PARTICIPANT_SWITCHED) {
		participant_request_store(s, CHANGE_STORE_DONE);
	} else if (p->state == PARTICIPANT_FAILED && !p->said_switched && !p->rejoined) {
		/* Nobody was let go on the new face: that takes our SWITCHED, or a DONE. */
		participant_request_store(s, CHANGE_STORE_ROLLBACK);
	} else {
		participant_request_store(s, CHANGE_STORE_READ);
	}
}

void participant_over_without_hold(struct participant_step *s, enum participant_verdict verdict)
{
	s->p->verdict = verdict;
	participant_end(s);
	participant_answer(
	    s, verdict == PARTICIPANT_OLD_ABORTED ? CHANGE_MSG_ABORTED : CHANGE_MSG_RETURNED);
}

static void follow_old(struct participant_step *s, enum participant_verdict verdict)
{
	if (participant_without_hold(s->p->state)) {
		participant_over_without_hold(s, verdict);
	} else {
		change_text_copy(s->p->reason,
		    s->p->reason[0] != '\0' ? s->p->reason
					    : "the hold came to its deadline without a word");
		participant_leave_on_old(s, verdict);
	}
}

/* Committed: on to the new face, from wherever this node is. */
static void follow_commit(struct participant_step *s)
{
	struct participant *p = s->p;

	if (p->state == PARTICIPANT_PREPARED) {
		participant_say(
		    s, "the change was committed without this node; it holds and joins");
		participant_begin_hold(s);
	} else if (p->state == PARTICIPANT_HELD || p->state == PARTICIPANT_CHECKING) {
		participant_publish_new(s);
	}
	p->committed = p->committed || p->state != PARTICIPANT_BUILDING;
}

static void follow_record(struct participant_step *s, const struct change_record *record)
{
	struct participant *p = s->p;

	switch (record->state) {
	case CHANGE_RECORD_NONE:
		if (participant_without_hold(p->state)) {
			participant_over_without_hold(s, PARTICIPANT_OLD_ABORTED);
		} else {
			participant_say(
			    s, "the store has no record of the change; requests stay held");
		}
		break;
	case CHANGE_RECORD_PREPARED:
		if (participant_without_hold(p->state)) {
			p->ask_at_ns = s->now + p->spec.policy.prepare_ns;
		}
		break;
	case CHANGE_RECORD_COMMITTED:
		follow_commit(s);
		break;
	case CHANGE_RECORD_DONE:
		follow_commit(s);
		if (p->state != PARTICIPANT_BUILDING) {
			participant_take_new(s);
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

static void store_unreachable(struct participant_step *s)
{
	struct participant *p = s->p;

	if (!p->unreachable_said && participant_state_holds(p->state)) {
		participant_say(
		    s, "the store does not answer at the deadline of a hold; requests stay held");
		p->unreachable_said = true;
	}
	p->ask_at_ns = s->now + p->spec.policy.resend_ns;
}

void participant_on_store(struct participant_step *s, const struct change_store_answer *a)
{
	struct participant *p = s->p;
	struct change_record record = a->record;

	if (p->store_token == 0 || a->token != p->store_token) {
		return;
	}
	p->store_token = 0;
	if (p->verdict != PARTICIPANT_UNDECIDED ||
	    !(participant_without_hold(p->state) || participant_state_holds(p->state))) {
		return; /* the coordinator was faster */
	}
	switch (a->result) {
	case CHANGE_STORE_OK:
		p->unreachable_said = false;
		follow_record(s, &record);
		break;
	case CHANGE_STORE_CONFLICT:
		participant_request_store(s, CHANGE_STORE_READ);
		break;
	case CHANGE_STORE_UNKNOWN:
	case CHANGE_STORE_FAILED:
		store_unreachable(s);
		break;
	case CHANGE_STORE_RESULT_COUNT:
		sluice_assert(!"an answer of the store");
	}
}
