/* SPDX-License-Identifier: MIT */
/* native.db -- PostgreSQL: statements, and transactions that end with their task.
 *
 * A statement gives up shortly before its task does, so that its own kind is told
 * (uncertain for a write) and not that the task was late. A transaction is known to
 * scripts by a number; one that is open when its task ends is rolled back.
 */
#include "api/api.h"

#include "api/db_value.h"
#include "base/check.h"
#include "base/list.h"
#include "script/task.h"
#include "script/vm.h"
#include "store/pg_pool.h"

#include <lauxlib.h>
#include <stdlib.h>

#define EARLIER_MS 20

static const char tx_type[] = "native.db.tx";

/* Registry key of the VM's struct open_list, by address. */
static const char open_key[] = "transactions";

struct open_list {
	struct list txs;
	double last; /* number given to a transaction */
};

/* A transaction of a task, from begin on. */
struct open_tx {
	struct list member; /* of open_list.txs, while its task lives */
	struct task_leftover leftover;
	struct task_wait wait; /* for begin */
	bool abandoned; /* the task ended before it was begun */
	struct pg_tx *tx; /* NULL until it is begun */
	double number;
};

/* --- answers ---------------------------------------------------------------------- */

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
		task_wake(*wait, db_push_rows, (void *)(size_t)result);
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

/* --- statements ------------------------------------------------------------------- */

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
	struct db_params params;
	struct task_wait wait, *context;

	db_params_read(L, first + 1, &params);
	query.deadline = deadline_of(L);
	query.trace = task_trace(L);
	wait = task_wait(L);
	db_params_write(L, first + 1, &params);

	query.params = params.slices;
	query.param_count = params.count;
	context = mem_copy(&wait, sizeof(wait));
	if (tx)
		pg_tx_query(tx, &query, on_queried, context);
	else
		pg_pool_query(api_of(L)->pg, &query, on_queried, context);
	db_params_finish(&params, params.count);
	return task_suspend(L);
}

/* db.query(sql, ...) -> {rows ..., affected=} | nil, why (a constraint) */
static int l_db_query(lua_State *L)
{
	check_pool(L);
	return run(L, NULL, 1);
}

/* --- transactions ----------------------------------------------------------------- */

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

/* Its task has ended, and its VM may, with the list, before it is begun. */
static void on_left_behind(void *context)
{
	struct open_tx *open = context;

	if (!open->tx) {
		open->abandoned = true;
		list_remove(&open->member);
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
	struct fault why;

	for (struct list *each = list->txs.next; each != &list->txs; each = each->next) {
		struct open_tx *open = list_of(each, struct open_tx, member);

		if (open->number == number && open->tx)
			return open;
	}
	fault_set(&why, FAULT_internal, "this transaction has ended");
	vm_push_fault(L, &why);
	lua_error(L);
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
