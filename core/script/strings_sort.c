/* SPDX-License-Identifier: MIT */
#include "script/strings_sort.h"

#include "script/strings.h"
#include "script/vm.h"

#include <lauxlib.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct text_key {
	const char *at; /* kept by a copy of the table */
	size_t size;
	int index; /* where it was */
};

static int compare_numbers(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;

	return (a > b) - (a < b);
}

/* Byte by byte, as Lua's "<" does here. */
static int compare_texts(const void *left, const void *right)
{
	const struct text_key *a = left, *b = right;
	int order = memcmp(a->at, b->at, a->size < b->size ? a->size : b->size);

	return order ? order : (a->size > b->size) - (a->size < b->size);
}

static bool all_are(lua_State *L, int count, int type)
{
	int i = 1;

	for (bool same = true; same && i <= count; i += same) {
		lua_rawgeti(L, 1, i);
		same = lua_type(L, -1) == type;
		lua_pop(L, 1);
	}
	return i > count;
}

/* qsort merges, with memory of its own: between its begin and its end nothing raises. */
static void sort_numbers(lua_State *L, int count)
{
	double *keys = lua_newuserdata(L, (size_t)count * sizeof(*keys));

	for (int i = 0; i < count; i++) {
		lua_rawgeti(L, 1, i + 1);
		keys[i] = lua_tonumber(L, -1);
		lua_pop(L, 1);
	}
	qsort(keys, (size_t)count, sizeof(*keys), compare_numbers);
	for (int i = 0; i < count; i++) {
		lua_pushnumber(L, keys[i]);
		lua_rawseti(L, 1, i + 1);
	}
}

static void sort_texts(lua_State *L, int count)
{
	struct text_key *keys = lua_newuserdata(L, (size_t)count * sizeof(*keys));
	int copy;

	lua_createtable(L, count, 0);
	copy = lua_gettop(L);
	for (int i = 0; i < count; i++) {
		lua_rawgeti(L, 1, i + 1);
		keys[i].at = lua_tolstring(L, -1, &keys[i].size);
		keys[i].index = i + 1;
		lua_rawseti(L, copy, i + 1);
	}
	qsort(keys, (size_t)count, sizeof(*keys), compare_texts);
	for (int i = 0; i < count; i++) {
		lua_rawgeti(L, copy, keys[i].index);
		lua_rawseti(L, 1, i + 1);
	}
}

int strings_sort(lua_State *L)
{
	size_t count;

	luaL_checktype(L, 1, LUA_TTABLE);
	count = lua_objlen(L, 1);
	if (count > STRINGS_SORT_MAX)
		return luaL_error(L, "sort: the table has more than %d elements",
				  STRINGS_SORT_MAX);
	/* What compares may sort too. */
	if (!vm_stack_left(vm_of(L)))
		return luaL_error(L, "sort inside sort: too deep");
	if (!lua_isnoneornil(L, 2))
		return lua_tocfunction(L, lua_upvalueindex(1))(L);
	lua_settop(L, 1);
	if (all_are(L, (int)count, LUA_TNUMBER))
		sort_numbers(L, (int)count);
	else if (all_are(L, (int)count, LUA_TSTRING))
		sort_texts(L, (int)count);
	else
		return lua_tocfunction(L, lua_upvalueindex(1))(L);
	return 0;
}
