/* SPDX-License-Identifier: MIT */
/* Limits over a Redis of their own, which is stopped, frozen and started anew.
 *
 * Unless a test lets it run, the worker's clock stands still, while Redis' goes on: then
 * a busy machine makes nobody late. */
#include "gate/limit.h"

#include "../store/ground.h"
#include "../store/redis_server.h"
#include "store/redis_pool.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct redis_server server;
static struct ground ground;
static struct redis_pool *pool;
static struct gate_limiter *limiter;

struct answer {
	struct gate_limit_ticket ticket;
	int times;
	bool at_once;
	struct gate_limit_verdict verdict;
};

static void answered(void *context, const struct gate_limit_verdict *verdict)
{
	struct answer *answer = context;

	answer->times++;
	answer->verdict = *verdict;
}

static struct mono in_ms(int ms)
{
	return mono_after_ms(clock_mono(), ms);
}

static double really_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void let_the_clock_run(void)
{
	clock_set(NULL, NULL);
}

static void ask_all(struct gate_limiter *whom, struct answer *answer,
		    const struct gate_limit_ask *asks, size_t count)
{
	memset(answer, 0, sizeof(*answer));
	answer->at_once = gate_limiter_ask(whom, &answer->ticket, asks, count, NULL,
					   &answer->verdict, answered, answer);
	assert_int_equal(answer->times, 0);
	answer->times += answer->at_once;
}

static void ask(struct gate_limiter *whom, struct answer *answer,
		const struct gate_limit_def *limit, const char *key)
{
	struct gate_limit_ask asks = { limit, slice_text(key) };

	ask_all(whom, answer, &asks, 1);
}

static void turn(void)
{
	loop_turn(ground.loop, 10);
	gate_limiter_check(limiter);
	redis_pool_check(pool);
}

static void wait_for(const struct answer *answer)
{
	double until = really_s() + 10;

	while (answer->times < 1 && really_s() < until)
		turn();
	assert_int_equal(answer->times, 1);
}

static struct gate_limit_verdict now(const struct gate_limit_def *limit, const char *key)
{
	struct answer answer;

	ask(limiter, &answer, limit, key);
	wait_for(&answer);
	assert_null(answer.ticket.call);
	return answer.verdict;
}

static struct gate_limit_def limit_of(const char *name, double requests, double per_s,
				      double burst)
{
	return (struct gate_limit_def){ .name = slice_text(name),
					.requests = requests,
					.per_s = per_s,
					.burst = burst };
}

/* What a command of Redis gives, if it is a number or an array (its count). */
struct reply {
	bool done;
	int64_t number;
};

static void replied(void *context, const struct redis_value *value,
		    const struct fault *why)
{
	struct reply *reply = context;

	reply->done = true;
	if (why)
		fail_msg("%s", why->detail);
	reply->number =
		value->type == REDIS_array ? (int64_t)value->count : value->integer;
}

static int64_t redis(const char *words)
{
	struct slice args[16], rest = slice_text(words);
	struct reply reply = { 0 };
	size_t count = 0;

	while (slice_cut(&rest, ' ', &args[count]))
		count++;
	redis_pool_command(pool, args, count, in_ms(3000), NULL, replied, &reply);
	while (!reply.done)
		turn();
	return reply.number;
}

struct lines {
	const char *message;
	unsigned count;
};

static void each_line(void *context, const struct log_record *record)
{
	struct lines *lines = context;

	lines->count += slice_equal(record->message, slice_text(lines->message));
}

/* Lines of this message since the last drain; drains. */
static unsigned lines_of(const char *message)
{
	struct lines lines = { message, 0 };

	while (log_hub_drain(ground.hub, 1000, each_line, &lines) > 0)
		;
	return lines.count;
}

static int create(void **state)
{
	struct redis_pool_config config = { server.url, 500, 1000 };
	struct mono now_it_is = clock_mono();
	struct fault why;

	clock_set(&now_it_is, NULL);
	ground_create(&ground);
	pool = redis_pool_create(ground.loop, &config, &why);
	assert_non_null(pool);
	limiter = gate_limiter_create(ground.loop, pool);
	redis("FLUSHALL");
	return 0;
}

