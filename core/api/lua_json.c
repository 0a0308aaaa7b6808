/* SPDX-License-Identifier: MIT */
/* native.json -- and the reading half of json_value.h, by lua-cjson.
 *
 * lua-cjson leaves out what a script needs to know: it reads `[]` and `{}` alike, and
 * null as a light userdata. So an empty array is given to it as `[null]`, which json_scan
 * lets pass nowhere else, and what it made is walked once when the scan saw an array or a
 * null.
 */
#include "api/api.h"

#include "api/json_scan.h"
#include "api/json_value.h"
#include "base/check.h"
#include "script/vm.h"

#include <lauxlib.h>

#define SCRATCH_KEPT_MAX (64u << 10)

int luaopen_cjson(lua_State *L);

/* Registry keys, by address. */
static const char decode_key[] = "json decode";
static const char scratch_key[] = "json scratch";

/* --- reading ---------------------------------------------------------------------- */

struct reading {
	struct slice text;
	bool tidy;
};

enum { ARRAY_METATABLE = 1, VALUE }; /* stack indices inside read_protected */

static void registry_get(lua_State *L, const char *key)
{
	lua_pushlightuserdata(L, (void *)key);
	lua_rawget(L, LUA_REGISTRYINDEX);
}

static void registry_set(lua_State *L, const char *key)
{
	lua_pushlightuserdata(L, (void *)key);
	lua_insert(L, -2);
	lua_rawset(L, LUA_REGISTRYINDEX);
}

static void tidy(lua_State *L);

static void tidy_array(lua_State *L, int table)
{
	int count = (int)lua_objlen(L, table);

	for (int i = 1; i <= count; i++) {
		lua_rawgeti(L, table, i);
		if (lua_islightuserdata(L, -1)) {
			lua_pushnil(L);
			lua_rawseti(L, table, i);
		}
		tidy(L);
		lua_pop(L, 1);
	}
	lua_pushvalue(L, ARRAY_METATABLE);
	lua_setmetatable(L, table);
}

/* Marks the arrays in the value on top of the stack and takes the nulls out. Its first
 * key tells what a table was: names are texts, always. */
static void tidy(lua_State *L)
{
	int table = lua_gettop(L);

	if (!lua_istable(L, table))
		return;
	lua_pushnil(L);
	if (!lua_next(L, table))
		return;
	if (lua_type(L, -2) == LUA_TNUMBER) {
		lua_pop(L, 2);
		tidy_array(L, table);
		return;
	}
	do {
		if (lua_islightuserdata(L, -1)) {
			lua_pushvalue(L, -2);
			lua_pushnil(L);
			lua_rawset(L, table);
		} else {
			tidy(L);
		}
		lua_pop(L, 1);
	} while (lua_next(L, table));
}

static int read_protected(lua_State *L)
{
	const struct reading *reading = lua_touserdata(L, 1);

	luaL_checkstack(L, 4 * JSON_DEPTH_MAX + LUA_MINSTACK, "too many values");
	registry_get(L, json_array_key);
	lua_replace(L, ARRAY_METATABLE);
	registry_get(L, decode_key);
	lua_pushlstring(L, reading->text.at, reading->text.size);
	lua_call(L, 1, 1);
	if (lua_islightuserdata(L, VALUE))
		lua_pushnil(L);
	if (reading->tidy)
		tidy(L);
	return 1;
}

/* The text with `[null]` for each empty array. */
static void copy_mended(struct slice text, const struct json_scan *scan, struct buf *out)
{
	size_t count = scan->empty_arrays.size / sizeof(size_t), from = 0;

	buf_reserve(out, text.size + count * 4);
	for (size_t i = 0; i < count; i++) {
		size_t at;

		memcpy(&at, scan->empty_arrays.at + i * sizeof(at), sizeof(at));
		buf_append(out, slice_of(text.at + from, at - from));
		buf_append(out, SLICE("null"));
		from = at;
	}
	buf_append(out, slice_of(text.at + from, text.size - from));
}

