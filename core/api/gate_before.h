/* SPDX-License-Identifier: MIT */
/* gate_before.h -- runs a route's `before` as a task: where the gateway meets script.
 *
 *     before -> (waits for a place)? -> task(function, request table) -> told
 *        \--no room, late, ended----------------------------------------^
 *
 * The function gets a request as handlers do (request_table.h), with its body as bytes,
 * no parameters, the route's prefix as route, and `target`, the path that is to be
 * forwarded. What it returns decides:
 *
 *     nothing                    the request goes on
 *     {with = {name = value}}    it goes on with these headers (gate.with)
 *     anything else              the answer, as a handler's (reply.h)
 *
 * Admission, deadline and a client that leaves are as in handler.h: who left while it
 * waited is told so, what runs is finished. Requests that wait here are a line of their
 * own, as long as the handler's may be.
 *
 * Invariants
 *   - every run is told of once: by its task's end, or in a later call of the same turn.
 */
#ifndef API_GATE_BEFORE_H
#define API_GATE_BEFORE_H

#include <stdbool.h>

struct gate_before;
struct gate_hooks;
struct loop;
struct vm;

struct gate_before_config { /* all borrowed */
	struct loop *loop;
	struct vm *vm;
	unsigned generation; /* 0: unknown */
	unsigned tasks_max;
	unsigned queue_max; /* requests that wait */
	int task_timeout_ms;
	bool production;
};

struct gate_before *gate_before_create(const struct gate_before_config *config);

/* For gate_serve, and as long as the plan is not an orphan. Borrowed. */
const struct gate_hooks *gate_before_hooks(const struct gate_before *before);

/* After vm_destroy, which ends the tasks, and while there is a gate: those that wait are
 * told, inside, that they do so in vain. NULL is allowed. */
void gate_before_destroy(struct gate_before *before);

#endif
