/* SPDX-License-Identifier: MIT */
/* Hot path: server_on_request, once per request. Budget, with http_respond: 1.15 times
 * the CPU time of a bare h2o handler (held by test/bench/http_path_bench.c). One malloc,
 * of the block by which h2o tells us that the request is over; no locks, no logs. */
#include "http/request.h"
#include "base/check.h"
#include "http/server_framing.h"
#include "http/server_inside.h"

#include <h2o.h>

#include <poll.h>
#include <sys/socket.h>

#define LOOK_MS 50
#define HEADERS_MAX 100 /* h2o has the same limit, but for HTTP/1 only */

struct server_handler {
	h2o_handler_t super;
	struct http_server *server;
};

/* --- from h2o to the handler ------------------------------------------------------ */

struct server_connection *server_connection_of(h2o_req_t *h2o)
{
	return h2o->conn->callbacks->get_socket(h2o->conn)->on_close.data;
}

static bool request_target_slow(struct http_request *request, struct fault *why);

static bool request_target(struct http_request *request, struct fault *why)
{
	const h2o_req_t *h2o = request->h2o;
	size_t size = h2o->path.len;

	request->authority =
		slice_of(h2o->input.authority.base, h2o->input.authority.len);
	if (size == 0 || h2o->path.base[0] != '/')
		return request_target_slow(request, why);
	if (h2o->query_at < size) {
		request->query = slice_of(h2o->path.base + h2o->query_at + 1,
					  size - h2o->query_at - 1);
		size = h2o->query_at;
	}
	request->path = slice_of(h2o->path.base, size);
	return true;
}

/* At this moment h2o's buffer begins with the head of this request. */
static bool request_framing(const struct http_request *request, struct fault *why)
{
	const h2o_buffer_t *input = request->connection->socket->input;
	enum server_framing framing = server_framing_check(
		slice_of(input->bytes, input->size), request->h2o->version & 0xff, why);

	if (framing != SERVER_FRAMING_plain) { /* where the next begins may be disputed */
		request->h2o->http1_is_persistent = 0;
		server_connection_linger(request->connection);
	}
	return framing != SERVER_FRAMING_bad;
}

static void request_refuse_slow(struct http_request *request, const struct fault *why);

static bool request_acceptable(struct http_request *request, struct fault *why)
{
	const struct http_server *server = request->server;

	if (request->h2o->version < 0x200 && !request_framing(request, why))
		return false;
	if (!request_target(request, why))
		return false;
	if (request->h2o->entity.len > server->config.body_size_max)
		return fault_set_status(why, FAULT_bad_input, 413,
					"the body is above %zu bytes",
					server->config.body_size_max);
	if (request->h2o->headers.size > HEADERS_MAX)
		return fault_set_status(why, FAULT_bad_input, 431,
					"there are more than %d headers", HEADERS_MAX);
	if (server->in_flight > server->config.requests_max)
		return fault_set_status(why, FAULT_limit, 503,
					"%u requests are in flight already",
					server->config.requests_max);
	return request->h2o->version < 0x200 ||
	       server_connection_bears(request->connection, why);
}

static void request_stirred(h2o_socket_t *socket, const char *err);

static void request_watch(struct http_request *request)
{
	h2o_socket_t *socket = request->connection->socket;

	request->watching = true;
	request->connection->watched = request;
	h2o_socket_dont_read(socket, 1);
	h2o_socket_read_start(socket, request_stirred);
}

static void request_hand_over(struct http_request *request)
{
	const struct http_server_config *config = &request->server->config;

	config->handler(config->context, request);
	loop_settle(request->server->loop);
	if (!request->answered && request->h2o->version < 0x200)
		request_watch(request);
}

static void request_dispose(void *memory);
static void server_arrive(void *context);

static int server_on_request(h2o_handler_t *self, h2o_req_t *h2o)
{
	struct http_server *server = ((struct server_handler *)self)->server;
	struct http_request *request =
		h2o_mem_alloc_shared(&h2o->pool, sizeof(*request), request_dispose);
	struct fault why;

	*request = (struct http_request){ .server = server,
					  .connection = server_connection_of(h2o),
					  .h2o = h2o,
					  .began = loop_now(server->loop) };
	list_append(&server->requests, &request->member);
	list_init(&request->arrival);
	server->in_flight++;
	request->connection->requests++;
	request->connection->unanswered++;
	if (__builtin_expect(!request_acceptable(request, &why), 0)) {
		request_refuse_slow(request, &why);
		return 0;
	}
	if (h2o->version < 0x200) {
		request_hand_over(request);
		return 0;
	}
	request->connection->http2 = true;
	list_append(&server->arrivals, &request->arrival);
	loop_defer(server->loop, &server->arrive, server_arrive, server);
	return 0;
}

