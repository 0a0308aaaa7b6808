/* SPDX-License-Identifier: MIT */
/* native.redis from a script, against a server of its own. */
#include "script_rig.h"

#include "../store/redis_server.h"
#include "store/redis_pool.h"

static const struct rig_module modules[] = { { "native.redis", api_open_redis }, { 0 } };

static struct redis_server server;
static struct rig rig;

#define REDIS "local redis = require 'native.redis' "

static int open_rig(void **state)
{
	struct redis_pool_config config = { NULL, 100, 1000 };
	struct fault why;

	signal(SIGPIPE, SIG_IGN);
	redis_server_start(&server, NULL);
	config.url = server.url;
	rig_init(&rig);
	rig.api.redis = redis_pool_create(rig.loop, &config, &why);
	assert_non_null(rig.api.redis);
	rig_open(&rig, 32 << 20, modules);
	return 0;
}

static int close_rig(void **state)
{
	redis_pool_destroy(rig.api.redis);
	rig_finish(&rig);
	redis_server_stop(&server);
	return 0;
}

static void replies_become_lua_values(void **state)
{
	assert_run(&rig,
		   REDIS "local c = redis.command "
			 "return c('SET', 'k', 7), c('GET', 'k'), c('INCRBY', 'k', 3), "
			 "c('GET', 'no'), "
			 "#c('MGET', 'k', 'no', 'k'), c('MGET', 'k', 'no', 'k')[2]",
		   "OK 7 10 nil 3 false");
	assert_run(&rig,
		   REDIS "redis.command('SET', 'big', '9223372036854775806') "
			 "return redis.command('INCR', 'big')",
		   "9223372036854775807");
}

static void a_failure_comes_back(void **state)
{
	assert_run(&rig,
		   REDIS "redis.command('SET', 't', 'x') "
			 "local v, why = redis.command('INCR', 't') return v, why.kind",
		   "nil refused");
	assert_run(&rig, REDIS "local v, why = redis.command('MULTI') return v, why.kind",
		   "nil internal");
	assert_contains(rig_run(&rig, REDIS "redis.command()"), "bad argument #1");
	assert_contains(rig_run(&rig, REDIS "redis.command('SET', 'k', {})"),
			"bad argument #3");
}

static void a_stuck_server_costs_a_second_at_most(void **state)
{
	struct mono begin;

	assert_run(&rig, REDIS "return redis.command('PING')", "PONG");
	kill(server.pid, SIGSTOP);
	begin = clock_mono();
	assert_run(&rig,
		   REDIS "local v, why = redis.command('GET', 'k') return v, why.kind",
		   "nil timeout");
	assert_true(mono_seconds(begin, clock_mono()) < 1.5);
	kill(server.pid, SIGCONT);
}

static void without_redis_it_says_which_setting_is_missing(void **state)
{
	struct redis_pool *pool = rig.api.redis;

	rig.api.redis = NULL;
	assert_run(&rig, REDIS "redis.command('PING')",
		   "unavailable: this service has no Redis: set redis_url");
	rig.api.redis = pool;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(replies_become_lua_values),
		cmocka_unit_test(a_failure_comes_back),
		cmocka_unit_test(without_redis_it_says_which_setting_is_missing),
		cmocka_unit_test(a_stuck_server_costs_a_second_at_most),
	};

	if (!redis_server_found())
		return 77;
	return cmocka_run_group_tests(tests, open_rig, close_rig);
}
