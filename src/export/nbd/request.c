/*
 * One command of an NBD client: what the protocol says about it ("Request types", "Command flags",
 * "Error values"), on the way to and from block.c.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "export/nbd/connection.h"
#include "reactor/buffer.h"

/* The block status buffer: what the target fills, then what is sent. */
#define EXTENTS_BYTES (NBD_EXTENTS_MAX * sizeof(struct io_extent_status))
#define STATUS_BUFFER_BYTES                                                                        \
	(sizeof(struct io_block_status) + EXTENTS_BYTES + 4 + 8 * (size_t)NBD_EXTENTS_MAX)

/* -- memory -- */

/* What the pool really takes for it. */
static uint64_t footprint(uint32_t size)
{
	uint64_t bytes = BUFFER_ALIGNMENT;

	if (size == 0) {
		return 0;
	}
	while (bytes < size) {
		bytes *= 2;
	}
	return bytes;
}

static int add_chunk(struct nbd_connection *c)
{
	struct nbd_request *chunk;

	if (c->nr_chunks == ARRAY_SIZE(c->chunks)) {
		return -EAGAIN;
	}
	chunk = calloc(NBD_REQUEST_CHUNK, sizeof(*chunk));
	if (chunk == NULL) {
		return -ENOMEM;
	}
	for (unsigned i = 0; i < NBD_REQUEST_CHUNK; i++) {
		chunk[i].connection = c;
		list_append(&c->free, &chunk[i].link);
	}
	c->chunks[c->nr_chunks++] = chunk;
	return 0;
}

/* A free request with a buffer of that size, or NULL when the connection has enough under way. */
static struct nbd_request *take_request(struct nbd_connection *c, uint32_t buffer_size)
{
	uint64_t bytes = footprint(buffer_size);
	struct list *node;

	if (c->buffer_bytes > 0 && c->buffer_bytes + bytes > NBD_BUFFER_BYTES_MAX) {
		return NULL;
	}
	if (list_empty(&c->free) && add_chunk(c) != 0) {
		return NULL;
	}
	node = c->free.next;
	list_remove(node);
	return list_entry(node, struct nbd_request, link);
}

static int take_buffer(struct nbd_request *r, uint32_t size)
{
	r->buffer = buffer_get(buffer_pool_current(), size);
	if (r->buffer == NULL) {
		return -ENOMEM;
	}
	r->buffer_size = size;
	r->connection->buffer_bytes += footprint(size);
	return 0;
}

void nbd_request_release(struct nbd_request *r)
{
	struct nbd_connection *c = r->connection;

	if (r->buffer != NULL) {
		buffer_put(buffer_pool_current(), r->buffer, r->buffer_size);
		c->buffer_bytes -= footprint(r->buffer_size);
		r->buffer = NULL;
	}
	list_prepend(&c->free, &r->link);
}

/* -- answers -- */

