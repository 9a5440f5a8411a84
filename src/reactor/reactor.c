/*
 * One turn of the loop: completions, messages, timers, deferred work, then submission; and sleep
 * when there was nothing.
 */
#include "reactor/reactor.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "reactor/buffer.h"
#include "reactor/reactor_private.h"

#define DEFAULT_RING_ENTRIES 1024
#define COMPLETIONS_PER_TURN 512
#define FILE_SLOTS 256
#define POOL_KEEP_BYTES (8ull << 20)

static _Thread_local struct reactor *current;

struct reactor *reactor_current(void)
{
	return current;
}

unsigned reactor_index(const struct reactor *r)
{
	return r->index;
}

const char *reactor_name(const struct reactor *r)
{
	return r->name;
}

uint64_t reactor_clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

uint64_t reactor_now_ns(const struct reactor *r)
{
	return r->now_ns;
}

struct io_uring *reactor_ring(struct reactor *r)
{
	return &r->ring;
}

void reactor_assert(const struct reactor *r)
{
	/* Outside of any turn, the owner of a reactor without a thread may prepare things. */
	sluice_assert(current == r || (current == NULL && !r->threaded &&
					  (!r->owned || pthread_equal(r->owner, pthread_self()))));
}

/* -- creation -- */

static int ring_open(struct reactor *r, unsigned entries, struct error *err)
{
	/* From the best to what every kernel with io_uring has. */
	static const unsigned flag_sets[] = {
	    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
	    IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
	    0,
	};
	int rc = -EINVAL;

	for (size_t i = 0; i < ARRAY_SIZE(flag_sets) && rc == -EINVAL; i++) {
		struct io_uring_params params = {
		    .flags = flag_sets[i] | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP |
			     IORING_SETUP_R_DISABLED,
		    .cq_entries = entries * 8,
		};

		rc = io_uring_queue_init_params(entries, &r->ring, &params);
	}
	if (rc == 0) {
		return 0;
	}
	error_set(err, rc, "io_uring cannot be set up: %s", strerror(-rc));
	if (rc == -ENOSYS) {
		error_hint(err, "the kernel has no io_uring: Linux 5.11 or newer is needed");
	} else if (rc == -EPERM) {
		error_hint(err, "io_uring is switched off: see sysctl kernel.io_uring_disabled, or "
				"the container's seccomp profile");
	} else if (rc == -ENOMEM) {
		error_hint(err, "raise the locked memory limit (ulimit -l)");
	}
	return rc;
}

int reactor_new(
    const struct reactor_options *options, struct reactor **ret_reactor, struct error *err)
{
	struct reactor *r = calloc(1, sizeof(*r));
	int rc;

	if (r == NULL) {
		return error_set(err, -ENOMEM, "out of memory");
	}
	strncpy(r->name, options->name, sizeof(r->name) - 1);
	r->index = options->index;
	r->poll_ns = options->poll_us * NS_PER_US;
	r->now_ns = reactor_clock_ns();
	list_init(&r->deferred);
	r->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (r->wake_fd < 0) {
		rc = error_set(err, -errno, "eventfd: %s", strerror(errno));
		goto out;
	}
	rc = buffer_pool_new(POOL_KEEP_BYTES, &r->pool);
	if (rc != 0) {
		error_set(err, rc, "out of memory");
		goto out;
	}
	rc = ring_open(
	    r, options->ring_entries != 0 ? options->ring_entries : DEFAULT_RING_ENTRIES, err);
	if (rc != 0) {
		goto out;
	}
	*ret_reactor = r;
	return 0;
out:
	buffer_pool_free(r->pool);
	if (r->wake_fd >= 0) {
		close(r->wake_fd);
	}
	free(r);
	return rc;
}

void reactor_free(struct reactor *r)
{
	if (r == NULL) {
		return;
	}
	io_uring_queue_exit(&r->ring);
	close(r->wake_fd);
	buffer_pool_free(r->pool);
	free(r->file_slots);
	free(r->heap);
	free(r);
}

/* -- messages -- */

static void wake(struct reactor *r)
{
	uint64_t one = 1;

	if (write(r->wake_fd, &one, sizeof(one)) < 0) {
		sluice_assert(errno == EAGAIN); /* the counter is full: it is awake already */
	}
}

