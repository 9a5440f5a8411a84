#include "lu_fake.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A write that a broken session may still execute. */
struct late_write {
	struct list link;
	uint64_t offset;
	uint64_t length;
	unsigned char data[];
};

struct fake_channel {
	struct io_channel channel; /* first */
	struct fake_session *session;
	unsigned index;
};

struct fake_session {
	struct lu_session session; /* first */
	struct list link;
	struct lu_fake_server *server;
	struct reactor *control;
	struct list held; /* struct held_request in io->driver */
	struct list late;
	struct fake_channel *channels;
	struct reactor_timer event; /* opened, then closed */
	struct reactor_timer lost;
	struct reactor_timer fence;
	bool broken;
	bool closing;
	bool closed;
	bool open;
};

struct held_request {
	struct list link;
	struct io *io;
};
_Static_assert(sizeof(struct held_request) <= IO_DRIVER_BYTES, "fits into io->driver");

static struct list servers = {&servers, &servers};

static struct lu_fake_server *find_server(const char *name)
{
	list_for_each (pos, &servers) {
		struct lu_fake_server *s = list_entry(pos, struct lu_fake_server, link);

		if (strcmp(s->name, name) == 0) {
			return s;
		}
	}
	return NULL;
}

static struct held_request *held_of(struct io *io)
{
	return (struct held_request *)(void *)io->driver;
}

static void execute(struct lu_fake_server *s, struct io *io)
{
	switch (io->op) {
	case IO_READ:
		io_iov_from_buffer(io->iov, io->iovcnt, s->bytes + io->offset);
		break;
	case IO_WRITE:
		io_iov_to_buffer(io->iov, io->iovcnt, s->bytes + io->offset);
		break;
	case IO_DISCARD:
	case IO_WRITE_ZEROES:
		memset(s->bytes + io->offset, 0, io->length);
		break;
	case IO_FLUSH:
	case IO_BLOCK_STATUS:
	case IO_OP_COUNT:
		break;
	}
}

static void finish(struct lu_fake_server *s, struct io *io)
{
	if (s->fail_status == 0) {
		execute(s, io);
	}
	io_complete(io, s->fail_status);
}

static void log_request(struct lu_fake_server *s, const struct io *io, unsigned index)
{
	struct lu_fake_request *r = &s->log[s->nr_log++ % LU_FAKE_LOG];

	*r = (struct lu_fake_request){.op = io->op, .offset = io->offset, .reactor = index};
	if (io->op == IO_WRITE && io->iovcnt > 0) {
		r->first = *(unsigned char *)io->iov[0].iov_base;
	}
}

static void fake_submit(struct io_channel *channel, struct io *io)
{
	struct fake_channel *c = container_of(channel, struct fake_channel, channel);
	struct fake_session *fs = c->session;

	sluice_assert(!fs->closed);
	if (fs->broken || fs->closing) {
		io_complete(io, -ENOTCONN);
		return;
	}
	log_request(fs->server, io, c->index);
	if (fs->server->hold) {
		held_of(io)->io = io;
		list_append(&fs->held, &held_of(io)->link);
	} else {
		finish(fs->server, io);
	}
}

static void keep_late(struct fake_session *fs, struct io *io)
{
	struct late_write *w;

	if (io->op != IO_WRITE) {
		return;
	}
	w = calloc(1, sizeof(*w) + io->length);
	sluice_assert(w != NULL);
	w->offset = io->offset;
	w->length = io->length;
	io_iov_to_buffer(io->iov, io->iovcnt, w->data);
	list_append(&fs->late, &w->link);
}

static void end_held(struct fake_session *fs, int status, bool late)
{
	struct list todo;

	list_init(&todo);
	list_splice(&todo, &fs->held);
	for (struct list *l = list_pop(&todo); l != NULL; l = list_pop(&todo)) {
		struct io *io = list_entry(l, struct held_request, link)->io;

		if (late) {
			keep_late(fs, io);
		}
		io_complete(io, status);
	}
}

/* -- life -- */

