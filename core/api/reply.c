/* SPDX-License-Identifier: MIT */
#include "api/reply.h"

#include "api/error_page.h"
#include "api/json_value.h"
#include "base/problem.h"
#include "script/vm.h"

#include <lauxlib.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

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

/* What is being answered, for all the functions below. */
struct answering {
	lua_State *L;
	const struct reply_context *context;
	struct reply *reply;
	struct buf *body;
};

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

/* Extension members: whatever else the fault table at index holds that JSON can say.
 * located: source and traceback are ours. */
static void write_extensions(lua_State *L, int index, bool located, struct json *json)
{
	struct buf value = { 0 };

	lua_pushnil(L);
	while (lua_next(L, index)) {
		struct slice name = { 0 };

		if (lua_type(L, -2) == LUA_TSTRING)
			name.at = lua_tolstring(L, -2, &name.size);
		buf_reset(&value);
		if (name.at && !is_standard_member(name) &&
		    !(located && (slice_equal(name, SLICE("source")) ||
				  slice_equal(name, SLICE("traceback")))) &&
		    json_value_write(L, lua_gettop(L), &value, NULL)) {
			json_key(json, name);
			json_raw(json, buf_slice(&value));
		}
		lua_pop(L, 1);
	}
	buf_finish(&value);
}

/* A bug or a budget's end, and where. The first place that is known: in what was said, on
 * the way there, or where the handler is written. */
static void locate(const struct answering *answering, bool failed)
{
	const struct reply_context *context = answering->context;
	struct reply *reply = answering->reply;
	const struct vm *vm = vm_of(answering->L);
	bool internal = reply->why.kind == FAULT_internal;

	if (!internal && !(failed && reply->why.kind == FAULT_limit))
		return;
	if (excerpt_find(vm, slice_text(reply->why.detail), &reply->at) ||
	    excerpt_find(vm, context->traceback, &reply->at))
		return;
	if (internal)
		excerpt_find(vm, context->defined, &reply->at);
}

/* What production tells of it: no place, and nothing of a bug. */
static void hide(struct fault *shown, const struct excerpt *at)
{
	char *place;

	if (shown->kind == FAULT_internal)
		snprintf(shown->detail, sizeof(shown->detail), "internal error");
	if (!at->file.size)
		return;
	place = strstr(shown->detail, " at ");
	if (place && excerpt_locate(slice_text(place), &(struct excerpt){ 0 }))
		*place = '\0';
}

static void write_problem(const struct answering *answering, int index)
{
	const struct reply_context *context = answering->context;
	const struct reply *reply = answering->reply;
	struct json json = json_to(answering->body);
	struct fault shown = reply->why;
	bool located = reply->at.file.size && !context->production;

	if (context->production)
		hide(&shown, &reply->at);
	problem_open(&json, &shown, context->trace_id);
	if (located) {
		json_key(&json, SLICE("source"));
		json_open_object(&json);
		excerpt_write(&reply->at, &json);
		json_close_object(&json);
	}
	if (located && context->traceback.size) {
		json_key(&json, SLICE("traceback"));
		traceback_write(context->traceback, &json);
	}
	if (index && !(context->production && shown.kind == FAULT_internal))
		write_extensions(answering->L, index, located, &json);
	json_close_object(&json);
}

/* Whether the service's author is to see a page. */
static bool page_wanted(const struct answering *answering)
{
	const struct reply_context *context = answering->context;

	return !context->production && context->request &&
	       answering->reply->status >= 500 &&
	       error_page_wanted(http_request_header(context->request, SLICE("accept")));
}

static void write_page(const struct answering *answering)
{
	const struct reply_context *context = answering->context;
	struct error_page page = {
		.why = &answering->reply->why,
		.method = http_request_method(context->request),
		.path = http_request_path(context->request),
		.excerpt = &answering->reply->at,
		.traceback = context->traceback,
		.trace_id = context->trace_id,
		.generation = context->generation,
	};

	error_page_write(&page, answering->body);
}

