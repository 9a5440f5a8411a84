/*
 * Interfaces: a node's means of reaching LUs.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/ctl_private.h"

static const char *const policy_names[] = {
    [TROUBLE_OFF] = "off", [TROUBLE_ASK] = "ask", [TROUBLE_AUTO] = "auto"};

static enum trouble_policy policy_parse(const char *text, enum trouble_policy fallback)
{
	for (size_t i = 0; text != NULL && i < ARRAY_SIZE(policy_names); i++) {
		if (strcmp(text, policy_names[i]) == 0) {
			return (enum trouble_policy)i;
		}
	}
	return fallback;
}

/* -- as people see it -- */

json_t *ctl_stats_json(const struct lu_stats *s)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f}", "requests",
	    (json_int_t)s->requests, "bytes", (json_int_t)s->bytes, "errors", (json_int_t)s->errors,
	    "transport_errors", (json_int_t)s->transport_errors, "timeouts",
	    (json_int_t)s->timeouts, "in_flight", (json_int_t)s->in_flight, "iops", s->iops,
	    "bytes_per_s", s->bytes_per_s, "latency_us", s->latency_us, "baseline_us",
	    s->baseline_us, "error_rate", s->error_rate);
}

const char *ctl_interface_state(const struct ctl_interface *i, const char **ret_reason)
{
	unsigned n = interface_path_count(i->interface);
	unsigned up = 0;

	*ret_reason = "";
	for (unsigned k = 0; k < n; k++) {
		const struct lu_path *p = interface_path(i->interface, k);

		if (lu_path_state(p) == LU_PATH_UP || lu_path_state(p) == LU_PATH_DAMPED) {
			up++;
		} else {
			*ret_reason = lu_path_reason(p);
		}
	}
	if (n == 0) {
		return "unused";
	}
	if (up == 0) {
		return "down";
	}
	if (interface_degraded(i->interface)) {
		*ret_reason = "errors or latency have risen against its own past";
		return "degraded";
	}
	return up == n ? "up" : "degraded";
}

json_t *ctl_interface_json(const struct ctl_interface *i)
{
	json_t *volumes = json_array();
	struct lu_stats stats;
	const char *reason;
	const char *state = ctl_interface_state(i, &reason);

	interface_stats(i->interface, &stats);
	list_for_each (link, &i->ctl->volumes) {
		const struct ctl_volume *v = list_entry(link, struct ctl_volume, link);

		if (ctl_volume_uses(v, i)) {
			json_array_append_new(volumes, json_string(v->name));
		}
	}
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:i, s:o, s:o}", "name", i->name,
	    "kind", i->kind, "network_id", interface_network_id(i->interface), "bind", i->bind,
	    "policy", policy_names[i->policy], "state", state, "reason", ctl_text(reason), "paths",
	    (int)interface_path_count(i->interface), "volumes", volumes, "stats",
	    ctl_stats_json(&stats));
}

json_t *ctl_interface_record(const struct ctl_interface *i)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:s}", "name", i->name, "kind", i->kind,
	    "network_id", interface_network_id(i->interface), "bind", i->bind, "policy",
	    policy_names[i->policy]);
}

bool ctl_interface_used(const struct ctl_interface *i)
{
	return interface_path_count(i->interface) > 0;
}

/* -- making and ending -- */

static int interface_make(struct ctl *ctl, const struct interface_params *params,
    enum trouble_policy policy, struct ctl_interface **ret_interface, struct error *err)
{
	struct ctl_interface *i = calloc(1, sizeof(*i));
	int rc;

	sluice_assert(i != NULL);
	rc = interface_new(params, &ctl->lu_events, &i->interface, err);
	if (rc != 0) {
		free(i);
		return rc;
	}
	i->ctl = ctl;
	i->policy = policy;
	snprintf(i->name, sizeof(i->name), "%s", params->name);
	snprintf(i->kind, sizeof(i->kind), "%s", params->kind);
	snprintf(i->bind, sizeof(i->bind), "%s", params->bind);
	list_append(&ctl->interfaces, &i->link);
	*ret_interface = i;
	return 0;
}

static void interface_end(struct ctl_interface *i)
{
	list_remove(&i->link);
	interface_free(i->interface);
	free(i);
}

int ctl_interface_load(struct ctl *ctl, const json_t *record, struct error *err)
{
	struct interface_params params = {0};
	struct ctl_interface *i;
	const char *policy;
	int rc;

	if (json_unpack((json_t *)record, "{s:s, s:s, s:s, s:s, s:s}", "name", &params.name, "kind",
		&params.kind, "network_id", &params.network_id, "bind", &params.bind, "policy",
		&policy) != 0 ||
	    lu_driver_find(params.kind) == NULL) {
		return ctl_record_bad("interface", record, err);
	}
	rc = interface_make(ctl, &params, policy_parse(policy, TROUBLE_ASK), &i, err);
	if (rc == 0) {
		i->stored = true;
	}
	return rc;
}

