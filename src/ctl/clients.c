/*
 * Clients: who uses exports. A name, unique, that exports refer to.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/ctl_private.h"

static json_t *client_json(struct ctl *ctl, const struct ctl_client *c)
{
	json_t *exports = json_array();

	list_for_each (link, &ctl->exports) {
		const struct ctl_export *e = list_entry(link, struct ctl_export, link);

		if (e->client == c) {
			json_array_append_new(exports, json_integer((json_int_t)e->id));
		}
	}
	return json_pack("{s:s, s:o}", "name", c->name, "exports", exports);
}

static struct ctl_client *client_new(struct ctl *ctl, const char *name)
{
	struct ctl_client *c = calloc(1, sizeof(*c));

	sluice_assert(c != NULL);
	snprintf(c->name, sizeof(c->name), "%s", name);
	list_append(&ctl->clients, &c->link);
	return c;
}

static void client_free(struct ctl_client *c)
{
	list_remove(&c->link);
	free(c);
}

int ctl_client_load(struct ctl *ctl, const json_t *record, struct error *err)
{
	const char *name = json_string_value(json_object_get(record, "name"));

	if (name == NULL) {
		return ctl_record_bad("client", record, err);
	}
	client_new(ctl, name);
	return 0;
}

static void added(void *ctx, bool succeeded, uint64_t revision, const struct error *store_err)
{
	struct ctl_request *req = ctx;
	struct ctl *ctl = req->ctl;
	struct ctl_client *c = req->object;
	struct error err;

	if (ctl_txn_outcome(succeeded, store_err, &err) != 0) {
		client_free(c);
		ctl_fail(req, &err);
		return;
	}
	c->busy = false;
	ctl_event(ctl, "info", "client.added", c->name, NULL, "client %s was added", c->name);
	ctl_reply(req, client_json(ctl, c));
}

void ctl_op_CLIENT_ADD(struct ctl_request *req)
{
	const char *name = ctl_param(req, "name");
	char key[CTL_KEY_MAX];
	struct ctl_txn t;
	struct ctl_client *c;

	if (ctl_find_client(req->ctl, name) != NULL) {
		ctl_refuse(req, -EEXIST, "choose another name", "client %s exists already", name);
		return;
	}
	c = client_new(req->ctl, name);
	c->busy = true;
	req->object = c;
	ctl_txn_init(&t);
	ctl_txn_expect_absent(&t, ctl_key(key, "clients", name));
	ctl_txn_put(&t, key, json_pack("{s:s}", "name", name));
	ctl_txn_send(req->ctl, &t, added, req);
}

static void removed(void *ctx, bool succeeded, uint64_t revision, const struct error *store_err)
{
	struct ctl_request *req = ctx;
	struct ctl_client *c = req->object;
	struct error err;

	c->busy = false;
	if (ctl_txn_outcome(succeeded, store_err, &err) != 0) {
		ctl_fail(req, &err);
		return;
	}
	ctl_event(
	    req->ctl, "info", "client.removed", c->name, NULL, "client %s was removed", c->name);
	client_free(c);
	ctl_reply(req, json_object());
}

static struct ctl_client *want_client(struct ctl_request *req)
{
	const char *name = ctl_param(req, "name");
	struct ctl_client *c = ctl_find_client(req->ctl, name);

	if (c == NULL || c->busy) {
		ctl_refuse(req, c == NULL ? -ENOENT : -EBUSY,
		    "`sluice client list` shows what there is",
		    c == NULL ? "there is no client named %s" : "client %s is being changed", name);
		return NULL;
	}
	return c;
}

void ctl_op_CLIENT_REMOVE(struct ctl_request *req)
{
	struct ctl_client *c = want_client(req);
	char key[CTL_KEY_MAX];
	struct ctl_txn t;

	if (c == NULL) {
		return;
	}
	list_for_each (link, &req->ctl->exports) {
		const struct ctl_export *e = list_entry(link, struct ctl_export, link);

		if (e->client == c) {
			ctl_refuse(req, -EBUSY, "remove its exports first",
			    "client %s uses export %llu", c->name, (unsigned long long)e->id);
			return;
		}
	}
	c->busy = true;
	req->object = c;
	ctl_txn_init(&t);
	ctl_txn_delete(&t, ctl_key(key, "clients", c->name));
	ctl_txn_send(req->ctl, &t, removed, req);
}

void ctl_op_CLIENT_LIST(struct ctl_request *req)
{
	json_t *list = json_array();

	list_for_each (link, &req->ctl->clients) {
		json_array_append_new(
		    list, client_json(req->ctl, list_entry(link, struct ctl_client, link)));
	}
	ctl_reply(req, json_pack("{s:o}", "clients", list));
}

void ctl_op_CLIENT_SHOW(struct ctl_request *req)
{
	struct ctl_client *c = want_client(req);

	if (c != NULL) {
		ctl_reply(req, client_json(req->ctl, c));
	}
}
