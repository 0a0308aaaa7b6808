/* SPDX-License-Identifier: MIT */
#include "api/json_scan.h"
#include "api/json_value.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static bool passes(const char *text, struct fault *why)
{
	struct json_scan scan = { 0 };
	size_t size = strlen(text);
	/* In memory of its own, so that a sanitizer sees a read beyond the end. */
	char *copy = malloc(size + !size);
	bool good;

	memcpy(copy, text, size);
	good = json_scan(slice_of(copy, size), &scan, why);
	json_scan_finish(&scan);
	free(copy);
	return good;
}

static void refused(const char *text, const char *detail)
{
	struct fault why;

	if (passes(text, &why))
		fail_msg("passed: %s", text);
	assert_int_equal(why.kind, FAULT_bad_input);
	assert_string_equal(why.detail, detail);
}

static void json_passes(void **state)
{
	static const char *const texts[] = {
		"null",
		"true",
		" false ",
		"0",
		"-0",
		"12.5e-3",
		"1E+2",
		"\"\"",
		"\"a\\n\\u00e9\"",
		"\"\\ud83d\\ude00\"",
		"\"\xc3\xa9\"",
		"[]",
		"[ ]",
		"{}",
		"[1,[2,{}]]",
		"{\"a\":null,\"b\":[true,\"x\"]}",
		"\t[1\r\n, 2 ]\n",
		"1e308",
		"\"\\u0000\"",
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		if (!passes(texts[i], NULL))
			fail_msg("refused: %s", texts[i]);
}

static void what_is_not_json_is_refused_with_its_place(void **state)
{
	refused("", "line 1, column 1: expected a value");
	refused("  ", "line 1, column 3: expected a value");
	refused("nul", "line 1, column 1: expected a value");
	refused("True", "line 1, column 1: expected a value");
	refused("{} {}", "line 1, column 4: expected the end of the text");
	refused("{\n  \"sku\": ,\n}", "line 2, column 10: expected a value");
	refused("[1,]", "line 1, column 4: expected a value");
	refused("[1 2]", "line 1, column 4: expected , or ]");
	refused("{\"a\" 1}", "line 1, column 6: expected :");
	refused("{\"a\":1", "line 1, column 7: expected , or }");
	refused("{a:1}", "line 1, column 2: expected a name in quotes");
	refused("{\"a\":1,}", "line 1, column 8: expected a name in quotes");
	refused("[", "line 1, column 2: expected a value");
	refused("{", "line 1, column 2: expected a name in quotes");
	refused("'a'", "line 1, column 1: expected a value");
	refused("\xef\xbb\xbf{}", "line 1, column 1: expected a value");
}

static void a_column_counts_characters(void **state)
{
	refused("[\"\xc3\xa9\xc3\xa9\" x]", "line 1, column 7: expected , or ]");
}

static void numbers_are_strict(void **state)
{
	refused("01", "line 1, column 2: a number does not begin with 0");
	refused("-", "line 1, column 2: expected a digit");
	refused("1.", "line 1, column 3: expected a digit");
	refused("1e", "line 1, column 3: expected a digit");
	refused("+1", "line 1, column 1: expected a value");
	refused(".5", "line 1, column 1: expected a value");
	refused("0x10", "line 1, column 2: expected the end of the text");
	refused("NaN", "line 1, column 1: expected a value");
	refused("Infinity", "line 1, column 1: expected a value");
	refused("[1e999]", "line 1, column 2: the number is too large");
	refused("[-1e400]", "line 1, column 2: the number is too large");
}

static void strings_are_strict(void **state)
{
	refused("\"a", "line 1, column 3: the string does not end");
	refused("\"a\\", "line 1, column 3: the string does not end");
	refused("\"\\x\"", "line 1, column 2: no such escape");
	refused("\"\\u12\"",
		"line 1, column 2: expected four hexadecimal digits after \\u");
	refused("\"\\ud800\"", "line 1, column 2: half of a surrogate pair");
	refused("\"\\udc00\"", "line 1, column 2: half of a surrogate pair");
	refused("\"\\ud800\\u0041\"", "line 1, column 2: half of a surrogate pair");
	refused("\"a\nb\"", "line 1, column 3: a control character inside a string");
	refused("\"\xff\"", "line 1, column 2: this is not UTF-8");
	refused("\"\xc0\x80\"", "line 1, column 2: this is not UTF-8");
	refused("\"\xed\xa0\x80\"", "line 1, column 2: this is not UTF-8");
	refused("\"\xe2\x82", "line 1, column 2: this is not UTF-8");
}

static void a_nul_ends_nothing(void **state)
{
	struct json_scan scan = { 0 };

	assert_false(json_scan(slice_of("{}\0", 3), &scan, NULL));
	assert_false(json_scan(slice_of("[1\0]", 4), &scan, NULL));
	assert_false(json_scan(slice_of("\"a\0\"", 4), &scan, NULL));
	json_scan_finish(&scan);
}

static void a_null_in_an_array_is_refused(void **state)
{
	refused("{\"a\":[1,null]}", "line 1, column 9: null inside an array");
	refused("[ null]", "line 1, column 3: null inside an array");
}

static void nesting_is_bounded(void **state)
{
	char text[2 * (JSON_DEPTH_MAX + 1) + 1] = "";

	memset(text, '[', JSON_DEPTH_MAX);
	memset(text + JSON_DEPTH_MAX, ']', JSON_DEPTH_MAX);
	assert_true(passes(text, NULL));
	memset(text, '[', JSON_DEPTH_MAX + 1);
	refused(text, "line 1, column 33: nested too deeply");
}

static void the_number_of_values_is_bounded(void **state)
{
	size_t size = 2 * (JSON_VALUES_MAX + 10);
	char *text = malloc(size);
	struct json_scan scan = { 0 };
	struct fault why;

	for (size_t i = 0; i < size; i += 2)
		memcpy(text + i, i == 0 ? "[1" : ",1", 2);
	assert_false(json_scan(slice_of(text, size), &scan, &why));
	assert_non_null(strstr(why.detail, "too many values"));
	json_scan_finish(&scan);
	free(text);
}

static void what_the_reader_has_to_mend_is_noted(void **state)
{
	struct json_scan scan = { 0 };
	size_t at[2];

	assert_true(json_scan(SLICE("{\"a\":[],\"b\":{}}"), &scan, NULL));
	assert_true(scan.arrays);
	assert_false(scan.nulls);
	assert_int_equal(scan.values, 3);
	json_scan_finish(&scan);

	memset(&scan, 0, sizeof(scan));
	assert_true(json_scan(SLICE("{\"a\":null,\"b\":[[ ],[]]}"), &scan, NULL));
	assert_true(scan.nulls);
	assert_int_equal(scan.empty_arrays.size, sizeof(at));
	memcpy(at, scan.empty_arrays.at, sizeof(at));
	assert_int_equal(at[0], 17);
	assert_int_equal(at[1], 20);
	json_scan_finish(&scan);
}

/* Whatever the bytes are, the scanner ends inside them: the sanitizers watch. */
static void any_bytes_are_survived(void **state)
{
	static const char alphabet[] = "{}[]\",:\\u0dD8e-+.1ntfals \n\xc3\xa9\xff";
	uint64_t seed = 1;

	for (int round = 0; round < 20000; round++) {
		char text[48];
		size_t size = 0;

		seed = seed * 6364136223846793005u + 1442695040888963407u;
		for (uint64_t bits = seed; size < (seed >> 58); size++) {
			bits = bits * 6364136223846793005u + 1442695040888963407u;
			text[size] = alphabet[(bits >> 33) % (sizeof(alphabet) - 1)];
			if (size == sizeof(text) - 2)
				break;
		}
		text[size] = '\0';
		passes(text, NULL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(json_passes),
		cmocka_unit_test(what_is_not_json_is_refused_with_its_place),
		cmocka_unit_test(a_column_counts_characters),
		cmocka_unit_test(numbers_are_strict),
		cmocka_unit_test(strings_are_strict),
		cmocka_unit_test(a_nul_ends_nothing),
		cmocka_unit_test(a_null_in_an_array_is_refused),
		cmocka_unit_test(nesting_is_bounded),
		cmocka_unit_test(the_number_of_values_is_bounded),
		cmocka_unit_test(what_the_reader_has_to_mend_is_noted),
		cmocka_unit_test(any_bytes_are_survived),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
