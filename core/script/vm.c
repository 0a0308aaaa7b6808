/* SPDX-License-Identifier: MIT */
#include "script/vm.h"

#include "base/check.h"
#include "base/clock.h"
#include "script/block_pool.h"
#include "script/budget.h"
#include "script/loader.h"
#include "script/sandbox.h"
#include "script/sources.h"
#include "script/task.h"

#include <lauxlib.h>
#include <luajit.h>
#include <malloc.h>
#include <stdlib.h>

const char vm_fault_key[] = "fault";

/* Collecting again is worth it only when this much was allocated since the last time. */
#define COLLECT_STEP_DIVISOR 8

/* What scripts may use of the thread's stack by having C call Lua call C. */
#define STACK_MAX (1u << 20)

/* When a collection freed more than this part of the limit, the pages go back to the
 * system: malloc would keep them in the holes of its heap. */
#define TRIM_DIVISOR 4

/* Running a file may take so many times the CPU of a task. */
#define RUN_FACTOR 10

/* A VM that stays above its soft limit spends one part in so many on full collections. */
#define FORCE_SHARE 10

struct vm {
	lua_State *main;
	struct loop *loop;
	struct task_table *tasks;
	char *lib_dir;
	char *service_dir;
	struct block_pool blocks;
	struct budget budget;
	struct sources *sources;
	void (*full)(void *context);
	void *full_context;
	size_t used;
	size_t soft_max;
	size_t hard_max;
	size_t collected; /* used after the last full collection */
	struct mono force_again; /* see may_force */
	bool enforcing;
	bool refused; /* since the last full collection */
	unsigned entries; /* of the host into Lua, inside one another */
	const char *stack; /* where the outermost one is on the thread's stack */
	int trampoline; /* registry reference of call_trampoline */
};

static void *vm_alloc(void *context, void *block, size_t old_size, size_t new_size)
{
	struct vm *vm = context;

	if (!block)
		old_size = 0;
	if (vm->enforcing && new_size > old_size &&
	    vm->used + (new_size - old_size) > vm->hard_max) {
		vm->refused = true;
		budget_refuse_memory(&vm->budget);
		return NULL;
	}
	vm->used += new_size - old_size;
	return block_pool_resize(&vm->blocks, block, old_size, new_size);
}

/* --- entering Lua ----------------------------------------------------------------- */

static void enter(struct vm *vm, const char *stack)
{
	if (vm->entries++ == 0)
		vm->stack = stack;
}

static void leave(struct vm *vm)
{
	vm->entries--;
}

bool vm_stack_left(const struct vm *vm)
{
	const char *here = __builtin_frame_address(0);
	size_t used = here < vm->stack ? (size_t)(vm->stack - here)
				       : (size_t)(here - vm->stack);

	return used < STACK_MAX;
}

void vm_enforce_begin(struct vm *vm, lua_State *co, bool late)
{
	enter(vm, __builtin_frame_address(0));
	budget_begin(&vm->budget, co, vm->budget.cpu_ms);
	if (__builtin_expect(late, 0))
		budget_pass_deadline(&vm->budget, co);
	vm->enforcing = true;
}

enum budget_end vm_enforce_end(struct vm *vm, lua_State *co)
{
	leave(vm);
	vm->enforcing = false;
	return budget_end(&vm->budget, co);
}

bool vm_enforcing(const struct vm *vm)
{
	return vm->enforcing;
}

struct budget *vm_budget(const struct vm *vm)
{
	return (struct budget *)&vm->budget;
}

bool vm_spent(const struct vm *vm)
{
	return vm->enforcing && budget_over(&vm->budget);
}

int vm_raise_spent(lua_State *L)
{
	return budget_raise(&vm_of(L)->budget, L);
}

struct slice vm_traceback(const struct vm *vm)
{
	return buf_slice(&vm->budget.traceback);
}

struct call {
	lua_CFunction fn;
	void *data;
};

static int call_trampoline(lua_State *L)
{
	struct call *call = lua_touserdata(L, 1);

	/* The light userdata stays as argument 1 for vm_call_data. */
	lua_pushlightuserdata(L, call->data);
	lua_replace(L, 1);
	return call->fn(L);
}

void *vm_call_data(lua_State *L)
{
	void *data = lua_touserdata(L, 1);

	lua_remove(L, 1);
	return data;
}

int vm_call(struct vm *vm, lua_CFunction fn, void *data, struct fault *why)
{
	lua_State *L = vm->main;
	struct call call = { fn, data };
	int top = lua_gettop(L);
	int status;

	check(!vm->enforcing);
	check(lua_checkstack(L, 4));
	lua_rawgeti(L, LUA_REGISTRYINDEX, vm->trampoline);
	lua_pushlightuserdata(L, &call);
	enter(vm, __builtin_frame_address(0));
	status = lua_pcall(L, 1, LUA_MULTRET, 0);
	leave(vm);
	if (status != 0) {
		vm_read_fault(L, -1, why);
		return -1;
	}
	return lua_gettop(L) - top;
}

