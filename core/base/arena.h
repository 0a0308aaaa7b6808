/* SPDX-License-Identifier: MIT */
/* arena.h -- memory that is freed all at once.
 *
 * A zeroed struct arena is a valid empty one. Allocations are aligned for any type.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include "base/slice.h"

struct arena {
	struct arena_block *blocks;
};

/* Never NULL; not zeroed. */
void *arena_alloc(struct arena *arena, size_t size);

/* Copies; adds a NUL behind the copy that is not counted. */
struct slice arena_copy(struct arena *arena, struct slice s);

/* Frees everything at once and zeroes the struct. */
void arena_finish(struct arena *arena);

#endif
