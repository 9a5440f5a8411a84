/*
 * A served export and raw NBD clients, stepped by hand: for tests that say every byte themselves.
 */
#pragma once

#include "base/macros.h"
#include "export/nbd/nbd.h"
#include "export/nbd/wire.h"
#include "memtarget.h"

#define FIXTURE_SIZE (1u << 20)

struct nbd_fixture {
	struct reactor_group *group;
	struct memtarget *target;
	struct nbd_listener *listener;
	struct nbd_export *export; /* called "", NULL once removed */
	char directory[64];
	char address[128];
	unsigned connected;
	unsigned disconnected;
	char why[256]; /* of the last that was disconnected */
	bool removed;
	bool closed;
};

/* cmocka's setup and teardown; the teardown fails if memory of the reactors is still in use. */
int nbd_fixture_setup(void **state);
int nbd_fixture_teardown(void **state);
/* Another export on the same socket. */
struct nbd_export *nbd_fixture_add(
    struct nbd_fixture *f, const char *name, struct io_target *target, bool read_only);
/* f->removed says when it is gone. */
void nbd_fixture_begin_removal(struct nbd_fixture *f, struct nbd_export *e);
/* Removes an export and waits until it is gone. */
void nbd_fixture_remove(struct nbd_fixture *f, struct nbd_export *e);
/* Turns until nothing happens any more. */
void nbd_fixture_settle(struct nbd_fixture *f);
/* Turns until *condition; fails the test when that does not come. */
void nbd_fixture_until(struct nbd_fixture *f, const bool *condition);
/* Payload memory in use. */
uint64_t nbd_fixture_buffers_used(struct nbd_fixture *f);

int nbd_client_connect(struct nbd_fixture *f);
void nbd_client_send(struct nbd_fixture *f, int fd, const void *bytes, size_t length);
/* false when the server hung up before. */
bool nbd_client_receive(struct nbd_fixture *f, int fd, void *bytes, size_t length);
/* Connects and chooses an export. */
int nbd_client_go(struct nbd_fixture *f, const char *name, bool structured, bool allocation);
void nbd_client_request(
    struct nbd_fixture *f, int fd, uint16_t type, uint16_t flags, uint64_t offset, uint32_t length);
/* Receives a simple reply, or a structured one without content; returns the error. */
uint32_t nbd_client_result(struct nbd_fixture *f, int fd);
/* A write or read from beginning to end, with simple replies; returns the error. */
uint32_t nbd_client_write(
    struct nbd_fixture *f, int fd, uint64_t offset, const void *bytes, uint32_t length);
uint32_t nbd_client_read(
    struct nbd_fixture *f, int fd, uint64_t offset, void *bytes, uint32_t length);
