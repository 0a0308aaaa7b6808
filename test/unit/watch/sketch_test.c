/* SPDX-License-Identifier: MIT */
/* sketch_test.c -- quantiles of the last minute, against the exact ones. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/random.h"
#include "watch/sketch.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#define BOUND (1.0 / 64)
#define VALUES 20000

static const double quantiles[] = { 0, 0.001, 0.01, 0.5, 0.9, 0.99, 0.999, 1 };

#define QUANTILES (sizeof(quantiles) / sizeof(quantiles[0]))

static struct mono at(double seconds)
{
	return (struct mono){ (int64_t)(seconds * 1e9) };
}

static struct sketch_sum sum_at(const struct sketch *sketch, double seconds)
{
	struct sketch_sum sum = { 0 };

	sketch_read(sketch, at(seconds), &sum);
	return sum;
}

static int compare(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;

	return (a > b) - (a < b);
}

/* Of sorted values. */
static double exact(const double *values, size_t count, double quantile)
{
	double rank = ceil(quantile * (double)count);

	return values[rank < 1 ? 0 : (size_t)rank - 1];
}

/* --- accuracy --------------------------------------------------------------------- */

static double spread_evenly(struct random *random)
{
	return random_unit(random) * 0.25;
}

/* Around 10 ms, and now and then a hundred times as long. */
static double like_a_latency(struct random *random)
{
	double normal = -6;

	for (int i = 0; i < 12; i++)
		normal += random_unit(random);
	return exp(log(0.01) + 1.2 * normal);
}

static double with_a_long_tail(struct random *random)
{
	return 1e-6 / pow(1 - random_unit(random), 3);
}

static double in_two_places(struct random *random)
{
	return random_below(random, 10) ? 0.001 : 7;
}

static double of_bytes(struct random *random)
{
	return (double)(random_next(random) >> (24 + random_below(random, 40)));
}

static void assert_accurate(double (*draw)(struct random *), uint64_t seed)
{
	static double values[VALUES];
	struct sketch sketch = { 0 };
	struct sketch_sum sum;
	struct random random;

	random_init(&random, seed);
	for (size_t i = 0; i < VALUES; i++) {
		values[i] = draw(&random);
		sketch_add(&sketch, values[i], at(5));
	}
	qsort(values, VALUES, sizeof(values[0]), compare);
	sum = sum_at(&sketch, 5);
	assert_int_equal(sum.count, VALUES);
	for (size_t i = 0; i < QUANTILES; i++) {
		double right = exact(values, VALUES, quantiles[i]);
		double told = sketch_quantile(&sum, quantiles[i]);

		if (fabs(told - right) > BOUND * right + 0x1p-30)
			fail_msg("seed %llu, quantile %g: %g instead of %g",
				 (unsigned long long)seed, quantiles[i], told, right);
	}
	sketch_finish(&sketch);
}

static void a_quantile_is_within_1_6_percent_of_the_exact_one(void **state)
{
	double (*const draws[])(struct random *) = { spread_evenly, like_a_latency,
						     with_a_long_tail, in_two_places,
						     of_bytes };

	for (size_t i = 0; i < sizeof(draws) / sizeof(draws[0]); i++)
		for (uint64_t seed = 1; seed <= 5; seed++)
			assert_accurate(draws[i], seed);
}

static void a_single_value_is_every_quantile(void **state)
{
	struct sketch sketch = { 0 };
	struct sketch_sum sum;

	sketch_add(&sketch, 0.3, at(0));
	sum = sum_at(&sketch, 0);
	for (size_t i = 0; i < QUANTILES; i++)
		assert_true(fabs(sketch_quantile(&sum, quantiles[i]) - 0.3) <
			    0.3 * BOUND);
	sketch_finish(&sketch);
}

static void nothing_observed_is_not_a_number(void **state)
{
	struct sketch sketch = { 0 };
	struct sketch_sum sum = sum_at(&sketch, 100);

	assert_int_equal(sum.count, 0);
	assert_true(isnan(sketch_quantile(&sum, 0.5)));
}

