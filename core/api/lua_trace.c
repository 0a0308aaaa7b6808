/* SPDX-License-Identifier: MIT */
/* native.trace -- spans of a script's own.
 *
 * span and continue run a function that may wait, so they are Lua around `begin`, `adopt`
 * and `finish`: a C function between would not let the task yield. What a finished task
 * has left open, the task ends.
 */
#include "api/api.h"

#include "script/task.h"
#include "script/vm.h"
#include "watch/trace.h"

#include <lauxlib.h>

#define ATTRIBUTES_MAX 32

static const char wrapper[] =
	"local begin, adopt, finish, pcall, error = ...\n"
	"local function leave(depth, ok, ...)\n"
	"  if ok then\n"
	"    finish(depth)\n"
	"    return ...\n"
	"  end\n"
	"  finish(depth, (...))\n"
	"  error((...), 0)\n"
	"end\n"
	"local function continue(traceparent, tracestate, fn)\n"
	"  if traceparent == nil then return fn() end\n"
	"  return leave(adopt(traceparent, tracestate), pcall(fn))\n"
	"end\n"
	"local function span(name, attributes, fn)\n"
	"  return leave(begin(name, attributes), pcall(fn))\n"
	"end\n"
	"return continue, span\n";

/* Reads the value at index; it is to stay where it is as long as the attribute is used.
 */
static bool read_value(lua_State *L, int index, struct slice key, struct attr *attr)
{
	struct slice text;

	switch (lua_type(L, index)) {
	case LUA_TSTRING:
		text.at = lua_tolstring(L, index, &text.size);
		*attr = attr_text(key, text);
		return true;
	case LUA_TNUMBER: {
		double number = lua_tonumber(L, index);
		bool integer = number >= -0x1p53 && number <= 0x1p53 &&
			       number == (double)(int64_t)number;

		*attr = integer ? attr_integer(key, (int64_t)number)
				: attr_double(key, number);
		return true;
	}
	case LUA_TBOOLEAN:
		*attr = attr_bool(key, lua_toboolean(L, index));
		return true;
	default:
		return false;
	}
}

/* The attributes in the table at index, or nil. The table keeps their texts. */
static size_t read_attributes(lua_State *L, int index, struct attr attrs[ATTRIBUTES_MAX])
{
	size_t count = 0;

	if (lua_isnoneornil(L, index))
		return 0;
	luaL_checktype(L, index, LUA_TTABLE);
	lua_pushnil(L);
	while (lua_next(L, index)) {
		struct slice key;

		if (lua_type(L, -2) != LUA_TSTRING)
			luaL_error(L, "names of attributes are texts");
		key.at = lua_tolstring(L, -2, &key.size);
		if (count == ATTRIBUTES_MAX)
			luaL_error(L, "more than %d attributes", ATTRIBUTES_MAX);
		if (!read_value(L, -1, key, &attrs[count++]))
			luaL_error(L, "the attribute '%s' is a %s", key.at,
				   luaL_typename(L, -1));
		lua_pop(L, 1);
	}
	return count;
}

/* begin(name, attributes) -> depth */
static int l_trace_begin(lua_State *L)
{
	struct slice name = api_check_slice(L, 1);
	struct attr attrs[ATTRIBUTES_MAX];
	size_t count = read_attributes(L, 2, attrs);
	int depth = task_span_begin(L, name);
	struct span *span = task_span(L);

	for (size_t i = 0; i < count; i++)
		span_attr(span, attrs[i]);
	lua_pushinteger(L, depth);
	return 1;
}

/* adopt(traceparent, tracestate|nil) -> depth */
static int l_trace_adopt(lua_State *L)
{
	struct slice traceparent = api_check_slice(L, 1), tracestate = { 0 };

	if (!lua_isnoneornil(L, 2))
		tracestate = api_check_slice(L, 2);
	lua_pushinteger(L, task_span_adopt(L, traceparent, tracestate));
	return 1;
}

/* finish(depth, [error]) -> */
static int l_trace_finish(lua_State *L)
{
	int depth = (int)luaL_checkinteger(L, 1);
	bool failed = lua_gettop(L) > 1;
	struct fault why = { 0 };

	if (failed)
		vm_read_fault(L, 2, &why);
	task_span_end(L, depth, failed ? &why : NULL);
	return 0;
}

/* trace.context() -> traceparent|nil, tracestate|nil: always two, so that they can be
 * kept in two columns */
static int l_trace_context(lua_State *L)
{
	const struct trace_context *trace = task_trace(L);
	char text[TRACEPARENT_SIZE];

	lua_settop(L, 0);
	if (trace) {
		trace_format(trace, text);
		lua_pushlstring(L, text, TRACEPARENT_SIZE - 1);
		if (trace->state.size)
			lua_pushlstring(L, trace->state.at, trace->state.size);
	}
	lua_settop(L, 2);
	return 2;
}

/* trace.set(key, value) -> : an attribute of the current span */
static int l_trace_set(lua_State *L)
{
	struct slice key = api_check_slice(L, 1);
	struct attr attr;
	struct span *span;

	luaL_argcheck(L, read_value(L, 2, key, &attr), 2,
		      "not a text, number or boolean");
	if (!task_trace(L))
		return 0;
	span = task_span(L);
	if (span)
		span_attr(span, attr);
	return 0;
}

void api_open_trace(lua_State *L, const struct api *api)
{
	static const luaL_Reg calls[] = { { "context", l_trace_context },
					  { "set", l_trace_set },
					  { NULL, NULL } };

	api_module(L, api, calls, NULL);
	if (luaL_loadbuffer(L, wrapper, sizeof(wrapper) - 1, "=trace"))
		lua_error(L);
	lua_pushcfunction(L, l_trace_begin);
	lua_pushcfunction(L, l_trace_adopt);
	lua_pushcfunction(L, l_trace_finish);
	lua_getglobal(L, "pcall");
	lua_getglobal(L, "error");
	lua_call(L, 5, 2);
	lua_setfield(L, -3, "span");
	lua_setfield(L, -2, "continue");
}
