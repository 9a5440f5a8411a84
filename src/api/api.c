#include "api/api_private.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static void api_free(struct api *api)
{
	pthread_mutex_destroy(&api->lock);
	free(api->listeners);
	free(api);
}

static void wake_run(struct reactor_msg *msg)
{
	struct api *api = container_of(msg, struct api, wake);
	struct list jobs;
	struct list *node;
	bool stopping;

	list_init(&jobs);
	pthread_mutex_lock(&api->lock);
	api->wake_sent = false;
	stopping = api->stopping;
	list_splice(&jobs, &api->inbox);
	pthread_mutex_unlock(&api->lock);
	if (stopping) {
		api_free(api);
		return;
	}
	while ((node = list_pop(&jobs)) != NULL) {
		struct api_job *job = list_entry(node, struct api_job, link);

		job->run(job, false);
	}
}

void api_post(struct api *api, struct api_job *job)
{
	sluice_assert(!api->stopping);
	list_append(&api->inbox, &job->link);
	if (!api->wake_sent) {
		api->wake_sent = true;
		reactor_send(api->control, &api->wake, wake_run);
	}
}

static void listeners_end(struct api *api)
{
	for (size_t i = 0; i < api->nr_listeners; i++) {
		struct api_listener *l = &api->listeners[i];

		if (l->daemon == NULL) {
			continue;
		}
		/* The name goes first: who finds it also finds somebody who answers. */
		if (l->unix_path[0] != '\0') {
			unlink(l->unix_path);
		}
		MHD_stop_daemon(l->daemon);
		l->daemon = NULL;
	}
}

static int listeners_start(struct api *api, const char *const *addresses, struct error *err)
{
	for (size_t i = 0; i < api->nr_listeners; i++) {
		struct api_listener *l = &api->listeners[i];
		int fd;
		int rc;

		l->api = api;
		rc = api_listen(addresses[i], l, &fd, err);
		if (rc != 0) {
			return rc;
		}
		rc = http_start(l, fd, err);
		if (rc != 0) {
			return rc;
		}
	}
	return 0;
}

int api_start(struct reactor *control, struct ctl *ctl, const char *const *addresses,
    size_t nr_addresses, struct api **ret_api, struct error *err)
{
	struct api *api = calloc(1, sizeof(*api));
	int rc;

	if (api == NULL) {
		return error_set(err, -ENOMEM, "out of memory");
	}
	api->control = control;
	api->ctl = ctl;
	api->nr_listeners = nr_addresses;
	list_init(&api->inbox);
	list_init(&api->calls);
	list_init(&api->watchers);
	pthread_mutex_init(&api->lock, NULL);
	api->listeners = calloc(nr_addresses, sizeof(*api->listeners));
	rc = api->listeners != NULL ? listeners_start(api, addresses, err)
				    : error_set(err, -ENOMEM, "out of memory");
	if (rc != 0) {
		api_stop(api);
		return rc;
	}
	*ret_api = api;
	return 0;
}

void api_stop(struct api *api)
{
	struct list *node;
	bool wake_sent;

	if (api == NULL) {
		return;
	}
	pthread_mutex_lock(&api->lock);
	/* From here on nothing is posted any more. */
	api->stopping = true;
	wake_sent = api->wake_sent;
	while ((node = list_pop(&api->inbox)) != NULL) {
		struct api_job *job = list_entry(node, struct api_job, link);

		job->run(job, true);
	}
	http_abort_calls(api);
	sse_end_all(api);
	pthread_mutex_unlock(&api->lock);
	listeners_end(api);
	sse_free_all(api);
	if (!wake_sent) {
		api_free(api);
	}
}

const char *api_address(const struct api *api, size_t i)
{
	return i < api->nr_listeners ? api->listeners[i].address : NULL;
}
