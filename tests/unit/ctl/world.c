#include "world.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/impl.h"

#define FILE_SIZE (1u << 20)
#define TURNS_MAX 20000

/* -- a store that fails -- */

static struct world *failing; /* whose store it is: one world at a time */
static const struct store_ops *real_ops;

static bool about_objects(const struct store_request *rq)
{
	return rq->kind == STORE_REQUEST_TXN && rq->nr_ops > 0 &&
	       strncmp(rq->ops[0].key, "/events/", 8) != 0;
}

static void submit(struct store *s, struct store_request *rq)
{
	struct world *w = failing;

	if (about_objects(rq) && ++w->txns == w->fail_at) {
		w->failed = true;
		error_set(&rq->err, -EIO, "the disk said no");
	}
	real_ops->submit(s, rq);
}

static void store_free(struct store *s)
{
	real_ops->free(s);
}

static const struct store_ops failing_ops = {.submit = submit, .free = store_free};

void world_fail_at(struct world *w, unsigned n)
{
	w->txns = 0;
	w->fail_at = n;
	w->failed = false;
}

/* -- life -- */

void world_step(struct world *w)
{
	reactor_group_step(w->group, 1);
}

void world_until(struct world *w, const unsigned *flag)
{
	for (unsigned turn = 0; *flag == 0; turn++) {
		if (turn > TURNS_MAX) {
			fail_msg("it never came");
		}
		world_step(w);
	}
}

void world_settle(struct world *w)
{
	while (reactor_group_step(w->group, 0) > 0) {
	}
}

static void loaded(void *ctx, const struct error *err)
{
	if (err != NULL) {
		fail_msg("%s", err->message);
	}
	*(unsigned *)ctx = 1;
}

void world_flag(void *ctx)
{
	*(unsigned *)ctx = 1;
}

void world_open(struct world *w)
{
	struct ctl_options options = {.node = "n1", .io_timeout_ns = 500 * NS_PER_MS};
	struct error err = {0};
	unsigned flag = 0;

	if (ctl_new(w->group, w->store, &options, &w->ctl, &err) != 0) {
		fail_msg("%s", err.message);
	}
	ctl_load(w->ctl, loaded, &flag);
	world_until(w, &flag);
}

void world_close(struct world *w)
{
	unsigned flag = 0;

	ctl_close(w->ctl, world_flag, &flag);
	world_until(w, &flag);
	w->ctl = NULL;
}

void world_restart(struct world *w)
{
	world_close(w);
	world_open(w);
}

int world_setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct reactor_group_options options = {.nr_data = 1, .manual = true};
	struct error err = {0};

	assert_non_null(w);
	snprintf(w->dir, sizeof(w->dir), "/tmp/sluice-ctl-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	assert_int_equal(reactor_group_new(&options, &w->group, &err), 0);
	assert_int_equal(store_mem_open(w->group->control, &w->store, &err), 0);
	failing = w;
	real_ops = w->store->ops;
	w->store->ops = &failing_ops;
	world_open(w);
	*state = w;
	return 0;
}

static void remove_dir(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	char path[512];

	assert_non_null(d);
	while ((e = readdir(d)) != NULL) {
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		if (e->d_name[0] != '.') {
			unlink(path);
		}
	}
	closedir(d);
	rmdir(dir);
}

int world_teardown(void **state)
{
	struct world *w = *state;
	unsigned flag = 0;

	world_fail_at(w, 0);
	if (w->ctl != NULL) {
		world_close(w);
	}
	store_close(w->store, world_flag, &flag);
	world_until(w, &flag);
	world_settle(w);
	reactor_group_free(w->group);
	remove_dir(w->dir);
	free(w);
	return 0;
}

/* -- operations -- */

static void take_answer(void *arg, json_t *result, const struct error *err)
{
	struct answer *a = arg;

	a->called++;
	a->result = result;
	if (err != NULL) {
		a->code = err->code;
		snprintf(a->message, sizeof(a->message), "%s", err->message);
	}
}

void answer_free(struct answer *a)
{
	json_decref(a->result);
	*a = (struct answer){0};
}

static void begin(struct world *w, struct answer *a, enum ctl_op op, const char *format, va_list ap)
{
	json_error_t error;
	json_t *params = json_vpack_ex(&error, 0, format, ap);

	if (params == NULL) {
		fail_msg("bad parameters: %s", error.text);
	}
	*a = (struct answer){0};
	ctl_call(w->ctl, op, params, take_answer, a);
}

