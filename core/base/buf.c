/* SPDX-License-Identifier: MIT */
/* buf.c -- bytes that grow by doubling. */
#include "base/buf.h"

#include "base/check.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define CAPACITY_MIN 64

void buf_finish(struct buf *buf)
{
	free(buf->at);
	*buf = (struct buf){ 0 };
}

char *buf_reserve_slow(struct buf *buf, size_t more)
{
	size_t capacity = buf->capacity ? buf->capacity : CAPACITY_MIN;

	check(more <= SIZE_MAX / 2 - buf->size);
	while (capacity - buf->size < more)
		capacity *= 2;
	buf->at = mem_resize(buf->at, capacity);
	buf->capacity = capacity;
	return buf->at + buf->size;
}

void buf_printf(struct buf *buf, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	buf_vprintf(buf, format, args);
	va_end(args);
}

void buf_vprintf(struct buf *buf, const char *format, va_list args)
{
	va_list again;
	size_t room;
	int length;

	va_copy(again, args);
	buf_reserve(buf, 1);
	room = buf->capacity - buf->size;
	length = vsnprintf(buf->at + buf->size, room, format, args);
	check(length >= 0);
	if ((size_t)length >= room) {
		buf_reserve(buf, (size_t)length + 1);
		vsnprintf(buf->at + buf->size, (size_t)length + 1, format, again);
	}
	va_end(again);
	buf->size += (size_t)length;
}

const char *buf_text(struct buf *buf)
{
	*buf_reserve(buf, 1) = '\0';
	return buf->at;
}

void buf_consume(struct buf *buf, size_t count)
{
	check(count <= buf->size);
	if (count == 0)
		return;
	buf->size -= count;
	memmove(buf->at, buf->at + count, buf->size);
}
