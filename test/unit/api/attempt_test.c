/* SPDX-License-Identifier: MIT */
#include "script_rig.h"

#include "api/attempt.h"

static const struct rig_module modules[] = {
	{ "native.fault", api_open_fault },
	{ "native.task", api_open_task },
	{ 0 },
};

#define TASK "local task, fault = require 'native.task', require 'native.fault' "

static struct rig rig;
static enum fault_kind kind;
static struct buf said; /* the report, or the results */

static int open_rig(void **state)
{
	rig_init(&rig);
	rig_open(&rig, 4u << 20, modules);
	return 0;
}

static int close_rig(void **state)
{
	rig_finish(&rig);
	buf_finish(&said);
	return 0;
}

static void on_ended(void *context, lua_State *L, const struct fault *why,
		     struct slice report)
{
	kind = why ? why->kind : FAULT_none;
	buf_reset(&said);
	buf_append(&said, report);
	for (int i = 1; !why && i <= lua_gettop(L); i++)
		buf_printf(&said, "%s ", lua_tostring(L, i));
	assert_true(!why || lua_gettop(L) == 0);
	assert_true(why || report.size == 0);
	rig.done = true;
}

static void push_file(lua_State *L, void *data)
{
	const char *source = data;

	if (luaL_loadbuffer(L, source, strlen(source), "@folder/file.lua"))
		lua_error(L);
	sandbox_push_environment(L);
	lua_setfenv(L, -2);
	lua_pushliteral(L, "argument");
}

static const char *attempt(const char *source, int timeout_ms)
{
	rig.done = false;
	attempt_start(rig.vm, push_file, (void *)source,
		      mono_after_ms(clock_mono(), timeout_ms), on_ended, NULL);
	assert_false(rig.done);
	while (!rig.done)
		loop_turn(rig.loop, 1000);
	return buf_text(&said);
}

static void what_it_returns_is_given(void **state)
{
	assert_string_equal(attempt("return 1, ..., 'c'", 1000), "1 argument c ");
	assert_int_equal(kind, FAULT_none);
	assert_string_equal(attempt("", 1000), "");
}

static void it_may_wait(void **state)
{
	assert_string_equal(attempt(TASK "task.sleep(0.001) return 2", 1000), "2 ");
}

static void a_bug_is_told_with_its_place_and_how_it_was_reached(void **state)
{
	const char *report =
		attempt("local function f(t)\n  return t.a.b\nend\nf {}\n", 1000);

	assert_int_equal(kind, FAULT_internal);
	assert_int_equal(strncmp(report, "folder/file.lua:2: attempt to index", 35), 0);
	assert_contains(report, "  at folder/file.lua:2: in function 'f'\n");
	assert_contains(report, "  at folder/file.lua:4: in main chunk\n");
	assert_lacks(report, "[C]");
	assert_lacks(report, "builtin");
}

static void a_fault_is_told_with_its_kind_and_how_it_was_reached(void **state)
{
	const char *report = attempt(TASK "\nfault.raise('denied', 'no')", 1000);

	assert_int_equal(kind, FAULT_denied);
	assert_int_equal(strncmp(report, "denied: no\n", 11), 0);
	assert_contains(report, "folder/file.lua:2: in main chunk");
}

static void an_error_after_a_wait_is_told_like_one_before(void **state)
{
	assert_contains(attempt(TASK "task.sleep(0.001)\nlocal x = nil + 1", 1000),
			"folder/file.lua:2: attempt to perform arithmetic");
}

static void a_long_message_is_told_whole(void **state)
{
	assert_contains(attempt("error(('x'):rep(1000) .. 'end', 0)", 1000), "xxxend");
}

static void what_was_caught_leaves_nothing_behind(void **state)
{
	const char *report = attempt("pcall(error, 'first')\nerror('second', 0)", 1000);

	assert_lacks(report, "first");
	assert_contains(report, "second");
}

static void a_chunk_that_does_not_compile_is_told(void **state)
{
	const char *report = attempt("local x = = 1", 1000);

	assert_int_equal(kind, FAULT_internal);
	assert_int_equal(strncmp(report, "folder/file.lua:1: unexpected", 29), 0);
}

static void the_end_of_a_budget_is_told(void **state)
{
	assert_contains(attempt(TASK "task.sleep(60)", 20), "limit: ");
	assert_int_equal(kind, FAULT_limit);
	assert_contains(attempt("local t = {} while true do t[#t + 1] = {} end", 5000),
			"memory");
	assert_int_equal(kind, FAULT_limit);
}

static void many_may_run_side_by_side_and_each_ends_once(void **state)
{
	for (int i = 0; i < 100; i++)
		attempt_start(rig.vm, push_file, (void *)TASK "task.sleep(0.001)",
			      mono_after_ms(clock_mono(), 1000), on_ended, NULL);
	while (task_count(rig.vm))
		loop_turn(rig.loop, 1000);
	assert_int_equal(kind, FAULT_none);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_it_returns_is_given),
		cmocka_unit_test(it_may_wait),
		cmocka_unit_test(a_bug_is_told_with_its_place_and_how_it_was_reached),
		cmocka_unit_test(a_fault_is_told_with_its_kind_and_how_it_was_reached),
		cmocka_unit_test(an_error_after_a_wait_is_told_like_one_before),
		cmocka_unit_test(a_long_message_is_told_whole),
		cmocka_unit_test(what_was_caught_leaves_nothing_behind),
		cmocka_unit_test(a_chunk_that_does_not_compile_is_told),
		cmocka_unit_test(the_end_of_a_budget_is_told),
		cmocka_unit_test(many_may_run_side_by_side_and_each_ends_once),
	};

	return cmocka_run_group_tests(tests, open_rig, close_rig);
}
