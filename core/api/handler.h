/* SPDX-License-Identifier: MIT */
/* handler.h -- from a request to a task and from its results to an answer: where http
 * meets script.
 *
 *     request -> router_match --> task(handler, request table) -> reply -> http_respond
 *                   |      \--> waits, while tasks_max are in flight --^
 *                   |--> gate_serve: forwarded (gate/gate.h)
 *                   \--> 404, 405, no room: answered without Lua
 *
 * Admission. While tasks_max tasks are in flight, or others wait, a request waits, first
 * come, first served; at most queue_max do, the next one is refused at once. The handler
 * looks whether there is a place when a task of its own has ended and, because jobs and
 * consumers have tasks too, every ADMISSION_LOOK_MS while anybody waits (admission.h). A
 * VM without memory refuses at once; those that wait go on waiting for it.
 *
 * Deadline. A request has until task_timeout_ms after its arrival, waiting included, or
 * until what its caller says it waits for, whichever is earlier: the header
 * x-envoy-expected-rq-timeout-ms, in milliseconds. 0 means "no timeout" there and says
 * nothing, as does what is no number. Who waits beyond it is refused.
 *
 * What is refused gets 503, `limit`, with Retry-After. A client that leaves while it
 * waits is forgotten; one that leaves later does not stop its task: what was begun is
 * finished, and the answer dropped. Both are told as 499. Hot path; budget: no allocation
 * of ours in the steady state, held by test/bench.
 *
 * Invariants
 *   - handler_idle: no request is between handler_serve and its answer or its task's end.
 */
#ifndef API_HANDLER_H
#define API_HANDLER_H

#include "base/slice.h"

struct fault;
struct gate;
struct gate_hooks;
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
	unsigned generation; /* for the page that tells of a failure; 0: unknown */
	unsigned tasks_max;
	unsigned queue_max; /* requests that wait */
	int task_timeout_ms;
	bool production;
	bool admin_apart; /* routes for operators are not served by handler_serve */
	struct gate *gate; /* NULL: the service forwards nothing */
	const struct gate_hooks *hooks; /* with gate */
};

/* Borrows everything in config. */
struct handler *handler_create(const struct handler_config *config);

/* After its tasks have ended: vm_destroy ends them, and their clients get 503, uncertain.
 * Requests that still wait get 503, unavailable; there are none when the server is gone,
 * and then the loop may be gone too. Between the VM's end and this the loop does not turn
 * while requests wait. NULL is allowed. */
void handler_destroy(struct handler *handler);

/* An http_handler_fn; context is the handler. The service's own routes come first, then
 * those for operators unless they are apart, then what its gateway forwards. */
void handler_serve(void *context, struct http_request *request);

/* The same for the port of operators: the service's routes for them, and no others. */
void handler_serve_admin(void *context, struct http_request *request);

/* Whether no request is being served: then a generation may go. */
bool handler_idle(const struct handler *handler);

/* An http_refused_fn, but for its context: counts, logs and traces a request that the
 * server refuses by itself. */
void handler_refused(struct handler *handler, struct slice scheme, struct slice method,
		     const struct fault *why, char trace_id[33]);

#endif
