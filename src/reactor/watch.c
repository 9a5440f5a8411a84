/*
 * Watches: one-shot polls that are armed again after each call, which makes them level-triggered.
 */
#include <errno.h>
#include <poll.h>

#include "reactor/reactor.h"

static void watch_arm(struct reactor_watch *w)
{
	struct io_uring_sqe *sqe = reactor_sqe(w->reactor, &w->op);

	io_uring_prep_poll_add(sqe, w->fd, w->events);
	w->armed = w->events;
	w->outstanding = true;
}

static void watch_done(struct reactor_op *op, int res, uint32_t flags)
{
	struct reactor_watch *w = container_of(op, struct reactor_watch, op);
	uint32_t wanted = w->armed;

	w->outstanding = false;
	if (!w->stopping && res != -ECANCELED && w->events == wanted) {
		w->in_ready = true;
		w->ready(w, res < 0 ? (uint32_t)POLLERR : (uint32_t)res);
		w->in_ready = false;
	}
	if (w->stopping && !w->outstanding) {
		w->stopped(w);
	} else if (w->events != 0 && !w->outstanding) {
		watch_arm(w);
	}
}

void reactor_watch_init(struct reactor_watch *w, struct reactor *r, int fd,
    void (*ready)(struct reactor_watch *w, uint32_t revents))
{
	*w = (struct reactor_watch){.op.done = watch_done, .reactor = r, .fd = fd, .ready = ready};
}

void reactor_watch_set(struct reactor_watch *w, uint32_t events)
{
	reactor_assert(w->reactor);
	sluice_assert(!w->stopping);
	if (w->events == events) {
		return;
	}
	w->events = events;
	if (w->outstanding) {
		reactor_cancel(w->reactor, &w->op);
	} else if (events != 0 && !w->in_ready) {
		watch_arm(w);
	}
}

void reactor_watch_stop(struct reactor_watch *w, void (*stopped)(struct reactor_watch *w))
{
	reactor_assert(w->reactor);
	sluice_assert(!w->stopping);
	w->stopping = true;
	w->stopped = stopped;
	if (w->outstanding) {
		reactor_cancel(w->reactor, &w->op);
	} else if (!w->in_ready) {
		reactor_sqe(w->reactor, &w->op)->opcode = IORING_OP_NOP;
		w->outstanding = true;
	}
}
