#include "export/nbd/nbd.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/in.h>

#include "export/nbd/server.h"

#define BACKLOG 128
#define ACCEPT_AGAIN_NS (100 * NS_PER_MS)
#define SOCKET_MODE 0660

/* -- UNIX sockets -- */

static int fill_unix_address(const char *path, struct sockaddr_un *ret_address, struct error *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (path[0] == '\0' || strlen(path) >= sizeof(address.sun_path)) {
		return error_set(err, -EINVAL, "a socket's path has 1 to %zu bytes: %s",
		    sizeof(address.sun_path) - 1, path);
	}
	strcpy(address.sun_path, path);
	*ret_address = address;
	return 0;
}

/* Removes the file of a socket that nobody listens on any more. */
static int replace_stale(const struct sockaddr_un *address, struct error *err)
{
	const char *path = address->sun_path;
	struct stat st;
	int rc;
	int fd;

	if (lstat(path, &st) != 0) {
		return errno == ENOENT ? 0 : error_set(err, -errno, "%s: %m", path);
	}
	if (!S_ISSOCK(st.st_mode)) {
		error_set(err, -EEXIST, "%s exists and is not a socket", path);
		return error_hint(err, "choose another path");
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0) {
		return error_set(err, -errno, "socket: %m");
	}
	rc = connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 ? 0 : errno;
	close(fd);
	if (rc != ECONNREFUSED) {
		error_set(err, -EADDRINUSE, "another process listens on %s", path);
		return error_hint(err, "end it, or choose another path");
	}
	return unlink(path) == 0 ? 0 : error_set(err, -errno, "cannot remove stale %s: %m", path);
}

static int listen_unix(struct nbd_listener *l, const char *path, struct error *err)
{
	struct sockaddr_un address;
	int rc = fill_unix_address(path, &address, err);

	if (rc == 0) {
		rc = replace_stale(&address, err);
	}
	if (rc != 0) {
		return rc;
	}
	l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (l->fd < 0) {
		return error_set(err, -errno, "socket: %m");
	}
	/* Nobody can connect before listen(), so the mode is right from the start. */
	if (bind(l->fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
		return error_set(err, -errno, "cannot listen on %s: %m", path);
	}
	l->path = strdup(path);
	if (chmod(path, SOCKET_MODE) != 0 || lstat(path, &l->path_stat) != 0 ||
	    listen(l->fd, BACKLOG) != 0) {
		return error_set(err, -errno, "cannot listen on %s: %m", path);
	}
	return l->path != NULL ? 0 : error_set(err, -ENOMEM, "out of memory");
}

/* Unless another daemon has put its own there since. */
static void unlink_own(const struct nbd_listener *l)
{
	struct stat st;

	if (l->path != NULL && lstat(l->path, &st) == 0 && st.st_dev == l->path_stat.st_dev &&
	    st.st_ino == l->path_stat.st_ino) {
		unlink(l->path);
	}
}

/* -- TCP -- */

static bool is_loopback(const struct sockaddr *address)
{
	if (address->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)address;

		return ntohl(in->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
	}
	return address->sa_family == AF_INET6 &&
	       IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)address)->sin6_addr);
}

/* Splits "HOST:PORT", brackets off; -EINVAL. */
static int split_host_port(const char *text, char *host, size_t host_room, const char **ret_port)
{
	const char *colon = strrchr(text, ':');
	size_t length;

	if (colon == NULL || colon == text || colon[1] == '\0') {
		return -EINVAL;
	}
	length = (size_t)(colon - text);
	if (text[0] == '[' && text[length - 1] == ']') {
		text++;
		length -= 2;
	} else if (memchr(text, ':', length) != NULL) {
		return -EINVAL;
	}
	if (length >= host_room) {
		return -EINVAL;
	}
	memcpy(host, text, length);
	host[length] = '\0';
	*ret_port = colon + 1;
	return 0;
}

/* Numbers and "localhost" only: looking up a name would block the control loop. */
static int resolve(const char *text, struct addrinfo **ret_info, struct error *err)
{
	struct addrinfo hints = {
	    .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
	    .ai_socktype = SOCK_STREAM,
	};
	const char *port;
	char host[INET6_ADDRSTRLEN + 16];

	if (split_host_port(text, host, sizeof(host), &port) != 0 ||
	    getaddrinfo(
		strcmp(host, "localhost") == 0 ? "127.0.0.1" : host, port, &hints, ret_info) != 0) {
		error_set(err, -EINVAL, "not an address to listen on: tcp:%s", text);
		return error_hint(err, "write tcp:127.0.0.1:PORT or tcp:[::1]:PORT");
	}
	return 0;
}

static int bind_tcp(struct nbd_listener *l, const struct addrinfo *info, struct error *err)
{
	int on = 1;

	if (!is_loopback(info->ai_addr)) {
		error_set(err, -EACCES, "will not listen beyond loopback without authentication");
		return error_hint(err, "listen on 127.0.0.1 or on a UNIX socket");
	}
	l->fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (l->fd < 0) {
		return error_set(err, -errno, "socket: %m");
	}
	setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(l->fd, info->ai_addr, info->ai_addrlen) != 0 || listen(l->fd, BACKLOG) != 0) {
		return error_set(err, -errno, "cannot listen on %s: %m", l->address);
	}
	return 0;
}

