/*
 * Memory of the daemon as an LU: sparse, shared by all reactors, gone with the session. Every
 * request completes inside the call.
 */
#include "base/units.h"
#include "lu/drivers/address.h"
#include "lu/session.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

struct mem_session {
	struct session session; /* first */
	unsigned char *memory;
	uint64_t size;
};

#define MEM_PAGE 4096u

static const struct address_member members[] = {
    {"size", JSON_INTEGER, true, "1073741824"},
};

static int mem_check(const json_t *address, struct error *err)
{
	int r = address_check(address, members, ARRAY_SIZE(members), err);

	return r < 0 ? r : address_check_size(address, "size", err);
}

static void mem_describe(const json_t *address, char *buf, size_t len)
{
	char size[32];

	snprintf(buf, len, "%s of memory",
	    units_format_size(address_integer(address, "size"), size, sizeof(size)));
}

static void mem_link_open(struct session_link *l)
{
	link_opened(l, NULL);
}

/* Gives whole pages back to the system, where they read as zeros from then on; clears the rest. */
static int zero_range(struct mem_session *m, uint64_t offset, uint64_t length)
{
	uint64_t end = offset + length;
	uint64_t first = ALIGN_UP(offset, MEM_PAGE);
	uint64_t last = ALIGN_DOWN(end, MEM_PAGE);

	if (first >= last) {
		memset(m->memory + offset, 0, length);
		return 0;
	}
	memset(m->memory + offset, 0, first - offset);
	memset(m->memory + last, 0, end - last);
	return madvise(m->memory + first, last - first, MADV_DONTNEED) < 0 ? -errno : 0;
}

static int execute(struct mem_session *m, struct io *io)
{
	unsigned char *at = m->memory + io->offset;

	switch (io->op) {
	case IO_READ:
		io_iov_from_buffer(io->iov, io->iovcnt, at);
		return 0;
	case IO_WRITE:
		io_iov_to_buffer(io->iov, io->iovcnt, at);
		return 0;
	case IO_WRITE_ZEROES:
		if (io->flags & IO_NO_HOLE) {
			memset(at, 0, io->length);
			return 0;
		}
		return zero_range(m, io->offset, io->length);
	case IO_DISCARD:
		return zero_range(m, io->offset, io->length);
	case IO_FLUSH:
		return 0;
	case IO_BLOCK_STATUS:
	case IO_OP_COUNT:
		break;
	}
	return -EOPNOTSUPP;
}

static void mem_link_submit(struct session_link *l, struct io *io)
{
	link_complete(l, io, execute((struct mem_session *)l->session, io));
}

static void mem_link_close(struct session_link *l)
{
	link_closed(l);
	link_fenced(l);
}

static void mem_link_abandon(struct session_link *l)
{
	/* It was fenced when it closed. */
}

static void mem_session_free(struct session *s)
{
	struct mem_session *m = (struct mem_session *)s;

	if (m->memory != NULL) {
		munmap(m->memory, m->size);
	}
}

static const struct link_ops mem_link_ops = {
    .kind = "mem",
    .session_size = sizeof(struct mem_session),
    .link_size = sizeof(struct session_link),
    .open = mem_link_open,
    .submit = mem_link_submit,
    .close = mem_link_close,
    .abandon = mem_link_abandon,
    .free = mem_session_free,
};

static const struct io_target_ops mem_target_ops = {"mem"};

static int mem_open(
    const struct lu_session_params *params, struct lu_session **ret_session, struct error *err)
{
	struct mem_session *m;
	struct session *s;
	void *memory;
	int r = session_new(params, &lu_driver_mem, &mem_link_ops, &s, err);

	if (r < 0) {
		return r;
	}
	m = (struct mem_session *)s;
	m->size = address_integer(params->address, "size");
	memory = mmap(NULL, m->size, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED) {
		r = error_set(err, -errno, "no room for %llu bytes", (unsigned long long)m->size);
		error_hint(err, "choose a smaller size");
		session_discard(s);
		return r;
	}
	m->memory = memory;
	s->lu.target.ops = &mem_target_ops;
	s->lu.target.size = m->size;
	s->lu.target.limits = (struct io_limits){
	    .block_size = 512,
	    .preferred_size = MEM_PAGE,
	    .max_transfer = 32u << 20,
	    .max_iov = 1024,
	    .memory_alignment = 1,
	    .discard_granularity = MEM_PAGE,
	    .write_zeroes = true,
	    .fua = true,
	    .coherent = true,
	};
	session_start(s, params->connect_timeout_ns);
	*ret_session = &s->lu;
	return 0;
}

const struct lu_driver lu_driver_mem = {
    .kind = "mem",
    .flags = LU_DRIVER_LOCAL | LU_DRIVER_VOLATILE,
    .check = mem_check,
    .describe = mem_describe,
    .open = mem_open,
    .close = session_close,
    .abandon = session_abandon,
};
