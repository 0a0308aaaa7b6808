/* SPDX-License-Identifier: MIT */
/* export.c -- one thread with a loop of its own, woken through an eventfd.
 *
 * The eventfd is written by the first log record after a sleep and by export_stop. Spans
 * have no such bell: their rings are looked at every few hundred milliseconds, sooner
 * while there is a lot. A ring is emptied only as far as the queue has room, unless the
 * collector is not taking anything: then the excess is dropped here, where its reason is
 * known.
 */
#include "host/export.h"

#include "base/check.h"
#include "host/export_lines.h"
#include "host/export_resource.h"
#include "host/export_send.h"
#include "http/client.h"
#include "loop/loop.h"
#include "loop/worker.h"
#include "watch/metrics.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* A line is written at most this long after the wake, plus one turn; in a flood sooner,
 * so that the rings do not fill meanwhile. */
#define GATHER_MS 16 /* a power of two: it is halved and doubled */
#define GATHER_MANY 512 /* records at once: look twice as often */
#define GATHER_FEW 128 /* half as often */
#define RECORDS_PER_TURN 4096
#define PENDING_MAX (1024 * 1024) /* of lines that standard output does not take */
#define LOOK_MS 200
#define LOOK_BUSY_MS 20
#define LOG_RING_BYTES (32 * 1024)
#define RESPONSE_SIZE_MAX (4 * 1024 * 1024)
#define SENDERS 3

struct export
{
	const struct otel_config *config;
	struct metrics *metrics;
	struct log_hub *logs;
	enum log_dialect dialect;
	struct tracer **tracers;
	size_t tracer_count;
	export_measure_fn *measure;
	void *measure_context;
	int give_up_ms, backoff_ms;
	struct wall began;
	int bell; /* eventfd */
	struct thread *thread;
	struct mono stop_by; /* written before stopping */
	atomic_bool stopping;

	/* From here on of the thread. */
	struct observer observer;
	struct chaos chaos;
	struct loop *loop;
	struct loop_fd *bell_fd;
	struct http_client *client;
	struct export_lines lines;
	struct export_resource resource;
	struct export_sender *traces, *log_records, *measures; /* NULL: not exported */
	struct timer gather, look, measure_timer, end;
	int gather_ms;
	uint64_t spans_dropped; /* of the rings, counted already */
	bool draining;
};

/* --- logs ------------------------------------------------------------------------- */

static void ring_bell(void *context)
{
	struct export *export = context;
	uint64_t one = 1;

	/* It fails only when the bell is ringing already. */
	(void)!write(export->bell, &one, sizeof(one));
}

static void take_record(void *context, const struct log_record *record)
{
	struct export *export = context;

	if (!export->lines.lost)
		log_format(&export->lines.pending, export->dialect, record,
			   export->config->service_name);
	if (export->log_records == NULL)
		return;
	if (export_sender_room(export->log_records) == 0) {
		export_sender_drop(export->log_records, 1, "queue_full");
		return;
	}
	otlp_add_log(export_sender_batch(export->log_records), record);
	export_sender_added(export->log_records);
}

/* Gives how many it took. A flood is cut: timers and posts have their turn. */
static size_t take_logs(struct export *export, int wait_ms)
{
	size_t taken = 0, now = 1;

	while (now > 0 && taken < RECORDS_PER_TURN &&
	       export->lines.pending.size < PENDING_MAX) {
		now = log_hub_drain(export->logs, 64, take_record, export);
		taken += now;
	}
	export_lines_write(&export->lines, wait_ms);
	return taken;
}

static void on_gathered(void *context)
{
	struct export *export = context;
	size_t taken = take_logs(export, 0);

	if (taken > GATHER_MANY && export->gather_ms > 1)
		export->gather_ms /= 2;
	else if (taken < GATHER_FEW && export->gather_ms < GATHER_MS)
		export->gather_ms *= 2;
	if (taken == 0 && export->lines.pending.size == 0 && log_hub_sleep(export->logs))
		return;
	timer_start(export->loop, &export->gather,
		    mono_after_ms(loop_now(export->loop), export->gather_ms), on_gathered,
		    export);
}

/* --- spans ------------------------------------------------------------------------ */

/* Gives how many it took. */
static size_t take_spans_of(struct export *export, struct tracer *tracer)
{
	struct export_sender *sender = export->traces;
	size_t taken = 0, dropped = 0;
	struct slice span;

	while (tracer_peek(tracer, &span)) {
		if (export_sender_room(sender) > 0) {
			otlp_add_span(export_sender_batch(sender), span);
			export_sender_added(sender);
		} else if (export_sender_pausing(sender)) {
			dropped++;
		} else {
			break;
		}
		tracer_release(tracer);
		taken++;
	}
	export_sender_drop(sender, dropped, "queue_full");
	return taken;
}

/* What the rings themselves could not hold. */
static void count_ring_drops(struct export *export)
{
	uint64_t dropped = 0;

	for (size_t i = 0; i < export->tracer_count; i++)
		dropped += tracer_dropped(export->tracers[i]);
	series_add(meter_own(export->observer.meter, METRIC_spans_dropped, (size_t)1,
			     SLICE("ring_full")),
		   (double)(dropped - export->spans_dropped));
	export->spans_dropped = dropped;
}

