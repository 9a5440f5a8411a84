/*
 * A thread for the few calls that block and have no asynchronous form (opening and locking files,
 * lseek for holes, resolving names): one per session that needs it, asleep otherwise. Jobs run in
 * order; their results come back as messages.
 *
 * Thread rule: new and free on the control loop; submit on any reactor.
 */
#pragma once

#include "base/error.h"
#include "reactor/reactor.h"

struct worker;

/* Embedded in what is asked for; belongs to the worker until done runs. */
struct worker_job {
	struct reactor_msg msg;
	void (*run)(struct worker_job *job);  /* worker thread, may block */
	void (*done)(struct worker_job *job); /* reactor, after run */
	struct reactor *reactor;
	struct worker_job *next;
};

int worker_new(struct worker **ret_worker, struct error *err);
/* No job may be outstanding. NULL is fine. */
void worker_free(struct worker *w);
void worker_submit(struct worker *w, struct reactor *r, struct worker_job *job,
    void (*run)(struct worker_job *job), void (*done)(struct worker_job *job));
