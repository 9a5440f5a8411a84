#include "harness.h"

#include <poll.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lu/drivers/iscsi_url.h"

#define SIZE (16u << 20)
#define TARGET "iqn.2026-01.com.example:disks"
#define INITIATOR "iqn.2026-01.com.example:node1"
#define OTHER_INITIATOR "iqn.2026-01.com.example:node2"

/* A target of its own per test, with one LUN over a file of the harness's directory. */
struct target {
	pid_t pid;
	unsigned port;
	char control[16]; /* number of tgtd's control socket */
	char file[96];
	char json[256];
};

static bool tgtadm(const struct target *t, const char *arguments)
{
	char copy[512];
	char *argv[40] = {"tgtadm", "-C", (char *)t->control, "--lld", "iscsi"};
	unsigned n = 5;

	snprintf(copy, sizeof(copy), "%s", arguments);
	for (char *word = strtok(copy, " "); word != NULL; word = strtok(NULL, " ")) {
		argv[n++] = word;
	}
	return harness_run(argv) == 0;
}

static void must_tgtadm(const struct target *t, const char *arguments)
{
	if (!tgtadm(t, arguments)) {
		fail_msg("tgtadm %s", arguments);
	}
}

static void spawn_tgtd(struct target *t)
{
	char portal[64];
	char *argv[] = {"tgtd", "-f", "-C", t->control, "--iscsi", portal, NULL};

	snprintf(portal, sizeof(portal), "portal=127.0.0.1:%u", t->port);
	t->pid = harness_spawn(argv);
	harness_wait_tcp(t->port, t->pid);
	/* It listens before it takes commands. */
	for (unsigned i = 0; i < 1000; i++) {
		if (tgtadm(t, "--op new --mode target --tid 1 -T " TARGET)) {
			return;
		}
		poll(NULL, 0, 10);
	}
	fail_msg("tgtd takes no commands");
}

static void add_lun(const struct target *t)
{
	char text[256];

	snprintf(text, sizeof(text), "--op new --mode logicalunit --tid 1 --lun 1 -b %s", t->file);
	must_tgtadm(t, text);
	must_tgtadm(t, "--op update --mode logicalunit --tid 1 --lun 1 --params "
		       "thin_provisioning=1,vendor_id=SLUICE,scsi_id=TEST1");
}

static void set_address(struct target *t, const char *user)
{
	snprintf(t->json, sizeof(t->json), "{\"url\": \"iscsi://%s127.0.0.1:%u/" TARGET "/1\"}",
	    user, t->port);
}

static void start_target(struct harness *h, struct target *t)
{
	FILE *f;

	*t = (struct target){.port = harness_free_port()};
	snprintf(t->control, sizeof(t->control), "%u", t->port % 32768);
	snprintf(t->file, sizeof(t->file), "%s/disk", h->directory);
	f = fopen(t->file, "we");
	assert_non_null(f);
	assert_int_equal(ftruncate(fileno(f), SIZE), 0);
	fclose(f);
	spawn_tgtd(t);
	add_lun(t);
	must_tgtadm(t, "--op bind --mode target --tid 1 -I ALL");
	set_address(t, "");
}

static void must_open(struct harness *h, const struct target *t)
{
	if (harness_open_as(h, "iscsi", INITIATOR, "", t->json) != 0) {
		fail_msg("%s: %s", t->json, h->open_error.message);
	}
}

static void data_goes_round(void **state)
{
	struct harness *h = harness_new();
	unsigned char *a = harness_alloc(4 << 20);
	unsigned char *b = harness_alloc(4 << 20);
	struct target t;

	start_target(h, &t);
	must_open(h, &t);
	assert_int_equal(h->session->target.size, SIZE);
	assert_memory_equal(h->session->identity.text, "scsi:", 5);
	assert_true(strlen(h->session->identity.text) > 10);
	harness_fill(a, 4 << 20, 1);
	assert_int_equal(harness_do(h, 0, IO_WRITE, 0, 8192, 4 << 20, a), 0);
	assert_int_equal(harness_do(h, 1, IO_READ, 0, 8192, 4 << 20, b), 0);
	assert_memory_equal(a, b, 4 << 20);
	assert_int_equal(harness_do(h, 1, IO_WRITE, IO_FUA, 0, 512, a), 0);
	assert_int_equal(harness_do(h, 0, IO_READ, 0, 0, 512, b), 0);
	assert_memory_equal(a, b, 512);
	assert_int_equal(harness_do(h, 1, IO_FLUSH, 0, 0, 0, NULL), 0);
	harness_close(h);
	harness_kill(t.pid);
	free(a);
	free(b);
	harness_free(h);
}

