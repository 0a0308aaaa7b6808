/* SPDX-License-Identifier: MIT */
/* digest.h -- a number that differs when bytes do, most of the time: FNV-1a, 64 bits. For
 * tables and for noticing changes; nobody is kept from making two texts collide. */
#ifndef BASE_DIGEST_H
#define BASE_DIGEST_H

#include "base/slice.h"

#include <stdint.h>

#define DIGEST_START 0xcbf29ce484222325u

static inline uint64_t digest_add(uint64_t digest, const void *bytes, size_t size)
{
	const uint8_t *at = bytes;

	for (size_t i = 0; i < size; i++)
		digest = (digest ^ at[i]) * 0x100000001b3u;
	return digest;
}

#endif
