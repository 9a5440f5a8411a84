/* The typed calls: objects of the API as structs. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "private.h"

/* -- reading objects */

static void get_text(const json_t *object, const char *key, char *out, size_t len)
{
	const char *text = json_string_value(json_object_get(object, key));

	snprintf(out, len, "%s", text != NULL ? text : "");
}
#define GET_TEXT(object, key, member) get_text(object, key, member, sizeof(member))

static uint64_t get_number(const json_t *object, const char *key)
{
	json_int_t v = json_integer_value(json_object_get(object, key));

	return v > 0 ? (uint64_t)v : 0;
}

static double get_real(const json_t *object, const char *key)
{
	return json_number_value(json_object_get(object, key));
}

static unsigned get_count(const json_t *object, const char *key)
{
	return (unsigned)json_array_size(json_object_get(object, key));
}

static void read_interface(const json_t *object, void *out)
{
	struct sluice_interface *i = out;
	const json_t *stats = json_object_get(object, "stats");

	GET_TEXT(object, "name", i->name);
	GET_TEXT(object, "kind", i->kind);
	GET_TEXT(object, "network_id", i->network_id);
	GET_TEXT(object, "policy", i->policy);
	GET_TEXT(object, "state", i->state);
	GET_TEXT(object, "reason", i->reason);
	i->paths = (unsigned)get_number(object, "paths");
	i->iops = get_real(stats, "iops");
	i->latency_us = get_real(stats, "latency_us");
	i->error_rate = get_real(stats, "error_rate");
}

static void read_lu(const json_t *object, void *out)
{
	struct sluice_lu *lu = out;

	GET_TEXT(object, "name", lu->name);
	GET_TEXT(object, "uuid", lu->uuid);
	GET_TEXT(object, "kind", lu->kind);
	GET_TEXT(object, "state", lu->state);
	lu->size = get_number(object, "size");
	lu->paths = get_count(object, "paths");
	lu->in_doubt = (unsigned)get_number(object, "in_doubt");
}

static void read_volume(const json_t *object, void *out)
{
	struct sluice_volume *v = out;
	const json_t *active = json_array_get(json_object_get(object, "active"), 0);

	GET_TEXT(object, "name", v->name);
	GET_TEXT(object, "uuid", v->uuid);
	GET_TEXT(object, "via", v->via);
	GET_TEXT(active, "via", v->active_via);
	v->size = get_number(object, "size");
	v->generation = get_number(object, "generation");
	v->in_flight = get_number(object, "in_flight");
	v->held_requests = get_number(object, "held_requests");
	v->change = get_number(object, "change");
}

static void read_change(const json_t *object, void *out)
{
	struct sluice_change *c = out;

	c->id = get_number(object, "id");
	GET_TEXT(object, "kind", c->kind);
	GET_TEXT(object, "volume", c->volume);
	GET_TEXT(object, "state", c->state);
	GET_TEXT(object, "reason", c->reason);
	GET_TEXT(object, "from", c->from);
	GET_TEXT(object, "to", c->to);
	c->held_us = get_number(object, "held_us");
	c->drain_us = get_number(object, "drain_us");
	c->commit_us = get_number(object, "commit_us");
	c->verify_us = get_number(object, "verify_us");
	c->held_requests = get_number(object, "held_requests");
	c->generation = get_number(object, "generation");
}

static void read_export(const json_t *object, void *out)
{
	struct sluice_export *e = out;

	e->id = get_number(object, "id");
	GET_TEXT(object, "volume", e->volume);
	GET_TEXT(object, "name", e->name);
	GET_TEXT(object, "address", e->address);
	GET_TEXT(object, "uri", e->uri);
	GET_TEXT(object, "client", e->client);
	e->read_only = json_is_true(json_object_get(object, "read_only"));
	e->connections = (unsigned)get_number(object, "connections");
}

/* -- calling */

struct reader {
	const char *list; /* the member of a list's document */
	size_t size;
	void (*read)(const json_t *object, void *out);
};
static const struct reader interface_reader = {
    "interfaces", sizeof(struct sluice_interface), read_interface};
