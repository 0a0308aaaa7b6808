/* SPDX-License-Identifier: MIT */
/* native.clock -- the two clocks. Tests stop both with clock_set. */
#include "api/api.h"

#include "base/clock.h"

#include <lauxlib.h>

#define SECONDS_MAX 253402300799.0 /* the last second of the year 9999 */

/* clock.iso([seconds]) -> "2026-11-20T11:00:00.123Z", of now or of the seconds since 1970
 */
static int l_clock_iso(lua_State *L)
{
	struct wall wall = clock_wall();
	char text[CLOCK_ISO_SIZE];

	if (!lua_isnoneornil(L, 1)) {
		double seconds = luaL_checknumber(L, 1);

		luaL_argcheck(L, seconds >= 0 && seconds <= SECONDS_MAX, 1,
			      "not between 1970 and 9999");
		/* Past 2262 nanoseconds do not fit; nobody's order is from then. */
		luaL_argcheck(L, seconds < (double)INT64_MAX / 1e9, 1,
			      "too far in the future");
		wall.ns = (int64_t)(seconds * 1e6 + 0.5) * 1000;
	}
	clock_iso(wall, text);
	/* Milliseconds are what people and PostgreSQL's readers see. */
	lua_pushlstring(L, text, 23);
	lua_pushliteral(L, "Z");
	lua_concat(L, 2);
	return 1;
}

/* clock.mono() -> seconds since some fixed moment */
static int l_clock_mono(lua_State *L)
{
	lua_pushnumber(L, (double)clock_mono().ns / 1e9);
	return 1;
}

/* clock.now() -> seconds since 1970 */
static int l_clock_now(lua_State *L)
{
	lua_pushnumber(L, (double)clock_wall().ns / 1e9);
	return 1;
}

void api_open_clock(lua_State *L, const struct api *api)
{
	static const luaL_Reg calls[] = { { "iso", l_clock_iso },
					  { "mono", l_clock_mono },
					  { "now", l_clock_now },
					  { NULL, NULL } };

	api_module(L, api, calls, NULL);
}
