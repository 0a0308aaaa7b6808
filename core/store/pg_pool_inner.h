/* SPDX-License-Identifier: MIT */
/* pg_pool_inner.h -- what pg_pool.c, pg_queue.c, pg_slot.c and pg_tx.c know of each
 * other. For them only. */
#ifndef STORE_PG_POOL_INNER_H
#define STORE_PG_POOL_INNER_H

#include "base/random.h"
#include "store/pg_statement.h"

struct pg_target;
struct resolver;

enum pg_slot_state { PG_opening, PG_idle, PG_lent, PG_closing, PG_slot_states };

/* One connection's place in the pool. */
struct pg_slot {
	struct list member; /* of its state's list */
	enum pg_slot_state state;
	struct pg_pool *pool;
	struct pg_link *link;
	struct pg_tx *tx; /* lent to it alone; NULL: serves single statements */
	unsigned under_way; /* statements in the link */
	bool dirty; /* sent to in this turn */
	struct deferred bury;
};

struct pg_tx {
	struct list member; /* of the pool's list */
	struct loop *loop;
	struct pg_pool *pool; /* NULL: destroyed */
	struct pg_slot *slot; /* NULL: the connection is lost or given back */
	struct fault failed; /* the first failure; FAULT_none: none */
	struct pg_error error;
	struct list held; /* chaos: statements behind a delayed one */
	struct timer hold;
	struct deferred lend;
	pg_begun_fn *begun; /* until it was called */
	void *context;
	bool traced;
	struct trace_context
		trace; /* of pg_pool_begin; its tracestate stands behind the struct */
};

struct pg_pool {
	struct loop *loop;
	struct pg_pool_config config;
	struct pg_target *target;
	struct resolver *resolver;
	struct pg_record record;
	struct list slots[PG_slot_states];
	unsigned counts[PG_slot_states];
	struct list waiting; /* statements that need a connection, in order */
	unsigned waiting_count;
	struct list held; /* chaos: statements that are delayed */
	struct list txs; /* all transactions that are lent */
	struct list ended; /* statements to be answered by the deferred call */
	struct deferred answer;
	struct deferred first;
	struct tick tick;
	bool dirty;
	bool destroying;
	bool down; /* said so in the log */
	bool backing_off;
	int backoff_ms;
	struct timer reopen;
	struct random random;
	struct fault
		why; /* of the last connection that could not be opened or was lost */
	struct series *connections[PG_slot_states]; /* idle and lent only */
	struct series *waiting_series, *max_series, *timeouts_series;
};

/* --- pg_pool.c -------------------------------------------------------------------- */

unsigned pg_pool_size(const struct pg_pool *pool);

/* No connection works, and none is being tried. */
bool pg_pool_is_down(const struct pg_pool *pool);

/* Opening failed. */
void pg_pool_refused(struct pg_pool *pool, const struct fault *why);
void pg_pool_opened(struct pg_pool *pool);

/* --- pg_queue.c ------------------------------------------------------------------- */

/* The statement will be answered with its step.why (or, without one, as a success), later
 * in this turn. Takes it out of whatever list it is in. */
void pg_queue_end(struct pg_pool *pool, struct pg_statement *statement);

/* pg_statement_blame and pg_queue_end. */
void pg_queue_fail(struct pg_pool *pool, struct pg_statement *statement,
		   enum fault_kind kind, const char *detail);

/* Answers now; frees its transaction too if the statement was its end. */
void pg_queue_answer(struct pg_pool *pool, struct pg_statement *statement,
		     const struct pg_result *result);

/* Answers everything that has ended. */
void pg_queue_answer_ended(struct pg_pool *pool);

/* False when the statement must not go further; it was failed then. Starts its
 * deadline. */
bool pg_queue_admit(struct pg_pool *pool, struct pg_statement *statement,
		    const struct pg_query *query);

/* An admitted statement goes through the chaos point, then waits for its connection. */
void pg_queue_submit(struct pg_pool *pool, struct pg_statement *statement,
		     enum chaos_at at);

/* Puts statements that wait onto connections, and opens more. Calls nobody back. */
void pg_queue_dispatch(struct pg_pool *pool);

/* Puts a statement that has a right to it before all that wait. */
void pg_queue_wait_first(struct pg_pool *pool, struct list *before,
			 struct pg_statement *statement);

/* --- pg_slot.c -------------------------------------------------------------------- */

static inline struct pg_slot *pg_slot_of(struct list *member)
{
	return list_of(member, struct pg_slot, member);
}

void pg_slot_open(struct pg_pool *pool);
void pg_slot_move(struct pg_slot *slot, enum pg_slot_state state);
void pg_slot_send(struct pg_slot *slot, struct pg_statement *statement);

/* Closes the connection. What was on it is answered by the rules of pg_pool.h; late, or
 * NULL, has missed its deadline and carries its fault already. */
void pg_slot_close(struct pg_slot *slot, const char *detail, struct pg_statement *late);

void pg_slot_free(struct pg_slot *slot);

/* --- pg_tx.c ---------------------------------------------------------------------- */

/* The statement is a BEGIN that was given this slot: makes its transaction and lends
 * it. */
void pg_tx_lend(struct pg_slot *slot, struct pg_statement *statement);
void pg_tx_blame(struct pg_tx *tx, const struct fault *why, const struct pg_error *error);

/* The connection is gone: what was held back fails, and all that follows. */
void pg_tx_lose(struct pg_tx *tx, enum fault_kind kind, const char *detail);
void pg_tx_free(struct pg_tx *tx);

/* The pool is being destroyed: what is held back is cancelled. Whoever waited for the
 * transaction hears so, and it is freed; one that is lent already is its holder's from
 * now on. */
void pg_tx_orphan(struct pg_tx *tx);

#endif