void server_requests_register(struct http_server *server, h2o_pathconf_t *path)
{
	struct server_handler *handler =
		(struct server_handler *)h2o_create_handler(path, sizeof(*handler));

	handler->super.on_req = server_on_request;
	handler->server = server;
}

static void server_arrive(void *context)
{
	struct http_server *server = context;
	struct list *member;

	while ((member = list_take(&server->arrivals)))
		request_hand_over(list_of(member, struct http_request, arrival));
}

/* --- the end of a request --------------------------------------------------------- */

void server_request_answered(struct http_request *request)
{
	check(!request->answered);
	request->answered = true;
	request->gone = NULL;
	list_remove(&request->member);
	list_remove(&request->arrival);
	request->server->in_flight--;
	request->connection->unanswered--;
	if (request->watching)
		request->connection->watched = NULL;
}

/* h2o is done with the request: it was answered, or the client has left. Its memory is
 * still whole; the socket may be about to be closed. */
static void request_dispose(void *memory)
{
	struct http_request *request = memory;
	struct server_connection *connection = request->connection;
	struct http_server *server = request->server;

	http_gone_fn *gone = request->gone;
	void *context = request->gone_context;

	loop_undefer(&request->send);
	if (request->stream)
		server_stream_finish(request->stream, &gone, &context);
	if (!request->answered) {
		bool inside = server->inside_gone;

		server_request_answered(request);
		server->inside_gone = true;
		if (gone)
			gone(context);
		server->inside_gone = inside;
	}
	if (request->watching)
		h2o_socket_dont_read(connection->socket, 0);
	if (--connection->requests == 0)
		server_connection_rest(connection);
	arena_finish(&request->arena);
}

void server_request_abandon(struct http_request *request, enum fault_kind kind,
			    const char *detail)
{
	struct fault why;

	if (request->stream) {
		server_stream_abandon(request);
		return;
	}
	fault_set(&why, kind, "%s", detail);
	if (request->gone)
		request->gone(request->gone_context);
	request->h2o->http1_is_persistent = 0;
	http_respond_fault(request, &why, SLICE(""), NULL, 0);
}

/* Bytes may be the next request, or how TLS says that the client leaves. Its end behind
 * them can be asked for, but wakes nobody. */
static bool client_has_left(const struct server_connection *connection)
{
	struct pollfd look = { .fd = h2o_socket_get_fd(connection->socket),
			       .events = POLLRDHUP };

	return poll(&look, 1, 0) > 0;
}

static void server_look(void *context);

static void server_look_soon(struct http_server *server)
{
	if (!list_empty(&server->blind) && !timer_started(&server->look))
		timer_start(server->loop, &server->look,
			    mono_after_ms(loop_now(server->loop), LOOK_MS), server_look,
			    server);
}

static void server_look(void *context)
{
	struct http_server *server = context;
	struct list *member, *next;

	for (member = server->blind.next; member != &server->blind; member = next) {
		struct server_connection *connection =
			list_of(member, struct server_connection, blind);

		next = member->next;
		if (!connection->watched) {
			list_remove(&connection->blind);
		} else if (client_has_left(connection)) {
			list_remove(&connection->blind);
			server_request_abandon(connection->watched, FAULT_cancelled,
					       "the client left");
		}
	}
	server_look_soon(server);
}

/* Something can be read, or the stream has ended. h2o must not read it: the buffer it
 * would read into holds the request. */
static void request_stirred(h2o_socket_t *socket, const char *err)
{
	struct server_connection *connection = socket->on_close.data;

	h2o_socket_read_stop(socket);
	if (!connection->watched) /* answered, and h2o has not finished yet */
		return;
	if (client_has_left(connection)) {
		server_request_abandon(connection->watched, FAULT_cancelled,
				       "the client left");
		return;
	}
	list_remove(&connection->blind);
	list_append(&connection->server->blind, &connection->blind);
	server_look_soon(connection->server);
}

/* --- refusals: cold --------------------------------------------------------------- */

/* "http://authority/path?query", which only proxies should send but every server takes.
 */
