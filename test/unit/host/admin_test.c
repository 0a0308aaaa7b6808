/* SPDX-License-Identifier: MIT */
/* The host's endpoints without stores: what they say, and that they are counted. */
#include "host/admin.h"

#include "api/api.h"
#include "base/check.h"
#include "base/json.h"
#include "http/server.h"
#include "loop/loop.h"
#include "watch/log.h"
#include "watch/metrics.h"
#include "watch/trace.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* libh2o keeps free lists for each thread, and does not free its thread queues. */
const char *__lsan_default_suppressions(void);

const char *__lsan_default_suppressions(void)
{
	return "leak:h2o_mem_alloc_recycle\nleak:h2o_multithread_create_queue\n";
}

static struct metrics *metrics;
static struct log_hub *logs;
static struct observer observer;
static struct chaos chaos;
static struct api api;
static struct admin_shared shared;
static struct admin *admin;
static struct http_server *server;
static struct buf answer;

static void no_wake(void *context)
{
}

static void on_request(void *context, struct http_request *request)
{
	check(admin_serve(admin, request));
}

static void write_generation(void *context, struct json *json)
{
	json_key(json, SLICE("generation"));
	json_string(json, slice_text(context));
}

static void open_admin(struct admin_config config)
{
	struct tracer_config tracing = { .sampler = SAMPLER_always_off };
	struct http_server_config serving = { .host = SLICE("127.0.0.1"),
					      .body_size_max = 1024,
					      .requests_max = 8,
					      .connections_max = 8,
					      .idle_timeout_ms = 30000,
					      .request_timeout_ms = 30000,
					      .handler = on_request };
	struct fault why;

	signal(SIGPIPE, SIG_IGN);
	metrics = metrics_create();
	logs = log_hub_create(LOG_debug, no_wake, NULL);
	observer = (struct observer){ .log = log_create(logs, 1 << 16),
				      .meter = meter_create(metrics),
				      .tracer = tracer_create(&tracing, 7) };
	memset(&shared, 0, sizeof(shared));
	api = (struct api){ .loop = loop_create(&observer, &chaos), .metrics = metrics };
	config.api = &api;
	config.logs = logs;
	config.shared = &shared;
	admin = admin_create(&config);
	server = http_server_create(api.loop, &serving, false, &why);
	check(server);
}

static int open_plain(void **state)
{
	open_admin((struct admin_config){ 0 });
	return 0;
}

static int open_with_generation(void **state)
{
	open_admin((struct admin_config){ .write_generation = write_generation,
					  .generation_context = "the third" });
	return 0;
}

static int close_admin(void **state)
{
	http_server_destroy(server);
	admin_destroy(admin);
	loop_destroy(api.loop);
	tracer_destroy(observer.tracer);
	log_hub_destroy(logs);
	metrics_destroy(metrics);
	buf_finish(&answer);
	return 0;
}

static const char *ask(const char *path)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_port = htons((uint16_t)http_server_port(server)),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	char request[128];
	ssize_t got = -1;

	snprintf(request, sizeof(request),
		 "GET %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", path);
	check(connect(fd, (struct sockaddr *)&at, sizeof(at)) == 0);
	check(send(fd, request, strlen(request), 0) == (ssize_t)strlen(request));
	buf_reset(&answer);
	for (int turns = 0; turns < 500 && got != 0; turns++) {
		loop_turn(api.loop, 10);
		got = recv(fd, buf_reserve(&answer, 1 << 16), 1 << 16, MSG_DONTWAIT);
		answer.size += got > 0 ? (size_t)got : 0;
	}
	close(fd);
	return buf_text(&answer);
}

static void assert_says(const char *path, const char *part)
{
	if (!strstr(ask(path), part))
		fail_msg("'%s' is not in: %s", part, buf_text(&answer));
}

static void a_process_that_serves_says_so(void **state)
{
	assert_says("/health", "{\"status\":\"ok\"}");
	assert_says("/ready", "\r\n\r\n{\"status\":\"ready\",\"dependencies\":[]}");
	atomic_store(&shared.draining, true);
	assert_says("/ready", "HTTP/1.1 503 ");
	assert_says("/ready", "\"status\":\"draining\"");
}

static void readiness_tells_of_the_generation(void **state)
{
	assert_says("/ready", "\r\n\r\n{\"status\":\"ready\",\"dependencies\":[],"
			      "\"generation\":\"the third\"}");
	assert_says("/ready", "HTTP/1.1 200 OK");
}

static void its_requests_are_counted(void **state)
{
	ask("/health");
	ask("/health");
	assert_says("/metrics", "endpoint=\"/health\",status=\"200\"} 2\n");
	assert_says("/metrics", "endpoint=\"/metrics\",status=\"200\"} 1\n");
}

int main(void)
{
	const struct CMUnitTest claims[] = {
		cmocka_unit_test_setup_teardown(a_process_that_serves_says_so, open_plain,
						close_admin),
		cmocka_unit_test_setup_teardown(readiness_tells_of_the_generation,
						open_with_generation, close_admin),
		cmocka_unit_test_setup_teardown(its_requests_are_counted, open_plain,
						close_admin),
	};

	return cmocka_run_group_tests(claims, NULL, NULL);
}
