/* SPDX-License-Identifier: MIT */
#include "host/builder.h"

#include "api/service.h"
#include "base/chaos.h"
#include "base/check.h"
#include "base/json.h"
#include "host/conf.h"
#include "host/control.h"
#include "host/generation.h"
#include "host/intake.h"
#include "host/load_report.h"
#include "host/wiring.h"
#include "host/worker_service.h"
#include "loop/loop.h"
#include "loop/worker.h"
#include "script/source_watch.h"
#include "script/vm.h"
#include "script/watchdog.h"
#include "watch/log.h"
#include "watch/metrics.h"
#include "watch/trace.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define RING_BYTES (256u << 10)
#define FOLDERS 2
#define DEPTH_MAX 4
#define REASONS (BUILDER_full + 1)
#define FULL_AGAIN_MS 1000 /* a VM may be full of what it is made of */

struct asking {
	struct builder *builder;
	struct mail mail;
	atomic_bool sent;
};

struct builder {
	struct builder_config config;
	struct observer observer;
	struct chaos chaos;
	struct loop *loop; /* the workshop: where files run */
	struct thread *thread;
	struct watchdog *_Atomic watchdog;
	struct source_watch *watch;
	struct control *control;
	struct load_report *report;
	char *lib_dir;
	struct source_folder folders[FOLDERS];
	struct sources *serving; /* what the current generation is made from */
	uint64_t tried; /* digest of the newest source that was tried */
	bool again; /* the attempt is with the source that serves */
	uint32_t number; /* of the current generation */
	struct asking asking[REASONS];
	bool swapping;
	bool wanted[REASONS]; /* while it swaps */
	const struct service *service; /* that the swap under way brings */
	_Atomic unsigned swaps_left;
	struct mail swapped;
	struct mono began; /* of the attempt */
	struct mono full_after; /* no rebuild of a full VM before */
	atomic_bool stopping;
};

/* --- building --------------------------------------------------------------------- */

static void destroy_all(struct generation **built, size_t count)
{
	for (size_t i = 0; i < count; i++)
		generation_destroy(built[i]);
}

/* One for each worker, or none. */
static bool build_all(struct builder *builder, struct sources *sources, unsigned edition,
		      struct generation **built, struct fault *why)
{
	struct buf traceback = { 0 };
	struct generation_plan plan = {
		.number = builder->number + 1,
		.edition = edition,
		.conf = builder->config.conf,
		.sources = sources,
		.workshop = builder->loop,
		.watchdog = atomic_load(&builder->watchdog),
	};
	size_t count = 0;

	while (count < builder->config.count) {
		plan.wiring = builder->config.wirings[count];
		built[count] = generation_build(&plan, &traceback, why);
		if (!built[count])
			break;
		count++;
	}
	if (count == builder->config.count &&
	    intake_possible(builder->config.intake, built[0]->service, why)) {
		buf_finish(&traceback);
		return true;
	}
	destroy_all(built, count);
	load_report_failure(builder->report, why, buf_slice(&traceback), sources);
	buf_finish(&traceback);
	return false;
}

static void count_attempt(struct builder *builder, const char *outcome, bool well)
{
	struct meter *meter = builder->observer.meter;

	series_add(meter_own(meter, METRIC_reloads, 1, slice_text(outcome)), 1);
	if (!builder->again)
		series_set(meter_own(meter, METRIC_reload_success, 0), well);
	if (!well)
		return;
	series_set(meter_own(meter, METRIC_reload_time, 0),
		   (double)clock_wall().ns / 1e9);
	series_set(meter_own(meter, METRIC_generation, 0), builder->number);
}

static void on_replaced(void *context, struct slice name)
{
	struct builder *builder = context;
	struct attr attrs[] = { attr_text(SLICE("series"), name) };

	log_write(builder->observer.log, LOG_warn, NULL,
		  SLICE("a series was declared again with other labels: it starts anew"),
		  attrs, 1);
}

/* From here on they will serve. */
static void commit(struct builder *builder, struct sources *sources, unsigned edition)
{
	builder->number++;
	log_set_generation(builder->observer.log, builder->number);
	metrics_edition_commit(builder->config.metrics, edition, on_replaced, builder);
	sources_release(builder->serving);
	builder->serving = sources_share(sources);
}

static void tell_workers(struct builder *builder)
{
	struct buf text = { 0 };
	struct json json = json_to(&text);

	load_report_write(builder->report, &json);
	for (size_t i = 0; i < builder->config.count; i++)
		worker_service_report(builder->config.workers[i], buf_slice(&text));
	buf_finish(&text);
}

