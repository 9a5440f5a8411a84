#include "store/sqlite_engine.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/sqlite_file.h"

/* X(name, text) */
#define STATEMENTS(X)                                                                              \
	X(BEGIN, "BEGIN IMMEDIATE")                                                                \
	X(COMMIT, "COMMIT")                                                                        \
	X(ROLLBACK, "ROLLBACK")                                                                    \
	X(GET, "SELECT key, value, create_revision, mod_revision FROM item WHERE key = ?1")        \
	X(RANGE, "SELECT key, value, create_revision, mod_revision FROM item"                      \
		 " WHERE key >= ?1 AND key < ?2 ORDER BY key")                                     \
	X(CHANGES, "SELECT key, value, create_revision, revision FROM change"                      \
		   " WHERE revision >= ?3 AND key >= ?1 AND key < ?2 ORDER BY revision, seq")      \
	X(PUT, "INSERT INTO item (key, value, create_revision, mod_revision)"                      \
	       " VALUES (?1, ?2, ?3, ?4) ON CONFLICT (key) DO UPDATE"                              \
	       " SET value = ?2, create_revision = ?3, mod_revision = ?4")                         \
	X(DELETE, "DELETE FROM item WHERE key = ?1")                                               \
	X(REMEMBER, "INSERT INTO change (key, value, create_revision, revision, seq)"              \
		    " VALUES (?1, ?2, ?3, ?4, ?5)")                                                \
	X(FORGET, "DELETE FROM change WHERE revision <= ?1")                                       \
	X(SET_REVISION, "UPDATE meta SET value = ?1 WHERE name = 'revision'")                      \
	X(GET_REVISION, "SELECT value FROM meta WHERE name = 'revision'")

enum statement {
#define X(name, text) STATEMENT_##name,
	STATEMENTS(X)
#undef X
	    STATEMENT_COUNT
};

static const char *const statement_text[STATEMENT_COUNT] = {
#define X(name, text) [STATEMENT_##name] = text,
    STATEMENTS(X)
#undef X
};

struct sqlite_engine {
	struct store_engine engine;
	sqlite3 *db;
	sqlite3_stmt *statement[STATEMENT_COUNT];
	char path[PATH_MAX];
	/* A sync failed: what the disk holds is not known, so nothing more is written. */
	bool doubtful;
};

static int failed(struct sqlite_engine *q, const char *what, struct error *err)
{
	return sqlite_file_error(q->db, q->path, what, err);
}

static sqlite3_stmt *statement_reset(struct sqlite_engine *q, enum statement which)
{
	sqlite3_stmt *st = q->statement[which];

	sqlite3_reset(st);
	sqlite3_clear_bindings(st);
	return st;
}

/* Runs a statement that returns no rows. */
static int statement_run(struct sqlite_engine *q, enum statement which, struct error *err)
{
	sqlite3_stmt *st = q->statement[which];
	int rc = sqlite3_step(st);
	int r = 0;

	if (rc != SQLITE_DONE) {
		r = failed(q, "writing", err);
	}
	sqlite3_reset(st);
	return r;
}

/* -- reading -- */

static int refuse_row(struct sqlite_engine *q, struct error *err)
{
	error_set(err, -EBADMSG, "%s holds a record that is not valid", q->path);
	return sqlite_file_advice(q->path, err);
}

/* Columns key, value, create_revision, revision. The value of a deletion is NULL. */
static int row_to_item(struct sqlite_engine *q, sqlite3_stmt *st, bool deletions,
    struct store_item *item, struct error *err)
{
	static const char empty[1];
	int value_type = sqlite3_column_type(st, 1);

	if (sqlite3_column_type(st, 0) != SQLITE_TEXT ||
	    !(value_type == SQLITE_BLOB || (deletions && value_type == SQLITE_NULL)) ||
	    sqlite3_column_int64(st, 2) < 0 || sqlite3_column_int64(st, 3) < 0) {
		return refuse_row(q, err);
	}
	item->key = (const char *)sqlite3_column_text(st, 0);
	item->value = sqlite3_column_blob(st, 1);
	item->value_len = (size_t)sqlite3_column_bytes(st, 1);
	if (item->key == NULL || (item->value == NULL && item->value_len > 0)) {
		return error_set(err, -ENOMEM, "out of memory in the store");
	}
	if (strlen(item->key) != (size_t)sqlite3_column_bytes(st, 0)) {
		return refuse_row(q, err);
	}
	if (value_type == SQLITE_BLOB && item->value == NULL) {
		item->value = empty;
	}
	item->create_revision = (uint64_t)sqlite3_column_int64(st, 2);
	item->mod_revision = (uint64_t)sqlite3_column_int64(st, 3);
	return 0;
}

