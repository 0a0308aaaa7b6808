/* SPDX-License-Identifier: MIT */
/* log_test.c -- records reach the reader whole, in order, and as one line of JSON. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "watch/log.h"
#include "watch/trace.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>

static void wake_counts(void *context)
{
	atomic_fetch_add((atomic_int *)context, 1);
}

static void keep_line(void *context, const struct log_record *record)
{
	log_format_json(context, record, SLICE("orders"));
}

static struct log_hub *hub_with(enum log_severity minimum, struct log **log,
				atomic_int *wakes)
{
	struct log_hub *hub = log_hub_create(minimum, wake_counts, wakes);

	*log = log_create(hub, 65536);
	return hub;
}

static void a_record_becomes_one_line_of_json(void **state)
{
	atomic_int wakes = 0;
	struct log *log;
	struct log_hub *hub = hub_with(LOG_info, &log, &wakes);
	struct buf out = { 0 };
	struct wall now = { INT64_C(1785000000123456789) };
	struct trace_context trace;
	struct attr attrs[] = {
		attr_text(SLICE("route"), SLICE("/a/:b\n")),
		attr_integer(SLICE("status"), 200),
		attr_double(SLICE("duration_s"), 0.25),
		attr_bool(SLICE("retried"), false),
	};

	assert_true(trace_parse(
		SLICE("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
		SLICE(""), &trace));
	clock_set(NULL, &now);
	log_write(log, LOG_info, &trace, SLICE("request"), attrs, 4);
	log_write(log, LOG_error, NULL, SLICE("no \"trace\""), NULL, 0);
	log_printf(log, LOG_warn, "%d of %d", 1, 2);
	clock_set(NULL, NULL);
	assert_int_equal(log_hub_drain(hub, 100, keep_line, &out), 3);
	assert_string_equal(
		buf_text(&out),
		"{\"timestamp\":\"2026-07-25T17:20:00.123456Z\",\"level\":\"INFO\","
		"\"service\":\"orders\",\"message\":\"request\","
		"\"trace_id\":\"4bf92f3577b34da6a3ce929d0e0e4736\","
		"\"span_id\":\"00f067aa0ba902b7\",\"trace_flags\":\"01\","
		"\"route\":\"/a/"
		":b\\n\",\"status\":200,\"duration_s\":0.25,\"retried\":false}\n"
		"{\"timestamp\":\"2026-07-25T17:20:00.123456Z\",\"level\":\"ERROR\","
		"\"service\":\"orders\",\"message\":\"no \\\"trace\\\"\"}\n"
		"{\"timestamp\":\"2026-07-25T17:20:00.123456Z\",\"level\":\"WARN\","
		"\"service\":\"orders\",\"message\":\"1 of 2\"}\n");
	buf_finish(&out);
	log_hub_destroy(hub);
}

static void keep_generation(void *context, const struct log_record *record)
{
	buf_printf(context, "%u ", (unsigned)record->generation);
}

static void a_record_is_of_its_traces_generation_or_else_of_its_logs(void **state)
{
	struct trace_context known = { .trace_id = { 1 },
				       .span_id = { 2 },
				       .generation = 7 };
	struct trace_context unknown = { .trace_id = { 1 }, .span_id = { 2 } };
	atomic_int wakes = 0;
	struct log *log;
	struct log_hub *hub = hub_with(LOG_info, &log, &wakes);
	struct buf out = { 0 };

	log_write(log, LOG_info, &unknown, SLICE("a"), NULL, 0);
	log_write(log, LOG_info, &known, SLICE("b"), NULL, 0);
	log_set_generation(log, 8);
	log_write(log, LOG_info, &unknown, SLICE("c"), NULL, 0);
	log_write(log, LOG_info, &known, SLICE("d"), NULL, 0);
	log_printf(log, LOG_info, "e");
	assert_int_equal(log_hub_drain(hub, 100, keep_generation, &out), 5);
	assert_string_equal(buf_text(&out), "0 7 8 7 8 ");
	log_hub_destroy(hub);
	buf_finish(&out);
}

static void the_line_has_the_generation_when_it_is_known(void **state)
{
	struct trace_context trace = { .trace_id = { 1 },
				       .span_id = { 2 },
				       .generation = 7 };
	struct attr attr = attr_bool(SLICE("last"), true);
	atomic_int wakes = 0;
	struct log *log;
	struct log_hub *hub = hub_with(LOG_info, &log, &wakes);
	struct buf out = { 0 };

	log_write(log, LOG_info, &trace, SLICE("a"), &attr, 1);
	log_set_generation(log, UINT32_MAX);
	log_write(log, LOG_info, NULL, SLICE("b"), NULL, 0);
	log_hub_drain(hub, 100, keep_line, &out);
	assert_non_null(
		strstr(buf_text(&out),
		       ",\"trace_flags\":\"00\",\"generation\":7,\"last\":true}\n"));
	assert_non_null(
		strstr(out.at, ",\"message\":\"b\",\"generation\":4294967295}\n"));
	log_hub_destroy(hub);
	buf_finish(&out);
}

static void records_below_the_minimum_are_not_taken(void **state)
{
	atomic_int wakes = 0;
	struct log *log;
	struct log_hub *hub = hub_with(LOG_warn, &log, &wakes);
	struct buf out = { 0 };

	assert_false(log_enabled(log, LOG_info));
	assert_true(log_enabled(log, LOG_warn));
	log_write(log, LOG_info, NULL, SLICE("x"), NULL, 0);
	log_printf(log, LOG_debug, "x");
	assert_int_equal(log_hub_drain(hub, 100, keep_line, &out), 0);
	log_hub_destroy(hub);
	buf_finish(&out);
}

static void check_cut(void *context, const struct log_record *record)
{
	assert_int_equal(record->message.size, 8191);
	assert_int_equal(record->attr_count, LOG_ATTRS_MAX);
	assert_int_equal(record->attrs[0].text.size, 8192);
	*(bool *)context = true;
}

static void long_texts_are_cut_between_characters(void **state)
{
	atomic_int wakes = 0;
	struct log *log;
	struct log_hub *hub = hub_with(LOG_info, &log, &wakes);
	static char text[9000], euros[9000];
	struct attr attrs[LOG_ATTRS_MAX + 1];
	bool seen = false;

	memset(text, 'a', sizeof(text));
	for (size_t i = 0; i < sizeof(euros); i++)
		euros[i] = "\xe2\x82\xac"[i % 3];
	/* 8192 is not a multiple of 3: with one more byte in front the cut is at 8191. */
	euros[0] = 'a';
	memmove(euros + 1, euros + 3, sizeof(euros) - 3);
	for (int i = 0; i <= LOG_ATTRS_MAX; i++)
		attrs[i] = attr_integer(SLICE("n"), i);
	attrs[0] = attr_text(SLICE("t"), slice_of(text, sizeof(text)));
	log_write(log, LOG_info, NULL, slice_of(euros, sizeof(euros)), attrs,
		  LOG_ATTRS_MAX + 1);
	log_hub_drain(hub, 1, check_cut, &seen);
	assert_true(seen);
	log_hub_destroy(hub);
}

