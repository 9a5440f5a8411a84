#include "lu/route_io.h"

#include <errno.h>
#include <stdlib.h>

/*
 * The frame's scratch: when it was sent or began to wait (microseconds, wraps after 71 minutes),
 * its place in the order of arrival (28 bits, wraps), its depth in io->frames, and whether a second
 * path has been asked.
 */
#define STAMP_SECOND_TRY 1u
#define STAMP_ORDER_SHIFT 4
#define STAMP_ORDER_BITS 28
#define STAMP_TIME_SHIFT 32

static uint32_t now_us(const struct route_channel *c)
{
	return (uint32_t)(reactor_now_ns(c->reactor) / NS_PER_US);
}

static void stamp_time(struct io_frame *f, uint32_t us)
{
	f->scratch = (f->scratch & UINT32_MAX) | (uint64_t)us << STAMP_TIME_SHIFT;
}

static uint32_t stamp_age_us(const struct io_frame *f, uint32_t us)
{
	return us - (uint32_t)(f->scratch >> STAMP_TIME_SHIFT);
}

static bool came_before(const struct io_frame *a, const struct io_frame *b)
{
	uint32_t x = (uint32_t)a->scratch >> STAMP_ORDER_SHIFT;
	uint32_t y = (uint32_t)b->scratch >> STAMP_ORDER_SHIFT;

	return ((x - y) & (1u << (STAMP_ORDER_BITS - 1))) != 0;
}

static void route_done(struct io *io, void *ctx);

static struct io_frame *push_new(struct route_channel *c, struct io *io)
{
	struct io_frame *f = io_push(io, route_done, c);

	f->scratch = (uint32_t)(c->next_order++ << STAMP_ORDER_SHIFT);
	return f;
}

/* A request that came back and is not done with: it keeps its stamp, so its place. */
static struct io_frame *push_again(struct route_channel *c, struct io *io, uint64_t stamp)
{
	struct io_frame *f = io_push(io, route_done, c);

	f->scratch = stamp;
	return f;
}

static void pass_down(
    struct route_channel *c, struct carrier_channel *cc, struct io *io, struct io_frame *f)
{
	stamp_time(f, now_us(c));
	f->below = cc;
	list_append(&cc->in_flight, &f->link);
	counter_add(&cc->counters.started, 1);
	counter_add(&c->counters.started, 1);
	io_submit(cc->below, io);
}

/* -- notes and waiting -- */

static void tell_control(struct route_channel *c, unsigned note)
{
	unsigned before = atomic_fetch_or(&c->notes, note);

	if (before == 0) {
		reactor_send(c->control, &c->note_msg, c->note_fn);
	}
}

static void insert_in_order(struct route_channel *c, struct io_frame *f)
{
	struct list *at = &c->waiting;

	while (at->prev != &c->waiting &&
	       came_before(f, list_entry(at->prev, struct io_frame, link))) {
		at = at->prev;
	}
	list_insert_before(at, &f->link);
}

/* from: the session that has to be settled first, NULL = none. */
static void keep_waiting(struct route_channel *c, struct io_frame *f, struct carrier_channel *from)
{
	f->below = from;
	stamp_time(f, now_us(c));
	insert_in_order(c, f);
	counter_add(&c->nr_waiting, 1);
}

static void stop_waiting(struct route_channel *c, struct io_frame *f)
{
	list_remove(&f->link);
	counter_add(&c->nr_waiting, (uint64_t)-1);
}

static bool blocked_by_doubt(struct route_channel *c, const struct io *io)
{
	return unlikely(c->doubts != NULL) && io_op_changes(io->op) &&
	       doubt_set_blocks(c->doubts, io_range(io), io->doubt);
}

static void wait_for_doubt(struct route_channel *c, struct io *io, struct io_frame *f)
{
	atomic_store_explicit(&c->blocked_offset, io->offset, memory_order_relaxed);
	atomic_store_explicit(&c->blocked_length, io->length, memory_order_relaxed);
	keep_waiting(c, f, NULL);
	tell_control(c, ROUTE_NOTE_BLOCKED);
}

/* -- completion -- */

