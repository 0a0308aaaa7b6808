/* SPDX-License-Identifier: MIT */
/* utf8.c -- the table of RFC 3629, section 4, as code. */
#include "base/utf8.h"

#include <stdint.h>

static bool is_continuation(unsigned char byte)
{
	return (byte & 0xC0) == 0x80;
}

size_t utf8_character(struct slice text)
{
	const unsigned char *at = (const unsigned char *)text.at;
	unsigned char low = 0x80, high = 0xBF;
	size_t size;

	if (at[0] < 0x80)
		return 1;
	if (at[0] < 0xC2 || at[0] > 0xF4)
		return 0;
	size = at[0] < 0xE0 ? 2 : at[0] < 0xF0 ? 3 : 4;
	if (text.size < size)
		return 0;
	if (at[0] == 0xE0)
		low = 0xA0;
	else if (at[0] == 0xED)
		high = 0x9F;
	else if (at[0] == 0xF0)
		low = 0x90;
	else if (at[0] == 0xF4)
		high = 0x8F;
	if (at[1] < low || at[1] > high)
		return 0;
	for (size_t i = 2; i < size; i++)
		if (!is_continuation(at[i]))
			return 0;
	return size;
}

/* How many bytes from the start are ASCII, eight at a time: most text is. */
static size_t ascii_prefix(struct slice text)
{
	size_t i = 0;
	uint64_t eight;

	for (; i + sizeof(eight) <= text.size; i += sizeof(eight)) {
		memcpy(&eight, text.at + i, sizeof(eight));
		if (eight & 0x8080808080808080u)
			break;
	}
	while (i < text.size && (unsigned char)text.at[i] < 0x80)
		i++;
	return i;
}

size_t utf8_valid(struct slice text)
{
	size_t i = 0;

	if (text.size == 0) /* at may be NULL */
		return 0;
	for (;;) {
		size_t character;

		i += ascii_prefix((struct slice){ text.at + i, text.size - i });
		if (i == text.size)
			return i;
		character = utf8_character((struct slice){ text.at + i, text.size - i });
		if (character == 0)
			return i;
		i += character;
	}
}

struct slice utf8_cut(struct slice text, size_t size_max)
{
	size_t size = size_max;

	if (text.size <= size_max)
		return text;
	/* At most three continuation bytes follow a first one; more is not UTF-8 anyway.
	 */
	for (int i = 0;
	     i < 3 && size > 0 && is_continuation((unsigned char)text.at[size]); i++)
		size--;
	if (is_continuation((unsigned char)text.at[size]))
		size = size_max;
	return (struct slice){ text.at, size };
}

size_t utf8_mend(struct slice text, char *out, size_t size_max)
{
	size_t written = 0;

	for (;;) {
		struct slice fits = utf8_cut(text, size_max - written);
		size_t valid = utf8_valid(fits);

		if (valid > 0)
			memcpy(out + written, text.at, valid);
		written += valid;
		if (valid == text.size || (valid == fits.size && fits.size < text.size) ||
		    size_max - written < 3)
			return written;
		memcpy(out + written, UTF8_REPLACEMENT, 3);
		written += 3;
		text.at += valid + 1;
		text.size -= valid + 1;
	}
}
