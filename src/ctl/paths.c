/*
 * Paths: an LU through an interface.
 */
#include "ctl/paths.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define PATH_UP_TIMEOUT_NS (10 * NS_PER_S)

json_t *ctl_path_json(const struct ctl_path *p)
{
	struct lu_stats stats;
	char address[512];

	lu_path_stats(p->path, &stats);
	lu_path_describe(p->path, address, sizeof(address));
	return json_pack("{s:s, s:s, s:s, s:o, s:s, s:o, s:o}", "lu", p->lu->name, "via",
	    p->via->name, "kind", p->via->kind, "address", ctl_text(address), "state",
	    lu_path_state_name(lu_path_state(p->path)), "reason", ctl_text(lu_path_reason(p->path)),
	    "stats", ctl_stats_json(&stats));
}

json_t *ctl_path_record(const struct ctl_path *p)
{
	return json_pack("{s:s, s:s, s:O}", "lu", p->lu->name, "via", p->via->name, "address",
	    (json_t *)lu_path_address(p->path));
}

const char *ctl_path_name(char *buf, const struct ctl_path *p)
{
	snprintf(buf, CTL_PATH_NAME_MAX, "%s/%s", p->lu->name, p->via->name);
	return buf;
}

const char *ctl_path_key(char *buf, const struct ctl_path *p)
{
	char name[CTL_PATH_NAME_MAX];

	return ctl_key(buf, "paths", ctl_path_name(name, p));
}

int ctl_path_make(struct ctl_lu *lu, struct ctl_interface *via, const json_t *address,
    struct ctl_path **ret_path, struct error *err)
{
	struct io_target *inner = lu->inner_route != NULL ? lu_route_target(lu->inner_route) : NULL;
	struct ctl_path *p = calloc(1, sizeof(*p));
	int rc;

	sluice_assert(p != NULL);
	rc = lu_path_new(lu->lu, via->interface, address, inner, &p->path, err);
	if (rc != 0) {
		free(p);
		return rc;
	}
	p->lu = lu;
	p->via = via;
	list_append(&lu->paths, &p->link);
	*ret_path = p;
	return 0;
}

struct path_end {
	void (*ended)(void *ctx);
	void *ctx;
};

static void path_ended(void *ctx)
{
	struct path_end *e = ctx;

	if (e->ended != NULL) {
		e->ended(e->ctx);
	}
	free(e);
}

void ctl_path_end(struct ctl_path *p, void (*ended)(void *ctx), void *ctx)
{
	struct path_end *e = calloc(1, sizeof(*e));
	struct lu_path *path = p->path;

	sluice_assert(e != NULL);
	*e = (struct path_end){ended, ctx};
	list_remove(&p->link);
	free(p);
	lu_path_free(path, path_ended, e);
}

int ctl_path_load(struct ctl *ctl, const json_t *record, struct error *err)
{
	const char *lu_text;
	const char *via_text;
	json_t *address;
	struct ctl_interface *via;
	struct ctl_path *p;
	struct ctl_lu *lu;

	if (json_unpack((json_t *)record, "{s:s, s:s, s:o}", "lu", &lu_text, "via", &via_text,
		"address", &address) != 0 ||
	    (lu = ctl_find_lu(ctl, lu_text)) == NULL ||
	    (via = ctl_find_interface(ctl, via_text)) == NULL) {
		return ctl_record_bad("path", record, err);
	}
	return ctl_path_make(lu, via, address, &p, err);
}

/* -- operations -- */

struct ctl_interface *ctl_want_via(struct ctl_request *req, const struct lu_driver *driver)
{
	struct ctl_interface *via;
	struct error err = {0};

	if (ctl_param(req, "via") == NULL && (driver->flags & LU_DRIVER_LOCAL) != 0) {
		via = ctl_implicit_interface(req->ctl, driver, &err);
		if (via == NULL) {
			ctl_fail(req, &err);
		}
		return via;
	}
	if (ctl_param(req, "via") == NULL) {
		ctl_refuse(req, -EINVAL, "name an interface by --via (see `sluice interface add`)",
		    "a path of kind %s needs an interface", driver->kind);
		return NULL;
	}
	via = ctl_want_interface(req, "via");
	if (via != NULL && strcmp(via->kind, driver->kind) != 0) {
		ctl_refuse(req, -EINVAL, "choose an interface of the same kind",
		    "interface %s is of kind %s, the path is of kind %s", via->name, via->kind,
		    driver->kind);
		return NULL;
	}
	return via;
}

