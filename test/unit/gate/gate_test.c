/* SPDX-License-Identifier: MIT */
/* What comes before a request is forwarded, what answers carry, and the ends of plans and
 * gates. */
#include "gate_rig.h"

#include "../http/hostile_server.h"

static struct rig rig;

static bool answer(void *context, int fd, const struct test_request *request)
{
	if (strcmp(request->path, "/seen") == 0 ||
	    strcmp(request->path, "/b/seen") == 0) {
		snprintf(seen_head, sizeof(seen_head), "%s", request->head);
		test_say(fd, sayings[0].says);
		return true;
	}
	if (strcmp(request->path, "/missing?token=secret") == 0) {
		test_say(fd, "HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno");
		return true;
	}
	if (strcmp(request->path, "/cors") == 0) {
		test_say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"
			     "Access-Control-Allow-Origin: *\r\n"
			     "Access-Control-Allow-Credentials: true\r\n"
			     "Vary: Accept\r\n\r\nok");
		return true;
	}
	return hostile_answer(context, fd, request);
}

/* --- a script that decides later -------------------------------------------------- */

struct running {
	struct rig *rig;
	struct slice path;
	bool left;
	struct timer timer;
	gate_before_done_fn *done;
	void *context;
};

static atomic_int befores, lefts, dones;
static atomic_bool before_waits;

static void on_time(void *context)
{
	static const struct http_header set[] = {
		{ SLICE("X-User"), SLICE("7") },
		{ SLICE("Host"), SLICE("evil.example") },
		{ SLICE("Content-Length"), SLICE("99") },
	};
	static const struct http_header own = { SLICE("X-Own"), SLICE("yes") };
	struct running *running = context;
	struct gate_before_result result = { .go_on = true };
	struct fault why;

	if (before_waits) {
		timer_start(running->rig->site.loop, &running->timer,
			    mono_after_ms(loop_now(running->rig->site.loop), 5), on_time,
			    running);
		return;
	}
	dones++;
	if (running->left) {
		result.go_on = true; /* it does not know better */
	} else if (slice_ends_with(running->path, SLICE("/answer"))) {
		result = (struct gate_before_result){ .status = 203,
						      .headers = &own,
						      .header_count = 1,
						      .body = SLICE("mine") };
	} else if (slice_ends_with(running->path, SLICE("/fault"))) {
		fault_set(&why, FAULT_denied, "who are you");
		result = (struct gate_before_result){ .status = 401, .why = &why };
	} else if (slice_ends_with(running->path, SLICE("/full"))) {
		fault_set_status(&why, FAULT_limit, 503, "there is no room");
		result = (struct gate_before_result){ .status = 503, .why = &why };
	} else {
		result.headers = set;
		result.header_count = 3;
	}
	running->done(running->context, &result);
	free(running);
}

static void *before(void *context, const struct gate_route *route,
		    struct http_request *request, struct slice path, struct mono deadline,
		    const struct trace_context *trace, struct span *span,
		    gate_before_done_fn *done, void *done_context)
{
	struct running *running = mem_zeroed(1, sizeof(*running));
	struct rig *r = context;

	check(route->before == 7 && trace && span && deadline.ns > 0);
	*running = (struct running){
		.rig = r, .path = path, .done = done, .context = done_context
	};
	befores++;
	timer_start(r->site.loop, &running->timer,
		    mono_after_ms(loop_now(r->site.loop), 5), on_time, running);
	return running;
}

static void left(void *context, void *running)
{
	((struct running *)running)->left = true;
	lefts++;
}

/* --- the plan --------------------------------------------------------------------- */

static struct gate_plan *make_plan(void)
{
	struct gate_plan *plan;
	char text[100];