bool json_value_push(lua_State *L, struct slice text, struct fault *why)
{
	struct json_scan scan = { 0 };
	struct reading reading = { text, false };
	struct vm *vm = vm_of(L);
	struct buf mended = { 0 };
	bool good = json_scan(text, &scan, why), before;

	if (good) {
		if (scan.empty_arrays.size) {
			copy_mended(text, &scan, &mended);
			reading.text = buf_slice(&mended);
		}
		reading.tidy = scan.arrays || scan.nulls;
		before = vm_host_begin(vm);
		lua_pushcfunction(L, read_protected);
		lua_pushlightuserdata(L, &reading);
		/* The stack of a script may be full: the only thing that raises here. */
		if (lua_pcall(L, 1, 1, 0)) {
			vm_read_fault(L, -1, why);
			lua_pop(L, 1);
			good = false;
		}
		vm_host_end(vm, before);
	}
	buf_finish(&mended);
	json_scan_finish(&scan);
	return good;
}

/* --- the module ------------------------------------------------------------------- */

/* Whether the table at index has the metatable of arrays. */
static bool is_array(lua_State *L, int index)
{
	bool array;

	if (!lua_istable(L, index) || !lua_getmetatable(L, index))
		return false;
	registry_get(L, json_array_key);
	array = lua_rawequal(L, -1, -2);
	lua_pop(L, 2);
	return array;
}

/* json.array(table) -> the same table, written as [..] from now on */
static int l_json_array(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 1);
	if (is_array(L, 1))
		return 1;
	/* A metatable may be what protects the table. */
	if (lua_getmetatable(L, 1))
		return luaL_error(
			L, "a table with a metatable cannot be marked as an array");
	registry_get(L, json_array_key);
	lua_setmetatable(L, 1);
	return 1;
}

/* json.decode(text) -> value | nil, message */
static int l_json_decode(lua_State *L)
{
	struct slice text = api_check_slice(L, 1);
	struct fault why;

	lua_settop(L, 1);
	/* Decoding is not refused memory; a script that is over its budget already is
	 * stopped here. */
	lua_newtable(L);
	if (json_value_push(L, text, &why))
		return 1;
	lua_pushnil(L);
	lua_pushstring(L, why.detail);
	return 2;
}

/* json.encode(value) -> text */
static int l_json_encode(lua_State *L)
{
	struct buf *scratch;
	struct fault why;

	luaL_checkany(L, 1);
	lua_settop(L, 1);
	registry_get(L, scratch_key);
	scratch = lua_touserdata(L, 2);
	buf_reset(scratch);
	if (!json_value_write(L, 1, scratch, &why))
		return luaL_error(L, "%s", why.detail);
	/* May raise at the memory limit: the scratch belongs to the VM, so nothing is
	 * lost. */
	lua_pushlstring(L, scratch->at, scratch->size);
	if (scratch->capacity > SCRATCH_KEPT_MAX)
		buf_finish(scratch);
	return 1;
}

/* json.is_array(value) -> boolean: decoded from [..], or marked by array */
static int l_json_is_array(lua_State *L)
{
	luaL_checkany(L, 1);
	lua_pushboolean(L, is_array(L, 1));
	return 1;
}

static int free_scratch(lua_State *L)
{
	buf_finish(lua_touserdata(L, 1));
	return 0;
}

static void make_scratch(lua_State *L)
{
	struct buf *scratch = lua_newuserdata(L, sizeof(*scratch));

	*scratch = (struct buf){ 0 };
	lua_createtable(L, 0, 1);
	lua_pushcfunction(L, free_scratch);
	lua_setfield(L, -2, "__gc");
	lua_setmetatable(L, -2);
	registry_set(L, scratch_key);
}

/* Keeps lua-cjson's decode, strict, and nothing else of it. */
static void open_reader(lua_State *L)
{
	lua_pushcfunction(L, luaopen_cjson);
	lua_call(L, 0, 1);
	lua_getfield(L, -1, "decode_max_depth");
	lua_pushinteger(L, JSON_DEPTH_MAX);
	lua_call(L, 1, 0);
	lua_getfield(L, -1, "decode_invalid_numbers");
	lua_pushboolean(L, 0);
	lua_call(L, 1, 0);
	lua_getfield(L, -1, "decode");
	check(lua_isfunction(L, -1));
	registry_set(L, decode_key);
	lua_pop(L, 1);
}

void api_open_json(lua_State *L, const struct api *api)
{
	static const luaL_Reg calls[] = { { "array", l_json_array },
					  { "decode", l_json_decode },
					  { "encode", l_json_encode },
					  { "is_array", l_json_is_array },
					  { NULL, NULL } };

	lua_createtable(L, 0, 1);
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	registry_set(L, json_array_key);
	make_scratch(L);
	open_reader(L);
	api_module(L, api, calls, NULL);
	lua_pushlightuserdata(L, NULL);
	lua_setfield(L, -2, "null");
}
