/* The real server and the real client library, with a control plane that does what the test says. */
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "api/api.h"
#include "fake_ctl.h"
#include "sluice.h"

struct world {
	struct reactor *control;
	struct ctl *ctl;
	struct api *api;
	char dir[64];
	char path[96]; /* of the socket */
	char unix_address[128];
	unsigned port;
	struct sluice_connection *client;
};

/* -- running things on the control loop */

struct errand {
	struct reactor_msg msg;
	void (*fn)(struct world *w, void *arg);
	struct world *world;
	void *arg;
	sem_t done;
};

static void errand_run(struct reactor_msg *msg)
{
	struct errand *e = container_of(msg, struct errand, msg);

	e->fn(e->world, e->arg);
	sem_post(&e->done);
}

static void on_control(struct world *w, void (*fn)(struct world *w, void *arg), void *arg)
{
	struct errand e = {.fn = fn, .world = w, .arg = arg};

	sem_init(&e.done, 0, 0);
	reactor_send(w->control, &e.msg, errand_run);
	while (sem_wait(&e.done) != 0) {
	}
	sem_destroy(&e.done);
}

static void nothing(struct world *w, void *arg)
{
}

static void start(struct world *w, void *arg)
{
	const char *addresses[] = {w->unix_address, "tcp:127.0.0.1:0"};

	*(int *)arg = api_start(w->control, w->ctl, addresses, 2, &w->api, NULL);
}

static void stop(struct world *w, void *arg)
{
	api_stop(w->api);
	w->api = NULL;
}

