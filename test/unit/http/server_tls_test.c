/* SPDX-License-Identifier: MIT */
#include "http/server_tls.h"
#include "http/upgraded.h"
#include "http/websocket.h"
#include "stream_service.h"
#include "tls_files.h"

#define GET_ "GET %s HTTP/1.1\r\nHost: a\r\n\r\n"
#define UPGRADE_                                                                         \
	"GET %s HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"    \
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "                               \
	"dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

static struct tls_files files;

/* What site_service.h and stream_service.h serve, and /scheme, /echo (upgraded), /ws. */
struct safe {
	struct service service;
	struct faucet faucet;
	struct http_upgraded *upgraded;
	_Atomic int closed;
	_Atomic int said;
};

static void echo_received(void *context, struct slice bytes)
{
	struct safe *safe = context;

	http_upgraded_pause(safe->upgraded, true);
	http_upgraded_send(safe->upgraded, bytes);
}

static void echo_drained(void *context)
{
	http_upgraded_pause(((struct safe *)context)->upgraded, false);
}

static void echo_closed(void *context)
{
	struct safe *safe = context;

	http_upgraded_close(safe->upgraded);
	safe->upgraded = NULL;
	safe->closed++;
}

static void echo(struct safe *safe, struct http_request *request)
{
	static const struct http_upgraded_events events = { echo_received, echo_drained,
							    echo_closed };
	const struct http_header header = { SLICE("upgrade"), SLICE("websocket") };

	safe->upgraded = http_upgrade(request, &header, 1, &events, safe);
	http_upgraded_pause(safe->upgraded, false);
}

static void ws_message(void *context, struct slice text)
{
	((struct safe *)context)->said = (int)text.size;
}

static void ws_closed(void *context, int code)
{
	((struct safe *)context)->closed++;
}

static void safe_serve(void *context, struct http_request *request)
{
	static const struct websocket_handler handler = { ws_message, ws_closed };
	static const struct websocket_config ws = { 4096, 4096, 0 };
	struct safe *safe = context;
	struct slice path = http_request_path(request);

	if (path.size > 1 && path.at[1] >= '0' && path.at[1] <= '9')
		faucet_serve(&safe->faucet, request);
	else if (slice_equal(path, SLICE("/scheme")))
		http_respond(request, 200, NULL, 0, http_request_scheme(request));
	else if (slice_equal(path, SLICE("/echo")))
		echo(safe, request);
	else if (slice_equal(path, SLICE("/ws")))
		assert_non_null(websocket_accept(request, safe->service.site.loop, &ws,
						 &handler, safe));
	else
		serve(&safe->service, request);
}

static struct http_server_config safe_config(void)
{
	struct http_server_config config = site_config(NULL, NULL);

	config.tls_certificate = files.certificate;
	config.tls_key = files.key;
	return config;
}

static void safe_open(struct safe *safe, const struct http_server_config *changes)
{
	struct http_server_config config = changes ? *changes : safe_config();

	config.handler = safe_serve;
	config.context = safe;
	*safe = (struct safe){ 0 };
	site_open(&safe->service.site, &config);
}

static void safe_close(struct safe *safe)
{
	service_close(&safe->service);
	while (safe->faucet.flows) {
		struct flow *next = safe->faucet.flows->next;

		assert_null(safe->faucet.flows->request);
		free(safe->faucet.flows);
		safe->faucet.flows = next;
	}
}

static void enter(struct safe *safe, struct tls_client *client, struct tls_wish wish)
{
	assert_true(tls_connect(client, &safe->service.site, wish));
}

/* Connects and sends "GET path". */
static void enter_and_get(struct safe *safe, struct tls_client *client, const char *path)
{
	char text[256];

	enter(safe, client, (struct tls_wish){ 0 });
	snprintf(text, sizeof(text), GET_, path);
	assert_true(tls_send(client, text));
}

static char *tls_ask(struct tls_client *client, const char *path)
{
	char text[256];

	snprintf(text, sizeof(text), GET_, path);
	assert_true(tls_send(client, text));
	return tls_read_answer(client);
}