void world_begin(struct world *w, struct answer *a, enum ctl_op op, const char *params_format, ...)
{
	va_list ap;

	va_start(ap, params_format);
	begin(w, a, op, params_format, ap);
	va_end(ap);
}

void world_wait(struct world *w, struct answer *a)
{
	world_until(w, &a->called);
	world_settle(w);
	assert_int_equal(a->called, 1);
}

static struct answer last;

json_t *world_done(struct world *w, enum ctl_op op, const char *params_format, ...)
{
	va_list ap;

	answer_free(&last);
	va_start(ap, params_format);
	begin(w, &last, op, params_format, ap);
	va_end(ap);
	world_wait(w, &last);
	if (last.code != 0) {
		fail_msg("refused: %s", last.message);
	}
	assert_non_null(last.result);
	return last.result;
}

int world_code(struct world *w, enum ctl_op op, const char *params_format, ...)
{
	va_list ap;

	answer_free(&last);
	va_start(ap, params_format);
	begin(w, &last, op, params_format, ap);
	va_end(ap);
	world_wait(w, &last);
	assert_true((last.result != NULL) == (last.code == 0));
	return last.code;
}

/* -- things to work on -- */

const char *world_file(struct world *w, char path[128], const char *name, unsigned char content)
{
	unsigned char *bytes = malloc(FILE_SIZE);
	int fd;

	snprintf(path, 128, "%s/%s", w->dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_true(bytes != NULL && fd >= 0);
	for (size_t i = 0; i < FILE_SIZE; i++) {
		bytes[i] = (unsigned char)(content + i / 512);
	}
	assert_int_equal(write(fd, bytes, FILE_SIZE), FILE_SIZE);
	close(fd);
	free(bytes);
	return path;
}

void world_two_paths(struct world *w)
{
	char path[128];

	world_file(w, path, "a.img", 1);
	world_done(w, CTL_INTERFACE_ADD, "{s:s, s:s}", "name", "f1", "kind", "file");
	world_done(w, CTL_INTERFACE_ADD, "{s:s, s:s}", "name", "f2", "kind", "file");
	world_done(w, CTL_LU_ADD, "{s:s, s:s, s:s, s:{s:s}}", "name", "a", "kind", "file", "via",
	    "f1", "address", "path", path);
	world_done(w, CTL_PATH_ADD, "{s:s, s:s, s:{s:s}}", "lu", "a", "via", "f2", "address",
	    "path", path);
	world_done(w, CTL_VOLUME_CREATE, "{s:s, s:[{s:s}], s:s}", "name", "v", "on", "lu", "a",
	    "via", "f1");
}

/* -- the store -- */

static void put_done(void *ctx, bool succeeded, uint64_t revision, const struct error *err)
{
	assert_true(succeeded);
	*(unsigned *)ctx = 1;
}

void world_put(struct world *w, const char *key, const char *value)
{
	struct store_op op = {
	    .kind = STORE_PUT, .key = key, .value = value, .value_len = strlen(value)};
	unsigned flag = 0;

	store_txn(w->store, NULL, 0, &op, 1, put_done, &flag);
	world_until(w, &flag);
}

struct listing {
	unsigned done;
	size_t nr;
	char *value;
	size_t len;
};

static void listed(void *ctx, const struct store_item *items, size_t nr_items, uint64_t revision,
    const struct error *err)
{
	struct listing *l = ctx;

	l->done = 1;
	l->nr = nr_items;
	if (l->value != NULL && nr_items > 0) {
		snprintf(l->value, l->len, "%.*s", (int)items[nr_items - 1].value_len,
		    (const char *)items[nr_items - 1].value);
	}
}

size_t world_keys(struct world *w, const char *prefix, char *value, size_t len)
{
	struct listing l = {.value = value, .len = len};

	store_range(w->store, prefix, listed, &l);
	world_until(w, &l.done);
	return l.nr;
}

/* -- what came out -- */

unsigned world_events(const struct world *w, const char *type)
{
	unsigned n = 0;
	size_t i;
	json_t *e;

	json_array_foreach(w->ctl->events, i, e)
	{
		n += strcmp(text_of(e, "type"), type) == 0;
	}
	return n;
}

const char *text_of(const json_t *object, const char *member)
{
	const char *text = json_string_value(json_object_get(object, member));

	if (text == NULL) {
		fail_msg("no text %s", member);
	}
	return text;
}

int64_t number_of(const json_t *object, const char *member)
{
	const json_t *n = json_object_get(object, member);

	assert_true(json_is_integer(n));
	return json_integer_value(n);
}
