#include "store/sqlite_file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/store.h"

#define APPLICATION_ID 0x534c5543 /* "SLUC" */
#define SCHEMA_VERSION 1
/* A value and its key with room for SQLite's own; anything longer in a file is not ours. */
#define RECORD_MAX (4 * STORE_VALUE_MAX)

/* As SQLite keeps them, so that a file's schema is compared as text: no triggers, views or indexes
 * of others. */
static const char *const schema[] = {
    ("CREATE TABLE change (revision INTEGER NOT NULL, seq INTEGER NOT NULL, key TEXT NOT NULL, "
     "value BLOB, create_revision INTEGER NOT NULL, PRIMARY KEY (revision, seq)) "
     "STRICT, WITHOUT ROWID"),
    ("CREATE TABLE item (key TEXT NOT NULL PRIMARY KEY, value BLOB NOT NULL, create_revision "
     "INTEGER NOT NULL, mod_revision INTEGER NOT NULL) STRICT"),
    ("CREATE TABLE meta (name TEXT NOT NULL PRIMARY KEY, value INTEGER NOT NULL) STRICT"),
};

/* -- errors -- */

int sqlite_file_advice(const char *path, struct error *err)
{
	(void)error_hint(err,
	    "restore %s from a backup; or move it away to start empty (`sqlite3 %s .recover` shows "
	    "what can be read)",
	    path, path);
	return -EBADMSG;
}

static int file_errno(sqlite3 *db, int which)
{
	sqlite3_file *file = NULL;
	int number = 0;

	if (sqlite3_file_control(db, "main", which, &file) != SQLITE_OK || file == NULL ||
	    file->pMethods == NULL ||
	    file->pMethods->xFileControl(file, SQLITE_FCNTL_LAST_ERRNO, &number) != SQLITE_OK) {
		return 0;
	}
	return number;
}

/* What is no failure of the disk but of its room comes with other errnos than ENOSPC, too. The log
 * has an errno of its own: a failed COMMIT does not set sqlite3_system_errno(). */
static int io_error(sqlite3 *db)
{
	int number = file_errno(db, SQLITE_FCNTL_JOURNAL_POINTER);

	if (number == 0) {
		number = file_errno(db, SQLITE_FCNTL_FILE_POINTER);
	}
	switch (number) {
	case EDQUOT:
	case EFBIG:
	case ENOSPC:
		return -ENOSPC;
	case EROFS:
		return -EROFS;
	default: /* errno is open-ended */
		return -EIO;
	}
}

static int code_to_errno(sqlite3 *db)
{
	switch (sqlite3_errcode(db) & 0xff) {
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
	case SQLITE_ERROR: /* statements of ours cannot be wrong: the schema behind them is */
	case SQLITE_MISMATCH:
	case SQLITE_CONSTRAINT:
	case SQLITE_TOOBIG:
	case SQLITE_SCHEMA:
		return -EBADMSG;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_READONLY:
		return -EROFS;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_PERM:
	case SQLITE_AUTH:
		return -EACCES;
	case SQLITE_CANTOPEN: {
		int number = sqlite3_system_errno(db);

		return number > 0 ? -number : -EIO;
	}
	default: /* SQLITE_IOERR and what later versions may add */
		return io_error(db);
	}
}

int sqlite_file_error(sqlite3 *db, const char *path, const char *what, struct error *err)
{
	int r = code_to_errno(db);

	error_set(err, r, "%s %s: %s", what, path, sqlite3_errmsg(db));
	switch (r) {
	case -EBADMSG:
		return sqlite_file_advice(path, err);
	case -ENOSPC:
		(void)error_hint(err, "make room on its file system, then repeat the command");
		return r;
	case -EBUSY:
		(void)error_hint(err, "close the other program that has it open");
		return r;
	default: /* the message says it all */
		return r;
	}
}

bool sqlite_file_sync_failed(sqlite3 *db)
{
	int code = sqlite3_extended_errcode(db);

	return code == SQLITE_IOERR_FSYNC || code == SQLITE_IOERR_DIR_FSYNC;
}

/* -- checks -- */

static int first_number(sqlite3 *db, const char *sql, int64_t *ret_number)
{
	sqlite3_stmt *st;
	int rc = sqlite3_prepare_v2(db, sql, -1, &st, NULL);

	if (rc != SQLITE_OK) {
		return rc;
	}
	rc = sqlite3_step(st);
	if (rc == SQLITE_ROW) {
		*ret_number = sqlite3_column_int64(st, 0);
		rc = SQLITE_OK;
	}
	sqlite3_finalize(st);
	return rc;
}