static void count_records(void *context, const struct log_record *record)
{
	++*(size_t *)context;
}

static void a_full_ring_drops_and_counts(void **state)
{
	atomic_int wakes = 0;
	struct log_hub *hub = log_hub_create(LOG_debug, wake_counts, &wakes);
	struct log *log = log_create(hub, 4096);
	size_t taken = 0;

	for (int i = 0; i < 1000; i++)
		log_write(log, LOG_info, NULL, SLICE("hello"), NULL, 0);
	log_hub_drain(hub, 10000, count_records, &taken);
	assert_in_range(taken, 10, 999);
	assert_int_equal(log_hub_dropped(hub), 1000 - taken);
	log_hub_destroy(hub);
}

static void a_sleeping_reader_is_woken_once(void **state)
{
	atomic_int wakes = 0;
	struct log *log;
	struct log_hub *hub = hub_with(LOG_info, &log, &wakes);
	size_t taken = 0;

	log_write(log, LOG_info, NULL, SLICE("a"), NULL, 0);
	assert_int_equal(wakes, 0);
	assert_false(log_hub_sleep(hub));
	log_hub_drain(hub, 10, count_records, &taken);
	assert_true(log_hub_sleep(hub));
	log_write(log, LOG_info, NULL, SLICE("b"), NULL, 0);
	log_write(log, LOG_info, NULL, SLICE("c"), NULL, 0);
	assert_int_equal(wakes, 1);
	log_hub_destroy(hub);
}

