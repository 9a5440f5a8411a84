/*
 * The fault driver: wraps another target and does to its requests what rules say (fault_rules.h),
 * for tests of what stands above and for rehearsing trouble on a real set-up. Commands, at any time:
 *
 *   {"rules": [...]}    replaces the rules
 *   {"resume": "tag"}   drops the stops of that tag and lets their requests go on, in order
 *   {"lose": true}      breaks the session
 *
 * Commands reach the reactors one after the other, by broadcasts.
 */
#include "lu/driver.h"
#include "lu/drivers/fault_rules.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fault_session;

struct fault_channel {
	struct io_channel channel; /* first */
	struct io_channel *inner;
	struct reactor *reactor;
	struct fault_session *session;
	const struct fault_rules *rules;
	struct prng prng;
	int refuse; /* what new requests end with; 0 = they are carried */
	bool closing;
	bool said_closed;
	unsigned inside;     /* passed on to the inner target */
	struct list stopped; /* frames, in order */
	struct list dropped;
	struct list delayed;
	struct reactor_msg closed_msg;
};

enum fault_step { STEP_OPENING, STEP_OPEN, STEP_CLOSING, STEP_CLOSED, STEP_FENCED };

struct fault_session {
	struct lu_session session; /* first */
	struct reactor_group *group;
	struct fault_channel *channels;
	enum fault_step step;
	struct reactor_timer timer; /* what comes next is said outside all calls */
	struct reactor_broadcast broadcast;
	bool running;
	bool wanted; /* another broadcast after this one */
	bool lose;
	bool lose_sent; /* as the broadcast that runs has it */
	bool said_lost;
	bool close_sent;	    /* the broadcast that closes has been started */
	struct fault_rules *rules;  /* as wanted */
	struct fault_rules *shown;  /* as the reactors have it, or get it now */
	struct fault_rules *former; /* until the broadcast is done */
	unsigned to_close;
};

/* In io->driver while the request is delayed: nobody below has it yet. */
struct fault_delay {
	struct reactor_timer timer;
	struct io *io;
};
_Static_assert(sizeof(struct fault_delay) <= IO_DRIVER_BYTES, "fits into io->driver");

#define FRAME_CORRUPT 1u

static struct fault_delay *delay_of(struct io *io)
{
	return (struct fault_delay *)(void *)io->driver;
}

/* -- requests -- */

static void on_channel_closed(struct reactor_msg *msg);

static void check_closed(struct fault_channel *c)
{
	if (c->closing && c->inside == 0 && !c->said_closed) {
		c->said_closed = true;
		reactor_send(c->session->group->control, &c->closed_msg, on_channel_closed);
	}
}

static void flip_a_byte(struct fault_channel *c, struct io *io)
{
	uint64_t at;

	if (io->length == 0) {
		return;
	}
	at = prng_below(&c->prng, io->length);
	for (unsigned i = 0; i < io->iovcnt; i++) {
		if (at < io->iov[i].iov_len) {
			((unsigned char *)io->iov[i].iov_base)[at] ^= 0xff;
			return;
		}
		at -= io->iov[i].iov_len;
	}
}

static void inner_done(struct io *io, void *ctx)
{
	struct fault_channel *c = ctx;

	c->inside--;
	if ((io_popped(io)->scratch & FRAME_CORRUPT) != 0 && io->status == 0 && io->op == IO_READ) {
		flip_a_byte(c, io);
	}
	io_complete(io, io->status);
	check_closed(c);
}

static void pass_on(struct fault_channel *c, struct io *io)
{
	c->inside++;
	io_submit(c->inner, io);
}

/* For a request whose frame is still pushed. */
static void end_here(struct io *io, int status)
{
	io->depth--;
	io_complete(io, status);
}

static void delay_over(struct reactor_timer *t)
{
	struct io *io = container_of(t, struct fault_delay, timer)->io;
	struct io_frame *f = io_top(io);

	list_remove(&f->link);
	pass_on(f->ctx, io);
}

