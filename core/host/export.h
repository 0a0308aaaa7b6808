/* SPDX-License-Identifier: MIT */
/* export.h -- the telemetry thread: log lines to standard output, OTLP to a collector.
 *
 * It alone reads the rings of logs and spans, and it alone may wait: for standard output,
 * for the collector. Workers never do; when this thread cannot keep up their rings fill,
 * and they drop and count.
 *
 *     created --export_start--> running --export_stop--> stopped
 *
 * While nobody logs and nothing is exported it sleeps. A log record wakes it; it then
 * gathers for GATHER_MS, so that a burst is one write. Its own calls to the collector
 * have no spans.
 */
#ifndef HOST_EXPORT_H
#define HOST_EXPORT_H

#include "base/fault.h"
#include "host/otel.h"
#include "watch/log.h"

struct export;
struct log_hub;
struct meter;
struct metrics;
struct tracer;

/* Borrows config and metrics. Makes the log hub of the process, which takes records from
 * now on. */
struct export *export_create(const struct otel_config *config, struct metrics *metrics,
			     enum log_severity minimum);

/* Borrowed until export_destroy. */
struct log_hub *export_logs(struct export *export);

/* Called on the telemetry thread before each metrics export, to record what is measured
 * only when somebody asks. Before export_start. */
typedef void export_measure_fn(void *context, struct meter *meter);
void export_on_measure(struct export *export, export_measure_fn *measure, void *context);

/* Where lines go, instead of standard output. Before export_start. */
void export_lines_to(struct export *export, int fd);

/* The dialect of the lines, instead of the default one. Before export_start. */
void export_lines_as(struct export *export, enum log_dialect dialect);

/* Patience with the collector instead of 60000 and 1000. Before export_start. */
void export_patience(struct export *export, int give_up_ms, int backoff_ms);

/* Copies the list; borrows the tracers, whose rings are read from now on. */
bool export_start(struct export *export, struct tracer *const *tracers, size_t count,
		  struct fault *why);

/* Nobody records any more, or what comes now may be lost: drains everything, sends what
 * can be sent within deadline_ms, and ends the thread. When it never started, only writes
 * the lines. NULL is allowed. */
void export_stop(struct export *export, int deadline_ms);

/* Stopped, or never started. NULL is allowed. Destroys the log hub. */
void export_destroy(struct export *export);

#endif
