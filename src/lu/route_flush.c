#include "lu/route_flush.h"

#include <stdlib.h>

#include "lu/errand.h"

struct route_flush {
	unsigned away;
	int status;
	void (*done)(void *ctx, int status);
	void *ctx;
	struct errand errands[];
};

static void on_errand(struct errand *e)
{
	struct route_flush *f = e->owner;

	if (f->status == 0) {
		f->status = e->io.status;
	}
	if (--f->away > 0) {
		return;
	}
	if (f->done != NULL) {
		f->done(f->ctx, f->status);
	}
	free(f);
}

struct route_flush *route_flush_start(
    struct carrier *k, void (*done)(void *ctx, int status), void *ctx)
{
	const struct io_target *target = &k->session->target;
	unsigned nr = target->limits.coherent ? 1 : target->nr_channels;
	struct route_flush *f = calloc(1, sizeof(*f) + nr * sizeof(f->errands[0]));
	struct errand_request request = {.op = IO_FLUSH};

	if (f == NULL) {
		return NULL;
	}
	f->away = nr;
	f->done = done;
	f->ctx = ctx;
	for (unsigned i = 0; i < nr; i++) {
		errand_start(&f->errands[i], k, i, &request, on_errand, f);
	}
	return f;
}

void route_flush_forget(struct route_flush *f)
{
	f->done = NULL;
}
