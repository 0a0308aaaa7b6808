/* SPDX-License-Identifier: MIT */
/* upgraded.h -- a client's connection that has left HTTP behind (RFC 9110, 7.8): bytes in
 * both directions.
 *
 *     received --http_upgrade--> open --either side closes--> closed called
 *                                open --http_upgraded_close--> (freed)
 *
 * One piece is on its way to the client at a time, and reading can be paused: so neither
 * direction holds more than a piece; one from the client is what the kernel held, 256 KiB
 * at most. It does not know what the bytes mean; websocket.h does its own. Only HTTP/1.1
 * has this.
 *
 * A client that takes nothing of a piece for the server's idle_timeout_ms is cut off, one
 * that is silently gone is noticed by TCP within two minutes. While paused its leaving is
 * not. It counts as a connection (http_server_connections), not as in flight: whoever
 * drains closes it. The server's end is a close; what is not closed from inside that
 * event may still be closed later.
 */
#ifndef HTTP_UPGRADED_H
#define HTTP_UPGRADED_H

#include "base/slice.h"

struct http_header;
struct http_request;
struct http_upgraded;

struct http_upgraded_events {
	/* bytes are borrowed during the call. Not while paused. */
	void (*received)(void *context, struct slice bytes);
	/* The last piece has been written: the next may be sent. */
	void (*drained)(void *context);
	/* The other side has closed, or the connection failed. The receiver closes it. */
	void (*closed)(void *context);
};

/* What the request wants to become, "websocket": its Upgrade header, with Connection:
 * upgrade, in an HTTP/1.1 request without a body. Empty: nothing. */
struct slice http_request_upgrade(const struct http_request *request);

/* Answers 101 with these headers (Connection is set here, Upgrade must be among them) and
 * takes the request. Begins paused. Events come from the loop, never from inside a
 * function of this file. Copies; borrows events. */
struct http_upgraded *http_upgrade(struct http_request *request,
				   const struct http_header *headers, size_t header_count,
				   const struct http_upgraded_events *events,
				   void *context);

/* Copies; not empty; only when drained or nothing was sent yet. */
void http_upgraded_send(struct http_upgraded *upgraded, struct slice bytes);
void http_upgraded_pause(struct http_upgraded *upgraded, bool paused);

/* Frees; what was sent still goes out, within 5 s. No event follows. May be called from
 * inside an event. NULL is allowed. */
void http_upgraded_close(struct http_upgraded *upgraded);

#endif
