#include "world.h"

#include "lu/doubt.h"

#include <errno.h>
#include <string.h>

static struct io_target *target(struct world *w)
{
	return lu_route_target(w->route);
}

/* A write of block 0 is in flight on a when a freezes; it is issued again on b and answered. */
static void leave_a_write_in_doubt(struct world *w, struct request *r, unsigned char fill)
{
	w->a.hold = true;
	w->a.hold_fence = true;
	w->a.refuses = true;
	request_start(r, target(w), 0, IO_WRITE, 0, fill);
	lu_fake_break(&w->a);
	world_until(w, r->done == 1);
	assert_int_equal(r->status, 0);
	assert_int_equal(w->storage[0], fill);
	assert_int_equal(lu_doubt_count(w->lu), 1);
}

static void write_over_a_range_in_doubt_waits_until_it_is_fenced(void **state)
{
	struct world w;
	struct request old = {0};
	struct request newer = {0};

	world_begin(&w);
	world_connect(&w);
	leave_a_write_in_doubt(&w, &old, 1);
	request_start(&newer, target(&w), 0, IO_WRITE, 0, 2);
	world_settle(&w);
	assert_int_equal(newer.done, 0);
	assert_int_equal(w.nr_in_doubt, 1);
	lu_fake_wake(&w.a); /* the old write lands now; nothing newer is below it */
	assert_int_equal(w.storage[0], 1);
	lu_fake_fence(&w.a);
	world_until(&w, newer.done == 1);
	assert_int_equal(newer.status, 0);
	assert_int_equal(w.storage[0], 2);
	assert_int_equal(lu_doubt_count(w.lu), 0);
	world_end(&w);
}

static void doubt_holds_on_other_routes_and_reactors(void **state)
{
	struct world w;
	struct lu_route *other = NULL;
	struct request old = {0};
	struct request r[3] = {0};

	world_begin(&w);
	world_connect(&w);
	assert_int_equal(lu_route_new(w.lu, w.if_b, &other, NULL), 0);
	leave_a_write_in_doubt(&w, &old, 1);
	request_start(&r[0], target(&w), 1, IO_DISCARD, 0, 0);
	request_start(&r[1], lu_route_target(other), 1, IO_WRITE, 0, 2);
	request_start(&r[2], lu_route_target(other), 0, IO_WRITE_ZEROES, 0, 0);
	world_settle(&w);
	assert_int_equal(r[0].done + r[1].done + r[2].done, 0);
	lu_fake_fence(&w.a);
	world_until(&w, r[0].done + r[1].done + r[2].done == 3);
	world_free_route(&w, other);
	world_end(&w);
}

static void route_made_while_there_is_doubt_respects_it(void **state)
{
	struct world w;
	struct lu_route *other = NULL;
	struct request old = {0};
	struct request r = {0};

	world_begin(&w);
	world_connect(&w);
	leave_a_write_in_doubt(&w, &old, 1);
	assert_int_equal(lu_route_new(w.lu, w.if_b, &other, NULL), 0);
	request_start(&r, lu_route_target(other), 1, IO_WRITE, 0, 2);
	world_settle(&w);
	assert_int_equal(r.done, 0);
	lu_fake_fence(&w.a);
	world_until(&w, r.done == 1);
	world_free_route(&w, other);
	world_end(&w);
}

static void reads_flushes_and_writes_elsewhere_pass_a_doubt(void **state)
{
	struct world w;
	struct request old = {0};
	struct request r[3] = {0};

	world_begin(&w);
	world_connect(&w);
	leave_a_write_in_doubt(&w, &old, 1);
	request_start(&r[0], target(&w), 0, IO_READ, 0, 0);
	request_start(&r[1], target(&w), 0, IO_FLUSH, 0, 0);
	request_start(&r[2], target(&w), 0, IO_WRITE, WORLD_BLOCK, 3);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(r[i].done, 1);
		assert_int_equal(r[i].status, 0);
	}
	world_end(&w);
}

static void reads_leave_nothing_in_doubt(void **state)
{
	struct world w;
	struct request r[2] = {0};

	world_begin(&w);
	world_connect(&w);
	w.a.hold = true;
	w.a.hold_fence = true;
	request_start(&r[0], target(&w), 0, IO_READ, 0, 0);
	request_start(&r[1], target(&w), 0, IO_FLUSH, 0, 0);
	lu_fake_break(&w.a);
	world_until(&w, r[0].done + r[1].done == 2);
	assert_int_equal(lu_doubt_count(w.lu), 0);
	world_end(&w);
}

