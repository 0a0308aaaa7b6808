/* SPDX-License-Identifier: MIT */
/* lane.h -- the transaction of one batch after another.
 *
 *     idle --lane_begin--> opening --> reading --> (deciding) --> writing --> over, idle
 *                             ^                                      |
 *                             `---- pause <---- deadlock, conflict --'
 *
 * A lane that is abandoned while the pool still owes it callbacks lives until the last
 * has come.
 */
#ifndef STOCK_LANE_H
#define STOCK_LANE_H

#include "base/buf.h"
#include "loop/loop.h"
#include "stock/batch.h"
#include "stock/waiter.h"
#include "store/pg_pool.h"

enum lane_end {
	LANE_done, /* written: lane->batch has the decisions */
	LANE_failed, /* lane->why, for all */
	LANE_split /* one request is to blame, and the database does not say which */
};

typedef void lane_over_fn(struct lane *lane, enum lane_end end);

struct lane {
	struct stock *stock;
	struct loop *loop;
	struct pg_pool *pool;
	struct random *random;
	lane_over_fn *over; /* NULL: abandoned */
	unsigned number; /* from 1 */
	struct batch batch;
	struct waiter **taken; /* the requests of the batch, filled in by the owner */
	size_t count; /* 0: idle */
	struct list alone; /* the owner's: of a batch that was split */
	struct pg_tx *tx;
	unsigned pending; /* callbacks of the pool that are to come */
	bool committing;
	bool failed;
	struct fault why;
	struct pg_error error;
	unsigned tries;
	struct timer pause;
};

struct lane *lane_create(struct loop *loop, struct pg_pool *pool, struct random *random,
			 unsigned batch_max, lane_over_fn *over);

/* lane->taken and count are set. over is called once, never inside. */
void lane_begin(struct lane *lane);

/* Frees it, now or after the last callback. over is not called any more. */
void lane_abandon(struct lane *lane);

#endif
