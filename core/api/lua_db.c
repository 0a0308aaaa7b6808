/* SPDX-License-Identifier: MIT */
/* native.db -- PostgreSQL: statements, and transactions that end with their task.
 *
 * A column becomes a number (int2, int4, int8 up to 2^53, float), a boolean, a table
 * (json, jsonb) or text; null is nil. timestamptz is RFC 3339 in UTC. A parameter may be
 * nil, a boolean, a number, a text, or a table, which is sent as JSON.
 *
 * A statement gives up shortly before its task does, so that its own kind is told
 * (uncertain for a write) and not that the task was late. A transaction is known to
 * scripts by a number; one that is open when its task ends is rolled back.
 */
#include "api/api.h"

#include "api/json_value.h"
#include "base/check.h"
#include "base/list.h"
#include "base/number.h"
#include "script/task.h"
#include "script/vm.h"
#include "store/pg_pool.h"

#include <math.h>
#include <stdlib.h>

#define EARLIER_MS 20
#define EXACT_MAX 9007199254740992.0 /* 2^53 */

enum { /* type OIDs, from pg_type.dat */
       OID_bool = 16,
       OID_int8 = 20,
       OID_int2 = 21,
       OID_int4 = 23,
       OID_oid = 26,
       OID_json = 114,
       OID_float4 = 700,
       OID_float8 = 701,
       OID_timestamptz = 1184,
       OID_jsonb = 3802
};

static const char tx_type[] = "native.db.tx";

/* Registry key of the VM's struct open_list, by address. */
static const char open_key[] = "transactions";

struct open_list {
	struct list txs;
	double last; /* number given to a transaction */
};

/* A transaction of a task, from begin on. */
struct open_tx {
	struct list member; /* of open_list.txs */
	struct task_leftover leftover;
	struct task_wait wait; /* for begin */
	bool abandoned; /* the task ended before it was begun */
	struct pg_tx *tx; /* NULL until it is begun */
	double number;
};

/* --- parameters: read
 * --------------------------------------------------------------------- */

struct params {
	struct slice slices[PG_PARAMS_MAX];
	size_t count;
	char numbers[PG_PARAMS_MAX][NUMBER_SIZE];
	struct buf json[PG_PARAMS_MAX]; /* of tables; freed by params_finish */
};

static struct slice number_text(double number, char text[NUMBER_SIZE])
{
	if (isnan(number))
		return SLICE("NaN");
	if (isinf(number))
		return number > 0 ? SLICE("Infinity") : SLICE("-Infinity");
	return slice_of(text, number_double(number, text));
}

/* The arguments from index first on. Raises on types that have no place in SQL; tables
 * are only looked at, not yet written. */
static void params_read(lua_State *L, int first, struct params *params)
{
	int top = lua_gettop(L);

	luaL_argcheck(L, top - first < PG_PARAMS_MAX, first, "too many parameters");
	params->count = 0;
	for (int index = first; index <= top; index++) {
		struct slice *slice = &params->slices[params->count];

		*slice = (struct slice){ NULL, 0 };
		switch (lua_type(L, index)) {
		case LUA_TNIL:
		case LUA_TTABLE:
			break;
		case LUA_TBOOLEAN:
			*slice = lua_toboolean(L, index) ? SLICE("true") : SLICE("false");
			break;
		case LUA_TNUMBER:
			*slice = number_text(lua_tonumber(L, index),
					     params->numbers[params->count]);
			break;
		case LUA_TSTRING:
			slice->at = lua_tolstring(L, index, &slice->size);
			break;
		default:
			if (!lua_islightuserdata(L, index) || lua_touserdata(L, index))
				luaL_error(L, "parameter $%d is a %s", index - first + 1,
					   luaL_typename(L, index));
		}
		params->count++;
	}
}

static void params_finish(struct params *params, size_t written)
{
	for (size_t i = 0; i < written; i++)
		buf_finish(&params->json[i]);
}

