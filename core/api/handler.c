/* SPDX-License-Identifier: MIT */
#include "api/handler.h"

#include "api/reply.h"
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
#include "watch/log.h"
#include "watch/metrics.h"
#include "watch/trace.h"

#include <stdio.h>
#include <stdlib.h>

#define PATH_KEPT 256 /* bytes of a path in the log line */

struct handler {
	struct handler_config config;
	struct list idle; /* servings to use again */
	struct series *active;
	struct buf scratch; /* decoded path segments, query values */
	struct buf body; /* of the answer being written */
};

/* One request from its arrival to its log line. */
struct serving {
	struct list member; /* in handler->idle */
	struct handler *handler;
	struct http_request *request; /* NULL once answered or gone */
	const struct router_match *match; /* only while the task starts */
	struct service_route *route; /* NULL: nothing matched */
	struct slice template;
	struct span *span;
	struct mono began;
	struct buf state; /* tracestate, borrowed by the span */
	char method[16];
	char path[PATH_KEPT];
	size_t path_size;
};

/* --- series, log line, span -------------------------------------------------------------------- */

static struct series *find_series(struct handler *handler, struct slice method,
				  struct slice endpoint, int status)
{
	char text[12];
	int size = snprintf(text, sizeof(text), "%d", status);

	return meter_own(loop_observer(handler->config.loop)->meter,
			 METRIC_http_server_request, 3, method, endpoint,
			 slice_of(text, (size_t)size));
}

void handler_record(struct handler *handler, struct slice method, struct slice endpoint,
		    int status, struct mono began)
{
	series_observe(find_series(handler, method, endpoint, status),
		       mono_seconds(began, clock_mono()));
}

/* The series of a route and status, kept with the route. */
static struct series *route_series(struct serving *serving, int status)
{
	struct service_route *route = serving->route;
	struct slice method = slice_text(serving->method);

	if (!route || !slice_equal(method, route->method))
		return find_series(serving->handler, method, serving->template, status);
	for (size_t i = 0; i < ROUTE_STATUSES; i++) {
		if (route->kept[i].status == status)
			return route->kept[i].series;
		if (!route->kept[i].status) {
			route->kept[i].status = status;
			return route->kept[i].series = find_series(
				       serving->handler, method, serving->template, status);
		}
	}
	return find_series(serving->handler, method, serving->template, status);
}

static void write_log(const struct serving *serving, int status, double seconds,
		      const struct fault *why, struct slice traceback)
{
	struct attr attrs[8];
	size_t count = 0;

	attrs[count++] = attr_text(SLICE("method"), slice_text(serving->method));
	attrs[count++] = attr_text(SLICE("route"), serving->template);
	attrs[count++] = attr_text(SLICE("path"), slice_of(serving->path, serving->path_size));
	attrs[count++] = attr_integer(SLICE("status"), status);
	attrs[count++] = attr_double(SLICE("duration_s"), seconds);
	if (why->kind) {
		attrs[count++] = attr_text(SLICE("kind"), slice_text(fault_name(why->kind)));
		attrs[count++] = attr_text(SLICE("error"), slice_text(why->detail));
	}
	if (traceback.size)
		attrs[count++] = attr_text(SLICE("exception.stacktrace"), traceback);
	log_write(loop_observer(serving->handler->config.loop)->log,
		  status >= 500 ? LOG_error : LOG_info, span_context(serving->span),
		  SLICE("request"), attrs, count);
}

static void end_span(struct serving *serving, int status, const struct fault *why)
{
	char code[12];

	span_attr(serving->span, attr_integer(SLICE("http.response.status_code"), status));
	if (status >= 500) {
		int size = snprintf(code, sizeof(code), "%d", status);

		span_fail(serving->span,
			  why->kind ? slice_text(fault_name(why->kind)) :
				      slice_of(code, (size_t)size),
			  slice_text(why->detail));
	}
	span_end(serving->span);
	serving->span = NULL;
}

/* --- the life of a serving ------------------------------------------------------------------------ */

static struct serving *take_serving(struct handler *handler)
{
	struct list *member = list_take(&handler->idle);
	struct serving *serving;

	if (member)
		return list_of(member, struct serving, member);
	serving = mem_zeroed(1, sizeof(*serving));
	serving->handler = handler;
	return serving;
}

/* Everything that is said about a request, once, when its status is known. */
static void conclude(struct serving *serving, int status, const struct fault *why,
		     struct slice traceback)
{
	struct handler *handler = serving->handler;
	double seconds = mono_seconds(serving->began, clock_mono());