static int collect(struct sqlite_engine *q, sqlite3_stmt *st, bool deletions,
    struct store_items *out, struct error *err)
{
	int rc = sqlite3_step(st);
	int r = 0;

	while (rc == SQLITE_ROW && r == 0) {
		struct store_item item;

		r = row_to_item(q, st, deletions, &item, err);
		if (r == 0 && store_items_add(out, &item) < 0) {
			r = error_set(err, -ENOMEM, "out of memory in the store");
		}
		rc = sqlite3_step(st);
	}
	if (r == 0 && rc != SQLITE_DONE) {
		r = failed(q, "reading", err);
	}
	sqlite3_reset(st);
	return r;
}

/*
 * Binds the first key after all that begin with prefix. There is none for the empty prefix and one
 * of only 0xff bytes: a blob sorts after every text.
 */
static int bind_prefix_end(sqlite3_stmt *st, int at, const char *prefix)
{
	char end[STORE_KEY_MAX + 1];
	size_t len = strlen(prefix);

	memcpy(end, prefix, len);
	while (len > 0 && (unsigned char)end[len - 1] == 0xff) {
		len--;
	}
	if (len == 0) {
		return sqlite3_bind_zeroblob(st, at, 0);
	}
	end[len - 1]++;
	return sqlite3_bind_text(st, at, end, (int)len, SQLITE_TRANSIENT);
}

static int sqlite_find(
    struct store_engine *e, const char *key, bool exact, struct store_items *out, struct error *err)
{
	struct sqlite_engine *q = container_of(e, struct sqlite_engine, engine);
	sqlite3_stmt *st = statement_reset(q, exact ? STATEMENT_GET : STATEMENT_RANGE);
	int rc = sqlite3_bind_text(st, 1, key, -1, SQLITE_STATIC);

	if (rc == SQLITE_OK && !exact) {
		rc = bind_prefix_end(st, 2, key);
	}
	return rc == SQLITE_OK ? collect(q, st, false, out, err) : failed(q, "reading", err);
}

static int sqlite_changes(struct store_engine *e, const char *prefix, uint64_t from_revision,
    struct store_items *out, struct error *err)
{
	struct sqlite_engine *q = container_of(e, struct sqlite_engine, engine);
	sqlite3_stmt *st = statement_reset(q, STATEMENT_CHANGES);

	if (sqlite3_bind_text(st, 1, prefix, -1, SQLITE_STATIC) != SQLITE_OK ||
	    bind_prefix_end(st, 2, prefix) != SQLITE_OK ||
	    sqlite3_bind_int64(st, 3, (int64_t)from_revision) != SQLITE_OK) {
		return failed(q, "reading", err);
	}
	return collect(q, st, true, out, err);
}

/* -- writing -- */

static int bind_change(sqlite3_stmt *st, const struct store_item *change)
{
	int rc = sqlite3_bind_text(st, 1, change->key, -1, SQLITE_STATIC);

	if (rc == SQLITE_OK && change->value != NULL) {
		rc = sqlite3_bind_blob(st, 2, change->value, (int)change->value_len, SQLITE_STATIC);
	}
	if (rc == SQLITE_OK) {
		rc = sqlite3_bind_int64(st, 3, (int64_t)change->create_revision);
	}
	if (rc == SQLITE_OK) {
		rc = sqlite3_bind_int64(st, 4, (int64_t)change->mod_revision);
	}
	return rc;
}

static int change_item(struct sqlite_engine *q, const struct store_item *change, struct error *err)
{
	enum statement which = change->value != NULL ? STATEMENT_PUT : STATEMENT_DELETE;
	sqlite3_stmt *st = statement_reset(q, which);
	int rc = change->value != NULL ? bind_change(st, change)
				       : sqlite3_bind_text(st, 1, change->key, -1, SQLITE_STATIC);

	return rc == SQLITE_OK ? statement_run(q, which, err) : failed(q, "writing", err);
}

static int remember(
    struct sqlite_engine *q, const struct store_item *change, size_t seq, struct error *err)
{
	sqlite3_stmt *st = statement_reset(q, STATEMENT_REMEMBER);

	if (bind_change(st, change) != SQLITE_OK ||
	    sqlite3_bind_int64(st, 5, (int64_t)seq) != SQLITE_OK) {
		return failed(q, "writing", err);
	}
	return statement_run(q, STATEMENT_REMEMBER, err);
}

static int run_with_number(
    struct sqlite_engine *q, enum statement which, uint64_t number, struct error *err)
{
	sqlite3_stmt *st = statement_reset(q, which);

