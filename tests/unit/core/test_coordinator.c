#include "core/coordinator.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define ID 7
#define NODES 3

static struct coordinator c;
static struct change_node nodes[NODES];
static struct change_output items[CHANGE_OUTPUTS_MAX(NODES)];
static struct change_outputs out = {items, ARRAY_SIZE(items), 0};
static uint64_t now;
static struct change_spec spec;

static int set_up(void **state)
{
	now = NS_PER_S;
	spec = (struct change_spec){.id = ID, .generation = 4, .policy = change_policy_default};
	return 0;
}

static void step(const struct coordinator_input *in)
{
	out.count = 0;
	coordinator_step(&c, in, now, &out);
}

static void all_say(enum change_message_type type, unsigned first)
{
	for (unsigned i = first; i < NODES; i++) {
		struct coordinator_input in = {.kind = COORDINATOR_IN_MESSAGE,
		    .node = i,
		    .message = {.type = type, .change = ID, .epoch = c.epoch}};

		step(&in);
	}
}

static void says(unsigned node, enum change_message_type type)
{
	struct coordinator_input in = {.kind = COORDINATOR_IN_MESSAGE,
	    .node = node,
	    .message = {.type = type, .change = ID, .epoch = c.epoch, .reason = "because"}};

	step(&in);
}

static void wait_ns(uint64_t ns)
{
	struct coordinator_input in = {.kind = COORDINATOR_IN_TIMER};

	now += ns;
	step(&in);
}

static void store_says(enum change_store_result result, enum change_record_state record)
{
	struct coordinator_input in = {.kind = COORDINATOR_IN_STORE,
	    .answer = {.token = c.store_token,
		.result = result,
		.record = {.state = record, .epoch = COORDINATOR_FIRST_EPOCH, .generation = 4}}};

	step(&in);
}

static unsigned count_sent(enum change_message_type type)
{
	unsigned n = 0;

	for (unsigned i = 0; i < out.count; i++) {
		n += items[i].kind == CHANGE_OUT_SEND && items[i].message.type == type;
	}
	return n;
}

static const struct change_store_request *stored(void)
{
	for (unsigned i = 0; i < out.count; i++) {
		if (items[i].kind == CHANGE_OUT_STORE) {
			return &items[i].store;
		}
	}
	fail_msg("the store was not asked");
	return NULL;
}

static void start(void)
{
	out.count = 0;
	coordinator_start(&c, &spec, nodes, NODES, now, &out);
	assert_int_equal(stored()->kind, CHANGE_STORE_PREPARE);
}

static void recover(enum change_record_state state)
{
	struct change_record record = {state, COORDINATOR_FIRST_EPOCH, 5};

	out.count = 0;
	coordinator_recover(&c, &spec, nodes, NODES, &record, now, &out);
}

static void hold(void)
{
	start();
	store_says(CHANGE_STORE_OK, CHANGE_RECORD_PREPARED);
	assert_int_equal(count_sent(CHANGE_MSG_PREPARE), NODES);
	all_say(CHANGE_MSG_VOTE_YES, 0);
	assert_int_equal(count_sent(CHANGE_MSG_HOLD), NODES);
}

static void commit(void)
{
	hold();
	all_say(CHANGE_MSG_HELD, 0);
	assert_int_equal(stored()->kind, CHANGE_STORE_COMMIT);
}

static void switch_over(void)
{
	commit();
	store_says(CHANGE_STORE_OK, CHANGE_RECORD_COMMITTED);
	assert_int_equal(count_sent(CHANGE_MSG_SWITCH), NODES);
}

static void a_good_change_is_done_when_all_have_resumed(void **state)
{
	switch_over();
	all_say(CHANGE_MSG_SWITCHED, 0);
	assert_int_equal(count_sent(CHANGE_MSG_RESUME), NODES);
	all_say(CHANGE_MSG_RESUMED, 0);
	assert_int_equal(stored()->kind, CHANGE_STORE_DONE);
	store_says(CHANGE_STORE_OK, CHANGE_RECORD_DONE);
	assert_int_equal(c.state, COORDINATOR_DONE);
	assert_int_equal(items[out.count - 1].kind, CHANGE_OUT_ENDED);
	assert_string_equal(c.reason, "");
}

static void the_commit_compares_record_epoch_and_generation(void **state)
{
	commit();
	assert_int_equal(stored()->expect, CHANGE_RECORD_PREPARED);
	assert_int_equal(stored()->expect_epoch, COORDINATOR_FIRST_EPOCH);
	assert_int_equal(stored()->expect_generation, 4);
	assert_int_equal(stored()->set_generation, 5);
}

