#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static void this_case_passes(void **state)
{
	assert_int_equal(1 + 1, 2);
}

static void this_case_never_comes_back(void **state)
{
	abort();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(this_case_passes),
	    cmocka_unit_test(this_case_never_comes_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
