/* SPDX-License-Identifier: MIT */
#include "store/pg_section.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

static struct pg_section sections[PG_SECTIONS_MAX];
static size_t count;
static struct fault why;

static bool read(const char *text)
{
	return pg_sections_read(slice_text(text), sections, &count, &why);
}

static void assert_slice(struct slice slice, const char *expected)
{
	assert_int_equal(slice.size, strlen(expected));
	assert_memory_equal(slice.at, expected, slice.size);
}

static void a_file_is_cut_into_its_sections(void **state)
{
	assert_true(read("-- A service.\n\n-- migration 1: first words \n\n"
			 "create table a();\n-- a comment\n\n"
			 "-- migration 2: second\r\ncreate table b();\r\n\r\n"));
	assert_int_equal(count, 2);
	assert_int_equal(sections[0].version, 1);
	assert_slice(sections[0].name, "first words");
	assert_slice(sections[0].sql, "create table a();\n-- a comment");
	assert_int_equal(sections[0].line, 5);
	assert_slice(sections[1].name, "second");
	assert_slice(sections[1].sql, "create table b();");
	assert_int_equal(sections[1].line, 9);
	assert_true(read(""));
	assert_int_equal(count, 0);
	assert_true(read("-- only words\n"));
	assert_int_equal(count, 0);
}

static void what_is_not_of_this_form_is_refused_with_its_line(void **state)
{
	static const char *const texts[] = {
		"create table a();",
		"-- migration 2: gap\nselect 1;",
		"-- migration 1: a\nselect 1;\n-- migration 1: again\nselect 1;",
		"-- migration 1: a\nselect 1;\n-- migration 3: gap\nselect 1;",
		"-- migration 1\nselect 1;",
		"-- migration one: a\nselect 1;",
		"-- migration 1: \nselect 1;",
		"-- migration 1: empty\n\n",
		"-- migration 1: empty\n-- migration 2: b\nselect 1;",
		"-- migration",
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		assert_false(read(texts[i]));
		assert_int_equal(why.kind, FAULT_bad_input);
	}
	assert_false(read("-- migration 1: a\nselect 1;\n\n-- migration x: b\n"));
	assert_non_null(strstr(why.detail, "line 4"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_file_is_cut_into_its_sections),
		cmocka_unit_test(what_is_not_of_this_form_is_refused_with_its_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
