/*
 * Changes: what people see of them, how they begin and end, and what a restart makes of an
 * unfinished one.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/change.h"

uint64_t ctl_change_id(const struct ctl_change *c)
{
	return c->id;
}

/* -- as people see it -- */

/* The protocol tells nodes apart by their index: where there is one, that is no news. */
static const char *without_node(const char *reason)
{
	static const char prefix[] = "node 0: ";
	size_t len = sizeof(prefix) - 1;

	return strncmp(reason, prefix, len) == 0 ? reason + len : reason;
}

json_t *ctl_change_json(const struct ctl_change *c)
{
	const struct coordinator *co;
	const struct change_node *node;
	const char *state;

	if (c->final != NULL) {
		return json_deep_copy(c->final);
	}
	co = change_runner_coordinator(c->runner);
	node = change_runner_node(c->runner);
	state = change_state_name(coordinator_public_state(co));
	return json_pack(
	    "{s:I, s:s, s:s, s:s, s:o, s:s, s:s, s:b, s:s, s:s, s:s, s:n, s:I, s:I, s:I, s:I, "
	    "s:I, s:I, s:i, s:[{s:s, s:s, s:I, s:I, s:b}]}",
	    "id", (json_int_t)c->id, "kind", c->kind, "volume", c->volume_name, "state", state,
	    "reason", ctl_text(without_node(co->reason)), "from", c->from_name, "to", c->to_name,
	    "take_network_id", c->take_network_id, "network_id",
	    c->take_network_id ? c->network_id : "", "replaced_network_id",
	    c->take_network_id ? c->replaced_network_id : "", "started", c->started, "finished",
	    "held_us", (json_int_t)node->held_us, "drain_us", (json_int_t)node->drain_us,
	    "commit_us", (json_int_t)co->commit_us, "verify_us", (json_int_t)node->verify_us,
	    "held_requests", (json_int_t)node->held_requests, "generation",
	    (json_int_t)c->volume->generation, "attempts", (int)co->attempt, "nodes", "node",
	    c->ctl->options.node, "state", change_node_state_name(node->state), "drain_us",
	    (json_int_t)node->drain_us, "held_us", (json_int_t)node->held_us, "excluded",
	    node->state == CHANGE_NODE_EXCLUDED);
}

static void copy_member(char *buf, size_t len, const json_t *j, const char *name)
{
	const char *text = json_string_value(json_object_get(j, name));

	snprintf(buf, len, "%s", text != NULL ? text : "");
}

static json_t *final_json(const struct ctl_change *c)
{
	json_t *j = ctl_change_json(c);
	char now[CTL_TIME_LEN];

	ctl_time_text(now);
	json_object_set_new(j, "finished", json_string(now));
	json_object_set_new(j, "advice", ctl_text(change_runner_coordinator(c->runner)->advice));
	return j;
}

const struct ctl_change *ctl_change_of_path(const struct ctl *ctl, const struct ctl_path *p)
{
	list_for_each (link, &ctl->changes) {
		const struct ctl_change *c = list_entry(link, struct ctl_change, link);

		for (size_t i = 0; c->runner != NULL && i < c->nr_legs; i++) {
			if (c->legs[i].from == p || c->legs[i].to == p) {
				return c;
			}
		}
	}
	return NULL;
}

const struct ctl_change *ctl_change_of_network_id(
    const struct ctl *ctl, const struct ctl_interface *i)
{
	list_for_each (link, &ctl->changes) {
		const struct ctl_change *c = list_entry(link, struct ctl_change, link);

		if (c->runner != NULL && c->take_network_id && (c->from == i || c->to == i)) {
			return c;
		}
	}
	return NULL;
}

/* -- the end -- */

static void change_free(struct ctl_change *c)
{
	list_remove(&c->link);
	json_decref(c->final);
	json_decref(c->old_record);
	json_decref(c->new_record);
	free(c->legs);
	free(c);
}

static void keep_within_bound(struct ctl *ctl, struct ctl_txn *t)
{
	char key[CTL_KEY_MAX];
	struct ctl_change *oldest;

	if (ctl->nr_changes <= CHANGES_KEPT) {
		return;
	}
	oldest = list_entry(ctl->changes.prev, struct ctl_change, link);
	if (oldest->final != NULL) {
		ctl_txn_delete(t, ctl_key_id(key, "changes", oldest->id));
		ctl->nr_changes--;
		change_free(oldest);
	}
}

