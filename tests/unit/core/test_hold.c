#include "core/hold.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "io/io.h"

struct waiting {
	struct list link;
	struct hold_op op;
};

static struct hold_op op_of_node(const struct list *node)
{
	return list_entry(node, struct waiting, link)->op;
}

static struct hold_op op_at(enum io_op op, uint64_t offset, uint64_t length)
{
	return (struct hold_op){
	    .range = {offset, length}, .ranged = io_op_ranged(op), .changes = io_op_changes(op)};
}

static const struct range two_ranges[] = {{4096, 4096}, {65536, 8192}};

static void every_operation_on_the_range_is_held(void **state)
{
	struct hold_token token = {two_ranges, ARRAY_SIZE(two_ranges), HOLD_ALL};

	for (enum io_op op = 0; op < IO_OP_COUNT; op++) {
		struct hold_op inside = op_at(op, 4096, 512);
		struct hold_op second = op_at(op, 73727, 1);

		assert_true(hold_concerns(&token, &inside));
		assert_true(hold_concerns(&token, &second));
	}
}

static void beside_the_range_only_what_has_no_range_is_held(void **state)
{
	struct hold_token token = {two_ranges, ARRAY_SIZE(two_ranges), HOLD_ALL};

	for (enum io_op op = 0; op < IO_OP_COUNT; op++) {
		struct hold_op before = op_at(op, 0, 4096);
		struct hold_op between = op_at(op, 8192, 65536 - 8192);

		assert_int_equal(hold_concerns(&token, &before), !io_op_ranged(op));
		assert_int_equal(hold_concerns(&token, &between), !io_op_ranged(op));
	}
}

static void a_hold_of_writes_lets_pass_only_what_changes_nothing(void **state)
{
	struct hold_token token = {two_ranges, ARRAY_SIZE(two_ranges), HOLD_WRITES};

	for (enum io_op op = 0; op < IO_OP_COUNT; op++) {
		struct hold_op inside = op_at(op, 4096, 512);
		bool passes = op == IO_READ || op == IO_BLOCK_STATUS;

		assert_int_equal(hold_concerns(&token, &inside), !passes);
	}
}

static void a_channel_without_requests_has_drained_at_once(void **state)
{
	struct hold_channel hc = {0};

	assert_true(hold_channel_begin(&hc, 0));
	assert_false(hc.draining);
}

static void a_channel_drains_exactly_once(void **state)
{
	struct hold_channel hc = {0};

	assert_false(hold_channel_begin(&hc, 3));
	assert_false(hold_channel_done(&hc));
	assert_false(hold_channel_done(&hc));
	assert_true(hold_channel_done(&hc));
	assert_false(hc.draining);
}

static void a_hold_has_drained_with_its_last_channel(void **state)
{
	struct hold_drain d;

	hold_drain_begin(&d, 2);
	assert_false(hold_drain_channel(&d));
	assert_true(hold_drain_channel(&d));
}

static void fill(struct list *held, struct waiting *w, size_t n)
{
	list_init(held);
	for (size_t i = 0; i < n; i++) {
		list_append(held, &w[i].link);
	}
}

static void held_requests_go_on_in_the_order_in_which_they_came(void **state)
{
	struct waiting w[] = {{.op = op_at(IO_WRITE, 0, 512)}, {.op = op_at(IO_FLUSH, 0, 0)},
	    {.op = op_at(IO_READ, 0, 512)}};
	struct list held;
	struct list ready;

	fill(&held, w, ARRAY_SIZE(w));
	list_init(&ready);
	hold_release(&held, &ready, op_of_node, NULL, 0);
	assert_true(list_empty(&held));
	for (size_t i = 0; i < ARRAY_SIZE(w); i++) {
		assert_ptr_equal(list_pop(&ready), &w[i].link);
	}
}

static void a_request_that_another_hold_concerns_stays(void **state)
{
	static const struct range other = {8192, 4096};
	struct hold_token token = {&other, 1, HOLD_ALL};
	const struct hold_token *tokens[] = {&token};
	struct waiting w[] = {{.op = op_at(IO_WRITE, 8192, 512)}, {.op = op_at(IO_WRITE, 0, 512)}};
	struct list held;
	struct list ready;

	fill(&held, w, ARRAY_SIZE(w));
	list_init(&ready);
	hold_release(&held, &ready, op_of_node, tokens, 1);
	assert_ptr_equal(list_pop(&held), &w[0].link);
	assert_true(list_empty(&held));
	assert_ptr_equal(list_pop(&ready), &w[1].link);
}

static void a_request_does_not_overtake_an_earlier_one_that_has_to_stay(void **state)
{
	static const struct range other = {8192, 4096};
	struct hold_token token = {&other, 1, HOLD_ALL};
	const struct hold_token *tokens[] = {&token};
	/* The first one covers the other hold's range too; the second one overlaps the first. */
	struct waiting w[] = {{.op = op_at(IO_WRITE, 4096, 8192)},
	    {.op = op_at(IO_WRITE, 4096, 512)}, {.op = op_at(IO_WRITE, 0, 512)}};
	struct list held;
	struct list ready;

	fill(&held, w, ARRAY_SIZE(w));
	list_init(&ready);
	hold_release(&held, &ready, op_of_node, tokens, 1);
	assert_ptr_equal(list_pop(&ready), &w[2].link);
	assert_true(list_empty(&ready));
	assert_ptr_equal(list_pop(&held), &w[0].link);
	assert_ptr_equal(list_pop(&held), &w[1].link);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_operation_on_the_range_is_held),
	    cmocka_unit_test(beside_the_range_only_what_has_no_range_is_held),
	    cmocka_unit_test(a_hold_of_writes_lets_pass_only_what_changes_nothing),
	    cmocka_unit_test(a_channel_without_requests_has_drained_at_once),
	    cmocka_unit_test(a_channel_drains_exactly_once),
	    cmocka_unit_test(a_hold_has_drained_with_its_last_channel),
	    cmocka_unit_test(held_requests_go_on_in_the_order_in_which_they_came),
	    cmocka_unit_test(a_request_that_another_hold_concerns_stays),
	    cmocka_unit_test(a_request_does_not_overtake_an_earlier_one_that_has_to_stay),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
