/*
 * Where a volume could go, and moves that nobody asked for by name: balance, evacuation of a failing interface, and the return to
 * the preferred path when it is back and stable.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/change.h"

/* -- candidates -- */

/* Another LU whose content is said to be the same: it has the same identity, or wraps the same LU. */
static bool same_content(const struct ctl_lu *a, const struct ctl_lu *b)
{
	const char *identity = lu_identity_text(a->lu);

	return a == b || a->inner == b || b->inner == a ||
	       (identity[0] != '\0' && strcmp(identity, lu_identity_text(b->lu)) == 0);
}

/* The path by which `i` reaches the LU under the rule; NULL when it does not. */
static struct ctl_path *reaches(struct ctl_lu *lu, const struct ctl_interface *i, const char *rule)
{
	struct ctl_path *p = ctl_find_path(lu, i);

	if (p != NULL || strcmp(rule, "same-content") != 0) {
		return p;
	}
	list_for_each (link, &lu->ctl->lus) {
		struct ctl_lu *other = list_entry(link, struct ctl_lu, link);

		if (same_content(lu, other) && (p = ctl_find_path(other, i)) != NULL) {
			return p;
		}
	}
	return NULL;
}

/* Empty when the volume can go from `from` to `i` by switch-path. */
static const char *unsuitable(struct ctl_volume *v, const struct ctl_interface *from,
    const struct ctl_interface *i, const char *rule)
{
	if (strcmp(rule, "same-kind") == 0 && strcmp(i->kind, from->kind) != 0) {
		return "another kind";
	}
	list_for_each (link, &v->routes) {
		const struct ctl_route *r = list_entry(link, struct ctl_route, link);
		const struct ctl_path *p;

		if (r->via != from && ctl_route_active(v->ctl, r) != from) {
			continue;
		}
		p = reaches(r->lu, i, rule);
		if (p == NULL) {
			return "does not reach the LU";
		}
		if (lu_path_state(p->path) != LU_PATH_UP) {
			return lu_path_state(p->path) == LU_PATH_DAMPED ? "its path flaps"
									: "its path is down";
		}
		if (p->lu != r->lu) {
			return "reaches another LU with the same content: a path switch keeps the "
			       "LU";
		}
	}
	return interface_degraded(i->interface) ? "shows signs of failing" : "";
}

static int volumes_on(const struct ctl_interface *i)
{
	int n = 0;

	list_for_each (link, &i->ctl->volumes) {
		n += ctl_volume_uses(list_entry(link, struct ctl_volume, link), i);
	}
	return n;
}

json_t *ctl_candidates(struct ctl_volume *v, struct ctl_interface *from, const char *rule)
{
	json_t *list = json_array();

	list_for_each (link, &v->ctl->interfaces) {
		struct ctl_interface *i = list_entry(link, struct ctl_interface, link);
		const char *why = unsuitable(v, from, i, rule);
		const char *about;
		struct lu_stats stats;

		if (i == from || strcmp(why, "another kind") == 0) {
			continue;
		}
		interface_stats(i->interface, &stats);
		json_array_append_new(
		    list, json_pack("{s:s, s:s, s:s, s:b, s:s, s:f, s:f, s:i}", "interface",
			      i->name, "kind", i->kind, "state", ctl_interface_state(i, &about),
			      "suitable", why[0] == '\0', "reason", why, "iops", stats.iops,
			      "latency_us", stats.latency_us, "volumes", volumes_on(i)));
	}
	return list;
}

/* The interface that a volume uses, for a request that did not name one. */
static struct ctl_interface *used_by(const struct ctl_volume *v)
{
	const struct ctl_route *r = list_entry(v->routes.next, struct ctl_route, link);
	struct ctl_interface *active = ctl_route_active(v->ctl, r);

	return active != NULL ? active : r->via;
}