static int destroy(void **state)
{
	gate_limiter_check(limiter);
	gate_limiter_destroy(limiter);
	redis_pool_destroy(pool);
	ground_destroy(&ground);
	let_the_clock_run();
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

/* --- with Redis ------------------------------------------------------------------- */

static void a_caller_has_its_burst_and_then_waits(void **state)
{
	struct gate_limit_def limit = limit_of("few", 1, 100, 5);
	struct gate_limit_verdict verdict;

	for (int i = 0; i < 5; i++) {
		verdict = now(&limit, "somebody");
		assert_true(verdict.allowed && !verdict.local);
		assert_ptr_equal(verdict.limit, &limit);
		assert_true(verdict.left >= 4 - i && verdict.left < 4.1 - i);
		assert_true(verdict.reset_s > 100 * (i + 1) - 10 &&
			    verdict.reset_s <= 100 * (i + 1));
	}
	verdict = now(&limit, "somebody");
	assert_false(verdict.allowed);
	assert_true(verdict.left < 0.1);
	assert_true(verdict.retry_after_s > 90 && verdict.retry_after_s <= 100);
	assert_true(verdict.reset_s > 490 && verdict.reset_s <= 500);
	assert_true(now(&limit, "somebody else").allowed);
	assert_true(ground_metric(&ground, "gateway_limited_requests_total", "redis") ==
		    1);
}

static void time_gives_requests_back(void **state)
{
	struct gate_limit_def limit = limit_of("back", 1, 0.2, 1);
	double began = really_s();

	assert_true(now(&limit, "a").allowed);
	while (!now(&limit, "a").allowed)
		assert_true(really_s() - began < 10);
	assert_true(really_s() - began > 0.19);
}

static void what_redis_keeps_expires_when_the_burst_is_whole_again(void **state)
{
	struct gate_limit_def limit = limit_of("gone", 1, 0.5, 10);
	double until = really_s() + 10;

	assert_true(now(&limit, "a").allowed);
	assert_int_equal(redis("KEYS orrery:limit:*"), 1);
	assert_int_equal(redis("KEYS *"), 1);
	while (redis("KEYS *") > 0)
		assert_true(really_s() < until);
}

static void what_one_limit_refuses_is_counted_against_none(void **state)
{
	struct gate_limit_def wide = limit_of("wide", 1, 1000, 10);
	struct gate_limit_def narrow = limit_of("narrow", 1, 1000, 3);
	struct gate_limit_ask asks[] = { { &wide, SLICE("a") }, { &narrow, SLICE("a") } };
	struct answer answer;

	for (int i = 0; i < 8; i++) {
		ask_all(limiter, &answer, asks, 2);
		wait_for(&answer);
		assert_int_equal(answer.verdict.allowed, i < 3);
		assert_ptr_equal(answer.verdict.limit, &narrow);
	}
	assert_true(now(&wide, "a").left > 5.9);
	for (int i = 0; i < 6; i++)
		assert_true(now(&wide, "a").allowed);
	ask_all(limiter, &answer, asks, 2);
	wait_for(&answer);
	assert_false(answer.verdict.allowed);
}

static void of_two_that_refuse_the_longer_wait_is_told(void **state)
{
	struct gate_limit_def minute = limit_of("minute", 1, 60, 1);
	struct gate_limit_def hour = limit_of("hour", 1, 3600, 1);
	struct gate_limit_ask asks[] = { { &hour, SLICE("a") }, { &minute, SLICE("a") } };
	struct answer answer;

	for (int i = 0; i < 2; i++) {
		ask_all(limiter, &answer, asks, 2);
		wait_for(&answer);
	}
	assert_false(answer.verdict.allowed);
	assert_ptr_equal(answer.verdict.limit, &hour);
	assert_true(answer.verdict.retry_after_s > 3500);
}

static void without_limits_everything_is_allowed_at_once(void **state)
{
	struct answer answer;

	ask_all(limiter, &answer, NULL, 0);
	assert_true(answer.at_once && answer.verdict.allowed);
	assert_null(answer.verdict.limit);
}

static void limits_and_callers_are_told_apart_and_not_named_in_redis(void **state)
{
	struct gate_limit_def one = limit_of("ab", 1, 100, 1);
	struct gate_limit_def other = limit_of("a", 1, 100, 1);

	assert_true(now(&one, "c").allowed);
	assert_true(now(&other, "bc").allowed);
	assert_true(now(&one, "").allowed);
	assert_true(now(&one, "secret-token").allowed);
	assert_false(now(&one, "secret-token").allowed);
	assert_int_equal(redis("KEYS *"), 4);
	assert_int_equal(redis("KEYS *secret*"), 0);
}

/* Two gateways, each with a pool and a limiter of its own. */
static void two_gateways_together_let_through_what_one_may(void **state)
{
	struct gate_limit_def limit = limit_of("exact", 2000, 1, 300);
	struct redis_pool_config config = { server.url, 500, 1000 };
	struct redis_pool *second_pool;
	struct gate_limiter *second;
	struct answer answers[64];
	double began, ended, expected;
	unsigned allowed = 0, asked = 0;
	struct fault why;

	second_pool = redis_pool_create(ground.loop, &config, &why);
	second = gate_limiter_create(ground.loop, second_pool);
	now(&limit, "somebody else"); /* the script is there */
	memset(answers, 0, sizeof(answers));
	began = really_s();
	while (really_s() < began + 1.5) {
		for (int i = 0; i < 64; i++)
			ask(i % 2 ? limiter : second, &answers[i], &limit, "one");
		for (int i = 0; i < 64; i++) {
			wait_for(&answers[i]);
			assert_false(answers[i].verdict.local);
			allowed += answers[i].verdict.allowed;
			asked++;
		}
	}
	ended = really_s();
	expected = 300 + 2000 * (ended - began);
	gate_limiter_destroy(second);
	redis_pool_destroy(second_pool);
	assert_true(asked > 2 * expected);
	if (allowed > expected * 1.01 || allowed < expected * 0.99)
		fail_msg("%u of %u were allowed, %.0f may be", allowed, asked, expected);
}

/* --- without ---------------------------------------------------------------------- */

static void without_a_pool_the_worker_decides(void **state)
{
	struct gate_limit_def limit = limit_of("alone", 1, 100, 2);
	struct gate_limiter *alone = gate_limiter_create(ground.loop, NULL);
	struct answer answer;

	for (int i = 0; i < 3; i++) {
		ask(alone, &answer, &limit, "a");
		assert_true(answer.at_once && answer.verdict.local);
		assert_int_equal(answer.verdict.allowed, i < 2);
	}
	gate_limiter_destroy(alone);
	assert_true(ground_metric(&ground, "gateway_limited_requests_total", "local") ==
		    1);
	assert_int_equal(lines_of("limits are decided without Redis"), 0);
}

/* Asks until it is decided by Redis, or here. */
static void until_decided(bool local)
{
	struct gate_limit_def limit = limit_of("any", 1e6, 1, 1e6);
	double until = really_s() + 10;

	while (now(&limit, "a").local != local) {
		assert_true(really_s() < until);
		turn();
	}
}

static void a_redis_that_is_gone_and_comes_back_is_told_once_each(void **state)
{
	struct gate_limit_def limit = limit_of("away", 1, 1000, 3);
	struct mono began;

	assert_true(now(&limit, "a").allowed);
	let_the_clock_run();
	redis_server_stop(&server);
	until_decided(true);
	began = clock_mono();
	for (int i = 0; i < 200; i++) {
		struct gate_limit_verdict verdict = now(&limit, "a");

		assert_true(verdict.local);
		assert_int_equal(verdict.allowed, i < 3);
	}
	assert_true(mono_seconds(began, clock_mono()) < 3);
	assert_int_equal(lines_of("limits are decided without Redis"), 1);
	redis_server_start(&server, NULL);
	until_decided(false);
	assert_int_equal(lines_of("limits are decided by Redis again"), 1);
}

static void a_script_that_redis_has_forgotten_is_sent_again(void **state)
{
	struct gate_limit_def limit = limit_of("script", 1, 1000, 2);

	for (int i = 0; i < 4; i++) {
		struct gate_limit_verdict verdict = now(&limit, "a");

		assert_false(verdict.local);
		assert_int_equal(verdict.allowed, i < 2);
		redis("SCRIPT FLUSH");
	}
	assert_int_equal(lines_of("limits are decided without Redis"), 0);
}

static void while_redis_hangs_few_wait_and_not_for_long(void **state)
{
	struct gate_limit_def limit = limit_of("hang", 1e6, 1, 1e6);
	struct answer answers[20], more;
	struct mono began;

	until_decided(false);
	let_the_clock_run();
	kill(server.pid, SIGSTOP);
	began = clock_mono();
	for (int i = 0; i < 20; i++)
		ask(limiter, &answers[i], &limit, "a");
	for (int i = 0; i < 20; i++) {
		wait_for(&answers[i]);
		assert_true(answers[i].verdict.local && answers[i].verdict.allowed);
	}
	assert_true(mono_seconds(began, clock_mono()) > 0.09);
	assert_true(mono_seconds(began, clock_mono()) < 0.8);
	/* From then on nobody waits, also not when the pool has given up and reopens. */
	while (mono_seconds(began, clock_mono()) < 2.5) {
		ask(limiter, &more, &limit, "a");
		assert_true(more.at_once && more.verdict.local);
		turn();
	}
	assert_int_equal(lines_of("limits are decided without Redis"), 1);
	kill(server.pid, SIGCONT);
	until_decided(false);
	assert_int_equal(lines_of("limits are decided by Redis again"), 1);
}

static void who_withdraws_hears_nothing(void **state)
{
	struct gate_limit_def limit = limit_of("leave", 1, 1000, 10);
	struct answer left, stayed;

	ask(limiter, &left, &limit, "a");
	ask(limiter, &stayed, &limit, "a");
	gate_limit_withdraw(&left.ticket);
	gate_limit_withdraw(&left.ticket);
	gate_limiter_check(limiter);
	wait_for(&stayed);
	assert_int_equal(left.times, 0);
	/* It may be used again. */
	ask(limiter, &left, &limit, "a");
	wait_for(&left);
	gate_limit_withdraw(&left.ticket);
}

static void a_limiter_may_end_before_its_answers_come(void **state)
{
	struct gate_limit_def limit = limit_of("end", 1, 1000, 10);
	struct gate_limiter *brief = gate_limiter_create(ground.loop, pool);
	struct answer answers[5];

	for (int i = 0; i < 5; i++)
		ask(brief, &answers[i], &limit, "a");
	gate_limit_withdraw(&answers[2].ticket);
	gate_limiter_destroy(brief);
	for (int i = 0; i < 5; i++) {
		assert_null(answers[i].ticket.call);
		assert_int_equal(answers[i].times, 0);
	}
	assert_false(now(&limit, "b").local); /* behind those answers */
	for (int i = 0; i < 5; i++)
		assert_int_equal(answers[i].times, 0);
}

static void a_pool_that_ends_first_leaves_the_decision_here(void **state)
{
	struct gate_limit_def limit = limit_of("last", 1, 1000, 10);
	struct redis_pool_config config = { server.url, 500, 1000 };
	struct gate_limiter *late;
	struct redis_pool *brief;
	struct answer answer;
	struct fault why;

	brief = redis_pool_create(ground.loop, &config, &why);
	late = gate_limiter_create(ground.loop, brief);
	ask(late, &answer, &limit, "a");
	redis_pool_destroy(brief);
	assert_int_equal(answer.times, 1);
	assert_true(answer.verdict.local && answer.verdict.allowed);
	gate_limiter_destroy(late);
	assert_int_equal(lines_of("limits are decided without Redis"), 0);
}

#define WITH_REDIS(test) cmocka_unit_test_setup_teardown(test, create, destroy)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_REDIS(a_caller_has_its_burst_and_then_waits),
		WITH_REDIS(time_gives_requests_back),
		WITH_REDIS(what_redis_keeps_expires_when_the_burst_is_whole_again),
		WITH_REDIS(what_one_limit_refuses_is_counted_against_none),
		WITH_REDIS(of_two_that_refuse_the_longer_wait_is_told),
		WITH_REDIS(without_limits_everything_is_allowed_at_once),
		WITH_REDIS(limits_and_callers_are_told_apart_and_not_named_in_redis),
		WITH_REDIS(two_gateways_together_let_through_what_one_may),
		WITH_REDIS(without_a_pool_the_worker_decides),
		WITH_REDIS(a_script_that_redis_has_forgotten_is_sent_again),
		WITH_REDIS(who_withdraws_hears_nothing),
		WITH_REDIS(a_limiter_may_end_before_its_answers_come),
		WITH_REDIS(a_pool_that_ends_first_leaves_the_decision_here),
		WITH_REDIS(while_redis_hangs_few_wait_and_not_for_long),
		WITH_REDIS(a_redis_that_is_gone_and_comes_back_is_told_once_each),
	};

	if (!redis_server_found())
		return 77;
	return cmocka_run_group_tests(tests, start_server, stop_server);
}
