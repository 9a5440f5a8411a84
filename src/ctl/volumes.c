/*
 * Volumes: what clients see, extents over LUs.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "ctl/ctl_private.h"

/* -- routes -- */

static struct ctl_route *find_route(const struct list *routes, const struct ctl_lu *lu)
{
	list_for_each (link, routes) {
		struct ctl_route *r = list_entry(link, struct ctl_route, link);

		if (r->lu == lu) {
			return r;
		}
	}
	return NULL;
}

struct ctl_route *ctl_volume_route(const struct ctl_volume *v, const struct ctl_lu *lu)
{
	return find_route(&v->routes, lu);
}

struct ctl_interface *ctl_route_active(const struct ctl *ctl, const struct ctl_route *r)
{
	const struct lu_path *active = lu_route_active(r->route);

	if (active == NULL) {
		return NULL;
	}
	return ctl_find_interface((struct ctl *)ctl, interface_name(lu_path_interface(active)));
}

bool ctl_volume_uses(const struct ctl_volume *v, const struct ctl_interface *i)
{
	list_for_each (link, &v->routes) {
		const struct ctl_route *r = list_entry(link, struct ctl_route, link);

		if (r->via == i || ctl_route_active(v->ctl, r) == i) {
			return true;
		}
	}
	return false;
}

int ctl_volume_build_face(const struct ctl_volume *v, const struct list *instead,
    uint64_t generation, struct face **ret_face, struct error *err)
{
	struct face_extent *extents = calloc(v->nr_extents, sizeof(*extents));
	int rc;

	sluice_assert(extents != NULL);
	for (size_t i = 0; i < v->nr_extents; i++) {
		const struct ctl_route *r = NULL;

		if (instead != NULL) {
			r = find_route(instead, v->extents[i].lu);
		}
		if (r == NULL) {
			r = find_route(&v->routes, v->extents[i].lu);
		}
		sluice_assert(r != NULL);
		extents[i].offset = v->extents[i].offset;
		extents[i].length = v->extents[i].length;
		extents[i].target_offset = v->extents[i].lu_offset;
		extents[i].target = lu_route_target(r->route);
	}
	rc = face_new(v->size, generation, extents, v->nr_extents, ret_face, err);
	free(extents);
	return rc;
}

/* -- as people see it -- */

static json_t *active_json(const struct ctl_volume *v)
{
	json_t *list = json_array();

	list_for_each (link, &v->routes) {
		const struct ctl_route *r = list_entry(link, struct ctl_route, link);
		const struct ctl_interface *active = ctl_route_active(v->ctl, r);
		const struct ctl_path *p = active != NULL ? ctl_find_path(r->lu, active) : NULL;

		json_array_append_new(
		    list, json_pack("{s:s, s:s?, s:s, s:s?}", "lu", r->lu->name, "via",
			      active != NULL ? active->name : NULL, "state",
			      p != NULL ? lu_path_state_name(lu_path_state(p->path)) : "no path",
			      "preferred", r->via != NULL ? r->via->name : NULL));
	}
	return list;
}

json_t *ctl_volume_json(const struct ctl_volume *v)
{
	json_t *lus = json_array();
	json_t *exports = json_array();
	const struct ctl_interface *via = NULL;

	list_for_each (link, &v->routes) {
		const struct ctl_route *r = list_entry(link, struct ctl_route, link);

		json_array_append_new(lus, json_string(r->lu->name));
		via = via == NULL ? r->via : via;
	}
	list_for_each (link, &v->ctl->exports) {
		const struct ctl_export *e = list_entry(link, struct ctl_export, link);

		if (e->volume == v) {
			json_array_append_new(exports, json_integer((json_int_t)e->id));
		}
	}
	return json_pack("{s:s, s:s, s:I, s:I, s:o, s:s?, s:o, s:o, s:I, s:I, s:o}", "name",
	    v->name, "uuid", v->uuid, "size", (json_int_t)v->size, "generation",
	    (json_int_t)v->generation, "lus", lus, "via", via != NULL ? via->name : NULL, "active",
	    active_json(v), "exports", exports, "in_flight",
	    (json_int_t)volume_in_flight(v->volume), "held_requests",
	    (json_int_t)volume_held(v->volume), "change",
	    v->change != NULL ? json_integer((json_int_t)ctl_change_id(v->change)) : json_null());
}

