/* SPDX-License-Identifier: MIT */
/* native.stock against a real PostgreSQL of the test's own. */
#include "script_rig.h"

#include "stock/reserve.h"
#include "store/pg_pool.h"

#include "../store/pg_server.h"

#define TABLES                                                                           \
	"create table products (sku text primary key, name text, unit_price bigint);"    \
	"create table stock (sku text references products, warehouse text, on_hand "     \
	"integer, "                                                                      \
	"reserved integer default 0 check (reserved between 0 and on_hand), "            \
	"primary key (sku, warehouse));"                                                 \
	"create table holds (id uuid primary key, order_id text unique, state text, "    \
	"expires_at timestamptz, created_at timestamptz, updated_at timestamptz);"       \
	"create table hold_lines (hold_id uuid, sku text, warehouse text, quantity "     \
	"integer);"                                                                      \
	"create table movements (sku text, warehouse text, quantity integer, reason "    \
	"text, "                                                                         \
	"order_id text, created_at timestamptz);"                                        \
	"insert into products values ('A', 'a', 250);"                                   \
	"insert into stock values ('A', 'east', 10)"

struct shop {
	struct rig rig;
	struct pg_server server;
};

static const struct rig_module modules[] = { { "native.stock", api_open_stock },
					     { NULL, NULL } };

static int open_shop(void **state)
{
	struct shop *shop = mem_zeroed(1, sizeof *shop);
	struct pg_pool_config pool = { .size_max = 2,
				       .waiting_max = 10,
				       .pipeline_max = 8,
				       .connect_timeout_ms = 3000 };
	struct stock_config stock = { .batch_max = 8, .waiting_max = 100, .lanes = 1 };
	struct fault why;

	pg_server_create(&shop->server);
	pg_server_run(&shop->server, TABLES);
	pool.url = shop->server.url;
	rig_init(&shop->rig);
	shop->rig.api.pg = pg_pool_create(shop->rig.loop, &pool, &why);
	shop->rig.api.stock = stock_create(shop->rig.loop, shop->rig.api.pg, &stock);
	rig_open(&shop->rig, 16 << 20, modules);
	*state = shop;
	return 0;
}

static int close_shop(void **state)
{
	struct shop *shop = *state;

	stock_destroy(shop->rig.api.stock);
	pg_pool_destroy(shop->rig.api.pg);
	rig_finish(&shop->rig);
	pg_server_destroy(&shop->server);
	free(shop);
	return 0;
}

#define SETUP "local stock = require 'native.stock' "

static void a_hold_is_made_told_again_and_sold(void **state)
{
	struct shop *shop = *state;

	assert_run(&shop->rig,
		   SETUP
		   "local r = stock.reserve{order_id = 'o1', ttl_s = 60, items = "
		   "{{sku = 'A', quantity = 2}, {sku = 'A', quantity = 1}}} "
		   "local again = stock.reserve{order_id = 'o1', ttl_s = 60, items = "
		   "{{sku = 'A', quantity = 9}}} "
		   "local i = r.items[1] return #r.reservation_id, #r.items, i.sku, "
		   "i.quantity, i.unit_price, i.warehouse, r.expires_at:match('Z$'), "
		   "again.reservation_id == r.reservation_id, "
		   "again.expires_at == r.expires_at",
		   "36 1 A 3 250 east Z true true");
	assert_run(&shop->rig,
		   SETUP "return stock.sell('o1').sold, stock.sell('o1').sold",
		   "true false");
	assert_run(&shop->rig,
		   SETUP "local r, why = stock.release('o1') return r == nil, why.kind",
		   "true refused");
}

static void a_refusal_names_the_sku(void **state)
{
	struct shop *shop = *state;

	assert_run(&shop->rig,
		   SETUP
		   "local r, why = stock.reserve{order_id = 'o2', ttl_s = 60, items = "
		   "{{sku = 'A', quantity = 1000}}} return r == nil, why.kind, why.sku, "
		   "why.detail",
		   "true refused A not enough stock: A");
	assert_run(&shop->rig,
		   SETUP
		   "local r, why = stock.reserve{order_id = 'o2', ttl_s = 60, items = "
		   "{{sku = 'A', quantity = 1}, {sku = 'X', quantity = 1}}} "
		   "return why.kind, why.sku",
		   "missing X");
	assert_run(&shop->rig,
		   SETUP
		   "local r, why = stock.release('nobody') return why.kind, why.sku",
		   "missing nil");
	assert_run(&shop->rig,
		   SETUP
		   "local r, why = stock.reserve{order_id = 'o2', ttl_s = 60, items = "
		   "{{sku = 'A', quantity = -1}}} return why.kind, why.sku",
		   "bad_input A");
	assert_run(&shop->rig,
		   SETUP
		   "stock.reserve{order_id = 'o3', ttl_s = 60, items = {{sku = 'A', "
		   "quantity = 1}}} return stock.release('o3').released, "
		   "stock.release('o3').released",
		   "true false");
}

