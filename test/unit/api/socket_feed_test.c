/* SPDX-License-Identifier: MIT */
/* Two processes of one service on one thread, with a Redis of their own between them and
 * websockets of paper. */
#include "api/socket_feed.h"

#include "../store/ground.h"
#include "../store/redis_server.h"
#include "api/socket_hub.h"
#include "base/buf.h"
#include "http/websocket.h"
#include "store/redis_pool.h"

#include <hiredis/hiredis.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define ORIGIN_A "0123456789abcdef0123456789abcdef"
#define ORIGIN_B "fedcba9876543210fedcba9876543210"

struct websocket {
	struct buf got; /* texts, each with a ; behind */
	size_t bytes;
	uint64_t id;
};

bool websocket_send(struct websocket *websocket, struct slice text)
{
	websocket->bytes += text.size;
	if (text.size > 100)
		return true;
	buf_append(&websocket->got, text);
	buf_append_byte(&websocket->got, ';');
	return true;
}

void websocket_close(struct websocket *websocket, int code, struct slice reason)
{
}

/* One process, of one worker. */
struct side {
	struct ground ground;
	struct socket_hub *hub;
	struct redis_pool *redis;
	struct socket_feed *feed;
	struct websocket client; /* in the channel "news" */
};

static struct redis_server server;
static struct side a, b;

static void open_side(struct side *side, const char *origin, const char *service,
		      const char *url)
{
	struct slice news = SLICE("news");
	struct redis_pool_config pool = { url, 1000, 500 };
	struct socket_feed_config config;
	struct fault why;

	memset(side, 0, sizeof(*side));
	ground_create(&side->ground);
	side->hub = socket_hub_create(side->ground.loop);
	side->redis = redis_pool_create(side->ground.loop, &pool, &why);
	assert_non_null(side->redis);
	config = (struct socket_feed_config){ .loop = side->ground.loop,
					      .hub = side->hub,
					      .redis = side->redis,
					      .redis_url = url,
					      .lab = SLICE("lab"),
					      .service = slice_text(service),
					      .origin = slice_text(origin) };
	side->feed = socket_feed_create(&config);
	side->client.id = socket_hub_add(side->hub, &side->client, &news, 1);
	socket_feed_listen(side->feed);
	socket_feed_listen(side->feed);
}

static void close_side(struct side *side)
{
	if (!side->feed)
		return;
	redis_pool_destroy(side->redis);
	socket_feed_destroy(side->feed);
	socket_hub_destroy(side->hub);
	ground_destroy(&side->ground);
	buf_finish(&side->client.got);
	memset(side, 0, sizeof(*side));
}

static void turn(void)
{
	loop_turn(a.ground.loop, 2);
	loop_turn(b.ground.loop, 2);
}

