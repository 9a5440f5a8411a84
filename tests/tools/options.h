/*
 * The command line of nbdverify.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define MAX_CONNECTIONS 16
#define MAX_DEPTH 256

enum kind { KIND_READ, KIND_WRITE, KIND_ZERO, KIND_TRIM, KIND_FLUSH, KIND_COUNT };

struct options {
	const char *uri;
	const char *state;
	uint64_t seed;
	uint64_t range_offset;
	uint64_t range_length; /* 0 = to the end */
	unsigned depth;
	unsigned connections;
	unsigned block;
	unsigned max_blocks;
	unsigned weights[KIND_COUNT];
	unsigned reconnect_s; /* 0: a lost connection is an error */
	double seconds;	      /* 0 = until told to stop */
	bool check_first;
};

/* Ends the program with status 2 and the usage when they make no sense. */
void options_parse(struct options *o, int argc, char **argv);
