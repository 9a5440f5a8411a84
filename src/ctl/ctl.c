/*
 * The control plane's life: from the store to objects, and down again.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "ctl/change.h"

/* -- what comes up from the layers below -- */

static struct ctl_path *find_ctl_path(struct ctl *ctl, const struct lu_path *path)
{
	struct ctl_lu *lu = ctl_find_lu(ctl, lu_name(lu_path_lu(path)));
	const struct ctl_interface *via =
	    ctl_find_interface(ctl, interface_name(lu_path_interface(path)));

	return lu != NULL && via != NULL ? ctl_find_path(lu, via) : NULL;
}

static void path_state(
    void *ctx, struct lu_path *path, enum lu_path_state old_state, const char *text)
{
	struct ctl *ctl = ctx;
	struct ctl_path *p = find_ctl_path(ctl, path);
	enum lu_path_state state = lu_path_state(path);
	bool up = state == LU_PATH_UP;
	char name[CTL_PATH_NAME_MAX];
	char type[32];

	if (p == NULL) {
		return; /* being made: the one who makes it waits for the outcome */
	}
	if (state == LU_PATH_CONNECTING && old_state != LU_PATH_UP && old_state != LU_PATH_DAMPED) {
		return; /* still not up: said when it went down */
	}
	snprintf(type, sizeof(type), "path.%s",
	    state == LU_PATH_CONNECTING ? "down" : lu_path_state_name(state));
	ctl_event(ctl, up ? "info" : "warn", type, ctl_path_name(name, p), NULL,
	    "LU %s through %s: %s", p->lu->name, p->via->name, text);
}

static void degraded(void *ctx, struct interface *interface, const char *text)
{
	struct ctl *ctl = ctx;
	struct ctl_interface *i = ctl_find_interface(ctl, interface_name(interface));

	if (i != NULL) {
		ctl_trouble_degraded(ctl, i, text);
	}
}

static void recovered(void *ctx, struct interface *interface, const char *text)
{
	ctl_event(ctx, "info", "interface.recovered", interface_name(interface), NULL,
	    "interface %s: %s", interface_name(interface), text);
}

static void route_moved(
    void *ctx, struct lu_route *route, struct lu_path *from, struct lu_path *to, const char *text)
{
	ctl_event(ctx, to != NULL ? "info" : "warn", "route.moved", lu_name(lu_route_lu(route)),
	    NULL, "LU %s: from %s to %s: %s", lu_name(lu_route_lu(route)),
	    from != NULL ? interface_name(lu_path_interface(from)) : "no path",
	    to != NULL ? interface_name(lu_path_interface(to)) : "no path", text);
}

static void no_path(void *ctx, struct lu_route *route, const char *text)
{
	ctl_event(ctx, "error", "lu.no-path", lu_name(lu_route_lu(route)), NULL, "LU %s: %s",
	    lu_name(lu_route_lu(route)), text);
}

static void in_doubt(void *ctx, struct lu *lu, struct range range, const char *text)
{
	ctl_event(ctx, "error", "lu.in-doubt", lu_name(lu),
	    json_pack("{s:I, s:I}", "offset", (json_int_t)range.offset, "length",
		(json_int_t)range.length),
	    "LU %s: %s", lu_name(lu), text);
}

/* Not events: a client that comes and goes in a loop would drive out those that matter. */
static void connected(void *ctx, struct nbd_export *e, const char *peer)
{
	const struct ctl_export *x = nbd_export_owner(e);

	log_debug("%s connected to export %s", peer, x->name);
}

static void disconnected(void *ctx, struct nbd_export *e, const char *peer, const char *why)
{
	const struct ctl_export *x = nbd_export_owner(e);

	log_debug("%s left export %s: %s", peer, x->name, why);
}

/* -- birth -- */

int ctl_new(struct reactor_group *group, struct store *store, const struct ctl_options *options,
    struct ctl **ret_ctl, struct error *err)
{
	struct ctl *ctl = calloc(1, sizeof(*ctl));