static void note_idle(struct route_channel *c)
{
	if (unlikely(c->mode != ROUTE_CARRY) &&
	    counter_read(&c->counters.started) == counter_read(&c->counters.ended)) {
		tell_control(c, ROUTE_NOTE_IDLE);
	}
}

static void answer(struct route_channel *c, struct io *io, int status)
{
	counter_add(&c->held, (uint64_t)-1);
	atomic_store_explicit(&c->progress_ns, reactor_now_ns(c->reactor), memory_order_relaxed);
	note_idle(c);
	if (unlikely(io->doubt != 0) && status != IO_REQUEUE) {
		io->doubt = 0;
	}
	io_complete(io, status);
}

/* For a request that still has its frame here. */
static void answer_unsent(struct route_channel *c, struct io *io, int status)
{
	io->depth--;
	answer(c, io, status);
}

static bool is_error(int status)
{
	return status < 0 && status != -EOPNOTSUPP;
}

void route_count_end(struct health_counters *n, const struct io *io, uint32_t latency_us)
{
	counter_add(&n->ended, 1);
	if (likely(io->status == 0)) {
		counter_add(&n->bytes, io->length);
	} else if (io_status_is_transport(io->status)) {
		counter_add(&n->transport_errors, 1);
		return;
	} else if (is_error(io->status)) {
		counter_add(&n->errors, 1);
	}
	counter_add(&n->latency_us, latency_us);
}

static void put_in_doubt(struct carrier_channel *cc, struct io *io)
{
	if (io->doubt == 0) {
		io->doubt = io_doubt_name();
	}
	if (cc->nr_doubts == cc->room) {
		size_t room = MAX(cc->room * 2, (size_t)64);
		struct doubt *more = realloc(cc->doubts, room * sizeof(*more));

		if (more == NULL) {
			cc->doubt_all = true;
			return;
		}
		cc->doubts = more;
		cc->room = room;
	}
	cc->doubts[cc->nr_doubts++] = (struct doubt){io_range(io), io->doubt};
}

/* The path to ask before a medium error is believed. */
static struct carrier_channel *second_opinion(
    struct route_channel *c, struct carrier_channel *first, uint64_t stamp)
{
	struct carrier_channel *cc = c->other != first ? c->other : c->use;

	if ((stamp & STAMP_SECOND_TRY) != 0 || cc == NULL || cc == first || cc->lost) {
		return NULL;
	}
	return cc;
}

/* Anything but a plain success without doubts. */
static void sort_out(
    struct route_channel *c, struct io *io, struct carrier_channel *from, uint64_t stamp)
{
	struct carrier_channel *second;

	if (io_status_is_transport(io->status)) {
		if (io_op_changes(io->op)) {
			put_in_doubt(from, io);
		}
		carrier_channel_lose(from);
		keep_waiting(c, push_again(c, io, stamp), from);
		return;
	}
	second = io->status == -EIO ? second_opinion(c, from, stamp) : NULL;
	if (second != NULL) {
		pass_down(c, second, io, push_again(c, io, stamp | STAMP_SECOND_TRY));
		return;
	}
	/* It was under way when the range came in doubt: what it wrote may be overwritten by the
	 * late request, so it is written again when that cannot happen any more. */
	if (io->status == 0 && blocked_by_doubt(c, io)) {
		wait_for_doubt(c, io, push_again(c, io, stamp));
		return;
	}
	answer(c, io, io->status);
}

static void route_done(struct io *io, void *ctx)
{
	struct route_channel *c = ctx;
	struct io_frame *f = io_popped(io);
	struct carrier_channel *from = f->below;
	uint64_t stamp = f->scratch;
	uint32_t latency_us = stamp_age_us(f, now_us(c));

	list_remove(&f->link);
	route_count_end(&from->counters, io, latency_us);
	route_count_end(&c->counters, io, latency_us);
	if (likely(io->status == 0 && c->doubts == NULL)) {
		answer(c, io, 0);
	} else {
		sort_out(c, io, from, stamp);
	}
}

/* -- submission -- */

static void remember_write(struct route_channel *c, const struct io *io)
{
	if (io->op == IO_WRITE) {
		unsigned at = c->next_recent++ % LU_RECENT_WRITES;

		atomic_store_explicit(&c->recent[at], io->offset + 1, memory_order_relaxed);
	}
}

