#include "world.h"

#include "base/prng.h"

#include <stdio.h>
#include <string.h>

/*
 * Random trouble on two paths under random load, from a seed: sessions break, servers freeze and
 * wake up late, paths refuse and come back, routes give back and resume. Each client has one block
 * and one request at a time, so it knows what it must read.
 */
#define NR_CLIENTS 24
#define NR_TURNS 4000
#define NR_SEEDS 12

struct client {
	struct request r;
	bool busy;
	unsigned submitted;
	unsigned char next;	/* what the write under way writes */
	unsigned char expected; /* what the last answered write left */
};

struct chaos {
	struct world w;
	struct lu_route *routes[2];
	struct prng prng;
	uint64_t seed;
	struct client clients[NR_CLIENTS];
	bool giving_back;
	struct outcome taken;
};

static uint64_t offset_of(unsigned i)
{
	return (uint64_t)i * WORLD_BLOCK;
}

static void resubmit(struct chaos *c, unsigned i)
{
	struct client *client = &c->clients[i];
	enum io_op op = client->r.io.op;

	client->submitted++;
	request_start(&client->r, lu_route_target(c->routes[i % 2]), i / 2 % 2, op, offset_of(i),
	    client->next);
}

static void start(struct chaos *c, unsigned i)
{
	struct client *client = &c->clients[i];

	client->busy = true;
	client->r.io.op = prng_below(&c->prng, 3) == 0 ? IO_READ : IO_WRITE;
	client->next = (unsigned char)(1 + prng_below(&c->prng, 255));
	resubmit(c, i);
}

static void check_answer(struct chaos *c, unsigned i)
{
	struct client *client = &c->clients[i];

	if (client->r.done != 1 || client->r.status != 0) {
		fail_msg("seed %llu: client %u has %u answers, status %d",
		    (unsigned long long)c->seed, i, client->r.done, client->r.status);
	}
	if (client->r.io.op == IO_WRITE) {
		client->expected = client->next;
	} else if (client->r.data[0] != client->expected ||
		   client->r.data[WORLD_BLOCK - 1] != client->expected) {
		fail_msg("seed %llu: client %u reads %u, wrote %u", (unsigned long long)c->seed, i,
		    client->r.data[0], client->expected);
	}
	client->busy = false;
}

static void look_after(struct chaos *c, unsigned i)
{
	struct client *client = &c->clients[i];

	if (client->r.done == 0) {
		return;
	}
	if (client->r.status != IO_REQUEUE) {
		check_answer(c, i);
	} else if (!c->giving_back) {
		resubmit(c, i);
	}
}

static void run_clients(struct chaos *c, bool begin)
{
	for (unsigned i = 0; i < NR_CLIENTS; i++) {
		struct client *client = &c->clients[i];

		if (client->busy) {
			look_after(c, i);
		}
		if (!client->busy && begin && prng_below(&c->prng, 4) == 0) {
			start(c, i);
		}
		/* What was answered stays, whatever wakes up. */
		if (!client->busy) {
			assert_int_equal(c->w.storage[offset_of(i)], client->expected);
		}
	}
}

static void trouble(struct chaos *c)
{
	struct lu_fake_server *s = prng_below(&c->prng, 2) == 0 ? &c->w.a : &c->w.b;

	switch (prng_below(&c->prng, 12)) {
	case 0:
		lu_fake_break(s);
		break;
	case 1:
	case 2:
		s->hold = true;
		s->hold_fence = true;
		break;
	case 3:
	case 4:
		lu_fake_release(s);
		break;
	case 5:
		/* A server that has proven its death wakes nothing. */
		lu_fake_wake(s);
		s->hold_fence = false;
		lu_fake_fence(s);
		break;
	case 6:
		lu_fake_wake(s);
		break;
	case 7:
		s->refuses = !s->refuses;
		break;
	case 8:
		lu_path_reopen(s == &c->w.a ? c->w.path_a : c->w.path_b);
		break;
	case 9:
		if (!c->giving_back) {
			c->giving_back = true;
			lu_route_take_back(c->routes[0], outcome_take_plain, &c->taken);
		}
		break;
	case 10:
		if (c->giving_back && c->taken.done > 0) {
			c->giving_back = false;
			c->taken.done = 0;
			lu_route_resume(c->routes[0]);
		}
		break;
	default:
		break;
	}
}

static void mend(struct chaos *c)
{
	struct lu_fake_server *both[] = {&c->w.a, &c->w.b};

	for (unsigned i = 0; i < 2; i++) {
		both[i]->refuses = false;
		both[i]->hold_fence = false;
		lu_fake_release(both[i]);
		lu_fake_wake(both[i]);
		lu_fake_fence(both[i]);
	}
	if (c->giving_back) {
		c->giving_back = false;
		lu_route_resume(c->routes[0]);
	}
}

static bool all_quiet(struct chaos *c)
{
	run_clients(c, false);
	for (unsigned i = 0; i < NR_CLIENTS; i++) {
		if (c->clients[i].busy) {
			return false;
		}
	}
	return true;
}

static void run_seed(uint64_t seed)
{
	static struct chaos chaos;
	struct chaos *c = &chaos;

	*c = (struct chaos){.seed = seed};
	prng_seed(&c->prng, seed);
	world_begin(&c->w);
	c->w.options.no_path_timeout_ns = 3600 * NS_PER_S;
	c->w.options.io_timeout_ns = 3600 * NS_PER_S;
	c->w.options.damp_stable_ns = 2 * NS_PER_MS;
	world_connect(&c->w);
	c->routes[0] = c->w.route;
	assert_int_equal(lu_route_new(c->w.lu, c->w.if_b, &c->routes[1], NULL), 0);
	for (unsigned turn = 0; turn < NR_TURNS; turn++) {
		run_clients(c, true);
		if (prng_below(&c->prng, 16) == 0) {
			trouble(c);
		}
		reactor_group_step(c->w.group, prng_below(&c->prng, 64) == 0 ? 1 : 0);
	}
	mend(c);
	world_until(&c->w, all_quiet(c));
	world_free_route(&c->w, c->routes[1]);
	world_end(&c->w);
}

static void answered_writes_stay_and_every_request_ends_once(void **state)
{
	for (uint64_t seed = 1; seed <= NR_SEEDS; seed++) {
		run_seed(seed);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(answered_writes_stay_and_every_request_ends_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
