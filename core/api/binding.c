/* SPDX-License-Identifier: MIT */
/* binding.c -- what every native module is made with. */
#include "api/api.h"

#include "script/task.h"
#include "script/vm.h"

#include <lauxlib.h>

static void add_functions(lua_State *L, const struct api *api, const luaL_Reg *functions,
			  bool wait)
{
	for (; functions && functions->name; functions++) {
		lua_pushlightuserdata(L, (void *)api);
		lua_pushcclosure(L, functions->func, 1);
		if (wait)
			task_wrap_wait(L);
		lua_setfield(L, -2, functions->name);
	}
}

void api_module(lua_State *L, const struct api *api, const luaL_Reg *calls,
		const luaL_Reg *waits)
{
	lua_newtable(L);
	add_functions(L, api, calls, false);
	add_functions(L, api, waits, true);
}

const struct api *api_of(lua_State *L)
{
	return lua_touserdata(L, lua_upvalueindex(1));
}

int api_absent(lua_State *L, const char *what, const char *setting)
{
	struct fault why;

	fault_set(&why, FAULT_unavailable, "this service has no %s: set %s", what,
		  setting);
	vm_push_fault(L, &why);
	return lua_error(L);
}

int api_failed(lua_State *L, const struct fault *why)
{
	lua_pushnil(L);
	vm_push_fault(L, why);
	return 2;
}

struct slice api_check_slice(lua_State *L, int index)
{
	struct slice s;

	s.at = luaL_checklstring(L, index, &s.size);
	return s;
}
