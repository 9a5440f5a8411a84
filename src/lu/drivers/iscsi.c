/*
 * iSCSI LUs, by libiscsi's asynchronous calls: one session (I_T nexus) per data reactor, each with
 * an ISID of its own, so that they do not reinstate each other (RFC 7143 section 4.4.3, the ISID
 * rule).
 *
 * Fencing. A session that ends with no change unanswered just logs out. After one that may still
 * have changes at the target, the driver logs in again with the same initiator name and ISID and no
 * TSIH: that is session reinstatement, and the target must end the old session, all its tasks
 * included, before it answers (RFC 7143 section 6.3.5). Then it logs out; that is the proof. It is
 * tried with back-off until it succeeds or abandon() is called.
 *
 * Names are resolved on a worker; libiscsi only gets numeric addresses, for which its look-up does
 * not block. The library writes to its socket without MSG_NOSIGNAL: the program must ignore SIGPIPE.
 * It binds to interfaces, not addresses, so a bind address is turned into the interface
 * that has it.
 */
#include "lu/drivers/iscsi.h"

#include "lu/drivers/address.h"

#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define LOGOUT_TIMEOUT_NS (2 * NS_PER_S)
#define REINSTATE_TIMEOUT_NS (5 * NS_PER_S)
#define BACKOFF_MIN_NS (100 * NS_PER_MS)
#define BACKOFF_MAX_DOUBLINGS 5u

static const struct address_member members[] = {
    {"url", JSON_STRING, true, "\"iscsi://192.0.2.1/iqn.2026-01.com.example:disks/1\""},
};

static int iscsi_check(const json_t *address, struct error *err)
{
	struct iscsi_address a;
	int r = address_check(address, members, ARRAY_SIZE(members), err);

	return r < 0 ? r : iscsi_address_parse(address_string(address, "url"), &a, err);
}

static void iscsi_describe(const json_t *address, char *buf, size_t len)
{
	struct iscsi_address a;

	if (iscsi_address_parse(address_string(address, "url"), &a, NULL) < 0) {
		snprintf(buf, len, "iscsi");
		return;
	}
	snprintf(buf, len, "iscsi://%s%s%s%s%s:%s/%s/%u", a.user, a.user[0] == '\0' ? "" : "@",
	    strchr(a.host, ':') != NULL ? "[" : "", a.host, strchr(a.host, ':') != NULL ? "]" : "",
	    a.port, a.target, a.lun);
}

static void on_ready(struct reactor_watch *w, uint32_t revents);
static void connect_next(struct iscsi_link *l);
static void reinstate(struct iscsi_link *l);

/* -- one connection */

static void on_stopped(struct reactor_watch *w)
{
	struct iscsi_link *l = container_of(w, struct iscsi_link, watch);

	close(l->fd);
	l->fd = -1;
	l->phase = ISCSI_IDLE;
	l->after_stop(l);
}

/* Ends the context; nothing of it reaches anybody's memory afterwards. */
static void drop_context(struct iscsi_link *l)
{
	if (l->iscsi == NULL) {
		return;
	}
	reactor_deferred_cancel(&l->kick);
	l->dropping = true;
	iscsi_destroy_context(l->iscsi);
	l->dropping = false;
	l->iscsi = NULL;
	if (l->probe_task != NULL) {
		scsi_free_scsi_task(l->probe_task);
		l->probe_task = NULL;
	}
	if (l->fd >= 0) {
		shutdown(l->fd, SHUT_RDWR); /* ours would keep the connection up */
	}
}

static void disconnect(struct iscsi_link *l, void (*then)(struct iscsi_link *l))
{
	bool stopping = l->phase == ISCSI_STOPPING;

	reactor_timer_cancel(l->link.reactor, &l->timer);
	drop_context(l);
	l->after_stop = then;
	if (l->fd < 0) {
		l->phase = ISCSI_IDLE;
		then(l);
		return;
	}
	l->phase = ISCSI_STOPPING;
	if (!stopping) {
		reactor_watch_stop(&l->watch, on_stopped);
	}
}

