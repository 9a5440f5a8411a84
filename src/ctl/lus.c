/*
 * LUs: storage with an identity and a size, reached over paths.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/paths.h"

#define LU_UP_TIMEOUT_NS (10 * NS_PER_S)
#define LU_CHECK_TIMEOUT_NS (5 * NS_PER_S)

static const char *lu_state(const struct ctl_lu *lu)
{
	unsigned up = 0;

	list_for_each (link, &lu->paths) {
		enum lu_path_state s = lu_path_state(list_entry(link, struct ctl_path, link)->path);

		up += s == LU_PATH_UP || s == LU_PATH_DAMPED;
	}
	return up == 0 ? "down" : up == lu_path_count(lu->lu) ? "up" : "degraded";
}

json_t *ctl_lu_json(const struct ctl_lu *lu)
{
	json_t *paths = json_array();
	json_t *volumes = json_array();
	json_t *result;

	list_for_each (link, &lu->paths) {
		json_array_append_new(
		    paths, ctl_path_json(list_entry(link, struct ctl_path, link)));
	}
	list_for_each (link, &lu->ctl->volumes) {
		const struct ctl_volume *v = list_entry(link, struct ctl_volume, link);

		if (ctl_volume_route(v, lu) != NULL) {
			json_array_append_new(volumes, json_string(v->name));
		}
	}
	result = json_pack("{s:s, s:s, s:s, s:I, s:s, s:s, s:o, s:o, s:i}", "name", lu->name,
	    "uuid", lu->uuid, "kind", lu->kind, "size", (json_int_t)lu_size(lu->lu), "identity",
	    lu_identity_text(lu->lu), "state", lu_state(lu), "paths", paths, "volumes", volumes,
	    "in_doubt", (int)lu_doubt_count(lu->lu));
	if (result != NULL && lu->inner != NULL) {
		json_object_set_new(result, "wraps", json_string(lu->inner->name));
	}
	return result;
}

/* What clients were promised must hold after a restart too, before any path is up. */
static json_t *limits_record(const struct io_limits *l)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:b, s:b, s:b, s:b, s:b}",
	    "block_size", (json_int_t)l->block_size, "preferred_size",
	    (json_int_t)l->preferred_size, "max_transfer", (json_int_t)l->max_transfer, "max_iov",
	    (json_int_t)l->max_iov, "memory_alignment", (json_int_t)l->memory_alignment,
	    "discard_granularity", (json_int_t)l->discard_granularity, "write_zeroes",
	    l->write_zeroes, "fua", l->fua, "flush", l->flush, "read_only", l->read_only,
	    "block_status", l->block_status, "coherent", l->coherent);
}

static bool power_of_two(json_int_t v, json_int_t min, json_int_t max)
{
	return v >= min && v <= max && (v & (v - 1)) == 0;
}

static int limits_parse(const json_t *record, struct io_limits *ret_limits)
{
	const json_t *j = json_object_get(record, "limits");
	json_int_t n[6];
	int b[6];

	if (json_unpack((json_t *)j, "{s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:b, s:b, s:b, s:b, s:b}",
		"block_size", &n[0], "preferred_size", &n[1], "max_transfer", &n[2], "max_iov",
		&n[3], "memory_alignment", &n[4], "discard_granularity", &n[5], "write_zeroes",
		&b[0], "fua", &b[1], "flush", &b[2], "read_only", &b[3], "block_status", &b[4],
		"coherent", &b[5]) != 0 ||
	    !power_of_two(n[0], 512, 1 << 20) || !power_of_two(n[1], n[0], 1 << 30) ||
	    n[2] < n[0] || n[2] > UINT32_MAX || n[3] < 1 || n[3] > UINT32_MAX ||
	    !power_of_two(n[4], 1, 1 << 20) || n[5] < 0 || n[5] > UINT32_MAX) {
		return -EBADMSG;
	}
	*ret_limits = (struct io_limits){
	    .block_size = (uint32_t)n[0],
	    .preferred_size = (uint32_t)n[1],
	    .max_transfer = (uint32_t)n[2],
	    .max_iov = (uint32_t)n[3],
	    .memory_alignment = (uint32_t)n[4],
	    .discard_granularity = (uint32_t)n[5],
	    .write_zeroes = b[0] != 0,
	    .fua = b[1] != 0,
	    .flush = b[2] != 0,
	    .read_only = b[3] != 0,
	    .block_status = b[4] != 0,
	    .coherent = b[5] != 0,
	};
	return 0;
}

