/* SPDX-License-Identifier: MIT */
#include "host/otel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>

/* An environment: NAME=value texts, ended by NULL. */
static const char *find(void *context, const char *name)
{
	const char *const *at = context;
	size_t size = strlen(name);

	for (; *at; at++)
		if (strncmp(*at, name, size) == 0 && (*at)[size] == '=')
			return *at + size + 1;
	return NULL;
}

static bool try_read(struct otel_config *config, const char *const *environment,
		     struct fault *why)
{
	return otel_config_read(config, SLICE("orders"), find, (void *)environment, why);
}

static struct otel_config read_all(const char *const *environment)
{
	struct otel_config config;
	struct fault why = { 0 };

	if (!try_read(&config, environment, &why))
		fail_msg("%s", why.detail);
	return config;
}

#define READ(...) read_all((const char *const[]){ __VA_ARGS__, NULL })

static bool equal(struct slice s, const char *text)
{
	return slice_equal(s, slice_text(text));
}

static void without_variables_nothing_is_exported_and_nothing_is_said(void **state)
{
	struct otel_config config = READ("HOME=/");

	assert_false(otel_exports(&config));
	assert_false(config.disabled);
	assert_true(equal(config.service_name, "orders"));
	assert_int_equal(config.sampler, SAMPLER_parentbased_always_on);
	assert_int_equal(config.spans.delay_ms, 5000);
	assert_int_equal(config.spans.queue_max, 2048);
	assert_int_equal(config.spans.batch_max, 512);
	assert_int_equal(config.spans.timeout_ms, 30000);
	assert_int_equal(config.logs.delay_ms, 1000);
	assert_int_equal(config.metric_interval_ms, 60000);
	assert_int_equal(config.span_attrs_max, 128);
	assert_int_equal(config.warning_count, 0);
	assert_false(otel_tracer_config(&config, 1).recording);
	otel_config_finish(&config);
}

static void a_general_endpoint_turns_all_signals_on_below_it(void **state)
{
	struct otel_config config =
		READ("OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318");

	assert_true(equal(config.exporters[OTEL_traces].url,
			  "http://127.0.0.1:4318/v1/traces"));
	assert_true(equal(config.exporters[OTEL_metrics].url,
			  "http://127.0.0.1:4318/v1/metrics"));
	assert_true(
		equal(config.exporters[OTEL_logs].url, "http://127.0.0.1:4318/v1/logs"));
	assert_int_equal(config.exporters[OTEL_logs].timeout_ms, 10000);
	assert_false(config.exporters[OTEL_logs].gzip);
	assert_true(otel_tracer_config(&config, 1).recording);
	otel_config_finish(&config);
	config = READ("OTEL_EXPORTER_OTLP_ENDPOINT= http://c/base/ ",
		      "OTEL_LOGS_EXPORTER=none", "OTEL_METRICS_EXPORTER=prometheus");
	assert_true(equal(config.exporters[OTEL_traces].url, "http://c/base/v1/traces"));
	assert_false(config.exporters[OTEL_logs].on);
	assert_false(config.exporters[OTEL_metrics].on);
	assert_int_equal(config.warning_count, 0);
	otel_config_finish(&config);
}

static void a_signals_own_endpoint_is_used_as_it_stands(void **state)
{
	struct otel_config config = READ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://c:1");

	assert_true(equal(config.exporters[OTEL_traces].url, "http://c:1"));
	assert_false(config.exporters[OTEL_metrics].on);
	assert_false(config.exporters[OTEL_logs].on);
	otel_config_finish(&config);
	config = READ("OTEL_EXPORTER_OTLP_ENDPOINT=http://general",
		      "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=http://loki:3100/otlp/v1/logs");
	assert_true(
		equal(config.exporters[OTEL_logs].url, "http://loki:3100/otlp/v1/logs"));
	assert_true(equal(config.exporters[OTEL_traces].url, "http://general/v1/traces"));
	otel_config_finish(&config);
}

static void an_exporter_named_otlp_means_the_default_endpoint(void **state)
{
	struct otel_config config = READ("OTEL_TRACES_EXPORTER=OTLP");

	assert_true(equal(config.exporters[OTEL_traces].url,
			  "http://localhost:4318/v1/traces"));
	assert_false(config.exporters[OTEL_metrics].on);
	otel_config_finish(&config);
	config = READ("OTEL_TRACES_EXPORTER=console",
		      "OTEL_METRICS_EXPORTER=otlp,prometheus");
	assert_false(config.exporters[OTEL_traces].on);
	assert_true(config.exporters[OTEL_metrics].on);
	assert_int_equal(config.warning_count, 1);
	otel_config_finish(&config);
}

