/* SPDX-License-Identifier: MIT */
/* prometheus.c -- the exposition. Runs once a scrape, so plain: no cache, one pass.
 *
 * A family is written from a struct metric_def, ours or the registry's: the views of the
 * served-requests instrument are two more definitions that its points are written
 * through.
 */
#include "watch/prometheus.h"

#include "base/number.h"
#include "watch/metrics.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

struct writer {
	struct buf *out;
	enum prometheus_format format;
	enum prometheus_dialect dialect;
	const struct metric_def *served; /* the instrument with views */

	/* Values of `le` or `quantile` of the family being written */
	char bounds[METRIC_BOUNDS_MAX][NUMBER_SIZE];

	/* The default dialect: request durations, merged over status. */
	struct buf durations;
	struct slice merged_values[2];
	struct metric_point merged;
	uint64_t merged_buckets[METRIC_BOUNDS_MAX + 1];
};

static const struct metric_def requests_view = {
	.type = METRIC_counter,
	.name = SLICE("http_requests_total"),
	.help = SLICE("Served HTTP requests."),
	.labels = { SLICE("method"), SLICE("endpoint"), SLICE("status") },
	.label_count = 3,
};

static const struct metric_def durations_view = {
	.type = METRIC_histogram,
	.name = SLICE("http_request_duration_seconds"),
	.help = SLICE("Duration of served HTTP requests."),
	.labels = { SLICE("method"), SLICE("endpoint") },
	.label_count = 2,
};

static const struct metric_def micrometer_view = {
	.type = METRIC_histogram,
	.name = SLICE("http_server_requests_seconds"),
	.help = SLICE("Duration of served HTTP requests."),
	.labels = { SLICE("method"), SLICE("uri"), SLICE("status") },
	.label_count = 3,
};

/* --- pieces of text --------------------------------------------------------------- */

static void put_escaped(struct buf *out, struct slice text, bool quotes)
{
	for (size_t i = 0; i < text.size; i++) {
		char c = text.at[i];

		if (c == '\n') {
			buf_append(out, SLICE("\\n"));
			continue;
		}
		if (c == '\\' || (c == '"' && quotes))
			buf_append_byte(out, '\\');
		buf_append_byte(out, c);
	}
}

static void put_value(struct buf *out, double value)
{
	if (isnan(value))
		buf_append(out, SLICE("NaN"));
	else if (isinf(value))
		buf_append(out, value > 0 ? SLICE("+Inf") : SLICE("-Inf"));
	else
		out->size += number_double(value, buf_reserve(out, NUMBER_SIZE));
}

/* A bound as Go writes it, ".0" behind a whole number: what Prometheus compares `le` and
 * `quantile` with. */
static void format_bound(double bound, char text[NUMBER_SIZE])
{
	int digits = 1, exponent;

	do
		snprintf(text, NUMBER_SIZE, "%.*e", digits - 1, bound);
	while (strtod(text, NULL) != bound && ++digits <= 17);
	exponent = atoi(strchr(text, 'e') + 1);
	if (exponent < -4 || exponent >= 6)
		return;
	snprintf(text, NUMBER_SIZE, "%.*f",
		 digits - 1 > exponent ? digits - 1 - exponent : 1, bound);
}

/* In OpenMetrics a counter's family has no _total; its samples have. */
static struct slice family_name(const struct writer *writer, const struct metric_def *def)
{
	struct slice name = def->name;

	if (writer->format == PROMETHEUS_openmetrics && def->type == METRIC_counter)
		name.size -= sizeof("_total") - 1;
	return name;
}

static void put_unit(struct buf *out, struct slice name)
{
	static const struct slice units[] = { SLICE("_seconds"), SLICE("_bytes"),
					      SLICE("_ratio"), SLICE("_celsius") };

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (slice_ends_with(name, units[i]))
			buf_printf(out, "# UNIT %.*s %.*s\n", SLICE_PRINT(name),
				   (int)units[i].size - 1, units[i].at + 1);
}

static void put_head(struct writer *writer, struct buf *out, const struct metric_def *def)
{
	static const char *const types[] = { [METRIC_counter] = "counter",
					     [METRIC_gauge] = "gauge",
					     [METRIC_histogram] = "histogram",
					     [METRIC_summary] = "summary" };
	struct slice name = family_name(writer, def);
	bool openmetrics = writer->format == PROMETHEUS_openmetrics;

	if (openmetrics) {
		buf_printf(out, "# TYPE %.*s %s\n", SLICE_PRINT(name), types[def->type]);
		put_unit(out, name);
	}
	buf_printf(out, "# HELP %.*s ", SLICE_PRINT(name));
	put_escaped(out, def->help, openmetrics);
	buf_append_byte(out, '\n');
	if (!openmetrics)
		buf_printf(out, "# TYPE %.*s %s\n", SLICE_PRINT(name), types[def->type]);
}

