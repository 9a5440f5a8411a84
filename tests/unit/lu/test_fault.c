#include "world.h"

#include "memtarget.h"

#include <errno.h>
#include <string.h>

struct rig {
	struct reactor_group *group;
	struct memtarget *inner;
	struct lu_session *session;
	unsigned opened;
	unsigned lost;
	unsigned closed;
	unsigned fenced;
};

static void on_opened(struct lu_session *s, const struct error *err)
{
	assert_null(err);
	((struct rig *)s->owner)->opened++;
}

static void on_lost(struct lu_session *s, const struct error *why)
{
	((struct rig *)s->owner)->lost++;
}

static void on_closed(struct lu_session *s)
{
	((struct rig *)s->owner)->closed++;
}

static void on_fenced(struct lu_session *s)
{
	((struct rig *)s->owner)->fenced++;
}

static const struct lu_session_events events = {
    .opened = on_opened, .lost = on_lost, .closed = on_closed, .fenced = on_fenced};

static void settle(struct rig *rig)
{
	for (unsigned i = 0; i < 32; i++) {
		reactor_group_step(rig->group, 0);
	}
}

#define rig_until(rig, cond)                                                                       \
	do {                                                                                       \
		for (unsigned turn_ = 0; !(cond); turn_++) {                                       \
			if (turn_ > 20000) {                                                       \
				fail_msg("never came true: %s", #cond);                            \
			}                                                                          \
			reactor_group_step((rig)->group, 1);                                       \
		}                                                                                  \
	} while (0)

static void rig_begin(struct rig *rig, const char *rules)
{
	struct reactor_group_options options = {.nr_data = 2, .manual = true};
	json_t *address = json_pack("{s:o}", "rules", json_loads(rules, 0, NULL));
	struct lu_session_params params = {
	    .address = address, .network_id = "", .bind = "", .events = &events, .owner = rig};
	struct error err = {0};

	*rig = (struct rig){0};
	assert_int_equal(reactor_group_new(&options, &rig->group, NULL), 0);
	rig->inner = memtarget_new(rig->group, WORLD_SIZE, true);
	assert_non_null(rig->inner);
	params.group = rig->group;
	params.inner = &rig->inner->target;
	assert_int_equal(lu_driver_fault.check(address, &err), 0);
	assert_int_equal(lu_driver_fault.open(&params, &rig->session, &err), 0);
	assert_int_equal(rig->opened, 0);
	settle(rig);
	assert_int_equal(rig->opened, 1);
	assert_int_equal(rig->session->target.size, WORLD_SIZE);
	json_decref(address);
}

static void rig_close(struct rig *rig)
{
	lu_driver_fault.close(rig->session);
	assert_int_equal(rig->closed, 0);
	settle(rig);
}

static void rig_end(struct rig *rig)
{
	if (rig->closed == 0) {
		rig_close(rig);
	}
	assert_int_equal(rig->closed, 1);
	assert_int_equal(rig->fenced, 1);
	memtarget_free(rig->inner);
	reactor_group_free(rig->group);
}

static int command(struct rig *rig, const char *text)
{
	json_t *json = json_loads(text, 0, NULL);
	int rc = lu_driver_fault.control(rig->session, json, NULL);

	json_decref(json);
	settle(rig);
	return rc;
}

static void start(
    struct rig *rig, struct request *r, unsigned reactor, enum io_op op, uint64_t offset)
{
	request_start(r, &rig->session->target, reactor, op, offset, 1);
}

static void without_rules_every_operation_passes(void **state)
{
	struct rig rig;
	struct request r = {0};

	rig_begin(&rig, "[]");
	for (unsigned op = 0; op < IO_OP_COUNT; op++) {
		if (op != IO_BLOCK_STATUS) {
			start(&rig, &r, op % 2, (enum io_op)op, 0);
			assert_int_equal(r.done, 1);
			assert_int_equal(r.status, 0);
			assert_int_equal(rig.inner->seen[op], 1);
		}
	}
	rig_end(&rig);
}

static void error_rule_hits_the_operations_and_range_it_names(void **state)
{
	struct rig rig;
	struct request r = {0};

	rig_begin(&rig, "[{\"action\": \"error\", \"errno\": \"ENOSPC\", \"ops\": [\"write\"],"
			"\"offset\": 8192, \"length\": 4096}]");
	start(&rig, &r, 0, IO_WRITE, 4096);
	assert_int_equal(r.status, 0);
	start(&rig, &r, 0, IO_READ, 8192);
	assert_int_equal(r.status, 0);
	start(&rig, &r, 1, IO_WRITE, 8192);
	assert_int_equal(r.done, 1);
	assert_int_equal(r.status, -ENOSPC);
	assert_int_equal(rig.inner->seen[IO_WRITE], 1);
	rig_end(&rig);
}

static void probability_hits_some_and_not_all(void **state)
{
	struct rig rig;
	struct request r = {0};
	unsigned failed = 0;

	rig_begin(&rig, "[{\"action\": \"error\", \"errno\": \"EIO\", \"probability\": 0.5}]");
	for (unsigned i = 0; i < 1000; i++) {
		start(&rig, &r, 0, IO_READ, 0);
		failed += r.status == -EIO ? 1 : 0;
	}
	assert_in_range(failed, 300, 700);
	rig_end(&rig);
}

static void corrupt_rule_changes_one_byte_of_what_is_read(void **state)
{
	struct rig rig;
	struct request r = {0};
	unsigned wrong = 0;

	rig_begin(&rig, "[{\"action\": \"corrupt\"}]");
	start(&rig, &r, 0, IO_WRITE, 0);
	assert_int_equal(rig.inner->bytes[0], 1);
	start(&rig, &r, 0, IO_READ, 0);
	for (unsigned i = 0; i < WORLD_BLOCK; i++) {
		wrong += r.data[i] != 1 ? 1 : 0;
	}
	assert_int_equal(wrong, 1);
	rig_end(&rig);
}

static void delayed_request_is_executed_later(void **state)
{
	struct rig rig;
	struct request r = {0};

	rig_begin(&rig, "[{\"action\": \"delay\", \"delay_us\": 2000, \"jitter_us\": 1000}]");
	start(&rig, &r, 1, IO_WRITE, 0);
	assert_int_equal(r.done, 0);
	assert_int_equal(rig.inner->seen[IO_WRITE], 0);
	rig_until(&rig, r.done == 1);
	assert_int_equal(r.status, 0);
	assert_int_equal(rig.inner->seen[IO_WRITE], 1);
	rig_end(&rig);
}

static void stopped_requests_go_on_in_order_at_resume(void **state)
{
	struct rig rig;
	struct request r[4] = {0};
	struct request later = {0};
	struct request *order[4];
	unsigned nr_order = 0;

	rig_begin(&rig, "[]");
	assert_int_equal(command(&rig, "{\"rules\": [{\"action\": \"stop\", \"tag\": \"t\"}]}"), 0);
	for (unsigned i = 0; i < 4; i++) {
		r[i].order = order;
		r[i].nr_order = &nr_order;
		start(&rig, &r[i], 0, i == 1 ? IO_FLUSH : IO_WRITE, i * 4096);
	}
	settle(&rig);
	assert_int_equal(nr_order, 0);
	assert_int_equal(command(&rig, "{\"resume\": \"other\"}"), -ENOENT);
	assert_int_equal(nr_order, 0);
	assert_int_equal(command(&rig, "{\"resume\": \"t\"}"), 0);
	assert_int_equal(nr_order, 4);
	for (unsigned i = 0; i < 4; i++) {
		assert_ptr_equal(order[i], &r[i]);
		assert_int_equal(r[i].status, 0);
	}
	start(&rig, &later, 0, IO_READ, 0);
	assert_int_equal(later.done, 1);
	rig_end(&rig);
}

static void dropped_and_stopped_and_delayed_requests_come_back_at_close(void **state)
{
	struct rig rig;
	struct request r[3] = {0};

	rig_begin(&rig, "[{\"action\": \"drop\", \"ops\": [\"write\"]},"
			"{\"action\": \"stop\", \"tag\": \"t\", \"ops\": [\"flush\"]},"
			"{\"action\": \"delay\", \"delay_us\": 3600000000, \"ops\": [\"read\"]}]");
	start(&rig, &r[0], 0, IO_WRITE, 0);
	start(&rig, &r[1], 1, IO_FLUSH, 0);
	start(&rig, &r[2], 1, IO_READ, 0);
	settle(&rig);
	assert_int_equal(r[0].done + r[1].done + r[2].done, 0);
	rig_close(&rig);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(r[i].done, 1);
		assert_int_equal(r[i].status, -ECONNABORTED);
	}
	assert_int_equal(rig.inner->seen[IO_WRITE], 0);
	rig_end(&rig);
}

