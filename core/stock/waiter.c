/* SPDX-License-Identifier: MIT */
#include "stock/waiter.h"

#include "base/check.h"
#include "base/utf8.h"
#include "watch/trace.h"

#include <stdlib.h>

static bool text_fits(struct slice text, size_t size_max)
{
	return text.size > 0 && text.size <= size_max && !memchr(text.at, 0, text.size) &&
	       utf8_valid(text) == text.size;
}

bool waiter_accepts(const struct stock_request *request, struct slice *sku,
		    struct fault *why)
{
	if (!text_fits(request->order_id, STOCK_ORDER_MAX))
		return fault_set(why, FAULT_bad_input,
				 "an order id is text of 1 to %d bytes", STOCK_ORDER_MAX);
	if (request->operation != STOCK_reserve)
		return true;
	if (request->line_count < 1 || request->line_count > STOCK_LINES_MAX)
		return fault_set(why, FAULT_bad_input, "an order has 1 to %d lines",
				 STOCK_LINES_MAX);
	for (size_t i = 0; i < request->line_count; i++) {
		*sku = request->lines[i].sku;
		if (!text_fits(*sku, STOCK_SKU_MAX))
			return fault_set(why, FAULT_bad_input,
					 "a SKU is text of 1 to %d bytes", STOCK_SKU_MAX);
		if (request->lines[i].quantity < 1 ||
		    request->lines[i].quantity > INT32_MAX)
			return fault_set(why, FAULT_bad_input,
					 "a quantity is from 1 to %d", INT32_MAX);
	}
	*sku = SLICE("");
	return true;
}

void waiter_line(struct waiter *waiter, const struct stock_line *line)
{
	size_t at;

	for (at = 0; at < waiter->request.line_count; at++) {
		if (slice_equal(waiter->lines[at].sku, line->sku)) {
			waiter->lines[at].quantity += line->quantity;
			return;
		}
	}
	memcpy(waiter->skus[at], line->sku.at, line->sku.size);
	waiter->lines[at] =
		(struct stock_line){ slice_of(waiter->skus[at], line->sku.size),
				     line->quantity };
	waiter->request.line_count++;
}

static struct slice copy_id(struct waiter *waiter, struct slice id)
{
	if (id.size > STOCK_ORDER_MAX)
		id.size = STOCK_ORDER_MAX;
	if (id.size)
		memcpy(waiter->order_id, id.at, id.size);
	return slice_of(waiter->order_id, id.size);
}

static struct slice span_name(enum stock_operation operation)
{
	switch (operation) {
	case STOCK_reserve:
		return SLICE("stock.reserve");
	case STOCK_release:
		return SLICE("stock.release");
	case STOCK_sell:
		return SLICE("stock.sell");
	case STOCK_cancel:
		return SLICE("stock.cancel");
	case STOCK_expire:
		break;
	}
	return SLICE("stock.expire");
}

static void begin_span(struct waiter *waiter, struct loop *loop,
		       const struct stock_request *request)
{
	const struct trace_context *parent = request->trace;
	struct trace_context kept;

	if (parent) {
		kept = *parent;
		buf_reset(&waiter->trace_state);
		buf_append(&waiter->trace_state, parent->state);
		kept.state = buf_slice(&waiter->trace_state);
		parent = &kept;
	}
	waiter->span = span_start(loop_observer(loop)->tracer, SPAN_internal,
				  span_name(request->operation), parent);
}

void waiter_init(struct waiter *waiter, struct loop *loop,
		 const struct stock_request *request)
{
	list_init(&waiter->member);
	waiter->lane = NULL;
	waiter->answered = false;
	waiter->deadline = request->deadline;
	waiter->timer = (struct timer){ 0 };
	begin_span(waiter, loop, request);
	waiter->why.kind = FAULT_none;
	waiter->request =
		(struct batch_request){ .operation = request->operation,
					.order_id = copy_id(waiter, request->order_id),
					.lines = waiter->lines,
					.ttl_s = request->ttl_s };
}

void waiter_free(struct waiter *waiter)
{
	buf_finish(&waiter->trace_state);
	free(waiter);
}
