/* SPDX-License-Identifier: MIT */
/* edition_test.c -- what scripts declare shows when their version of the service does. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/random.h"
#include "watch/metrics.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

static struct metrics *metrics;
static struct meter *meter; /* of a worker */

static int open_metrics(void **state)
{
	metrics = metrics_create();
	meter = meter_create(metrics);
	return 0;
}

static int close_metrics(void **state)
{
	metrics_destroy(metrics);
	return 0;
}

/* A name ending in _total is a counter, in _seconds a histogram, in _quantiles a summary,
 * any other a gauge. */
static struct metric_def definition(const char *name, const char *help, const char *label)
{
	struct metric_def def = { .name = slice_text(name),
				  .help = slice_text(help),
				  .labels = { slice_text(label) },
				  .label_count = label != NULL };

	def.type = slice_ends_with(def.name, SLICE("_total"))	    ? METRIC_counter
		   : slice_ends_with(def.name, SLICE("_seconds"))   ? METRIC_histogram
		   : slice_ends_with(def.name, SLICE("_quantiles")) ? METRIC_summary
								    : METRIC_gauge;
	return def;
}

static struct metric *declare(unsigned edition, const char *name, const char *help)
{
	struct metric_def def = definition(name, help, NULL);

	return metrics_declare_in(metrics, edition, &def, NULL);
}

static void assert_refused(unsigned edition, const char *name, const char *part)
{
	struct metric_def def = definition(name, "Another help.", NULL);
	struct fault why = { 0 };

	assert_null(metrics_declare_in(metrics, edition, &def, &why));
	assert_int_equal(why.kind, FAULT_refused);
	assert_non_null(strstr(why.detail, part));
}

/* An edition that declares this one family. */
static unsigned begin_with(const char *name, const char *help)
{
	unsigned edition = metrics_edition_begin(metrics);

	assert_non_null(declare(edition, name, help));
	return edition;
}

static void commit(unsigned edition)
{
	metrics_edition_commit(metrics, edition, NULL, NULL);
}

static struct series *series_of(struct meter *of, struct metric *metric)
{
	return meter_series(of, metric, NULL, 0);
}

/* The families that are no host's, in the order they are read: "name: help\n". */
struct shown {
	struct buf text;
	struct slice name;
	bool twice; /* a name stood there twice */
};

static void note_family(void *context, const struct metric_def *def, size_t point_count)
{
	struct shown *shown = context;

	shown->twice |= slice_equal(shown->name, def->name);
	shown->name = def->name;
	if (slice_starts_with(def->name, SLICE("x_")))
		buf_printf(&shown->text, "%.*s: %.*s\n", SLICE_PRINT(def->name),
			   SLICE_PRINT(def->help));
}

static void note_point(void *context, const struct metric_def *def,
		       const struct metric_point *point)
{
}

static struct shown look(void)
{
	struct shown shown = { 0 };
	struct metrics_reader reader = { note_family, note_point, &shown };

	metrics_read(metrics, &reader);
	return shown;
}

static void assert_shown(const char *expected)
{
	struct shown shown = look();

	assert_string_equal(buf_text(&shown.text), expected);
	assert_false(shown.twice);
	buf_finish(&shown.text);
}

static void assert_value(const char *name, double expected)
{
	double value;

	assert_true(metrics_value(metrics, slice_text(name), NULL, 0, &value));
	assert_true(value == expected);
}

/* --- showing and hiding ----------------------------------------------------------- */

static void editions_are_numbered_from_one(void **state)
{
	assert_int_equal(metrics_edition_begin(metrics), 1);
	assert_int_equal(metrics_edition_begin(metrics), 2);
}

static void nothing_shows_before_the_commit(void **state)
{
	unsigned edition = begin_with("x_total", "Of one.");
	double value;

	series_add(series_of(meter, declare(edition, "x_total", "Of one.")), 3);
	assert_shown("");
	assert_false(metrics_value(metrics, SLICE("x_total"), NULL, 0, &value));
	commit(edition);
	assert_shown("x_total: Of one.\n");
	assert_value("x_total", 3);
}

