/* SPDX-License-Identifier: MIT */
/* Hot path: the ways of connections, and of attempts over them.
 *
 *     opening --> busy <--> idle
 *         any --> (closed)
 *
 * Budget: an attempt on a kept connection takes no memory and two system calls beside
 * those that read and write: whether the connection is still there, and what h2o does.
 *
 * Once an attempt has been told of its end nothing of it is touched: its owner may have
 * begun another in the same memory. */
#include "gate/upstream_inside.h"

#include "base/check.h"

#include <stdlib.h>

/* --- connections ------------------------------------------------------------------ */

static void slot_leave(struct gate_slot *slot)
{
	struct gate_address *address = slot->address;

	list_remove(&slot->member);
	if (slot->state == GATE_SLOT_opening)
		address->opening--;
	else if (slot->state == GATE_SLOT_busy)
		address->busy--;
	else
		address->idle_count--;
	timer_stop(address_loop(address), &slot->timer);
}

static void slot_close(struct gate_slot *slot)
{
	struct gate_address *address = slot->address;

	slot_leave(slot);
	if (slot->closed)
		*slot->closed = true;
	http_connection_close(slot->connection);
	free(slot);
	if (address->gone)
		upstreams_bury(address->upstream->upstreams);
}

void address_trim_idle(struct gate_address *address, unsigned most)
{
	while (address->idle_count > most)
		slot_close(list_of(address->idle.next, struct gate_slot, member));
}

static void on_idle_timeout(void *context)
{
	slot_close(context);
}

/* Keeps a connection for the next attempt. The one that has rested longest gives way. */
static void slot_rest(struct gate_slot *slot)
{
	struct gate_address *address = slot->address;
	const struct gate_upstream_def *def = &address->upstream->def;
	struct loop *loop = address_loop(address);

	if (!address->up || address->gone || def->idle_max == 0) {
		slot_close(slot);
		return;
	}
	slot_leave(slot);
	address_trim_idle(address, def->idle_max - 1);
	slot->state = GATE_SLOT_idle;
	address->idle_count++;
	list_append(&address->idle, &slot->member);
	timer_start(loop, &slot->timer,
		    mono_after_ms(loop_now(loop), def->idle_timeout_ms), on_idle_timeout,
		    slot);
}

static void slot_send(struct gate_slot *slot)
{
	struct gate_address *address = slot->address;
	struct gate_attempt *attempt = slot->attempt;

	slot_leave(slot);
	slot->state = GATE_SLOT_busy;
	address->busy++;
	list_append(&address->used, &slot->member);
	attempt->sent = true;
	attempt->kept = http_connection_exchanges(slot->connection) > 0;
	http_connection_send(slot->connection, &attempt->exchange);
	if (attempt->paused)
		http_connection_pause(slot->connection, true);
}

/* --- what connections tell -------------------------------------------------------- */

/* Nothing more is told of it. */
static void attempt_over(struct gate_attempt *attempt)
{
	attempt->address = NULL;
	attempt->slot = NULL;
}

static void attempt_fail(struct gate_slot *slot, const struct http_progress *progress,
			 const struct fault *why)
{
	struct gate_address *address = slot->address;
	struct gate_attempt *attempt = slot->attempt;
	bool kept = attempt->kept;

	address->failures++;
	address_trouble(address, why->detail);
	address_told(address, attempt,
		     kept && !progress->answered ? GATE_WORD_nothing : GATE_WORD_bad);
	slot_close(slot);
	attempt_over(attempt);
	attempt->events->failed(attempt->context, progress, kept, why);
}

static void on_opened(void *context, struct http_connection *connection)
{
	slot_send(context);
}

static void on_head(void *context, struct http_connection *connection,
		    const struct client_parse *answer)
{
	struct gate_slot *slot = context;
	struct gate_attempt *attempt = slot->attempt;

	address_answers(slot->address, attempt);
	attempt->events->head(attempt->context, answer);
}

static void on_data(void *context, struct http_connection *connection, struct slice bytes)
{
	struct gate_slot *slot = context;
	struct gate_attempt *attempt = slot->attempt;

	attempt->events->data(attempt->context, bytes);
}

/* The answer lies in the connection, which is put aside after the attempt was told. */
static void on_answered(void *context, struct http_connection *connection,
			const struct client_parse *answer, bool reusable)
{
	struct gate_slot *slot = context;
	struct gate_attempt *attempt = slot->attempt;
	bool closed = false;

	address_told(slot->address, attempt, GATE_WORD_well);
	slot->attempt = NULL;
	slot->closed = &closed;
	attempt_over(attempt);
	attempt->events->done(attempt->context);
	if (closed)
		return;
	slot->closed = NULL;
	if (reusable)
		slot_rest(slot);
	else
		slot_close(slot);
}

