/* SPDX-License-Identifier: MIT */
#include "api/api.h"

#include "script/loader.h"

#include <lua.h>

static const struct {
	const char *name;
	void (*open)(lua_State *L, const struct api *api);
} modules[] = {
	/* sorted */
	{ "native.amqp", api_open_amqp },	{ "native.clock", api_open_clock },
	{ "native.conf", api_open_conf },	{ "native.crypto", api_open_crypto },
	{ "native.db", api_open_db },		{ "native.fault", api_open_fault },
	{ "native.gate", api_open_gate },	{ "native.http", api_open_http },
	{ "native.job", api_open_job },
	{ "native.json", api_open_json },	{ "native.log", api_open_log },
	{ "native.metrics", api_open_metrics }, { "native.password", api_open_password },
	{ "native.random", api_open_random },	{ "native.redis", api_open_redis },
	{ "native.stock", api_open_stock },	{ "native.task", api_open_task },
	{ "native.trace", api_open_trace },	{ "native.ws", api_open_ws },
};

void api_open(lua_State *L, const struct api *api)
{
	for (size_t i = 0; i < sizeof(modules) / sizeof(*modules); i++) {
		modules[i].open(L, api);
		loader_provide(L, modules[i].name);
	}
}

void api_open_testing(lua_State *L, const struct api *api)
{
	api_open_test(L, api);
	loader_provide(L, "native.test");
}
