/* SPDX-License-Identifier: MIT */
/* redis_pool.h -- Redis for one worker: commands pipelined over one connection (hiredis).
 *
 *     closed --> opening --> open --> closed
 *
 * It opens when the loop runs and reopens by itself: at once when an open connection was
 * lost, with back-off and jitter (100 ms doubling to 5 s) after a failure to open. While
 * it is closed and backing off, commands fail at once with unavailable; while it opens
 * they wait.
 *
 * Commands are flushed once a turn. hiredis has no timeout for asynchronous commands: one
 * that misses its deadline is answered at once, and its connection is closed; the others
 * on it fail too. At most waiting_max commands are under way (limit, 503). Names resolve
 * off the loop.
 *
 * kinds
 *   unavailable  no connection, or lost under a command that only reads; the server is
 *                loading
 *   timeout      late, and not sent yet or only reading
 *   uncertain    late or lost, and the command may have written
 *   refused      an error reply, with the server's words
 *   internal     what does not fit a shared connection: MULTI, SUBSCRIBE, BLPOP ...
 *
 * Spans: CLIENT, name is the command in capitals, db.system.name=redis,
 * db.operation.name, db.namespace, server.address and port, db.response.status_code (the
 * error's first word); keys and values are never recorded. Series:
 * db_duration{system="redis"}.
 *
 * Invariants
 *   - a command is waiting, held back, sent or ended; each is answered once.
 *   - waiting is empty while open; sent is empty unless open.
 */
#ifndef STORE_REDIS_POOL_H
#define STORE_REDIS_POOL_H

#include "base/clock.h"
#include "base/fault.h"

#include <stdint.h>

struct loop;
struct trace_context;
struct redis_pool;

struct redis_pool_config {
	const char *url; /* redis://[[user]:password@]host[:port][/db]; copied */
	unsigned waiting_max;
	int connect_timeout_ms;
};

enum redis_type { REDIS_null, REDIS_text, REDIS_status, REDIS_integer, REDIS_array };

struct redis_value { /* borrowed, only during done */
	enum redis_type type;
	struct slice text; /* text, status */
	int64_t integer;
	const struct redis_value *items; /* array */
	size_t count;
};

/* On failure value is NULL. Never called before the starting function returns. */
typedef void redis_done_fn(void *context, const struct redis_value *value,
			   const struct fault *why);

/* Borrows loop. Fails only on a malformed url (bad_input). */
struct redis_pool *redis_pool_create(struct loop *loop,
				     const struct redis_pool_config *config,
				     struct fault *why);

/* Commands under way end with cancelled; callbacks run inside. Not from inside a callback
 * of the pool. NULL is allowed. */
void redis_pool_destroy(struct redis_pool *pool);

/* Copies args: args[0] is the command. */
void redis_pool_command(struct redis_pool *pool, const struct slice *args, size_t count,
			struct mono deadline, const struct trace_context *trace,
			redis_done_fn *done, void *context);

/* For /ready: the last knowledge. */
bool redis_pool_healthy(const struct redis_pool *pool, struct fault *why);

void redis_pool_check(const struct redis_pool *pool); /* the invariants; for tests */

#endif
