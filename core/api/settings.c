/* SPDX-License-Identifier: MIT */
#include "api/settings.h"

#include "api/json_value.h"
#include "base/check.h"
#include "base/json.h"
#include "script/loader.h"
#include "script/vm.h"
#include "script/watchdog.h"

#include <lauxlib.h>
#include <stdlib.h>

#define CONF_MEMORY_MAX (16u << 20)
#define CONF_CPU_MS 100

struct setting {
	struct buf name;
	struct buf text; /* empty and at NULL unless the value is a text */
	struct buf json;
};

struct settings {
	struct setting *all;
	size_t count;
};

struct settings *settings_create(void)
{
	return mem_zeroed(1, sizeof(struct settings));
}

void settings_destroy(struct settings *settings)
{
	if (!settings)
		return;
	for (size_t i = 0; i < settings->count; i++) {
		buf_finish(&settings->all[i].name);
		buf_finish(&settings->all[i].text);
		buf_finish(&settings->all[i].json);
	}
	free(settings->all);
	free(settings);
}

static struct setting *find(const struct settings *settings, struct slice name)
{
	for (size_t i = 0; i < settings->count; i++)
		if (slice_equal(buf_slice(&settings->all[i].name), name))
			return &settings->all[i];
	return NULL;
}

/* The setting of this name, emptied. */
static struct setting *renew(struct settings *settings, struct slice name)
{
	struct setting *setting = find(settings, name);

	if (!setting) {
		settings->all = mem_resize(settings->all, (settings->count + 1) *
								  sizeof(*settings->all));
		setting = &settings->all[settings->count++];
		*setting = (struct setting){ 0 };
		buf_append(&setting->name, name);
	}
	buf_finish(&setting->text);
	buf_reset(&setting->json);
	return setting;
}

void settings_set_text(struct settings *settings, struct slice name, struct slice text)
{
	struct setting *setting = renew(settings, name);
	struct json json = json_to(&setting->json);

	buf_text(&setting->text);
	buf_append(&setting->text, text);
	json_string(&json, text);
}

void settings_set_json(struct settings *settings, struct slice name, struct slice json)
{
	buf_append(&renew(settings, name)->json, json);
}

struct slice settings_get(const struct settings *settings, struct slice name)
{
	const struct setting *setting = find(settings, name);

	if (!setting)
		return (struct slice){ 0 };
	return buf_slice(setting->text.at ? &setting->text : &setting->json);
}

bool settings_at(const struct settings *settings, size_t index, struct slice *name)
{
	if (index >= settings->count)
		return false;
	*name = buf_slice(&settings->all[index].name);
	return true;
}

void settings_push(lua_State *L, void *context, struct slice name)
{
	const struct setting *setting = find(context, name);
	struct fault why;

	if (!setting || !json_value_push(L, buf_slice(&setting->json), &why))
		lua_pushnil(L);
}

/* --- conf/<lab>.lua --------------------------------------------------------------- */

struct reading {
	struct settings *settings;
	const char *path;
	struct slice service;
};

/* The value on top of the stack becomes the setting. */
static void read_value(lua_State *L, struct settings *settings, struct slice name,
		       const char *what)
{
	struct buf json = { 0 };
	struct slice text;
	struct fault why;

	if (lua_type(L, -1) == LUA_TSTRING) {
		text.at = lua_tolstring(L, -1, &text.size);
		settings_set_text(settings, name, text);
	} else if (json_value_write(L, lua_gettop(L), &json, &why)) {
		settings_set_json(settings, name, buf_slice(&json));
		buf_finish(&json);
	} else {
		buf_finish(&json);
		luaL_error(L, "'%s.%s': %s", what, name.at, why.detail);
	}
}

/* Every key of the table on top of the stack; it is popped. */
static void read_table(lua_State *L, struct settings *settings, const char *what)
{
	if (lua_isnil(L, -1)) {
		lua_pop(L, 1);
		return;
	}
	if (!lua_istable(L, -1))
		luaL_error(L, "'%s' must be a table", what);
	lua_pushnil(L);
	while (lua_next(L, -2)) {
		struct slice name;

		if (lua_type(L, -2) != LUA_TSTRING)
			luaL_error(L, "'%s' has a key that is no name", what);
		name.at = lua_tolstring(L, -2, &name.size);
		read_value(L, settings, name, what);
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
}

static int read_conf(lua_State *L)
{
	struct reading *reading = vm_call_data(L);

	loader_push_file(L, reading->path);
	lua_call(L, 0, 1);
	if (!lua_istable(L, 1))
		luaL_error(L, "%s must return a table", reading->path);
	lua_getfield(L, 1, "defaults");
	read_table(L, reading->settings, "defaults");
	lua_getfield(L, 1, "services");
	if (!lua_istable(L, -1))
		luaL_error(L, "%s: 'services' must be a table", reading->path);
	lua_pushlstring(L, reading->service.at, reading->service.size);
	lua_gettable(L, -2);
	read_table(L, reading->settings, "services");
	return 0;
}

bool settings_read_file(struct settings *settings, const char *path, const char *lib_dir,
			struct slice service, struct fault *why)
{
	struct reading reading = { settings, path, service };
	struct vm_config config = { .memory_max = CONF_MEMORY_MAX,
				    .cpu_ms = CONF_CPU_MS,
				    .lib_dir = lib_dir };
	struct vm *vm = vm_create(NULL, &config);
	struct watchdog *watchdog = watchdog_create("settings");
	bool read;

	vm_watch(vm, watchdog);
	read = vm_run(vm, read_conf, &reading, why) == 0;
	vm_watch(vm, NULL);
	watchdog_destroy(watchdog);
	vm_destroy(vm);
	return read;
}
