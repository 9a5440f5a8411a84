#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "nbd_fixture.h"

static unsigned char pattern[64 << 10];

static void fill_pattern(void)
{
	for (size_t i = 0; i < sizeof(pattern); i++) {
		pattern[i] = (unsigned char)(i * 7 + i / 251);
	}
}

/* Receives a chunk of a structured reply into data; returns its length. */
static uint32_t receive_chunk(
    struct nbd_fixture *f, int fd, uint16_t type, void *data, uint32_t room)
{
	uint8_t header[NBD_CHUNK_BYTES];
	uint32_t length;

	assert_true(nbd_client_receive(f, fd, header, sizeof(header)));
	assert_int_equal(load_be32(header), NBD_MAGIC_CHUNK);
	assert_int_equal(load_be16(header + 4), NBD_REPLY_FLAG_DONE);
	assert_int_equal(load_be16(header + 6), type);
	length = load_be32(header + 16);
	assert_true(length <= room);
	assert_true(nbd_client_receive(f, fd, data, length));
	return length;
}

static void write_is_read_back_through_another_connection(void **state)
{
	struct nbd_fixture *f = *state;
	int a = nbd_client_go(f, "", false, false);
	int b = nbd_client_go(f, "", false, false);
	unsigned char got[sizeof(pattern)];

	assert_int_equal(nbd_client_write(f, a, 4096, pattern, sizeof(pattern)), 0);
	assert_int_equal(nbd_client_read(f, b, 4096, got, sizeof(got)), 0);
	assert_memory_equal(got, pattern, sizeof(got));
	assert_memory_equal(f->target->bytes + 4096, pattern, sizeof(pattern));
	close(a);
	close(b);
}

static void structured_read_carries_offset_and_data(void **state)
{
	struct nbd_fixture *f = *state;
	int fd = nbd_client_go(f, "", true, false);
	uint8_t chunk[8 + 8192];

	memcpy(f->target->bytes + 8192, pattern, 8192);
	nbd_client_request(f, fd, NBD_CMD_READ, NBD_CMD_FLAG_DF, 8192, 8192);
	assert_int_equal(
	    receive_chunk(f, fd, NBD_REPLY_OFFSET_DATA, chunk, sizeof(chunk)), sizeof(chunk));
	assert_int_equal(load_be64(chunk), 8192);
	assert_memory_equal(chunk + 8, pattern, 8192);
	close(fd);
}

/* "Block size constraints": a client that did not ask may read any bytes. */
static void read_of_any_alignment_is_served(void **state)
{
	struct nbd_fixture *f = *state;
	int fd = nbd_client_go(f, "", false, false);
	int structured = nbd_client_go(f, "", true, false);
	uint8_t chunk[8 + 1000];

	memcpy(f->target->bytes, pattern, sizeof(pattern));
	assert_int_equal(nbd_client_read(f, fd, 511, chunk, 1000), 0);
	assert_memory_equal(chunk, pattern + 511, 1000);
	nbd_client_request(f, structured, NBD_CMD_READ, 0, 1025, 3);
	assert_int_equal(receive_chunk(f, structured, NBD_REPLY_OFFSET_DATA, chunk, 11), 11);
	assert_int_equal(load_be64(chunk), 1025);
	assert_memory_equal(chunk + 8, pattern + 1025, 3);
	close(fd);
	close(structured);
}

struct error_case {
	uint16_t type;
	uint16_t flags;
	uint64_t offset;
	uint32_t length;
	uint32_t error;
};

static void check_errors(
    struct nbd_fixture *f, int fd, const struct error_case *cases, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct error_case *c = &cases[i];

		nbd_client_request(f, fd, c->type, c->flags, c->offset, c->length);
		if (c->type == NBD_CMD_WRITE) {
			nbd_client_send(f, fd, pattern, c->length);
		}
		assert_int_equal(nbd_client_result(f, fd), c->error);
	}
}

