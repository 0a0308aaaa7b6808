/* SPDX-License-Identifier: MIT */
/* The statements of a batch and their parameters: every list travels as one array, so
 * that the number of statements does not depend on the number of requests. */
#include "stock/batch.h"

#include "base/check.h"
#include "base/number.h"

#include <stdlib.h>

/* Rows are locked in order, since locking comes after sorting. */
static const char read_holds[] =
	"SELECT order_id, id, state, "
	"(extract(epoch FROM expires_at) * 1000000)::bigint AS expires_us "
	"FROM holds WHERE order_id = ANY ($1::text[]) ORDER BY order_id FOR UPDATE";

static const char read_lines[] =
	"SELECT h.order_id, l.sku, l.warehouse, l.quantity, p.unit_price "
	"FROM holds h JOIN hold_lines l ON l.hold_id = h.id "
	"JOIN products p ON p.sku = l.sku WHERE h.order_id = ANY ($1::text[]) "
	"ORDER BY h.order_id, l.sku, l.warehouse";

static const char read_stock[] =
	"WITH locked AS MATERIALIZED (SELECT sku, warehouse, on_hand, reserved FROM "
	"stock "
	"WHERE sku = ANY ($1::text[]) ORDER BY sku, warehouse FOR UPDATE) "
	"SELECT p.sku, p.unit_price, k.warehouse, k.on_hand, k.reserved "
	"FROM products p LEFT JOIN locked k ON k.sku = p.sku "
	"WHERE p.sku = ANY ($1::text[]) ORDER BY p.sku, k.warehouse";

static const char write_reserved[] =
	"UPDATE stock s SET reserved = s.reserved + c.quantity "
	"FROM unnest($1::text[], $2::text[], $3::bigint[]) AS c (sku, warehouse, "
	"quantity) "
	"WHERE s.sku = c.sku AND s.warehouse = c.warehouse";

static const char write_holds[] =
	"INSERT INTO holds (id, order_id, state, expires_at, created_at, updated_at) "
	"SELECT c.id, c.order_id, c.state, c.expires_at, now(), now() "
	"FROM unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[]) "
	"AS c (id, order_id, state, expires_at) ORDER BY c.order_id";

static const char write_anew[] =
	"WITH gone AS (DELETE FROM hold_lines WHERE hold_id = ANY ($1::uuid[])) "
	"UPDATE holds h SET state = 'held', expires_at = c.expires_at, "
	"updated_at = now() FROM unnest($1::uuid[], $2::timestamptz[]) "
	"AS c (id, expires_at) WHERE h.id = c.id";

static const char write_lines[] =
	"INSERT INTO hold_lines (hold_id, sku, warehouse, quantity) "
	"SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::integer[])";

static const char write_settled[] =
	"WITH change AS MATERIALIZED (SELECT * FROM "
	"unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[]) "
	"AS c (sku, warehouse, on_hand, reserved)), "
	"locked AS MATERIALIZED (SELECT s.sku, s.warehouse, c.on_hand, c.reserved "
	"FROM stock s JOIN change c ON s.sku = c.sku AND s.warehouse = c.warehouse "
	"ORDER BY s.sku, s.warehouse FOR UPDATE OF s) "
	"UPDATE stock s SET on_hand = s.on_hand - k.on_hand, "
	"reserved = s.reserved - k.reserved FROM locked k "
	"WHERE s.sku = k.sku AND s.warehouse = k.warehouse";

static const char write_states[] =
	"UPDATE holds h SET state = c.state, updated_at = now() "
	"FROM unnest($1::uuid[], $2::text[]) AS c (id, state) WHERE h.id = c.id";

static const char write_movements[] =
	"INSERT INTO movements (sku, warehouse, quantity, reason, order_id, created_at) "
	"SELECT c.sku, c.warehouse, c.quantity, c.reason, c.order_id, now() "
	"FROM unnest($1::text[], $2::text[], $3::integer[], $4::text[], $5::text[]) "
	"AS c (sku, warehouse, quantity, reason, order_id)";

/* --- array literals --------------------------------------------------------------- */

void array_open(struct buf *out)
{
	buf_append_byte(out, '{');
}

static void array_comma(struct buf *out)
{
	if (out->at[out->size - 1] != '{')
		buf_append_byte(out, ',');
}

/* Always quoted: then only the quote and the backslash mean something, and the text NULL
 * is a text. An element never ends in an open brace: a text ends in its quote. */
void array_text(struct buf *out, struct slice text)
{
	char *at;

	array_comma(out);
	at = buf_reserve(out, text.size * 2 + 2);
	*at++ = '"';
	for (size_t i = 0; i < text.size; i++) {
		if (text.at[i] == '"' || text.at[i] == '\\')
			*at++ = '\\';
		*at++ = text.at[i];
	}
	*at++ = '"';
	out->size = (size_t)(at - out->at);
}

