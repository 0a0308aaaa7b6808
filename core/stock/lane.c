/* SPDX-License-Identifier: MIT */
#include "stock/lane.h"

#include "base/check.h"
#include "watch/trace.h"

#include <stdlib.h>

#define TRIES_MAX 3
#define PAUSE_MS 5 /* before trying again at most, times the attempt */

static void lane_start(void *context);
static void lane_failed(struct lane *lane);

static struct mono lane_deadline(const struct lane *lane)
{
	struct mono latest = lane->taken[0]->deadline;

	for (size_t i = 1; i < lane->count; i++)
		if (lane->taken[i]->deadline.ns > latest.ns)
			latest = lane->taken[i]->deadline;
	return latest;
}

static void lane_free(struct lane *lane)
{
	batch_finish(&lane->batch);
	free(lane->taken);
	free(lane);
}

/* One callback has come. False: there is nobody left to do anything for. */
static bool lane_alive(struct lane *lane)
{
	lane->pending--;
	if (lane->over)
		return true;
	if (lane->pending == 0) {
		if (lane->tx)
			pg_tx_rollback(lane->tx, NULL, NULL);
		lane_free(lane);
	}
	return false;
}

static void lane_note(struct lane *lane, const struct fault *why,
		      const struct pg_error *error)
{
	if (!why || lane->failed)
		return;
	lane->failed = true;
	lane->why = *why;
	lane->error = error ? *error : (struct pg_error){ { 0 }, { 0 } };
}

static const struct trace_context *lane_trace(const struct lane *lane)
{
	return lane->taken[0]->span ? span_context(lane->taken[0]->span) : NULL;
}

static void lane_query(struct lane *lane, const struct batch_statement *statement,
		       pg_done_fn *done)
{
	struct pg_query query = { .sql = statement->sql,
				  .params = statement->params,
				  .param_count = statement->param_count,
				  .deadline = lane_deadline(lane),
				  .trace = lane_trace(lane) };

	lane->pending++;
	pg_tx_query(lane->tx, &query, done, lane);
}

static void lane_written(void *context, const struct pg_result *result,
			 const struct fault *why, const struct pg_error *error)
{
	struct lane *lane = context;

	lane_note(lane, why, error);
	if (!lane_alive(lane) || lane->pending)
		return;
	if (lane->failed)
		lane_failed(lane);
	else
		lane->over(lane, LANE_done);
}

static void lane_decide(struct lane *lane)
{
	struct batch_statement statements[BATCH_STATEMENTS_MAX];
	struct pg_tx *tx = lane->tx;
	size_t count;

	batch_decide(&lane->batch, clock_wall(), lane->random);
	count = batch_writes(&lane->batch, statements);
	for (size_t i = 0; i < count; i++)
		lane_query(lane, &statements[i], lane_written);
	lane->tx = NULL;
	if (count == 0) {
		pg_tx_rollback(tx, NULL, NULL);
		lane->over(lane, LANE_done);
		return;
	}
	lane->committing = true;
	lane->pending++;
	pg_tx_commit(tx, lane_deadline(lane), lane_written, lane);
}

static int64_t column_integer(const struct pg_result *result, size_t row, size_t column)
{
	struct slice text = pg_result_value(result, row, column);
	bool negative = text.size && text.at[0] == '-';
	unsigned long long value = 0;

	if (negative)
		text = slice_of(text.at + 1, text.size - 1);
	slice_to_uint(text, &value);
	return negative ? -(int64_t)value : (int64_t)value;
}

static void take_hold_rows(struct lane *lane, const struct pg_result *result)
{
	for (size_t i = 0; i < pg_result_rows(result); i++) {
		struct batch_hold hold = {
			.state = batch_state_of(pg_result_value(result, i, 2)),
			.id = pg_result_value(result, i, 1),
			.expires_at.ns = column_integer(result, i, 3) * 1000,
		};

		batch_hold_row(&lane->batch, pg_result_value(result, i, 0), &hold);
	}
}

static void take_line_rows(struct lane *lane, const struct pg_result *result)
{
	for (size_t i = 0; i < pg_result_rows(result); i++) {
		struct stock_taken line = {
			.sku = pg_result_value(result, i, 1),
			.warehouse = pg_result_value(result, i, 2),
			.quantity = column_integer(result, i, 3),
			.unit_price = column_integer(result, i, 4),
		};

		batch_line_row(&lane->batch, pg_result_value(result, i, 0), &line);
	}
}

static void take_stock_rows(struct lane *lane, const struct pg_result *result)
{
	for (size_t i = 0; i < pg_result_rows(result); i++) {
		struct batch_row row = { .warehouse = pg_result_value(result, i, 2),
					 .on_hand = column_integer(result, i, 3),
					 .reserved = column_integer(result, i, 4) };

		batch_stock_row(&lane->batch, pg_result_value(result, i, 0),
				column_integer(result, i, 1),
				row.warehouse.at ? &row : NULL);
	}
}

static void lane_read(struct lane *lane)
{
	if (lane->pending)
		return;
	if (lane->failed)
		lane_failed(lane);
	else
		lane_decide(lane);
}

static void lane_read_holds(void *context, const struct pg_result *result,
			    const struct fault *why, const struct pg_error *error)
{
	struct lane *lane = context;

	lane_note(lane, why, error);
	if (!lane_alive(lane))
		return;
	if (result)
		take_hold_rows(lane, result);
	lane_read(lane);
}

