/* SPDX-License-Identifier: MIT */
/* Stock against a real PostgreSQL of the test's own, with the tables of the inventory
 * service. */
#include "base/check.h"
#include "base/random.h"
#include "loop/worker.h"
#include "stock/reserve.h"
#include "store/pg_pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>
#include <libpq-fe.h>

#include "../store/ground.h"
#include "../store/pg_server.h"

static struct pg_server server;

/* --- tables ----------------------------------------------------------------------- */

static char *schema_text(void)
{
	static const char file[] = "scripts/oms/inventory/schema.sql";
	static const char self[] = "test/unit/stock/reserve_test.c";
	char path[512];
	FILE *in;
	char *text = mem_zeroed(1, 65536);

	snprintf(path, sizeof(path), "%.*s%s", (int)(sizeof(__FILE__) - sizeof(self)),
		 __FILE__, file);
	in = fopen(path, "r");
	assert_non_null(in);
	assert_true(fread(text, 1, 65535, in) > 0);
	fclose(in);
	return text;
}

static void sql(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void sql(const char *format, ...)
{
	char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	pg_server_run(&server, text);
}

static long count_of(const char *query)
{
	return atol(pg_server_run(&server, query));
}

/* Empty tables but for SKUs A (two warehouses), B and C. */
static void fresh_tables(void)
{
	sql("truncate adjustments, movements, hold_lines, holds, stock, products restart "
	    "identity");
	sql("insert into products (sku, name, unit_price) values ('A', 'a', 100), "
	    "('B', 'b', 200), ('C', 'c', 300)");
	sql("insert into stock (sku, warehouse, on_hand) values ('A', 'east', 60), "
	    "('A', 'west', 40), ('B', 'east', 10)");
	sql("insert into movements (sku, warehouse, quantity, reason) "
	    "select sku, warehouse, on_hand, 'initial' from stock");
}

static void set_on_hand(const char *sku, int units)
{
	sql("insert into movements (sku, warehouse, quantity, reason) select sku, "
	    "warehouse, %d - on_hand, 'correction' from stock where sku = '%s'",
	    units, sku);
	sql("update stock set on_hand = %d where sku = '%s'", units, sku);
}

/* The hold of an order, as if so much time had gone by. */
static void age(const char *order, int seconds)
{
	sql("update holds set expires_at = expires_at - interval '%d s' "
	    "where order_id = '%s'",
	    seconds, order);
}

/* What must hold between transactions, whatever happened. */
static void tables_check(void)
{
	assert_int_equal(count_of("select count(*) from stock where reserved < 0 or "
				  "reserved > on_hand"),
			 0);
	assert_int_equal(
		count_of(
			"select count(*) from stock s left join (select sku, warehouse, "
			"sum(quantity) as held from hold_lines l join holds h on "
			"h.id = l.hold_id and h.state = 'held' group by 1, 2) x "
			"using (sku, warehouse) where s.reserved <> coalesce(x.held, 0)"),
		0);
	assert_int_equal(
		count_of(
			"select count(*) from stock s left join (select sku, warehouse, "
			"sum(quantity) as moved from movements group by 1, 2) m "
			"using (sku, warehouse) where s.on_hand <> coalesce(m.moved, 0)"),
		0);
	/* What left for an order, and what came back, is what its hold says. */
	assert_int_equal(
		count_of("select count(*) from (select h.order_id, l.sku, l.warehouse, "
			 "-sum(l.quantity) as q from hold_lines l join holds h on "
			 "h.id = l.hold_id and h.state = 'sold' group by 1, 2, 3) a "
			 "full join (select order_id, sku, warehouse, sum(quantity) as q "
			 "from movements where order_id is not null group by 1, 2, 3 "
			 "having sum(quantity) <> 0) b using (order_id, sku, warehouse) "
			 "where a.q is distinct from b.q"),
		0);
}

/* --- a worker --------------------------------------------------------------------- */

struct worker {
	struct ground ground;
	struct pg_pool *pool;
	struct stock *stock;
};

static void worker_create(struct worker *worker, unsigned lanes)
{
	struct pg_pool_config pool = { .url = server.url,
				       .size_max = 4,
				       .waiting_max = 1000,
				       .pipeline_max = 32,
				       .connect_timeout_ms = 3000 };
	struct stock_config stock = { .batch_max = 64,
				      .waiting_max = 5000,
				      .lanes = lanes };
	struct fault why;

	ground_create(&worker->ground);
	worker->pool = pg_pool_create(worker->ground.loop, &pool, &why);
	assert_non_null(worker->pool);
	worker->stock = stock_create(worker->ground.loop, worker->pool, &stock);
}

static void worker_destroy(struct worker *worker)
{
	stock_destroy(worker->stock);
	pg_pool_destroy(worker->pool);
	ground_destroy(&worker->ground);
}

struct reply {
	bool answered;
	enum fault_kind fault;
	char sku[40];
	char blamed[16];
	char hold[40];
	char detail[128];
	bool changed;
	struct wall expires_at;
	size_t count;
	struct {
		char sku[40];
		char warehouse[40];
		int64_t quantity, unit_price;
	} taken[8];
	unsigned *left; /* counted down */
};

static void keep(char *to, size_t size, struct slice text)
{
	snprintf(to, size, "%.*s", SLICE_PRINT(text));
}

static void answered(void *context, const struct stock_answer *answer,
		     const struct fault *why, struct stock_blame blame)
{
	struct reply *reply = context;

	assert_false(reply->answered);
	assert_true((answer == NULL) == (why != NULL));
	reply->answered = true;
	if (reply->left)
		--*reply->left;
	keep(reply->sku, sizeof(reply->sku), blame.sku);
	keep(reply->blamed, sizeof(reply->blamed), blame.hold);
	if (why) {
		reply->fault = why->kind;
		keep(reply->detail, sizeof(reply->detail), slice_text(why->detail));
		return;
	}
	keep(reply->hold, sizeof(reply->hold), answer->hold_id);
	reply->changed = answer->changed;
	reply->expires_at = answer->expires_at;
	reply->count = answer->taken_count;
	for (size_t i = 0; i < answer->taken_count && i < 8; i++) {
		keep(reply->taken[i].sku, 40, answer->taken[i].sku);
		keep(reply->taken[i].warehouse, 40, answer->taken[i].warehouse);
		reply->taken[i].quantity = answer->taken[i].quantity;
		reply->taken[i].unit_price = answer->taken[i].unit_price;
	}
}

static void submit(struct worker *worker, enum stock_operation operation,
		   const char *order, const struct stock_line *lines, size_t count,
		   struct reply *reply)
{
	struct stock_request request = { .operation = operation,
					 .order_id = slice_text(order),
					 .lines = lines,
					 .line_count = count,
					 .ttl_s = 60,
					 .deadline = mono_after_ms(clock_mono(), 20000) };

	memset(reply, 0, offsetof(struct reply, left));
	stock_submit(worker->stock, &request, answered, reply);
	assert_false(reply->answered);
	stock_check(worker->stock);
}

static void wait_for(struct worker *worker, const struct reply *reply)
{
	struct mono limit = mono_after_ms(clock_mono(), 30000);

	while (!reply->answered) {
		assert_true(clock_mono().ns < limit.ns);
		loop_turn(worker->ground.loop, 10);
		stock_check(worker->stock);
	}
}

static struct reply ask(struct worker *worker, enum stock_operation operation,
			const char *order, const struct stock_line *lines, size_t count)
{
	struct reply reply = { 0 };

	submit(worker, operation, order, lines, count, &reply);
	wait_for(worker, &reply);
	return reply;
}

static struct stock_line line(const char *sku, int64_t quantity)
{
	return (struct stock_line){ slice_text(sku), quantity };
}

/* --- the promises ----------------------------------------------------------------- */

static void a_hold_is_made_sold_and_told_again(void **state)
{
	struct stock_line lines[] = { line("B", 3), line("A", 1), line("B", 2) };
	struct worker worker;
	struct reply first, again, sold;

	fresh_tables();
	worker_create(&worker, 1);
	first = ask(&worker, STOCK_reserve, "order \"1\"\\", lines, 3);
	assert_int_equal(first.fault, FAULT_none);
	assert_true(first.changed);
	assert_int_equal(first.count, 2);
	assert_string_equal(first.taken[0].sku, "B");
	assert_int_equal(first.taken[0].quantity, 5);
	assert_int_equal(first.taken[0].unit_price, 200);
	assert_string_equal(first.taken[1].warehouse, "east");
	again = ask(&worker, STOCK_reserve, "order \"1\"\\", lines, 3);
	assert_int_equal(again.fault, FAULT_none);
	assert_false(again.changed);
	assert_string_equal(again.hold, first.hold);
	assert_int_equal(again.expires_at.ns, first.expires_at.ns);
	assert_int_equal(again.count, 2);
	assert_int_equal(count_of("select sum(reserved) from stock"), 6);
	tables_check();
	sold = ask(&worker, STOCK_sell, "order \"1\"\\", NULL, 0);
	assert_int_equal(sold.fault, FAULT_none);
	assert_true(sold.changed);
	assert_false(ask(&worker, STOCK_sell, "order \"1\"\\", NULL, 0).changed);
	assert_int_equal(ask(&worker, STOCK_release, "order \"1\"\\", NULL, 0).fault,
			 FAULT_refused);
	assert_int_equal(ask(&worker, STOCK_reserve, "order \"1\"\\", lines, 3).fault,
			 FAULT_refused);
	assert_int_equal(count_of("select sum(on_hand) from stock"), 104);
	assert_int_equal(count_of("select sum(reserved) from stock"), 0);
	assert_int_equal(count_of("select count(*) from movements where reason = 'sold'"),
			 2);
	tables_check();
	worker_destroy(&worker);
}

static void a_release_gives_back_once(void **state)
{
	struct stock_line all = line("A", 100);
	struct worker worker;
	struct reply reply;

	fresh_tables();
	worker_create(&worker, 1);
	reply = ask(&worker, STOCK_reserve, "o", &all, 1);
	assert_int_equal(reply.count, 2); /* split: 60 east, 40 west */
	assert_string_equal(reply.taken[0].warehouse, "east");
	reply = ask(&worker, STOCK_reserve, "p", &all, 1);
	assert_int_equal(reply.fault, FAULT_refused);
	assert_string_equal(reply.sku, "A");
	assert_true(ask(&worker, STOCK_release, "o", NULL, 0).changed);
	reply = ask(&worker, STOCK_release, "o", NULL, 0);
	assert_int_equal(reply.fault, FAULT_none);
	assert_false(reply.changed);
	assert_int_equal(ask(&worker, STOCK_sell, "o", NULL, 0).fault, FAULT_refused);
	assert_int_equal(ask(&worker, STOCK_reserve, "o", &all, 1).fault, FAULT_refused);
	assert_int_equal(ask(&worker, STOCK_release, "q", NULL, 0).fault, FAULT_missing);
	assert_int_equal(ask(&worker, STOCK_reserve, "p", &all, 1).fault, FAULT_none);
	tables_check();
	worker_destroy(&worker);
}

static void a_hold_whose_time_has_passed_expires_once(void **state)
{
	struct stock_line all = line("A", 100);
	struct worker worker;
	struct reply reply;

	fresh_tables();
	worker_create(&worker, 1);
	ask(&worker, STOCK_reserve, "o", &all, 1);
	reply = ask(&worker, STOCK_expire, "o", NULL, 0);
	assert_int_equal(reply.fault, FAULT_none);
	assert_false(reply.changed); /* not yet */
	age("o", 61);
	assert_true(ask(&worker, STOCK_expire, "o", NULL, 0).changed);
	assert_false(ask(&worker, STOCK_expire, "o", NULL, 0).changed);
	assert_int_equal(count_of("select sum(reserved) from stock"), 0);
	reply = ask(&worker, STOCK_sell, "o", NULL, 0);
	assert_int_equal(reply.fault, FAULT_refused);
	assert_string_equal(reply.blamed, "expired");
	assert_string_equal(reply.sku, "");
	assert_false(ask(&worker, STOCK_release, "o", NULL, 0).changed);
	reply = ask(&worker, STOCK_expire, "nobody's", NULL, 0);
	assert_int_equal(reply.fault, FAULT_none);
	assert_false(reply.changed);
	assert_int_equal(count_of("select count(*) from holds"), 1);
	tables_check();
	worker_destroy(&worker);
}

static void a_hold_that_expired_is_taken_anew(void **state)
{
	struct stock_line before[] = { line("A", 70), line("B", 2) };
	struct stock_line after[] = { line("A", 3) };
	struct stock_line too_many[] = { line("B", 11) };
	struct reply first, again;
	struct worker worker;

	fresh_tables();
	worker_create(&worker, 1);
	first = ask(&worker, STOCK_reserve, "o", before, 2);
	assert_int_equal(first.count, 3);
	age("o", 61);
	ask(&worker, STOCK_expire, "o", NULL, 0);
	again = ask(&worker, STOCK_reserve, "o", too_many, 1);
	assert_int_equal(again.fault, FAULT_refused);
	assert_string_equal(again.sku, "B");
	assert_int_equal(count_of("select count(*) from hold_lines"), 3);
	again = ask(&worker, STOCK_reserve, "o", after, 1);
	assert_int_equal(again.fault, FAULT_none);
	assert_true(again.changed);
	assert_string_equal(again.hold, first.hold);
	assert_true(again.expires_at.ns > clock_wall().ns);
	assert_int_equal(again.count, 1);
	assert_int_equal(count_of("select sum(quantity) from hold_lines"), 3);
	assert_int_equal(count_of("select count(*) from holds"), 1);
	tables_check();
	assert_true(ask(&worker, STOCK_sell, "o", NULL, 0).changed);
	assert_int_equal(count_of("select sum(on_hand) from stock"), 107);
	tables_check();
	worker_destroy(&worker);
}

static void cancelling_ends_whatever_there_is(void **state)
{
	struct stock_line all = line("A", 100), one = line("A", 1);
	struct worker worker;
	struct reply reply;

	fresh_tables();
	worker_create(&worker, 1);
	ask(&worker, STOCK_reserve, "sold", &all, 1);
	ask(&worker, STOCK_sell, "sold", NULL, 0);
	assert_int_equal(ask(&worker, STOCK_reserve, "held", &one, 1).fault,
			 FAULT_refused);
	assert_true(ask(&worker, STOCK_cancel, "sold", NULL, 0).changed);
	assert_false(ask(&worker, STOCK_cancel, "sold", NULL, 0).changed);
	assert_int_equal(count_of("select sum(on_hand) from stock"), 110);
	assert_int_equal(count_of("select count(*) from movements where reason = "
				  "'returned' and order_id = 'sold'"),
			 2);
	assert_string_equal(ask(&worker, STOCK_sell, "sold", NULL, 0).blamed, "returned");
	tables_check();
	assert_int_equal(ask(&worker, STOCK_reserve, "held", &one, 1).fault, FAULT_none);
	assert_true(ask(&worker, STOCK_cancel, "held", NULL, 0).changed);
	assert_string_equal(ask(&worker, STOCK_sell, "held", NULL, 0).blamed, "released");
	ask(&worker, STOCK_reserve, "expired", &one, 1);
	age("expired", 61);
	ask(&worker, STOCK_expire, "expired", NULL, 0);
	assert_true(ask(&worker, STOCK_cancel, "expired", NULL, 0).changed);
	reply = ask(&worker, STOCK_reserve, "expired", &one, 1);
	assert_string_equal(reply.blamed, "released");
	assert_int_equal(count_of("select sum(reserved) from stock"), 0);
	tables_check();
	worker_destroy(&worker);
}

static void a_reserve_that_comes_after_the_cancellation_is_refused(void **state)
{
	struct stock_line one = line("A", 1);
	struct worker worker;
	struct reply reply;

	fresh_tables();
	worker_create(&worker, 1);
	reply = ask(&worker, STOCK_cancel, "o", NULL, 0);
	assert_int_equal(reply.fault, FAULT_none);
	assert_true(reply.changed);
	assert_int_equal(strlen(reply.hold), 36);
	assert_false(ask(&worker, STOCK_cancel, "o", NULL, 0).changed);
	reply = ask(&worker, STOCK_reserve, "o", &one, 1);
	assert_int_equal(reply.fault, FAULT_refused);
	assert_string_equal(reply.blamed, "released");
	assert_string_equal(ask(&worker, STOCK_sell, "o", NULL, 0).blamed, "released");
	assert_int_equal(count_of("select sum(reserved) from stock"), 0);
	tables_check();
	worker_destroy(&worker);
}

static void an_order_gets_all_of_its_lines_or_nothing(void **state)
{
	struct stock_line lines[] = { line("A", 1), line("B", 11) };
	struct stock_line unknown[] = { line("A", 1), line("nobody's", 1) };
	struct stock_line nowhere[] = { line("C", 1) };
	struct worker worker;
	struct reply reply;

	fresh_tables();
	worker_create(&worker, 1);
	reply = ask(&worker, STOCK_reserve, "1", lines, 2);
	assert_int_equal(reply.fault, FAULT_refused);
	assert_string_equal(reply.sku, "B");
	reply = ask(&worker, STOCK_reserve, "2", unknown, 2);
	assert_int_equal(reply.fault, FAULT_missing);
	assert_string_equal(reply.sku, "nobody's");
	reply = ask(&worker, STOCK_reserve, "3", nowhere, 1);
	assert_int_equal(reply.fault, FAULT_refused);
	assert_string_equal(reply.sku, "C");
	assert_int_equal(count_of("select sum(reserved) from stock"), 0);
	assert_int_equal(count_of("select count(*) from holds"), 0);
	worker_destroy(&worker);
}

static void nonsense_is_bad_input(void **state)
{
	struct stock_line lines[51];
	struct stock_request request = { .operation = STOCK_reserve,
					 .order_id = SLICE("nul\0inside"),
					 .lines = lines,
					 .line_count = 1,
					 .deadline = mono_after_ms(clock_mono(), 9000) };
	struct worker worker;
	struct reply reply = { 0 };

	worker_create(&worker, 1);
	for (unsigned i = 0; i < 51; i++)
		lines[i] = line("A", 1);
	assert_int_equal(ask(&worker, STOCK_reserve, "1", lines, 0).fault,
			 FAULT_bad_input);
	assert_int_equal(ask(&worker, STOCK_reserve, "1", lines, 51).fault,
			 FAULT_bad_input);
	assert_int_equal(ask(&worker, STOCK_reserve, "", lines, 1).fault,
			 FAULT_bad_input);
	lines[0].quantity = 0;
	reply = ask(&worker, STOCK_reserve, "1", lines, 1);
	assert_int_equal(reply.fault, FAULT_bad_input);
	assert_string_equal(reply.sku, "A");
	lines[0] = line("a sku of more than thirty-two bytes", 1);
	assert_int_equal(ask(&worker, STOCK_reserve, "1", lines, 1).fault,
			 FAULT_bad_input);
	memset(&reply, 0, sizeof(reply));
	stock_submit(worker.stock, &request, answered, &reply);
	wait_for(&worker, &reply);
	assert_int_equal(reply.fault, FAULT_bad_input);
	worker_destroy(&worker);
}

static void many_at_once_never_sell_more_than_there_is(void **state)
{
	struct reply *replies = mem_zeroed(2000, sizeof(*replies));
	struct stock_line one = line("A", 1);
	unsigned left = 2000, granted = 0;
	struct worker worker;
	char order[32];

	fresh_tables();
	worker_create(&worker, 2);
	for (unsigned i = 0; i < 2000; i++) {
		snprintf(order, sizeof(order), "order-%u", i);
		replies[i].left = &left;
		submit(&worker, STOCK_reserve, order, &one, 1, &replies[i]);
	}
	for (unsigned i = 0; i < 2000; i++) {
		wait_for(&worker, &replies[i]);
		if (replies[i].fault == FAULT_none)
			granted++;
		else
			assert_int_equal(replies[i].fault, FAULT_refused);
	}
	assert_int_equal(left, 0);
	assert_int_equal(granted, 100);
	assert_int_equal(count_of("select sum(on_hand - reserved) from stock "
				  "where sku = 'A'"),
			 0);
	assert_int_equal(count_of("select count(*) from holds"), 100);
	tables_check();
	worker_destroy(&worker);
	free(replies);
}

static void an_order_id_twice_in_flight_is_one_hold(void **state)
{
	struct stock_line one = line("A", 1);
	struct reply replies[8] = { { 0 } };
	struct worker worker;
	unsigned changed = 0;

	fresh_tables();
	worker_create(&worker, 3);
	for (unsigned i = 0; i < 8; i++)
		submit(&worker, STOCK_reserve, "the same", &one, 1, &replies[i]);
	for (unsigned i = 0; i < 8; i++) {
		wait_for(&worker, &replies[i]);
		assert_int_equal(replies[i].fault, FAULT_none);
		assert_string_equal(replies[i].hold, replies[0].hold);
		changed += replies[i].changed;
	}
	assert_int_equal(changed, 1);
	assert_int_equal(count_of("select sum(reserved) from stock"), 1);
	worker_destroy(&worker);
}

/* --- two workers at once ---------------------------------------------------------- */

struct racer {
	struct worker worker;
	unsigned seed;
	unsigned granted;
	unsigned other;
};

/* Mostly reserves. */
static enum stock_operation any_operation(struct random *random)
{
	static const enum stock_operation some[] = {
		STOCK_reserve, STOCK_reserve, STOCK_reserve, STOCK_reserve,
		STOCK_reserve, STOCK_release, STOCK_sell,    STOCK_sell,
		STOCK_cancel,  STOCK_expire,  STOCK_expire,
	};

	return some[random_below(random, sizeof some / sizeof *some)];
}

/* Random work over a few orders and SKUs, so that two of these meet all the time. */
static void race(void *context)
{
	static const char *const skus[] = { "A", "B" };
	struct reply *replies = mem_zeroed(40, sizeof(*replies));
	struct racer *racer = context;
	struct random random;

	random_init(&random, racer->seed);
	for (unsigned round = 0; round < 30; round++) {
		for (unsigned i = 0; i < 40; i++) {
			struct stock_line lines[2] = {
				line(skus[random_below(&random, 2)], 1),
				line(skus[random_below(&random, 2)], 1)
			};
			char order[32];

			snprintf(order, sizeof(order), "order-%u-%u", round / 4,
				 (unsigned)random_below(&random, 40));
			submit(&racer->worker, any_operation(&random), order, lines, 2,
			       &replies[i]);
		}
		for (unsigned i = 0; i < 40; i++) {
			wait_for(&racer->worker, &replies[i]);
			if (replies[i].fault == FAULT_none)
				racer->granted++;
			else if (replies[i].fault != FAULT_refused &&
				 replies[i].fault != FAULT_missing)
				racer->other++;
		}
	}
	free(replies);
}

/* Holds made by these have no time at all: each may expire at once. */
static void two_workers_race_and_the_books_balance(void **state)
{
	struct thread *threads[2];
	struct racer racers[2];

	fresh_tables();
	sql("create function no_time() returns trigger language plpgsql as "
	    "$$ begin new.expires_at := now(); return new; end $$");
	sql("create trigger no_time before insert or update on holds for each row "
	    "execute function no_time()");
	for (unsigned i = 0; i < 2; i++) {
		racers[i] = (struct racer){ .seed = 7 + i };
		worker_create(&racers[i].worker, 2);
		threads[i] = thread_start(i ? "racer-1" : "racer-0", race, &racers[i]);
	}
	for (unsigned i = 0; i < 2; i++) {
		thread_join(threads[i]);
		assert_int_equal(racers[i].other, 0);
		assert_true(racers[i].granted > 0);
		worker_destroy(&racers[i].worker);
	}
	sql("drop trigger no_time on holds");
	sql("drop function no_time()");
	tables_check();
	for (unsigned i = 0; i < 3; i++) {
		static const char *const met[] = { "expired", "sold", "returned" };
		char query[96];

		snprintf(query, sizeof query,
			 "select count(*) from holds where state = '%s'", met[i]);
		assert_true(count_of(query) > 0);
	}
}

/* Both go on: what one waits for may be locked by the other. */
static void wait_for_both(struct worker workers[2], const struct reply *one,
			  const struct reply *other)
{
	struct mono limit = mono_after_ms(clock_mono(), 30000);

	while (!one->answered || !other->answered) {
		assert_true(clock_mono().ns < limit.ns);
		for (unsigned w = 0; w < 2; w++) {
			loop_turn(workers[w].ground.loop, 1);
			stock_check(workers[w].stock);
		}
	}
}

/* A worker that reserves and one that cancels, the same new order ids in opposite
 * orders: unique violations, batches that are split, holds and tombstones. */
static void a_cancellation_races_the_reserve_of_its_order(void **state)
{
	enum { ROUNDS = 20, ORDERS = 40 };
	struct reply replies[ORDERS][2] = { { { 0 } } };
	struct stock_line one = line("A", 1);
	struct worker workers[2];
	char order[32];

	fresh_tables();
	set_on_hand("A", 100000);
	for (unsigned w = 0; w < 2; w++)
		worker_create(&workers[w], 2);
	for (unsigned round = 0; round < ROUNDS; round++) {
		for (unsigned i = 0; i < ORDERS; i++) {
			snprintf(order, sizeof(order), "order-%u-%u", round, i);
			submit(&workers[0], STOCK_reserve, order, &one, 1,
			       &replies[i][0]);
			snprintf(order, sizeof(order), "order-%u-%u", round,
				 ORDERS - 1 - i);
			submit(&workers[1], STOCK_cancel, order, NULL, 0,
			       &replies[ORDERS - 1 - i][1]);
		}
		for (unsigned i = 0; i < ORDERS; i++) {
			wait_for_both(workers, &replies[i][0], &replies[i][1]);
			assert_int_equal(replies[i][1].fault, FAULT_none);
			assert_true(replies[i][1].changed);
			if (replies[i][0].fault != FAULT_none)
				assert_string_equal(replies[i][0].blamed, "released");
		}
	}
	assert_int_equal(count_of("select count(*) from holds where state = 'released'"),
			 ROUNDS * ORDERS);
	assert_int_equal(count_of("select sum(reserved) from stock"), 0);
	tables_check();
	for (unsigned w = 0; w < 2; w++)
		worker_destroy(&workers[w]);
}

/* Turns both workers until so many sessions of the server wait for a lock. */
static void wait_for_locks(struct worker workers[2], long wanted)
{
	struct mono limit = mono_after_ms(clock_mono(), 15000);

	while (count_of("select count(*) from pg_locks where not granted") < wanted) {
		assert_true(clock_mono().ns < limit.ns);
		for (unsigned w = 0; w < 2; w++)
			loop_turn(workers[w].ground.loop, 1);
	}
}

/* Whoever had to wait for the row of a hold must see the lines it has now. The first
 * worker is stopped in the middle of taking a hold anew, by a lock of the test's. */
static void lines_that_were_replaced_meanwhile_are_not_settled(void **state)
{
	struct stock_line fifty = line("A", 50), three = line("B", 3);
	PGconn *gate = PQconnectdb(server.url);
	struct reply replies[2] = { { 0 } };
	struct worker workers[2];

	fresh_tables();
	for (unsigned w = 0; w < 2; w++)
		worker_create(&workers[w], 1);
	ask(&workers[0], STOCK_reserve, "o", &fifty, 1);
	age("o", 61);
	ask(&workers[0], STOCK_expire, "o", NULL, 0);
	sql("create function at_gate() returns trigger language plpgsql as "
	    "$$ begin perform pg_advisory_xact_lock(7); return old; end $$");
	sql("create trigger at_gate before delete on hold_lines for each row "
	    "execute function at_gate()");
	PQclear(PQexec(gate, "select pg_advisory_lock(7)"));
	submit(&workers[0], STOCK_reserve, "o", &three, 1, &replies[0]);
	wait_for_locks(workers, 1);
	submit(&workers[1], STOCK_sell, "o", NULL, 0, &replies[1]);
	wait_for_locks(workers, 2);
	PQfinish(gate);
	wait_for_both(workers, &replies[0], &replies[1]);
	sql("drop trigger at_gate on hold_lines");
	sql("drop function at_gate()");
	assert_int_equal(replies[0].fault, FAULT_none);
	assert_int_equal(replies[1].fault, FAULT_none);
	assert_int_equal(replies[1].count, 1);
	assert_string_equal(replies[1].taken[0].sku, "B");
	assert_int_equal(replies[1].taken[0].quantity, 3);
	assert_int_equal(count_of("select sum(on_hand - reserved) from stock"), 107);
	tables_check();
	for (unsigned w = 0; w < 2; w++)
		worker_destroy(&workers[w]);
}

static void the_same_orders_by_two_workers_are_held_once(void **state)
{
	struct reply replies[2][50] = { { { 0 } } };
	struct stock_line one = line("A", 1);
	struct worker workers[2];
	char order[32];

	fresh_tables();
	for (unsigned w = 0; w < 2; w++)
		worker_create(&workers[w], 1);
	for (unsigned i = 0; i < 50; i++) {
		snprintf(order, sizeof(order), "order-%u", i);
		submit(&workers[0], STOCK_reserve, order, &one, 1, &replies[0][i]);
		snprintf(order, sizeof(order), "order-%u", 49 - i);
		submit(&workers[1], STOCK_reserve, order, &one, 1, &replies[1][49 - i]);
	}
	for (unsigned i = 0; i < 50; i++) {
		wait_for_both(workers, &replies[0][i], &replies[1][i]);
		for (unsigned w = 0; w < 2; w++)
			assert_int_equal(replies[w][i].fault, FAULT_none);
		assert_string_equal(replies[0][i].hold, replies[1][i].hold);
		assert_int_equal(replies[0][i].changed + replies[1][i].changed, 1);
	}
	assert_int_equal(count_of("select sum(reserved) from stock"), 50);
	for (unsigned w = 0; w < 2; w++)
		worker_destroy(&workers[w]);
	tables_check();
}

/* --- when the database is in trouble ---------------------------------------------- */

/* The loop goes on meanwhile: a connection that is being opened keeps the server from
 * ending until its client says something. */
static void crash_the_server(struct worker *worker)
{
	kill(server.pid, SIGQUIT);
	while (waitpid(server.pid, NULL, WNOHANG) == 0)
		loop_turn(worker->ground.loop, 1);
	server.pid = 0;
}

static void a_crash_of_the_database_is_told_and_nothing_is_half_done(void **state)
{
	struct reply *replies = mem_zeroed(600, sizeof(*replies));
	unsigned left = 600, known = 0;
	struct stock_line one = line("A", 1);
	struct mono limit;
	struct worker worker;
	char order[32];

	fresh_tables();
	set_on_hand("A", 100000);
	worker_create(&worker, 2);
	for (unsigned i = 0; i < 600; i++) {
		snprintf(order, sizeof(order), "order-%u", i);
		replies[i].left = &left;
		submit(&worker, STOCK_reserve, order, &one, 1, &replies[i]);
		if (i % 100 == 0)
			loop_turn(worker.ground.loop, 10);
		if (i == 300)
			crash_the_server(&worker);
	}
	for (unsigned i = 0; i < 600; i++)
		wait_for(&worker, &replies[i]);
	assert_int_equal(left, 0);
	pg_server_start(&server);
	for (unsigned i = 0; i < 600; i++) {
		bool uncertain = replies[i].fault == FAULT_uncertain;
		long rows;
		char query[96];

		if (replies[i].fault != FAULT_none && !uncertain)
			assert_int_equal(replies[i].fault, FAULT_unavailable);
		snprintf(query, sizeof(query),
			 "select count(*) from holds where order_id = 'order-%u'", i);
		rows = count_of(query);
		if (!uncertain)
			assert_int_equal(rows, replies[i].fault == FAULT_none);
		known += !uncertain;
	}
	print_message("%u of 600 certain\n", known);
	/* Asking again with the same order ids tells, and makes all of them true. */
	limit = mono_after_ms(clock_mono(), 15000);
	for (unsigned i = 0; i < 600; i++) {
		struct reply again;

		snprintf(order, sizeof(order), "order-%u", i);
		do {
			again = ask(&worker, STOCK_reserve, order, &one, 1);
			assert_true(clock_mono().ns < limit.ns);
		} while (again.fault == FAULT_unavailable);
		assert_int_equal(again.fault, FAULT_none);
	}
	assert_int_equal(count_of("select sum(reserved) from stock"), 600);
	tables_check();
	worker_destroy(&worker);
	free(replies);
}

static void a_request_is_not_kept_beyond_its_deadline(void **state)
{
	struct stock_line one = line("A", 1);
	struct stock_request request = { .operation = STOCK_reserve,
					 .order_id = SLICE("late"),
					 .lines = &one,
					 .line_count = 1,
					 .ttl_s = 60 };
	struct reply inside = { 0 }, behind = { 0 };
	struct chaos_effect slow = { .delay_ms = 600 };
	struct worker worker;
	struct mono start;

	fresh_tables();
	worker_create(&worker, 1);
	ask(&worker, STOCK_release, "warm", NULL, 0);
	chaos_arm(&worker.ground.chaos, CHAOS_stock_batch, slow, 1);
	start = clock_mono();
	request.deadline = mono_after_ms(start, 150);
	stock_submit(worker.stock, &request, answered, &inside);
	loop_turn(worker.ground.loop, 1);
	stock_submit(worker.stock, &request, answered, &behind);
	wait_for(&worker, &behind);
	wait_for(&worker, &inside);
	assert_true(mono_seconds(start, clock_mono()) < 0.5);
	assert_int_equal(inside.fault, FAULT_uncertain);
	assert_int_equal(behind.fault, FAULT_timeout);
	assert_int_equal(ask(&worker, STOCK_reserve, "next", &one, 1).fault, FAULT_none);
	chaos_arm(&worker.ground.chaos, CHAOS_stock_batch,
		  (struct chaos_effect){ .fail = FAULT_limit }, 1);
	assert_int_equal(ask(&worker, STOCK_reserve, "fails", &one, 1).fault,
			 FAULT_limit);
	assert_int_equal(ask(&worker, STOCK_reserve, "fails", &one, 1).fault, FAULT_none);
	worker_destroy(&worker);
}

static void what_is_under_way_is_cancelled_when_a_worker_ends(void **state)
{
	struct stock_line one = line("A", 1);
	struct reply replies[200] = { { 0 } };
	struct worker worker;
	char order[32];

	fresh_tables();
	worker_create(&worker, 2);
	ask(&worker, STOCK_release, "warm", NULL, 0);
	for (unsigned i = 0; i < 200; i++) {
		snprintf(order, sizeof(order), "order-%u", i);
		submit(&worker, STOCK_reserve, order, &one, 1, &replies[i]);
	}
	loop_turn(worker.ground.loop, 0);
	worker_destroy(&worker);
	for (unsigned i = 0; i < 200; i++)
		assert_int_equal(replies[i].fault, FAULT_cancelled);
	tables_check();
}

/* Prints a figure; the promise is only that it comes to an end with the books in order.
 */
static void sixty_four_customers_of_one_sku(void **state)
{
	enum { ROUNDS = 60, CUSTOMERS = 64 };
	struct reply *replies = mem_zeroed(CUSTOMERS, sizeof(*replies));
	struct stock_line one = line("A", 1);
	struct worker worker;
	struct mono start;
	char order[32];

	fresh_tables();
	set_on_hand("A", 100000);
	worker_create(&worker, 1);
	ask(&worker, STOCK_release, "warm", NULL, 0);
	start = clock_mono();
	for (unsigned round = 0; round < ROUNDS; round++) {
		for (unsigned i = 0; i < CUSTOMERS; i++) {
			snprintf(order, sizeof(order), "order-%u-%u", round, i);
			submit(&worker, STOCK_reserve, order, &one, 1, &replies[i]);
		}
		for (unsigned i = 0; i < CUSTOMERS; i++)
			wait_for(&worker, &replies[i]);
	}
	print_message("%.0f reservations a second\n",
		      ROUNDS * CUSTOMERS / mono_seconds(start, clock_mono()));
	assert_int_equal(count_of("select sum(reserved) from stock"), ROUNDS * CUSTOMERS);
	tables_check();
	worker_destroy(&worker);
	free(replies);
}

static int start_server(void **state)
{
	char *schema = schema_text();

	pg_server_create(&server);
	pg_server_run(&server, schema);
	free(schema);
	return 0;
}

static int end_server(void **state)
{
	pg_server_destroy(&server);
	return 0;
}

int main(int count, char **arguments)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_hold_is_made_sold_and_told_again),
		cmocka_unit_test(a_release_gives_back_once),
		cmocka_unit_test(a_hold_whose_time_has_passed_expires_once),
		cmocka_unit_test(a_hold_that_expired_is_taken_anew),
		cmocka_unit_test(cancelling_ends_whatever_there_is),
		cmocka_unit_test(a_reserve_that_comes_after_the_cancellation_is_refused),
		cmocka_unit_test(an_order_gets_all_of_its_lines_or_nothing),
		cmocka_unit_test(nonsense_is_bad_input),
		cmocka_unit_test(many_at_once_never_sell_more_than_there_is),
		cmocka_unit_test(an_order_id_twice_in_flight_is_one_hold),
		cmocka_unit_test(two_workers_race_and_the_books_balance),
		cmocka_unit_test(a_cancellation_races_the_reserve_of_its_order),
		cmocka_unit_test(lines_that_were_replaced_meanwhile_are_not_settled),
		cmocka_unit_test(the_same_orders_by_two_workers_are_held_once),
		cmocka_unit_test(
			a_crash_of_the_database_is_told_and_nothing_is_half_done),
		cmocka_unit_test(a_request_is_not_kept_beyond_its_deadline),
		cmocka_unit_test(what_is_under_way_is_cancelled_when_a_worker_ends),
		cmocka_unit_test(sixty_four_customers_of_one_sku),
	};

	if (count > 1)
		cmocka_set_test_filter(arguments[1]);
	if (!pg_server_found()) {
		print_message("skipped: PostgreSQL is not installed\n");
		return 77;
	}
	return cmocka_run_group_tests_name("reserve", tests, start_server, end_server);
}
