/*
 * Files and block devices through io_uring: O_DIRECT where the file system can, else the page cache
 * with the same durability (RWF_DSYNC, fdatasync).
 *
 * What has no asynchronous form runs on a worker thread of the session: opening (home link) and
 * lseek() for BLOCK_STATUS. A request that the kernel has cannot be taken back, so close() waits
 * for those in flight; a local file is fenced when they have ended.
 */
#include "lu/drivers/address.h"
#include "lu/drivers/file_backing.h"
#include "lu/drivers/worker.h"
#include "lu/session.h"
#include "reactor/buffer.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct file_session {
	struct session session; /* first */
	struct file_backing_params params;
	struct file_backing backing;
	struct worker *worker;
	struct worker_job open_job;
	struct error open_error;
};

struct file_link {
	struct session_link link; /* first */
	bool opening;		  /* the worker has the open job */
	int slot;		  /* of the reactor's registered files, < 0 = none */
	bool no_punch;		  /* the file system said that it cannot */
	bool no_zero;
	uint64_t bounced;    /* bytes of bounce buffers in use */
	struct list waiting; /* requests for one */
};

enum file_step {
	STEP_TRANSFER,	 /* READ, WRITE; or reading a whole request into a bounce buffer */
	STEP_PUNCH,	 /* deallocate */
	STEP_ZERO,	 /* zero, keeping the blocks */
	STEP_WRITE_ZERO, /* zero by writing */
	STEP_SYNC,	 /* the last one */
};

struct file_request {
	struct reactor_op op;
	struct file_link *link;
	uint64_t done; /* bytes transferred so far */
	void *bounce;
	struct list waiting;
	enum file_step step;
};
_Static_assert(sizeof(struct file_request) <= IO_DRIVER_BYTES, "fits the request's scratch");

/* A BLOCK_STATUS on the worker. */
struct file_query {
	struct worker_job job;
	struct file_link *link;
	int status;
};
_Static_assert(sizeof(struct file_query) <= IO_DRIVER_BYTES, "fits the request's scratch");

/* Per link; one request may always have one, however long. */
#define BOUNCE_MAX_BYTES (16u << 20)

static _Alignas(4096) const unsigned char zeros[128u << 10];

static const struct address_member members[] = {
    {"path", JSON_STRING, true, "\"/var/lib/images/disk.img\""},
    {"size", JSON_INTEGER, false, "1073741824"},
    {"device", JSON_TRUE, false, "true"},
    {"read_only", JSON_TRUE, false, "true"},
};

static int file_check(const json_t *address, struct error *err)
{
	int r = address_check(address, members, ARRAY_SIZE(members), err);

	if (r < 0) {
		return r;
	}
	if (address_string(address, "path")[0] != '/') {
		error_set(err, -EINVAL, "\"path\" must be absolute");
		error_hint(err, "e.g. %s", members[0].example);
		return -EINVAL;
	}
	if (json_is_true(json_object_get(address, "device")) &&
	    json_object_get(address, "size") != NULL) {
		error_set(err, -EINVAL, "a block device has its own size");
		error_hint(err, "leave \"size\" out");
		return -EINVAL;
	}
	return address_check_size(address, "size", err);
}

static void file_describe(const json_t *address, char *buf, size_t len)
{
	snprintf(buf, len, "%s", address_string(address, "path"));
}

static struct file_session *session_of(struct file_link *l)
{
	return (struct file_session *)l->link.session;
}

static struct file_request *request_of(struct io *io)
{
	return (struct file_request *)(void *)io->driver;
}

static struct io *io_of(struct file_request *req)
{
	return container_of((unsigned char *)req, struct io, driver);
}

/* -- opening and closing */

static void finish_close(struct file_link *l)
{
	if (l->link.state == LINK_CLOSING && l->link.in_flight == 0 && !l->opening) {
		if (l->slot >= 0) {
			reactor_file_unregister(l->link.reactor, l->slot);
		}
		link_closed(&l->link);
		link_fenced(&l->link);
	}
}

static void run_open(struct worker_job *job)
{
	struct file_session *s = container_of(job, struct file_session, open_job);

	error_clear(&s->open_error);
	file_backing_open(&s->params, &s->backing, &s->open_error);
}

