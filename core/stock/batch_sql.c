/* SPDX-License-Identifier: MIT */
/* The statements of a batch and their parameters: every list travels as one array, so
 * that the number of statements does not depend on the number of requests. */
#include "stock/batch.h"

#include "base/check.h"
#include "base/number.h"

#include <stdlib.h>

/* Rows are locked in order, since locking comes after sorting. */
static const char read_holds[] =
	"SELECT h.order_id, h.id, h.state, "
	"(extract(epoch FROM h.expires_at) * 1000000)::bigint AS expires_us, "
	"l.sku, l.warehouse, l.quantity, p.unit_price "
	"FROM holds h LEFT JOIN hold_lines l ON l.hold_id = h.id "
	"LEFT JOIN products p ON p.sku = l.sku "
	"WHERE h.order_id = ANY ($1::text[]) "
	"ORDER BY h.order_id, l.sku, l.warehouse FOR UPDATE OF h";

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
	"SELECT c.id, c.order_id, 'held', c.expires_at, now(), now() "
	"FROM unnest($1::uuid[], $2::text[], $3::timestamptz[]) AS c (id, order_id, "
	"expires_at)";

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
	"SELECT c.sku, c.warehouse, -c.quantity, 'sold', c.order_id, now() "
	"FROM unnest($1::text[], $2::text[], $3::integer[], $4::text[]) "
	"AS c (sku, warehouse, quantity, order_id)";

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

bool batch_read_stock(struct batch *batch, struct batch_statement *statement)
{
	if (batch->skus.count)
		read_names(batch, 1, &batch->skus, read_stock, statement);
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

static void holds_statement(struct batch *batch, size_t at, struct batch_statement *out)
{
	struct buf *params = statement_begin(batch, at, 3);
	char expires[CLOCK_ISO_SIZE];

	for (size_t i = 0; i < batch_count(batch); i++) {
		const struct batch_decision *decision = &batch->decisions[i];

		if (!decision->changed)
			continue;
		clock_iso(decision->expires_at, expires);
		array_text(&params[0], decision->hold_id);
		array_text(&params[1], batch->requests[i].order_id);
		array_text(&params[2], slice_text(expires));
	}
	statement_end(out, write_holds, params, 3);
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

struct change { /* of one row of stock, by a release or a sale */
	struct slice sku;
	struct slice warehouse;
	int64_t on_hand;
	int64_t reserved;
};

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
		bool sell = batch->requests[i].operation == STOCK_sell;

		for (size_t k = 0; decision->changed && k < decision->taken_count; k++) {
			const struct stock_taken *line = &decision->taken[k];

			changes[count++] = (struct change){ line->sku, line->warehouse,
							    sell ? line->quantity : 0,
							    line->quantity };
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

static void settled_statement(struct batch *batch, size_t at, struct batch_statement *out)
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
}

static void states_statement(struct batch *batch, size_t at, struct batch_statement *out)
{
	struct buf *params = statement_begin(batch, at, 2);

	for (size_t i = 0; i < batch_count(batch); i++) {
		if (!batch->decisions[i].changed)
			continue;
		array_text(&params[0], batch->decisions[i].hold_id);
		array_text(&params[1], batch->requests[i].operation == STOCK_sell
					       ? SLICE("sold")
					       : SLICE("released"));
	}
	statement_end(out, write_states, params, 2);
}

/* False: nothing was sold. */
static bool movements_statement(struct batch *batch, size_t at,
				struct batch_statement *out)
{
	struct buf *params = statement_begin(batch, at, 4);
	bool any = false;

	for (size_t i = 0; i < batch_count(batch); i++) {
		const struct batch_decision *decision = &batch->decisions[i];

		if (!decision->changed || batch->requests[i].operation != STOCK_sell)
			continue;
		for (size_t k = 0; k < decision->taken_count; k++) {
			any = true;
			array_text(&params[0], decision->taken[k].sku);
			array_text(&params[1], decision->taken[k].warehouse);
			array_integer(&params[2], decision->taken[k].quantity);
			array_text(&params[3], batch->requests[i].order_id);
		}
	}
	statement_end(out, write_movements, params, 4);
	return any;
}

size_t batch_writes(struct batch *batch, struct batch_statement out[BATCH_STATEMENTS_MAX])
{
	if (!batch->writes)
		return 0;
	if (batch->reserves) {
		reserved_statement(batch, 0, &out[0]);
		holds_statement(batch, 1, &out[1]);
		lines_statement(batch, 2, &out[2]);
		return 3;
	}
	settled_statement(batch, 0, &out[0]);
	states_statement(batch, 1, &out[1]);
	return movements_statement(batch, 2, &out[2]) ? 3 : 2;
}
