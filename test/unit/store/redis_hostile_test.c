/* SPDX-License-Identifier: MIT */
/* What is made of a server that does not keep to the protocol of Redis: one of the test's
 * own, which says the words of one case to each who subscribes, or who greets it. */
#include "store/redis_feed.h"
#include "store/redis_pool.h"

#include "ground.h"
#include "pg_server.h"

#include <poll.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define SIZE_MAX_BYTES (64u << 10)
#define REPEATED (64u << 20) /* bytes that a server with an endless reply says */

struct words {
	const char *greeting; /* to a PING; NULL: as it should be */
	const char *once; /* to who subscribes */
	const char *then; /* behind it, over and over; NULL: nothing */
	bool ends; /* hangs up then */
};

#define SUBSCRIBED "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n"
#define HELLO "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$5\r\nhello\r\n"

static struct ground ground;
static unsigned heard_count;

static void heard(void *context, struct slice message)
{
	heard_count++;
	assert_true(slice_equal(message, SLICE("hello")));
}

/* --- the server ------------------------------------------------------------------- */

static bool say(int fd, const char *words)
{
	return send(fd, words, strlen(words), MSG_NOSIGNAL) == (ssize_t)strlen(words);
}

/* Until the other side hangs up. */
static void serve_one(int fd, const struct words *words)
{
	char got[512];
	ssize_t size;
	size_t said = 0;

	while ((size = read(fd, got, sizeof(got) - 1)) > 0) {
		got[size] = 0;
		if (strstr(got, "PING"))
			say(fd, words->greeting ? words->greeting : "+PONG\r\n");
		if (!strstr(got, "SUBSCRIBE"))
			continue;
		say(fd, words->once);
		while (words->then && said < REPEATED && say(fd, words->then))
			said += strlen(words->then);
		if (said >= REPEATED)
			_exit(1);
		if (words->ends)
			break;
	}
	close(fd);
}

static void serve(int listener, const struct words *words, int calls)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (calls-- > 0)
		serve_one(accept(listener, NULL, NULL), words);
	_exit(0);
}

static int listen_anywhere(int *port)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	socklen_t size = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
	assert_int_equal(listen(fd, 4), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
	*port = ntohs(address.sin_port);
	return fd;
}

/* --- the cases -------------------------------------------------------------------- */

/* Gives the server's process; url is where it listens. */
static pid_t start(const struct words *words, char url[64])
{
	int port, listener = listen_anywhere(&port);
	pid_t server = fork();

	if (server == 0)
		serve(listener, words, 2);
	close(listener);
	snprintf(url, 64, "redis://127.0.0.1:%d", port);
	heard_count = 0;
	ground_create(&ground);
	return server;
}

/* The words end the connection, each time: it is opened twice. */
static bool ended(pid_t server)
{
	struct mono limit = mono_after_ms(clock_mono(), 10000);
	int status = -1;

	while (clock_mono().ns < limit.ns) {
		loop_turn(ground.loop, 10);
		if (waitpid(server, &status, WNOHANG))
			return status == 0;
	}
	kill(server, SIGKILL);
	waitpid(server, NULL, 0);
	return false;
}

/* Gives how many messages were heard. */
static unsigned hung_up_on(const struct words *words)
{
	char url[64];
	pid_t server = start(words, url);
	struct redis_feed_config config = { .url = url,
					    .channel = SLICE("c"),
					    .size_max = SIZE_MAX_BYTES,
					    .connect_timeout_ms = 2000,
					    .quiet_ms = 20000 };
	struct redis_feed *feed =
		redis_feed_create(ground.loop, &config, heard, NULL, NULL);
	bool well = ended(server);

	redis_feed_check(feed);
	redis_feed_destroy(feed);
	ground_destroy(&ground);
	if (!well)
		fail_msg("it goes on listening to: %s %s %s",
			 words->greeting ? words->greeting : "",
			 words->once ? words->once : "", words->then ? words->then : "");
	return heard_count;
}

