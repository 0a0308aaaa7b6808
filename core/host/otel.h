/* SPDX-License-Identifier: MIT */
/* otel.h -- the standard OTEL_* environment, read once at start.
 *
 * Export of a signal is on when an endpoint is set (general or the signal's own) or
 * OTEL_<SIGNAL>_EXPORTER names otlp; otherwise off: no collector is assumed. What is
 * unusable in a way that would lose telemetry silently is refused at start: another
 * protocol than http/protobuf, an https or malformed endpoint. Everything else that
 * cannot be used is a warning and its default holds. Empty means unset.
 *
 * Not there, with a warning when set: console and zipkin exporters, certificates, delta
 * temporality, exponential histograms, other propagators than tracecontext, value length
 * limits.
 */
#ifndef HOST_OTEL_H
#define HOST_OTEL_H

#include "base/arena.h"
#include "base/fault.h"
#include "http/request.h"
#include "watch/attr.h"
#include "watch/trace.h"

enum otel_signal { OTEL_traces, OTEL_metrics, OTEL_logs, OTEL_signals };

#define OTEL_HEADERS_MAX 32
#define OTEL_RESOURCE_MAX 64
#define OTEL_WARNINGS_MAX 32

struct otel_exporter {
	bool on;
	struct slice url; /* where to post */
	struct http_header headers[OTEL_HEADERS_MAX];
	size_t header_count;
	int timeout_ms; /* of one attempt; 0: no limit */
	bool gzip;
};

struct otel_batch { /* OTEL_BSP_*, OTEL_BLRP_* */
	int delay_ms;
	int timeout_ms; /* of one attempt, beside the exporter's; 0: no limit */
	size_t queue_max; /* items */
	size_t batch_max; /* items; <= queue_max */
};

struct otel_config { /* texts live in the arena */
	struct arena arena;
	bool disabled; /* OTEL_SDK_DISABLED: nothing is exported, contexts still pass */
	struct slice service_name;
	struct slice environment; /* deployment.environment.name; set by the host */
	struct otel_exporter exporters[OTEL_signals];
	struct otel_batch spans, logs;
	int metric_interval_ms, metric_timeout_ms;
	enum sampler sampler;
	double sampler_ratio;
	unsigned span_attrs_max;
	/* Of OTEL_RESOURCE_ATTRIBUTES, service.name not among them. */
	struct attr resource[OTEL_RESOURCE_MAX];
	size_t resource_count;
	struct slice warnings[OTEL_WARNINGS_MAX]; /* for the log, one sentence each */
	size_t warning_count;
};

/* NULL when the variable is not set; the text is borrowed during otel_config_read. */
typedef const char *otel_getenv_fn(void *context, const char *name);

/* The environment of this process. */
const char *otel_getenv(void *context, const char *name);

/* service_name counts when the environment gives none. On false, why names the variable;
 * finish the config all the same. */
bool otel_config_read(struct otel_config *config, struct slice service_name,
		      otel_getenv_fn *getenv, void *context, struct fault *why);
void otel_config_finish(struct otel_config *config);

static inline bool otel_exports(const struct otel_config *config)
{
	return config->exporters[OTEL_traces].on || config->exporters[OTEL_metrics].on ||
	       config->exporters[OTEL_logs].on;
}

/* How each thread's tracer is to be made. */
struct tracer_config otel_tracer_config(const struct otel_config *config,
					size_t ring_bytes);

#endif
