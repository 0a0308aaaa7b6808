/* SPDX-License-Identifier: MIT */
/* fault_test.c -- one vocabulary of failure. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/fault.h"

#include <string.h>

static void every_kind_has_a_name_a_title_and_an_error_status(void **state)
{
	const char *before = "";

	for (int kind = FAULT_none + 1; kind < FAULT_kinds; kind++) {
		struct fault why = { .kind = (enum fault_kind)kind };
		const char *name = fault_name(why.kind);

		assert_true(strcmp(before, name) < 0 || strcmp(name, "uncertain") == 0);
		assert_int_equal(fault_kind_of(slice_text(name)), kind);
		assert_true(strlen(fault_title(why.kind)) > 0);
		assert_true(
			slice_ends_with(slice_text(fault_meaning(why.kind)), SLICE(".")));
		assert_in_range(fault_status(&why), 400, 599);
		before = name;
	}
	assert_int_equal(fault_kind_of(SLICE("none")), FAULT_none);
	assert_int_equal(fault_kind_of(SLICE("")), FAULT_none);
	assert_string_equal(fault_name(FAULT_none), "none");
}

static void setting_a_fault_returns_false_and_may_have_no_place(void **state)
{
	struct fault why;

	assert_false(fault_set(NULL, FAULT_timeout, "%d", 1));
	assert_false(fault_set(&why, FAULT_timeout, "no answer in %d ms", 20));
	assert_int_equal(why.kind, FAULT_timeout);
	assert_string_equal(why.detail, "no answer in 20 ms");
	assert_int_equal(fault_status(&why), 504);
}

static void a_status_of_its_own_wins(void **state)
{
	struct fault why;

	assert_false(fault_set_status(&why, FAULT_bad_input, 413, "too large"));
	assert_int_equal(fault_status(&why), 413);
	fault_set(&why, FAULT_bad_input, "bad");
	assert_int_equal(fault_status(&why), 422);
}

static void a_long_detail_is_cut(void **state)
{
	struct fault why;

	fault_set(&why, FAULT_internal, "%0500d", 1);
	assert_int_equal(strlen(why.detail), sizeof(why.detail) - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind_has_a_name_a_title_and_an_error_status),
		cmocka_unit_test(setting_a_fault_returns_false_and_may_have_no_place),
		cmocka_unit_test(a_status_of_its_own_wins),
		cmocka_unit_test(a_long_detail_is_cut),
	};

	return cmocka_run_group_tests_name("fault", tests, NULL, NULL);
}
