/* SPDX-License-Identifier: MIT */
#include "api/service.h"

#include "base/check.h"
#include "http/router.h"
#include "script/loader.h"
#include "script/vm.h"

#include <lauxlib.h>
#include <stdlib.h>

#define LIST_MAX 256 /* routes, jobs ... of one service */

struct load {
	struct service *service;
	const char *path;
};

/* All of this runs protected in host mode: it raises with the words for the script's
 * author. */

static struct slice copy_text(lua_State *L, struct service *service, int table,
			      const char *field, const char *what)
{
	struct slice text;

	lua_getfield(L, table, field);
	if (lua_type(L, -1) != LUA_TSTRING)
		luaL_error(L, "%s: '%s' must be a text, not %s", what, field,
			   luaL_typename(L, -1));
	text.at = lua_tolstring(L, -1, &text.size);
	text = arena_copy(&service->arena, text);
	lua_pop(L, 1);
	return text;
}

static double get_number(lua_State *L, int table, const char *field, double otherwise)
{
	double value;

	lua_getfield(L, table, field);
	value = lua_isnumber(L, -1) ? lua_tonumber(L, -1) : otherwise;
	lua_pop(L, 1);
	return value;
}

static bool get_boolean(lua_State *L, int table, const char *field)
{
	bool value;

	lua_getfield(L, table, field);
	value = lua_toboolean(L, -1);
	lua_pop(L, 1);
	return value;
}

static int get_function(lua_State *L, int table, const char *field, bool needed,
			const char *what)
{
	lua_getfield(L, table, field);
	if (lua_isfunction(L, -1))
		return luaL_ref(L, LUA_REGISTRYINDEX);
	if (needed || !lua_isnil(L, -1))
		luaL_error(L, "%s: '%s' must be a function, not %s", what, field,
			   luaL_typename(L, -1));
	lua_pop(L, 1);
	return LUA_NOREF;
}

/* Pushes the service's array of this name and gives its length; an absent one is empty.
 */
static size_t push_list(lua_State *L, int service, const char *name)
{
	size_t count;

	lua_getfield(L, service, name);
	if (lua_isnil(L, -1)) {
		lua_pop(L, 1);
		lua_newtable(L);
	}
	if (!lua_istable(L, -1))
		luaL_error(L, "service: '%s' must be a table", name);
	count = lua_objlen(L, -1);
	if (count > LIST_MAX)
		luaL_error(L, "service: more than %d %s", LIST_MAX, name);
	return count;
}

/* Pushes item i of the list on top of the stack; gives its index. */
static int push_item(lua_State *L, size_t i, const char *what)
{
	lua_rawgeti(L, -1, (int)i + 1);
	if (!lua_istable(L, -1))
		luaL_error(L, "%s %d is no table", what, (int)i + 1);
	return lua_gettop(L);
}

/* "GET /orders/:id" */
static struct slice make_title(struct service *service, const struct service_route *route)
{
	size_t size = route->method.size + 1 + route->path.size;
	char *title = arena_alloc(&service->arena, size);

	memcpy(title, route->method.at, route->method.size);
	title[route->method.size] = ' ';
	memcpy(title + route->method.size + 1, route->path.at, route->path.size);
	return slice_of(title, size);
}

static void add_route(lua_State *L, struct service *service, struct service_route *route)
{
	struct fault why;

	route->title = make_title(service, route);
	if (!router_add(service->router, route->method, route->path, route, &why))
		luaL_error(L, "route %s: %s", route->path.at, why.detail);
}

static void read_sockets(lua_State *L, struct service *service)
{
	size_t count = push_list(L, 1, "sockets");

	service->sockets =
		arena_alloc(&service->arena, (count + 1) * sizeof(*service->sockets));
	for (size_t i = 0; i < count; i++) {
		struct service_socket *socket = &service->sockets[i];
		int item = push_item(L, i, "socket");

		socket->path = copy_text(L, service, item, "path", "socket");
		socket->accept = get_function(L, item, "accept", false, socket->path.at);
		socket->open = get_function(L, item, "open", false, socket->path.at);
		socket->message =
			get_function(L, item, "message", false, socket->path.at);
		socket->close = get_function(L, item, "close", false, socket->path.at);
		lua_pop(L, 1);
	}
	service->socket_count = count;
	lua_pop(L, 1);
}

