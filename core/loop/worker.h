/* SPDX-License-Identifier: MIT */
/* worker.h -- threads. The only file that makes them.
 *
 * struct thread is a named thread that runs one function. struct helper is a small pool
 * for slow work (hashing passwords, compiling) with a bounded queue: the work runs on a
 * helper thread, done on the loop that asked.
 */
#ifndef LOOP_WORKER_H
#define LOOP_WORKER_H

#include "base/fault.h"

struct loop;
struct thread;
struct helper;

typedef void thread_fn(void *context);

/* name: at most 15 characters. All signals are blocked in it. */
struct thread *thread_start(const char *name, thread_fn *fn, void *context);
void thread_join(struct thread *thread); /* and frees; NULL is allowed */
void thread_forget(
	struct thread *thread); /* frees; it goes on, and nobody waits for it */

/* Threads start when work first comes. */
struct helper *helper_create(unsigned threads, unsigned queue_max);

/* Waits for running work; the rest is dropped undone. NULL is allowed. */
void helper_destroy(struct helper *helper);

/* Any thread. work runs on a helper thread, then done on loop's thread. False (limit):
 * the queue is full; nothing will be called. context is the caller's, and must live until
 * done. */
bool helper_submit(struct helper *helper, struct loop *loop, thread_fn *work,
		   thread_fn *done, void *context, struct fault *why);

#endif