/* Writes the tables as JSON. Raises, holding nothing, when one cannot be written. */
static void params_write(lua_State *L, int first, struct params *params)
{
	struct fault why;

	for (size_t i = 0; i < params->count; i++) {
		int index = first + (int)i;

		params->json[i] = (struct buf){ 0 };
		if (lua_type(L, index) != LUA_TTABLE)
			continue;
		if (!json_value_write(L, index, &params->json[i], &why)) {
			params_finish(params, i + 1);
			vm_push_fault(L, &why);
			lua_error(L);
		}
		params->slices[i] = buf_slice(&params->json[i]);
	}
}

/* --- rows: push
 * ---------------------------------------------------------------------------- */

/* "2026-11-20 11:00:00.123+00" as RFC 3339; what looks otherwise (infinity, BC) stays. */
static void push_time(lua_State *L, struct slice text)
{
	char iso[48];

	if (text.size < 22 || text.size > sizeof(iso) || text.at[10] != ' ' ||
	    memcmp(text.at + text.size - 3, "+00", 3) != 0) {
		lua_pushlstring(L, text.at, text.size);
		return;
	}
	memcpy(iso, text.at, text.size);
	iso[10] = 'T';
	iso[text.size - 3] = 'Z';
	lua_pushlstring(L, iso, text.size - 2);
}

static void push_integer(lua_State *L, struct slice text)
{
	double number = strtod(text.at, NULL);

	if (fabs(number) <= EXACT_MAX)
		lua_pushnumber(L, number);
	else
		lua_pushlstring(L, text.at, text.size);
}

static void push_json(lua_State *L, struct slice text)
{
	struct fault why;

	if (!json_value_push(L, text, &why)) {
		vm_push_fault(L, &why);
		lua_error(L);
	}
}

static void push_value(lua_State *L, unsigned type, struct slice text)
{
	if (!text.at) {
		lua_pushnil(L);
		return;
	}
	switch (type) {
	case OID_bool:
		lua_pushboolean(L, text.size > 0 && text.at[0] == 't');
		break;
	case OID_int8:
		push_integer(L, text);
		break;
	case OID_int2:
	case OID_int4:
	case OID_oid:
	case OID_float4:
	case OID_float8:
		lua_pushnumber(L, strtod(text.at, NULL));
		break;
	case OID_timestamptz:
		push_time(L, text);
		break;
	case OID_json:
	case OID_jsonb:
		push_json(L, text);
		break;
	default:
		lua_pushlstring(L, text.at, text.size);
	}
}

/* {rows ..., affected = n}; the names of the columns are made once and lie below the
 * rows. */
static void push_rows(lua_State *L, void *data)
{
	const struct pg_result *result = data;
	int columns = (int)pg_result_columns(result);
	size_t rows = pg_result_rows(result);
	int base = lua_gettop(L);

	luaL_checkstack(L, columns + LUA_MINSTACK, "too many columns");
	for (int column = 0; column < columns; column++) {
		struct slice name = pg_result_name(result, (size_t)column);

		lua_pushlstring(L, name.at, name.size);
	}
	lua_createtable(L, (int)rows, 1);
	for (size_t row = 0; row < rows; row++) {
		lua_createtable(L, 0, columns);
		for (int column = 0; column < columns; column++) {
			lua_pushvalue(L, base + 1 + column);
			push_value(L, pg_result_type(result, (size_t)column),
				   pg_result_value(result, row, (size_t)column));
			lua_rawset(L, -3);
		}
		lua_rawseti(L, -2, (int)row + 1);
	}
	lua_pushnumber(L, (double)pg_result_affected(result));
	lua_setfield(L, -2, "affected");
	lua_insert(L, base + 1);
	lua_settop(L, base + 1);
}

/* --- answers
 * ------------------------------------------------------------------------------- */

struct failure {
	const struct fault *why;
	const struct pg_error *error;
};

