#include "lu/hop.h"

#include <errno.h>

struct hop_request {
	struct reactor_msg msg;
	struct hop *hop;
};
_Static_assert(sizeof(struct hop_request) == HOP_BYTES, "the hop's share of io->driver");

static struct hop_request *request_of(struct io *io)
{
	return (struct hop_request *)(void *)(io->driver + HOP_DRIVER_BYTES);
}

static struct io *io_of(struct reactor_msg *msg)
{
	return container_of(
	    (unsigned char *)container_of(msg, struct hop_request, msg) - HOP_DRIVER_BYTES,
	    struct io, driver);
}

static void come_back(struct reactor_msg *msg)
{
	struct io *io = io_of(msg);
	struct hop *h = request_of(io)->hop;

	h->in_flight--;
	io_complete(io, io->status);
	if (h->closing && h->in_flight == 0 && h->drained != NULL) {
		void (*drained)(struct hop * h) = h->drained;

		h->drained = NULL;
		drained(h);
	}
}

/* On the other reactor. */
static void done_there(struct io *io, void *ctx)
{
	struct hop *h = ctx;

	reactor_send(h->here, &request_of(io)->msg, come_back);
}

static void arrive(struct reactor_msg *msg)
{
	struct io *io = io_of(msg);
	struct hop *h = request_of(io)->hop;

	io_push(io, done_there, h);
	io_submit(h->target, io);
}

static void hop_submit(struct io_channel *channel, struct io *io)
{
	struct hop *h = container_of(channel, struct hop, channel);
	struct hop_request *req = request_of(io);

	if (unlikely(h->closing)) {
		io_complete(io, -ECONNABORTED);
		return;
	}
	h->in_flight++;
	req->hop = h;
	reactor_send(h->there, &req->msg, arrive);
}

void hop_init(struct hop *h, struct reactor *here, struct reactor *there, struct io_channel *target,
    void *owner)
{
	*h = (struct hop){
	    .channel = {.submit = hop_submit},
	    .here = here,
	    .there = there,
	    .target = target,
	    .owner = owner,
	};
}

void hop_close(struct hop *h, void (*drained)(struct hop *h))
{
	reactor_assert(h->here);
	h->closing = true;
	if (h->in_flight == 0) {
		drained(h);
		return;
	}
	h->drained = drained;
}