const struct lu_driver *ctl_want_driver(struct ctl_request *req, const char *fallback)
{
	const char *kind = ctl_param(req, "kind");
	const struct lu_driver *driver = lu_driver_find(kind != NULL ? kind : fallback);
	struct error err = {0};

	if (driver == NULL) {
		ctl_refuse(req, -EINVAL, "kinds are file, nbd, iscsi, mem, null and fault",
		    "there is no kind %s", kind != NULL ? kind : "(none given)");
		return NULL;
	}
	if (driver->check(json_object_get(req->params, "address"), &err) != 0) {
		ctl_fail(req, &err);
		return NULL;
	}
	return driver;
}

static void fail_after_end(void *ctx)
{
	struct ctl_path_failure *f = ctx;

	ctl_fail(f->req, &f->err);
	free(f);
}

static void give_up(struct ctl_request *req, struct ctl_path *p, const struct error *err)
{
	struct ctl_path_failure *f = calloc(1, sizeof(*f));

	sluice_assert(f != NULL);
	f->req = req;
	f->err = *err;
	ctl_path_end(p, fail_after_end, f);
}

static void path_stored(void *ctx, bool succeeded, uint64_t revision, const struct error *store_err)
{
	struct ctl_request *req = ctx;
	struct ctl_path *p = req->object;
	char name[CTL_PATH_NAME_MAX];
	struct error err;

	p->lu->busy = false;
	p->busy = false;
	if (ctl_txn_outcome(succeeded, store_err, &err) != 0) {
		give_up(req, p, &err);
		return;
	}
	p->via->stored = true;
	ctl_event(req->ctl, "info", "path.added", ctl_path_name(name, p), NULL,
	    "LU %s is reachable through interface %s", p->lu->name, p->via->name);
	ctl_reply(req, ctl_path_json(p));
}

static void path_is_up(void *ctx, const struct error *err)
{
	struct ctl_request *req = ctx;
	struct ctl_path *p = req->object;
	char key[CTL_KEY_MAX];
	struct ctl_txn t;

	if (err != NULL) {
		struct error with_hint = *err;

		if (err->code != -ESTALE) {
			error_hint(&with_hint, "%s%sor add it as it is by --no-wait", err->hint,
			    err->hint[0] != '\0' ? "; " : "repair it, ");
		}
		p->lu->busy = false;
		give_up(req, p, &with_hint);
		return;
	}
	ctl_txn_init(&t);
	ctl_txn_expect_absent(&t, ctl_path_key(key, p));
	ctl_txn_put(&t, key, ctl_path_record(p));
	ctl_implicit_put(&t, p->via);
	ctl_txn_send(req->ctl, &t, path_stored, req);
}

void ctl_op_PATH_ADD(struct ctl_request *req)
{
	struct ctl_lu *lu = ctl_want_lu(req, "lu");
	const struct lu_driver *driver = lu != NULL ? ctl_want_driver(req, lu->kind) : NULL;
	struct ctl_interface *via = driver != NULL ? ctl_want_via(req, driver) : NULL;
	struct error err = {0};
	struct ctl_path *p;

	if (via == NULL) {
		return;
	}
	if ((driver->flags & LU_DRIVER_VOLATILE) != 0) {
		ctl_refuse(
		    req, -EOPNOTSUPP, NULL, "an LU of kind %s has one path only", driver->kind);
		return;
	}
	if (ctl_find_path(lu, via) != NULL) {
		ctl_refuse(req, -EEXIST, "remove the old one first, or use another interface",
		    "LU %s has a path through interface %s already", lu->name, via->name);
		return;
	}
	if (ctl_path_make(lu, via, json_object_get(req->params, "address"), &p, &err) != 0) {
		ctl_fail(req, &err);
		return;
	}
	lu->busy = true;
	p->busy = true;
	req->object = p;
	if (ctl_param_bool(req, "wait", true)) {
		lu_path_wait_up(p->path, PATH_UP_TIMEOUT_NS, path_is_up, req);
	} else {
		path_is_up(req, NULL); /* whatever it leads to is checked before it is used */
	}
}

static struct ctl_path *want_path(struct ctl_request *req)
{
	struct ctl_lu *lu = ctl_want_lu(req, "lu");
	struct ctl_interface *via = lu != NULL ? ctl_want_interface(req, "via") : NULL;
	struct ctl_path *p = via != NULL ? ctl_find_path(lu, via) : NULL;

	if (via != NULL && p == NULL) {
		ctl_refuse(req, -ENOENT, "`sluice path list` shows what there is",
		    "LU %s has no path through interface %s", lu->name, via->name);
	} else if (p != NULL && p->busy) {
		ctl_refuse(req, -EBUSY, "wait for it to end", "the path is being changed");
		p = NULL;
	}
	return p;
}