static void read_routes(lua_State *L, struct service *service)
{
	size_t count = push_list(L, 1, "routes");
	size_t all = count + service->socket_count;

	service->routes =
		arena_alloc(&service->arena, (all + 1) * sizeof(*service->routes));
	memset(service->routes, 0, (all + 1) * sizeof(*service->routes));
	for (size_t i = 0; i < count; i++) {
		struct service_route *route = &service->routes[i];
		int item = push_item(L, i, "route");

		route->method = copy_text(L, service, item, "method", "route");
		route->path = copy_text(L, service, item, "path", "route");
		route->handler = get_function(L, item, "handler", true, route->path.at);
		route->raw = get_boolean(L, item, "raw");
		add_route(L, service, route);
		lua_pop(L, 1);
	}
	for (size_t i = 0; i < service->socket_count; i++) {
		struct service_route *route = &service->routes[count + i];

		route->method = SLICE("GET");
		route->path = service->sockets[i].path;
		route->handler = service->sockets[i].accept;
		route->socket = &service->sockets[i];
		add_route(L, service, route);
	}
	service->route_count = all;
	lua_pop(L, 1);
}

static void read_jobs(lua_State *L, struct service *service)
{
	size_t count = push_list(L, 1, "jobs");

	service->jobs =
		arena_alloc(&service->arena, (count + 1) * sizeof(*service->jobs));
	for (size_t i = 0; i < count; i++) {
		struct service_job *job = &service->jobs[i];
		int item = push_item(L, i, "job");

		job->name = copy_text(L, service, item, "name", "job");
		job->every_s = get_number(L, item, "every_s", 0);
		if (!(job->every_s >= 0.01 && job->every_s <= 86400))
			luaL_error(L, "job %s: 'every_s' must be from 0.01 to 86400",
				   job->name.at);
		job->handler = get_function(L, item, "handler", true, job->name.at);
		for (size_t other = 0; other < i; other++)
			if (slice_equal(service->jobs[other].name, job->name))
				luaL_error(L, "two jobs are called %s", job->name.at);
		lua_pop(L, 1);
	}
	service->job_count = count;
	lua_pop(L, 1);
}

static void read_keys(lua_State *L, struct service *service, int item,
		      struct service_consumer *consumer)
{
	lua_getfield(L, item, "bind");
	if (!lua_istable(L, -1) || lua_objlen(L, -1) > SERVICE_KEYS_MAX)
		luaL_error(L,
			   "consumer %s: 'bind' must be a table of up to %d routing keys",
			   consumer->queue.at, SERVICE_KEYS_MAX);
	consumer->key_count = lua_objlen(L, -1);
	for (size_t i = 0; i < consumer->key_count; i++) {
		struct slice key;

		lua_rawgeti(L, -1, (int)i + 1);
		key.at = luaL_checklstring(L, -1, &key.size);
		consumer->keys[i] = arena_copy(&service->arena, key);
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
}

static void read_consumers(lua_State *L, struct service *service)
{
	size_t count = push_list(L, 1, "consumers");

	service->consumers =
		arena_alloc(&service->arena, (count + 1) * sizeof(*service->consumers));
	for (size_t i = 0; i < count; i++) {
		struct service_consumer *consumer = &service->consumers[i];
		int item = push_item(L, i, "consumer");
		double prefetch = get_number(L, item, "prefetch", 16);

		consumer->queue = copy_text(L, service, item, "queue", "consumer");
		if (!(prefetch >= 1 && prefetch <= 1000))
			luaL_error(L, "consumer %s: 'prefetch' must be from 1 to 1000",
				   consumer->queue.at);
		consumer->prefetch = (unsigned)prefetch;
		read_keys(L, service, item, consumer);
		consumer->handler =
			get_function(L, item, "handler", true, consumer->queue.at);
		lua_pop(L, 1);
	}
	service->consumer_count = count;
	lua_pop(L, 1);
}

static int run_file(lua_State *L)
{
	struct load *load = vm_call_data(L);
	struct service *service = load->service;

	loader_push_file(L, load->path);
	lua_call(L, 0, 1);
	if (!lua_istable(L, 1))
		luaL_error(L, "%s returns a %s; it must return the service", load->path,
			   luaL_typename(L, 1));
	service->name = copy_text(L, service, 1, "name", load->path);
	read_sockets(L, service);
	read_routes(L, service);
	read_jobs(L, service);
	read_consumers(L, service);
	return 0;
}

struct service *service_load(struct vm *vm, const char *path, struct fault *why)
{
	struct service *service = mem_zeroed(1, sizeof(*service));
	struct load load = { service, path };

	service->router = router_create();
	if (vm_call(vm, run_file, &load, why) == 0)
		return service;
	lua_pop(vm_main(vm), 1);
	service_destroy(service);
	return NULL;
}

void service_destroy(struct service *service)
{
	if (!service)
		return;
	router_destroy(service->router);
	arena_finish(&service->arena);
	free(service);
}
