/* SPDX-License-Identifier: MIT */
/* job.h -- what a service does every so often, on one worker.
 *
 *   waiting --due, or woken--> running --done--> waiting
 *      \--but its name is busy--> held --woken--> as if due
 *
 * A job never overlaps itself: woken while it runs, it runs once more afterwards. Each
 * run is a task with a trace of its own (INTERNAL span `job <name>`). A job that fails is
 * logged when its outcome changes and once a minute while it lasts, and tried again at
 * its next time, not when it is woken. Runs are counted and timed by outcome
 * (job_duration_seconds), and each success leaves its time
 * (job_last_success_timestamp_seconds), so that an alert can tell a job that never ends
 * well from one that has nothing to do.
 *
 * Nor does it overlap the job of that name in an earlier generation, which has a runner
 * of its own, stopped, with its last runs still under way: the hooks tell one runner of
 * the other.
 *
 * Invariants
 *   - a job that is held has no timer and no run; job_runner_wake starts it.
 *   - `ended` is called once for every run that outlives job_runner_stop.
 */
#ifndef API_JOB_H
#define API_JOB_H

#include "base/slice.h"

struct job_runner;
struct loop;
struct service;
struct vm;

#define JOB_TIMEOUT_MS 30000

struct job_hooks {
	/* Whether a job of this name runs elsewhere: then it is held. Asked when it is
	 * due. */
	bool (*busy)(void *context, struct slice name);

	/* A run of a stopped runner is over: the host wakes the job of that name in its
	 * current runner. Also from within vm_destroy. Borrows name during the call. */
	void (*ended)(void *context, struct slice name);
	void *context;
};

/* Borrows all but hooks, which it copies; NULL: there are no other runners. Every job is
 * due at once, when the loop runs. */
struct job_runner *job_runner_create(struct loop *loop, struct vm *vm,
				     struct service *service,
				     const struct job_hooks *hooks);

/* No further runs; a running one goes on. */
void job_runner_stop(struct job_runner *runner);

/* Stopped, and after the VM is destroyed, which ends its runs. NULL is allowed. */
void job_runner_destroy(struct job_runner *runner);

/* Whether a run of this job is under way; false when no job has this name. NULL is
 * allowed. */
bool job_runner_runs(const struct job_runner *runner, struct slice name);

/* Whether no run is under way. NULL is allowed. */
bool job_runner_idle(const struct job_runner *runner);

/* The loop's thread. False when no job has this name. */
bool job_runner_wake(struct job_runner *runner, struct slice name);

#endif
