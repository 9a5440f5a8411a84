/*
 * NBD servers, by libnbd's asynchronous calls. A server that promises that its connections agree
 * (NBD_FLAG_CAN_MULTI_CONN) gets one connection per data reactor; any other gets exactly one.
 *
 * Fencing. close() drops the libnbd handle and shuts down our direction of the connection. The
 * server reads what is left, then the end, carries out or drops every request, and closes its side:
 * its end of stream is the proof (NBD protocol, "Terminating the transmission phase": a server
 * handles the outstanding requests before it closes). A server that is dead has a socket that was
 * reset, which proves the same, because a process ends after its system calls. Silence proves
 * nothing: a time-out of our own kernel, or no answer, waits until abandon(). The proof is as good
 * as the server: QEMU's begins every request it has received, then closes its side at once, so the
 * last of them may end shortly after (nbdkit waits for them).
 */
#include "lu/drivers/nbd.h"

#include "lu/drivers/address.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#define ALLOCATION "base:allocation"
#define MAX_CONNECTIONS 16
/* NBD protocol, "Block size constraints": what every server takes when it states none. */
#define DEFAULT_MAX_TRANSFER (32u << 20)
/* Replies handled in one call of the watch, so that other work has its turn. */
#define MAX_REPLIES 256

static const struct address_member members[] = {
    {"uri", JSON_STRING, true, "\"nbd://192.0.2.1:10809/disk\""},
    {"connections", JSON_INTEGER, false, "4"},
};

static int nbd_check(const json_t *address, struct error *err)
{
	const json_t *connections = json_object_get(address, "connections");
	int r = address_check(address, members, ARRAY_SIZE(members), err);
	struct nbd_uri uri;

	if (r < 0) {
		return r;
	}
	if (connections != NULL && (json_integer_value(connections) < 1 ||
				       json_integer_value(connections) > MAX_CONNECTIONS)) {
		error_set(err, -EINVAL, "\"connections\" must be 1 to %d", MAX_CONNECTIONS);
		error_hint(err, "leave it out for one per reactor");
		return -EINVAL;
	}
	return nbd_uri_parse(address_string(address, "uri"), &uri, err);
}

/* A URI that passed check() has no secrets. */
static void nbd_describe(const json_t *address, char *buf, size_t len)
{
	snprintf(buf, len, "%s", address_string(address, "uri"));
}

static void on_ready(struct reactor_watch *w, uint32_t revents);
static void connect_next(struct nbd_link *l);

/* -- the end of a connection */

static void on_stopped(struct reactor_watch *w)
{
	struct nbd_link *l = container_of(w, struct nbd_link, watch);

	close(l->fd);
	l->fd = -1;
	l->phase = NBD_IDLE;
	l->after_stop(l);
}

static void stop_watch(struct nbd_link *l, void (*then)(struct nbd_link *l))
{
	bool stopping = l->phase == NBD_STOPPING;

	l->after_stop = then;
	l->phase = NBD_STOPPING;
	if (!stopping) {
		reactor_watch_stop(&l->watch, on_stopped);
	}
}

static void fenced(struct nbd_link *l)
{
	link_fenced(&l->link);
}

static void drain(struct nbd_link *l)
{
	char scrap[4096];
	ssize_t n;

	do {
		n = recv(l->fd, scrap, sizeof(scrap), MSG_DONTWAIT);
	} while (n > 0 || (n < 0 && errno == EINTR));
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
		return;
	}
	if (n == 0 || errno == ECONNRESET || nbd_session_of(l)->uri.is_unix) {
		if (!l->unproven) {
			stop_watch(l, fenced);
			return;
		}
	}
	/* Only the operator knows what became of the server. */
	l->unproven = true;
	reactor_watch_set(&l->watch, 0);
}

