#include "api/decode.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* What becomes of a request: the parameters as text, or NULL with the error. */
static char *decode(
    const char *method, const char *uri, const char *body, enum ctl_op *ret_op, struct error *err)
{
	struct decode_target target = {0};
	char allow[64];
	char *text = NULL;

	*err = (struct error){0};
	assert_int_equal(decode_route(method, uri, &target, allow, sizeof(allow)), DECODE_FOUND);
	*ret_op = target.op;
	if (decode_params(
		schema_op(target.op)->fields, uri, body, strlen(body), target.params, err) == 0) {
		text = json_dumps(target.params, JSON_SORT_KEYS | JSON_COMPACT);
	}
	json_decref(target.params);
	return text;
}

static void assert_decodes(
    const char *method, const char *uri, const char *body, enum ctl_op op, const char *params)
{
	struct error err;
	enum ctl_op got;
	char *text = decode(method, uri, body, &got, &err);

	assert_non_null(text);
	assert_int_equal(got, op);
	assert_string_equal(text, params);
	free(text);
}

/* Refused with -EINVAL, and with words that name the member. */
static void assert_refused(
    const char *method, const char *uri, const char *body, const char *member)
{
	struct error err;
	enum ctl_op op;
	char *text = decode(method, uri, body, &op, &err);

	assert_null(text);
	assert_int_equal(err.code, -EINVAL);
	assert_non_null(strstr(err.message, member));
	assert_true(err.hint[0] != '\0');
}

static void every_operation_is_found_by_its_own_path(void **state)
{
	for (unsigned op = 0; op < CTL_OP_COUNT; op++) {
		const struct schema_op *o = schema_op((enum ctl_op)op);
		struct decode_target target = {0};
		char uri[128] = "";
		char allow[64];

		/* Each {member} becomes a name that suits ids too. */
		for (const char *p = o->path; *p != '\0'; p++) {
			size_t n = strlen(uri);

			if (*p == '{') {
				p = strchr(p, '}');
				uri[n] = '7';
			} else {
				uri[n] = *p;
			}
			uri[n + 1] = '\0';
		}
		assert_int_equal(
		    decode_route(o->method, uri, &target, allow, sizeof(allow)), DECODE_FOUND);
		assert_int_equal(target.op, op);
		for (const struct schema_field *f = o->fields; f->name != NULL; f++) {
			assert_int_equal(f->where == SCHEMA_IN_PATH,
			    json_object_get(target.params, f->name) != NULL);
		}
		json_decref(target.params);
	}
}

static void path_query_and_body_become_one_object(void **state)
{
	assert_decodes("POST", "/v1/volumes/vol0/switch-path",
	    "{\"from\": \"if1\", \"to\": \"if2\", \"take_network_id\": true, \"deadline_ms\": 500}",
	    CTL_VOLUME_SWITCH_PATH,
	    "{\"deadline_ms\":500,\"from\":\"if1\",\"name\":\"vol0\",\"take_network_id\":true,"
	    "\"to\":\"if2\"}");
	assert_decodes("GET", "/v1/volumes/vol0/candidates?from=if1&rule=any-kind", "",
	    CTL_VOLUME_CANDIDATES, "{\"from\":\"if1\",\"name\":\"vol0\",\"rule\":\"any-kind\"}");
	assert_decodes("GET", "/v1/changes?limit=5", "", CTL_CHANGE_LIST, "{\"limit\":5}");
	assert_decodes("DELETE", "/v1/exports/12", "", CTL_EXPORT_REMOVE, "{\"id\":12}");
	assert_decodes("GET", "/v1/lus/a%2Db", "", CTL_LU_SHOW, "{\"name\":\"a-b\"}");
}

static void size_is_an_integer_or_text_with_a_unit(void **state)
{
	assert_decodes("POST", "/v1/volumes",
	    "{\"name\":\"v\",\"size\":\"10G\",\"on\":[{\"lu\":\"a\",\"offset\":\"1M\"}]}",
	    CTL_VOLUME_CREATE,
	    "{\"name\":\"v\",\"on\":[{\"lu\":\"a\",\"offset\":1048576}],\"size\":10737418240}");
	assert_refused("POST", "/v1/volumes",
	    "{\"name\":\"v\",\"size\":\"10X\",\"on\":[{\"lu\":\"a\"}]}", "size");
	assert_refused(
	    "POST", "/v1/volumes", "{\"name\":\"v\",\"size\":-1,\"on\":[{\"lu\":\"a\"}]}", "size");
	assert_refused("POST", "/v1/volumes",
	    "{\"name\":\"v\",\"size\":\"9999999T\",\"on\":[{\"lu\":\"a\"}]}", "size");
}

