/* SPDX-License-Identifier: MIT */
/* worker_service.h -- a service on one worker: loaded script, routes, sockets, jobs,
 * consumers, port.
 *
 *     created -> listening -> running on its thread --drain--> idle, or late
 *                                its loop has ended --worker_service_stop--> stopped
 */
#ifndef HOST_WORKER_SERVICE_H
#define HOST_WORKER_SERVICE_H

#include "base/fault.h"

struct admin_shared;
struct amqp;
struct amqp_receiver;
struct conf;
struct log_hub;
struct service;
struct wiring;
struct worker_service;

struct worker_service_config {
	const struct conf *conf;
	struct wiring *wiring; /* complete and open */
	struct log_hub *logs;
	struct admin_shared *shared;
	bool first; /* the worker that runs the jobs */
};

/* Loads the service; borrows all. NULL with why when it cannot be loaded. */
struct worker_service *worker_service_create(const struct worker_service_config *config,
					     struct fault *why);

/* Binds port (0: the kernel chooses) and gives the port that was bound; 0 with why. */
unsigned worker_service_listen(struct worker_service *worker, unsigned port,
			       struct fault *why);

const struct service *worker_service_of(const struct worker_service *worker);

/* The receiver of the service's consumer of this index, on this worker. */
struct amqp_receiver worker_service_receiver(struct worker_service *worker, size_t index);

/* A thread_fn: serves until drained. */
void worker_service_run(void *worker);

/* Any thread, once. */
void worker_service_drain(struct worker_service *worker);

/* Any thread: the job of this name runs soon, if this worker has it. */
void worker_service_wake_job(struct worker_service *worker, struct slice name);

/* When its loop has stopped: no further jobs, the server and its connections end. NULL is
 * allowed. */
void worker_service_stop(struct worker_service *worker);

/* After its wiring's VM and loop are gone, which still call it. NULL is allowed. */
void worker_service_destroy(struct worker_service *worker);

#endif