static const struct reader lu_reader = {"lus", sizeof(struct sluice_lu), read_lu};
static const struct reader volume_reader = {"volumes", sizeof(struct sluice_volume), read_volume};
static const struct reader change_reader = {"changes", sizeof(struct sluice_change), read_change};
static const struct reader export_reader = {"exports", sizeof(struct sluice_export), read_export};

static int call(struct sluice_connection *connection, const char *method, const char *path,
    json_t *body_consumed, json_t **ret_answer, struct sluice_error *error)
{
	char *body = body_consumed != NULL ? json_dumps(body_consumed, JSON_COMPACT) : NULL;
	char *text = NULL;
	json_t *answer;
	int rc = 0;

	if (body_consumed != NULL && body == NULL) {
		rc = connection_error(error, -ENOMEM, "", "out of memory");
	}
	json_decref(body_consumed);
	if (rc == 0) {
		rc = sluice_call(connection, method, path, body, &text, error);
	}
	free(body);
	if (rc != 0) {
		return rc;
	}
	answer = json_loads(text, 0, NULL);
	free(text);
	if (!json_is_object(answer)) {
		json_decref(answer);
		return connection_error(error, -EPROTO, "is it sluiced that listens there?",
		    "the answer is not a JSON object");
	}
	*ret_answer = answer;
	return 0;
}

/* out may be NULL, and reader then. */
static int call_for(struct sluice_connection *connection, const char *method, const char *path,
    json_t *body_consumed, const struct reader *reader, void *out, struct sluice_error *error)
{
	json_t *answer;
	int rc = call(connection, method, path, body_consumed, &answer, error);

	if (rc != 0) {
		return rc;
	}
	if (out != NULL) {
		reader->read(answer, out);
	}
	json_decref(answer);
	return 0;
}

static int call_list(struct sluice_connection *connection, const char *path,
    const struct reader *reader, void **ret_list, size_t *count, struct sluice_error *error)
{
	json_t *answer;
	json_t *element;
	json_t *list;
	char *out;
	size_t i;
	int rc = call(connection, "GET", path, NULL, &answer, error);

	if (rc != 0) {
		return rc;
	}
	list = json_object_get(answer, reader->list);
	out = calloc(json_array_size(list) + 1, reader->size);
	if (out == NULL) {
		json_decref(answer);
		return connection_error(error, -ENOMEM, "", "out of memory");
	}
	json_array_foreach(list, i, element)
	{
		reader->read(element, out + i * reader->size);
	}
	*ret_list = out;
	*count = json_array_size(list);
	json_decref(answer);
	return 0;
}

/* "/v1/lus/%s", with names as the daemon knows them; others would address something else. */
static int make_path(char *path, size_t len, struct sluice_error *error, const char *prefix,
    const char *name, const char *suffix)
{
	static const char allowed[] =
	    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";

	if (name[0] == '\0' || strlen(name) >= SLUICE_NAME_SIZE || name[strspn(name, allowed)]) {
		return connection_error(error, -EINVAL,
		    "a name has 1 to 64 letters, digits, '.', '_' or '-'", "'%.64s' is no name",
		    name);
	}
	snprintf(path, len, "%s%s%s", prefix, name, suffix);
	return 0;
}

static int call_named(struct sluice_connection *connection, const char *method, const char *prefix,
    const char *name, const struct reader *reader, void *out, struct sluice_error *error)
{
	char path[192];
	int rc = make_path(path, sizeof(path), error, prefix, name, "");

	return rc != 0 ? rc : call_for(connection, method, path, NULL, reader, out, error);
}

static int call_numbered(struct sluice_connection *connection, const char *method,
    const char *prefix, uint64_t id, const char *suffix, const struct reader *reader, void *out,
    struct sluice_error *error)
{
	char path[192];

	snprintf(path, sizeof(path), "%s%ju%s", prefix, (uintmax_t)id, suffix);
	return call_for(connection, method, path, NULL, reader, out, error);
}

/* -- interfaces */