static void close_waits_for_what_the_inner_target_still_has(void **state)
{
	struct rig rig;
	struct request r = {0};

	rig_begin(&rig, "[]");
	rig.inner->mode = MEMTARGET_HELD;
	start(&rig, &r, 1, IO_WRITE, 0);
	rig_close(&rig);
	assert_int_equal(rig.closed, 0);
	assert_int_equal(r.done, 0);
	memtarget_resume(rig.inner, MEMTARGET_INLINE);
	rig_until(&rig, rig.fenced == 1);
	assert_int_equal(r.done, 1);
	assert_int_equal(r.status, 0);
	rig_end(&rig);
}

static void session_told_to_be_lost_gives_everything_back(void **state)
{
	struct rig rig;
	struct request r[2] = {0};

	rig_begin(&rig, "[{\"action\": \"drop\"}]");
	start(&rig, &r[0], 0, IO_WRITE, 0);
	assert_int_equal(command(&rig, "{\"lose\": true}"), 0);
	assert_int_equal(rig.lost, 1);
	assert_int_equal(r[0].status, -ECONNRESET);
	start(&rig, &r[1], 1, IO_READ, 0);
	assert_int_equal(r[1].done, 1);
	assert_true(io_status_is_transport(r[1].status));
	rig_end(&rig);
	assert_int_equal(rig.lost, 1);
}