	plan = rig_plan(rig_addresses(&rig, text, sizeof(text)));
	rig_route(plan, "/");
	rig_route(plan, "/b")->before = 7;
	plan->limits[0] = (struct gate_limit_def){
		.name = SLICE("few"), .requests = 1, .per_s = 30, .burst = 2
	};
	plan->limits[1] = (struct gate_limit_def){ .name = SLICE("by-token"),
						   .by = GATE_BY_header,
						   .header = SLICE("authorization"),
						   .requests = 1,
						   .per_s = 30,
						   .burst = 1 };
	plan->limits[2] = (struct gate_limit_def){ .name = SLICE("whole"),
						   .by = GATE_BY_all,
						   .requests = 1,
						   .per_s = 30,
						   .burst = 3 };
	plan->limit_count = 3;
	for (unsigned i = 0; i < 3; i++) {
		static const char *const prefixes[] = { "/few", "/token", "/whole" };
		struct gate_route *route = rig_route(plan, prefixes[i]);

		route->limits[0] = i;
		route->limit_count = 1;
		route->rewrite = SLICE("/");
	}
	plan->cors = (struct gate_cors){ .origins = plan->cors.origins,
					 .origin_count = 2,
					 .methods = SLICE("GET, POST"),
					 .headers = SLICE("content-type"),
					 .expose = SLICE("x-request-id"),
					 .credentials = true,
					 .max_age_s = 600 };
	plan->cors.origins[0] = SLICE("http://localhost:3000");
	plan->cors.origins[1] = SLICE("https://shop.example");
	plan->answer_headers[0] =
		(struct http_header){ SLICE("x-frame-options"), SLICE("DENY") };
	plan->answer_header_count = 1;
	return rig_finish(plan);
}

static int open_rig(void **state)
{
	atomic_store(&released, false);
	befores = lefts = dones = 0;
	before_waits = false;
	rig = (struct rig){ 0 };
	rig.hooks = (struct gate_hooks){ before, left, &rig };
	rig_start_upstreams(&rig, answer, 1);
	rig_open(&rig, make_plan());
	return 0;
}

static int close_rig(void **state)
{
	atomic_store(&released, true);
	rig_close(&rig);
	return 0;
}

static char *ask(const char *method, const char *path, const char *lines)
{
	char text[1000];

	snprintf(text, sizeof(text),
		 "%s %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n%s\r\n", method, path,
		 lines);
	return rig_ask_all(&rig, text);
}

/* --- limits ----------------------------------------------------------------------- */

static void what_is_above_a_limit_is_429_and_says_when_to_come_back(void **state)
{
	assert_says(ask("GET", "/few/ok", ""), " 200 OK",
		    "ratelimit-policy: \"few\";q=2;w=60\r\n",
		    "ratelimit: \"few\";r=1;t=");
	assert_says(ask("GET", "/few/ok", ""), " 200 OK", "ratelimit: \"few\";r=0;t=");
	assert_says(ask("GET", "/few/ok", "Origin: http://localhost:3000\r\n"),
		    "HTTP/1.1 429 ", "retry-after: 30\r\n", "ratelimit: \"few\";r=0;t=60",
		    "\"kind\":\"limit\"", "x-frame-options: DENY", "x-request-id: ",
		    "access-control-allow-origin: http://localhost:3000\r\n");
	assert_int_equal(rig.upstreams[0]->requests, 2);
	assert_says(ask("GET", "/ok", ""), " 200 OK");
	assert_true(rig_rests(&rig));
}

static void callers_are_told_apart_by_what_the_limit_says(void **state)
{
	assert_says(ask("GET", "/token/ok", "Authorization: a\r\n"), " 200 OK");
	assert_says(ask("GET", "/token/ok", "Authorization: b\r\n"), " 200 OK");
	assert_says(ask("GET", "/token/ok", "Authorization: a\r\n"), " 429 ");
	/* A header that names an address spends nothing of that address. */
	assert_says(ask("GET", "/token/ok", "Authorization: 127.0.0.1\r\n"), " 200 OK");
	assert_says(ask("GET", "/token/ok", ""), " 200 OK");
	assert_says(ask("GET", "/token/ok", ""), " 429 ");
	for (int i = 0; i < 4; i++)
		assert_says(ask("GET", "/whole/ok", i % 2 ? "Authorization: c\r\n" : ""),
			    i < 3 ? " 200 OK" : " 429 ");
}

