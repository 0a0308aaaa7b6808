/* SPDX-License-Identifier: MIT */
/* handler.c -- one file, because it reads in the order in which a request is served. */
#include "api/handler.h"

#include "api/admission.h"
#include "api/reply.h"
#include "api/request_table.h"
#include "api/service.h"
#include "api/socket.h"
#include "base/check.h"
#include "base/list.h"
#include "gate/gate.h"
#include "http/request.h"
#include "http/request_record.h"
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

/* Where a generation ends before what it was to do. */
#define ENDED "this version of the service has ended"

struct handler {
	struct handler_config config;
	const struct observer *observer;
	struct list idle; /* servings to use again */
	unsigned under_way; /* servings that are not */
	struct list held; /* servings that chaos delays */
	struct admission admission; /* of servings that wait */
	struct series *active;
	struct buf scratch; /* decoded path segments, query values */
	struct buf body; /* of the answer being written */
};

/* One request from its arrival to its end. */
struct serving {
	struct list member; /* in handler->idle or handler->held; else in none */
	struct handler *handler;
	struct http_request *request; /* NULL once answered or gone */
	const struct router_match *match; /* until the task has started */
	struct http_debt *debt; /* of a client that left while the task runs; or NULL */
	struct service_route *route; /* NULL: nothing matched */
	struct request_record record;
	struct mono deadline;
	struct admission_wait wait;
	bool waits;
	struct timer hold; /* chaos: before it is admitted */
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
	serving->deadline = admission_deadline(request, handler->config.task_timeout_ms);
	serving->route = match->route ? match->route->handler : NULL;
	request_record_begin(&serving->record, handler->observer, request,
			     serving->route ? &serving->route->about : NULL,
			     match->sibling ? match->sibling->template
					    : REQUEST_UNMATCHED);
	series_add(handler->active, 1);
	handler->under_way++;
	return serving;
}

static void admit(struct serving *serving);
static void admit_slow(struct serving *serving);
static void hold_slow(struct serving *serving, struct chaos_effect effect);
static void refuse_slow(struct serving *serving, enum router_outcome outcome);

static void serve(struct handler *handler, struct http_request *request,
		  enum router_outcome outcome, struct router_match *match)
{
	struct chaos_effect effect;
	struct serving *serving;

	if (outcome != ROUTER_found)
		match->route = NULL;
	if (outcome != ROUTER_method)
		match->sibling = NULL;
	serving = begin(handler, request, match);
	if (outcome != ROUTER_found) {
		refuse_slow(serving, outcome);
		return;
	}
	effect = chaos_point(loop_chaos(handler->config.loop), CHAOS_http_serve);
	if (__builtin_expect(effect.delay_ms > 0 || effect.fail, 0))
		hold_slow(serving, effect);
	else
		admit(serving);
}

static enum router_outcome find(struct handler *handler, const struct router *router,
				struct http_request *request, struct router_match *match)
{
	return router_match(router, http_request_method(request),
			    http_request_path(request), match, &handler->scratch);
}

/* Whether what has no route is forwarded. */
static bool forward(const struct handler *handler, struct http_request *request)
{
	const struct handler_config *config = &handler->config;

	return config->gate && config->service->plan &&
	       gate_serve(config->gate, config->service->plan, config->hooks, request);
}

void handler_serve(void *context, struct http_request *request)
{
	struct handler *handler = context;
	const struct service *service = handler->config.service;
	struct router_match match;
	enum router_outcome outcome = find(handler, service->router, request, &match);

	if (outcome == ROUTER_missing && !handler->config.admin_apart)
		outcome = find(handler, service->admin_router, request, &match);
	if (outcome == ROUTER_missing && forward(handler, request))
		return;
	serve(handler, request, outcome, &match);
}

void handler_serve_admin(void *context, struct http_request *request)
{
	struct handler *handler = context;
	const struct router *router = handler->config.service->admin_router;
	struct router_match match;
	enum router_outcome outcome = find(handler, router, request, &match);

	serve(handler, request, outcome, &match);
}

static bool has_place(const struct handler *handler)
{
	return task_count(handler->config.vm) < handler->config.tasks_max;
}

static void run(struct serving *serving);

static void admit(struct serving *serving)
{
	const struct handler *handler = serving->handler;

	if (__builtin_expect(has_place(handler) && !handler->admission.count &&
				     vm_has_room(handler->config.vm),
			     1))
		run(serving);
	else
		admit_slow(serving);
}

/* --- to the script ---------------------------------------------------------------- */

/* request_table_push reads the path's parameters, which may lie in scratch, before it
 * uses scratch. */
