/*
 * Clients that are slow, mute, broken or gone, and exports and listeners that go while clients are
 * there: each hurts itself alone, and nothing hangs or grows.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "nbd_fixture.h"

static unsigned char block[4096];

static void wait_for_end(struct nbd_fixture *f, unsigned disconnected)
{
	bool ended = false;

	for (unsigned i = 0; i < 20000 && !ended; i++) {
		reactor_group_step(f->group, 1);
		ended = f->disconnected == disconnected;
	}
	assert_true(ended);
}

static void expect_hang_up(struct nbd_fixture *f, int fd)
{
	assert_false(nbd_client_receive(f, fd, &(char){0}, 1));
	close(fd);
}

static void garbage_in_the_handshake_is_hung_up_on(void **state)
{
	struct nbd_fixture *f = *state;
	uint8_t greeting[NBD_GREETING_BYTES];
	int fd = nbd_client_connect(f);

	assert_true(nbd_client_receive(f, fd, greeting, sizeof(greeting)));
	nbd_client_send(f, fd, "GET / HTTP/1.1\r\n\r\n", 18);
	expect_hang_up(f, fd);
	assert_int_equal(f->connected, 0);
}

static void garbage_instead_of_a_request_ends_the_connection(void **state)
{
	struct nbd_fixture *f = *state;
	int fd = nbd_client_go(f, "", false, false);

	nbd_client_send(f, fd, "this is not a request at all", 28);
	expect_hang_up(f, fd);
	wait_for_end(f, 1);
	assert_string_equal(f->why, "client broke the protocol: not a request");
}

static void absurd_write_ends_the_connection(void **state)
{
	struct nbd_fixture *f = *state;
	int fd = nbd_client_go(f, "", false, false);

	nbd_client_request(f, fd, NBD_CMD_WRITE, 0, 0, UINT32_MAX);
	expect_hang_up(f, fd);
	wait_for_end(f, 1);
	assert_string_equal(f->why, "client broke the protocol: write too long");
}

static void client_that_vanishes_leaves_nothing_behind(void **state)
{
	static const size_t sent[] = {1, NBD_REQUEST_BYTES - 1, NBD_REQUEST_BYTES,
	    NBD_REQUEST_BYTES + 1, NBD_REQUEST_BYTES + sizeof(block) - 1};
	struct nbd_fixture *f = *state;
	struct nbd_message message = {.type = NBD_CMD_WRITE, .length = sizeof(block)};
	uint8_t bytes[NBD_REQUEST_BYTES + sizeof(block)] = {0};

	nbd_wire_put_message(bytes, &message);
	for (unsigned i = 0; i < ARRAY_SIZE(sent); i++) {
		int fd = nbd_client_go(f, "", false, false);

		nbd_client_send(f, fd, bytes, sent[i]);
		nbd_fixture_settle(f);
		close(fd);
		wait_for_end(f, i + 1);
		assert_string_equal(f->why, "client vanished in the middle of a request");
		assert_int_equal(nbd_fixture_buffers_used(f), 0);
	}
	assert_int_equal(f->target->seen[IO_WRITE], 0);
}

static void client_that_vanishes_with_requests_in_flight_is_cleaned_up_after_them(void **state)
{
	struct nbd_fixture *f = *state;
	int fd = nbd_client_go(f, "", false, false);

	f->target->mode = MEMTARGET_HELD;
	for (unsigned i = 0; i < 20; i++) {
		nbd_client_request(f, fd, NBD_CMD_READ, 0, 0, sizeof(block));
	}
	nbd_fixture_settle(f);
	close(fd);
	nbd_fixture_settle(f);
	assert_int_equal(f->disconnected, 0);
	assert_int_equal(f->target->held, 20);
	memtarget_resume(f->target, MEMTARGET_INLINE);
	wait_for_end(f, 1);
	assert_int_equal(nbd_fixture_buffers_used(f), 0);
}

static void disconnect_is_obeyed_after_the_answers(void **state)
{
	struct nbd_fixture *f = *state;
	int fd = nbd_client_go(f, "", false, false);

	f->target->mode = MEMTARGET_HELD;
	nbd_client_request(f, fd, NBD_CMD_FLUSH, 0, 0, 0);
	nbd_client_request(f, fd, NBD_CMD_DISC, 0, 0, 0);
	nbd_fixture_settle(f);
	assert_int_equal(f->disconnected, 0);
	memtarget_resume(f->target, MEMTARGET_INLINE);
	assert_int_equal(nbd_client_result(f, fd), 0);
	expect_hang_up(f, fd);
	wait_for_end(f, 1);
	assert_string_equal(f->why, "client disconnected");
}

/* Sends as many requests as the server takes: it has to stop reading at some time. */
static void flood(struct nbd_fixture *f, int fd, uint32_t length)
{
	struct nbd_message message = {.type = NBD_CMD_READ, .length = length};
	uint8_t bytes[NBD_REQUEST_BYTES];
	unsigned n = 0;

	nbd_wire_put_message(bytes, &message);
	for (unsigned blocked = 0; blocked < 50;) {
		assert_true(n < 100000);
		if (send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL) == sizeof(bytes)) {
			n++;
		} else {
			blocked++;
		}
		reactor_group_step(f->group, 0);
	}
}

