#include "client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "usage.h"

#define NBD_REQUEST_MAGIC 0x25609513u
#define NBD_SIMPLE_REPLY_MAGIC 0x67446698u
#define NBD_STRUCTURED_REPLY_MAGIC 0x668e33efu
#define NBD_CMD_DISC 2u
#define NBD_REPLY_FLAG_DONE 1u
#define NBD_REPLY_TYPE_NONE 0u
#define NBD_REPLY_TYPE_OFFSET_DATA 1u
#define NBD_REPLY_TYPE_OFFSET_HOLE 2u
#define NBD_REPLY_TYPE_ERROR_BIT (1u << 15)

#define SIMPLE_SIZE 16u
#define CHUNK_SIZE 20u
#define IOV_COUNT 512u

static int connection_failed(struct client *c, const char *why, int code)
{
	c->failure = why;
	return code;
}

/* -- sending -- */

static void header_fill(struct client_slot *slot, uint64_t handle)
{
	store_be32(slot->header, NBD_REQUEST_MAGIC);
	store_be16(slot->header + 4, 0);
	store_be16(slot->header + 6, (uint16_t)slot->op);
	store_be64(slot->header + 8, handle);
	store_be64(slot->header + 16, slot->offset);
	store_be32(slot->header + 24, slot->length);
}

void client_submit(struct client *c, struct client_slot *slot, enum client_op op, uint64_t offset,
    uint32_t length, const void *payload, uint64_t now_ns)
{
	uint32_t index = (uint32_t)(slot - c->slots);

	sluice_assert(!slot->busy);
	slot->started_ns = now_ns;
	slot->offset = offset;
	slot->length = length;
	slot->received = 0;
	slot->error = 0;
	slot->op = op;
	slot->busy = true;
	slot->payload = op == CLIENT_WRITE ? payload : NULL;
	header_fill(slot, index);
	c->queue[(c->queue_first + c->queue_length) % c->depth] = index;
	c->queue_length++;
	c->in_flight++;
}

static size_t wire_size(const struct client_slot *slot)
{
	return sizeof(slot->header) + (slot->payload != NULL ? slot->length : 0);
}

static unsigned queue_to_iov(const struct client *c, struct iovec *iov)
{
	size_t skip = c->sent_of_first;
	unsigned n = 0;

	for (unsigned i = 0; i < c->queue_length && n + 2 <= IOV_COUNT; i++) {
		struct client_slot *slot = &c->slots[c->queue[(c->queue_first + i) % c->depth]];
		size_t skip_header = MIN(skip, sizeof(slot->header));

		if (skip_header < sizeof(slot->header)) {
			iov[n++] = (struct iovec){
			    slot->header + skip_header, sizeof(slot->header) - skip_header};
		}
		skip -= skip_header;
		if (slot->payload != NULL) {
			iov[n++] =
			    (struct iovec){(char *)slot->payload + skip, slot->length - skip};
		}
		skip = 0;
	}
	return n;
}

static void queue_advance(struct client *c, size_t sent)
{
	while (sent > 0) {
		const struct client_slot *slot = &c->slots[c->queue[c->queue_first]];
		size_t left = wire_size(slot) - c->sent_of_first;

		if (sent < left) {
			c->sent_of_first += sent;
			return;
		}
		sent -= left;
		c->sent_of_first = 0;
		c->queue_first = (c->queue_first + 1) % c->depth;
		c->queue_length--;
	}
}

int client_flush(struct client *c)
{
	while (c->queue_length > 0) {
		struct iovec iov[IOV_COUNT];
		struct msghdr message = {.msg_iov = iov, .msg_iovlen = queue_to_iov(c, iov)};
		ssize_t n = sendmsg(c->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN) {
			return 0;
		}
		if (n < 0) {
			return connection_failed(c, "the server closed the connection", -errno);
		}
		queue_advance(c, (size_t)n);
	}
	return 0;
}

/* -- receiving -- */

static int reply_begin(struct client *c, uint64_t handle, uint32_t error)
{
	if (handle >= c->depth || !c->slots[handle].busy) {
		return connection_failed(c, "a reply to no request", -EPROTO);
	}
	c->reply = &c->slots[handle];
	if (error != 0) {
		c->reply->error = error;
	}
	return 0;
}

static int simple_begin(struct client *c, const unsigned char *p)
{
	uint32_t error = load_be32(p + 4);
	int r = reply_begin(c, load_be64(p + 8), error);

	if (r < 0) {
		return r;
	}
	c->reply_ends = true;
	if (c->reply->op == CLIENT_READ && error == 0) {
		c->payload_left = c->reply->length;
		c->payload_offset = c->reply->offset;
	}
	c->in_start += SIMPLE_SIZE;
	return 0;
}

static int data_chunk_check(struct client *c, uint64_t offset, uint64_t len)
{
	const struct client_slot *slot = c->reply;

	if (slot->op != CLIENT_READ || offset < slot->offset ||
	    offset - slot->offset > slot->length || len > slot->length - (offset - slot->offset)) {
		return connection_failed(c, "data outside of the request", -EPROTO);
	}
	return 0;
}

static int hole_chunk(struct client *c, const unsigned char *p)
{
	uint64_t offset = load_be64(p);
	uint32_t len = load_be32(p + 8);
	int r = data_chunk_check(c, offset, len);

	if (r < 0) {
		return r;
	}
	if (c->callbacks->data != NULL) {
		c->callbacks->data(c->callbacks->ctx, c, c->reply, offset, NULL, len);
	}
	c->reply->received += len;
	return 0;
}

