/* SPDX-License-Identifier: MIT */
#include "script_rig.h"

#include "loop/worker.h"

static const struct rig_module modules[] = { { "native.password", api_open_password },
					     { "native.task", api_open_task },
					     { 0 } };

#define PASSWORD                                                                         \
	"local password, task = require 'native.password', require 'native.task' "

static struct rig rig;

static void start(unsigned queue_max)
{
	rig_init(&rig);
	rig.api.helper = helper_create(1, queue_max);
	rig_open(&rig, 32 << 20, modules);
}

static void stop(void)
{
	helper_destroy(rig.api.helper);
	rig_finish(&rig);
}

static void a_password_fits_its_hash(void **state)
{
	start(8);
	assert_run(&rig,
		   PASSWORD
		   "local one, other = password.hash('demo-password'), "
		   "password.hash('demo-password') "
		   "return one:match('^%$argon2id%$v=19%$m=19456,t=2,p=1%$') ~= nil, one "
		   "~= other, "
		   "password.verify(one, 'demo-password'), password.verify(other, "
		   "'demo-password'), "
		   "password.verify(one, 'demo-passwore'), password.verify(one, '')",
		   "true true true true false false");
	stop();
}

static void any_bytes_are_a_password(void **state)
{
	start(8);
	assert_run(
		&rig,
		PASSWORD
		"local hash = password.hash('a\\0b') "
		"return password.verify(hash, 'a\\0b'), password.verify(hash, 'a\\0c'), "
		"password.verify(password.hash(''), '')",
		"true false true");
	stop();
}

static void the_loop_goes_on_meanwhile(void **state)
{
	start(8);
	assert_run(&rig,
		   PASSWORD "local naps = 0 "
			    "local hash = task.all{function() return password.hash('x') "
			    "end, function() "
			    "for i = 1, 3 do task.sleep(0.001) naps = naps + 1 end end} "
			    "return naps, #hash > 90",
		   "3 true");
	stop();
}

static void what_is_no_hash_fits_nothing(void **state)
{
	start(8);
	assert_run(&rig,
		   PASSWORD "return password.verify('$argon2id$nonsense', 'x'), "
			    "password.verify('x', 'x')",
		   "false false");
	assert_contains(rig_run(&rig, PASSWORD "password.verify('', 'x')"),
			"not an encoded password");
	assert_contains(rig_run(&rig, PASSWORD "password.verify(('x'):rep(200), 'x')"),
			"not an encoded password");
	assert_contains(rig_run(&rig, PASSWORD "password.hash(('x'):rep(2000))"),
			"longer than 1024");
	assert_contains(rig_run(&rig, PASSWORD "password.hash()"), "string expected");
	stop();
}

static void too_many_at_once_is_a_limit(void **state)
{
	start(1);
	assert_contains(rig_run(&rig, PASSWORD
				"local function one() return password.hash('x') end "
				"task.all{one, one, one, one}"),
			"limit: ");
	stop();
}

static void nothing(void *context)
{
}

static void set_true(void *context)
{
	*(bool *)context = true;
}

/* The helper's answer comes when the VM is gone. */
static void a_vm_that_ends_meanwhile_is_left_alone(void **state)
{
	struct task_config config = {
		.push = rig_push_source,
		.data = (void *)PASSWORD "password.hash('x')",
		.deadline = MONO_NEVER,
		.done = rig_on_done,
		.context = &rig,
	};

	bool answered = false;

	start(8);
	task_start(rig.vm, &config);
	loop_turn(rig.loop, 0);
	assert_false(rig.done);
	vm_destroy(rig.vm);
	rig.vm = NULL;
	assert_true(rig.done);
	assert_string_equal(buf_text(&rig.result), "cancelled: the service is ending");
	/* There is one helper thread: what is done after the password comes after it. */
	assert_true(helper_submit(rig.api.helper, rig.loop, nothing, set_true, &answered,
				  NULL));
	while (!answered)
		loop_turn(rig.loop, 1000);
	stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_password_fits_its_hash),
		cmocka_unit_test(any_bytes_are_a_password),
		cmocka_unit_test(the_loop_goes_on_meanwhile),
		cmocka_unit_test(what_is_no_hash_fits_nothing),
		cmocka_unit_test(too_many_at_once_is_a_limit),
		cmocka_unit_test(a_vm_that_ends_meanwhile_is_left_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
