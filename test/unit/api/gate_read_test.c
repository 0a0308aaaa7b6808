/* SPDX-License-Identifier: MIT */
#include "service_rig.h"

#include "gate/plan.h"

#include <lua.h>

/* What lib/gate.lua makes; each case changes a member of `s.gate`. */
#define SERVICE(changes)                                                                 \
	"local function upstream(name, at)\n"                                            \
	"  return {name = name, at = at, address = 'http://127.0.0.1:1,http://b:2',\n"   \
	"    balance = 'least_busy', resolve_ms = 1000, connect_timeout_ms = 900,\n"     \
	"    connections_max = 512, idle_max = 64, idle_timeout_ms = 30000,\n"           \
	"    health = {path = '/ready', interval_ms = 500, timeout_ms = 800, fall = "    \
	"2,\n"                                                                           \
	"      rise = 1},\n"                                                             \
	"    breaker = {failures = 5, open_ms = 2000},\n"                                \
	"    retry = {attempts_max = 3, ratio = 0.2, per_s = 10}}\n"                     \
	"end\n"                                                                          \
	"local function route(prefix, at)\n"                                             \
	"  return {prefix = prefix, at = at, upstream = 'orders', limits = {'key'},\n"   \
	"    timeout_ms = 12000, idle_timeout_ms = 60000, upgrade = false,\n"            \
	"    upgrades_per_client_max = 0}\n"                                             \
	"end\n"                                                                          \
	"local gate = {\n"                                                               \
	"  upstreams = {upstream('users', 'x.lua:1'), upstream('orders', 'x.lua:2')},\n" \
	"  limits = {{name = 'key', at = 'x.lua:3', by = 'header', header = 'x-key',\n"  \
	"    requests = 500, per_s = 1, burst = 1000}},\n"                               \
	"  routes = {route('/a', 'x.lua:4'), route('/a/longer', 'x.lua:5')},\n"          \
	"  headers = {['x-two'] = '2', ['x-one'] = '1'},\n"                              \
	"  cors = {origins = {'http://a', 'http://b:3000'}, methods = 'GET',\n"          \
	"    headers = 'a', expose = 'b', credentials = true, max_age_s = 600},\n"       \
	"}\n" changes "\nreturn {name = 'edge', gate = gate}\n"

static struct rig rig;

static int open_rig(void **state)
{
	rig_init(&rig);
	rig_open(&rig, 8 << 20, service_rig_modules);
	return 0;
}

static int close_rig(void **state)
{
	rig_finish(&rig);
	return 0;
}

static struct service *load(const char *source)
{
	struct fault why;
	struct service *service = service_rig_load(rig.vm, source, &why);

	if (!service)
		fail_msg("%s", why.detail);
	return service;
}

static void assert_refused(const char *source, const char *part)
{
	struct fault why = { 0 };
	struct service *service = service_rig_load(rig.vm, source, &why);

	if (service)
		fail_msg("taken: %s", source);
	assert_contains(why.detail, part);
	assert_int_equal(lua_gettop(vm_main(rig.vm)), 0);
}

#define assert_slice(slice, text) assert_true(slice_equal(slice, SLICE(text)))

static void a_service_that_declares_nothing_has_no_plan(void **state)
{
	struct service *service = load("return {name = 'plain'}");

	assert_null(service->plan);
	service_destroy(service);
}

