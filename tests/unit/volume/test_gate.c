#include "volume/gate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define NR_REQUESTS 8

/* What is below the gate: requests stay until the test ends them. */
static struct io *started[64];
static int nr_started;

static struct io requests[NR_REQUESTS];
static int ended[NR_REQUESTS]; /* completions seen by the submitter */
static int drains;

static void start(struct gate *gate, struct io *io)
{
	started[nr_started++] = io;
}

static void done(struct io *io, void *ctx)
{
	ended[io - requests]++;
}

static void drained(struct gate_leg *leg)
{
	drains++;
}

static struct io *request(int i, enum io_op op, uint64_t offset, uint64_t length)
{
	requests[i] = (struct io){.op = op, .offset = offset, .length = length};
	ended[i] = 0;
	io_push(&requests[i], done, NULL);
	return &requests[i];
}

static int setup(void **state)
{
	struct gate *gate = malloc(sizeof(*gate));

	nr_started = 0;
	drains = 0;
	gate_init(gate, start);
	*state = gate;
	return 0;
}

static int teardown(void **state)
{
	free(*state);
	return 0;
}

static struct range held_range = {4096, 4096};

static struct gate_leg make_leg(const struct hold_token *token)
{
	return (struct gate_leg){.token = token, .drained = drained};
}

/* Whether a request of that operation is let through a hold on [4096, 8192). */
static bool passes(struct gate *gate, enum hold_kind kind, enum io_op op, uint64_t offset)
{
	struct hold_token token = {&held_range, 1, kind};
	struct gate_leg leg = make_leg(&token);
	bool passed;

	nr_started = 0;
	gate_attach(gate, &leg);
	gate_submit(gate, request(0, op, offset, 4096));
	passed = nr_started == 1;
	gate_detach(gate, &leg);
	assert_int_equal(nr_started, 1); /* let go at the end, once */
	io_complete(&requests[0], 0);
	assert_int_equal(ended[0], 1);
	return passed;
}

/*
 * Fails closed: written out for every operation, so that a new one fails here until somebody has decided what it is.
 */
static const struct {
	bool all_inside, all_outside, writes_inside, writes_outside;
} expected[IO_OP_COUNT] = {
    [IO_READ] = {false, true, true, true},
    [IO_WRITE] = {false, true, false, true},
    [IO_FLUSH] = {false, false, false, false},
    [IO_DISCARD] = {false, true, false, true},
    [IO_WRITE_ZEROES] = {false, true, false, true},
    [IO_BLOCK_STATUS] = {false, true, true, true},
};

static void every_operation_is_held_unless_it_is_known_to_be_harmless(void **state)
{
	for (int op = 0; op < IO_OP_COUNT; op++) {
		enum io_op o = (enum io_op)op;

		assert_int_equal(passes(*state, HOLD_ALL, o, 4096), expected[op].all_inside);
		assert_int_equal(passes(*state, HOLD_ALL, o, 8192), expected[op].all_outside);
		assert_int_equal(passes(*state, HOLD_WRITES, o, 4096), expected[op].writes_inside);
		assert_int_equal(passes(*state, HOLD_WRITES, o, 8192), expected[op].writes_outside);
	}
}

static void request_that_touches_the_range_at_one_byte_is_held(void **state)
{
	assert_false(passes(*state, HOLD_ALL, IO_WRITE, 1));
	assert_false(passes(*state, HOLD_ALL, IO_WRITE, 8191));
	assert_true(passes(*state, HOLD_ALL, IO_WRITE, 0));
}

static void hold_drains_when_the_last_overlapping_request_has_ended(void **state)
{
	struct gate *gate = *state;
	struct hold_token token = {&held_range, 1, HOLD_ALL};
	struct gate_leg leg = make_leg(&token);

	gate_submit(gate, request(0, IO_WRITE, 4096, 512));
	gate_submit(gate, request(1, IO_READ, 0, 512)); /* elsewhere */
	gate_submit(gate, request(2, IO_FLUSH, 0, 0));
	gate_attach(gate, &leg);
	io_complete(&requests[0], 0);
	assert_int_equal(drains, 0);
	io_complete(&requests[2], 0);
	assert_int_equal(drains, 1);
	io_complete(&requests[1], 0);
	assert_int_equal(drains, 1);
	gate_detach(gate, &leg);
	assert_true(gate_idle(gate));
}

static void hold_without_requests_drains_at_once(void **state)
{
	struct hold_token token = {&held_range, 1, HOLD_ALL};
	struct gate_leg leg = make_leg(&token);

	gate_attach(*state, &leg);
	assert_int_equal(drains, 1);
	gate_detach(*state, &leg);
}

