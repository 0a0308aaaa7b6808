/* SPDX-License-Identifier: MIT */
/* Transactions of the PostgreSQL pool, against a server of its own. */
#include "pg_asking.h"

/* --- transactions ----------------------------------------------------------------- */

static void a_transaction_commits_what_it_wrote(void **state)
{
	struct pg_tx *tx = tx_now();
	struct answer first, second, third, end = { 0 };

	pg_server_run(&server, "truncate things");
	tx_ask(tx, &first, "insert into things values (10, 'ten', 1)");
	tx_ask(tx, &second, "insert into things values (11, 'eleven', 1)");
	tx_ask(tx, &third, "select count(*) from things");
	wait_for(&third);
	assert_int_equal(first.times + second.times, 2);
	assert_string_equal(third.value, "2");
	assert_string_equal(pg_server_run(&server, "select count(*) from things"), "0");
	pg_tx_commit(tx, in_ms(1000), answered, &end);
	wait_for(&end);
	assert_ok(&end);
	assert_string_equal(pg_server_run(&server, "select count(*) from things"), "2");
}

static void a_rolled_back_transaction_leaves_nothing(void **state)
{
	struct pg_tx *tx = tx_now();
	struct answer answer = tx_query_now(tx, "insert into notes values ('never')");

	assert_ok(&answer);
	memset(&answer, 0, sizeof(answer));
	pg_tx_rollback(tx, answered, &answer);
	wait_for(&answer);
	assert_ok(&answer);
	tx = tx_now();
	tx_ask(tx, &answer, "insert into notes values ('never')");
	pg_tx_rollback(tx, NULL, NULL);
	wait_for(&answer);
	answer = now("select count(*) from notes where text = 'never'");
	assert_string_equal(answer.value, "0");
}

static void after_a_failed_statement_nothing_of_the_transaction_stands(void **state)
{
	struct pg_tx *tx = tx_now();
	struct answer good, bad, after, later, end = { 0 };

	pg_server_run(&server, "truncate things");
	tx_ask(tx, &good, "insert into things values (20, 'twenty', 1)");
	tx_ask(tx, &bad, "insert into things values (21, 'no', -1)");
	tx_ask(tx, &after, "insert into things values (22, 'pipelined', 1)");
	wait_for(&after);
	assert_ok(&good);
	assert_kind(&bad, FAULT_refused);
	assert_kind(&after, FAULT_refused);
	later = tx_query_now(tx, "select 1");
	assert_kind(&later, FAULT_refused);
	assert_string_equal(later.error.constraint, "positive");
	pg_tx_commit(tx, in_ms(1000), answered, &end);
	wait_for(&end);
	assert_kind(&end, FAULT_refused);
	assert_string_equal(end.error.constraint, "positive");
	assert_string_equal(pg_server_run(&server, "select count(*) from things"), "0");
}

static void a_commit_sent_behind_a_failure_is_no_success(void **state)
{
	struct pg_tx *tx = tx_now();
	struct answer bad, end = { 0 };

	tx_ask(tx, &bad, "select 1/0");
	pg_tx_commit(tx, in_ms(1000), answered, &end);
	wait_for(&end);
	assert_kind(&bad, FAULT_internal);
	assert_kind(&end, FAULT_internal);
	assert_string_equal(end.error.code, "22012");
}

static void a_savepoint_mends_a_transaction(void **state)
{
	struct pg_tx *tx = tx_now();
	struct answer answer = tx_query_now(tx, "savepoint here");

	assert_ok(&answer);
	answer = tx_query_now(tx, "select 1/0");
	assert_kind(&answer, FAULT_internal);
	answer = tx_query_now(tx, "rollback to savepoint here");
	assert_ok(&answer);
	answer = tx_query_now(tx, "insert into notes values ('mended')");
	assert_ok(&answer);
	answer = commit_now(tx);
	assert_ok(&answer);
	answer = now("select count(*) from notes where text = 'mended'");
	assert_string_equal(answer.value, "1");
}

static void a_deferred_constraint_refuses_the_commit(void **state)
{
	struct pg_tx *tx = tx_now();
	struct answer answer = tx_query_now(tx, "insert into later values (2), (2)");

	assert_ok(&answer);
	answer = commit_now(tx);
	assert_kind(&answer, FAULT_refused);
	assert_string_equal(answer.error.constraint, "once");
}

