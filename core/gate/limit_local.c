/* SPDX-License-Identifier: MIT */
/* limit_local.c -- a table of buckets. Keys are hashes already, but anybody can compute
 * them: which chain one is in depends on a secret too, so that nobody can make chains
 * long. Memory is taken for all callers at once, with the first decision. */
#include "gate/limit_local.h"

#include "base/bucket.h"
#include "base/check.h"
#include "base/list.h"
#include "base/random.h"

#include <stdlib.h>

struct caller {
	struct list member; /* of recent, the one used last at the end; or of unused */
	struct caller *next; /* in its chain */
	uint8_t key[LIMIT_KEY_SIZE];
	struct bucket bucket;
};

struct limit_local {
	size_t callers_max, count;
	uint64_t secret; /* odd */
	struct caller *callers; /* NULL until the first decision */
	struct caller **chains; /* callers_max of them */
	struct list recent;
	struct list unused;
};

struct limit_local *limit_local_create(size_t callers_max)
{
	struct limit_local *local = mem_zeroed(1, sizeof(*local));

	local->callers_max = callers_max;
	random_secure(&local->secret, sizeof(local->secret));
	local->secret |= 1;
	list_init(&local->recent);
	list_init(&local->unused);
	return local;
}

void limit_local_destroy(struct limit_local *local)
{
	if (local == NULL)
		return;
	free(local->callers);
	free(local->chains);
	free(local);
}

static void allocate(struct limit_local *local)
{
	local->callers = mem_zeroed(local->callers_max, sizeof(*local->callers));
	local->chains = mem_zeroed(local->callers_max, sizeof(*local->chains));
	for (size_t i = 0; i < local->callers_max; i++)
		list_append(&local->unused, &local->callers[i].member);
}

/* Where the pointer to a caller of this key is, or would be appended. */
static struct caller **place_of(const struct limit_local *local, const uint8_t *key)
{
	struct caller **at;
	uint64_t hash;

	memcpy(&hash, key, sizeof(hash));
	at = &local->chains[(hash * local->secret >> 32) % local->callers_max];
	while (*at && memcmp((*at)->key, key, LIMIT_KEY_SIZE) != 0)
		at = &(*at)->next;
	return at;
}

static struct caller *caller_of(struct limit_local *local, const uint8_t *key)
{
	struct caller *caller = *place_of(local, key);
	struct list *member;

	if (caller) {
		list_remove(&caller->member);
		list_append(&local->recent, &caller->member);
		return caller;
	}
	member = list_take(&local->unused);
	if (member) {
		caller = list_of(member, struct caller, member);
		local->count++;
	} else {
		caller = list_of(list_take(&local->recent), struct caller, member);
		*place_of(local, caller->key) = caller->next;
	}
	memcpy(caller->key, key, LIMIT_KEY_SIZE);
	caller->bucket = (struct bucket){ { 0 } };
	caller->next = NULL;
	*place_of(local, key) = caller;
	list_append(&local->recent, &caller->member);
	return caller;
}

static struct bucket_rule rule_of(const struct gate_limit_def *limit)
{
	return (struct bucket_rule){ limit->requests / limit->per_s, limit->burst };
}

static struct gate_limit_verdict verdict_of(const struct gate_limit_def *limit,
					    const struct bucket *bucket, bool allowed,
					    struct mono now)
{
	struct bucket_rule rule = rule_of(limit);
	double left = bucket_level(bucket, &rule, now);

	return (struct gate_limit_verdict){
		.allowed = allowed,
		.local = true,
		.limit = limit,
		.left = left,
		.reset_s = (rule.burst - left) / rule.per_s,
		.retry_after_s = allowed ? 0 : bucket_wait_s(bucket, &rule, 1, now),
	};
}

void limit_local_decide(struct limit_local *local, const struct limit_local_ask *asks,
			size_t count, struct mono now, struct gate_limit_verdict *verdict)
{
	struct caller *callers[GATE_LIMITS_PER_ROUTE];
	struct gate_limit_verdict each;

	check(count > 0 && count <= GATE_LIMITS_PER_ROUTE && count <= local->callers_max);
	if (local->callers == NULL)
		allocate(local);
	*verdict = (struct gate_limit_verdict){ .allowed = true };
	for (size_t i = 0; i < count; i++) {
		struct bucket_rule rule = rule_of(asks[i].limit);

		callers[i] = caller_of(local, asks[i].key);
		if (bucket_wait_s(&callers[i]->bucket, &rule, 1, now) <= 0)
			continue;
		each = verdict_of(asks[i].limit, &callers[i]->bucket, false, now);
		if (verdict->allowed || each.retry_after_s > verdict->retry_after_s)
			*verdict = each;
	}
	for (size_t i = 0; i < count && verdict->allowed; i++) {
		struct bucket_rule rule = rule_of(asks[i].limit);

		bucket_take(&callers[i]->bucket, &rule, 1, now);
		each = verdict_of(asks[i].limit, &callers[i]->bucket, true, now);
		if (verdict->limit == NULL || each.left < verdict->left)
			*verdict = each;
	}
}

size_t limit_local_callers(const struct limit_local *local)
{
	return local->count;
}

void limit_local_check(const struct limit_local *local)
{
	size_t recent = 0, chained = 0;

	check(local->count <= local->callers_max);
	if (local->callers == NULL)
		return;
	for (struct list *at = local->recent.next; at != &local->recent; at = at->next) {
		struct caller *caller = list_of(at, struct caller, member);

		check(*place_of(local, caller->key) == caller);
		recent++;
	}
	for (size_t i = 0; i < local->callers_max; i++)
		for (struct caller *at = local->chains[i]; at; at = at->next)
			chained++;
	check(recent == local->count && chained == local->count);
}
