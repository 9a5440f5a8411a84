/*
 * Exports: volumes offered to clients. Many may share one listening socket.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "ctl/ctl_private.h"

#define RETRY_FIRST_NS (50 * NS_PER_MS)
#define RETRY_MAX_NS (5 * NS_PER_S)

/* -- listeners -- */

static void listener_closed(void *ctx)
{
	struct ctl_listener *l = ctx;

	l->ctl->nr_listeners_closing--;
	free(l);
}

static void listener_put(struct ctl_listener *l)
{
	if (--l->users == 0) {
		list_remove(&l->link);
		l->ctl->nr_listeners_closing++;
		nbd_listener_free(l->nbd, listener_closed, l);
	}
}

static struct ctl_listener *listener_get(struct ctl *ctl, const char *address, struct error *err)
{
	struct ctl_listener *l;

	list_for_each (link, &ctl->listeners) {
		l = list_entry(link, struct ctl_listener, link);
		if (strcmp(l->address, address) == 0 ||
		    strcmp(nbd_listener_address(l->nbd), address) == 0) {
			l->users++;
			return l;
		}
	}
	l = calloc(1, sizeof(*l));
	sluice_assert(l != NULL);
	if (nbd_listener_new(ctl->group, address, &ctl->nbd_events, &l->nbd, err) != 0) {
		free(l);
		return NULL;
	}
	/* With port 0 the address that it really has is the one to remember. */
	snprintf(l->address, sizeof(l->address), "%s", nbd_listener_address(l->nbd));
	l->ctl = ctl;
	l->users = 1;
	list_append(&ctl->listeners, &l->link);
	return l;
}

/* -- as people see it -- */

json_t *ctl_export_json(const struct ctl_export *e)
{
	struct nbd_export_stats s = {0};
	char uri[512] = "";

	if (e->nbd != NULL) {
		nbd_export_stats(e->nbd, &s);
		nbd_export_uri(e->nbd, uri, sizeof(uri));
	}
	return json_pack(
	    "{s:I, s:s, s:s, s:s, s:s, s:s, s:s?, s:b, s:s, s:s, s:i, s:{s:I, s:I, s:I, s:I, s:I}}",
	    "id", (json_int_t)e->id, "volume", e->volume->name, "protocol", "nbd", "address",
	    e->address, "name", e->name, "uri", uri, "client",
	    e->client != NULL ? e->client->name : NULL, "read_only", e->read_only, "state",
	    e->nbd != NULL ? "serving" : "down", "reason", e->reason, "connections",
	    (int)s.connections, "stats", "requests", (json_int_t)s.requests, "errors",
	    (json_int_t)s.errors, "bytes_read", (json_int_t)s.bytes_read, "bytes_written",
	    (json_int_t)s.bytes_written, "longest_us", (json_int_t)s.longest_us);
}

json_t *ctl_export_record(const struct ctl_export *e)
{
	return json_pack("{s:I, s:s, s:s, s:s, s:s?, s:b}", "id", (json_int_t)e->id, "volume",
	    e->volume->name, "nbd", e->address, "name", e->name, "client",
	    e->client != NULL ? e->client->name : NULL, "read_only", e->read_only);
}

/* -- making and ending -- */

static void try_again(struct reactor_timer *t);

static struct ctl_export *export_blank(struct ctl_volume *v, uint64_t id, const char *address,
    const char *name, struct ctl_client *client, bool read_only)
{
	struct ctl_export *e = calloc(1, sizeof(*e));

	sluice_assert(e != NULL);
	e->ctl = v->ctl;
	e->id = id;
	e->volume = v;
	e->client = client;
	e->read_only = read_only;
	snprintf(e->address, sizeof(e->address), "%s", address);
	snprintf(e->name, sizeof(e->name), "%s", name);
	reactor_timer_init(&e->retry, try_again);
	list_append(&v->ctl->exports, &e->link);
	v->ctl->last_export_id = MAX(v->ctl->last_export_id, id);
	return e;
}

