#include "export/block.h"

#include <errno.h>

/* Never written to, so it costs address space and no memory. */
#define ZERO_BYTES (256u << 10)
static _Alignas(4096) unsigned char zero_bytes[ZERO_BYTES];

void block_view_init(struct block_view *view, struct io_target *target, bool read_only)
{
	*view = (struct block_view){
	    .target = target,
	    .size = ALIGN_DOWN(target->size, target->limits.block_size),
	    .read_only = read_only || target->limits.read_only,
	};
}

static bool in_bounds(const struct block_view *view, uint64_t offset, uint64_t length)
{
	return range_valid(offset, length) && offset + length <= view->size;
}

static bool is_aligned(const struct block_view *view, uint64_t offset, uint64_t length)
{
	return IS_ALIGNED(offset | length, view->target->limits.block_size);
}

int block_check(
    const struct block_view *view, enum io_op op, uint32_t flags, uint64_t offset, uint64_t length)
{
	const struct io_limits *limits = &view->target->limits;
	bool inside = in_bounds(view, offset, length);

	if (io_op_changes(op) && view->read_only) {
		return -EPERM;
	}
	switch (op) {
	case IO_READ:
	case IO_BLOCK_STATUS:
		return inside ? 0 : -EINVAL;
	case IO_WRITE:
	case IO_WRITE_ZEROES:
		if (!inside) {
			return -ENOSPC;
		}
		if (!is_aligned(view, offset, length)) {
			return -EINVAL;
		}
		if (op == IO_WRITE_ZEROES && (flags & IO_FAST) != 0 && !limits->write_zeroes) {
			return -EOPNOTSUPP;
		}
		return 0;
	case IO_DISCARD:
		if (limits->discard_granularity == 0) {
			return -EOPNOTSUPP;
		}
		return inside ? 0 : -EINVAL;
	case IO_FLUSH:
		return 0;
	case IO_OP_COUNT:
		break;
	}
	return -EINVAL;
}

struct range block_span(const struct block_view *view, uint64_t offset, uint64_t length)
{
	uint64_t block_size = view->target->limits.block_size;
	uint64_t begin = ALIGN_DOWN(offset, block_size);

	return (struct range){begin, ALIGN_UP(offset + length, block_size) - begin};
}

/* -- one part after the other -- */

/* Takes the next part off the iov: at most max_transfer bytes in max_iov entries, whole blocks. */
static int take_iov(struct block_request *r)
{
	uint64_t bytes = 0;
	unsigned n = 0;

	while (n < r->iovcnt && n < r->limits->max_iov && bytes < r->limits->max_transfer) {
		bytes += r->iov[n++].iov_len;
	}
	bytes = ALIGN_DOWN(MIN(bytes, r->limits->max_transfer), r->limits->block_size);
	if (bytes == 0) {
		return -EINVAL; /* a client's scatter list with fragments of blocks */
	}
	r->part = bytes;
	for (n = 0; bytes > r->iov[n].iov_len; n++) {
		bytes -= r->iov[n].iov_len;
	}
	r->cut = r->iov[n].iov_len - bytes;
	r->iov[n].iov_len = bytes;
	r->io.iov = r->iov;
	r->io.iovcnt = n + 1;
	return 0;
}

/* The part is done: the iov begins at the next one. */
static void advance_iov(struct block_request *r)
{
	unsigned last = r->io.iovcnt - 1;
	struct iovec *end = &r->iov[last];

	r->iov += last;
	r->iovcnt -= last;
	if (r->cut == 0) {
		r->iov++;
		r->iovcnt--;
		return;
	}
	end->iov_base = (char *)end->iov_base + end->iov_len;
	end->iov_len = r->cut;
}

static int take_part(struct block_request *r)
{
	switch (r->op) {
	case IO_READ:
	case IO_WRITE:
		return take_iov(r);
	case IO_WRITE_ZEROES:
		r->part = r->left;
		if (r->emulate_zeroes) {
			r->part = MIN(r->left, MIN(ZERO_BYTES, r->limits->max_transfer));
			r->zeros = (struct iovec){zero_bytes, r->part};
			r->io.iov = &r->zeros;
			r->io.iovcnt = 1;
		}
		return 0;
	case IO_FLUSH:
	case IO_DISCARD:
	case IO_BLOCK_STATUS:
	case IO_OP_COUNT:
		break;
	}
	r->part = r->left;
	return 0;
}

static void on_part_done(struct io *io, void *ctx);

static void submit_io(struct block_request *r, enum io_op op)
{
	r->io.op = op;
	io_push(&r->io, on_part_done, r);
	io_submit(r->channel, &r->io);
}