static void the_smallest_are_zero_and_the_largest_stay_below_the_end(void **state)
{
	struct sketch sketch = { 0 };
	struct sketch_sum sum;

	sketch_add(&sketch, 0, at(0));
	sketch_add(&sketch, 1e-300, at(0));
	sketch_add(&sketch, 0x1p-31, at(0));
	sketch_add(&sketch, 1e300, at(0));
	sketch_add(&sketch, INFINITY, at(0));
	sum = sum_at(&sketch, 0);
	assert_int_equal(sum.count, 5);
	assert_true(sketch_quantile(&sum, 0.6) == 0);
	assert_true(sketch_quantile(&sum, 0.7) > 0x1p39);
	assert_true(sketch_quantile(&sum, 1) < 0x1p40);
	sketch_finish(&sketch);
}

static void the_ends_of_an_octave_are_within_the_bound(void **state)
{
	for (int exponent = -30; exponent < 40; exponent++) {
		const double ends[] = { ldexp(1, exponent),
					nextafter(ldexp(2, exponent), 0),
					nextafter(ldexp(33.0 / 32, exponent), 0),
					ldexp(33.0 / 32, exponent) };

		for (size_t i = 0; i < 4; i++) {
			struct sketch sketch = { 0 };
			struct sketch_sum sum;

			sketch_add(&sketch, ends[i], at(0));
			sum = sum_at(&sketch, 0);
			assert_true(fabs(sketch_quantile(&sum, 0.5) / ends[i] - 1) <=
				    BOUND);
			sketch_finish(&sketch);
		}
	}
}

/* --- merging ---------------------------------------------------------------------- */

static void merged_sketches_tell_what_one_would_have_told(void **state)
{
	struct sketch parts[4] = { 0 }, all = { 0 }, folded = { 0 };
	struct sketch_sum merged = { 0 }, one, other;
	struct random random;

	random_init(&random, 3);
	for (size_t i = 0; i < VALUES; i++) {
		double value = like_a_latency(&random);
		struct mono now = at((double)i / VALUES * 50);

		sketch_add(&parts[random_below(&random, 4)], value, now);
		sketch_add(&all, value, now);
	}
	for (size_t i = 0; i < 4; i++) {
		sketch_read(&parts[i], at(50), &merged);
		sketch_fold(&folded, &parts[i]);
	}
	one = sum_at(&all, 50);
	other = sum_at(&folded, 50);
	assert_int_equal(one.count, VALUES);
	assert_memory_equal(&merged, &one, sizeof(one));
	assert_memory_equal(&other, &one, sizeof(one));
	for (size_t i = 0; i < 4; i++)
		sketch_finish(&parts[i]);
	sketch_finish(&all);
	sketch_finish(&folded);
}

static void what_is_older_than_the_slot_it_would_go_to_is_not_folded(void **state)
{
	struct sketch old = { 0 }, new = { 0 };

	sketch_add(&old, 1, at(5));
	sketch_add(&old, 1, at(55));
	sketch_add(&new, 2, at(65)); /* takes the slot of second 5 */
	sketch_fold(&new, &old);
	assert_int_equal(sum_at(&new, 65).count, 2);
	sketch_fold(&old, &new);
	assert_int_equal(sum_at(&old, 65).count, 3);
	sketch_finish(&old);
	sketch_finish(&new);
}

/* --- the window ------------------------------------------------------------------- */

static void an_observation_counts_for_50_to_60_seconds(void **state)
{
	for (int offset = 0; offset < 10; offset++) {
		struct sketch sketch = { 0 };

		sketch_add(&sketch, 1, at(100 + offset));
		for (int after = 0; after < 90; after++) {
			uint64_t count = sum_at(&sketch, 100 + offset + after).count;

			assert_true(after > 50 || count == 1);
			assert_true(after < 60 || count == 0);
		}
		sketch_finish(&sketch);
	}
}

static void the_window_slides_while_it_is_written(void **state)
{
	struct sketch sketch = { 0 };

	for (int second = 0; second < 600; second++) {
		struct sketch_sum sum;

		/* One a second; its value says when. */
		sketch_add(&sketch, 1 + second, at(second));
		sum = sum_at(&sketch, second);
		if (second < 60)
			continue;
		assert_in_range(sum.count, 51, 60);
		assert_true(sketch_quantile(&sum, 0) > (second - 59) * (1 - BOUND));
	}
	sketch_finish(&sketch);
}

