/* SPDX-License-Identifier: MIT */
#include "host/host.h"

#include "api/socket_feed.h"
#include "api/socket_hub.h"
#include "base/check.h"
#include "base/hex.h"
#include "base/random.h"
#include "host/admin.h"
#include "host/builder.h"
#include "host/conf.h"
#include "host/export.h"
#include "host/intake.h"
#include "host/otel.h"
#include "host/process.h"
#include "host/wiring.h"
#include "host/worker_service.h"
#include "loop/worker.h"
#include "store/amqp.h"
#include "watch/log.h"
#include "watch/metrics.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define HELPER_THREADS 2
#define HELPER_QUEUE_MAX 64
#define LOG_RING_BYTES (64u << 10)
#define FLUSH_MS 3000

struct host_worker {
	struct wiring wiring;
	struct worker_service *service;
	struct thread *thread;
};

struct host {
	const struct conf *conf;
	struct otel_config otel;
	struct metrics *metrics;
	struct log_hub *logs;
	struct log *log; /* of the main thread */
	struct helper *helper;
	struct export *export;
	struct wiring_amqp amqp;
	struct admin_shared shared;
	struct host_worker *workers;
	struct wiring **wirings; /* theirs, for the builder */
	struct worker_service **services;
	size_t wired; /* workers that have their wiring */
	struct intake *intake;
	struct builder *builder;
	char origin[SOCKET_ORIGIN_SIZE + 1]; /* of what this process broadcasts */
	unsigned port;
};

/* --- what the process has once ---------------------------------------------------- */

static void log_warnings(struct host *host)
{
	for (size_t i = 0; i < host->otel.warning_count; i++)
		log_printf(host->log, LOG_warn, "%.*s",
			   SLICE_PRINT(host->otel.warnings[i]));
}

static void make_shared(struct host *host)
{
	enum log_dialect dialect = LOG_DIALECT_default;
	enum log_severity least = LOG_info;
	uint8_t origin[SOCKET_ORIGIN_SIZE / 2];

	log_severity_of(slice_text(host->conf->log_level), &least);
	log_dialect_of(slice_text(host->conf->log_dialect), &dialect);
	host->metrics = metrics_create();
	host->otel.environment = slice_text(host->conf->mode);
	host->export = export_create(&host->otel, host->metrics, least);
	export_lines_as(host->export, dialect);
	host->logs = export_logs(host->export);
	host->log = log_create(host->logs, LOG_RING_BYTES);
	host->helper = helper_create(HELPER_THREADS, HELPER_QUEUE_MAX);
	random_secure(origin, sizeof(origin));
	hex_encode(origin, sizeof(origin), host->origin);
	log_warnings(host);
}

static struct wiring_shared shared_of(struct host *host)
{
	return (struct wiring_shared){ host->conf, &host->otel, host->logs, host->metrics,
				       host->helper };
}

static bool make_amqp(struct host *host, struct fault *why)
{
	struct wiring_shared shared = shared_of(host);

	return wiring_amqp_open(&host->amqp, &shared, why);
}

/* On the telemetry thread, before each export of metrics. */
static void on_export(void *context, struct meter *meter)
{
	struct host *host = context;

	admin_count_process(&host->shared, host->logs, meter);
}

/* --- workers ---------------------------------------------------------------------- */

static void wake_job(void *context, struct slice name)
{
	struct host *host = context;

	worker_service_wake_job(host->workers[0].service, name);
}

static bool wire_workers(struct host *host, struct fault *why)
{
	struct wiring_shared shared = shared_of(host);
	struct socket_hub **hubs = mem_zeroed(host->conf->workers, sizeof(*hubs));

	for (size_t i = 0; i < host->conf->workers; i++) {
		struct wiring *wiring = &host->workers[i].wiring;

		if (!wiring_init(wiring, &shared, why))
			break;
		host->wired++;
		wiring->api.amqp = host->amqp.amqp;
		wiring->api.wake_job = wake_job;
		wiring->api.wake_job_context = host;
		wiring_open_feed(wiring, host->origin);
		hubs[i] = wiring->api.sockets;
		if (i + 1 == host->conf->workers) {
			socket_hub_join(hubs, i + 1);
			free(hubs);
			return true;
		}
	}
	free(hubs);
	return false;
}

