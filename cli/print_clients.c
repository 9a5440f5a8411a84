/* Exports, clients and nodes, for people, and the picture at a glance. */
#include <string.h>

#include "cli.h"

/* -- exports */

int print_export(const json_t *answer)
{
	const json_t *stats = json_object_get(answer, "stats");
	char a[CLI_TEXT_SIZE];
	char b[CLI_TEXT_SIZE];

	print_field("id", "%s", count_of(answer, "id", a, sizeof(a)));
	print_field("volume", "%s", text_of(answer, "volume"));
	print_field("protocol", "%s", text_of(answer, "protocol"));
	print_field("address", "%s", text_of(answer, "address"));
	print_field("name", "%s", text_of(answer, "name"));
	print_field("URI", "%s", text_of(answer, "uri"));
	if (text_of(answer, "state")[0] != '\0') {
		print_field("state", "%s", text_of(answer, "state"));
	}
	if (text_of(answer, "reason")[0] != '\0') {
		print_field("reason", "%s", text_of(answer, "reason"));
	}
	print_field("client", "%s", text_of(answer, "client"));
	print_field(
	    "writes", "%s", json_is_true(json_object_get(answer, "read_only")) ? "no" : "yes");
	print_field("connections", "%s", count_of(answer, "connections", a, sizeof(a)));
	print_field("requests", "%s, errors %s", count_of(stats, "requests", a, sizeof(a)),
	    count_of(stats, "errors", b, sizeof(b)));
	print_field("moved", "%s read, %s written", bytes_of(stats, "bytes_read", a, sizeof(a)),
	    bytes_of(stats, "bytes_written", b, sizeof(b)));
	print_field("slowest", "%s", us_of(stats, "longest_us", a, sizeof(a)));
	return CLI_DONE;
}

static void export_table(const json_t *list)
{
	static const char *const headings[] = {
	    "#ID", "VOLUME", "CLIENT", "#CONNECTED", "STATE", "URI", NULL};
	char buf[CLI_TEXT_SIZE];
	struct table t;
	json_t *e;
	size_t k;

	table_init(&t, headings);
	json_array_foreach(list, k, e)
	{
		const char *uri = text_of(e, "uri");

		table_add(&t, "%s", count_of(e, "id", buf, sizeof(buf)));
		table_add(&t, "%s", text_of(e, "volume"));
		table_add(&t, "%s", text_or_dash(e, "client"));
		table_add(&t, "%s", count_of(e, "connections", buf, sizeof(buf)));
		table_add(&t, "%s", text_or_dash(e, "state"));
		table_add(&t, "%s", uri[0] != '\0' ? uri : text_of(e, "address"));
	}
	table_end(&t, "no exports; add one with `sluice export add`");
}

int print_export_list(const json_t *answer)
{
	export_table(json_object_get(answer, "exports"));
	return CLI_DONE;
}

/* -- clients */

int print_client(const json_t *answer)
{
	char buf[CLI_TEXT_SIZE];

	print_field("name", "%s", text_of(answer, "name"));
	print_field("exports", "%s", list_of(answer, "exports", buf, sizeof(buf)));
	return CLI_DONE;
}

int print_client_list(const json_t *answer)
{
	static const char *const headings[] = {"NAME", "EXPORTS", NULL};
	json_t *list = json_object_get(answer, "clients");
	char buf[CLI_TEXT_SIZE];
	struct table t;
	json_t *c;
	size_t k;

	table_init(&t, headings);
	json_array_foreach(list, k, c)
	{
		table_add(&t, "%s", text_of(c, "name"));
		table_add(&t, "%s", list_of(c, "exports", buf, sizeof(buf)));
	}
	table_end(&t, "no clients; add one with `sluice client add`");
	return CLI_DONE;
}

/* -- nodes */

int print_node(const json_t *answer)
{
	char buf[CLI_TEXT_SIZE];

	print_field("name", "%s", text_of(answer, "name"));
	print_field("id", "%s", text_of(answer, "id"));
	print_field("state", "%s", text_of(answer, "state"));
	print_field("version", "%s", text_of(answer, "version"));
	print_field("started", "%s", time_of(answer, "started", buf, sizeof(buf)));
	print_field("reactors", "%s", count_of(answer, "reactors", buf, sizeof(buf)));
	print_field("store", "%s", text_of(answer, "store"));
	print_field(
	    "primary", "%s", json_is_true(json_object_get(answer, "primary")) ? "yes" : "no");
	return CLI_DONE;
}

