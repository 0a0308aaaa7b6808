/* SPDX-License-Identifier: MIT */
/* task.c -- the scheduler: one thing, the life of a task from start to done.
 *
 * Hot path: task_start, task_wake, resume, finish. No allocation once slots and
 * coroutines are there to be used again; held by test/bench.
 */
#include "script/task.h"

#include "base/check.h"
#include "loop/loop.h"
#include "script/coroutines.h"
#include "script/vm.h"
#include "watch/log.h"
#include "watch/metrics.h"
#include "watch/trace.h"

#include <lauxlib.h>
#include <stdlib.h>

#define COROUTINES_KEPT 256
#define RUNS_PER_TURN 256
#define PARTS_NS_PER_TURN 5000000 /* then no further part begins to run */

/* A coroutine resumed with this as its first value raises the second one: see
 * task_wrap_wait. */
static const char raise_key[] = "raise";

enum task_state { TASK_free, TASK_ready, TASK_running, TASK_suspended };

struct task {
	struct list member; /* in table->ready or table->free */
	uint32_t slot;
	enum task_state state;
	uint64_t wait; /* number of the wait it is suspended in */
	lua_State *co;
	int co_reference;
	int values; /* on co, for the next resume */
	bool failed; /* the one value on co is an error; do not resume */
	struct task *whole; /* that this one is a part of; NULL: it is none */
	unsigned parts; /* in flight, of a whole */
	bool joined; /* waits for tasks with the same deadline: theirs ends the wait */
	struct mono deadline;
	struct timer timer;
	struct timer nap;
	enum fault_kind nap_fail; /* what the nap raises */
	const struct trace_context *trace;
	struct span *span;
	struct span_stack spans;
	struct list leftovers;
	task_done_fn *done;
	void *context;
	struct task_table *table;
};

struct task_table {
	struct guest guest;
	struct vm *vm;
	struct loop *loop;
	struct task **slots;
	size_t slot_count;
	struct list free;
	struct list ready;
	struct list parts_ready;
	struct deferred run;
	uint64_t turn; /* of which the next two tell */
	unsigned runs;
	int64_t parts_ns; /* that parts have run for */
	struct timer run_on; /* what one turn left */
	struct task *running;
	uint64_t waits; /* numbers given so far */
	unsigned in_flight;
	struct series *in_flight_series;
	int kept[COROUTINES_KEPT]; /* references of coroutines to use again */
	size_t kept_count;
	int wrapper; /* reference of the function made from wrap_source */
};

static const char wrap_source[] =
	"local RAISE, error = ...\n"
	"local function pass(first, ...)\n"
	"  if first == RAISE then error((...), 0) end\n"
	"  return first, ...\n"
	"end\n"
	"return function(wait) return function(...) return pass(wait(...)) end end\n";

static void run_ready(void *context);

/* --- slots and coroutines --------------------------------------------------------- */

static struct task *take_slot(struct task_table *table)
{
	struct list *member = list_take(&table->free);
	struct task *task;

	if (member)
		return list_of(member, struct task, member);
	task = mem_zeroed(1, sizeof(*task));
	task->slot = (uint32_t)table->slot_count;
	task->table = table;
	list_init(&task->member);
	list_init(&task->leftovers);
	table->slots = mem_resize(table->slots, (table->slot_count + 1) * sizeof(task));
	table->slots[table->slot_count++] = task;
	return task;
}

/* In host mode: nothing here is refused memory. */
static void take_coroutine(struct task_table *table, struct task *task)
{
	lua_State *L = vm_main(table->vm);

	if (table->kept_count) {
		task->co_reference = table->kept[--table->kept_count];
		lua_rawgeti(L, LUA_REGISTRYINDEX, task->co_reference);
		task->co = lua_tothread(L, -1);
		lua_pop(L, 1);
	} else {
		task->co = lua_newthread(L);
		task->co_reference = luaL_ref(L, LUA_REGISTRYINDEX);
	}
}

/* usable: it never ran, or ran to its end. */
static void leave_coroutine(struct task_table *table, struct task *task, bool usable)
{
	if (usable && table->kept_count < COROUTINES_KEPT) {
		lua_settop(task->co, 0);
		table->kept[table->kept_count++] = task->co_reference;
	} else {
		luaL_unref(vm_main(table->vm), LUA_REGISTRYINDEX, task->co_reference);
	}
	task->co = NULL;
}

