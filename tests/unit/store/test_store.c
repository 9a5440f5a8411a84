/*
 * What every implementation of the store promises, run over each of them.
 */
#include <stdio.h>
#include <string.h>

#include "store_fixture.h"

static void empty_store_has_revision_zero_and_no_items(void **state)
{
	struct outcome o = fixture_range(*state, "");

	assert_int_equal(o.code, 0);
	assert_int_equal(o.revision, 0);
	assert_string_equal(o.text, "");
}

static void put_sets_create_and_mod_revision(void **state)
{
	assert_int_equal(fixture_put(*state, "/a", "one"), 1);
	assert_int_equal(fixture_put(*state, "/b", "two"), 2);
	assert_int_equal(fixture_put(*state, "/a", "three"), 3);
	assert_string_equal(fixture_range(*state, "").text, "/a=three(1,3) /b=two(2,2)");
	assert_int_equal(fixture_range(*state, "").revision, 3);
}

static void deleted_key_begins_a_new_life_when_put_again(void **state)
{
	fixture_put(*state, "/a", "one");
	assert_int_equal(fixture_delete(*state, "/a"), 2);
	assert_string_equal(fixture_get(*state, "/a").text, "");
	fixture_put(*state, "/a", "two");
	assert_string_equal(fixture_get(*state, "/a").text, "/a=two(3,3)");
}

static void transaction_that_changes_nothing_keeps_the_revision(void **state)
{
	struct outcome o;

	fixture_put(*state, "/a", "one");
	assert_int_equal(fixture_delete(*state, "/none"), 1);
	o = fixture_txn(*state, NULL, 0, NULL, 0);
	assert_true(o.succeeded);
	assert_int_equal(o.revision, 1);
}

static void put_of_the_same_value_is_a_change(void **state)
{
	fixture_put(*state, "/a", "one");
	assert_int_equal(fixture_put(*state, "/a", "one"), 2);
	assert_string_equal(fixture_get(*state, "/a").text, "/a=one(1,2)");
}

static void range_returns_what_begins_with_the_prefix_in_byte_order(void **state)
{
	fixture_put(*state, "/v/b", "2");
	fixture_put(*state, "/v/\xc3\xa9", "4");
	fixture_put(*state, "/v/a", "1");
	fixture_put(*state, "/v0", "no");
	fixture_put(*state, "/u", "no");
	fixture_put(*state, "/v/c/d", "3");
	assert_string_equal(fixture_range(*state, "/v/").text,
	    "/v/a=1(3,3) /v/b=2(1,1) /v/c/d=3(6,6) /v/\xc3\xa9=4(2,2)");
	assert_int_equal(fixture_range(*state, "").nr_items, 6);
	assert_int_equal(fixture_range(*state, "/w").nr_items, 0);
}

static void prefix_of_the_highest_bytes_has_an_end_too(void **state)
{
	fixture_put(*state, "\xff\xff", "1");
	fixture_put(*state, "a\xff", "2");
	fixture_put(*state, "a\xff\x01", "3");
	fixture_put(*state, "b", "4");
	assert_int_equal(fixture_range(*state, "\xff").nr_items, 1);
	assert_int_equal(fixture_range(*state, "a\xff").nr_items, 2);
}

static void get_returns_only_the_key_itself(void **state)
{
	fixture_put(*state, "/a", "1");
	fixture_put(*state, "/ab", "2");
	assert_string_equal(fixture_get(*state, "/a").text, "/a=1(1,1)");
	assert_string_equal(fixture_get(*state, "/").text, "");
}

static void empty_value_differs_from_none(void **state)
{
	struct watch_log log;

	fixture_watch(*state, &log, "/", 0);
	fixture_put(*state, "/a", "");
	assert_string_equal(fixture_get(*state, "/a").text, "/a=(1,1)");
	fixture_delete(*state, "/a");
	fixture_settle(*state);
	assert_string_equal(log.text, "+/a=@1 -/a@2");
}

static void on_binary(void *ctx, const struct store_item *items, size_t nr_items, uint64_t revision,
    const struct error *err)
{
	assert_null(err);
	assert_int_equal(nr_items, 1);
	assert_int_equal(items[0].value_len, 6);
	assert_memory_equal(items[0].value, "\0\xff\n\0\x01\0", 6);
	*(bool *)ctx = true;
}

