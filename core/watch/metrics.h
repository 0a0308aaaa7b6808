/* SPDX-License-Identifier: MIT */
/* metrics.h -- counters, gauges, histograms and summaries that threads record without
 * meeting.
 *
 * struct metrics is the registry of a process: families, each with a name, a help text
 * and label names. Each thread has a struct meter with cells of its own; a scrape sums
 * the cells of all meters. Recording is one relaxed store into the thread's own cell.
 * Finding a series by its labels is a hash look-up without a lock; making a new one takes
 * the meter's lock, which only a scrape shares. Keep the struct series * where a path is
 * hot.
 *
 * A histogram counts observations by bounds, since the start; a summary tells their
 * quantiles within the last minute (sketch.h), here and now: those of two processes
 * cannot be merged, histograms can.
 *
 * A gauge is either added to (its threads' cells are summed) or set (the newest value set
 * by any thread is the value); one family does not mix the two.
 *
 * Invariants
 *   - a series pointer stays valid as long as its meter.
 *   - a family holds at most METRIC_SERIES_MAX label sets per meter, a summary
 *     METRIC_SUMMARIES_MAX; the rest go into one series whose label values are all
 *     "_overflow", and are counted there.
 *   - label values are valid UTF-8 of at most METRIC_VALUE_MAX bytes: others are
 *     mended and cut.
 *
 * Editions: what scripts declare may change with each version of a service that is
 * loaded, and a version is loaded aside, while the one before it serves. So its families
 * are declared in an edition, and stay hidden until the edition is committed: then they
 * are shown, and those of other editions are hidden. Hidden families keep their values
 * and can be recorded into; readers do not see them.
 *
 *     metrics_edition_begin -> metrics_declare_in* -> metrics_edition_commit
 *                                                 \-> metrics_edition_drop
 *
 *   - the shown families are those declared at once and those of the edition committed
 *     last; no two of them could be mistaken for each other.
 *   - an edition that is not committed changes nothing that a reader sees.
 *   - a definition is kept once, however many editions declare it.
 */
#ifndef WATCH_METRICS_H
#define WATCH_METRICS_H

#include "base/fault.h"
#include "watch/observer.h"

#include <stdint.h>

#define METRIC_LABELS_MAX 8
#define METRIC_BOUNDS_MAX 32
#define METRIC_SERIES_MAX 2000
#define METRIC_SUMMARIES_MAX 200 /* some 6 KB each, 55 KB at most */
#define METRIC_VALUE_MAX 256

enum metric_type { METRIC_counter = 1, METRIC_gauge, METRIC_histogram, METRIC_summary };

struct metric_def { /* copied when declared */
	enum metric_type type;
	struct slice name; /* Prometheus name, `_total` included */
	struct slice help;
	struct slice labels[METRIC_LABELS_MAX];
	size_t label_count;
	/* Histogram: upper bounds, ascending, without +Inf. None: the HTTP duration
	 * bounds of OpenTelemetry. Summary: the quantiles, ascending, from 0 to 1. None:
	 * 0.5, 0.9 and 0.99. */
	double bounds[METRIC_BOUNDS_MAX];
	size_t bound_count;
	/* OTLP: an empty otlp_name means the Prometheus name with `_total` off; "-" keeps
	 * the family out. */
	struct slice otlp_name;
	struct slice otlp_unit; /* UCUM: "s", "By", "{request}" */
	/* Attribute keys; empty: the label's own name. */
	struct slice otlp_labels[METRIC_LABELS_MAX];
};

struct metrics;
struct metric;
struct meter;
struct series;

struct metrics *metrics_create(void);
void metrics_destroy(struct metrics *metrics); /* and its meters */

/* One per recording thread; the registry owns it. Any thread. */
struct meter *meter_create(struct metrics *metrics);

/* Borrowed for the life of the registry. The same definition again gives the same family;
 * another one under the same name, or one whose samples would be mistaken for another
 * family's, is refused. A bad name, label or bounds is bad_input; a counter's name ends
 * in _total. Any thread. */
struct metric *metrics_declare(struct metrics *metrics, const struct metric_def *def,
			       struct fault *why);

/* Gives the number of a new edition, from 1. It can be committed until
 * METRIC_EDITIONS_OPEN more have begun. Any thread, as are the next four. */
#define METRIC_EDITIONS_OPEN 64
unsigned metrics_edition_begin(struct metrics *metrics);

/* metrics_declare in an edition; 0: metrics_declare. A family that any edition declared
 * in the same way is used again, with its values. Refused is what conflicts with a family
 * declared at once or with another of the same edition. In the edition committed last the
 * family is shown at once. */
struct metric *metrics_declare_in(struct metrics *metrics, unsigned edition,
				  const struct metric_def *def, struct fault *why);

/* Where a thread records while it loads an edition's scripts: what it counts there shows
 * when the edition is committed, and a gauge it sets is set then. Borrowed until the
 * edition is committed or dropped; one thread at a time. */
struct meter *metrics_edition_meter(struct metrics *metrics, unsigned edition);

/* Shows the edition. replaced (which may be NULL) is called for each name whose shown
 * family is another than before: its values start anew. */
typedef void metrics_replaced_fn(void *context, struct slice name);
void metrics_edition_commit(struct metrics *metrics, unsigned edition,
			    metrics_replaced_fn *replaced, void *context);

/* The edition will not be committed: frees its meter. */
void metrics_edition_drop(struct metrics *metrics, unsigned edition);

/* As it was declared, defaults filled in. Borrowed for the life of the registry. */
const struct metric_def *metric_definition(const struct metric *metric);

/* The host's own families, from metrics.def. */
enum metric_id {
#define SERIES(id, ...) METRIC_##id,
#include "watch/metrics.def"
#undef SERIES
	METRIC_ids
};
struct metric *metrics_own(struct metrics *metrics, enum metric_id id);

/* Never NULL. count must be the family's label_count. The meter's own thread only. */
struct series *meter_series(struct meter *meter, struct metric *metric,
			    const struct slice *values, size_t count);

/* The same for one of the host's families: meter_own(meter, METRIC_x, 2, SLICE("a"),
 * SLICE("b")). */
struct series *meter_own(struct meter *meter, enum metric_id id, size_t count, ...);

/* The meter's own thread only. Ignored: a negative step of a counter, a negative
 * observation of a summary, and NaN except in series_set. */
void series_add(struct series *series, double amount);
void series_set(struct series *series, double value);
void series_observe(struct series *series, double value);

/* --- reading side: any thread ----------------------------------------------------- */

struct metric_point {
	const struct slice *values; /* label values, as many as the family has labels */
	double value; /* counter, gauge */
	uint64_t count; /* histogram, summary */
	double sum;
	const uint64_t *buckets; /* histogram: bound_count + 1, not cumulative */
	const double *quantiles; /* summary: bound_count; NaN: nothing was observed */
};

/* Calls family once per family by name order, then point for each of its series in label
 * order; both borrowed during the call. */
struct metrics_reader {
	void (*family)(void *context, const struct metric_def *def, size_t point_count);
	void (*point)(void *context, const struct metric_def *def,
		      const struct metric_point *point);
	void *context;
};
void metrics_read(struct metrics *metrics, const struct metrics_reader *reader);

/* One series of a shown family, summed as for a scrape: the value of a counter or gauge,
 * the count of a histogram or summary. False: there is none, or count is not its
 * label_count. */
bool metrics_value(struct metrics *metrics, struct slice name, const struct slice *values,
		   size_t count, double *value);

/* Checks the invariants. */
void metrics_check(struct metrics *metrics);

#endif
