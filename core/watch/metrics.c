/* SPDX-License-Identifier: MIT */
/* metrics.c -- the registry: which families there are. Which of them are shown is in
 * edition.c, recording in meter.c, reading in scrape.c.
 */
#include "watch/cells.h"

#include "base/check.h"
#include "base/utf8.h"

#include <math.h>
#include <stdlib.h>

static const double bounds_none[] = { 0 };
static const double bounds_http[] = { 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25,
				      0.5,   0.75, 1,	  2.5,	5,     7.5, 10 };
static const double quantiles[] = { 0.5, 0.9, 0.99 };
static const double bounds_db[] = { 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10 };
static const double bounds_loop[] = { 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025,
				      0.05,   0.1,   0.25,   0.5,   1 };

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* metrics.def as it stands there. */
static const struct own_def {
	enum metric_type type;
	const char *name;
	const char *help;
	const char *labels;
	const double *bounds;
	size_t bound_count;
	const char *otlp_name;
	const char *otlp_unit;
	const char *otlp_labels;
} own_defs[METRIC_ids] = {
#define SERIES(id, type, name, help, labels, bounds, otlp_name, otlp_unit, otlp_labels)  \
	[METRIC_##id] = { METRIC_##type,                                                 \
			  name,                                                          \
			  help,                                                          \
			  labels,                                                        \
			  bounds_##bounds,                                               \
			  COUNT(bounds_##bounds),                                        \
			  otlp_name,                                                     \
			  otlp_unit,                                                     \
			  otlp_labels },
#include "watch/metrics.def"
#undef SERIES
};

/* What http_server_request is written as in Prometheus: nobody else may use these names.
 */
static const struct metric_def views[] = {
	{ .type = METRIC_counter, .name = SLICE("http_requests_total") },
	{ .type = METRIC_histogram, .name = SLICE("http_request_duration_seconds") },
	{ .type = METRIC_histogram, .name = SLICE("http_server_requests_seconds") },
};

/* --- what a good definition is ---------------------------------------------------- */

static bool is_name(struct slice name, bool colon_allowed)
{
	if (name.size == 0 || name.size > 200)
		return false;
	for (size_t i = 0; i < name.size; i++) {
		char c = name.at[i];
		bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
			      c == '_' || (c == ':' && colon_allowed);

		if (!letter && (i == 0 || c < '0' || c > '9'))
			return false;
	}
	return true;
}

static struct slice base_name(const struct metric_def *def)
{
	struct slice name = def->name;

	if (def->type == METRIC_counter && slice_ends_with(name, SLICE("_total")))
		name.size -= sizeof("_total") - 1;
	return name;
}

static bool labels_valid(const struct metric_def *def, struct fault *why)
{
	if (def->label_count > METRIC_LABELS_MAX)
		return fault_set(why, FAULT_bad_input, "%.*s: more than %d labels",
				 SLICE_PRINT(def->name), METRIC_LABELS_MAX);
	for (size_t i = 0; i < def->label_count; i++) {
		struct slice label = def->labels[i];

		if (!is_name(label, false) || slice_starts_with(label, SLICE("__")) ||
		    (def->type == METRIC_histogram && slice_equal(label, SLICE("le"))) ||
		    (def->type == METRIC_summary &&
		     slice_equal(label, SLICE("quantile"))))
			return fault_set(why, FAULT_bad_input,
					 "%.*s: bad label name '%.*s'",
					 SLICE_PRINT(def->name), SLICE_PRINT(label));
		for (size_t j = 0; j < i; j++)
			if (slice_equal(def->labels[j], label))
				return fault_set(why, FAULT_bad_input,
						 "%.*s: label '%.*s' stands twice",
						 SLICE_PRINT(def->name),
						 SLICE_PRINT(label));
	}
	return true;
}

static bool bounds_valid(const struct metric_def *def, struct fault *why)
{
	bool summary = def->type == METRIC_summary;

	if (def->bound_count > METRIC_BOUNDS_MAX)
		return fault_set(why, FAULT_bad_input, "%.*s: more than %d %s",
				 SLICE_PRINT(def->name), METRIC_BOUNDS_MAX,
				 summary ? "quantiles" : "bounds");
	for (size_t i = 0; i < def->bound_count; i++) {
		double bound = def->bounds[i];

		if (!isfinite(bound) || (i > 0 && !(bound > def->bounds[i - 1])) ||
		    (summary && (bound < 0 || bound > 1)))
			return fault_set(why, FAULT_bad_input, "%.*s: %s and ascending",
					 SLICE_PRINT(def->name),
					 summary ? "quantiles must be from 0 to 1"
						 : "bounds must be finite");
	}
	return true;
}

static bool def_valid(const struct metric_def *def, struct fault *why)
{
	if (!is_name(def->name, true))
		return fault_set(why, FAULT_bad_input, "bad metric name '%.*s'",
				 SLICE_PRINT(def->name));
	if (def->type == METRIC_counter &&
	    (base_name(def).size == def->name.size || base_name(def).size == 0))
		return fault_set(why, FAULT_bad_input,
				 "%.*s: the name of a counter ends in _total",
				 SLICE_PRINT(def->name));
	return labels_valid(def, why) && bounds_valid(def, why);
}

static bool slices_equal(const struct slice *a, const struct slice *b, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!slice_equal(a[i], b[i]))
			return false;
	return true;
}

