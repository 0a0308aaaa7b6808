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

#define NANO 1e9
#define NANO_EXACT 4e6 /* below it a double's billionths fit 53 bits */

/* A value with at most nine decimals, as durations in seconds are: without printf. 0 when
 * it is not one. */
static size_t number_short(double value, char text[NUMBER_SIZE])
{
	double scaled = value * NANO;
	int64_t billionths = (int64_t)(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
	int64_t whole = billionths / 1000000000, rest = billionths % 1000000000;
	size_t length, digits = 9;

	if (billionths == 0 || (double)billionths / NANO != value)
		return 0;
	length = number_integer(whole, text);
	if (billionths < 0 && whole == 0) {
		memmove(text + 1, text, length);
		text[0] = '-';
		length++;
	}
	rest = rest < 0 ? -rest : rest;
	while (rest % 10 == 0) {
		rest /= 10;
		digits--;
	}
	text[length] = '.';
	for (size_t i = digits; i > 0; i--) {
		text[length + i] = (char)('0' + rest % 10);
		rest /= 10;
	}
	text[length + 1 + digits] = '\0';
	return length + 1 + digits;
}

size_t number_double(double value, char text[NUMBER_SIZE])
{
	check(isfinite(value));
	if (fabs(value) <= 0x1p53 && value == (double)(int64_t)value &&
	    !(value == 0 && signbit(value)))
		return number_integer((int64_t)value, text);
	if (fabs(value) < NANO_EXACT && fabs(value) >= 1e-7) {
		size_t length = number_short(value, text);

		if (length)
			return length;
	}
	for (int precision = 15; precision < 17; precision++) {
		snprintf(text, NUMBER_SIZE, "%.*g", precision, value);
		if (strtod(text, NULL) == value)
			return strlen(text);
	}
	return (size_t)snprintf(text, NUMBER_SIZE, "%.17g", value);
}