/* index: the fault table on the stack, or 0. failed: the task has, its results are not to
 * blame. */
static void reply_fault(const struct answering *answering, int index, bool failed)
{
	lua_State *L = answering->L;
	struct reply *reply = answering->reply;
	bool page;

	reply->status = fault_status(&reply->why);
	locate(answering, failed);
	page = page_wanted(answering);
	add_header(reply, SLICE("content-type"),
		   page ? SLICE("text/html; charset=utf-8")
			: SLICE("application/problem+json"));
	buf_reset(answering->body);
	if (index && lua_checkstack(L, 8)) {
		lua_pushliteral(L, "headers");
		lua_rawget(L, index);
		read_headers(L, lua_gettop(L), reply);
	}
	if ((reply->status == 429 || reply->status == 503) &&
	    !has_header(reply, SLICE("retry-after")))
		add_header(reply, SLICE("retry-after"), SLICE("1"));
	if (page)
		write_page(answering);
	else
		write_problem(answering, index);
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

/* `internal`, for the handler is to blame, whose place goes in front; returns false. */
__attribute__((format(printf, 2, 3))) static bool blame(const struct answering *answering,
							const char *format, ...)
{
	struct slice defined = answering->context->defined;
	char text[200];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return fault_set(&answering->reply->why, FAULT_internal, "%.*s%s%s",
			 SLICE_PRINT(defined), defined.size ? ": " : "", text);
}

static bool reply_body(const struct answering *answering)
{
	lua_State *L = answering->L;
	struct reply *reply = answering->reply;
	struct fault why;
	struct slice text;

	switch (lua_type(L, 2)) {
	case LUA_TNONE:
	case LUA_TNIL:
		return true;
	case LUA_TTABLE:
		if (!has_header(reply, SLICE("content-type")))
			add_header(reply, SLICE("content-type"),
				   SLICE("application/json"));
		if (json_value_write(L, 2, answering->body, &why))
			return true;
		return blame(answering,
			     "the handler returned a body that JSON cannot "
			     "say: %s",
			     why.detail);
	case LUA_TSTRING:
		if (!has_header(reply, SLICE("content-type")))
			add_header(reply, SLICE("content-type"),
				   SLICE("text/plain; charset=utf-8"));
		text.at = lua_tolstring(L, 2, &text.size);
		buf_append(answering->body, text);
		return true;
	default:
		return blame(
			answering,
			"the handler returned a %s as body; give a table, a text or nil",
			luaL_typename(L, 2));
	}
}

static bool reply_results(const struct answering *answering)
{
	lua_State *L = answering->L;
	double status = lua_type(L, 1) == LUA_TNUMBER ? lua_tonumber(L, 1) : 0;

	if (!(status >= 200 && status <= 599) || status != (int)status)
		return blame(answering,
			     "the handler returned %s as status; return status, body "
			     "or a fault",
			     lua_type(L, 1) == LUA_TNUMBER ? "a bad number"
							   : luaL_typename(L, 1));
	answering->reply->status = (int)status;
	read_headers(L, 3, answering->reply);
	return reply_body(answering);
}

void reply_read(lua_State *L, const struct fault *why,
		const struct reply_context *context, struct reply *reply,
		struct buf *body)
{
	const struct answering answering = { L, context, reply, body };
	int fault_index = 0;

	buf_reset(body);
	reply->header_count = 0;
	reply->why.kind = FAULT_none;
	reply->why.status = 0;
	reply->why.detail[0] = '\0';
	reply->at.file.size = 0;
	if (why) {
		reply->why = *why;
		fault_index = lua_istable(L, 1) ? 1 : 0;
	} else if (is_fault(L, 1)) {
		fault_index = 1;
	} else if (lua_isnil(L, 1) && is_fault(L, 2)) {
		fault_index = 2;
	} else if (reply_results(&answering)) {
		return;
	} else {
		reply->header_count = 0;
	}
	if (fault_index && !why)
		vm_read_fault(L, fault_index, &reply->why);
	reply_fault(&answering, fault_index, why != NULL);
}
