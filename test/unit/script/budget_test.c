/* SPDX-License-Identifier: MIT */
/* What ends a script, and that nothing in a script outlives it. */
#include "script/budget.h"

#include "base/check.h"
#include "loop/loop.h"
#include "script/loader.h"
#include "script/sandbox.h"
#include "script/task.h"
#include "script/vm.h"
#include "script/watchdog.h"
#include "watch/log.h"
#include "watch/metrics.h"
#include "watch/trace.h"

#include <lauxlib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define CPU_MS 30

struct fixture {
	struct metrics *metrics;
	struct log_hub *logs;
	struct observer observer;
	struct chaos chaos;
	struct loop *loop;
	struct watchdog *watchdog;
	struct vm *vm;
	bool ended;
	struct fault why; /* FAULT_none: it returned */
	char traceback[512];
};

static int l_wait(lua_State *L)
{
	return task_sleep(L, mono_after_ms(clock_mono(), lua_tointeger(L, 1)), 0);
}

/* Raises when the CPU is spent, as a matcher does that has things of its own on its
 * stack. */
static int l_spend(lua_State *L)
{
	while (!vm_spent(vm_of(L)))
		;
	for (int i = 0; i < LUA_MINSTACK - 2; i++)
		lua_pushnil(L);
	return vm_raise_spent(L);
}

/* A bug of the host: it does not come back. */
static int l_hang(lua_State *L)
{
	for (volatile bool always = true; always;)
		;
	return 0;
}

/* The same without using the CPU; somebody looks once a second, in a hurry. */
static int l_stand(lua_State *L)
{
	struct watchdog *watchdog = vm_budget(vm_of(L))->watchdog;

	for (;;)
		watchdog_stuck(watchdog);
	return 0;
}

/* wait(ms), spend(), hang() and stand(), as a module: native.wait */
static int install(lua_State *L)
{
	vm_call_data(L);
	lua_newtable(L);
	lua_pushcfunction(L, l_hang);
	lua_setfield(L, -2, "hang");
	lua_pushcfunction(L, l_stand);
	lua_setfield(L, -2, "stand");
	lua_pushcfunction(L, l_wait);
	task_wrap_wait(L);
	lua_setfield(L, -2, "ms");
	lua_pushcfunction(L, l_spend);
	lua_setfield(L, -2, "spend");
	loader_provide(L, "native.wait");
	return 0;
}

