/*
 * What the participant's files share: its states and local actions (participant_local.c), its
 * questions to the store (participant_store.c); messages and time are in participant.c.
 *
 * Thread rule: pure, as participant.h.
 */
#pragma once

#include "core/participant.h"

/* What one call works on. */
struct participant_step {
	struct participant *p;
	uint64_t now;
	struct change_outputs *out;
};

/* Held, and no SWITCH has come. */
bool participant_before_switch(enum participant_state state);
/* Takes part, and does not hold. */
bool participant_without_hold(enum participant_state state);

void participant_answer(struct participant_step *s, enum change_message_type type);
void participant_say(struct participant_step *s, const char *text);
/* The token of the action. */
uint64_t participant_act(struct participant_step *s, enum change_action action);
/* The only place that changes the state. */
void participant_go(struct participant_step *s, enum participant_state to);
void participant_request_store(struct participant_step *s, enum change_store_kind kind);
void participant_end(struct participant_step *s);
void participant_publish_old(struct participant_step *s);
void participant_publish_new(struct participant_step *s);
/* Out of the hold on the old face. */
void participant_leave_on_old(struct participant_step *s, enum participant_verdict verdict);
/* The new face is decided for good: let go once it is there. */
void participant_take_new(struct participant_step *s);
void participant_out_of_service(struct participant_step *s, const char *reason);
void participant_switch_failed(struct participant_step *s, const char *reason);
void participant_begin_hold(struct participant_step *s);
void participant_refuse_hold(
    struct participant_step *s, enum change_message_type type, const char *reason);
void participant_on_done(struct participant_step *s, const struct participant_done *done);

/* Nothing goes on by itself in this state: only the coordinator, or the store, ends it. */
bool participant_may_ask(const struct participant *p);
void participant_ask_store(struct participant_step *s);
void participant_over_without_hold(struct participant_step *s, enum participant_verdict verdict);
void participant_on_store(struct participant_step *s, const struct change_store_answer *a);
