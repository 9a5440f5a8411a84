/* mem, null, the table of drivers, and sessions under real threads. */
#include "harness.h"

#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>

#include "reactor/group.h"

static void memory_holds_data_for_all_reactors_and_discard_clears_it(void **state)
{
	struct harness *h = harness_new();
	unsigned char *a = harness_alloc(65536);
	unsigned char *b = harness_alloc(65536);

	harness_must_open(h, "mem", "{\"size\": 1048576}");
	assert_int_equal(h->session->target.size, 1048576);
	harness_fill(a, 65536, 1);
	assert_int_equal(harness_do(h, 0, IO_WRITE, 0, 512, 65536, a), 0);
	assert_int_equal(harness_do(h, 1, IO_READ, 0, 512, 65536, b), 0);
	assert_memory_equal(a, b, 65536);
	assert_int_equal(harness_do(h, 1, IO_WRITE_ZEROES, 0, 1024, 32768, NULL), 0);
	assert_int_equal(harness_do(h, 1, IO_WRITE_ZEROES, IO_NO_HOLE, 40960, 512, NULL), 0);
	memset(a + 512, 0, 32768);
	memset(a + 40960 - 512, 0, 512);
	assert_int_equal(harness_do(h, 0, IO_READ, 0, 512, 65536, b), 0);
	assert_memory_equal(a, b, 65536);
	assert_int_equal(harness_do(h, 0, IO_DISCARD, 0, 0, 1048576, NULL), 0);
	assert_int_equal(harness_do(h, 0, IO_FLUSH, 0, 0, 0, NULL), 0);
	assert_int_equal(harness_do(h, 0, IO_READ, 0, 512, 65536, b), 0);
	memset(a, 0, 65536);
	assert_memory_equal(a, b, 65536);
	harness_close(h);
	free(a);
	free(b);
	harness_free(h);
}

static void null_completes_everything_and_touches_nothing(void **state)
{
	struct harness *h = harness_new();
	unsigned char *a = harness_alloc(4096);
	unsigned char *b = harness_alloc(4096);

	harness_must_open(h, "null", "{\"size\": 1099511627776}");
	harness_fill(a, 4096, 1);
	memcpy(b, a, 4096);
	assert_int_equal(harness_do(h, 1, IO_READ, 0, 1ull << 39, 4096, a), 0);
	assert_memory_equal(a, b, 4096);
	assert_int_equal(harness_do(h, 1, IO_WRITE, IO_FUA, 0, 4096, a), 0);
	assert_int_equal(harness_do(h, 0, IO_READ, 0, 1ull << 40, 4096, a), -EINVAL);
	assert_int_equal(harness_do(h, 0, IO_READ, 0, 1ull << 40, 0, NULL), 0);
	harness_close(h);
	free(a);
	free(b);
	harness_free(h);
}

static void size_is_required_and_in_sectors(void **state)
{
	static const char *const bad[] = {"{}", "{\"size\": 0}", "{\"size\": 100}",
	    "{\"size\": \"1G\"}", "{\"size\": 512, \"path\": \"/x\"}", "7"};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		json_t *json = json_loads(bad[i], JSON_DECODE_ANY, NULL);
		struct error err = {0};

		assert_int_equal(lu_driver_mem.check(json, &err), -EINVAL);
		assert_int_equal(lu_driver_null.check(json, &err), -EINVAL);
		assert_true(err.message[0] != '\0' && err.hint[0] != '\0');
		json_decref(json);
	}
}

static void every_driver_is_found_by_its_kind(void **state)
{
	unsigned n = 0;

	while (lu_driver_at(n) != NULL) {
		const struct lu_driver *d = lu_driver_at(n);

		assert_ptr_equal(lu_driver_find(d->kind), d);
		assert_non_null(d->check);
		assert_non_null(d->describe);
		assert_non_null(d->open);
		assert_non_null(d->close);
		assert_non_null(d->abandon);
		n++;
	}
	assert_int_equal(n, 6);
	assert_null(lu_driver_find("nonsense"));
}

/* -- real threads: what the thread sanitizer is for */

enum { THREADS = 3, LOAD = 64, ROUNDS = 200 };

struct load {
	struct harness_io hio[LOAD];
	unsigned char *memory;
	unsigned rounds;
	struct io_channel *channel;
	atomic_uint *running;
};

struct threaded {
	struct reactor_group *group;
	struct lu_session *session;
	bool opened;
	bool closed;
	bool fenced;
	int error;
};

static void threaded_opened(struct lu_session *s, const struct error *err)
{
	struct threaded *t = s->owner;

	t->opened = true;
	t->error = err == NULL ? 0 : err->code;
}

static void threaded_lost(struct lu_session *s, const struct error *why)
{
	fail_msg("%s", why->message);
}

static void threaded_closed(struct lu_session *s)
{
	((struct threaded *)s->owner)->closed = true;
}

static void threaded_fenced(struct lu_session *s)
{
	((struct threaded *)s->owner)->fenced = true;
}

