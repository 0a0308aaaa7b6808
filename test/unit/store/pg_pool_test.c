/* SPDX-License-Identifier: MIT */
/* Single statements of the PostgreSQL pool, against a server of its own. */
#include "pg_asking.h"

/* --- single statements ------------------------------------------------------------ */

static void a_statement_is_answered(void **state)
{
	struct slice params[] = { SLICE("41"), { NULL, 0 }, SLICE("") };
	struct pg_query query =
		query_of("select $1::int + 1, $2::text, $3::text", params, 3, 5000);
	struct answer answer = { 0 };

	pg_pool_query(pool, &query, answered, &answer);
	wait_for(&answer);
	assert_ok(&answer);
	assert_string_equal(answer.value, "42");
	answer = now("select null");
	assert_string_equal(answer.value, "NULL");
	answer = now("insert into notes select 'x' from generate_series(1, 3)");
	assert_int_equal(answer.affected, 3);
	assert_true(ground_metric(&ground, "db_client_operation_duration_seconds",
				  "SELECT") == 2);
	assert_true(pg_pool_healthy(pool, NULL));
}

static void the_session_is_in_utc_and_iso(void **state)
{
	struct answer answer = now("select timestamptz '2026-11-20 12:00:00+01'");

	assert_string_equal(answer.value, "2026-11-20 11:00:00+00");
}

static void a_constraint_that_refuses_is_named(void **state)
{
	struct answer answer = now("insert into things values (1, 'one', 1)");

	assert_ok(&answer);
	answer = now("insert into things values (1, 'two', 1)");
	assert_kind(&answer, FAULT_refused);
	assert_string_equal(answer.error.code, "23505");
	assert_string_equal(answer.error.constraint, "things_pkey");
	answer = now("insert into things values (2, 'two', 0)");
	assert_kind(&answer, FAULT_refused);
	assert_string_equal(answer.error.constraint, "positive");
}

static void a_deferred_constraint_refuses_at_the_end_of_a_single_statement(void **state)
{
	struct answer answer = now("insert into later values (1), (1)");

	assert_kind(&answer, FAULT_refused);
	assert_string_equal(answer.error.constraint, "once");
	answer = now("select count(*) from later");
	assert_string_equal(answer.value, "0");
}

static void wrong_sql_is_an_internal_fault_and_touches_nobody_else(void **state)
{
	struct answer answers[30];

	assert_ok(&(struct answer[]){ now("select 1") }[0]);
	for (int i = 0; i < 30; i++)
		ask(&answers[i], i % 3 ? "select 7" : "select nonsense from nowhere");
	for (int i = 0; i < 30; i++) {
		wait_for(&answers[i]);
		if (i % 3) {
			assert_ok(&answers[i]);
			assert_string_equal(answers[i].value, "7");
		} else {
			assert_kind(&answers[i], FAULT_internal);
			assert_string_equal(answers[i].error.code, "42P01");
		}
	}
}

static void what_would_change_a_shared_connection_is_refused(void **state)
{
	static const char *const statements[] = {
		"begin",	 "COMMIT",   " rollback", "copy notes to stdout",
		"set x.y = '1'", "listen x", "",	  "-- nothing"
	};
	struct slice nul[] = { { "a\0b", 3 } };
	struct pg_query query = query_of("select $1::text", nul, 1, 1000);
	struct answer answer = { 0 };

	for (size_t i = 0; i < sizeof(statements) / sizeof(statements[0]); i++) {
		answer = now(statements[i]);
		assert_kind(&answer, FAULT_internal);
	}
	memset(&answer, 0, sizeof(answer));
	pg_pool_query(pool, &query, answered, &answer);
	wait_for(&answer);
	assert_kind(&answer, FAULT_bad_input);
}

