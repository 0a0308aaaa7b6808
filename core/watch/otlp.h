/* SPDX-License-Identifier: MIT */
/* otlp.h -- spans, log records and metrics as OTLP protobuf bytes. It sends nothing.
 *
 * Field numbers: opentelemetry-proto 1.x. A batch is built in a buf: otlp_begin, then
 * items, then otlp_end, which gives the whole Export...ServiceRequest.
 */
#ifndef WATCH_OTLP_H
#define WATCH_OTLP_H

#include "base/buf.h"
#include "base/clock.h"
#include "watch/attr.h"

struct log_record;
struct metrics;

enum otlp_signal { OTLP_traces, OTLP_logs, OTLP_metrics };

struct otlp_batch {
	enum otlp_signal signal;
	struct buf items; /* the ScopeX members, encoded */
	size_t count;
};

/* Each adds one item; copies. A span is as tracer_peek gives it; metrics are all
 * families, cumulative since began (nothing is added when none has a series). */
void otlp_add_span(struct otlp_batch *batch, struct slice encoded_span);
void otlp_add_log(struct otlp_batch *batch, const struct log_record *record);
void otlp_add_metrics(struct otlp_batch *batch, struct metrics *metrics,
		      struct wall began, struct wall now);

/* Appends the request message to out and empties the batch. resource: the attributes of
 * the process. */
void otlp_finish(struct otlp_batch *batch, const struct attr *resource,
		 size_t resource_count, struct buf *out);
void otlp_batch_finish(struct otlp_batch *batch); /* frees */

/* Compresses for Content-Encoding: gzip (zlib). */
void otlp_gzip(struct buf *out, struct slice plain);

/* Reads an Export...ServiceResponse: how many items were rejected, and the message
 * (borrowed from body). */
bool otlp_read_response(struct slice body, uint64_t *rejected, struct slice *message);

#endif
