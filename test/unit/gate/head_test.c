/* SPDX-License-Identifier: MIT */
/* Which headers go through, which do not, and what clients try with them. */
#include "gate_rig.h"

#include "../http/http2_frames.h"

static char kept_head[4096]; /* of the last request to /keep */

/* Says back what came: head and body. Headers of the answer that belong to its connection
 * or to the gate are there to be taken off. */
static bool tell(void *context, int fd, const struct test_request *request)
{
	char head[600];

	if (strcmp(request->path, "/keep") == 0)
		snprintf(kept_head, sizeof(kept_head), "%s", request->head);
	snprintf(head, sizeof(head),
		 "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n"
		 "Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n"
		 "Proxy-Connection: keep-alive\r\nTrailer: x\r\nUpgrade: h2c\r\n"
		 "X-Request-Id: theirs\r\nX-End: 2\r\nSet-Cookie: a=1\r\nSet-Cookie: "
		 "b=2\r\n"
		 "X-Frame-Options: SAMEORIGIN\r\nRateLimit: \"theirs\";r=1;t=1\r\n\r\n",
		 strlen(request->head) + request->body_size);
	test_say(fd, head);
	test_say(fd, request->head);
	if (request->body_size)
		test_say(fd, request->body);
	return true;
}

static struct rig rig;

static void open_with(const char *trusted)
{
	struct gate_plan *plan;
	char text[100];

	rig = (struct rig){ .trusted = trusted };
	rig_start_upstreams(&rig, tell, 1);
	plan = rig_plan(rig_addresses(&rig, text, sizeof(text)));
	rig_route(plan, "/");
	rig_route(plan, "/deep/er")->rewrite = SLICE("/x/");
	rig_route(plan, "/strip")->rewrite = SLICE("/");
	rig_route(plan, "/to")->rewrite = SLICE("/other/place");
	plan->limits[0] = (struct gate_limit_def){
		.name = SLICE("few"), .requests = 10, .per_s = 5, .burst = 20
	};
	plan->limit_count = 1;
	rig_route(plan, "/limited")->limit_count = 1;
	plan->answer_headers[0] =
		(struct http_header){ SLICE("X-Frame-Options"), SLICE("DENY") };
	plan->answer_headers[1] =
		(struct http_header){ SLICE("X-Content-Type-Options"), SLICE("nosniff") };
	plan->answer_header_count = 2;
	rig_open(&rig, rig_finish(plan));
}

static int open_rig(void **state)
{
	open_with(NULL);
	return 0;
}

static int close_rig(void **state)
{
	rig_close(&rig);
	return 0;
}

/* What the upstream was told; the caller frees. lines: whole ones, after the first. */
static char *told(const char *first, const char *lines)
{
	char text[4000], *all;
	size_t size;
	int fd;

	snprintf(text, sizeof(text), "%s HTTP/1.1\r\nHost: shop.example\r\n%s\r\n", first,
		 lines);
	fd = client_connect(&rig.site);
	assert_true(client_send(fd, text));
	all = client_read_answer(fd, false);
	close(fd);
	assert_true(answer_has(all, "HTTP/1.1 200 OK"));
	size = strlen(strstr(all, "\r\n\r\n") + 4);
	memmove(all, strstr(all, "\r\n\r\n") + 4, size + 1);
	return all;
}

/* --- to the upstream -------------------------------------------------------------- */

static void the_request_line_is_the_normal_form_rewritten(void **state)
{
	assert_says(told("GET /a/b?x=%20/..&y", ""), "GET /a/b?x=%20/..&y HTTP/1.1\r\n");
	assert_says(told("GET /a/../%62", ""), "GET /b HTTP/1.1\r\n");
	assert_says(told("GET /deep/er", ""), "GET /x/ HTTP/1.1\r\n");
	assert_says(told("GET /deep/er/y/z?q", ""), "GET /x/y/z?q HTTP/1.1\r\n");
	assert_says(told("GET /strip", ""), "GET / HTTP/1.1\r\n");
	assert_says(told("GET /strip/y", ""), "GET /y HTTP/1.1\r\n");
	assert_says(told("GET /to/y", ""), "GET /other/place/y HTTP/1.1\r\n");
	assert_says(told("PURGE /a", ""), "PURGE /a HTTP/1.1\r\n");
}

