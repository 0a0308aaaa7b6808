/* SPDX-License-Identifier: MIT */
/* builder.h -- makes the generations of a service, on a thread of its own, and puts them
 * in service on all workers or on none.
 *
 *     a file changes, SIGHUP, orrery reload, a full VM
 *        --> read the sources --> build one generation per worker, aside
 *              --any fails--> nothing changes; the report says why
 *              --all built--> their series show, each worker swaps between two tasks,
 *                             the queues follow
 *
 * While a swap is under way nothing else is built; what is asked for meanwhile is built
 * once, afterwards. A file that changes to what was tried last is not tried again.
 */
#ifndef HOST_BUILDER_H
#define HOST_BUILDER_H

#include "base/fault.h"

struct builder;
struct conf;
struct intake;
struct log_hub;
struct metrics;
struct wiring;
struct worker_service;

struct builder_config { /* all borrowed */
	const struct conf *conf;
	struct log_hub *logs;
	struct metrics *metrics;
	struct wiring *const *wirings; /* one per worker, as these */
	struct worker_service *const *workers;
	size_t count;
	struct intake *intake;
};

struct builder *builder_create(const struct builder_config *config);

/* The first generation, before any worker's thread runs, on the calling thread. */
bool builder_first(struct builder *builder, struct fault *why);

/* From here on it watches and builds. */
void builder_start(struct builder *builder);

enum builder_reason {
	BUILDER_changed, /* files may have: only if they differ from the last attempt */
	BUILDER_asked, /* in any case */
	BUILDER_full /* the serving sources again: a VM stays above its soft limit */
};

/* Any thread. */
void builder_ask(struct builder *builder, enum builder_reason reason);

/* Any thread, about once a second: see watchdog_stuck. */
void builder_look(struct builder *builder);

/* Ends the thread. NULL is allowed; never started too. */
void builder_stop(struct builder *builder);

/* Stopped, and when no worker's loop exists any more. NULL is allowed. */
void builder_destroy(struct builder *builder);

#endif