	series_observe(route_series(serving, status), seconds);
	if (why->kind)
		series_add(meter_own(loop_observer(handler->config.loop)->meter,
				     METRIC_task_faults, 1, slice_text(fault_name(why->kind))),
			   1);
	write_log(serving, status, seconds, why, traceback);
	end_span(serving, status, why);
	series_add(handler->active, -1);
	list_append(&handler->idle, &serving->member);
}

static void on_gone(void *context)
{
	struct serving *serving = context;

	serving->request = NULL;
}

static void describe(struct serving *serving, struct http_request *request)
{
	struct span *span = serving->span;
	struct slice agent = http_request_header(request, SLICE("user-agent"));
	struct slice authority = http_request_authority(request);
	struct slice port = authority;
	struct slice host;

	slice_cut(&port, ':', &host);
	span_attr(span, attr_text(SLICE("http.request.method"), slice_text(serving->method)));
	span_attr(span, attr_text(SLICE("url.scheme"), SLICE("http")));
	span_attr(span, attr_text(SLICE("url.path"), http_request_path(request)));
	if (serving->route)
		span_attr(span, attr_text(SLICE("http.route"), serving->template));
	span_attr(span, attr_text(SLICE("server.address"), host));
	span_attr(span, attr_text(SLICE("client.address"), http_request_peer(request)));
	span_attr(span, attr_text(SLICE("network.protocol.version"),
				  slice_text(http_request_protocol(request))));
	if (agent.size)
		span_attr(span, attr_text(SLICE("user_agent.original"), agent));
}

/* The parent from traceparent and tracestate; false when there is none that is valid. */
static bool read_parent(struct serving *serving, struct http_request *request,
			struct trace_context *parent)
{
	struct slice traceparent = { 0 };
	size_t count = http_request_header_count(request);
	unsigned parents = 0;

	buf_reset(&serving->state);
	for (size_t i = 0; i < count; i++) {
		struct http_header header = http_request_header_at(request, i);

		if (slice_equal(header.name, SLICE("traceparent"))) {
			traceparent = header.value;
			parents++;
		} else if (slice_equal(header.name, SLICE("tracestate"))) {
			if (serving->state.size)
				buf_append_byte(&serving->state, ',');
			buf_append(&serving->state, header.value);
		}
	}
	return parents == 1 && trace_parse(traceparent, buf_slice(&serving->state), parent);
}

static void begin_span(struct serving *serving, struct http_request *request)
{
	struct tracer *tracer = loop_observer(serving->handler->config.loop)->tracer;
	struct trace_context parent;
	bool continued = read_parent(serving, request, &parent);
	char name[128];
	int size;

	size = serving->route ? snprintf(name, sizeof(name), "%s %.*s", serving->method,
					 SLICE_PRINT(serving->template)) :
				snprintf(name, sizeof(name), "%s", serving->method);
	if (size >= (int)sizeof(name))
		size = sizeof(name) - 1;
	serving->span = span_start(tracer, SPAN_server, slice_of(name, (size_t)size),
				   continued ? &parent : NULL);
	if (span_recording(serving->span))
		describe(serving, request);
}

struct slice handler_method_label(struct slice method)
{
	static const char *const known[] = { "DELETE",	"GET", "HEAD", "OPTIONS",
					     "PATCH", "POST", "PUT" };

	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
		if (slice_equal(method, slice_text(known[i])))
			return method;
	return SLICE("HTTP");
}

static struct serving *begin(struct handler *handler, struct http_request *request,
			     const struct router_match *match)
{
	struct serving *serving = take_serving(handler);
	struct slice method = http_request_method(request);
	struct slice path = http_request_path(request);

	serving->request = request;
	serving->began = http_request_began(request);
	serving->match = match;
	serving->route = match->route ? match->route->handler : NULL;
	serving->template = match->route   ? match->route->template :
			    match->sibling ? match->sibling->template :
					     SLICE("unmatched");
	method = handler_method_label(method);
	snprintf(serving->method, sizeof(serving->method), "%.*s", SLICE_PRINT(method));
	serving->path_size = path.size < PATH_KEPT ? path.size : PATH_KEPT;
	memcpy(serving->path, path.at, serving->path_size);
	begin_span(serving, request);
	series_add(handler->active, 1);
	return serving;
}

/* --- answers ----------------------------------------------------------------------------------------- */

static struct slice trace_id_of(const struct serving *serving, char text[33])
{
	trace_id_text(span_context(serving->span), text);
	return slice_text(text);
}

static void answer_fault(struct serving *serving, const struct fault *why,
			 const struct http_header *headers, size_t count)
{
	char id[33];

	http_respond_fault(serving->request, why, trace_id_of(serving, id), headers, count);
	serving->request = NULL;
	conclude(serving, fault_status(why), why, (struct slice){ 0 });
}