json_t *ctl_lu_record(const struct ctl_lu *lu)
{
	json_t *record = json_pack("{s:s, s:s, s:s, s:I, s:s, s:o}", "name", lu->name, "uuid",
	    lu->uuid, "kind", lu->kind, "size", (json_int_t)lu_size(lu->lu), "identity",
	    lu_identity_text(lu->lu), "limits", limits_record(lu_limits(lu->lu)));

	if (record != NULL && lu->inner != NULL) {
		json_object_set_new(record, "inner", json_string(lu->inner->name));
	}
	return record;
}

/* -- making and ending -- */

static void nobody_waits(void *ctx)
{
}

static int lu_make(struct ctl *ctl, const struct lu_params *params, const char *kind,
    struct ctl_lu *inner, struct ctl_lu **ret_lu, struct error *err)
{
	struct ctl_lu *lu = calloc(1, sizeof(*lu));
	int rc;

	sluice_assert(lu != NULL);
	if (inner != NULL) {
		rc = lu_route_new(inner->lu, NULL, &lu->inner_route, err);
		if (rc != 0) {
			free(lu);
			return rc;
		}
	}
	rc = lu_new(ctl->group, params, &ctl->lu_options, &ctl->lu_events, &lu->lu, err);
	if (rc != 0) {
		if (lu->inner_route != NULL) {
			lu_route_free(lu->inner_route, nobody_waits, NULL);
		}
		free(lu);
		return rc;
	}
	lu->ctl = ctl;
	lu->inner = inner;
	list_init(&lu->paths);
	snprintf(lu->name, sizeof(lu->name), "%s", params->name);
	snprintf(lu->uuid, sizeof(lu->uuid), "%s", params->uuid);
	snprintf(lu->kind, sizeof(lu->kind), "%s", kind);
	list_append(&ctl->lus, &lu->link);
	*ret_lu = lu;
	return 0;
}

struct lu_end {
	struct lu_route *inner_route;
	void (*ended)(void *ctx);
	void *ctx;
};

static void inner_route_gone(void *ctx)
{
	struct lu_end *e = ctx;

	e->ended(e->ctx);
	free(e);
}

static void lu_gone(void *ctx)
{
	struct lu_end *e = ctx;

	if (e->inner_route != NULL) {
		lu_route_free(e->inner_route, inner_route_gone, e);
		return;
	}
	inner_route_gone(e);
}

static void lu_free_inside(struct ctl_lu *lu)
{
	struct lu *inside = lu->lu;
	struct lu_end *e = lu->end;

	free(lu);
	lu_free(inside, lu_gone, e); /* closes its paths too */
}

void ctl_lu_end(struct ctl_lu *lu, void (*ended)(void *ctx), void *ctx)
{
	struct lu_end *e = calloc(1, sizeof(*e));

	sluice_assert(e != NULL && lu->end == NULL);
	*e = (struct lu_end){lu->inner_route, ended, ctx};
	lu->end = e;
	list_for_each_safe (link, &lu->paths) {
		free(list_entry(link, struct ctl_path, link));
	}
	list_remove(&lu->link);
	if (lu->ending_routes == 0) {
		lu_free_inside(lu);
	}
}

void ctl_lu_route_ended(void *ctx)
{
	struct ctl_lu *lu = ctx;

	sluice_assert(lu->ending_routes > 0);
	if (--lu->ending_routes == 0 && lu->end != NULL) {
		lu_free_inside(lu);
	}
}

