/* SPDX-License-Identifier: MIT */
/* clock.h -- two clocks as two types, so that they cannot be mixed up.
 *
 * struct mono measures waits and durations and never goes back. struct wall is the time
 * of day, for people and for the wire. Tests freeze both with clock_set.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include "base/slice.h"

#include <stdint.h>

struct mono {
	int64_t ns;
};

struct wall {
	int64_t ns; /* since 1970-01-01 UTC */
};

/* A deadline that never comes. */
#define MONO_NEVER ((struct mono){ INT64_MAX })

#define CLOCK_ISO_SIZE 28 /* "2026-01-02T03:04:05.123456Z" and a NUL */

struct mono clock_mono(void);
struct wall clock_wall(void);

/* Both clocks stand still at these times until set again; NULL, NULL lets them run. For
 * tests. */
void clock_set(const struct mono *mono, const struct wall *wall);

/* RFC 3339, UTC, microseconds. */
void clock_iso(struct wall wall, char text[CLOCK_ISO_SIZE]);

static inline struct mono mono_after_ms(struct mono from, int64_t ms)
{
	return from.ns == INT64_MAX ? from : (struct mono){ from.ns + ms * 1000000 };
}

static inline struct mono mono_earlier(struct mono a, struct mono b)
{
	return a.ns < b.ns ? a : b;
}

/* Whole milliseconds from now until then, rounded up; 0 when it has passed; at most a
 * day. */
int mono_left_ms(struct mono now, struct mono then);

static inline double mono_seconds(struct mono from, struct mono to)
{
	return (double)(to.ns - from.ns) / 1e9;
}

#endif
