/*
 * The one schema of the REST API: for every operation of ctl/op_list.h its fields, their types and
 * where they travel. The decoder, the OpenAPI description and the tests of the command line follow
 * it.
 *
 * Thread rule: constant data and pure functions, any thread.
 */
#pragma once

#include "ctl/ctl.h"

#define SCHEMA_NAME_MAX 64	   /* characters of a name: [A-Za-z0-9._-] */
#define SCHEMA_STRING_MAX 4096	   /* bytes of any other text */
#define SCHEMA_BODY_MAX (1u << 20) /* bytes of a request's body */
#define SCHEMA_URI_MAX (8u << 10)  /* bytes of a request's path and query */
#define SCHEMA_DEPTH_MAX 16	   /* nested arrays and objects in a body */

enum schema_type {
	SCHEMA_NAME,	/* an object's name or id */
	SCHEMA_STRING,	/* text without control characters */
	SCHEMA_SIZE,	/* bytes: an integer, or text like "10G"; given on as an integer */
	SCHEMA_INTEGER, /* >= 0 */
	SCHEMA_BOOL,
	SCHEMA_CHOICE, /* one of the words in choices */
	SCHEMA_OBJECT, /* with members, or (members == NULL) checked by whom it is for */
	SCHEMA_ARRAY,  /* of objects with members */
};

enum schema_where { SCHEMA_IN_PATH, SCHEMA_IN_QUERY, SCHEMA_IN_BODY };

struct schema_field {
	const char *name;
	enum schema_type type;
	enum schema_where where;
	bool required;
	const char *choices;		    /* SCHEMA_CHOICE: "a|b|c" */
	const struct schema_field *members; /* ends with a field without name */
	const char *doc;
};

struct schema_op {
	const char *name;   /* "INTERFACE_ADD" */
	const char *method; /* "GET" */
	const char *path;   /* "/v1/interfaces/{name}" */
	const char *doc;
	const char *result;		   /* a schema_result's name, "": nothing or free text */
	const struct schema_field *fields; /* ends with a field without name */
};

/* What an operation answers with, for the description; ctl makes the objects. */
struct schema_property {
	const char *name;
	const char *type; /* an OpenAPI type, "[TYPE]", a result's name, or "[RESULT]" */
	const char *doc;
};

struct schema_result {
	const char *name;
	const struct schema_property *properties; /* ends with a property without name */
};

const struct schema_op *schema_op(enum ctl_op op);
/* The query of GET /v1/events, which is no operation of ctl. */
const struct schema_field *schema_event_fields(void);
/* NULL past the end. */
const struct schema_result *schema_result_at(size_t i);
const struct schema_result *schema_result_find(const char *name);
const struct schema_field *schema_field_find(const struct schema_field *fields, const char *name);
/* Whether text is one of the words of "a|b|c". */
bool schema_choice_valid(const char *choices, const char *text);
bool schema_name_valid(const char *text);

/* The OpenAPI 3.0 description: a new reference, NULL when memory is out. */
json_t *schema_openapi(void);
