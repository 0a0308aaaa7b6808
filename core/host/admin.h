/* SPDX-License-Identifier: MIT */
/* admin.h -- the host's own endpoints on one worker: /health, /ready, /metrics.
 *
 * /health says that the loop turns. /ready asks the stores (a statement, a PING, the
 * state of the broker's connections), each within READY_TIMEOUT_MS, and names the one
 * that fails and why; it is 503 while the process drains. Redis does not decide about a
 * gateway, which goes on without it. It tells of the service's generation too, whose
 * state does not change the status: an old one serves when the newest does not load.
 * None is traced or logged; all are counted.
 */
#ifndef HOST_ADMIN_H
#define HOST_ADMIN_H

#include "watch/prometheus.h"

#include <stdatomic.h>
#include <stdint.h>

struct api;
struct http_request;
struct json;
struct log_hub;
struct meter;
struct vm;

#define READY_TIMEOUT_MS 1000

struct admin_shared { /* of the process, for all workers; zeroed at first */
	atomic_bool draining;
	_Atomic double cpu_seconds; /* already counted */
	_Atomic double logs_dropped; /* already counted */
};

/* What only the process as a whole knows (process_*, dropped log records), counted by
 * whoever asks, on its own meter. */
void admin_count_process(struct admin_shared *shared, const struct log_hub *logs,
			 struct meter *meter);

struct admin_config {
	const struct api *api; /* the worker's stores */
	struct log_hub *logs;
	struct admin_shared *shared;
	enum prometheus_dialect dialect;
	/* Writes further members of /ready's object, which is open: `generation`, and
	 * `error` when the newest source does not load. NULL: none. */
	void (*write_generation)(void *context, struct json *json);
	void *generation_context;
};

struct admin *admin_create(const struct admin_config *config);
void admin_destroy(struct admin *admin); /* after the pools; NULL is allowed */

/* True: the request was one of ours and is taken. */
bool admin_serve(struct admin *admin, struct http_request *request);

#endif
