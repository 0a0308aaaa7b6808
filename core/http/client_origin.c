/* SPDX-License-Identifier: MIT */
/* client_origin.c -- who gets which connection.
 *
 * Everything goes through origin_pump: whatever happens changes the lists first, then the
 * pump hands out idle connections and opens new ones until nothing more can be done. An
 * origin that has become empty is freed only where nobody up the stack holds it
 * (origin_leave).
 */
#include "http/client_origin.h"

#include "base/check.h"
#include "http/client_lookup.h"
#include "loop/loop.h"

#include <stdlib.h>

/* getaddrinfo tells no time to live. Long enough for a burst of connections to share one
 * lookup. */
#define ADDRESSES_KEPT_MS 1000

struct client_origins {
	struct loop *loop;
	const struct http_client_config *config;
	const struct client_origin_events *events;
	struct client_lookups *lookups;
	struct list all;
};

struct client_origin {
	struct list member;
	struct client_origins *origins;
	struct slice authority; /* copies */
	struct slice host;
	unsigned port;
	bool numeric;
	struct http_addresses addresses;
	struct mono addresses_until;
	struct client_lookup *lookup; /* under way */
	struct list waiting; /* tickets */
	unsigned waiting_count;
	struct list idle; /* slots, the one used last at the end */
	struct list used; /* slots, opening or busy */
	unsigned opening_count, idle_count, busy_count;
	unsigned entered; /* how many frames of the stack are inside */
};

struct client_slot {
	struct list member;
	struct client_origin *origin;
	struct http_connection *connection;
	enum { SLOT_opening, SLOT_idle, SLOT_busy } state;
	struct client_ticket *ticket; /* while busy */
	struct timer timer; /* until it opens; until it has rested too long */
};

static void origin_pump(struct client_origin *origin);

/* --- origins ---------------------------------------------------------------------- */

static void origin_enter(struct client_origin *origin)
{
	origin->entered++;
}

static void origin_leave(struct client_origin *origin)
{
	if (--origin->entered > 0 || origin->lookup || !list_empty(&origin->waiting) ||
	    !list_empty(&origin->idle) || !list_empty(&origin->used))
		return;
	list_remove(&origin->member);
	free((char *)origin->authority.at);
	free((char *)origin->host.at);
	free(origin);
}

static struct slice copy(struct slice s)
{
	return slice_of(mem_copy(s.at, s.size), s.size);
}

static struct client_origin *origin_of(struct client_origins *origins,
				       const struct http_url *url)
{
	struct client_origin *origin;

	for (struct list *at = origins->all.next; at != &origins->all; at = at->next) {
		origin = list_of(at, struct client_origin, member);
		if (slice_equal_nocase(origin->authority, url->authority))
			return origin;
	}
	origin = mem_zeroed(1, sizeof(*origin));
	origin->origins = origins;
	origin->authority = copy(url->authority);
	origin->host = copy(url->host);
	origin->port = url->port;
	origin->numeric = client_lookup_numeric(url->host, url->port, &origin->addresses);
	list_init(&origin->waiting);
	list_init(&origin->idle);
	list_init(&origin->used);
	list_append(&origins->all, &origin->member);
	return origin;
}

/* --- tickets ---------------------------------------------------------------------- */

static struct client_ticket *first_waiting(struct client_origin *origin)
{
	return list_empty(&origin->waiting)
		       ? NULL
		       : list_of(origin->waiting.next, struct client_ticket, member);
}

static void stop_waiting(struct client_ticket *ticket)
{
	list_remove(&ticket->member);
	ticket->origin->waiting_count--;
}

static void ticket_fail(struct client_origin *origin, struct client_ticket *ticket,
			const struct http_progress *progress, bool kept,
			const struct fault *why)
{
	const struct client_origin_events *events = origin->origins->events;

	ticket->origin = NULL;
	ticket->slot = NULL;
	events->failed(events->context, ticket, progress, kept, why);
}

static void fail_first(struct client_origin *origin, const struct fault *why)
{
	struct client_ticket *ticket = first_waiting(origin);

	if (ticket == NULL)
		return;
	stop_waiting(ticket);
	ticket_fail(origin, ticket, NULL, false, why);
}

/* --- slots ------------------------------------------------------------------------ */

static void slot_rest(struct client_slot *slot);

static void slot_close(struct client_slot *slot)
{
	struct client_origin *origin = slot->origin;

	list_remove(&slot->member);
	if (slot->state == SLOT_opening)
		origin->opening_count--;
	else if (slot->state == SLOT_idle)
		origin->idle_count--;
	else
		origin->busy_count--;
	timer_stop(origin->origins->loop, &slot->timer);
	http_connection_close(slot->connection);
	free(slot);
}

static void on_opened(void *context, struct http_connection *connection)
{
	struct client_slot *slot = context;
	struct client_origin *origin = slot->origin;

	origin_enter(origin);
	origin->opening_count--;
	slot_rest(slot);
	origin_pump(origin);
	origin_leave(origin);
}

