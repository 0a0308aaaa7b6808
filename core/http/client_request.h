/* SPDX-License-Identifier: MIT */
/* client_request.h -- the bytes of an outgoing request. Pure. */
#ifndef HTTP_CLIENT_REQUEST_H
#define HTTP_CLIENT_REQUEST_H

#include "base/buf.h"
#include "http/client.h"
#include "http/http_url.h"
#include "http/request.h"

/* Appends head and body. trace: the context to send along, NULL for none. bad_input: a
 * method, header name or value that would break the framing; out is then unspecified. */
bool client_request_write(struct buf *out, const struct http_call *call,
			  const struct http_url *url, const struct trace_context *trace,
			  struct fault *why);

/* Whether a method or a name, a value, and a header of both, may be sent as they are. */
bool client_request_token_good(struct slice text);
bool client_request_value_good(struct slice text);
bool client_request_header_good(const struct http_header *header);

/* Whether the length of the body is told: a method that usually has a body says so when
 * it has none. */
bool client_request_tells_length(struct slice method, size_t body_size);

/* Which methods change nothing, which may be repeated, which telemetry knows by name. */
bool client_request_safe(struct slice method);
bool client_request_idempotent(struct slice method);
bool client_request_known(struct slice method);

#endif
