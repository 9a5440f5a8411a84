#include "world.h"

#include <errno.h>
#include <string.h>

static struct io_target *target(struct world *w)
{
	return lu_route_target(w->route);
}

/* Without the reads of fingerprints. */
static unsigned changes_seen(const struct lu_fake_server *s)
{
	unsigned n = 0;

	for (unsigned i = 0; i < s->nr_log; i++) {
		n += s->log[i].op != IO_READ ? 1 : 0;
	}
	return n;
}

static void request_goes_through_the_preferred_path(void **state)
{
	struct world w;
	struct request r = {0};

	world_begin(&w);
	world_connect(&w);
	request_start(&r, target(&w), 1, IO_WRITE, 8192, 7);
	assert_int_equal(r.done, 1);
	assert_int_equal(r.status, 0);
	assert_int_equal(w.storage[8192], 7);
	assert_int_equal(w.a.nr_log, 1);
	assert_int_equal(w.a.log[0].reactor, 1);
	assert_int_equal(w.b.nr_log, 0);
	world_end(&w);
}

static void requests_of_a_broken_session_are_issued_again_in_order(void **state)
{
	struct world w;
	struct request r[5] = {0};

	world_begin(&w);
	world_connect(&w);
	w.a.hold = true;
	for (unsigned i = 0; i < 5; i++) {
		request_start(&r[i], target(&w), 0, i == 2 ? IO_READ : IO_WRITE, i * 4096, i + 1);
	}
	lu_fake_break(&w.a);
	w.a.refuses = true;
	world_until(&w, w.b.nr_log == 5);
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(w.b.log[i].offset, i * 4096);
		assert_int_equal(r[i].done, 1);
		assert_int_equal(r[i].status, 0);
	}
	assert_ptr_equal(lu_route_active(w.route), w.path_b);
	assert_int_equal(w.nr_moved, 1);
	assert_int_equal(w.nr_no_path, 0);
	world_end(&w);
}

/* Completions arrive in any order, and new requests come while the session goes down. */
static void late_and_new_requests_keep_their_place(void **state)
{
	struct world w;
	struct request r[4] = {0};

	world_begin(&w);
	world_connect(&w);
	w.a.hold = true;
	for (unsigned i = 0; i < 3; i++) {
		request_start(&r[i], target(&w), 0, IO_READ, i * 4096, 0);
	}
	lu_fake_break(&w.a);
	request_start(&r[3], target(&w), 0, IO_READ, 3 * 4096, 0);
	assert_int_equal(r[3].done, 0);
	world_until(&w, w.b.nr_log == 4);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(w.b.log[i].offset, i * 4096);
		assert_int_equal(r[i].done, 1);
	}
	world_end(&w);
}

static void server_that_shuts_down_is_left_without_an_error(void **state)
{
	struct world w;
	struct request r = {0};

	world_begin(&w);
	world_connect(&w);
	w.a.hold = true;
	request_start(&r, target(&w), 0, IO_WRITE, 0, 3);
	lu_fake_fail_held(&w.a, -ESHUTDOWN);
	world_until(&w, r.done > 0);
	assert_int_equal(r.status, 0);
	assert_int_equal(w.b.nr_log, 1);
	world_end(&w);
}

static void medium_error_of_one_path_is_asked_of_the_other(void **state)
{
	struct world w;
	struct request r = {0};
	struct lu_stats stats;

	world_begin(&w);
	world_connect(&w);
	w.a.fail_status = -EIO;
	request_start(&r, target(&w), 0, IO_WRITE, 0, 9);
	assert_int_equal(r.done, 1);
	assert_int_equal(r.status, 0);
	assert_int_equal(w.storage[0], 9);
	assert_int_equal(w.b.nr_log, 1);
	lu_path_stats(w.path_a, &stats);
	assert_int_equal(stats.errors, 1);
	assert_int_equal(lu_path_state(w.path_a), LU_PATH_UP);
	world_end(&w);
}

