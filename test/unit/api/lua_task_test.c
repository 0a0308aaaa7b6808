/* SPDX-License-Identifier: MIT */
#include "script_rig.h"

static const struct rig_module modules[] = {
	{ "native.fault", api_open_fault },
	{ "native.task", api_open_task },
	{ "native.trace", api_open_trace },
	{ 0 },
};

#define TASK                                                                             \
	"local task, fault = require 'native.task', require 'native.fault' "             \
	"local trace = require 'native.trace' "

static struct rig rig;

static int open_rig(void **state)
{
	rig_init(&rig);
	rig_open(&rig, 16 << 20, modules);
	return 0;
}

static int close_rig(void **state)
{
	rig_finish(&rig);
	return 0;
}

static double seconds_of(const char *source, const char *result)
{
	struct mono before = clock_mono();

	assert_run(&rig, source, result);
	return mono_seconds(before, clock_mono());
}

/* --- sleep ------------------------------------------------------------------------ */

static void a_sleep_lasts_as_long_as_asked(void **state)
{
	assert_true(seconds_of(TASK "task.sleep(0.05) return 'up'", "up") >= 0.05);
	assert_true(seconds_of(TASK "task.sleep(-1) task.sleep(0) return 'up'", "up") <
		    1);
	assert_contains(rig_run(&rig, TASK "task.sleep('long')"), "number expected");
}

static void what_a_sleep_is_woken_by_is_seen(void **state)
{
	struct chaos_effect fail = { .fail = FAULT_broken };
	struct chaos_effect late = { .delay_ms = 40 };

	chaos_arm(&rig.chaos, CHAOS_task_sleep, fail, 1);
	assert_contains(rig_run(&rig, TASK "task.sleep(0)"),
			"broken: chaos at task_sleep");
	chaos_arm(&rig.chaos, CHAOS_task_sleep, late, 1);
	assert_true(seconds_of(TASK "task.sleep(0) return 'up'", "up") >= 0.04);
}

static void the_deadline_is_counted_in_seconds(void **state)
{
	assert_run(&rig,
		   TASK "local left = task.deadline() return left > 9 and left <= 10",
		   "true");
}

/* --- all -------------------------------------------------------------------------- */

static void all_gives_the_first_result_of_each_in_order(void **state)
{
	assert_run(&rig,
		   TASK "return task.all {"
			"  function() task.sleep(0.03) return 'a', 'x' end,"
			"  function() task.sleep(0.01) return 'b' end,"
			"  function() end,"
			"  function() return 'd' end }",
		   "a b nil d");
	assert_run(&rig, TASK "return task.all {}", "nil");
	assert_true(seconds_of(TASK "local naps = {} for i = 1, 64 do"
				    "  naps[i] = function() task.sleep(0.05) end end "
				    "task.all(naps) return 'together'",
			       "together") < 1);
}

static void all_raises_the_first_fault_once_all_have_ended(void **state)
{
	assert_run(&rig,
		   TASK
		   "local ended = 0 "
		   "local ok, why = pcall(task.all, {"
		   "  function() task.sleep(0.03) ended = ended + 1 end,"
		   "  function() fault.raise('refused', 'no', {code = 'c'}) end,"
		   "  function() task.sleep(0.01) fault.raise('broken', 'later') end}) "
		   "return ok, why.kind, why.code, ended",
		   "false refused c 1");
	assert_contains(rig_run(&rig, TASK "task.all {function() error('oops') end}"),
			"internal: test:1: oops");
	assert_run(&rig,
		   TASK "local ok, why = pcall(task.all, {function() error({7}) end}) "
			"return why[1]",
		   "7");
}

static void all_takes_up_to_64_functions_and_nothing_else(void **state)
{
	assert_contains(rig_run(&rig, TASK "task.all {1}"),
			"item 1 is a number, not a function");
	assert_contains(rig_run(&rig, TASK "task.all()"), "table expected");
	assert_contains(rig_run(&rig,
				TASK "local t = {} for i = 1, 65 do t[i] = pcall end "
				     "task.all(t)"),
			"at most 64 functions");
	assert_contains(rig_run(&rig,
				TASK "table.sort({2, 1}, function() "
				     "task.all {function() task.sleep(1) end} end)"),
			"nothing can wait inside");
	assert_int_equal(task_count(rig.vm), 0);
}

