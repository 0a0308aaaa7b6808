/* SPDX-License-Identifier: MIT */
/* pg_slot.c -- a connection's way through the pool's lists, and what becomes of its
 * statements. */
#include "store/pg_pool_inner.h"

#include "base/check.h"
#include "store/pg_result.h"
#include "watch/metrics.h"

#include <stdlib.h>

void pg_slot_move(struct pg_slot *slot, enum pg_slot_state state)
{
	struct pg_pool *pool = slot->pool;

	list_remove(&slot->member);
	pool->counts[slot->state]--;
	if (pool->connections[slot->state])
		series_add(pool->connections[slot->state], -1);
	slot->state = state;
	list_append(&pool->slots[state], &slot->member);
	pool->counts[state]++;
	if (pool->connections[state])
		series_add(pool->connections[state], 1);
}

void pg_slot_send(struct pg_slot *slot, struct pg_statement *statement)
{
	check(slot->state == PG_lent);
	slot->under_way++;
	slot->dirty = slot->pool->dirty = true;
	statement->slot = slot;
	pg_link_send(slot->link, &statement->step);
	if (statement->cut)
		pg_link_cut(slot->link);
}

/* Nothing is under way and no transaction has it: back to idle, if it is fit for
 * others. */
static void settle(struct pg_slot *slot)
{
	if (slot->state != PG_lent || slot->under_way > 0 || slot->tx)
		return;
	if (pg_link_in_transaction(slot->link) || pg_link_worn(slot->link))
		pg_slot_close(slot, "the connection was retired", NULL);
	else
		pg_slot_move(slot, PG_idle);
}

/* --- what the link tells ---------------------------------------------------------- */

static void opened(void *context)
{
	struct pg_slot *slot = context;

	pg_slot_move(slot, PG_idle);
	pg_pool_opened(slot->pool);
}

static void answer_failed(struct pg_statement *statement)
{
	struct pg_step *step = &statement->step;
	struct pg_tx *tx = statement->tx;

	if (!tx)
		return;
	/* "current transaction is aborted": say by what. */
	if (strcmp(step->error.code, "25P02") == 0 && tx->failed.kind != FAULT_none)
		step->why = tx->failed;
	else if (!statement->savepoint)
		pg_tx_blame(tx, &step->why, &step->error);
}

static void stepped(void *context, struct pg_step *step, const struct pg_result *result)
{
	struct pg_slot *slot = context;
	struct pg_pool *pool = slot->pool;
	struct pg_statement *statement = list_of(step, struct pg_statement, step);
	struct pg_tx *tx = statement->tx;

	slot->under_way--;
	statement->slot = NULL;
	if (statement->purpose == PG_single && !statement->again &&
	    pg_error_stale_plan(&step->error)) {
		statement->again = true;
		memset(&step->why, 0, sizeof(step->why));
		memset(&step->error, 0, sizeof(step->error));
		pg_queue_wait_first(pool, pool->waiting.next, statement);
		settle(slot);
		pg_queue_dispatch(pool);
		return;
	}
	if (step->why.kind != FAULT_none)
		answer_failed(statement);
	else if (statement->savepoint)
		memset(&tx->failed, 0, sizeof(tx->failed));
	if (statement->purpose == PG_commits || statement->purpose == PG_rolls_back) {
		tx->slot = NULL;
		slot->tx = NULL;
		if (statement->purpose == PG_commits && result &&
		    pg_result_rolled_back(result)) {
			step->error = tx->error;
			pg_statement_blame(
				statement,
				tx->failed.kind ? tx->failed.kind : FAULT_internal,
				tx->failed.kind ? tx->failed.detail
						: "the transaction was rolled back");
		}
	}
	settle(slot);
	pg_queue_dispatch(pool);
	pg_queue_answer(pool, statement, result);
}

