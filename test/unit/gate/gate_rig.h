/* SPDX-License-Identifier: MIT */
/* gate_rig.h -- for tests: a server whose requests all go to a gate, and upstreams that
 * do what a test wants. Clients, gate and upstreams talk over real sockets, each on a
 * thread of its own. */
#ifndef TEST_GATE_RIG_H
#define TEST_GATE_RIG_H

#include "../http/site.h"
#include "../http/test_server.h"
#include "gate/gate.h"
#include "watch/log.h"
#include "watch/metrics.h"
#include "watch/trace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define RIG_UPSTREAMS 3
#define RIG_ROUTES 12

struct rig {
	struct metrics *metrics;
	struct log_hub *logs;
	struct site site;
	struct gate *gate;
	struct gate_plan *plan;
	struct gate_hooks hooks;
	struct test_server *upstreams[RIG_UPSTREAMS];
	size_t upstream_count;
	const char *trusted; /* proxies; NULL: none */
	atomic_uint spans[32]; /* of attempts, by resend_count */
	char span[1000]; /* the last of them, as text: "name: key=value ..." */
};

/* --- plans ------------------------------------------------------------------------ */

/* Room for more routes, limits, headers and origins than there are yet. */
static inline struct gate_plan *rig_plan(const char *addresses)
{
	struct gate_plan *plan = mem_zeroed(1, sizeof(*plan));

	plan->upstreams = arena_alloc(&plan->arena, sizeof(*plan->upstreams));
	plan->upstreams[0] = (struct gate_upstream_def){
		.name = SLICE("up"),
		.addresses = arena_copy(&plan->arena, slice_text(addresses)),
		.resolve_ms = 1000,
		.connect_timeout_ms = 1000,
		.connections_max = 64,
		.idle_max = 8,
		.idle_timeout_ms = 10000,
		.breaker = { 0, 1000 },
		.retry = { 3, 1, 100 },
	};
	plan->upstream_count = 1;
	plan->routes = arena_alloc(&plan->arena, RIG_ROUTES * sizeof(*plan->routes));
	plan->limits = arena_alloc(&plan->arena, 4 * sizeof(*plan->limits));
	plan->answer_headers =
		arena_alloc(&plan->arena, 4 * sizeof(*plan->answer_headers));
	plan->cors.origins = arena_alloc(&plan->arena, 4 * sizeof(*plan->cors.origins));
	return plan;
}

static inline struct gate_route *rig_route(struct gate_plan *plan, const char *prefix)
{
	struct gate_route *route = &plan->routes[plan->route_count++];

	check(plan->route_count <= RIG_ROUTES);
	*route = (struct gate_route){ .prefix = slice_text(prefix),
				      .timeout_ms = 3000,
				      .idle_timeout_ms = 3000,
				      .body_size_max = 8 << 20 };
	return route;
}

static inline struct gate_plan *rig_finish(struct gate_plan *plan)
{
	struct fault why;

	if (!gate_plan_finish(plan, &why))
		fail_msg("%s", why.detail);
	return plan;
}

/* --- life ------------------------------------------------------------------------- */

static inline void rig_wake(void *context)
{
}

static inline void rig_serve(void *context, struct http_request *request)
{
	struct rig *rig = context;
	struct fault why;

	if (gate_serve(rig->gate, rig->plan, &rig->hooks, request))
		return;
	fault_set(&why, FAULT_missing, "no route");
	http_respond_fault(request, &why, SLICE(""), NULL, 0);
}

static inline void rig_see_span(void *context, const struct span_view *view)
{
	struct slice attrs = view->attrs;
	struct rig *rig = context;
	struct buf text = { 0 };
	struct attr attr;
	int64_t resends = 0;

	if (view->kind != SPAN_client)
		return;
	buf_printf(&text, "%.*s:", SLICE_PRINT(view->name));
	while (span_view_attr(&attrs, &attr)) {
		if (slice_equal(attr.key, SLICE("http.request.resend_count")))
			resends = attr.integer;
		if (attr.type == ATTR_text)
			buf_printf(&text, " %.*s=%.*s", SLICE_PRINT(attr.key),
				   SLICE_PRINT(attr.text));
		else
			buf_printf(&text, " %.*s=%lld", SLICE_PRINT(attr.key),
				   (long long)attr.integer);
	}
	snprintf(rig->span, sizeof(rig->span), "%s ", buf_text(&text));
	buf_finish(&text);
	check(resends < 32);
	rig->spans[resends]++;
}

static inline void rig_make_gate(void *context)
{
	struct rig *rig = context;
	struct gate_config config = { .loop = rig->site.loop };

	rig->gate = gate_create(&config);
	gate_use(rig->gate, rig->plan);
}

static inline void rig_start_upstreams(struct rig *rig, test_answer_fn *answer,
				       size_t count)
{
	for (size_t i = 0; i < count; i++)
		rig->upstreams[i] = test_server_start(answer, rig);
	rig->upstream_count = count;
}

static inline char *rig_addresses(const struct rig *rig, char *text, size_t size)
{
	size_t at = 0;

	text[0] = 0;
	for (size_t i = 0; i < rig->upstream_count; i++)
		at += (size_t)snprintf(text + at, size - at, "%shttp://127.0.0.1:%u",
				       i ? "," : "", rig->upstreams[i]->port);
	return text;
}

