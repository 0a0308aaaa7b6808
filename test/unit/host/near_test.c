/* SPDX-License-Identifier: MIT */
/* near_test.c -- which name somebody meant. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "host/near.h"

static size_t steps(const char *a, const char *b)
{
	size_t there = near_steps(slice_text(a), slice_text(b));

	assert_int_equal(near_steps(slice_text(b), slice_text(a)), there);
	return there;
}

static void every_slip_of_the_finger_is_one_step(void **state)
{
	assert_int_equal(steps("encode", "encode"), 0);
	assert_int_equal(steps("encode", "encod"), 1);
	assert_int_equal(steps("encode", "encoded"), 1);
	assert_int_equal(steps("encode", "encoed"), 1);
	assert_int_equal(steps("encode", "encade"), 1);
	assert_int_equal(steps("encode", "decode"), 2);
	assert_int_equal(steps("", "abc"), 3);
}

static const char *meant(const char *wanted, const char *const *names)
{
	static struct near near;

	near = near_to(slice_text(wanted));
	for (; *names; names++)
		near_offer(&near, slice_text(*names));
	return near.best;
}

static void the_nearest_name_is_meant_and_of_equals_the_first(void **state)
{
	static const char *const names[] = { "decode", "encoder", "encode", "now", NULL };

	assert_string_equal(meant("encoed", names), "encode");
	assert_string_equal(meant("nwo", names), "now");
	assert_string_equal(meant("xecode", names), "decode");
}

static void what_is_not_like_any_name_means_none(void **state)
{
	static const char *const names[] = { "os", "io", "type", "tostring", NULL };

	assert_string_equal(meant("print", names), "");
	assert_string_equal(meant("x", names), "");
	assert_string_equal(meant("", names), "");
	assert_string_equal(meant("a_name_of_more_than_sixty_four_letters_is_not_"
				  "compared_with_any_other",
				  names),
			    "");
}

int main(void)
{
	const struct CMUnitTest claims[] = {
		cmocka_unit_test(every_slip_of_the_finger_is_one_step),
		cmocka_unit_test(the_nearest_name_is_meant_and_of_equals_the_first),
		cmocka_unit_test(what_is_not_like_any_name_means_none),
	};

	return cmocka_run_group_tests(claims, NULL, NULL);
}
