/* SPDX-License-Identifier: MIT */
/* native.db from a script, against a server of its own. */
#include "script_rig.h"

#include "../store/pg_server.h"
#include "store/pg_pool.h"

#include <lua.h>

static const struct rig_module modules[] = { { "native.db", api_open_db },
					     { "native.json", api_open_json },
					     { "native.task", api_open_task },
					     { 0 } };

static struct pg_server server;
static struct rig rig;

#define DB "local db = require 'native.db' "

static int start_server(void **state)
{
	pg_server_create(&server);
	pg_server_run(&server,
		      "create table things(id int primary key, name text not null);"
		      "create table later(id int constraint once unique deferrable "
		      "initially deferred)");
	return 0;
}

static int stop_server(void **state)
{
	pg_server_destroy(&server);
	return 0;
}

static int open_rig(void **state)
{
	struct pg_pool_config config = { .url = server.url,
					 .size_max = 2,
					 .waiting_max = 100,
					 .pipeline_max = 8,
					 .connect_timeout_ms = 2000 };
	struct fault why;

	rig_init(&rig);
	rig.api.pg = pg_pool_create(rig.loop, &config, &why);
	assert_non_null(rig.api.pg);
	rig_open(&rig, 32 << 20, modules);
	pg_server_run(&server, "truncate things, later");
	return 0;
}

static int close_rig(void **state)
{
	pg_pool_destroy(rig.api.pg);
	rig_finish(&rig);
	return 0;
}

/* Waits until no session of the pool is inside a transaction. */
static void assert_nothing_open(void)
{
	struct mono until = mono_after_ms(clock_mono(), 5000);

	while (atoi(pg_server_run(
		       &server,
		       "select count(*) from pg_stat_activity where application_name "
		       "= 'orrery' and state <> 'idle'")) > 0) {
		assert_true(clock_mono().ns < until.ns);
		loop_turn(rig.loop, 10);
	}
}

static void columns_become_lua_values(void **state)
{
	assert_run(
		&rig,
		DB
		"local r = db.query[[select 1::int2 a, 2::int4 b, 9007199254740992::int8 "
		"c, "
		"9007199254740993::int8 d, 1.5::float8 e, true f, null g, 'x'::text h, "
		"12.50::numeric i, '{1,2}'::int[] j]] local x = r[1] "
		"return #r, r.affected, x.a, x.b, type(x.c), x.d, x.e, x.f, x.g, x.h, "
		"x.i, "
		"x.j",
		"1 1 1 2 number 9007199254740993 1.5 true nil x 12.50 {1,2}");
}

static void json_and_times_are_decoded(void **state)
{
	assert_run(
		&rig,
		DB
		"local r = db.query[[select '{\"a\": [1, 2], \"b\": null}'::jsonb j, "
		"'[]'::json e, timestamptz '2026-11-20 12:00:00.123+01' t, "
		"'infinity'::timestamptz i]] local x, json = r[1], require 'native.json' "
		"return x.j.a[2], x.j.b, json.is_array(x.e), x.t, x.i",
		"2 nil true 2026-11-20T11:00:00.123Z infinity");
}

static void parameters_of_every_kind_arrive(void **state)
{
	assert_run(&rig,
		   DB "local x = db.query('select $1::int a, $2::text b, $3::bool c, "
		      "$4::text d, "
		      "$5::jsonb e, $6::float8 f, $7::text g', 7, [[it's]], false, nil, "
		      "{k = {1, 2}}, 0.1, db.null)[1] "
		      "return x.a, x.b, x.c, x.d, x.e.k[2], x.f, x.g",
		   "7 it's false nil 2 0.1 nil");
	assert_contains(rig_run(&rig, DB "db.query('select $1::text', db.query)"),
			"parameter $1 is a function");
	assert_contains(rig_run(&rig, DB "db.query('select $1::text', 'a\\0b')"),
			"bad_input: ");
	assert_contains(
		rig_run(&rig, DB "local t = {} t.t = t db.query('select $1::text', t)"),
		"JSON");
}