/* Both were in flight: each would go over what the other may still do. */
static void two_overlapping_writes_in_doubt_wait_for_each_other(void **state)
{
	struct world w;
	struct request r[2] = {0};

	world_begin(&w);
	world_connect(&w);
	w.a.hold = true;
	w.a.hold_fence = true;
	w.a.refuses = true;
	request_start(&r[0], target(&w), 0, IO_WRITE, 0, 1);
	request_start(&r[1], target(&w), 1, IO_WRITE, 0, 2);
	lu_fake_break(&w.a);
	world_until(&w, lu_doubt_count(w.lu) == 2);
	world_settle(&w);
	assert_int_equal(r[0].done + r[1].done, 0);
	lu_fake_fence(&w.a);
	world_until(&w, r[0].done + r[1].done == 2);
	assert_int_equal(r[0].status, 0);
	assert_int_equal(r[1].status, 0);
	world_end(&w);
}

/* It went through a healthy path before the doubt was known, and is answered only after it is over. */
static void write_under_way_elsewhere_is_not_answered_before_the_doubt_is_over(void **state)
{
	struct world w;
	struct lu_route *other = NULL;
	struct request old = {0};
	struct request newer = {0};

	world_begin(&w);
	world_connect(&w);
	assert_int_equal(lu_route_new(w.lu, w.if_b, &other, NULL), 0);
	w.b.hold = true;
	request_start(&newer, lu_route_target(other), 1, IO_WRITE, 0, 2);
	w.a.hold = true;
	w.a.hold_fence = true;
	w.a.refuses = true;
	request_start(&old, target(&w), 0, IO_WRITE, 0, 1);
	lu_fake_break(&w.a);
	world_until(&w, lu_fake_held(&w.b) == 2);
	lu_fake_release(&w.b);
	assert_int_equal(old.done, 1);
	assert_int_equal(newer.done, 0);
	lu_fake_wake(&w.a);
	assert_int_equal(w.storage[0], 1);
	lu_fake_fence(&w.a);
	world_until(&w, newer.done == 1);
	assert_int_equal(newer.status, 0);
	assert_int_equal(w.storage[0], 2);
	world_free_route(&w, other);
	world_end(&w);
}

static void write_that_waits_too_long_for_a_doubt_fails_and_says_so(void **state)
{
	struct world w;
	struct request old = {0};
	struct request newer = {0};
	unsigned told;

	world_begin(&w);
	w.options.no_path_timeout_ns = 40 * NS_PER_MS;
	world_connect(&w);
	leave_a_write_in_doubt(&w, &old, 1);
	request_start(&newer, target(&w), 0, IO_WRITE, 0, 2);
	world_until(&w, w.nr_in_doubt == 1);
	told = w.nr_in_doubt;
	world_until(&w, newer.done == 1);
	assert_int_equal(newer.status, -EIO);
	world_until(&w, w.nr_in_doubt == told + 1);
	assert_int_equal(w.storage[0], 1);
	world_end(&w);
}

static void operator_who_confirms_the_death_ends_the_doubt(void **state)
{
	struct world w;
	struct request old = {0};
	struct request newer = {0};

	world_begin(&w);
	world_connect(&w);
	leave_a_write_in_doubt(&w, &old, 1);
	request_start(&newer, target(&w), 0, IO_WRITE, 0, 2);
	assert_int_equal(lu_path_confirm_dead(w.path_b), 0);
	world_settle(&w);
	assert_int_equal(newer.done, 0);
	assert_int_equal(lu_path_confirm_dead(w.path_a), 1);
	world_until(&w, newer.done == 1);
	assert_int_equal(newer.status, 0);
	assert_int_equal(lu_path_confirm_dead(w.path_a), 0);
	assert_int_equal(w.a.abandons, 1);
	world_end(&w);
}

static void doubts_outlive_their_path_and_end_by_another_ones_word(void **state)
{
	struct world w;
	struct request old = {0};
	struct request newer = {0};
	struct outcome freed = {0};

	world_begin(&w);
	world_connect(&w);
	leave_a_write_in_doubt(&w, &old, 1);
	lu_path_free(w.path_a, outcome_take_plain, &freed);
	world_until(&w, freed.done == 1);
	request_start(&newer, target(&w), 0, IO_WRITE, 0, 2);
	world_settle(&w);
	assert_int_equal(newer.done, 0);
	assert_int_equal(lu_path_confirm_dead(w.path_b), 1);
	world_until(&w, newer.done == 1);
	world_end(&w);
}

