/* SPDX-License-Identifier: MIT */
#include "http/client.h"

#include "base/check.h"
#include "base/random.h"
#include "http/request.h"
#include "loop/loop.h"
#include "hostile_server.h"
#include "watch/log.h"
#include "watch/metrics.h"
#include "watch/trace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

/* --- the world around a client ---------------------------------------------------- */

struct world {
	struct metrics *metrics;
	struct log_hub *hub;
	struct observer observer;
	struct chaos chaos;
	struct loop *loop;
	struct http_client *client;
	struct test_server *server;
	unsigned under_way;
};

struct result {
	struct world *world;
	int calls; /* of done */
	bool starting; /* inside http_client_call */
	int status;
	struct fault why;
	char body[64];
	size_t body_size;
	bool x_test;
};

static void on_wake(void *context)
{
}

static struct http_client_config config = {
	.connections_max = 4,
	.idle_max = 2,
	.idle_timeout_ms = 1000,
	.connect_timeout_ms = 1000,
	.waiting_max = 8,
	.response_size_max = 16 * 1024 * 1024,
};

static struct world *world_create(void)
{
	struct world *world = mem_zeroed(1, sizeof(*world));
	struct tracer_config tracing = { .sampler = SAMPLER_always_on,
					 .ratio = 1,
					 .recording = true,
					 .ring_bytes = 1 << 20,
					 .attrs_max = 128 };

	atomic_store(&released, false);
	world->metrics = metrics_create();
	world->hub = log_hub_create(LOG_debug, on_wake, NULL);
	world->observer = (struct observer){ log_create(world->hub, 1 << 16),
					     meter_create(world->metrics),
					     tracer_create(&tracing, 1) };
	world->loop = loop_create(&world->observer, &world->chaos);
	world->client = http_client_create(world->loop, &config);
	world->server = test_server_start(hostile_answer, NULL);
	return world;
}

static void world_destroy(struct world *world)
{
	atomic_store(&released, true);
	http_client_destroy(world->client);
	assert_int_equal(world->under_way, 0);
	test_server_stop(world->server);
	loop_destroy(world->loop);
	tracer_destroy(world->observer.tracer);
	log_hub_destroy(world->hub);
	metrics_destroy(world->metrics);
	free(world);
}

static void on_done(void *context, const struct http_answer *given,
		    const struct fault *why)
{
	struct result *result = context;

	assert_false(result->starting);
	assert_true((given == NULL) != (why == NULL));
	result->calls++;
	result->world->under_way--;
	if (why) {
		result->why = *why;
		return;
	}
	result->status = given->status;
	result->body_size = given->body.size;
	memcpy(result->body, given->body.at ? given->body.at : "",
	       given->body.size < 63 ? given->body.size : 63);
	for (size_t i = 0; i < given->header_count; i++)
		result->x_test |= slice_equal(given->headers[i].name, SLICE("x-test"));
}

static void start_call(struct world *world, struct result *result, struct http_call call)
{
	*result = (struct result){ .world = world, .starting = true };
	world->under_way++;
	http_client_call(world->client, &call, on_done, result);
	result->starting = false;
}

/* A call to a path of the server. The URL must live only during http_client_call. */
static void start(struct world *world, struct result *result, const char *method,
		  const char *path, const char *body, int deadline_ms)
{
	char url[600];

	snprintf(url, sizeof(url), "http://127.0.0.1:%u%s", world->server->port, path);
	start_call(world, result,
		   (struct http_call){
			   .method = slice_text(method),
			   .url = slice_text(url),
			   .body = slice_text(body),
			   .deadline = mono_after_ms(clock_mono(), deadline_ms) });
	memset(url, '!', sizeof(url));
}

static void turn_until_done(struct world *world)
{
	while (world->under_way > 0) {
		loop_turn(world->loop, 100);
		http_client_check(world->client);
	}
}

static struct result one(struct world *world, const char *method, const char *path,
			 const char *body, int deadline_ms)
{
	struct result result;

	start(world, &result, method, path, body, deadline_ms);
	turn_until_done(world);
	assert_int_equal(result.calls, 1);
	return result;
}

/* --- tests ------------------------------------------------------------------------ */

