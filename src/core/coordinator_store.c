/* What the coordinator makes of the answers of the store. */
#include "core/coordinator_private.h"

/* A final state, or COMMITTED where it was not expected: the record decides, not we. */
static void follow_record(struct coordinator_step *s)
{
	struct coordinator *c = s->c;

	c->record_final = change_record_state_final(c->record);
	switch (c->record) {
	case CHANGE_RECORD_COMMITTED:
		c->reason[0] = '\0'; /* of the abort that came too late */
		coordinator_go(s, c->record_epoch == coordinator_term(c) ? COORDINATOR_SWITCHING
									 : COORDINATOR_CLAIMING);
		break;
	case CHANGE_RECORD_DONE:
		if (c->state == COORDINATOR_FINISHING) {
			coordinator_finish(s, COORDINATOR_DONE);
		} else {
			coordinator_go(s, COORDINATOR_RESUMING);
			coordinator_judge_phase(s);
		}
		break;
	case CHANGE_RECORD_ROLLED_BACK:
		coordinator_blame(c, "a node could not switch and went back at its deadline");
		coordinator_go(s, COORDINATOR_RETURNING);
		coordinator_judge_phase(s);
		break;
	case CHANGE_RECORD_ABORTED:
		coordinator_blame(c, "a hold came to its deadline before the commit");
		if (c->state != COORDINATOR_ABORTING) {
			coordinator_go(s, COORDINATOR_ABORTING);
		} else if (c->commit_doubt) {
			coordinator_send_to_asked(s);
		}
		coordinator_judge_phase(s);
		break;
	case CHANGE_RECORD_NONE:
	case CHANGE_RECORD_PREPARED:
	case CHANGE_RECORD_STATE_COUNT:
		sluice_assert(!"a record to follow");
	}
}

static void recorded(struct coordinator_step *s)
{
	s->c->in_doubt = false;
	coordinator_go(s, COORDINATOR_PREPARING);
	coordinator_judge_phase(s);
}

static void committed(struct coordinator_step *s)
{
	s->c->commit_us = (s->now - s->c->commit_began_ns) / NS_PER_US;
	coordinator_go(s, COORDINATOR_SWITCHING);
	coordinator_judge_switch(s, true);
}

/* The transaction asked for in this state has succeeded. */
static void transaction_done(struct coordinator_step *s)
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
		coordinator_go(s, COORDINATOR_SWITCHING);
		coordinator_judge_switch(s, true);
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
		return !c->in_doubt && c->record_epoch >= coordinator_term(c);
	}
	return c->record_epoch > coordinator_term(c) ||
	       (c->record_epoch != coordinator_term(c) && c->state != COORDINATOR_ABORTING);
}

static void claim_above(struct coordinator_step *s)
{
	s->c->epoch = coordinator_epoch_above(MAX(s->c->record_epoch, s->c->epoch));
	coordinator_request_store(s, CHANGE_STORE_CLAIM);
}

/* The record is as it was when the transaction was asked for: once more, or not any more? */
static void retry_transaction(struct coordinator_step *s)
{
	struct coordinator *c = s->c;

	if (c->state == COORDINATOR_COMMITTING && s->now >= c->phase_until_ns) {
		coordinator_abort(s, "the store did not commit in time", NULL);
	} else {
		coordinator_request_store(s, coordinator_states[c->state].kind);
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

static void record_read(struct coordinator_step *s, const struct change_record *record)
{
	struct coordinator *c = s->c;

	if (!coordinator_states[c->state].asks_store) {
		return;
	}
	if (!record_possible(c, record)) {
		coordinator_say(s, "the record in the store is not one that this change can have");
		c->resend_at_ns = s->now + c->spec.policy.resend_ns;
		return;
	}
	c->record = record->state;
	c->record_epoch = record->epoch;
	if (owned_by_another(c)) {
		coordinator_blame(c, "another node coordinates this change now");
		coordinator_finish(s, COORDINATOR_SUPERSEDED);
	} else if (c->state == COORDINATOR_RECORDING && record->state == CHANGE_RECORD_PREPARED) {
		recorded(s);
	} else if (c->state == COORDINATOR_RECORDING && record->generation != c->spec.generation) {
		coordinator_abort(s, "the volume's map has changed meanwhile", "ask for it again");
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

static void store_unreachable(struct coordinator_step *s)
{
	struct coordinator *c = s->c;

	if (!c->unreachable_said) {
		coordinator_say(s, "the store does not answer; the change waits for it");
		c->unreachable_said = true;
	}
	c->resend_at_ns = s->now + c->spec.policy.resend_ns;
}

/* FAILED is an answer: unless an earlier request is in doubt, nothing has happened. */
static void store_refused(struct coordinator_step *s, enum change_store_kind kind)
{
	struct coordinator *c = s->c;

	if (kind == CHANGE_STORE_PREPARE && c->state == COORDINATOR_RECORDING && !c->in_doubt) {
		coordinator_blame(c, "the store refused the record of the change");
		coordinator_finish(s, COORDINATOR_ABORTED);
	} else if (kind == CHANGE_STORE_COMMIT && c->state == COORDINATOR_COMMITTING &&
		   !c->in_doubt) {
		c->commit_doubt = false;
		coordinator_abort(s, "the store refused the commit", NULL);
	} else {
		store_unreachable(s);
	}
}

void coordinator_on_store(struct coordinator_step *s, const struct change_store_answer *a)
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
		if (coordinator_states[c->state].asks_store &&
		    coordinator_states[c->state].kind == kind) {
			transaction_done(s);
		} else if (coordinator_wants_store(c)) {
			coordinator_request_store(s, coordinator_states[c->state].kind);
		}
		break;
	case CHANGE_STORE_CONFLICT:
		if (coordinator_wants_store(c)) {
			coordinator_request_store(s, CHANGE_STORE_READ);
		}
		break;
	case CHANGE_STORE_UNKNOWN:
		c->in_doubt = true;
		store_unreachable(s);
		if (coordinator_wants_store(c) && kind != CHANGE_STORE_READ) {
			coordinator_request_store(s, CHANGE_STORE_READ);
		}
		break;
	case CHANGE_STORE_FAILED:
		store_refused(s, kind);
		break;
	case CHANGE_STORE_RESULT_COUNT:
		sluice_assert(!"an answer of the store");
	}
}
