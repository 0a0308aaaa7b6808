/* SPDX-License-Identifier: MIT */
/* slice.c -- comparing and cutting borrowed bytes; nothing is copied. */
#include "base/slice.h"

#include <limits.h>

static char ascii_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

bool slice_equal_nocase(struct slice a, struct slice b)
{
	if (a.size != b.size)
		return false;
	for (size_t i = 0; i < a.size; i++)
		if (ascii_lower(a.at[i]) != ascii_lower(b.at[i]))
			return false;
	return true;
}

bool slice_starts_with(struct slice s, struct slice prefix)
{
	return s.size >= prefix.size &&
	       slice_equal((struct slice){ s.at, prefix.size }, prefix);
}

bool slice_ends_with(struct slice s, struct slice suffix)
{
	return s.size >= suffix.size &&
	       slice_equal((struct slice){ s.at + s.size - suffix.size, suffix.size },
			   suffix);
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

struct slice slice_trim(struct slice s)
{
	while (s.size > 0 && is_blank(s.at[0])) {
		s.at++;
		s.size--;
	}
	while (s.size > 0 && is_blank(s.at[s.size - 1]))
		s.size--;
	return s;
}

bool slice_cut(struct slice *rest, char separator, struct slice *part)
{
	const char *found;

	if (rest->at == NULL)
		return false;
	found = rest->size > 0 ? memchr(rest->at, separator, rest->size) : NULL;
	if (found == NULL) {
		*part = *rest;
		*rest = (struct slice){ NULL, 0 };
		return true;
	}
	*part = (struct slice){ rest->at, (size_t)(found - rest->at) };
	rest->size -= part->size + 1;
	rest->at = found + 1;
	return true;
}

bool slice_to_uint(struct slice s, unsigned long long *value)
{
	unsigned long long sum = 0;

	if (s.size == 0)
		return false;
	for (size_t i = 0; i < s.size; i++) {
		unsigned digit = (unsigned)(unsigned char)s.at[i] - '0';

		if (digit > 9 || sum > (ULLONG_MAX - digit) / 10)
			return false;
		sum = sum * 10 + digit;
	}
	*value = sum;
	return true;
}
