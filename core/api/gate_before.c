/* SPDX-License-Identifier: MIT */
#include "api/gate_before.h"

#include "api/admission.h"
#include "api/reply.h"
#include "api/request_table.h"
#include "base/check.h"
#include "gate/gate.h"
#include "http/client_request.h"
#include "http/router.h"
#include "loop/loop.h"
#include "script/task.h"
#include "script/vm.h"
#include "watch/metrics.h"
#include "watch/trace.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>

#define BODY_KEPT (256u << 10) /* as in handler.c */
#define PLACE_SIZE 300
#define ENDED "this version of the service has ended"

struct gate_before {
	struct gate_before_config config;
	struct gate_hooks hooks;
	struct list refused; /* runs that are to be told so */
	struct admission admission;
	struct buf scratch;
	struct buf body; /* of the answer */
};

struct run {
	struct list member; /* in before->refused; else in none */
	struct gate_before *before;
	const struct gate_route *route;
	struct http_request *request; /* NULL: the client left */
	struct slice path;
	struct mono deadline;
	const struct trace_context *trace;
	struct span *span;
	gate_before_done_fn *done;
	void *done_context;
	struct admission_wait wait;
	bool waits;
	struct deferred later;
	struct fault why; /* refused */
};

/* --- without a task --------------------------------------------------------------- */

static void tell_refused(struct run *run)
{
	struct gate_before_result result = { .status = fault_status(&run->why),
					     .why = &run->why };

	list_remove(&run->member);
	loop_undefer(&run->later);
	run->done(run->done_context, &result);
	free(run);
}

static void on_refused(void *context)
{
	tell_refused(context);
}

/* Later in this turn. */
static void refuse(struct run *run, enum fault_kind kind, int status, const char *detail)
{
	fault_set_status(&run->why, kind, status, "%s", detail);
	list_append(&run->before->refused, &run->member);
	loop_defer(run->before->config.loop, &run->later, on_refused, run);
}

/* --- waiting ---------------------------------------------------------------------- */

static bool has_place(const struct gate_before *before)
{
	return task_count(before->config.vm) < before->config.tasks_max;
}

static void stop_waiting(struct run *run)
{
	run->waits = false;
	admission_leave(&run->before->admission, &run->wait);
}

static struct run *first_waiting(const struct gate_before *before)
{
	struct admission_wait *wait = admission_first(&before->admission);

	return wait ? list_of(wait, struct run, wait) : NULL;
}

static void on_waited_too_long(void *context)
{
	struct run *run = context;

	stop_waiting(run);
	refuse(run, FAULT_limit, 503, "no task ended in time for this request");
}

static void start(struct run *run);

/* Those who have waited longest take the places there are. */
static void look(void *context)
{
	struct gate_before *before = context;
	struct run *run;

	while ((run = first_waiting(before)) && has_place(before) &&
	       vm_has_room(before->config.vm)) {
		stop_waiting(run);
		start(run);
	}
}

static void admit(struct run *run)
{
	struct gate_before *before = run->before;

	if (!vm_has_room(before->config.vm)) {
		refuse(run, FAULT_limit, 503, "there is no memory for another request");
	} else if (has_place(before) && !before->admission.count) {
		start(run);
	} else if (admission_full(&before->admission)) {
		refuse(run, FAULT_limit, 503, "there is no room for another request");
	} else {
		run->waits = true;
		admission_join(&before->admission, &run->wait, run->deadline,
			       on_waited_too_long, run);
	}
}

/* --- to the script ---------------------------------------------------------------- */

static void push_before(lua_State *L, void *data)
{
	struct run *run = data;
	struct route route = { .template = run->route->prefix };
	struct router_match match = { .route = &route };

	lua_rawgeti(L, LUA_REGISTRYINDEX, run->route->before);
	request_table_push(L, run->request, &match, true, &run->before->scratch);
	lua_pushlstring(L, run->path.at, run->path.size);
	lua_setfield(L, -2, "target");
}

static void on_task_done(void *context, lua_State *L, const struct fault *why);

static void start(struct run *run)
{
	struct task_config task = {
		.push = push_before,
		.data = run,
		.deadline = run->deadline,
		.trace = run->trace,
		.span = run->span,
		.done = on_task_done,
		.context = run,
	};

	task_start(run->before->config.vm, &task);
}

/* --- what it said ----------------------------------------------------------------- */

/* "scripts/x/service.lua:12", or empty. */
static struct slice place_of(lua_State *L, int function, char text[PLACE_SIZE])
{
	lua_Debug ar;
	int size;

	if (!lua_checkstack(L, 2))
		return (struct slice){ 0 };
	lua_rawgeti(L, LUA_REGISTRYINDEX, function);
	lua_getinfo(L, ">S", &ar);
	if (ar.linedefined <= 0 || ar.source[0] != '@')
		return (struct slice){ 0 };
	size = snprintf(text, PLACE_SIZE, "%s:%d", ar.source + 1, ar.linedefined);
	return slice_of(text, size < PLACE_SIZE ? (size_t)size : 0);
}

