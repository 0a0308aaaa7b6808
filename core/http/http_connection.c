/* SPDX-License-Identifier: MIT */
/* http_connection.c -- h2o tells when a socket is ready; reading and writing are ours.
 *
 * h2o would read until the kernel has no more: an upstream that sends without end would
 * fill the memory before we could look. Its notification of writability fires once,
 * asserts when it is armed twice and cannot be taken back: hence `armed`. Closing its
 * socket closes the descriptor. A socket that neither reads nor writes is in no epoll
 * set: a hang-up while it is paused wakes nobody.
 *
 * What the parser has and the receiver has not heard is told in one place, tell(). Each
 * event may close the connection, which then says so through `gone`.
 */
#include "http/http_connection.h"

#include "base/check.h"
#include "loop/loop.h"

#include <h2o.h>

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#define READ_SIZE (32 * 1024)
/* Then others have their turn; the descriptor is level-triggered. */
#define READS_PER_TURN 4

struct http_connection {
	enum { OPENING, IDLE, BUSY, SWITCHED } state;
	struct loop *loop;
	const struct http_connection_events *events;
	void *context;
	struct http_addresses addresses;
	size_t address; /* in use, or the next to try while fd is -1 */
	int fd; /* of socket, which owns it */
	h2o_socket_t *socket; /* NULL while fd is -1 */
	bool armed, want_write, reading;
	struct deferred begin; /* connecting */
	struct deferred cutting;
	struct deferred resuming;
	struct deferred draining; /* drained is to be told */
	struct iovec left[2]; /* of the request; switched: of out */
	struct buf out; /* switched: what the socket did not take */
	bool cut, wrote, write_failed;
	bool head_told, paused;
	bool writing; /* switched: not drained yet */
	bool *gone; /* of the frame that tells events */
	unsigned exchanges;
	struct client_parse answer;
};

static void on_readable(h2o_socket_t *socket, const char *error);
static void on_writable(h2o_socket_t *socket, const char *error);