static void the_next_edition_hides_what_it_does_not_declare(void **state)
{
	unsigned first = begin_with("x_total", "Stays."), second, third;
	struct metric *gone = declare(first, "x_gone", "Goes.");

	commit(first);
	series_set(series_of(meter, gone), 5);
	second = begin_with("x_total", "Stays.");
	assert_shown("x_gone: Goes.\nx_total: Stays.\n");
	commit(second);
	assert_shown("x_total: Stays.\n");
	series_set(series_of(meter, gone), 6); /* a task of the first goes on */
	third = begin_with("x_gone", "Goes.");
	commit(third);
	assert_shown("x_gone: Goes.\n");
	assert_value("x_gone", 6);
}

static void a_family_declared_alike_goes_on_counting(void **state)
{
	unsigned first = begin_with("x_total", "Alike."), second;
	struct metric *metric = declare(first, "x_total", "Alike.");

	commit(first);
	series_add(series_of(meter, metric), 1);
	second = metrics_edition_begin(metrics);
	assert_ptr_equal(declare(second, "x_total", "Alike."), metric);
	series_add(series_of(meter, metric), 1);
	commit(second);
	series_add(series_of(meter, metric), 1);
	assert_value("x_total", 3);
}

static void note_name(void *context, struct slice name)
{
	buf_printf(context, "%.*s ", SLICE_PRINT(name));
}

static void another_definition_replaces_and_says_so(void **state)
{
	unsigned first = begin_with("x_total", "Before."), second, third;
	struct metric *before = declare(first, "x_total", "Before."), *after;
	struct buf names = { 0 };

	declare(first, "x_same", "Same.");
	metrics_edition_commit(metrics, first, note_name, &names);
	assert_string_equal(buf_text(&names), "");
	series_add(series_of(meter, before), 7);
	second = begin_with("x_same", "Same.");
	declare(second, "x_new", "New.");
	after = declare(second, "x_total", "After.");
	assert_ptr_not_equal(before, after);
	series_add(series_of(meter, after), 1);
	assert_value("x_total", 7);
	metrics_edition_commit(metrics, second, note_name, &names);
	assert_string_equal(buf_text(&names), "x_total ");
	assert_shown("x_new: New.\nx_same: Same.\nx_total: After.\n");
	assert_value("x_total", 1);
	series_add(series_of(meter, before), 1); /* harms nobody */
	assert_value("x_total", 1);
	third = begin_with("x_total", "Before.");
	metrics_edition_commit(metrics, third, note_name, &names);
	assert_string_equal(buf_text(&names), "x_total x_total ");
	assert_value("x_total", 8);
	buf_finish(&names);
}

static void labels_and_bounds_are_part_of_a_definition(void **state)
{
	struct metric_def def = definition("x_seconds", "Help.", NULL);
	struct metric *found[4];

	for (int i = 0; i < 4; i++) {
		unsigned edition = metrics_edition_begin(metrics);

		if (i == 2)
			def.label_count = 1, def.labels[0] = SLICE("kind");
		if (i == 3)
			def.bound_count = 1, def.bounds[0] = 1;
		found[i] = metrics_declare_in(metrics, edition, &def, NULL);
		assert_non_null(found[i]);
	}
	assert_ptr_equal(found[0], found[1]);
	assert_ptr_not_equal(found[1], found[2]);
	assert_ptr_not_equal(found[2], found[3]);
}

static void an_edition_may_be_committed_again(void **state)
{
	unsigned first = begin_with("x_a", "A."), second = begin_with("x_b", "B.");

	commit(first);
	commit(first);
	assert_shown("x_a: A.\n");
	commit(second);
	assert_shown("x_b: B.\n");
	commit(first);
	assert_shown("x_a: A.\n");
}

