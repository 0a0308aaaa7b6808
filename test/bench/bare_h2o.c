/* SPDX-License-Identifier: MIT */
/* bare_h2o.c -- the anchor: libh2o and nothing else. One thread, one loop, one answer to
 * everything.
 *
 * usage: bare_h2o PORT. Also the collector that the benches export to: it accepts any
 * POST.
 */
#include <h2o.h>

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

static h2o_globalconf_t globals;
static h2o_context_t context;
static h2o_accept_ctx_t accepting;

static int answer(h2o_handler_t *handler, h2o_req_t *request)
{
	static const char body[] = "{\"message\":\"hello\",\"id\":42}";

	request->res.status = 200;
	request->res.reason = "OK";
	h2o_add_header(&request->pool, &request->res.headers, H2O_TOKEN_CONTENT_TYPE,
		       NULL, H2O_STRLIT("application/json"));
	h2o_send_inline(request, body, sizeof(body) - 1);
	return 0;
}

static void on_accept(h2o_socket_t *listener, const char *error)
{
	for (int i = 0; i < 16 && !error; i++) {
		h2o_socket_t *connection = h2o_evloop_socket_accept(listener);

		if (!connection)
			return;
		h2o_accept(&accepting, connection);
	}
}

static int listen_on(int port)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				       .sin_port = htons((uint16_t)port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
	    bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, 1024)) {
		perror("bare_h2o");
		exit(1);
	}
	return fd;
}

int main(int count, char **args)
{
	h2o_hostconf_t *host;
	h2o_handler_t *handler;
	h2o_socket_t *listener;

	if (count != 2)
		return 2;
	h2o_config_init(&globals);
	host = h2o_config_register_host(&globals, h2o_iovec_init(H2O_STRLIT("default")),
					65535);
	handler = h2o_create_handler(h2o_config_register_path(host, "/", 0),
				     sizeof(*handler));
	handler->on_req = answer;
	h2o_context_init(&context, h2o_evloop_create(), &globals);
	accepting.ctx = &context;
	accepting.hosts = globals.hosts;
	listener = h2o_evloop_socket_create(context.loop, listen_on(atoi(args[1])),
					    H2O_SOCKET_FLAG_DONT_READ);
	h2o_socket_read_start(listener, on_accept);
	for (;;)
		if (h2o_evloop_run(context.loop, INT32_MAX) != 0 && errno != EINTR)
			return 1;
}