static void refusal_names_the_member(void **state)
{
	assert_refused("POST", "/v1/clients", "{}", "name");
	assert_refused("POST", "/v1/clients", "{\"name\":7}", "name");
	assert_refused("POST", "/v1/clients", "{\"name\":\"a b\"}", "name");
	assert_refused("POST", "/v1/clients", "{\"name\":\"..\"}", "name");
	assert_refused("POST", "/v1/clients", "{\"name\":\"a\",\"nmae\":\"b\"}", "nmae");
	assert_refused("POST", "/v1/interfaces", "{\"name\":\"a\",\"kind\":\"floppy\"}", "kind");
	assert_refused("POST", "/v1/interfaces/balance", "{\"dry_run\":\"yes\"}", "dry_run");
	assert_refused("POST", "/v1/volumes", "{\"name\":\"v\",\"on\":[]}", "on");
	assert_refused("POST", "/v1/volumes", "{\"name\":\"v\",\"on\":[7]}", "on");
	assert_refused("POST", "/v1/volumes", "{\"name\":\"v\",\"on\":[{\"lu\":\"\"}]}", "lu");
	assert_refused(
	    "POST", "/v1/volumes", "{\"name\":\"v\",\"on\":[{\"lu\":\"a\",\"x\":1}]}", "x");
	assert_refused(
	    "POST", "/v1/lus", "{\"name\":\"a\",\"kind\":\"file\",\"address\":\"/x\"}", "address");
	assert_refused("POST", "/v1/volumes/v/switch-path",
	    "{\"from\":\"a\",\"to\":\"b\",\"deadline_ms\":\"5\"}", "deadline_ms");
	assert_refused("POST", "/v1/interfaces/a/set", "{\"name\":\"b\"}", "name");
	assert_refused("GET", "/v1/changes?limit=-5", "", "limit");
	assert_refused("GET", "/v1/changes?limit=5&limit=6", "", "limit");
	assert_refused("GET", "/v1/changes?nonsense=1", "", "nonsense");
	assert_refused("GET", "/v1/exports/abc", "", "id");
}

static void body_that_is_no_object_is_refused(void **state)
{
	assert_refused("POST", "/v1/clients", "[]", "body");
	assert_refused("POST", "/v1/clients", "{\"name\":\"a\"", "body");
	assert_refused("POST", "/v1/clients", "{\"name\":\"a\",\"name\":\"b\"}", "body");
	assert_refused("POST", "/v1/clients", "{\"name\":\"a\"} x", "body");
	assert_refused("POST", "/v1/clients", "{\"name\":\"\xff\"}", "body");
	assert_refused("POST", "/v1/clients", "{\"name\":\"a\\u0000\"}", "body");
}

static void nesting_is_bounded_and_text_does_not_count(void **state)
{
	char body[4096] = "{\"name\":\"a\",\"kind\":\"null\",\"address\":";
	size_t n = strlen(body);

	memset(body + n, '[', 2000);
	body[n + 2000] = '\0';
	assert_refused("POST", "/v1/lus", body, "nested");

	snprintf(body, sizeof(body),
	    "{\"name\":\"a\",\"kind\":\"nbd\",\"address\":{\"uri\":\"\\\"[[[[[[[[[[[[[[[[[[[[[\"}"
	    "}");
	assert_decodes("POST", "/v1/lus", body, CTL_LU_ADD,
	    "{\"address\":{\"uri\":\"\\\"[[[[[[[[[[[[[[[[[[[[[\"},\"kind\":\"nbd\",\"name\":"
	    "\"a\"}");
}

static void body_beyond_the_bound_is_refused(void **state)
{
	char *body = malloc(SCHEMA_BODY_MAX + 2);
	json_t *params = json_object();
	struct error err = {0};

	memset(body, ' ', SCHEMA_BODY_MAX + 1);
	assert_int_equal(decode_params(schema_op(CTL_CLIENT_ADD)->fields, "/v1/clients", body,
			     SCHEMA_BODY_MAX + 1, params, &err),
	    -E2BIG);
	json_decref(params);
	free(body);
}

static void unknown_paths_and_methods_are_told_apart(void **state)
{
	static const char *const unknown[] = {"", "/", "x", "/v1", "/v1/", "/v1/nonsense",
	    "/v1/lus/", "/v1/lus/a/", "/v1/lus/a/b/c", "/v1/lus/a%2Fb", "/v1/lus/a%00",
	    "/v1/lus/%zz", "/v1/lus/%4", "/v1/lus/..", "/v1//lus", "/v1/statusx"};
	struct decode_target target = {0};
	char allow[64];

	for (size_t i = 0; i < ARRAY_SIZE(unknown); i++) {
		assert_int_equal(decode_route("GET", unknown[i], &target, allow, sizeof(allow)),
		    DECODE_UNKNOWN_PATH);
	}
	assert_int_equal(
	    decode_route("DELETE", "/v1/lus", &target, allow, sizeof(allow)), DECODE_WRONG_METHOD);
	assert_string_equal(allow, "GET, POST");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_operation_is_found_by_its_own_path),
	    cmocka_unit_test(path_query_and_body_become_one_object),
	    cmocka_unit_test(size_is_an_integer_or_text_with_a_unit),
	    cmocka_unit_test(refusal_names_the_member),
	    cmocka_unit_test(body_that_is_no_object_is_refused),
	    cmocka_unit_test(nesting_is_bounded_and_text_does_not_count),
	    cmocka_unit_test(body_beyond_the_bound_is_refused),
	    cmocka_unit_test(unknown_paths_and_methods_are_told_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
