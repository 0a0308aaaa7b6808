/* SPDX-License-Identifier: MIT */
#include "stock/batch.h"

#include "base/check.h"

#include <stdlib.h>

/* --- memory and names ------------------------------------------------------------- */

static void *grow(void *memory, size_t *capacity, size_t need, size_t size)
{
	if (need <= *capacity)
		return memory;
	while (*capacity < need)
		*capacity = *capacity ? *capacity * 2 : 16;
	return mem_resize(memory, *capacity * size);
}

static uint64_t hash_of(struct slice name)
{
	uint64_t hash = 14695981039346656037u;

	for (size_t i = 0; i < name.size; i++)
		hash = (hash ^ (uint8_t)name.at[i]) * 1099511628211u;
	return hash ^ hash >> 29;
}

/* The slot of name: its own, or the empty one where it would go. */
static uint32_t *names_slot(const struct batch_names *names, struct slice name)
{
	size_t mask = names->slot_count - 1;

	for (size_t at = hash_of(name) & mask;; at = (at + 1) & mask) {
		uint32_t number = names->slots[at];

		if (number == 0 || slice_equal(names->at[number - 1], name))
			return &names->slots[at];
	}
}

static void names_widen(struct batch_names *names)
{
	names->slot_count = names->slot_count ? names->slot_count * 2 : 64;
	names->slots = mem_resize(names->slots, names->slot_count * sizeof *names->slots);
	memset(names->slots, 0, names->slot_count * sizeof *names->slots);
	for (size_t i = 0; i < names->count; i++)
		*names_slot(names, names->at[i]) = (uint32_t)i + 1;
}

static size_t names_add(struct batch_names *names, struct slice name, bool *added)
{
	uint32_t *slot;

	if ((names->count + 1) * 2 > names->slot_count)
		names_widen(names);
	slot = names_slot(names, name);
	*added = *slot == 0;
	if (*added) {
		names->at = grow(names->at, &names->capacity, names->count + 1,
				 sizeof *names->at);
		names->at[names->count++] = name;
		*slot = (uint32_t)names->count;
	}
	return *slot - 1;
}

/* SIZE_MAX when it is not there. */
static size_t names_find(const struct batch_names *names, struct slice name)
{
	return names->count ? (size_t)*names_slot(names, name) - 1 : SIZE_MAX;
}

static void names_reset(struct batch_names *names)
{
	names->count = 0;
	if (names->slots)
		memset(names->slots, 0, names->slot_count * sizeof *names->slots);
}

static void names_finish(struct batch_names *names)
{
	free(names->at);
	free(names->slots);
}

void batch_finish(struct batch *batch)
{
	arena_finish(&batch->arena);
	names_finish(&batch->orders);
	names_finish(&batch->skus);
	free(batch->requests);
	free(batch->holds);
	free(batch->sku);
	free(batch->rows);
	free(batch->held);
	free(batch->decisions);
	for (size_t i = 0; i < BATCH_STATEMENTS_MAX * BATCH_PARAMS_MAX; i++)
		buf_finish(&batch->params[i]);
	*batch = (struct batch){ 0 };
}

void batch_reset(struct batch *batch)
{
	arena_finish(&batch->arena);
	names_reset(&batch->orders);
	names_reset(&batch->skus);
	batch->row_count = batch->held_count = 0;
	batch->writes = false;
}

/* --- requests and rows in --------------------------------------------------------- */

void batch_add(struct batch *batch, const struct batch_request *request)
{
	size_t count = batch->orders.count;
	bool added;

	check(count == 0 || batch->reserves == (request->operation == STOCK_reserve));
	batch->reserves = request->operation == STOCK_reserve;
	names_add(&batch->orders, request->order_id, &added);
	check(added);
	batch->requests = grow(batch->requests, &batch->request_capacity, count + 1,
			       sizeof *batch->requests);
	batch->holds = grow(batch->holds, &batch->hold_capacity, count + 1,
			    sizeof *batch->holds);
	batch->requests[count] = *request;
	batch->holds[count] = (struct batch_hold){ 0 };
	for (size_t i = 0; batch->reserves && i < request->line_count; i++) {
		size_t number = names_add(&batch->skus, request->lines[i].sku, &added);

		batch->sku = grow(batch->sku, &batch->sku_capacity, number + 1,
				  sizeof *batch->sku);
		if (added)
			batch->sku[number] = (struct batch_sku){ 0 };
	}
}

size_t batch_count(const struct batch *batch)
{
	return batch->orders.count;
}

static const char *const state_names[BATCH_states] = {
	[BATCH_none] = "",     [BATCH_held] = "held",	    [BATCH_released] = "released",
	[BATCH_sold] = "sold", [BATCH_expired] = "expired", [BATCH_returned] = "returned",
};

enum batch_state batch_state_of(struct slice name)
{
	for (enum batch_state state = BATCH_held; state < BATCH_states; state++)
		if (slice_equal(name, slice_text(state_names[state])))
			return state;
	return BATCH_none;
}

