#include "core/participant.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define ID 7
#define EPOCH 65536

static struct participant p;
static struct change_output items[CHANGE_OUTPUTS_MAX(1)];
static struct change_outputs out = {items, ARRAY_SIZE(items), 0};
static uint64_t now;
static const struct change_spec spec = {.id = ID,
    .generation = 4,
    .policy = {.prepare_ns = 30 * NS_PER_S,
	.hold_ns = 2 * NS_PER_S,
	.drain_ns = 1 * NS_PER_S,
	.stall_ns = 250 * NS_PER_MS,
	.verify_ns = 500 * NS_PER_MS,
	.resend_ns = 250 * NS_PER_MS,
	.backoff_ns = 1 * NS_PER_S,
	.hold_retries = 3,
	.min_nodes = 2}};

static int set_up(void **state)
{
	now = NS_PER_S;
	participant_init(&p, &spec);
	return 0;
}

static void step(const struct participant_input *in)
{
	out.count = 0;
	participant_step(&p, in, now, &out);
}

static void message_of(enum change_message_type type, uint64_t change, uint64_t epoch)
{
	struct participant_input in = {.kind = PARTICIPANT_IN_MESSAGE,
	    .message = {.type = type, .change = change, .epoch = epoch}};

	step(&in);
}

static void message(enum change_message_type type)
{
	message_of(type, ID, EPOCH + 1);
}

static const struct change_output *output(enum change_output_kind kind)
{
	for (unsigned i = 0; i < out.count; i++) {
		if (items[i].kind == kind) {
			return &items[i];
		}
	}
	return NULL;
}

static bool sent(enum change_message_type type)
{
	for (unsigned i = 0; i < out.count; i++) {
		if (items[i].kind == CHANGE_OUT_SEND && items[i].message.type == type) {
			return true;
		}
	}
	return false;
}

static uint64_t asked(enum change_action action)
{
	for (unsigned i = 0; i < out.count; i++) {
		if (items[i].kind == CHANGE_OUT_ACTION && items[i].action == action) {
			return items[i].token;
		}
	}
	fail_msg("%s was not asked for", change_action_name(action));
	return 0;
}

static void done(uint64_t token, bool ok)
{
	struct participant_input in = {.kind = PARTICIPANT_IN_DONE,
	    .done = {.token = token, .ok = ok, .drain_us = 5, .reason = "because"}};

	step(&in);
}

static void wait_ns(uint64_t ns)
{
	struct participant_input in = {.kind = PARTICIPANT_IN_TIMER};

	now += ns;
	step(&in);
}

static void store_says(enum change_store_result result, enum change_record_state record)
{
	struct participant_input in = {.kind = PARTICIPANT_IN_STORE,
	    .answer = {.token = p.store_token, .result = result, .record = {.state = record}}};

	step(&in);
}

static void prepare(void)
{
	message_of(CHANGE_MSG_PREPARE, ID, EPOCH);
	done(asked(CHANGE_ACT_BUILD), true);
	assert_true(sent(CHANGE_MSG_VOTE_YES));
}

static void hold(void)
{
	prepare();
	message(CHANGE_MSG_HOLD);
	done(asked(CHANGE_ACT_HOLD), true);
	done(asked(CHANGE_ACT_CHECK_QUIET), true);
	assert_true(sent(CHANGE_MSG_HELD));
}

static void switch_over(void)
{
	hold();
	message(CHANGE_MSG_SWITCH);
	done(asked(CHANGE_ACT_PUBLISH_NEW), true);
	done(asked(CHANGE_ACT_VERIFY), true);
	assert_true(sent(CHANGE_MSG_SWITCHED));
}

static void to_the_deadline(void)
{
	wait_ns(change_ask_after_ns(&spec.policy));
}

static void a_good_change_ends_on_the_new_face(void **state)
{
	switch_over();
	message(CHANGE_MSG_RESUME);
	done(asked(CHANGE_ACT_RELEASE), true);
	assert_true(sent(CHANGE_MSG_RESUMED));
	asked(CHANGE_ACT_DROP_OLD);
	assert_non_null(output(CHANGE_OUT_ENDED));
}

