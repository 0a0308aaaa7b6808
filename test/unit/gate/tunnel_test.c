/* SPDX-License-Identifier: MIT */
/* Upgraded connections through a gate, over real sockets. */
#include "gate_rig.h"

#include "../http/hostile_server.h"

#define FLOOD (100u << 20)
#define SOCKETS (40u << 20) /* what those on the way may hold */
#define SWITCHES                                                                         \
	"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket"  \
	"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"

static struct rig rig;
static char kept[1000]; /* what /keep was sent, until the end */
static atomic_bool kept_all;
static _Atomic size_t swallowed, flooded;

/* --- upstreams -------------------------------------------------------------------- */

static bool echo(int fd)
{
	char bytes[8192];
	ssize_t got;

	while ((got = recv(fd, bytes, sizeof(bytes), 0)) > 0)
		for (ssize_t at = 0, sent; at < got; at += sent)
			if ((sent = send(fd, bytes + at, (size_t)(got - at),
					 MSG_NOSIGNAL)) <= 0)
				return false;
	return false;
}

static bool keep(int fd)
{
	size_t size = 0;
	ssize_t got;

	while ((got = recv(fd, kept + size, sizeof(kept) - size - 1, 0)) > 0)
		size += (size_t)got;
	kept[size] = 0;
	kept_all = got == 0;
	return false;
}

static bool flood(int fd)
{
	static char block[64 * 1024];
	size_t left = FLOOD;

	while (left) {
		ssize_t sent =
			send(fd, block, left < sizeof(block) ? left : sizeof(block),
			     MSG_NOSIGNAL);

		if (sent <= 0)
			return false;
		left -= (size_t)sent;
		flooded += (size_t)sent;
	}
	return false;
}

static bool swallow(int fd)
{
	static char block[64 * 1024];
	ssize_t got;

	for (int i = 0; i < PATIENCE_MS && !atomic_load(&released); i++)
		usleep(1000);
	while ((got = recv(fd, block, sizeof(block), 0)) > 0)
		swallowed += (size_t)got;
	return false;
}

static bool answer(void *context, int fd, const struct test_request *request)
{
	const char *path = request->path;

	snprintf(seen_head, sizeof(seen_head), "%s", request->head);
	if (strcmp(path, "/refuse") == 0) {
		test_say(fd, "HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno");
		return true;
	}
	if (strcmp(path, "/other") == 0 || strcmp(path, "/bare") == 0) {
		test_say(fd, path[1] == 'o' ? "HTTP/1.1 101 S\r\nConnection: upgrade\r\n"
					      "Upgrade: h2c\r\n\r\n"
					    : "HTTP/1.1 101 S\r\n\r\n");
		return echo(fd);
	}
	if (strcmp(path, "/hang") == 0)
		return hostile_answer(context, fd, request);
	if (strncmp(path, "/ws", 3) != 0) {
		test_say(fd, sayings[0].says);
		return true;
	}
	if (strcmp(path, "/ws/last") == 0) {
		test_say(fd, SWITCHES "\r\nlast words");
		return false;
	}
	test_say(fd, SWITCHES "X-Theirs: 1\r\n\r\n");
	if (strcmp(path, "/ws/lose") == 0) {
		reset(fd);
		return false;
	}
	return strcmp(path, "/ws/keep") == 0	  ? keep(fd)
	       : strcmp(path, "/ws/flood") == 0	  ? flood(fd)
	       : strcmp(path, "/ws/swallow") == 0 ? swallow(fd)
						  : echo(fd);
}

static int open_rig(void **state)
{
	struct gate_plan *plan;
	struct gate_route *route;
	char text[100];

	atomic_store(&released, false);
	kept_all = false;
	swallowed = flooded = 0;
	rig = (struct rig){ 0 };
	rig_start_upstreams(&rig, answer, 1);
	plan = rig_plan(rig_addresses(&rig, text, sizeof(text)));
	rig_route(plan, "/")->upgrade = true;
	rig_route(plan, "/plain");
	route = rig_route(plan, "/few");
	route->rewrite = SLICE("/ws");
	route->upgrade = true;
	route->upgrades_per_client_max = 2;
	route = rig_route(plan, "/idle");
	route->rewrite = SLICE("/ws");
	route->upgrade = true;
	route->idle_timeout_ms = 150;
	rig_open(&rig, rig_finish(plan));
	return 0;
}

static int close_rig(void **state)
{
	atomic_store(&released, true);
	rig_close(&rig);
	return 0;
}

/* --- clients ---------------------------------------------------------------------- */

#define ASKS                                                                             \
	" HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"          \
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: "         \
	"13\r\n\r\n"

/* The head of the answer; the caller frees. */
static char *shake(int fd, const char *path, const char *more)
{
	char text[600];

	snprintf(text, sizeof(text), "GET %s" ASKS "%s", path, more);
	assert_true(client_send(fd, text));
	return client_read_answer(fd, true);
}

static int tunnel(const char *path)
{
	int fd = client_connect(&rig.site);

	assert_says(shake(fd, path, ""), "HTTP/1.1 101 ");
	return fd;
}