static void describe_target(struct file_session *s)
{
	const struct file_backing *b = &s->backing;
	struct lu_session *lu = &s->session.lu;

	lu->target.size = b->size;
	lu->target.limits = (struct io_limits){
	    .block_size = b->block_size,
	    .preferred_size = b->preferred_size,
	    .max_transfer = BUFFER_MAX_SIZE,
	    .max_iov = 1024, /* UIO_MAXIOV */
	    .memory_alignment = b->memory_alignment,
	    .discard_granularity = b->discard_granularity,
	    .write_zeroes = true,
	    .fua = true,
	    .flush = true,
	    .read_only = s->params.read_only,
	    .block_status = !s->params.device,
	    .coherent = true,
	};
	snprintf(lu->identity.text, sizeof(lu->identity.text), "%s", b->identity);
}

/* Without a slot the descriptor itself serves. */
static void become_open(struct file_link *l)
{
	l->slot = reactor_file_register(l->link.reactor, session_of(l)->backing.fd);
	link_opened(&l->link, NULL);
}

static void done_open(struct worker_job *job)
{
	struct file_session *s = container_of(job, struct file_session, open_job);
	struct file_link *l = (struct file_link *)s->session.links[s->session.home];

	l->opening = false;
	if (link_is_closing(&l->link)) {
		finish_close(l);
	} else if (s->open_error.code != 0) {
		link_opened(&l->link, &s->open_error);
	} else {
		describe_target(s);
		become_open(l);
	}
}

static void file_link_open(struct session_link *link)
{
	struct file_link *l = (struct file_link *)link;
	struct file_session *s = session_of(l);

	list_init(&l->waiting);
	l->slot = -1;
	if (link->index != s->session.home) {
		become_open(l);
		return;
	}
	l->opening = true;
	worker_submit(s->worker, link->reactor, &s->open_job, run_open, done_open);
}

static void file_complete(struct file_link *l, struct io *io, int status)
{
	link_complete(&l->link, io, status);
	finish_close(l);
}

static void file_link_close(struct session_link *link)
{
	struct file_link *l = (struct file_link *)link;
	struct list *node;

	while ((node = list_pop(&l->waiting)) != NULL) {
		struct file_request *req = list_entry(node, struct file_request, waiting);

		link_complete(link, io_of(req), -ECONNABORTED);
	}
	finish_close(l);
}

static void file_link_abandon(struct session_link *link)
{
	/* It was fenced when it closed. */
}

static void file_session_free(struct session *session)
{
	struct file_session *s = (struct file_session *)session;

	worker_free(s->worker);
	file_backing_close(&s->backing);
	free((char *)s->params.path);
}

/* -- transfers */

static struct io_uring_sqe *request_sqe(struct file_request *req, enum file_step step)
{
	req->step = step;
	return reactor_sqe(req->link->link.reactor, &req->op);
}

/* After the library's prep function, which sets the descriptor. */
static void use_slot(const struct file_link *l, struct io_uring_sqe *sqe)
{
	if (likely(l->slot >= 0)) {
		sqe->fd = l->slot;
		sqe->flags |= IOSQE_FIXED_FILE;
	}
}

/* One piece of what is left: all of it in a bounce buffer, else the rest of one entry. */
static struct iovec next_piece(struct file_request *req)
{
	struct io *io = io_of(req);
	uint64_t skip = req->done;
	unsigned i = 0;

	if (req->bounce != NULL) {
		return (struct iovec){(char *)req->bounce + skip, io->length - skip};
	}
	while (skip >= io->iov[i].iov_len) {
		skip -= io->iov[i].iov_len;
		i++;
	}
	return (struct iovec){(char *)io->iov[i].iov_base + skip, io->iov[i].iov_len - skip};
}

static void transfer_done(struct file_request *req, int res);

/*
 * A file in memory has no asynchronous way: io_uring would give each request to a kernel thread, which costs several times
 * the copy. So the copy is made here.
 */
static void copy_transfer(struct file_request *req)
{
	struct io *io = io_of(req);
	int fd = session_of(req->link)->backing.fd;
	off_t at = (off_t)(io->offset + req->done);
	struct iovec piece = {0};
	ssize_t n;

	if (req->done > 0 || io->iovcnt == 1) {
		piece = next_piece(req);
		n = io->op == IO_WRITE ? pwrite(fd, piece.iov_base, piece.iov_len, at)
				       : pread(fd, piece.iov_base, piece.iov_len, at);
	} else {
		n = io->op == IO_WRITE ? pwritev(fd, io->iov, (int)io->iovcnt, at)
				       : preadv(fd, io->iov, (int)io->iovcnt, at);
	}
	transfer_done(req, n < 0 ? -errno : (int)n);
}

