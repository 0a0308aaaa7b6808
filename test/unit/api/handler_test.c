/* SPDX-License-Identifier: MIT */
#include "service_rig.h"

#include <lua.h>

#define GET(path) "GET " path " HTTP/1.1\r\nHost: shop:8001\r\n\r\n"
#define POST(path, type, body)                                                           \
	"POST " path " HTTP/1.1\r\nHost: a\r\nContent-Type: " type                       \
	"\r\nTransfer-Encoding: chunked\r\n\r\n" body "\r\n0\r\n\r\n"

static const char source[] =
	"local json = require 'native.json'\n"
	"local fault, task = require 'native.fault', require 'native.task'\n"
	"local routes, turns = {}, {}\n"
	"local function add(method, path, handler)\n"
	"  routes[#routes + 1] = {method = method, path = path, handler = handler}\n"
	"end\n"
	"add('GET', '/', function() return 200, {message = 'hello', id = 42} end)\n"
	"add('POST', '/made', function() return 201, {id = 1}, {Location = '/made/1'} "
	"end)\n"
	"add('GET', '/items/:id/parts/:part', function(req)\n"
	"  return 200, {path = req.path, query = req.query, route = req.route,\n"
	"               method = req.method, peer = req.peer} end)\n"
	"add('GET', '/headers', function(req) return 200, req.headers end)\n"
	"add('POST', '/echo', function(req)\n"
	"  return 200, {body = req.body == nil and 'nil' or req.body, raw = req.raw} "
	"end)\n"
	"add('GET', '/returned', function()\n"
	"  return fault.new('refused', 'no more', {status = 402, code = 'c1',\n"
	"    errors = json.array {{field = 'a', message = 'b'}},\n"
	"    headers = {['X-Why'] = 'because'}}) end)\n"
	"add('GET', '/passed', function() return nil, fault.new('missing', 'no such') "
	"end)\n"
	"add('GET', '/raised', function() fault.raise('unavailable', 'down') end)\n"
	"add('GET', '/broken', function() local x = nil; return x.y end)\n"
	"add('GET', '/nothing', function() end)\n"
	"add('GET', '/text', function() return 200, 'plain' end)\n"
	"add('GET', '/empty', function() return 204 end)\n"
	"add('GET', '/status/:code', function(req) return tonumber(req.path.code), {} "
	"end)\n"
	"add('GET', '/slow', function() task.sleep(60) return 200, {} end)\n"
	"add('GET', '/nap', function() task.sleep(0.05) return 200, {} end)\n"
	"add('GET', '/nap/broken', function() task.sleep(0.05) error('late') end)\n"
	"add('GET', '/left', function() return 200, {ms = task.deadline() * 1000} end)\n"
	"add('GET', '/turn/:name', function(req) turns[#turns + 1] = req.path.name\n"
	"  task.sleep(0.01) return 200, turns end)\n"
	"add('GET', '/bomb', function()\n"
	"  local t = {} for i = 1, 1e9 do t[i] = {i} end end)\n"
	"add('GET', '/deep', function()\n"
	"  local function down() return 1 + down() end return 200, {down()} end)\n"
	"add('GET', '/many', function() return 200, {}, unpack({}, 1, 7000) end)\n"
	"add('GET', '/inside', function(req) return 200, {route = req.route} end)\n"
	"routes[#routes].admin = true\n"
	"return {name = 'test', routes = routes}\n";

static struct service_rig rig;

static int open_rig(void **state)
{
	service_rig_open(
		&rig, &(struct service_rig_config){ .source = source, .tasks_max = 4 });
	return 0;
}

static int open_with_queue(void **state)
{
	service_rig_open(&rig, &(struct service_rig_config){ .source = source,
							     .tasks_max = 1,
							     .queue_max = 2,
							     .timeout_ms = 2000 });
	return 0;
}

static int open_in_production(void **state)
{
	service_rig_open(&rig, &(struct service_rig_config){ .source = source,
							     .timeout_ms = 20,
							     .production = true });
	return 0;
}

static int open_apart(void **state)
{
	service_rig_open(&rig, &(struct service_rig_config){ .source = source,
							     .admin_apart = true });
	return 0;
}

static int open_for_operators(void **state)
{
	service_rig_open(&rig, &(struct service_rig_config){ .source = source,
							     .admin_apart = true,
							     .admin = true });
	return 0;
}

