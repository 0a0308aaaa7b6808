/* SPDX-License-Identifier: MIT */
/* sandbox_rig.h -- a VM on a loop, with a folder for lib/ and one for a service,
 * where scripts run as tasks.
 *
 * Scripts can require "native.rig": pause(ms, ...) waits and gives the rest back,
 * view(table) gives a view of it, fail() raises a fault, collect() collects,
 * may_wait() is coroutines_may_wait.
 */
#ifndef TEST_SCRIPT_SANDBOX_RIG_H
#define TEST_SCRIPT_SANDBOX_RIG_H

#include "base/buf.h"
#include "base/check.h"
#include "loop/loop.h"
#include "script/coroutines.h"
#include "script/loader.h"
#include "script/sandbox.h"
#include "script/task.h"
#include "script/view.h"
#include "script/vm.h"
#include "watch/log.h"
#include "watch/metrics.h"
#include "watch/trace.h"

#include <lauxlib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define RIG_MEMORY_MAX (8u << 20)

struct rig {
	struct metrics *metrics;
	struct log_hub *logs;
	struct observer observer;
	struct chaos chaos;
	struct loop *loop;
	struct vm *vm;
	char folder[64];
	unsigned running; /* tasks */
	struct buf result; /* of the last one that ended */
};

/* --- native.rig ------------------------------------------------------------------- */

struct rig_pause {
	struct timer timer;
	struct task_wait wait;
};

static inline void rig_on_pause(void *context)
{
	struct rig_pause *pause = context;

	task_wake(pause->wait, NULL, NULL);
	free(pause);
}

/* pause(ms) -> */
static inline int rig_l_pause(lua_State *L)
{
	int ms = (int)luaL_checkinteger(L, 1);
	struct task_wait wait = task_wait(L);
	struct rig_pause *pause = mem_zeroed(1, sizeof(*pause));

	pause->wait = wait;
	timer_start(vm_loop(vm_of(L)), &pause->timer, mono_after_ms(clock_mono(), ms),
		    rig_on_pause, pause);
	return task_suspend(L);
}

/* view(table) -> view of it, and the table */
static inline int rig_l_view(lua_State *L)
{
	lua_settop(L, 1);
	lua_pushvalue(L, 1);
	view_make(L);
	lua_insert(L, 1);
	return 2;
}

/* fail() -> : raises */
static inline int rig_l_fail(lua_State *L)
{
	struct fault why;

	fault_set(&why, FAULT_refused, "by the rig");
	vm_push_fault(L, &why);
	return lua_error(L);
}

static inline int rig_l_collect(lua_State *L)
{
	lua_gc(L, LUA_GCCOLLECT, 0);
	return 0;
}

static inline int rig_l_may_wait(lua_State *L)
{
	lua_pushboolean(L, coroutines_may_wait(L));
	return 1;
}

static inline int rig_install(lua_State *L)
{
	vm_call_data(L);
	lua_newtable(L);
	lua_pushcfunction(L, rig_l_pause);
	task_wrap_wait(L);
	lua_setfield(L, -2, "pause");
	lua_pushcfunction(L, rig_l_view);
	lua_setfield(L, -2, "view");
	lua_pushcfunction(L, rig_l_fail);
	lua_setfield(L, -2, "fail");
	lua_pushcfunction(L, rig_l_collect);
	lua_setfield(L, -2, "collect");
	lua_pushcfunction(L, rig_l_may_wait);
	lua_setfield(L, -2, "may_wait");
	loader_provide(L, "native.rig");
	return 0;
}

/* --- life ------------------------------------------------------------------------- */

static inline void rig_path(const struct rig *rig, const char *name, char path[128])
{
	snprintf(path, 128, "%s/%s", rig->folder, name);
}

/* name: "lib/x.lua" or "service/x.lua" */
static inline void rig_write(const struct rig *rig, const char *name, const void *data,
			     size_t size)
{
	char path[128];
	FILE *file;

	rig_path(rig, name, path);
	file = fopen(path, "wb");
	assert_non_null(file);
	assert_int_equal(fwrite(data, 1, size, file), size);
	fclose(file);
}

static inline void rig_write_text(const struct rig *rig, const char *name,
				  const char *text)
{
	rig_write(rig, name, text, strlen(text));
}

