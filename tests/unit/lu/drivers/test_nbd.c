#include "harness.h"

#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lu/drivers/nbd_uri.h"

#define SIZE (16u << 20)

/* One server over one file of the harness's directory. */
struct server {
	pid_t pid;
	unsigned port; /* 0 = UNIX socket */
	char socket[96];
	char file[96];
	char json[256];
};

static void make_file(struct server *s)
{
	FILE *f = fopen(s->file, "we");

	assert_non_null(f);
	assert_int_equal(ftruncate(fileno(f), SIZE), 0);
	fclose(f);
}

static void set_address(struct server *s, const char *more)
{
	if (s->port != 0) {
		snprintf(s->json, sizeof(s->json), "{\"uri\": \"nbd://127.0.0.1:%u/\"%s}", s->port,
		    more);
	} else {
		snprintf(s->json, sizeof(s->json), "{\"uri\": \"nbd+unix:///?socket=%s\"%s}",
		    s->socket, more);
	}
}

/* options: further arguments, at most 6, NULL ends them. */
static void start_nbdkit(struct harness *h, struct server *s, bool tcp, char *const options[])
{
	char port[16];
	char *argv[20] = {"nbdkit", "-f"};
	unsigned n = 2;

	*s = (struct server){.port = tcp ? harness_free_port() : 0};
	snprintf(s->socket, sizeof(s->socket), "%s/nbd.sock", h->directory);
	snprintf(s->file, sizeof(s->file), "%s/disk", h->directory);
	make_file(s);
	snprintf(port, sizeof(port), "%u", s->port);
	if (tcp) {
		argv[n++] = "-i";
		argv[n++] = "127.0.0.1";
		argv[n++] = "-p";
		argv[n++] = port;
	} else {
		argv[n++] = "-U";
		argv[n++] = s->socket;
	}
	for (unsigned i = 0; options != NULL && options[i] != NULL; i++) {
		argv[n++] = options[i];
	}
	if (options == NULL) {
		argv[n++] = "file";
		argv[n++] = s->file;
	}
	s->pid = harness_spawn(argv);
	if (tcp) {
		harness_wait_tcp(s->port, s->pid);
	} else {
		harness_wait_unix(s->socket, s->pid);
	}
	set_address(s, "");
}

static void start_qemu_nbd(struct harness *h, struct server *s)
{
	char *argv[] = {"qemu-nbd", "-f", "raw", "-t", "-e", "1", "-k", s->socket, s->file, NULL};

	*s = (struct server){0};
	snprintf(s->socket, sizeof(s->socket), "%s/qemu.sock", h->directory);
	snprintf(s->file, sizeof(s->file), "%s/disk", h->directory);
	make_file(s);
	s->pid = harness_spawn(argv);
	harness_wait_unix(s->socket, s->pid);
	set_address(s, "");
}

static void check_data(struct harness *h)
{
	unsigned char *a = harness_alloc(1 << 20);
	unsigned char *b = harness_alloc(1 << 20);

	harness_fill(a, 1 << 20, 1);
	assert_int_equal(harness_do(h, 0, IO_WRITE, 0, 65536, 1 << 20, a), 0);
	assert_int_equal(harness_do(h, 1, IO_READ, 0, 65536, 1 << 20, b), 0);
	assert_memory_equal(a, b, 1 << 20);
	assert_int_equal(harness_do(h, 1, IO_WRITE, IO_FUA, 0, 4096, a), 0);
	assert_int_equal(harness_do(h, 0, IO_READ, 0, 0, 4096, b), 0);
	assert_memory_equal(a, b, 4096);
	assert_int_equal(harness_do(h, 0, IO_FLUSH, 0, 0, 0, NULL), 0);
	assert_int_equal(harness_do(h, 1, IO_WRITE_ZEROES, IO_FUA, 65536, 1 << 20, NULL), 0);
	assert_int_equal(harness_do(h, 0, IO_READ, 0, 65536, 1 << 20, b), 0);
	memset(a, 0, 1 << 20);
	assert_memory_equal(a, b, 1 << 20);
	assert_int_equal(harness_do(h, 1, IO_DISCARD, 0, 65536, 1 << 20, NULL), 0);
	free(a);
	free(b);
}

