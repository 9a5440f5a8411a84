#include "lu/drivers/iscsi.h"

#include <errno.h>

enum iscsi_step { STEP_MAIN, STEP_SYNC };

struct iscsi_request {
	struct iscsi_link *link;
	struct scsi_task *task; /* ours; NULL = nothing is at the target */
	struct list node;	/* link's in_flight, done or retry */
	uint32_t progress;	/* blocks zeroed or unmapped so far */
	uint8_t tries;
	uint8_t step;
	int16_t status; /* an errno */
};
_Static_assert(sizeof(struct iscsi_request) <= HOP_DRIVER_BYTES, "leaves room for the hop");

#define MAX_TRIES 100
#define RETRY_DELAY_NS (20 * NS_PER_MS)
#define LBA_STATUS_BYTES (8 + 16 * 32)

static struct iscsi_request *request_of(struct io *io)
{
	return (struct iscsi_request *)(void *)io->driver;
}

static struct io *io_of(struct iscsi_request *req)
{
	return container_of((unsigned char *)req, struct io, driver);
}

static void end_request(struct iscsi_request *req, int status)
{
	req->status = (int16_t)status;
	list_remove(&req->node);
	list_append(&req->link->done, &req->node);
}

static void on_answer(struct iscsi_context *iscsi, int status, void *data, void *private_data);

/* The part of a DISCARD or WRITE_ZEROES that the next command handles. */
static uint32_t next_blocks(const struct iscsi_request *req, const struct io *io)
{
	const struct iscsi_session *s = iscsi_session_of(req->link);
	uint64_t left = io->length / s->block_size - req->progress;

	return (uint32_t)MIN(left, io->op == IO_DISCARD ? s->max_unmap_blocks : s->max_same_blocks);
}

static struct scsi_task *queue_command(struct iscsi_request *req, struct io *io)
{
	static unsigned char zero_block[65536];
	struct iscsi_link *l = req->link;
	const struct iscsi_session *s = iscsi_session_of(l);
	uint64_t lba = io->offset / s->block_size;
	uint32_t length = (uint32_t)io->length;
	int bs = (int)s->block_size;
	int lun = (int)s->address.lun;
	int fua = (io->flags & IO_FUA) ? 1 : 0;
	/* The library's struct is struct iovec by its own promise. */
	struct scsi_iovec *iov = (struct scsi_iovec *)(void *)io->iov;
	struct unmap_list unmap = {.lba = lba + req->progress, .num = next_blocks(req, io)};

	if (req->step == STEP_SYNC || io->op == IO_FLUSH) {
		return iscsi_synchronizecache16_task(l->iscsi, lun, 0, 0, 0, 0, on_answer, req);
	}
	switch (io->op) {
	case IO_READ:
		return iscsi_read16_iov_task(l->iscsi, lun, lba, length, bs, 0, 0, 0, 0, 0,
		    on_answer, req, iov, (int)io->iovcnt);
	case IO_WRITE:
		return iscsi_write16_iov_task(l->iscsi, lun, lba, NULL, length, bs, 0, 0, fua, 0, 0,
		    on_answer, req, iov, (int)io->iovcnt);
	case IO_DISCARD:
		return iscsi_unmap_task(l->iscsi, lun, 0, 0, &unmap, 1, on_answer, req);
	case IO_WRITE_ZEROES:
		return iscsi_writesame16_task(l->iscsi, lun, unmap.lba, zero_block, s->block_size,
		    unmap.num, 0, 1, 0, 0, on_answer, req);
	case IO_BLOCK_STATUS:
		return iscsi_get_lba_status_task(
		    l->iscsi, lun, lba, LBA_STATUS_BYTES, on_answer, req);
	case IO_FLUSH:
	case IO_OP_COUNT:
		break;
	}
	return NULL;
}

static void send_request(struct iscsi_request *req)
{
	struct iscsi_link *l = req->link;

	list_remove(&req->node);
	list_append(&l->in_flight, &req->node);
	req->task = queue_command(req, io_of(req));
	if (req->task == NULL) {
		end_request(req, -ENOMEM);
	}
}

static void read_lba_status(struct iscsi_request *req, struct scsi_task *task)
{
	const struct iscsi_session *s = iscsi_session_of(req->link);
	struct io *io = io_of(req);
	struct io_block_status *bs = io->block_status;
	struct scsi_get_lba_status *list = scsi_datain_unmarshall(task);
	uint64_t at = io->offset / s->block_size;
	uint64_t end = at + io->length / s->block_size;

	bs->count = 0;
	for (uint32_t i = 0; list != NULL && i < list->num_descriptors; i++) {
		const struct scsi_lba_status_descriptor *d = &list->descriptors[i];
		bool hole = d->provisioning != SCSI_PROVISIONING_TYPE_MAPPED;
		uint64_t stop = MIN(d->lba + d->num_blocks, end);

		if (d->lba > at || stop <= at || bs->count == bs->max) {
			break;
		}
		bs->extents[bs->count++] = (struct io_extent_status){
		    .length = (stop - at) * s->block_size,
		    .hole = hole,
		    .zero = hole && s->zeroes_when_unmapped,
		};
		at = stop;
	}
	end_request(req, bs->count > 0 ? 0 : -EIO);
}

