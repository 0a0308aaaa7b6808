/* SPDX-License-Identifier: MIT */
#include "store/amqp_window.h"

#include "base/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define TAGS 5000

/* Confirms as a broker may give them: any order, some for many at once, some twice. */
static void every_message_is_confirmed_exactly_once(void **state)
{
	static char sent[TAGS + 1];
	static bool confirmed[TAGS + 1];
	struct amqp_window window;
	struct random random;

	for (unsigned seed = 1; seed <= 20; seed++) {
		uint64_t next = 1, left = TAGS;

		random_init(&random, seed);
		amqp_window_init(&window);
		for (unsigned i = 0; i <= TAGS; i++)
			confirmed[i] = false;
		while (left > 0) {
			uint64_t tag, count = random_below(&random, 300);
			bool multiple = random_below(&random, 4) == 0;
			char *got;

			while (count-- && next <= TAGS && !amqp_window_full(&window))
				amqp_window_put(&window, &sent[next++]);
			tag = 1 + random_below(&random, next);
			while ((got = amqp_window_confirm(&window, tag, multiple))) {
				assert_false(confirmed[got - sent]);
				assert_true(multiple ? got - sent <= (long)tag
						     : got - sent == (long)tag);
				confirmed[got - sent] = true;
				left--;
			}
			if (tag < next)
				assert_true(confirmed[tag]);
			assert_true(window.next - window.first <= AMQP_WINDOW);
		}
		assert_true(amqp_window_empty(&window));
	}
}

static void what_is_left_comes_out_oldest_first(void **state)
{
	struct amqp_window window;
	int sent[4];

	amqp_window_init(&window);
	assert_null(amqp_window_take(&window));
	assert_null(amqp_window_confirm(&window, 1, true));
	for (unsigned i = 0; i < 4; i++)
		amqp_window_put(&window, &sent[i]);
	assert_ptr_equal(amqp_window_confirm(&window, 2, false), &sent[1]);
	assert_null(amqp_window_confirm(&window, 2, false));
	assert_null(amqp_window_confirm(&window, 5, false));
	assert_ptr_equal(amqp_window_take(&window), &sent[0]);
	assert_ptr_equal(amqp_window_take(&window), &sent[2]);
	assert_ptr_equal(amqp_window_take(&window), &sent[3]);
	assert_null(amqp_window_take(&window));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_message_is_confirmed_exactly_once),
		cmocka_unit_test(what_is_left_comes_out_oldest_first),
	};

	return cmocka_run_group_tests_name("amqp_window", tests, NULL, NULL);
}