/* --- before ----------------------------------------------------------------------- */

static void before_sets_headers_but_not_those_of_the_gate(void **state)
{
	assert_says(ask("GET", "/b/seen", "X-User: admin\r\nx-user: root\r\n"),
		    " 200 OK");
	assert_non_null(strstr(seen_head, "\r\nx-user: 7\r\n"));
	assert_null(strstr(seen_head, "admin"));
	assert_null(strstr(seen_head, "root"));
	assert_null(strstr(seen_head, "evil"));
	assert_null(strstr(seen_head, "content-length"));
	assert_int_equal(dones, 1);
}

static void before_answers_in_place_of_the_upstream(void **state)
{
	assert_says(ask("GET", "/b/answer", ""), "HTTP/1.1 203 ", "x-own: yes\r\n",
		    "x-request-id: ", "x-frame-options: DENY", "\r\n\r\nmine");
	assert_says(ask("GET", "/b/fault", ""), "HTTP/1.1 401 ", "\"kind\":\"denied\"",
		    "who are you");
	assert_says(ask("GET", "/b/full", ""), "HTTP/1.1 503 ", "retry-after: 1\r\n",
		    "content-type: application/problem+json", "there is no room");
	assert_int_equal(rig.upstreams[0]->requests, 0);
	assert_true(rig_rests(&rig));
}

static bool reaches(atomic_int *count, int wanted)
{
	for (int i = 0; i < PATIENCE_MS && *count != wanted; i++)
		poll(NULL, 0, 1);
	return *count == wanted;
}

static void a_client_that_leaves_during_before_is_waited_for_no_longer(void **state)
{
	int fd = client_connect(&rig.site);

	before_waits = true;
	assert_true(client_send(fd, "GET /b/seen HTTP/1.1\r\nHost: a\r\n\r\n"));
	assert_true(reaches(&befores, 1));
	close(fd);
	assert_true(reaches(&lefts, 1));
	before_waits = false;
	assert_true(rig_rests(&rig));
	assert_int_equal(dones, 1);
	assert_int_equal(rig.upstreams[0]->requests, 0);
}

/* --- CORS ------------------------------------------------------------------------- */

#define ASKS "Access-Control-Request-Method: POST\r\n"

static void a_preflight_is_answered_here(void **state)
{
	assert_says(
		ask("OPTIONS", "/cors", "Origin: https://shop.example\r\n" ASKS),
		"HTTP/1.1 204 ", "access-control-allow-origin: https://shop.example\r\n",
		"access-control-allow-methods: GET, POST\r\n",
		"access-control-allow-headers: content-type\r\n",
		"access-control-allow-credentials: true\r\n",
		"access-control-max-age: 600\r\n", "vary: Origin\r\n", "x-request-id: ");
	assert_says(ask("OPTIONS", "/cors", "Origin: https://evil.example\r\n" ASKS),
		    "HTTP/1.1 403 ", "\"kind\":\"denied\"", "vary: Origin\r\n");
	assert_does_not_say(
		ask("OPTIONS", "/cors", "Origin: https://evil.example\r\n" ASKS),
		"access-control");
	assert_int_equal(rig.upstreams[0]->requests, 0);
	assert_says(ask("OPTIONS", "/ok", "Origin: https://shop.example\r\n"), " 200 OK");
	assert_int_equal(rig.upstreams[0]->requests, 1);
	assert_true(rig_rests(&rig));
}

static void what_an_upstream_says_of_cors_is_replaced(void **state)
{
	char *all = ask("GET", "/cors", "Origin: http://localhost:3000\r\n");

	assert_true(answer_has(all,
			       "access-control-allow-origin: http://localhost:3000\r\n"));
	assert_true(answer_has(all, "access-control-expose-headers: x-request-id\r\n"));
	assert_true(answer_has(all, "vary: Accept\r\n"));
	assert_true(answer_has(all, "vary: Origin\r\n"));
	assert_false(answer_has(all, "access-control-allow-origin: *"));
	free(all);
	assert_does_not_say(ask("GET", "/cors", "Origin: https://evil.example\r\n"),
			    "access-control");
	all = ask("GET", "/cors", "");
	assert_false(answer_has(all, "access-control"));
	assert_true(answer_has(all, "vary: Origin\r\n"));
	free(all);
}

