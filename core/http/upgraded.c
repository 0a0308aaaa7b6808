/* SPDX-License-Identifier: MIT */
/* upgraded.c -- h2o's upgrade, and the socket that it leaves us.
 *
 *     switching (h2o writes 101) -> open -> told (closed has been called)
 *     any --http_upgraded_close--> over (what was sent is still written) -> (freed)
 *     any --server is destroyed--> doomed: told, and the socket is gone
 *
 * Invariants
 *   - it is freed when it is over, not switching, has no socket and is not inside an
 *     event.
 *   - it reads only while open and not paused.
 *   - closed is called at most once, and nothing after it. */
#include "http/upgraded.h"
#include "base/check.h"
#include "http/server_inside.h"

#include <h2o.h>
#include <h2o/http1.h>

#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>

#define CLOSE_MS 5000
#define RECEIVE_SIZE 65536 /* the kernel makes it twice as much */
#define TAKEN_UNKNOWN UINT64_MAX

struct http_upgraded {
	struct list member; /* of server->upgrades */
	struct loop *loop;
	struct server_connection *connection; /* NULL: closed */
	h2o_socket_t *socket; /* NULL: switching, or closed */
	const struct http_upgraded_events *events;
	void *context;
	char *piece; /* h2o's while writing */
	size_t piece_size;
	uint64_t taken; /* bytes that the client had acknowledged when last looked at */
	struct mono since; /* it has not changed since */
	struct deferred work;
	struct timer timer;
	unsigned inside; /* events */
	bool switching;
	bool writing;
	bool paused;
	bool told;
	bool over;
	bool doomed;
};

/* --- ending ----------------------------------------------------------------------- */

static void upgraded_release(struct http_upgraded *upgraded)
{
	if (!upgraded->over || upgraded->switching || upgraded->socket ||
	    upgraded->inside)
		return;
	timer_stop(upgraded->loop, &upgraded->timer);
	loop_undefer(&upgraded->work);
	list_remove(&upgraded->member);
	free(upgraded->piece);
	free(upgraded);
}

/* The sweep looks after the connection again: with TLS it may take time to close. */
static void upgraded_part(struct http_upgraded *upgraded)
{
	struct server_connection *connection = upgraded->connection;

	upgraded->connection = NULL;
	if (!connection)
		return;
	connection->upgraded = NULL;
	connection->websocket = false;
	server_connection_rest(connection);
}

static void upgraded_shut(struct http_upgraded *upgraded)
{
	h2o_socket_t *socket = upgraded->socket;

	if (!socket)
		return;
	server_connection_linger(upgraded->connection);
	upgraded_part(upgraded);
	upgraded->socket = NULL;
	h2o_socket_close(socket);
}

static void upgraded_late(void *context)
{
	struct http_upgraded *upgraded = context;

	if (upgraded->switching && upgraded->connection) {
		server_connection_cut(upgraded->connection);
		return;
	}
	upgraded_shut(upgraded);
	upgraded_release(upgraded);
}

void http_upgraded_close(struct http_upgraded *upgraded)
{
	if (!upgraded)
		return;
	check(!upgraded->over);
	upgraded->over = true;
	loop_undefer(&upgraded->work);
	if (upgraded->socket)
		h2o_socket_read_stop(upgraded->socket);
	if (upgraded->switching || upgraded->writing)
		timer_start(upgraded->loop, &upgraded->timer,
			    mono_after_ms(loop_now(upgraded->loop), CLOSE_MS),
			    upgraded_late, upgraded);
	else
		upgraded_shut(upgraded);
	upgraded_release(upgraded);
}

/* The other side has closed, or will never take what it was sent. */
static void upgraded_lost(struct http_upgraded *upgraded)
{
	loop_undefer(&upgraded->work);
	if (upgraded->socket)
		h2o_socket_read_stop(upgraded->socket);
	if (upgraded->told || upgraded->over)
		return;
	upgraded->told = true;
	upgraded->inside++;
	upgraded->events->closed(upgraded->context);
	upgraded->inside--;
}

/* --- what comes ------------------------------------------------------------------- */

/* Hands over what has been read. The buffer is taken out: the receiver may close. */
static void upgraded_hand_over(void *context)
{
	struct http_upgraded *upgraded = context;
	h2o_buffer_t *bytes;

	if (upgraded->paused || upgraded->told || upgraded->over || !upgraded->socket ||
	    upgraded->socket->input->size == 0)
		return;
	bytes = upgraded->socket->input;
	h2o_buffer_init(&upgraded->socket->input, &h2o_socket_buffer_prototype);
	upgraded->inside++;
	upgraded->events->received(upgraded->context,
				   slice_of(bytes->bytes, bytes->size));
	upgraded->inside--;
	h2o_buffer_dispose(&bytes);
	upgraded_release(upgraded);
}

static void upgraded_on_read(h2o_socket_t *socket, const char *err)
{
	struct http_upgraded *upgraded = socket->data;
	struct loop *loop = upgraded->loop;

	if (err) {
		upgraded_lost(upgraded);
		upgraded_release(upgraded);
	} else {
		upgraded_hand_over(upgraded);
	}
	loop_settle(loop);
}

static void upgraded_read(struct http_upgraded *upgraded)
{
	if (!upgraded->socket || upgraded->told || upgraded->over)
		return;
	h2o_socket_read_start(upgraded->socket, upgraded_on_read);
	if (upgraded->socket->input->size)
		loop_defer(upgraded->loop, &upgraded->work, upgraded_hand_over, upgraded);
}