static void value_is_bytes_of_any_kind(void **state)
{
	const struct store_op op = {
	    .kind = STORE_PUT, .key = "/a", .value = "\0\xff\n\0\x01\0", .value_len = 6};
	struct fixture *f = *state;
	bool called = false;

	assert_true(fixture_txn(f, NULL, 0, &op, 1).succeeded);
	store_get(f->store, "/a", on_binary, &called);
	fixture_step_until(f, &called);
}

/* -- transactions -- */

static void all_operations_of_a_transaction_share_one_revision(void **state)
{
	const struct store_op ops[] = {
	    OP_PUT("/a", "1"), OP_DELETE("/old"), OP_PUT("/b", "2"), OP_DELETE_PREFIX("/tree/")};

	fixture_put(*state, "/old", "x");
	fixture_put(*state, "/tree/1", "x");
	fixture_put(*state, "/tree/2", "x");
	fixture_put(*state, "/trees", "x");
	assert_int_equal(fixture_txn(*state, NULL, 0, ops, ARRAY_SIZE(ops)).revision, 5);
	assert_string_equal(fixture_range(*state, "").text, "/a=1(5,5) /b=2(5,5) /trees=x(4,4)");
}

static void delete_of_the_empty_prefix_deletes_all(void **state)
{
	const struct store_op op = OP_DELETE_PREFIX("");

	fixture_put(*state, "/a", "1");
	fixture_put(*state, "/b", "1");
	assert_int_equal(fixture_txn(*state, NULL, 0, &op, 1).revision, 3);
	assert_int_equal(fixture_range(*state, "").nr_items, 0);
}

static void compares_decide_whether_a_transaction_is_done(void **state)
{
	static const struct {
		struct store_compare compare;
		bool holds;
	} cases[] = {
	    {{.kind = STORE_MOD_REVISION_IS, .key = "/a", .revision = 2}, true},
	    {{.kind = STORE_MOD_REVISION_IS, .key = "/a", .revision = 1}, false},
	    {{.kind = STORE_MOD_REVISION_IS, .key = "/a", .revision = 0}, false},
	    {{.kind = STORE_MOD_REVISION_IS, .key = "/none", .revision = 0}, true},
	    {{.kind = STORE_MOD_REVISION_IS, .key = "/none", .revision = 2}, false},
	    {{.kind = STORE_VALUE_IS, .key = "/a", .value = "two", .value_len = 3}, true},
	    {{.kind = STORE_VALUE_IS, .key = "/a", .value = "twO", .value_len = 3}, false},
	    {{.kind = STORE_VALUE_IS, .key = "/a", .value = "tw", .value_len = 2}, false},
	    {{.kind = STORE_VALUE_IS, .key = "/a", .value = NULL, .value_len = 0}, false},
	    {{.kind = STORE_VALUE_IS, .key = "/none", .value = NULL, .value_len = 0}, false},
	    {{.kind = STORE_VALUE_IS, .key = "/empty", .value = NULL, .value_len = 0}, true},
	};
	const struct store_op op = OP_PUT("/done", "");
	uint64_t revision;

	fixture_put(*state, "/a", "one");
	fixture_put(*state, "/a", "two");
	revision = fixture_put(*state, "/empty", "");
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct outcome o = fixture_txn(*state, &cases[i].compare, 1, &op, 1);

		assert_int_equal(o.code, 0);
		assert_int_equal(o.succeeded, cases[i].holds);
		revision += cases[i].holds ? 1 : 0;
		assert_int_equal(o.revision, revision);
	}
}

static void one_compare_that_fails_undoes_the_whole_transaction(void **state)
{
	const struct store_compare compares[] = {
	    {.kind = STORE_MOD_REVISION_IS, .key = "/a", .revision = 1},
	    {.kind = STORE_MOD_REVISION_IS, .key = "/b", .revision = 9},
	};
	const struct store_op ops[] = {OP_PUT("/a", "new"), OP_DELETE_PREFIX("/b")};
	struct watch_log log;
	struct outcome o;

	fixture_put(*state, "/a", "old");
	fixture_put(*state, "/b", "old");
	fixture_watch(*state, &log, "", 0);
	o = fixture_txn(*state, compares, 2, ops, 2);
	assert_int_equal(o.code, 0);
	assert_false(o.succeeded);
	assert_int_equal(o.revision, 2);
	assert_string_equal(fixture_range(*state, "").text, "/a=old(1,1) /b=old(2,2)");
	assert_string_equal(log.text, "");
}

