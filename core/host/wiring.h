/* SPDX-License-Identifier: MIT */
/* wiring.h -- everything one worker has: made here, in order, and taken apart in reverse.
 *
 *   observer, chaos -> loop -> pools -> VM with the native modules -> service
 *
 * Nothing of it is shared with another worker. What the process has once (metrics, log
 * hub, helper threads, AMQP) is borrowed.
 */
#ifndef HOST_WIRING_H
#define HOST_WIRING_H

#include "api/api.h"
#include "base/chaos.h"
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
	char *lib_dir;
};

/* Makes loop, pools and VM; api.amqp, api.wake_job and the hubs' joining are the
 * caller's. On false nothing is left. */
bool wiring_init(struct wiring *wiring, const struct wiring_shared *shared,
		 struct fault *why);

/* Provides the native modules; after api is complete. */
bool wiring_open(struct wiring *wiring, struct fault *why);

/* Taking apart, when the loop has stopped, in three steps, because workers, AMQP and
 * helper threads still send mail to one another's loops. Each step does those before it.
 *
 *     stop     the pools, so that what waits for them ends; then the VM: its tasks have
 * ended unloop   the loop: the last mail is delivered finish   the rest, which that mail
 * needed: for all workers after all are unlooped
 */
void wiring_stop(struct wiring *wiring);
void wiring_unloop(struct wiring *wiring);
void wiring_finish(struct wiring *wiring);

#endif
