/* SPDX-License-Identifier: MIT */
/* prometheus_test.c -- the exposition, byte for byte and through promtool. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/buf.h"
#include "watch/metrics.h"
#include "watch/prometheus.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* A registry with one family of each type, and served requests. */
static struct metrics *some_metrics(void)
{
	struct metrics *metrics = metrics_create();
	struct meter *meter = meter_create(metrics);
	struct metric_def counter = { .type = METRIC_counter,
				      .name = SLICE("a_total"),
				      .help = SLICE("A \"help\" with \\ and\na line."),
				      .labels = { SLICE("x"), SLICE("y") },
				      .label_count = 2 };
	struct metric_def gauge = { .type = METRIC_gauge,
				    .name = SLICE("b_bytes"),
				    .help = SLICE("B.") };
	struct metric_def histogram = { .type = METRIC_histogram,
					.name = SLICE("c_seconds"),
					.help = SLICE("C."),
					.labels = { SLICE("x") },
					.label_count = 1,
					.bounds = { 0.005, 1, 1e6 },
					.bound_count = 3 };
	struct metric_def unused = { .type = METRIC_gauge, .name = SLICE("d") };
	struct slice ab[] = { SLICE("a\"\\\n"), SLICE("b") }, z = SLICE("z");
	struct series *c;

	series_add(meter_series(meter, metrics_declare(metrics, &counter, NULL), ab, 2),
		   3);
	series_set(meter_series(meter, metrics_declare(metrics, &gauge, NULL), NULL, 0),
		   INFINITY);
	c = meter_series(meter, metrics_declare(metrics, &histogram, NULL), &z, 1);
	series_observe(c, 0.005);
	series_observe(c, 0.5);
	series_observe(c, 2e6);
	assert_non_null(metrics_declare(metrics, &unused, NULL));
	return metrics;
}

static void serve(struct metrics *metrics)
{
	struct meter *meter = meter_create(metrics);
	struct slice get = SLICE("GET"), post = SLICE("POST");

	series_observe(meter_own(meter, METRIC_http_server_request, 3, get, SLICE("/x"),
				 SLICE("200")),
		       0.5);
	series_observe(meter_own(meter, METRIC_http_server_request, 3, get, SLICE("/x"),
				 SLICE("404")),
		       8);
	series_observe(meter_own(meter, METRIC_http_server_request, 3, post, SLICE("/x"),
				 SLICE("200")),
		       16);
}

static void assert_written(struct metrics *metrics, enum prometheus_format format,
			   enum prometheus_dialect dialect, const char *expected)
{
	struct buf out = { 0 };

	prometheus_write(&out, metrics, format, dialect);
	assert_string_equal(buf_text(&out), expected);
	buf_finish(&out);
	metrics_destroy(metrics);
}

static void text_is_written_as_expected(void **state)
{
	assert_written(some_metrics(), PROMETHEUS_text, PROMETHEUS_default,
		       "# HELP a_total A \"help\" with \\\\ and\\na line.\n"
		       "# TYPE a_total counter\n"
		       "a_total{x=\"a\\\"\\\\\\n\",y=\"b\"} 3\n"
		       "# HELP b_bytes B.\n"
		       "# TYPE b_bytes gauge\n"
		       "b_bytes +Inf\n"
		       "# HELP c_seconds C.\n"
		       "# TYPE c_seconds histogram\n"
		       "c_seconds_bucket{x=\"z\",le=\"0.005\"} 1\n"
		       "c_seconds_bucket{x=\"z\",le=\"1.0\"} 2\n"
		       "c_seconds_bucket{x=\"z\",le=\"1e+06\"} 2\n"
		       "c_seconds_bucket{x=\"z\",le=\"+Inf\"} 3\n"
		       "c_seconds_sum{x=\"z\"} 2000000.505\n"
		       "c_seconds_count{x=\"z\"} 3\n");
}

