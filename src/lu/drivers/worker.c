#include "lu/drivers/worker.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

struct worker {
	pthread_t thread;
	pthread_mutex_t lock; /* guards the rest */
	pthread_cond_t wake;
	struct worker_job *first;
	struct worker_job **last;
	bool stop;
};

/* getaddrinfo() is what needs most of it. */
#define WORKER_STACK_SIZE (256u << 10)

static void on_done(struct reactor_msg *msg)
{
	struct worker_job *job = container_of(msg, struct worker_job, msg);

	job->done(job);
}

static struct worker_job *next_job(struct worker *w)
{
	struct worker_job *job;

	pthread_mutex_lock(&w->lock);
	while (w->first == NULL && !w->stop) {
		pthread_cond_wait(&w->wake, &w->lock);
	}
	job = w->first;
	if (job != NULL) {
		w->first = job->next;
		if (w->first == NULL) {
			w->last = &w->first;
		}
	}
	pthread_mutex_unlock(&w->lock);
	return job;
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	struct worker_job *job;

	while ((job = next_job(w)) != NULL) {
		job->run(job);
		reactor_send(job->reactor, &job->msg, on_done);
	}
	return NULL;
}

int worker_new(struct worker **ret_worker, struct error *err)
{
	struct worker *w = calloc(1, sizeof(*w));
	pthread_attr_t attr;
	int r;

	if (w == NULL) {
		return error_set(err, -ENOMEM, "out of memory");
	}
	w->last = &w->first;
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->wake, NULL);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, WORKER_STACK_SIZE);
	r = pthread_create(&w->thread, &attr, worker_main, w);
	pthread_attr_destroy(&attr);
	if (r != 0) {
		pthread_cond_destroy(&w->wake);
		pthread_mutex_destroy(&w->lock);
		free(w);
		return error_set(err, -r, "cannot start a worker thread");
	}
	*ret_worker = w;
	return 0;
}

void worker_free(struct worker *w)
{
	if (w == NULL) {
		return;
	}
	pthread_mutex_lock(&w->lock);
	w->stop = true;
	pthread_cond_signal(&w->wake);
	pthread_mutex_unlock(&w->lock);
	pthread_join(w->thread, NULL);
	pthread_cond_destroy(&w->wake);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

void worker_submit(struct worker *w, struct reactor *r, struct worker_job *job,
    void (*run)(struct worker_job *job), void (*done)(struct worker_job *job))
{
	job->run = run;
	job->done = done;
	job->reactor = r;
	job->next = NULL;
	pthread_mutex_lock(&w->lock);
	*w->last = job;
	w->last = &job->next;
	pthread_cond_signal(&w->wake);
	pthread_mutex_unlock(&w->lock);
}