static void delay(struct fault_channel *c, struct io *io, uint64_t delay_ns)
{
	struct fault_delay *d = delay_of(io);

	d->io = io;
	reactor_timer_init(&d->timer, delay_over);
	reactor_timer_arm(c->reactor, &d->timer, delay_ns);
	list_append(&c->delayed, &io_top(io)->link);
}

static void handle(struct fault_channel *c, struct io *io)
{
	struct fault_verdict v = fault_rules_judge(c->rules, io, &c->prng);
	struct io_frame *f = io_top(io);

	f->scratch = v.corrupt ? FRAME_CORRUPT : 0;
	switch (v.end) {
	case FAULT_ERROR:
		end_here(io, v.status);
		return;
	case FAULT_STOP:
		list_append(&c->stopped, &f->link);
		return;
	case FAULT_DROP:
		list_append(&c->dropped, &f->link);
		return;
	case FAULT_PASS:
		break;
	}
	if (v.delay_ns > 0) {
		delay(c, io, v.delay_ns);
	} else {
		pass_on(c, io);
	}
}

static void fault_submit(struct io_channel *channel, struct io *io)
{
	struct fault_channel *c = container_of(channel, struct fault_channel, channel);

	if (c->refuse != 0) {
		io_complete(io, c->refuse);
		return;
	}
	io_push(io, inner_done, c);
	handle(c, io);
}

static void end_list(struct fault_channel *c, struct list *head, int status)
{
	struct list todo;

	list_init(&todo);
	list_splice(&todo, head);
	for (struct list *l = list_pop(&todo); l != NULL; l = list_pop(&todo)) {
		struct io *io = list_entry(l, struct io_frame, link)->io;

		if (head == &c->delayed) {
			reactor_timer_cancel(c->reactor, &delay_of(io)->timer);
		}
		end_here(io, status);
	}
}

static void give_back(struct fault_channel *c, int status)
{
	c->refuse = -ENOTCONN;
	end_list(c, &c->stopped, status);
	end_list(c, &c->delayed, status);
	end_list(c, &c->dropped, status);
}

/* Stopped requests are judged again, in order, by the rules of now. */
static void go_on(struct fault_channel *c)
{
	struct list todo;

	list_init(&todo);
	list_splice(&todo, &c->stopped);
	for (struct list *l = list_pop(&todo); l != NULL; l = list_pop(&todo)) {
		handle(c, list_entry(l, struct io_frame, link)->io);
	}
}

/* -- from the control loop to the reactors -- */

static void on_reactor(struct reactor_broadcast *b, unsigned index)
{
	struct fault_session *fs = container_of(b, struct fault_session, broadcast);
	struct fault_channel *c = &fs->channels[index];

	c->rules = fs->shown;
	if (fs->close_sent) {
		c->closing = true;
		give_back(c, -ECONNABORTED);
		check_closed(c);
	} else if (fs->lose_sent) {
		give_back(c, -ECONNRESET);
	} else {
		go_on(c);
	}
}

static void tell(struct fault_session *fs);

static void told(struct reactor_broadcast *b)
{
	struct fault_session *fs = container_of(b, struct fault_session, broadcast);
	struct error why = {0};

	fs->running = false;
	fault_rules_free(fs->former);
	fs->former = NULL;
	if (fs->lose_sent && !fs->said_lost && fs->step == STEP_OPEN) {
		fs->said_lost = true;
		error_set(&why, -ECONNRESET, "the fault driver was told to lose the session");
		fs->session.events->lost(&fs->session, &why);
	}
	if (fs->wanted) {
		tell(fs);
	}
	if (fs->to_close == 0 && fs->step == STEP_CLOSING) {
		reactor_timer_arm(fs->group->control, &fs->timer, 0);
	}
}