static void submit_flush(struct block_request *r)
{
	r->io.flags = 0;
	r->io.offset = 0;
	r->io.length = 0;
	r->io.iov = NULL;
	r->io.iovcnt = 0;
	submit_io(r, IO_FLUSH);
}

static int submit_part(struct block_request *r)
{
	int rc = take_part(r);

	if (rc != 0) {
		return rc;
	}
	r->io.offset = r->next;
	r->io.length = r->part;
	submit_io(r, r->emulate_zeroes ? IO_WRITE : r->op);
	return 0;
}

/* Takes what ended into account; true if there is more to do, else the request has been answered.
 */
static bool next_step(struct block_request *r)
{
	int status = r->io.status;

	sluice_assert(status <= 0);
	if (status == 0 && !r->flushing) {
		if (r->op == IO_READ || r->op == IO_WRITE) {
			advance_iov(r);
		}
		r->next += r->part;
		r->left -= r->part;
		if (r->left > 0) {
			return true;
		}
		r->flushing = r->flush_after;
		if (r->flushing) {
			return true;
		}
	}
	r->done(r, status);
	return false;
}

/* A loop and not a recursion: a target may complete each part inside the call. */
static void run(struct block_request *r)
{
	do {
		int rc = 0;

		r->ended = false;
		r->submitting = true;
		if (r->flushing) {
			submit_flush(r);
		} else {
			rc = submit_part(r);
		}
		r->submitting = false;
		if (rc != 0) {
			r->done(r, rc);
			return;
		}
	} while (r->ended && next_step(r));
}

static void on_part_done(struct io *io, void *ctx)
{
	struct block_request *r = ctx;

	if (r->submitting) {
		r->ended = true;
	} else if (next_step(r)) {
		run(r);
	}
}

/* -- in one piece, which is nearly always -- */

static void on_whole_done(struct io *io, void *ctx)
{
	struct block_request *r = ctx;

	sluice_assert(io->status <= 0);
	r->done(r, io->status);
}

static bool fits_in_one(const struct block_request *r)
{
	if (r->flush_after || r->emulate_zeroes) {
		return false;
	}
	return io_op_payload(r->op) == IO_PAYLOAD_NONE ||
	       (r->length <= r->limits->max_transfer && r->iovcnt <= r->limits->max_iov);
}

static void submit_whole(struct block_request *r)
{
	r->io.op = r->op;
	r->io.offset = r->offset;
	r->io.length = r->length;
	r->io.iov = r->iov;
	r->io.iovcnt = r->iovcnt;
	r->io.block_status = r->block_status;
	io_push(&r->io, on_whole_done, r);
	io_submit(r->channel, &r->io);
}

/* A target that cannot tell: all of it is data. */
static void answer_block_status(struct block_request *r)
{
	r->block_status->count = 1;
	r->block_status->extents[0] = (struct io_extent_status){.length = r->length};
	r->done(r, 0);
}

/* A discard is a hint: the blocks that are only partly covered keep their content. */
static void shrink_to_blocks(struct block_request *r)
{
	uint64_t block_size = r->limits->block_size;
	uint64_t begin = ALIGN_UP(r->offset, block_size);
	uint64_t end = ALIGN_DOWN(r->offset + r->length, block_size);

	r->offset = begin;
	r->length = end > begin ? end - begin : 0;
}

static bool nothing_to_do(const struct block_request *r)
{
	if (r->op == IO_FLUSH) {
		return !r->limits->flush;
	}
	return r->length == 0;
}

void block_submit(const struct block_view *view, unsigned reactor, struct block_request *r)
{
	const struct io_limits *limits = &view->target->limits;
	bool fua = (r->flags & IO_FUA) != 0 && io_op_changes(r->op);

	r->limits = limits;
	r->channel = view->target->channels[reactor];
	r->io.depth = 0;
	r->io.flags = fua && limits->fua ? r->flags : r->flags & ~(uint32_t)IO_FUA;
	r->flush_after = fua && !limits->fua && limits->flush;
	r->emulate_zeroes = r->op == IO_WRITE_ZEROES && !limits->write_zeroes;
	if (r->op == IO_DISCARD) {
		shrink_to_blocks(r);
	}
	if (nothing_to_do(r)) {
		r->done(r, 0);
		return;
	}
	if (r->op == IO_BLOCK_STATUS && !limits->block_status) {
		answer_block_status(r);
		return;
	}
	if (likely(fits_in_one(r))) {
		submit_whole(r);
		return;
	}
	if (r->emulate_zeroes) {
		r->io.flags &= IO_FUA; /* the others are not for WRITE */
	}
	r->io.block_status = r->block_status;
	r->next = r->offset;
	r->left = r->length;
	r->flushing = false;
	run(r);
}