static void lane_read_lines(void *context, const struct pg_result *result,
			    const struct fault *why, const struct pg_error *error)
{
	struct lane *lane = context;

	lane_note(lane, why, error);
	if (!lane_alive(lane))
		return;
	if (result)
		take_line_rows(lane, result);
	lane_read(lane);
}

static void lane_read_stock(void *context, const struct pg_result *result,
			    const struct fault *why, const struct pg_error *error)
{
	struct lane *lane = context;

	lane_note(lane, why, error);
	if (!lane_alive(lane))
		return;
	if (result)
		take_stock_rows(lane, result);
	lane_read(lane);
}

static void lane_begun(void *context, struct pg_tx *tx, const struct fault *why)
{
	struct batch_statement statement;
	struct lane *lane = context;

	lane->tx = tx;
	lane_note(lane, why, NULL);
	if (!lane_alive(lane))
		return;
	if (lane->failed) {
		lane_failed(lane);
		return;
	}
	batch_read_holds(&lane->batch, &statement);
	lane_query(lane, &statement, lane_read_holds);
	batch_read_lines(&lane->batch, &statement);
	lane_query(lane, &statement, lane_read_lines);
	if (batch_read_stock(&lane->batch, &statement))
		lane_query(lane, &statement, lane_read_stock);
}

static void lane_open(void *context)
{
	struct lane *lane = context;

	lane->pending++;
	pg_pool_begin(lane->pool, lane_deadline(lane), lane_trace(lane), lane_begun,
		      lane);
}

static void lane_refused_by_chaos(void *context)
{
	struct lane *lane = context;

	lane->over(lane, LANE_failed);
}

static void lane_start(void *context)
{
	struct lane *lane = context;
	struct chaos_effect effect =
		chaos_point(loop_chaos(lane->loop), CHAOS_stock_batch);
	struct mono now = loop_now(lane->loop);

	lane->failed = lane->committing = false;
	batch_reset(&lane->batch);
	for (size_t i = 0; i < lane->count; i++)
		batch_add(&lane->batch, &lane->taken[i]->request);
	if (effect.fail || effect.cut) {
		fault_set(&lane->why, effect.fail ? effect.fail : FAULT_unavailable,
			  "failed on purpose");
		timer_start(lane->loop, &lane->pause, now, lane_refused_by_chaos, lane);
	} else if (effect.delay_ms > 0) {
		timer_start(lane->loop, &lane->pause, mono_after_ms(now, effect.delay_ms),
			    lane_open, lane);
	} else {
		lane_open(lane);
	}
}

void lane_begin(struct lane *lane)
{
	check(lane->count > 0 && !lane->tx && lane->pending == 0);
	lane->tries = 0;
	lane_start(lane);
}

/* --- failures --------------------------------------------------------------------- */

static bool code_is(const struct lane *lane, const char *code)
{
	return strcmp(lane->error.code, code) == 0;
}

static void lane_try_again(struct lane *lane)
{
	double most = PAUSE_MS * (double)lane->tries;
	int64_t ns = (int64_t)(random_unit(lane->random) * most * 1e6);
	struct mono due = { loop_now(lane->loop).ns + ns };

	timer_start(lane->loop, &lane->pause, due, lane_start, lane);
}

/* What the callers are told: before COMMIT was sent nothing can have been written. */
static void lane_blame(struct lane *lane, bool conflict)
{
	struct fault *why = &lane->why, said = lane->why;

	if (conflict)
		fault_set(why, FAULT_unavailable,
			  "the database is busy with the same stock");
	else if (lane->error.code[0])
		fault_set(why, FAULT_internal,
			  "the database refuses a stock statement: %.160s", said.detail);
	else if (lane->committing && why->kind != FAULT_cancelled)
		why->kind = FAULT_uncertain;
	else if (why->kind == FAULT_uncertain)
		why->kind = FAULT_unavailable;
}

static void lane_failed(struct lane *lane)
{
	bool conflict = code_is(lane, "40001") || code_is(lane, "40P01");
	bool taken =
		code_is(lane, "23505"); /* an order id, by another worker meanwhile */

	if (lane->tx)
		pg_tx_rollback(lane->tx, NULL, NULL);
	lane->tx = NULL;
	if ((conflict || (taken && lane->count == 1)) && ++lane->tries < TRIES_MAX) {
		lane_try_again(lane);
		return;
	}
	if (lane->error.code[0] && !conflict && lane->count > 1) {
		lane->over(lane, LANE_split);
		return;
	}
	lane_blame(lane, conflict);
	lane->over(lane, LANE_failed);
}

struct lane *lane_create(struct loop *loop, struct pg_pool *pool, struct random *random,
			 unsigned batch_max, lane_over_fn *over)
{
	struct lane *lane = mem_zeroed(1, sizeof *lane);

	lane->loop = loop;
	lane->pool = pool;
	lane->random = random;
	lane->over = over;
	lane->taken = mem_zeroed(batch_max, sizeof *lane->taken);
	list_init(&lane->alone);
	return lane;
}

void lane_abandon(struct lane *lane)
{
	timer_stop(lane->loop, &lane->pause);
	lane->over = NULL;
	if (lane->pending == 0)
		lane_free(lane);
}
