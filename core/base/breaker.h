/* SPDX-License-Identifier: MIT */
/* breaker.h -- a circuit breaker as a pure state machine: when to stop asking somebody
 * who does not answer, and when to try again.
 *
 *     closed --failures in a row--> open --open_ms--> half open --success--> closed
 *                                     ^------failure------'
 *
 * While it is half open one attempt at a time is let through. Time is an argument. An
 * open breaker waits open_ms, twice as long after each failed trial, at most 8 times.
 *
 * Attempts that began before it opened say nothing while it is open; one that ends while
 * it is half open counts as the trial does.
 *
 * Invariants
 *   - closed: failures < failures_max, as it was at the last failure.
 *   - half open: at most one attempt that began there is out.
 *   - the other two states count no failures; only half open has an attempt out.
 */
#ifndef BASE_BREAKER_H
#define BASE_BREAKER_H

#include "base/clock.h"

enum breaker_state { BREAKER_closed, BREAKER_open, BREAKER_half_open };

const char *breaker_state_name(enum breaker_state state); /* "half_open" */

struct breaker_config {
	unsigned failures_max; /* in a row; 0: never opens */
	int open_ms;
};

struct breaker { /* zeroed: closed */
	enum breaker_state state;
	unsigned failures; /* in a row */
	unsigned trials; /* failed ones, since it was closed */
	bool trying; /* half open: an attempt is out */
	struct mono opened;
};

/* Whether an attempt may be made now; it does not count as begun. An open one whose time
 * is over is half open from here on; with failures_max 0 it closes. */
bool breaker_allows(struct breaker *breaker, const struct breaker_config *config,
		    struct mono now);

/* Somebody else has seen it answer since it opened: an open one is half open from here
 * on. */
void breaker_hear(struct breaker *breaker);

/* An attempt begins, and ends in one of three ways. */
void breaker_begin(struct breaker *breaker);
void breaker_succeed(struct breaker *breaker);
void breaker_fail(struct breaker *breaker, const struct breaker_config *config,
		  struct mono now);
void breaker_forget(struct breaker *breaker); /* it said nothing: cancelled */

void breaker_check(const struct breaker *breaker, const struct breaker_config *config);

#endif