static void help_that_is_not_utf8_is_the_same_help_again(void **state)
{
	unsigned first = begin_with("x_total", "\xff");
	struct metric *metric = declare(first, "x_total", "\xff");

	assert_non_null(metric);
	assert_ptr_equal(declare(metrics_edition_begin(metrics), "x_total", "\xff"),
			 metric);
}

/* --- declaring late --------------------------------------------------------------- */

static void declared_in_the_current_edition_it_shows_at_once(void **state)
{
	unsigned edition = begin_with("x_a", "A.");

	commit(edition);
	assert_non_null(declare(edition, "x_b", "B."));
	assert_shown("x_a: A.\nx_b: B.\n");
	assert_refused(edition, "x_b", "x_b is already declared, and differently");
}

static void declared_in_an_older_edition_it_stays_hidden(void **state)
{
	unsigned first = begin_with("x_a", "A."), second;
	struct metric *late;

	commit(first);
	second = begin_with("x_b", "B.");
	commit(second);
	late = declare(first, "x_late", "Late.");
	assert_non_null(late);
	series_set(series_of(meter, late), 1);
	assert_ptr_equal(declare(first, "x_b", "B."), declare(second, "x_b", "B."));
	assert_shown("x_b: B.\n");
	/* The newer one may call something else by that name. */
	assert_non_null(declare(second, "x_late", "Mine."));
	assert_shown("x_b: B.\nx_late: Mine.\n");
}

/* --- conflicts -------------------------------------------------------------------- */

static void conflicts_with_what_shows_anyway_are_refused(void **state)
{
	unsigned edition = metrics_edition_begin(metrics);

	assert_non_null(declare(0, "x_total", "At once."));
	assert_refused(edition, "x_total", "x_total is already declared");
	assert_refused(edition, "x", "x would be mistaken for x_total");
	assert_refused(edition, "tasks", "tasks is already declared");
	assert_refused(edition, "http_requests_total", "already declared");
	assert_ptr_equal(declare(edition, "x_total", "At once."),
			 declare(0, "x_total", "At once."));
	commit(edition);
	commit(metrics_edition_begin(metrics));
	assert_shown("x_total: At once.\n");
}

static void conflicts_inside_an_edition_are_refused(void **state)
{
	unsigned first = begin_with("x_total", "One."), second;

	assert_refused(first, "x_total", "x_total is already declared");
	assert_refused(first, "x", "mistaken for x_total");
	second = begin_with("x_total", "Two.");
	assert_refused(second, "x_total", "x_total is already declared");
	/* Known from the first, and no less a conflict. */
	assert_null(declare(second, "x_total", "One."));
	assert_non_null(declare(first, "x_total", "One."));
}

static void what_is_declared_at_once_is_refused_if_an_edition_has_the_name(void **state)
{
	unsigned edition = begin_with("x_total", "One.");
	struct metric *metric = declare(edition, "x_total", "One.");

	assert_refused(0, "x_total", "x_total is already declared");
	assert_ptr_equal(declare(0, "x_total", "One."), metric);
	assert_shown("x_total: One.\n");
	commit(metrics_edition_begin(metrics));
	assert_shown("x_total: One.\n");
}

/* --- editions that fail ----------------------------------------------------------- */

static void failed_editions_change_nothing_and_are_forgotten(void **state)
{
	unsigned current = begin_with("x_total", "Good."), last;
	struct metric *good = declare(current, "x_total", "Good."), *bad = NULL;

	commit(current);
	for (int i = 0; i < 500; i++) {
		unsigned failed = begin_with("x_total", "Bad.");
		struct metric *again = declare(failed, "x_total", "Bad.");

		assert_true(bad == NULL || again == bad);
		bad = again;
		series_add(series_of(metrics_edition_meter(metrics, failed), bad), 1);
		metrics_edition_drop(metrics, failed);
		metrics_edition_drop(metrics, failed);
		assert_shown("x_total: Good.\n");
	}
	/* So long ago, it is still the current one. */
	assert_ptr_equal(declare(current, "x_total", "Good."), good);
	assert_null(declare(current, "x_total", "Bad."));
	assert_non_null(declare(current, "x_more", "More."));
	assert_shown("x_more: More.\nx_total: Good.\n");
	commit(current);
	assert_shown("x_more: More.\nx_total: Good.\n");
	last = begin_with("x_last", "Last.");
	commit(last);
	assert_shown("x_last: Last.\n");
	/* Long gone, its tasks may still declare. */
	assert_non_null(declare(current, "x_total", "Good."));
	assert_shown("x_last: Last.\n");
}