static void a_good_answer_is_delivered_whatever_its_framing(void **state)
{
	struct world *world = world_create();

	for (size_t i = 0; i < FIRST_BROKEN; i++) {
		bool head = strcmp(sayings[i].path, "/head") == 0;
		struct result result =
			one(world, head ? "HEAD" : "GET", sayings[i].path, "", 2000);

		if (result.status != atoi(strstr(sayings[i].says, "100 Continue")
						  ? "200"
						  : sayings[i].says + 9))
			fail_msg("%s: %d %s", sayings[i].path, result.status,
				 result.why.detail);
		if (result.status == 200 && !head)
			assert_string_equal(result.body, "ok");
		if (i == 0)
			assert_true(result.x_test);
	}
	assert_int_equal(one(world, "GET", "/drip-ok", "", 5000).status, 200);
	world_destroy(world);
}

static void nonsense_and_hang_ups_fail_their_own_call_only(void **state)
{
	struct world *world = world_create();
	static const char *const more[] = { "/headers", "/body", "/reset",
					    "/reset-late" };

	for (size_t i = FIRST_BROKEN; i < SAYINGS + 4; i++) {
		const char *path = i < SAYINGS ? sayings[i].path : more[i - SAYINGS];
		struct result result = one(world, "GET", path, "", 5000);

		if (result.why.kind != FAULT_broken)
			fail_msg("%s: %d %s", path, result.status, result.why.detail);
		assert_int_equal(one(world, "GET", "/ok", "", 2000).status, 200);
	}
	world_destroy(world);
}

static void an_unsafe_call_that_lost_its_connection_is_uncertain(void **state)
{
	struct world *world = world_create();

	assert_int_equal(one(world, "POST", "/silent", "x", 2000).why.kind,
			 FAULT_uncertain);
	assert_int_equal(one(world, "POST", "/reset", "x", 2000).why.kind,
			 FAULT_uncertain);
	assert_int_equal(one(world, "POST", "/short", "x", 2000).why.kind,
			 FAULT_uncertain);
	assert_int_equal(one(world, "PUT", "/silent", "x", 2000).why.kind,
			 FAULT_uncertain);
	assert_int_equal(one(world, "POST", "/garbage", "x", 2000).why.kind,
			 FAULT_broken);
	world_destroy(world);
}

static void an_answer_that_does_not_come_in_time_is_a_timeout(void **state)
{
	struct world *world = world_create();
	struct mono began = clock_mono();

	assert_int_equal(one(world, "GET", "/hang", "", 50).why.kind, FAULT_timeout);
	assert_int_equal(one(world, "GET", "/drip", "", 100).why.kind, FAULT_timeout);
	assert_int_equal(one(world, "POST", "/hang", "x", 50).why.kind, FAULT_uncertain);
	assert_int_equal(one(world, "GET", "/ok", "", 0).why.kind, FAULT_timeout);
	assert_true(mono_seconds(began, clock_mono()) < 2);
	world_destroy(world);
}

static void bodies_of_any_size_pass_both_ways(void **state)
{
	struct world *world = world_create();
	size_t size = 12 * 1024 * 1024;
	char *body = malloc(size + 1);

	memset(body, 'b', size);
	body[size] = '\0';
	assert_int_equal(one(world, "POST", "/echo", body, 20000).body_size, size);
	body[100] = '\0';
	assert_int_equal(one(world, "POST", "/echo", body, 2000).body_size, 100);
	assert_int_equal(one(world, "POST", "/echo", "", 2000).body_size, 0);
	body[100] = 'b';
	assert_int_equal(one(world, "POST", "/early", body, 5000).status, 413);
	free(body);
	world_destroy(world);
}

static void connections_are_kept_and_used_again(void **state)
{
	struct world *world = world_create();

	for (int i = 0; i < 20; i++)
		assert_int_equal(
			one(world, "GET", i % 2 ? "/ok" : "/chunked", "", 2000).status,
			200);
	assert_int_equal(world->server->connections, 1);
	for (int i = 0; i < 5; i++)
		assert_int_equal(one(world, "POST", "/close", "", 2000).status, 200);
	assert_int_equal(world->server->connections, 5);
	world_destroy(world);
}