static json_t *extent_record(const struct ctl_extent *e)
{
	return json_pack("{s:I, s:I, s:s, s:I}", "offset", (json_int_t)e->offset, "length",
	    (json_int_t)e->length, "lu", e->lu->name, "lu_offset", (json_int_t)e->lu_offset);
}

json_t *ctl_volume_record(const struct ctl_volume *v)
{
	json_t *extents = json_array();
	json_t *via = json_object();

	for (size_t i = 0; i < v->nr_extents; i++) {
		json_array_append_new(extents, extent_record(&v->extents[i]));
	}
	list_for_each (link, &v->routes) {
		const struct ctl_route *r = list_entry(link, struct ctl_route, link);

		if (r->via != NULL) {
			json_object_set_new(via, r->lu->name, json_string(r->via->name));
		}
	}
	return json_pack("{s:s, s:s, s:I, s:o, s:o}", "name", v->name, "uuid", v->uuid, "size",
	    (json_int_t)v->size, "extents", extents, "via", via);
}

/* -- making and ending -- */

void ctl_routes_end(struct list *routes)
{
	struct list *link;

	while ((link = list_pop(routes)) != NULL) {
		struct ctl_route *r = list_entry(link, struct ctl_route, link);

		r->lu->ending_routes++; /* the LU stays until they have gone */
		lu_route_free(r->route, ctl_lu_route_ended, r->lu);
		free(r);
	}
}

int ctl_route_make(struct list *routes, struct ctl_lu *lu, struct ctl_interface *via,
    struct ctl_route **ret_route, struct error *err)
{
	struct ctl_route *r = calloc(1, sizeof(*r));
	int rc;

	sluice_assert(r != NULL);
	rc = lu_route_new(lu->lu, via != NULL ? via->interface : NULL, &r->route, err);
	if (rc != 0) {
		free(r);
		return rc;
	}
	r->lu = lu;
	r->via = via;
	list_append(routes, &r->link);
	if (ret_route != NULL) {
		*ret_route = r;
	}
	return 0;
}

/* A volume without its inside: name, size and extents are the caller's to fill. */
static struct ctl_volume *volume_blank(struct ctl *ctl, const char *name, size_t max_extents)
{
	struct ctl_volume *v = calloc(1, sizeof(*v));

	sluice_assert(v != NULL);
	v->ctl = ctl;
	v->extents = calloc(max_extents, sizeof(*v->extents));
	sluice_assert(v->extents != NULL);
	v->generation = 1;
	list_init(&v->routes);
	list_init(&v->link);
	snprintf(v->name, sizeof(v->name), "%s", name);
	return v;
}

static void volume_scrap(struct ctl_volume *v)
{
	list_remove(&v->link);
	ctl_routes_end(&v->routes);
	face_free(v->face);
	free(v->extents);
	free(v);
}

static int volume_open(struct ctl_volume *v, struct error *err)
{
	int rc = ctl_volume_build_face(v, NULL, v->generation, &v->face, err);

	if (rc != 0) {
		return rc;
	}
	rc = volume_new(v->ctl->group, v->name, v->size, v->face, &v->volume, err);
	if (rc == 0) {
		list_append(&v->ctl->volumes, &v->link);
	}
	return rc;
}

struct volume_end {
	struct ctl_volume *v;
	void (*ended)(void *ctx);
	void *ctx;
};

static void volume_gone(void *ctx)
{
	struct volume_end *e = ctx;

	volume_scrap(e->v);
	e->ended(e->ctx);
	free(e);
}

void ctl_volume_end(struct ctl_volume *v, void (*ended)(void *ctx), void *ctx)
{
	struct volume_end *e = calloc(1, sizeof(*e));

	sluice_assert(e != NULL);
	*e = (struct volume_end){v, ended, ctx};
	list_remove(&v->link);
	volume_free(v->volume, volume_gone, e);
}