static int close_rig(void **state)
{
	service_rig_close(&rig);
	return 0;
}

static bool nothing_runs(struct service_rig *of)
{
	return task_count(of->rig.vm) == 0;
}

static bool one_runs(struct service_rig *of)
{
	return task_count(of->rig.vm) == 1;
}

/* --- answers ---------------------------------------------------------------------- */

static void a_table_is_answered_as_json(void **state)
{
	const char *answer = service_rig_ask(&rig, GET("/"));

	assert_contains(answer, "HTTP/1.1 200 OK\r\n");
	assert_contains(answer, "content-type: application/json\r\n");
	assert_contains(answer, "\r\n\r\n{\"id\":42,\"message\":\"hello\"}");
	assert_ask(&rig, POST("/made", "application/json", "2\r\n{}"),
		   "location: /made/1\r\n");
	answer = service_rig_ask(&rig, GET("/text"));
	assert_contains(answer, "content-type: text/plain; charset=utf-8\r\n");
	assert_contains(answer, "\r\n\r\nplain");
	assert_ask(&rig, GET("/empty"), "HTTP/1.1 204 No Content\r\n");
}

static void the_script_sees_path_query_route_and_peer(void **state)
{
	const char *answer = service_rig_ask(
		&rig, GET("/items/a%20b/parts/7?q=1%262&empty=&flag&plus=a+b&q=last"));

	assert_contains(answer, "\"path\":{\"id\":\"a b\",\"part\":\"7\"}");
	assert_contains(answer,
			"\"query\":{\"empty\":\"\",\"flag\":\"\",\"plus\":\"a b\","
			"\"q\":\"last\"}");
	assert_contains(answer, "\"route\":\"/items/:id/parts/:part\"");
	assert_contains(answer, "\"method\":\"GET\"");
	assert_contains(answer, "\"peer\":\"127.0.0.1\"");
	assert_ask(&rig, GET("/items/1/parts/2?a%zz=%4&=x"),
		   "\"query\":{\"\":\"x\",\"a%zz\":\"%4\"}");
}

static void headers_that_are_repeated_become_one_list(void **state)
{
	const char *answer =
		service_rig_ask(&rig, "GET /headers HTTP/1.1\r\nHost: a\r\nX-One: 1\r\n"
				      "Accept: x\r\nx-one: 2\r\nCookie: a=1\r\n"
				      "Cookie: b=2\r\nX-ONE: 3\r\n\r\n");

	assert_contains(answer, "\"x-one\":\"1, 2, 3\"");
	assert_contains(answer, "\"cookie\":\"a=1; b=2\"");
	assert_contains(answer, "\"host\":\"a\"");
}

static void a_body_is_decoded_before_the_script_sees_it(void **state)
{
	const char *answer =
		service_rig_ask(&rig, POST("/echo", "application/json; charset=utf-8",
					   "9\r\n{\"a\":[1]}"));

	assert_contains(answer, "\"body\":{\"a\":[1]}");
	assert_contains(answer, "\"raw\":\"{\\\"a\\\":[1]}\"");
	assert_ask(&rig, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
		   "\"body\":\"nil\"");
	answer = service_rig_ask(&rig, POST("/echo", "application/json", "5\r\n{\"a\":"));
	assert_contains(answer, "HTTP/1.1 400 Bad Request\r\n");
	assert_contains(answer, "\"kind\":\"bad_input\"");
	assert_contains(answer, "\"trace_id\":\"");
	answer = service_rig_ask(&rig, POST("/echo", "text/plain", "2\r\n{}"));
	assert_contains(answer, "HTTP/1.1 415 ");
}

/* --- failures --------------------------------------------------------------------- */

static void a_fault_becomes_its_problem_document(void **state)
{
	const char *answer = service_rig_ask(&rig, GET("/returned"));

	assert_contains(answer, "HTTP/1.1 402 Payment Required\r\n");
	assert_contains(answer, "content-type: application/problem+json\r\n");
	assert_contains(answer, "x-why: because\r\n");
	assert_contains(answer, "\"kind\":\"refused\",\"detail\":\"no more\"");
	assert_contains(answer, "\"code\":\"c1\"");
	assert_contains(answer, "\"errors\":[{\"field\":\"a\",\"message\":\"b\"}]");
	assert_lacks(answer, "\"headers\"");
	assert_ask(&rig, GET("/passed"), "\"status\":404,\"kind\":\"missing\"");
	answer = service_rig_ask(&rig, GET("/raised"));
	assert_contains(answer, "HTTP/1.1 503 ");
	assert_contains(answer, "retry-after: 1\r\n");
}

