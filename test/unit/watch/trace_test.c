/* SPDX-License-Identifier: MIT */
/* trace_test.c -- spans from start to their OTLP bytes, read back by protoc. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "decode.h"
#include "watch/trace.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#define PARENT "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

static struct tracer *tracer_with(enum sampler sampler, bool recording, size_t ring_bytes)
{
	struct tracer_config config = { .sampler = sampler,
					.recording = recording,
					.ring_bytes = ring_bytes };

	return tracer_create(&config, 7);
}

static struct trace_context remote_parent(const char *state)
{
	struct trace_context parent;

	assert_true(trace_parse(SLICE(PARENT), slice_text(state), &parent));
	return parent;
}

/* Takes the oldest finished span out of the ring, as text. */
static void take(struct tracer *tracer, struct buf *text)
{
	struct slice encoded;

	assert_true(tracer_peek(tracer, &encoded));
	buf_reset(text);
	decode("Span", encoded, text);
	tracer_release(tracer);
}

static void a_new_trace_has_random_ids_and_says_so(void **state)
{
	struct tracer *tracer = tracer_with(SAMPLER_always_on, true, 65536);
	struct span *a = span_start(tracer, SPAN_server, SLICE("a"), NULL);
	struct trace_context none = { 0 };
	struct span *b = span_start(tracer, SPAN_server, SLICE("b"), &none);

	assert_int_equal(span_context(a)->flags, TRACE_FLAG_SAMPLED | TRACE_FLAG_RANDOM);
	assert_false(span_context(a)->remote);
	assert_memory_not_equal(span_context(a)->trace_id, span_context(b)->trace_id, 16);
	assert_memory_not_equal(span_context(a)->trace_id, none.trace_id, 16);
	assert_memory_not_equal(span_context(a)->span_id, span_context(b)->span_id, 8);
	assert_true(span_recording(a) && span_recording(b));
	span_end(a);
	span_end(b);
	span_end(NULL);
	tracer_destroy(tracer);
	tracer_destroy(NULL);
}

static void a_child_keeps_the_trace_and_its_state(void **state)
{
	struct tracer *tracer = tracer_with(SAMPLER_parentbased_always_off, true, 65536);
	struct trace_context parent = remote_parent("a=1");
	struct span *server = span_start(tracer, SPAN_server, SLICE("s"), &parent);
	struct span *child =
		span_start(tracer, SPAN_client, SLICE("c"), span_context(server));

	assert_memory_equal(span_context(child)->trace_id, parent.trace_id, 16);
	assert_memory_not_equal(span_context(child)->span_id,
				span_context(server)->span_id, 8);
	assert_true(slice_equal(span_context(child)->state, SLICE("a=1")));
	assert_int_equal(span_context(child)->flags, TRACE_FLAG_SAMPLED);
	assert_false(span_context(server)->remote);
	span_end(child);
	span_end(server);
	tracer_destroy(tracer);
}

