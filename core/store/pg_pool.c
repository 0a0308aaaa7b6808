/* SPDX-License-Identifier: MIT */
/* pg_pool.c -- who gets which connection, and when new ones are opened. */
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

/* --- answering -------------------------------------------------------------------------
 */

static void leave(struct pg_pool *pool, struct pg_statement *statement)
{
	list_remove(&statement->step.member);
	timer_stop(pool->loop, &statement->timer);
	timer_stop(pool->loop, &statement->hold);
	if (statement->waiting) {
		statement->waiting = false;
		pool->waiting_count--;
		series_add(pool->waiting_series, -1);
	}
}

void pg_pool_answer(struct pg_pool *pool, struct pg_statement *statement,
		    const struct pg_result *result)
{
	bool last =
		statement->purpose == PG_commits || statement->purpose == PG_rolls_back;
	struct pg_tx *tx = last ? statement->tx : NULL;

	leave(pool, statement);
	/* Its end was never sent: closing the connection rolls it back. */
	if (tx && tx->slot)
		pg_slot_close(tx->slot, "the transaction was not ended", NULL);
	pg_statement_finish(&pool->record, statement, result);
	if (tx)
		pg_tx_free(tx);
}

static void answer_ended(void *context)
{
	struct pg_pool *pool = context;
	struct list *member;

	while ((member = list_take(&pool->ended)))
		pg_pool_answer(pool, pg_statement_of(member), NULL);
}

void pg_pool_end(struct pg_pool *pool, struct pg_statement *statement)
{
	leave(pool, statement);
	statement->slot = NULL;
	list_append(&pool->ended, &statement->step.member);
	loop_defer(pool->loop, &pool->answer, answer_ended, pool);
}

void pg_pool_fail(struct pg_pool *pool, struct pg_statement *statement,
		  enum fault_kind kind, const char *detail)
{
	pg_statement_blame(statement, kind, detail);
	pg_pool_end(pool, statement);
}

/* --- deadlines -------------------------------------------------------------------------
 */

static void expired(void *context)
{
	struct pg_statement *statement = context;
	struct pg_pool *pool = statement->pool;
	bool reads = statement->purpose == PG_within || statement->purpose == PG_begins;

	if (statement->waiting)
		series_add(pool->timeouts_series, 1);
	if (!statement->slot) {
		if (statement->tx && statement->purpose == PG_within) {
			struct fault why;

			fault_set(&why, FAULT_timeout, "a statement was late");
			pg_tx_blame(statement->tx, &why, NULL);
		}
		pg_pool_fail(pool, statement, FAULT_timeout,
			     "no PostgreSQL connection was free in time");
		return;
	}
	if (statement->purpose == PG_single)
		reads = pg_text_reads(statement->step.sql);
	if (statement->purpose == PG_rolls_back)
		memset(&statement->step.why, 0, sizeof(statement->step.why));
	else
		pg_statement_blame(statement, reads ? FAULT_timeout : FAULT_uncertain,
				   "PostgreSQL did not answer in time");
	pg_slot_close(statement->slot,
		      "an earlier statement on the same connection took too long",
		      statement);
	pg_pool_dispatch(pool);
}

static const char *refusal(const struct pg_statement *statement,
			   const struct pg_query *query)
{
	if (query->param_count > PG_PARAMS_MAX)
		return "too many parameters for one statement";
	return pg_text_refuse(query->sql, statement->purpose == PG_within);
}

bool pg_pool_admit(struct pg_pool *pool, struct pg_statement *statement,
		   const struct pg_query *query)
{
	const char *wrong = query ? refusal(statement, query) : NULL;

	statement->pool = pool;
	if (pool->destroying) {
		pg_pool_fail(pool, statement, FAULT_cancelled,
			     "the pool is being closed");
		return false;
	}
	if (wrong) {
		pg_pool_fail(pool, statement, FAULT_internal, wrong);
		return false;
	}
	for (size_t i = 0; query && i < query->param_count; i++) {
		const struct slice *param = &query->params[i];

		if (param->at && memchr(param->at, '\0', param->size)) {
			pg_pool_fail(pool, statement, FAULT_bad_input,
				     "a text for PostgreSQL holds a NUL byte");
			return false;
		}
	}
	if (statement->deadline.ns <= statement->began.ns) {
		pg_pool_fail(pool, statement, FAULT_timeout, "the time was up already");
		return false;
	}
	if (statement->deadline.ns != MONO_NEVER.ns)
		timer_start(pool->loop, &statement->timer, statement->deadline, expired,
			    statement);
	return true;
}