static int load_extents(
    struct ctl_volume *v, const json_t *extents, const json_t *via, struct error *err)
{
	size_t i;
	json_t *x;

	json_array_foreach(extents, i, x)
	{
		struct ctl_extent *e = &v->extents[v->nr_extents];
		json_int_t offset;
		json_int_t length;
		json_int_t lu_offset;
		const char *lu;
		int rc;

		if (json_unpack(x, "{s:I, s:I, s:s, s:I}", "offset", &offset, "length", &length,
			"lu", &lu, "lu_offset", &lu_offset) != 0 ||
		    offset < 0 || length <= 0 || lu_offset < 0 ||
		    (e->lu = ctl_find_lu(v->ctl, lu)) == NULL) {
			return -EBADMSG;
		}
		e->offset = (uint64_t)offset;
		e->length = (uint64_t)length;
		e->lu_offset = (uint64_t)lu_offset;
		v->nr_extents++;
		if (ctl_volume_route(v, e->lu) != NULL) {
			continue;
		}
		rc = ctl_route_make(&v->routes, e->lu,
		    ctl_find_interface(v->ctl, json_string_value(json_object_get(via, lu))), NULL,
		    err);
		if (rc != 0) {
			return rc;
		}
	}
	return v->nr_extents > 0 ? 0 : -EBADMSG;
}

int ctl_volume_load(struct ctl *ctl, const json_t *record, struct error *err)
{
	struct ctl_volume *v;
	const char *name;
	const char *uuid;
	json_int_t size;
	json_t *extents;
	json_t *via;
	int rc;

	if (json_unpack((json_t *)record, "{s:s, s:s, s:I, s:o, s:o}", "name", &name, "uuid", &uuid,
		"size", &size, "extents", &extents, "via", &via) != 0 ||
	    size <= 0) {
		return ctl_record_bad("volume", record, err);
	}
	v = volume_blank(ctl, name, json_array_size(extents) + 1);
	snprintf(v->uuid, sizeof(v->uuid), "%s", uuid);
	v->size = (uint64_t)size;
	rc = load_extents(v, extents, via, err);
	if (rc == -EBADMSG) {
		ctl_record_bad("volume", record, err);
	}
	rc = rc == 0 ? volume_open(v, err) : rc;
	if (rc != 0) {
		volume_scrap(v);
	}
	return rc;
}

/* -- create -- */

static bool overlaps_extent(const struct ctl_volume *v, const struct ctl_extent *e)
{
	struct range wanted = {e->lu_offset, e->length};

	for (size_t i = 0; i < v->nr_extents; i++) {
		struct range used = {v->extents[i].lu_offset, v->extents[i].length};

		if (v->extents[i].lu == e->lu && range_overlaps(used, wanted)) {
			return true;
		}
	}
	return false;
}

/* Another volume's extent on the same place of an LU; NULL when there is none. */
static const struct ctl_volume *find_overlap(struct ctl *ctl, const struct ctl_extent *e)
{
	list_for_each (link, &ctl->volumes) {
		const struct ctl_volume *v = list_entry(link, struct ctl_volume, link);

		if (overlaps_extent(v, e)) {
			return v;
		}
	}
	return NULL;
}

static int place_extent(struct ctl_volume *v, const json_t *on, uint64_t wanted,
    struct ctl_interface *via, struct error *err)
{
	struct ctl_extent *e = &v->extents[v->nr_extents];
	const char *name = json_string_value(json_object_get(on, "lu"));
	uint64_t offset = (uint64_t)json_integer_value(json_object_get(on, "offset"));
	const struct ctl_volume *other;
	int rc;

