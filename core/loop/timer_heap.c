/* SPDX-License-Identifier: MIT */
#include "loop/timer_heap.h"
#include "base/check.h"

#include <stdlib.h>

static void timer_set(struct timer_heap *heap, size_t place, struct timer *timer)
{
	heap->at[place] = timer;
	timer->place = place;
}

/* Moves the timer from an empty place up to where it belongs. */
static void timer_rise(struct timer_heap *heap, size_t place, struct timer *timer)
{
	while (place > 1 && timer->due.ns < heap->at[place / 2]->due.ns) {
		timer_set(heap, place, heap->at[place / 2]);
		place /= 2;
	}
	timer_set(heap, place, timer);
}

static void timer_sink(struct timer_heap *heap, size_t place, struct timer *timer)
{
	for (;;) {
		size_t below = place * 2;

		if (below > heap->count)
			break;
		if (below < heap->count &&
		    heap->at[below + 1]->due.ns < heap->at[below]->due.ns)
			below++;
		if (timer->due.ns <= heap->at[below]->due.ns)
			break;
		timer_set(heap, place, heap->at[below]);
		place = below;
	}
	timer_set(heap, place, timer);
}

static void timer_settle(struct timer_heap *heap, size_t place, struct timer *timer)
{
	if (place > 1 && timer->due.ns < heap->at[place / 2]->due.ns)
		timer_rise(heap, place, timer);
	else
		timer_sink(heap, place, timer);
}

void timer_heap_put(struct timer_heap *heap, struct timer *timer)
{
	if (timer->place) {
		timer_settle(heap, timer->place, timer);
		return;
	}
	if (heap->count + 1 >= heap->capacity) {
		heap->capacity = heap->capacity ? heap->capacity * 2 : 64;
		heap->at = mem_resize(heap->at, heap->capacity * sizeof(*heap->at));
	}
	timer_rise(heap, ++heap->count, timer);
}

void timer_heap_remove(struct timer_heap *heap, struct timer *timer)
{
	size_t place = timer->place;
	struct timer *last;

	if (!place)
		return;
	check(place <= heap->count && heap->at[place] == timer);
	last = heap->at[heap->count--];
	timer->place = 0;
	if (last != timer)
		timer_settle(heap, place, last);
}

void timer_heap_finish(struct timer_heap *heap)
{
	for (size_t i = 1; i <= heap->count; i++)
		heap->at[i]->place = 0;
	free(heap->at);
	*heap = (struct timer_heap){ 0 };
}

void timer_heap_check(const struct timer_heap *heap)
{
	check(heap->count == 0 || heap->count < heap->capacity);
	for (size_t i = 1; i <= heap->count; i++) {
		check(heap->at[i]->place == i);
		check(i == 1 || heap->at[i]->due.ns >= heap->at[i / 2]->due.ns);
	}
}
