/* SPDX-License-Identifier: MIT */
/* clock.c -- the kernel's clocks, or times that a test has frozen.
 *
 * The frozen times are the one mutable global of this room: a clock that every caller
 * would have to be given as an argument would be forgotten in the places a test needs it
 * most.
 */
#include "base/clock.h"

#include <stdatomic.h>
#include <time.h>

#define NS_PER_S 1000000000LL
#define NS_PER_MS 1000000LL
#define DAY_MS 86400000

struct frozen {
	_Atomic bool on;
	_Atomic int64_t ns;
};

static struct frozen frozen_mono, frozen_wall;

static int64_t clock_read(struct frozen *frozen, clockid_t id)
{
	struct timespec now;

	if (__builtin_expect(atomic_load_explicit(&frozen->on, memory_order_relaxed), 0))
		return atomic_load_explicit(&frozen->ns, memory_order_relaxed);
	clock_gettime(id, &now);
	return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

struct mono clock_mono(void)
{
	return (struct mono){ clock_read(&frozen_mono, CLOCK_MONOTONIC) };
}

struct wall clock_wall(void)
{
	return (struct wall){ clock_read(&frozen_wall, CLOCK_REALTIME) };
}

static void freeze(struct frozen *frozen, const int64_t *ns)
{
	if (ns)
		atomic_store_explicit(&frozen->ns, *ns, memory_order_relaxed);
	atomic_store_explicit(&frozen->on, ns != NULL, memory_order_relaxed);
}

void clock_set(const struct mono *mono, const struct wall *wall)
{
	freeze(&frozen_mono, mono ? &mono->ns : NULL);
	freeze(&frozen_wall, wall ? &wall->ns : NULL);
}

/* Two or more digits, zero-padded; gives what follows them. */
static char *put_digits(char *at, int64_t value, int width)
{
	for (int i = width - 1; i >= 0; i--) {
		at[i] = (char)('0' + value % 10);
		value /= 10;
	}
	return at + width;
}

void clock_iso(struct wall wall, char text[CLOCK_ISO_SIZE])
{
	int64_t seconds = wall.ns / NS_PER_S, rest = wall.ns % NS_PER_S;
	int64_t days, of_day, era, of_era, year, of_year, month, day;

	if (rest < 0) {
		rest += NS_PER_S;
		seconds--;
	}
	days = seconds / 86400;
	of_day = seconds % 86400;
	if (of_day < 0) {
		of_day += 86400;
		days--;
	}
	/* Years are counted from 1 March, so that a leap day is the last of its year; an
	 * era is 400 years. Every time an int64_t of nanoseconds can hold is after the
	 * year 0. */
	days += 719468;
	era = days / 146097;
	of_era = days % 146097;
	year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	of_year = of_era - (365 * year + year / 4 - year / 100);
	month = (5 * of_year + 2) / 153;
	day = of_year - (153 * month + 2) / 5 + 1;
	month = month < 10 ? month + 3 : month - 9;
	year += era * 400 + (month <= 2);

	text = put_digits(text, year, 4);
	*text++ = '-';
	text = put_digits(text, month, 2);
	*text++ = '-';
	text = put_digits(text, day, 2);
	*text++ = 'T';
	text = put_digits(text, of_day / 3600, 2);
	*text++ = ':';
	text = put_digits(text, of_day / 60 % 60, 2);
	*text++ = ':';
	text = put_digits(text, of_day % 60, 2);
	*text++ = '.';
	text = put_digits(text, rest / 1000, 6);
	*text++ = 'Z';
	*text = '\0';
}

int mono_left_ms(struct mono now, struct mono then)
{
	int64_t left;

	if (then.ns <= now.ns)
		return 0;
	if (__builtin_sub_overflow(then.ns, now.ns, &left) || left >= DAY_MS * NS_PER_MS)
		return DAY_MS;
	return (int)((left + NS_PER_MS - 1) / NS_PER_MS);
}