static void a_finished_span_is_an_otlp_span(void **state)
{
	struct tracer *tracer = tracer_with(SAMPLER_parentbased_always_on, true, 65536);
	struct trace_context parent = remote_parent("a=1"), linked = remote_parent("");
	struct mono mono = { 1000000 };
	struct wall wall = { INT64_C(1785000000000000000) };
	struct buf text = { 0 };
	struct span *span;

	if (!decode_possible())
		skip();
	clock_set(&mono, &wall);
	span = span_start(tracer, SPAN_consumer, SLICE("first"), &parent);
	span_rename(span, SLICE("POST /api/v1/orders"));
	span_attr(span, attr_text(SLICE("http.route"), SLICE("/api/v1/orders")));
	span_attr(span, attr_integer(SLICE("http.response.status_code"), 201));
	span_attr(span, attr_integer(SLICE("negative"), -1));
	span_attr(span, attr_double(SLICE("ratio"), 0.5));
	span_attr(span, attr_bool(SLICE("no"), false));
	span_attr(span, attr_text(SLICE("empty"), SLICE("")));
	span_link(span, &linked);
	span_fail(span, SLICE("timeout"), SLICE("no answer"));
	span_fail(span, SLICE("second"), SLICE("ignored"));
	mono.ns += 12000000;
	wall.ns -= 5;
	clock_set(&mono, &wall);
	span_end(span);
	clock_set(NULL, NULL);
	take(tracer, &text);
	assert_says(
		&text,
		"trace_id: \"K\\371/5w\\263M\\246\\243\\316\\222\\235\\016\\016G6\"\n");
	assert_says(
		&text,
		"\ntrace_state: \"a=1\"\nparent_span_id: "
		"\"\\000\\360g\\252\\013\\251\\002\\267\"\n"
		"name: \"POST /api/v1/orders\"\nkind: SPAN_KIND_CONSUMER\n"
		"start_time_unix_nano: 1785000000000000000\n"
		"end_time_unix_nano: 1785000000012000000\n"
		"attributes {\n  key: \"http.route\"\n  value {\n"
		"    string_value: \"/api/v1/orders\"\n  }\n}\n"
		"attributes {\n  key: \"http.response.status_code\"\n  value {\n"
		"    int_value: 201\n  }\n}\n"
		"attributes {\n  key: \"negative\"\n  value {\n    int_value: -1\n  "
		"}\n}\n"
		"attributes {\n  key: \"ratio\"\n  value {\n    double_value: 0.5\n  "
		"}\n}\n"
		"attributes {\n  key: \"no\"\n  value {\n    bool_value: false\n  }\n}\n"
		"attributes {\n  key: \"empty\"\n  value {\n    string_value: \"\"\n  "
		"}\n}\n"
		"attributes {\n  key: \"error.type\"\n  value {\n"
		"    string_value: \"timeout\"\n  }\n}\n"
		"links {\n  trace_id: \"K");
	assert_says(&text, "\n  flags: 769\n}\nstatus {\n  message: \"no answer\"\n"
			   "  code: STATUS_CODE_ERROR\n}\nflags: 769\n");
	assert_says_not(&text, "dropped");
	assert_says_not(&text, "second");
	buf_finish(&text);
	tracer_destroy(tracer);
}

static void a_root_span_has_no_parent_and_a_local_child_is_not_remote(void **state)
{
	struct tracer *tracer = tracer_with(SAMPLER_always_on, true, 65536);
	struct buf text = { 0 };
	struct span *root, *child;

	if (!decode_possible())
		skip();
	root = span_start(tracer, SPAN_server, SLICE("root"), NULL);
	child = span_start(tracer, SPAN_internal, SLICE("child"), span_context(root));
	span_end(child);
	span_end(root);
	take(tracer, &text);
	assert_says(&text, "name: \"child\"");
	assert_says(&text, "parent_span_id");
	assert_says(&text, "\nflags: 259\n");
	take(tracer, &text);
	assert_says(&text, "name: \"root\"\nkind: SPAN_KIND_SERVER\n");
	assert_says_not(&text, "parent_span_id");
	assert_says_not(&text, "status");
	assert_says(&text, "\nflags: 259\n");
	buf_finish(&text);
	tracer_destroy(tracer);
}

static void what_is_not_sampled_is_passed_on_but_not_written(void **state)
{
	struct tracer *off = tracer_with(SAMPLER_always_off, true, 65536);
	struct tracer *deaf = tracer_with(SAMPLER_always_on, false, 65536);
	struct span *span = span_start(off, SPAN_server, SLICE("x"), NULL);
	struct slice encoded;

	assert_int_equal(span_context(span)->flags, TRACE_FLAG_RANDOM);
	assert_false(span_recording(span));
	span_rename(span, SLICE("y"));
	span_attr(span, attr_bool(SLICE("a"), true));
	span_link(span, span_context(span));
	span_fail(span, SLICE("timeout"), SLICE(""));
	span_end(span);
	assert_false(tracer_peek(off, &encoded));
	span = span_start(deaf, SPAN_server, SLICE("x"), NULL);
	assert_int_equal(span_context(span)->flags,
			 TRACE_FLAG_RANDOM | TRACE_FLAG_SAMPLED);
	assert_false(span_recording(span));
	span_end(span);
	assert_false(tracer_peek(deaf, &encoded));
	assert_int_equal(tracer_dropped(off) + tracer_dropped(deaf), 0);
	tracer_destroy(off);
	tracer_destroy(deaf);
}