/* --- who gets which connection ---------------------------------------------------------
 */

static unsigned size_of(const struct pg_pool *pool)
{
	return pool->counts[PG_opening] + pool->counts[PG_idle] + pool->counts[PG_lent] +
	       pool->counts[PG_closing];
}

static bool may_grow(const struct pg_pool *pool)
{
	return !pool->backing_off && !pool->destroying &&
	       size_of(pool) < pool->config.size_max;
}

static struct pg_slot *slot_of(struct list *member)
{
	return list_of(member, struct pg_slot, member);
}

/* Among those that serve single statements, the one with least to do; NULL when all are
 * full. */
static struct pg_slot *least_busy(struct pg_pool *pool)
{
	struct list *head = &pool->slots[PG_lent];
	struct pg_slot *best = NULL;

	for (struct list *each = head->next; each != head; each = each->next) {
		struct pg_slot *slot = slot_of(each);

		if (!slot->tx && slot->under_way < pool->config.pipeline_max &&
		    (!best || slot->under_way < best->under_way))
			best = slot;
	}
	return best;
}

static void assign(struct pg_pool *pool, struct pg_slot *slot)
{
	struct pg_statement *statement = pg_statement_of(list_take(&pool->waiting));

	statement->waiting = false;
	pool->waiting_count--;
	series_add(pool->waiting_series, -1);
	if (slot->state == PG_idle)
		pg_slot_move(slot, PG_lent);
	if (statement->purpose == PG_begins)
		pg_tx_lend(slot, statement);
	else
		pg_slot_send(slot, statement);
}

void pg_pool_dispatch(struct pg_pool *pool)
{
	/* The one used last first: its prepared statements are the fresh ones. */
	while (pool->waiting_count > 0 && pool->counts[PG_idle] > 0)
		assign(pool, slot_of(pool->slots[PG_idle].previous));
	while (may_grow(pool) && pool->counts[PG_opening] < pool->waiting_count)
		pg_slot_open(pool);
	while (pool->waiting_count > 0 && !may_grow(pool) &&
	       pg_statement_of(pool->waiting.next)->purpose == PG_single) {
		struct pg_slot *slot = least_busy(pool);

		if (!slot)
			break;
		assign(pool, slot);
	}
	/* One connection is always kept or tried for. */
	if (may_grow(pool) && size_of(pool) == pool->counts[PG_closing])
		pg_slot_open(pool);
}

void pg_pool_wait_first(struct pg_pool *pool, struct list *before,
			struct pg_statement *statement)
{
	list_append(before, &statement->step.member);
	statement->waiting = true;
	pool->waiting_count++;
	series_add(pool->waiting_series, 1);
}

/* No connection works, and none is being tried. */
static bool is_down(const struct pg_pool *pool)
{
	return pool->backing_off && pool->counts[PG_opening] == 0 &&
	       pool->counts[PG_idle] == 0 && pool->counts[PG_lent] == 0;
}

static void wait_last(struct pg_pool *pool, struct pg_statement *statement)
{
	list_append(&pool->waiting, &statement->step.member);
	statement->waiting = true;
	pool->waiting_count++;
	series_add(pool->waiting_series, 1);
	if (is_down(pool)) {
		pg_pool_fail(pool, statement, FAULT_unavailable, pool->why.detail);
		return;
	}
	pg_pool_dispatch(pool);
	if (statement->waiting && pool->waiting_count > pool->config.waiting_max) {
		fault_set_status(&statement->step.why, FAULT_limit, 503,
				 "too many statements wait for PostgreSQL");
		pg_pool_end(pool, statement);
	}
}

static void held_enough(void *context)
{
	struct pg_statement *statement = context;

	list_remove(&statement->step.member);
	wait_last(statement->pool, statement);
}

