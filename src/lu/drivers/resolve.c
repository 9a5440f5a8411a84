#include "lu/drivers/resolve.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

static int look_up(struct resolve *r, int flags)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = flags | AI_NUMERICSERV};
	struct addrinfo *list = NULL;
	int e = getaddrinfo(r->host, r->port, &hints, &list);

	r->count = 0;
	if (e != 0) {
		return e;
	}
	for (const struct addrinfo *a = list; a != NULL && r->count < RESOLVE_MAX; a = a->ai_next) {
		if (a->ai_addrlen <= sizeof(r->addresses[0].storage)) {
			memcpy(&r->addresses[r->count].storage, a->ai_addr, a->ai_addrlen);
			r->addresses[r->count].length = a->ai_addrlen;
			r->count++;
		}
	}
	freeaddrinfo(list);
	return 0;
}

bool resolve_numeric(struct resolve *r)
{
	return look_up(r, AI_NUMERICHOST) == 0 && r->count > 0;
}

void resolve_job_run(struct worker_job *job)
{
	struct resolve *r = container_of(job, struct resolve, job);
	int e = look_up(r, 0);

	if (e != 0 || r->count == 0) {
		error_set(&r->error, -EHOSTUNREACH, "cannot resolve %s: %s", r->host,
		    e != 0 ? gai_strerror(e) : "no address");
		error_hint(&r->error, "check the name, or give a numeric address");
	}
}

const char *resolve_format(const struct resolve_address *a, char *buf, size_t len)
{
	char host[64];
	char port[8];

	if (getnameinfo((const struct sockaddr *)&a->storage, a->length, host, sizeof(host), port,
		sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
		snprintf(buf, len, "?");
	} else {
		snprintf(buf, len, strchr(host, ':') != NULL ? "[%s]:%s" : "%s:%s", host, port);
	}
	return buf;
}
