/* SPDX-License-Identifier: MIT */
/* concat is our own. The others measure first, and then call the library's own function,
 * their upvalue, with the very arguments they have measured.
 */
#include "script/strings.h"

#include "base/check.h"
#include "base/slice.h"
#include "script/strings_pattern.h"
#include "script/strings_result.h"
#include "script/strings_sort.h"
#include "script/vm.h"

#include <lauxlib.h>
#include <stdbool.h>
#include <string.h>

/* What format writes for a number at most: "%99.99f" of the largest is 410 bytes. */
#define NUMBER_SIZE_MAX 512

static int library(lua_State *L)
{
	return lua_tocfunction(L, lua_upvalueindex(1))(L);
}

static void check_size(lua_State *L, const char *name, double size)
{
	if (size > STRINGS_RESULT_MAX)
		luaL_error(L, "%s: the result would be larger than %d bytes", name,
			   (int)STRINGS_RESULT_MAX);
}

/* rep(text, count, [separator]) -> text */
static int l_rep(lua_State *L)
{
	size_t size, separator_size = 0;
	double count;

	luaL_checklstring(L, 1, &size);
	count = luaL_checknumber(L, 2);
	luaL_optlstring(L, 3, "", &separator_size);
	if (size + separator_size == 0 || !(count >= 1)) {
		lua_pushliteral(L, "");
		return 1;
	}
	check_size(L, "rep",
		   count * (double)(size + separator_size) - (double)separator_size);
	return library(L);
}

/* --- format ----------------------------------------------------------------------- */

/* A "%" and what follows, as far as the size depends on it. */
struct directive {
	char kind; /* the letter; 0 behind the last one */
	size_t width;
	size_t precision; /* of a text: the most that is taken */
};

static size_t read_digits(const char **at)
{
	size_t number = 0;

	for (; **at >= '0' && **at <= '9'; ++*at)
		if (number < STRINGS_RESULT_MAX)
			number = number * 10 + (size_t)(**at - '0');
	return number;
}

/* Reads behind a "%". Formats end with a NUL. */
static struct directive read_directive(const char **at)
{
	struct directive d = { 0, 0, (size_t)-1 };

	while (**at && strchr("-+ #0", **at))
		++*at;
	d.width = read_digits(at);
	if (**at == '.') {
		++*at;
		d.precision = read_digits(at);
	}
	d.kind = **at;
	if (d.kind)
		++*at;
	return d;
}

/* Has __tostring called now, so that the library finds a text, and it is called once. */
static void settle_text(lua_State *L, int argument)
{
	if (lua_type(L, argument) == LUA_TSTRING ||
	    !luaL_getmetafield(L, argument, "__tostring"))
		return;
	if (!vm_stack_left(vm_of(L)))
		luaL_error(L, "format inside format: too deep");
	lua_pushvalue(L, argument);
	lua_call(L, 1, 1);
	if (!lua_isstring(L, -1))
		luaL_error(L, "format: '__tostring' must give a string");
	lua_replace(L, argument);
}

static double directive_size(lua_State *L, const struct directive *d, int argument)
{
	size_t size = NUMBER_SIZE_MAX;

	if (d->kind != 's' && d->kind != 'q')
		return (double)(size + d->width);
	if (d->kind == 's')
		settle_text(L, argument);
	if (lua_type(L, argument) == LUA_TSTRING)
		size = lua_objlen(L, argument);
	if (d->kind == 'q')
		return (double)size * 4 + 2; /* "\ddd", and the quotes */
	if (size > d->precision)
		size = d->precision;
	return (double)(size > d->width ? size : d->width);
}

/* format(format, ...) -> text */
static int l_format(lua_State *L)
{
	size_t size;
	const char *at = luaL_checklstring(L, 1, &size), *end = at + size;
	int argument = 1, count = lua_gettop(L);
	double total = (double)size;

	luaL_checkstack(L, 3, "format");
	while (at < end && (at = memchr(at, '%', (size_t)(end - at)))) {
		struct directive d;

		at++;
		if (*at == '%') {
			at++;
			continue;
		}
		d = read_directive(&at);
		if (++argument > count)
			break; /* the library says what is missing */
		total += directive_size(L, &d, argument);
	}
	check_size(L, "format", total);
	return library(L);
}

/* --- tables ----------------------------------------------------------------------- */

/* Elements that are read at once, before they are taken off the stack. */
#define CONCAT_CHUNK 16

/* concat(table, [separator], [first], [last]) -> text */
static int l_concat(lua_State *L)
{
	struct strings_result result;
	struct slice separator, text;
	int first, last, top;

	luaL_checktype(L, 1, LUA_TTABLE);
	separator.at = luaL_optlstring(L, 2, "", &separator.size);
	first = luaL_optint(L, 3, 1);
	last = lua_isnoneornil(L, 4) ? (int)lua_objlen(L, 1) : luaL_checkint(L, 4);
	lua_settop(L, top = 3);
	strings_result_init(&result, L, "concat", 3);
	for (long i = first; i <= last; i++) {
		if (top++ == 3 + CONCAT_CHUNK)
			lua_settop(L, (top = 4) - 1);
		lua_rawgeti(L, 1, (int)i);
		text.at = lua_tolstring(L, -1, &text.size);
		if (!text.at)
			return luaL_error(
				L, "invalid value (%s) at index %d in table for 'concat'",
				luaL_typename(L, -1), (int)i);
		strings_result_append(&result, text.at, text.size);
		if (separator.size > 0 && i < last)
			strings_result_append(&result, separator.at, separator.size);
	}
	strings_result_push(&result);
	return 1;
}

/* Puts each in place of the library's, its upvalue then, in the table on top. */
static void wrap(lua_State *L, const luaL_Reg *functions)
{
	for (; functions->name; functions++) {
		lua_getfield(L, -1, functions->name);
		check(lua_tocfunction(L, -1) != NULL);
		lua_pushcclosure(L, functions->func, 1);
		lua_setfield(L, -2, functions->name);
	}
}

static const luaL_Reg string_functions[] = { { "format", l_format },
					     { "rep", l_rep },
					     { NULL, NULL } };

static const luaL_Reg table_functions[] = { { "concat", l_concat },
					    { "sort", strings_sort },
					    { NULL, NULL } };

void strings_open(lua_State *L)
{
	lua_getglobal(L, "string");
	strings_pattern_open(L);
	wrap(L, string_functions);
	lua_getglobal(L, "table");
	wrap(L, table_functions);
	lua_pop(L, 2);
}
