/* SPDX-License-Identifier: MIT */
#include "host/test_file.h"

#include "api/test_cases.h"
#include "host/wiring.h"
#include "loop/loop.h"
#include "script/vm.h"

#include <stdio.h>

struct run {
	struct wiring *wiring;
	struct test_cases *cases;
	struct deferred next;
	size_t index; /* of the test that runs */
	int *total;
	int failed;
};

static int open_testing(struct lua_State *L)
{
	const struct api *api = vm_call_data(L);

	api_open_testing(L, api);
	return 0;
}

bool test_file_open(struct wiring *wiring, struct fault *why)
{
	return vm_call(wiring->api.vm, open_testing, &wiring->api, why) >= 0;
}

static void print_comment(struct slice text)
{
	struct slice line;

	while (text.size && slice_cut(&text, '\n', &line))
		printf("# %.*s\n", SLICE_PRINT(line));
}

static void start_next(void *context);

static void on_ended(void *context, const struct fault *why, struct slice traceback)
{
	struct run *run = context;
	struct slice name = test_cases_name(run->cases, run->index);

	printf("%s %d - %.*s\n", why ? "not ok" : "ok", ++*run->total, SLICE_PRINT(name));
	if (why) {
		run->failed++;
		printf("# %s: %s\n", fault_name(why->kind), why->detail);
		print_comment(traceback);
	}
	fflush(stdout);
	run->index++;
	loop_defer(run->wiring->loop, &run->next, start_next, run);
}

static void start_next(void *context)
{
	struct run *run = context;
	struct mono deadline = mono_after_ms(clock_mono(), TEST_TIMEOUT_MS);

	if (run->index == test_cases_count(run->cases))
		loop_stop(run->wiring->loop);
	else
		test_cases_start(run->cases, run->index, deadline, on_ended, run);
}

int test_file_run(struct wiring *wiring, const char *path, int *total)
{
	struct run run = { .wiring = wiring, .total = total };
	struct fault why;

	printf("# %s\n", path);
	run.cases = test_cases_load(wiring->api.vm, path, &why);
	if (!run.cases) {
		printf("not ok %d - %s loads\n# %s\n", ++*total, path, why.detail);
		return 1;
	}
	loop_defer(wiring->loop, &run.next, start_next, &run);
	loop_run(wiring->loop);
	test_cases_destroy(run.cases);
	return run.failed;
}
