/* SPDX-License-Identifier: MIT */
#include "host/test_file.h"

#include "api/api.h"
#include "api/settings.h"
#include "api/test_capture.h"
#include "api/test_cases.h"
#include "base/buf.h"
#include "base/check.h"
#include "host/command.h"
#include "host/conf.h"
#include "host/otel.h"
#include "host/test_select.h"
#include "host/wiring.h"
#include "loop/loop.h"
#include "loop/worker.h"
#include "script/loader.h"
#include "script/vm.h"
#include "script/watchdog.h"
#include "watch/log.h"
#include "watch/metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define HELPER_QUEUE_MAX 16

/* Signs tokens where the environment has no secret. */
#define TEST_JWT_SECRET "for tests only, known to everybody"

struct run { /* in the child */
	const struct test_file *file;
	int tell; /* the parent: a line "+" or "-" for each result, then paths */
	int number; /* of the next result */
	struct wiring wiring;
	struct test_capture *capture;
	struct test_cases *cases;
	struct deferred next;
	size_t index; /* of the test that runs */
};

const char *test_file_name(const char *root, const char *path)
{
	size_t size = strlen(root);

	return strncmp(path, root, size) == 0 && path[size] == '/' ? path + size + 1
								   : path;
}

int test_file_summary(int total, int failed)
{
	printf("1..%d\n", total);
	if (!total)
		printf("# no test has such a name\n");
	printf("# %d passed, %d failed\n", total - failed, failed);
	fflush(stdout);
	return failed || !total ? EXIT_failed : EXIT_well;
}

/* --- one test after the other ----------------------------------------------------- */

static void print_comment(struct slice text)
{
	struct slice line;

	while (text.size && slice_cut(&text, '\n', &line))
		printf("# %.*s\n", SLICE_PRINT(line));
}

static void print_logs(struct run *run)
{
	struct buf lines = { 0 };

	test_capture_format_logs(run->capture, &lines);
	if (lines.size) {
		printf("# logs:\n");
		print_comment(buf_slice(&lines));
	}
	buf_finish(&lines);
}

static void print_result(struct run *run, bool passed, struct slice name)
{
	printf("%s %d - %.*s\n", passed ? "ok" : "not ok", run->number++,
	       SLICE_PRINT(name));
	fflush(stdout);
	dprintf(run->tell, "%s\n", passed ? "+" : "-");
}

/* The file itself fails, before its first test. */
static void fail_file(struct run *run, struct slice report)
{
	struct buf name = { 0 };

	buf_printf(&name, "%s loads", test_file_name(run->file->root, run->file->path));
	print_result(run, false, buf_slice(&name));
	print_comment(report);
	buf_finish(&name);
}

static void start_next(void *context);

static void on_ended(void *context, struct lua_State *L, const struct fault *why,
		     struct slice report)
{
	struct run *run = context;

	print_result(run, !why, test_cases_name(run->cases, run->index));
	if (why) {
		print_comment(report);
		print_logs(run);
	}
	run->index++;
	loop_defer(run->wiring.loop, &run->next, start_next, run);
}

static bool is_wanted(const struct run *run, size_t index)
{
	struct slice name = test_cases_name(run->cases, index);
	const char *filter = run->file->filter;

	return !filter || memmem(name.at, name.size, filter, strlen(filter));
}

static void start_next(void *context)
{
	struct run *run = context;
	struct mono deadline = mono_after_ms(clock_mono(), TEST_TIMEOUT_MS);
	size_t count = test_cases_count(run->cases);

	while (run->index < count && !is_wanted(run, run->index))
		run->index++;
	if (run->index == count) {
		loop_stop(run->wiring.loop);
		return;
	}
	test_capture_begin(run->capture);
	test_cases_start(run->cases, run->index, deadline, on_ended, run);
}

/* --- the file, in the child ------------------------------------------------------- */

static int open_testing(struct lua_State *L)
{
	struct run *run = vm_call_data(L);

	api_open_testing(L, &run->wiring.api);
	test_capture_install(L, run->capture);
	return 0;
}

static void run_cases(struct run *run)
{
	struct vm *vm = run->wiring.api.vm;
	struct buf report = { 0 };
	struct fault why;

	run->cases = test_cases_load(vm, run->file->path, &why);
	if (!run->cases) {
		attempt_report_fault(vm, &why, vm_traceback(vm), &report);
		fail_file(run, buf_slice(&report));
		print_logs(run);
		buf_finish(&report);
		return;
	}
	loop_defer(run->wiring.loop, &run->next, start_next, run);
	loop_run(run->wiring.loop);
	test_cases_destroy(run->cases);
}

static void note_loaded(void *context, const char *path)
{
	struct run *run = context;

	if (loader_source(run->wiring.api.vm, slice_text(path)).at)
		dprintf(run->tell, "%s\n", path);
}

