/*
 * What the parts of the API share. The listeners' threads hand jobs to the control loop through one
 * inbox; the control loop answers by resuming the suspended connection.
 *
 * Thread rule: per member of struct api; "listener" is a thread of libmicrohttpd's.
 */
#pragma once

#include <microhttpd.h>
#include <pthread.h>

#include "api/api.h"
#include "base/list.h"

/* Posted by a listener, run once by the control loop; stopping: api_stop() runs it instead, ctl
 * must not be called any more. */
struct api_job {
	struct list link;
	void (*run)(struct api_job *job, bool stopping);
};

struct api_listener {
	struct api *api;
	struct MHD_Daemon *daemon;
	char address[128];
	char unix_path[108]; /* "" for TCP */
};

struct api {
	struct reactor *control;
	struct ctl *ctl;
	struct api_listener *listeners; /* [nr_listeners], constant while they run */
	size_t nr_listeners;

	pthread_mutex_t lock;
	/* Under lock: */
	struct list inbox;
	struct list calls;    /* http_call: requests that wait for ctl */
	struct list watchers; /* sse_watcher: all */
	unsigned nr_watchers;
	struct reactor_msg wake;
	bool wake_sent;
	bool stopping;
};

/* Listener, lock held, not stopping. */
void api_post(struct api *api, struct api_job *job);

/* -- listener.c: control loop */

/* A listening socket for address; fills listener->address and unix_path. */
int api_listen(const char *address, struct api_listener *listener, int *ret_fd, struct error *err);

/* -- http.c */

int http_start(struct api_listener *listener, int fd_consumed, struct error *err);
/* Control loop, lock held, stopping: answers whatever waits. */
void http_abort_calls(struct api *api);
/* Listener. text is malloc'd; NULL (memory is out) closes the connection. allow: may be NULL. */
enum MHD_Result http_send(struct MHD_Connection *connection, unsigned status, const char *type,
    const char *allow, char *text_consumed);
enum MHD_Result http_send_error(struct MHD_Connection *connection, const struct error *err);

/* -- sse.c */

/* Listener: answers a request for /v1/events. */
enum MHD_Result sse_start(struct api *api, struct MHD_Connection *connection, const json_t *params);
/* Control loop, lock held, stopping: ends every stream; then, with the listeners ended, frees them.
 */
void sse_end_all(struct api *api);
void sse_free_all(struct api *api);
