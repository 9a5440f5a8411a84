#include "harness.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define SIZE (8u << 20)

/* An address of a file in the harness's directory. */
static const char *address(struct harness *h, const char *name, const char *more)
{
	static char buf[256];

	snprintf(buf, sizeof(buf), "{\"path\": \"%s/%s\"%s}", h->directory, name, more);
	return buf;
}

static const char *sized(struct harness *h, const char *name)
{
	return address(h, name, ", \"size\": 8388608");
}

static void path_of(struct harness *h, const char *name, char *buf, size_t len)
{
	snprintf(buf, len, "%s/%s", h->directory, name);
}

static void data_written_is_read_back_on_every_reactor(void **state)
{
	struct harness *h = harness_new();
	unsigned char *a = harness_alloc(1 << 20);
	unsigned char *b = harness_alloc(1 << 20);

	harness_must_open(h, "file", sized(h, "disk"));
	assert_int_equal(h->session->target.size, SIZE);
	harness_fill(a, 1 << 20, 1);
	assert_int_equal(harness_do(h, 0, IO_WRITE, 0, 4096, 1 << 20, a), 0);
	assert_int_equal(harness_do(h, 1, IO_READ, 0, 4096, 1 << 20, b), 0);
	assert_memory_equal(a, b, 1 << 20);
	assert_int_equal(harness_do(h, 0, IO_WRITE, IO_FUA, 0, 4096, a), 0);
	assert_int_equal(harness_do(h, 1, IO_FLUSH, 0, 0, 0, NULL), 0);
	harness_close(h);
	free(a);
	free(b);
	harness_free(h);
}

static void misaligned_memory_is_bounced_within_bounds(void **state)
{
	enum { REQUESTS = 48, LENGTH = 1 << 20 };
	struct harness *h = harness_new();
	struct harness_io *hio = calloc(REQUESTS, sizeof(*hio));
	unsigned char *memory = harness_alloc((size_t)REQUESTS * LENGTH + 4096);
	unsigned char *back = harness_alloc(SIZE);

	harness_must_open(h, "file", sized(h, "disk"));
	for (unsigned i = 0; i < REQUESTS; i++) {
		unsigned char *at = memory + 1 + (size_t)i * LENGTH;

		harness_fill(at, LENGTH, i % 8);
		hio[i].io = (struct io){.op = IO_WRITE,
		    .offset = (uint64_t)(i % 8) * LENGTH,
		    .length = LENGTH,
		    .iovcnt = 2};
		hio[i].iov[0] = (struct iovec){at, 777};
		hio[i].iov[1] = (struct iovec){at + 777, LENGTH - 777};
		harness_submit(h, 0, &hio[i]);
	}
	for (unsigned i = 0; i < REQUESTS; i++) {
		harness_wait(h, &hio[i].done);
		assert_int_equal(hio[i].status, 0);
	}
	assert_int_equal(harness_do(h, 1, IO_READ, 0, 0, SIZE, back), 0);
	assert_memory_equal(back, memory + 1, SIZE);
	assert_int_equal(harness_do(h, 1, IO_READ, 0, 512, 4096, memory + 3), 0);
	assert_memory_equal(back + 512, memory + 3, 4096);
	harness_close(h);
	free(hio);
	free(memory);
	free(back);
	harness_free(h);
}

static void vector_of_many_entries_is_scattered_and_gathered(void **state)
{
	struct harness *h = harness_new();
	struct harness_io hio = {0};
	unsigned char *memory = harness_alloc(64 * 8192);
	unsigned char *back = harness_alloc(64 * 4096);

	harness_must_open(h, "file", sized(h, "disk"));
	hio.io = (struct io){.op = IO_WRITE, .offset = 8192, .length = 64 * 4096, .iovcnt = 64};
	for (unsigned i = 0; i < 64; i++) {
		hio.iov[i] = (struct iovec){memory + (size_t)i * 8192, 4096};
		harness_fill(hio.iov[i].iov_base, 4096, i);
	}
	harness_submit(h, 0, &hio);
	harness_wait(h, &hio.done);
	assert_int_equal(hio.status, 0);
	assert_int_equal(harness_do(h, 1, IO_READ, 0, 8192, 64 * 4096, back), 0);
	for (unsigned i = 0; i < 64; i++) {
		assert_memory_equal(back + (size_t)i * 4096, hio.iov[i].iov_base, 4096);
	}
	harness_close(h);
	free(memory);
	free(back);
	harness_free(h);
}

