/* SPDX-License-Identifier: MIT */
#include "api/script_run.h"

#include "base/buf.h"
#include "script/loader.h"
#include "script/sandbox.h"
#include "script/vm.h"

#include <lauxlib.h>
#include <stdio.h>

/* Registry keys, by address. */
static const char environment_key[] = "session environment";
static const char evaluate_key[] = "evaluate";

/* What messages call an input. */
#define CHUNK "=input"

static const char prelude[] =
	"local show, print = require 'show', print\n"
	"local function print_from(first, ...)\n"
	"  for i = first, select('#', ...) do print(show((select(i, ...)))) end\n"
	"end\n"
	"return function(first, chunk)\n"
	"  return function() return print_from(first, chunk()) end\n"
	"end\n";

/* Before an expression. Not `return` alone: a call would be a tail call then, and an
 * error in it would have no place. */
#define EXPRESSION "return nil, "
#define EXPRESSION_FIRST 2 /* of the values that are the expression's */

/* --- print ------------------------------------------------------------------------ */

/* print(...) -> : tostring of each, tabs between, to standard output */
static int l_print(lua_State *L)
{
	int count = lua_gettop(L);

	for (int i = 1; i <= count; i++) {
		size_t size;
		const char *text;

		lua_getglobal(L, "tostring");
		lua_pushvalue(L, i);
		lua_call(L, 1, 1);
		text = lua_tolstring(L, -1, &size);
		if (!text)
			return luaL_error(L, "'tostring' must return a text");
		if (i > 1)
			fputc('\t', stdout);
		fwrite(text, 1, size, stdout);
		lua_pop(L, 1);
	}
	fputc('\n', stdout);
	return 0;
}

static int open_print(lua_State *L)
{
	vm_call_data(L);
	lua_getfield(L, LUA_REGISTRYINDEX, "builtins");
	lua_pushcfunction(L, l_print);
	lua_setfield(L, -2, "print");
	lua_settop(L, 0);
	return 0;
}

/* Like vm_call for what leaves nothing. */
static bool call(struct vm *vm, lua_CFunction fn, void *data, struct fault *why)
{
	if (vm_call(vm, fn, data, why) == 0)
		return true;
	lua_pop(vm_main(vm), 1);
	return false;
}

bool script_run_open(struct vm *vm, struct fault *why)
{
	return call(vm, open_print, NULL, why);
}

/* --- a file ----------------------------------------------------------------------- */

static void push_file(lua_State *L, void *data)
{
	const struct script_file *file = data;

	loader_push_file(L, file->path);
	luaL_checkstack(L, (int)file->arg_count + LUA_MINSTACK, "arguments");
	for (size_t i = 0; i < file->arg_count; i++)
		lua_pushstring(L, file->args[i]);
}

void script_run_file(struct vm *vm, const struct script_file *file, struct mono deadline,
		     attempt_ended_fn *ended, void *context)
{
	attempt_start(vm, push_file, (void *)file, deadline, ended, context);
}

int script_run_status(lua_State *L)
{
	double number = lua_tonumber(L, 1);

	if (lua_type(L, 1) != LUA_TNUMBER)
		return 0;
	return number >= 0 && number <= 255 && number == (double)(int)number ? (int)number
									     : -1;
}

/* --- a session -------------------------------------------------------------------- */

static void push_kept(lua_State *L, const char *key)
{
	lua_pushlightuserdata(L, (void *)key);
	lua_rawget(L, LUA_REGISTRYINDEX);
}

/* Takes the value on top of the stack. */
static void keep(lua_State *L, const char *key)
{
	lua_pushlightuserdata(L, (void *)key);
	lua_insert(L, -2);
	lua_rawset(L, LUA_REGISTRYINDEX);
}

static int open_session(lua_State *L)
{
	vm_call_data(L);
	lua_newtable(L);
	lua_createtable(L, 0, 1);
	sandbox_push_environment(L);
	lua_setfield(L, -2, "__index");
	lua_setmetatable(L, -2);
	keep(L, environment_key);
	if (luaL_loadbuffer(L, prelude, sizeof(prelude) - 1, "=session"))
		lua_error(L);
	push_kept(L, environment_key);
	lua_setfenv(L, -2);
	lua_call(L, 0, 1);
	keep(L, evaluate_key);
	return 0;
}

bool script_run_open_session(struct vm *vm, struct fault *why)
{
	return call(vm, open_session, NULL, why);
}

struct input {
	struct slice text;
	struct buf *message;
	enum script_input outcome;
	int function; /* reference in the registry, when it may be started */
};

/* Leaves the function, or a message. */
static enum script_input load(lua_State *L, struct slice before, struct slice text)
{
	struct buf source = { 0 };
	struct slice message;
	int status;

	buf_append(&source, before);
	buf_append(&source, text);
	status = luaL_loadbufferx(L, buf_text(&source), source.size, CHUNK, "t");
	buf_finish(&source);
	if (!status)
		return INPUT_started;
	message.at = lua_tolstring(L, -1, &message.size);
	return slice_ends_with(message, SLICE("'<eof>'")) ? INPUT_incomplete
							  : INPUT_wrong;
}

static int compile(lua_State *L)
{
	struct input *input = vm_call_data(L);
	int first = EXPRESSION_FIRST;
	struct slice message;

	push_kept(L, evaluate_key);
	input->outcome = load(L, SLICE(EXPRESSION), input->text);
	if (input->outcome == INPUT_wrong) {
		lua_pop(L, 1);
		first = 1;
		input->outcome = load(L, SLICE(""), input->text);
	}
	if (input->outcome == INPUT_started) {
		push_kept(L, environment_key);
		lua_setfenv(L, -2);
		lua_pushinteger(L, first);
		lua_insert(L, -2);
		lua_call(L, 2, 1);
		input->function = luaL_ref(L, LUA_REGISTRYINDEX);
	} else {
		message.at = lua_tolstring(L, -1, &message.size);
		buf_append(input->message, message);
	}
	lua_settop(L, 0);
	return 0;
}

static void push_input(lua_State *L, void *data)
{
	const struct input *input = data;

	lua_rawgeti(L, LUA_REGISTRYINDEX, input->function);
	luaL_unref(L, LUA_REGISTRYINDEX, input->function);
}

enum script_input script_run_input(struct vm *vm, struct slice text, struct mono deadline,
				   struct buf *message, attempt_ended_fn *ended,
				   void *context)
{
	struct input input = { .text = text, .message = message };
	struct fault why;

	if (!call(vm, compile, &input, &why)) {
		buf_append(message, slice_text(why.detail));
		return INPUT_wrong;
	}
	if (input.outcome == INPUT_started)
		attempt_start(vm, push_input, &input, deadline, ended, context);
	return input.outcome;
}

/* --- Ctrl-C ----------------------------------------------------------------------- */

static void raise_interrupted(lua_State *L, lua_Debug *where)
{
	if (vm_enforcing(vm_of(L)))
		luaL_error(L, "interrupted");
}

/* LuaJIT's lua_sethook is made to be called from a signal handler. */
void script_run_interrupt(struct vm *vm)
{
	lua_sethook(vm_main(vm), raise_interrupted, LUA_MASKCOUNT, 1);
}

void script_run_continue(struct vm *vm)
{
	lua_sethook(vm_main(vm), NULL, 0, 0);
}
