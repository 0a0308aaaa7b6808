/* SPDX-License-Identifier: MIT */
/* The PostgreSQL pool when the server goes away, and when chaos is armed. */
#include "pg_asking.h"

/* --- a server that goes away ------------------------------------------------------ */

static void a_killed_server_fails_promptly_and_the_pool_recovers(void **state)
{
	struct answer read, write, inside, commit = { 0 }, refused;
	struct pg_tx *tx = tx_now();
	struct mono begin;
	int tries = 0;

	tx_ask(tx, &inside, "insert into notes values ('lost')");
	wait_for(&inside);
	ask_for(&read, 30000, "select pg_sleep(20)");
	ask_for(&write, 30000, "insert into notes select pg_sleep(20)::text");
	for (int i = 0; i < 5; i++)
		turn();
	begin = clock_mono();
	pg_server_stop(&server, SIGQUIT);
	wait_for(&read);
	wait_for(&write);
	assert_kind(&read, FAULT_unavailable);
	assert_true(write.kind == FAULT_uncertain || write.kind == FAULT_unavailable);
	inside = tx_query_now(tx, "select 1");
	assert_kind(&inside, FAULT_unavailable);
	pg_tx_commit(tx, in_ms(5000), answered, &commit);
	wait_for(&commit);
	assert_kind(&commit, FAULT_unavailable);
	do {
		struct mono asked = clock_mono();

		refused = now("select 1");
		assert_kind(&refused, FAULT_unavailable);
		assert_true(mono_seconds(asked, clock_mono()) < 1);
	} while (++tries < 20);
	assert_false(pg_pool_healthy(pool, NULL));
	assert_true(mono_seconds(begin, clock_mono()) < 3);
	pg_server_start(&server);
	begin = clock_mono();
	do {
		refused = now("select 1");
		turn();
	} while (!refused.ok && mono_seconds(begin, clock_mono()) < 8);
	assert_ok(&refused);
	assert_true(pg_pool_healthy(pool, NULL));
}

static void an_ended_session_says_that_nothing_was_written(void **state)
{
	struct answer write;

	ask(&write, "insert into notes select pg_sleep(5)::text");
	for (int i = 0; i < 10; i++)
		turn();
	pg_server_run(&server, "select pg_terminate_backend(pid) from pg_stat_activity "
			       "where query like 'insert into notes select%'");
	wait_for(&write);
	assert_kind(&write, FAULT_unavailable);
	assert_string_equal(write.error.code, "57P01");
	write = now("select 1");
	assert_ok(&write);
}

static void an_idle_connection_that_died_is_replaced_unseen(void **state)
{
	struct answer answer = now("select 1");
	int wrong = 0;

	for (int i = 0; i < 10; i++) {
		pg_server_run(&server,
			      "select pg_terminate_backend(pid) from pg_stat_activity "
			      "where application_name = 'orrery'");
		for (int j = 0; j < 5; j++)
			turn();
		answer = now("insert into notes values ('fresh')");
		wrong += !answer.ok;
	}
	assert_int_equal(wrong, 0);
}

/* The server takes 60 connections; the pool would open 80. */
static void a_server_that_takes_no_more_connections_is_lived_with(void **state)
{
	static struct answer answers[200];

	open_pool(server.url, 80);
	for (int i = 0; i < 200; i++)
		ask(&answers[i], "select pg_sleep(0.02)");
	for (int i = 0; i < 200; i++) {
		wait_for(&answers[i]);
		assert_ok(&answers[i]);
	}
	close_pool(NULL);
}

static void nobody_listening_is_unavailable_at_once(void **state)
{
	char url[64];
	struct answer answer;
	struct mono begin = clock_mono();

	snprintf(url, sizeof(url), "postgresql://nobody@127.0.0.1:%d/x",
		 free_port());
	open_pool(url, 2);
	answer = now("select 1");
	assert_kind(&answer, FAULT_unavailable);
	answer = now("select 1");
	assert_kind(&answer, FAULT_unavailable);
	assert_true(mono_seconds(begin, clock_mono()) < 1);
	close_pool(NULL);
}

static void a_server_that_never_answers_is_given_up(void **state)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	struct pg_pool_config config;
	int fd = socket(AF_INET, SOCK_STREAM, 0), port = free_port();
	char url[64];
	struct answer answer;
	struct fault why;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	address.sin_port = htons((uint16_t)port);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 5), 0);
	snprintf(url, sizeof(url), "postgresql://nobody@127.0.0.1:%d/x", port);
	config = config_of(url, 2);
	config.connect_timeout_ms = 200;
	ground_create(&ground);
	pool = pg_pool_create(ground.loop, &config, &why);
	answer = now("select 1");
	assert_kind(&answer, FAULT_unavailable);
	close_pool(NULL);
	close(fd);
}

