/* SPDX-License-Identifier: MIT */
/* Hearing a Redis channel, of a server of its own; hiredis' blocking side publishes. */
#include "store/redis_feed.h"

#include "base/buf.h"
#include "base/random.h"
#include "ground.h"
#include "redis_server.h"

#include <hiredis/hiredis.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define SIZE_MAX_BYTES (256u << 10)

static struct redis_server server;
static struct ground ground;
static struct redis_feed *feed;
static struct buf got; /* messages, each with a ; behind */
static size_t got_bytes;

static void heard(void *context, struct slice message)
{
	assert_ptr_equal(context, &server);
	assert_true(redis_feed_is_heard(feed));
	got_bytes += message.size;
	if (message.size < 100) {
		buf_append(&got, message);
		buf_append_byte(&got, ';');
	}
}

static struct redis_feed *make(const char *url, int quiet_ms)
{
	struct redis_feed_config config = { .url = url,
					    .channel = SLICE("orrery:test"),
					    .size_max = SIZE_MAX_BYTES,
					    .connect_timeout_ms = 500,
					    .quiet_ms = quiet_ms };
	struct fault why;

	return redis_feed_create(ground.loop, &config, heard, &server, &why);
}

static void open_feed(int quiet_ms)
{
	ground_create(&ground);
	buf_reset(&got);
	got_bytes = 0;
	feed = make(server.url, quiet_ms);
	assert_non_null(feed);
}

static int with_feed(void **state)
{
	open_feed(3000);
	return 0;
}

static int with_impatient_feed(void **state)
{
	open_feed(100);
	return 0;
}

static int close_feed(void **state)
{
	redis_feed_check(feed);
	redis_feed_destroy(feed);
	ground_destroy(&ground);
	return 0;
}

