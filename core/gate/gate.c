/* SPDX-License-Identifier: MIT */
/* gate.c -- a request's way to forward.c: whether there is a route, whether the request
 * may pass. Hot path up to `life`; the budget stands in forward.c. */
#include "gate/passage.h"

#include "base/check.h"
#include "http/upgraded.h"
#include "watch/metrics.h"
#include "watch/observer.h"

#include <stdlib.h>

#define ENDED "this version of the gateway has ended"

/* --- taken ------------------------------------------------------------------------ */

static void note_request(struct passage *passage)
{
	struct http_request *request = passage->request;
	struct slice client = http_request_client(request);
	struct slice method = http_request_method(request);

	passage->client_size = client.size; /* an address, or empty */
	if (client.size)
		memcpy(passage->client, client.at, client.size);
	passage->head_request = slice_equal(method, SLICE("HEAD"));
	passage->safe = passage->head_request || slice_equal(method, SLICE("GET")) ||
			slice_equal(method, SLICE("OPTIONS"));
	passage->deadline =
		mono_after_ms(http_request_began(request), passage->route->timeout_ms);
	head_request_id(passage);
}

static void ask_limits(struct passage *passage);
static bool is_refused(struct passage *passage);

bool gate_serve(struct gate *gate, struct gate_plan *plan, const struct gate_hooks *hooks,
		struct http_request *request)
{
	struct slice path;
	struct gate_route *route = gate_plan_match(plan, http_request_path(request),
						   http_request_arena(request), &path);
	struct passage *passage;

	if (!route)
		return false;
	passage = passage_take(gate);
	gate_plan_enter(plan);
	passage->plan = plan;
	passage->route = route;
	passage->hooks = *hooks;
	passage->request = request;
	passage->path = path;
	request_record_begin(&passage->record, gate->observer, request, &route->about,
			     route->prefix);
	note_request(passage);
	http_request_on_gone(request, passage_gone, passage);
	if (!cors_preflight(passage) && !is_refused(passage))
		ask_limits(passage);
	return true;
}

/* "websocket", and nothing else: what follows "Upgrade: h2c" would be requests that no
 * route has seen. */
static bool asks_for_tunnel(const struct passage *passage)
{
	return passage->route->upgrade &&
	       slice_equal_nocase(http_request_upgrade(passage->request),
				  SLICE("websocket"));
}

/* Of what follows CONNECT a proxy behind us would make a tunnel, and pass the requests of
 * others into it; TRACE would tell what we add. */
static bool is_for_proxies(struct slice method)
{
	return slice_equal(method, SLICE("CONNECT")) ||
	       slice_equal(method, SLICE("TRACE"));
}

static bool is_refused(struct passage *passage)
{
	struct slice method = http_request_method(passage->request);
	struct fault why;

	if (is_for_proxies(method)) {
		fault_set_status(&why, FAULT_bad_input, 405, "%.*s is not forwarded",
				 SLICE_PRINT(method));
		passage_refuse(passage, &why, 0);
		return true;
	}
	if (http_request_body(passage->request).size > passage->route->body_size_max) {
		fault_set_status(&why, FAULT_bad_input, 413,
				 "the body is above %zu bytes",
				 passage->route->body_size_max);
		passage_refuse(passage, &why, 0);
		return true;
	}
	if (asks_for_tunnel(passage) && !tunnel_create(passage, &why)) {
		passage_refuse(passage, &why, 0);
		return true;
	}
	return false;
}

/* --- limits ----------------------------------------------------------------------- */

struct slice passage_network(const struct passage *passage, uint8_t bytes[16])
{
	struct slice client = slice_of(passage->client, passage->client_size);
	struct address address;

	if (!client.size || !memchr(client.at, ':', client.size) ||
	    !address_read(client, &address))
		return client;
	memcpy(bytes, address.bytes, 8);
	bytes[8] = '/'; /* which no address has as text */
	return slice_of((const char *)bytes, 9);
}

/* A header's text is marked, or it could spend what an address has. */
static struct slice key_of(struct passage *passage, const struct gate_limit_def *limit,
			   uint8_t bytes[16])
{
	struct slice value;
	char *key;

	if (limit->by == GATE_BY_all)
		return SLICE("");
	if (limit->by == GATE_BY_header) {
		value = http_request_header(passage->request, limit->header);
		if (value.size) {
			key = arena_alloc(http_request_arena(passage->request),
					  value.size + 1);
			key[0] = '=';
			memcpy(key + 1, value.at, value.size);
			return slice_of(key, value.size + 1);
		}
	}
	return passage_network(passage, bytes);
}

static void limited(struct passage *passage);

static void on_verdict(void *context, const struct gate_limit_verdict *verdict)
{
	struct passage *passage = context;

	passage->verdict = *verdict;
	limited(passage);
}

static void ask_before(struct passage *passage);

static void ask_limits(struct passage *passage)
{
	const struct gate_route *route = passage->route;
	struct gate_limit_ask asks[GATE_LIMITS_PER_ROUTE];
	uint8_t networks[GATE_LIMITS_PER_ROUTE][16];

	if (route->limit_count == 0) {
		ask_before(passage);
		return;
	}
	for (size_t i = 0; i < route->limit_count; i++) {
		asks[i].limit = &passage->plan->limits[route->limits[i]];
		asks[i].key = key_of(passage, asks[i].limit, networks[i]);
	}
	passage->state = GATE_limits;
	if (gate_limiter_ask(passage->gate->limiter, &passage->ticket, asks,
			     route->limit_count, request_record_trace(&passage->record),
			     &passage->verdict, on_verdict, passage))
		limited(passage);
}

