#include "harness.h"

#include <arpa/inet.h>
#include <ftw.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "reactor/group.h"

#define GENEROUS_NS (60 * NS_PER_S)

static struct harness *owner_of(struct lu_session *s)
{
	return s->owner;
}

static void on_opened(struct lu_session *s, const struct error *err)
{
	struct harness *h = owner_of(s);

	h->opened = true;
	h->open_error = err != NULL ? *err : (struct error){0};
}

static void on_lost(struct lu_session *s, const struct error *why)
{
	struct harness *h = owner_of(s);

	assert_false(h->lost);
	h->lost = true;
	h->lost_error = *why;
}

static void on_closed(struct lu_session *s)
{
	struct harness *h = owner_of(s);

	assert_false(h->closed);
	h->closed = true;
}

static void on_fenced(struct lu_session *s)
{
	struct harness *h = owner_of(s);

	assert_true(h->closed);
	assert_false(h->fenced);
	h->fenced = true;
	h->session = NULL;
}

static const struct lu_session_events events = {on_opened, on_lost, on_closed, on_fenced};

struct harness *harness_new(void)
{
	struct reactor_group_options options = {.nr_data = HARNESS_REACTORS, .manual = true};
	struct harness *h = calloc(1, sizeof(*h));
	struct error err = {0};

	signal(SIGPIPE, SIG_IGN);
	assert_non_null(h);
	snprintf(h->directory, sizeof(h->directory), "/tmp/sluice-drivers-XXXXXX");
	assert_non_null(mkdtemp(h->directory));
	if (reactor_group_new(&options, &h->group, &err) < 0) {
		fail_msg("%s", err.message);
	}
	return h;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

void harness_free(struct harness *h)
{
	reactor_group_free(h->group);
	nftw(h->directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
	free(h);
}

void harness_wait(struct harness *h, const bool *flag)
{
	uint64_t end = reactor_clock_ns() + GENEROUS_NS;

	while (!*flag) {
		reactor_group_step(h->group, 1);
		if (reactor_clock_ns() > end) {
			fail_msg("what the test waits for did not happen");
		}
	}
}

void harness_turns(struct harness *h, unsigned turns)
{
	for (unsigned i = 0; i < turns; i++) {
		reactor_group_step(h->group, 1);
	}
}

static int begin(struct harness *h, const char *kind, const char *network_id, const char *bind,
    const char *json, uint64_t timeout_ns)
{
	const struct lu_driver *driver = lu_driver_find(kind);
	json_t *address = json_loads(json, 0, NULL);
	struct lu_session_params params = {
	    .group = h->group,
	    .address = address,
	    .network_id = network_id,
	    .bind = bind,
	    .events = &events,
	    .owner = h,
	    .connect_timeout_ns = timeout_ns,
	};
	int r;

	assert_non_null(driver);
	assert_non_null(address);
	h->opened = h->lost = h->closed = h->fenced = false;
	error_clear(&h->open_error);
	r = driver->check(address, &h->open_error);
	if (r == 0) {
		r = driver->open(&params, &h->session, &h->open_error);
	}
	json_decref(address);
	assert_false(h->opened);
	return r;
}

void harness_begin(struct harness *h, const char *kind, const char *network_id, const char *bind,
    const char *json, uint64_t timeout_ns)
{
	assert_int_equal(begin(h, kind, network_id, bind, json, timeout_ns), 0);
}

int harness_open_as(
    struct harness *h, const char *kind, const char *network_id, const char *bind, const char *json)
{
	int r = begin(h, kind, network_id, bind, json, GENEROUS_NS);

	if (r < 0) {
		return r;
	}
	harness_wait(h, &h->opened);
	return h->open_error.code;
}

int harness_open(struct harness *h, const char *kind, const char *json)
{
	return harness_open_as(h, kind, "", "", json);
}

void harness_must_open(struct harness *h, const char *kind, const char *json)
{
	if (harness_open(h, kind, json) != 0) {
		fail_msg("%s: %s", json, h->open_error.message);
	}
}

void harness_close(struct harness *h)
{
	h->session->driver->close(h->session);
	assert_false(h->closed);
	harness_wait(h, &h->closed);
	harness_wait(h, &h->fenced);
}

static void on_io_done(struct io *io, void *ctx)
{
	struct harness_io *hio = ctx;

	assert_false(hio->done);
	hio->done = true;
	hio->status = io->status;
}

static void on_submit(struct reactor_msg *msg)
{
	struct harness_io *hio = container_of(msg, struct harness_io, msg);

	io_submit(hio->channel, &hio->io);
}

void harness_submit(struct harness *h, unsigned reactor, struct harness_io *hio)
{
	hio->done = false;
	hio->io.iov = hio->iov;
	hio->io.depth = 0;
	hio->channel = h->session->target.channels[reactor];
	io_push(&hio->io, on_io_done, hio);
	reactor_send(h->group->data[reactor], &hio->msg, on_submit);
}

int harness_do(struct harness *h, unsigned reactor, enum io_op op, uint32_t flags, uint64_t offset,
    uint64_t length, void *buffer)
{
	struct harness_io hio = {
	    .io = {.op = op, .flags = flags, .offset = offset, .length = length}};

	if (buffer != NULL) {
		hio.io.iovcnt = 1;
		hio.iov[0] = (struct iovec){buffer, length};
	}
	harness_submit(h, reactor, &hio);
	harness_wait(h, &hio.done);
	return hio.status;
}

void harness_fill(void *buffer, size_t len, unsigned seed)
{
	unsigned char *p = buffer;

	for (size_t i = 0; i < len; i++) {
		p[i] = (unsigned char)((i * 31 + i / 251 + seed * 7) | 1);
	}
}

void *harness_alloc(size_t len)
{
	void *p = NULL;

	assert_int_equal(posix_memalign(&p, 4096, len), 0);
	memset(p, 0, len);
	return p;
}

pid_t harness_spawn(char *const argv[])
{
	pid_t parent = getpid();
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() == parent) {
			execvp(argv[0], argv);
		}
		_exit(127);
	}
	return pid;
}

