/*
 * Errands: single requests that the control loop sends through one session (probes, fingerprints,
 * flushes), past all routes. An errand that has no answer for io_timeout costs the session.
 *
 * Thread rule: control loop.
 */
#pragma once

#include "lu/private.h"

struct errand {
	struct reactor_msg msg;
	struct list link; /* carrier->errands */
	struct carrier *carrier;
	unsigned reactor;
	uint64_t sent_ns;    /* by the control loop */
	uint64_t started_ns; /* by the reactor */
	struct io io;
	struct iovec iov;
	/* Once, never inside errand_start(). io.status has the outcome. e may be freed. */
	void (*done)(struct errand *e);
	void *owner;
};

/* buffer and length: for READ; both stay the caller's. A session that is not open any more answers
 * -ENOTCONN. */
struct errand_request {
	enum io_op op;
	uint64_t offset;
	void *buffer;
	uint32_t length;
};
void errand_start(struct errand *e, struct carrier *k, unsigned reactor,
    const struct errand_request *request, void (*done)(struct errand *e), void *owner);
