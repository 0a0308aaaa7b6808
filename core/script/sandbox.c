/* SPDX-License-Identifier: MIT */
#include "script/sandbox.h"

#include "script/coroutines.h"
#include "script/strings.h"
#include "script/view.h"
#include "script/vm.h"

#include <lauxlib.h>
#include <lualib.h>

/* Registry keys, by address. */
static const char environment_key[] = "environment";

/* Sorted. What is not named here does not exist for a script. */
static const char *const allowed_functions[] = {
	"assert", "error",  "getmetatable", "next",	"pcall",    "rawequal", "rawget",
	"rawset", "select", "setmetatable", "tonumber", "tostring", "type",	"unpack",
};
static const char *const allowed_tables[] = { "bit", "math", "string", "table" };

/* Sorted: members of allowed tables that are withheld. math.random is shared state;
 * native.random replaces it. */
static const struct {
	const char *table;
	const char *name;
} withheld[] = { { "math", "random" }, { "math", "randomseed" }, { "string", "dump" } };

/* xpcall, in Lua because it runs functions that may wait: a C function between would stop
 * that. The handler runs after the error has unwound, so it can be stopped too; its own
 * error is the second result. */
static const char prelude[] =
	"local pcall = ...\n"
	"local function fail(_, ...) return false, ... end\n"
	"local function settle(handler, ok, ...)\n"
	"  if ok then return true, ... end\n"
	"  return fail(pcall(handler, (...)))\n"
	"end\n"
	"return function(f, handler, ...) return settle(handler, pcall(f, ...)) end\n";

static int refuse_global(lua_State *L)
{
	return luaL_error(L, "assignment to undeclared global '%s' (use local)",
			  lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?");
}

static int refuse_unknown(lua_State *L)
{
	return luaL_error(L, "unknown global '%s'",
			  lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?");
}

/* insert(table, [position], value): the library's. It moves what stands behind the
 * position one up, however far away that is, and nothing stops it meanwhile. */
static int l_insert(lua_State *L)
{
	if (lua_gettop(L) == 3 && lua_istable(L, 1)) {
		lua_Number position = luaL_checknumber(L, 2);

		luaL_argcheck(
			L, position >= 1 && position <= (lua_Number)lua_objlen(L, 1) + 1,
			2, "position out of bounds");
	}
	return lua_tocfunction(L, lua_upvalueindex(1))(L);
}

static void bound_insert(lua_State *L)
{
	lua_getglobal(L, LUA_TABLIBNAME);
	lua_getfield(L, -1, "insert");
	lua_pushcclosure(L, l_insert, 1);
	lua_setfield(L, -2, "insert");
	lua_pop(L, 1);
}

static void open_library(lua_State *L, lua_CFunction open, const char *name)
{
	lua_pushcfunction(L, open);
	lua_pushstring(L, name);
	lua_call(L, 1, 0);
}

static void withhold_members(lua_State *L)
{
	for (size_t i = 0; i < sizeof(withheld) / sizeof(*withheld); i++) {
		lua_getglobal(L, withheld[i].table);
		lua_pushnil(L);
		lua_setfield(L, -2, withheld[i].name);
		lua_pop(L, 1);
	}
}

/* The functions of the prelude, and those that know views; stack: builtins. */
static void add_functions(lua_State *L)
{
	lua_getglobal(L, "pairs");
	view_pairs(L);
	lua_setfield(L, -2, "pairs");
	lua_getglobal(L, "ipairs");
	view_ipairs(L);
	lua_setfield(L, -2, "ipairs");
	if (luaL_loadbuffer(L, prelude, sizeof(prelude) - 1, "=prelude"))
		lua_error(L);
	lua_getglobal(L, "pcall");
	lua_call(L, 1, 1);
	lua_setfield(L, -2, "xpcall");
}

/* Fills the table on top of the stack with what scripts may use. */
static void fill_builtins(lua_State *L)
{
	for (size_t i = 0; i < sizeof(allowed_functions) / sizeof(*allowed_functions);
	     i++) {
		lua_getglobal(L, allowed_functions[i]);
		lua_setfield(L, -2, allowed_functions[i]);
	}
	for (size_t i = 0; i < sizeof(allowed_tables) / sizeof(*allowed_tables); i++) {
		lua_getglobal(L, allowed_tables[i]);
		view_make(L);
		lua_setfield(L, -2, allowed_tables[i]);
	}
	coroutines_open(L);
	view_make(L);
	lua_setfield(L, -2, "coroutine");
	add_functions(L);
}

/* The string metatable would be a way to the real string table: strings keep their
 * methods, scripts do not see where they come from. */
static void hide_string_metatable(lua_State *L)
{
	lua_pushliteral(L, "");
	lua_getmetatable(L, -1);
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	lua_pop(L, 2);
}

void sandbox_open(lua_State *L)
{
	open_library(L, luaopen_base, "");
	open_library(L, luaopen_table, LUA_TABLIBNAME);
	open_library(L, luaopen_string, LUA_STRLIBNAME);
	open_library(L, luaopen_math, LUA_MATHLIBNAME);
	open_library(L, luaopen_bit, LUA_BITLIBNAME);
	withhold_members(L);
	strings_open(L);
	bound_insert(L);
	hide_string_metatable(L);

	lua_createtable(L, 0, 24); /* stack: builtins */
	fill_builtins(L);
	lua_createtable(L, 0, 1);
	lua_pushcfunction(L, refuse_unknown);
	lua_setfield(L, -2, "__index");
	lua_setmetatable(L, -2);

	lua_createtable(L, 0, 0); /* stack: builtins, environment */
	lua_createtable(L, 0, 4);
	lua_pushvalue(L, -3);
	lua_setfield(L, -2, "__index");
	lua_pushcfunction(L, refuse_global);
	lua_setfield(L, -2, "__newindex");
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	lua_setmetatable(L, -2);

	lua_pushlightuserdata(L, (void *)environment_key);
	lua_pushvalue(L, -2);
	lua_rawset(L, LUA_REGISTRYINDEX);
	lua_pushvalue(L, -2);
	lua_setfield(L, LUA_REGISTRYINDEX, "builtins"); /* loader adds require */
	lua_pop(L, 2);
}

void sandbox_push_environment(lua_State *L)
{
	lua_pushlightuserdata(L, (void *)environment_key);
	lua_rawget(L, LUA_REGISTRYINDEX);
}
