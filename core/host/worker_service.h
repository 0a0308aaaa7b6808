/* SPDX-License-Identifier: MIT */
/* worker_service.h -- a service on one worker: its generations, its port.
 *
 *     created -> has a generation -> listening -> running on its thread
 *        (--quiesce--> serving, its clients are told to go)
 *        --drain--> idle, or late --> its loop has ended --stop--> stopped
 *
 * At every moment one generation is current and gets what arrives; older ones finish
 * their tasks, at most WORKER_DRAINING_MAX of them and no longer than drain_ms.
 */
#ifndef HOST_WORKER_SERVICE_H
#define HOST_WORKER_SERVICE_H

#include "base/fault.h"

#include "base/slice.h"

struct admin_shared;
struct amqp_delivery;
struct conf;
struct generation;
struct log_hub;
struct wiring;
struct worker_service;

#define WORKER_DRAINING_MAX 8

struct worker_service_config { /* all borrowed */
	const struct conf *conf;
	struct wiring *wiring; /* its pools are open */
	struct log_hub *logs;
	struct admin_shared *shared;
	bool first; /* the worker that runs the jobs */
	void (*full)(void *context); /* a VM stays above its soft limit; on its thread */
	void *full_context;
};

struct worker_service *worker_service_create(const struct worker_service_config *config);

/* The first generation, which it takes; before it runs. */
void worker_service_put(struct worker_service *worker, struct generation *generation);

/* Any thread: takes the generation, which is current when done is called, on the worker's
 * thread. A worker that is ending destroys it instead. */
void worker_service_swap(struct worker_service *worker, struct generation *generation,
			 void (*done)(void *context), void *context);

/* Binds port (0: the kernel chooses) and gives the port that was bound; 0 with why. Also
 * binds what the setting admin_port says. */
unsigned worker_service_listen(struct worker_service *worker, unsigned port,
			       struct fault *why);

/* Any thread: what /ready says of the generations from now on, a JSON value. Copies. */
void worker_service_report(struct worker_service *worker, struct slice json);

struct loop *worker_service_loop(const struct worker_service *worker);

/* Its thread: to the current generation's consumer of this queue; back to the broker when
 * it has none. */
void worker_service_deliver(struct worker_service *worker, struct slice queue,
			    struct amqp_delivery *delivery);

/* A thread_fn: serves until drained. */
void worker_service_run(void *worker);

/* Any thread, about once a second while it runs: see watchdog_stuck. */
void worker_service_look(struct worker_service *worker);

/* Any thread, once, before the drain or not at all. */
void worker_service_quiesce(struct worker_service *worker);

/* Any thread, once. */
void worker_service_drain(struct worker_service *worker);

/* Any thread: the job of this name runs soon, if this worker has it. */
void worker_service_wake_job(struct worker_service *worker, struct slice name);

/* When its loop has stopped: no further jobs, the server and its connections end. NULL is
 * allowed. */
void worker_service_stop(struct worker_service *worker);

/* After its pools are gone: the VMs; their tasks end with cancelled. NULL is allowed. */
void worker_service_close(struct worker_service *worker);

/* After its loop is gone. NULL is allowed. */
void worker_service_destroy(struct worker_service *worker);

#endif
