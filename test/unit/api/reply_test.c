/* SPDX-License-Identifier: MIT */
#include "script_rig.h"

#include "api/reply.h"

#include <lua.h>

static const struct rig_module modules[] = { { "native.fault", api_open_fault },
					     { "native.json", api_open_json },
					     { 0 } };

static struct rig rig;
static struct reply reply;
static struct buf body;
static struct buf headers; /* "name: value\n" of each */
static struct slice defined; /* where the handler is written */
static bool production;

static int open_rig(void **state)
{
	rig_init(&rig);
	rig_open(&rig, 8 << 20, modules);
	production = false;
	defined = SLICE("");
	return 0;
}

static int close_rig(void **state)
{
	rig_finish(&rig);
	buf_finish(&body);
	buf_finish(&headers);
	return 0;
}

static void on_done(void *context, lua_State *L, const struct fault *why)
{
	struct reply_context to = { .trace_id = SLICE("0123"),
				    .traceback = task_traceback(rig.vm),
				    .defined = defined,
				    .production = production };

	reply_read(L, why, &to, &reply, &body);
	buf_reset(&headers);
	for (size_t i = 0; i < reply.header_count; i++)
		buf_printf(&headers, "%.*s: %.*s\n", SLICE_PRINT(reply.headers[i].name),
			   SLICE_PRINT(reply.headers[i].value));
	rig.done = true;
}

static void run(const char *source)
{
	struct task_config config = {
		.push = rig_push_source,
		.data = (void *)source,
		.deadline = mono_after_ms(clock_mono(), 10000),
		.done = on_done,
	};

	rig.done = false;
	task_start(rig.vm, &config);
	while (!rig.done)
		loop_turn(rig.loop, 10);
}

static void assert_reply(const char *source, int status, const char *expected)
{
	run(source);
	assert_int_equal(reply.status, status);
	assert_int_equal(reply.why.kind, FAULT_none);
	assert_string_equal(buf_text(&body), expected);
}

static void assert_fault(const char *source, int status, const char *part)
{
	run(source);
	assert_int_equal(reply.status, status);
	assert_true(reply.why.kind != FAULT_none);
	assert_contains(buf_text(&body), part);
}

static void a_body_is_written_by_its_type(void **state)
{
	assert_reply("return 200, {a = {1, 2}, b = 'x'}", 200,
		     "{\"a\":[1,2],\"b\":\"x\"}");
	assert_string_equal(buf_text(&headers), "content-type: application/json\n");
	assert_reply("return 202", 202, "");
	assert_string_equal(buf_text(&headers), "");
	assert_reply("return 200, 'a text'", 200, "a text");
	assert_reply("return 200, '<a>', {['Content-Type'] = 'text/html', n = 7}", 200,
		     "<a>");
	assert_contains(buf_text(&headers), "Content-Type: text/html\n");
	assert_contains(buf_text(&headers), "n: 7\n");
	assert_lacks(buf_text(&headers), "text/plain");
}

static void what_is_no_answer_is_internal(void **state)
{
	assert_fault("return", 500, "returned no value as status");
	assert_fault("return 'x'", 500, "returned string as status");
	assert_fault("return 200.5", 500, "returned a bad number as status");
	assert_fault("return 0/0", 500, "returned a bad number as status");
	assert_fault("return 100", 500, "returned a bad number as status");
	assert_fault("return 1e300", 500, "returned a bad number as status");
	assert_fault("return {}", 500, "returned table as status");
	assert_fault("return {kind = 'unheard of'}", 500, "returned table as status");
	assert_fault("return nil, {kind = 'unheard of'}", 500, "returned nil as status");
	assert_fault("return 200, true", 500, "returned a boolean as body");
	assert_fault("return 200, {pcall}", 500, "\"kind\":\"internal\"");
	assert_string_equal(buf_text(&headers),
			    "content-type: application/problem+json\n");
}

static void a_returned_fault_is_a_problem(void **state)
{
	assert_fault("return {kind = 'missing', detail = 'no \"x\"'}", 404,
		     "{\"type\":\"about:blank\",\"title\":\"Not found\",\"status\":404,"
		     "\"kind\":\"missing\",\"detail\":\"no "
		     "\\\"x\\\"\",\"trace_id\":\"0123\"}");
	assert_fault("return nil, {kind = 'refused', status = 412}", 412,
		     "\"status\":412");
	assert_fault("return {kind = 'refused', status = 200}", 409, "\"status\":409");
	assert_fault("return {kind = 'refused', status = 'x', title = 't', more = {1},"
		     " f = pcall, [1] = 2}",
		     409, "\"more\":[1]}");
	assert_lacks(buf_text(&body), "\"title\":\"t\"");
	assert_fault("return {kind = 'limit', headers = {['Retry-After'] = 9}}", 429,
		     "\"kind\":\"limit\"");
	assert_contains(buf_text(&headers), "Retry-After: 9\n");
	assert_lacks(buf_text(&headers), "retry-after: 1\n");
}

