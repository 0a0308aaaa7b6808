/* SPDX-License-Identifier: MIT */
/* repl.h -- a session on standard input: each input is a task, its values are printed.
 *
 *     reading --a complete input--> running --it ended, Ctrl-C--> reading
 *        \--an incomplete one--> reading on      reading --no more input--> over
 *
 * Prompts are for terminals only. Values go to standard output, reports of errors to
 * standard error; an error ends nothing.
 */
#ifndef HOST_REPL_H
#define HOST_REPL_H

#include "base/clock.h"
#include "base/fault.h"

struct interrupt;
struct loop;
struct repl;
struct vm;

struct repl_config {
	struct loop *loop; /* stopped when the session is over */
	struct vm *vm; /* after script_run_open */
	struct interrupt *interrupt; /* whose `seen` calls repl_interrupt */
	int64_t timeout_ms; /* of an input; 0: none */
};

/* Borrows what config points to. Ready to read when the loop runs. NULL with why. */
struct repl *repl_create(const struct repl_config *config, struct fault *why);

/* Before the VM. NULL is allowed. */
void repl_destroy(struct repl *repl);

/* Ctrl-C: what runs ends, what is half typed is forgotten. */
void repl_interrupt(struct repl *repl);

#endif