void harness_kill(pid_t pid)
{
	if (pid > 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
}

void harness_freeze(pid_t pid)
{
	int status;

	assert_int_equal(kill(pid, SIGSTOP), 0);
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	assert_true(WIFSTOPPED(status));
}

void harness_thaw(pid_t pid)
{
	assert_int_equal(kill(pid, SIGCONT), 0);
}

int harness_run(char *const argv[])
{
	pid_t pid = harness_spawn(argv);
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void wait_listening(const struct sockaddr *to, socklen_t len, pid_t pid)
{
	uint64_t end = reactor_clock_ns() + GENEROUS_NS;

	for (;;) {
		int fd = socket(to->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		int r;

		assert_true(fd >= 0);
		r = connect(fd, to, len);
		close(fd);
		if (r == 0) {
			return;
		}
		if (waitpid(pid, NULL, WNOHANG) == pid) {
			fail_msg("the server ended at its start");
		}
		if (reactor_clock_ns() > end) {
			fail_msg("the server does not listen");
		}
		poll(NULL, 0, 5);
	}
}

void harness_wait_unix(const char *path, pid_t pid)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};

	snprintf(to.sun_path, sizeof(to.sun_path), "%s", path);
	wait_listening((const struct sockaddr *)&to, sizeof(to), pid);
}

static struct sockaddr_in loopback(unsigned port)
{
	return (struct sockaddr_in){.sin_family = AF_INET,
	    .sin_port = htons((uint16_t)port),
	    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

void harness_wait_tcp(unsigned port, pid_t pid)
{
	struct sockaddr_in to = loopback(port);

	wait_listening((const struct sockaddr *)&to, sizeof(to), pid);
}

unsigned harness_free_port(void)
{
	struct sockaddr_in at = loopback(0);
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (const struct sockaddr *)&at, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
	close(fd);
	return ntohs(at.sin_port);
}
