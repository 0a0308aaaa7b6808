/* SPDX-License-Identifier: MIT */
/* otlp_metrics.c -- the registry as OTLP Metric messages, cumulative since the process
 * began.
 *
 * Counters are monotonic sums, gauges gauges, histograms have explicit bounds, summaries
 * are the Summary of OTLP, which is marked as legacy there, and valid. The words
 * of the semantic conventions come with the definitions (otlp_name, otlp_labels); an
 * empty label value means that the attribute is absent.
 */
#include "watch/otlp.h"

#include "base/check.h"
#include "watch/metrics.h"
#include "watch/wire.h"

#include <math.h>

enum { SCOPE_METRICS_metrics = 2 };
enum {
	METRIC_name = 1,
	METRIC_description = 2,
	METRIC_unit = 3,
	METRIC_gauge_data = 5,
	METRIC_sum_data = 7,
	METRIC_histogram_data = 9,
	METRIC_summary_data = 11
};
enum { DATA_points = 1, DATA_temporality = 2, SUM_is_monotonic = 3 };
enum { NUMBER_start = 2, NUMBER_time = 3, NUMBER_as_double = 4, NUMBER_attributes = 7 };
enum {
	HISTOGRAM_start = 2,
	HISTOGRAM_time = 3,
	HISTOGRAM_count = 4,
	HISTOGRAM_sum = 5,
	HISTOGRAM_buckets = 6,
	HISTOGRAM_bounds = 7,
	HISTOGRAM_attributes = 9
};
enum {
	SUMMARY_start = 2,
	SUMMARY_time = 3,
	SUMMARY_count = 4,
	SUMMARY_sum = 5,
	SUMMARY_quantiles = 6,
	SUMMARY_attributes = 7
};
enum { QUANTILE_quantile = 1, QUANTILE_value = 2 };
#define TEMPORALITY_CUMULATIVE 2

struct metrics_writer {
	struct buf *out;
	uint64_t began;
	uint64_t now;
	const struct metric_def *def; /* whose Metric is open; NULL: none is */
	size_t metric;
	size_t data;
	size_t families; /* written */
};

static void close_family(struct metrics_writer *writer)
{
	const struct metric_def *def = writer->def;

	if (def == NULL)
		return;
	if (def->type == METRIC_counter || def->type == METRIC_histogram)
		wire_put_number(writer->out, DATA_temporality, TEMPORALITY_CUMULATIVE);
	if (def->type == METRIC_counter)
		wire_put_number(writer->out, SUM_is_monotonic, true);
	wire_close(writer->out, writer->data);
	wire_close(writer->out, writer->metric);
	writer->def = NULL;
}

static void on_family(void *context, const struct metric_def *def, size_t point_count)
{
	static const unsigned data[] = { [METRIC_counter] = METRIC_sum_data,
					 [METRIC_gauge] = METRIC_gauge_data,
					 [METRIC_histogram] = METRIC_histogram_data,
					 [METRIC_summary] = METRIC_summary_data };
	struct metrics_writer *writer = context;
	struct buf *out = writer->out;

	close_family(writer);
	if (point_count == 0 || slice_equal(def->otlp_name, SLICE("-")))
		return;
	writer->metric = wire_open(out, SCOPE_METRICS_metrics);
	wire_put_bytes(out, METRIC_name, def->otlp_name);
	wire_put_bytes(out, METRIC_description, def->help);
	if (def->otlp_unit.size > 0)
		wire_put_bytes(out, METRIC_unit, def->otlp_unit);
	writer->data = wire_open(out, data[def->type]);
	writer->def = def;
	writer->families++;
}

/* These keys have whole numbers as values; label values are texts. */
static struct attr label_attr(struct slice key, struct slice value)
{
	unsigned long long number;

	if ((slice_equal(key, SLICE("http.response.status_code")) ||
	     slice_equal(key, SLICE("server.port"))) &&
	    slice_to_uint(value, &number) && number <= INT64_MAX)
		return attr_integer(key, (int64_t)number);
	return attr_text(key, value);
}

static bool is_overflow(const struct metric_def *def, const struct metric_point *point)
{
	for (size_t i = 0; i < def->label_count; i++)
		if (!slice_equal(point->values[i], SLICE("_overflow")))
			return false;
	return def->label_count > 0;
}

static void put_attr(struct buf *out, unsigned field, struct attr attr)
{
	wire_put_attr(out, field, &attr);
}

/* The conventions want error.type wherever a server failed; its status says so. */
static void put_error_type(struct buf *out, unsigned field, const struct metric_def *def,
			   const struct metric_point *point)
{
	struct slice status = { 0 };

	for (size_t i = 0; i < def->label_count; i++) {
		if (slice_equal(def->otlp_labels[i], SLICE("error.type")))
			return;
		if (slice_equal(def->otlp_labels[i], SLICE("http.response.status_code")))
			status = point->values[i];
	}
	if (status.size == 3 && status.at[0] == '5')
		put_attr(out, field, attr_text(SLICE("error.type"), status));
}