static void on_answered(void *context, struct http_connection *connection,
			const struct client_parse *answer, bool reusable)
{
	struct client_slot *slot = context;
	struct client_origin *origin = slot->origin;
	struct client_ticket *ticket = slot->ticket;
	const struct client_origin_events *events = origin->origins->events;

	origin_enter(origin);
	slot->ticket = NULL;
	ticket->slot = NULL;
	ticket->origin = NULL;
	events->answered(events->context, ticket, answer);
	if (reusable) {
		origin->busy_count--;
		slot_rest(slot);
	} else {
		slot_close(slot);
	}
	origin_pump(origin);
	origin_leave(origin);
}

static void on_ended(void *context, struct http_connection *connection,
		     const struct http_progress *progress, const struct fault *why)
{
	struct client_slot *slot = context;
	struct client_origin *origin = slot->origin;
	struct client_ticket *ticket = slot->ticket;
	bool opening = slot->state == SLOT_opening;
	bool kept = http_connection_exchanges(connection) > 0;

	origin_enter(origin);
	slot_close(slot);
	if (opening) {
		origin->addresses_until = (struct mono){ 0 };
		fail_first(origin, why);
	} else if (ticket) {
		ticket_fail(origin, ticket, progress, kept, why);
	}
	origin_pump(origin);
	origin_leave(origin);
}

static const struct http_connection_events connection_events = { .opened = on_opened,
								 .answered = on_answered,
								 .ended = on_ended };

static void on_connect_timeout(void *context)
{
	struct client_slot *slot = context;
	struct client_origin *origin = slot->origin;
	struct fault why;

	origin_enter(origin);
	fault_set(&why, FAULT_unavailable, "cannot connect: no answer in %d ms",
		  origin->origins->config->connect_timeout_ms);
	slot_close(slot);
	origin->addresses_until = (struct mono){ 0 };
	fail_first(origin, &why);
	origin_pump(origin);
	origin_leave(origin);
}

static void on_idle_timeout(void *context)
{
	struct client_slot *slot = context;
	struct client_origin *origin = slot->origin;

	origin_enter(origin);
	slot_close(slot);
	origin_leave(origin);
}

static void slot_open(struct client_origin *origin)
{
	struct client_origins *origins = origin->origins;
	struct client_slot *slot = mem_zeroed(1, sizeof(*slot));

	slot->origin = origin;
	slot->state = SLOT_opening;
	origin->opening_count++;
	list_append(&origin->used, &slot->member);
	slot->connection = http_connection_open(origins->loop, &origin->addresses,
						&connection_events, slot);
	timer_start(origins->loop, &slot->timer,
		    mono_after_ms(loop_now(origins->loop),
				  origins->config->connect_timeout_ms),
		    on_connect_timeout, slot);
}

/* A slot that is in no count becomes idle; the one that has rested longest gives way. */
static void slot_rest(struct client_slot *slot)
{
	struct client_origin *origin = slot->origin;
	struct client_origins *origins = origin->origins;

	list_remove(&slot->member);
	slot->state = SLOT_idle;
	origin->idle_count++;
	list_append(&origin->idle, &slot->member);
	timer_start(
		origins->loop, &slot->timer,
		mono_after_ms(loop_now(origins->loop), origins->config->idle_timeout_ms),
		on_idle_timeout, slot);
}

/* After the pump: what nobody took may be too many. */
static void close_surplus(struct client_origin *origin)
{
	while (origin->idle_count > origin->origins->config->idle_max)
		slot_close(list_of(origin->idle.next, struct client_slot, member));
}

/* An idle slot that will do for the ticket; closes those that will not. */
static struct client_slot *usable_slot(struct client_origin *origin,
				       const struct client_ticket *ticket)
{
	while (!list_empty(&origin->idle)) {
		struct client_slot *slot =
			list_of(origin->idle.previous, struct client_slot, member);

		if (http_connection_alive(slot->connection) &&
		    !(ticket->fresh && http_connection_exchanges(slot->connection) > 0))
			return slot;
		slot_close(slot);
	}
	return NULL;
}

static void slot_use(struct client_slot *slot, struct client_ticket *ticket)
{
	struct client_origin *origin = slot->origin;
	struct client_origins *origins = origin->origins;
	struct http_exchange exchange = { .head = ticket->request,
					  .head_request = ticket->head_request,
					  .cut = ticket->cut,
					  .answer_size_max =
						  origins->config->response_size_max };

	stop_waiting(ticket);
	list_remove(&slot->member);
	origin->idle_count--;
	origin->busy_count++;
	slot->state = SLOT_busy;
	list_append(&origin->used, &slot->member);
	timer_stop(origins->loop, &slot->timer);
	slot->ticket = ticket;
	ticket->slot = slot;
	http_connection_peer(slot->connection, &ticket->peer);
	http_connection_send(slot->connection, &exchange);
}

/* --- lookups ---------------------------------------------------------------------- */

