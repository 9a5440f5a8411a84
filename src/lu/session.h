/*
 * What all drivers share: a session is a set of links, at most one per data reactor, and each link
 * carries requests on its own reactor. The home link opens first and finds out size, limits and
 * identity; then either every other reactor gets a link of its own (spread) or reaches an existing
 * one by messages (hop.h). This module runs the life cycle, counts, and keeps the promises of
 * driver.h; a driver is a table of functions for one link.
 *
 * Thread rule: session_...() control loop; link_...() the link's reactor.
 */
#pragma once

#include "lu/driver.h"
#include "lu/hop.h"

struct session;

enum link_state {
	LINK_IDLE,
	LINK_OPENING,
	LINK_OPEN,
	LINK_BROKEN,  /* lost, or failed to open: requests are refused */
	LINK_CLOSING, /* the driver ends its requests */
	LINK_CLOSED,
};

struct session_link {
	struct io_channel channel; /* first */
	struct session *session;
	struct reactor *reactor;
	unsigned index; /* data reactor */
	enum link_state state;
	unsigned in_flight;
	struct error error; /* why it is broken; code 0 = it is not */
	bool open_failed;
	bool fenced;
	/* One message per step of the life cycle, each sent at most once. */
	struct reactor_msg open_msg;
	struct reactor_msg opened_msg;
	struct reactor_msg lost_msg;
	struct reactor_msg close_msg;
	struct reactor_msg closed_msg;
	struct reactor_msg fenced_msg;
	struct reactor_msg abandon_msg;
	struct reactor_msg abandoned_msg;
	/* The control loop's view. */
	bool started;
	bool abandoned;
};

/* All on the link's reactor. None is optional. */
struct link_ops {
	const char *kind;
	size_t session_size; /* bytes of the driver's struct that has struct session first */
	size_t link_size;    /* bytes of the driver's struct that has struct session_link first */
	/* Starts opening; ends by link_opened(). */
	void (*open)(struct session_link *l);
	/* The request is within the target and not empty; it ends by link_complete(), inside or
	 * later. */
	void (*submit)(struct session_link *l, struct io *io);
	/* Once, in whatever state opening is: ends every request, then link_closed(); and
	 * link_fenced() when none of them can take effect any more. */
	void (*close)(struct session_link *l);
	/* After link_closed(): link_fenced() soon, whatever the other end does. Not called once
	 * that has been called. */
	void (*abandon)(struct session_link *l);
	/* Control loop, last: what session and links hold, e.g. copies of the address. */
	void (*free)(struct session *s);
};

struct session {
	struct lu_session lu; /* first */
	const struct link_ops *ops;
	struct reactor_group *group;
	/*
	 * Written by the home link before its link_opened(), constant afterwards: how many reactors
	 * get a link of their own (bound by their number). The same for lu.target's size and limits
	 * and for lu.identity.
	 */
	unsigned spread;
	unsigned home;		     /* data reactor of the first link */
	struct session_link **links; /* [nr_data] */
	struct hop *hops;	     /* [nr_data] */
	struct io_channel **channels;

	/* control loop */
	enum {
		SESSION_OPENING,
		SESSION_OPEN,
		SESSION_FAILED,
		SESSION_CLOSING,
		SESSION_CLOSED
	} state;
	bool lost;
	unsigned to_open;  /* links that have not answered */
	unsigned to_close; /* links and hops that have not ended */
	unsigned to_fence;
	unsigned to_abandon;
	struct reactor_timer timer;
	struct reactor_msg end_msg;
};

/*
 * Allocates a session and its links; the driver then fills its own members and calls
 * session_start(), or gives up by session_discard().
 */
int session_new(const struct lu_session_params *params, const struct lu_driver *driver,
    const struct link_ops *ops, struct session **ret_session, struct error *err);
void session_start(struct session *s, uint64_t connect_timeout_ns);
void session_discard(struct session *s);
/* The close and abandon of every driver's table. */
void session_close(struct lu_session *lu);
void session_abandon(struct lu_session *lu);

/* err NULL = open. Not after close() was called. */
void link_opened(struct session_link *l, const struct error *err);
/* The link is broken: the driver has completed, or is about to complete, everything with a
 * transport status. Only the first call counts. */
void link_lost(struct session_link *l, int code, const char *why);
void link_complete(struct session_link *l, struct io *io, int status);
void link_closed(struct session_link *l);
void link_fenced(struct session_link *l);

static inline bool link_is_closing(const struct session_link *l)
{
	return l->state >= LINK_CLOSING;
}