static void turn(void)
{
	loop_turn(ground.loop, 10);
	redis_feed_check(feed);
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

/* A command by the blocking client; gives an integer reply. */
static long long redis(const char *format, ...)
{
	redisContext *client = redisConnect("127.0.0.1", server.port);
	long long integer;
	redisReply *reply;
	va_list args;

	assert_non_null(client);
	assert_int_equal(client->err, 0);
	va_start(args, format);
	reply = redisvCommand(client, format, args);
	va_end(args);
	assert_non_null(reply);
	assert_int_not_equal(reply->type, REDIS_REPLY_ERROR);
	integer = reply->integer;
	freeReplyObject(reply);
	redisFree(client);
	return integer;
}

/* How many subscribed when it was published. */
static long long publish(const char *text)
{
	return redis("PUBLISH orrery:test %s", text);
}

static void what_is_published_is_heard_once_and_in_order(void **state)
{
	struct buf expected = { 0 };

	until(5000, redis_feed_is_heard(feed));
	redis("PUBLISH orrery:other no");
	for (int i = 0; i < 500; i++) {
		char text[16];

		snprintf(text, sizeof(text), "%d", i);
		assert_int_equal(publish(text), 1);
		buf_printf(&expected, "%d;", i);
	}
	until(5000, got.size >= expected.size);
	for (int i = 0; i < 5; i++)
		turn();
	assert_string_equal(buf_text(&got), buf_text(&expected));
	buf_finish(&expected);
}

static void a_message_may_hold_any_byte(void **state)
{
	until(5000, redis_feed_is_heard(feed));
	redis("PUBLISH orrery:test %b", "a\0b\r\n", (size_t)5);
	until(5000, got.size > 0);
	assert_int_equal(got.size, 6);
	assert_memory_equal(got.at, "a\0b\r\n;", 6);
}

static void a_server_that_comes_back_is_heard_again_by_itself(void **state)
{
	until(5000, redis_feed_is_heard(feed));
	redis_server_stop(&server);
	until(5000, !redis_feed_is_heard(feed));
	for (int i = 0; i < 30; i++)
		turn();
	redis_server_start(&server, NULL);
	until(8000, redis_feed_is_heard(feed));
	assert_int_equal(publish("back"), 1);
	until(5000, got.size > 0);
	assert_string_equal(buf_text(&got), "back;");
}

static void a_server_that_says_nothing_any_more_is_left(void **state)
{
	until(5000, redis_feed_is_heard(feed));
	kill(server.pid, SIGSTOP);
	until(1000, !redis_feed_is_heard(feed));
	kill(server.pid, SIGCONT);
	until(8000, redis_feed_is_heard(feed));
	assert_int_equal(publish("awake"), 1);
	until(5000, got.size > 0);
}

static void silence_alone_ends_nothing(void **state)
{
	struct mono end;

	until(5000, redis_feed_is_heard(feed));
	end = mono_after_ms(clock_mono(), 1500);
	while (clock_mono().ns < end.ns) {
		turn();
		assert_true(redis_feed_is_heard(feed));
	}
	assert_int_equal(publish("still"), 1);
	until(5000, got.size > 0);
	assert_string_equal(buf_text(&got), "still;");
}

static void too_large_a_message_is_not_heard_and_the_next_is(void **state)
{
	size_t size = SIZE_MAX_BYTES;
	char *large = mem_zeroed(1, 8 * size);

	memset(large, 'x', 8 * size);
	until(5000, redis_feed_is_heard(feed));
	redis("PUBLISH orrery:test %b", large, size);
	until(5000, got_bytes > 0);
	assert_int_equal(got_bytes, size);
	redis("PUBLISH orrery:test %b", large, 8 * size);
	until(5000, !redis_feed_is_heard(feed));
	assert_int_equal(got_bytes, size);
	until(5000, redis_feed_is_heard(feed));
	assert_int_equal(publish("next"), 1);
	until(5000, got.size > 0);
	assert_string_equal(buf_text(&got), "next;");
	free(large);
}

static void who_may_not_subscribe_is_not_taken_for_subscribed(void **state)
{
	char url[128];

	redis("ACL SETUSER mute on >word +@all ~* resetchannels");
	redis_feed_destroy(feed);
	snprintf(url, sizeof(url), "redis://mute:word@127.0.0.1:%d", server.port);
	feed = make(url, 3000);
	for (int i = 0; i < 60; i++) {
		turn();
		assert_false(redis_feed_is_heard(feed));
	}
	redis("ACL SETUSER mute allchannels");
	until(8000, redis_feed_is_heard(feed));
	redis("ACL DELUSER mute");
}

static void it_may_be_destroyed_at_any_time(void **state)
{
	struct random random;

	random_init(&random, 7);
	for (int i = 0; i < 200; i++) {
		for (uint64_t n = random_below(&random, 5); n > 0; n--) {
			if (redis_feed_is_heard(feed) && random_below(&random, 2))
				publish("x");
			loop_turn(ground.loop, (int)random_below(&random, 3));
			redis_feed_check(feed);
		}
		redis_feed_destroy(feed);
		feed = make(server.url, 1 + (int)random_below(&random, 3));
	}
}

static void a_malformed_url_is_refused(void **state)
{
	struct redis_feed_config config = { .url = "http://x", .channel = SLICE("c") };
	struct fault why;

	assert_null(redis_feed_create(ground.loop, &config, heard, NULL, &why));
	assert_int_equal(why.kind, FAULT_bad_input);
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
	buf_finish(&got);
	return 0;
}

#define with(kind, test) cmocka_unit_test_setup_teardown(test, kind, close_feed)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with(with_feed, what_is_published_is_heard_once_and_in_order),
		with(with_feed, a_message_may_hold_any_byte),
		with(with_feed, a_server_that_comes_back_is_heard_again_by_itself),
		with(with_impatient_feed, a_server_that_says_nothing_any_more_is_left),
		with(with_impatient_feed, silence_alone_ends_nothing),
		with(with_feed, too_large_a_message_is_not_heard_and_the_next_is),
		with(with_feed, who_may_not_subscribe_is_not_taken_for_subscribed),
		with(with_feed, it_may_be_destroyed_at_any_time),
		with(with_feed, a_malformed_url_is_refused),
	};

	if (!redis_server_found()) {
		print_message("skipped: Redis is not installed\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, start_server, stop_server);
}
