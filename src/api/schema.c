#include "api/schema.h"

#include <string.h>

#define END                                                                                        \
	{                                                                                          \
	}
#define PATH_NAME(field, text)                                                                     \
	{                                                                                          \
		.name = field, .type = SCHEMA_NAME, .where = SCHEMA_IN_PATH, .required = true,     \
		.doc = text                                                                        \
	}
#define QUERY(field, kind, text)                                                                   \
	{                                                                                          \
		.name = field, .type = SCHEMA_##kind, .where = SCHEMA_IN_QUERY, .doc = text        \
	}
#define BODY(field, kind, text)                                                                    \
	{                                                                                          \
		.name = field, .type = SCHEMA_##kind, .where = SCHEMA_IN_BODY, .doc = text         \
	}
#define BODY_REQUIRED(field, kind, text)                                                           \
	{                                                                                          \
		.name = field, .type = SCHEMA_##kind, .where = SCHEMA_IN_BODY, .required = true,   \
		.doc = text                                                                        \
	}
#define CHOICE(field, in, words, must, text)                                                       \
	{                                                                                          \
		.name = field, .type = SCHEMA_CHOICE, .where = SCHEMA_IN_##in, .required = must,   \
		.choices = words, .doc = text                                                      \
	}

#define KINDS "file|nbd|iscsi|mem|null|fault"
#define POLICIES "auto|ask|off"

#define NAME PATH_NAME("name", "The object's name.")
#define ID                                                                                         \
	{                                                                                          \
		.name = "id", .type = SCHEMA_INTEGER, .where = SCHEMA_IN_PATH, .required = true,   \
		.doc = "The object's id."                                                          \
	}
#define PATH_KEYS                                                                                  \
	PATH_NAME("lu", "The LU that the path leads to."),                                         \
	    PATH_NAME("via", "The interface that the path uses.")
#define ADDRESS                                                                                    \
	BODY_REQUIRED("address", OBJECT,                                                           \
	    "Where the LU is, by kind: file {path, size?, device?}, nbd {uri}, iscsi {url}, mem "  \
	    "{size}, "                                                                             \
	    "null {size}, fault {lu}.")

/* One operation: the words for people, what it answers, its fields. */
#define OP(op, text, answer, ...)                                                                  \
	static const char doc_##op[] = text;                                                       \
	static const char result_##op[] = answer;                                                  \
	static const struct schema_field fields_##op[] = {__VA_ARGS__};

static const struct schema_field extent_members[] = {
    BODY_REQUIRED("lu", NAME, "The LU that carries the extent."),
    BODY("offset", SIZE, "Where in the LU it begins; 0 when missing."), END};

OP(STATUS, "The whole picture: node, volumes, interfaces, LUs, exports, changes, alerts.", "Status",
    END)
OP(HEALTH, "Answers once the daemon is ready.", "Health", END)
OP(INTERFACE_LIST, "All interfaces.", "InterfaceList", END)
OP(INTERFACE_SHOW, "One interface: health, load, who uses it.", "Interface", NAME, END)
OP(INTERFACE_ADD, "Adds an interface.", "Interface",
    BODY_REQUIRED("name", NAME, "Its name, unique on the node."),
    CHOICE("kind", BODY, KINDS, true, "The kind of LU that it reaches."),
    BODY("network_id", STRING, "Its network ID; for iSCSI the initiator name."),
    BODY("bind", STRING, "The local address that it connects from."),
    CHOICE("policy", BODY, POLICIES, false,
	"What happens when it degrades: auto evacuates it, ask reports candidates (default), off "
	"does nothing."),
    END)
OP(INTERFACE_SET, "Changes an interface.", "Interface", NAME,
    BODY("network_id", STRING, "The new network ID."),
    CHOICE("policy", BODY, POLICIES, false, "What happens when it degrades."), END)
OP(INTERFACE_REMOVE, "Removes an interface that no path uses.", "", NAME, END)
OP(INTERFACE_BALANCE, "Moves a volume from the most to the least loaded interface of a kind.",
    "Balance", CHOICE("kind", BODY, KINDS, false, "Only interfaces of this kind."),
    BODY("dry_run", BOOL, "Only say what would be moved."), END)
OP(LU_LIST, "All LUs.", "LuList", END)
OP(LU_SHOW, "One LU with its paths.", "Lu", NAME, END)
OP(LU_ADD, "Adds an LU and its first path.", "Lu", BODY_REQUIRED("name", NAME, "Its name."),
    CHOICE("kind", BODY, KINDS, true, "The driver that reaches it."), ADDRESS,
    BODY("via", NAME, "The interface of its first path; kinds that are local need none."), END)
OP(LU_CHECK, "Checks every path of an LU by reading through it.", "LuCheck", NAME, END)
OP(LU_FAULT, "Sets the rules of a fault LU.", "Lu", NAME,
    BODY_REQUIRED("rules", OBJECT, "The rules, checked by the fault driver."), END)
OP(LU_REMOVE, "Removes an LU that no volume uses.", "", NAME, END)
OP(PATH_LIST, "All paths.", "PathList", END)
OP(PATH_SHOW, "One path.", "Path", PATH_KEYS, END)
OP(PATH_ADD, "Adds a path to an LU; it is refused when it leads to other data.", "Path",
    BODY_REQUIRED("lu", NAME, "The LU that it leads to."),
    BODY_REQUIRED("via", NAME, "The interface that it uses."),
    CHOICE("kind", BODY, KINDS, false, "The driver; by default the interface's kind."), ADDRESS,
    BODY(
	"wait", BOOL, "Answer when the path is up, or refuse it (default); else keep it as it is."),
    END)
