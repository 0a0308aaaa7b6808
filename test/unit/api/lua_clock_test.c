/* SPDX-License-Identifier: MIT */
#include "script_rig.h"

static const struct rig_module modules[] = { { "native.clock", api_open_clock }, { 0 } };

static struct rig rig;

#define CLOCK "local clock = require 'native.clock' "

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

static void the_clocks_are_those_of_the_host(void **state)
{
	struct mono mono = { 12500000000 };
	struct wall wall = { 1795172400123456789 };

	clock_set(&mono, &wall);
	assert_run(&rig,
		   CLOCK "return clock.mono(), ('%.6f'):format(clock.now()), clock.iso()",
		   "12.5 1795172400.123457 2026-11-20T11:00:00.123Z");
	clock_set(NULL, NULL);
}

static void seconds_become_iso_text(void **state)
{
	assert_run(
		&rig,
		CLOCK
		"return clock.iso(0), clock.iso(1795172400), clock.iso(1795172400.9999)",
		"1970-01-01T00:00:00.000Z 2026-11-20T11:00:00.000Z "
		"2026-11-20T11:00:00.999Z");
	assert_contains(rig_run(&rig, CLOCK "clock.iso(-1)"), "between 1970 and");
	assert_contains(rig_run(&rig, CLOCK "clock.iso(0/0)"), "between 1970 and");
	assert_contains(rig_run(&rig, CLOCK "clock.iso(1e300)"), "between 1970 and");
	assert_contains(rig_run(&rig, CLOCK "clock.iso('x')"), "number expected");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_clocks_are_those_of_the_host),
		cmocka_unit_test(seconds_become_iso_text),
	};

	return cmocka_run_group_tests(tests, open_rig, close_rig);
}
