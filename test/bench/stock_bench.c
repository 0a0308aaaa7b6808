/* SPDX-License-Identifier: MIT */
/* stock_bench.c -- reservations in batches (core/stock) against one plain transaction
 * each, the same number of customers, the same pool, one worker, alternating in one run.
 * Each customer reserves one unit, and again when it is answered. Prints reservations a
 * second, their ratio, and this process's CPU microseconds a reservation.
 *
 *     cc -O2 -std=gnu11 -D_GNU_SOURCE -DH2O_USE_LIBUV=0 -Icore \
 *        -I/usr/include/postgresql -o /tmp/stock_bench test/bench/stock_bench.c \
 *        build/release/liborrery_{stock,store,loop,watch,base}.a \
 *        -lpq -lh2o-evloop -lssl -lcrypto -lz -lm -lpthread
 *     /tmp/stock_bench postgresql://user@host:port/database [seconds a turn]
 *
 * It works in a schema of its own, stock_bench, which it drops first.
 */
/* stock_bench.c -- reservations in batches (core/stock) against one plain transaction
 * each, the same number of customers, the same pool, one worker, alternating in one run.
 * Each customer reserves one unit, and again when it is answered. Prints reservations a
 * second, their ratio, and this process's CPU microseconds a reservation.
 *
 *     cc -O2 -std=gnu11 -D_GNU_SOURCE -DH2O_USE_LIBUV=0 -Icore -I/usr/include/postgresql
 * \
 *       -o /tmp/stock_bench test/bench/stock_bench.c core/stock/[a-z]*.c
 * core/store/pg_[a-z]*.c \
 *       core/store/resolve.c core/loop/[a-z]*.c core/watch/[a-z]*.c core/base/[a-z]*.c \
 *       -lpq -lh2o-evloop -lssl -lcrypto -lz -lm -lpthread
 *     /tmp/stock_bench postgresql://user@host:port/database [seconds a turn]
 *
 * It works in a schema of its own, stock_bench, which it drops first.
 */
#include "base/check.h"
#include "base/random.h"
#include "stock/reserve.h"
#include "store/pg_pool.h"

#include "../unit/store/ground.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#define CUSTOMERS_MAX 256
#define SKUS 1000
#define ROUNDS 3

static const char *const plain_sql[] = {
	"SELECT id, state FROM holds WHERE order_id = $1",
	"UPDATE stock SET reserved = reserved + 1 WHERE sku = $1 AND warehouse = 'east' "
	"AND on_hand - reserved >= 1",
	"INSERT INTO holds (id, order_id, state, expires_at, created_at, updated_at) "
	"VALUES ($1, $2, 'held', now() + interval '60 s', now(), now())",
	"INSERT INTO hold_lines (hold_id, sku, warehouse, quantity) VALUES ($1, $2, "
	"'east', 1)",
};

struct bench {
	struct ground ground;
	struct pg_pool *pool;
	struct stock *stock;
	struct random random;
	bool batched;
	unsigned skus; /* 1: all want the same */
	unsigned customers;
	unsigned open;
	uint64_t orders;
	uint64_t done;
	uint64_t failed;
	struct mono until;
};

struct customer {
	struct bench *bench;
	struct pg_tx *tx;
	char order[40];
	char id[40];
	char sku[16];
};

static struct bench bench;
static struct customer customers[CUSTOMERS_MAX];

static void next(struct customer *customer);

static void finished(struct customer *customer, const struct fault *why)
{
	bench.open--;
	if (why && bench.failed++ == 0)
		fprintf(stderr, "failed: %s\n", why->detail);
	if (!why)
		bench.done++;
	if (clock_mono().ns < bench.until.ns)
		next(customer);
}

static void answered(void *context, const struct stock_answer *answer,
		     const struct fault *why, struct stock_blame blame)
{
	finished(context, why);
}

static void committed(void *context, const struct pg_result *result,
		      const struct fault *why, const struct pg_error *error)
{
	finished(context, why);
}

static void ignored(void *context, const struct pg_result *result,
		    const struct fault *why, const struct pg_error *error)
{
}

static void query(struct customer *customer, const char *sql, const char *one,
		  const char *two)
{
	struct slice params[2] = { slice_text(one), slice_text(two) };
	struct pg_query statement = { .sql = slice_text(sql),
				      .params = params,
				      .param_count = two ? 2 : 1,
				      .deadline = mono_after_ms(clock_mono(), 20000) };

	pg_tx_query(customer->tx, &statement, ignored, customer);
}

/* All pipelined: the plain way at its best. */
static void begun(void *context, struct pg_tx *tx, const struct fault *why)
{
	struct customer *customer = context;

	if (!tx) {
		finished(customer, why);
		return;
	}
	customer->tx = tx;
	query(customer, plain_sql[0], customer->order, NULL);
	query(customer, plain_sql[1], customer->sku, NULL);
	query(customer, plain_sql[2], customer->id, customer->order);
	query(customer, plain_sql[3], customer->id, customer->sku);
	pg_tx_commit(tx, mono_after_ms(clock_mono(), 20000), committed, customer);
}

