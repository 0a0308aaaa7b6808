/* SPDX-License-Identifier: MIT */
/* coroutines.h -- a script's own coroutines, inside the one that is its task.
 *
 * What a script yields is marked. What comes out of one of its coroutines without the
 * mark is a wait: resume passes it on, from coroutine to coroutine, until it reaches
 * the scheduler, and passes what comes back down again. No script sees any of it: for
 * the task that waits, resume has not returned yet; for other tasks, the coroutine is
 * "normal" and cannot be resumed.
 *
 * Invariants
 *   - no script gets hold of a coroutine that `create` did not make: not of a task's.
 *   - a coroutine in a wait is resumed by the resume that passed the wait on, only.
 *   - no C function lies between: resume and wrap are Lua.
 */
#ifndef SCRIPT_COROUTINES_H
#define SCRIPT_COROUTINES_H

#include <stdbool.h>

struct lua_State;

/* Pushes the table of functions. The libraries are open. */
void coroutines_open(struct lua_State *L);

/* Whether a wait in L could reach the scheduler: neither L nor any coroutine that it runs
 * in, out to the task's own, is inside a C function. Before anything is started. */
bool coroutines_may_wait(struct lua_State *L);

#endif
