#include "export/nbd/connection.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "reactor/buffer.h"

/*
 * From this size on a write's payload is mostly received straight into its buffer: the receive
 * buffer asks for no more than a few headers beside it.
 */
#define LARGE_WRITE (32u << 10)
#define RX_BESIDE_LARGE 1024u
/* Requests begun in one turn of the loop. */
#define TURN_REQUESTS 16u
/* See rest(). */
#define GATHER_BATCH_MIN 10u
#define GATHER_NS_PER_REQUEST (4 * NS_PER_US)
#define GATHER_MAX_NS (50 * NS_PER_US)
/* A refused write is skipped up to here; beyond, it is taken for an attack ("Block size
 * constraints"). */
#define SKIP_MAX (64u << 20)

static void kick(struct nbd_connection *c)
{
	reactor_defer(c->reactor, &c->pump);
}

/* -- the end of a connection -- */

void nbd_connection_drain(struct nbd_connection *c, const char *why)
{
	if (c->phase != NBD_CONNECTION_SERVING) {
		return;
	}
	c->phase = NBD_CONNECTION_DRAINING;
	c->why = why;
	if (c->receiving) {
		reactor_cancel(c->reactor, &c->recv_op);
	}
	kick(c);
}

static void release_all(struct list *requests)
{
	struct list *node;

	while ((node = list_pop(requests)) != NULL) {
		nbd_request_release(list_entry(node, struct nbd_request, link));
	}
}

/* The socket is of no use any more: what is in flight ends, nobody gets an answer. */
static void die(struct nbd_connection *c, const char *why)
{
	if (c->phase == NBD_CONNECTION_DEAD) {
		return;
	}
	if (c->phase == NBD_CONNECTION_SERVING) {
		c->why = why;
	}
	c->phase = NBD_CONNECTION_DEAD;
	shutdown(c->params.fd, SHUT_RDWR); /* ends the receive and the send under way */
	release_all(&c->replies);
	kick(c);
}

static void on_linger(struct reactor_timer *timer)
{
	die(container_of(timer, struct nbd_connection, linger), "");
}

static void on_ended(struct reactor_msg *msg);

static void release_unfinished(struct nbd_request **r)
{
	if (*r != NULL) {
		nbd_request_release(*r);
		*r = NULL;
	}
}

static void finish(struct nbd_connection *c)
{
	c->finished = true;
	reactor_timer_cancel(c->reactor, &c->linger);
	reactor_timer_cancel(c->reactor, &c->gather);
	reactor_deferred_cancel(&c->pump);
	release_unfinished(&c->incoming);
	release_unfinished(&c->skipping);
	buffer_put(buffer_pool_current(), c->rx, NBD_RX_BYTES);
	c->rx = NULL;
	close(c->params.fd);
	reactor_send(c->params.control, &c->ended_msg, on_ended);
}

/* True when the connection has come to its end. */
static bool wind_up(struct nbd_connection *c)
{
	bool sent = list_empty(&c->replies) && !c->is_sending;

	if (c->phase == NBD_CONNECTION_SERVING || c->in_flight > 0) {
		return false;
	}
	if (sent && !c->receiving) {
		finish(c);
		return true;
	}
	if (!sent && !reactor_timer_armed(&c->linger)) {
		reactor_timer_arm(c->reactor, &c->linger, NBD_LINGER_NS);
	}
	return false;
}

/* -- receiving -- */

static uint32_t rx_length(const struct nbd_connection *c)
{
	return c->rx_end - c->rx_begin;
}

/* Moves what the receive buffer has of a payload to where it belongs. */
static void take_payload(struct nbd_connection *c)
{
	struct nbd_request *r = c->incoming;
	uint32_t n = MIN(rx_length(c), r->message.length - c->incoming_bytes);

	memcpy((char *)r->buffer + c->incoming_bytes, c->rx + c->rx_begin, n);
	c->rx_begin += n;
	c->incoming_bytes += n;
}

static void take_skip(struct nbd_connection *c)
{
	struct nbd_request *r = c->skipping;
	uint32_t n = MIN(rx_length(c), c->skip);

	c->rx_begin += n;
	c->skip -= n;
	if (c->skip == 0) {
		c->skipping = NULL;
		nbd_request_complete(r, r->status);
	}
}

