/*
 * What a file on a disk adds to the promises of a store: it lasts, it is one daemon's, and it may
 * be damaged or have no room.
 */
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store_fixture.h"

static const char *path_of(const struct fixture *f, const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", f->data, name);
	return path;
}

static void assert_open_refused(struct fixture *f, int code, const char *says)
{
	struct error err = {0};

	assert_int_equal(fixture_open(f, &err), code);
	assert_int_equal(err.code, code);
	assert_null(f->store);
	if (strstr(err.message, says) == NULL) {
		fail_msg("\"%s\" does not say \"%s\"", err.message, says);
	}
	assert_int_not_equal(strlen(err.hint), 0);
}

static void assert_opens(struct fixture *f)
{
	struct error err = {0};

	if (fixture_open(f, &err) < 0) {
		fail_msg("%s (%s)", err.message, err.hint);
	}
}

/* -- lasting -- */

static void contents_revision_and_history_outlive_a_restart(void **state)
{
	struct watch_log log;

	fixture_put(*state, "/a", "1");
	fixture_put(*state, "/b", "2");
	fixture_delete(*state, "/a");
	fixture_reopen(*state);
	assert_string_equal(fixture_range(*state, "").text, "/b=2(2,2)");
	assert_int_equal(fixture_range(*state, "").revision, 3);
	fixture_watch(*state, &log, "/", 1);
	assert_int_equal(fixture_put(*state, "/c", "4"), 4);
	fixture_settle(*state);
	assert_string_equal(log.text, "+/a=1@1 +/b=2@2 -/a@3 +/c=4@4");
}

