/* SPDX-License-Identifier: MIT */
/* json_test.c -- JSON text, byte for byte. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/json.h"

#include <math.h>

static void assert_text(struct buf *out, const char *expected)
{
	assert_string_equal(buf_text(out), expected);
	buf_reset(out);
}

static void commas_and_colons_come_by_themselves(void **state)
{
	struct buf out = { 0 };
	struct json json = json_to(&out);

	json_open_object(&json);
	json_key(&json, SLICE("a"));
	json_open_array(&json);
	json_integer(&json, 1);
	json_open_object(&json);
	json_close_object(&json);
	json_open_array(&json);
	json_close_array(&json);
	json_null(&json);
	json_close_array(&json);
	json_key(&json, SLICE("b"));
	json_bool(&json, true);
	json_key(&json, SLICE("c"));
	json_raw(&json, SLICE("[0]"));
	json_key(&json, SLICE("d"));
	json_string(&json, SLICE("x"));
	json_close_object(&json);
	assert_text(&out, "{\"a\":[1,{},[],null],\"b\":true,\"c\":[0],\"d\":\"x\"}");
	buf_finish(&out);
}

static void assert_string(struct slice value, const char *expected)
{
	struct buf out = { 0 };
	struct json json = json_to(&out);

	json_string(&json, value);
	assert_text(&out, expected);
	buf_finish(&out);
}

static void strings_are_escaped_and_slashes_are_not(void **state)
{
	assert_string(SLICE(""), "\"\"");
	assert_string(SLICE("a/b"), "\"a/b\"");
	assert_string(SLICE("\"\\\b\f\n\r\t"), "\"\\\"\\\\\\b\\f\\n\\r\\t\"");
	assert_string(SLICE("\0\x1f\x7f"), "\"\\u0000\\u001f\x7f\"");
	assert_string(SLICE("gr\xc3\xbc\xc3\x9f \xf0\x9f\x98\x80"),
		      "\"gr\xc3\xbc\xc3\x9f \xf0\x9f\x98\x80\"");
}

static void a_bad_byte_becomes_the_replacement_character(void **state)
{
	assert_string(SLICE("a\xff"
			    "b"),
		      "\"a\xef\xbf\xbd"
		      "b\"");
	assert_string(SLICE("\xc3"), "\"\xef\xbf\xbd\"");
	assert_string(SLICE("\xed\xa0\x80"), "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
	assert_string(SLICE("\xc0\xaf\n"), "\"\xef\xbf\xbd\xef\xbf\xbd\\n\"");
}

static void numbers_are_exact_and_short(void **state)
{
	struct buf out = { 0 };
	struct json json = json_to(&out);

	json_open_array(&json);
	json_integer(&json, INT64_MIN);
	json_integer(&json, INT64_MAX);
	json_double(&json, 0.1);
	json_double(&json, 1500);
	json_double(&json, NAN);
	json_double(&json, -INFINITY);
	json_close_array(&json);
	assert_text(&out,
		    "[-9223372036854775808,9223372036854775807,0.1,1500,null,null]");
	buf_finish(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(commas_and_colons_come_by_themselves),
		cmocka_unit_test(strings_are_escaped_and_slashes_are_not),
		cmocka_unit_test(a_bad_byte_becomes_the_replacement_character),
		cmocka_unit_test(numbers_are_exact_and_short),
	};

	return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
