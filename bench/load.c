#include "load.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/prng.h"
#include "histogram.h"
#include "usage.h"
#include "verify.h"

struct load {
	const struct load_options *options;
	struct client_callbacks callbacks;
	struct client *clients; /* [nr_clients] */
	unsigned nr_clients;
	uint64_t nr_blocks;
	uint64_t next_block; /* of a sequential load and of the filling */
	struct prng prng;
	struct verify verify;
	char *payload; /* of all writes; with verification a block for each slot of each client */

	bool filling; /* until fill_left is 0 */
	uint64_t fill_left;
	bool stopping;
	bool measuring;
	uint64_t last_done_ns;
	uint64_t longest_gap_ns;
	uint64_t errors;
	struct histogram latency;
};

/* -- requests -- */

static char *payload_of(struct load *l, const struct client *c, const struct client_slot *slot)
{
	size_t index = 0;

	if (l->options->verify) {
		index = (size_t)(c - l->clients) * c->depth + (size_t)(slot - c->slots);
	}
	return l->payload + index * l->options->block;
}

static uint64_t choose_block(struct load *l)
{
	uint64_t block;

	if (l->filling || l->options->sequential) {
		block = l->next_block;
		l->next_block = (l->next_block + 1) % l->nr_blocks;
	} else {
		block = prng_below(&l->prng, l->nr_blocks);
	}
	return l->options->verify ? verify_take(&l->verify, block) : block;
}

static enum client_op choose_op(struct load *l)
{
	if (l->filling || l->options->read_percent == 0) {
		return CLIENT_WRITE;
	}
	if (l->options->read_percent == 100) {
		return CLIENT_READ;
	}
	return prng_below(&l->prng, 100) < l->options->read_percent ? CLIENT_READ : CLIENT_WRITE;
}

static void ask_next(struct load *l, struct client *c, struct client_slot *slot, uint64_t now_ns)
{
	enum client_op op = choose_op(l);
	uint64_t block = choose_block(l);
	char *payload = payload_of(l, c, slot);

	if (l->filling) {
		l->fill_left--;
	}
	if (op == CLIENT_WRITE && l->options->verify) {
		verify_fill(&l->verify, block, payload);
	}
	client_submit(c, slot, op, block * l->options->block, l->options->block, payload, now_ns);
}

static void note_completion(struct load *l, const struct client_slot *slot, uint64_t now_ns)
{
	if (now_ns - l->last_done_ns > l->longest_gap_ns) {
		l->longest_gap_ns = now_ns - l->last_done_ns;
	}
	l->last_done_ns = now_ns;
	histogram_add(&l->latency, now_ns - slot->started_ns);
}

static void on_done(void *ctx, struct client *c, struct client_slot *slot)
{
	struct load *l = ctx;

	if (l->measuring) {
		note_completion(l, slot, c->now_ns);
	}
	l->errors += slot->error != 0 ? 1 : 0;
	if (l->options->verify) {
		verify_put(&l->verify, slot->offset / l->options->block);
	}
	if (!l->stopping && !(l->filling && l->fill_left == 0)) {
		ask_next(l, c, slot, c->now_ns);
	}
}

static void on_data(void *ctx, struct client *c, struct client_slot *slot, uint64_t offset,
    const void *data, uint32_t len)
{
	struct load *l = ctx;

	verify_check(&l->verify, offset, data, len);
}

/* -- turning -- */

static int failed(const struct client *c, int r)
{
	fprintf(stderr, "nbdload: %s\n", c->failure);
	return r;
}

/* With one connection the receive itself is the wait: one system call for a batch of replies. */
static int turn_single(struct client *c)
{
	struct pollfd p = {.fd = c->fd, .events = POLLIN | POLLOUT};
	bool all_sent;
	int r = client_flush(c);

	all_sent = c->queue_length == 0;
	if (r == 0 && !all_sent) {
		(void)poll(&p, 1, 1000);
	}
	if (r == 0 && c->in_flight > 0) {
		r = client_receive(c, all_sent);
	}
	return r < 0 ? failed(c, r) : 0;
}

static int turn_many(struct load *l)
{
	struct pollfd p[LOAD_MAX_CONNECTIONS];

	for (unsigned i = 0; i < l->nr_clients; i++) {
		struct client *c = &l->clients[i];
		int r = client_flush(c);

		if (r < 0) {
			return failed(c, r);
		}
		p[i] = (struct pollfd){.fd = c->fd, .events = POLLIN};
		p[i].events |= c->queue_length > 0 ? POLLOUT : 0;
	}
	(void)poll(p, l->nr_clients, 1000);
	for (unsigned i = 0; i < l->nr_clients; i++) {
		int r = p[i].revents != 0 ? client_receive(&l->clients[i], false) : 0;

		if (r < 0) {
			return failed(&l->clients[i], r);
		}
	}
	return 0;
}

static int turn(struct load *l)
{
	return l->nr_clients == 1 ? turn_single(&l->clients[0]) : turn_many(l);
}

static unsigned in_flight(const struct load *l)
{
	unsigned n = 0;

	for (unsigned i = 0; i < l->nr_clients; i++) {
		n += l->clients[i].in_flight;
	}
	return n;
}

