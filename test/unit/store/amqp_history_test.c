/* SPDX-License-Identifier: MIT */
/* The header x-death, as the broker writes it, and as anybody may write it who publishes
 * to a queue by its name. */
#include "store/amqp_history.h"

#include <amqp.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

static amqp_field_value_t text(const char *words)
{
	return (amqp_field_value_t){ .kind = AMQP_FIELD_KIND_UTF8,
				     .value.bytes = amqp_cstring_bytes(words) };
}

static amqp_field_value_t table(amqp_table_entry_t *entries, int count)
{
	return (amqp_field_value_t){ .kind = AMQP_FIELD_KIND_TABLE,
				     .value.table = { count, entries } };
}

static amqp_field_value_t array(amqp_field_value_t *values, int count)
{
	return (amqp_field_value_t){ .kind = AMQP_FIELD_KIND_ARRAY,
				     .value.array = { count, values } };
}

static amqp_table_entry_t entry(const char *name, amqp_field_value_t value)
{
	return (amqp_table_entry_t){ amqp_cstring_bytes(name), value };
}

static bool read(amqp_field_value_t deaths, struct amqp_death *death)
{
	amqp_table_entry_t header = entry("x-death", deaths);
	amqp_table_t headers = { 1, &header };

	return amqp_death_read(&headers, death);
}

static amqp_field_value_t time_of(uint64_t seconds)
{
	return (amqp_field_value_t){ .kind = AMQP_FIELD_KIND_TIMESTAMP,
				     .value.u64 = seconds };
}

static void the_newest_death_is_told_with_the_first_way_to_the_queue(void **state)
{
	amqp_field_value_t none = text(""), key = text("order.created");
	amqp_field_value_t count = { .kind = AMQP_FIELD_KIND_I64, .value.i64 = 3 };
	amqp_table_entry_t newest[] = {
		entry("queue", text("q")),   entry("reason", text("rejected")),
		entry("count", count),	     entry("time", time_of(1700000000)),
		entry("exchange", text("")), entry("routing-keys", array(&none, 1))
	};
	amqp_table_entry_t oldest[] = { entry("queue", text("q")),
					entry("reason", text("delivery_limit")),
					entry("exchange", text("events")),
					entry("routing-keys", array(&key, 1)) };
	amqp_field_value_t deaths[] = { table(newest, 6), table(oldest, 4) };
	struct amqp_death death;

	assert_true(read(array(deaths, 2), &death));
	assert_true(slice_equal(death.queue, SLICE("q")));
	assert_true(slice_equal(death.reason, SLICE("rejected")));
	assert_true(slice_equal(death.exchange, SLICE("events")));
	assert_true(slice_equal(death.routing_key, SLICE("order.created")));
	assert_int_equal(death.count, 3);
	assert_int_equal(death.time.ns, INT64_C(1700000000) * 1000000000);
}

static void a_time_beyond_the_calendar_is_none(void **state)
{
	static const uint64_t seconds[] = { INT64_MAX / 1000000000 + 1, INT64_MAX,
					    UINT64_MAX, UINT64_MAX - 5 };

	for (size_t i = 0; i < sizeof(seconds) / sizeof(*seconds); i++) {
		amqp_table_entry_t members[] = { entry("time", time_of(seconds[i])) };
		amqp_field_value_t deaths = table(members, 1);
		struct amqp_death death;

		assert_true(read(array(&deaths, 1), &death));
		assert_int_equal(death.time.ns, 0);
	}
}

static void what_is_no_history_is_none(void **state)
{
	amqp_field_value_t number = { .kind = AMQP_FIELD_KIND_I32, .value.i32 = 7 };
	amqp_field_value_t wrong[] = { number, text("x"), array(NULL, 0),
				       array(&number, 1), table(NULL, 0) };
	amqp_table_t empty = { 0, NULL };
	struct amqp_death death;

	assert_false(amqp_death_read(&empty, &death));
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		assert_false(read(wrong[i], &death));
		assert_int_equal(death.queue.size + death.routing_key.size, 0);
	}
}

static void members_of_a_wrong_kind_are_not_there(void **state)
{
	amqp_field_value_t number = { .kind = AMQP_FIELD_KIND_I32, .value.i32 = 7 };
	amqp_field_value_t word = text("x");
	amqp_table_entry_t members[] = { entry("queue", number),
					 entry("reason", array(&word, 1)),
					 entry("count", word),
					 entry("time", word),
					 entry("exchange", table(NULL, 0)),
					 entry("routing-keys", word) };
	amqp_field_value_t deaths[] = { table(members, 6), number, table(NULL, 0) };
	struct amqp_death death;

	assert_true(read(array(deaths, 3), &death));
	assert_int_equal(death.queue.size + death.reason.size + death.exchange.size +
				 death.routing_key.size,
			 0);
	assert_int_equal(death.count, 0);
	assert_int_equal(death.time.ns, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			the_newest_death_is_told_with_the_first_way_to_the_queue),
		cmocka_unit_test(a_time_beyond_the_calendar_is_none),
		cmocka_unit_test(what_is_no_history_is_none),
		cmocka_unit_test(members_of_a_wrong_kind_are_not_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
