#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lu/private.h"

static int copy_text(char *to, size_t room, const char *from, const char *what, struct error *err)
{
	size_t len = strlen(from);

	if (len >= room) {
		return error_set(err, -EINVAL, "%s is longer than %zu bytes", what, room - 1);
	}
	memcpy(to, from, len + 1);
	return 0;
}

int interface_new(const struct interface_params *params, const struct lu_events *events,
    struct interface **ret_interface, struct error *err)
{
	const struct lu_driver *driver = lu_driver_find(params->kind);
	struct interface *i;
	int rc;

	if (driver == NULL) {
		return error_set(err, -EINVAL, "there is no interface kind '%s'", params->kind);
	}
	i = calloc(1, sizeof(*i));
	if (i == NULL) {
		return error_set(err, -ENOMEM, "out of memory");
	}
	i->driver = driver;
	i->events = events;
	list_init(&i->paths);
	rc = copy_text(i->name, sizeof(i->name), params->name, "the name", err);
	if (rc == 0) {
		rc = copy_text(i->network_id, sizeof(i->network_id), params->network_id,
		    "the network ID", err);
	}
	if (rc == 0) {
		rc = copy_text(i->bind, sizeof(i->bind), params->bind, "the bind address", err);
	}
	if (rc != 0) {
		free(i);
		return rc;
	}
	*ret_interface = i;
	return 0;
}

void interface_free(struct interface *i)
{
	if (i != NULL) {
		sluice_assert(list_empty(&i->paths));
		free(i);
	}
}

const char *interface_name(const struct interface *i)
{
	return i->name;
}

const char *interface_kind(const struct interface *i)
{
	return i->driver->kind;
}

const char *interface_network_id(const struct interface *i)
{
	return i->network_id;
}

const char *interface_bind(const struct interface *i)
{
	return i->bind;
}

bool interface_degraded(const struct interface *i)
{
	return i->nr_degraded > 0;
}

int interface_set_network_id(struct interface *i, const char *network_id)
{
	if ((i->driver->flags & LU_DRIVER_NETWORK_ID) == 0 && network_id[0] != '\0') {
		return -EOPNOTSUPP;
	}
	return copy_text(i->network_id, sizeof(i->network_id), network_id, "the network ID", NULL);
}

unsigned interface_path_count(const struct interface *i)
{
	unsigned n = 0;

	list_for_each (pos, &i->paths) {
		n++;
	}
	return n;
}

struct lu_path *interface_path(const struct interface *i, unsigned k)
{
	list_for_each (pos, &i->paths) {
		if (k-- == 0) {
			return list_entry(pos, struct lu_path, interface_link);
		}
	}
	return NULL;
}

/* Averages over the paths weigh as many requests as each carries. */
void interface_stats(const struct interface *i, struct lu_stats *ret_stats)
{
	struct health_totals totals = {0};
	struct health sum = {0};
	double weights = 0;

	list_for_each (pos, &i->paths) {
		const struct lu_path *p = list_entry(pos, struct lu_path, interface_link);
		double weight = p->health.iops > 0 ? p->health.iops : 1e-9;

		path_totals(p, &totals);
		sum.iops += p->health.iops;
		sum.bytes_per_s += p->health.bytes_per_s;
		sum.latency_us += weight * p->health.latency_us;
		sum.baseline_us += weight * p->health.baseline_us;
		sum.error_rate += weight * p->health.error_rate;
		weights += weight;
	}
	if (weights > 0) {
		sum.latency_us /= weights;
		sum.baseline_us /= weights;
		sum.error_rate /= weights;
	}
	stats_fill(ret_stats, &sum, &totals);
}

void interface_path_news(struct interface *i, const struct lu_path *path, enum health_news news)
{
	char text[512];

	switch (news) {
	case HEALTH_NO_NEWS:
		return;
	case HEALTH_DEGRADED:
		snprintf(text, sizeof(text), "interface %s shows signs of failing on LU %s: %s",
		    i->name, path->lu->name, path->health.reason);
		if (i->nr_degraded++ == 0 && i->events != NULL &&
		    i->events->interface_degraded != NULL) {
			i->events->interface_degraded(i->events->ctx, i, text);
		}
		return;
	case HEALTH_RECOVERED:
		snprintf(text, sizeof(text), "interface %s is as it was before", i->name);
		if (--i->nr_degraded == 0 && i->events != NULL &&
		    i->events->interface_recovered != NULL) {
			i->events->interface_recovered(i->events->ctx, i, text);
		}
		return;
	}
}
