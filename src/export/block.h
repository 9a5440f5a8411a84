/*
 * What every export does to a request before the target sees it: bounds, read-only, alignment, the
 * target's limits (a long transfer goes in parts), and what the target lacks (FUA is a write and a
 * flush, WRITE_ZEROES is writes of zeros). Protocol modules decide what to answer, this decides
 * what happens.
 *
 * Thread rule: block_view_init() anywhere; the rest on the data reactor of the request.
 */
#pragma once

#include "base/range.h"
#include "io/target.h"

/* What an export offers of a target. Immutable while requests run. */
struct block_view {
	struct io_target *target;
	uint64_t size; /* bytes: the target's size in whole blocks */
	bool read_only;
};
void block_view_init(struct block_view *view, struct io_target *target, bool read_only);

/*
 * One request of a client, preallocated per queue. The submitter fills the first group; all of it,
 * the iov array and its memory belong to block_submit() until done(), and the iov entries are
 * altered when the transfer goes in parts.
 */
struct block_request {
	enum io_op op;
	uint32_t flags;	 /* IO_FUA, IO_NO_HOLE, IO_FAST */
	uint64_t offset; /* bytes */
	uint64_t length; /* bytes; equals the sum of iov for READ and WRITE */
	struct iovec *iov;
	unsigned iovcnt;
	struct io_block_status *block_status;		   /* BLOCK_STATUS only */
	void (*done)(struct block_request *r, int status); /* 0 or negative errno */

	/* Private. */
	struct io io;
	struct io_channel *channel;
	const struct io_limits *limits;
	uint64_t next;	    /* offset of the part under way */
	uint64_t left;	    /* bytes from there on */
	uint64_t part;	    /* bytes under way */
	struct iovec zeros; /* what WRITE_ZEROES writes where it is emulated */
	size_t cut;	    /* bytes taken off the last iov entry of the part */
	bool emulate_zeroes;
	bool flush_after;
	bool flushing;
	bool submitting;
	bool ended;
};

/*
 * Whether the view can carry the request out: 0; -EPERM to change a read-only one; -ENOSPC to write
 * beyond the end, -EINVAL for anything else beyond it; -EINVAL for a write that is not aligned to
 * blocks; -EOPNOTSUPP for a discard where there is none, or zeros that are wanted fast and would
 * not be.
 */
int block_check(
    const struct block_view *view, enum io_op op, uint32_t flags, uint64_t offset, uint64_t length);

/* The smallest run of whole blocks around a range that passed block_check(). */
struct range block_span(const struct block_view *view, uint64_t offset, uint64_t length);

/*
 * Starts a request that passed block_check(); READ and BLOCK_STATUS over a block_span(), DISCARD
 * of any alignment (what is not a whole block is left alone). done() may run inside the call.
 */
void block_submit(const struct block_view *view, unsigned reactor, struct block_request *r);
