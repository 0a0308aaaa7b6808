/* SPDX-License-Identifier: MIT */
/* server.h -- HTTP/1.1 and HTTP/2 for one worker, in cleartext or over TLS.
 *
 * It knows nothing of Lua: every request goes to one handler function, which answers now
 * or later with http_respond (request.h). What h2o lets through and should not is refused
 * here, with a problem document: Transfer-Encoding with Content-Length, two
 * Content-Lengths, a line that ends without CR, a missing Host in HTTP/1.1 (400:
 * server_framing.h); bodies above body_size_max (413); more than 100 headers over HTTP/2
 * (431); more than requests_max in flight, or more than HTTP_CONNECTION_WORK_MAX under
 * way for one connection (503 limit with Retry-After).
 *
 *   listening --http_server_quiesce--> quiesced (answers close their connections)
 *             --http_server_drain--> draining (as well; no accepts) --> idle
 *
 * Times: a kept connection without a request is closed after idle_timeout_ms, one that
 * has begun to send a request after request_timeout_ms, one that takes nothing of its
 * answer after idle_timeout_ms; all are looked at once a second. While draining,
 * connections without a request are closed at once, those that never had one when they
 * are a quarter of a second old, those of HTTP/2 after 1.5 s (GOAWAY first).
 *
 * Room: beyond connections_max the connection that has been without a request for the
 * longest is closed, once that is a quarter of a second; until there is one, clients
 * wait to be accepted. Where the process may open no more files it is the same. Requests
 * that are still arriving hold at most arriving_max bytes, looked at every 100 ms where
 * they could hold more, every 20 ms where they hold a quarter of it: beyond it the large
 * ones are closed, the longest at it first.
 *
 * What h2o does not let us do: a request that is no HTTP, or whose head has more than 100
 * headers or 408 KiB, gets a plain 400. Inside a chunked body a bare LF is taken for
 * CRLF, which other parsers may not do; so a connection is closed after a chunked body,
 * and what follows is not taken for a request.
 *
 * HTTP/2 is for callers one knows: h2o writes a line to stderr for every frame of a type
 * it does not know, and puts no time limit on requests that are half sent over HTTP/2,
 * nor does arriving_max count them. One that changes the window of a stream while the end
 * of its answer is being written fails an assertion of h2o's (2.2.5), which ends the
 * process. A body above the limit is answered by resetting its stream. HTTP/2 comes by
 * prior knowledge, in cleartext by "Upgrade: h2c" too, over TLS by ALPN.
 *
 * TLS: a handshake may take request_timeout_ms. An idle connection takes about 15 KiB, in
 * cleartext 1 KiB. A TLS record that is not whole, with what the kernel gave along with
 * it, is not seen by arriving_max: at most 256 KiB a connection, for which the kernel's
 * buffer is kept small.
 *
 * Sending to a client that has left raises SIGPIPE: the process ignores or blocks it.
 */
#ifndef HTTP_SERVER_H
#define HTTP_SERVER_H

#include "base/fault.h"

struct loop;
struct http_server;
struct http_request;

/* Requests of one connection that are not answered, and work that goes on for requests
 * whose client has reset them (http_request_debt). A connection that is refused for this
 * HTTP_CONNECTION_REFUSALS_MAX times is closed. */
#define HTTP_CONNECTION_WORK_MAX 100
#define HTTP_CONNECTION_REFUSALS_MAX 1000

/* The request is borrowed until it is answered or gone: see request.h. */
typedef void http_handler_fn(void *context, struct http_request *request);

/* Told of each answer that the server gives without the handler; scheme is "http" or
 * "https". It puts the id of the trace that tells of it into trace_id, terminated; as it
 * was, empty, the answer has none. */
typedef void http_refused_fn(void *context, struct slice scheme, struct slice method,
			     const struct fault *why, char trace_id[33]);

struct http_server_config {
	struct slice host; /* address to listen on */
	unsigned port; /* 0: the kernel chooses; ask http_server_port */
	size_t body_size_max;
	unsigned requests_max; /* in flight */
	unsigned connections_max;
	size_t arriving_max; /* bytes; 0: no limit */
	bool http2;
	int idle_timeout_ms; /* keep-alive */
	int request_timeout_ms; /* to read a whole request */
	/* Addresses and networks of proxies whose X-Forwarded-For is believed
	 * (http_request_client), with commas between them. Empty: none. */
	struct slice trusted_proxies;
	/* PEM files, see server_tls.h. Both NULL or empty: cleartext. Not kept. */
	const char *tls_certificate, *tls_key;
	http_handler_fn *handler;
	http_refused_fn *refused; /* may be NULL */
	void *context; /* of both */
};

/* Binds with SO_REUSEPORT and begins to accept when the loop runs. A taken port is
 * unavailable and says which. To notice a port held by another process, the first worker
 * passes exclusive: it tries a bind without SO_REUSEPORT first. Bad trusted_proxies,
 * tls_certificate and tls_key are bad_input. Copies config. */
struct http_server *http_server_create(struct loop *loop,
				       const struct http_server_config *config,
				       bool exclusive, struct fault *why);
unsigned http_server_port(const struct http_server *server);

/* Before a drain: serves and accepts as before, and tells clients to go: answers close
 * their connection (HTTP/2: GOAWAY). A kept connection is not closed before it has had
 * such an answer, so nobody loses a request. */
void http_server_quiesce(struct http_server *server);

/* Accepts who waits to be, as far as connections_max allows, stops listening and closes
 * idle connections. */
void http_server_drain(struct http_server *server);

/* Requests not answered yet, WebSockets not counted. */
unsigned http_server_in_flight(const struct http_server *server);
unsigned http_server_connections(const struct http_server *server);

/* NULL is allowed; not from inside a callback of the loop. Requests not answered yet end:
 * gone is called and the client gets 503. All connections are closed; WebSockets are told
 * 1006. */
void http_server_destroy(struct http_server *server);

#endif
