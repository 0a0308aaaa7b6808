/* SPDX-License-Identifier: MIT */
#include "store/pg_prepared.h"

#include "base/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

static void the_least_recently_used_falls_out(void **state)
{
	struct pg_prepared prepared;
	uint64_t dropped, first = 0;
	bool ready;
	char sql[32];

	pg_prepared_init(&prepared);
	for (int i = 0; i < PG_PREPARED_MAX; i++) {
		snprintf(sql, sizeof(sql), "select %d", i);
		assert_int_equal(pg_prepared_add(&prepared, slice_text(sql), &dropped),
				 i + 1);
		assert_int_equal(dropped, 0);
	}
	first = pg_prepared_find(&prepared, SLICE("select 0"), &ready);
	assert_int_equal(first, 1);
	assert_false(ready);
	pg_prepared_confirm(&prepared, SLICE("select 0"), 1);
	pg_prepared_add(&prepared, SLICE("one more"), &dropped);
	assert_int_equal(dropped, 2);
	assert_int_equal(pg_prepared_find(&prepared, SLICE("select 0"), &ready), 1);
	assert_true(ready);
	assert_int_equal(pg_prepared_find(&prepared, SLICE("select 1"), &ready), 0);
	assert_false(pg_prepared_drop(&prepared, SLICE("select 0"), 99));
	assert_true(pg_prepared_drop(&prepared, SLICE("select 0"), 1));
	assert_int_equal(pg_prepared_find(&prepared, SLICE("select 0"), &ready), 0);
	pg_prepared_check(&prepared);
	pg_prepared_finish(&prepared);
}

static void a_random_walk_keeps_the_books(void **state)
{
	struct pg_prepared prepared;
	struct random random;
	uint64_t dropped, serial;
	bool ready;
	char sql[32];

	random_init(&random, 7);
	pg_prepared_init(&prepared);
	for (int step = 0; step < 20000; step++) {
		snprintf(sql, sizeof(sql), "select %d", (int)random_below(&random, 400));
		serial = pg_prepared_find(&prepared, slice_text(sql), &ready);
		if (!serial)
			serial = pg_prepared_add(&prepared, slice_text(sql), &dropped);
		else if (random_below(&random, 5) == 0)
			assert_true(pg_prepared_drop(&prepared, slice_text(sql), serial));
		if (step % 50 == 0)
			pg_prepared_check(&prepared);
	}
	pg_prepared_finish(&prepared);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_least_recently_used_falls_out),
		cmocka_unit_test(a_random_walk_keeps_the_books),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
