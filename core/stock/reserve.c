/* SPDX-License-Identifier: MIT */
/* A request's way, one thing to read from end to end: stock_submit, start_lanes,
 * lane_fill, then through lane.c and back to lane_over and answer.
 *
 * Budget: 10 microseconds of this process's CPU for a reservation of one unit among 64
 * customers, the pool's part included (test/bench/stock_bench.c); no memory is taken for
 * a request once UNUSED_MAX have been seen, except by what is beyond them.
 */
#include "stock/reserve.h"

#include "base/check.h"
#include "stock/lane.h"
#include "stock/waiter.h"
#include "watch/trace.h"

#include <stdlib.h>

/* Of names in use, by hash: a false match only makes a request wait. */
#define MARKS 1024
#define UNUSED_MAX 256 /* requests whose memory is kept for others */
#define SCAN_MAX 4 /* batches' worth of waiting requests looked at to fill one */

struct mark {
	uint16_t count;
	uint16_t lane;
	uint32_t passed; /* the scan in which a request that needs it was passed over */
};

struct stock {
	struct loop *loop;
	struct stock_config config;
	struct random random;
	struct list waiting; /* in order of arrival */
	struct list unused;
	struct list refused; /* to be answered later in this turn */
	unsigned unused_count;
	unsigned open; /* requests not answered or still in a lane */
	struct deferred start;
	struct deferred refuse;
	uint32_t scan;
	struct mark skus[MARKS];
	struct mark orders[MARKS];
	struct lane *lanes[];
};

static void start_lanes(void *context);

/* --- names in use ----------------------------------------------------------------- */

static struct mark *mark_of(struct mark *marks, struct slice name)
{
	uint64_t hash = 14695981039346656037u;

	for (size_t i = 0; i < name.size; i++)
		hash = (hash ^ (uint8_t)name.at[i]) * 1099511628211u;
	return &marks[(hash ^ hash >> 32) % MARKS];
}

static void mark_lane(struct stock *stock, const struct waiter *waiter, unsigned lane,
		      int step)
{
	struct mark *mark = mark_of(stock->orders, waiter->request.order_id);

	mark->count += step;
	for (size_t i = 0; i < waiter->request.line_count; i++) {
		mark = mark_of(stock->skus, waiter->request.lines[i].sku);
		mark->lane = (uint16_t)lane;
		mark->count += step;
	}
}

/* Whether the request may join the batch of this lane: nobody else works on what it
 * names, and nobody who came before waits for it. If not, those who come after must not
 * pass it either. */
static bool may_join(struct stock *stock, const struct waiter *waiter,
		     const struct lane *lane)
{
	const struct batch_request *request = &waiter->request;
	struct mark *order = mark_of(stock->orders, request->order_id);
	bool may = order->count == 0 && order->passed != stock->scan;
	const struct waiter *first = lane->count ? lane->taken[0] : waiter;

	may = may && (first->request.operation == STOCK_reserve) ==
			     (request->operation == STOCK_reserve);
	for (size_t i = 0; may && i < request->line_count; i++) {
		struct mark *mark = mark_of(stock->skus, request->lines[i].sku);

		may = (mark->count == 0 || mark->lane == lane->number) &&
		      mark->passed != stock->scan;
	}
	if (may)
		return true;
	order->passed = stock->scan;
	for (size_t i = 0; i < request->line_count; i++)
		mark_of(stock->skus, request->lines[i].sku)->passed = stock->scan;
	return false;
}

/* --- filling lanes ---------------------------------------------------------------- */

static void waiter_unuse(struct stock *stock, struct waiter *waiter)
{
	list_remove(&waiter->member);
	stock->open--;
	if (stock->unused_count == UNUSED_MAX) {
		waiter_free(waiter);
		return;
	}
	list_append(&stock->unused, &waiter->member);
	stock->unused_count++;
}

static void lane_take(struct stock *stock, struct lane *lane, struct waiter *waiter)
{
	list_remove(&waiter->member);
	waiter->lane = lane;
	lane->taken[lane->count++] = waiter;
}