/* The serving source once more says nothing of the newest one, which may not load. */
static void settle_success(struct builder *builder)
{
	if (builder->again)
		load_report_serves(builder->report, builder->number);
	else
		load_report_success(builder->report, builder->number);
	count_attempt(builder, "ok", true);
	tell_workers(builder);
}

static void print_on_console(struct builder *builder)
{
	struct buf text = { 0 };

	if (isatty(STDERR_FILENO)) {
		load_report_print(builder->report, &text);
		fprintf(stderr, "%s", buf_text(&text));
	}
	buf_finish(&text);
}

static void settle_failure(struct builder *builder)
{
	struct buf text = { 0 };

	count_attempt(builder, "failed", false);
	tell_workers(builder);
	load_report_log(builder->report, builder->observer.log);
	print_on_console(builder);
	load_report_print(builder->report, &text);
	control_answer(builder->control, false, buf_slice(&text));
	buf_finish(&text);
}

/* --- swapping --------------------------------------------------------------------- */

static void consider(struct builder *builder, enum builder_reason reason);

static void announce(struct builder *builder)
{
	double seconds = mono_seconds(builder->began, clock_mono());
	struct attr attrs[] = {
		attr_double(SLICE("duration_s"), seconds),
		attr_integer(SLICE("routes"), (int64_t)builder->service->route_count),
	};
	char text[80];
	int size = snprintf(text, sizeof(text), "generation %u after %.1f ms",
			    builder->number, seconds * 1e3);

	log_write(builder->observer.log, LOG_info, NULL, SLICE("a new generation serves"),
		  attrs, 2);
	control_answer(builder->control, true, slice_of(text, (size_t)size));
}

/* All workers have it. */
static void on_swapped(void *context)
{
	struct builder *builder = context;

	builder->swapping = false;
	if (atomic_load(&builder->stopping))
		return;
	intake_follow(builder->config.intake, builder->service);
	settle_success(builder);
	announce(builder);
	for (int reason = 0; reason < REASONS; reason++) {
		if (!builder->wanted[reason] || builder->swapping)
			continue;
		builder->wanted[reason] = false;
		consider(builder, reason);
	}
}

/* On a worker's thread. */
static void on_one_swapped(void *context)
{
	struct builder *builder = context;

	if (atomic_fetch_sub(&builder->swaps_left, 1) == 1)
		loop_post(builder->loop, &builder->swapped, on_swapped, builder);
}

static void swap_all(struct builder *builder, struct generation *const *built)
{
	size_t count = builder->config.count;

	builder->swapping = true;
	builder->service = built[0]->service;
	atomic_store(&builder->swaps_left, (unsigned)count);
	for (size_t i = 0; i < count; i++)
		worker_service_swap(builder->config.workers[i], built[i], on_one_swapped,
				    builder);
}

static void attempt(struct builder *builder, struct sources *sources, bool again)
{
	struct generation **built = mem_zeroed(builder->config.count, sizeof(*built));
	unsigned edition = metrics_edition_begin(builder->config.metrics);
	struct fault why;

	builder->began = clock_mono();
	builder->again = again;
	if (!again)
		builder->tried = sources_digest(sources);
	if (build_all(builder, sources, edition, built, &why)) {
		commit(builder, sources, edition);
		swap_all(builder, built);
	} else {
		metrics_edition_drop(builder->config.metrics, edition);
		settle_failure(builder);
	}
	free(built);
}

/* --- what is asked for ------------------------------------------------------------ */

static void fail_to_read(struct builder *builder, const struct fault *why)
{
	builder->again = false;
	load_report_failure(builder->report, why, (struct slice){ 0 }, NULL);
	settle_failure(builder);
}

/* The memory is alive: what fills it goes with the generation. */
static void rebuild_full(struct builder *builder)
{
	struct mono now = clock_mono();

	if (now.ns < builder->full_after.ns)
		return;
	builder->full_after = mono_after_ms(now, FULL_AGAIN_MS);
	log_printf(builder->observer.log, LOG_warn,
		   "the Lua machine stays above its soft limit after a full collection: "
		   "the service starts anew from the same source");
	attempt(builder, builder->serving, true);
}

static void consider(struct builder *builder, enum builder_reason reason)
{
	struct sources *sources;
	struct fault why;

	if (builder->swapping) {
		builder->wanted[reason] = true;
		return;
	}
	if (reason == BUILDER_full) {
		rebuild_full(builder);
		return;
	}
	control_begin(builder->control);
	sources = sources_read(builder->folders, FOLDERS, &why);
	if (!sources)
		fail_to_read(builder, &why);
	else if (reason == BUILDER_asked || sources_digest(sources) != builder->tried)
		attempt(builder, sources, false);
	sources_release(sources);
}

