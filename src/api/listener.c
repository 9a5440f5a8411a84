/* Sockets to listen on: UNIX for the machine's own people, TCP on loopback. */
#include <arpa/inet.h>
#include <errno.h>
#include <grp.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "api/api_private.h"
#include "base/log.h"

#define BACKLOG 64
#define GROUP "sluice"

static int system_error(struct error *err, const char *what, const char *address)
{
	int code = -errno;

	return error_set(err, code, "%s %s: %s", what, address, strerror(-code));
}

/* Makes room for a new socket file: removes one whose owner is gone. */
static int remove_stale(const struct sockaddr_un *sun, struct error *err)
{
	struct stat st;
	int fd;
	int rc;

	if (lstat(sun->sun_path, &st) != 0) {
		return errno == ENOENT ? 0 : system_error(err, "looking at", sun->sun_path);
	}
	if (!S_ISSOCK(st.st_mode)) {
		error_set(err, -EEXIST, "%s is there and is not a socket", sun->sun_path);
		error_hint(err, "give another path to --listen, or remove it");
		return -EEXIST;
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0) {
		return system_error(err, "making a socket for", sun->sun_path);
	}
	rc = connect(fd, (const struct sockaddr *)sun, sizeof(*sun));
	rc = rc == 0 ? 0 : -errno;
	close(fd);
	if (rc != -ECONNREFUSED) {
		error_set(err, -EADDRINUSE, "another program listens on %s", sun->sun_path);
		error_hint(err, "is a sluiced running on the same data? Stop it, or give another "
				"--listen");
		return -EADDRINUSE;
	}
	if (unlink(sun->sun_path) != 0 && errno != ENOENT) {
		return system_error(err, "removing the stale", sun->sun_path);
	}
	return 0;
}

/* Nobody else gets in between bind() and the final owner: the file is made with mode 0600. */
static int bind_unix(int fd, const struct sockaddr_un *sun, struct error *err)
{
	struct group *group = getgrnam(GROUP);

	if (fchmod(fd, 0600) != 0 || bind(fd, (const struct sockaddr *)sun, sizeof(*sun)) != 0) {
		return system_error(err, "listening on", sun->sun_path);
	}
	if (group != NULL && chown(sun->sun_path, (uid_t)-1, group->gr_gid) != 0) {
		log_warn("api: %s: cannot be given to the group %s: %m", sun->sun_path, GROUP);
	}
	if (chmod(sun->sun_path, 0660) != 0) {
		return system_error(err, "listening on", sun->sun_path);
	}
	return 0;
}

static int listen_unix(
    const char *path, struct api_listener *listener, int *ret_fd, struct error *err)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int fd;
	int rc;

	if (path[0] != '/' || strlen(path) >= sizeof(sun.sun_path)) {
		error_set(err, -EINVAL, "'unix:%s' is no address to listen on", path);
		error_hint(err, "give an absolute path of at most %zu characters",
		    sizeof(sun.sun_path) - 1);
		return -EINVAL;
	}
	strcpy(sun.sun_path, path);
	rc = remove_stale(&sun, err);
	if (rc != 0) {
		return rc;
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0) {
		return system_error(err, "making a socket for", path);
	}
	rc = bind_unix(fd, &sun, err);
	if (rc == 0 && listen(fd, BACKLOG) != 0) {
		rc = system_error(err, "listening on", path);
	}
	if (rc != 0) {
		close(fd);
		return rc;
	}
	strcpy(listener->unix_path, path);
	snprintf(listener->address, sizeof(listener->address), "unix:%s", path);
	*ret_fd = fd;
	return 0;
}

/* "HOST:PORT" or "[HOST]:PORT", numeric or `localhost`. */
static int parse_tcp(const char *text, struct addrinfo **ret_info, struct error *err)
{
	const struct addrinfo hints = {.ai_family = AF_UNSPEC,
	    .ai_socktype = SOCK_STREAM,
	    .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
	const char *colon = strrchr(text, ':');
	char host[80] = "";
	size_t len;

	if (colon != NULL && colon != text && colon[1] != '\0') {
		len = (size_t)(colon - text);
		if (text[0] == '[' && colon[-1] == ']') {
			text++;
			len -= 2;
		}
		snprintf(host, sizeof(host), "%.*s", (int)MIN(len, sizeof(host) - 1), text);
	}
	if (host[0] == '\0' || getaddrinfo(host, colon + 1, &hints, ret_info) != 0) {
		error_set(err, -EINVAL, "'tcp:%s' is no address to listen on", text);
		error_hint(err, "give tcp:HOST:PORT, such as tcp:127.0.0.1:8080 or tcp:[::1]:8080");
		return -EINVAL;
	}
	return 0;
}

static bool is_loopback(const struct sockaddr *sa)
{
	if (sa->sa_family == AF_INET) {
		const struct sockaddr_in *sin = (const struct sockaddr_in *)sa;

		return ntohl(sin->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
	}
	return sa->sa_family == AF_INET6 &&
	       IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)sa)->sin6_addr);
}

/* The address that fd is bound to, with the port that the kernel chose. */
static void describe_tcp(int fd, struct api_listener *listener)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	char host[64] = "?";
	char port[16] = "?";

	if (getsockname(fd, (struct sockaddr *)&ss, &len) == 0) {
		getnameinfo((struct sockaddr *)&ss, len, host, sizeof(host), port, sizeof(port),
		    NI_NUMERICHOST | NI_NUMERICSERV);
	}
	snprintf(listener->address, sizeof(listener->address),
	    strchr(host, ':') != NULL ? "tcp:[%s]:%s" : "tcp:%s:%s", host, port);
}

static int bind_tcp(const struct addrinfo *info, const char *text, int *ret_fd, struct error *err)
{
	int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int rc = 0;

	if (fd < 0) {
		return system_error(err, "making a socket for", text);
	}
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)) != 0 ||
	    bind(fd, info->ai_addr, info->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
		rc = system_error(err, "listening on", text);
		close(fd);
		return rc;
	}
	*ret_fd = fd;
	return 0;
}

static int listen_tcp(
    const char *text, struct api_listener *listener, int *ret_fd, struct error *err)
{
	struct addrinfo *info;
	int rc = parse_tcp(text, &info, err);
	int fd = -1;

	if (rc != 0) {
		return rc;
	}
	if (!is_loopback(info->ai_addr)) {
		freeaddrinfo(info);
		error_set(err, -EACCES,
		    "tcp:%s is beyond loopback, and the API has no "
		    "authentication yet",
		    text);
		error_hint(err, "listen on 127.0.0.1 or [::1], and reach it through a tunnel such "
				"as ssh -L");
		return -EACCES;
	}
	rc = bind_tcp(info, text, &fd, err);
	freeaddrinfo(info);
	if (rc == 0) {
		describe_tcp(fd, listener);
		*ret_fd = fd;
	}
	return rc;
}

int api_listen(const char *address, struct api_listener *listener, int *ret_fd, struct error *err)
{
	if (strncmp(address, "unix:", 5) == 0) {
		return listen_unix(address + 5, listener, ret_fd, err);
	}
	if (strncmp(address, "tcp:", 4) == 0) {
		return listen_tcp(address + 4, listener, ret_fd, err);
	}
	error_set(err, -EINVAL, "'%s' is no address to listen on", address);
	error_hint(err, "give unix:PATH or tcp:HOST:PORT");
	return -EINVAL;
}
