/*
 * A load for NBD exports that verifies itself: random reads, writes, flushes, trims and zeroes with
 * many in flight, every read compared with a model of the disk (model.h). It knows what must be
 * there after its server was killed: everything that was answered OK; of what was not answered, old
 * or new, never a third thing.
 *
 * Lines on stdin: "report" prints the counters as one JSON line and starts a new window for the
 * gaps, "stop" (or end of file) ends the load, reads everything back once more, and prints the last
 * line. Exit status 0 when there was neither an error nor a mismatch.
 */
#include <errno.h>
#include <inttypes.h>
#include <libnbd.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "model.h"
#include "options.h"

#define MAX_COMPLAINTS 8
#define PICK_TRIES 16
#define REDIAL_US 20000

static const char *const kind_names[] = {"reads", "writes", "zeroes", "trims", "flushes"};

struct connection {
	struct nbd_handle *nbd; /* NULL between two dials */
	uint64_t redial_us;
	uint64_t down_since_us; /* 0 = up */
};

enum request_state { REQUEST_FREE, REQUEST_IN_FLIGHT, REQUEST_DONE, REQUEST_LOST };

struct request {
	enum request_state state;
	enum kind kind;
	struct connection *connection;
	uint64_t block; /* in the model */
	uint64_t count; /* blocks */
	uint32_t version;
	uint32_t flags;
	int error; /* errno */
	uint64_t started_us;
	unsigned char *buffer;
};

enum phase { PHASE_SWEEP_FIRST, PHASE_LOAD, PHASE_SWEEP_LAST, PHASE_END };

