/* SPDX-License-Identifier: MIT */
/* metrics_test.c -- threads record without meeting; a scrape sums. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "watch/metrics.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

/* Reads one family: its points, and one of them by its first label value. */
struct look {
	struct slice name;
	struct slice value; /* at NULL: any point */
	size_t families;
	size_t points;
	bool found;
	double number;
	uint64_t count;
	uint64_t buckets[METRIC_BOUNDS_MAX + 1];
	double quantiles[METRIC_BOUNDS_MAX];
};

static void look_family(void *context, const struct metric_def *def, size_t point_count)
{
	struct look *look = context;

	look->families++;
	if (slice_equal(def->name, look->name))
		look->points = point_count;
}

static void look_point(void *context, const struct metric_def *def,
		       const struct metric_point *point)
{
	struct look *look = context;

	if (!slice_equal(def->name, look->name) ||
	    (look->value.at && !slice_equal(look->value, point->values[0])))
		return;
	look->found = true;
	look->number = point->buckets || point->quantiles ? point->sum : point->value;
	look->count = point->count;
	if (def->type == METRIC_histogram)
		memcpy(look->buckets, point->buckets,
		       (def->bound_count + 1) * sizeof(uint64_t));
	if (def->type == METRIC_summary)
		memcpy(look->quantiles, point->quantiles,
		       def->bound_count * sizeof(double));
}

static struct look look_at(struct metrics *metrics, struct slice name, struct slice value)
{
	struct look look = { .name = name, .value = value };
	struct metrics_reader reader = { look_family, look_point, &look };

	metrics_read(metrics, &reader);
	return look;
}

#define ANY ((struct slice){ NULL, 0 })

static struct metric *declare(struct metrics *metrics, enum metric_type type,
			      const char *name, const char *label)
{
	struct metric_def def = { .type = type,
				  .name = slice_text(name),
				  .help = SLICE("A help."),
				  .labels = { slice_text(label) },
				  .label_count = label != NULL };
	struct fault why;
	struct metric *metric = metrics_declare(metrics, &def, &why);

	if (metric == NULL)
		print_message("%s: %s\n", fault_name(why.kind), why.detail);
	return metric;
}

static void meters_are_summed_by_label(void **state)
{
	struct metrics *metrics = metrics_create();
	struct meter *a = meter_create(metrics), *b = meter_create(metrics);
	struct metric *metric = declare(metrics, METRIC_counter, "x_total", "kind");

	series_add(meter_series(a, metric, (struct slice[]){ SLICE("one") }, 1), 1);
	series_add(meter_series(b, metric, (struct slice[]){ SLICE("one") }, 1), 2);
	series_add(meter_series(b, metric, (struct slice[]){ SLICE("two") }, 1), 5);
	series_add(meter_series(b, metric, (struct slice[]){ SLICE("two") }, 1), -1);
	series_add(meter_series(b, metric, (struct slice[]){ SLICE("two") }, 1), NAN);
	assert_int_equal(look_at(metrics, SLICE("x_total"), ANY).points, 2);
	assert_true(look_at(metrics, SLICE("x_total"), SLICE("one")).number == 3);
	assert_true(look_at(metrics, SLICE("x_total"), SLICE("two")).number == 5);
	metrics_destroy(metrics);
}

static void the_same_labels_are_the_same_series(void **state)
{
	struct metrics *metrics = metrics_create();
	struct meter *meter = meter_create(metrics);
	struct metric *metric = declare(metrics, METRIC_counter, "x_total", "kind");
	struct series *series[1000];
	char text[16];

	for (int round = 0; round < 2; round++)
		for (int i = 0; i < 1000; i++) {
			int size = snprintf(text, sizeof(text), "%d", i * 7919);
			struct slice value = slice_of(text, (size_t)size);
			struct series *found = meter_series(meter, metric, &value, 1);

			if (round == 0)
				series[i] = found;
			assert_ptr_equal(series[i], found);
		}
	assert_int_equal(look_at(metrics, SLICE("x_total"), ANY).points, 1000);
	metrics_destroy(metrics);
}