static void tell(struct fault_session *fs)
{
	fs->wanted = true;
	if (fs->running) {
		return;
	}
	fs->wanted = false;
	fs->running = true;
	fs->close_sent = fs->step == STEP_CLOSING;
	fs->lose_sent = fs->lose;
	if (fs->shown != fs->rules) {
		fs->former = fs->shown;
		fs->shown = fs->rules;
	}
	reactor_broadcast_start(&fs->broadcast, on_reactor, told);
}

static void on_channel_closed(struct reactor_msg *msg)
{
	struct fault_session *fs = container_of(msg, struct fault_channel, closed_msg)->session;

	if (--fs->to_close == 0 && !fs->running) {
		reactor_timer_arm(fs->group->control, &fs->timer, 0);
	}
}

/* -- life -- */

static void fault_free(struct fault_session *fs)
{
	reactor_broadcast_fini(&fs->broadcast);
	if (fs->shown != fs->rules) {
		fault_rules_free(fs->shown);
	}
	fault_rules_free(fs->rules);
	free(fs->session.target.channels);
	free(fs->channels);
	free(fs);
}

static void on_timer(struct reactor_timer *t)
{
	struct fault_session *fs = container_of(t, struct fault_session, timer);

	switch (fs->step) {
	case STEP_OPENING:
		fs->step = STEP_OPEN;
		fs->session.events->opened(&fs->session, NULL);
		return;
	case STEP_CLOSING:
		fs->step = STEP_CLOSED;
		reactor_timer_arm(fs->group->control, &fs->timer, 0);
		fs->session.events->closed(&fs->session);
		return;
	case STEP_CLOSED:
		/* All that was passed on has ended, so nothing can come late. */
		fs->step = STEP_FENCED;
		fs->session.events->fenced(&fs->session);
		fault_free(fs);
		return;
	case STEP_OPEN:
	case STEP_FENCED:
		return;
	}
}

static int fault_check(const json_t *address, struct error *err)
{
	struct fault_rules *rules;
	const char *key;
	json_t *value;
	int rc;

	if (!json_is_object(address)) {
		return error_set(err, -EINVAL, "the address of a fault path is an object");
	}
	json_object_foreach((json_t *)address, key, value)
	{
		/* The LU that is wrapped: found by whoever opens the path (params->inner). */
		if (strcmp(key, "rules") != 0 &&
		    (strcmp(key, "lu") != 0 || !json_is_string(value))) {
			return error_set(err, -EINVAL, "a fault path has no member '%s'", key);
		}
	}
	rc = fault_rules_parse(json_object_get(address, "rules"), &rules, err);
	if (rc == 0) {
		fault_rules_free(rules);
	}
	return rc;
}

static void fault_describe(const json_t *address, char *buf, size_t len)
{
	const char *lu = json_string_value(json_object_get(address, "lu"));

	snprintf(buf, len, "faults%s%s, %zu rules at the start", lu != NULL ? " over LU " : "",
	    lu != NULL ? lu : "", json_array_size(json_object_get(address, "rules")));
}

static const struct io_target_ops fault_ops = {.kind = "fault"};

static int add_channels(struct fault_session *fs, struct io_target *inner)
{
	unsigned nr = fs->group->nr_data;

	fs->channels = calloc(nr, sizeof(*fs->channels));
	fs->session.target.channels = calloc(nr, sizeof(struct io_channel *));
	if (fs->channels == NULL || fs->session.target.channels == NULL) {
		return -ENOMEM;
	}
	for (unsigned i = 0; i < nr; i++) {
		struct fault_channel *c = &fs->channels[i];

		c->channel.submit = fault_submit;
		c->inner = inner->channels[i];
		c->reactor = fs->group->data[i];
		c->session = fs;
		c->rules = fs->shown;
		prng_seed(&c->prng, reactor_clock_ns() + i);
		list_init(&c->stopped);
		list_init(&c->dropped);
		list_init(&c->delayed);
		fs->session.target.channels[i] = &c->channel;
	}
	fs->session.target.nr_channels = nr;
	return 0;
}

