/* SPDX-License-Identifier: MIT */
/* sketch.h -- the quantiles of what one thread observed within the last minute. A summary
 * has one per thread and label set; a scrape merges them.
 *
 * A value falls into a bucket by its exponent (its octave) and the five highest bits of
 * its mantissa: 32 buckets an octave. A quantile is the middle of the bucket that its
 * rank falls into. That is at most 1/64 (1.6 %) beside the observation of that rank,
 * whatever was observed, and however many sketches were merged: their counts add up, so
 * merging costs no accuracy.
 *
 * The window slides in SKETCH_SLOTS steps of SKETCH_SLOT_MS: quantiles are those of the
 * last 50 to 60 seconds. The steps are those of the clock, the same on every thread. A
 * thread that moves on to a new step empties the counts of the one that left the window,
 * and says so to readers:
 *
 *     number: old --> 0 --counts are emptied--> new
 *
 * A reader takes the counts of a step, then looks whether its number is still the same,
 * and otherwise leaves them out: they have just left the window.
 *
 * Invariants
 *   - one thread writes; any thread reads, without a lock.
 *   - a page, once made, stays as long as the sketch.
 *   - values below 2^-30 (10^-9), zero among them, count as zero; values of 2^40 (10^12)
 *     and above as the bucket below it.
 *   - at most 55 KiB: 620 bytes, and 768 for each octave that was observed. Durations
 *     from 1 to 100 ms are 7 octaves, and take a scrape some 3 us.
 */
#ifndef WATCH_SKETCH_H
#define WATCH_SKETCH_H

#include "base/clock.h"

#include <stdatomic.h>

#define SKETCH_SLOTS 6
#define SKETCH_SLOT_MS 10000
#define SKETCH_STEPS 32 /* buckets of an octave */
#define SKETCH_PAGES 71 /* zero, and an octave each */

struct sketch_page { /* what fell into one octave */
	_Atomic uint32_t counts[SKETCH_SLOTS][SKETCH_STEPS];
};

struct sketch { /* zeroed: nothing was observed */
	_Atomic uint64_t numbers[SKETCH_SLOTS]; /* of the clock's steps, from 1 */
	_Atomic(struct sketch_page *) pages[SKETCH_PAGES]; /* NULL: nothing fell there */
};

/* The writing thread only. value: no NaN. */
void sketch_add(struct sketch *sketch, double value, struct mono now);

/* Adds what from holds to into; both are the caller's alone. */
void sketch_fold(struct sketch *into, const struct sketch *from);

/* Frees the pages. */
void sketch_finish(struct sketch *sketch);

/* --- reading: any thread ---------------------------------------------------------- */

struct sketch_sum { /* of any number of sketches; zeroed is empty */
	uint64_t count;
	uint64_t counts[SKETCH_PAGES][SKETCH_STEPS];
};

/* Adds what the sketch has seen in the window that ends now. */
void sketch_read(const struct sketch *sketch, struct mono now, struct sketch_sum *sum);

/* Of the values in ascending order, the one of rank count * quantile, rounded up, and at
 * least the first. NaN when there are none. */
double sketch_quantile(const struct sketch_sum *sum, double quantile);

#endif
