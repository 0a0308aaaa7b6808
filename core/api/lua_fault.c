/* SPDX-License-Identifier: MIT */
/* native.fault -- failures as values: a kind of fault.def, a detail for people, more
 * fields. */
#include "api/api.h"

#include "script/vm.h"

#include <lauxlib.h>

static void push_new(lua_State *L)
{
	struct slice kind = api_check_slice(L, 1);
	struct slice detail;
	bool fields = !lua_isnoneornil(L, 3);

	detail.at = luaL_optlstring(L, 2, "", &detail.size);
	if (fault_kind_of(kind) == FAULT_none)
		luaL_error(L, "'%s' is no kind of fault", kind.at);
	if (fields)
		luaL_checktype(L, 3, LUA_TTABLE);
	lua_settop(L, 3);
	lua_newtable(L);
	lua_pushnil(L);
	while (fields && lua_next(L, 3)) {
		lua_pushvalue(L, -2);
		lua_insert(L, -2);
		lua_rawset(L, 4);
	}
	lua_settop(L, 4);
	lua_pushvalue(L, 1);
	lua_setfield(L, 4, "kind");
	lua_pushlstring(L, detail.at, detail.size);
	lua_setfield(L, 4, "detail");
	lua_getfield(L, LUA_REGISTRYINDEX, vm_fault_key);
	lua_setmetatable(L, 4);
}

/* fault.new(kind, detail, [fields]) -> fault */
static int l_fault_new(lua_State *L)
{
	push_new(L);
	return 1;
}

/* fault.raise(kind, detail, [fields]) -> never returns */
static int l_fault_raise(lua_State *L)
{
	push_new(L);
	return lua_error(L);
}

/* fault.is(value) -> boolean: made here, or by the host */
static int l_fault_is(lua_State *L)
{
	luaL_checkany(L, 1);
	lua_settop(L, 1);
	if (!lua_istable(L, 1) || !lua_getmetatable(L, 1)) {
		lua_pushboolean(L, 0);
		return 1;
	}
	lua_getfield(L, LUA_REGISTRYINDEX, vm_fault_key);
	lua_pushboolean(L, lua_rawequal(L, -1, -2));
	return 1;
}

/* fault.status(fault) -> the HTTP status it answers with */
static int l_fault_status(lua_State *L)
{
	struct fault why = { 0 };

	luaL_checkany(L, 1);
	vm_read_fault(L, 1, &why);
	lua_pushinteger(L, fault_status(&why));
	return 1;
}

void api_open_fault(lua_State *L, const struct api *api)
{
	static const luaL_Reg calls[] = { { "is", l_fault_is },
					  { "new", l_fault_new },
					  { "raise", l_fault_raise },
					  { "status", l_fault_status },
					  { NULL, NULL } };

	api_module(L, api, calls, NULL);
}