#define until(ms, condition)                                                             \
	do {                                                                             \
		struct mono limit_ = mono_after_ms(clock_mono(), ms);                    \
		while (!(condition)) {                                                   \
			if (clock_mono().ns > limit_.ns)                                 \
				fail_msg("not within %d ms: %s", ms, #condition);        \
			turn();                                                          \
		}                                                                        \
	} while (0)

static double counted(struct side *side, const char *outcome)
{
	return ground_metric(&side->ground, "websocket_fanout_messages_total", outcome);
}

static const char *got(struct side *side)
{
	return buf_text(&side->client.got);
}

static bool both_listen(void)
{
	return socket_feed_listens(a.feed) && socket_feed_listens(b.feed);
}

static int two_sides(void **state)
{
	open_side(&a, ORIGIN_A, "shop", server.url);
	open_side(&b, ORIGIN_B, "shop", server.url);
	until(5000, both_listen());
	return 0;
}

static int close_sides(void **state)
{
	close_side(&a);
	close_side(&b);
	return 0;
}

static void reopen_b(const char *origin, const char *service, const char *url)
{
	close_side(&b);
	open_side(&b, origin, service, url);
	until(5000, both_listen());
}

static void say(struct side *side, const char *text)
{
	socket_feed_broadcast(side->feed, SLICE("news"), slice_text(text));
}

static void a_broadcast_reaches_both_processes_once(void **state)
{
	say(&a, "from a");
	until(5000, b.client.got.size > 0);
	say(&b, "from b");
	until(5000, a.client.got.size > strlen("from a;"));
	socket_feed_broadcast(a.feed, SLICE("other"), SLICE("nobody"));
	until(5000, counted(&b, "received") == 2);
	turn();
	assert_string_equal(got(&a), "from a;from b;");
	assert_string_equal(got(&b), "from a;from b;");
	assert_int_equal(counted(&a, "sent"), 2);
	assert_int_equal(counted(&a, "received"), 1);
}

static void any_text_arrives_as_it_was(void **state)
{
	socket_feed_broadcast(a.feed, SLICE("news"),
			      slice_of("1 : \0 ten \xE2\x82\xAC\r\n", 15));
	until(5000, b.client.got.size > 0);
	assert_int_equal(b.client.got.size, 16);
	assert_memory_equal(b.client.got.at, "1 : \0 ten \xE2\x82\xAC\r\n;", 16);
	socket_feed_broadcast(a.feed, SLICE("news"), SLICE(""));
	until(5000, b.client.got.size == 17);
}

static void another_service_or_database_hears_nothing(void **state)
{
	char url[128];

	reopen_b(ORIGIN_B, "bank", server.url);
	say(&a, "to shops");
	until(5000, counted(&a, "sent") == 1);
	snprintf(url, sizeof(url), "redis://127.0.0.1:%d/5", server.port);
	reopen_b(ORIGIN_B, "shop", url);
	say(&a, "to shops of 0");
	until(5000, counted(&a, "sent") == 2);
	for (int i = 0; i < 10; i++)
		turn();
	assert_string_equal(got(&b), "");
	assert_int_equal(counted(&b, "received"), 0);
}

static void what_does_not_read_like_a_broadcast_is_counted_and_dropped(void **state)
{
	static const char *const messages[] = {
		"",
		"x",
		"1",
		"1 " ORIGIN_A,
		"1 " ORIGIN_A " 4",
		"2 " ORIGIN_A " 4:newstext",
		"1 " ORIGIN_A "0 4:newstext",
		"1 0123 4:newstext",
		"1 " ORIGIN_A " 9:newstext",
		"1 " ORIGIN_A " -1:newstext",
		"1 " ORIGIN_A " 99999999999999999999:newstext",
		"1 " ORIGIN_A " 129:newstext",
		"1 " ORIGIN_A " 4:news\xFFtext",
	};
	size_t count = sizeof(messages) / sizeof(*messages);
	redisContext *client = redisConnect("127.0.0.1", server.port);

	for (size_t i = 0; i < count; i++)
		freeReplyObject(redisCommand(client, "PUBLISH orrery:ws:0:lab/shop %b",
					     messages[i], strlen(messages[i])));
	freeReplyObject(redisCommand(client, "PUBLISH orrery:ws:0:lab/shop %s",
				     "1 " ORIGIN_A " 4:newstext"));
	redisFree(client);
	until(5000, b.client.got.size > 0);
	assert_string_equal(got(&b), "text;");
	assert_int_equal(counted(&b, "malformed"), count);
	assert_int_equal(counted(&b, "received"), 1);
	assert_string_equal(got(&a), ""); /* its own origin */
}

static void without_redis_a_broadcast_stays_here_and_fanning_out_comes_back(void **state)
{
	redis_server_stop(&server);
	until(5000, !both_listen());
	say(&a, "alone");
	until(5000, a.client.got.size > 0);
	until(5000, counted(&a, "failed") == 1);
	redis_server_start(&server, NULL);
	until(12000, both_listen());
	until(8000, redis_pool_healthy(a.redis, NULL));
	say(&a, "together");
	until(5000, b.client.got.size > 0);
	assert_string_equal(got(&a), "alone;together;");
	assert_string_equal(got(&b), "together;");
}

static void what_redis_does_not_take_is_bounded(void **state)
{
	kill(server.pid, SIGSTOP);
	for (int i = 0; i < 300; i++)
		say(&a, "x");
	turn();
	assert_int_equal(counted(&a, "dropped"), 300 - 256);
	assert_int_equal(a.client.got.size, 2 * 300);
	until(5000, counted(&a, "failed") == 256); /* each in its time */
	kill(server.pid, SIGCONT);
	until(12000, both_listen() && redis_pool_healthy(a.redis, NULL));
	say(&a, "y");
	until(5000, counted(&a, "sent") == 1);
}

static void bytes_under_way_are_bounded_too(void **state)
{
	size_t size = 1000000;
	char *large = mem_zeroed(1, 2 * size);

	memset(large, 'x', 2 * size);
	socket_feed_broadcast(a.feed, SLICE("news"), slice_of(large, 2 * size));
	assert_int_equal(counted(&a, "dropped"), 1);
	for (int i = 0; i < 6; i++)
		socket_feed_broadcast(a.feed, SLICE("news"), slice_of(large, size));
	assert_int_equal(counted(&a, "dropped"), 3);
	until(5000, counted(&a, "sent") == 4);
	until(5000, b.client.bytes == 4 * size);
	assert_int_equal(a.client.bytes, 8 * size);
	free(large);
}

static void it_may_end_with_messages_under_way(void **state)
{
	say(&a, "late");
	say(&b, "late");
	close_sides(state);
}

static int start_server(void **state)
{
	signal(SIGPIPE, SIG_IGN);
	redis_server_start(&server, NULL);
	return 0;
}

static int stop_server(void **state)
{
	redis_server_stop(&server);
	return 0;
}

#define with_two(test) cmocka_unit_test_setup_teardown(test, two_sides, close_sides)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_two(a_broadcast_reaches_both_processes_once),
		with_two(any_text_arrives_as_it_was),
		with_two(another_service_or_database_hears_nothing),
		with_two(what_does_not_read_like_a_broadcast_is_counted_and_dropped),
		with_two(without_redis_a_broadcast_stays_here_and_fanning_out_comes_back),
		with_two(what_redis_does_not_take_is_bounded),
		with_two(bytes_under_way_are_bounded_too),
		with_two(it_may_end_with_messages_under_way),
	};

	if (!redis_server_found()) {
		print_message("skipped: Redis is not installed\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, start_server, stop_server);
}
