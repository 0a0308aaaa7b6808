/* SPDX-License-Identifier: MIT */
/* utf8.h -- whether bytes are UTF-8 (RFC 3629), and making them so.
 *
 * No overlong forms, no surrogates, nothing above U+10FFFF. A byte that belongs to no
 * character becomes U+FFFD where text is mended.
 */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include "base/slice.h"

#define UTF8_REPLACEMENT "\xEF\xBF\xBD"

/* The length of the character text begins with, 1 to 4; 0 when its first byte begins
 * none. text must not be empty. */
size_t utf8_character(struct slice text);

/* How many bytes from the start are whole, valid characters. */
size_t utf8_valid(struct slice text);

/* The longest beginning of at most size_max bytes that does not end inside a character.
 */
struct slice utf8_cut(struct slice text, size_t size_max);

/* Copies the text, mended, to out, as much as fits into size_max without splitting a
 * character; gives the size of what was written. */
size_t utf8_mend(struct slice text, char *out, size_t size_max);

#endif
