/*
 * The path layer on real threads, for the thread sanitizer: two fault paths over one LU in a file
 * are lost in turn while two reactors write and read back.
 */
#include "lu/lu.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define NR_REACTORS 2
#define NR_CLIENTS 8 /* per reactor */
#define BLOCK 4096u
#define NR_LOSSES 200

struct stress;

struct stress_client {
	struct stress *stress;
	struct reactor_msg msg;
	unsigned reactor;
	uint64_t offset;
	unsigned char fill;
	unsigned char *data;
	struct iovec iov;
	struct io io;
};

struct stress {
	struct reactor_group *group;
	struct interface *local;
	char file[64];
	struct interface *fault[2];
	struct lu *base;
	struct lu *lu;
	struct lu_path *paths[2];
	struct lu_route *base_route;
	struct lu_route *route;
	struct stress_client clients[NR_REACTORS * NR_CLIENTS];
	atomic_bool stop;
	atomic_uint running;
	atomic_uint wrong;
	atomic_ulong answered;
	unsigned gone;
};

static void step(struct stress *s)
{
	reactor_step(s->group->control, 1);
}

#define step_until(s, cond)                                                                        \
	do {                                                                                       \
		for (unsigned turn_ = 0; !(cond); turn_++) {                                       \
			if (turn_ > 60000) {                                                       \
				fail_msg("never came true: %s", #cond);                            \
			}                                                                          \
			step(s);                                                                   \
		}                                                                                  \
	} while (0)

/* -- clients, on their reactors -- */

static void client_next(struct reactor_msg *msg);

static void client_done(struct io *io, void *ctx)
{
	struct stress_client *c = ctx;
	struct stress *s = c->stress;

	atomic_fetch_add(&s->answered, 1);
	if (io->status != 0 || c->data[0] != c->fill || c->data[BLOCK - 1] != c->fill) {
		atomic_fetch_add(&s->wrong, 1);
	}
	if (atomic_load(&s->stop)) {
		atomic_fetch_sub(&s->running, 1);
		return;
	}
	reactor_send(s->group->data[c->reactor], &c->msg, client_next);
}

/* Writes a new pattern, reads it back, and so on. */
static void client_next(struct reactor_msg *msg)
{
	struct stress_client *c = container_of(msg, struct stress_client, msg);
	bool write = c->io.op == IO_READ;

	c->fill += write ? 1 : 0;
	memset(c->data, write ? c->fill : 0, BLOCK);
	c->iov = (struct iovec){c->data, BLOCK};
	c->io.op = write ? IO_WRITE : IO_READ;
	c->io.offset = c->offset;
	c->io.length = BLOCK;
	c->io.iov = &c->iov;
	c->io.iovcnt = 1;
	io_push(&c->io, client_done, c);
	io_submit(lu_route_target(c->stress->route)->channels[c->reactor], &c->io);
}

static void start_clients(struct stress *s)
{
	for (unsigned i = 0; i < ARRAY_SIZE(s->clients); i++) {
		struct stress_client *c = &s->clients[i];

		c->stress = s;
		c->reactor = i % NR_REACTORS;
		c->offset = (uint64_t)i * BLOCK;
		c->data = aligned_alloc(BLOCK, BLOCK);
		assert_non_null(c->data);
		c->io.op = IO_READ;
		atomic_fetch_add(&s->running, 1);
		reactor_send(s->group->data[c->reactor], &c->msg, client_next);
	}
}

/* -- the set-up -- */

static void on_gone(void *ctx)
{
	((struct stress *)ctx)->gone++;
}

static struct interface *add_interface(const char *name, const char *kind)
{
	struct interface_params params = {.name = name, .kind = kind, .network_id = "", .bind = ""};
	struct interface *i = NULL;

	assert_int_equal(interface_new(&params, NULL, &i, NULL), 0);
	return i;
}

static struct lu *add_lu(struct stress *s, const char *name)
{
	struct lu_params params = {.name = name, .uuid = name, .identity = ""};
	struct lu_options options = lu_options_default;
	struct lu *lu = NULL;

	options.backoff_min_ns = NS_PER_MS;
	options.backoff_max_ns = 2 * NS_PER_MS;
	options.damp_stable_ns = 5 * NS_PER_MS;
	options.probe_interval_ns = 40 * NS_PER_MS;
	assert_int_equal(lu_new(s->group, &params, &options, NULL, &lu, NULL), 0);
	return lu;
}

static struct lu_path *add_path(struct stress *s, struct lu *lu, struct interface *i,
    const char *address, struct io_target *inner)
{
	json_t *json = json_loads(address, 0, NULL);
	struct lu_path *p = NULL;

	assert_int_equal(lu_path_new(lu, i, json, inner, &p, NULL), 0);
	json_decref(json);
	step_until(s, lu_path_state(p) == LU_PATH_UP);
	return p;
}

static const char *make_file(struct stress *s)
{
	int fd;

	snprintf(s->file, sizeof(s->file), "/tmp/sluice-threads-XXXXXX");
	fd = mkstemp(s->file);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 1 << 20), 0);
	close(fd);
	return s->file;
}

