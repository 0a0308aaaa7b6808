/* SPDX-License-Identifier: MIT */
#include "script_rig.h"

#include "api/json_value.h"
#include "base/random.h"

#include <lauxlib.h>

static const struct rig_module modules[] = { { "native.json", api_open_json }, { 0 } };

static struct rig rig;

#define JSON "local json = require 'native.json' "

static int open_rig(void **state)
{
	rig_init(&rig);
	rig_open(&rig, 32 << 20, modules);
	return 0;
}

static int close_rig(void **state)
{
	rig_finish(&rig);
	return 0;
}

static void scalars_are_written(void **state)
{
	assert_run(&rig,
		   JSON "return json.encode(true), json.encode(nil), "
			"json.encode('a\"\\n/\\195\\169')",
		   "true null \"a\\\"\\n/\303\251\"");
	assert_run(&rig, JSON "return json.encode(json.null)", "null");
}

static void whole_numbers_are_written_exactly(void **state)
{
	assert_run(
		&rig,
		JSON
		"return json.encode{1, 1.5, -3, 9007199254740992, 100000000000000, 0.1}",
		"[1,1.5,-3,9007199254740992,100000000000000,0.1]");
	assert_run(&rig,
		   JSON
		   "return json.decode(json.encode(123456789012345)) == 123456789012345",
		   "true");
}

static void keys_are_sorted(void **state)
{
	assert_run(&rig,
		   JSON
		   "return json.encode{b = 1, a = {z = true, y = 'x'}, ab = 2, [''] = 0}",
		   "{\"\":0,\"a\":{\"y\":\"x\",\"z\":true},\"ab\":2,\"b\":1}");
}

static void many_keys_are_sorted(void **state)
{
	assert_run(&rig,
		   JSON
		   "local t, expected = {}, {} "
		   "for i = 1, 500 do t[('k%03d'):format(i)] = {n = i} "
		   "expected[i] = ('\"k%03d\":{\"n\":%d}'):format(i, i) end "
		   "return json.encode(t) == '{' .. table.concat(expected, ',') .. '}'",
		   "true");
}

static void an_empty_table_is_an_object_unless_marked(void **state)
{
	assert_run(&rig,
		   JSON "return json.encode{}, json.encode(json.array{}), json.encode{a "
			"= json.array{}}",
		   "{} [] {\"a\":[]}");
	assert_run(&rig, JSON "local t = json.array{} t[1] = 'x' return json.encode(t)",
		   "[\"x\"]");
}

static void what_is_neither_array_nor_object_is_refused(void **state)
{
	assert_contains(rig_run(&rig, JSON "return json.encode{1, 2, name = 3}"),
			"the key 'name' stands in a table with array positions");
	assert_contains(rig_run(&rig, JSON "return json.encode{[1] = 1, [3] = 3}"),
			"positions are not 1 to n");
	assert_contains(rig_run(&rig, JSON "return json.encode{[0] = 1}"), "not 1 to n");
	assert_contains(rig_run(&rig, JSON "return json.encode{[1.5] = 1}"),
			"not 1 to n");
	assert_contains(rig_run(&rig, JSON "return json.encode{[-1] = 1, [1] = 1}"),
			"not 1 to n");
	assert_contains(rig_run(&rig, JSON "return json.encode{[1/0] = 1}"),
			"not 1 to n");
	assert_contains(rig_run(&rig, JSON "return json.encode{[true] = 1}"),
			"a key that is a boolean");
	assert_contains(rig_run(&rig, JSON
				"local t = json.array{} t.x = 1 return json.encode(t)"),
			"the key 'x'");
	assert_contains(rig_run(&rig, JSON "return json.encode(print or json.encode)"),
			"unknown global");
	assert_contains(rig_run(&rig, JSON "return json.encode{f = json.encode}"),
			"JSON: a function");
	assert_contains(rig_run(&rig, JSON "return json.encode(0/0)"), "not finite");
	assert_contains(rig_run(&rig, JSON "return json.encode{1/0}"), "not finite");
	assert_contains(rig_run(&rig, JSON "return json.encode()"), "value expected");
}

static void cycles_and_shared_tables_end(void **state)
{
	assert_contains(rig_run(&rig, JSON "local t = {} t.t = t return json.encode(t)"),
			"nested deeper than 32");
	assert_contains(rig_run(&rig, JSON "local t = {1} for i = 1, 25 do t = {t, t} "
					   "end return json.encode(t)"),
			"more than 200000 values");
	assert_contains(rig_run(&rig,
				JSON "local s = ('x'):rep(1000000) "
				     "return json.encode{s, s, s, s, s, s, s, s, s}"),
			"larger than 8388608 bytes");
	assert_run(&rig, JSON "local t = {a = 1} return json.encode{t, t}",
		   "[{\"a\":1},{\"a\":1}]");
}

static void metamethods_are_not_called(void **state)
{
	assert_run(&rig,
		   JSON
		   "local t = setmetatable({a = 1}, {__index = function() error 'called' "
		   "end, "
		   "__tostring = function() error 'called' end}) return json.encode(t)",
		   "{\"a\":1}");
}

