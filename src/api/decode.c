#include "api/decode.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"

/* -- URI */

static int hex_value(char c)
{
	if (c >= '0' && c <= '9') {
		return c - '0';
	}
	c = (char)tolower((unsigned char)c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Percent-decodes [text, text + len) into out (RFC 3986 section 2.1). plus: '+' is a space, as in a
 * query of a form. -EINVAL for a broken escape, NUL, or text that does not fit. */
static int unescape(const char *text, size_t len, bool plus, char *out, size_t out_len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		int c = (unsigned char)text[i];

		if (c == '%') {
			int high = i + 2 < len ? hex_value(text[i + 1]) : -1;
			int low = i + 2 < len ? hex_value(text[i + 2]) : -1;

			if (high < 0 || low < 0) {
				return -EINVAL;
			}
			c = high << 4 | low;
			i += 2;
		} else if (c == '+' && plus) {
			c = ' ';
		}
		if (c == '\0' || n + 1 >= out_len) {
			return -EINVAL;
		}
		out[n++] = (char)c;
	}
	out[n] = '\0';
	return 0;
}

/* The length of the path segment at p. */
static size_t segment_length(const char *p)
{
	return strcspn(p, "/?");
}

/* Adds {key} = segment to params; false when the segment cannot be a name. */
static bool path_parameter(
    const char *key, size_t key_len, const char *segment, size_t len, json_t *params)
{
	char value[SCHEMA_NAME_MAX + 1];

	if (unescape(segment, len, false, value, sizeof(value)) != 0 || !schema_name_valid(value)) {
		return false;
	}
	return json_object_setn_new_nocheck(params, key, key_len, json_string(value)) == 0;
}

/* Whether the path of uri has the form of pattern; puts its parameters into params. */
static bool path_matches(const char *pattern, const char *uri, json_t *params)
{
	while (*pattern == '/' && *uri == '/') {
		size_t want = segment_length(++pattern);
		size_t have = segment_length(++uri);

		if (pattern[0] == '{') {
			if (!path_parameter(pattern + 1, want - 2, uri, have, params)) {
				return false;
			}
		} else if (want != have || memcmp(pattern, uri, want) != 0) {
			return false;
		}
		pattern += want;
		uri += have;
	}
	return *pattern == '\0' && (*uri == '\0' || *uri == '?');
}

static void allow_add(char *allow, size_t len, const char *method)
{
	size_t n = strlen(allow);

	if (strstr(allow, method) == NULL) {
		snprintf(allow + n, len - n, "%s%s", n > 0 ? ", " : "", method);
	}
}

enum decode_route_result decode_route(const char *method, const char *uri,
    struct decode_target *ret_target, char *allow, size_t allow_len)
{
	json_t *params = json_object();

	allow[0] = '\0';
	for (unsigned op = 0; params != NULL && op < CTL_OP_COUNT; op++) {
		const struct schema_op *o = schema_op((enum ctl_op)op);

		json_object_clear(params);
		if (!path_matches(o->path, uri, params)) {
			continue;
		}
		if (strcmp(o->method, method) == 0) {
			ret_target->op = (enum ctl_op)op;
			ret_target->params = params;
			return DECODE_FOUND;
		}
		allow_add(allow, allow_len, o->method);
	}
	json_decref(params);
	return allow[0] != '\0' ? DECODE_WRONG_METHOD : DECODE_UNKNOWN_PATH;
}

/* -- values */

static int refuse(struct error *err, const char *name, const char *hint)
{
	error_set(err, -EINVAL, "'%s' is not valid", name);
	error_hint(err, "%s", hint);
	return -EINVAL;
}

static bool text_printable(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f) {
			return false;
		}
	}
	return true;
}

static int check_string(const struct schema_field *f, const json_t *value, struct error *err)
{
	const char *text = json_string_value(value);
	size_t len = json_string_length(value);

	if (text == NULL) {
		return refuse(err, f->name, "give text");
	}
	if (len > SCHEMA_STRING_MAX || !text_printable(text, len)) {
		return refuse(err, f->name, "give at most 4096 bytes without control characters");
	}
	return 0;
}

static int check_name(const struct schema_field *f, const json_t *value, struct error *err)
{
	const char *text = json_string_value(value);

	if (text == NULL || strlen(text) != json_string_length(value) || !schema_name_valid(text)) {
		return refuse(
		    err, f->name, "give a name of 1 to 64 letters, digits, '.', '_' or '-'");
	}
	return 0;
}

static int check_choice(const struct schema_field *f, const json_t *value, struct error *err)
{
	const char *text = json_string_value(value);

	if (text == NULL || !schema_choice_valid(f->choices, text)) {
		error_set(err, -EINVAL, "'%s' is not valid", f->name);
		error_hint(err, "give one of %s", f->choices);
		return -EINVAL;
	}
	return 0;
}

