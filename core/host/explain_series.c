/* SPDX-License-Identifier: MIT */
#include "host/explain.h"

#include "watch/metrics.h"

/* What http_server_request is called in Prometheus, by dialect (prometheus.h). */
static const struct view {
	const char *name;
	enum metric_type type;
	const char *labels;
	const char *dialect;
} views[] = {
	{ "http_requests_total", METRIC_counter, "method, endpoint, status", "default" },
	{ "http_request_duration_seconds", METRIC_histogram, "method, endpoint",
	  "default" },
	{ "http_server_requests_seconds", METRIC_histogram, "method, uri, status",
	  "micrometer" },
};

#define VIEWS (sizeof(views) / sizeof(*views))

static const char *type_name(enum metric_type type)
{
	return type == METRIC_counter	? "counter"
	       : type == METRIC_gauge	? "gauge"
	       : type == METRIC_summary ? "summary"
					: "histogram";
}

static void list_series(const struct explain *explain, explain_name_fn *tell,
			void *context)
{
	struct metrics *metrics = metrics_create();

	for (int id = 0; id < METRIC_ids; id++) {
		const struct metric_def *def =
			metric_definition(metrics_own(metrics, (enum metric_id)id));
		char name[256];

		snprintf(name, sizeof(name), "%.*s", SLICE_PRINT(def->name));
		if (id != METRIC_http_server_request)
			tell(context, name, def->help);
		for (size_t i = 0; id == METRIC_http_server_request && i < VIEWS; i++)
			tell(context, views[i].name, def->help);
	}
	metrics_destroy(metrics);
}

/* Without what Prometheus puts behind a family's name. */
static struct slice family(struct slice name)
{
	static const char *const endings[] = { "_bucket", "_count", "_created", "_sum",
					       "_total" };

	for (size_t i = 0; i < sizeof(endings) / sizeof(*endings); i++)
		if (slice_ends_with(name, slice_text(endings[i])))
			return slice_of(name.at, name.size - strlen(endings[i]));
	return name;
}

static bool same_family(struct slice a, struct slice b)
{
	return slice_equal(a, b) || slice_equal(family(a), family(b)) ||
	       slice_equal(family(a), b);
}

static void print_list(FILE *out, const char *title, const struct slice *items,
		       size_t count)
{
	for (size_t i = 0; i < count; i++)
		fprintf(out, "%s%.*s", i ? ", " : title, SLICE_PRINT(items[i]));
	if (count)
		putc('\n', out);
}

static void print_otlp(FILE *out, const struct metric_def *def)
{
	if (slice_equal(def->otlp_name, SLICE("-"))) {
		fprintf(out, "    not exported by OTLP\n");
		return;
	}
	fprintf(out, "    OTLP: %.*s", SLICE_PRINT(def->otlp_name));
	if (def->otlp_unit.size)
		fprintf(out, ", in %.*s", SLICE_PRINT(def->otlp_unit));
	putc('\n', out);
	print_list(out, "    attributes: ", def->otlp_labels, def->label_count);
}

static void print_series(FILE *out, const struct metric_def *def)
{
	fprintf(out, "%.*s  (series: %s)\n    %.*s\n", SLICE_PRINT(def->name),
		type_name(def->type), SLICE_PRINT(def->help));
	print_list(out, "    labels: ", def->labels, def->label_count);
	print_otlp(out, def);
}

static void print_view(FILE *out, const struct view *view, const struct metric_def *def)
{
	fprintf(out,
		"%s  (series: %s)\n    %.*s\n    labels: %s\n    in the dialect %s (see "
		"the setting dialect)\n",
		view->name, type_name(view->type), SLICE_PRINT(def->help), view->labels,
		view->dialect);
	print_otlp(out, def);
}

/* name: in Prometheus, with or without its ending, or in OTLP. */
static bool tell_own(FILE *out, struct slice name, const struct metric_def *def, int id)
{
	bool otlp = slice_equal(name, def->otlp_name) && name.size > 1;
	bool known = false;

	if (id != METRIC_http_server_request) {
		known = otlp || same_family(name, def->name);
		if (known)
			print_series(out, def);
		return known;
	}
	for (size_t i = 0; i < VIEWS; i++) {
		if (!otlp && !same_family(name, slice_text(views[i].name)))
			continue;
		print_view(out, &views[i], def);
		known = true;
	}
	return known;
}

static bool tell_series(const struct explain *explain, struct slice name)
{
	struct metrics *metrics = metrics_create();
	bool known = false;

	for (int id = 0; id < METRIC_ids && !known; id++)
		known = tell_own(
			explain->out, name,
			metric_definition(metrics_own(metrics, (enum metric_id)id)), id);
	metrics_destroy(metrics);
	return known;
}

const struct explain_sort explain_series = { "series", list_series, tell_series };