static void session_free(struct fake_session *fs)
{
	for (struct list *l = list_pop(&fs->late); l != NULL; l = list_pop(&fs->late)) {
		free(list_entry(l, struct late_write, link));
	}
	list_remove(&fs->link);
	reactor_timer_cancel(fs->control, &fs->lost);
	free(fs->session.target.channels);
	free(fs->channels);
	free(fs);
}

static void on_fence(struct reactor_timer *t)
{
	struct fake_session *fs = container_of(t, struct fake_session, fence);

	fs->session.events->fenced(&fs->session);
	session_free(fs);
}

static void fence(struct fake_session *fs)
{
	if (fs->closed && !reactor_timer_armed(&fs->fence)) {
		reactor_timer_arm(fs->control, &fs->fence, 0);
	}
}

static void on_closed(struct fake_session *fs)
{
	fs->closed = true;
	fs->server->nr_open -= fs->open ? 1 : 0;
	fs->open = false;
	fs->session.events->closed(&fs->session);
	if (!fs->server->hold_fence) {
		fence(fs);
	}
}

static void on_opened(struct fake_session *fs)
{
	struct lu_fake_server *s = fs->server;
	struct error err = {0};

	if (s->refuses) {
		error_set(&err, -ECONNREFUSED, "connection refused");
		fs->session.events->opened(&fs->session, &err);
		return;
	}
	fs->open = true;
	s->nr_open++;
	fs->session.target.size = s->size;
	fs->session.target.limits = s->limits;
	snprintf(fs->session.identity.text, sizeof(fs->session.identity.text), "%s", s->identity);
	fs->session.events->opened(&fs->session, NULL);
}

static void on_event(struct reactor_timer *t)
{
	struct fake_session *fs = container_of(t, struct fake_session, event);

	if (fs->closing) {
		on_closed(fs);
	} else {
		on_opened(fs);
	}
}

static void on_lost(struct reactor_timer *t)
{
	struct fake_session *fs = container_of(t, struct fake_session, lost);
	struct error why = {0};

	if (!fs->closing) {
		error_set(&why, -ECONNRESET, "connection reset");
		fs->session.events->lost(&fs->session, &why);
	}
}

static int fake_check(const json_t *address, struct error *err)
{
	const char *name = json_string_value(json_object_get(address, "server"));

	if (name == NULL || find_server(name) == NULL) {
		return error_set(err, -EINVAL, "no such fake server");
	}
	return 0;
}

static void fake_describe(const json_t *address, char *buf, size_t len)
{
	snprintf(buf, len, "fake:%s", json_string_value(json_object_get(address, "server")));
}

static const struct io_target_ops fake_ops = {.kind = "fake"};

static int fake_open(
    const struct lu_session_params *params, struct lu_session **ret_session, struct error *err)
{
	unsigned nr = params->group->nr_data;
	struct fake_session *fs = calloc(1, sizeof(*fs));

	sluice_assert(fs != NULL);
	fs->server = find_server(json_string_value(json_object_get(params->address, "server")));
	fs->control = params->group->control;
	fs->channels = calloc(nr, sizeof(*fs->channels));
	fs->session.target.channels = calloc(nr, sizeof(struct io_channel *));
	sluice_assert(fs->channels != NULL && fs->session.target.channels != NULL);
	fs->session.target.ops = &fake_ops;
	fs->session.target.nr_channels = nr;
	for (unsigned i = 0; i < nr; i++) {
		fs->channels[i].channel.submit = fake_submit;
		fs->channels[i].session = fs;
		fs->channels[i].index = i;
		fs->session.target.channels[i] = &fs->channels[i].channel;
	}
	fs->session.driver = lu_driver_find("fake");
	fs->session.events = params->events;
	fs->session.owner = params->owner;
	list_init(&fs->held);
	list_init(&fs->late);
	reactor_timer_init(&fs->event, on_event);
	reactor_timer_init(&fs->lost, on_lost);
	reactor_timer_init(&fs->fence, on_fence);
	reactor_timer_arm(fs->control, &fs->event, 0);
	fs->server->opens++;
	list_append(&fs->server->sessions, &fs->link);
	*ret_session = &fs->session;
	return 0;
}

