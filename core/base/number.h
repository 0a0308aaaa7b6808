/* SPDX-License-Identifier: MIT */
/* number.h -- numbers as text, the same in JSON, Prometheus and log lines.
 *
 * A double is written in its shortest form that reads back the same: whole numbers up to
 * 2^53 plain ("1500"), the rest as %g does ("0.005", "1e+20"). Subnormal ones keep 15
 * digits even where fewer would do. NaN and infinities have no form here; each format has
 * its own words for them.
 */
#ifndef BASE_NUMBER_H
#define BASE_NUMBER_H

#include <stddef.h>
#include <stdint.h>

#define NUMBER_SIZE 32 /* of any text written here, its NUL included */

/* Both terminate the text and give its length. */
size_t number_integer(int64_t value, char text[NUMBER_SIZE]);
size_t number_double(double value, char text[NUMBER_SIZE]); /* finite */

#endif
