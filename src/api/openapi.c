/* The OpenAPI 3.0.3 description, made from the schema (https://spec.openapis.org/oas/v3.0.3). */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "api/schema.h"

static json_t *fields_object(const struct schema_field *fields);

/* "a|b|c" as a list. */
static json_t *choice_list(const char *choices)
{
	json_t *list = json_array();

	while (*choices != '\0') {
		size_t n = strcspn(choices, "|");

		json_array_append_new(list, json_stringn(choices, n));
		choices += n + (choices[n] == '|');
	}
	return list;
}

static json_t *field_schema(const struct schema_field *f)
{
	switch (f->type) {
	case SCHEMA_NAME:
		return json_pack(
		    "{s:s, s:s}", "type", "string", "pattern", "^[A-Za-z0-9._-]{1,64}$");
	case SCHEMA_STRING:
		return json_pack("{s:s, s:i}", "type", "string", "maxLength", SCHEMA_STRING_MAX);
	case SCHEMA_SIZE:
		return json_pack("{s:[{s:s, s:s, s:i}, {s:s, s:s}]}", "oneOf", "type", "integer",
		    "format", "int64", "minimum", 0, "type", "string", "pattern",
		    "^[0-9]+[KMGTkmgt]?$");
	case SCHEMA_INTEGER:
		return json_pack(
		    "{s:s, s:s, s:i}", "type", "integer", "format", "int64", "minimum", 0);
	case SCHEMA_BOOL:
		return json_pack("{s:s}", "type", "boolean");
	case SCHEMA_CHOICE:
		return json_pack("{s:s, s:o}", "type", "string", "enum", choice_list(f->choices));
	case SCHEMA_OBJECT:
		return f->members != NULL ? fields_object(f->members)
					  : json_pack("{s:s}", "type", "object");
	case SCHEMA_ARRAY:
		return json_pack("{s:s, s:i, s:o}", "type", "array", "minItems", 1, "items",
		    fields_object(f->members));
	}
	sluice_assert(false);
}

static json_t *fields_object(const struct schema_field *fields)
{
	json_t *properties = json_object();
	json_t *required = json_array();
	json_t *object;

	for (const struct schema_field *f = fields; f->name != NULL; f++) {
		json_t *schema;

		if (f->where != SCHEMA_IN_BODY) {
			continue;
		}
		schema = field_schema(f);
		json_object_set_new(schema, "description", json_string(f->doc));
		json_object_set_new(properties, f->name, schema);
		if (f->required) {
			json_array_append_new(required, json_string(f->name));
		}
	}
	object = json_pack("{s:s, s:b, s:o}", "type", "object", "additionalProperties", 0,
	    "properties", properties);
	if (json_array_size(required) > 0) {
		json_object_set(object, "required", required);
	}
	json_decref(required);
	return object;
}

static json_t *parameters(const struct schema_field *fields)
{
	json_t *list = json_array();

	for (const struct schema_field *f = fields; f->name != NULL; f++) {
		if (f->where != SCHEMA_IN_BODY) {
			json_array_append_new(list,
			    json_pack("{s:s, s:s, s:b, s:s, s:o}", "name", f->name, "in",
				f->where == SCHEMA_IN_PATH ? "path" : "query", "required",
				f->required, "description", f->doc, "schema", field_schema(f)));
		}
	}
	return list;
}

static bool has_body(const struct schema_field *fields)
{
	for (const struct schema_field *f = fields; f->name != NULL; f++) {
		if (f->where == SCHEMA_IN_BODY) {
			return true;
		}
	}
	return false;
}

static bool body_required(const struct schema_field *fields)
{
	for (const struct schema_field *f = fields; f->name != NULL; f++) {
		if (f->where == SCHEMA_IN_BODY && f->required) {
			return true;
		}
	}
	return false;
}

static json_t *reference(const char *result)
{
	return json_pack("{s:s+}", "$ref", "#/components/schemas/", result);
}

/* "integer", "Volume", "[Volume]". */
static json_t *type_schema(const char *type)
{
	char inner[64];

	if (type[0] == '[') {
		snprintf(inner, sizeof(inner), "%.*s", (int)strlen(type) - 2, type + 1);
		return json_pack("{s:s, s:o}", "type", "array", "items", type_schema(inner));
	}
	return isupper((unsigned char)type[0]) ? reference(type) : json_pack("{s:s}", "type", type);
}

