/* SPDX-License-Identifier: MIT */
/* http_connection.c -- h2o tells when a socket is ready; reading and writing are ours.
 *
 * h2o would read until the kernel has no more: an upstream that sends without end would
 * fill the memory before we could look. Its notification of writability fires once,
 * asserts when it is armed twice and cannot be taken back: hence `armed`. Closing its
 * socket closes the descriptor.
 */
#include "http/http_connection.h"

#include "base/check.h"
#include "loop/loop.h"

#include <h2o.h>

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <unistd.h>

#define READ_SIZE (32 * 1024)
/* Then others have their turn; the descriptor is level-triggered. */
#define READS_PER_TURN 4

struct http_connection {
	enum { OPENING, IDLE, BUSY } state;
	struct loop *loop;
	const struct http_connection_events *events;
	void *context;
	struct http_addresses addresses;
	size_t address; /* in use, or the next to try while fd is -1 */
	int fd; /* of socket, which owns it */
	h2o_socket_t *socket; /* NULL while fd is -1 */
	bool armed, want_write;
	struct deferred begin; /* connecting */
	struct deferred cutting;
	struct slice left; /* of the request */
	bool cut, wrote, write_failed;
	unsigned exchanges;
	struct client_parse answer;
};

static void on_writable(h2o_socket_t *socket, const char *error);

static void forget_socket(struct http_connection *connection)
{
	if (connection->socket)
		h2o_socket_close(connection->socket);
	connection->socket = NULL;
	connection->armed = false;
	connection->fd = -1;
}

static void want_write(struct http_connection *connection, bool want)
{
	connection->want_write = want;
	if (!want || connection->armed)
		return;
	connection->armed = true;
	h2o_socket_notify_write(connection->socket, on_writable);
}

/* Begins to connect to the current address. False: it fails at once. */
static bool try_address(struct http_connection *connection, int *error)
{
	const struct http_address *address =
		&connection->addresses.list[connection->address];
	int fd, one = 1;

	fd = socket(address->at.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		*error = errno;
		return false;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(fd, (const struct sockaddr *)&address->at, address->size) != 0 &&
	    errno != EINPROGRESS) {
		*error = errno;
		close(fd);
		return false;
	}
	connection->fd = fd;
	connection->socket = h2o_evloop_socket_create(loop_h2o(connection->loop), fd,
						      H2O_SOCKET_FLAG_DONT_READ);
	connection->socket->data = connection;
	want_write(connection, true);
	return true;
}

static void end(struct http_connection *connection, const struct fault *why)
{
	struct http_progress progress = {
		.wrote = connection->wrote,
		.answered = connection->state == BUSY && connection->answer.began,
	};

	connection->events->ended(connection->context, connection, &progress, why);
}

/* Connects to the first of the addresses left that does not fail at once. */
static void try_addresses(struct http_connection *connection, int error)
{
	struct fault why;

	for (; connection->address < connection->addresses.count; connection->address++)
		if (try_address(connection, &error))
			return;
	fault_set(&why, FAULT_unavailable, "cannot connect: %s", strerror(error));
	end(connection, &why);
}

static void on_begin(void *context)
{
	try_addresses(context, EADDRNOTAVAIL);
}

struct http_connection *http_connection_open(struct loop *loop,
					     const struct http_addresses *addresses,
					     const struct http_connection_events *events,
					     void *context)
{
	struct http_connection *connection = mem_zeroed(1, sizeof(*connection));

	connection->loop = loop;
	connection->events = events;
	connection->context = context;
	connection->addresses = *addresses;
	connection->fd = -1;
	loop_defer(loop, &connection->begin, on_begin, connection);
	return connection;
}

static void on_readable(h2o_socket_t *socket, const char *error);

static void finish_connect(struct http_connection *connection)
{
	int error = 0;
	socklen_t size = sizeof(error);

	if (getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0)
		error = errno;
	if (error != 0) {
		forget_socket(connection);
		connection->address++;
		try_addresses(connection, error);
		return;
	}
	connection->state = IDLE;
	want_write(connection, false);
	h2o_socket_read_start(connection->socket, on_readable);
	connection->events->opened(connection->context, connection);
}

static void on_cut(void *context);

