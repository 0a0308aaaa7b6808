/* SPDX-License-Identifier: MIT */
/* Exchanges of one connection with a server that says what its path asks for. */
#include "http/http_connection.h"

#include "base/check.h"
#include "base/random.h"
#include "loop/loop.h"
#include "test_server.h"
#include "watch/log.h"
#include "watch/metrics.h"
#include "watch/trace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <netinet/tcp.h>

#define LARGE (24u << 20)

/* --- the server ------------------------------------------------------------------- */

static atomic_size_t said; /* bytes of the body of /large */
static atomic_bool over; /* it is done with its last answer */

static char pattern(size_t i)
{
	return (char)(i * 31 + i / 251);
}

static bool say_pattern(int fd, size_t from, size_t size)
{
	char bytes[4096];

	while (size > 0) {
		size_t now = size < sizeof(bytes) ? size : sizeof(bytes);

		for (size_t i = 0; i < now; i++)
			bytes[i] = pattern(from + i);
		if (send(fd, bytes, now, MSG_NOSIGNAL) != (ssize_t)now)
			return false;
		from += now;
		size -= now;
		atomic_fetch_add(&said, now);
	}
	return true;
}

/* path: /pattern/<framing>/<size>/<piece> */
static bool answer_pattern(int fd, const char *path)
{
	char framing[16], head[128];
	unsigned size, piece, from = 0;
	bool chunked;

	check(sscanf(path, "/pattern/%15[a-z]/%u/%u", framing, &size, &piece) == 3);
	chunked = strcmp(framing, "chunked") == 0;
	if (chunked)
		test_say(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
	else if (strcmp(framing, "close") == 0)
		test_say(fd, "HTTP/1.1 200 OK\r\n\r\n");
	else {
		snprintf(head, sizeof(head),
			 "HTTP/1.1 200 OK\r\nContent-Length: %u\r\n\r\n", size);
		test_say(fd, head);
	}
	for (; from < size; from += piece) {
		unsigned now = size - from < piece ? size - from : piece;

		snprintf(head, sizeof(head), "%x\r\n", now);
		if (chunked)
			test_say(fd, head);
		if (!say_pattern(fd, from, now))
			return false;
		if (chunked)
			test_say(fd, "\r\n");
	}
	if (chunked)
		test_say(fd, "0\r\n\r\n");
	return strcmp(framing, "close") != 0;
}

static bool echo(int fd)
{
	char bytes[8192];
	ssize_t size;

	while ((size = recv(fd, bytes, sizeof(bytes), 0)) > 0) {
		if (bytes[size - 1] == '\n')
			break;
		if (send(fd, bytes, (size_t)size, MSG_NOSIGNAL) != size)
			return false;
	}
	if (size > 0)
		send(fd, bytes, (size_t)size, MSG_NOSIGNAL);
	return false;
}

static void reset(int fd)
{
	struct linger linger = { 1, 0 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
}

static bool answer_request(int fd, const struct test_request *request)
{
	char head[128];

	if (strncmp(request->path, "/pattern/", 9) == 0)
		return answer_pattern(fd, request->path);
	if (strcmp(request->path, "/upgrade") == 0) {
		test_say(fd, "HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 101 Switching\r\n"
			     "Connection: upgrade\r\nUpgrade: echo\r\n\r\nhello ");
		return echo(fd);
	}
	if (strcmp(request->path, "/echo") == 0) {
		snprintf(head, sizeof(head),
			 "HTTP/1.1 100 Continue\r\n\r\n"
			 "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n",
			 request->body_size);
		test_say(fd, head);
		return send(fd, request->body, request->body_size, MSG_NOSIGNAL) >= 0;
	}
	test_say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
	if (strcmp(request->path, "/reset") == 0)
		reset(fd);
	return false;
}

static bool answer(void *context, int fd, const struct test_request *request)
{
	int one = 1;
	bool again;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	again = answer_request(fd, request);

	atomic_store(&over, true);
	return again;
}

/* --- the receiver ----------------------------------------------------------------- */

enum event { NONE, OPENED, HEAD, DATA, ANSWERED, SWITCHED, DRAINED, ENDED };

struct world {
	struct metrics *metrics;
	struct log_hub *hub;
	struct observer observer;
	struct chaos chaos;
	struct loop *loop;
	struct test_server *server;
	struct http_connection *connection;
	char request[256];
	/* What it does */
	enum event close_in, pause_in;
	unsigned pause_share; /* of 100 pieces */
	const char *next; /* sent from inside answered */
	struct random random;
	/* What it heard */
	unsigned counts[ENDED + 1];
	bool told_whole; /* with the head */
	int status;
	bool reusable, in_order;
	size_t received;
	struct buf bytes; /* at most 64 KB */
	struct http_progress progress;
	struct fault why;
};

static void send_request(struct world *world, const char *path, struct slice body,
			 struct http_exchange exchange)
{
	snprintf(world->request, sizeof(world->request),
		 "POST %s HTTP/1.1\r\nHost: here\r\nContent-Length: %zu\r\n\r\n", path,
		 body.size);
	exchange.head = slice_text(world->request);
	exchange.body = body;
	world->received = 0;
	world->in_order = true;
	buf_reset(&world->bytes);
	memset(world->counts, 0, sizeof(world->counts));
	atomic_store(&said, 0);
	atomic_store(&over, false);
	http_connection_send(world->connection, &exchange);
}

static void heard(struct world *world, enum event event)
{
	world->counts[event]++;
	if (world->pause_in == event)
		http_connection_pause(world->connection, true);
	if (world->close_in == event) {
		http_connection_close(world->connection);
		world->connection = NULL;
	}
}

static void on_opened(void *context, struct http_connection *connection)
{
	heard(context, OPENED);
}

static void on_head(void *context, struct http_connection *connection,
		    const struct client_parse *parse)
{
	struct world *world = context;

	world->status = parse->status;
	world->told_whole = parse->state == CLIENT_PARSE_done;
	assert_true(parse->header_count > 0 || parse->state == CLIENT_PARSE_until_close);
	heard(world, HEAD);
}

static void on_data(void *context, struct http_connection *connection, struct slice bytes)
{
	struct world *world = context;

	assert_true(bytes.size > 0 && bytes.size <= 32 * 1024);
	for (size_t i = 0; i < bytes.size; i++)
		world->in_order &= bytes.at[i] == pattern(world->received + i);
	world->received += bytes.size;
	if (world->bytes.size < 65536)
		buf_append(&world->bytes, bytes);
	if (random_below(&world->random, 100) < world->pause_share)
		http_connection_pause(connection, true);
	heard(world, DATA);
}

static void on_answered(void *context, struct http_connection *connection,
			const struct client_parse *parse, bool reusable)
{
	struct world *world = context;

	world->status = parse->status;
	world->reusable = reusable;
	if (!parse->rules.stream)
		buf_append(&world->bytes, buf_slice(&parse->body));
	if (reusable && world->next) {
		send_request(world, world->next, SLICE(""),
			     (struct http_exchange){ .stream = true });
		world->next = NULL;
		return;
	}
	heard(world, ANSWERED);
	if (!reusable && world->connection) {
		http_connection_close(world->connection);
		world->connection = NULL;
	}
}

static void on_switched(void *context, struct http_connection *connection,
			const struct client_parse *parse)
{
	struct world *world = context;

	world->status = parse->status;
	assert_true(parse->header_count == 2);
	heard(world, SWITCHED);
}

static void on_drained(void *context, struct http_connection *connection)
{
	heard(context, DRAINED);
}

static void on_ended(void *context, struct http_connection *connection,
		     const struct http_progress *progress, const struct fault *why)
{
	struct world *world = context;

	world->progress = *progress;
	world->why = *why;
	world->counts[ENDED]++;
	http_connection_close(connection);
	world->connection = NULL;
}

static const struct http_connection_events events = {
	.opened = on_opened,
	.answered = on_answered,
	.ended = on_ended,
	.head = on_head,
	.data = on_data,
	.switched = on_switched,
	.drained = on_drained,
};

static void on_wake(void *context)
{
}

static void turn_until(struct world *world, enum event event)
{
	struct mono until = mono_after_ms(clock_mono(), 20000);

	while (world->counts[event] == 0) {
		if (clock_mono().ns >= until.ns)
			fail_msg("no event %d", event);
		loop_turn(world->loop, world->pause_share > 0 ? 1 : 20);
		if (world->connection && world->pause_share > 0)
			http_connection_pause(world->connection, false);
	}
}

static void connect_again(struct world *world)
{
	struct http_addresses addresses = { .count = 1 };
	struct sockaddr_in *at = (struct sockaddr_in *)&addresses.list[0].at;

	at->sin_family = AF_INET;
	at->sin_port = htons((uint16_t)world->server->port);
	at->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	addresses.list[0].size = sizeof(*at);
	http_connection_close(world->connection);
	world->counts[OPENED] = 0;
	world->connection = http_connection_open(world->loop, &addresses, &events, world);
	turn_until(world, OPENED);
}

static struct world *world_create(void)
{
	struct world *world = mem_zeroed(1, sizeof(*world));
	struct tracer_config tracing = { .ring_bytes = 1 << 16 };

	world->metrics = metrics_create();
	world->hub = log_hub_create(LOG_debug, on_wake, NULL);
	world->observer = (struct observer){ log_create(world->hub, 1 << 16),
					     meter_create(world->metrics),
					     tracer_create(&tracing, 1) };
	world->loop = loop_create(&world->observer, &world->chaos);
	world->server = test_server_start(answer, NULL);
	random_init(&world->random, 9);
	connect_again(world);
	return world;
}

static void world_destroy(struct world *world)
{
	http_connection_close(world->connection);
	test_server_stop(world->server);
	buf_finish(&world->bytes);
	loop_destroy(world->loop);
	tracer_destroy(world->observer.tracer);
	log_hub_destroy(world->hub);
	metrics_destroy(world->metrics);
	free(world);
}

static void stream(struct world *world, const char *path)
{
	send_request(world, path, SLICE(""), (struct http_exchange){ .stream = true });
}

static void assert_bytes(struct world *world, const char *expected)
{
	if (!slice_equal(buf_slice(&world->bytes), slice_text(expected)))
		fail_msg("%.*s is not %s", (int)world->bytes.size, world->bytes.at,
			 expected);
}

/* Turns until the server is done or blocked. Gives what it said. */
static size_t until_the_server_stops(struct world *world)
{
	size_t before;

	do {
		before = atomic_load(&said);
		for (int i = 0; i < 20 && !atomic_load(&over); i++)
			loop_turn(world->loop, 10);
	} while (before != atomic_load(&said));
	return before;
}

static void assert_the_loop_sleeps(struct world *world)
{
	struct mono began = clock_mono();

	/* The loop's own timers may wake it once. */
	for (int i = 0; i < 3; i++)
		loop_turn(world->loop, 40);
	assert_true(mono_seconds(began, clock_mono()) > 0.05);
}

/* --- streaming -------------------------------------------------------------------- */

static void a_streamed_answer_is_told_in_pieces_whatever_its_framing(void **state)
{
	static const char *const framings[] = { "length", "chunked", "close" };
	struct world *world = world_create();

	for (size_t i = 0; i < 3; i++) {
		char path[64];

		snprintf(path, sizeof(path), "/pattern/%s/%u/%u", framings[i], 3000000u,
			 70001u);
		stream(world, path);
		turn_until(world, ANSWERED);
		assert_int_equal(world->counts[HEAD], 1);
		assert_int_equal(world->counts[ENDED], 0);
		assert_int_equal(world->received, 3000000);
		assert_true(world->in_order);
		assert_int_equal(world->reusable, i < 2);
	}
	world_destroy(world);
}

static void a_small_answer_comes_whole_with_its_head(void **state)
{
	struct world *world = world_create();

	for (int i = 0; i < 20 && !world->told_whole; i++) {
		stream(world, "/pattern/length/0/1");
		turn_until(world, ANSWERED);
		assert_int_equal(world->counts[DATA], 0);
	}
	assert_true(world->told_whole);
	world_destroy(world);
}

static void a_connection_serves_one_exchange_after_the_other(void **state)
{
	struct world *world = world_create();

	for (int i = 0; i < 50; i++) {
		world->next = "/pattern/chunked/100/7";
		if (i % 2) {
			stream(world, "/pattern/length/1000/1000");
		} else {
			send_request(world, "/echo", SLICE("whole"),
				     (struct http_exchange){ .answer_size_max = 5 });
		}
		turn_until(world, ANSWERED);
		assert_int_equal(world->received, 100);
		assert_true(world->reusable);
	}
	assert_int_equal(http_connection_exchanges(world->connection), 100);
	assert_int_equal(atomic_load(&world->server->connections), 1);
	world_destroy(world);
}

static void head_and_body_of_a_request_are_written_one_behind_the_other(void **state)
{
	struct world *world = world_create();
	size_t sizes[] = { 0, 1, 1000, 65536, 5000000 };
	char *body = malloc(5000000);

	for (size_t i = 0; i < 5000000; i++)
		body[i] = pattern(i);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		send_request(world, "/echo", slice_of(body, sizes[i]),
			     (struct http_exchange){ .stream = true });
		turn_until(world, ANSWERED);
		assert_int_equal(world->status, 200);
		assert_int_equal(world->received, sizes[i]);
		assert_true(world->in_order && world->reusable);
	}
	free(body);
	world_destroy(world);
}

static void an_answer_that_breaks_off_is_told_as_far_as_it_came(void **state)
{
	struct world *world = world_create();

	stream(world, "/half");
	turn_until(world, ENDED);
	assert_int_equal(world->counts[HEAD], 1);
	assert_bytes(world, "half");
	assert_int_equal(world->why.kind, FAULT_broken);
	assert_true(world->progress.answered && !world->progress.nonsense);
	world_destroy(world);
}

/* --- pause ------------------------------------------------------------------------ */

static void a_paused_connection_makes_the_other_side_wait(void **state)
{
	struct world *world = world_create();
	char path[64];
	size_t stopped;

	snprintf(path, sizeof(path), "/pattern/chunked/%u/50000", LARGE);
	world->pause_in = DATA;
	stream(world, path);
	turn_until(world, DATA);
	stopped = until_the_server_stops(world);
	assert_int_equal(world->counts[DATA], 1);
	assert_true(stopped > 0 && stopped < LARGE * 2 / 3);
	assert_the_loop_sleeps(world);
	for (int i = 0; i < 3; i++) {
		http_connection_pause(world->connection, false);
		http_connection_pause(world->connection, true);
		http_connection_pause(world->connection, false);
		world->counts[DATA] = 0;
		turn_until(world, DATA);
		assert_int_equal(world->counts[DATA], 1);
	}
	world->pause_in = NONE;
	http_connection_pause(world->connection, false);
	turn_until(world, ANSWERED);
	assert_int_equal(world->received, LARGE);
	assert_true(world->in_order && world->reusable);
	world_destroy(world);
}

static void nothing_is_told_during_a_pause_and_all_of_it_afterwards(void **state)
{
	static const char *const paths[] = { "/pattern/length/1000/1000",
					     "/pattern/chunked/1000/90",
					     "/pattern/close/1000/10", "/half",
					     "/reset" };
	static const enum event pauses[] = { HEAD, DATA };
	struct world *world = world_create();

	for (size_t i = 0; i < 10; i++) {
		const char *path = paths[i / 2];
		bool breaks = i >= 6;

		world->pause_in = pauses[i % 2];
		stream(world, path);
		turn_until(world, pauses[i % 2]);
		until_the_server_stops(world);
		assert_the_loop_sleeps(world);
		assert_int_equal(world->counts[HEAD], 1);
		assert_int_equal(world->counts[DATA], i % 2);
		assert_int_equal(world->counts[ANSWERED] + world->counts[ENDED], 0);
		world->pause_in = NONE;
		http_connection_pause(world->connection, false);
		assert_int_equal(world->counts[DATA], i % 2);
		turn_until(world, breaks ? ENDED : ANSWERED);
		assert_int_equal(world->received, breaks ? 4 : 1000);
		if (!world->connection)
			connect_again(world);
	}
	world_destroy(world);
}

static void random_pauses_lose_nothing(void **state)
{
	static const char *const framings[] = { "length", "chunked", "close" };
	struct world *world = world_create();
	struct random random;

	random_init(&random, 21);
	for (int i = 0; i < 150; i++) {
		size_t size = random_below(&random, 300000);
		char path[64];

		snprintf(path, sizeof(path), "/pattern/%s/%zu/%u", framings[i % 3], size,
			 1 + (unsigned)random_below(&random, 1 + size));
		world->pause_share = 1 + (unsigned)random_below(&random, 100);
		world->pause_in = random_below(&random, 2) ? HEAD : NONE;
		stream(world, path);
		turn_until(world, ANSWERED);
		assert_int_equal(world->received, size);
		assert_true(world->in_order);
		if (!world->connection)
			connect_again(world);
	}
	world_destroy(world);
}

/* --- upgrades --------------------------------------------------------------------- */

static void upgrade(struct world *world, const char *path)
{
	send_request(world, path, SLICE(""),
		     (struct http_exchange){ .stream = true, .upgrade = true });
}

static void a_switched_connection_begins_paused_and_passes_bytes_both_ways(void **state)
{
	struct world *world = world_create();

	upgrade(world, "/upgrade");
	turn_until(world, SWITCHED);
	assert_int_equal(world->status, 101);
	assert_the_loop_sleeps(world);
	assert_int_equal(world->counts[DATA] + world->counts[HEAD], 0);
	http_connection_write(world->connection, SLICE("there"));
	assert_int_equal(world->counts[DRAINED], 0);
	turn_until(world, DRAINED);
	assert_int_equal(world->counts[DATA], 0);
	http_connection_pause(world->connection, false);
	while (world->received < 11)
		loop_turn(world->loop, 20);
	world->counts[DRAINED] = 0;
	http_connection_write(world->connection, SLICE(" bye\n"));
	turn_until(world, ENDED);
	assert_bytes(world, "hello there bye\n");
	assert_int_equal(world->counts[DRAINED], 1);
	assert_true(world->progress.answered && !world->progress.nonsense);
	world_destroy(world);
}

static void a_large_piece_is_copied_and_drained_when_it_is_written(void **state)
{
	struct world *world = world_create();
	size_t size = 32u << 20;
	struct mono began;
	char *piece = malloc(size);

	memset(piece, 'x', size);
	upgrade(world, "/upgrade");
	turn_until(world, SWITCHED);
	http_connection_write(world->connection, slice_of(piece, size));
	memset(piece, '!', size);
	free(piece);
	/* The server echoes and nobody reads: in the end it takes no more. */
	do {
		began = clock_mono();
		loop_turn(world->loop, 100);
	} while (mono_seconds(began, clock_mono()) < 0.09);
	assert_int_equal(world->counts[DRAINED], 0);
	http_connection_pause(world->connection, false);
	turn_until(world, DRAINED);
	while (world->received < size + 6)
		loop_turn(world->loop, 20);
	assert_int_equal(world->received, size + 6);
	assert_null(memchr(world->bytes.at, '!', world->bytes.size));
	world_destroy(world);
}

static void an_upgrade_may_be_answered_as_any_request(void **state)
{
	struct world *world = world_create();

	upgrade(world, "/pattern/length/100/100");
	turn_until(world, ANSWERED);
	assert_int_equal(world->received, 100);
	assert_true(world->reusable);
	/* And the next one, which asks for none, may not be upgraded. */
	stream(world, "/upgrade");
	turn_until(world, ENDED);
	assert_true(world->progress.nonsense);
	assert_int_equal(world->why.kind, FAULT_broken);
	world_destroy(world);
}

/* --- closing ---------------------------------------------------------------------- */

static void every_event_may_close_the_connection(void **state)
{
	static const enum event all[] = { HEAD, DATA, ANSWERED, SWITCHED, DRAINED };
	struct world *world = world_create();

	for (size_t i = 0; i < 5; i++) {
		world->close_in = all[i];
		if (all[i] == SWITCHED || all[i] == DRAINED)
			upgrade(world, "/upgrade");
		else
			stream(world, "/pattern/chunked/500000/1000");
		if (all[i] == DRAINED) {
			turn_until(world, SWITCHED);
			http_connection_write(world->connection, SLICE("x"));
		}
		turn_until(world, all[i]);
		assert_null(world->connection);
		assert_int_equal(world->counts[ENDED], 0);
		for (int j = 0; j < 3; j++)
			loop_turn(world->loop, 1);
		world->close_in = NONE;
		connect_again(world);
	}
	/* Also with something left to be told. */
	world->pause_in = HEAD;
	stream(world, "/pattern/length/1000/1000");
	turn_until(world, HEAD);
	http_connection_pause(world->connection, false);
	http_connection_close(world->connection);
	world->connection = NULL;
	loop_turn(world->loop, 1);
	assert_int_equal(world->counts[DATA], 0);
	world_destroy(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			a_streamed_answer_is_told_in_pieces_whatever_its_framing),
		cmocka_unit_test(a_small_answer_comes_whole_with_its_head),
		cmocka_unit_test(a_connection_serves_one_exchange_after_the_other),
		cmocka_unit_test(
			head_and_body_of_a_request_are_written_one_behind_the_other),
		cmocka_unit_test(an_answer_that_breaks_off_is_told_as_far_as_it_came),
		cmocka_unit_test(a_paused_connection_makes_the_other_side_wait),
		cmocka_unit_test(nothing_is_told_during_a_pause_and_all_of_it_afterwards),
		cmocka_unit_test(random_pauses_lose_nothing),
		cmocka_unit_test(
			a_switched_connection_begins_paused_and_passes_bytes_both_ways),
		cmocka_unit_test(a_large_piece_is_copied_and_drained_when_it_is_written),
		cmocka_unit_test(an_upgrade_may_be_answered_as_any_request),
		cmocka_unit_test(every_event_may_close_the_connection),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
