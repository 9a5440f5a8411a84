/*
 * struct io: the request that travels. An export fills it once; every layer below may push a frame
 * (its own completion and what it must remember), translate the offset, and hand the same struct
 * on, so that passing through a layer allocates nothing. Completion pops the frames in reverse.
 *
 * Thread rule: a request belongs to one reactor from submission to completion.
 * Ownership: the submitter owns the struct, the iov array and the memory it points to, and keeps
 * all three until done.
 */
#pragma once

#include <sys/uio.h>

#include "base/list.h"
#include "base/macros.h"
#include "base/range.h"
#include "io/op_list.h"

enum io_op {
#define X(name, text, payload, changes, ranged) IO_##name,
	IO_OPS(X)
#undef X
	    IO_OP_COUNT
};

enum io_payload { IO_PAYLOAD_NONE, IO_PAYLOAD_IN, IO_PAYLOAD_OUT };

enum {
	IO_FUA = 1 << 0,     /* WRITE, WRITE_ZEROES, DISCARD: durable before it completes */
	IO_NO_HOLE = 1 << 1, /* WRITE_ZEROES: must not deallocate */
	IO_FAST = 1 << 2,    /* WRITE_ZEROES: -EOPNOTSUPP at once unless faster than writing */
};

/*
 * Not an error: the target gave the request back unexecuted or in doubt because its session was
 * torn down on purpose, and the volume is to run it again on whatever face is active then. Never
 * reaches an export. io->doubt is then kept as it is, by the parts of a split request too.
 */
#define IO_REQUEUE 1

/* One extent of a BLOCK_STATUS answer, in order from io->offset. */
struct io_extent_status {
	uint64_t length; /* bytes */
	bool hole;	 /* not allocated */
	bool zero;	 /* reads as zeros */
};

struct io_block_status {
	struct io_extent_status *extents; /* the submitter's array */
	unsigned max;			  /* its room */
	unsigned count;			  /* filled by the target: at least 1 on success */
};

struct io;
typedef void (*io_done_fn)(struct io *io, void *ctx);

/* What one layer remembers of a request that is below it. */
struct io_frame {
	io_done_fn done;
	void *ctx;
	struct io *io;	  /* whose frame it is, for layers that keep requests by link */
	uint64_t offset;  /* the offset as this layer got it */
	uint64_t scratch; /* the layer's own */
	void *below;	  /* the layer's own: where it passed the request on to */
	struct list link; /* the layer's own */
};

#define IO_MAX_DEPTH 6	   /* export, volume, redundancy, lu route, fault, spare */
#define IO_DRIVER_BYTES 64 /* scratch for the driver at the bottom */

struct io {
	enum io_op op;
	uint32_t flags;
	uint64_t offset; /* bytes, as the layer that holds it now sees it */
	uint64_t length; /* bytes; equals the sum of iov for READ and WRITE */
	struct iovec *iov;
	unsigned iovcnt;
	int status; /* valid in done(): 0, negative errno, or IO_REQUEUE */
	struct io_block_status *block_status; /* BLOCK_STATUS only */
	/* 0 in a new request; else the name by which a route knows again a request of its own that
	 * may still take effect through a session that broke (lu/doubt.h). Whoever splits a request
	 * names it first, so that all parts go by one name. */
	uint64_t doubt;
	struct io_frame frames[IO_MAX_DEPTH];
	unsigned depth;
	_Alignas(16) unsigned char driver[IO_DRIVER_BYTES];
};

static inline struct range io_range(const struct io *io)
{
	return (struct range){io->offset, io->length};
}

/* Inside done(): the frame of the layer whose done() it is, until that layer pushes again. */
static inline struct io_frame *io_popped(struct io *io)
{
	return &io->frames[io->depth];
}

/* The frame of the layer that pushed last. */
static inline struct io_frame *io_top(struct io *io)
{
	return &io->frames[io->depth - 1];
}

/*
 * Puts done(io, ctx) on top: the next completion calls it, with io->offset back to what it is now.
 * Returns the frame, for its scratch and link. A layer that calls io_push() n times for a request
 * sees n completions.
 */
static inline struct io_frame *io_push(struct io *io, io_done_fn done, void *ctx)
{
	struct io_frame *f;

	sluice_assert(io->depth < IO_MAX_DEPTH);
	f = &io->frames[io->depth++];
	f->done = done;
	f->ctx = ctx;
	f->io = io;
	f->offset = io->offset;
	f->scratch = 0;
	f->below = NULL;
	list_init(&f->link);
	return f;
}

/* Ends the request for the layers below and gives it back to the layer above. Exactly once per
 * submission. */
static inline void io_complete(struct io *io, int status)
{
	struct io_frame *f;

	sluice_assert(io->depth > 0);
	f = &io->frames[--io->depth];
	io->status = status;
	io->offset = f->offset;
	f->done(io, f->ctx);
}

/* Static facts of an operation, from op_list.h. */
const char *io_op_name(enum io_op op);
enum io_payload io_op_payload(enum io_op op);
bool io_op_changes(enum io_op op);
bool io_op_ranged(enum io_op op);

/* A name for io->doubt that no request of this process has had. Any thread. */
uint64_t io_doubt_name(void);

/* True for the statuses that say "this session is broken", as against "this medium or request is
 * bad". */
bool io_status_is_transport(int status);

/*
 * iov helpers. io_iov_slice() writes the part [skip, skip + length) of iov into out, as far as max
 * entries go, and returns the number of entries; io_iov_length() says how many bytes those are. The
 * copies walk the whole iov.
 */
unsigned io_iov_slice(const struct iovec *iov, unsigned iovcnt, uint64_t skip, uint64_t length,
    struct iovec *out, unsigned max);
uint64_t io_iov_length(const struct iovec *iov, unsigned iovcnt);
void io_iov_to_buffer(const struct iovec *iov, unsigned iovcnt, void *buffer);
void io_iov_from_buffer(const struct iovec *iov, unsigned iovcnt, const void *buffer);
void io_iov_zero(const struct iovec *iov, unsigned iovcnt);
