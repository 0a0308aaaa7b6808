/* SPDX-License-Identifier: MIT */
#include "script/loader.h"

#include "script/sandbox.h"
#include "script/sources.h"
#include "script/view.h"
#include "script/vm.h"

#include <lauxlib.h>
#include <stdio.h>

/* Registry tables: modules that have loaded, and names that are loading. */
static const char modules_key[] = "modules";
static const char loading_key[] = "loading";

#define NAME_SIZE_MAX 64 /* of a module, with its end */

/* The first byte of bytecode. */
#define BYTECODE_MARK '\x1b'

struct slice loader_source(const struct vm *vm, struct slice chunk)
{
	return sources_of_chunk(vm_sources(vm), chunk);
}

/* What a traceback calls the file: its path below the folder that holds lib/, or the end
 * of its path. */
static void chunk_name(lua_State *L, const char *path, char *name, size_t size)
{
	const char *lib = vm_lib_dir(vm_of(L));
	const char *slash = strrchr(lib, '/');
	size_t above = slash ? (size_t)(slash + 1 - lib) : 0;

	if (strncmp(path, lib, above) == 0)
		path += above;
	if (strlen(path) > size - 2)
		path += strlen(path) - (size - 2);
	snprintf(name, size, "@%s", path);
}

void loader_push_file(lua_State *L, const char *path)
{
	struct vm *vm = vm_of(L);
	struct slice text;
	struct fault why;
	char name[256];
	bool before;
	int status;

	if (!sources_text(vm_sources(vm), path, &text, &why))
		luaL_error(L, "%s", why.detail);
	if (text.size && text.at[0] == BYTECODE_MARK)
		luaL_error(L, "%s: bytecode, and only source text is loaded", path);
	chunk_name(L, path, name, sizeof(name));
	before = vm_host_begin(vm); /* the compiler's memory is not refused */
	status = luaL_loadbufferx(L, text.at, text.size, name, "t");
	vm_host_end(vm, before);
	if (status)
		lua_error(L);
	sandbox_push_environment(L);
	lua_setfenv(L, -2);
}

static bool name_is_good(struct slice name)
{
	for (size_t i = 0; i < name.size; i++) {
		char c = name.at[i];
		bool dot =
			c == '.' && i > 0 && i + 1 < name.size && name.at[i - 1] != '.';

		if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '_' &&
		    !dot)
			return false;
	}
	return name.size > 0 && name.size < NAME_SIZE_MAX;
}

struct module {
	const char *name;
	char path[1024];
	bool shared; /* of lib/ */
};

/* Whether the folder has the file; raises when it is there and cannot be had. */
static bool find_in(lua_State *L, const char *folder, struct module *module)
{
	char relative[NAME_SIZE_MAX];
	struct slice text;
	struct fault why;

	if (!folder)
		return false;
	snprintf(relative, sizeof(relative), "%s", module->name);
	for (char *c = relative; *c; c++)
		*c = *c == '.' ? '/' : *c;
	snprintf(module->path, sizeof(module->path), "%s/%s.lua", folder, relative);
	if (sources_text(vm_sources(vm_of(L)), module->path, &text, &why))
		return true;
	if (why.kind != FAULT_missing)
		luaL_error(L, "module '%s': %s", module->name, why.detail);
	return false;
}

static void find_file(lua_State *L, struct module *module)
{
	struct vm *vm = vm_of(L);

	if (slice_starts_with(slice_text(module->name), SLICE("native.")))
		luaL_error(L, "module '%s' not found", module->name);
	module->shared = find_in(L, vm_lib_dir(vm), module);
	if (!module->shared && !find_in(L, vm_service_dir(vm), module))
		luaL_error(L, "module '%s' not found in lib/ or in the service's folder",
			   module->name);
}

/* run(module) -> what the file returns; of lib/, a view of it */
static int run_module(lua_State *L)
{
	const struct module *module = lua_touserdata(L, 1);

	loader_push_file(L, module->path);
	lua_pushstring(L, module->name);
	lua_call(L, 1, 1);
	if (lua_isnil(L, -1))
		luaL_error(L, "module '%s' returns nothing", module->name);
	if (module->shared && lua_istable(L, -1))
		view_make(L);
	return 1;
}

/* Raises the error on top of the stack again; a text also says who wanted the module: the
 * stack, which knew, is unwound. */
static int fail_required(lua_State *L)
{
	struct slice where;

	if (lua_type(L, -1) == LUA_TSTRING && lua_checkstack(L, 3)) {
		luaL_where(L, 1);
		where.at = lua_tolstring(L, -1, &where.size);
		if (where.size > 2) { /* "file:line: " */
			lua_pushlstring(L, where.at, where.size - 2);
			lua_pushfstring(L, "%s (required at %s)", lua_tostring(L, -3),
					lua_tostring(L, -1));
		} else {
			lua_pop(L, 1);
		}
	}
	return lua_error(L);
}

/* Leaves the module's value on the stack; stack: name, modules, loading. */
static int load_module(lua_State *L, const char *name)
{
	struct module module = { .name = name };
	int status;

	find_file(L, &module);
	lua_pushboolean(L, 1);
	lua_setfield(L, 3, name);
	lua_pushcfunction(L, run_module);
	lua_pushlightuserdata(L, &module);
	status = lua_pcall(L, 1, 1, 0);
	lua_pushnil(L);
	lua_setfield(L, 3, name);
	if (status)
		return fail_required(L);
	lua_pushvalue(L, -1);
	lua_setfield(L, 2, name);
	return 1;
}

/* require(name) -> module */
static int l_require(lua_State *L)
{
	struct slice name;

	name.at = luaL_checklstring(L, 1, &name.size);
	lua_settop(L, 1);
	if (!name_is_good(name))
		return luaL_error(L, "bad module name: [a-z0-9_] with dots between");
	if (!vm_stack_left(vm_of(L)))
		return luaL_error(L, "modules inside one another: too deep");
	lua_getfield(L, LUA_REGISTRYINDEX, modules_key);
	lua_getfield(L, LUA_REGISTRYINDEX, loading_key);
	lua_getfield(L, 2, name.at);
	if (!lua_isnil(L, -1))
		return 1;
	lua_pop(L, 1);
	lua_getfield(L, 3, name.at);
	if (lua_toboolean(L, -1))
		return luaL_error(
			L, "module '%s' requires itself, directly or through others",
			name.at);
	lua_pop(L, 1);
	return load_module(L, name.at);
}

void loader_open(lua_State *L)
{
	lua_newtable(L);
	lua_setfield(L, LUA_REGISTRYINDEX, modules_key);
	lua_newtable(L);
	lua_setfield(L, LUA_REGISTRYINDEX, loading_key);
	lua_getfield(L, LUA_REGISTRYINDEX, "builtins");
	lua_pushcfunction(L, l_require);
	lua_setfield(L, -2, "require");
	lua_pop(L, 1);
}

void loader_provide(lua_State *L, const char *name)
{
	view_make(L);
	lua_getfield(L, LUA_REGISTRYINDEX, modules_key);
	lua_insert(L, -2);
	lua_setfield(L, -2, name);
	lua_pop(L, 1);
}
