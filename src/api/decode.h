/*
 * Turns the bytes of an HTTP request (method, URI, body) into an operation and its parameters, or
 * into an error for whoever sent them. Everything here comes from outside and is checked.
 *
 * Thread rule: pure functions, any thread.
 */
#pragma once

#include "api/schema.h"

enum decode_route_result { DECODE_FOUND, DECODE_UNKNOWN_PATH, DECODE_WRONG_METHOD };

struct decode_target {
	enum ctl_op op;
	json_t *params; /* owned: path parameters, as strings */
};

/* uri: path and query as sent. On DECODE_FOUND fills ret_target; on DECODE_WRONG_METHOD allow gets
 * the methods that the path knows ("GET, POST"). Bytes that are no URI are an unknown path. */
enum decode_route_result decode_route(const char *method, const char *uri,
    struct decode_target *ret_target, char *allow, size_t allow_len);

/*
 * Adds the query of uri and the body's members to params, and checks the whole against the fields.
 * -EINVAL with a hint that names the member; -E2BIG, -ENOMEM. params keeps what was added on
 * failure.
 */
int decode_params(const struct schema_field *fields, const char *uri, const char *body, size_t len,
    json_t *params, struct error *err);