static int setup(void **state)
{
	struct fixture *f = mem_zeroed(1, sizeof(*f));
	struct tracer_config tracer = { .sampler = SAMPLER_always_on,
					.ring_bytes = 4096 };
	struct vm_config config = { .memory_max = 8u << 20,
				    .cpu_ms = CPU_MS,
				    .lib_dir = "/nowhere/lib" };
	struct fault why;

	f->metrics = metrics_create();
	f->logs = log_hub_create(LOG_info, NULL, NULL);
	f->observer.log = log_create(f->logs, 1 << 16);
	f->observer.meter = meter_create(f->metrics);
	f->observer.tracer = tracer_create(&tracer, 1);
	f->loop = loop_create(&f->observer, &f->chaos);
	f->watchdog = watchdog_create("test");
	f->vm = vm_create(f->loop, &config);
	vm_watch(f->vm, f->watchdog);
	assert_int_equal(vm_call(f->vm, install, NULL, &why), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	vm_destroy(f->vm);
	watchdog_destroy(f->watchdog);
	loop_destroy(f->loop);
	tracer_destroy(f->observer.tracer);
	log_hub_destroy(f->logs);
	metrics_destroy(f->metrics);
	free(f);
	return 0;
}

static void push_source(lua_State *L, void *data)
{
	const char *source = data;

	if (luaL_loadbuffer(L, source, strlen(source), "@scripts/test/service.lua"))
		lua_error(L);
	sandbox_push_environment(L);
	lua_setfenv(L, -2);
}

static void on_done(void *context, lua_State *L, const struct fault *why)
{
	struct fixture *f = context;
	struct slice traceback = task_traceback(f->vm);

	f->ended = true;
	f->why = why ? *why : (struct fault){ 0 };
	snprintf(f->traceback, sizeof(f->traceback), "%.*s", SLICE_PRINT(traceback));
}

static void start(struct fixture *f, const char *source, int deadline_ms)
{
	struct task_config config = {
		.push = push_source,
		.data = (void *)source,
		.deadline = mono_after_ms(clock_mono(), deadline_ms),
		.done = on_done,
		.context = f,
	};

	f->ended = false;
	task_start(f->vm, &config);
}

static void run(struct fixture *f, const char *source, int deadline_ms)
{
	start(f, source, deadline_ms);
	while (!f->ended)
		loop_turn(f->loop, 1000);
}

static double cpu_seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void assert_ends(struct fixture *f, const char *source, const char *detail)
{
	double began = cpu_seconds();

	run(f, source, 10000);
	if (f->why.kind != FAULT_limit || !strstr(f->why.detail, detail))
		fail_msg("%s\nended with %s: %s", source, fault_name(f->why.kind),
			 f->why.detail);
	assert_int_equal(fault_status(&f->why), 503);
	if (cpu_seconds() - began > 2)
		fail_msg("%s\ntook %.1f s of CPU", source, cpu_seconds() - began);
	/* The VM is as good as before. */
	run(f, "return 1", 1000);
	assert_int_equal(f->why.kind, FAULT_none);
}

static const char *const endless[] = {
	"while true do end",
	"repeat until false",
	"::again:: goto again",
	"local function f() return f() end f()",
	"for _ = 1, 1e15 do end",
	"while true do pcall(function() while true do end end) end",
	"local function f() pcall(f) while true do end end f()",
	"xpcall(function() while true do end end, function() while true do end end)",
	"pcall(xpcall, error, function() while true do end end)",
	("local t = setmetatable({}, {__index = function(t, k) return t[k + 1] end})\n"
	 "while true do pcall(function() return t[1] end) end"),
	"table.sort({3, 1, 2, 5, 4}, function() while true do end end)",
	"('x'):gsub('.', function() while true do end end)",
	"local s = '' while true do s = tostring(#s) end",
	"for w in function() return 1 end do end",
};

static void test_an_endless_script_is_ended(void **state)
{
	for (size_t i = 0; i < sizeof(endless) / sizeof(*endless); i++)
		assert_ends(*state, endless[i],
			    "ms of CPU time without waiting are spent");
}

/* What raises the end wants some of the stack, too: so many levels below where it is
 * full, there is room to spend but none to raise. */
static void test_a_full_stack_frees_no_script_from_its_budget(void **state)
{
	char source[512];

	for (int above = 0; above < 12; above++) {
		snprintf(source, sizeof(source),
			 "local spend, left = require('native.wait').spend, 1e9\n"
			 "local function down()\n"
			 "  left = left - 1\n"
			 "  if left == 0 then return pcall(spend) end\n"
			 "  local ok = down()\n"
			 "  return ok\n"
			 "end\n"
			 "coroutine.wrap(function() pcall(down) end)()\n"
			 "left = 1e9 - left - %d\n"
			 "coroutine.wrap(function() pcall(down) end)()\n"
			 "for _ = 1, 1e9 do end",
			 above);
		assert_ends(*state, source, "ms of CPU time without waiting are spent");
	}
}

static void test_without_a_limit_no_script_is_taken_for_stuck(void **state)
{
	struct fixture *f = *state;

	watchdog_enter(f->watchdog, vm_main(f->vm), 0, NULL);
	for (int second = 0; second < 20; second++)
		watchdog_stuck(f->watchdog);
	watchdog_leave(f->watchdog);
}

static void test_an_end_names_file_and_line_and_keeps_the_traceback(void **state)
{
	struct fixture *f = *state;

	run(f, "local function spin()\n  while true do end\nend\nspin()", 10000);
	assert_non_null(strstr(f->why.detail, " at scripts/test/service.lua:2"));
	assert_non_null(strstr(f->traceback, "scripts/test/service.lua:4"));
}

static void test_a_script_that_waits_may_go_on(void **state)
{
	struct fixture *f = *state;

	run(f,
	    "local wait = require('native.wait').ms\n"
	    "for _ = 1, 40 do\n"
	    "  for _ = 1, 1e5 do end\n"
	    "  wait(1)\n"
	    "end",
	    20000);
	assert_int_equal(f->why.kind, FAULT_none);
}

static const char *const hungry[] = {
	"local t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end",
	"local s = 'x' while true do s = s .. s end",
	("while true do\n"
	 "  pcall(function() local s = 'x' while true do s = s .. s end end)\n"
	 "end"),
	"local t = {} while true do pcall(function() t = {t, {}, {}, {}} end) end",
};

static void test_memory_that_ends_cannot_be_caught(void **state)
{
	for (size_t i = 0; i < sizeof(hungry) / sizeof(*hungry); i++)
		assert_ends(*state, hungry[i], "");
}

static void test_a_deadline_cannot_be_caught(void **state)
{
	struct fixture *f = *state;

	run(f,
	    "local wait = require('native.wait').ms\n"
	    "pcall(wait, 5000)\n"
	    "return 200",
	    50);
	assert_int_equal(f->why.kind, FAULT_limit);
	assert_non_null(strstr(f->why.detail, "the task's deadline passed at "
					      "scripts/test/service.lua:2"));
}

static void test_a_ticket_outlives_its_machine(void **state)
{
	struct fixture *f = *state;
	struct vm_config config = { .memory_max = 8u << 20, .lib_dir = "/nowhere/lib" };
	struct task_wait ticket = { .loop = f->loop, .table = 2, .slot = 0, .number = 1 };
	struct vm *other = vm_create(NULL, &config);
	struct fault why;

	vm_bind(other, f->loop); /* the second guest of this loop */
	vm_destroy(other);
	assert_false(task_waiting(ticket));
	task_wake(ticket, NULL, NULL);
	fault_set(&why, FAULT_timeout, "late");
	task_wake_fault(ticket, &why);
}

static int run_endless(lua_State *L)
{
	vm_call_data(L);
	push_source(L, "\n\nwhile true do end");
	lua_call(L, 0, 0);
	return 0;
}

static void test_a_file_that_runs_for_ever_is_ended(void **state)
{
	struct fixture *f = *state;
	struct fault why = { 0 };

	assert_int_equal(vm_run(f->vm, run_endless, NULL, &why), -1);
	assert_int_equal(why.kind, FAULT_limit);
	assert_non_null(strstr(why.detail, "scripts/test/service.lua:3"));
	assert_int_equal(lua_gettop(vm_main(f->vm)), 0);
}

/* In a process of its own; gives what it said before it ended. */
static void assert_ends_the_process(const char *source, char said[512])
{
	void *fixture;
	ssize_t got, size = 0;
	int ends[2], status;
	pid_t child;

	assert_int_equal(pipe(ends), 0);
	child = fork();
	if (child == 0) {
		dup2(ends[1], STDERR_FILENO);
		setup(&fixture); /* timers are not inherited */
		run(fixture, source, 60000);
		_exit(0);
	}
	close(ends[1]);
	while ((got = read(ends[0], said + size, (size_t)(511 - size))) > 0)
		size += got;
	said[size] = 0;
	close(ends[0]);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 70);
}

