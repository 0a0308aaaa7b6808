/* SPDX-License-Identifier: MIT */
#include "store/redis_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

static void a_url_is_taken_apart(void **state)
{
	struct redis_target target;
	struct fault why;

	assert_true(redis_target_init(&target, "redis://localhost", &why));
	assert_string_equal(target.host, "localhost");
	assert_int_equal(target.port, 6379);
	assert_int_equal(target.database, 0);
	assert_null(target.password);
	redis_target_finish(&target);
	assert_true(
		redis_target_init(&target, "redis://me:p%40s%2Fs@[::1]:7000/2", &why));
	assert_string_equal(target.user, "me");
	assert_string_equal(target.password, "p@s/s");
	assert_string_equal(target.host, "::1");
	assert_int_equal(target.port, 7000);
	assert_int_equal(target.database, 2);
	redis_target_finish(&target);
	assert_true(redis_target_init(&target, "redis://:secret@127.0.0.2:7/", &why));
	assert_null(target.user);
	assert_string_equal(target.password, "secret");
	redis_target_finish(&target);
}

static void a_malformed_url_is_refused(void **state)
{
	static const char *const urls[] = { "",
					    "localhost:6379",
					    "redis://",
					    "redis://h:0",
					    "redis://h:65536",
					    "redis://h:x",
					    "redis://h/x",
					    "redis://h:1/2/3",
					    "redis://secret@h",
					    "rediss://h" };
	struct redis_target target;
	struct fault why;

	for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
		assert_false(redis_target_init(&target, urls[i], &why));
		assert_int_equal(why.kind, FAULT_bad_input);
		assert_null(strstr(why.detail, "secret"));
	}
}

static void commands_are_known_by_their_names(void **state)
{
	char name[REDIS_NAME_SIZE];

	redis_name(SLICE("hGetAll"), name);
	assert_string_equal(name, "HGETALL");
	assert_true(redis_name_reads(name));
	redis_name(SLICE("no spaces"), name);
	assert_string_equal(name, "OTHER");
	redis_name(SLICE("MUCHTOOLONGFORACOMMANDOFREDIS"), name);
	assert_string_equal(name, "OTHER");
	redis_name(SLICE(""), name);
	assert_string_equal(name, "OTHER");
	assert_false(redis_name_reads("SET"));
	assert_true(redis_name_is_unfit("SUBSCRIBE"));
	assert_false(redis_name_is_unfit("GET"));
}

/* Every name of the tables is found, which says that they are sorted. */
static void the_tables_are_sorted(void **state)
{
	static const char *const reads[] = { "BITCOUNT", "GET",	  "HGET", "INFO",
					     "LRANGE",	 "MGET",  "PTTL", "SCARD",
					     "TTL",	 "ZSCORE" };
	static const char *const unfit[] = {
		"AUTH", "BLPOP",  "BZPOPMIN",  "CLIENT", "EXEC",  "HELLO",     "MULTI",
		"QUIT", "SELECT", "SUBSCRIBE", "WATCH",	 "XREAD", "XREADGROUP"
	};

	for (size_t i = 0; i < sizeof(reads) / sizeof(reads[0]); i++)
		assert_true(redis_name_reads(reads[i]));
	for (size_t i = 0; i < sizeof(unfit) / sizeof(unfit[0]); i++)
		assert_true(redis_name_is_unfit(unfit[i]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_url_is_taken_apart),
		cmocka_unit_test(a_malformed_url_is_refused),
		cmocka_unit_test(commands_are_known_by_their_names),
		cmocka_unit_test(the_tables_are_sorted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
