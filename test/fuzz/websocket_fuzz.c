/* SPDX-License-Identifier: MIT */
/* websocket_fuzz.c -- any bytes after a handshake, or in place of one.
 *
 * A whole server in the process, reached over loopback. The first byte of the input: bit
 * 0, the bytes are a request of their own; the rest, in pieces of how many bytes they are
 * sent. The client closes its half in the end; the server must then be without
 * connections, and every websocket closed once.
 *
 *     clang -g -fsanitize=fuzzer,address,undefined -D_GNU_SOURCE -DH2O_USE_LIBUV=0 \
 *         -Icore -o websocket_fuzz test/fuzz/websocket_fuzz.c core/http/re*.c \
 *         core/http/server*.c core/http/websocket.c core/loop/[a-z]*.c \
 *         core/watch/[a-z]*.c core/base/[a-z]*.c \
 *         -lh2o-evloop -lwslay -lssl -lcrypto -lz -lm -lpthread
 *     ./websocket_fuzz -detect_leaks=0 -max_len=512 -max_total_time=60
 */
#include "base/check.h"
#include "http/request.h"
#include "http/server.h"
#include "http/websocket.h"
#include "loop/loop.h"

#include <arpa/inet.h>
#include <signal.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#define HANDSHAKE                                                                        \
	"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"   \
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: "         \
	"13\r\n\r\n"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct {
	struct observer observer;
	struct chaos chaos;
	struct loop *loop;
	struct http_server *server;
	struct websocket *websocket;
} site;

static void on_message(void *context, struct slice text)
{
	if (slice_equal(text, SLICE("bye")))
		websocket_close(site.websocket, 4000, text);
	else
		websocket_send(site.websocket, text);
}

static void on_closed(void *context, int code)
{
	check(site.websocket);
	check(code >= 1000);
	site.websocket = NULL;
}

static void serve(void *context, struct http_request *request)
{
	static const struct websocket_handler handler = { on_message, on_closed };
	static const struct websocket_config config = { 4096, 16384, 0 };

	if (!websocket_asked(request)) {
		for (size_t i = 0; i < http_request_header_count(request); i++)
			check(http_request_header_at(request, i).name.at);
		check(http_request_path(request).at[0] == '/');
		http_respond(request, 200, NULL, 0, http_request_body(request));
		return;
	}
	check(!site.websocket);
	site.websocket = websocket_accept(request, site.loop, &config, &handler, NULL);
	check(site.websocket);
}

static void begin(void)
{
	struct http_server_config config = {
		.host = SLICE("127.0.0.1"),
		.body_size_max = 4096,
		.requests_max = 16,
		.connections_max = 16,
		.http2 = true,
		.idle_timeout_ms = 60000,
		.request_timeout_ms = 60000,
		.handler = serve,
	};
	struct fault why;

	signal(SIGPIPE, SIG_IGN);
	site.loop = loop_create(&site.observer, &site.chaos);
	site.server = http_server_create(site.loop, &config, false, &why);
	check(site.server);
}

static int client_connect(void)
{
	struct sockaddr_in at = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)http_server_port(site.server)),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	check(fd >= 0);
	connect(fd, (struct sockaddr *)&at, sizeof(at));
	while (http_server_connections(site.server) == 0)
		loop_turn(site.loop, 10);
	return fd;
}

static void client_send(int fd, const void *bytes, size_t size)
{
	char waste[65536];

	send(fd, bytes, size, MSG_NOSIGNAL);
	loop_turn(site.loop, 0);
	while (recv(fd, waste, sizeof(waste), 0) > 0)
		;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct linger reset = { .l_onoff = 1 }; /* leaves no port behind */
	size_t piece;
	int fd;

	if (!site.server)
		begin();
	if (size == 0)
		return 0;
	piece = data[0] >> 1 ? data[0] >> 1 : size;
	fd = client_connect();
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	if (!(data[0] & 1))
		client_send(fd, HANDSHAKE, sizeof(HANDSHAKE) - 1);
	for (size_t at = 1; at < size; at += piece)
		client_send(fd, data + at, size - at < piece ? size - at : piece);
	shutdown(fd, SHUT_WR);
	loop_turn(site.loop, 0);
	close(fd);
	for (int turns = 0; http_server_connections(site.server); turns++) {
		check(turns < 1000);
		loop_turn(site.loop, 10);
	}
	check(!site.websocket);
	check(http_server_in_flight(site.server) == 0);
	return 0;
}
