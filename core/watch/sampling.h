/* SPDX-License-Identifier: MIT */
/* sampling.h -- which traces are recorded: a pure decision, no state.
 *
 * Ratio sampling keeps a trace when its randomness R is at or above a threshold T: both
 * are 56 bits; R is the `rv` of the parent's tracestate (member `ot`) if it has one, else
 * the last 7 bytes of the trace id. Every process that decides so agrees about every
 * trace.
 */
#ifndef WATCH_SAMPLING_H
#define WATCH_SAMPLING_H

#include "watch/trace.h"

/* From 0 (keep all) for a ratio of 1, to 2^56 (keep none) for 0. */
uint64_t sampling_threshold(double ratio);

/* parent is NULL for a new trace. */
bool sampling_decide(enum sampler sampler, uint64_t threshold, const uint8_t trace_id[16],
		     const struct trace_context *parent);

#endif