	if (ctl == NULL || (ctl->events = json_array()) == NULL) {
		free(ctl);
		return error_set(err, -ENOMEM, "out of memory");
	}
	ctl->group = group;
	ctl->store = store;
	ctl->options = *options;
	ctl->options.node = strdup(options->node);
	sluice_assert(ctl->options.node != NULL);
	ctl->lu_options = lu_options_default;
	if (options->no_path_timeout_ns != 0) {
		ctl->lu_options.no_path_timeout_ns = options->no_path_timeout_ns;
	}
	if (options->io_timeout_ns != 0) {
		ctl->lu_options.io_timeout_ns = options->io_timeout_ns;
	}
	ctl->lu_events = (struct lu_events){
	    .path_state = path_state,
	    .interface_degraded = degraded,
	    .interface_recovered = recovered,
	    .route_moved = route_moved,
	    .no_path = no_path,
	    .in_doubt = in_doubt,
	    .ctx = ctl,
	};
	ctl->nbd_events =
	    (struct nbd_events){.connected = connected, .disconnected = disconnected, .ctx = ctl};
	list_init(&ctl->interfaces);
	list_init(&ctl->lus);
	list_init(&ctl->volumes);
	list_init(&ctl->exports);
	list_init(&ctl->listeners);
	list_init(&ctl->clients);
	list_init(&ctl->changes);
	list_init(&ctl->event_listeners);
	ctl_time_text(ctl->started);
	*ret_ctl = ctl;
	return 0;
}

/* -- load -- */

struct loading {
	struct ctl *ctl;
	void (*loaded)(void *ctx, const struct error *err);
	void *ctx;
	json_t *exports;  /* records: opened last */
	json_t *wrappers; /* LUs that wrap others: after those */
	unsigned recovering;
	struct reactor_timer poll;
};

static void finish_load(struct loading *l)
{
	struct ctl *ctl = l->ctl;
	struct error err = {0};
	size_t i;
	json_t *record;

	json_array_foreach(l->exports, i, record)
	{
		if (ctl_export_load(ctl, record, &err) != 0) {
			ctl_event(ctl, "error", "store.record", "export", NULL, "%s", err.message);
		}
	}
	ctl->ready = true;
	ctl_event(ctl, "info", "node.started", ctl->options.node, NULL,
	    "node %s serves (version %s)", ctl->options.node, SLUICE_VERSION);
	l->loaded(l->ctx, NULL);
	json_decref(l->exports);
	json_decref(l->wrappers);
	free(l);
}

/* Exports open when every change that was left unfinished has ended. */
static void wait_for_recovery(struct reactor_timer *t)
{
	struct loading *l = container_of(t, struct loading, poll);

	list_for_each (link, &l->ctl->volumes) {
		if (list_entry(link, struct ctl_volume, link)->change != NULL) {
			reactor_timer_arm(l->ctl->group->control, &l->poll, 5 * NS_PER_MS);
			return;
		}
	}
	finish_load(l);
}

/* Which loader takes a key, in the order in which objects need each other. */
static const struct {
	const char *prefix;
	int (*load)(struct ctl *ctl, const json_t *record, struct error *err);
} loaders[] = {
    {"/interfaces/", ctl_interface_load},
    {"/lus/", ctl_lu_load},
    {"/paths/", ctl_path_load},
    {"/volumes/", ctl_volume_load},
    {"/clients/", ctl_client_load},
    {"/changes/", ctl_change_load},
};

static bool has_prefix(const char *key, const char *prefix)
{
	return strncmp(key, prefix, strlen(prefix)) == 0;
}

/* An object is stored under its name, by which it is changed and removed later. */
static bool key_fits(size_t loader, const char *key, const json_t *record)
{
	const char *name = json_string_value(json_object_get(record, "name"));

	return name == NULL || (strcmp(key + strlen(loaders[loader].prefix), name) == 0 &&
				   name[0] != '\0' && strlen(name) < CTL_NAME_MAX);
}