/* No room: goes on when an answer has been sent, of which there must be one to come. */
static void stall(struct nbd_connection *c)
{
	c->stalled = true;
	if (c->in_flight == 0 && list_empty(&c->replies) && !c->is_sending) {
		die(c, "out of memory");
	}
}

/* Takes one request's header; false when there is none, or no room for it. */
static bool take_message(struct nbd_connection *c)
{
	struct nbd_message m;
	int used = nbd_wire_read_message(c->rx + c->rx_begin, rx_length(c), &m);

	if (used < 0) {
		die(c, "client broke the protocol: not a request");
		return false;
	}
	if (used == 0) {
		return false;
	}
	if (m.type == NBD_CMD_DISC) {
		nbd_connection_drain(c, "client disconnected");
		return false;
	}
	if (m.type == NBD_CMD_WRITE) {
		if (m.length > SKIP_MAX) {
			die(c, "client broke the protocol: write too long");
			return false;
		}
		c->rx_want = m.length >= LARGE_WRITE ? RX_BESIDE_LARGE : NBD_RX_BYTES;
	}
	if (nbd_request_begin(c, &m) == NBD_BEGIN_STALLED) {
		stall(c);
		return false;
	}
	c->rx_begin += (uint32_t)used;
	c->batch++;
	return true;
}

/*
 * Starts what the receive buffer holds, as much as one turn may take and there is room for; true
 * if there is more. The bound is for fairness between connections, and lets the client work on the
 * first answers while the server works on the rest.
 */
static bool parse(struct nbd_connection *c)
{
	unsigned n = 0;

	while (c->phase == NBD_CONNECTION_SERVING && !c->stalled) {
		struct nbd_request *r = c->incoming;

		if (r != NULL) {
			take_payload(c);
			if (c->incoming_bytes < r->message.length) {
				return false;
			}
			c->incoming = NULL;
			nbd_request_submit(r);
		} else if (c->skipping != NULL) {
			take_skip(c);
			if (c->skip > 0) {
				return false;
			}
		} else if (n++ == TURN_REQUESTS) {
			return true;
		} else if (!take_message(c)) {
			break;
		}
	}
	return c->stalled;
}

/* What was received went to the payload first, the rest behind rx_end. */
static void account_received(struct nbd_connection *c, uint32_t bytes)
{
	if (c->incoming != NULL) {
		uint32_t n = MIN(bytes, c->incoming->message.length - c->incoming_bytes);

		c->incoming_bytes += n;
		bytes -= n;
	}
	c->rx_end += bytes;
}

static bool is_in_a_message(const struct nbd_connection *c)
{
	return rx_length(c) > 0 || c->incoming != NULL || c->skipping != NULL;
}

static void on_received(struct reactor_op *op, int res, uint32_t flags)
{
	struct nbd_connection *c = container_of(op, struct nbd_connection, recv_op);

	c->receiving = false;
	kick(c);
	if (c->phase != NBD_CONNECTION_SERVING || res == -EINTR || res == -EAGAIN) {
		return;
	}
	if (res == 0) {
		nbd_connection_drain(c, is_in_a_message(c)
					    ? "client vanished in the middle of a request"
					    : "client hung up");
	} else if (res < 0) {
		die(c, "connection lost");
	} else {
		c->socket_empty = (flags & IORING_CQE_F_SOCK_NONEMPTY) == 0;
		account_received(c, (uint32_t)res);
	}
}