static void forget_socket(struct http_connection *connection)
{
	if (connection->socket)
		h2o_socket_close(connection->socket);
	connection->socket = NULL;
	connection->armed = connection->reading = false;
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

static void want_read(struct http_connection *connection, bool want)
{
	if (want && !connection->reading)
		h2o_socket_read_start(connection->socket, on_readable);
	else if (!want && connection->reading)
		h2o_socket_read_stop(connection->socket);
	connection->reading = want;
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

static void end(struct http_connection *connection, bool nonsense,
		const struct fault *why)
{
	struct http_progress progress = {
		.wrote = connection->state >= BUSY && connection->wrote,
		.answered = connection->state >= BUSY && connection->answer.began,
		.nonsense = nonsense,
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
	end(connection, false, &why);
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
	want_read(connection, true);
	connection->events->opened(connection->context, connection);
}

/* --- writing ---------------------------------------------------------------------- */

static void on_cut(void *context);

static void on_drained(void *context)
{
	struct http_connection *connection = context;

	connection->writing = false;
	connection->events->drained(connection->context, connection);
}

static void wrote(struct http_connection *connection, size_t size)
{
	for (int i = 0; i < 2; i++) {
		struct iovec *part = &connection->left[i];
		size_t now = size < part->iov_len ? size : part->iov_len;

		part->iov_base = (char *)part->iov_base + now;
		part->iov_len -= now;
		size -= now;
	}
}

static bool all_written(const struct http_connection *connection)
{
	return connection->left[0].iov_len + connection->left[1].iov_len == 0;
}

/* Writes what the socket takes. */
static void write_left(struct http_connection *connection)
{
	struct msghdr message = { .msg_iov = connection->left, .msg_iovlen = 2 };

	while (!all_written(connection) && !connection->write_failed) {
		ssize_t size = sendmsg(connection->fd, &message, MSG_NOSIGNAL);

		if (size < 0 && errno == EINTR)
			continue;
		if (size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			break;
		if (size < 0) {
			connection->write_failed = true;
			break;
		}
		connection->wrote = true;
		wrote(connection, (size_t)size);
	}
	if (all_written(connection)) {
		if (connection->state == SWITCHED)
			loop_defer(connection->loop, &connection->draining, on_drained,
				   connection);
		else if (connection->cut)
			loop_defer(connection->loop, &connection->cutting, on_cut,
				   connection);
	}
	want_write(connection, !all_written(connection) && !connection->write_failed);
}

static struct iovec part_of(struct slice bytes)
{
	return (struct iovec){ (char *)(size_t)bytes.at, bytes.size };
}

void http_connection_send(struct http_connection *connection,
			  const struct http_exchange *exchange)
{
	struct client_parse_rules rules = { .head_request = exchange->head_request,
					    .stream = exchange->stream,
					    .upgrade = exchange->upgrade,
					    .size_max = exchange->answer_size_max };

	check(connection->state == IDLE);
	connection->state = BUSY;
	connection->left[0] = part_of(exchange->head);
	connection->left[1] = part_of(exchange->body);
	connection->cut = exchange->cut;
	connection->wrote = connection->write_failed = false;
	connection->head_told = !exchange->stream;
	client_parse_begin(&connection->answer, &rules);
	write_left(connection);
}

void http_connection_write(struct http_connection *connection, struct slice bytes)
{
	check(connection->state == SWITCHED && bytes.size > 0);
	check(!connection->writing);
	connection->writing = true;
	connection->left[0] = part_of(bytes);
	write_left(connection);
	/* What was borrowed goes back. */
	buf_reset(&connection->out);
	if (!connection->write_failed)
		buf_append(&connection->out, slice_of(connection->left[0].iov_base,
						      connection->left[0].iov_len));
	connection->left[0] = part_of(buf_slice(&connection->out));
}

/* --- telling ---------------------------------------------------------------------- */

static void deliver(struct http_connection *connection)
{
	bool reusable = connection->answer.keep_alive && all_written(connection) &&
			!connection->write_failed;

	connection->exchanges++;
	if (reusable) {
		connection->state = IDLE;
		loop_undefer(&connection->resuming);
		loop_undefer(&connection->cutting);
		want_read(connection, true);
	}
	connection->events->answered(connection->context, connection, &connection->answer,
				     reusable);
}

static void switch_over(struct http_connection *connection)
{
	struct fault why;

	if (!all_written(connection) || connection->write_failed) {
		fault_set(&why, FAULT_broken,
			  "it switches protocols before it was asked");
		end(connection, true, &why);
		return;
	}
	connection->state = SWITCHED;
	connection->head_told = true;
	http_connection_pause(connection, true);
	connection->events->switched(connection->context, connection,
				     &connection->answer);
}

/* Tells one event. False: there is nothing to tell. */
static bool tell_next(struct http_connection *connection)
{
	struct client_parse *answer = &connection->answer;
	struct slice piece = answer->piece;

	if (connection->state < BUSY || answer->state == CLIENT_PARSE_head)
		return false;
	if (answer->state == CLIENT_PARSE_switched && connection->state == BUSY) {
		switch_over(connection);
	} else if (!connection->head_told) {
		connection->head_told = true;
		connection->events->head(connection->context, connection, answer);
	} else if (piece.size > 0) {
		answer->piece = SLICE("");
		connection->events->data(connection->context, connection, piece);
	} else if (answer->state == CLIENT_PARSE_done) {
		deliver(connection);
	} else {
		return false;
	}
	return true;
}

/* Tells what has been read, until there is a pause. False: there is one, or the
 * connection is gone. */
static bool tell(struct http_connection *connection)
{
	bool gone = false;

	connection->gone = &gone;
	while (!connection->paused && tell_next(connection))
		if (gone)
			return false;
	connection->gone = NULL;
	if (connection->paused)
		client_parse_hold(&connection->answer);
	return !connection->paused;
}

static void on_resumed(void *context)
{
	struct http_connection *connection = context;

	if (tell(connection))
		want_read(connection, true);
}

void http_connection_pause(struct http_connection *connection, bool paused)
{
	if (connection->state < BUSY || connection->paused == paused)
		return;
	connection->paused = paused;
	if (!paused) {
		loop_defer(connection->loop, &connection->resuming, on_resumed,
			   connection);
		return;
	}
	loop_undefer(&connection->resuming);
	want_read(connection, false);
}

/* --- reading ---------------------------------------------------------------------- */

/* The other side closed (error 0) or the socket failed. */
static void lose(struct http_connection *connection, int error)
{
	struct fault why;

	if (connection->state == IDLE) {
		fault_set(&why, FAULT_unavailable, "closed by the other side");
		end(connection, false, &why);
		return;
	}
	if (error == 0 && connection->state == BUSY &&
	    client_parse_close(&connection->answer, &why) == CLIENT_PARSE_done) {
		tell(connection);
		return;
	}
	fault_set(&why, FAULT_broken, "the connection was lost %s%s%s",
		  connection->state == SWITCHED ? "after switching protocols"
		  : connection->answer.began	? "in the middle of the answer"
						: "before an answer",
		  error ? ": " : "", error ? strerror(error) : "");
	end(connection, false, &why);
}

static void on_cut(void *context)
{
	lose(context, ECONNRESET);
}

/* Gives false when no more may be read now; the connection may be gone. */
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
		end(connection, false, &why);
		return false;
	}
	if (client_parse_feed(&connection->answer, slice_of(bytes, (size_t)size), &why) ==
	    CLIENT_PARSE_failed) {
		end(connection, true, &why);
		return false;
	}
	return tell(connection) && connection->state >= BUSY &&
	       (size_t)size == sizeof(bytes);
}

static void on_readable(h2o_socket_t *socket, const char *error)
{
	struct http_connection *connection = socket->data;
	struct loop *loop = connection->loop;

	for (int i = 0; i < READS_PER_TURN; i++)
		if (!read_once(connection))
			break;
	loop_settle(loop); /* the connection may be gone */
}

static void on_writable(h2o_socket_t *socket, const char *error)
{
	struct http_connection *connection = socket->data;

	connection->armed = false;
	if (connection->state == OPENING)
		finish_connect(connection);
	else if (connection->want_write)
		write_left(connection);
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
	loop_undefer(&connection->resuming);
	loop_undefer(&connection->draining);
	if (connection->gone)
		*connection->gone = true;
	forget_socket(connection);
	client_parse_finish(&connection->answer);
	buf_finish(&connection->out);
	free(connection);
}
