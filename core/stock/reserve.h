/* SPDX-License-Identifier: MIT */
/* reserve.h -- the native hot path: holding, releasing and selling stock.
 *
 * Requests of one worker that arrive while a batch is under way are gathered into the
 * next one, so that a hot SKU costs one lock and one commit for many orders. A batch is
 * one transaction in two round trips, and holds either reserves or releases and sales:
 *
 *     BEGIN; holds of these orders; stock rows FOR UPDATE in (sku, warehouse) order
 *       -> decide in C (batch.h) -> one UPDATE of stock, INSERTs of holds, lines and
 * movements; COMMIT
 *
 * Every request of it is decided alone, all or nothing over its lines, in order of
 * arrival. When the transaction fails for a reason of one request (a duplicate order id
 * from another worker), the batch is split and tried again one by one; a deadlock or a
 * serialization failure tries the whole again, up to three times. An order id already
 * decided gets its first answer again.
 *
 *     waiting --> in a batch --> answered
 *        \----- deadline -----> timeout (in a batch: uncertain)
 *
 * Each request is an INTERNAL span "stock.reserve", "stock.release" or "stock.sell" with
 * the attribute stock.batch.size; a batch's statements belong to the trace of its first
 * request.
 *
 * Invariants
 *   - 0 <= reserved <= on_hand for every row, checked again by the database.
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

enum stock_operation { STOCK_reserve, STOCK_release, STOCK_sell };

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
	struct slice hold_id; /* uuid text */
	struct wall expires_at;
	bool changed; /* false: it was so already */
	const struct stock_taken *taken;
	size_t taken_count;
};

/* why: refused (not enough: sku says of what; or the hold is already released or sold),
 * missing (unknown sku, or no hold of this order), bad_input (no lines, too many, a
 * quantity below 1, text that is too long or no text), or a store's failure. sku is empty
 * where it does not apply. */
typedef void stock_done_fn(void *context, const struct stock_answer *answer,
			   const struct fault *why, struct slice sku);

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