static void transaction_that_touches_a_key_twice_is_refused(void **state)
{
	const struct store_op cases[][2] = {
	    {OP_PUT("/a", "1"), OP_PUT("/a", "2")},
	    {OP_PUT("/a", "1"), OP_DELETE("/a")},
	    {OP_DELETE_PREFIX("/"), OP_PUT("/a", "1")},
	    {OP_PUT("/a/b", "1"), OP_DELETE_PREFIX("/a")},
	    {OP_DELETE_PREFIX("/a"), OP_DELETE_PREFIX("/a/b")},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct outcome o = fixture_txn(*state, NULL, 0, cases[i], 2);

		assert_int_equal(o.code, -EINVAL);
		assert_false(o.succeeded);
	}
	assert_int_equal(fixture_range(*state, "").revision, 0);
}

static void lease_is_refused_with_advice(void **state)
{
	const struct store_op op = {.kind = STORE_PUT, .key = "/a", .lease = 7};
	struct outcome o = fixture_txn(*state, NULL, 0, &op, 1);

	assert_int_equal(o.code, -EOPNOTSUPP);
	assert_non_null(strstr(o.message, "cluster store"));
	assert_int_equal(fixture_range(*state, "").nr_items, 0);
}

static void key_or_value_beyond_the_bounds_is_refused(void **state)
{
	static char value[STORE_VALUE_MAX + 1];
	static char key[STORE_KEY_MAX + 2];
	struct store_op op = {
	    .kind = STORE_PUT, .key = "/a", .value = value, .value_len = sizeof(value)};

	assert_int_equal(fixture_txn(*state, NULL, 0, &op, 1).code, -EINVAL);
	op.value_len--;
	assert_int_equal(fixture_txn(*state, NULL, 0, &op, 1).code, 0);
	memset(key, 'k', sizeof(key) - 1);
	op.key = key;
	assert_int_equal(fixture_txn(*state, NULL, 0, &op, 1).code, -EINVAL);
	assert_int_equal(fixture_get(*state, key).code, -EINVAL);
	key[STORE_KEY_MAX] = '\0';
	assert_int_equal(fixture_txn(*state, NULL, 0, &op, 1).code, 0);
	assert_int_equal(fixture_range(*state, key).nr_items, 1);
	op.key = "";
	assert_int_equal(fixture_txn(*state, NULL, 0, &op, 1).code, -EINVAL);
}

/* -- calls and callbacks -- */

static void arguments_are_copied_before_the_call_returns(void **state)
{
	struct fixture *f = *state;
	char key[] = "/a";
	char value[] = "one";
	struct store_compare compare = {.kind = STORE_MOD_REVISION_IS, .key = key};
	struct store_op op = {.kind = STORE_PUT, .key = key, .value = value, .value_len = 3};
	struct watch_log log = {0};
	struct outcome put = {0};
	struct outcome get = {0};

	fixture_watch(f, &log, key, 0);
	store_txn(f->store, &compare, 1, &op, 1, outcome_on_txn, &put);
	store_get(f->store, key, outcome_on_items, &get);
	memset(key, 'x', sizeof(key));
	memset(value, 'x', sizeof(value));
	memset(&compare, 0xff, sizeof(compare));
	memset(&op, 0xff, sizeof(op));
	fixture_step_until(f, &get.called);
	assert_true(put.succeeded);
	assert_string_equal(get.text, "/a=one(1,1)");
	assert_string_equal(log.text, "+/a=one@1");
}

struct order {
	unsigned next;
	unsigned seen[8];
};
struct order_entry {
	struct order *order;
	unsigned number;
};

static void order_note(void *ctx)
{
	struct order_entry *e = ctx;

	e->order->seen[e->order->next++] = e->number;
}

static void order_on_items(void *ctx, const struct store_item *items, size_t nr_items,
    uint64_t revision, const struct error *err)
{
	order_note(ctx);
}

static void order_on_txn(void *ctx, bool succeeded, uint64_t revision, const struct error *err)
{
	order_note(ctx);
}

static void callbacks_come_in_the_order_of_the_calls_refusals_included(void **state)
{
	const struct store_op good = OP_PUT("/a", "1");
	const struct store_op bad = OP_PUT("", "1");
	struct fixture *f = *state;
	struct order order = {0};
	struct order_entry e[5];

	for (unsigned i = 0; i < ARRAY_SIZE(e); i++) {
		e[i] = (struct order_entry){.order = &order, .number = i};
	}
	store_range(f->store, "", order_on_items, &e[0]);
	store_txn(f->store, NULL, 0, &good, 1, order_on_txn, &e[1]);
	store_txn(f->store, NULL, 0, &bad, 1, order_on_txn, &e[2]);
	store_get(f->store, "", order_on_items, &e[3]);
	store_get(f->store, "/a", order_on_items, &e[4]);
	assert_int_equal(order.next, 0);
	fixture_settle(f);
	assert_int_equal(order.next, ARRAY_SIZE(e));
	for (unsigned i = 0; i < ARRAY_SIZE(e); i++) {
		assert_int_equal(order.seen[i], i);
	}
}