/* The line with the failing expression, and those around it; HTML and JSON alike. */
static void a_bug_is_shown_with_its_source(void **state)
{
	const char *answer = service_rig_ask(&rig, GET("/broken")), *log;

	assert_contains(answer, "content-type: application/problem+json\r\n");
	assert_contains(answer, "\"source\":{\"file\":\"");
	assert_contains(answer, "\"excerpt\":[{\"line\":");
	assert_contains(answer, "local x = nil; return x.y end)\"}");
	assert_contains(answer, "\"traceback\":[\"");
	assert_contains(answer, "\"trace_id\":\"");
	log = service_rig_log(&rig);
	assert_contains(log, "\"code.file.path\":\"");
	assert_contains(log, "\"code.line.number\":");
	assert_ask(&rig, GET("/nothing"), ".lua:");
	assert_contains(buf_text(&rig.text), "add('GET', '/nothing', function() end)\"}");
	assert_lacks(service_rig_ask(&rig, GET("/raised")), "\"source\"");
}

static void a_browser_sees_a_page(void **state)
{
	const char *answer = service_rig_ask(
		&rig, "GET /broken?<b> HTTP/1.1\r\nHost: a\r\nAccept: text/html,"
		      "application/xml;q=0.9,*/*;q=0.8\r\n\r\n");

	assert_contains(answer, "HTTP/1.1 500 ");
	assert_contains(answer, "content-type: text/html; charset=utf-8\r\n");
	assert_contains(answer, "GET /broken</p>");
	assert_contains(answer, "<li class=\"here\"");
	assert_contains(answer, "function() local x = nil; return x.y end)</span>");
	assert_contains(answer, "<h2>Traceback</h2>");
	assert_contains(answer, "generation <code>3</code>");
	assert_lacks(answer, "<script");
	answer = service_rig_ask(&rig, "GET /passed HTTP/1.1\r\nHost: a\r\nAccept: "
				       "text/html\r\n\r\n");
	assert_contains(answer, "application/problem+json");
}

static void an_error_is_answered_once_and_logged_with_its_traceback(void **state)
{
	assert_ask(&rig, GET("/broken"), "HTTP/1.1 500 ");
	assert_contains(service_rig_log(&rig),
			"\"exception.stacktrace\":\"stack traceback:");
	assert_ask(&rig, GET("/nothing"), "the handler returned no value as status");
	assert_ask(&rig, GET("/status/99"),
		   "the handler returned a bad number as status");
	assert_ask(&rig, GET("/many"), "HTTP/1.1 200 ");
}

static void in_production_an_internal_error_keeps_its_detail(void **state)
{
	const char *answer = service_rig_ask(&rig, GET("/broken"));

	assert_contains(answer, "\"detail\":\"internal error\"");
	assert_lacks(answer, "attempt to index");
	assert_lacks(answer, ".lua");
	assert_lacks(answer, "traceback");
	answer = service_rig_ask(&rig, "GET /broken HTTP/1.1\r\nHost: a\r\nAccept: "
				       "text/html\r\n\r\n");
	assert_contains(answer, "application/problem+json");
	assert_contains(service_rig_log(&rig), "attempt to index");
}

static void a_handler_has_until_its_deadline(void **state)
{
	const char *answer = service_rig_ask(&rig, GET("/slow"));

	assert_contains(answer, "HTTP/1.1 503 ");
	assert_contains(answer, "\"kind\":\"limit\"");
}

static void a_script_that_takes_too_much_fails_alone(void **state)
{
	for (int i = 0; i < 3; i++) {
		assert_ask(&rig, GET("/bomb"), "\"status\":503,\"kind\":\"limit\"");
		assert_ask(&rig, GET("/deep"), "stack overflow");
		assert_ask(&rig, GET("/"), "HTTP/1.1 200 ");
	}
}

