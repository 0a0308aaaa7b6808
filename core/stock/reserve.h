/* SPDX-License-Identifier: MIT */
/* reserve.h -- the native hot path: holding stock for orders, and what becomes of it.
 *
 * Requests of one worker that arrive while a batch is under way are gathered into the
 * next one, so that a hot SKU costs one lock and one commit for many orders. A batch is
 * one transaction in two round trips, and holds either reserves or requests that settle
 * (release, sell, cancel, expire):
 *
 *     BEGIN; holds of these orders FOR UPDATE; their lines; to reserve: stock rows FOR
 * UPDATE in (sku, warehouse) order
 *       -> decide in C (batch.h has the table of states) -> one UPDATE of stock (to
 * settle: locked in the same order first), changes of holds, lines, movements, and new
 * holds by order id; COMMIT
 *
 * Every request of it is decided alone, all or nothing over its lines, in order of
 * arrival. When the transaction fails for a reason of one request (another worker or
 * process has meanwhile made a hold of its order id), the batch is split and tried again
 * one by one, and each then finds that hold; a deadlock or a serialization failure tries
 * the whole again, up to three times. An order id already decided gets its first answer
 * again.
 *
 * Cancelling has an effect whatever came before, and whatever comes late: what is held is
 * released, what was sold comes back, and an order id that is not known yet is closed by
 * a hold without lines.
 *
 *     waiting --> in a batch --> answered
 *        \----- deadline -----> timeout (in a batch: uncertain)
 *
 * Each request is an INTERNAL span "stock.<operation>" with the attribute
 * stock.batch.size; a batch's statements belong to the trace of its first request.
 *
 * Invariants
 *   - 0 <= reserved <= on_hand for every row of stock, checked again by the database.
 *   - reserved is the sum of the lines of holds in state held; on_hand changes with a
 * movement of the same transaction only.
 *   - at most lanes batches are under way per worker; among reserves a SKU is in one lane
 * at a time, and an order id in one batch, where it is once.
 *   - requests that name a common SKU or order id are decided in the order of their
 * arrival.
 *   - a request answered uncertain may have been written; asking again with the same
 * order id tells.
 *
 * Tables: products, stock, holds, hold_lines, movements
 * (scripts/oms/inventory/schema.sql).
 */
#ifndef STOCK_RESERVE_H
#define STOCK_RESERVE_H

#include "base/clock.h"
#include "base/fault.h"

#include <stdint.h>

struct loop;
struct pg_pool;
struct trace_context;
struct stock;

#define STOCK_LINES_MAX 50
#define STOCK_SKU_MAX 32
#define STOCK_ORDER_MAX 128 /* bytes of an order id */

struct stock_config {
	unsigned batch_max; /* requests in one batch */
	unsigned waiting_max; /* requests not answered yet; more get limit */
	unsigned lanes;
};

struct stock_line {
	struct slice sku;
	int64_t quantity; /* > 0 */
};

enum stock_operation {
	STOCK_reserve,
	STOCK_release, /* what is held */
	STOCK_sell,
	STOCK_cancel, /* whatever became of it */
	STOCK_expire /* if it is held, and its time has passed */
};

struct stock_request { /* copied */
	enum stock_operation operation;
	struct slice order_id;
	const struct stock_line *lines; /* reserve only; a SKU named twice is summed */
	size_t line_count;
	int ttl_s; /* reserve only */
	struct mono deadline;
	const struct trace_context *trace;
};

struct stock_taken { /* one part of a hold */
	struct slice sku;
	struct slice warehouse;
	int64_t quantity;
	int64_t unit_price; /* minor units */
};

struct stock_answer { /* borrowed, only during done */
	struct slice hold_id; /* uuid text; empty: there is no hold */
	struct wall expires_at;
	bool changed; /* false: it was so already */
	const struct stock_taken *taken;
	size_t taken_count;
};

struct stock_blame { /* what a refusal is about; empty where it does not apply */
	struct slice sku;
	struct slice hold; /* the state of the order's hold: "sold" ... */
};

/* why: refused (not enough: blame.sku says of what; or the hold is in a state that does
 * not allow it: blame.hold), missing (unknown sku, or no hold of this order), bad_input
 * (no lines, too many, a quantity below 1, text that is too long or no text), or a
 * store's failure. blame is borrowed, only during the call. */
typedef void stock_done_fn(void *context, const struct stock_answer *answer,
			   const struct fault *why, struct stock_blame blame);

/* Gives. Borrows loop and pool. */
struct stock *stock_create(struct loop *loop, struct pg_pool *pool,
			   const struct stock_config *config);

/* Before its pool and its loop. What is not answered yet is answered cancelled, inside;
 * what was under way may still be written. Not inside a done. NULL is allowed. */
void stock_destroy(struct stock *stock);

/* Copies the request. */
void stock_submit(struct stock *stock, const struct stock_request *request,
		  stock_done_fn *done, void *context);

void stock_check(const struct stock *stock); /* the invariants; for tests */

#endif
