/* SPDX-License-Identifier: MIT */
#include "api/service.h"

#include "api/gate_read.h"
#include "base/check.h"
#include "gate/plan.h"
#include "http/router.h"
#include "script/loader.h"
#include "script/vm.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>

#define LIST_MAX 256 /* routes, jobs ... of one service */
#define ITEM_NAME 24 /* "consumer 256" */

struct load {
	struct service *service;
	const char *path;
	struct slice chunk; /* what the file is called in messages; in the arena */
	unsigned last; /* its last line */
	int result; /* reference of what it returned */
};

/* --- where a thing is defined ----------------------------------------------------- */

/* "scripts/x/service.lua:12" of the function on top of the stack, which it takes; empty
 * for one of C. */
static struct slice place_of(lua_State *L, struct arena *arena)
{
	struct slice place = { 0 };
	char text[300];
	lua_Debug ar;
	int size;

	lua_getinfo(L, ">S", &ar);
	if (ar.linedefined <= 0 || ar.source[0] != '@')
		return place;
	size = snprintf(text, sizeof(text), "%s:%d", ar.source + 1, ar.linedefined);
	if (size > 0 && (size_t)size < sizeof(text))
		place = arena_copy(arena, slice_of(text, (size_t)size));
	return place;
}

static void raw_field(lua_State *L, int table, const char *field)
{
	lua_pushstring(L, field);
	lua_rawget(L, table);
}

/* Where the author of the item at this index wrote its function: lib/app.lua wraps what
 * it is given, and keeps that as `author`. */
static struct slice item_place(lua_State *L, struct arena *arena, int item)
{
	static const char *const fields[] = { "author",	 "handler", "accept",
					      "message", "open",    "close" };
	struct slice place = { 0 };

	for (size_t i = 0; i < sizeof(fields) / sizeof(*fields) && !place.size; i++) {
		raw_field(L, item, fields[i]);
		if (lua_isfunction(L, -1))
			place = place_of(L, arena);
		else
			lua_pop(L, 1);
	}
	return place;
}

/* Raises with the words for the script's author, behind the place of the item (0: the
 * service itself) when there is one. */
__attribute__((format(printf, 4, 5), noreturn)) static void
refuse(lua_State *L, const struct load *load, int item, const char *format, ...)
{
	struct slice place = load->chunk;
	char text[240];
	va_list args;

	if (item && item_place(L, &load->service->arena, item).size)
		place = item_place(L, &load->service->arena, item);
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	lua_pushfstring(L, "%s: %s", place.at, text);
	lua_error(L);
	__builtin_unreachable();
}

/* --- members ---------------------------------------------------------------------- */

/* All of this runs protected in host mode, without the budgets: it reads raw members
 * only, for a metamethod is the script's code. */

static struct slice copy_text(lua_State *L, const struct load *load, int table,
			      const char *field, const char *what)
{
	struct slice text;

	raw_field(L, table, field);
	if (lua_type(L, -1) != LUA_TSTRING)
		refuse(L, load, table, "%s: '%s' must be a text, not %s", what, field,
		       luaL_typename(L, -1));
	text.at = lua_tolstring(L, -1, &text.size);
	text = arena_copy(&load->service->arena, text);
	lua_pop(L, 1);
	return text;
}

static double get_number(lua_State *L, int table, const char *field, double otherwise)
{
	double value;

	raw_field(L, table, field);
	value = lua_isnumber(L, -1) ? lua_tonumber(L, -1) : otherwise;
	lua_pop(L, 1);
	return value;
}

static bool get_boolean(lua_State *L, int table, const char *field)
{
	bool value;

	raw_field(L, table, field);
	value = lua_toboolean(L, -1);
	lua_pop(L, 1);
	return value;
}

static int get_function(lua_State *L, const struct load *load, int table,
			const char *field, bool needed, const char *what)
{
	raw_field(L, table, field);
	if (lua_isfunction(L, -1))
		return luaL_ref(L, LUA_REGISTRYINDEX);
	if (needed || !lua_isnil(L, -1))
		refuse(L, load, table, "%s: '%s' must be a function, not %s", what, field,
		       luaL_typename(L, -1));
	lua_pop(L, 1);
	return LUA_NOREF;
}