static void make_ready(struct task *task)
{
	struct task_table *table = task->table;

	task->state = TASK_ready;
	list_append(task->whole ? &table->parts_ready : &table->ready, &task->member);
	loop_defer(task->table->loop, &task->table->run, run_ready, task->table);
}

/* --- the end of a task ------------------------------------------------------------ */

enum outcome {
	OUTCOME_returned, /* results on the coroutine */
	OUTCOME_raised, /* error value on top of the coroutine */
	OUTCOME_refused, /* the same, but it never ran */
	OUTCOME_ended /* by a budget, or from outside: `why` says what for */
};

struct ending {
	struct task *task;
	enum outcome outcome;
	struct fault why;
};

/* Moves results or error value to the main state, L. After an error the coroutine's stack
 * may be full (a stack overflow is one), so nothing is pushed there any more. */
static void take_values(lua_State *L, struct ending *ending)
{
	struct task *task = ending->task;
	int count;

	if (ending->outcome == OUTCOME_returned) {
		if (lua_gettop(task->co) > TASK_RESULTS_MAX)
			lua_settop(task->co, TASK_RESULTS_MAX);
		count = lua_gettop(task->co);
		luaL_checkstack(L, count + LUA_MINSTACK, NULL);
		lua_xmove(task->co, L, count);
	} else if (ending->outcome != OUTCOME_ended) {
		luaL_checkstack(L, LUA_MINSTACK, NULL);
		lua_xmove(task->co, L, 1);
		vm_read_fault(L, 1, &ending->why);
		if (ending->outcome == OUTCOME_raised &&
		    ending->why.kind == FAULT_internal)
			budget_keep_traceback(vm_budget(task->table->vm), L, task->co);
		if (!lua_istable(L, 1))
			lua_settop(L, 0);
	}
}

static void end_leftovers(struct task *task)
{
	struct list *member;

	while ((member = list_take(&task->leftovers))) {
		struct task_leftover *leftover =
			list_of(member, struct task_leftover, member);

		leftover->fn(leftover->context);
	}
}

static int tell_done(lua_State *L)
{
	struct ending *ending = vm_call_data(L);
	struct task *task = ending->task;
	const struct fault *why =
		ending->outcome == OUTCOME_returned ? NULL : &ending->why;

	take_values(L, ending);
	end_leftovers(task);
	span_stack_end(&task->spans, 1, why);
	task->done(task->context, L, why);
	return 0;
}

static void finish(struct ending *ending)
{
	struct task *task = ending->task;
	struct task_table *table = task->table;
	struct fault bug;

	timer_stop(table->loop, &task->timer);
	timer_stop(table->loop, &task->nap);
	if (vm_call(table->vm, tell_done, ending, &bug) != 0) {
		log_printf(loop_observer(table->loop)->log, LOG_error,
			   "the end of a task raised: %s", bug.detail);
		lua_pop(vm_main(table->vm), 1);
	}
	buf_reset(&vm_budget(table->vm)->traceback);
	if (task->whole)
		task->whole->parts--;
	leave_coroutine(table, task,
			ending->outcome == OUTCOME_returned ||
				ending->outcome == OUTCOME_refused);
	task->state = TASK_free;
	task->wait = 0;
	list_append(&table->free, &task->member);
	table->in_flight--;
	series_add(table->in_flight_series, -1);
}

static void finish_as(struct task *task, enum outcome outcome)
{
	struct ending ending = { .task = task, .outcome = outcome };

	finish(&ending);
}

/* --- running ---------------------------------------------------------------------- */

/* Nothing is pushed: what runs on, late, raises by itself. */
static void on_deadline(void *context)
{
	struct task *task = context;

	if (task->state == TASK_suspended && !task->joined)
		task_wake((struct task_wait){ task->table->loop, task->table->guest.id,
					      task->slot, task->wait },
			  NULL, NULL);
}

static void suspended(struct task *task)
{
	task->state = TASK_suspended;
	if (!timer_started(&task->timer))
		timer_start(task->table->loop, &task->timer, task->deadline, on_deadline,
			    task);
}

/* What it would have given, or waits for, is dropped. */
static void end_by_budget(struct task *task, enum budget_end end)
{
	struct task_table *table = task->table;
	struct ending ending = { .task = task, .outcome = OUTCOME_ended };
	struct slice name = slice_text(budget_end_name(end));

	ending.why = vm_budget(table->vm)->why;
	series_add(
		meter_own(loop_observer(table->loop)->meter, METRIC_budget_ends, 1, name),
		1);
	finish(&ending);
}