SLUICE_API int sluice_interface_list(struct sluice_connection *connection,
    struct sluice_interface **interfaces, size_t *count, struct sluice_error *error)
{
	return call_list(
	    connection, "/v1/interfaces", &interface_reader, (void **)interfaces, count, error);
}

SLUICE_API int sluice_interface_get(struct sluice_connection *connection, const char *name,
    struct sluice_interface *interface_out, struct sluice_error *error)
{
	return call_named(
	    connection, "GET", "/v1/interfaces/", name, &interface_reader, interface_out, error);
}

SLUICE_API int sluice_interface_add(struct sluice_connection *connection, const char *name,
    const char *kind, const char *network_id, const char *bind, const char *policy,
    struct sluice_error *error)
{
	json_t *body = json_pack("{s:s, s:s, s:s*, s:s*, s:s*}", "name", name, "kind", kind,
	    "network_id", network_id, "bind", bind, "policy", policy);

	return call_for(connection, "POST", "/v1/interfaces", body, NULL, NULL, error);
}

SLUICE_API int sluice_interface_remove(
    struct sluice_connection *connection, const char *name, struct sluice_error *error)
{
	return call_named(connection, "DELETE", "/v1/interfaces/", name, NULL, NULL, error);
}

/* -- LUs and paths */

SLUICE_API int sluice_lu_list(struct sluice_connection *connection, struct sluice_lu **lus,
    size_t *count, struct sluice_error *error)
{
	return call_list(connection, "/v1/lus", &lu_reader, (void **)lus, count, error);
}

SLUICE_API int sluice_lu_get(struct sluice_connection *connection, const char *name,
    struct sluice_lu *lu, struct sluice_error *error)
{
	return call_named(connection, "GET", "/v1/lus/", name, &lu_reader, lu, error);
}

/* NULL with the error filled. */
static json_t *parse_address(const char *address, struct sluice_error *error)
{
	json_t *json = json_loads(address, JSON_REJECT_DUPLICATES, NULL);

	if (!json_is_object(json)) {
		json_decref(json);
		connection_error(error, -EINVAL,
		    "give a JSON object such as {\"path\": \"/srv/disk.img\"}",
		    "the address is not a JSON object");
		return NULL;
	}
	return json;
}

SLUICE_API int sluice_lu_add(struct sluice_connection *connection, const char *name,
    const char *kind, const char *address, const char *via, struct sluice_error *error)
{
	json_t *where = parse_address(address, error);

	if (where == NULL) {
		return -EINVAL;
	}
	return call_for(connection, "POST", "/v1/lus",
	    json_pack(
		"{s:s, s:s, s:o, s:s*}", "name", name, "kind", kind, "address", where, "via", via),
	    NULL, NULL, error);
}

SLUICE_API int sluice_lu_remove(
    struct sluice_connection *connection, const char *name, struct sluice_error *error)
{
	return call_named(connection, "DELETE", "/v1/lus/", name, NULL, NULL, error);
}

SLUICE_API int sluice_path_add(struct sluice_connection *connection, const char *lu,
    const char *via, const char *address, struct sluice_error *error)
{
	json_t *where = parse_address(address, error);

	if (where == NULL) {
		return -EINVAL;
	}
	return call_for(connection, "POST", "/v1/paths",
	    json_pack("{s:s, s:s, s:o}", "lu", lu, "via", via, "address", where), NULL, NULL,
	    error);
}

SLUICE_API int sluice_path_remove(struct sluice_connection *connection, const char *lu,
    const char *via, struct sluice_error *error)
{
	char prefix[192];
	int rc = make_path(prefix, sizeof(prefix), error, "/v1/paths/", lu, "/");

	return rc != 0 ? rc : call_named(connection, "DELETE", prefix, via, NULL, NULL, error);
}

/* -- volumes and changes */

SLUICE_API int sluice_volume_list(struct sluice_connection *connection,
    struct sluice_volume **volumes, size_t *count, struct sluice_error *error)
{
	return call_list(connection, "/v1/volumes", &volume_reader, (void **)volumes, count, error);
}

