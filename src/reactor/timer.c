/*
 * Timers: a binary heap of pointers, whose slots the timers know.
 */
#include <stdlib.h>

#include "reactor/reactor_private.h"

static void place(struct reactor *r, unsigned i, struct reactor_timer *t)
{
	r->heap[i] = t;
	t->heap_index = i;
}

static void sift_up(struct reactor *r, unsigned i, struct reactor_timer *t)
{
	while (i > 1 && r->heap[i / 2]->deadline_ns > t->deadline_ns) {
		place(r, i, r->heap[i / 2]);
		i /= 2;
	}
	place(r, i, t);
}

static void sift_down(struct reactor *r, unsigned i, struct reactor_timer *t)
{
	unsigned child;

	while ((child = 2 * i) <= r->heap_len) {
		if (child < r->heap_len &&
		    r->heap[child + 1]->deadline_ns < r->heap[child]->deadline_ns) {
			child++;
		}
		if (r->heap[child]->deadline_ns >= t->deadline_ns) {
			break;
		}
		place(r, i, r->heap[child]);
		i = child;
	}
	place(r, i, t);
}

void reactor_timer_init(struct reactor_timer *t, void (*fn)(struct reactor_timer *timer))
{
	*t = (struct reactor_timer){.fn = fn};
}

bool reactor_timer_armed(const struct reactor_timer *t)
{
	return t->heap_index != 0;
}

void reactor_timer_cancel(struct reactor *r, struct reactor_timer *t)
{
	unsigned i = t->heap_index;
	struct reactor_timer *last;

	reactor_assert(r);
	if (i == 0) {
		return;
	}
	t->heap_index = 0;
	last = r->heap[r->heap_len--];
	if (last == t) {
		return;
	}
	if (i > 1 && r->heap[i / 2]->deadline_ns > last->deadline_ns) {
		sift_up(r, i, last);
	} else {
		sift_down(r, i, last);
	}
}

void reactor_timer_arm(struct reactor *r, struct reactor_timer *t, uint64_t delay_ns)
{
	uint64_t now = reactor_clock_ns();

	reactor_timer_cancel(r, t);
	if (r->heap_len + 1 >= r->heap_room) {
		unsigned room = r->heap_room == 0 ? 64 : r->heap_room * 2;
		struct reactor_timer **heap = realloc(r->heap, room * sizeof(*heap));

		sluice_assert(heap != NULL);
		r->heap = heap;
		r->heap_room = room;
	}
	t->deadline_ns = delay_ns > UINT64_MAX - now ? UINT64_MAX : now + delay_ns;
	sift_up(r, ++r->heap_len, t);
}

unsigned reactor_run_timers(struct reactor *r)
{
	unsigned n = 0;

	while (r->heap_len > 0 && r->heap[1]->deadline_ns <= r->now_ns) {
		struct reactor_timer *t = r->heap[1];

		reactor_timer_cancel(r, t);
		t->fn(t);
		n++;
	}
	return n;
}

uint64_t reactor_next_timer_ns(const struct reactor *r)
{
	uint64_t now;

	if (r->heap_len == 0) {
		return UINT64_MAX;
	}
	now = reactor_clock_ns();
	return r->heap[1]->deadline_ns > now ? r->heap[1]->deadline_ns - now : 0;
}
