/*
 * A bare NBD server for measuring and for trying real clients: the NBD export over a target in
 * memory, without the daemon.
 *
 *   nbdserve ADDRESS SIZE mem|null [REACTORS [BLOCK_SIZE [POLL_US]]]
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <poll.h>

#include "base/units.h"
#include "export/nbd/nbd.h"
#include "memtarget.h"

struct server {
	struct reactor_group *group;
	struct nbd_listener *listener;
	struct nbd_export *export;
	struct memtarget *target;
	struct reactor_watch signals;
};

static void on_closed(void *ctx)
{
	struct server *s = ctx;

	reactor_stop(s->group->control);
}

static void on_removed(void *ctx)
{
	struct server *s = ctx;

	nbd_listener_free(s->listener, on_closed, s);
}

static void on_watch_stopped(struct reactor_watch *w)
{
	struct server *s = container_of(w, struct server, signals);

	nbd_export_remove(s->export, on_removed, s);
}

static void on_signal(struct reactor_watch *w, uint32_t revents)
{
	reactor_watch_stop(w, on_watch_stopped);
}

static void on_connected(void *ctx, struct nbd_export *e, const char *peer)
{
	printf("connected: %s\n", peer);
}

static void on_disconnected(void *ctx, struct nbd_export *e, const char *peer, const char *why)
{
	struct nbd_export_stats stats;

	nbd_export_stats(e, &stats);
	printf("disconnected: %s: %s; %llu requests, %llu errors, longest %llu us\n", peer, why,
	    (unsigned long long)stats.requests, (unsigned long long)stats.errors,
	    (unsigned long long)stats.longest_us);
}

static int serve(struct server *s, char **argv, uint64_t size, uint32_t block_size)
{
	struct nbd_events events = {on_connected, on_disconnected, s};
	struct nbd_export_params params = {.name = "", .description = "a test"};
	struct error err = {0};
	char uri[512];

	s->target = memtarget_new(s->group, size, strcmp(argv[3], "mem") == 0);
	if (s->target == NULL ||
	    nbd_listener_new(s->group, argv[1], &events, &s->listener, &err) != 0) {
		fprintf(stderr, "nbdserve: %s\n", err.message);
		return 1;
	}
	s->target->target.limits.block_size = block_size;
	params.target = &s->target->target;
	if (nbd_export_add(s->listener, &params, s, &s->export, &err) != 0) {
		fprintf(stderr, "nbdserve: %s\n", err.message);
		return 1;
	}
	nbd_export_uri(s->export, uri, sizeof(uri));
	printf("%s\n", uri);
	reactor_run(s->group->control);
	return 0;
}

int main(int argc, char **argv)
{
	struct reactor_group_options options = {
	    .nr_data = argc > 4 ? (unsigned)atoi(argv[4]) : 1,
	    .poll_us = argc > 6 ? (unsigned)atoi(argv[6]) : 0,
	};
	uint32_t block_size = argc > 5 ? (uint32_t)atoi(argv[5]) : 512;
	struct server s = {0};
	struct error err = {0};
	uint64_t size;
	sigset_t set;
	int status;

	if (argc < 4 || units_parse_size(argv[2], &size) != 0) {
		fprintf(stderr,
		    "usage: nbdserve ADDRESS SIZE mem|null [REACTORS [BLOCK_SIZE [POLL_US]]]\n");
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	if (reactor_group_new(&options, &s.group, &err) != 0) {
		fprintf(stderr, "nbdserve: %s\n", err.message);
		return 1;
	}
	reactor_watch_init(
	    &s.signals, s.group->control, signalfd(-1, &set, SFD_NONBLOCK), on_signal);
	reactor_watch_set(&s.signals, POLLIN);
	status = serve(&s, argv, size, block_size);
	reactor_group_free(s.group);
	memtarget_free(s.target);
	return status;
}