static void directory_and_files_are_for_the_owner_alone(void **state)
{
	static const char *const files[] = {"store.db", "store.db-wal", "lock"};
	struct fixture *f = *state;
	struct stat st;

	fixture_put(f, "/a", "1");
	assert_int_equal(stat(f->data, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		assert_int_equal(stat(path_of(f, files[i]), &st), 0);
		assert_int_equal(st.st_mode & 07777, 0600);
	}
}

static void description_names_the_file(void **state)
{
	struct fixture *f = *state;
	char expected[128];

	snprintf(expected, sizeof(expected), "sqlite:%s/store.db", f->data);
	assert_string_equal(store_describe(f->store), expected);
}

/* Writes /0, /1, ... and tells each number once it is durable, until it is killed. */
_Noreturn static void child_writes(const char *dir, int tell_fd)
{
	const struct reactor_options options = {.name = "child", .index = REACTOR_CONTROL};
	struct fixture f = {.sqlite = true};

	snprintf(f.data, sizeof(f.data), "%s", dir);
	if (reactor_new(&options, &f.reactor, NULL) < 0 || fixture_open(&f, NULL) < 0) {
		_exit(1);
	}
	for (uint32_t i = 0;; i++) {
		char key[16];
		struct store_op op = {.kind = STORE_PUT, .key = key, .value = "v", .value_len = 1};

		snprintf(key, sizeof(key), "/%08u", i);
		if (!fixture_txn(&f, NULL, 0, &op, 1).succeeded ||
		    write(tell_fd, &i, sizeof(i)) != sizeof(i)) {
			_exit(1);
		}
	}
}

struct writer {
	pid_t pid;
	int fd;
	uint32_t durable; /* writes that it told of */
};

static struct writer writer_start(const char *dir)
{
	struct writer w = {0};
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	w.pid = fork();
	assert_true(w.pid >= 0);
	if (w.pid == 0) {
		close(fds[0]);
		child_writes(dir, fds[1]);
	}
	close(fds[1]);
	w.fd = fds[0];
	return w;
}

static bool writer_read(struct writer *w)
{
	uint32_t number;

	if (read(w->fd, &number, sizeof(number)) != sizeof(number)) {
		return false;
	}
	w->durable = number + 1;
	return true;
}

static void writer_wait_for(struct writer *w, uint32_t durable)
{
	while (w->durable < durable) {
		assert_true(writer_read(w));
	}
}

static void writer_kill(struct writer *w)
{
	int status;

	assert_int_equal(kill(w->pid, SIGKILL), 0);
	assert_int_equal(waitpid(w->pid, &status, 0), w->pid);
	assert_true(WIFSIGNALED(status));
	while (writer_read(w)) {
	}
	close(w->fd);
}

static void answered_writes_survive_kill_9(void **state)
{
	struct fixture *f = *state;
	struct outcome o;

	for (uint32_t round = 0; round < 5; round++) {
		const struct store_op wipe = OP_DELETE_PREFIX("/");
		struct writer w = writer_start(f->data);
		uint64_t before;

		writer_wait_for(&w, 20 + round * 17);
		writer_kill(&w);
		assert_opens(f);
		o = fixture_range(f, "/");
		/* The one that was under way may be there, too. */
		assert_in_range(o.nr_items, w.durable, w.durable + 1);
		before = o.revision;
		assert_int_equal(fixture_txn(f, NULL, 0, &wipe, 1).revision, before + 1);
		fixture_close(f);
	}
}

/* -- one daemon's -- */

static void second_opener_is_refused_and_the_first_goes_on(void **state)
{
	struct fixture *f = *state;
	struct store *first = f->store;
	struct store *second = NULL;
	struct error err = {0};
	char says[32];

	assert_int_equal(store_sqlite_open(f->reactor, f->data, &second, &err), -EBUSY);
	assert_null(second);
	snprintf(says, sizeof(says), "process %ld", (long)getpid());
	assert_non_null(strstr(err.message, says));
	assert_ptr_equal(f->store, first);
	fixture_put(f, "/a", "1");
}

static void lock_names_the_other_process_and_ends_with_it(void **state)
{
	struct fixture *f = *state;
	struct writer w = writer_start(f->data);
	char says[32];

	writer_wait_for(&w, 1);
	snprintf(says, sizeof(says), "process %ld", (long)w.pid);
	assert_open_refused(f, -EBUSY, says);
	writer_kill(&w);
	assert_opens(f);
}

static void file_that_another_program_has_open_is_refused(void **state)
{
	struct fixture *f = *state;
	sqlite3 *db;

	assert_opens(f);
	fixture_close(f);
	assert_int_equal(sqlite3_open(path_of(f, "store.db"), &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
	assert_open_refused(f, -EBUSY, "store.db");
	sqlite3_close(db);
	assert_opens(f);
}

static void directory_that_cannot_be_made_is_refused(void **state)
{
	struct fixture *f = *state;

	snprintf(f->data, sizeof(f->data), "%s/none/data", f->dir);
	assert_open_refused(f, -ENOENT, "data directory");
	snprintf(f->data, sizeof(f->data), "%s/file", f->dir);
	close(open(f->data, O_CREAT | O_WRONLY, 0600));
	assert_int_equal(fixture_open(f, NULL), -ENOTDIR);
}

/* -- damaged -- */

static void fill_and_close(struct fixture *f)
{
	char value[2000];

	memset(value, 'v', sizeof(value) - 1);
	value[sizeof(value) - 1] = '\0';
	assert_opens(f);
	for (unsigned i = 0; i < 40; i++) {
		char key[16];

		snprintf(key, sizeof(key), "/%u", i);
		fixture_put(f, key, value);
	}
	fixture_close(f);
}

static void overwrite(const char *path, off_t offset, const void *bytes, size_t len)
{
	int fd = open(path, O_WRONLY);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, bytes, len, offset), len);
	close(fd);
}

static void change_by_sql(struct fixture *f, const char *sql)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(path_of(f, "store.db"), &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

static void damaged_pages_are_refused(void **state)
{
	struct fixture *f = *state;
	char noise[4096];
	struct stat st;

	memset(noise, 0xa5, sizeof(noise));
	fill_and_close(f);
	assert_int_equal(stat(path_of(f, "store.db"), &st), 0);
	assert_true(st.st_size > 16 * 4096);
	/* A page of the tree of items, which was made second: its root is among the first pages. */
	overwrite(path_of(f, "store.db"), 3 * 4096, noise, sizeof(noise));
	assert_open_refused(f, -EBADMSG, "store.db");
}

static void file_that_is_no_database_is_refused(void **state)
{
	struct fixture *f = *state;

	fill_and_close(f);
	overwrite(path_of(f, "store.db"), 0, "not a database any more", 23);
	assert_open_refused(f, -EBADMSG, "store.db");
}

static void truncated_and_empty_files_are_refused(void **state)
{
	static const off_t sizes[] = {8192, 100, 1, 0};
	struct fixture *f = *state;

	fill_and_close(f);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		assert_int_equal(truncate(path_of(f, "store.db"), sizes[i]), 0);
		assert_open_refused(f, -EBADMSG, "store.db");
	}
}

static void database_of_another_program_is_refused_and_left_alone(void **state)
{
	struct fixture *f = *state;
	struct stat before;
	struct stat after;

	assert_int_equal(mkdir(f->data, 0700), 0);
	change_by_sql(f, "CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)");
	assert_int_equal(stat(path_of(f, "store.db"), &before), 0);
	assert_open_refused(f, -EBADMSG, "not a store of Sluice");
	assert_int_equal(stat(path_of(f, "store.db"), &after), 0);
	assert_int_equal(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
	assert_int_not_equal(access(path_of(f, "store.db-wal"), F_OK), 0);
}

static void foreign_schema_is_refused(void **state)
{
	static const char *const changes[] = {
	    "CREATE VIEW v AS SELECT * FROM item",
	    "DROP VIEW v; CREATE TRIGGER t AFTER INSERT ON item BEGIN DELETE FROM change; END",
	    "DROP TRIGGER t; DROP TABLE change",
	};
	struct fixture *f = *state;

	fill_and_close(f);
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		change_by_sql(f, changes[i]);
		assert_open_refused(f, -EBADMSG, "other tables");
	}
}

static void missing_or_senseless_revision_is_refused(void **state)
{
	struct fixture *f = *state;

	fill_and_close(f);
	change_by_sql(f, "UPDATE meta SET value = -1");
	assert_open_refused(f, -EBADMSG, "not valid");
	change_by_sql(f, "DELETE FROM meta");
	assert_open_refused(f, -EBADMSG, "not valid");
}

static void file_of_a_newer_version_is_refused(void **state)
{
	struct fixture *f = *state;

	fill_and_close(f);
	change_by_sql(f, "PRAGMA user_version = 2");
	assert_open_refused(f, -EPROTONOSUPPORT, "newer version");
}

static void log_without_its_database_is_refused(void **state)
{
	struct fixture *f = *state;
	int fd;

	fill_and_close(f);
	assert_int_equal(unlink(path_of(f, "store.db")), 0);
	fd = open(path_of(f, "store.db-wal"), O_CREAT | O_WRONLY, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_open_refused(f, -EBADMSG, "missing");
	assert_int_not_equal(access(path_of(f, "store.db"), F_OK), 0);
}

static void half_made_file_of_a_killed_daemon_is_made_anew(void **state)
{
	struct fixture *f = *state;
	int fd;

	assert_int_equal(mkdir(f->data, 0700), 0);
	fd = open(path_of(f, "store.db.new"), O_CREAT | O_WRONLY, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "half", 4), 4);
	close(fd);
	assert_opens(f);
	assert_int_equal(fixture_put(f, "/a", "1"), 1);
}

/* -- full -- */

static struct outcome put_big(struct fixture *f, const char *key)
{
	static char value[256 << 10];
	const struct store_op op = {
	    .kind = STORE_PUT, .key = key, .value = value, .value_len = sizeof(value)};

	memset(value, 'v', sizeof(value));
	return fixture_txn(f, NULL, 0, &op, 1);
}

/* Writes until there is no room, and checks that the write that failed changed nothing. */
static void fill_until_refused(struct fixture *f)
{
	struct watch_log log;
	struct outcome o;
	uint64_t revision = fixture_put(f, "/first", "1");

	fixture_watch(f, &log, "/none", 0);
	do {
		o = put_big(f, "/big");
		revision += o.succeeded ? 1 : 0;
		assert_true(revision < 1000);
	} while (o.succeeded);
	if (o.code != -ENOSPC) {
		fail_msg("%d: %s", o.code, o.message);
	}
	assert_int_equal(o.revision, revision);
	assert_int_equal(put_big(f, "/none").code, -ENOSPC);
	assert_string_equal(fixture_get(f, "/none").text, "");
	assert_string_equal(fixture_get(f, "/first").text, "/first=1(1,1)");
	assert_int_equal(fixture_range(f, "").revision, revision);
	assert_string_equal(log.text, "");
}

static void assert_writes_again(struct fixture *f)
{
	uint64_t revision = fixture_range(f, "").revision;

	assert_int_equal(put_big(f, "/later").revision, revision + 1);
	fixture_reopen(f);
	assert_int_equal(fixture_range(f, "").revision, revision + 1);
	assert_int_equal(fixture_get(f, "/later").nr_items, 1);
	assert_int_equal(fixture_get(f, "/none").nr_items, 0);
}

static void limit_of_file_size_is_no_space_and_nothing_changed(void **state)
{
	struct rlimit old;
	struct rlimit tight;

	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	tight = (struct rlimit){.rlim_cur = 2 << 20, .rlim_max = old.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
	fill_until_refused(*state);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_writes_again(*state);
}

static void full_disk_changes_nothing_and_room_makes_it_write_again(void **state)
{
	static char block[1 << 20];
	struct fixture *f = *state;
	char ballast[80];
	int fd;

	/* A name space of this thread's own, so that nothing is left mounted whatever happens. */
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("sluice-test", f->dir, "tmpfs", 0, "size=6m,mode=0700") < 0) {
		skip(); /* needs the right to mount */
	}
	snprintf(ballast, sizeof(ballast), "%s/ballast", f->dir);
	fd = open(ballast, O_CREAT | O_WRONLY, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, block, sizeof(block)), sizeof(block));
	close(fd);
	assert_opens(f);
	fill_until_refused(f);
	assert_int_equal(unlink(ballast), 0);
	assert_writes_again(f);
	fixture_close(f);
	assert_int_equal(umount2(f->dir, MNT_DETACH), 0);
}

