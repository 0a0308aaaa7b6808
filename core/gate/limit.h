/* SPDX-License-Identifier: MIT */
/* limit.h -- rate limits: so many requests in so many seconds of each caller.
 *
 * The generic cell rate algorithm, decided by a script in Redis with Redis' own clock:
 * exact over any number of gateways and workers. All limits of a request are asked in one
 * round trip; it is counted against all of them or, when one refuses, against none. What
 * Redis keeps of a caller expires when its burst is whole again.
 *
 *     asking Redis <--> deciding here
 *
 * Without Redis each worker decides for itself with the same rule (limit_local.h):
 * together n of them then let through up to n times as much. A caller that the worker has
 * not decided about lately begins with a full burst. At most GATE_LIMIT_CALLERS callers
 * are remembered, the least recent are forgotten first.
 *
 * A worker turns to deciding here when Redis fails or has not answered within
 * GATE_LIMIT_REDIS_MS; the requests that wait then wait no longer than that. From then on
 * nobody waits: one request in GATE_LIMIT_PROBE_MS is told to Redis all the same, and
 * when that is answered in time, Redis is asked again. A log line says so each way.
 *
 * Callers are told apart by a hash of limit name and key, the first 16 bytes of SHA-256:
 * replicas agree on it, and neither addresses nor tokens stand in Redis. There the key is
 * "orrery:limit:" and the hash in hex.
 *
 * Series: gateway_limited_requests_total{limit,by} (by: redis, local; refused ones).
 *
 * Invariants
 *   - a ticket under way is told of once, within GATE_LIMIT_REDIS_MS and a turn.
 *   - while it decides here no ticket waits, but those that waited before.
 */
#ifndef GATE_LIMIT_H
#define GATE_LIMIT_H

#include "gate/plan.h"

struct loop;
struct redis_pool;
struct trace_context;
struct gate_limiter;
struct limit_call;

#define GATE_LIMIT_REDIS_MS 100
#define GATE_LIMIT_PROBE_MS 100
#define GATE_LIMIT_CALLERS 16384

struct gate_limit_verdict {
	bool allowed;
	bool local; /* decided without Redis */
	/* The limit that refused (the one with the longest wait), else the one with the
	 * least left. NULL: there was none. */
	const struct gate_limit_def *limit;
	double left; /* requests that may follow at once */
	double reset_s; /* until the burst is whole again */
	double retry_after_s; /* refused: until the next one is allowed */
};

struct gate_limit_ask {
	const struct gate_limit_def *limit; /* borrowed until done */
	struct slice key; /* of the caller; borrowed during the call */
};

typedef void gate_limit_done_fn(void *context, const struct gate_limit_verdict *verdict);

struct gate_limit_ticket { /* embedded; the members are limit.c's; zeroed: over */
	struct limit_call *call;
	gate_limit_done_fn *done;
	void *context;
};

/* Borrows both. redis NULL: decides here only. */
struct gate_limiter *gate_limiter_create(struct loop *loop, struct redis_pool *redis);

/* Tickets are forgotten. Before the pool or after it, if nobody asks in between; not from
 * inside done. NULL is allowed. */
void gate_limiter_destroy(struct gate_limiter *limiter);

/* ticket is zeroed or over. True: decided, verdict is filled and done is not called.
 * False: done comes later, once. count is at most GATE_LIMITS_PER_ROUTE; 0 is allowed, at
 * once. */
bool gate_limiter_ask(struct gate_limiter *limiter, struct gate_limit_ticket *ticket,
		      const struct gate_limit_ask *asks, size_t count,
		      const struct trace_context *trace,
		      struct gate_limit_verdict *verdict, gate_limit_done_fn *done,
		      void *context);

/* done will not be called. Does nothing when it is over. */
void gate_limit_withdraw(struct gate_limit_ticket *ticket);

void gate_limiter_check(const struct gate_limiter *limiter);

#endif
