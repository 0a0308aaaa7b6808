/* SPDX-License-Identifier: MIT */
/* The Redis pool against a server of its own. */
#include "store/redis_pool.h"

#include "base/random.h"
#include "ground.h"
#include "redis_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static struct redis_server server;
static struct ground ground;
static struct redis_pool *pool;

struct answer {
	int times;
	bool ok;
	enum fault_kind kind;
	char detail[240];
	enum redis_type type;
	int64_t integer;
	char text[64];
	size_t count;
	char second[64]; /* of an array's second item */
};

static void copy(char *to, struct slice text)
{
	snprintf(to, 64, "%.*s", (int)text.size, text.at ? text.at : "");
}

static void answered(void *context, const struct redis_value *value,
		     const struct fault *why)
{
	struct answer *answer = context;

	answer->times++;
	answer->ok = why == NULL;
	assert_true((value == NULL) == (why != NULL));
	if (why) {
		answer->kind = why->kind;
		snprintf(answer->detail, sizeof(answer->detail), "%s", why->detail);
		return;
	}
	answer->type = value->type;
	answer->integer = value->integer;
	answer->count = value->count;
	copy(answer->text, value->text);
	if (value->type == REDIS_array && value->count > 1)
		copy(answer->second, value->items[1].text);
}

static struct mono in_ms(int ms)
{
	return mono_after_ms(clock_mono(), ms);
}

/* words: separated by single spaces. */
static void ask_for(struct answer *answer, int ms, const char *words)
{
	struct slice args[16], rest = slice_text(words);
	size_t count = 0;

	while (slice_cut(&rest, ' ', &args[count]))
		count++;
	memset(answer, 0, sizeof(*answer));
	redis_pool_command(pool, args, count, in_ms(ms), NULL, answered, answer);
	assert_int_equal(answer->times, 0);
}

static void turn(void)
{
	loop_turn(ground.loop, 20);
	redis_pool_check(pool);
}

static void wait_for(const struct answer *answer)
{
	struct mono until = in_ms(10000);

	while (answer->times < 1 && clock_mono().ns < until.ns)
		turn();
	assert_int_equal(answer->times, 1);
}

static struct answer now(const char *words)
{
	struct answer answer;

	ask_for(&answer, 3000, words);
	wait_for(&answer);
	return answer;
}

static void assert_kind(const struct answer *answer, enum fault_kind kind)
{
	assert_false(answer->ok);
	assert_string_equal(fault_name(answer->kind), fault_name(kind));
}

static void open_pool(const char *url)
{
	struct redis_pool_config config = { url, 500, 1000 };
	struct fault why;

	ground_create(&ground);
	pool = redis_pool_create(ground.loop, &config, &why);
	assert_non_null(pool);
}

static int with_pool(void **state)
{
	open_pool(server.url);
	return 0;
}

static int close_pool(void **state)
{
	redis_pool_check(pool);
	redis_pool_destroy(pool);
	ground_destroy(&ground);
	return 0;
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

static void commands_are_answered_in_their_types(void **state)
{
	struct answer answer = now("SET one 1");

	assert_true(answer.ok);
	assert_int_equal(answer.type, REDIS_status);
	assert_string_equal(answer.text, "OK");
	answer = now("INCR one");
	assert_int_equal(answer.type, REDIS_integer);
	assert_int_equal(answer.integer, 2);
	answer = now("get one");
	assert_int_equal(answer.type, REDIS_text);
	assert_string_equal(answer.text, "2");
	answer = now("GET nothing");
	assert_true(answer.ok);
	assert_int_equal(answer.type, REDIS_null);
	answer = now("MGET nothing one");
	assert_int_equal(answer.type, REDIS_array);
	assert_int_equal(answer.count, 2);
	assert_string_equal(answer.second, "2");
	/* Arrays in arrays, with an error, a status and nothing in them. */
	answer = now("EVAL return{{redis.error_reply('E'),{{false}}},"
		     "redis.status_reply('S'),3} 0");
	assert_int_equal(answer.type, REDIS_array);
	assert_int_equal(answer.count, 3);
	assert_string_equal(answer.second, "S");
	assert_true(redis_pool_healthy(pool, NULL));
	assert_true(ground_metric(&ground, "db_client_operation_duration_seconds",
				  "GET") == 2);
}

static void an_error_reply_is_refused_with_its_words(void **state)
{
	struct answer answer = now("SET text abc");

	answer = now("INCR text");
	assert_kind(&answer, FAULT_refused);
	assert_non_null(strstr(answer.detail, "not an integer"));
	answer = now("NOSUCHCOMMAND");
	assert_kind(&answer, FAULT_refused);
	answer = now("GET text");
	assert_true(answer.ok);
}

static void what_does_not_fit_a_shared_connection_is_internal(void **state)
{
	static const char *const commands[] = { "MULTI",
						"subscribe x",
						"BLPOP l 0",
						"SELECT 2",
						"XREAD BLOCK 0 STREAMS s 0",
						"QUIT" };

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		struct answer answer = now(commands[i]);

		assert_kind(&answer, FAULT_internal);
	}
}

