/* SPDX-License-Identifier: MIT */
/* buf.h -- bytes that grow.
 *
 * A zeroed struct buf is a valid empty one. Memory exhaustion aborts (see check.h); a
 * bound on the size is the caller's to keep.
 *
 * Invariants
 *   - size <= capacity; at is NULL only when capacity is 0.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/slice.h"

#include <stdarg.h>

struct buf {
	char *at;
	size_t size;
	size_t capacity;
};

/* Frees the memory and zeroes the struct. */
void buf_finish(struct buf *buf);

/* buf_reserve when there is no room yet. */
char *buf_reserve_slow(struct buf *buf, size_t more);

/* Room for `more` bytes beyond size; gives where they go. The caller adds to size what it
 * wrote. */
static inline char *buf_reserve(struct buf *buf, size_t more)
{
	if (__builtin_expect(!buf->at || buf->capacity - buf->size < more, 0))
		return buf_reserve_slow(buf, more);
	return buf->at + buf->size;
}

/* Copies. */
static inline void buf_append(struct buf *buf, struct slice s)
{
	if (s.size == 0)
		return;
	memcpy(buf_reserve(buf, s.size), s.at, s.size);
	buf->size += s.size;
}

static inline void buf_append_byte(struct buf *buf, char byte)
{
	*buf_reserve(buf, 1) = byte;
	buf->size++;
}

void buf_printf(struct buf *buf, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void buf_vprintf(struct buf *buf, const char *format, va_list args);

/* Terminates with a NUL that is not counted in size; gives the text, borrowed until the
 * next change. */
const char *buf_text(struct buf *buf);

/* Drops the first count bytes. */
void buf_consume(struct buf *buf, size_t count);

static inline void buf_reset(struct buf *buf)
{
	buf->size = 0;
}

/* Borrowed until the next change. */
static inline struct slice buf_slice(const struct buf *buf)
{
	return (struct slice){ buf->at, buf->size };
}

#endif