	e->lu = ctl_find_lu(v->ctl, name);
	if (e->lu == NULL) {
		error_set(err, -ENOENT, "there is no LU named %s", name != NULL ? name : "");
		return error_hint(err, "`sluice lu list` shows what there is");
	}
	if (e->lu->busy) {
		error_set(err, -EBUSY, "LU %s is being changed by another operation", name);
		return error_hint(err, "wait for it to end, then try again");
	}
	if (offset >= lu_size(e->lu->lu)) {
		return error_set(err, -EINVAL,
		    "offset %" PRIu64 " is beyond the end of LU %s (%" PRIu64 " bytes)", offset,
		    name, lu_size(e->lu->lu));
	}
	e->offset = v->size;
	e->lu_offset = offset;
	e->length = MIN(lu_size(e->lu->lu) - offset, wanted);
	if (overlaps_extent(v, e)) {
		return error_set(err, -EBUSY, "the volume would use one part of LU %s twice", name);
	}
	other = find_overlap(v->ctl, e);
	if (other != NULL) {
		error_set(err, -EBUSY, "volume %s uses that part of LU %s", other->name, name);
		return error_hint(err, "choose another offset: --on %s:OFFSET", name);
	}
	if (via != NULL && ctl_find_path(e->lu, via) == NULL) {
		error_set(err, -EINVAL, "LU %s has no path through interface %s", name, via->name);
		return error_hint(err, "`sluice path list` shows what there is");
	}
	if (ctl_volume_route(v, e->lu) == NULL) {
		rc = ctl_route_make(&v->routes, e->lu, via, NULL, err);
		if (rc != 0) {
			return rc;
		}
	}
	v->size += e->length;
	v->nr_extents++;
	return 0;
}

static int place_extents(struct ctl_volume *v, const json_t *on, uint64_t size,
    struct ctl_interface *via, struct error *err)
{
	uint64_t wanted = size != 0 ? size : UINT64_MAX;
	char text[2][32];
	size_t i;
	json_t *x;

	json_array_foreach(on, i, x)
	{
		int rc = wanted == v->size ? 0 : place_extent(v, x, wanted - v->size, via, err);

		if (rc != 0) {
			return rc;
		}
		if (size == 0) {
			wanted = v->size; /* the rest of the first LU */
		}
	}
	if (size != 0 && v->size < size) {
		error_set(err, -ENOSPC, "the LUs hold %s, the volume needs %s",
		    units_format_size(v->size, text[0], sizeof(text[0])),
		    units_format_size(size, text[1], sizeof(text[1])));
		return error_hint(err, "name more LUs by --on, or a smaller --size");
	}
	if (v->size == 0) {
		return error_set(err, -EINVAL, "a volume needs at least one LU");
	}
	return 0;
}

struct volume_failure {
	struct ctl_request *req;
	struct error err;
};

static void failed_after_end(void *ctx)
{
	struct volume_failure *f = ctx;

	ctl_fail(f->req, &f->err);
	free(f);
}

static void created(void *ctx, bool succeeded, uint64_t revision, const struct error *store_err)
{
	struct ctl_request *req = ctx;
	struct ctl_volume *v = req->object;
	struct error err;

	if (ctl_txn_outcome(succeeded, store_err, &err) != 0) {
		struct volume_failure *f = calloc(1, sizeof(*f));

		sluice_assert(f != NULL);
		*f = (struct volume_failure){req, err};
		ctl_volume_end(v, failed_after_end, f);
		return;
	}
	v->busy = false;
	ctl_event(
	    req->ctl, "info", "volume.created", v->name, NULL, "volume %s was created", v->name);
	ctl_reply(req, ctl_volume_json(v));
}

void ctl_op_VOLUME_CREATE(struct ctl_request *req)
{
	const char *name = ctl_param(req, "name");
	const json_t *on = json_object_get(req->params, "on");
	struct ctl_interface *via = NULL;
	char key[CTL_KEY_MAX];
	struct error err = {0};
	struct ctl_volume *v;
	struct ctl_txn t;

	if (ctl_find_volume(req->ctl, name) != NULL) {
		ctl_refuse(req, -EEXIST, "choose another name", "volume %s exists already", name);
		return;
	}
	if (ctl_param(req, "via") != NULL && (via = ctl_want_interface(req, "via")) == NULL) {
		return;
	}
	v = volume_blank(req->ctl, name, json_array_size(on) + 1);
	ctl_uuid_new(v->uuid);
	if (place_extents(v, on, ctl_param_u64(req, "size", 0), via, &err) != 0 ||
	    volume_open(v, &err) != 0) {
		volume_scrap(v);
		ctl_fail(req, &err);
		return;
	}
	v->busy = true;
	req->object = v;
	ctl_txn_init(&t);
	ctl_txn_expect_absent(&t, ctl_key(key, "volumes", name));
	ctl_txn_put(&t, key, ctl_volume_record(v));
	ctl_txn_put_text(&t, ctl_key(key, "generations", name), "1");
	ctl_txn_send(req->ctl, &t, created, req);
}

