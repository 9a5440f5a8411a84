#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static void assert_becomes(const char *from, const char *to)
{
	char text[64];

	snprintf(text, sizeof(text), "%s", from);
	text_make_utf8(text);
	assert_string_equal(text, to);
}

static void characters_stay(void **state)
{
	assert_becomes("", "");
	assert_becomes("plain", "plain");
	assert_becomes(
	    "\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80", "\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80");
}

static void bytes_that_are_no_characters_become_question_marks(void **state)
{
	assert_becomes("\xff", "?");
	assert_becomes("a\x80z", "a?z");
	assert_becomes("cut \xe2\x82", "cut ??");
	assert_becomes("\xc3(", "?(");
	assert_becomes("\xc0\xaf", "??");	    /* too long a form */
	assert_becomes("\xed\xa0\x80", "???");	    /* half a pair */
	assert_becomes("\xf4\x90\x80\x80", "????"); /* beyond the last */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(characters_stay),
	    cmocka_unit_test(bytes_that_are_no_characters_become_question_marks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
