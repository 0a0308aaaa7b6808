/* SPDX-License-Identifier: MIT */
#include "script_rig.h"

static const struct rig_module modules[] = { { "native.random", api_open_random },
					     { 0 } };

static struct rig rig;

#define RANDOM "local random = require 'native.random' "

static int open_rig(void **state)
{
	rig_init(&rig);
	rig_open(&rig, 32 << 20, modules);
	return 0;
}

static int close_rig(void **state)
{
	rig_finish(&rig);
	return 0;
}

static void a_uuid_is_version_4(void **state)
{
	assert_run(&rig,
		   RANDOM
		   "local seen = {} for i = 1, 1000 do local id = random.uuid() "
		   "if not id:find('^%x%x%x%x%x%x%x%x%-%x%x%x%x%-4%x%x%x%-[89ab]%x%x%x%-"
		   "%x%x%x%x%x%x%x%x%x%x%x%x$') or seen[id] then return id end seen[id] "
		   "= true end",
		   "");
}

static void integers_stay_between_their_bounds(void **state)
{
	assert_run(&rig,
		   RANDOM "local seen, count = {}, 0 for i = 1, 1000 do local n = "
			  "random.integer(-1, 3) "
			  "if not seen[n] then seen[n], count = true, count + 1 end end "
			  "return count, seen[-1], seen[3], seen[4] == nil",
		   "5 true true true");
	assert_run(&rig, RANDOM "return random.integer(7, 7)", "7");
	assert_run(
		&rig,
		RANDOM
		"local n = random.integer(-2^53, 2^53) return n >= -2^53 and n <= 2^53",
		"true");
	assert_contains(rig_run(&rig, RANDOM "random.integer(2, 1)"), "below the first");
	assert_contains(rig_run(&rig, RANDOM "random.integer(1.5, 2)"), "not an integer");
	assert_contains(rig_run(&rig, RANDOM "random.integer(0, 1/0)"), "not an integer");
	assert_contains(rig_run(&rig, RANDOM "random.integer(0/0, 1)"), "not an integer");
}

static void numbers_are_below_one(void **state)
{
	assert_run(&rig,
		   RANDOM "local sum = 0 for i = 1, 10000 do local n = random.number() "
			  "if n < 0 or n >= 1 then return n end sum = sum + n end "
			  "return sum > 4500 and sum < 5500",
		   "true");
}

static void hex_has_two_digits_a_byte(void **state)
{
	assert_run(&rig,
		   RANDOM "local a, b = random.hex(16), random.hex(16) "
			  "return #a, a ~= b, a:find('^%x+$')",
		   "32 true 1 32");
	assert_contains(rig_run(&rig, RANDOM "random.hex(0)"), "between 1 and 1024");
	assert_contains(rig_run(&rig, RANDOM "random.hex(1025)"), "between 1 and 1024");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_uuid_is_version_4),
		cmocka_unit_test(integers_stay_between_their_bounds),
		cmocka_unit_test(numbers_are_below_one),
		cmocka_unit_test(hex_has_two_digits_a_byte),
	};

	return cmocka_run_group_tests(tests, open_rig, close_rig);
}
