/* SPDX-License-Identifier: MIT */
/* api.h -- what a script can call: the native modules, and what they work with.
 *
 * A module is one file lua_<module>.c with one exported function, api_open_<module>, that
 * pushes its table. api.c holds the sorted list. lib/<module>.lua gives names, options
 * and defaults.
 *
 * In a module: above each l_* one line in Lua terms, arguments -> results; at the foot
 * two luaL_Reg arrays, `calls` and `waits` (bindings that end in task_suspend), for
 * api_module.
 */
#ifndef API_API_H
#define API_API_H

#include "base/fault.h"

struct lua_State;
struct luaL_Reg;

struct amqp;
struct gate;
struct helper;
struct http_client;
struct loop;
struct metrics;
struct pg_pool;
struct redis_pool;
struct socket_feed;
struct socket_hub;
struct stock;
struct tracer;
struct vm;

/* What the scripts of one worker can reach; all borrowed for the life of the VM. NULL:
 * the service has none, and the module's functions raise `unavailable` saying which
 * setting is missing. */
struct api {
	struct loop *loop;
	struct vm *vm;
	struct metrics *metrics;
	unsigned edition; /* of metrics, that its series are declared in */
	struct helper *helper;
	struct pg_pool *pg;
	struct redis_pool *redis;
	struct amqp *amqp;
	struct http_client *http;
	struct stock *stock;
	struct gate *gate; /* NULL: the service forwards nothing */
	struct socket_hub *sockets;
	struct socket_feed *feed; /* NULL: broadcasts stay in this process */
	void (*wake_job)(void *context,
			 struct slice name); /* any worker: run the job soon */
	void *wake_job_context;
	void (*push_setting)(struct lua_State *L, void *context,
			     struct slice name); /* native.conf; pushes one value */
	void *push_setting_context;
};

/* Provides native.* to the VM. Protected, in host mode. */
void api_open(struct lua_State *L, const struct api *api);

/* Provides native.test: only where tests run. */
void api_open_testing(struct lua_State *L, const struct api *api);

/* Pushes a module table of these functions, each with api as its first upvalue; either
 * may be NULL. */
void api_module(struct lua_State *L, const struct api *api, const struct luaL_Reg *calls,
		const struct luaL_Reg *waits);

/* Inside a binding: the upvalue. */
const struct api *api_of(struct lua_State *L);

/* Raises `unavailable`: "this service has no <what>; set <setting>". */
int api_absent(struct lua_State *L, const char *what, const char *setting);

/* Pushes nil and the fault: `return api_failed(L, why)`. */
int api_failed(struct lua_State *L, const struct fault *why);

/* The text at index; raises when it is none. Borrows the stack. */
struct slice api_check_slice(struct lua_State *L, int index);

/* The modules, each in lua_<module>.c: push the module's table. */
void api_open_amqp(struct lua_State *L, const struct api *api);
void api_open_clock(struct lua_State *L, const struct api *api);
void api_open_conf(struct lua_State *L, const struct api *api);
void api_open_crypto(struct lua_State *L, const struct api *api);
void api_open_db(struct lua_State *L, const struct api *api);
void api_open_fault(struct lua_State *L, const struct api *api);
void api_open_gate(struct lua_State *L, const struct api *api);
void api_open_http(struct lua_State *L, const struct api *api);
void api_open_job(struct lua_State *L, const struct api *api);
void api_open_json(struct lua_State *L, const struct api *api);
void api_open_log(struct lua_State *L, const struct api *api);
void api_open_metrics(struct lua_State *L, const struct api *api);
void api_open_password(struct lua_State *L, const struct api *api);
void api_open_random(struct lua_State *L, const struct api *api);
void api_open_redis(struct lua_State *L, const struct api *api);
void api_open_stock(struct lua_State *L, const struct api *api);
void api_open_task(struct lua_State *L, const struct api *api);
void api_open_test(struct lua_State *L,
		   const struct api *api); /* by api_open_testing only */
void api_open_trace(struct lua_State *L, const struct api *api);
void api_open_ws(struct lua_State *L, const struct api *api);

#endif
