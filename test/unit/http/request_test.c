/* SPDX-License-Identifier: MIT */
#include "site_service.h"

/* --- answers ---------------------------------------------------------------------- */

static void a_request_is_answered_and_the_connection_kept(void **state)
{
	struct service service;
	int fd;

	service_open(&service, NULL);
	fd = client_connect(&service.site);
	for (int i = 0; i < 3; i++) {
		char *answer;

		assert_true(client_send(fd, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
		answer = client_read_answer(fd, false);
		assert_true(answer_has(answer, "HTTP/1.1 200 OK\r\n"));
		assert_true(answer_has(answer, "Connection: keep-alive\r\n"));
		assert_true(answer_has(answer, "Server: orrery\r\n"));
		assert_true(answer_has(answer, "Content-Length: 5\r\n"));
		assert_true(answer_has(answer, "\r\n\r\nhello"));
		free(answer);
	}
	assert_int_equal(site_counts(&service.site).connections, 1);
	close(fd);
	assert_true(site_reaches(&service.site, 0, 0));
	service_close(&service);
}

static void a_handler_sees_the_request_as_it_was_sent(void **state)
{
	struct service service;

	service_open(&service, NULL);
	assert_answers(
		&service,
		"POST /tell?a=1&b=%20 HTTP/1.1\r\nHost: orders:8001\r\nX-Mixed: CaSe\r\n"
		"Content-Length: 4\r\n\r\nbody",
		"POST /tell ?a=1&b=%20 HTTP/1.1 host=orders:8001 peer=127.0.0.1 "
		"body=body\n",
		"x-mixed=CaSe\n", "host=orders:8001\n");
	assert_answers(&service, "GET /tell HTTP/1.0\r\n\r\n",
		       "GET /tell ? HTTP/1.0 host=");
	assert_answers(&service, "GET http://other/tell?q HTTP/1.1\r\nHost: a\r\n\r\n",
		       "GET /tell ?q HTTP/1.1 host=other peer=");
	assert_answers(
		&service,
		"POST /tell HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
		"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX-Trailer: t\r\n\r\n",
		"body=abcde\n");
	service_close(&service);
}

static void pipelined_requests_are_answered_in_order(void **state)
{
	struct service service;
	int fd;
	char *answer;

	service_open(&service, NULL);
	fd = client_connect(&service.site);
	assert_true(client_send(fd, "GET /later HTTP/1.1\r\nHost: a\r\n\r\n"
				    "GET /tell?second HTTP/1.1\r\nHost: a\r\n\r\n"
				    "GET /later HTTP/1.1\r\nHost: a\r\n\r\n"
				    "GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
	answer = client_read_answer(fd, false);
	assert_true(answer_has(answer, "later"));
	free(answer);
	answer = client_read_answer(fd, false);
	assert_true(answer_has(answer, "?second"));
	free(answer);
	answer = client_read_answer(fd, false);
	assert_true(answer_has(answer, "later"));
	free(answer);
	answer = client_read_answer(fd, false);
	assert_true(answer_has(answer, "hello"));
	free(answer);
	close(fd);
	service_close(&service);
}

static void a_request_that_comes_while_another_waits_is_not_lost(void **state)
{
	struct service service;
	int fd;
	char *answer;

	service_open(&service, NULL);
	fd = client_connect(&service.site);
	assert_true(client_send(
		fd, "POST /hold HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"));
	assert_true(site_reaches(&service.site, 1, 1));
	assert_true(client_send(fd, "GET /tell?next HTTP/1.1\r\nHost: a\r\n\r\n"));
	poll(NULL, 0, 20);
	site_do(&service.site, release, &service);
	answer = client_read_answer(fd, false);
	assert_true(answer_has(answer, "later"));
	free(answer);
	answer = client_read_answer(fd, false);
	assert_true(answer_has(answer, "?next"));
	free(answer);
	assert_int_equal(service.gone, 0);
	close(fd);
	service_close(&service);
}

static void head_and_204_have_no_body(void **state)
{
	struct service service;
	int fd;
	char *answer;

	service_open(&service, NULL);
	fd = client_connect(&service.site);
	assert_true(client_send(fd, "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"));
	answer = client_read_answer(fd, true);
	assert_true(answer_has(answer, "Content-Length: 5\r\n"));
	free(answer);
	assert_true(client_send(fd, "GET /empty HTTP/1.1\r\nHost: a\r\n\r\n"));
	answer = client_read_answer(fd, false);
	assert_true(answer_has(answer, "HTTP/1.1 204 No Content\r\n"));
	assert_false(answer_has(answer, "Content-Length"));
	assert_false(answer_has(answer, "chunked"));
	free(answer);
	assert_true(client_send(
		fd, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
	answer = client_read_all(fd); /* nothing stands before the next answer */
	assert_non_null(answer);
	assert_int_equal(strncmp(answer, "HTTP/1.1 200 OK\r\n", 17), 0);
	assert_true(answer_has(answer, "Connection: close\r\n"));
	free(answer);
	close(fd);
	service_close(&service);
}

static void headers_that_a_handler_may_not_set_are_left_out(void **state)
{
	struct service service;
	char *answer;

	service_open(&service, NULL);
	answer = ask(&service, "GET /odd HTTP/1.1\r\nHost: a\r\n\r\n");
	assert_true(answer_has(answer, "HTTP/1.1 299 Other\r\n"));
	assert_true(answer_has(answer, "\r\ncontent-type: text/x-odd\r\n"));
	assert_true(answer_has(answer, "\r\nx-own: kept\r\n"));
	assert_true(answer_has(answer, "Content-Length: 3\r\n"));
	assert_true(answer_has(answer, "Connection: keep-alive\r\n"));
	assert_false(answer_has(answer, "mine"));
	assert_false(answer_has(answer, "bad-name"));
	assert_false(answer_has(answer, "set-cookie"));
	assert_false(answer_has(answer, "empty-name"));
	free(answer);
	service_close(&service);
}

static void a_fault_is_answered_as_a_problem_document(void **state)
{
	struct service service;

	service_open(&service, NULL);
	assert_answers(&service, "GET /refuse HTTP/1.1\r\nHost: a\r\n\r\n",
		       "HTTP/1.1 409 Conflict\r\n",
		       "content-type: application/problem+json\r\n", "x-more: yes\r\n",
		       "{\"type\":\"about:blank\",\"title\":\"Refused\",\"status\":409,"
		       "\"kind\":\"refused\",\"detail\":\"no \\\"thanks\\\"\","
		       "\"trace_id\":\"4bf92f3577b34da6a3ce929d0e0e4736\"}");
	service_close(&service);
}

static void a_large_answer_reaches_a_slow_reader(void **state)
{
	struct service service;
	int fd;
	char *answer;

	service_open(&service, NULL);
	fd = client_connect(&service.site);
	assert_true(client_send(
		fd, "GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
	poll(NULL, 0, 50);
	answer = client_read_all(fd);
	assert_true(answer_has(answer, "Content-Length: 8388608\r\n"));
	assert_int_equal(strlen(strstr(answer, "\r\n\r\n") + 4), 8 << 20);
	free(answer);
	close(fd);
	service_close(&service);
}

/* --- clients that leave ----------------------------------------------------------- */

static void a_client_that_leaves_is_noticed_before_the_answer(void **state)
{
	struct service service;

	service_open(&service, NULL);
	for (int i = 0; i < 4; i++) {
		bool reset = i % 2, pipelines = i / 2;
		int fd = client_connect(&service.site);

		service.gone = 0;
		assert_true(client_send(fd, "POST /hold HTTP/1.1\r\nHost: a\r\n"
					    "Content-Length: 3\r\n\r\nabc"));
		assert_true(site_reaches(&service.site, 1, 1));
		if (pipelines) /* its end is behind what nobody reads yet */
			assert_true(client_send(fd, "GET /next HTTP/1.1\r\n"));
		if (reset)
			set_reset_on_close(fd);
		close(fd);
		assert_true(site_reaches(&service.site, 0, 0));
		assert_int_equal(service.gone, 1);
	}
	service_close(&service);
}

static void many_clients_that_leave_at_any_moment_harm_nobody(void **state)
{
	struct http_server_config config = site_config(NULL, NULL);
	static const char request[] =
		"POST /later HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n"
		"0123456789GET /large HTTP/1.1\r\nHost: a\r\n\r\n";
	struct service service;

	config.requests_max = 10000;
	service_open(&service, &config);
	for (size_t i = 0; i < 400; i++) {
		int fd = client_connect(&service.site);

		assert_true(
			client_send_bytes(fd, slice_of(request, i % sizeof(request))));
		if (i % 3 == 0)
			poll(NULL, 0, 2);
		if (i % 2)
			set_reset_on_close(fd);
		close(fd);
	}
	assert_true(site_reaches(&service.site, 0, 0));
	assert_answers(&service, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "hello");
	service_close(&service);
}

static int connect_over_ipv6(const struct site *site)
{
	struct sockaddr_in6 at = {
		.sin6_family = AF_INET6,
		.sin6_port = htons((uint16_t)http_server_port(site->server)),
		.sin6_addr = IN6ADDR_LOOPBACK_INIT,
	};
	int fd = socket(AF_INET6, SOCK_STREAM, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	return fd;
}

static void a_peer_is_named_alike_on_a_socket_of_both_families(void **state)
{
	struct http_server_config both = site_config(NULL, NULL);
	struct service service;
	char *answer;
	int fd;

	both.host = SLICE("::");
	service_open(&service, &both);
	assert_answers(&service, "GET /tell HTTP/1.1\r\nHost: a\r\n\r\n",
		       " peer=127.0.0.1 ");
	fd = connect_over_ipv6(&service.site);
	assert_true(client_send(fd, "GET /tell HTTP/1.1\r\nHost: a\r\n\r\n"));
	answer = client_read_answer(fd, false);
	assert_true(answer_has(answer, " peer=::1 "));
	free(answer);
	close(fd);
	service_close(&service);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_is_answered_and_the_connection_kept),
		cmocka_unit_test(a_handler_sees_the_request_as_it_was_sent),
		cmocka_unit_test(a_peer_is_named_alike_on_a_socket_of_both_families),
		cmocka_unit_test(pipelined_requests_are_answered_in_order),
		cmocka_unit_test(a_request_that_comes_while_another_waits_is_not_lost),
		cmocka_unit_test(head_and_204_have_no_body),
		cmocka_unit_test(headers_that_a_handler_may_not_set_are_left_out),
		cmocka_unit_test(a_fault_is_answered_as_a_problem_document),
		cmocka_unit_test(a_large_answer_reaches_a_slow_reader),
		cmocka_unit_test(a_client_that_leaves_is_noticed_before_the_answer),
		cmocka_unit_test(many_clients_that_leave_at_any_moment_harm_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
