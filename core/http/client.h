/* SPDX-License-Identifier: MIT */
/* client.h -- outgoing HTTP/1.1 of one worker.
 *
 * Ours on the h2o loop, because both clients of libh2o end the process on a bad upstream
 * header. Nothing that an upstream sends can do more than fail its own call: sizes of
 * headers and body are bounded, framing is checked strictly (no Transfer-Encoding with
 * Content-Length, no differing Content-Lengths, chunked only), the whole call has a
 * deadline.
 *
 *   waiting for a connection -> (resolve -> connect)? -> sending -> reading -> done
 *
 * Connections are kept per origin (host:port), at most idle_max each, idle_timeout_ms
 * long, and at most connections_max open each (calls beyond wait in order, bounded by
 * waiting_max). A call with a safe or idempotent method (GET HEAD PUT DELETE OPTIONS), or
 * one that says retry_stale_ok, that meets a kept connection closed by the other side
 * before the first byte of the answer is tried once more on a new connection. Names
 * resolve off the loop.
 *
 * kinds of failure: unavailable (nothing was sent: refused, no name, queue full), timeout
 * (safe method), uncertain (sent, no answer in time or connection lost, unsafe method),
 * broken (nonsense answered, too large).
 *
 * A CLIENT span per call (semantic conventions: name is the method, server.address,
 * url.full without credentials and query), traceparent and tracestate headers, and the
 * http_client_duration series are made here.
 */
#ifndef HTTP_CLIENT_H
#define HTTP_CLIENT_H

#include "base/clock.h"
#include "base/fault.h"

struct loop;
struct trace_context;
struct http_header; /* request.h */
struct http_client;

struct http_client_config {
	unsigned connections_max; /* per origin */
	unsigned idle_max; /* per origin */
	int idle_timeout_ms;
	int connect_timeout_ms;
	unsigned waiting_max; /* per origin */
	size_t response_size_max;
};

struct http_call {
	struct slice method;
	struct slice url; /* http://host[:port]/path?query; anything else is bad_input */
	/* Host, Content-Length, Connection and trace headers are ours. */
	const struct http_header *headers;
	size_t header_count;
	struct slice body;
	struct mono deadline;
	/* Parent of the span. NULL: no span, no trace headers. */
	const struct trace_context *trace;
	bool retry_stale_ok; /* the caller knows that repeating is harmless */
};

struct http_answer { /* borrowed, only during done */
	int status;
	const struct http_header *headers; /* names in lower case */
	size_t header_count;
	struct slice body;
};

/* Exactly one of answer and why is not NULL. */
typedef void http_client_done_fn(void *context, const struct http_answer *answer,
				 const struct fault *why);

struct http_client *http_client_create(struct loop *loop,
				       const struct http_client_config *config);

/* Calls under way end with cancelled, before it returns. Not from a done function. */
void http_client_destroy(struct http_client *client);

/* Copies the call. */
void http_client_call(struct http_client *client, const struct http_call *call,
		      http_client_done_fn *done, void *context);

/* Checks the invariants (client_origin.h). */
void http_client_check(const struct http_client *client);

#endif