static void push_handler(lua_State *L, void *data)
{
	struct serving *serving = data;

	lua_rawgeti(L, LUA_REGISTRYINDEX, serving->route->handler);
	request_table_push(L, serving->request, serving->match, serving->route->raw,
			   &serving->handler->scratch);
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
		.deadline = serving->deadline,
		.trace = request_record_trace(&serving->record),
		.span = serving->record.span,
		.done = on_task_done,
		.context = serving,
	};

	if (serving->route->socket) {
		run_socket(serving);
		return;
	}
	http_request_on_gone(serving->request, on_gone, serving);
	task_start(handler->config.vm, &task);
}

/* --- to the client ---------------------------------------------------------------- */

/* Everything that is said about a request, once, when its status is known. */
static void conclude(struct serving *serving, const struct request_end *end)
{
	struct handler *handler = serving->handler;

	request_record_end(&serving->record, handler->observer, end);
	series_add(handler->active, -1);
	handler->under_way--;
	list_append(&handler->idle, &serving->member);
}

/* The client left before the answer. What the task came to is dropped, unless it failed.
 */
static void conclude_left(struct serving *serving, struct request_end end)
{
	struct fault left = { .kind = FAULT_cancelled, .detail = "the client left" };

	http_debt_end(serving->debt);
	serving->debt = NULL;
	end.status = fault_status(&left);
	if (!end.why || !end.why->kind)
		end.why = &left;
	conclude(serving, &end);
}

static void on_task_done(void *context, lua_State *L, const struct fault *why)
{
	struct serving *serving = context;
	struct handler *handler = serving->handler;
	struct http_request *request = serving->request;
	char id[33];
	const struct reply_context to = {
		.request = request,
		.trace_id = request_record_trace_id(&serving->record, id),
		.traceback = task_traceback(handler->config.vm),
		.defined = serving->route->defined,
		.generation = handler->config.generation,
		.production = handler->config.production,
	};
	struct reply reply;
	struct request_end end = { .why = &reply.why, .traceback = to.traceback };
	struct fault cut;

	/* Not by the caller, who is there, but with the VM. */
	if (why && why->kind == FAULT_cancelled && request && lua_gettop(L) == 0) {
		fault_set(&cut, FAULT_uncertain, ENDED);
		why = &cut;
	}
	reply_read(L, why, &to, &reply, &handler->body);
	end.status = reply.status;
	end.file = reply.at.file;
	end.line = reply.at.line;
	serving->request = NULL;
	if (request) {
		http_respond(request, reply.status, reply.headers, reply.header_count,
			     buf_slice(&handler->body));
		conclude(serving, &end);
	} else {
		conclude_left(serving, end);
	}
	if (__builtin_expect(handler->body.capacity > BODY_KEPT, 0))
		buf_finish(&handler->body);
	admission_soon(&handler->admission);
}

static void stop_holding(struct serving *serving);

/* With a task under way its end concludes. */
static void on_gone(void *context)
{
	struct serving *serving = context;
	struct http_request *request = serving->request;

	serving->request = NULL;
	if (serving->waits || timer_started(&serving->hold)) {
		stop_holding(serving);
		conclude_left(serving, (struct request_end){ 0 });
	} else {
		serving->debt = http_request_debt(request);
	}
}

static void answer_fault(struct serving *serving, const struct fault *why,
			 const struct http_header *headers, size_t count)
{
	struct request_end end = { .status = fault_status(why), .why = why };
	char id[33];

	http_respond_fault(serving->request, why,
			   request_record_trace_id(&serving->record, id), headers, count);
	serving->request = NULL;
	conclude(serving, &end);
}

/* 404 or 405: Lua is not needed. */
static void refuse_slow(struct serving *serving, enum router_outcome outcome)
{
	struct http_header allow = { SLICE("allow"), slice_text(serving->match->allow) };
	struct slice path = http_request_path(serving->request);
	struct fault why;

	if (outcome == ROUTER_missing) {
		fault_set(&why, FAULT_missing, "no route matches %.*s",
			  SLICE_PRINT(path));
		answer_fault(serving, &why, NULL, 0);
	} else {
		fault_set_status(&why, FAULT_missing, 405, "%.*s is not one of %s",
				 SLICE_PRINT(serving->record.method),
				 serving->match->allow);
		answer_fault(serving, &why, &allow, 1);
	}
}

static void refuse_for_now(struct serving *serving, enum fault_kind kind,
			   const char *detail)
{
	struct http_header retry = { SLICE("retry-after"), SLICE("1") };
	struct fault why;

	fault_set_status(&why, kind, 503, "%s", detail);
	answer_fault(serving, &why, &retry, 1);
}

