#include "nbd_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "reactor/buffer.h"

#define TURNS_MAX 20000 /* then the test is stuck */

static void on_connected(void *ctx, struct nbd_export *e, const char *peer)
{
	struct nbd_fixture *f = ctx;

	f->connected++;
}

static void on_disconnected(void *ctx, struct nbd_export *e, const char *peer, const char *why)
{
	struct nbd_fixture *f = ctx;

	f->disconnected++;
	snprintf(f->why, sizeof(f->why), "%s", why);
}

static void set_true(void *ctx)
{
	*(bool *)ctx = true;
}

int nbd_fixture_setup(void **state)
{
	struct nbd_fixture *f = calloc(1, sizeof(*f));
	struct reactor_group_options options = {.nr_data = 2, .manual = true};
	struct nbd_events events = {on_connected, on_disconnected, f};
	struct error err = {0};

	strcpy(f->directory, "/tmp/nbd-test-XXXXXX");
	assert_non_null(mkdtemp(f->directory));
	snprintf(f->address, sizeof(f->address), "unix:%s/nbd.sock", f->directory);
	assert_int_equal(reactor_group_new(&options, &f->group, &err), 0);
	f->target = memtarget_new(f->group, FIXTURE_SIZE, true);
	assert_int_equal(nbd_listener_new(f->group, f->address, &events, &f->listener, &err), 0);
	f->export = nbd_fixture_add(f, "", &f->target->target, false);
	*state = f;
	return 0;
}

int nbd_fixture_teardown(void **state)
{
	struct nbd_fixture *f = *state;

	if (f->export != NULL) {
		nbd_fixture_remove(f, f->export);
	}
	nbd_listener_free(f->listener, set_true, &f->closed);
	nbd_fixture_until(f, &f->closed);
	assert_int_equal(f->connected, f->disconnected);
	assert_int_equal(nbd_fixture_buffers_used(f), 0);
	reactor_group_free(f->group);
	memtarget_free(f->target);
	assert_int_equal(rmdir(f->directory), 0); /* the socket's file is gone */
	free(f);
	return 0;
}

struct nbd_export *nbd_fixture_add(
    struct nbd_fixture *f, const char *name, struct io_target *target, bool read_only)
{
	struct nbd_export_params params = {
	    .name = name, .description = "test", .target = target, .read_only = read_only};
	struct nbd_export *e;
	struct error err = {0};

	assert_int_equal(nbd_export_add(f->listener, &params, f, &e, &err), 0);
	return e;
}

void nbd_fixture_begin_removal(struct nbd_fixture *f, struct nbd_export *e)
{
	f->removed = false;
	if (e == f->export) {
		f->export = NULL;
	}
	nbd_export_remove(e, set_true, &f->removed);
}

void nbd_fixture_remove(struct nbd_fixture *f, struct nbd_export *e)
{
	nbd_fixture_begin_removal(f, e);
	nbd_fixture_until(f, &f->removed);
}

void nbd_fixture_settle(struct nbd_fixture *f)
{
	unsigned idle = 0;

	for (unsigned i = 0; i < TURNS_MAX && idle < 4; i++) {
		idle = reactor_group_step(f->group, 0) == 0 ? idle + 1 : 0;
	}
	assert_int_equal(idle, 4);
}

void nbd_fixture_until(struct nbd_fixture *f, const bool *condition)
{
	for (unsigned i = 0; i < TURNS_MAX && !*condition; i++) {
		reactor_group_step(f->group, 1);
	}
	assert_true(*condition);
}

struct probe {
	struct reactor_msg msg;
	uint64_t used;
	bool done;
};

static void on_probe(struct reactor_msg *msg)
{
	struct probe *p = container_of(msg, struct probe, msg);

	p->used = buffer_pool_used(buffer_pool_current());
	p->done = true;
}

uint64_t nbd_fixture_buffers_used(struct nbd_fixture *f)
{
	uint64_t used = 0;

	for (unsigned i = 0; i < f->group->nr_data; i++) {
		struct probe p = {.done = false};

		reactor_send(f->group->data[i], &p.msg, on_probe);
		nbd_fixture_until(f, &p.done);
		used += p.used;
	}
	return used;
}

/* -- clients -- */

int nbd_client_connect(struct nbd_fixture *f)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	strcpy(address.sun_path, f->address + strlen("unix:"));
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

void nbd_client_send(struct nbd_fixture *f, int fd, const void *bytes, size_t length)
{
	const char *p = bytes;

	for (unsigned i = 0; i < TURNS_MAX && length > 0; i++) {
		ssize_t n = send(fd, p, length, MSG_NOSIGNAL);

		assert_true(n > 0 || errno == EAGAIN);
		if (n > 0) {
			p += n;
			length -= (size_t)n;
		}
		reactor_group_step(f->group, 0);
	}
	assert_int_equal(length, 0);
}

bool nbd_client_receive(struct nbd_fixture *f, int fd, void *bytes, size_t length)
{
	char *p = bytes;

	for (unsigned i = 0; i < TURNS_MAX && length > 0; i++) {
		ssize_t n = recv(fd, p, length, 0);

		if (n == 0 || (n < 0 && errno != EAGAIN)) {
			return false;
		}
		if (n > 0) {
			p += n;
			length -= (size_t)n;
		} else {
			reactor_group_step(f->group, 1);
		}
	}
	assert_int_equal(length, 0);
	return true;
}