static void on_full(void *context)
{
	struct host *host = context;

	builder_ask(host->builder, BUILDER_full);
}

static void make_workers(struct host *host)
{
	for (size_t i = 0; i < host->conf->workers; i++) {
		struct worker_service_config config = {
			.conf = host->conf,
			.wiring = &host->workers[i].wiring,
			.logs = host->logs,
			.shared = &host->shared,
			.first = i == 0,
			.full = on_full,
			.full_context = host,
		};

		host->workers[i].service = worker_service_create(&config);
		host->wirings[i] = &host->workers[i].wiring;
		host->services[i] = host->workers[i].service;
	}
}

static bool load_service(struct host *host, struct fault *why)
{
	struct builder_config config = {
		.conf = host->conf,
		.logs = host->logs,
		.metrics = host->metrics,
		.wirings = host->wirings,
		.workers = host->services,
		.count = host->conf->workers,
	};

	make_workers(host);
	host->intake =
		intake_create(host->amqp.amqp, host->services, host->conf->workers);
	config.intake = host->intake;
	host->builder = builder_create(&config);
	return builder_first(host->builder, why);
}

static bool listen_all(struct host *host, struct fault *why)
{
	host->port = host->conf->port;
	for (size_t i = 0; i < host->conf->workers; i++) {
		host->port =
			worker_service_listen(host->workers[i].service, host->port, why);
		if (!host->port)
			return false;
	}
	return true;
}

static void start_threads(struct host *host)
{
	char name[32];

	for (size_t i = 0; i < host->conf->workers; i++) {
		snprintf(name, sizeof(name), "worker-%zu", i);
		host->workers[i].thread =
			thread_start(name, worker_service_run, host->workers[i].service);
	}
	builder_start(host->builder);
}

/* --- start, wait, end ------------------------------------------------------------- */

static bool start_export(struct host *host, struct fault *why)
{
	struct tracer **tracers = mem_zeroed(host->conf->workers, sizeof(*tracers));
	bool started;

	for (size_t i = 0; i < host->conf->workers; i++)
		tracers[i] = host->workers[i].wiring.observer.tracer;
	export_on_measure(host->export, on_export, host);
	started = export_start(host->export, tracers, host->conf->workers, why);
	free(tracers);
	return started;
}

static void announce(struct host *host)
{
	struct attr attrs[] = {
		attr_text(SLICE("version"), SLICE(ORRERY_VERSION)),
		attr_text(SLICE("host"), slice_text(host->conf->host)),
		attr_integer(SLICE("port"), host->port),
		attr_integer(SLICE("workers"), host->conf->workers),
		attr_integer(SLICE("admin_port"), host->conf->admin_port),
	};

	log_write(host->log, LOG_info, NULL, SLICE("serving"), attrs,
		  sizeof(attrs) / sizeof(*attrs) - (host->conf->admin_port == 0));
}

static bool start(struct host *host, struct fault *why)
{
	make_shared(host);
	return make_amqp(host, why) && wire_workers(host, why) &&
	       load_service(host, why) && listen_all(host, why) &&
	       start_export(host, why);
}

static void look_at_threads(struct host *host)
{
	for (size_t i = 0; i < host->conf->workers; i++)
		worker_service_look(host->workers[i].service);
	builder_look(host->builder);
}

/* SIGHUP reloads, as long as that is possible; SIGTERM and SIGINT end the wait, and so
 * does the moment. Nothing comes: once a second the threads are looked at. Gives the
 * signal, or 0. */
