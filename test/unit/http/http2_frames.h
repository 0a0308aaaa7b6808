/* SPDX-License-Identifier: MIT */
/* http2_frames.h -- for tests: what an HTTP/2 client sends, frame by frame.
 *
 * The preface, empty SETTINGS, then for each stream HEADERS (GET path, all from HPACK's
 * static table or literal) and perhaps RST_STREAM.
 */
#ifndef TEST_HTTP2_FRAMES_H
#define TEST_HTTP2_FRAMES_H

#include "base/buf.h"

static inline void http2_begin(struct buf *out)
{
	buf_append(out, SLICE("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
	buf_append(out, SLICE("\0\0\0\4\0\0\0\0\0"));
}

static inline void http2_frame(struct buf *out, unsigned type, unsigned flags,
			       unsigned stream, struct slice payload)
{
	const char head[9] = {
		0,
		(char)(payload.size >> 8),
		(char)payload.size,
		(char)type,
		(char)flags,
		(char)(stream >> 24),
		(char)(stream >> 16),
		(char)(stream >> 8),
		(char)stream,
	};

	buf_append(out, slice_of(head, 9));
	buf_append(out, payload);
}

static inline void http2_get(struct buf *out, unsigned stream, const char *path)
{
	struct buf block = { 0 };

	buf_append(&block, SLICE("\x82\x86")); /* :method GET, :scheme http */
	buf_append(&block, SLICE("\x04")); /* :path, literal */
	buf_append_byte(&block, (char)strlen(path));
	buf_append(&block, slice_text(path));
	buf_append(&block, SLICE("\x01\x01"
				 "a")); /* :authority a */
	http2_frame(out, 1, 5, stream, buf_slice(&block));
	buf_finish(&block);
}

static inline void http2_reset(struct buf *out, unsigned stream)
{
	http2_frame(out, 3, 0, stream, SLICE("\0\0\0\x08"));
}

#endif
