/* Interfaces, LUs and paths, for people. */
#include "cli.h"

int print_nothing(const json_t *answer)
{
	return CLI_DONE;
}

static void print_stats(const json_t *stats)
{
	char a[CLI_TEXT_SIZE];
	char b[CLI_TEXT_SIZE];

	print_field("load", "%s requests/s, %s/s", count_of(stats, "iops", a, sizeof(a)),
	    bytes_of(stats, "bytes_per_s", b, sizeof(b)));
	print_field("latency", "%s (long past: %s)", us_of(stats, "latency_us", a, sizeof(a)),
	    us_of(stats, "baseline_us", b, sizeof(b)));
	print_field("in flight", "%s", count_of(stats, "in_flight", a, sizeof(a)));
	print_field("done", "%s requests, %s", count_of(stats, "requests", a, sizeof(a)),
	    bytes_of(stats, "bytes", b, sizeof(b)));
	print_field("errors", "%s, transport %s", count_of(stats, "errors", a, sizeof(a)),
	    count_of(stats, "transport_errors", b, sizeof(b)));
	print_field("time-outs", "%s", count_of(stats, "timeouts", a, sizeof(a)));
}

/* -- interfaces */

int print_interface(const json_t *answer)
{
	char buf[CLI_TEXT_SIZE];

	print_field("name", "%s", text_of(answer, "name"));
	print_field("kind", "%s", text_of(answer, "kind"));
	print_field("state", "%s", text_of(answer, "state"));
	if (text_of(answer, "reason")[0] != '\0') {
		print_field("reason", "%s", text_of(answer, "reason"));
	}
	print_field("network ID", "%s", text_of(answer, "network_id"));
	print_field("bind", "%s", text_of(answer, "bind"));
	print_field("policy", "%s", text_of(answer, "policy"));
	print_field("paths", "%s", count_of(answer, "paths", buf, sizeof(buf)));
	print_field("volumes", "%s", list_of(answer, "volumes", buf, sizeof(buf)));
	print_stats(json_object_get(answer, "stats"));
	return CLI_DONE;
}

int print_interface_list(const json_t *answer)
{
	static const char *const headings[] = {"NAME", "KIND", "STATE", "#PATHS", "#REQUESTS/S",
	    "#LATENCY", "#ERRORS", "POLICY", "VOLUMES", NULL};
	json_t *list = json_object_get(answer, "interfaces");
	char buf[CLI_TEXT_SIZE];
	struct table t;
	json_t *i;
	size_t k;

	table_init(&t, headings);
	json_array_foreach(list, k, i)
	{
		const json_t *stats = json_object_get(i, "stats");

		table_add(&t, "%s", text_of(i, "name"));
		table_add(&t, "%s", text_of(i, "kind"));
		table_add(&t, "%s", text_of(i, "state"));
		table_add(&t, "%s", count_of(i, "paths", buf, sizeof(buf)));
		table_add(&t, "%s", count_of(stats, "iops", buf, sizeof(buf)));
		table_add(&t, "%s", us_of(stats, "latency_us", buf, sizeof(buf)));
		table_add(&t, "%jd",
		    (intmax_t)(json_integer_value(json_object_get(stats, "errors")) +
			       json_integer_value(json_object_get(stats, "transport_errors"))));
		table_add(&t, "%s", text_of(i, "policy"));
		table_add(&t, "%s", list_of(i, "volumes", buf, sizeof(buf)));
	}
	table_end(&t, "no interfaces; add one with `sluice interface add`");
	return CLI_DONE;
}

int print_balance(const json_t *answer)
{
	static const char *const headings[] = {"VOLUME", "FROM", "TO", "#CHANGE", "REASON", NULL};
	json_t *list = json_object_get(answer, "moves");
	char buf[CLI_TEXT_SIZE];
	struct table t;
	json_t *m;
	size_t k;

	table_init(&t, headings);
	json_array_foreach(list, k, m)
	{
		bool made = json_is_integer(json_object_get(m, "change"));

		table_add(&t, "%s", text_of(m, "volume"));
		table_add(&t, "%s", text_of(m, "from"));
		table_add(&t, "%s", text_of(m, "to"));
		table_add(&t, "%s", made ? count_of(m, "change", buf, sizeof(buf)) : "-");
		table_add(&t, "%s", text_of(m, "reason"));
	}
	table_end(&t, "nothing to move");
	return CLI_DONE;
}

/* -- paths */

