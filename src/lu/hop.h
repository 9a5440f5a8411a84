/*
 * A channel that carries requests to a channel of another reactor and back: for sessions that have
 * fewer connections than there are reactors. The struct io itself is the message, so nothing is
 * allocated; while it is over there it belongs to that reactor (the one exception to the thread
 * rule of io.h, invisible to whoever submitted it).
 *
 * Thread rule: the reactor that the hop was made for, unless stated.
 */
#pragma once

#include "io/target.h"
#include "reactor/reactor.h"

/* The hop's part of io->driver, at its end; the driver behind it has the bytes before. */
#define HOP_BYTES 24
#define HOP_DRIVER_BYTES (IO_DRIVER_BYTES - HOP_BYTES)

struct hop {
	struct io_channel channel; /* first */
	struct reactor *here;
	struct reactor *there;
	struct io_channel *target; /* a channel of `there` */
	unsigned in_flight;
	bool closing;
	void (*drained)(struct hop *h);
	struct reactor_msg close_msg; /* the owner's */
	struct reactor_msg closed_msg;
	void *owner;
};

/* Any thread, before use. */
void hop_init(struct hop *h, struct reactor *here, struct reactor *there, struct io_channel *target,
    void *owner);
/* Requests are refused with -ECONNABORTED from now on; drained(h) once none is away, maybe inside
 * the call. */
void hop_close(struct hop *h, void (*drained)(struct hop *h));
