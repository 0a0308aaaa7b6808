/* SPDX-License-Identifier: MIT */
/* meter.c -- one thread's series and their cells.
 *
 * A hot path: a counter step is 2 to 3 ns, finding a series with three labels and
 * observing some 30 ns, a summary's observation as many, most of them the clock's
 * (test/bench/watch_bench.c); no malloc, no lock, no system call once the series exists
 * (a summary's: and has seen the octave, see sketch.h). A cell has one writer, so its
 * step is a load, an addition and a store, none of them locked.
 */
#include "watch/cells.h"

#include "base/check.h"
#include "base/utf8.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>

#define LINE 64 /* bytes of a cache line: cells of two threads must not share one */
#define SLOTS_MIN 8

static const struct slice overflow_value = { "_overflow", 9 };

static struct series *meter_series_slow(struct meter *meter, struct metric *metric,
					const struct slice *values);

/* --- finding a series ------------------------------------------------------------- */

static inline uint64_t mix(uint64_t hash, uint64_t word)
{
	hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
	return hash ^ (hash >> 32);
}

static inline uint64_t read_word(const char *at, size_t size)
{
	uint64_t word = 0;

	if (size >= 8) {
		memcpy(&word, at, 8);
	} else if (size >= 4) {
		uint32_t low, high;

		memcpy(&low, at, 4);
		memcpy(&high, at + size - 4, 4);
		word = (uint64_t)high << 32 | low;
	} else if (size > 0) {
		word = (uint64_t)(unsigned char)at[0] << 16 |
		       (uint64_t)(unsigned char)at[size / 2] << 8 |
		       (unsigned char)at[size - 1];
	}
	return word;
}

static uint64_t hash_values(const struct slice *values, size_t count)
{
	uint64_t hash = count;

	for (size_t i = 0; i < count; i++) {
		const char *at = values[i].at;
		size_t left = values[i].size;

		hash = mix(hash, left);
		for (; left > 8; at += 8, left -= 8)
			hash = mix(hash, read_word(at, 8));
		hash = mix(hash, read_word(at, left));
	}
	return hash;
}

static inline bool has_values(const struct series *series, const struct slice *values,
			      size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!slice_equal(series->values[i], values[i]))
			return false;
	return true;
}

static struct family *family_of(const struct meter *meter, const struct metric *metric)
{
	return metric->index < meter->family_count ? meter->families[metric->index]
						   : NULL;
}

static struct series *find(const struct family *family, uint64_t hash,
			   const struct slice *values, size_t count)
{
	struct series *series;

	for (size_t slot = hash & family->mask; (series = family->slots[slot]) != NULL;
	     slot = (slot + 1) & family->mask)
		if (series->hash == hash && has_values(series, values, count))
			return series;
	return NULL;
}

struct series *meter_series(struct meter *meter, struct metric *metric,
			    const struct slice *values, size_t count)
{
	const struct family *family = family_of(meter, metric);
	struct series *series;

	check(count == metric->def.label_count);
	if (family) {
		series = find(family, hash_values(values, count), values, count);
		if (series)
			return series;
	}
	return meter_series_slow(meter, metric, values);
}

struct series *meter_own(struct meter *meter, enum metric_id id, size_t count, ...)
{
	struct slice values[METRIC_LABELS_MAX];
	va_list args;

	check(count <= METRIC_LABELS_MAX);
	va_start(args, count);
	for (size_t i = 0; i < count; i++)
		values[i] = va_arg(args, struct slice);
	va_end(args);
	return meter_series(meter, metrics_own(meter->metrics, id), values, count);
}

/* --- recording -------------------------------------------------------------------- */

static inline void cell_add(_Atomic double *cell, double amount)
{
	double value = atomic_load_explicit(cell, memory_order_relaxed);

	atomic_store_explicit(cell, value + amount, memory_order_relaxed);
}

static inline void bucket_add(_Atomic uint64_t *bucket, uint64_t count)
{
	uint64_t before = atomic_load_explicit(bucket, memory_order_relaxed);

	atomic_store_explicit(bucket, before + count, memory_order_relaxed);
}

