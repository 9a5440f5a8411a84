/* sluice event watch: one line per event until somebody ends it. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

static int on_event(void *context, const struct sluice_event *event)
{
	const struct cli_args *args = context;

	if (args->json) {
		printf("%s\n", event->json);
	} else if (strcmp(event->type, "lost") == 0) {
		printf("(older events are no longer kept)\n");
	} else {
		printf("%8" PRIu64 "  %.10s %.12s  ", event->seq, event->time,
		    strlen(event->time) > 11 ? event->time + 11 : "");
		print_colored(event->level, 5);
		printf("  %s: %s\n", event->type, event->message);
	}
	/* A pipe whose reader has gone ends the watch. */
	return fflush(stdout) == 0 ? 0 : -EPIPE;
}

static int parse_since(const char *text, uint64_t *ret_since)
{
	char *end;

	if (text == NULL) {
		*ret_since = SLUICE_NEW_EVENTS;
		return 0;
	}
	errno = 0;
	*ret_since = strtoull(text, &end, 10);
	return isdigit((unsigned char)text[0]) && *end == '\0' && errno == 0 &&
		       *ret_since <= INT64_MAX
		   ? 0
		   : -EINVAL;
}

int watch_run(const struct cli_args *args)
{
	struct sluice_connection *connection;
	struct sluice_error error;
	uint64_t since;
	int rc;

	if (parse_since(cli_option_value(args, "--since"), &since) != 0) {
		cli_fail("--since needs a number", "see `sluice event watch --help`");
		return CLI_USAGE;
	}
	if (sluice_connect(args->connect, &connection, &error) != 0) {
		return cli_fail(error.message, error.hint);
	}
	rc = sluice_watch(connection, since, cli_option_value(args, "--type"), on_event, NULL,
	    (void *)args, &error);
	sluice_close(connection);
	return rc == -EPIPE ? CLI_DONE : cli_fail(error.message, error.hint);
}
