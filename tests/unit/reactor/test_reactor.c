#include "reactor/group.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "reactor/buffer.h"

static struct reactor_group *new_group(unsigned nr_data, bool manual)
{
	struct reactor_group_options options = {.nr_data = nr_data, .manual = manual};
	struct reactor_group *g = NULL;
	struct error err = {0};

	if (reactor_group_new(&options, &g, &err) != 0) {
		fail_msg("%s (%s)", err.message, err.hint);
	}
	return g;
}

/* -- messages -- */

struct numbered {
	struct reactor_msg msg;
	int number;
};

static int received[8];
static int nr_received;

static void receive(struct reactor_msg *msg)
{
	received[nr_received++] = container_of(msg, struct numbered, msg)->number;
}

static void messages_arrive_in_order_and_never_inside_send(void **state)
{
	struct reactor_group *g = new_group(1, true);
	struct numbered n[5];

	nr_received = 0;
	for (int i = 0; i < 5; i++) {
		n[i].number = i;
		reactor_send(g->data[0], &n[i].msg, receive);
	}
	assert_int_equal(nr_received, 0);
	reactor_group_step(g, 0);
	assert_int_equal(nr_received, 5);
	for (int i = 0; i < 5; i++) {
		assert_int_equal(received[i], i);
	}
	reactor_group_free(g);
}

/* -- broadcast -- */

static _Atomic int broadcast_runs;
static bool broadcast_finished;

static void on_each(struct reactor_broadcast *b, unsigned index)
{
	assert_ptr_equal(reactor_current(), b->group->data[index]);
	broadcast_runs++;
}

static void on_all(struct reactor_broadcast *b)
{
	broadcast_finished = true;
}

static void broadcast_ends_after_every_reactor_has_run(void **state)
{
	struct reactor_group *g = new_group(3, false);
	struct reactor_broadcast b;

	broadcast_runs = 0;
	broadcast_finished = false;
	assert_int_equal(reactor_broadcast_init(&b, g), 0);
	reactor_broadcast_start(&b, on_each, on_all);
	while (!broadcast_finished) {
		reactor_step(g->control, 1000);
	}
	assert_int_equal(broadcast_runs, 3);
	reactor_broadcast_fini(&b);
	reactor_group_free(g);
}

/* -- timers -- */

struct ticking {
	struct reactor_timer timer;
	struct reactor *r;
	struct ticking *cancels;
	int number;
};

static void tick(struct reactor_timer *t)
{
	struct ticking *k = container_of(t, struct ticking, timer);

	received[nr_received++] = k->number;
	if (k->cancels != NULL) {
		reactor_timer_cancel(k->r, &k->cancels->timer);
	}
}

static void timers_fire_in_order_of_their_deadlines(void **state)
{
	struct reactor_group *g = new_group(1, true);
	struct ticking t[5];
	static const unsigned delay_ms[5] = {30, 10, 40, 20, 10};

	nr_received = 0;
	for (int i = 0; i < 5; i++) {
		t[i] = (struct ticking){.r = g->control, .number = i};
		reactor_timer_init(&t[i].timer, tick);
		reactor_timer_arm(g->control, &t[i].timer, delay_ms[i] * NS_PER_MS);
	}
	t[3].cancels = &t[2];
	reactor_timer_arm(g->control, &t[1].timer, 15 * NS_PER_MS); /* re-armed: once, later */
	while (nr_received < 4) {
		reactor_step(g->control, 1000);
	}
	assert_int_equal(received[0], 4);
	assert_int_equal(received[1], 1);
	assert_int_equal(received[2], 3);
	assert_int_equal(received[3], 0);
	assert_false(reactor_timer_armed(&t[2].timer));
	reactor_group_free(g);
}

/* -- watches -- */

struct watching {
	struct reactor_watch watch;
	int calls;
	bool stopped;
};

static void readable(struct reactor_watch *w, uint32_t revents)
{
	assert_true(revents & POLLIN);
	container_of(w, struct watching, watch)->calls++;
}

static void ended(struct reactor_watch *w)
{
	container_of(w, struct watching, watch)->stopped = true;
}

