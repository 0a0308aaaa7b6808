/* SPDX-License-Identifier: MIT */
#include "script/task.h"

#include "base/check.h"
#include "loop/loop.h"
#include "script/loader.h"
#include "script/vm.h"
#include "watch/log.h"
#include "watch/metrics.h"
#include "watch/trace.h"

#include <lauxlib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#define MEMORY_MAX (8u << 20)

#define TEXT_OF(size, unit) "string.rep(i .. '" unit "', " #size ")"

struct fixture {
	struct metrics *metrics;
	struct log_hub *logs;
	struct observer observer;
	struct chaos chaos;
	struct loop *loop;
	struct vm *vm;
	char folder[64];
	/* what the last task ended with */
	int ended;
	struct fault why;
	char result[256];
};

static int l_again(lua_State *L);
static int l_pause(lua_State *L);

static int install(lua_State *L)
{
	vm_call_data(L);
	lua_newtable(L);
	lua_pushcfunction(L, l_pause);
	task_wrap_wait(L);
	lua_setfield(L, -2, "pause");
	lua_pushcfunction(L, l_again);
	task_wrap_wait(L);
	lua_setfield(L, -2, "again");
	loader_provide(L, "native.pause");
	return 0;
}

static int setup(void **state)
{
	struct fixture *f = mem_zeroed(1, sizeof(*f));
	struct tracer_config tracer = { .sampler = SAMPLER_always_on,
					.ring_bytes = 4096 };
	struct vm_config config = { .memory_max = MEMORY_MAX };
	struct fault why;

	strcpy(f->folder, "/tmp/task_test_XXXXXX");
	assert_non_null(mkdtemp(f->folder));
	f->metrics = metrics_create();
	f->logs = log_hub_create(LOG_info, NULL, NULL);
	f->observer.log = log_create(f->logs, 1 << 16);
	f->observer.meter = meter_create(f->metrics);
	f->observer.tracer = tracer_create(&tracer, 1);
	f->loop = loop_create(&f->observer, &f->chaos);
	config.lib_dir = f->folder;
	f->vm = vm_create(f->loop, &config);
	assert_int_equal(vm_call(f->vm, install, NULL, &why), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char command[128];

	vm_destroy(f->vm);
	loop_destroy(f->loop);
	tracer_destroy(f->observer.tracer);
	log_hub_destroy(f->logs);
	metrics_destroy(f->metrics);
	snprintf(command, sizeof(command), "rm -rf %s", f->folder);
	assert_int_equal(system(command), 0);
	free(f);
	return 0;
}

/* --- bindings that wait ----------------------------------------------------------- */

struct pause {
	struct timer timer;
	struct task_wait wait;
	char text[32];
};

static void push_pause(lua_State *L, void *data)
{
	lua_pushstring(L, ((struct pause *)data)->text);
}

static void on_pause(void *context)
{
	struct pause *pause = context;
	struct fault why;

	if (strcmp(pause->text, "fail") == 0) {
		fault_set(&why, FAULT_unavailable, "the pause failed");
		task_wake_fault(pause->wait, &why);
	} else {
		task_wake(pause->wait, push_pause, pause);
	}
	task_wake(pause->wait, push_pause, pause); /* a second wake does nothing */
	free(pause);
}

/* pause(milliseconds, text) -> text, or raises when it is "fail" */
static int l_pause(lua_State *L)
{
	int ms = (int)luaL_checkinteger(L, 1);
	const char *text = luaL_optstring(L, 2, "");
	struct task_wait wait = task_wait(L);
	struct pause *pause = mem_zeroed(1, sizeof(*pause));
	struct loop *loop = vm_loop(vm_of(L));

	pause->wait = wait;
	snprintf(pause->text, sizeof(pause->text), "%s", text);
	timer_start(loop, &pause->timer, mono_after_ms(clock_mono(), ms), on_pause,
		    pause);
	return task_suspend(L);
}

struct again {
	struct deferred deferred;
	struct task_wait wait;
};

static void on_again(void *context)
{
	struct again *again = context;

	task_wake(again->wait, NULL, NULL);
	free(again);
}

/* again() -> : later in the same turn */
static int l_again(lua_State *L)
{
	struct task_wait wait = task_wait(L);
	struct again *again = mem_zeroed(1, sizeof(*again));

	again->wait = wait;
	loop_defer(vm_loop(vm_of(L)), &again->deferred, on_again, again);
	return task_suspend(L);
}

/* --- running a script as a task --------------------------------------------------- */

static void write_file(struct fixture *f, const char *name, const char *source)
{
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", f->folder, name);
	file = fopen(path, "w");
	assert_non_null(file);
	fputs(source, file);
	fclose(file);
}

static void push_file(lua_State *L, void *data)
{
	struct fixture *f = data;
	char path[128];

	snprintf(path, sizeof(path), "%s/script.lua", f->folder);
	loader_push_file(L, path);
}

static void on_done(void *context, lua_State *L, const struct fault *why)
{
	struct fixture *f = context;

	f->ended++;
	f->why = why ? *why : (struct fault){ 0 };
	snprintf(f->result, sizeof(f->result), "%s",
		 lua_gettop(L) && lua_isstring(L, 1) ? lua_tostring(L, 1) : "");
}

static void start(struct fixture *f, const char *source, int timeout_ms)
{
	struct task_config task = {
		.push = push_file,
		.data = f,
		.deadline = mono_after_ms(clock_mono(), timeout_ms),
		.done = on_done,
		.context = f,
	};

	write_file(f, "script.lua", source);
	task_start(f->vm, &task);
}

static void run(struct fixture *f, const char *source)
{
	int before = f->ended;

	start(f, source, 5000);
	assert_int_equal(f->ended, before); /* never before it returns */
	for (int i = 0; i < 1000 && f->ended == before; i++)
		loop_turn(f->loop, 10);
	assert_int_equal(f->ended, before + 1);
}

static void assert_result(struct fixture *f, const char *source, const char *result)
{
	run(f, source);
	assert_string_equal(f->why.detail, "");
	assert_int_equal(f->why.kind, FAULT_none);
	assert_string_equal(f->result, result);
}

static void assert_fault(struct fixture *f, const char *source, enum fault_kind kind,
			 const char *words)
{
	run(f, source);
	assert_int_equal(f->why.kind, kind);
	if (!strstr(f->why.detail, words))
		fail_msg("'%s' is not in '%s'", words, f->why.detail);
}

/* --- claims ----------------------------------------------------------------------- */

static void a_task_returns_its_results(void **state)
{
	assert_result(*state, "return 'hello'", "hello");
	assert_result(*state, "return #{...}", "0");
}

static void a_wait_gives_its_results_to_the_script(void **state)
{
	assert_result(*state,
		      "local p = require 'native.pause'\n"
		      "return p.pause(1, 'a') .. p.pause(1, 'b')",
		      "ab");
}

static void a_wait_works_inside_pcall_and_xpcall(void **state)
{
	assert_result(*state,
		      "local p = require 'native.pause'\n"
		      "local ok, text = pcall(p.pause, 1, 'x')\n"
		      "local ok2, text2 = xpcall(function() return p.pause(1, 'y') end, "
		      "tostring)\n"
		      "return tostring(ok) .. text .. tostring(ok2) .. text2",
		      "truextruey");
}

static void a_failed_wait_raises_a_fault_the_script_can_catch(void **state)
{
	assert_fault(*state, "require('native.pause').pause(1, 'fail')",
		     FAULT_unavailable, "the pause failed");
	assert_result(*state,
		      "local ok, why = pcall(require('native.pause').pause, 1, 'fail')\n"
		      "return why.kind .. ': ' .. why.detail .. ' ' .. tostring(why)",
		      "unavailable: the pause failed unavailable: the pause failed");
}

static void an_error_is_an_internal_fault_with_its_line(void **state)
{
	assert_fault(*state, "local x = nil\nreturn x.y", FAULT_internal,
		     "script.lua:2:");
	assert_fault(*state, "error({})", FAULT_internal, "no fault");
}

static void a_deadline_ends_a_wait(void **state)
{
	struct fixture *f = *state;

	start(f, "require('native.pause').pause(100)", 20);
	for (int i = 0; i < 1000 && f->ended == 0; i++)
		loop_turn(f->loop, 10);
	assert_int_equal(f->ended, 1);
	assert_int_equal(f->why.kind, FAULT_limit);
	assert_int_equal(fault_status(&f->why), 503);
	assert_int_equal(task_count(f->vm), 0);
	run(f, "require('native.pause').pause(150)"); /* the late wake does nothing */
}

static void a_script_that_goes_on_past_its_deadline_is_ended(void **state)
{
	static const char *const stubborn[] = {
		"local pause = require('native.pause').pause\n"
		"while true do pcall(pause, 30) end",
		"local again = require('native.pause').again\n"
		"while true do pcall(again) end",
	};
	struct fixture *f = *state;

	for (int i = 0; i < 2; i++) {
		f->ended = 0;
		start(f, stubborn[i], 20);
		for (int turn = 0; turn < 5000 && !f->ended; turn++)
			loop_turn(f->loop, 10);
		assert_int_equal(f->ended, 1);
		assert_int_equal(f->why.kind, FAULT_limit);
	}
	run(f, "require('native.pause').pause(100)"); /* until the pauses are over */
}

static void a_script_that_never_stops_waking_leaves_the_loop_its_turns(void **state)
{
	struct fixture *f = *state;

	start(f, "local again = require('native.pause').again while true do again() end",
	      60000);
	for (int turn = 0; turn < 10; turn++)
		loop_turn(f->loop, 0);
	assert_int_equal(task_count(f->vm), 1);
	assert_result(f, "return 'another'", "another");
}

static void a_wait_where_none_is_possible_is_an_error(void **state)
{
	struct fixture *f = *state;

	write_file(f, "waits.lua", "require('native.pause').pause(1) return {}");
	assert_fault(
		f,
		"table.sort({3, 1, 2}, function() require('native.pause').pause(1) end)",
		FAULT_internal, "nothing can wait inside");
	assert_fault(f, "return (('x'):gsub('x', require('native.pause').again))",
		     FAULT_internal, "nothing can wait inside");
	assert_fault(f, "require 'waits'", FAULT_internal, "nothing can wait inside");
	assert_result(f, "require('native.pause').pause(1) return 'fine'", "fine");
}

static void a_stack_overflow_fails_its_task_only(void **state)
{
	static const char *const deep[] = {
		"local function f() return 1 + f() end return f()",
		"local function f() local ok, why = pcall(f) error(why) end f()",
		"local t = setmetatable({}, {}) getmetatable(t).__index = function(t, "
		"k)\n"
		"  return t[k .. 'x'] end return t.a",
		"local function f(s) return (s:gsub('.', f)) end return f('x')",
		"local function f(a) return xpcall(f, f, a) end return f(1)",
		"local function f() error(setmetatable({}, {__tostring = f})) end f()",
		"local function f(...) return f(1, ...) end return f()",
		"return (function(...) return select('#', ...) end)(unpack({}, 1, 1e6))",
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(deep) / sizeof(*deep); i++)
		for (int round = 0; round < 3; round++) {
			run(f, deep[i]);
			assert_result(f, "return 'alive'", "alive");
		}
	assert_fault(f, deep[0], FAULT_internal, "stack overflow");
}

static void further_results_are_dropped(void **state)
{
	assert_result(*state, "return 'first', unpack({}, 1, 7900)", "first");
	assert_result(*state, "return 'again'", "again");
}

static void memory_that_was_given_up_is_there_for_others(void **state)
{
	struct fixture *f = *state;

	assert_result(
		f,
		"local t = {} for i = 1, 72 do t[i] = " TEXT_OF(
			33000,
			"x") " end\n"
			     "require('native.pause').pause(1) t = nil return 'done'",
		"done");
	for (int round = 0; round < 5; round++) {
		run(f, "local t = {} for i = 1, 60 do t[i] = " TEXT_OF(
			       20000, "y") " end return 'enough'");
		if (round > 0) /* the first may be the one that is refused */
			assert_string_equal(f->result, "enough");
	}
}

static void a_machine_over_its_limit_has_no_room_until_it_is_collected(void **state)
{
	struct fixture *f = *state;

	assert_true(vm_has_room(f->vm));
	for (int i = 0; i < 100; i++) {
		lua_pushlstring(vm_main(f->vm), f->folder, sizeof(f->folder));
		lua_newuserdata(vm_main(f->vm), 100000);
	}
	assert_true(vm_memory_used(f->vm) > MEMORY_MAX);
	assert_false(vm_has_room(f->vm));
	lua_settop(vm_main(f->vm), 0);
	assert_false(vm_has_room(f->vm)); /* not so soon again */
	for (int i = 0; i < 100 && !vm_has_room(f->vm); i++)
		loop_turn(f->loop, 10);
	assert_true(vm_has_room(f->vm));
}

static void memory_bombs_end_with_limit_and_the_machine_lives(void **state)
{
	static const char *const bombs[] = {
		"local t = {} for i = 1, 1e9 do t[i] = i end",
		"local s = 'x' while true do s = s .. s end",
		"local t = {} for i = 1, 1e9 do t[i] = {i} end",
		"return string.rep('x', 1e9)",
		"local function f() local t = {} for i = 1, 100 do t[i] = {f} end return "
		"t, f() end "
		"return f()",
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(bombs) / sizeof(*bombs); i++) {
		for (int round = 0; round < 5; round++) {
			run(f, bombs[i]);
			assert_true(f->why.kind == FAULT_limit ||
				    f->why.kind == FAULT_internal);
		}
		assert_result(f, "return 'alive'", "alive");
	}
	assert_true(vm_memory_used(f->vm) < MEMORY_MAX);
}

static void a_script_sees_only_what_is_allowed(void **state)
{
	static const char *const absent[] = {
		"io",	   "os",      "debug",		"package",  "ffi",
		"jit",	   "load",    "loadstring",	"dofile",   "loadfile",
		"getfenv", "setfenv", "collectgarbage", "newproxy", "module",
		"_G",	   "print",   "gcinfo",
	};
	struct fixture *f = *state;
	char source[128];

	for (size_t i = 0; i < sizeof(absent) / sizeof(*absent); i++) {
		snprintf(source, sizeof(source), "return %s", absent[i]);
		assert_fault(f, source, FAULT_internal, "unknown global");
	}
	assert_result(f, "return tostring(string.dump)", "nil");
	assert_result(f, "return tostring(getmetatable(''))", "false");
}

static void builtins_cannot_be_changed(void **state)
{
	struct fixture *f = *state;

	assert_fault(f, "string.format = nil", FAULT_internal, "read-only");
	assert_fault(f, "rawset(string, 'format', 1)", FAULT_internal, "userdata");
	assert_fault(f, "setmetatable(string, {})", FAULT_internal, "userdata");
	assert_fault(f, "require('native.pause').pause = 1", FAULT_internal, "read-only");
	assert_result(f, "return ('%d'):format(7)", "7");
}

static void an_accidental_global_is_an_error(void **state)
{
	assert_fault(*state, "counter = 1", FAULT_internal,
		     "assignment to undeclared global 'counter'");
	assert_fault(*state, "string = {}", FAULT_internal, "undeclared global 'string'");
}

static void bytecode_is_refused(void **state)
{
	assert_fault(*state, "\x1bLJ\x02", FAULT_internal, "");
}

static void modules_load_once_and_circles_are_named(void **state)
{
	struct fixture *f = *state;

	write_file(f, "counted.lua",
		   "local n = 0 return {up = function() n = n + 1 return n end}");
	assert_result(f,
		      "require('counted').up()\n"
		      "return require('counted').up()",
		      "2");
	write_file(f, "left.lua", "return require 'right'");
	write_file(f, "right.lua", "return require 'left'");
	assert_fault(f, "require 'left'", FAULT_internal, "requires itself");
	assert_fault(f, "require 'nowhere'", FAULT_internal, "not found");
	assert_fault(f, "require '../etc/passwd'", FAULT_internal, "bad module name");
	write_file(f, "broken.lua", "local x = = 1");
	assert_fault(f, "require 'broken'", FAULT_internal, "broken.lua:1:");
}

static void a_task_left_at_the_end_is_told(void **state)
{
	struct fixture *f = *state;

	start(f, "require('native.pause').pause(50)", 5000);
	loop_turn(f->loop, 0);
	assert_int_equal(task_count(f->vm), 1);
	for (int i = 0; i < 100 && !f->ended; i++)
		loop_turn(f->loop, 10);
	start(f, "return 1", 5000);
	vm_destroy(f->vm);
	assert_int_equal(f->why.kind, FAULT_cancelled);
	assert_int_equal(f->ended, 2);
	f->vm = NULL;
}

int main(void)
{
#define CLAIM(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest claims[] = {
		CLAIM(a_task_returns_its_results),
		CLAIM(a_wait_gives_its_results_to_the_script),
		CLAIM(a_wait_works_inside_pcall_and_xpcall),
		CLAIM(a_failed_wait_raises_a_fault_the_script_can_catch),
		CLAIM(an_error_is_an_internal_fault_with_its_line),
		CLAIM(a_deadline_ends_a_wait),
		CLAIM(a_script_that_goes_on_past_its_deadline_is_ended),
		CLAIM(a_script_that_never_stops_waking_leaves_the_loop_its_turns),
		CLAIM(a_wait_where_none_is_possible_is_an_error),
		CLAIM(a_stack_overflow_fails_its_task_only),
		CLAIM(further_results_are_dropped),
		CLAIM(memory_that_was_given_up_is_there_for_others),
		CLAIM(a_machine_over_its_limit_has_no_room_until_it_is_collected),
		CLAIM(memory_bombs_end_with_limit_and_the_machine_lives),
		CLAIM(a_script_sees_only_what_is_allowed),
		CLAIM(builtins_cannot_be_changed),
		CLAIM(an_accidental_global_is_an_error),
		CLAIM(bytecode_is_refused),
		CLAIM(modules_load_once_and_circles_are_named),
		CLAIM(a_task_left_at_the_end_is_told),
	};

	return cmocka_run_group_tests(claims, NULL, NULL);
}