SLUICE_API int sluice_volume_get(struct sluice_connection *connection, const char *name,
    struct sluice_volume *volume, struct sluice_error *error)
{
	return call_named(connection, "GET", "/v1/volumes/", name, &volume_reader, volume, error);
}

SLUICE_API int sluice_volume_create(struct sluice_connection *connection, const char *name,
    uint64_t size, const struct sluice_place *on, size_t nr_on, const char *via,
    struct sluice_error *error)
{
	json_t *places = json_array();
	json_t *body;

	for (size_t i = 0; i < nr_on; i++) {
		json_array_append_new(places,
		    json_pack("{s:s, s:I}", "lu", on[i].lu, "offset", (json_int_t)on[i].offset));
	}
	body = json_pack("{s:s, s:o, s:s*}", "name", name, "on", places, "via", via);
	if (size > 0) {
		json_object_set_new(body, "size", json_integer((json_int_t)size));
	}
	return call_for(connection, "POST", "/v1/volumes", body, NULL, NULL, error);
}

SLUICE_API int sluice_volume_delete(
    struct sluice_connection *connection, const char *name, struct sluice_error *error)
{
	return call_named(connection, "DELETE", "/v1/volumes/", name, NULL, NULL, error);
}

SLUICE_API int sluice_volume_switch_path(struct sluice_connection *connection, const char *name,
    const char *from, const char *to, const struct sluice_switch_options *options,
    struct sluice_change *change, struct sluice_error *error)
{
	static const struct sluice_switch_options none;
	char path[192];
	json_t *body;
	int rc = make_path(path, sizeof(path), error, "/v1/volumes/", name, "/switch-path");

	if (rc != 0) {
		return rc;
	}
	options = options != NULL ? options : &none;
	body = json_pack("{s:s, s:s, s:b, s:b}", "from", from, "to", to, "take_network_id",
	    options->take_network_id, "wait", !options->no_wait);
	if (options->deadline_ms > 0) {
		json_object_set_new(
		    body, "deadline_ms", json_integer((json_int_t)options->deadline_ms));
	}
	return call_for(connection, "POST", path, body, &change_reader, change, error);
}

SLUICE_API int sluice_change_get(struct sluice_connection *connection, uint64_t id,
    struct sluice_change *change, struct sluice_error *error)
{
	return call_numbered(
	    connection, "GET", "/v1/changes/", id, "", &change_reader, change, error);
}

SLUICE_API int sluice_change_cancel(
    struct sluice_connection *connection, uint64_t id, struct sluice_error *error)
{
	return call_numbered(connection, "POST", "/v1/changes/", id, "/cancel", NULL, NULL, error);
}

/* -- exports */

SLUICE_API int sluice_export_list(struct sluice_connection *connection,
    struct sluice_export **exports, size_t *count, struct sluice_error *error)
{
	return call_list(connection, "/v1/exports", &export_reader, (void **)exports, count, error);
}

SLUICE_API int sluice_export_get(struct sluice_connection *connection, uint64_t id,
    struct sluice_export *export_out, struct sluice_error *error)
{
	return call_numbered(
	    connection, "GET", "/v1/exports/", id, "", &export_reader, export_out, error);
}

SLUICE_API int sluice_export_add(struct sluice_connection *connection, const char *volume,
    const char *nbd, const struct sluice_export_options *options, struct sluice_export *export_out,
    struct sluice_error *error)
{
	static const struct sluice_export_options none;
	json_t *body;

	options = options != NULL ? options : &none;
	body = json_pack("{s:s, s:s, s:s*, s:s*, s:b}", "volume", volume, "nbd", nbd, "name",
	    options->name, "client", options->client, "read_only", options->read_only);
	return call_for(connection, "POST", "/v1/exports", body, &export_reader, export_out, error);
}

SLUICE_API int sluice_export_remove(
    struct sluice_connection *connection, uint64_t id, struct sluice_error *error)
{
	return call_numbered(connection, "DELETE", "/v1/exports/", id, "", NULL, NULL, error);
}