static void any_origin_is_any_origin(void **state)
{
	struct rig other = { 0 };
	struct gate_plan *plan;
	char text[100], *all;

	rig_start_upstreams(&other, answer, 1);
	plan = rig_plan(rig_addresses(&other, text, sizeof(text)));
	rig_route(plan, "/");
	plan->cors.origins[0] = SLICE("*");
	plan->cors.origin_count = 1;
	rig_open(&other, rig_finish(plan));
	all = rig_ask_all(&other, "GET /ok HTTP/1.1\r\nOrigin: http://x" CLOSE);
	assert_true(answer_has(all, "access-control-allow-origin: *\r\n"));
	assert_false(answer_has(all, "vary"));
	free(all);
	rig_close(&other);
}

/* --- records ---------------------------------------------------------------------- */

static struct buf log_text;

static void keep_line(void *context, const struct log_record *record)
{
	log_format_json(&log_text, record, SLICE("gateway"));
}

static void a_request_is_one_line_and_two_series(void **state)
{
	struct slice client[] = { SLICE("GET"), { 0 }, SLICE("200"), SLICE("") };
	char line[100], server[40];
	double value;

	assert_says(ask("GET", "/ok", "X-Request-Id: line-1\r\n"), " 200 OK");
	assert_true(rig_rests(&rig));
	while (log_hub_drain(rig.logs, 100, keep_line, NULL))
		;
	snprintf(line, sizeof(line), "\"server.address\":\"127.0.0.1:%u\"",
		 rig.upstreams[0]->port);
	assert_non_null(strstr(buf_text(&log_text), line));
	assert_non_null(strstr(buf_text(&log_text), "\"upstream\":\"up\""));
	assert_non_null(strstr(buf_text(&log_text), "\"attempts\":1"));
	assert_non_null(strstr(buf_text(&log_text), "\"client.address\":\"127.0.0.1\""));
	assert_non_null(strstr(buf_text(&log_text), "\"request_id\":\"line-1\""));
	assert_non_null(strstr(buf_text(&log_text), "\"route\":\"/\""));
	buf_finish(&log_text);
	snprintf(server, sizeof(server), "127.0.0.1:%u", rig.upstreams[0]->port);
	client[1] = slice_text(server);
	assert_true(metrics_value(rig.metrics,
				  SLICE("http_client_request_duration_seconds"), client,
				  4, &value));
	assert_true(value == 1);
	assert_true(rig_value(&rig, "http_server_active_requests", NULL, NULL) == 0);
	assert_int_equal(rig.spans[0], 1);
}

static void an_attempt_is_a_span(void **state)
{
	char full[100], port[40];

	snprintf(full, sizeof(full), " url.full=http://127.0.0.1:%u/missing ",
		 rig.upstreams[0]->port);
	snprintf(port, sizeof(port), " server.port=%u ", rig.upstreams[0]->port);
	assert_says(ask("GET", "/x/../missing?token=secret", ""), " 404 ");
	assert_true(rig_rests(&rig));
	assert_ptr_equal(strstr(rig.span, "GET:"), rig.span);
	assert_non_null(strstr(rig.span, full));
	assert_non_null(strstr(rig.span, port));
	assert_non_null(strstr(rig.span, " server.address=127.0.0.1 "));
	assert_non_null(strstr(rig.span, " http.request.method=GET "));
	assert_non_null(strstr(rig.span, " http.response.status_code=404 "));
	assert_non_null(strstr(rig.span, " error.type=404 "));
	assert_null(strstr(rig.span, "resend_count"));
	assert_null(strstr(rig.span, "secret"));
	assert_says(ask("POST", "/reset", "Content-Length: 0\r\n"), " 503 ");
	assert_true(rig_rests(&rig));
	assert_non_null(strstr(rig.span, " error.type=uncertain "));
	assert_null(strstr(rig.span, "status_code"));
}