static void a_deadlock_is_refused_with_its_code(void **state)
{
	struct pg_tx *one = tx_now(), *two = tx_now();
	struct answer first, second, end;

	pg_server_run(&server, "truncate things; insert into things values (1, 'a', 1), "
			       "(2, 'b', 1)");
	first = tx_query_now(one, "update things set n = 2 where id = 1");
	second = tx_query_now(two, "update things set n = 3 where id = 2");
	tx_ask(one, &first, "update things set n = 2 where id = 2");
	turn();
	tx_ask(two, &second, "update things set n = 3 where id = 1");
	wait_for(&first);
	wait_for(&second);
	assert_true(first.ok != second.ok);
	assert_kind(first.ok ? &second : &first, FAULT_refused);
	assert_string_equal((first.ok ? &second : &first)->error.code, "40P01");
	end = commit_now(first.ok ? one : two);
	assert_ok(&end);
	end = commit_now(first.ok ? two : one);
	assert_kind(&end, FAULT_refused);
}

static void a_late_statement_ends_its_transaction(void **state)
{
	struct pg_tx *tx = tx_now();
	struct answer answer = tx_query_now(tx, "insert into notes values ('late')");

	tx_ask_for(tx, &answer, 100, "select pg_sleep(3)");
	wait_for(&answer);
	assert_kind(&answer, FAULT_timeout);
	answer = tx_query_now(tx, "select 1");
	assert_kind(&answer, FAULT_timeout);
	answer = commit_now(tx);
	assert_kind(&answer, FAULT_timeout);
	answer = now("select count(*) from notes where text = 'late'");
	assert_string_equal(answer.value, "0");
}

static void transactions_wait_in_order_and_are_not_starved(void **state)
{
	static struct answer reads[200];
	struct answer begin = { 0 }, end;
	int asked = 0;

	assert_ok(&(struct answer[]){ now("select 1") }[0]);
	for (; asked < 20; asked++)
		ask(&reads[asked], "select 1");
	pg_pool_begin(pool, in_ms(5000), NULL, begun, &begin);
	while (begin.times == 0 && asked < 200) {
		ask(&reads[asked++], "select 1");
		turn();
	}
	assert_ok(&begin);
	end = commit_now(begin.tx);
	assert_ok(&end);
	for (int i = 0; i < asked; i++)
		wait_for(&reads[i]);
}

static void a_pool_destroyed_in_the_middle_cancels_everything(void **state)
{
	struct answer queries[40], begin = { 0 }, inside, commit = { 0 };
	struct pg_tx *tx = tx_now(), *other = tx_now();

	tx_ask(tx, &inside, "select pg_sleep(1)");
	pg_tx_commit(other, in_ms(1000), answered, &commit);
	for (int i = 0; i < 40; i++)
		ask(&queries[i], "select pg_sleep(0.5)");
	pg_pool_begin(pool, in_ms(5000), NULL, begun, &begin);
	pg_pool_destroy(pool);
	assert_int_equal(inside.times, 1);
	assert_kind(&inside, FAULT_cancelled);
	assert_kind(&commit, FAULT_cancelled);
	assert_kind(&begin, FAULT_cancelled);
	for (int i = 0; i < 40; i++)
		assert_kind(&queries[i], FAULT_cancelled);
	/* Its holder learns of it, and ends it. */
	tx_ask(tx, &inside, "select 1");
	loop_turn(ground.loop, 0);
	assert_kind(&inside, FAULT_cancelled);
	memset(&inside, 0, sizeof(inside));
	pg_tx_rollback(tx, answered, &inside);
	loop_turn(ground.loop, 0);
	assert_true(inside.times == 1 && inside.ok);
	ground_destroy(&ground);
	open_pool(server.url, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH(a_transaction_commits_what_it_wrote, four_connections),
		WITH(a_rolled_back_transaction_leaves_nothing, four_connections),
		WITH(after_a_failed_statement_nothing_of_the_transaction_stands,
		     four_connections),
		WITH(a_commit_sent_behind_a_failure_is_no_success, one_connection),
		WITH(a_savepoint_mends_a_transaction, one_connection),
		WITH(a_deferred_constraint_refuses_the_commit, one_connection),
		WITH(a_deadlock_is_refused_with_its_code, four_connections),
		WITH(a_late_statement_ends_its_transaction, four_connections),
		WITH(transactions_wait_in_order_and_are_not_starved, one_connection),
		WITH(a_pool_destroyed_in_the_middle_cancels_everything, four_connections),
	};

	if (!pg_server_found())
		return 77;
	return cmocka_run_group_tests(tests, start_server, stop_server);
}
