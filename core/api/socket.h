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
 *
 * A table from accept may have `expires_at`, seconds since 1970: then the connection is
 * closed with 4001, whatever its functions do. What came before still waits its turn, but
 * nothing is sent any more. A time that is no number refuses the client, with 500.
 *
 * Each generation of a service has a server of its own; the hub is the worker's. When a
 * generation is replaced its connections move to the next one's server, each as soon as
 * no function of it runs:
 *
 *     idle, or its step ends --same path--> on with its next step in the new generation
 *                            \--no such path, or no memory--> close(conn, 1012) in the
 *                                old one; closed with 1012
 *
 * Id, channels, what waits and the time of its end stay. conn is made anew, with its
 * state carried over as JSON; a state that JSON cannot say is {} from then on, and a
 * warning names the route. open is called once in the life of a connection. A step that
 * the end of its VM cuts short closes its connection with 1012; its close is called in
 * the new generation.
 *
 * Invariants
 *   - a connection is in the list of exactly one server, from its request to the end of
 *     its close function.
 *   - a server with a target has only connections whose function runs.
 */
#ifndef API_SOCKET_H
#define API_SOCKET_H

#include "base/fault.h"

#define SOCKET_WAITING_MAX 64

struct http_request;
struct loop;
struct router_match;
struct service;
struct service_socket;
struct socket_hub;
struct socket_server;
struct trace_context;
struct vm;

struct socket_server_config {
	struct loop *loop;
	struct vm *vm;
	struct socket_hub *hub;
	const struct service *service; /* where connections that move here find their
					  path; NULL: nowhere */
	int task_timeout_ms;
	size_t message_size_max;
	bool production;
};

/* Borrows what config points to. Objects in the VM point to the server: vm_destroy comes
 * before socket_server_destroy. */
struct socket_server *socket_server_create(const struct socket_server_config *config);

/* When it is idle. It is after the end of its VM, if by then it was moved or its sockets
 * were closed. NULL is allowed. */
void socket_server_destroy(struct socket_server *server);

/* From now on the connections of `from` move to `to`, also those that come to it later.
 * Borrows `to`, which lives, and its VM, until `from` is idle or is moved to another: so
 * the generations of a worker end oldest first. The end of from's VM moves or closes what
 * is left. `to` itself moves nowhere any more. Not from inside a task. */
void socket_server_move(struct socket_server *from, struct socket_server *to);

/* Whether it has no connection, no handshake under way either. */
bool socket_server_idle(const struct socket_server *server);

/* Takes the request; borrows match during the call, trace until answered. answered is
 * called once, when its status is known: 101, or that of a refusal. */
typedef void socket_answered_fn(void *context, int status, const struct fault *why);
void socket_server_accept(struct socket_server *server,
			  const struct service_socket *socket,
			  struct http_request *request, const struct router_match *match,
			  const struct trace_context *trace, socket_answered_fn *answered,
			  void *context);

#endif
