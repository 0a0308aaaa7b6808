/* SPDX-License-Identifier: MIT */
/* block_pool.h -- small blocks of one VM, kept when they are freed.
 *
 * A request makes and drops a dozen small tables and strings; taking their memory from a
 * list costs a tenth of malloc and free. Lua says the size when it frees, so a block has
 * no header. Blocks above BLOCK_SIZE_MAX, and those of a class that keeps enough, go to
 * malloc and free.
 *
 * Invariants
 *   - a class keeps at most BLOCK_KEPT_BYTES.
 */
#ifndef SCRIPT_BLOCK_POOL_H
#define SCRIPT_BLOCK_POOL_H

#include <stddef.h>

#define BLOCK_STEP 16
#define BLOCK_SIZE_MAX 512
#define BLOCK_KEPT_BYTES 16384
#define BLOCK_CLASSES (BLOCK_SIZE_MAX / BLOCK_STEP)

struct block_pool { /* zeroed is empty */
	struct {
		void *first; /* each holds the next */
		size_t kept;
	} classes[BLOCK_CLASSES];
};

/* realloc with sizes: old_size 0 takes, new_size 0 gives back (and gives NULL). Aborts
 * when memory runs out. */
void *block_pool_resize(struct block_pool *pool, void *block, size_t old_size,
			size_t new_size);

/* Frees what is kept. */
void block_pool_finish(struct block_pool *pool);

#endif
