/*
 * The database file: made in one piece, opened exclusively, and refused unless it is whole and
 * ours.
 *
 * Thread rule: one thread at a time; calls block.
 */
#pragma once

#include <sqlite3.h>

#include "base/error.h"

/* Made when missing. -EBADMSG damaged or not ours, -EPROTONOSUPPORT made by a newer program, -EBUSY
 * opened by another program, or -errno. */
int sqlite_file_open(const char *path, sqlite3 **ret_db, struct error *err);

/* The last failure of db as an errno, with a message ("writing PATH: ..."). */
int sqlite_file_error(sqlite3 *db, const char *path, const char *what, struct error *err);
/* Whether the last failure was one to sync. */
bool sqlite_file_sync_failed(sqlite3 *db);
/* Adds what to do about a damaged file; returns err->code (0 without err: the caller's -EBADMSG is
 * returned instead). */
int sqlite_file_advice(const char *path, struct error *err);
