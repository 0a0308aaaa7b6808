/* SPDX-License-Identifier: MIT */
/* resolve.h -- host names to addresses, without making the loop wait.
 *
 * A resolver has one helper thread, which starts with the first name that is not an
 * address already. PostgreSQL's and Redis's libraries resolve names by themselves, but
 * they block while they do: they are given addresses only.
 *
 *   resolve_start -> done, once, on the loop
 *                 -> or resolve_cancel, and done is never called
 */
#ifndef STORE_RESOLVE_H
#define STORE_RESOLVE_H

#include "base/fault.h"

struct loop;
struct resolver;
struct resolve;

/* address: numeric, every one the name has, comma-separated; borrowed during the call. On
 * failure it is NULL and why says what happened (unavailable). */
typedef void resolve_done_fn(void *context, const char *address, const struct fault *why);

/* Borrows loop. */
struct resolver *resolver_create(struct loop *loop);

/* Waits for a look-up that runs; whatever was not answered is cancelled. */
void resolver_destroy(struct resolver *resolver);

/* Numeric IPv4 or IPv6, so that nothing has to be looked up. */
bool resolve_numeric(const char *host);

/* Copies host. The handle is good until done was called or it is cancelled. */
struct resolve *resolve_start(struct resolver *resolver, const char *host,
			      resolve_done_fn *done, void *context);
void resolve_cancel(struct resolve *resolve); /* NULL is allowed */

#endif
