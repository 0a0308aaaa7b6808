/* SPDX-License-Identifier: MIT */
#include "api/request_table.h"

#include "api/json_value.h"
#include "base/buf.h"
#include "http/request.h"
#include "http/router.h"
#include "script/vm.h"

#include <lauxlib.h>

#define QUERY_PAIRS_MAX 100
#define HEADERS_MAX 128 /* h2o takes 100 over HTTP/1 */

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* application/x-www-form-urlencoded text, decoded and pushed. A broken escape stays as it
 * is. */
static void push_decoded(lua_State *L, struct slice text, struct buf *scratch)
{
	buf_reset(scratch);
	for (size_t i = 0; i < text.size; i++) {
		char c = text.at[i];

		if (c == '+') {
			c = ' ';
		} else if (c == '%' && i + 2 < text.size &&
			   hex_digit(text.at[i + 1]) >= 0 &&
			   hex_digit(text.at[i + 2]) >= 0) {
			c = (char)(hex_digit(text.at[i + 1]) << 4 |
				   hex_digit(text.at[i + 2]));
			i += 2;
		}
		buf_append_byte(scratch, c);
	}
	lua_pushlstring(L, scratch->at ? scratch->at : "", scratch->size);
}

static void push_query(lua_State *L, struct slice query, struct buf *scratch)
{
	struct slice pair, name;

	lua_newtable(L);
	for (int i = 0;
	     i < QUERY_PAIRS_MAX && query.size && slice_cut(&query, '&', &pair); i++) {
		if (!pair.size)
			continue;
		slice_cut(&pair, '=', &name);
		push_decoded(L, name, scratch);
		push_decoded(L, pair, scratch);
		lua_rawset(L, -3);
	}
}

/* Whether a header before this one has its name. */
static bool is_repeated(const struct http_header *headers, size_t index)
{
	for (size_t i = 0; i < index; i++)
		if (slice_equal(headers[i].name, headers[index].name))
			return true;
	return false;
}

/* The table below the name on top of the stack has it already: the values become one list
 * (RFC 9110, 5.3), cookies theirs. */
static void push_joined_slow(lua_State *L, struct http_header header)
{
	lua_pushvalue(L, -1);
	lua_rawget(L, -3);
	lua_pushstring(L, slice_equal(header.name, SLICE("cookie")) ? "; " : ", ");
	lua_pushlstring(L, header.value.at, header.value.size);
	lua_concat(L, 3);
}

static void push_headers(lua_State *L, const struct http_request *request)
{
	size_t count = http_request_header_count(request);
	struct http_header headers[HEADERS_MAX];

	if (count > HEADERS_MAX)
		count = HEADERS_MAX;
	lua_createtable(L, 0, (int)count);
	for (size_t i = 0; i < count; i++) {
		headers[i] = http_request_header_at(request, i);
		lua_pushlstring(L, headers[i].name.at, headers[i].name.size);
		if (__builtin_expect(is_repeated(headers, i), 0))
			push_joined_slow(L, headers[i]);
		else
			lua_pushlstring(L, headers[i].value.at, headers[i].value.size);
		lua_rawset(L, -3);
	}
}

static void push_params(lua_State *L, const struct router_match *match)
{
	lua_createtable(L, 0, (int)match->param_count);
	for (size_t i = 0; i < match->param_count; i++) {
		lua_pushlstring(L, match->params[i].name.at, match->params[i].name.size);
		lua_pushlstring(L, match->params[i].value.at,
				match->params[i].value.size);
		lua_rawset(L, -3);
	}
}

static void raise_fault(lua_State *L, const struct fault *why)
{
	vm_push_fault(L, why);
	lua_error(L);
}

/* application/json, or application/anything+json, with parameters or not. */
static bool is_json(struct slice type)
{
	struct slice essence = { 0 };

	slice_cut(&type, ';', &essence);
	essence = slice_trim(essence);
	if (slice_equal_nocase(essence, SLICE("application/json")))
		return true;
	return slice_starts_with(essence, SLICE("application/")) && essence.size > 5 &&
	       slice_equal_nocase(slice_of(essence.at + essence.size - 5, 5),
				  SLICE("+json"));
}

/* Pushes the body's value, or nil without a body. */
static void push_body(lua_State *L, const struct http_request *request)
{
	struct slice body = http_request_body(request);
	struct fault why;

	if (!body.size) {
		lua_pushnil(L);
		return;
	}
	if (!is_json(http_request_header(request, SLICE("content-type")))) {
		fault_set_status(&why, FAULT_bad_input, 415,
				 "Content-Type must be application/json");
		raise_fault(L, &why);
	}
	if (!json_value_push(L, body, &why)) {
		why.status = why.status ? why.status : 400;
		raise_fault(L, &why);
	}
}

static void set_text(lua_State *L, const char *name, struct slice value)
{
	lua_pushlstring(L, value.at ? value.at : "", value.size);
	lua_setfield(L, -2, name);
}

void request_table_push(lua_State *L, struct http_request *request,
			const struct router_match *match, bool raw, struct buf *scratch)
{
	lua_createtable(L, 0, 9); /* and the user that lib/app adds */
	set_text(L, "method", http_request_method(request));
	set_text(L, "route", match->route->template);
	set_text(L, "peer", http_request_client(request));
	set_text(L, "raw", http_request_body(request));
	push_params(L, match);
	lua_setfield(L, -2, "path");
	push_query(L, http_request_query(request), scratch);
	lua_setfield(L, -2, "query");
	push_headers(L, request);
	lua_setfield(L, -2, "headers");
	if (!raw) {
		push_body(L, request);
		lua_setfield(L, -2, "body");
	}
}
