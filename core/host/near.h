/* SPDX-License-Identifier: MIT */
/* near.h -- "did you mean": of many names the one most like what somebody typed.
 *
 * A letter too many, too few, another one, or two in the wrong order count one each; what
 * differs in more than a third of its letters, or in more than three, is not like it.
 */
#ifndef HOST_NEAR_H
#define HOST_NEAR_H

#include "base/slice.h"

#define NEAR_SIZE_MAX 64 /* longer names are like nothing */

struct near {
	struct slice wanted; /* borrowed */
	size_t steps; /* to the best one so far */
	char best[NEAR_SIZE_MAX]; /* "": none yet */
};

struct near near_to(struct slice wanted);
void near_offer(struct near *near, struct slice name);

/* How many changes make one of the other. */
size_t near_steps(struct slice a, struct slice b);

#endif