static void too_many_label_sets_fold_into_one(void **state)
{
	struct metrics *metrics = metrics_create();
	struct meter *meter = meter_create(metrics);
	struct metric *metric = declare(metrics, METRIC_counter, "x_total", "kind");
	char text[16];

	for (int i = 0; i < METRIC_SERIES_MAX + 50; i++) {
		int size = snprintf(text, sizeof(text), "%d", i);
		struct slice value = slice_of(text, (size_t)size);

		series_add(meter_series(meter, metric, &value, 1), 1);
	}
	assert_int_equal(look_at(metrics, SLICE("x_total"), ANY).points,
			 METRIC_SERIES_MAX + 1);
	assert_true(look_at(metrics, SLICE("x_total"), SLICE("_overflow")).number == 50);
	metrics_destroy(metrics);
}

static void bad_label_values_are_mended_and_found_again(void **state)
{
	struct metrics *metrics = metrics_create();
	struct meter *meter = meter_create(metrics);
	struct metric *metric = declare(metrics, METRIC_counter, "x_total", "kind");
	struct slice bad = SLICE("a\xff"), other = SLICE("a\xfe"), null = { NULL, 0 };
	static char text[1000];
	struct slice huge = { text, sizeof(text) };

	memset(text, 'z', sizeof(text));
	assert_ptr_equal(meter_series(meter, metric, &bad, 1),
			 meter_series(meter, metric, &other, 1));
	assert_ptr_equal(meter_series(meter, metric, &huge, 1),
			 meter_series(meter, metric, &huge, 1));
	assert_ptr_equal(meter_series(meter, metric, &null, 1),
			 meter_series(meter, metric, &null, 1));
	assert_true(look_at(metrics, SLICE("x_total"), SLICE("a\xef\xbf\xbd")).found);
	assert_int_equal(look_at(metrics, SLICE("x_total"), ANY).points, 3);
	metrics_destroy(metrics);
}

static void an_added_gauge_is_a_sum_and_a_set_one_the_newest(void **state)
{
	struct metrics *metrics = metrics_create();
	struct meter *a = meter_create(metrics), *b = meter_create(metrics);
	struct metric *added = declare(metrics, METRIC_gauge, "added", NULL);
	struct metric *set = declare(metrics, METRIC_gauge, "was_set", NULL);

	series_add(meter_series(a, added, NULL, 0), 5);
	series_add(meter_series(b, added, NULL, 0), -2);
	series_set(meter_series(a, set, NULL, 0), 1);
	series_set(meter_series(b, set, NULL, 0), 2);
	assert_true(look_at(metrics, SLICE("added"), ANY).number == 3);
	assert_true(look_at(metrics, SLICE("was_set"), ANY).number == 2);
	series_set(meter_series(a, set, NULL, 0), -7);
	assert_true(look_at(metrics, SLICE("was_set"), ANY).number == -7);
	metrics_destroy(metrics);
}

static void an_observation_on_a_bound_is_below_it(void **state)
{
	struct metrics *metrics = metrics_create();
	struct meter *meter = meter_create(metrics);
	struct metric_def def = { .type = METRIC_histogram,
				  .name = SLICE("h"),
				  .bounds = { 1, 2 },
				  .bound_count = 2 };
	struct series *series =
		meter_series(meter, metrics_declare(metrics, &def, NULL), NULL, 0);
	struct look look;

	series_observe(series, 1);
	series_observe(series, 1.5);
	series_observe(series, 2);
	series_observe(series, 2.1);
	series_observe(series, NAN);
	look = look_at(metrics, SLICE("h"), ANY);
	assert_int_equal(look.count, 4);
	assert_int_equal(look.buckets[0], 1);
	assert_int_equal(look.buckets[1], 2);
	assert_int_equal(look.buckets[2], 1);
	assert_true(fabs(look.number - 6.6) < 1e-9);
	metrics_destroy(metrics);
}

/* Some of a value, by one meter. */
static void observe(struct meter *meter, struct metric *metric, double value, int times)
{
	struct series *series = meter_series(meter, metric, NULL, 0);

	for (int i = 0; i < times; i++)
		series_observe(series, value);
}

static bool near(double told, double right)
{
	return fabs(told - right) <= right / 64;
}

