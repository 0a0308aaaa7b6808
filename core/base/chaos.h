/* SPDX-License-Identifier: MIT */
/* chaos.h -- places that can be broken on purpose, and what happens there.
 *
 * One struct chaos belongs to one worker and is touched by its thread only. Nothing is
 * armed in it unless somebody asks; chaos_point is then one load and one branch.
 *
 *   struct chaos_effect effect = chaos_point(chaos, CHAOS_pg_query);
 *   delay_ms   wait this long first, then go on
 *   fail       answer with this kind of fault instead of going on (FAULT_none: do not)
 *   cut        break the connection in use as the other side would
 */
#ifndef BASE_CHAOS_H
#define BASE_CHAOS_H

#include "base/fault.h"

enum chaos_at {
#define POINT(name, what) CHAOS_##name,
#include "base/chaos.def"
#undef POINT
	CHAOS_points
};

struct chaos_effect {
	int delay_ms;
	enum fault_kind fail;
	bool cut;
};

struct chaos {
	unsigned armed; /* how many rules have times left */
	struct chaos_rule {
		struct chaos_effect effect;
		int times; /* how often still; -1 always; 0 disarmed */
	} rules[CHAOS_points];
};

/* The effect applies to the next `times` passages of the point; -1 for all. */
void chaos_arm(struct chaos *chaos, enum chaos_at at, struct chaos_effect effect,
	       int times);
void chaos_disarm(struct chaos *chaos, enum chaos_at at);

/* False when no point has this name. */
bool chaos_at_of(struct slice name, enum chaos_at *at);
const char *chaos_name(enum chaos_at at);

struct chaos_effect chaos_point_slow(struct chaos *chaos, enum chaos_at at);

static inline struct chaos_effect chaos_point(struct chaos *chaos, enum chaos_at at)
{
	if (__builtin_expect(chaos->armed == 0, 1))
		return (struct chaos_effect){ 0 };
	return chaos_point_slow(chaos, at);
}

#endif