/* "Error values", "Command flags" */
static void bad_requests_get_the_errors_of_the_protocol(void **state)
{
	static const struct error_case cases[] = {
	    {NBD_CMD_READ, 0, FIXTURE_SIZE, 512, NBD_EINVAL},
	    {NBD_CMD_READ, 0, UINT64_MAX - 511, 512, NBD_EINVAL},
	    {NBD_CMD_READ, 0, FIXTURE_SIZE - 512, 1024, NBD_EINVAL},
	    {NBD_CMD_READ, NBD_CMD_FLAG_NO_HOLE, 0, 512, NBD_EINVAL},
	    {NBD_CMD_READ, 1 << 15, 0, 512, NBD_EINVAL},
	    {NBD_CMD_WRITE, 0, FIXTURE_SIZE, 512, NBD_ENOSPC},
	    {NBD_CMD_WRITE, 0, FIXTURE_SIZE - 512, 1024, NBD_ENOSPC},
	    {NBD_CMD_WRITE, 0, 1, 512, NBD_EINVAL},
	    {NBD_CMD_WRITE, 0, 0, 100, NBD_EINVAL},
	    {NBD_CMD_WRITE, NBD_CMD_FLAG_DF, 0, 512, NBD_EINVAL},
	    {NBD_CMD_WRITE, NBD_CMD_FLAG_FAST_ZERO, 0, 512, NBD_EINVAL},
	    {NBD_CMD_FLUSH, 0, 512, 0, NBD_EINVAL},
	    {NBD_CMD_FLUSH, 0, 0, 512, NBD_EINVAL},
	    {NBD_CMD_TRIM, 0, FIXTURE_SIZE, 512, NBD_EINVAL},
	    {NBD_CMD_CACHE, 0, FIXTURE_SIZE, 512, NBD_EINVAL},
	    {NBD_CMD_WRITE_ZEROES, 0, FIXTURE_SIZE, 512, NBD_ENOSPC},
	    {NBD_CMD_WRITE_ZEROES, 0, 100, 512, NBD_EINVAL},
	    {NBD_CMD_WRITE_ZEROES, NBD_CMD_FLAG_REQ_ONE, 0, 512, NBD_EINVAL},
	    {NBD_CMD_BLOCK_STATUS, 0, 0, 512, NBD_EINVAL}, /* no context was negotiated */
	    {8, 0, 0, 512, NBD_EINVAL},
	    {UINT16_MAX, 0, 0, 0, NBD_EINVAL},
	};
	struct nbd_fixture *f = *state;
	int simple = nbd_client_go(f, "", false, false);
	int structured = nbd_client_go(f, "", true, false);
	struct nbd_export_stats stats;

	check_errors(f, simple, cases, ARRAY_SIZE(cases));
	check_errors(f, structured, cases, ARRAY_SIZE(cases));
	nbd_client_request(f, simple, NBD_CMD_READ, NBD_CMD_FLAG_DF, 0, 512);
	assert_int_equal(nbd_client_result(f, simple), NBD_EINVAL);
	for (unsigned op = 0; op < IO_OP_COUNT; op++) {
		assert_int_equal(f->target->seen[op], 0);
	}
	nbd_export_stats(f->export, &stats);
	assert_int_equal(stats.connections, 2);
	assert_int_equal(stats.requests, 2 * ARRAY_SIZE(cases) + 1);
	assert_int_equal(stats.errors, stats.requests);
	close(simple);
	close(structured);
}

