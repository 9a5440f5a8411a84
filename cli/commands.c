/* The table: everything that the command line knows. */
#include <string.h>

#include "cli.h"

#define POLICY_HELP "what happens when it degrades: auto (evacuate), ask (report), off"

/* Where an LU is; exactly one of them. */
#define ADDRESS_OPTIONS                                                                            \
	{"--file", CLI_TEXT, "PATH", NULL, false, "a file"},                                       \
	    {"--device", CLI_TEXT, "PATH", NULL, false, "a block device"},                         \
	    {"--nbd", CLI_TEXT, "URI", NULL, false, "an NBD export, such as nbd://HOST/NAME"},     \
	    {"--iscsi", CLI_TEXT, "URL", NULL, false,                                              \
		"an iSCSI LUN, such as iscsi://HOST/TARGET/LUN"},                                  \
	    {"--mem", CLI_SIZE, "SIZE", NULL, false, "memory, gone with the daemon"},              \
	    {"--null", CLI_SIZE, "SIZE", NULL, false, "nothing: reads as zeros, for measuring"},   \
	{                                                                                          \
		"--fault", CLI_TEXT, "LU", NULL, false, "another LU, with faults on command"       \
	}

static const struct cli_option no_options[] = {{0}};

static const struct cli_option interface_add[] = {
    {"--kind", CLI_TEXT, "KIND", "kind", true, "file, nbd, iscsi, mem, null or fault"},
    {"--network-id", CLI_TEXT, "ID", "network_id", false, "for iscsi: the initiator name"},
    {"--bind", CLI_TEXT, "ADDR", "bind", false, "the local address to connect from"},
    {"--policy", CLI_TEXT, "POLICY", "policy", false, POLICY_HELP},
    {0},
};
static const struct cli_option interface_set[] = {
    {"--network-id", CLI_TEXT, "ID", "network_id", false, "the new network ID"},
    {"--policy", CLI_TEXT, "POLICY", "policy", false, POLICY_HELP},
    {0},
};
static const struct cli_option interface_balance[] = {
    {"--kind", CLI_TEXT, "KIND", "kind", false, "only interfaces of this kind"},
    {"--dry-run", CLI_FLAG, NULL, "dry_run", false, "only say what would be moved"},
    {0},
};
static const struct cli_option lu_add[] = {
    ADDRESS_OPTIONS,
    {"--size", CLI_SIZE, "SIZE", NULL, false, "with --file: make the file, or use so much of it"},
    {"--via", CLI_TEXT, "IFACE", "via", false, "the interface of its first path"},
    {0},
};
static const struct cli_option lu_fault[] = {
    {"--error", CLI_TEXT, "ERRNO[:PROBABILITY]", NULL, false, "fail requests, such as EIO:0.1"},
    {"--delay", CLI_TEXT, "TIME", NULL, false, "delay requests, such as 10ms"},
    {"--corrupt", CLI_TEXT, "PROBABILITY", NULL, false, "change a byte of what is read"},
    {"--stop", CLI_FLAG, NULL, NULL, false, "keep requests until --resume"},
    {"--resume", CLI_FLAG, NULL, NULL, false, "let them go on"},
    {"--op", CLI_TEXT, "OP[,OP...]", NULL, false,
	"only for read, write, flush, discard, write-zeroes; all when missing"},
    {"--clear", CLI_FLAG, NULL, NULL, false, "end all faults"},
    {0},
};
static const struct cli_option path_key[] = {
    {"--via", CLI_TEXT, "IFACE", "via", true, "the interface that the path uses"},
    {0},
};
static const struct cli_option path_add[] = {
    {"--via", CLI_TEXT, "IFACE", "via", true, "the interface that the path uses"},
    ADDRESS_OPTIONS,
    {"--size", CLI_SIZE, "SIZE", NULL, false, "with --file: use so much of the file"},
    {"--wait", CLI_FLAG, NULL, "wait", false, "until it is up, else it is refused (default)"},
    {"--no-wait", CLI_NEGATE, NULL, "wait", false, "keep it even if it cannot come up now"},
    {0},
};
static const struct cli_option volume_create[] = {
    {"--size", CLI_SIZE, "SIZE", "size", false, "by default the rest of the first LU"},
    {"--on", CLI_TEXT, "LU[:OFFSET][,LU[:OFFSET]...]", NULL, true, "the LUs that carry it"},
    {"--via", CLI_TEXT, "IFACE", "via", false, "the interface that it prefers"},
    {0},
};
static const struct cli_option volume_candidates[] = {
    {"--from", CLI_TEXT, "IFACE", "from", false, "the interface to leave"},
    {"--rule", CLI_TEXT, "RULE", "rule", false, "same-kind (default), any-kind or same-content"},
    {0},
};
static const struct cli_option volume_switch_path[] = {
    {"--from", CLI_TEXT, "IFACE", "from", true, "the interface to leave"},
    {"--to", CLI_TEXT, "IFACE", "to", true, "the interface to use from now on"},
    {"--take-network-id", CLI_FLAG, NULL, "take_network_id", false, "move the network ID along"},
    {"--deadline-ms", CLI_INTEGER, "N", "deadline_ms", false,
	"longest time that requests are held; 2000 by default"},
    {"--wait", CLI_FLAG, NULL, "wait", false, "until it has ended (default)"},
    {"--no-wait", CLI_NEGATE, NULL, "wait", false, "return when it has begun"},
    {0},
};
static const struct cli_option export_add[] = {
    {"--nbd", CLI_TEXT, "ADDRESS", "nbd", true, "where to listen: unix:PATH or tcp:HOST:PORT"},
    {"--name", CLI_TEXT, "EXPORT", "name", false, "the NBD export name; by default the volume's"},
    {"--client", CLI_TEXT, "CLIENT", "client", false, "whom it is for"},
    {"--read-only", CLI_FLAG, NULL, "read_only", false, "refuse writes"},
    {0},
};
static const struct cli_option change_list[] = {
    {"--volume", CLI_TEXT, "NAME", "volume", false, "only those of this volume"},
    {"--limit", CLI_INTEGER, "N", "limit", false, "at most so many"},
    {0},
};
static const struct cli_option event_watch[] = {
    {"--since", CLI_INTEGER, "SEQ", NULL, false, "also those that are kept after this number"},
    {"--type", CLI_TEXT, "TYPE", NULL, false, "only this type (path includes path.up)"},
    {0},
};

