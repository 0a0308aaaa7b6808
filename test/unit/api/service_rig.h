/* SPDX-License-Identifier: MIT */
/* service_rig.h -- a service served on a port, and a client that speaks raw bytes.
 *
 * All on one thread: whoever waits for the client's bytes turns the loop meanwhile.
 */
#ifndef TEST_API_SERVICE_RIG_H
#define TEST_API_SERVICE_RIG_H

#include "script_rig.h"

#include "api/handler.h"
#include "api/service.h"
#include "api/socket.h"
#include "api/socket_hub.h"
#include "http/server.h"
#include "watch/prometheus.h"

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define PATIENCE_TURNS 500 /* of 10 ms */

/* libh2o keeps free lists for each thread and forgets them when the thread ends; and it
 * does not free its thread queues. */
const char *__lsan_default_suppressions(void);

const char *__lsan_default_suppressions(void)
{
	return "leak:h2o_mem_alloc_recycle\nleak:h2o_multithread_create_queue\n";
}

struct service_rig {
	struct rig rig;
	struct service *service;
	struct socket_hub *hub;
	struct socket_server *sockets;
	struct handler *handler;
	struct http_server *server;
	struct buf log; /* lines, as far as they were drained */
	struct buf text;
};

struct service_rig_config {
	const char *source; /* of the service: plain Lua that returns the table */
	unsigned tasks_max;
	unsigned queue_max;
	int timeout_ms;
	bool production;
	bool admin_apart;
	bool admin; /* the port of operators */
};

static const struct rig_module service_rig_modules[] = {
	{ "native.fault", api_open_fault }, { "native.json", api_open_json },
	{ "native.log", api_open_log },	    { "native.task", api_open_task },
	{ "native.trace", api_open_trace }, { 0 },
};

/* Writes the source to a file and loads it. NULL with why when it is no service. */
static inline struct service *service_rig_load(struct vm *vm, const char *source,
					       struct fault *why)
{
	char path[] = "/tmp/service_XXXXXX.lua";
	int fd = mkstemps(path, 4);
	struct service *service;

	check(fd >= 0 && write(fd, source, strlen(source)) == (ssize_t)strlen(source));
	close(fd);
	service = service_load(vm, path, why);
	unlink(path);
	return service;
}

static inline void service_rig_serve(struct service_rig *rig,
				     const struct service_rig_config *config)
{
	struct handler_config handler = {
		.loop = rig->rig.loop,
		.vm = rig->rig.vm,
		.service = rig->service,
		.sockets = rig->sockets,
		.generation = 3,
		.tasks_max = config->tasks_max ? config->tasks_max : 64,
		.queue_max = config->queue_max,
		.task_timeout_ms = config->timeout_ms ? config->timeout_ms : 5000,
		.production = config->production,
		.admin_apart = config->admin_apart,
	};
	struct http_server_config server = {
		.host = SLICE("127.0.0.1"),
		.body_size_max = 1 << 16,
		.requests_max = 256,
		.connections_max = 64,
		.idle_timeout_ms = 30000,
		.request_timeout_ms = 30000,
		.handler = config->admin ? handler_serve_admin : handler_serve,
	};
	struct fault why;

	rig->handler = handler_create(&handler);
	server.context = rig->handler;
	rig->server = http_server_create(rig->rig.loop, &server, false, &why);
	check(rig->server);
}

static inline void service_rig_open(struct service_rig *rig,
				    const struct service_rig_config *config)
{
	struct socket_server_config sockets;
	struct fault why;

	signal(SIGPIPE, SIG_IGN);
	memset(rig, 0, sizeof(*rig));
	rig_init(&rig->rig);
	rig_open(&rig->rig, 8 << 20, service_rig_modules);
	rig->hub = socket_hub_create(rig->rig.loop);
	rig->service = service_rig_load(rig->rig.vm, config->source, &why);
	if (!rig->service)
		fail_msg("%s", why.detail);
	sockets = (struct socket_server_config){
		.loop = rig->rig.loop,
		.vm = rig->rig.vm,
		.hub = rig->hub,
		.task_timeout_ms = 5000,
		.message_size_max = 4096,
	};
	rig->sockets = socket_server_create(&sockets);
	service_rig_serve(rig, config);
}

