/* SPDX-License-Identifier: MIT */
/* random_test.c -- sequences that a seed repeats. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/random.h"

#include <string.h>

static void a_seed_repeats_its_sequence(void **state)
{
	struct random a, b, other;
	int same = 0;

	random_init(&a, 42);
	random_init(&b, 42);
	random_init(&other, 43);
	for (int i = 0; i < 1000; i++) {
		uint64_t next = random_next(&a);

		assert_true(next == random_next(&b));
		same += next == random_next(&other);
	}
	assert_int_equal(same, 0);
}

static void the_first_numbers_are_those_of_xoshiro256starstar(void **state)
{
	struct random random = { { 1, 2, 3, 4 } };

	/* Computed by hand from the published definition. */
	assert_true(random_next(&random) == 11520);
	assert_true(random_next(&random) == 0);
	assert_true(random_next(&random) == 1509978240);
	assert_true(random_next(&random) == UINT64_C(1215971899390074240));
}

static void below_reaches_every_value_about_equally(void **state)
{
	struct random random;
	int counts[7] = { 0 };

	random_init(&random, 7);
	for (int i = 0; i < 70000; i++)
		counts[random_below(&random, 7)]++;
	for (int i = 0; i < 7; i++)
		assert_in_range(counts[i], 9600, 10400);
	assert_true(random_below(&random, 1) == 0);
}

static void unit_stays_below_one(void **state)
{
	struct random random;
	double sum = 0;

	random_init(&random, 9);
	for (int i = 0; i < 100000; i++) {
		double value = random_unit(&random);

		assert_true(value >= 0 && value < 1);
		sum += value;
	}
	assert_true(sum > 49500 && sum < 50500);
}

static void filling_writes_exactly_what_is_asked(void **state)
{
	struct random random;
	unsigned char bytes[32];

	random_init(&random, 3);
	for (size_t size = 0; size < 24; size++) {
		memset(bytes, 0xAA, sizeof(bytes));
		random_fill(&random, bytes, size);
		assert_int_equal(bytes[size], 0xAA);
	}
	memset(bytes, 0, sizeof(bytes));
	random_secure(bytes, sizeof(bytes));
	assert_memory_not_equal(bytes, bytes + 16, 16);
	random_init_secure(&random);
	assert_true(random_next(&random) != random_next(&random));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_seed_repeats_its_sequence),
		cmocka_unit_test(the_first_numbers_are_those_of_xoshiro256starstar),
		cmocka_unit_test(below_reaches_every_value_about_equally),
		cmocka_unit_test(unit_stays_below_one),
		cmocka_unit_test(filling_writes_exactly_what_is_asked),
	};

	return cmocka_run_group_tests_name("random", tests, NULL, NULL);
}