static void put_attributes(struct buf *out, unsigned field, const struct metric_def *def,
			   const struct metric_point *point)
{
	if (is_overflow(def, point)) {
		put_attr(out, field, attr_bool(SLICE("otel.metric.overflow"), true));
		return;
	}
	for (size_t i = 0; i < def->label_count; i++)
		if (point->values[i].size > 0)
			put_attr(out, field,
				 label_attr(def->otlp_labels[i], point->values[i]));
	put_error_type(out, field, def, point);
}

static void put_number_point(struct metrics_writer *writer, const struct metric_def *def,
			     const struct metric_point *point)
{
	struct buf *out = writer->out;
	size_t opened = wire_open(out, DATA_points);

	if (def->type == METRIC_counter)
		wire_put_fixed64(out, NUMBER_start, writer->began);
	wire_put_fixed64(out, NUMBER_time, writer->now);
	wire_put_fixed64(out, NUMBER_as_double, wire_double_bits(point->value));
	put_attributes(out, NUMBER_attributes, def, point);
	wire_close(out, opened);
}

/* Packed: the values stand one behind the other. */
static void put_packed(struct buf *out, unsigned field, const uint64_t *values,
		       size_t count)
{
	size_t opened = wire_open(out, field);
	char *at = buf_reserve(out, count * 8);

	for (size_t i = 0; i < count; i++)
		at = wire_little_endian(at, values[i], 8);
	out->size += count * 8;
	wire_close(out, opened);
}

static void put_histogram_point(struct metrics_writer *writer,
				const struct metric_def *def,
				const struct metric_point *point)
{
	uint64_t bounds[METRIC_BOUNDS_MAX];
	struct buf *out = writer->out;
	size_t opened = wire_open(out, DATA_points);

	for (size_t i = 0; i < def->bound_count; i++)
		bounds[i] = wire_double_bits(def->bounds[i]);
	wire_put_fixed64(out, HISTOGRAM_start, writer->began);
	wire_put_fixed64(out, HISTOGRAM_time, writer->now);
	wire_put_fixed64(out, HISTOGRAM_count, point->count);
	if (def->bounds[0] >= 0)
		wire_put_fixed64(out, HISTOGRAM_sum, wire_double_bits(point->sum));
	put_packed(out, HISTOGRAM_buckets, point->buckets, def->bound_count + 1);
	put_packed(out, HISTOGRAM_bounds, bounds, def->bound_count);
	put_attributes(out, HISTOGRAM_attributes, def, point);
	wire_close(out, opened);
}

/* Without quantiles when nothing was observed within the window: there is no value that
 * would stand for none. */
static void put_summary_point(struct metrics_writer *writer, const struct metric_def *def,
			      const struct metric_point *point)
{
	struct buf *out = writer->out;
	size_t opened = wire_open(out, DATA_points);

	wire_put_fixed64(out, SUMMARY_start, writer->began);
	wire_put_fixed64(out, SUMMARY_time, writer->now);
	wire_put_fixed64(out, SUMMARY_count, point->count);
	wire_put_fixed64(out, SUMMARY_sum, wire_double_bits(point->sum));
	for (size_t i = 0; i < def->bound_count && !isnan(point->quantiles[i]); i++) {
		size_t quantile = wire_open(out, SUMMARY_quantiles);

		wire_put_fixed64(out, QUANTILE_quantile,
				 wire_double_bits(def->bounds[i]));
		wire_put_fixed64(out, QUANTILE_value,
				 wire_double_bits(point->quantiles[i]));
		wire_close(out, quantile);
	}
	put_attributes(out, SUMMARY_attributes, def, point);
	wire_close(out, opened);
}

static void on_point(void *context, const struct metric_def *def,
		     const struct metric_point *point)
{
	struct metrics_writer *writer = context;

	if (writer->def == NULL)
		return;
	if (def->type == METRIC_histogram)
		put_histogram_point(writer, def, point);
	else if (def->type == METRIC_summary)
		put_summary_point(writer, def, point);
	else
		put_number_point(writer, def, point);
}

void otlp_add_metrics(struct otlp_batch *batch, struct metrics *metrics,
		      struct wall began, struct wall now)
{
	struct metrics_writer writer = {
		.out = &batch->items,
		.began = (uint64_t)began.ns,
		.now = (uint64_t)now.ns,
	};
	struct metrics_reader reader = { on_family, on_point, &writer };

	check(batch->signal == OTLP_metrics);
	metrics_read(metrics, &reader);
	close_family(&writer);
	if (writer.families > 0)
		batch->count++;
}
