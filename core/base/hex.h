/* SPDX-License-Identifier: MIT */
/* hex.h -- bytes as lower-case hexadecimal digits and back. */
#ifndef BASE_HEX_H
#define BASE_HEX_H

#include "base/slice.h"

#include <stdint.h>

/* Writes 2 * size digits and a NUL. */
void hex_encode(const void *bytes, size_t size, char *text);

/* Reads text.size / 2 bytes. False, with bytes partly written, when a digit is not 0-9 or
 * a-f or their number is odd: capitals are refused too. */
bool hex_decode(struct slice text, uint8_t *bytes);

#endif