static void nothing_is_committed_before_the_last_node_holds(void **state)
{
	hold();
	all_say(CHANGE_MSG_HELD, 1);
	assert_int_equal(c.state, COORDINATOR_HOLDING);
	says(2, CHANGE_MSG_HELD); /* a second copy */
	assert_int_equal(c.state, COORDINATOR_HOLDING);
}

static void one_no_aborts_on_all_nodes_and_in_the_store(void **state)
{
	start();
	store_says(CHANGE_STORE_OK, CHANGE_RECORD_PREPARED);
	says(1, CHANGE_MSG_VOTE_NO);
	assert_int_equal(count_sent(CHANGE_MSG_ABORT), NODES);
	assert_int_equal(stored()->kind, CHANGE_STORE_ABORT);
	all_say(CHANGE_MSG_ABORTED, 0);
	store_says(CHANGE_STORE_OK, CHANGE_RECORD_ABORTED);
	assert_int_equal(c.state, COORDINATOR_ABORTED);
	assert_string_equal(c.reason, "node 1: because");
}

static void load_is_tried_again_and_then_reported_with_advice(void **state)
{
	hold();
	for (unsigned i = 0; i < spec.policy.hold_retries; i++) {
		says(0, CHANGE_MSG_HOLD_TIMEOUT);
		assert_int_equal(count_sent(CHANGE_MSG_UNHOLD), NODES);
		all_say(CHANGE_MSG_UNHELD, 0);
		assert_int_equal(c.state, COORDINATOR_BACKOFF);
		wait_ns(spec.policy.backoff_ns << i);
		assert_int_equal(count_sent(CHANGE_MSG_HOLD), NODES);
	}
	says(0, CHANGE_MSG_HOLD_TIMEOUT);
	assert_int_equal(count_sent(CHANGE_MSG_ABORT), NODES);
	assert_non_null(strstr(c.advice, "less I/O"));
}

static void an_answer_of_an_earlier_attempt_does_not_count(void **state)
{
	uint64_t first;
	struct coordinator_input late = {.kind = COORDINATOR_IN_MESSAGE,
	    .node = 1,
	    .message = {.type = CHANGE_MSG_HELD, .change = ID}};

	hold();
	first = c.epoch;
	says(0, CHANGE_MSG_HOLD_TIMEOUT);
	all_say(CHANGE_MSG_UNHELD, 0);
	wait_ns(spec.policy.backoff_ns);
	late.message.epoch = first;
	step(&late);
	assert_int_equal(nodes[1].state, CHANGE_NODE_ASKED);
}

static void a_commit_without_an_answer_is_read_back_and_goes_on(void **state)
{
	commit();
	store_says(CHANGE_STORE_UNKNOWN, CHANGE_RECORD_NONE);
	assert_int_equal(count_sent(CHANGE_MSG_ABORT), 0);
	assert_int_equal(stored()->kind, CHANGE_STORE_READ);
	store_says(CHANGE_STORE_OK, CHANGE_RECORD_COMMITTED);
	assert_int_equal(count_sent(CHANGE_MSG_SWITCH), NODES);
}

static void nobody_is_let_go_while_a_commit_may_still_happen(void **state)
{
	commit();
	store_says(CHANGE_STORE_UNKNOWN, CHANGE_RECORD_NONE);
	now += 2 * spec.policy.hold_ns;
	store_says(CHANGE_STORE_OK, CHANGE_RECORD_PREPARED);
	assert_int_equal(stored()->kind, CHANGE_STORE_ABORT);
	assert_int_equal(count_sent(CHANGE_MSG_ABORT), 0);
	store_says(CHANGE_STORE_OK, CHANGE_RECORD_ABORTED);
	assert_int_equal(count_sent(CHANGE_MSG_ABORT), NODES);
}

static void a_commit_that_lost_to_a_deadline_is_an_abort(void **state)
{
	commit();
	store_says(CHANGE_STORE_CONFLICT, CHANGE_RECORD_NONE);
	store_says(CHANGE_STORE_OK, CHANGE_RECORD_ABORTED);
	assert_int_equal(count_sent(CHANGE_MSG_ABORT), NODES);
	all_say(CHANGE_MSG_ABORTED, 0);
	assert_int_equal(c.state, COORDINATOR_ABORTED);
}

static void one_failed_switch_brings_all_back_while_they_hold(void **state)
{
	switch_over();
	says(0, CHANGE_MSG_SWITCHED);
	says(1, CHANGE_MSG_SWITCH_FAILED);
	assert_int_equal(stored()->kind, CHANGE_STORE_ROLLBACK);
	assert_int_equal(stored()->expect_generation, 5);
	assert_int_equal(stored()->set_generation, 6);
	assert_int_equal(count_sent(CHANGE_MSG_RESUME), 0);
	store_says(CHANGE_STORE_OK, CHANGE_RECORD_ROLLED_BACK);
	assert_int_equal(count_sent(CHANGE_MSG_RETURN), NODES);
	all_say(CHANGE_MSG_RETURNED, 0);
	assert_int_equal(c.state, COORDINATOR_ROLLED_BACK);
	assert_string_equal(c.reason, "node 1: because");
}

