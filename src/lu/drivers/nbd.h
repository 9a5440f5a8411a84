/*
 * The NBD driver's own words: nbd.c opens, closes and fences links, nbd_io.c carries requests.
 * libnbd may not be called from its own callbacks, so those only move requests to link->done, which
 * nbd_link_reap() completes after each call into the library.
 *
 * Thread rule: the link's reactor.
 */
#pragma once

#include <libnbd.h>

#include "lu/drivers/nbd_uri.h"
#include "lu/drivers/resolve.h"
#include "lu/session.h"

enum nbd_phase {
	NBD_IDLE,
	NBD_RESOLVING,
	NBD_CONNECTING,	 /* the socket */
	NBD_NEGOTIATING, /* the handshake, by libnbd */
	NBD_RUNNING,
	NBD_BROKEN,   /* no handle any more; requests may still be at the server */
	NBD_DRAINING, /* after close: waiting for the server to end the connection */
	NBD_STOPPING, /* the watch is being stopped */
};

struct nbd_link {
	struct session_link link; /* first */
	enum nbd_phase phase;
	struct nbd_handle *nbd;
	/* Our own descriptor of the connection: outlives libnbd's. */
	int fd;
	struct reactor_watch watch;
	void (*after_stop)(struct nbd_link *l);
	unsigned next_address; /* of the session's, when this one fails */
	struct list in_flight;
	struct list done;    /* answered, to be completed */
	struct list waiting; /* for a bounce buffer */
	uint64_t bounced;    /* bytes of bounce buffers in use */
	uint64_t answered;   /* requests completed, since the start */
	bool reaping;
	bool in_doubt; /* a change was sent, and no answer came */
	bool unproven; /* the end of this socket says nothing about the server */
};

struct nbd_session {
	struct session session; /* first */
	struct nbd_uri uri;
	struct resolve resolve;	     /* TCP: constant once the home link is open */
	struct worker *worker;	     /* only where a name must be resolved */
	struct resolve_address bind; /* length 0 = any */
	unsigned connections;	     /* at most; 0 = one per reactor */
	bool can_fua;
	bool can_zero;
	bool can_fast_zero;
	bool can_trim;
	bool can_flush;
};

static inline struct nbd_session *nbd_session_of(const struct nbd_link *l)
{
	return (struct nbd_session *)l->link.session;
}

void nbd_link_submit(struct session_link *link, struct io *io);
/* Completes what was answered; safe to nest. */
void nbd_link_reap(struct nbd_link *l);
/* Drops the handle: every request that is not answered yet ends with status, and no late reply can
 * reach its buffer. */
void nbd_link_drop(struct nbd_link *l, int status);
/* After any call into libnbd: completes, notices a dead connection, watches for what libnbd waits
 * for. False when the link is not running any more. */
bool nbd_link_settle(struct nbd_link *l);
