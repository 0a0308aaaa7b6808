/* SPDX-License-Identifier: MIT */
/* Further attempts, deadlines, and clients that leave. */
#include "gate_rig.h"

#include "../http/hostile_server.h"

#include <sys/time.h>

static struct rig rig;

/* --- upstreams that differ -------------------------------------------------------- */

/* The context says what it does with everything it is sent. */
static bool act(void *context, int fd, const struct test_request *request)
{
	const char *act = context;

	if (strcmp(act, "answer") == 0) {
		test_say(fd, sayings[0].says);
		return true;
	}
	if (strcmp(act, "reset") == 0)
		reset(fd);
	if (strcmp(act, "half") == 0)
		test_say(fd, "HTTP/1.1 200 O");
	if (strcmp(act, "nonsense") == 0)
		test_say(fd, "what?\r\n\r\n");
	return false;
}

/* A port where nobody listens. */
static unsigned closed_port(void)
{
	struct test_server *server = test_server_start(act, NULL);
	unsigned port = server->port;

	test_server_stop(server);
	return port;
}

/* Two upstreams; "nobody" is no server. attempts_max and ratio of the plan's retries. */
static void open_two(const char *one, const char *other, unsigned attempts_max,
		     double ratio, double per_s)
{
	const char *acts[] = { one, other };
	struct gate_plan *plan;
	char text[200];
	size_t at = 0;

	rig = (struct rig){ 0 };
	for (size_t i = 0; i < 2; i++) {
		unsigned port;

		if (strcmp(acts[i], "nobody") == 0) {
			port = closed_port();
		} else {
			size_t n = rig.upstream_count++;

			rig.upstreams[n] =
				test_server_start(act, (void *)(size_t)acts[i]);
			port = rig.upstreams[n]->port;
		}
		at += (size_t)snprintf(text + at, sizeof(text) - at,
				       "http://127.0.0.1:%u ", port);
	}
	plan = rig_plan(text);
	plan->upstreams[0].retry.attempts_max = attempts_max;
	plan->upstreams[0].retry.ratio = ratio;
	plan->upstreams[0].retry.per_s = per_s;
	rig_route(plan, "/");
	rig_open(&rig, rig_finish(plan));
}

static char *ask(const char *method)
{
	char text[200];

	snprintf(text, sizeof(text), "%s / HTTP/1.1\r\nContent-Length: 2" CLOSE "hi",
		 method);
	return rig_ask_all(&rig, text);
}

static unsigned requests(void)
{
	unsigned sum = 0;

	for (size_t i = 0; i < rig.upstream_count; i++)
		sum += rig.upstreams[i]->requests;
	return sum;
}

static double retries(const char *outcome)
{
	return rig_value(&rig, "gateway_retries_total", "up", outcome);
}

/* --- what may be sent again ------------------------------------------------------- */

static void a_post_of_which_nothing_was_sent_goes_to_another_address(void **state)
{
	open_two("nobody", "answer", 3, 1, 100);
	for (int i = 0; i < 6; i++)
		assert_says(ask("POST"), "HTTP/1.1 200 ", "\r\n\r\nok");
	assert_int_equal(requests(), 6);
	assert_true(retries("made") >= 3);
	assert_int_equal(rig.spans[0], 6);
	assert_int_equal(rig.spans[1], (int)retries("made"));
	rig_close(&rig);
}

static void a_post_that_was_sent_is_never_sent_twice(void **state)
{
	static const char *const acts[] = { "close", "reset", "half", "nonsense" };

	for (size_t i = 0; i < sizeof(acts) / sizeof(acts[0]); i++) {
		bool answered = i >= 2;

		open_two(acts[i], acts[i], 3, 1, 100);
		for (unsigned n = 1; n <= 4; n++) {
			assert_says(ask(n % 2 ? "POST" : "DELETE"),
				    answered ? "HTTP/1.1 502 " : "HTTP/1.1 503 ",
				    answered ? "\"kind\":\"broken\""
					     : "\"kind\":\"uncertain\"");
			assert_int_equal(requests(), n);
		}
		assert_true(retries("made") == 0);
		rig_close(&rig);
	}
}

static void a_get_without_an_answer_goes_to_another_address(void **state)
{
	open_two("close", "answer", 2, 1, 100);
	for (int i = 0; i < 6; i++)
		assert_says(ask(i % 2 ? "GET" : "OPTIONS"), "HTTP/1.1 200 ");
	assert_int_equal(rig.upstreams[1]->requests, 6);
	assert_int_equal(rig.upstreams[0]->requests, (int)retries("made"));
	rig_close(&rig);
}

static void a_get_whose_answer_had_begun_is_not_sent_again(void **state)
{
	open_two("half", "half", 3, 1, 100);
	assert_says(ask("GET"), "HTTP/1.1 502 ", "\"kind\":\"broken\"");
	assert_int_equal(requests(), 1);
	rig_close(&rig);
}