static void a_connection_closed_meanwhile_is_noticed(void **state)
{
	struct world *world = world_create();

	/* It promises to keep the connection, and does not. */
	for (int i = 0; i < 5; i++) {
		assert_int_equal(one(world, "POST", "/lies", "", 2000).status, 200);
		usleep(20000);
	}
	/* It says more than asked. */
	for (int i = 0; i < 5; i++)
		assert_int_equal(one(world, "POST", "/extra", "", 2000).status, 200);
	world_destroy(world);
}

static void a_stale_connection_is_tried_once_more_when_that_is_harmless(void **state)
{
	struct world *world = world_create();
	struct result result;
	char url[100];

	assert_int_equal(one(world, "GET", "/once", "", 2000).status, 200);
	assert_int_equal(one(world, "GET", "/once", "", 2000).status, 200);
	assert_int_equal(world->server->connections, 2);
	assert_int_equal(one(world, "DELETE", "/once", "", 2000).status, 200);
	assert_int_equal(world->server->connections, 3);
	assert_int_equal(one(world, "POST", "/once", "x", 2000).why.kind,
			 FAULT_uncertain);
	assert_int_equal(world->server->connections, 3);
	assert_int_equal(one(world, "POST", "/once", "x", 2000).status, 200);
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/once", world->server->port);
	start_call(world, &result,
		   (struct http_call){ .method = SLICE("POST"),
				       .url = slice_text(url),
				       .deadline = mono_after_ms(clock_mono(), 2000),
				       .retry_stale_ok = true });
	turn_until_done(world);
	assert_int_equal(result.status, 200);
	/* The second time, on a new connection, is the last. */
	assert_int_equal(one(world, "GET", "/silent", "", 2000).why.kind, FAULT_broken);
	world_destroy(world);
}

static void what_a_lost_connection_had_stays_in_doubt_when_none_follows(void **state)
{
	static const struct {
		struct slice method;
		enum fault_kind kind;
	} cases[] = {
		{ SLICE("POST"), FAULT_uncertain },
		{ SLICE("DELETE"), FAULT_uncertain },
		{ SLICE("GET"), FAULT_unavailable },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct world *world = world_create();
		struct result result;
		char url[100];

		assert_int_equal(one(world, "GET", "/once", "", 2000).status, 200);
		shutdown(world->server->fd, SHUT_RDWR); /* it accepts no more */
		snprintf(url, sizeof(url), "http://127.0.0.1:%u/once",
			 world->server->port);
		start_call(
			world, &result,
			(struct http_call){ .method = cases[i].method,
					    .url = slice_text(url),
					    .deadline = mono_after_ms(clock_mono(), 2000),
					    .retry_stale_ok = true });
		turn_until_done(world);
		assert_int_equal(world->server->requests, 2);
		if (result.why.kind != cases[i].kind)
			fail_msg("%.*s: %s, %s", SLICE_PRINT(cases[i].method),
				 fault_name(result.why.kind), result.why.detail);
		world_destroy(world);
	}
}

static void what_cannot_be_reached_is_unavailable(void **state)
{
	struct world *world = world_create();
	static const char *const urls[] = { "http://127.0.0.1:1/", "http://[::1]:1/",
					    "http://a..b:1/", "http://localhost:1/" };

	for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
		struct result result;

		start_call(world, &result,
			   (struct http_call){
				   .method = SLICE("POST"),
				   .url = slice_text(urls[i]),
				   .deadline = mono_after_ms(clock_mono(), 5000) });
		turn_until_done(world);
		if (result.why.kind != FAULT_unavailable)
			fail_msg("%s: %s", urls[i], result.why.detail);
	}
	world_destroy(world);
}

static void names_are_looked_up(void **state)
{
	struct world *world = world_create();
	struct result results[8];
	char url[100];

	snprintf(url, sizeof(url), "http://localhost:%u/ok", world->server->port);
	for (int i = 0; i < 8; i++)
		start_call(world, &results[i],
			   (struct http_call){
				   .method = SLICE("GET"),
				   .url = slice_text(url),
				   .deadline = mono_after_ms(clock_mono(), 5000) });
	turn_until_done(world);
	for (int i = 0; i < 8; i++)
		assert_int_equal(results[i].status, 200);
	assert_true(world->server->connections <= 4);
	/* And nobody waits for a lookup when the client ends. */
	start_call(world, &results[0],
		   (struct http_call){ .method = SLICE("GET"),
				       .url = SLICE("http://localhost:1/ok"),
				       .deadline = mono_after_ms(clock_mono(), 5000) });
	loop_turn(world->loop, 0);
	world_destroy(world);
	assert_int_equal(results[0].why.kind, FAULT_cancelled);
}

