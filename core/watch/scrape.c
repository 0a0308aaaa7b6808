/* SPDX-License-Identifier: MIT */
/* scrape.c -- reading the registry: the cells of all meters, summed by label set.
 *
 * Runs on whichever thread asks. It holds a meter's lock only while it copies the
 * pointers of one family's series, and the registry's only while it copies those of the
 * families.
 */
#include "watch/cells.h"

#include "base/check.h"

#include <stdlib.h>

/* The series of one family, of all meters. */
struct gathered {
	struct series **at;
	size_t count;
	size_t capacity;
};

static void gathered_add(struct gathered *all, struct series *series)
{
	if (all->count == all->capacity) {
		all->capacity = all->capacity ? all->capacity * 2 : 64;
		all->at = mem_resize(all->at, all->capacity * sizeof(series));
	}
	all->at[all->count++] = series;
}

static void gather(struct gathered *all, struct meter *meter, const struct metric *metric)
{
	struct family *family = NULL;

	pthread_mutex_lock(&meter->lock);
	if (metric->index < meter->family_count)
		family = meter->families[metric->index];
	for (size_t slot = 0; family && slot <= family->mask; slot++)
		if (family->slots[slot])
			gathered_add(all, family->slots[slot]);
	if (family && family->overflow)
		gathered_add(all, family->overflow);
	pthread_mutex_unlock(&meter->lock);
}

static int slice_compare(struct slice a, struct slice b)
{
	size_t shared = a.size < b.size ? a.size : b.size;
	int order = shared > 0 ? memcmp(a.at, b.at, shared) : 0;

	return order ? order : (a.size > b.size) - (a.size < b.size);
}

static int compare_values(const void *left, const void *right)
{
	const struct series *a = *(struct series *const *)left;
	const struct series *b = *(struct series *const *)right;
	int order = 0;

	for (size_t i = 0; order == 0 && i < a->metric->def.label_count; i++)
		order = slice_compare(a->values[i], b->values[i]);
	return order;
}

static int compare_names(const void *left, const void *right)
{
	const struct metric *a = *(struct metric *const *)left;
	const struct metric *b = *(struct metric *const *)right;

	return slice_compare(a->def.name, b->def.name);
}

/* A set gauge is the value set last, whoever set it; everything else is a sum. */
static double merged_value(struct series *const *same, size_t count)
{
	uint64_t newest = 0;
	double sum = 0;

	for (size_t i = 0; i < count; i++) {
		uint64_t order =
			atomic_load_explicit(&same[i]->set_order, memory_order_relaxed);
		double value =
			atomic_load_explicit(&same[i]->value, memory_order_relaxed);

		if (order > newest) {
			newest = order;
			sum = value;
		} else if (newest == 0) {
			sum += value;
		}
	}
	return sum;
}

static void give_summary(const struct metrics_reader *reader,
			 const struct metric_def *def, struct series *const *same,
			 size_t count, struct mono now)
{
	double quantiles[METRIC_BOUNDS_MAX];
	struct metric_point point = { .values = same[0]->values,
				      .sum = merged_value(same, count),
				      .quantiles = quantiles };
	struct sketch_sum window = { 0 };

	for (size_t i = 0; i < count; i++) {
		point.count +=
			atomic_load_explicit(&same[i]->buckets[0], memory_order_relaxed);
		sketch_read(same[i]->sketch, now, &window);
	}
	for (size_t i = 0; i < def->bound_count; i++)
		quantiles[i] = sketch_quantile(&window, def->bounds[i]);
	reader->point(reader->context, def, &point);
}

static void give_point(const struct metrics_reader *reader, const struct metric_def *def,
		       struct series *const *same, size_t count)
{
	uint64_t buckets[METRIC_BOUNDS_MAX + 1] = { 0 };
	struct metric_point point = { .values = same[0]->values };

	if (def->type == METRIC_histogram) {
		for (size_t i = 0; i < count; i++)
			for (size_t b = 0; b <= def->bound_count; b++)
				buckets[b] += atomic_load_explicit(&same[i]->buckets[b],
								   memory_order_relaxed);
		for (size_t b = 0; b <= def->bound_count; b++)
			point.count += buckets[b];
		point.buckets = buckets;
		point.sum = merged_value(same, count);
	} else {
		point.value = merged_value(same, count);
	}
	reader->point(reader->context, def, &point);
}

/* How many from the start have the label values of the first. */
static size_t same_values(struct series *const *at, size_t count)
{
	size_t same = 1;

	while (same < count && compare_values(&at[0], &at[same]) == 0)
		same++;
	return same;
}

static void read_family(struct metrics *metrics, const struct metric *metric,
			const struct metrics_reader *reader, struct gathered *all)
{
	struct mono now = clock_mono();
	size_t points = 0, step;

	all->count = 0;
	for (struct meter *meter = atomic_load(&metrics->meters); meter;
	     meter = meter->next)
		gather(all, meter, metric);
	if (all->count > 0)
		qsort(all->at, all->count, sizeof(all->at[0]), compare_values);
	for (size_t i = 0; i < all->count; i += same_values(all->at + i, all->count - i))
		points++;
	reader->family(reader->context, &metric->def, points);
	for (size_t i = 0; i < all->count; i += step) {
		step = same_values(all->at + i, all->count - i);
		if (metric->def.type == METRIC_summary)
			give_summary(reader, &metric->def, all->at + i, step, now);
		else
			give_point(reader, &metric->def, all->at + i, step);
	}
}

void metrics_read(struct metrics *metrics, const struct metrics_reader *reader)
{
	struct gathered all = { 0 };
	struct metric **families;
	size_t count = 0;

	pthread_mutex_lock(&metrics->lock);
	families = mem_copy(metrics->families, metrics->count * sizeof(families[0]));
	for (size_t i = 0; i < metrics->count; i++)
		if (families[i]->shown)
			families[count++] = families[i];
	pthread_mutex_unlock(&metrics->lock);
	qsort(families, count, sizeof(families[0]), compare_names);
	for (size_t i = 0; i < count; i++)
		read_family(metrics, families[i], reader, &all);
	free(families);
	free(all.at);
}

/* --- one value -------------------------------------------------------------------- */

struct wanted {
	struct slice name;
	const struct slice *values;
	size_t count;
	double value;
	bool found;
};

static void skip_family(void *context, const struct metric_def *def, size_t point_count)
{
}

static void find_point(void *context, const struct metric_def *def,
		       const struct metric_point *point)
{
	struct wanted *wanted = context;

	if (def->label_count != wanted->count || !slice_equal(def->name, wanted->name))
		return;
	for (size_t i = 0; i < wanted->count; i++)
		if (!slice_equal(point->values[i], wanted->values[i]))
			return;
	wanted->found = true;
	wanted->value =
		point->buckets || point->quantiles ? (double)point->count : point->value;
}

bool metrics_value(struct metrics *metrics, struct slice name, const struct slice *values,
		   size_t count, double *value)
{
	struct wanted wanted = { .name = name, .values = values, .count = count };
	struct metrics_reader reader = { skip_family, find_point, &wanted };

	metrics_read(metrics, &reader);
	if (wanted.found)
		*value = wanted.value;
	return wanted.found;
}
