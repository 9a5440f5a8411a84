/*
 *            open()              last link answered well           close()          all links and
 *   (new) ----------> OPENING ------------------------> OPEN ------------> CLOSING -------------->
 * CLOSED |                                                 ^        hops ended       | | a link
 * failed, or time is up                    |                         | all links
 *                        '------------------------> FAILED ----------------' v fenced (freed)
 *
 * close() may come in any of the first three. Messages between the control loop and a link arrive
 * in order, so a link sees open before close, and the control loop sees opened before closed before
 * fenced.
 */
#include "lu/session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct session *session_of(struct lu_session *lu)
{
	return container_of(lu, struct session, lu);
}

static void session_free(struct session *s)
{
	s->ops->free(s);
	for (unsigned i = 0; i < s->group->nr_data; i++) {
		free(s->links[i]);
	}
	free(s->links);
	free(s->hops);
	free(s->channels);
	free(s);
}

/* -- the control loop's side */

static void finish_if_fenced(struct session *s)
{
	if (s->state == SESSION_CLOSED && s->to_fence == 0 && s->to_abandon == 0) {
		s->lu.events->fenced(&s->lu);
		session_free(s);
	}
}

static void part_closed(struct session *s)
{
	s->to_close--;
	if (s->to_close == 0) {
		s->state = SESSION_CLOSED;
		s->lu.events->closed(&s->lu);
		finish_if_fenced(s);
	}
}

static void on_closed(struct reactor_msg *msg)
{
	part_closed(container_of(msg, struct session_link, closed_msg)->session);
}

static void on_fenced(struct reactor_msg *msg)
{
	struct session *s = container_of(msg, struct session_link, fenced_msg)->session;

	s->to_fence--;
	finish_if_fenced(s);
}

static void on_abandoned(struct reactor_msg *msg)
{
	struct session *s = container_of(msg, struct session_link, abandoned_msg)->session;

	s->to_abandon--;
	finish_if_fenced(s);
}

static void on_hop_closed(struct reactor_msg *msg)
{
	part_closed(container_of(msg, struct hop, closed_msg)->owner);
}

static void open_failed(struct session *s, const struct error *why)
{
	reactor_timer_cancel(s->group->control, &s->timer);
	s->state = SESSION_FAILED;
	s->lu.events->opened(&s->lu, why);
}

static void on_timeout(struct reactor_timer *t)
{
	struct session *s = container_of(t, struct session, timer);
	struct error err;

	error_set(&err, -ETIMEDOUT, "no answer within the connect time-out");
	error_hint(&err, "check that the other end runs and can be reached");
	open_failed(s, &err);
}

/* Reactors that have no link of their own reach the nearest one before them. */
static void make_channels(struct session *s)
{
	unsigned n = s->group->nr_data;

	for (unsigned k = 0; k < n; k++) {
		unsigned i = (s->home + k) % n;
		unsigned to = (s->home + k % s->spread) % n;

		if (i == to) {
			s->channels[i] = &s->links[i]->channel;
			continue;
		}
		hop_init(
		    &s->hops[i], s->group->data[i], s->group->data[to], &s->links[to]->channel, s);
		s->channels[i] = &s->hops[i].channel;
	}
	s->lu.target.channels = s->channels;
	s->lu.target.nr_channels = n;
}

static void open_link(struct session *s, unsigned index);

static void all_links_open(struct session *s)
{
	reactor_timer_cancel(s->group->control, &s->timer);
	s->state = SESSION_OPEN;
	make_channels(s);
	s->lu.events->opened(&s->lu, NULL);
}

static void home_is_open(struct session *s)
{
	unsigned n = s->group->nr_data;

	s->spread = MAX(1u, MIN(s->spread, n));
	for (unsigned k = 1; k < s->spread; k++) {
		open_link(s, (s->home + k) % n);
	}
}