static void calls_wait_in_order_and_the_queue_is_bounded(void **state)
{
	struct world *world = world_create();
	struct result results[14];

	for (int i = 0; i < 14; i++)
		start(world, &results[i], "GET", "/hang", "", 5000);
	for (int i = 0; i < 10; i++) {
		loop_turn(world->loop, 20);
		http_client_check(world->client);
	}
	/* At the moment of the calls no connection is open: 8 wait, the rest is told so.
	 */
	assert_int_equal(world->under_way, 8);
	for (int i = 8; i < 14; i++)
		assert_int_equal(results[i].why.kind, FAULT_unavailable);
	atomic_store(&released, true);
	turn_until_done(world);
	for (int i = 0; i < 8; i++)
		assert_int_equal(results[i].status, 200);
	assert_int_equal(world->server->connections, 4);
	world_destroy(world);
}

static void a_call_that_waits_too_long_for_a_connection_times_out(void **state)
{
	struct world *world = world_create();
	struct result results[6];

	for (int i = 0; i < 6; i++)
		start(world, &results[i], i < 4 ? "GET" : "POST", "/hang", "",
		      i < 4 ? 5000 : 50);
	while (world->under_way > 4)
		loop_turn(world->loop, 10);
	/* Nothing of them was sent. */
	assert_int_equal(results[4].why.kind, FAULT_timeout);
	assert_int_equal(results[5].why.kind, FAULT_timeout);
	atomic_store(&released, true);
	turn_until_done(world);
	world_destroy(world);
}

static void a_connection_nobody_uses_is_closed_after_a_while(void **state)
{
	struct world *world = world_create();
	struct mono until;

	config.idle_timeout_ms = 30;
	http_client_destroy(world->client);
	world->client = http_client_create(world->loop, &config);
	assert_int_equal(one(world, "GET", "/ok", "", 2000).status, 200);
	until = mono_after_ms(clock_mono(), 100);
	while (clock_mono().ns < until.ns) {
		loop_turn(world->loop, 10);
		http_client_check(world->client);
	}
	assert_int_equal(one(world, "GET", "/ok", "", 2000).status, 200);
	assert_int_equal(world->server->connections, 2);
	config.idle_timeout_ms = 1000;
	world_destroy(world);
}

static void a_call_that_is_no_request_is_bad_input(void **state)
{
	struct world *world = world_create();
	static const struct http_header headers[] = {
		{ { "x", 1 }, { "a\r\nb: c", 7 } },
		{ { "x y", 3 }, { "a", 1 } },
		{ { "x\n", 2 }, { "a", 1 } },
		{ { "", 0 }, { "a", 1 } },
	};
	char url[100];

	snprintf(url, sizeof(url), "http://127.0.0.1:%u/ok", world->server->port);
	for (int i = 0; i < 7; i++) {
		struct result result;
		struct http_call call = { .method = SLICE("GET"),
					  .url = slice_text(url),
					  .deadline = mono_after_ms(clock_mono(), 1000) };

		if (i < 4) {
			call.headers = &headers[i];
			call.header_count = 1;
		} else if (i == 4) {
			call.method = SLICE("GET / HTTP/1.1\r\nX:");
		} else if (i == 5) {
			call.method = SLICE("");
		} else {
			call.url = SLICE("https://localhost/");
		}
		start_call(world, &result, call);
		turn_until_done(world);
		assert_int_equal(result.why.kind, FAULT_bad_input);
	}
	assert_int_equal(world->server->connections, 0);
	world_destroy(world);
}

