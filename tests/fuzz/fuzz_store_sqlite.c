/*
 * A file of any content as the store's database: it is refused or read, and what it accepts can be
 * listed, watched, changed and closed.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/sqlite_engine.h"

static char dir[64];

static const char *path_of(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static void remove_files(void)
{
	static const char *const names[] = {"store.db", "store.db-wal", "store.db-shm",
	    "store.db-journal", "store.db.new", "store.db.new-journal"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		(void)unlink(path_of(names[i]));
	}
}

static void remove_dir(void)
{
	remove_files();
	(void)rmdir(dir);
}

static void make_dir(void)
{
	/* In memory where there is such a place: nothing here is about the disk. */
	const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";

	snprintf(dir, sizeof(dir), "%s/sluice-fuzz-XXXXXX", base);
	sluice_assert(mkdtemp(dir) != NULL);
	atexit(remove_dir);
}

static void write_file(const uint8_t *data, size_t size)
{
	int fd = open(path_of("store.db"), O_WRONLY | O_CREAT | O_TRUNC, 0600);

	sluice_assert(fd >= 0);
	sluice_assert(write(fd, data, size) == (ssize_t)size);
	close(fd);
}

static void ask(struct store_engine *e, enum store_request_kind kind, uint64_t from_revision)
{
	static const struct store_op ops[] = {
	    {.kind = STORE_DELETE_PREFIX, .key = "/volumes/"},
	    {.kind = STORE_PUT, .key = "/fuzz", .value = "x", .value_len = 1},
	};
	struct store_request *rq = store_request_new(NULL, kind, NULL);

	if (kind == STORE_REQUEST_TXN) {
		store_request_set_txn(rq, NULL, 0, ops, ARRAY_SIZE(ops));
	} else {
		store_request_set_key(rq, "", false);
		rq->from_revision = from_revision;
	}
	store_engine_execute(e, rq);
	for (size_t i = 0; i < rq->items.nr; i++) {
		sluice_assert(rq->items.item[i].key != NULL);
		sluice_assert(kind != STORE_REQUEST_RANGE || rq->items.item[i].value != NULL);
	}
	store_request_free(rq);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct store_engine *e;
	struct error err = {0};
	int r;

	if (dir[0] == '\0') {
		make_dir();
	}
	remove_files();
	write_file(data, size);
	r = sqlite_engine_open(dir, &e, &err);
	if (r < 0) {
		/* A refusal is explained. */
		sluice_assert(err.code == r && err.message[0] != '\0');
		return 0;
	}
	ask(e, STORE_REQUEST_RANGE, 0);
	ask(e, STORE_REQUEST_WATCH, e->revision > 3 ? e->revision - 3 : e->revision);
	ask(e, STORE_REQUEST_TXN, 0);
	ask(e, STORE_REQUEST_RANGE, 0);
	sqlite_engine_close(e);
	return 0;
}
