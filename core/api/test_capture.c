/* SPDX-License-Identifier: MIT */
#include "api/test_capture.h"

#include "base/arena.h"
#include "base/buf.h"
#include "base/check.h"
#include "base/hex.h"
#include "watch/log.h"
#include "watch/trace.h"

#include <ctype.h>
#include <lauxlib.h>
#include <stdlib.h>

#define DRAIN_STEP 1000

/* Registry key, by address. */
static const char capture_key[] = "capture";

struct span_copy { /* texts live in the arena */
	enum span_kind kind;
	struct slice name;
	uint8_t trace_id[16], span_id[8], parent_id[8];
	bool has_parent;
	bool failed;
	struct slice error_type;
	struct attr *attrs;
	size_t attr_count;
};

struct test_capture {
	struct log_hub *logs;
	struct tracer *tracer;
	struct arena arena;
	struct log_record *records;
	size_t record_count;
	struct span_copy *spans;
	size_t span_count;
};

/* --- keeping ---------------------------------------------------------------------- */

static void copy_attr(struct test_capture *capture, struct attr *attr)
{
	attr->key = arena_copy(&capture->arena, attr->key);
	if (attr->type == ATTR_text)
		attr->text = arena_copy(&capture->arena, attr->text);
}

static void keep_record(void *context, const struct log_record *record)
{
	struct test_capture *capture = context;
	struct log_record *copy;
	struct attr *attrs;

	if (capture->record_count == TEST_CAPTURE_MAX)
		return;
	capture->records =
		mem_resize(capture->records, (capture->record_count + 1) * sizeof(*copy));
	copy = &capture->records[capture->record_count++];
	*copy = *record;
	copy->message = arena_copy(&capture->arena, record->message);
	attrs = arena_alloc(&capture->arena, (record->attr_count + 1) * sizeof(*attrs));
	for (size_t i = 0; i < record->attr_count; i++) {
		attrs[i] = record->attrs[i];
		copy_attr(capture, &attrs[i]);
	}
	copy->attrs = attrs;
}

static void gather_logs(struct test_capture *capture)
{
	while (log_hub_drain(capture->logs, DRAIN_STEP, keep_record, capture))
		;
}

static void keep_attrs(struct test_capture *capture, struct span_copy *span,
		       const struct span_view *view)
{
	struct slice rest = view->attrs;
	struct attr attr;

	while (span_view_attr(&rest, &attr))
		span->attr_count++;
	span->attrs = arena_alloc(&capture->arena,
				  (span->attr_count + 1) * sizeof(*span->attrs));
	rest = view->attrs;
	for (size_t i = 0; span_view_attr(&rest, &span->attrs[i]); i++)
		copy_attr(capture, &span->attrs[i]);
}

static void keep_span(void *context, const struct span_view *view)
{
	struct test_capture *capture = context;
	struct span_copy *span;

	if (capture->span_count == TEST_CAPTURE_MAX)
		return;
	capture->spans = mem_resize(capture->spans,
				    (capture->span_count + 1) * sizeof(*capture->spans));
	span = &capture->spans[capture->span_count++];
	*span = (struct span_copy){ .kind = view->kind, .failed = view->failed };
	span->name = arena_copy(&capture->arena, view->name);
	memcpy(span->trace_id, view->context->trace_id, sizeof(span->trace_id));
	memcpy(span->span_id, view->context->span_id, sizeof(span->span_id));
	span->has_parent = view->parent_id != NULL;
	if (view->parent_id)
		memcpy(span->parent_id, view->parent_id, sizeof(span->parent_id));
	span->error_type = arena_copy(&capture->arena, view->error_type);
	keep_attrs(capture, span, view);
}

/* --- giving ----------------------------------------------------------------------- */

static void push_slice(lua_State *L, struct slice text)
{
	lua_pushlstring(L, text.size ? text.at : "", text.size);
}

static void push_id(lua_State *L, const uint8_t *id, size_t size)
{
	char text[33];

	hex_encode(id, size, text);
	lua_pushlstring(L, text, size * 2);
}

static void push_attrs(lua_State *L, const struct attr *attrs, size_t count)
{
	lua_createtable(L, 0, (int)count);
	for (size_t i = 0; i < count; i++) {
		push_slice(L, attrs[i].key);
		switch (attrs[i].type) {
		case ATTR_text:
			push_slice(L, attrs[i].text);
			break;
		case ATTR_integer:
			lua_pushnumber(L, (double)attrs[i].integer);
			break;
		case ATTR_double:
			lua_pushnumber(L, attrs[i].number);
			break;
		case ATTR_bool:
			lua_pushboolean(L, attrs[i].boolean);
			break;
		}
		lua_rawset(L, -3);
	}
}