static int fault_open(
    const struct lu_session_params *params, struct lu_session **ret_session, struct error *err)
{
	struct fault_session *fs;
	int rc;

	if (params->inner == NULL) {
		return error_set(err, -EINVAL, "a fault path needs an LU to wrap");
	}
	fs = calloc(1, sizeof(*fs));
	if (fs == NULL) {
		return error_set(err, -ENOMEM, "out of memory");
	}
	fs->group = params->group;
	fs->to_close = params->group->nr_data;
	fs->session.driver = &lu_driver_fault;
	fs->session.events = params->events;
	fs->session.owner = params->owner;
	fs->session.target.ops = &fault_ops;
	fs->session.target.size = params->inner->size;
	fs->session.target.limits = params->inner->limits;
	rc = fault_rules_parse(json_object_get(params->address, "rules"), &fs->rules, err);
	fs->shown = fs->rules;
	if (rc == 0 && (add_channels(fs, params->inner) != 0 ||
			   reactor_broadcast_init(&fs->broadcast, fs->group) != 0)) {
		rc = error_set(err, -ENOMEM, "out of memory");
	}
	if (rc != 0) {
		fault_free(fs);
		return rc;
	}
	reactor_timer_init(&fs->timer, on_timer);
	reactor_timer_arm(fs->group->control, &fs->timer, 0);
	*ret_session = &fs->session;
	return 0;
}

static void fault_close(struct lu_session *s)
{
	struct fault_session *fs = container_of(s, struct fault_session, session);

	reactor_timer_cancel(fs->group->control, &fs->timer);
	fs->step = STEP_CLOSING;
	tell(fs);
}

/* The proof comes by itself. */
static void fault_abandon(struct lu_session *s)
{
}

/* -- commands -- */

static int take_rules(struct fault_session *fs, struct fault_rules *rules)
{
	if (fs->rules != fs->shown) {
		fault_rules_free(fs->rules);
	}
	fs->rules = rules;
	tell(fs);
	return 0;
}

static int resume(struct fault_session *fs, const json_t *tag, struct error *err)
{
	struct fault_rules *rules;
	int rc;

	if (!json_is_string(tag)) {
		return error_set(err, -EINVAL, "resume needs the tag of a stop rule");
	}
	rc = fault_rules_resume(fs->rules, json_string_value(tag), &rules);
	if (rc == -ENOENT) {
		return error_set(err, rc, "no stop rule has the tag '%s'", json_string_value(tag));
	}
	return rc == 0 ? take_rules(fs, rules) : error_set(err, rc, "out of memory");
}

static int fault_control(struct lu_session *s, const json_t *command, struct error *err)
{
	struct fault_session *fs = container_of(s, struct fault_session, session);
	const json_t *rules = json_object_get(command, "rules");
	const json_t *tag = json_object_get(command, "resume");
	struct fault_rules *set;
	int rc;

	if (fs->step != STEP_OPEN) {
		return error_set(err, -ENOTCONN, "the session is not open");
	}
	if (json_object_size(command) == 1 && rules != NULL) {
		rc = fault_rules_parse(rules, &set, err);
		return rc == 0 ? take_rules(fs, set) : rc;
	}
	if (json_object_size(command) == 1 && tag != NULL) {
		return resume(fs, tag, err);
	}
	if (json_object_size(command) == 1 && json_is_true(json_object_get(command, "lose"))) {
		fs->lose = true;
		tell(fs);
		return 0;
	}
	error_set(err, -EINVAL, "not a command of the fault driver");
	error_hint(err, "give one of \"rules\", \"resume\" or \"lose\": true");
	return -EINVAL;
}

const struct lu_driver lu_driver_fault = {
    .kind = "fault",
    .flags = LU_DRIVER_LOCAL,
    .check = fault_check,
    .describe = fault_describe,
    .open = fault_open,
    .close = fault_close,
    .abandon = fault_abandon,
    .control = fault_control,
};