static void good_requests_without_content_succeed(void **state)
{
	static const struct error_case cases[] = {
	    {NBD_CMD_READ, NBD_CMD_FLAG_FUA, 512, 0, 0},
	    {NBD_CMD_WRITE, 0, 0, 0, 0},
	    {NBD_CMD_WRITE, NBD_CMD_FLAG_FUA, FIXTURE_SIZE - 512, 512, 0},
	    {NBD_CMD_FLUSH, 0, 0, 0, 0},
	    {NBD_CMD_FLUSH, NBD_CMD_FLAG_FUA, 0, 0, 0},
	    {NBD_CMD_TRIM, NBD_CMD_FLAG_FUA, 100, 4096, 0},
	    {NBD_CMD_CACHE, 0, 100, 4096, 0},
	    {NBD_CMD_WRITE_ZEROES, 0, 0, FIXTURE_SIZE, 0},
	    {NBD_CMD_WRITE_ZEROES, NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FAST_ZERO,
		512, 512, 0},
	};
	struct nbd_fixture *f = *state;
	int simple = nbd_client_go(f, "", false, false);
	int structured = nbd_client_go(f, "", true, false);

	check_errors(f, simple, cases, ARRAY_SIZE(cases));
	assert_int_equal(f->target->last_flags, IO_FUA | IO_NO_HOLE | IO_FAST);
	check_errors(f, structured, cases, ARRAY_SIZE(cases));
	close(simple);
	close(structured);
}

static void payload_of_a_refused_write_is_skipped(void **state)
{
	struct nbd_fixture *f = *state;
	int fd = nbd_client_go(f, "", false, false);
	unsigned char *bytes = calloc(1, NBD_PAYLOAD_MAX + 512);

	assert_int_equal(nbd_client_write(f, fd, 0, bytes, NBD_PAYLOAD_MAX + 512), NBD_ENOSPC);
	assert_int_equal(nbd_client_write(f, fd, 512, pattern, 512), 0);
	assert_memory_equal(f->target->bytes + 512, pattern, 512);
	free(bytes);
	close(fd);
}

/* "Block size constraints": 32 MiB is what every server should take. */
static void longest_request_is_served_and_a_longer_one_refused(void **state)
{
	struct nbd_fixture *f = *state;
	struct memtarget *big = memtarget_new(f->group, 2ull * NBD_PAYLOAD_MAX, true);
	struct nbd_export *e = nbd_fixture_add(f, "big", &big->target, false);
	unsigned char *bytes = malloc(NBD_PAYLOAD_MAX);
	int fd = nbd_client_go(f, "big", false, false);
	int structured = nbd_client_go(f, "big", true, false);

	memset(bytes, 0x5a, NBD_PAYLOAD_MAX);
	assert_int_equal(nbd_client_write(f, fd, 512, bytes, NBD_PAYLOAD_MAX), 0);
	assert_memory_equal(big->bytes + 512, bytes, NBD_PAYLOAD_MAX);
	assert_int_equal(nbd_client_read(f, fd, 1024, bytes, NBD_PAYLOAD_MAX), 0);
	assert_memory_equal(big->bytes + 1024, bytes, NBD_PAYLOAD_MAX);
	assert_int_equal(nbd_client_read(f, fd, 0, bytes, NBD_PAYLOAD_MAX + 512), NBD_EINVAL);
	nbd_client_request(f, structured, NBD_CMD_READ, NBD_CMD_FLAG_DF, 0, NBD_PAYLOAD_MAX + 512);
	assert_int_equal(nbd_client_result(f, structured), NBD_EOVERFLOW);
	close(fd);
	close(structured);
	nbd_fixture_remove(f, e);
	memtarget_free(big);
	free(bytes);
}

static void read_only_export_refuses_every_change(void **state)
{
	static const struct error_case cases[] = {
	    {NBD_CMD_WRITE, 0, 0, 4096, NBD_EPERM},
	    {NBD_CMD_TRIM, 0, 0, 4096, NBD_EPERM},
	    {NBD_CMD_WRITE_ZEROES, 0, 0, 4096, NBD_EPERM},
	    {NBD_CMD_FLUSH, 0, 0, 0, 0},
	};
	struct nbd_fixture *f = *state;
	struct nbd_export *e = nbd_fixture_add(f, "ro", &f->target->target, true);
	int fd = nbd_client_go(f, "ro", false, false);
	unsigned char got[512];

	check_errors(f, fd, cases, ARRAY_SIZE(cases));
	assert_int_equal(nbd_client_read(f, fd, 0, got, sizeof(got)), 0);
	assert_int_equal(f->target->seen[IO_WRITE], 0);
	close(fd);
	nbd_fixture_remove(f, e);
}

