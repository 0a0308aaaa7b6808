/* SPDX-License-Identifier: MIT */
/* server.h -- HTTP/1.1 and HTTP/2 (prior knowledge, cleartext) for one worker.
 *
 * It knows nothing of Lua: every request goes to one handler function, which answers now
 * or later with http_respond (request.h). What h2o lets through and should not is refused
 * here, with a problem document: Transfer-Encoding with Content-Length, two
 * Content-Lengths, a missing Host in HTTP/1.1 (400: server_framing.h); bodies above
 * body_size_max (413); more than requests_max in flight (503 limit with Retry-After).
 *
 *   listening --http_server_drain--> draining (no accepts; Connection: close on answers)
 * --> idle
 *
 * Times: a kept connection without a request is closed after idle_timeout_ms, one that
 * has begun to send a request after request_timeout_ms; both are looked at once a second.
 * While draining, connections without a request are closed at once, those of HTTP/2
 * after 1.5 s (GOAWAY first).
 *
 * What h2o does not let us do: a request that is no HTTP gets a plain 400; a body above
 * the limit over HTTP/2 is answered by resetting its stream; HTTP/2 by "Upgrade: h2c"
 * works too.
 *
 * Sending to a client that has left raises SIGPIPE: the process ignores or blocks it.
 */
#ifndef HTTP_SERVER_H
#define HTTP_SERVER_H

#include "base/fault.h"

struct loop;
struct http_server;
struct http_request;

/* The request is borrowed until it is answered or gone: see request.h. */
typedef void http_handler_fn(void *context, struct http_request *request);

/* Told of each answer that the server gives without the handler. It puts the id of the
 * trace that tells of it into trace_id, terminated; as it was, empty, the answer has
 * none. */
typedef void http_refused_fn(void *context, struct slice method, const struct fault *why,
			     char trace_id[33]);

struct http_server_config {
	struct slice host; /* address to listen on */
	unsigned port; /* 0: the kernel chooses; ask http_server_port */
	size_t body_size_max;
	unsigned requests_max; /* in flight */
	unsigned connections_max; /* beyond it clients wait to be accepted */
	int idle_timeout_ms; /* keep-alive */
	int request_timeout_ms; /* to read a whole request */
	http_handler_fn *handler;
	http_refused_fn *refused; /* may be NULL */
	void *context; /* of both */
};

/* Binds with SO_REUSEPORT and begins to accept when the loop runs. A taken port is
 * unavailable and says which. To notice a port held by another process, the first worker
 * passes exclusive: it tries a bind without SO_REUSEPORT first. Copies config. */
struct http_server *http_server_create(struct loop *loop,
				       const struct http_server_config *config,
				       bool exclusive, struct fault *why);
unsigned http_server_port(const struct http_server *server);

/* Stops accepting and closes idle connections. */
void http_server_drain(struct http_server *server);

/* Requests not answered yet, WebSockets not counted. */
unsigned http_server_in_flight(const struct http_server *server);
unsigned http_server_connections(const struct http_server *server);

/* NULL is allowed; not from inside a callback of the loop. Requests not answered yet end:
 * gone is called and the client gets 503. All connections are closed; WebSockets are told
 * 1006. */
void http_server_destroy(struct http_server *server);

#endif
