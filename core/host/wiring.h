/* SPDX-License-Identifier: MIT */
/* wiring.h -- everything one worker has: made here, in order, and taken apart in reverse.
 *
 *   observer, chaos -> loop -> pools -> VM with the native modules
 *
 * Nothing of it is shared with another worker. What the process has once (metrics, log
 * hub, helper threads, AMQP) is borrowed.
 */
#ifndef HOST_WIRING_H
#define HOST_WIRING_H

#include "api/api.h"
#include "base/chaos.h"
#include "script/vm.h"
#include "watch/observer.h"

struct conf;
struct log_hub;
struct otel_config;
struct service;

struct wiring_shared { /* of the process; borrowed */
	const struct conf *conf;
	const struct otel_config *otel;
	struct log_hub *logs;
	struct metrics *metrics;
	struct helper *helper;
};

struct wiring {
	struct observer observer;
	struct chaos chaos;
	struct loop *loop;
	struct api api;
	const struct conf *conf;
	char *lib_dir;
};

/* Makes loop and pools; api.amqp, api.wake_job and the hubs' joining are the caller's. On
 * false nothing is left. */
bool wiring_init(struct wiring *wiring, const struct wiring_shared *shared,
		 struct fault *why);

/* For a service that is served: what it broadcasts reaches the other processes that serve
 * it, when there is a Redis. origin names this process (socket_feed.h). */
void wiring_open_feed(struct wiring *wiring, const char *origin);

/* RabbitMQ, which the process has once, for all workers: its threads and what they record
 * with. */
struct wiring_amqp {
	struct observer publisher, consumer;
	struct amqp *amqp; /* NULL: no amqp_url is set */
};

/* Borrows shared's logs and metrics; zeroed before. amqp_destroy is the caller's. */
bool wiring_amqp_open(struct wiring_amqp *wiring, const struct wiring_shared *shared,
		      struct fault *why);

/* The gateway of this worker, made when it is first asked for: for generations that have
 * a plan. Its loop's thread, or before it runs. Borrowed. */
struct gate *wiring_gate(struct wiring *wiring);

/* What it has under way; and the end of its tunnels, for a worker that drains. */
unsigned wiring_forwarding(const struct wiring *wiring);
void wiring_close_tunnels(struct wiring *wiring);

/* For commands, which have one VM for all: makes it, with the native modules, when api is
 * complete. A service's VMs belong to its generations (generation.h). */
bool wiring_open(struct wiring *wiring, struct fault *why);

/* What a VM of this worker is made with; borrows from wiring. */
struct vm_config wiring_vm_config(const struct wiring *wiring);

/* Taking apart, when the loop has stopped, in three steps, because workers, AMQP and
 * helper threads still send mail to one another's loops. Each step does those before it.
 *
 *     stop     the pools, so that what waits for them ends; then the VM: its tasks have
 *              ended
 *     unloop   the gateway, which those tasks told what they came to, and the loop: the
 *              last mail is delivered
 *     finish   the rest, which that mail needed: for all workers after all are unlooped
 */
void wiring_stop(struct wiring *wiring);
void wiring_unloop(struct wiring *wiring);
void wiring_finish(struct wiring *wiring);

#endif
