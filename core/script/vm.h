/* SPDX-License-Identifier: MIT */
/* vm.h -- one Lua virtual machine with budgets of memory and CPU time. JIT is off.
 *
 * The allocator counts. It refuses only while a script runs ("enforcing", set around
 * lua_resume by task.c): a refusal there is a catchable "not enough memory" that fails
 * the task with `limit`. Everywhere else, in host mode, memory is never refused, because
 * an allocation that fails outside a protected call would end the process. Above the soft
 * limit a full collection runs in host mode, between tasks.
 *
 * CPU time is watched by the thread's watchdog (watchdog.h). Whichever budget ends, its
 * end is sticky: every further instruction of the script raises again, until the
 * outermost frame is gone, so that no pcall outlives it.
 *
 *     host mode --task resumes--> enforcing --task yields or ends--> host mode
 *                                  \--a budget ends--> spent --unwound--> host mode
 *
 * A VM can be made on any thread, to run a file; vm_bind gives it to its worker.
 *
 * Invariants
 *   - enforcing only while lua_resume or vm_run is on the C stack, outside
 *     vm_host_begin/end.
 *   - spent only while enforcing, and until the host has asked for it.
 *   - used is the sum of the sizes of all live blocks.
 */
#ifndef SCRIPT_VM_H
#define SCRIPT_VM_H

#include "base/fault.h"
#include "script/budget.h"

struct lua_State;

struct loop;
struct vm;
struct sources;
struct watchdog;

struct vm_config {
	size_t memory_max; /* hard limit, bytes; the soft one is three quarters of it */
	int cpu_ms; /* of a task without waiting; 0: no limit */
	struct sources *sources; /* of files; shared; NULL: a cache of its own */
	const char *lib_dir; /* folder of lib/; copied */
	const char *service_dir; /* of the service's own modules; NULL: none; copied */
};

/* Gives a VM with the sandbox installed. Borrows loop; NULL: it loads files only, until
 * vm_bind. */
struct vm *vm_create(struct loop *loop, const struct vm_config *config);

/* Gives the VM to this loop, on its thread; once. Tasks may start then. Borrows. */
void vm_bind(struct vm *vm, struct loop *loop);

/* The watchdog of the thread that will enter the VM; borrowed. NULL: CPU is not limited.
 */
void vm_watch(struct vm *vm, struct watchdog *watchdog);

/* Tasks still in flight end with cancelled. What may still wake one (pools) is to be gone
 * by then, or to hold its peace. NULL is allowed. */
void vm_destroy(struct vm *vm);

/* The main state; used by the host through vm_call only. */
struct lua_State *vm_main(const struct vm *vm);

/* The VM of any of its states. */
struct vm *vm_of(struct lua_State *L);

struct loop *vm_loop(const struct vm *vm);
struct task_table *vm_tasks(const struct vm *vm);
struct sources *vm_sources(const struct vm *vm);
const char *vm_lib_dir(const struct vm *vm);
const char *vm_service_dir(const struct vm *vm); /* or NULL */

/* Another folder for the service's own modules; copies. For tests, which choose it when
 * they run. */
void vm_set_service_dir(struct vm *vm, const char *path);
size_t vm_memory_used(const struct vm *vm);

/* Whether memory is below the hard limit: what the host itself puts into a VM (requests,
 * rows) is not refused, so whoever admits work asks first. Collects when it is above.
 * Anywhere but in a finalizer. */
bool vm_has_room(struct vm *vm);

/* Runs fn(main state, data) protected, in host mode. What it leaves on the stack stays
 * there: the count is returned, and the caller pops it. -1: it raised; why (which may be
 * NULL) says what, and the error value is on the stack (count as one). */
int vm_call(struct vm *vm, int (*fn)(struct lua_State *), void *data, struct fault *why);

/* The same under the budgets, for running a script's file: ten times the CPU of a task.
 * It has no results, and leaves nothing on the stack: 0, or -1 with why. */
int vm_run(struct vm *vm, int (*fn)(struct lua_State *), void *data, struct fault *why);

/* After vm_run has failed, and in a task's done: where, as a traceback; or empty.
 * Borrowed until the next one. */
struct slice vm_traceback(const struct vm *vm);

/* Inside a binding that can be long: whether a budget has ended. One load. If so, and
 * nothing is held any more: return vm_raise_spent(L). */
bool vm_spent(const struct vm *vm);
int vm_raise_spent(struct lua_State *L);

/* The data given to vm_call or vm_run, inside fn: argument 1, which it removes from the
 * stack. */
void *vm_call_data(struct lua_State *L);

/* Inside a C function that calls back into Lua: whether little enough of the thread's
 * stack is in use that it may do so once more. */
bool vm_stack_left(const struct vm *vm);

/* Inside a binding: memory is not refused between the two, so what lies between cannot
 * raise for want of it. Gives what vm_host_end wants back. */
bool vm_host_begin(struct vm *vm);
void vm_host_end(struct vm *vm, bool before);

/* task.c only: budgets are enforced between the two; co is what runs. late: its deadline
 * has passed, and it raises at once. The second says which budget ended, if any:
 * vm_budget has the fault and the traceback then. */
void vm_enforce_begin(struct vm *vm, struct lua_State *co, bool late);
enum budget_end vm_enforce_end(struct vm *vm, struct lua_State *co);
bool vm_enforcing(const struct vm *vm);
struct budget *vm_budget(const struct vm *vm);

/* Called, in host mode, when a full collection leaves more than the soft limit: what
 * fills the VM is alive. fn NULL: nobody. */
void vm_on_full(struct vm *vm, void (*fn)(void *context), void *context);

/* task.c only, in host mode: a full collection when it is time for one. */
void vm_collect(struct vm *vm);

/* Pushes a fault as scripts see it: {kind=, detail=, status=} with the metatable of
 * native.fault. */
void vm_push_fault(struct lua_State *L, const struct fault *why);

/* Reads any error value into why (which may be NULL): a fault table keeps its kind, a
 * text becomes `internal`, "not enough memory" `limit`. */
void vm_read_fault(struct lua_State *L, int index, struct fault *why);

/* The key of the fault metatable in the registry. */
extern const char vm_fault_key[];

#endif
