/* SPDX-License-Identifier: MIT */
/* native.amqp -- publishing with the broker's confirm, and how full a queue is. Consuming
 * is the host's: consumer.h. */
#include "api/api.h"

#include "base/check.h"
#include "script/task.h"
#include "store/amqp.h"

#include <lauxlib.h>
#include <stdlib.h>

#define HEADERS_MAX 60
#define TIMEOUT_MS 5000

/* Without metamethods: what is read stays in the table, and so alive. */
static void push_member(lua_State *L, const char *name)
{
	lua_pushstring(L, name);
	lua_rawget(L, 1);
}

/* A text member of the table at 1. */
static struct slice member(lua_State *L, const char *name, const char *otherwise)
{
	struct slice text = slice_text(otherwise);

	push_member(L, name);
	if (lua_type(L, -1) == LUA_TSTRING)
		text.at = lua_tolstring(L, -1, &text.size);
	else if (!otherwise || !lua_isnil(L, -1))
		luaL_error(L, "amqp.publish: '%s' is a %s, not a text", name,
			   luaL_typename(L, -1));
	lua_pop(L, 1);
	return text;
}

static size_t read_headers(lua_State *L, struct amqp_header headers[HEADERS_MAX])
{
	size_t count = 0;

	push_member(L, "headers");
	if (lua_isnil(L, -1)) {
		lua_pop(L, 1);
		return 0;
	}
	luaL_argcheck(L, lua_istable(L, -1), 1, "'headers' is not a table");
	lua_pushnil(L);
	while (lua_next(L, -2)) {
		if (lua_type(L, -2) != LUA_TSTRING || lua_type(L, -1) != LUA_TSTRING)
			luaL_error(L,
				   "amqp.publish: names and values of headers are texts");
		if (count == HEADERS_MAX)
			luaL_error(L, "amqp.publish: more than %d headers", HEADERS_MAX);
		headers[count].name.at = lua_tolstring(L, -2, &headers[count].name.size);
		headers[count].value.at =
			lua_tolstring(L, -1, &headers[count].value.size);
		count++;
		lua_pop(L, 1);
	}
	lua_pop(L, 1); /* the message keeps the table */
	return count;
}

static void push_true(lua_State *L, void *data)
{
	lua_pushboolean(L, 1);
}

static void push_count(lua_State *L, void *data)
{
	lua_pushnumber(L, *(uint32_t *)data);
}

static void push_failure(lua_State *L, void *data)
{
	api_failed(L, data);
}

static void on_confirm(void *context, const struct fault *why)
{
	struct task_wait *wait = context;

	task_wake(*wait, why ? push_failure : push_true, (void *)(uintptr_t)why);
	free(wait);
}

static void on_depth(void *context, uint32_t messages, const struct fault *why)
{
	struct task_wait *wait = context;

	if (why)
		task_wake(*wait, push_failure, (void *)(uintptr_t)why);
	else
		task_wake(*wait, push_count, &messages);
	free(wait);
}

/* amqp.publish{exchange=, routing_key=, body=, headers=, message_id=, content_type=}
 * -> true | nil, why */
static int l_amqp_publish(lua_State *L)
{
	const struct api *api = api_of(L);
	struct amqp_header headers[HEADERS_MAX];
	struct amqp_message message = { .headers = headers };
	struct task_wait wait, *context;
	struct mono deadline;

	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 1);
	message.exchange = member(L, "exchange", "events");
	message.routing_key = member(L, "routing_key", NULL);
	message.body = member(L, "body", NULL);
	message.message_id = member(L, "message_id", "");
	message.content_type = member(L, "content_type", "application/json");
	message.header_count = read_headers(L, headers);
	if (!api->amqp)
		return api_absent(L, "message broker", "amqp_url");
	deadline = task_deadline_within(L, TIMEOUT_MS);
	wait = task_wait(L);

	context = mem_copy(&wait, sizeof wait);
	amqp_publish(api->amqp, api->loop, &message, deadline, task_trace(L), on_confirm,
		     context);
	return task_suspend(L);
}

/* amqp.depth(queue) -> count | nil, why */
static int l_amqp_depth(lua_State *L)
{
	const struct api *api = api_of(L);
	struct slice queue = api_check_slice(L, 1);
	struct task_wait wait, *context;
	struct mono deadline;

	if (!api->amqp)
		return api_absent(L, "message broker", "amqp_url");
	deadline = task_deadline_within(L, TIMEOUT_MS);
	wait = task_wait(L);

	context = mem_copy(&wait, sizeof wait);
	amqp_depth(api->amqp, api->loop, queue, deadline, on_depth, context);
	return task_suspend(L);
}

void api_open_amqp(lua_State *L, const struct api *api)
{
	static const luaL_Reg waits[] = { { "depth", l_amqp_depth },
					  { "publish", l_amqp_publish },
					  { NULL, NULL } };

	api_module(L, api, NULL, waits);
}
