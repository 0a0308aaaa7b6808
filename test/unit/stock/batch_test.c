/* SPDX-License-Identifier: MIT */
/* Batches against a model that decides one request after the other and keeps its own
 * tables. */
#include "base/check.h"
#include "stock/batch.h"

#include <stdio.h>
#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define SKUS 12
#define HOUSES 3
#define ORDERS 60
#define PARTS_MAX (HOUSES * 6)

static const struct wall now = { 1700000000123456789 };

struct model_hold {
	enum batch_state state;
	char id[37];
	struct wall expires_at;
	size_t count;
	struct {
		unsigned sku, house;
		int64_t quantity;
	} parts[PARTS_MAX];
};

static const char *const sku_names[SKUS] = { "A",	 "B",	  "C{}",   "d\"q",
					     "e\\b",	 "NULL",  "f,g",   "h i",
					     "\xC3\xA4", "SKU-1", "SKU-2", "zz" };
static const char *const house_names[HOUSES] = { "east", "east2", "west" };

struct model {
	bool known[SKUS];
	int64_t initial[SKUS][HOUSES];
	int64_t on_hand[SKUS][HOUSES];
	int64_t reserved[SKUS][HOUSES];
	bool row[SKUS][HOUSES];
	struct model_hold holds[ORDERS];
	int64_t moved[SKUS][HOUSES];
};

static void order_name(unsigned order, char name[16])
{
	snprintf(name, 16, "order-%u", order);
}

static unsigned name_index(const char *const *names, unsigned count, struct slice name)
{
	for (unsigned i = 0; i < count; i++)
		if (slice_equal(slice_text(names[i]), name))
			return i;
	fail_msg("unknown name %.*s", SLICE_PRINT(name));
	return 0;
}

static void model_init(struct model *model, struct random *random)
{
	memset(model, 0, sizeof *model);
	for (unsigned s = 0; s < SKUS; s++) {
		model->known[s] = s != 3; /* one is in nobody's catalogue */
		for (unsigned h = 0; h < HOUSES; h++) {
			model->row[s][h] =
				model->known[s] && s != 7 && random_below(random, 4);
			if (model->row[s][h])
				model->initial[s][h] = (int64_t)random_below(random, 30);
			model->on_hand[s][h] = model->initial[s][h];
		}
	}
}

/* The naive rule: choose again for every unit's owner, in the words of the header. */
static bool model_reserve(struct model *model, const struct batch_request *request,
			  struct model_hold *hold, enum fault_kind *fault,
			  unsigned *blame)
{
	for (size_t i = 0; i < request->line_count; i++) {
		unsigned s = name_index(sku_names, SKUS, request->lines[i].sku);

		if (!model->known[s]) {
			*fault = FAULT_missing;
			*blame = s;
			return false;
		}
	}
	for (size_t i = 0; i < request->line_count; i++) {
		unsigned s = name_index(sku_names, SKUS, request->lines[i].sku);
		int64_t total = 0;

		for (unsigned h = 0; h < HOUSES; h++)
			total += model->on_hand[s][h] - model->reserved[s][h];
		if (total < request->lines[i].quantity) {
			*fault = FAULT_refused;
			*blame = s;
			return false;
		}
	}
	for (size_t i = 0; i < request->line_count; i++) {
		unsigned s = name_index(sku_names, SKUS, request->lines[i].sku);
		int64_t left = request->lines[i].quantity;

		while (left) {
			unsigned best = 0;
			int64_t most = -1;

			for (unsigned h = 0; h < HOUSES; h++) {
				int64_t free =
					model->on_hand[s][h] - model->reserved[s][h];

				if (free > most) {
					most = free;
					best = h;
				}
			}
			if (most > left)
				most = left;
			model->reserved[s][best] += most;
			left -= most;
			hold->parts[hold->count].sku = s;
			hold->parts[hold->count].house = best;
			hold->parts[hold->count++].quantity = most;
		}
	}
	hold->state = BATCH_held;
	return true;
}

