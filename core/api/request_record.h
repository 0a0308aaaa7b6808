/* SPDX-License-Identifier: MIT */
/* request_record.h -- what is said about one served request: its server span, its series
 * and its log line.
 *
 *     zeroed or ended --begin--> under way --end--> ended (to be used again, or finished)
 *
 * Names come from the route, never from the path: a client cannot make new series. Hot
 * path.
 */
#ifndef API_REQUEST_RECORD_H
#define API_REQUEST_RECORD_H

#include "base/buf.h"
#include "base/clock.h"
#include "base/fault.h"

#define REQUEST_PATH_KEPT 256 /* bytes of a path in the log line */
#define REQUEST_UNMATCHED SLICE("unmatched") /* the endpoint of what has no route */

struct http_request;
struct observer;
struct router_match;
struct service_route;
struct trace_context;

struct request_record {
	struct service_route *route; /* NULL: nothing matched */
	struct slice method; /* of a table: outlives the request */
	struct slice endpoint; /* the route's template */
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
};

/* Borrows the request and the match during the call, the route until the end. */
void request_record_begin(struct request_record *record, const struct observer *observer,
			  struct http_request *request, const struct router_match *match);

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
void request_record_refused(const struct observer *observer, struct slice method,
			    const struct fault *why, char trace_id[33]);

#endif
