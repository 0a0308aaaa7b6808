/* SPDX-License-Identifier: MIT */
#include "script/coroutines.h"

#include "script/vm.h"

#include <lauxlib.h>

/* By address: the mark on what scripts yield, and the registry key of `within`. */
static const char mark[] = "yielded";
static const char within_key[] = "within";

/* `made` knows the coroutines of scripts; true: it is in a wait. Its members exist from
 * the beginning: to set one needs no memory, between a wait and the scheduler. */
static const char prelude[] =
	"local MARK, made, enter, raw, error = ...\n"
	"local resume, yield, status = raw.resume, raw.yield, raw.status\n"
	"local create, running, isyieldable = raw.create, raw.running, raw.isyieldable\n"
	"local settle\n"
	"local function unmarked(_, ...) return true, ... end\n"
	"local function go_on(co, ...)\n"
	"  made[co] = false\n"
	"  return settle(co, resume(co, ...))\n"
	"end\n"
	"function settle(co, ok, ...)\n"
	"  if not ok then return false, ... end\n"
	"  if (...) == MARK then return unmarked(...) end\n"
	"  if status(co) == 'dead' then return true, ... end\n"
	"  made[co] = true\n"
	"  return go_on(co, yield())\n"
	"end\n"
	"local function check(co, name)\n"
	"  if made[co] == nil then\n"
	"    error('bad argument #1 to ' .. name .. ' (coroutine expected)', 3)\n"
	"  end\n"
	"end\n"
	"local c = {}\n"
	"function c.create(f)\n"
	"  local co = create(f)\n"
	"  made[co] = false\n"
	"  return co\n"
	"end\n"
	"local function start(co, ...)\n"
	"  if made[co] then return false, 'cannot resume waiting coroutine' end\n"
	"  local state = status(co)\n"
	"  if state ~= 'suspended' then\n"
	"    return false, 'cannot resume ' .. state .. ' coroutine'\n"
	"  end\n"
	"  local why = enter(co)\n"
	"  if why then return false, why end\n"
	"  return settle(co, resume(co, ...))\n"
	"end\n"
	"function c.resume(co, ...)\n"
	"  check(co, \"'resume'\")\n"
	"  return start(co, ...)\n"
	"end\n"
	"local function unwrap(ok, ...)\n"
	"  if ok then return ... end\n"
	"  error((...), 0)\n"
	"end\n"
	"function c.wrap(f)\n"
	"  local co = c.create(f)\n"
	"  return function(...) return unwrap(start(co, ...)) end\n"
	"end\n"
	"function c.yield(...)\n"
	"  if made[running()] == nil then\n"
	"    error('attempt to yield from outside a coroutine', 2)\n"
	"  end\n"
	"  return yield(MARK, ...)\n"
	"end\n"
	"function c.status(co)\n"
	"  check(co, \"'status'\")\n"
	"  return made[co] and 'normal' or status(co)\n"
	"end\n"
	"function c.running()\n"
	"  local co = running()\n"
	"  if made[co] ~= nil then return co end\n"
	"end\n"
	"function c.isyieldable()\n"
	"  return made[running()] ~= nil and isyieldable()\n"
	"end\n"
	"return c\n";

/* enter(coroutine) -> nil, or why it cannot be resumed: notes who resumes it */
static int l_enter(lua_State *L)
{
	if (!vm_stack_left(vm_of(L))) {
		lua_pushliteral(L, "coroutines inside one another: too deep");
		return 1;
	}
	lua_settop(L, 1);
	lua_pushthread(L);
	lua_rawset(L, lua_upvalueindex(1));
	return 0;
}

/* Pushes a table with weak keys or values. */
static void push_weak(lua_State *L, const char *mode)
{
	lua_newtable(L);
	lua_createtable(L, 0, 1);
	lua_pushstring(L, mode);
	lua_setfield(L, -2, "__mode");
	lua_setmetatable(L, -2);
}

void coroutines_open(lua_State *L)
{
	if (luaL_loadbuffer(L, prelude, sizeof(prelude) - 1, "=coroutine"))
		lua_error(L);
	lua_pushlightuserdata(L, (void *)mark);
	push_weak(L, "k");

	/* within[coroutine]: the one that resumed it last. It must not keep that
	 * alive, for tasks end in a wait. */
	push_weak(L, "kv");
	lua_pushlightuserdata(L, (void *)within_key);
	lua_pushvalue(L, -2);
	lua_rawset(L, LUA_REGISTRYINDEX);
	lua_pushcclosure(L, l_enter, 1);

	lua_getglobal(L, "coroutine");
	lua_getglobal(L, "error");
	lua_call(L, 5, 1);
}

bool coroutines_may_wait(lua_State *L)
{
	int top = lua_gettop(L);
	bool may = true;

	luaL_checkstack(L, 3, NULL);
	lua_pushlightuserdata(L, (void *)within_key);
	lua_rawget(L, LUA_REGISTRYINDEX);
	lua_pushthread(L);
	while (may && lua_isthread(L, -1)) {
		may = lua_isyieldable(lua_tothread(L, -1));
		lua_rawget(L, -2);
	}
	lua_settop(L, top);
	return may;
}