/* Rows as the database would give them; in an order of its own. */
static void feed_holds(struct batch *batch, const struct model *model,
		       const unsigned *orders, size_t count)
{
	char name[16];

	for (size_t i = 0; i < count; i++) {
		const struct model_hold *hold = &model->holds[orders[count - 1 - i]];
		struct batch_hold row = { .state = hold->state,
					  .id = slice_text(hold->id),
					  .expires_at = hold->expires_at };

		order_name(orders[count - 1 - i], name);
		if (hold->state)
			batch_hold_row(batch, slice_text(name), &row);
	}
	for (size_t i = 0; i < count; i++) {
		const struct model_hold *hold = &model->holds[orders[i]];

		order_name(orders[i], name);
		for (size_t k = 0; hold->state && k < hold->count; k++)
			batch_line_row(
				batch, slice_text(name),
				&(struct stock_taken){
					slice_text(sku_names[hold->parts[k].sku]),
					slice_text(house_names[hold->parts[k].house]),
					hold->parts[k].quantity,
					100 + hold->parts[k].sku });
	}
}

static void feed(struct batch *batch, const struct model *model, const unsigned *orders,
		 size_t count, bool reserves)
{
	feed_holds(batch, model, orders, count);
	for (unsigned s = SKUS; reserves && s-- > 0;) {
		bool any = false;

		for (unsigned h = HOUSES; h-- > 0;) {
			struct batch_row row = { .warehouse = slice_text(house_names[h]),
						 .on_hand = model->on_hand[s][h],
						 .reserved = model->reserved[s][h] };

			if (!model->row[s][h])
				continue;
			any = true;
			batch_stock_row(batch, slice_text(sku_names[s]), 100 + s, &row);
		}
		if (!any && model->known[s])
			batch_stock_row(batch, slice_text(sku_names[s]), 100 + s, NULL);
	}
}

/* Cuts the next element off an array literal. */
static bool array_next(struct slice *rest, char out[64])
{
	size_t size = 0;

	assert_true(rest->at[0] == '{' || rest->at[0] == ',' || rest->at[0] == '}');
	if (rest->at[0] == '}' || rest->at[1] == '}')
		return false;
	rest->at++, rest->size--;
	if (rest->at[0] == '"') {
		rest->at++;
		for (; *rest->at != '"'; rest->at++) {
			if (*rest->at == '\\')
				rest->at++;
			out[size++] = *rest->at;
		}
		rest->at++;
	} else {
		while (*rest->at != ',' && *rest->at != '}')
			out[size++] = *rest->at++;
	}
	out[size] = 0;
	return true;
}

struct cursor {
	struct slice rest[BATCH_PARAMS_MAX];
	char value[BATCH_PARAMS_MAX][64];
};

static bool cursor_next(struct cursor *cursor, size_t count)
{
	bool more = array_next(&cursor->rest[0], cursor->value[0]);

	for (size_t i = 1; i < count; i++)
		assert_int_equal(array_next(&cursor->rest[i], cursor->value[i]), more);
	return more;
}

static struct model_hold *hold_by_id(struct model *model, const char *id)
{
	for (unsigned o = 0; o < ORDERS; o++)
		if (model->holds[o].state && strcmp(model->holds[o].id, id) == 0)
			return &model->holds[o];
	fail_msg("no hold has the id %s", id);
	return NULL;
}

static bool sql_is(const struct batch_statement *statement, const char *begin)
{
	return slice_starts_with(statement->sql, slice_text(begin));
}

