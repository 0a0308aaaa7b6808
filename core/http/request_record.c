/* SPDX-License-Identifier: MIT */
#include "http/request_record.h"

#include "base/check.h"
#include "http/request.h"
#include "watch/log.h"
#include "watch/metrics.h"
#include "watch/observer.h"
#include "watch/trace.h"

#include <stdio.h>

/* --- series ----------------------------------------------------------------------- */

static struct series *find_series(const struct observer *observer, struct slice method,
				  struct slice endpoint, int status)
{
	char text[12];
	int size = snprintf(text, sizeof(text), "%d", status);

	return meter_own(observer->meter, METRIC_http_server_request, 3, method, endpoint,
			 slice_of(text, (size_t)size));
}

/* The series of a route, method and status, kept with the route. */
static struct series *route_series(const struct request_record *record,
				   const struct observer *observer, int status)
{
	struct request_route *route = record->route;
	struct slice method = record->method;

	for (size_t i = 0; route && i < REQUEST_SERIES_KEPT; i++) {
		if (route->kept[i].status == status &&
		    route->kept[i].method == method.at)
			return route->kept[i].series;
		if (!route->kept[i].status) {
			route->kept[i].status = status;
			route->kept[i].method = method.at;
			return route->kept[i].series = find_series(
				       observer, method, record->endpoint, status);
		}
	}
	return find_series(observer, method, record->endpoint, status);
}

/* A method becomes a label and part of a span's name: only the known ones do. */
static struct slice label_of_method(struct slice method)
{
	static const struct slice known[] = {
		{ "GET", 3 },	 { "POST", 4 }, { "PUT", 3 },	  { "PATCH", 5 },
		{ "DELETE", 6 }, { "HEAD", 4 }, { "OPTIONS", 7 },
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
		if (slice_equal(method, known[i]))
			return known[i];
	return SLICE("HTTP");
}

void request_record_count(const struct observer *observer, struct slice method,
			  struct slice endpoint, int status, double seconds)
{
	series_observe(find_series(observer, label_of_method(method), endpoint, status),
		       seconds);
}

/* --- the beginning ---------------------------------------------------------------- */

/* "host", "host:port", "[::1]:port" */
static void describe_authority(struct span *span, struct slice authority)
{
	struct slice port = authority, host = { 0 };
	unsigned long long number;

	if (slice_starts_with(authority, SLICE("["))) {
		slice_cut(&port, ']', &host);
		host = slice_of(host.at + 1, host.size - 1);
		slice_cut(&port, ':', &(struct slice){ 0 });
	} else {
		slice_cut(&port, ':', &host);
	}
	if (host.size)
		span_attr(span, attr_text(SLICE("server.address"), host));
	if (slice_to_uint(port, &number) && number <= 65535)
		span_attr(span, attr_integer(SLICE("server.port"), (int64_t)number));
}

static void describe(const struct request_record *record, struct http_request *request)
{
	struct span *span = record->span;
	struct slice agent = http_request_header(request, SLICE("user-agent"));
	struct slice client = http_request_client(request);
	struct slice peer = http_request_peer(request);

	span_attr(span, attr_text(SLICE("http.request.method"), record->method));
	span_attr(span, attr_text(SLICE("url.scheme"), http_request_scheme(request)));
	span_attr(span, attr_text(SLICE("url.path"), http_request_path(request)));
	if (record->route)
		span_attr(span, attr_text(SLICE("http.route"), record->endpoint));
	describe_authority(span, http_request_authority(request));
	span_attr(span, attr_text(SLICE("client.address"), client));
	if (!slice_equal(client, peer))
		span_attr(span, attr_text(SLICE("network.peer.address"), peer));
	span_attr(span, attr_text(SLICE("network.protocol.version"),
				  slice_text(http_request_protocol(request))));
	if (agent.size)
		span_attr(span, attr_text(SLICE("user_agent.original"), agent));
}

/* The parent from traceparent and tracestate; false when there is none that is valid. */
static bool read_parent(struct request_record *record, struct http_request *request,
			struct trace_context *parent)
{
	struct slice traceparent = { 0 };
	size_t count = http_request_header_count(request);
	unsigned parents = 0;

	buf_reset(&record->state);
	for (size_t i = 0; i < count; i++) {
		struct http_header header = http_request_header_at(request, i);

		if (slice_equal(header.name, SLICE("traceparent"))) {
			traceparent = header.value;
			parents++;
		} else if (slice_equal(header.name, SLICE("tracestate"))) {
			if (record->state.size)
				buf_append_byte(&record->state, ',');
			buf_append(&record->state, header.value);
		}
	}
	return parents == 1 &&
	       trace_parse(traceparent, buf_slice(&record->state), parent);
}

/* "GET /orders/:id": kept with the route, but for HEAD. */
static struct slice span_name(const struct request_record *record, char *text,
			      size_t size)
{
	int length;

	if (!record->route)
		return record->method;
	if (record->route->title.size &&
	    slice_equal(record->method, record->route->method))
		return record->route->title;
	length = snprintf(text, size, "%.*s %.*s", SLICE_PRINT(record->method),
			  SLICE_PRINT(record->endpoint));
	return slice_of(text, (size_t)length < size ? (size_t)length : size - 1);
}

void request_record_begin(struct request_record *record, const struct observer *observer,
			  struct http_request *request, struct request_route *route,
			  struct slice endpoint)
{
	struct slice path = http_request_path(request);
	struct trace_context parent;
	bool continued = read_parent(record, request, &parent);
	char name[128];

