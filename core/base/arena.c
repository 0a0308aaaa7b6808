/* SPDX-License-Identifier: MIT */
/* arena.c -- blocks that are filled from the front and freed together. */
#include "base/arena.h"

#include "base/check.h"

#include <stdint.h>
#include <stdlib.h>

#define BLOCK_SIZE 4096

struct arena_block {
	struct arena_block *next;
	size_t size; /* of memory */
	size_t used;
	_Alignas(max_align_t) char memory[];
};

static struct arena_block *block_create(size_t size)
{
	struct arena_block *block = mem_resize(NULL, sizeof(*block) + size);

	block->next = NULL;
	block->size = size;
	block->used = 0;
	return block;
}

void *arena_alloc(struct arena *arena, size_t size)
{
	struct arena_block *block = arena->blocks;
	void *memory;

	check(size < SIZE_MAX / 2);
	size = (size + _Alignof(max_align_t) - 1) & ~(_Alignof(max_align_t) - 1);
	if (block == NULL || block->size - block->used < size) {
		size_t usual = BLOCK_SIZE - sizeof(*block);
		struct arena_block *fresh = block_create(size > usual ? size : usual);

		/* A big one goes behind the first block, which may still have room. */
		if (block != NULL && size > usual / 2) {
			fresh->next = block->next;
			block->next = fresh;
		} else {
			fresh->next = block;
			arena->blocks = fresh;
		}
		block = fresh;
	}
	memory = block->memory + block->used;
	block->used += size;
	return memory;
}

struct slice arena_copy(struct arena *arena, struct slice s)
{
	char *copy = arena_alloc(arena, s.size + 1);

	if (s.size > 0)
		memcpy(copy, s.at, s.size);
	copy[s.size] = '\0';
	return (struct slice){ copy, s.size };
}

void arena_finish(struct arena *arena)
{
	struct arena_block *block = arena->blocks;

	while (block) {
		struct arena_block *next = block->next;

		free(block);
		block = next;
	}
	arena->blocks = NULL;
}
