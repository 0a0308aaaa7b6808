/* SPDX-License-Identifier: MIT */
/* otel.c -- which variables there are and what each decides. */
#include "host/otel.h"

#include "host/otel_read.h"
#include "http/client_request.h"
#include "http/http_url.h"

#include <stdio.h>
#include <stdlib.h>

#define DEFAULT_ENDPOINT "http://localhost:4318"
#define COUNT_MAX 1000000

static const struct {
	const char *word; /* in variable names */
	const char *path; /* below the general endpoint */
} signals[OTEL_signals] = {
	[OTEL_traces] = { "TRACES", "v1/traces" },
	[OTEL_metrics] = { "METRICS", "v1/metrics" },
	[OTEL_logs] = { "LOGS", "v1/logs" },
};

static bool same(struct slice value, const char *word)
{
	return slice_equal_nocase(value, slice_text(word));
}

/* --- exporters -------------------------------------------------------------------- */

/* Whether OTEL_<SIGNAL>_EXPORTER says otlp (yes), something else (no), or nothing. */
static enum {
	SAYS_nothing,
	SAYS_yes,
	SAYS_no
} exporter_says(struct otel_reader *reader, enum otel_signal signal)
{
	static const char *const known[] = { "otlp", "none", "prometheus", NULL };
	char name[40];
	struct slice value, rest, word;

	snprintf(name, sizeof(name), "OTEL_%s_EXPORTER", signals[signal].word);
	value = otel_value(reader, name);
	if (value.size == 0)
		return SAYS_nothing;
	for (rest = value; slice_cut(&rest, ',', &word);) {
		bool is_known = false;

		word = slice_trim(word);
		for (int i = 0; known[i]; i++)
			is_known = is_known || same(word, known[i]);
		if (word.size > 0 && !is_known)
			otel_warn(reader, "%s: there is no exporter %.*s", name,
				  SLICE_PRINT(word));
	}
	return otel_list_has(value, SLICE("otlp")) ? SAYS_yes : SAYS_no;
}

static bool check_protocol(struct otel_reader *reader, enum otel_signal signal,
			   struct fault *why)
{
	char name[60];
	struct slice value = otel_signal_value(reader, signal, "PROTOCOL", name);

	if (value.size == 0 || same(value, "http/protobuf"))
		return true;
	if (same(value, "grpc") || same(value, "http/json"))
		return fault_set(
			why, FAULT_bad_input,
			"%s=%.*s is not supported: use http/protobuf (an OTLP/HTTP "
			"receiver, usually on port 4318)",
			name, SLICE_PRINT(value));
	otel_warn(reader, "%s: there is no protocol %.*s: http/protobuf holds", name,
		  SLICE_PRINT(value));
	return true;
}

static bool check_url(struct slice url, const char *name, struct fault *why)
{
	struct http_url parsed;
	struct fault wrong;

	if (url.size >= 8 && slice_equal_nocase(slice_of(url.at, 8), SLICE("https://")))
		return fault_set(
			why, FAULT_bad_input,
			"%s: https is not supported: send to a collector on this "
			"machine over http",
			name);
	if (!http_url_parse(url, &parsed, &wrong))
		return fault_set(why, FAULT_bad_input, "%s: %s", name, wrong.detail);
	return true;
}

/* The signal's own endpoint as it stands, or the general one with the signal's path. */
static bool read_url(struct otel_reader *reader, enum otel_signal signal,
		     struct slice *url, struct fault *why)
{
	struct arena *arena = &reader->config->arena;
	char name[60], own[60], text[2048];
	struct slice value = otel_signal_value(reader, signal, "ENDPOINT", name);
	bool general;

	snprintf(own, sizeof(own), "OTEL_EXPORTER_OTLP_%s_ENDPOINT",
		 signals[signal].word);
	general = strcmp(name, own) != 0;
	if (value.size == 0)
		value = SLICE(DEFAULT_ENDPOINT);
	if (value.size > sizeof(text) - 20)
		return fault_set(why, FAULT_bad_input, "%s is too long", name);
	if (!check_url(value, name, why))
		return false;
	snprintf(text, sizeof(text), "%.*s%s%s", SLICE_PRINT(value),
		 general && value.at[value.size - 1] != '/' ? "/" : "",
		 general ? signals[signal].path : "");
	*url = arena_copy(arena, slice_text(text));
	return true;
}

static void read_headers(struct otel_reader *reader, enum otel_signal signal,
			 struct otel_exporter *exporter)
{
	char name[60];
	struct slice rest = otel_signal_value(reader, signal, "HEADERS", name);
	struct http_header header;
	bool bad;

