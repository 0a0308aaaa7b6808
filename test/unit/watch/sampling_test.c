/* SPDX-License-Identifier: MIT */
/* sampling_test.c -- which traces are kept: by parent, by ratio, by explicit randomness.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/random.h"
#include "watch/sampling.h"

static const enum sampler samplers[] = { SAMPLER_always_on,
					 SAMPLER_always_off,
					 SAMPLER_traceidratio,
					 SAMPLER_parentbased_always_on,
					 SAMPLER_parentbased_always_off,
					 SAMPLER_parentbased_traceidratio };

static void a_parent_decides_for_the_parent_based_only(void **state)
{
	struct trace_context sampled = { .flags = TRACE_FLAG_SAMPLED };
	struct trace_context not_sampled = { .flags = TRACE_FLAG_RANDOM };
	uint8_t low[16] = { 0 };
	static const bool alone[] = { true, false, false, true, false, false };
	static const bool below_sampled[] = { true, false, false, true, true, true };
	static const bool below_other[] = { true, false, false, false, false, false };

	for (int i = 0; i < 6; i++) {
		uint64_t half = sampling_threshold(0.5);

		assert_int_equal(sampling_decide(samplers[i], half, low, NULL), alone[i]);
		assert_int_equal(sampling_decide(samplers[i], half, low, &sampled),
				 below_sampled[i]);
		assert_int_equal(sampling_decide(samplers[i], half, low, &not_sampled),
				 below_other[i]);
	}
}

static void the_last_seven_bytes_are_compared_with_the_threshold(void **state)
{
	uint8_t id[16] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	uint64_t quarter = sampling_threshold(0.25);

	assert_true(quarter == UINT64_C(0xc0000000000000));
	assert_false(sampling_decide(SAMPLER_traceidratio, quarter, id, NULL));
	id[9] = 0xbf;
	memset(id + 10, 0xff, 6);
	assert_false(sampling_decide(SAMPLER_traceidratio, quarter, id, NULL));
	id[9] = 0xc0;
	memset(id + 10, 0, 6);
	assert_true(sampling_decide(SAMPLER_traceidratio, quarter, id, NULL));
}

static void the_ends_of_the_ratio_keep_all_and_none(void **state)
{
	uint8_t zero[16] = { 0 }, ones[16];

	memset(ones, 0xff, sizeof(ones));
	assert_true(
		sampling_decide(SAMPLER_traceidratio, sampling_threshold(1), zero, NULL));
	assert_true(
		sampling_decide(SAMPLER_traceidratio, sampling_threshold(9), zero, NULL));
	assert_false(
		sampling_decide(SAMPLER_traceidratio, sampling_threshold(0), ones, NULL));
	assert_false(sampling_decide(SAMPLER_traceidratio, sampling_threshold(-1), ones,
				     NULL));
}

static void a_ratio_keeps_its_share(void **state)
{
	struct random random;
	uint8_t id[16];
	int kept = 0;

	random_init(&random, 1);
	for (int i = 0; i < 100000; i++) {
		random_fill(&random, id, sizeof(id));
		kept += sampling_decide(SAMPLER_traceidratio, sampling_threshold(0.1), id,
					NULL);
	}
	assert_in_range(kept, 9500, 10500);
}

static void explicit_randomness_of_the_parent_wins(void **state)
{
	uint64_t half = sampling_threshold(0.5);
	uint8_t high[16], low[16] = { 0 };
	struct trace_context parent = { 0 };

	memset(high, 0xff, sizeof(high));
	parent.state = SLICE("a=1, ot=th:8;rv:80000000000000,b=2");
	assert_true(sampling_decide(SAMPLER_traceidratio, half, low, &parent));
	parent.state = SLICE("ot=rv:7fffffffffffff");
	assert_false(sampling_decide(SAMPLER_traceidratio, half, high, &parent));
	parent.state = SLICE("ot=rv:7ffffffffffff");
	assert_true(sampling_decide(SAMPLER_traceidratio, half, high, &parent));
	parent.state = SLICE("ot=rv:7FFFFFFFFFFFFF;x:1");
	assert_true(sampling_decide(SAMPLER_traceidratio, half, high, &parent));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_parent_decides_for_the_parent_based_only),
		cmocka_unit_test(the_last_seven_bytes_are_compared_with_the_threshold),
		cmocka_unit_test(the_ends_of_the_ratio_keep_all_and_none),
		cmocka_unit_test(a_ratio_keeps_its_share),
		cmocka_unit_test(explicit_randomness_of_the_parent_wins),
	};

	return cmocka_run_group_tests_name("sampling", tests, NULL, NULL);
}