static void final_stored(void *ctx, bool succeeded, uint64_t revision, const struct error *err)
{
	/* The record itself is in its final state: what failed here is tidied up at the next start.
	 */
}

static void say_outcome(struct ctl_change *c)
{
	const char *state = json_string_value(json_object_get(c->final, "state"));
	const char *reason = json_string_value(json_object_get(c->final, "reason"));
	bool done = strcmp(state, "done") == 0;
	char type[64];

	snprintf(type, sizeof(type), "change.%s", state);
	ctl_event(c->ctl, done ? "info" : "warn", type, c->volume_name, ctl_change_json(c),
	    done ? "%s: volume %s is on %s now (it was on %s)%s%s"
		 : "%s: volume %s did not move to %s, it is on %s%s%s",
	    c->kind, c->volume_name, c->to_name, c->from_name, reason[0] != '\0' ? ": " : "",
	    reason);
}

/* Both sides have ended and every local action has called back. */
static void finish(struct ctl_change *c)
{
	char key[CTL_KEY_MAX];
	struct ctl_txn t;

	c->final = final_json(c);
	change_runner_free(c->runner);
	c->runner = NULL;
	c->volume->change = NULL;
	c->volume = NULL;
	ctl_txn_init(&t);
	ctl_txn_put(&t, ctl_key_id(key, "changes", c->id), ctl_change_json(c));
	ctl_txn_delete_prefix(&t, change_record_prefix(key, c->id));
	keep_within_bound(c->ctl, &t);
	ctl_txn_send(c->ctl, &t, final_stored, NULL);
	say_outcome(c);
	if (c->ended != NULL) {
		c->ended(c->ended_ctx, c);
	}
}

void change_call_ended(struct ctl_change *c)
{
	sluice_assert(c->calls > 0);
	if (--c->calls == 0 && c->runner_ended) {
		finish(c);
	}
}

static void runner_ended(void *owner)
{
	struct ctl_change *c = owner;

	c->runner_ended = true;
	c->calls++; /* so that finish() runs in one place */
	change_call_ended(c);
}

static void runner_state(void *owner)
{
	/* Progress is read when somebody asks. */
}

static void runner_say(void *owner, const char *text)
{
	struct ctl_change *c = owner;

	ctl_event(c->ctl, "warn", "change.note", c->volume_name, NULL,
	    "change %" PRIu64 " of %s: %s", c->id, c->volume_name, text);
}

static const struct change_runner_ops runner_ops = {
    .action = change_act,
    .store = change_store,
    .state = runner_state,
    .say = runner_say,
    .ended = runner_ended,
};

/* -- the beginning -- */

/*
 * Which path a route used before a restart is not known: the one that is up first now says nothing.
 * A change that is recovered concerns every LU that it can; once committed, the record says which.
 */
static bool leg_uses(const struct ctl_change *c, const struct ctl_route *r)
{
	const struct ctl_interface *now = c->own_is_new ? c->to : c->from;

	if (c->recovered && !c->own_is_new) {
		return ctl_find_path(r->lu, c->from) != NULL && ctl_find_path(r->lu, c->to) != NULL;
	}
	return r->via == now || ctl_route_active(c->ctl, r) == now;
}

size_t change_find_legs(struct ctl_change *c)
{
	struct ctl_volume *v = c->volume;
	size_t room = 0;

	list_for_each (link, &v->routes) {
		room++;
	}
	c->legs = calloc(room, sizeof(*c->legs));
	sluice_assert(c->legs != NULL);
	list_for_each (link, &v->routes) {
		struct ctl_route *r = list_entry(link, struct ctl_route, link);

		if (leg_uses(c, r)) {
			c->legs[c->nr_legs++] = (struct change_leg){
			    .change = c,
			    .lu = r->lu,
			    .from = ctl_find_path(r->lu, c->from),
			    .to = ctl_find_path(r->lu, c->to),
			};
		}
	}
	return c->nr_legs;
}

static struct ctl_change *change_blank(struct ctl_volume *v, uint64_t id, const char *kind,
    struct ctl_interface *from, struct ctl_interface *to)
{
	struct ctl_change *c = calloc(1, sizeof(*c));

