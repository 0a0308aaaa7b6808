/* SPDX-License-Identifier: MIT */
#include "script_rig.h"

#include <lauxlib.h>

static const struct rig_module modules[] = { { "native.conf", api_open_conf }, { 0 } };

static struct rig rig;
static int port = 8001;

static void push_setting(lua_State *L, void *context, struct slice name)
{
	if (slice_equal(name, SLICE("port")))
		lua_pushinteger(L, *(int *)context);
	else
		lua_pushnil(L);
}

static int open_rig(void **state)
{
	rig_init(&rig);
	rig.api.push_setting = push_setting;
	rig.api.push_setting_context = &port;
	rig_open(&rig, 32 << 20, modules);
	return 0;
}

static int close_rig(void **state)
{
	rig_finish(&rig);
	return 0;
}

static void settings_come_from_the_host(void **state)
{
	assert_run(&rig,
		   "local conf = require 'native.conf' return conf.get('port'), "
		   "conf.get('x')",
		   "8001 nil");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(settings_come_from_the_host),
	};

	return cmocka_run_group_tests(tests, open_rig, close_rig);
}