static void medium_error_that_both_paths_give_is_returned(void **state)
{
	struct world w;
	struct request r = {0};

	world_begin(&w);
	world_connect(&w);
	w.a.fail_status = -EIO;
	w.b.fail_status = -EIO;
	request_start(&r, target(&w), 0, IO_READ, 0, 0);
	assert_int_equal(r.done, 1);
	assert_int_equal(r.status, -EIO);
	assert_int_equal(w.a.nr_log, 1);
	assert_int_equal(w.b.nr_log, 1);
	world_end(&w);
}

static void error_of_the_request_is_returned_at_once(void **state)
{
	struct world w;
	struct request r = {0};

	world_begin(&w);
	world_connect(&w);
	w.a.fail_status = -ENOSPC;
	request_start(&r, target(&w), 0, IO_WRITE, 0, 1);
	assert_int_equal(r.status, -ENOSPC);
	assert_int_equal(w.b.nr_log, 0);
	world_end(&w);
}

static void request_without_answer_costs_the_session_and_goes_elsewhere(void **state)
{
	struct world w;
	struct request r = {0};
	struct lu_stats stats;

	world_begin(&w);
	w.options.io_timeout_ns = 50 * NS_PER_MS;
	world_connect(&w);
	w.a.hold = true;
	request_start(&r, target(&w), 1, IO_WRITE, 4096, 4);
	world_until(&w, r.done > 0);
	assert_int_equal(r.status, 0);
	assert_int_equal(w.b.log[0].offset, 4096);
	lu_path_stats(w.path_a, &stats);
	assert_int_equal(stats.timeouts, 1);
	assert_int_equal(w.a.closes, 1);
	world_end(&w);
}

static void without_a_path_requests_wait_and_go_on_when_one_is_back(void **state)
{
	struct world w;
	struct request r[2] = {0};

	world_begin(&w);
	world_connect(&w);
	w.a.refuses = true;
	w.b.refuses = true;
	lu_fake_break(&w.a);
	lu_fake_break(&w.b);
	world_until(&w, lu_route_active(w.route) == NULL);
	world_settle(&w);
	request_start(&r[0], target(&w), 0, IO_WRITE, 0, 5);
	request_start(&r[1], target(&w), 1, IO_FLUSH, 0, 0);
	world_until(&w, w.nr_no_path == 1);
	world_settle(&w);
	assert_int_equal(r[0].done + r[1].done, 0);
	assert_int_equal(w.nr_no_path, 1);
	w.b.refuses = false;
	world_until(&w, r[0].done == 1 && r[1].done == 1);
	assert_int_equal(r[0].status, 0);
	assert_int_equal(r[1].status, 0);
	world_end(&w);
}

static void without_a_path_for_too_long_requests_fail(void **state)
{
	struct world w;
	struct request r[3] = {0};

	world_begin(&w);
	w.options.no_path_timeout_ns = 40 * NS_PER_MS;
	world_connect(&w);
	w.a.hold = true;
	request_start(&r[0], target(&w), 0, IO_WRITE, 0, 5);
	w.a.refuses = true;
	w.b.refuses = true;
	lu_fake_break(&w.b);
	lu_fake_break(&w.a);
	request_start(&r[1], target(&w), 0, IO_READ, 0, 5);
	request_start(&r[2], target(&w), 1, IO_FLUSH, 0, 0);
	world_until(&w, r[0].done + r[1].done + r[2].done == 3);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(r[i].done, 1);
		assert_int_equal(r[i].status, -EIO);
	}
	assert_int_equal(w.nr_no_path, 1);
	world_end(&w);
}

static void route_returns_to_the_path_it_prefers_after_a_flush_of_the_other(void **state)
{
	struct world w;
	struct request r = {0};

	world_begin(&w);
	w.options.damp_stable_ns = 20 * NS_PER_MS;
	world_connect(&w);
	lu_fake_break(&w.a);
	world_until(&w, lu_route_active(w.route) == w.path_b);
	w.b.nr_log = 0;
	w.b.hold = true;
	request_start(&r, target(&w), 0, IO_FLUSH, 0, 0);
	lu_fake_release(&w.b);
	w.b.nr_log = 0;
	world_until(&w, lu_route_active(w.route) == w.path_a);
	assert_int_equal(w.b.log[w.b.nr_log - 1].op, IO_FLUSH);
	request_start(&r, target(&w), 0, IO_WRITE, 0, 1);
	world_until(&w, r.done == 1);
	assert_int_equal(w.a.log[w.a.nr_log - 1].op, IO_WRITE);
	world_end(&w);
}

