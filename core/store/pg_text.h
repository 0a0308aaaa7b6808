/* SPDX-License-Identifier: MIT */
/* pg_text.h -- what the text of one SQL statement tells without parsing it: its first
 * word, whether it only reads, a short name of it, whether it may run on a shared
 * connection.
 *
 * It looks at words outside of quotes and comments and knows no grammar. Where it cannot
 * tell, it takes the cautious answer: a statement that may write.
 */
#ifndef STORE_PG_TEXT_H
#define STORE_PG_TEXT_H

#include "base/slice.h"

enum pg_verb { /* the first word; what is not listed is other */
	       PG_other,
	       PG_begin,
	       PG_call,
	       PG_commit,
	       PG_delete,
	       PG_insert,
	       PG_merge,
	       PG_rollback,
	       PG_select,
	       PG_set,
	       PG_show,
	       PG_update,
	       PG_values,
	       PG_with,
	       PG_verbs
};

enum pg_verb pg_text_verb(struct slice sql);

/* "SELECT"; "OTHER" for what is not listed. A terminated literal. */
const char *pg_verb_name(enum pg_verb verb);

/* SELECT, SHOW, VALUES, or WITH without a word INSERT, UPDATE, DELETE, MERGE in it. */
bool pg_text_reads(struct slice sql);

/* NULL when the statement may be sent; else what is wrong, a terminated literal. It
 * refuses what would leave a pooled connection changed (BEGIN, COMMIT, COPY, LISTEN, SET
 * ...). Inside a transaction savepoints and SET LOCAL are welcome. */
const char *pg_text_refuse(struct slice sql, bool in_transaction);

#define PG_SUMMARY_SIZE 128

/* A low-cardinality name: the verb and the tables behind FROM, JOIN, INTO and UPDATE,
 * such as "SELECT orders items". Gives a slice of memory. */
struct slice pg_text_summary(struct slice sql, char memory[PG_SUMMARY_SIZE]);

#endif
