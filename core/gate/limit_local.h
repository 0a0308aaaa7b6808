/* SPDX-License-Identifier: MIT */
/* limit_local.h -- rate limits decided within one worker: a bucket for each caller that
 * was seen lately. Pure; time is an argument.
 *
 * Invariants
 *   - at most callers_max callers are remembered; the least recent is forgotten first.
 *   - a caller stands once in the order of use and once in its chain of the table.
 */
#ifndef GATE_LIMIT_LOCAL_H
#define GATE_LIMIT_LOCAL_H

#include "base/clock.h"
#include "gate/limit.h"

#define LIMIT_KEY_SIZE 16

struct limit_local;

/* One limit of a request and the hash of who asks. */
struct limit_local_ask {
	const struct gate_limit_def *limit;
	uint8_t key[LIMIT_KEY_SIZE];
};

struct limit_local *limit_local_create(size_t callers_max);
void limit_local_destroy(struct limit_local *local); /* NULL is allowed */

/* Counted against all limits or, when one refuses, against none. count is 1 to
 * GATE_LIMITS_PER_ROUTE, and at most callers_max. */
void limit_local_decide(struct limit_local *local, const struct limit_local_ask *asks,
			size_t count, struct mono now,
			struct gate_limit_verdict *verdict);

size_t limit_local_callers(const struct limit_local *local); /* remembered */

void limit_local_check(const struct limit_local *local);

#endif
