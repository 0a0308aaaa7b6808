/* SPDX-License-Identifier: MIT */
/* service.h -- a service as its script describes it, read once when the file has run.
 *
 * The script returns a table (built by lib/app.lua): name, the arrays routes, jobs,
 * consumers, sockets, and what a gateway declares (gate_read.h). Their functions are kept
 * as registry references of the VM; their texts are copied.
 */
#ifndef API_SERVICE_H
#define API_SERVICE_H

#include "base/arena.h"
#include "base/fault.h"
#include "http/request_record.h"

#define SERVICE_KEYS_MAX 16

struct gate_plan;
struct vm;
struct router;

struct service_route {
	struct request_route about; /* method, path, series */
	/* Where its function is written: "scripts/x/service.lua:12", terminated; empty
	 * for one of C. */
	struct slice defined;
	int handler; /* registry reference */
	bool raw; /* the body is not JSON */
	bool admin; /* for operators: in admin_router */
	const struct service_socket *socket; /* or NULL */
};

struct service_job {
	struct slice name;
	double every_s;
	int handler;
};

struct service_consumer {
	struct slice queue;
	struct slice keys[SERVICE_KEYS_MAX];
	size_t key_count;
	unsigned prefetch;
	int handler;
};

struct service_socket {
	struct slice path;
	int accept; /* references; LUA_NOREF where the script has none */
	int open;
	int message;
	int close;
};

struct service {
	struct slice name;
	struct service_route *routes; /* one for each socket too */
	size_t route_count;
	struct service_job *jobs;
	size_t job_count;
	struct service_consumer *consumers;
	size_t consumer_count;
	struct service_socket *sockets;
	size_t socket_count;
	struct router *router; /* a route's handler is its struct service_route */
	struct router *admin_router; /* of routes that are admin */
	struct gate_plan *plan; /* NULL: it is no gateway */
	struct arena arena;
};

/* Runs the file under the VM's budgets, then reads what it returned. NULL with why when
 * it cannot: file and line of what is wrong stand in its detail wherever they are known
 * (see excerpt.h), vm_traceback has the rest of an error that was raised. The VM may have
 * kept something of the file: make a new one. */
struct service *service_load(struct vm *vm, const char *path, struct fault *why);
void service_destroy(struct service *service);

#endif
