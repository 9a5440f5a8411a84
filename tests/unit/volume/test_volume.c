#include "volume/volume.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "memtarget.h"
#include "volume/volume_io.h"

#define KIB 1024ull
#define SIZE (1024 * KIB)

struct world {
	struct reactor_group *group;
	struct memtarget *a;
	struct memtarget *b;
	struct face *face;
	struct volume *volume;
	bool freed;
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct reactor_group_options options = {.nr_data = 2, .manual = true};
	struct error err = {0};

	assert_int_equal(reactor_group_new(&options, &w->group, &err), 0);
	w->a = memtarget_new(w->group, SIZE, true);
	w->b = memtarget_new(w->group, SIZE, true);
	*state = w;
	return 0;
}

static struct face *make_face(const struct face_extent *extents, size_t n)
{
	struct error err = {0};
	struct face *f = NULL;

	if (face_new(SIZE, 1, extents, n, &f, &err) != 0) {
		fail_msg("%s", err.message);
	}
	return f;
}

/* All on a, or two halves on a and b. */
static void open_volume(struct world *w, bool split)
{
	const struct face_extent whole[] = {{0, SIZE, &w->a->target, 0}};
	const struct face_extent halves[] = {
	    {0, SIZE / 2, &w->a->target, 0}, {SIZE / 2, SIZE / 2, &w->b->target, 0}};
	struct error err = {0};

	w->face = split ? make_face(halves, 2) : make_face(whole, 1);
	assert_int_equal(volume_new(w->group, "v", SIZE, w->face, &w->volume, &err), 0);
}

static void set_true(void *ctx)
{
	*(bool *)ctx = true;
}

static void step_until(struct world *w, const bool *flag)
{
	while (!*flag) {
		reactor_group_step(w->group, 100);
	}
}

static int teardown(void **state)
{
	struct world *w = *state;

	if (w->volume != NULL) {
		volume_free(w->volume, set_true, &w->freed);
		step_until(w, &w->freed);
	}
	face_free(w->face);
	memtarget_free(w->a);
	memtarget_free(w->b);
	reactor_group_free(w->group);
	free(w);
	return 0;
}

/* -- requests -- */

struct request {
	struct io io;
	struct iovec iov;
	unsigned done;
	int status;
};

static void request_done(struct io *io, void *ctx)
{
	struct request *r = ctx;

	r->done++;
	r->status = io->status;
}

static void submit(struct world *w, unsigned reactor, struct request *r, enum io_op op,
    uint64_t offset, void *data, uint64_t length)
{
	*r = (struct request){.iov = {data, length}};
	r->io =
	    (struct io){.op = op, .offset = offset, .length = length, .iov = &r->iov, .iovcnt = 1};
	io_push(&r->io, request_done, r);
	io_submit(volume_target(w->volume)->channels[reactor], &r->io);
}

static void run(struct world *w, struct request *r)
{
	while (r->done == 0) {
		reactor_group_step(w->group, 100);
	}
	assert_int_equal(r->done, 1);
}

/* -- splitting -- */

static void request_over_an_extent_border_reaches_both_targets(void **state)
{
	struct world *w = *state;
	unsigned char out[64 * KIB];
	unsigned char in[64 * KIB];
	struct request r;

	open_volume(w, true);
	for (size_t i = 0; i < sizeof(out); i++) {
		out[i] = (unsigned char)(i * 7 + i / 256);
	}
	submit(w, 0, &r, IO_WRITE, SIZE / 2 - 16 * KIB, out, sizeof(out));
	run(w, &r);
	assert_int_equal(r.status, 0);
	assert_memory_equal(w->a->bytes + SIZE / 2 - 16 * KIB, out, 16 * KIB);
	assert_memory_equal(w->b->bytes, out + 16 * KIB, 48 * KIB);
	submit(w, 1, &r, IO_READ, SIZE / 2 - 16 * KIB, in, sizeof(in));
	run(w, &r);
	assert_memory_equal(in, out, sizeof(in));
}

