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
	assert_true(slice_equal(service->routes[0].about.title, SLICE("GET /a/:id")));
	assert_true(service->routes[1].raw);
	assert_ptr_equal(service->routes[2].socket, &service->sockets[0]);
	assert_true(slice_equal(service->routes[2].about.method, SLICE("GET")));
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
		{ "\n\nlocal x = 1\n", ".lua:4: the file returns a nil; it must" },
		{ "x = 1", "undeclared global 'x'" },
		{ "return {", ":1: unexpected symbol near" },
		{ "return {}", "'name' must be a text, not nil" },
		{ "return {name = 's', routes = 1}", "'routes' must be a table" },
		{ "return {name = 's', routes = {1}}",
		  "route 1 is a number, not a table" },
		{ "return {name = 's', routes = {{method = 'GET', path = '/'}}}",
		  "GET /: 'handler' must be a function, not nil" },
		{ "return {name = 's', routes = {{method = 'GET', path = 'x', handler = "
		  "pcall}}}",
		  "route template 'x' does not begin with '/'" },
		{ "local r = {method = 'GET', path = '/', handler = pcall} "
		  "return {name = 's', routes = {r, r}}",
		  "route GET / is there already" },
		{ "return {name = 's', jobs = {{name = 'j', handler = pcall}}}",
		  "job j: 'every_s' must be from 0.01 to 86400" },
		{ "local j = {name = 'j', every_s = 1, handler = pcall} "
		  "return {name = 's', jobs = {j, j}}",
		  "two jobs are called j" },
		{ "return {name = 's', consumers = {{queue = 'q', handler = pcall}}}",
		  "consumer q: 'bind' must be a table" },
		{ "return {name = 's', consumers = {{queue = 'q', bind = {{}}, "
		  "handler = pcall}}}",
		  "routing key 1 must be a text, not table" },
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

/* --- where it is ------------------------------------------------------------------ */

/* A service with what app.lua makes of a route: the handler is a wrapper. */
#define WITH_ROUTES(before, routes)                                                      \
	"local function wrap(f) return function() return f() end end\n" before           \
	"\nreturn {name = 's', routes = {" routes "}}\n"

static void what_is_wrong_with_a_route_is_named_with_its_place(void **state)
{
	assert_refused(WITH_ROUTES("local function f()\nend",
				   "{method = 'get', path = '/', author = f, "
				   "handler = wrap(f)}"),
		       ".lua:2: route method 'get': capitals only");
	assert_refused(WITH_ROUTES("local function f()\nend",
				   "{method = 'GET', path = '/', author = f}"),
		       ".lua:2: GET /: 'handler' must be a function, not nil");
	assert_refused(WITH_ROUTES("\nlocal function f()\nend", "{method = 'GET', "
								"handler = f}"),
		       ".lua:3: route 1: 'path' must be a text, not nil");
}

static void routes_that_collide_are_both_named(void **state)
{
	struct fault why = { 0 };

	assert_null(service_rig_load(
		rig.vm,
		WITH_ROUTES("local function f() end\nlocal function g() end",
			    "{method = 'GET', path = '/a/:id', author = f, handler = "
			    "wrap(f)}, {method = 'GET', path = '/a/:name', author = g, "
			    "handler = wrap(g)}"),
		&why));
	assert_contains(why.detail, ".lua:3: route GET /a/:name is there already, at ");
	assert_contains(strstr(why.detail, "already"), ".lua:2");
}

static void jobs_and_consumers_have_a_place_too(void **state)
{
	assert_refused("local function f() end\nreturn {name = 's', jobs = {{name = 'j', "
		       "handler = f}}}",
		       ".lua:1: job j: 'every_s'");
	assert_refused("\nlocal function f() end\nreturn {name = 's', sockets = {{path = "
		       "'ws', accept = f}}}",
		       ".lua:2: route template 'ws' does not begin");
}

static void a_route_knows_where_its_author_wrote_it(void **state)
{
	struct fault why;
	struct service *service = service_rig_load(
		rig.vm,
		WITH_ROUTES("local function f()\nend",
			    "{method = 'GET', path = '/a', author = f, handler = "
			    "wrap(f)}, {method = 'GET', path = '/b', handler = f}, "
			    "{method = 'GET', path = '/c', handler = pcall}"),
		&why);

	assert_non_null(service);
	assert_contains(service->routes[0].defined.at, ".lua:2");
	assert_contains(service->routes[1].defined.at, ".lua:2");
	assert_int_equal(service->routes[2].defined.size, 0);
	service_destroy(service);
}

/* The budgets do not hold while a service is read. */
static void reading_a_service_runs_none_of_its_code(void **state)
{
	assert_refused("return setmetatable({}, {__index = function() error('ran') end})",
		       "'name' must be a text, not nil");
	assert_refused("return {name = 's', routes = {setmetatable({}, {__index = "
		       "function() error('ran') end})}}",
		       "route 1: 'method' must be a text, not nil");
}

static void a_file_that_fails_has_a_traceback(void **state)
{
	assert_refused("local function f()\n  local x\n  return x.y\nend\nf()",
		       ".lua:3: attempt to index");
	assert_non_null(memmem(vm_traceback(rig.vm).at, vm_traceback(rig.vm).size,
			       "in main chunk", 13));
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
	assert_contains(why.detail, "/tmp: not a regular file");
}

int main(void)
{
#define CLAIM(name) cmocka_unit_test_setup_teardown(name, open_rig, close_rig)
	const struct CMUnitTest claims[] = {
		CLAIM(a_service_is_what_its_file_returns),
		CLAIM(what_is_wrong_is_named),
		CLAIM(what_is_wrong_with_a_route_is_named_with_its_place),
		CLAIM(routes_that_collide_are_both_named),
		CLAIM(jobs_and_consumers_have_a_place_too),
		CLAIM(a_route_knows_where_its_author_wrote_it),
		CLAIM(reading_a_service_runs_none_of_its_code),
		CLAIM(a_file_that_fails_has_a_traceback),
		CLAIM(a_list_has_a_bound),
		CLAIM(a_file_that_is_missing_says_so),
	};

	return cmocka_run_group_tests(claims, NULL, NULL);
}
