/* SPDX-License-Identifier: MIT */
/* http_connection.h -- one outgoing TCP connection: connect, one exchange at a time,
 * rest.
 *
 *     opening --opened--> idle <--> busy
 *        any --ended--> (freed)
 *
 * It does not know calls, origins or deadlines: client.c decides who uses it and how
 * long. What happens is told through one event function, always from the loop and never
 * from inside a function of this file.
 *
 * An answer may come before the request is all written; then the rest is not sent, the
 * answer counts, and the connection ends. A refused write does not end the exchange: an
 * answer may already lie in the receive buffer.
 */
#ifndef HTTP_CONNECTION_H
#define HTTP_CONNECTION_H

#include "base/fault.h"
#include "http/client_parse.h"

#include <sys/socket.h>

struct loop;
struct http_connection;

#define HTTP_ADDRESSES_MAX 8

struct http_addresses {
	size_t count;
	struct http_address {
		socklen_t size;
		struct sockaddr_storage at;
	} list[HTTP_ADDRESSES_MAX];
};

/* How far an exchange had come when its connection ended. */
struct http_progress {
	bool wrote; /* at least a byte of the request */
	bool answered; /* at least a byte of the answer came */
	bool nonsense; /* the answer broke the protocol */
};

struct http_connection_events {
	/* It is idle now. */
	void (*opened)(void *context, struct http_connection *connection);
	/* The answer is borrowed during the call. Afterwards the connection is idle when
	 * reusable; otherwise it is ended and must be closed by the receiver now. */
	void (*answered)(void *context, struct http_connection *connection,
			 const struct client_parse *answer, bool reusable);
	/* It never opened, rested and was closed, or was lost in the exchange. The
	 * receiver closes it now. */
	void (*ended)(void *context, struct http_connection *connection,
		      const struct http_progress *progress, const struct fault *why);
};

/* Tries the addresses in turn. events and context are borrowed for its life. Addresses
 * are copied. */
struct http_connection *http_connection_open(struct loop *loop,
					     const struct http_addresses *addresses,
					     const struct http_connection_events *events,
					     void *context);

/* Idle only. request is borrowed until answered, ended or closed. cut: the connection
 * breaks once the request is written, as if the other side had done it. */
void http_connection_send(struct http_connection *connection, struct slice request,
			  bool head_request, size_t answer_size_max, bool cut);

/* Idle: false when the other side has already closed it or sent what nobody asked for. */
bool http_connection_alive(const struct http_connection *connection);

/* Exchanges finished so far: 0 means a new connection. */
unsigned http_connection_exchanges(const struct http_connection *connection);

/* The address in use; false before there is one. */
bool http_connection_peer(const struct http_connection *connection,
			  struct http_address *peer);

/* Frees. No event follows. NULL is allowed; may be called from inside an event. */
void http_connection_close(struct http_connection *connection);

#endif