/* The whole vector at first; after a short transfer piece by piece. */
static void submit_transfer(struct file_request *req)
{
	struct io *io = io_of(req);
	const struct file_backing *b = &session_of(req->link)->backing;
	bool write = io->op == IO_WRITE;
	bool whole = req->bounce == NULL && req->done == 0 && io->iovcnt > 1;
	uint64_t at = io->offset + req->done;
	struct io_uring_sqe *sqe;
	struct iovec piece;

	if (b->in_memory) {
		copy_transfer(req);
		return;
	}
	sqe = request_sqe(req, STEP_TRANSFER);

	if (whole && write) {
		io_uring_prep_writev(sqe, b->fd, io->iov, io->iovcnt, at);
	} else if (whole) {
		io_uring_prep_readv(sqe, b->fd, io->iov, io->iovcnt, at);
	} else {
		piece = next_piece(req);
		if (write) {
			io_uring_prep_write(
			    sqe, b->fd, piece.iov_base, (unsigned)piece.iov_len, at);
		} else {
			io_uring_prep_read(sqe, b->fd, piece.iov_base, (unsigned)piece.iov_len, at);
		}
	}
	if (write && (io->flags & IO_FUA)) {
		sqe->rw_flags = RWF_DSYNC;
	}
	use_slot(req->link, sqe);
}

static bool needs_bounce(const struct file_backing *b, const struct io *io)
{
	if (!b->direct) {
		return false;
	}
	for (unsigned i = 0; i < io->iovcnt; i++) {
		/* Addresses as DMA wants them, lengths in whole blocks. */
		if (!IS_ALIGNED((uintptr_t)io->iov[i].iov_base, b->memory_alignment) ||
		    !IS_ALIGNED(io->iov[i].iov_len, b->block_size)) {
			return true;
		}
	}
	return false;
}

/* False: no buffer now, but others will be given back. */
static bool take_bounce(struct file_link *l, struct file_request *req)
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

static void put_bounce(struct file_link *l, struct file_request *req)
{
	struct io *io = io_of(req);

	buffer_put(buffer_pool_current(), req->bounce, (uint32_t)io->length);
	req->bounce = NULL;
	l->bounced -= io->length;
}

static void run_waiting(struct file_link *l)
{
	while (!list_empty(&l->waiting)) {
		struct file_request *req =
		    list_entry(l->waiting.next, struct file_request, waiting);

		if (!take_bounce(l, req)) {
			break;
		}
		list_remove(&req->waiting);
		submit_transfer(req);
	}
}

static void end_transfer(struct file_request *req, int status)
{
	struct file_link *l = req->link;
	struct io *io = io_of(req);

	if (req->bounce != NULL) {
		if (status == 0 && io->op == IO_READ) {
			io_iov_from_buffer(io->iov, io->iovcnt, req->bounce);
		}
		put_bounce(l, req);
		run_waiting(l);
	}
	file_complete(l, io, status);
}

static void start_transfer(struct file_link *l, struct io *io)
{
	struct file_request *req = request_of(io);

	if (likely(!needs_bounce(&session_of(l)->backing, io))) {
		submit_transfer(req);
		return;
	}
	if (io->length > BUFFER_MAX_SIZE) {
		file_complete(l, io, -EINVAL);
		return;
	}
	if (list_empty(&l->waiting) && take_bounce(l, req)) {
		submit_transfer(req);
	} else if (l->bounced > 0) {
		list_append(&l->waiting, &req->waiting);
	} else {
		file_complete(l, io, -ENOMEM);
	}
}

static void transfer_done(struct file_request *req, int res)
{
	struct io *io = io_of(req);
	const struct file_backing *b = &session_of(req->link)->backing;
	uint64_t progress;

	if (res == -EINTR || res == -EAGAIN) {
		submit_transfer(req);
		return;
	}
	if (res < 0) {
		end_transfer(req, res);
		return;
	}
	if (req->done + (uint64_t)res == io->length) {
		end_transfer(req, 0);
		return;
	}
	/* O_DIRECT goes on at a block. No progress: the file was cut off, or is out of room. */
	progress = b->direct ? ALIGN_DOWN(req->done + (uint64_t)res, b->block_size) - req->done
			     : (uint64_t)res;
	if (progress == 0) {
		end_transfer(req, io->op == IO_WRITE ? -ENOSPC : -EIO);
		return;
	}
	req->done += progress;
	submit_transfer(req);
}

