/* SPDX-License-Identifier: MIT */
/* native.stock -- holding stock, and what becomes of it. What the caller decides about
 * (refused, missing, bad_input) comes back as nil, why with why.sku where one SKU is to
 * blame, why.hold where the state of the hold is; a database that does not answer is
 * raised. */
#include "api/api.h"

#include "base/check.h"
#include "loop/loop.h"
#include "script/task.h"
#include "stock/reserve.h"
#include "watch/trace.h"

#include <lauxlib.h>
#include <stdlib.h>

#define TIMEOUT_MS 5000
#define TTL_S_MAX (366 * 24 * 3600)

struct asking { /* one call, until it is answered */
	struct task_wait wait;
	enum stock_operation operation;
};

struct refusal {
	const struct fault *why;
	struct stock_blame blame;
};

/* --- read ------------------------------------------------------------------------- */

static int64_t whole(lua_State *L, int index, const char *what)
{
	double number = lua_tonumber(L, index);

	if (lua_type(L, index) != LUA_TNUMBER || !(number > -9e15 && number < 9e15) ||
	    number != (double)(int64_t)number)
		luaL_error(L, "stock: %s is not a whole number", what);
	return (int64_t)number;
}

/* Without metamethods: what is read stays in the table, and so alive. */
static void push_member(lua_State *L, int index, const char *name)
{
	lua_pushstring(L, name);
	lua_rawget(L, index);
}

/* The array of items on top of the stack. Their texts live as long as it does. */
static size_t read_lines(lua_State *L, struct stock_line lines[STOCK_LINES_MAX])
{
	size_t count = lua_objlen(L, -1);

	if (count > STOCK_LINES_MAX)
		luaL_error(L, "stock.reserve: more than %d items", STOCK_LINES_MAX);
	for (size_t i = 0; i < count; i++) {
		lua_rawgeti(L, -1, (int)i + 1);
		luaL_argcheck(L, lua_istable(L, -1), 1, "an item is not a table");
		push_member(L, lua_gettop(L), "sku");
		if (lua_type(L, -1) != LUA_TSTRING)
			luaL_error(L, "stock.reserve: an item's sku is not a text");
		lines[i].sku.at = lua_tolstring(L, -1, &lines[i].sku.size);
		push_member(L, lua_gettop(L) - 1, "quantity");
		lines[i].quantity = whole(L, -1, "an item's quantity");
		lua_pop(L, 3);
	}
	return count;
}

static int read_ttl(lua_State *L)
{
	double seconds;

	push_member(L, 1, "ttl_s");
	seconds = luaL_checknumber(L, -1);
	luaL_argcheck(L, seconds >= 1 && seconds <= TTL_S_MAX, 1,
		      "'ttl_s' is out of range");
	lua_pop(L, 1);
	return (int)seconds;
}

/* --- push ------------------------------------------------------------------------- */

static void set_text(lua_State *L, const char *name, struct slice value)
{
	lua_pushlstring(L, value.size ? value.at : "", value.size);
	lua_setfield(L, -2, name);
}

static void push_reservation(lua_State *L, void *data)
{
	const struct stock_answer *answer = data;
	char expires[CLOCK_ISO_SIZE];

	clock_iso(answer->expires_at, expires);
	lua_createtable(L, 0, 3);
	set_text(L, "reservation_id", answer->hold_id);
	set_text(L, "expires_at", slice_text(expires));
	lua_createtable(L, (int)answer->taken_count, 0);
	for (size_t i = 0; i < answer->taken_count; i++) {
		const struct stock_taken *taken = &answer->taken[i];

		lua_createtable(L, 0, 4);
		set_text(L, "sku", taken->sku);
		set_text(L, "warehouse", taken->warehouse);
		lua_pushnumber(L, (double)taken->quantity);
		lua_setfield(L, -2, "quantity");
		lua_pushnumber(L, (double)taken->unit_price);
		lua_setfield(L, -2, "unit_price");
		lua_rawseti(L, -2, (int)i + 1);
	}
	lua_setfield(L, -2, "items");
}

/* Whether it was this call that changed the hold, under the operation's word. */
static void push_changed(lua_State *L, const char *word, void *data)
{
	const struct stock_answer *answer = data;

	lua_createtable(L, 0, 1);
	lua_pushboolean(L, answer->changed);
	lua_setfield(L, -2, word);
}

