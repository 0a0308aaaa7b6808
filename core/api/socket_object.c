/* SPDX-License-Identifier: MIT */
#include "api/socket_object.h"

#include "api/api.h"
#include "api/json_value.h"
#include "api/socket_hub.h"
#include "base/check.h"
#include "base/utf8.h"
#include "script/vm.h"

#include <lauxlib.h>

/* --- the methods ------------------------------------------------------------------ */

/* 0, which is nobody's, when a script has changed it to something else. */
static uint64_t conn_id(lua_State *L)
{
	double id;

	luaL_checktype(L, 1, LUA_TTABLE);
	lua_pushliteral(L, "id");
	lua_rawget(L, 1);
	id = lua_tonumber(L, -1);
	return id >= 1 && id <= 0x1p53 ? (uint64_t)id : 0;
}

/* conn:send(text or table) -> boolean: false when the connection is gone or its queue
 * full */
static int l_conn_send(lua_State *L)
{
	struct socket_objects *objects = lua_touserdata(L, lua_upvalueindex(1));
	uint64_t id = conn_id(L);
	struct fault why;
	bool sent;

	if (lua_type(L, 2) == LUA_TSTRING) {
		struct slice text = api_check_slice(L, 2);

		luaL_argcheck(L, utf8_valid(text) == text.size, 2, "this is not UTF-8");
		sent = socket_hub_send(objects->hub, id, text);
	} else {
		buf_reset(&objects->scratch);
		if (!json_value_write(L, 2, &objects->scratch, &why))
			return luaL_error(L, "conn:send: %s", why.detail);
		sent = socket_hub_send(objects->hub, id, buf_slice(&objects->scratch));
	}
	lua_pushboolean(L, sent);
	return 1;
}

/* Codes that an endpoint may send (RFC 6455, 7.4). */
static bool is_close_code(lua_Integer code)
{
	return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
	       (code >= 3000 && code <= 4999);
}

/* conn:close([code]) -> */
static int l_conn_close(lua_State *L)
{
	struct socket_objects *objects = lua_touserdata(L, lua_upvalueindex(1));
	lua_Integer code = luaL_optinteger(L, 2, 1000);

	luaL_argcheck(L, is_close_code(code), 2, "no close code");
	socket_hub_close(objects->hub, conn_id(L), (int)code, SLICE(""));
	return 0;
}

/* Makes the metatable of conn. */
static int make_methods(lua_State *L)
{
	static const luaL_Reg methods[] = { { "close", l_conn_close },
					    { "send", l_conn_send } };
	struct socket_objects *objects = vm_call_data(L);

	lua_createtable(L, 0, 2);
	lua_createtable(L, 0, 2);
	for (size_t i = 0; i < sizeof(methods) / sizeof(*methods); i++) {
		lua_pushlightuserdata(L, objects);
		lua_pushcclosure(L, methods[i].func, 1);
		lua_setfield(L, -2, methods[i].name);
	}
	lua_setfield(L, -2, "__index");
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	objects->methods = luaL_ref(L, LUA_REGISTRYINDEX);
	return 0;
}

/* --- making ----------------------------------------------------------------------- */

/* channels, state -> ; gives the reference of their object */
static int keep(lua_State *L, const struct socket_objects *objects, uint64_t id)
{
	lua_createtable(L, 0, 4);
	lua_insert(L, -3);
	lua_setfield(L, -3, "state");
	lua_setfield(L, -2, "channels");
	lua_pushnumber(L, (lua_Number)id);
	lua_setfield(L, -2, "id");
	lua_rawgeti(L, LUA_REGISTRYINDEX, objects->methods);
	lua_setmetatable(L, -2);
	return luaL_ref(L, LUA_REGISTRYINDEX);
}

static void push_member(lua_State *L, int index, const char *name)
{
	lua_pushstring(L, name);
	lua_rawget(L, index);
}

int socket_object_make(lua_State *L, const struct socket_objects *objects, uint64_t id)
{
	push_member(L, 1, "channels");
	push_member(L, 1, "state");
	if (!lua_istable(L, -1)) {
		lua_pop(L, 1);
		lua_newtable(L);
	}
	return keep(L, objects, id);
}

/* --- moving ----------------------------------------------------------------------- */

struct move {
	const struct socket_objects *to;
	int object; /* the old, then the new one */
	uint64_t id;
	struct buf channels; /* JSON */
	struct buf state; /* JSON; empty: lost */
	struct fault *why;
};

static int write_members(lua_State *L)
{
	struct move *move = vm_call_data(L);
	int object;

	lua_rawgeti(L, LUA_REGISTRYINDEX, move->object);
	object = lua_gettop(L);
	push_member(L, object, "channels");
	json_value_write(L, object + 1, &move->channels, NULL);
	push_member(L, object, "state");
	json_value_write(L, object + 2, &move->state, move->why);
	return 0;
}

/* A list that some script has made unsayable was only for show: the hub knows it. */
static int read_members(lua_State *L)
{
	struct move *move = vm_call_data(L);

	if (!move->channels.size || !json_value_push(L, buf_slice(&move->channels), NULL))
		lua_newtable(L);
	if (!move->state.size || !json_value_push(L, buf_slice(&move->state), move->why))
		lua_newtable(L);
	move->object = keep(L, move->to, move->id);
	return 0;
}

int socket_object_move(const struct socket_objects *from, int object,
		       const struct socket_objects *to, uint64_t id, struct fault *why)
{
	struct move move = { .to = to, .object = object, .id = id, .why = why };

	why->kind = FAULT_none;
	check(vm_call(from->vm, write_members, &move, NULL) == 0);
	socket_object_release(from, object);
	check(vm_call(to->vm, read_members, &move, NULL) == 0);
	buf_finish(&move.channels);
	buf_finish(&move.state);
	return move.object;
}

void socket_object_release(const struct socket_objects *objects, int object)
{
	luaL_unref(vm_main(objects->vm), LUA_REGISTRYINDEX, object);
}

/* --- life ------------------------------------------------------------------------- */

void socket_objects_init(struct socket_objects *objects, struct vm *vm,
			 struct socket_hub *hub)
{
	struct fault why;

	*objects = (struct socket_objects){ .vm = vm, .hub = hub };
	check(vm_call(vm, make_methods, objects, &why) == 0);
}

void socket_objects_finish(struct socket_objects *objects)
{
	buf_finish(&objects->scratch);
}
