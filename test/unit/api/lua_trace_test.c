/* SPDX-License-Identifier: MIT */
#include "script_rig.h"

#include "base/hex.h"

static const struct rig_module modules[] = { { "native.fault", api_open_fault },
					     { "native.task", api_open_task },
					     { "native.trace", api_open_trace },
					     { 0 } };

static struct rig rig;
static struct trace_context parent;

#define TRACE "local trace, task = require 'native.trace', require 'native.task' "

static int open_rig(void **state)
{
	rig_init(&rig);
	rig_open(&rig, 32 << 20, modules);
	assert_true(trace_parse(
		SLICE("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
		SLICE("vendor=1"), &parent));
	rig.trace = &parent;
	return 0;
}

static int close_rig(void **state)
{
	rig_finish(&rig);
	return 0;
}

/* --- finished spans: the OTLP fields 1 trace_id, 2 span_id, 4 parent_span_id, 5 name, 9
 * attributes, 15 status
 * -------------------------------------------------------------------- */

struct finished {
	char trace_id[33];
	char span_id[17];
	char parent_id[17];
	char name[32];
	char attributes[256]; /* raw, with zeros made dots */
	bool failed;
};

static uint64_t varint(const uint8_t **at)
{
	uint64_t value = 0;
	int shift = 0;

	do
		value |= (uint64_t)(**at & 0x7F) << shift;
	while (shift += 7, *(*at)++ & 0x80);
	return value;
}

static void read_field(struct finished *span, unsigned field, const uint8_t *at,
		       size_t size)
{
	if (field == 1)
		hex_encode(at, 16, span->trace_id);
	else if (field == 2)
		hex_encode(at, 8, span->span_id);
	else if (field == 4)
		hex_encode(at, size, span->parent_id);
	else if (field == 5)
		snprintf(span->name, sizeof(span->name), "%.*s", (int)size,
			 (const char *)at);
	else if (field == 15)
		span->failed = true;
	if (field != 9)
		return;
	for (size_t i = 0, end = strlen(span->attributes); i < size && end + i + 1 < 256;
	     i++)
		span->attributes[end + i] =
			at[i] >= 0x20 && at[i] < 0x7F ? (char)at[i] : '.';
}

static struct finished decode(struct slice bytes)
{
	struct finished span = { 0 };
	const uint8_t *at = (const uint8_t *)bytes.at, *end = at + bytes.size;

	while (at < end) {
		uint64_t tag = varint(&at);
		size_t size;

		switch (tag & 7) {
		case 0:
			varint(&at);
			break;
		case 1:
			at += 8;
			break;
		case 2:
			size = varint(&at);
			read_field(&span, (unsigned)(tag >> 3), at, size);
			at += size;
			break;
		default:
			at += 4;
		}
	}
	return span;
}

static struct finished spans[32];
static size_t span_count;

/* Takes what has ended since. */
static void take_spans(void)
{
	struct slice bytes;

	span_count = 0;
	while (span_count < 32 && tracer_peek(rig.observer.tracer, &bytes)) {
		spans[span_count++] = decode(bytes);
		tracer_release(rig.observer.tracer);
	}
}

static const struct finished *span_named(const char *name)
{
	for (size_t i = 0; i < span_count; i++)
		if (strcmp(spans[i].name, name) == 0)
			return &spans[i];
	fail_msg("no span %s among %zu", name, span_count);
	return NULL;
}

static void a_span_gives_what_its_function_gives(void **state)
{
	assert_run(&rig,
		   TRACE
		   "return trace.span('price', nil, function() return 1, nil, 'x' end)",
		   "1 nil x");
	take_spans();
	assert_int_equal(span_count, 1);
	assert_string_equal(spans[0].name, "price");
	assert_string_equal(spans[0].trace_id, "0af7651916cd43dd8448eb211c80319c");
	assert_string_equal(spans[0].parent_id, "b7ad6b7169203331");
	assert_false(spans[0].failed);
}

static void spans_nest_over_sleeps(void **state)
{
	assert_run(&rig,
		   TRACE
		   "return trace.span('outer', {lines = 3}, function() task.sleep(0.01) "
		   "local v = trace.span('inner', nil, function() task.sleep(0.01) "
		   "return 'in' end) "
		   "trace.span('second', nil, function() end) task.sleep(0.001) return v "
		   "end)",
		   "in");
	take_spans();
	assert_int_equal(span_count, 3);
	assert_string_equal(span_named("inner")->parent_id, span_named("outer")->span_id);
	assert_string_equal(span_named("second")->parent_id,
			    span_named("outer")->span_id);
	assert_string_equal(span_named("outer")->parent_id, "b7ad6b7169203331");
	assert_contains(span_named("outer")->attributes, "lines");
}

static void tasks_side_by_side_do_not_mix_their_spans(void **state)
{
	assert_run(&rig,
		   TRACE
		   "local function part(name) return function() "
		   "return trace.span(name, nil, function() task.sleep(0.005) "
		   "return trace.span(name .. '.in', nil, function() task.sleep(0.005) "
		   "return name end) end) end end "
		   "return trace.span('all', nil, function() "
		   "return task.all{part 'a', part 'b'} end)",
		   "a b");
	take_spans();
	assert_string_equal(span_named("a.in")->parent_id, span_named("a")->span_id);
	assert_string_equal(span_named("b.in")->parent_id, span_named("b")->span_id);
	assert_string_equal(span_named("a")->parent_id, span_named("all")->span_id);
	assert_string_equal(span_named("b")->parent_id, span_named("all")->span_id);
}

static void a_raised_error_fails_the_span_and_goes_on(void **state)
{
	assert_run(
		&rig,
		TRACE
		"trace.span('outer', nil, function() trace.span('inner', nil, function() "
		"task.sleep(0.001) require('native.fault').raise('refused', 'no stock') "
		"end) end)",
		"refused: no stock");
	take_spans();
	assert_true(span_named("inner")->failed);
	assert_true(span_named("outer")->failed);
	assert_contains(span_named("inner")->attributes, "refused");

	assert_run(&rig,
		   TRACE "local ok, why = pcall(trace.span, 'x', nil, function() "
			 "error({a = 1}) end) "
			 "return ok, why.a",
		   "false 1");
	take_spans();
	assert_true(span_named("x")->failed);
}

static void the_context_is_that_of_the_current_span(void **state)
{
	char expected[80];

	assert_run(&rig, TRACE "return trace.context()",
		   "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01 vendor=1");
	rig_run(&rig, TRACE "local inside = trace.span('s', nil, function() return "
			    "trace.context() end) "
			    "return inside");
	take_spans();
	snprintf(expected, sizeof(expected), "00-0af7651916cd43dd8448eb211c80319c-%s-01",
		 spans[0].span_id);
	assert_string_equal(buf_text(&rig.result), expected);
}

static void without_a_trace_there_is_no_context(void **state)
{
	rig.trace = NULL;
	assert_run(&rig, TRACE "trace.set('a', 1) return trace.context()", "nil nil");
	assert_run(
		&rig,
		TRACE
		"return trace.span('root', nil, function() return #trace.context() end)",
		"55");
	rig.trace = &parent;
	take_spans();
	assert_string_equal(span_named("root")->parent_id, "");
}

static void a_kept_context_is_continued(void **state)
{
	assert_run(&rig,
		   TRACE "return trace.continue("
			 "'00-11111111111111111111111111111111-2222222222222222-01', "
			 "'a=b', function() "
			 "task.sleep(0.001) trace.span('later', nil, function() end) "
			 "local _, state = trace.context() return state end)",
		   "a=b");
	take_spans();
	assert_string_equal(span_named("later")->trace_id,
			    "11111111111111111111111111111111");
	assert_string_equal(span_named("later")->parent_id, "2222222222222222");
	assert_run(&rig,
		   TRACE "return trace.continue(nil, nil, function() return 'ran' end)",
		   "ran");
	assert_run(&rig,
		   TRACE
		   "return trace.continue('nonsense', nil, function() return 'ran' end)",
		   "ran");
	assert_run(&rig,
		   TRACE "trace.continue('00-11111111111111111111111111111111-"
			 "2222222222222222-01', "
			 "nil, function() error('stop', 0) end)",
		   "internal: stop");
	assert_run(&rig, TRACE "return trace.context()",
		   "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01 vendor=1");
	take_spans();
}

static void attributes_are_set(void **state)
{
	assert_run(&rig,
		   TRACE "trace.span('s', {text = 'x', ok = true}, function() "
			 "trace.set('order', 'o-1') "
			 "trace.set('count', 3) trace.set('ratio', 0.5) end)",
		   "");
	take_spans();
	assert_contains(spans[0].attributes, "text");
	assert_contains(spans[0].attributes, "o-1");
	assert_contains(spans[0].attributes, "ratio");
	assert_contains(rig_run(&rig, TRACE "trace.set('x', {})"),
			"not a text, number or boolean");
	assert_contains(rig_run(&rig, TRACE "trace.span('s', {x = {}}, function() end)"),
			"the attribute 'x' is a table");
	assert_contains(rig_run(&rig, TRACE "trace.span('s', {1}, function() end)"),
			"names of attributes are texts");
}

static void too_many_inside_one_another_is_an_error(void **state)
{
	assert_contains(rig_run(&rig, TRACE "local function deep() return "
					    "trace.span('d', nil, deep) end deep()"),
			"more than 16 spans");
	take_spans();
	assert_int_equal(span_count, TASK_SPANS_MAX);
	assert_run(&rig, TRACE "return trace.context()",
		   "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01 vendor=1");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_span_gives_what_its_function_gives),
		cmocka_unit_test(spans_nest_over_sleeps),
		cmocka_unit_test(tasks_side_by_side_do_not_mix_their_spans),
		cmocka_unit_test(a_raised_error_fails_the_span_and_goes_on),
		cmocka_unit_test(the_context_is_that_of_the_current_span),
		cmocka_unit_test(without_a_trace_there_is_no_context),
		cmocka_unit_test(a_kept_context_is_continued),
		cmocka_unit_test(attributes_are_set),
		cmocka_unit_test(too_many_inside_one_another_is_an_error),
	};

	return cmocka_run_group_tests(tests, open_rig, close_rig);
}