struct ctl_interface *ctl_implicit_interface(
    struct ctl *ctl, const struct lu_driver *driver, struct error *err)
{
	struct interface_params params = {
	    .name = strcmp(driver->kind, "file") == 0 ? "local" : driver->kind,
	    .kind = driver->kind,
	    .network_id = "",
	    .bind = "",
	};
	struct ctl_interface *i = ctl_find_interface(ctl, params.name);

	if (i != NULL) {
		if (strcmp(i->kind, driver->kind) != 0) {
			error_set(err, -EEXIST, "interface %s is of kind %s, not %s", i->name,
			    i->kind, driver->kind);
			error_hint(err, "name another one by --via");
			return NULL;
		}
		if (i->busy) {
			error_set(err, -EBUSY, "interface %s is being changed", i->name);
			error_hint(err, "wait for it to end, then try again");
			return NULL;
		}
		return i;
	}
	return interface_make(ctl, &params, TROUBLE_ASK, &i, err) == 0 ? i : NULL;
}

void ctl_implicit_put(struct ctl_txn *t, const struct ctl_interface *i)
{
	char key[CTL_KEY_MAX];

	if (!i->stored) {
		ctl_txn_put(t, ctl_key(key, "interfaces", i->name), ctl_interface_record(i));
	}
}

void ctl_implicit_sweep(struct ctl *ctl)
{
	list_for_each_safe (link, &ctl->interfaces) {
		struct ctl_interface *i = list_entry(link, struct ctl_interface, link);

		if (!i->stored && !i->busy && !ctl_interface_used(i)) {
			interface_end(i);
		}
	}
}

/* -- operations -- */

static bool network_id_taken(struct ctl *ctl, const struct ctl_interface *but, const char *id)
{
	list_for_each (link, &ctl->interfaces) {
		const struct ctl_interface *i = list_entry(link, struct ctl_interface, link);

		if (i != but && id[0] != '\0' &&
		    strcmp(interface_network_id(i->interface), id) == 0) {
			return true;
		}
	}
	return false;
}

/* 0, or the request was refused. */
static int check_network_id(struct ctl_request *req, const struct lu_driver *driver,
    const struct ctl_interface *self, const char *id)
{
	if (id[0] != '\0' && (driver->flags & LU_DRIVER_NETWORK_ID) == 0) {
		ctl_refuse(req, -EOPNOTSUPP, "leave --network-id out",
		    "interfaces of kind %s have no network ID", driver->kind);
		return -EOPNOTSUPP;
	}
	if (network_id_taken(req->ctl, self, id)) {
		ctl_refuse(req, -EEXIST, "no two interfaces may have the same one",
		    "network ID %s belongs to another interface", id);
		return -EEXIST;
	}
	return 0;
}

static void added(void *ctx, bool succeeded, uint64_t revision, const struct error *store_err)
{
	struct ctl_request *req = ctx;
	struct ctl_interface *i = req->object;
	struct error err;

	if (ctl_txn_outcome(succeeded, store_err, &err) != 0) {
		interface_end(i);
		ctl_fail(req, &err);
		return;
	}
	i->busy = false;
	i->stored = true;
	ctl_event(req->ctl, "info", "interface.added", i->name, NULL,
	    "interface %s of kind %s was added", i->name, i->kind);
	ctl_reply(req, ctl_interface_json(i));
}

void ctl_op_INTERFACE_ADD(struct ctl_request *req)
{
	const char *id = ctl_param(req, "network_id");
	const char *bind = ctl_param(req, "bind");
	struct interface_params params = {
	    .name = ctl_param(req, "name"),
	    .kind = ctl_param(req, "kind"),
	    .network_id = id != NULL ? id : "",
	    .bind = bind != NULL ? bind : "",
	};
	const struct lu_driver *driver = lu_driver_find(params.kind);
	struct ctl_interface *i;
	struct error err = {0};
	char key[CTL_KEY_MAX];
	struct ctl_txn t;

	if (driver == NULL) {
		ctl_refuse(req, -EINVAL, "kinds are file, nbd, iscsi, mem, null and fault",
		    "there is no interface kind %s", params.kind);
		return;
	}
	if (ctl_find_interface(req->ctl, params.name) != NULL) {
		ctl_refuse(req, -EEXIST, "choose another name", "interface %s exists already",
		    params.name);
		return;
	}
	if (check_network_id(req, driver, NULL, params.network_id) != 0) {
		return;
	}
	if (interface_make(req->ctl, &params, policy_parse(ctl_param(req, "policy"), TROUBLE_ASK),
		&i, &err) != 0) {
		ctl_fail(req, &err);
		return;
	}
	i->busy = true;
	req->object = i;
	ctl_txn_init(&t);
	ctl_txn_expect_absent(&t, ctl_key(key, "interfaces", i->name));
	ctl_txn_put(&t, key, ctl_interface_record(i));
	ctl_txn_send(req->ctl, &t, added, req);
}