static void a_summary_tells_the_quantiles_of_all_meters(void **state)
{
	struct metrics *metrics = metrics_create();
	struct meter *a = meter_create(metrics), *b = meter_create(metrics);
	struct metric *metric = declare(metrics, METRIC_summary, "s", NULL);
	struct look look;

	observe(a, metric, 0.01, 400);
	observe(b, metric, 0.01, 200);
	observe(b, metric, 0.5, 350);
	observe(a, metric, 3, 50);
	observe(a, metric, NAN, 1);
	observe(a, metric, -1, 1);
	look = look_at(metrics, SLICE("s"), ANY);
	assert_int_equal(look.points, 1);
	assert_int_equal(look.count, 1000);
	assert_true(fabs(look.number - (6 + 175 + 150)) < 1e-6);
	assert_true(near(look.quantiles[0], 0.01));
	assert_true(near(look.quantiles[1], 0.5));
	assert_true(near(look.quantiles[2], 3));
	metrics_destroy(metrics);
}

static void its_quantiles_are_of_the_last_minute_its_count_is_not(void **state)
{
	struct metrics *metrics = metrics_create();
	struct meter *meter = meter_create(metrics);
	struct metric *metric = declare(metrics, METRIC_summary, "s", NULL);
	struct mono now = { INT64_C(1000000000000) };
	struct look look;

	clock_set(&now, NULL);
	observe(meter, metric, 2, 10);
	now = mono_after_ms(now, 45000);
	clock_set(&now, NULL);
	observe(meter, metric, 8, 10);
	look = look_at(metrics, SLICE("s"), ANY);
	assert_true(near(look.quantiles[0], 2) && near(look.quantiles[2], 8));
	now = mono_after_ms(now, 30000);
	clock_set(&now, NULL);
	look = look_at(metrics, SLICE("s"), ANY);
	assert_true(near(look.quantiles[0], 8) && near(look.quantiles[2], 8));
	now = mono_after_ms(now, 60000);
	clock_set(&now, NULL);
	look = look_at(metrics, SLICE("s"), ANY);
	assert_true(isnan(look.quantiles[0]) && isnan(look.quantiles[2]));
	assert_int_equal(look.count, 20);
	assert_true(look.number == 100);
	clock_set(NULL, NULL);
	metrics_destroy(metrics);
}

static void a_summary_has_fewer_label_sets(void **state)
{
	struct metrics *metrics = metrics_create();
	struct meter *meter = meter_create(metrics);
	struct metric *metric = declare(metrics, METRIC_summary, "s", "kind");
	char text[16];

	for (int i = 0; i < METRIC_SUMMARIES_MAX + 50; i++) {
		int size = snprintf(text, sizeof(text), "%d", i);
		struct slice value = slice_of(text, (size_t)size);

		series_observe(meter_series(meter, metric, &value, 1), 1);
	}
	assert_int_equal(look_at(metrics, SLICE("s"), ANY).points,
			 METRIC_SUMMARIES_MAX + 1);
	assert_int_equal(look_at(metrics, SLICE("s"), SLICE("_overflow")).count, 50);
	metrics_destroy(metrics);
}

static void every_own_family_is_declared(void **state)
{
	struct metrics *metrics = metrics_create();
	struct meter *meter = meter_create(metrics);
	struct slice before = SLICE("");

	for (int id = 0; id < METRIC_ids; id++) {
		const struct metric_def *def =
			metric_definition(metrics_own(metrics, (enum metric_id)id));

		assert_true(def->help.size > 0);
		assert_true(def->otlp_name.size > 0);
		assert_true((def->type == METRIC_histogram) == (def->bound_count > 0));
	}
	assert_int_equal(look_at(metrics, before, ANY).families, METRIC_ids);
	series_add(meter_own(meter, METRIC_tasks, 0), 2);
	series_observe(meter_own(meter, METRIC_db_duration, 3, SLICE("redis"),
				 SLICE("GET"), SLICE("")),
		       0.004);
	assert_true(look_at(metrics, SLICE("tasks"), ANY).number == 2);
	assert_int_equal(look_at(metrics, SLICE("db_client_operation_duration_seconds"),
				 SLICE("redis"))
				 .buckets[1],
			 1);
	metrics_destroy(metrics);
}

