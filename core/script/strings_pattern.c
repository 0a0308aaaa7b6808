/* SPDX-License-Identifier: MIT */
/* No C resource is held: a compiled pattern and the result of gsub lie in the C frame, or
 * in a userdata that this frame has on its Lua stack when they are large.
 */
#include "script/strings_pattern.h"

#include "script/pattern.h"
#include "script/strings_result.h"
#include "script/vm.h"

#include <lauxlib.h>
#include <math.h>
#include <stdint.h>

#define CACHE_SIZE 16
#define CACHE_PATTERN_SIZE 1008

static bool is_spent(void *vm)
{
	return vm_spent(vm);
}

static struct pattern_budget budget_of(lua_State *L)
{
	return (struct pattern_budget){ is_spent, vm_of(L), PATTERN_POLL_STEPS };
}

static struct slice check_text(lua_State *L, int index)
{
	size_t size;
	const char *at = luaL_checklstring(L, index, &size);

	return slice_of(at, size);
}

/* The patterns compiled last, by the address of their text, which stays the same while it
 * is kept: Lua has each text once. */
struct cache_entry {
	const char *text; /* kept by upvalue 2 */
	const struct pattern *pattern;
	_Alignas(8) char space[CACHE_PATTERN_SIZE];
};

struct cache {
	struct cache_entry entries[CACHE_SIZE];
};

/* The text is at index. Leaves a userdata on the stack if the pattern is too large for
 * the cache. Borrowed until the next one is compiled. Upvalues: cache, texts. */
static const struct pattern *compile(lua_State *L, int index, struct slice text)
{
	struct cache *cache = lua_touserdata(L, lua_upvalueindex(1));
	uintptr_t address = (uintptr_t)text.at >> 4;
	size_t number = (address ^ address >> 5) % CACHE_SIZE;
	struct cache_entry *entry = &cache->entries[number];
	size_t size;

	if (entry->text == text.at)
		return entry->pattern;
	size = pattern_size(text);
	if (size > sizeof(entry->space))
		return pattern_compile(lua_newuserdata(L, size), text, true);
	lua_pushvalue(L, index);
	lua_rawseti(L, lua_upvalueindex(2), (int)number + 1);
	entry->text = text.at;
	entry->pattern = pattern_compile(entry->space, text, true);
	return entry->pattern;
}

/* A small pattern that nothing replaces: what gsub calls may compile some in turn. */
struct space {
	_Alignas(8) char bytes[512];
};

static const struct pattern *compile_own(lua_State *L, struct space *space,
					 struct slice text)
{
	size_t size = pattern_size(text);
	void *memory =
		size <= sizeof(space->bytes) ? space->bytes : lua_newuserdata(L, size);

	return pattern_compile(memory, text, true);
}

/* False: there is no match. Raises what the other outcomes mean. */
static bool search(lua_State *L, const struct pattern *pattern, struct slice subject,
		   size_t from, struct pattern_budget *budget,
		   struct pattern_match *match)
{
	switch (pattern_search(pattern, subject, from, budget, match)) {
	case PATTERN_matched:
		return true;
	case PATTERN_no:
		break;
	case PATTERN_malformed:
		luaL_error(L, "%s", match->why);
		break;
	case PATTERN_spent:
		vm_raise_spent(L);
		break;
	}
	return false;
}

static void push_capture(lua_State *L, struct slice subject,
			 const struct pattern_match *match, size_t number)
{
	struct slice capture = match->captures[number];

	if (capture.size == PATTERN_POSITION)
		lua_pushinteger(L, capture.at - subject.at + 1);
	else
		lua_pushlstring(L, capture.at, capture.size);
}

/* All captures; gives how many. */
static int push_captures(lua_State *L, struct slice subject,
			 const struct pattern_match *match)
{
	luaL_checkstack(L, (int)match->capture_count, "too many captures");
	for (size_t i = 0; i < match->capture_count; i++)
		push_capture(L, subject, match, i);
	return (int)match->capture_count;
}

/* Or the whole match if there are none. */
static int push_found(lua_State *L, struct slice subject,
		      const struct pattern_match *match)
{
	if (match->capture_count > 0)
		return push_captures(L, subject, match);
	lua_pushlstring(L, match->at, match->size);
	return 1;
}

/* --- find and match --------------------------------------------------------------- */

/* Argument 3, from 1, from the end if negative: as an offset within the subject. */
static size_t read_init(lua_State *L, size_t size)
{
	double init = trunc(luaL_optnumber(L, 3, 1));

	if (init < 0)
		init += (double)size;
	else
		init -= 1;
	return init >= (double)size ? size : init > 0 ? (size_t)init : 0;
}

static bool is_plain(struct slice text)
{
	for (size_t i = 0; i < text.size; i++)
		if (text.at[i] && strchr("^$*+?.([%-", text.at[i]))
			return false;
	return true;
}

