/*
 * struct io_target: whatever a request can be sent to (a volume, a mirror, a route to an LU, a
 * driver's session). Layers meet only here: an export serves any target, a face maps to any target,
 * a wrapper wraps any target.
 *
 * A target has one channel per data reactor, all opened before the target is handed out and closed
 * after its last user let go, so that the request path finds its channel by index and never opens,
 * locks or counts anything.
 */
#pragma once

#include "io/io.h"

struct io_limits {
	uint32_t block_size; /* bytes: offset and length of every request are multiples (power of
				two, >= 512) */
	uint32_t preferred_size; /* bytes: best request size and alignment, >= block_size, power of
				    two */
	uint32_t max_transfer;	 /* bytes: READ, WRITE; the caller splits what is longer */
	uint32_t max_iov;	 /* entries: READ, WRITE */
	uint32_t
	    memory_alignment; /* bytes: iov memory that is not aligned so is copied by the driver */
	uint32_t discard_granularity; /* bytes, 0 = DISCARD is not supported */
	bool write_zeroes;	      /* better than writing zeros oneself */
	bool fua;		      /* the target does FUA itself; else the layer above flushes */
	bool flush;		      /* has a volatile cache: FLUSH means something */
	bool read_only;
	bool block_status;
	bool coherent; /* a completed write is seen through every channel, and FLUSH on one covers
			  all */
};

struct io_target;

/* Per data reactor. Embedded first in the layer's own channel. */
struct io_channel {
	/*
	 * Reactor thread of the channel. Starts the request; the target completes it by
	 * io_complete() exactly once. May it complete inside the call? Yes: callers are written for
	 * it.
	 */
	void (*submit)(struct io_channel *channel, struct io *io);
};

struct io_target_ops {
	const char *kind; /* "volume", "route", "nbd", for people */
};

struct io_target {
	const struct io_target_ops *ops;
	uint64_t size; /* bytes */
	struct io_limits limits;
	struct io_channel **channels; /* [nr_channels], index = data reactor */
	unsigned nr_channels;
};

/* Reactor thread of the channel. The caller has pushed its frame. */
static inline void io_submit(struct io_channel *channel, struct io *io)
{
	channel->submit(channel, io);
}

/* Limits that hold for both: what a target over several others may promise. */
void io_limits_merge(struct io_limits *into, const struct io_limits *other);
