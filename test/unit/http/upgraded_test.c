/* SPDX-License-Identifier: MIT */
#include "http/upgraded.h"
#include "site_service.h"

#define ASK_                                                                             \
	"GET /%s HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: "    \
	"%s\r\n\r\n"

/* A service that upgrades to
 *
 *     echo    sends back what comes, a piece at a time      mute  reads nothing
 *     flood   sends as much as is taken, reads nothing      bye   says bye and closes
 *     tell    answers with what http_request_upgrade says   late  closes after closed
 */
struct ends {
	struct ends *next;
	struct exchange *exchange;
	struct http_upgraded *upgraded; /* NULL: closed */
	char mode[16];
	bool told, busy;
	struct deferred later;
};

struct exchange {
	struct site site;
	struct ends *ends; /* on the server's thread */
	_Atomic int opened;
	_Atomic int closed; /* by the other side */
	_Atomic int received; /* bytes */
	_Atomic int largest; /* of them in one call */
	_Atomic int pieces; /* sent and written */
};

static bool ends_are(const struct ends *ends, const char *mode)
{
	return strcmp(ends->mode, mode) == 0;
}

static void ends_close(void *context)
{
	struct ends *ends = context;

	http_upgraded_close(ends->upgraded);
	ends->upgraded = NULL;
}

static void ends_received(void *context, struct slice bytes)
{
	struct ends *ends = context;

	check(!ends->told && ends->upgraded && !ends->busy);
	ends->exchange->received += (int)bytes.size;
	if ((int)bytes.size > ends->exchange->largest)
		ends->exchange->largest = (int)bytes.size;
	if (slice_equal(bytes, SLICE("quit"))) {
		ends_close(ends);
		return;
	}
	ends->busy = true;
	http_upgraded_pause(ends->upgraded, true);
	http_upgraded_send(ends->upgraded, bytes);
}

static void ends_flood(struct ends *ends)
{
	static const char zeros[65536];

	http_upgraded_send(ends->upgraded, slice_of(zeros, sizeof(zeros)));
}

static void ends_drained(void *context)
{
	struct ends *ends = context;

	check(!ends->told && ends->upgraded);
	ends->exchange->pieces++;
	ends->busy = false;
	if (ends_are(ends, "flood"))
		ends_flood(ends);
	else if (ends_are(ends, "echo"))
		http_upgraded_pause(ends->upgraded, false);
}

static void ends_closed(void *context)
{
	struct ends *ends = context;

	check(!ends->told && ends->upgraded);
	ends->told = true;
	ends->exchange->closed++;
	if (!ends_are(ends, "late"))
		ends_close(ends);
}

static void exchange_tell(struct http_request *request)
{
	struct slice upgrade = http_request_upgrade(request);
	char text[64];
	int size = snprintf(text, sizeof(text), "<%.*s>", SLICE_PRINT(upgrade));

	http_respond(request, 200, NULL, 0, slice_of(text, (size_t)size));
}

static void exchange_serve(void *context, struct http_request *request)
{
	static const struct http_upgraded_events events = { ends_received, ends_drained,
							    ends_closed };
	const struct http_header headers[] = { { SLICE("Upgrade"), SLICE("other") },
					       { SLICE("x-own"), SLICE("kept") },
					       { SLICE("content-length"), SLICE("3") } };
	struct exchange *exchange = context;
	struct slice path = http_request_path(request);
	struct ends *ends;

	if (slice_equal(path, SLICE("/tell"))) {
		exchange_tell(request);
		return;
	}
	ends = mem_zeroed(1, sizeof(*ends));
	ends->exchange = exchange;
	ends->next = exchange->ends;
	exchange->ends = ends;
	snprintf(ends->mode, sizeof(ends->mode), "%.*s", (int)path.size - 1, path.at + 1);
	ends->upgraded = http_upgrade(request, headers, 3, &events, ends);
	exchange->opened++;
	if (ends_are(ends, "echo"))
		http_upgraded_pause(ends->upgraded, false);
	if (ends_are(ends, "late"))
		http_upgraded_pause(ends->upgraded, false);
	if (ends_are(ends, "flood"))
		ends_flood(ends);
	if (ends_are(ends, "bye")) {
		http_upgraded_send(ends->upgraded, SLICE("bye"));
		ends_close(ends);
	}
}

static void exchange_open(struct exchange *exchange,
			  const struct http_server_config *changes)
{
	struct http_server_config config = site_config(NULL, NULL);

	if (changes)
		config = *changes;
	config.http2 = false;
	config.handler = exchange_serve;
	config.context = exchange;
	*exchange = (struct exchange){ 0 };
	site_open(&exchange->site, &config);
}

