/*
 * The words of the change protocol, shared by the coordinator and the participants: messages,
 * record states, outputs, limits. The two state machines are in coordinator.h and participant.h;
 * both are pure: an input and the time go in, outputs come out, in a list that the caller gives.
 *
 * Who may do what rests on one thing, the change's record in the store. Everybody who is in doubt
 * asks it, and whoever moves it does so by compare-and-swap:
 *
 *                   COMMIT (coordinator)          DONE (coordinator when all have resumed, or a
 *      PREPARED ----------------------> COMMITTED ----> DONE      participant at its deadline)
 *          |   generation g -> g+1          |
 *          | ABORT (coordinator, or a       | ROLLBACK (coordinator, or a participant that could
 *          v participant at its deadline)   v          not switch, at its deadline)
 *       ABORTED                         ROLLED_BACK    generation g+1 -> g+2, the old face's map
 *
 * A participant that holds lets go on the old face only when the record is, or can only become,
 * ABORTED or ROLLED_BACK, and on the new face only when no ROLLBACK can succeed any more.
 *
 * Thread rule: pure, owned by the caller, any thread.
 */
#pragma once

#include "base/macros.h"

#define CHANGE_REASON_MAX 240 /* bytes of a text for people, with the NUL */

/* -- the record in the store -- */

/*   X(NAME, "text", final) */
#define CHANGE_RECORD_STATES(X)                                                                    \
	X(NONE, "none", 0)                                                                         \
	X(PREPARED, "prepared", 0)                                                                 \
	X(COMMITTED, "committed", 0)                                                               \
	X(DONE, "done", 1)                                                                         \
	X(ABORTED, "aborted", 1)                                                                   \
	X(ROLLED_BACK, "rolled-back", 1)

enum change_record_state {
#define X(name, text, final) CHANGE_RECORD_##name,
	CHANGE_RECORD_STATES(X)
#undef X
	    CHANGE_RECORD_STATE_COUNT
};
const char *change_record_state_name(enum change_record_state state);
/* No transaction leaves a final state. */
bool change_record_state_final(enum change_record_state state);

/* What the store says about a change. */
struct change_record {
	enum change_record_state state;
	uint64_t epoch;	     /* of the coordinator that owns the record; 0 when state is NONE */
	uint64_t generation; /* of the volume's map, now */
};

/*
 * A transaction that a state machine asks for, answered once by a struct change_store_answer with
 * the same token.
 *
 *   kind      compares                                 sets
 *   READ      nothing                                  nothing; the answer carries the record
 *   PREPARE   record absent (NONE), generation g       record PREPARED, epoch
 *   CLAIM     record state, epoch                      epoch
 *   COMMIT    record PREPARED, epoch, generation g     record COMMITTED, new map, g+1
 *   ABORT     record state (NONE or PREPARED)          record ABORTED
 *   ROLLBACK  record COMMITTED, generation g+1         record ROLLED_BACK, old map, g+2
 *   DONE      record COMMITTED                         record DONE
 *
 * The members say it without the table: 0 in expect_epoch, expect_generation: not compared; 0 in
 * set_epoch, set_generation: left as it is.
 */
enum change_store_kind {
	CHANGE_STORE_READ,
	CHANGE_STORE_PREPARE,
	CHANGE_STORE_CLAIM,
	CHANGE_STORE_COMMIT,
	CHANGE_STORE_ABORT,
	CHANGE_STORE_ROLLBACK,
	CHANGE_STORE_DONE,
	CHANGE_STORE_KIND_COUNT
};
const char *change_store_kind_name(enum change_store_kind kind);

struct change_store_request {
	enum change_store_kind kind;
	enum change_record_state expect;
	enum change_record_state set;
	uint64_t expect_epoch;
	uint64_t set_epoch;
	uint64_t expect_generation;
	uint64_t set_generation;
	uint64_t token;
};

enum change_store_result {
	CHANGE_STORE_OK,       /* done, and durable */
	CHANGE_STORE_CONFLICT, /* a compare did not hold; nothing was changed */
	CHANGE_STORE_UNKNOWN,  /* no answer: it may have happened, or may still happen */
	CHANGE_STORE_FAILED,   /* nothing was changed, and will not be by this request */
	CHANGE_STORE_RESULT_COUNT
};
const char *change_store_result_name(enum change_store_result result);