int print_node_list(const json_t *answer)
{
	static const char *const headings[] = {
	    "NAME", "STATE", "VERSION", "#REACTORS", "STORE", "PRIMARY", "STARTED", NULL};
	json_t *list = json_object_get(answer, "nodes");
	char buf[CLI_TEXT_SIZE];
	struct table t;
	json_t *n;
	size_t k;

	table_init(&t, headings);
	json_array_foreach(list, k, n)
	{
		table_add(&t, "%s", text_of(n, "name"));
		table_add(&t, "%s", text_of(n, "state"));
		table_add(&t, "%s", text_of(n, "version"));
		table_add(&t, "%s", count_of(n, "reactors", buf, sizeof(buf)));
		table_add(&t, "%s", text_of(n, "store"));
		table_add(&t, "%s", json_is_true(json_object_get(n, "primary")) ? "yes" : "no");
		table_add(&t, "%s", time_of(n, "started", buf, sizeof(buf)));
	}
	table_end(&t, "no nodes");
	return CLI_DONE;
}

/* -- status */

/* Clients connected to a volume, over all of its exports. */
static intmax_t connections_of(const json_t *status, const char *volume)
{
	json_t *list = json_object_get(status, "exports");
	intmax_t n = 0;
	json_t *e;
	size_t k;

	json_array_foreach(list, k, e)
	{
		if (strcmp(text_of(e, "volume"), volume) == 0) {
			n += (intmax_t)json_integer_value(json_object_get(e, "connections"));
		}
	}
	return n;
}

static void status_volumes(const json_t *status)
{
	static const char *const headings[] = {"VOLUME", "#SIZE", "LUS", "PATH IN USE", "EXPORTS",
	    "#CLIENTS", "#IN FLIGHT", "#HELD", NULL};
	json_t *list = json_object_get(status, "volumes");
	char buf[CLI_TEXT_SIZE];
	struct table t;
	json_t *v;
	size_t k;

	table_init(&t, headings);
	json_array_foreach(list, k, v)
	{
		table_add(&t, "%s", text_of(v, "name"));
		table_add(&t, "%s", size_of(v, "size", buf, sizeof(buf)));
		table_add(&t, "%s", list_of(v, "lus", buf, sizeof(buf)));
		table_add(&t, "%s", active_of(v, buf, sizeof(buf)));
		table_add(&t, "%s", list_of(v, "exports", buf, sizeof(buf)));
		table_add(&t, "%jd", connections_of(status, text_of(v, "name")));
		table_add(&t, "%s", count_of(v, "in_flight", buf, sizeof(buf)));
		table_add(&t, "%s", count_of(v, "held_requests", buf, sizeof(buf)));
	}
	table_end(&t, "no volumes; `sluice lu add`, then `sluice volume create`");
}

static void status_changes(const json_t *status)
{
	json_t *list = json_object_get(status, "changes");
	char buf[32];
	json_t *c;
	size_t k;

	json_array_foreach(list, k, c)
	{
		printf("in progress: change %s, %s of %s from %s to %s: %s\n",
		    count_of(c, "id", buf, sizeof(buf)), text_of(c, "kind"), text_of(c, "volume"),
		    text_or_dash(c, "from"), text_or_dash(c, "to"), text_of(c, "state"));
	}
	if (json_array_size(list) == 0) {
		printf("no changes in progress\n");
	}
}

static void status_alerts(const json_t *status)
{
	json_t *list = json_object_get(status, "alerts");
	char buf[64];
	json_t *e;
	size_t k;

	printf(json_array_size(list) > 0 ? "\nrecent alerts:\n" : "no recent alerts\n");
	json_array_foreach(list, k, e)
	{
		printf("  %s  ", time_of(e, "time", buf, sizeof(buf)));
		print_colored(text_of(e, "level"), 5);
		printf("  %s: %s\n", text_of(e, "type"), text_of(e, "message"));
	}
}

int print_status(const json_t *answer)
{
	const json_t *node = json_object_get(answer, "node");
	char reactors[32];
	char started[64];

	printf("node %s: sluiced %s, %s, since %s, %s reactors, store %s\n\n",
	    text_of(node, "name"), text_of(node, "version"), text_or_dash(node, "state"),
	    time_of(node, "started", started, sizeof(started)),
	    count_of(node, "reactors", reactors, sizeof(reactors)), text_of(node, "store"));
	status_volumes(answer);
	putchar('\n');
	print_interface_list(answer);
	putchar('\n');
	print_lu_list(answer);
	putchar('\n');
	export_table(json_object_get(answer, "exports"));
	putchar('\n');
	status_changes(answer);
	status_alerts(answer);
	return CLI_DONE;
}
