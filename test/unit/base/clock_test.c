/* SPDX-License-Identifier: MIT */
/* clock_test.c -- two clocks, frozen and running, and the time as text. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static void frozen_clocks_stand_still_until_released(void **state)
{
	struct mono mono = { 5 };
	struct wall wall = { 7 };

	clock_set(&mono, &wall);
	assert_int_equal(clock_mono().ns, 5);
	assert_int_equal(clock_wall().ns, 7);
	clock_set(NULL, &wall);
	assert_int_equal(clock_wall().ns, 7);
	assert_true(clock_mono().ns > 5);
	clock_set(NULL, NULL);
	assert_true(clock_wall().ns > 1700000000 * INT64_C(1000000000));
}

static void the_monotonic_clock_does_not_go_back(void **state)
{
	struct mono before = clock_mono();

	for (int i = 0; i < 10000; i++) {
		struct mono now = clock_mono();

		assert_true(now.ns >= before.ns);
		before = now;
	}
}

static void assert_iso(int64_t ns, const char *expected)
{
	char text[CLOCK_ISO_SIZE];

	clock_iso((struct wall){ ns }, text);
	assert_string_equal(text, expected);
}

static void times_are_written_as_rfc_3339(void **state)
{
	assert_iso(0, "1970-01-01T00:00:00.000000Z");
	assert_iso(INT64_C(1785000000123456789), "2026-07-25T17:20:00.123456Z");
	assert_iso(INT64_C(951782400000000000), "2000-02-29T00:00:00.000000Z");
	assert_iso(-1, "1969-12-31T23:59:59.999999Z");
	assert_iso(INT64_MAX, "2262-04-11T23:47:16.854775Z");
	assert_iso(INT64_MIN, "1677-09-21T00:12:43.145224Z");
}

static void every_day_agrees_with_the_c_library(void **state)
{
	char expected[64];

	for (time_t t = 0; t < INT64_C(7000000000); t += 86399) {
		struct tm tm;

		gmtime_r(&t, &tm);
		strftime(expected, sizeof(expected), "%Y-%m-%dT%H:%M:%S.000000Z", &tm);
		assert_iso(t * INT64_C(1000000000), expected);
	}
}

static void time_left_is_rounded_up_and_bounded(void **state)
{
	struct mono now = { 1000 };

	assert_int_equal(mono_left_ms(now, now), 0);
	assert_int_equal(mono_left_ms(now, (struct mono){ 999 }), 0);
	assert_int_equal(mono_left_ms(now, (struct mono){ 1001 }), 1);
	assert_int_equal(mono_left_ms(now, mono_after_ms(now, 20)), 20);
	assert_int_equal(mono_left_ms(now, MONO_NEVER), 86400000);
	assert_int_equal(mono_left_ms((struct mono){ -1 }, MONO_NEVER), 86400000);
	assert_true(mono_after_ms(MONO_NEVER, 20).ns == INT64_MAX);
	assert_int_equal(mono_earlier(now, MONO_NEVER).ns, 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frozen_clocks_stand_still_until_released),
		cmocka_unit_test(the_monotonic_clock_does_not_go_back),
		cmocka_unit_test(times_are_written_as_rfc_3339),
		cmocka_unit_test(every_day_agrees_with_the_c_library),
		cmocka_unit_test(time_left_is_rounded_up_and_bounded),
	};

	return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}