/* Replaces params[f->name], text or number, by an integer. */
static int take_number(const struct schema_field *f, json_t *params, json_t *value,
    int (*parse)(const char *text, uint64_t *ret), const char *hint, struct error *err)
{
	uint64_t v;

	if (json_is_integer(value) && json_integer_value(value) >= 0) {
		return 0;
	}
	if (!json_is_string(value) ||
	    strlen(json_string_value(value)) != json_string_length(value) ||
	    parse(json_string_value(value), &v) != 0 || v > INT64_MAX) {
		return refuse(err, f->name, hint);
	}
	if (json_object_set_new(params, f->name, json_integer((json_int_t)v)) != 0) {
		return error_set(err, -ENOMEM, "out of memory");
	}
	return 0;
}

static int parse_decimal(const char *text, uint64_t *ret)
{
	char *end;

	if (!isdigit((unsigned char)text[0])) {
		return -EINVAL;
	}
	errno = 0;
	*ret = strtoull(text, &end, 10);
	return errno != 0 || *end != '\0' ? -EINVAL : 0;
}

static int take_integer(
    const struct schema_field *f, json_t *params, json_t *value, struct error *err)
{
	static const char hint[] = "give a whole number, 0 or more";

	/* In a body a number is a number; a query has nothing but text. */
	if (f->where == SCHEMA_IN_BODY && !json_is_integer(value)) {
		return refuse(err, f->name, hint);
	}
	return take_number(f, params, value, parse_decimal, hint, err);
}

static int take_bool(const struct schema_field *f, json_t *params, json_t *value, struct error *err)
{
	const char *text = json_string_value(value);
	bool is_true;

	if (json_is_boolean(value)) {
		return 0;
	}
	if (f->where == SCHEMA_IN_BODY || text == NULL ||
	    !schema_choice_valid("true|false|1|0", text)) {
		return refuse(err, f->name, "give true or false");
	}
	is_true = text[0] == 't' || text[0] == '1';
	return json_object_set_new(params, f->name, json_boolean(is_true)) == 0
		   ? 0
		   : error_set(err, -ENOMEM, "out of memory");
}

static int check_fields(const struct schema_field *fields, json_t *params, struct error *err);

static int check_array(const struct schema_field *f, const json_t *value, struct error *err)
{
	json_t *element;
	size_t i;
	int rc;

	if (!json_is_array(value) || json_array_size(value) == 0) {
		return refuse(err, f->name, "give a list with at least one object");
	}
	json_array_foreach(value, i, element)
	{
		if (!json_is_object(element)) {
			return refuse(err, f->name, "give a list of objects");
		}
		rc = check_fields(f->members, element, err);
		if (rc != 0) {
			error_prefix(err, "in '%s'", f->name);
			return rc;
		}
	}
	return 0;
}

static int check_object(const struct schema_field *f, json_t *value, struct error *err)
{
	if (!json_is_object(value)) {
		return refuse(err, f->name, "give an object");
	}
	return f->members != NULL ? check_fields(f->members, value, err) : 0;
}

static int check_value(
    const struct schema_field *f, json_t *params, json_t *value, struct error *err)
{
	switch (f->type) {
	case SCHEMA_NAME:
		return check_name(f, value, err);
	case SCHEMA_STRING:
		return check_string(f, value, err);
	case SCHEMA_SIZE:
		return take_number(f, params, value, units_parse_size,
		    "give bytes, or a size like 512K, 64M, 10G, 1T", err);
	case SCHEMA_INTEGER:
		return take_integer(f, params, value, err);
	case SCHEMA_BOOL:
		return take_bool(f, params, value, err);
	case SCHEMA_CHOICE:
		return check_choice(f, value, err);
	case SCHEMA_OBJECT:
		return check_object(f, value, err);
	case SCHEMA_ARRAY:
		return check_array(f, value, err);
	}
	sluice_assert(false);
}

/* The names that fields allow, for a hint. */
static void list_fields(const struct schema_field *fields, char *buf, size_t len)
{
	size_t n = 0;

	buf[0] = '\0';
	for (const struct schema_field *f = fields; f->name != NULL && n < len; f++) {
		n += (size_t)snprintf(buf + n, len - n, "%s%s", n > 0 ? ", " : "", f->name);
	}
}

static int check_unknown(const struct schema_field *fields, json_t *params, struct error *err)
{
	char known[200];
	const char *key;
	json_t *value;

	json_object_foreach(params, key, value)
	{
		if (schema_field_find(fields, key) == NULL) {
			list_fields(fields, known, sizeof(known));
			error_set(err, -EINVAL, "unknown member '%.64s'", key);
			error_hint(
			    err, known[0] != '\0' ? "known: %s" : "there are none here%s", known);
			return -EINVAL;
		}
	}
	return 0;
}

