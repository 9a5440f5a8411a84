/*
 * Names to socket addresses without stopping a reactor: numeric ones at once, others on a worker.
 *
 * Thread rule: resolve_numeric() any thread; resolve_job_run() is for worker_submit().
 */
#pragma once

#include <sys/socket.h>

#include "base/error.h"
#include "lu/drivers/worker.h"

#define RESOLVE_MAX 4

struct resolve_address {
	struct sockaddr_storage storage;
	socklen_t length;
};

struct resolve {
	char host[256];
	char port[12];
	struct resolve_address addresses[RESOLVE_MAX]; /* in the order to try them */
	unsigned count;				       /* 0 = failed, see error */
	struct error error;
	struct worker_job job;
};

/* True when host is a numeric address: addresses and count are filled. */
bool resolve_numeric(struct resolve *r);
/* The job's run: fills addresses, or error. */
void resolve_job_run(struct worker_job *job);
/* "1.2.3.4:80", "[::1]:80"; returns buf. */
const char *resolve_format(const struct resolve_address *a, char *buf, size_t len);