void series_add(struct series *series, double amount)
{
	check(series->metric->def.type == METRIC_counter ||
	      series->metric->def.type == METRIC_gauge);
	if (isnan(amount) || (amount < 0 && series->metric->def.type == METRIC_counter))
		return;
	cell_add(&series->value, amount);
}

void series_set(struct series *series, double value)
{
	uint64_t order;

	check(series->metric->def.type == METRIC_gauge);
	order = atomic_fetch_add_explicit(&series->metric->sets, 1, memory_order_relaxed);
	atomic_store_explicit(&series->value, value, memory_order_relaxed);
	atomic_store_explicit(&series->set_order, order + 1, memory_order_relaxed);
}

static void observe_summary(struct series *series, double value)
{
	if (!(value >= 0))
		return;
	sketch_add(series->sketch, value, clock_mono());
	bucket_add(&series->buckets[0], 1);
	cell_add(&series->value, value);
}

void series_observe(struct series *series, double value)
{
	const struct metric_def *def = &series->metric->def;
	size_t bucket = 0;

	if (def->type == METRIC_summary) {
		observe_summary(series, value);
		return;
	}
	check(def->type == METRIC_histogram);
	if (isnan(value))
		return;
	while (bucket < def->bound_count && value > def->bounds[bucket])
		bucket++;
	bucket_add(&series->buckets[bucket], 1);
	cell_add(&series->value, value);
}

/* --- making series: once per label set -------------------------------------------- */

static size_t bucket_count(const struct metric_def *def)
{
	if (def->type == METRIC_summary)
		return 1;
	return def->type == METRIC_histogram ? def->bound_count + 1 : 0;
}

static struct series *series_create(struct metric *metric, uint64_t hash,
				    const struct slice *values)
{
	size_t labels = metric->def.label_count, buckets = bucket_count(&metric->def);
	size_t cells = sizeof(struct series) + buckets * sizeof(uint64_t);
	size_t size = cells + labels * sizeof(struct slice);
	struct series *series;
	char *text;

	for (size_t i = 0; i < labels; i++)
		size += values[i].size;
	size = (size + LINE - 1) / LINE * LINE;
	series = aligned_alloc(LINE, size);
	check(series != NULL);
	memset(series, 0, size);
	series->metric = metric;
	series->hash = hash;
	if (metric->def.type == METRIC_summary)
		series->sketch = mem_zeroed(1, sizeof(*series->sketch));
	series->values = (struct slice *)(void *)((char *)series + cells);
	text = (char *)(series->values + labels);
	for (size_t i = 0; i < labels; i++) {
		if (values[i].size > 0)
			memcpy(text, values[i].at, values[i].size);
		series->values[i] = slice_of(text, values[i].size);
		text += values[i].size;
	}
	return series;
}

static void series_destroy(struct series *series)
{
	if (series && series->sketch)
		sketch_finish(series->sketch);
	if (series)
		free(series->sketch);
	free(series);
}

static void slot_put(struct family *family, struct series *series)
{
	size_t slot = series->hash & family->mask;

	while (family->slots[slot])
		slot = (slot + 1) & family->mask;
	family->slots[slot] = series;
}

static void family_grow(struct family *family)
{
	struct series **old = family->slots;
	size_t slots = old ? family->mask + 1 : 0;

	family->mask = slots ? slots * 2 - 1 : SLOTS_MIN - 1;
	family->slots = mem_zeroed(family->mask + 1, sizeof(struct series *));
	for (size_t i = 0; i < slots; i++)
		if (old[i])
			slot_put(family, old[i]);
	free(old);
}

/* Under the meter's lock. */
static struct family *family_make(struct meter *meter, const struct metric *metric)
{
	struct family *family = family_of(meter, metric);

	if (family)
		return family;
	if (metric->index >= meter->family_count) {
		size_t count = (metric->index | 63) + 1, old = meter->family_count;

		meter->families = mem_resize(meter->families, count * sizeof(family));
		memset(meter->families + old, 0, (count - old) * sizeof(family));
		meter->family_count = count;
	}
	family = mem_zeroed(1, sizeof(*family));
	family_grow(family);
	meter->families[metric->index] = family;
	return family;
}

