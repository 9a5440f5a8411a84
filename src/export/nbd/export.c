#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "export/nbd/server.h"

/* The control loop's record of a connection. */
struct nbd_session {
	struct list link;
	struct nbd_export *export;
	struct nbd_connection *connection;
	unsigned reactor_index;
	char peer[NBD_PEER_BYTES];
};

/* -- what clients can choose -- */

static uint16_t offer_flags(const struct nbd_export *e)
{
	const struct io_limits *limits = &e->view.target->limits;
	uint16_t flags = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA |
			 NBD_FLAG_SEND_WRITE_ZEROES | NBD_FLAG_SEND_FAST_ZERO | NBD_FLAG_SEND_CACHE;

	if (e->view.read_only) {
		flags |= NBD_FLAG_READ_ONLY;
	}
	if (limits->discard_granularity > 0) {
		flags |= NBD_FLAG_SEND_TRIM;
	}
	if (limits->coherent) {
		flags |= NBD_FLAG_CAN_MULTI_CONN;
	}
	return flags;
}

static void fill_offer(const struct nbd_export *e, struct nbd_offer *ret_offer)
{
	const struct io_limits *limits = &e->view.target->limits;

	*ret_offer = (struct nbd_offer){
	    .name = nbd_string_of(e->name),
	    .description = nbd_string_of(e->description),
	    .size = e->view.size,
	    .flags = offer_flags(e),
	    .block_size = limits->block_size,
	    .preferred_size = MAX(limits->preferred_size, limits->block_size),
	};
}

struct nbd_export *nbd_export_find(const struct nbd_listener *l, struct nbd_string name)
{
	list_for_each (node, &l->exports) {
		struct nbd_export *e = list_entry(node, struct nbd_export, link);

		if (!e->removing && nbd_string_equal(nbd_string_of(e->name), name)) {
			return e;
		}
	}
	return NULL;
}

static bool find_offer(void *ctx, struct nbd_string name, struct nbd_offer *ret_offer)
{
	struct nbd_export *e = nbd_export_find(ctx, name);

	if (e == NULL) {
		return false;
	}
	fill_offer(e, ret_offer);
	return true;
}

static bool offer_at(void *ctx, unsigned index, struct nbd_offer *ret_offer)
{
	struct nbd_listener *l = ctx;

	list_for_each (node, &l->exports) {
		struct nbd_export *e = list_entry(node, struct nbd_export, link);

		if (e->removing) {
			continue;
		}
		if (index-- == 0) {
			fill_offer(e, ret_offer);
			return true;
		}
	}
	return false;
}

void nbd_export_catalog(struct nbd_listener *l, struct nbd_catalog *ret_catalog)
{
	*ret_catalog = (struct nbd_catalog){find_offer, offer_at, l};
}

/* -- adding -- */

static void export_free(struct nbd_export *e)
{
	if (e != NULL) {
		free(e->name);
		free(e->description);
		free(e->counters);
		free(e);
	}
}

static struct nbd_export *export_new(
    struct nbd_listener *l, const struct nbd_export_params *params, void *owner)
{
	unsigned n = l->group->nr_data;
	struct nbd_export *e = calloc(1, sizeof(*e));

	if (e == NULL) {
		return NULL;
	}
	e->listener = l;
	e->owner = owner;
	e->name = strdup(params->name);
	e->description = strdup(params->description != NULL ? params->description : "");
	e->counters = aligned_alloc(_Alignof(struct nbd_counters), n * sizeof(*e->counters));
	list_init(&e->link);
	list_init(&e->connections);
	if (e->name == NULL || e->description == NULL || e->counters == NULL) {
		export_free(e);
		return NULL;
	}
	memset(e->counters, 0, n * sizeof(*e->counters));
	block_view_init(&e->view, params->target, params->read_only);
	return e;
}

int nbd_export_add(struct nbd_listener *l, const struct nbd_export_params *params, void *owner,
    struct nbd_export **ret_export, struct error *err)
{
	struct nbd_export *e;

	reactor_assert(l->group->control);
	sluice_assert(!l->closing && params->target->nr_channels >= l->group->nr_data);
	if (strlen(params->name) > NBD_STRING_MAX ||
	    (params->description != NULL && strlen(params->description) > NBD_STRING_MAX)) {
		return error_set(err, -ENAMETOOLONG, "name or description of the export too long");
	}
	if (nbd_export_find(l, nbd_string_of(params->name)) != NULL) {
		error_set(err, -EEXIST, "%s already has an export called \"%s\"", l->address,
		    params->name);
		return error_hint(err, "choose another name or another socket");
	}
	e = export_new(l, params, owner);
	if (e == NULL) {
		return error_set(err, -ENOMEM, "out of memory");
	}
	list_append(&l->exports, &e->link);
	l->nr_exports++;
	*ret_export = e;
	return 0;
}

/* -- serving -- */

static void settle_removal(struct nbd_export *e);

