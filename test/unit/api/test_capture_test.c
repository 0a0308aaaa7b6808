/* SPDX-License-Identifier: MIT */
#include "script_rig.h"

#include "api/test_capture.h"
#include "base/hex.h"

static struct rig rig;
static struct test_capture *capture;

static int open_rig(void **state)
{
	rig_init(&rig);
	rig_open(&rig, 8u << 20, (const struct rig_module[]){ { 0 } });
	capture = test_capture_create(rig.logs, rig.observer.tracer);
	return 0;
}

static int close_rig(void **state)
{
	test_capture_destroy(capture);
	rig_finish(&rig);
	return 0;
}

/* Pushes, and gives how many there are; the array stays on the stack. */
static int count_of(void (*push)(lua_State *, struct test_capture *))
{
	lua_settop(vm_main(rig.vm), 0);
	push(vm_main(rig.vm), capture);
	return (int)lua_objlen(vm_main(rig.vm), 1);
}

/* A member of item i of the array on the stack, as text. */
static const char *member(int i, const char *name)
{
	lua_State *L = vm_main(rig.vm);

	lua_settop(L, 1);
	lua_rawgeti(L, 1, i);
	lua_getfield(L, -1, name);
	if (lua_isboolean(L, -1))
		return lua_toboolean(L, -1) ? "true" : "false";
	return lua_tostring(L, -1);
}

static const char *attribute(int i, const char *name)
{
	lua_State *L = vm_main(rig.vm);

	lua_settop(L, 1);
	lua_rawgeti(L, 1, i);
	lua_getfield(L, -1, "attributes");
	lua_getfield(L, -1, name);
	if (lua_isboolean(L, -1))
		return lua_toboolean(L, -1) ? "true" : "false";
	return lua_tostring(L, -1);
}

static void logs_are_kept_with_their_attributes(void **state)
{
	struct attr attrs[] = { attr_text(SLICE("word"), SLICE("x")),
				attr_integer(SLICE("n"), 3),
				attr_double(SLICE("exact"), 0.5),
				attr_bool(SLICE("sure"), true) };

	test_capture_begin(capture);
	log_write(rig.observer.log, LOG_debug, NULL, SLICE("one"), attrs, 4);
	log_write(rig.observer.log, LOG_warn, NULL, SLICE("two"), NULL, 0);
	assert_int_equal(count_of(test_capture_push_logs), 2);
	assert_string_equal(member(1, "severity"), "debug");
	assert_string_equal(member(1, "message"), "one");
	assert_string_equal(attribute(1, "word"), "x");
	assert_string_equal(attribute(1, "n"), "3");
	assert_string_equal(attribute(1, "exact"), "0.5");
	assert_string_equal(attribute(1, "sure"), "true");
	assert_string_equal(member(2, "severity"), "warn");
	assert_null(member(2, "trace_id"));
}

static void logs_are_also_written_as_lines(void **state)
{
	struct buf lines = { 0 };

	test_capture_begin(capture);
	log_printf(rig.observer.log, LOG_info, "one");
	test_capture_format_logs(capture, &lines);
	log_printf(rig.observer.log, LOG_info, "two");
	buf_reset(&lines);
	test_capture_format_logs(capture, &lines);
	assert_contains(buf_text(&lines), "\"message\":\"one\"}\n");
	assert_contains(buf_text(&lines), "\"message\":\"two\"}\n");
	buf_finish(&lines);
}

static void spans_are_kept_in_the_order_they_end(void **state)
{
	struct span *outer, *inner;
	char id[17];

	test_capture_begin(capture);
	outer = span_start(rig.observer.tracer, SPAN_server, SLICE("outer"), NULL);
	inner = span_start(rig.observer.tracer, SPAN_client, SLICE("inner"),
			   span_context(outer));
	hex_encode(span_context(outer)->span_id, 8, id);
	span_attr(inner, attr_integer(SLICE("n"), 1));
	span_fail(inner, SLICE("timeout"), SLICE("nobody answers"));
	span_end(inner);
	span_end(outer);
	assert_int_equal(count_of(test_capture_push_spans), 2);
	assert_string_equal(member(1, "name"), "inner");
	assert_string_equal(member(1, "kind"), "client");
	assert_string_equal(member(1, "parent_span_id"), id);
	assert_string_equal(member(1, "failed"), "true");
	assert_string_equal(member(1, "error_type"), "timeout");
	assert_string_equal(attribute(1, "n"), "1");
	assert_string_equal(member(2, "span_id"), id);
	assert_string_equal(member(2, "kind"), "server");
	assert_string_equal(member(2, "failed"), "false");
	assert_null(member(2, "parent_span_id"));
}

static void a_new_case_begins_with_nothing(void **state)
{
	span_end(span_start(rig.observer.tracer, SPAN_internal, SLICE("old"), NULL));
	log_printf(rig.observer.log, LOG_info, "old");
	test_capture_begin(capture);
	assert_int_equal(count_of(test_capture_push_logs), 0);
	assert_int_equal(count_of(test_capture_push_spans), 0);
}

static void what_is_kept_has_a_bound(void **state)
{
	test_capture_begin(capture);
	for (int i = 0; i < TEST_CAPTURE_MAX + 10; i++)
		span_end(
			span_start(rig.observer.tracer, SPAN_internal, SLICE("x"), NULL));
	assert_int_equal(count_of(test_capture_push_spans), TEST_CAPTURE_MAX);
	lua_settop(vm_main(rig.vm), 0);
	test_capture_begin(capture);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(logs_are_kept_with_their_attributes),
		cmocka_unit_test(logs_are_also_written_as_lines),
		cmocka_unit_test(spans_are_kept_in_the_order_they_end),
		cmocka_unit_test(a_new_case_begins_with_nothing),
		cmocka_unit_test(what_is_kept_has_a_bound),
	};

	return cmocka_run_group_tests(tests, open_rig, close_rig);
}
