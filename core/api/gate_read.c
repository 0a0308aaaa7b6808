/* SPDX-License-Identifier: MIT */
#include "api/gate_read.h"

#include "gate/plan.h"

#include <lauxlib.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#define ORIGINS_MAX 64
#define LIMITS_MAX 256
#define WHAT_SIZE 100

struct reading {
	lua_State *L;
	struct gate_plan *plan;
	struct slice chunk;
	int item; /* what is being read, 0: the whole */
	char what[WHAT_SIZE]; /* how a message calls it: "upstream 'orders'" */
};

/* --- members ---------------------------------------------------------------------- */

static void raw_field(lua_State *L, int table, const char *field)
{
	lua_pushstring(L, field);
	lua_rawget(L, table);
}

/* Raises with the words behind the place of the item. */
__attribute__((noreturn)) static void raise_at(struct reading *reading, const char *words)
{
	lua_State *L = reading->L;

	lua_pushlstring(L, reading->chunk.at, reading->chunk.size);
	if (reading->item)
		raw_field(L, reading->item, "at");
	if (lua_type(L, -1) != LUA_TSTRING)
		lua_pop(L, 1);
	lua_pushfstring(L, "%s: %s", lua_tostring(L, -1), words);
	lua_error(L);
	__builtin_unreachable();
}

__attribute__((format(printf, 2, 3), noreturn)) static void
refuse(struct reading *reading, const char *format, ...)
{
	char words[400];
	va_list args;
	int size = snprintf(words, sizeof(words), "%s: ", reading->what);

	va_start(args, format);
	vsnprintf(words + size, sizeof(words) - (size_t)size, format, args);
	va_end(args);
	raise_at(reading, words);
}

/* The value on top of the stack, which it takes. */
static struct slice take_text(struct reading *reading, const char *field)
{
	lua_State *L = reading->L;
	struct slice text;

	if (lua_type(L, -1) != LUA_TSTRING)
		refuse(reading, "'%s' must be a text, not %s", field,
		       luaL_typename(L, -1));
	text.at = lua_tolstring(L, -1, &text.size);
	text = arena_copy(&reading->plan->arena, text);
	lua_pop(L, 1);
	return text;
}

static struct slice get_text(struct reading *reading, int table, const char *field)
{
	raw_field(reading->L, table, field);
	return take_text(reading, field);
}

/* at NULL when there is none. */
static struct slice get_text_or_none(struct reading *reading, int table,
				     const char *field)
{
	raw_field(reading->L, table, field);
	if (!lua_isnil(reading->L, -1))
		return take_text(reading, field);
	lua_pop(reading->L, 1);
	return (struct slice){ 0 };
}

static double get_number(struct reading *reading, int table, const char *field)
{
	lua_State *L = reading->L;
	double value;

	raw_field(L, table, field);
	value = lua_type(L, -1) == LUA_TNUMBER ? lua_tonumber(L, -1) : -1;
	if (!(value >= 0 && value <= INT_MAX))
		refuse(reading, "'%s' must be a number from 0", field);
	lua_pop(L, 1);
	return value;
}

static int get_whole(struct reading *reading, int table, const char *field)
{
	double value = get_number(reading, table, field);

	if (value != (int)value)
		refuse(reading, "'%s' must be a whole number", field);
	return (int)value;
}

static bool get_boolean(struct reading *reading, int table, const char *field)
{
	bool value;

	raw_field(reading->L, table, field);
	value = lua_toboolean(reading->L, -1);
	lua_pop(reading->L, 1);
	return value;
}

/* Pushes the member, a table, and gives its index. */
static int push_table(struct reading *reading, int table, const char *field)
{
	lua_State *L = reading->L;

	raw_field(L, table, field);
	if (!lua_istable(L, -1))
		refuse(reading, "'%s' must be a table, not %s", field,
		       luaL_typename(L, -1));
	return lua_gettop(L);
}

/* The same with its length, and memory for as many items, zeroed. */
static int push_list(struct reading *reading, int table, const char *field, size_t most,
		     size_t *count, void *items, size_t item_size)
{
	int list = push_table(reading, table, field);
	void **memory = items;

	*count = lua_objlen(reading->L, list);
	if (*count > most)
		refuse(reading, "there are more than %zu %s", most, field);
	*memory = arena_alloc(&reading->plan->arena, (*count + 1) * item_size);
	memset(*memory, 0, (*count + 1) * item_size);
	return list;
}