struct change_store_answer {
	uint64_t token;
	enum change_store_result result;
	struct change_record record; /* READ and OK only */
};

/* -- messages -- */

/*   X(NAME, "text", from_coordinator) */
#define CHANGE_MESSAGES(X)                                                                         \
	X(PREPARE, "PREPARE", 1) /* build and check the next face */                               \
	X(HOLD, "HOLD", 1)	 /* hold and drain */                                              \
	X(UNHOLD, "UNHOLD", 1)	 /* this attempt is given up: let go, stay prepared */             \
	X(SWITCH, "SWITCH", 1)	 /* committed: publish and verify the new face */                  \
	X(RESUME, "RESUME", 1)	 /* all have switched: let go on the new face */                   \
	X(RETURN, "RETURN", 1)	 /* rolled back: go back to the old face, let go */                \
	X(ABORT, "ABORT", 1)	 /* never committed: let go on the old face, forget the new one */ \
	X(VOTE_YES, "VOTE_YES", 0)                                                                 \
	X(VOTE_NO, "VOTE_NO", 0)                                                                   \
	X(HELD, "HELD", 0)                                                                         \
	X(REFUSED, "REFUSED", 0)	   /* the check on the quiet range failed */               \
	X(HOLD_TIMEOUT, "HOLD_TIMEOUT", 0) /* did not drain in time */                             \
	X(UNHELD, "UNHELD", 0)                                                                     \
	X(SWITCHED, "SWITCHED", 0)                                                                 \
	X(SWITCH_FAILED, "SWITCH_FAILED", 0)                                                       \
	X(RESUMED, "RESUMED", 0)   /* serves on the new face */                                    \
	X(RETURNED, "RETURNED", 0) /* serves on the old face, after a rollback */                  \
	X(RETURN_FAILED, "RETURN_FAILED", 0)                                                       \
	X(ABORTED, "ABORTED", 0) /* serves on the old face, has forgotten the new one */

enum change_message_type {
#define X(name, text, from_coordinator) CHANGE_MSG_##name,
	CHANGE_MESSAGES(X)
#undef X
	    CHANGE_MSG_COUNT
};
const char *change_message_name(enum change_message_type type);
bool change_message_from_coordinator(enum change_message_type type);

struct change_message {
	enum change_message_type type;
	uint64_t change;    /* id, never used twice */
	uint64_t epoch;	    /* grows with every attempt and every new coordinator */
	bool rejoined;	    /* SWITCHED, SWITCH_FAILED: has restarted since the commit */
	uint64_t drain_us;  /* HELD and later: from the hold to the last overlapping completion */
	uint64_t verify_us; /* SWITCHED, SWITCH_FAILED and later */
	uint64_t held_us;   /* UNHELD, RESUMED, RETURNED, ABORTED: first held request to release */
	uint64_t held_requests;		/* as held_us */
	char reason[CHANGE_REASON_MAX]; /* the answers that say no; else "" */
};

/* -- what a change is -- */

struct change_policy {
	uint64_t prepare_ns;   /* all must have voted within it */
	uint64_t hold_ns;      /* the deadline: no hold lasts longer */
	uint64_t drain_ns;     /* drained and checked within it, counted from the hold */
	uint64_t stall_ns;     /* no drain after so long: ask whether the old path still moves */
	uint64_t verify_ns;    /* switched and verified within it */
	uint64_t resend_ns;    /* unanswered messages and store requests are repeated so often */
	uint64_t backoff_ns;   /* before the second attempt to hold; doubles */
	unsigned hold_retries; /* attempts after the first */
	unsigned min_nodes;    /* go on without an excluded node when so many are left */
};
extern const struct change_policy change_policy_default;
#define CHANGE_HOLD_RETRIES_MAX 1000
/* -EINVAL unless the parts fit into each other (drain and verify end before the store is asked). */
int change_policy_check(const struct change_policy *policy);
/* When a participant without word asks the store, counted from its hold: early enough to let go by
 * the deadline. */