static void arrays_and_objects_come_back_as_they_were(void **state)
{
	assert_run(
		&rig,
		JSON
		"local text = "
		"'{\"a\":[],\"b\":{},\"c\":[[],{},[1]],\"d\":[{\"e\":[]}],\"f\":\"[]\"}' "
		"return json.encode(json.decode(text)) == text",
		"true");
	assert_run(
		&rig,
		JSON
		"return json.encode(json.decode('[ ]')), json.encode(json.decode('{ }'))",
		"[] {}");
	assert_run(&rig,
		   JSON
		   "local v = json.decode('{\"a\":[],\"b\":{},\"c\":[1]}') "
		   "return json.is_array(v), json.is_array(v.a), json.is_array(v.b), "
		   "json.is_array(v.c), #v.a, json.is_array(1)",
		   "false true false true 0 false");
}

static void names_that_look_like_numbers_stay_names(void **state)
{
	assert_run(&rig,
		   JSON "local v = json.decode('{\"1\":\"a\",\"2\":\"b\"}') "
			"return v[1] == nil, v['1'], json.is_array(v), json.encode(v)",
		   "true a false {\"1\":\"a\",\"2\":\"b\"}");
}

static void nulls_are_absent(void **state)
{
	assert_run(&rig,
		   JSON "local v = "
			"json.decode('{\"a\":null,\"b\":{\"c\":null,\"d\":1},\"e\":[{"
			"\"f\":null}]}') "
			"return json.encode(v), v.a == nil",
		   "{\"b\":{\"d\":1},\"e\":[{}]} true");
	assert_run(&rig, JSON "return json.decode('null')", "nil");
	assert_run(&rig, JSON "return json.decode('[1,null]')",
		   "nil line 1, column 4: null inside an array");
}

static void texts_come_back(void **state)
{
	assert_run(&rig,
		   JSON "return json.decode('\"a\\\\u00e9\\\\ud83d\\\\ude00\\\\n\"') == "
			"'a\\195\\169\\240\\159\\152\\128\\n'",
		   "true");
	assert_run(&rig, JSON "return #json.decode('\"\\\\u0000\"')", "1");
	assert_run(&rig,
		   JSON
		   "return json.decode('1e2'), json.decode('-0.5'), json.decode('true')",
		   "100 -0.5 true");
}

static void bad_text_is_nil_and_a_place(void **state)
{
	assert_run(&rig, JSON "return json.decode('{\"a\":\\n 1,}')",
		   "nil line 2, column 4: expected a name in quotes");
	assert_contains(rig_run(&rig, JSON "return json.decode(nil)"), "string expected");
}

static void marking_does_not_undo_a_protection(void **state)
{
	assert_contains(rig_run(&rig, JSON "json.array(string)"), "table expected");
	assert_contains(rig_run(&rig, JSON "json.array(json)"), "table expected");
	assert_contains(rig_run(&rig, JSON "setmetatable(json.array{}, nil)"),
			"protected");
	assert_run(&rig, JSON "local t = json.array{} return json.array(t) == t", "true");
}

/* From the host: what cannot be written leaves the text as it was. */
static int write_two(lua_State *L)
{
	struct buf *out = vm_call_data(L);
	struct fault why;

	lua_newtable(L);
	lua_pushcfunction(L, write_two);
	lua_setfield(L, -2, "z");
	lua_pushinteger(L, 1);
	lua_setfield(L, -2, "a");
	assert_false(json_value_write(L, -1, out, &why));
	assert_int_equal(why.kind, FAULT_bad_input);
	lua_pushliteral(L, "x");
	assert_true(json_value_write(L, -1, out, &why));
	assert_int_equal(lua_gettop(L), 2);
	assert_false(json_value_push(L, SLICE("{\"a\""), &why));
	assert_int_equal(lua_gettop(L), 2);
	return 0;
}

static void what_cannot_be_written_leaves_nothing(void **state)
{
	struct buf out = { 0 };
	struct fault why;

	buf_append(&out, SLICE("before "));
	assert_int_equal(vm_call(rig.vm, write_two, &out, &why), 0);
	assert_string_equal(buf_text(&out), "before \"x\"");
	buf_finish(&out);
}

static bool is_hidden(struct slice key)
{
	return slice_equal(key, SLICE("cvc"));
}

static int write_hiding(lua_State *L)
{
	struct buf *out = vm_call_data(L);
	struct fault why;

	assert_true(json_value_push(
		L, SLICE("{\"card\":{\"cvc\":\"123\",\"x\":[{\"cvc\":{}}]}}"), &why));
	assert_true(json_value_write_hiding(L, -1, is_hidden, out, &why));
	return 0;
}

static void hidden_members_are_not_written(void **state)
{
	struct buf out = { 0 };
	struct fault why;

	assert_int_equal(vm_call(rig.vm, write_hiding, &out, &why), 0);
	assert_string_equal(
		buf_text(&out),
		"{\"card\":{\"cvc\":\"[redacted]\",\"x\":[{\"cvc\":\"[redacted]\"}]}}");
	buf_finish(&out);
}

