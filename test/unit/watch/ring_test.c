/* SPDX-License-Identifier: MIT */
/* ring_test.c -- records from one thread to another: whole, in order, or counted as
 * dropped. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/random.h"
#include "watch/ring.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>

/* A record that tells what it must look like: its number, then bytes made from it. */
static void fill(char *record, size_t size, uint32_t number)
{
	memset(record, (int)(number * 31), size);
	memcpy(record, &number, sizeof(number));
}

static uint32_t number_of(struct slice record)
{
	uint32_t number;

	assert_true(record.size >= sizeof(number));
	memcpy(&number, record.at, sizeof(number));
	for (size_t i = sizeof(number); i < record.size; i++)
		if (record.at[i] != (char)(number * 31))
			fail_msg("record %u is torn", number);
	return number;
}

static void a_random_walk_loses_nothing_but_what_it_counts(void **state)
{
	struct ring *ring = ring_create(4096);
	struct random random;
	uint32_t written = 0, dropped = 0, read = 0;
	static uint32_t order[200000];
	size_t waiting = 0;

	random_init(&random, 1);
	for (int step = 0; step < 200000; step++) {
		size_t size = 4 + random_below(&random, 900);
		struct slice record;

		/* The balance tips every 500 steps, so that the ring fills up and runs
		 * empty. */
		if (random_below(&random, 10) < (step / 500 % 2 ? 7u : 3u)) {
			char *at = ring_begin(ring, size);

			if (at) {
				size_t less = 4 + random_below(&random, size - 3);

				assert_int_equal((uintptr_t)at % 8, 0);
				fill(at, less, (uint32_t)step);
				ring_commit(ring, less);
				order[written++] = (uint32_t)step;
				waiting++;
			} else {
				assert_true(ring_used_bytes(ring) > 0);
				dropped++;
			}
		} else if (ring_peek(ring, &record)) {
			assert_int_equal(number_of(record), order[read++]);
			ring_check(ring);
			ring_release(ring);
			waiting--;
		} else {
			assert_int_equal(waiting, 0);
			assert_int_equal(ring_used_bytes(ring), 0);
		}
		ring_check(ring);
		assert_int_equal(written - read, waiting);
	}
	assert_true(dropped > 100 && written > 50000);
	assert_int_equal(ring_dropped(ring), dropped);
	ring_destroy(ring);
}

static void the_whole_ring_is_there_for_a_burst_after_a_rest(void **state)
{
	struct ring *ring = ring_create(8192);

	for (uint32_t burst = 0; burst < 100; burst++) {
		unsigned count = 0;
		struct slice record;

		for (; ring_used_bytes(ring) + 200 < 8192 - 200; count++) {
			char *at = ring_begin(ring, 100 + burst);

			assert_non_null(at);
			fill(at, 100 + burst, count);
			ring_commit(ring, 100 + burst);
		}
		assert_true(count > 30);
		for (unsigned i = 0; i < count; i++) {
			assert_true(ring_peek(ring, &record));
			assert_int_equal(number_of(record), i);
			ring_release(ring);
		}
		assert_false(ring_peek(ring, &record));
		ring_check(ring);
	}
	assert_int_equal(ring_dropped(ring), 0);
	ring_destroy(ring);
}

static void a_record_that_cannot_fit_is_dropped_at_once(void **state)
{
	struct ring *ring = ring_create(4096);

	assert_null(ring_begin(ring, 4096));
	assert_null(ring_begin(ring, SIZE_MAX));
	assert_non_null(ring_begin(ring, 4096 - 8));
	assert_int_equal(ring_dropped(ring), 2);
	ring_destroy(ring);
	ring_destroy(NULL);
}

static void a_record_not_committed_is_not_seen(void **state)
{
	struct ring *ring = ring_create(4096);
	struct slice record;

	fill(ring_begin(ring, 100), 100, 1);
	assert_false(ring_peek(ring, &record));
	fill(ring_begin(ring, 50), 50, 2);
	ring_commit(ring, 50);
	assert_true(ring_peek(ring, &record));
	assert_int_equal(number_of(record), 2);
	assert_int_equal(record.size, 50);
	ring_release(ring);
	assert_false(ring_peek(ring, &record));
	ring_destroy(ring);
}

static void an_empty_record_is_a_record(void **state)
{
	struct ring *ring = ring_create(4096);
	struct slice record;

	for (int i = 0; i < 2000; i++) {
		assert_non_null(ring_begin(ring, 0));
		ring_commit(ring, 0);
		assert_true(ring_peek(ring, &record));
		assert_int_equal(record.size, 0);
		ring_release(ring);
		ring_check(ring);
	}
	ring_destroy(ring);
}

/* --- two threads ------------------------------------------------------------------ */

#define HANDED_OVER 300000

static void *write_all(void *context)
{
	struct ring *ring = context;
	struct random random;

	random_init(&random, 2);
	for (uint32_t number = 0; number < HANDED_OVER;) {
		size_t size = 4 + random_below(&random, 300);
		char *at = ring_begin(ring, size);

		if (at == NULL) {
			sched_yield();
			continue;
		}
		fill(at, size, number++);
		ring_commit(ring, size);
	}
	return NULL;
}

static void two_threads_hand_over_every_record_in_order(void **state)
{
	struct ring *ring = ring_create(8192);
	struct slice record;
	pthread_t writer;

	assert_int_equal(pthread_create(&writer, NULL, write_all, ring), 0);
	for (uint32_t number = 0; number < HANDED_OVER;) {
		if (!ring_peek(ring, &record)) {
			sched_yield();
			continue;
		}
		if (number_of(record) != number)
			fail_msg("record %u came in place of %u", number_of(record),
				 number);
		ring_release(ring);
		number++;
	}
	assert_int_equal(pthread_join(writer, NULL), 0);
	assert_false(ring_peek(ring, &record));
	ring_check(ring);
	ring_destroy(ring);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_random_walk_loses_nothing_but_what_it_counts),
		cmocka_unit_test(the_whole_ring_is_there_for_a_burst_after_a_rest),
		cmocka_unit_test(a_record_that_cannot_fit_is_dropped_at_once),
		cmocka_unit_test(a_record_not_committed_is_not_seen),
		cmocka_unit_test(an_empty_record_is_a_record),
		cmocka_unit_test(two_threads_hand_over_every_record_in_order),
	};

	return cmocka_run_group_tests_name("ring", tests, NULL, NULL);
}
