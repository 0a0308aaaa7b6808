/* SPDX-License-Identifier: MIT */
/* server_connection.c -- what we know about each client connection beside h2o: whether it
 * is idle, and since when. h2o offers no way to close one; shutting its socket down does,
 * for h2o then reads its end. */
#include "base/check.h"
#include "http/server_inside.h"

#include <h2o.h>

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define SWEEP_MS 1000
#define DRAIN_HTTP2_MS 1500 /* h2o's second GOAWAY comes after 1 s */
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

/* --- life ------------------------------------------------------------------------- */

static void server_sweep(void *context)
{
	struct http_server *server = context;

	server_connections_sweep(server);
	if (server->connection_count)
		timer_start(server->loop, &server->sweep,
			    mono_after_ms(loop_now(server->loop), SWEEP_MS), server_sweep,
			    server);
}

static void server_connection_end(void *context)
{
	struct server_connection *connection = context;
	struct http_server *server = connection->server;

	check(connection->requests == 0);
	list_remove(&connection->member);
	server->connection_count--;
	if (connection->linger_fd >= 0)
		linger_begin(server, connection->linger_fd);
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
	list_append(&server->connections, &connection->member);
	server->connection_count++;
	socket->on_close.cb = server_connection_end;
	socket->on_close.data = connection;
	if (!timer_started(&server->sweep))
		timer_start(server->loop, &server->sweep,
			    mono_after_ms(loop_now(server->loop), SWEEP_MS), server_sweep,
			    server);
	server_speak(server, socket);
}

void server_connection_cut(struct server_connection *connection)
{
	connection->cut = true;
	shutdown(h2o_socket_get_fd(connection->socket), SHUT_RDWR);
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
	most_ms = receiving	     ? server->config.request_timeout_ms
		  : server->draining ? 0
				     : server->config.idle_timeout_ms;
	if (now.ns < mono_after_ms(connection->since, most_ms).ns)
		return false;
	return receiving || !server_connection_stirs(connection);
}

void server_connections_sweep(struct http_server *server)
{
	struct mono now = loop_now(server->loop);
	struct list *member;

	for (member = server->connections.next; member != &server->connections;
	     member = member->next) {
		struct server_connection *connection =
			list_of(member, struct server_connection, member);

		if (connection->requests || connection->websocket || connection->cut)
			continue;
		if (server_connection_overdue(connection, now))
			server_connection_cut(connection);
	}
}