void ctl_op_VOLUME_CANDIDATES(struct ctl_request *req)
{
	struct ctl_volume *v = ctl_want_volume(req, "name");
	const char *rule = ctl_param(req, "rule");
	struct ctl_interface *from;

	if (v == NULL) {
		return;
	}
	from = ctl_param(req, "from") != NULL ? ctl_want_interface(req, "from") : used_by(v);
	if (from == NULL) {
		if (ctl_param(req, "from") == NULL) {
			ctl_refuse(req, -EINVAL, "name one by --from",
			    "volume %s uses no interface now", v->name);
		}
		return;
	}
	ctl_reply(
	    req, json_pack("{s:s, s:s, s:o}", "volume", v->name, "from", from->name, "candidates",
		     ctl_candidates(v, from, rule != NULL ? rule : "same-kind")));
}

/* The least loaded interface that is suitable; NULL when there is none. */
static struct ctl_interface *best_candidate(struct ctl_volume *v, struct ctl_interface *from)
{
	struct ctl_interface *best = NULL;
	double best_iops = 0;

	list_for_each (link, &v->ctl->interfaces) {
		struct ctl_interface *i = list_entry(link, struct ctl_interface, link);
		struct lu_stats stats;

		if (i == from || i->busy || unsuitable(v, from, i, "same-kind")[0] != '\0') {
			continue;
		}
		interface_stats(i->interface, &stats);
		if (best == NULL || stats.iops < best_iops) {
			best = i;
			best_iops = stats.iops;
		}
	}
	return best;
}

static int move(struct ctl_volume *v, struct ctl_interface *from, struct ctl_interface *to,
    const char *kind, void (*ended)(void *ctx, struct ctl_change *c), void *ctx)
{
	struct switch_path_params params = {.from = from, .to = to, .kind = kind};
	struct error err = {0};
	int rc = ctl_switch_path(v, &params, ended, ctx, NULL, &err);

	if (rc != 0) {
		ctl_event(v->ctl, "warn", "volume.not-moved", v->name, NULL,
		    "volume %s cannot move from %s to %s: %s", v->name, from->name, to->name,
		    err.message);
	}
	return rc;
}

/* -- a failing interface -- */

static void evacuate(struct ctl *ctl, struct ctl_interface *i)
{
	list_for_each (link, &ctl->volumes) {
		struct ctl_volume *v = list_entry(link, struct ctl_volume, link);
		struct ctl_interface *to;

		if (!ctl_volume_uses(v, i) || v->busy || v->change != NULL) {
			continue;
		}
		to = best_candidate(v, i);
		if (to != NULL) {
			move(v, i, to, "evacuate", NULL, NULL);
		}
	}
}

void ctl_trouble_degraded(struct ctl *ctl, struct ctl_interface *i, const char *text)
{
	json_t *volumes = json_array();

	if (i->policy == TROUBLE_OFF || ctl->closing) {
		json_decref(volumes);
		return;
	}
	list_for_each (link, &ctl->volumes) {
		struct ctl_volume *v = list_entry(link, struct ctl_volume, link);

		if (ctl_volume_uses(v, i)) {
			json_array_append_new(
			    volumes, json_pack("{s:s, s:o}", "volume", v->name, "candidates",
					 ctl_candidates(v, i, "same-kind")));
		}
	}
	ctl_event(ctl, "warn", "interface.degraded", i->name,
	    json_pack("{s:o}", "volumes", volumes), "interface %s shows signs of failing: %s%s",
	    i->name, text,
	    i->policy == TROUBLE_AUTO ? "; its volumes move away"
				      : "; move its volumes by `sluice volume switch-path`");
	if (i->policy == TROUBLE_AUTO) {
		evacuate(ctl, i);
	}
}

/* -- balance -- */

static double load_of(const struct ctl_interface *i)
{
	struct lu_stats stats;

	interface_stats(i->interface, &stats);
	return stats.iops;
}

