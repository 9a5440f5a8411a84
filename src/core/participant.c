#include "core/participant.h"

#include <string.h>

#include "core/participant_private.h"

/* -- messages -- */

static void answer_ended(struct participant_step *s)
{
	switch (s->p->verdict) {
	case PARTICIPANT_NEW:
		participant_answer(s, CHANGE_MSG_RESUMED);
		break;
	case PARTICIPANT_OLD_ABORTED:
		participant_answer(s, CHANGE_MSG_ABORTED);
		break;
	case PARTICIPANT_OLD_ROLLED_BACK:
		participant_answer(s, CHANGE_MSG_RETURNED);
		break;
	case PARTICIPANT_OLD_RETRY:
	case PARTICIPANT_UNDECIDED:
		sluice_assert(!"an end without a verdict");
	}
}

static void on_prepare(struct participant_step *s, bool again)
{
	struct participant *p = s->p;

	if (p->state == PARTICIPANT_IDLE) {
		participant_go(s, PARTICIPANT_BUILDING);
		p->ask_at_ns = s->now + 2 * p->spec.policy.prepare_ns;
		p->action_token = participant_act(s, CHANGE_ACT_BUILD);
	} else if (p->state == PARTICIPANT_PREPARED && again) {
		participant_answer(s, CHANGE_MSG_VOTE_YES);
	}
}

static void on_hold(struct participant_step *s, bool again)
{
	struct participant *p = s->p;

	if (p->state == PARTICIPANT_PREPARED && !again) {
		participant_begin_hold(s);
	} else if (p->state == PARTICIPANT_HELD && again && !p->rejoined) {
		participant_answer(s, CHANGE_MSG_HELD);
	} else if (p->state == PARTICIPANT_REFUSING && again) {
		participant_answer(s, p->refusal);
	} else if (p->state == PARTICIPANT_IDLE) {
		change_text_copy(p->reason, "has no next face: restarted meanwhile");
		participant_answer(s, CHANGE_MSG_REFUSED);
	}
}

/* Only of this very attempt: a late one must not open a later hold. */
static void on_unhold(struct participant_step *s, bool again)
{
	struct participant *p = s->p;

	if (p->rejoined || p->committed) {
		return;
	}
	if (participant_before_switch(p->state) && again) {
		participant_leave_on_old(s, PARTICIPANT_OLD_RETRY);
	} else if (p->state == PARTICIPANT_PREPARED) {
		participant_answer(s, CHANGE_MSG_UNHELD);
	}
}

static void on_switch(struct participant_step *s)
{
	struct participant *p = s->p;

	if (p->state == PARTICIPANT_HELD) {
		participant_publish_new(s);
	} else if (p->state == PARTICIPANT_SWITCHED) {
		participant_answer(s, CHANGE_MSG_SWITCHED);
	} else if (p->state == PARTICIPANT_FAILED) {
		participant_answer(s, CHANGE_MSG_SWITCH_FAILED);
	}
}

static bool after_drain(enum participant_state state)
{
	return state == PARTICIPANT_HELD || state == PARTICIPANT_PUBLISHING ||
	       state == PARTICIPANT_VERIFYING || state == PARTICIPANT_SWITCHED ||
	       state == PARTICIPANT_FAILED;
}

static void on_resume(struct participant_step *s)
{
	struct participant *p = s->p;

	if (after_drain(p->state) && p->verdict == PARTICIPANT_UNDECIDED) {
		participant_take_new(s);
	} else if (p->state == PARTICIPANT_OUT && p->verdict == PARTICIPANT_NEW) {
		participant_answer(s, CHANGE_MSG_SWITCH_FAILED);
	}
}

static void on_return(struct participant_step *s)
{
	struct participant *p = s->p;

	if (p->state == PARTICIPANT_IDLE || participant_without_hold(p->state)) {
		participant_over_without_hold(s, PARTICIPANT_OLD_ROLLED_BACK);
	} else if ((after_drain(p->state) || participant_before_switch(p->state)) &&
		   p->verdict == PARTICIPANT_UNDECIDED) {
		participant_leave_on_old(s, PARTICIPANT_OLD_ROLLED_BACK);
	} else if (p->state == PARTICIPANT_OUT && p->verdict != PARTICIPANT_NEW) {
		participant_answer(s, CHANGE_MSG_RETURN_FAILED);
	}
}