static void data_goes_round_through_nbdkit_over_unix_and_tcp(void **state)
{
	for (unsigned tcp = 0; tcp < 2; tcp++) {
		struct harness *h = harness_new();
		struct server s;

		start_nbdkit(h, &s, tcp != 0, NULL);
		harness_must_open(h, "nbd", s.json);
		assert_int_equal(h->session->target.size, SIZE);
		check_data(h);
		harness_close(h);
		harness_kill(s.pid);
		harness_free(h);
	}
}

static void data_goes_round_through_qemu_nbd(void **state)
{
	struct harness *h = harness_new();
	struct server s;

	start_qemu_nbd(h, &s);
	harness_must_open(h, "nbd", s.json);
	check_data(h);
	harness_close(h);
	harness_kill(s.pid);
	harness_free(h);
}

static void one_connection_serves_all_reactors_where_that_is_asked(void **state)
{
	struct harness *h = harness_new();
	struct server s;

	start_nbdkit(h, &s, false, NULL);
	set_address(&s, ", \"connections\": 1");
	for (unsigned i = 0; i < HARNESS_REACTORS; i++) {
		harness_must_open(h, "nbd", s.json);
		check_data(h);
		harness_close(h);
	}
	harness_kill(s.pid);
	harness_free(h);
}

static void vectors_go_out_by_entry_or_through_a_bounce_buffer(void **state)
{
	struct harness *h = harness_new();
	struct harness_io hio = {0};
	unsigned char *memory = harness_alloc(64 * 1024);
	unsigned char *back = harness_alloc(64 * 1024);
	struct server s;

	start_nbdkit(h, &s, false, NULL);
	harness_must_open(h, "nbd", s.json);
	for (unsigned parts = 2; parts <= 64; parts *= 4) {
		unsigned len = 64 * 1024 / parts;

		harness_fill(memory, 64 * 1024, parts);
		hio.io = (struct io){.op = IO_WRITE, .length = 64 * 1024, .iovcnt = parts};
		for (unsigned i = 0; i < parts; i++) {
			/* The middle one is split at no sector border. */
			hio.iov[i] = (struct iovec){memory + (size_t)i * len, len};
		}
		hio.iov[0].iov_len += parts == 8 ? 1 : 0;
		hio.iov[1].iov_base = (char *)hio.iov[1].iov_base + (parts == 8 ? 1 : 0);
		hio.iov[1].iov_len -= parts == 8 ? 1 : 0;
		harness_submit(h, 0, &hio);
		harness_wait(h, &hio.done);
		assert_int_equal(hio.status, 0);
		assert_int_equal(harness_do(h, 1, IO_READ, 0, 0, 64 * 1024, back), 0);
		assert_memory_equal(memory, back, 64 * 1024);
		memset(memory, 0, 64 * 1024);
		hio.io.op = IO_READ;
		harness_submit(h, 1, &hio);
		harness_wait(h, &hio.done);
		assert_int_equal(hio.status, 0);
		assert_memory_equal(memory, back, 64 * 1024);
	}
	harness_close(h);
	harness_kill(s.pid);
	free(memory);
	free(back);
	harness_free(h);
}

