/* SPDX-License-Identifier: MIT */
#include "api/socket.h"

#include "api/api.h"
#include "api/json_value.h"
#include "api/reply.h"
#include "api/request_table.h"
#include "api/service.h"
#include "api/socket_hub.h"
#include "base/buf.h"
#include "base/check.h"
#include "base/list.h"
#include "base/utf8.h"
#include "http/request.h"
#include "http/websocket.h"
#include "loop/loop.h"
#include "script/task.h"
#include "script/vm.h"
#include "watch/log.h"
#include "watch/trace.h"

#include <lauxlib.h>
#include <stdlib.h>

#define PING_MS 30000
/* What a slow reader may leave, in messages of the largest size. */
#define QUEUE_FACTOR 16

struct socket_server {
	struct socket_server_config config;
	int methods; /* registry reference of the metatable of conn */
	struct buf scratch;
};

/* One connection, from its request to the end of its close function. */
struct connection {
	struct socket_server *server;
	const struct service_socket *socket;
	struct http_request *request; /* until it is answered or gone */
	const struct router_match *match; /* only while the accept task starts */
	const struct trace_context *trace; /* until it is answered */
	socket_answered_fn *answered;
	void *answered_context;
	uint64_t id; /* 0 before the upgrade */
	int conn; /* registry reference of the script's object */
	bool busy; /* a task of this connection runs */
	bool opened; /* open was called */
	bool failed; /* a step was: no messages any more */
	bool closed; /* the socket is gone */
	int code; /* what close is to be told; 0: it is not due */
	struct list waiting; /* struct text */
	unsigned waiting_count;
};

struct text {
	struct list member;
	size_t size;
	char at[];
};

static void proceed(struct connection *connection);

/* --- the script's object ---------------------------------------------------------- */

/* 0, which is nobody's, when a script has changed it to something else. */
static uint64_t conn_id(lua_State *L)
{
	double id;

	luaL_checktype(L, 1, LUA_TTABLE);
	lua_pushliteral(L, "id");
	lua_rawget(L, 1);
	id = lua_tonumber(L, -1);
	return id >= 1 && id <= 0x1p53 ? (uint64_t)id : 0;
}

/* conn:send(text or table) -> boolean: false when the connection is gone or its queue
 * full */
static int l_conn_send(lua_State *L)
{
	struct socket_server *server = lua_touserdata(L, lua_upvalueindex(1));
	uint64_t id = conn_id(L);
	struct fault why;
	bool sent;

	if (lua_type(L, 2) == LUA_TSTRING) {
		struct slice text = api_check_slice(L, 2);

		luaL_argcheck(L, utf8_valid(text) == text.size, 2, "this is not UTF-8");
		sent = socket_hub_send(server->config.hub, id, text);
	} else {
		buf_reset(&server->scratch);
		if (!json_value_write(L, 2, &server->scratch, &why))
			return luaL_error(L, "conn:send: %s", why.detail);
		sent = socket_hub_send(server->config.hub, id,
				       buf_slice(&server->scratch));
	}
	lua_pushboolean(L, sent);
	return 1;
}

/* Codes that an endpoint may send (RFC 6455, 7.4). */
static bool is_close_code(lua_Integer code)
{
	return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
	       (code >= 3000 && code <= 4999);
}

/* conn:close([code]) -> */
static int l_conn_close(lua_State *L)
{
	struct socket_server *server = lua_touserdata(L, lua_upvalueindex(1));
	lua_Integer code = luaL_optinteger(L, 2, 1000);

	luaL_argcheck(L, is_close_code(code), 2, "no close code");
	socket_hub_close(server->config.hub, conn_id(L), (int)code);
	return 0;
}

/* Makes the metatable of conn. */
static int make_methods(lua_State *L)
{
	static const luaL_Reg methods[] = { { "close", l_conn_close },
					    { "send", l_conn_send } };
	struct socket_server *server = vm_call_data(L);

	lua_createtable(L, 0, 2);
	lua_createtable(L, 0, 2);
	for (size_t i = 0; i < sizeof(methods) / sizeof(*methods); i++) {
		lua_pushlightuserdata(L, server);
		lua_pushcclosure(L, methods[i].func, 1);
		lua_setfield(L, -2, methods[i].name);
	}
	lua_setfield(L, -2, "__index");
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	server->methods = luaL_ref(L, LUA_REGISTRYINDEX);
	return 0;
}

