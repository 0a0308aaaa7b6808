/* SPDX-License-Identifier: MIT */
/* pg_asking.h -- a pool, a server, and asking the one about the other, one answer at a
 * time. */
#ifndef STORE_PG_ASKING_H
#define STORE_PG_ASKING_H

#include "base/random.h"
#include "ground.h"
#include "pg_server.h"
#include "store/pg_pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static struct pg_server server;
static struct ground ground;
static struct pg_pool *pool;

/* --- asking and waiting ----------------------------------------------------------- */

struct answer {
	int times;
	bool ok;
	enum fault_kind kind;
	char detail[240];
	struct pg_error error;
	size_t rows;
	uint64_t affected;
	char value[64]; /* first row, first column; "NULL" for null */
	struct pg_tx *tx;
};

PG_SERVER void answered(void *context, const struct pg_result *result,
			const struct fault *why, const struct pg_error *error)
{
	struct answer *answer = context;

	answer->times++;
	answer->ok = why == NULL;
	if (why) {
		assert_null(result);
		assert_non_null(error);
		answer->kind = why->kind;
		snprintf(answer->detail, sizeof(answer->detail), "%s", why->detail);
		answer->error = *error;
		return;
	}
	if (!result)
		return;
	answer->rows = pg_result_rows(result);
	answer->affected = pg_result_affected(result);
	if (answer->rows > 0 && pg_result_columns(result) > 0) {
		struct slice value = pg_result_value(result, 0, 0);

		snprintf(answer->value, sizeof(answer->value), "%.*s",
			 value.at ? (int)value.size : 4, value.at ? value.at : "NULL");
	}
}

PG_SERVER void begun(void *context, struct pg_tx *tx, const struct fault *why)
{
	struct answer *answer = context;

	answer->times++;
	answer->ok = why == NULL;
	answer->tx = tx;
	assert_true((tx == NULL) == (why != NULL));
	if (why) {
		answer->kind = why->kind;
		snprintf(answer->detail, sizeof(answer->detail), "%s", why->detail);
	}
}

PG_SERVER struct mono in_ms(int ms)
{
	return mono_after_ms(clock_mono(), ms);
}

PG_SERVER struct pg_query query_of(const char *sql, const struct slice *params,
				   size_t count, int ms)
{
	return (struct pg_query){ .sql = slice_text(sql),
				  .params = params,
				  .param_count = count,
				  .deadline = in_ms(ms) };
}

PG_SERVER void ask_for(struct answer *answer, int ms, const char *sql)
{
	struct pg_query query = query_of(sql, NULL, 0, ms);

	memset(answer, 0, sizeof(*answer));
	pg_pool_query(pool, &query, answered, answer);
	assert_int_equal(answer->times, 0);
}

PG_SERVER void ask(struct answer *answer, const char *sql)
{
	ask_for(answer, 5000, sql);
}

PG_SERVER void tx_ask_for(struct pg_tx *tx, struct answer *answer, int ms,
			  const char *sql)
{
	struct pg_query query = query_of(sql, NULL, 0, ms);

	memset(answer, 0, sizeof(*answer));
	pg_tx_query(tx, &query, answered, answer);
	assert_int_equal(answer->times, 0);
}

PG_SERVER void tx_ask(struct pg_tx *tx, struct answer *answer, const char *sql)
{
	tx_ask_for(tx, answer, 5000, sql);
}

PG_SERVER void turn(void)
{
	loop_turn(ground.loop, 20);
	pg_pool_check(pool);
}

PG_SERVER void wait_times(const struct answer *answer, int times)
{
	struct mono until = in_ms(10000);

	while (answer->times < times && clock_mono().ns < until.ns)
		turn();
	assert_int_equal(answer->times, times);
}

PG_SERVER void wait_for(const struct answer *answer)
{
	wait_times(answer, 1);
}

PG_SERVER struct answer now(const char *sql)
{
	struct answer answer;

	ask(&answer, sql);
	wait_for(&answer);
	return answer;
}

PG_SERVER void assert_ok(const struct answer *answer)
{
	if (!answer->ok)
		print_error("%s: %s\n", fault_name(answer->kind), answer->detail);
	assert_true(answer->ok);
}

PG_SERVER void assert_kind(const struct answer *answer, enum fault_kind kind)
{
	assert_false(answer->ok);
	if (answer->kind != kind)
		print_error("%s: %s\n", fault_name(answer->kind), answer->detail);
	assert_string_equal(fault_name(answer->kind), fault_name(kind));
}

PG_SERVER struct pg_tx *tx_now(void)
{
	struct answer answer = { 0 };

	pg_pool_begin(pool, in_ms(5000), NULL, begun, &answer);
	assert_int_equal(answer.times, 0);
	wait_for(&answer);
	assert_ok(&answer);
	return answer.tx;
}

PG_SERVER struct answer tx_query_now(struct pg_tx *tx, const char *sql)
{
	struct answer answer;

	tx_ask(tx, &answer, sql);
	wait_for(&answer);
	return answer;
}

PG_SERVER struct answer commit_now(struct pg_tx *tx)
{
	struct answer answer = { 0 };

	pg_tx_commit(tx, in_ms(5000), answered, &answer);
	assert_int_equal(answer.times, 0);
	wait_for(&answer);
	return answer;
}

/* --- life ------------------------------------------------------------------------- */

PG_SERVER struct pg_pool_config config_of(const char *url, unsigned size)
{
	return (struct pg_pool_config){ .url = url,
					.size_max = size,
					.waiting_max = 256,
					.pipeline_max = 16,
					.connect_timeout_ms = 2000 };
}

PG_SERVER void open_pool(const char *url, unsigned size)
{
	struct pg_pool_config config = config_of(url, size);
	struct fault why;

	ground_create(&ground);
	pool = pg_pool_create(ground.loop, &config, &why);
	assert_non_null(pool);
}

PG_SERVER int four_connections(void **state)
{
	open_pool(server.url, 4);
	return 0;
}

PG_SERVER int one_connection(void **state)
{
	open_pool(server.url, 1);
	return 0;
}

PG_SERVER int close_pool(void **state)
{
	pg_pool_check(pool);
	pg_pool_destroy(pool);
	assert_true(ground_metric(&ground, "db_pool_connections", NULL) == 0);
	assert_true(ground_metric(&ground, "db_pool_waiting_requests", NULL) == 0);
	ground_destroy(&ground);
	return 0;
}

PG_SERVER int start_server(void **state)
{
	pg_server_create(&server);
	pg_server_run(
		&server,
		"create table things(id int primary key, name text unique, n int "
		"constraint positive check (n > 0));"
		"create table later(id int constraint once unique deferrable initially "
		"deferred);"
		"create table notes(text text)");
	return 0;
}

PG_SERVER int stop_server(void **state)
{
	pg_server_destroy(&server);
	return 0;
}

#define WITH(test, size) cmocka_unit_test_setup_teardown(test, size, close_pool)

#endif