static bool hears(int fd, const char *text)
{
	char bytes[1000];

	return recv(fd, bytes, strlen(text), MSG_WAITALL) == (ssize_t)strlen(text) &&
	       memcmp(bytes, text, strlen(text)) == 0;
}

static bool hears_end(int fd)
{
	char byte;

	return recv(fd, &byte, 1, 0) == 0 || errno == ECONNRESET;
}

static double open_tunnels(void)
{
	return rig_value(&rig, "gateway_tunnels", NULL, NULL);
}

/* --- tests ------------------------------------------------------------------------ */

static void bytes_go_both_ways(void **state)
{
	int fd = client_connect(&rig.site);
	char *head = shake(fd, "/ws/echo", "early");

	assert_true(answer_has(head, "HTTP/1.1 101 "));
	assert_true(answer_has(head, "upgrade: WebSocket\r\n"));
	assert_true(answer_has(head,
			       "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
	assert_true(answer_has(head, "x-theirs: 1\r\n"));
	assert_true(answer_has(head, "x-request-id: "));
	assert_false(answer_has(head, "Content-Length"));
	free(head);
	assert_true(hears(fd, "early"));
	for (int i = 0; i < 50; i++) {
		assert_true(client_send(fd, "hello\0"));
		assert_true(hears(fd, "hello"));
	}
	assert_true(open_tunnels() == 1);
	assert_true(rig_reaches(&rig, 1));
	assert_int_equal(rig.plan->passages, 0);
	close(fd);
	assert_true(rig_rests(&rig));
	assert_true(open_tunnels() == 0);
}

static void the_upstream_gets_the_handshake(void **state)
{
	int fd = tunnel("/ws/echo");

	assert_non_null(strstr(seen_head, "\r\nconnection: upgrade\r\n"));
	assert_non_null(strstr(seen_head, "\r\nupgrade: websocket\r\n"));
	assert_non_null(
		strstr(seen_head, "\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"));
	assert_non_null(strstr(seen_head, "\r\nx-forwarded-for: 127.0.0.1\r\n"));
	assert_null(strstr(seen_head, "content-length"));
	close(fd);
	assert_true(rig_rests(&rig));
}

static void
what_is_no_websocket_or_has_no_route_for_it_is_an_ordinary_request(void **state)
{
	static const char *const requests[] = {
		"GET /plain" ASKS,
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
		"GET /x HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
	};

	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		int fd = client_connect(&rig.site);

		assert_true(client_send(fd, requests[i]));
		assert_says(client_read_answer(fd, false), "HTTP/1.1 200 ");
		assert_null(strstr(seen_head, "\r\nupgrade"));
		assert_null(strstr(seen_head, "\r\nconnection"));
		close(fd);
	}
	assert_true(open_tunnels() == 0);
	assert_true(rig_rests(&rig));
}

static void an_upstream_may_refuse(void **state)
{
	for (int i = 0; i < 3; i++) {
		int fd = client_connect(&rig.site);
		char text[300];

		snprintf(text, sizeof(text), "GET /refuse%s", ASKS);
		assert_true(client_send(fd, text));
		assert_says(client_read_answer(fd, false), "HTTP/1.1 403 ", "\r\n\r\nno");
		close(fd);
	}
	assert_true(rig_rests(&rig));
}

static void an_upstream_that_switches_to_something_else_is_broken(void **state)
{
	static const char *const paths[] = { "/other", "/bare" };

	for (size_t i = 0; i < 2; i++) {
		int fd = client_connect(&rig.site);
		char text[300];

		snprintf(text, sizeof(text), "GET %s%s", paths[i], ASKS);
		assert_true(client_send(fd, text));
		assert_says(client_read_answer(fd, false), "HTTP/1.1 502 ",
			    "\"kind\":\"broken\"");
		close(fd);
	}
	assert_true(rig_rests(&rig));
}

static void last_words_arrive(void **state)
{
	int fd = tunnel("/ws/last");

	assert_true(hears(fd, "last words"));
	assert_true(hears_end(fd));
	close(fd);
	assert_true(rig_rests(&rig));
	fd = tunnel("/ws/keep");
	assert_true(client_send(fd, "good "));
	assert_true(client_send(fd, "bye"));
	close(fd);
	for (int i = 0; i < PATIENCE_MS && !kept_all; i++)
		poll(NULL, 0, 1);
	assert_true(kept_all);
	assert_string_equal(kept, "good bye");
	assert_true(rig_rests(&rig));
}

static void an_upstream_that_is_lost_ends_the_tunnel(void **state)
{
	int fd = tunnel("/ws/lose");

	assert_true(hears_end(fd));
	close(fd);
	assert_true(rig_rests(&rig));
}

static void a_slow_client_makes_the_upstream_wait(void **state)
{
	static char block[64 * 1024];
	int fd = tunnel("/ws/flood");
	size_t size = 0;
	ssize_t got;

	for (size_t before = SIZE_MAX; before != flooded; poll(NULL, 0, 200))
		before = flooded;
	assert_true(flooded > 0 && flooded < SOCKETS);
	while ((got = recv(fd, block, sizeof(block), 0)) > 0)
		size += (size_t)got;
	assert_int_equal(size, FLOOD);
	close(fd);
	assert_true(rig_rests(&rig));
}

/* What the gate does not take stays with the client: its socket fills. */
static void a_slow_upstream_makes_the_client_wait(void **state)
{
	static char block[64 * 1024];
	int fd = tunnel("/ws/swallow");
	size_t size = 0;

	for (;;) {
		ssize_t sent =
			send(fd, block, sizeof(block), MSG_DONTWAIT | MSG_NOSIGNAL);
		struct pollfd wait = { .fd = fd, .events = POLLOUT };

		if (sent > 0)
			size += (size_t)sent;
		else if (poll(&wait, 1, 300) == 0)
			break;
		assert_true(size < SOCKETS);
	}
	atomic_store(&released, true);
	assert_true(client_send(fd, "end"));
	size += 3;
	for (int i = 0; i < PATIENCE_MS && swallowed != size; i++)
		poll(NULL, 0, 1);
	assert_int_equal(swallowed, size);
	close(fd);
	assert_true(rig_rests(&rig));
}

static void a_tunnel_on_which_nobody_speaks_is_closed(void **state)
{
	int fd = tunnel("/idle/echo");
	struct mono began;

	for (int i = 0; i < 8; i++) {
		poll(NULL, 0, 40); /* longer than the limit in all */
		assert_true(client_send(fd, "x"));
		assert_true(hears(fd, "x"));
	}
	began = clock_mono();
	assert_true(hears_end(fd));
	assert_true(mono_seconds(began, clock_mono()) > 0.1);
	close(fd);
	assert_true(rig_rests(&rig));
}

static void a_client_has_so_many_tunnels_and_no_more(void **state)
{
	int one = tunnel("/few/echo"), other = tunnel("/few/echo"), third;

	third = client_connect(&rig.site);
	assert_says(shake(third, "/few/echo", ""), "HTTP/1.1 429 ");
	close(third);
	third = tunnel("/ws/echo"); /* another route, which has no bound */
	close(third);
	assert_true(rig_reaches(&rig, 2));
	close(one);
	assert_true(rig_reaches(&rig, 1));
	one = tunnel("/few/echo");
	close(one);
	close(other);
	assert_true(rig_rests(&rig));
}

static void handshakes_that_hang_count_too(void **state)
{
	int one = client_connect(&rig.site), other;

	rig.plan->routes[1].upgrades_per_client_max = 1;
	for (size_t i = 0; i < rig.plan->route_count; i++)
		rig.plan->routes[i].upgrades_per_client_max = 1;
	assert_true(client_send(one, "GET /hang" ASKS));
	assert_true(rig_reaches(&rig, 1));
	other = client_connect(&rig.site);
	assert_says(shake(other, "/ws/echo", ""), "HTTP/1.1 429 ");
	close(other);
	close(one);
	assert_true(rig_rests(&rig));
	other = tunnel("/ws/echo");
	close(other);
	assert_true(rig_rests(&rig));
}

static void close_tunnels(void *context)
{
	gate_close_tunnels(rig.gate);
}

static void a_draining_worker_closes_its_tunnels(void **state)
{
	int one = tunnel("/ws/echo"), other = tunnel("/ws/echo");

	assert_true(client_send(one, "x"));
	assert_true(hears(one, "x"));
	assert_true(rig_reaches(&rig, 2));
	site_do(&rig.site, close_tunnels, NULL);
	assert_true(hears_end(one));
	assert_true(hears_end(other));
	close(one);
	close(other);
	assert_true(rig_rests(&rig));
	assert_true(open_tunnels() == 0);
}

/* close_rig does it. */
static void server_and_gate_may_end_with_tunnels_open(void **state)
{
	int one = tunnel("/ws/echo"), other = tunnel("/ws/flood"), third;

	third = client_connect(&rig.site);
	assert_true(client_send(third, "GET /hang" ASKS));
	assert_true(rig_reaches(&rig, 3));
	(void)one;
	(void)other;
}

#define test(name) cmocka_unit_test_setup_teardown(name, open_rig, close_rig)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(bytes_go_both_ways),
		test(the_upstream_gets_the_handshake),
		test(what_is_no_websocket_or_has_no_route_for_it_is_an_ordinary_request),
		test(an_upstream_may_refuse),
		test(an_upstream_that_switches_to_something_else_is_broken),
		test(last_words_arrive),
		test(an_upstream_that_is_lost_ends_the_tunnel),
		test(a_slow_client_makes_the_upstream_wait),
		test(a_slow_upstream_makes_the_client_wait),
		test(a_tunnel_on_which_nobody_speaks_is_closed),
		test(a_client_has_so_many_tunnels_and_no_more),
		test(handshakes_that_hang_count_too),
		test(a_draining_worker_closes_its_tunnels),
		test(server_and_gate_may_end_with_tunnels_open),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