static void stress_begin(struct stress *s)
{
	char address[128];
	struct reactor_group_options options = {.nr_data = NR_REACTORS};
	static const char rules[] =
	    "{\"rules\": [{\"action\": \"delay\", \"delay_us\": 50, \"jitter_us\": 300}]}";

	*s = (struct stress){0};
	assert_int_equal(reactor_group_new(&options, &s->group, NULL), 0);
	s->local = add_interface("local", "file");
	s->base = add_lu(s, "base");
	snprintf(address, sizeof(address), "{\"path\": \"%s\"}", make_file(s));
	add_path(s, s->base, s->local, address, NULL);
	assert_int_equal(lu_route_new(s->base, NULL, &s->base_route, NULL), 0);
	s->lu = add_lu(s, "lu");
	for (unsigned i = 0; i < 2; i++) {
		s->fault[i] = add_interface(i == 0 ? "one" : "two", "fault");
		s->paths[i] =
		    add_path(s, s->lu, s->fault[i], rules, lu_route_target(s->base_route));
	}
	assert_int_equal(lu_route_new(s->lu, s->fault[0], &s->route, NULL), 0);
}

static void free_route(struct stress *s, struct lu_route *r)
{
	unsigned before = s->gone;

	lu_route_free(r, on_gone, s);
	step_until(s, s->gone == before + 1);
}

static void free_lu(struct stress *s, struct lu *lu)
{
	unsigned before = s->gone;

	lu_free(lu, on_gone, s);
	step_until(s, s->gone == before + 1);
}

static void stress_end(struct stress *s)
{
	free_route(s, s->route);
	free_lu(s, s->lu);
	free_route(s, s->base_route);
	free_lu(s, s->base);
	interface_free(s->fault[0]);
	interface_free(s->fault[1]);
	interface_free(s->local);
	reactor_group_free(s->group);
	unlink(s->file);
	for (unsigned i = 0; i < ARRAY_SIZE(s->clients); i++) {
		free(s->clients[i].data);
	}
}

static void load_survives_paths_that_are_lost_in_turn(void **state)
{
	static struct stress stress;
	struct stress *s = &stress;
	json_t *lose = json_loads("{\"lose\": true}", 0, NULL);

	stress_begin(s);
	start_clients(s);
	for (unsigned i = 0; i < NR_LOSSES; i++) {
		struct lu_path *active;
		unsigned long before = atomic_load(&s->answered);

		step_until(s, (active = lu_route_active(s->route)) != NULL);
		step_until(s, atomic_load(&s->answered) > before + 64);
		active = lu_route_active(s->route);
		if (active != NULL && lu_path_control(active, lose, NULL) == 0) {
			step_until(s, lu_route_active(s->route) != active);
		}
	}
	atomic_store(&s->stop, true);
	step_until(s, atomic_load(&s->running) == 0);
	assert_int_equal(atomic_load(&s->wrong), 0);
	json_decref(lose);
	stress_end(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(load_survives_paths_that_are_lost_in_turn),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
