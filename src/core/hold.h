/*
 * The arithmetic of holds: which requests a hold concerns, when it has drained, and in which order
 * held requests go on. No queue of its own and no memory: the volume's gate runs it on reactors,
 * the simulator runs it on simulated ones.
 *
 * A hold concerns a request unless the facts of the operation say otherwise (fails closed): an
 * operation without a range (FLUSH) overlaps every hold of the volume, and under HOLD_WRITES only
 * what has a range and changes nothing passes.
 *
 * Thread rule: pure. A struct hold_channel belongs to its reactor, a struct hold_drain to the
 * control loop, a struct hold_token does not change while it is used.
 */
#pragma once

#include "base/list.h"
#include "base/range.h"

enum hold_kind {
	HOLD_ALL,
	HOLD_WRITES, /* what has a range and changes nothing passes */
};

struct hold_token {
	const struct range *ranges; /* the caller's */
	size_t nr_ranges;
	enum hold_kind kind;
};

/* What the gate knows of a request. */
struct hold_op {
	struct range range;
	bool ranged;  /* io_op_ranged(): range says what it touches */
	bool changes; /* io_op_changes() */
};

bool hold_concerns(const struct hold_token *token, const struct hold_op *op);
/* Two requests whose order is kept when both were held. */
bool hold_op_overlaps(const struct hold_op *a, const struct hold_op *b);

/*
 * Drain of one hold on one channel: in_flight counts the requests that were started before the hold
 * and that it concerns. As every later one waits, it only falls. Each function returns true when
 * the channel has drained by this call, which happens exactly once.
 */
struct hold_channel {
	uint64_t in_flight;
	bool draining;
};
bool hold_channel_begin(struct hold_channel *hc, uint64_t in_flight);
/* A request that the hold concerns has completed, or came back to be run again. */
bool hold_channel_done(struct hold_channel *hc);

/* Drain of one hold over all channels; true exactly once, when the last one has drained. */
struct hold_drain {
	unsigned channels_left;
};
void hold_drain_begin(struct hold_drain *d, unsigned nr_channels);
bool hold_drain_channel(struct hold_drain *d);

/*
 * Moves the held requests that may go now from held to ready, in the order in which they came:
 * those that none of the remaining tokens concerns and that overlap no earlier one which has to
 * stay. op_of() gives the facts of the request that a list node belongs to.
 */
typedef struct hold_op (*hold_op_fn)(const struct list *node);
void hold_release(struct list *held, struct list *ready, hold_op_fn op_of,
    const struct hold_token *const *tokens, size_t nr_tokens);
