/* SPDX-License-Identifier: MIT */
#include "base/breaker.h"

#include "base/random.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct breaker_config config = { .failures_max = 3, .open_ms = 100 };

static struct mono at_ms(int64_t ms)
{
	return (struct mono){ ms * 1000000 };
}

static bool allows(struct breaker *breaker, int64_t ms)
{
	bool allowed = breaker_allows(breaker, &config, at_ms(ms));

	breaker_check(breaker, &config);
	return allowed;
}

static void begin_and_fail(struct breaker *breaker, int64_t ms)
{
	breaker_begin(breaker);
	breaker_check(breaker, &config);
	breaker_fail(breaker, &config, at_ms(ms));
	breaker_check(breaker, &config);
}

static void failures_in_a_row_open_it(void **state)
{
	struct breaker breaker = { 0 };

	for (int i = 0; i < 2; i++) {
		assert_true(allows(&breaker, 0));
		begin_and_fail(&breaker, 0);
	}
	assert_int_equal(breaker.state, BREAKER_closed);
	begin_and_fail(&breaker, 0);
	assert_int_equal(breaker.state, BREAKER_open);
	assert_false(allows(&breaker, 0));
	assert_false(allows(&breaker, 99));
}

static void a_success_between_failures_starts_the_count_anew(void **state)
{
	struct breaker breaker = { 0 };

	for (int i = 0; i < 20; i++) {
		begin_and_fail(&breaker, i);
		begin_and_fail(&breaker, i);
		breaker_begin(&breaker);
		breaker_succeed(&breaker);
		assert_int_equal(breaker.state, BREAKER_closed);
	}
}

static void one_trial_at_a_time_decides_when_the_wait_is_over(void **state)
{
	struct breaker breaker = { 0 };

	for (int i = 0; i < 3; i++)
		begin_and_fail(&breaker, 0);
	assert_true(allows(&breaker, 100));
	assert_int_equal(breaker.state, BREAKER_half_open);
	assert_true(allows(&breaker, 100)); /* asking is not beginning */
	breaker_begin(&breaker);
	assert_false(allows(&breaker, 100));
	assert_false(allows(&breaker, 100000));
	breaker_forget(&breaker);
	assert_true(allows(&breaker, 100));
	breaker_begin(&breaker);
	breaker_succeed(&breaker);
	assert_int_equal(breaker.state, BREAKER_closed);
	assert_true(allows(&breaker, 100));
}

static void what_is_heard_of_it_ends_the_wait_and_not_more(void **state)
{
	struct breaker breaker = { 0 };

	breaker_hear(&breaker);
	assert_int_equal(breaker.state, BREAKER_closed);
	for (int i = 0; i < 3; i++)
		begin_and_fail(&breaker, 0);
	assert_false(allows(&breaker, 1));
	breaker_hear(&breaker);
	breaker_check(&breaker, &config);
	assert_true(allows(&breaker, 1));
	breaker_begin(&breaker);
	breaker_hear(&breaker);
	assert_false(allows(&breaker, 1));
	breaker_fail(&breaker, &config, at_ms(1));
	assert_int_equal(breaker.state, BREAKER_open);
}

static void each_failed_trial_doubles_the_wait_up_to_eight_times(void **state)
{
	static const int64_t waits[] = { 100, 200, 400, 800, 800, 800 };
	struct breaker breaker = { 0 };
	int64_t now = 0;

	for (int i = 0; i < 3; i++)
		begin_and_fail(&breaker, now);
	for (size_t i = 0; i < sizeof(waits) / sizeof(*waits); i++) {
		assert_false(allows(&breaker, now + waits[i] - 1));
		now += waits[i];
		assert_true(allows(&breaker, now));
		begin_and_fail(&breaker, now);
		assert_int_equal(breaker.state, BREAKER_open);
	}
	/* And a success makes it forget that. */
	assert_true(allows(&breaker, now + 800));
	breaker_begin(&breaker);
	breaker_succeed(&breaker);
	for (int i = 0; i < 3; i++)
		begin_and_fail(&breaker, now);
	assert_true(allows(&breaker, now + 100));
}