static void path_rows(struct table *t, const json_t *list, bool with_lu)
{
	char buf[CLI_TEXT_SIZE];
	json_t *p;
	size_t k;

	json_array_foreach(list, k, p)
	{
		const json_t *stats = json_object_get(p, "stats");

		if (with_lu) {
			table_add(t, "%s", text_of(p, "lu"));
		}
		table_add(t, "%s", text_of(p, "via"));
		table_add(t, "%s", text_of(p, "state"));
		table_add(t, "%s", count_of(stats, "iops", buf, sizeof(buf)));
		table_add(t, "%s", us_of(stats, "latency_us", buf, sizeof(buf)));
		table_add(t, "%s", text_of(p, "address"));
		table_add(t, "%s", text_or_dash(p, "reason"));
	}
}

int print_path(const json_t *answer)
{
	print_field("LU", "%s", text_of(answer, "lu"));
	print_field("via", "%s", text_of(answer, "via"));
	print_field("kind", "%s", text_of(answer, "kind"));
	print_field("address", "%s", text_of(answer, "address"));
	print_field("state", "%s", text_of(answer, "state"));
	if (text_of(answer, "reason")[0] != '\0') {
		print_field("reason", "%s", text_of(answer, "reason"));
	}
	print_stats(json_object_get(answer, "stats"));
	return CLI_DONE;
}

int print_path_list(const json_t *answer)
{
	static const char *const headings[] = {
	    "LU", "VIA", "STATE", "#REQUESTS/S", "#LATENCY", "ADDRESS", "REASON", NULL};
	struct table t;

	table_init(&t, headings);
	path_rows(&t, json_object_get(answer, "paths"), true);
	table_end(&t, "no paths; add one with `sluice path add`");
	return CLI_DONE;
}

/* -- LUs */

int print_lu(const json_t *answer)
{
	static const char *const headings[] = {
	    "VIA", "STATE", "#REQUESTS/S", "#LATENCY", "ADDRESS", "REASON", NULL};
	char buf[CLI_TEXT_SIZE];
	struct table t;

	print_field("name", "%s", text_of(answer, "name"));
	print_field("UUID", "%s", text_of(answer, "uuid"));
	print_field("kind", "%s", text_of(answer, "kind"));
	print_field("size", "%s", size_of(answer, "size", buf, sizeof(buf)));
	print_field("identity", "%s", text_of(answer, "identity"));
	print_field("state", "%s", text_of(answer, "state"));
	print_field("volumes", "%s", list_of(answer, "volumes", buf, sizeof(buf)));
	print_field("in doubt", "%s", count_of(answer, "in_doubt", buf, sizeof(buf)));
	putchar('\n');
	table_init(&t, headings);
	path_rows(&t, json_object_get(answer, "paths"), false);
	table_end(&t, "no paths; add one with `sluice path add`");
	return CLI_DONE;
}

int print_lu_list(const json_t *answer)
{
	static const char *const headings[] = {
	    "NAME", "KIND", "#SIZE", "STATE", "#PATHS", "#IN DOUBT", "VOLUMES", NULL};
	json_t *list = json_object_get(answer, "lus");
	char buf[CLI_TEXT_SIZE];
	struct table t;
	json_t *lu;
	size_t k;

	table_init(&t, headings);
	json_array_foreach(list, k, lu)
	{
		table_add(&t, "%s", text_of(lu, "name"));
		table_add(&t, "%s", text_of(lu, "kind"));
		table_add(&t, "%s", size_of(lu, "size", buf, sizeof(buf)));
		table_add(&t, "%s", text_of(lu, "state"));
		table_add(&t, "%zu", json_array_size(json_object_get(lu, "paths")));
		table_add(&t, "%s", count_of(lu, "in_doubt", buf, sizeof(buf)));
		table_add(&t, "%s", list_of(lu, "volumes", buf, sizeof(buf)));
	}
	table_end(&t, "no LUs; add one with `sluice lu add`");
	return CLI_DONE;
}

int judge_lu_check(const json_t *answer)
{
	return json_is_true(json_object_get(answer, "ok")) ? CLI_DONE : CLI_FAILED;
}

int print_lu_check(const json_t *answer)
{
	static const char *const headings[] = {"VIA", "RESULT", "#LATENCY", "REASON", NULL};
	json_t *list = json_object_get(answer, "paths");
	char buf[CLI_TEXT_SIZE];
	struct table t;
	json_t *p;
	size_t k;

	table_init(&t, headings);
	json_array_foreach(list, k, p)
	{
		table_add(&t, "%s", text_of(p, "via"));
		table_add(&t, "%s", json_is_true(json_object_get(p, "ok")) ? "ok" : "bad");
		table_add(&t, "%s", us_of(p, "latency_us", buf, sizeof(buf)));
		table_add(&t, "%s", text_or_dash(p, "reason"));
	}
	table_end(&t, "no paths");
	return judge_lu_check(answer) == CLI_DONE
		   ? CLI_DONE
		   : cli_fail("not every path is good", "see `sluice lu show` for their addresses");
}