static void a_face_that_cannot_be_built_is_a_no(void **state)
{
	message_of(CHANGE_MSG_PREPARE, ID, EPOCH);
	done(asked(CHANGE_ACT_BUILD), false);
	assert_true(sent(CHANGE_MSG_VOTE_NO));
	asked(CHANGE_ACT_DROP_NEW);
}

static void held_requests_go_on_on_the_old_face_after_an_abort(void **state)
{
	hold();
	message(CHANGE_MSG_ABORT);
	done(asked(CHANGE_ACT_RELEASE), true);
	assert_true(sent(CHANGE_MSG_ABORTED));
	asked(CHANGE_ACT_DROP_NEW);
}

static void a_drain_that_lasts_too_long_is_said_and_stays_held(void **state)
{
	prepare();
	message(CHANGE_MSG_HOLD);
	wait_ns(spec.policy.drain_ns);
	assert_true(sent(CHANGE_MSG_HOLD_TIMEOUT));
	assert_true(participant_state_holds(p.state));
	message(CHANGE_MSG_UNHOLD);
	done(asked(CHANGE_ACT_RELEASE), true);
	assert_true(sent(CHANGE_MSG_UNHELD));
	assert_int_equal(p.state, PARTICIPANT_PREPARED);
}

static void requests_of_a_dead_path_are_taken_back_once(void **state)
{
	prepare();
	message(CHANGE_MSG_HOLD);
	wait_ns(spec.policy.stall_ns);
	done(asked(CHANGE_ACT_ASK_PROGRESS), false);
	asked(CHANGE_ACT_TAKE_BACK);
	wait_ns(spec.policy.stall_ns);
	done(asked(CHANGE_ACT_ASK_PROGRESS), false);
	assert_null(output(CHANGE_OUT_ACTION));
}

static void an_abort_gives_a_taken_back_path_its_life_again(void **state)
{
	prepare();
	message(CHANGE_MSG_HOLD);
	wait_ns(spec.policy.stall_ns);
	done(asked(CHANGE_ACT_ASK_PROGRESS), false);
	message(CHANGE_MSG_ABORT);
	done(asked(CHANGE_ACT_PUBLISH_OLD), true);
	asked(CHANGE_ACT_RELEASE);
}

static void a_path_that_moves_is_not_taken_back(void **state)
{
	prepare();
	message(CHANGE_MSG_HOLD);
	wait_ns(spec.policy.stall_ns);
	done(asked(CHANGE_ACT_ASK_PROGRESS), true);
	assert_null(output(CHANGE_OUT_ACTION));
}

static void other_data_behind_the_new_path_is_refused(void **state)
{
	prepare();
	message(CHANGE_MSG_HOLD);
	done(asked(CHANGE_ACT_HOLD), true);
	done(asked(CHANGE_ACT_CHECK_QUIET), false);
	assert_true(sent(CHANGE_MSG_REFUSED));
	assert_true(participant_state_holds(p.state));
}

static void at_the_deadline_an_abort_that_wins_lets_go_on_the_old_face(void **state)
{
	hold();
	to_the_deadline();
	assert_int_equal(output(CHANGE_OUT_STORE)->store.kind, CHANGE_STORE_ABORT);
	assert_int_equal(output(CHANGE_OUT_STORE)->store.expect, CHANGE_RECORD_PREPARED);
	store_says(CHANGE_STORE_OK, CHANGE_RECORD_ABORTED);
	done(asked(CHANGE_ACT_RELEASE), true);
	assert_true(sent(CHANGE_MSG_ABORTED));
}