static void start_receive(struct nbd_connection *c)
{
	uint32_t kept = rx_length(c); /* part of a header at most, as nothing is stalled */
	struct io_uring_sqe *sqe = reactor_sqe(c->reactor, &c->recv_op);
	uint32_t room;

	memmove(c->rx, c->rx + c->rx_begin, kept);
	c->rx_begin = 0;
	c->rx_end = kept;
	room = NBD_RX_BYTES - kept;
	if (c->skipping == NULL) {
		room = MIN(c->rx_want, room);
	}
	if (c->incoming == NULL) {
		io_uring_prep_recv(sqe, c->params.fd, c->rx + kept, room, 0);
	} else {
		c->recv_iov[0].iov_base = (char *)c->incoming->buffer + c->incoming_bytes;
		c->recv_iov[0].iov_len = c->incoming->message.length - c->incoming_bytes;
		c->recv_iov[1] = (struct iovec){c->rx + kept, room};
		io_uring_prep_recvmsg(sqe, c->params.fd, &c->recv_msg, 0);
	}
	if (c->socket_empty) {
		sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
	}
	c->receiving = true;
}

/* -- sending -- */

/* Drops the first bytes of what is being sent; true if nothing is left. */
static bool advance_send(struct nbd_connection *c, size_t bytes)
{
	struct msghdr *msg = &c->send_msg;

	while (msg->msg_iovlen > 0 && bytes >= msg->msg_iov->iov_len) {
		bytes -= msg->msg_iov->iov_len;
		msg->msg_iov++;
		msg->msg_iovlen--;
	}
	if (msg->msg_iovlen == 0) {
		return true;
	}
	msg->msg_iov->iov_base = (char *)msg->msg_iov->iov_base + bytes;
	msg->msg_iov->iov_len -= bytes;
	return false;
}

static void submit_send(struct nbd_connection *c)
{
	struct io_uring_sqe *sqe = reactor_sqe(c->reactor, &c->send_op);

	io_uring_prep_sendmsg(sqe, c->params.fd, &c->send_msg, MSG_NOSIGNAL | MSG_WAITALL);
	c->is_sending = true;
}

static void end_send(struct nbd_connection *c)
{
	release_all(&c->sending);
	if (c->stalled) {
		c->stalled = false;
		kick(c);
	}
}

static void on_sent(struct reactor_op *op, int res, uint32_t flags)
{
	struct nbd_connection *c = container_of(op, struct nbd_connection, send_op);

	c->is_sending = false;
	kick(c);
	if (res < 0 && res != -EINTR && res != -EAGAIN) {
		die(c, "connection lost");
	}
	if (c->phase != NBD_CONNECTION_DEAD && !advance_send(c, res < 0 ? 0 : (size_t)res)) {
		submit_send(c);
		return;
	}
	end_send(c);
}

/*
 * All answers there are, in one message: headers and payloads are sent from where they lie. What
 * the socket takes goes at once, so that the client has it before the turn ends; the ring sees to
 * the rest.
 */
