/*
 * What an implementation of the store has to be able to do, and what all of them have in common:
 * compares, revisions and the history for watches. A transaction is worked out against the present
 * contents first, as a list of changes, and then applied in one piece.
 *
 * Thread rule: one thread at a time; calls block.
 */
#pragma once

#include "store/request.h"

/* Revisions whose changes are kept for watches. */
#define STORE_HISTORY 1024u

struct store_engine;

/* All required. They return 0 or -errno and fill err; out is only added to. */
struct store_engine_ops {
	/* The item with this key, or those whose key begins with it, in the order of their bytes.
	 */
	int (*find)(struct store_engine *e, const char *key, bool exact, struct store_items *out,
	    struct error *err);
	/* The changes from this revision on, in their order. It is among the kept ones. */
	int (*changes)(struct store_engine *e, const char *prefix, uint64_t from_revision,
	    struct store_items *out, struct error *err);
	/* All of it, durable, or nothing; sets the revision and forgets history before
	 * STORE_HISTORY revisions. The engine's revision field is advanced by the caller. */
	int (*apply)(struct store_engine *e, const struct store_items *changes, uint64_t revision,
	    struct error *err);
};

struct store_engine {
	const struct store_engine_ops *ops;
	uint64_t revision; /* loaded by the implementation */
};

/* Answers rq in place; a request that was refused before stays as it is. */
void store_engine_execute(struct store_engine *e, struct store_request *rq);
