/* SPDX-License-Identifier: MIT */
/* sketch.c -- counts by octave and step, in six slots that take turns.
 *
 * sketch_add is a hot path: a shift for the place, a load, an addition and a store, some
 * 3 ns beside the clock (test/bench/watch_bench.c); no lock. It allocates once for each
 * octave, and once in SKETCH_SLOT_MS it empties a slot: 128 bytes for each octave.
 *
 * Counts are stored with release and loaded with acquire, so that a reader who has seen a
 * count of the new turn also sees that the slot's number is no longer the old one. On
 * x86 both are plain moves.
 */
#include "watch/sketch.h"

#include "base/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LINE 64 /* bytes of a cache line: pages of two threads must not share one */
#define MANTISSA_BITS 52
#define STEP_BITS 5
#define EXPONENT_BIAS 1023
#define EXPONENT_LEAST (-30)
#define NS_PER_SLOT (INT64_C(1000000) * SKETCH_SLOT_MS)

_Static_assert(1 << STEP_BITS == SKETCH_STEPS, "a step is so many bits of the mantissa");

static struct sketch_page *page_make(struct sketch *sketch, size_t page);
static void slot_turn(struct sketch *sketch, size_t slot, uint64_t number);

static inline uint64_t number_at(struct mono now)
{
	return (uint64_t)(now.ns / NS_PER_SLOT) + 1;
}

/* The page of a value, and the bucket in it. */
static inline size_t place_of(double value, size_t *step)
{
	uint64_t bits;
	int64_t page;

	*step = 0;
	if (!(value >= 0x1p-30))
		return 0;
	memcpy(&bits, &value, sizeof(bits));
	page = (int64_t)(bits >> MANTISSA_BITS) - EXPONENT_BIAS - EXPONENT_LEAST + 1;
	*step = bits >> (MANTISSA_BITS - STEP_BITS) & (SKETCH_STEPS - 1);
	if (page < SKETCH_PAGES)
		return (size_t)page;
	*step = SKETCH_STEPS - 1;
	return SKETCH_PAGES - 1;
}

static inline void count_add(_Atomic uint32_t *count, uint32_t more)
{
	uint32_t before = atomic_load_explicit(count, memory_order_relaxed);

	atomic_store_explicit(count, before + more, memory_order_release);
}

void sketch_add(struct sketch *sketch, double value, struct mono now)
{
	uint64_t number = number_at(now);
	size_t slot = number % SKETCH_SLOTS, step;
	size_t place = place_of(value, &step);
	struct sketch_page *page =
		atomic_load_explicit(&sketch->pages[place], memory_order_relaxed);

	if (atomic_load_explicit(&sketch->numbers[slot], memory_order_relaxed) != number)
		slot_turn(sketch, slot, number);
	if (page == NULL)
		page = page_make(sketch, place);
	count_add(&page->counts[slot][step], 1);
}

/* --- once an octave, once a turn -------------------------------------------------- */

static struct sketch_page *page_make(struct sketch *sketch, size_t page)
{
	struct sketch_page *made = aligned_alloc(LINE, sizeof(*made));

	_Static_assert(sizeof(*made) % LINE == 0, "aligned_alloc wants it so");
	check(made != NULL);
	memset(made, 0, sizeof(*made));
	atomic_store_explicit(&sketch->pages[page], made, memory_order_release);
	return made;
}

static void slot_turn(struct sketch *sketch, size_t slot, uint64_t number)
{
	atomic_store_explicit(&sketch->numbers[slot], 0, memory_order_relaxed);
	for (size_t i = 0; i < SKETCH_PAGES; i++) {
		struct sketch_page *page =
			atomic_load_explicit(&sketch->pages[i], memory_order_relaxed);

		for (size_t step = 0; page && step < SKETCH_STEPS; step++)
			atomic_store_explicit(&page->counts[slot][step], 0,
					      memory_order_release);
	}
	atomic_store_explicit(&sketch->numbers[slot], number, memory_order_release);
}

