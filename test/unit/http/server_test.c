/* SPDX-License-Identifier: MIT */
#include "http/server_framing.h"
#include "http2_frames.h"
#include "site_service.h"

#define POST_ "POST / HTTP/1.1\r\nHost: a\r\n"
#define GET_HOLD "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n"

/* --- refusals --------------------------------------------------------------------- */

static void ambiguous_framing_is_refused_and_the_connection_closed(void **state)
{
	static const char *const requests[] = {
		POST_ "Content-Length: 4\r\nTransfer-Encoding: "
		      "chunked\r\n\r\n0\r\n\r\n" GET_HOLD,
		POST_ "Content-Length: 1\r\nContent-Length: 1\r\n\r\nx",
		POST_ "Content-Length: 0\r\ncontent-length: 9\r\n\r\n",
		"GET / HTTP/1.1\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\n Content-Length: 3\r\n\r\n",
		"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	};
	struct service service;

	service_open(&service, NULL);
	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		int fd = client_connect(&service.site);
		char *answer;

		service.refused = 0;
		assert_true(client_send(fd, requests[i]));
		answer = client_read_all(fd);
		if (!answer_has(answer, "HTTP/1.1 400 Bad Request\r\n"))
			fail_msg("%s: %s", requests[i], answer);
		assert_true(answer_has(answer, "Connection: close\r\n"));
		/* the parser itself refuses some, in plain text */
		assert_true(service.refused == 400 ||
			    answer_has(answer, "\r\n\r\nBad Request"));
		free(answer);
		close(fd);
	}
	assert_int_equal(service.served, 0);
	service_close(&service);
}