static bool def_equal(const struct metric_def *a, const struct metric_def *b)
{
	return a->type == b->type && slice_equal(a->name, b->name) &&
	       slice_equal(a->help, b->help) && a->label_count == b->label_count &&
	       slices_equal(a->labels, b->labels, a->label_count) &&
	       a->bound_count == b->bound_count &&
	       memcmp(a->bounds, b->bounds, a->bound_count * sizeof(double)) == 0 &&
	       slice_equal(a->otlp_name, b->otlp_name) &&
	       slice_equal(a->otlp_unit, b->otlp_unit) &&
	       slices_equal(a->otlp_labels, b->otlp_labels, a->label_count);
}

/* Whether a histogram or summary writes samples of this name. */
static bool writes(const struct metric_def *def, struct slice name)
{
	bool histogram = def->type == METRIC_histogram;
	struct slice rest;

	if ((!histogram && def->type != METRIC_summary) ||
	    !slice_starts_with(name, def->name))
		return false;
	rest = slice_of(name.at + def->name.size, name.size - def->name.size);
	return (histogram && slice_equal(rest, SLICE("_bucket"))) ||
	       slice_equal(rest, SLICE("_sum")) || slice_equal(rest, SLICE("_count"));
}

static bool collides(const struct metric_def *a, const struct metric_def *b)
{
	struct slice a_base = base_name(a), b_base = base_name(b);

	return slice_equal(a_base, b_base) || slice_equal(a->name, b->name) ||
	       writes(a, b->name) || writes(a, b_base) || writes(b, a->name) ||
	       writes(b, a_base);
}

/* --- the registry ----------------------------------------------------------------- */

static struct slice keep_text(struct arena *texts, struct slice text)
{
	/* A bad byte grows to the three of U+FFFD. */
	char *kept = arena_alloc(texts, text.size * 3 + 1);

	return slice_of(kept, utf8_mend(text, kept, text.size * 3));
}

static void fill_defaults(struct metric_def *def)
{
	if (def->type != METRIC_histogram && def->type != METRIC_summary) {
		def->bound_count = 0;
	} else if (def->bound_count == 0) {
		const double *bounds = bounds_http;

		def->bound_count = COUNT(bounds_http);
		if (def->type == METRIC_summary) {
			bounds = quantiles;
			def->bound_count = COUNT(quantiles);
		}
		memcpy(def->bounds, bounds, def->bound_count * sizeof(*bounds));
	}
	if (def->otlp_name.size == 0)
		def->otlp_name = base_name(def);
	for (size_t i = 0; i < def->label_count; i++)
		if (def->otlp_labels[i].size == 0)
			def->otlp_labels[i] = def->labels[i];
}

static void keep_texts(struct arena *texts, struct metric_def *def)
{
	def->name = keep_text(texts, def->name);
	def->help = keep_text(texts, def->help);
	def->otlp_name = keep_text(texts, def->otlp_name);
	def->otlp_unit = keep_text(texts, def->otlp_unit);
	for (size_t i = 0; i < def->label_count; i++) {
		def->labels[i] = keep_text(texts, def->labels[i]);
		def->otlp_labels[i] = keep_text(texts, def->otlp_labels[i]);
	}
}

static struct metric *metric_add(struct metrics *metrics, const struct metric_def *def)
{
	struct metric *metric = mem_zeroed(1, sizeof(*metric));

	metric->def = *def;
	metric->index = metrics->count;
	keep_texts(&metrics->texts, &metric->def);
	if (metrics->count == metrics->capacity) {
		metrics->capacity = metrics->capacity ? metrics->capacity * 2 : 64;
		metrics->families = mem_resize(
			metrics->families, metrics->capacity * sizeof(struct metric *));
	}
	metrics->families[metrics->count++] = metric;
	return metric;
}

/* Whether the family may be shown together with one of this edition. */
static bool competes(const struct metrics *metrics, const struct metric *metric,
		     unsigned edition)
{
	if (edition == 0)
		return metric->shown || metric->editions != 0;
	return metric->lasting || edition_holds(metrics, edition, metric);
}

