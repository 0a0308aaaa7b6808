/* SPDX-License-Identifier: MIT */
/* server.c -- the listening socket and the life of a server. */
#include "http/server.h"
#include "base/check.h"
#include "http/address_set.h"
#include "http/server_inside.h"
#include "http/server_tls.h"

#include <h2o.h>

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ACCEPTS_PER_WAKE 16
#define ACCEPT_AGAIN_MS 100
#define STREAMS_MAX 100
#define SWEEP_DRAINING_MS 100
#define TLS_RECEIVE_SIZE 65536 /* the kernel makes it twice as much */

struct server_h2o {
	h2o_globalconf_t config;
	h2o_context_t context;
	h2o_accept_ctx_t accept;
};

/* --- the listening socket --------------------------------------------------------- */

static int socket_bound(const struct addrinfo *at, bool shared)
{
	int fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int on = 1;

	if (fd < 0)
		return -1;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
	    (!shared || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) == 0) &&
	    bind(fd, at->ai_addr, at->ai_addrlen) == 0)
		return fd;
	close(fd);
	return -1;
}

static int socket_listening(const struct addrinfo *at, bool exclusive)
{
	int fd;

	if (exclusive) {
		fd = socket_bound(at, false);
		if (fd < 0)
			return -1;
		close(fd);
	}
	fd = socket_bound(at, true);
	if (fd < 0 || listen(fd, SOMAXCONN) == 0)
		return fd;
	close(fd);
	return -1;
}

static unsigned socket_port(int fd)
{
	struct sockaddr_storage at;
	socklen_t size = sizeof(at);

	check(getsockname(fd, (struct sockaddr *)&at, &size) == 0);
	if (at.ss_family == AF_INET6)
		return ntohs(((struct sockaddr_in6 *)&at)->sin6_port);
	return ntohs(((struct sockaddr_in *)&at)->sin_port);
}

static bool server_wants_tls(const struct http_server_config *config)
{
	return (config->tls_certificate && *config->tls_certificate) ||
	       (config->tls_key && *config->tls_key);
}

static int server_listen(const struct http_server_config *config, bool exclusive,
			 struct fault *why)
{
	const struct addrinfo hints = { .ai_flags = AI_PASSIVE,
					.ai_socktype = SOCK_STREAM };
	const int small = TLS_RECEIVE_SIZE;
	struct addrinfo *found;
	char host[256], port[16];
	int fd, failure;

	snprintf(host, sizeof(host), "%.*s", SLICE_PRINT(config->host));
	snprintf(port, sizeof(port), "%u", config->port);
	failure = getaddrinfo(host[0] ? host : NULL, port, &hints, &found);
	if (failure) {
		fault_set(why, FAULT_unavailable, "cannot listen on '%s': %s", host,
			  gai_strerror(failure));
		return -1;
	}
	fd = socket_listening(found, exclusive && config->port);
	if (fd >= 0 && server_wants_tls(config))
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	if (fd < 0 && errno == EADDRINUSE)
		fault_set(why, FAULT_unavailable, "port %s of %s is taken", port, host);
	else if (fd < 0)
		fault_set(why, FAULT_unavailable, "cannot listen on %s port %s: %s", host,
			  port, strerror(errno));
	freeaddrinfo(found);
	return fd;
}

static void server_accept_stop(struct http_server *server)
{
	server->accepting = false;
	h2o_socket_read_stop(server->listener);
}

static void server_accept_again(void *context)
{
	server_accept_start(context);
}