	while (otel_next_pair(reader, &rest, &header.name, &header.value, &bad)) {
		bad = !client_request_header_good(&header);
		if (bad)
			break;
		if (exporter->header_count == OTEL_HEADERS_MAX) {
			otel_warn(reader,
				  "%s has more than %d members: the rest is ignored",
				  name, OTEL_HEADERS_MAX);
			return;
		}
		exporter->headers[exporter->header_count++] = header;
	}
	if (bad) {
		otel_warn(reader, "%s is malformed: all of it is ignored", name);
		exporter->header_count = 0;
	}
}

static void read_compression(struct otel_reader *reader, enum otel_signal signal,
			     struct otel_exporter *exporter)
{
	char name[60];
	struct slice value = otel_signal_value(reader, signal, "COMPRESSION", name);

	exporter->gzip = same(value, "gzip");
	if (value.size > 0 && !exporter->gzip && !same(value, "none"))
		otel_warn(reader, "%s: there is no compression %.*s: none holds", name,
			  SLICE_PRINT(value));
}

static bool read_exporter(struct otel_reader *reader, enum otel_signal signal,
			  struct fault *why)
{
	struct otel_exporter *exporter = &reader->config->exporters[signal];
	int says = exporter_says(reader, signal);
	char name[60];

	if (says == SAYS_no)
		return true;
	if (!check_protocol(reader, signal, why))
		return false;
	if (says == SAYS_nothing &&
	    otel_signal_value(reader, signal, "ENDPOINT", name).size == 0)
		return true;
	if (!read_url(reader, signal, &exporter->url, why))
		return false;
	read_headers(reader, signal, exporter);
	read_compression(reader, signal, exporter);
	exporter->timeout_ms = otel_read_ms(
		reader, name, otel_signal_value(reader, signal, "TIMEOUT", name), 10000);
	exporter->on = true;
	return true;
}

/* --- the rest --------------------------------------------------------------------- */

static void read_sampler(struct otel_reader *reader)
{
	static const struct {
		const char *name;
		enum sampler sampler;
	} samplers[] = {
		{ "always_off", SAMPLER_always_off },
		{ "always_on", SAMPLER_always_on },
		{ "parentbased_always_off", SAMPLER_parentbased_always_off },
		{ "parentbased_always_on", SAMPLER_parentbased_always_on },
		{ "parentbased_traceidratio", SAMPLER_parentbased_traceidratio },
		{ "traceidratio", SAMPLER_traceidratio },
	};
	struct otel_config *config = reader->config;
	struct slice name = otel_value(reader, "OTEL_TRACES_SAMPLER");
	const char *arg = reader->getenv(reader->context, "OTEL_TRACES_SAMPLER_ARG");
	size_t i, count = sizeof(samplers) / sizeof(samplers[0]);
	char *end;

	config->sampler = SAMPLER_parentbased_always_on;
	config->sampler_ratio = 1;
	if (name.size == 0)
		return;
	for (i = 0; i < count && !same(name, samplers[i].name);)
		i++;
	if (i == count) {
		otel_warn(reader,
			  "OTEL_TRACES_SAMPLER: there is no sampler %.*s: "
			  "parentbased_always_on holds",
			  SLICE_PRINT(name));
		return;
	}
	config->sampler = samplers[i].sampler;
	if ((config->sampler != SAMPLER_traceidratio &&
	     config->sampler != SAMPLER_parentbased_traceidratio) ||
	    arg == NULL || *arg == '\0')
		return;
	config->sampler_ratio = strtod(arg, &end);
	if (*end != '\0' || !(config->sampler_ratio >= 0 && config->sampler_ratio <= 1)) {
		otel_warn(reader,
			  "OTEL_TRACES_SAMPLER_ARG is not a number from 0 to 1: 1 holds");
		config->sampler_ratio = 1;
	}
}

static void read_resource(struct otel_reader *reader)
{
	struct otel_config *config = reader->config;
	struct slice rest = otel_value(reader, "OTEL_RESOURCE_ATTRIBUTES"), key, value;
	struct slice service = { NULL, 0 };
	bool bad;

	while (otel_next_pair(reader, &rest, &key, &value, &bad)) {
		size_t i = 0;

		if (slice_equal(key, SLICE("service.name"))) {
			service = value;
			continue;
		}
		while (i < config->resource_count &&
		       !slice_equal(config->resource[i].key, key))
			i++;
		if (i == OTEL_RESOURCE_MAX) {
			bad = true;
			break;
		}
		config->resource[i] = attr_text(key, value);
		config->resource_count += i == config->resource_count;
	}
	if (bad) {
		otel_warn(reader,
			  "OTEL_RESOURCE_ATTRIBUTES is malformed: all of it is ignored");
		config->resource_count = 0;
	} else if (service.size > 0) {
		config->service_name = service;
	}
	value = otel_value(reader, "OTEL_SERVICE_NAME");
	if (value.size > 0)
		config->service_name = arena_copy(&config->arena, value);
}

