/*
 * GET /v1/events: the stream of events (server-sent events, HTML Living Standard section 9.2).
 *
 * A watcher has a bounded queue. When it is full the watcher is left alone until it has read what
 * is there, and then continues from what the control plane keeps; only when that is not enough any
 * more does it get an event named "lost".
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/api_private.h"
#include "ctl/events.h"

#define QUEUE_BYTES (256u << 10)
#define KEEPALIVE_NS (15 * NS_PER_S)
#define STREAM_BLOCK 4096

struct sse_item {
	struct list link;
	size_t len;
	char text[];
};

struct sse_watcher {
	struct list link; /* api->watchers, under lock */
	struct api *api;
	struct MHD_Connection *connection;
	struct api_job open;
	struct api_job refill;
	struct api_job close;

	/* Listener only: what is being sent. */
	struct sse_item *current;
	size_t current_offset;

	/* Under lock: */
	struct list items;
	size_t queued; /* bytes in items */
	bool suspended;
	bool ended;
	bool behind; /* the queue was full; nothing is queued until it has been read */
	bool refilling;

	/* Control loop: */
	struct events_listener listener;
	bool listening;
	struct reactor_timer keepalive;
	struct list staged; /* items of an events_listen() that has not returned */
	bool staging;
	uint64_t since; /* the last number that was queued or passed over; UINT64_MAX: none */
	char type[64];	/* "" = all */
};

/* -- queue */

/* Lock held. */
static void resume(struct sse_watcher *w)
{
	if (w->suspended) {
		w->suspended = false;
		MHD_resume_connection(w->connection);
	}
}

static struct sse_item *item_new(const char *text, size_t len)
{
	struct sse_item *item = malloc(sizeof(*item) + len);

	if (item != NULL) {
		list_init(&item->link);
		item->len = len;
		memcpy(item->text, text, len);
	}
	return item;
}

static void items_free(struct list *items)
{
	struct list *node;

	while ((node = list_pop(items)) != NULL) {
		free(list_entry(node, struct sse_item, link));
	}
}

/* Control loop. Queues text, or notes that the watcher is behind (also when memory is out). */
static bool enqueue(struct sse_watcher *w, const char *text, size_t len)
{
	struct sse_item *item = text != NULL ? item_new(text, len) : NULL;
	bool queued = false;
	bool fits;

	pthread_mutex_lock(&w->api->lock);
	/* An item larger than the bound goes alone. */
	fits = w->queued == 0 || w->queued + len <= QUEUE_BYTES;
	if (item != NULL && !w->behind && fits) {
		list_append(w->staging ? &w->staged : &w->items, &item->link);
		w->queued += len;
		queued = true;
		if (!w->staging) {
			resume(w);
		}
	} else {
		w->behind = true;
		/* With nothing left to read there is nobody who asks for more. */
		resume(w);
	}
	pthread_mutex_unlock(&w->api->lock);
	if (!queued) {
		free(item);
	}
	return queued;
}

/* -- control loop */

/* "path" is for "path" and "path.up". */
static bool type_matches(const char *wanted, const char *type)
{
	size_t len = strlen(wanted);

	return len == 0 || (type != NULL && strncmp(type, wanted, len) == 0 &&
			       (type[len] == '\0' || type[len] == '.'));
}

static void on_event(struct events_listener *l, uint64_t seq, const json_t *event)
{
	struct sse_watcher *w = container_of(l, struct sse_watcher, listener);
	const char *type = json_string_value(json_object_get(event, "type"));
	char *data = NULL;
	char *text = NULL;
	int len = -1;

	if (w->behind) {
		return;
	}
	if (!type_matches(w->type, type)) {
		w->since = seq;
		return;
	}
	data = json_dumps(event, JSON_COMPACT);
	if (data != NULL) {
		len = asprintf(&text, "id: %" PRIu64 "\nevent: %s\ndata: %s\n\n", seq,
		    type != NULL ? type : "message", data);
	}
	if (len < 0) {
		text = NULL;
	}
	if (enqueue(w, text, (size_t)len)) {
		w->since = seq;
	}
	free(text);
	free(data);
}

