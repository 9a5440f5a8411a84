#include "lu/errand.h"

#include <errno.h>

/* Control loop. */
static void come_back(struct reactor_msg *msg)
{
	struct errand *e = container_of(msg, struct errand, msg);
	struct carrier *k = e->carrier;

	list_remove(&e->link);
	e->done(e);
	carrier_collect(k);
}

/* Data reactor. */
static void ended(struct io *io, void *ctx)
{
	struct errand *e = ctx;
	struct carrier_channel *cc = &e->carrier->channels[e->reactor];
	uint32_t us = (uint32_t)((reactor_now_ns(cc->reactor) - e->started_ns) / NS_PER_US);

	route_count_end(&cc->counters, io, us);
	if (io_status_is_transport(io->status)) {
		carrier_channel_lose(cc);
	}
	reactor_send(cc->control, &e->msg, come_back);
}

static void set_out(struct reactor_msg *msg)
{
	struct errand *e = container_of(msg, struct errand, msg);
	struct carrier_channel *cc = &e->carrier->channels[e->reactor];

	e->started_ns = reactor_now_ns(cc->reactor);
	counter_add(&cc->counters.started, 1);
	io_push(&e->io, ended, e);
	if (cc->lost) {
		io_complete(&e->io, -ENOTCONN);
	} else {
		io_submit(cc->below, &e->io);
	}
}

void errand_start(struct errand *e, struct carrier *k, unsigned reactor,
    const struct errand_request *request, void (*done)(struct errand *e), void *owner)
{
	struct reactor *control = lu_control(k->lu);

	*e = (struct errand){
	    .carrier = k,
	    .reactor = reactor,
	    .done = done,
	    .owner = owner,
	    .io = {.op = request->op, .offset = request->offset, .length = request->length},
	    .iov = {request->buffer, request->length},
	};
	if (request->length > 0) {
		e->io.iov = &e->iov;
		e->io.iovcnt = 1;
	}
	list_append(&k->errands, &e->link);
	if (carrier_usable(k)) {
		e->sent_ns = reactor_now_ns(control);
		reactor_send(k->channels[reactor].reactor, &e->msg, set_out);
	} else {
		e->io.status = -ENOTCONN;
		reactor_send(control, &e->msg, come_back);
	}
}