static void server_on_accept(h2o_socket_t *listener, const char *err)
{
	struct http_server *server = listener->data;

	for (int i = 0; i < ACCEPTS_PER_WAKE; i++) {
		h2o_socket_t *socket;

		if (server->connection_count >= server->config.connections_max) {
			if (i > 0)
				return; /* whether somebody waits is not known */
			server_accept_stop(server);
			server_connections_make_room(server, 1);
			return;
		}
		socket = h2o_evloop_socket_accept(listener);
		if (socket) {
			server_connection_begin(server, socket);
			continue;
		}
		if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
			return;
		/* No descriptor or memory: the listener stays readable, so look away a
		 * while. */
		server_accept_stop(server);
		server_connections_make_room(server, ACCEPTS_PER_WAKE);
		timer_start(server->loop, &server->accept_again,
			    mono_after_ms(loop_now(server->loop), ACCEPT_AGAIN_MS),
			    server_accept_again, server);
		return;
	}
}

void server_accept_start(struct http_server *server)
{
	if (server->accepting || !server->listener)
		return;
	timer_stop(server->loop, &server->accept_again);
	server->accepting = true;
	h2o_socket_read_start(server->listener, server_on_accept);
}

/* --- life ------------------------------------------------------------------------- */

static struct server_h2o *server_h2o_create(struct http_server *server)
{
	struct server_h2o *h2o = mem_zeroed(1, sizeof(*h2o));
	h2o_globalconf_t *config = &h2o->config;
	uint64_t idle_ms = (uint64_t)server->config.idle_timeout_ms;
	uint64_t request_ms = (uint64_t)server->config.request_timeout_ms;
	h2o_hostconf_t *host;

	h2o_config_init(config);
	config->server_name = h2o_iovec_init(H2O_STRLIT("orrery"));
	/* One more than allowed: h2o counts differently by length and by chunks. */
	config->max_request_entity_size = server->config.body_size_max + 1;
	/* h2o's one timer runs from the end of an answer to the end of the next request;
	 * the sweep tells the two waits apart. */
	config->http1.req_timeout = idle_ms + request_ms + 2000;
	config->http1.upgrade_to_http2 = server->config.http2;
	config->handshake_timeout = request_ms;
	config->http2.idle_timeout = idle_ms;
	config->http2.graceful_shutdown_timeout = 0;
	config->http2.max_concurrent_requests_per_connection = STREAMS_MAX;
	host = h2o_config_register_host(config, h2o_iovec_init(H2O_STRLIT("default")),
					65535);
	host->fallback_path.error_log.emit_request_errors = 0;
	server_requests_register(server, &host->fallback_path);
	server_refusal_register(server, &host->fallback_path);
	h2o_context_init(&h2o->context, loop_h2o(server->loop), config);
	h2o->accept.ctx = &h2o->context;
	h2o->accept.hosts = config->hosts;
	h2o->accept.ssl_ctx = server->tls;
	return h2o;
}

static void server_h2o_destroy(struct server_h2o *h2o)
{
	/* What a drain has left in a timeout, which h2o insists on disposing empty. */
	h2o_timeout_unlink(&h2o->context.http2._graceful_shutdown_timeout);
	h2o_context_dispose(&h2o->context);
	h2o_config_dispose(&h2o->config);
	free(h2o);
}

void server_speak(struct http_server *server, h2o_socket_t *socket)
{
	h2o_accept(&server->h2o->accept, socket);
}

struct http_server *http_server_create(struct loop *loop,
				       const struct http_server_config *config,
				       bool exclusive, struct fault *why)
{
	struct http_server *server;
	struct address_set *trusted = NULL;
	struct ssl_ctx_st *tls = NULL;
	int fd;

	if (config->trusted_proxies.size &&
	    !(trusted = address_set_create(config->trusted_proxies, why)))
		return NULL;
	if (server_wants_tls(config) &&
	    !(tls = server_tls_create(config->tls_certificate, config->tls_key,
				      config->http2, why)))
		goto fail;
	fd = server_listen(config, exclusive, why);
	if (fd < 0)
		goto fail;
	server = mem_zeroed(1, sizeof(*server));
	server->loop = loop;
	server->config = *config;
	server->config.host = SLICE("");
	server->config.trusted_proxies = SLICE("");
	server->config.tls_certificate = server->config.tls_key = NULL;
	server->trusted = trusted;
	server->tls = tls;
	server->port = socket_port(fd);
	list_init(&server->connections);
	list_init(&server->requests);
	list_init(&server->arrivals);
	list_init(&server->lingers);
	list_init(&server->upgrades);
	list_init(&server->blind);
	server->h2o = server_h2o_create(server);
	server->listener =
		h2o_evloop_socket_create(loop_h2o(loop), fd, H2O_SOCKET_FLAG_DONT_READ);
	server->listener->data = server;
	server_accept_start(server);
	return server;
fail:
	server_tls_destroy(tls);
	address_set_destroy(trusted);
	return NULL;
}