/* -- discard, zeroes, flush */

static void submit_fallocate(struct file_request *req, enum file_step step, int mode)
{
	struct io *io = io_of(req);
	struct io_uring_sqe *sqe = request_sqe(req, step);

	io_uring_prep_fallocate(sqe, session_of(req->link)->backing.fd, mode | FALLOC_FL_KEEP_SIZE,
	    (off_t)io->offset, (off_t)io->length);
	use_slot(req->link, sqe);
}

static void submit_punch(struct file_request *req)
{
	submit_fallocate(req, STEP_PUNCH, FALLOC_FL_PUNCH_HOLE);
}

static void submit_sync(struct file_request *req)
{
	struct io_uring_sqe *sqe = request_sqe(req, STEP_SYNC);

	io_uring_prep_fsync(sqe, session_of(req->link)->backing.fd, IORING_FSYNC_DATASYNC);
	use_slot(req->link, sqe);
}

static void submit_zero_write(struct file_request *req)
{
	struct io *io = io_of(req);
	struct io_uring_sqe *sqe = request_sqe(req, STEP_WRITE_ZERO);

	io_uring_prep_write(sqe, session_of(req->link)->backing.fd, zeros,
	    (unsigned)MIN(io->length - req->done, sizeof(zeros)), io->offset + req->done);
	use_slot(req->link, sqe);
}

/* The best way that is left: a hole if that is allowed, zeroed blocks, written zeros. */
static void submit_zeroes(struct file_request *req)
{
	struct file_link *l = req->link;
	struct io *io = io_of(req);
	/* The kernel zeroes a device by writing if it must. */
	bool zero_is_slow = session_of(l)->params.device;

	if (!(io->flags & IO_NO_HOLE) && !l->no_punch) {
		submit_punch(req);
	} else if (!l->no_zero && !(zero_is_slow && (io->flags & IO_FAST))) {
		submit_fallocate(req, STEP_ZERO, FALLOC_FL_ZERO_RANGE);
	} else if (io->flags & IO_FAST) {
		file_complete(l, io, -EOPNOTSUPP);
	} else {
		submit_zero_write(req);
	}
}

static void end_change(struct file_request *req)
{
	struct io *io = io_of(req);

	if (io->flags & IO_FUA) {
		submit_sync(req);
	} else {
		file_complete(req->link, io, 0);
	}
}

static void allocation_done(struct file_request *req, int res)
{
	struct file_link *l = req->link;
	struct io *io = io_of(req);

	if (res == -EINTR || res == -EAGAIN) {
		submit_fallocate(req, req->step,
		    req->step == STEP_PUNCH ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE);
		return;
	}
	if (res != -EOPNOTSUPP && res != -ENOSYS) {
		if (res < 0) {
			file_complete(l, io, res);
		} else {
			end_change(req);
		}
		return;
	}
	if (req->step == STEP_PUNCH) {
		l->no_punch = true;
	} else {
		l->no_zero = true;
	}
	if (io->op == IO_DISCARD) {
		file_complete(l, io, 0); /* advice: keeping the data follows it too */
	} else {
		submit_zeroes(req);
	}
}

static void zero_write_done(struct file_request *req, int res)
{
	struct io *io = io_of(req);

	if (res <= 0 && res != -EINTR && res != -EAGAIN) {
		file_complete(req->link, io, res < 0 ? res : -ENOSPC);
		return;
	}
	req->done += res > 0 ? (uint64_t)res : 0;
	if (req->done < io->length) {
		submit_zero_write(req);
	} else {
		end_change(req);
	}
}

static void request_done(struct reactor_op *op, int res, uint32_t flags)
{
	struct file_request *req = container_of(op, struct file_request, op);

	switch (req->step) {
	case STEP_TRANSFER:
		transfer_done(req, res);
		break;
	case STEP_PUNCH:
	case STEP_ZERO:
		allocation_done(req, res);
		break;
	case STEP_WRITE_ZERO:
		zero_write_done(req, res);
		break;
	case STEP_SYNC:
		file_complete(req->link, io_of(req), MIN(res, 0));
		break;
	}
}

/* -- block status */

static void add_extent(struct io_block_status *bs, uint64_t length, bool hole)
{
	bs->extents[bs->count++] =
	    (struct io_extent_status){.length = length, .hole = hole, .zero = hole};
}