static void add_relaxed(_Atomic uint64_t *counter, uint64_t n)
{
	/* The reactor is the only writer, so this needs no locked instruction. */
	atomic_store_explicit(
	    counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}

static void count(struct nbd_request *r)
{
	struct nbd_counters *counters = r->connection->params.counters;
	uint64_t us = (reactor_now_ns(r->connection->reactor) - r->arrived_ns) / NS_PER_US;

	add_relaxed(&counters->requests, 1);
	if (r->status != 0) {
		add_relaxed(&counters->errors, 1);
	} else if (r->message.type == NBD_CMD_READ) {
		add_relaxed(&counters->bytes_read, r->message.length);
	} else if (r->message.type == NBD_CMD_WRITE) {
		add_relaxed(&counters->bytes_written, r->message.length);
	}
	if (us > atomic_load_explicit(&counters->longest_us, memory_order_relaxed)) {
		atomic_store_explicit(&counters->longest_us, us, memory_order_relaxed);
	}
}

static void encode_error(struct nbd_request *r)
{
	uint32_t error = nbd_wire_error(r->status);

	/* ENOTSUP is for FAST_ZERO alone ("Error values"). */
	if (error == NBD_ENOTSUP && (r->message.flags & NBD_CMD_FLAG_FAST_ZERO) == 0) {
		error = NBD_EINVAL;
	}
	if (!r->connection->params.structured) {
		nbd_wire_put_simple(r->header, error, r->message.cookie);
		r->header_length = NBD_SIMPLE_BYTES;
		return;
	}
	nbd_wire_put_chunk(r->header, NBD_REPLY_ERROR, r->message.cookie, 6);
	store_be32(r->header + NBD_CHUNK_BYTES, error);
	store_be16(r->header + NBD_CHUNK_BYTES + 4, 0);
	r->header_length = NBD_CHUNK_BYTES + 6;
}

/* The data goes in one chunk that is also the last: all of it was read before. */
static void encode_read(struct nbd_request *r)
{
	uint64_t span_begin = r->block.offset;

	if (r->message.length == 0) {
		nbd_wire_put_chunk(r->header, NBD_REPLY_NONE, r->message.cookie, 0);
		r->header_length = NBD_CHUNK_BYTES;
		return;
	}
	nbd_wire_put_chunk(
	    r->header, NBD_REPLY_OFFSET_DATA, r->message.cookie, r->message.length + 8);
	store_be64(r->header + NBD_CHUNK_BYTES, r->message.offset);
	r->header_length = NBD_CHUNK_BYTES + 8;
	r->payload = (const char *)r->buffer + (r->message.offset - span_begin);
	r->payload_length = r->message.length;
}

/* Writes the extents within [offset, end) of the request as descriptors; returns how many. */
static unsigned put_descriptors(const struct nbd_request *r, uint8_t *out, unsigned max)
{
	const struct io_block_status *status = r->block.block_status;
	uint64_t begin = r->message.offset;
	uint64_t end = begin + r->message.length;
	uint64_t position = r->block.offset;
	unsigned n = 0;

	for (unsigned i = 0; i < status->count && n < max && position < end; i++) {
		const struct io_extent_status *extent = &status->extents[i];
		uint64_t from = MAX(position, begin);
		uint64_t to = MIN(position + extent->length, end);

		position += extent->length;
		if (to <= from) {
			continue;
		}
		store_be32(out + 8 * n, (uint32_t)(to - from));
		store_be32(out + 8 * n + 4,
		    (extent->hole ? NBD_STATE_HOLE : 0) | (extent->zero ? NBD_STATE_ZERO : 0));
		n++;
	}
	return n;
}

static void encode_block_status(struct nbd_request *r)
{
	bool one = (r->message.flags & NBD_CMD_FLAG_REQ_ONE) != 0;
	uint8_t *out = (uint8_t *)(r->block.block_status->extents + NBD_EXTENTS_MAX);
	unsigned n = put_descriptors(r, out + 4, one ? 1 : NBD_EXTENTS_MAX);

	if (n == 0) { /* a target that said nothing: all of it is data */
		store_be32(out + 4, r->message.length);
		store_be32(out + 8, 0);
		n = 1;
	}
	store_be32(out, NBD_CONTEXT_ALLOCATION_ID);
	r->payload = out;
	r->payload_length = 4 + 8 * n;
	nbd_wire_put_chunk(r->header, NBD_REPLY_BLOCK_STATUS, r->message.cookie, r->payload_length);
	r->header_length = NBD_CHUNK_BYTES;
}

static void encode(struct nbd_request *r)
{
	r->payload_length = 0;
	if (r->status != 0) {
		encode_error(r);
	} else if (r->message.type == NBD_CMD_READ && r->connection->params.structured) {
		encode_read(r);
	} else if (r->message.type == NBD_CMD_BLOCK_STATUS) {
		encode_block_status(r);
	} else { /* a simple reply is good for everything else, and shorter */
		nbd_wire_put_simple(r->header, 0, r->message.cookie);
		r->header_length = NBD_SIMPLE_BYTES;
		if (r->message.type == NBD_CMD_READ && r->message.length > 0) {
			r->payload =
			    (const char *)r->buffer + (r->message.offset - r->block.offset);
			r->payload_length = r->message.length;
		}
	}
}

void nbd_request_complete(struct nbd_request *r, int status)
{
	struct nbd_connection *c = r->connection;

	r->status = status;
	count(r);
	if (c->phase == NBD_CONNECTION_DEAD) {
		nbd_request_release(r);
	} else {
		encode(r);
		list_append(&c->replies, &r->link);
	}
	reactor_defer(c->reactor, &c->pump);
}

static void on_block_done(struct block_request *block, int status)
{
	struct nbd_request *r = container_of(block, struct nbd_request, block);

	r->connection->in_flight--;
	nbd_request_complete(r, status);
}

/* -- requests -- */

static uint16_t allowed_flags(const struct nbd_connection *c, uint16_t type)
{
	switch (type) {
	case NBD_CMD_READ:
		return NBD_CMD_FLAG_FUA | (c->params.structured ? NBD_CMD_FLAG_DF : 0);
	case NBD_CMD_WRITE_ZEROES:
		return NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FAST_ZERO;
	case NBD_CMD_BLOCK_STATUS:
		return NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_REQ_ONE;
	default: /* FUA must be accepted on every command */
		return NBD_CMD_FLAG_FUA;
	}
}

static uint32_t block_flags(const struct nbd_message *m)
{
	return ((m->flags & NBD_CMD_FLAG_FUA) != 0 ? IO_FUA : 0) |
	       ((m->flags & NBD_CMD_FLAG_NO_HOLE) != 0 ? IO_NO_HOLE : 0) |
	       ((m->flags & NBD_CMD_FLAG_FAST_ZERO) != 0 ? IO_FAST : 0);
}

/* "Block size constraints": too long is EINVAL, and the payload of a write is skipped. */
static int check_length(const struct nbd_connection *c, const struct nbd_message *m)
{
	if (m->length > NBD_PAYLOAD_MAX) {
		return (m->flags & NBD_CMD_FLAG_DF) != 0 ? -EOVERFLOW : -EINVAL;
	}
	if (m->type == NBD_CMD_READ &&
	    block_span(c->params.view, m->offset, m->length).length > BUFFER_MAX_SIZE) {
		return -EINVAL; /* of any alignment, and as long as can be */
	}
	return 0;
}

/* The operation a command becomes; -EINVAL for commands there are not. */
static int command_op(uint16_t type)
{
	switch (type) {
	case NBD_CMD_READ:
	case NBD_CMD_CACHE: /* bounds like a read, and nothing to do */
		return IO_READ;
	case NBD_CMD_WRITE:
		return IO_WRITE;
	case NBD_CMD_FLUSH:
		return IO_FLUSH;
	case NBD_CMD_TRIM:
		return IO_DISCARD;
	case NBD_CMD_WRITE_ZEROES:
		return IO_WRITE_ZEROES;
	case NBD_CMD_BLOCK_STATUS:
		return IO_BLOCK_STATUS;
	default: /* a number from outside */
		return -EINVAL;
	}
}

static int check(const struct nbd_connection *c, const struct nbd_message *m)
{
	int op = command_op(m->type);
	int rc;

	if (op < 0 || (m->flags & ~allowed_flags(c, m->type)) != 0) {
		return -EINVAL;
	}
	rc = block_check(c->params.view, (enum io_op)op, block_flags(m), m->offset, m->length);
	if (rc != 0) {
		return rc;
	}
	switch (m->type) {
	case NBD_CMD_READ:
	case NBD_CMD_WRITE:
		return check_length(c, m);
	case NBD_CMD_FLUSH:
		return m->offset == 0 && m->length == 0 ? 0 : -EINVAL;
	case NBD_CMD_BLOCK_STATUS:
		return c->params.allocation && m->length > 0 ? 0 : -EINVAL;
	default: /* nothing more to say about the others */
		return 0;
	}
}

static uint32_t buffer_need(const struct nbd_connection *c, const struct nbd_message *m)
{
	switch (m->type) {
	case NBD_CMD_READ:
		return (uint32_t)block_span(c->params.view, m->offset, m->length).length;
	case NBD_CMD_WRITE:
		return m->length;
	case NBD_CMD_BLOCK_STATUS:
		return STATUS_BUFFER_BYTES;
	default: /* the others carry nothing */
		return 0;
	}
}

static void prepare_block_status(struct nbd_request *r)
{
	struct io_block_status *status = r->buffer;

	status->extents = (struct io_extent_status *)(status + 1);
	status->max = (r->message.flags & NBD_CMD_FLAG_REQ_ONE) != 0 ? 1 : NBD_EXTENTS_MAX;
	status->count = 0;
	r->block.block_status = status;
}

static void prepare(struct nbd_request *r)
{
	const struct nbd_message *m = &r->message;
	struct block_request *b = &r->block;

	b->op = (enum io_op)command_op(m->type);
	b->flags = block_flags(m);
	b->offset = m->offset;
	b->length = m->length;
	b->iov = NULL;
	b->iovcnt = 0;
	b->block_status = NULL;
	b->done = on_block_done;
	if (b->op == IO_READ || b->op == IO_BLOCK_STATUS) {
		struct range span = block_span(r->connection->params.view, m->offset, m->length);

		b->offset = span.offset;
		b->length = span.length;
	}
	if (b->op == IO_READ || b->op == IO_WRITE) {
		r->iov = (struct iovec){r->buffer, b->length};
		b->iov = &r->iov;
		b->iovcnt = 1;
	}
	if (b->op == IO_BLOCK_STATUS) {
		prepare_block_status(r);
	}
}

void nbd_request_submit(struct nbd_request *r)
{
	struct nbd_connection *c = r->connection;

	prepare(r);
	c->in_flight++;
	block_submit(c->params.view, c->reactor_index, &r->block);
}

/* A command that is refused: what a write carries has to be read all the same. */
static void refuse(struct nbd_request *r, int status)
{
	struct nbd_connection *c = r->connection;

	if (r->message.type == NBD_CMD_WRITE && r->message.length > 0) {
		r->status = status;
		c->skipping = r;
		c->skip = r->message.length;
		return;
	}
	nbd_request_complete(r, status);
}

enum nbd_begin nbd_request_begin(struct nbd_connection *c, const struct nbd_message *m)
{
	int rc = check(c, m);
	uint32_t need = rc == 0 ? buffer_need(c, m) : 0;
	struct nbd_request *r = take_request(c, need);

	if (r == NULL) {
		return NBD_BEGIN_STALLED;
	}
	r->message = *m;
	r->arrived_ns = reactor_now_ns(c->reactor);
	if (rc == 0 && need > 0) {
		rc = take_buffer(r, need);
	}
	if (rc != 0) {
		refuse(r, rc);
	} else if (m->type == NBD_CMD_WRITE && m->length > 0) {
		c->incoming = r;
		c->incoming_bytes = 0;
	} else if (m->type == NBD_CMD_CACHE || (need == 0 && m->type == NBD_CMD_READ)) {
		r->block.offset = m->offset;
		nbd_request_complete(r, 0);
	} else {
		nbd_request_submit(r);
	}
	return NBD_BEGIN_TAKEN;
}