	sluice_assert(c != NULL);
	c->ctl = v->ctl;
	c->id = id;
	c->volume = v;
	c->from = from;
	c->to = to;
	snprintf(c->kind, sizeof(c->kind), "%s", kind);
	snprintf(c->volume_name, sizeof(c->volume_name), "%s", v->name);
	snprintf(c->from_name, sizeof(c->from_name), "%s", from->name);
	snprintf(c->to_name, sizeof(c->to_name), "%s", to->name);
	ctl_time_text(c->started);
	list_init(&c->other_routes);
	list_prepend(&v->ctl->changes, &c->link);
	v->ctl->nr_changes++;
	v->ctl->last_change_id = MAX(v->ctl->last_change_id, id);
	return c;
}

static void change_discard(struct ctl_change *c)
{
	c->ctl->nr_changes--;
	change_free(c);
}

static void record_via(json_t *volume_record, const struct ctl_change *c, const char *via)
{
	for (size_t i = 0; i < c->nr_legs; i++) {
		json_object_set_new(
		    json_object_get(volume_record, "via"), c->legs[i].lu->name, json_string(via));
	}
}

static void change_run(struct ctl_change *c, const struct change_record *record)
{
	c->old_record = ctl_volume_record(c->volume);
	c->new_record = ctl_volume_record(c->volume);
	record_via(c->old_record, c, c->from->name);
	record_via(c->new_record, c, c->to->name);
	c->volume->change = c;
	c->runner = change_runner_new(c->ctl->group->control, &c->spec, record, &runner_ops, c);
}

static int check_switch(struct ctl_volume *v, const struct switch_path_params *p, struct error *err)
{
	const struct lu_driver *driver = lu_driver_find(p->to->kind);

	if (v->change != NULL) {
		error_set(err, -EBUSY, "change %" PRIu64 " of volume %s is in progress",
		    v->change->id, v->name);
		return error_hint(err, "wait for it to end, or cancel it: sluice change cancel");
	}
	if (p->from == p->to) {
		return error_set(err, -EINVAL, "the destination is where the volume is already");
	}
	if (p->from->busy || p->to->busy) {
		return error_set(err, -EBUSY, "one of the interfaces is being changed");
	}
	if (!p->take_network_id) {
		return 0;
	}
	if ((driver->flags & LU_DRIVER_NETWORK_ID) == 0 ||
	    strcmp(p->from->kind, p->to->kind) != 0) {
		error_set(err, -EOPNOTSUPP, "interfaces of kind %s have no network ID to take",
		    p->to->kind);
		return error_hint(err, "repeat the command without --take-network-id");
	}
	if (interface_network_id(p->from->interface)[0] == '\0') {
		return error_set(err, -EINVAL, "interface %s has no network ID", p->from->name);
	}
	list_for_each (link, &v->ctl->volumes) {
		const struct ctl_volume *other = list_entry(link, struct ctl_volume, link);

		if (other != v &&
		    (ctl_volume_uses(other, p->from) || ctl_volume_uses(other, p->to))) {
			error_set(err, -EBUSY, "volume %s uses interface %s or %s too", other->name,
			    p->from->name, p->to->name);
			return error_hint(err,
			    "its sessions would lose the network ID: move it to another interface "
			    "first");
		}
	}
	return 0;
}

static int check_legs(struct ctl_change *c, struct error *err)
{
	if (change_find_legs(c) == 0) {
		error_set(err, -EINVAL, "volume %s does not use interface %s", c->volume->name,
		    c->from->name);
		return error_hint(
		    err, "`sluice volume show %s` says what it uses", c->volume->name);
	}
	for (size_t i = 0; i < c->nr_legs; i++) {
		if (c->legs[i].to == NULL) {
			error_set(err, -EINVAL, "LU %s has no path through interface %s",
			    c->legs[i].lu->name, c->to->name);
			return error_hint(err,
			    "add one: sluice path add %s --via %s ..., or see `sluice volume "
			    "candidates %s`",
			    c->legs[i].lu->name, c->to->name, c->volume->name);
		}
		if (c->legs[i].to->busy || (c->legs[i].from != NULL && c->legs[i].from->busy)) {
			error_set(
			    err, -EBUSY, "a path of LU %s is being changed", c->legs[i].lu->name);
			return error_hint(err, "wait for it to end, then try again");
		}
	}
	return 0;
}