static void what_does_not_fit_is_counted_and_the_error_still_fits(void **state)
{
	struct tracer *tracer = tracer_with(SAMPLER_always_on, true, 65536);
	struct trace_context linked = remote_parent("");
	struct buf text = { 0 };
	static char euros[3000];
	struct span *span;

	if (!decode_possible())
		skip();
	for (size_t i = 0; i < sizeof(euros); i++)
		euros[i] = "\xe2\x82\xac"[i % 3];
	span = span_start(tracer, SPAN_internal, slice_of(euros, sizeof(euros)), NULL);
	for (int i = 0; i < 4; i++)
		span_attr(span, attr_text(SLICE("long"), slice_of(euros, sizeof(euros))));
	for (int i = 0; i < 100; i++)
		span_attr(span, attr_integer(SLICE("short"), i));
	for (int i = 0; i < 3; i++)
		span_link(span, &linked);
	span_attr(span, attr_text(SLICE(""), SLICE("no key")));
	span_fail(span, SLICE(""), slice_of(euros, sizeof(euros)));
	span_end(span);
	take(tracer, &text);
	assert_says(&text, "\ndropped_attributes_count: 39\n");
	assert_says(&text, "\ndropped_links_count: 3\n");
	assert_says(&text, "string_value: \"_OTHER\"");
	buf_finish(&text);
	tracer_destroy(tracer);
}

static void the_number_of_attributes_is_bounded(void **state)
{
	struct tracer_config config = { .sampler = SAMPLER_always_on,
					.recording = true,
					.ring_bytes = 65536,
					.attrs_max = 2 };
	struct tracer *tracer = tracer_create(&config, 1);
	struct buf text = { 0 };
	struct span *span;

	if (!decode_possible())
		skip();
	span = span_start(tracer, SPAN_internal, SLICE("a"), NULL);
	for (int i = 0; i < 5; i++)
		span_attr(span, attr_integer(SLICE("n"), i));
	span_fail(span, SLICE("limit"), SLICE(""));
	span_end(span);
	take(tracer, &text);
	assert_says(&text, "dropped_attributes_count: 3\n");
	assert_says(&text, "string_value: \"limit\"");
	assert_says_not(&text, "message");
	buf_finish(&text);
	tracer_destroy(tracer);
}

static void text_that_is_not_utf8_is_mended(void **state)
{
	struct tracer *tracer = tracer_with(SAMPLER_always_on, true, 65536);
	struct buf text = { 0 };
	struct span *span;

	if (!decode_possible())
		skip();
	span = span_start(tracer, SPAN_internal, SLICE("a\xff"), NULL);
	span_attr(span, attr_text(SLICE("k\xfe"), SLICE("v\xfd")));
	span_end(span);
	take(tracer, &text);
	assert_says(&text, "name: \"a\\357\\277\\275\"");
	assert_says(&text, "key: \"k\\357\\277\\275\"");
	assert_says(&text, "string_value: \"v\\357\\277\\275\"");
	buf_finish(&text);
	tracer_destroy(tracer);
}

static void many_open_spans_and_a_full_ring_harm_nobody(void **state)
{
	struct tracer *tracer = tracer_with(SAMPLER_always_on, true, 4096);
	struct span *spans[1000];
	struct slice encoded;
	size_t taken = 0;

	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 1000; i++)
			spans[i] = span_start(tracer, SPAN_internal, SLICE("x"), NULL);
		for (int i = 0; i < 1000; i++)
			span_end(spans[(i * 7) % 1000]);
		for (; tracer_peek(tracer, &encoded); taken++)
			tracer_release(tracer);
	}
	assert_true(taken > 10);
	assert_int_equal(taken + tracer_dropped(tracer), 3000);
	tracer_destroy(tracer);
}

/* --- generations ------------------------------------------------------------------ */

static void a_span_carries_the_generation_it_began_in(void **state)
{
	struct tracer *tracer = tracer_with(SAMPLER_always_on, true, 65536);
	struct trace_context remote = remote_parent("");
	struct span *early, *root, *child, *below_early, *below_remote;

	remote.generation = 99; /* nobody else's number counts here */
	early = span_start(tracer, SPAN_server, SLICE("early"), NULL);
	tracer_set_generation(tracer, 3);
	root = span_start(tracer, SPAN_server, SLICE("root"), NULL);
	tracer_set_generation(tracer, 4);
	child = span_start(tracer, SPAN_client, SLICE("child"), span_context(root));
	below_early = span_start(tracer, SPAN_client, SLICE("e"), span_context(early));
	below_remote = span_start(tracer, SPAN_server, SLICE("r"), &remote);
	assert_int_equal(span_context(early)->generation, 0);
	assert_int_equal(span_context(root)->generation, 3);
	assert_int_equal(span_context(child)->generation, 3);
	assert_int_equal(span_context(below_early)->generation, 4);
	assert_int_equal(span_context(below_remote)->generation, 4);
	span_end(below_remote);
	span_end(below_early);
	span_end(child);
	span_end(root);
	span_end(early);
	tracer_destroy(tracer);
}

