/* SPDX-License-Identifier: MIT */
/* job.h -- what a service does every so often, on one worker.
 *
 *   waiting --due, or woken--> running --done--> waiting
 *
 * A job never overlaps itself: woken while it runs, it runs once more afterwards. Each
 * run is a task with a trace of its own (INTERNAL span `job <name>`). A job that fails is
 * logged when its outcome changes and once a minute while it lasts, and tried again at
 * its next time, not when it is woken.
 */
#ifndef API_JOB_H
#define API_JOB_H

#include "base/slice.h"

struct job_runner;
struct loop;
struct service;
struct vm;

#define JOB_TIMEOUT_MS 30000

/* Borrows all; the jobs start when the loop runs. */
struct job_runner *job_runner_create(struct loop *loop, struct vm *vm,
				     struct service *service);

/* No further runs; a running one goes on. */
void job_runner_stop(struct job_runner *runner);

/* Stopped, and after the VM's tasks have ended. NULL is allowed. */
void job_runner_destroy(struct job_runner *runner);

/* The loop's thread. False when no job has this name. */
bool job_runner_wake(struct job_runner *runner, struct slice name);

#endif