void array_integer(struct buf *out, int64_t value)
{
	char text[NUMBER_SIZE];
	size_t size = number_integer(value, text);

	array_comma(out);
	buf_append(out, slice_of(text, size));
}

void array_close(struct buf *out)
{
	buf_append_byte(out, '}');
}

/* --- statements ------------------------------------------------------------------- */

/* The arrays of one statement, opened; `at` is its number in the batch. */
static struct buf *statement_begin(struct batch *batch, size_t at, size_t param_count)
{
	struct buf *params = &batch->params[at * BATCH_PARAMS_MAX];

	check(at < BATCH_STATEMENTS_MAX && param_count <= BATCH_PARAMS_MAX);
	for (size_t i = 0; i < param_count; i++) {
		buf_reset(&params[i]);
		array_open(&params[i]);
	}
	return params;
}

static void statement_end(struct batch_statement *out, const char *sql,
			  struct buf *params, size_t param_count)
{
	out->sql = slice_text(sql);
	out->param_count = param_count;
	for (size_t i = 0; i < param_count; i++) {
		array_close(&params[i]);
		out->params[i] = buf_slice(&params[i]);
	}
}

static void read_names(struct batch *batch, size_t at, const struct batch_names *names,
		       const char *sql, struct batch_statement *out)
{
	struct buf *params = statement_begin(batch, at, 1);

	for (size_t i = 0; i < names->count; i++)
		array_text(&params[0], names->at[i]);
	statement_end(out, sql, params, 1);
}

void batch_read_holds(struct batch *batch, struct batch_statement *statement)
{
	read_names(batch, 0, &batch->orders, read_holds, statement);
}

void batch_read_lines(struct batch *batch, struct batch_statement *statement)
{
	read_names(batch, 1, &batch->orders, read_lines, statement);
}

bool batch_read_stock(struct batch *batch, struct batch_statement *statement)
{
	if (batch->skus.count)
		read_names(batch, 2, &batch->skus, read_stock, statement);
	return batch->skus.count > 0;
}

/* One element for each row of stock that something was taken from. */
static void reserved_statement(struct batch *batch, size_t at,
			       struct batch_statement *out)
{
	struct buf *params = statement_begin(batch, at, 3);

	for (size_t i = 0; i < batch->skus.count; i++) {
		const struct batch_sku *sku = &batch->sku[i];

		for (size_t row = sku->first_row; row < sku->first_row + sku->row_count;
		     row++) {
			if (!batch->rows[row].taken)
				continue;
			array_text(&params[0], batch->skus.at[i]);
			array_text(&params[1], batch->rows[row].warehouse);
			array_integer(&params[2], batch->rows[row].taken);
		}
	}
	statement_end(out, write_reserved, params, 3);
}

/* Holds of orders that had none. False: there are none. */
static bool holds_statement(struct batch *batch, size_t at, struct batch_statement *out)
{
	struct buf *params = statement_begin(batch, at, 4);
	char expires[CLOCK_ISO_SIZE];
	bool any = false;

	for (size_t i = 0; i < batch_count(batch); i++) {
		const struct batch_decision *decision = &batch->decisions[i];

		if (!decision->changed || decision->from != BATCH_none)
			continue;
		any = true;
		clock_iso(decision->expires_at, expires);
		array_text(&params[0], decision->hold_id);
		array_text(&params[1], batch->requests[i].order_id);
		array_text(&params[2], batch_state_name(decision->to));
		array_text(&params[3], slice_text(expires));
	}
	statement_end(out, write_holds, params, 4);
	return any;
}

/* Holds that expired and are taken again; their lines go. False: there are none. */
static bool anew_statement(struct batch *batch, size_t at, struct batch_statement *out)
{
	struct buf *params = statement_begin(batch, at, 2);
	char expires[CLOCK_ISO_SIZE];
	bool any = false;

	for (size_t i = 0; i < batch_count(batch); i++) {
		const struct batch_decision *decision = &batch->decisions[i];

		if (!decision->changed || decision->from != BATCH_expired)
			continue;
		any = true;
		clock_iso(decision->expires_at, expires);
		array_text(&params[0], decision->hold_id);
		array_text(&params[1], slice_text(expires));
	}
	statement_end(out, write_anew, params, 2);
	return any;
}

static void lines_statement(struct batch *batch, size_t at, struct batch_statement *out)
{
	struct buf *params = statement_begin(batch, at, 4);

	for (size_t i = 0; i < batch_count(batch); i++) {
		const struct batch_decision *decision = &batch->decisions[i];

		for (size_t k = 0; decision->changed && k < decision->taken_count; k++) {
			array_text(&params[0], decision->hold_id);
			array_text(&params[1], decision->taken[k].sku);
			array_text(&params[2], decision->taken[k].warehouse);
			array_integer(&params[3], decision->taken[k].quantity);
		}
	}
	statement_end(out, write_lines, params, 4);
}

