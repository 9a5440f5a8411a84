/*
 * A store on a reactor stepped by hand, with its answers as text: items are "key=value(created,
 * modified)", changes "+key=value@revision" and "-key@revision", errors "!code".
 */
#pragma once

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "store/store.h"

#define FIXTURE_TEXT 4096

struct fixture {
	struct reactor *reactor;
	struct store *store; /* NULL while closed */
	char dir[64];	     /* of the test; removed by teardown */
	char data[80];	     /* of the store, inside dir */
	bool sqlite;
};

/* An outcome that arrives later. */
struct outcome {
	bool called;
	bool succeeded;
	int code;
	uint64_t revision;
	size_t nr_items;
	char text[FIXTURE_TEXT];
	char message[512]; /* message and hint */
};

struct watch_log {
	struct store_watch *watch;
	char text[FIXTURE_TEXT];
};

int fixture_setup_mem(void **state);
int fixture_setup_sqlite(void **state);
/* A reactor and a directory, no store yet. */
int fixture_setup_closed(void **state);
int fixture_teardown(void **state);

int fixture_open(struct fixture *f, struct error *err);
void fixture_reopen(struct fixture *f);
void fixture_close(struct fixture *f);
void fixture_step_until(struct fixture *f, const bool *flag);

void outcome_on_items(void *ctx, const struct store_item *items, size_t nr_items, uint64_t revision,
    const struct error *err);
void outcome_on_txn(void *ctx, bool succeeded, uint64_t revision, const struct error *err);

/* Ask and wait. */
struct outcome fixture_range(struct fixture *f, const char *prefix);
struct outcome fixture_get(struct fixture *f, const char *key);
struct outcome fixture_txn(struct fixture *f, const struct store_compare *compares,
    size_t nr_compares, const struct store_op *ops, size_t nr_ops);
/* Returns the new revision. */
uint64_t fixture_put(struct fixture *f, const char *key, const char *value);
uint64_t fixture_delete(struct fixture *f, const char *key);

void fixture_watch(
    struct fixture *f, struct watch_log *log, const char *prefix, uint64_t from_revision);
/* Everything that was asked before has been answered and told. */
void fixture_settle(struct fixture *f);

#define OP_PUT(k, v)                                                                               \
	{                                                                                          \
		.kind = STORE_PUT, .key = (k), .value = (v), .value_len = sizeof(v) - 1            \
	}
#define OP_DELETE(k)                                                                               \
	{                                                                                          \
		.kind = STORE_DELETE, .key = (k)                                                   \
	}
#define OP_DELETE_PREFIX(k)                                                                        \
	{                                                                                          \
		.kind = STORE_DELETE_PREFIX, .key = (k)                                            \
	}