static void at_the_deadline_a_committed_change_goes_on_to_the_new_face(void **state)
{
	hold();
	to_the_deadline();
	store_says(CHANGE_STORE_CONFLICT, CHANGE_RECORD_NONE);
	assert_int_equal(output(CHANGE_OUT_STORE)->store.kind, CHANGE_STORE_READ);
	store_says(CHANGE_STORE_OK, CHANGE_RECORD_COMMITTED);
	done(asked(CHANGE_ACT_PUBLISH_NEW), true);
	done(asked(CHANGE_ACT_VERIFY), true);
	wait_ns(0);
	assert_int_equal(output(CHANGE_OUT_STORE)->store.kind, CHANGE_STORE_DONE);
	store_says(CHANGE_STORE_OK, CHANGE_RECORD_DONE);
	asked(CHANGE_ACT_RELEASE);
}

static void without_the_store_the_hold_outlasts_its_deadline_and_says_so_once(void **state)
{
	hold();
	to_the_deadline();
	store_says(CHANGE_STORE_UNKNOWN, CHANGE_RECORD_NONE);
	assert_non_null(output(CHANGE_OUT_SAY));
	for (int i = 0; i < 5; i++) {
		wait_ns(spec.policy.resend_ns);
		assert_non_null(output(CHANGE_OUT_STORE));
		store_says(CHANGE_STORE_FAILED, CHANGE_RECORD_NONE);
		assert_null(output(CHANGE_OUT_SAY));
		assert_int_equal(p.state, PARTICIPANT_HELD);
	}
	wait_ns(spec.policy.resend_ns);
	store_says(CHANGE_STORE_OK, CHANGE_RECORD_ABORTED);
	asked(CHANGE_ACT_RELEASE);
}

static void a_verification_that_hangs_is_a_failure_and_goes_back(void **state)
{
	uint64_t verify;

	hold();
	message(CHANGE_MSG_SWITCH);
	done(asked(CHANGE_ACT_PUBLISH_NEW), true);
	verify = asked(CHANGE_ACT_VERIFY);
	wait_ns(spec.policy.verify_ns);
	assert_true(sent(CHANGE_MSG_SWITCH_FAILED));
	done(verify, true); /* too late */
	assert_int_equal(p.state, PARTICIPANT_FAILED);
	message(CHANGE_MSG_RETURN);
	done(asked(CHANGE_ACT_PUBLISH_OLD), true);
	done(asked(CHANGE_ACT_RELEASE), true);
	assert_true(sent(CHANGE_MSG_RETURNED));
}

static void who_could_not_switch_rolls_back_at_the_deadline(void **state)
{
	hold();
	message(CHANGE_MSG_SWITCH);
	done(asked(CHANGE_ACT_PUBLISH_NEW), false);
	to_the_deadline();
	assert_int_equal(output(CHANGE_OUT_STORE)->store.kind, CHANGE_STORE_ROLLBACK);
	assert_int_equal(output(CHANGE_OUT_STORE)->store.set_generation, spec.generation + 2);
}

static void who_has_said_switched_never_rolls_back_by_itself(void **state)
{
	switch_over();
	to_the_deadline();
	assert_int_equal(output(CHANGE_OUT_STORE)->store.kind, CHANGE_STORE_DONE);
}

static void who_has_restarted_after_the_commit_never_rolls_back_by_itself(void **state)
{
	struct change_record record = {CHANGE_RECORD_COMMITTED, EPOCH, 5};

	out.count = 0;
	participant_rejoin(&p, &spec, &record, now, &out);
	done(asked(CHANGE_ACT_PUBLISH_NEW), false);
	assert_true(sent(CHANGE_MSG_SWITCH_FAILED));
	to_the_deadline();
	assert_int_equal(output(CHANGE_OUT_STORE)->store.kind, CHANGE_STORE_READ);
}

