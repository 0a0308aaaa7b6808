/* SPDX-License-Identifier: MIT */
/* otlp_test.c -- export requests, read back by protoc; responses, read by us. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "decode.h"
#include "watch/log.h"
#include "watch/metrics.h"
#include "watch/otlp.h"
#include "watch/trace.h"

#include <zlib.h>

static const struct wall began = { 1000 }, now = { 2000 };

/* Finishes the batch and gives what protoc says about the request. */
static void request_text(struct otlp_batch *batch, const char *message, struct buf *text)
{
	struct attr resource[] = { attr_text(SLICE("service.name"), SLICE("orders")),
				   attr_integer(SLICE("process.pid"), 7) };
	struct buf request = { 0 };

	otlp_finish(batch, resource, 2, &request);
	assert_int_equal(batch->count, 0);
	assert_int_equal(batch->items.size, 0);
	decode(message, buf_slice(&request), text);
	buf_finish(&request);
	otlp_batch_finish(batch);
}

#define RESOURCE_TEXT                                                                    \
	"  resource {\n    attributes {\n      key: \"service.name\"\n      value {\n"   \
	"        string_value: \"orders\"\n      }\n    }\n    attributes {\n"           \
	"      key: \"process.pid\"\n      value {\n        int_value: 7\n      }\n"     \
	"    }\n  }\n"

static void spans_are_framed_with_resource_and_scope(void **state)
{
	struct tracer_config config = { .sampler = SAMPLER_always_on,
					.recording = true,
					.ring_bytes = 4096 };
	struct tracer *tracer = tracer_create(&config, 1);
	struct otlp_batch batch = { .signal = OTLP_traces };
	struct buf text = { 0 };
	struct slice encoded;

	if (!decode_possible())
		skip();
	span_end(span_start(tracer, SPAN_server, SLICE("one"), NULL));
	span_end(span_start(tracer, SPAN_client, SLICE("two"), NULL));
	while (tracer_peek(tracer, &encoded)) {
		otlp_add_span(&batch, encoded);
		tracer_release(tracer);
	}
	assert_int_equal(batch.count, 2);
	request_text(&batch, "TracesRequest", &text);
	assert_says(&text, "resource_spans {\n" RESOURCE_TEXT
			   "  scope_spans {\n    scope {\n      name: \"orrery\"\n    }\n"
			   "    spans {\n      trace_id: ");
	assert_says(&text, "      name: \"one\"\n      kind: SPAN_KIND_SERVER\n");
	assert_says(&text, "      name: \"two\"\n      kind: SPAN_KIND_CLIENT\n");
	buf_finish(&text);
	tracer_destroy(tracer);
}

static void log_records_carry_severity_body_and_trace(void **state)
{
	struct attr attrs[] = { attr_text(SLICE("route"), SLICE("/x")),
				attr_text(SLICE("bad"), SLICE("\xff")),
				attr_bool(SLICE("ok"), true) };
	struct log_record record = { .time = { 5 },
				     .severity = LOG_warn,
				     .in_trace = true,
				     .trace_id = "0123456789abcdef",
				     .span_id = "ABCDEFGH",
				     .trace_flags = 1,
				     .message = SLICE("a \xff message"),
				     .attrs = attrs,
				     .attr_count = 3 };
	struct otlp_batch batch = { .signal = OTLP_logs };
	struct buf text = { 0 };

	if (!decode_possible())
		skip();
	otlp_add_log(&batch, &record);
	record.in_trace = false;
	record.attr_count = 0;
	record.severity = LOG_info;
	record.message = SLICE("");
	record.generation = 5;
	otlp_add_log(&batch, &record);
	assert_int_equal(batch.count, 2);
	request_text(&batch, "LogsRequest", &text);
	assert_says(
		&text,
		"resource_logs {\n" RESOURCE_TEXT
		"  scope_logs {\n    scope {\n      name: \"orrery\"\n    }\n"
		"    log_records {\n      time_unix_nano: 5\n      severity_number: 13\n"
		"      severity_text: \"WARN\"\n      body {\n"
		"        string_value: \"a \\357\\277\\275 message\"\n      }\n"
		"      attributes {\n        key: \"route\"\n        value {\n"
		"          string_value: \"/x\"\n        }\n      }\n"
		"      attributes {\n        key: \"bad\"\n        value {\n"
		"          string_value: \"\\357\\277\\275\"\n        }\n      }\n"
		"      attributes {\n        key: \"ok\"\n        value {\n"
		"          bool_value: true\n        }\n      }\n      flags: 1\n"
		"      trace_id: \"0123456789abcdef\"\n      span_id: \"ABCDEFGH\"\n"
		"      observed_time_unix_nano: 5\n    }\n"
		"    log_records {\n      time_unix_nano: 5\n      severity_number: 9\n"
		"      severity_text: \"INFO\"\n      body {\n        string_value: "
		"\"\"\n"
		"      }\n      attributes {\n        key: \"orrery.generation\"\n"
		"        value {\n          int_value: 5\n        }\n      }\n"
		"      observed_time_unix_nano: 5\n    }\n");
	buf_finish(&text);
}

