/* SPDX-License-Identifier: MIT */
/* response_stream.c -- answers in pieces, on h2o's generators.
 *
 *     begun (nothing sent yet) -> writing <--> waiting for the next piece
 *     any --end, abort--> ending -> (h2o frees the request)
 *
 * What is asked for is only noted, and sent at the end of the turn: so an answer that
 * begins and ends in one turn is one write, nothing is called back from inside, and h2o,
 * which may go on to the next request at once, does not do so inside the caller.
 *
 * HTTP/1.1's chunks are written here: h2o's own filter does that for status 200 only, and
 * closes the connection after all others.
 *
 * Hot path of forwarded answers: one malloc for the answer, one for each piece. */
#include "base/check.h"
#include "http/server_inside.h"

#include <h2o.h>

#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

struct server_stream {
	h2o_generator_t generator; /* first: h2o gives it back */
	struct http_request *request;
	const struct http_stream_events *events;
	void *context;
	uint64_t left; /* of the length that was told */
	struct list member; /* of connection->streams */
	char *piece; /* h2o's while writing */
	size_t piece_size;
	char chunk[24]; /* the piece's head */
	uint64_t handed; /* bytes of pieces, to h2o */
	uint64_t progress; /* what had been taken of them when it was last looked at */
	struct mono since; /* it has not changed since */
	bool chunked;
	bool until_close; /* its end is the connection's */
	bool bodiless; /* HEAD, 204, 304 */
	bool started;
	bool writing; /* h2o has something that is not all sent */
	bool busy; /* drained will be called */
	bool ended;
	bool aborted; /* ended, and what was sent is not all */
};

static struct server_stream *stream_of(struct http_request *request)
{
	check(request->stream && !request->answered);
	return request->stream;
}

/* --- to h2o ----------------------------------------------------------------------- */

static void stream_start(struct server_stream *stream)
{
	h2o_req_t *h2o = stream->request->h2o;
	unsigned char persistent = h2o->http1_is_persistent;

	stream->started = true;
	stream->request->server->own_answer = true;
	h2o_start_response(h2o, &stream->generator);
	stream->request->server->own_answer = false;
	h2o->http1_is_persistent = persistent; /* h2o's filter of chunks resets it */
}

static size_t stream_gather(struct server_stream *stream, h2o_send_state_t state,
			    h2o_iovec_t bufs[3])
{
	size_t count = 0;
	bool final = state == H2O_SEND_STATE_FINAL;

	if (stream->aborted)
		return 0;
	if (stream->piece_size && stream->chunked) {
		int size = snprintf(stream->chunk, sizeof(stream->chunk), "%zx\r\n",
				    stream->piece_size);

		bufs[count++] = h2o_iovec_init(stream->chunk, (size_t)size);
	}
	if (stream->piece_size)
		bufs[count++] = h2o_iovec_init(stream->piece, stream->piece_size);
	if (stream->chunked && stream->piece_size)
		bufs[count++] = h2o_iovec_init("\r\n0\r\n\r\n", final ? 7 : 2);
	else if (stream->chunked && final)
		bufs[count++] = h2o_iovec_init(H2O_STRLIT("0\r\n\r\n"));
	stream->handed += stream->piece_size;
	return count;
}

/* Gives h2o what there is, unless it still has something; then it asks when it has not.
 * The request may be gone afterwards. */
static void stream_go(void *context)
{
	struct server_stream *stream = context;
	h2o_req_t *h2o = stream->request->h2o;
	h2o_send_state_t state = stream->aborted ? H2O_SEND_STATE_ERROR
				 : stream->ended ? H2O_SEND_STATE_FINAL
						 : H2O_SEND_STATE_IN_PROGRESS;
	h2o_iovec_t bufs[3];
	size_t count;

	if (stream->aborted && stream->until_close)
		server_connection_reset(stream->request->connection);
	if (stream->writing)
		return;
	if (!stream->started)
		stream_start(stream);
	count = stream_gather(stream, state, bufs);
	stream->writing = true;
	stream->progress = UINT64_MAX;
	stream->since = loop_now(stream->request->server->loop);
	h2o_send(h2o, bufs, count, state);
}

static void stream_go_soon(struct server_stream *stream)
{
	loop_defer(stream->request->server->loop, &stream->request->send, stream_go,
		   stream);
}

/* h2o has sent what it had, and wants more. */
static void stream_proceed(h2o_generator_t *generator, h2o_req_t *h2o)
{
	struct server_stream *stream = (struct server_stream *)generator;
	struct loop *loop = stream->request->server->loop;

	stream->writing = false;
	free(stream->piece);
	stream->piece = NULL;
	stream->piece_size = 0;
	if (stream->ended) {
		loop_undefer(&stream->request->send);
		stream_go(stream);
	} else if (stream->busy) {
		stream->busy = false;
		stream->events->drained(stream->context);
		if (h2o->version < 0x200) /* else h2o is at a list of streams */
			loop_settle(loop);
	}
}

/* --- from the handler ------------------------------------------------------------- */