/* As the functions of native.log are called. */
static void push_severity(lua_State *L, enum log_severity severity)
{
	char name[16] = { 0 };
	const char *upper = log_severity_name(severity);

	for (size_t i = 0; upper[i] && i + 1 < sizeof(name); i++)
		name[i] = (char)tolower((unsigned char)upper[i]);
	lua_pushstring(L, name);
}

static void push_record(lua_State *L, const struct log_record *record)
{
	lua_createtable(L, 0, 5);
	push_severity(L, record->severity);
	lua_setfield(L, -2, "severity");
	push_slice(L, record->message);
	lua_setfield(L, -2, "message");
	push_attrs(L, record->attrs, record->attr_count);
	lua_setfield(L, -2, "attributes");
	if (!record->in_trace)
		return;
	push_id(L, record->trace_id, sizeof(record->trace_id));
	lua_setfield(L, -2, "trace_id");
	push_id(L, record->span_id, sizeof(record->span_id));
	lua_setfield(L, -2, "span_id");
}

void test_capture_push_logs(lua_State *L, struct test_capture *capture)
{
	gather_logs(capture);
	lua_createtable(L, (int)capture->record_count, 0);
	for (size_t i = 0; i < capture->record_count; i++) {
		push_record(L, &capture->records[i]);
		lua_rawseti(L, -2, (int)i + 1);
	}
}

static void push_span(lua_State *L, const struct span_copy *span)
{
	static const char *const kinds[] = {
		[SPAN_internal] = "internal", [SPAN_server] = "server",
		[SPAN_client] = "client",     [SPAN_producer] = "producer",
		[SPAN_consumer] = "consumer",
	};

	lua_createtable(L, 0, 8);
	push_slice(L, span->name);
	lua_setfield(L, -2, "name");
	lua_pushstring(L, kinds[span->kind]);
	lua_setfield(L, -2, "kind");
	push_id(L, span->trace_id, sizeof(span->trace_id));
	lua_setfield(L, -2, "trace_id");
	push_id(L, span->span_id, sizeof(span->span_id));
	lua_setfield(L, -2, "span_id");
	lua_pushboolean(L, span->failed);
	lua_setfield(L, -2, "failed");
	if (span->has_parent) {
		push_id(L, span->parent_id, sizeof(span->parent_id));
		lua_setfield(L, -2, "parent_span_id");
	}
	if (span->failed) {
		push_slice(L, span->error_type);
		lua_setfield(L, -2, "error_type");
	}
	push_attrs(L, span->attrs, span->attr_count);
	lua_setfield(L, -2, "attributes");
}

void test_capture_push_spans(lua_State *L, struct test_capture *capture)
{
	lua_createtable(L, (int)capture->span_count, 0);
	for (size_t i = 0; i < capture->span_count; i++) {
		push_span(L, &capture->spans[i]);
		lua_rawseti(L, -2, (int)i + 1);
	}
}

void test_capture_format_logs(struct test_capture *capture, struct buf *out)
{
	gather_logs(capture);
	for (size_t i = 0; i < capture->record_count; i++)
		log_format_json(out, &capture->records[i], SLICE("test"));
}

/* --- life ------------------------------------------------------------------------- */

struct test_capture *test_capture_create(struct log_hub *logs, struct tracer *tracer)
{
	struct test_capture *capture = mem_zeroed(1, sizeof(*capture));

	capture->logs = logs;
	capture->tracer = tracer;
	tracer_tap(tracer, keep_span, capture);
	return capture;
}

void test_capture_install(lua_State *L, struct test_capture *capture)
{
	lua_pushlightuserdata(L, (void *)capture_key);
	lua_pushlightuserdata(L, capture);
	lua_rawset(L, LUA_REGISTRYINDEX);
}

struct test_capture *test_capture_of(lua_State *L)
{
	struct test_capture *capture;

	lua_pushlightuserdata(L, (void *)capture_key);
	lua_rawget(L, LUA_REGISTRYINDEX);
	capture = lua_touserdata(L, -1);
	lua_pop(L, 1);
	return capture;
}

void test_capture_begin(struct test_capture *capture)
{
	gather_logs(capture);
	capture->record_count = capture->span_count = 0;
	arena_finish(&capture->arena);
}

void test_capture_destroy(struct test_capture *capture)
{
	if (!capture)
		return;
	tracer_tap(capture->tracer, NULL, NULL);
	arena_finish(&capture->arena);
	free(capture->records);
	free(capture->spans);
	free(capture);
}