static void what_has_no_route_never_reaches_lua(void **state)
{
	const char *answer = service_rig_ask(&rig, GET("/nowhere"));

	assert_contains(answer, "HTTP/1.1 404 ");
	assert_contains(answer, "\"detail\":\"no route matches /nowhere\"");
	answer = service_rig_ask(&rig, "DELETE /made HTTP/1.1\r\nHost: a\r\n\r\n");
	assert_contains(answer, "HTTP/1.1 405 ");
	assert_contains(answer, "allow: POST\r\n");
	answer = service_rig_ask(&rig, "HEAD / HTTP/1.0\r\n\r\n");
	assert_contains(answer, "HTTP/1.1 200 ");
	assert_contains(answer, "Content-Length: 27\r\n");
}

static void more_tasks_than_allowed_are_refused(void **state)
{
	int held[4];

	for (size_t i = 0; i < 4; i++) {
		held[i] = service_rig_connect(&rig);
		service_rig_send(held[i], GET("/slow"));
		while (task_count(rig.rig.vm) <= i)
			loop_turn(rig.rig.loop, 10);
	}
	assert_ask(&rig, GET("/"), "HTTP/1.1 503 ");
	assert_contains(buf_text(&rig.text), "retry-after: 1\r\n");
	for (size_t i = 0; i < 4; i++)
		close(held[i]);
}

/* --- waiting for a task to end ---------------------------------------------------- */

static unsigned waiting_count;

static bool so_many_wait(struct service_rig *of)
{
	char line[64];

	snprintf(line, sizeof(line), "tasks_waiting %u\n", waiting_count);
	return strstr(service_rig_metrics(of), line) != NULL;
}

static int send_and_wait(const char *request, unsigned then_waiting)
{
	int fd = service_rig_connect(&rig);

	service_rig_send(fd, request);
	waiting_count = then_waiting;
	service_rig_turn_until(&rig, so_many_wait);
	return fd;
}

static void occupy(const char *request)
{
	service_rig_send(service_rig_connect(&rig), request);
	service_rig_turn_until(&rig, one_runs);
}

static void requests_wait_and_are_served_in_order(void **state)
{
	int first, second;

	occupy(GET("/nap"));
	first = send_and_wait(GET("/turn/first"), 1);
	second = send_and_wait(GET("/turn/second"), 2);
	assert_false(handler_idle(rig.handler));
	assert_contains(service_rig_answer(&rig, second), "[\"first\",\"second\"]");
	assert_contains(service_rig_answer(&rig, first), "HTTP/1.1 200 ");
	waiting_count = 0;
	service_rig_turn_until(&rig, so_many_wait);
	service_rig_turn_until(&rig, nothing_runs);
	assert_true(handler_idle(rig.handler));
	close(first);
	close(second);
}

static void beyond_the_queue_a_request_is_refused_at_once(void **state)
{
	int held[2];
	struct mono began;

	occupy(GET("/slow"));
	held[0] = send_and_wait(GET("/"), 1);
	held[1] = send_and_wait(GET("/"), 2);
	began = clock_mono();
	assert_ask(&rig, GET("/"), "HTTP/1.1 503 ");
	assert_true(mono_seconds(began, clock_mono()) < 1);
	assert_contains(buf_text(&rig.text), "retry-after: 1\r\n");
	assert_contains(buf_text(&rig.text), "\"kind\":\"limit\"");
	close(held[0]);
	close(held[1]);
}

static void who_waits_too_long_is_refused(void **state)
{
	const char *answer;

	occupy(GET("/slow"));
	answer = service_rig_ask(&rig, "GET / HTTP/1.1\r\nHost: a\r\n"
				       "X-Envoy-Expected-Rq-Timeout-Ms: 30\r\n\r\n");
	assert_contains(answer, "HTTP/1.1 503 ");
	assert_contains(answer, "retry-after: 1\r\n");
	assert_contains(answer, "no task ended in time");
	assert_contains(service_rig_metrics(&rig), "tasks_waiting 0\n");
	assert_true(one_runs(&rig));
}

static bool a_line_is_there(struct service_rig *of);

static void who_leaves_while_it_waits_is_forgotten(void **state)
{
	int fd;

	occupy(GET("/slow"));
	fd = send_and_wait(GET("/turn/gone"), 1);
	service_rig_log(&rig);
	close(fd);
	service_rig_turn_until(&rig, a_line_is_there);
	assert_contains(buf_text(&rig.log), "\"status\":499,");
	assert_contains(buf_text(&rig.log), "\"kind\":\"cancelled\"");
	assert_contains(service_rig_metrics(&rig), "tasks_waiting 0\n");
}