static void many_at_once_keep_their_order(void **state)
{
	static struct answer answers[400];

	assert_true(now("DEL counter").ok);
	for (int round = 0; round < 5; round++) {
		for (int i = 0; i < 400; i++)
			ask_for(&answers[i], 3000, "INCR counter");
		for (int i = 0; i < 400; i++) {
			wait_for(&answers[i]);
			assert_int_equal(answers[i].integer, round * 400 + i + 1);
		}
	}
	for (int i = 0; i < 300; i++)
		ask_for(&answers[i], 3000, "PING");
	for (int i = 0; i < 300; i++)
		wait_for(&answers[i]);
}

static void beyond_the_bound_commands_are_refused_as_limit(void **state)
{
	static struct answer answers[700];
	int limited = 0;

	for (int i = 0; i < 700; i++)
		ask_for(&answers[i], 3000, "PING");
	for (int i = 0; i < 700; i++) {
		wait_for(&answers[i]);
		limited += !answers[i].ok;
		if (!answers[i].ok)
			assert_kind(&answers[i], FAULT_limit);
	}
	assert_int_equal(limited, 200);
}

static void large_values_go_both_ways(void **state)
{
	static char large[3 << 20];
	struct slice args[] = { SLICE("SET"), SLICE("large"), { large, sizeof(large) } };
	struct answer answer = { 0 };

	memset(large, 'x', sizeof(large));
	large[7] = '\0';
	redis_pool_command(pool, args, 3, in_ms(5000), NULL, answered, &answer);
	wait_for(&answer);
	assert_true(answer.ok);
	answer = now("STRLEN large");
	assert_int_equal(answer.integer, sizeof(large));
	answer = now("GET large");
	assert_true(answer.ok);
	assert_true(now("DEL large").ok);
}

static void a_late_command_is_answered_at_its_deadline(void **state)
{
	struct answer read, write, answer = now("PING");
	struct mono begin = clock_mono();

	kill(server.pid, SIGSTOP);
	ask_for(&read, 150, "GET x");
	ask_for(&write, 5000, "INCR late");
	wait_for(&read);
	wait_for(&write);
	assert_kind(&read, FAULT_timeout);
	assert_kind(&write, FAULT_uncertain);
	assert_true(mono_seconds(begin, clock_mono()) < 1);
	/* Connecting succeeds, but nobody answers the greeting. */
	answer = now("GET x");
	assert_kind(&answer, FAULT_unavailable);
	kill(server.pid, SIGCONT);
	begin = clock_mono();
	do {
		turn();
		answer = now("PING");
	} while (!answer.ok && mono_seconds(begin, clock_mono()) < 8);
	assert_true(answer.ok);
}

static void a_killed_server_fails_promptly_and_the_pool_recovers(void **state)
{
	struct answer answer = now("PING");
	struct mono begin;

	redis_server_stop(&server);
	begin = clock_mono();
	for (int i = 0; i < 20; i++) {
		answer = now(i % 2 ? "GET x" : "INCR x");
		assert_false(answer.ok);
		assert_true(answer.kind == FAULT_unavailable ||
			    answer.kind == FAULT_uncertain);
	}
	assert_kind(&answer, FAULT_unavailable);
	assert_true(mono_seconds(begin, clock_mono()) < 1);
	assert_false(redis_pool_healthy(pool, NULL));
	redis_server_start(&server, NULL);
	begin = clock_mono();
	do {
		turn();
		answer = now("PING");
	} while (!answer.ok && mono_seconds(begin, clock_mono()) < 8);
	assert_true(answer.ok);
	assert_true(redis_pool_healthy(pool, NULL));
}

static void a_password_and_a_database_are_used(void **state)
{
	struct redis_server locked = { 0 };
	struct answer answer;
	char url[96];

	redis_server_start(&locked, "sec%2Fret");
	open_pool(locked.url);
	answer = now("PING");
	assert_kind(&answer, FAULT_unavailable); /* "sec/ret" is wrong */
	close_pool(NULL);
	snprintf(url, sizeof(url), "redis://:sec%%252Fret@127.0.0.1:%d/3", locked.port);
	open_pool(url);
	answer = now("SET in3 1");
	assert_true(answer.ok);
	answer = now("INFO keyspace");
	assert_true(answer.ok);
	assert_non_null(strstr(answer.text, "db3"));
	close_pool(NULL);
	snprintf(url, sizeof(url), "redis://localhost:%d", server.port);
	open_pool(url);
	assert_true(now("PING").ok);
	close_pool(NULL);
	open_pool("redis://no-such-host.invalid");
	answer = now("PING");
	assert_kind(&answer, FAULT_unavailable);
	close_pool(NULL);
	redis_server_stop(&locked);
}

static void a_malformed_url_is_refused(void **state)
{
	static const char *const urls[] = { "",
					    "http://x",
					    "redis://",
					    "redis://x:99999",
					    "redis://x/abc",
					    "redis://secret@x" };
	struct redis_pool_config config = { NULL, 10, 100 };
	struct fault why;

	ground_create(&ground);
	for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
		config.url = urls[i];
		assert_null(redis_pool_create(ground.loop, &config, &why));
		assert_int_equal(why.kind, FAULT_bad_input);
	}
	ground_destroy(&ground);
}

