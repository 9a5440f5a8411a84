#include "daemon/options.h"

#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "base/log.h"

#define REACTORS_MAX 64
#define REACTORS_DEFAULT_MAX 4
#define POLL_US_DEFAULT 0 /* over sockets, polling costs more than it brings */

/*   X(NAME, "long name", "argument", "help")   NULL argument: none */
#define OPTIONS(X)                                                                                 \
	X(DATA, "data", "DIR", "where the configuration is kept (required; made when missing)")    \
	X(NODE, "node", "NAME", "this node's name (default: the host name)")                       \
	X(STORE, "store", "sqlite", "the kind of store: sqlite (default)")                         \
	X(LISTEN, "listen", "unix:PATH|tcp:HOST:PORT",                                             \
	    "where the API listens; may be repeated (default: unix:DIR/api.sock)")                 \
	X(REACTORS, "reactors", "N", "threads that carry I/O (default: one per CPU, at most 4)")   \
	X(POLL_US, "poll-us", "N",                                                                 \
	    "microseconds that an idle reactor polls before it sleeps (default 0: never polls)")   \
	X(IO_TIMEOUT, "io-timeout", "MS",                                                          \
	    "milliseconds without an answer after which a session is lost (default 5000)")         \
	X(NO_PATH_TIMEOUT, "no-path-timeout", "MS",                                                \
	    "milliseconds that requests wait for a path to come back (default 30000)")             \
	X(LOG_LEVEL, "log-level", "L", "error, warn, info (default) or debug")                     \
	X(VERSION, "version", NULL, "print the version")                                           \
	X(HELP, "help", NULL, "print this help")

enum option_id {
#define X(name, text, argument, help) OPT_##name,
	OPTIONS(X)
#undef X
	    OPT_COUNT
};

static const struct option long_options[] = {
#define X(name, text, argument, help)                                                              \
	{text, (argument) != NULL ? required_argument : no_argument, NULL, OPT_##name},
    OPTIONS(X)
#undef X
	{NULL, 0, NULL, 0},
};

static void print_help(void)
{
	static const struct {
		const char *name;
		const char *argument;
		const char *help;
	} rows[] = {
#define X(name, text, argument, help) {text, argument, help},
	    OPTIONS(X)
#undef X
	};

	printf("usage: sluiced --data DIR [options]\n\n"
	       "Serves virtual disks, and changes what is behind them while they are used.\n"
	       "Configure it with sluice(1).\n\n");
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char left[64];

		snprintf(left, sizeof(left), "--%s%s%s", rows[i].name,
		    rows[i].argument != NULL ? " " : "",
		    rows[i].argument != NULL ? rows[i].argument : "");
		printf(strlen(left) < 24 ? "  %-24s %s\n" : "  %s\n                           %s\n",
		    left, rows[i].help);
	}
}

static int parse_number(const char *option, const char *text, unsigned long min, unsigned long max,
    unsigned *ret_value, struct error *err)
{
	char *end;
	unsigned long v;

	errno = 0;
	v = strtoul(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || text[0] == '-' || v < min || v > max) {
		return error_set(err, -EINVAL, "--%s takes a whole number from %lu to %lu, not %s",
		    option, min, max, text);
	}
	*ret_value = (unsigned)v;
	return 0;
}

static unsigned default_reactors(void)
{
	cpu_set_t cpus;

	if (sched_getaffinity(0, sizeof(cpus), &cpus) != 0) {
		return 1;
	}
	return MIN((unsigned)CPU_COUNT(&cpus), REACTORS_DEFAULT_MAX);
}

static int set_option(int id, struct daemon_config *c, struct error *err)
{
	enum log_level level;

	switch ((enum option_id)id) {
	case OPT_DATA:
		c->data_dir = optarg;
		return 0;
	case OPT_NODE:
		c->node = optarg;
		return 0;
	case OPT_STORE:
		return strcmp(optarg, "sqlite") == 0
			   ? 0
			   : error_set(
				 err, -EINVAL, "--store: only sqlite is there, not %s", optarg);
	case OPT_LISTEN:
		if (c->nr_listen == DAEMON_LISTEN_MAX) {
			return error_set(
			    err, -EINVAL, "--listen: at most %d of them", DAEMON_LISTEN_MAX);
		}
		c->listen[c->nr_listen++] = optarg;
		return 0;
	case OPT_REACTORS:
		return parse_number("reactors", optarg, 1, REACTORS_MAX, &c->reactors, err);
	case OPT_POLL_US:
		return parse_number("poll-us", optarg, 0, 1000000, &c->poll_us, err);
	case OPT_IO_TIMEOUT:
		return parse_number("io-timeout", optarg, 100, 3600000, &c->io_timeout_ms, err);
	case OPT_NO_PATH_TIMEOUT:
		return parse_number(
		    "no-path-timeout", optarg, 100, 86400000, &c->no_path_timeout_ms, err);
	case OPT_LOG_LEVEL:
		if (log_level_parse(optarg, &level) != 0) {
			return error_set(err, -EINVAL, "--log-level: there is no level %s", optarg);
		}
		log_set_level(level);
		return 0;
	case OPT_VERSION:
	case OPT_HELP:
	case OPT_COUNT:
		break;
	}
	return error_set(err, -EINVAL, "see sluiced --help");
}

/* What was not said. */
static int fill_defaults(struct daemon_config *c, struct error *err)
{
	static char listen[4200];
	static struct utsname host;

	if (c->data_dir == NULL) {
		error_set(err, -EINVAL, "--data is missing");
		return error_hint(err, "say where the configuration is kept: sluiced --data DIR");
	}
	if (c->node == NULL) {
		uname(&host);
		c->node = host.nodename;
	}
	if (c->nr_listen == 0) {
		if (snprintf(listen, sizeof(listen), "unix:%s/api.sock", c->data_dir) >=
		    (int)sizeof(listen)) {
			return error_set(err, -ENAMETOOLONG, "--data: the path is too long");
		}
		c->listen[c->nr_listen++] = listen;
	}
	return 0;
}

enum options_outcome options_parse(
    int argc, char **argv, struct daemon_config *config, struct error *err)
{
	int id;

	*config =
	    (struct daemon_config){.reactors = default_reactors(), .poll_us = POLL_US_DEFAULT};
	opterr = 0;
	while ((id = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		if (id == OPT_HELP) {
			print_help();
			return OPTIONS_HELP;
		}
		if (id == OPT_VERSION) {
			printf("sluiced %s\n", SLUICE_VERSION);
			return OPTIONS_VERSION;
		}
		if (id == '?') {
			error_set(err, -EINVAL, "option %s is not known or lacks its argument",
			    argv[optind - 1]);
			error_hint(err, "see sluiced --help");
			return OPTIONS_BAD;
		}
		if (set_option(id, config, err) != 0) {
			return OPTIONS_BAD;
		}
	}
	if (optind < argc) {
		error_set(err, -EINVAL, "%s: sluiced takes options only", argv[optind]);
		return OPTIONS_BAD;
	}
	return fill_defaults(config, err) == 0 ? OPTIONS_RUN : OPTIONS_BAD;
}
