/* SPDX-License-Identifier: MIT */
#include "gate/limit_local.h"

#include "base/random.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct gate_limit_def slow = {
	.name = { "slow", 4 }, .requests = 60, .per_s = 60, .burst = 5
};
static const struct gate_limit_def quick = {
	.name = { "quick", 5 }, .requests = 10, .per_s = 1, .burst = 3
};

static struct mono at_s(double s)
{
	return (struct mono){ (int64_t)llround(s * 1e9) };
}

static struct limit_local_ask ask_of(const struct gate_limit_def *limit, uint64_t caller)
{
	struct limit_local_ask ask = { .limit = limit };

	memcpy(ask.key, &caller, sizeof(caller));
	memcpy(ask.key + 8, limit->name.at, 4);
	return ask;
}

static struct gate_limit_verdict decide(struct limit_local *local,
					const struct gate_limit_def *limit,
					uint64_t caller, double now)
{
	struct limit_local_ask ask = ask_of(limit, caller);
	struct gate_limit_verdict verdict;

	limit_local_decide(local, &ask, 1, at_s(now), &verdict);
	assert_true(verdict.local);
	assert_ptr_equal(verdict.limit, limit);
	return verdict;
}

static void callers_do_not_share_a_burst(void **state)
{
	struct limit_local *local = limit_local_create(100);

	for (uint64_t caller = 0; caller < 20; caller++) {
		for (int i = 0; i < 5; i++)
			assert_true(decide(local, &slow, caller, 1).allowed);
		assert_false(decide(local, &slow, caller, 1).allowed);
	}
	assert_int_equal(limit_local_callers(local), 20);
	limit_local_check(local);
	limit_local_destroy(local);
}

static void a_verdict_says_what_is_left_and_how_long_to_wait(void **state)
{
	struct limit_local *local = limit_local_create(100);
	struct gate_limit_verdict verdict = decide(local, &slow, 7, 1);

	assert_true(fabs(verdict.left - 4) < 1e-6);
	assert_true(fabs(verdict.reset_s - 1) < 1e-6);
	assert_true(verdict.retry_after_s == 0);
	for (int i = 0; i < 4; i++)
		verdict = decide(local, &slow, 7, 1);
	assert_true(fabs(verdict.left) < 1e-6);
	verdict = decide(local, &slow, 7, 1.25);
	assert_false(verdict.allowed);
	assert_true(fabs(verdict.left - 0.25) < 1e-6);
	assert_true(fabs(verdict.retry_after_s - 0.75) < 1e-6);
	assert_true(fabs(verdict.reset_s - 4.75) < 1e-6);
	assert_true(decide(local, &slow, 7, 2).allowed);
	limit_local_destroy(local);
}

static void what_one_limit_refuses_is_counted_against_none(void **state)
{
	struct limit_local *local = limit_local_create(100);
	struct limit_local_ask both[] = { ask_of(&slow, 1), ask_of(&quick, 1) };
	struct gate_limit_verdict verdict;

	for (int i = 0; i < 3; i++) {
		limit_local_decide(local, both, 2, at_s(1), &verdict);
		assert_true(verdict.allowed);
		assert_ptr_equal(verdict.limit, &quick); /* has less left */
	}
	for (int i = 0; i < 10; i++) {
		limit_local_decide(local, both, 2, at_s(1), &verdict);
		assert_false(verdict.allowed);
		assert_ptr_equal(verdict.limit, &quick);
	}
	assert_true(fabs(decide(local, &slow, 1, 1).left - 1) < 1e-6);
	assert_true(decide(local, &slow, 1, 1).allowed);
	/* Now both refuse: the longer wait is told. */
	limit_local_decide(local, both, 2, at_s(1), &verdict);
	assert_ptr_equal(verdict.limit, &slow);
	limit_local_destroy(local);
}

static void the_caller_seen_least_recently_is_forgotten_first(void **state)
{
	struct limit_local *local = limit_local_create(3);

	for (uint64_t caller = 1; caller <= 3; caller++)
		decide(local, &slow, caller, 1);
	decide(local, &slow, 1, 1);
	decide(local, &slow, 4, 1); /* 2 is forgotten */
	limit_local_check(local);
	assert_int_equal(limit_local_callers(local), 3);
	assert_true(fabs(decide(local, &slow, 1, 1).left - 2) < 1e-6);
	assert_true(fabs(decide(local, &slow, 2, 1).left - 4) < 1e-6);
	limit_local_destroy(local);
}

static void a_random_walk_keeps_the_bound_and_the_order(void **state)
{
	enum { CALLERS = 60, KEPT = 16 };
	struct limit_local *local = limit_local_create(KEPT);
	double used[CALLERS] = { 0 };
	struct random random;
	double now = 1;
	unsigned refused = 0;

	random_init(&random, 5);
	for (int i = 0; i < 100000; i++) {
		uint64_t low = random_below(&random, CALLERS);
		uint64_t caller = random_below(&random, low + 1);
		unsigned later = 0;
		bool known, fresh;

		for (int j = 0; j < CALLERS; j++)
			later += used[j] > used[caller];
		known = used[caller] > 0 && later < KEPT;
		now += 0.001;
		fresh = decide(local, &slow, caller, now).left > 4 - 1e-6;
		if (!known)
			assert_true(fresh);
		else if (now - used[caller] < 0.9)
			assert_false(fresh);
		refused += known && !fresh;
		used[caller] = now;
		if (i % 100 == 0)
			limit_local_check(local);
	}
	assert_int_equal(limit_local_callers(local), KEPT);
	assert_true(refused > 1000);
	limit_local_destroy(local);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(callers_do_not_share_a_burst),
		cmocka_unit_test(a_verdict_says_what_is_left_and_how_long_to_wait),
		cmocka_unit_test(what_one_limit_refuses_is_counted_against_none),
		cmocka_unit_test(the_caller_seen_least_recently_is_forgotten_first),
		cmocka_unit_test(a_random_walk_keeps_the_bound_and_the_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
