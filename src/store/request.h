/*
 * What is asked of a store, on its way from the caller to an implementation and back with the
 * answer: a deep copy of the arguments, and room for the result.
 *
 * Thread rule: belongs to one thread at a time, handed over with the request.
 */
#pragma once

#include "base/list.h"
#include "store/store.h"

/* Items that own their memory: item[i].key is the start of one block with key and value. */
struct store_items {
	struct store_item *item;
	size_t nr;
	size_t capacity;
};
/* Copies. value NULL = deleted (kept as NULL; an empty value is not). -ENOMEM. */
int store_items_add(struct store_items *items, const struct store_item *from);
void store_items_clear(struct store_items *items);

enum store_request_kind {
	STORE_REQUEST_RANGE,
	STORE_REQUEST_TXN,
	STORE_REQUEST_WATCH, /* the past of a watch; what comes later is told by transactions */
	STORE_REQUEST_CLOSE,
};

struct store_request {
	struct reactor_msg msg;
	struct list link; /* the implementation's queue */
	struct store *store;
	enum store_request_kind kind;

	char *key; /* of a range or a watch: a prefix unless exact */
	bool exact;
	uint64_t from_revision;
	struct store_compare *compares;
	size_t nr_compares;
	struct store_op *ops;
	size_t nr_ops;

	/* Found items; for a transaction and a watch: changes, in order, with mod_revision = the
	 * revision of the change. */
	struct store_items items;
	bool succeeded;
	uint64_t revision;
	struct error err; /* set before it is executed: refused, not executed */

	struct store_watch *watch;
	union {
		store_range_fn range;
		store_txn_fn txn;
		void (*closed)(void *ctx);
	} done;
	void *ctx;
};

/* Never NULL: a daemon that cannot get these few bytes could not even report it, and stops. */
struct store_request *store_request_new(struct store *s, enum store_request_kind kind, void *ctx);
void store_request_free(struct store_request *rq);
/* Copy arguments in, checked; a refusal is left in rq->err. */
void store_request_set_key(struct store_request *rq, const char *key, bool exact);
void store_request_set_txn(struct store_request *rq, const struct store_compare *compares,
    size_t nr_compares, const struct store_op *ops, size_t nr_ops);
