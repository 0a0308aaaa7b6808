/* SPDX-License-Identifier: MIT */
/* number_test.c -- numbers read back as what they were. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/number.h"
#include "base/random.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void assert_double(double value, const char *expected)
{
	char text[NUMBER_SIZE];

	assert_int_equal(number_double(value, text), strlen(expected));
	assert_string_equal(text, expected);
}

static void the_shortest_form_is_written(void **state)
{
	assert_double(0, "0");
	assert_double(-0.0, "-0");
	assert_double(0.005, "0.005");
	assert_double(0.1 + 0.2, "0.30000000000000004");
	assert_double(1e6, "1000000");
	assert_double(9007199254740992.0, "9007199254740992");
	assert_double(1e20, "1e+20");
	assert_double(-1.5e-9, "-1.5e-09");
	assert_double(1.7976931348623157e308, "1.7976931348623157e+308");
	assert_double(5e-324, "4.94065645841247e-324");
}

static void any_double_reads_back_the_same(void **state)
{
	struct random random;
	char text[NUMBER_SIZE];

	random_init(&random, 11);
	for (int i = 0; i < 200000; i++) {
		uint64_t bits = random_next(&random);
		double value;
		size_t length;

		memcpy(&value, &bits, sizeof(value));
		if (!isfinite(value))
			continue;
		length = number_double(value, text);
		assert_int_equal(length, strlen(text));
		assert_true(strtod(text, NULL) == value);
	}
}

static void durations_are_decimal_fractions(void **state)
{
	struct random random;
	char text[NUMBER_SIZE];

	assert_double(0.000052, "0.000052");
	assert_double(-0.25, "-0.25");
	assert_double(-3.75, "-3.75");
	assert_double(12.000000001, "12.000000001");
	random_init(&random, 12);
	for (int i = 0; i < 200000; i++) {
		double value = (double)random_below(&random, 1ull << (i % 51)) / 1e9;

		number_double(value, text);
		assert_true(strtod(text, NULL) == value);
		if (value >= 1e-7 && value < 4e6)
			assert_null(strchr(text, 'e'));
	}
}

static void integers_are_whole(void **state)
{
	char text[NUMBER_SIZE];

	assert_int_equal(number_integer(0, text), 1);
	assert_string_equal(text, "0");
	number_integer(-10, text);
	assert_string_equal(text, "-10");
	assert_int_equal(number_integer(INT64_MIN, text), 20);
	assert_string_equal(text, "-9223372036854775808");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_shortest_form_is_written),
		cmocka_unit_test(any_double_reads_back_the_same),
		cmocka_unit_test(durations_are_decimal_fractions),
		cmocka_unit_test(integers_are_whole),
	};

	return cmocka_run_group_tests_name("number", tests, NULL, NULL);
}