static void openmetrics_is_written_as_expected(void **state)
{
	assert_written(some_metrics(), PROMETHEUS_openmetrics, PROMETHEUS_default,
		       "# TYPE a counter\n"
		       "# HELP a A \\\"help\\\" with \\\\ and\\na line.\n"
		       "a_total{x=\"a\\\"\\\\\\n\",y=\"b\"} 3\n"
		       "# TYPE b_bytes gauge\n"
		       "# UNIT b_bytes bytes\n"
		       "# HELP b_bytes B.\n"
		       "b_bytes +Inf\n"
		       "# TYPE c_seconds histogram\n"
		       "# UNIT c_seconds seconds\n"
		       "# HELP c_seconds C.\n"
		       "c_seconds_bucket{x=\"z\",le=\"0.005\"} 1\n"
		       "c_seconds_bucket{x=\"z\",le=\"1.0\"} 2\n"
		       "c_seconds_bucket{x=\"z\",le=\"1e+06\"} 2\n"
		       "c_seconds_bucket{x=\"z\",le=\"+Inf\"} 3\n"
		       "c_seconds_sum{x=\"z\"} 2000000.505\n"
		       "c_seconds_count{x=\"z\"} 3\n"
		       "# EOF\n");
}

/* A summary that saw 0.5 and 4, and one that saw nothing. */
static struct metrics *summaries(void)
{
	struct metrics *metrics = metrics_create();
	struct meter *meter = meter_create(metrics);
	struct metric_def def = { .type = METRIC_summary,
				  .name = SLICE("wait_seconds"),
				  .help = SLICE("Waits."),
				  .labels = { SLICE("x") },
				  .label_count = 1,
				  .bounds = { 0, 0.5, 0.99, 1 },
				  .bound_count = 4 };
	struct metric *metric = metrics_declare(metrics, &def, NULL);
	struct slice a = SLICE("a"), b = SLICE("b");

	series_observe(meter_series(meter, metric, &a, 1), 0.5);
	series_observe(meter_series(meter, metric, &a, 1), 4);
	meter_series(meter, metric, &b, 1);
	return metrics;
}

/* The middles of the buckets [0.5, 0.515625) and [4, 4.125). */
#define SUMMARY_SAMPLES                                                                  \
	"wait_seconds{x=\"a\",quantile=\"0.0\"} 0.5078125\n"                             \
	"wait_seconds{x=\"a\",quantile=\"0.5\"} 0.5078125\n"                             \
	"wait_seconds{x=\"a\",quantile=\"0.99\"} 4.0625\n"                               \
	"wait_seconds{x=\"a\",quantile=\"1.0\"} 4.0625\n"                                \
	"wait_seconds_sum{x=\"a\"} 4.5\n"                                                \
	"wait_seconds_count{x=\"a\"} 2\n"                                                \
	"wait_seconds{x=\"b\",quantile=\"0.0\"} NaN\n"                                   \
	"wait_seconds{x=\"b\",quantile=\"0.5\"} NaN\n"                                   \
	"wait_seconds{x=\"b\",quantile=\"0.99\"} NaN\n"                                  \
	"wait_seconds{x=\"b\",quantile=\"1.0\"} NaN\n"                                   \
	"wait_seconds_sum{x=\"b\"} 0\n"                                                  \
	"wait_seconds_count{x=\"b\"} 0\n"

static void a_summary_has_quantiles_a_sum_and_a_count(void **state)
{
	assert_written(summaries(), PROMETHEUS_text, PROMETHEUS_default,
		       "# HELP wait_seconds Waits.\n"
		       "# TYPE wait_seconds summary\n" SUMMARY_SAMPLES);
	assert_written(summaries(), PROMETHEUS_openmetrics, PROMETHEUS_default,
		       "# TYPE wait_seconds summary\n"
		       "# UNIT wait_seconds seconds\n"
		       "# HELP wait_seconds Waits.\n" SUMMARY_SAMPLES "# EOF\n");
}

/* Bounds of the HTTP histogram, with the counts of below and of at or above 10 seconds.
 */