struct slice batch_state_name(enum batch_state state)
{
	return slice_text(state_names[state]);
}

void batch_hold_row(struct batch *batch, struct slice order_id,
		    const struct batch_hold *hold)
{
	size_t number = names_find(&batch->orders, order_id);

	if (number == SIZE_MAX)
		return;
	batch->holds[number] = (struct batch_hold){
		.state = hold->state,
		.id = arena_copy(&batch->arena, hold->id),
		.expires_at = hold->expires_at,
	};
}

void batch_line_row(struct batch *batch, struct slice order_id,
		    const struct stock_taken *line)
{
	size_t number = names_find(&batch->orders, order_id);
	struct batch_hold *mine;

	if (number == SIZE_MAX || batch->holds[number].state == BATCH_none)
		return;
	mine = &batch->holds[number];
	if (mine->taken_count == 0)
		mine->first_taken = batch->held_count;
	batch->held = grow(batch->held, &batch->held_capacity, batch->held_count + 1,
			   sizeof *batch->held);
	batch->held[batch->held_count++] =
		(struct stock_taken){ arena_copy(&batch->arena, line->sku),
				      arena_copy(&batch->arena, line->warehouse),
				      line->quantity, line->unit_price };
	mine->taken_count++;
	check(mine->first_taken + mine->taken_count == batch->held_count);
}

void batch_stock_row(struct batch *batch, struct slice sku, int64_t unit_price,
		     const struct batch_row *row)
{
	size_t number = names_find(&batch->skus, sku);
	struct batch_sku *mine;

	if (number == SIZE_MAX)
		return;
	mine = &batch->sku[number];
	mine->known = true;
	mine->unit_price = unit_price;
	if (!row)
		return;
	if (mine->row_count++ == 0)
		mine->first_row = batch->row_count;
	check(mine->first_row + mine->row_count == batch->row_count + 1);
	mine->available += row->on_hand - row->reserved;
	batch->rows = grow(batch->rows, &batch->row_capacity, batch->row_count + 1,
			   sizeof *batch->rows);
	batch->rows[batch->row_count] = *row;
	batch->rows[batch->row_count].warehouse =
		arena_copy(&batch->arena, row->warehouse);
	batch->rows[batch->row_count++].taken = 0;
}

/* --- deciding --------------------------------------------------------------------- */

static bool refuse(struct batch_decision *decision, enum fault_kind fault,
		   const char *detail, struct slice sku)
{
	decision->fault = fault;
	decision->detail = detail;
	decision->sku = sku;
	return false;
}

static void refuse_state(struct batch_decision *decision)
{
	decision->fault = FAULT_refused;
	decision->detail = decision->from == BATCH_sold
				   ? "the stock of this order is sold already"
				   : "the hold of this order has ended";
	decision->blamed = decision->from;
}

/* The row to take from next: most available, among equals the first by name. */
static struct batch_row *best_row(struct batch *batch, const struct batch_sku *sku)
{
	struct batch_row *best = NULL;
	int64_t most = 0;

	for (size_t i = 0; i < sku->row_count; i++) {
		struct batch_row *row = &batch->rows[sku->first_row + i];
		int64_t available = row->on_hand - row->reserved;
		size_t shorter;
		int order;

		if (available < most || available <= 0)
			continue;
		if (best && available == most) {
			shorter = row->warehouse.size < best->warehouse.size
					  ? row->warehouse.size
					  : best->warehouse.size;
			order = memcmp(row->warehouse.at, best->warehouse.at, shorter);
			if (order > 0 || (order == 0 && row->warehouse.size > shorter))
				continue;
		}
		best = row;
		most = available;
	}
	return best;
}

static void take_line(struct batch *batch, const struct stock_line *line,
		      struct batch_sku *sku, struct stock_taken *out, size_t *count)
{
	int64_t left = line->quantity;

	sku->available -= left;
	while (left > 0) {
		struct batch_row *row = best_row(batch, sku);
		int64_t part;

		check(row);
		part = row->on_hand - row->reserved;
		if (part > left)
			part = left;
		row->reserved += part;
		row->taken += part;
		left -= part;
		out[(*count)++] = (struct stock_taken){ line->sku, row->warehouse, part,
							sku->unit_price };
	}
}

/* Whether every line can be had; if not, whom to blame. */
static bool lines_available(const struct batch *batch,
			    const struct batch_request *request,
			    struct batch_decision *decision, size_t *parts_max)
{
	*parts_max = 0;
	for (size_t i = 0; i < request->line_count; i++)
		if (!batch->sku[names_find(&batch->skus, request->lines[i].sku)].known)
			return refuse(decision, FAULT_missing, "no such SKU",
				      request->lines[i].sku);
	for (size_t i = 0; i < request->line_count; i++) {
		const struct batch_sku *sku =
			&batch->sku[names_find(&batch->skus, request->lines[i].sku)];

		if (sku->available < request->lines[i].quantity)
			return refuse(decision, FAULT_refused, "not enough stock",
				      request->lines[i].sku);
		*parts_max += sku->row_count;
	}
	return true;
}