int ctl_lu_load(struct ctl *ctl, const json_t *record, struct error *err)
{
	struct lu_params params = {0};
	const char *inner_text = json_string_value(json_object_get(record, "inner"));
	struct ctl_lu *inner = ctl_find_lu(ctl, inner_text);
	struct io_limits limits;
	const char *kind;
	json_int_t size;
	struct ctl_lu *lu;

	if (json_unpack((json_t *)record, "{s:s, s:s, s:s, s:I, s:s}", "name", &params.name, "uuid",
		&params.uuid, "kind", &kind, "size", &size, "identity", &params.identity) != 0 ||
	    size <= 0 || lu_driver_find(kind) == NULL ||
	    (strcmp(kind, "fault") == 0) != (inner != NULL) || limits_parse(record, &limits) != 0) {
		return ctl_record_bad("LU", record, err);
	}
	params.size = (uint64_t)size;
	params.limits = &limits;
	return lu_make(ctl, &params, kind, inner, &lu, err);
}

/* -- add -- */

static void failed(void *ctx)
{
	struct ctl_path_failure *f = ctx;

	ctl_fail(f->req, &f->err);
	free(f);
}

static void give_up(struct ctl_request *req, struct ctl_lu *lu, const struct error *err)
{
	struct ctl_path_failure *f = calloc(1, sizeof(*f));

	sluice_assert(f != NULL);
	f->req = req;
	f->err = *err;
	ctl_lu_end(lu, failed, f);
}

static void lu_stored(void *ctx, bool succeeded, uint64_t revision, const struct error *store_err)
{
	struct ctl_request *req = ctx;
	struct ctl_lu *lu = req->object;
	struct error err;

	if (ctl_txn_outcome(succeeded, store_err, &err) != 0) {
		give_up(req, lu, &err);
		return;
	}
	lu->busy = false;
	list_entry(lu->paths.next, struct ctl_path, link)->via->stored = true;
	ctl_event(req->ctl, "info", "lu.added", lu->name, NULL, "LU %s of kind %s was added",
	    lu->name, lu->kind);
	ctl_reply(req, ctl_lu_json(lu));
}

/* The same storage under two names would let two volumes write over each other. */
static const struct ctl_lu *find_twin(const struct ctl_lu *lu)
{
	const char *identity = lu_identity_text(lu->lu);

	list_for_each (link, &lu->ctl->lus) {
		const struct ctl_lu *other = list_entry(link, struct ctl_lu, link);

		if (other != lu && identity[0] != '\0' &&
		    strcmp(lu_identity_text(other->lu), identity) == 0) {
			return other;
		}
	}
	return NULL;
}

static void first_path_up(void *ctx, const struct error *up_err)
{
	struct ctl_request *req = ctx;
	struct ctl_lu *lu = req->object;
	struct ctl_path *p = list_entry(lu->paths.next, struct ctl_path, link);
	const struct ctl_lu *twin;
	char key[CTL_KEY_MAX];
	struct error err = {0};
	struct ctl_txn t;

	if (up_err != NULL) {
		give_up(req, lu, up_err);
		return;
	}
	twin = find_twin(lu);
	if (twin != NULL) {
		error_set(&err, -EEXIST, "this storage is LU %s already (%s)", twin->name,
		    lu_identity_text(lu->lu));
		error_hint(&err, "add another path to it instead: sluice path add %s", twin->name);
		give_up(req, lu, &err);
		return;
	}
	ctl_txn_init(&t);
	ctl_txn_expect_absent(&t, ctl_key(key, "lus", lu->name));
	ctl_txn_put(&t, key, ctl_lu_record(lu));
	ctl_txn_put(&t, ctl_path_key(key, p), ctl_path_record(p));
	ctl_implicit_put(&t, p->via);
	ctl_txn_send(req->ctl, &t, lu_stored, req);
}

/* The LU that a fault LU wraps; NULL with *ret_refused when there is none of that name. */
static struct ctl_lu *find_inner(struct ctl_request *req, const char *kind, bool *ret_refused)
{
	const char *name =
	    json_string_value(json_object_get(json_object_get(req->params, "address"), "lu"));
	struct ctl_lu *inner = ctl_find_lu(req->ctl, name);

