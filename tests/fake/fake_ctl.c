#include "fake_ctl.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct held_call {
	struct list link;
	ctl_done_fn done;
	void *arg;
};

struct ctl {
	pthread_mutex_t lock;
	pthread_cond_t arrived;
	char *result;
	int code;
	bool hold;
	unsigned calls;
	enum ctl_op last_op;
	char *last_params;
	struct list held;
	/* Control loop: */
	struct list listeners;
	json_t *events; /* those that are kept */
	uint64_t seq;
	uint64_t forgotten;
};

struct ctl *fake_ctl_new(void)
{
	struct ctl *ctl = calloc(1, sizeof(*ctl));

	if (ctl != NULL) {
		pthread_mutex_init(&ctl->lock, NULL);
		pthread_cond_init(&ctl->arrived, NULL);
		list_init(&ctl->held);
		list_init(&ctl->listeners);
		ctl->result = strdup("{}");
		ctl->events = json_array();
	}
	return ctl;
}

void fake_ctl_free(struct ctl *ctl)
{
	sluice_assert(list_empty(&ctl->listeners));
	json_decref(ctl->events);
	pthread_cond_destroy(&ctl->arrived);
	pthread_mutex_destroy(&ctl->lock);
	free(ctl->result);
	free(ctl->last_params);
	free(ctl);
}

void fake_ctl_say(struct ctl *ctl, const char *result, int code)
{
	pthread_mutex_lock(&ctl->lock);
	free(ctl->result);
	ctl->result = strdup(result);
	ctl->code = code;
	pthread_mutex_unlock(&ctl->lock);
}

void fake_ctl_hold(struct ctl *ctl)
{
	pthread_mutex_lock(&ctl->lock);
	ctl->hold = true;
	pthread_mutex_unlock(&ctl->lock);
}

static void answer(struct ctl *ctl, ctl_done_fn done, void *arg)
{
	struct error err = {0};
	json_t *result = NULL;

	pthread_mutex_lock(&ctl->lock);
	if (ctl->code == 0) {
		result = json_loads(ctl->result, JSON_DECODE_ANY, NULL);
	} else {
		error_set(&err, -ctl->code, "the fake refuses");
		error_hint(&err, "ask it something else");
	}
	pthread_mutex_unlock(&ctl->lock);
	done(arg, result, result != NULL ? NULL : &err);
}

void fake_ctl_release(struct ctl *ctl)
{
	struct list released;
	struct list *node;

	list_init(&released);
	pthread_mutex_lock(&ctl->lock);
	ctl->hold = false;
	list_splice(&released, &ctl->held);
	pthread_mutex_unlock(&ctl->lock);
	while ((node = list_pop(&released)) != NULL) {
		struct held_call *call = list_entry(node, struct held_call, link);

		answer(ctl, call->done, call->arg);
		free(call);
	}
}

void fake_ctl_wait(struct ctl *ctl, unsigned count)
{
	pthread_mutex_lock(&ctl->lock);
	while (ctl->calls < count) {
		pthread_cond_wait(&ctl->arrived, &ctl->lock);
	}
	pthread_mutex_unlock(&ctl->lock);
}

enum ctl_op fake_ctl_last(struct ctl *ctl, char **ret_params)
{
	enum ctl_op op;

	pthread_mutex_lock(&ctl->lock);
	op = ctl->last_op;
	*ret_params = strdup(ctl->last_params);
	pthread_mutex_unlock(&ctl->lock);
	return op;
}

void ctl_call(struct ctl *ctl, enum ctl_op op, json_t *params_consumed, ctl_done_fn done, void *arg)
{
	bool hold;

	pthread_mutex_lock(&ctl->lock);
	ctl->last_op = op;
	free(ctl->last_params);
	ctl->last_params = json_dumps(params_consumed, JSON_SORT_KEYS | JSON_COMPACT);
	json_decref(params_consumed);
	hold = ctl->hold;
	if (hold) {
		struct held_call *call = calloc(1, sizeof(*call));

		sluice_assert(call != NULL);
		call->done = done;
		call->arg = arg;
		list_append(&ctl->held, &call->link);
	}
	ctl->calls++;
	pthread_cond_broadcast(&ctl->arrived);
	pthread_mutex_unlock(&ctl->lock);
	if (!hold) {
		answer(ctl, done, arg);
	}
}

/* -- events */

static uint64_t seq_of(const json_t *event)
{
	return (uint64_t)json_integer_value(json_object_get(event, "seq"));
}

void fake_ctl_emit(struct ctl *ctl, const char *type, const char *message)
{
	json_t *event = json_pack("{s:I, s:s, s:s, s:s, s:s, s:s}", "seq", (json_int_t)++ctl->seq,
	    "time", "2026-01-31T12:00:00.123Z", "type", type, "level", "info", "object", "fake/x",
	    "message", message);

	sluice_assert(event != NULL);
	json_array_append_new(ctl->events, event);
	list_for_each_safe (node, &ctl->listeners) {
		struct events_listener *l = list_entry(node, struct events_listener, link);

		l->event(l, ctl->seq, event);
	}
}

void fake_ctl_forget(struct ctl *ctl, uint64_t seq)
{
	while (json_array_size(ctl->events) > 0 && seq_of(json_array_get(ctl->events, 0)) <= seq) {
		json_array_remove(ctl->events, 0);
	}
	ctl->forgotten = seq;
}

bool events_listen(struct ctl *ctl, uint64_t since, struct events_listener *l)
{
	json_t *event;
	size_t i;

	list_append(&ctl->listeners, &l->link);
	if (since == UINT64_MAX) {
		return true;
	}
	json_array_foreach(ctl->events, i, event)
	{
		if (seq_of(event) > since) {
			l->event(l, seq_of(event), event);
		}
	}
	return since >= ctl->forgotten;
}

void events_unlisten(struct events_listener *l)
{
	list_remove(&l->link);
}
