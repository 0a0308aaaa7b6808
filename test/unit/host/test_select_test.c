/* SPDX-License-Identifier: MIT */
/* test_select_test.c -- which files of tests somebody means. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/buf.h"
#include "host/test_file.h"
#include "host/test_select.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char root[] = "/tmp/test_select_XXXXXX";

static int make_tree(void **state)
{
	struct buf command = { 0 };
	int status;

	assert_non_null(mkdtemp(root));
	buf_printf(
		&command,
		"cd %s && mkdir -p lib scripts/shop/stall/.hidden scripts/shop/bare "
		"test/services test/lua/deep && cd scripts/shop && touch "
		"bare/service.lua "
		"stall/service.lua stall/b_test.lua stall/a_test.lua stall/not_one.lua "
		"stall/.hidden/x_test.lua && cd ../../test && "
		"touch services/stall_test.lua lua/deep/z_test.lua lua/m_test.lua && "
		"ln -s ../lua lua/again",
		root);
	status = system(buf_text(&command));
	buf_finish(&command);
	return status || chdir(root);
}

static int remove_tree(void **state)
{
	struct buf command = { 0 };
	int status;

	buf_printf(&command, "rm -r %s", root);
	status = system(buf_text(&command));
	buf_finish(&command);
	return status;
}

/* The names of what is selected, with spaces between; or why nothing is. */
static const char *selected(const char *const *what)
{
	static char text[1000];
	struct test_selection selection = { 0 };
	struct buf names = { 0 };
	struct fault why;
	bool known = true;

	for (; known && *what; what++)
		known = test_select(&selection, root, *what, &why);
	for (size_t i = 0; known && i < selection.count; i++)
		buf_printf(&names, "%s%s", i ? " " : "",
			   test_file_name(root, selection.paths[i]));
	snprintf(text, sizeof(text), "%s", known ? buf_text(&names) : why.detail);
	buf_finish(&names);
	test_selection_finish(&selection);
	return text;
}

#define assert_selects(expected, ...)                                                    \
	assert_string_equal(selected((const char *const[]){ __VA_ARGS__, NULL }),        \
			    expected)

#define STALL                                                                            \
	"test/services/stall_test.lua scripts/shop/stall/a_test.lua "                    \
	"scripts/shop/stall/b_test.lua"

static void a_file_is_itself_whatever_its_name(void **state)
{
	assert_selects("test/lua/m_test.lua", "test/lua/m_test.lua");
	assert_selects("scripts/shop/stall/not_one.lua",
		       "test/../scripts/shop/stall/not_one.lua");
}

static void a_folder_is_the_tests_in_it_sorted_and_none_that_is_hidden(void **state)
{
	assert_selects("test/services/stall_test.lua", "test/services");
	assert_selects("test/lua/deep/z_test.lua test/lua/m_test.lua", "test/lua");
}

static void a_service_is_its_test_and_those_in_its_folder(void **state)
{
	assert_selects(STALL, "shop/stall");
	assert_selects(STALL, "scripts/shop/stall");
}

static void a_file_that_is_meant_twice_is_selected_once(void **state)
{
	assert_selects("scripts/shop/stall/b_test.lua test/services/stall_test.lua "
		       "scripts/shop/stall/a_test.lua",
		       "scripts/shop/stall/b_test.lua", "shop/stall", "shop/stall");
}

static void what_means_no_test_is_said(void **state)
{
	assert_selects("shop/bare: no *_test.lua there", "shop/bare");
	assert_selects("lib: no *_test.lua there", "lib");
	assert_selects("nothing: no file, folder or service of that name", "test/lua",
		       "nothing");
}

static void a_name_is_the_path_below_the_root(void **state)
{
	assert_string_equal(test_file_name("/a/b", "/a/b/c/d.lua"), "c/d.lua");
	assert_string_equal(test_file_name("/a/b", "/a/bc/d.lua"), "/a/bc/d.lua");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_file_is_itself_whatever_its_name),
		cmocka_unit_test(
			a_folder_is_the_tests_in_it_sorted_and_none_that_is_hidden),
		cmocka_unit_test(a_service_is_its_test_and_those_in_its_folder),
		cmocka_unit_test(a_file_that_is_meant_twice_is_selected_once),
		cmocka_unit_test(what_means_no_test_is_said),
		cmocka_unit_test(a_name_is_the_path_below_the_root),
	};

	return cmocka_run_group_tests(tests, make_tree, remove_tree);
}
