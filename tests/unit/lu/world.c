#include "world.h"

#include <stdlib.h>
#include <string.h>

/* -- the record -- */

static void on_state(void *ctx, struct lu_path *p, enum lu_path_state old, const char *text)
{
	((struct world *)ctx)->nr_states++;
}

static void on_degraded(void *ctx, struct interface *i, const char *text)
{
	((struct world *)ctx)->nr_degraded++;
}

static void on_recovered(void *ctx, struct interface *i, const char *text)
{
	((struct world *)ctx)->nr_recovered++;
}

static void on_moved(
    void *ctx, struct lu_route *r, struct lu_path *from, struct lu_path *to, const char *text)
{
	((struct world *)ctx)->nr_moved++;
}

static void on_no_path(void *ctx, struct lu_route *r, const char *text)
{
	((struct world *)ctx)->nr_no_path++;
}

static void on_in_doubt(void *ctx, struct lu *lu, struct range range, const char *text)
{
	((struct world *)ctx)->nr_in_doubt++;
}

static void on_gone(void *ctx)
{
	((struct world *)ctx)->gone++;
}

/* -- life -- */

static struct interface *add_interface(struct world *w, const char *name)
{
	struct interface_params params = {
	    .name = name, .kind = "fake", .network_id = "", .bind = ""};
	struct interface *i = NULL;

	assert_int_equal(interface_new(&params, &w->events, &i, NULL), 0);
	return i;
}

void world_begin(struct world *w)
{
	struct reactor_group_options options = {.nr_data = 2, .manual = true};
	struct error err = {0};

	*w = (struct world){0};
	if (reactor_group_new(&options, &w->group, &err) != 0) {
		fail_msg("%s", err.message);
	}
	w->options = lu_options_default;
	w->options.backoff_min_ns = NS_PER_MS;
	w->options.backoff_max_ns = 4 * NS_PER_MS;
	w->options.probe_interval_ns = 3600 * NS_PER_S;
	w->events = (struct lu_events){
	    .path_state = on_state,
	    .interface_degraded = on_degraded,
	    .interface_recovered = on_recovered,
	    .route_moved = on_moved,
	    .no_path = on_no_path,
	    .in_doubt = on_in_doubt,
	    .ctx = w,
	};
	w->storage = calloc(1, WORLD_SIZE);
	w->other_storage = calloc(1, WORLD_SIZE);
	assert_true(w->storage != NULL && w->other_storage != NULL);
	lu_fake_add(&w->a, "a", w->storage, WORLD_SIZE);
	lu_fake_add(&w->b, "b", w->storage, WORLD_SIZE);
	w->if_a = add_interface(w, "a");
	w->if_b = add_interface(w, "b");
}

void world_add_lu(struct world *w, uint64_t size, const char *identity)
{
	struct lu_params params = {.name = "lu", .uuid = "u", .size = size, .identity = identity};

	assert_int_equal(lu_new(w->group, &params, &w->options, &w->events, &w->lu, NULL), 0);
}

struct lu_path *world_add_path(struct world *w, struct interface *i, const char *server)
{
	json_t *address = json_pack("{s:s}", "server", server);
	struct lu_path *p = NULL;

	assert_int_equal(lu_path_new(w->lu, i, address, NULL, &p, NULL), 0);
	json_decref(address);
	return p;
}

void world_connect(struct world *w)
{
	world_add_lu(w, 0, "");
	w->path_a = world_add_path(w, w->if_a, "a");
	world_until(w, lu_path_state(w->path_a) == LU_PATH_UP);
	w->path_b = world_add_path(w, w->if_b, "b");
	world_until(w, lu_path_state(w->path_b) == LU_PATH_UP);
	assert_int_equal(lu_route_new(w->lu, w->if_a, &w->route, NULL), 0);
	assert_ptr_equal(lu_route_active(w->route), w->path_a);
	w->a.nr_log = 0;
	w->b.nr_log = 0;
	w->nr_states = 0;
}

void world_free_route(struct world *w, struct lu_route *r)
{
	unsigned before = w->gone;

	lu_route_free(r, on_gone, w);
	world_until(w, w->gone == before + 1);
}

void world_end(struct world *w)
{
	unsigned before;

	lu_fake_release(&w->a);
	lu_fake_release(&w->b);
	world_settle(w);
	if (w->route != NULL) {
		world_free_route(w, w->route);
	}
	if (w->lu != NULL) {
		before = w->gone;
		lu_free(w->lu, on_gone, w);
		world_until(w, w->gone == before + 1);
	}
	interface_free(w->if_a);
	interface_free(w->if_b);
	lu_fake_remove(&w->a);
	lu_fake_remove(&w->b);
	reactor_group_free(w->group);
	free(w->storage);
	free(w->other_storage);
}

void world_step(struct world *w)
{
	reactor_group_step(w->group, 1);
}

void world_settle(struct world *w)
{
	for (unsigned i = 0; i < 32; i++) {
		reactor_group_step(w->group, 0);
	}
}

/* -- requests -- */

static void on_done(struct io *io, void *ctx)
{
	struct request *r = ctx;

	r->done++;
	r->status = io->status;
	if (r->order != NULL) {
		r->order[(*r->nr_order)++] = r;
	}
}

void request_start(struct request *r, struct io_target *target, unsigned reactor, enum io_op op,
    uint64_t offset, unsigned char fill)
{
	bool payload = io_op_payload(op) != IO_PAYLOAD_NONE;

	memset(r->data, fill, sizeof(r->data));
	r->done = 0;
	r->iov = (struct iovec){r->data, sizeof(r->data)};
	r->io.op = op;
	r->io.offset = offset;
	r->io.length = op == IO_FLUSH ? 0 : sizeof(r->data);
	r->io.iov = payload ? &r->iov : NULL;
	r->io.iovcnt = payload ? 1 : 0;
	io_push(&r->io, on_done, r);
	io_submit(target->channels[reactor], &r->io);
}

void outcome_take(void *ctx, const struct error *err)
{
	struct outcome *o = ctx;

	o->done++;
	o->error = err != NULL ? *err : (struct error){0};
}

void outcome_take_plain(void *ctx)
{
	outcome_take(ctx, NULL);
}