/* Pushes item i of the list and gives its index. */
static int push_item(struct reading *reading, int list, size_t i, const char *kind,
		     const char *name)
{
	lua_State *L = reading->L;
	struct slice called;
	int item;

	reading->item = 0;
	snprintf(reading->what, WHAT_SIZE, "%s %zu", kind, i + 1);
	lua_rawgeti(L, list, (int)i + 1);
	if (!lua_istable(L, -1))
		refuse(reading, "is a %s, not a table", luaL_typename(L, -1));
	item = lua_gettop(L);
	reading->item = item;
	called = get_text(reading, item, name);
	snprintf(reading->what, WHAT_SIZE, "%s '%.*s'", kind, SLICE_PRINT(called));
	return item;
}

static void call_whole(struct reading *reading)
{
	reading->item = 0;
	snprintf(reading->what, WHAT_SIZE, "the gateway");
}

/* --- upstreams and limits --------------------------------------------------------- */

static void read_care(struct reading *reading, int item, struct gate_upstream_def *def)
{
	lua_State *L = reading->L;
	int part = push_table(reading, item, "health");

	def->health.path = get_text(reading, part, "path");
	if (def->health.path.size) {
		def->health.interval_ms = get_whole(reading, part, "interval_ms");
		def->health.timeout_ms = get_whole(reading, part, "timeout_ms");
		def->health.fall = (unsigned)get_whole(reading, part, "fall");
		def->health.rise = (unsigned)get_whole(reading, part, "rise");
	}
	part = push_table(reading, item, "breaker");
	def->breaker.failures = (unsigned)get_whole(reading, part, "failures");
	def->breaker.open_ms = get_whole(reading, part, "open_ms");
	part = push_table(reading, item, "retry");
	def->retry.attempts_max = (unsigned)get_whole(reading, part, "attempts_max");
	def->retry.ratio = get_number(reading, part, "ratio");
	def->retry.per_s = get_number(reading, part, "per_s");
	lua_pop(L, 3);
}

static enum gate_balance get_balance(struct reading *reading, int item)
{
	struct slice balance = get_text(reading, item, "balance");

	if (slice_equal(balance, SLICE("least_busy")))
		return GATE_least_busy;
	if (!slice_equal(balance, SLICE("round_robin")))
		refuse(reading, "'balance' must be round_robin or least_busy");
	return GATE_round_robin;
}

static void read_upstream(struct reading *reading, int item,
			  struct gate_upstream_def *def)
{
	def->name = get_text(reading, item, "name");
	def->addresses = get_text(reading, item, "address");
	def->balance = get_balance(reading, item);
	def->resolve_ms = get_whole(reading, item, "resolve_ms");
	def->connect_timeout_ms = get_whole(reading, item, "connect_timeout_ms");
	def->connections_max = (unsigned)get_whole(reading, item, "connections_max");
	def->idle_max = (unsigned)get_whole(reading, item, "idle_max");
	def->idle_timeout_ms = get_whole(reading, item, "idle_timeout_ms");
	read_care(reading, item, def);
}

static void read_upstreams(struct reading *reading, int table)
{
	struct gate_plan *plan = reading->plan;
	int list = push_list(reading, table, "upstreams", GATE_UPSTREAMS_MAX,
			     &plan->upstream_count, &plan->upstreams,
			     sizeof(*plan->upstreams));

	for (size_t i = 0; i < plan->upstream_count; i++) {
		int item = push_item(reading, list, i, "upstream", "name");

		read_upstream(reading, item, &plan->upstreams[i]);
		lua_pop(reading->L, 1);
	}
	call_whole(reading);
	lua_pop(reading->L, 1);
}

