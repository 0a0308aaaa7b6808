/* SPDX-License-Identifier: MIT */
#include "script/budget.h"

#include "base/check.h"
#include "script/vm.h"
#include "script/watchdog.h"

#include <lauxlib.h>

#define LIMITED 503

/* To find a level Lua counts from the innermost one, and stacks can be deep: between
 * its two ends nobody looks. */
#define LEVELS_LOOKED_AT 32

static int count_levels(lua_State *L)
{
	lua_Debug place;
	int least = 0, most = 1;

	while (lua_getstack(L, most, &place)) {
		least = most;
		most *= 2;
	}
	while (least + 1 < most) {
		int middle = least + (most - least) / 2;

		if (lua_getstack(L, middle, &place))
			least = middle;
		else
			most = middle;
	}
	return least + 1;
}

static bool find_between(lua_State *L, int level, int end, lua_Debug *place)
{
	for (; level < end && lua_getstack(L, level, place); level++) {
		lua_getinfo(L, "Sl", place);
		if (place->currentline > 0 && place->source[0] == '@')
			return true;
	}
	return false;
}

/* Where the innermost script function stands: chunks that the host made have names with
 * `=`. False: none is on the stack, or near one of its ends. */
static bool find_place(lua_State *L, lua_Debug *place)
{
	int count;

	if (find_between(L, 0, LEVELS_LOOKED_AT, place))
		return true;
	count = count_levels(L);
	return count > LEVELS_LOOKED_AT &&
	       find_between(L,
			    count > 2 * LEVELS_LOOKED_AT ? count - LEVELS_LOOKED_AT
							 : LEVELS_LOOKED_AT,
			    count, place);
}

static void set_cause(struct budget *budget, enum budget_end end)
{
	budget->ended = end;
	switch (end) {
	case BUDGET_cpu:
		fault_set_status(&budget->why, FAULT_limit, LIMITED,
				 "%d ms of CPU time without waiting are spent",
				 budget->cpu_ms);
		break;
	case BUDGET_memory:
		fault_set_status(&budget->why, FAULT_limit, LIMITED,
				 "the memory budget is spent");
		break;
	default:
		fault_set_status(&budget->why, FAULT_limit, LIMITED,
				 "the task's deadline passed");
	}
}

static void add_place(struct budget *budget, lua_State *L)
{
	lua_Debug place;
	char cause[sizeof(budget->why.detail)];

	if (budget->located || !find_place(L, &place))
		return;
	budget->located = true;
	memcpy(cause, budget->why.detail, sizeof(cause));
	fault_set_status(&budget->why, FAULT_limit, LIMITED, "%s at %s:%d", cause,
			 place.source + 1, place.currentline);
}

void budget_keep_traceback(struct budget *budget, lua_State *L, lua_State *co)
{
	struct slice lines;

	buf_reset(&budget->traceback);
	luaL_traceback(L, co, NULL, 0);
	lines.at = lua_tolstring(L, -1, &lines.size);
	buf_append(&budget->traceback, lines);
	lua_pop(L, 1);
}

/* While running; memory is not refused here. */
static void note_end(struct budget *budget, lua_State *L)
{
	if (!budget->ended)
		set_cause(budget, BUDGET_cpu);
	if (budget->traced)
		return;
	budget->traced = true;
	add_place(budget, L);
	budget_keep_traceback(budget, L, L);
}

/* Where the stack is full the room for it raises in the fault's place, and the next
 * instruction tries again: before host mode begins, which nothing would end then. */
int budget_raise(struct budget *budget, lua_State *L)
{
	struct vm *vm = vm_of(L);
	bool before;

	luaL_checkstack(L, LUA_MINSTACK, NULL);
	before = vm_host_begin(vm);
	note_end(budget, L);
	vm_push_fault(L, &budget->why);
	vm_host_end(vm, before);
	return lua_error(L);
}

static void on_hook(lua_State *L, lua_Debug *where)
{
	struct vm *vm = vm_of(L);

	if (vm_enforcing(vm))
		budget_raise(vm_budget(vm), L);
}

/* Where the watchdog has set it from its signal handler already, this does no harm. */
static void set_hook(struct budget *budget, lua_State *L)
{
	budget->hooked = true;
	lua_sethook(L, on_hook, LUA_MASKCOUNT | LUA_MASKLINE | LUA_MASKCALL | LUA_MASKRET,
		    1);
}

void budget_begin(struct budget *budget, lua_State *L, int cpu_ms)
{
	budget->running = L;
	budget->ended = BUDGET_left;
	budget->located = budget->traced = false;
	if (budget->watchdog)
		watchdog_enter(budget->watchdog, L, cpu_ms, on_hook);
}

/* The cold half of budget_end. */
static void settle_end(struct budget *budget, lua_State *L)
{
	lua_sethook(L, NULL, 0, 0);
	budget->hooked = false;
}

enum budget_end budget_end(struct budget *budget, lua_State *L)
{
	bool due = false;

	if (budget->watchdog) {
		watchdog_leave(budget->watchdog);
		due = watchdog_due(budget->watchdog);
	}
	if (__builtin_expect(due || budget->hooked, 0))
		settle_end(budget, L);
	return budget->ended;
}

/* Where is known now only: when the error has unwound, the innermost frame has no line.
 */
void budget_refuse_memory(struct budget *budget)
{
	if (budget->ended)
		return;
	set_cause(budget, BUDGET_memory);
	add_place(budget, budget->running);
	set_hook(budget, budget->running);
}

void budget_pass_deadline(struct budget *budget, lua_State *L)
{
	set_cause(budget, BUDGET_time);
	set_hook(budget, L);
}

bool budget_over(const struct budget *budget)
{
	return budget->ended || (budget->watchdog && watchdog_due(budget->watchdog));
}

const char *budget_end_name(enum budget_end end)
{
	static const char *const names[] = { "left", "cpu", "memory", "time" };

	check(end <= BUDGET_time);
	return names[end];
}

void budget_finish(struct budget *budget)
{
	buf_finish(&budget->traceback);
}
