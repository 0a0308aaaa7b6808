/* SPDX-License-Identifier: MIT */
#include "script/excerpt.h"

#include "base/json.h"
#include "script/loader.h"
#include "script/vm.h"

#include <lua.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define TEN "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n"

static struct excerpt excerpt;
static struct buf out;

static int finish(void **state)
{
	buf_finish(&out);
	return 0;
}

static void assert_at(const char *text, const char *file, unsigned line)
{
	if (!excerpt_locate(slice_text(text), &excerpt))
		fail_msg("no position in: %s", text);
	if (!slice_equal(excerpt.file, slice_text(file)) || excerpt.line != line)
		fail_msg("%.*s:%u in: %s", SLICE_PRINT(excerpt.file), excerpt.line, text);
}

static void assert_nowhere(const char *text)
{
	if (excerpt_locate(slice_text(text), &excerpt))
		fail_msg("%.*s:%u in: %s", SLICE_PRINT(excerpt.file), excerpt.line, text);
	assert_int_equal(excerpt.file.size, 0);
	assert_int_equal(excerpt.count, 0);
}

static const char *around(const char *source, unsigned line)
{
	excerpt = (struct excerpt){ .file = SLICE("a.lua"), .line = line };
	excerpt_fill(&excerpt, slice_text(source));
	buf_reset(&out);
	for (size_t i = 0; i < excerpt.count; i++)
		buf_printf(&out, "%zu:%.*s ", excerpt.first + i,
			   SLICE_PRINT(excerpt.lines[i]));
	return buf_text(&out);
}

static void a_position_is_found_before_and_behind_what_is_said(void **state)
{
	assert_at("scripts/x/service.lua:12: attempt to index", "scripts/x/service.lua",
		  12);
	assert_at("100 ms of CPU are spent at scripts/x/service.lua:7",
		  "scripts/x/service.lua", 7);
	assert_at("it failed: lib/a.lua:3: scripts/b.lua:4: no", "lib/a.lua", 3);
	assert_at("in function <scripts/x/service.lua:30>", "scripts/x/service.lua", 30);
	assert_at("...y/long/path/service.lua:1: x", "...y/long/path/service.lua", 1);
	assert_at("/srv/my shop/service.lua:2: x", "/srv/my shop/service.lua", 2);
	assert_at("a.lua:x b.lua:2", "b.lua", 2);
}

static void what_is_no_position_is_none(void **state)
{
	assert_nowhere("");
	assert_nowhere("127.0.0.1:5432: connection refused");
	assert_nowhere("service.lua");
	assert_nowhere("service.lua: No such file or directory");
	assert_nowhere("service.lua:0: x");
	assert_nowhere("service.lua:99999999999999999999: x");
	assert_nowhere(".lua:4: x");
	assert_nowhere("test:4: x");
}

static void three_lines_stand_on_each_side(void **state)
{
	assert_string_equal(around(TEN, 5), "2:2 3:3 4:4 5:5 6:6 7:7 8:8 ");
	assert_string_equal(around(TEN, 1), "1:1 2:2 3:3 4:4 ");
	assert_string_equal(around(TEN, 10), "7:7 8:8 9:9 10:10 ");
	assert_string_equal(around("only", 1), "1:only ");
	assert_string_equal(around("a\r\n\r\nb\r\n", 2), "1:a 2: 3:b ");
}

static void a_source_without_the_line_gives_none(void **state)
{
	assert_string_equal(around(TEN, 11), "");
	assert_string_equal(around(TEN, 4000000000u), "");
}

static void a_long_line_is_cut_between_characters(void **state)
{
	struct buf source = { 0 };

	buf_append_byte(&source, 'x');
	for (int i = 0; i < 300; i++)
		buf_append(&source, SLICE("\xC3\xA4"));
	around(buf_text(&source), 1);
	assert_int_equal(excerpt.lines[0].size, EXCERPT_LINE_MAX - 1);
	buf_finish(&source);
}

