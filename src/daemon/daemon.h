/*
 * The wiring of a daemon: reactors, store, control plane, API; up in that order, down in the other.
 */
#pragma once

#include <stddef.h>

#include "base/error.h"

#define DAEMON_LISTEN_MAX 8

struct daemon_config {
	const char *data_dir;
	const char *node;
	const char *listen[DAEMON_LISTEN_MAX];
	size_t nr_listen;
	unsigned reactors;
	unsigned poll_us;
	unsigned io_timeout_ms;	     /* 0 = default */
	unsigned no_path_timeout_ms; /* 0 = default */
};

/*
 * Runs until SIGTERM or SIGINT. 0 after a clean end; else the error that ended it. Call it once, from the main thread, with no
 * other thread running.
 */
int daemon_run(const struct daemon_config *config, struct error *err);
