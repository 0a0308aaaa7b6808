/* SPDX-License-Identifier: MIT */
/* server_inside.h -- what the files of the server share: server, server_connection,
 * server_tls, request, response, response_stream, refusal, websocket, upgraded. Nobody
 * else includes it.
 *
 *     connection:  (TLS handshake) -> idle --bytes--> receiving
 *                  receiving --whole request--> serving
 *                  serving --answer written--> idle
 *                  serving --websocket_accept or http_upgrade--> websocket or upgraded
 *                  any state --closed by either side--> (freed)
 *
 * A request lives in its h2o_req_t's memory pool: h2o frees both when the answer is
 * written, the stream is reset or the connection is closed, and tells us by a dispose
 * function of the pool.
 *
 * h2o stops reading an HTTP/1 connection while its request is served, and so would not
 * notice that the client leaves. The request therefore watches the socket itself, without
 * reading from it (h2o's buffer holds the request and must not move). That also saves h2o
 * from taking the socket out of epoll and back. Bytes, of the next pipelined request or
 * of TLS' own goodbye, hide the end of the stream behind them, which is then looked for
 * by a timer.
 *
 * Requests of HTTP/2 are handed over by a deferred call, when h2o has read what there
 * was: a client that opens streams only to reset them at once (CVE-2023-44487) has reset
 * them by then.
 */
#ifndef HTTP_SERVER_INSIDE_H
#define HTTP_SERVER_INSIDE_H

#include "base/buf.h"
#include "http/address_set.h"
#include "http/request.h"
#include "http/server.h"
#include "loop/loop.h"

struct server_h2o;
struct ssl_ctx_st;
struct st_h2o_pathconf_t;
struct st_h2o_req_t;
struct st_h2o_socket_t;
struct http_upgraded;
struct server_stream;
struct websocket;

struct http_server {
	struct loop *loop;
	struct http_server_config config; /* texts are not kept */
	struct ssl_ctx_st *tls; /* NULL: cleartext */
	struct address_set *trusted; /* proxies; NULL: none */
	struct server_h2o *h2o; /* server.c's */
	struct st_h2o_socket_t *listener; /* NULL when draining */
	struct timer accept_again;
	bool accepting;
	unsigned port;
	bool quiesced; /* answers close their connection */
	bool draining;
	struct mono drained; /* when that began */
	bool own_answer; /* h2o is sending an answer of ours, not one of its own */
	bool inside_gone; /* h2o is freeing a request: nothing may be sent now */
	struct list connections; /* by when their last request ended, or they began */
	unsigned connection_count;
	struct timer sweep;
	size_t arriving; /* bytes, at the last sweep */
	struct list requests; /* neither answered nor gone */
	unsigned in_flight; /* as many */
	struct list arrivals; /* of HTTP/2, not handed over yet */
	struct deferred arrive;
	struct list lingers;
	unsigned linger_count;
	struct list upgrades; /* upgraded connections */
	struct list blind; /* connections whose end may hide behind bytes */
	struct timer look; /* at them */
};

struct server_connection {
	struct list member;
	struct http_server *server;
	struct st_h2o_socket_t *socket; /* h2o's; lives at least as long as this */
	unsigned requests; /* that h2o holds, answered or not */
	unsigned unanswered; /* of them */
	struct http_debt *debt; /* NULL: none yet */
	unsigned refusals; /* because of too much work */
	uint64_t taken; /* bytes of answers, that the client had acknowledged lately */
	bool http2;
	bool used; /* it has had a request */
	bool proxy_known;
	bool proxy; /* the peer is one of server->trusted */
	bool websocket; /* or upgraded */
	struct http_upgraded *upgraded; /* NULL: no */
	struct list streams; /* answers in pieces that h2o has not finished */
	struct list blind; /* of server->blind */
	struct http_request *watched; /* unanswered, its client is watched; or NULL */
	bool cut; /* shut down by us: h2o will notice */
	bool receiving; /* at the last sweep */
	struct mono since; /* idle, or seen receiving, or seen taking, since */
	int linger_fd; /* -1: no */
	char peer[ADDRESS_TEXT_SIZE]; /* the client's address, once asked for */
	size_t peer_size;
};