static void a_refusal_says_what_became_of_the_hold(void **state)
{
	struct shop *shop = *state;

	assert_run(&shop->rig,
		   SETUP
		   "stock.reserve{order_id = 'o4', ttl_s = 60, items = {{sku = 'A', "
		   "quantity = 1}}} "
		   "local early = stock.expire('o4').expired "
		   "local sold = stock.sell('o4').sold "
		   "local r, why = stock.release('o4') "
		   "local back, again = stock.cancel('o4').cancelled, "
		   "stock.cancel('o4').cancelled "
		   "local r, then_ = stock.sell('o4') "
		   "return early, sold, why.hold, why.sku, back, again, then_.hold",
		   "false true sold nil true false returned");
	assert_run(&shop->rig,
		   SETUP
		   "local closed = stock.cancel('o5').cancelled "
		   "local r, why = stock.reserve{order_id = 'o5', ttl_s = 60, items = "
		   "{{sku = 'A', quantity = 1}}} "
		   "return closed, why.kind, why.hold, stock.expire('nobody').expired",
		   "true refused released false");
}

static void a_hold_expires_and_is_taken_anew(void **state)
{
	struct shop *shop = *state;

	assert_run(&shop->rig,
		   SETUP
		   "return stock.reserve{order_id = 'o6', ttl_s = 60, items = {{sku = "
		   "'A', quantity = 1}}} ~= nil",
		   "true");
	pg_server_run(&shop->server, "update holds set expires_at = now() "
				     "where order_id = 'o6'");
	assert_run(&shop->rig,
		   SETUP
		   "local expired = stock.expire('o6').expired "
		   "local r, why = stock.sell('o6') "
		   "local anew = stock.reserve{order_id = 'o6', ttl_s = 60, items = "
		   "{{sku = 'A', quantity = 2}}} "
		   "return expired, why.hold, anew.items[1].quantity, "
		   "stock.sell('o6').sold",
		   "true expired 2 true");
}

static void wrong_use_is_an_error(void **state)
{
	struct shop *shop = *state;

	assert_contains(rig_run(&shop->rig, SETUP "stock.reserve(1)"), "table expected");
	assert_contains(
		rig_run(&shop->rig, SETUP "stock.reserve{order_id = 'o', ttl_s = 1}"),
		"'items' is not a table");
	assert_contains(rig_run(&shop->rig,
				SETUP "stock.reserve{order_id = 'o', ttl_s = 1, "
				      "items = {{sku = 'A', quantity = 1.5}}}"),
			"not a whole number");
	assert_contains(rig_run(&shop->rig,
				SETUP "stock.reserve{order_id = 'o', ttl_s = 1, "
				      "items = {{sku = 1, quantity = 1}}}"),
			"sku is not a text");
	assert_contains(rig_run(&shop->rig, SETUP "stock.release()"), "string expected");
}

static void a_database_that_is_gone_is_raised(void **state)
{
	struct shop *shop = *state;

	pg_server_stop(&shop->server, SIGQUIT);
	assert_contains(rig_run(&shop->rig, SETUP "stock.release('o1')"),
			"unavailable: ");
	stock_destroy(shop->rig.api.stock);
	shop->rig.api.stock = NULL;
	assert_contains(rig_run(&shop->rig, SETUP "stock.release('o1')"),
			"set postgres_url");
}

/* A generation that is replaced ends; its VM and what its requests had are gone then. */
static void a_request_outlives_its_machine_and_its_trace(void **state)
{
	struct shop *shop = *state;
	struct rig *rig = &shop->rig;
	char *tracestate = mem_copy("vendor=x", 8);
	struct trace_context trace;
	struct task_config task = {
		.push = rig_push_source,
		.data = (void *)(uintptr_t)SETUP
		"stock.reserve{order_id = 'late', ttl_s = 60, items = "
		"{{sku = 'A', quantity = 1}}}",
		.deadline = mono_after_ms(clock_mono(), 10000),
		.trace = &trace,
		.done = rig_on_done,
		.context = rig,
	};
	struct mono until = mono_after_ms(clock_mono(), 10000);

	assert_true(trace_parse(
		SLICE("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
		slice_of(tracestate, 8), &trace));
	rig->done = false;
	task_start(rig->vm, &task);
	loop_turn(rig->loop, 0);
	vm_destroy(rig->vm);
	rig->vm = rig->api.vm = NULL;
	free(tracestate);
	assert_true(rig->done);
	while (atoi(pg_server_run(&shop->server, "select count(*) from holds where "
						 "order_id = 'late'")) == 0) {
		assert_true(clock_mono().ns < until.ns);
		loop_turn(rig->loop, 10);
	}
	rig_open(rig, 16 << 20, modules);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_hold_is_made_told_again_and_sold),
		cmocka_unit_test(a_refusal_names_the_sku),
		cmocka_unit_test(a_refusal_says_what_became_of_the_hold),
		cmocka_unit_test(a_hold_expires_and_is_taken_anew),
		cmocka_unit_test(wrong_use_is_an_error),
		cmocka_unit_test(a_request_outlives_its_machine_and_its_trace),
		cmocka_unit_test(a_database_that_is_gone_is_raised),
	};

	if (!pg_server_found()) {
		print_message("skipped: PostgreSQL is not installed\n");
		return 77;
	}
	return cmocka_run_group_tests_name("lua_stock", tests, open_shop, close_shop);
}
