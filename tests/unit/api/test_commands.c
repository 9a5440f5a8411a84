/* The command line's table against the API's schema: it asks for nothing that is not there. */
#include "../../../cli/cli.h"
#include "api/decode.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* From main.c, which a test has of its own. */
int cli_fail(const char *message, const char *hint)
{
	return CLI_FAILED;
}

int version_run(const struct cli_args *args)
{
	return CLI_DONE;
}

static const struct schema_op *operation_of(const struct cli_command *c)
{
	for (unsigned op = 0; op < CTL_OP_COUNT; op++) {
		const struct schema_op *o = schema_op((enum ctl_op)op);

		if (strcmp(o->method, c->method) == 0 && strcmp(o->path, c->path) == 0) {
			return o;
		}
	}
	return NULL;
}

static void every_command_calls_an_operation_with_known_members(void **state)
{
	for (size_t i = 0; i < cli_command_count; i++) {
		const struct cli_command *c = &cli_commands[i];
		const struct schema_op *o;

		if (c->method == NULL) {
			continue;
		}
		o = operation_of(c);
		assert_non_null(o);
		for (const struct cli_option *option = c->options; option->value != CLI_END;
		     option++) {
			const struct schema_field *f =
			    option->member != NULL ? schema_field_find(o->fields, option->member)
						   : NULL;

			assert_true(option->member == NULL || f != NULL);
			/* What the API requires, the command line requires too. */
			assert_true(f == NULL || !f->required || option->required);
		}
	}
}

static void every_operation_has_a_command(void **state)
{
	for (unsigned op = 0; op < CTL_OP_COUNT; op++) {
		const struct schema_op *o = schema_op((enum ctl_op)op);
		bool found = false;

		for (size_t i = 0; i < cli_command_count; i++) {
			found = found || (cli_commands[i].method != NULL &&
					     operation_of(&cli_commands[i]) == o);
		}
		/* These two are for programs. */
		assert_int_equal(found, op != CTL_HEALTH && op != CTL_METRICS);
	}
}

/* What a command line becomes, as the daemon would decode it; NULL: wrong usage. */
static json_t *request_of(char **argv, int argc)
{
	struct decode_target target = {0};
	struct cli_args args;
	struct error err = {0};
	char path[1024];
	char allow[64];
	json_t *body;
	char *text;
	int rc;

	if (cli_parse(argc, argv, &args, &err) != 0 ||
	    cli_request(&args, path, sizeof(path), &body, &err) != 0) {
		return NULL;
	}
	assert_int_equal(
	    decode_route(args.command->method, path, &target, allow, sizeof(allow)), DECODE_FOUND);
	text = body != NULL ? json_dumps(body, 0) : strdup("");
	rc = decode_params(
	    schema_op(target.op)->fields, path, text, strlen(text), target.params, &err);
	assert_int_equal(rc, 0);
	free(text);
	json_decref(body);
	return target.params;
}

#define WORDS(...)                                                                                 \
	(char *[]){"sluice", __VA_ARGS__},                                                         \
	    (int)(sizeof((char *[]){"sluice", __VA_ARGS__}) / sizeof(char *))

static void assert_request(char **argv, int argc, const char *params)
{
	json_t *got = request_of(argv, argc);
	json_t *want = json_loads(params, 0, NULL);

	assert_non_null(got);
	assert_non_null(want);
	assert_true(json_equal(got, want));
	json_decref(got);
	json_decref(want);
}

static void words_become_parameters(void **state)
{
	assert_request(WORDS("volume", "create", "v", "--size", "1G", "--on", "a,b:1M"),
	    "{\"name\":\"v\",\"size\":1073741824,"
	    "\"on\":[{\"lu\":\"a\",\"offset\":0},{\"lu\":\"b\",\"offset\":1048576}]}");
	assert_request(WORDS("lu", "add", "d", "--device", "/dev/null"),
	    "{\"name\":\"d\",\"kind\":\"file\",\"address\":{\"path\":\"/dev/null\","
	    "\"device\":true}}");
	assert_request(WORDS("path", "add", "d", "--via=i", "--nbd=nbd://h/x"),
	    "{\"lu\":\"d\",\"via\":\"i\",\"kind\":\"nbd\",\"address\":{\"uri\":\"nbd://h/x\"}}");
	assert_request(WORDS("path", "remove", "d", "--via", "i"), "{\"lu\":\"d\",\"via\":\"i\"}");
	assert_request(WORDS("volume", "candidates", "v", "--rule", "any-kind"),
	    "{\"name\":\"v\",\"rule\":\"any-kind\"}");
	assert_request(WORDS("volume", "switch-path", "v", "--from", "a", "--to", "b", "--no-wait"),
	    "{\"name\":\"v\",\"from\":\"a\",\"to\":\"b\",\"wait\":false}");
	assert_request(WORDS("--json", "export", "show", "--", "7"), "{\"id\":7}");
	assert_request(WORDS("lu", "fault", "f", "--error", "EIO:0.5", "--delay", "10ms", "--op",
			   "read,write"),
	    "{\"name\":\"f\",\"rules\":{\"rules\":["
	    "{\"action\":\"error\",\"errno\":\"EIO\",\"probability\":0.5,\"ops\":[\"read\","
	    "\"write\"]},"
	    "{\"action\":\"delay\",\"delay_us\":10000,\"ops\":[\"read\",\"write\"]}]}}");
	assert_request(
	    WORDS("lu", "fault", "f", "--clear"), "{\"name\":\"f\",\"rules\":{\"rules\":[]}}");
}

static void wrong_usage_is_noticed_before_anything_is_sent(void **state)
{
	assert_null(request_of(WORDS("nonsense")));
	assert_null(request_of(WORDS("volume")));
	assert_null(request_of(WORDS("volume", "nonsense")));
	assert_null(request_of(WORDS("volume", "show")));
	assert_null(request_of(WORDS("volume", "show", "a", "b")));
	assert_null(request_of(WORDS("volume", "show", "a", "--nonsense")));
	assert_null(request_of(WORDS("volume", "create", "a", "--on", "a", "--size", "x")));
	assert_null(request_of(WORDS("volume", "create", "a", "--on", "a,,b")));
	assert_null(request_of(WORDS("volume", "create", "a", "--on")));
	assert_null(request_of(WORDS("volume", "create", "a", "--on", "a", "--on", "b")));
	assert_null(request_of(WORDS("interface", "balance", "--dry-run=yes")));
	assert_null(request_of(WORDS("lu", "add", "a")));
	assert_null(request_of(WORDS("lu", "add", "a", "--mem", "1M", "--null", "1M")));
	assert_null(request_of(WORDS("lu", "add", "a", "--mem", "1M", "--size", "1M")));
	assert_null(request_of(WORDS("lu", "fault", "a", "--stop", "--clear")));
	assert_null(request_of(WORDS("lu", "fault", "a", "--delay", "10")));
	assert_null(request_of(WORDS("lu", "fault", "a", "--corrupt", "2")));
	assert_null(request_of(WORDS("interface", "set", "a")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_command_calls_an_operation_with_known_members),
	    cmocka_unit_test(every_operation_has_a_command),
	    cmocka_unit_test(words_become_parameters),
	    cmocka_unit_test(wrong_usage_is_noticed_before_anything_is_sent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
