#include "daemon/daemon.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "api/api.h"
#include "base/log.h"
#include "ctl/daemon.h"
#include "reactor/group.h"
#include "store/store.h"

struct daemon {
	const struct daemon_config *config;
	struct reactor_group *group;
	struct store *store;
	struct ctl *ctl;
	struct api *api;
	struct reactor_watch signals;
	struct reactor_msg last_turn;
	int signal_fd;
	bool stopping;
	bool loading;
	struct error *err; /* what daemon_run() gives back */
};

/* -- down -- */

static void turned_once_more(struct reactor_msg *msg)
{
	reactor_stop(container_of(msg, struct daemon, last_turn)->group->control);
}

static void signals_stopped(struct reactor_watch *w)
{
	struct daemon *d = container_of(w, struct daemon, signals);

	/* What other threads have sent until now is taken in before the loop ends. */
	reactor_send(d->group->control, &d->last_turn, turned_once_more);
}

static void store_closed(void *ctx)
{
	struct daemon *d = ctx;

	d->store = NULL;
	reactor_watch_stop(&d->signals, signals_stopped);
}

static void ctl_closed(void *ctx)
{
	struct daemon *d = ctx;

	d->ctl = NULL;
	store_close(d->store, store_closed, d);
}

static void stop(struct daemon *d)
{
	if (d->stopping || d->loading) {
		d->stopping = true; /* while loading: as soon as that is done */
		return;
	}
	d->stopping = true;
	sd_notify(0, "STOPPING=1");
	api_stop(d->api);
	d->api = NULL;
	ctl_close(d->ctl, ctl_closed, d);
}

static void signalled(struct reactor_watch *w, uint32_t revents)
{
	struct daemon *d = container_of(w, struct daemon, signals);
	struct signalfd_siginfo info;

	while (read(d->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		log_info("%s: ending", strsignal((int)info.ssi_signo));
		stop(d);
	}
}

/* -- up -- */

static void say_ready(struct daemon *d)
{
	for (size_t i = 0; api_address(d->api, i) != NULL; i++) {
		log_info("listening on %s", api_address(d->api, i));
	}
	sd_notifyf(0, "READY=1\nSTATUS=serving as node %s", d->config->node);
}

static void loaded(void *ctx, const struct error *err)
{
	struct daemon *d = ctx;
	bool stop_asked = d->stopping;

	d->loading = false;
	d->stopping = false;
	if (err != NULL) {
		*d->err = *err;
	} else if (api_start(d->group->control, d->ctl, d->config->listen, d->config->nr_listen,
		       &d->api, d->err) == 0) {
		say_ready(d);
	}
	if (stop_asked || d->err->code != 0) {
		stop(d);
	}
}

static int watch_signals(struct daemon *d, struct error *err)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	/* Before any thread starts, so that all have them blocked. */
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	d->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (d->signal_fd < 0) {
		return error_set(err, -errno, "signalfd: %s", strerror(errno));
	}
	return 0;
}

static int bring_up(struct daemon *d, struct error *err)
{
	struct reactor_group_options group = {
	    .nr_data = d->config->reactors, .poll_us = d->config->poll_us};
	struct ctl_options options = {
	    .node = d->config->node,
	    .io_timeout_ns = d->config->io_timeout_ms * NS_PER_MS,
	    .no_path_timeout_ns = d->config->no_path_timeout_ms * NS_PER_MS,
	};
	int rc = watch_signals(d, err);

	if (rc == 0) {
		rc = reactor_group_new(&group, &d->group, err);
	}
	if (rc == 0) {
		rc = store_sqlite_open(d->group->control, d->config->data_dir, &d->store, err);
	}
	if (rc == 0) {
		rc = ctl_new(d->group, d->store, &options, &d->ctl, err);
	}
	return rc;
}

static void store_closed_early(void *ctx)
{
	struct daemon *d = ctx;

	reactor_stop(d->group->control);
}

int daemon_run(const struct daemon_config *config, struct error *err)
{
	struct daemon d = {.config = config, .err = err, .signal_fd = -1, .loading = true};

	error_clear(err);
	if (bring_up(&d, err) == 0) {
		reactor_watch_init(&d.signals, d.group->control, d.signal_fd, signalled);
		reactor_watch_set(&d.signals, POLLIN);
		ctl_load(d.ctl, loaded, &d);
		reactor_run(d.group->control);
	} else if (d.store != NULL) {
		store_close(d.store, store_closed_early, &d);
		reactor_run(d.group->control);
	}
	reactor_group_free(d.group);
	if (d.signal_fd >= 0) {
		close(d.signal_fd);
	}
	return err->code;
}