static void read_limit(struct reading *reading, int item, struct gate_limit_def *def)
{
	struct slice by = get_text(reading, item, "by");

	def->name = get_text(reading, item, "name");
	def->requests = get_number(reading, item, "requests");
	def->per_s = get_number(reading, item, "per_s");
	def->burst = get_number(reading, item, "burst");
	if (slice_equal(by, SLICE("header"))) {
		def->by = GATE_BY_header;
		def->header = get_text(reading, item, "header");
	} else if (slice_equal(by, SLICE("all"))) {
		def->by = GATE_BY_all;
	} else if (slice_equal(by, SLICE("client"))) {
		def->by = GATE_BY_client;
	} else {
		refuse(reading, "'by' must be client, header or all");
	}
}

static void read_limits(struct reading *reading, int table)
{
	struct gate_plan *plan = reading->plan;
	int list = push_list(reading, table, "limits", LIMITS_MAX, &plan->limit_count,
			     &plan->limits, sizeof(*plan->limits));

	for (size_t i = 0; i < plan->limit_count; i++) {
		int item = push_item(reading, list, i, "limit", "name");

		read_limit(reading, item, &plan->limits[i]);
		lua_pop(reading->L, 1);
	}
	call_whole(reading);
	lua_pop(reading->L, 1);
}

/* --- routes ----------------------------------------------------------------------- */

static unsigned find_upstream(struct reading *reading, struct slice name)
{
	const struct gate_plan *plan = reading->plan;

	for (size_t i = 0; i < plan->upstream_count; i++)
		if (slice_equal(plan->upstreams[i].name, name))
			return (unsigned)i;
	refuse(reading, "there is no upstream '%.*s'", SLICE_PRINT(name));
}

static unsigned find_limit(struct reading *reading, struct slice name)
{
	const struct gate_plan *plan = reading->plan;

	for (size_t i = 0; i < plan->limit_count; i++)
		if (slice_equal(plan->limits[i].name, name))
			return (unsigned)i;
	refuse(reading, "there is no limit '%.*s'", SLICE_PRINT(name));
}

static void read_route_limits(struct reading *reading, int item, struct gate_route *route)
{
	lua_State *L = reading->L;
	int list = push_table(reading, item, "limits");

	route->limit_count = lua_objlen(L, list);
	if (route->limit_count > GATE_LIMITS_PER_ROUTE)
		refuse(reading, "there are more than %d limits", GATE_LIMITS_PER_ROUTE);
	for (size_t i = 0; i < route->limit_count; i++) {
		lua_rawgeti(L, list, (int)i + 1);
		route->limits[i] = find_limit(reading, take_text(reading, "limits"));
	}
	lua_pop(L, 1);
}

/* 0: none; references begin with 1. */
static int get_before(struct reading *reading, int item)
{
	lua_State *L = reading->L;

	raw_field(L, item, "before");
	if (lua_isfunction(L, -1))
		return luaL_ref(L, LUA_REGISTRYINDEX);
	if (!lua_isnil(L, -1))
		refuse(reading, "'before' must be a function, not %s",
		       luaL_typename(L, -1));
	lua_pop(L, 1);
	return 0;
}

static size_t get_body_size_max(struct reading *reading, int item)
{
	bool told;

	raw_field(reading->L, item, "body_size_max");
	told = !lua_isnil(reading->L, -1);
	lua_pop(reading->L, 1);
	return told ? (size_t)get_whole(reading, item, "body_size_max") : SIZE_MAX;
}

static void read_route(struct reading *reading, int item, struct gate_route *route)
{
	route->prefix = get_text(reading, item, "prefix");
	route->rewrite = get_text_or_none(reading, item, "rewrite");
	route->upstream = find_upstream(reading, get_text(reading, item, "upstream"));
	route->timeout_ms = get_whole(reading, item, "timeout_ms");
	route->idle_timeout_ms = get_whole(reading, item, "idle_timeout_ms");
	route->body_size_max = get_body_size_max(reading, item);
	route->upgrade = get_boolean(reading, item, "upgrade");
	route->upgrades_per_client_max =
		(unsigned)get_whole(reading, item, "upgrades_per_client_max");
	read_route_limits(reading, item, route);
	route->before = get_before(reading, item);
}

static void read_routes(struct reading *reading, int table)
{
	struct gate_plan *plan = reading->plan;
	int list = push_list(reading, table, "routes", GATE_ROUTES_MAX,
			     &plan->route_count, &plan->routes, sizeof(*plan->routes));

	for (size_t i = 0; i < plan->route_count; i++) {
		int item = push_item(reading, list, i, "route", "prefix");

		read_route(reading, item, &plan->routes[i]);
		lua_pop(reading->L, 1);
	}
	call_whole(reading);
	lua_pop(reading->L, 1);
}