static void queue_lost(struct sse_watcher *w, uint64_t since)
{
	char text[256];
	int len = snprintf(text, sizeof(text),
	    "event: lost\ndata: {\"since\":%" PRIu64 ",\"message\":\"events after this one are no "
	    "longer kept; look at the state anew\"}\n\n",
	    since);
	struct sse_item *item = item_new(text, (size_t)len);

	if (item != NULL) {
		list_prepend(&w->staged, &item->link);
		w->queued += item->len;
	}
}

/* Listens from w->since on; what is kept is staged, so that "lost" can be put in front of it. */
static void listen_from(struct sse_watcher *w)
{
	uint64_t since = w->since;
	bool whole;

	w->staging = true;
	whole = events_listen(w->api->ctl, since, &w->listener);
	w->staging = false;
	w->listening = true;
	pthread_mutex_lock(&w->api->lock);
	if (!whole) {
		queue_lost(w, since);
	}
	list_splice(&w->items, &w->staged);
	resume(w);
	pthread_mutex_unlock(&w->api->lock);
}

static void keepalive_run(struct reactor_timer *t)
{
	struct sse_watcher *w = container_of(t, struct sse_watcher, keepalive);
	static const char text[] = ": keep-alive\n\n";
	bool idle;

	pthread_mutex_lock(&w->api->lock);
	idle = w->suspended;
	pthread_mutex_unlock(&w->api->lock);
	/* A connection that is not suspended has something to send already. */
	if (idle) {
		enqueue(w, text, sizeof(text) - 1);
	}
	reactor_timer_arm(w->api->control, t, KEEPALIVE_NS);
}

static void open_run(struct api_job *job, bool stopping)
{
	struct sse_watcher *w = container_of(job, struct sse_watcher, open);
	static const char hello[] = ": sluice events\n\n";

	if (stopping) {
		return;
	}
	enqueue(w, hello, sizeof(hello) - 1);
	listen_from(w);
	reactor_timer_arm(w->api->control, &w->keepalive, KEEPALIVE_NS);
}

static void refill_run(struct api_job *job, bool stopping)
{
	struct sse_watcher *w = container_of(job, struct sse_watcher, refill);

	if (stopping) {
		return;
	}
	pthread_mutex_lock(&w->api->lock);
	w->refilling = false;
	w->behind = false;
	pthread_mutex_unlock(&w->api->lock);
	events_unlisten(&w->listener);
	listen_from(w);
}

static void silence(struct sse_watcher *w)
{
	if (w->listening) {
		events_unlisten(&w->listener);
		reactor_timer_cancel(w->api->control, &w->keepalive);
		w->listening = false;
	}
}

static void watcher_free(struct sse_watcher *w)
{
	items_free(&w->items);
	free(w->current);
	free(w);
}

static void close_run(struct api_job *job, bool stopping)
{
	struct sse_watcher *w = container_of(job, struct sse_watcher, close);

	if (stopping) {
		return;
	}
	silence(w);
	pthread_mutex_lock(&w->api->lock);
	list_remove(&w->link);
	w->api->nr_watchers--;
	pthread_mutex_unlock(&w->api->lock);
	watcher_free(w);
}

void sse_end_all(struct api *api)
{
	list_for_each (node, &api->watchers) {
		struct sse_watcher *w = list_entry(node, struct sse_watcher, link);

		silence(w);
		w->ended = true;
		resume(w);
	}
}

void sse_free_all(struct api *api)
{
	struct list *node;

	while ((node = list_pop(&api->watchers)) != NULL) {
		watcher_free(list_entry(node, struct sse_watcher, link));
	}
}

/* -- listener */

/* Lock held. The next item to send; NULL: nothing now. */
static struct sse_item *next_item(struct sse_watcher *w)
{
	struct list *node = list_pop(&w->items);
	struct sse_item *item = node != NULL ? list_entry(node, struct sse_item, link) : NULL;

	if (item != NULL) {
		w->queued -= item->len;
	} else if (w->behind && !w->refilling && !w->api->stopping) {
		w->refilling = true;
		api_post(w->api, &w->refill);
	}
	return item;
}

