#include "lu/drivers/nbd_uri.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_PORT "10809"

static int malformed(struct error *err, const char *what)
{
	error_set(err, -EINVAL, "the NBD URI %s", what);
	error_hint(err, "e.g. nbd://192.0.2.1:10809/disk or "
			"nbd+unix:///disk?socket=/run/nbd.sock");
	return -EINVAL;
}

static int hex_value(char c)
{
	return isdigit((unsigned char)c) ? c - '0' : tolower((unsigned char)c) - 'a' + 10;
}

/* Undoes %XX. -EINVAL for a bad escape, a NUL, or what does not fit. */
static int decode(const char *text, size_t len, char *out, size_t room)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		char c = text[i];

		if (c == '%') {
			if (len - i < 3 || !isxdigit((unsigned char)text[i + 1]) ||
			    !isxdigit((unsigned char)text[i + 2])) {
				return -EINVAL;
			}
			c = (char)(hex_value(text[i + 1]) * 16 + hex_value(text[i + 2]));
			i += 2;
		}
		if (c == '\0' || n + 1 >= room) {
			return -EINVAL;
		}
		out[n++] = c;
	}
	out[n] = '\0';
	return 0;
}

/* host, host:port, [v6], [v6]:port */
static int parse_authority(const char *text, size_t len, struct nbd_uri *u, struct error *err)
{
	const char *end = text + len;
	const char *host = text;
	const char *host_end;
	const char *port = NULL;
	char *rest;
	unsigned long n;

	if (memchr(text, '@', len) != NULL) {
		return malformed(err, "has a user name, which only TLS uses");
	}
	if (len > 0 && text[0] == '[') {
		host++;
		host_end = memchr(host, ']', len - 1);
		if (host_end == NULL) {
			return malformed(err, "has no ] after an IPv6 address");
		}
		port = host_end + 1;
	} else {
		host_end = memchr(text, ':', len);
		host_end = host_end == NULL ? end : host_end;
		port = host_end;
	}
	if (host == host_end || (size_t)(host_end - host) >= sizeof(u->host)) {
		return malformed(err, "has no usable host");
	}
	memcpy(u->host, host, (size_t)(host_end - host));
	u->host[host_end - host] = '\0';
	snprintf(u->port, sizeof(u->port), DEFAULT_PORT);
	if (port == end) {
		return 0;
	}
	if (*port != ':' || end - port < 2 || end - port > 6) {
		return malformed(err, "has a bad port");
	}
	n = strtoul(port + 1, &rest, 10);
	if (rest != end || !isdigit((unsigned char)port[1]) || n == 0 || n > UINT16_MAX) {
		return malformed(err, "has a bad port");
	}
	snprintf(u->port, sizeof(u->port), "%lu", n);
	return 0;
}

static int parse_query(const char *query, struct nbd_uri *u, struct error *err)
{
	static const char key[] = "socket=";

	if (query == NULL || strncmp(query, key, strlen(key)) != 0 || strchr(query, '&') != NULL) {
		return malformed(err, "needs ?socket=PATH and nothing else after the ?");
	}
	query += strlen(key);
	if (decode(query, strlen(query), u->socket, sizeof(u->socket)) < 0 || u->socket[0] != '/') {
		return malformed(err, "needs an absolute socket path of at most 107 bytes");
	}
	return 0;
}

int nbd_uri_parse(const char *text, struct nbd_uri *ret_uri, struct error *err)
{
	static const char tcp[] = "nbd://";
	static const char local[] = "nbd+unix://";
	struct nbd_uri u = {0};
	const char *authority;
	const char *query = strchr(text, '?');
	const char *path;
	size_t path_len;
	int r;

	if (strncmp(text, tcp, strlen(tcp)) == 0) {
		authority = text + strlen(tcp);
	} else if (strncmp(text, local, strlen(local)) == 0) {
		authority = text + strlen(local);
		u.is_unix = true;
	} else {
		return malformed(err, "must begin with nbd:// or nbd+unix:// (no TLS yet)");
	}
	if (strchr(text, '#') != NULL) {
		return malformed(err, "must not have a fragment (#)");
	}
	path = authority + strcspn(authority, "/?");
	r = u.is_unix ? (path == authority ? 0 : malformed(err, "must not have a host here"))
		      : parse_authority(authority, (size_t)(path - authority), &u, err);
	if (r == 0 && u.is_unix) {
		r = parse_query(query == NULL ? NULL : query + 1, &u, err);
	} else if (r == 0 && query != NULL) {
		r = malformed(err, "must not have a query (?) here");
	}
	if (r < 0) {
		return r;
	}
	/* The first slash separates, it is not part of the name. */
	path += *path == '/' ? 1 : 0;
	path_len = query == NULL ? strlen(path) : (size_t)(query - path);
	if (decode(path, path_len, u.export_name, sizeof(u.export_name)) < 0) {
		return malformed(err, "has a bad export name");
	}
	*ret_uri = u;
	return 0;
}
