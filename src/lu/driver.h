/*
 * Drivers: what turns the address of one path (a file name, an NBD URI, an iSCSI URL) into a
 * session, which is an open io_target that leads to the LU over exactly that path. A session is
 * one-shot: it is opened, used, perhaps lost, and closed; to try again is to open another one
 * (path.c decides when). Drivers never retry, never block, and tell a broken session
 * (io_status_is_transport()) from a bad medium or request.
 *
 * Thread rule: everything here is for the control loop, except target.channels[i]->submit(), which
 * is for data reactor i.
 */
#pragma once

#include <jansson.h>

#include "io/target.h"
#include "reactor/group.h"

struct lu_driver;
struct lu_session;

/*
 * What the kind offers to prove which LU this is, as text: "scsi:naa.6001405..." (VPD page 83),
 * "file:DEV:INODE", "device:WWN"; empty where the kind offers nothing (NBD), which makes the path
 * layer compare fingerprints.
 */
struct lu_identity {
	char text[128];
};

/* All on the control loop, never inside a call into the driver. */
struct lu_session_events {
	/* Once. err == NULL: target (size, limits, all channels) and identity are valid. Else it
	 * failed: close it. */
	void (*opened)(struct lu_session *s, const struct error *err);
	/* At most once, after a good opened(): the session is broken. Everything in flight has been
	 * or is being completed with a transport status, and so is whatever is submitted later. The
	 * owner closes it. */
	void (*lost)(struct lu_session *s, const struct error *why);
	/* After lu_session_close(): every request has completed on every reactor, nobody may
	 * submit. The struct lives on until fenced(): requests that were in flight may still take
	 * effect at the other end until then. */
	void (*closed)(struct lu_session *s);
	/* Last: proof that no request of this session can take effect any more (the server closed
	 * its end of a half-closed connection, the iSCSI session was reinstated, a local file's
	 * requests have all ended), or lu_session_abandon() was called. s is freed when this
	 * returns. */
	void (*fenced)(struct lu_session *s);
};

struct lu_session_params {
	struct reactor_group *group;
	const json_t *address;	/* checked before by driver->check(); borrowed during open() */
	const char *network_id; /* of the interface: iSCSI initiator name; "" = none. Borrowed
				   during open() */
	const char *bind; /* of the interface: local address to connect from; "" = any. Borrowed
			     during open() */
	const struct lu_session_events *events; /* lives as long as the session */
	void *owner;
	uint64_t connect_timeout_ns;
	struct io_target *inner; /* fault driver only: what it wraps; outlives the session */
};

struct lu_session {
	struct io_target target; /* valid after opened() */
	struct lu_identity identity;
	const struct lu_driver *driver;
	const struct lu_session_events *events;
	void *owner;
};

enum {
	LU_DRIVER_NETWORK_ID = 1 << 0, /* has a network ID that can move between interfaces */
	LU_DRIVER_LOCAL = 1 << 1,      /* uses the implicit interface `local` when none is named */
	LU_DRIVER_VOLATILE = 1 << 2, /* data is gone with the session (mem, null): one path only */
};

struct lu_driver {
	const char *kind; /* "file", "nbd", ... : the interface kind it needs */
	unsigned flags;
	/* Required. Checks an address from outside (all members, types, unknown ones refused). No
	 * I/O. */
	int (*check)(const json_t *address, struct error *err);
	/* Required. A short text for people, e.g. the URI without secrets. */
	void (*describe)(const json_t *address, char *buf, size_t len);
	/* Required. Starts opening. On 0 *ret_session is set and opened() will come; on failure
	 * nothing remains. */
	int (*open)(const struct lu_session_params *params, struct lu_session **ret_session,
	    struct error *err);
	/* Required. At any time after open() returned 0, also before opened(). Tears the session
	 * down now (sockets are closed or half-closed; in-flight requests complete with
	 * -ECONNABORTED); then closed(), then fenced(). */
	void (*close)(struct lu_session *s);
	/* Required. After closed(): give up waiting for the proof (the operator said that the other
	 * end is dead). */
	void (*abandon)(struct lu_session *s);
	/* Optional. Changes the behaviour of an open session (the fault driver's rules). */
	int (*control)(struct lu_session *s, const json_t *command, struct error *err);
};

/* NULL when there is none of that name. */
const struct lu_driver *lu_driver_find(const char *kind);
/* For lists in help and validation: NULL ends it. */
const struct lu_driver *lu_driver_at(unsigned i);

extern const struct lu_driver lu_driver_file;
extern const struct lu_driver lu_driver_mem;
extern const struct lu_driver lu_driver_null;
extern const struct lu_driver lu_driver_nbd;
extern const struct lu_driver lu_driver_iscsi;
extern const struct lu_driver lu_driver_fault;