/* Of a job, or of a message: the handler is not told when it ends. */
static void a_place_that_another_task_leaves_is_found(void **state)
{
	int fd;
	struct task_config other = {
		.push = rig_push_source,
		.data = "require('native.task').sleep(0.05)",
		.deadline = mono_after_ms(clock_mono(), 10000),
		.done = rig_on_done,
		.context = &rig.rig,
	};

	task_start(rig.rig.vm, &other);
	fd = send_and_wait(GET("/"), 1);
	assert_contains(service_rig_answer(&rig, fd), "HTTP/1.1 200 ");
	close(fd);
}

static void requests_that_wait_at_the_end_are_told(void **state)
{
	char answer[512] = "";
	int fd;

	occupy(GET("/slow"));
	fd = send_and_wait(GET("/"), 1);
	http_server_destroy(rig.server);
	rig.server = NULL;
	assert_true(recv(fd, answer, sizeof(answer) - 1, MSG_DONTWAIT) > 0);
	assert_contains(answer, "HTTP/1.1 503 ");
	close(fd);
}

/* A generation may end, when it has drained for long enough, with its server going on. */
static void what_a_generation_leaves_undone_is_told(void **state)
{
	struct chaos_effect late = { .delay_ms = 60000 };
	int running = service_rig_connect(&rig), waiting, held;

	service_rig_send(running, GET("/slow"));
	service_rig_turn_until(&rig, one_runs);
	waiting = send_and_wait(GET("/"), 1);
	chaos_arm(&rig.rig.chaos, CHAOS_http_serve, late, 1);
	held = service_rig_connect(&rig);
	service_rig_send(held, GET("/"));
	for (int i = 0; i < 3; i++)
		loop_turn(rig.rig.loop, 20);
	vm_destroy(rig.rig.vm);
	rig.rig.vm = NULL;
	handler_destroy(rig.handler);
	rig.handler = NULL;
	assert_contains(service_rig_answer(&rig, running), "\"kind\":\"uncertain\"");
	assert_contains(buf_text(&rig.text), "retry-after: 1\r\n");
	assert_contains(service_rig_answer(&rig, waiting), "\"kind\":\"unavailable\"");
	assert_contains(buf_text(&rig.text), "retry-after: 1\r\n");
	assert_contains(service_rig_answer(&rig, held), "\"kind\":\"unavailable\"");
	assert_contains(service_rig_metrics(&rig), "tasks_waiting 0\n");
	assert_contains(buf_text(&rig.text), "http_server_active_requests 0\n");
	close(running);
	close(waiting);
	close(held);
}

/* Clients come, wait, leave and are served in any order; nothing is left behind. */
static void a_random_walk_leaves_nobody_behind(void **state)
{
	int open[8];
	unsigned seed = 7;

	for (size_t i = 0; i < 8; i++)
		open[i] = -1;
	for (int step = 0; step < 400; step++) {
		size_t i = (seed = seed * 1103515245 + 12345) >> 16 & 7;

		if (open[i] >= 0) {
			close(open[i]);
			open[i] = -1;
		} else {
			open[i] = service_rig_connect(&rig);
			service_rig_send(open[i],
					 seed >> 20 & 1 ? GET("/turn/x") : GET("/nap"));
		}
		loop_turn(rig.rig.loop, (int)(seed >> 24 & 7));
		assert_true(task_count(rig.rig.vm) <= 1);
	}
	for (size_t i = 0; i < 8; i++)
		close(open[i]);
	service_rig_turn_until(&rig, nothing_runs);
	waiting_count = 0;
	service_rig_turn_until(&rig, so_many_wait);
	service_rig_turn_until(&rig, nothing_runs);
	assert_true(handler_idle(rig.handler));
	assert_contains(service_rig_metrics(&rig), "http_server_active_requests 0\n");
}

/* --- deadlines -------------------------------------------------------------------- */

static double left_ms(const char *header)
{
	char request[256];
	const char *answer;

	snprintf(request, sizeof(request), "GET /left HTTP/1.1\r\nHost: a\r\n%s\r\n",
		 header);
	answer = strstr(service_rig_ask(&rig, request), "\"ms\":");
	assert_non_null(answer);
	return strtod(answer + 5, NULL);
}

