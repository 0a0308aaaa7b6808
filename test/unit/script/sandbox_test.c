/* SPDX-License-Identifier: MIT */
/* What the host itself sees of a script's attempts; those that a script sees fail are in
 * test/lua/isolation_test.lua. */
#include "sandbox_rig.h"

static void what_reaches_outside_does_not_exist(void **state)
{
	static const char *const names[] = {
		"_G",	   "_VERSION", "collectgarbage", "debug",    "dofile",
		"ffi",	   "gcinfo",   "getfenv",	 "io",	     "jit",
		"load",	   "loadfile", "module",	 "newproxy", "loadstring",
		"package", "os",       "print",		 "prelude",  "setfenv",
		"arg",
	};
	char source[128];

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		snprintf(source, sizeof(source),
			 "local ok, why = pcall(function() return %s end) "
			 "return ok, why:match('unknown global.*')",
			 names[i]);
		assert_non_null(strstr(rig_run(*state, source), "false unknown global"));
	}
	assert_run(*state, "return string.dump, math.random, math.randomseed, ('').dump",
		   "nil nil nil nil");
}

static void a_global_cannot_be_made_or_replaced(void **state)
{
	assert_says(*state, "counter = 1",
		    "script.lua:1: assignment to undeclared global 'counter'");
	assert_says(*state, "tostring = nil", "assignment to undeclared global");
	assert_says(*state, "string = {}", "assignment to undeclared global");
	assert_says(*state, "function pairs() end", "assignment to undeclared global");
	assert_run(*state, "return type(tostring), type(string), type(pairs)",
		   "function userdata function");
}

static void libraries_are_read_only(void **state)
{
	static const char *const libraries[] = { "bit", "coroutine", "math", "string",
						 "table" };
	char source[128];

	for (size_t i = 0; i < sizeof(libraries) / sizeof(*libraries); i++) {
		snprintf(source, sizeof(source), "%s.new = function() end", libraries[i]);
		assert_says(*state, source, "this table is read-only");
	}
}

static void strings_have_their_methods_and_hide_where_from(void **state)
{
	assert_run(*state,
		   "return ('ab'):rep(2), getmetatable(''), (''):len(), (''):format(), "
		   "(('x').__index)",
		   "abab false 0  nil");
	assert_says(*state, "local s = 'x' s.y = 1", "attempt to index");
}

static void xpcall_runs_its_handler_and_both_may_wait(void **state)
{
	assert_run(*state,
		   "local pause = require('native.rig').pause\n"
		   "local function handler(why) pause(1) return 'handled ' .. why end\n"
		   "return xpcall(function(a) pause(1) error(a, 0) end, handler, 'it')",
		   "false handled it");
	assert_run(*state, "return xpcall(function(...) return ... end, error, 1, 2)",
		   "true 1 2");
	assert_run(*state,
		   "return xpcall(error, function() error('in the handler', 0) end, 'e')",
		   "false in the handler");
	assert_run(*state, "return (xpcall(error, nil, 'e'))", "false");
}

/* LuaJIT runs no finalizer for a table, and scripts have no other object to give one. */
static void a_script_has_no_finalizers(void **state)
{
	assert_run(*state,
		   "local ran = 0\n"
		   "for i = 1, 100 do\n"
		   "  setmetatable({}, { __gc = function() ran = ran + 1 end })\n"
		   "end\n"
		   "require('native.rig').collect()\n"
		   "require('native.rig').collect()\n"
		   "return ran",
		   "0");
}

/* What a script raises is read by the host without asking the value anything. */
static void error_objects_are_looked_at_and_never_called(void **state)
{
	static const char *const metatables[] = {
		"__index = function() while true do end end",
		"__index = function() error('from __index') end",
		"__tostring = function() while true do end end",
		"__tostring = function() return 1 end",
		"__eq = error, __lt = error, __len = error, __concat = error",
		"__call = error",
	};
	char source[256];

	for (size_t i = 0; i < sizeof(metatables) / sizeof(*metatables); i++) {
		snprintf(source, sizeof(source), "error(setmetatable({}, { %s }))",
			 metatables[i]);
		assert_run(*state, source,
			   "internal 500: a script raised a table that is no fault");
	}
	assert_run(*state, "error(require 'native.rig')",
		   "internal 500: a script raised a userdata");
	assert_run(*state, "error(coroutine.create(function() end))",
		   "internal 500: a script raised a thread");
	assert_run(*state, "error()", "internal 500: a script raised a nil");
	assert_run(*state, "error(true)", "internal 500: a script raised a boolean");
}

