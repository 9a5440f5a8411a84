#include "lu/drivers/nbd.h"

#include "reactor/buffer.h"

#include <errno.h>

struct nbd_request {
	struct nbd_link *link;
	void *bounce;
	unsigned pending; /* commands that are not answered, and one while they are being issued */
	int status;
	struct list node; /* link's in_flight, done or waiting */
};
_Static_assert(sizeof(struct nbd_request) <= HOP_DRIVER_BYTES, "leaves room for the hop");

/* Per link; one request may always have one, however long. */
#define BOUNCE_MAX_BYTES (16u << 20)
/* A vector of whole blocks goes out entry by entry up to here, else through a bounce buffer. */
#define MAX_PIECES 16u
/* Lengths are 32 bit on the wire. */
#define MAX_COMMAND_BYTES (1u << 31)

static struct nbd_request *request_of(struct io *io)
{
	return (struct nbd_request *)(void *)io->driver;
}

static struct io *io_of(struct nbd_request *req)
{
	return container_of((unsigned char *)req, struct io, driver);
}

static void release(struct nbd_request *req)
{
	req->pending--;
	if (req->pending == 0) {
		list_remove(&req->node);
		list_append(&req->link->done, &req->node);
	}
}

/* libnbd's, for every command; 1 retires it. */
static int on_completion(void *user_data, int *error)
{
	struct nbd_request *req = user_data;

	if (*error != 0 && req->status == 0) {
		req->status = -*error;
	}
	release(req);
	return 1;
}

/* base:allocation of the NBD protocol: bit 0 = hole, bit 1 = zero. */
static int on_extents(void *user_data, const char *context, uint64_t offset, uint32_t *entries,
    size_t nr_entries, int *error)
{
	struct nbd_request *req = user_data;
	struct io *io = io_of(req);
	struct io_block_status *bs = io->block_status;
	uint64_t room = io->length;

	for (unsigned i = 0; i < bs->count; i++) {
		room -= bs->extents[i].length;
	}
	for (size_t i = 0; i + 1 < nr_entries && bs->count < bs->max && room > 0; i += 2) {
		uint64_t length = MIN(entries[i], room);

		if (length == 0) {
			continue;
		}
		bs->extents[bs->count++] = (struct io_extent_status){
		    .length = length,
		    .hole = (entries[i + 1] & LIBNBD_STATE_HOLE) != 0,
		    .zero = (entries[i + 1] & LIBNBD_STATE_ZERO) != 0,
		};
		room -= length;
	}
	return 0;
}

static int64_t send_command(
    struct nbd_link *l, struct io *io, void *buffer, uint64_t length, uint64_t offset)
{
	nbd_completion_callback done = {.callback = on_completion, .user_data = request_of(io)};
	nbd_extent_callback extents = {.callback = on_extents, .user_data = request_of(io)};
	uint32_t flags = (io->flags & IO_FUA) ? LIBNBD_CMD_FLAG_FUA : 0;

	switch (io->op) {
	case IO_READ:
		return nbd_aio_pread(l->nbd, buffer, length, offset, done, 0);
	case IO_WRITE:
		return nbd_aio_pwrite(l->nbd, buffer, length, offset, done, flags);
	case IO_FLUSH:
		return nbd_aio_flush(l->nbd, done, 0);
	case IO_DISCARD:
		return nbd_aio_trim(l->nbd, length, offset, done, flags);
	case IO_WRITE_ZEROES:
		flags |= (io->flags & IO_NO_HOLE) ? LIBNBD_CMD_FLAG_NO_HOLE : 0;
		flags |= (io->flags & IO_FAST) ? LIBNBD_CMD_FLAG_FAST_ZERO : 0;
		return nbd_aio_zero(l->nbd, length, offset, done, flags);
	case IO_BLOCK_STATUS:
		return nbd_aio_block_status(l->nbd, length, offset, extents, done, 0);
	case IO_OP_COUNT:
		break;
	}
	return -1;
}

static void issue(struct nbd_request *req, void *buffer, uint64_t length, uint64_t offset)
{
	req->pending++;
	if (send_command(req->link, io_of(req), buffer, length, offset) < 0) {
		int e = nbd_get_errno();

		if (req->status == 0) {
			req->status = e > 0 ? -e : -EIO;
		}
		release(req);
	}
}

static void issue_unbuffered(struct nbd_request *req)
{
	struct io *io = io_of(req);
	uint64_t at = 0;

	if (!io_op_ranged(io->op)) {
		issue(req, NULL, 0, 0);
		return;
	}
	do {
		uint64_t n = MIN(io->length - at, MAX_COMMAND_BYTES);

		issue(req, NULL, n, io->offset + at);
		at += n;
		/* The answer to a question may be about its beginning only. */
	} while (at < io->length && io->op != IO_BLOCK_STATUS);
}

static void issue_all(struct nbd_request *req)
{
	struct nbd_link *l = req->link;
	struct io *io = io_of(req);
	uint64_t offset = io->offset;

	list_append(&l->in_flight, &req->node);
	req->pending = 1;
	if (io_op_payload(io->op) == IO_PAYLOAD_NONE) {
		issue_unbuffered(req);
	} else if (req->bounce != NULL) {
		issue(req, req->bounce, io->length, offset);
	} else {
		for (unsigned i = 0; i < io->iovcnt; i++) {
			issue(req, io->iov[i].iov_base, io->iov[i].iov_len, offset);
			offset += io->iov[i].iov_len;
		}
	}
	release(req);
}

