#include "store/engine.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

static bool compare_holds(const struct store_compare *c, const struct store_items *found)
{
	const struct store_item *item = found->nr > 0 ? &found->item[0] : NULL;

	switch (c->kind) {
	case STORE_MOD_REVISION_IS:
		return c->revision == (item != NULL ? item->mod_revision : 0);
	case STORE_VALUE_IS:
		return item != NULL && item->value_len == c->value_len &&
		       memcmp(item->value, c->value, c->value_len) == 0;
	}
	return false;
}

/* 1 all hold, 0 not, -errno. */
static int compares_hold(struct store_engine *e, struct store_request *rq)
{
	for (size_t i = 0; i < rq->nr_compares; i++) {
		const struct store_compare *c = &rq->compares[i];
		struct store_items found = {0};
		int r = e->ops->find(e, c->key, true, &found, &rq->err);
		bool holds = r == 0 && compare_holds(c, &found);

		store_items_clear(&found);
		if (r < 0) {
			return r;
		}
		if (!holds) {
			return 0;
		}
	}
	return 1;
}

static int plan_put(struct store_engine *e, const struct store_op *op, uint64_t revision,
    struct store_items *changes, struct error *err)
{
	struct store_item item = {.key = op->key,
	    .value = op->value,
	    .value_len = op->value_len,
	    .create_revision = revision,
	    .mod_revision = revision};
	struct store_items found = {0};
	int r = e->ops->find(e, op->key, true, &found, err);

	if (r == 0 && found.nr > 0) {
		item.create_revision = found.item[0].create_revision;
	}
	store_items_clear(&found);
	if (r < 0) {
		return r;
	}
	if (store_items_add(changes, &item) < 0) {
		return error_set(err, -ENOMEM, "out of memory in the store");
	}
	return 0;
}

static int plan_delete(struct store_engine *e, const struct store_op *op, uint64_t revision,
    struct store_items *changes, struct error *err)
{
	struct store_items found = {0};
	int r = e->ops->find(e, op->key, op->kind == STORE_DELETE, &found, err);

	for (size_t i = 0; r == 0 && i < found.nr; i++) {
		const struct store_item gone = {.key = found.item[i].key, .mod_revision = revision};

		if (store_items_add(changes, &gone) < 0) {
			r = error_set(err, -ENOMEM, "out of memory in the store");
		}
	}
	store_items_clear(&found);
	return r;
}

static int plan_op(struct store_engine *e, const struct store_op *op, uint64_t revision,
    struct store_items *changes, struct error *err)
{
	switch (op->kind) {
	case STORE_PUT:
		return plan_put(e, op, revision, changes, err);
	case STORE_DELETE:
	case STORE_DELETE_PREFIX:
		return plan_delete(e, op, revision, changes, err);
	}
	return error_set(err, -EINVAL, "unknown store operation %d", (int)op->kind);
}

/* The operations of one transaction touch no key twice, so each can be planned by itself. */
static int execute_txn(struct store_engine *e, struct store_request *rq)
{
	uint64_t revision = e->revision + 1;
	int r = compares_hold(e, rq);

	if (r <= 0) {
		return r;
	}
	for (size_t i = 0; i < rq->nr_ops; i++) {
		r = plan_op(e, &rq->ops[i], revision, &rq->items, &rq->err);
		if (r < 0) {
			return r;
		}
	}
	if (rq->items.nr > 0) {
		r = e->ops->apply(e, &rq->items, revision, &rq->err);
		if (r < 0) {
			return r;
		}
		e->revision = revision;
	}
	rq->succeeded = true;
	return 0;
}

static int execute_watch(struct store_engine *e, struct store_request *rq)
{
	if (rq->from_revision == 0 || rq->from_revision > e->revision) {
		return 0;
	}
	if (e->revision - rq->from_revision >= STORE_HISTORY) {
		error_set(&rq->err, -ESTALE,
		    "changes of store revision %" PRIu64 " are not kept any more",
		    rq->from_revision);
		return error_hint(&rq->err, "list the keys again, then watch from there");
	}
	return e->ops->changes(e, rq->key, rq->from_revision, &rq->items, &rq->err);
}

static int execute(struct store_engine *e, struct store_request *rq)
{
	switch (rq->kind) {
	case STORE_REQUEST_RANGE:
		return e->ops->find(e, rq->key, rq->exact, &rq->items, &rq->err);
	case STORE_REQUEST_TXN:
		return execute_txn(e, rq);
	case STORE_REQUEST_WATCH:
		return execute_watch(e, rq);
	case STORE_REQUEST_CLOSE:
		return 0;
	}
	return 0;
}

void store_engine_execute(struct store_engine *e, struct store_request *rq)
{
	if (rq->err.code == 0 && execute(e, rq) < 0) {
		sluice_assert(rq->err.code < 0);
		store_items_clear(&rq->items);
	}
	rq->revision = e->revision;
}
