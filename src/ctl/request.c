/*
 * Requests: how operations read their parameters, find what they work on, and answer.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/ctl_private.h"

static void (*const handlers[CTL_OP_COUNT])(struct ctl_request *req) = {
#define X(name, method, path) [CTL_##name] = ctl_op_##name,
    CTL_OPS(X)
#undef X
};

/* May make an implicit interface. */
static bool adds_path(enum ctl_op op)
{
	return op == CTL_LU_ADD || op == CTL_PATH_ADD;
}

static void request_free(struct ctl_request *req)
{
	json_decref(req->params);
	free(req);
}

static void request_end(struct ctl_request *req)
{
	sluice_assert(!req->answered);
	req->answered = true;
	req->ctl->nr_requests--;
	if (adds_path(req->op) && --req->ctl->nr_adding == 0) {
		ctl_implicit_sweep(req->ctl);
	}
	if (!req->in_handler) {
		request_free(req);
	}
}

void ctl_call(struct ctl *ctl, enum ctl_op op, json_t *params_consumed, ctl_done_fn done, void *arg)
{
	struct ctl_request *req = calloc(1, sizeof(*req));

	reactor_assert(ctl->group->control);
	sluice_assert(req != NULL);
	*req = (struct ctl_request){
	    .ctl = ctl, .op = op, .params = params_consumed, .done = done, .arg = arg};
	ctl->nr_requests++;
	ctl->nr_adding += adds_path(op);
	req->in_handler = true;
	if (!ctl->ready && op != CTL_HEALTH) {
		ctl_refuse(req, -EAGAIN, "try again in a moment",
		    ctl->closing ? "the daemon is stopping" : "the daemon is still starting");
	} else {
		handlers[op](req);
	}
	req->in_handler = false;
	if (req->answered) {
		request_free(req);
	}
}

void ctl_reply(struct ctl_request *req, json_t *result_consumed)
{
	struct error err = {0};

	if (result_consumed == NULL) {
		error_set(&err, -ENOMEM, "out of memory");
		ctl_fail(req, &err);
		return;
	}
	req->done(req->arg, result_consumed, NULL);
	request_end(req);
}

void ctl_fail(struct ctl_request *req, const struct error *err)
{
	req->done(req->arg, NULL, err);
	request_end(req);
}

void ctl_refuse(struct ctl_request *req, int code, const char *hint, const char *fmt, ...)
{
	struct error err = {.code = code};
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err.message, sizeof(err.message), fmt, ap);
	va_end(ap);
	if (hint != NULL) {
		error_hint(&err, "%s", hint);
	}
	ctl_fail(req, &err);
}

/* -- parameters -- */

const char *ctl_param(const struct ctl_request *req, const char *name)
{
	return json_string_value(json_object_get(req->params, name));
}

uint64_t ctl_param_u64(const struct ctl_request *req, const char *name, uint64_t fallback)
{
	const json_t *v = json_object_get(req->params, name);

	return json_is_integer(v) ? (uint64_t)json_integer_value(v) : fallback;
}

bool ctl_param_bool(const struct ctl_request *req, const char *name, bool fallback)
{
	const json_t *v = json_object_get(req->params, name);

	return json_is_boolean(v) ? json_is_true(v) : fallback;
}

/* -- objects -- */

struct ctl_interface *ctl_find_interface(struct ctl *ctl, const char *name)
{
	list_for_each (link, &ctl->interfaces) {
		struct ctl_interface *i = list_entry(link, struct ctl_interface, link);

		if (name != NULL && strcmp(i->name, name) == 0) {
			return i;
		}
	}
	return NULL;
}

struct ctl_lu *ctl_find_lu(struct ctl *ctl, const char *name)
{
	list_for_each (link, &ctl->lus) {
		struct ctl_lu *lu = list_entry(link, struct ctl_lu, link);

		if (name != NULL && strcmp(lu->name, name) == 0) {
			return lu;
		}
	}
	return NULL;
}

struct ctl_path *ctl_find_path(struct ctl_lu *lu, const struct ctl_interface *via)
{
	list_for_each (link, &lu->paths) {
		struct ctl_path *p = list_entry(link, struct ctl_path, link);

		if (p->via == via) {
			return p;
		}
	}
	return NULL;
}

struct ctl_volume *ctl_find_volume(struct ctl *ctl, const char *name)
{
	list_for_each (link, &ctl->volumes) {
		struct ctl_volume *v = list_entry(link, struct ctl_volume, link);

		if (name != NULL && strcmp(v->name, name) == 0) {
			return v;
		}
	}
	return NULL;
}

struct ctl_client *ctl_find_client(struct ctl *ctl, const char *name)
{
	list_for_each (link, &ctl->clients) {
		struct ctl_client *c = list_entry(link, struct ctl_client, link);

		if (name != NULL && strcmp(c->name, name) == 0) {
			return c;
		}
	}
	return NULL;
}

struct ctl_export *ctl_find_export(struct ctl *ctl, uint64_t id)
{
	list_for_each (link, &ctl->exports) {
		struct ctl_export *e = list_entry(link, struct ctl_export, link);

		if (e->id == id) {
			return e;
		}
	}
	return NULL;
}

static void refuse_missing(struct ctl_request *req, const char *noun, const char *param)
{
	char hint[64];

	snprintf(hint, sizeof(hint), "`sluice %s list` shows what there is", noun);
	ctl_refuse(req, -ENOENT, hint, "there is no %s named %s", noun,
	    ctl_param(req, param) != NULL ? ctl_param(req, param) : "(none given)");
}

static void refuse_busy(struct ctl_request *req, const char *noun, const char *name)
{
	ctl_refuse(req, -EBUSY, "wait for it to end, then try again",
	    "%s %s is being changed by another operation", noun, name);
}

struct ctl_interface *ctl_want_interface(struct ctl_request *req, const char *param)
{
	struct ctl_interface *i = ctl_find_interface(req->ctl, ctl_param(req, param));

	if (i == NULL) {
		refuse_missing(req, "interface", param);
	} else if (i->busy || !i->stored) {
		refuse_busy(req, "interface", i->name);
		i = NULL;
	}
	return i;
}

struct ctl_lu *ctl_want_lu(struct ctl_request *req, const char *param)
{
	struct ctl_lu *lu = ctl_find_lu(req->ctl, ctl_param(req, param));

	if (lu == NULL) {
		refuse_missing(req, "lu", param);
	} else if (lu->busy) {
		refuse_busy(req, "LU", lu->name);
		lu = NULL;
	}
	return lu;
}

struct ctl_volume *ctl_want_volume(struct ctl_request *req, const char *param)
{
	struct ctl_volume *v = ctl_find_volume(req->ctl, ctl_param(req, param));

	if (v == NULL) {
		refuse_missing(req, "volume", param);
	} else if (v->busy) {
		refuse_busy(req, "volume", v->name);
		v = NULL;
	}
	return v;
}