const struct cli_option cli_global_options[] = {
    {"--json", CLI_FLAG, NULL, NULL, false, "print one JSON document"},
    {"--connect", CLI_TEXT, "URL", NULL, false,
	"unix:PATH or http://HOST:PORT; by default SLUICE_URL, else " SLUICE_DEFAULT_URL},
    {"--help", CLI_FLAG, NULL, NULL, false, "print this"},
    {0},
};

#define GET "GET"
#define POST "POST"
#define DELETE "DELETE"

const struct cli_command cli_commands[] = {
    {"status", NULL, NULL, "what serves what, over which path, how healthy", GET, "/v1/status",
	no_options, .print = print_status},

    {"interface", "add", "NAME", "add an interface", POST, "/v1/interfaces", interface_add,
	.print = print_interface},
    {"interface", "list", NULL, "list interfaces", GET, "/v1/interfaces", no_options,
	.print = print_interface_list},
    {"interface", "show", "NAME", "show health, load, and who uses it", GET,
	"/v1/interfaces/{name}", no_options, .print = print_interface},
    {"interface", "set", "NAME", "change network ID or policy", POST, "/v1/interfaces/{name}/set",
	interface_set, .build = build_interface_set, .print = print_interface},
    {"interface", "remove", "NAME", "remove an interface that no path uses", DELETE,
	"/v1/interfaces/{name}", no_options, .print = print_nothing},
    {"interface", "balance", NULL, "move a volume from the most to the least loaded one", POST,
	"/v1/interfaces/balance", interface_balance, .print = print_balance},

    {"lu", "add", "NAME", "add an LU and its first path", POST, "/v1/lus", lu_add,
	.build = build_lu_add, .print = print_lu},
    {"lu", "list", NULL, "list LUs", GET, "/v1/lus", no_options, .print = print_lu_list},
    {"lu", "show", "NAME", "show an LU and its paths", GET, "/v1/lus/{name}", no_options,
	.print = print_lu},
    {"lu", "check", "NAME", "check every path by reading through it", POST, "/v1/lus/{name}/check",
	no_options, .print = print_lu_check, .judge = judge_lu_check},
    {"lu", "fault", "NAME", "make a fault LU misbehave", POST, "/v1/lus/{name}/fault", lu_fault,
	.build = build_lu_fault, .print = print_lu},
    {"lu", "remove", "NAME", "remove an LU that no volume uses", DELETE, "/v1/lus/{name}",
	no_options, .print = print_nothing},

    {"path", "add", "LU", "add a path to an LU", POST, "/v1/paths", path_add,
	.build = build_path_add, .print = print_path},
    {"path", "list", NULL, "list paths", GET, "/v1/paths", no_options, .print = print_path_list},
    {"path", "show", "LU", "show a path", GET, "/v1/paths/{lu}/{via}", path_key,
	.print = print_path},
    {"path", "confirm-dead", "LU", "say that the other end of its old sessions is gone", POST,
	"/v1/paths/{lu}/{via}/confirm-dead", path_key, .print = print_path},
    {"path", "remove", "LU", "remove a path", DELETE, "/v1/paths/{lu}/{via}", path_key,
	.print = print_nothing},

    {"volume", "create", "NAME", "create a volume over one or more LUs", POST, "/v1/volumes",
	volume_create, .build = build_volume_create, .print = print_volume},
    {"volume", "list", NULL, "list volumes", GET, "/v1/volumes", no_options,
	.print = print_volume_list},
    {"volume", "show", "NAME", "show a volume", GET, "/v1/volumes/{name}", no_options,
	.print = print_volume},
    {"volume", "map", "NAME", "show where its addresses lie", GET, "/v1/volumes/{name}/map",
	no_options, .print = print_map},
    {"volume", "switch-path", "NAME", "move it to another interface while it is used", POST,
	"/v1/volumes/{name}/switch-path", volume_switch_path, .print = print_switch,
	.judge = judge_switch},
    {"volume", "candidates", "NAME", "interfaces that it could move to, with reasons", GET,
	"/v1/volumes/{name}/candidates", volume_candidates, .print = print_candidates},
    {"volume", "delete", "NAME", "delete it; its LUs keep their data", DELETE, "/v1/volumes/{name}",
	no_options, .print = print_nothing},

    {"export", "add", "VOLUME", "serve a volume over NBD", POST, "/v1/exports", export_add,
	.print = print_export},
    {"export", "list", NULL, "list exports", GET, "/v1/exports", no_options,
	.print = print_export_list},
    {"export", "show", "ID", "show an export", GET, "/v1/exports/{id}", no_options,
	.print = print_export},
    {"export", "remove", "ID", "stop serving", DELETE, "/v1/exports/{id}", no_options,
	.print = print_nothing},

    {"client", "add", "NAME", "add a client", POST, "/v1/clients", no_options,
	.print = print_client},
    {"client", "list", NULL, "list clients", GET, "/v1/clients", no_options,
	.print = print_client_list},
    {"client", "show", "NAME", "show a client", GET, "/v1/clients/{name}", no_options,
	.print = print_client},
    {"client", "remove", "NAME", "remove a client that has no export", DELETE, "/v1/clients/{name}",
	no_options, .print = print_nothing},

    {"change", "list", NULL, "list changes, the newest first", GET, "/v1/changes", change_list,
	.print = print_change_list},
    {"change", "show", "ID", "show a change: outcome, reason, times", GET, "/v1/changes/{id}",
	no_options, .print = print_change},
    {"change", "cancel", "ID", "cancel a change that is not committed", POST,
	"/v1/changes/{id}/cancel", no_options, .print = print_change},

    {"node", "list", NULL, "list nodes", GET, "/v1/nodes", no_options, .print = print_node_list},
    {"node", "show", "NAME", "show a node", GET, "/v1/nodes/{name}", no_options,
	.print = print_node},

    {"event", "watch", NULL, "print events as they happen", NULL, NULL, event_watch,
	.run = watch_run},

    {"completion", "bash", NULL, "print completion rules for bash", NULL, NULL, no_options,
	.run = complete_run},
    {"version", NULL, NULL, "print the version", NULL, NULL, no_options, .run = version_run},
};
const size_t cli_command_count = ARRAY_SIZE(cli_commands);

const char *cli_noun_help(const char *noun)
{
	static const struct {
		const char *noun;
		const char *help;
	} table[] = {
	    {"interface", "a node's means of reaching LUs"},
	    {"lu", "a logical unit: addressable storage with an identity and a size"},
	    {"path", "a way to an LU over an interface"},
	    {"volume", "what a client sees as one disk"},
	    {"export", "a volume served over a protocol"},
	    {"client", "a virtual machine or host that uses volumes"},
	    {"change", "a transaction that alters paths or maps"},
	    {"node", "a host that runs sluiced"},
	    {"event", "what happened"},
	    {"completion", "rules for shells"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		if (strcmp(table[i].noun, noun) == 0) {
			return table[i].help;
		}
	}
	return "";
}

const char *cli_option_value(const struct cli_args *args, const char *name)
{
	const struct cli_option *options = args->command->options;

	for (size_t i = 0; options[i].value != CLI_END; i++) {
		if (strcmp(options[i].name, name) == 0) {
			return args->values[i];
		}
	}
	return NULL;
}