static void a_forged_fault_has_the_kinds_and_statuses_there_are(void **state)
{
	assert_run(*state, "error({ kind = 'missing', detail = 'd' })", "missing 404: d");
	assert_run(*state, "error({ kind = 'root', detail = 'd' })", "internal 500: d");
	assert_run(*state, "error({ kind = {}, detail = {} })",
		   "internal 500: a script raised a table that is no fault");
	assert_run(*state, "error({ kind = 'missing', detail = 'd', status = 200 })",
		   "missing 404: d");
	assert_run(*state, "error({ kind = 'missing', detail = 'd', status = 1e300 })",
		   "missing 404: d");
	assert_run(*state, "error({ kind = 'missing', detail = 'd', status = {} })",
		   "missing 404: d");
	assert_run(*state, "error({ kind = 'missing\\0x', detail = 'a\\0b' })",
		   "missing 404: a");
}

static void a_faults_metatable_is_protected(void **state)
{
	assert_run(*state,
		   "local rig = require 'native.rig'\n"
		   "local _, why = pcall(rig.fail)\n"
		   "return why.kind, getmetatable(why), pcall(setmetatable, why, {})",
		   "refused false false cannot change a protected metatable");
	assert_run(*state,
		   "local rig = require 'native.rig'\n"
		   "local _, why = pcall(rig.fail)\n"
		   "why.detail = 'mine'\n"
		   "local _, other = pcall(rig.fail)\n"
		   "return tostring(why), tostring(other)",
		   "refused: mine refused: by the rig");
}

/* The library moves what lies between, were it two thousand million places. */
static void insert_takes_positions_in_the_table_only(void **state)
{
	assert_run(*state,
		   "local t = { 1, 2 }\n"
		   "table.insert(t, 1, 0) table.insert(t, 4, 3) table.insert(t, 4)\n"
		   "return table.concat(t, ' ')",
		   "0 1 2 3 4");
	assert_says(*state, "table.insert({}, -2147483648, 1)", "position out of bounds");
	assert_says(*state, "table.insert({ 1, 2 }, 0, 1)", "position out of bounds");
	assert_says(*state, "table.insert({ 1, 2 }, 4, 1)", "position out of bounds");
	assert_says(*state, "table.insert({ 1, 2 }, 0 / 0, 1)", "position out of bounds");
	assert_says(*state, "table.insert(nil, 1)", "table expected");
	assert_says(*state, "table.insert({}, 1, 2, 3)", "wrong number of arguments");
}

static void a_script_cannot_use_up_the_threads_stack(void **state)
{
	static const char *const recursions[] = {
		"local function f() table.sort({ 3, 2, 1 }, function() f() end) end f()",
		"local function f() return (('x'):gsub('.', f)) end f()",
		"local m = {} m.__tostring = function(s) return ('%s'):format(s) end "
		"return tostring(setmetatable({}, m))",
		"local m = {} m.__tostring = function(s) return (tostring(s)) end "
		"return tostring(setmetatable({}, m))",
		"local m = {} m.__lt = function(a, b) table.sort({ a, b }) return true "
		"end "
		"table.sort({ setmetatable({}, m), setmetatable({}, m) })",
		"local m = {} m.__index = function(t, k) return t[k] end "
		"return setmetatable({}, m).x",
		"local m = {} m.__concat = function(a, b) return a .. b end "
		"return setmetatable({}, m) .. 'x'",
		"local m = {} m.__call = function(f) return (f()) end "
		"return setmetatable({}, m)()",
		"local function f() table.foreach({ 1 }, f) end f()",
	};

	for (size_t i = 0; i < sizeof(recursions) / sizeof(*recursions); i++)
		assert_non_null(strstr(rig_run(*state, recursions[i]), "internal 500"));
	assert_run(*state, "return 'alive'", "alive");
}

int main(void)
{
	const struct CMUnitTest claims[] = {
		CLAIM(what_reaches_outside_does_not_exist),
		CLAIM(a_global_cannot_be_made_or_replaced),
		CLAIM(libraries_are_read_only),
		CLAIM(strings_have_their_methods_and_hide_where_from),
		CLAIM(xpcall_runs_its_handler_and_both_may_wait),
		CLAIM(a_script_has_no_finalizers),
		CLAIM(error_objects_are_looked_at_and_never_called),
		CLAIM(a_forged_fault_has_the_kinds_and_statuses_there_are),
		CLAIM(a_faults_metatable_is_protected),
		CLAIM(insert_takes_positions_in_the_table_only),
		CLAIM(a_script_cannot_use_up_the_threads_stack),
	};

	return cmocka_run_group_tests(claims, NULL, NULL);
}