static void an_upstream_is_read_member_by_member(void **state)
{
	struct service *service = load(SERVICE(""));
	const struct gate_plan *plan = service->plan;
	const struct gate_upstream_def *def;

	assert_non_null(plan);
	assert_int_equal(plan->upstream_count, 2);
	def = &plan->upstreams[1];
	assert_slice(def->name, "orders");
	assert_slice(def->addresses, "http://127.0.0.1:1,http://b:2");
	assert_int_equal(def->balance, GATE_least_busy);
	assert_int_equal(def->resolve_ms, 1000);
	assert_int_equal(def->connect_timeout_ms, 900);
	assert_int_equal(def->connections_max, 512);
	assert_int_equal(def->idle_max, 64);
	assert_int_equal(def->idle_timeout_ms, 30000);
	assert_slice(def->health.path, "/ready");
	assert_int_equal(def->health.interval_ms, 500);
	assert_int_equal(def->health.timeout_ms, 800);
	assert_int_equal(def->health.fall, 2);
	assert_int_equal(def->health.rise, 1);
	assert_int_equal(def->breaker.failures, 5);
	assert_int_equal(def->breaker.open_ms, 2000);
	assert_int_equal(def->retry.attempts_max, 3);
	assert_true(def->retry.ratio == 0.2);
	assert_true(def->retry.per_s == 10);
	service_destroy(service);
}

static void routes_know_their_upstream_and_limits_by_place(void **state)
{
	struct service *service =
		load(SERVICE("gate.routes[2].before = function() end\n"
			     "gate.routes[2].rewrite = '/b'\n"
			     "gate.routes[2].body_size_max = 7\n"
			     "gate.routes[2].upgrade = true\n"
			     "gate.routes[2].upgrades_per_client_max = 100"));
	const struct gate_plan *plan = service->plan;
	const struct gate_route *longer = &plan->routes[0], *shorter = &plan->routes[1];

	assert_int_equal(plan->route_count, 2);
	assert_slice(longer->prefix, "/a/longer");
	assert_slice(longer->about.path, "/a/longer");
	assert_slice(longer->rewrite, "/b");
	assert_int_equal(longer->body_size_max, 7);
	assert_true(longer->upgrade);
	assert_int_equal(longer->upgrades_per_client_max, 100);
	assert_true(longer->before > 0);
	assert_slice(shorter->prefix, "/a");
	assert_null(shorter->rewrite.at);
	assert_true(shorter->body_size_max == SIZE_MAX);
	assert_false(shorter->upgrade);
	assert_int_equal(shorter->before, 0);
	assert_int_equal(shorter->timeout_ms, 12000);
	assert_int_equal(shorter->idle_timeout_ms, 60000);
	assert_slice(plan->upstreams[shorter->upstream].name, "orders");
	assert_int_equal(shorter->limit_count, 1);
	assert_slice(plan->limits[shorter->limits[0]].name, "key");
	service_destroy(service);
}

static void limits_headers_and_cors_are_read(void **state)
{
	struct service *service =
		load(SERVICE("gate.limits[2] = {name = 'all', by = 'all', requests = 1, "
			     "per_s = 2, burst = 3}\n"
			     "gate.limits[3] = {name = 'c', by = 'client', requests = 1, "
			     "per_s = 2, burst = 3}"));
	const struct gate_plan *plan = service->plan;

	assert_int_equal(plan->limit_count, 3);
	assert_int_equal(plan->limits[0].by, GATE_BY_header);
	assert_slice(plan->limits[0].header, "x-key");
	assert_true(plan->limits[0].requests == 500);
	assert_int_equal(plan->limits[1].by, GATE_BY_all);
	assert_int_equal(plan->limits[2].by, GATE_BY_client);
	assert_true(plan->limits[2].per_s == 2 && plan->limits[2].burst == 3);
	assert_int_equal(plan->answer_header_count, 2);
	assert_slice(plan->answer_headers[0].name, "x-one");
	assert_slice(plan->answer_headers[1].value, "2");
	assert_int_equal(plan->cors.origin_count, 2);
	assert_slice(plan->cors.origins[1], "http://b:3000");
	assert_slice(plan->cors.methods, "GET");
	assert_slice(plan->cors.expose, "b");
	assert_true(plan->cors.credentials);
	assert_int_equal(plan->cors.max_age_s, 600);
	service_destroy(service);
}

