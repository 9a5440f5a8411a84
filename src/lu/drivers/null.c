/*
 * A target that completes every request at once and touches no data (a read leaves the buffer as it
 * was): for measuring everything above it.
 */
#include "base/units.h"
#include "lu/drivers/address.h"
#include "lu/session.h"

#include <errno.h>
#include <stdio.h>

static const struct address_member members[] = {
    {"size", JSON_INTEGER, true, "1073741824"},
};

static int null_check(const json_t *address, struct error *err)
{
	int r = address_check(address, members, ARRAY_SIZE(members), err);

	return r < 0 ? r : address_check_size(address, "size", err);
}

static void null_describe(const json_t *address, char *buf, size_t len)
{
	char size[32];

	snprintf(buf, len, "%s of nothing",
	    units_format_size(address_integer(address, "size"), size, sizeof(size)));
}

static void null_link_open(struct session_link *l)
{
	link_opened(l, NULL);
}

static void null_link_submit(struct session_link *l, struct io *io)
{
	if (io->op == IO_BLOCK_STATUS) {
		link_complete(l, io, -EOPNOTSUPP);
		return;
	}
	link_complete(l, io, 0);
}

static void null_link_close(struct session_link *l)
{
	link_closed(l);
	link_fenced(l);
}

static void null_link_abandon(struct session_link *l)
{
	/* It was fenced when it closed. */
}

static void null_session_free(struct session *s)
{
}

static const struct link_ops null_link_ops = {
    .kind = "null",
    .session_size = sizeof(struct session),
    .link_size = sizeof(struct session_link),
    .open = null_link_open,
    .submit = null_link_submit,
    .close = null_link_close,
    .abandon = null_link_abandon,
    .free = null_session_free,
};

static const struct io_target_ops null_target_ops = {"null"};

static int null_open(
    const struct lu_session_params *params, struct lu_session **ret_session, struct error *err)
{
	struct session *s;
	int r = session_new(params, &lu_driver_null, &null_link_ops, &s, err);

	if (r < 0) {
		return r;
	}
	s->lu.target.ops = &null_target_ops;
	s->lu.target.size = address_integer(params->address, "size");
	s->lu.target.limits = (struct io_limits){
	    .block_size = 512,
	    .preferred_size = 4096,
	    .max_transfer = 32u << 20,
	    .max_iov = 1024,
	    .memory_alignment = 1,
	    .discard_granularity = 512,
	    .write_zeroes = true,
	    .fua = true,
	    .coherent = true,
	};
	session_start(s, params->connect_timeout_ns);
	*ret_session = &s->lu;
	return 0;
}

const struct lu_driver lu_driver_null = {
    .kind = "null",
    .flags = LU_DRIVER_LOCAL | LU_DRIVER_VOLATILE,
    .check = null_check,
    .describe = null_describe,
    .open = null_open,
    .close = session_close,
    .abandon = session_abandon,
};
