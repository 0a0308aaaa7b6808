/* SPDX-License-Identifier: MIT */
/* upstream.c -- the upstreams of a worker, and choosing among the addresses of one.
 *
 * gate_upstream_pick is on the hot path: it looks at each address once or twice. */
#include "gate/upstream_inside.h"

#include "base/check.h"
#include "http/client_lookup.h"

#include <stdlib.h>

/* What the retry budget holds at most. */
#define BUDGET_S 10
#define BUDGET_REQUESTS 100
/* A bucket without income of its own still needs a rate. */
#define BUDGET_PER_S_MIN 0.001

/* --- life ------------------------------------------------------------------------- */

static struct gate_upstream *upstream_of(struct list *member)
{
	return list_of(member, struct gate_upstream, member);
}

static struct gate_address *address_of(struct list *member)
{
	return list_of(member, struct gate_address, member);
}

struct gate_upstreams *gate_upstreams_create(struct loop *loop)
{
	struct gate_upstreams *upstreams = mem_zeroed(1, sizeof(*upstreams));

	upstreams->loop = loop;
	upstreams->lookups = client_lookups_create(loop);
	random_init_secure(&upstreams->random);
	list_init(&upstreams->all);
	list_init(&upstreams->ghosts);
	return upstreams;
}

static void def_finish(struct gate_upstream_def *def)
{
	free((char *)def->name.at);
	free((char *)def->addresses.at);
	free((char *)def->health.path.at);
}

static struct slice copy(struct slice text)
{
	return slice_of(mem_copy(text.at, text.size), text.size);
}

static void def_copy(struct gate_upstream *upstream, const struct gate_upstream_def *def)
{
	struct gate_upstream_def before = upstream->def;
	const struct breaker_config breaker = { .failures_max = def->breaker.failures,
						.open_ms = def->breaker.open_ms };
	double per_s = def->retry.per_s, ratio = def->retry.ratio;
	double burst = BUDGET_S * per_s + BUDGET_REQUESTS * ratio;

	upstream->def = *def;
	upstream->def.name = copy(def->name);
	upstream->def.addresses = copy(def->addresses);
	upstream->def.health.path = copy(def->health.path);
	upstream->budget_rule = (struct bucket_rule){
		.per_s = per_s > BUDGET_PER_S_MIN ? per_s : BUDGET_PER_S_MIN,
		.burst = burst > 1 ? burst : 1,
	};
	def_finish(&before);
	if (breaker.failures_max == upstream->breaker.failures_max &&
	    breaker.open_ms == upstream->breaker.open_ms)
		return;
	upstream->breaker = breaker;
	for (unsigned i = 0; i < upstream->count; i++)
		address_breaker_reset(upstream->list[i]);
}

static struct gate_upstream *upstream_create(struct gate_upstreams *upstreams)
{
	struct gate_upstream *upstream = mem_zeroed(1, sizeof(*upstream));

	upstream->upstreams = upstreams;
	list_init(&upstream->gone);
	list_init(&upstream->places);
	list_init(&upstream->files);
	list_append(&upstreams->all, &upstream->member);
	return upstream;
}

static void upstream_destroy(struct gate_upstream *upstream)
{
	list_remove(&upstream->member);
	def_finish(&upstream->def);
	free(upstream->list);
	free(upstream);
}

static void bury_addresses(struct gate_upstream *upstream)
{
	struct list *at, *next;

	for (at = upstream->gone.next; at != &upstream->gone; at = next) {
		struct gate_address *address = address_of(at);

		next = at->next;
		if (list_empty(&address->used))
			address_destroy(address);
	}
}

static void on_bury(void *context)
{
	struct gate_upstreams *upstreams = context;
	struct list *at, *next;

	for (at = upstreams->all.next; at != &upstreams->all; at = at->next)
		bury_addresses(upstream_of(at));
	for (at = upstreams->ghosts.next; at != &upstreams->ghosts; at = next) {
		struct gate_upstream *upstream = upstream_of(at);

		next = at->next;
		bury_addresses(upstream);
		if (list_empty(&upstream->gone))
			upstream_destroy(upstream);
	}
}

void upstreams_bury(struct gate_upstreams *upstreams)
{
	loop_defer(upstreams->loop, &upstreams->bury, on_bury, upstreams);
}

static void upstream_leave(struct gate_upstream *upstream)
{
	struct gate_upstreams *upstreams = upstream->upstreams;

	upstream_names_forget(upstream);
	upstream_disband(upstream);
	list_remove(&upstream->member);
	list_append(&upstreams->ghosts, &upstream->member);
	upstreams_bury(upstreams);
}

void gate_upstreams_use(struct gate_upstreams *upstreams,
			const struct gate_upstream_def *defs, size_t count)
{
	struct list *at, *next;

	for (at = upstreams->all.next; at != &upstreams->all; at = at->next)
		upstream_of(at)->wanted = false;
	for (size_t i = 0; i < count; i++) {
		struct gate_upstream *upstream =
			gate_upstream_find(upstreams, defs[i].name);

		if (upstream == NULL)
			upstream = upstream_create(upstreams);
		upstream->wanted = true;
		def_copy(upstream, &defs[i]);
		upstream_names_follow(upstream);
		for (unsigned k = 0; k < upstream->count; k++) {
			health_follow(upstream->list[k]);
			address_trim_idle(upstream->list[k], defs[i].idle_max);
		}
	}
	for (at = upstreams->all.next; at != &upstreams->all; at = next) {
		next = at->next;
		if (!upstream_of(at)->wanted)
			upstream_leave(upstream_of(at));
	}
}