uint64_t change_ask_after_ns(const struct change_policy *policy);

struct change_spec {
	uint64_t id;
	uint64_t generation; /* g, of the map that the change starts from */
	/* Both faces lead to the same data (a path switch): going back is safe even after requests
	 * have run on the new one. */
	bool same_data;
	struct change_policy policy;
};

/* -- outputs -- */

/*
 * Local actions of a participant. Each is answered once by PARTICIPANT_IN_DONE with its token,
 * unless the comment says otherwise. Asking for another one supersedes what is outstanding: its
 * answer is ignored when it still comes.
 */
/*   X(NAME, "text") */
#define CHANGE_ACTIONS(X)                                                                          \
	X(BUILD, "build") /* the next face, its paths, and their checks; off the request path */   \
	X(HOLD, "hold")	  /* answered when drained, with drain_us */                               \
	X(ASK_PROGRESS, "ask-progress") /* beside HOLD, which goes on: ok = the old path moves */  \
	X(TAKE_BACK, "take-back") /* beside HOLD: tear the dead old path down; no answer, but  \
					 the drain ends */   \
	X(CHECK_QUIET, "check-quiet") /* what needs a range without writers (fingerprints) */      \
	X(PUBLISH_NEW, "publish-new") /* pointer swap, network ID; flushes the old LU */           \
	X(VERIFY, "verify")	      /* a probe through the new face */                           \
	X(PUBLISH_OLD, "publish-old") /* and undo PUBLISH_NEW and TAKE_BACK */                     \
	X(RELEASE, "release")	      /* answered with held_us, held_requests */                   \
	X(DROP_NEW, "drop-new")	      /* forget the next face, built or half built; no answer */   \
	X(DROP_OLD, "drop-old")	      /* the old face and what only it used; no answer */

enum change_action {
#define X(name, text) CHANGE_ACT_##name,
	CHANGE_ACTIONS(X)
#undef X
	    CHANGE_ACT_COUNT
};
const char *change_action_name(enum change_action action);

enum change_output_kind {
	CHANGE_OUT_SEND,   /* message to node (participant: to the coordinator) */
	CHANGE_OUT_STORE,  /* store */
	CHANGE_OUT_TIMER,  /* one timer per machine: re-arm it for timer_ns (absolute) */
	CHANGE_OUT_ACTION, /* action, token (participant) */
	CHANGE_OUT_STATE,  /* the machine's state has changed: read it from the struct */
	CHANGE_OUT_SAY,	   /* text for the operator */
	CHANGE_OUT_ENDED,  /* last output: nothing is awaited any more, the timer is off */
};
#define CHANGE_TIMER_OFF UINT64_MAX

struct change_output {
	enum change_output_kind kind;
	unsigned node; /* SEND: index of the participant */
	struct change_message message;
	struct change_store_request store;
	uint64_t timer_ns; /* TIMER: CHANGE_TIMER_OFF = cancel */
	enum change_action action;
	uint64_t token;
	char text[CHANGE_REASON_MAX];
};

/* Filled in order; the caller empties it by count = 0 and carries the outputs out in order. */
struct change_outputs {
	struct change_output *items;
	unsigned max; /* at least CHANGE_OUTPUTS_MAX(number of participants) */
	unsigned count;
};
#define CHANGE_OUTPUTS_MAX(nr_nodes) ((nr_nodes) + 12)

/* For the state machines: a zeroed entry of that kind at the end of the list. */
struct change_output *change_output_add(struct change_outputs *out, enum change_output_kind kind);
/* Cut to fit; from may be NULL. */
void change_text_copy(char text[CHANGE_REASON_MAX], const char *from);

/* What people see in `change show`. */
enum change_state {
	CHANGE_PREPARING,
	CHANGE_HOLDING,
	CHANGE_COMMITTED,
	CHANGE_DONE,
	CHANGE_ABORTED,
	CHANGE_ROLLED_BACK,
	CHANGE_STATE_COUNT
};
const char *change_state_name(enum change_state state);