static void many_requests_at_once_complete_once_each(void **state)
{
	enum { REQUESTS = 256 };
	struct harness *h = harness_new();
	struct harness_io *hio = calloc(REQUESTS, sizeof(*hio));
	unsigned char *a = harness_alloc(REQUESTS * 4096);
	unsigned char *b = harness_alloc(REQUESTS * 4096);
	struct target t;

	start_target(h, &t);
	must_open(h, &t);
	harness_fill(a, REQUESTS * 4096, 1);
	for (unsigned i = 0; i < REQUESTS; i++) {
		hio[i].io = (struct io){
		    .op = IO_WRITE, .offset = (uint64_t)i * 4096, .length = 4096, .iovcnt = 2};
		hio[i].iov[0] = (struct iovec){a + (size_t)i * 4096, 100};
		hio[i].iov[1] = (struct iovec){a + (size_t)i * 4096 + 100, 3996};
		harness_submit(h, i % HARNESS_REACTORS, &hio[i]);
	}
	for (unsigned i = 0; i < REQUESTS; i++) {
		harness_wait(h, &hio[i].done);
		assert_int_equal(hio[i].status, 0);
	}
	assert_int_equal(harness_do(h, 0, IO_READ, 0, 0, REQUESTS * 4096, b), 0);
	assert_memory_equal(a, b, REQUESTS * 4096);
	harness_close(h);
	harness_kill(t.pid);
	free(hio);
	free(a);
	free(b);
	harness_free(h);
}

static void thin_target_unmaps_and_zeroes(void **state)
{
	struct harness *h = harness_new();
	unsigned char *a = harness_alloc(1 << 20);
	unsigned char *zero = harness_alloc(1 << 20);
	struct target t;

	start_target(h, &t);
	must_open(h, &t);
	assert_true(h->session->target.limits.discard_granularity > 0);
	harness_fill(a, 1 << 20, 1);
	assert_int_equal(harness_do(h, 0, IO_WRITE, 0, 0, 1 << 20, a), 0);
	assert_int_equal(harness_do(h, 0, IO_DISCARD, IO_FUA, 0, 65536, NULL), 0);
	assert_int_equal(
	    harness_do(h, 0, IO_WRITE_ZEROES, IO_NO_HOLE, 65536, 65536, NULL), -EOPNOTSUPP);
	if (h->session->target.limits.write_zeroes) {
		assert_int_equal(
		    harness_do(h, 1, IO_WRITE_ZEROES, IO_FUA, 65536, (1 << 20) - 65536, NULL), 0);
		assert_int_equal(harness_do(h, 0, IO_READ, 0, 65536, (1 << 20) - 65536, a), 0);
		assert_memory_equal(a, zero, (1 << 20) - 65536);
	} else {
		assert_int_equal(harness_do(h, 1, IO_WRITE_ZEROES, 0, 0, 65536, NULL), -EOPNOTSUPP);
	}
	harness_close(h);
	harness_kill(t.pid);
	free(a);
	free(zero);
	harness_free(h);
}

static void initiator_name_is_required_and_known_to_the_access_list(void **state)
{
	struct harness *h = harness_new();
	struct target t;

	start_target(h, &t);
	assert_int_equal(harness_open(h, "iscsi", t.json), -EINVAL);
	assert_non_null(strstr(h->open_error.hint, "network ID"));
	must_tgtadm(&t, "--op unbind --mode target --tid 1 -I ALL");
	must_tgtadm(&t, "--op bind --mode target --tid 1 -Q " INITIATOR);
	assert_true(harness_open_as(h, "iscsi", OTHER_INITIATOR, "", t.json) < 0);
	assert_non_null(strstr(h->open_error.hint, "access list"));
	harness_close(h);
	assert_int_equal(harness_open_as(h, "iscsi", INITIATOR, "127.0.0.1", t.json), 0);
	harness_close(h);
	assert_int_equal(
	    harness_open_as(h, "iscsi", INITIATOR, "192.0.2.77", t.json), -EADDRNOTAVAIL);
	harness_kill(t.pid);
	harness_free(h);
}