static void end_attempts(struct gate_upstreams *upstreams)
{
	struct fault why;

	fault_set(&why, FAULT_cancelled, "the gateway ends");
	for (struct list *at = upstreams->ghosts.next; at != &upstreams->ghosts;
	     at = at->next)
		for (struct list *one = upstream_of(at)->gone.next;
		     one != &upstream_of(at)->gone; one = one->next)
			address_end_attempts(address_of(one), &why);
}

void gate_upstreams_destroy(struct gate_upstreams *upstreams)
{
	if (upstreams == NULL)
		return;
	upstreams->ending = true;
	gate_upstreams_use(upstreams, NULL, 0);
	end_attempts(upstreams);
	on_bury(upstreams);
	check(list_empty(&upstreams->ghosts));
	loop_undefer(&upstreams->bury);
	client_lookups_destroy(upstreams->lookups);
	free(upstreams);
}

struct gate_upstream *gate_upstream_find(struct gate_upstreams *upstreams,
					 struct slice name)
{
	for (struct list *at = upstreams->all.next; at != &upstreams->all; at = at->next)
		if (slice_equal(upstream_of(at)->def.name, name))
			return upstream_of(at);
	return NULL;
}

/* --- choosing --------------------------------------------------------------------- */

struct choice {
	struct gate_address *best;
	unsigned best_at;
	unsigned allowed; /* by their breakers, whether they have room or not */
};

static bool was_tried(const struct gate_address *address,
		      struct gate_address *const *tried, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (tried[i] == address)
			return true;
	return false;
}

/* Among those that are up, or down: not tried yet, then least busy where that is wanted,
 * then whose turn it is. */
static struct choice choose(struct gate_upstream *upstream, bool up,
			    struct gate_address *const *tried, size_t tried_count)
{
	struct mono now = loop_now(upstream->upstreams->loop);
	bool by_load = upstream->def.balance == GATE_least_busy;
	struct choice choice = { .best = NULL };
	unsigned best_load = 0;
	bool best_tried = false;

	for (unsigned i = 0; i < upstream->count; i++) {
		unsigned at = (upstream->next + i) % upstream->count;
		struct gate_address *address = upstream->list[at];
		unsigned active = address->opening + address->busy;
		unsigned load = by_load ? active : 0;
		bool again;

		if (address->up != up || !address_allows(address, now))
			continue;
		choice.allowed++;
		if (active >= upstream->def.connections_max)
			continue;
		again = was_tried(address, tried, tried_count);
		if (choice.best &&
		    (again > best_tried || (again == best_tried && load >= best_load)))
			continue;
		choice.best = address;
		choice.best_at = at;
		best_load = load;
		best_tried = again;
	}
	return choice;
}

static void say_why(const struct gate_upstream *upstream, const struct choice *choice,
		    struct fault *why)
{
	struct slice name = upstream->def.name;

	if (choice->allowed > 0)
		fault_set_status(why, FAULT_limit, 503,
				 "all connections to %.*s are in use", SLICE_PRINT(name));
	else if (upstream->count > 0)
		fault_set(why, FAULT_unavailable,
			  "%.*s has failed too often and is left alone for a while",
			  SLICE_PRINT(name));
	else
		fault_set(why, FAULT_unavailable, "%.*s has no address",
			  SLICE_PRINT(name));
}

struct gate_address *gate_upstream_pick(struct gate_upstream *upstream,
					struct gate_address *const *tried,
					size_t tried_count, struct fault *why)
{
	struct choice choice;

	if (upstream->upstreams->ending) {
		fault_set(why, FAULT_unavailable, "the gateway ends");
		return NULL;
	}
	if (tried_count == 0)
		bucket_put(&upstream->budget, &upstream->budget_rule,
			   upstream->def.retry.ratio,
			   loop_now(upstream->upstreams->loop));
	choice = choose(upstream, true, tried, tried_count);
	if (choice.allowed == 0)
		choice = choose(upstream, false, tried, tried_count);
	if (choice.best == NULL) {
		say_why(upstream, &choice, why);
		return NULL;
	}
	upstream->next = (choice.best_at + 1) % upstream->count;
	return choice.best;
}

bool gate_upstream_may_retry(struct gate_upstream *upstream)
{
	const struct gate_upstream_def *def = &upstream->def;

	return (def->retry.ratio > 0 || def->retry.per_s > 0) &&
	       bucket_take(&upstream->budget, &upstream->budget_rule, 1,
			   loop_now(upstream->upstreams->loop));
}

struct slice gate_address_text(const struct gate_address *address)
{
	return address->whole;
}

struct slice gate_address_host(const struct gate_address *address)
{
	return address->host;
}

unsigned gate_address_port(const struct gate_address *address)
{
	return address->port;
}
