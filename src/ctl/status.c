/*
 * The picture at a glance, for people and for monitoring.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/change.h"

#define ALERTS_SHOWN 10

static json_t *node_json(const struct ctl *ctl)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:i, s:s, s:b}", "name", ctl->options.node,
	    "id", ctl->node_id, "state", ctl->ready ? "serving" : "starting", "version",
	    SLUICE_VERSION, "started", ctl->started, "reactors", (int)ctl->group->nr_data, "store",
	    store_describe(ctl->store), "primary", 1);
}

void ctl_op_NODE_LIST(struct ctl_request *req)
{
	ctl_reply(req, json_pack("{s:[o]}", "nodes", node_json(req->ctl)));
}

void ctl_op_NODE_SHOW(struct ctl_request *req)
{
	const char *name = ctl_param(req, "name");

	if (strcmp(name, req->ctl->options.node) != 0) {
		ctl_refuse(req, -ENOENT, "`sluice node list` shows what there is",
		    "there is no node named %s", name);
		return;
	}
	ctl_reply(req, node_json(req->ctl));
}

void ctl_op_HEALTH(struct ctl_request *req)
{
	if (!req->ctl->ready) {
		ctl_refuse(req, -EAGAIN, "try again in a moment", "the daemon is still starting");
		return;
	}
	ctl_reply(req, json_pack("{s:s}", "status", "ok"));
}

/* Warnings and errors of this run of the daemon, newest first. */
static json_t *alerts_json(const struct ctl *ctl)
{
	json_t *alerts = json_array();

	for (size_t i = json_array_size(ctl->events);
	     i > 0 && json_array_size(alerts) < ALERTS_SHOWN; i--) {
		json_t *event = json_array_get(ctl->events, i - 1);
		const char *level = json_string_value(json_object_get(event, "level"));
		const char *time = json_string_value(json_object_get(event, "time"));

		if (time == NULL || strcmp(time, ctl->started) < 0) {
			break;
		}
		if (level != NULL && strcmp(level, "info") != 0) {
			json_array_append(alerts, event);
		}
	}
	return alerts;
}

void ctl_op_STATUS(struct ctl_request *req)
{
	struct ctl *ctl = req->ctl;
	json_t *volumes = json_array();
	json_t *interfaces = json_array();
	json_t *lus = json_array();
	json_t *exports = json_array();
	json_t *changes = json_array();

	list_for_each (link, &ctl->volumes) {
		json_array_append_new(
		    volumes, ctl_volume_json(list_entry(link, struct ctl_volume, link)));
	}
	list_for_each (link, &ctl->interfaces) {
		json_array_append_new(
		    interfaces, ctl_interface_json(list_entry(link, struct ctl_interface, link)));
	}
	list_for_each (link, &ctl->lus) {
		json_array_append_new(lus, ctl_lu_json(list_entry(link, struct ctl_lu, link)));
	}
	list_for_each (link, &ctl->exports) {
		json_array_append_new(
		    exports, ctl_export_json(list_entry(link, struct ctl_export, link)));
	}
	list_for_each (link, &ctl->changes) {
		const struct ctl_change *c = list_entry(link, struct ctl_change, link);

		if (c->final == NULL) {
			json_array_append_new(changes, ctl_change_json(c));
		}
	}
	ctl_reply(req, json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "node", node_json(ctl),
			   "volumes", volumes, "interfaces", interfaces, "lus", lus, "exports",
			   exports, "changes", changes, "alerts", alerts_json(ctl)));
}
