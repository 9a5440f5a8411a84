/*
 * What listener.c, admission.c and export.c share: the control loop's side of the NBD export.
 *
 * Thread rule: control loop.
 */
#pragma once

#include <sys/stat.h>

#include "base/list.h"
#include "export/nbd/connection.h"
#include "export/nbd/handshake.h"
#include "export/nbd/nbd.h"

#define NBD_PEER_BYTES 80u
#define NBD_ADMISSIONS_MAX 256u		 /* clients in the handshake; the oldest makes room */
#define NBD_HANDSHAKE_NS (30 * NS_PER_S) /* from accept to the transmission phase */
#define NBD_SOCKET_BUFFER_BYTES (1 << 20)

struct nbd_listener {
	struct reactor_group *group;
	struct nbd_events events;
	char *address; /* as people write it */
	char *path;    /* UNIX: the socket's file, else NULL */
	struct stat path_stat;
	int fd;
	struct reactor_op accept_op;
	struct reactor_timer accept_again; /* after running out of descriptors */
	bool accepting;
	bool closing;
	bool closed_sent;
	struct reactor_msg closed_msg;
	void (*closed)(void *ctx);
	void *closed_ctx;
	struct list exports;
	unsigned nr_exports;
	struct list admissions; /* oldest first */
	unsigned nr_admissions;
	unsigned *connections; /* [nr_data]: how many each reactor has */
	struct nbd_catalog catalog;
};

struct nbd_export {
	struct nbd_listener *listener;
	struct list link;
	char *name;
	char *description; /* never NULL */
	struct block_view view;
	void *owner;
	struct nbd_counters *counters; /* [nr_data] */
	struct list connections;       /* struct nbd_session */
	unsigned nr_connections;
	bool removing;
	struct reactor_msg removed_msg;
	void (*removed)(void *ctx);
	void *removed_ctx;
};

/* listener.c: an admission or an export is gone; ends the closing of a listener when it was the
 * last. */
void nbd_listener_settle(struct nbd_listener *l);

/* export.c */
struct nbd_export *nbd_export_find(const struct nbd_listener *l, struct nbd_string name);
void nbd_export_catalog(struct nbd_listener *l, struct nbd_catalog *ret_catalog);
/* Serves a client that has chosen this export, on the reactor with the fewest clients. Consumes
 * fd. */
void nbd_export_serve(
    struct nbd_export *e, int fd, const char *peer, const struct nbd_connection_params *params);

/* admission.c: a client from accept to the transmission phase. Consumes fd. */
void nbd_admission_start(struct nbd_listener *l, int fd);
void nbd_admission_end_all(struct nbd_listener *l);
/* "unix:PID 123 uid 0", "127.0.0.1:5555" */
void nbd_peer_name(int fd, char *buf, size_t len);
