/* SPDX-License-Identifier: MIT */
/* strings_result.h -- a text that grows inside a binding, up to STRINGS_RESULT_MAX.
 *
 * It lies in the C frame as long as it is small, and then in a userdata in a slot of the
 * Lua stack: so nothing leaks when something raises meanwhile.
 */
#ifndef SCRIPT_STRINGS_RESULT_H
#define SCRIPT_STRINGS_RESULT_H

#include <stddef.h>
#include <string.h>

struct lua_State;

struct strings_result {
	struct lua_State *L;
	const char *name; /* of the function, for its error */
	int slot; /* of the stack; absolute */
	char *at;
	size_t size;
	size_t capacity;
	char bytes[1024];
};

/* Borrows name. The slot is its own until the end. */
static inline void strings_result_init(struct strings_result *result, struct lua_State *L,
				       const char *name, int slot)
{
	result->L = L;
	result->name = name;
	result->slot = slot;
	result->at = result->bytes;
	result->size = 0;
	result->capacity = sizeof(result->bytes);
}

/* Raises when the result gets too large. */
void strings_result_grow(struct strings_result *result, size_t more);

/* Copies. May raise. */
static inline void strings_result_append(struct strings_result *result, const char *at,
					 size_t size)
{
	if (result->capacity - result->size < size)
		strings_result_grow(result, size);
	memcpy(result->at + result->size, at, size);
	result->size += size;
}

void strings_result_push(const struct strings_result *result);

#endif