/* The memory limit is met in the script, never inside the reader, and nothing is lost. */
static void a_memory_bomb_of_json_fails_only_its_task(void **state)
{
	size_t before;

	rig_run(&rig, JSON "return json.decode('[1]')");
	before = vm_memory_used(rig.vm);
	for (int i = 0; i < 20; i++) {
		assert_contains(
			rig_run(&rig,
				JSON "local part = ('[],'):rep(50000) "
				     "local text = '[' .. part .. '[]]' local all = {} "
				     "for i = 1, 1000 do all[i] = json.decode(text) end"),
			"limit: the memory budget is spent");
		assert_run(&rig, JSON "return json.encode(json.decode('[{\"a\":[]}]'))",
			   "[{\"a\":[]}]");
	}
	assert_contains(rig_run(&rig, JSON
				"local all, value = {}, ('x'):rep(500000) "
				"for i = 1, 1000 do all[i] = json.encode{value, i} end"),
			"limit: the memory budget is spent");
	lua_gc(vm_main(rig.vm), LUA_GCCOLLECT, 0);
	assert_true(vm_memory_used(rig.vm) < before + (1 << 20));
}

static void a_full_stack_is_an_error_not_an_end(void **state)
{
	assert_contains(
		rig_run(&rig,
			JSON "local function deep(n) local v = json.decode('[[[1]]]') "
			     "json.encode(v) return 1 + deep(n + 1) end return deep(1)"),
		"stack overflow");
	assert_run(&rig,
		   JSON "local function deep(n) return 1 + deep(n + 1) end "
			"local ok = pcall(deep, 1) return ok, json.encode{1}",
		   "false [1]");
}

/* Texts near valid ones: what the scan lets pass, the reader reads; and what it read,
 * written and read again, is written the same. */
static int read_mutants(lua_State *L)
{
	static const char seed[] =
		"{\"a\":[1,-2.5e3,\"x\\u00e9\\n\",[],{}],\"b\":{\"c\":null,"
		"\"d\":[[true],false]},\"\\ud83d\\ude00\":0.1}";
	static const char bytes[] = "{}[]\",:\\u019eE+-. nulltrue\xc3\xa9";
	struct buf one = { 0 }, two = { 0 };
	struct random random;
	unsigned passed = 0;
	struct fault why;

	lua_settop(L, 0);
	random_init(&random, 5);
	for (int round = 0; round < 30000; round++) {
		char text[sizeof(seed)];
		struct slice mutant = { text, sizeof(seed) - 1 };

		memcpy(text, seed, sizeof(seed));
		for (uint64_t n = random_below(&random, 4); n > 0; n--)
			text[random_below(&random, mutant.size)] =
				bytes[random_below(&random, sizeof(bytes) - 1)];
		if (!json_value_push(L, mutant, &why)) {
			assert_int_equal(why.kind, FAULT_bad_input);
			continue;
		}
		passed++;
		buf_reset(&one);
		buf_reset(&two);
		assert_true(json_value_write(L, -1, &one, &why));
		assert_true(json_value_push(L, buf_slice(&one), &why));
		assert_true(json_value_write(L, -1, &two, &why));
		assert_string_equal(buf_text(&one), buf_text(&two));
		lua_settop(L, 0);
	}
	assert_true(passed > 5000);
	buf_finish(&one);
	buf_finish(&two);
	return 0;
}

static void what_passes_the_scan_can_be_read(void **state)
{
	struct fault why;

	assert_int_equal(vm_call(rig.vm, read_mutants, NULL, &why), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(scalars_are_written),
		cmocka_unit_test(whole_numbers_are_written_exactly),
		cmocka_unit_test(keys_are_sorted),
		cmocka_unit_test(many_keys_are_sorted),
		cmocka_unit_test(an_empty_table_is_an_object_unless_marked),
		cmocka_unit_test(what_is_neither_array_nor_object_is_refused),
		cmocka_unit_test(cycles_and_shared_tables_end),
		cmocka_unit_test(metamethods_are_not_called),
		cmocka_unit_test(arrays_and_objects_come_back_as_they_were),
		cmocka_unit_test(names_that_look_like_numbers_stay_names),
		cmocka_unit_test(nulls_are_absent),
		cmocka_unit_test(texts_come_back),
		cmocka_unit_test(bad_text_is_nil_and_a_place),
		cmocka_unit_test(marking_does_not_undo_a_protection),
		cmocka_unit_test(what_cannot_be_written_leaves_nothing),
		cmocka_unit_test(hidden_members_are_not_written),
		cmocka_unit_test(what_passes_the_scan_can_be_read),
		cmocka_unit_test(a_memory_bomb_of_json_fails_only_its_task),
		cmocka_unit_test(a_full_stack_is_an_error_not_an_end),
	};

	return cmocka_run_group_tests(tests, open_rig, close_rig);
}