static void resume(struct task *task)
{
	struct task_table *table = task->table;
	bool late = loop_now(table->loop).ns >= task->deadline.ns;
	enum budget_end end;
	int status;

	task->state = TASK_running;
	task->joined = false;
	table->running = task;
	vm_enforce_begin(table->vm, task->co, late);
	status = lua_resume(task->co, task->values);
	end = vm_enforce_end(table->vm, task->co);
	table->running = NULL;
	/* Parts that this task waits for borrow what is its own: they end first. */
	if (__builtin_expect(end != BUDGET_left, 0) &&
	    !(status == LUA_YIELD && task->joined))
		end_by_budget(task, end);
	else if (status == LUA_YIELD)
		suspended(task);
	else
		finish_as(task, status == 0 ? OUTCOME_returned : OUTCOME_raised);
	vm_collect(table->vm);
}

static void run_one(struct task_table *table, struct list *member)
{
	struct task *task = list_of(member, struct task, member);

	table->runs++;
	if (task->failed)
		finish_as(task, OUTCOME_refused);
	else
		resume(task);
}

/* False: none is ready, or they have had their time. */
static bool run_part(struct task_table *table)
{
	struct mono began;
	struct list *member;

	if (table->parts_ns >= PARTS_NS_PER_TURN || table->runs >= RUNS_PER_TURN ||
	    !(member = list_take(&table->parts_ready)))
		return false;
	began = clock_mono();
	run_one(table, member);
	table->parts_ns += clock_mono().ns - began.ns;
	return true;
}

static void run_ready(void *context)
{
	struct task_table *table = context;
	uint64_t turn = loop_turns(table->loop);
	struct list *member;

	if (turn != table->turn) {
		table->turn = turn;
		table->runs = 0;
		table->parts_ns = 0;
	}
	do {
		while (table->runs < RUNS_PER_TURN && (member = list_take(&table->ready)))
			run_one(table, member);
	} while (run_part(table));
	if (!list_empty(&table->ready) || !list_empty(&table->parts_ready)) {
		loop_undefer(&table->run);
		timer_start(table->loop, &table->run_on, loop_now(table->loop), run_ready,
			    table);
	}
}

/* --- starting and waking ---------------------------------------------------------- */

struct pushing {
	task_push_fn *push;
	void *data;
};

static int call_push(lua_State *L)
{
	struct pushing *pushing = vm_call_data(L);

	pushing->push(L, pushing->data);
	return lua_gettop(L);
}

/* Runs push on the main state and moves what it left to the coroutine. False: it raised,
 * and the error value was moved. */
static bool push_values(struct task *task, task_push_fn *push, void *data)
{
	struct vm *vm = task->table->vm;
	struct pushing pushing = { push, data };
	int count = vm_call(vm, call_push, &pushing, NULL);

	task->values = count < 0 ? 1 : count;
	check(lua_checkstack(task->co, task->values + LUA_MINSTACK));
	lua_xmove(vm_main(vm), task->co, task->values);
	return count >= 0;
}

void task_start(struct vm *vm, const struct task_config *config)
{
	struct task_table *table = vm_tasks(vm);
	bool before = vm_host_begin(vm);
	struct task *task = take_slot(table);

	take_coroutine(table, task);
	task->deadline = config->deadline;
	task->trace = config->trace;
	task->span = config->span;
	task->done = config->done;
	task->context = config->context;
	task->whole = NULL;
	if (config->part) {
		task->whole =
			table->running->whole ? table->running->whole : table->running;
		task->whole->parts++;
	}
	task->failed = !push_values(task, config->push, config->data);
	if (!task->failed)
		task->values--; /* the function itself */
	table->in_flight++;
	series_add(table->in_flight_series, 1);
	make_ready(task);
	vm_host_end(vm, before);
}

static struct task *waiting_task(struct task_wait wait)
{
	struct guest *guest = loop_guest(wait.loop, wait.table);
	struct task *task;

	if (!guest)
		return NULL;
	task = list_of(guest, struct task_table, guest)->slots[wait.slot];
	return task->state == TASK_suspended && task->wait == wait.number ? task : NULL;
}

bool task_waiting(struct task_wait wait)
{
	return waiting_task(wait) != NULL;
}

