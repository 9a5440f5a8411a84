#include "volume/face_io.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MIB (1ull << 20)

static struct io_target a = {.size = 64 * MIB,
    .limits = {.block_size = 512, .max_transfer = 1 << 20, .max_iov = 8, .fua = true}};
static struct io_target b = {.size = 64 * MIB,
    .limits = {.block_size = 4096, .max_transfer = 1 << 16, .max_iov = 16, .flush = true}};

static struct face *make(const struct face_extent *extents, size_t n)
{
	struct error err = {0};
	struct face *f = NULL;

	if (face_new(100 * MIB, 7, extents, n, &f, &err) != 0) {
		fail_msg("%s", err.message);
	}
	return f;
}

static void every_byte_is_looked_up_where_its_extent_says(void **state)
{
	const struct face_extent extents[] = {
	    {10 * MIB, 10 * MIB, &a, 32 * MIB},
	    {20 * MIB, 4096, &b, 0},
	    {50 * MIB, 50 * MIB, &b, 8192},
	};
	struct face *f = make(extents, ARRAY_SIZE(extents));
	struct face_piece p;

	p = face_lookup(f, 0);
	assert_null(p.target);
	assert_int_equal(p.length, 10 * MIB);
	p = face_lookup(f, 10 * MIB);
	assert_ptr_equal(p.target, &a);
	assert_int_equal(p.target_offset, 32 * MIB);
	assert_int_equal(p.length, 10 * MIB);
	p = face_lookup(f, 20 * MIB - 1);
	assert_ptr_equal(p.target, &a);
	assert_int_equal(p.length, 1);
	p = face_lookup(f, 20 * MIB + 512);
	assert_ptr_equal(p.target, &b);
	assert_int_equal(p.target_offset, 512);
	p = face_lookup(f, 20 * MIB + 4096);
	assert_null(p.target);
	assert_int_equal(p.length, 30 * MIB - 4096);
	p = face_lookup(f, 100 * MIB - 1);
	assert_ptr_equal(p.target, &b);
	assert_int_equal(p.length, 1);
	face_free(f);
}

static void limits_are_those_that_hold_on_every_target(void **state)
{
	const struct face_extent extents[] = {
	    {0, MIB, &a, 0}, {MIB, MIB, &b, 0}, {2 * MIB, MIB, &a, MIB}};
	struct face *f = make(extents, ARRAY_SIZE(extents));

	assert_int_equal(face_limits(f)->block_size, 4096);
	assert_int_equal(face_limits(f)->max_transfer, 1 << 16);
	assert_int_equal(face_limits(f)->max_iov, 8);
	assert_false(face_limits(f)->fua);
	assert_true(face_limits(f)->flush);
	assert_int_equal(f->nr_targets, 2);
	face_free(f);
}

static void bad_extents_are_refused_with_the_reason(void **state)
{
	static const struct {
		struct face_extent extents[2];
		size_t n;
		const char *says;
	} bad[] = {
	    {{{0, 0, &a, 0}}, 1, "empty"},
	    {{{99 * MIB, 2 * MIB, &a, 0}}, 1, "leaves the volume"},
	    {{{UINT64_MAX - 511, 1024, &a, 0}}, 1, "leaves the volume"},
	    {{{0, 2 * MIB, &a, 63 * MIB}}, 1, "leaves its LU"},
	    {{{0, MIB, &a, UINT64_MAX - 511}}, 1, "leaves its LU"},
	    {{{0, 512, &b, 0}}, 1, "block size"},
	    {{{0, MIB, &a, 0}, {MIB - 512, MIB, &a, MIB}}, 2, "overlaps"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct face *f = NULL;
		struct error err = {0};

		assert_int_equal(
		    face_new(100 * MIB, 1, bad[i].extents, bad[i].n, &f, &err), -EINVAL);
		assert_null(f);
		assert_non_null(strstr(err.message, bad[i].says));
	}
}

static void face_of_many_extents_finds_each(void **state)
{
	enum { N = 25000 };
	struct face_extent *extents = calloc(N, sizeof(*extents));
	struct face *f;

	for (unsigned i = 0; i < N; i++) {
		extents[i] = (struct face_extent){
		    i * 4096ull, 4096, i % 2 != 0 ? &a : &b, (i % 1000) * 4096ull};
	}
	f = make(extents, N);
	for (unsigned i = 0; i < N; i++) {
		struct face_piece p = face_lookup(f, i * 4096ull + 100);

		assert_ptr_equal(p.target, i % 2 != 0 ? &a : &b);
		assert_int_equal(p.target_offset, (i % 1000) * 4096ull + 100);
		assert_int_equal(p.length, 4096 - 100);
	}
	face_free(f);
	free(extents);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_byte_is_looked_up_where_its_extent_says),
	    cmocka_unit_test(limits_are_those_that_hold_on_every_target),
	    cmocka_unit_test(bad_extents_are_refused_with_the_reason),
	    cmocka_unit_test(face_of_many_extents_finds_each),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
