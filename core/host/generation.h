/* SPDX-License-Identifier: MIT */
/* generation.h -- one loaded version of a service on one worker: VM, routes, sockets,
 * jobs, consumers.
 *
 *     generation_build (builder's thread) --> built
 *     generation_adopt (the worker's, as all that follows) --> current
 *     generation_retire: takes no new work --> draining
 *     generation_idle, or its drain deadline has passed: generation_destroy
 *
 * The pools, the stock room, the hub of WebSocket connections and all series belong to
 * the worker and outlive it.
 *
 * Invariants
 *   - a worker has one current generation from its start to its end.
 *   - a task runs on the generation it was started in, to its end.
 */
#ifndef HOST_GENERATION_H
#define HOST_GENERATION_H

#include "api/api.h"
#include "base/clock.h"
#include "base/list.h"

#include <stdint.h>

struct amqp_delivery;
struct buf;
struct conf;
struct job_hooks;
struct sources;
struct watchdog;
struct wiring;

struct generation {
	struct list member; /* its worker's, while it drains */
	uint32_t number;
	const struct conf *conf;
	struct api api; /* the worker's, with the VM of this generation */
	struct service *service;
	struct handler *handler; /* these five once it is adopted */
	struct socket_server *sockets;
	struct job_runner *jobs; /* of the first worker only, or NULL */
	struct consumer **consumers;
	struct gate_before *before; /* of a gateway, or NULL */
	struct mono drain_until;
};

struct generation_plan {
	uint32_t number;
	unsigned edition; /* of metrics */
	const struct conf *conf;
	const struct wiring *wiring; /* of the worker it is for */
	struct sources *sources; /* shared */
	struct loop *workshop; /* of the thread that builds: where its file runs */
	struct watchdog *watchdog; /* of that thread */
};

/* Compiles and runs the service under the budgets. NULL with why; traceback, which is
 * empty before, then says where. */
struct generation *generation_build(const struct generation_plan *plan,
				    struct buf *traceback, struct fault *why);

/* Gives it to the worker of the wiring, whose gateway forwards to its upstreams from then
 * on; watchdog may be NULL. hooks: the jobs run here, and what other processes broadcast
 * is heard here once there are sockets; NULL: neither. */
void generation_adopt(struct generation *generation, struct wiring *wiring,
		      struct watchdog *watchdog, const struct job_hooks *hooks);

/* No further jobs; its WebSocket connections move to next as their steps end. May be
 * called again with a newer next. */
void generation_retire(struct generation *generation, struct generation *next);

/* Nothing of it is under way. */
bool generation_idle(const struct generation *generation);

/* The consumer of this queue; false when there is none. */
bool generation_deliver(struct generation *generation, struct slice queue,
			struct amqp_delivery *delivery);

/* In two steps, because what its tasks wait for may have to end between them. NULL is
 * allowed. close: the VM; its tasks end with cancelled. */
void generation_close(struct generation *generation);
void generation_destroy(struct generation *generation);

#endif