/* --- its files -------------------------------------------------------------------- */

static void a_bad_file_is_named_with_its_setting(void **state)
{
	const struct {
		const char *certificate, *key, *says, *names;
	} cases[] = {
		{ "/nowhere/c.pem", files.key, "tls_certificate: ", "/nowhere/c.pem" },
		{ files.certificate, "/nowhere/k.pem", "tls_key: ", "/nowhere/k.pem" },
		{ files.nonsense, files.key, "tls_certificate: ", files.nonsense },
		{ files.certificate, files.nonsense, "tls_key: ", files.nonsense },
		{ files.key, files.key, "tls_certificate: ", files.key },
		{ files.certificate, files.other_key, "is not the key", files.other_key },
		{ files.certificate, files.locked_key, "tls_key: ", files.locked_key },
		{ files.certificate, NULL, "tls_key is not set", "" },
		{ "", files.key, "tls_certificate is not set", "" },
		{ files.folder, files.key, "tls_certificate: ", files.folder },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct http_server_config config = safe_config();
		struct site site = { 0 };
		struct fault why = { 0 };

		config.tls_certificate = cases[i].certificate;
		config.tls_key = cases[i].key;
		site.loop = loop_create(&site.observer, &site.chaos);
		assert_null(http_server_create(site.loop, &config, false, &why));
		assert_int_equal(why.kind, FAULT_bad_input);
		if (!strstr(why.detail, cases[i].says) ||
		    !strstr(why.detail, cases[i].names))
			fail_msg("%zu: %s", i, why.detail);
		loop_destroy(site.loop);
	}
}

/* --- the handshake ---------------------------------------------------------------- */

static void requests_are_answered_over_both_versions(void **state)
{
	static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };
	struct safe safe;

	safe_open(&safe, NULL);
	for (int i = 0; i < 2; i++) {
		struct tls_client client;
		char *answer;

		enter(&safe, &client, (struct tls_wish){ .version = versions[i] });
		answer = tls_ask(&client, "/scheme");
		assert_true(answer_has(answer, "\r\n\r\nhttps"));
		free(answer);
		answer = tls_ask(&client, "https://b/tell"); /* on the same connection */
		assert_true(
			answer_has(answer, "GET /tell ? HTTP/1.1 host=b peer=127.0.0.1"));
		free(answer);
		answer = tls_ask(&client, "http://b/tell");
		assert_true(answer_has(answer, "HTTP/1.1 400 "));
		free(answer);
		tls_close(&client, true);
		assert_true(site_reaches(&safe.service.site, 0, 0));
	}
	safe_close(&safe);
}

