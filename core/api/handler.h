/* SPDX-License-Identifier: MIT */
/* handler.h -- from a request to a task and from its results to an answer: where http
 * meets script.
 *
 *     request -> router_match --> task(handler, request table) -> reply -> http_respond
 *                        \--> 404, 405, no room: answered without Lua
 *
 * A client that leaves does not stop its task: what was begun is finished; the answer is
 * dropped and told as 499. Hot path; budget: no allocation of ours in the steady state,
 * held by test/bench.
 */
#ifndef API_HANDLER_H
#define API_HANDLER_H

#include "base/clock.h"
#include "base/slice.h"

struct fault;
struct handler;
struct http_request;
struct loop;
struct service;
struct socket_server;
struct vm;

struct handler_config {
	struct loop *loop;
	struct vm *vm;
	struct service *service;
	struct socket_server *sockets; /* NULL: the service has none */
	unsigned tasks_max;
	int task_timeout_ms;
	bool production;
};

/* Borrows everything in config. */
struct handler *handler_create(const struct handler_config *config);

/* After its tasks have ended and its requests are gone. NULL is allowed. */
void handler_destroy(struct handler *handler);

/* An http_handler_fn; context is the handler. */
void handler_serve(void *context, struct http_request *request);

/* Counts a request that was answered elsewhere (the host's own endpoints). */
void handler_record(struct handler *handler, struct slice method, struct slice endpoint,
		    int status, struct mono began);

/* An http_refused_fn, but for its context: counts, logs and traces a request that the
 * server refuses by itself. */
void handler_refused(struct handler *handler, struct slice method,
		     const struct fault *why, char trace_id[33]);

#endif