/* Takes plan. */
static inline void rig_open(struct rig *rig, struct gate_plan *plan)
{
	struct http_server_config config = site_config(rig_serve, rig);
	struct tracer_config tracing = { .sampler = SAMPLER_always_on,
					 .ratio = 1,
					 .recording = true,
					 .ring_bytes = 1 << 20,
					 .attrs_max = 128 };
	struct site *site = &rig->site;
	struct fault why;

	signal(SIGPIPE, SIG_IGN);
	config.body_size_max = 16 << 20;
	config.trusted_proxies = slice_text(rig->trusted);
	rig->plan = plan;
	rig->metrics = metrics_create();
	rig->logs = log_hub_create(LOG_debug, rig_wake, NULL);
	site->observer = (struct observer){ log_create(rig->logs, 1 << 20),
					    meter_create(rig->metrics),
					    tracer_create(&tracing, 1) };
	tracer_tap(site->observer.tracer, rig_see_span, rig);
	site->loop = loop_create(&site->observer, &site->chaos);
	site->server = http_server_create(site->loop, &config, false, &why);
	check(site->server);
	rig_make_gate(rig);
	site->thread = thread_start("site", site_main, site->loop);
}

/* With one upstream that answers like this, and one route, "/". */
static inline void rig_open_simple(struct rig *rig, test_answer_fn *answer)
{
	struct gate_plan *plan;
	char text[200];

	*rig = (struct rig){ 0 };
	rig_start_upstreams(rig, answer, 1);
	plan = rig_plan(rig_addresses(rig, text, sizeof(text)));
	rig_route(plan, "/");
	rig_open(rig, rig_finish(plan));
}

static inline void rig_close(struct rig *rig)
{
	struct site *site = &rig->site;

	loop_stop(site->loop);
	thread_join(site->thread);
	http_server_destroy(site->server);
	gate_destroy(rig->gate);
	for (int i = 0; i < 10; i++)
		loop_turn(site->loop, 0);
	check(rig->plan->passages == 0);
	gate_plan_destroy(rig->plan);
	loop_destroy(site->loop);
	for (size_t i = 0; i < rig->upstream_count; i++)
		test_server_stop(rig->upstreams[i]);
	tracer_destroy(site->observer.tracer);
	log_hub_destroy(rig->logs);
	metrics_destroy(rig->metrics);
}

/* --- looking on ------------------------------------------------------------------- */

struct rig_look {
	struct rig *rig;
	unsigned busy, active;
};

static inline void rig_see_address(void *context, const struct gate_address_view *view)
{
	((struct rig_look *)context)->active += view->active;
}

static inline void rig_take_look(void *context)
{
	struct rig_look *look = context;

	look->busy = gate_busy(look->rig->gate);
	gate_upstreams_check(gate_upstreams_of(look->rig->gate));
	gate_upstreams_look(gate_upstreams_of(look->rig->gate), rig_see_address, look);
}

/* Waits, with a bound, until nothing is under way, neither here nor at upstreams. */
static inline bool rig_reaches(struct rig *rig, unsigned busy)
{
	for (int tries = 0; tries < PATIENCE_MS / 5; tries++) {
		struct rig_look look = { .rig = rig };

		site_do(&rig->site, rig_take_look, &look);
		if (look.busy == busy && look.active == busy)
			return true;
		poll(NULL, 0, 5);
	}
	return false;
}

static inline bool rig_rests(struct rig *rig)
{
	return rig_reaches(rig, 0);
}

static inline double rig_value(struct rig *rig, const char *name, const char *one,
			       const char *other)
{
	struct slice values[] = { slice_text(one), slice_text(other) };
	double value;

	return metrics_value(rig->metrics, slice_text(name), values,
			     !!one + (size_t) !!other, &value)
		       ? value
		       : 0;
}

/* --- clients ---------------------------------------------------------------------- */

/* Sends and reads until the connection closes: the text asks for that. The caller frees.
 */
static inline char *rig_ask_all(struct rig *rig, const char *text)
{
	int fd = client_connect(&rig->site);
	char *answer;

	assert_true(client_send(fd, text));
	answer = client_read_all(fd);
	close(fd);
	return answer;
}

#define CLOSE "\r\nHost: shop.example\r\nConnection: close\r\n\r\n"

#define assert_says(answer, ...)                                                         \
	do {                                                                             \
		char *answer_ = answer;                                                  \
		const char *wanted_[] = { __VA_ARGS__ };                                 \
		for (size_t i_ = 0; i_ < sizeof(wanted_) / sizeof(wanted_[0]); i_++)     \
			if (!answer_has(answer_, wanted_[i_]))                           \
				fail_msg("no '%s' in: %s", wanted_[i_],                  \
					 answer_ ? answer_ : "(nothing)");               \
		free(answer_);                                                           \
	} while (0)

#define assert_does_not_say(answer, ...)                                                 \
	do {                                                                             \
		char *answer_ = answer;                                                  \
		const char *bad_[] = { __VA_ARGS__ };                                    \
		for (size_t i_ = 0; i_ < sizeof(bad_) / sizeof(bad_[0]); i_++)           \
			if (!answer_ || strstr(answer_, bad_[i_]))                       \
				fail_msg("'%s' in: %s", bad_[i_],                        \
					 answer_ ? answer_ : "(nothing)");               \
		free(answer_);                                                           \
	} while (0)

#endif
