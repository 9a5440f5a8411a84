/*
 * The front of a store, shared by its implementations: order of answers, watches, closing. An
 * implementation embeds struct store as its first member.
 *
 * Thread rule: control loop, unless stated.
 */
#pragma once

#include "store/request.h"

struct store_ops {
	/* Has rq executed later, in the order of the calls, and then answered by
	 * store_request_answer(). */
	void (*submit)(struct store *s, struct store_request *rq);
	/* After the STORE_REQUEST_CLOSE was answered: nothing comes any more, frees s. */
	void (*free)(struct store *s);
};

struct store {
	const struct store_ops *ops;
	struct reactor *control;
	struct list watches;
	char *description;
	unsigned delivering; /* callbacks on the stack: watches that were cancelled stay until 0 */
	bool closing;
};

/* description is copied. -ENOMEM. */
int store_init(
    struct store *s, const struct store_ops *ops, struct reactor *control, const char *description);
void store_fini(struct store *s);
/* Any thread: rq is executed, its caller hears of it on the control loop. */
void store_request_answer(struct store_request *rq);