static void reopen_paths(struct ctl_interface *i)
{
	for (unsigned k = 0; k < interface_path_count(i->interface); k++) {
		lu_path_reopen(interface_path(i->interface, k));
	}
}

static void set(void *ctx, bool succeeded, uint64_t revision, const struct error *store_err)
{
	struct ctl_request *req = ctx;
	struct ctl_interface *i = req->object;
	const char *id = ctl_param(req, "network_id");
	struct error err;

	i->busy = false;
	if (ctl_txn_outcome(succeeded, store_err, &err) != 0) {
		ctl_fail(req, &err);
		return;
	}
	i->policy = policy_parse(ctl_param(req, "policy"), i->policy);
	if (id != NULL && strcmp(id, interface_network_id(i->interface)) != 0) {
		interface_set_network_id(i->interface, id);
		reopen_paths(i);
	}
	ctl_event(req->ctl, "info", "interface.changed", i->name, NULL,
	    "interface %s: policy %s, network ID %s", i->name, policy_names[i->policy],
	    interface_network_id(i->interface));
	ctl_reply(req, ctl_interface_json(i));
}

void ctl_op_INTERFACE_SET(struct ctl_request *req)
{
	struct ctl_interface *i = ctl_want_interface(req, "name");
	const char *id = ctl_param(req, "network_id");
	char key[CTL_KEY_MAX];
	struct ctl_txn t;
	json_t *record;

	if (i == NULL ||
	    (id != NULL && check_network_id(req, lu_driver_find(i->kind), i, id) != 0)) {
		return;
	}
	if (id != NULL && ctl_change_of_network_id(req->ctl, i) != NULL) {
		ctl_refuse(req, -EBUSY, "wait for it to end, then try again",
		    "a change moves the network ID of interface %s", i->name);
		return;
	}
	record = ctl_interface_record(i);
	if (id != NULL) {
		json_object_set_new(record, "network_id", json_string(id));
	}
	json_object_set_new(record, "policy",
	    json_string(policy_names[policy_parse(ctl_param(req, "policy"), i->policy)]));
	i->busy = true;
	req->object = i;
	ctl_txn_init(&t);
	ctl_txn_put(&t, ctl_key(key, "interfaces", i->name), record);
	ctl_txn_send(req->ctl, &t, set, req);
}

static void removed(void *ctx, bool succeeded, uint64_t revision, const struct error *store_err)
{
	struct ctl_request *req = ctx;
	struct ctl_interface *i = req->object;
	struct error err;

	i->busy = false;
	if (ctl_txn_outcome(succeeded, store_err, &err) != 0) {
		ctl_fail(req, &err);
		return;
	}
	ctl_event(req->ctl, "info", "interface.removed", i->name, NULL, "interface %s was removed",
	    i->name);
	interface_end(i);
	ctl_reply(req, json_object());
}

void ctl_op_INTERFACE_REMOVE(struct ctl_request *req)
{
	struct ctl_interface *i = ctl_want_interface(req, "name");
	char key[CTL_KEY_MAX];
	struct ctl_txn t;

	if (i == NULL) {
		return;
	}
	if (ctl_interface_used(i)) {
		ctl_refuse(req, -EBUSY, "remove them first: `sluice path list`",
		    "interface %s has %u paths", i->name, interface_path_count(i->interface));
		return;
	}
	i->busy = true;
	req->object = i;
	ctl_txn_init(&t);
	ctl_txn_delete(&t, ctl_key(key, "interfaces", i->name));
	ctl_txn_send(req->ctl, &t, removed, req);
}

void ctl_op_INTERFACE_LIST(struct ctl_request *req)
{
	json_t *list = json_array();

	list_for_each (link, &req->ctl->interfaces) {
		json_array_append_new(
		    list, ctl_interface_json(list_entry(link, struct ctl_interface, link)));
	}
	ctl_reply(req, json_pack("{s:o}", "interfaces", list));
}

void ctl_op_INTERFACE_SHOW(struct ctl_request *req)
{
	struct ctl_interface *i = ctl_find_interface(req->ctl, ctl_param(req, "name"));

	if (i == NULL) {
		ctl_want_interface(req, "name");
		return;
	}
	ctl_reply(req, ctl_interface_json(i));
}