static ssize_t copy_current(struct sse_watcher *w, char *buf, size_t max)
{
	size_t n = MIN(max, w->current->len - w->current_offset);

	memcpy(buf, w->current->text + w->current_offset, n);
	w->current_offset += n;
	if (w->current_offset == w->current->len) {
		free(w->current);
		w->current = NULL;
	}
	return (ssize_t)n;
}

static ssize_t on_read(void *cls, uint64_t pos, char *buf, size_t max)
{
	struct sse_watcher *w = cls;
	ssize_t rc = 0;

	if (w->current == NULL) {
		pthread_mutex_lock(&w->api->lock);
		w->current = next_item(w);
		w->current_offset = 0;
		if (w->current == NULL && w->ended) {
			rc = MHD_CONTENT_READER_END_OF_STREAM;
		} else if (w->current == NULL) {
			w->suspended = true;
			MHD_suspend_connection(w->connection);
		}
		pthread_mutex_unlock(&w->api->lock);
	}
	return w->current != NULL ? copy_current(w, buf, max) : rc;
}

static void on_free(void *cls)
{
	struct sse_watcher *w = cls;
	struct api *api = w->api;

	pthread_mutex_lock(&api->lock);
	/* While the API stops, api_stop() frees it. */
	if (!api->stopping) {
		api_post(api, &w->close);
	}
	pthread_mutex_unlock(&api->lock);
}

/* The header wins over the query: it is what a browser that reconnects sends. */
static uint64_t since_of(struct MHD_Connection *connection, const json_t *params)
{
	const json_t *since = json_object_get(params, "since");
	const char *last =
	    MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Last-Event-ID");
	char *end;

	if (last != NULL && last[0] >= '0' && last[0] <= '9') {
		uint64_t v = strtoull(last, &end, 10);

		if (*end == '\0') {
			return v;
		}
	}
	return since != NULL ? (uint64_t)json_integer_value(since) : UINT64_MAX;
}

static struct sse_watcher *watcher_new(
    struct api *api, struct MHD_Connection *connection, const json_t *params)
{
	const char *type = json_string_value(json_object_get(params, "type"));
	struct sse_watcher *w = calloc(1, sizeof(*w));

	if (w == NULL) {
		return NULL;
	}
	w->api = api;
	w->connection = connection;
	w->open.run = open_run;
	w->refill.run = refill_run;
	w->close.run = close_run;
	w->listener.event = on_event;
	w->since = since_of(connection, params);
	snprintf(w->type, sizeof(w->type), "%s", type != NULL ? type : "");
	list_init(&w->items);
	list_init(&w->staged);
	list_init(&w->listener.link);
	reactor_timer_init(&w->keepalive, keepalive_run);
	return w;
}

/* 0, -EAGAIN when there are too many, -ESHUTDOWN. */
static int watcher_open(struct sse_watcher *w)
{
	struct api *api = w->api;
	int rc = 0;

	pthread_mutex_lock(&api->lock);
	if (api->stopping) {
		rc = -ESHUTDOWN;
	} else if (api->nr_watchers >= API_WATCHERS_MAX) {
		rc = -EAGAIN;
	} else {
		api->nr_watchers++;
		list_append(&api->watchers, &w->link);
		api_post(api, &w->open);
	}
	pthread_mutex_unlock(&api->lock);
	return rc;
}

static enum MHD_Result refuse_watcher(struct MHD_Connection *connection, int code)
{
	struct error err;

	error_set(&err, code, "no more event streams can be opened");
	error_hint(&err, "end one of the %u that are open", API_WATCHERS_MAX);
	return http_send_error(connection, &err);
}

enum MHD_Result sse_start(struct api *api, struct MHD_Connection *connection, const json_t *params)
{
	struct sse_watcher *w = watcher_new(api, connection, params);
	struct MHD_Response *response;
	enum MHD_Result rc;
	int code;

	if (w == NULL) {
		return MHD_NO;
	}
	code = watcher_open(w);
	if (code != 0) {
		watcher_free(w);
		return refuse_watcher(connection, code);
	}
	response =
	    MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK, on_read, w, on_free);
	if (response == NULL) {
		on_free(w);
		return MHD_NO;
	}
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "text/event-stream");
	MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
	rc = MHD_queue_response(connection, MHD_HTTP_OK, response);
	MHD_destroy_response(response);
	return rc;
}