	record->began = http_request_began(request);
	record->route = route;
	record->endpoint = route ? route->path : endpoint;
	record->method = label_of_method(http_request_method(request));
	record->path_size = path.size < REQUEST_PATH_KEPT ? path.size : REQUEST_PATH_KEPT;
	memcpy(record->path, path.at, record->path_size);
	record->span = span_start(observer->tracer, SPAN_server,
				  span_name(record, name, sizeof(name)),
				  continued ? &parent : NULL);
	if (span_recording(record->span))
		describe(record, request);
}

const struct trace_context *request_record_trace(const struct request_record *record)
{
	return span_context(record->span);
}

struct slice request_record_trace_id(const struct request_record *record, char text[33])
{
	trace_id_text(span_context(record->span), text);
	return slice_of(text, 32);
}

/* --- the end ---------------------------------------------------------------------- */

static void write_log(const struct request_record *record,
		      const struct observer *observer, double seconds,
		      const struct request_end *end)
{
	struct attr attrs[10 + REQUEST_MORE_MAX];
	size_t count = 0;

	attrs[count++] = attr_text(SLICE("method"), record->method);
	attrs[count++] = attr_text(SLICE("route"), record->endpoint);
	attrs[count++] =
		attr_text(SLICE("path"), slice_of(record->path, record->path_size));
	attrs[count++] = attr_integer(SLICE("status"), end->status);
	attrs[count++] = attr_double(SLICE("duration_s"), seconds);
	if (end->why->kind) {
		attrs[count++] =
			attr_text(SLICE("kind"), slice_text(fault_name(end->why->kind)));
		attrs[count++] = attr_text(SLICE("error"), slice_text(end->why->detail));
	}
	if (end->file.size) {
		attrs[count++] = attr_text(SLICE("code.file.path"), end->file);
		attrs[count++] = attr_integer(SLICE("code.line.number"), end->line);
	}
	if (end->traceback.size)
		attrs[count++] = attr_text(SLICE("exception.stacktrace"), end->traceback);
	check(end->more_count <= REQUEST_MORE_MAX);
	for (size_t i = 0; i < end->more_count; i++)
		attrs[count++] = end->more[i];
	log_write(observer->log, end->status >= 500 ? LOG_error : LOG_info,
		  span_context(record->span), SLICE("request"), attrs, count);
}

static void end_span(struct request_record *record, const struct request_end *end)
{
	struct span *span = record->span;
	char code[12];

	span_attr(span, attr_integer(SLICE("http.response.status_code"), end->status));
	if (end->file.size) {
		span_attr(span, attr_text(SLICE("code.file.path"), end->file));
		span_attr(span, attr_integer(SLICE("code.line.number"), end->line));
	}
	if (end->status >= 500) {
		int size = snprintf(code, sizeof(code), "%d", end->status);

		span_fail(span,
			  end->why->kind ? slice_text(fault_name(end->why->kind))
					 : slice_of(code, (size_t)size),
			  slice_text(end->why->detail));
	}
	span_end(span);
	record->span = NULL;
}

void request_record_end(struct request_record *record, const struct observer *observer,
			const struct request_end *end)
{
	double seconds = mono_seconds(record->began, clock_mono());

	series_observe(route_series(record, observer, end->status), seconds);
	if (end->why->kind)
		series_add(meter_own(observer->meter, METRIC_task_faults, 1,
				     slice_text(fault_name(end->why->kind))),
			   1);
	write_log(record, observer, seconds, end);
	end_span(record, end);
}

void request_record_refused(const struct observer *observer, struct slice scheme,
			    struct slice method, const struct fault *why,
			    char trace_id[33])
{
	struct request_record record = { .method = label_of_method(method),
					 .endpoint = REQUEST_UNMATCHED,
					 .began = clock_mono() };
	struct request_end end = { .status = fault_status(why), .why = why };

	record.span = span_start(observer->tracer, SPAN_server, record.method, NULL);
	span_attr(record.span, attr_text(SLICE("http.request.method"), record.method));
	span_attr(record.span, attr_text(SLICE("url.scheme"), scheme));
	request_record_trace_id(&record, trace_id);
	request_record_end(&record, observer, &end);
	request_record_finish(&record);
}

void request_record_finish(struct request_record *record)
{
	buf_finish(&record->state);
}