/* A command went well: is the request done? */
static void advance(struct iscsi_request *req)
{
	struct io *io = io_of(req);
	bool in_parts = io->op == IO_DISCARD || io->op == IO_WRITE_ZEROES;

	if (!in_parts || req->step == STEP_SYNC) {
		end_request(req, 0);
		return;
	}
	req->progress += next_blocks(req, io);
	if (next_blocks(req, io) > 0) {
		send_request(req);
	} else if (io->flags & IO_FUA) {
		/* UNMAP and WRITE SAME have no FUA bit. */
		req->step = STEP_SYNC;
		send_request(req);
	} else {
		end_request(req, 0);
	}
}

static void try_again(struct iscsi_request *req, bool busy)
{
	struct iscsi_link *l = req->link;

	if (++req->tries > MAX_TRIES) {
		end_request(req, -EIO);
		return;
	}
	if (!busy) {
		send_request(req);
		return;
	}
	list_remove(&req->node);
	list_append(&l->retry, &req->node);
	if (!reactor_timer_armed(&l->retry_timer)) {
		reactor_timer_arm(l->link.reactor, &l->retry_timer, RETRY_DELAY_NS);
	}
}

void iscsi_link_retry(struct reactor_timer *t)
{
	struct iscsi_link *l = container_of(t, struct iscsi_link, retry_timer);
	struct list again;

	list_init(&again);
	list_splice(&again, &l->retry);
	while (!list_empty(&again)) {
		send_request(list_entry(again.next, struct iscsi_request, node));
	}
	iscsi_link_kick(l);
}

static void on_answer(struct iscsi_context *iscsi, int status, void *data, void *private_data)
{
	struct iscsi_request *req = private_data;
	struct iscsi_link *l = req->link;
	struct scsi_task *task = req->task != NULL ? req->task : data;
	bool busy = false;
	int r;

	if (l->dropping) {
		return;
	}
	req->task = NULL;
	r = iscsi_map_status(status, task == NULL ? NULL : &task->sense, &busy);
	if (r == 0 && io_of(req)->op == IO_READ &&
	    task->residual_status == SCSI_RESIDUAL_UNDERFLOW) {
		r = -EIO; /* less data than asked for */
	}
	if (r == IO_REQUEUE) {
		try_again(req, busy);
	} else if (r < 0) {
		end_request(req, r);
	} else if (io_of(req)->op == IO_BLOCK_STATUS) {
		read_lba_status(req, task);
	} else {
		advance(req);
	}
	if (task != NULL) {
		scsi_free_scsi_task(task);
	}
}

static void finish(struct iscsi_link *l, struct iscsi_request *req)
{
	struct io *io = io_of(req);
	int status = req->status;

	if (io_op_changes(io->op) && io_status_is_transport(status)) {
		l->in_doubt = true;
	}
	link_complete(&l->link, io, status);
}

void iscsi_link_reap(struct iscsi_link *l)
{
	struct list *node;

	if (l->reaping) {
		return;
	}
	l->reaping = true;
	while ((node = list_pop(&l->done)) != NULL) {
		finish(l, list_entry(node, struct iscsi_request, node));
	}
	l->reaping = false;
}

static void abort_list(struct iscsi_link *l, struct list *from, int status)
{
	while (!list_empty(from)) {
		struct iscsi_request *req = list_entry(from->next, struct iscsi_request, node);

		if (req->task != NULL) {
			scsi_free_scsi_task(req->task);
			req->task = NULL;
		}
		end_request(req, status);
	}
}

void iscsi_link_abort_all(struct iscsi_link *l, int status)
{
	sluice_assert(l->iscsi == NULL);
	reactor_timer_cancel(l->link.reactor, &l->retry_timer);
	abort_list(l, &l->in_flight, status);
	abort_list(l, &l->retry, status);
	iscsi_link_reap(l);
}

/* 0 = can be sent. */
static int check_request(const struct iscsi_session *s, const struct io *io)
{
	switch (io->op) {
	case IO_READ:
	case IO_WRITE:
		if (io->length > s->session.lu.target.limits.max_transfer ||
		    !IS_ALIGNED(io->offset | io->length, s->block_size)) {
			return -EINVAL;
		}
		return 0;
	case IO_DISCARD:
		return s->max_unmap_blocks > 0 ? 0 : -EOPNOTSUPP;
	case IO_WRITE_ZEROES:
		/* Zeros come by unmapping, which NO_HOLE forbids. */
		return s->max_same_blocks > 0 && !(io->flags & IO_NO_HOLE) ? 0 : -EOPNOTSUPP;
	case IO_BLOCK_STATUS:
		return s->lba_status ? 0 : -EOPNOTSUPP;
	case IO_FLUSH:
	case IO_OP_COUNT:
		break;
	}
	return 0;
}

void iscsi_link_submit(struct session_link *link, struct io *io)
{
	struct iscsi_link *l = (struct iscsi_link *)link;
	struct iscsi_request *req = request_of(io);
	int r = check_request(iscsi_session_of(l), io);

	if (r < 0) {
		link_complete(link, io, r);
		return;
	}
	*req = (struct iscsi_request){.link = l, .step = STEP_MAIN};
	list_init(&req->node);
	send_request(req);
	iscsi_link_kick(l);
}
