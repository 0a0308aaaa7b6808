/* SPDX-License-Identifier: MIT */
/* socket.c -- connections after their handshake: steps, and moving to another generation.
 * The handshake is in socket_accept.c. */
#include "api/socket_inside.h"

#include "api/service.h"
#include "api/socket_hub.h"
#include "base/check.h"
#include "http/websocket.h"
#include "loop/loop.h"
#include "script/task.h"
#include "script/vm.h"
#include "watch/log.h"

#include <lauxlib.h>
#include <stdlib.h>

#define HANDLER_FAILED 1011 /* RFC 6455, 7.4.1 */
#define SERVICE_RESTART 1012 /* of IANA's registry */
#define TOO_MANY 1008
#define EXPIRED 4001 /* 7.4.2: from 4000 on an application's own */
#define LOOK_AGAIN_MS 60000 /* somebody may have set the time of day */

/* Of connections whose path the new generation does not have: nothing of it runs. */
static const struct service_socket nobody = {
	.accept = LUA_NOREF, .open = LUA_NOREF, .message = LUA_NOREF, .close = LUA_NOREF
};

struct text {
	struct list member;
	size_t size;
	char at[];
};

/* --- tasks of an open connection -------------------------------------------------- */

static void drop_waiting(struct socket_connection *connection)
{
	struct list *member;

	while ((member = list_take(&connection->waiting)))
		free(list_of(member, struct text, member));
	connection->waiting_count = 0;
}

void socket_connection_free(struct socket_connection *connection)
{
	check(!timer_started(&connection->expiry));
	drop_waiting(connection);
	socket_object_release(&connection->server->objects, connection->conn);
	list_remove(&connection->member);
	free(connection);
}

static void report(const struct socket_connection *connection, const struct fault *why)
{
	const struct socket_server *server = connection->server;
	struct slice traceback = task_traceback(server->config.vm);
	struct attr attrs[4] = {
		attr_text(SLICE("route"), connection->socket->path),
		attr_text(SLICE("kind"), slice_text(fault_name(why->kind))),
		attr_text(SLICE("error"), slice_text(why->detail)),
		attr_text(SLICE("exception.stacktrace"), traceback),
	};

	log_write(loop_observer(server->config.loop)->log, LOG_error, NULL,
		  SLICE("websocket handler failed"), attrs, traceback.size ? 4 : 3);
}

static void on_step_done(void *context, lua_State *L, const struct fault *why)
{
	struct socket_connection *connection = context;
	bool cut = why && why->kind == FAULT_cancelled; /* the VM is ending */

	connection->busy = false;
	if (why) {
		if (!cut)
			report(connection, why);
		connection->failed = true;
		drop_waiting(connection);
		socket_hub_close(connection->server->config.hub, connection->id,
				 cut ? SERVICE_RESTART : HANDLER_FAILED, SLICE(""));
	}
	socket_proceed(connection);
}

struct step {
	struct socket_connection *connection;
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
static bool run_step(struct socket_connection *connection, int function,
		     struct slice text, int code)
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

/* The next thing this connection has to do: open, then messages, then close. False: there
 * is nothing. */
static bool do_next(struct socket_connection *connection)
{
	struct slice none = { 0 };
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
		return false;
	}
	return true;
}

static bool is_finished(const struct socket_connection *connection)
{
	return connection->closed && connection->opened && connection->code == 0 &&
	       list_empty(&connection->waiting);
}

static void move(struct socket_connection *connection);

void socket_proceed(struct socket_connection *connection)
{
	while (!connection->busy) {
		if (is_finished(connection)) {
			socket_connection_free(connection);
			return;
		}
		if (connection->server->target)
			move(connection);
		else if (!do_next(connection))
			return;
	}
}

static void on_message(void *context, struct slice text)
{
	struct socket_connection *connection = context;
	struct text *copy;

	if (connection->failed)
		return;
	if (connection->waiting_count == SOCKET_WAITING_MAX) {
		socket_hub_close(connection->server->config.hub, connection->id, TOO_MANY,
				 SLICE(""));
		return;
	}
	copy = mem_zeroed(1, sizeof(*copy) + text.size);
	copy->size = text.size;
	if (text.size)
		memcpy(copy->at, text.at, text.size);
	list_append(&connection->waiting, &copy->member);
	connection->waiting_count++;
	if (!connection->busy)
		socket_proceed(connection);
}

static void on_closed(void *context, int code)
{
	struct socket_connection *connection = context;

	socket_hub_remove(connection->server->config.hub, connection->id);
	timer_stop(connection->server->config.loop, &connection->expiry);
	connection->closed = true;
	connection->code = code ? code : 1006;
	if (!connection->busy)
		socket_proceed(connection);
}

