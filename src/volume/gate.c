#include "volume/gate.h"

#include "reactor/reactor.h"

/* One writer, other threads read: no locked instruction is needed. */
static void counter_add(_Atomic uint64_t *counter, int64_t n)
{
	uint64_t v = atomic_load_explicit(counter, memory_order_relaxed);

	atomic_store_explicit(counter, v + (uint64_t)n, memory_order_relaxed);
}

static struct io_frame *link_frame(const struct list *link)
{
	return container_of(link, struct io_frame, link);
}

static struct hold_op op_of(const struct io *io, uint64_t offset)
{
	return (struct hold_op){
	    .range = {offset, io->length},
	    .ranged = io_op_ranged(io->op),
	    .changes = io_op_changes(io->op),
	};
}

/* While a request is below the gate its offset may be translated: the frame knows the original. */
static struct hold_op op_of_link(const struct list *link)
{
	const struct io_frame *f = link_frame(link);

	return op_of(f->io, f->offset);
}

static struct gate_leg *link_leg(struct list *link)
{
	return list_entry(link, struct gate_leg, link);
}

void gate_init(struct gate *gate, void (*start)(struct gate *gate, struct io *io))
{
	*gate = (struct gate){.start = start};
	list_init(&gate->legs);
	list_init(&gate->in_flight);
	list_init(&gate->held);
	list_init(&gate->replay);
}

bool gate_idle(const struct gate *gate)
{
	return list_empty(&gate->in_flight) && list_empty(&gate->held) && list_empty(&gate->replay);
}

/* The first hold that concerns the request, NULL when it may go. */
static struct gate_leg *find_leg(struct gate *gate, const struct hold_op *op)
{
	list_for_each (link, &gate->legs) {
		if (hold_concerns(link_leg(link)->token, op)) {
			return link_leg(link);
		}
	}
	return NULL;
}

static void start(struct gate *gate, struct io_frame *f)
{
	list_append(&gate->in_flight, &f->link);
	counter_add(&gate->nr_in_flight, 1);
	gate->start(gate, f->io);
}

static void keep(struct gate *gate, struct gate_leg *leg, struct io_frame *f)
{
	struct list *at = &gate->held;

	/* Mostly the newest: look for its place from the end. */
	while (at->prev != &gate->held && link_frame(at->prev)->scratch > f->scratch) {
		at = at->prev;
	}
	list_insert_before(at, &f->link);
	counter_add(&gate->nr_held, 1);
	if (leg->first_held_ns == 0) {
		leg->first_held_ns = reactor_clock_ns();
	}
	counter_add(&leg->held_requests, 1);
}

/* Starts what was let go. A request that comes meanwhile goes to the end of the same queue. */
static void run_replay(struct gate *gate)
{
	struct list *link;

	if (gate->replaying) {
		return;
	}
	gate->replaying = true;
	while ((link = list_pop(&gate->replay)) != NULL) {
		start(gate, link_frame(link));
	}
	gate->replaying = false;
}

static void account_end(struct gate *gate, struct io_frame *f)
{
	struct hold_op op = op_of_link(&f->link);

	list_for_each_safe (link, &gate->legs) {
		struct gate_leg *leg = link_leg(link);

		if (hold_concerns(leg->token, &op) && hold_channel_done(&leg->drain)) {
			leg->drained(leg);
		}
	}
}

/* Given back unexecuted or in doubt: it runs again, on the face that is active when it may go. */
static void put_back(struct gate *gate, struct io *io)
{
	uint64_t arrival = io_popped(io)->scratch;
	struct io_frame *f = io_push(io, io_popped(io)->done, gate);
	struct hold_op op = op_of(io, io->offset);
	struct gate_leg *leg = find_leg(gate, &op);

	f->scratch = arrival;
	if (leg != NULL) {
		keep(gate, leg, f);
	} else {
		list_append(&gate->replay, &f->link);
		run_replay(gate);
	}
}

static void gate_done(struct io *io, void *ctx)
{
	struct gate *gate = ctx;
	struct io_frame *f = io_popped(io);

	list_remove(&f->link);
	counter_add(&gate->nr_in_flight, -1);
	if (unlikely(!list_empty(&gate->legs))) {
		account_end(gate, f);
	}
	if (unlikely(io->status == IO_REQUEUE)) {
		put_back(gate, io);
		return;
	}
	io_complete(io, io->status);
}

void gate_submit(struct gate *gate, struct io *io)
{
	struct io_frame *f = io_push(io, gate_done, gate);

	f->scratch = gate->arrivals++;
	if (unlikely(!list_empty(&gate->legs))) {
		struct hold_op op = op_of(io, io->offset);
		struct gate_leg *leg = find_leg(gate, &op);

		if (leg != NULL) {
			keep(gate, leg, f);
			return;
		}
	}
	if (unlikely(gate->replaying)) {
		list_append(&gate->replay, &f->link);
		return;
	}
	start(gate, f);
}

void gate_attach(struct gate *gate, struct gate_leg *leg)
{
	uint64_t in_flight = 0;

	list_for_each (link, &gate->in_flight) {
		struct hold_op op = op_of_link(link);

		in_flight += hold_concerns(leg->token, &op);
	}
	list_append(&gate->legs, &leg->link);
	if (hold_channel_begin(&leg->drain, in_flight)) {
		leg->drained(leg);
	}
}

void gate_detach(struct gate *gate, struct gate_leg *leg)
{
	const struct hold_token *tokens[GATE_MAX_LEGS];
	struct list ready;
	size_t n = 0;
	uint64_t released = 0;

	list_remove(&leg->link);
	leg->held_us =
	    leg->first_held_ns == 0 ? 0 : (reactor_clock_ns() - leg->first_held_ns) / NS_PER_US;
	list_for_each (link, &gate->legs) {
		tokens[n++] = link_leg(link)->token;
	}
	list_init(&ready);
	hold_release(&gate->held, &ready, op_of_link, tokens, n);
	list_for_each (link, &ready) {
		released++;
	}
	counter_add(&gate->nr_held, -(int64_t)released);
	list_splice(&gate->replay, &ready);
	run_replay(gate);
}
