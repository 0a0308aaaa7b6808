/* SPDX-License-Identifier: MIT */
/* admission.h -- the line of requests that wait for a task to end: first come, first
 * served, bounded, each with its deadline.
 *
 * look is called when there may be a place for the first of them: once after each
 * admission_soon, later in that turn, and every ADMISSION_LOOK_MS while anybody waits. It
 * takes out those it serves.
 *
 * Invariants
 *   - count is the length of the line, and what the gauge tells of it.
 *   - each in the line has its timer started, until it fires.
 *   - with nobody in the line there is neither a timer nor a deferred call.
 */
#ifndef API_ADMISSION_H
#define API_ADMISSION_H

#include "loop/loop.h"

#define ADMISSION_LOOK_MS 10

struct http_request;
struct series;

struct admission {
	struct loop *loop;
	struct list waiting; /* struct admission_wait */
	unsigned count;
	unsigned count_max;
	struct deferred soon;
	struct timer again;
	loop_fn *look;
	void *context;
	struct series *gauge;
};

struct admission_wait { /* embedded in whoever waits; zeroed at first */
	struct list member;
	struct timer late;
};

/* Until when a request may be served: timeout_ms after its arrival, or what its caller
 * says it waits for (x-envoy-expected-rq-timeout-ms), whichever is earlier. */
struct mono admission_deadline(const struct http_request *request, int timeout_ms);

/* Borrows loop and gauge. */
void admission_init(struct admission *admission, struct loop *loop, unsigned count_max,
		    struct series *gauge, loop_fn *look, void *context);

static inline bool admission_full(const struct admission *admission)
{
	return admission->count >= admission->count_max;
}

/* To the end of the line. late is called at the deadline: it leaves then. */
void admission_join(struct admission *admission, struct admission_wait *wait,
		    struct mono deadline, loop_fn *late, void *context);

/* Out of the line, wherever in it. */
void admission_leave(struct admission *admission, struct admission_wait *wait);

/* The first in the line; NULL when it is empty. */
struct admission_wait *admission_first(const struct admission *admission);

/* A task is about to end. */
void admission_soon(struct admission *admission);

/* Checks the invariants. */
void admission_check(const struct admission *admission);

#endif
