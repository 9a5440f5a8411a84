/*
 * sluiced: exit status 0 after a clean end, 1 when it could not start or had to stop, 2 for a bad command line.
 */
#include <stdio.h>

#include "daemon/options.h"

static void say(const struct error *err)
{
	fprintf(
	    stderr, "sluiced: %s%s%s\n", err->message, err->hint[0] != '\0' ? ": " : "", err->hint);
}

int main(int argc, char **argv)
{
	struct daemon_config config;
	struct error err = {0};

	switch (options_parse(argc, argv, &config, &err)) {
	case OPTIONS_HELP:
	case OPTIONS_VERSION:
		return 0;
	case OPTIONS_BAD:
		say(&err);
		return 2;
	case OPTIONS_RUN:
		break;
	}
	if (daemon_run(&config, &err) != 0) {
		say(&err);
		return 1;
	}
	return 0;
}
