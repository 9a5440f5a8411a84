#include "world.h"

#include "lu/health.h"

#include <errno.h>
#include <string.h>

static bool reason_has(const struct lu_path *p, const char *text)
{
	return strstr(lu_path_reason(p), text) != NULL;
}

static void first_path_defines_size_and_identity(void **state)
{
	struct world w;

	world_begin(&w);
	w.a.identity = "scsi:naa.1";
	world_add_lu(&w, 0, "");
	assert_int_equal(lu_size(w.lu), 0);
	assert_null(lu_limits(w.lu));
	w.path_a = world_add_path(&w, w.if_a, "a");
	world_until(&w, lu_path_state(w.path_a) == LU_PATH_UP);
	assert_int_equal(lu_size(w.lu), WORLD_SIZE);
	assert_string_equal(lu_identity_text(w.lu), "scsi:naa.1");
	assert_int_equal(lu_limits(w.lu)->block_size, 512);
	assert_string_equal(lu_path_reason(w.path_a), "");
	assert_int_equal(w.nr_states, 1);
	world_end(&w);
}

static void smaller_path_is_refused_until_it_is_as_big(void **state)
{
	struct world w;

	world_begin(&w);
	w.b.size = WORLD_SIZE - 4096;
	world_add_lu(&w, WORLD_SIZE, "");
	w.path_b = world_add_path(&w, w.if_b, "b");
	world_until(&w, lu_path_state(w.path_b) == LU_PATH_REFUSED);
	assert_true(reason_has(w.path_b, "1044480"));
	world_until(&w, w.b.opens >= 3);
	w.b.size = WORLD_SIZE;
	world_until(&w, lu_path_state(w.path_b) == LU_PATH_UP);
	world_end(&w);
}

static void path_with_another_identity_is_refused(void **state)
{
	struct world w;

	world_begin(&w);
	w.a.identity = "scsi:naa.2";
	world_add_lu(&w, WORLD_SIZE, "scsi:naa.1");
	w.path_a = world_add_path(&w, w.if_a, "a");
	world_until(&w, lu_path_state(w.path_a) == LU_PATH_REFUSED);
	assert_true(reason_has(w.path_a, "naa.2"));
	world_end(&w);
}

static void path_to_other_data_is_refused_with_the_offset(void **state)
{
	struct world w;

	world_begin(&w);
	w.b.bytes = w.other_storage;
	w.other_storage[WORLD_SIZE - 1] = 1;
	world_add_lu(&w, 0, "");
	w.path_a = world_add_path(&w, w.if_a, "a");
	world_until(&w, lu_path_state(w.path_a) == LU_PATH_UP);
	w.path_b = world_add_path(&w, w.if_b, "b");
	world_until(&w, lu_path_state(w.path_b) == LU_PATH_REFUSED);
	assert_true(reason_has(w.path_b, "1044480 differs"));
	w.b.bytes = w.storage;
	world_until(&w, lu_path_state(w.path_b) == LU_PATH_UP);
	world_end(&w);
}

/* The copy is equal but for what was written since it was made. */
static void path_to_an_old_copy_is_refused(void **state)
{
	struct world w;
	struct request r = {0};

	world_begin(&w);
	world_connect(&w);
	w.b.refuses = true;
	lu_fake_break(&w.b);
	world_until(&w, lu_path_state(w.path_b) == LU_PATH_CONNECTING);
	request_start(&r, lu_route_target(w.route), 1, IO_WRITE, 77 * 4096, 5);
	w.b.bytes = w.other_storage;
	w.b.refuses = false;
	world_until(&w, lu_path_state(w.path_b) == LU_PATH_REFUSED);
	assert_true(reason_has(w.path_b, "315392 differs"));
	world_end(&w);
}