/* What the VM has read, of all there is. */
static void note_sources(struct run *run)
{
	static const char *const folders[] = { "lib", "scripts" };

	dprintf(run->tell, "%s\n", run->file->path);
	for (size_t i = 0; i < sizeof(folders) / sizeof(*folders); i++) {
		char *path = conf_path(run->file->root, folders[i], NULL, NULL);

		test_select_walk(path, SLICE(".lua"), note_loaded, run);
		free(path);
	}
}

static void run_wired(struct run *run, struct log_hub *logs)
{
	struct watchdog *watchdog = watchdog_create("test");
	struct wiring *wiring = &run->wiring;
	struct fault why;

	run->capture = test_capture_create(logs, wiring->observer.tracer);
	if (wiring_open(wiring, &why) &&
	    vm_call(wiring->api.vm, open_testing, run, &why) >= 0) {
		vm_watch(wiring->api.vm, watchdog);
		run_cases(run);
		note_sources(run);
	} else {
		fail_file(run, slice_text(why.detail));
	}
	wiring_stop(wiring);
	watchdog_destroy(watchdog);
	test_capture_destroy(run->capture);
}

static void run_configured(struct run *run, const struct conf *conf,
			   const struct otel_config *otel)
{
	struct wiring_shared shared = { .conf = conf, .otel = otel };
	struct fault why;

	shared.logs = log_hub_create(LOG_debug, NULL, NULL);
	shared.metrics = metrics_create();
	shared.helper = helper_create(1, HELPER_QUEUE_MAX);
	if (wiring_init(&run->wiring, &shared, &why))
		run_wired(run, shared.logs);
	else
		fail_file(run, slice_text(why.detail));
	helper_destroy(shared.helper); /* its work posts to the loop */
	wiring_finish(&run->wiring);
	log_hub_destroy(shared.logs);
	metrics_destroy(shared.metrics);
}

/* Every span is kept, whatever the environment says about exporting. */
static void run_file(struct run *run)
{
	char *const args[] = { "--root", (char *)run->file->root };
	struct otel_config otel = { 0 };
	struct conf conf;
	struct fault why;

	printf("# %s\n", test_file_name(run->file->root, run->file->path));
	if (conf_load(&conf, NULL, args, 2, &why) &&
	    otel_config_read(&otel, SLICE("test"), otel_getenv, NULL, &why)) {
		otel.sampler = SAMPLER_always_on;
		otel.exporters[OTEL_traces].on = true;
		if (!getenv("ORRERY_CPU_MS"))
			conf.cpu_ms = TEST_CPU_MS;
		if (!*conf.jwt_secret)
			settings_set_text(conf.shown, SLICE("jwt_secret"),
					  SLICE(TEST_JWT_SECRET));
		run_configured(run, &conf, &otel);
	} else {
		fail_file(run, slice_text(why.detail));
	}
	otel_config_finish(&otel);
	conf_finish(&conf);
}

/* --- a process of its own --------------------------------------------------------- */

static int run_in_child(const struct test_file *file, int tell)
{
	struct run run = { .file = file, .tell = tell, .number = file->first };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGINT, SIG_DFL);
	run_file(&run);
	fflush(stdout);
	return 0;
}

/* A signal may end the wait for it; then the child has one as well, from the terminal. */
static void read_all(int from, struct buf *data)
{
	ssize_t got;

	while ((got = read(from, buf_reserve(data, 4096), 4096)) != 0) {
		if (got > 0)
			data->size += (size_t)got;
		else if (errno != EINTR)
			break;
	}
}

static void count_results(struct slice told, struct test_outcome *outcome)
{
	struct slice line;

	while (told.size && told.at[0] != '/' && slice_cut(&told, '\n', &line)) {
		outcome->run++;
		outcome->failed += slice_equal(line, SLICE("-"));
	}
	outcome->loaded = mem_copy(told.size ? told.at : "", told.size);
}

static void read_outcome(const struct test_file *file, int from, pid_t child,
			 struct test_outcome *outcome)
{
	struct buf told = { 0 };
	int status = 0;

	read_all(from, &told);
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	count_results(buf_slice(&told), outcome);
	buf_finish(&told);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return;
	printf("not ok %d - %s runs to its end\n# its process %s %d\n",
	       file->first + outcome->run, test_file_name(file->root, file->path),
	       WIFSIGNALED(status) ? "was ended by signal" : "exited with",
	       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	outcome->run++;
	outcome->failed++;
}

void test_file_run(const struct test_file *file, struct test_outcome *outcome)
{
	int ends[2];
	pid_t child;

	*outcome = (struct test_outcome){ 0 };
	fflush(stdout);
	check(pipe2(ends, O_CLOEXEC) == 0);
	child = fork();
	check(child >= 0);
	if (child == 0) {
		close(ends[0]);
		exit(run_in_child(file, ends[1]));
	}
	close(ends[1]);
	read_outcome(file, ends[0], child, outcome);
	close(ends[0]);
}