static void read_batch(struct otel_reader *reader, const char *stem, int delay_ms,
		       struct otel_batch *batch)
{
	char name[60];

	snprintf(name, sizeof(name), "OTEL_%s_SCHEDULE_DELAY", stem);
	batch->delay_ms = otel_read_ms(reader, name, otel_value(reader, name), delay_ms);
	snprintf(name, sizeof(name), "OTEL_%s_EXPORT_TIMEOUT", stem);
	batch->timeout_ms = otel_read_ms(reader, name, otel_value(reader, name), 30000);
	snprintf(name, sizeof(name), "OTEL_%s_MAX_QUEUE_SIZE", stem);
	batch->queue_max = otel_read_count(reader, name, 1, COUNT_MAX, 2048);
	snprintf(name, sizeof(name), "OTEL_%s_MAX_EXPORT_BATCH_SIZE", stem);
	batch->batch_max = otel_read_count(reader, name, 1, COUNT_MAX, 512);
	if (batch->batch_max <= batch->queue_max)
		return;
	if (otel_value(reader, name).size > 0)
		otel_warn(reader, "%s is more than the queue holds: %zu holds", name,
			  batch->queue_max);
	batch->batch_max = batch->queue_max;
}

/* What is set and has no effect, said once. Each is fine at its neutral value. */
static void warn_unsupported(struct otel_reader *reader)
{
	static const struct {
		const char *name;
		const char *neutral; /* words that ask for nothing we lack; NULL: none */
	} list[] = {
		{ "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", NULL },
		{ "OTEL_CONFIG_FILE", NULL },
		{ "OTEL_EXPORTER_OTLP_CERTIFICATE", NULL },
		{ "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", NULL },
		{ "OTEL_EXPORTER_OTLP_CLIENT_KEY", NULL },
		{ "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
		  "explicit_bucket_histogram" },
		{ "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "cumulative" },
		{ "OTEL_PROPAGATORS", "tracecontext" },
		{ "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", NULL },
	};

	for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
		struct slice value = otel_value(reader, list[i].name);

		if (value.size == 0 ||
		    (list[i].neutral &&
		     otel_list_has(value, slice_text(list[i].neutral))))
			continue;
		otel_warn(reader, "%s=%.*s is not supported and has no effect",
			  list[i].name, SLICE_PRINT(value));
	}
}

bool otel_config_read(struct otel_config *config, struct slice service_name,
		      otel_getenv_fn *get, void *context, struct fault *why)
{
	struct otel_reader reader = { config, get, context };
	size_t attrs;

	*config = (struct otel_config){ 0 };
	config->service_name = arena_copy(&config->arena, service_name);
	config->disabled = otel_read_bool(&reader, "OTEL_SDK_DISABLED");
	read_resource(&reader);
	read_sampler(&reader);
	read_batch(&reader, "BSP", 5000, &config->spans);
	read_batch(&reader, "BLRP", 1000, &config->logs);
	config->metric_interval_ms =
		otel_read_ms(&reader, "OTEL_METRIC_EXPORT_INTERVAL",
			     otel_value(&reader, "OTEL_METRIC_EXPORT_INTERVAL"), 60000);
	if (config->metric_interval_ms == 0)
		config->metric_interval_ms = 60000;
	config->metric_timeout_ms =
		otel_read_ms(&reader, "OTEL_METRIC_EXPORT_TIMEOUT",
			     otel_value(&reader, "OTEL_METRIC_EXPORT_TIMEOUT"), 30000);
	attrs = otel_read_count(&reader, "OTEL_ATTRIBUTE_COUNT_LIMIT", 0, COUNT_MAX, 128);
	attrs = otel_read_count(&reader, "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", 0, COUNT_MAX,
				attrs);
	config->span_attrs_max = (unsigned)attrs;
	warn_unsupported(&reader);
	if (config->disabled)
		return true;
	for (int signal = 0; signal < OTEL_signals; signal++)
		if (!read_exporter(&reader, (enum otel_signal)signal, why))
			return false;
	return true;
}

void otel_config_finish(struct otel_config *config)
{
	arena_finish(&config->arena);
	*config = (struct otel_config){ 0 };
}

struct tracer_config otel_tracer_config(const struct otel_config *config,
					size_t ring_bytes)
{
	return (struct tracer_config){
		.sampler = config->sampler,
		.ratio = config->sampler_ratio,
		.recording = config->exporters[OTEL_traces].on,
		.ring_bytes = ring_bytes,
		.attrs_max = config->span_attrs_max,
	};
}
