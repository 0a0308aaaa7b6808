/* SPDX-License-Identifier: MIT */
/* native.job -- having a job of the service run before its time. */
#include "api/api.h"

#include <lauxlib.h>

/* job.wake(name) -> : soon, on worker 0, whichever worker asks */
static int l_job_wake(lua_State *L)
{
	const struct api *api = api_of(L);
	struct slice name = api_check_slice(L, 1);

	if (api->wake_job)
		api->wake_job(api->wake_job_context, name);
	return 0;
}

void api_open_job(lua_State *L, const struct api *api)
{
	static const luaL_Reg calls[] = { { "wake", l_job_wake }, { NULL, NULL } };

	api_module(L, api, calls, NULL);
}
