/* SPDX-License-Identifier: MIT */
#include "host/near.h"

struct near near_to(struct slice wanted)
{
	return (struct near){ .wanted = wanted, .steps = NEAR_SIZE_MAX };
}

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

size_t near_steps(struct slice a, struct slice b)
{
	size_t rows[3][NEAR_SIZE_MAX + 1];
	size_t *two = rows[0], *one = rows[1], *now = rows[2];

	if (a.size >= NEAR_SIZE_MAX || b.size >= NEAR_SIZE_MAX)
		return NEAR_SIZE_MAX;
	for (size_t j = 0; j <= b.size; j++)
		one[j] = two[j] = j;
	for (size_t i = 1; i <= a.size; i++) {
		size_t *spare = two;

		now[0] = i;
		for (size_t j = 1; j <= b.size; j++) {
			bool same = a.at[i - 1] == b.at[j - 1];

			now[j] = least(least(one[j], now[j - 1]) + 1, one[j - 1] + !same);
			if (i > 1 && j > 1 && a.at[i - 1] == b.at[j - 2] &&
			    a.at[i - 2] == b.at[j - 1])
				now[j] = least(now[j], two[j - 2] + 1);
		}
		two = one;
		one = now;
		now = spare;
	}
	return one[b.size];
}

void near_offer(struct near *near, struct slice name)
{
	size_t steps = near_steps(near->wanted, name);
	size_t allowed = least(near->wanted.size < 6 ? 1 : near->wanted.size / 3, 3);

	if (steps > allowed || steps >= near->steps || steps >= name.size)
		return;
	near->steps = steps;
	memcpy(near->best, name.at, name.size);
	near->best[name.size] = 0;
}
