/* SPDX-License-Identifier: MIT */
/* Hot path: every allocation of a script. Budget: 5 ns for a small block that is kept. */
#include "script/block_pool.h"

#include "base/check.h"

#include <stdlib.h>
#include <string.h>

static inline size_t class_of(size_t size)
{
	return (size - 1) / BLOCK_STEP;
}

static void *take(struct block_pool *pool, size_t size)
{
	size_t class = class_of(size);
	void *block;

	if (size > BLOCK_SIZE_MAX)
		return mem_resize(NULL, size);
	block = pool->classes[class].first;
	if (!block)
		return mem_resize(NULL, (class + 1) * BLOCK_STEP);
	memcpy(&pool->classes[class].first, block, sizeof(block));
	pool->classes[class].kept -= (class + 1) * BLOCK_STEP;
	return block;
}

static void give(struct block_pool *pool, void *block, size_t size)
{
	size_t class = class_of(size);

	if (size > BLOCK_SIZE_MAX || pool->classes[class].kept >= BLOCK_KEPT_BYTES) {
		free(block);
		return;
	}
	memcpy(block, &pool->classes[class].first, sizeof(block));
	pool->classes[class].first = block;
	pool->classes[class].kept += (class + 1) * BLOCK_STEP;
}

void *block_pool_resize(struct block_pool *pool, void *block, size_t old_size,
			size_t new_size)
{
	void *moved;

	if (new_size == 0) {
		if (block)
			give(pool, block, old_size);
		return NULL;
	}
	if (!block)
		return take(pool, new_size);
	if (old_size > BLOCK_SIZE_MAX && new_size > BLOCK_SIZE_MAX)
		return mem_resize(block, new_size);
	if (old_size <= BLOCK_SIZE_MAX && new_size <= BLOCK_SIZE_MAX &&
	    class_of(old_size) == class_of(new_size))
		return block;
	moved = take(pool, new_size);
	memcpy(moved, block, old_size < new_size ? old_size : new_size);
	give(pool, block, old_size);
	return moved;
}

void block_pool_finish(struct block_pool *pool)
{
	for (size_t i = 0; i < BLOCK_CLASSES; i++)
		while (pool->classes[i].first) {
			void *block = pool->classes[i].first;

			memcpy(&pool->classes[i].first, block, sizeof(block));
			free(block);
		}
}