static inline int rig_setup(void **state)
{
	struct rig *rig = mem_zeroed(1, sizeof(*rig));
	struct tracer_config tracer = { .sampler = SAMPLER_always_on,
					.ring_bytes = 4096 };
	struct vm_config config = { .memory_max = RIG_MEMORY_MAX };
	char lib[128], service[128];
	struct fault why;

	strcpy(rig->folder, "/tmp/sandbox_test_XXXXXX");
	assert_non_null(mkdtemp(rig->folder));
	rig_path(rig, "lib", lib);
	rig_path(rig, "service", service);
	assert_int_equal(mkdir(lib, 0700), 0);
	assert_int_equal(mkdir(service, 0700), 0);
	rig->metrics = metrics_create();
	rig->logs = log_hub_create(LOG_info, NULL, NULL);
	rig->observer.log = log_create(rig->logs, 1 << 16);
	rig->observer.meter = meter_create(rig->metrics);
	rig->observer.tracer = tracer_create(&tracer, 1);
	rig->loop = loop_create(&rig->observer, &rig->chaos);
	config.lib_dir = lib;
	config.service_dir = service;
	rig->vm = vm_create(rig->loop, &config);
	assert_int_equal(vm_call(rig->vm, rig_install, NULL, &why), 0);
	*state = rig;
	return 0;
}

static inline int rig_teardown(void **state)
{
	struct rig *rig = *state;
	char command[128];

	vm_destroy(rig->vm);
	loop_destroy(rig->loop);
	tracer_destroy(rig->observer.tracer);
	log_hub_destroy(rig->logs);
	metrics_destroy(rig->metrics);
	buf_finish(&rig->result);
	snprintf(command, sizeof(command), "rm -rf %s", rig->folder);
	assert_int_equal(system(command), 0);
	free(rig);
	return 0;
}

/* --- running a script as a task --------------------------------------------------- */

static inline void rig_push_source(lua_State *L, void *data)
{
	const char *source = data;

	if (luaL_loadbuffer(L, source, strlen(source), "@script.lua"))
		lua_error(L);
	sandbox_push_environment(L);
	lua_setfenv(L, -2);
}

/* The results as text, with spaces between; a failure as "kind status: detail". */
static inline void rig_on_done(void *context, lua_State *L, const struct fault *why)
{
	struct rig *rig = context;
	struct buf *result = &rig->result;

	rig->running--;
	buf_reset(result);
	if (why)
		buf_printf(result, "%s %d: %s", fault_name(why->kind), fault_status(why),
			   why->detail);
	for (int i = 1; !why && i <= lua_gettop(L); i++) {
		if (i > 1)
			buf_append_byte(result, ' ');
		if (lua_type(L, i) == LUA_TSTRING || lua_type(L, i) == LUA_TNUMBER)
			buf_printf(result, "%s", lua_tostring(L, i));
		else if (lua_type(L, i) == LUA_TBOOLEAN)
			buf_printf(result, "%s", lua_toboolean(L, i) ? "true" : "false");
		else
			buf_printf(result, "%s", luaL_typename(L, i));
	}
}

static inline void rig_start(struct rig *rig, const char *source, int timeout_ms)
{
	struct task_config task = {
		.push = rig_push_source,
		.data = (void *)(size_t)source,
		.deadline = mono_after_ms(clock_mono(), timeout_ms),
		.done = rig_on_done,
		.context = rig,
	};

	rig->running++;
	task_start(rig->vm, &task);
}

static inline void rig_finish_all(struct rig *rig)
{
	for (int i = 0; i < 1000 && rig->running; i++)
		loop_turn(rig->loop, 10);
	assert_int_equal(rig->running, 0);
}

/* Borrowed until the next run. */
static inline const char *rig_run(struct rig *rig, const char *source)
{
	rig_start(rig, source, 5000);
	rig_finish_all(rig);
	return buf_text(&rig->result);
}

#define assert_run(rig, source, expected)                                                \
	assert_string_equal(rig_run(rig, source), expected)

/* What the script ends with has these words in it. */
static inline void assert_says(struct rig *rig, const char *source, const char *words)
{
	const char *result = rig_run(rig, source);

	if (!strstr(result, words))
		fail_msg("'%s' is not in: %s", words, result);
}

#define CLAIM(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

#endif