/* Writes what the socket takes. */
static void write_request(struct http_connection *connection)
{
	while (connection->left.size > 0 && !connection->write_failed) {
		ssize_t size = send(connection->fd, connection->left.at,
				    connection->left.size, MSG_NOSIGNAL);

		if (size < 0 && errno == EINTR)
			continue;
		if (size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			break;
		if (size < 0) {
			connection->write_failed = true;
			break;
		}
		connection->wrote = true;
		connection->left.at += size;
		connection->left.size -= (size_t)size;
	}
	if (connection->cut && connection->left.size == 0)
		loop_defer(connection->loop, &connection->cutting, on_cut, connection);
	want_write(connection, connection->left.size > 0 && !connection->write_failed);
}

void http_connection_send(struct http_connection *connection, struct slice request,
			  bool head_request, size_t answer_size_max, bool cut)
{
	check(connection->state == IDLE);
	connection->state = BUSY;
	connection->left = request;
	connection->cut = cut;
	connection->wrote = connection->write_failed = false;
	client_parse_begin(&connection->answer, head_request, answer_size_max);
	write_request(connection);
}

static void deliver(struct http_connection *connection)
{
	bool reusable = connection->answer.keep_alive && connection->left.size == 0 &&
			!connection->write_failed;

	connection->exchanges++;
	if (reusable)
		connection->state = IDLE;
	connection->events->answered(connection->context, connection, &connection->answer,
				     reusable);
}

/* The other side closed (error 0) or the socket failed. */
static void lose(struct http_connection *connection, int error)
{
	struct fault why;

	if (connection->state == IDLE) {
		fault_set(&why, FAULT_unavailable, "closed by the other side");
		end(connection, &why);
		return;
	}
	if (error == 0 &&
	    client_parse_close(&connection->answer, &why) == CLIENT_PARSE_done) {
		deliver(connection);
		return;
	}
	fault_set(&why, FAULT_broken, "the connection was lost %s%s%s",
		  connection->answer.began ? "in the middle of the answer"
					   : "before an answer",
		  error ? ": " : "", error ? strerror(error) : "");
	end(connection, &why);
}

static void on_cut(void *context)
{
	lose(context, ECONNRESET);
}

/* Gives false when the connection may be gone. */
static bool read_once(struct http_connection *connection)
{
	char bytes[READ_SIZE];
	struct fault why;
	ssize_t size = recv(connection->fd, bytes, sizeof(bytes), 0);

	if (size < 0 && (errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK))
		return false;
	if (size <= 0) {
		lose(connection, size < 0 ? errno : 0);
		return false;
	}
	if (connection->state == IDLE) {
		fault_set(&why, FAULT_broken, "the other side spoke unasked");
		end(connection, &why);
		return false;
	}
	switch (client_parse_feed(&connection->answer, slice_of(bytes, (size_t)size),
				  &why)) {
	case CLIENT_PARSE_done:
		deliver(connection);
		return false;
	case CLIENT_PARSE_failed: {
		struct http_progress progress = { connection->wrote, true, true };

		connection->events->ended(connection->context, connection, &progress,
					  &why);
		return false;
	}
	default:
		return (size_t)size == sizeof(bytes);
	}
}

static void on_readable(h2o_socket_t *socket, const char *error)
{
	struct http_connection *connection = socket->data;

	for (int i = 0; i < READS_PER_TURN; i++)
		if (!read_once(connection))
			return;
}

static void on_writable(h2o_socket_t *socket, const char *error)
{
	struct http_connection *connection = socket->data;

	connection->armed = false;
	if (connection->state == OPENING)
		finish_connect(connection);
	else if (connection->want_write)
		write_request(connection);
}

bool http_connection_alive(const struct http_connection *connection)
{
	char byte;
	ssize_t size;

	do
		size = recv(connection->fd, &byte, 1, MSG_PEEK);
	while (size < 0 && errno == EINTR);
	return size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

unsigned http_connection_exchanges(const struct http_connection *connection)
{
	return connection->exchanges;
}

bool http_connection_peer(const struct http_connection *connection,
			  struct http_address *peer)
{
	if (connection->state == OPENING)
		return false;
	*peer = connection->addresses.list[connection->address];
	return true;
}

void http_connection_close(struct http_connection *connection)
{
	if (connection == NULL)
		return;
	loop_undefer(&connection->begin);
	loop_undefer(&connection->cutting);
	forget_socket(connection);
	client_parse_finish(&connection->answer);
	free(connection);
}