static void limited(struct passage *passage)
{
	const struct gate_limit_verdict *verdict = &passage->verdict;
	struct fault why;

	if (__builtin_expect(verdict->allowed, 1)) {
		ask_before(passage);
		return;
	}
	fault_set(&why, FAULT_limit, "limit %.*s: more than %g requests in %g s",
		  SLICE_PRINT(verdict->limit->name), verdict->limit->requests,
		  verdict->limit->per_s);
	passage_refuse(passage, &why, verdict->retry_after_s);
}

/* --- before ----------------------------------------------------------------------- */

static void on_before(void *context, const struct gate_before_result *result);

static void ask_before(struct passage *passage)
{
	struct fault why;

	if (__builtin_expect(passage->route->before == 0, 1)) {
		forward_begin(passage, NULL, 0);
		return;
	}
	if (passage->plan->orphan) { /* and its script is gone */
		fault_set(&why, FAULT_unavailable, ENDED);
		passage_refuse(passage, &why, 0);
		return;
	}
	passage->state = GATE_before;
	passage->running = passage->hooks.before(
		passage->hooks.context, passage->route, passage->request, passage->path,
		passage->deadline, request_record_trace(&passage->record),
		passage->record.span, on_before, passage);
}

static void conclude_left(struct passage *passage)
{
	struct fault why;

	fault_set(&why, FAULT_cancelled, "the client left");
	passage_conclude(passage, fault_status(&why), &why);
}

static void on_before(void *context, const struct gate_before_result *result)
{
	struct passage *passage = context;
	struct fault none = { 0 };
	const struct fault *why = result->why ? result->why : &none;

	passage->running = NULL;
	if (!passage->request) {
		http_debt_end(passage->debt);
		conclude_left(passage);
	} else if (result->go_on) {
		forward_begin(passage, result->headers, result->header_count);
	} else if (why->kind && result->body.size == 0 && result->header_count == 0) {
		passage_refuse(passage, why, 0);
	} else {
		passage_answer(passage, result->status, result->headers,
			       result->header_count, result->body, why);
	}
}

/* --- the client leaves ------------------------------------------------------------ */

void passage_gone(void *context)
{
	struct passage *passage = context;
	struct http_request *request = passage->request;

	passage->request = NULL;
	if (passage->state == GATE_before) {
		passage->debt = http_request_debt(request);
		passage->hooks.left(passage->hooks.context, passage->running);
		return;
	}
	if (passage->state == GATE_limits)
		gate_limit_withdraw(&passage->ticket);
	else
		forward_abandon(passage);
	conclude_left(passage);
}

/* --- life ------------------------------------------------------------------------- */

struct gate *gate_create(const struct gate_config *config)
{
	struct gate *gate = mem_zeroed(1, sizeof(*gate));

	gate->loop = config->loop;
	gate->observer = loop_observer(config->loop);
	gate->upstreams = gate_upstreams_create(config->loop);
	gate->limiter = gate_limiter_create(config->loop, config->redis);
	list_init(&gate->passages);
	list_init(&gate->idle);
	list_init(&gate->tunnels);
	for (size_t i = 0; i < GATE_CALLERS; i++)
		list_init(&gate->callers[i]);
	random_init_secure(&gate->random);
	gate->seed = random_next(&gate->random);
	gate->active =
		meter_own(gate->observer->meter, METRIC_http_server_active, (size_t)0);
	gate->open = meter_own(gate->observer->meter, METRIC_gateway_tunnels, (size_t)0);
	return gate;
}

void gate_use(struct gate *gate, struct gate_plan *plan)
{
	gate_upstreams_use(gate->upstreams, plan->upstreams, plan->upstream_count);
}

unsigned gate_busy(const struct gate *gate)
{
	return gate->busy;
}

void gate_close_tunnels(struct gate *gate)
{
	tunnels_close(gate);
}

const struct gate_upstreams *gate_upstreams_of(const struct gate *gate)
{
	return gate->upstreams;
}

static void gate_free(struct gate *gate)
{
	struct list *member;

	while ((member = list_take(&gate->idle)))
		passage_free(list_of(member, struct passage, member));
	buf_finish(&gate->scratch);
	free(gate);
}

static void end_passage(struct passage *passage)
{
	struct http_request *request = passage->request;
	struct fault why;

	fault_set_status(&why, FAULT_cancelled, 503, "the gateway ends");
	if (passage->state == GATE_limits)
		gate_limit_withdraw(&passage->ticket);
	else if (passage->state != GATE_before)
		forward_abandon(passage);
	if (passage->state == GATE_passing) {
		passage->request = NULL;
		http_stream_abort(request);
		passage_conclude(passage, passage->status, &why);
	} else if (passage->state != GATE_before) {
		passage_refuse(passage, &why, 0);
	} else if (request) { /* it goes when its script has ended */
		passage->request = NULL;
		list_remove(&passage->member);
		passage->hooks.left(passage->hooks.context, passage->running);
		http_respond_fault(request, &why, SLICE(""), NULL, 0);
	} else {
		list_remove(&passage->member);
	}
}

void gate_left(struct gate *gate)
{
	if (--gate->busy == 0 && gate->over)
		gate_free(gate);
}

void gate_destroy(struct gate *gate)
{
	if (!gate)
		return;
	gate->busy++; /* until the end of this function */
	while (!list_empty(&gate->passages))
		end_passage(list_of(gate->passages.next, struct passage, member));
	tunnels_close(gate);
	gate_limiter_destroy(gate->limiter);
	gate_upstreams_destroy(gate->upstreams);
	gate->limiter = NULL;
	gate->upstreams = NULL;
	gate->over = true;
	gate_left(gate);
}