static void apply_hold_row(const struct batch_statement *statement, struct model *after,
			   char value[][64])
{
	struct model_hold *hold;
	unsigned order;

	if (sql_is(statement, "INSERT INTO holds")) {
		order = (unsigned)atoi(value[1] + strlen("order-"));
		hold = &after->holds[order];
		assert_int_equal(hold->state, BATCH_none);
		memcpy(hold->id, value[0], sizeof hold->id);
		hold->state = batch_state_of(slice_text(value[2]));
	} else if (sql_is(statement, "WITH gone")) {
		hold = hold_by_id(after, value[0]);
		hold->state = BATCH_held;
		hold->count = 0;
	} else if (sql_is(statement, "UPDATE holds")) {
		hold = hold_by_id(after, value[0]);
		hold->state = batch_state_of(slice_text(value[1]));
	} else {
		assert_true(sql_is(statement, "INSERT INTO hold_lines"));
		hold = hold_by_id(after, value[0]);
		hold->parts[hold->count].sku =
			name_index(sku_names, SKUS, slice_text(value[1]));
		hold->parts[hold->count].house =
			name_index(house_names, HOUSES, slice_text(value[2]));
		hold->parts[hold->count++].quantity = atoll(value[3]);
	}
}

static void apply_row(const struct batch_statement *statement, struct model *after,
		      char value[][64])
{
	bool moves = sql_is(statement, "INSERT INTO movements");
	bool settles = sql_is(statement, "WITH change");
	unsigned s, h;

	if (!moves && !settles && !sql_is(statement, "UPDATE stock")) {
		apply_hold_row(statement, after, value);
		return;
	}
	s = name_index(sku_names, SKUS, slice_text(value[0]));
	h = name_index(house_names, HOUSES, slice_text(value[1]));
	if (moves) {
		after->moved[s][h] += atoll(value[2]);
		assert_string_equal(value[3], atoll(value[2]) < 0 ? "sold" : "returned");
	} else if (settles) {
		after->on_hand[s][h] -= atoll(value[2]);
		after->reserved[s][h] -= atoll(value[3]);
	} else {
		after->reserved[s][h] += atoll(value[2]);
	}
}

/* Executes the statements. */
static void apply(struct batch *batch, struct model *after)
{
	struct batch_statement statements[BATCH_STATEMENTS_MAX];
	size_t count = batch_writes(batch, statements);

	for (size_t i = 0; i < count; i++) {
		struct cursor cursor;

		memcpy(cursor.rest, statements[i].params, sizeof cursor.rest);
		while (cursor_next(&cursor, statements[i].param_count))
			apply_row(&statements[i], after, cursor.value);
	}
}

static void compare_holds(const struct model *a, const struct model *b)
{
	for (unsigned o = 0; o < ORDERS; o++) {
		const struct model_hold *one = &a->holds[o], *other = &b->holds[o];

		assert_int_equal(one->state, other->state);
		assert_string_equal(one->id, other->id);
		assert_int_equal(one->count, other->count);
		assert_memory_equal(one->parts, other->parts,
				    one->count * sizeof one->parts[0]);
	}
}

static void compare_taken(const struct batch_decision *decision,
			  const struct model_hold *hold)
{
	assert_int_equal(decision->taken_count, hold->count);
	for (size_t k = 0; k < hold->count; k++) {
		const struct stock_taken *taken = &decision->taken[k];

		assert_true(slice_equal(taken->sku,
					slice_text(sku_names[hold->parts[k].sku])));
		assert_true(slice_equal(taken->warehouse,
					slice_text(house_names[hold->parts[k].house])));
		assert_int_equal(taken->quantity, hold->parts[k].quantity);
		assert_int_equal(taken->unit_price, 100 + hold->parts[k].sku);
	}
}