static void block_status_tells_holes_from_data(void **state)
{
	struct harness *h = harness_new();
	unsigned char *a = harness_alloc(1 << 20);
	struct io_extent_status extents[8];
	struct io_block_status bs = {.extents = extents, .max = 8};
	struct harness_io hio = {
	    .io = {.op = IO_BLOCK_STATUS, .length = SIZE, .block_status = &bs}};
	struct server s;

	start_nbdkit(h, &s, false, NULL);
	harness_must_open(h, "nbd", s.json);
	assert_true(h->session->target.limits.block_status);
	harness_fill(a, 1 << 20, 3);
	assert_int_equal(harness_do(h, 0, IO_WRITE, IO_FUA, 1 << 20, 1 << 20, a), 0);
	harness_submit(h, 1, &hio);
	harness_wait(h, &hio.done);
	assert_int_equal(hio.status, 0);
	assert_true(bs.count >= 1);
	assert_int_equal(extents[0].length, 1 << 20);
	assert_true(extents[0].hole && extents[0].zero);
	harness_close(h);
	harness_kill(s.pid);
	free(a);
	harness_free(h);
}

static void error_of_the_server_is_a_medium_error_not_a_lost_session(void **state)
{
	struct harness *h = harness_new();
	char *const options[] = {
	    "--filter=error", "memory", "16M", "error-pread=ENOSPC", "error-pread-rate=100%", NULL};
	unsigned char *a = harness_alloc(4096);
	struct server s;

	start_nbdkit(h, &s, false, options);
	harness_must_open(h, "nbd", s.json);
	assert_int_equal(harness_do(h, 0, IO_READ, 0, 0, 4096, a), -ENOSPC);
	assert_int_equal(harness_do(h, 0, IO_WRITE, 0, 0, 4096, a), 0);
	assert_false(h->lost);
	harness_close(h);
	harness_kill(s.pid);
	free(a);
	harness_free(h);
}

static void read_only_export_refuses_changes(void **state)
{
	struct harness *h = harness_new();
	char *const options[] = {"-r", "memory", "16M", NULL};
	unsigned char *a = harness_alloc(4096);
	struct server s;

	start_nbdkit(h, &s, false, options);
	harness_must_open(h, "nbd", s.json);
	assert_true(h->session->target.limits.read_only);
	assert_int_equal(harness_do(h, 0, IO_WRITE, 0, 0, 4096, a), -EROFS);
	harness_close(h);
	harness_kill(s.pid);
	free(a);
	harness_free(h);
}

static void nobody_listening_fails_with_a_hint(void **state)
{
	struct harness *h = harness_new();
	char json[128];

	snprintf(json, sizeof(json), "{\"uri\": \"nbd+unix:///?socket=%s/none\"}", h->directory);
	assert_int_equal(harness_open(h, "nbd", json), -ENOTCONN);
	assert_true(h->open_error.hint[0] != '\0');
	harness_close(h);
	snprintf(json, sizeof(json), "{\"uri\": \"nbd://127.0.0.1:%u\"}", harness_free_port());
	assert_int_equal(harness_open(h, "nbd", json), -ECONNREFUSED);
	harness_close(h);
	harness_free(h);
}

static void name_is_resolved_off_the_reactor(void **state)
{
	struct harness *h = harness_new();
	struct server s;
	char json[128];

	start_nbdkit(h, &s, true, NULL);
	/* Both address families: the one without a listener is passed over. */
	snprintf(json, sizeof(json), "{\"uri\": \"nbd://localhost:%u\"}", s.port);
	harness_must_open(h, "nbd", json);
	harness_close(h);
	harness_kill(s.pid);
	harness_free(h);
}

static void connection_comes_from_the_bound_address(void **state)
{
	struct harness *h = harness_new();
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(at);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char json[64];
	int fd;

	assert_int_equal(bind(listener, (struct sockaddr *)&at, len), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &len), 0);
	snprintf(json, sizeof(json), "{\"uri\": \"nbd://127.0.0.1:%u\"}", ntohs(at.sin_port));
	assert_int_equal(harness_open_as(h, "nbd", "", "not-an-address", json), -EINVAL);
	harness_begin(h, "nbd", "", "127.0.0.9", json, 0);
	harness_turns(h, 3);
	fd = accept(listener, (struct sockaddr *)&at, &len);
	assert_true(fd >= 0);
	assert_int_equal(ntohl(at.sin_addr.s_addr), 0x7f000009);
	harness_close(h);
	close(fd);
	close(listener);
	harness_free(h);
}

