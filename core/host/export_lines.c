/* SPDX-License-Identifier: MIT */
/* export_lines.c -- poll, then write no more than the descriptor surely takes. */
#include "host/export_lines.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

/* A pipe that polls writable has room for PIPE_BUF bytes; a file takes all. */
static size_t piece_size(const struct export_lines *lines, struct slice left)
{
	struct stat about;
	const char *end;

	if (left.size <= PIPE_BUF ||
	    (fstat(lines->fd, &about) == 0 && S_ISREG(about.st_mode)))
		return left.size;
	end = memrchr(left.at, '\n', PIPE_BUF);
	return end ? (size_t)(end - left.at) + 1 : PIPE_BUF;
}

/* Gives how many bytes are done with; 0: not now. */
static size_t write_piece(struct export_lines *lines, struct slice left, int wait_ms)
{
	struct pollfd ready = { .fd = lines->fd, .events = POLLOUT };
	ssize_t size;

	if (poll(&ready, 1, wait_ms) <= 0)
		return 0;
	size = write(lines->fd, left.at, piece_size(lines, left));
	if (size >= 0)
		return (size_t)size;
	if (errno == EINTR || errno == EAGAIN)
		return 0;
	/* A full disk may have room again later; everything else does not come back. */
	lines->lost = errno != ENOSPC && errno != EDQUOT;
	return left.size;
}

bool export_lines_write(struct export_lines *lines, int wait_ms)
{
	size_t at = 0;

	while (at < lines->pending.size && !lines->lost) {
		size_t size = write_piece(
			lines, slice_of(lines->pending.at + at, lines->pending.size - at),
			wait_ms);

		if (size == 0)
			break;
		at += size;
	}
	if (lines->lost)
		at = lines->pending.size;
	buf_consume(&lines->pending, at);
	return lines->pending.size == 0;
}

void export_lines_finish(struct export_lines *lines)
{
	buf_finish(&lines->pending);
}