static void compare_reserve(struct model *model, const struct batch_request *request,
			    struct model_hold *hold,
			    const struct batch_decision *decision)
{
	enum fault_kind fault = FAULT_none;
	struct model_hold taken = { 0 };
	unsigned blame = 0;

	if (hold->state == BATCH_held) {
		assert_int_equal(decision->fault, FAULT_none);
		assert_false(decision->changed);
		assert_true(slice_equal(decision->hold_id, slice_text(hold->id)));
		assert_int_equal(decision->expires_at.ns, hold->expires_at.ns);
		compare_taken(decision, hold);
	} else if (hold->state != BATCH_none && hold->state != BATCH_expired) {
		assert_int_equal(decision->fault, FAULT_refused);
		assert_int_equal(decision->sku.size, 0);
		assert_int_equal(decision->blamed, hold->state);
	} else if (model_reserve(model, request, &taken, &fault, &blame)) {
		assert_int_equal(decision->fault, FAULT_none);
		assert_true(decision->changed);
		assert_int_equal(decision->hold_id.size, 36);
		assert_int_equal(decision->expires_at.ns,
				 now.ns / 1000 * 1000 + request->ttl_s * 1000000000ll);
		if (hold->state == BATCH_expired)
			assert_memory_equal(hold->id, decision->hold_id.at, 36);
		*hold = taken;
		memcpy(hold->id, decision->hold_id.at, 36);
		hold->expires_at = decision->expires_at;
		compare_taken(decision, hold);
	} else {
		assert_int_equal(decision->fault, fault);
		assert_true(slice_equal(decision->sku, slice_text(sku_names[blame])));
	}
}

/* What becomes of a hold, in the words of oms/inventory; nothing when it is refused. */
static enum batch_state model_settle(enum stock_operation operation,
				     const struct model_hold *hold,
				     enum fault_kind *fault)
{
	bool held = hold->state == BATCH_held, sold = hold->state == BATCH_sold;

	*fault = FAULT_none;
	if (operation == STOCK_cancel && hold->state == BATCH_returned)
		return BATCH_returned;
	if (operation == STOCK_cancel)
		return sold ? BATCH_returned : BATCH_released;
	if (operation == STOCK_expire && held && hold->expires_at.ns <= now.ns)
		return BATCH_expired;
	if (operation == STOCK_expire)
		return hold->state;
	if (hold->state == BATCH_none)
		*fault = FAULT_missing;
	else if (operation == STOCK_sell ? !held && !sold : sold)
		*fault = FAULT_refused;
	if (*fault || !held)
		return hold->state;
	return operation == STOCK_sell ? BATCH_sold : BATCH_released;
}

static void compare_settle(struct model *model, enum stock_operation operation,
			   struct model_hold *hold, const struct batch_decision *decision)
{
	enum batch_state was = hold->state;
	enum fault_kind expected;
	enum batch_state to = model_settle(operation, hold, &expected);

	assert_int_equal(decision->fault, expected);
	if (expected) {
		assert_int_equal(decision->blamed, expected == FAULT_refused ? was : 0);
		return;
	}
	assert_int_equal(decision->changed, to != was);
	compare_taken(decision, hold);
	if (was == BATCH_none && to != BATCH_none)
		memcpy(hold->id, decision->hold_id.at, 36);
	for (size_t k = 0; to != was && k < hold->count; k++) {
		unsigned s = hold->parts[k].sku, h = hold->parts[k].house;
		int64_t quantity = hold->parts[k].quantity;

		if (was == BATCH_held)
			model->reserved[s][h] -= quantity;
		if (to == BATCH_sold || to == BATCH_returned) {
			quantity = to == BATCH_sold ? -quantity : quantity;
			model->on_hand[s][h] += quantity;
			model->moved[s][h] += quantity;
		}
	}
	hold->state = to;
}

static void model_check(const struct model *model)
{
	for (unsigned s = 0; s < SKUS; s++) {
		for (unsigned h = 0; h < HOUSES; h++) {
			int64_t held = 0;

			for (unsigned o = 0; o < ORDERS; o++)
				for (size_t k = 0; k < model->holds[o].count; k++)
					if (model->holds[o].state == BATCH_held &&
					    model->holds[o].parts[k].sku == s &&
					    model->holds[o].parts[k].house == h)
						held += model->holds[o].parts[k].quantity;
			assert_int_equal(model->reserved[s][h], held);
			assert_int_equal(model->on_hand[s][h],
					 model->initial[s][h] + model->moved[s][h]);
			assert_true(model->reserved[s][h] >= 0);
			assert_true(model->reserved[s][h] <= model->on_hand[s][h]);
		}
	}
}