/* Also with requests, sockets and tasks still under way: the order is the host's. */
static inline void service_rig_close(struct service_rig *rig)
{
	http_server_destroy(rig->server);
	vm_destroy(rig->rig.vm);
	rig->rig.vm = NULL;
	loop_destroy(rig->rig.loop);
	rig->rig.loop = NULL;
	socket_server_destroy(rig->sockets);
	handler_destroy(rig->handler);
	service_destroy(rig->service);
	socket_hub_destroy(rig->hub);
	rig_finish(&rig->rig);
	buf_finish(&rig->log);
	buf_finish(&rig->text);
}

/* --- the client ------------------------------------------------------------------- */

static inline int service_rig_connect(const struct service_rig *rig)
{
	struct sockaddr_in at = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)http_server_port(rig->server)),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	check(fd >= 0);
	check(connect(fd, (struct sockaddr *)&at, sizeof(at)) == 0);
	return fd;
}

static inline void service_rig_send(int fd, const char *text)
{
	check(send(fd, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text));
}

/* Whether what was received is a whole answer. One to HEAD never is: its connection is to
 * close. */
static inline bool service_rig_whole(struct buf *answer)
{
	const char *text = buf_text(answer);
	const char *end = strstr(text, "\r\n\r\n");
	const char *length = strstr(text, "Content-Length: ");

	if (!end)
		return false;
	if (!length || length > end)
		return true;
	return answer->size >= (size_t)(end + 4 - text) + (size_t)atol(length + 16);
}

/* The next answer on the connection; borrowed until the next call. */
static inline const char *service_rig_answer(struct service_rig *rig, int fd)
{
	buf_reset(&rig->text);
	for (int turns = 0; turns < PATIENCE_TURNS; turns++) {
		char *at = buf_reserve(&rig->text, 4096);
		ssize_t got = recv(fd, at, 4096, MSG_DONTWAIT);

		if (got > 0)
			rig->text.size += (size_t)got;
		if (got == 0 || (rig->text.size && service_rig_whole(&rig->text)))
			return buf_text(&rig->text);
		loop_turn(rig->rig.loop, 10);
	}
	fail_msg("no answer: %s", buf_text(&rig->text));
	return "";
}

/* A request on a connection of its own, and its answer. */
static inline const char *service_rig_ask(struct service_rig *rig, const char *request)
{
	int fd = service_rig_connect(rig);
	const char *answer;

	service_rig_send(fd, request);
	answer = service_rig_answer(rig, fd);
	close(fd);
	return answer;
}

static inline void service_rig_turn_until(struct service_rig *rig,
					  bool (*there)(struct service_rig *rig))
{
	for (int turns = 0; turns < PATIENCE_TURNS; turns++) {
		if (there(rig))
			return;
		loop_turn(rig->rig.loop, 10);
	}
	fail_msg("it did not come about");
}

/* --- what was told ---------------------------------------------------------------- */

static inline void service_rig_take_line(void *context, const struct log_record *record)
{
	log_format_json(context, record, SLICE("test"));
}

/* All log lines since the last call; borrowed until the next. */
static inline const char *service_rig_log(struct service_rig *rig)
{
	buf_reset(&rig->log);
	while (log_hub_drain(rig->rig.logs, 64, service_rig_take_line, &rig->log))
		;
	return buf_text(&rig->log);
}

static inline const char *service_rig_metrics(struct service_rig *rig)
{
	buf_reset(&rig->text);
	prometheus_write(&rig->text, rig->rig.metrics, PROMETHEUS_text,
			 PROMETHEUS_default);
	return buf_text(&rig->text);
}

#define assert_ask(rig, request, part)                                                   \
	assert_contains(service_rig_ask(rig, request), part)

#endif