static void exchange_forget(struct exchange *exchange)
{
	while (exchange->ends) {
		struct ends *next = exchange->ends->next;

		if (exchange->ends->upgraded)
			ends_close(exchange->ends);
		free(exchange->ends);
		exchange->ends = next;
	}
}

static void exchange_close(struct exchange *exchange)
{
	site_close(&exchange->site);
	exchange_forget(exchange);
}

static int enter(struct exchange *exchange, const char *mode, const char *more)
{
	int fd = client_connect(&exchange->site);
	char text[512], *answer;

	snprintf(text, sizeof(text), ASK_ "%s", mode, "other", more);
	assert_true(client_send(fd, text));
	answer = client_read_answer(fd, false);
	assert_true(answer_has(answer, "HTTP/1.1 101 Switching Protocols\r\n"));
	assert_true(answer_has(answer, "Connection: upgrade\r\n"));
	assert_true(answer_has(answer, "upgrade: other\r\n"));
	assert_true(answer_has(answer, "x-own: kept\r\n"));
	assert_false(answer_has(answer, "ontent-"));
	free(answer);
	return fd;
}

static void expect_bytes(int fd, const char *text)
{
	char got[256] = "";

	assert_int_equal(recv(fd, got, strlen(text), MSG_WAITALL), strlen(text));
	assert_string_equal(got, text);
}

static void wait_until(_Atomic int *value, int wanted)
{
	for (int tries = 0; *value < wanted && tries < PATIENCE_MS / 5; tries++)
		poll(NULL, 0, 5);
	assert_true(*value >= wanted);
}

/* The value stays the same for a while. */
static int settle(_Atomic int *value)
{
	int before = -1;

	for (int same = 0, tries = 0; same < 20; tries++) {
		assert_true(tries < PATIENCE_MS / 5);
		poll(NULL, 0, 5);
		same = *value == before ? same + 1 : 0;
		before = *value;
	}
	return before;
}

/* --- who may ----------------------------------------------------------------------- */

static void what_a_request_wants_to_become_is_told(void **state)
{
	static const struct {
		const char *head, *told;
	} cases[] = {
		{ "GET /tell HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: "
		  "websocket\r\n",
		  "<websocket>" },
		{ "GET /tell HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n", "<>" },
		{ "GET /tell HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n", "<>" },
		{ "GET /tell HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n",
		  "<>" },
	};
	struct exchange exchange;
	char text[512], *all;
	int fd;

	exchange_open(&exchange, NULL);
	for (size_t i = 0; i <= sizeof(cases) / sizeof(*cases); i++) {
		bool body = i == sizeof(cases) / sizeof(*cases);

		fd = client_connect(&exchange.site);
		snprintf(text, sizeof(text), "%s%s", cases[body ? 0 : i].head,
			 body ? "Content-Length: 1\r\n\r\nx" : "\r\n");
		assert_true(client_send(fd, text));
		all = client_read_answer(fd, false);
		assert_true(answer_has(all, body ? "<>" : cases[i].told));
		free(all);
		close(fd);
	}
	exchange_close(&exchange);
}

/* --- bytes both ways --------------------------------------------------------------- */

static void bytes_go_both_ways_also_those_that_came_with_the_handshake(void **state)
{
	struct exchange exchange;
	int fd;

	exchange_open(&exchange, NULL);
	fd = enter(&exchange, "echo", "early");
	expect_bytes(fd, "early");
	assert_true(client_send(fd, "late"));
	expect_bytes(fd, "late");
	assert_true(site_reaches(&exchange.site, 0, 1));
	close(fd);
	wait_until(&exchange.closed, 1);
	assert_true(site_reaches(&exchange.site, 0, 0));
	exchange_close(&exchange);
}

struct pour {
	int fd;
	size_t size;
};

static void pour_out(void *context)
{
	const struct pour *pour = context;
	unsigned char bytes[5000];

	for (size_t sent = 0; sent < pour->size;) {
		size_t size = pour->size - sent < sizeof(bytes) ? pour->size - sent
								: sizeof(bytes);

		for (size_t i = 0; i < size; i++)
			bytes[i] = (unsigned char)((sent + i) * 2654435761u >> 13);
		check(client_send_bytes(pour->fd, slice_of((char *)bytes, size)));
		sent += size;
	}
}

