/* SPDX-License-Identifier: MIT */
/* Ours against the library's own functions, which the Lua code below finds in `lib`. They
 * differ on purpose: a NUL in a pattern ends it in the library; a capture not closed
 * is malformed here even if gsub does not need it; numbers beyond 32 bits are not cut.
 */
#include "script/strings.h"

#include "base/check.h"
#include "base/clock.h"
#include "script/pattern.h"
#include "script/vm.h"
#include "script/watchdog.h"

#include <lauxlib.h>
#include <lualib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define MEMORY_MAX (48u << 20)

struct fixture {
	struct watchdog *watchdog;
	struct vm *vm;
};

static bool is_impatient(void *context)
{
	return --*(int *)context < 0;
}

/* quick(text, pattern) -> whether the pattern gets to an end soon, wherever it begins */
static int l_quick(lua_State *L)
{
	struct slice subject, text;
	struct pattern_match match;
	int patience = 40;
	struct pattern_budget budget = { is_impatient, &patience, 0 };
	enum pattern_outcome outcome = PATTERN_no;
	const struct pattern *pattern;

	subject.at = luaL_checklstring(L, 1, &subject.size);
	text.at = luaL_checklstring(L, 2, &text.size);
	pattern = pattern_compile(lua_newuserdata(L, pattern_size(text)), text, true);
	for (size_t i = 0; i <= subject.size && outcome != PATTERN_spent; i++)
		outcome = pattern_search(pattern, subject, i, &budget, &match);
	lua_pushboolean(L, outcome != PATTERN_spent);
	return 1;
}

/* The library's own functions, as they are when it is opened. */
static void keep_library(lua_State *L, lua_CFunction open, const char *name)
{
	lua_pushcfunction(L, open);
	lua_pushstring(L, name);
	lua_call(L, 1, 0);
	lua_getglobal(L, name); /* stack: lib, table */
	for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
		lua_pushvalue(L, -2);
		lua_pushvalue(L, -2);
		lua_settable(L, -6);
	}
	lua_pop(L, 1);
}

static int install(lua_State *L)
{
	vm_call_data(L);
	lua_newtable(L);
	keep_library(L, luaopen_string, "string");
	keep_library(L, luaopen_table, "table");
	lua_setglobal(L, "lib");
	lua_pushcfunction(L, l_quick);
	lua_setglobal(L, "quick");
	strings_open(L);
	return 0;
}