static void two_editions_may_be_loaded_at_a_time(void **state)
{
	unsigned first = metrics_edition_begin(metrics);
	unsigned second = metrics_edition_begin(metrics);

	assert_ptr_equal(declare(first, "x_both", "Both."),
			 declare(second, "x_both", "Both."));
	assert_non_null(declare(first, "x_total", "One."));
	assert_non_null(declare(second, "x_total", "Two."));
	commit(second);
	assert_shown("x_both: Both.\nx_total: Two.\n");
	commit(first);
	assert_shown("x_both: Both.\nx_total: One.\n");
}

/* --- recording while loading ------------------------------------------------------ */

static void what_is_recorded_while_loading_shows_with_the_edition(void **state)
{
	unsigned first = begin_with("x_total", "Counter."), second;
	struct metric *counter = declare(first, "x_total", "Counter.");
	struct metric *gauge, *added, *histogram;
	struct meter *aside;

	commit(first);
	series_add(series_of(meter, counter), 10);
	second = begin_with("x_total", "Counter.");
	gauge = declare(second, "x_set", "Gauge.");
	added = declare(second, "x_added", "Gauge.");
	histogram = declare(second, "x_seconds", "Histogram.");
	aside = metrics_edition_meter(metrics, second);
	assert_ptr_equal(metrics_edition_meter(metrics, second), aside);
	series_add(series_of(aside, counter), 2);
	series_set(series_of(aside, gauge), 5);
	series_set(series_of(meter, gauge), 4); /* later, yet before it shows */
	series_add(series_of(aside, added), 1);
	series_add(series_of(meter, added), 1);
	series_observe(series_of(aside, histogram), 0.3);
	series_observe(series_of(aside, histogram), 300);
	assert_value("x_total", 10);
	commit(second);
	assert_value("x_total", 12);
	assert_value("x_set", 5);
	assert_value("x_added", 2);
	assert_value("x_seconds", 2);
	series_set(series_of(meter, gauge), 6);
	assert_value("x_set", 6);
}

static void a_series_made_while_loading_shows_with_the_edition(void **state)
{
	struct metric_def def = definition("x_total", "Counter.", "kind");
	struct slice kind = SLICE("late");
	double value;

	for (int good = 0; good <= 1; good++) {
		unsigned edition = metrics_edition_begin(metrics);
		struct metric *metric = metrics_declare_in(metrics, edition, &def, NULL);

		meter_series(metrics_edition_meter(metrics, edition), metric, &kind, 1);
		assert_false(metrics_value(metrics, def.name, &kind, 1, &value));
		if (good)
			commit(edition);
	}
	assert_true(metrics_value(metrics, def.name, &kind, 1, &value));
	assert_true(value == 0);
}

static void series_beyond_the_bound_fold_together_while_loading_too(void **state)
{
	struct metric_def def = definition("x_total", "Counter.", "kind");
	struct slice overflow = SLICE("_overflow");
	double value;
	char text[16];

	for (int round = 0; round < 2; round++) {
		unsigned edition = metrics_edition_begin(metrics);
		struct metric *metric = metrics_declare_in(metrics, edition, &def, NULL);
		struct meter *aside = metrics_edition_meter(metrics, edition);

		for (int i = 0; i < METRIC_SERIES_MAX + 5; i++) {
			int size = snprintf(text, sizeof(text), "%d", i);
			struct slice kind = slice_of(text, (size_t)size);

			series_add(meter_series(aside, metric, &kind, 1), 1);
		}
		commit(edition);
	}
	assert_true(metrics_value(metrics, def.name, &overflow, 1, &value));
	assert_true(value == 10);
}