static void lost(void *context, const struct fault *why)
{
	struct pg_slot *slot = context;
	struct pg_pool *pool = slot->pool;
	bool was_opening = slot->state == PG_opening;

	if (slot->state != PG_closing)
		pg_slot_close(slot, why->detail, NULL);
	if (was_opening)
		pg_pool_refused(pool, why);
	else
		pool->why = *why;
	pg_queue_dispatch(pool);
}

void pg_slot_open(struct pg_pool *pool)
{
	struct pg_slot *slot = mem_zeroed(1, sizeof(*slot));
	struct pg_link_owner owner = { opened, stepped, lost, slot };

	slot->pool = pool;
	slot->state = PG_opening;
	list_init(&slot->bury.member);
	list_append(&pool->slots[PG_opening], &slot->member);
	pool->counts[PG_opening]++;
	slot->link = pg_link_create(pool->loop, pool->target, pool->resolver,
				    pool->config.connect_timeout_ms, &owner);
}

/* --- closing ---------------------------------------------------------------------- */

void pg_slot_free(struct pg_slot *slot)
{
	struct pg_pool *pool = slot->pool;

	list_remove(&slot->member);
	pool->counts[slot->state]--;
	if (pool->connections[slot->state])
		series_add(pool->connections[slot->state], -1);
	loop_undefer(&slot->bury);
	pg_link_destroy(slot->link);
	free(slot);
}

static void bury(void *context)
{
	struct pg_slot *slot = context;
	struct pg_pool *pool = slot->pool;

	pg_slot_free(slot);
	pg_queue_dispatch(pool);
}

/* Which kind a statement fails with whose connection is gone; FAULT_none: it succeeded.
 * What the server said of the statement itself stays; what it said while ending the
 * session tells only that a statement which has not run did not run. */
static enum fault_kind fate(struct pg_statement *statement)
{
	struct pg_step *step = &statement->step;
	bool said = step->why.kind != FAULT_none;
	bool session_only = said && pg_error_ends_session(&step->error);

	switch (statement->purpose) {
	case PG_single:
		if (said && (!session_only || !step->finished))
			return step->why.kind;
		return pg_text_reads(step->sql) ? FAULT_unavailable : FAULT_uncertain;
	case PG_commits:
		if (said && !session_only)
			return step->why.kind;
		if (statement->tx->failed.kind != FAULT_none)
			return statement->tx->failed.kind;
		return FAULT_uncertain;
	case PG_rolls_back:
		return FAULT_none;
	default:
		return said ? step->why.kind : FAULT_unavailable;
	}
}

static void end_lost(struct pg_statement *statement, const char *detail)
{
	struct fault *why = &statement->step.why;
	enum fault_kind kind = fate(statement);

	if (kind == FAULT_none)
		why->kind = kind;
	else if (kind != why->kind)
		fault_set(why, kind, "%s", detail);
	pg_queue_end(statement->pool, statement);
}

void pg_slot_close(struct pg_slot *slot, const char *detail, struct pg_statement *late)
{
	struct pg_pool *pool = slot->pool;
	struct list *front = pool->waiting.next;
	struct pg_tx *tx = slot->tx;
	struct pg_step *step;

	check(slot->state != PG_closing);
	pg_link_close(slot->link);
	while ((step = pg_link_take(slot->link))) {
		struct pg_statement *statement = list_of(step, struct pg_statement, step);

		statement->slot = NULL;
		if (statement == late)
			pg_queue_end(pool, statement);
		else if (late && statement->purpose == PG_single && !statement->again &&
			 step->why.kind == FAULT_none && pg_text_reads(step->sql)) {
			statement->again = true;
			pg_queue_wait_first(pool, front, statement);
		} else
			end_lost(statement, detail);
	}
	slot->under_way = 0;
	slot->tx = NULL;
	pg_slot_move(slot, PG_closing);
	loop_defer(pool->loop, &slot->bury, bury, slot);
	if (tx && late)
		pg_tx_lose(tx, late->step.why.kind, late->step.why.detail);
	else if (tx)
		pg_tx_lose(tx, FAULT_unavailable, detail);
}
