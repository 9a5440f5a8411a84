/* The options that mean more than one member. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/units.h"
#include "cli.h"

/* The tag of stops made here: --resume ends just those. */
#define STOP_TAG "cli"

static int refuse(struct error *err, const char *hint, const char *fmt, const char *what)
{
	error_set(err, -EINVAL, fmt, what);
	error_hint(err, "%s", hint);
	return -EINVAL;
}

/* -- addresses */

static const struct {
	const char *option;
	const char *kind;
	const char *member;
	bool size;
	bool absolute; /* a path: the daemon's working directory is not ours */
} addresses[] = {
    {"--file", "file", "path", false, true},
    {"--device", "file", "path", false, true},
    {"--nbd", "nbd", "uri", false, false},
    {"--iscsi", "iscsi", "url", false, false},
    {"--mem", "mem", "size", true, false},
    {"--null", "null", "size", true, false},
    {"--fault", "fault", "lu", false, false},
};

static int add_size(json_t *address, const char *option, const char *text, struct error *err)
{
	uint64_t bytes;

	if (units_parse_size(text, &bytes) != 0 || bytes > INT64_MAX) {
		return refuse(
		    err, "give a size like 512K, 64M, 10G or 1T", "%s needs a size", option);
	}
	json_object_set_new(address, "size", json_integer((json_int_t)bytes));
	return 0;
}

static int add_path(json_t *address, const char *text, struct error *err)
{
	char *path = realpath(text, NULL);
	char *cwd;

	/* A file that does not exist yet, or only where the daemon is. */
	if (path == NULL && text[0] == '/') {
		path = strdup(text);
	} else if (path == NULL) {
		cwd = getcwd(NULL, 0);
		if (cwd == NULL || asprintf(&path, "%s/%s", cwd, text) < 0) {
			path = NULL;
		}
		free(cwd);
	}
	if (path == NULL || json_object_set_new(address, "path", json_string(path)) != 0) {
		free(path);
		return refuse(err, "give an absolute path", "'%s' is no path", text);
	}
	free(path);
	return 0;
}

static int fill_address(const struct cli_args *args, size_t i, json_t *address, struct error *err)
{
	const char *value = cli_option_value(args, addresses[i].option);
	const char *size = cli_option_value(args, "--size");
	int rc = 0;

	if (size != NULL && strcmp(addresses[i].option, "--file") != 0) {
		return refuse(
		    err, "leave it out", "--size is for --file, not for %s", addresses[i].option);
	}
	if (addresses[i].size) {
		return add_size(address, addresses[i].option, value, err);
	}
	if (addresses[i].absolute) {
		rc = add_path(address, value, err);
	} else if (json_object_set_new(address, addresses[i].member, json_string(value)) != 0) {
		rc = refuse(err, "give UTF-8 text", "%s is not valid", addresses[i].option);
	}
	if (strcmp(addresses[i].option, "--device") == 0) {
		json_object_set_new(address, "device", json_true());
	}
	return rc == 0 && size != NULL ? add_size(address, "--size", size, err) : rc;
}

static int build_address(const struct cli_args *args, json_t *body, struct error *err)
{
	static const char choices[] =
	    "give one of --file, --device, --nbd, --iscsi, --mem, --null, --fault";
	json_t *address;
	int found = -1;

	for (size_t i = 0; i < ARRAY_SIZE(addresses); i++) {
		if (cli_option_value(args, addresses[i].option) == NULL) {
			continue;
		}
		if (found >= 0) {
			return refuse(err, choices, "%s is a second address", addresses[i].option);
		}
		found = (int)i;
	}
	if (found < 0) {
		return refuse(err, choices, "%s", "the address is missing");
	}
	address = json_object();
	json_object_set_new(body, "kind", json_string(addresses[found].kind));
	json_object_set_new(body, "address", address);
	return fill_address(args, (size_t)found, address, err);
}

int build_lu_add(const struct cli_args *args, json_t *body, struct error *err)
{
	return build_address(args, body, err);
}

int build_path_add(const struct cli_args *args, json_t *body, struct error *err)
{
	return build_address(args, body, err);
}

int build_interface_set(const struct cli_args *args, json_t *body, struct error *err)
{
	return json_object_size(body) > 1 ? 0
					  : refuse(err, "give --network-id or --policy", "%s",
						"there is nothing to change");
}

/* -- volumes */

/* "LU" or "LU:OFFSET". */
static int add_place(json_t *on, char *text, struct error *err)
{
	char *colon = strchr(text, ':');
	uint64_t offset = 0;

	if (colon != NULL) {
		*colon = '\0';
		if (units_parse_size(colon + 1, &offset) != 0 || offset > INT64_MAX) {
			return refuse(err, "give LU:OFFSET, such as disk:10G",
			    "--on: '%s' is no offset", colon + 1);
		}
	}
	if (text[0] == '\0') {
		return refuse(err, "give LU[:OFFSET],...", "%s", "--on: an LU is missing");
	}
	json_array_append_new(
	    on, json_pack("{s:s, s:I}", "lu", text, "offset", (json_int_t)offset));
	return 0;
}