static void on_ask(void *context)
{
	struct asking *asking = context;
	struct builder *builder = asking->builder;

	atomic_store(&asking->sent, false);
	if (!atomic_load(&builder->stopping))
		consider(builder, (enum builder_reason)(asking - builder->asking));
}

void builder_ask(struct builder *builder, enum builder_reason reason)
{
	struct asking *asking = &builder->asking[reason];

	if (!atomic_exchange(&asking->sent, true))
		loop_post(builder->loop, &asking->mail, on_ask, asking);
}

static void on_changed(void *context)
{
	consider(context, BUILDER_changed);
}

static void on_control(void *context)
{
	consider(context, BUILDER_asked);
}

/* --- life ------------------------------------------------------------------------- */

bool builder_first(struct builder *builder, struct fault *why)
{
	struct generation **built = mem_zeroed(builder->config.count, sizeof(*built));
	unsigned edition = metrics_edition_begin(builder->config.metrics);
	struct sources *sources = sources_read(builder->folders, FOLDERS, why);
	bool well = false;

	atomic_store(&builder->watchdog, watchdog_create("start"));
	if (sources) {
		builder->tried = sources_digest(sources);
		well = build_all(builder, sources, edition, built, why);
	}
	watchdog_destroy(atomic_exchange(&builder->watchdog, NULL));
	if (well) {
		commit(builder, sources, edition);
		for (size_t i = 0; i < builder->config.count; i++)
			worker_service_put(builder->config.workers[i], built[i]);
		settle_success(builder);
		intake_follow(builder->config.intake, built[0]->service);
	} else {
		metrics_edition_drop(builder->config.metrics, edition);
	}
	sources_release(sources);
	free(built);
	return well;
}

static void run(void *context)
{
	struct builder *builder = context;
	const struct conf *conf = builder->config.conf;

	atomic_store(&builder->watchdog, watchdog_create("builder"));
	builder->control =
		control_create(builder->loop, conf->service_file, on_control, builder);
	if (strcmp(conf->reload, "watch") == 0) {
		builder->watch = source_watch_create(builder->loop, builder->folders,
						     FOLDERS, on_changed, builder);
		consider(builder, BUILDER_changed); /* since the first one */
	}
	loop_run(builder->loop);
	source_watch_destroy(builder->watch);
	control_destroy(builder->control);
	watchdog_destroy(atomic_exchange(&builder->watchdog, NULL));
}

void builder_start(struct builder *builder)
{
	builder->thread = thread_start("builder", run, builder);
}

void builder_look(struct builder *builder)
{
	struct watchdog *watchdog = atomic_load(&builder->watchdog);

	if (watchdog)
		watchdog_stuck(watchdog);
}

void builder_stop(struct builder *builder)
{
	if (!builder || !builder->thread)
		return;
	atomic_store(&builder->stopping, true);
	loop_stop(builder->loop);
	thread_join(builder->thread);
	builder->thread = NULL;
}

/* Below a service's folder its modules may lie in folders; beside a single file anything
 * may. */
static void choose_folders(struct builder *builder)
{
	const struct conf *conf = builder->config.conf;
	bool whole =
		slice_ends_with(slice_text(conf->service_file), SLICE("/service.lua"));

	builder->lib_dir = conf_path(conf->root, "lib", NULL, NULL);
	builder->folders[0] = (struct source_folder){ builder->lib_dir, DEPTH_MAX };
	builder->folders[1] =
		(struct source_folder){ conf->service_dir, whole ? DEPTH_MAX : 1 };
}

struct builder *builder_create(const struct builder_config *config)
{
	struct builder *builder = mem_zeroed(1, sizeof(*builder));
	struct tracer_config tracing = { .sampler = SAMPLER_always_off,
					 .ring_bytes = 4096 };

	builder->config = *config;
	builder->observer.log = log_create(config->logs, RING_BYTES);
	builder->observer.meter = meter_create(config->metrics);
	builder->observer.tracer = tracer_create(&tracing, 1);
	builder->loop = loop_create(&builder->observer, &builder->chaos);
	for (int i = 0; i < REASONS; i++)
		builder->asking[i].builder = builder;
	builder->report = load_report_create();
	choose_folders(builder);
	return builder;
}

void builder_destroy(struct builder *builder)
{
	if (!builder)
		return;
	check(!builder->thread);
	atomic_store(&builder->stopping, true);
	loop_destroy(builder->loop);
	tracer_destroy(builder->observer.tracer);
	sources_release(builder->serving);
	load_report_destroy(builder->report);
	free(builder->lib_dir);
	free(builder);
}