/* lseek(2): the end of a file is the border of a hole; ENXIO: no data up to the end. */
static int find_extents(int fd, struct range r, struct io_block_status *bs)
{
	uint64_t at = r.offset;
	uint64_t end = range_end(r);

	bs->count = 0;
	while (at < end && bs->count < bs->max) {
		off_t data = lseek(fd, (off_t)at, SEEK_DATA);
		off_t next;

		if (data < 0 && errno != ENXIO) {
			return -errno;
		}
		if (data < 0 || (uint64_t)data > at) {
			uint64_t stop = data < 0 ? end : MIN((uint64_t)data, end);

			add_extent(bs, stop - at, true);
			at = stop;
			continue;
		}
		next = lseek(fd, (off_t)at, SEEK_HOLE);
		if (next < 0) {
			return -errno;
		}
		next = (off_t)MIN((uint64_t)next, end);
		add_extent(bs, (uint64_t)next - at, false);
		at = (uint64_t)next;
	}
	return 0;
}

static void run_query(struct worker_job *job)
{
	struct file_query *q = container_of(job, struct file_query, job);
	struct io *io = container_of((unsigned char *)q, struct io, driver);

	q->status = find_extents(session_of(q->link)->backing.fd, io_range(io), io->block_status);
}

static void done_query(struct worker_job *job)
{
	struct file_query *q = container_of(job, struct file_query, job);
	struct io *io = container_of((unsigned char *)q, struct io, driver);

	file_complete(q->link, io, q->status);
}

static void start_query(struct file_link *l, struct io *io)
{
	struct file_query *q = (struct file_query *)(void *)io->driver;

	if (session_of(l)->params.device) {
		file_complete(l, io, -EOPNOTSUPP);
		return;
	}
	q->link = l;
	worker_submit(session_of(l)->worker, l->link.reactor, &q->job, run_query, done_query);
}

static void file_link_submit(struct session_link *link, struct io *io)
{
	struct file_link *l = (struct file_link *)link;
	struct file_request *req = request_of(io);

	req->op.done = request_done;
	req->link = l;
	req->done = 0;
	req->bounce = NULL;
	switch (io->op) {
	case IO_READ:
	case IO_WRITE:
		start_transfer(l, io);
		break;
	case IO_FLUSH:
		submit_sync(req);
		break;
	case IO_DISCARD:
		if (l->no_punch) {
			file_complete(l, io, 0);
		} else {
			submit_punch(req);
		}
		break;
	case IO_WRITE_ZEROES:
		submit_zeroes(req);
		break;
	case IO_BLOCK_STATUS:
		start_query(l, io);
		break;
	case IO_OP_COUNT:
		file_complete(l, io, -EOPNOTSUPP);
		break;
	}
}

static const struct link_ops file_link_ops = {
    .kind = "file",
    .session_size = sizeof(struct file_session),
    .link_size = sizeof(struct file_link),
    .open = file_link_open,
    .submit = file_link_submit,
    .close = file_link_close,
    .abandon = file_link_abandon,
    .free = file_session_free,
};

static const struct io_target_ops file_target_ops = {"file"};

static int file_open(
    const struct lu_session_params *params, struct lu_session **ret_session, struct error *err)
{
	struct file_session *s;
	struct session *session;
	int r = session_new(params, &lu_driver_file, &file_link_ops, &session, err);

	if (r < 0) {
		return r;
	}
	s = (struct file_session *)session;
	s->backing.fd = -1;
	s->params = (struct file_backing_params){
	    .path = strdup(address_string(params->address, "path")),
	    .size = address_integer(params->address, "size"),
	    .device = json_is_true(json_object_get(params->address, "device")),
	    .read_only = json_is_true(json_object_get(params->address, "read_only")),
	};
	r = s->params.path == NULL ? error_set(err, -ENOMEM, "out of memory")
				   : worker_new(&s->worker, err);
	if (r < 0) {
		session_discard(session);
		return r;
	}
	session->lu.target.ops = &file_target_ops;
	session_start(session, params->connect_timeout_ns);
	*ret_session = &session->lu;
	return 0;
}

const struct lu_driver lu_driver_file = {
    .kind = "file",
    .flags = LU_DRIVER_LOCAL,
    .check = file_check,
    .describe = file_describe,
    .open = file_open,
    .close = session_close,
    .abandon = session_abandon,
};