static void block_status_tells_holes_from_data(void **state)
{
	struct nbd_fixture *f = *state;
	int fd = nbd_client_go(f, "", true, true);
	uint8_t chunk[4 + 3 * 8];

	memcpy(f->target->bytes + 8192, pattern, 4096);
	nbd_client_request(f, fd, NBD_CMD_BLOCK_STATUS, 0, 0, 65536);
	assert_int_equal(receive_chunk(f, fd, NBD_REPLY_BLOCK_STATUS, chunk, sizeof(chunk)), 28);
	assert_memory_equal(
	    chunk, "\0\0\0\1\0\0\x20\0\0\0\0\3\0\0\x10\0\0\0\0\0\0\0\xd0\0\0\0\0\3", 28);
	nbd_client_request(f, fd, NBD_CMD_BLOCK_STATUS, NBD_CMD_FLAG_REQ_ONE, 100, 65536);
	assert_int_equal(receive_chunk(f, fd, NBD_REPLY_BLOCK_STATUS, chunk, sizeof(chunk)), 12);
	assert_int_equal(load_be32(chunk + 4), 8192 - 100);
	assert_int_equal(load_be32(chunk + 8), NBD_STATE_HOLE | NBD_STATE_ZERO);
	nbd_client_request(f, fd, NBD_CMD_BLOCK_STATUS, 0, FIXTURE_SIZE - 512, 1024);
	assert_int_equal(nbd_client_result(f, fd), NBD_EINVAL);
	close(fd);
}

static void block_status_of_many_extents_is_cut_short(void **state)
{
	struct nbd_fixture *f = *state;
	int fd = nbd_client_go(f, "", true, true);
	uint8_t chunk[4 + 64 * 8];

	for (unsigned i = 0; i < FIXTURE_SIZE; i += 8192) {
		f->target->bytes[i] = 1;
	}
	nbd_client_request(f, fd, NBD_CMD_BLOCK_STATUS, 0, 0, FIXTURE_SIZE);
	assert_int_equal(
	    receive_chunk(f, fd, NBD_REPLY_BLOCK_STATUS, chunk, sizeof(chunk)), sizeof(chunk));
	close(fd);
}

static void errors_of_the_target_reach_the_client(void **state)
{
	struct nbd_fixture *f = *state;
	int fd = nbd_client_go(f, "", true, true);
	unsigned char got[512];

	f->target->fail_status[IO_READ] = -EIO;
	f->target->fail_status[IO_WRITE] = -EDQUOT;
	f->target->fail_status[IO_WRITE_ZEROES] = -EOPNOTSUPP;
	assert_int_equal(nbd_client_read(f, fd, 0, got, sizeof(got)), NBD_EIO);
	assert_int_equal(nbd_client_write(f, fd, 0, pattern, 512), NBD_ENOSPC);
	nbd_client_request(f, fd, NBD_CMD_WRITE_ZEROES, NBD_CMD_FLAG_FAST_ZERO, 0, 512);
	assert_int_equal(nbd_client_result(f, fd), NBD_ENOTSUP);
	nbd_client_request(f, fd, NBD_CMD_WRITE_ZEROES, 0, 0, 512);
	assert_int_equal(nbd_client_result(f, fd), NBD_EINVAL);
	close(fd);
}