static void names_and_unix_sockets_work_too(void **state)
{
	char url[128];
	struct answer answer;

	snprintf(url, sizeof(url), "postgresql://postgres@localhost:%d/postgres",
		 server.port);
	open_pool(url, 2);
	answer = now("select 1");
	assert_ok(&answer);
	close_pool(NULL);
	open_pool(server.socket_url, 2);
	answer = now("select 1");
	assert_ok(&answer);
	close_pool(NULL);
	open_pool("postgresql://x@no-such-host.invalid/x", 2);
	answer = now("select 1");
	assert_kind(&answer, FAULT_unavailable);
	close_pool(NULL);
	/* Destroyed while the name is looked up. */
	open_pool(url, 2);
	loop_turn(ground.loop, 0);
	close_pool(NULL);
}

static void a_malformed_url_is_refused(void **state)
{
	struct pg_pool_config config = config_of("postgresql://[::1", 1);
	struct fault why;

	ground_create(&ground);
	assert_null(pg_pool_create(ground.loop, &config, &why));
	assert_int_equal(why.kind, FAULT_bad_input);
	config.url = "postgresql://one.example,two.example/x";
	assert_null(pg_pool_create(ground.loop, &config, &why));
	ground_destroy(&ground);
}

/* --- breaking on purpose ---------------------------------------------------------- */

static void chaos_delays_fails_and_cuts(void **state)
{
	struct answer answer = now("select 1");
	struct mono begin = clock_mono();

	chaos_arm(&ground.chaos, CHAOS_pg_query, (struct chaos_effect){ .delay_ms = 100 },
		  1);
	answer = now("select 2");
	assert_ok(&answer);
	assert_true(mono_seconds(begin, clock_mono()) >= 0.1);
	chaos_arm(&ground.chaos, CHAOS_pg_query,
		  (struct chaos_effect){ .fail = FAULT_unavailable }, 1);
	answer = now("select 3");
	assert_kind(&answer, FAULT_unavailable);
	chaos_arm(&ground.chaos, CHAOS_pg_query, (struct chaos_effect){ .cut = true }, 2);
	answer = now("select 4");
	assert_kind(&answer, FAULT_unavailable);
	answer = now("insert into notes values ('cut')");
	assert_kind(&answer, FAULT_uncertain);
	answer = now("select 5");
	assert_ok(&answer);
}

static void chaos_breaks_transactions(void **state)
{
	struct answer answer = { 0 }, first, second;
	struct pg_tx *tx;

	chaos_arm(&ground.chaos, CHAOS_pg_begin,
		  (struct chaos_effect){ .fail = FAULT_limit }, 1);
	pg_pool_begin(pool, in_ms(1000), NULL, begun, &answer);
	wait_for(&answer);
	assert_kind(&answer, FAULT_limit);
	chaos_arm(&ground.chaos, CHAOS_pg_commit,
		  (struct chaos_effect){ .fail = FAULT_uncertain }, 1);
	answer = commit_now(tx_now());
	assert_kind(&answer, FAULT_uncertain);
	chaos_arm(&ground.chaos, CHAOS_pg_commit,
		  (struct chaos_effect){ .cut = true, .delay_ms = 50 }, 1);
	answer = commit_now(tx_now());
	assert_kind(&answer, FAULT_uncertain);
	tx = tx_now();
	chaos_arm(&ground.chaos, CHAOS_pg_query, (struct chaos_effect){ .delay_ms = 80 },
		  1);
	tx_ask(tx, &first, "insert into notes values ('held')");
	tx_ask(tx, &second, "select count(*) from notes where text = 'held'");
	wait_for(&second);
	assert_ok(&first);
	assert_string_equal(second.value, "1");
	chaos_arm(&ground.chaos, CHAOS_pg_query, (struct chaos_effect){ .delay_ms = 500 },
		  1);
	tx_ask_for(tx, &first, 50, "select 1");
	memset(&answer, 0, sizeof(answer));
	pg_tx_commit(tx, in_ms(2000), answered, &answer);
	wait_for(&answer);
	assert_kind(&first, FAULT_timeout);
	assert_ok(&(struct answer[]){ now("select 1") }[0]);
}

/* --- a random walk ---------------------------------------------------------------- */

#define WALKERS 24

