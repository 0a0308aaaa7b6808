/* SPDX-License-Identifier: MIT */
/* socket.h -- WebSocket endpoints of a service on one worker: where http/websocket meets
 * script.
 *
 *     asked --accept(req)--> refused (its problem document)
 *                       \--> upgraded: open(conn), message(conn, text)*, close(conn)
 *
 * The functions of one connection run one after the other, in order; what comes in
 * meanwhile waits, bounded by SOCKET_WAITING_MAX messages: beyond that the connection is
 * closed with 1008. accept lets a client in by returning a table, and only so. When open
 * or message fails, the connection is closed with 1011 and what waits is dropped; close
 * is called in any case.
 */
#ifndef API_SOCKET_H
#define API_SOCKET_H

#include "base/fault.h"

#define SOCKET_WAITING_MAX 64

struct http_request;
struct loop;
struct router_match;
struct service_socket;
struct socket_hub;
struct socket_server;
struct trace_context;
struct vm;

struct socket_server_config {
	struct loop *loop;
	struct vm *vm;
	struct socket_hub *hub;
	int task_timeout_ms;
	size_t message_size_max;
	bool production;
};

/* Borrows what config points to. */
struct socket_server *socket_server_create(const struct socket_server_config *config);

/* After the VM's tasks have ended and its sockets are closed. NULL is allowed. */
void socket_server_destroy(struct socket_server *server);

/* Takes the request; borrows match during the call, trace until answered. answered is
 * called once, when its status is known: 101, or that of a refusal. */
typedef void socket_answered_fn(void *context, int status, const struct fault *why);
void socket_server_accept(struct socket_server *server,
			  const struct service_socket *socket,
			  struct http_request *request, const struct router_match *match,
			  const struct trace_context *trace, socket_answered_fn *answered,
			  void *context);

#endif
