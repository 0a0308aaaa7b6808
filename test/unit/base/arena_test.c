/* SPDX-License-Identifier: MIT */
/* arena_test.c -- memory that is freed all at once. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/arena.h"
#include "base/random.h"

#define PIECES 2000

static void pieces_of_any_size_are_aligned_and_apart(void **state)
{
	struct random random;
	struct arena arena = { 0 };
	unsigned char *pieces[PIECES];
	size_t sizes[PIECES];

	random_init(&random, 1);
	for (int i = 0; i < PIECES; i++) {
		sizes[i] = random_below(&random, i % 50 == 0 ? 20000 : 200);
		pieces[i] = arena_alloc(&arena, sizes[i]);
		assert_non_null(pieces[i]);
		assert_int_equal((uintptr_t)pieces[i] % _Alignof(max_align_t), 0);
		memset(pieces[i], i, sizes[i]);
	}
	for (int i = 0; i < PIECES; i++)
		for (size_t b = 0; b < sizes[i]; b++)
			assert_int_equal(pieces[i][b], (unsigned char)i);
	arena_finish(&arena);
	assert_null(arena.blocks);
	arena_finish(&arena);
}

static void copies_are_terminated_and_independent(void **state)
{
	struct arena arena = { 0 };
	char text[] = "a text";
	struct slice copy = arena_copy(&arena, slice_text(text));

	text[0] = 'X';
	assert_string_equal(copy.at, "a text");
	assert_int_equal(copy.size, 6);
	assert_string_equal(arena_copy(&arena, slice_text(NULL)).at, "");
	arena_finish(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pieces_of_any_size_are_aligned_and_apart),
		cmocka_unit_test(copies_are_terminated_and_independent),
	};

	return cmocka_run_group_tests_name("arena", tests, NULL, NULL);
}
