/* SPDX-License-Identifier: MIT */
#include "site.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* Answers with the client, asked for twice. */
static void tell_client(void *context, struct http_request *request)
{
	struct slice client = http_request_client(request);
	struct buf text = { 0 };

	assert_true(slice_equal(client, http_request_client(request)));
	buf_printf(&text, "client=%.*s peer=%.*s.", SLICE_PRINT(client),
		   SLICE_PRINT(http_request_peer(request)));
	http_respond(request, 200, NULL, 0, buf_slice(&text));
	buf_finish(&text);
}

static void open_site(struct site *site, struct slice host, struct slice trusted)
{
	struct http_server_config config = site_config(tell_client, NULL);

	config.host = host;
	config.trusted_proxies = trusted;
	site_open(site, &config);
}

/* headers: lines, each with its end. */
static void assert_told(int fd, const char *headers, const char *told)
{
	struct buf text = { 0 };
	char *answer;

	buf_printf(&text, "GET / HTTP/1.1\r\nHost: a\r\n%s\r\n", headers);
	assert_true(client_send(fd, buf_text(&text)));
	answer = client_read_answer(fd, false);
	if (!answer_has(answer, told))
		fail_msg("%s: %s, not %s", headers, answer ? answer : "(nothing)", told);
	free(answer);
	buf_finish(&text);
}

static void nobody_is_believed_where_no_proxy_is_trusted(void **state)
{
	static const struct slice sets[] = { SLICE(""), SLICE(" , "),
					     SLICE("172.16.0.0/12"),
					     SLICE("::1, 127.0.0.2") };

	for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
		struct site site;
		int fd;

		open_site(&site, SLICE("127.0.0.1"), sets[i]);
		fd = client_connect(&site);
		assert_told(fd, "", "client=127.0.0.1 peer=127.0.0.1.");
		assert_told(fd, "X-Forwarded-For: 1.2.3.4\r\n",
			    "client=127.0.0.1 peer=127.0.0.1.");
		assert_told(fd, "X-Forwarded-For: 172.16.0.1, 127.0.0.2\r\n",
			    "client=127.0.0.1 peer=127.0.0.1.");
		close(fd);
		site_close(&site);
	}
}

static void behind_trusted_proxies_the_client_is_the_rightmost_other_address(void **state)
{
	static const struct {
		const char *headers, *client;
	} cases[] = {
		{ "", "127.0.0.1" },
		{ "X-Forwarded-For: 203.0.113.9\r\n", "203.0.113.9" },
		{ "x-forwarded-for: \t203.0.113.9 \r\n", "203.0.113.9" },
		{ "X-Forwarded-For: 1.1.1.1, 203.0.113.9\r\n", "203.0.113.9" },
		{ "X-Forwarded-For: 1.1.1.1, 203.0.113.9, 172.19.8.7, 127.0.0.1\r\n",
		  "203.0.113.9" },
		{ "X-Forwarded-For: 203.0.113.9,172.16.0.1\r\n", "203.0.113.9" },
		/* one list, whatever lines it comes in */
		{ "X-Forwarded-For: 1.1.1.1\r\nX-Other: 5.5.5.5\r\n"
		  "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-For: 172.16.0.1\r\n",
		  "203.0.113.9" },
		/* all are proxies: who is behind them nobody says */
		{ "X-Forwarded-For: 172.16.0.7, 172.16.0.1\r\n", "172.16.0.7" },
		{ "X-Forwarded-For: 127.0.0.1\r\n", "127.0.0.1" },
		{ "X-Forwarded-For: 2001:DB8::0:9, ::ffff:172.16.0.1\r\n",
		  "2001:db8::9" },
		{ "X-Forwarded-For: ::ffff:203.0.113.9\r\n", "203.0.113.9" },
		/* parts without text do not count */
		{ "X-Forwarded-For: 203.0.113.9, , 172.16.0.1,\r\n", "203.0.113.9" },
		{ "X-Forwarded-For: \r\n", "127.0.0.1" },
		{ "X-Forwarded-For: ,,\r\n", "127.0.0.1" },
		/* garbage ends what is believed */
		{ "X-Forwarded-For: garbage\r\n", "127.0.0.1" },
		{ "X-Forwarded-For: 1.1.1.1, unknown\r\n", "127.0.0.1" },
		{ "X-Forwarded-For: 1.1.1.1, unknown, 172.16.0.1\r\n", "172.16.0.1" },
		{ "X-Forwarded-For: 1.1.1.1, 2.2.2.2:80, 172.16.0.1\r\n", "172.16.0.1" },
		{ "X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: x\r\n"
		  "X-Forwarded-For: 172.16.0.1\r\n",
		  "172.16.0.1" },
		/* other headers are not looked at */
		{ "Forwarded: for=1.1.1.1\r\nX-Real-IP: 1.1.1.1\r\n", "127.0.0.1" },
	};
	struct site site;
	int fd;

	open_site(&site, SLICE("127.0.0.1"), SLICE("127.0.0.1, 172.16.0.0/12"));
	fd = client_connect(&site);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct buf told = { 0 };

		buf_printf(&told, "client=%s peer=127.0.0.1.", cases[i].client);
		assert_told(fd, cases[i].headers, buf_text(&told));
		buf_finish(&told);
	}
	close(fd);
	site_close(&site);
}

static void a_proxy_is_known_where_a_socket_takes_both_families(void **state)
{
	struct site site;
	int fd;

	open_site(&site, SLICE("::"), SLICE("127.0.0.0/8"));
	fd = client_connect(&site);
	assert_told(fd, "X-Forwarded-For: 203.0.113.9\r\n",
		    "client=203.0.113.9 peer=127.0.0.1.");
	close(fd);
	site_close(&site);
}

static void a_long_list_is_read_from_its_end(void **state)
{
	struct site site;
	struct buf line = { 0 };
	int fd;

	open_site(&site, SLICE("127.0.0.1"), SLICE("127.0.0.1, 172.16.0.0/12"));
	fd = client_connect(&site);
	buf_printf(&line, "X-Forwarded-For: 203.0.113.9");
	for (int i = 0; i < 10000; i++)
		buf_printf(&line, ", 172.16.%d.%d", i / 256, i % 256);
	buf_printf(&line, "\r\n");
	assert_told(fd, buf_text(&line), "client=203.0.113.9 ");
	buf_finish(&line);
	close(fd);
	site_close(&site);
}

static void proxies_that_cannot_be_read_keep_the_server_from_starting(void **state)
{
	struct http_server_config config = site_config(tell_client, NULL);
	struct observer observer = { 0 };
	struct chaos chaos = { 0 };
	struct loop *loop = loop_create(&observer, &chaos);
	struct fault why;

	config.trusted_proxies = SLICE("127.0.0.1, gateway");
	assert_null(http_server_create(loop, &config, true, &why));
	assert_int_equal(why.kind, FAULT_bad_input);
	assert_non_null(strstr(why.detail, "'gateway'"));
	loop_destroy(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nobody_is_believed_where_no_proxy_is_trusted),
		cmocka_unit_test(
			behind_trusted_proxies_the_client_is_the_rightmost_other_address),
		cmocka_unit_test(a_proxy_is_known_where_a_socket_takes_both_families),
		cmocka_unit_test(a_long_list_is_read_from_its_end),
		cmocka_unit_test(
			proxies_that_cannot_be_read_keep_the_server_from_starting),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