static void nbd_link_close(struct session_link *link)
{
	struct nbd_link *l = (struct nbd_link *)link;
	enum nbd_phase phase = l->phase;

	if (l->nbd != NULL) {
		nbd_link_drop(l, -ECONNABORTED);
	}
	link_closed(link);
	if (phase == NBD_RESOLVING) {
		return; /* done_resolve() goes on */
	}
	if (phase == NBD_IDLE) {
		link_fenced(link);
		return;
	}
	if (!l->in_doubt) {
		/* Every change was answered: there is nothing that could still take effect. */
		stop_watch(l, fenced);
		return;
	}
	l->phase = NBD_DRAINING;
	shutdown(l->fd, SHUT_WR);
	reactor_watch_set(&l->watch, l->unproven ? 0 : POLLIN);
}

static void nbd_link_abandon(struct session_link *link)
{
	struct nbd_link *l = (struct nbd_link *)link;

	if (l->phase == NBD_DRAINING) {
		stop_watch(l, fenced);
	}
}

/* These come from the network or our own kernel, not from the server's. */
static bool is_silence(int e)
{
	return e == ETIMEDOUT || e == EHOSTUNREACH || e == ENETUNREACH || e == ENETDOWN ||
	       e == EHOSTDOWN;
}

/* The connection, or the attempt, is over: e and text say why. */
static void fail(struct nbd_link *l, int e, const char *text)
{
	int code = io_status_is_transport(-e) ? -e : -ENOTCONN;

	l->unproven = l->unproven || is_silence(e);
	if (l->phase == NBD_RUNNING) {
		l->phase = NBD_BROKEN;
		link_lost(&l->link, code, text);
		reactor_watch_set(&l->watch, 0);
		nbd_link_drop(l, code);
	} else if (l->link.state == LINK_OPENING) {
		struct error err;

		error_set(&err, code, "%s", text);
		error_hint(&err, "check that the server runs and serves this export");
		l->phase = l->fd >= 0 ? NBD_BROKEN : NBD_IDLE;
		if (l->fd >= 0) {
			reactor_watch_set(&l->watch, 0);
		}
		if (l->nbd != NULL) {
			nbd_link_drop(l, code);
		}
		link_opened(&l->link, &err);
	}
}

/* -- running */

static void watch_direction(struct nbd_link *l)
{
	unsigned dir = nbd_aio_get_direction(l->nbd);
	uint32_t events = 0;

	events |= (dir & LIBNBD_AIO_DIRECTION_READ) ? POLLIN : 0;
	events |= (dir & LIBNBD_AIO_DIRECTION_WRITE) ? POLLOUT : 0;
	reactor_watch_set(&l->watch, events);
}

bool nbd_link_settle(struct nbd_link *l)
{
	if (unlikely(nbd_aio_is_dead(l->nbd) || nbd_aio_is_closed(l->nbd))) {
		char text[200];
		const char *why = nbd_get_error();
		int e = nbd_get_errno();

		/* The library's text is gone with the next call into it. */
		snprintf(text, sizeof(text), "%s", why != NULL ? why : "the connection ended");
		fail(l, e, text);
		return false;
	}
	nbd_link_reap(l);
	if (l->nbd == NULL) {
		return false;
	}
	watch_direction(l);
	return true;
}

static unsigned uint_or_zero(int64_t v)
{
	return v > 0 && v <= UINT32_MAX ? (unsigned)v : 0;
}

/* Other people's numbers: made to fit what struct io_limits promises. */
static uint32_t power_of_two(uint64_t v, uint32_t low, uint32_t high)
{
	uint32_t p = low;

	while (p < v && p < high) {
		p <<= 1;
	}
	return p;
}