static uint64_t allocated(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

static void zero_check(struct harness *h, uint32_t flags, bool allocated_after)
{
	unsigned char *a = harness_alloc(1 << 20);
	unsigned char *zero = harness_alloc(1 << 20);
	char path[128];

	path_of(h, "disk", path, sizeof(path));
	harness_must_open(h, "file", sized(h, "disk"));
	harness_fill(a, 1 << 20, 3);
	assert_int_equal(harness_do(h, 0, IO_WRITE, IO_FUA, 0, 1 << 20, a), 0);
	assert_int_equal(harness_do(h, 0, IO_WRITE_ZEROES, flags, 0, 1 << 20, NULL), 0);
	assert_int_equal(harness_do(h, 1, IO_READ, 0, 0, 1 << 20, a), 0);
	assert_memory_equal(a, zero, 1 << 20);
	assert_int_equal(harness_do(h, 0, IO_FLUSH, 0, 0, 0, NULL), 0);
	assert_int_equal(allocated(path) >= (1 << 20), allocated_after);
	harness_close(h);
	free(a);
	free(zero);
}

static void zeroes_become_a_hole_unless_forbidden(void **state)
{
	struct harness *h = harness_new();

	zero_check(h, 0, false);
	zero_check(h, IO_FUA, false);
	zero_check(h, IO_NO_HOLE, true);
	zero_check(h, IO_NO_HOLE | IO_FUA, true);
	harness_free(h);
}

static void discard_gives_space_back(void **state)
{
	struct harness *h = harness_new();
	unsigned char *a = harness_alloc(1 << 20);
	char path[128];

	path_of(h, "disk", path, sizeof(path));
	harness_must_open(h, "file", sized(h, "disk"));
	harness_fill(a, 1 << 20, 3);
	assert_int_equal(harness_do(h, 0, IO_WRITE, IO_FUA, 0, 1 << 20, a), 0);
	assert_true(allocated(path) >= (1 << 20));
	assert_int_equal(harness_do(h, 0, IO_DISCARD, IO_FUA, 0, 1 << 20, NULL), 0);
	assert_true(allocated(path) < (1 << 20));
	harness_close(h);
	free(a);
	harness_free(h);
}

/* tmpfs has holes but no ZERO_RANGE, so zeros are written. */
static void file_system_that_cannot_zero_gets_written_zeros(void **state)
{
	struct harness *h = harness_new();
	unsigned char *a = harness_alloc(1 << 20);
	unsigned char *zero = harness_alloc(1 << 20);
	char json[128];
	char path[64];

	snprintf(path, sizeof(path), "%s/sluice-drivers-%d", "/dev/shm", (int)getpid());
	snprintf(json, sizeof(json), "{\"path\": \"%s\", \"size\": 8388608}", path);
	harness_must_open(h, "file", json);
	harness_fill(a, 1 << 20, 5);
	assert_int_equal(harness_do(h, 0, IO_WRITE, 0, 0, 1 << 20, a), 0);
	assert_int_equal(
	    harness_do(h, 0, IO_WRITE_ZEROES, IO_NO_HOLE | IO_FAST, 0, 1 << 20, NULL), -EOPNOTSUPP);
	assert_int_equal(harness_do(h, 1, IO_READ, 0, 0, 1 << 20, zero), 0);
	assert_memory_equal(a, zero, 1 << 20);
	assert_int_equal(
	    harness_do(h, 0, IO_WRITE_ZEROES, IO_NO_HOLE | IO_FUA, 512, (1 << 20) - 512, NULL), 0);
	assert_int_equal(harness_do(h, 1, IO_READ, 0, 0, 1 << 20, a), 0);
	memset(zero + 512, 0, (1 << 20) - 512);
	assert_memory_equal(a, zero, 1 << 20);
	assert_true(allocated(path) >= (1 << 20));
	harness_close(h);
	unlink(path);
	free(a);
	free(zero);
	harness_free(h);
}

static void block_status_tells_holes_from_data(void **state)
{
	struct harness *h = harness_new();
	unsigned char *a = harness_alloc(1 << 20);
	struct io_extent_status extents[8];
	struct io_block_status bs = {.extents = extents, .max = 8};
	struct harness_io hio = {0};

	harness_must_open(h, "file", sized(h, "disk"));
	harness_fill(a, 1 << 20, 3);
	assert_int_equal(harness_do(h, 0, IO_WRITE, IO_FUA, 1 << 20, 1 << 20, a), 0);
	hio.io =
	    (struct io){.op = IO_BLOCK_STATUS, .offset = 0, .length = SIZE, .block_status = &bs};
	harness_submit(h, 0, &hio);
	harness_wait(h, &hio.done);
	assert_int_equal(hio.status, 0);
	assert_int_equal(bs.count, 3);
	assert_int_equal(extents[0].length, 1 << 20);
	assert_true(extents[0].hole && extents[0].zero);
	assert_int_equal(extents[1].length, 1 << 20);
	assert_false(extents[1].hole || extents[1].zero);
	assert_int_equal(extents[2].length, 6 << 20);
	assert_true(extents[2].hole);
	bs.max = 1;
	harness_submit(h, 1, &hio);
	harness_wait(h, &hio.done);
	assert_int_equal(bs.count, 1);
	harness_close(h);
	free(a);
	harness_free(h);
}

static void request_beyond_the_end_is_refused(void **state)
{
	struct harness *h = harness_new();
	unsigned char *a = harness_alloc(8192);

	harness_must_open(h, "file", sized(h, "disk"));
	assert_int_equal(harness_do(h, 0, IO_READ, 0, SIZE - 4096, 8192, a), -EINVAL);
	assert_int_equal(harness_do(h, 0, IO_READ, 0, UINT64_MAX - 4095, 8192, a), -EINVAL);
	assert_int_equal(harness_do(h, 0, IO_READ, 0, SIZE - 4096, 4096, a), 0);
	harness_close(h);
	free(a);
	harness_free(h);
}

static void file_cut_off_under_us_reads_as_an_error(void **state)
{
	struct harness *h = harness_new();
	unsigned char *a = harness_alloc(8192);
	char path[128];

	path_of(h, "disk", path, sizeof(path));
	harness_must_open(h, "file", sized(h, "disk"));
	assert_int_equal(truncate(path, 4096), 0);
	assert_int_equal(harness_do(h, 0, IO_READ, 0, 0, 8192, a), -EIO);
	assert_int_equal(harness_do(h, 0, IO_READ, 0, 0, 4096, a), 0);
	harness_close(h);
	free(a);
	harness_free(h);
}

static void second_process_is_refused_by_name(void **state)
{
	struct harness *h = harness_new();
	char path[128];
	char text[32];
	int fd;

	path_of(h, "disk", path, sizeof(path));
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
	assert_int_equal(harness_open(h, "file", sized(h, "disk")), -EBUSY);
	snprintf(text, sizeof(text), "process %d", (int)getpid());
	assert_non_null(strstr(h->open_error.message, text));
	assert_true(h->open_error.hint[0] != '\0');
	harness_close(h);
	close(fd);
	assert_int_equal(harness_open(h, "file", sized(h, "disk")), 0);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), -1);
	harness_close(h);
	assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
	close(fd);
	harness_free(h);
}

