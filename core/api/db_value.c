/* SPDX-License-Identifier: MIT */
/* db_value.c -- by the types of Lua, and by the type OIDs of pg_type.dat. */
#include "api/db_value.h"

#include "api/json_value.h"
#include "script/vm.h"

#include <lauxlib.h>
#include <math.h>
#include <stdlib.h>

#define EXACT_MAX (INT64_C(1) << 53)

enum { /* type OIDs, from pg_type.dat */
       OID_bool = 16,
       OID_int8 = 20,
       OID_int2 = 21,
       OID_int4 = 23,
       OID_oid = 26,
       OID_json = 114,
       OID_float4 = 700,
       OID_float8 = 701,
       OID_timestamptz = 1184,
       OID_jsonb = 3802
};

/* --- parameters: read ------------------------------------------------------------- */

static struct slice number_text(double number, char text[NUMBER_SIZE])
{
	if (isnan(number))
		return SLICE("NaN");
	if (isinf(number))
		return number > 0 ? SLICE("Infinity") : SLICE("-Infinity");
	return slice_of(text, number_double(number, text));
}

void db_params_read(lua_State *L, int first, struct db_params *params)
{
	int top = lua_gettop(L);

	luaL_argcheck(L, top - first < PG_PARAMS_MAX, first, "too many parameters");
	params->count = 0;
	for (int index = first; index <= top; index++) {
		struct slice *slice = &params->slices[params->count];

		*slice = (struct slice){ NULL, 0 };
		switch (lua_type(L, index)) {
		case LUA_TNIL:
		case LUA_TTABLE:
			break;
		case LUA_TBOOLEAN:
			*slice = lua_toboolean(L, index) ? SLICE("true") : SLICE("false");
			break;
		case LUA_TNUMBER:
			*slice = number_text(lua_tonumber(L, index),
					     params->numbers[params->count]);
			break;
		case LUA_TSTRING:
			slice->at = lua_tolstring(L, index, &slice->size);
			break;
		default:
			if (!lua_islightuserdata(L, index) || lua_touserdata(L, index))
				luaL_error(L, "parameter $%d is a %s", index - first + 1,
					   luaL_typename(L, index));
		}
		params->count++;
	}
}

void db_params_finish(struct db_params *params, size_t written)
{
	for (size_t i = 0; i < written; i++)
		buf_finish(&params->json[i]);
}

void db_params_write(lua_State *L, int first, struct db_params *params)
{
	struct fault why;

	for (size_t i = 0; i < params->count; i++) {
		int index = first + (int)i;

		params->json[i] = (struct buf){ 0 };
		if (lua_type(L, index) != LUA_TTABLE)
			continue;
		if (!json_value_write(L, index, &params->json[i], &why)) {
			db_params_finish(params, i + 1);
			vm_push_fault(L, &why);
			lua_error(L);
		}
		params->slices[i] = buf_slice(&params->json[i]);
	}
}

/* --- rows: push ------------------------------------------------------------------- */

/* "2026-11-20 11:00:00.123+00" as RFC 3339; what looks otherwise (infinity, BC) stays. */
static void push_time(lua_State *L, struct slice text)
{
	char iso[48];

	if (text.size < 22 || text.size > sizeof(iso) || text.at[10] != ' ' ||
	    memcmp(text.at + text.size - 3, "+00", 3) != 0) {
		lua_pushlstring(L, text.at, text.size);
		return;
	}
	memcpy(iso, text.at, text.size);
	iso[10] = 'T';
	iso[text.size - 3] = 'Z';
	lua_pushlstring(L, iso, text.size - 2);
}

static void push_integer(lua_State *L, struct slice text)
{
	int64_t integer = strtoll(text.at, NULL, 10);

	if (integer >= -EXACT_MAX && integer <= EXACT_MAX)
		lua_pushnumber(L, (double)integer);
	else
		lua_pushlstring(L, text.at, text.size);
}

static void push_json(lua_State *L, struct slice text)
{
	struct fault why;

	if (!json_value_push(L, text, &why)) {
		vm_push_fault(L, &why);
		lua_error(L);
	}
}

static void push_value(lua_State *L, unsigned type, struct slice text)
{
	if (!text.at) {
		lua_pushnil(L);
		return;
	}
	switch (type) {
	case OID_bool:
		lua_pushboolean(L, text.size > 0 && text.at[0] == 't');
		break;
	case OID_int8:
		push_integer(L, text);
		break;
	case OID_int2:
	case OID_int4:
	case OID_oid:
	case OID_float4:
	case OID_float8:
		lua_pushnumber(L, strtod(text.at, NULL));
		break;
	case OID_timestamptz:
		push_time(L, text);
		break;
	case OID_json:
	case OID_jsonb:
		push_json(L, text);
		break;
	default:
		lua_pushlstring(L, text.at, text.size);
	}
}

/* The names of the columns are made once and lie below the
 * rows. */
void db_push_rows(lua_State *L, void *data)
{
	const struct pg_result *result = data;
	int columns = (int)pg_result_columns(result);
	size_t rows = pg_result_rows(result);
	int base = lua_gettop(L);

	luaL_checkstack(L, columns + LUA_MINSTACK, "too many columns");
	for (int column = 0; column < columns; column++) {
		struct slice name = pg_result_name(result, (size_t)column);

		lua_pushlstring(L, name.at, name.size);
	}
	lua_createtable(L, (int)rows, 1);
	for (size_t row = 0; row < rows; row++) {
		lua_createtable(L, 0, columns);
		for (int column = 0; column < columns; column++) {
			lua_pushvalue(L, base + 1 + column);
			push_value(L, pg_result_type(result, (size_t)column),
				   pg_result_value(result, row, (size_t)column));
			lua_rawset(L, -3);
		}
		lua_rawseti(L, -2, (int)row + 1);
	}
	lua_pushnumber(L, (double)pg_result_affected(result));
	lua_setfield(L, -2, "affected");
	lua_insert(L, base + 1);
	lua_settop(L, base + 1);
}