static void a_caller_says_how_long_it_waits(void **state)
{
	double left = left_ms("x-envoy-expected-rq-timeout-ms: 700\r\n");

	assert_true(left > 100 && left <= 700);
	assert_true(left_ms("") > 1000);
	assert_true(left_ms("x-envoy-expected-rq-timeout-ms: 99999999\r\n") <= 2000);
	assert_true(left_ms("x-envoy-expected-rq-timeout-ms: 99999999999999999999\r\n") >
		    1000);
	assert_true(left_ms("x-envoy-expected-rq-timeout-ms: -7\r\n") > 1000);
	assert_true(left_ms("x-envoy-expected-rq-timeout-ms: soon\r\n") > 1000);
	/* Envoy's word for none. */
	assert_true(left_ms("x-envoy-expected-rq-timeout-ms: 0\r\n") > 1000);
}

static void a_caller_that_waits_no_longer_ends_the_task(void **state)
{
	const char *answer =
		service_rig_ask(&rig, "GET /slow HTTP/1.1\r\nHost: a\r\n"
				      "x-envoy-expected-rq-timeout-ms: 30\r\n\r\n");

	assert_contains(answer, "HTTP/1.1 503 ");
	assert_contains(answer, "\"kind\":\"limit\"");
	assert_contains(answer, "function() task.sleep(60) return 200, {} end)\"}");
	assert_true(nothing_runs(&rig));
}

static void a_machine_without_memory_refuses_until_it_has_some(void **state)
{
	lua_State *L = vm_main(rig.rig.vm);

	for (int i = 0; i < 10; i++)
		lua_newuserdata(L, 1 << 20);
	assert_ask(&rig, GET("/"), "HTTP/1.1 503 ");
	assert_contains(buf_text(&rig.text), "no memory");
	lua_settop(L, 0);
	for (int tries = 0; tries < 100 && !vm_has_room(rig.rig.vm); tries++)
		loop_turn(rig.rig.loop, 10);
	assert_ask(&rig, GET("/"), "HTTP/1.1 200 ");
}

/* --- clients that leave ----------------------------------------------------------- */

static void leave(const char *request)
{
	int fd = service_rig_connect(&rig);

	service_rig_send(fd, request);
	service_rig_turn_until(&rig, one_runs);
	close(fd);
}

static void a_client_that_leaves_does_not_stop_its_task(void **state)
{
	leave(GET("/nap"));
	loop_turn(rig.rig.loop, 10);
	assert_true(one_runs(&rig));
	service_rig_turn_until(&rig, nothing_runs);
	assert_contains(service_rig_log(&rig), "\"status\":499,");
	assert_contains(buf_text(&rig.log), "\"kind\":\"cancelled\"");
	assert_contains(service_rig_metrics(&rig),
			"endpoint=\"/nap\",status=\"499\"} 1\n");
	assert_contains(buf_text(&rig.text), "http_server_active_requests 0\n");
}

static void what_fails_after_its_client_left_is_still_told(void **state)
{
	leave(GET("/nap/broken"));
	service_rig_turn_until(&rig, nothing_runs);
	assert_contains(service_rig_log(&rig), "\"status\":499,");
	assert_contains(buf_text(&rig.log), "\"kind\":\"internal\"");
	assert_contains(buf_text(&rig.log), "late");
}

static void requests_still_open_at_the_end_are_told(void **state)
{
	int fd = service_rig_connect(&rig);
	char answer[512] = "";

	service_rig_send(fd, GET("/slow"));
	service_rig_turn_until(&rig, one_runs);
	http_server_destroy(rig.server);
	rig.server = NULL;
	assert_true(recv(fd, answer, sizeof(answer) - 1, MSG_DONTWAIT) > 0);
	assert_contains(answer, "HTTP/1.1 503 ");
	vm_destroy(rig.rig.vm);
	rig.rig.vm = NULL;
	assert_contains(service_rig_log(&rig), "\"kind\":\"cancelled\"");
	close(fd);
}

/* --- what is told ----------------------------------------------------------------- */