static void take_back_of_a_dead_path_gives_every_request_back(void **state)
{
	struct world w;
	struct request r[4] = {0};
	struct outcome taken = {0};

	world_begin(&w);
	world_connect(&w);
	w.a.hold = true;
	for (unsigned i = 0; i < 3; i++) {
		request_start(&r[i], target(&w), i % 2, i == 2 ? IO_FLUSH : IO_WRITE, i * 4096, 1);
	}
	lu_route_take_back(w.route, outcome_take_plain, &taken);
	assert_int_equal(taken.done, 0);
	world_until(&w, taken.done == 1);
	request_start(&r[3], target(&w), 0, IO_READ, 0, 0);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(r[i].done, 1);
		assert_int_equal(r[i].status, IO_REQUEUE);
	}
	assert_int_equal(changes_seen(&w.b), 0);
	world_settle(&w);
	assert_int_equal(taken.done, 1);
	world_end(&w);
}

static void take_back_with_nothing_in_flight_leaves_the_session_alone(void **state)
{
	struct world w;
	struct outcome taken = {0};

	world_begin(&w);
	world_connect(&w);
	lu_route_take_back(w.route, outcome_take_plain, &taken);
	world_until(&w, taken.done == 1);
	assert_int_equal(w.a.closes, 0);
	world_end(&w);
}

static void resume_after_take_back_carries_requests_again(void **state)
{
	struct world w;
	struct request r = {0};
	struct outcome taken = {0};

	world_begin(&w);
	world_connect(&w);
	w.a.hold = true;
	request_start(&r, target(&w), 0, IO_WRITE, 0, 6);
	lu_route_take_back(w.route, outcome_take_plain, &taken);
	world_until(&w, taken.done == 1);
	assert_int_equal(r.status, IO_REQUEUE);
	lu_fake_release(&w.a);
	lu_route_resume(w.route);
	world_until(&w, lu_route_active(w.route) != NULL);
	world_settle(&w);
	request_start(&r, target(&w), 0, IO_WRITE, 0, 6);
	world_until(&w, r.done == 1);
	assert_int_equal(r.status, 0);
	assert_int_equal(w.storage[0], 6);
	world_end(&w);
}

static void route_that_makes_no_progress_says_so(void **state)
{
	struct world w;
	struct request r = {0};

	world_begin(&w);
	world_connect(&w);
	assert_int_equal(lu_route_stalled_ns(w.route), 0);
	w.a.hold = true;
	request_start(&r, target(&w), 0, IO_READ, 0, 0);
	world_until(&w, lu_route_stalled_ns(w.route) > 3 * NS_PER_MS);
	lu_fake_release(&w.a);
	assert_int_equal(r.done, 1);
	assert_int_equal(lu_route_stalled_ns(w.route), 0);
	world_end(&w);
}

static void flush_goes_through_the_active_session(void **state)
{
	struct world w;
	struct outcome flushed = {0};

	world_begin(&w);
	world_connect(&w);
	lu_route_flush(w.route, NS_PER_S, outcome_take, &flushed);
	assert_int_equal(flushed.done, 0);
	world_until(&w, flushed.done == 1);
	assert_int_equal(flushed.error.code, 0);
	assert_int_equal(w.a.nr_log, 1);
	assert_int_equal(w.a.log[0].op, IO_FLUSH);
	w.a.hold = true;
	lu_route_flush(w.route, 5 * NS_PER_MS, outcome_take, &flushed);
	world_until(&w, flushed.done == 2);
	assert_int_equal(flushed.error.code, -ETIMEDOUT);
	world_end(&w);
	assert_int_equal(flushed.done, 2);
}

