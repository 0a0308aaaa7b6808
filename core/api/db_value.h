/* SPDX-License-Identifier: MIT */
/* db_value.h -- Lua values as parameters of a statement, and its rows as Lua values.
 *
 *     parameter                      column
 *     nil, db.null   NULL            NULL                    nil
 *     boolean        true, false     bool                    boolean
 *     number         its digits      int2, int4, oid, float  number
 *     text           as it is        int8                    number, beyond 2^53 text
 *     table          JSON            json, jsonb             table
 *                                    timestamptz             text, RFC 3339 in UTC
 *                                    everything else         text
 */
#ifndef API_DB_VALUE_H
#define API_DB_VALUE_H

#include "base/buf.h"
#include "base/number.h"
#include "store/pg_pool.h"

struct lua_State;

struct db_params {
	struct slice slices[PG_PARAMS_MAX];
	size_t count;
	char numbers[PG_PARAMS_MAX][NUMBER_SIZE];
	struct buf json[PG_PARAMS_MAX]; /* of tables; freed by db_params_finish */
};

/* The arguments from index first on, borrowed from the stack. Raises on types that have
 * no place in SQL; tables are only looked at, not yet written. */
void db_params_read(struct lua_State *L, int first, struct db_params *params);

/* Writes the tables as JSON. Raises, holding nothing, when one cannot be written. */
void db_params_write(struct lua_State *L, int first, struct db_params *params);

/* Frees what db_params_write has made of the first so many. */
void db_params_finish(struct db_params *params, size_t written);

/* A task_push_fn: data is a struct pg_result; pushes {rows ..., affected = n}. */
void db_push_rows(struct lua_State *L, void *data);

#endif
