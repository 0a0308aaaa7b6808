/* SPDX-License-Identifier: MIT */
/* json_value.c -- the writing half of json_value.h. */
#include "api/json_value.h"

#include "base/check.h"
#include "base/json.h"
#include "script/vm.h"

#include <lauxlib.h>
#include <math.h>
#include <stdlib.h>

#define KEYS_AT_FIRST 64
#define INSERTION_MAX 16
#define ARRAY_METATABLE 1 /* stack index inside write_protected */
#define VALUE 2

const char json_array_key[] = "json array";

struct writer {
	lua_State *L;
	struct json json;
	struct fault *why;
	json_hidden_fn *hidden;
	bool written;
	unsigned depth;
	size_t values;
	size_t size_before; /* of json.out */
	struct slice *keys; /* of the open objects, outermost first; the tables keep them
			       alive */
	size_t key_count;
	size_t key_capacity;
	struct slice *first_keys; /* KEYS_AT_FIRST, on the stack */
};

/* What the keys of a table make of it. */
struct kind {
	bool array;
	size_t count; /* elements, or names in writer->keys */
};

static bool write_value(struct writer *w, int index);

static void key_add(struct writer *w, struct slice key)
{
	if (w->key_count == w->key_capacity) {
		struct slice *grown = w->keys == w->first_keys ? NULL : w->keys;

		w->key_capacity *= 2;
		grown = mem_resize(grown, w->key_capacity * sizeof(*grown));
		if (w->keys == w->first_keys)
			memcpy(grown, w->first_keys, w->key_count * sizeof(*grown));
		w->keys = grown;
	}
	w->keys[w->key_count++] = key;
}

/* --- arrays or objects ------------------------------------------------------------ */

static bool is_marked(lua_State *L, int index)
{
	bool marked;

	if (!lua_getmetatable(L, index))
		return false;
	marked = lua_rawequal(L, -1, ARRAY_METATABLE);
	lua_pop(L, 1);
	return marked;
}

static bool mixed(struct writer *w, size_t first_key)
{
	struct slice key = w->keys[first_key];

	w->key_count = first_key;
	return fault_set(w->why, FAULT_bad_input,
			 "JSON: the key '%.*s' stands in a table with array positions",
			 SLICE_PRINT(slice_of(key.at, key.size < 64 ? key.size : 64)));
}

/* Its names go to the end of w->keys. */
static bool look_at_keys(struct writer *w, int table, struct kind *kind)
{
	lua_State *L = w->L;
	size_t first_key = w->key_count, positions = 0;
	double last = 0;

	kind->array = is_marked(L, table);
	lua_pushnil(L);
	while (lua_next(L, table)) {
		lua_pop(L, 1);
		if (lua_type(L, -1) == LUA_TSTRING) {
			struct slice key;

			key.at = lua_tolstring(L, -1, &key.size);
			key_add(w, key);
		} else if (lua_type(L, -1) == LUA_TNUMBER) {
			double position = lua_tonumber(L, -1);

			positions++;
			last = fmax(last, position);
			/* One that is no position makes last differ from their number. */
			if (!(position >= 1) || position != floor(position))
				last = INFINITY;
		} else {
			return fault_set(w->why, FAULT_bad_input,
					 "JSON: a key that is a %s",
					 luaL_typename(L, -1));
		}
		if (positions + w->key_count > JSON_VALUES_MAX)
			return fault_set(w->why, FAULT_bad_input,
					 "JSON: more than %d values", JSON_VALUES_MAX);
	}
	kind->array |= positions > 0;
	if (kind->array && w->key_count > first_key)
		return mixed(w, first_key);
	if (last != (double)positions)
		return fault_set(w->why, FAULT_bad_input,
				 "JSON: an array whose positions are not 1 to n");
	kind->count = kind->array ? positions : w->key_count - first_key;
	return true;
}

/* --- writing ---------------------------------------------------------------------- */

static int compare_keys(const void *one, const void *other)
{
	const struct slice *a = one, *b = other;
	size_t common = a->size < b->size ? a->size : b->size;
	int order = common ? memcmp(a->at, b->at, common) : 0;

	return order ? order : (a->size > b->size) - (a->size < b->size);
}

/* By insertion where that is quicker, and it nearly always is. */
static void sort_keys(struct slice *keys, size_t count)
{
	if (count > INSERTION_MAX) {
		qsort(keys, count, sizeof(*keys), compare_keys);
		return;
	}
	for (size_t i = 1; i < count; i++) {
		struct slice key = keys[i];
		size_t at = i;

		for (; at > 0 && compare_keys(&keys[at - 1], &key) > 0; at--)
			keys[at] = keys[at - 1];
		keys[at] = key;
	}
}

static bool write_array(struct writer *w, int table, size_t count)
{
	json_open_array(&w->json);
	for (size_t i = 1; i <= count; i++) {
		lua_rawgeti(w->L, table, (int)i);
		if (!write_value(w, lua_gettop(w->L)))
			return false;
		lua_pop(w->L, 1);
	}
	json_close_array(&w->json);
	return true;
}