static void two_sessions_of_one_process_share_a_file(void **state)
{
	struct harness *h = harness_new();
	struct harness *second = harness_new();
	unsigned char *a = harness_alloc(4096);
	unsigned char *b = harness_alloc(4096);
	char json[256];

	snprintf(json, sizeof(json), "%s", sized(h, "disk"));
	harness_must_open(h, "file", json);
	harness_must_open(second, "file", json);
	assert_string_equal(h->session->identity.text, second->session->identity.text);
	assert_memory_equal(h->session->identity.text, "file:", 5);
	harness_fill(a, 4096, 1);
	assert_int_equal(harness_do(h, 0, IO_WRITE, 0, 0, 4096, a), 0);
	assert_int_equal(harness_do(second, 0, IO_READ, 0, 0, 4096, b), 0);
	assert_memory_equal(a, b, 4096);
	harness_close(h);
	assert_int_equal(harness_do(second, 0, IO_READ, 0, 0, 4096, b), 0);
	harness_close(second);
	harness_free(h);
	harness_free(second);
	free(a);
	free(b);
}

static void read_only_session_refuses_changes(void **state)
{
	struct harness *h = harness_new();
	unsigned char *a = harness_alloc(4096);

	harness_must_open(h, "file", sized(h, "disk"));
	harness_close(h);
	harness_must_open(h, "file", address(h, "disk", ", \"read_only\": true"));
	assert_true(h->session->target.limits.read_only);
	assert_int_equal(harness_do(h, 0, IO_READ, 0, 0, 4096, a), 0);
	assert_int_equal(harness_do(h, 0, IO_WRITE, 0, 0, 4096, a), -EROFS);
	assert_int_equal(harness_do(h, 0, IO_DISCARD, 0, 0, 4096, NULL), -EROFS);
	harness_close(h);
	free(a);
	harness_free(h);
}