static void chap_needs_the_right_secret(void **state)
{
	struct harness *h = harness_new();
	struct target t;

	start_target(h, &t);
	must_tgtadm(&t, "--op new --mode account --user alice --password secret12chars");
	must_tgtadm(&t, "--op bind --mode account --tid 1 --user alice");
	assert_true(harness_open_as(h, "iscsi", INITIATOR, "", t.json) < 0);
	harness_close(h);
	set_address(&t, "alice%wrongsecret12@");
	assert_true(harness_open_as(h, "iscsi", INITIATOR, "", t.json) < 0);
	harness_close(h);
	set_address(&t, "alice%secret12chars@");
	must_open(h, &t);
	harness_close(h);
	harness_kill(t.pid);
	harness_free(h);
}

static void missing_lun_and_missing_target_are_refused(void **state)
{
	struct harness *h = harness_new();
	struct target t;
	char json[256];

	start_target(h, &t);
	snprintf(json, sizeof(json), "{\"url\": \"iscsi://127.0.0.1:%u/" TARGET "/7\"}", t.port);
	assert_true(harness_open_as(h, "iscsi", INITIATOR, "", json) < 0);
	harness_close(h);
	snprintf(json, sizeof(json), "{\"url\": \"iscsi://127.0.0.1:%u/iqn.no.such/1\"}", t.port);
	assert_true(harness_open_as(h, "iscsi", INITIATOR, "", json) < 0);
	harness_close(h);
	harness_kill(t.pid);
	assert_true(harness_open_as(h, "iscsi", INITIATOR, "", t.json) < 0);
	harness_close(h);
	harness_free(h);
}

static void submit_some(struct harness *h, struct harness_io *hio, unsigned n, void *buffer)
{
	for (unsigned i = 0; i < n; i++) {
		hio[i].io = (struct io){.op = i % 2 == 0 ? IO_WRITE : IO_READ,
		    .offset = (uint64_t)i * 4096,
		    .length = 4096,
		    .iovcnt = 1};
		hio[i].iov[0] = (struct iovec){(char *)buffer + (size_t)i * 4096, 4096};
		/* Writes and reads on each reactor. */
		harness_submit(h, i / 2 % HARNESS_REACTORS, &hio[i]);
	}
	harness_turns(h, 20);
}

static void dead_target_loses_the_session_and_its_successor_fences_it(void **state)
{
	struct harness *h = harness_new();
	struct harness_io *hio = calloc(16, sizeof(*hio));
	unsigned char *a = harness_alloc(16 * 4096);
	struct target t;

	start_target(h, &t);
	must_open(h, &t);
	harness_freeze(t.pid);
	submit_some(h, hio, 16, a);
	assert_false(h->lost);
	harness_kill(t.pid);
	harness_wait(h, &h->lost);
	harness_turns(h, 5);
	for (unsigned i = 0; i < 16; i++) {
		assert_true(hio[i].done);
		assert_true(io_status_is_transport(hio[i].status));
	}
	h->session->driver->close(h->session);
	harness_wait(h, &h->closed);
	harness_turns(h, 50);
	assert_false(h->fenced);
	spawn_tgtd(&t);
	add_lun(&t);
	must_tgtadm(&t, "--op bind --mode target --tid 1 -I ALL");
	harness_wait(h, &h->fenced);
	harness_kill(t.pid);
	free(hio);
	free(a);
	harness_free(h);
}

static void idle_session_notices_the_death_of_its_target(void **state)
{
	struct harness *h = harness_new();
	struct target t;

	start_target(h, &t);
	must_open(h, &t);
	harness_kill(t.pid);
	harness_wait(h, &h->lost);
	harness_close(h);
	harness_free(h);
}

static void frozen_target_fences_only_after_it_thaws(void **state)
{
	struct harness *h = harness_new();
	struct harness_io *hio = calloc(16, sizeof(*hio));
	unsigned char *a = harness_alloc(16 * 4096);
	struct target t;

	start_target(h, &t);
	must_open(h, &t);
	harness_freeze(t.pid);
	submit_some(h, hio, 16, a);
	h->session->driver->close(h->session);
	harness_wait(h, &h->closed);
	for (unsigned i = 0; i < 16; i++) {
		assert_int_equal(hio[i].status, -ECONNABORTED);
	}
	harness_turns(h, 50);
	assert_false(h->fenced);
	harness_thaw(t.pid);
	harness_wait(h, &h->fenced);
	must_open(h, &t);
	assert_int_equal(harness_do(h, 0, IO_READ, 0, 0, 4096, a), 0);
	harness_close(h);
	harness_kill(t.pid);
	free(hio);
	free(a);
	harness_free(h);
}

