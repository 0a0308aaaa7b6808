/* SPDX-License-Identifier: MIT */
/* upstream_address.c -- which addresses there are, and what is held of each: up or down,
 * its breaker, what series and log say about that.
 *
 * An attempt remembers the era of the breaker that it began in; a breaker enters another
 * one with each change of its state. So an attempt from before the last change does not
 * pass for the trial of a breaker that is half open. */
#include "gate/upstream_inside.h"

#include "base/check.h"
#include "http/address_set.h"
#include "watch/log.h"
#include "watch/metrics.h"

#include <stdio.h>
#include <stdlib.h>

static const char *const shown_names[] = {
	[GATE_SHOWN_up] = "up",
	[GATE_SHOWN_down] = "down",
	[GATE_SHOWN_open] = "open",
};

/* --- telling the operator --------------------------------------------------------- */

static void series_step(const struct gate_address *address, enum gate_shown shown,
			double step)
{
	struct meter *meter = loop_observer(address_loop(address))->meter;

	if (shown != GATE_SHOWN_none)
		series_add(meter_own(meter, METRIC_gateway_addresses, 2,
				     address->upstream->def.name,
				     slice_text(shown_names[shown])),
			   step);
}

/* Down goes before open: an address is counted once. */
static void show(struct gate_address *address)
{
	enum gate_shown shown = address->gone  ? GATE_SHOWN_none
				: !address->up ? GATE_SHOWN_down
				: address->breaker.state != BREAKER_closed
					? GATE_SHOWN_open
					: GATE_SHOWN_up;

	if (shown == address->shown)
		return;
	series_step(address, address->shown, -1);
	series_step(address, shown, 1);
	address->shown = shown;
}

static void say(const struct gate_address *address, enum log_severity severity,
		const char *message, const char *reason)
{
	struct attr attrs[] = {
		attr_text(SLICE("upstream"), address->upstream->def.name),
		attr_text(SLICE("server.address"), address->whole),
		attr_text(SLICE("reason"), slice_text(reason)),
	};

	log_write(loop_observer(address_loop(address))->log, severity, NULL,
		  slice_text(message), attrs, reason && *reason ? 3 : 2);
}

void address_trouble(struct gate_address *address, const char *what)
{
	snprintf(address->trouble, sizeof(address->trouble), "%s", what);
}

void address_turn(struct gate_address *address, bool up, const char *reason)
{
	if (address->up == up)
		return;
	address->up = up;
	show(address);
	if (up) {
		say(address, LOG_info, "an upstream address is up", NULL);
		return;
	}
	say(address, LOG_warn, "an upstream address is down", reason);
	address_trim_idle(address, 0);
}

/* --- the breaker ------------------------------------------------------------------ */

static void breaker_moved(struct gate_address *address, enum breaker_state before)
{
	enum breaker_state now = address->breaker.state;

	if (now == before)
		return;
	address->era++;
	show(address);
	series_add(meter_own(loop_observer(address_loop(address))->meter,
			     METRIC_gateway_breaker, 3, address->upstream->def.name,
			     address->whole, slice_text(breaker_state_name(now))),
		   1);
	if (now == BREAKER_closed)
		say(address, LOG_info, "a breaker has closed", NULL);
	else if (now == BREAKER_open)
		say(address, LOG_warn, "a breaker has opened", address->trouble);
}

bool address_allows(struct gate_address *address, struct mono now)
{
	enum breaker_state before = address->breaker.state;
	bool allows = breaker_allows(&address->breaker, &address->upstream->breaker, now);

	breaker_moved(address, before);
	return allows;
}

void address_began(struct gate_address *address, struct gate_attempt *attempt)
{
	attempt->era = address->era;
	breaker_begin(&address->breaker);
}

void address_told(struct gate_address *address, struct gate_attempt *attempt,
		  enum gate_word word)
{
	enum breaker_state before = address->breaker.state;

	if (attempt->told)
		return;
	attempt->told = true;
	if (attempt->era != address->era)
		return;
	if (word == GATE_WORD_well)
		breaker_succeed(&address->breaker);
	else if (word == GATE_WORD_nothing)
		breaker_forget(&address->breaker);
	else
		breaker_fail(&address->breaker, &address->upstream->breaker,
			     loop_now(address_loop(address)));
	breaker_moved(address, before);
}

