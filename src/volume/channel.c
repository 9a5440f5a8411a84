/*
 * From the gate to the targets: a request that lies in one extent is translated and passed on; one
 * that does not is split.
 */
#include <errno.h>
#include <stdlib.h>

#include "volume/volume_io.h"

#define NR_SPLITS 8
#define NR_PIECES 16
#define PIECE_IOVS VOLUME_MAX_IOV

/* A part of a request, with a struct io of its own. */
struct volume_piece {
	struct io io;
	struct volume_split *split;
	struct list link;
	struct iovec iov[PIECE_IOVS];
};

/* A request that goes to several places. */
struct volume_split {
	struct volume_channel *vc;
	struct io *parent;
	uint64_t
	    next; /* bytes of the parent that were sent so far; for FLUSH the number of targets */
	unsigned pending;
	int status;
	struct list link;
};

struct volume_stock {
	struct volume_split splits[NR_SPLITS];
	struct volume_piece pieces[NR_PIECES];
};

static void split_run(struct volume_split *s);

/* -- the stock -- */

static void split_start(struct volume_channel *vc, struct io *io)
{
	struct list *link = list_pop(&vc->idle_splits);
	struct volume_split *s = list_entry(link, struct volume_split, link);

	if (io->doubt == 0 && io_op_changes(io->op)) {
		io->doubt = io_doubt_name();
	}
	s->parent = io;
	s->next = 0;
	s->status = 0;
	s->pending = 1; /* this function's own, so that it cannot end while it is being sent */
	split_run(s);
}

static void split_done(struct io *io, void *ctx)
{
	io_complete(io, io->status);
}

static void split_request(struct volume_channel *vc, struct io *io)
{
	struct io_frame *f = io_push(io, split_done, vc);

	if (list_empty(&vc->idle_splits) || !list_empty(&vc->waiting)) {
		list_append(&vc->waiting, &f->link);
		return;
	}
	split_start(vc, io);
}

static void split_put(struct volume_split *s)
{
	struct volume_channel *vc = s->vc;
	struct io *parent = s->parent;
	struct list *link;

	if (--s->pending > 0) {
		return;
	}
	list_append(&vc->idle_splits, &s->link);
	if (s->status != IO_REQUEUE) {
		parent->doubt = 0;
	}
	io_complete(parent, s->status);
	if (!list_empty(&vc->idle_splits) && (link = list_pop(&vc->waiting)) != NULL) {
		split_start(vc, container_of(link, struct io_frame, link)->io);
	}
}

/* -- pieces -- */

static void piece_done(struct io *io, void *ctx)
{
	struct volume_piece *p = ctx;
	struct volume_split *s = p->split;
	struct volume_channel *vc = s->vc;
	struct list *link;

	if (io->status == IO_REQUEUE) {
		s->status = IO_REQUEUE; /* all of it runs again: that includes what failed */
	} else if (s->status == 0) {
		s->status = io->status;
	}
	list_append(&vc->idle_pieces, &p->link);
	split_put(s);
	if (!list_empty(&vc->idle_pieces) && (link = list_pop(&vc->hungry)) != NULL) {
		split_run(list_entry(link, struct volume_split, link));
	}
}

/* What of the parent goes next, as the piece's request. False when it all has gone. */
static bool piece_fill(struct volume_split *s, struct io *io, struct io_target **ret_target)
{
	const struct face *face = s->vc->face;
	const struct io *parent = s->parent;
	struct face_piece at;

	if (parent->op == IO_FLUSH) {
		if (s->next == face->nr_targets) {
			return false;
		}
		*ret_target = face->targets[s->next++];
		io->length = 0;
		return true;
	}
	if (s->next == parent->length) {
		return false;
	}
	at = face_lookup(face, parent->offset + s->next);
	*ret_target = at.target;
	io->offset = at.target_offset;
	io->length = MIN(at.length, parent->length - s->next);
	if (io_op_payload(parent->op) != IO_PAYLOAD_NONE) {
		if (at.target != NULL) {
			io->length = MIN(io->length, at.target->limits.max_transfer);
		}
		io->iovcnt = io_iov_slice(
		    parent->iov, parent->iovcnt, s->next, io->length, io->iov, PIECE_IOVS);
		io->length = io_iov_length(io->iov, io->iovcnt);
	}
	s->next += io->length;
	return true;
}