static void a_node_that_cannot_return_is_out_of_service_and_named(void **state)
{
	switch_over();
	says(1, CHANGE_MSG_SWITCH_FAILED);
	store_says(CHANGE_STORE_OK, CHANGE_RECORD_ROLLED_BACK);
	says(0, CHANGE_MSG_RETURNED);
	says(1, CHANGE_MSG_RETURN_FAILED);
	assert_int_equal(nodes[1].state, CHANGE_NODE_OUT_OF_SERVICE);
	says(2, CHANGE_MSG_RETURNED);
	assert_int_equal(c.state, COORDINATOR_ROLLED_BACK);
}

static void a_rollback_that_lost_to_done_goes_on_to_the_new_face(void **state)
{
	switch_over();
	says(1, CHANGE_MSG_SWITCH_FAILED);
	store_says(CHANGE_STORE_CONFLICT, CHANGE_RECORD_NONE);
	store_says(CHANGE_STORE_OK, CHANGE_RECORD_DONE);
	assert_int_equal(count_sent(CHANGE_MSG_RESUME), NODES);
	assert_int_equal(count_sent(CHANGE_MSG_RETURN), 0);
}

static void the_operator_can_cancel_until_the_commit_is_asked_for(void **state)
{
	struct coordinator_input cancel = {.kind = COORDINATOR_IN_CANCEL};

	hold();
	step(&cancel);
	assert_int_equal(count_sent(CHANGE_MSG_ABORT), NODES);
	assert_string_equal(c.reason, "cancelled by the operator");
	commit();
	step(&cancel);
	assert_int_equal(c.state, COORDINATOR_COMMITTING);
}

static void a_silent_node_is_asked_again_and_then_aborts_the_hold(void **state)
{
	hold();
	says(0, CHANGE_MSG_HELD);
	wait_ns(spec.policy.resend_ns);
	assert_int_equal(count_sent(CHANGE_MSG_HOLD), NODES - 1);
	wait_ns(spec.policy.hold_ns);
	assert_int_equal(count_sent(CHANGE_MSG_ABORT), NODES);
	assert_string_equal(c.reason, "node 1: did not answer in time");
}

static void an_excluded_node_is_gone_without_when_enough_are_left(void **state)
{
	struct coordinator_input gone = {
	    .kind = COORDINATOR_IN_EXCLUDED, .node = 2, .reason = "its lease is over"};

	hold();
	says(0, CHANGE_MSG_HELD);
	says(1, CHANGE_MSG_HELD);
	step(&gone);
	assert_int_equal(stored()->kind, CHANGE_STORE_COMMIT);
	assert_int_equal(nodes[2].state, CHANGE_NODE_EXCLUDED);
}

static void too_few_nodes_left_is_an_abort(void **state)
{
	struct coordinator_input gone = {
	    .kind = COORDINATOR_IN_EXCLUDED, .node = 2, .reason = "its lease is over"};

	hold();
	step(&gone);
	gone.node = 1;
	step(&gone);
	assert_int_equal(c.state, COORDINATOR_ABORTING);
}

static void a_prepared_change_that_was_left_is_aborted(void **state)
{
	recover(CHANGE_RECORD_PREPARED);
	assert_int_equal(stored()->kind, CHANGE_STORE_ABORT);
	assert_int_equal(count_sent(CHANGE_MSG_ABORT), 0);
	store_says(CHANGE_STORE_OK, CHANGE_RECORD_ABORTED);
	assert_int_equal(count_sent(CHANGE_MSG_ABORT), NODES);
}

static void a_committed_change_that_was_left_is_claimed_and_rolled_forward(void **state)
{
	recover(CHANGE_RECORD_COMMITTED);
	assert_int_equal(stored()->kind, CHANGE_STORE_CLAIM);
	assert_int_equal(stored()->expect_epoch, COORDINATOR_FIRST_EPOCH);
	assert_true(stored()->set_epoch > COORDINATOR_FIRST_EPOCH);
	store_says(CHANGE_STORE_OK, CHANGE_RECORD_COMMITTED);
	assert_int_equal(count_sent(CHANGE_MSG_SWITCH), NODES);
}

