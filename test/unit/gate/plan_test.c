/* SPDX-License-Identifier: MIT */
#include "gate/plan.h"

#include "base/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

static struct gate_upstream_def upstream(const char *name)
{
	return (struct gate_upstream_def){
		.name = slice_text(name),
		.addresses = SLICE("http://127.0.0.1:1"),
		.resolve_ms = 1000,
		.connect_timeout_ms = 1000,
		.connections_max = 4,
		.idle_timeout_ms = 1000,
		.health = { SLICE("/ready"), 500, 1000, 2, 1 },
		.retry = { 3, 0.2, 10 },
	};
}

static struct gate_route route(const char *prefix)
{
	return (struct gate_route){ .prefix = slice_text(prefix),
				    .timeout_ms = 1000,
				    .idle_timeout_ms = 1000,
				    .body_size_max = 4096 };
}

#define ROUTES 6

struct world {
	struct gate_plan *plan;
	struct gate_upstream_def upstreams[2];
	struct gate_route routes[ROUTES];
	struct gate_limit_def limits[2];
	struct slice origins[2];
	struct http_header headers[1];
	struct fault why;
};

static void world_fill(struct world *world)
{
	static const char *const prefixes[ROUTES] = {
		"/",   "/api/v1/orders", "/api", "/api/v1/users", "/api/v1/users/login",
		"/ws",
	};
	struct gate_plan *plan = mem_zeroed(1, sizeof(*plan));

	*world = (struct world){ .plan = plan };
	world->upstreams[0] = upstream("orders");
	world->upstreams[1] = upstream("users");
	for (size_t i = 0; i < ROUTES; i++)
		world->routes[i] = route(prefixes[i]);
	world->limits[0] = (struct gate_limit_def){
		.name = SLICE("all"), .requests = 500, .per_s = 1, .burst = 1000
	};
	world->limits[1] = (struct gate_limit_def){
		.name = SLICE("login"), .requests = 60, .per_s = 60, .burst = 60.5
	};
	world->headers[0] = (struct http_header){ SLICE("x-a"), SLICE("b") };
	plan->upstreams = world->upstreams;
	plan->upstream_count = 2;
	plan->routes = world->routes;
	plan->route_count = ROUTES;
	plan->limits = world->limits;
	plan->limit_count = 2;
	plan->answer_headers = world->headers;
	plan->answer_header_count = 1;
	plan->cors.origins = world->origins;
}

static const struct {
	const char *path, *prefix, *normal; /* normal NULL: missing */
} paths[] = {
	{ "/", "/", "/" },
	{ "/api", "/api", "/api" },
	{ "/apiary", "/", "/apiary" },
	{ "/api/", "/api", "/api/" },
	{ "/api/v1/orders", "/api/v1/orders", "/api/v1/orders" },
	{ "/api/v1/orders/7", "/api/v1/orders", "/api/v1/orders/7" },
	{ "/api/v1/orders-old", "/api", "/api/v1/orders-old" },
	{ "/api/v1/users/login", "/api/v1/users/login", "/api/v1/users/login" },
	{ "/api/v1/users/login/x", "/api/v1/users/login", "/api/v1/users/login/x" },
	{ "/api/v1/users/logins", "/api/v1/users", "/api/v1/users/logins" },
	{ "/ws", "/ws", "/ws" },
	{ "/nobody", "/", "/nobody" },
	/* What looks like one route and is another. */
	{ "/api/v1/orders/../users", "/api/v1/users", "/api/v1/users" },
	{ "/api/v1/orders/%2e%2e/users", "/api/v1/users", "/api/v1/users" },
	{ "/api/v1/orders/.%2E/users", "/api/v1/users", "/api/v1/users" },
	{ "/api/v1/orders/%2e./users/login", "/api/v1/users/login",
	  "/api/v1/users/login" },
	{ "/api/v1/orders/./7", "/api/v1/orders", "/api/v1/orders/7" },
	{ "/api/v1/orders/7/..", "/api/v1/orders", "/api/v1/orders/" },
	{ "/api/v1/orders/.", "/api/v1/orders", "/api/v1/orders/" },
	{ "/../../ws", "/ws", "/ws" },
	{ "/ws/../..", "/", "/" },
	{ "/%77s", "/ws", "/ws" },
	{ "/api/v1/users/lo%67in", "/api/v1/users/login", "/api/v1/users/login" },
	{ "/api/v1/orders//../../users", "/api/v1/users", "/api/v1/users" },
	/* Doubled slashes are segments, hidden files and dots within are no parents. */
	{ "/api//v1/orders", "/api", "/api//v1/orders" },
	{ "//ws", "/", "//ws" },
	{ "/ws/.hidden", "/ws", "/ws/.hidden" },
	{ "/ws/...", "/ws", "/ws/..." },
	{ "/ws/a..b", "/ws", "/ws/a..b" },
	/* An escape is undone once, and only where it means the same. */
	{ "/ws/%252e%252e/x", "/ws", "/ws/%252e%252e/x" },
	{ "/ws/..%2fx", "/ws", "/ws/..%2Fx" },
	{ "/ws/%2f", "/ws", "/ws/%2F" },
	{ "/ws/%41%7e%c3%a9", "/ws", "/ws/A~%C3%A9" },
	{ "/ws/\xc3\xa9", "/ws", "/ws/%C3%A9" },
	{ "/ws/a\\..\\b", "/ws", "/ws/a%5C..%5Cb" },
	{ "/ws/#x", "/ws", "/ws/%23x" },
	{ "/ws/a;b=c,d@e:f!$&'()*+", "/ws", "/ws/a;b=c,d@e:f!$&'()*+" },
	/* Missing. */
	{ "/ws/%", NULL, NULL },
	{ "/ws/%4", NULL, NULL },
	{ "/ws/%4g", NULL, NULL },
	{ "/ws/%zz", NULL, NULL },
	{ "/ws/%00", NULL, NULL },
	{ "/ws/a b", NULL, NULL },
	{ "/ws/a\r\nx", NULL, NULL },
	{ "/ws/\x7f", NULL, NULL },
	{ "ws", NULL, NULL },
	{ "", NULL, NULL },
};