static void a_request_continues_the_trace_of_its_caller(void **state)
{
	static const char parent[] = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-"
				     "b7ad6b7169203331-01\r\n";
	char request[512];

	snprintf(request, sizeof(request), "GET / HTTP/1.1\r\nHost: a\r\n%s\r\n", parent);
	service_rig_ask(&rig, request);
	assert_contains(service_rig_log(&rig),
			"\"trace_id\":\"0af7651916cd43dd8448eb211c80319c\"");
	snprintf(request, sizeof(request), "GET / HTTP/1.1\r\nHost: a\r\n%s%s\r\n",
		 parent, parent);
	service_rig_ask(&rig, request);
	assert_lacks(service_rig_log(&rig), "0af7651916cd43dd8448eb211c80319c");
}

static void requests_are_counted_by_route_and_never_by_path(void **state)
{
	const char *text;

	service_rig_ask(&rig, GET("/items/1/parts/2"));
	service_rig_ask(&rig, GET("/items/3/parts/4"));
	service_rig_ask(&rig, GET("/a"));
	service_rig_ask(&rig, GET("/b"));
	service_rig_ask(&rig, "HEAD / HTTP/1.0\r\n\r\n");
	service_rig_ask(&rig, "BREW / HTTP/1.1\r\nHost: a\r\n\r\n");
	text = service_rig_metrics(&rig);
	assert_contains(text, "http_requests_total{method=\"GET\",endpoint=\"/items/:id/"
			      "parts/:part\",status=\"200\"} 2\n");
	assert_contains(text,
			"{method=\"GET\",endpoint=\"unmatched\",status=\"404\"} 2\n");
	assert_contains(text, "{method=\"HEAD\",endpoint=\"/\",status=\"200\"} 1\n");
	assert_contains(text, "{method=\"HTTP\",endpoint=\"/\",status=\"405\"} 1\n");
	assert_lacks(text, "BREW");
	assert_contains(text, "task_faults_total{kind=\"missing\"} 3\n");
}

static void a_route_with_many_statuses_counts_each(void **state)
{
	char request[128], line[128];
	const char *text;

	for (int round = 0; round < 2; round++)
		for (int status = 400; status < 412; status++) {
			snprintf(request, sizeof(request),
				 "GET /status/%d HTTP/1.1\r\nHost: a\r\n\r\n", status);
			service_rig_ask(&rig, request);
		}
	text = service_rig_metrics(&rig);
	for (int status = 400; status < 412; status++) {
		snprintf(line, sizeof(line),
			 "endpoint=\"/status/:code\",status=\"%d\"} 2\n", status);
		assert_contains(text, line);
	}
}

static void what_the_server_refuses_is_counted_and_logged(void **state)
{
	char log_part[64], id[33] = "";
	struct fault why;

	fault_set_status(&why, FAULT_bad_input, 413, "too large");
	handler_refused(rig.handler, SLICE("https"), SLICE("POST"), &why, id);
	assert_int_equal(strlen(id), 32);
	snprintf(log_part, sizeof(log_part), "\"trace_id\":\"%s\"", id);
	assert_contains(service_rig_log(&rig), log_part);
	fault_set_status(&why, FAULT_limit, 503, "too many");
	handler_refused(rig.handler, SLICE("https"), SLICE("MADEUP"), &why, id);
	assert_contains(service_rig_metrics(&rig),
			"{method=\"HTTP\",endpoint=\"unmatched\",status=\"503\"} 1\n");
}

/* --- on purpose ------------------------------------------------------------------- */

static void chaos_can_fail_and_delay_a_request(void **state)
{
	struct chaos_effect fail = { .fail = FAULT_broken }, late = { .delay_ms = 30 };

	chaos_arm(&rig.rig.chaos, CHAOS_http_serve, fail, 1);
	assert_ask(&rig, GET("/"), "\"kind\":\"broken\"");
	chaos_arm(&rig.rig.chaos, CHAOS_http_serve, late, 1);
	assert_ask(&rig, GET("/items/x%2Fy/parts/7"), "\"id\":\"x/y\"");
}

static bool a_line_is_there(struct service_rig *of)
{
	return *service_rig_log(of) != 0;
}

