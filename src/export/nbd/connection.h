/*
 * One NBD client in the transmission phase: its socket, requests and answers live on one data
 * reactor for life.
 *
 * Thread rule: nbd_connection_new/start/stop/free on the control loop; everything below "the
 * reactor's" in the struct belongs to the data reactor until ended() runs.
 */
#pragma once

#include <sys/socket.h>

#include "export/block.h"
#include "export/nbd/wire.h"
#include "reactor/reactor.h"

#define NBD_REQUESTS_MAX 128u		      /* per connection */
#define NBD_REQUEST_CHUNK 16u		      /* allocated at a time, as depth grows */
#define NBD_BUFFER_BYTES_MAX (64u << 20)      /* payload memory in use per connection */
#define NBD_RX_BYTES (128u << 10)	      /* one receive brings many requests */
#define NBD_TX_IOV_MAX (2 * NBD_REQUESTS_MAX) /* header and payload of every request */
#define NBD_EXTENTS_MAX 64u		      /* of a block status answer */
#define NBD_LINGER_NS NS_PER_S		      /* for a mute client of a connection that ends */

/* Written by one reactor, read by anybody. */
struct nbd_counters {
	_Alignas(64) _Atomic uint64_t requests;
	_Atomic uint64_t errors;
	_Atomic uint64_t bytes_read;
	_Atomic uint64_t bytes_written;
	_Atomic uint64_t longest_us;
};

struct nbd_connection;

struct nbd_request {
	struct block_request block;
	struct nbd_connection *connection;
	struct list link; /* connection's free, replies or sending */
	struct nbd_message message;
	uint64_t arrived_ns;
	struct iovec iov;
	void *buffer; /* from the reactor's pool */
	uint32_t buffer_size;
	int status;
	uint8_t header[NBD_CHUNK_BYTES + 8];
	uint32_t header_length;
	const void *payload; /* of the answer, in buffer */
	uint32_t payload_length;
};

enum nbd_connection_phase {
	NBD_CONNECTION_SERVING,
	NBD_CONNECTION_DRAINING, /* reads no more; answers what it has, then closes */
	NBD_CONNECTION_DEAD,	 /* the socket is of no use; waits for what is in flight */
};

struct nbd_connection_params {
	int fd; /* consumed, also on failure */
	struct reactor *reactor;
	struct reactor *control;
	const struct block_view *view; /* outlives the connection */
	struct nbd_counters *counters; /* of this reactor */
	bool structured;
	bool allocation;
	/* What the client sent after its last option. */
	const uint8_t *early;
	size_t early_length;
	/* Control loop, once: the socket is closed and nothing runs; the owner frees. */
	void (*ended)(struct nbd_connection *c, const char *why);
	void *owner;
};

struct nbd_connection {
	struct nbd_connection_params params;

	/* The control loop's. */
	struct reactor_msg start_msg;
	struct reactor_msg stop_msg;
	struct reactor_msg ended_msg;
	bool stop_sent;
	bool stop_returned;
	bool reactor_ended;

	/* The reactor's. */
	struct reactor *reactor;
	unsigned reactor_index;
	enum nbd_connection_phase phase;
	const char *why;
	struct reactor_deferred pump;
	struct reactor_timer linger;
	bool finished;

	/* How long it lets requests gather before it receives again: see rest(). */
	struct reactor_timer gather;
	unsigned batch; /* requests begun since the last receive */

	struct reactor_op recv_op;
	struct msghdr recv_msg;
	struct iovec recv_iov[2];
	bool receiving;
	bool socket_empty; /* the last receive took all there was */
	uint8_t *rx;
	uint32_t rx_begin;
	uint32_t rx_end;
	uint32_t rx_want; /* bytes asked for beside a payload */

	struct nbd_request *incoming; /* a write whose payload is on its way */
	uint32_t incoming_bytes;      /* received so far */
	struct nbd_request *skipping; /* refused: its payload is thrown away */
	uint32_t skip;
	bool stalled; /* no request or memory free: reads no more until an answer has been sent */

	struct list free;
	struct nbd_request *chunks[NBD_REQUESTS_MAX / NBD_REQUEST_CHUNK];
	unsigned nr_chunks;
	unsigned in_flight; /* at the target */
	uint64_t buffer_bytes;

	struct list replies; /* to be sent */
	struct list sending;
	struct reactor_op send_op;
	struct msghdr send_msg;
	struct iovec send_iov[NBD_TX_IOV_MAX];
	bool is_sending;
};

/* -ENOMEM. */
int nbd_connection_new(
    const struct nbd_connection_params *params, struct nbd_connection **ret_connection);
void nbd_connection_start(struct nbd_connection *c);
/* Asks it to end when what is in flight is done. Any number of times. */
void nbd_connection_stop(struct nbd_connection *c);
/* After ended(). */
void nbd_connection_free(struct nbd_connection *c);

/* -- between connection.c and request.c, on the reactor -- */

enum nbd_begin {
	NBD_BEGIN_TAKEN,   /* the message has been dealt with, or waits for its payload */
	NBD_BEGIN_STALLED, /* no room: try the same message again later */
};

/* Makes a request of the message and starts it, unless it has a payload to come. */
enum nbd_begin nbd_request_begin(struct nbd_connection *c, const struct nbd_message *m);
/* The payload of a write is complete. */
void nbd_request_submit(struct nbd_request *r);
/* Ends a request: its answer is encoded and queued. */
void nbd_request_complete(struct nbd_request *r, int status);
/* Gives its memory back. */
void nbd_request_release(struct nbd_request *r);

/* The connection is at its end: answers what it has. why is static text. */
void nbd_connection_drain(struct nbd_connection *c, const char *why);
