/* SPDX-License-Identifier: MIT */
/* socket_inside.h -- what socket.c and socket_accept.c share: the life of a connection
 * after its handshake, and before. */
#ifndef API_SOCKET_INSIDE_H
#define API_SOCKET_INSIDE_H

#include "api/socket.h"
#include "api/socket_object.h"
#include "base/list.h"
#include "loop/loop.h"

#define SOCKET_NEVER_NS INT64_MAX

struct websocket_handler;

struct socket_server {
	struct socket_server_config config;
	struct socket_objects objects;
	struct list connections;
	struct socket_server *target; /* where they go when their steps end; or NULL */
	const struct service_socket *lost; /* whose lost state was logged last */
	struct buf scratch;
};

/* One connection, from its request to the end of its close function. */
struct socket_connection {
	struct list member; /* in server->connections */
	struct socket_server *server;
	const struct service_socket *socket;
	struct http_request *request; /* until it is answered or gone */
	const struct router_match *match; /* only while the accept task starts */
	const struct trace_context *trace; /* until it is answered */
	socket_answered_fn *answered;
	void *answered_context;
	uint64_t id; /* 0 before the upgrade */
	int conn; /* registry reference of the script's object */
	struct wall expires_at; /* SOCKET_NEVER_NS: never */
	struct timer expiry; /* from the upgrade until the socket is gone */
	bool busy; /* a task of this connection runs, be it accept */
	bool opened; /* open was called */
	bool failed; /* a step was: no messages any more */
	bool parted; /* its script has heard the last of it */
	bool closed; /* the socket is gone */
	int code; /* what close is to be told; 0: it is not due */
	struct list waiting; /* struct text */
	unsigned waiting_count;
};

extern const struct websocket_handler socket_handler; /* context: the connection */

/* No function of it runs: does whatever has to be done, until one does again. May free
 * it. */
void socket_proceed(struct socket_connection *connection);

/* Closes it when its time has come, else sees to it that this is asked again then, in
 * whatever server it is. From its upgrade on. */
void socket_await_expiry(struct socket_connection *connection);

/* Nothing is left to do for it. */
void socket_connection_free(struct socket_connection *connection);

#endif