/* --- tasks of an open connection -------------------------------------------------- */

static void drop_waiting(struct connection *connection)
{
	struct list *member;

	while ((member = list_take(&connection->waiting)))
		free(list_of(member, struct text, member));
	connection->waiting_count = 0;
}

/* Nothing is left to do for it. */
static void connection_free(struct connection *connection)
{
	drop_waiting(connection);
	luaL_unref(vm_main(connection->server->config.vm), LUA_REGISTRYINDEX,
		   connection->conn);
	free(connection);
}

static void on_step_done(void *context, lua_State *L, const struct fault *why)
{
	struct connection *connection = context;
	struct socket_server *server = connection->server;

	connection->busy = false;
	if (why) {
		struct slice traceback = task_traceback(server->config.vm);
		struct attr attrs[4] = {
			attr_text(SLICE("route"), connection->socket->path),
			attr_text(SLICE("kind"), slice_text(fault_name(why->kind))),
			attr_text(SLICE("error"), slice_text(why->detail)),
			attr_text(SLICE("exception.stacktrace"), traceback),
		};

		if (why->kind != FAULT_cancelled)
			log_write(loop_observer(server->config.loop)->log, LOG_error,
				  NULL, SLICE("websocket handler failed"), attrs,
				  traceback.size ? 4 : 3);
		connection->failed = true;
		drop_waiting(connection);
		socket_hub_close(server->config.hub, connection->id, 1011);
	}
	proceed(connection);
}

struct step {
	struct connection *connection;
	int function;
	struct slice text;
	int code;
};

/* function, conn[, text or code] */
static void push_step(lua_State *L, void *data)
{
	struct step *step = data;

	lua_rawgeti(L, LUA_REGISTRYINDEX, step->function);
	lua_rawgeti(L, LUA_REGISTRYINDEX, step->connection->conn);
	if (step->text.at)
		lua_pushlstring(L, step->text.at, step->text.size);
	else if (step->code)
		lua_pushinteger(L, step->code);
}

/* False: the script has no such function, and nothing was started. */
static bool run_step(struct connection *connection, int function, struct slice text,
		     int code)
{
	struct socket_server *server = connection->server;
	struct step step = { connection, function, text, code };
	struct task_config task = {
		.push = push_step,
		.data = &step,
		.deadline = mono_after_ms(loop_now(server->config.loop),
					  server->config.task_timeout_ms),
		.done = on_step_done,
		.context = connection,
	};

	if (function == LUA_NOREF)
		return false;
	connection->busy = true;
	task_start(server->config.vm, &task);
	return true;
}

/* The next thing this connection has to do: open, then messages, then close. */
static void proceed(struct connection *connection)
{
	struct slice none = { 0 };

	while (!connection->busy) {
		struct list *member;

		if (!connection->opened) {
			connection->opened = true;
			run_step(connection, connection->socket->open, none, 0);
		} else if ((member = list_take(&connection->waiting))) {
			struct text *text = list_of(member, struct text, member);

			connection->waiting_count--;
			run_step(connection, connection->socket->message,
				 slice_of(text->at, text->size), 0);
			free(text);
		} else if (connection->closed && connection->code) {
			int code = connection->code;

			connection->code = 0;
			run_step(connection, connection->socket->close, none, code);
		} else {
			break;
		}
	}
	if (!connection->busy && connection->closed)
		connection_free(connection);
}

static void on_message(void *context, struct slice text)
{
	struct connection *connection = context;
	struct text *copy;

	if (connection->failed)
		return;
	if (connection->waiting_count == SOCKET_WAITING_MAX) {
		socket_hub_close(connection->server->config.hub, connection->id, 1008);
		return;
	}
	copy = mem_zeroed(1, sizeof(*copy) + text.size);
	copy->size = text.size;
	if (text.size)
		memcpy(copy->at, text.at, text.size);
	list_append(&connection->waiting, &copy->member);
	connection->waiting_count++;
	if (!connection->busy)
		proceed(connection);
}

