/* SPDX-License-Identifier: MIT */
#include "upstream_rig.h"

#include "gate/upstream_inside.h"

/* --- active health ---------------------------------------------------------------- */

static void who_says_503_gets_nothing_new_and_keeps_no_connections(void **state)
{
	struct rig *rig = rig_create(2);
	struct try hanging[2];

	rig_watch(rig);
	for (int i = 0; i < 4; i++)
		assert_true(went_well(rig, "/"));
	try_start(&hanging[0], rig, "/hang");
	try_start(&hanging[1], rig, "/hang");
	until(rig, atomic_load(&rig->replicas[0].asked) == 3);
	atomic_store(&rig->replicas[0].ready, 503);
	until(rig, shown(rig, "down") == 1);
	for (int i = 0; i < 10; i++)
		assert_true(went_well(rig, "/"));
	assert_int_equal(atomic_load(&rig->replicas[0].asked), 3);
	assert_int_equal(logged(rig, "an upstream address is down"), 1);
	assert_int_equal(logged(rig, "/ready says 503"), 1);
	/* What is under way ends well, and rests no more. */
	atomic_store(&rig->replicas[0].released, true);
	atomic_store(&rig->replicas[1].released, true);
	until(rig, hanging[0].dones == 1 && hanging[1].dones == 1);
	until(rig, replica_open(&rig->replicas[0]) == 0);
	atomic_store(&rig->replicas[0].ready, 200);
	until(rig, shown(rig, "up") == 2);
	assert_int_equal(logged(rig, "an upstream address is up"), 1);
	assert_true(went_well(rig, "/") && went_well(rig, "/"));
	assert_int_equal(atomic_load(&rig->replicas[0].asked), 4);
	rig_destroy(rig);
}

static void one_that_is_killed_is_down_after_a_while_and_comes_back(void **state)
{
	struct rig *rig = rig_create(2);

	rig_watch(rig);
	until(rig, atomic_load(&rig->replicas[0].checks) > 0);
	replica_stop(&rig->replicas[0]);
	until(rig, shown(rig, "down") == 1);
	for (int i = 0; i < 4; i++)
		assert_true(went_well(rig, "/"));
	atomic_store(&rig->replicas[0].checks, 0);
	replica_start(&rig->replicas[0]);
	until(rig, shown(rig, "up") == 2);
	assert_true(atomic_load(&rig->replicas[0].checks) >= rig->def.health.rise);
	rig_destroy(rig);
}

static void a_check_that_is_late_or_says_nonsense_counts_once(void **state)
{
	struct rig *rig = rig_create(2);

	rig->def.health.timeout_ms = 50;
	rig_watch(rig);
	atomic_store(&rig->replicas[0].ready_hangs, true);
	atomic_store(&rig->replicas[1].ready, 500);
	until(rig, shown(rig, "down") == 2);
	assert_true(atomic_load(&rig->replicas[0].checks) >= 2);
	assert_true(atomic_load(&rig->replicas[1].checks) >= 2);
	assert_int_equal(logged(rig, "/ready does not answer in 50 ms"), 1);
	assert_int_equal(logged(rig, "/ready says 500"), 1);
	rig_destroy(rig);
}

static void when_all_are_down_they_are_asked_all_the_same(void **state)
{
	struct rig *rig = rig_create(2);

	rig_watch(rig);
	for (int i = 0; i < 2; i++)
		atomic_store(&rig->replicas[i].ready, 503);
	until(rig, shown(rig, "down") == 2);
	for (int i = 0; i < 4; i++)
		assert_true(went_well(rig, "/"));
	for (int i = 0; i < 2; i++)
		assert_int_equal(atomic_load(&rig->replicas[i].asked), 2);
	assert_int_equal(look(rig).idle, 0);
	rig_destroy(rig);
}

static void without_checks_everybody_is_up(void **state)
{
	struct rig *rig = rig_create(1);

	rig_watch(rig);
	atomic_store(&rig->replicas[0].ready, 503);
	until(rig, shown(rig, "down") == 1);
	rig->def.health.path = SLICE("");
	rig_use(rig);
	assert_true(shown(rig, "up") == 1);
	atomic_store(&rig->replicas[0].checks, 0);
	for (int i = 0; i < 20; i++)
		turn(rig);
	assert_int_equal(atomic_load(&rig->replicas[0].checks), 0);
	rig_destroy(rig);
}