static void on_connection_ended(struct nbd_connection *c, const char *why)
{
	struct nbd_session *s = c->params.owner;
	struct nbd_export *e = s->export;
	struct nbd_listener *l = e->listener;

	list_remove(&s->link);
	e->nr_connections--;
	l->connections[s->reactor_index]--;
	if (l->events.disconnected != NULL) {
		l->events.disconnected(l->events.ctx, e, s->peer, why);
	}
	nbd_connection_free(c);
	free(s);
	settle_removal(e);
}

/* The reactor with the fewest clients of this listener; listeners do not all begin at the first. */
static unsigned choose_reactor(const struct nbd_listener *l)
{
	static unsigned begin;
	unsigned n = l->group->nr_data;
	unsigned best = begin++ % n;

	for (unsigned i = 0; i < n; i++) {
		if (l->connections[i] < l->connections[best]) {
			best = i;
		}
	}
	return best;
}

void nbd_export_serve(
    struct nbd_export *e, int fd, const char *peer, const struct nbd_connection_params *negotiated)
{
	struct nbd_listener *l = e->listener;
	struct nbd_connection_params params = *negotiated;
	struct nbd_session *s = calloc(1, sizeof(*s));
	unsigned index = choose_reactor(l);

	if (s == NULL) {
		close(fd);
		return;
	}
	params.fd = fd;
	params.reactor = l->group->data[index];
	params.control = l->group->control;
	params.view = &e->view;
	params.counters = &e->counters[index];
	params.ended = on_connection_ended;
	params.owner = s;
	if (nbd_connection_new(&params, &s->connection) != 0) {
		free(s);
		return;
	}
	s->export = e;
	s->reactor_index = index;
	snprintf(s->peer, sizeof(s->peer), "%s", peer);
	list_append(&e->connections, &s->link);
	e->nr_connections++;
	l->connections[index]++;
	if (l->events.connected != NULL) {
		l->events.connected(l->events.ctx, e, s->peer);
	}
	nbd_connection_start(s->connection);
}

/* -- removing -- */

static void on_removed(struct reactor_msg *msg)
{
	struct nbd_export *e = container_of(msg, struct nbd_export, removed_msg);
	struct nbd_listener *l = e->listener;
	void (*removed)(void *ctx) = e->removed;
	void *ctx = e->removed_ctx;

	list_remove(&e->link);
	l->nr_exports--;
	export_free(e);
	removed(ctx);
}

static void settle_removal(struct nbd_export *e)
{
	if (e->removing && e->nr_connections == 0) {
		reactor_send(e->listener->group->control, &e->removed_msg, on_removed);
	}
}

void nbd_export_remove(struct nbd_export *e, void (*removed)(void *ctx), void *ctx)
{
	reactor_assert(e->listener->group->control);
	sluice_assert(!e->removing);
	e->removing = true;
	e->removed = removed;
	e->removed_ctx = ctx;
	list_for_each (node, &e->connections) {
		nbd_connection_stop(list_entry(node, struct nbd_session, link)->connection);
	}
	settle_removal(e);
}

/* -- looking -- */

void *nbd_export_owner(const struct nbd_export *e)
{
	return e->owner;
}

void nbd_export_stats(const struct nbd_export *e, struct nbd_export_stats *ret_stats)
{
	struct nbd_export_stats sum = {.connections = e->nr_connections};

	for (unsigned i = 0; i < e->listener->group->nr_data; i++) {
		struct nbd_counters *c = &e->counters[i];
		uint64_t longest = atomic_load_explicit(&c->longest_us, memory_order_relaxed);

		sum.requests += atomic_load_explicit(&c->requests, memory_order_relaxed);
		sum.errors += atomic_load_explicit(&c->errors, memory_order_relaxed);
		sum.bytes_read += atomic_load_explicit(&c->bytes_read, memory_order_relaxed);
		sum.bytes_written += atomic_load_explicit(&c->bytes_written, memory_order_relaxed);
		sum.longest_us = MAX(sum.longest_us, longest);
	}
	*ret_stats = sum;
}

static bool is_unreserved(char ch)
{
	return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') ||
	       strchr("-._~/", ch) != NULL;
}

/* Appends text, percent-encoded (RFC 3986 section 2.1), as far as there is room. */
static void append_encoded(char *buf, size_t len, const char *text)
{
	size_t at = strlen(buf);

	for (; *text != '\0' && at + 4 <= len; text++) {
		const char *format = is_unreserved(*text) ? "%c" : "%%%02X";

		at += (size_t)snprintf(buf + at, len - at, format, (unsigned char)*text);
	}
}

void nbd_export_uri(const struct nbd_export *e, char *buf, size_t len)
{
	const struct nbd_listener *l = e->listener;

	if (l->path != NULL) {
		snprintf(buf, len, "nbd+unix:///");
		append_encoded(buf, len, e->name);
		strncat(buf, "?socket=", len - strlen(buf) - 1);
		append_encoded(buf, len, l->path);
		return;
	}
	snprintf(buf, len, "nbd://%s/", l->address + strlen("tcp:"));
	append_encoded(buf, len, e->name);
}
