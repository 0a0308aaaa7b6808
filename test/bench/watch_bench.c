/* SPDX-License-Identifier: MIT */
/* watch_bench.c -- what recording costs, in nanoseconds a call: the budgets that the
 * heads of meter.c, trace.c and log.c state. The rings are drained as they fill, outside
 * the clock.
 *
 *     cc -O2 -std=gnu11 -D_GNU_SOURCE -Icore -o /tmp/watch_bench \
 *        test/bench/watch_bench.c build/release/liborrery_{watch,base}.a \
 *        -lz -lm -lpthread && /tmp/watch_bench
 */
#include "base/random.h"
#include "watch/log.h"
#include "watch/metrics.h"
#include "watch/trace.h"

#include <stdio.h>

#define CALLS 1000
#define ROUNDS 400

struct bench {
	struct meter *meter;
	struct metrics *metrics;
	struct series *counter;
	struct series *histogram;
	struct series *summary;
	struct tracer *tracer;
	struct tracer *deaf; /* samples nothing */
	struct log_hub *hub;
	struct log *log;
};

static const struct slice methods[] = { { "GET", 3 }, { "POST", 4 } };
static const struct slice routes[] = { { "/api/v1/orders", 14 },
				       { "/api/v1/orders/:id", 18 },
				       { "/api/v1/inventory/:sku", 22 },
				       { "/health", 7 } };
static const struct slice statuses[] = {
	{ "200", 3 }, { "201", 3 }, { "409", 3 }, { "503", 3 }
};

static void add(struct bench *bench, int i)
{
	series_add(bench->counter, 1);
}

static void observe(struct bench *bench, int i)
{
	series_observe(bench->histogram, 0.003);
}

static void observe_summary(struct bench *bench, int i)
{
	series_observe(bench->summary, 0.001 * (1 + (i & 63)));
}

static void find_and_observe(struct bench *bench, int i)
{
	struct slice values[] = { methods[i & 1], routes[i >> 1 & 3],
				  statuses[i >> 3 & 3] };

	series_observe(
		meter_series(bench->meter,
			     metrics_own(bench->metrics, METRIC_http_server_request),
			     values, 3),
		0.003);
}

static void run_span(struct tracer *tracer)
{
	struct span *span =
		span_start(tracer, SPAN_server, SLICE("POST /api/v1/orders"), NULL);

	span_attr(span, attr_text(SLICE("http.request.method"), SLICE("POST")));
	span_attr(span, attr_text(SLICE("http.route"), SLICE("/api/v1/orders")));
	span_attr(span, attr_text(SLICE("url.path"), SLICE("/api/v1/orders")));
	span_attr(span, attr_text(SLICE("url.scheme"), SLICE("http")));
	span_attr(span, attr_integer(SLICE("http.response.status_code"), 201));
	span_attr(span, attr_text(SLICE("client.address"), SLICE("127.0.0.1")));
	span_attr(span, attr_text(SLICE("user_agent.original"), SLICE("curl/7.88.1")));
	span_attr(span, attr_text(SLICE("network.protocol.version"), SLICE("1.1")));
	span_end(span);
}

static void whole_span(struct bench *bench, int i)
{
	run_span(bench->tracer);
}

static void unsampled_span(struct bench *bench, int i)
{
	run_span(bench->deaf);
}

static void write_log(struct bench *bench, int i)
{
	static const struct trace_context trace = { .flags = 1 };
	struct attr attrs[] = {
		attr_text(SLICE("method"), SLICE("POST")),
		attr_text(SLICE("route"), SLICE("/api/v1/orders")),
		attr_text(SLICE("path"), SLICE("/api/v1/orders")),
		attr_integer(SLICE("status"), 201),
		attr_double(SLICE("duration_s"), 0.0123),
		attr_text(SLICE("kind"), SLICE("refused")),
	};

	log_write(bench->log, LOG_info, &trace, SLICE("request"), attrs, 6);
}

static void ignore(void *context, const struct log_record *record)
{
}

static void drain(struct bench *bench)
{
	struct slice encoded;

	while (tracer_peek(bench->tracer, &encoded))
		tracer_release(bench->tracer);
	log_hub_drain(bench->hub, SIZE_MAX, ignore, NULL);
}

static void wake(void *context)
{
}

/* The best round: what the machine does besides is not what is measured. */
static void measure(struct bench *bench, const char *what,
		    void (*call)(struct bench *, int))
{
	double best = 1e9, sum = 0;

	for (int round = 0; round < ROUNDS; round++) {
		struct mono from = clock_mono(), to;
		double each;

		for (int i = 0; i < CALLS; i++)
			call(bench, i);
		to = clock_mono();
		each = (double)(to.ns - from.ns) / CALLS;
		best = each < best ? each : best;
		sum += each;
		drain(bench);
	}
	printf("%-40s %8.1f best %8.1f mean\n", what, best, sum / ROUNDS);
}

int main(void)
{
	struct tracer_config config = { .sampler = SAMPLER_always_on,
					.recording = true,
					.ring_bytes = 1 << 22 };
	struct metric_def summary = { .type = METRIC_summary,
				      .name = SLICE("bench_seconds"),
				      .help = SLICE("Durations.") };
	struct bench bench = { .metrics = metrics_create() };

	bench.meter = meter_create(bench.metrics);
	bench.counter = meter_own(bench.meter, METRIC_log_dropped, 0);
	bench.histogram = meter_own(bench.meter, METRIC_loop_lag, 0);
	bench.summary = meter_series(
		bench.meter, metrics_declare(bench.metrics, &summary, NULL), NULL, 0);
	bench.tracer = tracer_create(&config, 1);
	config.sampler = SAMPLER_always_off;
	bench.deaf = tracer_create(&config, 1);
	bench.hub = log_hub_create(LOG_info, wake, NULL);
	bench.log = log_create(bench.hub, 1 << 22);
	measure(&bench, "counter add", add);
	measure(&bench, "histogram observe", observe);
	measure(&bench, "summary observe", observe_summary);
	measure(&bench, "series by 3 labels, then observe", find_and_observe);
	measure(&bench, "span: start, 8 attributes, end", whole_span);
	measure(&bench, "the same, not sampled", unsampled_span);
	measure(&bench, "log_write with 6 attributes", write_log);
	printf("dropped: %llu spans, %llu records\n",
	       (unsigned long long)tracer_dropped(bench.tracer),
	       (unsigned long long)log_hub_dropped(bench.hub));
	log_hub_destroy(bench.hub);
	tracer_destroy(bench.tracer);
	tracer_destroy(bench.deaf);
	metrics_destroy(bench.metrics);
	return 0;
}
