/*
 * Connecting and negotiating, blocking and without haste.
 */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/bytes.h"
#include "client.h"

#define NBD_MAGIC 0x4e42444d41474943ull
#define NBD_OPTION_MAGIC 0x49484156454f5054ull
#define NBD_OPTION_REPLY_MAGIC 0x0003e889045565a9ull
#define NBD_FLAG_FIXED_NEWSTYLE 1u
#define NBD_FLAG_NO_ZEROES 2u
#define NBD_OPT_GO 7u
#define NBD_OPT_STRUCTURED_REPLY 8u
#define NBD_REP_ACK 1u
#define NBD_REP_INFO 3u
#define NBD_REP_ERROR (1u << 31)
#define NBD_INFO_EXPORT 0u

#define SILENCE_SECONDS 30

static int fail(const char *what, int code)
{
	fprintf(stderr, "nbdload: %s: %s\n", what, strerror(-code));
	return code;
}

static int connect_unix(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd;

	if (strlen(path) >= sizeof(address.sun_path)) {
		return -ENAMETOOLONG;
	}
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		int r = -errno;

		close(fd);
		return r;
	}
	return fd >= 0 ? fd : -errno;
}

static int connect_tcp(const char *host_port)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	const char *colon = strrchr(host_port, ':');
	struct addrinfo *found;
	const int one = 1;
	char host[256];
	int fd;
	int r = 0;

	if (colon == NULL || (size_t)(colon - host_port) >= sizeof(host)) {
		return -EINVAL;
	}
	snprintf(host, sizeof(host), "%.*s", (int)(colon - host_port), host_port);
	if (getaddrinfo(host, colon + 1, &hints, &found) != 0) {
		return -EHOSTUNREACH;
	}
	fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, found->ai_addr, found->ai_addrlen) < 0 ||
	    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) < 0) {
		r = -errno;
	}
	freeaddrinfo(found);
	if (r < 0 && fd >= 0) {
		close(fd);
	}
	return r < 0 ? r : fd;
}

static int connect_address(const char *address)
{
	const struct timeval silence = {.tv_sec = SILENCE_SECONDS};
	const int buffer = 4 << 20;
	int fd = -EINVAL;

	if (strncmp(address, "unix:", 5) == 0) {
		fd = connect_unix(address + 5);
	} else if (strncmp(address, "tcp:", 4) == 0) {
		fd = connect_tcp(address + 4);
	}
	if (fd < 0) {
		return fail(address, fd);
	}
	/* As much as an unprivileged program gets: a full pipe is what is measured. */
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer));
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof(silence));
	return fd;
}

static int read_all(int fd, void *to, size_t len)
{
	ssize_t n = recv(fd, to, len, MSG_WAITALL);

	if (n == (ssize_t)len) {
		return 0;
	}
	return n < 0 ? -errno : -ECONNRESET;
}

static int write_all(int fd, const void *from, size_t len)
{
	ssize_t n = send(fd, from, len, MSG_NOSIGNAL);

	if (n == (ssize_t)len) {
		return 0;
	}
	return n < 0 ? -errno : -ECONNRESET;
}

static int send_option(int fd, uint32_t option, const void *data, uint32_t len)
{
	unsigned char out[16 + 1024];

	if (len > sizeof(out) - 16) {
		return -ENAMETOOLONG;
	}
	store_be64(out, NBD_OPTION_MAGIC);
	store_be32(out + 8, option);
	store_be32(out + 12, len);
	memcpy(out + 16, data, len);
	return write_all(fd, out, 16 + len);
}

/* Reads one reply to an option; NBD_INFO_EXPORT is taken into c. */
static int read_option_reply(struct client *c, uint32_t *ret_type)
{
	unsigned char head[20];
	unsigned char data[4096];
	uint32_t len;
	int r = read_all(c->fd, head, sizeof(head));

	if (r < 0) {
		return r;
	}
	len = load_be32(head + 16);
	if (load_be64(head) != NBD_OPTION_REPLY_MAGIC || len > sizeof(data)) {
		return -EPROTO;
	}
	/* To receive nothing would wait for something. */
	r = len > 0 ? read_all(c->fd, data, len) : 0;
	if (r < 0) {
		return r;
	}
	*ret_type = load_be32(head + 12);
	if (*ret_type == NBD_REP_INFO && len >= 12 && load_be16(data) == NBD_INFO_EXPORT) {
		c->size = load_be64(data + 2);
	}
	return 0;
}

static int negotiate_structured(struct client *c)
{
	uint32_t type = 0;
	int r = send_option(c->fd, NBD_OPT_STRUCTURED_REPLY, "", 0);

	if (r == 0) {
		r = read_option_reply(c, &type);
	}
	c->structured = type == NBD_REP_ACK;
	return r;
}

static int negotiate_go(struct client *c, const char *name)
{
	uint32_t name_len = (uint32_t)strlen(name);
	unsigned char data[4 + 512 + 2];
	uint32_t type = 0;
	int r;

	if (name_len > 512) {
		return -ENAMETOOLONG;
	}
	store_be32(data, name_len);
	memcpy(data + 4, name, name_len);
	store_be16(data + 4 + name_len, 0);
	r = send_option(c->fd, NBD_OPT_GO, data, 4 + name_len + 2);
	while (r == 0 && type != NBD_REP_ACK) {
		r = read_option_reply(c, &type);
		if (r == 0 && (type & NBD_REP_ERROR) != 0) {
			r = -ENOENT;
		}
	}
	return r;
}

static int negotiate(struct client *c, const struct client_options *options)
{
	unsigned char hello[18];
	unsigned char flags[4];
	int r = read_all(c->fd, hello, sizeof(hello));

	if (r < 0) {
		return r;
	}
	if (load_be64(hello) != NBD_MAGIC || load_be64(hello + 8) != NBD_OPTION_MAGIC ||
	    (load_be16(hello + 16) & NBD_FLAG_FIXED_NEWSTYLE) == 0) {
		return -EPROTO;
	}
	store_be32(flags, load_be16(hello + 16) & (NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES));
	r = write_all(c->fd, flags, sizeof(flags));
	if (r == 0 && options->structured) {
		r = negotiate_structured(c);
	}
	return r == 0 ? negotiate_go(c, options->export_name) : r;
}

int client_connect(struct client *c, const struct client_options *options)
{
	int r;

	*c = (struct client){.callbacks = options->callbacks, .depth = options->depth};
	c->fd = connect_address(options->address);
	if (c->fd < 0) {
		return c->fd;
	}
	c->slots = calloc(c->depth, sizeof(*c->slots));
	c->queue = calloc(c->depth, sizeof(*c->queue));
	c->in = malloc(CLIENT_IN_SIZE);
	r = c->slots != NULL && c->queue != NULL && c->in != NULL ? negotiate(c, options) : -ENOMEM;
	if (r < 0) {
		client_close(c);
		return fail("negotiation", r);
	}
	return 0;
}