/* The parts of the deadline grow and shrink with it. */
static int make_policy(uint64_t deadline_ns, struct change_policy *ret_policy, struct error *err)
{
	const struct change_policy *d = &change_policy_default;
	struct change_policy p = *d;

	if (deadline_ns != 0) {
		double scale = (double)deadline_ns / (double)d->hold_ns;

		p.hold_ns = deadline_ns;
		p.drain_ns = (uint64_t)((double)d->drain_ns * scale);
		p.verify_ns = (uint64_t)((double)d->verify_ns * scale);
		p.stall_ns = (uint64_t)((double)d->stall_ns * scale);
	}
	p.min_nodes = 1;
	if (deadline_ns != 0 && (deadline_ns < 100 * NS_PER_MS || change_policy_check(&p) != 0)) {
		return error_set(err, -EINVAL, "a deadline must be between 100 ms and one hour");
	}
	*ret_policy = p;
	return 0;
}

int ctl_switch_path(struct ctl_volume *v, const struct switch_path_params *params,
    void (*ended)(void *ctx, struct ctl_change *c), void *ctx, struct ctl_change **ret_change,
    struct error *err)
{
	struct ctl_change *c;
	int rc = check_switch(v, params, err);

	if (rc != 0) {
		return rc;
	}
	c = change_blank(v, v->ctl->last_change_id + 1, params->kind, params->from, params->to);
	c->take_network_id = params->take_network_id;
	c->ended = ended;
	c->ended_ctx = ctx;
	snprintf(c->network_id, sizeof(c->network_id), "%s",
	    interface_network_id(params->from->interface));
	snprintf(c->replaced_network_id, sizeof(c->replaced_network_id), "%s",
	    interface_network_id(params->to->interface));
	rc = check_legs(c, err);
	if (rc == 0) {
		rc = make_policy(params->deadline_ns, &c->spec.policy, err);
	}
	if (rc != 0) {
		change_discard(c);
		return rc;
	}
	c->spec.id = c->id;
	c->spec.generation = v->generation;
	c->spec.same_data = true;
	change_run(c, NULL);
	if (ret_change != NULL) {
		*ret_change = c;
	}
	return 0;
}

/* -- after a restart -- */

/* A change without objects: history, or one whose volume is gone. */
static void load_final(struct ctl *ctl, const json_t *record, uint64_t id)
{
	struct ctl_change *c = calloc(1, sizeof(*c));

	sluice_assert(c != NULL);
	c->ctl = ctl;
	c->id = id;
	c->final = json_deep_copy(record);
	snprintf(c->volume_name, sizeof(c->volume_name), "%s",
	    json_string_value(json_object_get(record, "volume")));
	list_init(&c->other_routes);
	list_prepend(&ctl->changes, &c->link);
	ctl->nr_changes++;
	ctl->last_change_id = MAX(ctl->last_change_id, id);
}

int ctl_change_load(struct ctl *ctl, const json_t *record, struct error *err)
{
	json_int_t id;
	const char *volume;
	const char *state;

	if (json_unpack((json_t *)record, "{s:I, s:s, s:s}", "id", &id, "volume", &volume, "state",
		&state) != 0 ||
	    id <= 0) {
		return ctl_record_bad("change", record, err);
	}
	load_final(ctl, record, (uint64_t)id);
	return 0;
}

static struct ctl_change *find_change(struct ctl *ctl, uint64_t id)
{
	list_for_each (link, &ctl->changes) {
		struct ctl_change *c = list_entry(link, struct ctl_change, link);

		if (c->id == id) {
			return c;
		}
	}
	return NULL;
}

int ctl_change_recover(
    struct ctl *ctl, uint64_t id, const struct change_record *record, struct error *err)
{
	struct ctl_change *history = find_change(ctl, id);
	struct ctl_volume *v;
	struct ctl_interface *from;
	struct ctl_interface *to;
	struct ctl_change *c;
	const json_t *j;