struct walker {
	struct answer answer;
	struct pg_tx *tx;
	bool busy;
	bool begins;
};

static void walker_step(struct walker *walker, unsigned dice)
{
	static const char *const statements[] = { "select 1",
						  "insert into notes values ('w')",
						  "select 1/0",
						  "select pg_sleep(0.002)",
						  "select pg_sleep(0.05)",
						  "savepoint a",
						  "rollback to a",
						  "select n from things" };
	const char *sql = statements[dice / 16 % 8];
	int ms = dice / 128 % 20 == 0 ? 10 : 5000;

	walker->busy = true;
	walker->begins = false;
	memset(&walker->answer, 0, sizeof(walker->answer));
	if (!walker->tx && dice % 16 < 4) {
		walker->begins = true;
		pg_pool_begin(pool, in_ms(ms), NULL, begun, &walker->answer);
	} else if (!walker->tx) {
		ask_for(&walker->answer, ms, sql);
	} else if (dice % 16 < 10) {
		tx_ask_for(walker->tx, &walker->answer, ms, sql);
	} else if (dice % 16 < 13) {
		pg_tx_commit(walker->tx, in_ms(ms), answered, &walker->answer);
		walker->tx = NULL;
	} else {
		pg_tx_rollback(walker->tx, answered, &walker->answer);
		walker->tx = NULL;
	}
}

static void walk(unsigned steps, struct random *random, struct walker *walkers)
{
	for (unsigned step = 0; step < steps; step++) {
		struct walker *walker = &walkers[random_below(random, WALKERS)];

		assert_true(walker->answer.times <= 1);
		if (walker->busy && walker->answer.times == 1) {
			walker->busy = false;
			if (walker->begins && walker->answer.ok)
				walker->tx = walker->answer.tx;
		}
		if (!walker->busy)
			walker_step(walker, (unsigned)random_next(random));
		if (random_below(random, 3) == 0)
			loop_turn(ground.loop, random_below(random, 20) == 0 ? 5 : 0);
		if (random_below(random, 400) == 0)
			chaos_arm(&ground.chaos,
				  (enum chaos_at)random_below(random, CHAOS_points),
				  (struct chaos_effect){ .cut = true }, 1);
		if (random_below(random, 200) == 0)
			chaos_arm(&ground.chaos,
				  (enum chaos_at)random_below(random, CHAOS_points),
				  (struct chaos_effect){ .delay_ms = 20 }, 1);
		pg_pool_check(pool);
	}
}

static void a_random_walk_keeps_the_invariants(void **state)
{
	static struct walker walkers[WALKERS];
	struct mono until;
	struct random random;
	unsigned left;

	memset(walkers, 0, sizeof(walkers));
	random_init(&random, 20261120);
	walk(6000, &random, walkers);
	pg_server_stop(&server, SIGQUIT);
	walk(1500, &random, walkers);
	pg_server_start(&server);
	walk(6000, &random, walkers);
	/* Nobody is forgotten. */
	until = in_ms(9000);
	do {
		turn();
		left = 0;
		for (int i = 0; i < WALKERS; i++) {
			struct walker *walker = &walkers[i];

			if (walker->busy && walker->answer.times == 1) {
				walker->busy = false;
				if (walker->begins && walker->answer.ok)
					walker->tx = walker->answer.tx;
			}
			if (!walker->busy && walker->tx) {
				pg_tx_rollback(walker->tx, NULL, NULL);
				walker->tx = NULL;
			}
			left += walker->busy;
		}
	} while (left > 0 && clock_mono().ns < until.ns);
	assert_int_equal(left, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH(a_killed_server_fails_promptly_and_the_pool_recovers,
		     four_connections),
		WITH(an_ended_session_says_that_nothing_was_written, one_connection),
		WITH(an_idle_connection_that_died_is_replaced_unseen, one_connection),
		cmocka_unit_test(a_server_that_takes_no_more_connections_is_lived_with),
		cmocka_unit_test(nobody_listening_is_unavailable_at_once),
		cmocka_unit_test(a_server_that_never_answers_is_given_up),
		cmocka_unit_test(names_and_unix_sockets_work_too),
		cmocka_unit_test(a_malformed_url_is_refused),
		WITH(chaos_delays_fails_and_cuts, one_connection),
		WITH(chaos_breaks_transactions, four_connections),
		WITH(a_random_walk_keeps_the_invariants, four_connections),
	};

	if (!pg_server_found())
		return 77;
	return cmocka_run_group_tests(tests, start_server, stop_server);
}