static void grpc_https_and_malformed_endpoints_are_refused_by_name(void **state)
{
	static const struct {
		const char *environment[4];
		const char *named;
	} cases[] = {
		{ { "OTEL_EXPORTER_OTLP_PROTOCOL=grpc" },
		  "OTEL_EXPORTER_OTLP_PROTOCOL=grpc" },
		{ { "OTEL_EXPORTER_OTLP_PROTOCOL=http/json" },
		  "OTEL_EXPORTER_OTLP_PROTOCOL" },
		{ { "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=GRPC",
		    "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf" },
		  "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL" },
		{ { "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL=grpc" },
		  "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL" },
		{ { "OTEL_EXPORTER_OTLP_ENDPOINT=https://c:4318" },
		  "OTEL_EXPORTER_OTLP_ENDPOINT" },
		{ { "OTEL_EXPORTER_OTLP_ENDPOINT=localhost:4318" },
		  "OTEL_EXPORTER_OTLP_ENDPOINT" },
		{ { "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=http://c:x/" },
		  "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct otel_config config;
		struct fault why = { 0 };

		assert_false(try_read(&config, cases[i].environment, &why));
		assert_int_equal(why.kind, FAULT_bad_input);
		if (!strstr(why.detail, cases[i].named))
			fail_msg("%s", why.detail);
		otel_config_finish(&config);
	}
}

static void a_refused_protocol_does_not_matter_where_nothing_is_exported(void **state)
{
	struct otel_config config =
		READ("OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_SDK_DISABLED=True",
		     "OTEL_EXPORTER_OTLP_ENDPOINT=http://c");

	assert_true(config.disabled);
	assert_false(otel_exports(&config));
	otel_config_finish(&config);
	config = READ("OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_TRACES_EXPORTER=none",
		      "OTEL_LOGS_EXPORTER=none", "OTEL_METRICS_EXPORTER=none");
	assert_false(otel_exports(&config));
	otel_config_finish(&config);
	config = READ("OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
		      "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf",
		      "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL=http/protobuf",
		      "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL=http/protobuf");
	otel_config_finish(&config);
}

static void samplers_and_their_argument_are_read(void **state)
{
	static const struct {
		const char *name, *arg;
		enum sampler sampler;
		double ratio;
		size_t warnings;
	} cases[] = {
		{ "always_on", "", SAMPLER_always_on, 1, 0 },
		{ "always_off", "0.5", SAMPLER_always_off, 1, 0 },
		{ "TraceIdRatio", "0.25", SAMPLER_traceidratio, 0.25, 0 },
		{ "parentbased_traceidratio", "0", SAMPLER_parentbased_traceidratio, 0,
		  0 },
		{ "parentbased_traceidratio", "", SAMPLER_parentbased_traceidratio, 1,
		  0 },
		{ "traceidratio", "1.5", SAMPLER_traceidratio, 1, 1 },
		{ "traceidratio", "nan", SAMPLER_traceidratio, 1, 1 },
		{ "traceidratio", "x", SAMPLER_traceidratio, 1, 1 },
		{ "parentbased_always_off", "", SAMPLER_parentbased_always_off, 1, 0 },
		{ "jaeger_remote", "", SAMPLER_parentbased_always_on, 1, 1 },
		{ "", "0.5", SAMPLER_parentbased_always_on, 1, 0 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char name[100], arg[100];
		struct otel_config config;

		snprintf(name, sizeof(name), "OTEL_TRACES_SAMPLER=%s", cases[i].name);
		snprintf(arg, sizeof(arg), "OTEL_TRACES_SAMPLER_ARG=%s", cases[i].arg);
		config = READ(name, arg);
		assert_int_equal(config.sampler, cases[i].sampler);
		assert_true(config.sampler_ratio == cases[i].ratio);
		assert_int_equal(config.warning_count, cases[i].warnings);
		otel_config_finish(&config);
	}
}

static void resource_attributes_are_decoded_or_discarded_as_a_whole(void **state)
{
	struct otel_config config = READ("OTEL_RESOURCE_ATTRIBUTES=a=1, b = x%2Cy%3dz "
					 ",,c=%C3%A4,a=2,service.name=other");

	assert_int_equal(config.resource_count, 3);
	assert_true(equal(config.resource[0].key, "a"));
	assert_true(equal(config.resource[0].text, "2"));
	assert_true(equal(config.resource[1].key, "b"));
	assert_true(equal(config.resource[1].text, "x,y=z"));
	assert_true(equal(config.resource[2].text, "\xc3\xa4"));
	assert_true(equal(config.service_name, "other"));
	otel_config_finish(&config);
	config = READ("OTEL_RESOURCE_ATTRIBUTES=service.name=other",
		      "OTEL_SERVICE_NAME=mine");
	assert_true(equal(config.service_name, "mine"));
	otel_config_finish(&config);
	static const char *const bad[] = { "a=1,b",	"a=1,=2",	   "a=1,b=%zz",
					   "a=1,b=%2",	"a=1,b=%",	   "a=1,b=%ff",
					   "a=1,b=%0a", "service.name=x,y" };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char text[100];

		snprintf(text, sizeof(text), "OTEL_RESOURCE_ATTRIBUTES=%s", bad[i]);
		config = READ(text);
		assert_int_equal(config.resource_count, 0);
		assert_int_equal(config.warning_count, 1);
		assert_true(equal(config.service_name, "orders"));
		otel_config_finish(&config);
	}
}

static void headers_timeouts_and_compression_are_read_per_signal(void **state)
{
	struct otel_config config = READ(
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://c",
		"OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20x,x-scope-orgid=1",
		"OTEL_EXPORTER_OTLP_LOGS_HEADERS=a=b", "OTEL_EXPORTER_OTLP_TIMEOUT=100",
		"OTEL_EXPORTER_OTLP_TRACES_TIMEOUT=0",
		"OTEL_EXPORTER_OTLP_COMPRESSION=gzip",
		"OTEL_EXPORTER_OTLP_METRICS_COMPRESSION=none");

	assert_int_equal(config.exporters[OTEL_traces].header_count, 2);
	assert_true(equal(config.exporters[OTEL_traces].headers[0].value, "Bearer x"));
	assert_int_equal(config.exporters[OTEL_logs].header_count, 1);
	assert_int_equal(config.exporters[OTEL_logs].timeout_ms, 100);
	assert_int_equal(config.exporters[OTEL_traces].timeout_ms, 0);
	assert_true(config.exporters[OTEL_traces].gzip);
	assert_false(config.exporters[OTEL_metrics].gzip);
	assert_int_equal(config.warning_count, 0);
	otel_config_finish(&config);
	/* Header values may be secrets: the warning holds none. */
	config = READ("OTEL_TRACES_EXPORTER=otlp",
		      "OTEL_EXPORTER_OTLP_HEADERS=ok=1,bad name=secret");
	assert_int_equal(config.exporters[OTEL_traces].header_count, 0);
	assert_int_equal(config.warning_count, 1);
	assert_null(memmem(config.warnings[0].at, config.warnings[0].size, "secret", 6));
	otel_config_finish(&config);
}

static void bad_numbers_warn_and_leave_the_default(void **state)
{
	struct otel_config config =
		READ("OTEL_BSP_SCHEDULE_DELAY=-1", "OTEL_BSP_MAX_QUEUE_SIZE=0",
		     "OTEL_BLRP_SCHEDULE_DELAY=5s", "OTEL_METRIC_EXPORT_INTERVAL=1e3",
		     "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT=many", "OTEL_SDK_DISABLED=yes");

	assert_int_equal(config.spans.delay_ms, 5000);
	assert_int_equal(config.spans.queue_max, 2048);
	assert_int_equal(config.logs.delay_ms, 1000);
	assert_int_equal(config.metric_interval_ms, 60000);
	assert_int_equal(config.span_attrs_max, 128);
	assert_false(config.disabled);
	assert_int_equal(config.warning_count, 6);
	otel_config_finish(&config);
	config = READ("OTEL_BSP_SCHEDULE_DELAY=100", "OTEL_BSP_MAX_QUEUE_SIZE=100",
		      "OTEL_BSP_MAX_EXPORT_BATCH_SIZE=10", "OTEL_ATTRIBUTE_COUNT_LIMIT=7",
		      "OTEL_BLRP_MAX_QUEUE_SIZE=5", "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE=50");
	assert_int_equal(config.spans.delay_ms, 100);
	assert_int_equal(config.spans.queue_max, 100);
	assert_int_equal(config.spans.batch_max, 10);
	assert_int_equal(config.logs.batch_max, 5);
	assert_int_equal(config.span_attrs_max, 7);
	assert_int_equal(config.warning_count, 1);
	otel_config_finish(&config);
}

static void what_has_no_effect_is_said(void **state)
{
	struct otel_config config =
		READ("OTEL_PROPAGATORS=b3", "OTEL_EXPORTER_OTLP_CERTIFICATE=/x.pem",
		     "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE=delta");

	assert_int_equal(config.warning_count, 3);
	otel_config_finish(&config);
	config = READ("OTEL_PROPAGATORS=tracecontext,baggage",
		      "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE=cumulative",
		      "OTEL_LOG_LEVEL=debug");
	assert_int_equal(config.warning_count, 0);
	otel_config_finish(&config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			without_variables_nothing_is_exported_and_nothing_is_said),
		cmocka_unit_test(a_general_endpoint_turns_all_signals_on_below_it),
		cmocka_unit_test(a_signals_own_endpoint_is_used_as_it_stands),
		cmocka_unit_test(an_exporter_named_otlp_means_the_default_endpoint),
		cmocka_unit_test(grpc_https_and_malformed_endpoints_are_refused_by_name),
		cmocka_unit_test(
			a_refused_protocol_does_not_matter_where_nothing_is_exported),
		cmocka_unit_test(samplers_and_their_argument_are_read),
		cmocka_unit_test(resource_attributes_are_decoded_or_discarded_as_a_whole),
		cmocka_unit_test(headers_timeouts_and_compression_are_read_per_signal),
		cmocka_unit_test(bad_numbers_warn_and_leave_the_default),
		cmocka_unit_test(what_has_no_effect_is_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
