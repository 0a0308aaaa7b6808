/* SPDX-License-Identifier: MIT */
#include "script_rig.h"

#include <lauxlib.h>

static const struct rig_module modules[] = { { "native.json", api_open_json },
					     { "native.log", api_open_log },
					     { 0 } };

static struct rig rig;
static struct buf lines;

#define LOG "local log = require 'native.log' "

static int open_rig(void **state)
{
	rig_init(&rig);
	rig_open(&rig, 32 << 20, modules);
	return 0;
}

static int close_rig(void **state)
{
	rig_finish(&rig);
	buf_finish(&lines);
	return 0;
}

static void format(void *context, const struct log_record *record)
{
	log_format_json(&lines, record, SLICE("shop"));
}

/* The lines that the source wrote, without their time. */
static const char *logged(const char *source)
{
	assert_run(&rig, source, "");
	buf_reset(&lines);
	while (log_hub_drain(rig.logs, 100, format, NULL))
		;
	buf_text(&lines);
	return lines.size ? strstr(lines.at, "\"level\"") : "";
}

static void a_record_has_its_fields_sorted(void **state)
{
	assert_string_equal(logged(LOG "log.info('sold', {sku = 'SKU-1', amount = 3, "
				       "ratio = 0.5, gift = true})"),
			    "\"level\":\"INFO\",\"service\":\"shop\",\"message\":"
			    "\"sold\",\"amount\":3,"
			    "\"gift\":true,\"ratio\":0.5,\"sku\":\"SKU-1\"}\n");
	assert_string_equal(
		logged(LOG "log.warn('plain')"),
		"\"level\":\"WARN\",\"service\":\"shop\",\"message\":\"plain\"}\n");
	assert_contains(logged(LOG "log.debug('x')"), "\"DEBUG\"");
	assert_contains(logged(LOG "log.error('x')"), "\"ERROR\"");
}

static void tables_become_text(void **state)
{
	assert_contains(
		logged(LOG "log.info('x', {items = {{sku = 'A'}, {sku = 'B'}}, z = {}, f "
			   "= log.info})"),
		"\"f\":\"[not "
		"JSON]\",\"items\":\"[{\\\"sku\\\":\\\"A\\\"},{\\\"sku\\\":\\\"B\\\"}]\","
		"\"z\":\"{}\"}");
}

static void secrets_are_not_written(void **state)
{
	const char *line = logged(
		LOG "log.info('x', {password = 'hunter2', Token = 'abc', cvc = 123, "
		    "payment = {card = {number = '4242424242424242', cvc = '999'}, "
		    "method = 'card'}, user = {name = 'Ann', password = 'hunter2'}})");

	assert_contains(line, "\"password\":\"[redacted]\"");
	assert_contains(line, "\"Token\":\"[redacted]\"");
	assert_contains(line, "\"cvc\":\"[redacted]\"");
	assert_contains(line,
			"\\\"card\\\":\\\"[redacted]\\\",\\\"method\\\":\\\"card\\\"");
	assert_contains(line,
			"\\\"name\\\":\\\"Ann\\\",\\\"password\\\":\\\"[redacted]\\\"");
	assert_lacks(line, "hunter2");
	assert_lacks(line, "4242");
	assert_lacks(line, "999");
}

static void names_of_the_line_itself_are_not_written_twice(void **state)
{
	assert_contains(
		logged(LOG
		       "log.info('x', {message = 'y', trace_id = 'z', service = 's'})"),
		"\"message\":\"x\",\"message_\":\"y\",\"service_\":\"s\",\"trace_id_\":"
		"\"z\"}");
}

static void what_fields_hold_never_fails(void **state)
{
	assert_contains(
		logged(LOG
		       "local t = {} for i = 1, 100 do t['k' .. i] = {i} end t[1] = 'x' "
		       "t[{}] = 1 log.info('many', t)"),
		"\"message\":\"many\"");
	assert_contains(logged(LOG "log.info('bytes \\255', {text = 'a\\255b', nan = "
				   "0/0, huge = 1e300})"),
			"\"huge\":1e+300,\"nan\":null,\"text\":\"a\xef\xbf\xbd"
			"b\"");
	assert_contains(
		logged(LOG "log.info(('x'):rep(100000), {text = ('y'):rep(100000)})"),
		"xxxx");
}

static void the_line_tells_the_span(void **state)
{
	struct trace_context parent;

	assert_true(trace_parse(
		SLICE("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
		SLICE(""), &parent));
	rig.trace = &parent;
	assert_contains(
		logged(LOG "log.info('x', {a = 1})"),
		"\"trace_id\":\"0af7651916cd43dd8448eb211c80319c\","
		"\"span_id\":\"b7ad6b7169203331\",\"trace_flags\":\"01\",\"a\":1}");
	rig.trace = NULL;
}

static void wrong_use_is_an_error(void **state)
{
	assert_contains(rig_run(&rig, LOG "log.info()"), "string expected");
	assert_contains(rig_run(&rig, LOG "log.info('x', 'y')"), "table expected");
}

static int log_while_loading(lua_State *L)
{
	rig_push_source(L, LOG "log.info('loading')");
	lua_call(L, 0, 0);
	return 0;
}

static void a_file_may_log_while_it_loads(void **state)
{
	struct fault why;

	assert_int_equal(vm_call(rig.vm, log_while_loading, NULL, &why), 0);
	assert_contains(logged(""), "\"message\":\"loading\"}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_record_has_its_fields_sorted),
		cmocka_unit_test(tables_become_text),
		cmocka_unit_test(secrets_are_not_written),
		cmocka_unit_test(names_of_the_line_itself_are_not_written_twice),
		cmocka_unit_test(what_fields_hold_never_fails),
		cmocka_unit_test(the_line_tells_the_span),
		cmocka_unit_test(wrong_use_is_an_error),
		cmocka_unit_test(a_file_may_log_while_it_loads),
	};

	return cmocka_run_group_tests(tests, open_rig, close_rig);
}
