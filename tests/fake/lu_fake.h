/*
 * A scriptable LU driver, kind "fake", for tests of the path layer: servers in memory that a test
 * holds, breaks, freezes and wakes up. Its lu_driver_find() stands in for that of the product, and
 * knows "fault" as well.
 *
 * Thread rule: a manual reactor group, so everything on one thread.
 */
#pragma once

#include "lu/driver.h"

#define LU_FAKE_LOG 256

struct lu_fake_request {
	enum io_op op;
	uint64_t offset;
	unsigned reactor;
	unsigned char first; /* byte of the payload, WRITE only */
};

struct lu_fake_server {
	/* Set by the test, at any time. */
	unsigned char *bytes; /* the storage; several servers may share it */
	uint64_t size;
	struct io_limits limits;
	const char *identity;
	bool refuses;	 /* opening fails */
	bool hold;	 /* requests stay until lu_fake_release() or the session breaks */
	bool hold_fence; /* closed sessions are fenced by lu_fake_fence() only */
	int fail_status; /* what requests end with; 0 = they work */
	/* Read by the test. */
	unsigned opens;
	unsigned closes;
	unsigned nr_open; /* sessions that are open now */
	unsigned abandons;
	unsigned nr_log;
	struct lu_fake_request log[LU_FAKE_LOG]; /* in order of arrival */
	/* The driver's own. */
	const char *name;
	struct list link;
	struct list sessions;
};

/* Knows the server by name; size bytes of storage are the caller's. */
void lu_fake_add(struct lu_fake_server *s, const char *name, unsigned char *bytes, uint64_t size);
void lu_fake_remove(struct lu_fake_server *s);
/* Executes and completes what is held. */
void lu_fake_release(struct lu_fake_server *s);
/* Ends what is held with status, unexecuted (an ESHUTDOWN from the server, say); the session lives on. */
void lu_fake_fail_held(struct lu_fake_server *s, int status);
/* The connection breaks: what is held ends with -ECONNRESET, but stays with the server. */
void lu_fake_break(struct lu_fake_server *s);
/* The frozen server wakes up: writes of broken or closed sessions that it still has take effect. */
void lu_fake_wake(struct lu_fake_server *s);
/* Proof for all closed sessions that none of their requests takes effect any more. */
void lu_fake_fence(struct lu_fake_server *s);
unsigned lu_fake_held(const struct lu_fake_server *s);
