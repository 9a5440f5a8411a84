#include "store/impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct store_watch {
	struct list link;
	struct store *store;
	store_watch_fn changed;
	void *ctx;
	uint64_t from_revision;
	bool live;     /* its past was told; false again when it has ended */
	bool starting; /* a request for its past is under way and refers to it */
	bool cancelled;
	char prefix[];
};

int store_init(
    struct store *s, const struct store_ops *ops, struct reactor *control, const char *description)
{
	*s = (struct store){.ops = ops, .control = control, .description = strdup(description)};
	list_init(&s->watches);
	return s->description != NULL ? 0 : -ENOMEM;
}

void store_fini(struct store *s)
{
	free(s->description);
}

const char *store_describe(const struct store *s)
{
	return s->description;
}

/* -- watches -- */

static void watch_release(struct store_watch *w)
{
	list_remove(&w->link);
	free(w);
}

static void watches_sweep(struct store *s)
{
	if (s->delivering > 0) {
		return;
	}
	list_for_each_safe (pos, &s->watches) {
		struct store_watch *w = list_entry(pos, struct store_watch, link);

		if (w->cancelled && !w->starting) {
			watch_release(w);
		}
	}
}

static void watch_tell(struct store_watch *w, const struct store_item *item)
{
	if (w->cancelled || item->mod_revision < w->from_revision ||
	    strncmp(item->key, w->prefix, strlen(w->prefix)) != 0) {
		return;
	}
	w->changed(w->ctx, item, item->mod_revision, NULL);
}

static void watches_tell(struct store *s, const struct store_items *changes)
{
	for (size_t i = 0; i < changes->nr; i++) {
		list_for_each (pos, &s->watches) {
			struct store_watch *w = list_entry(pos, struct store_watch, link);

			if (w->live) {
				watch_tell(w, &changes->item[i]);
			}
		}
	}
}

static void watch_start(struct store_request *rq)
{
	struct store_watch *w = rq->watch;

	w->starting = false;
	if (w->cancelled) {
		return;
	}
	if (rq->err.code != 0) {
		w->changed(w->ctx, NULL, rq->revision, &rq->err);
		return;
	}
	w->live = true;
	for (size_t i = 0; i < rq->items.nr; i++) {
		watch_tell(w, &rq->items.item[i]);
	}
}

int store_watch(struct store *s, const char *prefix, uint64_t from_revision, store_watch_fn changed,
    void *ctx, struct store_watch **ret_watch)
{
	size_t prefix_len = strlen(prefix) + 1;
	struct store_watch *w = calloc(1, sizeof(*w) + prefix_len);
	struct store_request *rq;

	reactor_assert(s->control);
	sluice_assert(!s->closing);
	if (w == NULL) {
		return -ENOMEM;
	}
	w->store = s;
	w->changed = changed;
	w->ctx = ctx;
	w->from_revision = from_revision;
	w->starting = true;
	memcpy(w->prefix, prefix, prefix_len);
	list_append(&s->watches, &w->link);

	rq = store_request_new(s, STORE_REQUEST_WATCH, NULL);
	rq->watch = w;
	rq->from_revision = from_revision;
	store_request_set_key(rq, prefix, false);
	s->ops->submit(s, rq);
	*ret_watch = w;
	return 0;
}

void store_watch_cancel(struct store_watch *w)
{
	if (w == NULL) {
		return;
	}
	reactor_assert(w->store->control);
	w->cancelled = true;
	watches_sweep(w->store);
}

/* -- asking -- */

static void ask_items(struct store *s, const char *key, bool exact, store_range_fn done, void *ctx)
{
	struct store_request *rq = store_request_new(s, STORE_REQUEST_RANGE, ctx);

	reactor_assert(s->control);
	sluice_assert(!s->closing);
	rq->done.range = done;
	store_request_set_key(rq, key, exact);
	s->ops->submit(s, rq);
}

void store_range(struct store *s, const char *prefix, store_range_fn done, void *ctx)
{
	ask_items(s, prefix, false, done, ctx);
}

void store_get(struct store *s, const char *key, store_range_fn done, void *ctx)
{
	ask_items(s, key, true, done, ctx);
}

void store_txn(struct store *s, const struct store_compare *compares, size_t nr_compares,
    const struct store_op *ops, size_t nr_ops, store_txn_fn done, void *ctx)
{
	struct store_request *rq = store_request_new(s, STORE_REQUEST_TXN, ctx);

	reactor_assert(s->control);
	sluice_assert(!s->closing);
	rq->done.txn = done;
	store_request_set_txn(rq, compares, nr_compares, ops, nr_ops);
	s->ops->submit(s, rq);
}

void store_close(struct store *s, void (*closed)(void *ctx), void *ctx)
{
	struct store_request *rq = store_request_new(s, STORE_REQUEST_CLOSE, ctx);

	reactor_assert(s->control);
	sluice_assert(!s->closing);
	s->closing = true;
	rq->done.closed = closed;
	s->ops->submit(s, rq);
}

/* -- answering -- */

static void deliver_close(struct store_request *rq)
{
	struct store *s = rq->store;
	void (*closed)(void *ctx) = rq->done.closed;
	void *ctx = rq->ctx;

	list_for_each_safe (pos, &s->watches) {
		watch_release(list_entry(pos, struct store_watch, link));
	}
	store_request_free(rq);
	s->ops->free(s);
	closed(ctx);
}

static void deliver(struct reactor_msg *msg)
{
	struct store_request *rq = container_of(msg, struct store_request, msg);
	const struct error *err = rq->err.code != 0 ? &rq->err : NULL;
	struct store *s = rq->store;

	if (rq->kind == STORE_REQUEST_CLOSE) {
		deliver_close(rq);
		return;
	}
	s->delivering++;
	switch (rq->kind) {
	case STORE_REQUEST_RANGE:
		rq->done.range(rq->ctx, rq->items.item, rq->items.nr, rq->revision, err);
		break;
	case STORE_REQUEST_TXN:
		rq->done.txn(rq->ctx, rq->succeeded, rq->revision, err);
		watches_tell(s, &rq->items);
		break;
	case STORE_REQUEST_WATCH:
		watch_start(rq);
		break;
	case STORE_REQUEST_CLOSE:
		break;
	}
	s->delivering--;
	store_request_free(rq);
	watches_sweep(s);
}

void store_request_answer(struct store_request *rq)
{
	reactor_send(rq->store->control, &rq->msg, deliver);
}
