/*
 * Sessions of real drivers on reactors that are stepped by hand, and servers to talk to. A wait
 * that is not over after a generous time fails the test; nothing else depends on the clock.
 *
 * Thread rule: the test's thread, which is every reactor's.
 */
#pragma once

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include <cmocka.h>

#include "lu/driver.h"

#define HARNESS_REACTORS 2

struct harness {
	struct reactor_group *group;
	struct lu_session *session; /* the one opened last */
	bool opened;
	bool lost;
	bool closed;
	bool fenced;
	struct error open_error;
	struct error lost_error;
	char directory[64]; /* a fresh one, removed by harness_free() */
};

struct harness_io {
	struct io io;
	struct iovec iov[64];
	struct reactor_msg msg;
	struct io_channel *channel;
	bool done;
	int status;
};

struct harness *harness_new(void);
void harness_free(struct harness *h);

/* Turns all reactors until *flag. */
void harness_wait(struct harness *h, const bool *flag);
/* Some turns, for what must not happen. */
void harness_turns(struct harness *h, unsigned turns);

/* Starts opening, which must be possible; 0 = no time-out. json: the address. */
void harness_begin(struct harness *h, const char *kind, const char *network_id, const char *bind,
    const char *json, uint64_t timeout_ns);
/* Returns the error of open() or opened(), 0 when it is open. */
int harness_open_as(struct harness *h, const char *kind, const char *network_id, const char *bind,
    const char *json);
int harness_open(struct harness *h, const char *kind, const char *json);
/* Closes and waits for closed() and fenced(). */
void harness_close(struct harness *h);
/* Opens one that must open. */
void harness_must_open(struct harness *h, const char *kind, const char *json);

/* A request over the session's channel of that reactor; iov is hio->iov. */
void harness_submit(struct harness *h, unsigned reactor, struct harness_io *hio);
/* The whole round: returns the status. buffer may be NULL where the operation has none. */
int harness_do(struct harness *h, unsigned reactor, enum io_op op, uint32_t flags, uint64_t offset,
    uint64_t length, void *buffer);
/* Deterministic bytes. */
void harness_fill(void *buffer, size_t len, unsigned seed);
void *harness_alloc(size_t len);

/* A child that ends with the harness's process; argv ends by NULL. */
pid_t harness_spawn(char *const argv[]);
/* SIGKILL and reap; <= 0 is fine. */
void harness_kill(pid_t pid);
/* SIGSTOP, and all its threads have stopped; SIGCONT. */
void harness_freeze(pid_t pid);
void harness_thaw(pid_t pid);
/* Runs a program to its end: its exit status. */
int harness_run(char *const argv[]);
/* Waits until the server listens there. */
void harness_wait_unix(const char *path, pid_t pid);
void harness_wait_tcp(unsigned port, pid_t pid);
unsigned harness_free_port(void);