/* Pushes the service's array of this name and gives its length; an absent one is empty.
 */
static size_t push_list(lua_State *L, const struct load *load, const char *name)
{
	size_t count;

	raw_field(L, 1, name);
	if (lua_isnil(L, -1)) {
		lua_pop(L, 1);
		lua_newtable(L);
	}
	if (!lua_istable(L, -1))
		refuse(L, load, 0, "the service's '%s' must be a table, not %s", name,
		       luaL_typename(L, -1));
	count = lua_objlen(L, -1);
	if (count > LIST_MAX)
		refuse(L, load, 0, "the service has more than %d %s", LIST_MAX, name);
	return count;
}

/* Pushes item i of the list on top of the stack; gives its index. what is also how a
 * message calls it: "route 3". */
static int push_item(lua_State *L, const struct load *load, size_t i, const char *kind,
		     char what[ITEM_NAME])
{
	snprintf(what, ITEM_NAME, "%s %d", kind, (int)i + 1);
	lua_rawgeti(L, -1, (int)i + 1);
	if (!lua_istable(L, -1))
		refuse(L, load, 0, "%s is a %s, not a table", what, luaL_typename(L, -1));
	return lua_gettop(L);
}

/* --- routes and sockets ----------------------------------------------------------- */

/* "GET /orders/:id" */
static struct slice make_title(struct service *service, const struct service_route *route)
{
	size_t size = route->about.method.size + 1 + route->about.path.size;
	char *title = arena_alloc(&service->arena, size + 1);

	memcpy(title, route->about.method.at, route->about.method.size);
	title[route->about.method.size] = ' ';
	memcpy(title + route->about.method.size + 1, route->about.path.at,
	       route->about.path.size);
	title[size] = 0;
	return slice_of(title, size);
}

static struct router *router_of(const struct load *load,
				const struct service_route *route)
{
	return route->admin ? load->service->admin_router : load->service->router;
}

/* The route that has this one's place already: its template, taken as a path, leads
 * there. NULL when the template is bad. */
static const struct service_route *find_rival(const struct load *load,
					      const struct service_route *route)
{
	struct buf scratch = { 0 };
	struct router_match match;
	enum router_outcome outcome =
		router_match(router_of(load, route), route->about.method,
			     route->about.path, &match, &scratch);

	buf_finish(&scratch);
	return outcome == ROUTER_found ? match.route->handler : NULL;
}

static void add_route(lua_State *L, const struct load *load, int item,
		      struct service_route *route)
{
	const struct service_route *rival;
	struct fault why;

	route->defined = item_place(L, &load->service->arena, item);
	if (router_add(router_of(load, route), route->about.method, route->about.path,
		       route, &why))
		return;
	rival = find_rival(load, route);
	if (rival && rival->defined.size)
		refuse(L, load, item, "%s, at %s", why.detail, rival->defined.at);
	refuse(L, load, item, "%s", why.detail);
}

static void read_socket(lua_State *L, const struct load *load, int item,
			struct service_socket *socket, const char *what)
{
	socket->path = copy_text(L, load, item, "path", what);
	what = socket->path.at;
	socket->accept = get_function(L, load, item, "accept", false, what);
	socket->open = get_function(L, load, item, "open", false, what);
	socket->message = get_function(L, load, item, "message", false, what);
	socket->close = get_function(L, load, item, "close", false, what);
}