/* Requests that stay at the server: it sleeps on each. */
static char *const slow[] = {"--filter=delay", "memory", "16M", "wdelay=60", "rdelay=60", NULL};

static void submit_some(struct harness *h, struct harness_io *hio, unsigned n, void *buffer)
{
	for (unsigned i = 0; i < n; i++) {
		hio[i].io = (struct io){.op = i % 2 == 0 ? IO_WRITE : IO_READ,
		    .offset = (uint64_t)i * 4096,
		    .length = 4096,
		    .iovcnt = 1};
		hio[i].iov[0] = (struct iovec){(char *)buffer + (size_t)i * 4096, 4096};
		harness_submit(h, i % HARNESS_REACTORS, &hio[i]);
	}
	harness_turns(h, 20);
}

static void killed_server_loses_the_session_and_fences_it(void **state)
{
	for (unsigned tcp = 0; tcp < 2; tcp++) {
		struct harness *h = harness_new();
		struct harness_io *hio = calloc(16, sizeof(*hio));
		unsigned char *a = harness_alloc(16 * 4096);
		struct server s;

		start_nbdkit(h, &s, tcp != 0, slow);
		harness_must_open(h, "nbd", s.json);
		submit_some(h, hio, 16, a);
		assert_false(h->lost);
		harness_kill(s.pid);
		harness_wait(h, &h->lost);
		harness_turns(h, 5);
		for (unsigned i = 0; i < 16; i++) {
			assert_true(hio[i].done);
			assert_true(io_status_is_transport(hio[i].status));
		}
		assert_true(io_status_is_transport(harness_do(h, 0, IO_READ, 0, 0, 4096, a)));
		harness_close(h);
		free(hio);
		free(a);
		harness_free(h);
	}
}

static void idle_session_notices_the_death_of_its_server(void **state)
{
	struct harness *h = harness_new();
	struct server s;

	start_nbdkit(h, &s, false, NULL);
	harness_must_open(h, "nbd", s.json);
	harness_kill(s.pid);
	harness_wait(h, &h->lost);
	harness_close(h);
	harness_free(h);
}

static void close_aborts_at_once_and_is_fenced_only_by_the_server(void **state)
{
	struct harness *h = harness_new();
	struct harness_io *hio = calloc(16, sizeof(*hio));
	unsigned char *a = harness_alloc(16 * 4096);
	struct server s;

	start_nbdkit(h, &s, false, NULL);
	harness_must_open(h, "nbd", s.json);
	harness_freeze(s.pid);
	submit_some(h, hio, 16, a);
	h->session->driver->close(h->session);
	harness_wait(h, &h->closed);
	for (unsigned i = 0; i < 16; i++) {
		assert_int_equal(hio[i].status, -ECONNABORTED);
	}
	harness_turns(h, 50);
	assert_false(h->fenced);
	harness_thaw(s.pid);
	harness_wait(h, &h->fenced);
	harness_kill(s.pid);
	free(hio);
	free(a);
	harness_free(h);
}

