/* SPDX-License-Identifier: MIT */
/* native.test -- what only a test may do: pretend to be a service, break things on
 * purpose, look at what was recorded. */
#include "api/api.h"

#include "api/settings.h"
#include "api/test_capture.h"
#include "base/buf.h"
#include "base/chaos.h"
#include "loop/loop.h"
#include "script/view.h"
#include "script/vm.h"
#include "watch/metrics.h"

#include <lauxlib.h>
#include <string.h>
#include <unistd.h>

/* The folder above lib/, with a slash. */
static void append_root(struct buf *path, const char *lib_dir)
{
	buf_append(path, slice_of(lib_dir, strlen(lib_dir) - strlen("lib")));
}

/* Settings of conf/<lab>.lua for the service of "lab/service"; a lab without that file
 * has none. */
static bool read_settings(const struct api *api, struct slice folder, struct fault *why)
{
	struct buf path = { 0 };
	struct slice lab;
	bool read;

	slice_cut(&folder, '/', &lab);
	append_root(&path, vm_lib_dir(api->vm));
	buf_printf(&path, "conf/%.*s.lua", SLICE_PRINT(lab));
	read = access(buf_text(&path), F_OK) != 0 ||
	       settings_read_file(api->push_setting_context, buf_text(&path),
				  vm_lib_dir(api->vm), folder, why);
	buf_finish(&path);
	return read;
}

/* test.folder("oms/orders") -> : require looks there too, and conf has that service's
 * settings */
static int l_test_folder(lua_State *L)
{
	const struct api *api = api_of(L);
	struct slice folder = api_check_slice(L, 1);
	struct buf path = { 0 };
	struct fault why;
	bool read;

	if (memchr(folder.at, 0, folder.size) || strstr(folder.at, ".."))
		return luaL_error(L, "bad folder '%s'", folder.at);
	append_root(&path, vm_lib_dir(api->vm));
	buf_printf(&path, "scripts/%.*s", SLICE_PRINT(folder));
	vm_set_service_dir(api->vm, buf_text(&path));
	buf_finish(&path);
	if (!memchr(folder.at, '/', folder.size))
		return 0;
	read = read_settings(api, folder, &why);
	return read ? 0 : luaL_error(L, "%s", why.detail);
}

/* test.chaos(point, [{delay_ms=, fail=, cut=}], [times]) -> : no effect disarms */
static int l_test_chaos(lua_State *L)
{
	const struct api *api = api_of(L);
	struct slice name = api_check_slice(L, 1);
	struct chaos_effect effect = { 0 };
	enum chaos_at at;

	if (!chaos_at_of(name, &at))
		return luaL_error(L, "no chaos point '%s'", name.at);
	if (lua_isnoneornil(L, 2)) {
		chaos_disarm(loop_chaos(api->loop), at);
		return 0;
	}
	luaL_checktype(L, 2, LUA_TTABLE);
	lua_getfield(L, 2, "delay_ms");
	effect.delay_ms = (int)lua_tointeger(L, -1);
	lua_getfield(L, 2, "cut");
	effect.cut = lua_toboolean(L, -1);
	lua_getfield(L, 2, "fail");
	if (!lua_isnil(L, -1)) {
		effect.fail = fault_kind_of(api_check_slice(L, -1));
		luaL_argcheck(L, effect.fail != FAULT_none, 2,
			      "'fail' is no kind of fault");
	}
	chaos_arm(loop_chaos(api->loop), at, effect, (int)luaL_optinteger(L, 3, -1));
	return 0;
}

/* What this case has made the host record; raises where no tests run. */
static struct test_capture *check_capture(lua_State *L)
{
	struct test_capture *capture = test_capture_of(L);

	if (!capture)
		luaL_error(L, "nothing is recorded here: this is not orrery test");
	return capture;
}

/* test.logs() -> {{severity=, message=, attributes=, trace_id=, span_id=} ...} of this
 * case */
static int l_test_logs(lua_State *L)
{
	test_capture_push_logs(L, check_capture(L));
	return 1;
}

/* test.patch(target, name, value) -> : sets a member, also where the target is a view */
static int l_test_patch(lua_State *L)
{
	luaL_checkany(L, 3);
	lua_settop(L, 3);
	if (view_push_table(L, 1))
		lua_replace(L, 1);
	luaL_checktype(L, 1, LUA_TTABLE);
	luaL_argcheck(L, !lua_isnil(L, 2), 2, "a name is needed");
	lua_rawset(L, 1);
	return 0;
}

/* test.spans() -> {{name=, kind=, trace_id=, span_id=, parent_span_id=, failed=,
 * error_type=, attributes=} ...} of this case, in the order in which they ended */
static int l_test_spans(lua_State *L)
{
	test_capture_push_spans(L, check_capture(L));
	return 1;
}

/* test.value(name, [labels]) -> number|nil : of a series; of a histogram or summary the
 * count */
static int l_test_value(lua_State *L)
{
	const struct api *api = api_of(L);
	struct slice name = api_check_slice(L, 1), values[METRIC_LABELS_MAX];
	size_t count = 0;
	double value;

	if (!lua_isnoneornil(L, 2)) {
		luaL_checktype(L, 2, LUA_TTABLE);
		count = lua_objlen(L, 2);
	}
	luaL_argcheck(L, count <= METRIC_LABELS_MAX, 2, "too many labels");
	luaL_checkstack(L, METRIC_LABELS_MAX, NULL);
	for (size_t i = 0; i < count; i++) { /* the stack keeps them */
		lua_rawgeti(L, 2, (int)i + 1);
		values[i] = api_check_slice(L, -1);
	}
	if (!metrics_value(api->metrics, name, values, count, &value))
		return 0;
	lua_pushnumber(L, value);
	return 1;
}

void api_open_test(lua_State *L, const struct api *api)
{
	static const luaL_Reg calls[] = { { "chaos", l_test_chaos },
					  { "folder", l_test_folder },
					  { "logs", l_test_logs },
					  { "patch", l_test_patch },
					  { "spans", l_test_spans },
					  { "value", l_test_value },
					  { NULL, NULL } };

	api_module(L, api, calls, NULL);
}
