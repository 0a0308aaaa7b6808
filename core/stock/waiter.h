/* SPDX-License-Identifier: MIT */
/* waiter.h -- one request for stock, from stock_submit to its answer: a copy of what was
 * asked, its span and its deadline. Whose list it is in, and when it is answered, is
 * decided in reserve.c.
 */
#ifndef STOCK_WAITER_H
#define STOCK_WAITER_H

#include "base/buf.h"
#include "base/list.h"
#include "loop/loop.h"
#include "stock/batch.h"

struct lane;
struct span;

struct waiter { /* one request, from stock_submit to its answer */
	struct list member; /* in a list of its stock, or in lane->alone */
	struct stock *stock;
	struct lane *lane; /* NULL: not in a batch yet */
	bool answered; /* while its batch was under way: its deadline passed */
	struct batch_request request;
	struct mono deadline;
	struct timer timer;
	struct span *span;
	struct buf trace_state; /* of the span: its caller's task may end before it */
	stock_done_fn *done;
	void *context;
	struct fault why; /* of a request that never got in line */
	struct stock_line lines[STOCK_LINES_MAX]; /* what request points to */
	char order_id[STOCK_ORDER_MAX];
	char skus[STOCK_LINES_MAX][STOCK_SKU_MAX];
};

/* Whether the request makes sense; if not why, and the SKU to blame. */
bool waiter_accepts(const struct stock_request *request, struct slice *sku,
		    struct fault *why);

/* Fills a waiter that is zeroed or was used before: its span begins, its lines are to
 * come. Copies. */
void waiter_init(struct waiter *waiter, struct loop *loop,
		 const struct stock_request *request);

/* Adds a line that fits. A SKU named twice becomes one line. */
void waiter_line(struct waiter *waiter, const struct stock_line *line);

void waiter_free(struct waiter *waiter);

#endif