static void a_second_declaration_is_the_same_or_refused(void **state)
{
	struct metrics *metrics = metrics_create();
	struct metric *metric = declare(metrics, METRIC_counter, "x_total", "kind");
	struct metric_def def = { .type = METRIC_gauge, .name = SLICE("x_total") };
	struct fault why;

	assert_ptr_equal(declare(metrics, METRIC_counter, "x_total", "kind"), metric);
	assert_null(metrics_declare(metrics, &def, &why));
	assert_int_equal(why.kind, FAULT_refused);
	def.name = SLICE("x");
	assert_null(metrics_declare(metrics, &def, &why));
	assert_int_equal(why.kind, FAULT_refused);
	assert_non_null(declare(metrics, METRIC_histogram, "h", NULL));
	def.name = SLICE("h_count");
	assert_null(metrics_declare(metrics, &def, &why));
	assert_int_equal(why.kind, FAULT_refused);
	def.name = SLICE("http_server_requests_seconds_sum");
	assert_null(metrics_declare(metrics, &def, &why));
	assert_int_equal(why.kind, FAULT_refused);
	assert_non_null(declare(metrics, METRIC_summary, "s", NULL));
	def.name = SLICE("s_sum");
	assert_null(metrics_declare(metrics, &def, &why));
	assert_int_equal(why.kind, FAULT_refused);
	def = (struct metric_def){ .type = METRIC_summary,
				   .name = SLICE("s"),
				   .help = SLICE("A help."),
				   .bounds = { 0.5 },
				   .bound_count = 1 };
	assert_null(metrics_declare(metrics, &def, &why));
	assert_int_equal(why.kind, FAULT_refused);
	def = (struct metric_def){ .type = METRIC_gauge, .name = SLICE("s_bucket") };
	assert_non_null(metrics_declare(metrics, &def, &why));
	def.name = SLICE("y");
	assert_non_null(metrics_declare(metrics, &def, &why));
	metrics_destroy(metrics);
}

static void bad_definitions_are_bad_input(void **state)
{
	struct metrics *metrics = metrics_create();
	const struct metric_def bad[] = {
		{ .type = METRIC_gauge, .name = { "", 0 } },
		{ .type = METRIC_gauge, .name = { "1x", 2 } },
		{ .type = METRIC_gauge, .name = { "a-b", 3 } },
		{ .type = METRIC_counter, .name = { "x", 1 } },
		{ .type = METRIC_counter, .name = { "_total", 6 } },
		{ .type = METRIC_gauge,
		  .name = { "x", 1 },
		  .labels = { { "__a", 3 } },
		  .label_count = 1 },
		{ .type = METRIC_gauge,
		  .name = { "x", 1 },
		  .labels = { { "a", 1 }, { "a", 1 } },
		  .label_count = 2 },
		{ .type = METRIC_gauge, .name = { "x", 1 }, .label_count = 9 },
		{ .type = METRIC_histogram,
		  .name = { "x", 1 },
		  .labels = { { "le", 2 } },
		  .label_count = 1 },
		{ .type = METRIC_histogram,
		  .name = { "x", 1 },
		  .bounds = { 1, 1 },
		  .bound_count = 2 },
		{ .type = METRIC_histogram,
		  .name = { "x", 1 },
		  .bounds = { NAN },
		  .bound_count = 1 },
		{ .type = METRIC_histogram, .name = { "x", 1 }, .bound_count = 33 },
		{ .type = METRIC_summary,
		  .name = { "x", 1 },
		  .labels = { { "quantile", 8 } },
		  .label_count = 1 },
		{ .type = METRIC_summary,
		  .name = { "x", 1 },
		  .bounds = { 0.9, 0.5 },
		  .bound_count = 2 },
		{ .type = METRIC_summary,
		  .name = { "x", 1 },
		  .bounds = { 50 },
		  .bound_count = 1 },
		{ .type = METRIC_summary,
		  .name = { "x", 1 },
		  .bounds = { -0.1 },
		  .bound_count = 1 },
		{ .type = METRIC_summary,
		  .name = { "x", 1 },
		  .bounds = { NAN },
		  .bound_count = 1 },
		{ .type = METRIC_summary, .name = { "x", 1 }, .bound_count = 33 },
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct fault why = { 0 };

		assert_null(metrics_declare(metrics, &bad[i], &why));
		assert_int_equal(why.kind, FAULT_bad_input);
		assert_true(why.detail[0] != '\0');
	}
	metrics_destroy(metrics);
}

