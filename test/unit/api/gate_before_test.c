/* SPDX-License-Identifier: MIT */
/* `before` behind a gateway that does nothing else: it answers with what it is told. */
#include "service_rig.h"

#include "api/gate_before.h"
#include "gate/gate.h"

#include <lua.h>

#define GET(path) "GET " path " HTTP/1.1\r\nHost: a\r\nX-Sent: s\r\n\r\n"

static const char modules[] =
	"local fault, task = require 'native.fault', require 'native.task'\n"
	"local befores, started = {}, 0\n"
	"function befores.nothing() end\n"
	"function befores.with(req) return {with = {['x-user'] = '7', ['bad name'] = "
	"'x', "
	"['x-line'] = 'a\\nb', ['x-number'] = 5}} end\n"
	"function befores.body(req) return 200, {raw = req.raw, body = req.body == nil,\n"
	"  route = req.route, target = req.target, method = req.method,\n"
	"  path = req.path, query = req.query, sent = req.headers['x-sent']} end\n"
	"function befores.answer() return 403, 'no', {['X-Why'] = 'because'} end\n"
	"function befores.fault() return fault.new('denied', 'who are you') end\n"
	"function befores.pair() return nil, fault.new('missing', 'no such') end\n"
	"function befores.bug() local x = nil; return x.y end\n"
	"function befores.odd() return 'yes' end\n"
	"function befores.nap() started = started + 1 task.sleep(0.03) return 200, "
	"tostring(started) end\n"
	"function befores.slow() started = started + 1 task.sleep(60) end\n"
	"function befores.left() return 200, {ms = task.deadline() * 1000} end\n"
	"return {name = 'edge', befores = befores}\n";

struct before_rig {
	struct service_rig rig; /* at first: the client's functions take it */
	struct gate_before *before;
	struct asked {
		struct http_request *request; /* NULL: the client left */
		void *running;
		bool told;
		int status;
		struct gate_route route;
	} asked[16];
	size_t asked_count;
	unsigned told;
};

static struct before_rig rig;

/* --- the gateway ------------------------------------------------------------------ */

static void on_told(void *context, const struct gate_before_result *result)
{
	struct asked *asked = context;
	struct buf body = { 0 };
	struct http_request *request = asked->request;

	assert_false(asked->told);
	asked->told = true;
	asked->status = result->go_on ? 299 : result->status;
	rig.told++;
	if (result->go_on) {
		buf_append(&body, SLICE("goes on"));
		for (size_t i = 0; i < result->header_count; i++)
			buf_printf(&body, " %.*s=%.*s",
				   SLICE_PRINT(result->headers[i].name),
				   SLICE_PRINT(result->headers[i].value));
	} else {
		buf_append(&body, result->body);
		if (result->why)
			buf_printf(&body, " %s [%s]", result->why->detail,
				   fault_name(result->why->kind));
	}
	asked->request = NULL;
	if (request)
		http_respond(request, asked->status,
			     result->go_on ? NULL : result->headers,
			     result->go_on ? 0 : result->header_count, buf_slice(&body));
	buf_finish(&body);
}

static void on_left(void *context)
{
	struct asked *asked = context;
	const struct gate_hooks *hooks = gate_before_hooks(rig.before);

	asked->request = NULL;
	hooks->left(hooks->context, asked->running);
}

/* The reference of the function that the path names: "/nap/x" is `nap`. */
static int reference_of(struct slice path)
{
	lua_State *L = vm_main(rig.rig.rig.vm);
	struct slice rest = slice_of(path.at + 1, path.size - 1), name;

	slice_cut(&rest, '/', &name);
	lua_getfield(L, LUA_REGISTRYINDEX, "befores");
	lua_pushlstring(L, name.at, name.size);
	lua_gettable(L, -2);
	lua_remove(L, -2);
	assert_true(lua_isfunction(L, -1));
	return luaL_ref(L, LUA_REGISTRYINDEX);
}

static void on_request(void *context, struct http_request *request)
{
	const struct gate_hooks *hooks = gate_before_hooks(rig.before);
	struct asked *asked = &rig.asked[rig.asked_count++];
	struct mono deadline = mono_after_ms(clock_mono(), 2000);

	assert_true(rig.asked_count <= 16);
	asked->request = request;
	asked->route.prefix = SLICE("/prefix");
	asked->route.before = reference_of(http_request_path(request));
	http_request_on_gone(request, on_left, asked);
	asked->running = hooks->before(hooks->context, &asked->route, request,
				       SLICE("/prefix/normal"), deadline, NULL, NULL,
				       on_told, asked);
	assert_false(asked->told);
}

/* --- the rig ---------------------------------------------------------------------- */