static void on_switched(void *context, struct http_connection *connection,
			const struct client_parse *answer)
{
	struct gate_slot *slot = context;
	struct gate_attempt *attempt = slot->attempt;

	attempt->switched = attempt->paused = true;
	address_told(slot->address, attempt, GATE_WORD_well);
	attempt->events->switched(attempt->context, answer);
}

static void on_drained(void *context, struct http_connection *connection)
{
	struct gate_slot *slot = context;
	struct gate_attempt *attempt = slot->attempt;

	attempt->events->drained(attempt->context);
}

static void on_ended(void *context, struct http_connection *connection,
		     const struct http_progress *progress, const struct fault *why)
{
	struct gate_slot *slot = context;
	struct gate_attempt *attempt = slot->attempt;
	struct http_progress copied = *progress;

	if (slot->state == GATE_SLOT_idle) {
		slot_close(slot);
	} else if (attempt->switched) {
		slot_close(slot);
		attempt_over(attempt);
		attempt->events->closed(attempt->context);
	} else {
		attempt_fail(slot, &copied, why);
	}
}

static const struct http_connection_events connection_events = {
	.opened = on_opened,
	.answered = on_answered,
	.ended = on_ended,
	.head = on_head,
	.data = on_data,
	.switched = on_switched,
	.drained = on_drained,
};

static void on_connect_timeout(void *context)
{
	static const struct http_progress none;
	struct gate_slot *slot = context;
	struct fault why;

	fault_set(&why, FAULT_unavailable, "cannot connect: no answer in %d ms",
		  slot->address->upstream->def.connect_timeout_ms);
	attempt_fail(slot, &none, &why);
}

/* --- attempts --------------------------------------------------------------------- */

static void slot_open(struct gate_address *address, struct gate_attempt *attempt)
{
	struct gate_slot *slot = mem_zeroed(1, sizeof(*slot));
	struct loop *loop = address_loop(address);

	slot->address = address;
	slot->attempt = attempt;
	attempt->slot = slot;
	slot->state = GATE_SLOT_opening;
	address->opening++;
	list_append(&address->used, &slot->member);
	slot->connection =
		http_connection_open(loop, &address->at, &connection_events, slot);
	timer_start(
		loop, &slot->timer,
		mono_after_ms(loop_now(loop), address->upstream->def.connect_timeout_ms),
		on_connect_timeout, slot);
}

/* The connection used last; those that have been closed meanwhile are put away. */
static struct gate_slot *usable_slot(struct gate_address *address)
{
	while (!list_empty(&address->idle)) {
		struct gate_slot *slot =
			list_of(address->idle.previous, struct gate_slot, member);

		if (http_connection_alive(slot->connection))
			return slot;
		slot_close(slot);
	}
	return NULL;
}

void gate_attempt_begin(struct gate_attempt *attempt, struct gate_address *address,
			const struct gate_attempt_request *request,
			const struct gate_attempt_events *events, void *context)
{
	struct gate_slot *slot = request->fresh ? NULL : usable_slot(address);

	check(attempt->address == NULL);
	*attempt = (struct gate_attempt){ .address = address,
					  .events = events,
					  .context = context };
	attempt->exchange = (struct http_exchange){ .head = request->head,
						    .body = request->body,
						    .head_request = request->head_request,
						    .stream = true,
						    .upgrade = request->upgrade };
	address->attempts++;
	address_began(address, attempt);
	if (slot) {
		slot->attempt = attempt;
		attempt->slot = slot;
		slot_send(slot);
	} else {
		slot_open(address, attempt);
	}
}

void gate_attempt_pause(struct gate_attempt *attempt, bool paused)
{
	if (attempt->address == NULL || attempt->paused == paused)
		return;
	attempt->paused = paused;
	if (attempt->sent)
		http_connection_pause(attempt->slot->connection, paused);
}

void gate_attempt_send(struct gate_attempt *attempt, struct slice bytes)
{
	check(attempt->address && attempt->switched);
	http_connection_write(attempt->slot->connection, bytes);
}

void gate_attempt_cancel(struct gate_attempt *attempt, bool blame)
{
	struct gate_address *address = attempt->address;

	if (address == NULL)
		return;
	if (blame) {
		address->failures++;
		address_trouble(address, attempt->sent ? "its answer was late or broken"
						       : "it was too late to connect");
	}
	address_told(address, attempt, blame ? GATE_WORD_bad : GATE_WORD_nothing);
	slot_close(attempt->slot);
	attempt_over(attempt);
}

void address_end_attempts(struct gate_address *address, const struct fault *why)
{
	while (!list_empty(&address->used)) {
		struct gate_slot *slot =
			list_of(address->used.next, struct gate_slot, member);
		struct gate_attempt *attempt = slot->attempt;
		struct http_progress progress = { .wrote = attempt && attempt->sent };

		slot_close(slot);
		if (attempt == NULL)
			continue;
		attempt_over(attempt);
		attempt->events->failed(attempt->context, &progress, attempt->kept, why);
	}
}