/* --- headers ---------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
	const struct http_header *left = a, *right = b;

	return strcmp(left->name.at, right->name.at);
}

static void read_headers(struct reading *reading, int table)
{
	lua_State *L = reading->L;
	struct gate_plan *plan = reading->plan;
	int list = push_table(reading, table, "headers");

	plan->answer_headers = arena_alloc(
		&plan->arena, GATE_ANSWER_HEADERS_MAX * sizeof(*plan->answer_headers));
	lua_pushnil(L);
	while (lua_next(L, list)) {
		struct http_header *header =
			&plan->answer_headers[plan->answer_header_count];

		if (plan->answer_header_count == GATE_ANSWER_HEADERS_MAX)
			refuse(reading, "there are more than %d headers",
			       GATE_ANSWER_HEADERS_MAX);
		header->value = take_text(reading, "headers");
		lua_pushvalue(L, -1);
		header->name = take_text(reading, "headers");
		plan->answer_header_count++;
	}
	qsort(plan->answer_headers, plan->answer_header_count,
	      sizeof(*plan->answer_headers), by_name);
	lua_pop(L, 1);
}

static void read_cors(struct reading *reading, int table)
{
	lua_State *L = reading->L;
	struct gate_cors *cors = &reading->plan->cors;
	int part, list;

	raw_field(L, table, "cors");
	if (lua_isnil(L, -1)) {
		lua_pop(L, 1);
		return;
	}
	lua_pop(L, 1);
	part = push_table(reading, table, "cors");
	list = push_list(reading, part, "origins", ORIGINS_MAX, &cors->origin_count,
			 &cors->origins, sizeof(*cors->origins));
	for (size_t i = 0; i < cors->origin_count; i++) {
		lua_rawgeti(L, list, (int)i + 1);
		cors->origins[i] = take_text(reading, "origins");
	}
	cors->methods = get_text(reading, part, "methods");
	cors->headers = get_text(reading, part, "headers");
	cors->expose = get_text(reading, part, "expose");
	cors->credentials = get_boolean(reading, part, "credentials");
	cors->max_age_s = get_whole(reading, part, "max_age_s");
	lua_pop(L, 2);
}

/* --- the whole -------------------------------------------------------------------- */

/* Whether the complaint is about an item of the list: it begins "route /api/v1: ". Leaves
 * it on the stack. */
static bool find_item(struct reading *reading, int table, const char *field,
		      const char *kind, const char *name, struct slice complaint)
{
	lua_State *L = reading->L;
	int list = push_table(reading, table, field);

	for (int i = 1; i <= (int)lua_objlen(L, list); i++) {
		char start[WHAT_SIZE];
		int item;

		lua_rawgeti(L, list, i);
		item = lua_gettop(L);
		raw_field(L, item, name);
		snprintf(start, WHAT_SIZE, "%s %s: ", kind, lua_tostring(L, -1));
		lua_pop(L, 1);
		reading->item = item;
		if (slice_starts_with(complaint, slice_text(start)))
			return true;
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
	reading->item = 0;
	return false;
}

static void finish(struct reading *reading, int table)
{
	struct fault why;
	struct slice complaint;

	if (gate_plan_finish(reading->plan, &why))
		return;
	complaint = slice_text(why.detail);
	if (!find_item(reading, table, "upstreams", "upstream", "name", complaint) &&
	    !find_item(reading, table, "limits", "limit", "name", complaint))
		find_item(reading, table, "routes", "route", "prefix", complaint);
	raise_at(reading, why.detail);
}

void gate_read(lua_State *L, int index, struct slice chunk, struct gate_plan *plan)
{
	struct reading reading = { .L = L, .plan = plan, .chunk = chunk };

	call_whole(&reading);
	luaL_checkstack(L, 20, NULL);
	read_upstreams(&reading, index);
	read_limits(&reading, index);
	read_routes(&reading, index);
	read_headers(&reading, index);
	read_cors(&reading, index);
	finish(&reading, index);
}