static void it_is_written_as_json(void **state)
{
	struct json json = json_to(&out);

	around("local x\nx.y = \"z\"\n", 2);
	buf_reset(&out);
	json_open_object(&json);
	excerpt_write(&excerpt, &json);
	json_close_object(&json);
	assert_string_equal(buf_text(&out),
			    "{\"file\":\"a.lua\",\"line\":2,\"excerpt\":[{\"line\":1,"
			    "\"text\":\"local x\"},{\"line\":2,\"text\":\"x.y = "
			    "\\\"z\\\"\"}]}");
	excerpt.count = 0;
	buf_reset(&out);
	json = json_to(&out);
	json_open_object(&json);
	excerpt_write(&excerpt, &json);
	json_close_object(&json);
	assert_string_equal(buf_text(&out), "{\"file\":\"a.lua\",\"line\":2}");
}

static void a_console_sees_the_line_marked(void **state)
{
	around(TEN "\x1b[2Jend\n", 9);
	buf_reset(&out);
	excerpt_print(&excerpt, &out);
	assert_string_equal(buf_text(&out), "  a.lua:9\n"
					    "     6 | 6\n"
					    "     7 | 7\n"
					    "     8 | 8\n"
					    "  >  9 | 9\n"
					    "    10 | 10\n"
					    "    11 | ?[2Jend\n");
	buf_reset(&out);
	excerpt = (struct excerpt){ 0 };
	excerpt_print(&excerpt, &out);
	assert_int_equal(out.size, 0);
}

static void a_traceback_is_a_list_of_lines(void **state)
{
	struct json json = json_to(&out);

	buf_reset(&out);
	traceback_write(
		SLICE("stack traceback:\n\ta.lua:2: in function 'f'\n\t[C]: in ?"),
		&json);
	assert_string_equal(buf_text(&out),
			    "[\"a.lua:2: in function 'f'\",\"[C]: in ?\"]");
	buf_reset(&out);
	json = json_to(&out);
	traceback_write((struct slice){ 0 }, &json);
	assert_string_equal(buf_text(&out), "[]");
}

/* --- the source a VM keeps -------------------------------------------------------- */

static int load(lua_State *L)
{
	loader_push_file(L, vm_call_data(L));
	lua_call(L, 0, 0);
	return 0;
}

static void the_lines_are_those_that_were_compiled(void **state)
{
	struct vm_config config = { .memory_max = 8 << 20, .lib_dir = "/nowhere/lib" };
	char path[] = "/tmp/excerpt_XXXXXX.lua";
	int fd = mkstemps(path, 4);
	struct vm *vm = vm_create(NULL, &config);
	struct fault why;

	assert_true(write(fd, "local x\nreturn x.y\n", 19) == 19);
	close(fd);
	assert_int_equal(vm_call(vm, load, path, &why), -1);
	unlink(path);
	assert_true(excerpt_find(vm, slice_text(why.detail), &excerpt));
	assert_int_equal(excerpt.line, 2);
	assert_int_equal(excerpt.count, 2);
	assert_true(slice_equal(excerpt.lines[1], SLICE("return x.y")));
	assert_true(excerpt_find(vm, SLICE("other.lua:1: x"), &excerpt));
	assert_int_equal(excerpt.count, 0);
	vm_destroy(vm);
}

int main(void)
{
	const struct CMUnitTest claims[] = {
		cmocka_unit_test(a_position_is_found_before_and_behind_what_is_said),
		cmocka_unit_test(what_is_no_position_is_none),
		cmocka_unit_test(three_lines_stand_on_each_side),
		cmocka_unit_test(a_source_without_the_line_gives_none),
		cmocka_unit_test(a_long_line_is_cut_between_characters),
		cmocka_unit_test(it_is_written_as_json),
		cmocka_unit_test(a_console_sees_the_line_marked),
		cmocka_unit_test(a_traceback_is_a_list_of_lines),
		cmocka_unit_test(the_lines_are_those_that_were_compiled),
	};

	return cmocka_run_group_tests(claims, NULL, finish);
}
