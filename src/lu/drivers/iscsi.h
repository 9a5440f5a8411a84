/*
 * The iSCSI driver's own words: iscsi.c opens, closes and fences links, iscsi_probe.c learns what
 * the LU is, iscsi_io.c carries requests. libiscsi's context may not be destroyed in its own
 * callbacks, so those only note what happened; it is acted on after each call into the library.
 *
 * Thread rule: the link's reactor.
 */
#pragma once

#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>

#include "lu/drivers/iscsi_url.h"
#include "lu/drivers/resolve.h"
#include "lu/session.h"

enum iscsi_phase {
	ISCSI_IDLE,
	ISCSI_RESOLVING,
	ISCSI_CONNECTING, /* and logging in */
	ISCSI_PROBING,
	ISCSI_RUNNING,
	ISCSI_BROKEN,	   /* no context; requests may still be at the target */
	ISCSI_LOGGING_OUT, /* after close: nothing is in doubt, or the reinstated session */
	ISCSI_REINSTATING, /* after close: connecting and logging in again */
	ISCSI_BACKING_OFF, /* before the next try of that */
	ISCSI_STOPPING,	   /* the watch is being stopped */
};

struct iscsi_link {
	struct session_link link; /* first */
	enum iscsi_phase phase;
	struct iscsi_context *iscsi;
	/* Our own descriptor of the connection, for the watch: outlives libiscsi's. */
	int fd;
	struct reactor_watch watch;
	void (*after_stop)(struct iscsi_link *l);
	struct reactor_timer timer;	  /* reinstatement, logging out */
	struct reactor_timer retry_timer; /* requests that the target was too busy for */
	struct reactor_deferred kick;	  /* sends what a turn of the loop has queued */
	unsigned next_address;
	unsigned attempts; /* of reinstatement */
	/* What a callback noted. */
	bool step_done;
	int step_status; /* SCSI status */
	bool dropping;	 /* callbacks mean nothing: the context is being destroyed */
	/* Probing */
	unsigned step;
	unsigned tries;
	struct scsi_task *probe_task;
	/* Requests */
	struct list in_flight;
	struct list done;
	struct list retry;
	bool reaping;
	bool in_doubt; /* a change was sent, and no answer came */
};

struct iscsi_session {
	struct session session; /* first */
	struct iscsi_address address;
	struct resolve resolve; /* constant once the home link is open */
	struct worker *worker;	/* only where a name must be resolved */
	char initiator[224];
	char bind_interface[32]; /* "" = any */
	uint32_t isid;		 /* 24 random bits; the qualifier is the link's index */
	/* Written by the home link before it is open. */
	uint32_t block_size;
	uint64_t max_unmap_blocks; /* 0 = UNMAP is not supported */
	uint64_t max_same_blocks;  /* 0 = WRITE SAME with unmapping does not give zeros */
	bool zeroes_when_unmapped;
	bool lba_status;
	bool read_only;
};

static inline struct iscsi_session *iscsi_session_of(const struct iscsi_link *l)
{
	return (struct iscsi_session *)l->link.session;
}

void iscsi_link_submit(struct session_link *link, struct io *io);
/* Completes what was answered; safe to nest. */
void iscsi_link_reap(struct iscsi_link *l);
/* Every request that is not answered yet ends with status. The context must be gone. */
void iscsi_link_abort_all(struct iscsi_link *l, int status);
/* Of retry_timer. */
void iscsi_link_retry(struct reactor_timer *t);
/* Sends what is queued; at the end of this turn. */
void iscsi_link_kick(struct iscsi_link *l);
/* The connection is of no use any more. */
void iscsi_link_fail(struct iscsi_link *l, int code, const char *text);

/* Sends the probe's next command; the answer sets step_done. False when it could not. */
bool iscsi_probe_send(struct iscsi_link *l);
/* After step_done: 0 = go on with iscsi_probe_send(), 1 = all is known, < 0 = failed, err says why.
 */
int iscsi_probe_next(struct iscsi_link *l, struct error *err);
/* scsi_status and sense to 0, a negative errno, or IO_REQUEUE for "try again". ret_busy: after a
 * while. */
int iscsi_map_status(int status, const struct scsi_sense *sense, bool *ret_busy);
