/* SPDX-License-Identifier: MIT */
/* native.http against a server on another thread that says what it got. */
#include "script_rig.h"

#include "http/client.h"
#include "loop/worker.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

static const struct rig_module modules[] = { { "native.http", api_open_http },
					     { "native.task", api_open_task },
					     { 0 } };

static struct rig rig;
static struct thread *server;
static int listener = -1, stop_pipe[2];
static char source[2048];

#define HTTP                                                                             \
	"local http, task = require 'native.http', require 'native.task' local base = "  \
	"'%s' "

/* --- the server ------------------------------------------------------------------- */

static void say(int fd, const char *text)
{
	assert_true(send(fd, text, strlen(text), MSG_NOSIGNAL) >= -1);
}

/* Waits for the other side to hang up, or for the end of the test. */
static void wait_for_end(int fd)
{
	struct pollfd polled[2] = { { .fd = fd, .events = POLLIN },
				    { .fd = stop_pipe[0], .events = POLLIN } };
	char byte;

	while (poll(polled, 2, -1) > 0 && !polled[1].revents && recv(fd, &byte, 1, 0) > 0)
		;
}

/* One request; the answer is chosen by its path. */
static void serve(int fd)
{
	char request[4096] = "", answer[8192];
	size_t size = 0;
	const char *body = NULL;

	while (!body || !strchr(body, '.')) {
		ssize_t got = recv(fd, request + size, sizeof(request) - 1 - size, 0);

		if (got <= 0)
			return;
		size += (size_t)got;
		request[size] = '\0';
		body = strstr(request, "\r\n\r\n");
		if (body && strncmp(request, "POST", 4) != 0)
			break;
	}
	if (strstr(request, " /hang "))
		wait_for_end(fd);
	else if (strstr(request, " /nonsense "))
		say(fd, "SSH-2.0-OpenSSH\r\n\r\n");
	else {
		snprintf(
			answer, sizeof(answer),
			"HTTP/1.1 201 Created\r\nContent-Length: %zu\r\nX-Answer: Yes\r\n"
			"Connection: close\r\n\r\n%s",
			size, request);
		say(fd, answer);
	}
}

static void run_server(void *context)
{
	struct pollfd polled[2] = { { .fd = listener, .events = POLLIN },
				    { .fd = stop_pipe[0], .events = POLLIN } };

	while (poll(polled, 2, -1) > 0 && !polled[1].revents) {
		int fd = accept(listener, NULL, NULL);

		serve(fd);
		close(fd);
	}
}

static char base[64];

static int open_rig(void **state)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(address);
	struct http_client_config config = { .connections_max = 4,
					     .idle_max = 4,
					     .idle_timeout_ms = 1000,
					     .connect_timeout_ms = 1000,
					     .waiting_max = 4,
					     .response_size_max = 1 << 20 };

	listener = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(listener, (struct sockaddr *)&address, size), 0);
	assert_int_equal(listen(listener, 8), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
	assert_int_equal(pipe(stop_pipe), 0);
	snprintf(base, sizeof(base), "http://127.0.0.1:%d", ntohs(address.sin_port));
	server = thread_start("server", run_server, NULL);
	rig_init(&rig);
	rig.api.http = http_client_create(rig.loop, &config);
	rig_open(&rig, 32 << 20, modules);
	return 0;
}

static int close_rig(void **state)
{
	http_client_destroy(rig.api.http);
	loop_turn(rig.loop, 0);
	rig_finish(&rig);
	assert_int_equal(write(stop_pipe[1], "x", 1), 1);
	thread_join(server);
	close(listener);
	close(stop_pipe[0]);
	close(stop_pipe[1]);
	return 0;
}

static const char *run(const char *text)
{
	snprintf(source, sizeof(source), HTTP "%s", base, text);
	return rig_run(&rig, source);
}

static void an_answer_is_a_table(void **state)
{
	assert_string_equal(
		run("local a = http.request{method = 'GET', url = base .. '/hello?x=1'} "
		    "return a.status, a.headers['x-answer'], a.body:match('^[^\\r]+')"),
		"201 Yes GET /hello?x=1 HTTP/1.1");
}