/* The address with the port that it really has. */
static int name_tcp(struct nbd_listener *l, struct error *err)
{
	struct sockaddr_storage address = {0};
	socklen_t length = sizeof(address);
	char host[INET6_ADDRSTRLEN] = "";
	char *name = NULL;
	int rc;

	if (getsockname(l->fd, (struct sockaddr *)&address, &length) != 0) {
		return error_set(err, -errno, "getsockname: %m");
	}
	if (address.ss_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)&address;

		inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
		rc = asprintf(&name, "tcp:%s:%u", host, ntohs(in->sin_port));
	} else {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&address;

		inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
		rc = asprintf(&name, "tcp:[%s]:%u", host, ntohs(in6->sin6_port));
	}
	if (rc < 0) {
		return error_set(err, -ENOMEM, "out of memory");
	}
	free(l->address);
	l->address = name;
	return 0;
}

static int listen_tcp(struct nbd_listener *l, const char *text, struct error *err)
{
	struct addrinfo *info;
	int rc = resolve(text, &info, err);

	if (rc != 0) {
		return rc;
	}
	rc = bind_tcp(l, info, err);
	freeaddrinfo(info);
	return rc == 0 ? name_tcp(l, err) : rc;
}

/* -- accepting -- */

static void start_accept(struct nbd_listener *l)
{
	struct io_uring_sqe *sqe = reactor_sqe(l->group->control, &l->accept_op);

	io_uring_prep_multishot_accept(sqe, l->fd, NULL, NULL, SOCK_CLOEXEC);
	l->accepting = true;
}

static void on_accept_again(struct reactor_timer *timer)
{
	start_accept(container_of(timer, struct nbd_listener, accept_again));
}

static void on_accepted(struct reactor_op *op, int res, uint32_t flags)
{
	struct nbd_listener *l = container_of(op, struct nbd_listener, accept_op);

	l->accepting = (flags & IORING_CQE_F_MORE) != 0;
	if (res >= 0 && l->closing) {
		close(res);
	} else if (res >= 0) {
		nbd_admission_start(l, res);
	}
	if (l->closing) {
		nbd_listener_settle(l);
	} else if (!l->accepting && res < 0) {
		/* Out of descriptors, or the like: the clients wait in the backlog. */
		reactor_timer_arm(l->group->control, &l->accept_again, ACCEPT_AGAIN_NS);
	} else if (!l->accepting) {
		start_accept(l);
	}
}

/* -- life -- */

static void release(struct nbd_listener *l)
{
	if (l->fd >= 0) {
		unlink_own(l);
		close(l->fd);
	}
	free(l->connections);
	free(l->address);
	free(l->path);
	free(l);
}

static struct nbd_listener *allocate(
    struct reactor_group *group, const char *address, const struct nbd_events *events)
{
	struct nbd_listener *l = calloc(1, sizeof(*l));

	if (l == NULL) {
		return NULL;
	}
	l->group = group;
	l->fd = -1;
	if (events != NULL) {
		l->events = *events;
	}
	l->accept_op.done = on_accepted;
	reactor_timer_init(&l->accept_again, on_accept_again);
	list_init(&l->exports);
	list_init(&l->admissions);
	nbd_export_catalog(l, &l->catalog);
	l->address = strdup(address);
	l->connections = calloc(group->nr_data, sizeof(*l->connections));
	if (l->address == NULL || l->connections == NULL) {
		release(l);
		return NULL;
	}
	return l;
}

int nbd_listener_new(struct reactor_group *group, const char *address,
    const struct nbd_events *events, struct nbd_listener **ret_listener, struct error *err)
{
	struct nbd_listener *l = allocate(group, address, events);
	int rc;

	reactor_assert(group->control);
	if (l == NULL) {
		return error_set(err, -ENOMEM, "out of memory");
	}
	if (strncmp(address, "unix:", 5) == 0) {
		rc = listen_unix(l, address + 5, err);
	} else if (strncmp(address, "tcp:", 4) == 0) {
		rc = listen_tcp(l, address + 4, err);
	} else {
		rc = error_set(err, -EINVAL, "not an address to listen on: %s", address);
		error_hint(err, "write unix:PATH or tcp:HOST:PORT");
	}
	if (rc != 0) {
		release(l);
		return rc;
	}
	start_accept(l);
	*ret_listener = l;
	return 0;
}

static void on_closed(struct reactor_msg *msg)
{
	struct nbd_listener *l = container_of(msg, struct nbd_listener, closed_msg);
	void (*closed)(void *ctx) = l->closed;
	void *ctx = l->closed_ctx;

	release(l);
	closed(ctx);
}

void nbd_listener_settle(struct nbd_listener *l)
{
	if (l->closing && !l->closed_sent && !l->accepting && l->nr_admissions == 0) {
		l->closed_sent = true;
		reactor_send(l->group->control, &l->closed_msg, on_closed);
	}
}

void nbd_listener_free(struct nbd_listener *l, void (*closed)(void *ctx), void *ctx)
{
	reactor_assert(l->group->control);
	sluice_assert(l->nr_exports == 0 && !l->closing);
	l->closing = true;
	l->closed = closed;
	l->closed_ctx = ctx;
	reactor_timer_cancel(l->group->control, &l->accept_again);
	if (l->accepting) {
		reactor_cancel(l->group->control, &l->accept_op);
	}
	nbd_admission_end_all(l);
	nbd_listener_settle(l);
}

const char *nbd_listener_address(const struct nbd_listener *l)
{
	return l->address;
}

unsigned nbd_listener_export_count(const struct nbd_listener *l)
{
	return l->nr_exports;
}
