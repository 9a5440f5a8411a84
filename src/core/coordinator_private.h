/*
 * What the coordinator's files share: its table of states (coordinator_states.c), its phases
 * (coordinator_phase.c), the store's answers (coordinator_store.c); nodes, time and the operator are
 * in coordinator.c.
 *
 * Thread rule: pure, as coordinator.h.
 */
#pragma once

#include "core/coordinator.h"

struct coordinator_state_info {
	const char *name;
	unsigned successors;
	bool final;
	bool asks_nodes;		  /* message is sent, and repeated, to the nodes ASKED */
	enum change_message_type message; /* with asks_nodes */
	bool asks_store;		  /* kind is asked for, and repeated, until it is known */
	enum change_store_kind kind;	  /* with asks_store */
	bool may_abort;			  /* no COMMIT was asked for */
};

extern const struct coordinator_state_info coordinator_states[COORDINATOR_STATE_COUNT];

/* What one call works on. */
struct coordinator_step {
	struct coordinator *c;
	uint64_t now;
	struct change_outputs *out;
};

/* Of the epochs that this coordinator uses, the one in the record. */
uint64_t coordinator_term(const struct coordinator *c);
/* The first epoch of a coordinator after one that used epoch. */
uint64_t coordinator_epoch_above(uint64_t epoch);
unsigned coordinator_count_nodes(const struct coordinator *c, enum change_node_state state);
/* How long this state may last; CHANGE_TIMER_OFF = until it is known. */
uint64_t coordinator_patience_ns(const struct coordinator *c);

void coordinator_say(struct coordinator_step *s, const char *text);
/* The first reason is the one that counts. */
void coordinator_blame(struct coordinator *c, const char *reason);
void coordinator_request_store(struct coordinator_step *s, enum change_store_kind kind);
bool coordinator_wants_store(const struct coordinator *c);
bool coordinator_may_send(const struct coordinator *c);
void coordinator_send_to_asked(struct coordinator_step *s);

/* The only place that changes the state. */
void coordinator_go(struct coordinator_step *s, enum coordinator_state to);
void coordinator_finish(struct coordinator_step *s, enum coordinator_state to);
void coordinator_abort(struct coordinator_step *s, const char *reason, const char *advice);
void coordinator_abort_for_node(struct coordinator_step *s, unsigned node, const char *reason);
void coordinator_begin_hold(struct coordinator_step *s);
void coordinator_give_up_hold(struct coordinator_step *s, unsigned node, const char *reason);
/* Have enough nodes answered to go on? patient: those that are silent may still answer. */
void coordinator_judge_switch(struct coordinator_step *s, bool patient);
void coordinator_judge_phase(struct coordinator_step *s);

void coordinator_on_store(struct coordinator_step *s, const struct change_store_answer *a);