static void what_no_subscriber_is_sent_ends_the_connection(void **state)
{
	static const struct words all[] = {
		{ .once = "*0\r\n" },
		{ .once = "*-1\r\n*1\r\n$9\r\nsubscribe\r\n" },
		{ .once = "*2\r\n$7\r\nmessage\r\n$1\r\nc\r\n" },
		{ .once = "*4\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n$1\r\ny\r\n" },
		{ .once = "*3\r\n:1\r\n$1\r\nc\r\n:1\r\n" },
		{ .once = "*3\r\n$-1\r\n$1\r\nc\r\n:1\r\n" },
		{ .once = "*3\r\n+message\r\n$1\r\nc\r\n$5\r\nhello\r\n" },
		{ .once = "*3\r\n$9\r\nsubscribe\r\n:5\r\n:1\r\n" },
		{ .once = "*3\r\n$7\r\nmessage\r\n$-1\r\n$5\r\nhello\r\n" },
		{ .once = "*3\r\n*1\r\n:1\r\n$1\r\nc\r\n:1\r\n" },
		{ .once = SUBSCRIBED
		  "*3\r\n$11\r\nunsubscribe\r\n$1\r\nc\r\n$1\r\nx\r\n" },
		{ .once = SUBSCRIBED
		  "*3\r\n$11\r\nunsubscribe\r\n$1\r\nc\r\n:0\r\n" HELLO },
		{ .once = SUBSCRIBED "*3\r\n$8\r\npmessage\r\n$1\r\nc\r\n:0\r\n" },
		{ .once = SUBSCRIBED "?" },
		{ .greeting = "-ERR not now\r\n+OK\r\n" },
		{ .greeting = "-ERR not now\r\n" SUBSCRIBED },
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		assert_int_equal(hung_up_on(&all[i]), 0);
}

static void what_was_well_before_is_heard(void **state)
{
	static const struct words words = { .once = SUBSCRIBED HELLO "*0\r\n" };

	assert_int_equal(hung_up_on(&words), 2);
}

static void an_endless_reply_is_not_read_to_its_end(void **state)
{
	static const struct words all[] = {
		{ .once = SUBSCRIBED "*2147483647\r\n", .then = "$10\r\n0123456789\r\n" },
		{ .once = SUBSCRIBED "*100000000\r\n", .then = "$10\r\n0123456789\r\n" },
		{ .once = SUBSCRIBED, .then = "*1\r\n" },
		{ .once = SUBSCRIBED "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$9999999999\r\n",
		  .then = "0123456789" },
		{ .once = SUBSCRIBED "$", .then = "0123456789" },
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		assert_int_equal(hung_up_on(&all[i]), 0);
}

/* In the middle of the answer, or before it, or of a message. */
static void whoever_hangs_up_in_the_middle_is_called_again(void **state)
{
	static const char whole[] = SUBSCRIBED HELLO;

	for (size_t size = 0; size < sizeof(whole) - 1; size += 7) {
		struct words words = { .ends = true };
		char some[sizeof(whole)];

		snprintf(some, sizeof(some), "%.*s", (int)size, whole);
		words.once = some;
		assert_int_equal(hung_up_on(&words), 0);
	}
}

static void an_answer_to_nothing_ends_the_connection(void **state)
{
	static const struct words all[] = {
		{ .greeting = "+PONG\r\n+OK\r\n" },
		{ .greeting = "+PONG\r\n*1\r\n:1\r\n" },
		{ .greeting = "+PONG\r\n$-1\r\n" },
		{ .greeting = "+PONG\r\n:1\r\n" },
		{ .greeting = "+PONG\r\n-ERR enough\r\n" },
		{ .greeting = "-ERR not now\r\n+OK\r\n" },
		{ .greeting = "-ERR not now\r\n*1\r\n:1\r\n" },
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
		char url[64];
		pid_t server = start(&all[i], url);
		struct redis_pool_config config = { url, 10, 2000 };
		struct redis_pool *pool = redis_pool_create(ground.loop, &config, NULL);
		bool well = ended(server);

		redis_pool_check(pool);
		redis_pool_destroy(pool);
		ground_destroy(&ground);
		assert_true(well);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_no_subscriber_is_sent_ends_the_connection),
		cmocka_unit_test(what_was_well_before_is_heard),
		cmocka_unit_test(whoever_hangs_up_in_the_middle_is_called_again),
		cmocka_unit_test(an_endless_reply_is_not_read_to_its_end),
		cmocka_unit_test(an_answer_to_nothing_ends_the_connection),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