static void on_abort(struct participant_step *s)
{
	struct participant *p = s->p;

	if (p->committed) {
		return;
	}
	if (p->state == PARTICIPANT_IDLE || participant_without_hold(p->state)) {
		participant_over_without_hold(s, PARTICIPANT_OLD_ABORTED);
	} else if (participant_before_switch(p->state)) {
		participant_leave_on_old(s, PARTICIPANT_OLD_ABORTED);
	} else if (p->verdict == PARTICIPANT_OLD_RETRY) {
		p->verdict = PARTICIPANT_OLD_ABORTED;
	}
}

static void on_message(struct participant_step *s, const struct change_message *m)
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

static void on_drain_time(struct participant_step *s)
{
	struct participant *p = s->p;

	if (s->now >= p->drain_until_ns && !p->committed) {
		if (p->state == PARTICIPANT_DRAINING) {
			participant_refuse_hold(
			    s, CHANGE_MSG_HOLD_TIMEOUT, "requests in flight did not end in time");
		} else {
			participant_refuse_hold(
			    s, CHANGE_MSG_REFUSED, "the last check did not end in time");
		}
	} else if (p->state == PARTICIPANT_DRAINING && s->now >= p->probe_at_ns &&
		   p->probe_token == 0) {
		p->probe_token = participant_act(s, CHANGE_ACT_ASK_PROGRESS);
	}
}

static void on_timer(struct participant_step *s)
{
	struct participant *p = s->p;

	if (p->state == PARTICIPANT_DRAINING || p->state == PARTICIPANT_CHECKING) {
		on_drain_time(s);
	}
	if ((p->state == PARTICIPANT_PUBLISHING || p->state == PARTICIPANT_VERIFYING) &&
	    s->now >= p->verify_until_ns) {
		participant_switch_failed(s, "the new face was not verified in time");
	} else if (p->state == PARTICIPANT_RETURNING && s->now >= p->verify_until_ns) {
		participant_out_of_service(s, "the old face was not back in time");
	} else if (p->state == PARTICIPANT_OUT && s->now >= p->retry_at_ns) {
		if (p->verdict == PARTICIPANT_NEW) {
			participant_publish_new(s);
		} else {
			participant_publish_old(s);
		}
	}
	if (participant_may_ask(p) && p->store_token == 0 && s->now >= p->ask_at_ns) {
		participant_ask_store(s);
	}
}

static uint64_t next_timer(const struct participant *p)
{
	uint64_t next = CHANGE_TIMER_OFF;

	if (participant_may_ask(p) && p->store_token == 0) {
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
static void settle(struct participant_step *s, bool ended_before)
{
	struct participant *p = s->p;
	uint64_t next = next_timer(p);

	if (next != p->timer_ns) {
		change_output_add(s->out, CHANGE_OUT_TIMER)->timer_ns = next;
		p->timer_ns = next;
	}
	if (p->state == PARTICIPANT_ENDED && !ended_before) {
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
	struct participant_step s = {p, now_ns, out};

	participant_init(p, spec);
	p->epoch = record->epoch;
	p->rejoined = true;
	switch (record->state) {
	case CHANGE_RECORD_NONE:
		p->rejoined = false;
		break;
	case CHANGE_RECORD_PREPARED:
		participant_go(&s, PARTICIPANT_HELD);
		participant_ask_store(&s);
		break;
	case CHANGE_RECORD_COMMITTED:
		p->ask_at_ns = now_ns + change_ask_after_ns(&spec->policy);
		participant_publish_new(&s);
		break;
	case CHANGE_RECORD_DONE:
	case CHANGE_RECORD_ABORTED:
	case CHANGE_RECORD_ROLLED_BACK:
		p->committed = record->state != CHANGE_RECORD_ABORTED;
		p->verdict = record->state == CHANGE_RECORD_DONE      ? PARTICIPANT_NEW
			     : record->state == CHANGE_RECORD_ABORTED ? PARTICIPANT_OLD_ABORTED
								      : PARTICIPANT_OLD_ROLLED_BACK;
		participant_go(&s, PARTICIPANT_ENDED);
		break;
	case CHANGE_RECORD_STATE_COUNT:
		sluice_assert(!"a state of a record");
	}
	settle(&s, false);
}

void participant_step(struct participant *p, const struct participant_input *in, uint64_t now_ns,
    struct change_outputs *out)
{
	struct participant_step s = {p, now_ns, out};
	bool ended = p->state == PARTICIPANT_ENDED;

	switch (in->kind) {
	case PARTICIPANT_IN_MESSAGE:
		on_message(&s, &in->message);
		break;
	case PARTICIPANT_IN_DONE:
		participant_on_done(&s, &in->done);
		break;
	case PARTICIPANT_IN_STORE:
		participant_on_store(&s, &in->answer);
		break;
	case PARTICIPANT_IN_TIMER:
		on_timer(&s);
		break;
	}
	settle(&s, ended);
}
