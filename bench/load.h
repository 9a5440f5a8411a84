/*
 * A load on one export: requests of one size, a fixed number in flight on each connection, measured
 * for a time.
 *
 * Thread rule: one thread.
 */
#pragma once

#include <sys/types.h>

#include "client.h"

#define LOAD_MAX_CONNECTIONS 1024u

struct load_options {
	struct client_options client; /* depth is per connection; callbacks are the load's own */
	unsigned connections;
	unsigned read_percent; /* of the requests; the others are writes */
	bool sequential;
	uint32_t block; /* bytes */
	uint64_t size;	/* bytes used of the export, 0 = all */
	double warmup_s;
	double seconds;
	pid_t server; /* whose processor time is read, 0 = nobody's */
	bool verify;  /* fills the range first, and checks whatever is read */
	uint64_t seed;
};

/* Runs it and prints one line of JSON. 0, or -errno with a line on stderr; errors and mismatches
 * are counted, not returned. */
int load_run(const struct load_options *options);