static int find_plain(lua_State *L, struct slice subject, size_t from, struct slice text)
{
	const char *at =
		memmem(subject.at + from, subject.size - from, text.at, text.size);

	if (!at) {
		lua_pushnil(L);
		return 1;
	}
	lua_pushinteger(L, at - subject.at + 1);
	lua_pushinteger(L, at - subject.at + (ptrdiff_t)text.size);
	return 2;
}

/* find(text, pattern, [init], [plain]) -> first, last, captures... or nil */
static int l_find(lua_State *L)
{
	struct slice subject = check_text(L, 1);
	struct slice text = check_text(L, 2);
	size_t from = read_init(L, subject.size);
	struct pattern_budget budget = budget_of(L);
	struct pattern_match match;

	if (lua_toboolean(L, 4) || is_plain(text))
		return find_plain(L, subject, from, text);
	if (!search(L, compile(L, 2, text), subject, from, &budget, &match)) {
		lua_pushnil(L);
		return 1;
	}
	lua_pushinteger(L, match.at - subject.at + 1);
	lua_pushinteger(L, match.at - subject.at + (ptrdiff_t)match.size);
	return 2 + push_captures(L, subject, &match);
}

/* match(text, pattern, [init]) -> captures... or the match; or nil */
static int l_match(lua_State *L)
{
	struct slice subject = check_text(L, 1);
	struct slice text = check_text(L, 2);
	size_t from = read_init(L, subject.size);
	struct pattern_budget budget = budget_of(L);
	struct pattern_match match;

	if (!search(L, compile(L, 2, text), subject, from, &budget, &match)) {
		lua_pushnil(L);
		return 1;
	}
	return push_found(L, subject, &match);
}

/* --- gmatch ----------------------------------------------------------------------- */

/* What the iterator keeps, in a userdata; the pattern compiled behind it. */
struct iterator {
	size_t from; /* beyond the subject: it has ended */
	const struct pattern *pattern;
};

/* () -> captures... or the match; or nothing. Upvalues: text, pattern, iterator. */
static int l_gmatch_next(lua_State *L)
{
	struct slice subject = check_text(L, lua_upvalueindex(1));
	struct iterator *iterator = lua_touserdata(L, lua_upvalueindex(3));
	struct pattern_budget budget = budget_of(L);
	struct pattern_match match;

	if (iterator->from > subject.size ||
	    !search(L, iterator->pattern, subject, iterator->from, &budget, &match)) {
		iterator->from = subject.size + 1;
		return 0;
	}
	/* Nothing was taken: go on, all the same. */
	iterator->from = (size_t)(match.at - subject.at) + match.size + (match.size == 0);
	return push_found(L, subject, &match);
}

/* gmatch(text, pattern) -> iterator. A "^" is a character here: as an anchor it would
 * give the same place for ever. */
static int l_gmatch(lua_State *L)
{
	struct slice text;
	struct iterator *iterator;

	luaL_checkstring(L, 1);
	text = check_text(L, 2);
	lua_settop(L, 2);
	iterator = lua_newuserdata(L, sizeof(*iterator) + pattern_size(text));
	iterator->from = 0;
	iterator->pattern = pattern_compile(iterator + 1, text, false);
	lua_pushcclosure(L, l_gmatch_next, 3);
	return 1;
}

/* --- gsub ------------------------------------------------------------------------- */

enum { GSUB_TEXT = 1, GSUB_PATTERN, GSUB_REPLACEMENT, GSUB_RESULT };

/* %0 to %9, behind the "%": a capture; %1 is the match where there are none. */
static void append_capture(struct strings_result *result, struct slice subject,
			   const struct pattern_match *match, char digit)
{
	size_t number = (size_t)(digit - '1');
	struct slice capture;

	if (digit == '0' || (digit == '1' && match->capture_count == 0)) {
		strings_result_append(result, match->at, match->size);
		return;
	}
	if (number >= match->capture_count)
		luaL_error(result->L, "invalid capture index");
	capture = match->captures[number];
	if (capture.size == PATTERN_POSITION) {
		push_capture(result->L, subject, match, number);
		capture.at = lua_tolstring(result->L, -1, &capture.size);
		strings_result_append(result, capture.at, capture.size);
		lua_pop(result->L, 1);
	} else {
		strings_result_append(result, capture.at, capture.size);
	}
}

static void append_template(struct strings_result *result, struct slice subject,
			    const struct pattern_match *match, struct slice template)
{
	const char *at = template.at, *end = template.at + template.size;

	while (at < end) {
		const char *sign = memchr(at, '%', (size_t)(end - at));

		strings_result_append(result, at, (size_t)((sign ? sign : end) - at));
		if (!sign)
			break;
		/* A "%" at the end stands before the NUL there: Lua 5.1 takes that. */
		if (sign[1] >= '0' && sign[1] <= '9')
			append_capture(result, subject, match, sign[1]);
		else
			strings_result_append(result, sign + 1, 1);
		at = sign + 2;
	}
}

