/* SPDX-License-Identifier: MIT */
/* attempt.h -- a function run as a task for a person who watches: what it gave, or a
 * report.
 *
 * A report is text: the message, the lines of the source around it when the VM keeps
 * sources, the traceback. Unlike a task's own traceback, which is of bugs only, it stands
 * there for every kind of fault.
 */
#ifndef API_ATTEMPT_H
#define API_ATTEMPT_H

#include "base/fault.h"
#include "script/task.h"

struct buf;
struct lua_State;
struct vm;

/* Called once, protected, on the main state: the results are the stack of L, or, with
 * why, nothing is; report is empty without why. All borrowed during the call. */
typedef void attempt_ended_fn(void *context, struct lua_State *L, const struct fault *why,
			      struct slice report);

/* Never calls ended before it returns. push (the function and its arguments) runs at
 * once. The results are at most TASK_RESULTS_MAX - 1. */
void attempt_start(struct vm *vm, task_push_fn *push, void *data, struct mono deadline,
		   attempt_ended_fn *ended, void *context);

/* Appends the report of an error value on L that was not raised in a task: a file that
 * does not compile. traceback may be empty. */
void attempt_report(struct lua_State *L, int index, struct slice traceback,
		    struct buf *out);

/* Appends the report of a failure that is at hand as a fault only. */
void attempt_report_fault(const struct vm *vm, const struct fault *why,
			  struct slice traceback, struct buf *out);

#endif
