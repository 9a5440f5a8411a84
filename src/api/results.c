/* What the operations answer with, for the API description. */
#include <string.h>

#include "api/schema.h"

#define END                                                                                        \
	{                                                                                          \
	}

static const struct schema_property health[] = {{"status", "string", "\"ok\""}, END};

static const struct schema_property stats[] = {
    {"requests", "integer", "completed since the start"},
    {"bytes", "integer", "moved since the start"},
    {"errors", "integer", "refused by the medium or the request itself"},
    {"transport_errors", "integer", "broken sessions and the like"},
    {"timeouts", "integer", "requests that were not answered in time"},
    {"in_flight", "integer", "requests now"},
    {"iops", "number", "recent requests per second"},
    {"bytes_per_s", "number", "recent"},
    {"latency_us", "number", "recent mean, microseconds"},
    {"baseline_us", "number", "its own long past, microseconds"},
    {"error_rate", "number", "recent errors per request, 0 to 1"},
    END,
};

static const struct schema_property interface[] = {
    {"name", "string", "unique on the node"},
    {"kind", "string", "the kind of LU that it reaches"},
    {"network_id", "string", "empty when it has none"},
    {"bind", "string", "local address; empty: any"},
    {"policy", "string", "auto, ask or off"},
    {"state", "string", "up, degraded, down or unused"},
    {"reason", "string", "why it is not up"},
    {"paths", "integer", "how many paths use it"},
    {"volumes", "[string]", "volumes whose requests go over it"},
    {"stats", "Stats", "health and load"},
    END,
};

static const struct schema_property path[] = {
    {"lu", "string", "the LU that it leads to"},
    {"via", "string", "the interface that it uses"},
    {"kind", "string", "its driver"},
    {"address", "string", "where the LU is, without secrets"},
    {"state", "string", "connecting, up, damped or refused"},
    {"reason", "string", "why it is not up"},
    {"stats", "Stats", "health and load"},
    END,
};

static const struct schema_property lu[] = {
    {"name", "string", "unique"},
    {"uuid", "string", "Sluice's own identity of it"},
    {"kind", "string", "the driver of its first path"},
    {"size", "integer", "bytes; 0: not known yet"},
    {"identity", "string", "what its kind offers as proof; may be empty"},
    {"state", "string", "for people"},
    {"paths", "[Path]", "all ways to it"},
    {"volumes", "[string]", "volumes that lie on it"},
    {"in_doubt", "integer", "writes that a broken session may still carry out"},
    END,
};

static const struct schema_property check_path[] = {
    {"via", "string", "the interface"},
    {"ok", "boolean", "it leads to the right data"},
    {"reason", "string", "why not"},
    {"latency_us", "number", "of the check, microseconds"},
    END,
};

static const struct schema_property check[] = {
    {"name", "string", "the LU"},
    {"ok", "boolean", "all paths are good"},
    {"paths", "[LuCheckPath]", "the outcome of each"},
    END,
};

static const struct schema_property active[] = {
    {"lu", "string", "the LU"},
    {"via", "string", "the interface in use; empty: none is up"},
    {"state", "string", "of the path in use"},
    END,
};

static const struct schema_property volume[] = {
    {"name", "string", "unique"},
    {"uuid", "string", "its identity"},
    {"size", "integer", "bytes"},
    {"generation", "integer", "of its map"},
    {"lus", "[string]", "what it lies on"},
    {"via", "string", "the interface that it prefers"},
    {"active", "[Active]", "the path in use to each LU"},
    {"exports", "[integer]", "ids"},
    {"in_flight", "integer", "requests now"},
    {"held_requests", "integer", "requests that wait at the gate now"},
    {"change", "integer", "id of the change in progress, or null"},
    END,
};

static const struct schema_property place[] = {
    {"lu", "string", "the LU"}, {"offset", "integer", "bytes in the LU"}, END};

static const struct schema_property extent[] = {
    {"offset", "integer", "bytes in the volume"},
    {"length", "integer", "bytes"},
    {"read", "Place", "where reads go"},
    {"write", "[Place]", "where writes go"},
    {"state", "string", "for people"},
    END,
};

static const struct schema_property map[] = {
    {"generation", "integer", "grows with every change"},
    {"extents", "[Extent]", "in the order of addresses"},
    END,
};

static const struct schema_property candidate[] = {
    {"interface", "string", "its name"},
    {"kind", "string", "its kind"},
    {"state", "string", "its state"},
    {"reason", "string", "why it is, or is not, suitable"},
    {"iops", "number", "its recent load"},
    {"latency_us", "number", "its recent latency, microseconds"},
    {"volumes", "integer", "how many volumes use it"},
    {"suitable", "boolean", "a switch to it is expected to work"},
    END,
};

static const struct schema_property export_stats[] = {
    {"requests", "integer", "answered"},
    {"errors", "integer", "answered with an error"},
    {"bytes_read", "integer", "sent to clients"},
    {"bytes_written", "integer", "received from clients"},
    {"longest_us", "integer", "the slowest request so far, microseconds"},
    END,
};

static const struct schema_property export[] = {
    {"id", "integer", "unique"},
    {"volume", "string", "what it serves"},
    {"protocol", "string", "nbd"},
    {"address", "string", "where it listens"},
    {"name", "string", "the export's name in the protocol"},
    {"uri", "string", "to copy into a client"},
    {"client", "string", "whom it is for"},
    {"read_only", "boolean", "writes are refused"},
    {"state", "string", "serving or down"},
    {"reason", "string", "why it is down"},
    {"connections", "integer", "clients connected now"},
    {"stats", "ExportStats", "load"},
    END,
};

