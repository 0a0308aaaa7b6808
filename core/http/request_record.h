/* SPDX-License-Identifier: MIT */
/* request_record.h -- what is said about one served request: its server span, its series
 * and its log line.
 *
 *     zeroed or ended --begin--> under way --end--> ended (to be used again, or finished)
 *
 * Names come from the route, never from the path: a client cannot make new series. Hot
 * path.
 */
#ifndef HTTP_REQUEST_RECORD_H
#define HTTP_REQUEST_RECORD_H

#include "base/buf.h"
#include "base/clock.h"
#include "base/fault.h"

#define REQUEST_PATH_KEPT 256 /* bytes of a path in the log line */
#define REQUEST_MORE_MAX 6
#define REQUEST_UNMATCHED SLICE("unmatched") /* the endpoint of what has no route */

#define REQUEST_SERIES_KEPT 8 /* per route; further ones are looked up */

struct attr;
struct http_request;
struct observer;
struct trace_context;

/* What records say of a route; embedded in whoever has routes. */
struct request_route {
	struct slice method; /* empty: any */
	struct slice path; /* its template: the endpoint */
	struct slice title; /* method and path: the name of its spans; may be empty */
	struct {
		const char *method;
		int status;
		struct series *series;
	} kept[REQUEST_SERIES_KEPT];
};

struct request_record {
	struct request_route *route; /* NULL: nothing matched */
	struct slice method; /* of a table: outlives the request */
	struct slice endpoint; /* a template */
	struct span *span; /* NULL: not under way */
	struct mono began;
	struct buf state; /* tracestate, borrowed by the span */
	char path[REQUEST_PATH_KEPT];
	size_t path_size;
};

struct request_end { /* borrowed during the call */
	int status;
	const struct fault *why; /* of kind FAULT_none: it went well */
	struct slice traceback; /* may be empty */
	struct slice file; /* where it failed; may be empty */
	unsigned line;
	const struct attr *more; /* for the log line: at most REQUEST_MORE_MAX */
	size_t more_count;
};

/* Borrows the request during the call, route and endpoint until the end. route NULL:
 * nothing matched, or not with this method; endpoint is then what to say instead. */
void request_record_begin(struct request_record *record, const struct observer *observer,
			  struct http_request *request, struct request_route *route,
			  struct slice endpoint);

/* Once, when the status is known. */
void request_record_end(struct request_record *record, const struct observer *observer,
			const struct request_end *end);

void request_record_finish(struct request_record *record);

/* Borrowed until the end. */
const struct trace_context *request_record_trace(const struct request_record *record);
struct slice request_record_trace_id(const struct request_record *record, char text[33]);

/* A request that was answered elsewhere: counts it. */
void request_record_count(const struct observer *observer, struct slice method,
			  struct slice endpoint, int status, double seconds);

/* A request that the server refuses by itself: counts, logs and traces it; gives its
 * trace. */
void request_record_refused(const struct observer *observer, struct slice scheme,
			    struct slice method, const struct fault *why,
			    char trace_id[33]);

#endif