static void submit_unmapped(struct io *io)
{
	io->doubt = 0; /* what was in doubt was another face's */
	if (io->op == IO_READ) {
		io_iov_zero(io->iov, io->iovcnt);
		io_complete(io, 0);
	} else if (io->op == IO_BLOCK_STATUS) {
		io->block_status->extents[0] = (struct io_extent_status){io->length, true, true};
		io->block_status->count = 1;
		io_complete(io, 0);
	} else if (io->op == IO_FLUSH) {
		io_complete(io, 0);
	} else {
		io_complete(io, -EIO);
	}
}

static void submit_to(struct volume_channel *vc, struct io_target *target, struct io *io)
{
	if (target == NULL) {
		submit_unmapped(io);
	} else {
		io_submit(target->channels[vc->index], io);
	}
}

/* Sends pieces until the parent is all sent, or the stock is empty; then it goes on when a piece
 * comes back. */
static void split_run(struct volume_split *s)
{
	struct volume_channel *vc = s->vc;

	while (s->status == 0) {
		struct io_target *target;
		struct volume_piece *p;

		if (list_empty(&vc->idle_pieces)) {
			list_append(&vc->hungry, &s->link);
			return;
		}
		p = list_entry(vc->idle_pieces.next, struct volume_piece, link);
		p->io = (struct io){.op = s->parent->op,
		    .flags = s->parent->flags,
		    .doubt = s->parent->doubt,
		    .iov = p->iov};
		if (!piece_fill(s, &p->io, &target)) {
			break;
		}
		list_remove(&p->link);
		p->split = s;
		s->pending++;
		io_push(&p->io, piece_done, p);
		submit_to(vc, target, &p->io);
	}
	split_put(s);
}

/* -- the way of every request -- */

static void start(struct gate *gate, struct io *io)
{
	struct volume_channel *vc = container_of(gate, struct volume_channel, gate);
	const struct face *face = vc->face;
	struct face_piece at;

	if (io->op == IO_FLUSH) {
		if (face->nr_targets > 1) {
			split_request(vc, io);
		} else {
			submit_to(vc, face->nr_targets == 0 ? NULL : face->targets[0], io);
		}
		return;
	}
	at = face_lookup(face, io->offset);
	if (io->op == IO_BLOCK_STATUS) {
		io->length = MIN(io->length, at.length); /* a shorter answer is allowed */
	} else if (io->length > at.length ||
		   (at.target != NULL && io->length > at.target->limits.max_transfer &&
		       io_op_payload(io->op) != IO_PAYLOAD_NONE)) {
		split_request(vc, io);
		return;
	}
	io->offset = at.target_offset;
	submit_to(vc, at.target, io);
}

static void volume_submit(struct io_channel *channel, struct io *io)
{
	gate_submit(&container_of(channel, struct volume_channel, channel)->gate, io);
}

int volume_channel_init(struct volume_channel *vc, unsigned index, const struct face *face)
{
	struct volume_stock *stock = calloc(1, sizeof(*stock));

	if (stock == NULL) {
		return -ENOMEM;
	}
	*vc = (struct volume_channel){
	    .channel.submit = volume_submit, .index = index, .face = face, .stock = stock};
	gate_init(&vc->gate, start);
	list_init(&vc->idle_splits);
	list_init(&vc->idle_pieces);
	list_init(&vc->waiting);
	list_init(&vc->hungry);
	for (unsigned i = 0; i < NR_SPLITS; i++) {
		stock->splits[i].vc = vc;
		list_append(&vc->idle_splits, &stock->splits[i].link);
	}
	for (unsigned i = 0; i < NR_PIECES; i++) {
		list_append(&vc->idle_pieces, &stock->pieces[i].link);
	}
	return 0;
}

void volume_channel_fini(struct volume_channel *vc)
{
	sluice_assert(gate_idle(&vc->gate));
	free(vc->stock);
	vc->stock = NULL;
}
