#include <locale.h>
#include <string.h>

#include "cli.h"

int cli_fail(const char *message, const char *hint)
{
	fprintf(stderr, "sluice: %s%s%s\n", message, hint[0] != '\0' ? "; " : "", hint);
	return CLI_FAILED;
}

int version_run(const struct cli_args *args)
{
	printf(args->json ? "{\"version\": \"%s\"}\n" : "sluice %s\n", sluice_version());
	return CLI_DONE;
}

static int print_json(const struct cli_command *command, json_t *answer)
{
	json_dumpf(answer, stdout, JSON_INDENT(2));
	putchar('\n');
	return command->judge != NULL ? command->judge(answer) : CLI_DONE;
}

static int print_answer(const struct cli_args *args, const char *text)
{
	json_t *answer = json_loads(text, 0, NULL);
	int status;

	if (!json_is_object(answer)) {
		json_decref(answer);
		return cli_fail(
		    "the answer is not a JSON object", "is it sluiced that listens there?");
	}
	status = args->json ? print_json(args->command, answer) : args->command->print(answer);
	json_decref(answer);
	return status;
}

/* body may be NULL. */
static int call(const struct cli_args *args, const char *path, const json_t *body)
{
	struct sluice_connection *connection;
	struct sluice_error error;
	char *answer = NULL;
	char *text = body != NULL ? json_dumps(body, JSON_COMPACT) : NULL;
	int rc = sluice_connect(args->connect, &connection, &error);

	if (rc == 0) {
		rc = sluice_call(connection, args->command->method, path, text, &answer, &error);
		sluice_close(connection);
	}
	sluice_free(text);
	if (rc != 0) {
		return cli_fail(error.message, error.hint);
	}
	rc = print_answer(args, answer);
	sluice_free(answer);
	return rc;
}

static int run(const struct cli_args *args)
{
	struct error err = {0};
	char path[8192];
	json_t *body;
	int status;

	if (args->command->run != NULL) {
		return args->command->run(args);
	}
	if (cli_request(args, path, sizeof(path), &body, &err) != 0) {
		cli_fail(err.message, err.hint);
		return CLI_USAGE;
	}
	status = call(args, path, body);
	json_decref(body);
	return status;
}

int main(int argc, char **argv)
{
	struct error err = {0};
	struct cli_args args;
	int status = CLI_DONE;

	setlocale(LC_CTYPE, "");
	if (cli_parse(argc, argv, &args, &err) != 0) {
		cli_fail(err.message, err.hint);
		return CLI_USAGE;
	}
	if (args.help) {
		help_print(&args);
	} else if (args.version) {
		status = version_run(&args);
	} else {
		status = run(&args);
	}
	if (fflush(stdout) != 0 && status == CLI_DONE) {
		return cli_fail("the output cannot be written", "");
	}
	return status;
}
