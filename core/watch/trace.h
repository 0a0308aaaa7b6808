/* SPDX-License-Identifier: MIT */
/* trace.h -- W3C Trace Context, spans, sampling.
 *
 * A struct tracer belongs to one thread. Spans come from its free list; span_end writes a
 * finished, sampled span into the tracer's ring, from which another thread encodes OTLP
 * (otlp.h). A span that is not sampled costs its ids and nothing more: attributes are not
 * kept. When the ring is full the span is dropped and counted; the request never waits.
 *
 *   span_start -> span_attr*, span_link*, span_fail? -> span_end
 *
 * Sampling follows OTEL_TRACES_SAMPLER; ratio sampling compares the last 7 bytes of the
 * trace id with the threshold, as OpenTelemetry's consistent probability sampling does.
 */
#ifndef WATCH_TRACE_H
#define WATCH_TRACE_H

#include "base/buf.h"
#include "base/clock.h"
#include "watch/attr.h"

#define TRACE_FLAG_SAMPLED 0x01
#define TRACE_FLAG_RANDOM 0x02
#define TRACEPARENT_SIZE 56 /* 55 characters and a NUL */

struct trace_context {
	uint8_t trace_id[16];
	uint8_t span_id[8];
	uint8_t flags;
	bool remote; /* came from another process */
	uint32_t generation; /* of the service, that it began in; 0: unknown */
	struct slice state; /* tracestate as received and valid; borrowed by every span
			       below it */
};

enum span_kind {
	SPAN_internal = 1,
	SPAN_server,
	SPAN_client,
	SPAN_producer,
	SPAN_consumer
};

enum sampler {
	SAMPLER_always_on,
	SAMPLER_always_off,
	SAMPLER_traceidratio,
	SAMPLER_parentbased_always_on,
	SAMPLER_parentbased_always_off,
	SAMPLER_parentbased_traceidratio
};

struct tracer_config {
	enum sampler sampler;
	double ratio; /* for the ratio samplers, 0 to 1 */
	bool recording; /* false: nobody exports; contexts are still made and passed on */
	size_t ring_bytes;
	unsigned attrs_max; /* per span; OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT; 0: 128 */
};

/* traceparent: exactly one header value. False: no valid parent; *parent is zeroed. */
bool trace_parse(struct slice traceparent, struct slice tracestate,
		 struct trace_context *parent);
void trace_format(const struct trace_context *context, char text[TRACEPARENT_SIZE]);

/* Lower-case hex, terminated. */
void trace_id_text(const struct trace_context *context, char text[33]);

struct tracer;
struct span;

struct tracer *tracer_create(const struct tracer_config *config, uint64_t seed);
void tracer_destroy(struct tracer *tracer);

/* Of the spans to come; 0, as at first: none. A span below a local parent that has one
 * keeps its parent's instead. Exported as the attribute orrery.generation. */
void tracer_set_generation(struct tracer *tracer, uint32_t generation);

/* Never NULL. parent NULL: a new trace. name is copied. The context's tracestate is
 * borrowed until span_end. */
struct span *span_start(struct tracer *tracer, enum span_kind kind, struct slice name,
			const struct trace_context *parent);

/* Borrowed until span_end. */
const struct trace_context *span_context(const struct span *span);
bool span_recording(const struct span *span);

/* All copy; all do nothing on a span that is not recording. Texts are cut at 1 KiB, names
 * and messages at 256 bytes. A span holds about 1.8 KiB of attributes and links; the rest
 * is counted as dropped_attributes_count and dropped_links_count. */
void span_rename(struct span *span, struct slice name);

/* The same key again replaces nothing: give it once. */
void span_attr(struct span *span, struct attr attr);
void span_link(struct span *span, const struct trace_context *to);

/* Status Error and the attribute error.type; message may be empty. Once: the first call
 * counts. */
void span_fail(struct span *span, struct slice error_type, struct slice message);

/* Takes the span. NULL is allowed. */
void span_end(struct span *span);

/* --- looking on, for tests -------------------------------------------------------- */

/* A recorded span as it ends. */
struct span_view {
	enum span_kind kind;
	struct slice name;
	const struct trace_context *context;
	const uint8_t *parent_id; /* 8 bytes; NULL: it has no parent */
	bool failed;
	struct slice error_type; /* empty unless failed */
	struct slice message; /* of span_fail */
	struct slice attrs; /* for span_view_attr; error.type is one of them */
};

/* Called by span_end for each recorded span, before it is written; span is borrowed
 * during the call. fn NULL, as at first: nobody looks. */
typedef void tracer_tap_fn(void *context, const struct span_view *span);
void tracer_tap(struct tracer *tracer, tracer_tap_fn *fn, void *context);

/* Cuts the first attribute off *attrs, a copy of span_view.attrs. Its texts are borrowed
 * from the view. False: there is none. */
bool span_view_attr(struct slice *attrs, struct attr *attr);

/* --- reading side, another thread ------------------------------------------------- */

/* One finished span in encoded form: an OTLP Span message without its tag and length,
 * borrowed until tracer_release. */
bool tracer_peek(struct tracer *tracer, struct slice *otlp_span);
void tracer_release(struct tracer *tracer);
uint64_t tracer_dropped(const struct tracer *tracer);

#endif
