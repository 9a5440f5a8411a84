/*
 * The simulator: the real core code (coordinator, participant, hold) on nodes, a network, a store,
 * paths and clients that are all made of events in one queue, from one seed. No thread, no clock,
 * no I/O: a seed gives the same run on every machine.
 *
 * A run has a safety phase, in which faults happen, and a liveness phase, in which everything has
 * to come to its end. The checkers (check_*.c, one per invariant) look at every request and at
 * every event.
 *
 * Faults that the design recovers from, and that happen here: loss, duplication, delay and
 * reordering of messages between nodes; crash and restart of any node at any output; frozen nodes;
 * a second coordinator while the first one still lives; a store that is slow, away, or whose answer
 * is lost before or after, even long before, the transaction happens; paths that die; drains that
 * stall; builds, checks, switches, verifications and returns that fail or hang.
 */
#pragma once

#include <stdio.h>

#include "base/prng.h"
#include "core/coordinator.h"
#include "core/hold.h"
#include "core/participant.h"

#define SIM_NODES_MAX 8
#define SIM_BLOCKS 8
#define SIM_CHANNELS 2
#define SIM_CLIENTS 4 /* per node, one request each */
#define SIM_EVENTS_MAX 4096
#define SIM_CHANGE_ID 7
#define SIM_DOUBTS_MAX 32

/* Faults planted to prove that the checkers see them; X(NAME, "text"). */
#define SIM_PLANTS(X)                                                                              \
	X(NONE, "none")                                                                            \
	X(COMMIT_BEFORE_DRAINED, "commit-before-drained")                                          \
	X(RELEASE_BEFORE_SWITCH, "release-before-switch")                                          \
	X(LATE_MESSAGE_ACCEPTED, "late-message-accepted")                                          \
	X(DEADLINE_IGNORED, "deadline-ignored")                                                    \
	X(WRONG_FACE, "release-to-the-wrong-face")                                                 \
	X(FLUSH_NOT_HELD, "flush-not-held")                                                        \
	X(DOUBLE_COMPLETION, "double-completion")                                                  \
	X(HELD_LOST, "held-request-lost")                                                          \
	X(ORDER_REVERSED, "held-requests-reversed")                                                \
	X(ABORT_WITHOUT_STORE, "abort-without-the-store")                                          \
	X(COMMIT_NOT_COMPARED, "commit-not-compared")                                              \
	X(RECORD_LEFT, "record-left-behind")                                                       \
	X(RESTART_FORGETS, "restart-forgets-the-change")                                           \
	X(TAKEN_BACK_TWICE, "taken-back-request-runs-twice")                                       \
	X(SETTLE_WITHOUT_STORE, "new-face-without-the-store")

enum sim_plant {
#define X(name, text) SIM_PLANT_##name,
	SIM_PLANTS(X)
#undef X
	    SIM_PLANT_COUNT
};
const char *sim_plant_name(enum sim_plant plant);

enum sim_face { SIM_OLD, SIM_NEW };
enum sim_fate { SIM_OK, SIM_FAILS, SIM_HANGS };

/* What happens in a run; drawn from the seed, or given by a scenario. */
struct sim_plan {
	uint64_t seed;
	unsigned nodes;
	enum sim_plant plant;
	bool same_data;
	bool quiet;			      /* no random faults, fixed latencies */
	bool old_path_dies;		      /* before the hold */
	bool old_path_slow;		      /* some requests outlast the drain time */
	enum sim_fate fate[CHANGE_ACT_COUNT]; /* of the local actions on fate_node */
	unsigned fate_node;
	uint64_t cancel_at_ns; /* 0 = not */
	uint64_t store_down_at_ns;
	uint64_t store_down_ns; /* 0 = not */
	unsigned long crash_at; /* crash before this output is carried out; 0 = not */
	FILE *trace;		/* NULL = none */
};

enum sim_op { SIM_READ, SIM_WRITE, SIM_FLUSH };
enum sim_req_state { SIM_REQ_NONE, SIM_REQ_HELD, SIM_REQ_IN_FLIGHT };

struct sim_req {
	struct list link; /* held */
	enum sim_req_state state;
	enum sim_op op;
	unsigned first; /* block */
	unsigned count;
	uint64_t value; /* written */
	unsigned node;
	unsigned client;
	unsigned channel;
	enum sim_face face; /* it was started on */
	uint64_t arrival;
	uint64_t execution; /* number of the start; a completion of an older one is void */
	unsigned answers;
	bool was_held;
	bool was_taken_back; /* may have been executed before it is run again */
	bool stuck;	     /* on a dead path */
};

struct sim_node {
	bool alive;
	bool open; /* has read the store and serves */
	unsigned incarnation;
	uint64_t frozen_until;
	bool old_path_dead;
	struct participant part;
	unsigned part_peer; /* who coordinates, by the last message */
	uint64_t part_timer;
	bool coordinates;
	struct coordinator coord;
	struct change_node coord_nodes[SIM_NODES_MAX];
	uint64_t coord_timer;
	enum sim_face face;
	bool holding;
	bool was_out; /* of service, during this hold */
	uint64_t hold_began;
	uint64_t hold_excuse; /* the store failed this node last at */
	uint64_t hold_token;  /* of the HOLD action */
	struct range hold_range;
	struct hold_token token;
	struct hold_channel channels[SIM_CHANNELS];
	struct hold_drain drain;
	struct list held[SIM_CHANNELS];
	struct sim_req reqs[SIM_CLIENTS];
};

