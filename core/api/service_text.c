/* SPDX-License-Identifier: MIT */
#include "api/service_text.h"

#include "api/json_value.h"
#include "script/loader.h"
#include "script/sandbox.h"
#include "script/vm.h"

#include <lauxlib.h>

struct describing {
	const char *path;
	enum service_text how;
	struct buf *out;
};

/* Pushes a function of lib/describe.lua. */
static void push_words(lua_State *L, const char *name)
{
	sandbox_push_environment(L);
	lua_getfield(L, -1, "require");
	lua_pushliteral(L, "describe");
	lua_call(L, 1, 1);
	lua_getfield(L, -1, name);
}

static int describe(lua_State *L)
{
	struct describing *describing = vm_call_data(L);
	bool as_json = describing->how == SERVICE_TEXT_json;
	struct slice text;
	struct fault why;

	loader_push_file(L, describing->path);
	lua_call(L, 0, 1);
	if (!lua_istable(L, 1))
		return luaL_error(L, "the file returns a %s; it must return the service",
				  luaL_typename(L, 1));
	push_words(L, as_json ? "service" : "text");
	lua_pushvalue(L, 1);
	lua_call(L, 1, 1);
	if (!as_json) {
		text.at = luaL_checklstring(L, -1, &text.size);
		buf_append(describing->out, text);
	} else if (!json_value_write(L, lua_gettop(L), describing->out, &why)) {
		return luaL_error(L, "%s", why.detail);
	}
	return 0;
}

bool service_describe(struct vm *vm, const char *path, enum service_text how,
		      struct buf *out, struct fault *why)
{
	struct describing describing = { path, how, out };

	return vm_run(vm, describe, &describing, why) == 0;
}