/* Whether it is {with = table}; pushes that table then. */
static bool push_with(lua_State *L)
{
	if (!lua_istable(L, 1) || !lua_checkstack(L, 2 * REPLY_HEADERS_MAX + 4))
		return false;
	lua_pushliteral(L, "with");
	lua_rawget(L, 1);
	if (lua_istable(L, -1))
		return true;
	lua_pop(L, 1);
	return false;
}

/* The table on top of the stack, which keeps the texts alive. What is no header that may
 * be sent on (gate.with has refused it) is left out. */
static size_t read_with(lua_State *L, struct http_header headers[REPLY_HEADERS_MAX])
{
	int table = lua_gettop(L);
	size_t count = 0;

	lua_pushnil(L);
	while (count < REPLY_HEADERS_MAX && lua_next(L, table)) {
		struct http_header *header = &headers[count];

		if (lua_type(L, -2) != LUA_TSTRING || lua_type(L, -1) != LUA_TSTRING) {
			lua_pop(L, 1);
			continue;
		}
		header->name.at = lua_tolstring(L, -2, &header->name.size);
		header->value.at = lua_tolstring(L, -1, &header->value.size);
		if (client_request_header_good(header)) {
			count++;
			lua_pushvalue(L, -2); /* the key again, above the value */
		} else {
			lua_pop(L, 1);
		}
	}
	return count;
}

/* Nothing was returned. */
static bool said_nothing(lua_State *L)
{
	return lua_isnoneornil(L, 1) && lua_isnoneornil(L, 2);
}

static void tell_answer(struct run *run, lua_State *L, const struct fault *why)
{
	struct gate_before *before = run->before;
	char trace_id[33] = "", place[PLACE_SIZE];
	struct reply_context to = {
		.request = run->request,
		.traceback = task_traceback(before->config.vm),
		.defined = place_of(L, run->route->before, place),
		.generation = before->config.generation,
		.production = before->config.production,
	};
	struct gate_before_result result = { 0 };
	struct reply reply;

	if (run->trace)
		trace_id_text(run->trace, trace_id);
	to.trace_id = slice_text(trace_id);
	reply_read(L, why, &to, &reply, &before->body);
	result.status = reply.status;
	result.headers = reply.headers;
	result.header_count = reply.header_count;
	result.body = buf_slice(&before->body);
	result.why = reply.why.kind ? &reply.why : NULL;
	run->done(run->done_context, &result);
	if (before->body.capacity > BODY_KEPT)
		buf_finish(&before->body);
}

static void on_task_done(void *context, lua_State *L, const struct fault *why)
{
	struct run *run = context;
	struct http_header headers[REPLY_HEADERS_MAX];
	struct gate_before_result on = { .go_on = true, .headers = headers };
	struct fault cut;

	/* Not by the caller, who is there, but with the VM. */
	if (why && why->kind == FAULT_cancelled && run->request && lua_gettop(L) == 0) {
		fault_set(&cut, FAULT_uncertain, ENDED);
		why = &cut;
	}
	if (!why && push_with(L)) {
		on.header_count = read_with(L, headers);
		run->done(run->done_context, &on);
	} else if (!why && said_nothing(L)) {
		run->done(run->done_context, &on);
	} else {
		tell_answer(run, L, why);
	}
	admission_soon(&run->before->admission);
	free(run);
}

/* --- from the gateway ------------------------------------------------------------- */

static void *before_run(void *context, const struct gate_route *route,
			struct http_request *request, struct slice path,
			struct mono deadline, const struct trace_context *trace,
			struct span *span, gate_before_done_fn *done, void *done_context)
{
	struct gate_before *before = context;
	struct mono own = admission_deadline(request, before->config.task_timeout_ms);
	struct run *run = mem_zeroed(1, sizeof(*run));

	*run = (struct run){
		.before = before,
		.route = route,
		.request = request,
		.path = path,
		.deadline = own.ns < deadline.ns ? own : deadline,
		.trace = trace,
		.span = span,
		.done = done,
		.done_context = done_context,
	};
	list_init(&run->member);
	admit(run);
	return run;
}

/* Its task, if there is one, goes on. */
static void before_left(void *context, void *running)
{
	struct run *run = running;

	run->request = NULL;
	if (run->waits) {
		stop_waiting(run);
		refuse(run, FAULT_cancelled, 0, "the client left");
	}
}

/* --- life ------------------------------------------------------------------------- */

struct gate_before *gate_before_create(const struct gate_before_config *config)
{
	struct gate_before *before = mem_zeroed(1, sizeof(*before));
	struct meter *meter = loop_observer(config->loop)->meter;

	before->config = *config;
	before->hooks = (struct gate_hooks){ before_run, before_left, before };
	list_init(&before->refused);
	admission_init(&before->admission, config->loop, config->queue_max,
		       meter_own(meter, METRIC_tasks_waiting, 0), look, before);
	return before;
}

const struct gate_hooks *gate_before_hooks(const struct gate_before *before)
{
	return &before->hooks;
}

void gate_before_destroy(struct gate_before *before)
{
	struct run *run;

	if (!before)
		return;
	while ((run = first_waiting(before))) {
		stop_waiting(run);
		refuse(run, FAULT_unavailable, 503, ENDED);
	}
	while (!list_empty(&before->refused))
		tell_refused(list_of(before->refused.next, struct run, member));
	buf_finish(&before->scratch);
	buf_finish(&before->body);
	free(before);
}