static void one_busy_thread_does_not_starve_the_others(void **state)
{
	atomic_int wakes = 0;
	struct log *busy, *quiet;
	struct log_hub *hub = hub_with(LOG_info, &quiet, &wakes);
	struct buf out = { 0 };

	busy = log_create(hub, 65536);
	for (int i = 0; i < 400; i++)
		log_write(busy, LOG_info, NULL, SLICE("busy"), NULL, 0);
	log_write(quiet, LOG_info, NULL, SLICE("quiet"), NULL, 0);
	assert_int_equal(log_hub_drain(hub, 100, keep_line, &out), 100);
	assert_non_null(strstr(buf_text(&out), "quiet"));
	buf_finish(&out);
	log_hub_destroy(hub);
}

/* --- threads ---------------------------------------------------------------------- */

#define THREADS 3
#define RECORDS 20000

struct writer {
	struct log_hub *hub;
	int number;
};

static void *write_records(void *context)
{
	struct writer *writer = context;
	struct log *log = log_create(writer->hub, 1 << 22);

	for (int i = 0; i < RECORDS; i++) {
		struct attr attrs[] = { attr_integer(SLICE("thread"), writer->number),
					attr_integer(SLICE("n"), i) };

		log_write(log, LOG_info, NULL, SLICE("x"), attrs, 2);
	}
	return NULL;
}

struct seen {
	int64_t next[THREADS];
	size_t out_of_order;
};

static void see(void *context, const struct log_record *record)
{
	struct seen *seen = context;

	seen->out_of_order +=
		record->attrs[1].integer < seen->next[record->attrs[0].integer];
	seen->next[record->attrs[0].integer] = record->attrs[1].integer + 1;
}

static void threads_may_be_added_while_another_drains(void **state)
{
	atomic_int wakes = 0;
	struct log_hub *hub = log_hub_create(LOG_info, wake_counts, &wakes);
	struct writer writers[THREADS];
	pthread_t threads[THREADS];
	struct seen seen = { 0 };
	size_t taken = 0;

	for (int i = 0; i < THREADS; i++) {
		writers[i] = (struct writer){ hub, i };
		assert_int_equal(
			pthread_create(&threads[i], NULL, write_records, &writers[i]), 0);
	}
	while (taken + log_hub_dropped(hub) < THREADS * RECORDS) {
		taken += log_hub_drain(hub, 1000, see, &seen);
		if (log_hub_sleep(hub))
			sched_yield();
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(seen.out_of_order, 0);
	for (int i = 0; i < THREADS; i++)
		assert_true(seen.next[i] > 0);
	log_hub_destroy(hub);
}

static void severities_have_names(void **state)
{
	enum log_severity severity;

	assert_true(log_severity_of(SLICE("Warn"), &severity));
	assert_int_equal(severity, LOG_warn);
	assert_false(log_severity_of(SLICE("loud"), &severity));
	assert_string_equal(log_severity_name(LOG_debug), "DEBUG");
	assert_string_equal(log_severity_name((enum log_severity)20), "ERROR");
	assert_string_equal(log_severity_name((enum log_severity)1), "TRACE");
	assert_string_equal(log_severity_name(LOG_fatal), "FATAL");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_record_becomes_one_line_of_json),
		cmocka_unit_test(
			a_record_is_of_its_traces_generation_or_else_of_its_logs),
		cmocka_unit_test(the_line_has_the_generation_when_it_is_known),
		cmocka_unit_test(records_below_the_minimum_are_not_taken),
		cmocka_unit_test(long_texts_are_cut_between_characters),
		cmocka_unit_test(a_full_ring_drops_and_counts),
		cmocka_unit_test(a_sleeping_reader_is_woken_once),
		cmocka_unit_test(one_busy_thread_does_not_starve_the_others),
		cmocka_unit_test(threads_may_be_added_while_another_drains),
		cmocka_unit_test(severities_have_names),
	};

	return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