/* -- delete -- */

static void volume_ended(void *ctx)
{
	ctl_reply(ctx, json_object());
}

static void deleted(void *ctx, bool succeeded, uint64_t revision, const struct error *store_err)
{
	struct ctl_request *req = ctx;
	struct ctl_volume *v = req->object;
	struct error err;

	if (ctl_txn_outcome(succeeded, store_err, &err) != 0) {
		v->busy = false;
		ctl_fail(req, &err);
		return;
	}
	ctl_event(req->ctl, "info", "volume.deleted", v->name, NULL,
	    "volume %s was deleted; its data is still on its LUs", v->name);
	ctl_volume_end(v, volume_ended, req);
}

void ctl_op_VOLUME_DELETE(struct ctl_request *req)
{
	struct ctl_volume *v = ctl_want_volume(req, "name");
	char key[CTL_KEY_MAX];
	struct ctl_txn t;

	if (v == NULL) {
		return;
	}
	list_for_each (link, &req->ctl->exports) {
		const struct ctl_export *e = list_entry(link, struct ctl_export, link);

		if (e->volume == v) {
			ctl_refuse(req, -EBUSY, "remove it first: sluice export remove",
			    "volume %s is exported (export %" PRIu64 ")", v->name, e->id);
			return;
		}
	}
	if (v->change != NULL) {
		ctl_refuse(req, -EBUSY, "wait for it to end, or cancel it",
		    "a change of volume %s is in progress", v->name);
		return;
	}
	v->busy = true;
	req->object = v;
	ctl_txn_init(&t);
	ctl_txn_delete(&t, ctl_key(key, "volumes", v->name));
	ctl_txn_delete(&t, ctl_key(key, "generations", v->name));
	ctl_txn_send(req->ctl, &t, deleted, req);
}

/* -- the rest -- */

void ctl_op_VOLUME_LIST(struct ctl_request *req)
{
	json_t *list = json_array();

	list_for_each (link, &req->ctl->volumes) {
		json_array_append_new(
		    list, ctl_volume_json(list_entry(link, struct ctl_volume, link)));
	}
	ctl_reply(req, json_pack("{s:o}", "volumes", list));
}

void ctl_op_VOLUME_SHOW(struct ctl_request *req)
{
	struct ctl_volume *v = ctl_find_volume(req->ctl, ctl_param(req, "name"));

	if (v == NULL) {
		ctl_want_volume(req, "name");
		return;
	}
	ctl_reply(req, ctl_volume_json(v));
}

void ctl_op_VOLUME_MAP(struct ctl_request *req)
{
	struct ctl_volume *v = ctl_want_volume(req, "name");
	json_t *extents;

	if (v == NULL) {
		return;
	}
	extents = json_array();
	for (size_t i = 0; i < v->nr_extents; i++) {
		const struct ctl_extent *e = &v->extents[i];

		json_array_append_new(extents,
		    json_pack("{s:I, s:I, s:{s:s, s:I}, s:[{s:s, s:I}], s:s}", "offset",
			(json_int_t)e->offset, "length", (json_int_t)e->length, "read", "lu",
			e->lu->name, "offset", (json_int_t)e->lu_offset, "write", "lu", e->lu->name,
			"offset", (json_int_t)e->lu_offset, "state", "active"));
	}
	ctl_reply(req, json_pack("{s:s, s:I, s:o}", "name", v->name, "generation",
			   (json_int_t)v->generation, "extents", extents));
}