struct change { /* of one row of stock, by settling */
	struct slice sku;
	struct slice warehouse;
	int64_t on_hand; /* that goes; negative: comes back */
	int64_t reserved; /* that is not any more */
};

/* What settling does to the units of a hold's line: -1 they leave, 1 they come back. */
static int units_moved(const struct batch_decision *decision)
{
	if (!decision->changed)
		return 0;
	return (decision->to == BATCH_returned) - (decision->to == BATCH_sold);
}

static int slice_order(struct slice a, struct slice b)
{
	int order = memcmp(a.at, b.at, a.size < b.size ? a.size : b.size);

	return order ? order : (a.size > b.size) - (a.size < b.size);
}

static int change_order(const void *left, const void *right)
{
	const struct change *a = left, *b = right;
	int order = slice_order(a->sku, b->sku);

	return order ? order : slice_order(a->warehouse, b->warehouse);
}

/* Changes of all granted requests, those of one row added up; gives how many. */
static size_t changes_collect(struct batch *batch, struct change *changes)
{
	size_t count = 0, kept = 0;

	for (size_t i = 0; i < batch_count(batch); i++) {
		const struct batch_decision *decision = &batch->decisions[i];
		bool held = decision->changed && decision->from == BATCH_held;
		int moved = units_moved(decision);

		for (size_t k = 0; (held || moved) && k < decision->taken_count; k++) {
			const struct stock_taken *line = &decision->taken[k];

			changes[count++] = (struct change){ line->sku, line->warehouse,
							    -moved * line->quantity,
							    held ? line->quantity : 0 };
		}
	}
	qsort(changes, count, sizeof *changes, change_order);
	for (size_t i = 0; i < count; i++) {
		if (kept && change_order(&changes[kept - 1], &changes[i]) == 0) {
			changes[kept - 1].on_hand += changes[i].on_hand;
			changes[kept - 1].reserved += changes[i].reserved;
		} else {
			changes[kept++] = changes[i];
		}
	}
	return kept;
}

/* False: no row of stock changes. */
static bool settled_statement(struct batch *batch, size_t at, struct batch_statement *out)
{
	struct change *changes =
		arena_alloc(&batch->arena, (batch->held_count + 1) * sizeof *changes);
	struct buf *params = statement_begin(batch, at, 4);
	size_t count = changes_collect(batch, changes);

	for (size_t i = 0; i < count; i++) {
		array_text(&params[0], changes[i].sku);
		array_text(&params[1], changes[i].warehouse);
		array_integer(&params[2], changes[i].on_hand);
		array_integer(&params[3], changes[i].reserved);
	}
	statement_end(out, write_settled, params, 4);
	return count > 0;
}

/* Holds that were there before. False: none changes. */
static bool states_statement(struct batch *batch, size_t at, struct batch_statement *out)
{
	struct buf *params = statement_begin(batch, at, 2);
	bool any = false;

	for (size_t i = 0; i < batch_count(batch); i++) {
		const struct batch_decision *decision = &batch->decisions[i];

		if (!decision->changed || decision->from == BATCH_none)
			continue;
		any = true;
		array_text(&params[0], decision->hold_id);
		array_text(&params[1], batch_state_name(decision->to));
	}
	statement_end(out, write_states, params, 2);
	return any;
}

/* False: nothing left and nothing came back. */
static bool movements_statement(struct batch *batch, size_t at,
				struct batch_statement *out)
{
	struct buf *params = statement_begin(batch, at, 5);
	bool any = false;

	for (size_t i = 0; i < batch_count(batch); i++) {
		const struct batch_decision *decision = &batch->decisions[i];
		int moved = units_moved(decision);

		for (size_t k = 0; moved && k < decision->taken_count; k++) {
			any = true;
			array_text(&params[0], decision->taken[k].sku);
			array_text(&params[1], decision->taken[k].warehouse);
			array_integer(&params[2], moved * decision->taken[k].quantity);
			array_text(&params[3], batch_state_name(decision->to));
			array_text(&params[4], batch->requests[i].order_id);
		}
	}
	statement_end(out, write_movements, params, 5);
	return any;
}

size_t batch_writes(struct batch *batch, struct batch_statement out[BATCH_STATEMENTS_MAX])
{
	size_t count = 0;

	if (!batch->writes)
		return 0;
	if (batch->reserves) {
		reserved_statement(batch, count, &out[count]), count++;
		count += anew_statement(batch, count, &out[count]);
		count += holds_statement(batch, count, &out[count]);
		lines_statement(batch, count, &out[count]), count++;
		return count;
	}
	count += settled_statement(batch, count, &out[count]);
	count += states_statement(batch, count, &out[count]);
	count += movements_statement(batch, count, &out[count]);
	count += holds_statement(batch, count, &out[count]);
	return count;
}