static void one_value_can_be_asked_for(void **state)
{
	struct metrics *metrics = metrics_create();
	struct meter *a = meter_create(metrics), *b = meter_create(metrics);
	struct metric *metric = declare(metrics, METRIC_counter, "x_total", "kind");
	struct slice one = SLICE("one"), two = SLICE("two");
	double value = -1;

	series_add(meter_series(a, metric, &one, 1), 1);
	series_add(meter_series(b, metric, &one, 1), 2);
	series_observe(meter_own(a, METRIC_loop_lag, 0), 0.5);
	series_observe(meter_own(b, METRIC_loop_lag, 0), 0.5);
	series_set(meter_own(b, METRIC_pool_max, 1, SLICE("pg")), 8);
	assert_true(metrics_value(metrics, SLICE("x_total"), &one, 1, &value));
	assert_true(value == 3);
	assert_true(
		metrics_value(metrics, SLICE("eventloop_lag_seconds"), NULL, 0, &value));
	assert_true(value == 2);
	assert_true(metrics_value(metrics, SLICE("db_pool_connections_max"),
				  (struct slice[]){ SLICE("pg") }, 1, &value));
	assert_true(value == 8);
	observe(a, declare(metrics, METRIC_summary, "s", NULL), 0.5, 3);
	assert_true(metrics_value(metrics, SLICE("s"), NULL, 0, &value));
	assert_true(value == 3);
	value = 8;
	assert_false(metrics_value(metrics, SLICE("x_total"), &two, 1, &value));
	assert_false(metrics_value(metrics, SLICE("x_total"), NULL, 0, &value));
	assert_false(metrics_value(metrics, SLICE("y_total"), &one, 1, &value));
	assert_true(value == 8);
	metrics_destroy(metrics);
}

/* --- threads ---------------------------------------------------------------------- */

#define THREADS 3
#define STEPS 100000

static void *record(void *context)
{
	struct metrics *metrics = context;
	struct meter *meter = meter_create(metrics);
	struct metric *metric = declare(metrics, METRIC_counter, "x_total", "kind");
	struct series *duration = meter_own(meter, METRIC_loop_lag, 0);
	struct series *summary =
		meter_series(meter, declare(metrics, METRIC_summary, "s", NULL), NULL, 0);
	char text[16];

	for (int i = 0; i < STEPS; i++) {
		int size = snprintf(text, sizeof(text), "%d", i % 100);
		struct slice value = slice_of(text, (size_t)size);

		series_add(meter_series(meter, metric, &value, 1), 1);
		series_observe(duration, 0.002);
		series_observe(summary, i % 100 < 60 ? 0.002 : 5);
		series_set(meter_own(meter, METRIC_pool_max, 1, SLICE("pg")), 8);
	}
	return NULL;
}

static void threads_record_while_others_scrape(void **state)
{
	struct metrics *metrics = metrics_create();
	pthread_t threads[THREADS];
	struct look look;

	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, record, metrics), 0);
	for (int i = 0; i < 20; i++)
		look_at(metrics, SLICE("s"), ANY);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	look = look_at(metrics, SLICE("x_total"), SLICE("7"));
	assert_true(look.number == THREADS * STEPS / 100);
	assert_int_equal(look.points, 100);
	look = look_at(metrics, SLICE("eventloop_lag_seconds"), ANY);
	assert_int_equal(look.count, THREADS * STEPS);
	look = look_at(metrics, SLICE("s"), ANY);
	assert_int_equal(look.count, THREADS * STEPS);
	assert_true(near(look.quantiles[0], 0.002) && near(look.quantiles[2], 5));
	assert_true(look_at(metrics, SLICE("db_pool_connections_max"), ANY).number == 8);
	metrics_destroy(metrics);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(meters_are_summed_by_label),
		cmocka_unit_test(the_same_labels_are_the_same_series),
		cmocka_unit_test(too_many_label_sets_fold_into_one),
		cmocka_unit_test(bad_label_values_are_mended_and_found_again),
		cmocka_unit_test(an_added_gauge_is_a_sum_and_a_set_one_the_newest),
		cmocka_unit_test(an_observation_on_a_bound_is_below_it),
		cmocka_unit_test(a_summary_tells_the_quantiles_of_all_meters),
		cmocka_unit_test(its_quantiles_are_of_the_last_minute_its_count_is_not),
		cmocka_unit_test(a_summary_has_fewer_label_sets),
		cmocka_unit_test(every_own_family_is_declared),
		cmocka_unit_test(a_second_declaration_is_the_same_or_refused),
		cmocka_unit_test(bad_definitions_are_bad_input),
		cmocka_unit_test(one_value_can_be_asked_for),
		cmocka_unit_test(threads_record_while_others_scrape),
	};

	return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