OP(PATH_CONFIRM_DEAD,
    "The operator's word that the other end of the path's old sessions is gone, so that nothing "
    "of them can land any more.",
    "Path", PATH_KEYS, END)
OP(PATH_REMOVE, "Removes a path.", "", PATH_KEYS, END)
OP(VOLUME_LIST, "All volumes.", "VolumeList", END)
OP(VOLUME_SHOW, "One volume: extents' LUs, paths in use, exports, load.", "Volume", NAME, END)
OP(VOLUME_CREATE, "Creates a volume over one or more LUs.", "Volume",
    BODY_REQUIRED("name", NAME, "Its name."),
    BODY("size", SIZE, "Bytes; by default the rest of the first LU."),
    {.name = "on",
	.type = SCHEMA_ARRAY,
	.where = SCHEMA_IN_BODY,
	.required = true,
	.members = extent_members,
	.doc = "The LUs that carry it, in the order of its addresses."},
    BODY("via", NAME, "The interface that it prefers."), END)
OP(VOLUME_MAP, "The extents of a volume.", "Map", NAME, END)
OP(VOLUME_CANDIDATES, "The interfaces that a volume could be moved to, with reasons.",
    "CandidateList", NAME,
    QUERY("from", NAME, "The interface to leave; by default the one in use."),
    CHOICE("rule", QUERY, "same-kind|any-kind|same-content", false,
	"How like the present path a candidate must be; same-kind when missing."),
    END)
OP(VOLUME_SWITCH_PATH, "Moves one volume from an interface to another while it is used.", "Change",
    NAME, BODY_REQUIRED("from", NAME, "The interface to leave."),
    BODY_REQUIRED("to", NAME, "The interface to use from now on."),
    BODY("take_network_id", BOOL, "Move the network ID along."),
    BODY("deadline_ms", INTEGER, "Milliseconds that requests may be held; 2000 when missing."),
    BODY("wait", BOOL, "Answer when it has ended (default), else when it has begun."), END)
OP(VOLUME_DELETE, "Deletes a volume that is not exported; its LUs keep their data.", "", NAME, END)
OP(EXPORT_LIST, "All exports.", "ExportList", END)
OP(EXPORT_SHOW, "One export: address, connections, load.", "Export", ID, END)
OP(EXPORT_ADD, "Serves a volume over NBD.", "Export",
    BODY_REQUIRED("volume", NAME, "The volume to serve."),
    BODY_REQUIRED("nbd", STRING, "Where to listen: unix:PATH or tcp:HOST:PORT."),
    BODY("name", STRING, "The NBD export name; by default the volume's."),
    BODY("client", NAME, "The client that it is for."), BODY("read_only", BOOL, "Refuse writes."),
    END)
OP(EXPORT_REMOVE, "Stops serving; connected clients are cut off when their requests are done.", "",
    ID, END)
OP(CLIENT_LIST, "All clients.", "ClientList", END)
OP(CLIENT_SHOW, "One client and its exports.", "Client", NAME, END)
OP(CLIENT_ADD, "Adds a client: a virtual machine or host that uses volumes.", "Client",
    BODY_REQUIRED("name", NAME, "Its name, unique in the cluster."), END)
OP(CLIENT_REMOVE, "Removes a client that has no export.", "", NAME, END)
OP(CHANGE_LIST, "Changes, the newest first.", "ChangeList",
    QUERY("volume", NAME, "Only those of this volume."),
    QUERY("limit", INTEGER, "At most so many."), END)
OP(CHANGE_SHOW, "One change: state, reason, times.", "Change", ID, END)
OP(CHANGE_CANCEL, "Cancels a change that has not been committed.", "Change", ID, END)
OP(NODE_LIST, "All nodes.", "NodeList", END)
OP(NODE_SHOW, "One node.", "Node", NAME, END)
OP(METRICS, "Figures for Prometheus, as text.", "", END)

static const struct schema_op ops[CTL_OP_COUNT] = {
#define X(op, verb, route) [CTL_##op] = {#op, #verb, route, doc_##op, result_##op, fields_##op},
    CTL_OPS(X)
#undef X
};

const struct schema_op *schema_op(enum ctl_op op)
{
	sluice_assert((unsigned)op < CTL_OP_COUNT);
	return &ops[op];
}

const struct schema_field *schema_event_fields(void)
{
	static const struct schema_field fields[] = {
	    QUERY("since", INTEGER,
		"Resume after this sequence number; the header Last-Event-ID does the same. "
		"Without "
		"either only new events are sent."),
	    QUERY("type", STRING, "Only events of this type, or below it (\"path\": \"path.up\")."),
	    END};

	return fields;
}

const struct schema_field *schema_field_find(const struct schema_field *fields, const char *name)
{
	for (; fields->name != NULL; fields++) {
		if (strcmp(fields->name, name) == 0) {
			return fields;
		}
	}
	return NULL;
}

bool schema_choice_valid(const char *choices, const char *text)
{
	size_t len = strlen(text);

	while (*choices != '\0') {
		size_t n = strcspn(choices, "|");

		if (n == len && memcmp(choices, text, n) == 0) {
			return true;
		}
		choices += n + (choices[n] == '|');
	}
	return false;
}

bool schema_name_valid(const char *text)
{
	static const char allowed[] =
	    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
	size_t len = strlen(text);

	/* The two names that clients and proxies fold away in a URL cannot be reached by one. */
	if (strcmp(text, ".") == 0 || strcmp(text, "..") == 0) {
		return false;
	}
	return len >= 1 && len <= SCHEMA_NAME_MAX && strspn(text, allowed) == len;
}
