/* SPDX-License-Identifier: MIT */
/* native.random -- ids and tokens from the kernel; jitter and choices from a generator
 * that the kernel has seeded, one per VM.
 */
#include "api/api.h"

#include "base/hex.h"
#include "base/random.h"

#include <lauxlib.h>
#include <math.h>

#define HEX_BYTES_MAX 1024
#define INTEGER_MAX 9007199254740992.0 /* 2^53 */

/* Registry key, by address. */
static const char generator_key[] = "random";

static struct random *generator(lua_State *L)
{
	struct random *random;

	lua_pushlightuserdata(L, (void *)generator_key);
	lua_rawget(L, LUA_REGISTRYINDEX);
	random = lua_touserdata(L, -1);
	lua_pop(L, 1);
	return random;
}

/* random.hex(bytes) -> twice as many digits; fit for secrets */
static int l_random_hex(lua_State *L)
{
	lua_Integer size = luaL_checkinteger(L, 1);
	char bytes[HEX_BYTES_MAX], text[2 * HEX_BYTES_MAX + 1];

	luaL_argcheck(L, size >= 1 && size <= HEX_BYTES_MAX, 1, "not between 1 and 1024");
	random_secure(bytes, (size_t)size);
	hex_encode(bytes, (size_t)size, text);
	lua_pushlstring(L, text, 2 * (size_t)size);
	return 1;
}

/* random.integer(low, high) -> integer, both included */
static int l_random_integer(lua_State *L)
{
	double low = luaL_checknumber(L, 1), high = luaL_checknumber(L, 2);

	luaL_argcheck(L, low == floor(low) && fabs(low) <= INTEGER_MAX, 1,
		      "not an integer");
	luaL_argcheck(L, high == floor(high) && fabs(high) <= INTEGER_MAX, 2,
		      "not an integer");
	luaL_argcheck(L, high >= low, 2, "below the first");
	lua_pushnumber(
		L, low + (double)random_below(generator(L), (uint64_t)(high - low) + 1));
	return 1;
}

/* random.number() -> from 0 to below 1 */
static int l_random_number(lua_State *L)
{
	lua_pushnumber(L, random_unit(generator(L)));
	return 1;
}

/* random.uuid() -> version 4 (RFC 9562) */
static int l_random_uuid(lua_State *L)
{
	uint8_t id[16];
	char digits[33], text[36];
	size_t from = 0;

	random_secure(id, sizeof(id));
	id[6] = (id[6] & 0x0F) | 0x40;
	id[8] = (id[8] & 0x3F) | 0x80;
	hex_encode(id, sizeof(id), digits);
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = i == 8 || i == 13 || i == 18 || i == 23 ? '-' : digits[from++];
	lua_pushlstring(L, text, sizeof(text));
	return 1;
}

void api_open_random(lua_State *L, const struct api *api)
{
	static const luaL_Reg calls[] = { { "hex", l_random_hex },
					  { "integer", l_random_integer },
					  { "number", l_random_number },
					  { "uuid", l_random_uuid },
					  { NULL, NULL } };

	lua_pushlightuserdata(L, (void *)generator_key);
	random_init_secure(lua_newuserdata(L, sizeof(struct random)));
	lua_rawset(L, LUA_REGISTRYINDEX);
	api_module(L, api, calls, NULL);
}