#define BUCKETS(name, labels, b05, b075, b75, b10, inf)                                  \
	name "_bucket{" labels ",le=\"0.005\"} 0\n" name "_bucket{" labels               \
	     ",le=\"0.01\"} 0\n" name "_bucket{" labels ",le=\"0.025\"} 0\n" name        \
	     "_bucket{" labels ",le=\"0.05\"} 0\n" name "_bucket{" labels                \
	     ",le=\"0.075\"} 0\n" name "_bucket{" labels ",le=\"0.1\"} 0\n" name         \
	     "_bucket{" labels ",le=\"0.25\"} 0\n" name "_bucket{" labels                \
	     ",le=\"0.5\"} " b05 "\n" name "_bucket{" labels ",le=\"0.75\"} " b075       \
	     "\n" name "_bucket{" labels ",le=\"1.0\"} " b075 "\n" name                  \
	     "_bucket{" labels ",le=\"2.5\"} " b075 "\n" name "_bucket{" labels          \
	     ",le=\"5.0\"} " b075 "\n" name "_bucket{" labels ",le=\"7.5\"} " b75        \
	     "\n" name "_bucket{" labels ",le=\"10.0\"} " b10 "\n" name                  \
	     "_bucket{" labels ",le=\"+Inf\"} " inf "\n"

static void served_requests_have_two_views(void **state)
{
	struct metrics *metrics = metrics_create();

	serve(metrics);
	assert_written(
		metrics, PROMETHEUS_text, PROMETHEUS_default,
		"# HELP http_requests_total Served HTTP requests.\n"
		"# TYPE http_requests_total counter\n"
		"http_requests_total{method=\"GET\",endpoint=\"/x\",status=\"200\"} 1\n"
		"http_requests_total{method=\"GET\",endpoint=\"/x\",status=\"404\"} 1\n"
		"http_requests_total{method=\"POST\",endpoint=\"/x\",status=\"200\"} 1\n"
		"# HELP http_request_duration_seconds Duration of served HTTP requests.\n"
		"# TYPE http_request_duration_seconds histogram\n" BUCKETS(
			"http_request_duration_seconds", "method=\"GET\",endpoint=\"/x\"",
			"1", "1", "1", "2",
			"2") "http_request_duration_seconds_sum{method=\"GET\",endpoint="
			     "\"/x\"} 8.5\n"
			     "http_request_duration_seconds_count{method=\"GET\","
			     "endpoint=\"/x\"} 2\n" BUCKETS(
				     "http_request_duration_seconds",
				     "method=\"POST\",endpoint=\"/x\"", "0", "0", "0",
				     "0", "1") "http_request_duration_seconds_sum{method="
					       "\"POST\",endpoint=\"/x\"} 16\n"
					       "http_request_duration_seconds_count{"
					       "method=\"POST\",endpoint=\"/x\"} 1\n");
}

static void micrometer_has_its_own_words(void **state)
{
	struct metrics *metrics = metrics_create();
	struct meter *meter = meter_create(metrics);

	series_observe(meter_own(meter, METRIC_http_server_request, 3, SLICE("GET"),
				 SLICE("/x"), SLICE("200")),
		       8);
	assert_written(
		metrics, PROMETHEUS_text, PROMETHEUS_micrometer,
		"# HELP http_server_requests_seconds Duration of served HTTP requests.\n"
		"# TYPE http_server_requests_seconds histogram\n" BUCKETS(
			"http_server_requests_seconds",
			"method=\"GET\",uri=\"/x\",status=\"200\"", "0", "0", "0", "1",
			"1") "http_server_requests_seconds_sum{method=\"GET\",uri=\"/"
			     "x\",status=\"200\"} 8\n"
			     "http_server_requests_seconds_count{method=\"GET\",uri=\"/"
			     "x\",status=\"200\"} 1\n");
}