static void first_checks_lie_anywhere_within_the_interval(void **state)
{
	struct rig *rig = rig_create(0);
	struct gate_upstream *upstream;
	struct mono now = clock_mono();
	unsigned early = 0, late = 0;

	clock_set(&now, NULL);
	turn(rig);
	for (int i = 0; i < 40; i++)
		snprintf(rig->addresses + 21 * i, 24, "http://127.0.0.1:%d,", i + 100);
	rig->def.addresses = slice_text(rig->addresses);
	rig->def.health.interval_ms = 1000;
	rig_watch(rig);
	upstream = rig_upstream(rig);
	assert_int_equal(upstream->count, 40);
	for (int i = 0; i < 40; i++) {
		struct mono due = upstream->list[i]->health.timer.due;
		double after = mono_seconds(now, due);

		assert_true(after >= 0 && after < 1);
		*(after < 0.5 ? &early : &late) += 1;
	}
	assert_true(early > 3 && late > 3);
	clock_set(NULL, NULL);
	rig_destroy(rig);
}

/* --- breakers --------------------------------------------------------------------- */

static struct mono now;

static void later(struct rig *rig, int ms)
{
	now = mono_after_ms(now, ms);
	clock_set(&now, NULL);
	turn(rig);
}

/* One replica whose breaker has opened; the clock stands still. */
static struct rig *rig_create_open(void)
{
	struct rig *rig = rig_create(1);

	rig->def.breaker.failures = 3;
	rig_use(rig);
	now = clock_mono();
	clock_set(&now, NULL);
	atomic_store(&rig->replicas[0].closes, true);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(look(rig).last.breaker, BREAKER_closed);
		assert_int_equal(ask(rig, "/").failures, 1);
	}
	atomic_store(&rig->replicas[0].closes, false);
	assert_int_equal(look(rig).last.breaker, BREAKER_open);
	assert_true(shown(rig, "open") == 1 && shown(rig, "up") == 0);
	return rig;
}

static void rig_destroy_open(struct rig *rig)
{
	clock_set(NULL, NULL);
	rig_destroy(rig);
}

static void an_open_breaker_keeps_all_away_then_one_may_try(void **state)
{
	struct rig *rig = rig_create_open();
	struct try trial, refused;

	try_start(&refused, rig, "/");
	assert_null(refused.at);
	assert_int_equal(refused.why.kind, FAULT_unavailable);
	later(rig, 999);
	try_start(&refused, rig, "/");
	assert_null(refused.at);
	later(rig, 2);
	try_start(&trial, rig, "/hang");
	assert_non_null(trial.at);
	try_start(&refused, rig, "/");
	assert_null(refused.at);
	atomic_store(&rig->replicas[0].released, true);
	until(rig, trial.dones == 1);
	assert_int_equal(look(rig).last.breaker, BREAKER_closed);
	assert_true(went_well(rig, "/"));
	assert_true(transitions(rig, 0, "open") == 1);
	assert_true(transitions(rig, 0, "half_open") == 1);
	assert_true(transitions(rig, 0, "closed") == 1);
	assert_int_equal(logged(rig, "a breaker has opened"), 1);
	assert_int_equal(logged(rig, "a breaker has closed"), 1);
	rig_destroy_open(rig);
}

static void a_trial_that_fails_opens_it_again(void **state)
{
	struct rig *rig = rig_create_open();

	later(rig, 1001);
	assert_int_equal(ask(rig, "/cut").failures, 1);
	/* Its head had come and closed it; nothing but a failure in a row was counted. */
	assert_int_equal(look(rig).last.breaker, BREAKER_closed);
	atomic_store(&rig->replicas[0].closes, true);
	ask(rig, "/");
	ask(rig, "/");
	assert_int_equal(look(rig).last.breaker, BREAKER_open);
	later(rig, 1001);
	ask(rig, "/");
	assert_int_equal(look(rig).last.breaker, BREAKER_open);
	assert_true(transitions(rig, 0, "half_open") == 2);
	rig_destroy_open(rig);
}

