#include "store_fixture.h"

#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void text_add(char *text, const char *fmt, ...) PRINTF_LIKE(2, 3);

static void text_add(char *text, const char *fmt, ...)
{
	size_t n = strlen(text);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text + n, FIXTURE_TEXT - n, fmt, ap);
	va_end(ap);
}

/* -- set up and tear down -- */

int fixture_open(struct fixture *f, struct error *err)
{
	return f->sqlite ? store_sqlite_open(f->reactor, f->data, &f->store, err)
			 : store_mem_open(f->reactor, &f->store, err);
}

static struct fixture *fixture_new(bool sqlite)
{
	const struct reactor_options options = {.name = "test", .index = REACTOR_CONTROL};
	const char *tmp = getenv("TMPDIR");
	struct fixture *f = calloc(1, sizeof(*f));
	struct error err = {0};

	assert_non_null(f);
	f->sqlite = sqlite;
	snprintf(f->dir, sizeof(f->dir), "%.40s/sluice-store-XXXXXX", tmp != NULL ? tmp : "/tmp");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->data, sizeof(f->data), "%s/data", f->dir);
	if (reactor_new(&options, &f->reactor, &err) < 0) {
		fail_msg("%s (%s)", err.message, err.hint);
	}
	return f;
}

int fixture_setup_closed(void **state)
{
	*state = fixture_new(true);
	return 0;
}

static int setup_open(void **state, bool sqlite)
{
	struct fixture *f = fixture_new(sqlite);
	struct error err = {0};

	if (fixture_open(f, &err) < 0) {
		fail_msg("%s (%s)", err.message, err.hint);
	}
	*state = f;
	return 0;
}

int fixture_setup_mem(void **state)
{
	return setup_open(state, false);
}

int fixture_setup_sqlite(void **state)
{
	return setup_open(state, true);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

int fixture_teardown(void **state)
{
	struct fixture *f = *state;

	if (f->store != NULL) {
		fixture_close(f);
	}
	reactor_free(f->reactor);
	nftw(f->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	free(f);
	return 0;
}

void fixture_step_until(struct fixture *f, const bool *flag)
{
	while (!*flag) {
		reactor_step(f->reactor, 1000);
	}
}

static void on_closed(void *ctx)
{
	*(bool *)ctx = true;
}

void fixture_close(struct fixture *f)
{
	bool closed = false;

	store_close(f->store, on_closed, &closed);
	assert_false(closed);
	fixture_step_until(f, &closed);
	f->store = NULL;
}

void fixture_reopen(struct fixture *f)
{
	struct error err = {0};

	fixture_close(f);
	if (fixture_open(f, &err) < 0) {
		fail_msg("%s (%s)", err.message, err.hint);
	}
}

/* -- asking -- */

static void outcome_take_error(struct outcome *o, const struct error *err)
{
	if (err != NULL) {
		o->code = err->code;
		text_add(o->text, "!%d", err->code);
		snprintf(o->message, sizeof(o->message), "%s %s", err->message, err->hint);
	}
}

void outcome_on_items(void *ctx, const struct store_item *items, size_t nr_items, uint64_t revision,
    const struct error *err)
{
	struct outcome *o = ctx;

	assert_false(o->called);
	o->called = true;
	o->revision = revision;
	o->nr_items = nr_items;
	outcome_take_error(o, err);
	for (size_t i = 0; i < nr_items; i++) {
		assert_non_null(items[i].value);
		text_add(o->text, "%s%s=%.*s(%" PRIu64 ",%" PRIu64 ")", i > 0 ? " " : "",
		    items[i].key, (int)MIN(items[i].value_len, (size_t)40),
		    (const char *)items[i].value, items[i].create_revision, items[i].mod_revision);
	}
}

void outcome_on_txn(void *ctx, bool succeeded, uint64_t revision, const struct error *err)
{
	struct outcome *o = ctx;

	assert_false(o->called);
	o->called = true;
	o->succeeded = succeeded;
	o->revision = revision;
	outcome_take_error(o, err);
}

struct outcome fixture_range(struct fixture *f, const char *prefix)
{
	struct outcome o = {0};

	store_range(f->store, prefix, outcome_on_items, &o);
	assert_false(o.called);
	fixture_step_until(f, &o.called);
	return o;
}

struct outcome fixture_get(struct fixture *f, const char *key)
{
	struct outcome o = {0};

	store_get(f->store, key, outcome_on_items, &o);
	assert_false(o.called);
	fixture_step_until(f, &o.called);
	return o;
}

struct outcome fixture_txn(struct fixture *f, const struct store_compare *compares,
    size_t nr_compares, const struct store_op *ops, size_t nr_ops)
{
	struct outcome o = {0};

	store_txn(f->store, compares, nr_compares, ops, nr_ops, outcome_on_txn, &o);
	assert_false(o.called);
	fixture_step_until(f, &o.called);
	return o;
}

uint64_t fixture_put(struct fixture *f, const char *key, const char *value)
{
	const struct store_op op = {
	    .kind = STORE_PUT, .key = key, .value = value, .value_len = strlen(value)};
	struct outcome o = fixture_txn(f, NULL, 0, &op, 1);

	assert_int_equal(o.code, 0);
	assert_true(o.succeeded);
	return o.revision;
}

uint64_t fixture_delete(struct fixture *f, const char *key)
{
	const struct store_op op = OP_DELETE(key);
	struct outcome o = fixture_txn(f, NULL, 0, &op, 1);

	assert_int_equal(o.code, 0);
	assert_true(o.succeeded);
	return o.revision;
}

static void on_change(
    void *ctx, const struct store_item *item, uint64_t revision, const struct error *err)
{
	struct watch_log *log = ctx;
	const char *space = log->text[0] != '\0' ? " " : "";

	if (err != NULL) {
		assert_null(item);
		text_add(log->text, "%s!%d", space, err->code);
		return;
	}
	assert_int_equal(item->mod_revision, revision);
	if (item->value == NULL) {
		text_add(log->text, "%s-%s@%" PRIu64, space, item->key, revision);
	} else {
		text_add(log->text, "%s+%s=%.*s@%" PRIu64, space, item->key, (int)item->value_len,
		    (const char *)item->value, revision);
	}
}

void fixture_watch(
    struct fixture *f, struct watch_log *log, const char *prefix, uint64_t from_revision)
{
	log->text[0] = '\0';
	assert_int_equal(
	    store_watch(f->store, prefix, from_revision, on_change, log, &log->watch), 0);
	assert_string_equal(log->text, "");
}

void fixture_settle(struct fixture *f)
{
	(void)fixture_get(f, "/settle");
}
