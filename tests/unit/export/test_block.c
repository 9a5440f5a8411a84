#include "export/block.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "memtarget.h"

#define SIZE (4u << 20)

struct fixture {
	struct reactor_group *group;
	struct memtarget *t;
	struct block_view view;
	struct block_request request;
	struct iovec iov[64];
	unsigned char *bytes;
	unsigned done;
	int status;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct reactor_group_options options = {.nr_data = 1, .manual = true};
	struct error err = {0};

	assert_int_equal(reactor_group_new(&options, &f->group, &err), 0);
	f->t = memtarget_new(f->group, SIZE, true);
	f->bytes = malloc(SIZE);
	for (size_t i = 0; i < SIZE; i++) {
		f->bytes[i] = (unsigned char)(i * 13 + i / 509);
	}
	block_view_init(&f->view, &f->t->target, false);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	memtarget_free(f->t);
	reactor_group_free(f->group);
	free(f->bytes);
	free(f);
	return 0;
}

static void on_done(struct block_request *r, int status)
{
	struct fixture *f = container_of(r, struct fixture, request);

	f->done++;
	f->status = status;
}

/* Runs a request over f->bytes, in `pieces` iov entries of equal length. */
static int run(struct fixture *f, enum io_op op, uint32_t flags, uint64_t offset, uint64_t length,
    unsigned pieces)
{
	for (unsigned i = 0; i < pieces; i++) {
		f->iov[i] = (struct iovec){f->bytes + i * (length / pieces), length / pieces};
	}
	f->request = (struct block_request){
	    .op = op,
	    .flags = flags,
	    .offset = offset,
	    .length = length,
	    .iov = f->iov,
	    .iovcnt = pieces,
	    .done = on_done,
	};
	f->done = 0;
	block_submit(&f->view, 0, &f->request);
	for (unsigned i = 0; i < 100000 && f->done == 0; i++) {
		reactor_group_step(f->group, 0);
	}
	assert_int_equal(f->done, 1);
	return f->status;
}

static void long_transfer_goes_in_parts(void **state)
{
	static const enum memtarget_mode modes[] = {MEMTARGET_INLINE, MEMTARGET_LATER};
	const uint64_t length = 3 * 512 * 683;
	struct fixture *f = *state;

	f->t->target.limits.max_transfer = 10000; /* not even whole blocks */
	for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
		f->t->mode = modes[i];
		memset(f->t->bytes, 0, SIZE);
		assert_int_equal(run(f, IO_WRITE, 0, 512, length, 3 - 2 * (unsigned)i), 0);
		assert_memory_equal(f->t->bytes + 512, f->bytes, length);
		assert_int_equal(f->t->longest, 9728);
	}
}

static void scatter_list_longer_than_the_target_takes_goes_in_parts(void **state)
{
	struct fixture *f = *state;
	unsigned char *saved = malloc(64 * 1536);

	memcpy(saved, f->bytes, 64 * 1536);
	f->t->target.limits.max_iov = 5;
	f->t->target.limits.block_size = 4096; /* entries are fragments of blocks */
	block_view_init(&f->view, &f->t->target, false);
	assert_int_equal(run(f, IO_WRITE, 0, 4096, 64 * 1536, 64), 0);
	assert_memory_equal(f->t->bytes + 4096, saved, 64 * 1536);
	memset(f->bytes, 0, 64 * 1536);
	assert_int_equal(run(f, IO_READ, 0, 4096, 64 * 1536, 64), 0);
	assert_memory_equal(f->bytes, saved, 64 * 1536);
	free(saved);
}

static void scatter_list_of_crumbs_is_refused(void **state)
{
	struct fixture *f = *state;

	f->t->target.limits.max_iov = 4;
	assert_int_equal(run(f, IO_WRITE, 0, 0, 64 * 64, 64), -EINVAL);
	assert_int_equal(f->t->seen[IO_WRITE], 0);
}

static void error_in_the_middle_ends_the_request_once(void **state)
{
	struct fixture *f = *state;

	f->t->target.limits.max_transfer = 4096;
	f->t->fail_status[IO_READ] = -EIO;
	assert_int_equal(run(f, IO_READ, 0, 0, 64 << 10, 1), -EIO);
	assert_int_equal(f->t->seen[IO_READ], 1);
}

static void fua_is_a_flush_where_the_target_has_none(void **state)
{
	struct fixture *f = *state;

	f->t->target.limits.fua = false;
	assert_int_equal(run(f, IO_WRITE, IO_FUA, 0, 4096, 1), 0);
	assert_int_equal(f->t->seen[IO_FLUSH], 1);
	assert_int_equal(run(f, IO_READ, IO_FUA, 0, 4096, 1), 0);
	assert_int_equal(f->t->seen[IO_FLUSH], 1);
	f->t->fail_status[IO_FLUSH] = -EIO;
	assert_int_equal(run(f, IO_DISCARD, IO_FUA, 0, 4096, 0), -EIO);
	assert_int_equal(f->t->seen[IO_FLUSH], 2);
	f->t->fail_status[IO_WRITE] = -ENOSPC;
	assert_int_equal(run(f, IO_WRITE, IO_FUA, 0, 4096, 1), -ENOSPC);
	assert_int_equal(f->t->seen[IO_FLUSH], 2);
}

