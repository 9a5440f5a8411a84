#include "lu/drivers/iscsi_url.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SCHEME "iscsi://"
#define DEFAULT_PORT 3260
#define MAX_LUN 255

/* Never shows the text, which may have a secret in it. */
static int malformed(struct error *err, const char *what)
{
	error_set(err, -EINVAL, "the iSCSI URL %s", what);
	error_hint(err, "e.g. iscsi://192.0.2.1:3260/iqn.2026-01.com.example:disks/1");
	return -EINVAL;
}

static int copy(char *out, size_t room, const char *from, const char *end)
{
	size_t len = (size_t)(end - from);

	if (len == 0 || len >= room) {
		return -EINVAL;
	}
	memcpy(out, from, len);
	out[len] = '\0';
	return 0;
}

static int parse_number(const char *from, const char *end, unsigned max, unsigned *ret_value)
{
	unsigned long n = 0;

	if (from == end || end - from > 5) {
		return -EINVAL;
	}
	for (; from < end; from++) {
		if (!isdigit((unsigned char)*from)) {
			return -EINVAL;
		}
		n = n * 10 + (unsigned long)(*from - '0');
	}
	if (n > max) {
		return -EINVAL;
	}
	*ret_value = (unsigned)n;
	return 0;
}

static int parse_portal(
    const char *from, const char *end, struct iscsi_address *a, struct error *err)
{
	const char *host_end;
	const char *colon;
	unsigned port = DEFAULT_PORT;

	if (from < end && *from == '[') {
		from++;
		host_end = memchr(from, ']', (size_t)(end - from));
		if (host_end == NULL) {
			return malformed(err, "has no ] after an IPv6 address");
		}
		colon = host_end + 1;
	} else {
		colon = memchr(from, ':', (size_t)(end - from));
		colon = colon == NULL ? end : colon;
		host_end = colon;
	}
	if (copy(a->host, sizeof(a->host), from, host_end) < 0) {
		return malformed(err, "has no usable host");
	}
	if (colon != end &&
	    (*colon != ':' || parse_number(colon + 1, end, UINT16_MAX, &port) < 0 || port == 0)) {
		return malformed(err, "has a bad port");
	}
	snprintf(a->port, sizeof(a->port), "%u", port);
	return 0;
}

static int parse_user(const char *from, const char *end, struct iscsi_address *a, struct error *err)
{
	const char *percent = memchr(from, '%', (size_t)(end - from));

	if (percent == NULL || copy(a->user, sizeof(a->user), from, percent) < 0 ||
	    copy(a->secret, sizeof(a->secret), percent + 1, end) < 0) {
		return malformed(err, "needs user%secret before the @");
	}
	return 0;
}

int iscsi_address_parse(const char *text, struct iscsi_address *ret_address, struct error *err)
{
	struct iscsi_address a = {0};
	const char *portal = text + strlen(SCHEME);
	const char *target;
	const char *lun;
	const char *at;
	int r = 0;

	if (strncmp(text, SCHEME, strlen(SCHEME)) != 0) {
		return malformed(err, "must begin with " SCHEME);
	}
	/* A secret may have an @ or a slash in it; names of hosts and targets have no @. */
	at = strrchr(portal, '@');
	if (at != NULL) {
		r = parse_user(portal, at, &a, err);
		portal = at + 1;
	}
	target = strchr(portal, '/');
	lun = target == NULL ? NULL : strchr(target + 1, '/');
	if (r == 0 && lun == NULL) {
		r = malformed(err, "needs a target name and a LUN");
	}
	if (r == 0) {
		r = parse_portal(portal, target, &a, err);
	}
	if (r == 0 && (copy(a.target, sizeof(a.target), target + 1, lun) < 0 ||
			  strpbrk(a.target, "?#&% ") != NULL)) {
		r = malformed(err, "has no usable target name");
	}
	if (r == 0 && parse_number(lun + 1, lun + strlen(lun), MAX_LUN, &a.lun) < 0) {
		r = malformed(err, "needs a LUN of 0 to 255 at its end");
	}
	if (r == 0) {
		*ret_address = a;
	}
	return r;
}