static void many_bytes_come_back_as_they_were(void **state)
{
	struct exchange exchange;
	struct pour pour = { .size = 8 << 20 };
	struct thread *thread;
	unsigned char bytes[3000];

	exchange_open(&exchange, NULL);
	pour.fd = enter(&exchange, "echo", "");
	thread = thread_start("pour", pour_out, &pour);
	for (size_t got = 0; got < pour.size;) {
		ssize_t part = recv(pour.fd, bytes, sizeof(bytes), 0);

		assert_true(part > 0);
		for (size_t i = 0; i < (size_t)part; i++)
			assert_int_equal(bytes[i],
					 (unsigned char)((got + i) * 2654435761u >> 13));
		got += (size_t)part;
	}
	thread_join(thread);
	assert_true(exchange.largest <= 4 * 65536);
	close(pour.fd);
	exchange_close(&exchange);
}

static void who_does_not_read_is_not_sent_more(void **state)
{
	struct exchange exchange;
	int fd, pieces;
	char waste[65536];

	exchange_open(&exchange, NULL);
	fd = enter(&exchange, "flood", "");
	pieces = settle(&exchange.pieces);
	assert_in_range(pieces, 1, 500);
	for (int i = 0; i < 200; i++)
		assert_int_equal(recv(fd, waste, sizeof(waste), MSG_WAITALL),
				 sizeof(waste));
	wait_until(&exchange.pieces, pieces + 1);
	close(fd);
	wait_until(&exchange.closed, 1);
	exchange_close(&exchange);
}

static void nothing_is_read_while_paused(void **state)
{
	struct exchange exchange;
	char bytes[65536] = "";
	size_t sent = 0;
	int fd;

	exchange_open(&exchange, NULL);
	fd = enter(&exchange, "mute", "early");
	for (int tries = 0; tries < 50; tries++) {
		ssize_t part =
			send(fd, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL);

		if (part > 0)
			sent += (size_t)part;
		else
			poll(NULL, 0, 2);
	}
	assert_in_range(sent, 1, 12 << 20);
	assert_int_equal(exchange.received, 0);
	close(fd);
	exchange_close(&exchange);
}

/* --- ends --------------------------------------------------------------------------- */

static void a_client_that_leaves_is_told_once(void **state)
{
	static const char *const modes[] = { "echo", "flood", "late" };
	struct exchange exchange;

	exchange_open(&exchange, NULL);
	for (int i = 0; i < 6; i++) {
		int fd = enter(&exchange, modes[i / 2], "");

		if (i % 2)
			set_reset_on_close(fd);
		else
			shutdown(fd, SHUT_WR);
		if (i % 2 || i / 2 == 1)
			close(fd);
		wait_until(&exchange.closed, i + 1);
		if (i % 2 == 0 && i / 2 != 1)
			close(fd);
	}
	assert_true(site_reaches(&exchange.site, 0, 2)); /* the late ones */
	exchange_close(&exchange);
	assert_int_equal(exchange.closed, 6);
}

static void what_was_sent_arrives_although_it_is_closed(void **state)
{
	struct exchange exchange;
	char *all;
	int fd;

	exchange_open(&exchange, NULL);
	fd = enter(&exchange, "bye", "nobody reads this");
	client_send(fd, "nor this");
	all = client_read_all(fd);
	assert_string_equal(all, "bye");
	free(all);
	fd = (close(fd), enter(&exchange, "echo", ""));
	assert_true(client_send(fd, "quit")); /* closes inside received */
	all = client_read_all(fd);
	assert_string_equal(all, "");
	free(all);
	close(fd);
	assert_true(site_reaches(&exchange.site, 0, 0));
	assert_int_equal(exchange.closed, 0);
	exchange_close(&exchange);
}

static void close_all(void *context)
{
	struct exchange *exchange = context;

	for (struct ends *ends = exchange->ends; ends; ends = ends->next)
		if (ends->upgraded)
			ends_close(ends);
}

static void a_close_does_not_wait_for_ever(void **state)
{
	struct exchange exchange;
	int fd;

	exchange_open(&exchange, NULL);
	fd = enter(&exchange, "flood", "");
	settle(&exchange.pieces);
	site_do(&exchange.site, close_all, &exchange);
	assert_true(site_reaches(&exchange.site, 0, 1));
	site_reaches(&exchange.site, 0, 0); /* twice its patience: it takes 5 s */
	assert_true(site_reaches(&exchange.site, 0, 0));
	close(fd);
	assert_int_equal(exchange.closed, 0);
	exchange_close(&exchange);
}

static void who_takes_nothing_is_cut(void **state)
{
	struct http_server_config config = site_config(NULL, NULL);
	struct exchange exchange;
	int fds[2];

	config.idle_timeout_ms = 100;
	exchange_open(&exchange, &config);
	fds[0] = enter(&exchange, "echo", "");
	fds[1] = enter(&exchange, "flood", "");
	wait_until(&exchange.closed, 1);
	assert_true(site_reaches(&exchange.site, 0, 1));
	assert_true(client_send(fds[0], "still here"));
	expect_bytes(fds[0], "still here");
	for (int i = 0; i < 2; i++)
		close(fds[i]);
	exchange_close(&exchange);
}