static void client_that_never_reads_uses_bounded_memory(void **state)
{
	struct nbd_fixture *f = *state;
	struct memtarget *big = memtarget_new(f->group, 64u << 20, false);
	struct nbd_export *e = nbd_fixture_add(f, "big", &big->target, false);
	int small = nbd_client_go(f, "", false, false);
	int huge = nbd_client_go(f, "big", false, false);
	int other = nbd_client_go(f, "", false, false);

	flood(f, small, sizeof(block));
	/* What the kernel keeps for the client, and the requests there are. */
	assert_true(f->target->seen[IO_READ] <= (2u << 20) / sizeof(block) + 2 * 128);
	assert_true(nbd_fixture_buffers_used(f) <= 3 * (128u << 10) + 128 * sizeof(block));
	flood(f, huge, 8u << 20);
	assert_true(nbd_fixture_buffers_used(f) <= (64u << 20) + (2u << 20));
	assert_int_equal(nbd_client_write(f, other, 0, block, sizeof(block)), 0);
	close(small);
	close(huge);
	close(other);
	wait_for_end(f, 3);
	nbd_fixture_remove(f, e);
	memtarget_free(big);
}

static void export_goes_although_a_client_is_mute(void **state)
{
	struct nbd_fixture *f = *state;
	int fd = nbd_client_go(f, "", false, false);

	flood(f, fd, sizeof(block));
	nbd_fixture_remove(f, f->export);
	assert_string_equal(f->why, "export removed");
	close(fd);
}

static void export_goes_when_what_is_in_flight_is_done(void **state)
{
	struct nbd_fixture *f = *state;
	int busy = nbd_client_go(f, "", false, false);
	int idle = nbd_client_go(f, "", false, false);

	f->target->mode = MEMTARGET_HELD;
	nbd_client_request(f, busy, NBD_CMD_FLUSH, 0, 0, 0);
	/* Its payload never comes. */
	nbd_client_request(f, busy, NBD_CMD_WRITE, 0, 0, sizeof(block));
	nbd_fixture_settle(f);
	nbd_fixture_begin_removal(f, f->export);
	nbd_fixture_settle(f);
	assert_false(f->removed);
	assert_int_equal(f->disconnected, 1);
	expect_hang_up(f, idle);
	memtarget_resume(f->target, MEMTARGET_INLINE);
	assert_int_equal(nbd_client_result(f, busy), 0);
	expect_hang_up(f, busy);
	nbd_fixture_until(f, &f->removed);
}

static void export_goes_under_load(void **state)
{
	struct nbd_fixture *f = *state;
	int fds[8];

	f->target->mode = MEMTARGET_LATER;
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = nbd_client_go(f, "", i % 2 == 0, false);
	}
	for (unsigned n = 0; n < 20; n++) {
		for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
			nbd_client_request(f, fds[i], NBD_CMD_READ, 0, 0, sizeof(block));
		}
	}
	nbd_fixture_remove(f, f->export);
	assert_int_equal(f->disconnected, ARRAY_SIZE(fds));
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		close(fds[i]);
	}
}

