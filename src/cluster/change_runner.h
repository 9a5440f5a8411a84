/*
 * Runs one change of the protocol in src/core on this node: coordinator and participant, their
 * timers, and the messages between them. What the change does to a volume and what it writes into
 * the store is the owner's, by the operations below.
 *
 * Thread rule: control loop. No operation is called from within a call of the owner.
 */
#pragma once

#include "core/coordinator.h"
#include "core/participant.h"
#include "reactor/reactor.h"

struct change_runner;

/* Whose store request it is: part of the answer's address. */
enum change_side { CHANGE_SIDE_COORDINATOR, CHANGE_SIDE_PARTICIPANT };

struct change_runner_ops {
	/* Required. Answered by change_runner_done() with the token, where core/change.h says that
	 * the action has an answer. */
	void (*action)(void *owner, enum change_action action, uint64_t token);
	/* Required. Answered by change_runner_stored(), once. */
	void (*store)(
	    void *owner, enum change_side side, const struct change_store_request *request);
	/* Required. A state has changed: read change_runner_coordinator(). */
	void (*state)(void *owner);
	/* Required. Something that the operator should know. */
	void (*say)(void *owner, const char *text);
	/* Required. The last call: both sides have ended. */
	void (*ended)(void *owner);
};

/* record: NULL for a new change; else what was found in the store of an unfinished one. The spec is
 * copied. */
struct change_runner *change_runner_new(struct reactor *control, const struct change_spec *spec,
    const struct change_record *record, const struct change_runner_ops *ops, void *owner);
void change_runner_free(struct change_runner *r);
void change_runner_done(struct change_runner *r, const struct participant_done *done);
void change_runner_stored(
    struct change_runner *r, enum change_side side, const struct change_store_answer *answer);
/* The operator's wish; no effect once the commit was asked for. */
void change_runner_cancel(struct change_runner *r);
const struct coordinator *change_runner_coordinator(const struct change_runner *r);
const struct change_node *change_runner_node(const struct change_runner *r);
const struct participant *change_runner_participant(const struct change_runner *r);