	if (history == NULL || history->final == NULL) {
		return error_set(err, -EBADMSG, "change %" PRIu64 " has no description", id);
	}
	j = history->final;
	v = ctl_find_volume(ctl, history->volume_name);
	from = ctl_find_interface(ctl, json_string_value(json_object_get(j, "from")));
	to = ctl_find_interface(ctl, json_string_value(json_object_get(j, "to")));
	if (v == NULL || from == NULL || to == NULL || v->change != NULL) {
		return error_set(err, -EBADMSG, "change %" PRIu64 " names what is not there", id);
	}
	c = change_blank(v, id, json_string_value(json_object_get(j, "kind")), from, to);
	c->take_network_id = json_is_true(json_object_get(j, "take_network_id"));
	copy_member(c->network_id, sizeof(c->network_id), j, "network_id");
	copy_member(
	    c->replaced_network_id, sizeof(c->replaced_network_id), j, "replaced_network_id");
	c->recovered = true;
	c->own_is_new = record->state == CHANGE_RECORD_COMMITTED;
	c->id_moved = c->own_is_new && c->take_network_id;
	if (check_legs(c, err) != 0 || make_policy(0, &c->spec.policy, err) != 0) {
		change_discard(c);
		return err->code;
	}
	ctl->nr_changes--;
	change_free(history);
	c->spec.id = id;
	c->spec.generation = v->generation - (c->own_is_new ? 1 : 0);
	c->spec.same_data = true;
	change_run(c, record);
	return 0;
}

/* -- operations -- */

static void switch_ended(void *ctx, struct ctl_change *c)
{
	ctl_reply(ctx, ctl_change_json(c));
}

void ctl_op_VOLUME_SWITCH_PATH(struct ctl_request *req)
{
	struct ctl_volume *v = ctl_want_volume(req, "name");
	bool wait = ctl_param_bool(req, "wait", true);
	uint64_t deadline_ms = MIN(ctl_param_u64(req, "deadline_ms", 0), UINT64_MAX / NS_PER_MS);
	struct switch_path_params params = {
	    .take_network_id = ctl_param_bool(req, "take_network_id", false),
	    .deadline_ns = deadline_ms * NS_PER_MS,
	    .kind = "switch-path",
	};
	struct ctl_change *c;
	struct error err = {0};

	if (v == NULL || (params.from = ctl_want_interface(req, "from")) == NULL ||
	    (params.to = ctl_want_interface(req, "to")) == NULL) {
		return;
	}
	if (ctl_switch_path(v, &params, wait ? switch_ended : NULL, req, &c, &err) != 0) {
		ctl_fail(req, &err);
	} else if (!wait) {
		ctl_reply(req, ctl_change_json(c));
	}
}

void ctl_op_CHANGE_LIST(struct ctl_request *req)
{
	const char *volume = ctl_param(req, "volume");
	uint64_t limit = ctl_param_u64(req, "limit", CHANGES_KEPT);
	json_t *list = json_array();

	list_for_each (link, &req->ctl->changes) {
		const struct ctl_change *c = list_entry(link, struct ctl_change, link);

		if ((volume == NULL || strcmp(volume, c->volume_name) == 0) &&
		    json_array_size(list) < limit) {
			json_array_append_new(list, ctl_change_json(c));
		}
	}
	ctl_reply(req, json_pack("{s:o}", "changes", list));
}

static struct ctl_change *want_change(struct ctl_request *req)
{
	uint64_t id = ctl_param_u64(req, "id", 0);
	struct ctl_change *c = find_change(req->ctl, id);

	if (c == NULL) {
		ctl_refuse(req, -ENOENT, "`sluice change list` shows the recent ones",
		    "there is no change %" PRIu64, id);
	}
	return c;
}

void ctl_op_CHANGE_SHOW(struct ctl_request *req)
{
	struct ctl_change *c = want_change(req);

	if (c != NULL) {
		ctl_reply(req, ctl_change_json(c));
	}
}

void ctl_op_CHANGE_CANCEL(struct ctl_request *req)
{
	struct ctl_change *c = want_change(req);

	if (c == NULL) {
		return;
	}
	if (c->runner == NULL) {
		ctl_refuse(req, -EALREADY, "`sluice change show` says how it ended",
		    "change %" PRIu64 " is over", c->id);
		return;
	}
	if (coordinator_public_state(change_runner_coordinator(c->runner)) == CHANGE_COMMITTED) {
		ctl_refuse(req, -EBUSY, "switch back when it is done",
		    "change %" PRIu64 " is committed already", c->id);
		return;
	}
	change_runner_cancel(c->runner);
	ctl_reply(req, ctl_change_json(c));
}