/* More at once than there are requests: the rest waits in the socket. */
static void deep_pipeline_is_answered_in_full(void **state)
{
	struct nbd_fixture *f = *state;
	int fd = nbd_client_go(f, "", false, false);
	static uint8_t requests[1000][NBD_REQUEST_BYTES];
	unsigned char got[512];

	f->target->mode = MEMTARGET_HELD;
	for (unsigned i = 0; i < 1000; i++) {
		struct nbd_message message = {
		    .type = NBD_CMD_READ, .cookie = i, .offset = 512ull * i, .length = 512};

		nbd_wire_put_message(requests[i], &message);
	}
	nbd_client_send(f, fd, requests, sizeof(requests));
	nbd_fixture_settle(f);
	assert_int_equal(f->target->held, 128);
	memtarget_resume(f->target, MEMTARGET_LATER);
	for (unsigned i = 0; i < 1000; i++) {
		assert_int_equal(nbd_client_result(f, fd), 0);
		assert_true(nbd_client_receive(f, fd, got, sizeof(got)));
	}
	assert_int_equal(f->target->seen[IO_READ], 1000);
	close(fd);
}

static void requests_may_come_in_any_pieces(void **state)
{
	struct nbd_fixture *f = *state;
	int fd = nbd_client_go(f, "", false, false);
	struct nbd_message message = {.type = NBD_CMD_WRITE, .length = 1024};
	uint8_t bytes[2 * (NBD_REQUEST_BYTES + 1024)];
	size_t half = sizeof(bytes) / 2;

	nbd_wire_put_message(bytes, &message);
	memcpy(bytes + NBD_REQUEST_BYTES, pattern, 1024);
	message.offset = 1024;
	nbd_wire_put_message(bytes + half, &message);
	memcpy(bytes + half + NBD_REQUEST_BYTES, pattern + 1024, 1024);
	for (size_t i = 0; i < sizeof(bytes); i += 13) {
		nbd_client_send(f, fd, bytes + i, MIN(13, sizeof(bytes) - i));
		nbd_fixture_settle(f);
	}
	assert_int_equal(nbd_client_result(f, fd), 0);
	assert_int_equal(nbd_client_result(f, fd), 0);
	assert_memory_equal(f->target->bytes, pattern, 2048);
	close(fd);
}

static void exports_on_one_socket_are_told_apart_by_name(void **state)
{
	struct nbd_fixture *f = *state;
	struct memtarget *other = memtarget_new(f->group, 4096, true);
	struct nbd_export *e = nbd_fixture_add(f, "other", &other->target, false);
	int a = nbd_client_go(f, "", false, false);
	int b = nbd_client_go(f, "other", false, false);

	assert_int_equal(nbd_client_write(f, b, 0, pattern, 4096), 0);
	assert_int_equal(nbd_client_write(f, b, 4096, pattern, 512), NBD_ENOSPC);
	assert_int_equal(nbd_client_write(f, a, 4096, pattern, 512), 0);
	assert_memory_equal(other->bytes, pattern, 4096);
	assert_int_equal(f->target->bytes[0], 0);
	nbd_fixture_remove(f, e);
	assert_false(nbd_client_receive(f, b, &(char){0}, 1));
	assert_int_equal(nbd_client_write(f, a, 0, pattern, 512), 0);
	memtarget_free(other);
	close(a);
	close(b);
}

static int setup_group(void **state)
{
	fill_pattern();
	return 0;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, nbd_fixture_setup, nbd_fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(write_is_read_back_through_another_connection),
	    TEST(structured_read_carries_offset_and_data),
	    TEST(read_of_any_alignment_is_served),
	    TEST(bad_requests_get_the_errors_of_the_protocol),
	    TEST(good_requests_without_content_succeed),
	    TEST(payload_of_a_refused_write_is_skipped),
	    TEST(longest_request_is_served_and_a_longer_one_refused),
	    TEST(read_only_export_refuses_every_change),
	    TEST(block_status_tells_holes_from_data),
	    TEST(block_status_of_many_extents_is_cut_short),
	    TEST(errors_of_the_target_reach_the_client),
	    TEST(deep_pipeline_is_answered_in_full),
	    TEST(requests_may_come_in_any_pieces),
	    TEST(exports_on_one_socket_are_told_apart_by_name),
	};

	return cmocka_run_group_tests(tests, setup_group, NULL);
}