static void what_began_before_it_opened_says_nothing_while_it_is_open(void **state)
{
	struct breaker breaker = { 0 };

	for (int i = 0; i < 5; i++)
		breaker_begin(&breaker);
	for (int i = 0; i < 3; i++)
		breaker_fail(&breaker, &config, at_ms(0));
	breaker_fail(&breaker, &config, at_ms(50));
	breaker_succeed(&breaker);
	breaker_check(&breaker, &config);
	assert_int_equal(breaker.state, BREAKER_open);
	assert_true(allows(&breaker, 100)); /* not 150 */
}

static void without_a_maximum_it_never_opens(void **state)
{
	struct breaker_config never = { 0, 100 };
	struct breaker breaker = { 0 };

	for (int i = 0; i < 1000; i++) {
		breaker_begin(&breaker);
		breaker_fail(&breaker, &never, at_ms(i));
		assert_true(breaker_allows(&breaker, &never, at_ms(i)));
	}
	/* One that is open closes when its maximum is taken away. */
	for (int i = 0; i < 3; i++)
		begin_and_fail(&breaker, 0);
	assert_false(allows(&breaker, 0));
	assert_true(breaker_allows(&breaker, &never, at_ms(0)));
	assert_int_equal(breaker.state, BREAKER_closed);
}

/* Attempts of its own kind: those begun while half open are marked. */
static void a_random_walk_lets_one_trial_through_and_waits_long_enough(void **state)
{
	struct breaker breaker = { 0 };
	struct random random;
	unsigned closed_out = 0, opened = 0, closed = 0;
	bool trial = false;
	int64_t now = 0;

	random_init(&random, 11);
	for (int i = 0; i < 200000; i++) {
		enum breaker_state before = breaker.state;
		bool is_trial = trial && random_below(&random, 2);
		uint64_t what = random_below(&random, 5);

		now += (int64_t)random_below(&random, 20);
		if (what < 2) {
			if (!allows(&breaker, now))
				continue;
			if (before == BREAKER_open)
				assert_true(at_ms(now).ns - breaker.opened.ns >=
					    config.open_ms * (int64_t)1000000);
			assert_false(breaker.state == BREAKER_half_open && trial);
			trial = breaker.state == BREAKER_half_open;
			closed_out += !trial;
			breaker_begin(&breaker);
		} else if (is_trial || (!trial && closed_out > 0 &&
					breaker.state == BREAKER_closed)) {
			closed_out -= !is_trial;
			if (what == 2)
				breaker_succeed(&breaker);
			else if (what == 3)
				breaker_fail(&breaker, &config, at_ms(now));
			else
				breaker_forget(&breaker);
			trial = false;
		}
		breaker_check(&breaker, &config);
		assert_true(breaker.failures < config.failures_max);
		opened += before != BREAKER_open && breaker.state == BREAKER_open;
		closed += before != BREAKER_closed && breaker.state == BREAKER_closed;
	}
	assert_true(opened > 500 && closed > 500);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(failures_in_a_row_open_it),
		cmocka_unit_test(a_success_between_failures_starts_the_count_anew),
		cmocka_unit_test(one_trial_at_a_time_decides_when_the_wait_is_over),
		cmocka_unit_test(what_is_heard_of_it_ends_the_wait_and_not_more),
		cmocka_unit_test(each_failed_trial_doubles_the_wait_up_to_eight_times),
		cmocka_unit_test(
			what_began_before_it_opened_says_nothing_while_it_is_open),
		cmocka_unit_test(without_a_maximum_it_never_opens),
		cmocka_unit_test(
			a_random_walk_lets_one_trial_through_and_waits_long_enough),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