static void attempts_are_counted(void **state)
{
	for (unsigned most = 1; most <= 3; most++) {
		open_two("close", "close", most, 1, 100);
		assert_says(ask("GET"), "HTTP/1.1 502 ", "\"kind\":\"broken\"");
		assert_int_equal(requests(), most);
		assert_int_equal(rig.spans[most - 1], 1);
		assert_int_equal(rig.spans[most], 0);
		rig_close(&rig);
	}
}

static void without_a_budget_there_are_no_further_attempts(void **state)
{
	unsigned all = 40;

	open_two("close", "close", 3, 0.1, 0);
	for (unsigned i = 0; i < all; i++)
		assert_says(ask("GET"), "HTTP/1.1 502 ");
	assert_true(retries("refused") > 0);
	assert_int_equal(requests(), all + (unsigned)retries("made"));
	/* One for ten requests, and what there is to begin with. */
	assert_true(retries("made") < all / 2);
	rig_close(&rig);
}

static void the_last_failure_is_told(void **state)
{
	open_two("nobody", "nobody", 3, 1, 100);
	assert_says(ask("GET"), "HTTP/1.1 503 ", "\"kind\":\"unavailable\"");
	assert_says(ask("POST"), "HTTP/1.1 503 ", "\"kind\":\"unavailable\"");
	rig_close(&rig);
}

/* --- kept connections that have been closed --------------------------------------- */

static void a_stale_connection_costs_a_get_nothing_and_a_post_its_certainty(void **state)
{
	rig_open_simple(&rig, hostile_answer);
	rig.plan->upstreams[0].retry.attempts_max = 1;
	assert_says(rig_ask_all(&rig, "GET /once HTTP/1.1" CLOSE), "200 OK");
	assert_says(rig_ask_all(&rig, "GET /once HTTP/1.1" CLOSE), "200 OK");
	assert_true(retries("made") + retries("refused") == 0);
	assert_int_equal(rig.upstreams[0]->requests, 3);
	assert_says(rig_ask_all(&rig, "POST /once HTTP/1.1\r\nContent-Length: 0" CLOSE),
		    "503 ", "\"kind\":\"uncertain\"");
	assert_int_equal(rig.upstreams[0]->requests, 4);
	rig_close(&rig);
}

/* --- time ------------------------------------------------------------------------- */

/* The head comes for ever. */
static bool drip_head(void *context, int fd, const struct test_request *request)
{
	if (strcmp(request->path, "/drip-head") != 0)
		return hostile_answer(context, fd, request);
	test_say(fd, "HTTP/1.1 200 OK\r\nX: ");
	while (drip(fd, "xxxxxxxxxx"))
		;
	return false;
}

static int open_hasty(void **state)
{
	struct gate_plan *plan;
	char text[100];

	atomic_store(&released, false);
	rig = (struct rig){ 0 };
	rig_start_upstreams(&rig, drip_head, 1);
	plan = rig_plan(rig_addresses(&rig, text, sizeof(text)));
	rig_route(plan, "/")->timeout_ms = 250;
	plan->routes[0].idle_timeout_ms = 150;
	plan->upstreams[0].connections_max = 2;
	rig_open(&rig, rig_finish(plan));
	return 0;
}

static int close_rig(void **state)
{
	atomic_store(&released, true);
	rig_close(&rig);
	return 0;
}

static void an_answer_that_does_not_come_in_time_is_504_or_uncertain(void **state)
{
	assert_says(rig_ask_all(&rig, "GET /hang HTTP/1.1" CLOSE), "HTTP/1.1 504 ",
		    "\"kind\":\"timeout\"");
	assert_says(rig_ask_all(&rig, "GET /drip-head HTTP/1.1" CLOSE), "HTTP/1.1 504 ");
	assert_says(rig_ask_all(&rig, "POST /hang HTTP/1.1\r\nContent-Length: 0" CLOSE),
		    "HTTP/1.1 503 ", "\"kind\":\"uncertain\"");
	assert_int_equal(rig.upstreams[0]->requests, 3);
	assert_true(rig_rests(&rig));
}

