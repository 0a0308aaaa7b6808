/* SPDX-License-Identifier: MIT */
/* client_origin.h -- the connections to each host:port, and who waits for one.
 *
 *     ticket:  waiting --> holding a connection --> answered | failed
 *     slot:    opening --> idle <--> busy --> (closed)
 *
 * A ticket is what a call sends and what comes back; it is embedded in the call. Tickets
 * of one origin are served in order.
 *
 * Invariants, per origin
 *   - opening + idle + busy <= connections_max; idle <= idle_max.
 *   - if anyone waits, idle is empty.
 *   - waiting <= waiting_max (a ticket that comes back to its head does not count).
 *   - an origin without slots, tickets and lookup does not exist.
 */
#ifndef HTTP_CLIENT_ORIGIN_H
#define HTTP_CLIENT_ORIGIN_H

#include "base/list.h"
#include "http/client.h"
#include "http/http_connection.h"
#include "http/http_url.h"

struct client_origins;
struct client_origin;
struct client_slot;

struct client_ticket {
	/* Set by the caller. */
	struct slice request; /* borrowed until the ticket is over */
	bool head_request;
	bool fresh; /* a kept connection will not do */
	bool cut; /* see struct http_exchange */

	struct list member; /* of the waiting list */
	struct client_origin *origin; /* NULL: not submitted or over */
	struct client_slot *slot; /* NULL: waiting */
	struct http_address peer; /* of the last connection; size 0: there was none */
};

struct client_origin_events { /* the ticket is over when one is called */
	/* answer is borrowed during the call. */
	void (*answered)(void *context, struct client_ticket *ticket,
			 const struct client_parse *answer);
	/* progress NULL: it never had a connection. kept: the connection had been used
	 * before. */
	void (*failed)(void *context, struct client_ticket *ticket,
		       const struct http_progress *progress, bool kept,
		       const struct fault *why);
	void *context;
};

/* Borrows config and events. */
struct client_origins *client_origins_create(struct loop *loop,
					     const struct http_client_config *config,
					     const struct client_origin_events *events);

/* No ticket may be under way. */
void client_origins_destroy(struct client_origins *origins);

/* From the loop; a ticket may be submitted again from its own failed event. first: at the
 * head of the queue, which then always has room. An event may come before it returns. */
void client_origin_submit(struct client_origins *origins, const struct http_url *url,
			  struct client_ticket *ticket, bool first);

/* No event follows; a connection in use is closed. Does nothing when the ticket is over.
 */
void client_ticket_withdraw(struct client_ticket *ticket);

void client_origins_check(const struct client_origins *origins);

#endif
