/* SPDX-License-Identifier: MIT */
/* server_connection.c -- what we know about each client connection beside h2o: whether it
 * is idle, and since when; what it has under way. h2o offers no way to close one;
 * shutting its socket down does, for h2o then reads its end. */
#include "base/check.h"
#include "http/server_inside.h"

#include <h2o.h>

#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define SWEEP_MS 1000
#define SWEEP_ARRIVING_MS 100 /* where requests could hold more than they may */
#define SWEEP_FILLING_MS 20 /* where they hold a quarter of that */
#define ROOM_AFTER_MS 250
#define TAKEN_UNKNOWN UINT64_MAX
#define DRAIN_HTTP2_MS 1500 /* h2o's second GOAWAY comes after 1 s */
#define FIRST_REQUEST_MS 250 /* that a client may take for it while draining */
#define LINGER_MS 2000
#define LINGER_SIZE_MAX (64u * 1024 * 1024)
#define LINGERS_MAX 64

/* --- lingering -------------------------------------------------------------------- */

struct lingering {
	struct list member;
	struct http_server *server;
	int fd;
	size_t left;
	struct loop_fd *watch;
	struct timer timer;
};

static void linger_end(struct lingering *linger)
{
	list_remove(&linger->member);
	linger->server->linger_count--;
	timer_stop(linger->server->loop, &linger->timer);
	loop_fd_destroy(linger->watch);
	close(linger->fd);
	free(linger);
}

static void linger_late(void *context)
{
	linger_end(context);
}

static void linger_ready(void *context, bool readable, bool writable)
{
	static _Thread_local char waste[64 * 1024];
	struct lingering *linger = context;
	ssize_t got = recv(linger->fd, waste, sizeof(waste), MSG_DONTWAIT);

	if (got > 0 && (size_t)got < linger->left) {
		linger->left -= (size_t)got;
		return;
	}
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	linger_end(linger);
}

static void linger_begin(struct http_server *server, int fd)
{
	struct lingering *linger = mem_zeroed(1, sizeof(*linger));

	linger->server = server;
	linger->fd = fd;
	linger->left = LINGER_SIZE_MAX;
	list_append(&server->lingers, &linger->member);
	server->linger_count++;
	shutdown(fd, SHUT_WR);
	linger->watch = loop_fd_create(server->loop, fd, linger_ready, linger);
	loop_fd_want(linger->watch, true, false);
	timer_start(server->loop, &linger->timer,
		    mono_after_ms(loop_now(server->loop), LINGER_MS), linger_late,
		    linger);
}

void server_connection_linger(struct server_connection *connection)
{
	if (connection->linger_fd < 0 && connection->server->linger_count < LINGERS_MAX)
		connection->linger_fd = dup(h2o_socket_get_fd(connection->socket));
}

void server_lingers_end(struct http_server *server)
{
	while (!list_empty(&server->lingers))
		linger_end(list_of(server->lingers.next, struct lingering, member));
}

/* --- debts: work for requests whose client has left ------------------------------- */

struct http_debt {
	unsigned count;
	bool orphan; /* the connection is closed */
};

struct http_debt *http_request_debt(struct http_request *request)
{
	struct server_connection *connection = request->connection;

	if (!connection->debt)
		connection->debt = mem_zeroed(1, sizeof(*connection->debt));
	connection->debt->count++;
	return connection->debt;
}

void http_debt_end(struct http_debt *debt)
{
	if (debt && --debt->count == 0 && debt->orphan)
		free(debt);
}

static void server_connection_leave_debt(struct server_connection *connection)
{
	if (!connection->debt)
		return;
	if (connection->debt->count == 0)
		free(connection->debt);
	else
		connection->debt->orphan = true;
}

bool server_connection_bears(struct server_connection *connection, struct fault *why)
{
	unsigned owed = connection->debt ? connection->debt->count : 0;

	if (connection->unanswered + owed <= HTTP_CONNECTION_WORK_MAX)
		return true;
	if (++connection->refusals == HTTP_CONNECTION_REFUSALS_MAX)
		server_connection_cut(connection);
	return fault_set_status(why, FAULT_limit, 503,
				"%u requests of this connection are under way already",
				HTTP_CONNECTION_WORK_MAX);
}

