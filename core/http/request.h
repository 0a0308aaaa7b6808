/* SPDX-License-Identifier: MIT */
/* request.h -- one request of the server, and its answer.
 *
 * A handler gets a struct http_request and answers it once. Between the two the client
 * may leave: then the gone function runs, the request is dead and the handler forgets it
 * (http_respond must not be called any more). A client that closes its writing half has
 * left.
 *
 *     received --http_respond--> answered          (the pointer is invalid afterwards)
 *     received --client leaves--> gone called      (the pointer is invalid afterwards)
 *
 * All slices live as long as the request. Header names come in lower case. Per request
 * there is an arena (freed with it).
 */
#ifndef HTTP_REQUEST_H
#define HTTP_REQUEST_H

#include "base/arena.h"
#include "base/clock.h"
#include "base/fault.h"

#include <stdint.h>

struct http_request;
struct http_debt;

struct http_header {
	struct slice name; /* lower case */
	struct slice value;
};

struct slice http_request_method(const struct http_request *request);

/* As sent, without the query; starts with '/'. */
struct slice http_request_path(const struct http_request *request);

/* Without '?'; empty when there is none. */
struct slice http_request_query(const struct http_request *request);

struct slice http_request_body(const struct http_request *request);

/* Host. */
struct slice http_request_authority(const struct http_request *request);

/* The address of the connection's other end, as text without a port: "127.0.0.1", also
 * where a socket takes both families, "::1". Empty when it is not known. */
struct slice http_request_peer(struct http_request *request);

const char *http_request_protocol(const struct http_request *request); /* "1.1", "2" */
struct mono http_request_began(const struct http_request *request);

/* at NULL when absent. The first when there are several. host is here too;
 * content-length, transfer-encoding, upgrade and expect are not: they say how the request
 * was sent. */
struct slice http_request_header(const struct http_request *request, struct slice name);
size_t http_request_header_count(const struct http_request *request);
struct http_header http_request_header_at(const struct http_request *request,
					  size_t index);

struct arena *http_request_arena(struct http_request *request);

/* Called once, on the loop, when the client leaves before the answer. Other requests may
 * be answered from inside it. */
typedef void http_gone_fn(void *context);
void http_request_on_gone(struct http_request *request, http_gone_fn *gone,
			  void *context);

/* Inside gone, for work that goes on although the client has left: it counts against the
 * connection until http_debt_end, or a client could start any number of handlers by
 * resetting its streams. Gives; outlives the request, the connection and the server. */
struct http_debt *http_request_debt(struct http_request *request);
void http_debt_end(struct http_debt *debt); /* NULL is allowed */

/* Sends the answer and ends the request. Headers and body are copied. Content-Length,
 * Date, Server and what belongs to the connection are set here; a header with a bad
 * character in its name, or with CR, LF or NUL in its value, is left out. For HEAD, 204
 * and 304 the body is not sent. A status outside 200 to 599 becomes 500. */
void http_respond(struct http_request *request, int status,
		  const struct http_header *headers, size_t header_count,
		  struct slice body);

/* A problem document (RFC 9457) for a failure: title, status, kind, detail, trace_id
 * (empty: left out). */
void http_respond_fault(struct http_request *request, const struct fault *why,
			struct slice trace_id, const struct http_header *headers,
			size_t header_count);

/* --- an answer in pieces ----------------------------------------------------------
 *
 *     received --http_stream_begin--> streaming --http_stream_end | _abort--> (invalid)
 *                                     streaming --client leaves--> gone called (invalid)
 *
 * One piece is under way at a time: after http_stream_begin and http_stream_write the
 * next call but http_stream_end and http_stream_abort waits for `drained`. So what an
 * answer holds in memory is one piece, however slowly its client reads.
 *
 * Until its end the request counts as in flight. A client that takes nothing of a piece
 * for the server's idle_timeout_ms is cut off (gone), over HTTP/2 with its connection;
 * one that waits for the next piece is not. The server's end breaks answers off (gone).
 *
 * What is asked for is sent at the end of the turn: begin and end in one turn are one
 * write.
 */
#define HTTP_LENGTH_UNKNOWN UINT64_MAX

struct http_stream_events {
	/* The last piece is on its way: the next may be written. Not after the end. Never
	 * called from inside a function of this file. */
	void (*drained)(void *context);
	/* The client has left: the request is invalid. The last call. */
	http_gone_fn *gone;
};

/* Begins the answer, with status and headers as http_respond has them, and its first
 * piece, which may be empty: drained follows all the same. length: of the body; unknown:
 * chunked (HTTP/1.1), by frames (HTTP/2) or until the connection closes (HTTP/1.0). For
 * HEAD, 204 and 304 what is written is left out, and a length that is known is told for
 * HEAD. Copies; borrows events. */
void http_stream_begin(struct http_request *request, int status,
		       const struct http_header *headers, size_t header_count,
		       uint64_t length, struct slice first,
		       const struct http_stream_events *events, void *context);

/* Copies; not empty. Together no more than the length that was told. */
void http_stream_write(struct http_request *request, struct slice piece);

/* Ends the answer; a piece may still be under way. With fewer bytes than were told it is
 * http_stream_abort. */
void http_stream_end(struct http_request *request);

/* Breaks the answer off so that the client sees that it is cut: the connection closes
 * (HTTP/1; is reset where its close would be the end of the answer), the stream is reset
 * (HTTP/2). A piece that is under way is still sent. */
void http_stream_abort(struct http_request *request);

/* --- who asks ---------------------------------------------------------------------- */

/* "http", or "https" when the connection has TLS. */
struct slice http_request_scheme(const struct http_request *request);

/* The client's address: the peer's, or, where the peer is one of the server's
 * trusted_proxies, the rightmost address of X-Forwarded-For that is not; the leftmost,
 * where all are. What is no address counts as untrusted and is not given: then it is the
 * last good one to its right, or the peer's. Lives as long as the request. */
struct slice http_request_client(struct http_request *request);

#endif