static void next(struct customer *customer)
{
	struct mono deadline = mono_after_ms(clock_mono(), 20000);
	uint64_t order = bench.orders++;
	struct stock_line line = { .quantity = 1 };
	struct stock_request request = { .operation = STOCK_reserve,
					 .lines = &line,
					 .line_count = 1,
					 .ttl_s = 60,
					 .deadline = deadline };

	bench.open++;
	snprintf(customer->order, sizeof(customer->order), "order-%lu", order);
	snprintf(customer->id, sizeof(customer->id), "00000000-0000-4000-8000-%012lx",
		 order);
	snprintf(customer->sku, sizeof(customer->sku), "SKU-%u",
		 (unsigned)random_below(&bench.random, bench.skus));
	line.sku = slice_text(customer->sku);
	request.order_id = slice_text(customer->order);
	if (bench.batched)
		stock_submit(bench.stock, &request, answered, customer);
	else
		pg_pool_begin(bench.pool, deadline, NULL, begun, customer);
}

static double cpu_s(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* Gives reservations a second. */
static double turn(bool batched, double seconds, double *cpu_us)
{
	struct mono start = clock_mono();
	double cpu = cpu_s();

	bench.batched = batched;
	bench.done = 0;
	bench.until = mono_after_ms(start, (int64_t)(seconds * 1000));
	for (unsigned i = 0; i < bench.customers; i++)
		next(&customers[i]);
	while (bench.open)
		loop_turn(bench.ground.loop, 100);
	*cpu_us = (cpu_s() - cpu) * 1e6 / (double)bench.done;
	return (double)bench.done / mono_seconds(start, clock_mono());
}

static void compare(unsigned customer_count, unsigned skus, double seconds)
{
	bench.customers = customer_count;
	bench.skus = skus;
	for (unsigned round = 0; round < ROUNDS; round++) {
		double plain_cpu, batch_cpu;
		double plain = turn(false, seconds, &plain_cpu);
		double batch = turn(true, seconds, &batch_cpu);

		printf("%4u customers, %4u skus: plain %7.0f/s (%5.1f us)  batches "
		       "%7.0f/s "
		       "(%5.1f us)  ratio %5.1f\n",
		       customer_count, skus, plain, plain_cpu, batch, batch_cpu,
		       batch / plain);
	}
}

static void run_sql(PGconn *connection, const char *sql)
{
	PGresult *result = PQexec(connection, sql);
	ExecStatusType status = PQresultStatus(result);

	if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
		fprintf(stderr, "%s\n", PQerrorMessage(connection));
		exit(1);
	}
	PQclear(result);
}

static void make_tables(const char *url)
{
	PGconn *connection = PQconnectdb(url);

	run_sql(connection,
		"set client_min_messages = warning; drop schema if exists stock_bench "
		"cascade;"
		"create schema stock_bench; set search_path = stock_bench;"
		"create table products (sku text primary key, unit_price bigint);"
		"create table stock (sku text references products, warehouse text, "
		"on_hand "
		"integer check (on_hand >= 0), reserved integer default 0 check "
		"(reserved >= 0), "
		"check (reserved <= on_hand), primary key (sku, warehouse));"
		"create table holds (id uuid primary key, order_id text unique, state "
		"text, "
		"expires_at timestamptz, created_at timestamptz, updated_at timestamptz);"
		"create index on holds (expires_at) where state = 'held';"
		"create table hold_lines (hold_id uuid references holds, sku text, "
		"warehouse "
		"text, quantity integer, primary key (hold_id, sku, warehouse));"
		"insert into products select 'SKU-' || i, 100 from generate_series(0, "
		"999) i;"
		"insert into stock select 'SKU-' || i, w, 100000000 from "
		"generate_series(0, 999) i, unnest(array['east', 'west']) w; analyze "
		"products, stock;");
	PQfinish(connection);
}

int main(int count, char **arguments)
{
	double seconds = count > 2 ? atof(arguments[2]) : 2;
	struct pg_pool_config pool = { .size_max = 8,
				       .waiting_max = 1000,
				       .pipeline_max = 32,
				       .connect_timeout_ms = 3000 };
	struct stock_config stock = { .batch_max = 64, .waiting_max = 1000, .lanes = 2 };
	struct fault why;
	char url[512];

	if (count < 2) {
		fprintf(stderr, "usage: stock_bench URL [seconds]\n");
		return 2;
	}
	make_tables(arguments[1]);
	snprintf(url, sizeof(url), "%s%coptions=-csearch_path%%3Dstock_bench",
		 arguments[1], strchr(arguments[1], '?') ? '&' : '?');
	pool.url = url;
	ground_create(&bench.ground);
	random_init(&bench.random, 1);
	bench.pool = pg_pool_create(bench.ground.loop, &pool, &why);
	check(bench.pool);
	bench.stock = stock_create(bench.ground.loop, bench.pool, &stock);
	for (unsigned i = 0; i < CUSTOMERS_MAX; i++)
		customers[i].bench = &bench;
	compare(64, 1, seconds);
	compare(64, SKUS, seconds);
	compare(256, 1, seconds);
	stock_destroy(bench.stock);
	pg_pool_destroy(bench.pool);
	ground_destroy(&bench.ground);
	return bench.failed != 0;
}
