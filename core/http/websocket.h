/* SPDX-License-Identifier: MIT */
/* websocket.h -- RFC 6455 connections of the server, through wslay.
 *
 *     http_request --websocket_accept--> open --close from either side--> closed called
 * (once)
 *
 * Text messages only: binary ones are answered with close code 1003; invalid UTF-8 with
 * 1007; messages above message_size_max with 1009, those in more than 1024 fragments with
 * 1008. What a slow reader has not taken is bounded by queue_size_max: beyond it the
 * connection is closed with 1008. Pings are answered; the server pings every ping_ms and
 * gives up after two unanswered ones. A closing handshake that the other side does not
 * finish within 5 s ends without it.
 *
 * Messages are sent at the end of the turn in which websocket_send was called.
 */
#ifndef HTTP_WEBSOCKET_H
#define HTTP_WEBSOCKET_H

#include "base/fault.h"

struct loop;
struct http_request;
struct websocket;

struct websocket_handler {
	/* text is borrowed during the call. */
	void (*message)(void *context, struct slice text);

	/* The websocket is invalid afterwards. code is what the other side sent: 1005
	 * when its close frame had none, 1006 when there was no close frame. */
	void (*closed)(void *context, int code);
};

struct websocket_config {
	size_t message_size_max;
	size_t queue_size_max;
	int ping_ms; /* 0: never */
};

/* Whether the request asks for an upgrade to WebSocket in a valid way. */
bool websocket_asked(const struct http_request *request);

/* Answers the request with 101 and takes it. NULL when it was not a valid handshake (the
 * request is answered with 400). Copies config; borrows handler, which outlives the
 * websocket. */
struct websocket *websocket_accept(struct http_request *request, struct loop *loop,
				   const struct websocket_config *config,
				   const struct websocket_handler *handler,
				   void *context);

/* Copies. False when the connection is closing, because the queue is full or otherwise.
 * text must be UTF-8. */
bool websocket_send(struct websocket *websocket, struct slice text);

/* Begins the closing handshake, once what was sent has gone out; closed is called later.
 * Does nothing when it has begun. reason is cut at 123 bytes. */
void websocket_close(struct websocket *websocket, int code, struct slice reason);

#endif