static void old_versions_and_cleartext_are_not_answered(void **state)
{
	struct safe safe;
	struct tls_client client;
	char *all;
	int fd;

	safe_open(&safe, NULL);
	assert_false(tls_connect(&client, &safe.service.site,
				 (struct tls_wish){ .version = TLS1_1_VERSION }));
	tls_close(&client, false);
	fd = client_connect(&safe.service.site);
	assert_true(client_send(fd, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
	all = client_read_all(fd);
	assert_false(answer_has(all, "HTTP"));
	free(all);
	close(fd);
	assert_true(site_reaches(&safe.service.site, 0, 0));
	assert_int_equal(safe.service.served, 0);
	safe_close(&safe);
}

static void http2_is_chosen_only_where_it_is_allowed(void **state)
{
	static const struct {
		bool http2;
		const char *offered, *chosen; /* NULL: the handshake fails */
	} cases[] = {
		{ true, "\2h2\10http/1.1", "h2" },
		{ true, "\10http/1.1", "http/1.1" },
		{ true, "\10http/1.1\2h2", "h2" },
		{ true, NULL, "" },
		{ true, "\3foo", NULL },
		{ false, "\2h2\10http/1.1", "http/1.1" },
		{ false, "\2h2", NULL },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct http_server_config config = safe_config();
		struct safe safe;
		struct tls_client client;
		const unsigned char *chosen;
		unsigned size;

		config.http2 = cases[i].http2;
		safe_open(&safe, &config);
		assert_int_equal(
			tls_connect(&client, &safe.service.site,
				    (struct tls_wish){ .alpn = cases[i].offered }),
			cases[i].chosen != NULL);
		SSL_get0_alpn_selected(client.ssl, &chosen, &size);
		if (cases[i].chosen) {
			assert_int_equal(size, strlen(cases[i].chosen));
			if (size)
				assert_memory_equal(chosen, cases[i].chosen, size);
		}
		tls_close(&client, true);
		safe_close(&safe);
	}
}

static void http2_is_spoken_over_tls(void **state)
{
	struct safe safe;
	struct tls_client client;
	struct buf out = { 0 };
	char frame[9], body[70000];
	bool told = false;

	safe_open(&safe, NULL);
	enter(&safe, &client, (struct tls_wish){ .alpn = "\2h2" });
	http2_begin(&out);
	http2_get(&out, 1, "/scheme");
	assert_true(tls_send_bytes(&client, buf_slice(&out)));
	while (!told) {
		size_t size;

		assert_true(tls_read(&client, frame, 9));
		size = (size_t)(unsigned char)frame[1] << 8 | (unsigned char)frame[2];
		assert_true(tls_read(&client, body, size));
		if (frame[3] == 0) {
			assert_int_equal(size, 5);
			assert_memory_equal(body, "https", 5);
			told = frame[4] & 1;
		}
	}
	tls_close(&client, true);
	buf_finish(&out);
	assert_true(site_reaches(&safe.service.site, 0, 0));
	safe_close(&safe);
}

static void a_session_is_resumed(void **state)
{
	static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };
	struct safe safe;

	safe_open(&safe, NULL);
	for (int i = 0; i < 2; i++) {
		struct tls_wish wish = { .version = versions[i] };
		struct tls_client client;

		for (int again = 0; again < 2; again++) {
			enter(&safe, &client, wish);
			free(tls_ask(&client, "/")); /* brings the ticket */
			assert_int_equal(SSL_session_reused(client.ssl), again);
			SSL_SESSION_free(wish.session);
			wish.session = SSL_get1_session(client.ssl);
			tls_close(&client, true);
		}
		SSL_SESSION_free(wish.session);
	}
	safe_close(&safe);
}

static void a_handshake_is_not_waited_for_for_ever(void **state)
{
	struct http_server_config config = safe_config();
	struct safe safe;
	int fds[2];

	config.request_timeout_ms = 200;
	safe_open(&safe, &config);
	for (int i = 0; i < 2; i++)
		fds[i] = client_connect(&safe.service.site);
	/* The beginning of a ClientHello that goes on. */
	assert_true(client_send_bytes(fds[1], SLICE("\x16\3\1\2\0\1\0\1\xfc\3\3")));
	assert_true(site_reaches(&safe.service.site, 0, 2));
	assert_true(site_reaches(&safe.service.site, 0, 0));
	for (int i = 0; i < 2; i++)
		close(fds[i]);
	safe_close(&safe);
}

/* --- what holds without TLS holds with it ----------------------------------------- */

static void refusals_reach_the_client(void **state)
{
	struct safe safe;
	struct tls_client client;
	char *all, *large = mem_zeroed(1, 1 << 20);
	bool whole;

	safe_open(&safe, NULL);
	enter(&safe, &client, (struct tls_wish){ 0 });
	assert_true(tls_send(&client,
			     "POST /tell HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n"
			     "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"));
	all = tls_read_all(&client, &whole);
	assert_true(whole);
	assert_true(answer_has(all, "HTTP/1.1 400 "));
	assert_true(answer_has(all, "both Content-Length and Transfer-Encoding"));
	free(all);
	tls_close(&client, true);
	/* The answer is read although the body that it refuses is still being sent. */
	enter(&safe, &client, (struct tls_wish){ 0 });
	assert_true(tls_send(&client, "POST /tell HTTP/1.1\r\nHost: a\r\n"
				      "Content-Length: 1048576\r\n\r\n"));
	tls_send_bytes(&client, slice_of(large, 1 << 20));
	all = tls_read_all(&client, &whole);
	assert_true(answer_has(all, "HTTP/1.1 413 "));
	assert_true(answer_has(all, "the body is above 4096 bytes"));
	free(all);
	tls_close(&client, false);
	free(large);
	assert_true(site_reaches(&safe.service.site, 0, 0));
	safe_close(&safe);
}

static void a_chunked_body_ends_its_connection(void **state)
{
	struct safe safe;
	struct tls_client client;
	char *all;
	bool whole;

	safe_open(&safe, NULL);
	enter(&safe, &client, (struct tls_wish){ 0 });
	assert_true(tls_send(&client,
			     "POST /tell HTTP/1.1\r\nHost: a\r\n"
			     "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
			     "GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
	all = tls_read_all(&client, &whole);
	assert_true(whole);
	assert_true(answer_has(all, "body=abc\n"));
	assert_false(answer_has(all, "hello"));
	free(all);
	tls_close(&client, true);
	safe_close(&safe);
}

static void requests_in_one_record_are_all_served(void **state)
{
	struct safe safe;
	struct tls_client client;

	safe_open(&safe, NULL);
	enter(&safe, &client, (struct tls_wish){ 0 });
	assert_true(tls_send(&client, "GET /later HTTP/1.1\r\nHost: a\r\n\r\n"
				      "GET /later HTTP/1.1\r\nHost: a\r\n\r\n"
				      "GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
	for (int i = 0; i < 3; i++) {
		char *answer = tls_read_answer(&client);

		assert_true(answer_has(answer, i < 2 ? "later" : "hello"));
		free(answer);
	}
	tls_close(&client, true);
	safe_close(&safe);
}

static void a_client_that_leaves_is_noticed(void **state)
{
	static const char *const paths[] = { "/hold", "/1/3/wait", "/1000/65536/told" };
	struct safe safe;

	safe_open(&safe, NULL);
	for (int i = 0; i < 12; i++) {
		struct tls_client client;

		enter_and_get(&safe, &client, paths[i / 4]);
		assert_true(site_reaches(&safe.service.site, 1, 1));
		if (i % 4 == 2)
			set_reset_on_close(client.fd);
		if (i % 4 == 3) /* more is said first */
			assert_true(tls_send(&client, "GET / HTTP/1.1\r\n"));
		tls_close(&client, i % 4 == 0);
		assert_true(site_reaches(&safe.service.site, 0, 0));
		assert_int_equal(safe.service.gone + safe.faucet.gone, i + 1);
	}
	assert_int_equal(safe.service.gone, 4);
	safe_close(&safe);
}

/* The timer that looks for its end must not take it for gone. */
static void a_client_that_says_more_is_not_taken_for_gone(void **state)
{
	struct safe safe;
	struct tls_client clients[2];
	char *answer;

	safe_open(&safe, NULL);
	for (int i = 0; i < 2; i++) {
		enter_and_get(&safe, &clients[i], "/hold");
		assert_true(tls_send(&clients[i], "GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
	}
	assert_true(site_reaches(&safe.service.site, 2, 2));
	tls_close(&clients[1], true); /* found by that timer */
	assert_true(site_reaches(&safe.service.site, 1, 1));
	site_do(&safe.service.site, release, &safe.service);
	answer = tls_read_answer(&clients[0]);
	assert_true(answer_has(answer, "later"));
	free(answer);
	answer = tls_read_answer(&clients[0]);
	assert_true(answer_has(answer, "hello"));
	free(answer);
	tls_close(&clients[0], true);
	safe_close(&safe);
}

static void answers_in_pieces_are_whole_or_seen_to_be_cut(void **state)
{
	struct safe safe;
	struct tls_client client;
	char *all, *want = flow_text(20, 60000);
	bool whole;

	safe_open(&safe, NULL);
	enter_and_get(&safe, &client, "/20/60000/told HTTP/1.0\r\nX: ");
	all = tls_read_all(&client, &whole);
	assert_true(whole);
	assert_string_equal(strstr(all, "\r\n\r\n") + 4, want);
	free(all);
	tls_close(&client, true);
	enter_and_get(&safe, &client, "/20/60000/abort HTTP/1.0\r\nX: ");
	all = tls_read_all(&client, &whole);
	assert_false(whole);
	free(all);
	tls_close(&client, true);
	free(want);
	assert_true(site_reaches(&safe.service.site, 0, 0));
	safe_close(&safe);
}

static void who_takes_nothing_is_cut(void **state)
{
	struct http_server_config config = safe_config();
	struct safe safe;
	struct tls_client clients[2];

	config.idle_timeout_ms = 100;
	safe_open(&safe, &config);
	enter_and_get(&safe, &clients[0], "/1000/65536/told");
	enter_and_get(&safe, &clients[1], "/large");
	wait_for(&safe.faucet.gone, 1);
	assert_true(site_reaches(&safe.service.site, 0, 0));
	for (int i = 0; i < 2; i++)
		tls_close(&clients[i], false);
	safe_close(&safe);
}

static void upgraded(struct safe *safe, struct tls_client *client, const char *path)
{
	char text[512], *answer;

	enter(safe, client, (struct tls_wish){ 0 });
	snprintf(text, sizeof(text), UPGRADE_, path);
	assert_true(tls_send(client, text));
	answer = tls_read_answer(client);
	assert_true(answer_has(answer, "HTTP/1.1 101 "));
	free(answer);
}

static void an_upgraded_connection_carries_bytes(void **state)
{
	struct safe safe;
	struct tls_client client;
	char *bytes = mem_zeroed(1, 300000), *got = mem_zeroed(1, 300000);

	safe_open(&safe, NULL);
	upgraded(&safe, &client, "/echo");
	for (int i = 0; i < 300000; i++)
		bytes[i] = (char)(i * 2654435761u >> 13);
	for (int i = 0; i < 300000; i += 30000) {
		assert_true(tls_send_bytes(&client, slice_of(bytes + i, 30000)));
		assert_true(tls_read(&client, got + i, 30000));
	}
	assert_memory_equal(bytes, got, 300000);
	tls_close(&client, true);
	wait_for(&safe.closed, 1);
	assert_true(site_reaches(&safe.service.site, 0, 0));
	free(bytes);
	free(got);
	safe_close(&safe);
}

static void a_websocket_carries_messages(void **state)
{
	struct safe safe;
	struct tls_client client;

	safe_open(&safe, NULL);
	upgraded(&safe, &client, "/ws");
	assert_true(tls_send_bytes(&client, SLICE("\x81\x83\0\0\0\0abc")));
	wait_for(&safe.said, 3);
	tls_close(&client, true);
	wait_for(&safe.closed, 1);
	assert_true(site_reaches(&safe.service.site, 0, 0));
	safe_close(&safe);
}

/* --- ends ------------------------------------------------------------------------- */

static void drain(void *context)
{
	http_server_drain(context);
}

static void a_draining_server_closes_who_is_idle(void **state)
{
	struct safe safe;
	struct tls_client clients[2];
	char *all;
	bool whole;

	safe_open(&safe, NULL);
	enter(&safe, &clients[0], (struct tls_wish){ 0 });
	free(tls_ask(&clients[0], "/"));
	enter_and_get(&safe, &clients[1], "/hold");
	assert_true(site_reaches(&safe.service.site, 1, 2));
	site_do(&safe.service.site, drain, safe.service.site.server);
	assert_true(site_reaches(&safe.service.site, 1, 1));
	site_do(&safe.service.site, release, &safe.service);
	all = tls_read_all(&clients[1], &whole);
	assert_true(whole);
	assert_true(answer_has(all, "Connection: close"));
	assert_true(answer_has(all, "later"));
	free(all);
	assert_true(site_reaches(&safe.service.site, 0, 0));
	for (int i = 0; i < 2; i++)
		tls_close(&clients[i], true);
	safe_close(&safe);
}

static void the_end_of_the_server_ends_all(void **state)
{
	static const char *const paths[] = { "/hold", "/1/3/wait", "/1000/65536/told",
					     "/large", "/" };
	struct safe safe;
	struct tls_client clients[7];
	int fd;

	safe_open(&safe, NULL);
	fd = client_connect(&safe.service.site); /* has not begun its handshake */
	for (int i = 0; i < 5; i++)
		enter_and_get(&safe, &clients[i], paths[i]);
	upgraded(&safe, &clients[5], "/echo");
	upgraded(&safe, &clients[6], "/ws");
	assert_true(site_reaches(&safe.service.site, 3, 8));
	safe_close(&safe);
	assert_int_equal(safe.closed, 2);
	for (int i = 0; i < 7; i++)
		tls_close(&clients[i], true);
	close(fd);
}

static void any_bytes_are_survived(void **state)
{
	struct safe safe;
	unsigned seed = 3;

	safe_open(&safe, NULL);
	for (int i = 0; i < 150; i++) {
		struct tls_client client;
		char bytes[600];
		size_t size = 1 + (size_t)rand_r(&seed) % sizeof(bytes);

		for (size_t at = 0; at < size; at++)
			bytes[at] = (char)rand_r(&seed);
		if (i % 3 == 0) { /* no TLS at all, or something like it */
			if (rand_r(&seed) % 2)
				memcpy(bytes, "\x16\3\1", 3);
			client.fd = client_connect(&safe.service.site);
			client_send_bytes(client.fd, slice_of(bytes, size));
			close(client.fd);
			continue;
		}
		enter(&safe, &client, (struct tls_wish){ 0 });
		tls_send(&client, "GET /later HTTP/1.1\r\nHost: a\r\n\r\n");
		if (rand_r(&seed) % 2)
			client_send_bytes(client.fd, slice_of(bytes, size));
		if (rand_r(&seed) % 2)
			free(tls_read_answer(&client));
		tls_close(&client, rand_r(&seed) % 2);
	}
	assert_true(site_reaches(&safe.service.site, 0, 0));
	safe_close(&safe);
}

static int make_files(void **state)
{
	tls_files_make(&files);
	return 0;
}

static int remove_files(void **state)
{
	tls_files_remove(&files);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_bad_file_is_named_with_its_setting),
		cmocka_unit_test(requests_are_answered_over_both_versions),
		cmocka_unit_test(old_versions_and_cleartext_are_not_answered),
		cmocka_unit_test(http2_is_chosen_only_where_it_is_allowed),
		cmocka_unit_test(http2_is_spoken_over_tls),
		cmocka_unit_test(a_session_is_resumed),
		cmocka_unit_test(a_handshake_is_not_waited_for_for_ever),
		cmocka_unit_test(refusals_reach_the_client),
		cmocka_unit_test(a_chunked_body_ends_its_connection),
		cmocka_unit_test(requests_in_one_record_are_all_served),
		cmocka_unit_test(a_client_that_leaves_is_noticed),
		cmocka_unit_test(a_client_that_says_more_is_not_taken_for_gone),
		cmocka_unit_test(answers_in_pieces_are_whole_or_seen_to_be_cut),
		cmocka_unit_test(who_takes_nothing_is_cut),
		cmocka_unit_test(an_upgraded_connection_carries_bytes),
		cmocka_unit_test(a_websocket_carries_messages),
		cmocka_unit_test(a_draining_server_closes_who_is_idle),
		cmocka_unit_test(the_end_of_the_server_ends_all),
		cmocka_unit_test(any_bytes_are_survived),
	};

	return cmocka_run_group_tests(tests, make_files, remove_files);
}