static void load_record(struct loading *l, size_t loader, const char *key, json_t *record)
{
	struct error err = {0};

	if (!key_fits(loader, key, record)) {
		ctl_event(l->ctl, "error", "store.record", key, NULL,
		    "%s: the record bears another name", key);
		return;
	}
	if (loaders[loader].load(l->ctl, record, &err) != 0) {
		ctl_event(l->ctl, "error", "store.record", key, NULL, "%s: %s", key, err.message);
	}
}

static void load_wrapper(struct loading *l, size_t loader, json_t *record)
{
	const char *name = json_string_value(json_object_get(record, "name"));
	char key[CTL_KEY_MAX];

	load_record(l, loader, ctl_key(key, "lus", name != NULL ? name : ""), record);
}

/* A wrapper may wrap another one: each is loaded once what it wraps is there. */
static void load_wrappers(struct loading *l, size_t loader)
{
	bool progress = true;
	size_t i;
	json_t *record;

	while (progress) {
		progress = false;
		for (i = 0; i < json_array_size(l->wrappers); i++) {
			record = json_array_get(l->wrappers, i);
			if (ctl_find_lu(l->ctl,
				json_string_value(json_object_get(record, "inner"))) != NULL) {
				load_wrapper(l, loader, record);
				json_array_remove(l->wrappers, i--);
				progress = true;
			}
		}
	}
	json_array_foreach(l->wrappers, i, record)
	{
		load_wrapper(l, loader, record);
	}
}

static void load_kind(
    struct loading *l, size_t loader, const struct store_item *items, size_t nr_items)
{
	json_t *record;

	for (size_t k = 0; k < nr_items; k++) {
		if (!has_prefix(items[k].key, loaders[loader].prefix)) {
			continue;
		}
		record = json_loadb(items[k].value, items[k].value_len, 0, NULL);
		if (loaders[loader].load == ctl_lu_load &&
		    json_object_get(record, "inner") != NULL) {
			json_array_append_new(l->wrappers, record);
			continue;
		}
		load_record(l, loader, items[k].key, record);
		json_decref(record);
	}
	if (loaders[loader].load != ctl_lu_load) {
		return;
	}
	load_wrappers(l, loader);
}

static void load_generations(struct ctl *ctl, const struct store_item *items, size_t nr_items)
{
	for (size_t k = 0; k < nr_items; k++) {
		struct ctl_volume *v;
		char text[32];

		if (!has_prefix(items[k].key, "/generations/")) {
			continue;
		}
		v = ctl_find_volume(ctl, items[k].key + strlen("/generations/"));
		snprintf(text, sizeof(text), "%.*s", (int)items[k].value_len,
		    (const char *)items[k].value);
		if (v != NULL) {
			v->generation = strtoull(text, NULL, 10);
		}
	}
}

static void load_events(struct loading *l, const struct store_item *items, size_t nr_items)
{
	for (size_t k = 0; k < nr_items; k++) {
		json_t *j;

		if (has_prefix(items[k].key, "/events/")) {
			j = json_loadb(items[k].value, items[k].value_len, 0, NULL);
			ctl_event_load(l->ctl, j);
		} else if (has_prefix(items[k].key, "/exports/")) {
			j = json_loadb(items[k].value, items[k].value_len, 0, NULL);
			json_array_append_new(l->exports, j != NULL ? j : json_null());
		} else if (strcmp(items[k].key, "/node/id") == 0) {
			snprintf(l->ctl->node_id, sizeof(l->ctl->node_id), "%.*s",
			    (int)items[k].value_len, (const char *)items[k].value);
		}
	}
}

static void ignore_txn(void *ctx, bool succeeded, uint64_t revision, const struct error *err)
{
}