static void fake_close(struct lu_session *s)
{
	struct fake_session *fs = container_of(s, struct fake_session, session);

	sluice_assert(!fs->closing);
	fs->closing = true;
	fs->server->closes++;
	end_held(fs, -ECONNABORTED, true);
	reactor_timer_arm(fs->control, &fs->event, 0);
}

static void fake_abandon(struct lu_session *s)
{
	struct fake_session *fs = container_of(s, struct fake_session, session);

	sluice_assert(fs->closed);
	fs->server->abandons++;
	fence(fs);
}

static const struct lu_driver fake_driver = {
    .kind = "fake",
    .flags = LU_DRIVER_NETWORK_ID,
    .check = fake_check,
    .describe = fake_describe,
    .open = fake_open,
    .close = fake_close,
    .abandon = fake_abandon,
};

const struct lu_driver *lu_driver_find(const char *kind)
{
	if (strcmp(kind, "fault") == 0) {
		return &lu_driver_fault;
	}
	return strcmp(kind, "fake") == 0 ? &fake_driver : NULL;
}

const struct lu_driver *lu_driver_at(unsigned i)
{
	return i == 0 ? &fake_driver : NULL;
}

/* -- the test's side -- */

void lu_fake_add(struct lu_fake_server *s, const char *name, unsigned char *bytes, uint64_t size)
{
	*s = (struct lu_fake_server){
	    .name = name,
	    .bytes = bytes,
	    .size = size,
	    .identity = "",
	    .limits =
		{
		    .block_size = 512,
		    .preferred_size = 4096,
		    .max_transfer = 1 << 20,
		    .max_iov = 64,
		    .memory_alignment = 1,
		    .discard_granularity = 512,
		    .write_zeroes = true,
		    .fua = true,
		    .flush = true,
		    .block_status = true,
		    .coherent = true,
		},
	};
	list_init(&s->sessions);
	list_append(&servers, &s->link);
}

void lu_fake_remove(struct lu_fake_server *s)
{
	sluice_assert(list_empty(&s->sessions));
	list_remove(&s->link);
}

void lu_fake_release(struct lu_fake_server *s)
{
	s->hold = false;
	list_for_each_safe (pos, &s->sessions) {
		struct fake_session *fs = list_entry(pos, struct fake_session, link);
		struct list todo;

		list_init(&todo);
		list_splice(&todo, &fs->held);
		for (struct list *l = list_pop(&todo); l != NULL; l = list_pop(&todo)) {
			finish(s, list_entry(l, struct held_request, link)->io);
		}
	}
}

void lu_fake_fail_held(struct lu_fake_server *s, int status)
{
	list_for_each_safe (pos, &s->sessions) {
		end_held(list_entry(pos, struct fake_session, link), status, false);
	}
}

void lu_fake_break(struct lu_fake_server *s)
{
	list_for_each_safe (pos, &s->sessions) {
		struct fake_session *fs = list_entry(pos, struct fake_session, link);

		if (fs->open && !fs->broken && !fs->closing) {
			fs->broken = true;
			reactor_timer_arm(fs->control, &fs->lost, 0);
			end_held(fs, -ECONNRESET, true);
		}
	}
}

void lu_fake_wake(struct lu_fake_server *s)
{
	list_for_each_safe (pos, &s->sessions) {
		struct fake_session *fs = list_entry(pos, struct fake_session, link);

		for (struct list *l = list_pop(&fs->late); l != NULL; l = list_pop(&fs->late)) {
			struct late_write *w = list_entry(l, struct late_write, link);

			memcpy(s->bytes + w->offset, w->data, w->length);
			free(w);
		}
	}
}

void lu_fake_fence(struct lu_fake_server *s)
{
	list_for_each_safe (pos, &s->sessions) {
		fence(list_entry(pos, struct fake_session, link));
	}
}

unsigned lu_fake_held(const struct lu_fake_server *s)
{
	unsigned n = 0;

	list_for_each (pos, &s->sessions) {
		const struct fake_session *fs = list_entry(pos, struct fake_session, link);

		list_for_each (held, &fs->held) {
			n++;
		}
	}
	return n;
}
