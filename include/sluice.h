/*
 * libsluice: the C client of Sluice's REST API.
 *
 * Conventions. A function that can fail returns 0 or a negative errno, and fills `error` (which may
 * be NULL) with words for people; its outputs are untouched on failure. Sizes and offsets are
 * bytes, times microseconds unless a name says otherwise. Strings that are given are only read
 * during the call. Lists are released with sluice_free(), JSON texts too.
 *
 * Threads: a connection is used by one thread at a time; different connections are independent.
 * Calls block until the daemon has answered, at most sluice_set_timeout().
 *
 * Common errors, beside those that a function names: -EINVAL (the daemon does not like an
 * argument), -ENOENT (no such object), -EEXIST, -EBUSY (in use), -ECONNREFUSED (no daemon),
 * -ETIMEDOUT, -ENOMEM, -EPROTO (what answered is not sluiced).
 */
#ifndef SLUICE_H
#define SLUICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SLUICE_DEFAULT_URL "unix:/run/sluice/api.sock"
#define SLUICE_NAME_SIZE 65 /* bytes of a name with its end */
#define SLUICE_TEXT_SIZE 256

struct sluice_connection;

struct sluice_error {
	int code;   /* negative errno */
	int status; /* of HTTP; 0: it did not get that far */
	char message[SLUICE_TEXT_SIZE];
	char hint[SLUICE_TEXT_SIZE]; /* what to do about it; may be empty */
};

/*
 * url: "unix:PATH" or "http://HOST:PORT"; NULL means the environment's SLUICE_URL, or
 * SLUICE_DEFAULT_URL. Nothing is sent yet. -EINVAL, -ENOMEM.
 */
int sluice_connect(
    const char *url, struct sluice_connection **connection, struct sluice_error *error);
/* NULL is fine. */
void sluice_close(struct sluice_connection *connection);
/* How long a call may take; 0: for ever. 120 s unless set. */
void sluice_set_timeout(struct sluice_connection *connection, unsigned milliseconds);
/* The version of this library, such as "0.1.0". */
const char *sluice_version(void);
/* NULL is fine. */
void sluice_free(void *memory);

/*
 * Any operation of docs/openapi.json. method: "GET", "POST" or "DELETE"; path: with its query,
 * percent-encoded; body: a JSON object as text, or NULL. *answer gets the JSON text of the answer
 * (plain text for /metrics), to be released with sluice_free(); answer may be NULL.
 */
int sluice_call(struct sluice_connection *connection, const char *method, const char *path,
    const char *body, char **answer, struct sluice_error *error);

/* 0 once the daemon is ready. */
int sluice_health(struct sluice_connection *connection, struct sluice_error *error);

/* -- interfaces: a node's means of reaching LUs */

struct sluice_interface {
	char name[SLUICE_NAME_SIZE];
	char kind[16]; /* file, nbd, iscsi, mem, null, fault */
	char network_id[SLUICE_TEXT_SIZE];
	char policy[16]; /* auto, ask, off */
	char state[16];	 /* up, degraded, down, unused */
	char reason[SLUICE_TEXT_SIZE];
	unsigned paths;
	double iops;	   /* recent requests per second */
	double latency_us; /* recent mean */
	double error_rate; /* recent, 0 to 1 */
};

int sluice_interface_list(struct sluice_connection *connection,
    struct sluice_interface **interfaces, size_t *count, struct sluice_error *error);
int sluice_interface_get(struct sluice_connection *connection, const char *name,
    struct sluice_interface *interface_out, struct sluice_error *error);
/* network_id, bind and policy may be NULL. */
int sluice_interface_add(struct sluice_connection *connection, const char *name, const char *kind,
    const char *network_id, const char *bind, const char *policy, struct sluice_error *error);
/* -EBUSY while a path uses it. */
int sluice_interface_remove(
    struct sluice_connection *connection, const char *name, struct sluice_error *error);

/* -- LUs and paths */

struct sluice_lu {
	char name[SLUICE_NAME_SIZE];
	char uuid[37];
	char kind[16];
	char state[16];
	uint64_t size;	   /* 0: not known yet */
	unsigned paths;	   /* how many */
	unsigned in_doubt; /* writes that a broken session may still carry out */
};

int sluice_lu_list(struct sluice_connection *connection, struct sluice_lu **lus, size_t *count,
    struct sluice_error *error);
int sluice_lu_get(struct sluice_connection *connection, const char *name, struct sluice_lu *lu,
    struct sluice_error *error);
/*
 * address: a JSON object as text, by kind: file {"path", "size"?}, nbd {"uri"}, iscsi {"url"},
 * mem and null {"size"}, fault {"lu"}. via: the interface, NULL for kinds that are local.
 */
int sluice_lu_add(struct sluice_connection *connection, const char *name, const char *kind,
    const char *address, const char *via, struct sluice_error *error);
/* -EBUSY while a volume lies on it. */
int sluice_lu_remove(
    struct sluice_connection *connection, const char *name, struct sluice_error *error);
/* The path is refused (-ESTALE) when it leads to other data. */
int sluice_path_add(struct sluice_connection *connection, const char *lu, const char *via,
    const char *address, struct sluice_error *error);
