/* SPDX-License-Identifier: MIT */
/* batch.h -- what a batch of stock requests decides: pure, no I/O, no clock.
 *
 * Requests and rows go in, decisions and the parameters of statements come out:
 *
 *     batch_reset -> batch_add* -> batch_read_* -> batch_hold_row*, batch_line_row*,
 *       batch_stock_row* -> batch_decide -> batch_decision*, batch_writes
 *
 * A batch reserves, or it settles (releases, sells, cancels, expires), never both: the
 * first locks stock rows while it reads, the other while it writes, always in (sku,
 * warehouse) order. Locks are taken in three steps, each in an order of its own, so that
 * batches of different workers cannot wait for each other in a circle:
 *
 *     rows of holds, by order id -> rows of stock -> order ids of new holds
 *
 * The last is the unique index: who inserts an order id that another transaction has
 * just inserted waits for that transaction. So new holds are written after everything
 * else that is locked, and by order id.
 *
 * What a hold becomes ("." is nothing to do, a word is the fault):
 *
 *                 none      held      released  sold      expired   returned
 *     reserve     held      .         refused   refused   held      refused
 *     release     missing   released  .         refused   .         .
 *     sell        missing   sold      refused   .         refused   refused
 *     cancel      released  released  .         returned  released  .
 *     expire      .         expired*  .         .         .         .
 *
 * (* once expires_at has passed.) Cancelling closes: an order id that was never seen gets
 * a hold without lines, and one whose hold expired is released, so that a reserve that
 * comes late is refused. Expired stock that is reserved again keeps the hold's id; its
 * lines are replaced.
 *
 * A line is taken from one warehouse when one has enough: the one with most available,
 * among equals the first by name. Otherwise it is split, most available first.
 *
 * Invariants
 *   - an order id is in a batch once.
 *   - what is taken from a row in all is never more than was available in it.
 *   - a request that is not granted takes nothing.
 *
 * Budget: one allocation from an arena per batch and growth, none per request once arrays
 * have grown; below 1 microsecond of CPU per one-line request in a batch of 64
 * (test/unit/stock/batch_test.c prints it).
 */
#ifndef STOCK_BATCH_H
#define STOCK_BATCH_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/random.h"
#include "stock/reserve.h"

struct batch_request {
	enum stock_operation operation;
	struct slice order_id;
	const struct stock_line *lines; /* reserve: every sku once */
	size_t line_count;
	int ttl_s;
};

enum batch_state { /* of a hold */
		   BATCH_none,
		   BATCH_held,
		   BATCH_released,
		   BATCH_sold,
		   BATCH_expired,
		   BATCH_returned,
		   BATCH_states
};

struct batch_decision {
	enum fault_kind fault; /* none, refused, missing */
	const char *detail; /* for people; NULL when granted */
	struct slice sku; /* the one to blame, */
	enum batch_state blamed; /* or the state of the hold that is */
	struct slice hold_id; /* empty: there is none */
	struct wall expires_at;
	enum batch_state from; /* what the hold was, */
	enum batch_state to; /* and what it becomes, when granted */
	bool changed; /* from is not to */
	const struct stock_taken *taken;
	size_t taken_count;
};

#define BATCH_STATEMENTS_MAX 4
#define BATCH_PARAMS_MAX 5

struct batch_statement { /* borrows from the batch */
	struct slice sql;
	struct slice params[BATCH_PARAMS_MAX];
	size_t param_count;
};

struct batch_hold { /* of one order, as the database has it */
	enum batch_state state;
	struct slice id;
	struct wall expires_at;
	size_t first_taken;
	size_t taken_count;
};

struct batch_row { /* of table stock */
	struct slice warehouse;
	int64_t on_hand;
	int64_t reserved; /* grows as lines are taken */
	int64_t taken;
};

struct batch_sku {
	bool known;
	int64_t unit_price;
	int64_t available; /* over all warehouses */
	size_t first_row;
	size_t row_count;
};

/* Distinct names, numbered in the order they came. */
struct batch_names {
	struct slice *at;
	size_t count;
	size_t capacity;
	uint32_t *slots; /* number + 1, by hash; a power of two, at least twice count */
	size_t slot_count;
};

struct batch { /* zeroed: empty and valid */
	struct arena arena; /* texts of rows, and what is decided */
	struct batch_names orders;
	struct batch_names skus;
	struct batch_request *requests; /* by number of their order id */
	size_t request_capacity;
	struct batch_hold *holds; /* by number of their order id */
	size_t hold_capacity;
	struct batch_sku *sku; /* by number */
	size_t sku_capacity;
	struct batch_row *rows;
	size_t row_count;
	size_t row_capacity;
	struct stock_taken *held; /* lines of holds that were there before */
	size_t held_count;
	size_t held_capacity;
	struct batch_decision *decisions;
	size_t decision_capacity;
	bool reserves;
	bool writes;
	struct buf params[BATCH_STATEMENTS_MAX * BATCH_PARAMS_MAX];
};

void batch_finish(struct batch *batch);
void batch_reset(struct batch *batch);

/* Borrows what the request points to until batch_reset. */
void batch_add(struct batch *batch, const struct batch_request *request);
size_t batch_count(const struct batch *batch);

/* Locks holds. Rows that go to batch_hold_row: its arguments in their order. */
void batch_read_holds(struct batch *batch, struct batch_statement *statement);

/* Rows that go to batch_line_row. To be executed after the holds are locked, as a
 * statement of its own: one that had waited for a lock would see the hold as it is now,
 * and its lines as they were. */
void batch_read_lines(struct batch *batch, struct batch_statement *statement);

/* Rows that go to batch_stock_row. False: this batch needs none. */
bool batch_read_stock(struct batch *batch, struct batch_statement *statement);

/* The rows of all holds come before those of lines. Copies. */
void batch_hold_row(struct batch *batch, struct slice order_id,
		    const struct batch_hold *hold);

/* Rows of one order follow each other; of a hold that was not told, they are ignored.
 * Copies. */
void batch_line_row(struct batch *batch, struct slice order_id,
		    const struct stock_taken *line);

/* Rows of one sku follow each other. row NULL: the product is in no warehouse. */
void batch_stock_row(struct batch *batch, struct slice sku, int64_t unit_price,
		     const struct batch_row *row);

/* "held" ...; BATCH_none if it is no state. */
enum batch_state batch_state_of(struct slice name);
struct slice batch_state_name(enum batch_state state); /* empty for BATCH_none */

void batch_decide(struct batch *batch, struct wall now, struct random *random);

/* In the order of batch_add; borrowed until batch_reset. */
const struct batch_decision *batch_decision(const struct batch *batch, size_t at);

/* What is to be written, in order; gives how many statements. 0: nothing. */
size_t batch_writes(struct batch *batch,
		    struct batch_statement out[BATCH_STATEMENTS_MAX]);

/* --- array literals of PostgreSQL ------------------------------------------------- */

/* '{"a","b\"c"}': call open, then elements, then close. Text must not hold NUL. */
void array_open(struct buf *out);
void array_text(struct buf *out, struct slice text);
void array_integer(struct buf *out, int64_t value);
void array_close(struct buf *out);

#endif
