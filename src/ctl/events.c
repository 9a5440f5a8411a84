#include "ctl/events.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"
#include "ctl/ctl_private.h"

static uint64_t event_seq(const json_t *event)
{
	return (uint64_t)json_integer_value(json_object_get(event, "seq"));
}

static void stored(void *ctx, bool succeeded, uint64_t revision, const struct error *err)
{
	struct ctl *ctl = ctx;

	if (err != NULL && !ctl->store_failing) {
		log_error("the store does not take events: %s", err->message);
	}
	ctl->store_failing = err != NULL;
}

static void keep(struct ctl *ctl, json_t *event, struct ctl_txn *t)
{
	char key[CTL_KEY_MAX];

	ctl->last_event = event_seq(event);
	json_array_append(ctl->events, event);
	if (json_array_size(ctl->events) > EVENTS_KEPT) {
		uint64_t oldest = event_seq(json_array_get(ctl->events, 0));

		json_array_remove(ctl->events, 0);
		if (t != NULL) {
			ctl_txn_delete(t, ctl_key_id(key, "events", oldest));
		}
	}
}

static void log_event(const char *level, const char *type, const char *message)
{
	if (strcmp(level, "error") == 0) {
		log_error("%s: %s", type, message);
	} else if (strcmp(level, "warn") == 0) {
		log_warn("%s: %s", type, message);
	} else {
		log_info("%s: %s", type, message);
	}
}

void ctl_event(struct ctl *ctl, const char *level, const char *type, const char *object,
    json_t *data_consumed, const char *fmt, ...)
{
	char message[512];
	char time[CTL_TIME_LEN];
	char key[CTL_KEY_MAX];
	struct ctl_txn t;
	json_t *event;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	text_make_utf8(message);
	log_event(level, type, message);
	ctl_time_text(time);
	event = json_pack("{s:I, s:s, s:s, s:s, s:o, s:s, s:o}", "seq",
	    (json_int_t)(ctl->last_event + 1), "time", time, "type", type, "level", level, "object",
	    ctl_text(object), "message", message, "data",
	    data_consumed != NULL ? data_consumed : json_object());
	sluice_assert(event != NULL);
	ctl_txn_init(&t);
	ctl_txn_put(&t, ctl_key_id(key, "events", event_seq(event)), json_incref(event));
	keep(ctl, event, &t);
	ctl_txn_send(ctl, &t, stored, ctl);
	list_for_each_safe (link, &ctl->event_listeners) {
		struct events_listener *l = list_entry(link, struct events_listener, link);

		l->event(l, ctl->last_event, event);
	}
	json_decref(event);
}

void ctl_event_load(struct ctl *ctl, json_t *event_consumed)
{
	if (json_is_object(event_consumed) && event_seq(event_consumed) > ctl->last_event) {
		keep(ctl, event_consumed, NULL);
	}
	json_decref(event_consumed);
}

bool events_listen(struct ctl *ctl, uint64_t since, struct events_listener *l)
{
	size_t n = json_array_size(ctl->events);
	uint64_t oldest = n > 0 ? event_seq(json_array_get(ctl->events, 0)) : ctl->last_event + 1;

	list_append(&ctl->event_listeners, &l->link);
	for (size_t i = 0; since != UINT64_MAX && i < n; i++) {
		const json_t *event = json_array_get(ctl->events, i);

		if (event_seq(event) > since) {
			l->event(l, event_seq(event), event);
		}
	}
	return since == UINT64_MAX || since + 1 >= oldest;
}

void events_unlisten(struct events_listener *l)
{
	list_remove(&l->link);
}
