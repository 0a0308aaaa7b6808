/* SPDX-License-Identifier: MIT */
/* bucket.h -- a token bucket, kept as one moment (the generic cell rate algorithm): the
 * time at which it will be full again. Pure; time is an argument.
 *
 * Invariant: within any stretch of t seconds at most burst + t * per_s tokens are taken
 * (a token's time is rounded down to nanoseconds).
 */
#ifndef BASE_BUCKET_H
#define BASE_BUCKET_H

#include "base/clock.h"

struct bucket_rule {
	double per_s; /* tokens that come back in a second; > 0 */
	double burst; /* tokens there are at most; >= 1 */
};

struct bucket { /* zeroed: full */
	struct mono full;
};

/* Takes count tokens, or none when there are too few. */
bool bucket_take(struct bucket *bucket, const struct bucket_rule *rule, double count,
		 struct mono now);

/* Puts back up to the burst. */
void bucket_put(struct bucket *bucket, const struct bucket_rule *rule, double count,
		struct mono now);

double bucket_level(const struct bucket *bucket, const struct bucket_rule *rule,
		    struct mono now);

/* Until count tokens are there, in seconds; 0: now; infinite: more than the burst. */
double bucket_wait_s(const struct bucket *bucket, const struct bucket_rule *rule,
		     double count, struct mono now);

#endif
