/* SPDX-License-Identifier: MIT */
/* budget.h -- what a script may use up before it is ended, and its end.
 *
 *     idle --begin--> running --cpu, memory or time is used up--> ended
 *       ^------------end-----------------------------------------'
 *
 * An end is sticky. A hook is set that raises the same fault at the next instruction, and
 * at the one after it, until the outermost frame is gone: a script that catches it does
 * not get far. The hook holds its peace while the host works (enforcing is off then).
 *
 * Invariants
 *   - the hook is set only between begin and end.
 *   - ended implies a fault of kind limit that says which budget, and where.
 */
#ifndef SCRIPT_BUDGET_H
#define SCRIPT_BUDGET_H

#include "base/buf.h"
#include "base/fault.h"

struct lua_State;
struct watchdog;

enum budget_end { BUDGET_left, BUDGET_cpu, BUDGET_memory, BUDGET_time };

struct budget { /* of one VM; zeroed: no limits */
	struct watchdog *watchdog; /* borrowed; NULL: CPU is not limited */
	int cpu_ms;
	enum budget_end ended;
	bool located; /* why says where */
	bool traced; /* the traceback was tried */
	bool hooked;
	struct lua_State *running;
	struct fault why;
	struct buf traceback; /* of the end, or of an error that the VM keeps */
};

void budget_begin(struct budget *budget, struct lua_State *L, int cpu_ms);

/* The end of running; L is the state that ran. What had ended is in budget->why, with the
 * traceback, until the next begin. */
enum budget_end budget_end(struct budget *budget, struct lua_State *L);

/* The allocator refuses, while running; does not allocate. */
void budget_refuse_memory(struct budget *budget);

/* The deadline passed: L, about to be resumed, will raise at once. */
void budget_pass_deadline(struct budget *budget, struct lua_State *L);

/* Whether an end is due: for C functions that take long. */
bool budget_over(const struct budget *budget);

/* Raises the fault; never returns. Only while running. */
int budget_raise(struct budget *budget, struct lua_State *L);

/* Replaces the traceback by that of co; pushes on L, and may raise. */
void budget_keep_traceback(struct budget *budget, struct lua_State *L,
			   struct lua_State *co);

const char *budget_end_name(enum budget_end end); /* "cpu" */

void budget_finish(struct budget *budget);

#endif