static void uuid_write(struct random *random, char text[36])
{
	static const char hex[] = "0123456789abcdef";
	uint8_t bytes[16];

	random_fill(random, bytes, sizeof bytes);
	bytes[6] = (bytes[6] & 0x0F) | 0x40;
	bytes[8] = (bytes[8] & 0x3F) | 0x80;
	for (size_t i = 0, at = 0; i < sizeof bytes; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			text[at++] = '-';
		text[at++] = hex[bytes[i] >> 4];
		text[at++] = hex[bytes[i] & 15];
	}
}

static struct slice new_id(struct batch *batch, struct random *random)
{
	char *id = arena_alloc(&batch->arena, 36);

	uuid_write(random, id);
	return slice_of(id, 36);
}

/* As the database keeps it: to the microsecond. */
static struct wall wall_kept(struct wall wall)
{
	return (struct wall){ wall.ns / 1000 * 1000 };
}

static void answer_held(struct batch *batch, const struct batch_hold *hold,
			struct batch_decision *decision)
{
	decision->hold_id = hold->id;
	decision->expires_at = hold->expires_at;
	decision->taken = batch->held ? batch->held + hold->first_taken : NULL;
	decision->taken_count = hold->taken_count;
}

static void decide_reserve(struct batch *batch, size_t at, struct wall now,
			   struct random *random)
{
	const struct batch_request *request = &batch->requests[at];
	const struct batch_hold *hold = &batch->holds[at];
	struct batch_decision *decision = &batch->decisions[at];
	struct stock_taken *taken;
	size_t parts_max;

	if (hold->state == BATCH_held) {
		answer_held(batch, hold, decision);
		return;
	}
	if (hold->state != BATCH_none && hold->state != BATCH_expired) {
		refuse_state(decision);
		return;
	}
	if (!lines_available(batch, request, decision, &parts_max))
		return;
	taken = arena_alloc(&batch->arena, (parts_max + 1) * sizeof *taken);
	for (size_t i = 0; i < request->line_count; i++)
		take_line(batch, &request->lines[i],
			  &batch->sku[names_find(&batch->skus, request->lines[i].sku)],
			  taken, &decision->taken_count);
	decision->to = BATCH_held;
	decision->hold_id = hold->state == BATCH_none ? new_id(batch, random) : hold->id;
	decision->expires_at = wall_kept(now);
	decision->expires_at.ns += (int64_t)request->ttl_s * 1000000000;
	decision->taken = taken;
}

/* What settling makes of a hold in a state: the table at the head of batch.h. */
#define MISSING BATCH_states
#define REFUSED (BATCH_states + 1)

static const unsigned settled[][BATCH_states] = {
	[STOCK_release] = { MISSING, BATCH_released, BATCH_released, REFUSED,
			    BATCH_expired, BATCH_returned },
	[STOCK_sell] = { MISSING, BATCH_sold, REFUSED, BATCH_sold, REFUSED, REFUSED },
	[STOCK_cancel] = { BATCH_released, BATCH_released, BATCH_released, BATCH_returned,
			   BATCH_released, BATCH_returned },
	[STOCK_expire] = { BATCH_none, BATCH_expired, BATCH_released, BATCH_sold,
			   BATCH_expired, BATCH_returned },
};

static void decide_settle(struct batch *batch, size_t at, struct wall now,
			  struct random *random)
{
	const struct batch_hold *hold = &batch->holds[at];
	struct batch_decision *decision = &batch->decisions[at];
	enum stock_operation operation = batch->requests[at].operation;
	unsigned to = settled[operation][hold->state];

	if (to == MISSING) {
		refuse(decision, FAULT_missing, "nothing is held for this order",
		       SLICE(""));
		return;
	}
	if (to == REFUSED) {
		refuse_state(decision);
		return;
	}
	answer_held(batch, hold, decision);
	if (operation == STOCK_expire && hold->expires_at.ns > now.ns)
		return;
	decision->to = (enum batch_state)to;
	if (hold->state == BATCH_none && decision->to != BATCH_none) {
		decision->hold_id = new_id(batch, random);
		decision->expires_at = wall_kept(now);
	}
}

void batch_decide(struct batch *batch, struct wall now, struct random *random)
{
	size_t count = batch_count(batch);

	batch->decisions = grow(batch->decisions, &batch->decision_capacity, count,
				sizeof *batch->decisions);
	memset(batch->decisions, 0, count * sizeof *batch->decisions);
	for (size_t i = 0; i < count; i++) {
		struct batch_decision *decision = &batch->decisions[i];

		decision->from = decision->to = batch->holds[i].state;
		if (batch->reserves)
			decide_reserve(batch, i, now, random);
		else
			decide_settle(batch, i, now, random);
		decision->changed = decision->to != decision->from;
		batch->writes |= decision->changed;
	}
}

const struct batch_decision *batch_decision(const struct batch *batch, size_t at)
{
	check(at < batch_count(batch));
	return &batch->decisions[at];
}
