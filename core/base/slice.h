/* SPDX-License-Identifier: MIT */
/* slice.h -- bytes somebody else owns, with their length.
 *
 * A slice borrows. How long it may be kept is said where it is handed over. It may hold
 * any byte, NUL included; nothing in it is terminated.
 */
#ifndef BASE_SLICE_H
#define BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct slice {
	const char *at;
	size_t size;
};

/* A slice of a string literal. */
#define SLICE(literal) ((struct slice){ "" literal, sizeof(literal) - 1 })

/* For printf: "%.*s", SLICE_PRINT(s). */
#define SLICE_PRINT(s) (int)(s).size, (s).at

static inline struct slice slice_of(const char *at, size_t size)
{
	return (struct slice){ at, size };
}

/* A slice of a terminated string; NULL is the empty slice. */
static inline struct slice slice_text(const char *text)
{
	return (struct slice){ text, text ? strlen(text) : 0 };
}

static inline bool slice_equal(struct slice a, struct slice b)
{
	return a.size == b.size && (a.size == 0 || memcmp(a.at, b.at, a.size) == 0);
}

/* ASCII letters compare without case. */
bool slice_equal_nocase(struct slice a, struct slice b);

bool slice_starts_with(struct slice s, struct slice prefix);
bool slice_ends_with(struct slice s, struct slice suffix);

/* Takes spaces and tabs off both ends. */
struct slice slice_trim(struct slice s);

/* Cuts the text before the first separator off *rest into *part, and the separator with
 * it. False when *rest is spent (its at is NULL then). "a,,b" gives "a", "", "b". */
bool slice_cut(struct slice *rest, char separator, struct slice *part);

/* Decimal digits only, the whole slice, no overflow. */
bool slice_to_uint(struct slice s, unsigned long long *value);

#endif
