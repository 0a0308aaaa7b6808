/* SPDX-License-Identifier: MIT */
/* ground.h -- what a store's test stands on: a loop with an observer and nothing else. */
#ifndef STORE_GROUND_H
#define STORE_GROUND_H

#include "base/check.h"
#include "loop/loop.h"
#include "watch/log.h"
#include "watch/metrics.h"
#include "watch/trace.h"

#include <math.h>

struct ground {
	struct log_hub *hub;
	struct metrics *metrics;
	struct observer observer;
	struct chaos chaos;
	struct loop *loop;
};

static void ground_woken(void *context)
{
}

static void ground_create(struct ground *ground)
{
	struct tracer_config tracer = { .sampler = SAMPLER_always_on,
					.recording = true,
					.ring_bytes = 1 << 20,
					.attrs_max = 64 };

	memset(ground, 0, sizeof(*ground));
	ground->hub = log_hub_create(LOG_info, ground_woken, NULL);
	ground->metrics = metrics_create();
	ground->observer.log = log_create(ground->hub, 1 << 16);
	ground->observer.meter = meter_create(ground->metrics);
	ground->observer.tracer = tracer_create(&tracer, 1);
	ground->loop = loop_create(&ground->observer, &ground->chaos);
}

static void ground_destroy(struct ground *ground)
{
	loop_destroy(ground->loop);
	tracer_destroy(ground->observer.tracer);
	metrics_destroy(ground->metrics);
	log_hub_destroy(ground->hub);
}

struct ground_sum {
	const char *name;
	const char *label; /* any label value; NULL: all */
	double value;
};

static void ground_family(void *context, const struct metric_def *def, size_t count)
{
}

static void ground_point(void *context, const struct metric_def *def,
			 const struct metric_point *point)
{
	struct ground_sum *sum = context;
	bool wanted = sum->label == NULL;

	if (!slice_equal(def->name, slice_text(sum->name)))
		return;
	for (size_t i = 0; i < def->label_count && !wanted; i++)
		wanted = slice_equal(point->values[i], slice_text(sum->label));
	if (wanted)
		sum->value += def->type == METRIC_histogram ? (double)point->count
							    : point->value;
}

/* The sum over the series that have this label value; of a histogram, its count. */
__attribute__((unused)) static double ground_metric(struct ground *ground,
						    const char *name, const char *label)
{
	struct ground_sum sum = { name, label, 0 };
	struct metrics_reader reader = { ground_family, ground_point, &sum };

	metrics_read(ground->metrics, &reader);
	return sum.value;
}

#endif