static void recover_change(struct ctl *ctl, uint64_t id, const struct change_record *record)
{
	struct error err = {0};
	char key[CTL_KEY_MAX];
	struct ctl_txn t;

	if (!change_record_state_final(record->state) &&
	    ctl_change_recover(ctl, id, record, &err) == 0) {
		return;
	}
	if (err.code != 0) {
		ctl_event(ctl, "error", "store.record", "change", NULL, "%s", err.message);
	}
	ctl_txn_init(&t);
	ctl_txn_delete_prefix(&t, change_record_prefix(key, id));
	ctl_txn_send(ctl, &t, ignore_txn, NULL);
}

/* Keys are in order: /change/ID/epoch comes right before /change/ID/state. */
static void load_unfinished(struct ctl *ctl, const struct store_item *items, size_t nr_items)
{
	struct change_record record = {0};

	for (size_t k = 0; k < nr_items; k++) {
		char text[32];
		uint64_t id;

		if (!has_prefix(items[k].key, "/change/")) {
			continue;
		}
		id = strtoull(items[k].key + strlen("/change/"), NULL, 10);
		snprintf(text, sizeof(text), "%.*s", (int)items[k].value_len,
		    (const char *)items[k].value);
		if (strstr(items[k].key, "/epoch") != NULL) {
			record.epoch = strtoull(text, NULL, 10);
			continue;
		}
		record.state = change_record_parse(text);
		recover_change(ctl, id, &record);
		record = (struct change_record){0};
	}
}

static void got_everything(void *ctx, const struct store_item *items, size_t nr_items,
    uint64_t revision, const struct error *err)
{
	struct loading *l = ctx;
	struct ctl *ctl = l->ctl;
	struct ctl_txn t;

	if (err != NULL) {
		l->loaded(l->ctx, err);
		json_decref(l->exports);
		json_decref(l->wrappers);
		free(l);
		return;
	}
	load_events(l, items, nr_items);
	for (size_t i = 0; i < ARRAY_SIZE(loaders); i++) {
		load_kind(l, i, items, nr_items);
	}
	load_generations(ctl, items, nr_items);
	load_unfinished(ctl, items, nr_items);
	if (ctl->node_id[0] == '\0') {
		ctl_uuid_new(ctl->node_id);
		ctl_txn_init(&t);
		ctl_txn_put_text(&t, "/node/id", ctl->node_id);
		ctl_txn_send(ctl, &t, ignore_txn, NULL);
	}
	wait_for_recovery(&l->poll);
}

void ctl_load(struct ctl *ctl, void (*loaded)(void *ctx, const struct error *err), void *ctx)
{
	struct loading *l = calloc(1, sizeof(*l));

	sluice_assert(l != NULL);
	l->ctl = ctl;
	l->loaded = loaded;
	l->ctx = ctx;
	l->exports = json_array();
	l->wrappers = json_array();
	reactor_timer_init(&l->poll, wait_for_recovery);
	store_range(ctl->store, "/", got_everything, l);
}

/* -- close -- */

/*
 * One thing after the other: requests and changes, exports, volumes, LUs, each step when the one
 * before has let go; last what was asked of the store, whose answers come to ctl.
 */
struct closing {
	struct ctl *ctl;
	void (*closed)(void *ctx);
	void *ctx;
	unsigned waiting;
	struct reactor_timer poll;
};

static void close_next(struct closing *c);

static void closed_one(void *ctx)
{
	struct closing *c = ctx;

	if (--c->waiting == 0) {
		close_next(c);
	}
}

static bool change_in_progress(const struct ctl *ctl)
{
	list_for_each (link, &ctl->changes) {
		if (list_entry(link, struct ctl_change, link)->runner != NULL) {
			return true;
		}
	}
	return false;
}

static void nobody_waits(void *ctx)
{
}