static void what_is_wrong_is_named_with_the_place_of_its_declaration(void **state)
{
	static const struct {
		const char *source;
		const char *part;
	} cases[] = {
		{ SERVICE("gate.upstreams[2].address = nil"),
		  "x.lua:2: upstream 'orders': 'address' must be a text, not nil" },
		{ SERVICE("gate.upstreams[2].balance = 'any'"),
		  "x.lua:2: upstream 'orders': 'balance' must be round_robin or" },
		{ SERVICE("gate.upstreams[1].health = 5"),
		  "x.lua:1: upstream 'users': 'health' must be a table, not number" },
		{ SERVICE("gate.upstreams[1].health.fall = 1.5"),
		  "x.lua:1: upstream 'users': 'fall' must be a whole number" },
		{ SERVICE("gate.upstreams[1].idle_max = -1"),
		  "x.lua:1: upstream 'users': 'idle_max' must be a number from 0" },
		{ SERVICE("gate.upstreams[1].retry.ratio = 0/0"),
		  "'ratio' must be a number from 0" },
		{ SERVICE("gate.upstreams[1].resolve_ms = 0"),
		  "x.lua:1: upstream users: resolve_ms" },
		{ SERVICE("gate.routes[1].prefix = 'a'"),
		  "x.lua:4: route a: the prefix" },
		{ SERVICE("gate.routes[2].upstream = 'nobody'"),
		  "x.lua:5: route '/a/longer': there is no upstream 'nobody'" },
		{ SERVICE("gate.routes[2].limits = {'nothing'}"),
		  "x.lua:5: route '/a/longer': there is no limit 'nothing'" },
		{ SERVICE("gate.routes[1].limits = {'key', 'key', 'key', 'key', 'key'}"),
		  "x.lua:4: route '/a': there are more than 4 limits" },
		{ SERVICE("gate.routes[1].before = 'f'"),
		  "x.lua:4: route '/a': 'before' must be a function, not string" },
		{ SERVICE("gate.limits[1].burst = 0"), "x.lua:3: limit key: burst" },
		{ SERVICE("gate.limits[1].by = 'me'"),
		  "x.lua:3: limit 'key': 'by' must be client, header or all" },
		{ SERVICE("gate.upstreams[3] = 7"),
		  ".lua: upstream 3: is a number, not a table" },
		{ SERVICE("gate.routes = nil"),
		  ".lua: the gateway: 'routes' must be a table, not nil" },
		{ SERVICE("gate.headers = {[1] = 'x'}"),
		  ".lua: the gateway: 'headers' must be a text, not number" },
		{ SERVICE("gate.cors.origins = {'a b'}"), ".lua: cors a b: it is no" },
		{ SERVICE("gate = 5"), ".lua: the service's 'gate' must be a table" },
		{ SERVICE("for i = 1, 300 do gate.routes[i] = gate.routes[1] end"),
		  "there are more than 256 routes" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		assert_refused(cases[i].source, cases[i].part);
}

/* The budgets do not hold while it is read. */
static void reading_runs_none_of_its_code(void **state)
{
	assert_refused(SERVICE("setmetatable(gate.upstreams[1], {__index = function() "
			       "error('ran') end}) gate.upstreams[1].balance = nil"),
		       "'balance' must be a text, not nil");
}

int main(void)
{
#define CLAIM(name) cmocka_unit_test_setup_teardown(name, open_rig, close_rig)
	const struct CMUnitTest claims[] = {
		CLAIM(a_service_that_declares_nothing_has_no_plan),
		CLAIM(an_upstream_is_read_member_by_member),
		CLAIM(routes_know_their_upstream_and_limits_by_place),
		CLAIM(limits_headers_and_cors_are_read),
		CLAIM(what_is_wrong_is_named_with_the_place_of_its_declaration),
		CLAIM(reading_runs_none_of_its_code),
	};

	return cmocka_run_group_tests(claims, NULL, NULL);
}