static bool needs_bounce(const struct nbd_link *l, const struct io *io)
{
	uint32_t block = l->link.session->lu.target.limits.block_size;

	if (io_op_payload(io->op) == IO_PAYLOAD_NONE || io->iovcnt == 1) {
		return false;
	}
	for (unsigned i = 0; i < io->iovcnt; i++) {
		if (!IS_ALIGNED(io->iov[i].iov_len, block) || io->iov[i].iov_len == 0) {
			return true;
		}
	}
	return io->iovcnt > MAX_PIECES;
}

/* False: no buffer now, but others will be given back. */
static bool take_bounce(struct nbd_link *l, struct nbd_request *req)
{
	struct io *io = io_of(req);

	if (l->bounced > 0 && l->bounced + io->length > BOUNCE_MAX_BYTES) {
		return false;
	}
	req->bounce = buffer_get(buffer_pool_current(), (uint32_t)io->length);
	if (req->bounce == NULL) {
		return false;
	}
	l->bounced += io->length;
	if (io->op == IO_WRITE) {
		io_iov_to_buffer(io->iov, io->iovcnt, req->bounce);
	}
	return true;
}

static void finish(struct nbd_link *l, struct nbd_request *req)
{
	struct io *io = io_of(req);
	int status = req->status;

	if (req->bounce != NULL) {
		if (status == 0 && io->op == IO_READ) {
			io_iov_from_buffer(io->iov, io->iovcnt, req->bounce);
		}
		buffer_put(buffer_pool_current(), req->bounce, (uint32_t)io->length);
		l->bounced -= io->length;
	}
	if (io_op_changes(io->op) && io_status_is_transport(status) && status != -ESHUTDOWN) {
		/* ESHUTDOWN is the server's own answer; the others mean that none came. */
		l->in_doubt = true;
	}
	if (status == 0 && io->op == IO_BLOCK_STATUS && io->block_status->count == 0) {
		status = -EIO;
	}
	l->answered++;
	link_complete(&l->link, io, status);
}

static void run_waiting(struct nbd_link *l)
{
	while (l->nbd != NULL && !list_empty(&l->waiting)) {
		struct nbd_request *req = list_entry(l->waiting.next, struct nbd_request, node);

		if (!take_bounce(l, req)) {
			break;
		}
		list_remove(&req->node);
		issue_all(req);
	}
}

void nbd_link_reap(struct nbd_link *l)
{
	struct list *node;

	if (l->reaping) {
		return;
	}
	l->reaping = true;
	while ((node = list_pop(&l->done)) != NULL) {
		finish(l, list_entry(node, struct nbd_request, node));
		run_waiting(l);
	}
	l->reaping = false;
}

void nbd_link_drop(struct nbd_link *l, int status)
{
	nbd_close(l->nbd);
	l->nbd = NULL;
	list_for_each (pos, &l->in_flight) {
		list_entry(pos, struct nbd_request, node)->status = status;
	}
	list_for_each (pos, &l->waiting) {
		list_entry(pos, struct nbd_request, node)->status = status;
	}
	list_splice(&l->done, &l->in_flight);
	list_splice(&l->done, &l->waiting);
	nbd_link_reap(l);
}

/* 0 = can be sent. */
static int check_request(const struct nbd_session *s, const struct io *io)
{
	const struct io_limits *limits = &s->session.lu.target.limits;

	if ((io->flags & IO_FUA) && !s->can_fua) {
		return -EOPNOTSUPP;
	}
	switch (io->op) {
	case IO_READ:
	case IO_WRITE:
		return io->length > limits->max_transfer ? -EINVAL : 0;
	case IO_DISCARD:
		return s->can_trim ? 0 : -EOPNOTSUPP;
	case IO_WRITE_ZEROES:
		if (!s->can_zero || ((io->flags & IO_FAST) && !s->can_fast_zero)) {
			return -EOPNOTSUPP;
		}
		return 0;
	case IO_BLOCK_STATUS:
		return limits->block_status ? 0 : -EOPNOTSUPP;
	case IO_FLUSH:
	case IO_OP_COUNT:
		break;
	}
	return 0;
}

void nbd_link_submit(struct session_link *link, struct io *io)
{
	struct nbd_link *l = (struct nbd_link *)link;
	const struct nbd_session *s = nbd_session_of(l);
	struct nbd_request *req = request_of(io);
	bool nothing = io->op == IO_FLUSH && !s->can_flush;
	int r = check_request(s, io);

	if (unlikely(r < 0 || nothing)) {
		link_complete(link, io, r);
		return;
	}
	*req = (struct nbd_request){.link = l};
	list_init(&req->node);
	if (io->op == IO_BLOCK_STATUS) {
		io->block_status->count = 0;
	}
	if (needs_bounce(l, io) && (!list_empty(&l->waiting) || !take_bounce(l, req))) {
		if (l->bounced == 0) {
			link_complete(link, io, -ENOMEM);
			return;
		}
		list_append(&l->waiting, &req->node);
		return;
	}
	issue_all(req);
	nbd_link_settle(l);
}