static void removing_the_path_in_use_moves_its_requests(void **state)
{
	struct world w;
	struct request r = {0};
	struct outcome freed = {0};

	world_begin(&w);
	world_connect(&w);
	w.a.hold = true;
	request_start(&r, target(&w), 0, IO_WRITE, 0, 2);
	lu_path_free(w.path_a, outcome_take_plain, &freed);
	assert_int_equal(lu_path_count(w.lu), 1);
	world_until(&w, freed.done == 1 && r.done == 1);
	assert_int_equal(r.status, 0);
	assert_int_equal(w.b.nr_log, 1);
	assert_int_equal(w.storage[0], 2);
	world_end(&w);
}

/* Two routes with different preferences share nothing but the LU. */
static void routes_of_one_lu_use_the_paths_they_prefer(void **state)
{
	struct world w;
	struct lu_route *other = NULL;
	struct request r[2] = {0};

	world_begin(&w);
	world_connect(&w);
	assert_int_equal(lu_route_new(w.lu, w.if_b, &other, NULL), 0);
	request_start(&r[0], target(&w), 0, IO_READ, 0, 0);
	request_start(&r[1], lu_route_target(other), 0, IO_READ, 4096, 0);
	assert_int_equal(w.a.nr_log, 1);
	assert_int_equal(w.b.nr_log, 1);
	lu_fake_break(&w.b);
	w.b.refuses = true;
	world_until(&w, lu_route_active(other) == w.path_a);
	assert_ptr_equal(lu_route_active(w.route), w.path_a);
	world_free_route(&w, other);
	world_end(&w);
}

static void route_made_before_any_path_promises_the_least_and_waits(void **state)
{
	struct world w;
	struct request r = {0};

	world_begin(&w);
	world_add_lu(&w, WORLD_SIZE, "");
	assert_int_equal(lu_route_new(w.lu, NULL, &w.route, NULL), 0);
	assert_int_equal(target(&w)->limits.block_size, 512);
	assert_false(target(&w)->limits.fua);
	request_start(&r, target(&w), 0, IO_READ, 0, 0);
	world_until(&w, w.nr_no_path == 1);
	world_add_path(&w, w.if_a, "a");
	world_until(&w, r.done == 1);
	assert_int_equal(r.status, 0);
	world_end(&w);
}

static void route_needs_a_known_size(void **state)
{
	struct world w;
	struct error err = {0};

	world_begin(&w);
	world_add_lu(&w, 0, "");
	assert_int_equal(lu_route_new(w.lu, NULL, &w.route, &err), -EAGAIN);
	assert_null(w.route);
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(request_goes_through_the_preferred_path),
	    cmocka_unit_test(requests_of_a_broken_session_are_issued_again_in_order),
	    cmocka_unit_test(late_and_new_requests_keep_their_place),
	    cmocka_unit_test(server_that_shuts_down_is_left_without_an_error),
	    cmocka_unit_test(medium_error_of_one_path_is_asked_of_the_other),
	    cmocka_unit_test(medium_error_that_both_paths_give_is_returned),
	    cmocka_unit_test(error_of_the_request_is_returned_at_once),
	    cmocka_unit_test(request_without_answer_costs_the_session_and_goes_elsewhere),
	    cmocka_unit_test(without_a_path_requests_wait_and_go_on_when_one_is_back),
	    cmocka_unit_test(without_a_path_for_too_long_requests_fail),
	    cmocka_unit_test(route_returns_to_the_path_it_prefers_after_a_flush_of_the_other),
	    cmocka_unit_test(take_back_of_a_dead_path_gives_every_request_back),
	    cmocka_unit_test(take_back_with_nothing_in_flight_leaves_the_session_alone),
	    cmocka_unit_test(resume_after_take_back_carries_requests_again),
	    cmocka_unit_test(route_that_makes_no_progress_says_so),
	    cmocka_unit_test(flush_goes_through_the_active_session),
	    cmocka_unit_test(removing_the_path_in_use_moves_its_requests),
	    cmocka_unit_test(routes_of_one_lu_use_the_paths_they_prefer),
	    cmocka_unit_test(route_made_before_any_path_promises_the_least_and_waits),
	    cmocka_unit_test(route_needs_a_known_size),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