/* The message handler of vm_run: keeps where it happened, and leaves the value alone. */
static int keep_place(lua_State *L)
{
	struct vm *vm = vm_of(L);
	bool before = vm_host_begin(vm);

	if (!vm->budget.ended)
		budget_keep_traceback(&vm->budget, L, L);
	vm_host_end(vm, before);
	return 1;
}

/* Its results are dropped: a script's file gives what fn keeps. */
int vm_run(struct vm *vm, lua_CFunction fn, void *data, struct fault *why)
{
	lua_State *L = vm->main;
	struct call call = { fn, data };
	enum budget_end ended;
	int status;

	check(!vm->enforcing);
	check(lua_checkstack(L, 4));
	buf_reset(&vm->budget.traceback);
	lua_pushcfunction(L, keep_place);
	lua_rawgeti(L, LUA_REGISTRYINDEX, vm->trampoline);
	lua_pushlightuserdata(L, &call);
	enter(vm, __builtin_frame_address(0));
	budget_begin(&vm->budget, L, vm->budget.cpu_ms * RUN_FACTOR);
	vm->enforcing = true;
	status = lua_pcall(L, 1, 0, -3);
	vm->enforcing = false;
	ended = budget_end(&vm->budget, L);
	leave(vm);
	if (ended && why)
		*why = vm->budget.why;
	else if (status != 0)
		vm_read_fault(L, -1, why);
	lua_pop(L, status ? 2 : 1);
	return ended || status ? -1 : 0;
}

/* --- faults ----------------------------------------------------------------------- */

void vm_push_fault(lua_State *L, const struct fault *why)
{
	lua_createtable(L, 0, 3);
	lua_pushstring(L, fault_name(why->kind));
	lua_setfield(L, -2, "kind");
	lua_pushstring(L, why->detail);
	lua_setfield(L, -2, "detail");
	if (why->status) {
		lua_pushinteger(L, why->status);
		lua_setfield(L, -2, "status");
	}
	lua_getfield(L, LUA_REGISTRYINDEX, vm_fault_key);
	lua_setmetatable(L, -2);
}

/* A member as text without calling metamethods; NULL when it is none. */
static const char *raw_text(lua_State *L, int table, const char *name)
{
	const char *text;

	lua_pushstring(L, name);
	lua_rawget(L, table);
	text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
	lua_pop(L, 1); /* the table keeps it alive */
	return text;
}

static void read_fault_table(lua_State *L, int index, struct fault *why)
{
	const char *kind_name = raw_text(L, index, "kind");
	const char *detail = raw_text(L, index, "detail");
	enum fault_kind kind = fault_kind_of(slice_text(kind_name));

	lua_pushliteral(L, "status");
	lua_rawget(L, index);
	fault_set_status(why, kind ? kind : FAULT_internal, (int)lua_tointeger(L, -1),
			 "%s",
			 detail ? detail
			 : kind ? ""
				: "a script raised a table that is no fault");
	lua_pop(L, 1);
	if (why->status && (why->status < 400 || why->status > 599))
		why->status = 0;
}

void vm_read_fault(lua_State *L, int index, struct fault *why)
{
	if (index < 0)
		index = lua_gettop(L) + 1 + index;
	if (!why || !lua_checkstack(L, 4))
		return;
	if (lua_type(L, index) == LUA_TTABLE) {
		read_fault_table(L, index, why);
	} else if (lua_type(L, index) == LUA_TSTRING) {
		const char *text = lua_tostring(L, index);

		if (strcmp(text, "not enough memory") == 0)
			fault_set_status(why, FAULT_limit, 503,
					 "the memory budget is spent");
		else
			fault_set(why, FAULT_internal, "%s", text);
	} else {
		fault_set(why, FAULT_internal, "a script raised a %s",
			  luaL_typename(L, index));
	}
}

static int fault_to_text(lua_State *L)
{
	const char *kind = raw_text(L, 1, "kind");
	const char *detail = raw_text(L, 1, "detail");

	lua_pushfstring(L, "%s: %s", kind ? kind : "fault", detail ? detail : "");
	return 1;
}

/* --- life ------------------------------------------------------------------------- */

static int open_all(lua_State *L)
{
	lua_settop(L, 0);
	lua_createtable(L, 0, 2);
	lua_pushcfunction(L, fault_to_text);
	lua_setfield(L, -2, "__tostring");
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	lua_setfield(L, LUA_REGISTRYINDEX, vm_fault_key);
	sandbox_open(L);
	loader_open(L);
	return 0;
}

struct vm *vm_create(struct loop *loop, const struct vm_config *config)
{
	struct vm *vm = mem_zeroed(1, sizeof(*vm));
	struct fault why;