	*ret_refused = false;
	if (strcmp(kind, "fault") != 0) {
		return NULL;
	}
	if (inner != NULL && inner->busy) {
		*ret_refused = true;
		ctl_refuse(req, -EBUSY, "wait for it to end, then try again",
		    "LU %s is being changed by another operation", name);
	} else if (inner == NULL) {
		*ret_refused = true;
		ctl_refuse(req, -ENOENT, "`sluice lu list` shows what there is",
		    "there is no LU named %s to wrap", name != NULL ? name : "(none given)");
	}
	return inner;
}

void ctl_op_LU_ADD(struct ctl_request *req)
{
	const struct lu_driver *driver;
	struct ctl_interface *via;
	struct ctl_lu *inner;
	struct ctl_lu *lu;
	struct ctl_path *p;
	struct error err = {0};
	char uuid[CTL_UUID_LEN];
	bool refused;

	if (ctl_find_lu(req->ctl, ctl_param(req, "name")) != NULL) {
		ctl_refuse(req, -EEXIST, "choose another name", "LU %s exists already",
		    ctl_param(req, "name"));
		return;
	}
	driver = ctl_want_driver(req, NULL);
	via = driver != NULL ? ctl_want_via(req, driver) : NULL;
	if (via == NULL) {
		return;
	}
	inner = find_inner(req, driver->kind, &refused);
	if (refused) {
		return;
	}
	ctl_uuid_new(uuid);
	if (lu_make(req->ctl,
		&(struct lu_params){.name = ctl_param(req, "name"), .uuid = uuid, .identity = ""},
		driver->kind, inner, &lu, &err) != 0) {
		ctl_fail(req, &err);
		return;
	}
	if (ctl_path_make(lu, via, json_object_get(req->params, "address"), &p, &err) != 0) {
		give_up(req, lu, &err);
		return;
	}
	lu->busy = true;
	req->object = lu;
	lu_path_wait_up(p->path, LU_UP_TIMEOUT_NS, first_path_up, req);
}

/* -- remove -- */

static void lu_ended(void *ctx)
{
	ctl_reply(ctx, json_object());
}

static void lu_removed(void *ctx, bool succeeded, uint64_t revision, const struct error *store_err)
{
	struct ctl_request *req = ctx;
	struct ctl_lu *lu = req->object;
	struct error err;

	if (ctl_txn_outcome(succeeded, store_err, &err) != 0) {
		lu->busy = false;
		ctl_fail(req, &err);
		return;
	}
	ctl_event(req->ctl, "info", "lu.removed", lu->name, NULL, "LU %s was removed", lu->name);
	ctl_lu_end(lu, lu_ended, req);
}

static const char *lu_user(const struct ctl_lu *lu, const char **ret_noun)
{
	list_for_each (link, &lu->ctl->volumes) {
		const struct ctl_volume *v = list_entry(link, struct ctl_volume, link);

		if (ctl_volume_route(v, lu) != NULL) {
			*ret_noun = "volume";
			return v->name;
		}
	}
	list_for_each (link, &lu->ctl->lus) {
		const struct ctl_lu *other = list_entry(link, struct ctl_lu, link);

		if (other->inner == lu) {
			*ret_noun = "LU";
			return other->name;
		}
	}
	return NULL;
}

void ctl_op_LU_REMOVE(struct ctl_request *req)
{
	struct ctl_lu *lu = ctl_want_lu(req, "name");
	const char *noun = NULL;
	const char *user;
	char prefix[CTL_KEY_MAX];
	char key[CTL_KEY_MAX];
	struct ctl_txn t;

	if (lu == NULL) {
		return;
	}
	user = lu_user(lu, &noun);
	if (user != NULL) {
		ctl_refuse(req, -EBUSY, "delete that first", "LU %s is used by %s %s", lu->name,
		    noun, user);
		return;
	}
	lu->busy = true;
	req->object = lu;
	snprintf(prefix, sizeof(prefix), "/paths/%s/", lu->name);
	ctl_txn_init(&t);
	ctl_txn_delete(&t, ctl_key(key, "lus", lu->name));
	ctl_txn_delete_prefix(&t, prefix);
	ctl_txn_send(req->ctl, &t, lu_removed, req);
}