/* --- life ------------------------------------------------------------------------- */

static void server_sweep(void *context);

static int server_sweep_ms(const struct http_server *server)
{
	size_t request_max = server->config.body_size_max + H2O_MAX_REQLEN;

	if (!server->config.arriving_max ||
	    server->connection_count <= server->config.arriving_max / request_max)
		return SWEEP_MS;
	return server->arriving < server->config.arriving_max / 4 ? SWEEP_ARRIVING_MS
								  : SWEEP_FILLING_MS;
}

/* Sooner than it was to be, perhaps; never later. */
static void server_sweep_soon(struct http_server *server)
{
	struct mono due = mono_after_ms(loop_now(server->loop), server_sweep_ms(server));

	if (!timer_started(&server->sweep) || due.ns < server->sweep.due.ns)
		timer_start(server->loop, &server->sweep, due, server_sweep, server);
}

static void server_sweep(void *context)
{
	struct http_server *server = context;

	server_connections_sweep(server);
	if (server->quiesced)
		server_go_away(server);
	/* Somebody may wait, and room may be made that could not be made before. */
	if (!timer_started(&server->accept_again))
		server_accept_start(server);
	if (server->connection_count)
		server_sweep_soon(server);
}

static void server_connection_end(void *context)
{
	struct server_connection *connection = context;
	struct http_server *server = connection->server;

	check(connection->requests == 0);
	list_remove(&connection->member);
	list_remove(&connection->blind);
	server->connection_count--;
	if (connection->upgraded)
		server_upgraded_forget(connection->upgraded);
	if (connection->linger_fd >= 0)
		linger_begin(server, connection->linger_fd);
	server_connection_leave_debt(connection);
	if (!timer_started(&server->accept_again))
		server_accept_start(server);
	free(connection);
}

void server_connection_begin(struct http_server *server, h2o_socket_t *socket)
{
	struct server_connection *connection = mem_zeroed(1, sizeof(*connection));

	connection->server = server;
	connection->socket = socket;
	connection->since = loop_now(server->loop);
	connection->linger_fd = -1;
	connection->taken = TAKEN_UNKNOWN;
	list_init(&connection->streams);
	list_init(&connection->blind);
	list_append(&server->connections, &connection->member);
	server->connection_count++;
	socket->on_close.cb = server_connection_end;
	socket->on_close.data = connection;
	server_sweep_soon(server);
	server_speak(server, socket);
}

void server_connection_cut(struct server_connection *connection)
{
	connection->cut = true;
	shutdown(h2o_socket_get_fd(connection->socket), SHUT_RDWR);
}

/* Dissolving the connection of a socket sends a reset, and h2o's next read or write of it
 * fails. */
void server_connection_reset(struct server_connection *connection)
{
	const struct sockaddr nobody = { .sa_family = AF_UNSPEC };

	connection->cut = true;
	if (connect(h2o_socket_get_fd(connection->socket), &nobody, sizeof(nobody)) != 0)
		server_connection_cut(connection);
}

void server_connection_rest(struct server_connection *connection)
{
	struct http_server *server = connection->server;

	connection->since = loop_now(server->loop);
	connection->used = true;
	connection->receiving = false;
	connection->taken = TAKEN_UNKNOWN;
	list_remove(&connection->member);
	list_append(&server->connections, &connection->member);
}

/* --- idle and slow ones ----------------------------------------------------------- */

/* A request may have come that h2o has not read yet. */
static bool server_connection_stirs(const struct server_connection *connection)
{
	char byte;

	return recv(h2o_socket_get_fd(connection->socket), &byte, 1,
		    MSG_PEEK | MSG_DONTWAIT) > 0;
}

static bool server_connection_overdue(struct server_connection *connection,
				      struct mono now)
{
	const struct http_server *server = connection->server;
	bool receiving = connection->socket->input->size > 0;
	int most_ms;