static void on_opened(struct reactor_msg *msg)
{
	struct session_link *l = container_of(msg, struct session_link, opened_msg);
	struct session *s = l->session;

	s->to_open--;
	if (s->state != SESSION_OPENING) {
		return;
	}
	if (l->open_failed) {
		open_failed(s, &l->error);
		return;
	}
	if (l->index == s->home) {
		home_is_open(s);
	}
	if (s->to_open == 0) {
		all_links_open(s);
	}
}

static void on_lost(struct reactor_msg *msg)
{
	struct session_link *l = container_of(msg, struct session_link, lost_msg);
	struct session *s = l->session;

	switch (s->state) {
	case SESSION_OPENING:
		open_failed(s, &l->error);
		break;
	case SESSION_OPEN:
		if (!s->lost) {
			s->lost = true;
			s->lu.events->lost(&s->lu, &l->error);
		}
		break;
	case SESSION_FAILED:
	case SESSION_CLOSING:
	case SESSION_CLOSED:
		break;
	}
}

/* -- the links' side */

static void on_open(struct reactor_msg *msg)
{
	struct session_link *l = container_of(msg, struct session_link, open_msg);

	l->state = LINK_OPENING;
	l->session->ops->open(l);
}

static void open_link(struct session *s, unsigned index)
{
	struct session_link *l = s->links[index];

	l->started = true;
	s->to_open++;
	reactor_send(l->reactor, &l->open_msg, on_open);
}

void link_opened(struct session_link *l, const struct error *err)
{
	sluice_assert(l->state == LINK_OPENING);
	if (err != NULL) {
		l->error = *err;
		l->open_failed = true;
		l->state = LINK_BROKEN;
	} else {
		l->state = LINK_OPEN;
	}
	reactor_send(l->session->group->control, &l->opened_msg, on_opened);
}

void link_lost(struct session_link *l, int code, const char *why)
{
	if (l->state != LINK_OPEN) {
		return;
	}
	l->state = LINK_BROKEN;
	error_set(&l->error, code, "%s", why);
	reactor_send(l->session->group->control, &l->lost_msg, on_lost);
}

void link_complete(struct session_link *l, struct io *io, int status)
{
	l->in_flight--;
	io_complete(io, status);
}

void link_closed(struct session_link *l)
{
	sluice_assert(l->state == LINK_CLOSING && l->in_flight == 0);
	l->state = LINK_CLOSED;
	reactor_send(l->session->group->control, &l->closed_msg, on_closed);
}

void link_fenced(struct session_link *l)
{
	sluice_assert(l->state == LINK_CLOSED && !l->fenced);
	l->fenced = true;
	reactor_send(l->session->group->control, &l->fenced_msg, on_fenced);
}

static void on_close(struct reactor_msg *msg)
{
	struct session_link *l = container_of(msg, struct session_link, close_msg);

	l->state = LINK_CLOSING;
	l->session->ops->close(l);
}

static void on_abandon(struct reactor_msg *msg)
{
	struct session_link *l = container_of(msg, struct session_link, abandon_msg);

	if (!l->fenced) {
		l->session->ops->abandon(l);
	}
	reactor_send(l->session->group->control, &l->abandoned_msg, on_abandoned);
}

/* The one way in for requests: whatever is out of bounds or too late ends here. */
static void link_submit(struct io_channel *channel, struct io *io)
{
	struct session_link *l = container_of(channel, struct session_link, channel);
	uint64_t size = l->session->lu.target.size;

	if (unlikely(l->state != LINK_OPEN)) {
		io_complete(io, l->state == LINK_BROKEN ? l->error.code : -ECONNABORTED);
		return;
	}
	if (unlikely(
		io_op_ranged(io->op) && (io->length > size || io->offset > size - io->length))) {
		io_complete(io, -EINVAL);
		return;
	}
	if (unlikely(l->session->lu.target.limits.read_only && io_op_changes(io->op))) {
		io_complete(io, -EROFS);
		return;
	}
	if (unlikely(io_op_ranged(io->op) && io->length == 0)) {
		io_complete(io, 0);
		return;
	}
	l->in_flight++;
	l->session->ops->submit(l, io);
}

