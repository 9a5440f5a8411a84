/*
 * The store: the cluster's database as a small key-value interface with transactions. SQLite
 * implements it for a single node, memory for tests. Keys are UTF-8 text like "/volumes/a"; values
 * are bytes (JSON by convention).
 *
 * The store has one revision, a counter that grows with every transaction that changes something;
 * every key remembers the revision at which it was created and last modified.
 *
 * Thread rule: the reactor given at creation (the control loop). Nothing blocks it: work is done
 * elsewhere, and every callback comes later on that reactor, in the order of the calls, exactly
 * once.
 */
#pragma once

#include "base/error.h"
#include "reactor/reactor.h"

struct store;

/* Bytes, so that every implementation can keep them. */
#define STORE_KEY_MAX 1024u
#define STORE_VALUE_MAX (1u << 20)

struct store_item {
	const char *key;
	const void *value;
	size_t value_len;
	uint64_t create_revision;
	uint64_t mod_revision;
};

/* Arrays and strings are valid during the callback only. err == NULL on success. */
typedef void (*store_range_fn)(void *ctx, const struct store_item *items, size_t nr_items,
    uint64_t revision, const struct error *err);

enum store_compare_kind {
	STORE_MOD_REVISION_IS, /* revision; 0 = the key does not exist */
	STORE_VALUE_IS,	       /* value, value_len */
};
struct store_compare {
	enum store_compare_kind kind;
	const char *key;
	uint64_t revision;
	const void *value;
	size_t value_len;
};

enum store_op_kind { STORE_PUT, STORE_DELETE, STORE_DELETE_PREFIX };
struct store_op {
	enum store_op_kind kind;
	const char *key;
	const void *value;
	size_t value_len;
	uint64_t lease; /* 0 = none: the key stays until deleted */
};

/*
 * succeeded: all compares held and the operations are durable. err: -EAGAIN and -ETIMEDOUT leave
 * the outcome unknown (the caller reads back); -EIO, -ENOSPC, -EROFS: nothing was changed. -EINVAL:
 * one transaction may not touch a key twice, by a prefix neither. -EOPNOTSUPP: a lease where there
 * are none. Called before the watches are told of its changes.
 */
typedef void (*store_txn_fn)(void *ctx, bool succeeded, uint64_t revision, const struct error *err);

/*
 * One change, in revision order; revision is item->mod_revision. item->value == NULL: deleted. err
 * (item is NULL then): the watch has ended (-ESTALE: compacted, list again); store_watch_cancel()
 * is still due.
 */
typedef void (*store_watch_fn)(
    void *ctx, const struct store_item *item, uint64_t revision, const struct error *err);
struct store_watch;

/* Everything passed in is copied before the call returns. */
void store_range(struct store *s, const char *prefix, store_range_fn done, void *ctx);
void store_get(
    struct store *s, const char *key, store_range_fn done, void *ctx); /* nr_items 0 or 1 */
void store_txn(struct store *s, const struct store_compare *compares, size_t nr_compares,
    const struct store_op *ops, size_t nr_ops, store_txn_fn done, void *ctx);
/* Changes under prefix from from_revision on (0 = by what is asked for after this call). -ENOMEM.
 */
int store_watch(struct store *s, const char *prefix, uint64_t from_revision, store_watch_fn changed,
    void *ctx, struct store_watch **ret_watch);
/* changed() is not called again. NULL is fine. */
void store_watch_cancel(struct store_watch *w);
/* Finishes what was asked, then closed(ctx); watches end with it. Nothing may be asked after it. */
void store_close(struct store *s, void (*closed)(void *ctx), void *ctx);
/* For people: "sqlite:/var/lib/sluice/store.db". */
const char *store_describe(const struct store *s);

/* dir/store.db, made when missing. -EBUSY when another process has it; -EBADMSG with advice when it
 * is damaged. */
int store_sqlite_open(
    struct reactor *control, const char *dir, struct store **ret_store, struct error *err);
/* For tests: gone with store_close(). */
int store_mem_open(struct reactor *control, struct store **ret_store, struct error *err);
