/* SPDX-License-Identifier: MIT */
/* native.http -- one outgoing call. Spans, trace headers and series are the client's; how
 * long the caller waits is said here, for the other side to stop in time. */
#include "api/api.h"

#include "base/check.h"
#include "http/client.h"
#include "http/request.h"
#include "loop/loop.h"
#include "script/task.h"
#include "script/vm.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>

#define HEADERS_MAX 64
#define TIMEOUT_MS 3000
#define TIMEOUT_MS_MAX 3600000

/* --- read ------------------------------------------------------------------------- */

/* Without metamethods: __index could call this very function again, and each time takes a
 * piece of the thread's stack that LuaJIT does not count. */
static void push_member(lua_State *L, const char *name)
{
	lua_pushstring(L, name);
	lua_rawget(L, 1);
}

/* A text member of the table at 1, which keeps it alive. */
static struct slice member(lua_State *L, const char *name, bool needed)
{
	struct slice text = { 0 };

	push_member(L, name);
	if (lua_type(L, -1) == LUA_TSTRING)
		text.at = lua_tolstring(L, -1, &text.size);
	else if (needed || !lua_isnil(L, -1))
		luaL_error(L, "http.request: '%s' is a %s, not a text", name,
			   luaL_typename(L, -1));
	lua_pop(L, 1);
	return text;
}

static int64_t read_timeout_ms(lua_State *L)
{
	double seconds;

	push_member(L, "timeout_s");
	if (lua_isnil(L, -1)) {
		lua_pop(L, 1);
		return TIMEOUT_MS;
	}
	seconds = lua_tonumber(L, -1);
	if (!(seconds > 0))
		luaL_error(L, "http.request: 'timeout_s' is not a number above 0");
	lua_pop(L, 1);
	return seconds * 1000 < TIMEOUT_MS_MAX ? (int64_t)(seconds * 1000) + 1
					       : TIMEOUT_MS_MAX;
}

static size_t read_headers(lua_State *L, struct http_header headers[HEADERS_MAX])
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
		struct http_header *header = &headers[count];

		if (lua_type(L, -2) != LUA_TSTRING || lua_type(L, -1) != LUA_TSTRING)
			luaL_error(L,
				   "http.request: names and values of headers are texts");
		if (count++ == HEADERS_MAX)
			luaL_error(L, "http.request: more than %d headers", HEADERS_MAX);
		header->name.at = lua_tolstring(L, -2, &header->name.size);
		header->value.at = lua_tolstring(L, -1, &header->value.size);
		lua_pop(L, 1);
	}
	lua_pop(L, 1); /* the request keeps the table */
	return count;
}

/* Adds what is left until the deadline, unless the script has said it. */
static void add_expected(struct http_call *call, struct http_header *headers,
			 struct mono now, char text[12])
{
	static const struct slice name = { "x-envoy-expected-rq-timeout-ms", 30 };
	int left_ms = mono_left_ms(now, call->deadline);
	int size = snprintf(text, 12, "%d", left_ms > 1 ? left_ms : 1);

	for (size_t i = 0; i < call->header_count; i++)
		if (slice_equal_nocase(headers[i].name, name))
			return;
	headers[call->header_count++] =
		(struct http_header){ name, slice_of(text, (size_t)size) };
}

/* --- push ------------------------------------------------------------------------- */

static void push_answer(lua_State *L, void *data)
{
	const struct http_answer *answer = data;

	lua_createtable(L, 0, 3);
	lua_pushinteger(L, answer->status);
	lua_setfield(L, -2, "status");
	lua_createtable(L, 0, (int)answer->header_count);
	for (size_t i = 0; i < answer->header_count; i++) {
		const struct http_header *header = &answer->headers[i];

		lua_pushlstring(L, header->name.at, header->name.size);
		lua_pushlstring(L, header->value.at, header->value.size);
		lua_rawset(L, -3);
	}
	lua_setfield(L, -2, "headers");
	lua_pushlstring(L, answer->body.at, answer->body.size);
	lua_setfield(L, -2, "body");
}

/* nil, why; why.sent: whether the other side may have got any of it. */
static void push_failure(lua_State *L, void *data)
{
	const struct fault *why = data;
	bool sent = why->kind == FAULT_broken || why->kind == FAULT_timeout ||
		    why->kind == FAULT_uncertain;

	api_failed(L, why);
	lua_pushboolean(L, sent);
	lua_setfield(L, -2, "sent");
}

static void on_done(void *context, const struct http_answer *answer,
		    const struct fault *why)
{
	struct task_wait *wait = context;

	if (answer)
		task_wake(*wait, push_answer, (void *)answer);
	else
		task_wake(*wait, push_failure, (void *)why);
	free(wait);
}

/* http.request{method=, url=, headers=, body=, timeout_s=, retry_stale_ok=}
 * -> {status=, headers=, body=} | nil, why */
static int l_http_request(lua_State *L)
{
	const struct api *api = api_of(L);
	struct http_header headers[HEADERS_MAX + 1]; /* the script's, and ours */
	struct http_call call = { .headers = headers };
	struct task_wait wait, *context;
	char expected[12];

	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 1);
	if (!api->http)
		return api_absent(L, "HTTP client", "upstreams");
	call.method = member(L, "method", true);
	call.url = member(L, "url", true);
	call.body = member(L, "body", false);
	call.header_count = read_headers(L, headers);
	push_member(L, "retry_stale_ok");
	call.retry_stale_ok = lua_toboolean(L, -1);
	lua_pop(L, 1);
	call.deadline = task_deadline_within(L, read_timeout_ms(L));
	add_expected(&call, headers, loop_now(api->loop), expected);
	wait = task_wait(L);
	call.trace = task_trace(L);

	context = mem_copy(&wait, sizeof(wait));
	http_client_call(api->http, &call, on_done, context);
	return task_suspend(L);
}

void api_open_http(lua_State *L, const struct api *api)
{
	static const luaL_Reg waits[] = { { "request", l_http_request }, { NULL, NULL } };

	api_module(L, api, NULL, waits);
}
