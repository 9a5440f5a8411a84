#include "export/nbd/wire.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"

static void request_survives_the_wire(void **state)
{
	struct nbd_message in = {
	    NBD_CMD_FLAG_FUA, NBD_CMD_WRITE, 0x1122334455667788, 1ull << 40, 4096};
	struct nbd_message out;
	uint8_t bytes[NBD_REQUEST_BYTES];

	nbd_wire_put_message(bytes, &in);
	assert_int_equal(nbd_wire_read_message(bytes, sizeof(bytes), &out), NBD_REQUEST_BYTES);
	assert_int_equal(out.flags, in.flags);
	assert_int_equal(out.type, in.type);
	assert_int_equal(out.cookie, in.cookie);
	assert_int_equal(out.offset, in.offset);
	assert_int_equal(out.length, in.length);
}

static void part_of_a_request_asks_for_more_and_leaves_the_output(void **state)
{
	struct nbd_message message = {.cookie = 7};
	struct nbd_message out = {.cookie = 42};
	uint8_t bytes[NBD_REQUEST_BYTES];

	nbd_wire_put_message(bytes, &message);
	for (size_t len = 0; len < sizeof(bytes); len++) {
		assert_int_equal(nbd_wire_read_message(bytes, len, &out), 0);
	}
	assert_int_equal(out.cookie, 42);
}

static void garbage_is_not_a_request_from_its_fourth_byte_on(void **state)
{
	struct nbd_message out;

	assert_int_equal(nbd_wire_read_message((const uint8_t *)"GET ", 4, &out), -EPROTO);
	assert_int_equal(nbd_wire_read_message((const uint8_t *)"GET", 3, &out), 0);
}

static void unknown_client_flags_are_refused(void **state)
{
	uint32_t flags = 9;
	uint8_t bytes[4];

	store_be32(bytes, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
	assert_int_equal(nbd_wire_read_client_flags(bytes, 3, &flags), 0);
	assert_int_equal(nbd_wire_read_client_flags(bytes, 4, &flags), 4);
	assert_int_equal(flags, 3);
	store_be32(bytes, 4);
	assert_int_equal(nbd_wire_read_client_flags(bytes, 4, &flags), -EPROTO);
	assert_int_equal(flags, 3);
}

static void option_magic_is_checked_as_early_as_it_can_be(void **state)
{
	struct nbd_option option;

	assert_int_equal(nbd_wire_read_option((const uint8_t *)"IHAVE", 5, &option), 0);
	assert_int_equal(nbd_wire_read_option((const uint8_t *)"IHATE", 5, &option), -EPROTO);
}

static void info_request_must_be_exactly_as_long_as_it_says(void **state)
{
	static const uint8_t data[] = {0, 0, 0, 2, 'a', 'b', 0, 2, 0, 1, 0, 3};
	struct nbd_info_request request;

	assert_int_equal(nbd_wire_read_info(data, sizeof(data), &request), sizeof(data));
	assert_true(nbd_string_equal(request.name, nbd_string_of("ab")));
	assert_true(nbd_wire_info_wants(&request, NBD_INFO_NAME));
	assert_true(nbd_wire_info_wants(&request, NBD_INFO_BLOCK_SIZE));
	assert_false(nbd_wire_info_wants(&request, NBD_INFO_DESCRIPTION));
	for (size_t len = 0; len < sizeof(data); len++) {
		assert_int_equal(nbd_wire_read_info(data, len, &request), -EINVAL);
	}
}

static void string_longer_than_its_option_or_the_protocol_is_refused(void **state)
{
	static uint8_t data[8192];
	struct nbd_info_request request;

	store_be32(data, UINT32_MAX);
	assert_int_equal(nbd_wire_read_info(data, sizeof(data), &request), -EINVAL);
	store_be32(data, NBD_STRING_MAX + 1);
	assert_int_equal(nbd_wire_read_info(data, 4 + NBD_STRING_MAX + 1 + 2, &request), -EINVAL);
	store_be32(data, NBD_STRING_MAX);
	assert_true(nbd_wire_read_info(data, 4 + NBD_STRING_MAX + 2, &request) > 0);
}

static void meta_request_yields_its_queries_in_order(void **state)
{
	static const uint8_t data[] = {
	    0, 0, 0, 1, 'e', 0, 0, 0, 2, 0, 0, 0, 2, 'x', ':', 0, 0, 0, 0};
	struct nbd_meta_request request;
	const uint8_t *cursor;

	assert_int_equal(nbd_wire_read_meta(data, sizeof(data), &request), sizeof(data));
	assert_int_equal(request.count, 2);
	cursor = request.queries;
	assert_true(nbd_string_equal(nbd_wire_next_query(&cursor), nbd_string_of("x:")));
	assert_true(nbd_string_equal(nbd_wire_next_query(&cursor), nbd_string_of("")));
	for (size_t len = 0; len < sizeof(data); len++) {
		assert_int_equal(nbd_wire_read_meta(data, len, &request), -EINVAL);
	}
}

static void errors_are_those_of_the_protocol(void **state)
{
	assert_int_equal(nbd_wire_error(0), 0);
	assert_int_equal(nbd_wire_error(-EROFS), NBD_EPERM);
	assert_int_equal(nbd_wire_error(-EDQUOT), NBD_ENOSPC);
	assert_int_equal(nbd_wire_error(-EFBIG), NBD_ENOSPC);
	assert_int_equal(nbd_wire_error(-EOPNOTSUPP), NBD_ENOTSUP);
	assert_int_equal(nbd_wire_error(-EOVERFLOW), NBD_EOVERFLOW);
	assert_int_equal(nbd_wire_error(-ENODATA), NBD_EIO);
	/* A path that shuts down must not make the client leave. */
	assert_int_equal(nbd_wire_error(-ESHUTDOWN), NBD_EIO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(request_survives_the_wire),
	    cmocka_unit_test(part_of_a_request_asks_for_more_and_leaves_the_output),
	    cmocka_unit_test(garbage_is_not_a_request_from_its_fourth_byte_on),
	    cmocka_unit_test(unknown_client_flags_are_refused),
	    cmocka_unit_test(option_magic_is_checked_as_early_as_it_can_be),
	    cmocka_unit_test(info_request_must_be_exactly_as_long_as_it_says),
	    cmocka_unit_test(string_longer_than_its_option_or_the_protocol_is_refused),
	    cmocka_unit_test(meta_request_yields_its_queries_in_order),
	    cmocka_unit_test(errors_are_those_of_the_protocol),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
