/* SPDX-License-Identifier: MIT */
#include "service_rig.h"

#include "api/job.h"

static const char source[] =
	"local task, log = require 'native.task', require 'native.log'\n"
	"local runs = 0\n"
	"return {name = 'test', jobs = {\n"
	"  {name = 'quick', every_s = 0.02, handler = function() log.info('quick') "
	"end},\n"
	"  {name = 'slow', every_s = 3600, handler = function()\n"
	"    runs = runs + 1 log.info('slow begins', {run = runs}) task.sleep(0.03)\n"
	"    log.info('slow ends') end},\n"
	"  {name = 'failing', every_s = 0.02, handler = function() error('on purpose') "
	"end},\n"
	"}}\n";

static struct rig rig;
static struct service *service;
static struct job_runner *runner;
static struct buf lines;

/* The next generation, for the claims that have one, and what its hooks were told. */
static struct rig next_rig;
static struct service *next_service;
static struct job_runner *next;
static bool busy;
static int ended;

static bool slow_is_busy(void *context, struct slice name)
{
	return slice_equal(name, SLICE("slow")) &&
	       (busy || job_runner_runs(context, name));
}

static void on_ended(void *context, struct slice name)
{
	ended++;
	assert_true(slice_equal(name, SLICE("slow")));
	assert_false(job_runner_runs(runner, name));
	if (next)
		job_runner_wake(next, name);
}

static int open_rig(void **state)
{
	const struct job_hooks hooks = { .busy = slow_is_busy, .ended = on_ended };
	struct fault why;

	busy = false;
	ended = 0;

	rig_init(&rig);
	rig_open(&rig, 8 << 20, service_rig_modules);
	service = service_rig_load(rig.vm, source, &why);
	if (!service)
		fail_msg("%s", why.detail);
	runner = job_runner_create(rig.loop, rig.vm, service, &hooks);
	return 0;
}

/* Stops the runner and gives the loop a second one, in a VM of its own. */
static void open_next(void)
{
	const struct job_hooks hooks = { slow_is_busy, on_ended, runner };
	struct fault why;

	job_runner_stop(runner);
	next_rig = rig;
	rig_open(&next_rig, 8 << 20, service_rig_modules);
	next_service = service_rig_load(next_rig.vm, source, &why);
	if (!next_service)
		fail_msg("%s", why.detail);
	next = job_runner_create(rig.loop, next_rig.vm, next_service, &hooks);
}

static void close_next(void)
{
	if (!next)
		return;
	job_runner_stop(next);
	vm_destroy(next_rig.vm);
	job_runner_destroy(next);
	service_destroy(next_service);
	next = NULL;
}

static int close_rig(void **state)
{
	job_runner_stop(runner);
	vm_destroy(rig.vm);
	rig.vm = NULL;
	close_next();
	job_runner_destroy(runner);
	service_destroy(service);
	rig_finish(&rig);
	buf_finish(&lines);
	return 0;
}

static int count(const char *part)
{
	int found = 0;

	while (log_hub_drain(rig.logs, 64, service_rig_take_line, &lines))
		;
	for (const char *at = buf_text(&lines); (at = strstr(at, part)); at++)
		found++;
	return found;
}

static void turn_until(const char *part, int times)
{
	for (int turns = 0; turns < 1000; turns++) {
		if (count(part) >= times)
			return;
		loop_turn(rig.loop, 5);
	}
	fail_msg("no %d of '%s' in: %s", times, part, buf_text(&lines));
}

static void a_job_runs_at_once_and_then_every_so_often(void **state)
{
	turn_until("\"quick\"", 1);
	turn_until("\"quick\"", 4);
}

static void a_woken_job_runs_soon(void **state)
{
	turn_until("slow ends", 1);
	assert_true(job_runner_wake(runner, SLICE("slow")));
	assert_true(job_runner_wake(runner, SLICE("slow")));
	turn_until("slow ends", 2);
	for (int turns = 0; turns < 20; turns++)
		loop_turn(rig.loop, 5);
	assert_int_equal(count("slow begins"), 2);
	assert_false(job_runner_wake(runner, SLICE("nobody")));
}

static void a_job_woken_while_it_runs_runs_once_more(void **state)
{
	turn_until("slow begins", 1);
	assert_int_equal(count("slow ends"), 0);
	job_runner_wake(runner, SLICE("slow"));
	job_runner_wake(runner, SLICE("slow"));
	turn_until("slow ends", 2);
	for (int turns = 0; turns < 20; turns++)
		loop_turn(rig.loop, 5);
	assert_int_equal(count("slow begins"), 2);
}

static void a_failing_job_is_logged_once_and_tried_again_in_its_time(void **state)
{
	turn_until("\"quick\"", 10);
	assert_int_equal(count("\"message\":\"job failed\""), 1);
	assert_contains(buf_text(&lines), "\"job\":\"failing\"");
	assert_contains(buf_text(&lines), "on purpose");
	assert_contains(buf_text(&lines), "stack traceback:");
	buf_reset(&lines);
	prometheus_write(&lines, rig.metrics, PROMETHEUS_text, PROMETHEUS_default);
	assert_contains(
		buf_text(&lines),
		"job_duration_seconds_count{job=\"failing\",outcome=\"internal\"}");
	assert_contains(buf_text(&lines),
			"job_duration_seconds_count{job=\"quick\",outcome=\"ok\"}");
	assert_lacks(buf_text(&lines), "job=\"failing\",outcome=\"internal\"} 1\n");
}