static void test_a_host_that_does_not_come_back_names_the_line_and_ends(void **state)
{
	char said[512];

	assert_ends_the_process("local host = require 'native.wait'\nhost.hang()", said);
	assert_non_null(strstr(said, "\"level\":\"FATAL\""));
	assert_non_null(strstr(said, "scripts/test/service.lua:2"));
	assert_ends_the_process("\nrequire('native.wait').stand()", said);
	assert_non_null(strstr(said, "it stands still"));
	assert_non_null(strstr(said, "scripts/test/service.lua:2"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_an_endless_script_is_ended, setup,
						teardown),
		cmocka_unit_test_setup_teardown(
			test_a_full_stack_frees_no_script_from_its_budget, setup,
			teardown),
		cmocka_unit_test_setup_teardown(
			test_without_a_limit_no_script_is_taken_for_stuck, setup,
			teardown),
		cmocka_unit_test_setup_teardown(
			test_an_end_names_file_and_line_and_keeps_the_traceback, setup,
			teardown),
		cmocka_unit_test_setup_teardown(test_a_script_that_waits_may_go_on, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_memory_that_ends_cannot_be_caught,
						setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_deadline_cannot_be_caught, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_a_ticket_outlives_its_machine, setup,
						teardown),
		cmocka_unit_test(
			test_a_host_that_does_not_come_back_names_the_line_and_ends),
		cmocka_unit_test_setup_teardown(test_a_file_that_runs_for_ever_is_ended,
						setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