static void parts_may_have_parts(void **state)
{
	assert_run(&rig,
		   TASK "local function tree(depth) "
			"  if depth == 0 then task.sleep(0.001) return 1 end "
			"  local a, b = task.all {"
			"    function() return tree(depth - 1) end,"
			"    function() return tree(depth - 1) end}"
			"  return a + b end "
			"return tree(6)",
		   "64");
}

/* Runs the source with this long until its deadline. */
static const char *run_within(const char *source, int ms)
{
	struct task_config config = {
		.push = rig_push_source,
		.data = (void *)source,
		.deadline = mono_after_ms(clock_mono(), ms),
		.done = rig_on_done,
		.context = &rig,
	};

	rig.done = false;
	task_start(rig.vm, &config);
	for (int turns = 0; turns < 5000 && !rig.done; turns++)
		loop_turn(rig.loop, 10);
	assert_true(rig.done);
	assert_int_equal(task_count(rig.vm), 0);
	return buf_text(&rig.result);
}

static void parts_that_grow_without_end_are_stopped(void **state)
{
	assert_contains(run_within(TASK "local function grow() "
					"  task.all {grow, grow, grow} end grow()",
				   20000),
			"limit: more than 256 parts of one task at once");
	assert_run(&rig, "return 'alive'", "alive");
}

static void parts_without_end_are_stopped_by_the_deadline(void **state)
{
	assert_contains(
		run_within(TASK "while true do task.all {function() end} end", 30),
		"limit: the task's deadline passed");
}

static void the_deadline_ends_the_parts_and_so_the_whole(void **state)
{
	assert_contains(run_within(TASK "local ok, why = pcall(task.all, {"
					"  function() task.sleep(60) end,"
					"  function() while true do"
					"    pcall(task.sleep, 60) end end})"
					"return why.kind",
				   50),
			"limit: the task's deadline passed");
}

static void a_part_has_the_callers_span_as_parent(void **state)
{
	struct trace_context parent;

	assert_true(trace_parse(
		SLICE("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
		SLICE("a=1"), &parent));
	rig.trace = &parent;
	assert_run(&rig,
		   TASK
		   "return trace.span('outer', nil, function() "
		   "  local outer = trace.context() "
		   "  local inner = task.all {function() return (trace.context()) end} "
		   "  return outer == inner, outer:sub(4, 35) end)",
		   "true 0af7651916cd43dd8448eb211c80319c");
}

/* A part that outlives its caller at the end would end its span after the adopted
 * context, whose texts it borrows, is gone. */
static void the_end_cancels_parts_before_who_waits_for_them(void **state)
{
	static const char source[] = TASK
		"trace.continue('00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'"
		", "
		"  'vendor=long-enough-to-be-seen', function() task.all {"
		"    function() trace.span('a', nil, function() task.sleep(9) end) end,"
		"    function() task.all {function() task.sleep(9) end} end} end)";
	struct task_config config = {
		.push = rig_push_source,
		.data = (void *)source,
		.deadline = mono_after_ms(clock_mono(), 10000),
		.done = rig_on_done,
		.context = &rig,
	};

	rig.done = false;
	task_start(rig.vm, &config);
	loop_turn(rig.loop, 0);
	assert_int_equal(task_count(rig.vm), 4);
	vm_destroy(rig.vm);
	rig.vm = NULL;
	assert_true(rig.done);
	assert_string_equal(buf_text(&rig.result), "cancelled: the service is ending");
}

int main(void)
{
#define CLAIM(name) cmocka_unit_test_setup_teardown(name, open_rig, close_rig)
	const struct CMUnitTest claims[] = {
		CLAIM(a_sleep_lasts_as_long_as_asked),
		CLAIM(what_a_sleep_is_woken_by_is_seen),
		CLAIM(the_deadline_is_counted_in_seconds),
		CLAIM(all_gives_the_first_result_of_each_in_order),
		CLAIM(all_raises_the_first_fault_once_all_have_ended),
		CLAIM(all_takes_up_to_64_functions_and_nothing_else),
		CLAIM(parts_may_have_parts),
		CLAIM(parts_that_grow_without_end_are_stopped),
		CLAIM(parts_without_end_are_stopped_by_the_deadline),
		CLAIM(the_deadline_ends_the_parts_and_so_the_whole),
		CLAIM(a_part_has_the_callers_span_as_parent),
		CLAIM(the_end_cancels_parts_before_who_waits_for_them),
	};

	return cmocka_run_group_tests(claims, NULL, NULL);
}