static void send_option(
    struct nbd_fixture *f, int fd, uint32_t option, const void *data, uint32_t length)
{
	uint8_t header[NBD_OPTION_BYTES] = "IHAVEOPT";

	store_be32(header + 8, option);
	store_be32(header + 12, length);
	nbd_client_send(f, fd, header, sizeof(header));
	nbd_client_send(f, fd, data, length);
}

/* Throws replies away up to the acknowledgement. */
static void receive_ack(struct nbd_fixture *f, int fd)
{
	uint8_t header[NBD_OPTION_REPLY_BYTES];
	uint8_t data[512];
	uint32_t type;

	do {
		assert_true(nbd_client_receive(f, fd, header, sizeof(header)));
		type = load_be32(header + 12);
		assert_true(type < NBD_REP_ERR_UNSUP && load_be32(header + 16) <= sizeof(data));
		assert_true(nbd_client_receive(f, fd, data, load_be32(header + 16)));
	} while (type != NBD_REP_ACK);
}

static void set_allocation(struct nbd_fixture *f, int fd, const char *name)
{
	uint32_t length = (uint32_t)strlen(name);
	uint8_t data[256];

	store_be32(data, length);
	memcpy(data + 4, name, length);
	store_be32(data + 4 + length, 1);
	store_be32(data + 8 + length, (uint32_t)strlen(NBD_CONTEXT_ALLOCATION));
	memcpy(data + 12 + length, NBD_CONTEXT_ALLOCATION, strlen(NBD_CONTEXT_ALLOCATION));
	send_option(f, fd, NBD_OPT_SET_META_CONTEXT, data,
	    12 + length + (uint32_t)strlen(NBD_CONTEXT_ALLOCATION));
	receive_ack(f, fd);
}

int nbd_client_go(struct nbd_fixture *f, const char *name, bool structured, bool allocation)
{
	uint32_t length = (uint32_t)strlen(name);
	int fd = nbd_client_connect(f);
	uint8_t bytes[256];

	assert_true(nbd_client_receive(f, fd, bytes, NBD_GREETING_BYTES));
	store_be32(bytes, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
	nbd_client_send(f, fd, bytes, NBD_CLIENT_FLAGS_BYTES);
	if (structured) {
		send_option(f, fd, NBD_OPT_STRUCTURED_REPLY, NULL, 0);
		receive_ack(f, fd);
	}
	if (allocation) {
		set_allocation(f, fd, name);
	}
	store_be32(bytes, length);
	memcpy(bytes + 4, name, length);
	store_be16(bytes + 4 + length, 0);
	send_option(f, fd, NBD_OPT_GO, bytes, 6 + length);
	receive_ack(f, fd);
	return fd;
}

void nbd_client_request(
    struct nbd_fixture *f, int fd, uint16_t type, uint16_t flags, uint64_t offset, uint32_t length)
{
	struct nbd_message message = {flags, type, offset ^ 0x5a5a, offset, length};
	uint8_t bytes[NBD_REQUEST_BYTES];

	nbd_wire_put_message(bytes, &message);
	nbd_client_send(f, fd, bytes, sizeof(bytes));
}

uint32_t nbd_client_result(struct nbd_fixture *f, int fd)
{
	uint8_t bytes[NBD_CHUNK_BYTES + 6];

	assert_true(nbd_client_receive(f, fd, bytes, NBD_SIMPLE_BYTES));
	if (load_be32(bytes) == NBD_MAGIC_SIMPLE) {
		return load_be32(bytes + 4);
	}
	assert_int_equal(load_be32(bytes), NBD_MAGIC_CHUNK);
	assert_int_equal(load_be16(bytes + 4), NBD_REPLY_FLAG_DONE);
	assert_true(nbd_client_receive(f, fd, bytes + 16, 4));
	if (load_be16(bytes + 6) == NBD_REPLY_NONE) {
		assert_int_equal(load_be32(bytes + 16), 0);
		return 0;
	}
	assert_int_equal(load_be16(bytes + 6), NBD_REPLY_ERROR);
	assert_int_equal(load_be32(bytes + 16), 6);
	assert_true(nbd_client_receive(f, fd, bytes + 20, 6));
	return load_be32(bytes + 20);
}

uint32_t nbd_client_write(
    struct nbd_fixture *f, int fd, uint64_t offset, const void *bytes, uint32_t length)
{
	nbd_client_request(f, fd, NBD_CMD_WRITE, 0, offset, length);
	nbd_client_send(f, fd, bytes, length);
	return nbd_client_result(f, fd);
}

uint32_t nbd_client_read(
    struct nbd_fixture *f, int fd, uint64_t offset, void *bytes, uint32_t length)
{
	uint32_t error;

	nbd_client_request(f, fd, NBD_CMD_READ, 0, offset, length);
	error = nbd_client_result(f, fd);
	if (error == 0) {
		assert_true(nbd_client_receive(f, fd, bytes, length));
	}
	return error;
}