static int wait_for_end(struct host *host, const sigset_t *signals, struct mono until)
{
	struct mono now;

	while ((now = clock_mono()).ns < until.ns) {
		int left_ms = mono_left_ms(now, until);
		struct timespec most = { 1, 0 };
		int number;

		if (left_ms < 1000)
			most = (struct timespec){ 0, left_ms * 1000000L };
		number = sigtimedwait(signals, NULL, &most);
		if (number == SIGTERM || number == SIGINT)
			return number;
		if (number == SIGHUP)
			builder_ask(host->builder, BUILDER_asked);
		else if (number < 0 && errno == EAGAIN)
			look_at_threads(host);
	}
	return 0;
}

/* Clients have time to hear that they should go elsewhere. */
static void be_unready(struct host *host, const sigset_t *signals)
{
	int64_t wait_ms = host->conf->unready_ms;

	if (wait_ms == 0)
		return;
	log_printf(host->log, LOG_info, "unready for %u ms", host->conf->unready_ms);
	for (size_t i = 0; i < host->conf->workers; i++)
		worker_service_quiesce(host->workers[i].service);
	wait_for_end(host, signals, mono_after_ms(clock_mono(), wait_ms));
}

static void drain(struct host *host)
{
	log_printf(host->log, LOG_info, "draining");
	builder_stop(host->builder);
	if (host->amqp.amqp)
		amqp_quiesce(host->amqp.amqp);
	for (size_t i = 0; i < host->conf->workers; i++)
		worker_service_drain(host->workers[i].service);
	for (size_t i = 0; i < host->conf->workers; i++)
		thread_join(host->workers[i].thread);
}

/* The order: scripts end while AMQP can still take back their messages, AMQP's and the
 * helpers' threads while there are loops to post to, telemetry after all that has
 * something to tell. */
static void finish(struct host *host)
{
	for (size_t i = 0; i < host->wired; i++)
		worker_service_stop(host->workers[i].service);
	for (size_t i = 0; i < host->wired; i++)
		wiring_stop(&host->workers[i].wiring);
	for (size_t i = 0; i < host->wired; i++)
		worker_service_close(host->workers[i].service);
	amqp_destroy(host->amqp.amqp, FLUSH_MS);
	helper_destroy(host->helper);
	export_stop(host->export, FLUSH_MS);
	for (size_t i = 0; i < host->wired; i++)
		wiring_unloop(&host->workers[i].wiring);
	for (size_t i = 0; i < host->wired; i++)
		worker_service_destroy(host->workers[i].service);
	for (size_t i = 0; i < host->wired; i++)
		wiring_finish(&host->workers[i].wiring);
	builder_destroy(host->builder);
	intake_destroy(host->intake);
	export_destroy(host->export);
	metrics_destroy(host->metrics);
	otel_config_finish(&host->otel);
	free(host->wirings);
	free(host->services);
	free(host->workers);
}

bool host_serve(const struct conf *conf, struct fault *why)
{
	struct host host = { .conf = conf };
	sigset_t signals;
	bool started;
	int number;

	process_raise_limits();
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGHUP);
	sigprocmask(SIG_BLOCK, &signals, NULL); /* before any thread */
	host.workers = mem_zeroed(conf->workers, sizeof(*host.workers));
	host.wirings = mem_zeroed(conf->workers, sizeof(*host.wirings));
	host.services = mem_zeroed(conf->workers, sizeof(*host.services));
	started = otel_config_read(&host.otel, slice_text(conf->service), otel_getenv,
				   NULL, why) &&
		  start(&host, why);
	if (started) {
		start_threads(&host);
		announce(&host);
		number = wait_for_end(&host, &signals, MONO_NEVER);
		atomic_store(&host.shared.draining, true);
		if (number == SIGTERM)
			be_unready(&host, &signals);
		drain(&host);
	}
	finish(&host);
	return started;
}
