/* SPDX-License-Identifier: MIT */
/* pg_pool.h -- PostgreSQL connections of one worker.
 *
 * A connection is in exactly one of four lists, and moves only this way:
 *
 *     opening --> idle <--> lent --> closing
 *        |         |                    ^
 *        +---------+--------------------+     (refused, or lost while idle)
 *
 * Single statements (pg_pool_query) are autocommitted. They go to an idle connection;
 * when there is none the pool grows; when it may not, they are pipelined behind others on
 * a connection that serves single statements, each with its own Sync, so that each is a
 * transaction of its own and one's error does not touch the next. A transaction
 * (pg_pool_begin) has its connection to itself. Who waits, waits in order of arrival.
 *
 * Statements are prepared once per connection and text, and kept in a bounded cache
 * there. What the socket did not take at once is written once a turn. A statement that
 * misses its deadline answers its caller at once and has its connection closed; the
 * server ends what it was doing there within half a second (pg_target.h). Behind it in
 * that pipeline, statements that only read are sent again on another connection, the rest
 * fail as uncertain.
 *
 * Opening failed: back off with jitter (100 ms doubling to 5 s). While no connection
 * works, callers get unavailable promptly, not at their deadline. One connection is
 * always kept or tried for, so that the pool recovers by itself.
 *
 * kinds
 *   unavailable  no connection, or it was lost and nothing was written
 *   timeout      a statement that only reads (pg_text_reads), or one inside a
 *                transaction that did not commit; the server's own statement_timeout
 *   uncertain    no answer, may have been written: a single statement that writes, a
 *                commit
 *   refused      a constraint (SQLSTATE class 23, named), serialization failure,
 *                deadlock, NOWAIT; the code tells
 *   limit        the queue is full (503)
 *   bad_input    a parameter holds a NUL byte
 *   internal     other SQL errors: syntax, types, rights; what pg_text.h refuses
 *   cancelled    the pool was destroyed
 *
 * Spans: one CLIENT span per statement, named by its db.query.summary (pg_text.h), with
 * db.system.name=postgresql, db.namespace, db.query.text (the parameterised text),
 * server.address and port, error.type, db.response.status_code; the parent is given by
 * the caller. The series db_duration (from the call to the answer) and pool_*
 * (pool="postgresql") are kept here.
 *
 * Invariants
 *   - opening + idle + lent + closing <= config.size_max.
 *   - if anyone waits, idle is empty.
 *   - a connection enters idle only outside a transaction.
 *   - nothing here is shared between workers; there are no locks.
 */
#ifndef STORE_PG_POOL_H
#define STORE_PG_POOL_H

#include "base/clock.h"
#include "base/fault.h"

#include <stdint.h>

struct loop;
struct trace_context;
struct pg_pool;
struct pg_tx;

struct pg_pool_config {
	const char *url; /* libpq URI or conninfo; copied */
	unsigned size_max;
	unsigned waiting_max;
	unsigned pipeline_max; /* statements under way on one connection */
	int connect_timeout_ms;
};

#define PG_PARAMS_MAX 64

struct pg_query {
	struct slice sql; /* one statement with $1, $2 ... */
	const struct slice *params; /* text format; at NULL is NULL */
	size_t param_count;
	struct mono deadline;
	const struct trace_context *trace; /* NULL: no span */
};

struct pg_error {
	char code[6]; /* SQLSTATE; empty when the server did not answer */
	char constraint[64];
};

/* A result in text format; borrowed, only during the call. */
struct pg_result;
size_t pg_result_rows(const struct pg_result *result);
size_t pg_result_columns(const struct pg_result *result);
struct slice pg_result_name(const struct pg_result *result, size_t column);
unsigned pg_result_type(const struct pg_result *result, size_t column); /* type OID */
uint64_t pg_result_affected(const struct pg_result *result);

/* at NULL: null. Terminated. */
struct slice pg_result_value(const struct pg_result *result, size_t row, size_t column);

/* result is borrowed, only during the call. On failure result is NULL, why says what
 * happened and error what the server said; error is never NULL then. A rollback that
 * needed no statement has neither. Never called before the starting function returns. */
typedef void pg_done_fn(void *context, const struct pg_result *result,
			const struct fault *why, const struct pg_error *error);

/* On failure tx is NULL. */
typedef void pg_begun_fn(void *context, struct pg_tx *tx, const struct fault *why);

/* Gives a pool; opens the first connection when the loop runs. Borrows loop. Fails only
 * on a malformed url (bad_input). */
struct pg_pool *pg_pool_create(struct loop *loop, const struct pg_pool_config *config,
			       struct fault *why);

/* Everything under way ends with cancelled; callbacks run inside. A transaction that is
 * still lent stays its holder's to end: until then all it answers is cancelled. Not from
 * inside a callback of the pool. NULL is allowed. */
void pg_pool_destroy(struct pg_pool *pool);

/* Copies the query. */
void pg_pool_query(struct pg_pool *pool, const struct pg_query *query, pg_done_fn *done,
		   void *context);

/* Lends a connection with BEGIN sent. The deadline is for getting it. */
void pg_pool_begin(struct pg_pool *pool, struct mono deadline,
		   const struct trace_context *trace, pg_begun_fn *done, void *context);

/* Statements are pipelined: the next may be started before the last is answered. After a
 * failed one every further one fails the same way until the end, unless ROLLBACK TO a
 * savepoint mends it. */
void pg_tx_query(struct pg_tx *tx, const struct pg_query *query, pg_done_fn *done,
		 void *context);

/* Takes tx. done without why means it is durable. A transaction with a failed statement
 * is rolled back and answers with that failure; a connection lost during the commit is
 * uncertain. */
void pg_tx_commit(struct pg_tx *tx, struct mono deadline, pg_done_fn *done,
		  void *context);

/* Takes tx. done may be NULL; it never fails: a lost connection rolls back, too. */
void pg_tx_rollback(struct pg_tx *tx, pg_done_fn *done, void *context);

/* For /ready: the pool's last knowledge; false with why when no connection works. */
bool pg_pool_healthy(const struct pg_pool *pool, struct fault *why);

void pg_pool_check(const struct pg_pool *pool); /* the invariants; for tests */

#endif
