/* SPDX-License-Identifier: MIT */
/* check.h -- assertions that are always on, and memory that is always there.
 *
 * check() is for programmer errors only, never for input. A failed check writes one line
 * to standard error and aborts; the supervisor starts the process again.
 */
#ifndef BASE_CHECK_H
#define BASE_CHECK_H

#include <stddef.h>

#define check(condition)                                                                 \
	((condition) ? (void)0 : check_failed(#condition, __FILE__, __LINE__))

__attribute__((noreturn, cold)) void check_failed(const char *condition, const char *file,
						  int line);

/* Like calloc, realloc and strdup, but they abort when memory runs out. Freed with
 * free(). */
void *mem_zeroed(size_t count, size_t size);
void *mem_resize(void *memory, size_t size);
void *mem_copy(const void *memory, size_t size); /* adds a NUL behind the copy */

#endif
