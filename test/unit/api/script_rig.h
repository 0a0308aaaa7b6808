/* SPDX-License-Identifier: MIT */
/* script_rig.h -- a VM with native modules on a loop, for the tests of api/.
 *
 * A test opens the modules it is about, so that it links nothing else.
 */
#ifndef TEST_API_SCRIPT_RIG_H
#define TEST_API_SCRIPT_RIG_H

#include "api/api.h"
#include "base/buf.h"
#include "base/check.h"
#include "loop/loop.h"
#include "script/loader.h"
#include "script/sandbox.h"
#include "script/task.h"
#include "script/vm.h"
#include "watch/log.h"
#include "watch/metrics.h"
#include "watch/trace.h"

#include <lauxlib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

struct rig_module {
	const char *name;
	void (*open)(lua_State *L, const struct api *api);
};

struct rig {
	struct metrics *metrics;
	struct log_hub *logs;
	struct observer observer;
	struct chaos chaos;
	struct loop *loop;
	struct vm *vm;
	struct api api;
	const struct trace_context *trace; /* of the tasks to come */
	struct buf result;
	bool done;
};

static inline int rig_open_modules(lua_State *L)
{
	void **data = vm_call_data(L);
	const struct rig_module *module = data[1];

	for (; module->name; module++) {
		module->open(L, data[0]);
		loader_provide(L, module->name);
	}
	return 0;
}

/* No wake-up is needed: tests drain by themselves. */
static inline void rig_no_wake(void *context)
{
}

/* Everything but the VM: api is to be filled before rig_open. */
static inline void rig_init(struct rig *rig)
{
	struct tracer_config tracing = { .sampler = SAMPLER_always_on,
					 .recording = true,
					 .ring_bytes = 1 << 16,
					 .attrs_max = 32 };

	memset(rig, 0, sizeof(*rig));
	rig->metrics = metrics_create();
	rig->logs = log_hub_create(LOG_debug, rig_no_wake, NULL);
	rig->observer.meter = meter_create(rig->metrics);
	rig->observer.log = log_create(rig->logs, 1 << 16);
	rig->observer.tracer = tracer_create(&tracing, 7);
	rig->loop = loop_create(&rig->observer, &rig->chaos);
	rig->api.loop = rig->loop;
	rig->api.metrics = rig->metrics;
}

static inline void rig_open(struct rig *rig, size_t memory_max,
			    const struct rig_module *modules)
{
	struct vm_config config = { .memory_max = memory_max, .lib_dir = "/nowhere/lib" };
	void *data[2] = { &rig->api, (void *)modules };
	struct fault why;

	rig->vm = rig->api.vm = vm_create(rig->loop, &config);
	if (vm_call(rig->vm, rig_open_modules, data, &why) != 0)
		fail_msg("%s", why.detail);
}

static inline void rig_finish(struct rig *rig)
{
	vm_destroy(rig->vm);
	loop_destroy(rig->loop);
	tracer_destroy(rig->observer.tracer);
	log_hub_destroy(rig->logs);
	metrics_destroy(rig->metrics);
	buf_finish(&rig->result);
}

static inline void rig_push_source(lua_State *L, void *data)
{
	const char *source = data;

	if (luaL_loadbuffer(L, source, strlen(source), "=test"))
		lua_error(L);
	sandbox_push_environment(L);
	lua_setfenv(L, -2);
}

/* The results as text, with spaces between; a failure as "kind: detail". */
static inline void rig_on_done(void *context, lua_State *L, const struct fault *why)
{
	struct rig *rig = context;

	buf_reset(&rig->result);
	if (why)
		buf_printf(&rig->result, "%s: %s", fault_name(why->kind), why->detail);
	for (int i = 1; !why && i <= lua_gettop(L); i++) {
		if (i > 1)
			buf_append_byte(&rig->result, ' ');
		if (lua_type(L, i) == LUA_TSTRING || lua_type(L, i) == LUA_TNUMBER)
			buf_printf(&rig->result, "%s", lua_tostring(L, i));
		else if (lua_type(L, i) == LUA_TBOOLEAN)
			buf_printf(&rig->result, "%s",
				   lua_toboolean(L, i) ? "true" : "false");
		else
			buf_printf(&rig->result, "%s", luaL_typename(L, i));
	}
	rig->done = true;
}

/* Runs the source as a task, to its end. Borrowed until the next run. */
static inline const char *rig_run(struct rig *rig, const char *source)
{
	struct task_config config = {
		.push = rig_push_source,
		.data = (void *)source,
		.deadline = mono_after_ms(clock_mono(), 10000),
		.trace = rig->trace,
		.done = rig_on_done,
		.context = rig,
	};

	rig->done = false;
	task_start(rig->vm, &config);
	while (!rig->done)
		loop_turn(rig->loop, 1000);
	return buf_text(&rig->result);
}

#define assert_run(rig, source, expected)                                                \
	assert_string_equal(rig_run(rig, source), expected)

/* The text stands somewhere in it. */
static inline void assert_contains(const char *text, const char *part)
{
	if (!text || !strstr(text, part))
		fail_msg("'%s' is not in: %s", part, text ? text : "nothing");
}

static inline void assert_lacks(const char *text, const char *part)
{
	if (text && strstr(text, part))
		fail_msg("'%s' is in: %s", part, text);
}

#endif
