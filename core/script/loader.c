/* SPDX-License-Identifier: MIT */
#include "script/loader.h"

#include "base/buf.h"
#include "script/sandbox.h"
#include "script/vm.h"

#include <errno.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>

/* Registry tables: modules that have loaded, and names that are loading. */
static const char modules_key[] = "modules";
static const char loading_key[] = "loading";

/* Reads a whole file into data. */
static bool read_file(const char *path, struct buf *data, struct fault *why)
{
	FILE *file = fopen(path, "rb");
	bool failed;
	size_t got;

	if (!file)
		return fault_set(why, errno == ENOENT ? FAULT_missing : FAULT_internal,
				 "%s: %s", path, strerror(errno));
	do {
		got = fread(buf_reserve(data, 16384), 1, 16384, file);
		data->size += got;
	} while (got && data->size <= LOADER_SOURCE_MAX);
	failed = ferror(file);
	fclose(file);
	if (failed)
		return fault_set(why, FAULT_internal, "%s: cannot be read", path);
	if (data->size > LOADER_SOURCE_MAX)
		return fault_set(why, FAULT_limit, "%s: larger than %u bytes", path,
				 LOADER_SOURCE_MAX);
	return true;
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
	struct buf source = { 0 };
	struct fault why;
	char name[256];
	bool before;
	int status;

	if (!read_file(path, &source, &why)) {
		buf_finish(&source);
		luaL_error(L, "%s", why.detail);
	}
	chunk_name(L, path, name, sizeof(name));
	/* The compiler's memory is not refused, so nothing between can raise and lose the
	 * source. */
	before = vm_host_begin(vm);
	status = luaL_loadbufferx(L, source.at ? source.at : "", source.size, name, "t");
	vm_host_end(vm, before);
	buf_finish(&source);
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
	return name.size > 0 && name.size < 64;
}

/* The path of a module's file; false when there is none. */
static bool find_file(lua_State *L, const char *module, char *path, size_t size)
{
	const char *const folders[] = { vm_lib_dir(vm_of(L)), vm_service_dir(vm_of(L)) };
	char relative[64];
	FILE *file;

	snprintf(relative, sizeof(relative), "%s", module);
	for (char *c = relative; *c; c++)
		*c = *c == '.' ? '/' : *c;
	for (size_t i = 0; i < 2; i++) {
		if (!folders[i])
			continue;
		snprintf(path, size, "%s/%s.lua", folders[i], relative);
		file = fopen(path, "rb");
		if (file) {
			fclose(file);
			return true;
		}
	}
	return false;
}

/* Leaves the module's value on the stack; stack: modules, loading. */
static void load_module(lua_State *L, const char *module)
{
	char path[1024];
	int status;

	if (!find_file(L, module, path, sizeof(path)))
		luaL_error(L, "module '%s' not found in lib/ or in the service's folder",
			   module);
	loader_push_file(L, path);
	lua_pushstring(L, module);
	lua_pushboolean(L, 1);
	lua_setfield(L, 3, module);
	status = lua_pcall(L, 1, 1, 0);
	lua_pushnil(L);
	lua_setfield(L, 3, module);
	if (status)
		lua_error(L);
	if (lua_isnil(L, -1))
		luaL_error(L, "module '%s' returns nothing", module);
	lua_pushvalue(L, -1);
	lua_setfield(L, 2, module);
}

/* require(name) -> module */
static int l_require(lua_State *L)
{
	struct slice name;

	name.at = luaL_checklstring(L, 1, &name.size);
	lua_settop(L, 1);
	if (!name_is_good(name))
		return luaL_error(L, "bad module name '%s'", name.at);
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
	load_module(L, name.at);
	return 1;
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
	sandbox_read_only(L);
	lua_getfield(L, LUA_REGISTRYINDEX, modules_key);
	lua_insert(L, -2);
	lua_setfield(L, -2, name);
	lua_pop(L, 1);
}
