/* SPDX-License-Identifier: MIT */
#include "http2_frames.h"
#include "site_service.h"

#define GET_ "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

/* --- room ------------------------------------------------------------------------- */

static void at_connections_max_the_longest_idle_gives_way(void **state)
{
	struct http_server_config config = site_config(NULL, NULL);
	struct service service;
	int fds[3], last;
	char *answer;

	config.connections_max = 3;
	service_open(&service, &config);
	for (int i = 0; i < 3; i++) {
		fds[i] = client_connect(&service.site);
		assert_true(site_reaches(&service.site, 0, (unsigned)i + 1));
	}
	/* The first is not the longest idle any more, the second never will be. */
	assert_true(client_send(fds[0], GET_));
	free(client_read_answer(fds[0], false));
	assert_true(client_send(fds[1], "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n"));
	assert_true(site_reaches(&service.site, 1, 3));
	last = client_connect(&service.site);
	assert_true(client_send(last, GET_));
	answer = client_read_answer(last, false);
	assert_true(answer_has(answer, "hello"));
	free(answer);
	answer = client_read_all(fds[2]);
	assert_string_equal(answer, "");
	free(answer);
	assert_true(client_send(fds[0], GET_));
	answer = client_read_answer(fds[0], false);
	assert_true(answer_has(answer, "hello"));
	free(answer);
	site_do(&service.site, release, &service);
	answer = client_read_answer(fds[1], false);
	assert_true(answer_has(answer, "later"));
	free(answer);
	for (int i = 0; i < 3; i++)
		close(fds[i]);
	close(last);
	service_close(&service);
}

static int closed_count(const int *fds, int count)
{
	int closed = 0;
	char byte;

	for (int i = 0; i < count; i++) {
		ssize_t got = recv(fds[i], &byte, 1, MSG_PEEK | MSG_DONTWAIT);

		closed += got == 0 || (got < 0 && errno != EAGAIN);
	}
	return closed;
}

