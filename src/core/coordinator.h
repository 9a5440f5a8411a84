/*
 * The coordinator of a change: brings every participant through prepare, hold, commit, switch and
 * resume, or back. It decides nothing that the store does not confirm, so it may die at any point:
 * the participants end their holds by the store's word, and a new coordinator ends the change
 * (coordinator_recover()).
 *
 * What goes wrong before the commit is an abort. A hold that times out because of load is given up
 * on all nodes and tried again a bounded number of times. What goes wrong after the commit and
 * before anybody has resumed is rolled back while all still hold.
 *
 *   coordinator_start() and _recover() begin; then every input is one coordinator_step(). Outputs
 *   are carried out in order; CHANGE_OUT_ENDED is the last. The struct may be read at any time
 *   between steps.
 *
 * Thread rule: pure, owned by the caller, any thread. now_ns is monotonic.
 */
#pragma once

#include "core/change.h"

/*   X(NAME, "text") */
#define COORDINATOR_STATES(X)                                                                      \
	X(IDLE, "idle")                                                                            \
	X(RECORDING, "recording")   /* the record is being written */                              \
	X(PREPARING, "preparing")   /* votes are awaited */                                        \
	X(HOLDING, "holding")	    /* holds are awaited */                                        \
	X(UNHOLDING, "unholding")   /* an attempt is given up */                                   \
	X(BACKOFF, "back-off")	    /* before the next attempt */                                  \
	X(COMMITTING, "committing") /* until the outcome is known */                               \
	X(CLAIMING, "claiming")	    /* a new coordinator takes the record */                       \
	X(SWITCHING, "switching")   /* all must have verified */                                   \
	X(SETTLING, "settling")	    /* the record becomes DONE without everybody's answer */       \
	X(RESUMING, "resuming")	    /* no way back */                                              \
	X(FINISHING, "finishing")   /* all have resumed; the record becomes DONE */                \
	X(REVERTING, "reverting")   /* the record becomes ROLLED_BACK */                           \
	X(RETURNING, "returning")   /* all go back to the old face */                              \
	X(ABORTING, "aborting")	    /* record and participants */                                  \
	X(DONE, "done")                                                                            \
	X(ABORTED, "aborted")                                                                      \
	X(ROLLED_BACK, "rolled-back")                                                              \
	X(SUPERSEDED, "superseded") /* another coordinator owns the record now */

enum coordinator_state {
#define X(name, text) COORDINATOR_##name,
	COORDINATOR_STATES(X)
#undef X
	    COORDINATOR_STATE_COUNT
};
const char *coordinator_state_name(enum coordinator_state state);

/* What the coordinator knows of a participant. */
enum change_node_state {
	CHANGE_NODE_ASKED, /* no answer yet in this phase */
	CHANGE_NODE_PREPARED,
	CHANGE_NODE_HELD,
	CHANGE_NODE_SWITCHED,
	CHANGE_NODE_SWITCH_FAILED,
	CHANGE_NODE_RESUMED,	    /* on the new face */
	CHANGE_NODE_RETURNED,	    /* on the old face; also after an abort */
	CHANGE_NODE_OUT_OF_SERVICE, /* stays held: could not go back, or did not say that it did */
	CHANGE_NODE_EXCLUDED,	    /* provably does no I/O any more */
	CHANGE_NODE_STATE_COUNT
};
const char *change_node_state_name(enum change_node_state state);

/* One per participant, in an array that the caller owns and keeps as long as the coordinator. */
struct change_node {
	enum change_node_state state;
	bool rejoined; /* restarted since the commit: may have served on the new face before */
	uint64_t drain_us;
	uint64_t verify_us;
	uint64_t held_us;
	uint64_t held_requests;
	char reason[CHANGE_REASON_MAX];
};

enum coordinator_input_kind {
	COORDINATOR_IN_MESSAGE, /* message, from participant node */
	COORDINATOR_IN_STORE,	/* answer */
	COORDINATOR_IN_TIMER,	/* the time asked for has come; too early does no harm */
	COORDINATOR_IN_CANCEL,	/* the operator; no effect after the commit was asked for */
	COORDINATOR_IN_LOST, /* node does not answer any more (reason): aborts before the commit */
	COORDINATOR_IN_EXCLUDED, /* node provably does no I/O any more (reason) */
};

struct coordinator_input {
	enum coordinator_input_kind kind;
	unsigned node;
	struct change_message message;
	struct change_store_answer answer;
	const char *reason;
};

struct coordinator {
	enum coordinator_state state;
	struct change_spec spec;
	struct change_node *nodes; /* the caller's */
	unsigned nr_nodes;
	uint64_t epoch;
	unsigned attempt;      /* of the hold, from 1 */
	bool recovered;	       /* took over: knows what happened before from the record alone */
	bool in_doubt;	       /* a transaction may have happened or may yet happen */
	bool commit_doubt;     /* a COMMIT was asked for, here or perhaps by the one before */
	bool record_final;     /* the store has confirmed a final state */
	bool unreachable_said; /* the operator was told that the store does not answer */
	enum change_record_state record; /* as last known */
	uint64_t record_epoch;		 /* as last known */
	uint64_t store_token;		 /* outstanding request; 0 = none */
	uint64_t last_token;
	enum change_store_kind store_kind; /* of the outstanding request */
	uint64_t phase_until_ns;	   /* end of patience in this state */
	uint64_t resend_at_ns;		   /* of messages, or of the store request */
	uint64_t timer_ns;		   /* as armed */
	uint64_t commit_began_ns;
	uint64_t commit_us;		/* for people: the store's part of the hold */
	char reason[CHANGE_REASON_MAX]; /* why it did not become DONE; "" else */
	char advice[CHANGE_REASON_MAX]; /* what to do about it; "" if nothing */
};

/* epoch of the first coordinator of a change; the attempts count up from it. */
#define COORDINATOR_FIRST_EPOCH (1ull << 16)

/*
 * nodes: filled by the coordinator, the caller's array. policy has passed change_policy_check().
 * The outputs of the first step are in out.
 */
void coordinator_start(struct coordinator *c, const struct change_spec *spec,
    struct change_node *nodes, unsigned nr_nodes, uint64_t now_ns, struct change_outputs *out);
/*
 * Ends a change that another coordinator left, by its record as it was read: PREPARED is aborted,
 * COMMITTED is rolled forward (or back, if a node cannot and it is safe), a final one is brought to
 * the participants. NONE is not a change.
 */
void coordinator_recover(struct coordinator *c, const struct change_spec *spec,
    struct change_node *nodes, unsigned nr_nodes, const struct change_record *record,
    uint64_t now_ns, struct change_outputs *out);
void coordinator_step(struct coordinator *c, const struct coordinator_input *in, uint64_t now_ns,
    struct change_outputs *out);

enum change_state coordinator_public_state(const struct coordinator *c);
/* Stops the program when c is in a state that cannot be. */
void coordinator_check(const struct coordinator *c);