static void lane_fill(struct stock *stock, struct lane *lane)
{
	size_t looked = 0;

	while (!list_empty(&lane->alone) && lane->count == 0) {
		struct waiter *waiter = list_of(lane->alone.next, struct waiter, member);

		if (waiter->answered) {
			mark_lane(stock, waiter, lane->number, -1);
			waiter_unuse(stock, waiter);
		} else {
			lane_take(stock, lane, waiter);
		}
	}
	if (lane->count)
		return;
	stock->scan++;
	for (struct list *at = stock->waiting.next, *next;
	     at != &stock->waiting && lane->count < stock->config.batch_max &&
	     looked++ < SCAN_MAX * (size_t)stock->config.batch_max;
	     at = next) {
		struct waiter *waiter = list_of(at, struct waiter, member);

		next = at->next;
		if (!may_join(stock, waiter, lane))
			continue;
		lane_take(stock, lane, waiter);
		mark_lane(stock, waiter, lane->number, 1);
	}
}

static void start_lanes(void *context)
{
	struct stock *stock = context;

	for (unsigned i = 0; i < stock->config.lanes; i++) {
		struct lane *lane = stock->lanes[i];

		if (lane->count)
			continue;
		lane_fill(stock, lane);
		if (lane->count)
			lane_begin(lane);
	}
}

/* --- answers ---------------------------------------------------------------------- */

static const struct stock_blame nobody;

static void answer(struct waiter *waiter, const struct stock_answer *granted,
		   const struct fault *why, struct stock_blame blame, size_t batch_size)
{
	struct span *span = waiter->span;

	if (waiter->answered)
		return;
	waiter->answered = true;
	waiter->span = NULL;
	timer_stop(waiter->stock->loop, &waiter->timer);
	if (batch_size)
		span_attr(span,
			  attr_integer(SLICE("stock.batch.size"), (int64_t)batch_size));
	if (why)
		span_fail(span, slice_text(fault_name(why->kind)),
			  slice_text(why->detail));
	span_end(span);
	waiter->done(waiter->context, granted, why, blame);
}

static void answer_decided(struct lane *lane, size_t at)
{
	const struct batch_decision *decision = batch_decision(&lane->batch, at);
	struct stock_answer granted = { decision->hold_id, decision->expires_at,
					decision->changed, decision->taken,
					decision->taken_count };
	struct stock_blame blame = { decision->sku, batch_state_name(decision->blamed) };
	struct fault why;

	if (!decision->fault) {
		answer(lane->taken[at], &granted, NULL, nobody, lane->count);
		return;
	}
	fault_set(&why, decision->fault, "%s%s%.*s", decision->detail,
		  decision->sku.size ? ": " : "", SLICE_PRINT(decision->sku));
	answer(lane->taken[at], NULL, &why, blame, lane->count);
}

static void lane_over(struct lane *lane, enum lane_end end)
{
	struct stock *stock = lane->stock;
	size_t count = lane->count;

	for (size_t i = 0; end == LANE_split && i < count; i++) {
		list_remove(&lane->taken[i]->member);
		list_append(&lane->alone, &lane->taken[i]->member);
	}
	for (size_t i = 0; end != LANE_split && i < count; i++)
		mark_lane(stock, lane->taken[i], lane->number, -1);
	for (size_t i = 0; end != LANE_split && i < count; i++) {
		if (end == LANE_done)
			answer_decided(lane, i);
		else
			answer(lane->taken[i], NULL, &lane->why, nobody, count);
	}
	for (size_t i = 0; end != LANE_split && i < count; i++)
		waiter_unuse(stock, lane->taken[i]);
	lane->count = 0;
	loop_defer(stock->loop, &stock->start, start_lanes, stock);
}

/* The deadline. In a batch the request goes on without its caller. */
static void waiter_late(void *context)
{
	struct waiter *waiter = context;
	struct fault why;

	if (waiter->lane) {
		fault_set(&why, FAULT_uncertain, "the database did not answer in time");
		answer(waiter, NULL, &why, nobody, 0);
	} else {
		fault_set(&why, FAULT_timeout, "other requests for stock took too long");
		answer(waiter, NULL, &why, nobody, 0);
		waiter_unuse(waiter->stock, waiter);
	}
}

/* --- requests --------------------------------------------------------------------- */

static struct waiter *waiter_create(struct stock *stock,
				    const struct stock_request *request,
				    stock_done_fn *done, void *context)
{
	struct list *unused = list_take(&stock->unused);
	struct waiter *waiter = unused ? list_of(unused, struct waiter, member)
				       : mem_zeroed(1, sizeof *waiter);

	stock->unused_count -= unused != NULL;
	stock->open++;
	waiter_init(waiter, stock->loop, request);
	waiter->stock = stock;
	waiter->done = done;
	waiter->context = context;
	return waiter;
}