static void submit_slow(struct route_channel *c, struct io *io)
{
	struct io_frame *f = push_new(c, io);

	if (c->mode == ROUTE_GIVE_BACK) {
		answer_unsent(c, io, IO_REQUEUE);
	} else if (c->mode == ROUTE_PAUSE || c->use == NULL || c->use->lost) {
		keep_waiting(c, f, NULL);
		if (c->mode == ROUTE_CARRY) {
			tell_control(c, ROUTE_NOTE_WAITING);
		}
	} else if (blocked_by_doubt(c, io)) {
		wait_for_doubt(c, io, f);
	} else {
		pass_down(c, c->use, io, f);
	}
}

static void route_submit(struct io_channel *channel, struct io *io)
{
	struct route_channel *c = container_of(channel, struct route_channel, channel);
	struct carrier_channel *cc = c->fast;

	if (counter_read(&c->held) == 0) {
		atomic_store_explicit(
		    &c->progress_ns, reactor_now_ns(c->reactor), memory_order_relaxed);
	}
	counter_add(&c->held, 1);
	remember_write(c, io);
	if (unlikely(cc == NULL || cc->lost)) {
		submit_slow(c, io);
	} else {
		pass_down(c, cc, io, push_new(c, io));
	}
}

void route_channel_init(struct route_channel *c)
{
	c->channel.submit = route_submit;
	list_init(&c->waiting);
}

/* -- orders from the control loop -- */

void route_channel_obey(struct route_channel *c, const struct route_orders *orders)
{
	c->use = orders->use;
	c->other = orders->other;
	c->doubts = orders->doubts;
	c->mode = orders->mode;
	c->fast = c->mode == ROUTE_CARRY && c->doubts == NULL ? c->use : NULL;
}

/* What a waiting request does now. */
static void move_on(struct route_channel *c, struct io_frame *f)
{
	struct io *io = f->io;
	struct carrier_channel *from = f->below;

	if (c->mode != ROUTE_GIVE_BACK &&
	    stamp_age_us(f, now_us(c)) >= c->waiting_timeout_ns / NS_PER_US) {
		stop_waiting(c, f);
		tell_control(c, ROUTE_NOTE_EXPIRED);
		answer_unsent(c, io, -EIO);
		return;
	}
	if (from != NULL && !atomic_load(from->settled)) {
		return;
	}
	f->below = NULL;
	if (c->mode == ROUTE_GIVE_BACK) {
		stop_waiting(c, f);
		answer_unsent(c, io, IO_REQUEUE);
	} else if (c->mode == ROUTE_CARRY && c->use != NULL && !c->use->lost &&
		   !blocked_by_doubt(c, io)) {
		stop_waiting(c, f);
		pass_down(c, c->use, io, f);
	}
}

/* Requests may be sent and answered inside, and come back to the list, or new ones may come. */
void route_channel_kick(struct route_channel *c)
{
	struct list todo;

	list_init(&todo);
	list_splice(&todo, &c->waiting);
	for (struct list *node = list_pop(&todo); node != NULL; node = list_pop(&todo)) {
		struct io_frame *f = list_entry(node, struct io_frame, link);

		insert_in_order(c, f);
		move_on(c, f);
	}
	note_idle(c);
}

void carrier_channel_lose(struct carrier_channel *cc)
{
	if (!cc->lost) {
		cc->lost = true;
		reactor_send(cc->control, &cc->lost_msg, cc->lost_fn);
	}
}

void carrier_channel_scan(struct carrier_channel *cc, uint64_t timeout_ns)
{
	uint32_t us = (uint32_t)(reactor_now_ns(cc->reactor) / NS_PER_US);

	if (cc->lost || list_empty(&cc->in_flight)) {
		return;
	}
	if (stamp_age_us(list_entry(cc->in_flight.next, struct io_frame, link), us) >=
	    timeout_ns / NS_PER_US) {
		cc->timed_out = true;
		counter_add(&cc->counters.timeouts, 1);
		carrier_channel_lose(cc);
	}
}
