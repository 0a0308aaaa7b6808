/* SPDX-License-Identifier: MIT */
/* utf8_test.c -- which bytes are characters, cutting between them, mending the rest. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/random.h"
#include "base/utf8.h"

static void characters_are_those_of_rfc_3629(void **state)
{
	static const struct {
		struct slice text;
		size_t size;
	} cases[] = {
		{ { "a", 1 }, 1 },
		{ { "\xc2\x80", 2 }, 2 },
		{ { "\xe0\xa0\x80", 3 }, 3 },
		{ { "\xed\x9f\xbf", 3 }, 3 },
		{ { "\xef\xbf\xbf", 3 }, 3 },
		{ { "\xf0\x90\x80\x80", 4 }, 4 },
		{ { "\xf4\x8f\xbf\xbf", 4 }, 4 },
		{ { "\x80", 1 }, 0 },
		{ { "\xc1\xbf", 2 }, 0 },
		{ { "\xe0\x9f\xbf", 3 }, 0 },
		{ { "\xed\xa0\x80", 3 }, 0 },
		{ { "\xf0\x8f\xbf\xbf", 4 }, 0 },
		{ { "\xf4\x90\x80\x80", 4 }, 0 },
		{ { "\xf5\x80\x80\x80", 4 }, 0 },
		{ { "\xe2\x82", 2 }, 0 },
		{ { "\xe2\x82\x41", 3 }, 0 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(utf8_character(cases[i].text), cases[i].size);
		assert_int_equal(utf8_valid(cases[i].text), cases[i].size);
	}
	assert_int_equal(utf8_valid(SLICE("12345678\xc3\xa4"
					  "9\xff")),
			 11);
	assert_int_equal(utf8_valid(SLICE("")), 0);
}

static void cutting_does_not_split_a_character(void **state)
{
	struct slice euro = SLICE("a\xe2\x82\xac");

	assert_int_equal(utf8_cut(euro, 4).size, 4);
	assert_int_equal(utf8_cut(euro, 3).size, 1);
	assert_int_equal(utf8_cut(euro, 2).size, 1);
	assert_int_equal(utf8_cut(euro, 1).size, 1);
	assert_int_equal(utf8_cut(euro, 0).size, 0);
	assert_int_equal(utf8_cut(SLICE("\x80\x80\x80\x80\x80\x80"), 5).size, 5);
}

static void mending_replaces_each_bad_byte(void **state)
{
	char out[16];

	assert_int_equal(utf8_mend(SLICE("a\xff\xc3"
					 "b"),
				   out, sizeof(out)),
			 8);
	assert_memory_equal(out, "a" UTF8_REPLACEMENT UTF8_REPLACEMENT "b", 8);
	assert_int_equal(utf8_mend(SLICE("a\xff"), out, 3), 1);
	assert_int_equal(utf8_mend(SLICE("abc"), out, 2), 2);
	assert_int_equal(utf8_mend(SLICE("abc"), out, 0), 0);
	assert_int_equal(utf8_mend(SLICE(""), out, 4), 0);
}

static void whatever_is_mended_is_valid_and_fits(void **state)
{
	struct random random;
	char text[64], out[64];

	random_init(&random, 5);
	for (int i = 0; i < 100000; i++) {
		size_t size = random_below(&random, sizeof(text) + 1), most, mended;

		random_fill(&random, text, size);
		for (size_t b = 0; b < size; b++)
			if (random_below(&random, 2))
				text[b] = "\xe2\x82\xac\xf0\x9f\x98\x80zz"[b % 9];
		most = random_below(&random, sizeof(out) + 1);
		mended = utf8_mend(slice_of(text, size), out, most);
		assert_true(mended <= most);
		assert_int_equal(utf8_valid(slice_of(out, mended)), mended);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(characters_are_those_of_rfc_3629),
		cmocka_unit_test(cutting_does_not_split_a_character),
		cmocka_unit_test(mending_replaces_each_bad_byte),
		cmocka_unit_test(whatever_is_mended_is_valid_and_fits),
	};

	return cmocka_run_group_tests_name("utf8", tests, NULL, NULL);
}