static size_t take_spans(struct export *export)
{
	size_t taken = 0;

	if (export->traces == NULL)
		return 0;
	for (size_t i = 0; i < export->tracer_count; i++)
		taken += take_spans_of(export, export->tracers[i]);
	count_ring_drops(export);
	return taken;
}

static void on_look(void *context)
{
	struct export *export = context;
	size_t taken = take_spans(export);
	int delay_ms = export->config->spans.delay_ms;
	int wait_ms = taken >= export->config->spans.batch_max ? LOOK_BUSY_MS : LOOK_MS;

	if (delay_ms < wait_ms)
		wait_ms = delay_ms > LOOK_BUSY_MS ? delay_ms : LOOK_BUSY_MS;
	timer_start(export->loop, &export->look,
		    mono_after_ms(loop_now(export->loop), wait_ms), on_look, export);
}

/* --- metrics ---------------------------------------------------------------------- */

static void take_metrics(struct export *export)
{
	if (export->measures == NULL)
		return;
	if (export->measure)
		export->measure(export->measure_context, export->observer.meter);
	otlp_add_metrics(export_sender_batch(export->measures), export->metrics,
			 export->began, clock_wall());
	export_sender_flush(export->measures);
}

static void on_measure(void *context)
{
	struct export *export = context;

	take_metrics(export);
	timer_start(
		export->loop, &export->measure_timer,
		mono_after_ms(loop_now(export->loop), export->config->metric_interval_ms),
		on_measure, export);
}

/* --- ending ----------------------------------------------------------------------- */

static struct export_sender *sender_at(struct export *export, int index)
{
	return index == 0   ? export->traces
	       : index == 1 ? export->log_records
			    : export->measures;
}

static bool senders_idle(struct export *export)
{
	for (int i = 0; i < SENDERS; i++)
		if (sender_at(export, i) && !export_sender_idle(sender_at(export, i)))
			return false;
	return true;
}

/* After each post: the rings may have waited for room, and the end for the last answer.
 */
static void on_progress(void *context)
{
	struct export *export = context;

	if (!export->draining)
		take_spans(export);
	else if (senders_idle(export))
		loop_stop(export->loop);
}

static void on_end(void *context)
{
	struct export *export = context;

	for (int i = 0; i < SENDERS; i++)
		if (sender_at(export, i))
			export_sender_abandon(sender_at(export, i));
	loop_stop(export->loop);
}

/* The last metrics go last, so that they tell of everything before. */
static void begin_drain(struct export *export)
{
	export->draining = true;
	timer_stop(export->loop, &export->gather);
	timer_stop(export->loop, &export->look);
	timer_stop(export->loop, &export->measure_timer);
	timer_start(export->loop, &export->end, export->stop_by, on_end, export);
	for (int i = 0; i < SENDERS; i++)
		if (sender_at(export, i))
			export_sender_drain(sender_at(export, i), export->stop_by);
	take_spans(export);
	while (take_logs(export, 0))
		;
	if (export->traces)
		export_sender_flush(export->traces);
	if (export->log_records)
		export_sender_flush(export->log_records);
	take_metrics(export);
	if (senders_idle(export))
		loop_stop(export->loop);
}

static void on_bell(void *context, bool readable, bool writable)
{
	struct export *export = context;
	uint64_t rings;

	(void)!read(export->bell, &rings, sizeof(rings));
	if (export->draining)
		return;
	if (atomic_load(&export->stopping))
		begin_drain(export);
	else if (!timer_started(&export->gather))
		timer_start(export->loop, &export->gather,
			    mono_after_ms(loop_now(export->loop), GATHER_MS), on_gathered,
			    export);
}

/* --- the thread ------------------------------------------------------------------- */

static struct export_sender *make_sender(struct export *export, enum otel_signal which,
					 enum otlp_signal signal, struct otel_batch batch)
{
	struct export_sender_config config = {
		.loop = export->loop,
		.client = export->client,
		.signal = signal,
		.exporter = &export->config->exporters[which],
		.batch = batch,
		.resource = export->resource.attrs,
		.resource_count = export->resource.count,
		.give_up_ms = export->give_up_ms,
		.backoff_ms = export->backoff_ms,
		.progressed = on_progress,
		.context = export,
	};

	return config.exporter->on ? export_sender_create(&config) : NULL;
}

static void make_senders(struct export *export)
{
	const struct otel_config *config = export->config;
	struct http_client_config client = {
		.connections_max = SENDERS,
		.idle_max = SENDERS,
		.idle_timeout_ms = 60000,
		.connect_timeout_ms = 5000,
		.waiting_max = SENDERS * 2,
		.response_size_max = RESPONSE_SIZE_MAX,
	};
	struct otel_batch metrics = { .timeout_ms = config->metric_timeout_ms,
				      .queue_max = SIZE_MAX,
				      .batch_max = SIZE_MAX };

	if (!otel_exports(config))
		return;
	export->client = http_client_create(export->loop, &client);
	export->traces = make_sender(export, OTEL_traces, OTLP_traces, config->spans);
	export->log_records = make_sender(export, OTEL_logs, OTLP_logs, config->logs);
	export->measures = make_sender(export, OTEL_metrics, OTLP_metrics, metrics);
}

