/* SPDX-License-Identifier: MIT */
#include "http/client_record.h"

#include "base/number.h"
#include "http/client_request.h"
#include "watch/metrics.h"
#include "watch/observer.h"
#include "watch/trace.h"

struct slice client_record_method(struct slice method)
{
	return client_request_known(method) ? method : SLICE("_OTHER");
}

static void describe_slow(struct span *span, const struct client_record *record,
			  struct slice error)
{
	const struct fault *why = record->why;

	if (record->status) {
		span_attr(span, attr_integer(SLICE("http.response.status_code"),
					     record->status));
		span_attr(span,
			  attr_text(SLICE("network.protocol.version"), SLICE("1.1")));
	}
	if (error.size && !(why && why->kind == FAULT_cancelled))
		span_fail(span, error, why ? slice_text(why->detail) : SLICE(""));
}

void client_record_end(const struct observer *observer, struct span *span,
		       const struct client_record *record)
{
	struct slice code = { 0 }, error = { 0 };
	char text[NUMBER_SIZE];

	if (record->status)
		code = slice_of(text, number_integer(record->status, text));
	if (record->why)
		error = slice_text(fault_name(record->why->kind));
	else if (record->status >= 400)
		error = code;
	series_observe(meter_own(observer->meter, METRIC_http_client_duration, (size_t)4,
				 record->method, record->server, code, error),
		       mono_seconds(record->began, clock_mono()));
	if (span && span_recording(span))
		describe_slow(span, record, error);
	span_end(span);
}
