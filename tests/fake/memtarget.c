#include "memtarget.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define STATUS_BLOCK 4096u

struct memtarget_channel {
	struct io_channel channel;
	struct memtarget *t;
	struct reactor *reactor;
	struct list waiting;
	struct reactor_deferred later;
	struct reactor_msg resume;
	enum memtarget_mode next_mode;
};

static bool is_zero(const struct memtarget *t, uint64_t offset, uint64_t length)
{
	for (uint64_t i = 0; t->bytes != NULL && i < length; i++) {
		if (t->bytes[offset + i] != 0) {
			return false;
		}
	}
	return true;
}

static void fill_block_status(const struct memtarget *t, struct io *io)
{
	struct io_block_status *s = io->block_status;
	uint64_t end = io->offset + io->length;

	for (uint64_t at = io->offset; at < end;) {
		uint64_t next = MIN(end, ALIGN_DOWN(at + STATUS_BLOCK, STATUS_BLOCK));
		bool zero = is_zero(t, at, next - at);

		if (s->count > 0 && s->extents[s->count - 1].zero == zero) {
			s->extents[s->count - 1].length += next - at;
		} else if (s->count == s->max) {
			return;
		} else {
			s->extents[s->count++] = (struct io_extent_status){next - at, zero, zero};
		}
		at = next;
	}
}

static void execute(const struct memtarget *t, struct io *io)
{
	switch (io->op) {
	case IO_READ:
		if (t->bytes != NULL) {
			io_iov_from_buffer(io->iov, io->iovcnt, t->bytes + io->offset);
		} else {
			io_iov_zero(io->iov, io->iovcnt);
		}
		break;
	case IO_WRITE:
		if (t->bytes != NULL) {
			io_iov_to_buffer(io->iov, io->iovcnt, t->bytes + io->offset);
		}
		break;
	case IO_DISCARD:
	case IO_WRITE_ZEROES:
		if (t->bytes != NULL) {
			memset(t->bytes + io->offset, 0, io->length);
		}
		break;
	case IO_BLOCK_STATUS:
		fill_block_status(t, io);
		break;
	case IO_FLUSH:
	case IO_OP_COUNT:
		break;
	}
}

static void finish(struct memtarget *t, struct io *io)
{
	int status = t->fail_status[io->op];

	if (status == 0) {
		execute(t, io);
	}
	io_complete(io, status);
}

/* The frame of a request that waits here: it has a link, and nothing else to do. */
static void pass_on(struct io *io, void *ctx)
{
	io_complete(io, io->status);
}

static void finish_waiting(struct memtarget_channel *c)
{
	struct list ready;
	struct list *node;

	list_init(&ready);
	list_splice(&ready, &c->waiting);
	while ((node = list_pop(&ready)) != NULL) {
		c->t->held--;
		finish(c->t, list_entry(node, struct io_frame, link)->io);
	}
}

static void on_later(struct reactor_deferred *d)
{
	finish_waiting(container_of(d, struct memtarget_channel, later));
}

static void on_resume(struct reactor_msg *msg)
{
	struct memtarget_channel *c = container_of(msg, struct memtarget_channel, resume);

	c->t->mode = c->next_mode;
	finish_waiting(c);
}

/* The target's promise to be given no more than its limits say. */
static void check_limits(const struct memtarget *t, const struct io *io)
{
	const struct io_limits *limits = &t->target.limits;

	sluice_assert(io->offset + io->length <= t->target.size);
	sluice_assert(IS_ALIGNED(io->offset | io->length, limits->block_size));
	if (io->op == IO_READ || io->op == IO_WRITE) {
		uint64_t sum = 0;

		for (unsigned i = 0; i < io->iovcnt; i++) {
			sum += io->iov[i].iov_len;
		}
		sluice_assert(sum == io->length && io->length <= limits->max_transfer);
		sluice_assert(io->iovcnt <= limits->max_iov);
	}
	sluice_assert((io->flags & IO_FUA) == 0 || limits->fua);
	sluice_assert(!limits->read_only || !io_op_changes(io->op));
}

static void submit(struct io_channel *channel, struct io *io)
{
	struct memtarget_channel *c = container_of(channel, struct memtarget_channel, channel);
	struct memtarget *t = c->t;

	check_limits(t, io);
	if (t->bytes != NULL) { /* the one without content is for measuring */
		t->seen[io->op]++;
		t->last_flags = io->flags;
		t->longest = MAX(t->longest, io->iovcnt > 0 ? io->length : 0);
	}
	if (t->mode == MEMTARGET_INLINE) {
		finish(t, io);
		return;
	}
	list_append(&c->waiting, &io_push(io, pass_on, c)->link);
	t->held++;
	if (t->mode == MEMTARGET_LATER) {
		reactor_defer(c->reactor, &c->later);
	}
}

static void init_channels(struct memtarget *t)
{
	for (unsigned i = 0; i < t->group->nr_data; i++) {
		struct memtarget_channel *c = &t->mem_channels[i];

		c->channel.submit = submit;
		c->t = t;
		c->reactor = t->group->data[i];
		list_init(&c->waiting);
		reactor_deferred_init(&c->later, on_later);
		t->target.channels[i] = &c->channel;
	}
}

struct memtarget *memtarget_new(struct reactor_group *group, uint64_t size, bool memory)
{
	static const struct io_target_ops ops = {.kind = "memtarget"};
	struct memtarget *t = calloc(1, sizeof(*t));

	if (t == NULL) {
		return NULL;
	}
	t->group = group;
	t->target.ops = &ops;
	t->target.size = size;
	t->target.limits = (struct io_limits){
	    .block_size = 512,
	    .preferred_size = 4096,
	    .max_transfer = 32u << 20,
	    .max_iov = 1024,
	    .memory_alignment = 1,
	    .discard_granularity = 512,
	    .write_zeroes = true,
	    .fua = true,
	    .flush = true,
	    .block_status = true,
	    .coherent = true,
	};
	t->target.nr_channels = group->nr_data;
	t->target.channels = calloc(group->nr_data, sizeof(*t->target.channels));
	t->mem_channels = calloc(group->nr_data, sizeof(*t->mem_channels));
	t->bytes = memory ? calloc(1, size) : NULL;
	if (t->target.channels == NULL || t->mem_channels == NULL || (memory && t->bytes == NULL)) {
		memtarget_free(t);
		return NULL;
	}
	init_channels(t);
	return t;
}

void memtarget_free(struct memtarget *t)
{
	if (t != NULL) {
		free(t->bytes);
		free(t->mem_channels);
		free(t->target.channels);
		free(t);
	}
}

void memtarget_resume(struct memtarget *t, enum memtarget_mode mode)
{
	for (unsigned i = 0; i < t->group->nr_data; i++) {
		struct memtarget_channel *c = &t->mem_channels[i];

		c->next_mode = mode;
		reactor_send(c->reactor, &c->resume, on_resume);
	}
}