static void hop_drained(struct hop *h)
{
	struct session *s = h->owner;

	reactor_send(s->group->control, &h->closed_msg, on_hop_closed);
}

static void on_close_hop(struct reactor_msg *msg)
{
	hop_close(container_of(msg, struct hop, close_msg), hop_drained);
}

/* -- life cycle */

int session_new(const struct lu_session_params *params, const struct lu_driver *driver,
    const struct link_ops *ops, struct session **ret_session, struct error *err)
{
	/* Sessions with one connection each take turns, so that no reactor carries them all. */
	static unsigned next_home;
	unsigned n = params->group->nr_data;
	struct session *s = calloc(1, ops->session_size);

	if (s == NULL) {
		return error_set(err, -ENOMEM, "out of memory");
	}
	s->lu.driver = driver;
	s->lu.events = params->events;
	s->lu.owner = params->owner;
	s->ops = ops;
	s->group = params->group;
	s->spread = n;
	s->home = next_home++ % n;
	s->links = calloc(n, sizeof(struct session_link *));
	s->hops = calloc(n, sizeof(struct hop));
	s->channels = calloc(n, sizeof(struct io_channel *));
	for (unsigned i = 0; s->links != NULL && i < n; i++) {
		s->links[i] = calloc(1, ops->link_size);
		if (s->links[i] == NULL) {
			break;
		}
		s->links[i]->channel.submit = link_submit;
		s->links[i]->session = s;
		s->links[i]->reactor = params->group->data[i];
		s->links[i]->index = i;
	}
	if (s->links == NULL || s->hops == NULL || s->channels == NULL || s->links[n - 1] == NULL) {
		for (unsigned i = 0; s->links != NULL && i < n; i++) {
			free(s->links[i]);
		}
		free(s->links);
		free(s->hops);
		free(s->channels);
		free(s);
		return error_set(err, -ENOMEM, "out of memory");
	}
	reactor_timer_init(&s->timer, on_timeout);
	*ret_session = s;
	return 0;
}

void session_discard(struct session *s)
{
	session_free(s);
}

void session_start(struct session *s, uint64_t connect_timeout_ns)
{
	s->state = SESSION_OPENING;
	if (connect_timeout_ns > 0) {
		reactor_timer_arm(s->group->control, &s->timer, connect_timeout_ns);
	}
	open_link(s, s->home);
}

static void on_end(struct reactor_msg *msg)
{
	part_closed(container_of(msg, struct session, end_msg));
}

void session_close(struct lu_session *lu)
{
	struct session *s = session_of(lu);
	bool has_hops = s->state == SESSION_OPEN;

	reactor_assert(s->group->control);
	sluice_assert(s->state < SESSION_CLOSING);
	reactor_timer_cancel(s->group->control, &s->timer);
	s->state = SESSION_CLOSING;
	s->to_close = 1; /* itself, so that closed() never comes inside this call */
	for (unsigned i = 0; i < s->group->nr_data; i++) {
		struct session_link *l = s->links[i];

		if (l->started) {
			s->to_close++;
			s->to_fence++;
			reactor_send(l->reactor, &l->close_msg, on_close);
		} else if (has_hops) {
			s->to_close++;
			reactor_send(s->hops[i].here, &s->hops[i].close_msg, on_close_hop);
		}
	}
	reactor_send(s->group->control, &s->end_msg, on_end);
}

void session_abandon(struct lu_session *lu)
{
	struct session *s = session_of(lu);

	reactor_assert(s->group->control);
	sluice_assert(s->state == SESSION_CLOSED);
	for (unsigned i = 0; i < s->group->nr_data; i++) {
		struct session_link *l = s->links[i];

		if (l->started && !l->abandoned) {
			l->abandoned = true;
			s->to_abandon++;
			reactor_send(l->reactor, &l->abandon_msg, on_abandon);
		}
	}
}
