/*
 * The NBD export: listeners, and the exports that they serve by name.
 *
 * Thread rule: control loop. Connections live on data reactors (connection.c).
 */
#pragma once

#include "base/error.h"
#include "io/target.h"
#include "reactor/group.h"

struct nbd_listener;
struct nbd_export;

/* Optional callbacks on the control loop. peer: "unix:PID 123 uid 0", "127.0.0.1:5555". */
struct nbd_events {
	void (*connected)(void *ctx, struct nbd_export *e, const char *peer);
	/* why: for people: "client disconnected", "client broke the protocol: ..." */
	void (*disconnected)(void *ctx, struct nbd_export *e, const char *peer, const char *why);
	void *ctx;
};

/*
 * address: "unix:PATH" (a stale socket file of a dead daemon is replaced, a live one is
 * -EADDRINUSE) or "tcp:HOST:PORT" (IPv6 in brackets; port 0 = any). Beyond loopback it refuses
 * (-EACCES) until authentication exists.
 */
int nbd_listener_new(struct reactor_group *group, const char *address,
    const struct nbd_events *events, struct nbd_listener **ret_listener, struct error *err);
/* All exports must be removed. closed(ctx) when the sockets are closed and a UNIX socket's file is
 * unlinked. */
void nbd_listener_free(struct nbd_listener *l, void (*closed)(void *ctx), void *ctx);
/* The address it really has ("tcp:127.0.0.1:40123"). */
const char *nbd_listener_address(const struct nbd_listener *l);
unsigned nbd_listener_export_count(const struct nbd_listener *l);

struct nbd_export_params {
	const char *name;	  /* at most 4096 bytes; "" is the default export */
	const char *description;  /* shown by LIST; may be NULL */
	struct io_target *target; /* outlives the export */
	bool read_only;
};
/* -EEXIST when the name is taken. */
int nbd_export_add(struct nbd_listener *l, const struct nbd_export_params *params, void *owner,
    struct nbd_export **ret_export, struct error *err);
/* No new connections; ends the existing ones when what they have in flight is done; then
 * removed(ctx), and e is gone. */
void nbd_export_remove(struct nbd_export *e, void (*removed)(void *ctx), void *ctx);
void *nbd_export_owner(const struct nbd_export *e);

struct nbd_export_stats {
	unsigned connections;
	uint64_t requests;
	uint64_t errors;
	uint64_t bytes_read;
	uint64_t bytes_written;
	uint64_t longest_us; /* the slowest request so far, from its arrival to its answer */
};
void nbd_export_stats(const struct nbd_export *e, struct nbd_export_stats *ret_stats);
/* URI for people to copy: "nbd+unix:///vol?socket=/run/x.sock". */
void nbd_export_uri(const struct nbd_export *e, char *buf, size_t len);