/* Whether the only row that the statement returns is this text. Its failure is left in db. */
static bool only_row_is(sqlite3 *db, const char *sql, const char *text)
{
	const char *found;
	sqlite3_stmt *st;
	bool same;

	if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) != SQLITE_OK) {
		return false;
	}
	same = sqlite3_step(st) == SQLITE_ROW &&
	       (found = (const char *)sqlite3_column_text(st, 0)) != NULL &&
	       strcmp(found, text) == 0;
	sqlite3_finalize(st);
	return same;
}

static int check_ids(sqlite3 *db, const char *path, struct error *err)
{
	int64_t application = 0;
	int64_t version = 0;

	if (first_number(db, "PRAGMA application_id", &application) != SQLITE_OK ||
	    first_number(db, "PRAGMA user_version", &version) != SQLITE_OK) {
		return sqlite_file_error(db, path, "opening", err);
	}
	if (application != APPLICATION_ID) {
		error_set(err, -EBADMSG, "%s is not a store of Sluice", path);
		return sqlite_file_advice(path, err);
	}
	if (version > SCHEMA_VERSION) {
		error_set(err, -EPROTONOSUPPORT, "%s was made by a newer version (format %lld)",
		    path, (long long)version);
		(void)error_hint(err, "start the newer version again");
		return -EPROTONOSUPPORT;
	}
	return 0;
}

/* 0, or an SQLite code; SQLITE_MISMATCH when the schema is another. */
static int check_schema(sqlite3 *db)
{
	sqlite3_stmt *st;
	size_t nr = 0;
	int rc = sqlite3_prepare_v2(
	    db, "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name", -1, &st, NULL);

	if (rc != SQLITE_OK) {
		return rc;
	}
	while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
		const char *sql = (const char *)sqlite3_column_text(st, 0);

		if (sql == NULL || nr >= ARRAY_SIZE(schema) || strcmp(sql, schema[nr]) != 0) {
			break;
		}
		nr++;
	}
	sqlite3_finalize(st);
	if (rc == SQLITE_DONE) {
		return nr == ARRAY_SIZE(schema) ? SQLITE_OK : SQLITE_MISMATCH;
	}
	return rc == SQLITE_ROW ? SQLITE_MISMATCH : rc;
}

static int check_contents(sqlite3 *db, const char *path, struct error *err)
{
	int r = check_ids(db, path, err);
	int rc;

	if (r < 0) {
		return r;
	}
	rc = check_schema(db);
	if (rc == SQLITE_MISMATCH) {
		error_set(err, -EBADMSG, "%s has other tables than it should", path);
		return sqlite_file_advice(path, err);
	}
	if (rc != SQLITE_OK) {
		return sqlite_file_error(db, path, "opening", err);
	}
	if (!only_row_is(db, "PRAGMA quick_check(1)", "ok")) {
		error_set(err, -EBADMSG, "%s is damaged", path);
		return sqlite_file_advice(path, err);
	}
	return 0;
}

/* -- opening -- */

static int connect_file(const char *path, sqlite3 **ret_db, struct error *err)
{
	sqlite3 *db = NULL;
	int r;

	if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) !=
	    SQLITE_OK) {
		goto fail;
	}
	sqlite3_extended_result_codes(db, 1);
	sqlite3_limit(db, SQLITE_LIMIT_LENGTH, RECORD_MAX);
	if (sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL) != SQLITE_OK ||
	    sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL) != SQLITE_OK ||
	    sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL) != SQLITE_OK ||
	    sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_VIEW, 0, NULL) != SQLITE_OK ||
	    /* Exclusive also keeps the index of the log out of a shared mapping, where a full disk
	     * is a SIGBUS. */
	    sqlite3_exec(db,
		"PRAGMA locking_mode=EXCLUSIVE; PRAGMA cell_size_check=ON; PRAGMA mmap_size=0;"
		"PRAGMA synchronous=FULL; PRAGMA temp_store=MEMORY;",
		NULL, NULL, NULL) != SQLITE_OK) {
		goto fail;
	}
	*ret_db = db;
	return 0;
fail:
	r = sqlite_file_error(db, path, "opening", err);
	sqlite3_close(db);
	return r;
}