unsigned http_server_port(const struct http_server *server)
{
	return server->port;
}

unsigned http_server_in_flight(const struct http_server *server)
{
	return server->in_flight;
}

unsigned http_server_connections(const struct http_server *server)
{
	return server->connection_count;
}

static void server_unlisten(struct http_server *server)
{
	timer_stop(server->loop, &server->accept_again);
	if (server->listener)
		h2o_socket_close(server->listener);
	server->listener = NULL;
	server->accepting = false;
}

static void server_sweep_draining(void *context)
{
	struct http_server *server = context;

	server_connections_sweep(server);
	if (server->connection_count)
		timer_start(server->loop, &server->sweep,
			    mono_after_ms(loop_now(server->loop), SWEEP_DRAINING_MS),
			    server_sweep_draining, server);
}

/* h2o tells the connections that it has, twice within a second, and then forgets that it
 * was asked to. */
void server_go_away(struct http_server *server)
{
	h2o_context_t *context = &server->h2o->context;

	if (h2o_timeout_is_linked(&context->http2._graceful_shutdown_timeout))
		return;
	context->http2._graceful_shutdown_timeout.cb = NULL;
	h2o_context_request_shutdown(context);
}

void http_server_quiesce(struct http_server *server)
{
	server->quiesced = true;
	server_go_away(server);
}

/* Those whose connection the kernel has made, and who would see it reset when the
 * listener closes. */
static void server_accept_rest(struct http_server *server)
{
	while (server->connection_count < server->config.connections_max) {
		h2o_socket_t *socket = h2o_evloop_socket_accept(server->listener);

		if (socket)
			server_connection_begin(server, socket);
		else if (errno != EINTR && errno != ECONNABORTED)
			return;
	}
}

void http_server_drain(struct http_server *server)
{
	if (server->draining)
		return;
	server->quiesced = server->draining = true;
	server->drained = loop_now(server->loop);
	server_accept_rest(server);
	server_unlisten(server);
	server_go_away(server);
	server_sweep_draining(server);
}

/* Each connection has been shut down, and h2o closes it when it hears of it: at once, or
 * when the write it has under way fails. */
static void server_settle(struct http_server *server)
{
	for (int turns = 0; server->connection_count && turns < 1000; turns++)
		h2o_evloop_run(loop_h2o(server->loop), 1);
	check(server->connection_count == 0);
}

void http_server_destroy(struct http_server *server)
{
	struct list *member, *next;

	if (!server)
		return;
	server_unlisten(server);
	while (!list_empty(&server->requests))
		server_request_abandon(
			list_of(server->requests.next, struct http_request, member),
			FAULT_unavailable, "the server is shutting down");
	server_upgrades_end(server);
	for (member = server->connections.next; member != &server->connections;
	     member = next) {
		next = member->next;
		server_streams_settle(list_of(member, struct server_connection, member));
	}
	for (member = server->connections.next; member != &server->connections;
	     member = member->next)
		server_connection_cut(list_of(member, struct server_connection, member));
	server_settle(server);
	server_lingers_end(server);
	timer_stop(server->loop, &server->sweep);
	timer_stop(server->loop, &server->look);
	loop_undefer(&server->arrive);
	server_h2o_destroy(server->h2o);
	address_set_destroy(server->trusted);
	server_tls_destroy(server->tls);
	free(server);
}
