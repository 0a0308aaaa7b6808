/* SPDX-License-Identifier: MIT */
/* sampling.c -- OpenTelemetry's samplers, the ratio ones by consistent probability. */
#include "watch/sampling.h"

#include "base/hex.h"

uint64_t sampling_threshold(double ratio)
{
	if (!(ratio > 0))
		return (uint64_t)1 << 56;
	if (ratio >= 1)
		return 0;
	return (uint64_t)((1 - ratio) * 0x1p56);
}

static uint64_t big_endian_56(const uint8_t bytes[7])
{
	uint64_t value = 0;

	for (int i = 0; i < 7; i++)
		value = value << 8 | bytes[i];
	return value;
}

/* The rv of "ot=th:8;rv:0123456789abcd,other=...". */
static bool explicit_randomness(struct slice state, uint64_t *randomness)
{
	struct slice member, part;
	uint8_t bytes[7];

	while (slice_cut(&state, ',', &member)) {
		member = slice_trim(member);
		if (!slice_starts_with(member, SLICE("ot=")))
			continue;
		member = slice_of(member.at + 3, member.size - 3);
		while (slice_cut(&member, ';', &part))
			if (part.size == 3 + 14 &&
			    slice_starts_with(part, SLICE("rv:")) &&
			    hex_decode(slice_of(part.at + 3, 14), bytes)) {
				*randomness = big_endian_56(bytes);
				return true;
			}
		return false;
	}
	return false;
}

static bool keeps(uint64_t threshold, const uint8_t trace_id[16],
		  const struct trace_context *parent)
{
	uint64_t randomness;

	if (parent == NULL || !explicit_randomness(parent->state, &randomness))
		randomness = big_endian_56(trace_id + 9);
	return randomness >= threshold;
}

bool sampling_decide(enum sampler sampler, uint64_t threshold, const uint8_t trace_id[16],
		     const struct trace_context *parent)
{
	if (parent && sampler >= SAMPLER_parentbased_always_on)
		return parent->flags & TRACE_FLAG_SAMPLED;
	switch (sampler) {
	case SAMPLER_always_on:
	case SAMPLER_parentbased_always_on:
		return true;
	case SAMPLER_always_off:
	case SAMPLER_parentbased_always_off:
		return false;
	case SAMPLER_traceidratio:
	case SAMPLER_parentbased_traceidratio:
		return keeps(threshold, trace_id, parent);
	}
	return false;
}