static void framing_and_trace_headers_are_ours(void **state)
{
	struct world *world = world_create();
	static const struct http_header headers[] = {
		{ { "Host", 4 }, { "evil", 4 } },
		{ { "Content-Length", 14 }, { "99", 2 } },
		{ { "Transfer-Encoding", 17 }, { "chunked", 7 } },
		{ { "connection", 10 }, { "close", 5 } },
		{ { "traceparent", 11 }, { "forged", 6 } },
		{ { "x-mine", 6 }, { "kept", 4 } },
	};
	struct trace_context parent;
	struct result result;
	struct slice span;
	char url[100], expected[100];

	assert_true(trace_parse(
		SLICE("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
		SLICE("vendor=value"), &parent));
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/seen", world->server->port);
	start_call(world, &result,
		   (struct http_call){ .method = SLICE("GET"),
				       .url = slice_text(url),
				       .headers = headers,
				       .header_count = 6,
				       .trace = &parent,
				       .deadline = mono_after_ms(clock_mono(), 2000) });
	memset(&parent, 0, sizeof(parent));
	turn_until_done(world);
	assert_int_equal(result.status, 200);
	snprintf(expected, sizeof(expected), "\r\nhost: 127.0.0.1:%u\r\n",
		 world->server->port);
	assert_non_null(strstr(seen_head, expected));
	assert_non_null(strstr(seen_head, "\r\ntracestate: vendor=value\r\n"));
	assert_non_null(strstr(seen_head, "\r\nx-mine: kept\r\n"));
	assert_non_null(strstr(seen_head,
			       "\r\ntraceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-"));
	assert_null(strstr(seen_head, "00f067aa0ba902b7"));
	assert_null(strstr(seen_head, "forged"));
	assert_null(strstr(seen_head, "evil"));
	assert_null(strcasestr(seen_head, "content-length: 99"));
	assert_null(strcasestr(seen_head, "transfer-encoding"));
	assert_true(tracer_peek(world->observer.tracer, &span));
	assert_non_null(memmem(span.at, span.size, "http.request.method", 19));
	tracer_release(world->observer.tracer);
	assert_false(tracer_peek(world->observer.tracer, &span));
	/* Untraced: no headers, no span. */
	assert_int_equal(one(world, "GET", "/seen", "", 2000).status, 200);
	assert_null(strstr(seen_head, "traceparent"));
	assert_false(tracer_peek(world->observer.tracer, &span));
	world_destroy(world);
}

struct wanted {
	const char *status, *kind;
	uint64_t count;
};

static void on_family(void *context, const struct metric_def *def, size_t points)
{
}

static void on_point(void *context, const struct metric_def *def,
		     const struct metric_point *point)
{
	struct wanted *wanted = context;

	if (slice_equal(def->name, SLICE("http_client_request_duration_seconds")) &&
	    slice_equal(point->values[2], slice_text(wanted->status)) &&
	    slice_equal(point->values[3], slice_text(wanted->kind)))
		wanted->count += point->count;
}

static void every_call_is_counted_with_its_outcome(void **state)
{
	struct world *world = world_create();
	struct wanted wanted[] = { { "200", "", 0 },
				   { "404", "404", 0 },
				   { "", "broken", 0 },
				   { "", "timeout", 0 } };
	static const uint64_t expected[] = { 2, 1, 1, 1 };

	one(world, "GET", "/ok", "", 2000);
	one(world, "POST", "/ok", "", 2000);
	one(world, "GET", "/missing", "", 2000);
	one(world, "GET", "/garbage", "", 2000);
	one(world, "GET", "/hang", "", 20);
	for (size_t i = 0; i < 4; i++) {
		struct metrics_reader reader = { on_family, on_point, &wanted[i] };

		metrics_read(world->metrics, &reader);
		assert_int_equal(wanted[i].count, expected[i]);
	}
	world_destroy(world);
}

static void chaos_delays_fails_and_cuts_calls(void **state)
{
	struct world *world = world_create();
	struct mono began = clock_mono();

	chaos_arm(&world->chaos, CHAOS_http_call, (struct chaos_effect){ .delay_ms = 50 },
		  1);
	assert_int_equal(one(world, "GET", "/ok", "", 2000).status, 200);
	assert_true(mono_seconds(began, clock_mono()) >= 0.05);
	chaos_arm(&world->chaos, CHAOS_http_call,
		  (struct chaos_effect){ .delay_ms = 5000 }, 1);
	assert_int_equal(one(world, "GET", "/ok", "", 50).why.kind, FAULT_timeout);
	chaos_arm(&world->chaos, CHAOS_http_call,
		  (struct chaos_effect){ .fail = FAULT_unavailable }, 1);
	assert_int_equal(one(world, "GET", "/ok", "", 2000).why.kind, FAULT_unavailable);
	chaos_arm(&world->chaos, CHAOS_http_call, (struct chaos_effect){ .cut = true },
		  1);
	assert_int_equal(one(world, "POST", "/ok", "x", 2000).why.kind, FAULT_uncertain);
	assert_int_equal(one(world, "POST", "/ok", "x", 2000).status, 200);
	world_destroy(world);
}

static void calls_under_way_are_cancelled_when_the_client_ends(void **state)
{
	struct world *world = world_create();
	struct result results[7];

	for (int i = 0; i < 6; i++)
		start(world, &results[i], "GET", "/hang", "", 5000);
	for (int i = 0; i < 5; i++)
		loop_turn(world->loop, 10);
	start(world, &results[6], "GET", "/ok", "", 5000);
	world_destroy(world);
	for (int i = 0; i < 7; i++) {
		assert_int_equal(results[i].calls, 1);
		assert_int_equal(results[i].why.kind, FAULT_cancelled);
	}
}

static void a_random_walk_among_hostile_answers_keeps_every_invariant(void **state)
{
	static const char *const paths[] = { "/echo",	 "/once", "/drip",
					     "/headers", "/body", "/reset",
					     "/early",	 "/hang", "/reset-late" };
	static const char *const methods[] = { "GET", "POST", "PUT", "DELETE", "HEAD" };
	struct world *world = world_create();
	struct result results[16];
	bool used[16] = { false };
	unsigned succeeded = 0, failed = 0;
	struct random random;
	struct mono until = mono_after_ms(clock_mono(), 20000);

	random_init(&random, 11);
	while (succeeded + failed < 400 && clock_mono().ns < until.ns) {
		size_t i = random_below(&random, 11),
		       n = random_below(&random, SAYINGS + 20);

		if (used[i] && results[i].calls == 0) {
			loop_turn(world->loop, (int)random_below(&random, 4));
		} else {
			if (used[i]) {
				assert_int_equal(results[i].calls, 1);
				succeeded += results[i].status > 0;
				failed += results[i].status == 0;
			}
			used[i] = true;
			start(world, &results[i], methods[random_below(&random, 5)],
			      n < SAYINGS	 ? sayings[n].path
			      : n < SAYINGS + 10 ? "/ok"
						 : paths[n % 9],
			      random_below(&random, 2) ? "body" : "",
			      (int)random_below(&random, 200));
		}
		http_client_check(world->client);
	}
	turn_until_done(world);
	print_message("%u answered, %u failed\n", succeeded, failed);
	assert_true(succeeded > 20 && failed > 20);
	assert_int_equal(one(world, "GET", "/ok", "", 2000).status, 200);
	world_destroy(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_good_answer_is_delivered_whatever_its_framing),
		cmocka_unit_test(nonsense_and_hang_ups_fail_their_own_call_only),
		cmocka_unit_test(an_unsafe_call_that_lost_its_connection_is_uncertain),
		cmocka_unit_test(an_answer_that_does_not_come_in_time_is_a_timeout),
		cmocka_unit_test(bodies_of_any_size_pass_both_ways),
		cmocka_unit_test(connections_are_kept_and_used_again),
		cmocka_unit_test(a_connection_closed_meanwhile_is_noticed),
		cmocka_unit_test(
			a_stale_connection_is_tried_once_more_when_that_is_harmless),
		cmocka_unit_test(
			what_a_lost_connection_had_stays_in_doubt_when_none_follows),
		cmocka_unit_test(what_cannot_be_reached_is_unavailable),
		cmocka_unit_test(names_are_looked_up),
		cmocka_unit_test(calls_wait_in_order_and_the_queue_is_bounded),
		cmocka_unit_test(a_call_that_waits_too_long_for_a_connection_times_out),
		cmocka_unit_test(a_connection_nobody_uses_is_closed_after_a_while),
		cmocka_unit_test(a_call_that_is_no_request_is_bad_input),
		cmocka_unit_test(framing_and_trace_headers_are_ours),
		cmocka_unit_test(every_call_is_counted_with_its_outcome),
		cmocka_unit_test(chaos_delays_fails_and_cuts_calls),
		cmocka_unit_test(calls_under_way_are_cancelled_when_the_client_ends),
		cmocka_unit_test(
			a_random_walk_among_hostile_answers_keeps_every_invariant),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
