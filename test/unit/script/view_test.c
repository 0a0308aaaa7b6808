/* SPDX-License-Identifier: MIT */
#include "sandbox_rig.h"

/* A view `v` of a table that the script keeps as `t`. */
#define VIEW                                                                             \
	"local v, t = require('native.rig').view({ 10, 20, 30, name = 'n', "             \
	"inside = { deep = { x = 1 } }, call = function() return 'called' end })\n"

static void a_view_shows_the_members_of_its_table(void **state)
{
	assert_run(*state, VIEW "return v.name, v[2], v.call(), v.inside.deep.x, v.none",
		   "n 20 called 1 nil");
	assert_run(*state, VIEW "t.name = 'new' return v.name", "new");
	assert_run(*state,
		   VIEW "return type(v), #v, #v.inside, tostring(v):match('^%a+')",
		   "userdata 3 0 userdata");
}

static void a_view_refuses_to_be_written_and_names_the_key(void **state)
{
	assert_says(*state, VIEW "v.name = 'x'",
		    "script.lua:2: this table is read-only (tried to set 'name')");
	assert_says(*state, VIEW "v.other = 'x'", "(tried to set 'other')");
	assert_says(*state, VIEW "v[1] = 0", "(tried to set 'number')");
	assert_says(*state, VIEW "v.inside.deep.x = 2", "(tried to set 'x')");
	assert_run(*state,
		   VIEW "pcall(function() v.name = 'x' end) return t.name, v.name",
		   "n n");
}

static void tables_inside_are_views_at_any_depth(void **state)
{
	assert_run(*state, VIEW "return type(v.inside), type(v.inside.deep)",
		   "userdata userdata");
	assert_run(*state,
		   "local inner = { x = 1 }\n"
		   "local v = require('native.rig').view { a = inner, b = { inner } }\n"
		   "return v.a == v.b[1]",
		   "true");
	assert_run(*state,
		   "local t = { name = 'round' }\n"
		   "t.self, t.more = t, { up = t }\n"
		   "local v = require('native.rig').view(t)\n"
		   "return v.self == v, v.more.up == v, v.self.more.up.name",
		   "true true round");
}

static void what_cannot_be_shown_safely_is_not_shown(void **state)
{
	assert_says(*state, "require('native.rig').view { [{}] = 1 }",
		    "has a table as a key");
	assert_says(*state,
		    "local t = {} for i = 1, 40 do t = { t } end "
		    "require('native.rig').view(t)",
		    "nested deeper than 32");
}

static void functions_that_work_on_tables_do_not_take_a_view(void **state)
{
	static const char *const attempts[] = {
		"rawset(v, 'name', 'x')",
		"rawget(v, 'name')",
		"next(v)",
		"setmetatable(v, {})",
		"table.insert(v, 1)",
		"table.remove(v)",
		"table.sort(v)",
		"table.concat(v)",
		"table.move({ 1 }, 1, 1, 1, v)",
		"table.foreach(v, tostring)",
		"table.maxn(v)",
		"unpack(v)",
	};

	for (size_t i = 0; i < sizeof(attempts) / sizeof(*attempts); i++) {
		char source[512];

		snprintf(source, sizeof(source),
			 VIEW
			 "local ok, why = pcall(function() return %s end)\n"
			 "return ok, t.name, #t, tostring(why):match('expected') or why",
			 attempts[i]);
		assert_run(*state, source, "false n 3 expected");
	}
	assert_run(*state, VIEW "return getmetatable(v), rawequal(v, t), v == t",
		   "false false false");
}

static void pairs_walks_a_view_without_giving_its_table_away(void **state)
{
	assert_run(
		*state,
		VIEW "local names = {}\n"
		     "for name, value in pairs(v) do\n"
		     "  names[#names + 1] = tostring(name) .. ':' .. type(value)\n"
		     "end\n"
		     "table.sort(names)\n"
		     "return table.concat(names, ' ')",
		"1:number 2:number 3:number call:function inside:userdata name:string");
	assert_run(*state,
		   VIEW
		   "local step, state = pairs(v)\n"
		   "return type(step), state == v, step == next, select('#', step())",
		   "function true false 2");
	assert_run(*state,
		   VIEW "local sum = 0\n"
			"for i, n in ipairs(v) do sum = sum + i * n end\n"
			"local step, state, zero = ipairs(v)\n"
			"return sum, state == v, zero, step(nil, 3) == nil",
		   "140 true 0 true");
	assert_says(*state, VIEW "local step = pairs(v) return step(v, 'no such key')",
		    "invalid key to 'next'");
}

static void pairs_of_a_table_is_what_it_always_was(void **state)
{
	assert_run(*state,
		   "local t = { a = 1 }\n"
		   "local step, state, first = pairs(t)\n"
		   "return step == next, state == t, first",
		   "true true nil");
	assert_run(*state,
		   "local t = setmetatable({ 1, 2 }, { __index = { 1, 2, 3 } })\n"
		   "local n = 0 for _ in ipairs(t) do n = n + 1 end\n"
		   "local step, state, first = ipairs(t)\n"
		   "return n, state == t, first",
		   "2 true 0");
	assert_says(*state, "for _ in pairs(nil) do end",
		    "bad argument #1 to 'pairs' (table expected, got nil)");
	assert_says(*state, "for _ in ipairs() do end", "table expected, got no value");
	assert_says(*state, "for _ in pairs('text') do end",
		    "table expected, got string");
}

static void a_view_of_an_object_shows_its_methods(void **state)
{
	assert_run(
		*state,
		"local class = { get = function(self) return self.value end,\n"
		"  set = function(self, to) self.value = to end }\n"
		"local object = setmetatable({ value = 7 }, { __index = class })\n"
		"local v = require('native.rig').view { object = object }\n"
		"return v.object:get(), pcall(v.object.set, v.object, 8), object.value,\n"
		"  getmetatable(v.object)",
		"7 false 7 false");
}

static void a_walk_of_a_view_stops_no_wait(void **state)
{
	assert_run(*state,
		   VIEW "local rig, n = require 'native.rig', 0\n"
			"for _ in pairs(v) do rig.pause(0) n = n + 1 end\n"
			"for _ in ipairs(v) do rig.pause(0) n = n + 1 end\n"
			"return n",
		   "9");
}

int main(void)
{
	const struct CMUnitTest claims[] = {
		CLAIM(a_view_shows_the_members_of_its_table),
		CLAIM(a_view_refuses_to_be_written_and_names_the_key),
		CLAIM(tables_inside_are_views_at_any_depth),
		CLAIM(what_cannot_be_shown_safely_is_not_shown),
		CLAIM(functions_that_work_on_tables_do_not_take_a_view),
		CLAIM(pairs_walks_a_view_without_giving_its_table_away),
		CLAIM(pairs_of_a_table_is_what_it_always_was),
		CLAIM(a_view_of_an_object_shows_its_methods),
		CLAIM(a_walk_of_a_view_stops_no_wait),
	};

	return cmocka_run_group_tests(claims, NULL, NULL);
}
