/* SPDX-License-Identifier: MIT */
/* hex_test.c -- lower-case digits only. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/hex.h"

static void bytes_become_digits_and_bytes_again(void **state)
{
	uint8_t bytes[256], back[256];
	char text[513];

	for (int i = 0; i < 256; i++)
		bytes[i] = (uint8_t)i;
	hex_encode(bytes, 256, text);
	assert_int_equal(strlen(text), 512);
	assert_memory_equal(text, "000102", 6);
	assert_memory_equal(text + 508, "feff", 4);
	assert_true(hex_decode(slice_of(text, 512), back));
	assert_memory_equal(bytes, back, 256);
}

static void anything_else_is_refused(void **state)
{
	uint8_t bytes[2];

	assert_false(hex_decode(SLICE("0A"), bytes));
	assert_false(hex_decode(SLICE("0g"), bytes));
	assert_false(hex_decode(SLICE("0"), bytes));
	assert_false(hex_decode(SLICE(" 0"), bytes));
	assert_true(hex_decode(SLICE(""), bytes));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_become_digits_and_bytes_again),
		cmocka_unit_test(anything_else_is_refused),
	};

	return cmocka_run_group_tests_name("hex", tests, NULL, NULL);
}
