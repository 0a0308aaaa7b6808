/* SPDX-License-Identifier: MIT */
/* edition.c -- which families are shown: those declared at once, and those of the edition
 * committed last.
 *
 * A family remembers in one bit each which of the newest METRIC_EDITIONS_OPEN editions
 * declared it; beginning an edition takes its bit from the one that many before it. For
 * the current edition `shown` says the same, however long ago it began. Nothing grows
 * with the number of editions.
 */
#include "watch/cells.h"

#include "base/check.h"

#include <stdlib.h>

static uint64_t edition_bit(unsigned edition)
{
	return UINT64_C(1) << edition % METRIC_EDITIONS_OPEN;
}

/* Whether its bit is still its own. */
static bool is_recent(const struct metrics *metrics, unsigned edition)
{
	return metrics->begun - edition < METRIC_EDITIONS_OPEN;
}

bool edition_holds(const struct metrics *metrics, unsigned edition,
		   const struct metric *metric)
{
	if (edition == metrics->current)
		return metric->shown;
	return is_recent(metrics, edition) && (metric->editions & edition_bit(edition));
}

void edition_put(struct metrics *metrics, unsigned edition, struct metric *metric)
{
	if (edition == 0)
		metric->lasting = true;
	else if (is_recent(metrics, edition))
		metric->editions |= edition_bit(edition);
	if (edition == 0 || edition == metrics->current)
		metric->shown = true;
}

unsigned metrics_edition_begin(struct metrics *metrics)
{
	unsigned edition;

	pthread_mutex_lock(&metrics->lock);
	edition = ++metrics->begun;
	for (size_t i = 0; i < metrics->count; i++)
		metrics->families[i]->editions &= ~edition_bit(edition);
	pthread_mutex_unlock(&metrics->lock);
	return edition;
}

/* --- what is recorded while an edition is loaded ---------------------------------- */

struct meter *metrics_edition_meter(struct metrics *metrics, unsigned edition)
{
	struct edition *open;

	pthread_mutex_lock(&metrics->lock);
	for (open = metrics->open; open && open->number != edition; open = open->next)
		;
	if (open == NULL) {
		open = mem_zeroed(1, sizeof(*open));
		open->number = edition;
		open->meter = meter_create_aside(metrics);
		open->next = metrics->open;
		metrics->open = open;
	}
	pthread_mutex_unlock(&metrics->lock);
	return open->meter;
}

/* Takes the edition's entry out of the list; NULL when it has none. */
static struct edition *edition_take(struct metrics *metrics, unsigned edition)
{
	struct edition **at = &metrics->open, *open;

	while (*at && (*at)->number != edition)
		at = &(*at)->next;
	open = *at;
	if (open)
		*at = open->next;
	return open;
}

static void edition_destroy(struct edition *open)
{
	if (open)
		meter_destroy(open->meter);
	free(open);
}

void metrics_edition_drop(struct metrics *metrics, unsigned edition)
{
	struct edition *open;

	pthread_mutex_lock(&metrics->lock);
	open = edition_take(metrics, edition);
	pthread_mutex_unlock(&metrics->lock);
	edition_destroy(open);
}

void editions_finish(struct metrics *metrics)
{
	while (metrics->open)
		edition_destroy(edition_take(metrics, metrics->open->number));
}

/* --- committing ------------------------------------------------------------------- */

/* Whether a family of this name, and another one, is shown until now. */
static bool replaces(const struct metrics *metrics, const struct metric *metric)
{
	for (size_t i = 0; !metric->shown && i < metrics->count; i++)
		if (metrics->families[i]->shown &&
		    slice_equal(metrics->families[i]->def.name, metric->def.name))
			return true;
	return false;
}

/* Gives the names, `count` of them; free() the array. */
static struct slice *show(struct metrics *metrics, unsigned edition, size_t *count)
{
	struct slice *names = mem_zeroed(metrics->count, sizeof(*names));

	*count = 0;
	for (size_t i = 0; i < metrics->count; i++) {
		const struct metric *metric = metrics->families[i];

		if (edition_holds(metrics, edition, metric) && replaces(metrics, metric))
			names[(*count)++] = metric->def.name;
	}
	for (size_t i = 0; i < metrics->count; i++) {
		struct metric *metric = metrics->families[i];

		metric->shown =
			metric->lasting || edition_holds(metrics, edition, metric);
	}
	metrics->current = edition;
	return names;
}

void metrics_edition_commit(struct metrics *metrics, unsigned edition,
			    metrics_replaced_fn *replaced, void *context)
{
	struct edition *open;
	struct slice *names;
	size_t count;

	pthread_mutex_lock(&metrics->lock);
	check(edition > 0 && edition <= metrics->begun);
	check(edition == metrics->current || is_recent(metrics, edition));
	names = show(metrics, edition, &count);
	open = edition_take(metrics, edition);
	if (open)
		meter_fold(metrics->committed, open->meter);
	pthread_mutex_unlock(&metrics->lock);
	edition_destroy(open);
	for (size_t i = 0; replaced && i < count; i++)
		replaced(context, names[i]);
	free(names);
}
