/* SPDX-License-Identifier: MIT */
/* cmd_test.c -- orrery test FILE...: Lua tests as tasks, without a socket.
 *
 * A file returns an array of {name = text, fn = function}. Each file has fresh settings
 * and a fresh VM; its tests run one after the other, and may wait. Output is TAP; the
 * status is 1 when any failed. Stores are those of the environment (ORRERY_POSTGRES_URL
 * ...), needed only where a test uses them.
 */
#include "host/command.h"

#include "api/settings.h"
#include "host/conf.h"
#include "host/otel.h"
#include "host/test_file.h"
#include "host/wiring.h"
#include "loop/worker.h"
#include "watch/log.h"
#include "watch/metrics.h"

#include <stdio.h>
#include <unistd.h>

#define HELPER_QUEUE_MAX 16

static void print_log(void *context, const struct log_record *record)
{
	struct buf *line = context;

	buf_append(line, SLICE("# "));
	log_format_json(line, record, SLICE("test"));
}

/* What the file's services logged stands under its results as comments. */
static void print_logs(struct log_hub *logs)
{
	struct buf lines = { 0 };

	while (log_hub_drain(logs, 1000, print_log, &lines))
		;
	if (lines.size) /* an empty buffer has no memory to point at */
		fwrite(lines.at, 1, lines.size, stdout);
	buf_finish(&lines);
}

/* Signs tokens where the environment has no secret. */
#define TEST_JWT_SECRET "for tests only, known to everybody"

static int report_failure(const char *path, const struct fault *why, int *total)
{
	printf("not ok %d - %s\n# %s\n", ++*total, path, why->detail);
	return 1;
}

static int run_wired(struct wiring *wiring, const char *path, int *total)
{
	struct fault why;

	if (!wiring_open(wiring, &why) || !test_file_open(wiring, &why))
		return report_failure(path, &why, total);
	return test_file_run(wiring, path, total);
}

/* Gives how many failed; counts all in *total. */
static int run_file(struct wiring_shared *shared, const char *path, int *total)
{
	struct wiring wiring;
	struct conf conf;
	struct fault why;
	int failed;

	shared->conf = &conf;
	if (!conf_load(&conf, NULL, NULL, 0, &why)) {
		conf_finish(&conf);
		return report_failure(path, &why, total);
	}
	if (!*conf.jwt_secret)
		settings_set_text(conf.shown, SLICE("jwt_secret"),
				  SLICE(TEST_JWT_SECRET));
	shared->helper = helper_create(1, HELPER_QUEUE_MAX);
	if (wiring_init(&wiring, shared, &why)) {
		failed = run_wired(&wiring, path, total);
		print_logs(shared->logs);
		wiring_stop(&wiring);
	} else {
		failed = report_failure(path, &why, total);
	}
	helper_destroy(shared->helper); /* its work posts to the loop */
	wiring_finish(&wiring);
	conf_finish(&conf);
	return failed;
}

int cmd_test(char *const *args, size_t count)
{
	struct otel_config otel;
	struct fault why;
	struct wiring_shared shared = { .otel = &otel };
	int failed = 0, total = 0;

	if (count == 0)
		return command_refuse("test", "which files?");
	if (!otel_config_read(&otel, SLICE("test"), otel_getenv, NULL, &why)) {
		otel_config_finish(&otel);
		return command_refuse("test", why.detail);
	}
	shared.logs = log_hub_create(LOG_warn, NULL, NULL);
	shared.metrics = metrics_create();
	for (size_t i = 0; i < count; i++)
		failed += run_file(&shared, args[i], &total);
	printf("1..%d\n# %d passed, %d failed\n", total, total - failed, failed);
	log_hub_destroy(shared.logs);
	metrics_destroy(shared.metrics);
	otel_config_finish(&otel);
	return failed ? EXIT_failed : EXIT_well;
}
