/*
 * GET /metrics: the Prometheus text format, version 0.0.4.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/change.h"

static void head(FILE *f, const char *name, const char *type, const char *help)
{
	fprintf(f, "# HELP sluice_%s %s\n# TYPE sluice_%s %s\n", name, help, name, type);
}

/* Names are [A-Za-z0-9._-]: no label value needs escaping. */
static void export_metrics(FILE *f, const struct ctl *ctl)
{
	static const struct {
		const char *name;
		const char *type;
		const char *help;
	} metrics[] = {
	    {"export_requests_total", "counter", "Requests answered."},
	    {"export_errors_total", "counter", "Requests answered with an error."},
	    {"export_read_bytes_total", "counter", "Bytes read by clients."},
	    {"export_written_bytes_total", "counter", "Bytes written by clients."},
	    {"export_connections", "gauge", "Clients connected now."},
	    {"export_longest_request_seconds", "gauge", "The slowest request so far."},
	};

	for (size_t m = 0; m < ARRAY_SIZE(metrics); m++) {
		head(f, metrics[m].name, metrics[m].type, metrics[m].help);
		list_for_each (link, &ctl->exports) {
			const struct ctl_export *e = list_entry(link, struct ctl_export, link);
			struct nbd_export_stats s = {0};
			double values[ARRAY_SIZE(metrics)];

			if (e->nbd != NULL) {
				nbd_export_stats(e->nbd, &s);
			}
			values[0] = (double)s.requests;
			values[1] = (double)s.errors;
			values[2] = (double)s.bytes_read;
			values[3] = (double)s.bytes_written;
			values[4] = (double)s.connections;
			values[5] = (double)s.longest_us / 1e6;
			fprintf(f, "sluice_%s{export=\"%s\",id=\"%" PRIu64 "\"} %.17g\n",
			    metrics[m].name, e->name, e->id, values[m]);
		}
	}
}

static void interface_metrics(FILE *f, const struct ctl *ctl)
{
	static const struct {
		const char *name;
		const char *type;
		const char *help;
	} metrics[] = {
	    {"interface_requests_total", "counter", "Requests completed through the interface."},
	    {"interface_errors_total", "counter", "Requests that failed at the other end."},
	    {"interface_transport_errors_total", "counter", "Sessions' requests lost on the way."},
	    {"interface_in_flight", "gauge", "Requests under way."},
	    {"interface_latency_seconds", "gauge", "Recent mean time of a request."},
	    {"interface_degraded", "gauge", "1 while errors or latency are above its own past."},
	};

	for (size_t m = 0; m < ARRAY_SIZE(metrics); m++) {
		head(f, metrics[m].name, metrics[m].type, metrics[m].help);
		list_for_each (link, &ctl->interfaces) {
			const struct ctl_interface *i =
			    list_entry(link, struct ctl_interface, link);
			struct lu_stats s;

			interface_stats(i->interface, &s);
			const double values[ARRAY_SIZE(metrics)] = {(double)s.requests,
			    (double)s.errors, (double)s.transport_errors, (double)s.in_flight,
			    s.latency_us / 1e6, interface_degraded(i->interface) ? 1 : 0};
			fprintf(f, "sluice_%s{interface=\"%s\",kind=\"%s\"} %.17g\n",
			    metrics[m].name, i->name, i->kind, values[m]);
		}
	}
}

static void volume_metrics(FILE *f, const struct ctl *ctl)
{
	head(f, "volume_held_requests", "gauge", "Requests that wait at the gate.");
	list_for_each (link, &ctl->volumes) {
		const struct ctl_volume *v = list_entry(link, struct ctl_volume, link);

		fprintf(f, "sluice_volume_held_requests{volume=\"%s\"} %" PRIu64 "\n", v->name,
		    volume_held(v->volume));
	}
	head(f, "volume_generation", "counter", "Generation of the volume's map.");
	list_for_each (link, &ctl->volumes) {
		const struct ctl_volume *v = list_entry(link, struct ctl_volume, link);

		fprintf(f, "sluice_volume_generation{volume=\"%s\"} %" PRIu64 "\n", v->name,
		    v->generation);
	}
	head(f, "path_up", "gauge", "1 while the path can be used.");
	list_for_each (lu_link, &ctl->lus) {
		const struct ctl_lu *lu = list_entry(lu_link, struct ctl_lu, link);

		list_for_each (link, &lu->paths) {
			const struct ctl_path *p = list_entry(link, struct ctl_path, link);

			fprintf(f, "sluice_path_up{lu=\"%s\",interface=\"%s\"} %d\n", lu->name,
			    p->via->name, lu_path_state(p->path) == LU_PATH_UP);
		}
	}
}

static void change_metrics(FILE *f, const struct ctl *ctl)
{
	uint64_t done = 0;
	uint64_t longest = 0;
	uint64_t other = 0;

	list_for_each (link, &ctl->changes) {
		const struct ctl_change *c = list_entry(link, struct ctl_change, link);
		const char *state = json_string_value(json_object_get(c->final, "state"));

		if (state == NULL) {
			continue;
		}
		done += strcmp(state, "done") == 0;
		other += strcmp(state, "done") != 0;
		longest = MAX(
		    longest, (uint64_t)json_integer_value(json_object_get(c->final, "held_us")));
	}
	head(f, "changes", "gauge", "Changes that are remembered, by outcome.");
	fprintf(f,
	    "sluice_changes{outcome=\"done\"} %" PRIu64
	    "\nsluice_changes{outcome=\"undone\"} %" PRIu64 "\n",
	    done, other);
	head(f, "change_longest_hold_seconds", "gauge", "The longest hold among them.");
	fprintf(f, "sluice_change_longest_hold_seconds %.6f\n", (double)longest / 1e6);
}

void ctl_op_METRICS(struct ctl_request *req)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	sluice_assert(f != NULL);
	export_metrics(f, req->ctl);
	interface_metrics(f, req->ctl);
	volume_metrics(f, req->ctl);
	change_metrics(f, req->ctl);
	fclose(f);
	ctl_reply(req, json_string(text));
	free(text);
}
