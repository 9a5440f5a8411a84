/*
 * The inside of a reactor, for src/reactor only.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "reactor/reactor.h"

struct buffer_pool;

struct reactor {
	struct io_uring ring;
	char name[16];
	unsigned index;
	uint64_t poll_ns;
	uint64_t now_ns;
	uint64_t busy_ns; /* when this reactor last found work */

	/* The thread that may touch the rest; set by the first run or step. */
	pthread_t owner;
	bool owned;
	bool threaded; /* by reactor_start() */
	bool enabled;  /* the ring takes submissions */
	pthread_t thread;
	_Atomic bool stop;

	/* Written by any thread. */
	_Atomic(struct reactor_msg *) inbox; /* newest first */
	_Atomic bool sleeping;
	int wake_fd;
	struct reactor_op wake_op;
	uint64_t wake_count;
	bool wake_armed;

	struct reactor_timer **heap; /* heap[1..heap_len], least deadline first */
	unsigned heap_len;
	unsigned heap_room;

	struct list deferred;
	struct buffer_pool *pool;

	bool files_tried;
	unsigned char *file_slots; /* NULL: no registered files here */
};

unsigned reactor_run_timers(struct reactor *r);
/* 0 = one is due, UINT64_MAX = none is armed. */
uint64_t reactor_next_timer_ns(const struct reactor *r);