/* The fixed part behind the header of a chunk: 0 = not yet here, 1 = taken. */
static int chunk_begin(struct client *c, const unsigned char *p, size_t available)
{
	uint16_t type = load_be16(p + 6);
	uint32_t len = load_be32(p + 16);
	uint32_t fixed = 0;
	int r;

	if (type == NBD_REPLY_TYPE_OFFSET_DATA) {
		fixed = 8;
	} else if (type == NBD_REPLY_TYPE_OFFSET_HOLE) {
		fixed = 12;
	} else if ((type & NBD_REPLY_TYPE_ERROR_BIT) != 0) {
		fixed = 4;
	}
	if (len < fixed || len > CLIENT_MAX_LENGTH + 8) {
		return connection_failed(c, "a chunk of senseless length", -EPROTO);
	}
	if (available < CHUNK_SIZE + fixed) {
		return 0;
	}
	r = reply_begin(c, load_be64(p + 8), fixed == 4 ? load_be32(p + CHUNK_SIZE) : 0);
	if (r < 0) {
		return r;
	}
	c->reply_ends = (load_be16(p + 4) & NBD_REPLY_FLAG_DONE) != 0;
	c->skip_left = len - fixed;
	if (type == NBD_REPLY_TYPE_OFFSET_DATA) {
		c->payload_offset = load_be64(p + CHUNK_SIZE);
		c->payload_left = len - fixed;
		c->skip_left = 0;
		r = data_chunk_check(c, c->payload_offset, c->payload_left);
	} else if (type == NBD_REPLY_TYPE_OFFSET_HOLE) {
		r = hole_chunk(c, p + CHUNK_SIZE);
	}
	c->in_start += CHUNK_SIZE + fixed;
	return r < 0 ? r : 1;
}

/* 0 = more bytes are needed, 1 = a reply has begun. */
static int header_parse(struct client *c)
{
	const unsigned char *p = c->in + c->in_start;
	size_t available = c->in_end - c->in_start;
	int r;

	if (available < SIMPLE_SIZE) {
		return 0;
	}
	switch (load_be32(p)) {
	case NBD_SIMPLE_REPLY_MAGIC:
		r = simple_begin(c, p);
		return r < 0 ? r : 1;
	case NBD_STRUCTURED_REPLY_MAGIC:
		return available >= CHUNK_SIZE && c->structured ? chunk_begin(c, p, available) : 0;
	default: /* a number from outside */
		return connection_failed(c, "not a reply", -EPROTO);
	}
}

static void payload_take(struct client *c)
{
	uint32_t len = (uint32_t)MIN(c->in_end - c->in_start, (size_t)c->payload_left);
	uint32_t skip = (uint32_t)MIN(c->in_end - c->in_start, (size_t)c->skip_left);

	if (len > 0) {
		if (c->callbacks->data != NULL) {
			c->callbacks->data(c->callbacks->ctx, c, c->reply, c->payload_offset,
			    c->in + c->in_start, len);
		}
		c->reply->received += len;
		c->payload_offset += len;
		c->payload_left -= len;
		c->in_start += len;
	} else {
		c->skip_left -= skip;
		c->in_start += skip;
	}
}

static int reply_end(struct client *c)
{
	struct client_slot *slot = c->reply;

	c->reply = NULL;
	if (!c->reply_ends) {
		return 0;
	}
	if (slot->op == CLIENT_READ && slot->error == 0 && slot->received != slot->length) {
		return connection_failed(c, "a read that was answered in part", -EPROTO);
	}
	slot->busy = false;
	c->in_flight--;
	c->callbacks->done(c->callbacks->ctx, c, slot);
	return 0;
}

static int parse(struct client *c)
{
	while (true) {
		if (c->reply == NULL) {
			int r = header_parse(c);

			if (r <= 0) {
				return r;
			}
		}
		payload_take(c);
		if (c->payload_left > 0 || c->skip_left > 0) {
			if (c->in_start == c->in_end) {
				return 0;
			}
			continue;
		}
		if (reply_end(c) < 0) {
			return -EPROTO;
		}
	}
}

int client_receive(struct client *c, bool wait)
{
	size_t left = c->in_end - c->in_start;
	ssize_t n;

	/* What is left is less than a header. */
	memmove(c->in, c->in + c->in_start, left);
	c->in_start = 0;
	c->in_end = left;
	n = recv(c->fd, c->in + left, CLIENT_IN_SIZE - left, wait ? 0 : MSG_DONTWAIT);
	if (n < 0 && errno == EAGAIN) {
		return wait ? connection_failed(c, "the server is silent", -ETIMEDOUT) : 0;
	}
	if (n <= 0) {
		return connection_failed(
		    c, "the server closed the connection", n < 0 ? -errno : -ECONNRESET);
	}
	c->now_ns = usage_clock_ns();
	c->in_end += (size_t)n;
	return parse(c);
}

void client_close(struct client *c)
{
	unsigned char header[28] = {0};

	store_be32(header, NBD_REQUEST_MAGIC);
	store_be16(header + 6, NBD_CMD_DISC);
	if (c->failure == NULL && c->size > 0) {
		(void)send(c->fd, header, sizeof(header), MSG_NOSIGNAL | MSG_DONTWAIT);
	}
	close(c->fd);
	free(c->slots);
	free(c->queue);
	free(c->in);
}
