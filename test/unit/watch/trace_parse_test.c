/* SPDX-License-Identifier: MIT */
/* trace_parse_test.c -- traceparent and tracestate by the letter of W3C Trace Context. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "watch/trace.h"

#include <stdio.h>

#define TRACE "4bf92f3577b34da6a3ce929d0e0e4736"
#define PARENT "00f067aa0ba902b7"
#define GOOD "00-" TRACE "-" PARENT "-01"

static void good_parents_are_taken(void **state)
{
	static const struct {
		const char *text;
		uint8_t flags;
	} cases[] = {
		{ GOOD, 1 },
		{ " \t" GOOD "\t ", 1 },
		{ "00-" TRACE "-" PARENT "-00", 0 },
		{ "00-" TRACE "-" PARENT "-03", 3 },
		{ "00-" TRACE "-" PARENT "-ff", 3 },
		{ "00-" TRACE "-" PARENT "-fc", 0 },
		{ "cc-" TRACE "-" PARENT "-01", 1 },
		{ "cc-" TRACE "-" PARENT "-01-what-the-future-brings", 1 },
		{ "01-" TRACE "-" PARENT "-01-", 1 },
		{ "00-00000000000000000000000000000001-0000000000000001-00", 0 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct trace_context parent;

		if (!trace_parse(slice_text(cases[i].text), SLICE(""), &parent))
			fail_msg("refused: %s", cases[i].text);
		assert_int_equal(parent.flags, cases[i].flags);
		assert_true(parent.remote);
		assert_int_equal(parent.state.size, 0);
	}
}

static void bad_parents_are_no_parents(void **state)
{
	static const char *const cases[] = {
		"",
		"00",
		"00-" TRACE "-" PARENT,
		"00-" TRACE "-" PARENT "-",
		"00-" TRACE "-" PARENT "-0",
		"00-" TRACE "-" PARENT "-0x",
		"00-" TRACE "-" PARENT "-0X",
		"00-" TRACE "-" PARENT "-01-",
		"00-" TRACE "-" PARENT "-01.",
		"00-" TRACE "-" PARENT "-01-x",
		"cc-" TRACE "-" PARENT "-01.x",
		"cc-" TRACE "-" PARENT "-011",
		"ff-" TRACE "-" PARENT "-01",
		"0g-" TRACE "-" PARENT "-01",
		"0A-" TRACE "-" PARENT "-01",
		"00_" TRACE "-" PARENT "-01",
		"00-" TRACE "_" PARENT "-01",
		"00-" TRACE "-" PARENT "_01",
		"00-4BF92F3577B34DA6A3CE929D0E0E4736-" PARENT "-01",
		"00-" TRACE "-00F067AA0BA902B7-01",
		"00-00000000000000000000000000000000-" PARENT "-01",
		"00-" TRACE "-0000000000000000-01",
		"00-" TRACE "0-" PARENT "-1",
		"0-" TRACE "-" PARENT "-01",
		GOOD "," GOOD,
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct trace_context parent, zero = { 0 };

		memset(&parent, 0xAA, sizeof(parent));
		if (trace_parse(slice_text(cases[i]), SLICE("a=1"), &parent))
			fail_msg("taken: %s", cases[i]);
		assert_memory_equal(parent.trace_id, zero.trace_id, 16);
		assert_memory_equal(parent.span_id, zero.span_id, 8);
		assert_int_equal(parent.state.size, 0);
		assert_false(parent.remote);
	}
}

static void assert_state(const char *state, const char *kept)
{
	struct trace_context parent;

	assert_true(trace_parse(SLICE(GOOD), slice_text(state), &parent));
	if (!slice_equal(parent.state, slice_text(kept)))
		fail_msg("'%s' gave '%.*s'", state, SLICE_PRINT(parent.state));
}

static void a_good_tracestate_is_kept_as_it_is(void **state)
{
	static const char *const cases[] = {
		"rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",
		"a=1",
		"1a=1",
		"fw529a3039@dt=FfAxO_-*/@",
		"a=  leading spaces",
		"a=1 , b=2 ,\t, c=3",
		",a=1,,",
		"a=1,a=2",
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_state(cases[i], cases[i]);
	assert_state("\t a=1 \t", "a=1");
}

static void a_bad_member_spoils_the_tracestate_only(void **state)
{
	static const char *const cases[] = {
		"",	 ",",	     "a",	"a=",	  "=1",		"A=1",	 "_a=1",
		"@a=1",	 "a b=1",    "a=1=2",	"a=\x7f", "a=\xc3\xa4", "a=\t1", "a==",
		"a=1,b", "a=1;b=2=", "a=1,B=2", "a =1",	  "a!=1",
	};
	char text[1024] = "";
	size_t size = 0;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_state(cases[i], "");
	for (int i = 0; i < 32; i++)
		size += (size_t)snprintf(text + size, sizeof(text) - size, "%sk%d=%d",
					 i ? "," : "", i, i);
	assert_state(text, text);
	snprintf(text + size, sizeof(text) - size, ",k33=1");
	assert_state(text, "");
}

static void keys_and_values_have_256_bytes(void **state)
{
	char text[600];

	for (int longer = 0; longer <= 1; longer++) {
		snprintf(text, sizeof(text), "%0*d=1", 256 + longer, 1);
		assert_state(text, longer ? "" : text);
		snprintf(text, sizeof(text), "a=%0*d", 256 + longer, 1);
		assert_state(text, longer ? "" : text);
	}
}

static void what_is_written_is_what_was_read(void **state)
{
	struct trace_context parent;
	char text[TRACEPARENT_SIZE], id[33];

	assert_true(
		trace_parse(SLICE("cc-" TRACE "-" PARENT "-ff-x"), SLICE(""), &parent));
	trace_format(&parent, text);
	assert_string_equal(text, "00-" TRACE "-" PARENT "-03");
	trace_id_text(&parent, id);
	assert_string_equal(id, TRACE);
	assert_int_equal(parent.generation, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_parents_are_taken),
		cmocka_unit_test(bad_parents_are_no_parents),
		cmocka_unit_test(a_good_tracestate_is_kept_as_it_is),
		cmocka_unit_test(a_bad_member_spoils_the_tracestate_only),
		cmocka_unit_test(keys_and_values_have_256_bytes),
		cmocka_unit_test(what_is_written_is_what_was_read),
	};

	return cmocka_run_group_tests_name("trace_parse", tests, NULL, NULL);
}