static void close_finishes_what_was_asked(void **state)
{
	struct fixture *f = *state;
	struct outcome put[20] = {0};
	struct watch_log log = {0};

	fixture_watch(f, &log, "/19", 0);
	for (unsigned i = 0; i < ARRAY_SIZE(put); i++) {
		char key[16];
		struct store_op op = {.kind = STORE_PUT, .key = key, .value = "v", .value_len = 1};

		snprintf(key, sizeof(key), "/%u", i);
		store_txn(f->store, NULL, 0, &op, 1, outcome_on_txn, &put[i]);
	}
	fixture_close(f);
	for (unsigned i = 0; i < ARRAY_SIZE(put); i++) {
		assert_true(put[i].succeeded);
		assert_int_equal(put[i].revision, i + 1);
	}
	assert_string_equal(log.text, "+/19=v@20");
}

/* -- watches -- */

static void watch_tells_changes_below_its_prefix_in_revision_order(void **state)
{
	const struct store_op ops[] = {
	    OP_PUT("/w/z", "1"), OP_PUT("/other", "1"), OP_PUT("/w/a", "2")};
	const struct store_op wipe = OP_DELETE_PREFIX("/w/");
	struct watch_log log;

	fixture_put(*state, "/w/before", "x");
	fixture_watch(*state, &log, "/w/", 0);
	fixture_txn(*state, NULL, 0, ops, ARRAY_SIZE(ops));
	fixture_put(*state, "/w", "x");
	fixture_txn(*state, NULL, 0, &wipe, 1);
	fixture_settle(*state);
	assert_string_equal(log.text, "+/w/z=1@2 +/w/a=2@2 -/w/a@4 -/w/before@4 -/w/z@4");
}

static void watch_resumes_from_a_revision_and_goes_on(void **state)
{
	struct watch_log log;

	fixture_put(*state, "/a", "1");
	fixture_put(*state, "/a", "2");
	fixture_put(*state, "/b", "3");
	fixture_delete(*state, "/a");
	fixture_watch(*state, &log, "/", 2);
	fixture_put(*state, "/c", "5");
	fixture_settle(*state);
	assert_string_equal(log.text, "+/a=2@2 +/b=3@3 -/a@4 +/c=5@5");
}

static void watch_from_the_future_waits_for_its_revision(void **state)
{
	struct watch_log log;

	fixture_put(*state, "/a", "1");
	fixture_watch(*state, &log, "/", 3);
	fixture_put(*state, "/a", "2");
	fixture_put(*state, "/a", "3");
	fixture_settle(*state);
	assert_string_equal(log.text, "+/a=3@3");
}

static void watch_between_two_calls_sees_only_the_later(void **state)
{
	const struct store_op first = OP_PUT("/a", "1");
	const struct store_op second = OP_PUT("/a", "2");
	struct fixture *f = *state;
	struct outcome o[2] = {0};
	struct watch_log log;

	store_txn(f->store, NULL, 0, &first, 1, outcome_on_txn, &o[0]);
	fixture_watch(f, &log, "/", 0);
	store_txn(f->store, NULL, 0, &second, 1, outcome_on_txn, &o[1]);
	fixture_settle(f);
	assert_string_equal(log.text, "+/a=2@2");
}

static void watch_from_a_forgotten_revision_ends_with_an_error(void **state)
{
	struct watch_log old;
	struct watch_log kept;
	uint64_t revision = 0;

	while (revision < 1500) {
		revision = fixture_put(*state, "/a", "x");
	}
	fixture_watch(*state, &old, "/", 1);
	fixture_watch(*state, &kept, "/b", revision - 1000);
	fixture_put(*state, "/b", "y");
	fixture_settle(*state);
	assert_string_equal(old.text, "!-116"); /* ESTALE */
	assert_string_equal(kept.text, "+/b=y@1501");
	store_watch_cancel(old.watch);
}