/* The start of a line: name, suffix, labels, one space. bound: the value of `le` or
 * `quantile`, or NULL. */
static void put_series(struct buf *out, const struct metric_def *def,
		       const struct slice *values, struct slice suffix, const char *bound)
{
	char before = '{';

	buf_append(out, def->name);
	buf_append(out, suffix);
	for (size_t i = 0; i < def->label_count; i++) {
		buf_append_byte(out, before);
		buf_append(out, def->labels[i]);
		buf_append(out, SLICE("=\""));
		put_escaped(out, values[i], true);
		buf_append_byte(out, '"');
		before = ',';
	}
	if (bound) {
		buf_printf(out, "%c%s=\"%s\"", before,
			   def->type == METRIC_summary ? "quantile" : "le", bound);
		before = ',';
	}
	buf_append(out, before == ',' ? SLICE("} ") : SLICE(" "));
}

static void put_count(struct buf *out, uint64_t count)
{
	out->size += number_integer((int64_t)count, buf_reserve(out, NUMBER_SIZE));
	buf_append_byte(out, '\n');
}

static void put_histogram(struct writer *writer, struct buf *out,
			  const struct metric_def *def, const struct metric_def *bounds,
			  const struct metric_point *point)
{
	uint64_t below = 0;

	for (size_t i = 0; i <= bounds->bound_count; i++) {
		below += point->buckets[i];
		put_series(out, def, point->values, SLICE("_bucket"),
			   i < bounds->bound_count ? writer->bounds[i] : "+Inf");
		put_count(out, below);
	}
	/* A sum of negative observations is no counter: OpenMetrics forbids it. */
	if (writer->format == PROMETHEUS_text || bounds->bounds[0] >= 0) {
		put_series(out, def, point->values, SLICE("_sum"), NULL);
		put_value(out, point->sum);
		buf_append_byte(out, '\n');
	}
	put_series(out, def, point->values, SLICE("_count"), NULL);
	put_count(out, point->count);
}

static void put_summary(struct writer *writer, const struct metric_def *def,
			const struct metric_point *point)
{
	struct buf *out = writer->out;

	for (size_t i = 0; i < def->bound_count; i++) {
		put_series(out, def, point->values, SLICE(""), writer->bounds[i]);
		put_value(out, point->quantiles[i]);
		buf_append_byte(out, '\n');
	}
	put_series(out, def, point->values, SLICE("_sum"), NULL);
	put_value(out, point->sum);
	buf_append_byte(out, '\n');
	put_series(out, def, point->values, SLICE("_count"), NULL);
	put_count(out, point->count);
}

/* --- the served requests ---------------------------------------------------------- */

/* Writes what has been merged, if anything. */
static void flush_merged(struct writer *writer)
{
	if (writer->merged.values == NULL)
		return;
	writer->merged.buckets = writer->merged_buckets;
	put_histogram(writer, &writer->durations, &durations_view, writer->served,
		      &writer->merged);
	writer->merged = (struct metric_point){ 0 };
	memset(writer->merged_buckets, 0, sizeof(writer->merged_buckets));
}

/* Points come in label order and status is the last label, so what is merged is adjacent.
 */
static void merge_served(struct writer *writer, const struct metric_point *point)
{
	if (writer->merged.values &&
	    (!slice_equal(writer->merged_values[0], point->values[0]) ||
	     !slice_equal(writer->merged_values[1], point->values[1])))
		flush_merged(writer);
	writer->merged_values[0] = point->values[0];
	writer->merged_values[1] = point->values[1];
	writer->merged.values = writer->merged_values;
	writer->merged.count += point->count;
	writer->merged.sum += point->sum;
	for (size_t i = 0; i <= writer->served->bound_count; i++)
		writer->merged_buckets[i] += point->buckets[i];
}

static void put_served(struct writer *writer, const struct metric_point *point)
{
	if (writer->dialect == PROMETHEUS_micrometer) {
		put_histogram(writer, writer->out, &micrometer_view, writer->served,
			      point);
		return;
	}
	put_series(writer->out, &requests_view, point->values, SLICE(""), NULL);
	put_count(writer->out, point->count);
	merge_served(writer, point);
}