static int learn(struct nbd_link *l, struct error *err)
{
	struct nbd_session *s = nbd_session_of(l);
	struct lu_session *lu = &s->session.lu;
	struct nbd_handle *h = l->nbd;
	int64_t size = nbd_get_size(h);
	uint32_t block =
	    power_of_two(uint_or_zero(nbd_get_block_size(h, LIBNBD_SIZE_MINIMUM)), 512, 65536);
	unsigned max = uint_or_zero(nbd_get_block_size(h, LIBNBD_SIZE_MAXIMUM));
	bool multi = nbd_can_multi_conn(h) > 0;

	if (size < (int64_t)block) {
		error_set(err, -EINVAL, "the export is empty");
		return error_hint(err, "check the export name and what the server serves");
	}
	max = max == 0 ? DEFAULT_MAX_TRANSFER : MIN(max, DEFAULT_MAX_TRANSFER);
	s->can_fua = nbd_can_fua(h) > 0;
	s->can_zero = nbd_can_zero(h) > 0;
	s->can_fast_zero = nbd_can_fast_zero(h) > 0;
	s->can_trim = nbd_can_trim(h) > 0;
	s->can_flush = nbd_can_flush(h) > 0;
	lu->target.size = ALIGN_DOWN((uint64_t)size, block);
	lu->target.limits = (struct io_limits){
	    .block_size = block,
	    .preferred_size =
		MAX(block, power_of_two(uint_or_zero(nbd_get_block_size(h, LIBNBD_SIZE_PREFERRED)),
			       4096, 1u << 20)),
	    .max_transfer = MAX(block, (uint32_t)ALIGN_DOWN(max, block)),
	    .max_iov = 1024,
	    .memory_alignment = 1,
	    .discard_granularity = s->can_trim ? block : 0,
	    .write_zeroes = s->can_zero,
	    .fua = s->can_fua,
	    .flush = s->can_flush,
	    .read_only = nbd_is_read_only(h) > 0,
	    .block_status = nbd_can_meta_context(h, ALLOCATION) > 0,
	    .coherent = true, /* with one connection, and where the server says so with more */
	};
	s->session.spread = !multi ? 1 : s->connections == 0 ? UINT32_MAX : s->connections;
	return 0;
}

static int compare(struct nbd_link *l, struct error *err)
{
	int64_t size = nbd_get_size(l->nbd);
	const struct io_target *t = &l->link.session->lu.target;

	if (size < 0 || ALIGN_DOWN((uint64_t)size, t->limits.block_size) != t->size) {
		return error_set(
		    err, -ENOTCONN, "another connection to the export shows another size");
	}
	return 0;
}

static void negotiated(struct nbd_link *l)
{
	struct error err;
	bool home = l->link.index == l->link.session->home;
	int r = home ? learn(l, &err) : compare(l, &err);

	l->phase = r < 0 ? NBD_BROKEN : NBD_RUNNING;
	if (r < 0) {
		reactor_watch_set(&l->watch, 0);
		nbd_link_drop(l, -ENOTCONN);
	}
	link_opened(&l->link, r < 0 ? &err : NULL);
}

static void look_if_ready(struct nbd_link *l)
{
	if (l->nbd != NULL && nbd_aio_is_ready(l->nbd)) {
		negotiated(l);
	}
}

/*
 * Told to read when there is nothing, libnbd waits for the rest of a reply and sends no request
 * until that has come: so never without data, or an end, to be read. A poll's word is not enough: a
 * sender queues its data first and wakes the reader afterwards, which may have read them meanwhile
 * and be waiting for the next.
 */