static void a_call_has_its_headers_and_body(void **state)
{
	struct trace_context parent;

	assert_true(trace_parse(
		SLICE("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
		SLICE(""), &parent));
	rig.trace = &parent;
	run("local a = http.request{method = 'POST', url = base .. '/orders', body = "
	    "'{\"a\":1}.', "
	    "headers = {['Content-Type'] = 'application/json', ['X-One'] = 'two'}} "
	    "return a.body");
	rig.trace = NULL;
	assert_contains(buf_text(&rig.result), "POST /orders HTTP/1.1\r\n");
	assert_non_null(strcasestr(buf_text(&rig.result),
				   "\r\ncontent-type: application/json\r\n"));
	assert_non_null(strcasestr(buf_text(&rig.result), "\r\nx-one: two\r\n"));
	assert_non_null(
		strcasestr(buf_text(&rig.result),
			   "\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-"));
	assert_contains(buf_text(&rig.result), "\r\n\r\n{\"a\":1}.");
}

#define EXPECTED "x-envoy-expected-rq-timeout-ms"

/* What the call says about how long it waits. */
static long expected_ms(const char *call)
{
	const char *at;

	snprintf(source, sizeof(source),
		 HTTP "return http.request{method = 'GET', url = base .. '/a', %s}.body",
		 base, call);
	at = strcasestr(rig_run(&rig, source), EXPECTED ": ");
	if (!at)
		fail_msg("nothing is said: %s", buf_text(&rig.result));
	assert_null(strcasestr(at + 1, EXPECTED));
	return strtol(at + strlen(EXPECTED ": "), NULL, 10);
}

static void a_call_says_how_long_it_waits(void **state)
{
	long said = expected_ms("timeout_s = 0.7");

	assert_true(said > 500 && said <= 701);
	said = expected_ms("timeout_s = 60"); /* the task has ten seconds */
	assert_true(said > 9000 && said <= 10000);
	said = expected_ms("body = nil"); /* three, when nothing is said */
	assert_true(said > 2500 && said <= 3000);
	assert_int_equal(
		expected_ms("headers = {['X-Envoy-Expected-Rq-Timeout-Ms'] = '7'}"), 7);
	run("local h = {} for i = 1, 64 do h['h' .. i] = 'x' end "
	    "return http.request{method = 'GET', url = base, headers = h}.body");
	assert_non_null(strcasestr(buf_text(&rig.result), EXPECTED));
}

static void a_timeout_is_a_why(void **state)
{
	assert_string_equal(
		run("local a, why = http.request{method = 'GET', url = base .. '/hang', "
		    "timeout_s = 0.05} return a, why.kind, why.sent"),
		"nil timeout true");
	assert_string_equal(
		run("local a, why = http.request{method = 'POST', url = base .. '/hang', "
		    "body = '.', timeout_s = 0.05} return a, why.kind, why.sent"),
		"nil uncertain true");
}

static void nonsense_is_broken(void **state)
{
	assert_string_equal(run("local a, why = http.request{method = 'GET', url = base "
				".. '/nonsense'} "
				"return a, why.kind, why.sent"),
			    "nil broken true");
}

static void nobody_there_is_unavailable(void **state)
{
	assert_string_equal(run("local a, why = http.request{method = 'POST', url = "
				"'http://127.0.0.1:1/', "
				"body = 'x'} return a, why.kind, why.sent"),
			    "nil unavailable false");
}

static void what_cannot_be_called_is_bad_input(void **state)
{
	assert_string_equal(
		run("local a, why = http.request{method = 'GET', url = 'ftp://x/'} "
		    "return a, why.kind, why.sent"),
		"nil bad_input false");
}

static void the_loop_goes_on_meanwhile(void **state)
{
	assert_string_equal(run("local function get() return http.request{method = "
				"'GET', url = base .. '/a'}.status "
				"end return task.all{get, get, get}"),
			    "201 201 201");
}

static void wrong_use_is_an_error(void **state)
{
	assert_contains(run("http.request{url = base}"), "'method' is a nil");
	assert_contains(run("http.request{method = 'GET'}"), "'url' is a nil");
	assert_contains(run("http.request{method = 'GET', url = base, body = {}}"),
			"'body' is a table");
	assert_contains(run("http.request{method = 'GET', url = base, headers = 'x'}"),
			"'headers' is not a table");
	assert_contains(run("http.request{method = 'GET', url = base, headers = {1}}"),
			"are texts");
	assert_contains(run("http.request{method = 'GET', url = base, timeout_s = 0}"),
			"'timeout_s'");
	assert_contains(run("http.request{method = 'GET', url = base, timeout_s = 0/0}"),
			"'timeout_s'");
	assert_contains(run("local h = {} for i = 1, 100 do h['h' .. i] = 'x' end "
			    "http.request{method = 'GET', url = base, headers = h}"),
			"more than 64 headers");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_answer_is_a_table),
		cmocka_unit_test(a_call_has_its_headers_and_body),
		cmocka_unit_test(a_call_says_how_long_it_waits),
		cmocka_unit_test(a_timeout_is_a_why),
		cmocka_unit_test(nonsense_is_broken),
		cmocka_unit_test(nobody_there_is_unavailable),
		cmocka_unit_test(what_cannot_be_called_is_bad_input),
		cmocka_unit_test(the_loop_goes_on_meanwhile),
		cmocka_unit_test(wrong_use_is_an_error),
	};

	return cmocka_run_group_tests(tests, open_rig, close_rig);
}
