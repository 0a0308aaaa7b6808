/* SPDX-License-Identifier: MIT */
/* task.h -- coroutines that serve one request or message each.
 *
 *     ready --resume--> running --wait--> suspended --wake--> ready
 *                          \--returns or raises--> done called, slot free
 *
 * A binding that waits:
 *     static int l_fetch(lua_State *L)           listed in the module's `waits`
 *     {
 *             double id = luaL_checknumber(L, 1);        read: may raise, holds nothing
 *             struct task_wait wait = task_wait(L);      a ticket for this one wait
 *             ... start the operation, keep the ticket in its context ...
 *             return task_suspend(L);
 *     }
 * and when the operation ends, on the loop: task_wake(wait, push, data). push runs at
 * once, protected, in host mode; what it pushes are the results of l_fetch. A ticket
 * is good for one wake: late ones, after the task's deadline for instance, do
 * nothing.
 *
 * Waking does not resume: ready tasks run when the loop's deferred calls do, a
 * bounded number a turn. So done and scripts never run inside the function that
 * started an operation, and tasks that keep waking each other do not hold up the
 * loop.
 *
 * Parts of tasks run after the others, and a bounded time a turn: each has a budget
 * of CPU time of its own, and what one request starts is not to hold up the next.
 *
 * A task has three budgets: CPU time between two waits, the VM's memory, and its
 * deadline, at which the wait under way raises. Their end cannot be caught
 * (budget.h): the task ends with `limit`.
 *
 * A script's own coroutines run inside a task; what waits in one suspends the task.
 *
 * Invariants
 *   - a ticket is valid while its task is suspended in that very wait.
 *   - in flight = ready + running + suspended.
 */
#ifndef SCRIPT_TASK_H
#define SCRIPT_TASK_H

#include "base/clock.h"
#include "base/fault.h"
#include "base/list.h"
#include "script/span_stack.h"

#include <stdint.h>

struct lua_State;

struct loop;
struct vm;
struct trace_context;

#define TASK_RESULTS_MAX 16 /* of a function; further ones are dropped */

struct task_wait { /* stays good to hand in when the VM is gone */
	struct loop *loop;
	uint64_t table; /* a guest of the loop */
	uint32_t slot;
	uint64_t number;
};

/* Pushes values onto L; may raise (then the task gets that error). */
typedef void task_push_fn(struct lua_State *L, void *data);

/* The task is over. Runs protected on the main state: its results are the stack of L, or,
 * with why, the error value (if it was a table) is at index 1. Must not keep L. */
typedef void task_done_fn(void *context, struct lua_State *L, const struct fault *why);

struct task_config {
	task_push_fn *push; /* the function and its arguments */
	void *data; /* for push, which runs inside task_start */
	struct mono deadline;
	const struct trace_context *trace; /* borrowed until done; NULL: untraced */
	struct span *span; /* whose attributes the script may set, or NULL; borrowed until
			      done */
	task_done_fn *done;
	void *context;
	bool part; /* of the running task, which waits for it */
};

/* Parts of one task, and parts of those, in flight at once: whoever starts one asks
 * how many more there may be. */
#define TASK_PARTS_MAX 256
unsigned task_parts_left(struct lua_State *L);

/* Borrows vm. */
struct task_table *task_table_create(struct vm *vm);

/* vm.c only: tasks run on this loop, which is borrowed; once. */
void task_table_bind(struct task_table *table, struct loop *loop);

/* Tasks still in flight end with `cancelled`, those that wait for others after them. NULL
 * is allowed. */
void task_table_destroy(struct task_table *table);

/* Never calls done before it returns. When push raises, done gets that. */
void task_start(struct vm *vm, const struct task_config *config);

unsigned task_count(const struct vm *vm);

/* Inside done: the traceback of an internal error or of a budget's end, or empty. */
struct slice task_traceback(const struct vm *vm);

/* --- for bindings, in a running task; they raise when called while a file loads --- */

/* Raises too where no wait is possible: in a comparator of sort, a function for gsub, a
 * module that loads. Before anything is started, then. */
struct task_wait task_wait(struct lua_State *L);
int task_suspend(struct lua_State *L); /* return task_suspend(L); */

/* Suspends until other tasks, started with this one's deadline and trace context, have
 * ended: the deadline ends them, and this wait only through them, so that what they
 * borrow stays. */
int task_suspend_joined(struct lua_State *L);

/* Suspends until then, or the deadline. With a kind it raises that instead of returning.
 * Without task_wait. */
int task_sleep(struct lua_State *L, struct mono until, enum fault_kind fail);

struct mono task_deadline(struct lua_State *L);

/* The earlier of the task's deadline and now + timeout_ms. */
struct mono task_deadline_within(struct lua_State *L, int64_t timeout_ms);

/* The current span's context; NULL when untraced. Borrowed until the task runs on. */
const struct trace_context *task_trace(struct lua_State *L);

/* The innermost span begun by task_span_begin; without one, that of the task; or NULL. */
struct span *task_span(struct lua_State *L);

/* A nested current span. begin gives its depth and raises beyond TASK_SPANS_MAX; adopt
 * makes a remote parent current, or begins a new trace when the texts are invalid; end
 * takes the depth: deeper ones are ended too. Leftover spans end with the task. */
#define TASK_SPANS_MAX SPAN_STACK_MAX
int task_span_begin(struct lua_State *L, struct slice name);
int task_span_adopt(struct lua_State *L, struct slice traceparent,
		    struct slice tracestate);
void task_span_end(struct lua_State *L, int depth, const struct fault *why);

/* What a task must not leave behind, such as an open transaction: fn is called once when
 * the task ends, before its done, unless it was removed before. Embedded in whatever that
 * is. */
struct task_leftover {
	struct list member;
	void (*fn)(void *context);
	void *context;
};
void task_leftover_add(struct lua_State *L, struct task_leftover *leftover,
		       void (*fn)(void *context), void *context);
void task_leftover_remove(
	struct task_leftover *leftover); /* anywhere; twice is allowed */

/* --- from anywhere on the loop ---------------------------------------------------- */

/* push NULL: no results. */
void task_wake(struct task_wait wait, task_push_fn *push, void *data);

/* The binding raises this fault in the script. */
void task_wake_fault(struct task_wait wait, const struct fault *why);

/* Every wait under way raises this fault; who waits for other tasks, when they have
 * ended.
 */
void task_wake_all(struct vm *vm, const struct fault *why);

/* Whether somebody still waits with this ticket. */
bool task_waiting(struct task_wait wait);

/* Wraps the binding on top of the stack so that task_wake_fault raises there. Used for
 * every `waits` entry. */
void task_wrap_wait(struct lua_State *L);

#endif