/* The rest of the answer may take as long as it likes: nobody waits for its end. */
void address_answers(struct gate_address *address, struct gate_attempt *attempt)
{
	if (address->breaker.state != BREAKER_half_open || attempt->era != address->era)
		return;
	address_told(address, attempt, GATE_WORD_well);
	attempt->told = false;
	address_began(address, attempt);
}

void address_heard(struct gate_address *address, struct mono since)
{
	enum breaker_state before = address->breaker.state;

	if (since.ns > address->breaker.opened.ns)
		breaker_hear(&address->breaker);
	breaker_moved(address, before);
}

void address_breaker_reset(struct gate_address *address)
{
	enum breaker_state before = address->breaker.state;

	address->breaker = (struct breaker){ 0 };
	breaker_moved(address, before);
}

/* --- coming and going ------------------------------------------------------------- */

static void write_text(struct gate_address *address, const struct http_address *at)
{
	char host[ADDRESS_TEXT_SIZE] = "";
	struct address read;
	bool colons;

	if (address_of((const struct sockaddr *)&at->at, &read, &address->port))
		address_write(&read, host);
	colons = strchr(host, ':');
	snprintf(address->text, sizeof(address->text), colons ? "[%s]:%u" : "%s:%u", host,
		 address->port);
	address->whole = slice_text(address->text);
	address->host = slice_of(address->text + colons, strlen(host));
}

static struct gate_address *address_create(struct gate_upstream *upstream,
					   const struct http_address *at)
{
	struct gate_address *address = mem_zeroed(1, sizeof(*address));

	address->upstream = upstream;
	address->at.list[0] = *at;
	address->at.count = 1;
	write_text(address, at);
	address->up = true;
	list_init(&address->member);
	list_init(&address->idle);
	list_init(&address->used);
	show(address);
	health_follow(address);
	return address;
}

void address_destroy(struct gate_address *address)
{
	check(address->gone && list_empty(&address->used) && list_empty(&address->idle));
	health_finish(address);
	list_remove(&address->member);
	free(address);
}

static void address_leave(struct gate_address *address)
{
	struct gate_upstream *upstream = address->upstream;

	address->gone = true;
	list_append(&upstream->gone, &address->member);
	show(address);
	health_finish(address);
	address_trim_idle(address, 0);
	upstreams_bury(upstream->upstreams);
}

/* While its last attempts were still under way. */
static void address_come_back(struct gate_address *address)
{
	address->gone = false;
	list_remove(&address->member);
	show(address);
	health_follow(address);
}

static bool is_at(const struct gate_address *address, const struct http_address *at)
{
	const struct http_address *own = &address->at.list[0];

	return own->size == at->size && memcmp(&own->at, &at->at, at->size) == 0;
}

static struct gate_address *among(struct gate_address **list, unsigned count,
				  const struct http_address *at)
{
	for (unsigned i = 0; i < count; i++)
		if (is_at(list[i], at))
			return list[i];
	return NULL;
}

static struct gate_address *address_find(struct gate_upstream *upstream,
					 const struct http_address *at)
{
	struct gate_address *known = among(upstream->list, upstream->count, at);

	if (known)
		return known;
	for (struct list *one = upstream->gone.next; one != &upstream->gone;
	     one = one->next) {
		struct gate_address *address = list_of(one, struct gate_address, member);

		if (is_at(address, at))
			return address;
	}
	return NULL;
}

void upstream_collect(struct gate_upstream *upstream, const struct http_address *at,
		      size_t count)
{
	struct gate_address **list = mem_zeroed(count, sizeof(struct gate_address *));
	unsigned kept = 0;

	for (unsigned i = 0; i < upstream->count; i++)
		upstream->list[i]->wanted = false;
	for (size_t i = 0; i < count; i++) {
		struct gate_address *address;

		if (among(list, kept, &at[i]))
			continue;
		address = address_find(upstream, &at[i]);
		if (address == NULL)
			address = address_create(upstream, &at[i]);
		else if (address->gone)
			address_come_back(address);
		address->wanted = true;
		list[kept++] = address;
	}
	for (unsigned i = 0; i < upstream->count; i++)
		if (!upstream->list[i]->wanted)
			address_leave(upstream->list[i]);
	free(upstream->list);
	upstream->list = list;
	/* Workers do not all begin with the same one. */
	if (upstream->count == 0 && kept > 0)
		upstream->next =
			(unsigned)random_below(&upstream->upstreams->random, kept);
	upstream->count = kept;
	if (upstream->next >= kept)
		upstream->next = 0;
}

void upstream_disband(struct gate_upstream *upstream)
{
	upstream_collect(upstream, NULL, 0);
}
