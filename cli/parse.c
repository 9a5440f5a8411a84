/* From argv to a command with its values, and from there to a call of the API. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "cli.h"

static int usage(struct error *err, const struct cli_args *args, const char *fmt, const char *what)
{
	const struct cli_command *c = args->command;

	error_set(err, -EINVAL, fmt, what);
	if (c != NULL && c->verb != NULL) {
		error_hint(err, "see `sluice %s %s --help`", c->noun, c->verb);
	} else {
		error_hint(err, "see `sluice %s--help`", c != NULL ? "status " : "");
	}
	return -EINVAL;
}

static const struct cli_command *find_command(const char *noun, const char *verb)
{
	for (size_t i = 0; i < cli_command_count; i++) {
		const struct cli_command *c = &cli_commands[i];

		if (strcmp(c->noun, noun) != 0) {
			continue;
		}
		if (c->verb == NULL || (verb != NULL && strcmp(c->verb, verb) == 0)) {
			return c;
		}
	}
	return NULL;
}

static bool noun_known(const char *noun)
{
	for (size_t i = 0; i < cli_command_count; i++) {
		if (strcmp(cli_commands[i].noun, noun) == 0) {
			return true;
		}
	}
	return false;
}

/* A word that is no option: noun, verb, then the positional argument. */
static int take_word(struct cli_args *args, const char *word, struct error *err)
{
	if (args->noun == NULL) {
		if (!noun_known(word)) {
			return usage(err, args, "there is no '%s'", word);
		}
		args->noun = word;
		args->command = find_command(word, NULL);
		return 0;
	}
	if (args->command == NULL) {
		args->command = find_command(args->noun, word);
		if (args->command == NULL) {
			error_set(err, -EINVAL, "'%s' cannot '%s'", args->noun, word);
			error_hint(err, "see `sluice %s --help`", args->noun);
			return -EINVAL;
		}
		return 0;
	}
	if (args->command->positional == NULL || args->positional != NULL) {
		return usage(err, args, "'%s' is one word too many", word);
	}
	args->positional = word;
	return 0;
}

/* The option in a list that arg ("--via" or "--via=x") names; -1: none. */
static int find_option(const struct cli_option *options, const char *arg)
{
	size_t len = strcspn(arg, "=");

	for (int i = 0; options[i].value != CLI_END; i++) {
		if (strlen(options[i].name) == len && strncmp(options[i].name, arg, len) == 0) {
			return i;
		}
	}
	return -1;
}

static bool takes_value(const struct cli_option *o)
{
	return o->value != CLI_FLAG && o->value != CLI_NEGATE;
}

/* The value of option o at argv[*i]; moves on when it is the next word. */
static int option_value(const struct cli_args *args, const struct cli_option *o, int argc,
    char **argv, int *i, const char **ret_value, struct error *err)
{
	const char *equals = strchr(argv[*i], '=');

	if (!takes_value(o)) {
		*ret_value = "";
		return equals == NULL ? 0 : usage(err, args, "%s takes no value", o->name);
	}
	if (equals != NULL) {
		*ret_value = equals + 1;
		return 0;
	}
	if (*i + 1 >= argc) {
		return usage(err, args, "%s needs a value", o->name);
	}
	*ret_value = argv[++*i];
	return 0;
}

static int take_global(struct cli_args *args, const struct cli_option *o, const char *value)
{
	if (strcmp(o->name, "--json") == 0) {
		args->json = true;
	} else if (strcmp(o->name, "--help") == 0) {
		args->help = true;
	} else {
		args->connect = value;
	}
	return 0;
}

static int take_option(struct cli_args *args, int argc, char **argv, int *i, struct error *err)
{
	const char *arg = strcmp(argv[*i], "-h") == 0 ? "--help" : argv[*i];
	int global = find_option(cli_global_options, arg);
	const char *value;
	int own;
	int rc;

	if (global >= 0) {
		rc = option_value(args, &cli_global_options[global], argc, argv, i, &value, err);
		return rc != 0 ? rc : take_global(args, &cli_global_options[global], value);
	}
	if (strcmp(arg, "--version") == 0) {
		args->version = true;
		return 0;
	}
	own = args->command != NULL ? find_option(args->command->options, arg) : -1;
	if (own < 0) {
		return usage(err, args, "unknown option '%s'", arg);
	}
	if (args->values[own] != NULL) {
		return usage(err, args, "%s is given twice", args->command->options[own].name);
	}
	return option_value(
	    args, &args->command->options[own], argc, argv, i, &args->values[own], err);
}

static int check_complete(const struct cli_args *args, struct error *err)
{
	const struct cli_command *c = args->command;

	if (c == NULL) {
		error_set(err, -EINVAL, "%s needs a verb", args->noun);
		error_hint(err, "see `sluice %s --help`", args->noun);
		return -EINVAL;
	}
	if (c->positional != NULL && args->positional == NULL) {
		return usage(err, args, "%s is missing", c->positional);
	}
	for (size_t i = 0; c->options[i].value != CLI_END; i++) {
		if (c->options[i].required && args->values[i] == NULL) {
			return usage(err, args, "%s is missing", c->options[i].name);
		}
	}
	return 0;
}