static void the_upstream_is_told_who_asks_for_what(void **state)
{
	assert_says(told("GET /", "X-Mine: 7\r\nAccept: */*\r\n"),
		    "\r\nhost: shop.example\r\n", "\r\nx-forwarded-for: 127.0.0.1\r\n",
		    "\r\nx-forwarded-proto: http\r\n",
		    "\r\nx-forwarded-host: shop.example\r\n", "\r\nvia: 1.1 orrery\r\n",
		    "\r\ntraceparent: 00-",
		    "\r\nx-request-id: ", "\r\nx-envoy-expected-rq-timeout-ms: 3000\r\n",
		    "\r\nx-mine: 7\r\n", "\r\naccept: */*\r\n");
}

static void what_a_client_says_of_itself_is_thrown_away(void **state)
{
	static const char lines[] = "X-Forwarded-For: 203.0.113.9\r\n"
				    "x-forwarded-proto: https\r\n"
				    "X-Forwarded-Host: evil.example\r\n"
				    "X-Forwarded-Port: 1\r\n"
				    "Forwarded: for=203.0.113.9\r\n"
				    "X-Real-IP: 203.0.113.9\r\n"
				    "x-envoy-expected-rq-timeout-ms: 99999\r\n"
				    "Proxy: http://evil.example\r\n";

	assert_does_not_say(told("GET /", lines), "203.0.113.9", "https", "evil", "99999",
			    "forwarded-port", "\r\nproxy");
}

static void a_trusted_proxy_speaks_for_its_client(void **state)
{
	rig_close(&rig);
	open_with("127.0.0.1");
	assert_says(told("GET /", "X-Forwarded-For: 198.51.100.1, 203.0.113.9\r\n"
				  "X-Forwarded-Proto: https\r\n"
				  "X-Forwarded-Host: public.example\r\n"),
		    "\r\nx-forwarded-for: 203.0.113.9\r\n",
		    "\r\nx-forwarded-proto: https\r\n",
		    "\r\nx-forwarded-host: public.example\r\n",
		    "\r\nhost: shop.example\r\n");
	assert_says(told("GET /", "X-Forwarded-For: 203.0.113.9\r\n"
				  "X-Forwarded-Proto: gopher\r\n"),
		    "\r\nx-forwarded-proto: http\r\n");
	/* It asks for itself. */
	assert_says(told("GET /", "X-Forwarded-Proto: https\r\n"),
		    "\r\nx-forwarded-for: 127.0.0.1\r\n",
		    "\r\nx-forwarded-proto: http\r\n");
}

static void what_belongs_to_a_connection_stays_behind(void **state)
{
	assert_does_not_say(told("GET /", "Connection: keep-alive, X-Secret, , x-b\r\n"
					  "Connection: x-c\r\n"
					  "Keep-Alive: timeout=5\r\nX-Secret: hop-1\r\n"
					  "X-B: hop-2\r\nX-C: hop-3\r\nTE: trailers\r\n"
					  "Proxy-Connection: keep-alive\r\n"
					  "Proxy-Authorization: Basic hop-4\r\n"
					  "Trailer: x\r\nUpgrade: websocket\r\n"
					  "HTTP2-Settings: AAMAAABk\r\n"),
			    "hop-", "\r\nconnection", "keep-alive", "\r\nte:", "proxy-",
			    "trailer", "upgrade", "http2-settings");
}

/* Smuggling: what says where a request ends and goes is not of the connection. */
static void connection_takes_away_nothing_that_the_gate_says(void **state)
{
	assert_says(told("POST /", "Connection: close, host, content-length, "
				   "x-forwarded-for, via, traceparent, x-request-id, "
				   "x-envoy-expected-rq-timeout-ms\r\n"
				   "Content-Length: 5\r\n\r\nhello"),
		    "\r\nhost: shop.example\r\n", "\r\ncontent-length: 5\r\n",
		    "\r\nx-forwarded-for: 127.0.0.1\r\n",
		    "\r\nvia: ", "\r\ntraceparent: ", "\r\nx-request-id: ",
		    "\r\nx-envoy-expected-rq-timeout-ms: ", "hello");
}

static void a_body_has_its_exact_length_however_it_came(void **state)
{
	char *all = told("POST /", "Transfer-Encoding: chunked\r\n\r\n"
				   "3\r\nhel\r\n2\r\nlo\r\n0\r\n");

	assert_true(answer_has(all, "\r\ncontent-length: 5\r\n"));
	assert_false(answer_has(all, "chunked"));
	assert_true(answer_has(all, "hello"));
	free(all);
	assert_says(told("POST /", ""), "\r\ncontent-length: 0\r\n");
	assert_says(told("PUT /", ""), "\r\ncontent-length: 0\r\n");
	assert_does_not_say(told("GET /", ""), "content-length");
	assert_does_not_say(told("DELETE /", ""), "content-length");
	assert_says(told("DELETE /", "Content-Length: 2\r\n\r\nhi"),
		    "\r\ncontent-length: 2\r\n", "hi");
}

