/* SPDX-License-Identifier: MIT */
#include "api/reply.h"

#include "api/json_value.h"
#include "base/problem.h"
#include "script/vm.h"

#include <lauxlib.h>
#include <stdio.h>

static void add_header(struct reply *reply, struct slice name, struct slice value)
{
	if (reply->header_count < REPLY_HEADERS_MAX)
		reply->headers[reply->header_count++] =
			(struct http_header){ name, value };
}

static bool has_header(const struct reply *reply, struct slice name)
{
	for (size_t i = 0; i < reply->header_count; i++)
		if (slice_equal_nocase(reply->headers[i].name, name))
			return true;
	return false;
}

/* Texts and numbers of the table at index become headers; the stack keeps them alive.
 * What is no header (a bad character) http_respond leaves out. */
static void read_headers(lua_State *L, int index, struct reply *reply)
{
	if (!lua_istable(L, index) || !lua_checkstack(L, 2 * REPLY_HEADERS_MAX + 4))
		return;
	lua_pushnil(L);
	while (reply->header_count < REPLY_HEADERS_MAX && lua_next(L, index)) {
		struct slice name, value;

		if (lua_type(L, -2) == LUA_TSTRING && lua_isstring(L, -1)) {
			name.at = lua_tolstring(L, -2, &name.size);
			value.at = lua_tolstring(L, -1, &value.size);
			add_header(reply, name, value);
			lua_pushvalue(L,
				      -2); /* the key again; the value stays below it */
		} else {
			lua_pop(L, 1);
		}
	}
}

/* --- faults ----------------------------------------------------------------------- */

static bool is_standard_member(struct slice name)
{
	static const char *const members[] = {
		"detail", "headers", "kind", "status", "title", "trace_id", "type",
	};

	for (size_t i = 0; i < sizeof(members) / sizeof(*members); i++)
		if (slice_equal(name, slice_text(members[i])))
			return true;
	return false;
}

/* Extension members: whatever else the fault table at index holds that JSON can say. */
static void write_extensions(lua_State *L, int index, struct json *json)
{
	struct buf value = { 0 };

	lua_pushnil(L);
	while (lua_next(L, index)) {
		struct slice name = { 0 };

		if (lua_type(L, -2) == LUA_TSTRING)
			name.at = lua_tolstring(L, -2, &name.size);
		buf_reset(&value);
		if (name.at && !is_standard_member(name) &&
		    json_value_write(L, lua_gettop(L), &value, NULL)) {
			json_key(json, name);
			json_raw(json, buf_slice(&value));
		}
		lua_pop(L, 1);
	}
	buf_finish(&value);
}

static void write_problem(lua_State *L, int index, struct slice trace_id, bool production,
			  struct reply *reply, struct buf *body)
{
	struct json json = json_to(body);
	struct fault shown = reply->why;
	bool hide = production && shown.kind == FAULT_internal;

	if (hide)
		snprintf(shown.detail, sizeof(shown.detail), "internal error");
	problem_open(&json, &shown, trace_id);
	if (index && !hide)
		write_extensions(L, index, &json);
	json_close_object(&json);
}

/* index: the fault table on the stack, or 0. */
static void reply_fault(lua_State *L, int index, struct slice trace_id, bool production,
			struct reply *reply, struct buf *body)
{
	reply->status = fault_status(&reply->why);
	add_header(reply, SLICE("content-type"), SLICE("application/problem+json"));
	buf_reset(body);
	if (index && lua_checkstack(L, 8)) {
		lua_pushliteral(L, "headers");
		lua_rawget(L, index);
		read_headers(L, lua_gettop(L), reply);
	}
	if ((reply->status == 429 || reply->status == 503) &&
	    !has_header(reply, SLICE("retry-after")))
		add_header(reply, SLICE("retry-after"), SLICE("1"));
	write_problem(L, index, trace_id, production, reply, body);
}

/* Whether the value is a table whose `kind` names a fault. */
static bool is_fault(lua_State *L, int index)
{
	bool known;

	if (!lua_istable(L, index) || !lua_checkstack(L, 4))
		return false;
	lua_pushliteral(L, "kind");
	lua_rawget(L, index);
	known = lua_type(L, -1) == LUA_TSTRING &&
		fault_kind_of(slice_text(lua_tostring(L, -1))) != FAULT_none;
	lua_pop(L, 1);
	return known;
}

/* --- results ---------------------------------------------------------------------- */

static bool reply_body(lua_State *L, struct reply *reply, struct buf *body)
{
	struct slice text;

	switch (lua_type(L, 2)) {
	case LUA_TNONE:
	case LUA_TNIL:
		return true;
	case LUA_TTABLE:
		if (!has_header(reply, SLICE("content-type")))
			add_header(reply, SLICE("content-type"),
				   SLICE("application/json"));
		if (json_value_write(L, 2, body, &reply->why))
			return true;
		/* The handler's fault, not its caller's. */
		reply->why.kind = FAULT_internal;
		reply->why.status = 0;
		return false;
	case LUA_TSTRING:
		if (!has_header(reply, SLICE("content-type")))
			add_header(reply, SLICE("content-type"),
				   SLICE("text/plain; charset=utf-8"));
		text.at = lua_tolstring(L, 2, &text.size);
		buf_append(body, text);
		return true;
	default:
		return fault_set(
			&reply->why, FAULT_internal,
			"the handler returned a %s as body; give a table, a text or nil",
			luaL_typename(L, 2));
	}
}

static bool reply_results(lua_State *L, struct reply *reply, struct buf *body)
{
	double status = lua_type(L, 1) == LUA_TNUMBER ? lua_tonumber(L, 1) : 0;

	if (!(status >= 200 && status <= 599) || status != (int)status)
		return fault_set(&reply->why, FAULT_internal,
				 "the handler returned %s as status; return status, body "
				 "or a fault",
				 lua_type(L, 1) == LUA_TNUMBER ? "a bad number"
							       : luaL_typename(L, 1));
	reply->status = (int)status;
	read_headers(L, 3, reply);
	return reply_body(L, reply, body);
}

void reply_read(lua_State *L, const struct fault *why, struct slice trace_id,
		bool production, struct reply *reply, struct buf *body)
{
	int fault_index = 0;

	buf_reset(body);
	reply->header_count = 0;
	reply->why = (struct fault){ 0 };
	if (why) {
		reply->why = *why;
		fault_index = lua_istable(L, 1) ? 1 : 0;
	} else if (is_fault(L, 1)) {
		fault_index = 1;
	} else if (lua_isnil(L, 1) && is_fault(L, 2)) {
		fault_index = 2;
	} else if (reply_results(L, reply, body)) {
		return;
	} else {
		reply->header_count = 0;
	}
	if (fault_index && !why)
		vm_read_fault(L, fault_index, &reply->why);
	reply_fault(L, fault_index, trace_id, production, reply, body);
}