const struct websocket_handler socket_handler = { on_message, on_closed };

/* --- the end by time -------------------------------------------------------------- */

static void on_expiry(void *context)
{
	socket_await_expiry(context);
}

void socket_await_expiry(struct socket_connection *connection)
{
	const struct socket_server_config *config = &connection->server->config;
	int64_t left_ns = connection->expires_at.ns - clock_wall().ns;
	int64_t left_ms = left_ns / 1000000 + 1;

	if (connection->expires_at.ns == SOCKET_NEVER_NS)
		return;
	if (left_ns <= 0) {
		socket_hub_close(config->hub, connection->id, EXPIRED, SLICE("expired"));
		return;
	}
	if (left_ms > LOOK_AGAIN_MS)
		left_ms = LOOK_AGAIN_MS;
	timer_start(config->loop, &connection->expiry,
		    mono_after_ms(loop_now(config->loop), left_ms), on_expiry,
		    connection);
}

/* --- moving to another generation -------------------------------------------------- */

static const struct service_socket *find_socket(const struct socket_server *server,
						struct slice path)
{
	const struct service *service = server->config.service;

	for (size_t i = 0; service && i < service->socket_count; i++)
		if (slice_equal(service->sockets[i].path, path))
			return &service->sockets[i];
	return NULL;
}

/* There is no place for it in the new generation. Its close function may still run here;
 * afterwards it moves as nobody's, until its socket is gone. */
static void part(struct socket_connection *connection)
{
	int code = connection->closed ? connection->code : SERVICE_RESTART;
	bool opened = connection->opened;

	drop_waiting(connection);
	socket_hub_close(connection->server->config.hub, connection->id, SERVICE_RESTART,
			 SLICE(""));
	connection->failed = connection->parted = connection->opened = true;
	connection->code = 0;
	if (opened && code)
		run_step(connection, connection->socket->close, (struct slice){ 0 },
			 code);
}

/* Once in a row for a route: all its connections may have the same trouble. */
static void report_lost(struct socket_server *server, const struct service_socket *socket,
			struct slice message, const struct fault *why)
{
	struct attr attrs[] = {
		attr_text(SLICE("route"), socket->path),
		attr_text(SLICE("error"), slice_text(why->detail)),
	};

	if (server->lost == socket)
		return;
	server->lost = socket;
	log_write(loop_observer(server->config.loop)->log, LOG_warn, NULL, message, attrs,
		  2);
}

static void carry(struct socket_connection *connection,
		  const struct service_socket *socket)
{
	struct socket_server *from = connection->server, *to = from->target;
	struct fault why = { 0 };

	if (socket == &nobody) {
		socket_object_release(&from->objects, connection->conn);
		connection->conn = LUA_NOREF;
	} else {
		connection->conn = socket_object_move(&from->objects, connection->conn,
						      &to->objects, connection->id, &why);
	}
	if (why.kind)
		report_lost(from, connection->socket,
			    SLICE("websocket state lost in the reload"), &why);
	connection->socket = socket;
	connection->server = to;
	list_remove(&connection->member);
	list_append(&to->connections, &connection->member);
}

/* One step of it: a connection that has no place parts first. */
static void move(struct socket_connection *connection)
{
	struct socket_server *from = connection->server, *to = from->target;
	const struct service_socket *socket = find_socket(to, connection->socket->path);
	struct fault why;

	if (connection->parted) {
		carry(connection, &nobody);
	} else if (socket && vm_has_room(to->config.vm)) {
		carry(connection, socket);
	} else {
		if (socket) {
			fault_set(&why, FAULT_limit,
				  "the new generation has no memory left");
			report_lost(from, connection->socket,
				    SLICE("websocket closed in the reload"), &why);
		}
		part(connection);
	}
}

void socket_server_move(struct socket_server *from, struct socket_server *to)
{
	struct list *at, *after;

	check(from != to && from->config.hub == to->config.hub);
	from->target = to;
	to->target = NULL;
	for (at = from->connections.next; at != &from->connections; at = after) {
		after = at->next;
		socket_proceed(list_of(at, struct socket_connection, member));
	}
}

bool socket_server_idle(const struct socket_server *server)
{
	return list_empty(&server->connections);
}

/* --- life ------------------------------------------------------------------------- */

struct socket_server *socket_server_create(const struct socket_server_config *config)
{
	struct socket_server *server = mem_zeroed(1, sizeof(*server));

	server->config = *config;
	socket_objects_init(&server->objects, config->vm, config->hub);
	list_init(&server->connections);
	return server;
}

void socket_server_destroy(struct socket_server *server)
{
	if (!server)
		return;
	check(socket_server_idle(server));
	socket_objects_finish(&server->objects);
	buf_finish(&server->scratch);
	free(server);
}
