/* SPDX-License-Identifier: MIT */
/* native.task -- waiting, and doing several things at once, inside one task. */
#include "api/api.h"

#include "base/check.h"
#include "loop/loop.h"
#include "script/task.h"
#include "script/vm.h"

#include <lauxlib.h>
#include <stdlib.h>

#define PARTS_MAX 64
#define SLEEP_MAX_S 3600

/* task.sleep(seconds) -> */
static int l_task_sleep(lua_State *L)
{
	const struct api *api = api_of(L);
	double seconds = luaL_checknumber(L, 1);
	struct chaos_effect effect = chaos_point(loop_chaos(api->loop), CHAOS_task_sleep);
	int64_t ms;

	seconds = seconds > 0 ? seconds < SLEEP_MAX_S ? seconds : SLEEP_MAX_S : 0;
	ms = (int64_t)(seconds * 1000) + effect.delay_ms;
	return task_sleep(L, mono_after_ms(loop_now(api->loop), ms), effect.fail);
}

/* --- all -------------------------------------------------------------------------- */

struct join {
	struct task_wait wait;
	int parts; /* registry reference of {functions}; each is replaced by its result */
	int count;
	int left;
	bool failed;
	struct part {
		struct join *join;
		int index;
	} part[];
};

static void push_part(lua_State *L, void *data)
{
	struct part *part = data;

	lua_rawgeti(L, LUA_REGISTRYINDEX, part->join->parts);
	lua_rawgeti(L, -1, part->index);
	lua_remove(L, -2);
}

static void push_results(lua_State *L, void *data)
{
	struct join *join = data;

	lua_rawgeti(L, LUA_REGISTRYINDEX, join->parts);
	luaL_checkstack(L, join->count, NULL);
	for (int i = 1; i <= join->count; i++)
		lua_rawgeti(L, 1, i);
	lua_remove(L, 1);
}

static void push_first_fault(lua_State *L, void *data)
{
	struct join *join = data;

	lua_rawgeti(L, LUA_REGISTRYINDEX, join->parts);
	lua_getfield(L, -1, "fault");
	lua_error(L);
}

/* The first fault is kept as it was raised; a text, which done does not get, as a fault
 * of its words. */
static void keep_fault(lua_State *L, struct join *join, const struct fault *why)
{
	join->failed = true;
	if (lua_gettop(L) == 0)
		vm_push_fault(L, why);
	lua_rawgeti(L, LUA_REGISTRYINDEX, join->parts);
	lua_pushvalue(L, 1);
	lua_setfield(L, -2, "fault");
	lua_settop(L, 0);
}

static void on_part_done(void *context, lua_State *L, const struct fault *why)
{
	struct part *part = context;
	struct join *join = part->join;

	if (why) {
		if (!join->failed)
			keep_fault(L, join, why);
	} else {
		lua_settop(L, 1);
		lua_rawgeti(L, LUA_REGISTRYINDEX, join->parts);
		lua_insert(L, 1);
		lua_rawseti(L, 1, part->index);
	}
	if (--join->left)
		return;
	task_wake(join->wait, join->failed ? push_first_fault : push_results, join);
	luaL_unref(L, LUA_REGISTRYINDEX, join->parts);
	free(join);
}

/* Tasks are made in host mode, which refuses nothing, and each of them may wait: parts
 * that start parts would go on without an end. */
static void check_room(lua_State *L, const struct api *api, unsigned count)
{
	struct fault why;

	if (loop_now(api->loop).ns >= task_deadline(L).ns)
		fault_set_status(&why, FAULT_limit, 503, "the task's deadline passed");
	else if (count > task_parts_left(L))
		fault_set_status(&why, FAULT_limit, 503,
				 "more than %d parts of one task at once",
				 TASK_PARTS_MAX);
	else if (!vm_has_room(api->vm))
		fault_set_status(&why, FAULT_limit, 503, "the memory budget is spent");
	else
		return;
	vm_push_fault(L, &why);
	lua_error(L);
}

/* task.all{fn, fn, ...} -> the first result of each, in order; raises the first fault
 * when all have ended */
static int l_task_all(lua_State *L)
{
	const struct api *api = api_of(L);
	struct task_config config = { .push = push_part, .done = on_part_done };
	struct task_wait wait;
	struct join *join;
	int count, parts;
	bool before;

	luaL_checktype(L, 1, LUA_TTABLE);
	count = (int)lua_objlen(L, 1);
	if (count > PARTS_MAX)
		return luaL_error(L, "task.all takes at most %d functions", PARTS_MAX);
	config.part = true;
	config.deadline = task_deadline(L);
	config.trace = task_trace(L);
	config.span = task_span(L);
	check_room(L, api, (unsigned)count);
	wait = task_wait(L);
	lua_createtable(L, count, 1);
	for (int i = 1; i <= count; i++) {
		lua_rawgeti(L, 1, i);
		if (!lua_isfunction(L, -1))
			return luaL_error(L, "task.all: item %d is a %s, not a function",
					  i, luaL_typename(L, -1));
		lua_rawseti(L, -2, i);
	}
	if (count == 0)
		return 0;
	parts = luaL_ref(L, LUA_REGISTRYINDEX);

	before = vm_host_begin(api->vm);
	join = mem_zeroed(1, sizeof(*join) + (size_t)count * sizeof(join->part[0]));
	*join = (struct join){ .wait = wait, .parts = parts };
	join->count = join->left = count;
	for (int i = 0; i < count; i++) {
		join->part[i] = (struct part){ join, i + 1 };
		config.data = config.context = &join->part[i];
		task_start(api->vm, &config);
	}
	vm_host_end(api->vm, before);
	return task_suspend_joined(L);
}

/* task.deadline() -> seconds until the task must have ended */
static int l_task_deadline(lua_State *L)
{
	const struct api *api = api_of(L);

	lua_pushnumber(L, mono_seconds(loop_now(api->loop), task_deadline(L)));
	return 1;
}

void api_open_task(lua_State *L, const struct api *api)
{
	static const luaL_Reg calls[] = { { "deadline", l_task_deadline },
					  { NULL, NULL } };
	static const luaL_Reg waits[] = { { "all", l_task_all },
					  { "sleep", l_task_sleep },
					  { NULL, NULL } };

	api_module(L, api, calls, waits);
}
