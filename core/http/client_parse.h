/* SPDX-License-Identifier: MIT */
/* client_parse.h -- the framing of one HTTP/1 answer, fed as the bytes come.
 *
 *     head --1xx--> head
 *     head --> body (by length | chunked | until close) --> done
 *     head --101, asked for--> switched
 *       any --> failed
 *
 * The body is gathered up to size_max; or it is streamed: each feed gives its bytes of
 * the body as `piece` and forgets them, and a body may be as long as it likes.
 *
 * Pure: no sockets, no clock. Strict where leniency could desynchronise a connection:
 * chunked is the only Transfer-Encoding, never beside Content-Length; Content-Lengths
 * agree; no folded headers. An answer that breaks a rule or a bound is broken, nothing
 * worse.
 *
 * Invariants
 *   - head and body never hold more than HEAD_SIZE_MAX and size_max bytes; streamed, body
 *     holds no more than one feed brought.
 *   - in done, switched and failed nothing but piece changes any more.
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
	CLIENT_PARSE_switched, /* what comes is another protocol's */
	CLIENT_PARSE_failed
};

/* What is known of the request. */
struct client_parse_rules {
	bool head_request; /* the answer has no body */
	bool stream;
	bool upgrade; /* 101 is an answer; otherwise it is broken */
	size_t size_max; /* of the body; not for stream */
};

struct client_parse { /* zeroed is valid for client_parse_finish */
	enum client_parse_state state;
	struct client_parse_rules rules;
	bool keep_alive; /* done: the connection may be used again */
	bool began; /* a byte has come */
	int status;
	size_t interim_size; /* what 1xx answers took */
	size_t scanned; /* of head, without its end found */
	uint64_t length; /* of the body, in state length */
	uint64_t received; /* of the body */
	uint64_t overhead; /* bytes of chunk framing */
	struct { /* of picohttpparser */
		size_t left;
		char consume_trailer, hex_count, state;
	} chunks;
	/* Streamed or switched: what the last feed brought of the body, or of the other
	 * protocol. Borrowed until the next feed, and from the fed bytes unless held. */
	struct slice piece;
	struct buf head;
	struct buf body; /* all of it; streamed: for piece */
	/* Into head; names in lower case. */
	struct http_header headers[CLIENT_PARSE_HEADERS_MAX];
	size_t header_count;
};

/* Begins a new answer; keeps the memory of the last one unless it is large. */
void client_parse_begin(struct client_parse *parse,
			const struct client_parse_rules *rules);
void client_parse_finish(struct client_parse *parse);

/* Copies bytes; piece borrows them. Gives the new state; failed fills why. */
enum client_parse_state client_parse_feed(struct client_parse *parse, struct slice bytes,
					  struct fault *why);

/* Copies piece, so that it no longer borrows the bytes that were fed. */
void client_parse_hold(struct client_parse *parse);

/* The other side has closed: done when the body ends by that, else failed (and why says
 * where it was cut). */
enum client_parse_state client_parse_close(struct client_parse *parse, struct fault *why);

/* Checks the invariants. */
void client_parse_check(const struct client_parse *parse);

#endif