struct http_request {
	struct list member; /* of server->requests */
	struct list arrival; /* of server->arrivals */
	struct http_server *server;
	struct server_connection *connection;
	struct st_h2o_req_t *h2o;
	struct slice path;
	struct slice query;
	struct slice authority;
	struct mono began;
	struct arena arena;
	struct slice client; /* once asked for and not the peer */
	http_gone_fn *gone; /* NULL: nobody wants to know */
	void *gone_context;
	bool answered;
	bool watching;
	struct slice body; /* of the answer, when it is sent later */
	struct deferred send;
	struct server_stream *stream; /* of an answer in pieces; or NULL */
};

/* --- server.c --------------------------------------------------------------------- */

/* Tells the HTTP/2 connections that have not been told to go. */
void server_go_away(struct http_server *server);

/* Unless it is draining. */
void server_accept_start(struct http_server *server);

/* Begins to read from it. */
void server_speak(struct http_server *server, struct st_h2o_socket_t *socket);

/* --- server_connection.c ---------------------------------------------------------- */

void server_connection_begin(struct http_server *server, struct st_h2o_socket_t *socket);

/* Of the connection that this request came on. */
struct server_connection *server_connection_of(struct st_h2o_req_t *h2o);

/* Shuts the socket down; h2o notices in the next turn and closes it. */
void server_connection_cut(struct server_connection *connection);

/* Closes what has been idle, receiving or not taking its answer for too long, or is idle
 * while draining. */
void server_connections_sweep(struct http_server *server);

/* Closes as many of those that have been without a request for the longest, if so many
 * have for long. */
void server_connections_make_room(struct http_server *server, unsigned wanted);

/* Its last request has ended: it is idle. */
void server_connection_rest(struct server_connection *connection);

/* Whether it may have one more request under way than it has without this one. Closes it
 * when it has been told no too often. */
bool server_connection_bears(struct server_connection *connection, struct fault *why);

/* When h2o closes the socket, reads on for a while: closing with unread bytes would reset
 * the connection, and the client might never see the answer. */
void server_connection_linger(struct server_connection *connection);

/* Ends all lingering. */
void server_lingers_end(struct http_server *server);

/* The client learns at once that what it got is not all, even where the end of the
 * connection is the end of the answer. */
void server_connection_reset(struct server_connection *connection);

/* --- response.c ------------------------------------------------------------------- */

/* Status and headers, as http_respond has them; 101 is one here. */
void server_response_head(struct http_request *request, int status,
			  const struct http_header *headers, size_t header_count);

/* --- response_stream.c ------------------------------------------------------------ */

/* Calls its gone, unless it is at its end, and breaks the answer off. */
void server_stream_abandon(struct http_request *request);

/* h2o is done with it: frees it. gone and context are what the handler gave for it. */
void server_stream_finish(struct server_stream *stream, http_gone_fn **gone,
			  void **context);

/* Sends what is at its end now, instead of at the end of the turn. The connection may be
 * gone afterwards. */
void server_streams_settle(struct server_connection *connection);

/* Whether an answer of this connection has made no way for too long. */
bool server_streams_stuck(struct server_connection *connection, struct mono now);

/* --- upgraded.c ------------------------------------------------------------------- */

/* Whether it has taken nothing of a piece for too long. */
bool server_upgraded_stuck(struct http_upgraded *upgraded, struct mono now);

/* Its connection is closed. */
void server_upgraded_forget(struct http_upgraded *upgraded);

/* Closes all of them and tells that to their receivers. */
void server_upgrades_end(struct http_server *server);

/* --- server_refusal.c ------------------------------------------------------------- */

/* Makes problem documents of h2o's own answers, and tells config.refused of them. */
void server_refusal_register(struct http_server *server, struct st_h2o_pathconf_t *path);

/* The bytes of a problem document, in out. */
void server_problem_write(struct buf *out, const struct fault *why,
			  struct slice trace_id);

/* --- request.c -------------------------------------------------------------------- */

/* Has h2o give every request that is whole to us: it is refused, or put into
 * server->requests and handed to the handler, now or (HTTP/2) a little later. */
void server_requests_register(struct http_server *server, struct st_h2o_pathconf_t *path);

/* The request is answered from here on: forgets gone, leaves server->requests. */
void server_request_answered(struct http_request *request);

/* Calls gone, and answers with status in place of the handler, or breaks off the answer
 * that has begun. */
void server_request_abandon(struct http_request *request, enum fault_kind kind,
			    const char *detail);

#endif
