/* SPDX-License-Identifier: MIT */
#include "sandbox_rig.h"

/* Coroutines and a wait, by short names. */
#define USE                                                                              \
	"local rig = require 'native.rig'\n"                                             \
	"local pause, create, resume = rig.pause, coroutine.create, coroutine.resume\n"  \
	"local yield, status, wrap = coroutine.yield, coroutine.status, "                \
	"coroutine.wrap\n"

static void values_go_in_and_out(void **state)
{
	assert_run(*state,
		   USE "local co = create(function(a, b)\n"
		       "  local c, d = yield(a + b, 'first')\n"
		       "  local e = yield(c .. d)\n"
		       "  return e, 'last'\n"
		       "end)\n"
		       "local _, x, y = resume(co, 1, 2)\n"
		       "local _, z = resume(co, 'c', 'd')\n"
		       "local ok, e, last = resume(co, nil)\n"
		       "return x, y, z, ok, e, last, status(co)",
		   "3 first cd true nil last dead");
	assert_run(*state,
		   USE
		   "local co = create(function(...) yield(...) yield() end)\n"
		   "return select('#', resume(co, nil, nil)), select('#', resume(co)),\n"
		   "  select('#', resume(co))",
		   "3 1 1");
	assert_run(*state,
		   USE "local sum = 0\n"
		       "for n in wrap(function() for i = 1, 4 do yield(i) end end) do\n"
		       "  sum = sum + n\n"
		       "end\n"
		       "return sum",
		   "10");
}

static void a_wait_inside_is_seen_by_nobody(void **state)
{
	assert_run(*state,
		   USE "local co = create(function()\n"
		       "  pause(1)\n"
		       "  local got = yield('one')\n"
		       "  pause(1)\n"
		       "  pause(1)\n"
		       "  return got, 'two'\n"
		       "end)\n"
		       "local _, one = resume(co)\n"
		       "local _, got, two = resume(co, 'in')\n"
		       "return one, got, two, status(co)",
		   "one in two dead");
	assert_run(*state,
		   USE "local numbers = wrap(function()\n"
		       "  for i = 1, 3 do pause(1) yield(i) pause(1) end\n"
		       "end)\n"
		       "local sum = 0\n"
		       "for n in numbers do pause(1) sum = sum + n end\n"
		       "return sum",
		   "6");
}

static void a_wait_passes_through_many_levels(void **state)
{
	assert_run(*state,
		   USE
		   "local function level(n)\n"
		   "  if n == 0 then pause(1) yield('bottom') pause(1) return 'end' end\n"
		   "  local inner = wrap(level)\n"
		   "  yield(inner(n - 1))\n"
		   "  pause(1)\n"
		   "  return inner()\n"
		   "end\n"
		   "local top = wrap(level)\n"
		   "return top(50), top()",
		   "bottom end");
	assert_run(*state,
		   USE
		   "local ok, text = pcall(function()\n"
		   "  return (wrap(function()\n"
		   "    local _, inside = pcall(function() pause(1) error('e', 0) end)\n"
		   "    pause(1)\n"
		   "    return inside\n"
		   "  end)())\n"
		   "end)\n"
		   "return ok, text",
		   "true e");
}

static void errors_keep_their_value(void **state)
{
	assert_run(*state,
		   USE
		   "local thing = {}\n"
		   "local ok, why = resume(create(function() error(thing) end))\n"
		   "local ok2, why2 = pcall(wrap(function() pause(1) error(thing) end))\n"
		   "return ok, why == thing, ok2, why2 == thing",
		   "false true false true");
	assert_run(*state,
		   USE "local co = create(function() error('no', 0) end)\n"
		       "resume(co)\n"
		       "return status(co), resume(co)",
		   "dead false cannot resume dead coroutine");
	assert_run(*state, USE "return pcall(wrap(function() local x = nil + 1 end))",
		   "false script.lua:4: attempt to perform arithmetic on a nil value");
}

static void only_a_coroutine_that_is_suspended_can_be_resumed(void **state)
{
	assert_run(*state,
		   USE "local co\n"
		       "co = create(function() return resume(co) end)\n"
		       "return resume(co)",
		   "true false cannot resume running coroutine");
	assert_run(*state,
		   USE "local co\n"
		       "co = create(function()\n"
		       "  return wrap(function() return status(co), resume(co) end)()\n"
		       "end)\n"
		       "return resume(co)",
		   "true normal false cannot resume normal coroutine");
	assert_says(*state, USE "resume(print_nothing)", "unknown global");
	assert_says(*state, USE "resume(1)",
		    "script.lua:4: bad argument #1 to 'resume' (coroutine expected)");
	assert_says(*state, USE "status({})", "bad argument #1 to 'status'");
	assert_says(*state, USE "create(1)", "function expected");
	assert_says(*state, USE "wrap(nil)", "function expected");
}