static void many_commands_in_one_turn_end_with_the_last(void **state)
{
	struct rig rig;
	struct request r = {0};
	json_t *stop = json_loads("{\"rules\": [{\"action\": \"stop\", \"tag\": \"t\"}]}", 0, NULL);
	json_t *none = json_loads("{\"rules\": []}", 0, NULL);

	rig_begin(&rig, "[]");
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(lu_driver_fault.control(rig.session, stop, NULL), 0);
		assert_int_equal(lu_driver_fault.control(rig.session, none, NULL), 0);
	}
	settle(&rig);
	start(&rig, &r, 0, IO_READ, 0);
	assert_int_equal(r.done, 1);
	json_decref(stop);
	json_decref(none);
	rig_end(&rig);
}

static void bad_rules_are_refused_and_change_nothing(void **state)
{
	static const char *const bad[] = {
	    "{\"rules\": 1}",
	    "{\"rules\": [1]}",
	    "{\"rules\": [{}]}",
	    "{\"rules\": [{\"action\": \"explode\"}]}",
	    "{\"rules\": [{\"action\": \"error\"}]}",
	    "{\"rules\": [{\"action\": \"error\", \"errno\": \"EGG\"}]}",
	    "{\"rules\": [{\"action\": \"stop\"}]}",
	    "{\"rules\": [{\"action\": \"stop\", \"tag\": \"\"}]}",
	    "{\"rules\": [{\"action\": \"drop\", \"ops\": []}]}",
	    "{\"rules\": [{\"action\": \"drop\", \"ops\": [\"dance\"]}]}",
	    "{\"rules\": [{\"action\": \"drop\", \"probability\": 2}]}",
	    "{\"rules\": [{\"action\": \"drop\", \"probability\": \"1\"}]}",
	    "{\"rules\": [{\"action\": \"delay\", \"delay_us\": -1}]}",
	    "{\"rules\": [{\"action\": \"drop\", \"offset\": 1.5}]}",
	    "{\"rules\": [{\"action\": \"drop\", \"colour\": 1}]}",
	    "{\"rules\": [], \"resume\": \"t\"}",
	    "{\"resume\": 1}",
	    "{\"lose\": false}",
	    "{}",
	    "[]",
	};
	struct rig rig;
	struct request r = {0};

	rig_begin(&rig, "[]");
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		if (command(&rig, bad[i]) != -EINVAL) {
			fail_msg("taken: %s", bad[i]);
		}
	}
	start(&rig, &r, 0, IO_WRITE, 0);
	assert_int_equal(r.status, 0);
	rig_end(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(without_rules_every_operation_passes),
	    cmocka_unit_test(error_rule_hits_the_operations_and_range_it_names),
	    cmocka_unit_test(probability_hits_some_and_not_all),
	    cmocka_unit_test(corrupt_rule_changes_one_byte_of_what_is_read),
	    cmocka_unit_test(delayed_request_is_executed_later),
	    cmocka_unit_test(stopped_requests_go_on_in_order_at_resume),
	    cmocka_unit_test(dropped_and_stopped_and_delayed_requests_come_back_at_close),
	    cmocka_unit_test(close_waits_for_what_the_inner_target_still_has),
	    cmocka_unit_test(session_told_to_be_lost_gives_everything_back),
	    cmocka_unit_test(many_commands_in_one_turn_end_with_the_last),
	    cmocka_unit_test(bad_rules_are_refused_and_change_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
