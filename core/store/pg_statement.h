/* SPDX-License-Identifier: MIT */
/* pg_statement.h -- one statement from its call to its answer: copy, span, series,
 * deadline.
 *
 * Where a statement is: held back (chaos) or waiting in a list of its pool or
 * transaction, or inside a link as a step, or ended and about to be answered.
 * pg_statement_finish answers and frees it.
 */
#ifndef STORE_PG_STATEMENT_H
#define STORE_PG_STATEMENT_H

#include "loop/loop.h"
#include "store/pg_link.h"
#include "store/pg_text.h"
#include "watch/trace.h"

struct series;
struct pg_slot;

enum pg_purpose { PG_single, PG_begins, PG_within, PG_commits, PG_rolls_back };

struct pg_statement {
	struct pg_step step; /* its member is used for every list the statement is in */
	enum pg_purpose purpose;
	enum pg_verb verb;
	struct pg_pool *pool;
	struct pg_tx *tx; /* of all but PG_single */
	struct pg_slot *slot; /* NULL while it is not on a connection */
	bool waiting; /* in the pool's queue */
	bool again; /* was sent a second time already */
	bool cut; /* chaos: break the connection after sending */
	bool savepoint; /* ROLLBACK TO: may follow a failure */
	pg_done_fn *done; /* NULL: nobody asks */
	pg_begun_fn *begun; /* PG_begins, until the connection is lent */
	void *context;
	struct mono began;
	struct mono deadline;
	struct timer timer; /* deadline */
	struct timer hold; /* chaos */
	struct trace_context trace;
	struct span *span; /* NULL without a trace */
};

/* What all statements of a pool record into. */
struct pg_record {
	const struct observer *observer;
	struct slice database;
	struct slice address;
	int port;
	struct series *durations[PG_verbs][FAULT_kinds];
};

static inline struct pg_statement *pg_statement_of(struct list *member)
{
	return list_of(member, struct pg_statement, step.member);
}

/* Copies sql, params and trace. It begins now. */
struct pg_statement *pg_statement_create(const struct pg_record *record,
					 enum pg_purpose purpose,
					 const struct pg_query *query);

/* Fills step.why, unless something is there already. */
void pg_statement_blame(struct pg_statement *statement, enum fault_kind kind,
			const char *detail);

/* The caller is not to be asked any more: ends the span and counts, answers, frees. It
 * must be in no list and its timers stopped. */
void pg_statement_finish(struct pg_record *record, struct pg_statement *statement,
			 const struct pg_result *result);

#endif