static void path_that_cannot_keep_the_promises_is_refused(void **state)
{
	struct world w;

	world_begin(&w);
	w.b.limits.block_size = 4096;
	world_add_lu(&w, 0, "");
	w.path_a = world_add_path(&w, w.if_a, "a");
	world_until(&w, lu_path_state(w.path_a) == LU_PATH_UP);
	assert_int_equal(lu_route_new(w.lu, NULL, &w.route, NULL), 0);
	w.path_b = world_add_path(&w, w.if_b, "b");
	world_until(&w, lu_path_state(w.path_b) == LU_PATH_REFUSED);
	assert_true(reason_has(w.path_b, "bigger blocks"));
	w.b.limits.block_size = 512;
	w.b.limits.fua = false;
	world_until(&w, reason_has(w.path_b, "forced unit access"));
	world_end(&w);
}

static void route_promises_what_all_known_paths_can(void **state)
{
	struct world w;

	world_begin(&w);
	w.b.limits.max_transfer = 65536;
	w.b.limits.discard_granularity = 0;
	world_connect(&w);
	assert_int_equal(lu_route_target(w.route)->limits.max_transfer, 65536);
	assert_int_equal(lu_route_target(w.route)->limits.discard_granularity, 0);
	assert_true(lu_route_target(w.route)->limits.fua);
	world_end(&w);
}

static void path_that_flaps_is_damped_until_it_is_stable(void **state)
{
	struct world w;

	world_begin(&w);
	w.options.damp_stable_ns = 60 * NS_PER_MS;
	world_connect(&w);
	for (unsigned i = 0; i < LU_DAMP_LOSSES; i++) {
		assert_int_equal(lu_path_state(w.path_a), LU_PATH_UP);
		lu_fake_break(&w.a);
		world_until(&w, lu_path_state(w.path_a) == LU_PATH_CONNECTING);
		world_until(&w, lu_path_state(w.path_a) == LU_PATH_UP ||
				    lu_path_state(w.path_a) == LU_PATH_DAMPED);
	}
	assert_int_equal(lu_path_state(w.path_a), LU_PATH_DAMPED);
	assert_ptr_equal(lu_route_active(w.route), w.path_b);
	world_until(&w, lu_path_state(w.path_a) == LU_PATH_UP);
	world_until(&w, lu_route_active(w.route) == w.path_a);
	world_end(&w);
}

static void damped_path_is_used_when_nothing_better_is_up(void **state)
{
	struct world w;
	struct request r = {0};

	world_begin(&w);
	w.options.damp_stable_ns = 3600 * NS_PER_S;
	world_connect(&w);
	for (unsigned i = 0; i < LU_DAMP_LOSSES; i++) {
		lu_fake_break(&w.a);
		world_until(&w, lu_path_state(w.path_a) == LU_PATH_CONNECTING);
		world_until(&w, lu_path_state(w.path_a) != LU_PATH_CONNECTING);
	}
	assert_int_equal(lu_path_state(w.path_a), LU_PATH_DAMPED);
	w.b.refuses = true;
	lu_fake_break(&w.b);
	world_until(&w, lu_route_active(w.route) == w.path_a);
	world_settle(&w);
	request_start(&r, lu_route_target(w.route), 0, IO_READ, 0, 0);
	assert_int_equal(r.done, 1);
	assert_int_equal(r.status, 0);
	world_end(&w);
}

static void waiting_for_a_path_ends_with_its_next_try(void **state)
{
	struct world w;
	struct outcome o = {0};

	world_begin(&w);
	w.a.refuses = true;
	world_add_lu(&w, 0, "");
	w.path_a = world_add_path(&w, w.if_a, "a");
	lu_path_wait_up(w.path_a, NS_PER_S, outcome_take, &o);
	assert_int_equal(o.done, 0);
	world_until(&w, o.done == 1);
	assert_int_equal(o.error.code, -ECONNREFUSED);
	w.a.refuses = false;
	lu_path_wait_up(w.path_a, NS_PER_S, outcome_take, &o);
	world_until(&w, o.done == 2);
	assert_int_equal(o.error.code, 0);
	lu_path_wait_up(w.path_a, NS_PER_S, outcome_take, &o);
	assert_int_equal(o.done, 2);
	world_until(&w, o.done == 3);
	assert_int_equal(o.error.code, 0);
	world_end(&w);
}