static void drain(void *context)
{
	http_server_drain(context);
}

static void a_draining_server_leaves_it_to_the_receiver(void **state)
{
	struct exchange exchange;
	int fd;

	exchange_open(&exchange, NULL);
	fd = enter(&exchange, "echo", "");
	site_do(&exchange.site, drain, exchange.site.server);
	assert_true(client_send(fd, "still here"));
	expect_bytes(fd, "still here");
	assert_true(site_reaches(&exchange.site, 0, 1));
	site_do(&exchange.site, close_all, &exchange);
	assert_true(site_reaches(&exchange.site, 0, 0));
	close(fd);
	exchange_close(&exchange);
}

static void the_end_of_the_server_is_the_end_of_all(void **state)
{
	static const char *const modes[] = { "echo", "flood", "mute", "late" };
	struct exchange exchange;
	int fds[6];
	char text[512];

	exchange_open(&exchange, NULL);
	for (int i = 0; i < 4; i++)
		fds[i] = enter(&exchange, modes[i], "");
	/* One that closes and is not taken. */
	fds[4] = enter(&exchange, "flood", "");
	settle(&exchange.pieces);
	site_do(&exchange.site, close_all, &exchange);
	for (int i = 0; i < 4; i++) {
		close(fds[i]);
		fds[i] = enter(&exchange, modes[i], "");
	}
	fds[5] = client_connect(&exchange.site);
	snprintf(text, sizeof(text), ASK_, "mute", "other");
	assert_true(client_send(fds[5], text)); /* perhaps amid the handshake */
	site_close(&exchange.site);
	assert_in_range(exchange.closed, 4, 5);
	exchange_forget(&exchange); /* late closes now */
	for (int i = 0; i < 6; i++)
		close(fds[i]);
}

static void any_order_leaves_nothing_behind(void **state)
{
	static const char *const modes[] = { "echo", "flood", "mute", "bye" };
	enum { CLIENTS = 8, ROUNDS = 600 };
	struct exchange exchange;
	int fds[CLIENTS];
	unsigned seed = 11;

	exchange_open(&exchange, NULL);
	memset(fds, -1, sizeof(fds));
	for (int round = 0; round < ROUNDS; round++) {
		int who = rand_r(&seed) % CLIENTS;
		static char waste[70000];

		if (fds[who] < 0) {
			fds[who] = client_connect(&exchange.site);
			snprintf(waste, sizeof(waste), ASK_, modes[rand_r(&seed) % 4],
				 "other");
			client_send(fds[who], waste);
		}
		if (rand_r(&seed) % 2)
			(void)!send(fds[who], waste, (size_t)rand_r(&seed) % 20000,
				    MSG_DONTWAIT | MSG_NOSIGNAL);
		if (rand_r(&seed) % 2)
			(void)!recv(fds[who], waste, sizeof(waste), MSG_DONTWAIT);
		if (rand_r(&seed) % 8 == 0) {
			if (rand_r(&seed) % 2)
				set_reset_on_close(fds[who]);
			close(fds[who]);
			fds[who] = -1;
		}
		if (rand_r(&seed) % 40 == 0)
			site_do(&exchange.site, close_all, &exchange);
	}
	for (int i = 0; i < CLIENTS; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	for (int tries = 0; site_counts(&exchange.site).connections; tries++) {
		assert_true(tries < PATIENCE_MS / 5);
		site_do(&exchange.site, close_all, &exchange); /* mute ones do not hear */
		poll(NULL, 0, 5);
	}
	exchange_close(&exchange);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_a_request_wants_to_become_is_told),
		cmocka_unit_test(
			bytes_go_both_ways_also_those_that_came_with_the_handshake),
		cmocka_unit_test(many_bytes_come_back_as_they_were),
		cmocka_unit_test(who_does_not_read_is_not_sent_more),
		cmocka_unit_test(nothing_is_read_while_paused),
		cmocka_unit_test(a_client_that_leaves_is_told_once),
		cmocka_unit_test(what_was_sent_arrives_although_it_is_closed),
		cmocka_unit_test(a_close_does_not_wait_for_ever),
		cmocka_unit_test(who_takes_nothing_is_cut),
		cmocka_unit_test(a_draining_server_leaves_it_to_the_receiver),
		cmocka_unit_test(the_end_of_the_server_is_the_end_of_all),
		cmocka_unit_test(any_order_leaves_nothing_behind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