static json_t *content(const char *media_type, json_t *schema)
{
	return json_pack("{s:{s:o}}", media_type, "schema", schema);
}

static json_t *answers(json_t *ok_content)
{
	return json_pack("{s:{s:s, s:o}, s:{s:s, s:o}}", "200", "description", "Done", "content",
	    ok_content, "default", "description", "Refused or failed", "content",
	    content("application/json", reference("ErrorDocument")));
}

static json_t *ok_content(enum ctl_op op)
{
	const struct schema_op *o = schema_op(op);

	if (op == CTL_METRICS) {
		return content("text/plain", json_pack("{s:s}", "type", "string"));
	}
	return content("application/json",
	    o->result[0] != '\0' ? reference(o->result) : json_pack("{s:s}", "type", "object"));
}

/* INTERFACE_ADD as "interface-add". */
static void operation_id(const char *name, char *buf, size_t len)
{
	size_t n = 0;

	for (; name[n] != '\0' && n + 1 < len; n++) {
		buf[n] = name[n] == '_' ? '-' : (char)tolower((unsigned char)name[n]);
	}
	buf[n] = '\0';
}

static void add_operation(json_t *paths, enum ctl_op op)
{
	const struct schema_op *o = schema_op(op);
	json_t *path = json_object_get(paths, o->path);
	json_t *operation;
	char method[16];
	char id[64];

	operation_id(o->name, id, sizeof(id));
	operation_id(o->method, method, sizeof(method));
	operation = json_pack("{s:s, s:s, s:o, s:o}", "operationId", id, "summary", o->doc,
	    "parameters", parameters(o->fields), "responses", answers(ok_content(op)));
	if (has_body(o->fields)) {
		json_object_set_new(operation, "requestBody",
		    json_pack("{s:b, s:o}", "required", body_required(o->fields), "content",
			content("application/json", fields_object(o->fields))));
	}
	if (path == NULL) {
		path = json_object();
		json_object_set_new(paths, o->path, path);
	}
	json_object_set_new(path, method, operation);
}

static json_t *result_schema(const struct schema_result *result)
{
	json_t *properties = json_object();

	for (const struct schema_property *p = result->properties; p->name != NULL; p++) {
		json_t *schema = type_schema(p->type);

		/* Next to $ref no other member counts (OpenAPI 3.0.3, Reference Object). */
		if (json_object_get(schema, "$ref") == NULL) {
			json_object_set_new(schema, "description", json_string(p->doc));
		}
		json_object_set_new(properties, p->name, schema);
	}
	return json_pack("{s:s, s:o}", "type", "object", "properties", properties);
}

static json_t *events_path(void)
{
	return json_pack("{s:{s:s, s:s, s:o, s:o}}", "get", "operationId", "event-watch", "summary",
	    "Events as they happen (server-sent events): id is the sequence number, data an Event. "
	    "An event named \"lost\" says that older ones are no longer kept.",
	    "parameters", parameters(schema_event_fields()), "responses",
	    answers(content("text/event-stream", json_pack("{s:s}", "type", "string"))));
}

json_t *schema_openapi(void)
{
	json_t *paths = json_object();
	json_t *schemas = json_object();

	for (unsigned op = 0; op < CTL_OP_COUNT; op++) {
		add_operation(paths, (enum ctl_op)op);
	}
	json_object_set_new(paths, "/v1/events", events_path());
	for (size_t i = 0; schema_result_at(i) != NULL; i++) {
		const struct schema_result *r = schema_result_at(i);

		json_object_set_new(schemas, r->name, result_schema(r));
	}
	return json_pack("{s:s, s:{s:s, s:s, s:s, s:{s:s}}, s:o, s:{s:o}}", "openapi", "3.0.3",
	    "info", "title", "Sluice", "version", SLUICE_VERSION, "description",
	    "The REST API of sluiced. Errors carry a code, a message and a hint.", "license",
	    "name", "Apache-2.0", "paths", paths, "components", "schemas", schemas);
}
