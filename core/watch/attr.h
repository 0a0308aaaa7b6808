/* SPDX-License-Identifier: MIT */
/* attr.h -- one key and value, as spans and log records carry them (OTLP KeyValue).
 *
 * Borrows its texts: whoever records an attribute copies it.
 */
#ifndef WATCH_ATTR_H
#define WATCH_ATTR_H

#include "base/slice.h"

#include <stdint.h>

enum attr_type { ATTR_text, ATTR_integer, ATTR_double, ATTR_bool };

struct attr {
	struct slice key;
	enum attr_type type;
	union {
		struct slice text;
		int64_t integer;
		double number;
		bool boolean;
	};
};

static inline struct attr attr_text(struct slice key, struct slice value)
{
	return (struct attr){ .key = key, .type = ATTR_text, .text = value };
}

static inline struct attr attr_integer(struct slice key, int64_t value)
{
	return (struct attr){ .key = key, .type = ATTR_integer, .integer = value };
}

static inline struct attr attr_double(struct slice key, double value)
{
	return (struct attr){ .key = key, .type = ATTR_double, .number = value };
}

static inline struct attr attr_bool(struct slice key, bool value)
{
	return (struct attr){ .key = key, .type = ATTR_bool, .boolean = value };
}

#endif