/* Requests that never get in line. */
static void answer_refused(void *context)
{
	struct stock *stock = context;
	struct list *first;

	while (!list_empty(&stock->refused)) {
		struct stock_blame blame = nobody;
		struct waiter *waiter;

		first = stock->refused.next;
		waiter = list_of(first, struct waiter, member);
		if (waiter->request.line_count)
			blame.sku = waiter->lines[0].sku;
		answer(waiter, NULL, &waiter->why, blame, 0);
		waiter_unuse(stock, waiter);
	}
}

static void refuse_later(struct stock *stock, struct waiter *waiter, struct slice sku)
{
	if (sku.size > STOCK_SKU_MAX)
		sku.size = STOCK_SKU_MAX;
	if (sku.size)
		waiter_line(waiter, &(struct stock_line){ sku, 1 });
	list_append(&stock->refused, &waiter->member);
	loop_defer(stock->loop, &stock->refuse, answer_refused, stock);
}

void stock_submit(struct stock *stock, const struct stock_request *request,
		  stock_done_fn *done, void *context)
{
	bool full = stock->open >= stock->config.waiting_max;
	struct waiter *waiter = waiter_create(stock, request, done, context);
	struct slice sku = { 0 };

	if (full)
		fault_set_status(&waiter->why, FAULT_limit, 503,
				 "%u requests for stock are under way already",
				 stock->open - 1);
	if (full || !waiter_accepts(request, &sku, &waiter->why)) {
		refuse_later(stock, waiter, sku);
		return;
	}
	for (size_t i = 0; request->operation == STOCK_reserve && i < request->line_count;
	     i++)
		waiter_line(waiter, &request->lines[i]);
	list_append(&stock->waiting, &waiter->member);
	timer_start(stock->loop, &waiter->timer, request->deadline, waiter_late, waiter);
	loop_defer(stock->loop, &stock->start, start_lanes, stock);
}

/* --- life ------------------------------------------------------------------------- */

struct stock *stock_create(struct loop *loop, struct pg_pool *pool,
			   const struct stock_config *config)
{
	struct stock *stock =
		mem_zeroed(1, sizeof *stock + config->lanes * sizeof stock->lanes[0]);

	check(config->lanes > 0 && config->batch_max > 0);
	stock->loop = loop;
	stock->config = *config;
	random_init_secure(&stock->random);
	list_init(&stock->waiting);
	list_init(&stock->unused);
	list_init(&stock->refused);
	for (unsigned i = 0; i < config->lanes; i++) {
		stock->lanes[i] = lane_create(loop, pool, &stock->random,
					      config->batch_max, lane_over);
		stock->lanes[i]->stock = stock;
		stock->lanes[i]->number = i + 1;
	}
	return stock;
}

static void cancel(struct waiter *waiter)
{
	struct fault why;

	fault_set(&why, FAULT_cancelled, "the service stops");
	answer(waiter, NULL, &why, nobody, 0);
	list_remove(&waiter->member);
	waiter_free(waiter);
}

static void cancel_all(struct list *list)
{
	while (!list_empty(list))
		cancel(list_of(list->next, struct waiter, member));
}

void stock_destroy(struct stock *stock)
{
	if (!stock)
		return;
	loop_undefer(&stock->start);
	loop_undefer(&stock->refuse);
	for (unsigned i = 0; i < stock->config.lanes; i++) {
		struct lane *lane = stock->lanes[i];

		for (size_t k = 0; k < lane->count; k++)
			cancel(lane->taken[k]);
		cancel_all(&lane->alone);
		lane_abandon(lane);
	}
	cancel_all(&stock->waiting);
	cancel_all(&stock->refused);
	for (struct list *first; (first = list_take(&stock->unused));)
		waiter_free(list_of(first, struct waiter, member));
	free(stock);
}

static unsigned list_count(const struct list *list)
{
	unsigned count = 0;

	for (const struct list *at = list->next; at != list; at = at->next)
		count++;
	return count;
}

void stock_check(const struct stock *stock)
{
	unsigned inside = 0, marked = 0, open;

	for (unsigned i = 0; i < stock->config.lanes; i++) {
		const struct lane *lane = stock->lanes[i];

		check(lane->count <= stock->config.batch_max);
		check(lane->count > 0 || (!lane->tx && lane->pending == 0));
		for (size_t k = 0; k < lane->count; k++)
			check(lane->taken[k]->lane == lane);
		inside += (unsigned)lane->count + list_count(&lane->alone);
	}
	for (unsigned i = 0; i < MARKS; i++)
		marked += stock->orders[i].count;
	check(marked == inside);
	open = inside + list_count(&stock->waiting) + list_count(&stock->refused);
	check(open == stock->open);
}