static void push_released(lua_State *L, void *data)
{
	push_changed(L, "released", data);
}

static void push_sold(lua_State *L, void *data)
{
	push_changed(L, "sold", data);
}

static void push_cancelled(lua_State *L, void *data)
{
	push_changed(L, "cancelled", data);
}

static void push_expired(lua_State *L, void *data)
{
	push_changed(L, "expired", data);
}

static void push_refusal(lua_State *L, void *data)
{
	const struct refusal *refusal = data;

	api_failed(L, refusal->why);
	if (refusal->blame.sku.size)
		set_text(L, "sku", refusal->blame.sku);
	if (refusal->blame.hold.size)
		set_text(L, "hold", refusal->blame.hold);
}

static task_push_fn *push_of(enum stock_operation operation)
{
	switch (operation) {
	case STOCK_reserve:
		return push_reservation;
	case STOCK_release:
		return push_released;
	case STOCK_sell:
		return push_sold;
	case STOCK_cancel:
		return push_cancelled;
	case STOCK_expire:
		break;
	}
	return push_expired;
}

static void on_answer(void *context, const struct stock_answer *answer,
		      const struct fault *why, struct stock_blame blame)
{
	struct asking *asking = context;
	struct refusal refusal = { why, blame };

	if (answer)
		task_wake(asking->wait, push_of(asking->operation),
			  (void *)(uintptr_t)answer);
	else if (why->kind == FAULT_refused || why->kind == FAULT_missing ||
		 why->kind == FAULT_bad_input)
		task_wake(asking->wait, push_refusal, &refusal);
	else
		task_wake_fault(asking->wait, why);
	free(asking);
}

/* --- work ------------------------------------------------------------------------- */

static int submit(lua_State *L, struct stock_request *request)
{
	const struct api *api = api_of(L);
	struct asking asking = { .operation = request->operation }, *context;

	if (!api->stock)
		return api_absent(L, "database", "postgres_url");
	request->deadline = task_deadline_within(L, TIMEOUT_MS);
	asking.wait = task_wait(L);
	request->trace = task_trace(L);

	context = mem_copy(&asking, sizeof asking);
	stock_submit(api->stock, request, on_answer, context);
	return task_suspend(L);
}

/* stock.reserve{order_id=, items={{sku=, quantity=}...}, ttl_s=}
 * -> {reservation_id=, expires_at=, items={{sku=, quantity=, unit_price=,
 * warehouse=}...}} | nil, why */
static int l_stock_reserve(lua_State *L)
{
	struct stock_line lines[STOCK_LINES_MAX];
	struct stock_request request = { .operation = STOCK_reserve, .lines = lines };

	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 1);
	request.ttl_s = read_ttl(L);
	push_member(L, 1, "order_id");
	request.order_id = api_check_slice(L, 2);
	push_member(L, 1, "items");
	luaL_argcheck(L, lua_istable(L, 3), 1, "'items' is not a table");
	request.line_count = read_lines(L, lines);
	return submit(L, &request);
}

static int submit_order(lua_State *L, enum stock_operation operation)
{
	struct stock_request request = { .operation = operation,
					 .order_id = api_check_slice(L, 1) };

	return submit(L, &request);
}

/* stock.cancel(order_id) -> {cancelled=} | nil, why */
static int l_stock_cancel(lua_State *L)
{
	return submit_order(L, STOCK_cancel);
}

/* stock.expire(order_id) -> {expired=} | nil, why */
static int l_stock_expire(lua_State *L)
{
	return submit_order(L, STOCK_expire);
}

/* stock.release(order_id) -> {released=} | nil, why */
static int l_stock_release(lua_State *L)
{
	return submit_order(L, STOCK_release);
}

/* stock.sell(order_id) -> {sold=} | nil, why */
static int l_stock_sell(lua_State *L)
{
	return submit_order(L, STOCK_sell);
}

void api_open_stock(lua_State *L, const struct api *api)
{
	static const luaL_Reg waits[] = {
		{ "cancel", l_stock_cancel },	{ "expire", l_stock_expire },
		{ "release", l_stock_release }, { "reserve", l_stock_reserve },
		{ "sell", l_stock_sell },	{ NULL, NULL }
	};

	api_module(L, api, NULL, waits);
}