void http_upgraded_pause(struct http_upgraded *upgraded, bool paused)
{
	if (upgraded->paused == paused)
		return;
	upgraded->paused = paused;
	if (!paused)
		upgraded_read(upgraded);
	else if (upgraded->socket)
		h2o_socket_read_stop(upgraded->socket);
}

/* --- what goes -------------------------------------------------------------------- */

static void upgraded_on_written(h2o_socket_t *socket, const char *err)
{
	struct http_upgraded *upgraded = socket->data;
	struct loop *loop = upgraded->loop;

	upgraded->writing = false;
	free(upgraded->piece);
	upgraded->piece = NULL;
	if (upgraded->over) {
		upgraded_shut(upgraded);
	} else if (err) {
		upgraded_lost(upgraded);
	} else if (!upgraded->told) {
		upgraded->inside++;
		upgraded->events->drained(upgraded->context);
		upgraded->inside--;
	}
	upgraded_release(upgraded);
	loop_settle(loop);
}

static void upgraded_write(struct http_upgraded *upgraded)
{
	h2o_iovec_t bytes = h2o_iovec_init(upgraded->piece, upgraded->piece_size);

	upgraded->writing = true;
	upgraded->taken = TAKEN_UNKNOWN;
	upgraded->since = loop_now(upgraded->loop);
	h2o_socket_write(upgraded->socket, &bytes, 1, upgraded_on_written);
}

void http_upgraded_send(struct http_upgraded *upgraded, struct slice bytes)
{
	check(!upgraded->piece && !upgraded->over && bytes.size > 0);
	if (upgraded->told)
		return;
	upgraded->piece = mem_copy(bytes.at, bytes.size);
	upgraded->piece_size = bytes.size;
	if (upgraded->socket)
		upgraded_write(upgraded);
}

bool server_upgraded_stuck(struct http_upgraded *upgraded, struct mono now)
{
	const struct server_connection *connection = upgraded->connection;
	struct tcp_info info = { 0 };
	socklen_t size = sizeof(info);

	if ((!upgraded->writing && !upgraded->switching) ||
	    getsockopt(h2o_socket_get_fd(connection->socket), IPPROTO_TCP, TCP_INFO,
		       &info, &size) != 0)
		return false;
	if (info.tcpi_bytes_acked != upgraded->taken) {
		upgraded->taken = info.tcpi_bytes_acked;
		upgraded->since = now;
		return false;
	}
	return now.ns >=
	       mono_after_ms(upgraded->since, connection->server->config.idle_timeout_ms)
		       .ns;
}

/* --- the handshake ---------------------------------------------------------------- */

struct slice http_request_upgrade(const struct http_request *request)
{
	const h2o_req_t *h2o = request->h2o;

	if (h2o->version != 0x101 || h2o->entity.len > 0)
		return SLICE("");
	return slice_of(h2o->upgrade.base, h2o->upgrade.len);
}

/* h2o has written 101, and has nothing to do with the socket any more. */
static void upgraded_switched(void *context, h2o_socket_t *socket, size_t head_size)
{
	struct http_upgraded *upgraded = context;

	upgraded->switching = false;
	if (!socket) {
		upgraded_part(upgraded);
		upgraded_lost(upgraded);
		upgraded_release(upgraded);
		return;
	}
	upgraded->socket = socket;
	socket->data = upgraded;
	h2o_buffer_consume(&socket->input, head_size);
	if (upgraded->doomed || (upgraded->over && !upgraded->piece)) {
		upgraded_shut(upgraded);
		upgraded_release(upgraded);
		return;
	}
	if (upgraded->piece)
		upgraded_write(upgraded);
	if (!upgraded->paused)
		upgraded_read(upgraded);
}

/* A client that is silently gone is noticed within two minutes; what it has sent and we
 * have not read stays small. */
static void upgraded_tune(int fd)
{
	const int on = 1, idle_s = 60, between_s = 15, probes = 4, size = RECEIVE_SIZE;

	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &between_s, sizeof(between_s));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
}

struct http_upgraded *http_upgrade(struct http_request *request,
				   const struct http_header *headers, size_t header_count,
				   const struct http_upgraded_events *events,
				   void *context)
{
	struct server_connection *connection = request->connection;
	struct http_upgraded *upgraded = mem_zeroed(1, sizeof(*upgraded));

	check(http_request_upgrade(request).size > 0 && !request->stream);
	upgraded->loop = request->server->loop;
	upgraded->connection = connection;
	upgraded->events = events;
	upgraded->context = context;
	upgraded->switching = true;
	upgraded->paused = true;
	upgraded->taken = TAKEN_UNKNOWN;
	upgraded->since = loop_now(upgraded->loop);
	list_append(&request->server->upgrades, &upgraded->member);
	connection->upgraded = upgraded;
	connection->websocket = true;
	server_request_answered(request);
	if (request->watching)
		h2o_socket_read_stop(connection->socket);
	upgraded_tune(h2o_socket_get_fd(connection->socket));
	server_response_head(request, 101, headers, header_count);
	h2o_http1_upgrade(request->h2o, NULL, 0, upgraded_switched, upgraded);
	return upgraded;
}

/* --- the end of the server -------------------------------------------------------- */

void server_upgraded_forget(struct http_upgraded *upgraded)
{
	upgraded->connection = NULL;
}

void server_upgrades_end(struct http_server *server)
{
	struct list *member;

	while ((member = list_take(&server->upgrades))) {
		struct http_upgraded *upgraded =
			list_of(member, struct http_upgraded, member);

		upgraded->doomed = true;
		upgraded->inside++;
		upgraded_lost(upgraded);
		upgraded->inside--;
		timer_stop(upgraded->loop, &upgraded->timer);
		upgraded_shut(upgraded);
		upgraded->writing = false;
		upgraded_release(upgraded);
	}
}
