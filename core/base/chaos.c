/* SPDX-License-Identifier: MIT */
/* chaos.c -- the table of chaos.def and the rules armed at its points. */
#include "base/chaos.h"

#include "base/check.h"

static const char *const names[CHAOS_points] = {
#define POINT(name, what) [CHAOS_##name] = #name,
#include "base/chaos.def"
#undef POINT
};

void chaos_arm(struct chaos *chaos, enum chaos_at at, struct chaos_effect effect,
	       int times)
{
	struct chaos_rule *rule;

	check((unsigned)at < CHAOS_points);
	chaos_disarm(chaos, at);
	if (times == 0)
		return;
	rule = &chaos->rules[at];
	rule->effect = effect;
	rule->times = times < 0 ? -1 : times;
	chaos->armed++;
}

void chaos_disarm(struct chaos *chaos, enum chaos_at at)
{
	check((unsigned)at < CHAOS_points);
	if (chaos->rules[at].times != 0)
		chaos->armed--;
	chaos->rules[at] = (struct chaos_rule){ 0 };
}

bool chaos_at_of(struct slice name, enum chaos_at *at)
{
	for (int i = 0; i < CHAOS_points; i++)
		if (slice_equal(name, slice_text(names[i]))) {
			*at = (enum chaos_at)i;
			return true;
		}
	return false;
}

const char *chaos_name(enum chaos_at at)
{
	check((unsigned)at < CHAOS_points);
	return names[at];
}

struct chaos_effect chaos_point_slow(struct chaos *chaos, enum chaos_at at)
{
	struct chaos_rule *rule = &chaos->rules[at];
	struct chaos_effect effect = rule->effect;

	if (rule->times == 0)
		return (struct chaos_effect){ 0 };
	if (rule->times > 0 && --rule->times == 0)
		chaos->armed--;
	return effect;
}
