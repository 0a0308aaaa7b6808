/* SPDX-License-Identifier: MIT */
/* slice_test.c -- borrowed bytes: comparing, trimming, cutting, reading numbers. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/slice.h"

#define assert_slice(s, text) assert_true(slice_equal(s, SLICE(text)))

static void comparing_looks_at_every_byte(void **state)
{
	assert_true(slice_equal(SLICE("a\0b"), SLICE("a\0b")));
	assert_false(slice_equal(SLICE("a\0b"), SLICE("a\0c")));
	assert_false(slice_equal(SLICE("a"), SLICE("ab")));
	assert_true(slice_equal(slice_text(NULL), SLICE("")));
	assert_true(slice_starts_with(SLICE("traceparent"), SLICE("trace")));
	assert_true(slice_starts_with(SLICE("x"), SLICE("")));
	assert_false(slice_starts_with(SLICE("tr"), SLICE("trace")));
	assert_true(slice_ends_with(SLICE("a_total"), SLICE("_total")));
	assert_true(slice_ends_with(SLICE("x"), SLICE("")));
	assert_false(slice_ends_with(SLICE("total"), SLICE("_total")));
}

static void case_is_ignored_for_ascii_letters_only(void **state)
{
	assert_true(slice_equal_nocase(SLICE("Content-TYPE"), SLICE("content-type")));
	assert_false(slice_equal_nocase(SLICE("a["), SLICE("a{")));
	assert_false(slice_equal_nocase(SLICE("\xc3\x84"), SLICE("\xc3\xa4")));
}

static void trimming_takes_blanks_off_both_ends(void **state)
{
	assert_slice(slice_trim(SLICE(" \t a b\t ")), "a b");
	assert_slice(slice_trim(SLICE(" \t")), "");
	assert_slice(slice_trim(SLICE("\na")), "\na");
}

static void cutting_gives_empty_parts_too(void **state)
{
	struct slice rest = SLICE("a,,b,"), part;

	assert_true(slice_cut(&rest, ',', &part));
	assert_slice(part, "a");
	assert_true(slice_cut(&rest, ',', &part));
	assert_slice(part, "");
	assert_true(slice_cut(&rest, ',', &part));
	assert_slice(part, "b");
	assert_true(slice_cut(&rest, ',', &part));
	assert_slice(part, "");
	assert_false(slice_cut(&rest, ',', &part));
	assert_null(rest.at);
	rest = SLICE("");
	assert_true(slice_cut(&rest, ',', &part));
	assert_slice(part, "");
	assert_false(slice_cut(&rest, ',', &part));
}

static void numbers_are_digits_without_overflow(void **state)
{
	unsigned long long value = 7;

	assert_true(slice_to_uint(SLICE("18446744073709551615"), &value));
	assert_true(value == UINT64_MAX);
	assert_true(slice_to_uint(SLICE("007"), &value));
	assert_int_equal(value, 7);
	assert_false(slice_to_uint(SLICE("18446744073709551616"), &value));
	assert_false(slice_to_uint(SLICE(""), &value));
	assert_false(slice_to_uint(SLICE("-1"), &value));
	assert_false(slice_to_uint(SLICE("1 "), &value));
	assert_false(slice_to_uint(SLICE("0x1"), &value));
	assert_int_equal(value, 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(comparing_looks_at_every_byte),
		cmocka_unit_test(case_is_ignored_for_ascii_letters_only),
		cmocka_unit_test(trimming_takes_blanks_off_both_ends),
		cmocka_unit_test(cutting_gives_empty_parts_too),
		cmocka_unit_test(numbers_are_digits_without_overflow),
	};

	return cmocka_run_group_tests_name("slice", tests, NULL, NULL);
}