/* -- check -- */

struct lu_check {
	struct ctl_request *req;
	json_t *paths;
	unsigned waiting;
	bool ok;
};

struct lu_check_leg {
	struct lu_check *check;
	json_t *entry; /* in check->paths */
	uint64_t begin_ns;
};

static void check_put(struct lu_check *c)
{
	if (--c->waiting > 0) {
		return;
	}
	ctl_reply(c->req, json_pack("{s:s, s:b, s:o}", "name", ctl_param(c->req, "name"), "ok",
			      c->ok, "paths", c->paths));
	free(c);
}

static void checked(void *ctx, const struct error *err)
{
	struct lu_check_leg *leg = ctx;
	uint64_t us = (reactor_clock_ns() - leg->begin_ns) / NS_PER_US;

	json_object_set_new(leg->entry, "ok", json_boolean(err == NULL));
	json_object_set_new(leg->entry, "reason", ctl_text(err == NULL ? "" : err->message));
	json_object_set_new(leg->entry, "latency_us", json_integer((json_int_t)us));
	leg->check->ok = leg->check->ok && err == NULL;
	check_put(leg->check);
	free(leg);
}

void ctl_op_LU_CHECK(struct ctl_request *req)
{
	struct ctl_lu *lu = ctl_want_lu(req, "name");
	struct lu_check *c;

	if (lu == NULL) {
		return;
	}
	c = calloc(1, sizeof(*c));
	sluice_assert(c != NULL);
	*c = (struct lu_check){
	    .req = req, .paths = json_array(), .waiting = 1, .ok = !list_empty(&lu->paths)};
	list_for_each (link, &lu->paths) {
		struct ctl_path *p = list_entry(link, struct ctl_path, link);
		struct lu_check_leg *leg = calloc(1, sizeof(*leg));

		sluice_assert(leg != NULL);
		leg->check = c;
		leg->begin_ns = reactor_clock_ns();
		leg->entry = json_pack("{s:s}", "via", p->via->name);
		json_array_append_new(c->paths, leg->entry);
		c->waiting++;
		lu_path_probe(p->path, LU_CHECK_TIMEOUT_NS, checked, leg);
	}
	check_put(c);
}

/* -- the rest -- */

void ctl_op_LU_FAULT(struct ctl_request *req)
{
	struct ctl_lu *lu = ctl_want_lu(req, "name");
	struct error err = {0};
	struct ctl_path *p;

	if (lu == NULL) {
		return;
	}
	if (lu->inner == NULL) {
		ctl_refuse(req, -EOPNOTSUPP, "wrap it: sluice lu add NAME --fault LU",
		    "LU %s is of kind %s: faults are injected by LUs of kind fault", lu->name,
		    lu->kind);
		return;
	}
	if (list_empty(&lu->paths)) {
		ctl_refuse(
		    req, -ENOTCONN, "add one: sluice path add", "LU %s has no path", lu->name);
		return;
	}
	p = list_entry(lu->paths.next, struct ctl_path, link);
	if (lu_path_control(p->path, json_object_get(req->params, "rules"), &err) != 0) {
		ctl_fail(req, &err);
		return;
	}
	ctl_reply(req, ctl_lu_json(lu));
}

void ctl_op_LU_LIST(struct ctl_request *req)
{
	json_t *list = json_array();

	list_for_each (link, &req->ctl->lus) {
		json_array_append_new(list, ctl_lu_json(list_entry(link, struct ctl_lu, link)));
	}
	ctl_reply(req, json_pack("{s:o}", "lus", list));
}

void ctl_op_LU_SHOW(struct ctl_request *req)
{
	struct ctl_lu *lu = ctl_find_lu(req->ctl, ctl_param(req, "name"));

	if (lu == NULL) {
		ctl_want_lu(req, "name");
		return;
	}
	ctl_reply(req, ctl_lu_json(lu));
}
