/* SPDX-License-Identifier: MIT */
/* timer_heap.h -- the timers of one loop, the earliest first. It knows no clock.
 *
 * A binary heap of pointers to timers that live in whoever waits. place is the index of a
 * timer, counted from 1, so that it can be moved or taken out in O(log n) without a
 * search.
 *
 * Invariants
 *   - no timer is due before the one above it.
 *   - at[timer->place] is the timer; a timer that is not in the heap has place 0.
 */
#ifndef LOOP_TIMER_HEAP_H
#define LOOP_TIMER_HEAP_H

#include "loop/loop.h"

struct timer_heap { /* zeroed is empty */
	struct timer **at; /* from 1 */
	size_t count;
	size_t capacity;
};

/* Frees the memory; timers still inside are stopped. */
void timer_heap_finish(struct timer_heap *heap);

/* Puts the timer in, or moves it, by its due. */
void timer_heap_put(struct timer_heap *heap, struct timer *timer);

/* Does nothing when it is not inside. */
void timer_heap_remove(struct timer_heap *heap, struct timer *timer);

/* NULL when there is none. */
static inline struct timer *timer_heap_first(const struct timer_heap *heap)
{
	return heap->count ? heap->at[1] : NULL;
}

/* Checks the invariants. */
void timer_heap_check(const struct timer_heap *heap);

#endif