struct load {
	struct options options;
	struct model model;
	struct connection connections[MAX_CONNECTIONS];
	struct request requests[MAX_DEPTH];
	enum phase phase;
	uint64_t sweep_next;
	uint64_t random;
	uint32_t next_version;
	uint64_t size;
	uint64_t end_us; /* 0 = none */
	unsigned in_flight;
	bool can[KIND_COUNT];
	bool can_fua;
	uint64_t done[KIND_COUNT];
	uint64_t errors;
	uint64_t mismatches;
	uint64_t reconnects;
	uint64_t last_completion_us;
	uint64_t gap_us;     /* in this window */
	uint64_t slowest_us; /* in this window */
	uint64_t all_gap_us;
	uint64_t all_slowest_us;
};

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static uint64_t next_random(struct load *l)
{
	uint64_t z = (l->random += 0x9e3779b97f4a7c15ull);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

static uint64_t random_below(struct load *l, uint64_t bound)
{
	return next_random(l) % bound;
}

static void complain(uint64_t count, const char *what, const char *text)
{
	if (count <= MAX_COMPLAINTS) {
		fprintf(stderr, "nbdverify: %s: %s\n", what, text);
	}
}

static void count_error(struct load *l, const char *what, const char *text)
{
	complain(++l->errors, what, text);
}

/* -- connections -- */

static bool connection_ended(const struct connection *c)
{
	return nbd_aio_is_dead(c->nbd) || nbd_aio_is_closed(c->nbd);
}

static bool connection_usable(const struct connection *c)
{
	return c->nbd != NULL && (nbd_aio_is_ready(c->nbd) || nbd_aio_is_processing(c->nbd));
}

static void connection_dial(struct load *l, struct connection *c)
{
	c->nbd = nbd_create();
	if (c->nbd == NULL) {
		fprintf(stderr, "nbdverify: %s\n", nbd_get_error());
		exit(2);
	}
	/* A failed dial shows as a dead handle. */
	nbd_aio_connect_uri(c->nbd, l->options.uri);
}

/* What was in flight on it is lost; model and counters hear of it in take_completions(). */
static void connection_drop(struct load *l, struct connection *c)
{
	uint64_t now = now_us();

	nbd_close(c->nbd);
	c->nbd = NULL;
	c->redial_us = now + REDIAL_US;
	if (c->down_since_us == 0) {
		c->down_since_us = now;
	}
	for (unsigned i = 0; i < l->options.depth; i++) {
		struct request *r = &l->requests[i];

		if (r->connection == c &&
		    (r->state == REQUEST_IN_FLIGHT || r->state == REQUEST_DONE)) {
			r->state = REQUEST_LOST;
			r->connection = NULL;
		}
	}
}

static void connection_came_up(struct load *l, struct connection *c)
{
	if ((uint64_t)nbd_get_size(c->nbd) != l->size) {
		count_error(l, "after a reconnect", "the export has another size");
	}
	c->down_since_us = 0;
	l->reconnects++;
}

/* False: give up. */
static bool connection_maintain(struct load *l, struct connection *c)
{
	uint64_t now = now_us();

	if (c->nbd == NULL && now >= c->redial_us) {
		connection_dial(l, c);
	} else if (c->nbd != NULL && connection_ended(c)) {
		if (l->options.reconnect_s == 0) {
			count_error(
			    l, "connection lost", nbd_get_error() ?: "closed by the server");
			return false;
		}
		connection_drop(l, c);
	} else if (c->down_since_us != 0 && connection_usable(c)) {
		connection_came_up(l, c);
	}
	if (c->down_since_us != 0 &&
	    now_us() - c->down_since_us > l->options.reconnect_s * 1000000ull) {
		count_error(l, "reconnecting", "no connection within the time allowed");
		return false;
	}
	return true;
}

static struct connection *usable_connection(struct load *l)
{
	unsigned start = (unsigned)random_below(l, l->options.connections);

	for (unsigned i = 0; i < l->options.connections; i++) {
		struct connection *c = &l->connections[(start + i) % l->options.connections];

		if (connection_usable(c)) {
			return c;
		}
	}
	return NULL;
}

/* -- requests -- */

/* Its connection's end may be what completed it: whether it is done or lost is seen later. */
static int request_completed(void *user, int *error)
{
	struct request *r = user;

	r->error = *error;
	r->state = REQUEST_DONE;
	return 1;
}

static int64_t request_issue(struct load *l, struct request *r)
{
	struct nbd_handle *nbd = r->connection->nbd;
	uint64_t offset = (l->model.first + r->block) * l->options.block;
	uint64_t length = r->count * l->options.block;
	nbd_completion_callback done = {.callback = request_completed, .user_data = r};

	switch (r->kind) {
	case KIND_READ:
		return nbd_aio_pread(nbd, r->buffer, length, offset, done, 0);
	case KIND_WRITE:
		return nbd_aio_pwrite(nbd, r->buffer, length, offset, done, r->flags);
	case KIND_ZERO:
		return nbd_aio_zero(nbd, length, offset, done, r->flags);
	case KIND_TRIM:
		return nbd_aio_trim(nbd, length, offset, done, 0);
	case KIND_FLUSH:
		return nbd_aio_flush(nbd, done, 0);
	case KIND_COUNT:
		break;
	}
	abort();
}

/* Sends it on any usable connection; without one it waits as lost. */
static void request_send(struct load *l, struct request *r)
{
	r->connection = usable_connection(l);
	r->state = REQUEST_LOST;
	if (r->connection == NULL) {
		return;
	}
	r->state = REQUEST_IN_FLIGHT;
	r->error = 0;
	if (request_issue(l, r) < 0 && !connection_ended(r->connection)) {
		fprintf(stderr, "nbdverify: cannot send a request: %s\n", nbd_get_error());
		exit(2);
	}
}

static void request_fill(struct load *l, struct request *r)
{
	r->version = 0;
	if (r->kind == KIND_WRITE) {
		r->version = l->next_version++;
		for (uint64_t i = 0; i < r->count; i++) {
			model_fill(
			    &l->model, r->block + i, r->version, r->buffer + i * l->options.block);
		}
	}
}

static void request_start(struct load *l, struct request *r)
{
	if (r->kind == KIND_READ) {
		model_begin_read(&l->model, r->block, r->count);
	} else if (r->kind != KIND_FLUSH) {
		model_begin_change(&l->model, r->block, r->count);
	}
	request_fill(l, r);
	r->started_us = now_us();
	if (l->in_flight++ == 0) {
		l->last_completion_us = r->started_us;
	}
	request_send(l, r);
}

static void request_verify(struct load *l, struct request *r)
{
	char why[256];

	for (uint64_t i = 0; i < r->count; i++) {
		if (!model_matches(&l->model, r->block + i, r->buffer + i * l->options.block, why,
			sizeof(why))) {
			complain(++l->mismatches, "mismatch", why);
		}
	}
}

/* outcome_known false: it may or may not have been done. */
static void request_settle(struct load *l, struct request *r, bool outcome_known)
{
	switch (r->kind) {
	case KIND_READ:
		model_end_read(&l->model, r->block, r->count);
		break;
	case KIND_WRITE:
	case KIND_ZERO:
		if (outcome_known) {
			model_end_change(&l->model, r->block, r->count, r->version);
		} else {
			model_doubt_change(&l->model, r->block, r->count, r->version);
		}
		break;
	case KIND_TRIM:
		model_end_trim(&l->model, r->block, r->count);
		break;
	case KIND_FLUSH:
	case KIND_COUNT:
		break;
	}
	r->state = REQUEST_FREE;
	l->in_flight--;
}

static void count_completion(struct load *l, struct request *r)
{
	uint64_t now = now_us();

	if (now - l->last_completion_us > l->gap_us) {
		l->gap_us = now - l->last_completion_us;
	}
	if (now - r->started_us > l->slowest_us) {
		l->slowest_us = now - r->started_us;
	}
	l->last_completion_us = now;
	l->done[r->kind]++;
}

static void request_failed(struct load *l, struct request *r)
{
	char text[160];

	snprintf(text, sizeof(text), "%s of block %" PRIu64 "+%" PRIu64 ": %s", kind_names[r->kind],
	    r->block, r->count, strerror(r->error));
	count_error(l, "request failed", text);
	request_settle(l, r, false);
}

static void request_done(struct load *l, struct request *r)
{
	count_completion(l, r);
	if (r->error != 0) {
		request_failed(l, r);
		return;
	}
	if (r->kind == KIND_READ) {
		request_verify(l, r);
	}
	request_settle(l, r, true);
}

/* A client that lost its server sends again what was not answered, or forgets it. */
static void request_lost(struct load *l, struct request *r)
{
	bool forgettable = r->kind == KIND_READ || r->kind == KIND_TRIM || r->kind == KIND_FLUSH ||
			   model_may_doubt(&l->model, r->block, r->count);

	if (l->phase == PHASE_LOAD && forgettable && random_below(l, 4) == 0) {
		request_settle(l, r, false);
	} else {
		request_send(l, r);
	}
}

static void take_completions(struct load *l)
{
	bool up = usable_connection(l) != NULL;

	for (unsigned i = 0; i < l->options.depth; i++) {
		struct request *r = &l->requests[i];

		if (r->state == REQUEST_DONE && r->error != 0 && connection_ended(r->connection)) {
			r->state = REQUEST_LOST;
			r->connection = NULL;
		}
		if (r->state == REQUEST_DONE) {
			request_done(l, r);
		} else if (r->state == REQUEST_LOST && up) {
			request_lost(l, r);
		}
	}
}

/* -- what comes next -- */

static enum kind pick_kind(struct load *l)
{
	unsigned total = 0;
	uint64_t choice;

	for (unsigned k = 0; k < KIND_COUNT; k++) {
		total += l->can[k] ? l->options.weights[k] : 0;
	}
	choice = random_below(l, total);
	for (unsigned k = 0; k < KIND_COUNT; k++) {
		unsigned weight = l->can[k] ? l->options.weights[k] : 0;

		if (choice < weight) {
			return (enum kind)k;
		}
		choice -= weight;
	}
	return KIND_READ;
}

/* Blocks that no overlapping request uses now: what overlapping requests in flight leave behind is
 * nobody's promise. */
static bool pick_blocks(struct load *l, struct request *r)
{
	/* Most requests are one block, as databases and file systems send them. */
	r->count = random_below(l, 4) != 0 ? 1 : 1 + random_below(l, l->options.max_blocks);
	for (unsigned i = 0; i < PICK_TRIES; i++) {
		r->block = random_below(l, l->model.count - r->count + 1);
		if (r->kind == KIND_READ ? model_may_read(&l->model, r->block, r->count)
					 : model_may_change(&l->model, r->block, r->count)) {
			return true;
		}
	}
	return false;
}

static bool pick_load(struct load *l, struct request *r)
{
	r->kind = pick_kind(l);
	r->flags = 0;
	if (r->kind == KIND_FLUSH) {
		r->block = 0;
		r->count = 0;
		return true;
	}
	if (l->can_fua && (r->kind == KIND_WRITE || r->kind == KIND_ZERO) &&
	    random_below(l, 16) == 0) {
		r->flags = LIBNBD_CMD_FLAG_FUA;
	}
	return pick_blocks(l, r);
}

static bool pick_sweep(struct load *l, struct request *r)
{
	uint64_t left = l->model.count - l->sweep_next;
	uint64_t chunk = l->options.max_blocks;

	if (left == 0) {
		return false;
	}
	r->kind = KIND_READ;
	r->block = l->sweep_next;
	r->count = left < chunk ? left : chunk;
	r->flags = 0;
	l->sweep_next += r->count;
	return true;
}

static bool phase_over(struct load *l)
{
	if (l->phase == PHASE_LOAD) {
		return l->end_us != 0 && now_us() >= l->end_us;
	}
	return l->sweep_next == l->model.count;
}

static void next_phase(struct load *l)
{
	l->phase++;
	l->sweep_next = 0;
	if (l->phase == PHASE_LOAD && l->options.seconds > 0) {
		l->end_us = now_us() + (uint64_t)(l->options.seconds * 1e6);
	}
}

static void fill_queue(struct load *l)
{
	if (phase_over(l)) {
		if (l->in_flight == 0) {
			next_phase(l);
		}
		return;
	}
	for (unsigned i = 0; i < l->options.depth; i++) {
		struct request *r = &l->requests[i];

		if (r->state != REQUEST_FREE) {
			continue;
		}
		if (usable_connection(l) == NULL ||
		    !(l->phase == PHASE_LOAD ? pick_load(l, r) : pick_sweep(l, r))) {
			return;
		}
		request_start(l, r);
	}
}

/* -- reports and commands -- */

static void print_report(struct load *l, bool final)
{
	uint64_t now = now_us();

	/* A pause that still lasts counts already. */
	if (l->in_flight > 0 && now - l->last_completion_us > l->gap_us) {
		l->gap_us = now - l->last_completion_us;
	}
	l->all_gap_us = l->gap_us > l->all_gap_us ? l->gap_us : l->all_gap_us;
	l->all_slowest_us = l->slowest_us > l->all_slowest_us ? l->slowest_us : l->all_slowest_us;
	printf("{\"final\": %s, \"seed\": %" PRIu64, final ? "true" : "false", l->model.seed);
	for (unsigned k = 0; k < KIND_COUNT; k++) {
		printf(", \"%s\": %" PRIu64, kind_names[k], l->done[k]);
	}
	printf(", \"errors\": %" PRIu64 ", \"mismatches\": %" PRIu64 ", \"reconnects\": %" PRIu64
	       ", \"in_flight\": %u, \"gap_us\": %" PRIu64 ", \"slowest_us\": %" PRIu64
	       ", \"all_gap_us\": %" PRIu64 ", \"all_slowest_us\": %" PRIu64 "}\n",
	    l->errors, l->mismatches, l->reconnects, l->in_flight, l->gap_us, l->slowest_us,
	    l->all_gap_us, l->all_slowest_us);
	fflush(stdout);
	l->gap_us = 0;
	l->slowest_us = 0;
}

static void run_command(struct load *l, const char *line)
{
	if (strncmp(line, "report", 6) == 0) {
		print_report(l, false);
	} else if (strncmp(line, "stop", 4) == 0) {
		l->end_us = 1;
	} else {
		fprintf(stderr, "nbdverify: unknown command: %s\n", line);
	}
}

/* False when stdin has ended. */
static bool read_commands(struct load *l)
{
	char text[256];
	ssize_t n = read(STDIN_FILENO, text, sizeof(text) - 1);

	if (n <= 0) {
		if (l->options.seconds == 0) {
			l->end_us = 1;
		}
		return false;
	}
	text[n] = '\0';
	for (char *rest = text, *line = strsep(&rest, "\n"); line != NULL;
	     line = strsep(&rest, "\n")) {
		if (line[0] != '\0') {
			run_command(l, line);
		}
	}
	return true;
}

/* -- the loop -- */

static short poll_events(struct nbd_handle *nbd)
{
	unsigned direction = nbd_aio_get_direction(nbd);
	short events = 0;

	if (direction & LIBNBD_AIO_DIRECTION_READ) {
		events |= POLLIN;
	}
	if (direction & LIBNBD_AIO_DIRECTION_WRITE) {
		events |= POLLOUT;
	}
	return events;
}

static void notify(struct nbd_handle *nbd, short revents)
{
	unsigned direction = nbd_aio_get_direction(nbd);

	/* Errors show when the connection is marked dead; a half-closed one still has answers. */
	if ((revents & (POLLIN | POLLHUP | POLLERR)) && (direction & LIBNBD_AIO_DIRECTION_READ)) {
		nbd_aio_notify_read(nbd);
	} else if ((revents & (POLLOUT | POLLHUP | POLLERR)) &&
		   (direction & LIBNBD_AIO_DIRECTION_WRITE)) {
		nbd_aio_notify_write(nbd);
	}
}

static void wait_for_work(struct load *l)
{
	static bool listening = true;
	struct pollfd fds[MAX_CONNECTIONS + 1];
	struct connection *owners[MAX_CONNECTIONS + 1];
	nfds_t n = 0;

	fds[n++] = (struct pollfd){.fd = listening ? STDIN_FILENO : -1, .events = POLLIN};
	for (unsigned i = 0; i < l->options.connections; i++) {
		struct connection *c = &l->connections[i];

		if (c->nbd != NULL && nbd_aio_get_fd(c->nbd) >= 0) {
			owners[n] = c;
			fds[n++] = (struct pollfd){
			    .fd = nbd_aio_get_fd(c->nbd), .events = poll_events(c->nbd)};
		}
	}
	/* The time-out serves redialling and the end of the load. */
	if (poll(fds, n, REDIAL_US / 1000) <= 0) {
		return;
	}
	for (nfds_t i = 1; i < n; i++) {
		if (fds[i].revents != 0) {
			notify(owners[i]->nbd, fds[i].revents);
		}
	}
	if (fds[0].revents != 0) {
		listening = read_commands(l);
	}
}

static bool run_load(struct load *l)
{
	while (l->phase != PHASE_END) {
		for (unsigned i = 0; i < l->options.connections; i++) {
			/* Before the handle goes: completions that arrived with its end. */
			take_completions(l);
			if (!connection_maintain(l, &l->connections[i])) {
				return false;
			}
		}
		take_completions(l);
		fill_queue(l);
		wait_for_work(l);
	}
	return true;
}

/* -- start -- */

static void connect_first(struct load *l)
{
	for (unsigned i = 0; i < l->options.connections; i++) {
		struct nbd_handle *nbd = nbd_create();

		if (nbd == NULL || nbd_connect_uri(nbd, l->options.uri) < 0) {
			fprintf(stderr, "nbdverify: %s\n", nbd_get_error());
			exit(2);
		}
		l->connections[i].nbd = nbd;
	}
}

static void learn_export(struct load *l)
{
	struct nbd_handle *nbd = l->connections[0].nbd;
	bool writable = nbd_is_read_only(nbd) == 0;
	uint64_t length;

	l->size = (uint64_t)nbd_get_size(nbd);
	l->can[KIND_READ] = true;
	l->can[KIND_WRITE] = writable;
	l->can[KIND_ZERO] = writable && nbd_can_zero(nbd) > 0;
	l->can[KIND_TRIM] = writable && nbd_can_trim(nbd) > 0;
	l->can[KIND_FLUSH] = nbd_can_flush(nbd) > 0;
	l->can_fua = nbd_can_fua(nbd) > 0;
	length =
	    l->options.range_length ? l->options.range_length : l->size - l->options.range_offset;
	if (l->options.range_offset + length > l->size || length < l->options.block) {
		fprintf(stderr, "nbdverify: the range is not inside the export\n");
		exit(2);
	}
	model_init(&l->model, l->options.seed, l->options.range_offset / l->options.block,
	    length / l->options.block, l->options.block);
}

static void load_state(struct load *l)
{
	int r = l->options.state ? model_load(&l->model, l->options.state) : -ENOENT;

	if (r != 0 && r != -ENOENT) {
		fprintf(stderr, "nbdverify: %s: %s\n", l->options.state, strerror(-r));
		exit(2);
	}
	l->next_version = 1;
	for (uint64_t i = 0; i < l->model.count; i++) {
		const struct model_cell *cell = &l->model.cells[i];
		uint32_t newest = cell->version > cell->other ? cell->version : cell->other;

		l->next_version = newest >= l->next_version ? newest + 1 : l->next_version;
	}
}

static void allocate_requests(struct load *l)
{
	for (unsigned i = 0; i < l->options.depth; i++) {
		l->requests[i].buffer = malloc((size_t)l->options.max_blocks * l->options.block);
		if (l->requests[i].buffer == NULL) {
			perror("nbdverify");
			exit(2);
		}
	}
}

int main(int argc, char **argv)
{
	static struct load load;
	bool finished;

	options_parse(&load.options, argc, argv);
	load.random = load.options.seed;
	connect_first(&load);
	learn_export(&load);
	load_state(&load);
	allocate_requests(&load);
	load.last_completion_us = now_us();
	load.phase = PHASE_SWEEP_FIRST;
	if (!load.options.check_first) {
		next_phase(&load);
	}
	finished = run_load(&load);
	print_report(&load, true);
	if (finished && load.options.state != NULL) {
		model_save(&load.model, load.options.state);
	}
	return finished && load.errors == 0 && load.mismatches == 0 ? 0 : 1;
}