/* The error value on top of the coroutine goes behind the mark that makes the binding
 * raise it. */
static void raise_in(struct task *task)
{
	lua_pushlightuserdata(task->co, (void *)raise_key);
	lua_insert(task->co, -2);
	task->values = 2;
}

void task_wake(struct task_wait wait, task_push_fn *push, void *data)
{
	struct task *task = waiting_task(wait);
	struct vm *vm;
	bool before;

	if (!task)
		return;
	vm = task->table->vm;
	before = vm_host_begin(vm);
	timer_stop(task->table->loop, &task->nap);
	task->values = 0;
	if (push && !push_values(task, push, data))
		raise_in(task);
	make_ready(task);
	vm_host_end(vm, before);
}

static void push_fault(lua_State *L, void *data)
{
	lua_pushlightuserdata(L, (void *)raise_key);
	vm_push_fault(L, data);
}

void task_wake_fault(struct task_wait wait, const struct fault *why)
{
	task_wake(wait, push_fault, (void *)why);
}

void task_wake_all(struct vm *vm, const struct fault *why)
{
	struct task_table *table = vm_tasks(vm);

	for (size_t i = 0; i < table->slot_count; i++) {
		struct task *task = table->slots[i];
		struct task_wait wait = { table->loop, table->guest.id, task->slot,
					  task->wait };

		if (task->state == TASK_suspended && !task->joined)
			task_wake_fault(wait, why);
	}
}

/* --- for bindings ----------------------------------------------------------------- */

static struct task *running_task(lua_State *L)
{
	struct task_table *table = vm_tasks(vm_of(L));

	if (!table->running)
		luaL_error(L,
			   "this function works only inside a handler, job or consumer");
	return table->running;
}

struct task_wait task_wait(lua_State *L)
{
	struct task *task = running_task(L);

	if (!coroutines_may_wait(L))
		luaL_error(L,
			   "nothing can wait inside a comparator of sort, a function for "
			   "gsub or a module that loads");
	task->wait = ++task->table->waits;
	return (struct task_wait){ task->table->loop, task->table->guest.id, task->slot,
				   task->wait };
}

/* From a script's own coroutine the wait passes through Lua on its way here: nothing may
 * raise there any more, for what has been started counts on this task to wait. Budgets
 * are enforced again when it resumes. */
static int suspend(lua_State *L)
{
	if (L != vm_tasks(vm_of(L))->running->co)
		vm_host_begin(vm_of(L));
	return lua_yield(L, 0);
}

int task_suspend(lua_State *L)
{
	return suspend(L);
}

int task_suspend_joined(lua_State *L)
{
	running_task(L)->joined = true;
	return suspend(L);
}

static void on_nap(void *context)
{
	struct task *task = context;
	struct task_wait wait = { task->table->loop, task->table->guest.id, task->slot,
				  task->wait };
	struct fault why;

	if (task->nap_fail) {
		fault_set(&why, task->nap_fail, "chaos at task_sleep");
		task_wake_fault(wait, &why);
	} else {
		task_wake(wait, NULL, NULL);
	}
}

int task_sleep(lua_State *L, struct mono until, enum fault_kind fail)
{
	struct task *task;

	task_wait(L);
	task = running_task(L);
	task->nap_fail = fail;
	timer_start(task->table->loop, &task->nap, until, on_nap, task);
	return task_suspend(L);
}

struct mono task_deadline(lua_State *L)
{
	return running_task(L)->deadline;
}

struct mono task_deadline_within(lua_State *L, int64_t timeout_ms)
{
	struct task *task = running_task(L);

	return mono_earlier(task->deadline,
			    mono_after_ms(loop_now(task->table->loop), timeout_ms));
}

const struct trace_context *task_trace(lua_State *L)
{
	struct task_table *table = vm_tasks(vm_of(L));
	struct task *task = table->running;

	return task ? span_stack_context(&task->spans, task->trace) : NULL;
}

struct span *task_span(lua_State *L)
{
	struct task *task = running_task(L);

	return task->spans.depth ? span_stack_top(&task->spans) : task->span;
}

void task_leftover_add(lua_State *L, struct task_leftover *leftover,
		       void (*fn)(void *context), void *context)
{
	struct task *task = running_task(L);

	leftover->fn = fn;
	leftover->context = context;
	list_append(&task->leftovers, &leftover->member);
}

