/* SPDX-License-Identifier: MIT */
/* number.c -- integers by hand, other doubles by trying 15, 16 and 17 digits. */
#include "base/number.h"

#include "base/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

size_t number_integer(int64_t value, char text[NUMBER_SIZE])
{
	char reversed[NUMBER_SIZE];
	uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
	size_t digits = 0, length = 0;

	do {
		reversed[digits++] = (char)('0' + rest % 10);
		rest /= 10;
	} while (rest > 0);
	if (value < 0)
		text[length++] = '-';
	while (digits > 0)
		text[length++] = reversed[--digits];
	text[length] = '\0';
	return length;
}

size_t number_double(double value, char text[NUMBER_SIZE])
{
	check(isfinite(value));
	if (fabs(value) <= 0x1p53 && value == (double)(int64_t)value &&
	    !(value == 0 && signbit(value)))
		return number_integer((int64_t)value, text);
	for (int precision = 15; precision < 17; precision++) {
		snprintf(text, NUMBER_SIZE, "%.*g", precision, value);
		if (strtod(text, NULL) == value)
			return strlen(text);
	}
	return (size_t)snprintf(text, NUMBER_SIZE, "%.17g", value);
}