static void chaos_delays_fails_and_cuts(void **state)
{
	struct answer answer = now("PING");
	struct mono begin = clock_mono();

	chaos_arm(&ground.chaos, CHAOS_redis_command,
		  (struct chaos_effect){ .delay_ms = 80 }, 1);
	answer = now("PING");
	assert_true(answer.ok && mono_seconds(begin, clock_mono()) >= 0.08);
	chaos_arm(&ground.chaos, CHAOS_redis_command,
		  (struct chaos_effect){ .fail = FAULT_timeout }, 1);
	answer = now("PING");
	assert_kind(&answer, FAULT_timeout);
	chaos_arm(&ground.chaos, CHAOS_redis_command,
		  (struct chaos_effect){ .cut = true }, 2);
	answer = now("GET x");
	assert_kind(&answer, FAULT_unavailable);
	answer = now("SET x 1");
	assert_kind(&answer, FAULT_uncertain);
	answer = now("PING");
	assert_true(answer.ok);
}

static void a_span_tells_the_command_and_never_the_key(void **state)
{
	struct trace_context parent = { .trace_id = { 1 }, .span_id = { 2 }, .flags = 1 };
	struct slice args[] = { SLICE("get"), SLICE("secret-key") };
	struct answer answer = { 0 };
	struct slice span;

	redis_pool_command(pool, args, 2, in_ms(1000), &parent, answered, &answer);
	wait_for(&answer);
	assert_true(tracer_peek(ground.observer.tracer, &span));
	assert_non_null(memmem(span.at, span.size, "GET", 3));
	assert_non_null(memmem(span.at, span.size, "db.system.name", 14));
	assert_null(memmem(span.at, span.size, "secret-key", 10));
	tracer_release(ground.observer.tracer);
}

static void a_pool_destroyed_in_the_middle_cancels_everything(void **state)
{
	struct answer answers[20];

	assert_true(now("PING").ok);
	for (int i = 0; i < 20; i++)
		ask_for(&answers[i], 1000, "PING");
	redis_pool_destroy(pool);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(answers[i].times, 1);
		assert_kind(&answers[i], FAULT_cancelled);
	}
	ground_destroy(&ground);
	open_pool(server.url);
	ask_for(&answers[0], 1000, "PING");
	redis_pool_destroy(pool);
	assert_kind(&answers[0], FAULT_cancelled);
	ground_destroy(&ground);
	open_pool(server.url);
}

static void a_random_walk_keeps_the_invariants(void **state)
{
	static struct answer answers[40];
	static const char *const commands[] = { "GET w", "INCR w", "NOPE", "SET w 1",
						"MULTI" };
	struct random random;
	struct mono until = in_ms(9000);

	random_init(&random, 20261120);
	for (int i = 0; i < 40; i++)
		ask_for(&answers[i], 3000, "PING");
	for (int step = 0; step < 8000; step++) {
		struct answer *answer = &answers[random_below(&random, 40)];

		assert_true(answer->times <= 1);
		if (answer->times == 1)
			ask_for(answer, random_below(&random, 50) ? 3000 : 1,
				commands[random_below(&random, 5)]);
		if (random_below(&random, 4) == 0)
			loop_turn(ground.loop, random_below(&random, 20) ? 0 : 3);
		if (random_below(&random, 300) == 0)
			chaos_arm(&ground.chaos, CHAOS_redis_command,
				  (struct chaos_effect){ .cut = true }, 1);
		if (random_below(&random, 300) == 0)
			chaos_arm(&ground.chaos, CHAOS_redis_command,
				  (struct chaos_effect){ .delay_ms = 5 }, 3);
		if (step == 3000)
			redis_server_stop(&server);
		if (step == 4000)
			redis_server_start(&server, NULL);
		redis_pool_check(pool);
	}
	for (int i = 0; i < 40; i++)
		while (answers[i].times == 0 && clock_mono().ns < until.ns)
			turn();
	for (int i = 0; i < 40; i++)
		assert_int_equal(answers[i].times, 1);
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, with_pool, close_pool)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH(commands_are_answered_in_their_types),
		WITH(an_error_reply_is_refused_with_its_words),
		WITH(what_does_not_fit_a_shared_connection_is_internal),
		WITH(many_at_once_keep_their_order),
		WITH(beyond_the_bound_commands_are_refused_as_limit),
		WITH(large_values_go_both_ways),
		WITH(a_late_command_is_answered_at_its_deadline),
		WITH(a_killed_server_fails_promptly_and_the_pool_recovers),
		cmocka_unit_test(a_password_and_a_database_are_used),
		cmocka_unit_test(a_malformed_url_is_refused),
		WITH(chaos_delays_fails_and_cuts),
		WITH(a_span_tells_the_command_and_never_the_key),
		WITH(a_pool_destroyed_in_the_middle_cancels_everything),
		WITH(a_random_walk_keeps_the_invariants),
	};

	if (!redis_server_found())
		return 77;
	return cmocka_run_group_tests(tests, start_server, stop_server);
}