static bool has_more(const struct nbd_link *l)
{
	char byte;

	return recv(l->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 ||
	       (errno != EAGAIN && errno != EWOULDBLOCK);
}

static void notify(struct nbd_link *l, uint32_t revents)
{
	bool readable = (revents & ~(uint32_t)POLLOUT) != 0 && has_more(l);

	for (unsigned i = 0; i < MAX_REPLIES; i++) {
		unsigned dir = nbd_aio_get_direction(l->nbd);
		uint64_t before = l->answered;

		if ((dir & LIBNBD_AIO_DIRECTION_READ) && readable) {
			nbd_aio_notify_read(l->nbd);
		} else if ((dir & LIBNBD_AIO_DIRECTION_WRITE) && (revents & POLLOUT)) {
			nbd_aio_notify_write(l->nbd);
		}
		if (!nbd_link_settle(l)) {
			return;
		}
		/* One call handles one reply; go on while there are more. */
		readable = has_more(l);
		if (l->answered == before || !readable) {
			return;
		}
	}
}

/* -- connecting */

static void start_handshake(struct nbd_link *l)
{
	const struct nbd_session *s = nbd_session_of(l);
	int fd = fcntl(l->fd, F_DUPFD_CLOEXEC, 0);

	l->phase = NBD_NEGOTIATING;
	l->nbd = nbd_create();
	if (fd < 0 || l->nbd == NULL || nbd_set_export_name(l->nbd, s->uri.export_name) < 0 ||
	    nbd_add_meta_context(l->nbd, ALLOCATION) < 0 ||
	    /* Every byte of a good answer is the server's. */
	    nbd_set_pread_initialize(l->nbd, false) < 0) {
		if (fd >= 0) {
			close(fd);
		}
		fail(l, ENOMEM, "out of memory or descriptors");
		return;
	}
	nbd_aio_connect_socket(l->nbd, fd);
	nbd_link_settle(l);
	look_if_ready(l); /* a quick server has answered everything by now */
}

static int make_socket(struct nbd_link *l, const struct sockaddr *to, socklen_t len)
{
	const struct nbd_session *s = nbd_session_of(l);
	int on = 1;

	l->fd = socket(to->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (l->fd < 0) {
		return -errno;
	}
	if (to->sa_family != AF_UNIX) {
		setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		if (s->bind.length > 0 &&
		    bind(l->fd, (const struct sockaddr *)&s->bind.storage, s->bind.length) < 0) {
			return -errno;
		}
	}
	if (connect(l->fd, to, len) < 0 && errno != EINPROGRESS) {
		return -errno;
	}
	return 0;
}

/* The next address, or the end of the attempt. */
static void connect_failed(struct nbd_link *l, int e)
{
	char text[160];

	if (l->next_address < nbd_session_of(l)->resolve.count) {
		connect_next(l);
		return;
	}
	snprintf(text, sizeof(text), "cannot connect: %s", strerror(e));
	fail(l, e, text);
}

static void connect_next(struct nbd_link *l)
{
	struct nbd_session *s = nbd_session_of(l);
	struct sockaddr_un local = {.sun_family = AF_UNIX};
	const struct sockaddr *to = (const struct sockaddr *)&local;
	socklen_t len = sizeof(local);
	int r;

	if (link_is_closing(&l->link)) {
		fenced(l);
		return;
	}
	if (s->uri.is_unix) {
		memcpy(local.sun_path, s->uri.socket, sizeof(local.sun_path));
	} else {
		to = (const struct sockaddr *)&s->resolve.addresses[l->next_address].storage;
		len = s->resolve.addresses[l->next_address].length;
		l->next_address++;
	}
	l->phase = NBD_CONNECTING;
	r = make_socket(l, to, len);
	if (r < 0) {
		if (l->fd >= 0) {
			close(l->fd);
			l->fd = -1;
		}
		l->phase = NBD_IDLE;
		connect_failed(l, -r);
		return;
	}
	reactor_watch_init(&l->watch, l->link.reactor, l->fd, on_ready);
	reactor_watch_set(&l->watch, POLLOUT);
}

static void connected(struct nbd_link *l)
{
	int e = 0;
	socklen_t len = sizeof(e);

	if (getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &e, &len) < 0) {
		e = errno;
	}
	if (e == 0) {
		start_handshake(l);
	} else if (l->next_address < nbd_session_of(l)->resolve.count) {
		stop_watch(l, connect_next);
	} else {
		connect_failed(l, e);
	}
}

static void on_ready(struct reactor_watch *w, uint32_t revents)
{
	struct nbd_link *l = container_of(w, struct nbd_link, watch);

	switch (l->phase) {
	case NBD_CONNECTING:
		connected(l);
		break;
	case NBD_NEGOTIATING:
		notify(l, revents);
		look_if_ready(l);
		break;
	case NBD_RUNNING:
		notify(l, revents);
		break;
	case NBD_DRAINING:
		drain(l);
		break;
	case NBD_IDLE:
	case NBD_RESOLVING:
	case NBD_BROKEN:
	case NBD_STOPPING:
		break;
	}
}

static void done_resolve(struct worker_job *job)
{
	struct resolve *r = container_of(job, struct resolve, job);
	struct nbd_session *s = container_of(r, struct nbd_session, resolve);
	struct nbd_link *l = (struct nbd_link *)s->session.links[s->session.home];

	l->phase = NBD_IDLE;
	if (link_is_closing(&l->link)) {
		link_fenced(&l->link);
	} else if (r->count == 0) {
		link_opened(&l->link, &r->error);
	} else {
		connect_next(l);
	}
}

static void nbd_link_open(struct session_link *link)
{
	struct nbd_link *l = (struct nbd_link *)link;
	struct nbd_session *s = nbd_session_of(l);

	l->fd = -1;
	list_init(&l->in_flight);
	list_init(&l->done);
	list_init(&l->waiting);
	if (s->worker != NULL && link->index == s->session.home) {
		l->phase = NBD_RESOLVING;
		worker_submit(
		    s->worker, link->reactor, &s->resolve.job, resolve_job_run, done_resolve);
		return;
	}
	connect_next(l);
}

static void nbd_session_free(struct session *session)
{
	worker_free(((struct nbd_session *)session)->worker);
}

static const struct link_ops nbd_link_ops = {
    .kind = "nbd",
    .session_size = sizeof(struct nbd_session),
    .link_size = sizeof(struct nbd_link),
    .open = nbd_link_open,
    .submit = nbd_link_submit,
    .close = nbd_link_close,
    .abandon = nbd_link_abandon,
    .free = nbd_session_free,
};

static const struct io_target_ops nbd_target_ops = {"nbd"};

static int prepare(struct nbd_session *s, const struct lu_session_params *params, struct error *err)
{
	int r = nbd_uri_parse(address_string(params->address, "uri"), &s->uri, err);

	if (r < 0 || s->uri.is_unix) {
		return r;
	}
	if (params->bind[0] != '\0') {
		struct resolve local = {.port = "0"};

		snprintf(local.host, sizeof(local.host), "%s", params->bind);
		if (!resolve_numeric(&local)) {
			error_set(err, -EINVAL, "%s is not a numeric address", params->bind);
			error_hint(err, "bind an interface to an address of this machine");
			return -EINVAL;
		}
		s->bind = local.addresses[0];
	}
	snprintf(s->resolve.host, sizeof(s->resolve.host), "%s", s->uri.host);
	snprintf(s->resolve.port, sizeof(s->resolve.port), "%s", s->uri.port);
	return resolve_numeric(&s->resolve) ? 0 : worker_new(&s->worker, err);
}

static int nbd_open(
    const struct lu_session_params *params, struct lu_session **ret_session, struct error *err)
{
	struct session *session;
	struct nbd_session *s;
	int r = session_new(params, &lu_driver_nbd, &nbd_link_ops, &session, err);

	if (r < 0) {
		return r;
	}
	s = (struct nbd_session *)session;
	s->connections = (unsigned)address_integer(params->address, "connections");
	r = prepare(s, params, err);
	if (r < 0) {
		session_discard(session);
		return r;
	}
	session->lu.target.ops = &nbd_target_ops;
	session_start(session, params->connect_timeout_ns);
	*ret_session = &session->lu;
	return 0;
}

const struct lu_driver lu_driver_nbd = {
    .kind = "nbd",
    .check = nbd_check,
    .describe = nbd_describe,
    .open = nbd_open,
    .close = session_close,
    .abandon = session_abandon,
};
