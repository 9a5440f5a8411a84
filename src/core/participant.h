/*
 * A participant of a change: one node that has the volume open. It builds the next face, holds,
 * switches and resumes as the coordinator says, and when its hold comes to its deadline without a
 * word it asks the store, so that no hold depends on the coordinator's life:
 *
 *   record at the deadline      what it does
 *   PREPARED                    moves it to ABORTED; if that succeeds it lets go on the old face
 *   COMMITTED, verified         moves it to DONE; if that succeeds it lets go on the new face
 *   COMMITTED, not switched     switches now, then as above; it could not: moves it to ROLLED_BACK
 *   DONE                        new face
 *   ABORTED, ROLLED_BACK        old face
 *   store cannot be reached     stays held, says so, asks again
 *
 * The question is asked an eighth of hold_ns early, so that the hold itself ends by its deadline.
 * A node that cannot take the face that the record names is out of service: it stays held, says so
 * and tries again.
 *
 * One struct per change and node. After CHANGE_OUT_ENDED it only answers late messages; it is kept
 * until the change is over for the coordinator. A node that finds an unfinished record when it
 * starts opens the volume held, with both faces built, and begins with participant_rejoin().
 *
 * Thread rule: pure, owned by the caller, any thread. now_ns is monotonic.
 */
#pragma once

#include "core/change.h"

/*   X(NAME, "text", holds) */
#define PARTICIPANT_STATES(X)                                                                      \
	X(IDLE, "idle", 0)                                                                         \
	X(BUILDING, "building", 0)                                                                 \
	X(PREPARED, "prepared", 0)                                                                 \
	X(DRAINING, "draining", 1)                                                                 \
	X(CHECKING, "checking", 1)     /* drained; the check on the quiet range runs */            \
	X(HELD, "held", 1)	       /* waits for the commit */                                  \
	X(REFUSING, "refusing", 1)     /* held, said no, waits to be let go */                     \
	X(PUBLISHING, "publishing", 1) /* the new face */                                          \
	X(VERIFYING, "verifying", 1)                                                               \
	X(SWITCHED, "switched", 1)   /* verified, waits for RESUME */                              \
	X(FAILED, "failed", 1)	     /* could not switch, waits for RETURN */                      \
	X(RETURNING, "returning", 1) /* publishing the old face */                                 \
	X(OUT, "out-of-service", 1)  /* cannot take the face that the record names; tries again */ \
	X(RELEASING, "releasing", 0)                                                               \
	X(ENDED, "ended", 0)

enum participant_state {
#define X(name, text, holds) PARTICIPANT_##name,
	PARTICIPANT_STATES(X)
#undef X
	    PARTICIPANT_STATE_COUNT
};
const char *participant_state_name(enum participant_state state);
/* Requests to the affected ranges wait in this state. */
bool participant_state_holds(enum participant_state state);

enum participant_input_kind {
	PARTICIPANT_IN_MESSAGE, /* message */
	PARTICIPANT_IN_DONE,	/* done: the answer to a local action */
	PARTICIPANT_IN_STORE,	/* answer */
	PARTICIPANT_IN_TIMER,	/* the time asked for has come; too early does no harm */
};

struct participant_done {
	uint64_t token;
	bool ok;
	uint64_t drain_us;	/* HOLD */
	uint64_t held_us;	/* RELEASE */
	uint64_t held_requests; /* RELEASE */
	const char *reason;	/* for people when not ok */
};

struct participant_input {
	enum participant_input_kind kind;
	struct change_message message;
	struct participant_done done;
	struct change_store_answer answer;
};

/* The face that the change has been decided for, as far as this node knows. */
enum participant_verdict {
	PARTICIPANT_UNDECIDED,
	PARTICIPANT_OLD_RETRY, /* UNHOLD: old face for now, stays prepared */
	PARTICIPANT_OLD_ABORTED,
	PARTICIPANT_OLD_ROLLED_BACK,
	PARTICIPANT_NEW,
};

struct participant {
	enum participant_state state;
	enum participant_verdict verdict;
	struct change_spec spec;
	uint64_t epoch;
	bool rejoined;	    /* began with participant_rejoin() */
	bool committed;	    /* knows that the record was COMMITTED */
	bool said_switched; /* SWITCHED was sent: it must not roll back by itself any more */
	bool published;	    /* PUBLISH_NEW was asked for since the last PUBLISH_OLD */
	bool taken_back;    /* TAKE_BACK was asked for since the last PUBLISH_OLD */
	bool overdue; /* this hold has come to its deadline: what goes on asks the store at once */
	bool unreachable_said;
	bool out_said;
	uint64_t action_token; /* the answer that is awaited; 0 = none */
	uint64_t probe_token;  /* of ASK_PROGRESS */
	uint64_t last_token;
	uint64_t store_token; /* 0 = none outstanding */
	enum change_store_kind store_kind;
	enum change_message_type refusal; /* what was said in REFUSING */
	uint64_t timer_ns;		  /* as armed */
	uint64_t ask_at_ns;		  /* of the store: while it holds, or idles prepared */
	uint64_t drain_until_ns;
	uint64_t probe_at_ns;
	uint64_t verify_until_ns;
	uint64_t verify_began_ns;
	uint64_t retry_at_ns; /* OUT */
	uint64_t drain_us;
	uint64_t verify_us;
	uint64_t held_us;	/* summed over the attempts */
	uint64_t held_requests; /* summed over the attempts */
	char reason[CHANGE_REASON_MAX];
};

void participant_init(struct participant *p, const struct change_spec *spec);
/* record: of an unfinished change, as read when the volume was opened held. */
void participant_rejoin(struct participant *p, const struct change_spec *spec,
    const struct change_record *record, uint64_t now_ns, struct change_outputs *out);
void participant_step(struct participant *p, const struct participant_input *in, uint64_t now_ns,
    struct change_outputs *out);
/* Stops the program when p is in a state that cannot be. */
void participant_check(const struct participant *p);