static void release(struct world *w, void *arg)
{
	fake_ctl_release(w->ctl);
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	int rc = -1;

	strcpy(w->dir, "/tmp/sluice-api-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	snprintf(w->path, sizeof(w->path), "%s/api.sock", w->dir);
	snprintf(w->unix_address, sizeof(w->unix_address), "unix:%s", w->path);
	w->ctl = fake_ctl_new();
	assert_int_equal(
	    reactor_new(&(struct reactor_options){.name = "control", .index = REACTOR_CONTROL},
		&w->control, NULL),
	    0);
	assert_int_equal(reactor_start(w->control, NULL), 0);
	on_control(w, start, &rc);
	assert_int_equal(rc, 0);
	assert_string_equal(api_address(w->api, 0), w->unix_address);
	assert_int_equal(sscanf(api_address(w->api, 1), "tcp:127.0.0.1:%u", &w->port), 1);
	assert_int_equal(sluice_connect(w->unix_address, &w->client, NULL), 0);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	sluice_close(w->client);
	on_control(w, release, NULL);
	on_control(w, stop, NULL);
	on_control(w, nothing, NULL);
	reactor_join(w->control);
	reactor_free(w->control);
	assert_int_equal(access(w->path, F_OK), -1);
	rmdir(w->dir);
	fake_ctl_free(w->ctl);
	free(w);
	return 0;
}

/* -- raw connections */

static int raw_connect(struct world *w)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(sun.sun_path, w->path);
	assert_int_equal(connect(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	return fd;
}

static int raw_connect_tcp(struct world *w)
{
	struct sockaddr_in sin = {.sin_family = AF_INET,
	    .sin_port = htons((uint16_t)w->port),
	    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	return fd;
}

static void raw_send(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Reads until `until` has come, or the end; in buf. */
static void raw_read(int fd, const char *until, char *buf, size_t len)
{
	size_t n = 0;

	buf[0] = '\0';
	while (strstr(buf, until) == NULL && n + 1 < len) {
		ssize_t got = recv(fd, buf + n, len - n - 1, 0);

		if (got <= 0) {
			return;
		}
		n += (size_t)got;
		buf[n] = '\0';
	}
}

/* -- requests */

static void call_reaches_the_control_plane_with_its_parameters(void **state)
{
	struct world *w = *state;
	struct sluice_place on = {.lu = "disk", .offset = 4096};
	char *params;

	assert_int_equal(sluice_volume_create(w->client, "vol0", 1 << 20, &on, 1, NULL, NULL), 0);
	assert_int_equal(fake_ctl_last(w->ctl, &params), CTL_VOLUME_CREATE);
	assert_string_equal(params,
	    "{\"name\":\"vol0\",\"on\":[{\"lu\":\"disk\",\"offset\":4096}],\"size\":1048576}");
	free(params);
}

static void typed_answer_is_read(void **state)
{
	struct world *w = *state;
	struct sluice_volume *volumes;
	struct sluice_change change;
	size_t count;

	fake_ctl_say(w->ctl,
	    "{\"volumes\":[{\"name\":\"a\",\"size\":512,\"active\":[{\"lu\":\"l\",\"via\":\"if1\"}]"
	    ","
	    "\"change\":null},{\"name\":\"b\",\"size\":1024,\"active\":[],\"change\":7}]}",
	    0);
	assert_int_equal(sluice_volume_list(w->client, &volumes, &count, NULL), 0);
	assert_int_equal(count, 2);
	assert_string_equal(volumes[0].active_via, "if1");
	assert_int_equal(volumes[0].change, 0);
	assert_int_equal(volumes[1].size, 1024);
	assert_int_equal(volumes[1].change, 7);
	sluice_free(volumes);

	fake_ctl_say(w->ctl, "{\"id\":3,\"state\":\"rolled-back\",\"held_us\":3100}", 0);
	assert_int_equal(
	    sluice_volume_switch_path(w->client, "a", "if1", "if2", NULL, &change, NULL), 0);
	assert_int_equal(change.id, 3);
	assert_string_equal(change.state, "rolled-back");
	assert_int_equal(change.held_us, 3100);
}

static void refusal_carries_code_status_words_and_hint(void **state)
{
	static const struct {
		int code;
		int status;
	} cases[] = {{EINVAL, 400}, {EACCES, 403}, {EPERM, 403}, {ENOENT, 404}, {EEXIST, 409},
	    {EBUSY, 409}, {EALREADY, 409}, {EOPNOTSUPP, 501}, {ENOSPC, 507}, {ETIMEDOUT, 504},
	    {EIO, 500}};
	struct world *w = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct sluice_error error = {0};

		fake_ctl_say(w->ctl, "", cases[i].code);
		assert_int_equal(sluice_call(w->client, "GET", "/v1/status", NULL, NULL, &error),
		    -cases[i].code);
		assert_int_equal(error.status, cases[i].status);
		assert_string_equal(error.message, "the fake refuses");
		assert_string_equal(error.hint, "ask it something else");
	}
}

static void unknown_path_and_method_are_told_apart(void **state)
{
	struct world *w = *state;
	struct sluice_error error = {0};
	char answer[2048];
	int fd = raw_connect(w);

	assert_int_equal(
	    sluice_call(w->client, "GET", "/v1/nonsense", NULL, NULL, &error), -ENOENT);
	assert_int_equal(error.status, 404);
	raw_send(fd, "DELETE /v1/lus HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
	raw_read(fd, "\r\n\r\n", answer, sizeof(answer));
	assert_non_null(strstr(answer, "405"));
	assert_non_null(strstr(answer, "Allow: GET, POST"));
	close(fd);
}

static void wrong_body_is_refused_before_the_control_plane(void **state)
{
	struct world *w = *state;
	struct sluice_error error = {0};
	char *params;

	assert_int_equal(sluice_call(w->client, "GET", "/v1/nodes", NULL, NULL, NULL), 0);
	assert_int_equal(
	    sluice_call(w->client, "POST", "/v1/clients", "{\"nmae\":1}", NULL, &error), -EINVAL);
	assert_non_null(strstr(error.message, "nmae"));
	assert_int_equal(fake_ctl_last(w->ctl, &params), CTL_NODE_LIST);
	free(params);
}

static void body_beyond_the_bound_is_refused(void **state)
{
	struct world *w = *state;
	struct sluice_error error = {0};
	size_t len = (1 << 20) + 1;
	char *body = malloc(len + 1);

	memset(body, ' ', len);
	body[len] = '\0';
	assert_int_equal(sluice_call(w->client, "POST", "/v1/clients", body, NULL, &error), -E2BIG);
	assert_int_equal(error.status, 413);
	/* Much more of it, and the connection is closed. */
	free(body);
	len = 8 << 20;
	body = malloc(len + 1);
	memset(body, ' ', len);
	body[len] = '\0';
	assert_true(sluice_call(w->client, "POST", "/v1/clients", body, NULL, NULL) < 0);
	free(body);
	assert_int_equal(sluice_health(w->client, NULL), 0);
}

static void metrics_are_plain_text(void **state)
{
	struct world *w = *state;
	char *text;

	fake_ctl_say(w->ctl, "\"sluice_up 1\\n\"", 0);
	assert_int_equal(sluice_call(w->client, "GET", "/metrics", NULL, &text, NULL), 0);
	assert_string_equal(text, "sluice_up 1\n");
	sluice_free(text);
}

struct caller {
	struct world *world;
	pthread_t thread;
	int rc;
};

static void *caller_run(void *arg)
{
	struct caller *c = arg;
	struct sluice_connection *client;

	c->rc = sluice_connect(c->world->unix_address, &client, NULL);
	if (c->rc == 0) {
		c->rc = sluice_call(client, "GET", "/v1/status", NULL, NULL, NULL);
		sluice_close(client);
	}
	return NULL;
}

static void answer_that_takes_its_time_holds_up_nobody(void **state)
{
	struct world *w = *state;
	struct caller c = {.world = w, .rc = 1};
	struct sluice_error error;

	fake_ctl_hold(w->ctl);
	pthread_create(&c.thread, NULL, caller_run, &c);
	fake_ctl_wait(w->ctl, 1);
	/* Answered without the control plane, while the other one waits. */
	assert_int_equal(
	    sluice_call(w->client, "GET", "/v1/nonsense", NULL, NULL, &error), -ENOENT);
	on_control(w, release, NULL);
	pthread_join(c.thread, NULL);
	assert_int_equal(c.rc, 0);
}

static void stop_answers_what_is_still_open(void **state)
{
	struct world *w = *state;
	struct caller c = {.world = w, .rc = 1};

	fake_ctl_hold(w->ctl);
	pthread_create(&c.thread, NULL, caller_run, &c);
	fake_ctl_wait(w->ctl, 1);
	on_control(w, stop, NULL);
	pthread_join(c.thread, NULL);
	/* The answer is on its way when the connection is closed: either may be seen. */
	assert_true(c.rc == -ESHUTDOWN || c.rc == -ECONNRESET);
}

static void client_that_goes_away_hurts_nobody(void **state)
{
	struct world *w = *state;
	int fd = raw_connect(w);
	int half = raw_connect(w);

	fake_ctl_hold(w->ctl);
	raw_send(fd, "GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n");
	raw_send(half, "POST /v1/clients HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{");
	fake_ctl_wait(w->ctl, 1);
	close(fd);
	close(half);
	on_control(w, release, NULL);
	assert_int_equal(sluice_health(w->client, NULL), 0);
}

static void nonsense_on_the_socket_hurts_nobody(void **state)
{
	static const char *const nonsense[] = {"\r\n\r\n\r\n", "GET\r\n\r\n",
	    "\x16\x03\x01\x02\x01\x01\xfe", "GET /v1/lus/%zz%00 HTTP/1.1\r\nHost: x\r\n\r\n",
	    "POST /v1/lus HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
	    "POST /v1/lus HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n"};
	struct world *w = *state;

	for (size_t i = 0; i < ARRAY_SIZE(nonsense); i++) {
		int fd = raw_connect(w);

		raw_send(fd, nonsense[i]);
		close(fd);
	}
	assert_int_equal(sluice_health(w->client, NULL), 0);
}

/* -- listeners */

static void tcp_serves_loopback_but_no_page_from_elsewhere(void **state)
{
	static const struct {
		const char *headers;
		const char *status;
	} cases[] = {
	    {"Host: 127.0.0.1\r\n", " 200 "},
	    {"Host: localhost:80\r\nOrigin: http://localhost:80\r\n", " 200 "},
	    {"Host: rebound.example\r\n", " 403 "},
	    {"Host: localhost.example\r\n", " 403 "},
	    {"Host: 127.0.0.1\r\nOrigin: http://page.example\r\n", " 403 "},
	    {"Host: 127.0.0.1\r\nOrigin: null\r\n", " 403 "},
	};
	struct world *w = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char request[256];
		char answer[2048];
		int fd = raw_connect_tcp(w);

		snprintf(request, sizeof(request),
		    "GET /v1/health HTTP/1.1\r\n%sConnection: close\r\n\r\n", cases[i].headers);
		raw_send(fd, request);
		raw_read(fd, "\r\n\r\n", answer, sizeof(answer));
		assert_non_null(strstr(answer, cases[i].status));
		close(fd);
	}
}

struct attempt {
	const char *address;
	struct api *api;
	int rc;
};

static void try_start(struct world *w, void *arg)
{
	struct attempt *a = arg;

	a->rc = api_start(w->control, w->ctl, &a->address, 1, &a->api, NULL);
}

static void end_attempt(struct world *w, void *arg)
{
	api_stop(((struct attempt *)arg)->api);
}

static void address_that_cannot_be_served_is_refused(void **state)
{
	static const struct {
		const char *address;
		int code;
	} cases[] = {{"tcp:0.0.0.0:0", -EACCES}, {"tcp:[::]:0", -EACCES},
	    {"tcp:192.0.2.1:80", -EACCES}, {"tcp:127.0.0.1", -EINVAL}, {"tcp:", -EINVAL},
	    {"unix:relative", -EINVAL}, {"unix:", -EINVAL}, {"nonsense", -EINVAL},
	    {"unix:/proc", -EEXIST}};
	struct world *w = *state;
	struct attempt live = {.address = w->unix_address};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct attempt a = {.address = cases[i].address};

		on_control(w, try_start, &a);
		assert_int_equal(a.rc, cases[i].code);
	}
	on_control(w, try_start, &live);
	assert_int_equal(live.rc, -EADDRINUSE);
	assert_int_equal(sluice_health(w->client, NULL), 0);
}

static void stale_socket_is_replaced_and_mode_is_0660(void **state)
{
	struct world *w = *state;
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	char address[128];
	struct attempt a = {.address = address};
	struct stat st;
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/stale", w->dir);
	snprintf(address, sizeof(address), "unix:%s", sun.sun_path);
	assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	close(fd);
	on_control(w, try_start, &a);
	assert_int_equal(a.rc, 0);
	assert_int_equal(stat(sun.sun_path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0660);
	on_control(w, end_attempt, &a);
	on_control(w, nothing, NULL);
}

/* -- events */

struct burst {
	unsigned count;
	const char *type;
	uint64_t forget;
	size_t pad; /* length of the message */
};

static void emit(struct world *w, void *arg)
{
	const struct burst *b = arg;
	char *message = malloc(b->pad + 1);

	memset(message, 'x', b->pad);
	message[b->pad] = '\0';
	for (unsigned i = 0; i < b->count; i++) {
		fake_ctl_emit(w->ctl, b->type, message);
	}
	if (b->forget > 0) {
		fake_ctl_forget(w->ctl, b->forget);
	}
	free(message);
}

struct watching {
	struct world *world;
	struct burst *on_open; /* emitted once we listen */
	uint64_t first;
	uint64_t last;
	unsigned seen;
	unsigned lost;
	unsigned enough;
};

static void on_opened(void *context)
{
	struct watching *watching = context;

	if (watching->on_open != NULL) {
		on_control(watching->world, emit, watching->on_open);
	}
}

static int on_event(void *context, const struct sluice_event *event)
{
	struct watching *watching = context;

	if (strcmp(event->type, "lost") == 0) {
		watching->lost++;
		return 0;
	}
	/* In order, none twice. */
	assert_true(event->seq > watching->last);
	watching->first = watching->first == 0 ? event->seq : watching->first;
	watching->last = event->seq;
	return ++watching->seen == watching->enough ? 1 : 0;
}

static void watcher_sees_what_is_kept_then_what_is_new(void **state)
{
	struct world *w = *state;
	struct burst kept = {.count = 5, .type = "kept"};
	struct burst live = {.count = 3, .type = "live"};
	struct watching watching = {.world = w, .on_open = &live, .enough = 6};

	on_control(w, emit, &kept);
	assert_int_equal(sluice_watch(w->client, 2, NULL, on_event, on_opened, &watching, NULL), 1);
	assert_int_equal(watching.first, 3);
	assert_int_equal(watching.last, 8);
	assert_int_equal(watching.lost, 0);
}

static void watcher_of_new_events_sees_no_old_ones(void **state)
{
	struct world *w = *state;
	struct burst kept = {.count = 5, .type = "kept"};
	struct burst live = {.count = 2, .type = "live"};
	struct watching watching = {.world = w, .on_open = &live, .enough = 2};

	on_control(w, emit, &kept);
	assert_int_equal(
	    sluice_watch(w->client, SLUICE_NEW_EVENTS, NULL, on_event, on_opened, &watching, NULL),
	    1);
	assert_int_equal(watching.first, 6);
}

static void watcher_of_a_type_sees_what_is_below_it(void **state)
{
	struct world *w = *state;
	struct burst up = {.count = 1, .type = "path.up"};
	struct burst other = {.count = 3, .type = "pathology"};
	struct watching watching = {.world = w, .on_open = NULL, .enough = 2};

	on_control(w, emit, &up);
	on_control(w, emit, &other);
	on_control(w, emit, &up);
	assert_int_equal(
	    sluice_watch(w->client, 0, "path", on_event, on_opened, &watching, NULL), 1);
	assert_int_equal(watching.first, 1);
	assert_int_equal(watching.last, 5);
}

static void watcher_is_told_when_older_events_are_gone(void **state)
{
	struct world *w = *state;
	struct burst kept = {.count = 9, .type = "kept", .forget = 4};
	struct watching watching = {.world = w, .enough = 5};

	on_control(w, emit, &kept);
	assert_int_equal(sluice_watch(w->client, 1, NULL, on_event, on_opened, &watching, NULL), 1);
	assert_int_equal(watching.first, 5);
	assert_int_equal(watching.lost, 1);
}

/* Far more than the queue of a watcher holds, while it does not read at all. */
static void watcher_that_falls_behind_loses_nothing_that_is_kept(void **state)
{
	struct world *w = *state;
	struct burst many = {.count = 4000, .type = "many", .pad = 1000};
	struct watching watching = {.world = w, .on_open = &many, .enough = 4000};

	assert_int_equal(
	    sluice_watch(w->client, SLUICE_NEW_EVENTS, NULL, on_event, on_opened, &watching, NULL),
	    1);
	assert_int_equal(watching.first, 1);
	assert_int_equal(watching.last, 4000);
	assert_int_equal(watching.lost, 0);
}

static void watcher_that_falls_behind_what_is_kept_is_told(void **state)
{
	struct world *w = *state;
	struct burst many = {.count = 4000, .type = "many", .pad = 1000, .forget = 3990};
	struct watching watching = {.world = w, .on_open = &many, .enough = UINT32_MAX};
	struct burst last = {.count = 1, .type = "last"};
	char buf[512];
	int fd = raw_connect(w);

	/* One that never reads stays bounded, and does not keep the API from ending. */
	raw_send(fd, "GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n");
	raw_read(fd, ": sluice events", buf, sizeof(buf));
	on_control(w, emit, &many);
	watching.enough = 11;
	watching.on_open = &last;
	assert_int_equal(sluice_watch(w->client, 5, NULL, on_event, on_opened, &watching, NULL), 1);
	assert_int_equal(watching.lost, 1);
	assert_int_equal(watching.first, 3991);
	close(fd);
}

static void last_event_id_resumes(void **state)
{
	struct world *w = *state;
	struct burst kept = {.count = 3, .type = "kept"};
	char answer[4096];
	int fd = raw_connect(w);

	on_control(w, emit, &kept);
	raw_send(fd, "GET /v1/events?since=0 HTTP/1.1\r\nHost: x\r\nLast-Event-ID: 2\r\n\r\n");
	raw_read(fd, "\"seq\":3", answer, sizeof(answer));
	assert_non_null(strstr(answer, "id: 3\n"));
	assert_null(strstr(answer, "id: 2\n"));
	assert_non_null(strstr(answer, "text/event-stream"));
	close(fd);
}

static void streams_are_bounded(void **state)
{
	struct world *w = *state;
	int fds[API_WATCHERS_MAX];
	char answer[2048];
	int extra;

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = raw_connect(w);
		raw_send(fds[i], "GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n");
		raw_read(fds[i], ": sluice events", answer, sizeof(answer));
		assert_non_null(strstr(answer, " 200 "));
	}
	extra = raw_connect(w);
	raw_send(extra, "GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n");
	raw_read(extra, "}}", answer, sizeof(answer));
	assert_non_null(strstr(answer, " 503 "));
	close(extra);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		close(fds[i]);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(call_reaches_the_control_plane_with_its_parameters),
	    TEST(typed_answer_is_read),
	    TEST(refusal_carries_code_status_words_and_hint),
	    TEST(unknown_path_and_method_are_told_apart),
	    TEST(wrong_body_is_refused_before_the_control_plane),
	    TEST(body_beyond_the_bound_is_refused),
	    TEST(metrics_are_plain_text),
	    TEST(answer_that_takes_its_time_holds_up_nobody),
	    TEST(stop_answers_what_is_still_open),
	    TEST(client_that_goes_away_hurts_nobody),
	    TEST(nonsense_on_the_socket_hurts_nobody),
	    TEST(tcp_serves_loopback_but_no_page_from_elsewhere),
	    TEST(address_that_cannot_be_served_is_refused),
	    TEST(stale_socket_is_replaced_and_mode_is_0660),
	    TEST(watcher_sees_what_is_kept_then_what_is_new),
	    TEST(watcher_of_new_events_sees_no_old_ones),
	    TEST(watcher_of_a_type_sees_what_is_below_it),
	    TEST(watcher_is_told_when_older_events_are_gone),
	    TEST(watcher_that_falls_behind_loses_nothing_that_is_kept),
	    TEST(watcher_that_falls_behind_what_is_kept_is_told),
	    TEST(last_event_id_resumes),
	    TEST(streams_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
