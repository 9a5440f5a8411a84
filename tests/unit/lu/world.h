/*
 * A world for tests of the path layer: two data reactors stepped by hand, one LU on two fake servers
 * "a" and "b" that share their storage, each through an interface of the same name, and a record of
 * the events.
 */
#pragma once

#include "lu/lu.h"
#include "lu_fake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define WORLD_SIZE (1u << 20)
#define WORLD_BLOCK 4096u

struct world {
	struct reactor_group *group;
	struct lu_options options;
	struct lu_events events;
	unsigned char *storage;
	unsigned char *other_storage;
	struct lu_fake_server a;
	struct lu_fake_server b;
	struct interface *if_a;
	struct interface *if_b;
	struct lu *lu;
	struct lu_path *path_a;
	struct lu_path *path_b;
	struct lu_route *route; /* prefers a */
	/* record */
	unsigned nr_moved;
	unsigned nr_no_path;
	unsigned nr_in_doubt;
	unsigned nr_degraded;
	unsigned nr_recovered;
	unsigned nr_states;
	unsigned gone; /* freed() callbacks */
};

/* The servers and interfaces, not the LU. Options are short enough for tests. */
void world_begin(struct world *w);
/* The LU and both paths, up; route. */
void world_connect(struct world *w);
void world_add_lu(struct world *w, uint64_t size, const char *identity);
struct lu_path *world_add_path(struct world *w, struct interface *i, const char *server);
void world_free_route(struct world *w, struct lu_route *r);
/* Frees whatever there is and checks that nothing is left. */
void world_end(struct world *w);
void world_step(struct world *w);
/* Some turns in which everything that can happen without time passing happens. */
void world_settle(struct world *w);

/* Steps until cond holds; the test fails when it never does. */
#define world_until(w, cond)                                                                       \
	do {                                                                                       \
		for (unsigned turn_ = 0; !(cond); turn_++) {                                       \
			if (turn_ > 20000) {                                                       \
				fail_msg("never came true: %s", #cond);                            \
			}                                                                          \
			world_step(w);                                                             \
		}                                                                                  \
	} while (0)

struct request {
	struct io io;
	struct iovec iov;
	unsigned char data[WORLD_BLOCK];
	unsigned done; /* completions */
	int status;
	struct request **order; /* NULL or where completions are noted */
	unsigned *nr_order;
};
/* Fills data with `fill` for a WRITE. Bounded to one block. */
void request_start(struct request *r, struct io_target *target, unsigned reactor, enum io_op op,
    uint64_t offset, unsigned char fill);

struct outcome {
	unsigned done;
	struct error error; /* code 0 = none */
};
void outcome_take(void *ctx, const struct error *err);
void outcome_take_plain(void *ctx);