/* The fault with what the server said besides. */
static void push_fault(lua_State *L, const struct failure *failure)
{
	vm_push_fault(L, failure->why);
	if (failure->error->code[0]) {
		lua_pushstring(L, failure->error->code);
		lua_setfield(L, -2, "code");
	}
	if (failure->error->constraint[0]) {
		lua_pushstring(L, failure->error->constraint);
		lua_setfield(L, -2, "constraint");
	}
}

static void raise_failure(lua_State *L, void *data)
{
	push_fault(L, data);
	lua_error(L);
}

/* A constraint's refusal is the caller's to decide. */
static void push_failure(lua_State *L, void *data)
{
	const struct failure *failure = data;

	if (strncmp(failure->error->code, "23", 2) != 0)
		raise_failure(L, data);
	lua_pushnil(L);
	push_fault(L, failure);
}

static void on_queried(void *context, const struct pg_result *result,
		       const struct fault *why, const struct pg_error *error)
{
	struct task_wait *wait = context;
	struct failure failure = { why, error };

	if (why)
		task_wake(*wait, push_failure, &failure);
	else
		task_wake(*wait, push_rows, (void *)(size_t)result);
	free(wait);
}

static void push_true(lua_State *L, void *data)
{
	lua_pushboolean(L, true);
}

static void on_ended(void *context, const struct pg_result *result,
		     const struct fault *why, const struct pg_error *error)
{
	struct task_wait *wait = context;
	struct failure failure = { why, error };

	task_wake(*wait, why ? raise_failure : push_true, &failure);
	free(wait);
}

/* --- statements
 * ---------------------------------------------------------------------------- */

static struct mono deadline_of(lua_State *L)
{
	struct mono deadline = task_deadline(L);

	return (struct mono){ deadline.ns - EARLIER_MS * 1000000 };
}

static void check_pool(lua_State *L)
{
	if (!api_of(L)->pg)
		api_absent(L, "database", "postgres_url");
}

/* The text at index first, its parameters behind it; tx NULL: a statement of its own. */
static int run(lua_State *L, struct pg_tx *tx, int first)
{
	struct pg_query query = { .sql = api_check_slice(L, first) };
	struct params params;
	struct task_wait wait, *context;

	params_read(L, first + 1, &params);
	query.deadline = deadline_of(L);
	query.trace = task_trace(L);
	wait = task_wait(L);
	params_write(L, first + 1, &params);

	query.params = params.slices;
	query.param_count = params.count;
	context = mem_copy(&wait, sizeof(wait));
	if (tx)
		pg_tx_query(tx, &query, on_queried, context);
	else
		pg_pool_query(api_of(L)->pg, &query, on_queried, context);
	params_finish(&params, params.count);
	return task_suspend(L);
}

/* db.query(sql, ...) -> {rows ..., affected=} | nil, why (a constraint) */
static int l_db_query(lua_State *L)
{
	check_pool(L);
	return run(L, NULL, 1);
}

/* --- transactions
 * -------------------------------------------------------------------------- */

static struct open_list *open_list_of(lua_State *L)
{
	struct open_list *open;

	lua_pushlightuserdata(L, (void *)(size_t)open_key);
	lua_rawget(L, LUA_REGISTRYINDEX);
	open = lua_touserdata(L, -1);
	lua_pop(L, 1);
	return open;
}

static void open_free(struct open_tx *open)
{
	list_remove(&open->member);
	task_leftover_remove(&open->leftover);
	free(open);
}

/* Its task has ended. */
static void on_left_behind(void *context)
{
	struct open_tx *open = context;

	if (!open->tx) {
		open->abandoned = true;
		return;
	}
	pg_tx_rollback(open->tx, NULL, NULL);
	open_free(open);
}

static void push_tx(lua_State *L, void *data)
{
	const struct open_tx *open = data;
	double *number = lua_newuserdata(L, sizeof(*number));

	*number = open->number;
	luaL_getmetatable(L, tx_type);
	lua_setmetatable(L, -2);
}

