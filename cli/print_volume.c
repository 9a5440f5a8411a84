/* Volumes, exports, clients and changes, for people. */
#include <string.h>

#include "cli.h"

/* -- volumes */

int print_volume(const json_t *answer)
{
	const json_t *change = json_object_get(answer, "change");
	char buf[CLI_TEXT_SIZE];

	print_field("name", "%s", text_of(answer, "name"));
	print_field("UUID", "%s", text_of(answer, "uuid"));
	print_field("size", "%s", size_of(answer, "size", buf, sizeof(buf)));
	print_field("generation", "%s", count_of(answer, "generation", buf, sizeof(buf)));
	print_field("LUs", "%s", list_of(answer, "lus", buf, sizeof(buf)));
	print_field("prefers", "%s", text_of(answer, "via"));
	print_field("in use", "%s", active_of(answer, buf, sizeof(buf)));
	print_field("exports", "%s", list_of(answer, "exports", buf, sizeof(buf)));
	print_field("in flight", "%s", count_of(answer, "in_flight", buf, sizeof(buf)));
	print_field("held", "%s", count_of(answer, "held_requests", buf, sizeof(buf)));
	print_field("change", "%s",
	    json_is_integer(change) ? count_of(answer, "change", buf, sizeof(buf)) : "");
	return CLI_DONE;
}

int print_volume_list(const json_t *answer)
{
	static const char *const headings[] = {
	    "NAME", "#SIZE", "LUS", "PREFERS", "IN USE", "EXPORTS", "#CHANGE", NULL};
	json_t *list = json_object_get(answer, "volumes");
	char buf[CLI_TEXT_SIZE];
	struct table t;
	json_t *v;
	size_t k;

	table_init(&t, headings);
	json_array_foreach(list, k, v)
	{
		bool changes = json_is_integer(json_object_get(v, "change"));

		table_add(&t, "%s", text_of(v, "name"));
		table_add(&t, "%s", size_of(v, "size", buf, sizeof(buf)));
		table_add(&t, "%s", list_of(v, "lus", buf, sizeof(buf)));
		table_add(&t, "%s", text_or_dash(v, "via"));
		table_add(&t, "%s", active_of(v, buf, sizeof(buf)));
		table_add(&t, "%s", list_of(v, "exports", buf, sizeof(buf)));
		table_add(&t, "%s", changes ? count_of(v, "change", buf, sizeof(buf)) : "-");
	}
	table_end(&t, "no volumes; create one with `sluice volume create`");
	return CLI_DONE;
}

static void place(const json_t *where, char *buf, size_t len)
{
	char offset[32];
	const char *size = size_of(where, "offset", offset, sizeof(offset));

	snprintf(buf, len, "%s:%s", text_of(where, "lu"), size[0] != '-' ? size : "0");
}

int print_map(const json_t *answer)
{
	static const char *const headings[] = {
	    "#OFFSET", "#LENGTH", "READ", "WRITE", "STATE", NULL};
	json_t *list = json_object_get(answer, "extents");
	char buf[CLI_TEXT_SIZE];
	struct table t;
	json_t *e;
	size_t k;

	print_field("generation", "%s", count_of(answer, "generation", buf, sizeof(buf)));
	table_init(&t, headings);
	json_array_foreach(list, k, e)
	{
		const char *offset = size_of(e, "offset", buf, sizeof(buf));

		table_add(&t, "%s", offset[0] != '-' ? offset : "0");
		table_add(&t, "%s", size_of(e, "length", buf, sizeof(buf)));
		place(json_object_get(e, "read"), buf, sizeof(buf));
		table_add(&t, "%s", buf);
		place(json_array_get(json_object_get(e, "write"), 0), buf, sizeof(buf));
		table_add(&t, "%s", buf);
		table_add(&t, "%s", text_or_dash(e, "state"));
	}
	table_end(&t, "nothing is mapped");
	return CLI_DONE;
}

int print_candidates(const json_t *answer)
{
	static const char *const headings[] = {"INTERFACE", "KIND", "STATE", "SUITABLE",
	    "#REQUESTS/S", "#LATENCY", "#VOLUMES", "REASON", NULL};
	json_t *list = json_object_get(answer, "candidates");
	char buf[CLI_TEXT_SIZE];
	struct table t;
	json_t *c;
	size_t k;

	table_init(&t, headings);
	json_array_foreach(list, k, c)
	{
		const json_t *volumes = json_object_get(c, "volumes");

		table_add(&t, "%s", text_of(c, "interface"));
		table_add(&t, "%s", text_of(c, "kind"));
		table_add(&t, "%s", text_or_dash(c, "state"));
		table_add(&t, "%s", json_is_true(json_object_get(c, "suitable")) ? "yes" : "no");
		table_add(&t, "%s", count_of(c, "iops", buf, sizeof(buf)));
		table_add(&t, "%s", us_of(c, "latency_us", buf, sizeof(buf)));
		table_add(&t, "%jd",
		    json_is_array(volumes) ? (intmax_t)json_array_size(volumes)
					   : (intmax_t)json_integer_value(volumes));
		table_add(&t, "%s", text_or_dash(c, "reason"));
	}
	table_end(&t, "no interface could take it; add a path with `sluice path add`");
	return CLI_DONE;
}

/* -- changes */

static bool state_is(const json_t *change, const char *state)
{
	return strcmp(text_of(change, "state"), state) == 0;
}

int judge_switch(const json_t *answer)
{
	return state_is(answer, "aborted") || state_is(answer, "rolled-back") ? CLI_FAILED
									      : CLI_DONE;
}

