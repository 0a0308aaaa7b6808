/* SPDX-License-Identifier: MIT */
/* mention_test.c -- what a script's text names, and when nothing is said. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/buf.h"
#include "script/bytecode.h"
#include "script/mention.h"

#include <stdio.h>
#include <stdlib.h>

#define VMDEF "/usr/share/luajit-2.1.0-beta3/jit/vmdef.lua"

static struct buf found;

/* "json.encode:3", "<x:1" (read), ">x:1" (written), "!json:1" (required) */
static void note(void *context, const struct mention *mention)
{
	static const char *const marks[] = { "<", ">", "!", "", "=", "." };
	enum mention_kind only = *(const enum mention_kind *)context;

	if (mention->kind != only)
		return;
	buf_printf(&found, "%s%s%.*s%s%.*s:%u", found.size ? " " : "",
		   marks[mention->kind], SLICE_PRINT(mention->of),
		   mention->of.size ? "." : "", SLICE_PRINT(mention->name),
		   mention->line);
}

static const char *mentions(enum mention_kind only, const char *text)
{
	struct fault why;
	unsigned line;

	buf_reset(&found);
	if (!mention_list(slice_text(text), note, &only, &line, &why))
		fail_msg("%u: %s", line, why.detail);
	return buf_text(&found);
}

#define FIELDS(text) mentions(MENTION_field, text)

static void globals_that_are_read_and_written_are_told(void **state)
{
	assert_string_equal(mentions(MENTION_read, "local x = y\nreturn z + x"),
			    "<y:1 <z:2");
	assert_string_equal(mentions(MENTION_write, "x = 1\nfunction f() y = 2 end"),
			    ">x:1 >y:2 >f:2");
	assert_string_equal(mentions(MENTION_read, "local y = 1 return function(z) "
						   "return y + z end"),
			    "");
	assert_string_equal(mentions(MENTION_member, "return string.format('x'),\n"
						     "table.x"),
			    ".string.format:1 .table.x:2");
}

static void modules_are_told_where_they_are_required(void **state)
{
	assert_string_equal(mentions(MENTION_require,
				     "local a, b = require 'a', require 'b.c'\n"
				     "local function f()\n"
				     "  return require('d')\n"
				     "end\n"
				     "require 'e'"),
			    "!a:1 !b.c:1 !d:3 !e:5");
	/* a name that is put together is not known */
	assert_string_equal(mentions(MENTION_require, "local n = ... return require(n), "
						      "require('a' .. n)"),
			    "");
	assert_string_equal(mentions(MENTION_require, "local require = print "
						      "return require 'a'"),
			    "");
}

static void a_field_is_told_through_locals_and_upvalues(void **state)
{
	assert_string_equal(FIELDS("local json = require 'json'\n"
				   "return json.encode({})"),
			    "json.encode:2");
	assert_string_equal(FIELDS("return require('json').encode"), "json.encode:1");
	assert_string_equal(FIELDS("local a, b = require 'a', require 'b'\n"
				   "local function f()\n"
				   "  return function() return b.x, a.y() end\n"
				   "end"),
			    "b.x:3 a.y:3");
	assert_string_equal(FIELDS("local a = require 'a' local b = a\nb:go(1, 2)"),
			    "a.go:2");
	assert_string_equal(mentions(MENTION_set, "local a = require 'a'\na.x = 1"),
			    "=a.x:2");
}

static void a_local_or_a_parameter_of_the_same_name_is_no_module(void **state)
{
	assert_string_equal(
		FIELDS("local json = require 'json'\n"
		       "local function f(json) return json.x end\n"
		       "local function g() local json = {} return json.y end\n"
		       "do local json = f() g = json.z end\n"
		       "for json in g do f(json.a) end\n"
		       "for json = 1, 2 do f(json.b) end\n"
		       "for _, json in pairs(g) do f(json.c) end\n"),
		"");
}

static void what_is_assigned_again_is_not_known(void **state)
{
	assert_string_equal(FIELDS("local a = require 'a'\n"
				   "local function f() return a.x end\n"
				   "a = {}\n"
				   "return a.y"),
			    "");
	assert_string_equal(FIELDS("local a = require 'a'\n"
				   "local function f() a = {} end\n"
				   "f()\n"
				   "return a.y"),
			    "");
}

