/* SPDX-License-Identifier: MIT */
/* prometheus.h -- the registry as Prometheus text 0.0.4 or OpenMetrics 1.0.
 *
 * The served-requests instrument (METRIC_http_server_request: method, endpoint, status)
 * is written in the words of a dialect: default
 * http_requests_total{method,endpoint,status} and
 *               http_request_duration_seconds{method,endpoint}
 *   micrometer  http_server_requests_seconds{method,uri,status}
 * Everything else is written as it is declared.
 */
#ifndef WATCH_PROMETHEUS_H
#define WATCH_PROMETHEUS_H

#include "base/buf.h"

struct metrics;

enum prometheus_format { PROMETHEUS_text, PROMETHEUS_openmetrics };
enum prometheus_dialect { PROMETHEUS_default, PROMETHEUS_micrometer };

/* Which format an Accept header asks for; empty: text. */
enum prometheus_format prometheus_negotiate(struct slice accept);

/* The Content-Type of a format. */
struct slice prometheus_content_type(enum prometheus_format format);

/* Appends the whole exposition. */
void prometheus_write(struct buf *out, struct metrics *metrics,
		      enum prometheus_format format, enum prometheus_dialect dialect);

#endif
