/*
 * What a client of the REST API can send: the first line is "METHOD URI", the rest the body. Whatever
 * is accepted must be what the schema says.
 */
#include <stdlib.h>
#include <string.h>

#include "api/decode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_accepted(const struct schema_field *fields, const json_t *params)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)params, key, value)
	{
		const struct schema_field *f = schema_field_find(fields, key);

		sluice_assert(f != NULL);
		sluice_assert((f->type != SCHEMA_SIZE && f->type != SCHEMA_INTEGER) ||
			      json_is_integer(value));
		sluice_assert(
		    f->type != SCHEMA_NAME || schema_name_valid(json_string_value(value)));
	}
	for (const struct schema_field *f = fields; f->name != NULL; f++) {
		sluice_assert(!f->required || json_object_get(params, f->name) != NULL);
	}
}

static void decode(const char *method, const char *uri, const char *body, size_t len)
{
	struct decode_target target = {0};
	struct error err;
	char allow[64];
	json_t *params;

	if (decode_route(method, uri, &target, allow, sizeof(allow)) == DECODE_FOUND) {
		const struct schema_field *fields = schema_op(target.op)->fields;

		if (decode_params(fields, uri, body, len, target.params, &err) == 0) {
			check_accepted(fields, target.params);
		}
		json_decref(target.params);
	}
	params = json_object();
	if (decode_params(schema_event_fields(), uri, body, 0, params, &err) == 0) {
		check_accepted(schema_event_fields(), params);
	}
	json_decref(params);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *end = memchr(data, '\n', size);
	size_t head = end != NULL ? (size_t)(end - data) : size;
	size_t rest = end != NULL ? size - head - 1 : 0;
	char *line = strndup((const char *)data, head);
	/* Of its own size, so that reading past it is noticed. */
	char *body = malloc(rest > 0 ? rest : 1);
	char *space = line != NULL ? strchr(line, ' ') : NULL;

	if (space != NULL && body != NULL) {
		if (rest > 0) {
			memcpy(body, end + 1, rest);
		}
		*space = '\0';
		decode(line, space + 1, body, rest);
	}
	free(body);
	free(line);
	return 0;
}
