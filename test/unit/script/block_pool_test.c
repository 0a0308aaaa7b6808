/* SPDX-License-Identifier: MIT */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/random.h"
#include "script/block_pool.h"

#include <string.h>

#define BLOCKS 200
#define STEPS 100000

static void a_walk_of_sizes_keeps_every_byte(void **state)
{
	struct block_pool pool = { 0 };
	struct random random;
	struct {
		unsigned char *at;
		size_t size;
		unsigned char mark;
	} blocks[BLOCKS] = { { 0 } };

	random_init(&random, 7);
	for (int step = 0; step < STEPS; step++) {
		size_t i = random_below(&random, BLOCKS);
		size_t size = random_below(&random, 4) ? random_below(&random, 700) : 0;
		size_t same = size < blocks[i].size ? size : blocks[i].size;

		blocks[i].at =
			block_pool_resize(&pool, blocks[i].at, blocks[i].size, size);
		for (size_t byte = 0; byte < same; byte++)
			assert_int_equal(blocks[i].at[byte], blocks[i].mark);
		blocks[i].size = size;
		blocks[i].mark = (unsigned char)step;
		if (size)
			memset(blocks[i].at, blocks[i].mark, size);
		else
			assert_null(blocks[i].at);
		for (size_t class = 0; class < BLOCK_CLASSES; class ++)
			assert_true(pool.classes[class].kept <=
				    BLOCK_KEPT_BYTES + BLOCK_SIZE_MAX);
	}
	for (size_t i = 0; i < BLOCKS; i++)
		block_pool_resize(&pool, blocks[i].at, blocks[i].size, 0);
	block_pool_finish(&pool);
}

static void a_freed_block_is_taken_again(void **state)
{
	struct block_pool pool = { 0 };
	void *block = block_pool_resize(&pool, NULL, 0, 40);

	assert_null(block_pool_resize(&pool, block, 40, 0));
	assert_ptr_equal(block_pool_resize(&pool, NULL, 0, 48), block);
	assert_ptr_equal(block_pool_resize(&pool, block, 48, 33), block);
	block_pool_resize(&pool, block, 33, 0);
	block_pool_finish(&pool);
}

int main(void)
{
	const struct CMUnitTest claims[] = {
		cmocka_unit_test(a_walk_of_sizes_keeps_every_byte),
		cmocka_unit_test(a_freed_block_is_taken_again),
	};

	return cmocka_run_group_tests(claims, NULL, NULL);
}