static void suspended_path_stays_closed_until_it_is_reopened(void **state)
{
	struct world w;
	struct outcome o = {0};
	unsigned opens;

	world_begin(&w);
	world_connect(&w);
	lu_path_suspend(w.path_a, outcome_take_plain, &o);
	assert_int_equal(o.done, 0);
	world_until(&w, o.done == 1);
	assert_int_equal(w.a.nr_open, 0);
	assert_ptr_equal(lu_route_active(w.route), w.path_b);
	opens = w.a.opens;
	world_settle(&w);
	assert_int_equal(w.a.opens, opens);
	assert_int_equal(interface_set_network_id(w.if_a, "iqn.x"), 0);
	lu_path_reopen(w.path_a);
	world_until(&w, lu_path_state(w.path_a) == LU_PATH_UP);
	world_end(&w);
}

static void probe_reads_through_the_paths_own_session(void **state)
{
	struct world w;
	struct outcome o = {0};

	world_begin(&w);
	world_connect(&w);
	lu_path_probe(w.path_b, NS_PER_S, outcome_take, &o);
	assert_int_equal(o.done, 0);
	world_until(&w, o.done == 1);
	assert_int_equal(o.error.code, 0);
	assert_true(w.b.nr_log > 2);
	assert_int_equal(w.a.nr_log, 0);
	w.b.fail_status = -EIO;
	lu_path_probe(w.path_b, NS_PER_S, outcome_take, &o);
	world_until(&w, o.done == 2);
	assert_int_equal(o.error.code, -EIO);
	w.b.fail_status = 0;
	w.b.hold = true;
	lu_path_probe(w.path_b, 5 * NS_PER_MS, outcome_take, &o);
	world_until(&w, o.done == 3);
	assert_int_equal(o.error.code, -ETIMEDOUT);
	world_end(&w);
	assert_int_equal(o.done, 3);
}

static void quiet_comparison_takes_one_difference_as_proof(void **state)
{
	struct world w;
	struct outcome o = {0};

	world_begin(&w);
	world_connect(&w);
	lu_path_compare(w.path_a, w.path_b, true, NS_PER_S, outcome_take, &o);
	world_until(&w, o.done == 1);
	assert_int_equal(o.error.code, 0);
	w.b.bytes = w.other_storage;
	w.storage[0] = 1;
	w.a.nr_log = 0;
	lu_path_compare(w.path_a, w.path_b, true, NS_PER_S, outcome_take, &o);
	world_until(&w, o.done == 2);
	assert_int_equal(o.error.code, -ESTALE);
	assert_non_null(strstr(o.error.message, "offset 0 differs"));
	w.b.bytes = w.storage;
	world_end(&w);
}

/* The other read saw a write half done: reading again settles it. */
static void difference_that_does_not_stay_is_none(void **state)
{
	struct world w;
	struct outcome o = {0};

	world_begin(&w);
	world_connect(&w);
	w.b.bytes = w.other_storage;
	w.storage[0] = 1;
	w.b.nr_log = 0;
	lu_path_compare(w.path_a, w.path_b, false, 10 * NS_PER_S, outcome_take, &o);
	world_until(&w, w.b.nr_log > 0);
	world_settle(&w);
	assert_int_equal(o.done, 0);
	w.b.bytes = w.storage;
	world_until(&w, o.done == 1);
	assert_int_equal(o.error.code, 0);
	world_end(&w);
}

static void difference_that_stays_is_one_under_load_too(void **state)
{
	struct world w;
	struct outcome o = {0};

	world_begin(&w);
	world_connect(&w);
	w.b.bytes = w.other_storage;
	w.storage[0] = 1;
	lu_path_compare(w.path_a, w.path_b, false, 10 * NS_PER_S, outcome_take, &o);
	world_until(&w, o.done == 1);
	assert_int_equal(o.error.code, -ESTALE);
	w.b.bytes = w.storage;
	world_end(&w);
}

