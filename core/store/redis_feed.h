/* SPDX-License-Identifier: MIT */
/* redis_feed.h -- hears one Redis channel (SUBSCRIBE), on a connection of its own.
 *
 *     closed --> opening --> asking --> heard --> closed
 *
 * It opens when the loop runs, and again by itself whenever it ended: after 100 ms,
 * doubling to 5 s while it never comes to be heard, with jitter. What is published
 * meanwhile is missed: Redis keeps nothing for who is away.
 *
 * A server that is gone without a word is noticed within three times quiet_ms: when
 * nothing came for that long it is asked to subscribe once more, which it answers and
 * which changes nothing. (hiredis has no PING for a connection that subscribes: it would
 * keep a callback for each that is never taken back.)
 *
 * A message larger than size_max is not read to its end: it ends the connection.
 *
 * Invariants
 *   - heard gets each message once, in the order the server sent it.
 *   - heard is called while the state is heard only.
 */
#ifndef STORE_REDIS_FEED_H
#define STORE_REDIS_FEED_H

#include "base/fault.h"

struct loop;
struct redis_feed;

struct redis_feed_config {
	const char *url; /* as in redis_pool.h; copied */
	struct slice channel; /* copied */
	size_t size_max;
	int connect_timeout_ms;
	int quiet_ms;
};

/* message is borrowed, only during the call, which must not destroy the feed. */
typedef void redis_feed_heard_fn(void *context, struct slice message);

/* Borrows loop. Fails only on a malformed url (bad_input). */
struct redis_feed *redis_feed_create(struct loop *loop,
				     const struct redis_feed_config *config,
				     redis_feed_heard_fn *heard, void *context,
				     struct fault *why);

/* While the loop is there. NULL is allowed. */
void redis_feed_destroy(struct redis_feed *feed);

/* The server has confirmed, and nothing is known to have ended since. */
bool redis_feed_is_heard(const struct redis_feed *feed);

void redis_feed_check(const struct redis_feed *feed); /* the invariants; for tests */

#endif