	vm->budget.cpu_ms = config->cpu_ms;
	vm->hard_max = config->memory_max;
	vm->soft_max = config->memory_max / 4 * 3;
	vm->lib_dir = mem_copy(config->lib_dir, strlen(config->lib_dir));
	if (config->service_dir)
		vm->service_dir =
			mem_copy(config->service_dir, strlen(config->service_dir));
	vm->main = lua_newstate(vm_alloc, vm);
	check(vm->main != NULL);
	luaJIT_setmode(vm->main, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
	lua_pushcfunction(vm->main, call_trampoline);
	vm->trampoline = luaL_ref(vm->main, LUA_REGISTRYINDEX);
	vm->tasks = task_table_create(vm);
	vm->sources = config->sources ? sources_share(config->sources) : sources_create();
	check(vm_call(vm, open_all, NULL, &why) == 0);
	if (loop)
		vm_bind(vm, loop);
	return vm;
}

void vm_bind(struct vm *vm, struct loop *loop)
{
	check(!vm->loop);
	vm->loop = loop;
	task_table_bind(vm->tasks, loop);
}

void vm_watch(struct vm *vm, struct watchdog *watchdog)
{
	vm->budget.watchdog = watchdog;
}

void vm_on_full(struct vm *vm, void (*fn)(void *context), void *context)
{
	vm->full = fn;
	vm->full_context = context;
}

void vm_destroy(struct vm *vm)
{
	if (!vm)
		return;
	vm->full = NULL;
	task_table_destroy(vm->tasks);
	lua_close(vm->main);
	block_pool_finish(&vm->blocks);
	budget_finish(&vm->budget);
	sources_release(vm->sources);
	free(vm->lib_dir);
	free(vm->service_dir);
	free(vm);
}

lua_State *vm_main(const struct vm *vm)
{
	return vm->main;
}

struct vm *vm_of(lua_State *L)
{
	void *vm;

	lua_getallocf(L, &vm);
	return vm;
}

struct loop *vm_loop(const struct vm *vm)
{
	return vm->loop;
}

struct task_table *vm_tasks(const struct vm *vm)
{
	return vm->tasks;
}

struct sources *vm_sources(const struct vm *vm)
{
	return vm->sources;
}

const char *vm_lib_dir(const struct vm *vm)
{
	return vm->lib_dir;
}

const char *vm_service_dir(const struct vm *vm)
{
	return vm->service_dir;
}

void vm_set_service_dir(struct vm *vm, const char *path)
{
	free(vm->service_dir);
	vm->service_dir = mem_copy(path, strlen(path));
}

size_t vm_memory_used(const struct vm *vm)
{
	return vm->used;
}

bool vm_host_begin(struct vm *vm)
{
	bool before = vm->enforcing;

	vm->enforcing = false;
	return before;
}

void vm_host_end(struct vm *vm, bool before)
{
	vm->enforcing = before;
}

/* --- collecting ------------------------------------------------------------------- */

static int collect(lua_State *L)
{
	vm_call_data(L);
	lua_gc(L, LUA_GCCOLLECT, 0);
	return 0;
}

/* Protected: a finalizer that fails raises here. */
static void collect_all(struct vm *vm)
{
	struct mono began = clock_mono(), ended;
	size_t before = vm->used;

	if (vm_call(vm, collect, NULL, NULL) != 0)
		lua_pop(vm->main, 1);
	if (before - vm->used > vm->hard_max / TRIM_DIVISOR)
		malloc_trim(0);
	vm->collected = vm->used;
	vm->refused = false;
	ended = clock_mono();
	vm->force_again.ns = ended.ns + (ended.ns - began.ns) * FORCE_SHARE;
	if (vm->used > vm->soft_max && vm->full)
		vm->full(vm->full_context);
}

/* Whether enough time has passed since the last full collection: live data may be what
 * fills the VM, and then collecting is no help. */
static bool may_force(const struct vm *vm)
{
	return clock_mono().ns >= vm->force_again.ns;
}

/* Above the soft limit, or when a script was refused: garbage may be what is in the way,
 * for the collector's own pace can lie beyond the limit. */
void vm_collect(struct vm *vm)
{
	size_t step = vm->hard_max / COLLECT_STEP_DIVISOR;

	if (__builtin_expect(vm->used <= vm->soft_max && !vm->refused, 1))
		return;
	if (vm->used >= vm->collected + step || may_force(vm))
		collect_all(vm);
}

bool vm_has_room(struct vm *vm)
{
	bool before;

	if (vm->used <= vm->hard_max)
		return true;
	if (!may_force(vm))
		return false;
	before = vm_host_begin(vm);
	collect_all(vm);
	vm_host_end(vm, before);
	return vm->used <= vm->hard_max;
}
