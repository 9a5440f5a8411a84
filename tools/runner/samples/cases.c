#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void this_case_passes(void **state)
{
	assert_int_equal(1 + 1, 2);
}

static void this_case_fails(void **state)
{
	assert_int_equal(1 + 1, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(this_case_passes),
	    cmocka_unit_test(this_case_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
