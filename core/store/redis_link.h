/* SPDX-License-Identifier: MIT */
/* redis_link.h -- one Redis connection: hiredis on the loop.
 *
 *     opening --> open --> lost
 *
 * Opening is done when AUTH, SELECT and a PING were answered well, so that a server that
 * is loading, or stuck, or wants a password, is not taken for a working one.
 *
 * Invariants
 *   - replies come in the order of sending, each with the ticket it was sent with.
 *   - lost comes once, and nothing comes after it.
 *   - what the server says unasked ends the connection.
 *
 * A SUBSCRIBE makes it a connection that hears: its ticket comes with every message.
 */
#ifndef STORE_REDIS_LINK_H
#define STORE_REDIS_LINK_H

#include "store/redis_pool.h"

struct redis_link;
struct redis_target;
struct resolver;

struct redis_link_owner {
	void (*opened)(void *context);

	/* value is borrowed. An error reply has no value: error is its text. */
	void (*replied)(void *context, void *ticket, const struct redis_value *value,
			struct slice error);

	/* Also when opening failed. Not called from inside a function of this header. */
	void (*lost)(void *context, const struct fault *why);

	void *context;
};

/* Begins to open. Borrows all of it. */
struct redis_link *redis_link_create(struct loop *loop, const struct redis_target *target,
				     struct resolver *resolver, int connect_timeout_ms,
				     const struct redis_link_owner *owner);

/* Closes without a word to the owner. Not from inside the owner's callbacks. */
void redis_link_destroy(struct redis_link *link);

/* The same, but allowed there; redis_link_destroy is still due. */
void redis_link_close(struct redis_link *link);

/* wire: the command as RESP; copied. */
void redis_link_send(struct redis_link *link, struct slice wire, void *ticket);

/* Makes it one that hears, before it is open: a reply that takes more than so many bytes
 * ends the connection, and so does an array that is none of a subscription. */
void redis_link_bound(struct redis_link *link, size_t reply_size_max);

/* Writes what was sent. Called once a turn. */
void redis_link_flush(struct redis_link *link);

/* Breaks the connection as the other side would. */
void redis_link_cut(struct redis_link *link);

#endif