static int keep_functions(lua_State *L)
{
	sandbox_push_environment(L);
	check(luaL_loadstring(L, vm_call_data(L)) == 0);
	lua_insert(L, -2);
	lua_setfenv(L, -2);
	lua_call(L, 0, 1);
	lua_getfield(L, -1, "befores");
	lua_setfield(L, LUA_REGISTRYINDEX, "befores");
	return 0;
}

static void open_with(unsigned tasks_max, unsigned queue_max, int timeout_ms)
{
	struct gate_before_config config = { .tasks_max = tasks_max,
					     .queue_max = queue_max,
					     .task_timeout_ms = timeout_ms };
	struct http_server_config server = {
		.host = SLICE("127.0.0.1"),
		.body_size_max = 1 << 16,
		.requests_max = 256,
		.connections_max = 64,
		.idle_timeout_ms = 30000,
		.request_timeout_ms = 30000,
		.handler = on_request,
	};
	struct fault why;

	memset(&rig, 0, sizeof(rig));
	rig_init(&rig.rig.rig);
	rig_open(&rig.rig.rig, 8 << 20, service_rig_modules);
	if (vm_call(rig.rig.rig.vm, keep_functions, (void *)modules, &why) < 0)
		fail_msg("%s", why.detail);
	config.loop = rig.rig.rig.loop;
	config.vm = rig.rig.rig.vm;
	rig.before = gate_before_create(&config);
	rig.rig.server = http_server_create(rig.rig.rig.loop, &server, false, &why);
	assert_non_null(rig.rig.server);
}

static int open_rig(void **state)
{
	signal(SIGPIPE, SIG_IGN);
	open_with(64, 8, 5000);
	return 0;
}

static int open_narrow(void **state)
{
	open_with(1, 2, 500);
	return 0;
}

/* In the order of the host: server, VM, this. */
static int close_rig(void **state)
{
	http_server_destroy(rig.rig.server);
	vm_destroy(rig.rig.rig.vm);
	rig.rig.rig.vm = NULL;
	gate_before_destroy(rig.before);
	assert_int_equal(rig.told, rig.asked_count);
	rig_finish(&rig.rig.rig);
	buf_finish(&rig.rig.text);
	return 0;
}

static bool all_told(struct service_rig *of)
{
	return rig.told == rig.asked_count;
}

static bool one_asked(struct service_rig *of)
{
	return rig.asked_count == 1;
}

static bool three_asked(struct service_rig *of)
{
	return rig.asked_count == 3;
}

static bool all_left(struct service_rig *of)
{
	for (size_t i = 0; i < rig.asked_count; i++)
		if (rig.asked[i].request)
			return false;
	return true;
}

/* --- claims ----------------------------------------------------------------------- */

static void what_returns_nothing_goes_on(void **state)
{
	assert_ask(&rig.rig, GET("/nothing"), "\r\n\r\ngoes on");
}

static void headers_that_may_be_sent_go_along(void **state)
{
	const char *answer = service_rig_ask(&rig.rig, GET("/with"));

	assert_contains(answer, "\r\n\r\ngoes on x-user=7");
	assert_lacks(answer, "bad name");
	assert_lacks(answer, "x-line");
	assert_lacks(answer, "x-number");
}

static void the_function_sees_the_request_with_its_bytes(void **state)
{
	const char *answer = service_rig_ask(
		&rig.rig,
		"POST /body/x?q=1 HTTP/1.1\r\nHost: a\r\nX-Sent: s\r\n"
		"Content-Type: application/json\r\nContent-Length: 3\r\n\r\n{no");

	assert_contains(answer, "\"raw\":\"{no\"");
	assert_contains(answer, "\"body\":true");
	assert_contains(answer, "\"route\":\"/prefix\"");
	assert_contains(answer, "\"target\":\"/prefix/normal\"");
	assert_contains(answer, "\"method\":\"POST\"");
	assert_contains(answer, "\"query\":{\"q\":\"1\"}");
	assert_contains(answer, "\"sent\":\"s\"");
}

static void an_answer_is_the_answer(void **state)
{
	const char *answer = service_rig_ask(&rig.rig, GET("/answer"));

	assert_contains(answer, "HTTP/1.1 403 ");
	assert_contains(answer, "x-why: because\r\n");
	assert_contains(answer, "\r\n\r\nno");
	assert_lacks(answer, "[");
}

static void a_fault_is_a_problem_document(void **state)
{
	const char *answer = service_rig_ask(&rig.rig, GET("/fault"));

	assert_contains(answer, "HTTP/1.1 401 ");
	assert_contains(answer, "who are you");
	assert_contains(answer, "[denied]");
	assert_ask(&rig.rig, GET("/pair"), "HTTP/1.1 404 ");
}

static void a_bug_is_a_failure_that_names_its_place(void **state)
{
	assert_ask(&rig.rig, GET("/bug"), "attempt to index");
	assert_ask(&rig.rig, GET("/odd"), "returned string as status");
	assert_ask(&rig.rig, GET("/bug"), "HTTP/1.1 500 ");
}