static void a_failed_return_stays_held_and_is_tried_again(void **state)
{
	hold();
	message(CHANGE_MSG_SWITCH);
	done(asked(CHANGE_ACT_PUBLISH_NEW), false);
	message(CHANGE_MSG_RETURN);
	done(asked(CHANGE_ACT_PUBLISH_OLD), false);
	assert_true(sent(CHANGE_MSG_RETURN_FAILED));
	assert_non_null(output(CHANGE_OUT_SAY));
	assert_true(participant_state_holds(p.state));
	wait_ns(spec.policy.backoff_ns);
	done(asked(CHANGE_ACT_PUBLISH_OLD), true);
	asked(CHANGE_ACT_RELEASE);
}

static void messages_of_another_change_or_an_older_epoch_do_nothing(void **state)
{
	hold();
	message_of(CHANGE_MSG_ABORT, ID + 1, EPOCH + 1);
	assert_int_equal(out.count, 0);
	message_of(CHANGE_MSG_UNHOLD, ID, EPOCH);
	assert_int_equal(out.count, 0);
	assert_int_equal(p.state, PARTICIPANT_HELD);
}

static void a_late_hold_of_an_attempt_that_was_given_up_does_nothing(void **state)
{
	hold();
	message(CHANGE_MSG_UNHOLD);
	done(asked(CHANGE_ACT_RELEASE), true);
	message(CHANGE_MSG_HOLD);
	assert_int_equal(p.state, PARTICIPANT_PREPARED);
	assert_null(output(CHANGE_OUT_ACTION));
}

static void a_second_copy_of_a_message_gets_the_same_answer(void **state)
{
	hold();
	message(CHANGE_MSG_HOLD);
	assert_true(sent(CHANGE_MSG_HELD));
	assert_null(output(CHANGE_OUT_ACTION));
}

static void an_abort_after_the_switch_is_not_believed(void **state)
{
	switch_over();
	message(CHANGE_MSG_ABORT);
	assert_int_equal(p.state, PARTICIPANT_SWITCHED);
}

static void a_restart_in_a_prepared_change_aborts_it_before_it_serves(void **state)
{
	struct change_record record = {CHANGE_RECORD_PREPARED, EPOCH, 4};

	out.count = 0;
	participant_rejoin(&p, &spec, &record, now, &out);
	assert_int_equal(output(CHANGE_OUT_STORE)->store.kind, CHANGE_STORE_ABORT);
	assert_true(participant_state_holds(p.state));
	store_says(CHANGE_STORE_OK, CHANGE_RECORD_ABORTED);
	asked(CHANGE_ACT_RELEASE);
}

#define TEST(f) cmocka_unit_test_setup(f, set_up)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_good_change_ends_on_the_new_face),
	    TEST(a_face_that_cannot_be_built_is_a_no),
	    TEST(held_requests_go_on_on_the_old_face_after_an_abort),
	    TEST(a_drain_that_lasts_too_long_is_said_and_stays_held),
	    TEST(requests_of_a_dead_path_are_taken_back_once),
	    TEST(an_abort_gives_a_taken_back_path_its_life_again),
	    TEST(a_path_that_moves_is_not_taken_back),
	    TEST(other_data_behind_the_new_path_is_refused),
	    TEST(at_the_deadline_an_abort_that_wins_lets_go_on_the_old_face),
	    TEST(at_the_deadline_a_committed_change_goes_on_to_the_new_face),
	    TEST(without_the_store_the_hold_outlasts_its_deadline_and_says_so_once),
	    TEST(a_verification_that_hangs_is_a_failure_and_goes_back),
	    TEST(who_could_not_switch_rolls_back_at_the_deadline),
	    TEST(who_has_said_switched_never_rolls_back_by_itself),
	    TEST(who_has_restarted_after_the_commit_never_rolls_back_by_itself),
	    TEST(a_failed_return_stays_held_and_is_tried_again),
	    TEST(messages_of_another_change_or_an_older_epoch_do_nothing),
	    TEST(a_late_hold_of_an_attempt_that_was_given_up_does_nothing),
	    TEST(a_second_copy_of_a_message_gets_the_same_answer),
	    TEST(an_abort_after_the_switch_is_not_believed),
	    TEST(a_restart_in_a_prepared_change_aborts_it_before_it_serves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
