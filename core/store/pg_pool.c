/* SPDX-License-Identifier: MIT */
/* pg_pool.c -- a pool's life: made, refused and opened by the server, destroyed. */
#include "store/pg_pool_inner.h"

#include "base/check.h"
#include "store/pg_target.h"
#include "store/resolve.h"
#include "watch/log.h"
#include "watch/metrics.h"

#include <stdlib.h>

#define BACKOFF_FIRST_MS 100
#define BACKOFF_MAX_MS 5000
#define POOL_NAME SLICE("postgresql")

void pg_pool_query(struct pg_pool *pool, const struct pg_query *query, pg_done_fn *done,
		   void *context)
{
	struct pg_statement *statement =
		pg_statement_create(&pool->record, PG_single, query);

	statement->done = done;
	statement->context = context;
	if (pg_queue_admit(pool, statement, query))
		pg_queue_submit(pool, statement, CHAOS_pg_query);
}

void pg_pool_begin(struct pg_pool *pool, struct mono deadline,
		   const struct trace_context *trace, pg_begun_fn *done, void *context)
{
	struct pg_query query = { .sql = SLICE("BEGIN"),
				  .deadline = deadline,
				  .trace = trace };
	struct pg_statement *statement =
		pg_statement_create(&pool->record, PG_begins, &query);

	statement->begun = done;
	statement->context = context;
	if (pg_queue_admit(pool, statement, NULL))
		pg_queue_submit(pool, statement, CHAOS_pg_begin);
}

/* --- losing and finding the server ------------------------------------------------ */

unsigned pg_pool_size(const struct pg_pool *pool)
{
	return pool->counts[PG_opening] + pool->counts[PG_idle] + pool->counts[PG_lent] +
	       pool->counts[PG_closing];
}

bool pg_pool_is_down(const struct pg_pool *pool)
{
	return pool->backing_off && pool->counts[PG_opening] == 0 &&
	       pool->counts[PG_idle] == 0 && pool->counts[PG_lent] == 0;
}

static void reopen(void *context)
{
	struct pg_pool *pool = context;

	pool->backing_off = false;
	pg_queue_dispatch(pool);
}

void pg_pool_refused(struct pg_pool *pool, const struct fault *why)
{
	double share = 0.5 + random_unit(&pool->random) / 2;
	struct list *member;

	pool->why = *why;
	pool->backoff_ms = pool->backoff_ms ? pool->backoff_ms * 2 : BACKOFF_FIRST_MS;
	if (pool->backoff_ms > BACKOFF_MAX_MS)
		pool->backoff_ms = BACKOFF_MAX_MS;
	pool->backing_off = true;
	timer_start(pool->loop, &pool->reopen,
		    mono_after_ms(clock_mono(), (int64_t)(pool->backoff_ms * share)),
		    reopen, pool);
	if (!pg_pool_is_down(pool))
		return;
	if (!pool->down)
		log_printf(loop_observer(pool->loop)->log, LOG_warn, "%s", why->detail);
	pool->down = true;
	while ((member = pool->waiting.next) != &pool->waiting)
		pg_queue_fail(pool, pg_statement_of(member), FAULT_unavailable,
			      why->detail);
}

void pg_pool_opened(struct pg_pool *pool)
{
	if (pool->down)
		log_printf(loop_observer(pool->loop)->log, LOG_info,
			   "PostgreSQL is back");
	pool->down = false;
	pool->backoff_ms = 0;
	pg_queue_dispatch(pool);
}

bool pg_pool_healthy(const struct pg_pool *pool, struct fault *why)
{
	if (pool->counts[PG_idle] + pool->counts[PG_lent] > 0)
		return true;
	if (why)
		*why = pool->why;
	return false;
}

/* --- life ------------------------------------------------------------------------- */

static void flush(void *context)
{
	struct pg_pool *pool = context;
	struct list *head = &pool->slots[PG_lent];

	if (!pool->dirty)
		return;
	pool->dirty = false;
	for (struct list *each = head->next; each != head; each = each->next) {
		struct pg_slot *slot = pg_slot_of(each);

		if (slot->dirty)
			pg_link_flush(slot->link);
		slot->dirty = false;
	}
}

static void open_first(void *context)
{
	pg_queue_dispatch(context);
}

static void record_begin(struct pg_pool *pool)
{
	struct meter *meter = loop_observer(pool->loop)->meter;

	pool->record.observer = loop_observer(pool->loop);
	pool->record.database = slice_text(pg_target_database(pool->target));
	pool->record.address = slice_text(pg_target_host(pool->target));
	pool->record.port = pg_target_port(pool->target);
	pool->connections[PG_idle] =
		meter_own(meter, METRIC_pool_connections, 2, POOL_NAME, SLICE("idle"));
	pool->connections[PG_lent] =
		meter_own(meter, METRIC_pool_connections, 2, POOL_NAME, SLICE("used"));
	pool->waiting_series = meter_own(meter, METRIC_pool_waiting, 1, POOL_NAME);
	pool->max_series = meter_own(meter, METRIC_pool_max, 1, POOL_NAME);
	pool->timeouts_series = meter_own(meter, METRIC_pool_timeouts, 1, POOL_NAME);
	series_add(pool->connections[PG_idle], 0);
	series_add(pool->connections[PG_lent], 0);
	series_add(pool->waiting_series, 0);
	series_add(pool->max_series, pool->config.size_max);
	series_add(pool->timeouts_series, 0);
}

