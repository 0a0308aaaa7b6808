/* SPDX-License-Identifier: MIT */
#include "script_rig.h"

#include "gate/gate.h"

#define STATUS "local list = require('native.gate').status() "

static const struct rig_module modules[] = { { "native.gate", api_open_gate }, { 0 } };

static struct rig rig;

const char *__lsan_default_suppressions(void);

const char *__lsan_default_suppressions(void)
{
	return "leak:h2o_mem_alloc_recycle\nleak:h2o_multithread_create_queue\n";
}

static int open_rig(void **state)
{
	rig_init(&rig);
	rig_open(&rig, 8 << 20, modules);
	return 0;
}

static int open_with_gate(void **state)
{
	struct gate_upstream_def defs[] = {
		{ .name = SLICE("orders"),
		  .addresses = SLICE("http://127.0.0.1:1,http://127.0.0.1:2"),
		  .resolve_ms = 60000,
		  .connect_timeout_ms = 1000,
		  .connections_max = 8,
		  .idle_timeout_ms = 1000,
		  .retry = { .attempts_max = 1 } },
	};
	struct gate_plan plan = { .upstreams = defs, .upstream_count = 1 };
	struct gate_config config = { 0 };

	rig_init(&rig);
	config.loop = rig.loop;
	rig.api.gate = gate_create(&config);
	gate_use(rig.api.gate, &plan);
	rig_open(&rig, 8 << 20, modules);
	return 0;
}

static int close_rig(void **state)
{
	vm_destroy(rig.vm);
	rig.vm = NULL;
	gate_destroy(rig.api.gate);
	rig_finish(&rig);
	return 0;
}

static void where_nothing_is_forwarded_the_list_is_empty(void **state)
{
	assert_run(&rig, STATUS "return type(list), #list", "table 0");
}

static void every_address_is_told_of_with_how_it_is(void **state)
{
	for (int turns = 0; turns < 500; turns++) {
		if (strcmp(rig_run(&rig, STATUS "return #list"), "2") == 0)
			break;
		loop_turn(rig.loop, 10);
	}
	assert_run(&rig, STATUS "return list[1].address, list[2].address",
		   "127.0.0.1:1 127.0.0.1:2");
	assert_run(&rig,
		   STATUS "local one = list[1] return one.upstream, one.up, one.breaker, "
			  "one.active, one.idle, one.attempts, one.failures, one.trouble "
			  "== nil",
		   "orders true closed 0 0 0 0 true");
}

static void a_script_gets_a_list_of_its_own(void **state)
{
	assert_run(&rig, STATUS "list[1] = nil return #require('native.gate').status()",
		   "2");
}

int main(void)
{
#define CLAIM(name, open) cmocka_unit_test_setup_teardown(name, open, close_rig)
	const struct CMUnitTest claims[] = {
		CLAIM(where_nothing_is_forwarded_the_list_is_empty, open_rig),
		CLAIM(every_address_is_told_of_with_how_it_is, open_with_gate),
		CLAIM(a_script_gets_a_list_of_its_own, open_with_gate),
	};

	return cmocka_run_group_tests(claims, NULL, NULL);
}