#define OPENED(name) cmocka_unit_test_setup_teardown(name, fixture_setup_sqlite, fixture_teardown)
#define CLOSED(name) cmocka_unit_test_setup_teardown(name, fixture_setup_closed, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    OPENED(contents_revision_and_history_outlive_a_restart),
	    OPENED(directory_and_files_are_for_the_owner_alone),
	    OPENED(description_names_the_file),
	    CLOSED(answered_writes_survive_kill_9),
	    OPENED(second_opener_is_refused_and_the_first_goes_on),
	    CLOSED(lock_names_the_other_process_and_ends_with_it),
	    CLOSED(file_that_another_program_has_open_is_refused),
	    CLOSED(directory_that_cannot_be_made_is_refused),
	    CLOSED(damaged_pages_are_refused),
	    CLOSED(file_that_is_no_database_is_refused),
	    CLOSED(truncated_and_empty_files_are_refused),
	    CLOSED(database_of_another_program_is_refused_and_left_alone),
	    CLOSED(foreign_schema_is_refused),
	    CLOSED(missing_or_senseless_revision_is_refused),
	    CLOSED(file_of_a_newer_version_is_refused),
	    CLOSED(log_without_its_database_is_refused),
	    CLOSED(half_made_file_of_a_killed_daemon_is_made_anew),
	    OPENED(limit_of_file_size_is_no_space_and_nothing_changed),
	    CLOSED(full_disk_changes_nothing_and_room_makes_it_write_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
