/* SPDX-License-Identifier: MIT */
/* problem_test.c -- the members that every problem document has. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/problem.h"

static void assert_problem(const struct fault *why, struct slice trace_id,
			   const char *expected)
{
	struct buf text = { 0 };
	struct json json = json_to(&text);

	problem_open(&json, why, trace_id);
	json_close_object(&json);
	assert_string_equal(buf_text(&text), expected);
	buf_finish(&text);
}

static void a_failure_names_its_kind_status_and_trace(void **state)
{
	struct fault why;

	fault_set_status(&why, FAULT_bad_input, 413, "the \"body\" is too large");
	assert_problem(&why, SLICE("abc"),
		       "{\"type\":\"about:blank\",\"title\":\"Invalid input\","
		       "\"status\":413,\"kind\":\"bad_input\","
		       "\"detail\":\"the \\\"body\\\" is too large\","
		       "\"trace_id\":\"abc\"}");
}

static void without_a_trace_there_is_no_trace_id(void **state)
{
	struct fault why;

	fault_set(&why, FAULT_missing, "gone");
	assert_problem(&why, SLICE(""),
		       "{\"type\":\"about:blank\",\"title\":\"Not found\","
		       "\"status\":404,\"kind\":\"missing\",\"detail\":\"gone\"}");
}

int main(void)
{
	const struct CMUnitTest claims[] = {
		cmocka_unit_test(a_failure_names_its_kind_status_and_trace),
		cmocka_unit_test(without_a_trace_there_is_no_trace_id),
	};

	return cmocka_run_group_tests(claims, NULL, NULL);
}
