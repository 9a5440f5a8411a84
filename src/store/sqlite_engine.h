/*
 * The store's contents in one SQLite file, dir/store.db: WAL, synchronous=FULL, opened exclusively.
 * The file is checked when it is opened, and may hold anything: it is never trusted.
 *
 * Thread rule: one thread at a time; calls block.
 */
#pragma once

#include "store/engine.h"

/* dir exists and is locked by the caller. -EBADMSG when the file is damaged or not ours, -EBUSY
 * when another program has it open. */
int sqlite_engine_open(const char *dir, struct store_engine **ret_engine, struct error *err);
void sqlite_engine_close(struct store_engine *e);