static void a_check_that_goes_well_ends_the_wait_of_an_open_one(void **state)
{
	struct rig *rig = rig_create(1);

	rig->def.breaker.failures = 3;
	rig->def.breaker.open_ms = 3600 * 1000;
	rig_use(rig);
	atomic_store(&rig->replicas[0].closes, true);
	for (int i = 0; i < 3; i++)
		ask(rig, "/");
	atomic_store(&rig->replicas[0].closes, false);
	assert_int_equal(look(rig).last.breaker, BREAKER_open);
	rig_watch(rig);
	until(rig, look(rig).last.breaker == BREAKER_half_open);
	assert_true(went_well(rig, "/"));
	assert_int_equal(look(rig).last.breaker, BREAKER_closed);
	rig_destroy(rig);
}

static void a_trial_that_is_cancelled_makes_room_for_another(void **state)
{
	struct rig *rig = rig_create_open();
	struct try trial;

	later(rig, 1001);
	try_start(&trial, rig, "/hang");
	gate_attempt_cancel(&trial.attempt, false);
	assert_int_equal(look(rig).last.breaker, BREAKER_half_open);
	try_start(&trial, rig, "/hang");
	assert_non_null(trial.at);
	gate_attempt_cancel(&trial.attempt, true); /* too late */
	assert_int_equal(look(rig).last.breaker, BREAKER_open);
	rig_destroy_open(rig);
}

static void the_head_of_an_answer_closes_it_however_long_the_rest_takes(void **state)
{
	struct rig *rig = rig_create_open();
	struct try trial;

	later(rig, 1001);
	try_start(&trial, rig, "/endless");
	until(rig, trial.heads == 1);
	assert_int_equal(look(rig).last.breaker, BREAKER_closed);
	assert_true(went_well(rig, "/"));
	gate_attempt_cancel(&trial.attempt, false);
	rig_destroy_open(rig);
}

static void attempts_from_before_have_no_say_in_a_trial(void **state)
{
	struct rig *rig = rig_create(1);
	struct try before[2], trial;

	rig->def.breaker.failures = 1;
	rig_use(rig);
	now = clock_mono();
	clock_set(&now, NULL);
	try_start(&before[0], rig, "/hang");
	try_start(&before[1], rig, "/hang");
	assert_int_equal(ask(rig, "/cut").failures, 1);
	later(rig, 1001);
	try_start(&trial, rig, "/hang");
	gate_attempt_cancel(&before[0].attempt, true);
	assert_int_equal(look(rig).last.breaker, BREAKER_half_open);
	gate_attempt_cancel(&before[1].attempt, false);
	try_start(&before[1], rig, "/"); /* the trial is still out */
	assert_null(before[1].at);
	gate_attempt_cancel(&trial.attempt, true);
	assert_int_equal(look(rig).last.breaker, BREAKER_open);
	rig_destroy_open(rig);
}

static void beside_an_open_breaker_one_that_is_down_is_asked(void **state)
{
	struct rig *rig = rig_create(2);

	rig->def.breaker.failures = 2;
	rig_watch(rig);
	atomic_store(&rig->replicas[0].ready, 503);
	until(rig, shown(rig, "down") == 1);
	atomic_store(&rig->replicas[1].closes, true);
	ask(rig, "/");
	ask(rig, "/");
	assert_true(shown(rig, "open") == 1);
	assert_true(went_well(rig, "/"));
	assert_int_equal(atomic_load(&rig->replicas[0].asked), 1);
	rig_destroy(rig);
}

/* --- other definitions ------------------------------------------------------------ */

static void what_is_known_survives_another_definition(void **state)
{
	struct rig *rig = rig_create(3);

	rig->def.breaker.failures = 1;
	rig_watch(rig);
	for (int i = 0; i < 3; i++)
		assert_true(went_well(rig, "/"));
	atomic_store(&rig->replicas[0].ready, 503);
	until(rig, shown(rig, "down") == 1);
	ask(rig, "/cut");
	assert_true(shown(rig, "open") == 1);
	rig->def.idle_timeout_ms = 20000;
	rig->def.connect_timeout_ms = 2000;
	rig_use(rig);
	assert_true(shown(rig, "down") == 1);
	assert_true(shown(rig, "open") == 1);
	assert_int_equal(look(rig).attempts, 4);
	/* Another kind of breaker begins anew. */
	rig->def.breaker.failures = 2;
	rig_use(rig);
	assert_true(shown(rig, "open") == 0);
	rig->def.idle_max = 0;
	rig_use(rig);
	assert_int_equal(look(rig).idle, 0);
	rig_destroy(rig);
}