static void metrics_speak_the_semantic_conventions(void **state)
{
	struct metrics *metrics = metrics_create();
	struct meter *meter = meter_create(metrics);
	struct otlp_batch batch = { .signal = OTLP_metrics };
	struct buf text = { 0 };

	if (!decode_possible())
		skip();
	otlp_add_metrics(&batch, metrics, began, now);
	assert_int_equal(batch.count, 0);
	series_observe(meter_own(meter, METRIC_db_duration, 3, SLICE("redis"),
				 SLICE("GET"), SLICE("")),
		       0.002);
	series_observe(meter_own(meter, METRIC_http_server_request, 3, SLICE("GET"),
				 SLICE("/x"), SLICE("200")),
		       20);
	series_add(meter_own(meter, METRIC_http_server_active, 0), 0);
	series_add(meter_own(meter, METRIC_process_cpu, 0), 1.5);
	series_add(meter_own(meter, METRIC_log_dropped, 0), 1);
	otlp_add_metrics(&batch, metrics, began, now);
	assert_int_equal(batch.count, 1);
	request_text(&batch, "MetricsRequest", &text);
	assert_says(&text,
		    "resource_metrics {\n" RESOURCE_TEXT
		    "  scope_metrics {\n    scope {\n      name: \"orrery\"\n    }\n"
		    "    metrics {\n      name: \"db.client.operation.duration\"\n");
	assert_says(
		&text,
		"      unit: \"s\"\n      histogram {\n        data_points {\n"
		"          start_time_unix_nano: 1000\n          time_unix_nano: 2000\n"
		"          count: 1\n          sum: 0.002\n          bucket_counts: 0\n"
		"          bucket_counts: 1\n          bucket_counts: 0\n");
	assert_says(&text,
		    "          explicit_bounds: 5\n          explicit_bounds: 10\n"
		    "          attributes {\n            key: \"db.system.name\"\n"
		    "            value {\n              string_value: \"redis\"\n");
	assert_says_not(&text, "error.type");
	assert_says(&text, "            key: \"http.response.status_code\"\n"
			   "            value {\n              int_value: 200\n");
	assert_says(&text,
		    "aggregation_temporality: AGGREGATION_TEMPORALITY_CUMULATIVE\n");
	assert_says(
		&text,
		"      name: \"http.server.active_requests\"\n"
		"      description: \"Requests being served.\"\n"
		"      unit: \"{request}\"\n      gauge {\n        data_points {\n"
		"          time_unix_nano: 2000\n          as_double: 0\n        }\n");
	assert_says(&text, "      name: \"process.cpu.time\"\n");
	assert_says(
		&text,
		"      sum {\n        data_points {\n          start_time_unix_nano: "
		"1000\n"
		"          time_unix_nano: 2000\n          as_double: 1.5\n        }\n"
		"        aggregation_temporality: AGGREGATION_TEMPORALITY_CUMULATIVE\n"
		"        is_monotonic: true\n");
	assert_says_not(&text, "log_records_dropped");
	buf_finish(&text);
	metrics_destroy(metrics);
}

static void a_summary_has_its_quantiles_once_it_observed(void **state)
{
	struct metrics *metrics = metrics_create();
	struct meter *meter = meter_create(metrics);
	struct metric_def def = { .type = METRIC_summary,
				  .name = SLICE("wait_seconds"),
				  .help = SLICE("Waits."),
				  .labels = { SLICE("x") },
				  .label_count = 1,
				  .otlp_unit = SLICE("s") };
	struct metric *metric = metrics_declare(metrics, &def, NULL);
	struct otlp_batch batch = { .signal = OTLP_metrics };
	struct slice a = SLICE("a"), b = SLICE("b");
	struct buf text = { 0 };

	if (!decode_possible())
		skip();
	series_observe(meter_series(meter, metric, &a, 1), 0.5);
	series_observe(meter_series(meter, metric, &a, 1), 4);
	meter_series(meter, metric, &b, 1);
	otlp_add_metrics(&batch, metrics, began, now);
	request_text(&batch, "MetricsRequest", &text);
	assert_says(&text,
		    "      name: \"wait_seconds\"\n      description: \"Waits.\"\n"
		    "      unit: \"s\"\n      summary {\n        data_points {\n"
		    "          start_time_unix_nano: 1000\n"
		    "          time_unix_nano: 2000\n          count: 2\n"
		    "          sum: 4.5\n          quantile_values {\n"
		    "            quantile: 0.5\n            value: 0.5078125\n"
		    "          }\n          quantile_values {\n"
		    "            quantile: 0.9\n            value: 4.0625\n"
		    "          }\n          quantile_values {\n"
		    "            quantile: 0.99\n            value: 4.0625\n"
		    "          }\n          attributes {\n            key: \"x\"\n"
		    "            value {\n              string_value: \"a\"\n"
		    "            }\n          }\n        }\n        data_points {\n"
		    "          start_time_unix_nano: 1000\n"
		    "          time_unix_nano: 2000\n          attributes {\n"
		    "            key: \"x\"\n            value {\n"
		    "              string_value: \"b\"\n            }\n          }\n"
		    "        }\n      }\n    }\n");
	assert_says_not(&text, "aggregation_temporality");
	buf_finish(&text);
	metrics_destroy(metrics);
}