static size_t series_max(const struct metric_def *def)
{
	return def->type == METRIC_summary ? METRIC_SUMMARIES_MAX : METRIC_SERIES_MAX;
}

static struct series *overflow_of(struct family *family, struct metric *metric)
{
	struct slice values[METRIC_LABELS_MAX];

	for (size_t i = 0; i < METRIC_LABELS_MAX; i++)
		values[i] = overflow_value;
	if (family->overflow == NULL)
		family->overflow = series_create(metric, 0, values);
	return family->overflow;
}

/* Here the values are mended and cut first, so that a bad text finds the series it made.
 */
static struct series *meter_series_slow(struct meter *meter, struct metric *metric,
					const struct slice *values)
{
	char texts[METRIC_LABELS_MAX][METRIC_VALUE_MAX];
	struct slice good[METRIC_LABELS_MAX];
	size_t count = metric->def.label_count;
	struct family *family;
	struct series *series;
	uint64_t hash;

	for (size_t i = 0; i < count; i++)
		good[i] = slice_of(texts[i],
				   utf8_mend(values[i], texts[i], METRIC_VALUE_MAX));
	hash = hash_values(good, count);
	pthread_mutex_lock(&meter->lock);
	family = family_make(meter, metric);
	series = find(family, hash, good, count);
	if (series == NULL && family->count == series_max(&metric->def))
		series = overflow_of(family, metric);
	if (series == NULL) {
		series = series_create(metric, hash, good);
		if (2 * ++family->count > family->mask)
			family_grow(family);
		slot_put(family, series);
	}
	pthread_mutex_unlock(&meter->lock);
	return series;
}

struct meter *meter_create_aside(struct metrics *metrics)
{
	struct meter *meter = mem_zeroed(1, sizeof(*meter));

	check(pthread_mutex_init(&meter->lock, NULL) == 0);
	meter->metrics = metrics;
	return meter;
}

struct meter *meter_create(struct metrics *metrics)
{
	struct meter *meter = meter_create_aside(metrics);

	meter->next = atomic_load(&metrics->meters);
	while (!atomic_compare_exchange_weak(&metrics->meters, &meter->next, meter))
		;
	return meter;
}

static void series_fold(struct series *into, const struct series *from)
{
	double value = atomic_load_explicit(&from->value, memory_order_relaxed);

	if (atomic_load_explicit(&from->set_order, memory_order_relaxed) > 0) {
		series_set(into, value);
		return;
	}
	cell_add(&into->value, value);
	for (size_t i = 0; i < bucket_count(&from->metric->def); i++)
		bucket_add(&into->buckets[i],
			   atomic_load_explicit(&from->buckets[i], memory_order_relaxed));
	if (from->sketch)
		sketch_fold(into->sketch, from->sketch);
}

static void fold_one(struct meter *into, const struct series *from)
{
	struct metric *metric = from->metric;

	series_fold(meter_series(into, metric, from->values, metric->def.label_count),
		    from);
}

void meter_fold(struct meter *into, const struct meter *from)
{
	for (size_t i = 0; i < from->family_count; i++) {
		const struct family *family = from->families[i];

		for (size_t slot = 0; family && slot <= family->mask; slot++)
			if (family->slots[slot])
				fold_one(into, family->slots[slot]);
		if (family && family->overflow)
			fold_one(into, family->overflow);
	}
}

void meter_destroy(struct meter *meter)
{
	for (size_t i = 0; i < meter->family_count; i++) {
		struct family *family = meter->families[i];

		if (family == NULL)
			continue;
		for (size_t slot = 0; slot <= family->mask; slot++)
			series_destroy(family->slots[slot]);
		series_destroy(family->overflow);
		free(family->slots);
		free(family);
	}
	free(meter->families);
	pthread_mutex_destroy(&meter->lock);
	free(meter);
}