void reactor_send(struct reactor *r, struct reactor_msg *msg, void (*fn)(struct reactor_msg *msg))
{
	struct reactor_msg *head = atomic_load_explicit(&r->inbox, memory_order_relaxed);

	msg->fn = fn;
	do {
		msg->next = head;
	} while (!atomic_compare_exchange_weak(&r->inbox, &head, msg));
	if (atomic_load(&r->sleeping) && atomic_exchange(&r->sleeping, false)) {
		wake(r);
	}
}

static unsigned run_messages(struct reactor *r)
{
	struct reactor_msg *newest;
	struct reactor_msg *oldest = NULL;
	unsigned n = 0;

	if (atomic_load_explicit(&r->inbox, memory_order_relaxed) == NULL) {
		return 0;
	}
	newest = atomic_exchange(&r->inbox, NULL);
	while (newest != NULL) {
		struct reactor_msg *next = newest->next;

		newest->next = oldest;
		oldest = newest;
		newest = next;
	}
	while (oldest != NULL) {
		struct reactor_msg *next = oldest->next; /* fn may free it */

		oldest->fn(oldest);
		oldest = next;
		n++;
	}
	return n;
}

/* -- io_uring -- */

struct io_uring_sqe *reactor_sqe(struct reactor *r, struct reactor_op *op)
{
	struct io_uring_sqe *sqe;

	reactor_assert(r);
	while ((sqe = io_uring_get_sqe(&r->ring)) == NULL) {
		int rc = io_uring_submit(&r->ring);

		sluice_assert(rc >= 0 || rc == -EINTR || rc == -EAGAIN || rc == -EBUSY);
	}
	memset(sqe, 0, sizeof(*sqe));
	io_uring_sqe_set_data(sqe, op);
	return sqe;
}

void reactor_cancel(struct reactor *r, struct reactor_op *op)
{
	io_uring_prep_cancel(reactor_sqe(r, NULL), op, 0);
}

static unsigned run_completions(struct reactor *r)
{
	struct io_uring_cqe *cqe;
	unsigned n = 0;

	while (n < COMPLETIONS_PER_TURN && io_uring_peek_cqe(&r->ring, &cqe) == 0) {
		struct reactor_op *op = io_uring_cqe_get_data(cqe);
		int res = cqe->res;
		uint32_t flags = cqe->flags;

		io_uring_cqe_seen(&r->ring, cqe);
		if (op != NULL) {
			op->done(op, res, flags);
			n++;
		}
	}
	return n;
}

static void wake_arm(struct reactor *r)
{
	struct io_uring_sqe *sqe = reactor_sqe(r, &r->wake_op);

	io_uring_prep_read(sqe, r->wake_fd, &r->wake_count, sizeof(r->wake_count), 0);
	r->wake_armed = true;
}

static void wake_done(struct reactor_op *op, int res, uint32_t flags)
{
	struct reactor *r = container_of(op, struct reactor, wake_op);

	r->wake_armed = false;
}

int reactor_file_register(struct reactor *r, int fd)
{
	int rc;

	reactor_assert(r);
	if (!r->files_tried && r->enabled) {
		r->files_tried = true;
		if (io_uring_register_files_sparse(&r->ring, FILE_SLOTS) == 0) {
			r->file_slots = calloc(FILE_SLOTS, 1);
		}
	}
	if (r->file_slots == NULL) {
		return -ENOSYS;
	}
	for (int i = 0; i < FILE_SLOTS; i++) {
		if (r->file_slots[i] == 0) {
			rc = io_uring_register_files_update(&r->ring, (unsigned)i, &fd, 1);
			if (rc < 0) {
				return rc;
			}
			r->file_slots[i] = 1;
			return i;
		}
	}
	return -ENFILE;
}

void reactor_file_unregister(struct reactor *r, int slot)
{
	int none = -1;

	reactor_assert(r);
	if (slot >= 0) {
		io_uring_register_files_update(&r->ring, (unsigned)slot, &none, 1);
		r->file_slots[slot] = 0;
	}
}

/* -- deferred work -- */

void reactor_deferred_init(struct reactor_deferred *d, void (*fn)(struct reactor_deferred *d))
{
	list_init(&d->link);
	d->fn = fn;
}

void reactor_defer(struct reactor *r, struct reactor_deferred *d)
{
	reactor_assert(r);
	if (list_empty(&d->link)) {
		list_append(&r->deferred, &d->link);
	}
}

void reactor_deferred_cancel(struct reactor_deferred *d)
{
	list_remove(&d->link);
}