/* By requests per second, and by the number of volumes when nobody works. */
static bool busier(const struct ctl_interface *a, const struct ctl_interface *b)
{
	double difference = load_of(a) - load_of(b);

	return difference > 1 || (difference > -1 && volumes_on(a) > volumes_on(b));
}

static struct ctl_interface *most_loaded(struct ctl *ctl, const char *kind)
{
	struct ctl_interface *most = NULL;

	list_for_each (link, &ctl->interfaces) {
		struct ctl_interface *i = list_entry(link, struct ctl_interface, link);

		if (strcmp(i->kind, kind) == 0 && volumes_on(i) > 0 &&
		    (most == NULL || busier(i, most))) {
			most = i;
		}
	}
	return most;
}

/* A move that makes things better: it does not just turn the imbalance round. */
static bool worth_moving(struct ctl_volume *v, struct ctl_interface *from, struct ctl_interface *to)
{
	return v->change == NULL && !v->busy && ctl_volume_uses(v, from) && to != NULL &&
	       busier(from, to) && volumes_on(from) > 1 && volumes_on(from) > volumes_on(to);
}

/* A balance in progress: it answers when its moves have ended. */
struct balance {
	struct ctl_request *req;
	json_t *moves;
	unsigned waiting;
};

struct balance_move {
	struct balance *balance;
	json_t *entry; /* in balance->moves */
};

static void balance_put(struct balance *b)
{
	if (--b->waiting == 0) {
		ctl_reply(b->req, json_pack("{s:o}", "moves", b->moves));
		free(b);
	}
}

static void balance_moved(void *ctx, struct ctl_change *c)
{
	struct balance_move *m = ctx;

	json_object_set_new(m->entry, "change", json_integer((json_int_t)ctl_change_id(c)));
	balance_put(m->balance);
	free(m);
}

static void balance_move(struct balance *b, struct ctl_volume *v, struct ctl_interface *from,
    struct ctl_interface *to, json_t *entry)
{
	struct balance_move *m = calloc(1, sizeof(*m));

	sluice_assert(m != NULL);
	*m = (struct balance_move){b, entry};
	b->waiting++;
	if (move(v, from, to, "balance", balance_moved, m) != 0) {
		free(m);
		b->waiting--;
	}
}

static void balance_kind(struct balance *b, const char *kind, bool dry_run)
{
	struct ctl *ctl = b->req->ctl;
	struct ctl_interface *from = most_loaded(ctl, kind);

	if (from == NULL) {
		return;
	}
	list_for_each (link, &ctl->volumes) {
		struct ctl_volume *v = list_entry(link, struct ctl_volume, link);
		struct ctl_interface *to = best_candidate(v, from);
		char reason[160];
		json_t *entry;

		if (!worth_moving(v, from, to)) {
			continue;
		}
		snprintf(reason, sizeof(reason),
		    "%s carries %.0f requests/s for %d volumes, %s %.0f for %d", from->name,
		    load_of(from), volumes_on(from), to->name, load_of(to), volumes_on(to));
		entry = json_pack("{s:s, s:s, s:s, s:s}", "volume", v->name, "from", from->name,
		    "to", to->name, "reason", reason);
		json_array_append_new(b->moves, entry);
		if (!dry_run) {
			balance_move(b, v, from, to, entry);
		}
		return;
	}
}

void ctl_op_INTERFACE_BALANCE(struct ctl_request *req)
{
	const char *kind = ctl_param(req, "kind");
	bool dry_run = ctl_param_bool(req, "dry_run", false);
	struct balance *b = calloc(1, sizeof(*b));

	sluice_assert(b != NULL);
	*b = (struct balance){.req = req, .moves = json_array(), .waiting = 1};
	for (unsigned k = 0; lu_driver_at(k) != NULL; k++) {
		if (kind == NULL || strcmp(kind, lu_driver_at(k)->kind) == 0) {
			balance_kind(b, lu_driver_at(k)->kind, dry_run);
		}
	}
	balance_put(b);
}
