/* SPDX-License-Identifier: MIT */
/* buf_test.c -- bytes that grow. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/buf.h"

static void an_empty_buf_needs_no_start_and_no_end(void **state)
{
	struct buf buf = { 0 };

	assert_string_equal(buf_text(&buf), "");
	buf_finish(&buf);
	assert_null(buf.at);
	buf_consume(&buf, 0);
	buf_append(&buf, slice_text(NULL));
	assert_null(buf.at);
	buf_finish(&buf);
}

static void appending_keeps_every_byte(void **state)
{
	struct buf buf = { 0 };

	for (int i = 0; i < 10000; i++)
		buf_append_byte(&buf, (char)i);
	buf_append(&buf, SLICE("a\0b"));
	assert_int_equal(buf.size, 10003);
	for (int i = 0; i < 10000; i++)
		assert_int_equal(buf.at[i], (char)i);
	assert_memory_equal(buf.at + 10000, "a\0b", 3);
	buf_finish(&buf);
}

static void printing_longer_than_the_room_left_is_whole(void **state)
{
	struct buf buf = { 0 };

	buf_printf(&buf, "%s", "");
	assert_int_equal(buf.size, 0);
	for (int i = 0; i < 100; i++)
		buf_printf(&buf, "%0*d;", i, i);
	buf_printf(&buf, "%.*s", 3, "abcdef");
	assert_string_equal(buf_text(&buf) + buf.size - 8, "0099;abc");
	assert_int_equal(buf.size, 2 + 99 * 100 / 2 + 99 + 3);
	buf_finish(&buf);
}

static void consuming_drops_from_the_front(void **state)
{
	struct buf buf = { 0 };

	buf_append(&buf, SLICE("hello world"));
	buf_consume(&buf, 6);
	assert_true(slice_equal(buf_slice(&buf), SLICE("world")));
	buf_consume(&buf, 5);
	assert_int_equal(buf.size, 0);
	buf_finish(&buf);
}

static void reserved_room_is_the_callers_to_fill(void **state)
{
	struct buf buf = { 0 };
	char *at = buf_reserve(&buf, 1000);

	memset(at, 'x', 1000);
	buf.size += 1000;
	buf_reset(&buf);
	assert_ptr_equal(buf_reserve(&buf, 1000), at);
	buf_finish(&buf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_buf_needs_no_start_and_no_end),
		cmocka_unit_test(appending_keeps_every_byte),
		cmocka_unit_test(printing_longer_than_the_room_left_is_whole),
		cmocka_unit_test(consuming_drops_from_the_front),
		cmocka_unit_test(reserved_room_is_the_callers_to_fill),
	};

	return cmocka_run_group_tests_name("buf", tests, NULL, NULL);
}