static void stream_take(struct server_stream *stream, struct slice piece)
{
	stream->busy = true;
	if (stream->bodiless || piece.size == 0)
		return;
	if (stream->left != HTTP_LENGTH_UNKNOWN) {
		check(piece.size <= stream->left);
		stream->left -= piece.size;
	}
	stream->piece = mem_copy(piece.at, piece.size);
	stream->piece_size = piece.size;
}

static void stream_frame(struct server_stream *stream, uint64_t length)
{
	h2o_req_t *h2o = stream->request->h2o;
	int status = h2o->res.status;

	stream->bodiless =
		status == 204 || status == 304 ||
		slice_equal(http_request_method(stream->request), SLICE("HEAD"));
	if (length != HTTP_LENGTH_UNKNOWN) {
		if (status != 204 && status != 304)
			h2o->res.content_length = length;
	} else if (!stream->bodiless && h2o->version == 0x101) {
		stream->chunked = true;
		h2o_add_header(&h2o->pool, &h2o->res.headers, H2O_TOKEN_TRANSFER_ENCODING,
			       NULL, H2O_STRLIT("chunked"));
	} else if (!stream->bodiless && h2o->version < 0x101) {
		stream->until_close = true;
		h2o->http1_is_persistent = 0;
	}
}

void http_stream_begin(struct http_request *request, int status,
		       const struct http_header *headers, size_t header_count,
		       uint64_t length, struct slice first,
		       const struct http_stream_events *events, void *context)
{
	struct server_stream *stream = mem_zeroed(1, sizeof(*stream));

	check(!request->stream && !request->answered);
	stream->generator.proceed = stream_proceed;
	stream->request = request;
	stream->events = events;
	stream->context = context;
	stream->left = length;
	request->stream = stream;
	request->gone = NULL;
	list_append(&request->connection->streams, &stream->member);
	server_response_head(request, status < 200 || status > 599 ? 500 : status,
			     headers, header_count);
	stream_frame(stream, length);
	stream_take(stream, first);
	stream_go_soon(stream);
}

void http_stream_write(struct http_request *request, struct slice piece)
{
	struct server_stream *stream = stream_of(request);

	check(!stream->busy && piece.size > 0);
	stream_take(stream, piece);
	stream_go_soon(stream);
}

static void stream_close(struct server_stream *stream, bool aborted)
{
	stream->ended = true;
	stream->aborted = aborted;
	server_request_answered(stream->request);
	stream_go_soon(stream);
}

void http_stream_end(struct http_request *request)
{
	struct server_stream *stream = stream_of(request);

	stream_close(stream, !stream->bodiless && stream->left != HTTP_LENGTH_UNKNOWN &&
				     stream->left > 0);
}

void http_stream_abort(struct http_request *request)
{
	stream_close(stream_of(request), true);
}

/* --- from the server -------------------------------------------------------------- */

void server_stream_abandon(struct http_request *request)
{
	struct server_stream *stream = request->stream;
	http_gone_fn *gone = stream->events->gone;
	void *context = stream->context;

	stream_close(stream, true);
	loop_undefer(&request->send);
	gone(context);
	if (stream->writing)
		server_connection_cut(request->connection); /* it may never be taken */
	else
		stream_go(stream);
}

void server_streams_settle(struct server_connection *connection)
{
	struct list *member, *next;

	for (member = connection->streams.next; member != &connection->streams;
	     member = next) {
		struct server_stream *stream =
			list_of(member, struct server_stream, member);
		bool alone = stream->request->h2o->version < 0x200;

		next = member->next;
		loop_undefer(&stream->request->send);
		if (stream->ended && !stream->writing)
			stream_go(stream);
		if (alone)
			return; /* the connection may be gone */
	}
}

void server_stream_finish(struct server_stream *stream, http_gone_fn **gone,
			  void **context)
{
	*gone = stream->events->gone;
	*context = stream->context;
	list_remove(&stream->member);
	free(stream->piece);
	free(stream);
}

/* HTTP/2 may hold a piece back, until the client lets the stream go on; what it does not
 * hold back, and all of HTTP/1, is on its way by TCP. */
static uint64_t stream_progress(const struct server_stream *stream, uint64_t acked)
{
	const h2o_req_t *h2o = stream->request->h2o;

	return h2o->version >= 0x200 && h2o->bytes_sent < stream->handed
		       ? h2o->bytes_sent
		       : h2o->bytes_sent + acked;
}

bool server_streams_stuck(struct server_connection *connection, struct mono now)
{
	int patience_ms = connection->server->config.idle_timeout_ms;
	struct tcp_info info = { 0 };
	socklen_t size = sizeof(info);
	struct list *member;

	if (list_empty(&connection->streams) ||
	    getsockopt(h2o_socket_get_fd(connection->socket), IPPROTO_TCP, TCP_INFO,
		       &info, &size) != 0)
		return false;
	for (member = connection->streams.next; member != &connection->streams;
	     member = member->next) {
		struct server_stream *stream =
			list_of(member, struct server_stream, member);
		uint64_t progress = stream_progress(stream, info.tcpi_bytes_acked);

		if (!stream->writing)
			continue;
		if (progress != stream->progress) {
			stream->progress = progress;
			stream->since = now;
		} else if (now.ns >= mono_after_ms(stream->since, patience_ms).ns) {
			return true;
		}
	}
	return false;
}