void task_leftover_remove(struct task_leftover *leftover)
{
	list_remove(&leftover->member);
}

static int checked_depth(lua_State *L, int depth)
{
	if (depth == 0)
		luaL_error(L, "more than %d spans inside one another", TASK_SPANS_MAX);
	return depth;
}

int task_span_begin(lua_State *L, struct slice name)
{
	struct task *task = running_task(L);
	struct tracer *tracer = loop_observer(task->table->loop)->tracer;

	return checked_depth(L,
			     span_stack_begin(&task->spans, tracer, name, task_trace(L)));
}

int task_span_adopt(lua_State *L, struct slice traceparent, struct slice tracestate)
{
	struct task *task = running_task(L);
	struct tracer *tracer = loop_observer(task->table->loop)->tracer;
	int depth = span_stack_adopt(&task->spans, traceparent, tracestate);

	if (depth < 0)
		depth = span_stack_begin(&task->spans, tracer, SLICE("detached"), NULL);
	return checked_depth(L, depth);
}

void task_span_end(lua_State *L, int depth, const struct fault *why)
{
	struct task *task = running_task(L);

	if (depth >= 1)
		span_stack_end(&task->spans, depth, why);
}

static int make_wrapper(lua_State *L)
{
	struct task_table *table = lua_touserdata(L, 1);

	if (luaL_loadbuffer(L, wrap_source, sizeof(wrap_source) - 1, "=wait"))
		lua_error(L);
	lua_pushlightuserdata(L, (void *)raise_key);
	lua_getglobal(L, "error");
	lua_call(L, 2, 1);
	table->wrapper = luaL_ref(L, LUA_REGISTRYINDEX);
	return 0;
}

void task_wrap_wait(lua_State *L)
{
	struct task_table *table = vm_tasks(vm_of(L));

	if (table->wrapper == LUA_NOREF) {
		lua_pushcfunction(L, make_wrapper);
		lua_pushlightuserdata(L, table);
		lua_call(L, 1, 0);
	}
	lua_rawgeti(L, LUA_REGISTRYINDEX, table->wrapper);
	lua_insert(L, -2);
	lua_call(L, 1, 1);
}

unsigned task_parts_left(lua_State *L)
{
	const struct task *task = running_task(L);
	unsigned parts = task->whole ? task->whole->parts : task->parts;

	return TASK_PARTS_MAX - parts;
}

unsigned task_count(const struct vm *vm)
{
	return vm_tasks(vm)->in_flight;
}

struct slice task_traceback(const struct vm *vm)
{
	return vm_traceback(vm);
}

/* --- life ------------------------------------------------------------------------- */

struct task_table *task_table_create(struct vm *vm)
{
	struct task_table *table = mem_zeroed(1, sizeof(*table));

	table->vm = vm;
	table->wrapper = LUA_NOREF;
	list_init(&table->free);
	list_init(&table->ready);
	list_init(&table->parts_ready);
	return table;
}

void task_table_bind(struct task_table *table, struct loop *loop)
{
	table->loop = loop;
	loop_guest_add(loop, &table->guest);
	table->in_flight_series = meter_own(loop_observer(loop)->meter, METRIC_tasks, 0);
}

/* Ends all that do not wait for others. Their done may start further tasks, and wakes
 * those that waited for them: the next round's. */
static void cancel_round(struct task_table *table)
{
	for (size_t i = 0; i < table->slot_count; i++) {
		struct task *task = table->slots[i];
		struct ending ending = { .task = task, .outcome = OUTCOME_ended };

		if (task->state == TASK_free ||
		    (task->state == TASK_suspended && task->joined))
			continue;
		list_remove(&task->member);
		fault_set(&ending.why, FAULT_cancelled, "the service is ending");
		finish(&ending);
	}
}

void task_table_destroy(struct task_table *table)
{
	if (!table)
		return;
	while (table->in_flight) {
		unsigned before = table->in_flight;

		cancel_round(table);
		check(table->in_flight < before || !list_empty(&table->ready) ||
		      !list_empty(&table->parts_ready));
	}
	for (size_t i = 0; i < table->slot_count; i++)
		free(table->slots[i]);
	if (table->loop) {
		loop_guest_remove(&table->guest);
		loop_undefer(&table->run);
		timer_stop(table->loop, &table->run_on);
	}
	free(table->slots);
	free(table);
}