static void the_tasks_own_coroutine_is_not_given_away(void **state)
{
	assert_run(*state, "return coroutine.running(), coroutine.isyieldable()",
		   "nil false");
	assert_run(*state, "return select('#', coroutine.running())", "0");
	assert_says(*state, "coroutine.yield(1)",
		    "script.lua:1: attempt to yield from outside a coroutine");
	assert_run(*state,
		   USE "local co\n"
		       "co = create(function()\n"
		       "  return coroutine.running() == co, coroutine.isyieldable()\n"
		       "end)\n"
		       "return resume(co)",
		   "true true true");
}

static void nobody_resumes_a_coroutine_that_waits(void **state)
{
	struct rig *rig = *state;

	rig_write_text(rig, "service/shared.lua", "return {}");
	rig_start(rig,
		  USE "local shared = require 'shared'\n"
		      "shared.co = create(function()\n"
		      "  shared.inner = create(function()\n"
		      "    local got = { pause(30) }\n"
		      "    shared.got = #got\n"
		      "    return 'inner'\n"
		      "  end)\n"
		      "  local _, what = resume(shared.inner)\n"
		      "  return what\n"
		      "end)\n"
		      "local _, what = resume(shared.co)\n"
		      "shared.what = what",
		  5000);
	loop_turn(rig->loop, 0);
	rig_start(rig,
		  USE
		  "local shared = require 'shared'\n"
		  "local ok, why = resume(shared.co, 'forged')\n"
		  "local ok2, why2 = resume(shared.inner, 'forged')\n"
		  "shared.seen = table.concat({ tostring(ok), why, tostring(ok2), why2,\n"
		  "  status(shared.co), status(shared.inner) }, ' ')",
		  5000);
	rig_finish_all(rig);
	assert_run(rig,
		   "local shared = require 'shared'\n"
		   "return shared.seen, shared.got, shared.what, "
		   "coroutine.status(shared.co)",
		   "false cannot resume waiting coroutine false cannot resume waiting "
		   "coroutine normal normal 0 inner dead");
}

static void a_coroutine_between_yields_may_go_on_in_another_task(void **state)
{
	struct rig *rig = *state;

	rig_write_text(rig, "service/shared.lua", "return {}");
	assert_run(
		rig,
		USE
		"local shared = require 'shared'\n"
		"shared.co = wrap(function() pause(1) yield(1) pause(1) yield(2) end)\n"
		"return shared.co()",
		"1");
	assert_run(rig, "return require('shared').co()", "2");
}

static void a_wait_that_cannot_reach_the_scheduler_is_known_in_advance(void **state)
{
	assert_run(
		*state,
		USE
		"local may = rig.may_wait\n"
		"local function sorted()\n"
		"  local seen\n"
		"  table.sort({ 2, 1 }, function(a, b)\n"
		"    seen = wrap(function() return wrap(may)() end)()\n"
		"    return a < b\n"
		"  end)\n"
		"  return seen\n"
		"end\n"
		"return may(), wrap(may)(), wrap(function() return wrap(may)() end)(),\n"
		"  sorted(), wrap(sorted)(), may()",
		"true true true false false true");
}

/* A comparator of sort is inside C: the wait is refused before it begins. */
static void a_wait_below_a_c_function_is_an_error(void **state)
{
	assert_says(*state,
		    USE "table.sort({ 2, 1 }, function(a, b)\n"
			"  wrap(function() pause(1) end)()\n"
			"  return a < b\n"
			"end)",
		    "comparator of sort");
	assert_run(
		*state,
		USE
		"local sum = 0\n"
		"table.sort({ 2, 1 }, function(a, b)\n"
		"  for i in wrap(function() yield(1) yield(2) end) do sum = sum + i end\n"
		"  return a < b\n"
		"end)\n"
		"return sum > 0",
		"true");
}