/* --- plans and gates end ---------------------------------------------------------- */

static void replace_plan(void *context)
{
	struct gate_plan *old = rig.plan;

	rig.plan = context;
	gate_use(rig.gate, rig.plan);
	gate_plan_destroy(old);
}

static void a_passage_ends_with_the_plan_it_began_with(void **state)
{
	int fd = client_connect(&rig.site);
	struct gate_plan *fresh = make_plan();

	assert_true(client_send(fd, "GET /hang HTTP/1.1\r\nHost: a\r\n\r\n"));
	assert_true(rig_reaches(&rig, 1));
	site_do(&rig.site, replace_plan, fresh);
	assert_int_equal(rig.plan->passages, 0);
	assert_says(ask("GET", "/ok", ""), " 200 OK");
	atomic_store(&released, true);
	assert_says(client_read_answer(fd, false), " 200 OK", "x-frame-options: DENY");
	close(fd);
	assert_true(rig_rests(&rig));
}

/* The gate is freed when the script has ended. */
static void a_script_may_outlive_its_gate(void **state)
{
	int fd = client_connect(&rig.site);

	before_waits = true;
	assert_true(client_send(fd, "GET /b/seen HTTP/1.1\r\nHost: a\r\n\r\n"));
	assert_true(reaches(&befores, 1));
	loop_stop(rig.site.loop);
	thread_join(rig.site.thread);
	gate_destroy(rig.gate);
	rig.gate = NULL;
	assert_int_equal(lefts, 1);
	assert_int_equal(rig.plan->passages, 1);
	before_waits = false;
	for (int i = 0; i < PATIENCE_MS && dones == 0; i++)
		loop_turn(rig.site.loop, 5);
	assert_int_equal(dones, 1);
	assert_int_equal(rig.plan->passages, 0);
	rig.site.thread = NULL;
	close(fd);
}

static void end_gate(void *context)
{
	gate_destroy(rig.gate);
	rig.gate = NULL;
}

static void what_is_under_way_when_the_gate_ends_is_cancelled(void **state)
{
	int one = client_connect(&rig.site), other = client_connect(&rig.site);
	char some[100];

	rig.upstreams[0]->answer = answer;
	assert_true(client_send(one, "GET /hang HTTP/1.1\r\nHost: a\r\n\r\n"));
	assert_true(client_send(other, "GET /body HTTP/1.1\r\nHost: a\r\n\r\n"));
	assert_true(recv(other, some, sizeof(some), MSG_WAITALL) == sizeof(some));
	assert_true(rig_reaches(&rig, 2));
	site_do(&rig.site, end_gate, NULL);
	assert_says(client_read_answer(one, false), "HTTP/1.1 503 ",
		    "\"kind\":\"cancelled\"");
	while (recv(other, some, sizeof(some), 0) > 0)
		; /* it ends */
	close(one);
	close(other);
	assert_int_equal(rig.plan->passages, 0);
}

#define test(name) cmocka_unit_test_setup_teardown(name, open_rig, close_rig)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(what_is_above_a_limit_is_429_and_says_when_to_come_back),
		test(callers_are_told_apart_by_what_the_limit_says),
		test(before_sets_headers_but_not_those_of_the_gate),
		test(before_answers_in_place_of_the_upstream),
		test(a_client_that_leaves_during_before_is_waited_for_no_longer),
		test(a_preflight_is_answered_here),
		test(what_an_upstream_says_of_cors_is_replaced),
		cmocka_unit_test(any_origin_is_any_origin),
		test(a_request_is_one_line_and_two_series),
		test(an_attempt_is_a_span),
		test(a_passage_ends_with_the_plan_it_began_with),
		test(a_script_may_outlive_its_gate),
		test(what_is_under_way_when_the_gate_ends_is_cancelled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