static void start_send(struct nbd_connection *c)
{
	unsigned n = 0;
	ssize_t sent;

	list_splice(&c->sending, &c->replies);
	list_for_each (node, &c->sending) {
		struct nbd_request *r = list_entry(node, struct nbd_request, link);

		c->send_iov[n++] = (struct iovec){r->header, r->header_length};
		if (r->payload_length > 0) {
			c->send_iov[n++] = (struct iovec){(void *)r->payload, r->payload_length};
		}
	}
	c->send_msg.msg_iov = c->send_iov;
	c->send_msg.msg_iovlen = n;
	sent = sendmsg(c->params.fd, &c->send_msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (advance_send(c, sent < 0 ? 0 : (size_t)sent)) {
		end_send(c);
	} else {
		submit_send(c); /* and learns there what may have gone wrong */
	}
}

/* -- gathering requests -- */

static void on_gathered(struct reactor_timer *timer)
{
	kick(container_of(timer, struct nbd_connection, gather));
}

/*
 * Whether to let requests gather before the next receive; arms the timer if so. A server that is
 * faster than its client is otherwise woken for nearly every request, which costs both of them more
 * than the request does. It rests only while requests come in batches, so a client that waits for
 * its answers is not kept waiting, and by the size of the batch, so the rest takes no longer than a
 * client of a few hundred thousand requests a second needs to come up with as many again.
 */
static bool rest(struct nbd_connection *c)
{
	unsigned batch = c->batch;

	c->batch = 0;
	if (batch < GATHER_BATCH_MIN) {
		return false;
	}
	reactor_timer_arm(
	    c->reactor, &c->gather, MIN(batch * GATHER_NS_PER_REQUEST, GATHER_MAX_NS));
	return true;
}

static void receive_or_rest(struct nbd_connection *c)
{
	if (c->receiving || reactor_timer_armed(&c->gather)) {
		return;
	}
	if (!rest(c)) {
		start_receive(c);
	}
}

/* Runs at the end of every turn in which something happened, and decides what comes next. */
static void on_pump(struct reactor_deferred *d)
{
	struct nbd_connection *c = container_of(d, struct nbd_connection, pump);
	bool more = false;

	if (c->finished) {
		return;
	}
	if (!c->receiving) {
		more = parse(c);
	}
	if (!c->is_sending && !list_empty(&c->replies)) {
		start_send(c);
	}
	if (wind_up(c)) {
		return;
	}
	if (more && !c->stalled) {
		kick(c);
	} else if (!more && c->phase == NBD_CONNECTION_SERVING) {
		receive_or_rest(c);
	}
}

/* -- the control loop's side -- */

static void end_if_done(struct nbd_connection *c)
{
	if (c->reactor_ended && (!c->stop_sent || c->stop_returned)) {
		c->params.ended(c, c->why);
	}
}

static void on_ended(struct reactor_msg *msg)
{
	struct nbd_connection *c = container_of(msg, struct nbd_connection, ended_msg);

	c->reactor_ended = true;
	end_if_done(c);
}

static void on_stop_returned(struct reactor_msg *msg)
{
	struct nbd_connection *c = container_of(msg, struct nbd_connection, stop_msg);

	c->stop_returned = true;
	end_if_done(c);
}

static void on_stop(struct reactor_msg *msg)
{
	struct nbd_connection *c = container_of(msg, struct nbd_connection, stop_msg);

	if (!c->finished) {
		nbd_connection_drain(c, "export removed");
	}
	reactor_send(c->params.control, &c->stop_msg, on_stop_returned);
}

static void on_start(struct reactor_msg *msg)
{
	struct nbd_connection *c = container_of(msg, struct nbd_connection, start_msg);

	c->rx = buffer_get(buffer_pool_current(), NBD_RX_BYTES);
	if (c->rx == NULL) {
		die(c, "out of memory");
		return;
	}
	memcpy(c->rx, c + 1, c->params.early_length);
	c->rx_end = (uint32_t)c->params.early_length;
	kick(c);
}

int nbd_connection_new(
    const struct nbd_connection_params *params, struct nbd_connection **ret_connection)
{
	struct nbd_connection *c;

	sluice_assert(params->early_length <= NBD_RX_BYTES);
	c = calloc(1, sizeof(*c) + params->early_length);
	if (c == NULL) {
		close(params->fd);
		return -ENOMEM;
	}
	c->params = *params;
	c->params.early = NULL;
	if (params->early_length > 0) {
		memcpy(c + 1, params->early, params->early_length);
	}
	c->reactor = params->reactor;
	c->reactor_index = reactor_index(params->reactor);
	c->why = "";
	c->rx_want = NBD_RX_BYTES;
	c->recv_op.done = on_received;
	c->send_op.done = on_sent;
	c->recv_msg.msg_iov = c->recv_iov;
	c->recv_msg.msg_iovlen = ARRAY_SIZE(c->recv_iov);
	list_init(&c->free);
	list_init(&c->replies);
	list_init(&c->sending);
	reactor_deferred_init(&c->pump, on_pump);
	reactor_timer_init(&c->linger, on_linger);
	reactor_timer_init(&c->gather, on_gathered);
	*ret_connection = c;
	return 0;
}

void nbd_connection_start(struct nbd_connection *c)
{
	reactor_send(c->reactor, &c->start_msg, on_start);
}

void nbd_connection_stop(struct nbd_connection *c)
{
	if (!c->stop_sent) {
		c->stop_sent = true;
		reactor_send(c->reactor, &c->stop_msg, on_stop);
	}
}

void nbd_connection_free(struct nbd_connection *c)
{
	for (unsigned i = 0; i < c->nr_chunks; i++) {
		free(c->chunks[i]);
	}
	free(c);
}