/* Here nothing is an answer too: no request had to wait. */
static const char *took(const json_t *change, const char *key, char *buf, size_t len)
{
	const char *text = us_of(change, key, buf, len);

	return text[0] != '-' ? text : "0 us";
}

static int print_switch_failure(const json_t *answer)
{
	const char *word = state_is(answer, "aborted") ? "aborted" : "rolled back";
	const char *reason = text_of(answer, "reason");
	char message[CLI_TEXT_SIZE];
	char held[32];

	snprintf(message, sizeof(message), "%s: %s; %s stays on %s, held %s", word,
	    reason[0] != '\0' ? reason : "no reason was given", text_of(answer, "volume"),
	    text_of(answer, "from"), took(answer, "held_us", held, sizeof(held)));
	return cli_fail(message, text_of(answer, "advice"));
}

/* The outcome in one line. */
int print_switch(const json_t *answer)
{
	char held[32];
	char drain[32];
	char commit[32];
	char verify[32];
	char waited[32];

	if (judge_switch(answer) != CLI_DONE) {
		return print_switch_failure(answer);
	}
	if (!state_is(answer, "done")) {
		printf("begun: change %s of %s is %s; see `sluice change show`\n",
		    count_of(answer, "id", held, sizeof(held)), text_of(answer, "volume"),
		    text_of(answer, "state"));
		return CLI_DONE;
	}
	printf("switched: %s now on %s; held %s (drain %s, commit %s, verify %s), %s requests "
	       "waited\n",
	    text_of(answer, "volume"), text_of(answer, "to"),
	    took(answer, "held_us", held, sizeof(held)),
	    took(answer, "drain_us", drain, sizeof(drain)),
	    took(answer, "commit_us", commit, sizeof(commit)),
	    took(answer, "verify_us", verify, sizeof(verify)),
	    count_of(answer, "held_requests", waited, sizeof(waited)));
	return CLI_DONE;
}

static void print_change_nodes(const json_t *answer)
{
	static const char *const headings[] = {
	    "NODE", "STATE", "#DRAIN", "#HELD", "EXCLUDED", NULL};
	json_t *list = json_object_get(answer, "nodes");
	char buf[CLI_TEXT_SIZE];
	struct table t;
	json_t *n;
	size_t k;

	putchar('\n');
	table_init(&t, headings);
	json_array_foreach(list, k, n)
	{
		table_add(&t, "%s", text_of(n, "node"));
		table_add(&t, "%s", text_of(n, "state"));
		table_add(&t, "%s", us_of(n, "drain_us", buf, sizeof(buf)));
		table_add(&t, "%s", us_of(n, "held_us", buf, sizeof(buf)));
		table_add(&t, "%s", json_is_true(json_object_get(n, "excluded")) ? "yes" : "no");
	}
	table_end(&t, "no nodes took part");
}

int print_change(const json_t *answer)
{
	char buf[CLI_TEXT_SIZE];

	print_field("id", "%s", count_of(answer, "id", buf, sizeof(buf)));
	print_field("kind", "%s", text_of(answer, "kind"));
	print_field("volume", "%s", text_of(answer, "volume"));
	print_field("state", "%s", text_of(answer, "state"));
	print_field("reason", "%s", text_of(answer, "reason"));
	if (text_of(answer, "advice")[0] != '\0') {
		print_field("advice", "%s", text_of(answer, "advice"));
	}
	print_field("from", "%s", text_of(answer, "from"));
	print_field("to", "%s", text_of(answer, "to"));
	print_field("network ID", "%s",
	    json_is_true(json_object_get(answer, "take_network_id")) ? "moves along" : "stays");
	print_field("started", "%s", time_of(answer, "started", buf, sizeof(buf)));
	print_field("finished", "%s", time_of(answer, "finished", buf, sizeof(buf)));
	print_field("held", "%s", us_of(answer, "held_us", buf, sizeof(buf)));
	print_field("drain", "%s", us_of(answer, "drain_us", buf, sizeof(buf)));
	print_field("commit", "%s", us_of(answer, "commit_us", buf, sizeof(buf)));
	print_field("verify", "%s", us_of(answer, "verify_us", buf, sizeof(buf)));
	print_field("waited", "%s requests", count_of(answer, "held_requests", buf, sizeof(buf)));
	print_field("generation", "%s", count_of(answer, "generation", buf, sizeof(buf)));
	print_change_nodes(answer);
	return CLI_DONE;
}

int print_change_list(const json_t *answer)
{
	static const char *const headings[] = {
	    "#ID", "KIND", "VOLUME", "FROM", "TO", "STATE", "#HELD", "STARTED", "REASON", NULL};
	json_t *list = json_object_get(answer, "changes");
	char buf[CLI_TEXT_SIZE];
	struct table t;
	json_t *c;
	size_t k;

	table_init(&t, headings);
	json_array_foreach(list, k, c)
	{
		table_add(&t, "%s", count_of(c, "id", buf, sizeof(buf)));
		table_add(&t, "%s", text_of(c, "kind"));
		table_add(&t, "%s", text_of(c, "volume"));
		table_add(&t, "%s", text_or_dash(c, "from"));
		table_add(&t, "%s", text_or_dash(c, "to"));
		table_add(&t, "%s", text_of(c, "state"));
		table_add(&t, "%s", us_of(c, "held_us", buf, sizeof(buf)));
		table_add(&t, "%s", time_of(c, "started", buf, sizeof(buf)));
		table_add(&t, "%s", text_or_dash(c, "reason"));
	}
	table_end(&t, "no changes");
	return CLI_DONE;
}