/* Needs root for a file system small enough to fill. */
static void full_file_system_says_so(void **state)
{
	struct harness *h = harness_new();
	unsigned char *a = harness_alloc(4 << 20);
	char path[128];

	path_of(h, "small", path, sizeof(path));
	assert_int_equal(mkdir(path, 0700), 0);
	if (mount("none", path, "tmpfs", 0, "size=2m") < 0) {
		free(a);
		harness_free(h);
		skip();
	}
	harness_must_open(h, "file", sized(h, "small/disk"));
	assert_int_equal(harness_do(h, 0, IO_WRITE, 0, 0, 4 << 20, a), -ENOSPC);
	assert_int_equal(harness_do(h, 0, IO_WRITE_ZEROES, IO_NO_HOLE, 0, SIZE, NULL), -ENOSPC);
	assert_int_equal(harness_do(h, 0, IO_DISCARD, 0, 0, SIZE, NULL), 0);
	assert_int_equal(harness_do(h, 0, IO_WRITE, 0, 0, 4096, a), 0);
	harness_close(h);
	assert_int_equal(umount(path), 0);
	free(a);
	harness_free(h);
}

/* A loop device over a file; -1 where there are none. Returns the descriptor that keeps it. */
static int make_loop(struct harness *h, char *name, size_t len)
{
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	struct loop_config config = {.info.lo_flags = LO_FLAGS_AUTOCLEAR};
	char path[128];
	int number;
	int fd;

	if (control < 0) {
		return -1;
	}
	path_of(h, "backing", path, sizeof(path));
	config.fd = (unsigned)open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(ftruncate((int)config.fd, SIZE), 0);
	number = ioctl(control, LOOP_CTL_GET_FREE);
	close(control);
	snprintf(name, len, "/dev/loop%d", number);
	fd = number < 0 ? -1 : open(name, O_RDWR | O_CLOEXEC);
	if (fd >= 0 && ioctl(fd, LOOP_CONFIGURE, &config) < 0) {
		close(fd);
		fd = -1;
	}
	close((int)config.fd);
	return fd;
}

static void block_device_is_served_with_its_own_size(void **state)
{
	struct harness *h = harness_new();
	unsigned char *a = harness_alloc(1 << 20);
	unsigned char *b = harness_alloc(1 << 20);
	char name[32];
	char json[96];
	int keeper = make_loop(h, name, sizeof(name));

	if (keeper < 0) {
		free(a);
		free(b);
		harness_free(h);
		skip();
	}
	snprintf(json, sizeof(json), "{\"path\": \"%s\"}", name);
	assert_int_equal(harness_open(h, "file", json), -EINVAL);
	harness_close(h);
	snprintf(json, sizeof(json), "{\"path\": \"%s\", \"device\": true}", name);
	harness_must_open(h, "file", json);
	assert_int_equal(h->session->target.size, SIZE);
	assert_memory_equal(h->session->identity.text, "device:", 7);
	harness_fill(a, 1 << 20, 9);
	assert_int_equal(harness_do(h, 0, IO_WRITE, IO_FUA, 4096, 1 << 20, a), 0);
	assert_int_equal(harness_do(h, 1, IO_READ, 0, 4096, 1 << 20, b), 0);
	assert_memory_equal(a, b, 1 << 20);
	assert_int_equal(harness_do(h, 0, IO_WRITE_ZEROES, IO_FUA, 4096, 65536, NULL), 0);
	assert_int_equal(harness_do(h, 0, IO_WRITE_ZEROES, IO_NO_HOLE, 69632, 4096, NULL), 0);
	assert_int_equal(harness_do(h, 1, IO_READ, 0, 4096, 1 << 20, b), 0);
	memset(a, 0, 69632);
	assert_memory_equal(a, b, 1 << 20);
	assert_int_equal(harness_do(h, 0, IO_DISCARD, 0, 0, 65536, NULL), 0);
	assert_int_equal(harness_do(h, 0, IO_FLUSH, 0, 0, 0, NULL), 0);
	harness_close(h);
	close(keeper);
	free(a);
	free(b);
	harness_free(h);
}

