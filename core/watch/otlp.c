/* SPDX-License-Identifier: MIT */
/* otlp.c -- the three Export...ServiceRequest messages, and reading their responses.
 *
 * Spans come encoded (trace.c); here they are only framed. Metrics are in otlp_metrics.c.
 * Field numbers are those of opentelemetry-proto 1.x; the three signals number their
 * envelopes alike.
 */
#include "watch/otlp.h"

#include "base/check.h"
#include "watch/log.h"
#include "watch/wire.h"

#include <zlib.h>

enum { REQUEST_resource_items = 1 };
enum { RESOURCE_ITEMS_resource = 1, RESOURCE_ITEMS_scope_items = 2 };
enum { RESOURCE_attributes = 1 };
enum { SCOPE_ITEMS_scope = 1, SCOPE_ITEMS_items = 2 };
enum { SCOPE_name = 1 };
enum { ANY_string = 1 };
enum {
	LOG_RECORD_time = 1,
	LOG_RECORD_severity_number = 2,
	LOG_RECORD_severity_text = 3,
	LOG_RECORD_body = 5,
	LOG_RECORD_attributes = 6,
	LOG_RECORD_flags = 8,
	LOG_RECORD_trace_id = 9,
	LOG_RECORD_span_id = 10,
	LOG_RECORD_observed_time = 11
};

void otlp_add_span(struct otlp_batch *batch, struct slice encoded_span)
{
	check(batch->signal == OTLP_traces);
	wire_put_bytes(&batch->items, SCOPE_ITEMS_items, encoded_span);
	batch->count++;
}

void otlp_add_log(struct otlp_batch *batch, const struct log_record *record)
{
	struct buf *out = &batch->items;
	size_t item, body;

	check(batch->signal == OTLP_logs);
	item = wire_open(out, SCOPE_ITEMS_items);
	wire_put_fixed64(out, LOG_RECORD_time, (uint64_t)record->time.ns);
	wire_put_number(out, LOG_RECORD_severity_number, record->severity);
	wire_put_bytes(out, LOG_RECORD_severity_text,
		       slice_text(log_severity_name(record->severity)));
	body = wire_open(out, LOG_RECORD_body);
	wire_put_text(out, ANY_string, record->message);
	wire_close(out, body);
	if (record->generation > 0) {
		struct attr generation =
			attr_integer(SLICE("orrery.generation"), record->generation);

		wire_put_attr(out, LOG_RECORD_attributes, &generation);
	}
	for (size_t i = 0; i < record->attr_count; i++)
		wire_put_attr(out, LOG_RECORD_attributes, &record->attrs[i]);
	if (record->in_trace) {
		wire_put_fixed32(out, LOG_RECORD_flags, record->trace_flags);
		wire_put_bytes(out, LOG_RECORD_trace_id,
			       slice_of((const char *)record->trace_id,
					sizeof(record->trace_id)));
		wire_put_bytes(
			out, LOG_RECORD_span_id,
			slice_of((const char *)record->span_id, sizeof(record->span_id)));
	}
	wire_put_fixed64(out, LOG_RECORD_observed_time, (uint64_t)record->time.ns);
	wire_close(out, item);
	batch->count++;
}

void otlp_finish(struct otlp_batch *batch, const struct attr *resource,
		 size_t resource_count, struct buf *out)
{
	size_t resource_items = wire_open(out, REQUEST_resource_items), opened, scope;

	opened = wire_open(out, RESOURCE_ITEMS_resource);
	for (size_t i = 0; i < resource_count; i++)
		wire_put_attr(out, RESOURCE_attributes, &resource[i]);
	wire_close(out, opened);
	opened = wire_open(out, RESOURCE_ITEMS_scope_items);
	scope = wire_open(out, SCOPE_ITEMS_scope);
	wire_put_bytes(out, SCOPE_name, SLICE("orrery"));
	wire_close(out, scope);
	buf_append(out, buf_slice(&batch->items));
	wire_close(out, opened);
	wire_close(out, resource_items);
	buf_reset(&batch->items);
	batch->count = 0;
}

void otlp_batch_finish(struct otlp_batch *batch)
{
	buf_finish(&batch->items);
	batch->count = 0;
}

void otlp_gzip(struct buf *out, struct slice plain)
{
	z_stream stream = { 0 };
	size_t most;

	/* 15 bits of window; 16 more ask for gzip's own header. */
	check(deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, 15 + 16, 8,
			   Z_DEFAULT_STRATEGY) == Z_OK);
	check(plain.size <= UINT32_MAX);
	most = deflateBound(&stream, plain.size);
	stream.next_in = (Bytef *)(uintptr_t)plain.at;
	stream.avail_in = (uInt)plain.size;
	stream.next_out = (Bytef *)buf_reserve(out, most);
	stream.avail_out = (uInt)most;
	check(deflate(&stream, Z_FINISH) == Z_STREAM_END);
	out->size += stream.total_out;
	deflateEnd(&stream);
}

/* From another process, so nothing in it is believed. */
bool otlp_read_response(struct slice body, uint64_t *rejected, struct slice *message)
{
	struct slice partial = { 0 };
	struct wire_field field;

	*rejected = 0;
	*message = (struct slice){ 0 };
	while (body.size > 0) {
		if (!wire_read(&body, &field))
			return false;
		if (field.number == 1 && field.type == WIRE_BYTES)
			partial = field.bytes;
	}
	while (partial.size > 0) {
		if (!wire_read(&partial, &field))
			return false;
		if (field.number == 1 && field.type == WIRE_VARINT)
			*rejected = field.value;
		if (field.number == 2 && field.type == WIRE_BYTES)
			*message = field.bytes;
	}
	return true;
}