static double last_success(const char *job)
{
	struct slice name = slice_text(job);
	double value;

	return metrics_value(rig.metrics, SLICE("job_last_success_timestamp_seconds"),
			     &name, 1, &value)
		       ? value
		       : 0;
}

static void only_a_success_leaves_its_time(void **state)
{
	double now = (double)clock_wall().ns / 1e9, first;

	assert_true(last_success("slow") == 0);
	turn_until("job failed", 1);
	turn_until("slow ends", 1);
	for (int turns = 0; turns < 1000 && last_success("slow") == 0; turns++)
		loop_turn(rig.loop, 5);
	first = last_success("slow");
	assert_true(first >= now && first < now + 60);
	assert_true(last_success("quick") > 0);
	assert_true(last_success("failing") == 0);
	job_runner_wake(runner, SLICE("slow"));
	for (int turns = 0; turns < 1000 && last_success("slow") == first; turns++)
		loop_turn(rig.loop, 5);
	assert_true(last_success("slow") > first);
}

static void stopped_jobs_do_not_run_again(void **state)
{
	turn_until("slow begins", 1);
	job_runner_stop(runner);
	job_runner_wake(runner, SLICE("slow"));
	job_runner_wake(runner, SLICE("quick"));
	turn_until("slow ends", 1);
	for (int turns = 0; turns < 20; turns++)
		loop_turn(rig.loop, 5);
	assert_int_equal(count("slow begins"), 1);
	assert_int_equal(count("\"quick\""), 1);
	assert_int_equal(task_count(rig.vm), 0);
}

static void a_job_cut_short_by_the_end_is_no_failure(void **state)
{
	turn_until("slow begins", 1);
	job_runner_stop(runner);
	vm_destroy(rig.vm);
	rig.vm = NULL;
	assert_lacks(buf_text(&lines), "\"job\":\"slow\"");
	assert_int_equal(count("slow ends"), 0);
	assert_lacks(buf_text(&lines), "cancelled");
}

static void a_job_that_is_busy_elsewhere_starts_when_woken_and_free(void **state)
{
	busy = true;
	turn_until("\"quick\"", 3);
	assert_true(job_runner_wake(runner, SLICE("slow")));
	turn_until("\"quick\"", 6);
	assert_int_equal(count("slow begins"), 0);
	assert_false(job_runner_runs(runner, SLICE("slow")));
	busy = false;
	turn_until("\"quick\"", 9);
	assert_int_equal(count("slow begins"), 0);
	job_runner_wake(runner, SLICE("slow"));
	turn_until("slow begins", 1);
	assert_true(job_runner_runs(runner, SLICE("slow")));
	assert_false(job_runner_runs(runner, SLICE("nobody")));
	assert_false(job_runner_idle(runner));
	turn_until("slow ends", 1);
	assert_int_equal(ended, 0);
}

static void a_job_never_runs_twice_at_once_across_generations(void **state)
{
	int last = 0;

	turn_until("slow begins", 1);
	open_next();
	assert_false(job_runner_idle(runner));
	while (count("slow ends") < 1) {
		assert_int_equal(count("slow begins"), 1);
		loop_turn(rig.loop, 5);
	}
	turn_until("slow begins", 2);
	assert_int_equal(ended, 1);
	assert_true(job_runner_idle(runner));
	assert_true(job_runner_runs(next, SLICE("slow")));
	turn_until("slow ends", 2);
	assert_int_equal(ended, 1);
	/* The others did not wait for it. */
	last = count("\"quick\"");
	turn_until("\"quick\"", last + 2);
}

static void a_run_that_the_end_cuts_short_makes_way_too(void **state)
{
	turn_until("slow begins", 1);
	open_next();
	loop_turn(rig.loop, 0);
	loop_turn(rig.loop, 0);
	assert_false(job_runner_runs(next, SLICE("slow")));
	vm_destroy(rig.vm);
	rig.vm = NULL;
	assert_int_equal(ended, 1);
	assert_true(job_runner_idle(runner));
	turn_until("slow begins", 2);
	assert_int_equal(count("slow ends"), 0);
}

int main(void)
{
#define CLAIM(name) cmocka_unit_test_setup_teardown(name, open_rig, close_rig)
	const struct CMUnitTest claims[] = {
		CLAIM(a_job_runs_at_once_and_then_every_so_often),
		CLAIM(a_woken_job_runs_soon),
		CLAIM(a_job_woken_while_it_runs_runs_once_more),
		CLAIM(a_failing_job_is_logged_once_and_tried_again_in_its_time),
		CLAIM(only_a_success_leaves_its_time),
		CLAIM(stopped_jobs_do_not_run_again),
		CLAIM(a_job_cut_short_by_the_end_is_no_failure),
		CLAIM(a_job_that_is_busy_elsewhere_starts_when_woken_and_free),
		CLAIM(a_job_never_runs_twice_at_once_across_generations),
		CLAIM(a_run_that_the_end_cuts_short_makes_way_too),
	};

	return cmocka_run_group_tests(claims, NULL, NULL);
}
