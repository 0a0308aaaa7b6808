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

/* One record in a trace and one without, in each dialect. */
static const struct log_record full = {
	.time = { INT64_C(1785000000123456789) },
	.severity = LOG_warn,
	.in_trace = true,
	.trace_id = { 0x4b, 0xf9, 0x2f, 0x35, 0x77, 0xb3, 0x4d, 0xa6, 0xa3, 0xce, 0x92,
		      0x9d, 0x0e, 0x0e, 0x47, 0x36 },
	.span_id = { 0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7 },
	.trace_flags = 1,
	.generation = 3,
	.message = { "stock of {Sku}", 14 },
};

#define TRACE_ID "4bf92f3577b34da6a3ce929d0e0e4736"
#define SPAN_ID "00f067aa0ba902b7"

static const struct {
	const char *name, *in_trace, *bare;
} spoken[LOG_DIALECTS] = {
	{ "default",
	  "{\"timestamp\":\"2026-07-25T17:20:00.123456Z\",\"level\":\"WARN\","
	  "\"service\":\"orders\",\"message\":\"stock of {Sku}\","
	  "\"trace_id\":\"" TRACE_ID "\",\"span_id\":\"" SPAN_ID
	  "\",\"trace_flags\":\"01\",\"generation\":3,\"Sku\":\"A-1\",\"left\":2}\n",
	  "{\"timestamp\":\"2026-07-25T17:20:00.123456Z\",\"level\":\"INFO\","
	  "\"service\":\"orders\",\"message\":\"ready\"}\n" },
	{ "trio",
	  "{\"level\":\"warn\",\"trace_id\":\"" TRACE_ID
	  "\",\"msg\":\"stock of {Sku}\",\"generation\":3,\"Sku\":\"A-1\",\"left\":2}\n",
	  "{\"level\":\"info\",\"msg\":\"ready\"}\n" },
	{ "python",
	  "{\"level\":\"warning\",\"msg\":\"stock of {Sku}\","
	  "\"timestamp\":\"2026-07-25T17:20:00.123456Z\",\"service\":\"orders\","
	  "\"trace_id\":\"" TRACE_ID "\",\"span_id\":\"" SPAN_ID
	  "\",\"generation\":3,\"Sku\":\"A-1\",\"left\":2}\n",
	  "{\"level\":\"info\",\"msg\":\"ready\","
	  "\"timestamp\":\"2026-07-25T17:20:00.123456Z\",\"service\":\"orders\"}\n" },
	{ "zap",
	  "{\"level\":\"warn\",\"timestamp\":1785000000.123456,"
	  "\"msg\":\"stock of {Sku}\",\"service\":\"orders\","
	  "\"trace_id\":\"" TRACE_ID "\",\"span_id\":\"" SPAN_ID
	  "\",\"generation\":3,\"Sku\":\"A-1\",\"left\":2}\n",
	  "{\"level\":\"info\",\"timestamp\":1785000000.123456,\"msg\":\"ready\","
	  "\"service\":\"orders\"}\n" },
	{ "clef",
	  "{\"@t\":\"2026-07-25T17:20:00.123456Z\",\"@mt\":\"stock of {Sku}\","
	  "\"@l\":\"Warning\",\"@tr\":\"" TRACE_ID "\",\"@sp\":\"" SPAN_ID
	  "\",\"service\":\"orders\",\"generation\":3,\"Sku\":\"A-1\",\"left\":2}\n",
	  "{\"@t\":\"2026-07-25T17:20:00.123456Z\",\"@mt\":\"ready\","
	  "\"@l\":\"Information\",\"service\":\"orders\"}\n" },
	{ "pino",
	  "{\"level\":40,\"time\":1785000000123,\"service\":\"orders\","
	  "\"msg\":\"stock of {Sku}\",\"trace_id\":\"" TRACE_ID
	  "\",\"span_id\":\"" SPAN_ID "\",\"generation\":3,\"Sku\":\"A-1\",\"left\":2}\n",
	  "{\"level\":30,\"time\":1785000000123,\"service\":\"orders\","
	  "\"msg\":\"ready\"}\n" },
};

static void every_dialect_has_its_words(void **state)
{
	struct attr attrs[] = { attr_text(SLICE("Sku"), SLICE("A-1")),
				attr_integer(SLICE("left"), 2) };
	struct log_record in_trace = full;
	struct log_record bare = { .time = full.time,
				   .severity = LOG_info,
				   .message = SLICE("ready") };
	struct buf out = { 0 };

	in_trace.attrs = attrs;
	in_trace.attr_count = 2;
	for (size_t i = 0; i < LOG_DIALECTS; i++) {
		enum log_dialect dialect;

		assert_true(log_dialect_of(slice_text(spoken[i].name), &dialect));
		assert_int_equal(dialect, i);
		buf_reset(&out);
		log_format(&out, dialect, &in_trace, SLICE("orders"));
		assert_string_equal(buf_text(&out), spoken[i].in_trace);
		buf_reset(&out);
		log_format(&out, dialect, &bare, SLICE("orders"));
		assert_string_equal(buf_text(&out), spoken[i].bare);
	}
	buf_finish(&out);
}