static int setup(void **state)
{
	struct fixture *f = mem_zeroed(1, sizeof(*f));
	struct vm_config config = { .memory_max = MEMORY_MAX,
				    .cpu_ms = 10,
				    .lib_dir = "." };

	f->watchdog = watchdog_create("test");
	f->vm = vm_create(NULL, &config);
	vm_watch(f->vm, f->watchdog);
	assert_int_equal(vm_call(f->vm, install, NULL, NULL), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	vm_destroy(f->vm);
	watchdog_destroy(f->watchdog);
	free(f);
	return 0;
}

/* What all pieces of Lua code below begin with. */
static const char prelude[] =
	"local unpack, select = unpack, select\n"
	"local function show(...)\n"
	"  local out = {}\n"
	"  for i = 1, select('#', ...) do\n"
	"    local v = select(i, ...)\n"
	"    out[i] = type(v) == 'string' and lib.format('%q', v)\n"
	"      or type(v) == 'function' and 'function' or tostring(v)\n"
	"  end\n"
	"  return lib.concat(out, ' ')\n"
	"end\n"
	"local function try(f, ...)\n"
	"  local args, n = {...}, select('#', ...)\n"
	"  return show(pcall(function() return true, f(unpack(args, 1, n)) end))\n"
	"end\n"
	"local function same(theirs, ours, ...)\n"
	"  local a, b = try(theirs, ...), try(ours, ...)\n"
	"  if a ~= b then\n"
	"    local why = '\\nexpected ' .. a .. '\\nfound    ' .. b\n"
	"    error('for ' .. show(...) .. why, 2)\n"
	"  end\n"
	"end\n"
	"local function refused(text, f, ...)\n"
	"  local ok, why = pcall(f, ...)\n"
	"  assert(not ok and lib.find(why, text, 1, true), tostring(why))\n"
	"end\n"
	"local seed = 1\n"
	"local function random(n)\n"
	"  seed = (seed * 16807) % 2147483647\n"
	"  return seed % n + 1\n"
	"end\n"
	"local function pick(list) return list[random(#list)] end\n"
	"local function text(list, most)\n"
	"  local out = {}\n"
	"  for i = 1, random(most + 1) - 1 do out[i] = pick(list) end\n"
	"  return lib.concat(out)\n"
	"end\n";

static int run_text(lua_State *L)
{
	const char *code = vm_call_data(L);
	char *whole = lua_newuserdata(L, sizeof(prelude) + strlen(code));
	size_t size = sizeof(prelude) - 1;

	memcpy(whole, prelude, size);
	memcpy(whole + size, code, strlen(code) + 1);
	if (luaL_loadbuffer(L, whole, size + strlen(code), "=test"))
		lua_error(L);
	lua_call(L, 0, 0);
	return 0;
}

/* Runs it without limits. */
static void run(void **state, const char *code)
{
	struct fixture *f = *state;
	struct fault why;

	if (vm_call(f->vm, run_text, (void *)code, &why) != 0)
		fail_msg("%s", lua_tostring(vm_main(f->vm), -1));
}

/* Runs it as a script; it must end as too long, soon. */
static void run_too_long(void **state, const char *code)
{
	struct fixture *f = *state;
	struct mono began = clock_mono();
	struct fault why;

	assert_int_equal(vm_run(f->vm, run_text, (void *)code, &why), -1);
	if (why.kind != FAULT_limit || !strstr(why.detail, "CPU"))
		fail_msg("%s", why.detail);
	assert_true(clock_mono().ns - began.ns < 3000000000);
}

static void classes_are_the_librarys(void **state)
{
	run(state,
	    "for c = 1, 255 do\n"
	    "  local class = lib.char(c)\n"
	    "  for b = 0, 255 do\n"
	    "    same(lib.match, string.match, lib.char(b), '%' .. class)\n"
	    "    same(lib.match, string.match, lib.char(b), '[%' .. class .. ']')\n"
	    "    same(lib.match, string.match, lib.char(b), '[^%' .. class .. ']')\n"
	    "  end\n"
	    "end\n");
}

static const char differential[] =
	"local items = {\n"
	"  'a', 'b', '.', '%a', '%d', '%w', '%s', '%A', '[ab]', '[^a]', '[a-b1]',\n"
	"  '[%d ]', '(.(%w))', '((a*)b?', '(.-)', '(a(b*)',\n"
	"  '[^%s]', '(', ')', '(', ')', '()', '%1', '%2', '%0', '*', '+', '-', '?',\n"
	"  '^', '$', '%b()', '%bab', '%f[%a]', '%f[^%a]', '%.', '%%', '%', '[', ']',\n"
	"  ' ', '1',\n"
	"  '%z', '[^', '[]', '-]', '%]', 'a*', '.-', '.*', '[ab]+', '%a-', 'a?',\n"
	"}\n"
	"local letters = {\n"
	"  'a', 'a', 'b', 'b', 'c', '1', ' ', '(', ')', '.', '\\0', '%', ']',\n"
	"}\n"
	"local parts = {\n"
	"  '%0', '%1', '%2', '%%', '%', 'x', 'yz', '', '<', '>', '%a', '\\0',\n"
	"}\n"
	"local places = { 1, 2, 3, 5, 0, -1, -3, -20, 20, 1.7, -1.5, '2' }\n"
	"local values = { a = 'A', b = false, ab = 12, [1] = 'one' }\n"
	"local counts = { 0, 1, 2, -1, 100, '1', 1.5 }\n"
	"local function value(...)\n"
	"  local n = random(6)\n"
	"  if n == 1 then return nil end\n"
	"  if n == 2 then return false end\n"
	"  if n == 3 then return 12 end\n"
	"  return show(...)\n"
	"end\n"
	"-- The same values in both.\n"
	"local function repeated(gsub)\n"
	"  return function(...)\n"
	"    local before = seed\n"
	"    local text, count = gsub(...)\n"
	"    seed = before\n"
	"    return text, count\n"
	"  end\n"
	"end\n"
	"local function collect(gmatch)\n"
	"  return function(s, p)\n"
	"    local out = {}\n"
	"    for a, b, c in gmatch(s, p) do out[#out + 1] = show(a, b, c) end\n"
	"    return lib.concat(out, ',')\n"
	"  end\n"
	"end\n"
	"local matched, failed = 0, 0\n"
	"for _ = 1, 30000 do\n"
	"  local s, p, init = text(letters, 12), text(items, 6), places[random(16)]\n"
	"  local ok, whole = pcall(string.match, s, p)\n"
	"  failed = failed + (ok and 0 or 1)\n"
	"  matched = matched + (ok and whole and 1 or 0)\n"
	"  if quick(s, p) then\n"
	"    same(lib.find, string.find, s, p, init)\n"
	"    same(lib.find, string.find, s, p, init, random(4) == 1)\n"
	"    same(lib.match, string.match, s, p, init)\n"
	"    same(collect(lib.gmatch), collect(string.gmatch), s, p)\n"
	"    local r = text(parts, 3)\n"
	"    if ok or not lib.find(whole, 'unfinished', 1, true) then\n"
	"      same(lib.gsub, string.gsub, s, p, r)\n"
	"      same(lib.gsub, string.gsub, s, p, r, pick(counts))\n"
	"      same(lib.gsub, string.gsub, s, p, values)\n"
	"    end\n"
	"    same(repeated(lib.gsub), repeated(string.gsub), s, p, value)\n"
	"  end\n"
	"end\n"
	"assert(matched > 5000 and failed > 2000, matched .. ' ' .. failed)\n";

static void random_patterns_do_what_they_do_in_the_library(void **state)
{
	run(state, differential);
}

static void wrong_arguments_are_told_as_the_library_does(void **state)
{
	run(state,
	    "local names = {\n"
	    "  'find', 'match', 'gmatch', 'gsub', 'rep', 'format', 'concat', 'sort',\n"
	    "}\n"
	    "for _, name in ipairs(names) do\n"
	    "  local which\n"
	    "  local function call(...) return which.f(...) end\n"
	    "  local function method(...) local r = which:f(...) return r end\n"
	    "  local function both(...)\n"
	    "    for _, f in ipairs { call, method } do\n"
	    "      local function theirs(...)\n"
	    "        which = { f = lib[name] }\n"
	    "        return f(...)\n"
	    "      end\n"
	    "      local function ours(...)\n"
	    "        which = { f = string[name] or table[name] }\n"
	    "        return f(...)\n"
	    "      end\n"
	    "      same(theirs, ours, ...)\n"
	    "    end\n"
	    "  end\n"
	    "  both() both(nil) both(true, 'x') both('x', nil) both('x', true)\n"
	    "  both('x', 'x', true) both('x', 'x', nil, true)\n"
	    "  if name ~= 'concat' and name ~= 'sort' then both({}) both('x', {}) end\n"
	    "  both({ 1, true, 3 }) both({}, {})\n"
	    "  both({ 1 }, true) both({ 1 }, 'x', true)\n"
	    "end\n"
	    "local function twice(_, k) return k .. k end\n"
	    "same(lib.gsub, string.gsub, 'abc', 'b', function() return print end)\n"
	    "same(lib.gsub, string.gsub, 'abc', 'b', { b = true })\n"
	    "same(lib.gsub, string.gsub, 'abc', 'b', '%2')\n"
	    "same(lib.gsub, string.gsub, 12345, 3, 45)\n"
	    "same(lib.find, string.find, 12345, 3)\n"
	    "local doubled = setmetatable({}, { __index = twice })\n"
	    "same(lib.gsub, string.gsub, 'abc', '%w', doubled)\n"
	    "local function fails(c) error('of ' .. c) end\n"
	    "same(lib.gsub, string.gsub, 'abc', '%w', fails)\n");
}

static void rep_format_concat_and_sort_are_the_librarys(void **state)
{
	run(state,
	    "for _, n in ipairs { 0, 1, 2, 3.9, -1, 0/0, '4', 100 } do\n"
	    "  same(lib.rep, string.rep, 'ab', n)\n"
	    "  same(lib.rep, string.rep, 'ab', n, ', ')\n"
	    "  same(lib.rep, string.rep, '', n, '-')\n"
	    "  same(lib.rep, string.rep, '', n)\n"
	    "end\n"
	    "same(lib.rep, string.rep, '', 1e9)\n"
	    "local function it() return 'it' end\n"
	    "local thing = setmetatable({}, { __tostring = it })\n"
	    "local formats = {\n"
	    "  '%d', '%5s|', '%-5s|', '%.2s', '%q', '%5.1f', '%%', '%', '%y', '%s%s',\n"
	    "  '%x', '%c', '%5%', '%100d', '%099d', '%.99f', '%s\\0%s', '%i', '%g',\n"
	    "  '%-+ #0s', '%s %',\n"
	    "}\n"
	    "for _, f in ipairs(formats) do\n"
	    "  local values = { 'abc', 12, 1e308, 'a\\n\\0\"\\\\', thing, true, '7' }\n"
	    "  for _, v in ipairs(values) do\n"
	    "    same(lib.format, string.format, f, v)\n"
	    "    same(lib.format, string.format, f, v, v)\n"
	    "  end\n"
	    "  same(lib.format, string.format, f)\n"
	    "  same(lib.format, string.format, f, nil)\n"
	    "end\n"
	    "local list = {}\n"
	    "for i = 1, 100 do list[i] = i % 3 == 0 and i * 1.5 or 'n' .. i end\n"
	    "for first = 1, 100, 7 do\n"
	    "  for last = 0, 101 do\n"
	    "    same(lib.concat, table.concat, list, '; ', first, last)\n"
	    "  end\n"
	    "end\n"
	    "local last = 2147483647\n"
	    "same(lib.concat, table.concat, list)\n"
	    "same(lib.concat, table.concat, list, 5)\n"
	    "same(lib.concat, table.concat, {})\n"
	    "same(lib.concat, table.concat, {}, 'x', 1, 0)\n"
	    "same(lib.concat, table.concat, { [last] = 'x' }, '', last, last)\n"
	    "same(lib.concat, table.concat, { [0] = 'x', [-1] = 'y' }, '-', -1, 0)\n"
	    "local a, b = { 5, 3, 9, 1 }, { 5, 3, 9, 1 }\n"
	    "lib.sort(a)\n"
	    "table.sort(b)\n"
	    "assert(lib.concat(a) == lib.concat(b))\n"
	    "table.sort(b, function(x, y) return x > y end)\n"
	    "assert(lib.concat(b) == '9531')\n"
	    "for _, make in ipairs { function() return random(50) - 25 end,\n"
	    "    function() return text({ 'a', 'b', '\\0', '\\200' }, 4) end,\n"
	    "    function() return random(3) / 2 end } do\n"
	    "  for n = 0, 60 do\n"
	    "    local x, y = {}, {}\n"
	    "    for i = 1, n do x[i] = make() y[i] = x[i] end\n"
	    "    lib.sort(x)\n"
	    "    table.sort(y)\n"
	    "    assert(show(unpack(x)) == show(unpack(y)))\n"
	    "  end\n"
	    "end\n"
	    "same(lib.sort, table.sort, { 1, 'a', 2 })\n"
	    "same(lib.sort, table.sort, { 3, 1, 2 }, function() return true end)\n");
}

static void what_would_get_too_large_is_refused_by_name(void **state)
{
	run(state,
	    "local mega = lib.rep('x', 1048576)\n"
	    "local many, long = {}, {}\n"
	    "for i = 1, 9 do many[i] = mega end\n"
	    "local function large() return lib.rep('y', 8000000) end\n"
	    "local text = setmetatable({}, { __tostring = large })\n"
	    "\n"
	    "assert(#string.rep(mega, 8) == 8388608)\n"
	    "local larger = 'the result would be larger than 8388608 bytes'\n"
	    "refused('rep: ' .. larger, string.rep, mega, 9)\n"
	    "refused('rep: ', string.rep, 'x', 1e18)\n"
	    "refused('rep: ', string.rep, '', 1e9, 'x')\n"
	    "\n"
	    "assert(#table.concat(many, '', 1, 8) == 8388608)\n"
	    "refused('concat: ' .. larger, table.concat, many)\n"
	    "refused('concat: ' .. larger, table.concat, many, 'x', 1, 8)\n"
	    "\n"
	    "assert(#string.format('%s%s', mega, mega) == 2097152)\n"
	    "assert(#string.format('%.3s', lib.rep('x', 9000000)) == 3)\n"
	    "local nine_of_them = lib.rep('%s', 9)\n"
	    "refused('format: ' .. larger, string.format, nine_of_them, unpack(many))\n"
	    "refused('format: ', string.format, '%q', mega .. mega .. mega)\n"
	    "refused('format: ', string.format, '%s%s', mega, text)\n"
	    "\n"
	    "local nine = lib.rep('x', 9000000)\n"
	    "assert(#string.gsub(mega, 'x', '12345678') == 8388608)\n"
	    "assert(string.gsub(nine, 'y', '') == nine)\n"
	    "refused('gsub: ' .. larger, string.gsub, mega, 'x', '123456789')\n"
	    "local function nines() return '123456789' end\n"
	    "refused('gsub: ', string.gsub, mega, 'x', nines)\n"
	    "refused('gsub: ', string.gsub, '123456789', '%d', mega)\n"
	    "\n"
	    "for i = 1, 100000 do long[i] = 100001 - i end\n"
	    "table.sort(long)\n"
	    "assert(long[1] == 1)\n"
	    "long[100001] = 0\n"
	    "refused('sort: the table has more than 100000', table.sort, long)\n");
}

static void catastrophic_patterns_end_with_the_cpu_budget(void **state)
{
	static const char *const codes[] = {
		"local p = lib.rep('a?', 30) .. lib.rep('[ab]', 30) .. 'c'\n"
		"string.find(lib.rep('a', 59), p)",
		"string.match(lib.rep('a', 3000), '.-.-.-.-.-.-.-.-[^a]')",
		"string.gsub(lib.rep('a', 3000), 'a*a*a*a*a*[^a]', '')",
		"for _ in string.gmatch(lib.rep('a', 3000), 'a*a*a*a*a*[^a]') do end",
		"string.gsub(lib.rep('(', 2000000), '%b()', '')",
		/* a text of many captures of nothing */
		"string.gsub(lib.rep('a', 1000000), '(b-)', lib.rep('%1', 1000000))",
		/* it cannot be caught */
		"local text = lib.rep('a', 9000)\n"
		"while true do pcall(string.find, text, '.-.-.-.-[^a]') end",
	};

	for (size_t i = 0; i < sizeof(codes) / sizeof(*codes); i++)
		run_too_long(state, codes[i]);
}

static void gsub_inside_gsub_has_an_end(void **state)
{
	run(state,
	    "local function deep(s) return (string.gsub(s, '.', deep)) end\n"
	    "local ok, why = pcall(deep, 'x')\n"
	    "assert(not ok, 'no end')\n"
	    "assert(lib.find(why, 'too deep') or lib.find(why, 'stack overflow'), why)\n"
	    "assert(string.gsub('abc', '%w', function(c)\n"
	    "  return (string.gsub(c .. c, c, '%0%0'))\n"
	    "end) == 'aaaabbbbcccc')\n");
}

static void a_replacement_may_raise_but_not_wait(void **state)
{
	run(state,
	    "refused('of a', string.gsub, 'a', 'a', function(c) error('of ' .. c) end)\n"
	    "for i = 1, 500 do\n"
	    "  pcall(string.gsub, lib.rep('a', 20000), '(a)', function()\n"
	    "    if random(10000) == 1 then error('no', 0) end\n"
	    "    return 'bb'\n"
	    "  end)\n"
	    "end\n"
	    "local waits = function() coroutine.yield() end\n"
	    "local ok, why = coroutine.resume(coroutine.create(function()\n"
	    "  string.gsub('a', 'a', waits)\n"
	    "end))\n"
	    "assert(not ok and lib.find(why, 'attempt to yield across'), why)\n");
}

static void an_iterator_of_gmatch_stays_valid(void **state)
{
	run(state,
	    "local iterators = {}\n"
	    "for i = 1, 200 do\n"
	    "  local words = 'w' .. i .. ' x' .. i\n"
	    "  iterators[i] = string.gmatch(words, '(%a)(' .. i .. ')')\n"
	    "end\n"
	    "collectgarbage()\n"
	    "for i = 1, 200 do\n"
	    "  local a, n = iterators[i]()\n"
	    "  assert(a == 'w' and n == tostring(i))\n"
	    "  for k = 1, 20 do string.find('x', '[' .. i .. k .. ']') end\n"
	    "  local b = iterators[i]()\n"
	    "  assert(b == 'x' and iterators[i]() == nil and iterators[i]() == nil)\n"
	    "end\n");
}

static void patterns_seen_before_and_new_ones_are_not_mixed_up(void **state)
{
	run(state, "for round = 1, 20 do\n"
		   "  for i = 1, 100 do\n"
		   "    local more = lib.rep('[' .. i .. ']?', round * 4)\n"
		   "    local p = 'k' .. i .. '([a-z]+)' .. more\n"
		   "    assert(string.match('k' .. i .. 'abc', p) == 'abc')\n"
		   "    assert(string.gsub('k' .. i .. 'abc', p, '<%1>') == '<abc>')\n"
		   "    assert(string.match('', p) == nil)\n"
		   "  end\n"
		   "  collectgarbage()\n"
		   "end\n"
		   "assert(string.gsub('a b c', '%a', function(x)\n"
		   "  for i = 1, 100 do string.find('x', '%a' .. i) end\n"
		   "  return x .. x\n"
		   "end) == 'aa bb cc')\n");
}

/* Refused at every size: what is held must not leak, and what is kept must not break. */
static void without_memory_they_raise_and_hold_nothing(void **state)
{
	struct fixture *f = *state;
	struct fault why;
	static const char code[] =
		"local hold = {}\n"
		"pcall(function()\n"
		"  for i = 1, 1e9 do hold[i] = lib.rep('z', 1000) .. i end\n"
		"end)\n"
		"for i = 1, 300 do\n"
		"  pcall(string.gsub, lib.rep('a', i * 100), 'a', 'bcd')\n"
		"  pcall(string.match, 'x', lib.rep('[^x]?', i))\n"
		"  pcall(table.concat, hold, ',', 1, i)\n"
		"end\n";

	assert_int_equal(vm_run(f->vm, run_text, (void *)code, &why), -1);
	assert_int_equal(why.kind, FAULT_limit);
	run(state, "collectgarbage() collectgarbage()\n"
		   "assert(string.gsub('abc', '[^x]', '%0%0') == 'aabbcc')\n"
		   "assert(string.match('abc', '[^x]?') == 'a')\n");
	assert_true(vm_memory_used(f->vm) < 4u << 20);
}

static void no_order_makes_sort_slow(void **state)
{
	run(state, "-- The comparison that gives a quicksort the worst order there is.\n"
		   "local function worst(n)\n"
		   "  local values, list, solid, candidate = {}, {}, 0, 0\n"
		   "  for i = 1, n do list[i], values[i] = i, n end\n"
		   "  lib.sort(list, function(x, y)\n"
		   "    if values[x] == n and values[y] == n then\n"
		   "      values[x == candidate and x or y], solid = solid, solid + 1\n"
		   "    end\n"
		   "    if values[x] == n then candidate = x\n"
		   "    elseif values[y] == n then candidate = y end\n"
		   "    return values[x] < values[y]\n"
		   "  end)\n"
		   "  return values\n"
		   "end\n"
		   "_G.order = worst(4000)\n"
		   "_G.names = {}\n"
		   "for i, v in ipairs(order) do names[i] = lib.format('%08d', v) end\n");
	/* The library takes a second for the twenty. */
	struct fixture *f = *state;
	struct fault why;

	if (vm_run(f->vm, run_text,
		   "for i = 1, 20 do\n"
		   "  for _, list in ipairs { order, names } do\n"
		   "    table.sort({ unpack(list) })\n"
		   "  end\n"
		   "end\n",
		   &why) != 0)
		fail_msg("%s", why.detail);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(classes_are_the_librarys),
		CASE(random_patterns_do_what_they_do_in_the_library),
		CASE(wrong_arguments_are_told_as_the_library_does),
		CASE(rep_format_concat_and_sort_are_the_librarys),
		CASE(what_would_get_too_large_is_refused_by_name),
		CASE(catastrophic_patterns_end_with_the_cpu_budget),
		CASE(no_order_makes_sort_slow),
		CASE(gsub_inside_gsub_has_an_end),
		CASE(a_replacement_may_raise_but_not_wait),
		CASE(an_iterator_of_gmatch_stays_valid),
		CASE(patterns_seen_before_and_new_ones_are_not_mixed_up),
		CASE(without_memory_they_raise_and_hold_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
