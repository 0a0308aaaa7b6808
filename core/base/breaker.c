/* SPDX-License-Identifier: MIT */
#include "base/breaker.h"

#include "base/check.h"

#define DOUBLINGS_MAX 3

const char *breaker_state_name(enum breaker_state state)
{
	static const char *const names[] = {
		[BREAKER_closed] = "closed",
		[BREAKER_open] = "open",
		[BREAKER_half_open] = "half_open",
	};

	return names[state];
}

static void open_up(struct breaker *breaker, struct mono now)
{
	breaker->state = BREAKER_open;
	breaker->failures = 0;
	breaker->trying = false;
	breaker->opened = now;
}

bool breaker_allows(struct breaker *breaker, const struct breaker_config *config,
		    struct mono now)
{
	int64_t open_ms = config->open_ms;

	if (config->failures_max == 0)
		*breaker = (struct breaker){ 0 };
	open_ms <<= breaker->trials < DOUBLINGS_MAX ? breaker->trials : DOUBLINGS_MAX;
	if (breaker->state == BREAKER_open &&
	    now.ns >= mono_after_ms(breaker->opened, open_ms).ns)
		breaker->state = BREAKER_half_open;
	return breaker->state == BREAKER_closed ||
	       (breaker->state == BREAKER_half_open && !breaker->trying);
}

void breaker_hear(struct breaker *breaker)
{
	if (breaker->state == BREAKER_open)
		breaker->state = BREAKER_half_open;
}

void breaker_begin(struct breaker *breaker)
{
	breaker->trying = breaker->state == BREAKER_half_open;
}

void breaker_succeed(struct breaker *breaker)
{
	if (breaker->state != BREAKER_open)
		*breaker = (struct breaker){ 0 };
}

void breaker_fail(struct breaker *breaker, const struct breaker_config *config,
		  struct mono now)
{
	if (breaker->state == BREAKER_half_open) {
		breaker->trials += breaker->trials < DOUBLINGS_MAX;
		open_up(breaker, now);
	} else if (breaker->state == BREAKER_closed && config->failures_max > 0 &&
		   ++breaker->failures >= config->failures_max) {
		open_up(breaker, now);
	}
}

void breaker_forget(struct breaker *breaker)
{
	breaker->trying = false;
}

void breaker_check(const struct breaker *breaker, const struct breaker_config *config)
{
	if (breaker->state == BREAKER_closed)
		check(breaker->trials == 0 && !breaker->trying);
	else
		check(breaker->failures == 0);
	if (breaker->state == BREAKER_open)
		check(!breaker->trying);
	check(breaker->trials <= DOUBLINGS_MAX);
	/* A config that has become stricter takes effect with the next failure. */
	check(config->open_ms >= 0);
}
