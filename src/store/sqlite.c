/*
 * The store of a single node: a worker thread executes requests on the SQLite file in the order in
 * which they came, so that no sync of a disk ever stops the control loop.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/data_dir.h"
#include "store/impl.h"
#include "store/sqlite_engine.h"

struct store_sqlite {
	struct store store;
	struct store_engine *engine; /* the worker's, once it runs */
	struct data_dir dir;
	pthread_t worker;
	pthread_mutex_t lock; /* queue */
	pthread_cond_t wake;
	struct list queue;
};

static struct store_request *queue_pop(struct store_sqlite *q)
{
	struct list *node;

	pthread_mutex_lock(&q->lock);
	while ((node = list_pop(&q->queue)) == NULL) {
		pthread_cond_wait(&q->wake, &q->lock);
	}
	pthread_mutex_unlock(&q->lock);
	return list_entry(node, struct store_request, link);
}

static void *worker_main(void *arg)
{
	struct store_sqlite *q = arg;
	bool closing;

	do {
		struct store_request *rq = queue_pop(q);

		closing = rq->kind == STORE_REQUEST_CLOSE;
		store_engine_execute(q->engine, rq);
		if (closing) {
			sqlite_engine_close(q->engine);
			data_dir_close(&q->dir);
		}
		store_request_answer(rq);
	} while (!closing);
	return NULL;
}

/* Signals are for the threads that expect them. */
static int worker_start(struct store_sqlite *q)
{
	sigset_t all;
	sigset_t old;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&q->worker, NULL, worker_main, q);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r == 0) {
		pthread_setname_np(q->worker, "store");
	}
	return -r;
}

static void sqlite_submit(struct store *s, struct store_request *rq)
{
	struct store_sqlite *q = container_of(s, struct store_sqlite, store);

	pthread_mutex_lock(&q->lock);
	list_append(&q->queue, &rq->link);
	pthread_cond_signal(&q->wake);
	pthread_mutex_unlock(&q->lock);
}

static void sqlite_free(struct store *s)
{
	struct store_sqlite *q = container_of(s, struct store_sqlite, store);

	/* It sent its last answer before this runs, so it is at its end. */
	pthread_join(q->worker, NULL);
	pthread_cond_destroy(&q->wake);
	pthread_mutex_destroy(&q->lock);
	store_fini(s);
	free(q);
}

static const struct store_ops sqlite_ops = {
    .submit = sqlite_submit,
    .free = sqlite_free,
};

static struct store_sqlite *sqlite_new(struct reactor *control, const char *dir)
{
	struct store_sqlite *q = calloc(1, sizeof(*q));
	char *description = NULL;

	if (q == NULL || asprintf(&description, "sqlite:%s/store.db", dir) < 0) {
		free(q);
		return NULL;
	}
	if (store_init(&q->store, &sqlite_ops, control, description) < 0) {
		free(description);
		free(q);
		return NULL;
	}
	free(description);
	pthread_mutex_init(&q->lock, NULL);
	pthread_cond_init(&q->wake, NULL);
	list_init(&q->queue);
	return q;
}

int store_sqlite_open(
    struct reactor *control, const char *dir, struct store **ret_store, struct error *err)
{
	struct store_sqlite *q = sqlite_new(control, dir);
	int r;

	if (q == NULL) {
		return error_set(err, -ENOMEM, "out of memory while opening the store");
	}
	r = data_dir_open(dir, &q->dir, err);
	if (r < 0) {
		goto fail;
	}
	r = sqlite_engine_open(dir, &q->engine, err);
	if (r < 0) {
		goto fail_dir;
	}
	r = worker_start(q);
	if (r < 0) {
		error_set(err, r, "cannot start the store's thread: %s", strerror(-r));
		goto fail_engine;
	}
	*ret_store = &q->store;
	return 0;

fail_engine:
	sqlite_engine_close(q->engine);
fail_dir:
	data_dir_close(&q->dir);
fail:
	store_fini(&q->store);
	free(q);
	return r;
}