/* The second view follows the first, once the first is complete. */
static void finish_served(struct writer *writer)
{
	flush_merged(writer);
	buf_append(writer->out, buf_slice(&writer->durations));
	buf_reset(&writer->durations);
}

/* --- reading the registry --------------------------------------------------------- */

static void on_family(void *context, const struct metric_def *def, size_t point_count)
{
	struct writer *writer = context;

	finish_served(writer);
	if (point_count == 0)
		return;
	for (size_t i = 0; i < def->bound_count; i++)
		format_bound(def->bounds[i], writer->bounds[i]);
	if (def != writer->served) {
		put_head(writer, writer->out, def);
	} else if (writer->dialect == PROMETHEUS_micrometer) {
		put_head(writer, writer->out, &micrometer_view);
	} else {
		put_head(writer, writer->out, &requests_view);
		put_head(writer, &writer->durations, &durations_view);
	}
}

static void on_point(void *context, const struct metric_def *def,
		     const struct metric_point *point)
{
	struct writer *writer = context;

	if (def == writer->served) {
		put_served(writer, point);
	} else if (def->type == METRIC_histogram) {
		put_histogram(writer, writer->out, def, def, point);
	} else if (def->type == METRIC_summary) {
		put_summary(writer, def, point);
	} else {
		put_series(writer->out, def, point->values, SLICE(""), NULL);
		put_value(writer->out, point->value);
		buf_append_byte(writer->out, '\n');
	}
}

void prometheus_write(struct buf *out, struct metrics *metrics,
		      enum prometheus_format format, enum prometheus_dialect dialect)
{
	struct writer writer = {
		.out = out,
		.format = format,
		.dialect = dialect,
		.served = metric_definition(
			metrics_own(metrics, METRIC_http_server_request)),
	};
	struct metrics_reader reader = { on_family, on_point, &writer };

	metrics_read(metrics, &reader);
	finish_served(&writer);
	buf_finish(&writer.durations);
	if (format == PROMETHEUS_openmetrics)
		buf_append(out, SLICE("# EOF\n"));
}

/* --- negotiation ------------------------------------------------------------------ */

struct range { /* one media range of an Accept header */
	struct slice type;
	struct slice version;
	double quality;
};

static struct slice unquote(struct slice s)
{
	if (s.size >= 2 && s.at[0] == '"' && s.at[s.size - 1] == '"')
		return slice_of(s.at + 1, s.size - 2);
	return s;
}

static struct range read_range(struct slice text)
{
	struct range range = { .quality = 1 };
	struct slice part, key;
	char number[16];

	slice_cut(&text, ';', &part);
	range.type = slice_trim(part);
	while (slice_cut(&text, ';', &part)) {
		slice_cut(&part, '=', &key);
		key = slice_trim(key);
		part = unquote(slice_trim(part));
		if (slice_equal_nocase(key, SLICE("version")))
			range.version = part;
		if (slice_equal_nocase(key, SLICE("q"))) {
			snprintf(number, sizeof(number), "%.*s", SLICE_PRINT(part));
			range.quality = strtod(number, NULL);
		}
	}
	return range;
}

static bool range_format(const struct range *range, enum prometheus_format *format)
{
	static const struct slice plain[] = { SLICE("text/plain"), SLICE("text/*"),
					      SLICE("*/*") };
	bool any_version = range->version.size == 0;

	if (slice_equal_nocase(range->type, SLICE("application/openmetrics-text"))) {
		*format = PROMETHEUS_openmetrics;
		return any_version || slice_equal(range->version, SLICE("1.0.0"));
	}
	*format = PROMETHEUS_text;
	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
		if (slice_equal_nocase(range->type, plain[i]))
			return any_version || slice_equal(range->version, SLICE("0.0.4"));
	return false;
}

enum prometheus_format prometheus_negotiate(struct slice accept)
{
	enum prometheus_format best = PROMETHEUS_text, format;
	double best_quality = 0;
	struct slice part;

	while (slice_cut(&accept, ',', &part)) {
		struct range range = read_range(part);

		if (range_format(&range, &format) && range.quality > best_quality) {
			best = format;
			best_quality = range.quality;
		}
	}
	return best;
}

struct slice prometheus_content_type(enum prometheus_format format)
{
	return format == PROMETHEUS_openmetrics
		       ? SLICE("application/openmetrics-text; version=1.0.0; "
			       "charset=utf-8")
		       : SLICE("text/plain; version=0.0.4; charset=utf-8");
}