/* The point of fencing: what a frozen server still carries out is all done when fenced() comes. */
static void write_after_fencing_is_never_overtaken_by_an_older_one(void **state)
{
	struct harness *h = harness_new();
	struct harness_io *hio = calloc(1, sizeof(*hio));
	unsigned char *old = harness_alloc(1 << 20);
	unsigned char *fresh = harness_alloc(1 << 20);
	struct server s;

	start_nbdkit(h, &s, false, NULL);
	harness_fill(old, 1 << 20, 1);
	harness_fill(fresh, 1 << 20, 2);
	for (unsigned round = 0; round < 10; round++) {
		harness_must_open(h, "nbd", s.json);
		harness_freeze(s.pid);
		hio->io = (struct io){.op = IO_WRITE, .length = 65536, .iovcnt = 1};
		hio->iov[0] = (struct iovec){old, 65536};
		harness_submit(h, round % HARNESS_REACTORS, hio);
		harness_turns(h, 3);
		h->session->driver->close(h->session);
		harness_wait(h, &h->closed);
		harness_thaw(s.pid);
		harness_wait(h, &h->fenced);
		harness_must_open(h, "nbd", s.json);
		assert_int_equal(harness_do(h, 0, IO_WRITE, 0, 0, 65536, fresh), 0);
		harness_turns(h, 5);
		assert_int_equal(harness_do(h, 0, IO_READ, 0, 0, 65536, old + 65536), 0);
		assert_memory_equal(old + 65536, fresh, 65536);
		harness_close(h);
	}
	harness_kill(s.pid);
	free(hio);
	free(old);
	free(fresh);
	harness_free(h);
}

static void idle_session_of_a_frozen_server_needs_no_proof(void **state)
{
	struct harness *h = harness_new();
	struct server s;

	start_nbdkit(h, &s, false, NULL);
	harness_must_open(h, "nbd", s.json);
	check_data(h);
	harness_freeze(s.pid);
	harness_close(h);
	harness_kill(s.pid);
	harness_free(h);
}

static void abandon_ends_the_wait_for_a_frozen_server(void **state)
{
	struct harness *h = harness_new();
	struct harness_io *hio = calloc(16, sizeof(*hio));
	unsigned char *a = harness_alloc(16 * 4096);
	struct server s;

	start_nbdkit(h, &s, true, NULL);
	harness_must_open(h, "nbd", s.json);
	harness_freeze(s.pid);
	submit_some(h, hio, 16, a);
	h->session->driver->close(h->session);
	harness_wait(h, &h->closed);
	harness_turns(h, 20);
	assert_false(h->fenced);
	h->session->driver->abandon(h->session);
	harness_wait(h, &h->fenced);
	harness_kill(s.pid);
	free(hio);
	free(a);
	harness_free(h);
}

static void close_during_the_handshake_ends_the_session(void **state)
{
	struct harness *h = harness_new();
	struct server s;

	start_nbdkit(h, &s, false, NULL);
	for (unsigned turns = 0; turns < 10; turns++) {
		harness_begin(h, "nbd", "", "", s.json, 0);
		harness_turns(h, turns);
		harness_close(h);
	}
	harness_kill(s.pid);
	harness_free(h);
}

static void server_that_says_nothing_fails_at_the_time_out(void **state)
{
	struct harness *h = harness_new();
	struct server s;

	start_nbdkit(h, &s, false, NULL);
	harness_freeze(s.pid);
	harness_begin(h, "nbd", "", "", s.json, 20 * NS_PER_MS);
	harness_wait(h, &h->opened);
	assert_int_equal(h->open_error.code, -ETIMEDOUT);
	harness_close(h);
	harness_kill(s.pid);
	harness_free(h);
}

static void unknown_export_is_refused(void **state)
{
	struct harness *h = harness_new();
	struct server s;
	char json[160];

	start_qemu_nbd(h, &s);
	snprintf(json, sizeof(json), "{\"uri\": \"nbd+unix:///nonsense?socket=%s\"}", s.socket);
	assert_true(harness_open(h, "nbd", json) < 0);
	assert_true(h->open_error.message[0] != '\0');
	harness_close(h);
	harness_kill(s.pid);
	harness_free(h);
}

static void good_uri_is_taken_apart(void **state)
{
	struct nbd_uri u;
	struct error err;

	assert_int_equal(nbd_uri_parse("nbd://[::1]:99/a%20b/c", &u, &err), 0);
	assert_string_equal(u.host, "::1");
	assert_string_equal(u.port, "99");
	assert_string_equal(u.export_name, "a b/c");
	assert_int_equal(nbd_uri_parse("nbd://host", &u, &err), 0);
	assert_string_equal(u.port, "10809");
	assert_string_equal(u.export_name, "");
	assert_int_equal(nbd_uri_parse("nbd+unix:///x?socket=/tmp/a%3Fb", &u, &err), 0);
	assert_true(u.is_unix);
	assert_string_equal(u.socket, "/tmp/a?b");
	assert_string_equal(u.export_name, "x");
	assert_int_equal(nbd_uri_parse("nbd+unix://?socket=/s", &u, &err), 0);
}