static const struct schema_property client[] = {
    {"name", "string", "unique"}, {"exports", "[integer]", "ids"}, END};

static const struct schema_property change_node[] = {
    {"node", "string", "its name"},
    {"state", "string", "of the change there"},
    {"drain_us", "integer", "microseconds"},
    {"held_us", "integer", "microseconds"},
    {"excluded", "boolean", "the change went on without it"},
    END,
};

static const struct schema_property change[] = {
    {"id", "integer", "unique"},
    {"kind", "string", "switch-path"},
    {"volume", "string", "the volume that it changes"},
    {"state", "string", "preparing, holding, committed, done, aborted or rolled-back"},
    {"reason", "string", "why it did not get to done"},
    {"from", "string", "the interface to leave"},
    {"to", "string", "the interface to use"},
    {"take_network_id", "boolean", "the network ID moves along"},
    {"network_id", "string", "what moves along; \"\" else"},
    {"replaced_network_id", "string", "what the destination had before; \"\" else"},
    {"held_us", "integer", "from the first request held to the release, microseconds"},
    {"drain_us", "integer", "microseconds"},
    {"commit_us", "integer", "microseconds"},
    {"verify_us", "integer", "microseconds"},
    {"held_requests", "integer", "requests that waited"},
    {"generation", "integer", "of the map that it made"},
    {"nodes", "[ChangeNode]", "the outcome on each node"},
    {"started", "string", "time, UTC"},
    {"finished", "string", "time, UTC; empty while it runs"},
    {"advice", "string", "what to do about it"},
    END,
};

static const struct schema_property move[] = {
    {"volume", "string", "the volume to move"},
    {"from", "string", "the interface to leave"},
    {"to", "string", "the interface to use"},
    {"reason", "string", "why"},
    {"change", "integer", "id, unless it was a dry run"},
    END,
};

static const struct schema_property balance[] = {{"moves", "[Move]", "may be none"}, END};

static const struct schema_property node[] = {
    {"name", "string", "unique"},
    {"id", "string", "its identity"},
    {"state", "string", "for people"},
    {"version", "string", "of the daemon"},
    {"started", "string", "time, UTC"},
    {"reactors", "integer", "data reactors"},
    {"store", "string", "the cluster database"},
    {"primary", "boolean", "it coordinates changes"},
    END,
};

static const struct schema_property event[] = {
    {"seq", "integer", "never repeats, grows"},
    {"time", "string", "UTC"},
    {"type", "string", "such as path.up"},
    {"level", "string", "info, warn or error"},
    {"object", "string", "what it is about, such as volume/vol0"},
    {"message", "string", "for people"},
    {"data", "object", "by type"},
    END,
};

static const struct schema_property error[] = {
    {"code", "string", "a POSIX error name, such as EINVAL"},
    {"message", "string", "what went wrong"},
    {"hint", "string", "what to do about it; may be empty"},
    END,
};

static const struct schema_property error_document[] = {{"error", "Error", "why"}, END};

static const struct schema_property status[] = {
    {"node", "Node", "this daemon"},
    {"volumes", "[Volume]", "all"},
    {"interfaces", "[Interface]", "all"},
    {"lus", "[Lu]", "all"},
    {"exports", "[Export]", "all"},
    {"changes", "[Change]", "those in progress"},
    {"alerts", "[Event]", "recent events of level warn and error"},
    END,
};

#define LIST(noun, member, of)                                                                     \
	static const struct schema_property noun##_list[] = {{member, "[" of "]", "all"}, END};
LIST(interface, "interfaces", "Interface")
LIST(lu, "lus", "Lu")
LIST(path, "paths", "Path")
LIST(volume, "volumes", "Volume")
LIST(candidate, "candidates", "Candidate")
LIST(export, "exports", "Export")
LIST(client, "clients", "Client")
LIST(change, "changes", "Change")
LIST(node, "nodes", "Node")

static const struct schema_result results[] = {
    {"Health", health},
    {"Stats", stats},
    {"Interface", interface},
    {"InterfaceList", interface_list},
    {"Path", path},
    {"PathList", path_list},
    {"Lu", lu},
    {"LuList", lu_list},
    {"LuCheckPath", check_path},
    {"LuCheck", check},
    {"Active", active},
    {"Volume", volume},
    {"VolumeList", volume_list},
    {"Place", place},
    {"Extent", extent},
    {"Map", map},
    {"Candidate", candidate},
    {"CandidateList", candidate_list},
    {"ExportStats", export_stats},
    {"Export", export},
    {"ExportList", export_list},
    {"Client", client},
    {"ClientList", client_list},
    {"ChangeNode", change_node},
    {"Change", change},
    {"ChangeList", change_list},
    {"Move", move},
    {"Balance", balance},
    {"Node", node},
    {"NodeList", node_list},
    {"Event", event},
    {"Status", status},
    {"Error", error},
    {"ErrorDocument", error_document},
};

const struct schema_result *schema_result_at(size_t i)
{
	return i < ARRAY_SIZE(results) ? &results[i] : NULL;
}

const struct schema_result *schema_result_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(results); i++) {
		if (strcmp(results[i].name, name) == 0) {
			return &results[i];
		}
	}
	return NULL;
}