static const struct lu_session_events threaded_events = {
    threaded_opened, threaded_lost, threaded_closed, threaded_fenced};

static void wait_for(struct threaded *t, const bool *flag)
{
	uint64_t end = reactor_clock_ns() + 60 * NS_PER_S;

	while (!*flag && reactor_clock_ns() < end) {
		reactor_step(t->group->control, 5);
	}
	assert_true(*flag);
}

static void next_request(struct load *l, struct harness_io *hio);

static void load_done(struct io *io, void *ctx)
{
	struct load *l = ctx;

	/* Closing sends back what comes too late. */
	sluice_assert(io->status == 0 || io->status == -ECONNABORTED);
	next_request(l, container_of(io, struct harness_io, io));
}

static void next_request(struct load *l, struct harness_io *hio)
{
	if (l->rounds == 0) {
		atomic_fetch_sub(l->running, 1);
		return;
	}
	l->rounds--;
	hio->io.op = l->rounds % 2 == 0 ? IO_WRITE : IO_READ;
	hio->io.depth = 0;
	io_push(&hio->io, load_done, l);
	io_submit(l->channel, &hio->io);
}

static void load_start(struct reactor_msg *msg)
{
	struct load *l = container_of(msg, struct load, hio[0].msg);

	for (unsigned i = 0; i < LOAD; i++) {
		next_request(l, &l->hio[i]);
	}
}

static void prepare_load(struct load *l, unsigned index, atomic_uint *running)
{
	l->memory = harness_alloc(LOAD * 4096);
	l->rounds = ROUNDS * LOAD / 8;
	l->running = running;
	for (unsigned i = 0; i < LOAD; i++) {
		struct harness_io *hio = &l->hio[i];

		hio->iov[0] = (struct iovec){l->memory + (size_t)i * 4096, 4096};
		hio->io = (struct io){.offset = ((uint64_t)index * LOAD + i) * 4096,
		    .length = 4096,
		    .iov = hio->iov,
		    .iovcnt = 1};
	}
}

static void run_load(const char *kind, const char *json)
{
	struct reactor_group_options options = {.nr_data = THREADS};
	json_t *address = json_loads(json, 0, NULL);
	atomic_uint running = THREADS * LOAD;
	struct load *loads = calloc(THREADS, sizeof(*loads));
	struct threaded t = {0};
	struct error err;
	struct lu_session_params params = {.address = address,
	    .network_id = "",
	    .bind = "",
	    .events = &threaded_events,
	    .owner = &t};

	assert_int_equal(reactor_group_new(&options, &t.group, &err), 0);
	reactor_step(t.group->control, 0);
	params.group = t.group;
	assert_int_equal(lu_driver_find(kind)->open(&params, &t.session, &err), 0);
	wait_for(&t, &t.opened);
	assert_int_equal(t.error, 0);
	for (unsigned i = 0; i < THREADS; i++) {
		prepare_load(&loads[i], i, &running);
		loads[i].channel = t.session->target.channels[i];
		reactor_send(t.group->data[i], &loads[i].hio[0].msg, load_start);
	}
	/* Closed in the middle of it: every request ends, early or late. */
	while (atomic_load(&running) == THREADS * LOAD) {
		reactor_step(t.group->control, 1);
	}
	t.session->driver->close(t.session);
	wait_for(&t, &t.closed);
	while (atomic_load(&running) > 0) {
		reactor_step(t.group->control, 1);
	}
	wait_for(&t, &t.fenced);
	reactor_group_free(t.group);
	for (unsigned i = 0; i < THREADS; i++) {
		free(loads[i].memory);
	}
	free(loads);
	json_decref(address);
}

static void sessions_close_under_load_from_several_threads(void **state)
{
	struct harness *h = harness_new();
	char json[256];
	char socket[96];
	/* One thread: with more, some versions end by an assertion of their own when a client goes
	 * in the middle of a write. */
	char *argv[] = {"nbdkit", "-f", "-t", "1", "-U", socket, "memory", "16M", NULL};
	pid_t pid;

	run_load("mem", "{\"size\": 16777216}");
	snprintf(json, sizeof(json), "{\"path\": \"%s/disk\", \"size\": 16777216}", h->directory);
	run_load("file", json);
	snprintf(socket, sizeof(socket), "%s/nbd.sock", h->directory);
	pid = harness_spawn(argv);
	harness_wait_unix(socket, pid);
	for (unsigned connections = 1; connections <= THREADS; connections++) {
		snprintf(json, sizeof(json),
		    "{\"uri\": \"nbd+unix:///?socket=%s\", \"connections\": %u}", socket,
		    connections);
		run_load("nbd", json);
	}
	harness_kill(pid);
	harness_free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(memory_holds_data_for_all_reactors_and_discard_clears_it),
	    cmocka_unit_test(null_completes_everything_and_touches_nothing),
	    cmocka_unit_test(size_is_required_and_in_sectors),
	    cmocka_unit_test(every_driver_is_found_by_its_kind),
	    cmocka_unit_test(sessions_close_under_load_from_several_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