static void ask_all(struct load *l)
{
	uint64_t now_ns = usage_clock_ns();

	for (unsigned i = 0; i < l->nr_clients; i++) {
		struct client *c = &l->clients[i];

		for (unsigned j = 0; j < c->depth; j++) {
			if (!l->filling || l->fill_left > 0) {
				ask_next(l, c, &c->slots[j], now_ns);
			}
		}
	}
}

static int turn_until(struct load *l, uint64_t end_ns)
{
	int r = 0;

	while (r == 0 && usage_clock_ns() < end_ns) {
		r = turn(l);
	}
	return r;
}

static int drain(struct load *l)
{
	int r = 0;

	while (r == 0 && in_flight(l) > 0) {
		r = turn(l);
	}
	return r;
}

static int fill(struct load *l)
{
	int r;

	l->filling = true;
	l->fill_left = l->nr_blocks;
	ask_all(l);
	r = drain(l);
	l->filling = false;
	l->next_block = 0;
	return r;
}

static void print_result(const struct load *l, const struct usage *from, const struct usage *to)
{
	double seconds = (double)(to->clock_ns - from->clock_ns) / 1e9;
	double requests = (double)l->latency.count;

	printf("{\"requests\": %" PRIu64 ", \"seconds\": %.4f, \"per_second\": %.1f, "
	       "\"mib_per_second\": %.1f, \"p50_us\": %.2f, \"p99_us\": %.2f, \"max_us\": %.2f, "
	       "\"gap_us\": %.2f, \"client_cpu_s\": %.4f, \"server_cpu_s\": %.4f, "
	       "\"machine_cpu_s\": %.4f, \"errors\": %" PRIu64 ", \"mismatches\": %" PRIu64 "}\n",
	    l->latency.count, seconds, requests / seconds,
	    requests * l->options->block / seconds / (1 << 20),
	    (double)histogram_quantile(&l->latency, 0.5) / 1e3,
	    (double)histogram_quantile(&l->latency, 0.99) / 1e3, (double)l->latency.max / 1e3,
	    (double)l->longest_gap_ns / 1e3, (double)(to->self_ns - from->self_ns) / 1e9,
	    (double)(to->server_ns - from->server_ns) / 1e9,
	    (double)(to->machine_ns - from->machine_ns) / 1e9, l->errors, l->verify.mismatches);
}

static int measure(struct load *l)
{
	const struct load_options *o = l->options;
	struct usage from;
	struct usage to;
	int r;

	ask_all(l);
	r = turn_until(l, usage_clock_ns() + (uint64_t)(o->warmup_s * 1e9));
	if (r < 0) {
		return r;
	}
	from = usage_read(o->server);
	l->last_done_ns = from.clock_ns;
	l->measuring = true;
	r = turn_until(l, from.clock_ns + (uint64_t)(o->seconds * 1e9));
	l->measuring = false;
	to = usage_read(o->server);
	l->stopping = true;
	if (r == 0) {
		r = drain(l);
	}
	if (r == 0) {
		print_result(l, &from, &to);
	}
	return r;
}

/* -- set up -- */

static int open_clients(struct load *l)
{
	struct client_options options = l->options->client;

	options.callbacks = &l->callbacks;
	for (unsigned i = 0; i < l->options->connections; i++) {
		int r = client_connect(&l->clients[i], &options);

		if (r < 0) {
			return r;
		}
		l->nr_clients++;
	}
	return 0;
}

static int choose_size(struct load *l)
{
	const struct load_options *o = l->options;
	uint64_t size = o->size != 0 ? MIN(o->size, l->clients[0].size) : l->clients[0].size;

	l->nr_blocks = size / o->block;
	if (l->nr_blocks <= (uint64_t)o->connections * o->client.depth) {
		fprintf(stderr, "nbdload: the export is too small for this load\n");
		return -EINVAL;
	}
	return o->verify ? verify_init(&l->verify, o->block, l->nr_blocks) : 0;
}

static int make_payload(struct load *l)
{
	const struct load_options *o = l->options;
	size_t nr = o->verify ? (size_t)o->connections * o->client.depth : 1;

	l->payload = malloc(nr * o->block);
	if (l->payload == NULL) {
		return -ENOMEM;
	}
	memset(l->payload, 0x5a, nr * o->block);
	return 0;
}

int load_run(const struct load_options *options)
{
	struct load *l = calloc(1, sizeof(*l));
	int r = -ENOMEM;

	if (l == NULL) {
		return r;
	}
	l->options = options;
	l->callbacks = (struct client_callbacks){.done = on_done, .ctx = l};
	l->callbacks.data = options->verify ? on_data : NULL;
	prng_seed(&l->prng, options->seed);
	l->clients = calloc(options->connections, sizeof(*l->clients));
	if (l->clients == NULL) {
		goto out;
	}
	r = open_clients(l);
	if (r == 0) {
		r = choose_size(l);
	}
	if (r == 0) {
		r = make_payload(l);
	}
	if (r == 0 && options->verify) {
		r = fill(l);
	}
	if (r == 0) {
		r = measure(l);
	}
out:
	for (unsigned i = 0; i < l->nr_clients; i++) {
		client_close(&l->clients[i]);
	}
	verify_fini(&l->verify);
	free(l->payload);
	free(l->clients);
	free(l);
	return r;
}