static void flush_reaches_every_target_once(void **state)
{
	struct world *w = *state;
	struct request r;

	open_volume(w, true);
	submit(w, 0, &r, IO_FLUSH, 0, NULL, 0);
	run(w, &r);
	assert_int_equal(w->a->seen[IO_FLUSH], 1);
	assert_int_equal(w->b->seen[IO_FLUSH], 1);
}

static void split_request_ends_once_with_the_first_error(void **state)
{
	struct world *w = *state;
	unsigned char data[8 * KIB];
	struct request r;

	open_volume(w, true);
	w->b->fail_status[IO_WRITE] = -ENOSPC;
	memset(data, 1, sizeof(data));
	submit(w, 0, &r, IO_WRITE, SIZE / 2 - 4 * KIB, data, sizeof(data));
	run(w, &r);
	assert_int_equal(r.status, -ENOSPC);
}

static void request_longer_than_a_target_takes_is_cut(void **state)
{
	struct world *w = *state;
	static unsigned char data[256 * KIB];
	struct request r;

	w->a->target.limits.max_transfer = 16 * KIB;
	open_volume(w, false);
	memset(data, 0x5a, sizeof(data));
	submit(w, 0, &r, IO_WRITE, 0, data, sizeof(data));
	run(w, &r);
	assert_int_equal(r.status, 0);
	assert_true(w->a->longest <= 16 * KIB);
	assert_memory_equal(w->a->bytes, data, sizeof(data));
}

static void more_split_requests_than_the_stock_all_end(void **state)
{
	enum { N = 40 };
	struct world *w = *state;
	static unsigned char data[N][8 * KIB];
	struct request r[N];

	open_volume(w, true);
	w->a->mode = MEMTARGET_LATER;
	w->b->mode = MEMTARGET_LATER;
	for (int i = 0; i < N; i++) {
		memset(data[i], i, sizeof(data[i]));
		submit(w, 0, &r[i], IO_WRITE, SIZE / 2 - 4 * KIB, data[i], sizeof(data[i]));
	}
	for (int i = 0; i < N; i++) {
		run(w, &r[i]);
		assert_int_equal(r[i].status, 0);
	}
	assert_int_equal(w->b->bytes[0], N - 1); /* in order */
}

static void unmapped_range_reads_as_zeros_and_refuses_writes(void **state)
{
	struct world *w = *state;
	const struct face_extent half[] = {{0, SIZE / 2, &w->a->target, 0}};
	struct error err = {0};
	unsigned char data[4 * KIB];
	struct request r;

	w->face = make_face(half, 1);
	assert_int_equal(volume_new(w->group, "v", SIZE, w->face, &w->volume, &err), 0);
	memset(data, 1, sizeof(data));
	submit(w, 0, &r, IO_READ, SIZE - 4 * KIB, data, sizeof(data));
	run(w, &r);
	assert_int_equal(r.status, 0);
	for (size_t i = 0; i < sizeof(data); i++) {
		assert_int_equal(data[i], 0);
	}
	submit(w, 0, &r, IO_WRITE, SIZE - 4 * KIB, data, sizeof(data));
	run(w, &r);
	assert_int_equal(r.status, -EIO);
}

/* -- holds -- */

static bool has_drained;
static bool has_released;
static struct volume_hold_result result;

static void on_drained(void *ctx, struct volume_hold *hold, uint64_t drain_us)
{
	has_drained = true;
}

static void on_released(void *ctx, const struct volume_hold_result *r)
{
	has_released = true;
	result = *r;
}

static struct volume_hold *hold_all(struct world *w)
{
	struct range all = {0, SIZE};
	struct volume_hold_params params = {
	    .ranges = &all, .nr_ranges = 1, .kind = HOLD_ALL, .drained = on_drained};
	struct volume_hold *hold = NULL;

