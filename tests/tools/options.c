#include "options.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static void usage(void)
{
	fprintf(stderr,
	    "usage: nbdverify [options] URI\n"
	    "  --seed N            of the contents and the choices (default: the time, printed)\n"
	    "  --depth N           requests in flight (32)\n"
	    "  --connections N     to spread them over (1)\n"
	    "  --block N           bytes, the smallest request (4096)\n"
	    "  --max-blocks N      the largest request (32)\n"
	    "  --range OFF+LEN     bytes to use (all; must be zeros at the start)\n"
	    "  --mix R,W,Z,T,F     weights of read, write, zero, trim, flush (40,40,6,4,4)\n"
	    "  --reconnect S       a lost connection is dialled again for so many seconds\n"
	    "  --seconds S         ends the load after that (default: on the line \"stop\")\n"
	    "  --state FILE        the model goes on from there, and is kept there\n"
	    "  --check-first       reads everything back before the load\n");
	exit(2);
}

static void parse_mix(struct options *o, const char *text)
{
	if (sscanf(text, "%u,%u,%u,%u,%u", &o->weights[0], &o->weights[1], &o->weights[2],
		&o->weights[3], &o->weights[4]) != KIND_COUNT ||
	    o->weights[KIND_READ] == 0) {
		usage();
	}
}

static void parse_option(struct options *o, int option, const char *value)
{
	switch (option) {
	case 's':
		o->seed = strtoull(value, NULL, 0);
		break;
	case 'd':
		o->depth = (unsigned)strtoul(value, NULL, 0);
		break;
	case 'c':
		o->connections = (unsigned)strtoul(value, NULL, 0);
		break;
	case 'b':
		o->block = (unsigned)strtoul(value, NULL, 0);
		break;
	case 'm':
		o->max_blocks = (unsigned)strtoul(value, NULL, 0);
		break;
	case 'r':
		if (sscanf(value, "%" SCNu64 "+%" SCNu64, &o->range_offset, &o->range_length) !=
		    2) {
			usage();
		}
		break;
	case 'x':
		parse_mix(o, value);
		break;
	case 'R':
		o->reconnect_s = (unsigned)strtoul(value, NULL, 0);
		break;
	case 'S':
		o->seconds = strtod(value, NULL);
		break;
	case 'f':
		o->state = value;
		break;
	case 'k':
		o->check_first = true;
		break;
	default:
		usage();
	}
}

void options_parse(struct options *o, int argc, char **argv)
{
	static const struct option names[] = {
	    {"seed", required_argument, NULL, 's'},
	    {"depth", required_argument, NULL, 'd'},
	    {"connections", required_argument, NULL, 'c'},
	    {"block", required_argument, NULL, 'b'},
	    {"max-blocks", required_argument, NULL, 'm'},
	    {"range", required_argument, NULL, 'r'},
	    {"mix", required_argument, NULL, 'x'},
	    {"reconnect", required_argument, NULL, 'R'},
	    {"seconds", required_argument, NULL, 'S'},
	    {"state", required_argument, NULL, 'f'},
	    {"check-first", no_argument, NULL, 'k'},
	    {0},
	};
	int option;

	*o = (struct options){.seed = (uint64_t)time(NULL),
	    .depth = 32,
	    .connections = 1,
	    .block = 4096,
	    .max_blocks = 32,
	    .weights = {40, 40, 6, 4, 4}};
	while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
		parse_option(o, option, optarg);
	}
	if (optind != argc - 1 || o->depth < 1 || o->depth > MAX_DEPTH || o->connections < 1 ||
	    o->connections > MAX_CONNECTIONS || o->block < 64 || o->block % 64 != 0 ||
	    o->max_blocks < 1 || o->range_offset % o->block != 0) {
		usage();
	}
	o->uri = argv[optind];
}