/* What the function or the table has for this match; for nil and false the match. */
static void append_value(struct strings_result *result, struct slice subject,
			 const struct pattern_match *match)
{
	lua_State *L = result->L;
	struct slice value = { match->at, match->size };

	if (lua_type(L, GSUB_REPLACEMENT) == LUA_TFUNCTION) {
		lua_pushvalue(L, GSUB_REPLACEMENT);
		lua_call(L, push_found(L, subject, match), 1);
	} else {
		if (match->capture_count > 0)
			push_capture(L, subject, match, 0);
		else
			lua_pushlstring(L, match->at, match->size);
		lua_gettable(L, GSUB_REPLACEMENT);
	}
	if (lua_isstring(L, -1))
		value.at = lua_tolstring(L, -1, &value.size);
	else if (lua_toboolean(L, -1))
		luaL_error(L, "invalid replacement value (a %s)", luaL_typename(L, -1));
	strings_result_append(result, value.at, value.size);
	lua_pop(L, 1);
}

/* Replaces up to count_max times; gives how often. */
static size_t substitute(struct strings_result *result, struct slice subject,
			 const struct pattern *pattern, bool anchored, double count_max)
{
	lua_State *L = result->L;
	bool constant = lua_type(L, GSUB_REPLACEMENT) == LUA_TSTRING;
	struct slice template = constant ? check_text(L, GSUB_REPLACEMENT) : SLICE("");
	struct pattern_budget budget = budget_of(L);
	struct pattern_match match;
	size_t from = 0; /* where to search */
	size_t kept = 0; /* up to here the subject is in the result */
	size_t count = 0;

	while ((double)(count + 1) <= count_max && from <= subject.size &&
	       search(L, pattern, subject, from, &budget, &match)) {
		size_t at = (size_t)(match.at - subject.at);

		count++;
		strings_result_append(result, subject.at + kept, at - kept);
		if (constant)
			append_template(result, subject, &match, template);
		else
			append_value(result, subject, &match);
		kept = at + match.size;
		from = kept + (match.size == 0);
		budget.steps -= (long)(template.size / 16);
		if (anchored)
			break;
	}
	if (count > 0)
		strings_result_append(result, subject.at + kept, subject.size - kept);
	return count;
}

/* gsub(text, pattern, text or table or function, [count]) -> text, how often. Within a
 * function as replacement nothing can wait. */
static int l_gsub(lua_State *L)
{
	struct slice subject = check_text(L, 1);
	struct slice text = check_text(L, 2);
	int type = lua_type(L, 3);
	double count_max = luaL_optnumber(L, 4, (double)subject.size + 1);
	bool anchored = text.size > 0 && *text.at == '^';
	struct strings_result result;
	const struct pattern *pattern;
	struct space space;
	size_t count;

	luaL_argcheck(L,
		      type == LUA_TNUMBER || type == LUA_TSTRING || type == LUA_TTABLE ||
			      type == LUA_TFUNCTION,
		      3, "string/function/table expected");
	if (!vm_stack_left(vm_of(L)))
		return luaL_error(L, "gsub inside gsub: too deep");
	if (type == LUA_TNUMBER)
		lua_tostring(L, 3);
	lua_settop(L, GSUB_RESULT);
	strings_result_init(&result, L, "gsub", GSUB_RESULT);
	pattern = type == LUA_TFUNCTION || type == LUA_TTABLE
			  ? compile_own(L, &space, text)
			  : compile(L, GSUB_PATTERN, text);
	count = substitute(&result, subject, pattern, anchored, count_max);
	if (count > 0)
		strings_result_push(&result);
	else
		lua_pushvalue(L, GSUB_TEXT);
	lua_pushinteger(L, (lua_Integer)count);
	return 2;
}

static const luaL_Reg functions[] = {
	{ "find", l_find },   { "gmatch", l_gmatch }, { "gsub", l_gsub },
	{ "match", l_match }, { NULL, NULL },
};

void strings_pattern_open(lua_State *L)
{
	struct cache *cache = lua_newuserdata(L, sizeof(*cache));

	for (size_t i = 0; i < CACHE_SIZE; i++)
		cache->entries[i].text = NULL;
	lua_createtable(L, CACHE_SIZE, 0); /* stack: library, cache, texts */
	for (const luaL_Reg *f = functions; f->name; f++) {
		lua_pushvalue(L, -2);
		lua_pushvalue(L, -2);
		lua_pushcclosure(L, f->func, 2);
		lua_setfield(L, -4, f->name);
	}
	lua_pop(L, 2);
}
