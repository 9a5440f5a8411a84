/*
 * The command line of sluiced: one table makes the parser and --help, which the man page is checked against.
 *
 * Thread rule: before any other thread runs.
 */
#pragma once

#include "daemon/daemon.h"

enum options_outcome {
	OPTIONS_RUN,
	OPTIONS_HELP,	 /* --help was printed */
	OPTIONS_VERSION, /* --version was printed */
	OPTIONS_BAD,	 /* err says what */
};

/* Strings in config point into argv or to static memory. Sets the log level. */
enum options_outcome options_parse(
    int argc, char **argv, struct daemon_config *config, struct error *err);