static void an_address_that_is_gone_ends_what_it_has_and_gets_nothing_new(void **state)
{
	struct rig *rig = rig_create(2);
	struct try hanging[2];
	unsigned checks;

	rig_watch(rig);
	try_start(&hanging[0], rig, "/hang");
	try_start(&hanging[1], rig, "/hang");
	until(rig, atomic_load(&rig->replicas[0].asked) == 1 &&
			   atomic_load(&rig->replicas[1].asked) == 1);
	rig->def.addresses = slice_text(addresses_of(rig, 1, 1));
	rig_use(rig);
	assert_int_equal(look(rig).count, 1);
	assert_true(shown(rig, "up") == 1);
	checks = atomic_load(&rig->replicas[0].checks);
	for (int i = 0; i < 10; i++)
		assert_true(went_well(rig, "/"));
	assert_int_equal(atomic_load(&rig->replicas[0].asked), 1);
	atomic_store(&rig->replicas[1].checks, 0);
	until(rig, atomic_load(&rig->replicas[1].checks) > 4);
	assert_true(atomic_load(&rig->replicas[0].checks) <= checks + 1);
	atomic_store(&rig->replicas[0].released, true);
	atomic_store(&rig->replicas[1].released, true);
	until(rig, hanging[0].dones == 1 && hanging[1].dones == 1);
	until(rig, replica_open(&rig->replicas[0]) == 0);
	rig_destroy(rig);
}

static void an_address_that_comes_back_is_the_one_it_was(void **state)
{
	struct rig *rig = rig_create(1);
	struct slice addresses = rig->def.addresses;
	struct try hanging;

	try_start(&hanging, rig, "/hang");
	until(rig, atomic_load(&rig->replicas[0].asked) == 1);
	rig->def.addresses = SLICE("");
	rig_use(rig);
	turn(rig);
	assert_int_equal(look(rig).count, 0);
	rig->def.addresses = addresses;
	rig_use(rig);
	assert_int_equal(look(rig).active, 1);
	atomic_store(&rig->replicas[0].released, true);
	until(rig, hanging.dones == 1);
	assert_int_equal(look(rig).idle, 1);
	rig_destroy(rig);
}

static void an_upstream_that_is_gone_ends_what_it_has(void **state)
{
	struct rig *rig = rig_create(1);
	struct try hanging, other;

	rig_watch(rig);
	try_start(&hanging, rig, "/hang");
	until(rig, atomic_load(&rig->replicas[0].asked) == 1);
	gate_upstreams_use(rig->upstreams, NULL, 0);
	gate_upstreams_check(rig->upstreams);
	assert_null(rig_upstream(rig));
	assert_true(shown(rig, "up") == 0);
	rig_use(rig); /* one of the same name */
	try_start(&other, rig, "/");
	until(rig, other.dones == 1);
	atomic_store(&rig->replicas[0].released, true);
	until(rig, hanging.dones == 1);
	rig_destroy(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_says_503_gets_nothing_new_and_keeps_no_connections),
		cmocka_unit_test(one_that_is_killed_is_down_after_a_while_and_comes_back),
		cmocka_unit_test(a_check_that_is_late_or_says_nonsense_counts_once),
		cmocka_unit_test(when_all_are_down_they_are_asked_all_the_same),
		cmocka_unit_test(without_checks_everybody_is_up),
		cmocka_unit_test(first_checks_lie_anywhere_within_the_interval),
		cmocka_unit_test(an_open_breaker_keeps_all_away_then_one_may_try),
		cmocka_unit_test(a_trial_that_fails_opens_it_again),
		cmocka_unit_test(a_check_that_goes_well_ends_the_wait_of_an_open_one),
		cmocka_unit_test(a_trial_that_is_cancelled_makes_room_for_another),
		cmocka_unit_test(
			the_head_of_an_answer_closes_it_however_long_the_rest_takes),
		cmocka_unit_test(attempts_from_before_have_no_say_in_a_trial),
		cmocka_unit_test(beside_an_open_breaker_one_that_is_down_is_asked),
		cmocka_unit_test(what_is_known_survives_another_definition),
		cmocka_unit_test(
			an_address_that_is_gone_ends_what_it_has_and_gets_nothing_new),
		cmocka_unit_test(an_address_that_comes_back_is_the_one_it_was),
		cmocka_unit_test(an_upstream_that_is_gone_ends_what_it_has),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