static void the_generation_is_exported_beside_a_full_load_of_attributes(void **state)
{
	struct tracer_config config = { .sampler = SAMPLER_always_on,
					.recording = true,
					.ring_bytes = 65536,
					.attrs_max = 1 };
	struct tracer *tracer = tracer_create(&config, 7);
	struct buf text = { 0 };
	struct span *span;

	if (!decode_possible())
		skip();
	for (int known = 1; known >= 0; known--) {
		tracer_set_generation(tracer, known ? UINT32_MAX : 0);
		span = span_start(tracer, SPAN_server, SLICE("x"), NULL);
		span_attr(span, attr_integer(SLICE("first"), 1));
		span_attr(span, attr_integer(SLICE("second"), 2));
		span_end(span);
		take(tracer, &text);
		assert_says(&text, "dropped_attributes_count: 1\n");
		if (known)
			assert_says(&text, "attributes {\n  key: \"orrery.generation\"\n"
					   "  value {\n    int_value: 4294967295\n");
		else
			assert_says_not(&text, "generation");
	}
	buf_finish(&text);
	tracer_destroy(tracer);
}

static void the_largest_span_fits_its_record(void **state)
{
	struct tracer *tracer = tracer_with(SAMPLER_always_on, true, 65536);
	struct trace_context linked, parent;
	char name[300], message[300], state_text[513];
	struct buf text = { 0 };
	struct span *span;

	memset(name, 'n', sizeof(name));
	memset(message, 'm', sizeof(message));
	snprintf(state_text, sizeof(state_text), "%0256d=%0255d", 1, 2);
	parent = linked = remote_parent(state_text);
	tracer_set_generation(tracer, UINT32_MAX);
	span = span_start(tracer, SPAN_consumer, slice_of(name, sizeof(name)), &parent);
	for (int i = 0; i < 200; i++) {
		span_attr(span, attr_text(SLICE("some.attribute"), SLICE("some text")));
		span_link(span, &linked);
	}
	span_fail(span, slice_of(name, 200), slice_of(message, sizeof(message)));
	span_end(span);
	if (decode_possible()) {
		take(tracer, &text);
		assert_says(&text, "int_value: 4294967295\n");
	}
	buf_finish(&text);
	tracer_destroy(tracer);
}

/* --- the tap ---------------------------------------------------------------------- */

struct seen {
	int spans;
	struct buf text;
};

static void look_on(void *context, const struct span_view *span)
{
	static const char *const kinds[] = {
		[SPAN_internal] = "internal", [SPAN_server] = "server"
	};
	struct seen *seen = context;
	struct slice attrs = span->attrs;
	struct attr attr;

	seen->spans++;
	buf_printf(&seen->text, "%s %.*s", kinds[span->kind], SLICE_PRINT(span->name));
	buf_printf(&seen->text, " generation %u", (unsigned)span->context->generation);
	if (span->failed)
		buf_printf(&seen->text, " failed %.*s (%.*s)",
			   SLICE_PRINT(span->error_type), SLICE_PRINT(span->message));
	while (span_view_attr(&attrs, &attr)) {
		buf_printf(&seen->text, " %.*s=", SLICE_PRINT(attr.key));
		if (attr.type == ATTR_text)
			buf_append(&seen->text, attr.text);
		else if (attr.type == ATTR_integer)
			buf_printf(&seen->text, "%lld", (long long)attr.integer);
		else if (attr.type == ATTR_double)
			buf_printf(&seen->text, "%g", attr.number);
		else
			buf_append(&seen->text,
				   attr.boolean ? SLICE("true") : SLICE("false"));
	}
	buf_append_byte(&seen->text, '\n');
}