/* --- waiting ---------------------------------------------------------------------- */

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

static void stop_holding(struct serving *serving)
{
	struct handler *handler = serving->handler;

	if (serving->waits) {
		serving->waits = false;
		admission_leave(&handler->admission, &serving->wait);
	} else {
		list_remove(&serving->member);
		timer_stop(handler->config.loop, &serving->hold);
	}
}

static void on_waited_too_long(void *context)
{
	struct serving *serving = context;

	stop_holding(serving);
	refuse_for_now(serving, FAULT_limit, "no task ended in time for this request");
}

static struct serving *first_waiting(const struct handler *handler)
{
	struct admission_wait *wait = admission_first(&handler->admission);

	return wait ? list_of(wait, struct serving, wait) : NULL;
}

/* Those who have waited longest take the places there are. */
static void look(void *context)
{
	struct handler *handler = context;
	struct serving *serving;

	while ((serving = first_waiting(handler)) && has_place(handler) &&
	       vm_has_room(handler->config.vm)) {
		stop_holding(serving);
		run(serving);
	}
}

static void start_waiting(struct serving *serving)
{
	serving->waits = true;
	serving->match = keep_match(serving->request, serving->match);
	http_request_on_gone(serving->request, on_gone, serving);
	admission_join(&serving->handler->admission, &serving->wait, serving->deadline,
		       on_waited_too_long, serving);
}

static void admit_slow(struct serving *serving)
{
	struct handler *handler = serving->handler;

	if (!vm_has_room(handler->config.vm))
		refuse_for_now(serving, FAULT_limit,
			       "there is no memory for another request");
	else if (admission_full(&handler->admission))
		refuse_for_now(serving, FAULT_limit,
			       "there is no room for another request");
	else
		start_waiting(serving);
}

/* --- a WebSocket ------------------------------------------------------------------ */

static void on_socket_answered(void *context, int status, const struct fault *why)
{
	struct serving *serving = context;
	struct fault none = { 0 };
	struct request_end end = { .status = status, .why = why ? why : &none };

	serving->request = NULL;
	conclude(serving, &end);
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
	socket_server_accept(serving->handler->config.sockets, serving->route->socket,
			     serving->request, serving->match,
			     request_record_trace(&serving->record), on_socket_answered,
			     serving);
}

/* --- chaos ------------------------------------------------------------------------ */

static void on_held(void *context)
{
	struct serving *serving = context;

	stop_holding(serving);
	admit(serving);
}

static void hold_slow(struct serving *serving, struct chaos_effect effect)
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
	list_append(&serving->handler->held, &serving->member);
	timer_start(loop, &serving->hold, mono_after_ms(loop_now(loop), effect.delay_ms),
		    on_held, serving);
}

/* --- answered elsewhere ----------------------------------------------------------- */

void handler_refused(struct handler *handler, struct slice scheme, struct slice method,
		     const struct fault *why, char trace_id[33])
{
	request_record_refused(handler->observer, scheme, method, why, trace_id);
}

/* --- life ------------------------------------------------------------------------- */

struct handler *handler_create(const struct handler_config *config)
{
	struct handler *handler = mem_zeroed(1, sizeof(*handler));

	handler->config = *config;
	handler->observer = loop_observer(config->loop);
	list_init(&handler->idle);
	list_init(&handler->held);
	handler->active =
		meter_own(handler->observer->meter, METRIC_http_server_active, 0);
	admission_init(&handler->admission, config->loop, config->queue_max,
		       meter_own(handler->observer->meter, METRIC_tasks_waiting, 0), look,
		       handler);
	return handler;
}

bool handler_idle(const struct handler *handler)
{
	return handler->under_way == 0;
}

static void refuse_all(struct handler *handler)
{
	struct serving *serving;

	while ((serving = first_waiting(handler)) || !list_empty(&handler->held)) {
		if (!serving)
			serving = list_of(handler->held.next, struct serving, member);
		stop_holding(serving);
		refuse_for_now(serving, FAULT_unavailable, ENDED);
	}
}

void handler_destroy(struct handler *handler)
{
	struct list *member;

	if (!handler)
		return;
	refuse_all(handler);
	check(handler_idle(handler));
	while ((member = list_take(&handler->idle))) {
		struct serving *serving = list_of(member, struct serving, member);

		request_record_finish(&serving->record);
		free(serving);
	}
	buf_finish(&handler->scratch);
	buf_finish(&handler->body);
	free(handler);
}
