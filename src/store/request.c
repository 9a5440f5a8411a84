#include "store/request.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int store_items_add(struct store_items *items, const struct store_item *from)
{
	size_t key_len = strlen(from->key) + 1;
	struct store_item *to;
	char *block;

	if (items->nr == items->capacity) {
		size_t capacity = MAX(items->capacity * 2, (size_t)8);
		struct store_item *grown = reallocarray(items->item, capacity, sizeof(*grown));

		if (grown == NULL) {
			return -ENOMEM;
		}
		items->item = grown;
		items->capacity = capacity;
	}
	block = malloc(key_len + from->value_len + 1);
	if (block == NULL) {
		return -ENOMEM;
	}
	to = &items->item[items->nr++];
	*to = *from;
	to->key = memcpy(block, from->key, key_len);
	if (from->value != NULL) {
		block[key_len + from->value_len] = '\0';
		to->value = memcpy(block + key_len, from->value, from->value_len);
	}
	return 0;
}

void store_items_clear(struct store_items *items)
{
	for (size_t i = 0; i < items->nr; i++) {
		free((void *)items->item[i].key);
	}
	free(items->item);
	*items = (struct store_items){0};
}

struct store_request *store_request_new(struct store *s, enum store_request_kind kind, void *ctx)
{
	struct store_request *rq = calloc(1, sizeof(*rq));

	sluice_assert(rq != NULL);
	list_init(&rq->link);
	rq->store = s;
	rq->kind = kind;
	rq->ctx = ctx;
	return rq;
}

void store_request_free(struct store_request *rq)
{
	if (rq == NULL) {
		return;
	}
	for (size_t i = 0; i < rq->nr_compares; i++) {
		free((void *)rq->compares[i].key);
		free((void *)rq->compares[i].value);
	}
	for (size_t i = 0; i < rq->nr_ops; i++) {
		free((void *)rq->ops[i].key);
		free((void *)rq->ops[i].value);
	}
	free(rq->compares);
	free(rq->ops);
	free(rq->key);
	store_items_clear(&rq->items);
	free(rq);
}

static void request_out_of_memory(struct store_request *rq)
{
	error_set(&rq->err, -ENOMEM, "out of memory while asking the store");
}

static int key_check(const char *key, bool may_be_empty, struct error *err)
{
	size_t len = strlen(key);

	if (len == 0 && !may_be_empty) {
		return error_set(err, -EINVAL, "a store key must not be empty");
	}
	if (len > STORE_KEY_MAX) {
		return error_set(
		    err, -EINVAL, "store key of %zu bytes; the most is %u", len, STORE_KEY_MAX);
	}
	return 0;
}

void store_request_set_key(struct store_request *rq, const char *key, bool exact)
{
	rq->exact = exact;
	if (key_check(key, !exact, &rq->err) < 0) {
		return;
	}
	rq->key = strdup(key);
	if (rq->key == NULL) {
		request_out_of_memory(rq);
	}
}

/* A block of its own even when it is empty, so that an empty value differs from none. */
static void *value_copy(const void *value, size_t len)
{
	char *copy = malloc(len + 1);

	if (copy != NULL && len > 0) {
		memcpy(copy, value, len);
	}
	return copy;
}

static int op_check(const struct store_op *op, struct error *err)
{
	int r = key_check(op->key, op->kind == STORE_DELETE_PREFIX, err);

	if (r < 0) {
		return r;
	}
	if (op->lease != 0) {
		error_set(
		    err, -EOPNOTSUPP, "the store of a single node has no leases (key %s)", op->key);
		return error_hint(err, "leases need a cluster store");
	}
	if (op->value_len > STORE_VALUE_MAX) {
		return error_set(err, -EINVAL, "value of %s has %zu bytes; the most is %u", op->key,
		    op->value_len, STORE_VALUE_MAX);
	}
	return 0;
}

static bool ops_overlap(const struct store_op *a, const struct store_op *b)
{
	bool a_prefix = a->kind == STORE_DELETE_PREFIX;
	bool b_prefix = b->kind == STORE_DELETE_PREFIX;

	return (a_prefix && strncmp(a->key, b->key, strlen(a->key)) == 0) ||
	       (b_prefix && strncmp(b->key, a->key, strlen(b->key)) == 0) ||
	       strcmp(a->key, b->key) == 0;
}

static int ops_check(const struct store_op *ops, size_t nr_ops, struct error *err)
{
	for (size_t i = 0; i < nr_ops; i++) {
		int r = op_check(&ops[i], err);

		if (r < 0) {
			return r;
		}
		for (size_t j = 0; j < i; j++) {
			if (ops_overlap(&ops[i], &ops[j])) {
				return error_set(
				    err, -EINVAL, "one transaction touches %s twice", ops[i].key);
			}
		}
	}
	return 0;
}

static int compares_copy(struct store_request *rq, const struct store_compare *compares, size_t nr)
{
	rq->compares = calloc(nr + 1, sizeof(*compares));
	if (rq->compares == NULL) {
		return -ENOMEM;
	}
	for (size_t i = 0; i < nr; i++) {
		struct store_compare *to = &rq->compares[i];

		*to = compares[i];
		to->key = strdup(compares[i].key);
		to->value = value_copy(compares[i].value, compares[i].value_len);
		rq->nr_compares++;
		if (to->key == NULL || to->value == NULL) {
			return -ENOMEM;
		}
	}
	return 0;
}

static int ops_copy(struct store_request *rq, const struct store_op *ops, size_t nr)
{
	rq->ops = calloc(nr + 1, sizeof(*ops));
	if (rq->ops == NULL) {
		return -ENOMEM;
	}
	for (size_t i = 0; i < nr; i++) {
		struct store_op *to = &rq->ops[i];

		*to = ops[i];
		to->key = strdup(ops[i].key);
		to->value = value_copy(ops[i].value, ops[i].value_len);
		rq->nr_ops++;
		if (to->key == NULL || to->value == NULL) {
			return -ENOMEM;
		}
	}
	return 0;
}

void store_request_set_txn(struct store_request *rq, const struct store_compare *compares,
    size_t nr_compares, const struct store_op *ops, size_t nr_ops)
{
	for (size_t i = 0; i < nr_compares; i++) {
		if (key_check(compares[i].key, false, &rq->err) < 0) {
			return;
		}
	}
	if (ops_check(ops, nr_ops, &rq->err) < 0) {
		return;
	}
	if (compares_copy(rq, compares, nr_compares) < 0 || ops_copy(rq, ops, nr_ops) < 0) {
		request_out_of_memory(rq);
	}
}