static void on_closed(void *context, int code)
{
	struct connection *connection = context;

	socket_hub_remove(connection->server->config.hub, connection->id);
	connection->closed = true;
	connection->code = code ? code : 1006;
	if (!connection->busy)
		proceed(connection);
}

/* --- accepting -------------------------------------------------------------------- */

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

/* {id=, channels=, state=} with the methods. */
static void make_conn(lua_State *L, struct connection *connection)
{
	lua_createtable(L, 0, 4);
	lua_pushnumber(L, (lua_Number)connection->id);
	lua_setfield(L, -2, "id");
	push_member(L, "channels");
	lua_setfield(L, -2, "channels");
	push_member(L, "state");
	if (!lua_istable(L, -1)) {
		lua_pop(L, 1);
		lua_newtable(L);
	}
	lua_setfield(L, -2, "state");
	lua_rawgeti(L, LUA_REGISTRYINDEX, connection->server->methods);
	lua_setmetatable(L, -2);
	connection->conn = luaL_ref(L, LUA_REGISTRYINDEX);
}

static void answered(struct connection *connection, int status, const struct fault *why)
{
	connection->request = NULL;
	connection->trace = NULL;
	connection->answered(connection->answered_context, status, why);
}

static void upgrade(lua_State *L, struct connection *connection)
{
	static const struct websocket_handler handler = { on_message, on_closed };
	struct socket_server *server = connection->server;
	struct websocket_config config = {
		.message_size_max = server->config.message_size_max,
		.queue_size_max = server->config.message_size_max * QUEUE_FACTOR,
		.ping_ms = PING_MS,
	};
	struct slice channels[SOCKET_CHANNELS_MAX];
	size_t count = read_channels(L, channels);
	struct websocket *websocket = websocket_accept(
		connection->request, server->config.loop, &config, &handler, connection);
	struct fault why;

	if (!websocket) {
		fault_set_status(&why, FAULT_bad_input, 400, "a bad WebSocket handshake");
		answered(connection, 400, &why);
		connection_free(connection);
		return;
	}
	connection->id = socket_hub_add(server->config.hub, websocket, channels, count);
	make_conn(L, connection);
	answered(connection, 101, NULL);
	proceed(connection);
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

static void refuse(lua_State *L, struct connection *connection, const struct fault *why)
{
	struct socket_server *server = connection->server;
	struct reply reply;
	char id[33] = "";

	if (connection->trace)
		trace_id_text(connection->trace, id);
	reply_read(L, why, slice_text(id), server->config.production, &reply,
		   &server->scratch);
	http_respond(connection->request, reply.status, reply.headers, reply.header_count,
		     buf_slice(&server->scratch));
	answered(connection, reply.status, &reply.why);
	connection_free(connection);
}

static void on_accept_done(void *context, lua_State *L, const struct fault *why)
{
	struct connection *connection = context;
	struct fault left = { .kind = FAULT_cancelled, .detail = "the client left" };

	if (!connection->request) {
		answered(connection, fault_status(&left), &left);
		connection_free(connection);
	} else if (accepted(L, why)) {
		upgrade(L, connection);
	} else {
		refuse(L, connection, why);
	}
}

static void on_gone(void *context)
{
	struct connection *connection = context;

	connection->request = NULL;
}

static int accept_everybody(lua_State *L)
{
	lua_newtable(L);
	return 1;
}

static void push_accept(lua_State *L, void *data)
{
	struct connection *connection = data;

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
	struct connection *connection = mem_zeroed(1, sizeof(*connection));
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
	list_init(&connection->waiting);
	http_request_on_gone(request, on_gone, connection);
	task_start(server->config.vm, &task);
}

struct socket_server *socket_server_create(const struct socket_server_config *config)
{
	struct socket_server *server = mem_zeroed(1, sizeof(*server));
	struct fault why;

	server->config = *config;
	check(vm_call(config->vm, make_methods, server, &why) == 0);
	return server;
}

void socket_server_destroy(struct socket_server *server)
{
	if (!server)
		return;
	buf_finish(&server->scratch);
	free(server);
}