static void path_gone(void *ctx)
{
	ctl_reply(ctx, json_object());
}

static void path_removed(
    void *ctx, bool succeeded, uint64_t revision, const struct error *store_err)
{
	struct ctl_request *req = ctx;
	struct ctl_path *p = req->object;
	char name[CTL_PATH_NAME_MAX];
	struct error err;

	p->lu->busy = false;
	if (ctl_txn_outcome(succeeded, store_err, &err) != 0) {
		p->busy = false;
		ctl_fail(req, &err);
		return;
	}
	ctl_event(req->ctl, "info", "path.removed", ctl_path_name(name, p), NULL,
	    "the path of LU %s through interface %s was removed", p->lu->name, p->via->name);
	ctl_path_end(p, path_gone, req);
}

static const struct ctl_volume *user_of(struct ctl *ctl, const struct ctl_path *p)
{
	list_for_each (link, &ctl->volumes) {
		const struct ctl_volume *v = list_entry(link, struct ctl_volume, link);
		const struct ctl_route *r = ctl_volume_route(v, p->lu);

		if (r != NULL && (r->via == p->via || ctl_route_active(ctl, r) == p->via)) {
			return v;
		}
	}
	return NULL;
}

void ctl_op_PATH_REMOVE(struct ctl_request *req)
{
	struct ctl_path *p = want_path(req);
	const struct ctl_volume *v;
	const struct ctl_change *c;
	char key[CTL_KEY_MAX];
	struct ctl_txn t;

	if (p == NULL) {
		return;
	}
	v = user_of(req->ctl, p);
	if (v != NULL) {
		ctl_refuse(req, -EBUSY, "move it first: sluice volume switch-path",
		    "volume %s uses the path through interface %s", v->name, p->via->name);
		return;
	}
	c = ctl_change_of_path(req->ctl, p);
	if (c != NULL) {
		ctl_refuse(req, -EBUSY, "wait for it to end, or cancel it",
		    "change %" PRIu64 " works on the path", ctl_change_id(c));
		return;
	}
	if (lu_path_count(p->lu->lu) == 1) {
		ctl_refuse(req, -EBUSY, "remove the LU instead: sluice lu remove",
		    "it is the only path of LU %s", p->lu->name);
		return;
	}
	p->busy = true;
	p->lu->busy = true;
	req->object = p;
	ctl_txn_init(&t);
	ctl_txn_delete(&t, ctl_path_key(key, p));
	ctl_txn_send(req->ctl, &t, path_removed, req);
}

void ctl_op_PATH_CONFIRM_DEAD(struct ctl_request *req)
{
	struct ctl_path *p = want_path(req);
	char name[CTL_PATH_NAME_MAX];

	if (p == NULL) {
		return;
	}
	if (lu_path_state(p->path) == LU_PATH_UP) {
		ctl_refuse(req, -EBUSY, "only a path whose other end is dead can be given up",
		    "the path of LU %s through interface %s is up", p->lu->name, p->via->name);
		return;
	}
	ctl_event(req->ctl, "warn", "path.confirmed-dead", ctl_path_name(name, p), NULL,
	    "the operator confirmed that what LU %s had through interface %s is dead: %u old "
	    "sessions "
	    "were let go",
	    p->lu->name, p->via->name, lu_path_confirm_dead(p->path));
	ctl_reply(req, ctl_path_json(p));
}

void ctl_op_PATH_LIST(struct ctl_request *req)
{
	json_t *list = json_array();

	list_for_each (lu_link, &req->ctl->lus) {
		struct ctl_lu *lu = list_entry(lu_link, struct ctl_lu, link);

		list_for_each (link, &lu->paths) {
			json_array_append_new(
			    list, ctl_path_json(list_entry(link, struct ctl_path, link)));
		}
	}
	ctl_reply(req, json_pack("{s:o}", "paths", list));
}

void ctl_op_PATH_SHOW(struct ctl_request *req)
{
	struct ctl_lu *lu = ctl_find_lu(req->ctl, ctl_param(req, "lu"));
	struct ctl_interface *via = ctl_find_interface(req->ctl, ctl_param(req, "via"));
	struct ctl_path *p = lu != NULL && via != NULL ? ctl_find_path(lu, via) : NULL;

	if (p == NULL) {
		ctl_refuse(req, -ENOENT, "`sluice path list` shows what there is",
		    "there is no such path");
		return;
	}
	ctl_reply(req, ctl_path_json(p));
}