static void a_constraint_comes_back_and_all_else_is_raised(void **state)
{
	assert_run(
		&rig,
		DB
		"local r = db.query('insert into things values (1, $1)', 'one') "
		"local none, why = db.query('insert into things values (1, $1)', 'two') "
		"return r.affected, none, why.kind, why.constraint, why.code",
		"1 nil refused things_pkey 23505");
	assert_contains(rig_run(&rig, DB "db.query('select nonsense')"),
			"internal: column");
	assert_run(&rig,
		   DB "local ok, why = pcall(db.query, 'select 1/0') "
		      "return ok, why.kind, why.code",
		   "false internal 22012");
}

static void a_transaction_commits(void **state)
{
	assert_run(&rig,
		   DB "local tx = db.begin() "
		      "tx:query('insert into things values ($1, $2)', 5, 'five') "
		      "local inside = tx:query('select count(*) n from things')[1].n "
		      "return inside, tx:commit(), pcall(tx.query, tx, 'select 1')",
		   "1 true false table");
	assert_string_equal(pg_server_run(&server, "select name from things"), "five");
	assert_contains(
		rig_run(&rig, DB "local tx = db.begin() tx:rollback() tx:commit()"),
		"this transaction has ended");
}

static void a_commit_that_is_refused_is_raised(void **state)
{
	assert_run(&rig,
		   DB
		   "local tx = db.begin() tx:query('insert into later values (1), (1)') "
		   "local ok, why = pcall(tx.commit, tx) "
		   "return ok, why.kind, why.constraint",
		   "false refused once");
	assert_run(&rig,
		   DB
		   "local tx = db.begin() tx:query('insert into things values (1, $1)', "
		   "'a') "
		   "local _, first = tx:query('insert into things values (1, $1)', 'b') "
		   "local ok, why = pcall(tx.commit, tx) return first.kind, ok, "
		   "why.constraint",
		   "refused false things_pkey");
	assert_nothing_open();
	assert_string_equal(pg_server_run(&server, "select count(*) from things"), "0");
}

static void a_transaction_left_open_ends_with_its_task(void **state)
{
	assert_run(&rig,
		   DB "local tx = db.begin() tx:query('insert into things values (7, "
		      "$1)', 'x') "
		      "return 'forgot'",
		   "forgot");
	assert_nothing_open();
	assert_contains(rig_run(&rig,
				DB "local tx = db.begin() "
				   "tx:query('insert into things values (8, $1)', 'x') "
				   "error('no')"),
			"no");
	assert_nothing_open();
	/* The pool has two connections: many forgotten ones would use them up. */
	for (int i = 0; i < 20; i++)
		assert_run(&rig, DB "local a, b = db.begin(), db.begin() return 1", "1");
	assert_string_equal(pg_server_run(&server, "select count(*) from things"), "0");
}

static void parts_of_a_task_run_at_once(void **state)
{
	struct mono begin = clock_mono();

	assert_run(&rig,
		   DB "local task = require 'native.task' "
		      "local a, b = task.all{ "
		      "function() db.query('select pg_sleep(0.3)') return 1 end, "
		      "function() db.query('select pg_sleep(0.3)') return 2 end } "
		      "return a, b",
		   "1 2");
	assert_true(mono_seconds(begin, clock_mono()) < 0.55);
}

static void on_done(void *context, lua_State *L, const struct fault *why)
{
	struct buf *result = context;

	buf_printf(result, "%s", why ? fault_name(why->kind) : "well");
}

/* Runs a task with little time and leaves the result in the buffer. */
static void run_briefly(const char *source, int ms, struct buf *result)
{
	struct task_config config = { .push = rig_push_source,
				      .data = (void *)(size_t)source,
				      .deadline = mono_after_ms(clock_mono(), ms),
				      .done = on_done,
				      .context = result };

	buf_reset(result);
	task_start(rig.vm, &config);
	while (result->size == 0)
		loop_turn(rig.loop, 100);
}