/* Through the chaos point, then into the queue. */
static void submit(struct pg_pool *pool, struct pg_statement *statement, enum chaos_at at)
{
	struct chaos_effect effect = chaos_point(loop_chaos(pool->loop), at);

	statement->cut = effect.cut;
	if (effect.fail != FAULT_none) {
		pg_pool_fail(pool, statement, effect.fail, "broken on purpose");
	} else if (effect.delay_ms > 0) {
		list_append(&pool->held, &statement->step.member);
		timer_start(pool->loop, &statement->hold,
			    mono_after_ms(clock_mono(), effect.delay_ms), held_enough,
			    statement);
	} else {
		wait_last(pool, statement);
	}
}

void pg_pool_query(struct pg_pool *pool, const struct pg_query *query, pg_done_fn *done,
		   void *context)
{
	struct pg_statement *statement =
		pg_statement_create(&pool->record, PG_single, query);

	statement->done = done;
	statement->context = context;
	if (pg_pool_admit(pool, statement, query))
		submit(pool, statement, CHAOS_pg_query);
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
	if (pg_pool_admit(pool, statement, NULL))
		submit(pool, statement, CHAOS_pg_begin);
}

/* --- losing and finding the server -----------------------------------------------------
 */

static void reopen(void *context)
{
	struct pg_pool *pool = context;

	pool->backing_off = false;
	pg_pool_dispatch(pool);
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
	if (!is_down(pool))
		return;
	if (!pool->down)
		log_printf(loop_observer(pool->loop)->log, LOG_warn, "%s", why->detail);
	pool->down = true;
	while ((member = pool->waiting.next) != &pool->waiting)
		pg_pool_fail(pool, pg_statement_of(member), FAULT_unavailable,
			     why->detail);
}

void pg_pool_opened(struct pg_pool *pool)
{
	if (pool->down)
		log_printf(loop_observer(pool->loop)->log, LOG_info,
			   "PostgreSQL is back");
	pool->down = false;
	pool->backoff_ms = 0;
	pg_pool_dispatch(pool);
}

bool pg_pool_healthy(const struct pg_pool *pool, struct fault *why)
{
	if (pool->counts[PG_idle] + pool->counts[PG_lent] > 0)
		return true;
	if (why)
		*why = pool->why;
	return false;
}

/* --- life ------------------------------------------------------------------------------
 */

static void flush(void *context)
{
	struct pg_pool *pool = context;
	struct list *head = &pool->slots[PG_lent];

	if (!pool->dirty)
		return;
	pool->dirty = false;
	for (struct list *each = head->next; each != head; each = each->next) {
		struct pg_slot *slot = slot_of(each);

		if (slot->dirty)
			pg_link_flush(slot->link);
		slot->dirty = false;
	}
}

static void open_first(void *context)
{
	pg_pool_dispatch(context);
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
		pg_pool_fail(pool, pg_statement_of(member), FAULT_cancelled,
			     "the pool is being closed");
}

static void cancel_link(struct pg_pool *pool, struct pg_slot *slot)
{
	struct pg_step *step;

	pg_link_close(slot->link);
	while ((step = pg_link_take(slot->link))) {
		step->why.kind = FAULT_none;
		pg_pool_fail(pool, list_of(step, struct pg_statement, step),
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
			cancel_link(pool, slot_of(each));
	cancel_all(pool, &pool->waiting);
	cancel_all(pool, &pool->held);
	fault_set(&why, FAULT_cancelled, "the pool is being closed");
	for (struct list *each = pool->txs.next; each != &pool->txs; each = each->next) {
		pg_tx_blame(list_of(each, struct pg_tx, member), &why, NULL);
		list_of(each, struct pg_tx, member)->slot = NULL;
	}
	/* Both call back, and what is asked for then is cancelled too. */
	answer_ended(pool);
	while (!list_empty(&pool->txs)) {
		pg_tx_orphan(list_of(pool->txs.next, struct pg_tx, member));
		answer_ended(pool);
	}
	for (int state = 0; state < PG_slot_states; state++)
		while (!list_empty(&pool->slots[state]))
			pg_slot_free(slot_of(pool->slots[state].next));
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
			const struct pg_slot *slot = slot_of(each);

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
	check(size_of(pool) <= pool->config.size_max);
	check(waiting == 0 || pool->counts[PG_idle] == 0);
}