static int set_wal(sqlite3 *db, const char *path, struct error *err)
{
	if (only_row_is(db, "PRAGMA journal_mode=WAL", "wal")) {
		return 0;
	}
	if ((sqlite3_errcode(db) & 0xff) == SQLITE_OK ||
	    (sqlite3_errcode(db) & 0xff) == SQLITE_ROW) {
		return error_set(err, -EIO, "%s cannot be used with a write-ahead log", path);
	}
	return sqlite_file_error(db, path, "opening", err);
}

static int fill_new(sqlite3 *db, const char *path, struct error *err)
{
	char ids[128];
	int rc = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);

	for (size_t i = 0; rc == SQLITE_OK && i < ARRAY_SIZE(schema); i++) {
		rc = sqlite3_exec(db, schema[i], NULL, NULL, NULL);
	}
	snprintf(ids, sizeof(ids), "PRAGMA application_id=%d; PRAGMA user_version=%d",
	    APPLICATION_ID, SCHEMA_VERSION);
	if (rc == SQLITE_OK) {
		rc = sqlite3_exec(db, ids, NULL, NULL, NULL);
	}
	if (rc == SQLITE_OK) {
		rc = sqlite3_exec(
		    db, "INSERT INTO meta VALUES ('revision', 0); COMMIT", NULL, NULL, NULL);
	}
	return rc == SQLITE_OK ? 0 : sqlite_file_error(db, path, "making", err);
}

static int fill_file(const char *path, struct error *err)
{
	sqlite3 *db;
	int r = connect_file(path, &db, err);

	if (r < 0) {
		return r;
	}
	r = fill_new(db, path, err);
	if (sqlite3_close(db) != SQLITE_OK && r == 0) {
		r = error_set(err, -EIO, "cannot close %s", path);
	}
	return r;
}

static int sync_directory_of(const char *path)
{
	char copy[PATH_MAX];
	int fd;
	int r;

	snprintf(copy, sizeof(copy), "%s", path);
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		return -errno;
	}
	r = fsync(fd) < 0 ? -errno : 0;
	close(fd);
	return r;
}

static int make_empty_file(const char *path, struct error *err)
{
	char journal[PATH_MAX + 16];
	int fd;

	/* Left by one that was killed while it made the file. */
	snprintf(journal, sizeof(journal), "%s-journal", path);
	(void)unlink(journal);
	(void)unlink(path);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0) {
		int r = -errno;

		return error_set(err, r, "cannot make %s: %s", path, strerror(-r));
	}
	close(fd);
	return 0;
}

/* Under another name, then renamed: a file of the right name is a whole one, or damaged. */
static int make_file(const char *path, struct error *err)
{
	char new_path[PATH_MAX + 8];
	int r;

	snprintf(new_path, sizeof(new_path), "%s.new", path);
	r = make_empty_file(new_path, err);
	if (r < 0) {
		return r;
	}
	r = fill_file(new_path, err);
	if (r < 0) {
		(void)unlink(new_path);
		return r;
	}
	if (rename(new_path, path) < 0) {
		r = -errno;
	} else {
		r = sync_directory_of(path);
	}
	return r == 0 ? 0 : error_set(err, r, "cannot make %s: %s", path, strerror(-r));
}

static int make_if_missing(const char *path, struct error *err)
{
	char wal[PATH_MAX + 8];
	struct stat st;

	if (lstat(path, &st) == 0) {
		if (!S_ISREG(st.st_mode) || st.st_size == 0) {
			error_set(err, -EBADMSG, "%s is %s", path,
			    S_ISREG(st.st_mode) ? "empty" : "not a file");
			return sqlite_file_advice(path, err);
		}
		return 0;
	}
	if (errno != ENOENT) {
		int r = -errno;

		return error_set(err, r, "cannot look at %s: %s", path, strerror(-r));
	}
	/* It would be applied to the new file. */
	snprintf(wal, sizeof(wal), "%s-wal", path);
	if (lstat(wal, &st) == 0) {
		error_set(err, -EBADMSG, "%s is missing, but its write-ahead log is there", path);
		return sqlite_file_advice(path, err);
	}
	return make_file(path, err);
}

int sqlite_file_open(const char *path, sqlite3 **ret_db, struct error *err)
{
	sqlite3 *db;
	int r = make_if_missing(path, err);

	if (r < 0) {
		return r;
	}
	r = connect_file(path, &db, err);
	if (r < 0) {
		return r;
	}
	r = check_contents(db, path, err);
	if (r == 0) {
		r = set_wal(db, path, err);
	}
	if (r < 0) {
		sqlite3_close(db);
		return r;
	}
	*ret_db = db;
	return 0;
}