static void a_task_ends_with_the_earlier_of_both_deadlines(void **state)
{
	const char *answer =
		service_rig_ask(&rig.rig, "GET /left HTTP/1.1\r\nHost: a\r\n"
					  "x-envoy-expected-rq-timeout-ms: 300\r\n\r\n");
	double ms = atof(strstr(answer, "\"ms\":") + 5);

	assert_true(ms > 0 && ms <= 300);
	answer = service_rig_ask(&rig.rig, GET("/left"));
	ms = atof(strstr(answer, "\"ms\":") + 5);
	assert_true(ms > 300 && ms < 2500);
}

static void who_finds_no_place_waits_and_who_finds_no_room_is_refused(void **state)
{
	int fds[4];
	char answers[4][64];

	for (size_t i = 0; i < 4; i++) {
		fds[i] = service_rig_connect(&rig.rig);
		service_rig_send(fds[i], GET("/nap"));
		while (rig.asked_count <= i)
			loop_turn(rig.rig.rig.loop, 10);
	}
	for (size_t i = 0; i < 4; i++) {
		snprintf(answers[i], sizeof(answers[i]), "%s",
			 service_rig_answer(&rig.rig, fds[i]));
		close(fds[i]);
	}
	for (size_t i = 0; i < 3; i++)
		assert_contains(answers[i], "HTTP/1.1 200 ");
	assert_contains(answers[3], "HTTP/1.1 503 ");
	assert_int_equal(rig.told, 4);
}

static void who_waits_beyond_its_deadline_is_refused(void **state)
{
	int slow = service_rig_connect(&rig.rig);
	const char *answer;

	service_rig_send(slow, GET("/slow"));
	service_rig_turn_until(&rig.rig, one_asked);
	answer = service_rig_ask(&rig.rig, "GET /nap HTTP/1.1\r\nHost: a\r\n"
					   "x-envoy-expected-rq-timeout-ms: 30\r\n\r\n");
	assert_contains(answer, "HTTP/1.1 503 ");
	assert_contains(answer, "no task ended in time");
	assert_contains(answer, "[limit]");
	assert_ask(&rig.rig, GET("/answer"), "HTTP/1.1 403 "); /* 500 ms end the first */
	close(slow);
}

static void a_client_that_leaves_is_told_of_once(void **state)
{
	int fds[3];

	for (size_t i = 0; i < 3; i++) {
		fds[i] = service_rig_connect(&rig.rig);
		service_rig_send(fds[i], GET("/nap"));
	}
	service_rig_turn_until(&rig.rig, three_asked);
	for (size_t i = 0; i < 3; i++)
		close(fds[i]);
	service_rig_turn_until(&rig.rig, all_left);
	service_rig_turn_until(&rig.rig, all_told);
	assert_int_equal(task_count(rig.rig.rig.vm), 0);
}

/* As when a generation ends late: requests are there, and its VM goes. */
static void those_that_run_and_wait_are_told_that_the_version_ends(void **state)
{
	int running = service_rig_connect(&rig.rig);
	int waiting = service_rig_connect(&rig.rig);

	service_rig_send(running, GET("/slow"));
	service_rig_turn_until(&rig.rig, one_asked);
	service_rig_send(waiting, GET("/nap"));
	while (rig.asked_count < 2)
		loop_turn(rig.rig.rig.loop, 10);
	vm_destroy(rig.rig.rig.vm);
	rig.rig.rig.vm = NULL;
	assert_int_equal(rig.told, 1);
	gate_before_destroy(rig.before);
	rig.before = NULL;
	assert_int_equal(rig.told, 2);
	assert_contains(service_rig_answer(&rig.rig, running), "[uncertain]");
	assert_contains(service_rig_answer(&rig.rig, waiting), "[unavailable]");
	close(running);
	close(waiting);
}

int main(void)
{
#define CLAIM(name) cmocka_unit_test_setup_teardown(name, open_rig, close_rig)
#define NARROW(name) cmocka_unit_test_setup_teardown(name, open_narrow, close_rig)
	const struct CMUnitTest claims[] = {
		CLAIM(what_returns_nothing_goes_on),
		CLAIM(headers_that_may_be_sent_go_along),
		CLAIM(the_function_sees_the_request_with_its_bytes),
		CLAIM(an_answer_is_the_answer),
		CLAIM(a_fault_is_a_problem_document),
		CLAIM(a_bug_is_a_failure_that_names_its_place),
		CLAIM(a_task_ends_with_the_earlier_of_both_deadlines),
		NARROW(who_finds_no_place_waits_and_who_finds_no_room_is_refused),
		NARROW(who_waits_beyond_its_deadline_is_refused),
		NARROW(a_client_that_leaves_is_told_of_once),
		NARROW(those_that_run_and_wait_are_told_that_the_version_ends),
	};

	return cmocka_run_group_tests(claims, NULL, NULL);
}
