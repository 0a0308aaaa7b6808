/* SPDX-License-Identifier: MIT */
/* vm.h -- one Lua virtual machine with a memory budget. JIT is off.
 *
 * The allocator counts. It refuses only while a script runs ("enforcing", set around
 * lua_resume by task.c): a refusal there is a catchable "not enough memory" that fails
 * the task with `limit`. Everywhere else, in host mode, memory is never refused, because
 * an allocation that fails outside a protected call would end the process. Above the soft
 * limit a full collection runs in host mode, between tasks.
 *
 *     host mode --task resumes--> enforcing --task yields or ends--> host mode
 *
 * Invariants
 *   - enforcing only while lua_resume is on the C stack, outside vm_host_begin/end.
 *   - used is the sum of the sizes of all live blocks.
 */
#ifndef SCRIPT_VM_H
#define SCRIPT_VM_H

#include "base/fault.h"

struct lua_State;

struct loop;
struct vm;

struct vm_config {
	size_t memory_max; /* hard limit, bytes; the soft one is three quarters of it */
	const char *lib_dir; /* folder of lib/; copied */
	const char *service_dir; /* of the service's own modules; NULL: none; copied */
};

/* Gives a VM with the sandbox installed. Borrows loop; NULL: it only loads files, and
 * runs no tasks. */
struct vm *vm_create(struct loop *loop, const struct vm_config *config);

/* Tasks still in flight end with cancelled. What may still wake one (pools) is to be gone
 * by then, or to hold its peace. NULL is allowed. */
void vm_destroy(struct vm *vm);

/* The main state; used by the host through vm_call only. */
struct lua_State *vm_main(const struct vm *vm);

/* The VM of any of its states. */
struct vm *vm_of(struct lua_State *L);

struct loop *vm_loop(const struct vm *vm);
struct task_table *vm_tasks(const struct vm *vm); /* NULL without a loop */
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

/* The data given to vm_call, inside fn: argument 1, which it removes from the stack. */
void *vm_call_data(struct lua_State *L);

/* Inside a C function that calls back into Lua: whether little enough of the thread's
 * stack is in use that it may do so once more. */
bool vm_stack_left(const struct vm *vm);

/* Inside a binding: memory is not refused between the two, so what lies between cannot
 * raise for want of it. Gives what vm_host_end wants back. */
bool vm_host_begin(struct vm *vm);
void vm_host_end(struct vm *vm, bool before);

/* task.c only: enforcing around lua_resume. */
void vm_enforce(struct vm *vm, bool on);

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