int cli_parse(int argc, char **argv, struct cli_args *ret_args, struct error *err)
{
	struct cli_args args = {0};
	bool words_only = false;
	int rc = 0;

	for (int i = 1; i < argc && rc == 0; i++) {
		if (strcmp(argv[i], "--") == 0 && !words_only) {
			words_only = true;
		} else if (argv[i][0] == '-' && argv[i][1] != '\0' && !words_only) {
			rc = take_option(&args, argc, argv, &i, err);
		} else {
			rc = take_word(&args, argv[i], err);
		}
	}
	if (rc == 0 && args.noun == NULL && !args.version) {
		args.help = true;
	}
	if (rc == 0 && !args.help && !args.version) {
		rc = check_complete(&args, err);
	}
	*ret_args = args;
	return rc;
}

/* -- the call */

static int member_value(
    const struct cli_args *args, size_t i, json_t **ret_value, struct error *err)
{
	const struct cli_option *o = &args->command->options[i];
	const char *text = args->values[i];
	uint64_t number;
	char *end;

	switch (o->value) {
	case CLI_FLAG:
	case CLI_NEGATE:
		*ret_value = json_boolean(o->value == CLI_FLAG);
		return 0;
	case CLI_TEXT:
		*ret_value = json_string(text);
		return *ret_value != NULL ? 0 : usage(err, args, "%s is not UTF-8", o->name);
	case CLI_SIZE:
		if (units_parse_size(text, &number) != 0 || number > INT64_MAX) {
			return usage(
			    err, args, "%s needs a size like 512K, 64M, 10G or 1T", o->name);
		}
		*ret_value = json_integer((json_int_t)number);
		return 0;
	case CLI_INTEGER:
		errno = 0;
		number = strtoull(text, &end, 10);
		if (!isdigit((unsigned char)text[0]) || *end != '\0' || errno != 0 ||
		    number > INT64_MAX) {
			return usage(err, args, "%s needs a number", o->name);
		}
		*ret_value = json_integer((json_int_t)number);
		return 0;
	case CLI_END:
		break;
	}
	sluice_assert(false);
}

/* The positional argument, under the name of its member. */
static int add_positional(const struct cli_args *args, json_t *members, struct error *err)
{
	char key[32] = "";

	for (size_t i = 0; args->command->positional[i] != '\0' && i + 1 < sizeof(key); i++) {
		key[i] = (char)tolower((unsigned char)args->command->positional[i]);
		key[i + 1] = '\0';
	}
	if (json_object_set_new(members, key, json_string(args->positional)) != 0) {
		return usage(err, args, "%s is not UTF-8", args->command->positional);
	}
	return 0;
}

static int collect(const struct cli_args *args, json_t *members, struct error *err)
{
	const struct cli_option *options = args->command->options;
	int rc = args->positional != NULL ? add_positional(args, members, err) : 0;

	for (size_t i = 0; rc == 0 && options[i].value != CLI_END; i++) {
		json_t *value;

		if (args->values[i] == NULL || options[i].member == NULL) {
			continue;
		}
		rc = member_value(args, i, &value, err);
		if (rc == 0) {
			json_object_set_new(members, options[i].member, value);
		}
	}
	return rc;
}

/* Percent-encodes what is not unreserved (RFC 3986 section 2.3). */
static void append_escaped(char *path, size_t len, const char *text)
{
	size_t n = strlen(path);

	for (; *text != '\0' && n + 4 < len; text++) {
		if (isalnum((unsigned char)*text) || strchr("-._~", *text) != NULL) {
			path[n++] = *text;
		} else {
			n += (size_t)snprintf(
			    path + n, len - n, "%%%02X", (unsigned)(unsigned char)*text);
		}
	}
	path[n] = '\0';
}

static void append_value(char *path, size_t len, const json_t *value)
{
	char number[32];

	if (json_is_string(value)) {
		append_escaped(path, len, json_string_value(value));
	} else if (json_is_integer(value)) {
		snprintf(number, sizeof(number), "%jd", (intmax_t)json_integer_value(value));
		append_escaped(path, len, number);
	} else {
		append_escaped(path, len, json_is_true(value) ? "true" : "false");
	}
}

/* Replaces {member}s, and takes them out of members. */
static void expand_path(const char *pattern, json_t *members, char *path, size_t len)
{
	path[0] = '\0';
	while (*pattern != '\0') {
		size_t n = strcspn(pattern, "{");
		size_t at = strlen(path);
		char key[32];

		snprintf(path + at, len - at, "%.*s", (int)n, pattern);
		pattern += n;
		if (*pattern == '{') {
			n = strcspn(pattern, "}");
			snprintf(key, sizeof(key), "%.*s", (int)n - 1, pattern + 1);
			append_value(path, len, json_object_get(members, key));
			json_object_del(members, key);
			pattern += n + 1;
		}
	}
}

static void append_query(json_t *members, char *path, size_t len)
{
	char separator = '?';
	const char *key;
	json_t *value;

	json_object_foreach(members, key, value)
	{
		size_t n = strlen(path);

		snprintf(path + n, len - n, "%c%s=", separator, key);
		append_value(path, len, value);
		separator = '&';
	}
}

int cli_request(
    const struct cli_args *args, char *path, size_t path_len, json_t **ret_body, struct error *err)
{
	const struct cli_command *c = args->command;
	json_t *members = json_object();
	int rc = collect(args, members, err);

	if (rc == 0 && c->build != NULL) {
		rc = c->build(args, members, err);
	}
	if (rc != 0) {
		json_decref(members);
		return rc;
	}
	expand_path(c->path, members, path, path_len);
	if (strcmp(c->method, "POST") == 0) {
		*ret_body = members;
		return 0;
	}
	append_query(members, path, path_len);
	json_decref(members);
	*ret_body = NULL;
	return 0;
}
