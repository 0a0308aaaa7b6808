/* SPDX-License-Identifier: MIT */
/* pg_result.h -- what the server answered, and which kind of failure it is.
 *
 *     SQLSTATE                                     kind
 *     23*  constraint                              refused, constraint named
 *     40001, 40P01, 55P03  conflict, deadlock,
 *          lock not available                      refused
 *     57014  cancelled, statement_timeout          timeout
 *     53*, 57P*, 08*  out of resources, going down unavailable
 *     the rest: syntax, types, rights              internal
 *
 * In each of them the server has rolled the statement back. The functions that read a
 * good result stand in pg_pool.h. struct pg_result is libpq's PGresult, by its own tag.
 */
#ifndef STORE_PG_RESULT_H
#define STORE_PG_RESULT_H

#include "store/pg_pool.h"

/* From a result that is an error; both are filled. message: what to say when the result
 * has no words of its own. */
void pg_result_fault(const struct pg_result *result, const char *message,
		     struct fault *why, struct pg_error *error);

/* COMMIT of a failed transaction answers without an error, but with the word ROLLBACK. */
bool pg_result_rolled_back(const struct pg_result *result);

/* The server has said that it ends this session. */
bool pg_error_ends_session(const struct pg_error *error);

/* Preparing once more may cure it: the statement is gone, or its plan no longer fits. */
bool pg_error_stale_plan(const struct pg_error *error);

#endif