/* Of two turns of one slot the newer one stays. */
static void slot_fold(struct sketch *into, const struct sketch *from, size_t slot)
{
	uint64_t number = atomic_load(&from->numbers[slot]);

	if (number == 0 || number < atomic_load(&into->numbers[slot]))
		return;
	if (number > atomic_load(&into->numbers[slot]))
		slot_turn(into, slot, number);
	for (size_t i = 0; i < SKETCH_PAGES; i++) {
		const struct sketch_page *page = atomic_load(&from->pages[i]);
		struct sketch_page *to = atomic_load(&into->pages[i]);

		if (page == NULL)
			continue;
		if (to == NULL)
			to = page_make(into, i);
		for (size_t step = 0; step < SKETCH_STEPS; step++)
			count_add(&to->counts[slot][step],
				  atomic_load(&page->counts[slot][step]));
	}
}

void sketch_fold(struct sketch *into, const struct sketch *from)
{
	for (size_t slot = 0; slot < SKETCH_SLOTS; slot++)
		slot_fold(into, from, slot);
}

void sketch_finish(struct sketch *sketch)
{
	for (size_t i = 0; i < SKETCH_PAGES; i++)
		free(atomic_load(&sketch->pages[i]));
	memset(sketch, 0, sizeof(*sketch));
}

/* --- reading ---------------------------------------------------------------------- */

struct slot_counts {
	size_t count; /* pages that there are; the rest is not set */
	size_t pages[SKETCH_PAGES];
	uint32_t at[SKETCH_PAGES][SKETCH_STEPS];
};

static void slot_take(const struct sketch *sketch, size_t slot, struct slot_counts *taken)
{
	taken->count = 0;
	for (size_t i = 0; i < SKETCH_PAGES; i++) {
		struct sketch_page *page =
			atomic_load_explicit(&sketch->pages[i], memory_order_acquire);

		if (page == NULL)
			continue;
		for (size_t step = 0; step < SKETCH_STEPS; step++)
			taken->at[taken->count][step] = atomic_load_explicit(
				&page->counts[slot][step], memory_order_acquire);
		taken->pages[taken->count++] = i;
	}
}

static void sum_add(struct sketch_sum *sum, const struct slot_counts *taken)
{
	for (size_t i = 0; i < taken->count; i++)
		for (size_t step = 0; step < SKETCH_STEPS; step++) {
			sum->counts[taken->pages[i]][step] += taken->at[i][step];
			sum->count += taken->at[i][step];
		}
}

void sketch_read(const struct sketch *sketch, struct mono now, struct sketch_sum *sum)
{
	uint64_t newest = number_at(now);
	struct slot_counts taken;

	for (size_t slot = 0; slot < SKETCH_SLOTS; slot++) {
		uint64_t number = atomic_load_explicit(&sketch->numbers[slot],
						       memory_order_acquire);

		if (number == 0 || number + SKETCH_SLOTS <= newest)
			continue;
		slot_take(sketch, slot, &taken);
		if (atomic_load_explicit(&sketch->numbers[slot], memory_order_relaxed) ==
		    number)
			sum_add(sum, &taken);
	}
}

/* The middle of a bucket. */
static double value_at(size_t page, size_t step)
{
	if (page == 0)
		return 0;
	return ldexp(1 + ((double)step + 0.5) / SKETCH_STEPS,
		     (int)page - 1 + EXPONENT_LEAST);
}

double sketch_quantile(const struct sketch_sum *sum, double quantile)
{
	double rank = ceil(quantile * (double)sum->count);
	uint64_t seen = 0;

	for (size_t i = 0; i < SKETCH_PAGES; i++)
		for (size_t step = 0; step < SKETCH_STEPS; step++) {
			seen += sum->counts[i][step];
			if (seen > 0 && (double)seen >= rank)
				return value_at(i, step);
		}
	return NAN;
}
