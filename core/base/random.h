/* SPDX-License-Identifier: MIT */
/* random.h -- randomness as a value, seeded by whoever makes it.
 *
 * struct random (xoshiro256**) is fast and good enough for trace ids, jitter and
 * sampling. It is not for secrets: those come from random_secure.
 */
#ifndef BASE_RANDOM_H
#define BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

struct random {
	uint64_t state[4];
};

/* The same seed gives the same sequence. */
void random_init(struct random *random, uint64_t seed);

/* Seeded by the kernel. */
void random_init_secure(struct random *random);

uint64_t random_next(struct random *random);
void random_fill(struct random *random, void *memory, size_t size);

/* From 0 to below 1. */
double random_unit(struct random *random);

/* From 0 to limit - 1; limit must not be 0. */
uint64_t random_below(struct random *random, uint64_t limit);

/* Bytes from the kernel (getrandom). */
void random_secure(void *memory, size_t size);

#endif
