/* SPDX-License-Identifier: MIT */
#include "sandbox_rig.h"

static void a_module_of_lib_is_a_view_with_views_inside(void **state)
{
	struct rig *rig = *state;

	rig_write_text(rig, "lib/words.lua",
		       "return { one = { two = { 3 } }, "
		       "read = function(m) return m.one.two[1] end }");
	assert_run(rig,
		   "local words = require 'words'\n"
		   "return type(words), type(words.one), type(words.one.two), "
		   "words:read(), words == require 'words'",
		   "userdata userdata userdata 3 true");
	assert_says(rig, "require('words').one.two[1] = 4", "this table is read-only");
	assert_says(rig, "require('words').read = nil", "(tried to set 'read')");
	assert_run(rig, "return require('words'):read()", "3");
}

static void modules_of_lib_get_views_of_each_other(void **state)
{
	struct rig *rig = *state;

	rig_write_text(rig, "lib/low.lua", "return { value = 1 }");
	rig_write_text(rig, "lib/high.lua",
		       "local low = require 'low'\n"
		       "return { type = type(low), low = low,\n"
		       "  change = function() low.value = 2 end }");
	assert_run(
		rig,
		"local high = require 'high'\n"
		"return high.type, high.low == require 'low', pcall(high.change)",
		"userdata true false lib/high.lua:3: this table is read-only (tried to "
		"set 'value')");
}

static void a_module_may_return_something_else_than_a_table(void **state)
{
	struct rig *rig = *state;

	rig_write_text(rig, "lib/call.lua", "return function(x) return x * 2 end");
	rig_write_text(rig, "lib/name.lua", "return (...)");
	rig_write_text(rig, "lib/nothing.lua", "local x = 1");
	assert_run(rig, "return require('call')(4), require 'name'", "8 name");
	assert_says(rig, "require 'nothing'", "module 'nothing' returns nothing");
}

static void a_services_own_module_is_its_own_table(void **state)
{
	struct rig *rig = *state;

	rig_write_text(rig, "service/store.lua", "return { rows = {} }");
	assert_run(rig,
		   "local store = require 'store'\n"
		   "store.rows[1], store.more = 'row', 'm'\n"
		   "return require('store').rows[1], require('store').more, type(store)",
		   "row m table");
}

static void a_service_cannot_stand_in_for_a_module_of_lib_or_a_native_one(void **state)
{
	struct rig *rig = *state;
	char path[128];

	rig_write_text(rig, "lib/app.lua", "return { whose = 'of lib' }");
	rig_write_text(rig, "service/app.lua", "return { whose = 'of the service' }");
	rig_path(rig, "service/native", path);
	assert_int_equal(mkdir(path, 0700), 0);
	rig_write_text(rig, "service/native/rig.lua", "return { forged = true }");
	rig_write_text(rig, "service/native/db.lua", "return { forged = true }");
	assert_run(rig, "return require('app').whose, require('native.rig').forged",
		   "of lib nil");
	assert_says(rig, "require 'native.db'", "module 'native.db' not found");
}

static void a_name_is_no_path(void **state)
{
	static const char *const names[] = {
		"",
		".",
		"..",
		"../x",
		"a/b",
		"/etc/x",
		"a..b",
		".a",
		"a.",
		"native..rig",
		"a\\0b",
		"x\\0",
		"X",
		"a b",
		"%2e%2e",
		"lib/../app",
		"\\239\\187\\191x",
		"a\\nb",
	};
	struct rig *rig = *state;
	char source[128];

	rig_write_text(rig, "x.lua", "return { outside = true }");
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		snprintf(source, sizeof(source), "require '%s'", names[i]);
		assert_says(rig, source, "bad module name");
	}
	assert_says(rig, "require(('a'):rep(64))", "bad module name");
	assert_says(rig, "require(('a'):rep(100000))", "bad module name");
	assert_says(rig, "require(('a'):rep(63))", "not found");
	assert_says(rig, "require(1)", "module '1' not found");
	assert_says(rig, "require {}", "string expected");
	assert_says(rig, "require(setmetatable({}, { __tostring = tostring }))",
		    "string expected");
}

static int add_to_buf(lua_State *L, const void *data, size_t size, void *out)
{
	buf_append(out, slice_of(data, size));
	return 0;
}

/* Bytecode as this very machine writes it. */
static int dump_chunk(lua_State *L)
{
	static const char source[] = "return { compiled = true }";

	if (luaL_loadbuffer(L, source, sizeof(source) - 1, "=compiled"))
		return lua_error(L);
	lua_dump(L, add_to_buf, lua_touserdata(L, 1));
	lua_settop(L, 0);
	return 0;
}

static void bytecode_is_refused(void **state)
{
	struct rig *rig = *state;
	struct buf dump = { 0 };

	assert_int_equal(vm_call(rig->vm, dump_chunk, &dump, NULL), 0);
	assert_true(dump.size > 8);
	rig_write(rig, "lib/compiled.lua", dump.at, dump.size);
	rig_write(rig, "service/mine.lua", "\x1bLua", 4);
	buf_finish(&dump);
	assert_says(rig, "require 'compiled'",
		    "bytecode, and only source text is loaded");
	assert_says(rig, "require 'mine'", "bytecode, and only source text is loaded");
}