static void a_failed_request_has_an_error_type(void **state)
{
	struct metrics *metrics = metrics_create();
	struct meter *meter = meter_create(metrics);
	struct otlp_batch batch = { .signal = OTLP_metrics };
	struct buf text = { 0 };

	if (!decode_possible())
		skip();
	series_observe(meter_own(meter, METRIC_http_server_request, 3, SLICE("GET"),
				 SLICE("/x"), SLICE("503")),
		       1);
	otlp_add_metrics(&batch, metrics, began, now);
	request_text(&batch, "MetricsRequest", &text);
	assert_says(&text, "            key: \"error.type\"\n            value {\n"
			   "              string_value: \"503\"\n");
	buf_finish(&text);
	metrics_destroy(metrics);
}

static void what_overflowed_is_one_marked_point(void **state)
{
	struct metrics *metrics = metrics_create();
	struct meter *meter = meter_create(metrics);
	struct otlp_batch batch = { .signal = OTLP_metrics };
	struct buf text = { 0 };

	if (!decode_possible())
		skip();
	series_add(meter_own(meter, METRIC_messages_consumed, 2, SLICE("_overflow"),
			     SLICE("_overflow")),
		   3);
	otlp_add_metrics(&batch, metrics, began, now);
	request_text(&batch, "MetricsRequest", &text);
	assert_says(&text,
		    "          attributes {\n            key: \"otel.metric.overflow\"\n"
		    "            value {\n              bool_value: true\n");
	assert_says_not(&text, "messaging.destination.name");
	buf_finish(&text);
	metrics_destroy(metrics);
}

static void compressed_bytes_are_gzip_and_come_back(void **state)
{
	struct buf plain = { 0 }, packed = { 0 };
	z_stream stream = { 0 };
	static char back[200000];

	for (int i = 0; i < 10000; i++)
		buf_printf(&plain, "%d,", i * i);
	otlp_gzip(&packed, buf_slice(&plain));
	assert_true(packed.size < plain.size);
	assert_int_equal(inflateInit2(&stream, 15 + 16), Z_OK);
	stream.next_in = (Bytef *)packed.at;
	stream.avail_in = (uInt)packed.size;
	stream.next_out = (Bytef *)back;
	stream.avail_out = sizeof(back);
	assert_int_equal(inflate(&stream, Z_FINISH), Z_STREAM_END);
	assert_int_equal(stream.total_out, plain.size);
	assert_memory_equal(back, plain.at, plain.size);
	inflateEnd(&stream);
	buf_reset(&packed);
	otlp_gzip(&packed, SLICE(""));
	assert_true(packed.size > 0);
	buf_finish(&plain);
	buf_finish(&packed);
}

static void a_response_says_what_was_rejected(void **state)
{
	struct slice message;
	uint64_t rejected = 9;

	assert_true(otlp_read_response(SLICE(""), &rejected, &message));
	assert_int_equal(rejected, 0);
	assert_int_equal(message.size, 0);
	assert_true(otlp_read_response(SLICE("\x0a\x07\x08\xac\x02\x12\x02no"), &rejected,
				       &message));
	assert_int_equal(rejected, 300);
	assert_true(slice_equal(message, SLICE("no")));
	/* Fields nobody knows yet, one of each wire type, are passed over. */
	assert_true(otlp_read_response(SLICE("\x10\x01\x19"
					     "12345678\x25"
					     "1234\x2a\x01x"
					     "\x0a\x02\x08\x01"),
				       &rejected, &message));
	assert_int_equal(rejected, 1);
}

static void a_broken_response_is_refused(void **state)
{
	static const struct slice cases[] = {
		{ "\x0a", 1 },
		{ "\x0a\x05\x08", 3 },
		{ "\x0a\x02\x08\x80", 4 },
		{ "\x08", 1 },
		{ "\x09"
		  "1234567",
		  8 },
		{ "\x0d"
		  "123",
		  4 },
		{ "\x0b\x01", 2 },
		{ "\x02\x00", 2 },
		{ "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11 },
		{ "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 12 },
		{ "<html>", 6 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct slice message;
		uint64_t rejected;

		if (otlp_read_response(cases[i], &rejected, &message))
			fail_msg("case %zu was taken", i);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(spans_are_framed_with_resource_and_scope),
		cmocka_unit_test(log_records_carry_severity_body_and_trace),
		cmocka_unit_test(metrics_speak_the_semantic_conventions),
		cmocka_unit_test(a_summary_has_its_quantiles_once_it_observed),
		cmocka_unit_test(a_failed_request_has_an_error_type),
		cmocka_unit_test(what_overflowed_is_one_marked_point),
		cmocka_unit_test(compressed_bytes_are_gzip_and_come_back),
		cmocka_unit_test(a_response_says_what_was_rejected),
		cmocka_unit_test(a_broken_response_is_refused),
	};

	return cmocka_run_group_tests_name("otlp", tests, NULL, NULL);
}