static void a_late_statement_tells_its_own_kind(void **state)
{
	struct buf result = { 0 };

	run_briefly(DB "db.query('select pg_sleep(3)')", 150, &result);
	assert_string_equal(buf_text(&result), "timeout");
	run_briefly(DB "db.query[[insert into things select 1, pg_sleep(3)::text]]", 150,
		    &result);
	assert_string_equal(buf_text(&result), "uncertain");
	run_briefly(DB "local tx = db.begin() tx:query('select pg_sleep(3)')", 150,
		    &result);
	assert_string_equal(buf_text(&result), "timeout");
	run_briefly(DB "local a, b = db.begin(), db.begin() db.begin()", 150, &result);
	assert_string_equal(buf_text(&result), "timeout");
	run_briefly(DB "db.query('select 1')", 2000, &result);
	assert_string_equal(buf_text(&result), "well");
	buf_finish(&result);
}

static void the_pool_may_end_before_the_tasks(void **state)
{
	struct buf result = { 0 };
	struct task_config config = { .push = rig_push_source,
				      .data = (void *)DB
				      "local tx = db.begin() tx:query('select 1') "
				      "require('native.task').sleep(5)",
				      .deadline = mono_after_ms(clock_mono(), 9000),
				      .done = on_done,
				      .context = &result };
	struct task_config waiting = config;

	waiting.data = (void *)DB "db.query('select pg_sleep(5)')";
	task_start(rig.vm, &config);
	task_start(rig.vm, &waiting);
	for (int i = 0; i < 30; i++)
		loop_turn(rig.loop, 5);
	pg_pool_destroy(rig.api.pg);
	rig.api.pg = NULL;
	loop_turn(rig.loop, 0);
	assert_string_equal(buf_text(&result), "cancelled");
	rig_finish(&rig);
	assert_string_equal(buf_text(&result), "cancelledcancelled");
	buf_finish(&result);
	open_rig(NULL);
}

static void start(const char *source)
{
	struct task_config task = {
		.push = rig_push_source,
		.data = (void *)(uintptr_t)source,
		.deadline = mono_after_ms(clock_mono(), 10000),
		.done = rig_on_done,
		.context = &rig,
	};

	rig.done = false;
	task_start(rig.vm, &task);
}

static int sleeping(void)
{
	return atoi(pg_server_run(&server,
				  "select count(*) from pg_stat_activity where query = "
				  "'select pg_sleep(0.5)' and state = 'active'"));
}

/* A generation that is replaced may end while its tasks wait for a connection. */
static void a_transaction_may_begin_after_its_machine_is_gone(void **state)
{
	for (int i = 0; i < 2; i++)
		start(DB "db.begin():query('select pg_sleep(0.5)')");
	while (sleeping() < 2)
		loop_turn(rig.loop, 10);
	start(DB "db.begin()");
	loop_turn(rig.loop, 0);
	vm_destroy(rig.vm);
	rig.vm = rig.api.vm = NULL;
	assert_true(rig.done);
	while (sleeping() > 0)
		loop_turn(rig.loop, 10);
	for (int i = 0; i < 5; i++) /* the two end, and the third begins */
		loop_turn(rig.loop, 20);
	assert_nothing_open();
}

static void without_a_database_it_says_which_setting_is_missing(void **state)
{
	struct pg_pool *pool = rig.api.pg;

	rig.api.pg = NULL;
	assert_run(&rig, DB "db.query('select 1')",
		   "unavailable: this service has no database: set postgres_url");
	rig.api.pg = pool;
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, open_rig, close_rig)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH(columns_become_lua_values),
		WITH(json_and_times_are_decoded),
		WITH(parameters_of_every_kind_arrive),
		WITH(a_constraint_comes_back_and_all_else_is_raised),
		WITH(a_transaction_commits),
		WITH(a_commit_that_is_refused_is_raised),
		WITH(a_transaction_left_open_ends_with_its_task),
		WITH(parts_of_a_task_run_at_once),
		WITH(a_late_statement_tells_its_own_kind),
		WITH(the_pool_may_end_before_the_tasks),
		WITH(a_transaction_may_begin_after_its_machine_is_gone),
		WITH(without_a_database_it_says_which_setting_is_missing),
	};

	if (!pg_server_found())
		return 77;
	return cmocka_run_group_tests(tests, start_server, stop_server);
}