static void a_path_goes_in_normal_form_to_the_longest_prefix_that_fits(void **state)
{
	struct world world;

	world_fill(&world);
	assert_true(gate_plan_finish(world.plan, &world.why));
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		struct slice path = slice_text(paths[i].path), normal;
		struct arena arena = { 0 };
		const struct gate_route *found =
			gate_plan_match(world.plan, path, &arena, &normal);

		if (!paths[i].prefix != !found)
			fail_msg("%s: %s", paths[i].path, found ? "found" : "missing");
		if (found && !(slice_equal(found->prefix, slice_text(paths[i].prefix)) &&
			       slice_equal(normal, slice_text(paths[i].normal))))
			fail_msg("%s: %.*s as %.*s", paths[i].path,
				 SLICE_PRINT(found->prefix), SLICE_PRINT(normal));
		arena_finish(&arena);
	}
	gate_plan_destroy(world.plan);
}

static void a_path_in_its_normal_form_is_not_copied(void **state)
{
	struct slice path = SLICE("/api/v1/orders/7"), normal;
	struct arena arena = { 0 };
	struct world world;

	world_fill(&world);
	assert_true(gate_plan_finish(world.plan, &world.why));
	assert_non_null(gate_plan_match(world.plan, path, &arena, &normal));
	assert_ptr_equal(normal.at, path.at);
	assert_null(arena.blocks);
	gate_plan_destroy(world.plan);
}

static void a_path_without_a_route_is_missing(void **state)
{
	struct arena arena = { 0 };
	struct slice normal;
	struct world world;

	world_fill(&world);
	world.plan->routes = world.routes + 1; /* without "/" */
	world.plan->route_count--;
	assert_true(gate_plan_finish(world.plan, &world.why));
	assert_null(gate_plan_match(world.plan, SLICE("/other"), &arena, &normal));
	assert_null(gate_plan_match(world.plan, SLICE("/"), &arena, &normal));
	assert_null(gate_plan_match(world.plan, SLICE("/ap"), &arena, &normal));
	gate_plan_destroy(world.plan);
}

/* --- finish ----------------------------------------------------------------------- */

static void a_route_tells_its_limits(void **state)
{
	struct world world;

	world_fill(&world);
	world.routes[5].limit_count = 2;
	world.routes[5].limits[1] = 1;
	assert_true(gate_plan_finish(world.plan, &world.why));
	for (size_t i = 0; i < ROUTES; i++) {
		bool is_ws = slice_equal(world.routes[i].prefix, SLICE("/ws"));
		struct slice wanted = is_ws ? SLICE("\"all\";q=1000;w=2, "
						    "\"login\";q=60;w=61")
					    : SLICE("");

		assert_true(slice_equal(world.routes[i].policy, wanted));
		assert_true(
			slice_equal(world.routes[i].about.path, world.routes[i].prefix));
	}
	gate_plan_destroy(world.plan);
}