enum sim_event_kind {
	SIM_EV_START,
	SIM_EV_MESSAGE,	     /* to the participant, or to the coordinator */
	SIM_EV_STORE_APPLY,  /* the transaction happens */
	SIM_EV_STORE_ANSWER, /* its answer arrives */
	SIM_EV_ACTION_DONE,
	SIM_EV_COORD_TIMER,
	SIM_EV_PART_TIMER,
	SIM_EV_IO_DONE,
	SIM_EV_CLIENT,
	SIM_EV_OPEN,
	SIM_EV_CRASH,
	SIM_EV_FREEZE,
	SIM_EV_TAKEOVER,
	SIM_EV_STORE_DOWN,
	SIM_EV_PATH_DIES,
	SIM_EV_CANCEL,
	SIM_EV_CALM, /* the liveness phase begins */
};

struct sim_event {
	uint64_t at;
	uint64_t seq;
	enum sim_event_kind kind;
	unsigned node;
	unsigned incarnation; /* UINT32_MAX: survives a restart of the node */
	bool to_coordinator;  /* MESSAGE, STORE */
	bool answered;	      /* STORE_APPLY: an answer follows */
	unsigned from;
	unsigned client;
	uint64_t number; /* timer, execution */
	struct change_message message;
	struct change_store_request request;
	struct change_store_answer answer;
	struct participant_done done;
};

struct sim {
	struct sim_plan plan;
	struct prng prng;
	uint64_t now;
	uint64_t seq;
	unsigned nr_events;
	unsigned order[SIM_EVENTS_MAX]; /* heap by (at, seq) of the indexes of events */
	bool calm;
	bool started;
	bool stopping; /* clients issue nothing new */
	unsigned long outputs;
	unsigned late_transactions; /* asked for, and will happen */
	struct change_spec spec;
	struct change_record record;
	uint64_t store_down_until;
	unsigned primary;
	struct sim_node nodes[SIM_NODES_MAX];
	uint64_t arrivals;
	uint64_t values;
	uint64_t executions;
	uint64_t data[2][SIM_BLOCKS]; /* by face; same_data: only [0] is used */
	/* check_i1: per block, what was answered last and what may be there instead */
	uint64_t acked[SIM_BLOCKS];
	uint64_t doubts[SIM_BLOCKS][SIM_DOUBTS_MAX];
	unsigned nr_doubts[SIM_BLOCKS];
	unsigned long requests_done;
	unsigned long held_done;
	bool failed;
	char failure[256];
	struct sim_event events[SIM_EVENTS_MAX]; /* last: not cleared between runs */
};

/* -- world.c: time, chance, the queue ----------------------------------------------------------- */

/* True when the run kept all invariants; else sim->failure says what broke. */
bool sim_run(struct sim *sim, const struct sim_plan *plan);
struct sim_event *sim_schedule(
    struct sim *sim, enum sim_event_kind kind, unsigned node, uint64_t delay);
/* Uniform in [low, high]; quiet runs: low. */
uint64_t sim_delay(struct sim *sim, uint64_t low, uint64_t high);
/* Random faults of the safety phase; never in quiet runs. */
bool sim_chance(struct sim *sim, unsigned percent);
void sim_fail(struct sim *sim, const char *fmt, ...) PRINTF_LIKE(2, 3);
void sim_trace(struct sim *sim, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* -- store.c ------------------------------------------------------------------------------------ */

void sim_store_request(
    struct sim *sim, unsigned node, bool coordinator, const struct change_store_request *r);
void sim_store_apply(struct sim *sim, const struct sim_event *e);
bool sim_store_reachable(const struct sim *sim);

/* -- node.c: drives the two state machines ------------------------------------------------------ */

void sim_node_start(struct sim *sim, unsigned node);
void sim_node_event(struct sim *sim, struct sim_event *e);
void sim_node_crash(struct sim *sim, unsigned node);
void sim_node_done(struct sim *sim, unsigned node, uint64_t token, bool ok, uint64_t drain_us,
    uint64_t held, uint64_t delay);

/* -- gate.c: clients, the gate, the paths ------------------------------------------------------- */

void sim_gate_init(struct sim *sim, unsigned node);
void sim_client_event(struct sim *sim, unsigned node, unsigned client);
void sim_io_done(struct sim *sim, unsigned node, unsigned client, uint64_t execution);
void sim_gate_hold(struct sim *sim, unsigned node, uint64_t token);
void sim_gate_release(struct sim *sim, unsigned node);
void sim_gate_take_back(struct sim *sim, unsigned node);
/* Requests on dead paths go on. */
void sim_gate_heal(struct sim *sim, unsigned node);
void sim_gate_crash(struct sim *sim, unsigned node);
uint64_t *sim_data(struct sim *sim, enum sim_face face, unsigned block);

/* -- checkers ----------------------------------------------------------------------------------- */

/* I1: answered once; what was answered is readable. */
void check_i1_answer(struct sim *sim, struct sim_req *r);
void check_i1_read(struct sim *sim, const struct sim_req *r, unsigned block, uint64_t value);
void check_i1_doubt(struct sim *sim, unsigned block, uint64_t value);
void check_i1_end(struct sim *sim);
/* I2: never two faces on one range. */
void check_i2_start(struct sim *sim, const struct sim_req *r);
/* I3: every hold ends, in order. */
void check_i3_start(struct sim *sim, const struct sim_req *r);
void check_i3_event(struct sim *sim);
/* Nothing in doubt, nothing left behind. */
bool check_change_over(const struct sim *sim);
bool check_requests_over(const struct sim *sim);
void check_end(struct sim *sim);
