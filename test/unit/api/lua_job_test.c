/* SPDX-License-Identifier: MIT */
#include "script_rig.h"

static const struct rig_module modules[] = { { "native.job", api_open_job }, { 0 } };

static struct rig rig;
static struct buf woken;

static void wake_job(void *context, struct slice name)
{
	buf_append(context, name);
}

static int open_rig(void **state)
{
	rig_init(&rig);
	rig.api.wake_job = wake_job;
	rig.api.wake_job_context = &woken;
	rig_open(&rig, 32 << 20, modules);
	return 0;
}

static int close_rig(void **state)
{
	rig_finish(&rig);
	buf_finish(&woken);
	return 0;
}

static void a_job_is_woken_by_name(void **state)
{
	assert_run(&rig, "require('native.job').wake('relay')", "");
	assert_string_equal(buf_text(&woken), "relay");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_job_is_woken_by_name),
	};

	return cmocka_run_group_tests(tests, open_rig, close_rig);
}
