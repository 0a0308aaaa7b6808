/* SPDX-License-Identifier: MIT */
#include "base/bucket.h"

#include "base/check.h"

#include <math.h>

/* So that sums of moments do not overflow: thirty years. */
#define COST_MAX 1e18

/* Nanoseconds until count tokens have come back, rounded down: a burst of ten thirds of a
 * second has room for ten. */
static int64_t cost(const struct bucket_rule *rule, double count)
{
	double ns = count / rule->per_s * 1e9;

	check(rule->per_s > 0 && rule->burst >= 1 && count >= 0);
	return (int64_t)(ns < COST_MAX ? ns : COST_MAX);
}

static int64_t full_at(const struct bucket *bucket, struct mono now)
{
	return bucket->full.ns > now.ns ? bucket->full.ns : now.ns;
}

/* Until count tokens are there; 0 or less: they are. */
static int64_t wait_ns(const struct bucket *bucket, const struct bucket_rule *rule,
		       double count, struct mono now)
{
	return full_at(bucket, now) - now.ns + cost(rule, count) -
	       cost(rule, rule->burst);
}

bool bucket_take(struct bucket *bucket, const struct bucket_rule *rule, double count,
		 struct mono now)
{
	if (count > rule->burst || wait_ns(bucket, rule, count, now) > 0)
		return false;
	bucket->full.ns = full_at(bucket, now) + cost(rule, count);
	return true;
}

void bucket_put(struct bucket *bucket, const struct bucket_rule *rule, double count,
		struct mono now)
{
	bucket->full.ns = full_at(bucket, now) - cost(rule, count);
}

double bucket_level(const struct bucket *bucket, const struct bucket_rule *rule,
		    struct mono now)
{
	double missing = (double)(full_at(bucket, now) - now.ns) / 1e9 * rule->per_s;

	return missing < rule->burst ? rule->burst - missing : 0;
}

double bucket_wait_s(const struct bucket *bucket, const struct bucket_rule *rule,
		     double count, struct mono now)
{
	int64_t ns;

	if (count > rule->burst)
		return INFINITY;
	ns = wait_ns(bucket, rule, count, now);
	return ns > 0 ? (double)ns / 1e9 : 0;
}
