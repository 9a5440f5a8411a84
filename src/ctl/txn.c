/*
 * Transactions of the control plane, and the keys of its objects.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <uuid/uuid.h>

#include "base/text.h"
#include "ctl/ctl_private.h"

void ctl_txn_init(struct ctl_txn *t)
{
	*t = (struct ctl_txn){0};
}

static struct store_compare *add_compare(struct ctl_txn *t, const char *key)
{
	struct store_compare *c;

	sluice_assert(t->nr_compares < ARRAY_SIZE(t->compares));
	c = &t->compares[t->nr_compares];
	snprintf(t->compare_keys[t->nr_compares], CTL_KEY_MAX, "%s", key);
	c->key = t->compare_keys[t->nr_compares++];
	return c;
}

void ctl_txn_expect_absent(struct ctl_txn *t, const char *key)
{
	struct store_compare *c = add_compare(t, key);

	c->kind = STORE_MOD_REVISION_IS;
	c->revision = 0;
}

void ctl_txn_expect_value(struct ctl_txn *t, const char *key, const char *value)
{
	struct store_compare *c = add_compare(t, key);
	char *copy = t->compare_values[t->nr_compares - 1];

	snprintf(copy, sizeof(t->compare_values[0]), "%s", value);
	c->kind = STORE_VALUE_IS;
	c->value = copy;
	c->value_len = strlen(copy);
}

static struct store_op *add_op(struct ctl_txn *t, enum store_op_kind kind, const char *key)
{
	struct store_op *op;

	sluice_assert(t->nr_ops < ARRAY_SIZE(t->ops));
	op = &t->ops[t->nr_ops];
	snprintf(t->keys[t->nr_ops], CTL_KEY_MAX, "%s", key);
	op->kind = kind;
	op->key = t->keys[t->nr_ops++];
	return op;
}

static void put_owned(struct ctl_txn *t, const char *key, char *value)
{
	struct store_op *op = add_op(t, STORE_PUT, key);

	sluice_assert(value != NULL);
	t->values[t->nr_ops - 1] = value;
	op->value = value;
	op->value_len = strlen(value);
}

void ctl_txn_put(struct ctl_txn *t, const char *key, json_t *value_consumed)
{
	put_owned(t, key, json_dumps(value_consumed, JSON_COMPACT));
	json_decref(value_consumed);
}

void ctl_txn_put_text(struct ctl_txn *t, const char *key, const char *value)
{
	put_owned(t, key, strdup(value));
}

void ctl_txn_delete(struct ctl_txn *t, const char *key)
{
	add_op(t, STORE_DELETE, key);
}

void ctl_txn_delete_prefix(struct ctl_txn *t, const char *prefix)
{
	add_op(t, STORE_DELETE_PREFIX, prefix);
}

void ctl_txn_send(struct ctl *ctl, struct ctl_txn *t, store_txn_fn done, void *ctx)
{
	store_txn(ctl->store, t->compares, t->nr_compares, t->ops, t->nr_ops, done, ctx);
	for (unsigned i = 0; i < t->nr_ops; i++) {
		free(t->values[i]);
	}
	ctl_txn_init(t);
}

int ctl_txn_outcome(bool succeeded, const struct error *store_err, struct error *ret_err)
{
	if (store_err != NULL) {
		*ret_err = *store_err;
		error_prefix(ret_err, "the store did not take it");
		return ret_err->code;
	}
	if (!succeeded) {
		error_set(ret_err, -EBUSY, "the configuration was changed at the same time");
		return error_hint(ret_err, "look at it again, then repeat the command");
	}
	return 0;
}

const char *ctl_key(char *buf, const char *noun, const char *name)
{
	snprintf(buf, CTL_KEY_MAX, "/%s/%s", noun, name);
	return buf;
}

const char *ctl_key_id(char *buf, const char *noun, uint64_t id)
{
	snprintf(buf, CTL_KEY_MAX, "/%s/%020" PRIu64, noun, id);
	return buf;
}

int ctl_record_bad(const char *noun, const json_t *record, struct error *err)
{
	const char *name = json_string_value(json_object_get(record, "name"));

	return error_set(err, -EBADMSG, "the stored record of %s %s is not understood", noun,
	    name != NULL ? name : "(nameless)");
}

/* -- texts -- */

json_t *ctl_text(const char *text)
{
	char *copy = strdup(text);
	json_t *j;

	sluice_assert(copy != NULL);
	text_make_utf8(copy);
	j = json_string(copy);
	free(copy);
	return j;
}

void ctl_time_text(char buf[CTL_TIME_LEN])
{
	struct timespec ts;
	struct tm tm;
	char seconds[24];

	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	strftime(seconds, sizeof(seconds), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(buf, CTL_TIME_LEN, "%s.%03uZ", seconds, (unsigned)(ts.tv_nsec / 1000000) % 1000u);
}

void ctl_uuid_new(char buf[CTL_UUID_LEN])
{
	uuid_t uuid;

	uuid_generate_random(uuid);
	uuid_unparse_lower(uuid, buf);
}