static void held_requests_leave_in_the_order_in_which_they_came(void **state)
{
	struct gate *gate = *state;
	struct hold_token token = {&held_range, 1, HOLD_ALL};
	struct gate_leg leg = make_leg(&token);

	gate_attach(gate, &leg);
	for (int i = 0; i < 5; i++) {
		gate_submit(gate, request(i, IO_WRITE, 4096 + 512 * (uint64_t)(i % 2), 512));
	}
	assert_int_equal(nr_started, 0);
	assert_int_equal(atomic_load(&leg.held_requests), 5);
	assert_int_equal(atomic_load(&gate->nr_held), 5);
	gate_detach(gate, &leg);
	assert_int_equal(nr_started, 5);
	for (int i = 0; i < 5; i++) {
		assert_ptr_equal(started[i], &requests[i]);
	}
	assert_int_equal(atomic_load(&gate->nr_held), 0);
}

static void request_that_was_given_back_goes_before_those_that_came_after_it(void **state)
{
	struct gate *gate = *state;
	struct hold_token token = {&held_range, 1, HOLD_ALL};
	struct gate_leg leg = make_leg(&token);

	gate_submit(gate, request(0, IO_WRITE, 4096, 512));
	gate_submit(gate, request(1, IO_WRITE, 4096, 512));
	gate_attach(gate, &leg);
	gate_submit(gate, request(2, IO_WRITE, 4096, 512));
	io_complete(&requests[1], IO_REQUEUE); /* taken back, in the other order */
	io_complete(&requests[0], IO_REQUEUE);
	assert_int_equal(drains, 1);
	assert_int_equal(ended[0] + ended[1], 0);
	nr_started = 0;
	gate_detach(gate, &leg);
	assert_int_equal(nr_started, 3);
	for (int i = 0; i < 3; i++) {
		assert_ptr_equal(started[i], &requests[i]);
	}
	io_complete(&requests[0], 0);
	assert_int_equal(ended[0], 1);
}

static void request_given_back_without_a_hold_runs_again(void **state)
{
	struct gate *gate = *state;

	gate_submit(gate, request(0, IO_WRITE, 4096, 512));
	io_complete(&requests[0], IO_REQUEUE);
	assert_int_equal(nr_started, 2);
	assert_int_equal(ended[0], 0);
	io_complete(&requests[0], -5);
	assert_int_equal(ended[0], 1);
	assert_int_equal(requests[0].status, -5);
	assert_true(gate_idle(gate));
}

static void request_under_two_holds_waits_for_both(void **state)
{
	struct gate *gate = *state;
	struct range ranges[2] = {{0, 4096}, {4096, 4096}};
	struct hold_token tokens[2] = {{&ranges[0], 1, HOLD_ALL}, {&ranges[1], 1, HOLD_ALL}};
	struct gate_leg legs[2] = {make_leg(&tokens[0]), make_leg(&tokens[1])};

	gate_attach(gate, &legs[0]);
	gate_attach(gate, &legs[1]);
	gate_submit(gate, request(0, IO_WRITE, 2048, 4096)); /* both */
	gate_submit(gate, request(1, IO_WRITE, 0, 512));     /* the first only */
	gate_submit(
	    gate, request(2, IO_WRITE, 2048, 512)); /* the first only, but behind request 0 */
	gate_detach(gate, &legs[0]);
	assert_int_equal(nr_started, 1);
	assert_ptr_equal(started[0], &requests[1]);
	gate_detach(gate, &legs[1]);
	assert_int_equal(nr_started, 3);
	assert_ptr_equal(started[1], &requests[0]);
	assert_ptr_equal(started[2], &requests[2]);
}

/* A client that answers each completion with the next request. */
static struct gate *chained_gate;

static void done_and_submit(struct io *io, void *ctx)
{
	gate_submit(chained_gate, request(2, IO_WRITE, 4096, 512));
}

static void start_and_end_first(struct gate *gate, struct io *io)
{
	started[nr_started++] = io;
	if (io == &requests[0]) {
		io_complete(io, 0);
	}
}

static void request_that_comes_during_the_release_goes_last(void **state)
{
	struct gate *gate = *state;
	struct hold_token token = {&held_range, 1, HOLD_ALL};
	struct gate_leg leg = make_leg(&token);

	chained_gate = gate;
	gate->start = start_and_end_first;
	gate_attach(gate, &leg);
	requests[0] = (struct io){.op = IO_WRITE, .offset = 4096, .length = 512};
	io_push(&requests[0], done_and_submit, NULL);
	gate_submit(gate, &requests[0]);
	gate_submit(gate, request(1, IO_WRITE, 4096, 512));
	gate_detach(gate, &leg);
	assert_int_equal(nr_started, 3);
	assert_ptr_equal(started[0], &requests[0]);
	assert_ptr_equal(started[1], &requests[1]);
	assert_ptr_equal(started[2], &requests[2]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(
		every_operation_is_held_unless_it_is_known_to_be_harmless, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		request_that_touches_the_range_at_one_byte_is_held, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		hold_drains_when_the_last_overlapping_request_has_ended, setup, teardown),
	    cmocka_unit_test_setup_teardown(hold_without_requests_drains_at_once, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		held_requests_leave_in_the_order_in_which_they_came, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		request_that_was_given_back_goes_before_those_that_came_after_it, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		request_given_back_without_a_hold_runs_again, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		request_under_two_holds_waits_for_both, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		request_that_comes_during_the_release_goes_last, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