static void one_batch(struct batch *batch, struct model *model, struct random *random)
{
	static struct stock_line lines[16][4];
	static char names[16][16];
	struct batch_request requests[16];
	unsigned orders[16];
	bool reserves = random_below(random, 3) > 0;
	size_t count = 0, wanted = 1 + random_below(random, 16);
	struct batch_statement statement;
	struct model before = *model;

	batch_reset(batch);
	for (size_t i = 0; i < wanted; i++) {
		unsigned order = (unsigned)random_below(random, ORDERS);
		bool twice = false;

		for (size_t k = 0; k < count; k++)
			twice |= orders[k] == order;
		if (twice)
			continue;
		order_name(order, names[count]);
		requests[count] =
			(struct batch_request){ .operation = STOCK_reserve,
						.order_id = slice_text(names[count]),
						.lines = lines[count],
						.ttl_s = random_below(random, 2) ? 60
										 : -5 };
		if (!reserves)
			requests[count].operation =
				STOCK_release + (unsigned)random_below(random, 4);
		for (unsigned s = 0, k = 0; reserves && s < SKUS && k < 4; s++)
			if (random_below(random, 6) == 0 || (s == SKUS - 1 && k == 0)) {
				lines[count][k++] = (struct stock_line){
					slice_text(sku_names[s]),
					1 + (int64_t)random_below(random, 12)
				};
				requests[count].line_count = k;
			}
		orders[count] = order;
		batch_add(batch, &requests[count++]);
	}
	batch_read_holds(batch, &statement);
	batch_read_lines(batch, &statement);
	assert_int_equal(batch_read_stock(batch, &statement), reserves);
	feed(batch, model, orders, count, reserves);
	batch_decide(batch, now, random);
	for (size_t i = 0; i < count; i++) {
		if (reserves)
			compare_reserve(model, &requests[i], &model->holds[orders[i]],
					batch_decision(batch, i));
		else
			compare_settle(model, requests[i].operation,
				       &model->holds[orders[i]],
				       batch_decision(batch, i));
	}
	apply(batch, &before);
	compare_holds(&before, model);
	assert_memory_equal(before.on_hand, model->on_hand, sizeof before.on_hand);
	assert_memory_equal(before.reserved, model->reserved, sizeof before.reserved);
	assert_memory_equal(before.moved, model->moved, sizeof before.moved);
	model_check(model);
}

static void a_batch_decides_as_one_after_the_other_would(void **state)
{
	struct batch batch = { 0 };
	struct random random;
	struct model model;

	for (unsigned seed = 1; seed <= 40; seed++) {
		random_init(&random, seed);
		model_init(&model, &random);
		for (unsigned step = 0; step < 100; step++)
			one_batch(&batch, &model, &random);
	}
	batch_finish(&batch);
}

/* Else a reserve that comes after a cancellation would hold stock for nobody. */
static void what_was_cancelled_is_not_reserved_any_more(void **state)
{
	static const enum batch_state before[] = { BATCH_none,	   BATCH_held,
						   BATCH_released, BATCH_sold,
						   BATCH_expired,  BATCH_returned };
	struct stock_line line = { SLICE("A"), 1 };
	struct batch_request cancel = { .operation = STOCK_cancel,
					.order_id = SLICE("o") };
	struct batch_request reserve = { STOCK_reserve, SLICE("o"), &line, 1, 10 };
	struct batch batch = { 0 };
	struct random random;

	random_init(&random, 1);
	for (unsigned i = 0; i < sizeof before / sizeof *before; i++) {
		struct batch_hold hold = { .state = before[i], .id = SLICE("an id") };

		batch_reset(&batch);
		batch_add(&batch, &cancel);
		if (hold.state)
			batch_hold_row(&batch, SLICE("o"), &hold);
		batch_decide(&batch, now, &random);
		assert_int_equal(batch_decision(&batch, 0)->fault, FAULT_none);
		hold.state = batch_decision(&batch, 0)->to;
		batch_reset(&batch);
		batch_add(&batch, &reserve);
		batch_hold_row(&batch, SLICE("o"), &hold);
		batch_decide(&batch, now, &random);
		assert_int_equal(batch_decision(&batch, 0)->fault, FAULT_refused);
	}
	batch_finish(&batch);
}

