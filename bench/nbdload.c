/*
 * nbdload: loads an NBD server and tells how it did. Made to need much less processor time for a
 * request than any server does, and to say how much it needed.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/units.h"
#include "load.h"
#include "usage.h"

static const char help[] =
    "usage: nbdload --connect unix:PATH|tcp:HOST:PORT [--export NAME] [OPTION...]\n"
    "\n"
    "  --op read|write|randread|randwrite|randrw   what to do (randread)\n"
    "  --block SIZE        bytes of a request (4K)\n"
    "  --depth N           requests in flight on each connection (1)\n"
    "  --connections N     (1)\n"
    "  --size SIZE         use only so much of the export\n"
    "  --seconds S         how long it is measured (2)\n"
    "  --warmup S          how long it runs before (0.3)\n"
    "  --verify            fill the range first, check everything that is read\n"
    "  --structured        ask for structured replies\n"
    "  --cpu N             run on this processor\n"
    "  --server PID        report this process's processor time\n"
    "  --seed N            of the random choice (1)\n"
    "  --reconnect N       instead: connect, read one block and disconnect, N times\n"
    "  --hold              instead: connect, read at full depth once, say \"ready\", and stay\n"
    "                      until standard input ends\n"
    "  --help\n"
    "\n"
    "The result is one line of JSON.\n";

struct arguments {
	struct load_options load;
	long cpu;
	unsigned long reconnects;
	bool hold;
};

enum option_id {
	OPTION_CONNECT = 1,
	OPTION_EXPORT,
	OPTION_OP,
	OPTION_BLOCK,
	OPTION_DEPTH,
	OPTION_CONNECTIONS,
	OPTION_SIZE,
	OPTION_SECONDS,
	OPTION_WARMUP,
	OPTION_VERIFY,
	OPTION_STRUCTURED,
	OPTION_CPU,
	OPTION_SERVER,
	OPTION_SEED,
	OPTION_RECONNECT,
	OPTION_HOLD,
	OPTION_HELP,
};

static const struct option long_options[] = {
    {"connect", required_argument, NULL, OPTION_CONNECT},
    {"export", required_argument, NULL, OPTION_EXPORT},
    {"op", required_argument, NULL, OPTION_OP},
    {"block", required_argument, NULL, OPTION_BLOCK},
    {"depth", required_argument, NULL, OPTION_DEPTH},
    {"connections", required_argument, NULL, OPTION_CONNECTIONS},
    {"size", required_argument, NULL, OPTION_SIZE},
    {"seconds", required_argument, NULL, OPTION_SECONDS},
    {"warmup", required_argument, NULL, OPTION_WARMUP},
    {"verify", no_argument, NULL, OPTION_VERIFY},
    {"structured", no_argument, NULL, OPTION_STRUCTURED},
    {"cpu", required_argument, NULL, OPTION_CPU},
    {"server", required_argument, NULL, OPTION_SERVER},
    {"seed", required_argument, NULL, OPTION_SEED},
    {"reconnect", required_argument, NULL, OPTION_RECONNECT},
    {"hold", no_argument, NULL, OPTION_HOLD},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

_Noreturn static void usage_error(const char *what)
{
	fprintf(stderr, "nbdload: %s; see nbdload --help\n", what);
	exit(2);
}

static uint64_t parse_number(const char *text, uint64_t least, uint64_t most)
{
	char *end;
	unsigned long long n;

	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno != 0 || *end != '\0' || end == text || n < least || n > most) {
		usage_error("a number is out of its range");
	}
	return n;
}

static double parse_seconds(const char *text)
{
	char *end;
	double s = strtod(text, &end);

	if (*end != '\0' || end == text || !(s >= 0 && s < 1e6)) {
		usage_error("not a time in seconds");
	}
	return s;
}

static uint64_t parse_size(const char *text)
{
	uint64_t size;

	if (units_parse_size(text, &size) < 0) {
		usage_error("not a size");
	}
	return size;
}

static void parse_op(const char *text, struct load_options *load)
{
	static const struct {
		const char *name;
		unsigned read_percent;
		bool sequential;
	} ops[] = {
	    {"read", 100, true},
	    {"write", 0, true},
	    {"randread", 100, false},
	    {"randwrite", 0, false},
	    {"randrw", 50, false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(ops); i++) {
		if (strcmp(text, ops[i].name) == 0) {
			load->read_percent = ops[i].read_percent;
			load->sequential = ops[i].sequential;
			return;
		}
	}
	usage_error("unknown --op");
}

static void parse_option(struct arguments *a, enum option_id id, const char *value)
{
	switch (id) {
	case OPTION_CONNECT:
		a->load.client.address = value;
		return;
	case OPTION_EXPORT:
		a->load.client.export_name = value;
		return;
	case OPTION_OP:
		parse_op(value, &a->load);
		return;
	case OPTION_BLOCK:
		a->load.block = (uint32_t)MIN(parse_size(value), (uint64_t)UINT32_MAX);
		return;
	case OPTION_DEPTH:
		a->load.client.depth = (unsigned)parse_number(value, 1, CLIENT_MAX_DEPTH);
		return;
	case OPTION_CONNECTIONS:
		a->load.connections = (unsigned)parse_number(value, 1, LOAD_MAX_CONNECTIONS);
		return;
	case OPTION_SIZE:
		a->load.size = parse_size(value);
		return;
	case OPTION_SECONDS:
		a->load.seconds = parse_seconds(value);
		return;
	case OPTION_WARMUP:
		a->load.warmup_s = parse_seconds(value);
		return;
	case OPTION_VERIFY:
		a->load.verify = true;
		return;
	case OPTION_STRUCTURED:
		a->load.client.structured = true;
		return;
	case OPTION_CPU:
		a->cpu = (long)parse_number(value, 0, CPU_SETSIZE - 1);
		return;
	case OPTION_SERVER:
		a->load.server = (pid_t)parse_number(value, 1, INT32_MAX);
		return;
	case OPTION_SEED:
		a->load.seed = parse_number(value, 0, UINT64_MAX);
		return;
	case OPTION_RECONNECT:
		a->reconnects = parse_number(value, 1, UINT32_MAX);
		return;
	case OPTION_HOLD:
		a->hold = true;
		return;
	case OPTION_HELP:
		fputs(help, stdout);
		exit(0);
	}
}

static struct arguments parse_arguments(int argc, char **argv)
{
	struct arguments a = {.cpu = -1};
	int id;

	a.load = (struct load_options){.connections = 1,
	    .read_percent = 100,
	    .block = 4096,
	    .warmup_s = 0.3,
	    .seconds = 2,
	    .seed = 1,
	    .client = {.export_name = "", .depth = 1}};
	while ((id = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		if (id == '?') {
			exit(2);
		}
		parse_option(&a, (enum option_id)id, optarg);
	}
	if (optind < argc || a.load.client.address == NULL) {
		usage_error("--connect is needed, and nothing but options");
	}
	if (a.load.block < 512 || a.load.block > CLIENT_MAX_LENGTH || a.load.block % 8 != 0) {
		usage_error("--block is from 512 to 32M");
	}
	return a;
}

static void pin(long cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0) {
		fprintf(stderr, "nbdload: cannot run on processor %ld: %s\n", cpu, strerror(errno));
		exit(1);
	}
}

/* -- connections rather than requests -- */