/* One sample of each of the host's families and a few of a service. */
static void record_all(struct metrics *metrics)
{
	struct meter *meter = meter_create(metrics);
	struct slice values[METRIC_LABELS_MAX];

	for (int i = 0; i < METRIC_LABELS_MAX; i++)
		values[i] = SLICE("v");
	for (int id = 0; id < METRIC_ids; id++) {
		struct metric *metric = metrics_own(metrics, (enum metric_id)id);
		const struct metric_def *def = metric_definition(metric);
		struct series *series =
			meter_series(meter, metric, values, def->label_count);

		if (def->type == METRIC_histogram)
			series_observe(series, 0.1);
		else
			series_add(series, 1);
	}
}

static void promtool_has_no_complaint(void **state)
{
	for (int dialect = 0; dialect < 2; dialect++) {
		struct metrics *metrics = dialect ? summaries() : some_metrics();
		struct buf out = { 0 };
		FILE *promtool;

		if (system("command -v promtool >/dev/null 2>&1") != 0) {
			print_message(
				"skipped: promtool (Debian: prometheus) is missing\n");
			metrics_destroy(metrics);
			skip();
		}
		serve(metrics);
		record_all(metrics);
		prometheus_write(&out, metrics, PROMETHEUS_text,
				 dialect ? PROMETHEUS_micrometer : PROMETHEUS_default);
		/* `d` is declared without help on purpose, and has no samples: it is not
		 * there. */
		promtool = popen("promtool check metrics 2>&1", "w");
		assert_non_null(promtool);
		assert_int_equal(fwrite(out.at, 1, out.size, promtool), out.size);
		assert_int_equal(pclose(promtool), 0);
		buf_finish(&out);
		metrics_destroy(metrics);
	}
}

static void the_best_format_asked_for_is_chosen(void **state)
{
	static const struct {
		const char *accept;
		enum prometheus_format format;
	} cases[] = {
		{ "", PROMETHEUS_text },
		{ "*/*", PROMETHEUS_text },
		{ "text/html", PROMETHEUS_text },
		{ "application/openmetrics-text", PROMETHEUS_openmetrics },
		{ "application/openmetrics-text; version=\"1.0.0\"",
		  PROMETHEUS_openmetrics },
		{ "application/openmetrics-text;version=0.0.1", PROMETHEUS_text },
		{ "application/openmetrics-text;q=0", PROMETHEUS_text },
		{ "text/plain;q=0.9, application/openmetrics-text;q=0.5",
		  PROMETHEUS_text },
		{ "text/plain;q=0.5,Application/OpenMetrics-Text;q=0.9",
		  PROMETHEUS_openmetrics },
		{ "application/openmetrics-text; version=1.0.0; charset=utf-8,*/*;q=0.1",
		  PROMETHEUS_openmetrics },
		/* Prometheus 3 */
		{ "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
		  "application/openmetrics-text;version=0.0.1;q=0.5,"
		  "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
		  "text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
		  PROMETHEUS_openmetrics },
		/* Prometheus 2.42 */
		{ "application/openmetrics-text;version=1.0.0,"
		  "application/openmetrics-text;version=0.0.1;q=0.75,"
		  "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
		  PROMETHEUS_openmetrics },
		{ ";q=;,,;=", PROMETHEUS_text },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (prometheus_negotiate(slice_text(cases[i].accept)) != cases[i].format)
			fail_msg("for '%s'", cases[i].accept);
	assert_true(slice_equal(prometheus_content_type(PROMETHEUS_text),
				SLICE("text/plain; version=0.0.4; charset=utf-8")));
	assert_true(slice_equal(
		prometheus_content_type(PROMETHEUS_openmetrics),
		SLICE("application/openmetrics-text; version=1.0.0; charset=utf-8")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(text_is_written_as_expected),
		cmocka_unit_test(openmetrics_is_written_as_expected),
		cmocka_unit_test(a_summary_has_quantiles_a_sum_and_a_count),
		cmocka_unit_test(served_requests_have_two_views),
		cmocka_unit_test(micrometer_has_its_own_words),
		cmocka_unit_test(promtool_has_no_complaint),
		cmocka_unit_test(the_best_format_asked_for_is_chosen),
	};

	return cmocka_run_group_tests_name("prometheus", tests, NULL, NULL);
}
