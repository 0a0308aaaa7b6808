/* SPDX-License-Identifier: MIT */
#include "script/view.h"

#include <lauxlib.h>

/* Key of the table in a view's metatable, by address. No script reaches that. */
static const char table_key[] = "table";

/* --- making ----------------------------------------------------------------------- */

static int refuse_write(lua_State *L)
{
	return luaL_error(L, "this table is read-only (tried to set '%s')",
			  lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2)
							: luaL_typename(L, 2));
}

static int view_length(lua_State *L)
{
	if (!view_push_table(L, 1))
		return luaL_error(L, "no view");
	lua_pushinteger(L, (lua_Integer)lua_objlen(L, -1));
	return 1;
}

/* Pushes a view of the table at index. */
static void push_view(lua_State *L, int table)
{
	lua_newuserdata(L, 0);
	lua_createtable(L, 0, 5);
	lua_pushlightuserdata(L, (void *)table_key);
	lua_pushvalue(L, table);
	lua_rawset(L, -3);
	lua_pushvalue(L, table);
	lua_setfield(L, -2, "__index");
	lua_pushcfunction(L, refuse_write);
	lua_setfield(L, -2, "__newindex");
	lua_pushcfunction(L, view_length);
	lua_setfield(L, -2, "__len");
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	lua_setmetatable(L, -2);
}

static void make_inside(lua_State *L, int seen, int depth);

/* Every member that is a table is replaced, while the table is walked: that is
 * allowed, for the keys stay. */
static void make_members(lua_State *L, int table, int seen, int depth)
{
	lua_pushnil(L);
	while (lua_next(L, table)) {
		if (lua_istable(L, -2))
			luaL_error(L, "a table shown to scripts has a table as a key");
		if (!lua_istable(L, -1)) {
			lua_pop(L, 1);
			continue;
		}
		make_inside(L, seen, depth + 1);
		lua_pushvalue(L, -2);
		lua_insert(L, -2);
		lua_rawset(L, table); /* the key stays for lua_next */
	}
}

/* seen: views by table, so that one table has one view, also inside itself. */
static void make_inside(lua_State *L, int seen, int depth)
{
	int table = lua_gettop(L);

	if (depth > VIEW_DEPTH_MAX)
		luaL_error(L, "tables nested deeper than %d", VIEW_DEPTH_MAX);
	luaL_checkstack(L, 8, NULL);
	lua_pushvalue(L, table);
	lua_rawget(L, seen);
	if (lua_isnil(L, -1)) {
		lua_pop(L, 1);
		push_view(L, table);
		lua_pushvalue(L, table);
		lua_pushvalue(L, -2);
		lua_rawset(L, seen);
		make_members(L, table, seen, depth);
	}
	lua_replace(L, table);
}

void view_make(lua_State *L)
{
	lua_newtable(L);
	lua_insert(L, -2);
	make_inside(L, lua_gettop(L) - 1, 1);
	lua_remove(L, -2);
}

bool view_push_table(lua_State *L, int index)
{
	if (lua_type(L, index) != LUA_TUSERDATA || !lua_getmetatable(L, index))
		return false;
	lua_pushlightuserdata(L, (void *)table_key);
	lua_rawget(L, -2);
	lua_remove(L, -2);
	if (lua_istable(L, -1))
		return true;
	lua_pop(L, 1);
	return false;
}

/* --- walking ---------------------------------------------------------------------- */

/* The iterators keep the table as an upvalue: what pairs gives a script is the view. */

static int next_member(lua_State *L)
{
	lua_settop(L, 2);
	return lua_next(L, lua_upvalueindex(1)) ? 2 : 0;
}

static int next_item(lua_State *L)
{
	int position = (int)luaL_checkinteger(L, 2) + 1;

	lua_pushinteger(L, position);
	lua_rawgeti(L, lua_upvalueindex(1), position);
	return lua_isnil(L, -1) ? 0 : 2;
}

/* Pushes what walks the value at 1, and that; the cold half of both. */
static void push_walk_slow(lua_State *L, lua_CFunction step)
{
	if (!view_push_table(L, 1))
		luaL_checktype(L, 1, LUA_TTABLE); /* raises */
	lua_pushcclosure(L, step, 1);
	lua_pushvalue(L, 1);
}

/* The builtin's iterator is an upvalue: for a table the loop runs as it always does. */
static void push_walk(lua_State *L, lua_CFunction step)
{
	if (__builtin_expect(lua_type(L, 1) != LUA_TTABLE, 0)) {
		push_walk_slow(L, step);
		return;
	}
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_pushvalue(L, 1);
}

/* pairs(table or view) -> next, table or view, nil */
static int l_pairs(lua_State *L)
{
	push_walk(L, next_member);
	lua_pushnil(L);
	return 3;
}

/* ipairs(table or view) -> next, table or view, 0 */
static int l_ipairs(lua_State *L)
{
	push_walk(L, next_item);
	lua_pushinteger(L, 0);
	return 3;
}

/* Replaces the builtin by fn, with the builtin's iterator as its upvalue. */
static void replace(lua_State *L, lua_CFunction fn)
{
	lua_newtable(L);
	lua_call(L, 1, 1);
	lua_pushcclosure(L, fn, 1);
}

void view_pairs(lua_State *L)
{
	replace(L, l_pairs);
}

void view_ipairs(lua_State *L)
{
	replace(L, l_ipairs);
}