	if (sqlite3_bind_int64(st, 1, (int64_t)number) != SQLITE_OK) {
		return failed(q, "writing", err);
	}
	return statement_run(q, which, err);
}

static int write_all(struct sqlite_engine *q, const struct store_items *changes, uint64_t revision,
    struct error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < changes->nr; i++) {
		r = change_item(q, &changes->item[i], err);
		if (r == 0) {
			r = remember(q, &changes->item[i], i, err);
		}
	}
	if (r == 0 && revision > STORE_HISTORY) {
		r = run_with_number(q, STATEMENT_FORGET, revision - STORE_HISTORY, err);
	}
	if (r == 0) {
		r = run_with_number(q, STATEMENT_SET_REVISION, revision, err);
	}
	return r;
}

static int refuse_doubtful(struct sqlite_engine *q, struct error *err)
{
	error_set(
	    err, -EIO, "%s is not written any more since the disk failed to sync it", q->path);
	return error_hint(err, "check the disk, then restart the daemon");
}

static int commit(struct sqlite_engine *q, struct error *err)
{
	int r = statement_run(q, STATEMENT_COMMIT, err);

	if (r < 0 && sqlite_file_sync_failed(q->db)) {
		q->doubtful = true;
		error_set(err, -EAGAIN,
		    "the disk failed to sync %s: it is not known whether the "
		    "change is kept",
		    q->path);
		r = error_hint(err, "check the disk, then restart the daemon");
	}
	return r;
}

static int sqlite_apply(
    struct store_engine *e, const struct store_items *changes, uint64_t revision, struct error *err)
{
	struct sqlite_engine *q = container_of(e, struct sqlite_engine, engine);
	int r;

	if (q->doubtful) {
		return refuse_doubtful(q, err);
	}
	r = statement_run(q, STATEMENT_BEGIN, err);
	if (r < 0) {
		return r;
	}
	r = write_all(q, changes, revision, err);
	if (r == 0) {
		r = commit(q, err);
	}
	if (r < 0 && !sqlite3_get_autocommit(q->db)) {
		(void)statement_run(q, STATEMENT_ROLLBACK, NULL);
	}
	return r;
}

static const struct store_engine_ops sqlite_engine_ops = {
    .find = sqlite_find,
    .changes = sqlite_changes,
    .apply = sqlite_apply,
};

/* -- opening -- */

static int load_revision(struct sqlite_engine *q, struct error *err)
{
	sqlite3_stmt *st = statement_reset(q, STATEMENT_GET_REVISION);
	int rc = sqlite3_step(st);
	int r = 0;

	if (rc != SQLITE_ROW && rc != SQLITE_DONE) {
		r = failed(q, "reading", err);
	} else if (rc == SQLITE_DONE || sqlite3_column_int64(st, 0) < 0 ||
		   sqlite3_column_int64(st, 0) == INT64_MAX) {
		r = refuse_row(q, err);
	} else {
		q->engine.revision = (uint64_t)sqlite3_column_int64(st, 0);
	}
	sqlite3_reset(st);
	return r;
}

static int prepare(struct sqlite_engine *q, struct error *err)
{
	for (int i = 0; i < STATEMENT_COUNT; i++) {
		if (sqlite3_prepare_v3(q->db, statement_text[i], -1, SQLITE_PREPARE_PERSISTENT,
			&q->statement[i], NULL) != SQLITE_OK) {
			return failed(q, "reading", err);
		}
	}
	return 0;
}

int sqlite_engine_open(const char *dir, struct store_engine **ret_engine, struct error *err)
{
	struct sqlite_engine *q = calloc(1, sizeof(*q));
	int r;

	if (q == NULL) {
		return error_set(err, -ENOMEM, "out of memory while opening the store");
	}
	q->engine.ops = &sqlite_engine_ops;
	if (snprintf(q->path, sizeof(q->path), "%s/store.db", dir) >= (int)sizeof(q->path)) {
		r = error_set(err, -ENAMETOOLONG, "the name of the data directory is too long");
		goto out;
	}
	r = sqlite_file_open(q->path, &q->db, err);
	if (r < 0) {
		goto out;
	}
	r = prepare(q, err);
	if (r == 0) {
		r = load_revision(q, err);
	}
out:
	if (r < 0) {
		sqlite_engine_close(&q->engine);
		return r;
	}
	*ret_engine = &q->engine;
	return 0;
}

void sqlite_engine_close(struct store_engine *e)
{
	struct sqlite_engine *q;

	if (e == NULL) {
		return;
	}
	q = container_of(e, struct sqlite_engine, engine);
	for (int i = 0; i < STATEMENT_COUNT; i++) {
		sqlite3_finalize(q->statement[i]);
	}
	sqlite3_close(q->db);
	free(q);
}
