/* SPDX-License-Identifier: MIT */
/* http_connection.h -- one outgoing TCP connection: connect, one exchange at a time,
 * rest.
 *
 *     opening --opened--> idle <--> busy --101, asked for--> switched
 *        any --ended--> (freed)
 *
 * It does not know calls, origins or deadlines: who uses it and how long is decided above
 * (client_origin.c for scripts, gate/upstream_attempt.c for forwarding). What happens is
 * told through event functions, always from the loop and never from inside a function of
 * this file. Any of them may close the connection; what the event lent is gone then.
 *
 * An answer is gathered and told whole (answered); or it is streamed: its head, each
 * piece of its body as it was read, then answered, with an empty body. Memory is bounded
 * by one read, however long the body is and however slowly it is passed on.
 *
 *     gathered:  answered                      streamed:  head data* answered
 *     upgraded:  switched (drained | data)*    any of them may break off with ended
 *
 * A paused connection is not read from, so that the other side has to wait. While it is
 * paused nothing is told of what has been read: what is left of the last read is told
 * after the pause, in order. A connection that is lost while paused is told as lost after
 * the pause, when all that came before has been told; how long that may take is for a
 * timer of the receiver.
 *
 * A switched connection is two streams of bytes and begins paused, so that the receiver
 * can make its other end ready; what came behind the head of the answer is told first.
 * It ends when the other side closes it.
 *
 * An answer may come before the request is all written; then the rest is not sent, the
 * answer counts, and the connection ends. A refused write does not end the exchange: an
 * answer may already lie in the receive buffer. Interim answers (1xx) are skipped.
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
	/* It never opened, rested and was closed, or was lost in the exchange or after
	 * switching. The receiver closes it now. */
	void (*ended)(void *context, struct http_connection *connection,
		      const struct http_progress *progress, const struct fault *why);

	/* The rest may be NULL where no exchange asks for them. */

	/* stream: status and headers, borrowed until answered or ended. When
	 * answer->state is CLIENT_PARSE_done all of the answer is here already, and
	 * answer->piece is the one piece that data will tell next. */
	void (*head)(void *context, struct http_connection *connection,
		     const struct client_parse *answer);
	/* stream, switched: at least a byte; borrowed during the call. */
	void (*data)(void *context, struct http_connection *connection,
		     struct slice bytes);
	/* upgrade: it is switched now, and paused. answer is borrowed during the call. */
	void (*switched)(void *context, struct http_connection *connection,
			 const struct client_parse *answer);
	/* switched: all that was given to http_connection_write has been written. */
	void (*drained)(void *context, struct http_connection *connection);
};

struct http_exchange { /* copied; its texts are borrowed until it is over */
	struct slice head, body; /* written one behind the other */
	bool head_request;
	/* The connection breaks once the request is written, as if the other side had
	 * done it. */
	bool cut;
	bool stream;
	bool upgrade; /* 101 is an answer: switched; without it, it is nonsense */
	size_t answer_size_max; /* of the body; not for stream */
};

/* Tries the addresses in turn. events and context are borrowed for its life. Addresses
 * are copied. */
struct http_connection *http_connection_open(struct loop *loop,
					     const struct http_addresses *addresses,
					     const struct http_connection_events *events,
					     void *context);

/* Idle only. It is over when answered, switched, ended or closed. */
void http_connection_send(struct http_connection *connection,
			  const struct http_exchange *exchange);

/* No reads while paused. Each exchange begins unpaused, and a pause ends with it. Does
 * nothing outside of an exchange. */
void http_connection_pause(struct http_connection *connection, bool paused);

/* Switched only. Copies what is not written at once; drained follows, later, and until
 * then no more may be given. A write that is refused is never drained: ended comes. */
void http_connection_write(struct http_connection *connection, struct slice bytes);

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