static int export_open(struct ctl_export *e, struct error *err)
{
	struct nbd_export_params params = {
	    .name = e->name,
	    .description = e->volume->name,
	    .target = volume_target(e->volume->volume),
	    .read_only = e->read_only,
	};
	int rc;

	e->listener = listener_get(e->ctl, e->address, err);
	if (e->listener == NULL) {
		return err->code;
	}
	snprintf(e->address, sizeof(e->address), "%s", e->listener->address);
	rc = nbd_export_add(e->listener->nbd, &params, e, &e->nbd, err);
	if (rc != 0) {
		listener_put(e->listener);
		e->listener = NULL;
	}
	return rc;
}

static void retry_later(struct ctl_export *e, const struct error *err)
{
	snprintf(e->reason, sizeof(e->reason), "%s", err->message);
	e->retry_ns = e->retry_ns == 0 ? RETRY_FIRST_NS : MIN(2 * e->retry_ns, RETRY_MAX_NS);
	reactor_timer_arm(e->ctl->group->control, &e->retry, e->retry_ns);
}

/* A daemon that was killed holds its sockets a moment longer: the kernel ends its rings after it. */
static void try_again(struct reactor_timer *t)
{
	struct ctl_export *e = container_of(t, struct ctl_export, retry);
	struct error err = {0};

	if (export_open(e, &err) != 0) {
		retry_later(e, &err);
		return;
	}
	e->reason[0] = '\0';
	ctl_event(e->ctl, "info", "export.up", e->name, NULL, "export %s is served on %s", e->name,
	    e->address);
}

static void export_scrap(struct ctl_export *e)
{
	reactor_timer_cancel(e->ctl->group->control, &e->retry);
	list_remove(&e->link);
	if (e->listener != NULL) {
		listener_put(e->listener);
	}
	free(e);
}

struct export_end {
	struct ctl_export *e;
	void (*ended)(void *ctx);
	void *ctx;
};

static void nbd_removed(void *ctx)
{
	struct export_end *end = ctx;

	export_scrap(end->e);
	end->ended(end->ctx);
	free(end);
}

void ctl_export_end(struct ctl_export *e, void (*ended)(void *ctx), void *ctx)
{
	struct export_end *end = calloc(1, sizeof(*end));
	struct nbd_export *nbd = e->nbd;

	sluice_assert(end != NULL);
	*end = (struct export_end){e, ended, ctx};
	if (nbd == NULL) {
		nbd_removed(end);
		return;
	}
	e->nbd = NULL;
	nbd_export_remove(nbd, nbd_removed, end);
}

int ctl_export_load(struct ctl *ctl, const json_t *record, struct error *err)
{
	json_int_t id;
	const char *volume;
	const char *address;
	const char *name;
	const char *client = json_string_value(json_object_get(record, "client"));
	int read_only;
	struct ctl_volume *v;
	struct ctl_export *e;
	struct error open_err = {0};

	if (json_unpack((json_t *)record, "{s:I, s:s, s:s, s:s, s:b}", "id", &id, "volume", &volume,
		"nbd", &address, "name", &name, "read_only", &read_only) != 0 ||
	    id <= 0 || (v = ctl_find_volume(ctl, volume)) == NULL) {
		return ctl_record_bad("export", record, err);
	}
	e = export_blank(
	    v, (uint64_t)id, address, name, ctl_find_client(ctl, client), read_only != 0);
	if (export_open(e, &open_err) != 0) {
		retry_later(e, &open_err);
		ctl_event(ctl, "error", "export.down", e->name, NULL, "export %s: %s", e->name,
		    open_err.message);
	}
	return 0;
}

/* -- operations -- */

static void failed_after_end(void *ctx)
{
	struct ctl_request *req = ctx;

	ctl_refuse(req, -EIO, "see the daemon's log", "the store did not take the export");
}