static void start_timers(struct export *export)
{
	struct mono now = loop_now(export->loop);

	timer_start(export->loop, &export->gather, now, on_gathered, export);
	if (export->traces)
		timer_start(export->loop, &export->look, now, on_look, export);
	if (export->measures)
		timer_start(export->loop, &export->measure_timer,
			    mono_after_ms(now, export->config->metric_interval_ms),
			    on_measure, export);
}

/* Lines of the end itself, as far as the time allows. */
static void write_last_lines(struct export *export)
{
	struct mono now;
	bool any;

	do {
		now = clock_mono();
		any = take_logs(export, mono_left_ms(now, export->stop_by));
	} while ((any || export->lines.pending.size > 0) && now.ns < export->stop_by.ns);
}

static void run(void *context)
{
	struct export *export = context;

	struct meter *meter = export->observer.meter;

	/* The series of loops tell of workers; this loop is not to be among them. */
	export->observer.meter = NULL;
	export->loop = loop_create(&export->observer, &export->chaos);
	export->observer.meter = meter;
	export->bell_fd = loop_fd_create(export->loop, export->bell, on_bell, export);
	loop_fd_want(export->bell_fd, true, false);
	make_senders(export);
	start_timers(export);
	loop_run(export->loop);
	http_client_destroy(export->client);
	for (int i = 0; i < SENDERS; i++)
		export_sender_destroy(sender_at(export, i));
	export->traces = export->log_records = export->measures = NULL;
	write_last_lines(export);
	loop_fd_destroy(export->bell_fd);
	loop_destroy(export->loop);
}

static struct slice resource_text(const struct export_resource *resource,
				  struct slice key)
{
	for (size_t i = 0; i < resource->count; i++)
		if (slice_equal(resource->attrs[i].key, key))
			return resource->attrs[i].text;
	return SLICE("");
}

/* So that what is scraped of a process can be joined with its spans. */
static void tell_target(struct export *export)
{
	const struct export_resource *resource = &export->resource;

	series_set(meter_own(export->observer.meter, METRIC_target_info, 2,
			     resource_text(resource, SLICE("service.name")),
			     resource_text(resource, SLICE("service.instance.id"))),
		   1);
}

/* --- life ------------------------------------------------------------------------- */

struct export *export_create(const struct otel_config *config, struct metrics *metrics,
			     enum log_severity minimum)
{
	static const struct tracer_config silent = { .sampler = SAMPLER_always_off };
	struct export *export = mem_zeroed(1, sizeof(*export));

	export->config = config;
	export->metrics = metrics;
	export->began = clock_wall();
	export->gather_ms = GATHER_MS;
	export->give_up_ms = 60000;
	export->backoff_ms = 1000;
	export->lines.fd = STDOUT_FILENO;
	export->bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	check(export->bell >= 0);
	export->logs = log_hub_create(minimum, ring_bell, export);
	export->observer =
		(struct observer){ log_create(export->logs, LOG_RING_BYTES),
				   meter_create(metrics), tracer_create(&silent, 1) };
	export_resource_init(&export->resource, config);
	tell_target(export);
	return export;
}

struct log_hub *export_logs(struct export *export)
{
	return export->logs;
}

void export_on_measure(struct export *export, export_measure_fn *measure, void *context)
{
	export->measure = measure;
	export->measure_context = context;
}

void export_lines_to(struct export *export, int fd)
{
	export->lines.fd = fd;
}

void export_lines_as(struct export *export, enum log_dialect dialect)
{
	export->dialect = dialect;
}

void export_patience(struct export *export, int give_up_ms, int backoff_ms)
{
	export->give_up_ms = give_up_ms;
	export->backoff_ms = backoff_ms;
}

bool export_start(struct export *export, struct tracer *const *tracers, size_t count,
		  struct fault *why)
{
	export->tracers = mem_copy(tracers, count * sizeof(*tracers));
	export->tracer_count = count;
	export->thread = thread_start("telemetry", run, export);
	return true;
}

void export_stop(struct export *export, int deadline_ms)
{
	if (export == NULL)
		return;
	export->stop_by = mono_after_ms(clock_mono(), deadline_ms);
	if (export->thread == NULL) {
		write_last_lines(export);
		return;
	}
	atomic_store(&export->stopping, true);
	ring_bell(export);
	thread_join(export->thread);
	export->thread = NULL;
}

void export_destroy(struct export *export)
{
	if (export == NULL)
		return;
	check(export->thread == NULL);
	export_lines_finish(&export->lines);
	export_resource_finish(&export->resource);
	tracer_destroy(export->observer.tracer);
	log_hub_destroy(export->logs);
	close(export->bell);
	free(export->tracers);
	free(export);
}