static void cancelled_watch_is_told_nothing_more(void **state)
{
	struct watch_log early;
	struct watch_log late;

	fixture_put(*state, "/a", "1");
	fixture_watch(*state, &early, "/", 1);
	store_watch_cancel(early.watch);
	fixture_watch(*state, &late, "/", 0);
	fixture_put(*state, "/a", "2");
	fixture_settle(*state);
	store_watch_cancel(late.watch);
	fixture_put(*state, "/a", "3");
	fixture_settle(*state);
	assert_string_equal(early.text, "");
	assert_string_equal(late.text, "+/a=2@2");
	store_watch_cancel(NULL);
}

struct self_cancel {
	struct store_watch *watch;
	unsigned told;
};

static void on_change_cancel(
    void *ctx, const struct store_item *item, uint64_t revision, const struct error *err)
{
	struct self_cancel *c = ctx;

	c->told++;
	store_watch_cancel(c->watch);
}

static void watch_may_be_cancelled_from_its_own_callback(void **state)
{
	const struct store_op ops[] = {OP_PUT("/a", "1"), OP_PUT("/b", "1")};
	struct self_cancel live = {0};
	struct self_cancel past = {0};
	struct fixture *f = *state;

	store_watch(f->store, "/", 0, on_change_cancel, &live, &live.watch);
	fixture_txn(f, NULL, 0, ops, 2);
	fixture_settle(f);
	store_watch(f->store, "/", 1, on_change_cancel, &past, &past.watch);
	fixture_settle(f);
	assert_int_equal(live.told, 1);
	assert_int_equal(past.told, 1);
}

static void on_change_after_answer(
    void *ctx, const struct store_item *item, uint64_t revision, const struct error *err)
{
	assert_true(*(bool *)ctx);
}

static void answer_comes_before_the_watches_are_told(void **state)
{
	const struct store_op op = OP_PUT("/a", "1");
	struct fixture *f = *state;
	struct outcome o = {0};
	struct store_watch *w;

	store_watch(f->store, "/", 0, on_change_after_answer, &o.called, &w);
	store_txn(f->store, NULL, 0, &op, 1, outcome_on_txn, &o);
	fixture_settle(f);
	assert_true(o.succeeded);
}

#define TESTS(X)                                                                                   \
	X(empty_store_has_revision_zero_and_no_items)                                              \
	X(put_sets_create_and_mod_revision)                                                        \
	X(deleted_key_begins_a_new_life_when_put_again)                                            \
	X(transaction_that_changes_nothing_keeps_the_revision)                                     \
	X(put_of_the_same_value_is_a_change)                                                       \
	X(range_returns_what_begins_with_the_prefix_in_byte_order)                                 \
	X(prefix_of_the_highest_bytes_has_an_end_too)                                              \
	X(get_returns_only_the_key_itself)                                                         \
	X(empty_value_differs_from_none)                                                           \
	X(value_is_bytes_of_any_kind)                                                              \
	X(all_operations_of_a_transaction_share_one_revision)                                      \
	X(delete_of_the_empty_prefix_deletes_all)                                                  \
	X(compares_decide_whether_a_transaction_is_done)                                           \
	X(one_compare_that_fails_undoes_the_whole_transaction)                                     \
	X(transaction_that_touches_a_key_twice_is_refused)                                         \
	X(lease_is_refused_with_advice)                                                            \
	X(key_or_value_beyond_the_bounds_is_refused)                                               \
	X(arguments_are_copied_before_the_call_returns)                                            \
	X(callbacks_come_in_the_order_of_the_calls_refusals_included)                              \
	X(close_finishes_what_was_asked)                                                           \
	X(watch_tells_changes_below_its_prefix_in_revision_order)                                  \
	X(watch_resumes_from_a_revision_and_goes_on)                                               \
	X(watch_from_the_future_waits_for_its_revision)                                            \
	X(watch_between_two_calls_sees_only_the_later)                                             \
	X(watch_from_a_forgotten_revision_ends_with_an_error)                                      \
	X(cancelled_watch_is_told_nothing_more)                                                    \
	X(watch_may_be_cancelled_from_its_own_callback)                                            \
	X(answer_comes_before_the_watches_are_told)

int main(void)
{
	const struct CMUnitTest mem[] = {
#define X(name) cmocka_unit_test_setup_teardown(name, fixture_setup_mem, fixture_teardown),
	    TESTS(X)
#undef X
	};
	const struct CMUnitTest sqlite[] = {
#define X(name) cmocka_unit_test_setup_teardown(name, fixture_setup_sqlite, fixture_teardown),
	    TESTS(X)
#undef X
	};
	int failed = cmocka_run_group_tests(mem, NULL, NULL);

	return failed + cmocka_run_group_tests(sqlite, NULL, NULL);
}