static void bad_address_is_refused_with_a_hint(void **state)
{
	static const char *const bad[] = {
	    "{}",
	    "{\"uri\": \"http://x\"}",
	    "{\"uri\": \"nbds://x\"}",
	    "{\"uri\": \"nbd://\"}",
	    "{\"uri\": \"nbd://u@h\"}",
	    "{\"uri\": \"nbd://h:0\"}",
	    "{\"uri\": \"nbd://h:65536\"}",
	    "{\"uri\": \"nbd://h:+1\"}",
	    "{\"uri\": \"nbd://h:\"}",
	    "{\"uri\": \"nbd://[::1\"}",
	    "{\"uri\": \"nbd://h/%zz\"}",
	    "{\"uri\": \"nbd://h/%4\"}",
	    "{\"uri\": \"nbd://h/%00\"}",
	    "{\"uri\": \"nbd://h/a?b=c\"}",
	    "{\"uri\": \"nbd://h/a#b\"}",
	    "{\"uri\": \"nbd+unix:///x\"}",
	    "{\"uri\": \"nbd+unix:///x?socket=\"}",
	    "{\"uri\": \"nbd+unix:///x?socket=relative\"}",
	    "{\"uri\": \"nbd+unix://host/x?socket=/s\"}",
	    "{\"uri\": \"nbd://h\", \"connections\": 0}",
	    "{\"uri\": \"nbd://h\", \"connections\": 17}",
	    "{\"uri\": \"nbd://h\", \"connections\": \"4\"}",
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		json_t *json = json_loads(bad[i], 0, NULL);
		struct error err = {0};

		assert_int_equal(lu_driver_nbd.check(json, &err), -EINVAL);
		assert_true(err.message[0] != '\0' && err.hint[0] != '\0');
		json_decref(json);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(data_goes_round_through_nbdkit_over_unix_and_tcp),
	    cmocka_unit_test(data_goes_round_through_qemu_nbd),
	    cmocka_unit_test(one_connection_serves_all_reactors_where_that_is_asked),
	    cmocka_unit_test(vectors_go_out_by_entry_or_through_a_bounce_buffer),
	    cmocka_unit_test(block_status_tells_holes_from_data),
	    cmocka_unit_test(error_of_the_server_is_a_medium_error_not_a_lost_session),
	    cmocka_unit_test(read_only_export_refuses_changes),
	    cmocka_unit_test(nobody_listening_fails_with_a_hint),
	    cmocka_unit_test(name_is_resolved_off_the_reactor),
	    cmocka_unit_test(connection_comes_from_the_bound_address),
	    cmocka_unit_test(killed_server_loses_the_session_and_fences_it),
	    cmocka_unit_test(idle_session_notices_the_death_of_its_server),
	    cmocka_unit_test(close_aborts_at_once_and_is_fenced_only_by_the_server),
	    cmocka_unit_test(write_after_fencing_is_never_overtaken_by_an_older_one),
	    cmocka_unit_test(idle_session_of_a_frozen_server_needs_no_proof),
	    cmocka_unit_test(abandon_ends_the_wait_for_a_frozen_server),
	    cmocka_unit_test(close_during_the_handshake_ends_the_session),
	    cmocka_unit_test(server_that_says_nothing_fails_at_the_time_out),
	    cmocka_unit_test(unknown_export_is_refused),
	    cmocka_unit_test(good_uri_is_taken_apart),
	    cmocka_unit_test(bad_address_is_refused_with_a_hint),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