static void on_login(struct iscsi_context *iscsi, int status, void *data, void *private_data)
{
	struct iscsi_link *l = private_data;

	if (!l->dropping) {
		l->step_done = true;
		l->step_status = status;
	}
}

static void on_connect(struct iscsi_context *iscsi, int status, void *data, void *private_data)
{
	struct iscsi_link *l = private_data;

	if (l->dropping || l->step_done) {
		return;
	}
	if (status != SCSI_STATUS_GOOD || iscsi_login_async(iscsi, on_login, l) < 0) {
		l->step_done = true;
		l->step_status = SCSI_STATUS_ERROR;
	}
}

static struct iscsi_context *make_context(struct iscsi_link *l)
{
	struct iscsi_session *s = iscsi_session_of(l);
	struct iscsi_context *c = iscsi_create_context(s->initiator);

	if (c == NULL) {
		return NULL;
	}
	/* The path layer reconnects. */
	iscsi_set_noautoreconnect(c, 1);
	/* RFC 7143 section 11.12.5: type "random", 24 bits, then a qualifier of ours. */
	iscsi_set_isid_random(c, s->isid, l->link.index);
	iscsi_set_targetname(c, s->address.target);
	iscsi_set_session_type(c, ISCSI_SESSION_NORMAL);
	iscsi_set_header_digest(c, ISCSI_HEADER_DIGEST_NONE_CRC32C);
	if (s->address.user[0] != '\0') {
		iscsi_set_initiator_username_pwd(c, s->address.user, s->address.secret);
	}
	if (s->bind_interface[0] != '\0') {
		iscsi_set_bind_interfaces(c, s->bind_interface);
	}
	return c;
}

/* False: could not even begin. */
static bool begin_connection(struct iscsi_link *l)
{
	struct iscsi_session *s = iscsi_session_of(l);
	char portal[80];

	l->step_done = false;
	l->iscsi = make_context(l);
	if (l->iscsi == NULL) {
		return false;
	}
	resolve_format(&s->resolve.addresses[l->next_address], portal, sizeof(portal));
	if (iscsi_connect_async(l->iscsi, portal, on_connect, l) < 0) {
		return false;
	}
	l->fd = fcntl(iscsi_get_fd(l->iscsi), F_DUPFD_CLOEXEC, 0);
	if (l->fd < 0) {
		return false;
	}
	reactor_watch_init(&l->watch, l->link.reactor, l->fd, on_ready);
	reactor_watch_set(&l->watch, (uint32_t)iscsi_which_events(l->iscsi));
	return true;
}

/* -- the end of a link */

static void fenced(struct iscsi_link *l)
{
	link_fenced(&l->link);
}

static void on_logged_out(struct iscsi_context *iscsi, int status, void *data, void *private_data)
{
	struct iscsi_link *l = private_data;

	if (!l->dropping) {
		l->step_done = true;
		l->step_status = status;
	}
}

/* Nothing hangs on the answer: what had to be proven is proven. */
static void log_out(struct iscsi_link *l)
{
	l->phase = ISCSI_LOGGING_OUT;
	l->step_done = false;
	if (iscsi_logout_async(l->iscsi, on_logged_out, l) < 0) {
		disconnect(l, fenced);
		return;
	}
	reactor_timer_arm(l->link.reactor, &l->timer, LOGOUT_TIMEOUT_NS);
	iscsi_link_kick(l);
}

static void back_off(struct iscsi_link *l)
{
	uint64_t delay = BACKOFF_MIN_NS << MIN(l->attempts, BACKOFF_MAX_DOUBLINGS);

	l->attempts++;
	l->phase = ISCSI_BACKING_OFF;
	reactor_timer_arm(l->link.reactor, &l->timer, delay);
}

static void reinstate(struct iscsi_link *l)
{
	if (!begin_connection(l)) {
		disconnect(l, back_off);
		return;
	}
	l->phase = ISCSI_REINSTATING;
	reactor_timer_arm(l->link.reactor, &l->timer, REINSTATE_TIMEOUT_NS);
}

