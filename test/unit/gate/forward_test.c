/* SPDX-License-Identifier: MIT */
/* What upstreams and clients may do to a request on its way, over real sockets. */
#include "gate_rig.h"

#include "../http/hostile_server.h"

#define LARGE (100u << 20)

/* --- more upstreams --------------------------------------------------------------- */

static bool answer_large(int fd)
{
	static char block[64 * 1024];

	test_say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n");
	for (size_t left = LARGE; left;) {
		ssize_t sent =
			send(fd, block, left < sizeof(block) ? left : sizeof(block),
			     MSG_NOSIGNAL);

		if (sent <= 0)
			return false;
		left -= (size_t)sent;
	}
	return true;
}

static atomic_bool pieces_go_on;

/* A piece, and the rest when the test says so. */
static bool answer_pieces(int fd, bool chunked)
{
	test_say(fd, chunked ? "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
			       "5\r\nfirst\r\n"
			     : "HTTP/1.1 200 OK\r\n\r\nfirst");
	for (int i = 0; i < PATIENCE_MS && !pieces_go_on; i++)
		usleep(1000);
	test_say(fd, chunked ? "6\r\nsecond\r\n0\r\n\r\n" : "second");
	return chunked;
}

static bool answer(void *context, int fd, const struct test_request *request)
{
	if (strcmp(request->path, "/large") == 0)
		return answer_large(fd);
	if (strcmp(request->path, "/pieces") == 0)
		return answer_pieces(fd, true);
	if (strcmp(request->path, "/pieces-until-close") == 0)
		return answer_pieces(fd, false);
	if (strcmp(request->path, "/head-then-silence") == 0) {
		test_say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
		return answer_hang(fd);
	}
	if (strcmp(request->path, "/two") == 0) {
		test_say(fd, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
		test_say(fd, "HTTP/1.1 100 Continue\r\n\r\n");
		test_say(fd, sayings[0].says);
		return true;
	}
	return hostile_answer(context, fd, request);
}

static struct rig rig;

static int open_rig(void **state)
{
	atomic_store(&released, false);
	pieces_go_on = false;
	rig_open_simple(&rig, answer);
	return 0;
}

static int close_rig(void **state)
{
	atomic_store(&released, true);
	pieces_go_on = true;
	rig_close(&rig);
	return 0;
}

static char *get(const char *path)
{
	char text[600];

	snprintf(text, sizeof(text), "GET %s HTTP/1.1" CLOSE, path);
	return rig_ask_all(&rig, text);
}

/* --- answers that go through ------------------------------------------------------ */

static void an_answer_goes_through_with_status_headers_and_body(void **state)
{
	assert_says(get("/ok"), "HTTP/1.1 200 OK\r\n", "x-test: yes\r\n",
		    "Content-Length: 2\r\n", "\r\n\r\nok");
	assert_says(get("/missing"), "HTTP/1.1 404 ", "\r\n\r\nno");
	assert_says(get("/down"), "HTTP/1.1 503 ", "\r\n\r\nno");
	assert_says(get("/chunked"), "200 OK", "Content-Length: 2\r\n", "\r\n\r\nok");
	assert_says(get("/until-close"), "200 OK", "ok");
	assert_says(get("/close"), "200 OK", "\r\n\r\nok");
	assert_says(get("/drip-ok"), "200 OK", "Content-Length: 2\r\n", "\r\n\r\nok");
	assert_true(rig_rests(&rig));
}

static void interim_answers_are_not_the_answer(void **state)
{
	assert_says(get("/continue"), "HTTP/1.1 200 OK", "\r\n\r\nok");
	assert_says(get("/two"), "HTTP/1.1 200 OK", "\r\n\r\nok");
	assert_true(rig_rests(&rig));
}

static void answers_without_a_body_have_none(void **state)
{
	char *all;

	assert_does_not_say(get("/no-content"), "Content-Length", "chunked");
	assert_says(get("/no-content"), "HTTP/1.1 204 ");
	assert_says(get("/not-modified"), "HTTP/1.1 304 ");
	all = rig_ask_all(&rig, "HEAD /head HTTP/1.1" CLOSE);
	assert_true(answer_has(all, "200 OK"));
	assert_true(answer_has(all, "Content-Length: 5\r\n"));
	assert_string_equal(strstr(all, "\r\n\r\n"), "\r\n\r\n");
	free(all);
	assert_true(rig_rests(&rig));
}

static void a_connection_serves_many_requests_on_both_sides(void **state)
{
	int fd = client_connect(&rig.site);

	for (int i = 0; i < 20; i++) {
		assert_true(
			client_send(fd, i % 2 ? "HEAD /head HTTP/1.1\r\nHost: a\r\n\r\n"
					      : "GET /ok HTTP/1.1\r\nHost: a\r\n\r\n"));
		assert_says(client_read_answer(fd, i % 2), "200 OK");
	}
	close(fd);
	assert_int_equal(rig.upstreams[0]->connections, 1);
	assert_int_equal(rig.upstreams[0]->requests, 20);
}

static void a_body_of_a_request_goes_through_whole(void **state)
{
	size_t size = 5 << 20;
	char *text = mem_zeroed(1, size + 200), *all;
	int fd = client_connect(&rig.site);
	int head = snprintf(text, 200,
			    "POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
			    "Content-Length: %zu\r\n\r\n",
			    size);

	for (size_t i = 0; i < size; i++)
		text[(size_t)head + i] = (char)('a' + i % 23);
	assert_true(client_send(fd, text));
	all = client_read_all(fd);
	assert_non_null(all);
	assert_true(answer_has(all, "200 OK"));
	assert_string_equal(strstr(all, "\r\n\r\n") + 4, text + head);
	close(fd);
	free(all);
	free(text);
	assert_true(rig_rests(&rig));
}

static void a_piece_is_passed_on_before_the_next_one_comes(void **state)
{
	static const char *const paths[] = { "/pieces", "/pieces-until-close" };

	for (int i = 0; i < 2; i++) {
		char text[1000], *rest;
		int fd = client_connect(&rig.site);
		size_t size = 0;

		pieces_go_on = false;
		snprintf(text, sizeof(text), "GET %s HTTP/1.1" CLOSE, paths[i]);
		assert_true(client_send(fd, text));
		text[0] = 0;
		while (!strstr(text, "first")) {
			ssize_t got = recv(fd, text + size, sizeof(text) - size - 1, 0);

			assert_true(got > 0);
			text[size += (size_t)got] = 0;
		}
		assert_true(answer_has(text, "transfer-encoding: chunked\r\n"));
		pieces_go_on = true;
		rest = client_read_all(fd);
		assert_true(answer_has(rest, "second"));
		assert_true(answer_has(rest, "\r\n0\r\n\r\n"));
		free(rest);
		close(fd);
	}
	assert_true(rig_rests(&rig));
}

/* --- a large answer --------------------------------------------------------------- */

static long resident_kb(void)
{
	long pages = 0;
	FILE *file = fopen("/proc/self/statm", "r");

	check(file);
	check(fscanf(file, "%*d %ld", &pages) == 1);
	fclose(file);
	return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

/* ASan keeps what was freed for a while: up to 256 MB. */
#if defined(__SANITIZE_ADDRESS__)
#define GROWTH_KB_MAX (400 * 1024)
#else
#define GROWTH_KB_MAX (16 * 1024)
#endif

/* The client takes nothing until everybody on the way has stopped. */
static void a_large_answer_to_a_slow_client_takes_little_memory(void **state)
{
	static char block[256 * 1024];
	int fd = client_connect(&rig.site);
	size_t body = 0;
	bool in_body = false;
	long before, most = 0;

	assert_says(get("/ok"), "200 OK");
	before = resident_kb();
	assert_true(client_send(fd, "GET /large HTTP/1.1" CLOSE));
	for (long now = -1; now != most; poll(NULL, 0, 100)) {
		now = most;
		most = resident_kb() > most ? resident_kb() : most;
	}
	for (;;) {
		ssize_t got = recv(fd, block, sizeof(block), 0);
		const char *start = block;

		if (got <= 0)
			break;
		if (!in_body) {
			start = memmem(block, (size_t)got, "\r\n\r\n", 4);
			assert_non_null(start);
			start += 4;
			in_body = true;
		}
		body += (size_t)(block + got - start);
		most = resident_kb() > most ? resident_kb() : most;
	}
	close(fd);
	assert_int_equal(body, LARGE);
	if (most - before > GROWTH_KB_MAX)
		fail_msg("%ld KB more for an answer of %u KB", most - before,
			 LARGE / 1024);
	assert_true(rig_rests(&rig));
}

/* --- answers that are broken ------------------------------------------------------ */

static void nonsense_is_502(void **state)
{
	static const char *const paths[] = { "/te-gzip", "/cl-abc",  "/te-cl",
					     "/two-cl",	 "/garbage", "/short-head",
					     "/upgrade", "/headers", "/silent",
					     "/reset" };

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		assert_says(get(paths[i]), "HTTP/1.1 502 ",
			    "content-type: application/problem+json",
			    "x-request-id: ", "\"kind\":\"broken\"", "\"trace_id\":\"");
	assert_true(rig_rests(&rig));
}

/* The client must see that the answer is not whole: it is shorter than was told, or its
 * last chunk does not come. */
static void an_answer_that_breaks_off_breaks_off_at_the_client(void **state)
{
	static const char *const paths[] = { "/short", "/short-chunk", "/reset-late" };

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		char *all = get(paths[i]);

		assert_non_null(all);
		if (!strstr(all, "HTTP/1.1 502 ")) {
			assert_true(answer_has(all, "HTTP/1.1 200 OK"));
			assert_false(answer_has(all, "\r\n0\r\n\r\n"));
			assert_false(answer_has(all, "Content-Length: 2\r\n"));
		}
		free(all);
	}
	assert_true(rig_rests(&rig));
}

static void an_answer_before_the_request_is_read_counts(void **state)
{
	size_t size = 6 << 20;
	char *text = mem_zeroed(1, size + 200);
	int head = snprintf(text, 200,
			    "POST /early HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
			    "Content-Length: %zu\r\n\r\n",
			    size);

	memset(text + head, 'x', size);
	assert_says(rig_ask_all(&rig, text), "HTTP/1.1 413 ", "\r\n\r\nno");
	free(text);
	assert_true(rig_rests(&rig));
	assert_says(get("/ok"), "200 OK");
}

/* What came too much is nobody's answer. */
static void bytes_behind_an_answer_go_to_nobody(void **state)
{
	int fd = client_connect(&rig.site);

	for (int i = 0; i < 5; i++) {
		char *all;

		assert_true(client_send(fd, "GET /extra HTTP/1.1\r\nHost: a\r\n\r\n"));
		all = client_read_answer(fd, false);
		assert_true(answer_has(all, "Content-Length: 2\r\n"));
		assert_true(answer_has(all, "\r\n\r\nok"));
		free(all);
	}
	close(fd);
	assert_true(rig_rests(&rig));
}

/* --- nobody there ----------------------------------------------------------------- */

static void an_upstream_without_anybody_is_503(void **state)
{
	struct rig other = { 0 };
	struct gate_plan *plan = rig_plan("http://127.0.0.1:1");
	struct gate_route *route = rig_route(plan, "/");

	route->timeout_ms = 1000;
	rig_open(&other, rig_finish(plan));
	assert_says(rig_ask_all(&other, "GET / HTTP/1.1" CLOSE), "HTTP/1.1 503 ",
		    "\"kind\":\"unavailable\"");
	assert_says(rig_ask_all(&other, "POST / HTTP/1.1\r\nContent-Length: 0" CLOSE),
		    "HTTP/1.1 503 ", "\"kind\":\"unavailable\"");
	rig_close(&other);
}

static void what_no_route_takes_is_left_to_others(void **state)
{
	struct rig other = { 0 };
	struct gate_plan *plan = rig_plan("http://127.0.0.1:1");

	rig_route(plan, "/api");
	rig_open(&other, rig_finish(plan));
	assert_says(rig_ask_all(&other, "GET /apiary HTTP/1.1" CLOSE), "HTTP/1.1 404 ",
		    "no route");
	assert_says(rig_ask_all(&other, "GET /api/%00 HTTP/1.1" CLOSE), "HTTP/1.1 404 ");
	rig_close(&other);
}

static void a_body_above_the_limit_of_its_route_is_413(void **state)
{
	struct gate_plan *plan;
	struct rig other = { 0 };
	char text[100];

	rig_start_upstreams(&other, answer, 1);
	plan = rig_plan(rig_addresses(&other, text, sizeof(text)));
	rig_route(plan, "/")->body_size_max = 4;
	rig_open(&other, rig_finish(plan));
	assert_says(rig_ask_all(&other,
				"POST /echo HTTP/1.1\r\nContent-Length: 5" CLOSE "12345"),
		    "HTTP/1.1 413 ", "\"kind\":\"bad_input\"");
	assert_says(rig_ask_all(&other,
				"POST /echo HTTP/1.1\r\nContent-Length: 4" CLOSE "1234"),
		    "HTTP/1.1 200 ", "\r\n\r\n1234");
	assert_int_equal(other.upstreams[0]->requests, 1);
	rig_close(&other);
}

#define test(name) cmocka_unit_test_setup_teardown(name, open_rig, close_rig)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(an_answer_goes_through_with_status_headers_and_body),
		test(interim_answers_are_not_the_answer),
		test(answers_without_a_body_have_none),
		test(a_connection_serves_many_requests_on_both_sides),
		test(a_body_of_a_request_goes_through_whole),
		test(a_piece_is_passed_on_before_the_next_one_comes),
		test(a_large_answer_to_a_slow_client_takes_little_memory),
		test(nonsense_is_502),
		test(an_answer_that_breaks_off_breaks_off_at_the_client),
		test(an_answer_before_the_request_is_read_counts),
		test(bytes_behind_an_answer_go_to_nobody),
		cmocka_unit_test(an_upstream_without_anybody_is_503),
		cmocka_unit_test(what_no_route_takes_is_left_to_others),
		cmocka_unit_test(a_body_above_the_limit_of_its_route_is_413),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