static void on_task_done(void *context, lua_State *L, const struct fault *why)
{
	struct serving *serving = context;
	struct handler *handler = serving->handler;
	struct http_request *request = serving->request;
	struct fault left = { .kind = FAULT_cancelled, .detail = "the client left" };
	struct reply reply;
	char id[33];

	reply_read(L, why, trace_id_of(serving, id), handler->config.production, &reply,
		   &handler->body);
	if (request) {
		serving->request = NULL;
		http_respond(request, reply.status, reply.headers, reply.header_count,
			     buf_slice(&handler->body));
		conclude(serving, reply.status, &reply.why, task_traceback(handler->config.vm));
	} else {
		conclude(serving, fault_status(&left), &left,
			 task_traceback(handler->config.vm));
	}
}

static void push_handler(lua_State *L, void *data)
{
	struct serving *serving = data;

	lua_rawgeti(L, LUA_REGISTRYINDEX, serving->route->handler);
	request_table_push(L, serving->request, serving->match, serving->route->raw,
			   &serving->handler->scratch);
}

static void run_script(struct serving *serving)
{
	struct handler *handler = serving->handler;
	struct task_config task = {
		.push = push_handler,
		.data = serving,
		.deadline = mono_after_ms(loop_now(handler->config.loop),
					  handler->config.task_timeout_ms),
		.trace = span_context(serving->span),
		.done = on_task_done,
		.context = serving,
	};

	http_request_on_gone(serving->request, on_gone, serving);
	task_start(handler->config.vm, &task);
}

/* A WebSocket: the socket server takes the request over; what is left to say is its handshake. */
static void on_socket_answered(void *context, int status, const struct fault *why)
{
	struct serving *serving = context;
	struct fault none = { 0 };

	serving->request = NULL;
	conclude(serving, status, why ? why : &none, (struct slice){ 0 });
}

static void serve_socket(struct serving *serving)
{
	struct fault why;
	struct http_header upgrade = { SLICE("upgrade"), SLICE("websocket") };

	if (!websocket_asked(serving->request)) {
		fault_set_status(&why, FAULT_bad_input, 426, "this is a WebSocket endpoint");
		answer_fault(serving, &why, &upgrade, 1);
		return;
	}
	socket_server_accept(serving->handler->config.sockets, serving->route->socket,
			     serving->request, serving->match, span_context(serving->span),
			     on_socket_answered, serving);
}

/* 404, 405, or no room: Lua is not needed. */
static void refuse(struct serving *serving, enum router_outcome outcome)
{
	struct http_header allow = { SLICE("allow"), slice_text(serving->match->allow) };
	struct http_header retry = { SLICE("retry-after"), SLICE("1") };
	struct slice path = slice_of(serving->path, serving->path_size);
	struct fault why;

	if (outcome == ROUTER_missing) {
		fault_set(&why, FAULT_missing, "no route matches %.*s", SLICE_PRINT(path));
		answer_fault(serving, &why, NULL, 0);
	} else if (outcome == ROUTER_method) {
		fault_set_status(&why, FAULT_missing, 405, "%s is not one of %s", serving->method,
				 serving->match->allow);
		answer_fault(serving, &why, &allow, 1);
	} else {
		fault_set_status(&why, FAULT_limit, 503, "too many requests in flight");
		answer_fault(serving, &why, &retry, 1);
	}
}

void handler_serve(void *context, struct http_request *request)
{
	struct handler *handler = context;
	struct router_match match;
	enum router_outcome outcome;
	struct serving *serving;

	outcome = router_match(handler->config.service->router, http_request_method(request),
			       http_request_path(request), &match, &handler->scratch);
	if (outcome == ROUTER_missing)
		match.route = match.sibling = NULL;
	else if (outcome == ROUTER_method)
		match.route = NULL;
	serving = begin(handler, request, &match);
	if (outcome != ROUTER_found || task_count(handler->config.vm) >= handler->config.tasks_max)
		refuse(serving, outcome);
	else if (serving->route->socket)
		serve_socket(serving);
	else
		run_script(serving);
}

/* --- life ----------------------------------------------------------------------------------------------- */

struct handler *handler_create(const struct handler_config *config)
{
	struct handler *handler = mem_zeroed(1, sizeof(*handler));

	handler->config = *config;
	list_init(&handler->idle);
	handler->active =
		meter_own(loop_observer(config->loop)->meter, METRIC_http_server_active, 0);
	return handler;
}

void handler_destroy(struct handler *handler)
{
	struct list *member;

	if (!handler)
		return;
	while ((member = list_take(&handler->idle))) {
		struct serving *serving = list_of(member, struct serving, member);

		buf_finish(&serving->state);
		free(serving);
	}
	buf_finish(&handler->scratch);
	buf_finish(&handler->body);
	free(handler);
}