/* Errors of the reference must not keep a healthy path out. */
static void comparison_reads_again_what_could_not_be_read(void **state)
{
	struct world w;
	struct outcome o = {0};

	world_begin(&w);
	world_connect(&w);
	w.a.fail_status = -EIO;
	w.a.nr_log = 0;
	lu_path_compare(w.path_a, w.path_b, false, 10 * NS_PER_S, outcome_take, &o);
	world_until(&w, w.a.nr_log > 0);
	world_settle(&w);
	assert_int_equal(o.done, 0);
	w.a.fail_status = 0;
	world_until(&w, o.done == 1);
	assert_int_equal(o.error.code, 0);
	w.a.fail_status = -EIO; /* for good */
	lu_path_compare(w.path_a, w.path_b, false, 10 * NS_PER_S, outcome_take, &o);
	world_until(&w, o.done == 2);
	assert_int_equal(o.error.code, -EIO);
	w.a.fail_status = 0;
	world_end(&w);
}

static void comparison_survives_the_loss_of_a_session(void **state)
{
	struct world w;
	struct outcome o = {0};

	world_begin(&w);
	world_connect(&w);
	w.b.hold = true;
	lu_path_compare(w.path_a, w.path_b, false, 10 * NS_PER_S, outcome_take, &o);
	world_until(&w, lu_fake_held(&w.b) > 0);
	lu_fake_break(&w.b);
	world_until(&w, o.done == 1);
	assert_int_equal(o.error.code, -ECONNRESET);
	world_end(&w);
}

static void idle_path_is_probed_and_left_when_it_is_mute(void **state)
{
	struct world w;

	world_begin(&w);
	w.options.probe_interval_ns = 10 * NS_PER_MS;
	w.options.io_timeout_ns = 30 * NS_PER_MS;
	world_connect(&w);
	world_until(&w, w.b.nr_log >= 2);
	w.b.hold = true;
	world_until(&w, w.b.closes == 1);
	lu_fake_release(&w.b);
	world_until(&w, lu_path_state(w.path_b) == LU_PATH_UP);
	world_end(&w);
}

static void path_of_an_unknown_server_is_refused_at_once(void **state)
{
	struct world w;
	struct lu_path *p = NULL;
	struct error err = {0};
	json_t *address = json_pack("{s:s}", "server", "none");

	world_begin(&w);
	world_add_lu(&w, 0, "");
	assert_int_equal(lu_path_new(w.lu, w.if_a, address, NULL, &p, &err), -EINVAL);
	assert_null(p);
	assert_int_equal(interface_path_count(w.if_a), 0);
	json_decref(address);
	world_end(&w);
}

static void command_to_a_path_that_takes_none_is_refused(void **state)
{
	struct world w;
	struct error err = {0};
	json_t *command = json_object();

	world_begin(&w);
	world_connect(&w);
	assert_int_equal(lu_path_control(w.path_a, command, &err), -EOPNOTSUPP);
	json_decref(command);
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(first_path_defines_size_and_identity),
	    cmocka_unit_test(smaller_path_is_refused_until_it_is_as_big),
	    cmocka_unit_test(path_with_another_identity_is_refused),
	    cmocka_unit_test(path_to_other_data_is_refused_with_the_offset),
	    cmocka_unit_test(path_to_an_old_copy_is_refused),
	    cmocka_unit_test(path_that_cannot_keep_the_promises_is_refused),
	    cmocka_unit_test(route_promises_what_all_known_paths_can),
	    cmocka_unit_test(path_that_flaps_is_damped_until_it_is_stable),
	    cmocka_unit_test(damped_path_is_used_when_nothing_better_is_up),
	    cmocka_unit_test(waiting_for_a_path_ends_with_its_next_try),
	    cmocka_unit_test(suspended_path_stays_closed_until_it_is_reopened),
	    cmocka_unit_test(probe_reads_through_the_paths_own_session),
	    cmocka_unit_test(quiet_comparison_takes_one_difference_as_proof),
	    cmocka_unit_test(difference_that_does_not_stay_is_none),
	    cmocka_unit_test(difference_that_stays_is_one_under_load_too),
	    cmocka_unit_test(comparison_reads_again_what_could_not_be_read),
	    cmocka_unit_test(comparison_survives_the_loss_of_a_session),
	    cmocka_unit_test(idle_path_is_probed_and_left_when_it_is_mute),
	    cmocka_unit_test(path_of_an_unknown_server_is_refused_at_once),
	    cmocka_unit_test(command_to_a_path_that_takes_none_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