static void on_looked_up(void *context, const struct http_addresses *addresses,
			 const struct fault *why)
{
	struct client_origin *origin = context;

	origin_enter(origin);
	origin->lookup = NULL;
	if (addresses) {
		origin->addresses = *addresses;
		origin->addresses_until =
			mono_after_ms(loop_now(origin->origins->loop), ADDRESSES_KEPT_MS);
	} else {
		/* One answer for all who waited for it; who comes meanwhile asks anew. */
		for (unsigned count = origin->waiting_count; count > 0; count--)
			fail_first(origin, why);
	}
	origin_pump(origin);
	origin_leave(origin);
}

/* True when there are addresses to connect to; otherwise they are being looked up. */
static bool has_addresses(struct client_origin *origin)
{
	struct client_origins *origins = origin->origins;
	struct fault why;

	if (origin->numeric || loop_now(origins->loop).ns < origin->addresses_until.ns)
		return true;
	if (origin->lookup)
		return false;
	origin->lookup = client_lookup_start(origins->lookups, origin->host, origin->port,
					     on_looked_up, origin, &why);
	if (origin->lookup == NULL)
		fail_first(origin, &why);
	return false;
}

/* --- the pump --------------------------------------------------------------------- */

static void origin_pump(struct client_origin *origin)
{
	unsigned connections_max = origin->origins->config->connections_max;
	struct client_ticket *ticket;
	struct client_slot *slot;

	while ((ticket = first_waiting(origin))) {
		slot = usable_slot(origin, ticket);
		if (slot)
			slot_use(slot, ticket);
		else if (origin->opening_count >= origin->waiting_count ||
			 origin->opening_count + origin->busy_count >= connections_max)
			break;
		else if (has_addresses(origin))
			slot_open(origin);
		else if (origin->lookup)
			break;
	}
	close_surplus(origin);
}

void client_origin_submit(struct client_origins *origins, const struct http_url *url,
			  struct client_ticket *ticket, bool first)
{
	struct client_origin *origin = origin_of(origins, url);
	struct fault why;

	origin_enter(origin);
	ticket->slot = NULL;
	if (!first && origin->waiting_count >= origins->config->waiting_max) {
		fault_set(&why, FAULT_unavailable,
			  "%u calls wait for a connection already",
			  origin->waiting_count);
		ticket_fail(origin, ticket, NULL, false, &why);
		origin_leave(origin);
		return;
	}
	ticket->origin = origin;
	/* Appending to the first member's place puts it in front. */
	list_append(first ? origin->waiting.next : &origin->waiting, &ticket->member);
	origin->waiting_count++;
	origin_pump(origin);
	origin_leave(origin);
}

void client_ticket_withdraw(struct client_ticket *ticket)
{
	struct client_origin *origin = ticket->origin;

	if (origin == NULL)
		return;
	origin_enter(origin);
	if (ticket->slot)
		slot_close(ticket->slot);
	else
		stop_waiting(ticket);
	ticket->origin = NULL;
	ticket->slot = NULL;
	origin_pump(origin);
	origin_leave(origin);
}

struct client_origins *client_origins_create(struct loop *loop,
					     const struct http_client_config *config,
					     const struct client_origin_events *events)
{
	struct client_origins *origins = mem_zeroed(1, sizeof(*origins));

	origins->loop = loop;
	origins->config = config;
	origins->events = events;
	origins->lookups = client_lookups_create(loop);
	list_init(&origins->all);
	return origins;
}

static void close_all(struct list *slots)
{
	while (!list_empty(slots))
		slot_close(list_of(slots->next, struct client_slot, member));
}

void client_origins_destroy(struct client_origins *origins)
{
	if (origins == NULL)
		return;
	while (!list_empty(&origins->all)) {
		struct client_origin *origin =
			list_of(origins->all.next, struct client_origin, member);

		check(list_empty(&origin->waiting) && origin->busy_count == 0);
		origin_enter(origin);
		close_all(&origin->idle);
		close_all(&origin->used);
		client_lookup_forget(origin->lookup);
		origin->lookup = NULL;
		origin_leave(origin);
	}
	client_lookups_destroy(origins->lookups);
	free(origins);
}

static unsigned length(const struct list *head)
{
	unsigned count = 0;

	for (const struct list *at = head->next; at != head; at = at->next)
		count++;
	return count;
}

void client_origins_check(const struct client_origins *origins)
{
	const struct http_client_config *config = origins->config;

	for (struct list *at = origins->all.next; at != &origins->all; at = at->next) {
		const struct client_origin *origin =
			list_of(at, struct client_origin, member);

		check(origin->entered == 0);
		check(length(&origin->waiting) == origin->waiting_count);
		check(length(&origin->idle) == origin->idle_count);
		check(length(&origin->used) ==
		      origin->opening_count + origin->busy_count);
		check(origin->idle_count <= config->idle_max);
		check(origin->opening_count + origin->busy_count <=
		      config->connections_max);
		check(origin->waiting_count == 0 || origin->idle_count == 0);
		check(origin->waiting_count > 0 || origin->idle_count > 0 ||
		      origin->opening_count + origin->busy_count > 0 || origin->lookup);
	}
}
