/* SPDX-License-Identifier: MIT */
#include "script/strings_result.h"

#include "script/strings.h"

#include <lauxlib.h>

void strings_result_grow(struct strings_result *result, size_t more)
{
	size_t size = result->size + more, capacity = result->capacity * 2;
	char *at;

	if (size > STRINGS_RESULT_MAX)
		luaL_error(result->L, "%s: the result would be larger than %d bytes",
			   result->name, (int)STRINGS_RESULT_MAX);
	if (capacity > STRINGS_RESULT_MAX)
		capacity = STRINGS_RESULT_MAX;
	if (capacity < size)
		capacity = size;
	at = lua_newuserdata(result->L, capacity);
	memcpy(at, result->at, result->size);
	lua_replace(result->L, result->slot);
	result->at = at;
	result->capacity = capacity;
}

void strings_result_push(const struct strings_result *result)
{
	lua_pushlstring(result->L, result->at, result->size);
}
