/*
 * The store in memory, for tests: a sorted array and the history behind it. Requests are executed
 * when their message arrives, so nothing is answered inside the call.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/engine.h"
#include "store/impl.h"

struct store_mem {
	struct store store;
	struct store_engine engine;
	struct store_items items; /* sorted by key */
	struct store_items history;
};

static bool key_matches(const struct store_item *item, const char *key, bool exact)
{
	return exact ? strcmp(item->key, key) == 0 : strncmp(item->key, key, strlen(key)) == 0;
}

/* The first item that does not sort before key. */
static size_t lower_bound(const struct store_items *items, const char *key)
{
	size_t low = 0;
	size_t high = items->nr;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (strcmp(items->item[mid].key, key) < 0) {
			low = mid + 1;
		} else {
			high = mid;
		}
	}
	return low;
}

static int mem_find(
    struct store_engine *e, const char *key, bool exact, struct store_items *out, struct error *err)
{
	struct store_mem *m = container_of(e, struct store_mem, engine);

	for (size_t i = lower_bound(&m->items, key); i < m->items.nr; i++) {
		if (!key_matches(&m->items.item[i], key, exact)) {
			break;
		}
		if (store_items_add(out, &m->items.item[i]) < 0) {
			return error_set(err, -ENOMEM, "out of memory in the store");
		}
	}
	return 0;
}

static int mem_changes(struct store_engine *e, const char *prefix, uint64_t from_revision,
    struct store_items *out, struct error *err)
{
	struct store_mem *m = container_of(e, struct store_mem, engine);

	for (size_t i = 0; i < m->history.nr; i++) {
		const struct store_item *change = &m->history.item[i];

		if (change->mod_revision < from_revision || !key_matches(change, prefix, false)) {
			continue;
		}
		if (store_items_add(out, change) < 0) {
			return error_set(err, -ENOMEM, "out of memory in the store");
		}
	}
	return 0;
}

static void items_remove(struct store_items *items, size_t at, size_t nr)
{
	for (size_t i = at; i < at + nr; i++) {
		free((void *)items->item[i].key);
	}
	memmove(&items->item[at], &items->item[at + nr],
	    (items->nr - at - nr) * sizeof(items->item[0]));
	items->nr -= nr;
}

/* copies: one for each put, made before, so that nothing can fail half-way. */
static void change_item(
    struct store_mem *m, const struct store_item *change, struct store_item copy)
{
	size_t at = lower_bound(&m->items, change->key);
	bool exists = at < m->items.nr && strcmp(m->items.item[at].key, change->key) == 0;

	if (exists) {
		items_remove(&m->items, at, 1);
	}
	if (change->value == NULL) {
		return;
	}
	memmove(&m->items.item[at + 1], &m->items.item[at],
	    (m->items.nr - at) * sizeof(m->items.item[0]));
	m->items.item[at] = copy;
	m->items.nr++;
}

static void history_trim(struct store_mem *m, uint64_t revision)
{
	size_t old = 0;

	while (
	    old < m->history.nr && m->history.item[old].mod_revision + STORE_HISTORY <= revision) {
		old++;
	}
	items_remove(&m->history, 0, old);
}

static int items_reserve(struct store_items *items, size_t more)
{
	struct store_item *grown =
	    reallocarray(items->item, items->nr + more, sizeof(items->item[0]));

	if (grown == NULL) {
		return -ENOMEM;
	}
	items->item = grown;
	items->capacity = items->nr + more;
	return 0;
}

static int items_copy(const struct store_items *from, struct store_items *out)
{
	for (size_t i = 0; i < from->nr; i++) {
		if (store_items_add(out, &from->item[i]) < 0) {
			return -ENOMEM;
		}
	}
	return 0;
}

static int mem_apply(
    struct store_engine *e, const struct store_items *changes, uint64_t revision, struct error *err)
{
	struct store_mem *m = container_of(e, struct store_mem, engine);
	struct store_items copies = {0};
	struct store_items past = {0};

	if (items_copy(changes, &copies) < 0 || items_copy(changes, &past) < 0 ||
	    items_reserve(&m->items, changes->nr) < 0 ||
	    items_reserve(&m->history, changes->nr) < 0) {
		store_items_clear(&copies);
		store_items_clear(&past);
		return error_set(err, -ENOMEM, "out of memory in the store");
	}
	for (size_t i = 0; i < changes->nr; i++) {
		change_item(m, &changes->item[i], copies.item[i]);
		if (changes->item[i].value == NULL) {
			free((void *)copies.item[i].key);
		}
		m->history.item[m->history.nr++] = past.item[i];
	}
	free(copies.item);
	free(past.item);
	history_trim(m, revision);
	return 0;
}

static const struct store_engine_ops mem_engine_ops = {
    .find = mem_find,
    .changes = mem_changes,
    .apply = mem_apply,
};

static void mem_execute(struct reactor_msg *msg)
{
	struct store_request *rq = container_of(msg, struct store_request, msg);
	struct store_mem *m = container_of(rq->store, struct store_mem, store);

	store_engine_execute(&m->engine, rq);
	store_request_answer(rq);
}

static void mem_submit(struct store *s, struct store_request *rq)
{
	reactor_send(s->control, &rq->msg, mem_execute);
}

static void mem_free(struct store *s)
{
	struct store_mem *m = container_of(s, struct store_mem, store);

	store_items_clear(&m->items);
	store_items_clear(&m->history);
	store_fini(s);
	free(m);
}

static const struct store_ops mem_ops = {
    .submit = mem_submit,
    .free = mem_free,
};

int store_mem_open(struct reactor *control, struct store **ret_store, struct error *err)
{
	struct store_mem *m = calloc(1, sizeof(*m));

	if (m == NULL || store_init(&m->store, &mem_ops, control, "mem:") < 0) {
		free(m);
		return error_set(err, -ENOMEM, "out of memory while opening the store");
	}
	m->engine.ops = &mem_engine_ops;
	*ret_store = &m->store;
	return 0;
}
