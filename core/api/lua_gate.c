/* SPDX-License-Identifier: MIT */
/* native.gate -- what the gateway of this worker knows of its upstreams. */
#include "api/api.h"

#include "gate/gate.h"
#include "script/vm.h"

#include <lauxlib.h>

static void set_text(lua_State *L, const char *name, struct slice value)
{
	lua_pushlstring(L, value.at ? value.at : "", value.size);
	lua_setfield(L, -2, name);
}

static void set_number(lua_State *L, const char *name, double value)
{
	lua_pushnumber(L, value);
	lua_setfield(L, -2, name);
}

/* Appends the address to the array on top of the stack. */
static void push_view(void *context, const struct gate_address_view *view)
{
	lua_State *L = context;

	lua_createtable(L, 0, 9);
	set_text(L, "upstream", view->upstream);
	set_text(L, "address", view->address);
	lua_pushboolean(L, view->up);
	lua_setfield(L, -2, "up");
	set_text(L, "breaker", slice_text(breaker_state_name(view->breaker)));
	set_number(L, "active", view->active);
	set_number(L, "idle", view->idle);
	set_number(L, "attempts", (double)view->attempts);
	set_number(L, "failures", (double)view->failures);
	if (view->trouble.size)
		set_text(L, "trouble", view->trouble);
	lua_rawseti(L, -2, (int)lua_objlen(L, -2) + 1);
}

/* gate.status() -> {{upstream, address, up, breaker, active, idle, attempts, failures,
 * trouble?} ...} */
static int l_gate_status(lua_State *L)
{
	const struct api *api = api_of(L);
	bool before;

	luaL_checkstack(L, 4, NULL);
	/* In host mode memory is not refused: nothing raises in the midst of it. */
	before = vm_host_begin(api->vm);
	lua_newtable(L);
	if (api->gate)
		gate_upstreams_look(gate_upstreams_of(api->gate), push_view, L);
	vm_host_end(api->vm, before);
	return 1;
}

void api_open_gate(lua_State *L, const struct api *api)
{
	static const luaL_Reg calls[] = { { "status", l_gate_status }, { NULL, NULL } };

	api_module(L, api, calls, NULL);
}