/* Makes short what is under way: changes that are not committed, and paths that are waited for. */
static void cut_short(struct ctl *ctl)
{
	list_for_each (link, &ctl->changes) {
		struct ctl_change *c = list_entry(link, struct ctl_change, link);

		if (c->runner != NULL) {
			change_runner_cancel(c->runner);
		}
	}
	list_for_each (lu_link, &ctl->lus) {
		struct ctl_lu *lu = list_entry(lu_link, struct ctl_lu, link);

		list_for_each (link, &lu->paths) {
			struct ctl_path *p = list_entry(link, struct ctl_path, link);

			if (lu->busy && lu_path_state(p->path) == LU_PATH_CONNECTING) {
				lu_path_suspend(p->path, nobody_waits, NULL);
			}
		}
	}
}

static bool at_rest(const struct ctl *ctl)
{
	return ctl->nr_requests == 0 && !change_in_progress(ctl);
}

static void close_poll(struct reactor_timer *t)
{
	close_next(container_of(t, struct closing, poll));
}

static void free_lists(struct ctl *ctl)
{
	list_for_each_safe (link, &ctl->interfaces) {
		struct ctl_interface *i = list_entry(link, struct ctl_interface, link);

		interface_free(i->interface);
		free(i);
	}
	list_for_each_safe (link, &ctl->clients) {
		free(list_entry(link, struct ctl_client, link));
	}
	list_for_each_safe (link, &ctl->changes) {
		struct ctl_change *c = list_entry(link, struct ctl_change, link);

		json_decref(c->final);
		json_decref(c->old_record);
		json_decref(c->new_record);
		free(c->legs);
		free(c);
	}
}

static bool is_wrapped(const struct ctl *ctl, const struct ctl_lu *lu)
{
	list_for_each (link, &ctl->lus) {
		if (list_entry(link, struct ctl_lu, link)->inner == lu) {
			return true;
		}
	}
	return false;
}

/* The LUs that wrap others go first. A wrapper is made after what it wraps, so there is always one. */
static struct ctl_lu *next_lu(struct ctl *ctl)
{
	list_for_each (link, &ctl->lus) {
		struct ctl_lu *lu = list_entry(link, struct ctl_lu, link);

		if (!is_wrapped(ctl, lu)) {
			return lu;
		}
	}
	return NULL;
}

static void store_answered(void *ctx, const struct store_item *items, size_t nr_items,
    uint64_t revision, const struct error *err)
{
	struct closing *c = ctx;
	struct ctl *ctl = c->ctl;

	free_lists(ctl);
	json_decref(ctl->events);
	free((char *)ctl->options.node);
	free(ctl);
	c->closed(c->ctx);
	free(c);
}

static void close_next(struct closing *c)
{
	struct ctl *ctl = c->ctl;

	c->waiting = 1;
	if (!at_rest(ctl) || (list_empty(&ctl->exports) && ctl->nr_listeners_closing > 0)) {
		reactor_timer_arm(ctl->group->control, &c->poll, 5 * NS_PER_MS);
	} else if (!list_empty(&ctl->exports)) {
		ctl_export_end(
		    list_entry(ctl->exports.next, struct ctl_export, link), closed_one, c);
	} else if (!list_empty(&ctl->volumes)) {
		ctl_volume_end(
		    list_entry(ctl->volumes.next, struct ctl_volume, link), closed_one, c);
	} else if (!list_empty(&ctl->lus)) {
		ctl_lu_end(next_lu(ctl), closed_one, c);
	} else {
		/* Answers come in the order of the calls: this is the last one. */
		store_get(ctl->store, "/node/id", store_answered, c);
	}
}

void ctl_close(struct ctl *ctl, void (*closed)(void *ctx), void *ctx)
{
	struct closing *c = calloc(1, sizeof(*c));

	sluice_assert(c != NULL);
	*c = (struct closing){.ctl = ctl, .closed = closed, .ctx = ctx};
	reactor_timer_init(&c->poll, close_poll);
	ctl->ready = false;
	ctl->closing = true;
	cut_short(ctl);
	close_next(c);
}