static struct metric *metric_find_or_add(struct metrics *metrics, unsigned edition,
					 const struct metric_def *def, struct fault *why)
{
	const struct metric_def *other = NULL;
	struct metric *same = NULL;

	for (size_t i = 0; i < metrics->count; i++) {
		struct metric *metric = metrics->families[i];

		if (def_equal(&metric->def, def))
			same = metric;
		else if (competes(metrics, metric, edition) &&
			 collides(&metric->def, def))
			other = &metric->def;
	}
	for (size_t i = 0; i < COUNT(views); i++)
		if (collides(&views[i], def))
			other = &views[i];
	if (other == NULL)
		return same ? same : metric_add(metrics, def);
	if (slice_equal(other->name, def->name))
		fault_set(why, FAULT_refused, "%.*s is already declared, and differently",
			  SLICE_PRINT(def->name));
	else
		fault_set(why, FAULT_refused, "%.*s would be mistaken for %.*s",
			  SLICE_PRINT(def->name), SLICE_PRINT(other->name));
	return NULL;
}

struct metric *metrics_declare_in(struct metrics *metrics, unsigned edition,
				  const struct metric_def *def, struct fault *why)
{
	struct metric_def whole = *def;
	struct arena texts = { 0 };
	struct metric *metric;

	if (!def_valid(def, why))
		return NULL;
	fill_defaults(&whole);
	keep_texts(&texts, &whole); /* mended, as those it is compared with */
	pthread_mutex_lock(&metrics->lock);
	check(edition <= metrics->begun);
	metric = metric_find_or_add(metrics, edition, &whole, why);
	if (metric)
		edition_put(metrics, edition, metric);
	pthread_mutex_unlock(&metrics->lock);
	arena_finish(&texts);
	return metric;
}

struct metric *metrics_declare(struct metrics *metrics, const struct metric_def *def,
			       struct fault *why)
{
	return metrics_declare_in(metrics, 0, def, why);
}

static size_t read_list(const char *text, struct slice *parts)
{
	struct slice rest = slice_text(text), part;
	size_t count = 0;

	if (rest.size == 0)
		return 0;
	while (slice_cut(&rest, ',', &part)) {
		check(count < METRIC_LABELS_MAX);
		parts[count++] = part;
	}
	return count;
}

static void declare_own(struct metrics *metrics)
{
	for (int id = 0; id < METRIC_ids; id++) {
		const struct own_def *own = &own_defs[id];
		struct metric_def def = {
			.type = own->type,
			.name = slice_text(own->name),
			.help = slice_text(own->help),
			.bound_count = own->bounds == bounds_none ? 0 : own->bound_count,
			.otlp_name = slice_text(own->otlp_name),
			.otlp_unit = slice_text(own->otlp_unit),
		};

		memcpy(def.bounds, own->bounds, def.bound_count * sizeof(double));
		def.label_count = read_list(own->labels, def.labels);
		read_list(own->otlp_labels, def.otlp_labels);
		metrics->own[id] = metrics_declare(metrics, &def, NULL);
		check(metrics->own[id] != NULL);
	}
}

struct metrics *metrics_create(void)
{
	struct metrics *metrics = mem_zeroed(1, sizeof(*metrics));

	check(pthread_mutex_init(&metrics->lock, NULL) == 0);
	metrics->committed = meter_create(metrics);
	declare_own(metrics);
	return metrics;
}

void metrics_destroy(struct metrics *metrics)
{
	struct meter *meter;

	if (metrics == NULL)
		return;
	editions_finish(metrics);
	meter = atomic_load(&metrics->meters);
	while (meter) {
		struct meter *next = meter->next;

		meter_destroy(meter);
		meter = next;
	}
	for (size_t i = 0; i < metrics->count; i++)
		free(metrics->families[i]);
	free(metrics->families);
	arena_finish(&metrics->texts);
	pthread_mutex_destroy(&metrics->lock);
	free(metrics);
}

struct metric *metrics_own(struct metrics *metrics, enum metric_id id)
{
	check((unsigned)id < METRIC_ids);
	return metrics->own[id];
}

void metrics_check(struct metrics *metrics)
{
	pthread_mutex_lock(&metrics->lock);
	check(metrics->current <= metrics->begun);
	for (size_t i = 0; i < metrics->count; i++) {
		const struct metric *a = metrics->families[i];

		check(a->index == i);
		check(a->shown || !a->lasting);
		for (size_t j = 0; j < i; j++) {
			const struct metric *b = metrics->families[j];

			check(!def_equal(&a->def, &b->def));
			check(!a->shown || !b->shown || !collides(&a->def, &b->def));
		}
	}
	pthread_mutex_unlock(&metrics->lock);
}

const struct metric_def *metric_definition(const struct metric *metric)
{
	return &metric->def;
}
