/* SPDX-License-Identifier: MIT */
/* native.conf -- the settings that a script may see; the host decides which. */
#include "api/api.h"

#include <lauxlib.h>

/* conf.get(name) -> value | nil */
static int l_conf_get(lua_State *L)
{
	const struct api *api = api_of(L);
	struct slice name = api_check_slice(L, 1);

	lua_settop(L, 1);
	if (!api->push_setting)
		return luaL_error(L, "there are no settings here");
	api->push_setting(L, api->push_setting_context, name);
	return 1;
}

void api_open_conf(lua_State *L, const struct api *api)
{
	static const luaL_Reg calls[] = { { "get", l_conf_get }, { NULL, NULL } };

	api_module(L, api, calls, NULL);
}
