/* SPDX-License-Identifier: MIT */
/* chaos_test.c -- points that break only when armed, and only as often as asked. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/chaos.h"

#include <string.h>

static void nothing_breaks_unarmed(void **state)
{
	struct chaos chaos = { 0 };
	struct chaos_effect none = { 0 };

	for (int at = 0; at < CHAOS_points; at++) {
		struct chaos_effect effect = chaos_point(&chaos, (enum chaos_at)at);

		assert_int_equal(effect.fail, FAULT_none);
		assert_int_equal(effect.delay_ms, none.delay_ms);
		assert_false(effect.cut);
	}
}

static void a_point_breaks_as_often_as_armed(void **state)
{
	struct chaos chaos = { 0 };
	struct chaos_effect effect = { .fail = FAULT_unavailable };

	chaos_arm(&chaos, CHAOS_pg_query, effect, 2);
	assert_int_equal(chaos_point(&chaos, CHAOS_pg_commit).fail, FAULT_none);
	assert_int_equal(chaos_point(&chaos, CHAOS_pg_query).fail, FAULT_unavailable);
	assert_int_equal(chaos_point(&chaos, CHAOS_pg_query).fail, FAULT_unavailable);
	assert_int_equal(chaos_point(&chaos, CHAOS_pg_query).fail, FAULT_none);
	assert_int_equal(chaos.armed, 0);
}

static void always_lasts_until_disarmed(void **state)
{
	struct chaos chaos = { 0 };

	chaos_arm(&chaos, CHAOS_http_call, (struct chaos_effect){ .delay_ms = 5 }, -1);
	chaos_arm(&chaos, CHAOS_redis_command, (struct chaos_effect){ .cut = true }, 1);
	chaos_arm(&chaos, CHAOS_http_call, (struct chaos_effect){ .delay_ms = 9 }, -1);
	for (int i = 0; i < 100; i++)
		assert_int_equal(chaos_point(&chaos, CHAOS_http_call).delay_ms, 9);
	assert_int_equal(chaos.armed, 2);
	chaos_disarm(&chaos, CHAOS_http_call);
	chaos_disarm(&chaos, CHAOS_http_call);
	assert_int_equal(chaos_point(&chaos, CHAOS_http_call).delay_ms, 0);
	assert_true(chaos_point(&chaos, CHAOS_redis_command).cut);
	chaos_arm(&chaos, CHAOS_http_call, (struct chaos_effect){ .cut = true }, 0);
	assert_int_equal(chaos.armed, 0);
}

static void points_are_known_by_name_in_sorted_order(void **state)
{
	enum chaos_at at;

	for (int i = 0; i < CHAOS_points; i++) {
		const char *name = chaos_name((enum chaos_at)i);

		assert_true(chaos_at_of(slice_text(name), &at));
		assert_int_equal(at, i);
		if (i > 0)
			assert_true(strcmp(chaos_name((enum chaos_at)(i - 1)), name) < 0);
	}
	assert_false(chaos_at_of(SLICE("nowhere"), &at));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_breaks_unarmed),
		cmocka_unit_test(a_point_breaks_as_often_as_armed),
		cmocka_unit_test(always_lasts_until_disarmed),
		cmocka_unit_test(points_are_known_by_name_in_sorted_order),
	};

	return cmocka_run_group_tests_name("chaos", tests, NULL, NULL);
}