static void abandon_ends_the_wait_for_a_frozen_target(void **state)
{
	struct harness *h = harness_new();
	struct harness_io *hio = calloc(16, sizeof(*hio));
	unsigned char *a = harness_alloc(16 * 4096);
	struct target t;

	start_target(h, &t);
	must_open(h, &t);
	harness_freeze(t.pid);
	submit_some(h, hio, 16, a);
	h->session->driver->close(h->session);
	harness_wait(h, &h->closed);
	harness_turns(h, 50);
	assert_false(h->fenced);
	h->session->driver->abandon(h->session);
	harness_wait(h, &h->fenced);
	harness_kill(t.pid);
	free(hio);
	free(a);
	harness_free(h);
}

static void close_while_logging_in_ends_the_session(void **state)
{
	struct harness *h = harness_new();
	struct target t;

	start_target(h, &t);
	for (unsigned turns = 0; turns < 20; turns++) {
		harness_begin(h, "iscsi", INITIATOR, "", t.json, 0);
		harness_turns(h, turns);
		harness_close(h);
	}
	harness_kill(t.pid);
	harness_free(h);
}

static void secret_is_not_shown(void **state)
{
	json_t *json = json_loads(
	    "{\"url\": \"iscsi://alice%secret@[::1]/iqn.2026-01.com.example:a/3\"}", 0, NULL);
	char text[256];

	lu_driver_iscsi.describe(json, text, sizeof(text));
	assert_string_equal(text, "iscsi://alice@[::1]:3260/iqn.2026-01.com.example:a/3");
	json_decref(json);
}

static void bad_address_is_refused_with_a_hint_and_without_its_secret(void **state)
{
	static const char *const bad[] = {
	    "{}",
	    "{\"url\": 7}",
	    "{\"url\": \"nbd://h\"}",
	    "{\"url\": \"iscsi://h\"}",
	    "{\"url\": \"iscsi://h/iqn.x\"}",
	    "{\"url\": \"iscsi://h/iqn.x/\"}",
	    "{\"url\": \"iscsi://h/iqn.x/256\"}",
	    "{\"url\": \"iscsi://h/iqn.x/-1\"}",
	    "{\"url\": \"iscsi://h/iqn.x/1a\"}",
	    "{\"url\": \"iscsi://h//1\"}",
	    "{\"url\": \"iscsi:///iqn.x/1\"}",
	    "{\"url\": \"iscsi://h:0/iqn.x/1\"}",
	    "{\"url\": \"iscsi://h:99999/iqn.x/1\"}",
	    "{\"url\": \"iscsi://[::1/iqn.x/1\"}",
	    "{\"url\": \"iscsi://alice@h/iqn.x/1\"}",
	    "{\"url\": \"iscsi://alice%@h/iqn.x/1\"}",
	    "{\"url\": \"iscsi://alice%topsecret@h/iqn.x/1?a=b\"}",
	    "{\"url\": \"iscsi://h/iqn.x/1\", \"lun\": 1}",
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		json_t *json = json_loads(bad[i], 0, NULL);
		struct error err = {0};

		assert_int_equal(lu_driver_iscsi.check(json, &err), -EINVAL);
		assert_true(err.message[0] != '\0' && err.hint[0] != '\0');
		assert_null(strstr(err.message, "topsecret"));
		json_decref(json);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(data_goes_round),
	    cmocka_unit_test(many_requests_at_once_complete_once_each),
	    cmocka_unit_test(thin_target_unmaps_and_zeroes),
	    cmocka_unit_test(initiator_name_is_required_and_known_to_the_access_list),
	    cmocka_unit_test(chap_needs_the_right_secret),
	    cmocka_unit_test(missing_lun_and_missing_target_are_refused),
	    cmocka_unit_test(dead_target_loses_the_session_and_its_successor_fences_it),
	    cmocka_unit_test(idle_session_notices_the_death_of_its_target),
	    cmocka_unit_test(frozen_target_fences_only_after_it_thaws),
	    cmocka_unit_test(abandon_ends_the_wait_for_a_frozen_target),
	    cmocka_unit_test(close_while_logging_in_ends_the_session),
	    cmocka_unit_test(secret_is_not_shown),
	    cmocka_unit_test(bad_address_is_refused_with_a_hint_and_without_its_secret),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
