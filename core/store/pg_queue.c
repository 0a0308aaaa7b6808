/* SPDX-License-Identifier: MIT */
/* pg_queue.c -- statements on their way: admitted, waiting, given a connection,
 * answered. */
#include "store/pg_pool_inner.h"

#include "base/check.h"
#include "watch/metrics.h"

/* --- answering -------------------------------------------------------------------- */

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

void pg_queue_answer(struct pg_pool *pool, struct pg_statement *statement,
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

void pg_queue_answer_ended(struct pg_pool *pool)
{
	struct list *member;

	while ((member = list_take(&pool->ended)))
		pg_queue_answer(pool, pg_statement_of(member), NULL);
}

static void answer_ended(void *context)
{
	pg_queue_answer_ended(context);
}

void pg_queue_end(struct pg_pool *pool, struct pg_statement *statement)
{
	leave(pool, statement);
	statement->slot = NULL;
	list_append(&pool->ended, &statement->step.member);
	loop_defer(pool->loop, &pool->answer, answer_ended, pool);
}

void pg_queue_fail(struct pg_pool *pool, struct pg_statement *statement,
		   enum fault_kind kind, const char *detail)
{
	pg_statement_blame(statement, kind, detail);
	pg_queue_end(pool, statement);
}

/* --- deadlines -------------------------------------------------------------------- */

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
		pg_queue_fail(pool, statement, FAULT_timeout,
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
	pg_queue_dispatch(pool);
}

static const char *refusal(const struct pg_statement *statement,
			   const struct pg_query *query)
{
	if (query->param_count > PG_PARAMS_MAX)
		return "too many parameters for one statement";
	return pg_text_refuse(query->sql, statement->purpose == PG_within);
}

bool pg_queue_admit(struct pg_pool *pool, struct pg_statement *statement,
		    const struct pg_query *query)
{
	const char *wrong = query ? refusal(statement, query) : NULL;

	statement->pool = pool;
	if (pool->destroying) {
		pg_queue_fail(pool, statement, FAULT_cancelled,
			      "the pool is being closed");
		return false;
	}
	if (wrong) {
		pg_queue_fail(pool, statement, FAULT_internal, wrong);
		return false;
	}
	for (size_t i = 0; query && i < query->param_count; i++) {
		const struct slice *param = &query->params[i];

		if (param->at && memchr(param->at, '\0', param->size)) {
			pg_queue_fail(pool, statement, FAULT_bad_input,
				      "a text for PostgreSQL holds a NUL byte");
			return false;
		}
	}
	if (statement->deadline.ns <= statement->began.ns) {
		pg_queue_fail(pool, statement, FAULT_timeout, "the time was up already");
		return false;
	}
	if (statement->deadline.ns != MONO_NEVER.ns)
		timer_start(pool->loop, &statement->timer, statement->deadline, expired,
			    statement);
	return true;
}

/* --- who gets which connection ---------------------------------------------------- */

static bool may_grow(const struct pg_pool *pool)
{
	return !pool->backing_off && !pool->destroying &&
	       pg_pool_size(pool) < pool->config.size_max;
}

/* Among those that serve single statements, the one with least to do; NULL when all are
 * full. */
static struct pg_slot *least_busy(struct pg_pool *pool)
{
	struct list *head = &pool->slots[PG_lent];
	struct pg_slot *best = NULL;

	for (struct list *each = head->next; each != head; each = each->next) {
		struct pg_slot *slot = pg_slot_of(each);

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

void pg_queue_dispatch(struct pg_pool *pool)
{
	/* The one used last first: its prepared statements are the fresh ones. */
	while (pool->waiting_count > 0 && pool->counts[PG_idle] > 0)
		assign(pool, pg_slot_of(pool->slots[PG_idle].previous));
	while (may_grow(pool) && pool->counts[PG_opening] < pool->waiting_count)
		pg_slot_open(pool);
	/* Who can be served by a connection that is opening waits for it. */
	while (pool->waiting_count > pool->counts[PG_opening] && !may_grow(pool) &&
	       pg_statement_of(pool->waiting.next)->purpose == PG_single) {
		struct pg_slot *slot = least_busy(pool);

		if (!slot)
			break;
		assign(pool, slot);
	}
	/* One connection is always kept or tried for. */
	if (may_grow(pool) && pg_pool_size(pool) == pool->counts[PG_closing])
		pg_slot_open(pool);
}

void pg_queue_wait_first(struct pg_pool *pool, struct list *before,
			 struct pg_statement *statement)
{
	list_append(before, &statement->step.member);
	statement->waiting = true;
	pool->waiting_count++;
	series_add(pool->waiting_series, 1);
}

static void wait_last(struct pg_pool *pool, struct pg_statement *statement)
{
	list_append(&pool->waiting, &statement->step.member);
	statement->waiting = true;
	pool->waiting_count++;
	series_add(pool->waiting_series, 1);
	if (pg_pool_is_down(pool)) {
		pg_queue_fail(pool, statement, FAULT_unavailable, pool->why.detail);
		return;
	}
	pg_queue_dispatch(pool);
	if (statement->waiting && pool->waiting_count > pool->config.waiting_max) {
		fault_set_status(&statement->step.why, FAULT_limit, 503,
				 "too many statements wait for PostgreSQL");
		pg_queue_end(pool, statement);
	}
}

static void held_enough(void *context)
{
	struct pg_statement *statement = context;

	list_remove(&statement->step.member);
	wait_last(statement->pool, statement);
}

/* Through the chaos point, then into the queue. */
void pg_queue_submit(struct pg_pool *pool, struct pg_statement *statement,
		     enum chaos_at at)
{
	struct chaos_effect effect = chaos_point(loop_chaos(pool->loop), at);

	statement->cut = effect.cut;
	if (effect.fail != FAULT_none) {
		pg_queue_fail(pool, statement, effect.fail, "broken on purpose");
	} else if (effect.delay_ms > 0) {
		list_append(&pool->held, &statement->step.member);
		timer_start(pool->loop, &statement->hold,
			    mono_after_ms(clock_mono(), effect.delay_ms), held_enough,
			    statement);
	} else {
		wait_last(pool, statement);
	}
}