/* Sends an option that asks for the export "". */
static void ask_for_default(struct nbd_fixture *f, int fd)
{
	uint8_t bytes[NBD_CLIENT_FLAGS_BYTES + NBD_OPTION_BYTES];

	store_be32(bytes, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
	memcpy(bytes + 4, "IHAVEOPT", 8);
	store_be32(bytes + 12, NBD_OPT_EXPORT_NAME);
	store_be32(bytes + 16, 0);
	nbd_client_send(f, fd, bytes, sizeof(bytes));
}

static void export_that_is_going_is_not_offered(void **state)
{
	struct nbd_fixture *f = *state;
	uint8_t greeting[NBD_GREETING_BYTES];
	int old = nbd_client_go(f, "", false, false);
	int fd = nbd_client_connect(f);

	f->target->mode = MEMTARGET_HELD;
	nbd_client_request(f, old, NBD_CMD_FLUSH, 0, 0, 0);
	nbd_fixture_settle(f);
	nbd_fixture_begin_removal(f, f->export);
	f->export = nbd_fixture_add(f, "new", &f->target->target, false);
	assert_true(nbd_client_receive(f, fd, greeting, sizeof(greeting)));
	ask_for_default(f, fd);
	expect_hang_up(f, fd);
	memtarget_resume(f->target, MEMTARGET_INLINE);
	nbd_fixture_until(f, &f->removed);
	close(old);
}

/* Each waits in the handshake; the oldest makes room. */
static void mute_clients_do_not_lock_others_out(void **state)
{
	struct nbd_fixture *f = *state;
	uint8_t greeting[NBD_GREETING_BYTES];
	int fds[300];
	int fd;

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = nbd_client_connect(f);
		assert_true(nbd_client_receive(f, fds[i], greeting, sizeof(greeting)));
	}
	fd = nbd_client_go(f, "", false, false);
	assert_int_equal(nbd_client_write(f, fd, 0, block, sizeof(block)), 0);
	expect_hang_up(f, fds[0]);
	for (size_t i = 1; i < ARRAY_SIZE(fds); i++) {
		close(fds[i]);
	}
	close(fd);
}

