/* SPDX-License-Identifier: MIT */
/* native.redis -- one command at a time. Redis is the fast and forgetful store: a command
 * waits a second at most, and whatever goes wrong comes back as nil, why, for the caller
 * to live without.
 *
 * Replies: text and status are text, integers numbers (text beyond 2^53), arrays tables
 * with false where Redis says null, null itself nil.
 */
#include "api/api.h"

#include "base/check.h"
#include "base/number.h"
#include "script/task.h"
#include "store/redis_pool.h"

#include <lauxlib.h>
#include <stdlib.h>

#define WORDS_MAX 128
#define TIMEOUT_MS 1000
#define EXACT_MAX (INT64_C(1) << 53)

/* --- push ------------------------------------------------------------------------- */

static void push_integer(lua_State *L, int64_t integer)
{
	char text[NUMBER_SIZE];

	if (integer >= -EXACT_MAX && integer <= EXACT_MAX)
		lua_pushnumber(L, (double)integer);
	else
		lua_pushlstring(L, text, number_integer(integer, text));
}

static void push_value(lua_State *L, const struct redis_value *value)
{
	luaL_checkstack(L, 4, "a reply nested too deep");
	switch (value->type) {
	case REDIS_text:
	case REDIS_status:
		lua_pushlstring(L, value->text.at, value->text.size);
		break;
	case REDIS_integer:
		push_integer(L, value->integer);
		break;
	case REDIS_array:
		lua_createtable(L, (int)value->count, 0);
		for (size_t i = 0; i < value->count; i++) {
			if (value->items[i].type == REDIS_null)
				lua_pushboolean(L, false);
			else
				push_value(L, &value->items[i]);
			lua_rawseti(L, -2, (int)i + 1);
		}
		break;
	default:
		lua_pushnil(L);
	}
}

static void push_reply(lua_State *L, void *data)
{
	push_value(L, data);
}

static void push_failure(lua_State *L, void *data)
{
	api_failed(L, data);
}

static void on_done(void *context, const struct redis_value *value,
		    const struct fault *why)
{
	struct task_wait *wait = context;

	if (value)
		task_wake(*wait, push_reply, (void *)(size_t)value);
	else
		task_wake(*wait, push_failure, (void *)(size_t)why);
	free(wait);
}

/* --- read ------------------------------------------------------------------------- */

/* redis.command(name, ...) -> value | nil (null) | nil, why */
static int l_redis_command(lua_State *L)
{
	const struct api *api = api_of(L);
	int count = lua_gettop(L);
	struct slice words[WORDS_MAX];
	struct task_wait wait, *context;
	struct mono deadline;

	luaL_checktype(L, 1, LUA_TSTRING);
	luaL_argcheck(L, count <= WORDS_MAX, 1, "more than 128 words");
	for (int i = 1; i <= count; i++)
		words[i - 1] =
			api_check_slice(L, i); /* a number becomes text in its place */
	if (!api->redis)
		return api_absent(L, "Redis", "redis_url");
	deadline = task_deadline_within(L, TIMEOUT_MS);
	wait = task_wait(L);

	context = mem_copy(&wait, sizeof(wait));
	redis_pool_command(api->redis, words, (size_t)count, deadline, task_trace(L),
			   on_done, context);
	return task_suspend(L);
}

void api_open_redis(lua_State *L, const struct api *api)
{
	static const luaL_Reg waits[] = { { "command", l_redis_command },
					  { NULL, NULL } };

	api_module(L, api, NULL, waits);
}