static void a_module_that_loads_may_use_coroutines_but_not_wait(void **state)
{
	struct rig *rig = *state;

	rig_write_text(rig, "service/numbers.lua",
		       "local t = {}\n"
		       "for n in coroutine.wrap(function() coroutine.yield(5) end) do\n"
		       "  t[#t + 1] = n\n"
		       "end\n"
		       "return t");
	rig_write_text(rig, "service/waits.lua",
		       "coroutine.wrap(function() require('native.rig').pause(1) end)()\n"
		       "return {}");
	assert_run(rig, "return require('numbers')[1]", "5");
	assert_says(rig, "require 'waits'", "a module that loads");
}

static void coroutines_nest_to_a_bounded_depth(void **state)
{
	assert_says(*state,
		    USE "local depth = 0\n"
			"local function down()\n"
			"  depth = depth + 1\n"
			"  local ok, why = resume(create(down))\n"
			"  if not ok then error(why, 0) end\n"
			"end\n"
			"local ok, why = pcall(down)\n"
			"return ok, depth > 100, why",
		    "false true ");
	assert_run(*state, "return 'alive'", "alive");
}

/* Once the deadline is past nothing that a script catches keeps it going. */
static void a_deadline_ends_a_task_that_waits_in_coroutines(void **state)
{
	struct rig *rig = *state;

	rig_start(rig,
		  USE "local function on()\n"
		      "  while true do\n"
		      "    pcall(function() wrap(function() pause(1) end)() end)\n"
		      "    resume(create(function() pcall(pause, 1) end))\n"
		      "  end\n"
		      "end\n"
		      "while true do pcall(wrap(on)) end",
		  30);
	rig_finish_all(rig);
	assert_non_null(strstr(buf_text(&rig->result), "limit 503"));
}

static void a_memory_bomb_in_a_coroutine_fails_only_its_task(void **state)
{
	assert_says(*state,
		    USE "while true do\n"
			"  pcall(wrap(function()\n"
			"    local t = {} while true do t[#t + 1] = { t } end\n"
			"  end))\n"
			"end",
		    "limit 503");
	assert_says(*state,
		    USE "local kept = {}\n"
			"while true do\n"
			"  kept[#kept + 1] = create(function() yield({}, {}) end)\n"
			"  resume(kept[#kept])\n"
			"end",
		    "limit 503");
	assert_run(*state, "return 'alive'", "alive");
}

/* A task that ends in a wait leaves coroutines behind that nobody can go on with;
 * they are collected like anything else. */
static void a_wait_that_never_ends_keeps_nothing_alive(void **state)
{
	struct rig *rig = *state;

	rig_write_text(rig, "service/shared.lua",
		       "return { alive = setmetatable({}, { __mode = 'k' }) }");
	rig_start(rig,
		  USE "local alive = require('shared').alive\n"
		      "local co\n"
		      "co = create(function()\n"
		      "  local inner = create(function() local self = co pause(90) end)\n"
		      "  alive[inner] = true\n"
		      "  resume(inner)\n"
		      "end)\n"
		      "alive[co] = true\n"
		      "resume(co)",
		  20);
	rig_finish_all(rig);
	assert_run(rig,
		   "local rig = require 'native.rig'\n"
		   "rig.pause(100) -- the late wake does nothing\n"
		   "rig.collect() rig.collect()\n"
		   "return next(require('shared').alive)",
		   "nil");
}

int main(void)
{
	const struct CMUnitTest claims[] = {
		CLAIM(values_go_in_and_out),
		CLAIM(a_wait_inside_is_seen_by_nobody),
		CLAIM(a_wait_passes_through_many_levels),
		CLAIM(errors_keep_their_value),
		CLAIM(only_a_coroutine_that_is_suspended_can_be_resumed),
		CLAIM(the_tasks_own_coroutine_is_not_given_away),
		CLAIM(nobody_resumes_a_coroutine_that_waits),
		CLAIM(a_coroutine_between_yields_may_go_on_in_another_task),
		CLAIM(a_wait_that_cannot_reach_the_scheduler_is_known_in_advance),
		CLAIM(a_wait_below_a_c_function_is_an_error),
		CLAIM(a_module_that_loads_may_use_coroutines_but_not_wait),
		CLAIM(coroutines_nest_to_a_bounded_depth),
		CLAIM(a_deadline_ends_a_task_that_waits_in_coroutines),
		CLAIM(a_memory_bomb_in_a_coroutine_fails_only_its_task),
		CLAIM(a_wait_that_never_ends_keeps_nothing_alive),
	};

	return cmocka_run_group_tests(claims, NULL, NULL);
}