static void sixty_four_at_once_are_all_answered(void **state)
{
	static struct answer answers[64];
	struct mono until;

	for (int round = 0; round < 5; round++) {
		for (int i = 0; i < 64; i++)
			ask(&answers[i], "select pg_backend_pid()");
		for (int i = 0; i < 64; i++) {
			wait_for(&answers[i]);
			assert_ok(&answers[i]);
		}
	}
	until = in_ms(5000);
	while (ground_metric(&ground, "db_pool_connections", "idle") != 4) {
		assert_true(clock_mono().ns < until.ns);
		turn();
	}
}

static void beyond_the_bound_waiting_is_refused_as_limit(void **state)
{
	static struct answer answers[600];
	int limited = 0;

	for (int i = 0; i < 600; i++)
		ask(&answers[i], "select 1");
	for (int i = 0; i < 600; i++) {
		wait_for(&answers[i]);
		if (!answers[i].ok) {
			assert_kind(&answers[i], FAULT_limit);
			limited++;
		}
	}
	assert_int_equal(limited, 600 - 256);
}

static void many_texts_fall_out_of_the_cache_and_still_run(void **state)
{
	static struct answer answers[700];
	char sql[64];

	for (int i = 0; i < 700; i++) {
		snprintf(sql, sizeof(sql), "select %d", i);
		ask(&answers[i], sql);
		if (i % 40 == 39)
			wait_for(&answers[i]);
	}
	for (int i = 0; i < 700; i++) {
		wait_for(&answers[i]);
		assert_ok(&answers[i]);
		assert_int_equal(atoi(answers[i].value), i);
	}
	answers[0] = now("select count(*) from pg_prepared_statements");
	assert_int_equal(atoi(answers[0].value), 256);
}

static void a_changed_table_is_prepared_again(void **state)
{
	struct answer answer;

	pg_server_run(&server,
		      "create table changing(a int); insert into changing values (1)");
	answer = now("select * from changing");
	assert_ok(&answer);
	pg_server_run(&server, "alter table changing add b int");
	answer = now("select * from changing");
	assert_ok(&answer);
	pg_server_run(&server, "drop table changing");
}

/* --- deadlines -------------------------------------------------------------------- */

static void a_slow_read_is_a_timeout_and_a_slow_write_uncertain(void **state)
{
	struct mono begin = clock_mono();
	struct answer read, write, fine;

	ask_for(&read, 150, "select pg_sleep(3)");
	ask_for(&write, 150, "insert into notes select pg_sleep(3)::text");
	wait_for(&read);
	wait_for(&write);
	assert_true(mono_seconds(begin, clock_mono()) < 1.0);
	assert_kind(&read, FAULT_timeout);
	assert_kind(&write, FAULT_uncertain);
	fine = now("select 1");
	assert_ok(&fine);
}

static void the_server_soon_ends_what_nobody_waits_for(void **state)
{
	struct answer answer;
	struct mono until = in_ms(5000);

	ask_for(&answer, 100, "select pg_sleep(77)");
	wait_for(&answer);
	while (atoi(pg_server_run(&server,
				  "select count(*) from pg_stat_activity where query "
				  "= 'select pg_sleep(77)'")) > 0) {
		assert_true(clock_mono().ns < until.ns);
		pg_server_wait_ms(50);
	}
}

static void the_server_ends_a_write_that_waits_for_a_lock(void **state)
{
	struct pg_tx *tx = tx_now();
	struct answer answer;
	struct mono until = in_ms(5000);

	pg_server_run(&server, "truncate things; insert into things values (1, 'a', 1)");
	answer = tx_query_now(tx, "select * from things where id = 1 for update");
	assert_ok(&answer);
	ask_for(&answer, 100, "update things set n = 99 where id = 1");
	wait_for(&answer);
	assert_kind(&answer, FAULT_uncertain);
	while (atoi(pg_server_run(&server,
				  "select count(*) from pg_stat_activity where query "
				  "like 'update things set n = 99%'")) > 0) {
		assert_true(clock_mono().ns < until.ns);
		pg_server_wait_ms(50);
	}
	answer = commit_now(tx);
	assert_ok(&answer);
	assert_string_equal(pg_server_run(&server, "select n from things where id = 1"),
			    "1");
}