static void on_begun(void *context, struct pg_tx *tx, const struct fault *why)
{
	struct open_tx *open = context;
	struct task_wait wait = open->wait;

	if (why) {
		open_free(open);
		task_wake_fault(wait, why);
	} else if (open->abandoned || !task_waiting(wait)) {
		pg_tx_rollback(tx, NULL, NULL);
		open_free(open);
	} else {
		open->tx = tx;
		task_wake(wait, push_tx, open);
	}
}

/* db.begin() -> tx */
static int l_db_begin(lua_State *L)
{
	struct open_list *list = open_list_of(L);
	struct task_wait wait;
	struct mono deadline;
	struct open_tx *open;

	check_pool(L);
	deadline = deadline_of(L);
	wait = task_wait(L);

	open = mem_zeroed(1, sizeof(*open));
	open->wait = wait;
	open->number = ++list->last;
	list_append(&list->txs, &open->member);
	task_leftover_add(L, &open->leftover, on_left_behind, open);
	pg_pool_begin(api_of(L)->pg, deadline, task_trace(L), on_begun, open);
	return task_suspend(L);
}

/* The open transaction whose handle is at 1; raises when it has ended. */
static struct open_tx *check_tx(lua_State *L)
{
	double number = *(double *)luaL_checkudata(L, 1, tx_type);
	struct open_list *list = open_list_of(L);

	for (struct list *each = list->txs.next; each != &list->txs; each = each->next) {
		struct open_tx *open = list_of(each, struct open_tx, member);

		if (open->number == number && open->tx)
			return open;
	}
	luaL_error(L, "this transaction has ended");
	return NULL;
}

/* tx:query(sql, ...) -> {rows ..., affected=} | nil, why (a constraint) */
static int l_tx_query(lua_State *L)
{
	return run(L, check_tx(L)->tx, 2);
}

/* Takes the transaction away from its task. */
static struct pg_tx *end_tx(struct open_tx *open)
{
	struct pg_tx *tx = open->tx;

	open_free(open);
	return tx;
}

/* tx:commit() -> true; raises everything else, constraints too */
static int l_tx_commit(lua_State *L)
{
	struct open_tx *open = check_tx(L);
	struct mono deadline = deadline_of(L);
	struct task_wait wait = task_wait(L);

	pg_tx_commit(end_tx(open), deadline, on_ended, mem_copy(&wait, sizeof(wait)));
	return task_suspend(L);
}

/* tx:rollback() -> true */
static int l_tx_rollback(lua_State *L)
{
	struct open_tx *open = check_tx(L);
	struct task_wait wait = task_wait(L);

	pg_tx_rollback(end_tx(open), on_ended, mem_copy(&wait, sizeof(wait)));
	return task_suspend(L);
}

static void open_tx_type(lua_State *L, const struct api *api)
{
	static const luaL_Reg waits[] = { { "commit", l_tx_commit },
					  { "query", l_tx_query },
					  { "rollback", l_tx_rollback },
					  { NULL, NULL } };
	struct open_list *list;

	luaL_newmetatable(L, tx_type);
	api_module(L, api, NULL, waits);
	lua_setfield(L, -2, "__index");
	lua_pushliteral(L, "transaction");
	lua_setfield(L, -2, "__metatable");
	lua_pop(L, 1);
	lua_pushlightuserdata(L, (void *)(size_t)open_key);
	list = lua_newuserdata(L, sizeof(*list));
	list_init(&list->txs);
	list->last = 0;
	lua_rawset(L, LUA_REGISTRYINDEX);
}

void api_open_db(lua_State *L, const struct api *api)
{
	static const luaL_Reg waits[] = { { "begin", l_db_begin },
					  { "query", l_db_query },
					  { NULL, NULL } };

	open_tx_type(L, api);
	api_module(L, api, NULL, waits);
	lua_pushlightuserdata(L, NULL);
	lua_setfield(L, -2, "null");
}