static void an_expectation_is_answered_here(void **state)
{
	int fd = client_connect(&rig.site);
	char *all;

	assert_true(client_send(fd,
				"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue"
				"\r\nContent-Length: 2\r\nConnection: close\r\n\r\n"));
	all = client_read_answer(fd, true);
	assert_true(answer_has(all, "HTTP/1.1 100 "));
	free(all);
	assert_true(client_send(fd, "hi"));
	all = client_read_all(fd);
	assert_true(answer_has(all, "content-length: 2"));
	assert_false(answer_has(all, "\r\nexpect:"));
	free(all);
	close(fd);
}

static void via_and_cookies_are_joined(void **state)
{
	assert_says(told("GET /", "Via: 1.0 a\r\nCookie: a=1\r\nVia: 1.1 b\r\n"
				  "Cookie: b=2\r\n"),
		    "\r\nvia: 1.0 a, 1.1 b, 1.1 orrery\r\n", "\r\ncookie: a=1; b=2\r\n");
	assert_does_not_say(told("GET /", "Connection: cookie\r\nCookie: a=1\r\n"),
			    "cookie");
}

static void the_trace_goes_on_through_the_gate(void **state)
{
	char *all = told("GET /",
			 "traceparent: "
			 "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n"
			 "tracestate: a=1\r\ntracestate: b=2\r\n");

	assert_true(answer_has(all, "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-"));
	assert_false(answer_has(all, "00f067aa0ba902b7"));
	assert_true(answer_has(all, "\r\ntracestate: a=1,b=2\r\n"));
	free(all);
}

/* --- X-Request-Id ----------------------------------------------------------------- */

static void a_request_id_is_the_clients_when_it_is_good(void **state)
{
	static const char *const bad[] = { "a b", "a\"b", "a/b", "", "a;b" };
	char line[400], long_id[200];

	assert_says(told("GET /", "X-Request-Id: a.B_c-7\r\n"),
		    "\r\nx-request-id: a.B_c-7\r\n");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char *all, whole[100];

		snprintf(line, sizeof(line), "X-Request-Id: %s\r\n", bad[i]);
		snprintf(whole, sizeof(whole), "\r\nx-request-id: %s\r\n", bad[i]);
		all = told("GET /", line);
		assert_false(answer_has(all, whole));
		assert_true(answer_has(all, "\r\nx-request-id: "));
		free(all);
	}
	memset(long_id, 'a', 129);
	long_id[129] = 0;
	snprintf(line, sizeof(line), "X-Request-Id: %s\r\n", long_id);
	assert_does_not_say(told("GET /", line), long_id);
	long_id[128] = 0;
	snprintf(line, sizeof(line), "X-Request-Id: %s\r\n", long_id);
	assert_says(told("GET /", line), long_id);
}

/* --- to the client ---------------------------------------------------------------- */

static void the_answer_has_what_is_the_upstreams_and_what_is_the_gates(void **state)
{
	assert_says(rig_ask_all(&rig, "GET / HTTP/1.1\r\nX-Request-Id: mine" CLOSE),
		    "x-end: 2\r\n", "set-cookie: a=1\r\n", "set-cookie: b=2\r\n",
		    "x-request-id: mine\r\n", "x-content-type-options: nosniff\r\n",
		    "x-frame-options: SAMEORIGIN\r\n", "ratelimit: \"theirs\"");
	assert_does_not_say(
		rig_ask_all(&rig, "GET / HTTP/1.1\r\nX-Request-Id: mine" CLOSE), "x-hop",
		"timeout=5", "proxy-connection",
		"trailer: ", "upgrade: ", "x-request-id: theirs", "DENY");
}

static void an_answer_on_a_limited_route_tells_what_is_left(void **state)
{
	char *all = rig_ask_all(&rig, "GET /limited HTTP/1.1" CLOSE);

	assert_true(answer_has(all, "ratelimit-policy: \"few\";q=20;w=10\r\n"));
	assert_true(answer_has(all, "ratelimit: \"few\";r=19;t=1\r\n"));
	assert_false(answer_has(all, "theirs"));
	free(all);
}

/* --- what ends a line of HTTP/1 --------------------------------------------------- */

static void what_would_end_a_line_is_400_or_never_gets_here(void **state)
{
	static const char *const requests[] = {
		"GET /a?b\x01 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a/b\r\nConnection: close\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a@b\r\nConnection: close\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nX-A: b\x01\r\nConnection: close\r\n\r\n",
	};

	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++)
		assert_says(rig_ask_all(&rig, requests[i]), " 400 ");
	assert_int_equal(rig.upstreams[0]->requests, 0);
	assert_true(rig_rests(&rig));
}

