/* SPDX-License-Identifier: MIT */
/* random.c -- xoshiro256** 1.0 by Blackman and Vigna, seeded through splitmix64. */
#include "base/random.h"

#include "base/check.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

static uint64_t rotate_left(uint64_t x, int by)
{
	return (x << by) | (x >> (64 - by));
}

void random_init(struct random *random, uint64_t seed)
{
	for (int i = 0; i < 4; i++) {
		uint64_t z = seed += 0x9e3779b97f4a7c15u;

		z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
		z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
		random->state[i] = z ^ (z >> 31);
	}
}

void random_init_secure(struct random *random)
{
	do
		random_secure(random->state, sizeof(random->state));
	while ((random->state[0] | random->state[1] | random->state[2] |
		random->state[3]) == 0);
}

uint64_t random_next(struct random *random)
{
	uint64_t *s = random->state;
	uint64_t result = rotate_left(s[1] * 5, 7) * 9;
	uint64_t t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotate_left(s[3], 45);
	return result;
}

void random_fill(struct random *random, void *memory, size_t size)
{
	char *at = memory;

	while (size > 0) {
		uint64_t next = random_next(random);
		size_t part = size < sizeof(next) ? size : sizeof(next);

		memcpy(at, &next, part);
		at += part;
		size -= part;
	}
}

double random_unit(struct random *random)
{
	return (double)(random_next(random) >> 11) * 0x1p-53;
}

uint64_t random_below(struct random *random, uint64_t limit)
{
	uint64_t uneven, next;

	check(limit != 0);
	/* The first 2^64 mod limit values would make the small results likelier. */
	uneven = (0 - limit) % limit;
	do
		next = random_next(random);
	while (next < uneven);
	return next % limit;
}

void random_secure(void *memory, size_t size)
{
	char *at = memory;

	while (size > 0) {
		ssize_t got = getrandom(at, size, 0);

		if (got < 0) {
			check(errno == EINTR);
			continue;
		}
		at += got;
		size -= (size_t)got;
	}
}
