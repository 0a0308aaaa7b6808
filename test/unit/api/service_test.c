/* SPDX-License-Identifier: MIT */
#include "service_rig.h"

#include "http/router.h"

#include <lauxlib.h>
#include <lua.h>

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

static void assert_refused(const char *source, const char *part)
{
	struct fault why = { 0 };
	struct service *service = service_rig_load(rig.vm, source, &why);

	if (service)
		fail_msg("taken: %s", source);
	assert_contains(why.detail, part);
	assert_int_equal(lua_gettop(vm_main(rig.vm)), 0);
}

static void a_service_is_what_its_file_returns(void **state)
{
	struct fault why;
	struct service *service = service_rig_load(
		rig.vm,
		"local function f() end\n"
		"return {name = 'shop',\n"
		"  routes = {{method = 'GET', path = '/a/:id', handler = f},\n"
		"            {method = 'POST', path = '/a', handler = f, raw = true}},\n"
		"  jobs = {{name = 'sweep', every_s = 0.5, handler = f}},\n"
		"  consumers = {{queue = 'q', bind = {'a.b', 'c.*'}, handler = f}},\n"
		"  sockets = {{path = '/ws', message = f}}}\n",
		&why);

	assert_non_null(service);
	assert_string_equal(service->name.at, "shop");
	assert_int_equal(service->route_count, 3);
	assert_int_equal(router_count(service->router), 3);
	assert_true(slice_equal(service->routes[0].title, SLICE("GET /a/:id")));
	assert_true(service->routes[1].raw);
	assert_ptr_equal(service->routes[2].socket, &service->sockets[0]);
	assert_true(slice_equal(service->routes[2].method, SLICE("GET")));
	assert_true(service->jobs[0].every_s == 0.5);
	assert_int_equal(service->consumers[0].key_count, 2);
	assert_int_equal(service->consumers[0].prefetch, 16);
	assert_int_equal(service->sockets[0].accept, LUA_NOREF);
	assert_true(service->sockets[0].message != LUA_NOREF);
	service_destroy(service);
}

static void what_is_wrong_is_named(void **state)
{
	static const struct {
		const char *source;
		const char *part;
	} cases[] = {
		{ "return 7", "returns a number; it must return the service" },
		{ "", "returns a nil" },
		{ "x = 1", "undeclared global 'x'" },
		{ "return {", ":1: unexpected symbol near" },
		{ "return {}", "'name' must be a text, not nil" },
		{ "return {name = 's', routes = 1}", "'routes' must be a table" },
		{ "return {name = 's', routes = {1}}", "route 1 is no table" },
		{ "return {name = 's', routes = {{method = 'GET', path = '/'}}}",
		  "/: 'handler' must be a function, not nil" },
		{ "return {name = 's', routes = {{method = 'GET', path = 'x', handler = "
		  "pcall}}}",
		  "route x: " },
		{ "local r = {method = 'GET', path = '/', handler = pcall} "
		  "return {name = 's', routes = {r, r}}",
		  "route /: " },
		{ "return {name = 's', jobs = {{name = 'j', handler = pcall}}}",
		  "job j: 'every_s' must be from 0.01 to 86400" },
		{ "local j = {name = 'j', every_s = 1, handler = pcall} "
		  "return {name = 's', jobs = {j, j}}",
		  "two jobs are called j" },
		{ "return {name = 's', consumers = {{queue = 'q', handler = pcall}}}",
		  "consumer q: 'bind' must be a table" },
		{ "return {name = 's', consumers = {{queue = 'q', bind = {{}}, "
		  "handler = pcall}}}",
		  "string expected" },
		{ "return {name = 's', consumers = {{queue = 'q', bind = {}, prefetch = "
		  "0, "
		  "handler = pcall}}}",
		  "'prefetch' must be from 1 to 1000" },
		{ "return {name = 's', sockets = {{path = '/ws', open = 1}}}",
		  "/ws: 'open' must be a function, not number" },
		{ "require('native.task').sleep(1)", "works only inside a handler" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		assert_refused(cases[i].source, cases[i].part);
}

static void a_list_has_a_bound(void **state)
{
	assert_refused("local r = {} for i = 1, 300 do r[i] = {} end "
		       "return {name = 's', routes = r}",
		       "more than 256 routes");
}

static void a_file_that_is_missing_says_so(void **state)
{
	struct fault why;

	assert_null(service_load(rig.vm, "/nowhere/service.lua", &why));
	assert_contains(why.detail, "/nowhere/service.lua: No such file");
	assert_null(service_load(rig.vm, "/tmp", &why));
	assert_contains(why.detail, "/tmp: cannot be read");
}

int main(void)
{
#define CLAIM(name) cmocka_unit_test_setup_teardown(name, open_rig, close_rig)
	const struct CMUnitTest claims[] = {
		CLAIM(a_service_is_what_its_file_returns),
		CLAIM(what_is_wrong_is_named),
		CLAIM(a_list_has_a_bound),
		CLAIM(a_file_that_is_missing_says_so),
	};

	return cmocka_run_group_tests(claims, NULL, NULL);
}