/* A path switch: the request comes back, and is run again by another route of the same LU. */
static void request_taken_back_is_known_again_by_another_route(void **state)
{
	struct world w;
	struct lu_route *other = NULL;
	struct request r = {0};
	struct request newer = {0};
	struct outcome taken = {0};

	world_begin(&w);
	world_connect(&w);
	w.a.hold = true;
	w.a.hold_fence = true;
	w.a.refuses = true;
	request_start(&r, target(&w), 0, IO_WRITE, 0, 1);
	lu_route_take_back(w.route, outcome_take_plain, &taken);
	world_until(&w, taken.done == 1);
	assert_int_equal(r.status, IO_REQUEUE);
	assert_int_equal(lu_doubt_count(w.lu), 1);
	assert_int_equal(lu_route_new(w.lu, w.if_b, &other, NULL), 0);
	request_start(&r, lu_route_target(other), 0, IO_WRITE, 0, 1);
	assert_int_equal(r.done, 1);
	assert_int_equal(r.status, 0);
	request_start(&newer, lu_route_target(other), 0, IO_WRITE, 0, 2);
	assert_int_equal(newer.done, 0);
	/* The struct is used for the next request: that one is a stranger. */
	request_start(&r, lu_route_target(other), 0, IO_WRITE, 0, 3);
	assert_int_equal(r.done, 0);
	lu_fake_fence(&w.a);
	world_until(&w, newer.done == 1 && r.done == 1);
	world_free_route(&w, other);
	world_end(&w);
}

static void set_finds_every_overlap_and_nothing_else(void **state)
{
	const struct doubt doubts[] = {
	    {{4096, 4096}, 1}, {{0, 100000}, 2}, {{200000, 512}, 3}, {{65536, 512}, 4}};
	struct doubt_set *set = NULL;

	assert_int_equal(doubt_set_new(doubts, ARRAY_SIZE(doubts), &set), 0);
	assert_true(doubt_set_blocks(set, (struct range){99999, 1}, 0));
	assert_false(doubt_set_blocks(set, (struct range){100000, 100000}, 0));
	assert_true(doubt_set_blocks(set, (struct range){100000, 100001}, 0));
	assert_false(doubt_set_blocks(set, (struct range){200000, 512}, 3));
	assert_true(doubt_set_blocks(set, (struct range){200511, 512}, 4));
	assert_false(doubt_set_blocks(set, (struct range){200512, 512}, 0));
	assert_true(doubt_set_blocks(set, (struct range){4096, 512}, 1));
	assert_false(doubt_set_blocks(set, (struct range){90000, 512}, 2));
	doubt_set_free(set);
	assert_int_equal(doubt_set_new(NULL, 0, &set), 0);
	assert_null(set);
	assert_false(doubt_set_blocks(NULL, (struct range){0, UINT64_MAX}, 0));
}

static void nameless_doubt_blocks_everybody(void **state)
{
	const struct doubt all = {{0, UINT64_MAX}, 0};
	struct doubt_set *set = NULL;

	assert_int_equal(doubt_set_new(&all, 1, &set), 0);
	assert_true(doubt_set_blocks(set, (struct range){0, 512}, 0));
	assert_true(doubt_set_blocks(set, (struct range){1 << 30, 512}, 7));
	doubt_set_free(set);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(write_over_a_range_in_doubt_waits_until_it_is_fenced),
	    cmocka_unit_test(doubt_holds_on_other_routes_and_reactors),
	    cmocka_unit_test(route_made_while_there_is_doubt_respects_it),
	    cmocka_unit_test(reads_flushes_and_writes_elsewhere_pass_a_doubt),
	    cmocka_unit_test(reads_leave_nothing_in_doubt),
	    cmocka_unit_test(two_overlapping_writes_in_doubt_wait_for_each_other),
	    cmocka_unit_test(write_under_way_elsewhere_is_not_answered_before_the_doubt_is_over),
	    cmocka_unit_test(write_that_waits_too_long_for_a_doubt_fails_and_says_so),
	    cmocka_unit_test(operator_who_confirms_the_death_ends_the_doubt),
	    cmocka_unit_test(doubts_outlive_their_path_and_end_by_another_ones_word),
	    cmocka_unit_test(request_taken_back_is_known_again_by_another_route),
	    cmocka_unit_test(set_finds_every_overlap_and_nothing_else),
	    cmocka_unit_test(nameless_doubt_blocks_everybody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