static void reads_behind_a_slow_one_are_sent_again(void **state)
{
	struct answer slow, read, write;

	assert_ok(&(struct answer[]){ now("select 1") }[0]);
	ask_for(&slow, 150, "select pg_sleep(3)");
	ask(&read, "select 5");
	ask(&write, "insert into notes values ('behind')");
	wait_for(&slow);
	wait_for(&read);
	wait_for(&write);
	assert_kind(&slow, FAULT_timeout);
	assert_ok(&read);
	assert_string_equal(read.value, "5");
	assert_kind(&write, FAULT_uncertain);
	/* The server noticed that nobody listens before it came to it. */
	read = now("select count(*) from notes where text = 'behind'");
	assert_string_equal(read.value, "0");
}

static void without_a_free_connection_waiting_ends_at_the_deadline(void **state)
{
	struct pg_tx *tx = tx_now();
	struct answer answer;

	ask_for(&answer, 100, "select 1");
	wait_for(&answer);
	assert_kind(&answer, FAULT_timeout);
	assert_true(ground_metric(&ground, "db_pool_timeouts_total", NULL) == 1);
	memset(&answer, 0, sizeof(answer));
	pg_pool_begin(pool, in_ms(100), NULL, begun, &answer);
	wait_for(&answer);
	assert_kind(&answer, FAULT_timeout);
	ask_for(&answer, -1, "select 1");
	wait_for(&answer);
	assert_kind(&answer, FAULT_timeout);
	answer = commit_now(tx);
	assert_ok(&answer);
}

/* --- spans ------------------------------------------------------------------------ */

static void each_statement_is_a_span(void **state)
{
	struct trace_context parent = { .trace_id = { 1 }, .span_id = { 2 }, .flags = 1 };
	struct pg_query query =
		query_of("select n from things where id = 1", NULL, 0, 1000);
	struct answer answer = { 0 };
	struct slice span;

	query.trace = &parent;
	pg_pool_query(pool, &query, answered, &answer);
	wait_for(&answer);
	assert_true(tracer_peek(ground.observer.tracer, &span));
	assert_non_null(memmem(span.at, span.size, "SELECT things", 13));
	assert_non_null(memmem(span.at, span.size, "db.system.name", 14));
	assert_non_null(memmem(span.at, span.size, "select n from things", 20));
	tracer_release(ground.observer.tracer);
	assert_false(tracer_peek(ground.observer.tracer, &span));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH(a_statement_is_answered, four_connections),
		WITH(the_session_is_in_utc_and_iso, four_connections),
		WITH(a_constraint_that_refuses_is_named, four_connections),
		WITH(a_deferred_constraint_refuses_at_the_end_of_a_single_statement,
		     four_connections),
		WITH(wrong_sql_is_an_internal_fault_and_touches_nobody_else,
		     one_connection),
		WITH(what_would_change_a_shared_connection_is_refused, one_connection),
		WITH(sixty_four_at_once_are_all_answered, four_connections),
		WITH(beyond_the_bound_waiting_is_refused_as_limit, one_connection),
		WITH(many_texts_fall_out_of_the_cache_and_still_run, one_connection),
		WITH(a_changed_table_is_prepared_again, one_connection),
		WITH(a_slow_read_is_a_timeout_and_a_slow_write_uncertain,
		     four_connections),
		WITH(the_server_soon_ends_what_nobody_waits_for, one_connection),
		WITH(the_server_ends_a_write_that_waits_for_a_lock, four_connections),
		WITH(reads_behind_a_slow_one_are_sent_again, one_connection),
		WITH(without_a_free_connection_waiting_ends_at_the_deadline,
		     one_connection),
		WITH(each_statement_is_a_span, one_connection),
	};

	if (!pg_server_found())
		return 77;
	return cmocka_run_group_tests(tests, start_server, stop_server);
}
