/* SPDX-License-Identifier: MIT */
#include "script_rig.h"

static const struct rig_module modules[] = { { "native.fault", api_open_fault }, { 0 } };

#define FAULT_ "local fault = require 'native.fault' "

static struct rig rig;

static int open_rig(void **state)
{
	rig_init(&rig);
	rig_open(&rig, 8 << 20, modules);
	return 0;
}

static int close_rig(void **state)
{
	rig_finish(&rig);
	return 0;
}

static void a_fault_has_a_kind_a_detail_and_further_fields(void **state)
{
	assert_run(&rig,
		   FAULT_
		   "local f = fault.new('refused', 'no', {status = 402, code = 'c', "
		   "kind = 'ignored'}) "
		   "return f.kind, f.detail, f.status, f.code, tostring(f)",
		   "refused no 402 c refused: no");
	assert_run(&rig, FAULT_ "return fault.new('missing').detail == ''", "true");
	assert_contains(rig_run(&rig, FAULT_ "fault.new('odd', 'x')"),
			"'odd' is no kind of fault");
	assert_contains(rig_run(&rig, FAULT_ "fault.new('missing', 'x', 1)"),
			"table expected");
}

static void a_raised_fault_is_the_tasks(void **state)
{
	assert_run(&rig, FAULT_ "fault.raise('denied', 'not you', {status = 403})",
		   "denied: not you");
	assert_run(&rig,
		   FAULT_ "local ok, why = pcall(fault.raise, 'limit', 'enough') "
			  "return ok, why.kind, fault.is(why)",
		   "false limit true");
}

static void only_faults_are_faults(void **state)
{
	assert_run(&rig,
		   FAULT_
		   "return fault.is {kind = 'missing'}, fault.is('x'), fault.is(nil), "
		   "fault.is(setmetatable({}, {})), fault.is(fault.new('missing'))",
		   "false false false false true");
	assert_run(&rig,
		   FAULT_ "return getmetatable(fault.new('missing')), "
			  "pcall(setmetatable, fault.new('missing'), {})",
		   "false false cannot change a protected metatable");
}

static void the_status_is_the_kinds_unless_it_has_its_own(void **state)
{
	assert_run(&rig,
		   FAULT_ "return fault.status(fault.new('missing')), "
			  "fault.status(fault.new('denied', '', {status = 403})), "
			  "fault.status(fault.new('denied', '', {status = 200})), "
			  "fault.status('a text'), fault.status({}), fault.status(false)",
		   "404 403 401 500 500 500");
}

int main(void)
{
#define CLAIM(name) cmocka_unit_test_setup_teardown(name, open_rig, close_rig)
	const struct CMUnitTest claims[] = {
		CLAIM(a_fault_has_a_kind_a_detail_and_further_fields),
		CLAIM(a_raised_fault_is_the_tasks),
		CLAIM(only_faults_are_faults),
		CLAIM(the_status_is_the_kinds_unless_it_has_its_own),
	};

	return cmocka_run_group_tests(claims, NULL, NULL);
}