static void requests_sent_along_with_the_last_option_are_served(void **state)
{
	struct nbd_fixture *f = *state;
	uint8_t bytes[NBD_CLIENT_FLAGS_BYTES + NBD_OPTION_BYTES + NBD_REQUEST_BYTES];
	struct nbd_message message = {.type = NBD_CMD_FLUSH};
	uint8_t got[NBD_GREETING_BYTES];
	int fd = nbd_client_connect(f);

	store_be32(bytes, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
	memcpy(bytes + 4, "IHAVEOPT", 8);
	store_be32(bytes + 12, NBD_OPT_EXPORT_NAME);
	store_be32(bytes + 16, 0);
	nbd_wire_put_message(bytes + 20, &message);
	nbd_client_send(f, fd, bytes, sizeof(bytes));
	assert_true(nbd_client_receive(f, fd, got, sizeof(got)));
	assert_true(nbd_client_receive(f, fd, got, 10));
	assert_int_equal(load_be64(got), FIXTURE_SIZE);
	assert_int_equal(nbd_client_result(f, fd), 0);
	close(fd);
}

/* -- listeners -- */

static void set_true(void *ctx)
{
	*(bool *)ctx = true;
}

static void free_listener(struct nbd_fixture *f, struct nbd_listener *l)
{
	bool closed = false;

	nbd_listener_free(l, set_true, &closed);
	nbd_fixture_until(f, &closed);
}

/* A socket file that nobody listens on. */
static void leave_stale_socket(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(address.sun_path, path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
}

static void stale_socket_is_replaced_and_not_open_to_all(void **state)
{
	struct nbd_fixture *f = *state;
	struct nbd_listener *l;
	struct error err = {0};
	char address[160];
	struct stat st;

	snprintf(address, sizeof(address), "unix:%s/stale", f->directory);
	leave_stale_socket(address + 5);
	assert_int_equal(nbd_listener_new(f->group, address, NULL, &l, &err), 0);
	assert_int_equal(stat(address + 5, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0660);
	free_listener(f, l);
	assert_int_equal(stat(address + 5, &st), -1);
}

static void live_socket_is_left_alone(void **state)
{
	struct nbd_fixture *f = *state;
	struct nbd_listener *l = NULL;
	struct error err = {0};
	int fd;

	assert_int_equal(nbd_listener_new(f->group, f->address, NULL, &l, &err), -EADDRINUSE);
	assert_null(l);
	fd = nbd_client_go(f, "", false, false);
	close(fd);
}

static void file_that_is_no_socket_is_left_alone(void **state)
{
	struct nbd_fixture *f = *state;
	struct nbd_listener *l = NULL;
	struct error err = {0};
	char address[160];
	FILE *file;

	snprintf(address, sizeof(address), "unix:%s/file", f->directory);
	file = fopen(address + 5, "w");
	assert_non_null(file);
	fclose(file);
	assert_int_equal(nbd_listener_new(f->group, address, NULL, &l, &err), -EEXIST);
	assert_int_equal(unlink(address + 5), 0);
}

static void nothing_listens_beyond_loopback(void **state)
{
	static const struct {
		const char *address;
		int rc;
	} cases[] = {
	    {"tcp:0.0.0.0:0", -EACCES},
	    {"tcp:[::]:0", -EACCES},
	    {"tcp:192.0.2.1:0", -EACCES},
	    {"tcp:127.0.0.1", -EINVAL},
	    {"tcp::10809", -EINVAL},
	    {"tcp:::1:10809", -EINVAL},
	    {"tcp:example.org:10809", -EINVAL},
	    {"tcp:127.0.0.1:http", -EINVAL},
	    {"udp:127.0.0.1:1", -EINVAL},
	    {"unix:", -EINVAL},
	};
	struct nbd_fixture *f = *state;
	struct nbd_listener *l = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct error err = {0};

		assert_int_equal(
		    nbd_listener_new(f->group, cases[i].address, NULL, &l, &err), cases[i].rc);
		assert_null(l);
		assert_int_equal(err.code, cases[i].rc);
	}
}

static void tcp_listener_tells_its_port(void **state)
{
	struct nbd_fixture *f = *state;
	struct nbd_listener *l;
	struct error err = {0};

	assert_int_equal(nbd_listener_new(f->group, "tcp:127.0.0.1:0", NULL, &l, &err), 0);
	assert_memory_equal(nbd_listener_address(l), "tcp:127.0.0.1:", 14);
	assert_string_not_equal(nbd_listener_address(l), "tcp:127.0.0.1:0");
	free_listener(f, l);
}

static void name_is_taken_once_and_shown_in_the_uri(void **state)
{
	struct nbd_fixture *f = *state;
	struct nbd_export_params params = {.name = "a b?", .target = &f->target->target};
	struct nbd_export *e = nbd_fixture_add(f, "a b?", &f->target->target, false);
	struct nbd_export *again = NULL;
	struct error err = {0};
	char want[256];
	char uri[256];

	assert_int_equal(nbd_export_add(f->listener, &params, f, &again, &err), -EEXIST);
	assert_null(again);
	assert_int_equal(nbd_listener_export_count(f->listener), 2);
	nbd_export_uri(e, uri, sizeof(uri));
	snprintf(want, sizeof(want), "nbd+unix:///a%%20b%%3F?socket=%s", f->address + 5);
	assert_string_equal(uri, want);
	nbd_fixture_remove(f, e);
	assert_int_equal(nbd_listener_export_count(f->listener), 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, nbd_fixture_setup, nbd_fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(garbage_in_the_handshake_is_hung_up_on),
	    TEST(garbage_instead_of_a_request_ends_the_connection),
	    TEST(absurd_write_ends_the_connection),
	    TEST(client_that_vanishes_leaves_nothing_behind),
	    TEST(client_that_vanishes_with_requests_in_flight_is_cleaned_up_after_them),
	    TEST(disconnect_is_obeyed_after_the_answers),
	    TEST(client_that_never_reads_uses_bounded_memory),
	    TEST(export_goes_although_a_client_is_mute),
	    TEST(export_goes_when_what_is_in_flight_is_done),
	    TEST(export_goes_under_load),
	    TEST(export_that_is_going_is_not_offered),
	    TEST(mute_clients_do_not_lock_others_out),
	    TEST(requests_sent_along_with_the_last_option_are_served),
	    TEST(stale_socket_is_replaced_and_not_open_to_all),
	    TEST(live_socket_is_left_alone),
	    TEST(file_that_is_no_socket_is_left_alone),
	    TEST(nothing_listens_beyond_loopback),
	    TEST(tcp_listener_tells_its_port),
	    TEST(name_is_taken_once_and_shown_in_the_uri),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