static void note_median(void *context, const struct metric_def *def,
			const struct metric_point *point)
{
	if (def->type == METRIC_summary)
		*(double *)context = point->quantiles[0];
}

static void pass_family(void *context, const struct metric_def *def, size_t point_count)
{
}

static double median(void)
{
	double told = 0;
	struct metrics_reader reader = { pass_family, note_median, &told };

	metrics_read(metrics, &reader);
	return told;
}

static void a_summary_keeps_its_minute_over_a_reload(void **state)
{
	unsigned first = begin_with("x_quantiles", "Summary."), second, third;
	struct metric *summary = declare(first, "x_quantiles", "Summary.");
	struct metric_def other = definition("x_quantiles", "Summary.", NULL);

	series_observe(series_of(metrics_edition_meter(metrics, first), summary), 1.5);
	commit(first);
	assert_value("x_quantiles", 1);
	assert_true(fabs(median() - 1.5) < 1.5 / 64);
	series_observe(series_of(meter, summary), 12);
	second = begin_with("x_quantiles", "Summary.");
	assert_ptr_equal(declare(second, "x_quantiles", "Summary."), summary);
	series_observe(series_of(metrics_edition_meter(metrics, second), summary), 12);
	commit(second);
	assert_value("x_quantiles", 3);
	assert_true(fabs(median() - 12) < 12.0 / 64);
	/* Other quantiles are another family. */
	third = metrics_edition_begin(metrics);
	other.bounds[0] = 0.25, other.bound_count = 1;
	assert_ptr_not_equal(metrics_declare_in(metrics, third, &other, NULL), summary);
	commit(third);
	assert_true(median() == 0); /* not observed yet: it has no series */
}

/* --- a walk ----------------------------------------------------------------------- */

#define WALK_STEPS 20000
#define NAMES 4
#define KINDS 3

static const char *const walk_names[NAMES] = { "x_a", "x_b", "x_c_total", "x_d_total" };
static const char *const walk_helps[KINDS] = { "One.", "Two.", "Three." };

/* What each edition declared under each name: 1 + kind; 0: nothing. */
struct model {
	uint8_t declared[WALK_STEPS + 1][NAMES];
	unsigned begun;
	unsigned current;
};

static void assert_as_modelled(const struct model *model)
{
	struct buf text = { 0 };

	for (int name = 0; name < NAMES; name++)
		if (model->declared[model->current][name])
			buf_printf(&text, "%s: %s\n", walk_names[name],
				   walk_helps[model->declared[model->current][name] - 1]);
	assert_shown(buf_text(&text));
	buf_finish(&text);
}

static unsigned recent_edition(const struct model *model, struct random *random)
{
	unsigned back = random_below(random, 5);

	return model->begun > back ? model->begun - back : model->begun;
}

static void what_shows_is_what_the_edition_committed_last_has_declared(void **state)
{
	static struct model model;
	struct random random;

	random_init(&random, 11);
	for (int step = 0; step < WALK_STEPS; step++) {
		unsigned edition = recent_edition(&model, &random);
		unsigned name = random_below(&random, NAMES);
		unsigned kind = random_below(&random, KINDS);
		uint8_t *declared = &model.declared[edition][name];

		switch (edition == 0 ? 0 : random_below(&random, 8)) {
		case 0:
			assert_int_equal(metrics_edition_begin(metrics), ++model.begun);
			break;
		case 1:
			commit(edition);
			model.current = edition;
			break;
		case 2:
			edition = model.current ? model.current : edition;
			declared = &model.declared[edition][name];
			/* fall through */
		default:
			if (declare(edition, walk_names[name], walk_helps[kind])) {
				assert_true(*declared == 0 || *declared == kind + 1);
				*declared = (uint8_t)(kind + 1);
			} else {
				assert_true(*declared != 0 && *declared != kind + 1);
			}
		}
		if (step % 4 == 0)
			assert_as_modelled(&model);
		if (step % 16 == 0)
			metrics_check(metrics);
	}
}

