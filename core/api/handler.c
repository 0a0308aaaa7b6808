/* SPDX-License-Identifier: MIT */
#include "api/handler.h"

#include "api/reply.h"
#include "api/request_record.h"
#include "api/request_table.h"
#include "api/service.h"
#include "api/socket.h"
#include "base/check.h"
#include "base/list.h"
#include "http/request.h"
#include "http/router.h"
#include "http/websocket.h"
#include "loop/loop.h"
#include "script/task.h"
#include "script/vm.h"
#include "watch/metrics.h"

#include <lauxlib.h>
#include <stdlib.h>

/* Memory for answers that is kept; a larger one is freed when it was sent. */
#define BODY_KEPT (256u << 10)

struct handler {
	struct handler_config config;
	const struct observer *observer;
	struct list idle; /* servings to use again */
	struct series *active;
	struct buf scratch; /* decoded path segments, query values */
	struct buf body; /* of the answer being written */
};

/* One request from its arrival to its end. */
struct serving {
	struct list member; /* in handler->idle */
	struct handler *handler;
	struct http_request *request; /* NULL once answered or gone */
	const struct router_match *match; /* until the task has started */
	struct request_record record;
	struct timer hold; /* chaos: before the task starts */
};

/* --- from the server -------------------------------------------------------------- */

static struct serving *begin(struct handler *handler, struct http_request *request,
			     const struct router_match *match)
{
	struct list *member = list_take(&handler->idle);
	struct serving *serving;

	if (member) {
		serving = list_of(member, struct serving, member);
	} else {
		serving = mem_zeroed(1, sizeof(*serving));
		serving->handler = handler;
	}
	serving->request = request;
	serving->match = match;
	request_record_begin(&serving->record, handler->observer, request, match);
	series_add(handler->active, 1);
	return serving;
}

static bool has_room(const struct handler *handler)
{
	return task_count(handler->config.vm) < handler->config.tasks_max &&
	       vm_has_room(handler->config.vm);
}

static void run(struct serving *serving);
static void run_slow(struct serving *serving, struct chaos_effect effect);
static void refuse_slow(struct serving *serving, enum router_outcome outcome);

void handler_serve(void *context, struct http_request *request)
{
	struct handler *handler = context;
	struct chaos_effect effect;
	struct router_match match;
	enum router_outcome outcome;
	struct serving *serving;

	outcome = router_match(handler->config.service->router,
			       http_request_method(request), http_request_path(request),
			       &match, &handler->scratch);
	if (outcome == ROUTER_missing)
		match.route = match.sibling = NULL;
	else if (outcome == ROUTER_method)
		match.route = NULL;
	serving = begin(handler, request, &match);
	if (outcome != ROUTER_found || !has_room(handler)) {
		refuse_slow(serving, outcome);
		return;
	}
	effect = chaos_point(loop_chaos(handler->config.loop), CHAOS_http_serve);
	if (__builtin_expect(effect.delay_ms > 0 || effect.fail, 0))
		run_slow(serving, effect);
	else
		run(serving);
}

/* --- to the script ---------------------------------------------------------------- */

/* request_table_push reads the path's parameters, which may lie in scratch, before it
 * uses scratch. */
static void push_handler(lua_State *L, void *data)
{
	struct serving *serving = data;

	lua_rawgeti(L, LUA_REGISTRYINDEX, serving->record.route->handler);
	request_table_push(L, serving->request, serving->match,
			   serving->record.route->raw, &serving->handler->scratch);
}

static void on_task_done(void *context, lua_State *L, const struct fault *why);
static void on_gone(void *context);
static void run_socket(struct serving *serving);

static void run(struct serving *serving)
{
	struct handler *handler = serving->handler;
	struct task_config task = {
		.push = push_handler,
		.data = serving,
		.deadline = mono_after_ms(loop_now(handler->config.loop),
					  handler->config.task_timeout_ms),
		.trace = request_record_trace(&serving->record),
		.span = serving->record.span,
		.done = on_task_done,
		.context = serving,
	};

	if (serving->record.route->socket) {
		run_socket(serving);
		return;
	}
	http_request_on_gone(serving->request, on_gone, serving);
	task_start(handler->config.vm, &task);
}

/* --- to the client ---------------------------------------------------------------- */

/* Everything that is said about a request, once, when its status is known. */
static void conclude(struct serving *serving, int status, const struct fault *why,
		     struct slice traceback)
{
	struct handler *handler = serving->handler;

	request_record_end(&serving->record, handler->observer, status, why, traceback);
	series_add(handler->active, -1);
	list_append(&handler->idle, &serving->member);
}

/* The client left before the answer. What the task came to is dropped, unless it failed.
 */
static void conclude_left(struct serving *serving, const struct fault *why,
			  struct slice traceback)
{
	struct fault left = { .kind = FAULT_cancelled, .detail = "the client left" };

	conclude(serving, fault_status(&left), why->kind ? why : &left, traceback);
}

static void on_task_done(void *context, lua_State *L, const struct fault *why)
{
	struct serving *serving = context;
	struct handler *handler = serving->handler;
	struct http_request *request = serving->request;
	struct slice traceback = task_traceback(handler->config.vm);
	struct reply reply;
	char id[33];

	reply_read(L, why, request_record_trace_id(&serving->record, id),
		   handler->config.production, &reply, &handler->body);
	serving->request = NULL;
	if (request) {
		http_respond(request, reply.status, reply.headers, reply.header_count,
			     buf_slice(&handler->body));
		conclude(serving, reply.status, &reply.why, traceback);
	} else {
		conclude_left(serving, &reply.why, traceback);
	}
	if (__builtin_expect(handler->body.capacity > BODY_KEPT, 0))
		buf_finish(&handler->body);
}