int sluice_path_remove(struct sluice_connection *connection, const char *lu, const char *via,
    struct sluice_error *error);

/* -- volumes */

struct sluice_place {
	const char *lu;
	uint64_t offset; /* in the LU */
};

struct sluice_volume {
	char name[SLUICE_NAME_SIZE];
	char uuid[37];
	char via[SLUICE_NAME_SIZE];	   /* the interface that it prefers; may be empty */
	char active_via[SLUICE_NAME_SIZE]; /* in use to its first LU; empty: none is up */
	uint64_t size;
	uint64_t generation; /* of its map */
	uint64_t in_flight;
	uint64_t held_requests;
	uint64_t change; /* id of the change in progress, 0: none */
};

int sluice_volume_list(struct sluice_connection *connection, struct sluice_volume **volumes,
    size_t *count, struct sluice_error *error);
int sluice_volume_get(struct sluice_connection *connection, const char *name,
    struct sluice_volume *volume, struct sluice_error *error);
/* size 0: the rest of the first LU. via: NULL for the best path. -ENOSPC when the LUs are too
 * small. */
int sluice_volume_create(struct sluice_connection *connection, const char *name, uint64_t size,
    const struct sluice_place *on, size_t nr_on, const char *via, struct sluice_error *error);
/* Its LUs keep their data. -EBUSY while it is exported. */
int sluice_volume_delete(
    struct sluice_connection *connection, const char *name, struct sluice_error *error);

/* -- changes */

struct sluice_change {
	uint64_t id;
	char kind[32];
	char volume[SLUICE_NAME_SIZE];
	char state[16]; /* preparing, holding, committed, done, aborted, rolled-back */
	char reason[SLUICE_TEXT_SIZE];
	char from[SLUICE_NAME_SIZE];
	char to[SLUICE_NAME_SIZE];
	uint64_t held_us; /* from the first request held to the release */
	uint64_t drain_us;
	uint64_t commit_us;
	uint64_t verify_us;
	uint64_t held_requests;
	uint64_t generation;
};

struct sluice_switch_options {
	bool take_network_id; /* move the interface's network ID along */
	bool no_wait;	      /* return when it has begun */
	unsigned deadline_ms; /* longest hold; 0: the default, 2000 */
};

/*
 * Moves one volume to another interface while it is used. options may be NULL. Returns 0 also when
 * the change was aborted or rolled back: change->state says so.
 */
int sluice_volume_switch_path(struct sluice_connection *connection, const char *name,
    const char *from, const char *to, const struct sluice_switch_options *options,
    struct sluice_change *change, struct sluice_error *error);
int sluice_change_get(struct sluice_connection *connection, uint64_t id,
    struct sluice_change *change, struct sluice_error *error);
/* -EALREADY when it is committed or has ended. */
int sluice_change_cancel(
    struct sluice_connection *connection, uint64_t id, struct sluice_error *error);

/* -- exports */

struct sluice_export {
	uint64_t id;
	char volume[SLUICE_NAME_SIZE];
	char name[SLUICE_TEXT_SIZE]; /* in the protocol */
	char address[SLUICE_TEXT_SIZE];
	char uri[512]; /* to copy into a client */
	char client[SLUICE_NAME_SIZE];
	bool read_only;
	unsigned connections;
};

struct sluice_export_options {
	const char *name;   /* NULL: the volume's */
	const char *client; /* NULL: nobody in particular */
	bool read_only;
};

int sluice_export_list(struct sluice_connection *connection, struct sluice_export **exports,
    size_t *count, struct sluice_error *error);
int sluice_export_get(struct sluice_connection *connection, uint64_t id,
    struct sluice_export *export_out, struct sluice_error *error);
/* nbd: "unix:PATH" or "tcp:HOST:PORT". options and export_out may be NULL. */
int sluice_export_add(struct sluice_connection *connection, const char *volume, const char *nbd,
    const struct sluice_export_options *options, struct sluice_export *export_out,
    struct sluice_error *error);
int sluice_export_remove(
    struct sluice_connection *connection, uint64_t id, struct sluice_error *error);

/* -- events */

struct sluice_event {
	uint64_t seq;	     /* 0 for "lost" */
	const char *type;    /* such as "path.up"; "lost": older events are no longer kept */
	const char *level;   /* info, warn, error */
	const char *object;  /* such as "volume/vol0" */
	const char *message; /* for people */
	const char *time;    /* UTC, ISO 8601 */
	const char *json;    /* all of it */
};

#define SLUICE_NEW_EVENTS UINT64_MAX

/*
 * Calls event() for each event after `since` (SLUICE_NEW_EVENTS: only new ones), of one type (NULL:
 * all; "path" includes "path.up"), until it returns something else than 0, which is returned then.
 * opened(), which may be NULL, is called once when the daemon listens for us: what happens from
 * then on is seen. What event points to lives until event() returns; the connection must not be
 * used in it. -ECONNRESET when the daemon goes away: call again with the last seq to go on without
 * a gap.
 */
int sluice_watch(struct sluice_connection *connection, uint64_t since, const char *type,
    int (*event)(void *context, const struct sluice_event *event), void (*opened)(void *context),
    void *context, struct sluice_error *error);

#ifdef __cplusplus
}
#endif

#endif