static bool write_object(struct writer *w, int table, size_t count)
{
	size_t first = w->key_count - count;

	sort_keys(w->keys + first, count);
	json_open_object(&w->json);
	for (size_t i = first; i < first + count; i++) {
		struct slice key = w->keys[i];

		json_key(&w->json, key);
		if (w->hidden && w->hidden(key)) {
			json_string(&w->json, SLICE("[redacted]"));
			continue;
		}
		lua_pushlstring(w->L, key.at, key.size);
		lua_rawget(w->L, table);
		if (!write_value(w, lua_gettop(w->L)))
			return false;
		lua_pop(w->L, 1);
	}
	w->key_count = first;
	json_close_object(&w->json);
	return true;
}

static bool write_table(struct writer *w, int table)
{
	struct kind kind = { 0 };
	bool written;

	if (w->depth == JSON_DEPTH_MAX)
		return fault_set(w->why, FAULT_bad_input,
				 "JSON: nested deeper than %d (or a table inside itself)",
				 JSON_DEPTH_MAX);
	if (!look_at_keys(w, table, &kind))
		return false;
	w->depth++;
	written = kind.array ? write_array(w, table, kind.count)
			     : write_object(w, table, kind.count);
	w->depth--;
	return written;
}

static bool write_number(struct writer *w, double number)
{
	if (!isfinite(number))
		return fault_set(w->why, FAULT_bad_input,
				 "JSON: a number that is not finite");
	json_double(&w->json, number);
	return true;
}

static bool write_string(struct writer *w, int index)
{
	struct slice text;

	text.at = lua_tolstring(w->L, index, &text.size);
	if (text.size <= JSON_SIZE_MAX)
		json_string(&w->json, text);
	return text.size <= JSON_SIZE_MAX ||
	       fault_set(w->why, FAULT_bad_input, "JSON: larger than %u bytes",
			 JSON_SIZE_MAX);
}

static bool write_any(struct writer *w, int index)
{
	switch (lua_type(w->L, index)) {
	case LUA_TNIL:
		json_null(&w->json);
		return true;
	case LUA_TBOOLEAN:
		json_bool(&w->json, lua_toboolean(w->L, index));
		return true;
	case LUA_TNUMBER:
		return write_number(w, lua_tonumber(w->L, index));
	case LUA_TSTRING:
		return write_string(w, index);
	case LUA_TTABLE:
		return write_table(w, index);
	case LUA_TLIGHTUSERDATA:
		if (!lua_touserdata(w->L, index)) {
			json_null(&w->json);
			return true;
		}
		__attribute__((fallthrough));
	default:
		return fault_set(w->why, FAULT_bad_input, "JSON: a %s",
				 luaL_typename(w->L, index));
	}
}

static bool write_value(struct writer *w, int index)
{
	if (++w->values > JSON_VALUES_MAX)
		return fault_set(w->why, FAULT_bad_input, "JSON: more than %d values",
				 JSON_VALUES_MAX);
	if (!write_any(w, index))
		return false;
	if (w->json.out->size - w->size_before > JSON_SIZE_MAX)
		return fault_set(w->why, FAULT_bad_input, "JSON: larger than %u bytes",
				 JSON_SIZE_MAX);
	return true;
}

static int write_protected(lua_State *L)
{
	struct writer *w = lua_touserdata(L, 1);

	luaL_checkstack(L, 4 * JSON_DEPTH_MAX + LUA_MINSTACK, "too many values");
	lua_pushlightuserdata(L, (void *)json_array_key);
	lua_rawget(L, LUA_REGISTRYINDEX);
	lua_replace(L, ARRAY_METATABLE);
	w->written = write_value(w, VALUE);
	return 0;
}

bool json_value_write_hiding(lua_State *L, int index, json_hidden_fn *hidden,
			     struct buf *out, struct fault *why)
{
	struct slice first_keys[KEYS_AT_FIRST];
	struct writer w = { .L = L,
			    .json = json_to(out),
			    .why = why,
			    .hidden = hidden,
			    .size_before = out->size,
			    .keys = first_keys,
			    .first_keys = first_keys,
			    .key_capacity = KEYS_AT_FIRST };
	struct vm *vm = vm_of(L);
	bool before;

	if (index < 0)
		index = lua_gettop(L) + 1 + index;
	before = vm_host_begin(vm);
	lua_pushcfunction(L, write_protected);
	lua_pushlightuserdata(L, &w);
	lua_pushvalue(L, index);
	/* The stack of a script may be full: the only thing that raises here. */
	if (lua_pcall(L, 2, 0, 0)) {
		vm_read_fault(L, -1, why);
		lua_pop(L, 1);
		w.written = false;
	}
	vm_host_end(vm, before);
	if (w.keys != first_keys)
		free(w.keys);
	if (!w.written)
		out->size = w.size_before;
	return w.written;
}

bool json_value_write(lua_State *L, int index, struct buf *out, struct fault *why)
{
	return json_value_write_hiding(L, index, NULL, out, why);
}
