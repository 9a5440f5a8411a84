/*
 * The control plane's door: every request of an operator enters here as one of CTL_OPS with decoded
 * parameters, and leaves as a JSON document or an error. api/ is its only caller from outside the
 * daemon.
 *
 * Thread rule: control loop.
 */
#pragma once

#include <jansson.h>

#include "base/error.h"
#include "ctl/op_list.h"

enum ctl_op {
#define X(name, method, path) CTL_##name,
	CTL_OPS(X)
#undef X
	    CTL_OP_COUNT
};

struct ctl;

/*
 * result: a new reference for the callee on success, NULL on failure. METRICS gives a JSON string
 * (Prometheus text). Error codes map to HTTP: EINVAL 400, EACCES/EPERM 403, ENOENT 404,
 * EEXIST/EBUSY/EALREADY 409, EOPNOTSUPP 501, ENOSPC 507, ETIMEDOUT 504, else 500.
 */
typedef void (*ctl_done_fn)(void *arg, json_t *result, const struct error *err);

/*
 * params: an object; path parameters and body members (or query members, as strings) merged,
 * checked by api/schema.c against the operation's fields: known members only, right types.
 * Consumed. done() comes once, perhaps inside the call.
 */
void ctl_call(
    struct ctl *ctl, enum ctl_op op, json_t *params_consumed, ctl_done_fn done, void *arg);