static void every_dialect_has_a_word_for_every_severity(void **state)
{
	static const enum log_severity severities[] = { LOG_debug, LOG_info, LOG_warn,
							LOG_error, LOG_fatal };
	static const char *const words[LOG_DIALECTS] = {
		"\"DEBUG\" \"INFO\" \"WARN\" \"ERROR\" \"FATAL\" ",
		"\"debug\" \"info\" \"warn\" \"error\" \"fatal\" ",
		"\"debug\" \"info\" \"warning\" \"error\" \"critical\" ",
		"\"debug\" \"info\" \"warn\" \"error\" \"fatal\" ",
		"\"Debug\" \"Information\" \"Warning\" \"Error\" \"Fatal\" ",
		"20 30 40 50 60 ",
	};

	for (size_t i = 0; i < LOG_DIALECTS; i++) {
		struct buf words_of = { 0 }, line = { 0 };

		for (size_t s = 0; s < 5; s++) {
			struct log_record record = { .severity = severities[s] };
			const char *key =
				i == LOG_DIALECT_clef ? "\"@l\":" : "\"level\":";
			const char *at;

			buf_reset(&line);
			log_format(&line, (enum log_dialect)i, &record, SLICE("x"));
			at = strstr(buf_text(&line), key);
			assert_non_null(at);
			at += strlen(key);
			buf_printf(&words_of, "%.*s ", (int)strcspn(at, ",}"), at);
		}
		assert_string_equal(buf_text(&words_of), words[i]);
		buf_finish(&words_of);
		buf_finish(&line);
	}
}

/* What stands on a line behind its members. */
static void assert_names(enum log_dialect dialect, const struct attr *attrs, size_t count,
			 const char *end)
{
	struct log_record record = { .severity = LOG_info,
				     .message = SLICE("m"),
				     .attrs = attrs,
				     .attr_count = count };
	struct buf out = { 0 };

	log_format(&out, dialect, &record, SLICE("s"));
	buf_text(&out);
	if (out.size < strlen(end) || strcmp(out.at + out.size - strlen(end), end) != 0)
		fail_msg("%s does not end with %s", out.at, end);
	buf_finish(&out);
}

static void no_key_stands_twice(void **state)
{
	struct attr attrs[] = {
		attr_integer(SLICE("level"), 1),      attr_integer(SLICE("level_"), 2),
		attr_integer(SLICE("level"), 3),      attr_integer(SLICE("trace_id"), 4),
		attr_integer(SLICE("a\xff"), 5),      attr_integer(SLICE("a\xfe"), 6),
		attr_integer(SLICE("generation"), 7), attr_integer(SLICE("\"\n"), 8),
		attr_integer(SLICE("\"\n"), 9),	      attr_integer(SLICE(""), 10),
		attr_integer(SLICE(""), 11),
	};

	/* trace_id is not on this line; its name is taken all the same. */
	assert_names(LOG_DIALECT_default, attrs, 11,
		     ",\"level_\":1,\"level__\":2,\"level___\":3,\"trace_id_\":4,"
		     "\"a\xef\xbf\xbd\":5,\"a\xef\xbf\xbd_\":6,\"generation_\":7,"
		     "\"\\\"\\n\":8,\"\\\"\\n_\":9,\"\":10,\"_\":11}\n");
	/* CLEF has no member of these names, and pino writes no message. */
	assert_names(LOG_DIALECT_clef, attrs, 1, ",\"level\":1}\n");
	attrs[0].key = SLICE("message");
	assert_names(LOG_DIALECT_pino, attrs, 1, ",\"message\":1}\n");
	attrs[0].key = SLICE("time");
	assert_names(LOG_DIALECT_pino, attrs, 1, ",\"time_\":1}\n");
	assert_names(LOG_DIALECT_zap, attrs, 1, ",\"time\":1}\n");
}

static void in_clef_a_leading_at_sign_is_doubled(void **state)
{
	const struct attr attrs[] = {
		attr_integer(SLICE("@t"), 1),  attr_integer(SLICE("@@t"), 2),
		attr_integer(SLICE("@"), 3),   attr_integer(SLICE("a@b"), 4),
		attr_integer(SLICE("@mt"), 5), attr_integer(SLICE("service"), 6),
	};

	assert_names(LOG_DIALECT_clef, attrs, 6,
		     ",\"@@t\":1,\"@@@t\":2,\"@@\":3,\"a@b\":4,\"@@mt\":5,"
		     "\"service_\":6}\n");
	assert_names(LOG_DIALECT_pino, attrs, 1, ",\"@t\":1}\n");
}

static void as_many_attributes_as_a_record_holds_are_told_apart(void **state)
{
	struct attr attrs[LOG_ATTRS_MAX];
	struct log_record record = { .attrs = attrs, .attr_count = LOG_ATTRS_MAX };
	struct buf out = { 0 }, name = { 0 };

	for (int i = 0; i < LOG_ATTRS_MAX; i++)
		attrs[i] = attr_integer(SLICE("@"), i);
	log_format(&out, LOG_DIALECT_clef, &record, SLICE("s"));
	buf_printf(&name, "\"@@");
	for (int i = 0; i < LOG_ATTRS_MAX; i++) {
		struct buf part = { 0 };

		buf_printf(&part, "%.*s\":%d", (int)name.size, name.at, i);
		assert_non_null(strstr(buf_text(&out), buf_text(&part)));
		buf_append_byte(&name, '_');
		buf_finish(&part);
	}
	buf_finish(&name);
	buf_finish(&out);
}

static void an_unknown_dialect_is_none(void **state)
{
	enum log_dialect dialect = LOG_DIALECT_zap;

	assert_false(log_dialect_of(SLICE("Zap"), &dialect));
	assert_false(log_dialect_of(SLICE(""), &dialect));
	assert_int_equal(dialect, LOG_DIALECT_zap);
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
		cmocka_unit_test(every_dialect_has_its_words),
		cmocka_unit_test(every_dialect_has_a_word_for_every_severity),
		cmocka_unit_test(no_key_stands_twice),
		cmocka_unit_test(in_clef_a_leading_at_sign_is_doubled),
		cmocka_unit_test(as_many_attributes_as_a_record_holds_are_told_apart),
		cmocka_unit_test(an_unknown_dialect_is_none),
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
