/* SPDX-License-Identifier: MIT */
/* check.c -- the two ways a process ends by itself: a bug, and no memory. */
#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void check_failed(const char *condition, const char *file, int line)
{
	fprintf(stderr, "check failed: %s (%s:%d)\n", condition, file, line);
	abort();
}

void *mem_zeroed(size_t count, size_t size)
{
	void *memory = calloc(count ? count : 1, size ? size : 1);

	check(memory != NULL);
	return memory;
}

void *mem_resize(void *memory, size_t size)
{
	void *resized = realloc(memory, size ? size : 1);

	check(resized != NULL);
	return resized;
}

void *mem_copy(const void *memory, size_t size)
{
	char *copy = mem_resize(NULL, size + 1);

	if (size > 0)
		memcpy(copy, memory, size);
	copy[size] = '\0';
	return copy;
}