	has_drained = false;
	has_released = false;
	assert_int_equal(volume_hold(w->volume, &params, &hold), 0);
	return hold;
}

static void settle(struct world *w)
{
	while (reactor_group_step(w->group, 0) != 0) {
	}
}

static void hold_drains_over_all_reactors_and_face_is_switched_under_it(void **state)
{
	struct world *w = *state;
	unsigned char data[4 * KIB];
	struct volume_hold *hold;
	struct face *next;
	struct request before[2];
	struct request during[2];
	bool published = false;

	open_volume(w, false);
	next = make_face(&(struct face_extent){0, SIZE, &w->b->target, 0}, 1);
	memset(data, 0x11, sizeof(data));
	w->a->mode = MEMTARGET_HELD;
	submit(w, 0, &before[0], IO_WRITE, 0, data, sizeof(data));
	submit(w, 1, &before[1], IO_WRITE, 8 * KIB, data, sizeof(data));
	hold = hold_all(w);
	settle(w);
	assert_false(has_drained);
	submit(w, 0, &during[0], IO_WRITE, 0, data, sizeof(data));
	submit(w, 1, &during[1], IO_FLUSH, 0, NULL, 0);
	assert_int_equal(volume_held(w->volume), 2);
	memtarget_resume(w->a, MEMTARGET_INLINE);
	step_until(w, &has_drained);
	assert_int_equal(before[0].done + before[1].done, 2);
	assert_int_equal(during[0].done + during[1].done, 0);
	assert_int_equal(volume_publish(w->volume, next, set_true, &published), 0);
	step_until(w, &published);
	volume_release(hold, on_released, NULL);
	step_until(w, &has_released);
	run(w, &during[0]);
	run(w, &during[1]);
	assert_int_equal(result.held_requests, 2);
	assert_int_equal(w->a->seen[IO_WRITE], 2);
	assert_int_equal(w->b->seen[IO_WRITE], 1);
	assert_int_equal(w->b->seen[IO_FLUSH], 1);
	assert_int_equal(volume_in_flight(w->volume), 0);
	face_free(w->face);
	w->face = next;
}

static void hold_released_before_it_drained_does_not_report_a_drain(void **state)
{
	struct world *w = *state;
	unsigned char data[4 * KIB];
	struct volume_hold *hold;
	struct request before;
	struct request during;

	open_volume(w, false);
	w->a->mode = MEMTARGET_HELD;
	memset(data, 0, sizeof(data));
	submit(w, 0, &before, IO_WRITE, 0, data, sizeof(data));
	hold = hold_all(w);
	settle(w);
	submit(w, 0, &during, IO_WRITE, 0, data, sizeof(data));
	volume_release(hold, on_released, NULL);
	step_until(w, &has_released);
	assert_false(has_drained);
	assert_int_equal(w->a->seen[IO_WRITE], 2);
	memtarget_resume(w->a, MEMTARGET_INLINE);
	run(w, &before);
	run(w, &during);
	settle(w);
	assert_false(has_drained);
}

static void hold_released_at_once_lets_everything_go(void **state)
{
	struct world *w = *state;

	open_volume(w, false);
	volume_release(hold_all(w), on_released, NULL); /* its beginning is still on its way */
	step_until(w, &has_released);
	assert_int_equal(result.held_requests, 0);
	assert_int_equal(result.held_us, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	    TEST(request_over_an_extent_border_reaches_both_targets),
	    TEST(flush_reaches_every_target_once),
	    TEST(split_request_ends_once_with_the_first_error),
	    TEST(request_longer_than_a_target_takes_is_cut),
	    TEST(more_split_requests_than_the_stock_all_end),
	    TEST(unmapped_range_reads_as_zeros_and_refuses_writes),
	    TEST(hold_drains_over_all_reactors_and_face_is_switched_under_it),
	    TEST(hold_released_before_it_drained_does_not_report_a_drain),
	    TEST(hold_released_at_once_lets_everything_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
