/* SPDX-License-Identifier: MIT */
/* cells.h -- how metrics.c, edition.c, meter.c and scrape.c share the registry. Nobody
 * else includes it.
 *
 * Who writes what:
 *   - struct metrics: whoever declares or commits, under its lock; meters are pushed onto
 * a list that only grows. A struct metric does not change once it is declared, except for
 * `sets`, and for what says where it is shown, under the registry's lock.
 *   - the meter of an edition: the thread that loads it; then, under the registry's lock,
 * the thread that commits it, into `committed`.
 *   - the tables of a struct meter: its own thread, under its lock, which a scrape takes
 * to copy series pointers. Its own thread reads them without the lock.
 *   - the cells of a struct series: the meter's own thread, with relaxed stores; a scrape
 * reads them with relaxed loads. A scrape may so see a sum without its newest bucket.
 * The sketch of a summary has its own rules (sketch.h).
 */
#ifndef WATCH_CELLS_H
#define WATCH_CELLS_H

#include "base/arena.h"
#include "watch/metrics.h"
#include "watch/sketch.h"

#include <pthread.h>
#include <stdatomic.h>

struct metric {
	struct metric_def def;
	size_t index; /* its place in every meter */
	bool lasting; /* declared at once, for good */
	bool shown; /* lasting ones are */
	uint64_t editions; /* that declared it, by edition_bit */
	_Atomic uint64_t
		sets; /* how often a gauge was set, by any thread: orders the values */
};

struct metrics {
	pthread_mutex_t lock;
	struct metric **families;
	size_t count;
	size_t capacity;
	struct arena texts; /* what the definitions point to */
	struct metric *own[METRIC_ids];
	unsigned begun; /* newest edition; 0: there is none */
	unsigned current; /* committed last; 0: none was */
	struct edition *open; /* those that have a meter */
	struct meter *committed; /* what edition's meters have held */
	_Atomic(struct meter *) meters;
};

/* A meter that no scrape reads. */
struct edition {
	struct edition *next;
	unsigned number;
	struct meter *meter;
};

struct meter {
	struct meter *next;
	struct metrics *metrics;
	pthread_mutex_t lock;
	struct family **families; /* by metric index; NULL: nothing recorded */
	size_t family_count;
};

/* The series of one metric in one meter: a hash table with linear probing, at most half
 * full. */
struct family {
	struct series **slots;
	size_t mask;
	size_t count; /* in slots */
	struct series *overflow;
};

struct series {
	struct metric *metric;
	uint64_t hash;
	struct slice *values;
	_Atomic uint64_t set_order; /* gauge: 0 when it was never set */
	_Atomic double value; /* histogram, summary: the sum */
	struct sketch *sketch; /* of a summary */
	_Atomic uint64_t buckets[]; /* summary: one, the count */
};

/* Like meter_create, but no scrape reads it. */
struct meter *meter_create_aside(struct metrics *metrics);
void meter_destroy(struct meter *meter);

/* Adds what from has recorded to what into has; gauges that were set are set. Both are
 * the caller's alone. */
void meter_fold(struct meter *into, const struct meter *from);

/* edition.c, under the registry's lock. */
bool edition_holds(const struct metrics *metrics, unsigned edition,
		   const struct metric *metric);
void edition_put(struct metrics *metrics, unsigned edition, struct metric *metric);
void editions_finish(struct metrics *metrics);

#endif
