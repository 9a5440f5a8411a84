/*
 * An NBD connection as a load generator wants it: many requests in one system call, replies parsed
 * in place, payload looked at only when somebody asked for it. Fixed newstyle, NBD_OPT_GO, simple
 * and structured replies (NBD protocol, "Fixed newstyle negotiation" and "Transmission").
 *
 * Thread rule: one thread.
 */
#pragma once

#include <sys/uio.h>

#include "base/macros.h"

#define CLIENT_MAX_DEPTH 1024u
#define CLIENT_MAX_LENGTH (32u << 20)
#define CLIENT_IN_SIZE (256u << 10)

enum client_op { CLIENT_READ = 0, CLIENT_WRITE = 1 }; /* NBD_CMD_READ, NBD_CMD_WRITE */

struct client_slot {
	uint64_t started_ns;
	uint64_t offset;
	uint32_t length;
	uint32_t received; /* of a read; the chunks of a structured reply may come in any order */
	uint32_t error;	   /* an NBD error number */
	enum client_op op;
	bool busy;
	const void *payload; /* of a write; stays valid until it is done */
	unsigned char header[28];
};

struct client;

struct client_callbacks {
	/* A piece of a read's data, in the order of arrival; NULL data: zeros. Optional. */
	void (*data)(void *ctx, struct client *c, struct client_slot *slot, uint64_t offset,
	    const void *data, uint32_t len);
	/* The slot is free again, and may be used at once. */
	void (*done)(void *ctx, struct client *c, struct client_slot *slot);
	void *ctx;
};

struct client {
	int fd;
	uint64_t size; /* of the export */
	bool structured;
	const struct client_callbacks *callbacks;
	struct client_slot *slots; /* [depth] */
	unsigned depth;
	unsigned in_flight;
	uint64_t now_ns;     /* when the last data came */
	const char *failure; /* why the connection cannot be used any more, else NULL */

	/* Slots whose requests are to be sent, a ring, and how much of the first one was. */
	uint32_t *queue; /* [depth] */
	unsigned queue_first;
	unsigned queue_length;
	size_t sent_of_first;

	unsigned char *in; /* received and not yet parsed: [in_start, in_end) */
	size_t in_start;
	size_t in_end;
	/* The reply that is being received */
	struct client_slot *reply;
	uint64_t payload_offset;
	uint32_t payload_left;
	uint32_t skip_left;
	bool reply_ends;
};

struct client_options {
	const char *address; /* unix:PATH or tcp:HOST:PORT */
	const char *export_name;
	unsigned depth;
	bool structured; /* ask for structured replies */
	const struct client_callbacks *callbacks;
};

/* Connects and negotiates, blocking. 0, or -errno with a line on stderr. */
int client_connect(struct client *c, const struct client_options *options);
/* NBD_CMD_DISC, then closes. */
void client_close(struct client *c);

/* Queues a request in a slot that is free. */
void client_submit(struct client *c, struct client_slot *slot, enum client_op op, uint64_t offset,
    uint32_t length, const void *payload, uint64_t now_ns);
/* Sends what is queued as far as the socket takes it. -errno, and c->failure is set. */
int client_flush(struct client *c);
/* Receives once (blocking when wait) and tells what is complete. 0 also when nothing came. */
int client_receive(struct client *c, bool wait);
