/* SPDX-License-Identifier: MIT */
#include "base/bucket.h"

#include "base/random.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct mono at_s(double s)
{
	return (struct mono){ (int64_t)llround(s * 1e9) };
}

static void assert_near(double value, double expected)
{
	if (fabs(value - expected) > 1e-4 * (1 + fabs(expected)))
		fail_msg("%.9f is not %.9f", value, expected);
}

static unsigned take_all(struct bucket *bucket, const struct bucket_rule *rule,
			 struct mono now)
{
	unsigned count = 0;

	while (count < 100000 && bucket_take(bucket, rule, 1, now))
		count++;
	return count;
}

static void a_full_bucket_gives_its_burst_and_then_one_per_interval(void **state)
{
	static const struct bucket_rule rules[] = { { 10, 5 },	   { 3, 10 },
						    { 7, 1 },	   { 0.01, 60 },
						    { 1000, 1 },   { 1.0 / 3, 7 },
						    { 5000, 3000 } };

	for (size_t i = 0; i < sizeof(rules) / sizeof(*rules); i++) {
		struct bucket bucket = { 0 };
		double interval = 1 / rules[i].per_s;

		assert_near(bucket_level(&bucket, &rules[i], at_s(1)), rules[i].burst);
		assert_int_equal(take_all(&bucket, &rules[i], at_s(1)), rules[i].burst);
		assert_near(bucket_level(&bucket, &rules[i], at_s(1)), 0);
		assert_near(bucket_wait_s(&bucket, &rules[i], 1, at_s(1)), interval);
		assert_int_equal(take_all(&bucket, &rules[i], at_s(1 + interval * 0.99)),
				 0);
		assert_int_equal(take_all(&bucket, &rules[i], at_s(1 + interval * 1.01)),
				 1);
	}
}

static void a_refused_take_takes_nothing(void **state)
{
	struct bucket_rule rule = { 1, 5 };
	struct bucket bucket = { 0 }, before;

	assert_true(bucket_take(&bucket, &rule, 3, at_s(1)));
	before = bucket;
	assert_false(bucket_take(&bucket, &rule, 3, at_s(1)));
	assert_int_equal(bucket.full.ns, before.full.ns);
	assert_near(bucket_wait_s(&bucket, &rule, 3, at_s(1)), 1);
	assert_true(bucket_take(&bucket, &rule, 3, at_s(2)));
}

static void more_than_the_burst_is_never_there(void **state)
{
	struct bucket_rule rule = { 1e9, 5 };
	struct bucket bucket = { 0 };

	assert_false(bucket_take(&bucket, &rule, 5.1, at_s(1)));
	assert_true(isinf(bucket_wait_s(&bucket, &rule, 5.1, at_s(1))));
	assert_near(bucket_wait_s(&bucket, &rule, 5, at_s(1)), 0);
}

static void what_is_put_back_can_be_taken_and_never_beyond_the_burst(void **state)
{
	struct bucket_rule rule = { 0.001, 5 };
	struct bucket bucket = { 0 };

	bucket_put(&bucket, &rule, 100, at_s(1));
	assert_near(bucket_level(&bucket, &rule, at_s(1)), 5);
	assert_int_equal(take_all(&bucket, &rule, at_s(1)), 5);
	bucket_put(&bucket, &rule, 2, at_s(1));
	assert_int_equal(take_all(&bucket, &rule, at_s(1)), 2);
	/* Five fifths are one, but for nanoseconds. */
	for (int i = 0; i < 6; i++)
		bucket_put(&bucket, &rule, 0.2, at_s(1));
	assert_int_equal(take_all(&bucket, &rule, at_s(1)), 1);
}

static void a_stricter_rule_takes_effect_at_once(void **state)
{
	struct bucket_rule wide = { 1, 100 }, narrow = { 1, 10 };
	struct bucket bucket = { 0 };

	assert_true(bucket_take(&bucket, &wide, 50, at_s(1)));
	assert_near(bucket_level(&bucket, &narrow, at_s(1)), 0);
	assert_false(bucket_take(&bucket, &narrow, 1, at_s(1)));
	assert_near(bucket_wait_s(&bucket, &narrow, 1, at_s(1)), 41);
	assert_true(bucket_take(&bucket, &narrow, 1, at_s(42)));
}

/* Beside it a bucket that counts its tokens. */
static void a_random_walk_agrees_with_a_bucket_that_counts(void **state)
{
	struct random random;

	random_init(&random, 3);
	for (int round = 0; round < 300; round++) {
		struct bucket_rule rule = { pow(10, random_unit(&random) * 5 - 1),
					    1 + floor(random_unit(&random) * 50) };
		double level = rule.burst, now = 1000, taken = 0, put = 0;
		struct bucket bucket = { 0 };

		for (int i = 0; i < 500; i++) {
			double count = random_unit(&random) * (1 + rule.burst / 4);
			double passed = random_unit(&random) * 3 / rule.per_s;
			bool took;

			now += passed;
			level = fmin(rule.burst, level + passed * rule.per_s);
			if (random_below(&random, 5) == 0) {
				bucket_put(&bucket, &rule, count, at_s(now));
				level = fmin(rule.burst, level + count);
				put += count;
			} else {
				took = bucket_take(&bucket, &rule, count, at_s(now));
				/* Close to the border either is right. */
				if (fabs(level - count) > 0.01)
					assert_int_equal(took, level > count);
				taken += took ? count : 0;
				level -= took ? count : 0;
			}
			assert_true(fabs(bucket_level(&bucket, &rule, at_s(now)) -
					 level) < 0.01);
			level = bucket_level(&bucket, &rule, at_s(now));
		}
		assert_true(taken <= rule.burst + (now - 1000) * rule.per_s + put + 0.5);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_full_bucket_gives_its_burst_and_then_one_per_interval),
		cmocka_unit_test(a_refused_take_takes_nothing),
		cmocka_unit_test(more_than_the_burst_is_never_there),
		cmocka_unit_test(
			what_is_put_back_can_be_taken_and_never_beyond_the_burst),
		cmocka_unit_test(a_stricter_rule_takes_effect_at_once),
		cmocka_unit_test(a_random_walk_agrees_with_a_bucket_that_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