static void wrong_type_of_file_is_refused(void **state)
{
	struct harness *h = harness_new();
	char json[128];

	snprintf(json, sizeof(json), "{\"path\": \"%s\"}", h->directory);
	assert_true(harness_open(h, "file", json) < 0);
	harness_close(h);
	assert_int_equal(harness_open(h, "file", "{\"path\": \"/dev/null\"}"), -EINVAL);
	harness_close(h);
	harness_must_open(h, "file", sized(h, "disk"));
	harness_close(h);
	assert_int_equal(
	    harness_open(h, "file", address(h, "disk", ", \"device\": true")), -ENOTBLK);
	harness_close(h);
	assert_int_equal(harness_open(h, "file", address(h, "missing", "")), -ENOENT);
	harness_close(h);
	harness_free(h);
}

static void bad_address_is_refused_with_a_hint(void **state)
{
	static const char *const bad[] = {
	    "[]",
	    "{}",
	    "{\"path\": 1}",
	    "{\"path\": \"relative\"}",
	    "{\"path\": \"/a\", \"size\": 0}",
	    "{\"path\": \"/a\", \"size\": -512}",
	    "{\"path\": \"/a\", \"size\": 513}",
	    "{\"path\": \"/a\", \"size\": 512.0}",
	    "{\"path\": \"/a\", \"device\": 1}",
	    "{\"path\": \"/a\", \"device\": true, \"size\": 512}",
	    "{\"path\": \"/a\", \"color\": \"blue\"}",
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		json_t *json = json_loads(bad[i], 0, NULL);
		struct error err = {0};

		assert_int_equal(lu_driver_file.check(json, &err), -EINVAL);
		assert_true(err.message[0] != '\0' && err.hint[0] != '\0');
		json_decref(json);
	}
}

static void close_waits_for_requests_in_flight(void **state)
{
	enum { REQUESTS = 32 };
	struct harness *h = harness_new();
	struct harness_io *hio = calloc(REQUESTS, sizeof(*hio));
	unsigned char *a = harness_alloc(SIZE);

	harness_must_open(h, "file", sized(h, "disk"));
	for (unsigned i = 0; i < REQUESTS; i++) {
		hio[i].io = (struct io){.op = IO_WRITE, .length = SIZE, .iovcnt = 1};
		hio[i].iov[0] = (struct iovec){a, SIZE};
		harness_submit(h, i % HARNESS_REACTORS, &hio[i]);
	}
	harness_close(h);
	for (unsigned i = 0; i < REQUESTS; i++) {
		assert_true(hio[i].done);
		assert_true(hio[i].status == 0 || hio[i].status == -ECONNABORTED);
	}
	free(hio);
	free(a);
	harness_free(h);
}

static void close_before_opened_ends_the_session(void **state)
{
	struct harness *h = harness_new();

	for (unsigned turns = 0; turns < 4; turns++) {
		harness_begin(h, "file", "", "", sized(h, "disk"), 0);
		harness_turns(h, turns);
		harness_close(h);
	}
	harness_must_open(h, "file", sized(h, "disk"));
	harness_close(h);
	harness_free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(data_written_is_read_back_on_every_reactor),
	    cmocka_unit_test(misaligned_memory_is_bounced_within_bounds),
	    cmocka_unit_test(vector_of_many_entries_is_scattered_and_gathered),
	    cmocka_unit_test(zeroes_become_a_hole_unless_forbidden),
	    cmocka_unit_test(discard_gives_space_back),
	    cmocka_unit_test(file_system_that_cannot_zero_gets_written_zeros),
	    cmocka_unit_test(block_status_tells_holes_from_data),
	    cmocka_unit_test(request_beyond_the_end_is_refused),
	    cmocka_unit_test(file_cut_off_under_us_reads_as_an_error),
	    cmocka_unit_test(second_process_is_refused_by_name),
	    cmocka_unit_test(two_sessions_of_one_process_share_a_file),
	    cmocka_unit_test(read_only_session_refuses_changes),
	    cmocka_unit_test(full_file_system_says_so),
	    cmocka_unit_test(block_device_is_served_with_its_own_size),
	    cmocka_unit_test(wrong_type_of_file_is_refused),
	    cmocka_unit_test(bad_address_is_refused_with_a_hint),
	    cmocka_unit_test(close_waits_for_requests_in_flight),
	    cmocka_unit_test(close_before_opened_ends_the_session),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
