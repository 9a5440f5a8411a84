/*
 * The loop. One reactor is one thread with one io_uring: it runs completions, messages from other
 * reactors, timers and deferred work, and sleeps in the kernel when there is nothing to do. Data
 * reactors carry requests; the control loop is a reactor too.
 *
 * Thread rule: a function that takes a reactor must be called on that reactor's thread, except
 * where its comment says "any thread". Callbacks run on the reactor's thread, never inside the call
 * that asked for them.
 */
#pragma once

#include <liburing.h>

#include "base/error.h"
#include "base/list.h"

struct reactor;

struct reactor_options {
	const char *name;      /* thread name, copied */
	unsigned index;	       /* data reactor number; REACTOR_CONTROL for the control loop */
	unsigned ring_entries; /* 0 = default */
	unsigned poll_us;      /* how long it spins without work before it sleeps; 0 = never */
};
#define REACTOR_CONTROL UINT32_MAX

/* Any thread. -ENOSYS or -EPERM with a hint where io_uring is missing or switched off. */
int reactor_new(
    const struct reactor_options *options, struct reactor **ret_reactor, struct error *err);
/* The thread that created or joined it. Nothing may be outstanding. */
void reactor_free(struct reactor *r);

/* Any thread: starts a thread that runs the loop; reactor_join() asks it to end and waits for it.
 */
int reactor_start(struct reactor *r, struct error *err);
void reactor_join(struct reactor *r);
/* Runs the loop on the calling thread until reactor_stop(). The first caller of run or step becomes
 * the owner. */
void reactor_run(struct reactor *r);
/* Any thread. */
void reactor_stop(struct reactor *r);
/* One turn of the loop, for unit tests: returns the number of things done; waits for one at most
 * wait_ms (0 = not). */
unsigned reactor_step(struct reactor *r, unsigned wait_ms);

/* The reactor whose thread this is, NULL elsewhere. */
struct reactor *reactor_current(void);
unsigned reactor_index(const struct reactor *r);
const char *reactor_name(const struct reactor *r);
/* Stops the program unless this is the reactor's thread. */
void reactor_assert(const struct reactor *r);
/* Monotonic nanoseconds, read once per turn of the loop; reactor_clock_ns() reads the clock (any
 * thread). */
uint64_t reactor_now_ns(const struct reactor *r);
uint64_t reactor_clock_ns(void);

/* -- messages -- */

/* Embedded in what is sent; belongs to the receiver until fn runs. Messages between two reactors
 * arrive in order. */
struct reactor_msg {
	struct reactor_msg *next;
	void (*fn)(struct reactor_msg *msg);
};
/* Any thread. fn(msg) runs on r, never inside this call. */
void reactor_send(struct reactor *r, struct reactor_msg *msg, void (*fn)(struct reactor_msg *msg));

/* -- timers -- */

struct reactor_timer {
	void (*fn)(struct reactor_timer *timer);
	uint64_t deadline_ns;
	unsigned heap_index; /* 0 = not armed */
};
void reactor_timer_init(struct reactor_timer *t, void (*fn)(struct reactor_timer *timer));
/* Arms, or re-arms, for delay_ns from now. One shot. */
void reactor_timer_arm(struct reactor *r, struct reactor_timer *t, uint64_t delay_ns);
/* No effect when it is not armed; afterwards fn will not run. */
void reactor_timer_cancel(struct reactor *r, struct reactor_timer *t);
bool reactor_timer_armed(const struct reactor_timer *t);

/* -- io_uring -- */

/* Embedded in what is outstanding; the address travels as user_data. */
struct reactor_op {
	/* res and flags as in struct io_uring_cqe; a multishot operation calls it again while flags
	 * has IORING_CQE_F_MORE. */
	void (*done)(struct reactor_op *op, int res, uint32_t flags);
};
/*
 * A submission entry with user_data set to op and the rest zeroed, to be filled by one of the
 * io_uring_prep_...() functions (they leave user_data alone). Never NULL: a full queue is submitted
 * first. It is handed to the kernel at the end of this turn of the loop. op may be NULL for an
 * operation whose result nobody wants.
 */
struct io_uring_sqe *reactor_sqe(struct reactor *r, struct reactor_op *op);
/* Asks the kernel to cancel what is outstanding for op; its done() still runs, with -ECANCELED or
 * its result. */
void reactor_cancel(struct reactor *r, struct reactor_op *op);
struct io_uring *reactor_ring(struct reactor *r);
/*
 * A registered file: the slot for IOSQE_FIXED_FILE, or a negative errno where the kernel or the
 * table has no room (use the plain descriptor then).
 */
int reactor_file_register(struct reactor *r, int fd);
void reactor_file_unregister(struct reactor *r, int slot);

/* Readiness of a file descriptor, by multishot poll, re-armed as needed (for libraries that want to
 * be called). */
struct reactor_watch {
	struct reactor_op op;
	struct reactor *reactor;
	int fd;
	uint32_t events; /* POLLIN | POLLOUT, 0 = not watching */
	uint32_t armed;	 /* what the outstanding poll waits for */
	bool outstanding;
	bool stopping;
	bool in_ready;
	void (*ready)(struct reactor_watch *w, uint32_t revents);
	void (*stopped)(struct reactor_watch *w);
};
void reactor_watch_init(struct reactor_watch *w, struct reactor *r, int fd,
    void (*ready)(struct reactor_watch *w, uint32_t revents));
/* Watches for events from now on (0 = pause). Level-triggered: ready() is called again while the
 * condition lasts. */
void reactor_watch_set(struct reactor_watch *w, uint32_t events);
/* Ends it; stopped() is called (later) when w and the descriptor may be released. */
void reactor_watch_stop(struct reactor_watch *w, void (*stopped)(struct reactor_watch *w));

/* -- deferred work -- */

/* Runs fn once at the end of this turn, before submissions go to the kernel: the place to batch.
 * Queuing it twice is one. */
struct reactor_deferred {
	struct list link;
	void (*fn)(struct reactor_deferred *d);
};
void reactor_deferred_init(struct reactor_deferred *d, void (*fn)(struct reactor_deferred *d));
void reactor_defer(struct reactor *r, struct reactor_deferred *d);
void reactor_deferred_cancel(struct reactor_deferred *d);