static void watch_is_level_triggered_pauses_and_stops(void **state)
{
	struct reactor_group *g = new_group(1, true);
	struct watching w = {0};
	int fds[2];
	int calls;

	assert_int_equal(pipe(fds), 0);
	assert_int_equal(write(fds[1], "x", 1), 1);
	reactor_watch_init(&w.watch, g->control, fds[0], readable);
	reactor_watch_set(&w.watch, POLLIN);
	while (w.calls < 3) { /* nobody reads: it is called again */
		reactor_step(g->control, 1000);
	}
	reactor_watch_set(&w.watch, 0);
	for (int i = 0; i < 5; i++) {
		reactor_step(g->control, 0);
	}
	calls = w.calls;
	for (int i = 0; i < 5; i++) {
		reactor_step(g->control, 0);
	}
	assert_int_equal(w.calls, calls);
	reactor_watch_set(&w.watch, POLLIN);
	while (w.calls == calls) {
		reactor_step(g->control, 1000);
	}
	reactor_watch_stop(&w.watch, ended);
	assert_false(w.stopped);
	while (!w.stopped) {
		reactor_step(g->control, 1000);
	}
	close(fds[0]);
	close(fds[1]);
	reactor_group_free(g);
}

/* -- deferred work -- */

static int deferred_runs;

static void run_deferred(struct reactor_deferred *d)
{
	deferred_runs++;
}

static void deferred_work_runs_once_per_turn_however_often_it_is_asked_for(void **state)
{
	struct reactor_group *g = new_group(1, true);
	struct reactor_deferred d;

	deferred_runs = 0;
	reactor_deferred_init(&d, run_deferred);
	reactor_defer(g->data[0], &d);
	reactor_defer(g->data[0], &d);
	assert_int_equal(deferred_runs, 0);
	reactor_step(g->data[0], 0);
	reactor_step(g->data[0], 0);
	assert_int_equal(deferred_runs, 1);
	reactor_defer(g->data[0], &d);
	reactor_deferred_cancel(&d);
	reactor_step(g->data[0], 0);
	assert_int_equal(deferred_runs, 1);
	reactor_group_free(g);
}

/* -- io_uring -- */

struct counted_op {
	struct reactor_op op;
	int *done;
};

static void count_done(struct reactor_op *op, int res, uint32_t flags)
{
	assert_int_equal(res, 0);
	(*container_of(op, struct counted_op, op)->done)++;
}

static void more_operations_than_the_queue_holds_all_complete(void **state)
{
	enum { N = 10000 };
	struct reactor_group *g = new_group(1, true);
	struct counted_op *ops = calloc(N, sizeof(*ops));
	int done = 0;

	reactor_step(g->data[0], 0);
	for (int i = 0; i < N; i++) {
		ops[i] = (struct counted_op){.op.done = count_done, .done = &done};
		io_uring_prep_nop(reactor_sqe(g->data[0], &ops[i].op));
	}
	while (done < N) {
		reactor_step(g->data[0], 1000);
	}
	free(ops);
	reactor_group_free(g);
}

/* -- buffers -- */

static void buffers_are_aligned_reused_and_bounded(void **state)
{
	struct buffer_pool *pool;
	void *a;
	void *big;

	assert_int_equal(buffer_pool_new(64 << 10, &pool), 0);
	a = buffer_get(pool, 5000);
	assert_true(IS_ALIGNED((uintptr_t)a, BUFFER_ALIGNMENT));
	assert_int_equal(buffer_pool_used(pool), 8192);
	buffer_put(pool, a, 5000);
	assert_ptr_equal(buffer_get(pool, 8192), a);
	buffer_put(pool, a, 8192);
	big = buffer_get(pool, BUFFER_MAX_SIZE);
	assert_non_null(big);
	buffer_put(pool, big, BUFFER_MAX_SIZE);
	assert_int_equal(buffer_pool_kept(pool), 8192); /* the big one went back to the system */
	assert_int_equal(buffer_pool_used(pool), 0);
	buffer_pool_free(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(messages_arrive_in_order_and_never_inside_send),
	    cmocka_unit_test(broadcast_ends_after_every_reactor_has_run),
	    cmocka_unit_test(timers_fire_in_order_of_their_deadlines),
	    cmocka_unit_test(watch_is_level_triggered_pauses_and_stops),
	    cmocka_unit_test(deferred_work_runs_once_per_turn_however_often_it_is_asked_for),
	    cmocka_unit_test(more_operations_than_the_queue_holds_all_complete),
	    cmocka_unit_test(buffers_are_aligned_reused_and_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
