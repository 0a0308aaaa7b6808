/* SPDX-License-Identifier: MIT */
/* script_run.h -- scripts that are no service: a file with arguments, or the inputs of a
 * session.
 *
 * An input is a chunk that is not from a file. What it returns is printed by lib/show.
 * Its globals live in a table of the session's own above the sandbox's environment, which
 * modules do not see; its locals end with it.
 */
#ifndef API_SCRIPT_RUN_H
#define API_SCRIPT_RUN_H

#include "api/attempt.h"

/* print becomes a builtin: to standard output. Once, before anything else. */
bool script_run_open(struct vm *vm, struct fault *why);

struct script_file {
	const char *path;
	char *const *args;
	size_t arg_count;
};

/* Starts the file as a task; borrows file during the call. */
void script_run_file(struct vm *vm, const struct script_file *file, struct mono deadline,
		     attempt_ended_fn *ended, void *context);

/* In ended, of the results: the exit status, 0 without a number; -1 when the number is
 * none. */
int script_run_status(struct lua_State *L);

/* Makes the session's environment; once. Runs lib/show. */
bool script_run_open_session(struct vm *vm, struct fault *why);

enum script_input { INPUT_started, INPUT_incomplete, INPUT_wrong };

/* Compiles the text, as an expression where it is one, and starts it as a task. Where it
 * is not started, message says why, and ended is not called; incomplete: more lines may
 * complete it. */
enum script_input script_run_input(struct vm *vm, struct slice text, struct mono deadline,
				   struct buf *message, attempt_ended_fn *ended,
				   void *context);

/* In a signal handler of the VM's thread: what computes raises "interrupted" at its next
 * instruction, and at all that follow until nobody catches it. What waits goes on
 * waiting. script_run_continue ends this. */
void script_run_interrupt(struct vm *vm);
void script_run_continue(struct vm *vm);

#endif
