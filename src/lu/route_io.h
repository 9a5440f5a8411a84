/*
 * The request side of routes: per data reactor, where the requests of one route go now, those that
 * wait, and what one session (a carrier, see carrier.h) has in flight there.
 *
 * A request that passes costs a push, a list insert and the driver's submit. Whatever is special
 * (no session, a hold by the control loop, writes in doubt) makes `fast` NULL and takes the slow
 * way. A request that comes back with a transport status is put in doubt when it changes data, and
 * waits in its original order until its session is settled: closed, and its doubts known to every
 * reactor.
 *
 * Thread rule: the data reactor of the channel, unless stated. The control loop changes nothing
 * here but by a plan (plan.h).
 */
#pragma once

#include "io/target.h"
#include "lu/doubt.h"
#include "lu/health.h"
#include "reactor/reactor.h"

#define LU_RECENT_WRITES 8

struct carrier;
struct lu_route;

enum route_mode {
	ROUTE_CARRY,
	ROUTE_PAUSE,	 /* requests wait: the route is about to leave a healthy path */
	ROUTE_GIVE_BACK, /* every request ends with IO_REQUEUE */
};

/* One session on one reactor. */
struct carrier_channel {
	struct io_channel *below; /* the driver's */
	struct carrier *carrier;
	struct reactor *control;
	struct reactor *reactor;
	bool lost; /* a transport status was seen: nothing more is sent */
	bool timed_out;
	const atomic_bool *settled;
	struct list in_flight; /* frames, oldest first */
	struct doubt *doubts;
	size_t nr_doubts;
	size_t room;
	bool doubt_all; /* no memory to list them */
	struct health_counters counters;
	struct reactor_msg lost_msg; /* to the control loop, once */
	void (*lost_fn)(struct reactor_msg *msg);
};

/* What the control loop is told; bits of route_channel.notes. */
enum {
	ROUTE_NOTE_IDLE = 1 << 0,    /* not in ROUTE_CARRY, and nothing is in flight any more */
	ROUTE_NOTE_WAITING = 1 << 1, /* a request waits for a path */
	ROUTE_NOTE_BLOCKED = 1 << 2, /* a request waits for a write in doubt */
	ROUTE_NOTE_EXPIRED = 1 << 3, /* a request failed for having waited too long */
};

struct route_channel {
	struct io_channel channel;     /* first */
	struct carrier_channel *fast;  /* use, when nothing is special */
	struct carrier_channel *use;   /* NULL = no path now */
	struct carrier_channel *other; /* a second opinion after EIO; NULL = there is none */
	const struct doubt_set *doubts;
	enum route_mode mode;
	uint32_t next_order;
	struct list waiting; /* frames, in original order */
	struct reactor *reactor;
	struct reactor *control;
	uint64_t waiting_timeout_ns;
	/* Read by the control loop. */
	struct health_counters counters;
	_Atomic uint64_t held; /* given to this route and not ended: in flight or waiting */
	_Atomic uint64_t nr_waiting;
	_Atomic uint64_t progress_ns; /* the last time one ended, or the first one began */
	_Atomic uint64_t recent[LU_RECENT_WRITES]; /* offset + 1 of the last writes; 0 = none */
	_Atomic uint64_t
	    blocked_offset; /* of the last request that a doubt stopped, for the note */
	_Atomic uint64_t blocked_length;
	unsigned next_recent;
	struct lu_route *route;
	_Atomic unsigned notes;
	struct reactor_msg note_msg;
	void (*note_fn)(struct reactor_msg *msg);
} __attribute__((aligned(64)));

void route_channel_init(struct route_channel *c);

struct route_orders {
	struct carrier_channel *use;
	struct carrier_channel *other;
	const struct doubt_set *doubts;
	enum route_mode mode;
};
/* Takes the orders; nothing is started yet. */
void route_channel_obey(struct route_channel *c, const struct route_orders *orders);
/* Starts or gives back what may go now, and fails what has waited too long. */
void route_channel_kick(struct route_channel *c);

/* Adds a request that has ended, by its status. */
void route_count_end(struct health_counters *n, const struct io *io, uint32_t latency_us);

/* Marks the session as broken and tells the control loop, once. */
void carrier_channel_lose(struct carrier_channel *cc);
/* Loses the session when the oldest request has had no answer for timeout_ns. */
void carrier_channel_scan(struct carrier_channel *cc, uint64_t timeout_ns);
