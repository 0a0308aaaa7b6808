/* SPDX-License-Identifier: MIT */
/* pg_tx.c -- transactions: a connection of their own between BEGIN and COMMIT or
 * ROLLBACK.
 *
 * The transaction is lent as soon as BEGIN is sent; what its caller does next is
 * pipelined behind. When BEGIN fails, everything after it fails the same way.
 */
#include "store/pg_pool_inner.h"

#include "base/check.h"

#include <stdlib.h>

#define ROLLBACK_MS 2000
#define CLOSING "the pool is being closed"

static void lend(void *context)
{
	struct pg_tx *tx = context;
	pg_begun_fn *begun = tx->begun;

	tx->begun = NULL;
	begun(tx->context, tx, NULL);
}

void pg_tx_lend(struct pg_slot *slot, struct pg_statement *statement)
{
	struct slice state = statement->trace.state;
	struct pg_tx *tx = mem_zeroed(1, sizeof(*tx) + state.size);

	tx->loop = slot->pool->loop;
	tx->pool = slot->pool;
	tx->slot = slot;
	tx->begun = statement->begun;
	tx->context = statement->context;
	tx->traced = statement->span != NULL;
	tx->trace = statement->trace;
	if (state.size > 0)
		memcpy(tx + 1, state.at, state.size);
	tx->trace.state = slice_of((char *)(tx + 1), state.size);
	list_init(&tx->held);
	list_init(&tx->lend.member);
	list_append(&slot->pool->txs, &tx->member);
	statement->begun = NULL;
	statement->tx = tx;
	check(slot->tx == NULL);
	slot->tx = tx;
	pg_slot_send(slot, statement);
	loop_defer(tx->loop, &tx->lend, lend, tx);
}

void pg_tx_free(struct pg_tx *tx)
{
	check(list_empty(&tx->held));
	list_remove(&tx->member);
	timer_stop(tx->loop, &tx->hold);
	loop_undefer(&tx->lend);
	free(tx);
}

void pg_tx_blame(struct pg_tx *tx, const struct fault *why, const struct pg_error *error)
{
	if (tx->failed.kind != FAULT_none)
		return;
	tx->failed = *why;
	if (error)
		tx->error = *error;
}

void pg_tx_lose(struct pg_tx *tx, enum fault_kind kind, const char *detail)
{
	struct fault why;
	struct list *member;

	fault_set(&why, kind, "%s", detail);
	pg_tx_blame(tx, &why, NULL);
	tx->slot = NULL;
	timer_stop(tx->loop, &tx->hold);
	while ((member = list_take(&tx->held))) {
		struct pg_statement *statement = pg_statement_of(member);

		if (statement->purpose == PG_rolls_back)
			pg_queue_end(tx->pool, statement);
		else
			pg_queue_fail(tx->pool, statement, tx->failed.kind,
				      tx->failed.detail);
	}
}

/* --- after the pool --------------------------------------------------------------- */

/* An answer to the holder of a transaction whose pool is gone. */
struct late_answer {
	struct deferred deferred;
	pg_done_fn *done;
	void *context;
	bool well;
};

static void answer_late(void *context)
{
	static const struct pg_error nothing;
	struct late_answer *late = context;
	struct fault why;

	fault_set(&why, FAULT_cancelled, CLOSING);
	late->done(late->context, NULL, late->well ? NULL : &why,
		   late->well ? NULL : &nothing);
	free(late);
}

static void defer_answer(struct pg_tx *tx, bool well, pg_done_fn *done, void *context)
{
	struct late_answer *late;

	if (!done)
		return;
	late = mem_zeroed(1, sizeof(*late));
	late->done = done;
	late->context = context;
	late->well = well;
	loop_defer(tx->loop, &late->deferred, answer_late, late);
}

void pg_tx_orphan(struct pg_tx *tx)
{
	pg_begun_fn *begun = tx->begun;
	struct pg_pool *pool = tx->pool;
	struct list *member;
	struct fault why;

	fault_set(&why, FAULT_cancelled, CLOSING);
	while ((member = list_take(&tx->held)))
		pg_queue_fail(pool, pg_statement_of(member), FAULT_cancelled, CLOSING);
	pg_tx_blame(tx, &why, NULL);
	tx->slot = NULL;
	if (begun) {
		void *context = tx->context;

		pg_tx_free(tx);
		begun(context, NULL, &why);
		return;
	}
	timer_stop(tx->loop, &tx->hold);
	list_remove(&tx->member);
	tx->pool = NULL;
}

/* --- statements ------------------------------------------------------------------- */

