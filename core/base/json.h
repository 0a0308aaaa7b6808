/* SPDX-License-Identifier: MIT */
/* json.h -- writes JSON (RFC 8259) into a buf. It does not read: reading is lua-cjson's
 * work.
 *
 * Commas and colons are put by the writer. Strings are written as valid UTF-8: a bad byte
 * becomes U+FFFD. Integers are exact; a double is its shortest form that reads back the
 * same, NaN and infinities become null.
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include "base/buf.h"

#include <stdint.h>

struct json {
	struct buf *out; /* borrowed */
	bool need_comma;
};

static inline struct json json_to(struct buf *out)
{
	return (struct json){ out, false };
}

void json_open_object(struct json *json);
void json_close_object(struct json *json);
void json_open_array(struct json *json);
void json_close_array(struct json *json);

/* The next value belongs to this key. */
void json_key(struct json *json, struct slice key);

void json_string(struct json *json, struct slice value);
void json_integer(struct json *json, int64_t value);
void json_double(struct json *json, double value);
void json_bool(struct json *json, bool value);
void json_null(struct json *json);

/* Text that is JSON already. */
void json_raw(struct json *json, struct slice text);

#endif