static void on_timer(struct reactor_timer *t)
{
	struct iscsi_link *l = container_of(t, struct iscsi_link, timer);

	if (l->phase == ISCSI_LOGGING_OUT) {
		disconnect(l, fenced);
	} else if (l->phase == ISCSI_REINSTATING) {
		disconnect(l, back_off);
	} else if (l->phase == ISCSI_BACKING_OFF) {
		reinstate(l);
	}
}

static void iscsi_link_close(struct session_link *link)
{
	struct iscsi_link *l = (struct iscsi_link *)link;
	enum iscsi_phase phase = l->phase;
	bool idle = phase == ISCSI_RUNNING && link->in_flight == 0 && !l->in_doubt;

	if (!idle) {
		drop_context(l);
		iscsi_link_abort_all(l, -ECONNABORTED);
	}
	link_closed(link);
	if (idle) {
		log_out(l);
	} else if (phase == ISCSI_RESOLVING) {
		return; /* done_resolve() goes on */
	} else if (l->in_doubt) {
		disconnect(l, reinstate);
	} else {
		disconnect(l, fenced);
	}
}

static void iscsi_link_abandon(struct session_link *link)
{
	struct iscsi_link *l = (struct iscsi_link *)link;

	if (l->phase != ISCSI_RESOLVING) {
		disconnect(l, fenced);
	}
}

/* -- the course of a link */

static void open_failed(struct iscsi_link *l, int code, const char *text)
{
	struct error err;

	error_set(&err, code, "%s", text);
	error_hint(&err, "check the address, the target name, the initiator name (network ID) "
			 "against the target's access list, and user and secret");
	l->phase = l->fd >= 0 ? ISCSI_BROKEN : ISCSI_IDLE;
	if (l->fd >= 0) {
		reactor_watch_set(&l->watch, 0);
	}
	link_opened(&l->link, &err);
}

void iscsi_link_fail(struct iscsi_link *l, int code, const char *text)
{
	char copy[200];

	snprintf(copy, sizeof(copy), "%s", text); /* it may be the context's */
	switch (l->phase) {
	case ISCSI_CONNECTING:
		if (l->next_address + 1 < iscsi_session_of(l)->resolve.count) {
			l->next_address++;
			disconnect(l, connect_next);
			break;
		}
		drop_context(l);
		open_failed(l, code, copy);
		break;
	case ISCSI_PROBING:
		drop_context(l);
		open_failed(l, code, copy);
		break;
	case ISCSI_RUNNING:
		l->phase = ISCSI_BROKEN;
		link_lost(&l->link, code, copy);
		reactor_watch_set(&l->watch, 0);
		drop_context(l);
		iscsi_link_abort_all(l, code);
		break;
	case ISCSI_REINSTATING:
		disconnect(l, back_off);
		break;
	case ISCSI_LOGGING_OUT:
		disconnect(l, fenced);
		break;
	case ISCSI_IDLE:
	case ISCSI_RESOLVING:
	case ISCSI_BROKEN:
	case ISCSI_BACKING_OFF:
	case ISCSI_STOPPING:
		break;
	}
}

static void probe(struct iscsi_link *l)
{
	struct error err;
	int r = iscsi_probe_next(l, &err);

	if (r < 0) {
		iscsi_link_fail(l, r, err.message);
	} else if (r > 0) {
		l->phase = ISCSI_RUNNING;
		link_opened(&l->link, NULL);
	} else if (!iscsi_probe_send(l)) {
		iscsi_link_fail(l, -ENOMEM, "out of memory");
	}
}

static void logged_in(struct iscsi_link *l)
{
	if (l->phase == ISCSI_REINSTATING) {
		reactor_timer_cancel(l->link.reactor, &l->timer);
		log_out(l);
		return;
	}
	l->phase = ISCSI_PROBING;
	if (!iscsi_probe_send(l)) {
		iscsi_link_fail(l, -ENOMEM, "out of memory");
	}
}

