#include "core/coordinator_private.h"

/*
 *   IDLE -> RECORDING -> PREPARING -> HOLDING -> COMMITTING -> SWITCHING -> RESUMING -> FINISHING
 *               |            |         |   ^         |          |  |  |        ^  |         |
 *               |            |   UNHOLDING |         |          |  | SETTLING -+  |         v
 *               |            |         v   |         |          |  |    |         +------> DONE
 *               |            |        BACKOFF        |          |  v    v
 *               v            v         |             |      REVERTING --+--> RETURNING
 *               +------------+---------+-------------+--------> (DONE by a      |
 *                            |                             node: RESUMING)      v
 *                            v                                              ROLLED_BACK
 *                        ABORTING -> ABORTED
 *
 * A new coordinator begins in ABORTING (record PREPARED or ABORTED), CLAIMING -> SWITCHING
 * (COMMITTED), RESUMING (DONE) or RETURNING (ROLLED_BACK); from any state that asks the store it
 * follows what the record says, and is SUPERSEDED when the record belongs to another one.
 */

#define TO(name) (1u << COORDINATOR_##name)

const struct coordinator_state_info coordinator_states[COORDINATOR_STATE_COUNT] = {
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

const char *coordinator_state_name(enum coordinator_state state)
{
	return state < COORDINATOR_STATE_COUNT ? coordinator_states[state].name : "?";
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

unsigned coordinator_count_nodes(const struct coordinator *c, enum change_node_state state)
{
	unsigned n = 0;

	for (unsigned i = 0; i < c->nr_nodes; i++) {
		n += c->nodes[i].state == state;
	}
	return n;
}

void coordinator_check(const struct coordinator *c)
{
	const struct coordinator_state_info *info = &coordinator_states[c->state];

	sluice_assert(c->state < COORDINATOR_STATE_COUNT);
	sluice_assert(c->epoch >= COORDINATOR_FIRST_EPOCH);
	sluice_assert(!info->may_abort || !c->commit_doubt);
	sluice_assert(!info->final || c->timer_ns == CHANGE_TIMER_OFF);
	sluice_assert(!info->final || c->store_token == 0);
	/* COMMIT is asked for only when everybody holds. */
	if (c->state == COORDINATOR_COMMITTING) {
		sluice_assert(coordinator_count_nodes(c, CHANGE_NODE_HELD) +
				  coordinator_count_nodes(c, CHANGE_NODE_EXCLUDED) ==
			      c->nr_nodes);
	}
	/* Nobody is let go on the new face while a rollback could succeed. */
	if (c->state == COORDINATOR_RETURNING || c->state == COORDINATOR_ROLLED_BACK) {
		sluice_assert(c->record == CHANGE_RECORD_ROLLED_BACK);
	}
	sluice_assert(c->state != COORDINATOR_DONE || c->record == CHANGE_RECORD_DONE);
}

uint64_t coordinator_term(const struct coordinator *c)
{
	return c->epoch & ~(COORDINATOR_FIRST_EPOCH - 1);
}

uint64_t coordinator_patience_ns(const struct coordinator *c)
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

uint64_t coordinator_epoch_above(uint64_t epoch)
{
	return (epoch | (COORDINATOR_FIRST_EPOCH - 1)) + 1;
}
