/* SPDX-License-Identifier: MIT */
/* client_lookup.h -- names to addresses, off the loop.
 *
 * Addresses written as numbers need no lookup. A name goes to getaddrinfo on a thread of
 * its own; that cannot be interrupted, only forgotten.
 */
#ifndef HTTP_CLIENT_LOOKUP_H
#define HTTP_CLIENT_LOOKUP_H

#include "base/fault.h"
#include "http/http_connection.h"

struct loop;
struct client_lookups;
struct client_lookup;

/* Exactly one of addresses (borrowed during the call) and why is not NULL. */
typedef void client_lookup_done_fn(void *context, const struct http_addresses *addresses,
				   const struct fault *why);

/* False when host is a name. */
bool client_lookup_numeric(struct slice host, unsigned port,
			   struct http_addresses *addresses);

struct client_lookups *client_lookups_create(struct loop *loop);

/* Forgets all lookups and waits for none. */
void client_lookups_destroy(struct client_lookups *lookups);

/* Copies host. NULL: the queue is full, done will not be called. The lookup is borrowed
 * until done. */
struct client_lookup *client_lookup_start(struct client_lookups *lookups,
					  struct slice host, unsigned port,
					  client_lookup_done_fn *done, void *context,
					  struct fault *why);

/* done will not be called. NULL is allowed. */
void client_lookup_forget(struct client_lookup *lookup);

#endif