struct pg_pool *pg_pool_create(struct loop *loop, const struct pg_pool_config *config,
			       struct fault *why)
{
	struct pg_target *target = pg_target_create(config->url, why);
	struct pg_pool *pool;

	if (!target)
		return NULL;
	check(config->size_max > 0 && config->pipeline_max > 0);
	pool = mem_zeroed(1, sizeof(*pool));
	pool->loop = loop;
	pool->config = *config;
	pool->config.url = NULL;
	pool->target = target;
	pool->resolver = resolver_create(loop);
	for (int state = 0; state < PG_slot_states; state++)
		list_init(&pool->slots[state]);
	list_init(&pool->waiting);
	list_init(&pool->held);
	list_init(&pool->txs);
	list_init(&pool->ended);
	list_init(&pool->answer.member);
	list_init(&pool->first.member);
	random_init_secure(&pool->random);
	fault_set(&pool->why, FAULT_unavailable, "PostgreSQL: not connected yet");
	record_begin(pool);
	loop_tick_add(loop, &pool->tick, flush, pool);
	loop_defer(loop, &pool->first, open_first, pool);
	return pool;
}

/* Fails all that the list holds. */
static void cancel_all(struct pg_pool *pool, struct list *statements)
{
	struct list *member;

	while ((member = statements->next) != statements)
		pg_queue_fail(pool, pg_statement_of(member), FAULT_cancelled,
			      "the pool is being closed");
}

static void cancel_link(struct pg_pool *pool, struct pg_slot *slot)
{
	struct pg_step *step;

	pg_link_close(slot->link);
	while ((step = pg_link_take(slot->link))) {
		step->why.kind = FAULT_none;
		pg_queue_fail(pool, list_of(step, struct pg_statement, step),
			      FAULT_cancelled, "the pool is being closed");
	}
}

void pg_pool_destroy(struct pg_pool *pool)
{
	struct fault why;

	if (!pool)
		return;
	pool->destroying = true;
	timer_stop(pool->loop, &pool->reopen);
	for (int state = 0; state < PG_slot_states; state++)
		for (struct list *each = pool->slots[state].next;
		     each != &pool->slots[state]; each = each->next)
			cancel_link(pool, pg_slot_of(each));
	cancel_all(pool, &pool->waiting);
	cancel_all(pool, &pool->held);
	fault_set(&why, FAULT_cancelled, "the pool is being closed");
	for (struct list *each = pool->txs.next; each != &pool->txs; each = each->next) {
		pg_tx_blame(list_of(each, struct pg_tx, member), &why, NULL);
		list_of(each, struct pg_tx, member)->slot = NULL;
	}
	/* Both call back, and what is asked for then is cancelled too. */
	pg_queue_answer_ended(pool);
	while (!list_empty(&pool->txs)) {
		pg_tx_orphan(list_of(pool->txs.next, struct pg_tx, member));
		pg_queue_answer_ended(pool);
	}
	for (int state = 0; state < PG_slot_states; state++)
		while (!list_empty(&pool->slots[state]))
			pg_slot_free(pg_slot_of(pool->slots[state].next));
	series_add(pool->max_series, -(double)pool->config.size_max);
	loop_tick_remove(&pool->tick);
	loop_undefer(&pool->answer);
	loop_undefer(&pool->first);
	resolver_destroy(pool->resolver);
	pg_target_destroy(pool->target);
	free(pool);
}

void pg_pool_check(const struct pg_pool *pool)
{
	unsigned waiting = 0;

	for (int state = 0; state < PG_slot_states; state++) {
		unsigned count = 0;

		for (struct list *each = pool->slots[state].next;
		     each != &pool->slots[state]; each = each->next, count++) {
			const struct pg_slot *slot = pg_slot_of(each);

			pg_link_check(slot->link);
			check((int)slot->state == state);
			check(state == PG_lent || (!slot->tx && slot->under_way == 0));
			check(state != PG_lent || slot->tx || slot->under_way > 0);
			check(state != PG_idle || !pg_link_in_transaction(slot->link));
			check(!slot->tx || slot->tx->slot == slot);
			check(slot->under_way <= pool->config.pipeline_max || slot->tx);
		}
		check(count == pool->counts[state]);
	}
	for (struct list *each = pool->waiting.next; each != &pool->waiting;
	     each = each->next, waiting++)
		check(pg_statement_of(each)->waiting && !pg_statement_of(each)->slot);
	check(waiting == pool->waiting_count);
	check(pg_pool_size(pool) <= pool->config.size_max);
	check(waiting == 0 || pool->counts[PG_idle] == 0);
}