/* A socket is a route too: the GET of its handshake. */
static void read_sockets(lua_State *L, const struct load *load)
{
	struct service *service = load->service;
	char what[ITEM_NAME];

	push_list(L, load, "sockets");
	for (size_t i = 0; i < service->socket_count; i++) {
		int item = push_item(L, load, i, "socket", what);
		struct service_socket *socket = &service->sockets[i];
		struct service_route *route = &service->routes[service->route_count++];

		read_socket(L, load, item, socket, what);
		route->about.method = SLICE("GET");
		route->about.path = socket->path;
		route->about.title = make_title(service, route);
		route->handler = socket->accept;
		route->socket = socket;
		add_route(L, load, item, route);
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
}

static void read_routes(lua_State *L, const struct load *load)
{
	struct service *service = load->service;
	size_t count = push_list(L, load, "routes");
	size_t all;
	char what[ITEM_NAME];

	service->socket_count = push_list(L, load, "sockets");
	lua_pop(L, 1);
	all = count + service->socket_count;
	service->sockets = arena_alloc(
		&service->arena, (service->socket_count + 1) * sizeof(*service->sockets));
	service->routes =
		arena_alloc(&service->arena, (all + 1) * sizeof(*service->routes));
	memset(service->routes, 0, (all + 1) * sizeof(*service->routes));
	for (size_t i = 0; i < count; i++) {
		struct service_route *route = &service->routes[i];
		int item = push_item(L, load, i, "route", what);

		route->about.method = copy_text(L, load, item, "method", what);
		route->about.path = copy_text(L, load, item, "path", what);
		route->about.title = make_title(service, route);
		route->handler = get_function(L, load, item, "handler", true,
					      route->about.title.at);
		route->raw = get_boolean(L, item, "raw");
		route->admin = get_boolean(L, item, "admin");
		add_route(L, load, item, route);
		lua_pop(L, 1);
	}
	service->route_count = count;
	lua_pop(L, 1);
}

/* --- jobs and consumers ----------------------------------------------------------- */

static void read_jobs(lua_State *L, const struct load *load)
{
	struct service *service = load->service;
	size_t count = push_list(L, load, "jobs");
	char what[ITEM_NAME];

	service->jobs =
		arena_alloc(&service->arena, (count + 1) * sizeof(*service->jobs));
	for (size_t i = 0; i < count; i++) {
		struct service_job *job = &service->jobs[i];
		int item = push_item(L, load, i, "job", what);

		job->name = copy_text(L, load, item, "name", what);
		job->every_s = get_number(L, item, "every_s", 0);
		if (!(job->every_s >= 0.01 && job->every_s <= 86400))
			refuse(L, load, item,
			       "job %s: 'every_s' must be from 0.01 to 86400",
			       job->name.at);
		job->handler = get_function(L, load, item, "handler", true, job->name.at);
		for (size_t other = 0; other < i; other++)
			if (slice_equal(service->jobs[other].name, job->name))
				refuse(L, load, item, "two jobs are called %s",
				       job->name.at);
		lua_pop(L, 1);
	}
	service->job_count = count;
	lua_pop(L, 1);
}

static void read_keys(lua_State *L, const struct load *load, int item,
		      struct service_consumer *consumer)
{
	raw_field(L, item, "bind");
	if (!lua_istable(L, -1) || lua_objlen(L, -1) > SERVICE_KEYS_MAX)
		refuse(L, load, item,
		       "consumer %s: 'bind' must be a table of up to %d routing keys",
		       consumer->queue.at, SERVICE_KEYS_MAX);
	consumer->key_count = lua_objlen(L, -1);
	for (size_t i = 0; i < consumer->key_count; i++) {
		struct slice key;

		lua_rawgeti(L, -1, (int)i + 1);
		if (lua_type(L, -1) != LUA_TSTRING)
			refuse(L, load, item,
			       "consumer %s: routing key %zu must be a text, not %s",
			       consumer->queue.at, i + 1, luaL_typename(L, -1));
		key.at = lua_tolstring(L, -1, &key.size);
		consumer->keys[i] = arena_copy(&load->service->arena, key);
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
}

static void read_consumers(lua_State *L, const struct load *load)
{
	struct service *service = load->service;
	size_t count = push_list(L, load, "consumers");
	char what[ITEM_NAME];

	service->consumers =
		arena_alloc(&service->arena, (count + 1) * sizeof(*service->consumers));
	for (size_t i = 0; i < count; i++) {
		struct service_consumer *consumer = &service->consumers[i];
		int item = push_item(L, load, i, "consumer", what);
		double prefetch = get_number(L, item, "prefetch", 16);

		consumer->queue = copy_text(L, load, item, "queue", what);
		if (!(prefetch >= 1 && prefetch <= 1000))
			refuse(L, load, item,
			       "consumer %s: 'prefetch' must be from 1 to 1000",
			       consumer->queue.at);
		consumer->prefetch = (unsigned)prefetch;
		read_keys(L, load, item, consumer);
		consumer->handler =
			get_function(L, load, item, "handler", true, consumer->queue.at);
		lua_pop(L, 1);
	}
	service->consumer_count = count;
	lua_pop(L, 1);
}

/* --- a gateway -------------------------------------------------------------------- */

/* The service owns the plan before it is read, for reading may raise. */
static void read_gate(lua_State *L, const struct load *load)
{
	struct service *service = load->service;

	raw_field(L, 1, "gate");
	if (!lua_isnil(L, -1) && !lua_istable(L, -1))
		refuse(L, load, 0, "the service's 'gate' must be a table, not %s",
		       luaL_typename(L, -1));
	if (lua_istable(L, -1)) {
		service->plan = mem_zeroed(1, sizeof(*service->plan));
		gate_read(L, lua_gettop(L), load->chunk, service->plan);
	}
	lua_pop(L, 1);
}

/* --- the whole -------------------------------------------------------------------- */

/* Under the budgets: nothing here holds what a raised error would lose. */
static int run_file(lua_State *L)
{
	struct load *load = vm_call_data(L);
	lua_Debug ar;

	loader_push_file(L, load->path);
	lua_pushvalue(L, -1);
	lua_getinfo(L, ">S", &ar);
	load->chunk = arena_copy(&load->service->arena,
				 slice_text(ar.source + (ar.source[0] == '@')));
	load->last = ar.lastlinedefined > 0 ? (unsigned)ar.lastlinedefined : 1;
	lua_call(L, 0, 1);
	load->result = luaL_ref(L, LUA_REGISTRYINDEX);
	return 0;
}

static int read_service(lua_State *L)
{
	const struct load *load = vm_call_data(L);
	struct service *service = load->service;

	lua_rawgeti(L, LUA_REGISTRYINDEX, load->result);
	if (!lua_istable(L, 1))
		return luaL_error(
			L, "%s:%d: the file returns a %s; it must return the service",
			load->chunk.at, (int)load->last, luaL_typename(L, 1));
	raw_field(L, 1, "name");
	if (lua_type(L, -1) != LUA_TSTRING)
		refuse(L, load, 0, "the service's 'name' must be a text, not %s",
		       luaL_typename(L, -1));
	lua_pop(L, 1);
	service->name = copy_text(L, load, 1, "name", "service");
	read_routes(L, load);
	read_sockets(L, load);
	read_jobs(L, load);
	read_consumers(L, load);
	read_gate(L, load);
	return 0;
}

struct service *service_load(struct vm *vm, const char *path, struct fault *why)
{
	struct service *service = mem_zeroed(1, sizeof(*service));
	struct load load = { .service = service, .path = path, .result = LUA_NOREF };
	bool read = false;

	service->router = router_create();
	service->admin_router = router_create();
	if (vm_run(vm, run_file, &load, why) == 0) {
		read = vm_call(vm, read_service, &load, why) == 0;
		if (!read)
			lua_pop(vm_main(vm), 1);
		luaL_unref(vm_main(vm), LUA_REGISTRYINDEX, load.result);
	}
	if (read)
		return service;
	service_destroy(service);
	return NULL;
}

void service_destroy(struct service *service)
{
	if (!service)
		return;
	router_destroy(service->router);
	router_destroy(service->admin_router);
	gate_plan_destroy(service->plan);
	arena_finish(&service->arena);
	free(service);
}
