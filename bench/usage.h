/*
 * Processor time used by this process, by a server, and by the whole machine. Any thread.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

struct usage {
	uint64_t clock_ns;   /* monotonic */
	uint64_t self_ns;    /* this process */
	uint64_t server_ns;  /* all threads of the server, kernel workers included; 0 without one */
	uint64_t machine_ns; /* all processors, everything but idle and waiting for I/O */
};

uint64_t usage_clock_ns(void);
/* server: its process number, or 0. */
struct usage usage_read(pid_t server);
