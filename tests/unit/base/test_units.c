#include "base/units.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void size_with_suffix_is_binary(void **state)
{
	uint64_t v = 0;

	assert_int_equal(units_parse_size("10G", &v), 0);
	assert_int_equal(v, 10ull << 30);
	assert_int_equal(units_parse_size("7k", &v), 0);
	assert_int_equal(v, 7168);
	assert_int_equal(units_parse_size("512", &v), 0);
	assert_int_equal(v, 512);
}

static void bad_size_is_refused_and_output_untouched(void **state)
{
	static const char *const bad[] = {"", "G", "-1", "1GB", "1 G", "0x10", "1.5G"};
	uint64_t v = 42;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(units_parse_size(bad[i], &v), -EINVAL);
	}
	assert_int_equal(units_parse_size("99999999999T", &v), -ERANGE);
	assert_int_equal(units_parse_size("99999999999999999999999", &v), -ERANGE);
	assert_int_equal(v, 42);
}

static void range_is_offset_plus_length(void **state)
{
	uint64_t offset;
	uint64_t length;

	assert_int_equal(units_parse_range("1M+64K", &offset, &length), 0);
	assert_int_equal(offset, 1 << 20);
	assert_int_equal(length, 64 << 10);
	assert_int_equal(units_parse_range("1M-64K", &offset, &length), -EINVAL);
	assert_int_equal(units_parse_range("1M+", &offset, &length), -EINVAL);
}

static void size_is_printed_in_its_shortest_exact_form(void **state)
{
	char buf[32];

	assert_string_equal(units_format_size(10ull << 30, buf, sizeof(buf)), "10G");
	assert_string_equal(units_format_size(1536ull << 10, buf, sizeof(buf)), "1536K");
	assert_string_equal(units_format_size(513, buf, sizeof(buf)), "513");
	assert_string_equal(units_format_size(0, buf, sizeof(buf)), "0");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(size_with_suffix_is_binary),
	    cmocka_unit_test(bad_size_is_refused_and_output_untouched),
	    cmocka_unit_test(range_is_offset_plus_length),
	    cmocka_unit_test(size_is_printed_in_its_shortest_exact_form),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
