/* SPDX-License-Identifier: MIT */
#include "script/members.h"

#include "script/sandbox.h"
#include "script/vm.h"

#include <lauxlib.h>

#define BEHIND_MAX 8 /* tables behind tables */

struct look {
	const char *module;
	struct slice name;
	enum members_answer answer;
	members_fn *tell;
	void *context;
};

static bool is_globals(const char *module)
{
	return strncmp(module, MEMBERS_GLOBALS, strlen(MEMBERS_GLOBALS)) == 0;
}

/* Pushes the module; raises when it cannot be loaded. */
static void push_module(lua_State *L, const char *module)
{
	sandbox_push_environment(L);
	if (!is_globals(module)) {
		lua_getfield(L, -1, "require");
		lua_pushstring(L, module);
		lua_call(L, 1, 1);
	} else if (module[strlen(MEMBERS_GLOBALS)] == '.') {
		lua_getfield(L, -1, module + strlen(MEMBERS_GLOBALS) + 1);
	}
}

/* Replaces what is on top by what its __index is; false when it has none. */
static bool go_behind(lua_State *L)
{
	if (!lua_getmetatable(L, -1))
		return false;
	lua_pushliteral(L, "__index");
	lua_rawget(L, -2);
	if (lua_isnil(L, -1))
		return false;
	return true;
}

static bool is_member(lua_State *L, struct slice name)
{
	bool yes;

	lua_pushlstring(L, name.at, name.size);
	lua_rawget(L, -2);
	yes = !lua_isnil(L, -1);
	lua_pop(L, 1);
	return yes;
}

static int find(lua_State *L)
{
	struct look *look = vm_call_data(L);

	push_module(L, look->module);
	if (!lua_istable(L, -1) && !lua_isuserdata(L, -1))
		return 0;
	for (int i = 0; i < BEHIND_MAX; i++) {
		luaL_checkstack(L, 4, NULL);
		if (lua_istable(L, -1) && is_member(L, look->name)) {
			look->answer = MEMBERS_yes;
			return 0;
		}
		if (!go_behind(L)) {
			look->answer = MEMBERS_no;
			return 0;
		}
		if (lua_isfunction(L, -1)) { /* of the globals: it refuses */
			if (is_globals(look->module))
				look->answer = MEMBERS_no;
			return 0;
		}
	}
	return 0;
}

static void tell_table(lua_State *L, const struct look *look)
{
	lua_pushnil(L);
	while (lua_next(L, -2)) {
		if (lua_type(L, -2) == LUA_TSTRING) {
			struct slice name;

			name.at = lua_tolstring(L, -2, &name.size);
			look->tell(look->context, name, luaL_typename(L, -1));
		}
		lua_pop(L, 1);
	}
}

static int tell_all(lua_State *L)
{
	const struct look *look = vm_call_data(L);

	push_module(L, look->module);
	for (int i = 0; i < BEHIND_MAX; i++) {
		luaL_checkstack(L, 4, NULL);
		if (lua_istable(L, -1))
			tell_table(L, look);
		if (!go_behind(L) || (!lua_istable(L, -1) && !lua_isuserdata(L, -1)))
			break;
	}
	return 0;
}

static int load(lua_State *L)
{
	const struct look *look = vm_call_data(L);

	push_module(L, look->module);
	lua_settop(L, 0);
	return 0;
}

bool members_load(struct vm *vm, const char *module, struct fault *why)
{
	struct look look = { .module = module };

	return vm_run(vm, load, &look, why) == 0;
}

enum members_answer members_has(struct vm *vm, const char *module, struct slice name)
{
	struct look look = { .module = module, .name = name, .answer = MEMBERS_unclear };

	vm_run(vm, find, &look, NULL);
	return look.answer;
}

void members_each(struct vm *vm, const char *module, members_fn *tell, void *context)
{
	struct look look = { .module = module, .tell = tell, .context = context };

	vm_run(vm, tell_all, &look, NULL);
}