static void release(void *context)
{
	struct pg_tx *tx = context;
	struct list *member;

	while (tx->slot && (member = list_take(&tx->held))) {
		struct pg_statement *statement = pg_statement_of(member);

		if (tx->failed.kind != FAULT_none && statement->purpose == PG_within &&
		    !statement->savepoint)
			pg_queue_fail(tx->pool, statement, tx->failed.kind,
				      tx->failed.detail);
		else
			pg_slot_send(tx->slot, statement);
	}
}

/* Statements keep their order, also behind one that chaos delays. */
static void submit(struct pg_tx *tx, struct pg_statement *statement, int delay_ms)
{
	if (delay_ms > 0 && !timer_started(&tx->hold))
		timer_start(tx->loop, &tx->hold, mono_after_ms(clock_mono(), delay_ms),
			    release, tx);
	if (timer_started(&tx->hold))
		list_append(&tx->held, &statement->step.member);
	else
		pg_slot_send(tx->slot, statement);
}

/* "ROLLBACK TO name": everything else that begins so was refused. */
static bool is_savepoint_rollback(const struct pg_statement *statement)
{
	return statement->verb == PG_rollback;
}

void pg_tx_query(struct pg_tx *tx, const struct pg_query *query, pg_done_fn *done,
		 void *context)
{
	struct pg_statement *statement;
	struct chaos_effect effect;

	if (!tx->pool) {
		defer_answer(tx, false, done, context);
		return;
	}
	statement = pg_statement_create(&tx->pool->record, PG_within, query);
	statement->pool = tx->pool;
	statement->tx = tx;
	statement->done = done;
	statement->context = context;
	statement->savepoint = is_savepoint_rollback(statement);
	if (!tx->slot || (tx->failed.kind != FAULT_none && !statement->savepoint)) {
		statement->step.error = tx->error;
		pg_queue_fail(tx->pool, statement, tx->failed.kind, tx->failed.detail);
		return;
	}
	if (!pg_queue_admit(tx->pool, statement, query)) {
		pg_tx_blame(tx, &statement->step.why, NULL);
		return;
	}
	effect = chaos_point(loop_chaos(tx->loop), CHAOS_pg_query);
	statement->cut = effect.cut;
	if (effect.fail != FAULT_none) {
		pg_queue_fail(tx->pool, statement, effect.fail,
			      "broken on purpose: pg_query");
		pg_tx_blame(tx, &statement->step.why, NULL);
		return;
	}
	submit(tx, statement, effect.delay_ms);
}

static struct pg_statement *ending(struct pg_tx *tx, enum pg_purpose purpose,
				   struct mono deadline, pg_done_fn *done, void *context)
{
	bool commit = purpose == PG_commits && tx->failed.kind == FAULT_none;
	struct pg_query query = { .sql = commit ? SLICE("COMMIT") : SLICE("ROLLBACK"),
				  .deadline = deadline,
				  .trace = tx->traced ? &tx->trace : NULL };
	struct pg_statement *statement =
		pg_statement_create(&tx->pool->record, purpose, &query);

	check(tx->begun == NULL);
	statement->pool = tx->pool;
	statement->tx = tx;
	statement->done = done;
	statement->context = context;
	return statement;
}

void pg_tx_commit(struct pg_tx *tx, struct mono deadline, pg_done_fn *done, void *context)
{
	struct chaos_effect effect;
	struct pg_statement *statement;
	struct fault why;

	if (!tx->pool) {
		defer_answer(tx, false, done, context);
		pg_tx_free(tx);
		return;
	}
	effect = chaos_point(loop_chaos(tx->loop), CHAOS_pg_commit);
	if (effect.fail != FAULT_none) {
		fault_set(&why, effect.fail, "broken on purpose: pg_commit");
		pg_tx_blame(tx, &why, NULL);
	}
	statement = ending(tx, PG_commits, deadline, done, context);
	if (!tx->slot) {
		statement->step.error = tx->error;
		pg_queue_fail(tx->pool, statement, tx->failed.kind, tx->failed.detail);
		return;
	}
	statement->cut = effect.cut;
	if (pg_queue_admit(tx->pool, statement, NULL))
		submit(tx, statement, effect.delay_ms);
}

void pg_tx_rollback(struct pg_tx *tx, pg_done_fn *done, void *context)
{
	struct mono deadline = mono_after_ms(clock_mono(), ROLLBACK_MS);
	struct pg_statement *statement;

	if (!tx->pool) {
		defer_answer(tx, true, done, context);
		pg_tx_free(tx);
		return;
	}
	statement = ending(tx, PG_rolls_back, deadline, done, context);
	if (!tx->slot)
		pg_queue_end(tx->pool, statement);
	else if (pg_queue_admit(tx->pool, statement, NULL))
		submit(tx, statement, 0);
}
