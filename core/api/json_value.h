/* SPDX-License-Identifier: MIT */
/* json_value.h -- Lua values as JSON text (json_value.c) and back (lua_json.c).
 *
 * Writing is ours: integers exact, keys sorted, so that the same value is always the same
 * text; depth, number of values and size bounded, so that cycles and shared tables end.
 * Reading is lua-cjson's, after json_scan has looked at the text.
 *
 *     table with json.array's metatable      [..]   also when empty
 *     table whose keys are 1 to n            [..]
 *     table whose keys are texts, or empty   {..}
 *     anything between: refused, naming the key
 *
 * Decoded arrays are marked; members that are null are absent; a null inside an array is
 * refused, because a Lua array cannot hold it.
 */
#ifndef API_JSON_VALUE_H
#define API_JSON_VALUE_H

#include "base/buf.h"
#include "base/fault.h"

struct lua_State;

#define JSON_DEPTH_MAX 32
#define JSON_VALUES_MAX 200000
#define JSON_SIZE_MAX (8u << 20)

/* Appends the value at index. Never raises; false, with out as it was, when it cannot be
 * written (a function, too deep, too large). */
bool json_value_write(struct lua_State *L, int index, struct buf *out, struct fault *why);

/* The same with "[redacted]" for the members whose key is hidden. */
typedef bool json_hidden_fn(struct slice key);
bool json_value_write_hiding(struct lua_State *L, int index, json_hidden_fn *hidden,
			     struct buf *out, struct fault *why);

/* Pushes the value; a text that is null pushes nil. False (nothing pushed) when the text
 * is bad. Never raises; not charged against the task's memory while it runs. */
bool json_value_push(struct lua_State *L, struct slice text, struct fault *why);

/* The key of the metatable of arrays in the registry, by address; set by api_open_json.
 */
extern const char json_array_key[];

#endif
