/* SPDX-License-Identifier: MIT */
/* socket_accept.c -- the handshake: whether accept lets a client in. */
#include "api/reply.h"
#include "api/request_table.h"
#include "api/service.h"
#include "api/socket_hub.h"
#include "api/socket_inside.h"
#include "base/check.h"
#include "http/request.h"
#include "http/websocket.h"
#include "loop/loop.h"
#include "script/task.h"
#include "script/vm.h"
#include "watch/trace.h"

#include <lauxlib.h>
#include <math.h>

#define PING_MS 30000
/* What a slow reader may leave, in messages of the largest size. */
#define QUEUE_FACTOR 16

/* Pushes a member of the table at index 1, which accept returned; no metamethods. */
static void push_member(lua_State *L, const char *name)
{
	lua_pushstring(L, name);
	lua_rawget(L, 1);
}

/* Leaves the texts on the stack, which is theirs as long as they are borrowed. */
static size_t read_channels(lua_State *L, struct slice *channels)
{
	size_t count = 0;
	int list;

	luaL_checkstack(L, SOCKET_CHANNELS_MAX + LUA_MINSTACK, NULL);
	push_member(L, "channels");
	list = lua_gettop(L);
	if (!lua_istable(L, list))
		return 0;
	while (count < SOCKET_CHANNELS_MAX) {
		lua_rawgeti(L, list, (int)count + 1);
		if (lua_type(L, -1) != LUA_TSTRING)
			break;
		channels[count].at = lua_tolstring(L, -1, &channels[count].size);
		count++;
	}
	return count;
}

static void answered(struct socket_connection *connection, int status,
		     const struct fault *why)
{
	connection->request = NULL;
	connection->trace = NULL;
	connection->answered(connection->answered_context, status, why);
}

static void upgrade(lua_State *L, struct socket_connection *connection)
{
	struct socket_server *server = connection->server;
	struct websocket_config config = {
		.message_size_max = server->config.message_size_max,
		.queue_size_max = server->config.message_size_max * QUEUE_FACTOR,
		.ping_ms = PING_MS,
	};
	struct slice channels[SOCKET_CHANNELS_MAX];
	size_t count = read_channels(L, channels);
	struct websocket *websocket =
		websocket_accept(connection->request, server->config.loop, &config,
				 &socket_handler, connection);
	struct fault why;

	if (!websocket) {
		fault_set_status(&why, FAULT_bad_input, 400, "a bad WebSocket handshake");
		answered(connection, 400, &why);
		socket_connection_free(connection);
		return;
	}
	connection->id = socket_hub_add(server->config.hub, websocket, channels, count);
	connection->conn = socket_object_make(L, &server->objects, connection->id);
	socket_await_expiry(connection);
	answered(connection, 101, NULL);
	socket_proceed(connection);
}

/* A table that is no fault. */
static bool accepted(lua_State *L, const struct fault *why)
{
	bool yes;

	if (why || !lua_istable(L, 1))
		return false;
	push_member(L, "kind");
	yes = lua_isnil(L, -1);
	lua_pop(L, 1);
	return yes;
}

/* The member expires_at; without one it is never. False: it is no time. */
static bool read_expiry(lua_State *L, struct wall *at)
{
	double seconds = HUGE_VAL;
	bool valid = true;

	push_member(L, "expires_at");
	if (lua_type(L, -1) == LUA_TNUMBER)
		seconds = lua_tonumber(L, -1);
	else
		valid = lua_isnil(L, -1);
	lua_pop(L, 1);
	if (seconds < 0)
		seconds = 0;
	/* Past 2262 nanoseconds do not fit. */
	at->ns = seconds < (double)SOCKET_NEVER_NS / 1e9 ? (int64_t)(seconds * 1e9)
							 : SOCKET_NEVER_NS;
	return valid && !isnan(seconds);
}

static void refuse(lua_State *L, struct socket_connection *connection,
		   const struct fault *why)
{
	struct socket_server *server = connection->server;
	struct reply_context to = { .request = connection->request,
				    .traceback = task_traceback(server->config.vm),
				    .production = server->config.production };
	struct reply reply;
	char id[33] = "";

	if (connection->trace)
		trace_id_text(connection->trace, id);
	to.trace_id = slice_text(id);
	reply_read(L, why, &to, &reply, &server->scratch);
	http_respond(connection->request, reply.status, reply.headers, reply.header_count,
		     buf_slice(&server->scratch));
	answered(connection, reply.status, &reply.why);
	socket_connection_free(connection);
}

static void on_accept_done(void *context, lua_State *L, const struct fault *why)
{
	struct socket_connection *connection = context;
	struct fault left = { .kind = FAULT_cancelled, .detail = "the client left" };
	struct fault other;

	connection->busy = false;
	if (why && why->kind == FAULT_cancelled) { /* by the end of the VM */
		fault_set(&other, FAULT_unavailable, "the service is being replaced");
		why = &other;
	}
	if (!connection->request) {
		answered(connection, fault_status(&left), &left);
		socket_connection_free(connection);
	} else if (!accepted(L, why)) {
		refuse(L, connection, why);
	} else if (!read_expiry(L, &connection->expires_at)) {
		fault_set(&other, FAULT_internal,
			  "accept has to give expires_at as a number");
		refuse(L, connection, &other);
	} else {
		upgrade(L, connection);
	}
}

static void on_gone(void *context)
{
	struct socket_connection *connection = context;

	connection->request = NULL;
}

static int accept_everybody(lua_State *L)
{
	lua_newtable(L);
	return 1;
}

static void push_accept(lua_State *L, void *data)
{
	struct socket_connection *connection = data;

	if (connection->socket->accept == LUA_NOREF)
		lua_pushcfunction(L, accept_everybody);
	else
		lua_rawgeti(L, LUA_REGISTRYINDEX, connection->socket->accept);
	request_table_push(L, connection->request, connection->match, true,
			   &connection->server->scratch);
}

void socket_server_accept(struct socket_server *server,
			  const struct service_socket *socket,
			  struct http_request *request, const struct router_match *match,
			  const struct trace_context *trace, socket_answered_fn *done,
			  void *context)
{
	struct socket_connection *connection = mem_zeroed(1, sizeof(*connection));
	struct task_config task = {
		.push = push_accept,
		.data = connection,
		.deadline = mono_after_ms(loop_now(server->config.loop),
					  server->config.task_timeout_ms),
		.trace = trace,
		.done = on_accept_done,
		.context = connection,
	};

	connection->server = server;
	connection->socket = socket;
	connection->request = request;
	connection->match = match;
	connection->trace = trace;
	connection->answered = done;
	connection->answered_context = context;
	connection->conn = LUA_NOREF;
	connection->busy = true;
	list_init(&connection->waiting);
	list_append(&server->connections, &connection->member);
	http_request_on_gone(request, on_gone, connection);
	task_start(server->config.vm, &task);
}