static void a_raised_one_is_the_same(void **state)
{
	assert_fault("error({kind = 'denied', detail = 'no', status = 403})", 403,
		     "\"detail\":\"no\"");
	assert_fault("error({kind = 'odd', extra = 1})", 500, "\"extra\":1");
	assert_fault("error('words')", 500, "\"detail\":\"test:1: words\"");
	assert_fault("error()", 500, "\"detail\":\"a script raised a nil\"");
}

/* --- where it failed -------------------------------------------------------------- */

static void what_is_no_answer_names_its_handler(void **state)
{
	defined = SLICE("scripts/x/service.lua:12");
	assert_fault(
		"return", 500,
		"\"detail\":\"scripts/x/service.lua:12: the handler returned no value "
		"as status; return status, body or a fault\"");
	assert_contains(buf_text(&body),
			"\"source\":{\"file\":\"scripts/x/service.lua\",\"line\":12}");
	assert_fault("return 200, true", 500, "service.lua:12: the handler returned a");
	assert_fault("return 200, {pcall}", 500,
		     "service.lua:12: the handler returned a body that JSON cannot say");
	assert_fault("return {kind = 'internal', detail = 'lost'}", 500,
		     "\"detail\":\"lost\"");
	assert_int_equal(reply.at.line, 12);
	assert_fault("return {kind = 'missing', detail = 'a.lua:3: x'}", 404, "a.lua:3");
	assert_lacks(buf_text(&body), "source");
	assert_int_equal(reply.at.file.size, 0);
}

static void a_bug_has_its_place_and_traceback(void **state)
{
	defined = SLICE("scripts/x/service.lua:12");
	assert_fault("error('lib/x.lua:7: bad')", 500,
		     "\"source\":{\"file\":\"lib/x.lua\",\"line\":7},\"traceback\":[");
	assert_contains(buf_text(&body), "in function 'error'\"");
	assert_lacks(buf_text(&body), "stack traceback");
	assert_int_equal(reply.at.line, 7);
	/* A place that nobody named: that of the handler. */
	assert_fault("error('words')", 500, "\"file\":\"scripts/x/service.lua\"");
	/* Members of the author's own give way. */
	assert_fault("error({kind = 'internal', detail = 'a.lua:1: x', source = 'mine', "
		     "more = 1})",
		     500, "\"more\":1");
	assert_lacks(buf_text(&body), "mine");
	assert_fault("error({kind = 'refused', source = 'mine'})", 409,
		     "\"source\":\"mine\"");
}

static void a_budgets_end_has_its_place_too(void **state)
{
	static const char spent[] = "error({kind = 'limit', status = 503, detail = '9 ms "
				    "of CPU are spent at scripts/x/a.lua:3'})";

	assert_fault(spent, 503, "\"line\":3}");
	production = true;
	assert_fault(spent, 503, "\"detail\":\"9 ms of CPU are spent\"");
	assert_lacks(buf_text(&body), "a.lua");
	assert_int_equal(reply.at.line, 3);
}

static void production_tells_no_place(void **state)
{
	production = true;
	defined = SLICE("scripts/x/service.lua:12");
	assert_fault("error('lib/x.lua:7: bad')", 500, "\"detail\":\"internal error\"");
	assert_lacks(buf_text(&body), "x.lua");
	assert_lacks(buf_text(&body), "traceback");
	assert_int_equal(reply.at.line, 7);
	assert_fault("return", 500, "\"detail\":\"internal error\"");
	assert_lacks(buf_text(&body), "service.lua");
}

static void production_keeps_internal_details_to_itself(void **state)
{
	production = true;
	assert_fault("error({kind = 'internal', detail = 'secret', more = 'secret'})",
		     500, "\"detail\":\"internal error\"");
	assert_lacks(buf_text(&body), "secret");
	assert_string_equal(reply.why.detail, "secret");
	assert_fault("return {kind = 'missing', detail = 'told'}", 404, "told");
}

static void more_headers_than_fit_are_left_out(void **state)
{
	run("local h = {} for i = 1, 100 do h['x' .. i] = i end return 200, {}, h");
	assert_int_equal(reply.status, 200);
	assert_int_equal(reply.header_count, REPLY_HEADERS_MAX);
	run("local h = {} for i = 1, 100 do h['x' .. i] = i end "
	    "return {kind = 'missing', headers = h}");
	assert_int_equal(reply.status, 404);
	assert_int_equal(reply.header_count, REPLY_HEADERS_MAX);
	assert_contains(buf_text(&headers), "content-type: application/problem+json\n");
}

int main(void)
{
#define CLAIM(name) cmocka_unit_test_setup_teardown(name, open_rig, close_rig)
	const struct CMUnitTest claims[] = {
		CLAIM(a_body_is_written_by_its_type),
		CLAIM(what_is_no_answer_is_internal),
		CLAIM(a_returned_fault_is_a_problem),
		CLAIM(a_raised_one_is_the_same),
		CLAIM(what_is_no_answer_names_its_handler),
		CLAIM(a_bug_has_its_place_and_traceback),
		CLAIM(a_budgets_end_has_its_place_too),
		CLAIM(production_tells_no_place),
		CLAIM(production_keeps_internal_details_to_itself),
		CLAIM(more_headers_than_fit_are_left_out),
	};

	return cmocka_run_group_tests(claims, NULL, NULL);
}
