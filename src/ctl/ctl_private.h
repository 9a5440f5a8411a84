/*
 * The object model behind ctl.h, for src/ctl only. Objects point to each other freely: the control
 * loop alone touches them.
 *
 * An object is `busy` while an operation is making, changing or removing it; another operation on
 * it is refused (-EBUSY). What is in the lists and not busy is also in the store.
 */
#pragma once

#include <jansson.h>

#include "base/list.h"
#include "ctl/ctl.h"
#include "ctl/daemon.h"
#include "ctl/events.h"
#include "export/nbd/nbd.h"
#include "lu/lu.h"
#include "store/store.h"
#include "volume/volume.h"

#define CTL_NAME_MAX 65
#define CTL_PATH_NAME_MAX (2 * CTL_NAME_MAX)
#define CTL_UUID_LEN 37
#define CTL_TIME_LEN 32

enum trouble_policy { TROUBLE_OFF, TROUBLE_ASK, TROUBLE_AUTO };

struct ctl_interface {
	struct list link; /* ctl.interfaces */
	struct ctl *ctl;
	char name[CTL_NAME_MAX];
	char kind[16];
	char bind[128];
	enum trouble_policy policy;
	struct interface *interface; /* has the network ID */
	bool stored;		     /* false: implicit, stored with the first path that uses it */
	bool busy;
};

struct ctl_path {
	struct list link; /* ctl_lu.paths */
	struct ctl_lu *lu;
	struct ctl_interface *via;
	struct lu_path *path;
	bool busy;
};

struct ctl_lu {
	struct list link; /* ctl.lus */
	struct ctl *ctl;
	char name[CTL_NAME_MAX];
	char uuid[CTL_UUID_LEN];
	char kind[16];
	struct lu *lu;
	struct list paths;
	struct ctl_lu *inner; /* fault: the LU that it wraps */
	struct lu_route *inner_route;
	unsigned ending_routes; /* given up, but not gone yet: a frozen session takes its time */
	struct lu_end *end;	/* what waits for them */
	bool busy;
};

/* How a volume reaches one of its LUs. */
struct ctl_route {
	struct list link; /* ctl_volume.routes */
	struct ctl_lu *lu;
	struct ctl_interface *via; /* preferred; NULL = the best */
	struct lu_route *route;
};

struct ctl_extent {
	uint64_t offset;
	uint64_t length;
	struct ctl_lu *lu;
	uint64_t lu_offset;
};

struct ctl_change;

struct ctl_volume {
	struct list link; /* ctl.volumes */
	struct ctl *ctl;
	char name[CTL_NAME_MAX];
	char uuid[CTL_UUID_LEN];
	uint64_t size;
	uint64_t generation;
	struct ctl_extent *extents;
	size_t nr_extents;
	struct list routes; /* one per LU */
	struct face *face;
	struct volume *volume;
	struct ctl_change *change; /* that runs now, NULL else */
	bool busy;
};

struct ctl_listener {
	struct list link; /* ctl.listeners */
	struct ctl *ctl;
	char address[256];
	struct nbd_listener *nbd;
	unsigned users;
};

struct ctl_client {
	struct list link; /* ctl.clients */
	char name[CTL_NAME_MAX];
	bool busy;
};

struct ctl_export {
	struct list link; /* ctl.exports */
	struct ctl *ctl;
	uint64_t id;
	struct ctl_volume *volume;
	struct ctl_listener *listener;
	struct ctl_client *client; /* may be NULL */
	char address[256];
	char name[CTL_NAME_MAX];
	bool read_only;
	struct nbd_export *nbd; /* NULL: could not be opened, see reason */
	char reason[256];
	struct reactor_timer retry; /* of opening */
	uint64_t retry_ns;
	bool busy;
};

struct ctl {
	struct ctl_options options;
	struct reactor_group *group;
	struct store *store;
	struct lu_options lu_options;
	struct lu_events lu_events;
	struct nbd_events nbd_events;
	struct list interfaces;
	struct list lus;
	struct list volumes;
	struct list exports;
	struct list listeners;
	struct list clients;
	struct list changes; /* newest first */
	unsigned nr_changes;
	uint64_t last_change_id;
	uint64_t last_export_id;
	char node_id[CTL_UUID_LEN];
	char started[CTL_TIME_LEN];
	bool ready;
	bool closing;
	unsigned nr_adding;   /* LU_ADD and PATH_ADD among them */
	unsigned nr_requests; /* not answered yet */
	unsigned nr_listeners_closing;
	bool store_failing; /* the last transaction failed: said once */

	/* events.c */
	json_t *events; /* array, oldest first */
	struct list event_listeners;
	uint64_t last_event;
};

/* -- requests -- */