static void added(void *ctx, bool succeeded, uint64_t revision, const struct error *store_err)
{
	struct ctl_request *req = ctx;
	struct ctl_export *e = req->object;
	struct error err;

	if (ctl_txn_outcome(succeeded, store_err, &err) != 0) {
		log_error("export %s: %s", e->name, err.message);
		ctl_export_end(e, failed_after_end, req);
		return;
	}
	e->busy = false;
	ctl_event(req->ctl, "info", "export.added", e->name, NULL,
	    "volume %s is exported as %s on %s", e->volume->name, e->name, e->address);
	ctl_reply(req, ctl_export_json(e));
}

void ctl_op_EXPORT_ADD(struct ctl_request *req)
{
	struct ctl_volume *v = ctl_want_volume(req, "volume");
	const char *client_name = ctl_param(req, "client");
	const char *name = ctl_param(req, "name");
	struct ctl_client *client = NULL;
	struct error err = {0};
	char key[CTL_KEY_MAX];
	struct ctl_export *e;
	struct ctl_txn t;

	if (v == NULL) {
		return;
	}
	if (client_name != NULL) {
		client = ctl_find_client(req->ctl, client_name);
		if (client == NULL) {
			ctl_refuse(req, -ENOENT, "add it first: sluice client add",
			    "there is no client named %s", client_name);
			return;
		}
		if (client->busy) {
			ctl_refuse(req, -EBUSY, "wait for it to end, then try again",
			    "client %s is being changed", client_name);
			return;
		}
	}
	e = export_blank(v, req->ctl->last_export_id + 1, ctl_param(req, "nbd"),
	    name != NULL ? name : v->name, client, ctl_param_bool(req, "read_only", false));
	if (export_open(e, &err) != 0) {
		export_scrap(e);
		ctl_fail(req, &err);
		return;
	}
	e->busy = true;
	req->object = e;
	ctl_txn_init(&t);
	ctl_txn_expect_absent(&t, ctl_key_id(key, "exports", e->id));
	ctl_txn_put(&t, key, ctl_export_record(e));
	ctl_txn_send(req->ctl, &t, added, req);
}

static struct ctl_export *want_export(struct ctl_request *req)
{
	uint64_t id = ctl_param_u64(req, "id", 0);
	struct ctl_export *e = ctl_find_export(req->ctl, id);

	if (e == NULL) {
		ctl_refuse(req, -ENOENT, "`sluice export list` shows what there is",
		    "there is no export %" PRIu64, id);
	} else if (e->busy) {
		ctl_refuse(
		    req, -EBUSY, "wait for it to end", "export %" PRIu64 " is being changed", id);
		e = NULL;
	}
	return e;
}

static void export_ended(void *ctx)
{
	ctl_reply(ctx, json_object());
}

static void removed(void *ctx, bool succeeded, uint64_t revision, const struct error *store_err)
{
	struct ctl_request *req = ctx;
	struct ctl_export *e = req->object;
	struct error err;

	if (ctl_txn_outcome(succeeded, store_err, &err) != 0) {
		e->busy = false;
		ctl_fail(req, &err);
		return;
	}
	ctl_event(req->ctl, "info", "export.removed", e->name, NULL, "export %s on %s was removed",
	    e->name, e->address);
	ctl_export_end(e, export_ended, req);
}

void ctl_op_EXPORT_REMOVE(struct ctl_request *req)
{
	struct ctl_export *e = want_export(req);
	char key[CTL_KEY_MAX];
	struct ctl_txn t;

	if (e == NULL) {
		return;
	}
	e->busy = true;
	req->object = e;
	ctl_txn_init(&t);
	ctl_txn_delete(&t, ctl_key_id(key, "exports", e->id));
	ctl_txn_send(req->ctl, &t, removed, req);
}

void ctl_op_EXPORT_LIST(struct ctl_request *req)
{
	json_t *list = json_array();

	list_for_each (link, &req->ctl->exports) {
		json_array_append_new(
		    list, ctl_export_json(list_entry(link, struct ctl_export, link)));
	}
	ctl_reply(req, json_pack("{s:o}", "exports", list));
}

void ctl_op_EXPORT_SHOW(struct ctl_request *req)
{
	struct ctl_export *e = want_export(req);

	if (e != NULL) {
		ctl_reply(req, ctl_export_json(e));
	}
}