static void a_module_is_known_where_all_ways_lead_to_it(void **state)
{
	assert_string_equal(FIELDS("local a, go = require 'a', ...\n"
				   "if go then go() else go = 1 end\n"
				   "for i = 1, 3 do go = i end\n"
				   "while go do go = go() end\n"
				   "return a.x"),
			    "a.x:5");
	assert_string_equal(FIELDS("local a, go = nil, ...\n"
				   "if go then a = require 'a' else a = go end\n"
				   "return a.x"),
			    "");
	assert_string_equal(FIELDS("local go = ...\n"
				   "local a = go or require 'a'\n"
				   "return a.x, (go and require 'b').y"),
			    "");
	assert_string_equal(FIELDS("local a, go = require 'a', ...\n"
				   "repeat local b = a.x; a = go() until go\n"),
			    "");
	assert_string_equal(FIELDS("local a, go = require 'a', ...\n"
				   "for i = 1, 2 do\n"
				   "  if go then goto on end\n"
				   "  go = a.x\n"
				   "  ::on::\n"
				   "end\n"
				   "local s = 'x' .. a.y .. go\n"
				   "return a.z"),
			    "a.x:4 a.y:7 a.z:8");
}

static void text_that_does_not_compile_is_refused_with_its_line(void **state)
{
	enum mention_kind only = MENTION_read;
	struct fault why;
	unsigned line;

	assert_false(
		mention_list(SLICE("local x = 1\nlocal = 2"), note, &only, &line, &why));
	assert_int_equal(line, 2);
	assert_string_equal(why.detail, "'<name>' expected near '='");
	assert_true(mention_list(SLICE(""), note, &only, &line, &why));
}

/* The library may be newer than its description here; then the others judge. */
static void the_operations_have_the_numbers_of_the_library(void **state)
{
	static const struct {
		enum bytecode_op op;
		const char *name;
	} expected[] = {
		{ OP_ISLT, "ISLT  " },	{ OP_ISTC, "ISTC  " }, { OP_MOV, "MOV   " },
		{ OP_ADDVN, "ADDVN " }, { OP_POW, "POW   " },  { OP_CAT, "CAT   " },
		{ OP_KSTR, "KSTR  " },	{ OP_KNIL, "KNIL  " }, { OP_UGET, "UGET  " },
		{ OP_USETP, "USETP " }, { OP_UCLO, "UCLO  " }, { OP_FNEW, "FNEW  " },
		{ OP_GGET, "GGET  " },	{ OP_GSET, "GSET  " }, { OP_TGETS, "TGETS " },
		{ OP_TSETS, "TSETS " }, { OP_CALL, "CALL  " }, { OP_CALLT, "CALLT " },
		{ OP_ITERC, "ITERC " }, { OP_VARG, "VARG  " }, { OP_ISNEXT, "ISNEXT" },
		{ OP_FORI, "FORI  " },	{ OP_FORL, "FORL  " }, { OP_ITERL, "ITERL " },
		{ OP_JLOOP, "JLOOP " }, { OP_JMP, "JMP   " },
	};
	char text[8192] = "";
	FILE *file = fopen(VMDEF, "r");
	char *names;

	if (!file)
		skip();
	text[fread(text, 1, sizeof(text) - 1, file)] = 0;
	fclose(file);
	names = strstr(text, "bcnames = \"");
	assert_non_null(names);
	names += strlen("bcnames = \"");
	for (size_t i = 0; i < sizeof(expected) / sizeof(*expected); i++)
		assert_memory_equal(names + 6 * expected[i].op, expected[i].name, 6);
}

/* Every construct once, in one function too large for one-byte line numbers. */
static void a_large_function_is_read_to_its_end(void **state)
{
	struct buf text = { 0 };

	buf_append(&text, SLICE("local a, t, n = require 'a', {}, ...\n"));
	for (int i = 0; i < 400; i++)
		buf_printf(&text,
			   "if n then t[%d] = n .. '%d' else t.k%d = -n + %d.5 end\n", i,
			   i, i, i);
	buf_append(&text, SLICE("return a.last, {1, nil, x = 2, 'y', 1e300, true}, 1LL, "
				"2ULL, 3i, 0xffffffffff"));
	assert_string_equal(FIELDS(buf_text(&text)), "a.last:402");
	buf_finish(&text);
}

static int teardown(void **state)
{
	buf_finish(&found);
	return 0;
}

int main(void)
{
	const struct CMUnitTest claims[] = {
		cmocka_unit_test(globals_that_are_read_and_written_are_told),
		cmocka_unit_test(modules_are_told_where_they_are_required),
		cmocka_unit_test(a_field_is_told_through_locals_and_upvalues),
		cmocka_unit_test(a_local_or_a_parameter_of_the_same_name_is_no_module),
		cmocka_unit_test(what_is_assigned_again_is_not_known),
		cmocka_unit_test(a_module_is_known_where_all_ways_lead_to_it),
		cmocka_unit_test(text_that_does_not_compile_is_refused_with_its_line),
		cmocka_unit_test(the_operations_have_the_numbers_of_the_library),
		cmocka_unit_test(a_large_function_is_read_to_its_end),
	};

	return cmocka_run_group_tests(claims, NULL, teardown);
}