static bool answer_half(void *context, int fd, const struct test_request *request)
{
	test_say(fd,
		 "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
	return answer_hang(fd);
}

static void an_upstream_that_falls_silent_is_cut_off(void **state)
{
	char *all;

	rig.upstreams[0]->answer = answer_half;
	all = rig_ask_all(&rig, "GET / HTTP/1.1" CLOSE);
	assert_true(answer_has(all, "200 OK"));
	assert_true(answer_has(all, "half"));
	assert_false(answer_has(all, "\r\n0\r\n"));
	free(all);
	assert_true(rig_rests(&rig));
}

static void a_slow_answer_is_not_a_silent_one(void **state)
{
	/* 0.5 s in all: longer than both limits. */
	char *all = rig_ask_all(&rig, "GET /drip HTTP/1.1" CLOSE);

	assert_true(answer_has(all, "slow slow slow slow slow slow slow slow slow slow"));
	free(all);
	assert_true(rig_rests(&rig));
}

static void beyond_the_connections_of_all_addresses_it_is_503(void **state)
{
	int one = client_connect(&rig.site), other = client_connect(&rig.site);

	assert_true(client_send(one, "GET /hang HTTP/1.1\r\nHost: a\r\n\r\n"));
	assert_true(client_send(other, "GET /hang HTTP/1.1\r\nHost: a\r\n\r\n"));
	assert_true(rig_reaches(&rig, 2));
	assert_says(rig_ask_all(&rig, "GET /ok HTTP/1.1" CLOSE), "HTTP/1.1 503 ",
		    "\"kind\":\"limit\"", "retry-after: 1\r\n");
	close(one);
	close(other);
	assert_true(rig_rests(&rig));
	assert_says(rig_ask_all(&rig, "GET /ok HTTP/1.1" CLOSE), "HTTP/1.1 200 ");
}

/* --- clients that leave ----------------------------------------------------------- */

static bool answer_for_ever(void *context, int fd, const struct test_request *request)
{
	static const char piece[] = "1000\r\n%04096d\r\n";
	char text[4200];
	int size = snprintf(text, sizeof(text), piece, 0);

	test_say(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
	while (send(fd, text, (size_t)size, MSG_NOSIGNAL) == size)
		;
	return false;
}

static int open_rig(void **state)
{
	atomic_store(&released, false);
	rig_open_simple(&rig, hostile_answer);
	return 0;
}

static void a_client_that_leaves_before_the_answer_is_forgotten(void **state)
{
	for (int i = 0; i < 3; i++) {
		int fd = client_connect(&rig.site);

		assert_true(client_send(fd, i ? "GET /hang HTTP/1.1\r\nHost: a\r\n\r\n"
					      : "POST /hang HTTP/1.1\r\nHost: a\r\n"
						"Content-Length: 1\r\n\r\n1"));
		assert_true(rig_reaches(&rig, 1));
		if (i == 2)
			reset(fd);
		close(fd);
		assert_true(rig_rests(&rig));
	}
}

/* Of the answer it takes some, or nothing: then everybody on the way waits for it. */
static void a_client_that_leaves_amid_the_answer_is_forgotten(void **state)
{
	rig.upstreams[0]->answer = answer_for_ever;
	for (int i = 0; i < 4; i++) {
		int fd = client_connect(&rig.site);
		char some[30000];

		assert_true(client_send(fd, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
		if (i % 2)
			assert_true(recv(fd, some, sizeof(some), MSG_WAITALL) > 0);
		else
			assert_true(recv(fd, some, 1, MSG_PEEK) == 1);
		assert_true(rig_reaches(&rig, 1));
		if (i >= 2)
			reset(fd);
		close(fd);
		assert_true(rig_rests(&rig));
	}
}

/* Nobody accepts there: the third connection is never made. */
static void a_client_that_leaves_while_connecting_is_forgotten(void **state)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(at);
	int deaf = socket(AF_INET, SOCK_STREAM, 0), fillers[2], fd;
	struct rig other = { 0 };
	struct gate_plan *plan;
	char text[100];

	assert_int_equal(bind(deaf, (struct sockaddr *)&at, size), 0);
	assert_int_equal(listen(deaf, 0), 0);
	assert_int_equal(getsockname(deaf, (struct sockaddr *)&at, &size), 0);
	for (int i = 0; i < 2; i++) {
		fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		connect(fillers[i], (struct sockaddr *)&at, size);
	}
	snprintf(text, sizeof(text), "http://127.0.0.1:%u", ntohs(at.sin_port));
	plan = rig_plan(text);
	plan->upstreams[0].connect_timeout_ms = 4000;
	rig_route(plan, "/");
	rig_open(&other, rig_finish(plan));
	fd = client_connect(&other.site);
	assert_true(client_send(fd, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
	assert_true(rig_reaches(&other, 1));
	close(fd);
	assert_true(rig_rests(&other));
	rig_close(&other);
	close(fillers[0]);
	close(fillers[1]);
	close(deaf);
}

#define hasty(name) cmocka_unit_test_setup_teardown(name, open_hasty, close_rig)
#define calm(name) cmocka_unit_test_setup_teardown(name, open_rig, close_rig)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			a_post_of_which_nothing_was_sent_goes_to_another_address),
		cmocka_unit_test(a_post_that_was_sent_is_never_sent_twice),
		cmocka_unit_test(a_get_without_an_answer_goes_to_another_address),
		cmocka_unit_test(a_get_whose_answer_had_begun_is_not_sent_again),
		cmocka_unit_test(attempts_are_counted),
		cmocka_unit_test(without_a_budget_there_are_no_further_attempts),
		cmocka_unit_test(the_last_failure_is_told),
		cmocka_unit_test(
			a_stale_connection_costs_a_get_nothing_and_a_post_its_certainty),
		hasty(an_answer_that_does_not_come_in_time_is_504_or_uncertain),
		hasty(an_upstream_that_falls_silent_is_cut_off),
		hasty(a_slow_answer_is_not_a_silent_one),
		hasty(beyond_the_connections_of_all_addresses_it_is_503),
		calm(a_client_that_leaves_before_the_answer_is_forgotten),
		calm(a_client_that_leaves_amid_the_answer_is_forgotten),
		cmocka_unit_test(a_client_that_leaves_while_connecting_is_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