/* What the callbacks noted is done here, outside the library. */
static void act(struct iscsi_link *l)
{
	bool good = l->step_status == SCSI_STATUS_GOOD;

	l->step_done = false;
	switch (l->phase) {
	case ISCSI_CONNECTING:
	case ISCSI_REINSTATING:
		if (good) {
			logged_in(l);
		} else {
			iscsi_link_fail(l, -ECONNREFUSED, iscsi_get_error(l->iscsi));
		}
		break;
	case ISCSI_PROBING:
		probe(l);
		break;
	case ISCSI_LOGGING_OUT:
		disconnect(l, fenced);
		break;
	case ISCSI_IDLE:
	case ISCSI_RESOLVING:
	case ISCSI_RUNNING:
	case ISCSI_BROKEN:
	case ISCSI_BACKING_OFF:
	case ISCSI_STOPPING:
		break;
	}
}

/* The library does not always say that the other end has closed. */
static bool at_end(const struct iscsi_link *l, uint32_t revents)
{
	char byte;

	return (revents & (POLLIN | POLLHUP | POLLERR)) != 0 &&
	       recv(l->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

static void service(struct iscsi_link *l, uint32_t revents)
{
	bool ended = at_end(l, revents);
	int r;

	r = iscsi_service(l->iscsi, (int)revents);
	/* First what breaks: requests that come while others complete must be refused. */
	if (r < 0 || (ended && !l->step_done)) {
		iscsi_link_fail(l, -ENOTCONN,
		    ended ? "the target closed the connection" : iscsi_get_error(l->iscsi));
		iscsi_link_reap(l);
		return;
	}
	if (l->step_done) {
		act(l);
	}
	iscsi_link_reap(l);
	if (l->iscsi != NULL && l->phase != ISCSI_STOPPING) {
		reactor_watch_set(&l->watch, (uint32_t)iscsi_which_events(l->iscsi));
	}
}

static void on_ready(struct reactor_watch *w, uint32_t revents)
{
	struct iscsi_link *l = container_of(w, struct iscsi_link, watch);

	if (l->iscsi != NULL) {
		service(l, revents);
	}
}

static void on_kick(struct reactor_deferred *d)
{
	struct iscsi_link *l = container_of(d, struct iscsi_link, kick);

	if (l->iscsi != NULL) {
		service(l, (uint32_t)iscsi_which_events(l->iscsi) & POLLOUT);
	}
}

void iscsi_link_kick(struct iscsi_link *l)
{
	reactor_defer(l->link.reactor, &l->kick);
}

static void connect_next(struct iscsi_link *l)
{
	if (link_is_closing(&l->link)) {
		fenced(l);
		return;
	}
	l->phase = ISCSI_CONNECTING;
	if (!begin_connection(l)) {
		iscsi_link_fail(
		    l, -ENOTCONN, l->iscsi == NULL ? "out of memory" : iscsi_get_error(l->iscsi));
	}
}

static void done_resolve(struct worker_job *job)
{
	struct resolve *r = container_of(job, struct resolve, job);
	struct iscsi_session *s = container_of(r, struct iscsi_session, resolve);
	struct iscsi_link *l = (struct iscsi_link *)s->session.links[s->session.home];

	l->phase = ISCSI_IDLE;
	if (link_is_closing(&l->link)) {
		link_fenced(&l->link);
	} else if (r->count == 0) {
		link_opened(&l->link, &r->error);
	} else {
		connect_next(l);
	}
}

static void iscsi_link_open(struct session_link *link)
{
	struct iscsi_link *l = (struct iscsi_link *)link;
	struct iscsi_session *s = iscsi_session_of(l);

	l->fd = -1;
	list_init(&l->in_flight);
	list_init(&l->done);
	list_init(&l->retry);
	reactor_timer_init(&l->timer, on_timer);
	reactor_timer_init(&l->retry_timer, iscsi_link_retry);
	reactor_deferred_init(&l->kick, on_kick);
	if (s->worker != NULL && link->index == s->session.home) {
		l->phase = ISCSI_RESOLVING;
		worker_submit(
		    s->worker, link->reactor, &s->resolve.job, resolve_job_run, done_resolve);
		return;
	}
	connect_next(l);
}

static void iscsi_session_free(struct session *session)
{
	worker_free(((struct iscsi_session *)session)->worker);
}

static const struct link_ops iscsi_link_ops = {
    .kind = "iscsi",
    .session_size = sizeof(struct iscsi_session),
    .link_size = sizeof(struct iscsi_link),
    .open = iscsi_link_open,
    .submit = iscsi_link_submit,
    .close = iscsi_link_close,
    .abandon = iscsi_link_abandon,
    .free = iscsi_session_free,
};

static const struct io_target_ops iscsi_target_ops = {"iscsi"};

/* -- the session */

static bool same_address(const struct sockaddr *a, const struct sockaddr *b)
{
	if (a == NULL || a->sa_family != b->sa_family) {
		return false;
	}
	if (a->sa_family == AF_INET) {
		return ((const struct sockaddr_in *)a)->sin_addr.s_addr ==
		       ((const struct sockaddr_in *)b)->sin_addr.s_addr;
	}
	return a->sa_family == AF_INET6 &&
	       memcmp(&((const struct sockaddr_in6 *)a)->sin6_addr,
		   &((const struct sockaddr_in6 *)b)->sin6_addr, sizeof(struct in6_addr)) == 0;
}

static int find_interface(struct iscsi_session *s, const char *bind, struct error *err)
{
	struct resolve local = {.port = "0"};
	struct ifaddrs *list = NULL;

	snprintf(local.host, sizeof(local.host), "%s", bind);
	if (resolve_numeric(&local) && getifaddrs(&list) == 0) {
		for (const struct ifaddrs *i = list; i != NULL; i = i->ifa_next) {
			if (same_address(i->ifa_addr,
				(const struct sockaddr *)&local.addresses[0].storage)) {
				snprintf(s->bind_interface, sizeof(s->bind_interface), "%s",
				    i->ifa_name);
			}
		}
		freeifaddrs(list);
	}
	if (s->bind_interface[0] == '\0') {
		error_set(err, -EADDRNOTAVAIL, "%s is no address of this machine", bind);
		error_hint(err, "bind the interface to one that `ip address` shows");
		return -EADDRNOTAVAIL;
	}
	return 0;
}

static int prepare(
    struct iscsi_session *s, const struct lu_session_params *params, struct error *err)
{
	int r = iscsi_address_parse(address_string(params->address, "url"), &s->address, err);

	if (r < 0) {
		return r;
	}
	if (params->network_id[0] == '\0' || strlen(params->network_id) >= sizeof(s->initiator)) {
		error_set(err, -EINVAL, "iSCSI needs an initiator name of at most 223 bytes");
		error_hint(
		    err, "give the interface a network ID, e.g. iqn.2026-01.com.example:node1");
		return -EINVAL;
	}
	snprintf(s->initiator, sizeof(s->initiator), "%s", params->network_id);
	r = params->bind[0] == '\0' ? 0 : find_interface(s, params->bind, err);
	if (r < 0) {
		return r;
	}
	/* Two sessions of one initiator name must differ in this, or one ends the other. */
	if (getrandom(&s->isid, sizeof(s->isid), GRND_NONBLOCK) != sizeof(s->isid)) {
		return error_set(err, -EAGAIN, "no random numbers yet");
	}
	s->isid &= 0xffffff;
	snprintf(s->resolve.host, sizeof(s->resolve.host), "%s", s->address.host);
	snprintf(s->resolve.port, sizeof(s->resolve.port), "%s", s->address.port);
	return resolve_numeric(&s->resolve) ? 0 : worker_new(&s->worker, err);
}

static int iscsi_open(
    const struct lu_session_params *params, struct lu_session **ret_session, struct error *err)
{
	struct session *session;
	int r = session_new(params, &lu_driver_iscsi, &iscsi_link_ops, &session, err);

	if (r < 0) {
		return r;
	}
	r = prepare((struct iscsi_session *)session, params, err);
	if (r < 0) {
		session_discard(session);
		return r;
	}
	session->lu.target.ops = &iscsi_target_ops;
	session_start(session, params->connect_timeout_ns);
	*ret_session = &session->lu;
	return 0;
}

const struct lu_driver lu_driver_iscsi = {
    .kind = "iscsi",
    .flags = LU_DRIVER_NETWORK_ID,
    .check = iscsi_check,
    .describe = iscsi_describe,
    .open = iscsi_open,
    .close = session_close,
    .abandon = session_abandon,
};
