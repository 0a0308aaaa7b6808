/* SPDX-License-Identifier: MIT */
/* client_parse.h -- the framing of one HTTP/1 answer, fed as the bytes come.
 *
 *     head --1xx--> head
 *     head --> body (by length | chunked | until close) --> done
 *       any --> failed
 *
 * Pure: no sockets, no clock. Strict where leniency could desynchronise a connection:
 * chunked is the only Transfer-Encoding, never beside Content-Length; Content-Lengths
 * agree; no folded headers. An answer that breaks a rule or a bound is broken, nothing
 * worse.
 *
 * Invariants
 *   - head and body never hold more than HEAD_SIZE_MAX and size_max bytes.
 *   - in done and failed nothing changes any more.
 */
#ifndef HTTP_CLIENT_PARSE_H
#define HTTP_CLIENT_PARSE_H

#include "base/buf.h"
#include "base/fault.h"
#include "http/request.h"

#include <stdint.h>

#define CLIENT_PARSE_HEADERS_MAX 128
#define CLIENT_PARSE_HEAD_SIZE_MAX (64 * 1024) /* interim answers included */

enum client_parse_state {
	CLIENT_PARSE_head,
	CLIENT_PARSE_length,
	CLIENT_PARSE_chunked,
	CLIENT_PARSE_until_close,
	CLIENT_PARSE_done,
	CLIENT_PARSE_failed
};

struct client_parse { /* zeroed is valid for client_parse_finish */
	enum client_parse_state state;
	bool without_body; /* the request was HEAD */
	bool keep_alive; /* done: the connection may be used again */
	bool began; /* a byte has come */
	int status;
	size_t size_max; /* of the body */
	size_t interim_size; /* what 1xx answers took */
	size_t scanned; /* of head, without its end found */
	uint64_t length; /* of the body, in state length */
	uint64_t overhead; /* bytes of chunk framing */
	struct { /* of picohttpparser */
		size_t left;
		char consume_trailer, hex_count, state;
	} chunks;
	struct buf head;
	struct buf body;
	/* Into head; names in lower case. */
	struct http_header headers[CLIENT_PARSE_HEADERS_MAX];
	size_t header_count;
};

/* Begins a new answer; keeps the memory of the last one unless it is large. */
void client_parse_begin(struct client_parse *parse, bool head_request, size_t size_max);
void client_parse_finish(struct client_parse *parse);

/* Copies bytes. Gives the new state; failed fills why. */
enum client_parse_state client_parse_feed(struct client_parse *parse, struct slice bytes,
					  struct fault *why);

/* The other side has closed: done when the body ends by that, else failed (and why says
 * where it was cut). */
enum client_parse_state client_parse_close(struct client_parse *parse, struct fault *why);

/* Checks the invariants. */
void client_parse_check(const struct client_parse *parse);

#endif
