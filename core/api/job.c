/* SPDX-License-Identifier: MIT */
#include "api/job.h"

#include "api/service.h"
#include "base/check.h"
#include "loop/loop.h"
#include "script/task.h"
#include "script/vm.h"
#include "watch/log.h"
#include "watch/metrics.h"
#include "watch/trace.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>

#define REPEAT_LOG_MS 60000

struct job {
	struct job_runner *runner;
	const struct service_job *what;
	struct timer timer;
	struct span *span; /* of the run under way; NULL while it waits */
	struct mono began;
	bool again; /* woken while running */
	bool held; /* due, while another runner's runs */
	bool failing;
	struct mono logged;
};

struct job_runner {
	struct loop *loop;
	struct vm *vm;
	struct job_hooks hooks; /* zeroed: none */
	bool stopped;
	size_t count;
	struct job jobs[];
};

static void job_run(void *context);

static void start_timer(struct job *job, double seconds)
{
	struct loop *loop = job->runner->loop;

	timer_start(loop, &job->timer,
		    mono_after_ms(loop_now(loop), (int64_t)(seconds * 1000)), job_run,
		    job);
}

static void report(struct job *job, const struct fault *why)
{
	struct loop *loop = job->runner->loop;
	struct slice traceback = task_traceback(job->runner->vm);
	struct attr attrs[4] = {
		attr_text(SLICE("job"), job->what->name),
		attr_text(SLICE("kind"), slice_text(fault_name(why->kind))),
		attr_text(SLICE("error"), slice_text(why->detail)),
		attr_text(SLICE("exception.stacktrace"), traceback),
	};
	bool again = job->failing &&
		     loop_now(loop).ns < mono_after_ms(job->logged, REPEAT_LOG_MS).ns;

	job->failing = true;
	if (again)
		return;
	job->logged = loop_now(loop);
	log_write(loop_observer(loop)->log, LOG_error, span_context(job->span),
		  SLICE("job failed"), attrs, traceback.size ? 4 : 3);
}

static void on_done(void *context, lua_State *L, const struct fault *why)
{
	struct job *job = context;
	struct loop *loop = job->runner->loop;
	struct slice outcome = why ? slice_text(fault_name(why->kind)) : SLICE("ok");

	series_observe(meter_own(loop_observer(loop)->meter, METRIC_job_duration, 2,
				 job->what->name, outcome),
		       mono_seconds(job->began, clock_mono()));
	if (why) {
		if (why->kind != FAULT_cancelled)
			report(job, why);
		span_fail(job->span, outcome, slice_text(why->detail));
	} else {
		job->failing = false;
		series_set(meter_own(loop_observer(loop)->meter, METRIC_job_last_success,
				     1, job->what->name),
			   (double)clock_wall().ns / 1e9);
	}
	span_end(job->span);
	job->span = NULL;
	if (!job->runner->stopped)
		start_timer(job, job->again && !why ? 0 : job->what->every_s);
	else if (job->runner->hooks.ended)
		job->runner->hooks.ended(job->runner->hooks.context, job->what->name);
	job->again = false;
}

static void push_job(lua_State *L, void *data)
{
	const struct job *job = data;

	lua_rawgeti(L, LUA_REGISTRYINDEX, job->what->handler);
}

static void start_run(struct job *job)
{
	struct loop *loop = job->runner->loop;
	char name[96];
	int size = snprintf(name, sizeof(name), "job %.*s", SLICE_PRINT(job->what->name));
	struct task_config task = {
		.push = push_job,
		.data = job,
		.deadline = mono_after_ms(loop_now(loop), JOB_TIMEOUT_MS),
		.done = on_done,
		.context = job,
	};

	if (size >= (int)sizeof(name))
		size = sizeof(name) - 1;
	job->span = span_start(loop_observer(loop)->tracer, SPAN_internal,
			       slice_of(name, (size_t)size), NULL);
	job->began = clock_mono();
	task.trace = span_context(job->span);
	task.span = job->span;
	task_start(job->runner->vm, &task);
}

static void job_run(void *context)
{
	struct job *job = context;
	const struct job_hooks *hooks = &job->runner->hooks;

	job->held = hooks->busy && hooks->busy(hooks->context, job->what->name);
	if (!job->held)
		start_run(job);
}

bool job_runner_wake(struct job_runner *runner, struct slice name)
{
	for (size_t i = 0; i < runner->count; i++) {
		struct job *job = &runner->jobs[i];

		if (!slice_equal(job->what->name, name))
			continue;
		if (job->span)
			job->again = true;
		else if (!runner->stopped && (job->held || !job->failing))
			start_timer(job, 0);
		return true;
	}
	return false;
}

bool job_runner_runs(const struct job_runner *runner, struct slice name)
{
	for (size_t i = 0; runner && i < runner->count; i++)
		if (slice_equal(runner->jobs[i].what->name, name))
			return runner->jobs[i].span != NULL;
	return false;
}

bool job_runner_idle(const struct job_runner *runner)
{
	for (size_t i = 0; runner && i < runner->count; i++)
		if (runner->jobs[i].span)
			return false;
	return true;
}

struct job_runner *job_runner_create(struct loop *loop, struct vm *vm,
				     struct service *service,
				     const struct job_hooks *hooks)
{
	size_t count = service->job_count;
	struct job_runner *runner =
		mem_zeroed(1, sizeof(*runner) + count * sizeof(runner->jobs[0]));

	runner->loop = loop;
	runner->vm = vm;
	if (hooks)
		runner->hooks = *hooks;
	runner->count = count;
	for (size_t i = 0; i < count; i++) {
		runner->jobs[i].runner = runner;
		runner->jobs[i].what = &service->jobs[i];
		start_timer(&runner->jobs[i], 0);
	}
	return runner;
}

void job_runner_stop(struct job_runner *runner)
{
	if (!runner || runner->stopped)
		return;
	runner->stopped = true;
	for (size_t i = 0; i < runner->count; i++)
		timer_stop(runner->loop, &runner->jobs[i].timer);
}

void job_runner_destroy(struct job_runner *runner)
{
	check(!runner || runner->stopped);
	free(runner);
}