static void a_tap_sees_spans_as_they_end(void **state)
{
	struct tracer *tracer = tracer_with(SAMPLER_always_on, true, 65536);
	struct trace_context linked = remote_parent("a=1");
	struct seen seen = { 0 };
	struct span *server, *inner;

	tracer_tap(tracer, look_on, &seen);
	tracer_set_generation(tracer, 2);
	server = span_start(tracer, SPAN_server, SLICE("GET /"), NULL);
	inner = span_start(tracer, SPAN_internal, SLICE("inner"), span_context(server));
	span_attr(inner, attr_text(SLICE("text"), SLICE("a\nb")));
	span_link(inner, &linked);
	span_attr(inner, attr_text(SLICE("empty"), SLICE("")));
	span_attr(inner, attr_integer(SLICE("n"), -3));
	span_fail(inner, SLICE("timeout"), SLICE("no answer"));
	span_attr(inner, attr_double(SLICE("half"), 0.5));
	span_attr(inner, attr_bool(SLICE("yes"), true));
	span_end(inner);
	span_end(server);
	assert_string_equal(
		buf_text(&seen.text),
		"internal inner generation 2 failed timeout (no answer)"
		" text=a\nb empty= n=-3 error.type=timeout half=0.5 yes=true\n"
		"server GET / generation 2\n");
	tracer_tap(tracer, NULL, NULL);
	span_end(span_start(tracer, SPAN_server, SLICE("unseen"), NULL));
	assert_int_equal(seen.spans, 2);
	buf_finish(&seen.text);
	tracer_destroy(tracer);
}

static void keep_parent(void *context, const struct span_view *span)
{
	const uint8_t **parent = context;

	assert_ptr_equal(span->parent_id == NULL, *parent == NULL);
	if (*parent)
		assert_memory_equal(span->parent_id, *parent, 8);
}

static void a_tap_sees_whose_child_a_span_is_but_not_what_is_not_recorded(void **state)
{
	struct tracer *tracer = tracer_with(SAMPLER_parentbased_always_on, true, 65536);
	struct tracer *deaf = tracer_with(SAMPLER_always_off, true, 65536);
	struct trace_context remote = remote_parent("");
	const uint8_t *parent = remote.span_id;
	struct seen seen = { 0 };

	tracer_tap(tracer, keep_parent, &parent);
	span_end(span_start(tracer, SPAN_server, SLICE("x"), &remote));
	parent = NULL;
	span_end(span_start(tracer, SPAN_server, SLICE("x"), NULL));
	tracer_tap(deaf, look_on, &seen);
	span_end(span_start(deaf, SPAN_server, SLICE("x"), NULL));
	assert_int_equal(seen.spans, 0);
	tracer_destroy(tracer);
	tracer_destroy(deaf);
}

/* --- threads ---------------------------------------------------------------------- */

#define SPANS 50000

static void *make_spans(void *context)
{
	struct tracer *tracer = context;

	for (int i = 0; i < SPANS; i++) {
		struct span *span = span_start(tracer, SPAN_server, SLICE("x"), NULL);

		span_attr(span, attr_integer(SLICE("n"), i));
		span_end(span);
	}
	return NULL;
}

static void another_thread_reads_what_one_writes(void **state)
{
	struct tracer *tracer = tracer_with(SAMPLER_always_on, true, 65536);
	struct slice encoded;
	size_t taken = 0;
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, make_spans, tracer), 0);
	while (taken + tracer_dropped(tracer) < SPANS) {
		if (!tracer_peek(tracer, &encoded)) {
			sched_yield();
			continue;
		}
		assert_int_equal(encoded.at[0], 0x0a);
		assert_int_equal(encoded.at[1], 16);
		tracer_release(tracer);
		taken++;
	}
	pthread_join(thread, NULL);
	assert_int_equal(taken + tracer_dropped(tracer), SPANS);
	assert_false(tracer_peek(tracer, &encoded));
	tracer_destroy(tracer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_new_trace_has_random_ids_and_says_so),
		cmocka_unit_test(a_child_keeps_the_trace_and_its_state),
		cmocka_unit_test(a_finished_span_is_an_otlp_span),
		cmocka_unit_test(
			a_root_span_has_no_parent_and_a_local_child_is_not_remote),
		cmocka_unit_test(what_is_not_sampled_is_passed_on_but_not_written),
		cmocka_unit_test(what_does_not_fit_is_counted_and_the_error_still_fits),
		cmocka_unit_test(the_number_of_attributes_is_bounded),
		cmocka_unit_test(text_that_is_not_utf8_is_mended),
		cmocka_unit_test(many_open_spans_and_a_full_ring_harm_nobody),
		cmocka_unit_test(a_span_carries_the_generation_it_began_in),
		cmocka_unit_test(
			the_generation_is_exported_beside_a_full_load_of_attributes),
		cmocka_unit_test(the_largest_span_fits_its_record),
		cmocka_unit_test(a_tap_sees_spans_as_they_end),
		cmocka_unit_test(
			a_tap_sees_whose_child_a_span_is_but_not_what_is_not_recorded),
		cmocka_unit_test(another_thread_reads_what_one_writes),
	};

	return cmocka_run_group_tests_name("trace", tests, NULL, NULL);
}
