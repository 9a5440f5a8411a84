/*
 * A client from accept to the transmission phase: drives the handshake over its socket, on the
 * control loop, with a time limit, and hands the socket to an export.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include "export/nbd/server.h"

#define INPUT_BYTES (NBD_OPTION_BYTES + NBD_OPTION_LENGTH_MAX)

struct nbd_admission {
	struct list link;
	struct nbd_listener *listener;
	int fd;
	struct reactor_op recv_op;
	struct reactor_op send_op;
	bool receiving;
	bool sending;
	bool ending;
	size_t sent;
	struct reactor_timer limit;
	struct nbd_handshake handshake;
	size_t input_length;
	uint8_t input[INPUT_BYTES];
};

void nbd_peer_name(int fd, char *buf, size_t len)
{
	struct sockaddr_storage address = {0};
	socklen_t address_length = sizeof(address);
	struct ucred cred;
	socklen_t cred_length = sizeof(cred);
	char host[INET6_ADDRSTRLEN];

	snprintf(buf, len, "unknown");
	if (getpeername(fd, (struct sockaddr *)&address, &address_length) != 0) {
		return;
	}
	if (address.ss_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)&address;

		inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
		snprintf(buf, len, "%s:%u", host, ntohs(in->sin_port));
	} else if (address.ss_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&address;

		inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
		snprintf(buf, len, "[%s]:%u", host, ntohs(in6->sin6_port));
	} else if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &cred_length) == 0) {
		snprintf(buf, len, "unix:PID %d uid %u", (int)cred.pid, (unsigned)cred.uid);
	}
}

static struct reactor *loop_of(const struct nbd_admission *a)
{
	return a->listener->group->control;
}

/* Ends it when the kernel lets go of its memory. */
static void settle(struct nbd_admission *a)
{
	struct nbd_listener *l = a->listener;

	if (!a->ending || a->receiving || a->sending) {
		return;
	}
	reactor_timer_cancel(l->group->control, &a->limit);
	if (a->fd >= 0) {
		close(a->fd);
	}
	nbd_handshake_fini(&a->handshake);
	list_remove(&a->link);
	l->nr_admissions--;
	free(a);
	nbd_listener_settle(l);
}

static void end(struct nbd_admission *a)
{
	a->ending = true;
	if (a->fd >= 0) {
		shutdown(a->fd, SHUT_RDWR);
	}
	settle(a);
}

static void on_limit(struct reactor_timer *timer)
{
	end(container_of(timer, struct nbd_admission, limit));
}

static void start_receive(struct nbd_admission *a)
{
	struct io_uring_sqe *sqe = reactor_sqe(loop_of(a), &a->recv_op);

	io_uring_prep_recv(
	    sqe, a->fd, a->input + a->input_length, sizeof(a->input) - a->input_length, 0);
	a->receiving = true;
}

static void start_send(struct nbd_admission *a)
{
	struct nbd_answer *answer = &a->handshake.answer;
	struct io_uring_sqe *sqe = reactor_sqe(loop_of(a), &a->send_op);

	io_uring_prep_send(
	    sqe, a->fd, answer->bytes + a->sent, answer->length - a->sent, MSG_NOSIGNAL);
	a->sending = true;
}

/* The export may have been removed since the client was told of it: then it is hung up on. */
static void hand_over(struct nbd_admission *a)
{
	struct nbd_string name = {a->handshake.name, a->handshake.name_length};
	struct nbd_export *e = nbd_export_find(a->listener, name);
	struct nbd_connection_params negotiated = {
	    .structured = a->handshake.structured,
	    .allocation = a->handshake.allocation,
	    .early = a->input,
	    .early_length = a->input_length,
	};
	char peer[NBD_PEER_BYTES];

	if (e != NULL && !a->listener->closing) {
		nbd_peer_name(a->fd, peer, sizeof(peer));
		nbd_export_serve(e, a->fd, peer, &negotiated);
		a->fd = -1;
	}
	end(a);
}