static void a_client_may_leave_while_chaos_holds_its_request(void **state)
{
	struct chaos_effect late = { .delay_ms = 60000 };
	int fd = service_rig_connect(&rig);

	chaos_arm(&rig.rig.chaos, CHAOS_http_serve, late, 1);
	service_rig_send(fd, GET("/"));
	loop_turn(rig.rig.loop, 50);
	loop_turn(rig.rig.loop, 10);
	close(fd);
	service_rig_turn_until(&rig, a_line_is_there);
	assert_contains(buf_text(&rig.log), "\"status\":499,");
}

/* --- routes for operators --------------------------------------------------------- */

static void a_route_for_operators_is_served_with_the_others(void **state)
{
	assert_ask(&rig, GET("/inside"), "{\"route\":\"/inside\"}");
	assert_ask(&rig, "POST /inside HTTP/1.1\r\nHost: a\r\n\r\n",
		   "allow: GET, HEAD\r\n");
}

static void a_route_for_operators_is_missing_where_it_is_apart(void **state)
{
	assert_ask(&rig, GET("/inside"), "HTTP/1.1 404 ");
	assert_ask(&rig, GET("/"), "HTTP/1.1 200 ");
}

static void the_port_of_operators_has_their_routes_only(void **state)
{
	assert_ask(&rig, GET("/inside"), "{\"route\":\"/inside\"}");
	assert_ask(&rig, GET("/"), "HTTP/1.1 404 ");
	assert_contains(service_rig_metrics(&rig), "endpoint=\"/inside\"");
}

int main(void)
{
#define CLAIM(name) cmocka_unit_test_setup_teardown(name, open_rig, close_rig)
#define IN_PRODUCTION(name)                                                              \
	cmocka_unit_test_setup_teardown(name, open_in_production, close_rig)
#define QUEUED(name) cmocka_unit_test_setup_teardown(name, open_with_queue, close_rig)
	const struct CMUnitTest claims[] = {
		CLAIM(a_table_is_answered_as_json),
		CLAIM(the_script_sees_path_query_route_and_peer),
		CLAIM(headers_that_are_repeated_become_one_list),
		CLAIM(a_body_is_decoded_before_the_script_sees_it),
		CLAIM(a_fault_becomes_its_problem_document),
		CLAIM(a_bug_is_shown_with_its_source),
		CLAIM(a_browser_sees_a_page),
		CLAIM(an_error_is_answered_once_and_logged_with_its_traceback),
		IN_PRODUCTION(in_production_an_internal_error_keeps_its_detail),
		IN_PRODUCTION(a_handler_has_until_its_deadline),
		CLAIM(a_script_that_takes_too_much_fails_alone),
		CLAIM(what_has_no_route_never_reaches_lua),
		CLAIM(more_tasks_than_allowed_are_refused),
		QUEUED(requests_wait_and_are_served_in_order),
		QUEUED(beyond_the_queue_a_request_is_refused_at_once),
		QUEUED(who_waits_too_long_is_refused),
		QUEUED(who_leaves_while_it_waits_is_forgotten),
		QUEUED(a_place_that_another_task_leaves_is_found),
		QUEUED(requests_that_wait_at_the_end_are_told),
		QUEUED(what_a_generation_leaves_undone_is_told),
		QUEUED(a_random_walk_leaves_nobody_behind),
		QUEUED(a_caller_says_how_long_it_waits),
		QUEUED(a_caller_that_waits_no_longer_ends_the_task),
		CLAIM(a_machine_without_memory_refuses_until_it_has_some),
		CLAIM(a_client_that_leaves_does_not_stop_its_task),
		CLAIM(what_fails_after_its_client_left_is_still_told),
		CLAIM(requests_still_open_at_the_end_are_told),
		CLAIM(a_request_continues_the_trace_of_its_caller),
		CLAIM(requests_are_counted_by_route_and_never_by_path),
		CLAIM(a_route_with_many_statuses_counts_each),
		CLAIM(what_the_server_refuses_is_counted_and_logged),
		CLAIM(chaos_can_fail_and_delay_a_request),
		CLAIM(a_client_may_leave_while_chaos_holds_its_request),
		CLAIM(a_route_for_operators_is_served_with_the_others),
		cmocka_unit_test_setup_teardown(
			a_route_for_operators_is_missing_where_it_is_apart, open_apart,
			close_rig),
		cmocka_unit_test_setup_teardown(
			the_port_of_operators_has_their_routes_only, open_for_operators,
			close_rig),
	};

	return cmocka_run_group_tests(claims, NULL, NULL);
}
