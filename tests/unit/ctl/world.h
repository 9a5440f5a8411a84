/*
 * A control plane on a store in memory and reactors stepped by hand, with a directory for the files
 * of its LUs. The store can be told to fail one of its transactions.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ctl/change.h"

struct world {
	struct reactor_group *group;
	struct store *store;
	struct ctl *ctl;
	char dir[64];
	unsigned txns;	  /* transactions of objects, events not counted, since world_fail_at() */
	unsigned fail_at; /* this one fails; 0 = none */
	bool failed;	  /* it came to that */
};

struct answer {
	unsigned called;
	int code; /* of the error; 0 = done */
	json_t *result;
	char message[512];
};

/* cmocka set-up and teardown: a loaded, empty control plane. */
int world_setup(void **state);
int world_teardown(void **state);

void world_open(struct world *w);
void world_close(struct world *w);
/* Closes and loads again from the same store. */
void world_restart(struct world *w);
void world_step(struct world *w);
void world_settle(struct world *w);
/* Steps until *flag is not 0. */
void world_until(struct world *w, const unsigned *flag);
void world_fail_at(struct world *w, unsigned n);

/* Begins an operation; params as for json_pack(). */
void world_begin(struct world *w, struct answer *a, enum ctl_op op, const char *params_format, ...);
/* Runs it to its end: the result, borrowed until the next call; the test fails when it is refused. */
json_t *world_done(struct world *w, enum ctl_op op, const char *params_format, ...);
/* Runs it to its end: the error's code; 0 when it was done. */
int world_code(struct world *w, enum ctl_op op, const char *params_format, ...);
/* Waits for what was begun. */
void world_wait(struct world *w, struct answer *a);
void answer_free(struct answer *a);

/* A file of 1 MiB in the directory whose bytes depend on `content`; its path. */
const char *world_file(struct world *w, char path[128], const char *name, unsigned char content);
/* Interfaces f1 and f2 of kind file, LU a on a file through both, volume v on it through f1. */
void world_two_paths(struct world *w);

/* For ends: *(unsigned *)ctx = 1. */
void world_flag(void *ctx);

/* The store itself. */
void world_put(struct world *w, const char *key, const char *value);
/* Number of keys with the prefix; the last one's value in `value` when that is not NULL. */
size_t world_keys(struct world *w, const char *prefix, char *value, size_t len);
/* Events of that type that are kept. */
unsigned world_events(const struct world *w, const char *type);
const char *text_of(const json_t *object, const char *member);
int64_t number_of(const json_t *object, const char *member);