static void target_without_cache_is_never_flushed(void **state)
{
	struct fixture *f = *state;

	f->t->target.limits.fua = false;
	f->t->target.limits.flush = false;
	assert_int_equal(run(f, IO_WRITE, IO_FUA, 0, 4096, 1), 0);
	assert_int_equal(run(f, IO_FLUSH, 0, 0, 0, 0), 0);
	assert_int_equal(f->t->seen[IO_FLUSH], 0);
}

static void zeros_are_written_where_the_target_cannot_zero(void **state)
{
	struct fixture *f = *state;

	f->t->target.limits.write_zeroes = false;
	f->t->target.limits.fua = false;
	memset(f->t->bytes, 0xff, SIZE);
	assert_int_equal(run(f, IO_WRITE_ZEROES, IO_FUA | IO_NO_HOLE, 4096, SIZE - 8192, 0), 0);
	assert_int_equal(f->t->bytes[4095], 0xff);
	assert_int_equal(f->t->bytes[4096], 0);
	assert_int_equal(f->t->bytes[SIZE - 4097], 0);
	assert_int_equal(f->t->bytes[SIZE - 4096], 0xff);
	assert_int_equal(f->t->seen[IO_WRITE_ZEROES], 0);
	assert_int_equal(f->t->seen[IO_FLUSH], 1);
	assert_int_equal(f->t->last_flags, 0);
	assert_int_equal(block_check(&f->view, IO_WRITE_ZEROES, IO_FAST, 0, 4096), -EOPNOTSUPP);
}

static void discard_leaves_partly_covered_blocks(void **state)
{
	struct fixture *f = *state;

	memset(f->t->bytes, 0xff, SIZE);
	assert_int_equal(run(f, IO_DISCARD, 0, 100, 1500, 0), 0);
	assert_int_equal(f->t->bytes[511], 0xff);
	assert_int_equal(f->t->bytes[512], 0);
	assert_int_equal(f->t->bytes[1535], 0);
	assert_int_equal(f->t->bytes[1536], 0xff);
	assert_int_equal(run(f, IO_DISCARD, 0, 100, 500, 0), 0);
	assert_int_equal(f->t->seen[IO_DISCARD], 1);
	f->t->target.limits.discard_granularity = 0;
	assert_int_equal(block_check(&f->view, IO_DISCARD, 0, 0, 512), -EOPNOTSUPP);
}

static void every_change_of_a_read_only_view_is_refused(void **state)
{
	struct fixture *f = *state;

	block_view_init(&f->view, &f->t->target, true);
	for (unsigned op = 0; op < IO_OP_COUNT; op++) {
		assert_int_equal(block_check(&f->view, (enum io_op)op, 0, 0, 0),
		    io_op_changes((enum io_op)op) ? -EPERM : 0);
	}
	f->t->target.limits.read_only = true;
	block_view_init(&f->view, &f->t->target, false);
	assert_int_equal(block_check(&f->view, IO_WRITE, 0, 0, 512), -EPERM);
}

static void every_ranged_operation_is_kept_in_bounds(void **state)
{
	static const struct {
		uint64_t offset;
		uint64_t length;
	} beyond[] = {{SIZE, 512}, {SIZE - 512, 1024}, {UINT64_MAX - 511, 512}, {0, UINT64_MAX},
	    {512, UINT64_MAX - 511}};
	struct fixture *f = *state;

	for (unsigned op = 0; op < IO_OP_COUNT; op++) {
		for (size_t i = 0; i < ARRAY_SIZE(beyond); i++) {
			int rc = block_check(
			    &f->view, (enum io_op)op, 0, beyond[i].offset, beyond[i].length);
			bool space = op == IO_WRITE || op == IO_WRITE_ZEROES;

			assert_int_equal(rc, !io_op_ranged((enum io_op)op) ? 0
					     : space			   ? -ENOSPC
									   : -EINVAL);
		}
	}
}

static void size_is_cut_to_whole_blocks(void **state)
{
	struct fixture *f = *state;

	f->t->target.size = SIZE - 1;
	block_view_init(&f->view, &f->t->target, false);
	assert_int_equal(f->view.size, SIZE - 512);
}

static void target_that_cannot_tell_has_data_everywhere(void **state)
{
	struct io_extent_status extent;
	struct io_block_status status = {&extent, 1, 0};
	struct fixture *f = *state;

	f->t->target.limits.block_status = false;
	f->request = (struct block_request){
	    .op = IO_BLOCK_STATUS, .length = 8192, .block_status = &status, .done = on_done};
	block_submit(&f->view, 0, &f->request);
	assert_int_equal(f->done, 1);
	assert_int_equal(status.count, 1);
	assert_int_equal(extent.length, 8192);
	assert_false(extent.hole || extent.zero);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(long_transfer_goes_in_parts),
	    TEST(scatter_list_longer_than_the_target_takes_goes_in_parts),
	    TEST(scatter_list_of_crumbs_is_refused),
	    TEST(error_in_the_middle_ends_the_request_once),
	    TEST(fua_is_a_flush_where_the_target_has_none),
	    TEST(target_without_cache_is_never_flushed),
	    TEST(zeros_are_written_where_the_target_cannot_zero),
	    TEST(discard_leaves_partly_covered_blocks),
	    TEST(every_change_of_a_read_only_view_is_refused),
	    TEST(every_ranged_operation_is_kept_in_bounds),
	    TEST(size_is_cut_to_whole_blocks),
	    TEST(target_that_cannot_tell_has_data_everywhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