static void what_arrives_holds_no_more_than_it_may(void **state)
{
	enum { CLIENTS = 20 };
	struct http_server_config config = site_config(NULL, NULL);
	struct service service;
	struct buf large = { 0 };
	int fds[CLIENTS], small;
	char *answer;

	config.body_size_max = 100000;
	config.arriving_max = 1 << 20;
	service_open(&service, &config);
	small = client_connect(&service.site);
	assert_true(client_send(small, "GET / HTTP/1.1\r\nHo"));
	assert_true(site_reaches(&service.site, 0, 1));
	buf_printf(&large,
		   "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
	memset(buf_reserve(&large, 90000), 'x', 90000);
	large.size += 90000;
	for (int i = 0; i < CLIENTS; i++) {
		fds[i] = client_connect(&service.site);
		client_send_bytes(fds[i], buf_slice(&large));
	}
	/* Each is in a buffer of 128 KiB: eight fit. The small one stays. */
	for (int tries = 0; closed_count(fds, CLIENTS) < CLIENTS - 8; tries++) {
		assert_true(tries < PATIENCE_MS / 5);
		poll(NULL, 0, 5);
	}
	assert_in_range(site_counts(&service.site).connections, 2, 9);
	assert_true(client_send(small, "st: a\r\n\r\n"));
	answer = client_read_answer(small, false);
	assert_true(answer_has(answer, "hello"));
	free(answer);
	for (int i = 0; i < CLIENTS; i++)
		close(fds[i]);
	close(small);
	buf_finish(&large);
	service_close(&service);
}

static void who_takes_nothing_of_its_answer_is_let_go(void **state)
{
	struct http_server_config config = site_config(NULL, NULL);
	struct service service;
	int fd;

	config.idle_timeout_ms = 100;
	service_open(&service, &config);
	fd = client_connect(&service.site);
	assert_true(client_send(fd, "GET /large HTTP/1.1\r\nHost: a\r\n\r\n"));
	assert_true(site_reaches(&service.site, 0, 0));
	assert_int_equal(service.served, 1);
	close(fd);
	service_close(&service);
}

static void a_chunked_body_ends_its_connection(void **state)
{
	struct service service;
	int fd;
	char *answer;

	service_open(&service, NULL);
	fd = client_connect(&service.site);
	assert_true(client_send(fd, "POST /tell HTTP/1.1\r\nHost: a\r\n"
				    "Transfer-Encoding: chunked\r\n\r\n"
				    "3\r\nabc\r\n0\r\n\r\n" GET_));
	answer = client_read_all(fd);
	assert_true(answer_has(answer, "HTTP/1.1 200 OK"));
	assert_true(answer_has(answer, "Connection: close"));
	assert_true(answer_has(answer, "body=abc\n"));
	assert_false(answer_has(answer, "hello"));
	free(answer);
	assert_int_equal(service.served, 1);
	close(fd);
	service_close(&service);
}

/* --- HTTP/2 ----------------------------------------------------------------------- */

static void http2_is_spoken_only_where_it_is_allowed(void **state)
{
	struct http_server_config config = site_config(NULL, NULL);
	struct service service;
	struct buf out = { 0 };
	int fd;
	char *answer;

	config.http2 = false;
	service_open(&service, &config);
	http2_begin(&out);
	http2_get(&out, 1, "/");
	fd = client_connect(&service.site);
	assert_true(client_send_bytes(fd, buf_slice(&out)));
	answer = client_read_all(fd);
	assert_true(answer_has(answer, "HTTP/1.1 400 "));
	free(answer);
	close(fd);
	assert_answers(&service,
		       "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, "
		       "HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: \r\n\r\n",
		       "HTTP/1.1 200 OK", "hello");
	assert_int_equal(service.served, 1);
	buf_finish(&out);
	service_close(&service);
}

/* A handler whose work goes on when the client has left. */
struct toil {
	struct service service;
	struct http_debt *debts[2 * HTTP_CONNECTION_WORK_MAX];
	_Atomic int count;
	_Atomic int refused;
};

struct toiled {
	struct toil *toil;
	struct http_request *request;
};

static void toil_on_gone(void *context)
{
	struct toiled *toiled = context;
	struct toil *toil = toiled->toil;

	toil->debts[toil->count] = http_request_debt(toiled->request);
	toil->count++;
}

static void toil_serve(void *context, struct http_request *request)
{
	struct toiled *toiled = arena_alloc(http_request_arena(request), sizeof(*toiled));

	*toiled = (struct toiled){ context, request };
	http_request_on_gone(request, toil_on_gone, toiled);
}

static void toil_refused(void *context, struct slice scheme, struct slice method,
			 const struct fault *why, char trace_id[33])
{
	assert_int_equal(fault_status(why), 503);
	((struct toil *)context)->refused++;
}

static void toil_end(void *context)
{
	struct toil *toil = context;

	for (int i = 0; i < toil->count; i++)
		http_debt_end(toil->debts[i]);
	toil->count = 0;
}

static void toil_reaches(_Atomic int *value, int wanted)
{
	for (int tries = 0; *value != wanted && tries < PATIENCE_MS / 5; tries++)
		poll(NULL, 0, 5);
	assert_int_equal(*value, wanted);
}

static void toil_open(struct toil *toil)
{
	struct http_server_config config = site_config(toil_serve, toil);

	config.requests_max = 4 * HTTP_CONNECTION_WORK_MAX;
	config.refused = toil_refused;
	*toil = (struct toil){ 0 };
	site_open(&toil->service.site, &config);
}

/* Streams from first on that are opened, served and then reset. */
static void streams_reset(struct toil *toil, int fd, unsigned first, unsigned count)
{
	struct buf out = { 0 };

	for (unsigned i = 0; i < count; i++)
		http2_get(&out, first + 2 * i, "/");
	assert_true(client_send_bytes(fd, buf_slice(&out)));
	assert_true(site_reaches(&toil->service.site, count, 1));
	buf_reset(&out);
	for (unsigned i = 0; i < count; i++)
		http2_reset(&out, first + 2 * i);
	assert_true(client_send_bytes(fd, buf_slice(&out)));
	assert_true(site_reaches(&toil->service.site, 0, 1));
	buf_finish(&out);
}

static void work_left_behind_counts_against_its_connection(void **state)
{
	struct toil toil;
	struct buf out = { 0 };
	int fd;

	toil_open(&toil);
	fd = client_connect(&toil.service.site);
	http2_begin(&out);
	assert_true(client_send_bytes(fd, buf_slice(&out)));
	streams_reset(&toil, fd, 1, HTTP_CONNECTION_WORK_MAX / 2);
	streams_reset(&toil, fd, 1001, HTTP_CONNECTION_WORK_MAX / 2);
	assert_int_equal(toil.count, HTTP_CONNECTION_WORK_MAX);
	buf_reset(&out);
	http2_get(&out, 2001, "/");
	assert_true(client_send_bytes(fd, buf_slice(&out)));
	toil_reaches(&toil.refused, 1);
	assert_true(site_reaches(&toil.service.site, 0, 1));

	site_do(&toil.service.site, toil_end, &toil);
	streams_reset(&toil, fd, 3001, HTTP_CONNECTION_WORK_MAX);
	assert_int_equal(toil.refused, 1);

	/* Who does not hear is closed; in portions that h2o has room for. */
	buf_reset(&out);
	http2_frame(&out, 8, 0, 0, SLICE("\x01\0\0\0")); /* room for all the answers */
	assert_true(client_send_bytes(fd, buf_slice(&out)));
	for (int told = 1; told < HTTP_CONNECTION_REFUSALS_MAX;) {
		toil_reaches(&toil.refused, told);
		buf_reset(&out);
		for (int i = 0; i < 90; i++)
			http2_get(&out, 4001 + 2 * (unsigned)told++, "/");
		assert_true(client_send_bytes(fd, buf_slice(&out)));
	}
	assert_true(site_reaches(&toil.service.site, 0, 0));
	site_do(&toil.service.site, toil_end, &toil);
	close(fd);
	buf_finish(&out);
	site_close(&toil.service.site);
}

static void a_debt_outlives_connection_and_server(void **state)
{
	struct toil toil;
	struct buf out = { 0 };
	int fds[2];

	toil_open(&toil);
	http2_begin(&out);
	http2_get(&out, 1, "/");
	http2_get(&out, 3, "/");
	for (int i = 0; i < 2; i++) {
		fds[i] = client_connect(&toil.service.site);
		assert_true(client_send_bytes(fds[i], buf_slice(&out)));
	}
	assert_true(site_reaches(&toil.service.site, 4, 2));
	close(fds[0]);
	assert_true(site_reaches(&toil.service.site, 2, 1));
	assert_int_equal(toil.count, 2);
	site_close(&toil.service.site);
	assert_int_equal(toil.count, 4);
	toil_end(&toil);
	http_debt_end(NULL);
	close(fds[1]);
	buf_finish(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(at_connections_max_the_longest_idle_gives_way),
		cmocka_unit_test(what_arrives_holds_no_more_than_it_may),
		cmocka_unit_test(who_takes_nothing_of_its_answer_is_let_go),
		cmocka_unit_test(a_chunked_body_ends_its_connection),
		cmocka_unit_test(http2_is_spoken_only_where_it_is_allowed),
		cmocka_unit_test(work_left_behind_counts_against_its_connection),
		cmocka_unit_test(a_debt_outlives_connection_and_server),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