/* What a deferred function defers again runs in the next turn. */
static unsigned run_deferred(struct reactor *r)
{
	struct list batch;
	struct list *node;
	unsigned n = 0;

	list_init(&batch);
	list_splice(&batch, &r->deferred);
	while ((node = list_pop(&batch)) != NULL) {
		struct reactor_deferred *d = list_entry(node, struct reactor_deferred, link);

		d->fn(d);
		n++;
	}
	return n;
}

/* -- the loop -- */

static void become_owner(struct reactor *r)
{
	if (!r->owned) {
		r->owner = pthread_self();
		r->owned = true;
	}
	sluice_assert(pthread_equal(r->owner, pthread_self()));
	if (!r->enabled) {
		/* The library's own function for this is missing from the exports of liburing 2.3.
		 */
		sluice_assert(io_uring_register((unsigned)r->ring.ring_fd,
				  IORING_REGISTER_ENABLE_RINGS, NULL, 0) == 0);
		r->enabled = true;
		r->wake_op.done = wake_done;
	}
}

static unsigned turn(struct reactor *r)
{
	unsigned n = run_completions(r);

	r->now_ns = reactor_clock_ns();
	n += run_messages(r);
	n += reactor_run_timers(r);
	n += run_deferred(r);
	return n;
}

static void submit(struct reactor *r)
{
	if (io_uring_sq_ready(&r->ring) != 0) {
		int rc = io_uring_submit_and_get_events(&r->ring);

		sluice_assert(rc >= 0 || rc == -EINTR || rc == -EAGAIN || rc == -EBUSY);
	}
}

static void sleep_in_kernel(struct reactor *r, uint64_t max_ns)
{
	uint64_t ns = MIN(reactor_next_timer_ns(r), max_ns);
	struct __kernel_timespec ts = {
	    .tv_sec = (long long)(ns / NS_PER_S), .tv_nsec = (long long)(ns % NS_PER_S)};
	struct io_uring_cqe *cqe;

	if (!r->wake_armed) {
		wake_arm(r);
	}
	atomic_store(&r->sleeping, true);
	if (atomic_load(&r->inbox) == NULL && !atomic_load(&r->stop) && list_empty(&r->deferred)) {
		int rc = io_uring_submit_and_wait_timeout(
		    &r->ring, &cqe, 1, ns == UINT64_MAX ? NULL : &ts, NULL);

		sluice_assert(
		    rc >= 0 || rc == -ETIME || rc == -EINTR || rc == -EAGAIN || rc == -EBUSY);
	}
	atomic_store(&r->sleeping, false);
	r->now_ns = reactor_clock_ns();
}

unsigned reactor_step(struct reactor *r, unsigned wait_ms)
{
	struct reactor *before = current;
	unsigned n;

	current = r;
	become_owner(r);
	n = turn(r);
	submit(r);
	if (n == 0 && wait_ms > 0) {
		sleep_in_kernel(r, wait_ms * NS_PER_MS);
		n = turn(r);
		submit(r);
	}
	current = before;
	return n;
}

void reactor_run(struct reactor *r)
{
	sluice_assert(current == NULL);
	current = r;
	become_owner(r);
	r->busy_ns = reactor_clock_ns();
	while (!atomic_load_explicit(&r->stop, memory_order_relaxed)) {
		if (turn(r) != 0) {
			r->busy_ns = r->now_ns;
		}
		/* Without polling one call submits and waits; what is ready already ends the wait. */
		if (r->now_ns - r->busy_ns < r->poll_ns) {
			submit(r);
		} else {
			sleep_in_kernel(r, UINT64_MAX);
		}
	}
	current = NULL;
}

void reactor_stop(struct reactor *r)
{
	atomic_store(&r->stop, true);
	wake(r);
}

static void *thread_main(void *arg)
{
	reactor_run(arg);
	return NULL;
}

int reactor_start(struct reactor *r, struct error *err)
{
	sigset_t all;
	sigset_t old;
	int rc;

	sluice_assert(!r->owned && !r->threaded);
	r->threaded = true;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old); /* signals are the control loop's business */
	rc = pthread_create(&r->thread, NULL, thread_main, r);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc != 0) {
		r->threaded = false;
		return error_set(err, -rc, "cannot start thread %s: %s", r->name, strerror(rc));
	}
	pthread_setname_np(r->thread, r->name);
	return 0;
}

void reactor_join(struct reactor *r)
{
	if (r->threaded) {
		reactor_stop(r);
		pthread_join(r->thread, NULL);
		r->threaded = false;
	}
}

struct buffer_pool *buffer_pool_current(void)
{
	sluice_assert(current != NULL);
	return current->pool;
}
