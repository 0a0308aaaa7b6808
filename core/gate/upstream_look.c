/* SPDX-License-Identifier: MIT */
/* upstream_look.c -- what others may see of upstreams, and what must hold of them. */
#include "gate/upstream_inside.h"

#include "base/check.h"

static void look_at(const struct gate_upstream *upstream,
		    void (*see)(void *context, const struct gate_address_view *view),
		    void *context)
{
	struct gate_address_view view = { .upstream = upstream->def.name };

	if (upstream->count == 0) {
		if (upstream->trouble.kind != FAULT_none)
			view.trouble = slice_text(upstream->trouble.detail);
		see(context, &view);
	}
	for (unsigned i = 0; i < upstream->count; i++) {
		const struct gate_address *address = upstream->list[i];

		view.address = address->whole;
		view.up = address->up;
		view.breaker = address->breaker.state;
		view.active = address->opening + address->busy;
		view.idle = address->idle_count;
		view.attempts = address->attempts;
		view.failures = address->failures;
		view.trouble = slice_text(address->trouble);
		see(context, &view);
	}
}

void gate_upstreams_look(const struct gate_upstreams *upstreams,
			 void (*see)(void *context, const struct gate_address_view *view),
			 void *context)
{
	for (struct list *at = upstreams->all.next; at != &upstreams->all; at = at->next)
		look_at(list_of(at, struct gate_upstream, member), see, context);
}

static unsigned length(const struct list *head, bool attempts)
{
	unsigned count = 0;

	for (const struct list *at = head->next; at != head; at = at->next) {
		const struct gate_slot *slot = list_of(at, struct gate_slot, member);
		const struct gate_attempt *attempt = slot->attempt;

		check((attempt != NULL) == attempts && slot->closed == NULL);
		check(!attempt ||
		      (attempt->slot == slot && attempt->address == slot->address));
		check(!attempt || attempt->sent == (slot->state == GATE_SLOT_busy));
		count++;
	}
	return count;
}

static void address_check(const struct gate_upstream *upstream,
			  const struct gate_address *address)
{
	bool watched = timer_started(&address->health.timer);

	check(address->upstream == upstream && address->at.count == 1);
	check(length(&address->used, true) == address->opening + address->busy);
	check(length(&address->idle, false) == address->idle_count);
	check((address->up && !address->gone) || address->idle_count == 0);
	check(address->idle_count <= upstream->def.idle_max);
	check(watched || address->health.connection == NULL);
	check(watched == (!address->gone && upstream->def.health.path.size > 0));
	check((address->shown == GATE_SHOWN_none) == address->gone);
	breaker_check(&address->breaker, &upstream->breaker);
}

static void upstream_check(const struct gate_upstream *upstream, bool ghost)
{
	check(upstream->count <= GATE_ADDRESSES_MAX);
	check(upstream->next < upstream->count || upstream->next == 0);
	check(!ghost || upstream->count == 0);
	check(!ghost || (list_empty(&upstream->places) && list_empty(&upstream->files)));
	for (unsigned i = 0; i < upstream->count; i++) {
		check(!upstream->list[i]->gone);
		address_check(upstream, upstream->list[i]);
	}
	for (struct list *at = upstream->gone.next; at != &upstream->gone;
	     at = at->next) {
		const struct gate_address *address =
			list_of(at, struct gate_address, member);

		check(address->gone);
		address_check(upstream, address);
	}
}

void gate_upstreams_check(const struct gate_upstreams *upstreams)
{
	struct list *at;

	for (at = upstreams->all.next; at != &upstreams->all; at = at->next)
		upstream_check(list_of(at, struct gate_upstream, member), false);
	for (at = upstreams->ghosts.next; at != &upstreams->ghosts; at = at->next)
		upstream_check(list_of(at, struct gate_upstream, member), true);
}
