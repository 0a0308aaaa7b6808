/* SPDX-License-Identifier: MIT */
#include "api/attempt.h"

#include "base/buf.h"
#include "base/check.h"
#include "script/excerpt.h"
#include "script/vm.h"

#include <lauxlib.h>
#include <stdlib.h>

struct attempt {
	struct vm *vm;
	task_push_fn *push;
	void *data;
	attempt_ended_fn *ended;
	void *context;
	struct buf traceback; /* of the last error that came this far */
};

/* A function of the host without a name, or what runs an input, tells nobody anything. */
static bool is_ours(struct slice line)
{
	return slice_starts_with(line, SLICE("[C]: at ")) ||
	       slice_starts_with(line, SLICE("[builtin#")) ||
	       slice_starts_with(line, SLICE("session:"));
}

/* --- the report ------------------------------------------------------------------- */

/* The file of a script rather than of a library, where there is one. */
static void find_place(const struct vm *vm, struct slice message, struct slice traceback,
		       struct excerpt *excerpt)
{
	struct slice line;

	if (excerpt_find(vm, message, excerpt))
		return;
	while (traceback_next(&traceback, &line))
		if (!slice_starts_with(line, SLICE("lib/")) &&
		    excerpt_find(vm, line, excerpt))
			return;
}

static void append_report(const struct vm *vm, struct slice message,
			  struct slice traceback, struct buf *out)
{
	struct excerpt excerpt = { 0 };
	struct slice line;

	buf_append(out, message);
	buf_append_byte(out, '\n');
	find_place(vm, message, traceback, &excerpt);
	excerpt_print(&excerpt, out);
	while (traceback_next(&traceback, &line))
		if (!is_ours(line))
			buf_printf(out, "  at %.*s\n", SLICE_PRINT(line));
}

void attempt_report_fault(const struct vm *vm, const struct fault *why,
			  struct slice traceback, struct buf *out)
{
	struct buf message = { 0 };

	if (why->kind != FAULT_internal)
		buf_printf(&message, "%s: ", fault_name(why->kind));
	buf_append(&message, slice_text(why->detail));
	append_report(vm, buf_slice(&message), traceback, out);
	buf_finish(&message);
}

void attempt_report(lua_State *L, int index, struct slice traceback, struct buf *out)
{
	struct slice text;
	struct fault why;

	if (lua_type(L, index) == LUA_TSTRING) {
		/* The whole text: a fault would cut it. */
		text.at = lua_tolstring(L, index, &text.size);
		append_report(vm_of(L), text, traceback, out);
	} else {
		vm_read_fault(L, index, &why);
		attempt_report_fault(vm_of(L), &why, traceback, out);
	}
}

/* --- running ---------------------------------------------------------------------- */

/* handler(error) -> error */
static int keep_error(lua_State *L)
{
	struct attempt *attempt = lua_touserdata(L, lua_upvalueindex(1));
	struct slice text;
	bool before;

	luaL_checkstack(L, LUA_MINSTACK, NULL); /* raises when it is full */
	before = vm_host_begin(attempt->vm);
	lua_settop(L, 1);
	luaL_traceback(L, L, NULL, 1);
	text.at = lua_tolstring(L, -1, &text.size);
	buf_reset(&attempt->traceback);
	buf_append(&attempt->traceback, text);
	vm_host_end(attempt->vm, before);
	lua_settop(L, 1);
	return 1;
}

/* xpcall(function, handler, arguments...): the library's own, through which tasks may
 * wait; the scripts' runs its handler when the stack is gone. */
static void push_attempt(lua_State *L, void *data)
{
	struct attempt *attempt = data;

	lua_getglobal(L, "xpcall");
	attempt->push(L, attempt->data);
	lua_pushlightuserdata(L, attempt);
	lua_pushcclosure(L, keep_error, 1);
	lua_insert(L, 3);
}

static void end_failed(struct attempt *attempt, lua_State *L, const struct fault *why,
		       struct buf *report)
{
	struct slice traceback = buf_slice(&attempt->traceback);
	struct fault raised;

	if (why) { /* ended from outside, or push raised */
		if (!traceback.size)
			traceback = task_traceback(attempt->vm);
		attempt_report_fault(attempt->vm, why, traceback, report);
	} else {
		vm_read_fault(L, 2, &raised);
		attempt_report(L, 2, traceback, report);
		why = &raised;
	}
	lua_settop(L, 0);
	attempt->ended(attempt->context, L, why, buf_slice(report));
}

static void on_done(void *context, lua_State *L, const struct fault *why)
{
	struct attempt *attempt = context;
	struct buf report = { 0 };

	if (!why && lua_toboolean(L, 1)) {
		lua_remove(L, 1);
		attempt->ended(attempt->context, L, NULL, (struct slice){ 0 });
	} else {
		end_failed(attempt, L, why, &report);
	}
	buf_finish(&report);
	buf_finish(&attempt->traceback);
	free(attempt);
}

void attempt_start(struct vm *vm, task_push_fn *push, void *data, struct mono deadline,
		   attempt_ended_fn *ended, void *context)
{
	struct attempt *attempt = mem_zeroed(1, sizeof(*attempt));
	struct task_config task = {
		.push = push_attempt,
		.data = attempt,
		.deadline = deadline,
		.done = on_done,
		.context = attempt,
	};

	attempt->vm = vm;
	attempt->push = push;
	attempt->data = data;
	attempt->ended = ended;
	attempt->context = context;
	task_start(vm, &task);
}