static int check_fields(const struct schema_field *fields, json_t *params, struct error *err)
{
	int rc = check_unknown(fields, params, err);

	for (const struct schema_field *f = fields; rc == 0 && f->name != NULL; f++) {
		json_t *value = json_object_get(params, f->name);

		if (value != NULL) {
			rc = check_value(f, params, value, err);
		} else if (f->required) {
			rc = error_set(err, -EINVAL, "'%s' is missing", f->name);
			error_hint(err, "%s", f->doc);
		}
	}
	return rc;
}

/* -- query and body */

/* One "key=value" of the query. */
static int query_pair(const struct schema_field *fields, const char *pair, size_t len,
    json_t *params, struct error *err)
{
	const char *equals = memchr(pair, '=', len);
	size_t key_len = equals != NULL ? (size_t)(equals - pair) : len;
	const struct schema_field *f;
	char value[1024] = "";
	char key[64];

	if (unescape(pair, key_len, true, key, sizeof(key)) != 0 ||
	    (equals != NULL &&
		unescape(equals + 1, len - key_len - 1, true, value, sizeof(value)))) {
		error_set(err, -EINVAL, "the query is not valid");
		error_hint(err, "give ?name=value&..., percent-encoded");
		return -EINVAL;
	}
	f = schema_field_find(fields, key);
	if (f == NULL || f->where != SCHEMA_IN_QUERY) {
		error_set(err, -EINVAL, "unknown query member '%s'", key);
		error_hint(err, "see docs/openapi.json for the members of this operation");
		return -EINVAL;
	}
	if (json_object_get(params, key) != NULL) {
		return refuse(err, key, "give it once");
	}
	if (json_object_set_new(params, key, json_string(value)) != 0) {
		return refuse(err, key, "give UTF-8 text");
	}
	return 0;
}

static int decode_query(
    const struct schema_field *fields, const char *uri, json_t *params, struct error *err)
{
	const char *query = strchr(uri, '?');
	int rc = 0;

	if (query == NULL) {
		return 0;
	}
	query++;
	while (rc == 0 && *query != '\0') {
		size_t len = strcspn(query, "&");

		if (len > 0) {
			rc = query_pair(fields, query, len, params, err);
		}
		query += len + (query[len] == '&');
	}
	return rc;
}

/* jansson's parser recurses per level; the depth is bounded before it sees the text. */
static bool depth_bounded(const char *body, size_t len)
{
	bool in_string = false;
	unsigned depth = 0;

	for (size_t i = 0; i < len; i++) {
		if (in_string && body[i] == '\\') {
			i++;
		} else if (in_string) {
			in_string = body[i] != '"';
		} else if (body[i] == '"') {
			in_string = true;
		} else if (body[i] == '{' || body[i] == '[') {
			if (++depth > SCHEMA_DEPTH_MAX) {
				return false;
			}
		} else if ((body[i] == '}' || body[i] == ']') && depth > 0) {
			depth--;
		}
	}
	return true;
}

static int merge_body(
    const struct schema_field *fields, json_t *body, json_t *params, struct error *err)
{
	const char *key;
	json_t *value;

	json_object_foreach(body, key, value)
	{
		const struct schema_field *f = schema_field_find(fields, key);

		if (f != NULL && f->where != SCHEMA_IN_BODY) {
			return refuse(err, key, "it belongs in the URL, not in the body");
		}
		if (json_object_set(params, key, value) != 0) {
			return error_set(err, -ENOMEM, "out of memory");
		}
	}
	return 0;
}

static int decode_body(const struct schema_field *fields, const char *text, size_t len,
    json_t *params, struct error *err)
{
	json_error_t where;
	json_t *body;
	int rc;

	if (len == 0) {
		return 0;
	}
	if (len > SCHEMA_BODY_MAX) {
		error_set(err, -E2BIG, "the body is too large");
		error_hint(err, "send at most %u bytes", SCHEMA_BODY_MAX);
		return -E2BIG;
	}
	if (!depth_bounded(text, len)) {
		error_set(err, -EINVAL, "the body is nested too deeply");
		error_hint(err, "nest at most %u arrays and objects", SCHEMA_DEPTH_MAX);
		return -EINVAL;
	}
	body = json_loadb(text, len, JSON_REJECT_DUPLICATES, &where);
	if (!json_is_object(body)) {
		json_decref(body);
		error_set(err, -EINVAL, "the body is not a JSON object");
		error_hint(
		    err, "%s", where.text[0] != '\0' && body == NULL ? where.text : "send {...}");
		return -EINVAL;
	}
	rc = merge_body(fields, body, params, err);
	json_decref(body);
	return rc;
}

int decode_params(const struct schema_field *fields, const char *uri, const char *body, size_t len,
    json_t *params, struct error *err)
{
	int rc = decode_query(fields, uri, params, err);

	if (rc == 0) {
		rc = decode_body(fields, body, len, params, err);
	}
	return rc == 0 ? check_fields(fields, params, err) : rc;
}