static void framing_is_judged_by_whole_header_names_only(void **state)
{
	static const struct {
		const char *head;
		unsigned minor;
		bool good;
	} cases[] = {
		{ "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 1, true },
		{ "GET / HTTP/1.1\nHost: a\r\n\r\n", 1, false },
		{ "GET / HTTP/1.1\r\nHost: a\n\r\n", 1, false },
		{ "GET / HTTP/1.1\r\nHost: a\r\nX: 1\n\r\n", 1, false },
		{ "GET / HTTP/1.1\r\nHost: a\r\n\n", 1, false },
		{ "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 1, true },
		{ "GET / HTTP/1.0\r\n\r\n", 0, true },
		{ "GET / HTTP/1.1\r\nhost: a\r\nhosting: b\r\nhost-x: c\r\n\r\n", 1,
		  true },
		{ "GET / HTTP/1.1\r\nHost: a\r\n\r\nHost: b\r\n", 1, true },
		{ "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length-X: "
		  "2\r\n\r\n",
		  1, true },
		{ "GET / HTTP/1.1\r\nHost: a\r\nContent-Length : 1\r\n\r\n", 1, false },
		{ "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\t: chunked\r\n\r\n", 1,
		  false },
		{ "GET / HTTP/1.1\r\nHost: a\r\nTRANSFER-ENCODING: chunked\r\n\r\n", 1,
		  true },
		{ "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
		  "Transfer-Encoding: x\r\n\r\n",
		  1, false },
		{ "GET / HTTP/1.1\r\n\r\n", 1, false },
		{ "", 1, false },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fault why = { 0 };
		bool good = server_framing_check(slice_text(cases[i].head),
						 cases[i].minor, &why);

		if (good != cases[i].good)
			fail_msg("%s: %s", cases[i].head, why.detail);
		assert_true(good || (why.kind == FAULT_bad_input && why.status == 400));
	}
}

static void a_body_above_the_limit_is_refused_with_a_problem_document(void **state)
{
	static const char problem[] =
		"\"kind\":\"bad_input\",\"detail\":\"the body is above 4096 bytes\"";
	struct service service;
	struct buf request = { 0 };

	service_open(&service, NULL);
	assert_answers(&service,
		       "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n"
		       "Expect: 100-continue\r\n\r\n",
		       "HTTP/1.1 413 ", "application/problem+json", problem);
	assert_int_equal(service.refused, 413);
	for (int size = 4096; size <= 4097; size++) {
		for (int chunked = 0; chunked < 2; chunked++) {
			buf_reset(&request);
			buf_printf(&request, "POST / HTTP/1.1\r\nHost: a\r\n");
			if (chunked)
				buf_printf(&request,
					   "Transfer-Encoding: chunked\r\n\r\n%x\r\n",
					   size);
			else
				buf_printf(&request, "Content-Length: %d\r\n\r\n", size);
			memset(buf_reserve(&request, (size_t)size), 'x', (size_t)size);
			request.size += (size_t)size;
			if (chunked)
				buf_printf(&request, "\r\n0\r\n\r\n");
			if (size > 4096)
				assert_answers(&service, buf_text(&request),
					       "HTTP/1.1 413 ", problem);
			else
				assert_answers(&service, buf_text(&request),
					       "HTTP/1.1 200 OK");
		}
	}
	buf_finish(&request);
	service_close(&service);
}

static void a_client_that_sends_on_still_reads_why_it_was_refused(void **state)
{
	struct service service;
	struct slice part = { memset(mem_zeroed(1, 1 << 16), 'x', 1 << 16), 1 << 16 };

	service_open(&service, NULL);
	for (int tries = 0; tries < 5; tries++) {
		int fd = client_connect(&service.site);
		char *answer;

		assert_true(client_send(fd, "POST / HTTP/1.1\r\nHost: a\r\n"
					    "Content-Length: 8388608\r\n\r\n"));
		for (int sent = 0; sent < 8388608; sent += (int)part.size)
			assert_true(client_send_bytes(fd, part));
		answer = client_read_all(fd);
		assert_true(answer_has(answer, "HTTP/1.1 413 "));
		free(answer);
		close(fd);
	}
	free((void *)part.at);
	service_close(&service);
}

static void what_is_no_http_is_refused_and_harms_nobody(void **state)
{
	struct service service;
	static const char *const requests[] = {
		"\x16\x03\x01\x02\x01\x01\r\n\r\n",
		"GET / HTTP/9.9\r\n\r\n",
		"GET /\r\n\r\n",
		POST_ "Content-Length: abc\r\n\r\n",
		POST_ "Content-Length: -1\r\n\r\n",
		POST_ "Transfer-Encoding: gzip\r\n\r\n",
		POST_ "Transfer-Encoding: chunked\r\n\r\nzz\r\n",
		POST_ "Expect: miracles\r\nContent-Length: 1\r\n\r\nx",
		"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET relative HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET http:// HTTP/1.1\r\nHost: a\r\n\r\n",
	};

	service_open(&service, NULL);
	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		int fd = client_connect(&service.site);
		char *answer;

		assert_true(client_send(fd, requests[i]));
		answer = client_read_answer(fd, false);
		if (!answer_has(answer, "HTTP/1.1 4"))
			fail_msg("%s: %s", requests[i], answer ? answer : "(nothing)");
		free(answer);
		close(fd);
	}
	assert_int_equal(service.served, 0);
	assert_answers(&service, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "hello");
	service_close(&service);
}

static void beyond_the_cap_requests_are_told_to_come_again(void **state)
{
	struct http_server_config config = site_config(NULL, NULL);
	struct service service;
	int fds[3];
	char *answer;

	config.requests_max = 2;
	service_open(&service, &config);
	for (int i = 0; i < 3; i++)
		fds[i] = client_connect(&service.site);
	for (int i = 0; i < 2; i++)
		assert_true(client_send(fds[i], "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n"));
	assert_true(site_reaches(&service.site, 2, 3));
	for (int i = 0; i < 2; i++) {
		assert_true(client_send(fds[2], "GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
		answer = client_read_answer(fds[2], false);
		assert_true(answer_has(answer, "HTTP/1.1 503 Service Unavailable\r\n"));
		assert_true(answer_has(answer, "retry-after: 1\r\n"));
		assert_true(answer_has(answer, "\"kind\":\"limit\""));
		assert_true(answer_has(answer, "Connection: keep-alive\r\n"));
		free(answer);
	}
	site_do(&service.site, release, &service);
	assert_true(client_send(fds[2], "GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
	answer = client_read_answer(fds[2], false);
	assert_true(answer_has(answer, "hello"));
	free(answer);
	for (int i = 0; i < 3; i++)
		close(fds[i]);
	service_close(&service);
}

/* --- time and room ---------------------------------------------------------------- */

static void idle_and_slow_connections_are_closed_in_their_time(void **state)
{
	struct http_server_config config = site_config(NULL, NULL);
	struct service service;
	int idle, slow, patient;
	char *answer;

	config.idle_timeout_ms = 50;
	config.request_timeout_ms = 1500;
	service_open(&service, &config);
	idle = client_connect(&service.site);
	slow = client_connect(&service.site);
	patient = client_connect(&service.site);
	assert_true(client_send(slow, "GET / HTTP/1.1\r\nHo"));
	assert_true(client_send(patient, "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n"));
	answer = client_read_all(idle);
	assert_string_equal(answer, "");
	free(answer);
	assert_true(site_reaches(&service.site, 1, 2));
	answer = client_read_all(slow);
	assert_string_equal(answer, "");
	free(answer);
	assert_true(site_reaches(&service.site, 1, 1));
	site_do(&service.site, release, &service);
	answer = client_read_answer(patient, false);
	assert_true(answer_has(answer, "later"));
	free(answer);
	close(idle);
	close(slow);
	close(patient);
	service_close(&service);
}

static void beyond_the_cap_connections_wait_to_be_accepted(void **state)
{
	struct http_server_config config = site_config(NULL, NULL);
	struct service service;
	int first, second;
	char *answer;

	config.connections_max = 1;
	service_open(&service, &config);
	first = client_connect(&service.site);
	assert_true(site_reaches(&service.site, 0, 1));
	second = client_connect(&service.site);
	assert_true(client_send(second, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
	poll(NULL, 0, 20);
	assert_int_equal(service.served, 0);
	close(first);
	answer = client_read_answer(second, false);
	assert_true(answer_has(answer, "hello"));
	free(answer);
	close(second);
	service_close(&service);
}

static void a_taken_port_is_a_clear_error(void **state)
{
	struct service service;
	struct http_server_config config = site_config(serve, NULL);
	struct fault why;
	struct loop *loop;
	struct http_server *second;

	service_open(&service, NULL);
	loop = loop_create(&service.site.observer, &service.site.chaos);
	config.port = http_server_port(service.site.server);
	assert_null(http_server_create(loop, &config, true, &why));
	assert_int_equal(why.kind, FAULT_unavailable);
	assert_non_null(strstr(why.detail, "is taken"));
	second = http_server_create(loop, &config, false,
				    &why); /* another worker of ours */
	assert_non_null(second);
	http_server_destroy(second);
	config.host = SLICE("no.such.host.invalid");
	assert_null(http_server_create(loop, &config, false, &why));
	loop_destroy(loop);
	service_close(&service);
}

/* --- the end ---------------------------------------------------------------------- */

static void drain(void *context)
{
	http_server_drain(context);
	http_server_drain(context);
}

static void draining_ends_idle_connections_and_finishes_the_others(void **state)
{
	struct service service;
	int idle, busy, half;
	char *answer;

	service_open(&service, NULL);
	idle = client_connect(&service.site);
	busy = client_connect(&service.site);
	half = client_connect(&service.site);
	assert_true(client_send(busy, "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n"));
	assert_true(client_send(half, "GET / HTTP/1.1\r\n"));
	assert_true(site_reaches(&service.site, 1, 3));
	poll(NULL, 0, 20); /* the half request may still be on its way */
	site_do(&service.site, drain, service.site.server);
	answer = client_read_all(idle);
	assert_string_equal(answer, "");
	free(answer);
	assert_true(client_send(half, "Host: a\r\n\r\n"));
	answer = client_read_all(half);
	assert_true(answer_has(answer, "Connection: close\r\n") &&
		    answer_has(answer, "hello"));
	free(answer);
	site_do(&service.site, release, &service);
	answer = client_read_all(busy);
	assert_true(answer_has(answer, "Connection: close\r\n") &&
		    answer_has(answer, "later"));
	free(answer);
	assert_true(site_reaches(&service.site, 0, 0));
	close(idle);
	close(busy);
	close(half);
	service_close(&service);
}

static void a_server_dies_cleanly_with_everything_open(void **state)
{
	struct service service;
	int fds[5];
	char *answer;

	service_open(&service, NULL);
	for (int i = 0; i < 5; i++)
		fds[i] = client_connect(&service.site);
	assert_true(client_send(fds[1], "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n"));
	assert_true(client_send(fds[2], "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n"
					"GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
	assert_true(client_send(
		fds[3], "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx"));
	assert_true(client_send(fds[4], "GET /large HTTP/1.1\r\nHost: a\r\n\r\n"));
	assert_true(site_reaches(&service.site, 2, 5));
	poll(NULL, 0, 20);
	service_close(&service);
	assert_int_equal(service.gone, 2);
	answer = client_read_all(fds[1]);
	assert_true(answer_has(answer, "HTTP/1.1 503 "));
	free(answer);
	for (int i = 0; i < 5; i++)
		close(fds[i]);
}

/* --- HTTP/2, with a client nobody here wrote -------------------------------------- */

static char *run(const char *format, ...) __attribute__((format(printf, 1, 2)));

static char *run(const char *format, ...)
{
	char command[1024], *output = mem_zeroed(1, 1 << 16);
	va_list args;
	FILE *pipe;

	va_start(args, format);
	vsnprintf(command, sizeof(command), format, args);
	va_end(args);
	pipe = popen(command, "r");
	assert_non_null(pipe);
	output[fread(output, 1, (1 << 16) - 1, pipe)] = 0;
	pclose(pipe);
	return output;
}

static bool curl_is_missing(void)
{
	return system("curl --http2-prior-knowledge --version >/dev/null 2>&1") != 0;
}

static void http2_by_prior_knowledge_is_served(void **state)
{
	struct service service;
	unsigned port;
	char *output;

	if (curl_is_missing())
		skip();
	service_open(&service, NULL);
	port = http_server_port(service.site.server);
	output = run("for path in tell?q=1 later refuse odd; do curl -si -m 5 -d body "
		     "--http2-prior-knowledge http://127.0.0.1:%u/$path; done",
		     port);
	assert_true(answer_has(output, "HTTP/2 200"));
	assert_true(answer_has(output, "server: orrery"));
	assert_true(answer_has(output, "POST /tell ?q=1 HTTP/2 host=127.0.0.1:"));
	assert_true(answer_has(output, "body=body\n"));
	assert_true(answer_has(output, "later"));
	assert_true(answer_has(output, "HTTP/2 409"));
	assert_true(answer_has(output, "content-type: text/x-odd"));
	free(output);
	output = run("curl -sI --http2-prior-knowledge -m 5 http://127.0.0.1:%u/", port);
	assert_true(answer_has(output, "content-length: 5"));
	free(output);
	output = run(
		"curl -s --http2-prior-knowledge -m 20 http://127.0.0.1:%u/large | wc -c",
		port);
	assert_int_equal(atol(output), 8 << 20);
	free(output);
	output = run("head -c 5000 /dev/zero | curl -si --http2-prior-knowledge -m 5 "
		     "--data-binary @- http://127.0.0.1:%u/ 2>&1; echo exit $?",
		     port);
	assert_true(answer_has(output, "HTTP/2 413") || !answer_has(output, "exit 0"));
	free(output);
	assert_answers(&service, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "hello");
	service_close(&service);
}

static void streams_of_one_connection_are_served_side_by_side(void **state)
{
	enum { STREAMS = 60 };
	struct service service;
	struct buf out = { 0 };
	bool ended[2 * STREAMS] = { false };
	int fd, left = STREAMS;

	service_open(&service, NULL);
	fd = client_connect(&service.site);
	http2_begin(&out);
	for (unsigned stream = 1; stream < 2 * STREAMS; stream += 2)
		http2_get(&out, stream, stream % 3 ? "/later" : "/");
	assert_true(client_send_bytes(fd, buf_slice(&out)));
	while (left) {
		unsigned char head[9], payload[16384];
		size_t size, got = 0;

		assert_int_equal(recv(fd, head, 9, MSG_WAITALL), 9);
		size = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
		assert_true(size <= sizeof(payload));
		if (size)
			got = (size_t)recv(fd, payload, size, MSG_WAITALL);
		assert_int_equal(got, size);
		assert_true(head[3] != 3 && head[3] != 7); /* RST_STREAM, GOAWAY */
		if (head[3] == 0 && (head[4] & 1)) { /* DATA with END_STREAM */
			assert_false(ended[head[8]]);
			ended[head[8]] = true;
			left--;
		}
	}
	assert_true(site_reaches(&service.site, 0, 1));
	close(fd);
	buf_finish(&out);
	service_close(&service);
}

static void a_reset_stream_is_gone_and_a_flood_of_them_reaches_no_handler(void **state)
{
	struct service service;
	struct buf out = { 0 };
	int fd;

	service_open(&service, NULL);
	fd = client_connect(&service.site);
	http2_begin(&out);
	http2_get(&out, 1, "/hold");
	assert_true(client_send_bytes(fd, buf_slice(&out)));
	assert_true(site_reaches(&service.site, 1, 1));
	buf_reset(&out);
	http2_reset(&out, 1);
	assert_true(client_send_bytes(fd, buf_slice(&out)));
	assert_true(site_reaches(&service.site, 0, 1));
	assert_int_equal(service.gone, 1);

	service.served = 0;
	buf_reset(&out);
	for (unsigned stream = 3; stream < 1000; stream += 2) {
		http2_get(&out, stream, "/hold");
		http2_reset(&out, stream);
	}
	assert_true(client_send_bytes(fd, buf_slice(&out)));
	assert_true(site_reaches(&service.site, 0, 1));
	poll(NULL, 0, 20);
	assert_true(service.served < 20); /* but those that a read cut from their reset */
	assert_true(site_reaches(&service.site, 0, 1));
	close(fd);
	buf_finish(&out);
	service_close(&service);
}

static void a_connection_with_streams_may_vanish_or_outlive_its_server(void **state)
{
	struct service service;
	struct buf out = { 0 };
	int fds[2];

	service_open(&service, NULL);
	http2_begin(&out);
	for (unsigned stream = 1; stream < 12; stream += 2)
		http2_get(&out, stream, stream == 5 ? "/large" : "/hold");
	for (int i = 0; i < 2; i++) {
		fds[i] = client_connect(&service.site);
		assert_true(client_send_bytes(fds[i], buf_slice(&out)));
	}
	assert_true(site_reaches(&service.site, 10, 2));
	set_reset_on_close(fds[0]);
	close(fds[0]);
	assert_true(site_reaches(&service.site, 5, 1));
	assert_int_equal(service.gone, 5);
	service_close(&service);
	assert_int_equal(service.gone, 10);
	close(fds[1]);
	buf_finish(&out);
}

/* One stream's client leaves, and its handler answers all others at that moment: h2o is
 * freeing the connection they would go to. */
static void on_gone_release(void *context)
{
	struct held *held = context;

	on_gone(held);
	release(held->service);
}

static void arm_release(void *context)
{
	struct service *service = context;

	for (struct held *held = service->held; held; held = held->next)
		http_request_on_gone(held->request, on_gone_release, held);
}

static void answering_others_from_inside_gone_is_harmless(void **state)
{
	struct service service;
	struct buf out = { 0 };
	int fds[2];
	char *answer;

	service_open(&service, NULL);
	http2_begin(&out);
	for (unsigned stream = 1; stream < 12; stream += 2)
		http2_get(&out, stream, "/hold");
	fds[0] = client_connect(&service.site);
	fds[1] = client_connect(&service.site);
	assert_true(client_send_bytes(fds[0], buf_slice(&out)));
	assert_true(client_send(fds[1], "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n"));
	assert_true(site_reaches(&service.site, 7, 2));
	site_do(&service.site, arm_release, &service);
	close(fds[0]);
	answer = client_read_answer(fds[1], false);
	assert_true(answer_has(answer, "later"));
	free(answer);
	assert_true(site_reaches(&service.site, 0, 1));
	assert_int_equal(service.gone, 1);
	close(fds[1]);
	buf_finish(&out);
	service_close(&service);
}

static void draining_http2_ends(void **state)
{
	struct service service;
	struct buf out = { 0 };
	int fd;

	service_open(&service, NULL);
	http2_begin(&out);
	http2_get(&out, 1, "/");
	fd = client_connect(&service.site);
	assert_true(client_send_bytes(fd, buf_slice(&out)));
	for (int tries = 0; !service.served && tries < 1000; tries++)
		poll(NULL, 0, 5);
	site_do(&service.site, drain, service.site.server);
	assert_true(site_reaches(&service.site, 0, 0));
	close(fd);
	buf_finish(&out);
	service_close(&service);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ambiguous_framing_is_refused_and_the_connection_closed),
		cmocka_unit_test(framing_is_judged_by_whole_header_names_only),
		cmocka_unit_test(
			a_body_above_the_limit_is_refused_with_a_problem_document),
		cmocka_unit_test(a_client_that_sends_on_still_reads_why_it_was_refused),
		cmocka_unit_test(what_is_no_http_is_refused_and_harms_nobody),
		cmocka_unit_test(beyond_the_cap_requests_are_told_to_come_again),
		cmocka_unit_test(idle_and_slow_connections_are_closed_in_their_time),
		cmocka_unit_test(beyond_the_cap_connections_wait_to_be_accepted),
		cmocka_unit_test(a_taken_port_is_a_clear_error),
		cmocka_unit_test(draining_ends_idle_connections_and_finishes_the_others),
		cmocka_unit_test(a_server_dies_cleanly_with_everything_open),
		cmocka_unit_test(http2_by_prior_knowledge_is_served),
		cmocka_unit_test(streams_of_one_connection_are_served_side_by_side),
		cmocka_unit_test(
			a_reset_stream_is_gone_and_a_flood_of_them_reaches_no_handler),
		cmocka_unit_test(
			a_connection_with_streams_may_vanish_or_outlive_its_server),
		cmocka_unit_test(answering_others_from_inside_gone_is_harmless),
		cmocka_unit_test(draining_http2_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
