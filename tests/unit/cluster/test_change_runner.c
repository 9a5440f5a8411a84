/*
 * One change run on this node, with an owner that answers as it is told to.
 */
#include "cluster/change_runner.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

struct owner {
	struct reactor *reactor;
	struct change_runner *runner;
	struct change_record record;
	enum change_store_kind refuse; /* this request fails for good */
	bool refusing;
	enum change_action fail; /* this action says no */
	bool failing;
	unsigned actions[CHANGE_ACT_COUNT];
	unsigned ended;
};

static void action(void *ctx, enum change_action what, uint64_t token)
{
	struct owner *o = ctx;
	struct participant_done done = {
	    .token = token, .ok = !(o->failing && what == o->fail), .reason = "as told"};

	o->actions[what]++;
	if (what != CHANGE_ACT_TAKE_BACK && what != CHANGE_ACT_DROP_NEW &&
	    what != CHANGE_ACT_DROP_OLD) {
		change_runner_done(o->runner, &done);
	}
}

static void store(void *ctx, enum change_side side, const struct change_store_request *q)
{
	struct owner *o = ctx;
	struct change_store_answer answer = {.token = q->token, .result = CHANGE_STORE_OK};

	if (o->refusing && q->kind == o->refuse) {
		answer.result = CHANGE_STORE_FAILED;
	} else if (q->kind != CHANGE_STORE_READ && q->expect != o->record.state) {
		answer.result = CHANGE_STORE_CONFLICT;
	} else if (q->kind != CHANGE_STORE_READ) {
		o->record.state = q->set;
		o->record.epoch = q->set_epoch != 0 ? q->set_epoch : o->record.epoch;
		o->record.generation =
		    q->set_generation != 0 ? q->set_generation : o->record.generation;
	}
	answer.record = o->record;
	change_runner_stored(o->runner, side, &answer);
}

static void state_changed(void *ctx)
{
}

static void say(void *ctx, const char *text)
{
}

static void ended(void *ctx)
{
	((struct owner *)ctx)->ended++;
}

static const struct change_runner_ops ops = {
    .action = action, .store = store, .state = state_changed, .say = say, .ended = ended};

static int setup(void **state)
{
	struct owner *o = calloc(1, sizeof(*o));
	struct reactor_options options = {.name = "test", .index = REACTOR_CONTROL};
	struct error err = {0};

	assert_non_null(o);
	assert_int_equal(reactor_new(&options, &o->reactor, &err), 0);
	reactor_step(o->reactor, 0);
	o->record.generation = 1;
	*state = o;
	return 0;
}

static int teardown(void **state)
{
	struct owner *o = *state;

	change_runner_free(o->runner);
	reactor_free(o->reactor);
	free(o);
	return 0;
}

static enum change_state run(struct owner *o, const struct change_record *found, bool cancel)
{
	struct change_spec spec = {
	    .id = 1, .generation = 1, .same_data = true, .policy = change_policy_default};

	spec.policy.min_nodes = 1;
	o->runner = change_runner_new(o->reactor, &spec, found, &ops, o);
	if (cancel) {
		change_runner_cancel(o->runner);
	}
	for (unsigned turn = 0; o->ended == 0; turn++) {
		assert_true(turn < 20000);
		reactor_step(o->reactor, 1);
	}
	reactor_step(o->reactor, 0);
	assert_int_equal(o->ended, 1);
	return coordinator_public_state(change_runner_coordinator(o->runner));
}

static void change_is_carried_out_in_order(void **state)
{
	struct owner *o = *state;

	assert_int_equal(run(o, NULL, false), CHANGE_DONE);
	assert_int_equal(o->record.state, CHANGE_RECORD_DONE);
	assert_int_equal(o->record.generation, 2);
	assert_int_equal(o->actions[CHANGE_ACT_PUBLISH_NEW], 1);
	assert_int_equal(o->actions[CHANGE_ACT_RELEASE], 1);
	assert_int_equal(o->actions[CHANGE_ACT_DROP_OLD], 1);
}

static void change_whose_record_is_refused_ends_untouched(void **state)
{
	struct owner *o = *state;

	o->refusing = true;
	o->refuse = CHANGE_STORE_PREPARE;
	assert_int_equal(run(o, NULL, false), CHANGE_ABORTED);
	assert_int_equal(o->actions[CHANGE_ACT_BUILD], 0);
}

static void change_whose_commit_is_refused_is_aborted(void **state)
{
	struct owner *o = *state;

	o->refusing = true;
	o->refuse = CHANGE_STORE_COMMIT;
	assert_int_equal(run(o, NULL, false), CHANGE_ABORTED);
	assert_int_equal(o->record.generation, 1);
	assert_int_equal(o->actions[CHANGE_ACT_PUBLISH_NEW], 0);
	assert_int_equal(o->actions[CHANGE_ACT_DROP_NEW], 1);
}

static void failed_verification_is_rolled_back(void **state)
{
	struct owner *o = *state;

	o->failing = true;
	o->fail = CHANGE_ACT_VERIFY;
	assert_int_equal(run(o, NULL, false), CHANGE_ROLLED_BACK);
	assert_int_equal(o->record.generation, 3);
	assert_int_equal(o->actions[CHANGE_ACT_PUBLISH_OLD], 1);
}

static void change_cancelled_at_once_is_aborted(void **state)
{
	assert_int_equal(run(*state, NULL, true), CHANGE_ABORTED);
}

static void committed_change_that_was_found_is_done(void **state)
{
	struct owner *o = *state;
	struct change_record found = {CHANGE_RECORD_COMMITTED, 65536, 2};

	o->record = found;
	assert_int_equal(run(o, &found, false), CHANGE_DONE);
	assert_int_equal(o->record.generation, 2);
}

static void prepared_change_that_was_found_is_aborted(void **state)
{
	struct owner *o = *state;
	struct change_record found = {CHANGE_RECORD_PREPARED, 65536, 1};

	o->record = found;
	assert_int_equal(run(o, &found, false), CHANGE_ABORTED);
	assert_int_equal(o->record.state, CHANGE_RECORD_ABORTED);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(change_is_carried_out_in_order),
	    TEST(change_whose_record_is_refused_ends_untouched),
	    TEST(change_whose_commit_is_refused_is_aborted),
	    TEST(failed_verification_is_rolled_back),
	    TEST(change_cancelled_at_once_is_aborted),
	    TEST(committed_change_that_was_found_is_done),
	    TEST(prepared_change_that_was_found_is_aborted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