static void a_claim_that_was_lost_gives_way(void **state)
{
	struct coordinator_input in = {.kind = COORDINATOR_IN_STORE};

	recover(CHANGE_RECORD_COMMITTED);
	store_says(CHANGE_STORE_CONFLICT, CHANGE_RECORD_NONE);
	/* The other one has claimed the very epoch that we wanted. */
	in.answer = (struct change_store_answer){
	    c.store_token, CHANGE_STORE_OK, {CHANGE_RECORD_COMMITTED, c.epoch, 5}};
	step(&in);
	assert_int_equal(c.state, COORDINATOR_SUPERSEDED);
}

static void a_claim_in_doubt_is_made_again_with_a_higher_epoch(void **state)
{
	struct coordinator_input in = {.kind = COORDINATOR_IN_STORE};
	uint64_t first;

	recover(CHANGE_RECORD_COMMITTED);
	first = c.epoch;
	store_says(CHANGE_STORE_UNKNOWN, CHANGE_RECORD_NONE);
	in.answer = (struct change_store_answer){
	    c.store_token, CHANGE_STORE_OK, {CHANGE_RECORD_COMMITTED, first, 5}};
	step(&in);
	assert_int_equal(stored()->kind, CHANGE_STORE_CLAIM);
	assert_int_equal(stored()->expect_epoch, first);
	assert_true(stored()->set_epoch > first);
}

static void after_a_restart_other_data_is_not_rolled_back(void **state)
{
	recover(CHANGE_RECORD_COMMITTED);
	store_says(CHANGE_STORE_OK, CHANGE_RECORD_COMMITTED);
	for (unsigned i = 0; i < NODES; i++) {
		struct coordinator_input in = {.kind = COORDINATOR_IN_MESSAGE,
		    .node = i,
		    .message = {.type = i == 1 ? CHANGE_MSG_SWITCH_FAILED : CHANGE_MSG_SWITCHED,
			.change = ID,
			.epoch = c.epoch,
			.rejoined = i == 0}};

		step(&in);
	}
	assert_int_equal(stored()->kind, CHANGE_STORE_DONE);
}

static void after_a_restart_the_same_data_is_rolled_back(void **state)
{
	spec.same_data = true;
	recover(CHANGE_RECORD_COMMITTED);
	store_says(CHANGE_STORE_OK, CHANGE_RECORD_COMMITTED);
	says(0, CHANGE_MSG_SWITCHED);
	says(1, CHANGE_MSG_SWITCH_FAILED);
	assert_int_equal(c.state, COORDINATOR_SWITCHING); /* the third may have been let go */
	says(2, CHANGE_MSG_SWITCHED);
	assert_int_equal(stored()->kind, CHANGE_STORE_ROLLBACK);
}

static void a_policy_whose_parts_do_not_fit_is_refused(void **state)
{
	struct change_policy policy = change_policy_default;

	assert_int_equal(change_policy_check(&policy), 0);
	policy.drain_ns = policy.hold_ns;
	assert_int_equal(change_policy_check(&policy), -EINVAL);
	policy = change_policy_default;
	policy.resend_ns = 0;
	assert_int_equal(change_policy_check(&policy), -EINVAL);
}

#define TEST(f) cmocka_unit_test_setup(f, set_up)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_good_change_is_done_when_all_have_resumed),
	    TEST(the_commit_compares_record_epoch_and_generation),
	    TEST(nothing_is_committed_before_the_last_node_holds),
	    TEST(one_no_aborts_on_all_nodes_and_in_the_store),
	    TEST(load_is_tried_again_and_then_reported_with_advice),
	    TEST(an_answer_of_an_earlier_attempt_does_not_count),
	    TEST(a_commit_without_an_answer_is_read_back_and_goes_on),
	    TEST(nobody_is_let_go_while_a_commit_may_still_happen),
	    TEST(a_commit_that_lost_to_a_deadline_is_an_abort),
	    TEST(one_failed_switch_brings_all_back_while_they_hold),
	    TEST(a_node_that_cannot_return_is_out_of_service_and_named),
	    TEST(a_rollback_that_lost_to_done_goes_on_to_the_new_face),
	    TEST(the_operator_can_cancel_until_the_commit_is_asked_for),
	    TEST(a_silent_node_is_asked_again_and_then_aborts_the_hold),
	    TEST(an_excluded_node_is_gone_without_when_enough_are_left),
	    TEST(too_few_nodes_left_is_an_abort),
	    TEST(a_prepared_change_that_was_left_is_aborted),
	    TEST(a_committed_change_that_was_left_is_claimed_and_rolled_forward),
	    TEST(a_claim_that_was_lost_gives_way),
	    TEST(a_claim_in_doubt_is_made_again_with_a_higher_epoch),
	    TEST(after_a_restart_other_data_is_not_rolled_back),
	    TEST(after_a_restart_the_same_data_is_rolled_back),
	    TEST(a_policy_whose_parts_do_not_fit_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
