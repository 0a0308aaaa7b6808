/* SPDX-License-Identifier: MIT */
/* Hot path: once per HTTP/1 request. Budget: 150 ns for a head of ten lines (held by
 * test/bench/http_path_bench.c). Lines are told apart by their first letter. */
#include "http/server_framing.h"

struct framing {
	unsigned hosts;
	unsigned lengths;
	unsigned encodings;
};

/* False, which is SERVER_FRAMING_bad too. */
static bool framing_bad(struct fault *why, const char *what)
{
	return fault_set_status(why, FAULT_bad_input, 400, "%s", what);
}

/* Whether the line is "name:"; a blank between the two is the worst of both. */
static bool line_is(struct slice line, struct slice name, bool *blank)
{
	char after;

	if (line.size <= name.size ||
	    !slice_equal_nocase(slice_of(line.at, name.size), name))
		return false;
	after = line.at[name.size];
	*blank |= after == ' ' || after == '\t';
	return after == ':' || *blank;
}

static bool framing_line(struct framing *framing, struct slice line, struct fault *why)
{
	bool blank = false;

	switch (line.at[0] | 0x20) {
	case 'h':
		framing->hosts += line_is(line, SLICE("host"), &blank);
		break;
	case 'c':
		framing->lengths += line_is(line, SLICE("content-length"), &blank);
		break;
	case 't':
		framing->encodings += line_is(line, SLICE("transfer-encoding"), &blank);
		break;
	case ' ': /* and NUL, which the parser has refused */
	case '\t' | 0x20:
		return framing_bad(why, "a header is folded over two lines");
	}
	return !blank || framing_bad(why, "a blank before the colon of a header");
}

static bool framing_judge(const struct framing *framing, unsigned minor,
			  struct fault *why)
{
	if (framing->lengths && framing->encodings)
		return framing_bad(why, "both Content-Length and Transfer-Encoding");
	if (framing->lengths > 1)
		return framing_bad(why, "more than one Content-Length");
	if (framing->encodings > 1)
		return framing_bad(why, "more than one Transfer-Encoding");
	if (framing->encodings && minor == 0)
		return framing_bad(why, "Transfer-Encoding in HTTP/1.0");
	if (framing->hosts > 1)
		return framing_bad(why, "more than one Host");
	if (framing->hosts == 0 && minor > 0)
		return framing_bad(why, "no Host");
	return true;
}

enum server_framing server_framing_check(struct slice head, unsigned minor,
					 struct fault *why)
{
	struct framing framing = { 0 };
	const char *at = head.at, *end = head.at + head.size, *stop;
	bool request_line = false;

	for (; at < end && (stop = memchr(at, '\n', (size_t)(end - at))); at = stop + 1) {
		struct slice line = slice_of(at, (size_t)(stop - at));

		if (line.size == 0 || line.at[--line.size] != '\r')
			return framing_bad(why, "a line ends without CR");
		if (!request_line)
			request_line = line.size > 0;
		else if (line.size == 0)
			break;
		else if (!framing_line(&framing, line, why))
			return SERVER_FRAMING_bad;
	}
	if (!framing_judge(&framing, minor, why))
		return SERVER_FRAMING_bad;
	return framing.encodings ? SERVER_FRAMING_chunked : SERVER_FRAMING_plain;
}