/* Takes one message after the other; what is answered to one goes out before the next is read. */
static void proceed(struct nbd_admission *a)
{
	struct nbd_handshake *h = &a->handshake;
	size_t used;

	do {
		used = nbd_handshake_step(h, a->input, a->input_length);
		a->input_length -= used;
		memmove(a->input, a->input + used, a->input_length);
	} while (used > 0 && h->answer.length == 0);
	if (h->state == NBD_HANDSHAKE_BROKEN) {
		end(a);
	} else if (h->answer.length > 0) {
		start_send(a);
	} else {
		start_receive(a);
	}
}

static void on_received(struct reactor_op *op, int res, uint32_t flags)
{
	struct nbd_admission *a = container_of(op, struct nbd_admission, recv_op);

	a->receiving = false;
	if (a->ending) {
		settle(a);
		return;
	}
	if (res == -EINTR || res == -EAGAIN) {
		start_receive(a);
		return;
	}
	if (res <= 0) {
		end(a);
		return;
	}
	a->input_length += (size_t)res;
	proceed(a);
}

static void on_sent(struct reactor_op *op, int res, uint32_t flags)
{
	struct nbd_admission *a = container_of(op, struct nbd_admission, send_op);
	struct nbd_answer *answer = &a->handshake.answer;

	a->sending = false;
	if (a->ending) {
		settle(a);
		return;
	}
	if (res < 0 && res != -EINTR && res != -EAGAIN) {
		end(a);
		return;
	}
	a->sent += res > 0 ? (size_t)res : 0;
	if (a->sent < answer->length) {
		start_send(a);
		return;
	}
	a->sent = 0;
	answer->length = 0;
	switch (a->handshake.state) {
	case NBD_HANDSHAKE_CHOSEN:
		hand_over(a);
		break;
	case NBD_HANDSHAKE_ABORTED:
	case NBD_HANDSHAKE_BROKEN:
		end(a);
		break;
	case NBD_HANDSHAKE_FLAGS:
	case NBD_HANDSHAKE_OPTION:
	case NBD_HANDSHAKE_SKIP:
		proceed(a);
		break;
	}
}

/* Answers go out at once, many fit in the socket, and a TCP client that is gone is noticed. */
static void tune_socket(int fd)
{
	int bytes = NBD_SOCKET_BUFFER_BYTES;
	int on = 1;

	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)) != 0) {
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	}
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

static void end_oldest(struct nbd_listener *l)
{
	list_for_each (node, &l->admissions) {
		struct nbd_admission *a = list_entry(node, struct nbd_admission, link);

		if (!a->ending) {
			end(a);
			return;
		}
	}
}

void nbd_admission_start(struct nbd_listener *l, int fd)
{
	struct nbd_admission *a;

	if (l->nr_admissions >= NBD_ADMISSIONS_MAX) {
		end_oldest(l);
	}
	a = malloc(sizeof(*a));
	if (a == NULL) {
		close(fd);
		return;
	}
	memset(a, 0, offsetof(struct nbd_admission, handshake));
	a->input_length = 0;
	a->listener = l;
	a->fd = fd;
	a->recv_op.done = on_received;
	a->send_op.done = on_sent;
	tune_socket(fd);
	nbd_handshake_init(&a->handshake, &l->catalog);
	reactor_timer_init(&a->limit, on_limit);
	reactor_timer_arm(l->group->control, &a->limit, NBD_HANDSHAKE_NS);
	list_append(&l->admissions, &a->link);
	l->nr_admissions++;
	if (a->handshake.answer.failed) {
		end(a);
		return;
	}
	start_send(a);
}

void nbd_admission_end_all(struct nbd_listener *l)
{
	list_for_each_safe (node, &l->admissions) {
		end(list_entry(node, struct nbd_admission, link));
	}
}
