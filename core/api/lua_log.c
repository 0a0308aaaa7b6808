/* SPDX-License-Identifier: MIT */
/* native.log -- log records of scripts, with the ids of the task's current span.
 *
 * Fields are texts, numbers and booleans, sorted by name; a table is written as JSON
 * text. A field whose name tells a secret is written as "[redacted]", at any depth. To
 * log never fails because of what the fields hold: keys that are no texts and fields
 * beyond LOG_ATTRS_MAX are left out.
 */
#include "api/api.h"

#include "api/json_value.h"
#include "loop/loop.h"
#include "script/task.h"
#include "script/vm.h"
#include "watch/log.h"

#include <lauxlib.h>
#include <stdlib.h>

/* Sorted. Compared exactly, but for the case of letters. */
static const char *const secrets[] = { "access_token", "api_key",	"authorization",
				       "card",	       "card_number",	"cookie",
				       "cvc",	       "jwt",		"number",
				       "password",     "password_hash", "refresh_token",
				       "secret",       "set-cookie",	"token" };

/* Sorted: names that every line has, and what a field of that name is called instead. */
static const char *const taken[][2] = {
	{ "generation", "generation_" },   { "level", "level_" },
	{ "message", "message_" },	   { "service", "service_" },
	{ "span_id", "span_id_" },	   { "timestamp", "timestamp_" },
	{ "trace_flags", "trace_flags_" }, { "trace_id", "trace_id_" }
};

static bool is_secret(struct slice name)
{
	for (size_t i = 0; i < sizeof(secrets) / sizeof(*secrets); i++)
		if (slice_equal_nocase(name, slice_text(secrets[i])))
			return true;
	return false;
}

static struct slice free_name(struct slice name)
{
	for (size_t i = 0; i < sizeof(taken) / sizeof(*taken); i++)
		if (slice_equal(name, slice_text(taken[i][0])))
			return slice_text(taken[i][1]);
	return name;
}

struct fields {
	struct attr attrs[LOG_ATTRS_MAX];
	size_t nested[LOG_ATTRS_MAX]; /* 1 + offset of the text in json; 0: not there */
	size_t count;
	struct buf json;
};

/* The value on top of the stack as JSON text. The buffer may move: the address comes
 * later. */
static void add_nested(lua_State *L, struct fields *fields, struct slice key)
{
	size_t offset = fields->json.size;
	struct attr *attr = &fields->attrs[fields->count];
	struct fault why;

	if (!json_value_write_hiding(L, -1, is_secret, &fields->json, &why)) {
		*attr = attr_text(key, SLICE("[not JSON]"));
		return;
	}
	fields->nested[fields->count] = 1 + offset;
	*attr = attr_text(key, slice_of(NULL, fields->json.size - offset));
}

static void add_field(lua_State *L, struct fields *fields)
{
	struct attr *attr = &fields->attrs[fields->count];
	struct slice key, text;
	double number;

	key.at = lua_tolstring(L, -2, &key.size);
	key = free_name(key);
	if (is_secret(key)) {
		*attr = attr_text(key, SLICE("[redacted]"));
	} else if (lua_type(L, -1) == LUA_TSTRING) {
		text.at = lua_tolstring(L, -1, &text.size);
		*attr = attr_text(key, text);
	} else if (lua_type(L, -1) == LUA_TNUMBER) {
		number = lua_tonumber(L, -1);
		*attr = attr_double(key, number);
		if (number >= -0x1p53 && number <= 0x1p53 &&
		    number == (double)(int64_t)number)
			*attr = attr_integer(key, (int64_t)number);
	} else if (lua_type(L, -1) == LUA_TBOOLEAN) {
		*attr = attr_bool(key, lua_toboolean(L, -1));
	} else {
		add_nested(L, fields, key);
	}
	fields->count++;
}

static int compare_attrs(const void *one, const void *other)
{
	const struct attr *a = one, *b = other;
	size_t common = a->key.size < b->key.size ? a->key.size : b->key.size;
	int order = common ? memcmp(a->key.at, b->key.at, common) : 0;

	return order ? order : (a->key.size > b->key.size) - (a->key.size < b->key.size);
}

/* Reads the table at index; nothing here raises: the table is only looked at. */
static void read_fields(lua_State *L, int index, struct fields *fields)
{
	lua_pushnil(L);
	while (lua_next(L, index)) {
		if (fields->count < LOG_ATTRS_MAX && lua_type(L, -2) == LUA_TSTRING)
			add_field(L, fields);
		lua_pop(L, 1);
	}
	for (size_t i = 0; i < fields->count; i++)
		if (fields->nested[i])
			fields->attrs[i].text.at =
				fields->json.at + fields->nested[i] - 1;
	qsort(fields->attrs, fields->count, sizeof(fields->attrs[0]), compare_attrs);
}

static int write_record(lua_State *L, enum log_severity severity)
{
	struct log *log = loop_observer(api_of(L)->loop)->log;
	struct slice message = api_check_slice(L, 1);
	const struct trace_context *trace = task_trace(L);
	struct fields fields;

	lua_settop(L, 2);
	if (!lua_isnil(L, 2))
		luaL_checktype(L, 2, LUA_TTABLE);
	if (!log_enabled(log, severity))
		return 0;
	fields.count = 0;
	fields.json = (struct buf){ 0 };
	memset(fields.nested, 0, sizeof(fields.nested));
	if (lua_istable(L, 2))
		read_fields(L, 2, &fields);
	log_write(log, severity, trace, message, fields.attrs, fields.count);
	buf_finish(&fields.json);
	return 0;
}

/* log.debug(message, [fields]) -> */
static int l_log_debug(lua_State *L)
{
	return write_record(L, LOG_debug);
}

/* log.error(message, [fields]) -> */
static int l_log_error(lua_State *L)
{
	return write_record(L, LOG_error);
}

/* log.info(message, [fields]) -> */
static int l_log_info(lua_State *L)
{
	return write_record(L, LOG_info);
}

/* log.warn(message, [fields]) -> */
static int l_log_warn(lua_State *L)
{
	return write_record(L, LOG_warn);
}

void api_open_log(lua_State *L, const struct api *api)
{
	static const luaL_Reg calls[] = { { "debug", l_log_debug },
					  { "error", l_log_error },
					  { "info", l_log_info },
					  { "warn", l_log_warn },
					  { NULL, NULL } };

	api_module(L, api, calls, NULL);
}