static void a_state_has_one_name(void **state)
{
	for (enum batch_state at = BATCH_held; at < BATCH_states; at++)
		assert_int_equal(batch_state_of(batch_state_name(at)), at);
	assert_int_equal(batch_state_of(SLICE("")), BATCH_none);
	assert_int_equal(batch_state_of(SLICE("Held")), BATCH_none);
}

static void a_line_prefers_one_warehouse_that_has_all_of_it(void **state)
{
	struct stock_line line = { SLICE("A"), 5 };
	struct batch_request request = { STOCK_reserve, SLICE("o"), &line, 1, 10 };
	const int64_t have[3] = { 5, 9, 9 };
	const char *names[3] = { "a", "c", "b" };
	struct batch batch = { 0 };
	struct random random;

	random_init(&random, 1);
	batch_add(&batch, &request);
	for (unsigned i = 0; i < 3; i++)
		batch_stock_row(&batch, SLICE("A"), 1,
				&(struct batch_row){ .warehouse = slice_text(names[i]),
						     .on_hand = have[i] });
	batch_decide(&batch, now, &random);
	assert_int_equal(batch_decision(&batch, 0)->taken_count, 1);
	assert_true(
		slice_equal(batch_decision(&batch, 0)->taken[0].warehouse, SLICE("b")));
	batch_finish(&batch);
}

static void arrays_are_written_so_that_any_text_comes_back(void **state)
{
	struct buf out = { 0 };

	array_open(&out);
	array_text(&out, SLICE("a\"b\\c{,}"));
	array_text(&out, SLICE(""));
	array_text(&out, SLICE("{"));
	array_integer(&out, -5);
	array_close(&out);
	assert_string_equal(buf_text(&out), "{\"a\\\"b\\\\c{,}\",\"\",\"{\",-5}");
	buf_finish(&out);
}

/* Prints the figure of the budget in batch.h; asserts only what holds on a busy machine
 * too. */
static void sixty_four_requests_for_one_sku_cost_little(void **state)
{
	struct stock_line line = { SLICE("SKU-0001"), 1 };
	struct batch_statement statements[BATCH_STATEMENTS_MAX];
	static char names[64][16];
	struct batch batch = { 0 };
	struct mono start = clock_mono();
	struct random random;
	double each;
	int rounds = 500;

	random_init(&random, 1);
	for (int round = 0; round < rounds; round++) {
		batch_reset(&batch);
		for (unsigned i = 0; i < 64; i++) {
			order_name(i, names[i]);
			batch_add(&batch, &(struct batch_request){ STOCK_reserve,
								   slice_text(names[i]),
								   &line, 1, 60 });
		}
		batch_read_holds(&batch, &statements[0]);
		batch_read_lines(&batch, &statements[1]);
		batch_read_stock(&batch, &statements[2]);
		batch_stock_row(
			&batch, SLICE("SKU-0001"), 100,
			&(struct batch_row){ .warehouse = SLICE("east"), .on_hand = 90 });
		batch_decide(&batch, now, &random);
		assert_int_equal(batch_writes(&batch, statements), 3);
	}
	each = mono_seconds(start, clock_mono()) * 1e6 / (64 * rounds);
	print_message("%.2f microseconds a request\n", each);
	assert_true(each < 200);
	batch_finish(&batch);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_batch_decides_as_one_after_the_other_would),
		cmocka_unit_test(what_was_cancelled_is_not_reserved_any_more),
		cmocka_unit_test(a_state_has_one_name),
		cmocka_unit_test(a_line_prefers_one_warehouse_that_has_all_of_it),
		cmocka_unit_test(arrays_are_written_so_that_any_text_comes_back),
		cmocka_unit_test(sixty_four_requests_for_one_sku_cost_little),
	};

	return cmocka_run_group_tests_name("batch", tests, NULL, NULL);
}