	if (connection->http2)
		return server->draining &&
		       now.ns >= mono_after_ms(server->drained, DRAIN_HTTP2_MS).ns;
	if (receiving != connection->receiving) {
		connection->receiving = receiving;
		connection->since = now;
	}
	most_ms = receiving	      ? server->config.request_timeout_ms
		  : !server->draining ? server->config.idle_timeout_ms
		  : connection->used  ? 0
				      : FIRST_REQUEST_MS;
	if (now.ns < mono_after_ms(connection->since, most_ms).ns)
		return false;
	return receiving || !server_connection_stirs(connection);
}

/* Bytes that a request holds which is not whole. A whole one counts as in flight. */
static size_t server_connection_arriving(const struct server_connection *connection)
{
	if (connection->requests || connection->websocket || connection->cut ||
	    connection->socket->input->size == 0)
		return 0;
	return connection->socket->input->capacity;
}

/* All is answered, and the client takes it too slowly to tell. */
static bool server_connection_stuck(struct server_connection *connection, struct mono now)
{
	const struct http_server *server = connection->server;
	struct tcp_info info = { 0 };
	socklen_t size = sizeof(info);

	if (server_streams_stuck(connection, now))
		return true;
	if (connection->unanswered) {
		connection->taken = TAKEN_UNKNOWN;
		return false;
	}
	if (getsockopt(h2o_socket_get_fd(connection->socket), IPPROTO_TCP, TCP_INFO,
		       &info, &size) != 0)
		return false;
	if (info.tcpi_bytes_acked != connection->taken) {
		connection->taken = info.tcpi_bytes_acked;
		connection->since = now;
		return false;
	}
	return now.ns >=
	       mono_after_ms(connection->since, server->config.idle_timeout_ms).ns;
}

/* Closes those that hold at least half of what the largest holds, the longest at it
 * first, until the rest is within arriving_max. */
static void server_connections_lighten(struct http_server *server)
{
	while (server->arriving > server->config.arriving_max) {
		size_t largest = 0;
		struct list *member;

		for (member = server->connections.next; member != &server->connections;
		     member = member->next) {
			size_t size = server_connection_arriving(
				list_of(member, struct server_connection, member));

			largest = size > largest ? size : largest;
		}
		check(largest > 0);
		for (member = server->connections.next;
		     member != &server->connections &&
		     server->arriving > server->config.arriving_max;
		     member = member->next) {
			struct server_connection *connection =
				list_of(member, struct server_connection, member);
			size_t size = server_connection_arriving(connection);

			if (size < largest / 2 + 1)
				continue;
			server_connection_cut(connection);
			server->arriving -= size;
		}
	}
}

void server_connections_sweep(struct http_server *server)
{
	struct mono now = loop_now(server->loop);
	struct list *member;

	server->arriving = 0;

	for (member = server->connections.next; member != &server->connections;
	     member = member->next) {
		struct server_connection *connection =
			list_of(member, struct server_connection, member);

		if (connection->cut)
			continue;
		if (connection->upgraded &&
		    server_upgraded_stuck(connection->upgraded, now))
			server_connection_cut(connection);
		if (connection->websocket)
			continue;
		if (connection->requests ? server_connection_stuck(connection, now)
					 : server_connection_overdue(connection, now))
			server_connection_cut(connection);
		server->arriving += server_connection_arriving(connection);
	}
	if (server->config.arriving_max)
		server_connections_lighten(server);
}

void server_connections_make_room(struct http_server *server, unsigned wanted)
{
	struct mono now = loop_now(server->loop);
	struct list *member;

	for (member = server->connections.next; wanted && member != &server->connections;
	     member = member->next) {
		struct server_connection *connection =
			list_of(member, struct server_connection, member);

		if (connection->requests || connection->websocket || connection->cut ||
		    now.ns < mono_after_ms(connection->since, ROOM_AFTER_MS).ns)
			continue;
		server_connection_cut(connection);
		wanted--;
	}
}