static void after_a_long_silence_only_the_new_counts(void **state)
{
	struct sketch sketch = { 0 };
	struct sketch_sum sum;

	for (int second = 0; second < 60; second++)
		sketch_add(&sketch, 100, at(second));
	sketch_add(&sketch, 1, at(100000));
	sum = sum_at(&sketch, 100000);
	assert_int_equal(sum.count, 1);
	assert_true(sketch_quantile(&sum, 1) < 1.1);
	sketch_finish(&sketch);
}

/* --- threads ---------------------------------------------------------------------- */

#define TURNS 4000
#define OCTAVES 30

struct shared {
	struct sketch sketch;
	_Atomic int turn, reads;
};

/* Ten seconds a turn, each with a value in every bucket of an octave of its own. One turn
 * for each reading, so that they meet. */
static void *write_turns(void *context)
{
	struct shared *shared = context;
	int reads = 0;

	for (int turn = 0; turn < TURNS; turn++) {
		while (reads == atomic_load(&shared->reads))
			sched_yield();
		reads = atomic_load(&shared->reads);
		atomic_store(&shared->turn, turn);
		for (int step = 0; step < SKETCH_STEPS; step++)
			sketch_add(&shared->sketch,
				   ldexp(1 + step / 32.0, turn % OCTAVES),
				   at(10.0 * turn));
	}
	return NULL;
}

static int buckets_of(const struct sketch_sum *sum, int turn)
{
	int page = 31 + turn % OCTAVES, buckets = 0;

	for (int step = 0; step < SKETCH_STEPS; step++) {
		assert_true(sum->counts[page][step] <= 1);
		buckets += (int)sum->counts[page][step];
	}
	return buckets;
}

/* A turn that was complete when the reader came is there as a whole, or, when it leaves
 * the window meanwhile, not at all; never half emptied. */
static void a_reader_never_sees_half_a_turn(void **state)
{
	struct shared shared = { 0 };
	pthread_t writer;
	int before = 0;

	assert_int_equal(pthread_create(&writer, NULL, write_turns, &shared), 0);
	while (before < TURNS - 1) {
		struct sketch_sum sum = { 0 };

		before = atomic_load(&shared.turn);
		atomic_fetch_add(&shared.reads, 1);
		sketch_read(&shared.sketch, at(10.0 * before), &sum);
		if (atomic_load(&shared.turn) - before > OCTAVES - 10)
			continue; /* an octave may have come round again */
		for (int turn = before - 5; turn < before; turn++)
			if (turn >= 0 && buckets_of(&sum, turn) % SKETCH_STEPS != 0)
				fail_msg("%d of %d", buckets_of(&sum, turn),
					 SKETCH_STEPS);
		for (int turn = before - 9; turn < before - 5; turn++)
			assert_true(turn < 0 || buckets_of(&sum, turn) == 0);
	}
	pthread_join(writer, NULL);
	sketch_finish(&shared.sketch);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_quantile_is_within_1_6_percent_of_the_exact_one),
		cmocka_unit_test(a_single_value_is_every_quantile),
		cmocka_unit_test(nothing_observed_is_not_a_number),
		cmocka_unit_test(
			the_smallest_are_zero_and_the_largest_stay_below_the_end),
		cmocka_unit_test(the_ends_of_an_octave_are_within_the_bound),
		cmocka_unit_test(merged_sketches_tell_what_one_would_have_told),
		cmocka_unit_test(
			what_is_older_than_the_slot_it_would_go_to_is_not_folded),
		cmocka_unit_test(an_observation_counts_for_50_to_60_seconds),
		cmocka_unit_test(the_window_slides_while_it_is_written),
		cmocka_unit_test(after_a_long_silence_only_the_new_counts),
		cmocka_unit_test(a_reader_never_sees_half_a_turn),
	};

	return cmocka_run_group_tests_name("sketch", tests, NULL, NULL);
}