/*
 * An operation in progress. Freed by ctl_reply() or ctl_fail(); when that happens inside the
 * handler, as soon as the handler has returned: it may go on reading parameters.
 */
struct ctl_request {
	struct ctl *ctl;
	bool in_handler;
	bool answered;
	enum ctl_op op;
	json_t *params;
	ctl_done_fn done;
	void *arg;
	void *object; /* what the operation works on, its own use */
};

void ctl_reply(struct ctl_request *req, json_t *result_consumed);
void ctl_fail(struct ctl_request *req, const struct error *err);
/* As ctl_fail(), with the text made here. */
void ctl_refuse(struct ctl_request *req, int code, const char *hint, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
/* A string parameter: NULL when absent. An integer or boolean one: fallback when absent. */
const char *ctl_param(const struct ctl_request *req, const char *name);
uint64_t ctl_param_u64(const struct ctl_request *req, const char *name, uint64_t fallback);
bool ctl_param_bool(const struct ctl_request *req, const char *name, bool fallback);

/* -- the objects by name: NULL when there is none -- */

struct ctl_interface *ctl_find_interface(struct ctl *ctl, const char *name);
struct ctl_lu *ctl_find_lu(struct ctl *ctl, const char *name);
struct ctl_path *ctl_find_path(struct ctl_lu *lu, const struct ctl_interface *via);
struct ctl_volume *ctl_find_volume(struct ctl *ctl, const char *name);
struct ctl_client *ctl_find_client(struct ctl *ctl, const char *name);
struct ctl_export *ctl_find_export(struct ctl *ctl, uint64_t id);

/*
 * The object that the parameter names, not busy; else the request is refused and NULL is returned.
 */
struct ctl_interface *ctl_want_interface(struct ctl_request *req, const char *param);
struct ctl_lu *ctl_want_lu(struct ctl_request *req, const char *param);
struct ctl_volume *ctl_want_volume(struct ctl_request *req, const char *param);

/* -- the store -- */

#define CTL_KEY_MAX 200

/* A transaction under construction: keys and values are copied. */
struct ctl_txn {
	struct store_compare compares[4];
	char compare_keys[4][CTL_KEY_MAX];
	char compare_values[4][64];
	unsigned nr_compares;
	struct store_op ops[8];
	char keys[8][CTL_KEY_MAX];
	char *values[8];
	unsigned nr_ops;
};
void ctl_txn_init(struct ctl_txn *t);
void ctl_txn_expect_absent(struct ctl_txn *t, const char *key);
void ctl_txn_expect_value(struct ctl_txn *t, const char *key, const char *value);
void ctl_txn_put(struct ctl_txn *t, const char *key, json_t *value_consumed);
void ctl_txn_put_text(struct ctl_txn *t, const char *key, const char *value);
void ctl_txn_delete(struct ctl_txn *t, const char *key);
void ctl_txn_delete_prefix(struct ctl_txn *t, const char *prefix);
/* Sends and empties it. */
void ctl_txn_send(struct ctl *ctl, struct ctl_txn *t, store_txn_fn done, void *ctx);
/* Turns the answer of a transaction into 0 or an error for people. */
int ctl_txn_outcome(bool succeeded, const struct error *store_err, struct error *ret_err);

/* Keys. Return buf, which has CTL_KEY_MAX bytes. */
const char *ctl_key(char *buf, const char *noun, const char *name);
const char *ctl_key_id(char *buf, const char *noun, uint64_t id);

/* What is stored of each object, and back. The loaders make the runtime object and link it in. */
json_t *ctl_interface_record(const struct ctl_interface *i);
json_t *ctl_lu_record(const struct ctl_lu *lu);
json_t *ctl_path_record(const struct ctl_path *p);
json_t *ctl_volume_record(const struct ctl_volume *v);
json_t *ctl_export_record(const struct ctl_export *e);
int ctl_interface_load(struct ctl *ctl, const json_t *record, struct error *err);
int ctl_lu_load(struct ctl *ctl, const json_t *record, struct error *err);
int ctl_path_load(struct ctl *ctl, const json_t *record, struct error *err);
int ctl_volume_load(struct ctl *ctl, const json_t *record, struct error *err);
int ctl_export_load(struct ctl *ctl, const json_t *record, struct error *err);
int ctl_client_load(struct ctl *ctl, const json_t *record, struct error *err);
int ctl_change_load(struct ctl *ctl, const json_t *record, struct error *err);
/* record is not an object of the wanted shape: -EBADMSG. */
int ctl_record_bad(const char *noun, const json_t *record, struct error *err);

/* -- the objects as people see them -- */

json_t *ctl_stats_json(const struct lu_stats *s);
/* "up", "degraded", "down" or "unused", and why it is not up. */
const char *ctl_interface_state(const struct ctl_interface *i, const char **ret_reason);
json_t *ctl_interface_json(const struct ctl_interface *i);
json_t *ctl_path_json(const struct ctl_path *p);
/* "LU/INTERFACE", as events name it. buf: CTL_PATH_NAME_MAX. */
const char *ctl_path_name(char *buf, const struct ctl_path *p);
json_t *ctl_lu_json(const struct ctl_lu *lu);
json_t *ctl_volume_json(const struct ctl_volume *v);
json_t *ctl_export_json(const struct ctl_export *e);
json_t *ctl_change_json(const struct ctl_change *c);

/* -- parts -- */

/* Appends an event, stores it, and pushes it to the listeners. data may be NULL. */
void ctl_event(struct ctl *ctl, const char *level, const char *type, const char *object,
    json_t *data_consumed, const char *fmt, ...) PRINTF_LIKE(6, 7);
/* Takes a stored event in, oldest first. */
void ctl_event_load(struct ctl *ctl, json_t *event_consumed);
/* JSON of a text that may hold, or was cut amid, bytes from outside. */
json_t *ctl_text(const char *text);
void ctl_time_text(char buf[CTL_TIME_LEN]);
void ctl_uuid_new(char buf[CTL_UUID_LEN]);

/*
 * The interface of that kind named `local` (file) or after the kind; made when it is not there yet.
 * It is stored in the transaction of its first path, and goes when there is none.
 */
struct ctl_interface *ctl_implicit_interface(
    struct ctl *ctl, const struct lu_driver *driver, struct error *err);
void ctl_implicit_put(struct ctl_txn *t, const struct ctl_interface *i);
void ctl_implicit_sweep(struct ctl *ctl);
bool ctl_interface_used(const struct ctl_interface *i);
/* Its routes prefer it, or use it now. */
bool ctl_volume_uses(const struct ctl_volume *v, const struct ctl_interface *i);
struct ctl_route *ctl_volume_route(const struct ctl_volume *v, const struct ctl_lu *lu);
/* The interface of the path that the route uses now; NULL when none is up. */
struct ctl_interface *ctl_route_active(const struct ctl *ctl, const struct ctl_route *r);
/* The face of the volume's extents over its routes, or over those of `instead` for the LUs that are
 * in it (NULL: none). */
int ctl_volume_build_face(const struct ctl_volume *v, const struct list *instead,
    uint64_t generation, struct face **ret_face, struct error *err);

/* Why via is no place for the volume to go from `from` to; empty: it is one. rule: "same-kind",
 * "any-kind", "same-content". */
json_t *ctl_candidates(struct ctl_volume *v, struct ctl_interface *from, const char *rule);

struct switch_path_params {
	struct ctl_interface *from;
	struct ctl_interface *to;
	bool take_network_id;
	uint64_t deadline_ns;
	const char *kind; /* "switch-path", "evacuate", "balance" */
};
/* Starts a change. -EBUSY while another one runs on the volume. ended: when it is over (may be
 * NULL). */
int ctl_switch_path(struct ctl_volume *v, const struct switch_path_params *params,
    void (*ended)(void *ctx, struct ctl_change *c), void *ctx, struct ctl_change **ret_change,
    struct error *err);

int ctl_route_make(struct list *routes, struct ctl_lu *lu, struct ctl_interface *via,
    struct ctl_route **ret_route, struct error *err);
void ctl_routes_end(struct list *routes);
uint64_t ctl_change_id(const struct ctl_change *c);
/* The change in progress that leaves or goes to the path; NULL: there is none. */
const struct ctl_change *ctl_change_of_path(const struct ctl *ctl, const struct ctl_path *p);
/* The one that moves the interface's network ID; NULL: there is none. */
const struct ctl_change *ctl_change_of_network_id(
    const struct ctl *ctl, const struct ctl_interface *i);

/* ctx: the LU of a route that has gone. */
void ctl_lu_route_ended(void *ctx);
/* Takes the object out of the model and ends it; ended(ctx) when it is gone. */
void ctl_lu_end(struct ctl_lu *lu, void (*ended)(void *ctx), void *ctx);
void ctl_volume_end(struct ctl_volume *v, void (*ended)(void *ctx), void *ctx);
void ctl_export_end(struct ctl_export *e, void (*ended)(void *ctx), void *ctx);

/* Moves every volume off an interface that shows signs of failing, if its policy says so. */
void ctl_trouble_degraded(struct ctl *ctl, struct ctl_interface *i, const char *text);

/* Handlers of the operations, by noun. */
#define X(name, method, path) void ctl_op_##name(struct ctl_request *req);
CTL_OPS(X)
#undef X
