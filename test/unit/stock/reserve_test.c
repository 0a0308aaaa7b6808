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
	sql("truncate movements, hold_lines, holds, stock, products restart identity");
	sql("insert into products (sku, name, unit_price) values ('A', 'a', 100), "
	    "('B', 'b', 200), ('C', 'c', 300)");
	sql("insert into stock (sku, warehouse, on_hand) values ('A', 'east', 60), "
	    "('A', 'west', 40), ('B', 'east', 10)");
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
		count_of("select count(*) from (select sku, warehouse, sum(quantity) q "
			 "from "
			 "hold_lines l join holds h on h.id = l.hold_id and "
			 "h.state = 'sold' group by 1, 2) a full join (select sku, "
			 "warehouse, -sum(quantity) q from movements where reason = "
			 "'sold' "
			 "group by 1, 2) b using (sku, warehouse) where a.q is distinct "
			 "from b.q"),
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
		     const struct fault *why, struct slice sku)
{
	struct reply *reply = context;

	assert_false(reply->answered);
	assert_true((answer == NULL) == (why != NULL));
	reply->answered = true;
	if (reply->left)
		--*reply->left;
	keep(reply->sku, sizeof(reply->sku), sku);
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
	assert_int_equal(count_of("select count(*) from movements"), 2);
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
			enum stock_operation operation = STOCK_reserve;
			uint64_t dice = random_below(&random, 10);
			char order[32];

			if (dice > 5)
				operation = dice > 8 ? STOCK_sell : STOCK_release;
			snprintf(order, sizeof(order), "order-%u",
				 (unsigned)random_below(&random, 300));
			submit(&racer->worker, operation, order, lines, 2, &replies[i]);
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

static void two_workers_race_and_the_books_balance(void **state)
{
	struct thread *threads[2];
	struct racer racers[2];

	fresh_tables();
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
	tables_check();
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
	for (unsigned turns = 0; turns < 50; turns++)
		for (unsigned w = 0; w < 2; w++)
			loop_turn(workers[w].ground.loop, 1);
	for (unsigned i = 0; i < 50; i++) {
		for (unsigned w = 0; w < 2; w++) {
			wait_for(&workers[w], &replies[w][i]);
			assert_int_equal(replies[w][i].fault, FAULT_none);
		}
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
	sql("update stock set on_hand = 100000 where sku = 'A'");
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
	sql("update stock set on_hand = 100000 where sku = 'A'");
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
		cmocka_unit_test(an_order_gets_all_of_its_lines_or_nothing),
		cmocka_unit_test(nonsense_is_bad_input),
		cmocka_unit_test(many_at_once_never_sell_more_than_there_is),
		cmocka_unit_test(an_order_id_twice_in_flight_is_one_hold),
		cmocka_unit_test(two_workers_race_and_the_books_balance),
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