static void on_done(void *ctx, struct client *c, struct client_slot *slot)
{
	if (slot->error != 0) {
		c->failure = "a read failed";
	}
}

static const struct client_callbacks callbacks = {.done = on_done};

/* Reads a block with every slot once. */
static int read_once(struct client *c, uint32_t block)
{
	uint64_t now_ns = usage_clock_ns();
	int r;

	for (unsigned i = 0; i < c->depth; i++) {
		client_submit(c, &c->slots[i], CLIENT_READ, 0, block, NULL, now_ns);
	}
	r = client_flush(c);
	while (r == 0 && c->in_flight > 0) {
		r = client_receive(c, true);
	}
	if (r == 0 && c->failure != NULL) {
		r = -EIO;
	}
	if (r < 0) {
		fprintf(stderr, "nbdload: %s\n", c->failure);
	}
	return r;
}

static int run_reconnects(struct arguments *a)
{
	uint64_t start_ns = usage_clock_ns();

	a->load.client.callbacks = &callbacks;
	for (unsigned long i = 0; i < a->reconnects; i++) {
		struct client c;
		int r = client_connect(&c, &a->load.client);

		if (r == 0) {
			r = read_once(&c, a->load.block);
			client_close(&c);
		}
		if (r < 0) {
			return r;
		}
	}
	printf("{\"reconnects\": %lu, \"seconds\": %.4f}\n", a->reconnects,
	    (double)(usage_clock_ns() - start_ns) / 1e9);
	return 0;
}

static int run_hold(struct arguments *a)
{
	struct client *clients = calloc(a->load.connections, sizeof(*clients));
	unsigned nr = 0;
	int r = clients != NULL ? 0 : -ENOMEM;
	char ignored[64];

	a->load.client.callbacks = &callbacks;
	while (r == 0 && nr < a->load.connections) {
		r = client_connect(&clients[nr], &a->load.client);
		if (r == 0) {
			r = read_once(&clients[nr++], a->load.block);
		}
	}
	if (r == 0) {
		puts("ready");
		fflush(stdout);
		while (read(STDIN_FILENO, ignored, sizeof(ignored)) > 0) {
		}
	}
	while (nr > 0) {
		client_close(&clients[--nr]);
	}
	free(clients);
	return r;
}

int main(int argc, char **argv)
{
	struct arguments a = parse_arguments(argc, argv);
	int r;

	if (a.cpu >= 0) {
		pin(a.cpu);
	}
	if (a.reconnects > 0) {
		r = run_reconnects(&a);
	} else if (a.hold) {
		r = run_hold(&a);
	} else {
		r = load_run(&a.load);
	}
	return r < 0 ? 1 : 0;
}