/* With a task under way its end concludes. */
static void on_gone(void *context)
{
	struct serving *serving = context;
	struct fault none = { 0 };

	serving->request = NULL;
	if (!timer_started(&serving->hold))
		return;
	timer_stop(serving->handler->config.loop, &serving->hold);
	conclude_left(serving, &none, (struct slice){ 0 });
}

static void answer_fault(struct serving *serving, const struct fault *why,
			 const struct http_header *headers, size_t count)
{
	char id[33];

	http_respond_fault(serving->request, why,
			   request_record_trace_id(&serving->record, id), headers, count);
	serving->request = NULL;
	conclude(serving, fault_status(why), why, (struct slice){ 0 });
}

/* 404, 405, or no room: Lua is not needed. */
static void refuse_slow(struct serving *serving, enum router_outcome outcome)
{
	struct http_header allow = { SLICE("allow"), slice_text(serving->match->allow) };
	struct http_header retry = { SLICE("retry-after"), SLICE("1") };
	struct slice path = http_request_path(serving->request);
	struct fault why;

	if (outcome == ROUTER_missing) {
		fault_set(&why, FAULT_missing, "no route matches %.*s",
			  SLICE_PRINT(path));
		answer_fault(serving, &why, NULL, 0);
	} else if (outcome == ROUTER_method) {
		fault_set_status(&why, FAULT_missing, 405, "%.*s is not one of %s",
				 SLICE_PRINT(serving->record.method),
				 serving->match->allow);
		answer_fault(serving, &why, &allow, 1);
	} else {
		fault_set_status(&why, FAULT_limit, 503,
				 "there is no room for another request");
		answer_fault(serving, &why, &retry, 1);
	}
}

/* --- a WebSocket ------------------------------------------------------------------ */

static void on_socket_answered(void *context, int status, const struct fault *why)
{
	struct serving *serving = context;
	struct fault none = { 0 };

	serving->request = NULL;
	conclude(serving, status, why ? why : &none, (struct slice){ 0 });
}

/* The socket server takes the request over; what is left to say is its handshake. */
static void run_socket(struct serving *serving)
{
	struct http_header upgrade = { SLICE("upgrade"), SLICE("websocket") };
	struct fault why;

	if (!websocket_asked(serving->request)) {
		fault_set_status(&why, FAULT_bad_input, 426,
				 "this is a WebSocket endpoint");
		answer_fault(serving, &why, &upgrade, 1);
		return;
	}
	socket_server_accept(serving->handler->config.sockets,
			     serving->record.route->socket, serving->request,
			     serving->match, request_record_trace(&serving->record),
			     on_socket_answered, serving);
}

/* --- chaos ------------------------------------------------------------------------ */

static void on_held(void *context)
{
	run(context);
}

/* The match, with what it borrows, as long as the request. */
static const struct router_match *keep_match(struct http_request *request,
					     const struct router_match *match)
{
	struct arena *arena = http_request_arena(request);
	struct router_match *kept = arena_alloc(arena, sizeof(*kept));

	*kept = *match;
	for (size_t i = 0; i < kept->param_count; i++)
		kept->params[i].value = arena_copy(arena, match->params[i].value);
	return kept;
}

static void run_slow(struct serving *serving, struct chaos_effect effect)
{
	struct loop *loop = serving->handler->config.loop;
	struct fault why;

	if (effect.fail) {
		fault_set(&why, effect.fail, "chaos at http_serve");
		answer_fault(serving, &why, NULL, 0);
		return;
	}
	serving->match = keep_match(serving->request, serving->match);
	http_request_on_gone(serving->request, on_gone, serving);
	timer_start(loop, &serving->hold, mono_after_ms(loop_now(loop), effect.delay_ms),
		    on_held, serving);
}

/* --- answered elsewhere ----------------------------------------------------------- */

void handler_record(struct handler *handler, struct slice method, struct slice endpoint,
		    int status, struct mono began)
{
	request_record_count(handler->observer, method, endpoint, status,
			     mono_seconds(began, clock_mono()));
}

void handler_refused(struct handler *handler, struct slice method,
		     const struct fault *why, char trace_id[33])
{
	request_record_refused(handler->observer, method, why, trace_id);
}

/* --- life ------------------------------------------------------------------------- */

struct handler *handler_create(const struct handler_config *config)
{
	struct handler *handler = mem_zeroed(1, sizeof(*handler));

	handler->config = *config;
	handler->observer = loop_observer(config->loop);
	list_init(&handler->idle);
	handler->active =
		meter_own(handler->observer->meter, METRIC_http_server_active, 0);
	return handler;
}

void handler_destroy(struct handler *handler)
{
	struct list *member;

	if (!handler)
		return;
	while ((member = list_take(&handler->idle))) {
		struct serving *serving = list_of(member, struct serving, member);

		request_record_finish(&serving->record);
		free(serving);
	}
	buf_finish(&handler->scratch);
	buf_finish(&handler->body);
	free(handler);
}