/* --- HTTP/2, whose texts may hold anything ------------------------------------------ */

static void http2_header(struct buf *block, const char *name, struct slice value)
{
	buf_append_byte(block, 0); /* literal, not indexed */
	buf_append_byte(block, (char)strlen(name));
	buf_append(block, slice_text(name));
	buf_append_byte(block, (char)value.size);
	buf_append(block, value);
}

/* GET with these; waits for the head of the answer, or the end of stream or connection.
 */
static void http2_ask(struct slice method, struct slice path, struct slice cookie,
		      struct slice odd)
{
	struct buf out = { 0 }, block = { 0 };
	int fd = client_connect(&rig.site);
	unsigned char frame[9], waste[16384];

	http2_header(&block, ":method", method);
	buf_append_byte(&block, '\x86');
	http2_header(&block, ":path", path);
	http2_header(&block, ":authority", SLICE("shop.example"));
	if (cookie.size) {
		http2_header(&block, "cookie", cookie);
		http2_header(&block, "cookie", SLICE("last=1"));
	}
	if (odd.size)
		http2_header(&block, "x-odd", odd);
	http2_begin(&out);
	http2_frame(&out, 1, 5, 1, buf_slice(&block));
	assert_true(client_send_bytes(fd, buf_slice(&out)));
	for (;;) {
		size_t size;

		if (recv(fd, frame, 9, MSG_WAITALL) != 9)
			break;
		size = (size_t)frame[0] << 16 | (size_t)frame[1] << 8 | frame[2];
		assert_true(size <= sizeof(waste));
		if (size && recv(fd, waste, size, MSG_WAITALL) != (ssize_t)size)
			break;
		if (frame[3] == 1 || frame[3] == 3 || frame[3] == 7)
			break;
	}
	close(fd);
	buf_finish(&out);
	buf_finish(&block);
}

static void crumbs_of_a_cookie_are_put_together(void **state)
{
	http2_ask(SLICE("GET"), SLICE("/keep"), SLICE("a=1"), SLICE("b"));
	assert_int_equal(rig.upstreams[0]->requests, 1);
	assert_non_null(strstr(kept_head, "\r\ncookie: a=1; last=1\r\n"));
	assert_non_null(strstr(kept_head, "\r\nx-odd: b\r\n"));
	assert_non_null(strstr(kept_head, "\r\nhost: shop.example\r\n"));
}

static void http2_ends_no_line_of_http1(void **state)
{
	const struct slice end = SLICE("a\r\nX-Evil: 1\r\n\r\nGET /evil HTTP/1.1");
	const struct slice path = SLICE("/a HTTP/1.1\r\nX-Evil: 1\r\n\r\n");

	http2_ask(SLICE("GET"), path, SLICE(""), SLICE(""));
	http2_ask(SLICE("GET"), SLICE("/?a b"), SLICE(""), SLICE(""));
	http2_ask(SLICE("GET"), SLICE("/?a\r\nX-Evil: 1"), SLICE(""), SLICE(""));
	http2_ask(SLICE("GET / HTTP/1.1\r\nX-Evil: 1"), SLICE("/"), SLICE(""), SLICE(""));
	http2_ask(SLICE("GET"), SLICE("/"), end, SLICE(""));
	http2_ask(SLICE("GET"), SLICE("/"), SLICE(""), end);
	assert_int_equal(rig.upstreams[0]->requests, 0);
	assert_true(rig_rests(&rig));
}

#define test(name) cmocka_unit_test_setup_teardown(name, open_rig, close_rig)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(the_request_line_is_the_normal_form_rewritten),
		test(the_upstream_is_told_who_asks_for_what),
		test(what_a_client_says_of_itself_is_thrown_away),
		test(a_trusted_proxy_speaks_for_its_client),
		test(what_belongs_to_a_connection_stays_behind),
		test(connection_takes_away_nothing_that_the_gate_says),
		test(a_body_has_its_exact_length_however_it_came),
		test(an_expectation_is_answered_here),
		test(via_and_cookies_are_joined),
		test(the_trace_goes_on_through_the_gate),
		test(a_request_id_is_the_clients_when_it_is_good),
		test(the_answer_has_what_is_the_upstreams_and_what_is_the_gates),
		test(an_answer_on_a_limited_route_tells_what_is_left),
		test(what_would_end_a_line_is_400_or_never_gets_here),
		test(crumbs_of_a_cookie_are_put_together),
		test(http2_ends_no_line_of_http1),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