static void what_is_no_regular_file_is_no_module(void **state)
{
	struct rig *rig = *state;
	char path[128];

	rig_path(rig, "lib/folder.lua", path);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_says(rig, "require 'folder'", "module 'folder' not found");
	rig_path(rig, "lib/device.lua", path);
	assert_int_equal(symlink("/dev/zero", path), 0);
	assert_says(rig, "require 'device'", "module 'device' not found");
}

static void a_file_too_large_is_not_passed_over(void **state)
{
	struct rig *rig = *state;
	char path[128];

	rig_write_text(rig, "lib/large.lua", "return {}");
	rig_path(rig, "lib/large.lua", path);
	assert_int_equal(truncate(path, (1 << 20) + 1), 0);
	rig_write_text(rig, "service/large.lua", "return { instead = true }");
	assert_says(rig, "require 'large'", "larger than 1048576 bytes");
}

static void errors_name_the_file_and_who_required_it(void **state)
{
	struct rig *rig = *state;

	rig_write_text(rig, "lib/broken.lua", "local x = 1\nlocal = 2\n");
	rig_write_text(rig, "lib/raises.lua", "\nerror('boom')");
	rig_write_text(rig, "lib/outer.lua", "\n\nlocal r = require 'raises' return r");
	rig_write_text(rig, "lib/wants.lua",
		       "local absent = require 'absent' return absent");
	assert_run(rig, "require 'broken'",
		   "internal 500: lib/broken.lua:2: '<name>' expected near '=' (required "
		   "at script.lua:1)");
	assert_run(rig, "\nrequire 'outer'",
		   "internal 500: lib/raises.lua:2: boom (required at lib/outer.lua:3) "
		   "(required at script.lua:2)");
	assert_run(
		rig, "require 'wants'",
		"internal 500: lib/wants.lua:1: module 'absent' not found in lib/ or in "
		"the service's folder (required at script.lua:1)");
}

static void a_fault_that_a_module_raises_stays_a_fault(void **state)
{
	struct rig *rig = *state;

	rig_write_text(rig, "lib/unwilling.lua",
		       "error({ kind = 'refused', detail = 'd' })");
	assert_run(rig, "require 'unwilling'", "refused 409: d");
}

static void a_module_that_failed_may_be_required_again(void **state)
{
	struct rig *rig = *state;

	rig_write_text(rig, "service/state.lua", "return { tries = 0 }");
	rig_write_text(rig, "service/second.lua",
		       "local state = require 'state'\n"
		       "state.tries = state.tries + 1\n"
		       "if state.tries < 2 then error 'not yet' end\n"
		       "return { tries = state.tries }");
	assert_run(rig, "return pcall(require, 'second')",
		   "false service/second.lua:3: not yet");
	assert_run(rig, "return require('second').tries, require('second').tries", "2 2");
}

static void a_module_that_requires_itself_is_named(void **state)
{
	struct rig *rig = *state;

	rig_write_text(rig, "lib/one.lua", "local two = require 'two' return two");
	rig_write_text(rig, "lib/two.lua", "local one = require 'one' return one");
	assert_says(rig, "require 'one'",
		    "lib/two.lua:1: module 'one' requires itself, directly or through "
		    "others");
	assert_says(rig, "require 'one'", "module 'one' requires itself");
}

static void the_text_of_a_chunk_can_be_had(void **state)
{
	struct rig *rig = *state;
	struct slice text;

	rig_write_text(rig, "lib/told.lua", "return { 'told' }");
	assert_run(rig, "return require('told')[1]", "told");
	text = loader_source(rig->vm, SLICE("lib/told.lua"));
	assert_true(slice_equal(text, SLICE("return { 'told' }")));
	assert_int_equal(loader_source(rig->vm, SLICE("lib/untold.lua")).size, 0);
}

int main(void)
{
	const struct CMUnitTest claims[] = {
		CLAIM(a_module_of_lib_is_a_view_with_views_inside),
		CLAIM(modules_of_lib_get_views_of_each_other),
		CLAIM(a_module_may_return_something_else_than_a_table),
		CLAIM(a_services_own_module_is_its_own_table),
		CLAIM(a_service_cannot_stand_in_for_a_module_of_lib_or_a_native_one),
		CLAIM(a_name_is_no_path),
		CLAIM(bytecode_is_refused),
		CLAIM(what_is_no_regular_file_is_no_module),
		CLAIM(a_file_too_large_is_not_passed_over),
		CLAIM(errors_name_the_file_and_who_required_it),
		CLAIM(a_fault_that_a_module_raises_stays_a_fault),
		CLAIM(a_module_that_failed_may_be_required_again),
		CLAIM(a_module_that_requires_itself_is_named),
		CLAIM(the_text_of_a_chunk_can_be_had),
	};

	return cmocka_run_group_tests(claims, NULL, NULL);
}
