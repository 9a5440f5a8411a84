#include "io/io.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

static const struct {
	const char *name;
	enum io_payload payload;
	bool changes;
	bool ranged;
} ops[IO_OP_COUNT] = {
#define X(name, text, payload, changes, ranged) [IO_##name] = {text, payload, changes, ranged},
    IO_OPS(X)
#undef X
};

const char *io_op_name(enum io_op op)
{
	return ops[op].name;
}

enum io_payload io_op_payload(enum io_op op)
{
	return ops[op].payload;
}

bool io_op_changes(enum io_op op)
{
	return ops[op].changes;
}

bool io_op_ranged(enum io_op op)
{
	return ops[op].ranged;
}

uint64_t io_doubt_name(void)
{
	static _Atomic uint64_t last;

	return atomic_fetch_add(&last, 1) + 1;
}

bool io_status_is_transport(int status)
{
	switch (-status) {
	case ENOTCONN:
	case ECONNRESET:
	case ECONNABORTED:
	case ECONNREFUSED:
	case EPIPE:
	case ETIMEDOUT:
	case EHOSTUNREACH:
	case ENETUNREACH:
	case ESHUTDOWN:
		return true;
	default: /* errno is open-ended: whatever is not listed is about the medium or the request
		  */
		return false;
	}
}

unsigned io_iov_slice(const struct iovec *iov, unsigned iovcnt, uint64_t skip, uint64_t length,
    struct iovec *out, unsigned max)
{
	unsigned n = 0;

	for (unsigned i = 0; i < iovcnt && length > 0 && n < max; i++) {
		uint64_t len = iov[i].iov_len;

		if (skip >= len) {
			skip -= len;
			continue;
		}
		len = MIN(len - skip, length);
		out[n].iov_base = (char *)iov[i].iov_base + skip;
		out[n].iov_len = len;
		n++;
		length -= len;
		skip = 0;
	}
	return n;
}

uint64_t io_iov_length(const struct iovec *iov, unsigned iovcnt)
{
	uint64_t length = 0;

	for (unsigned i = 0; i < iovcnt; i++) {
		length += iov[i].iov_len;
	}
	return length;
}

void io_iov_to_buffer(const struct iovec *iov, unsigned iovcnt, void *buffer)
{
	char *p = buffer;

	for (unsigned i = 0; i < iovcnt; i++) {
		memcpy(p, iov[i].iov_base, iov[i].iov_len);
		p += iov[i].iov_len;
	}
}

void io_iov_from_buffer(const struct iovec *iov, unsigned iovcnt, const void *buffer)
{
	const char *p = buffer;

	for (unsigned i = 0; i < iovcnt; i++) {
		memcpy(iov[i].iov_base, p, iov[i].iov_len);
		p += iov[i].iov_len;
	}
}

void io_iov_zero(const struct iovec *iov, unsigned iovcnt)
{
	for (unsigned i = 0; i < iovcnt; i++) {
		memset(iov[i].iov_base, 0, iov[i].iov_len);
	}
}