static bool request_target_slow(struct http_request *request, struct fault *why)
{
	struct slice rest = slice_of(request->h2o->path.base, request->h2o->path.len);
	struct slice scheme =
		request->connection->socket->ssl ? SLICE("https://") : SLICE("http://");
	const char *at;

	if (rest.size <= scheme.size ||
	    !slice_equal_nocase(slice_of(rest.at, scheme.size), scheme))
		return fault_set_status(why, FAULT_bad_input, 400,
					"the request target is not a path");
	rest = slice_of(rest.at + scheme.size, rest.size - scheme.size);
	at = memchr(rest.at, '/', rest.size);
	if (!at || at == rest.at)
		return fault_set_status(why, FAULT_bad_input, 400,
					"the request target has no path");
	request->authority = slice_of(rest.at, (size_t)(at - rest.at));
	rest = slice_of(at, rest.size - request->authority.size);
	at = memchr(rest.at, '?', rest.size);
	request->path = slice_of(rest.at, at ? (size_t)(at - rest.at) : rest.size);
	if (at)
		request->query = slice_of(at + 1, rest.size - request->path.size - 1);
	return true;
}

static void request_refuse_slow(struct http_request *request, const struct fault *why)
{
	const struct http_server_config *config = &request->server->config;
	struct http_header retry = { SLICE("retry-after"), SLICE("1") };
	char trace_id[33] = "";

	if (config->refused)
		config->refused(config->context, http_request_scheme(request),
				http_request_method(request), why, trace_id);
	http_respond_fault(request, why, slice_text(trace_id), &retry,
			   why->kind == FAULT_limit);
}

/* --- what a handler may ask ------------------------------------------------------- */

static struct slice slice_of_iovec(h2o_iovec_t bytes)
{
	return slice_of(bytes.base, bytes.len);
}

struct slice http_request_method(const struct http_request *request)
{
	return slice_of_iovec(request->h2o->input.method);
}

struct slice http_request_path(const struct http_request *request)
{
	return request->path;
}

struct slice http_request_query(const struct http_request *request)
{
	return request->query;
}

struct slice http_request_body(const struct http_request *request)
{
	return slice_of_iovec(request->h2o->entity);
}

struct slice http_request_authority(const struct http_request *request)
{
	return request->authority;
}

static void connection_ask_peer(struct server_connection *connection, h2o_conn_t *h2o)
{
	struct sockaddr_storage at;
	struct address address;
	unsigned port;

	if (h2o->callbacks->get_peername(h2o, (struct sockaddr *)&at) != 0 &&
	    address_of((const struct sockaddr *)&at, &address, &port))
		connection->peer_size = address_write(&address, connection->peer).size;
}

struct slice http_request_peer(struct http_request *request)
{
	struct server_connection *connection = request->connection;

	if (connection->peer_size == 0)
		connection_ask_peer(connection, request->h2o->conn);
	return slice_of(connection->peer, connection->peer_size);
}

const char *http_request_protocol(const struct http_request *request)
{
	if (request->h2o->version >= 0x200)
		return "2";
	return request->h2o->version == 0x100 ? "1.0" : "1.1";
}

struct slice http_request_scheme(const struct http_request *request)
{
	return request->connection->socket->ssl ? SLICE("https") : SLICE("http");
}

struct mono http_request_began(const struct http_request *request)
{
	return request->began;
}

struct slice http_request_header(const struct http_request *request, struct slice name)
{
	const h2o_headers_t *headers = &request->h2o->headers;
	ssize_t found = h2o_find_header_by_str(headers, name.at, name.size, -1);

	if (found >= 0)
		return slice_of_iovec(headers->entries[found].value);
	return slice_equal(name, SLICE("host")) ? request->authority : slice_of(NULL, 0);
}

/* Host, which h2o keeps elsewhere, comes last. */
size_t http_request_header_count(const struct http_request *request)
{
	return request->h2o->headers.size + (request->authority.size > 0);
}

struct http_header http_request_header_at(const struct http_request *request,
					  size_t index)
{
	const h2o_headers_t *headers = &request->h2o->headers;

	check(index < http_request_header_count(request));
	if (index == headers->size)
		return (struct http_header){ SLICE("host"), request->authority };
	return (struct http_header){ slice_of_iovec(*headers->entries[index].name),
				     slice_of_iovec(headers->entries[index].value) };
}

struct arena *http_request_arena(struct http_request *request)
{
	return &request->arena;
}

void http_request_on_gone(struct http_request *request, http_gone_fn *gone, void *context)
{
	request->gone = gone;
	request->gone_context = context;
}
