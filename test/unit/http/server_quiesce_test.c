/* SPDX-License-Identifier: MIT */
/* How a server ends without losing a request: told to go first, then drained. */
#include "http2_frames.h"
#include "site_service.h"

#define GET "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
#define WAITING 8

static void quiesce(void *context)
{
	http_server_quiesce(context);
}

static void drain(void *context)
{
	http_server_drain(context);
}

static void assert_kept(int fd)
{
	char *answer;

	assert_true(client_send(fd, GET));
	answer = client_read_answer(fd, false);
	assert_true(answer_has(answer, "Connection: keep-alive\r\n"));
	free(answer);
}

static void assert_last(int fd)
{
	char *answer;

	assert_true(client_send(fd, GET));
	answer = client_read_all(fd);
	assert_true(answer_has(answer, "HTTP/1.1 200 OK\r\n"));
	assert_true(answer_has(answer, "Connection: close\r\n"));
	assert_true(answer_has(answer, "\r\n\r\nhello"));
	free(answer);
	close(fd);
}

static void told_to_go_clients_are_answered_on_kept_and_on_new_connections(void **state)
{
	struct service service;
	int kept, fresh, held;
	char *answer;

	service_open(&service, NULL);
	kept = client_connect(&service.site);
	fresh = client_connect(&service.site);
	held = client_connect(&service.site);
	assert_kept(kept);
	assert_true(client_send(held, "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n"));
	assert_true(site_reaches(&service.site, 1, 3));
	site_do(&service.site, quiesce, service.site.server);
	site_do(&service.site, quiesce, service.site.server);
	site_do(&service.site, release, &service);
	answer = client_read_all(held);
	assert_true(answer_has(answer, "Connection: close\r\n") &&
		    answer_has(answer, "later"));
	free(answer);
	close(held);
	/* The sweep has looked at them. */
	poll(NULL, 0, 1200);
	assert_true(site_reaches(&service.site, 0, 2));
	assert_last(kept);
	assert_last(fresh);
	assert_last(client_connect(&service.site));
	assert_true(site_reaches(&service.site, 0, 0));
	site_do(&service.site, drain, service.site.server);
	service_close(&service);
}

struct crowd {
	struct service *service;
	int fds[WAITING];
};

/* On the server's thread: the kernel takes the connections, the server has not yet. */
static void come_and_drain(void *context)
{
	struct crowd *crowd = context;

	for (int i = 0; i < WAITING; i++)
		crowd->fds[i] = client_connect(&crowd->service->site);
	for (int i = 0; i < WAITING / 2; i++)
		assert_true(client_send(crowd->fds[i], GET));
	http_server_drain(crowd->service->site.server);
	/* Nobody else comes in. */
	http_server_drain(crowd->service->site.server);
}

static void who_waits_to_be_accepted_when_the_drain_begins_is_answered(void **state)
{
	struct service service;
	struct crowd crowd = { .service = &service };
	struct mono began;
	char *answer;
	int silent;

	service_open(&service, NULL);
	site_do(&service.site, come_and_drain, &crowd);
	/* Half of them send later, the last one nothing at all. */
	silent = crowd.fds[WAITING - 1];
	for (int i = WAITING / 2; i < WAITING - 1; i++)
		assert_last(crowd.fds[i]);
	for (int i = 0; i < WAITING / 2; i++) {
		answer = client_read_all(crowd.fds[i]);
		assert_true(answer_has(answer, "Connection: close\r\n") &&
			    answer_has(answer, "\r\n\r\nhello"));
		free(answer);
		close(crowd.fds[i]);
	}
	began = clock_mono();
	answer = client_read_all(silent);
	assert_string_equal(answer, "");
	free(answer);
	assert_true(mono_seconds(began, clock_mono()) < 2);
	close(silent);
	assert_true(site_reaches(&service.site, 0, 0));
	assert_int_equal(service.served, WAITING - 1);
	service_close(&service);
}

static void drained_the_port_is_closed(void **state)
{
	struct service service;
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	service_open(&service, NULL);
	site_do(&service.site, quiesce, service.site.server);
	assert_last(client_connect(&service.site));
	site_do(&service.site, drain, service.site.server);
	at.sin_port = htons((uint16_t)http_server_port(service.site.server));
	assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), -1);
	assert_int_equal(errno, ECONNREFUSED);
	close(fd);
	service_close(&service);
}

/* Reads frames until one of this type; gives the last stream of a GOAWAY. */
static unsigned read_until(int fd, unsigned type)
{
	for (;;) {
		unsigned char head[9], payload[16384] = { 0 };
		unsigned size;

		assert_int_equal(recv(fd, head, sizeof(head), MSG_WAITALL), 9);
		size = (unsigned)(head[0] << 16 | head[1] << 8 | head[2]);
		assert_true(size <= sizeof(payload));
		if (size)
			assert_int_equal(recv(fd, payload, size, MSG_WAITALL), size);
		if (head[3] == type)
			return (unsigned)(payload[0] & 0x7f) << 24 |
			       (unsigned)payload[1] << 16 | (unsigned)payload[2] << 8 |
			       payload[3];
	}
}

static int http2_client(struct service *service, unsigned stream, bool begin, int fd)
{
	struct buf out = { 0 };

	if (begin) {
		fd = client_connect(&service->site);
		http2_begin(&out);
	}
	http2_get(&out, stream, "/");
	assert_true(client_send_bytes(fd, buf_slice(&out)));
	buf_finish(&out);
	return fd;
}

static void told_to_go_http2_clients_hear_goaway_and_are_answered(void **state)
{
	enum { HEADERS = 1, GOAWAY = 7 };
	struct service service;
	int early, late;

	service_open(&service, NULL);
	early = http2_client(&service, 1, true, -1);
	read_until(early, HEADERS);
	site_do(&service.site, quiesce, service.site.server);
	assert_int_equal(read_until(early, GOAWAY), 0x7fffffff); /* it is about to end */
	http2_client(&service, 3, false, early);
	read_until(early, HEADERS);
	assert_int_equal(read_until(early, GOAWAY), 3); /* nothing beyond this */
	/* One that comes only now is told, too. */
	late = http2_client(&service, 1, true, -1);
	read_until(late, HEADERS);
	read_until(late, GOAWAY);
	close(early);
	close(late);
	site_do(&service.site, drain, service.site.server);
	assert_true(site_reaches(&service.site, 0, 0));
	service_close(&service);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			told_to_go_clients_are_answered_on_kept_and_on_new_connections),
		cmocka_unit_test(
			who_waits_to_be_accepted_when_the_drain_begins_is_answered),
		cmocka_unit_test(drained_the_port_is_closed),
		cmocka_unit_test(told_to_go_http2_clients_hear_goaway_and_are_answered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