/* --- threads ---------------------------------------------------------------------- */

#define EDITIONS 300

static atomic_bool done;
static size_t served; /* by serve() */

static void *load_editions(void *context)
{
	for (int i = 0; i < EDITIONS; i++) {
		unsigned edition = metrics_edition_begin(metrics);
		struct meter *aside = metrics_edition_meter(metrics, edition);

		series_add(series_of(aside, declare(edition, "x_total", "Counted.")), 1);
		declare(edition, "x_changing", i % 2 ? "Odd." : "Even.");
		if (i % 3 == 0)
			metrics_edition_drop(metrics, edition);
		else
			commit(edition);
	}
	atomic_store(&done, true);
	return NULL;
}

static void *serve(void *context)
{
	struct meter *own = meter_create(metrics);
	unsigned edition = *(unsigned *)context;

	while (!atomic_load(&done)) {
		struct metric *metric = declare(edition, "x_total", "Counted.");

		series_add(series_of(own, metric), 1);
		served++;
		series_set(series_of(own, declare(edition, "x_changing", "Old.")), 1);
	}
	return NULL;
}

static void editions_change_while_threads_record_and_scrape(void **state)
{
	unsigned edition = begin_with("x_total", "Counted.");
	pthread_t loader, server;
	double value;

	commit(edition);
	assert_non_null(declare(edition, "x_changing", "Old."));
	atomic_store(&done, false);
	assert_int_equal(pthread_create(&server, NULL, serve, &edition), 0);
	assert_int_equal(pthread_create(&loader, NULL, load_editions, NULL), 0);
	while (!atomic_load(&done)) {
		struct shown shown = look();

		assert_false(shown.twice);
		assert_non_null(strstr(buf_text(&shown.text), "x_changing: "));
		buf_finish(&shown.text);
	}
	pthread_join(loader, NULL);
	pthread_join(server, NULL);
	assert_true(metrics_value(metrics, SLICE("x_total"), NULL, 0, &value));
	assert_true(value == (double)(EDITIONS * 2 / 3 + served));
	metrics_check(metrics);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, open_metrics, close_metrics)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(editions_are_numbered_from_one),
		TEST(nothing_shows_before_the_commit),
		TEST(the_next_edition_hides_what_it_does_not_declare),
		TEST(a_family_declared_alike_goes_on_counting),
		TEST(another_definition_replaces_and_says_so),
		TEST(labels_and_bounds_are_part_of_a_definition),
		TEST(an_edition_may_be_committed_again),
		TEST(help_that_is_not_utf8_is_the_same_help_again),
		TEST(declared_in_the_current_edition_it_shows_at_once),
		TEST(declared_in_an_older_edition_it_stays_hidden),
		TEST(conflicts_with_what_shows_anyway_are_refused),
		TEST(conflicts_inside_an_edition_are_refused),
		TEST(what_is_declared_at_once_is_refused_if_an_edition_has_the_name),
		TEST(failed_editions_change_nothing_and_are_forgotten),
		TEST(two_editions_may_be_loaded_at_a_time),
		TEST(what_is_recorded_while_loading_shows_with_the_edition),
		TEST(a_series_made_while_loading_shows_with_the_edition),
		TEST(series_beyond_the_bound_fold_together_while_loading_too),
		TEST(a_summary_keeps_its_minute_over_a_reload),
		TEST(what_shows_is_what_the_edition_committed_last_has_declared),
		TEST(editions_change_while_threads_record_and_scrape),
	};

	return cmocka_run_group_tests_name("edition", tests, NULL, NULL);
}