/* change is a statement on `world`. */
#define assert_refused(change, text)                                                     \
	do {                                                                             \
		struct world world;                                                      \
		world_fill(&world);                                                      \
		change;                                                                  \
		if (gate_plan_finish(world.plan, &world.why))                            \
			fail_msg("taken: %s", #change);                                  \
		assert_int_equal(world.why.kind, FAULT_bad_input);                       \
		if (!strstr(world.why.detail, text))                                     \
			fail_msg("%s: %s", #change, world.why.detail);                   \
		gate_plan_destroy(world.plan);                                           \
	} while (0)

static void what_is_wrong_with_an_upstream_is_named(void **state)
{
	assert_refused(world.upstreams[0].name = SLICE("a b"), "a b: the name");
	assert_refused(world.upstreams[0].name = SLICE("users"),
		       "users: it is there twice");
	assert_refused(world.upstreams[1].addresses = SLICE(""),
		       "users: it has no address");
	assert_refused(world.upstreams[0].resolve_ms = 0, "resolve_ms");
	assert_refused(world.upstreams[0].connect_timeout_ms = -1, "connect_timeout_ms");
	assert_refused(world.upstreams[0].connections_max = 0, "connections_max");
	assert_refused(world.upstreams[0].idle_timeout_ms = 1 << 30, "idle_timeout_ms");
	assert_refused(world.upstreams[0].health.path = SLICE("ready"), "health.path");
	assert_refused(world.upstreams[0].health.path = SLICE("/a b"), "health.path");
	assert_refused(world.upstreams[0].health.interval_ms = 0, "health");
	assert_refused(world.upstreams[0].health.fall = 0, "health.fall");
	assert_refused(world.upstreams[0].breaker.failures = 1, "breaker.open_ms");
	assert_refused(world.upstreams[0].retry.attempts_max = 0, "attempts_max");
	assert_refused(world.upstreams[0].retry.ratio = -0.1, "retry.ratio");
	assert_refused(world.upstreams[0].retry.per_s = 0.0 / 0.0, "retry.ratio");
}

static void what_is_wrong_with_a_route_is_named(void **state)
{
	assert_refused(world.routes[1].prefix = SLICE(""), "the prefix");
	assert_refused(world.routes[1].prefix = SLICE("a"), "route a: the prefix");
	assert_refused(world.routes[1].prefix = SLICE("/a/"), "the prefix");
	assert_refused(world.routes[1].prefix = SLICE("/a/../b"), "the prefix");
	assert_refused(world.routes[1].prefix = SLICE("/%61"), "the prefix");
	assert_refused(world.routes[1].prefix = SLICE("/ws"), "/ws: it is there twice");
	assert_refused(world.routes[1].rewrite = SLICE("x"), "rewrite");
	assert_refused(world.routes[1].rewrite = SLICE("/a\r\nb"), "rewrite");
	assert_refused(world.routes[1].upstream = 2, "no upstream");
	assert_refused(world.routes[1].timeout_ms = 0, "timeout_ms");
	assert_refused(world.routes[1].idle_timeout_ms = 0, "timeout_ms");
	assert_refused(world.routes[1].limit_count = 5, "too many limits");
	assert_refused((world.routes[1].limit_count = 1, world.routes[1].limits[0] = 2),
		       "no such limit");
	assert_refused(world.routes[1].before = -1, "before");
}

static void what_is_wrong_with_limits_cors_and_headers_is_named(void **state)
{
	assert_refused(world.limits[0].name = SLICE("a\"b"), "the name");
	assert_refused(world.limits[0].name = SLICE("login"), "it is there twice");
	assert_refused(world.limits[0].requests = 0, "requests");
	assert_refused(world.limits[0].per_s = 0, "per_s");
	assert_refused(world.limits[0].burst = 0.5, "burst");
	assert_refused((world.limits[0].burst = 1e9, world.limits[0].per_s = 1e9,
			world.limits[0].requests = 1e-6),
		       "too long");
	assert_refused((world.limits[0].by = GATE_BY_header,
			world.limits[0].header = SLICE("a b")),
		       "header");
	assert_refused((world.plan->cors.origin_count = 1,
			world.origins[0] = SLICE("shop.example")),
		       "it is no origin");
	assert_refused((world.plan->cors.origin_count = 1,
			world.origins[0] = SLICE("https://shop.example/")),
		       "it is no origin");
	assert_refused((world.plan->cors.origin_count = 1, world.origins[0] = SLICE("*"),
			world.plan->cors.credentials = true),
		       "goes neither");
	assert_refused((world.plan->cors.origin_count = 2, world.origins[0] = SLICE("*"),
			world.origins[1] = SLICE("http://a")),
		       "goes neither");
	assert_refused(world.plan->cors.methods = SLICE("a\r\nb"), "bad character");
	assert_refused(world.plan->cors.max_age_s = -1, "max_age_s");
	assert_refused(world.headers[0].name = SLICE("x a"), "header x a");
	assert_refused(world.headers[0].value = SLICE("a\nb"), "bad character");
	assert_refused(world.plan->answer_header_count = 33, "more than 32");
}

static void a_plan_outlives_its_last_passage(void **state)
{
	struct world world;

	world_fill(&world);
	assert_true(gate_plan_finish(world.plan, &world.why));
	gate_plan_enter(world.plan);
	gate_plan_enter(world.plan);
	gate_plan_destroy(world.plan);
	assert_true(world.plan->orphan);
	gate_plan_leave(world.plan);
	assert_int_equal(world.plan->passages, 1);
	gate_plan_leave(world.plan); /* frees it: ASan sees a leak or a use after it */
	gate_plan_destroy(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			a_path_goes_in_normal_form_to_the_longest_prefix_that_fits),
		cmocka_unit_test(a_path_in_its_normal_form_is_not_copied),
		cmocka_unit_test(a_path_without_a_route_is_missing),
		cmocka_unit_test(a_route_tells_its_limits),
		cmocka_unit_test(what_is_wrong_with_an_upstream_is_named),
		cmocka_unit_test(what_is_wrong_with_a_route_is_named),
		cmocka_unit_test(what_is_wrong_with_limits_cors_and_headers_is_named),
		cmocka_unit_test(a_plan_outlives_its_last_passage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