int build_volume_create(const struct cli_args *args, json_t *body, struct error *err)
{
	char *text = strdup(cli_option_value(args, "--on"));
	json_t *on = json_array();
	char *rest = text;
	char *part;
	int rc = 0;

	json_object_set_new(body, "on", on);
	while (rc == 0 && (part = strsep(&rest, ",")) != NULL) {
		rc = add_place(on, part, err);
	}
	free(text);
	return rc;
}

/* -- faults */

static int parse_probability(const char *text, json_t *rule, struct error *err)
{
	char *end;
	double p = strtod(text, &end);

	if (end == text || *end != '\0' || !(p >= 0 && p <= 1)) {
		return refuse(err, "give a number from 0 to 1", "'%s' is no probability", text);
	}
	json_object_set_new(rule, "probability", json_real(p));
	return 0;
}

static int error_rule(const char *text, json_t *rule, struct error *err)
{
	size_t n = strcspn(text, ":");

	json_object_set_new(rule, "action", json_string("error"));
	json_object_set_new(rule, "errno", json_stringn(text, n));
	return text[n] == ':' ? parse_probability(text + n + 1, rule, err) : 0;
}

static int corrupt_rule(const char *text, json_t *rule, struct error *err)
{
	json_object_set_new(rule, "action", json_string("corrupt"));
	return parse_probability(text, rule, err);
}

/* "10ms", "500us", "2s". */
static int delay_rule(const char *text, json_t *rule, struct error *err)
{
	static const struct {
		const char *unit;
		double us;
	} units[] = {{"us", 1}, {"ms", 1e3}, {"s", 1e6}};
	char *end;
	double v = strtod(text, &end);

	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		if (end != text && strcmp(end, units[i].unit) == 0 && v >= 0 && v < 1e9) {
			json_object_set_new(rule, "action", json_string("delay"));
			json_object_set_new(
			    rule, "delay_us", json_integer((json_int_t)(v * units[i].us)));
			return 0;
		}
	}
	return refuse(err, "give a time like 500us, 10ms or 2s", "'%s' is no time", text);
}

static int stop_rule(const char *text, json_t *rule, struct error *err)
{
	json_object_set_new(rule, "action", json_string("stop"));
	json_object_set_new(rule, "tag", json_string(STOP_TAG));
	return 0;
}

/* --op: the same words for every rule. */
static void add_ops(const struct cli_args *args, json_t *rule)
{
	const char *given = cli_option_value(args, "--op");
	char *text = given != NULL ? strdup(given) : NULL;
	char *rest = text;
	json_t *ops;
	char *part;

	if (text == NULL) {
		return;
	}
	ops = json_array();
	while ((part = strsep(&rest, ",")) != NULL) {
		json_array_append_new(ops, json_string(part));
	}
	json_object_set_new(rule, "ops", ops);
	free(text);
}

static int add_rules(const struct cli_args *args, json_t *rules, struct error *err)
{
	static const struct {
		const char *option;
		int (*fill)(const char *text, json_t *rule, struct error *err);
	} makers[] = {
	    {"--error", error_rule},
	    {"--delay", delay_rule},
	    {"--corrupt", corrupt_rule},
	    {"--stop", stop_rule},
	};
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < ARRAY_SIZE(makers); i++) {
		const char *text = cli_option_value(args, makers[i].option);

		if (text != NULL) {
			json_t *rule = json_object();

			json_array_append_new(rules, rule);
			rc = makers[i].fill(text, rule, err);
			add_ops(args, rule);
		}
	}
	return rc;
}

/* The rules given replace those that were; --resume and --clear stand alone. */
int build_lu_fault(const struct cli_args *args, json_t *body, struct error *err)
{
	bool resume = cli_option_value(args, "--resume") != NULL;
	bool clear = cli_option_value(args, "--clear") != NULL;
	json_t *command = json_object();
	json_t *rules = json_array();
	int rc = add_rules(args, rules, err);
	size_t n = json_array_size(rules);

	json_object_set_new(body, "rules", command);
	if (resume) {
		json_object_set_new(command, "resume", json_string(STOP_TAG));
	} else {
		json_object_set(command, "rules", rules);
	}
	json_decref(rules);
	if (rc != 0) {
		return rc;
	}
	if ((n > 0) + resume + clear != 1) {
		return refuse(err, "give faults, or --resume, or --clear", "%s",
		    n > 0 || resume ? "these do not go together" : "there is nothing to do");
	}
	return 0;
}
